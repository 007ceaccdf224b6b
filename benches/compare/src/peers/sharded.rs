//! Peers that move a list node under a shard's exclusive lock on every hit.

use ahash::RandomState;
use foyer_memory::{CacheBuilder, CacheProperties};
use lru::LruCache;
use parking_lot::Mutex;

use crate::peer::{Peer, Reader};

pub struct Foyer(foyer_memory::Cache<u64, u64, RandomState, CacheProperties>);

impl Reader for Foyer {
    const NAME: &'static str = "foyer";
    const PACKAGE: &'static str = "foyer-memory";
    const NOTE: &'static str =
        "LRU, 8 shards (its defaults); loads need a tokio runtime: get, then put";

    fn filled(capacity: u64, keys: &[u64]) -> Self {
        super::filled(capacity, keys)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key).map(|entry| *entry.value())
    }

    fn resident(&self) -> Option<u64> {
        Some(self.0.entries() as u64)
    }
}

impl Peer for Foyer {
    fn build(capacity: u64) -> Self {
        let builder = CacheBuilder::new(super::size(capacity));
        Self(builder.with_hash_builder(RandomState::new()).build())
    }

    #[inline]
    fn put(&self, key: u64, value: u64) {
        drop(self.0.insert(key, value));
    }
}

/// What many people write by hand first.
pub struct Lru {
    hasher: RandomState,
    shards: Vec<Shard>,
}

/// Two cache lines of its own, so that neighbours do not share a lock's line.
#[repr(align(128))]
struct Shard(Mutex<LruCache<u64, u64, RandomState>>);

const SHARDS: usize = 64;

impl Lru {
    // The high bits: the map inside a shard uses the low ones and the top seven.
    #[inline]
    fn shard(&self, key: u64) -> &Mutex<LruCache<u64, u64, RandomState>> {
        let hash = self.hasher.hash_one(key);
        &self.shards[(hash >> 40) as usize % SHARDS].0
    }
}

impl Reader for Lru {
    const NAME: &'static str = "lru x 64";
    const PACKAGE: &'static str = "lru";
    const NOTE: &'static str =
        "64 mutexes around an exact LRU each, hashed twice; no loads: get, then put";

    fn filled(capacity: u64, keys: &[u64]) -> Self {
        super::filled(capacity, keys)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.shard(key).lock().get(&key).copied()
    }

    fn resident(&self) -> Option<u64> {
        Some(self.shards.iter().map(|shard| shard.0.lock().len() as u64).sum())
    }
}

impl Peer for Lru {
    fn build(capacity: u64) -> Self {
        let hasher = RandomState::new();
        let share = std::num::NonZeroUsize::new(super::size(capacity) / SHARDS)
            .expect("every row's capacity is at least one entry a shard");
        let shard = || Shard(Mutex::new(LruCache::with_hasher(share, hasher.clone())));
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher: hasher.clone() }
    }

    #[inline]
    fn put(&self, key: u64, value: u64) {
        self.shard(key).lock().put(key, value);
    }
}
