//! Peers that decide with a frequency sketch whether a newcomer may stay.

use std::time::Duration;

use ahash::RandomState;
use stretto::{DefaultCacheCallback, DefaultCoster, DefaultUpdateValidator, TransparentKeyBuilder};
use tinyufo::TinyUfo;

use crate::peer::{Peer, Reader};

pub struct Moka(moka::sync::Cache<u64, u64, RandomState>);

impl Reader for Moka {
    const NAME: &'static str = "moka";
    const PACKAGE: &'static str = "moka";
    const NOTE: &'static str =
        "LRU behind a TinyLFU filter, applied later in batches; single flight";

    fn filled(capacity: u64, keys: &[u64]) -> Self {
        super::filled(capacity, keys)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }

    // `entry_count` knows only what the policy has seen; the iterator walks what is there.
    fn resident(&self) -> Option<u64> {
        Some(self.0.iter().count() as u64)
    }
}

impl Peer for Moka {
    const EXPIRES: bool = true;
    const SLOW_TO_FILL: bool = true;

    fn build_expiring(capacity: u64, ttl: Duration) -> Option<Self> {
        let builder = moka::sync::Cache::builder().max_capacity(capacity).time_to_live(ttl);
        Some(Self(builder.build_with_hasher(RandomState::new())))
    }

    fn build(capacity: u64) -> Self {
        let builder = moka::sync::Cache::builder().max_capacity(capacity);
        Self(builder.build_with_hasher(RandomState::new()))
    }

    #[inline]
    fn put(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    #[inline]
    fn get_or_load(&self, key: u64, load: impl Fn(u64) -> u64) -> u64 {
        self.0.get_with(key, || load(key))
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }
}

pub struct MiniMoka(mini_moka::sync::Cache<u64, u64, RandomState>);

impl Reader for MiniMoka {
    const NAME: &'static str = "mini-moka";
    const PACKAGE: &'static str = "mini-moka";
    const NOTE: &'static str =
        "LRU behind a TinyLFU filter, applied later in batches; no loads: get, then put";

    fn filled(capacity: u64, keys: &[u64]) -> Self {
        super::filled(capacity, keys)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }

    fn resident(&self) -> Option<u64> {
        Some(self.0.iter().count() as u64)
    }
}

impl Peer for MiniMoka {
    const EXPIRES: bool = true;
    const SLOW_TO_FILL: bool = true;

    fn build_expiring(capacity: u64, ttl: Duration) -> Option<Self> {
        let builder = mini_moka::sync::Cache::builder().max_capacity(capacity).time_to_live(ttl);
        Some(Self(builder.build_with_hasher(RandomState::new())))
    }

    fn build(capacity: u64) -> Self {
        let builder = mini_moka::sync::Cache::builder().max_capacity(capacity);
        Self(builder.build_with_hasher(RandomState::new()))
    }

    #[inline]
    fn put(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn settle(&self) {
        mini_moka::sync::ConcurrentCacheExt::sync(&self.0);
    }
}

pub struct Tiny(TinyUfo<u64, u64>);

impl Reader for Tiny {
    const NAME: &'static str = "tinyufo";
    const PACKAGE: &'static str = "TinyUFO";
    const NOTE: &'static str =
        "S3-FIFO with a TinyLFU filter; keys are not stored nor compared; no loads: get, then put";

    fn filled(capacity: u64, keys: &[u64]) -> Self {
        super::filled(capacity, keys)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }

    // It keeps no count.
    fn resident(&self) -> Option<u64> {
        None
    }
}

impl Peer for Tiny {
    const SLOW_TO_FILL: bool = true;

    fn build(capacity: u64) -> Self {
        Self(TinyUfo::new(super::size(capacity), super::size(capacity)))
    }

    #[inline]
    fn put(&self, key: u64, value: u64) {
        drop(self.0.put(key, value, 1));
    }
}

type StrettoCache = stretto::Cache<
    u64,
    u64,
    TransparentKeyBuilder<u64>,
    DefaultCoster<u64>,
    DefaultUpdateValidator<u64>,
    DefaultCacheCallback<u64>,
    RandomState,
>;

pub struct Stretto(StrettoCache);

impl Reader for Stretto {
    const NAME: &'static str = "stretto";
    const PACKAGE: &'static str = "stretto";
    const NOTE: &'static str = "sampled LFU on a thread of its own, far behind the writers: it holds many times its capacity; keys are not stored; no loads: get, then put";

    fn filled(capacity: u64, keys: &[u64]) -> Self {
        super::filled(capacity, keys)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key).map(|value| *value.value())
    }

    fn resident(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }
}

impl Peer for Stretto {
    const BACKGROUND: bool = true;
    const SLOW_TO_FILL: bool = true;

    fn build(capacity: u64) -> Self {
        let cost = i64::try_from(capacity).unwrap_or(i64::MAX);
        let builder = stretto::CacheBuilder::new_with_key_builder(
            super::size(capacity) * 10,
            cost,
            TransparentKeyBuilder::default(),
        );
        Self(builder.set_hasher(RandomState::new()).finalize().expect("stretto starts its thread"))
    }

    #[inline]
    fn put(&self, key: u64, value: u64) {
        self.0.insert(key, value, 1);
    }

    fn settle(&self) {
        self.0.wait().expect("stretto's thread answers");
    }
}
