//! The cache of this repository in two configurations that share every line but one.

use std::time::Duration;

use cachette::policy::Sieve;
use cachette::{Builder, Cache};

use crate::peer::{MANY, Peer, Reader, Way};

/// With its default policy; with SIEVE, which hears of hits by a counter, if `SIEVE`.
pub struct Ours<const SIEVE: bool>(Cache<u64, u64>);

pub type Cachette = Ours<false>;
pub type CachetteSieve = Ours<true>;

impl<const SIEVE: bool> Ours<SIEVE> {
    /// The one place where the configurations differ.
    fn with(capacity: u64, set: impl FnOnce(Builder<u64, u64>) -> Builder<u64, u64>) -> Self {
        let builder = set(Cache::builder().capacity(capacity));
        let builder = if SIEVE { builder.policy(Sieve::new) } else { builder };
        Self(builder.build().expect("every setting here is legal"))
    }
}

impl<const SIEVE: bool> Reader for Ours<SIEVE> {
    const NAME: &'static str = if SIEVE { crate::peer::SIEVE } else { crate::peer::OURS };
    const PACKAGE: &'static str = "cachette";
    const NOTE: &'static str = if SIEVE {
        "defaults but for the policy, SIEVE: a warm hit writes nothing"
    } else {
        "defaults; single flight"
    };
    const WAYS: &'static [Way] = &[Way::Get, Way::Pinned, Way::Closure, Way::Many];

    fn filled(capacity: u64, keys: &[u64]) -> Self {
        super::filled(capacity, keys)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }

    #[inline]
    fn visit(&self, way: Way, keys: &[u64], mut see: impl FnMut(u64)) {
        match way {
            Way::Get => keys.iter().filter_map(|&key| self.get(key)).for_each(see),
            Way::Pinned => {
                let pinned = self.0.pin();
                keys.iter().filter_map(|key| pinned.get(key)).for_each(|&value| see(value));
            }
            Way::Closure => {
                for key in keys {
                    self.0.get_with(key, |&value| see(value));
                }
            }
            Way::Many => {
                for some in keys.chunks(MANY) {
                    self.0.get_many(some).into_iter().flatten().for_each(&mut see);
                }
            }
        }
    }

    fn resident(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }
}

impl<const SIEVE: bool> Peer for Ours<SIEVE> {
    const EXPIRES: bool = true;

    fn build(capacity: u64) -> Self {
        Self::with(capacity, |builder| builder)
    }

    fn build_expiring(capacity: u64, ttl: Duration) -> Option<Self> {
        Some(Self::with(capacity, |builder| builder.time_to_live(ttl)))
    }

    fn build_divided(capacity: u64, segments: usize) -> Option<Self> {
        Some(Self::with(capacity, |builder| builder.segments(segments)))
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
