//! Keys with their hashes, so that no code of the user's but `Eq` runs under a lock.

use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A key and its hash.
pub(super) struct Keyed<K> {
    pub(super) hash: u64,
    pub(super) key: K,
}

impl<K: Eq> PartialEq for Keyed<K> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.hash == other.hash && self.key == other.key
    }
}

impl<K: Eq> Eq for Keyed<K> {}

impl<K> Hash for Keyed<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Passes on the hash that a [`Keyed`] has.
#[derive(Default)]
pub(super) struct Passed(u64);

impl Hasher for Passed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a `Keyed` writes one word")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

pub(super) type ByHash = BuildHasherDefault<Passed>;
