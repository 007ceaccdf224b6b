//! Maps that never evict: what a look-up costs when there is nothing to keep track of.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::peer::{Bound, Reader, Way};

/// A plain map, frozen after it is filled: threads share it without any synchronisation at all.
pub struct Bare(HashMap<u64, u64, RandomState>);

impl Reader for Bare {
    const NAME: &'static str = "hashbrown";
    const PACKAGE: &'static str = "hashbrown";
    const NOTE: &'static str = "bound: a frozen map, no lock, no bookkeeping";
    // A plain get each time: what the ways of others are measured with.
    const WAYS: &'static [Way] = &[Way::Get, Way::Pinned, Way::Closure];

    fn filled(_capacity: u64, keys: &[u64]) -> Self {
        let mut map = HashMap::with_hasher(RandomState::new());
        map.extend(keys.iter().map(|&key| (key, key)));
        Self(map)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key).copied()
    }

    fn resident(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }
}

impl Bound for Bare {
    #[inline]
    fn insert(&mut self, key: u64, value: u64) {
        self.0.insert(key, value);
    }
}

/// A concurrent map with reads that take no lock.
pub struct Papaya(papaya::HashMap<u64, u64, RandomState>);

impl Reader for Papaya {
    const NAME: &'static str = "papaya";
    const PACKAGE: &'static str = "papaya";
    const NOTE: &'static str = "bound: a concurrent map, pinned once a look-up";
    const WAYS: &'static [Way] = &[Way::Get, Way::Pinned];

    fn filled(_capacity: u64, keys: &[u64]) -> Self {
        let map = papaya::HashMap::with_hasher(RandomState::new());
        for &key in keys {
            map.pin().insert(key, key);
        }
        Self(map)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.pin().get(&key).copied()
    }

    #[inline]
    fn visit(&self, way: Way, keys: &[u64], mut see: impl FnMut(u64)) {
        if way == Way::Pinned {
            let map = self.0.pin();
            keys.iter().filter_map(|key| map.get(key)).for_each(|&value| see(value));
        } else {
            keys.iter().filter_map(|&key| self.get(key)).for_each(see);
        }
    }

    fn resident(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }
}

impl Bound for Papaya {
    #[inline]
    fn insert(&mut self, key: u64, value: u64) {
        self.0.pin().insert(key, value);
    }
}
