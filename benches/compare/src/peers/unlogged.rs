//! Peers that record a hit where the entry lies: a counter on it, or its place in a small bucket.

use std::convert::Infallible;

use ahash::RandomState;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use scc::HashCache;
use scc::hash_cache::Entry;

use crate::peer::{Peer, Reader};

pub struct QuickCache(Cache<u64, u64, UnitWeighter, RandomState>);

impl Reader for QuickCache {
    const NAME: &'static str = "quick_cache";
    const PACKAGE: &'static str = "quick_cache";
    const NOTE: &'static str = "Clock-PRO and S3-FIFO hybrid; single flight";

    fn filled(capacity: u64, keys: &[u64]) -> Self {
        super::filled(capacity, keys)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }

    fn resident(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }
}

impl Peer for QuickCache {
    fn build(capacity: u64) -> Self {
        Self(Cache::with(
            super::size(capacity),
            capacity,
            UnitWeighter,
            RandomState::new(),
            DefaultLifecycle::default(),
        ))
    }

    #[inline]
    fn put(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    #[inline]
    fn get_or_load(&self, key: u64, load: impl Fn(u64) -> u64) -> u64 {
        let loaded: Result<u64, Infallible> = self.0.get_or_insert_with(&key, || Ok(load(key)));
        match loaded {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }
}

pub struct Scc(HashCache<u64, u64, RandomState>);

impl Reader for Scc {
    const NAME: &'static str = "scc";
    const PACKAGE: &'static str = "scc";
    const NOTE: &'static str = "HashCache: LRU within buckets of 32; capacity is rounded up to a power of two; loads under the bucket's lock";

    fn filled(capacity: u64, keys: &[u64]) -> Self {
        super::filled(capacity, keys)
    }

    // `get_sync` marks the entry as used; `read_sync` is faster with many threads, but evicts by age of insertion.
    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get_sync(&key).map(|entry| *entry.get())
    }

    fn resident(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }
}

impl Peer for Scc {
    fn build(capacity: u64) -> Self {
        Self(HashCache::with_capacity_and_hasher(0, super::size(capacity), RandomState::new()))
    }

    #[inline]
    fn put(&self, key: u64, value: u64) {
        drop(self.0.entry_sync(key).put_entry(value));
    }

    #[inline]
    fn get_or_load(&self, key: u64, load: impl Fn(u64) -> u64) -> u64 {
        match self.0.entry_sync(key) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let value = load(key);
                drop(entry.put_entry(value));
                value
            }
        }
    }
}
