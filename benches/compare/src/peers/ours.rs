//! The cache of this repository, as it comes: default policy, default number of segments.

use cachette::Cache;

use crate::peer::{Peer, Reader};

pub struct Cachette(Cache<u64, u64>);

impl Reader for Cachette {
    const NAME: &'static str = "cachette";
    const PACKAGE: &'static str = "cachette";
    const NOTE: &'static str = "defaults; single flight";

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

impl Peer for Cachette {
    fn build(capacity: u64) -> Self {
        Self(Cache::builder().capacity(capacity).build().expect("a capacity alone is legal"))
    }

    #[inline]
    fn put(&self, key: u64, value: u64) {
        self.0.put(key, value);
    }

    #[inline]
    fn get_or_load(&self, key: u64, load: impl Fn(u64) -> u64) -> u64 {
        self.0.get_or_load(&key, |key| load(*key)).expect("the loader cannot fail")
    }

    fn settle(&self) {
        self.0.maintain();
    }
}
