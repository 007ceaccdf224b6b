//! The same choices, for a cache whose values carry more than what the program gave.

use super::Builder;
use crate::cache::{Listener, Weigher};
use crate::expiry::{Expiry, FreshnessBy};
use crate::freshness::Freshness;
use crate::sync::Arc;
use crate::time::{Clock, SystemClock};
use std::time::Duration;

/// A value of the program's with something of the crate's beside it.
pub(crate) trait Carries<V>: Send + Sync + 'static {
    /// What the program gave.
    fn value(&self) -> &V;

    /// The end of its life by the cache's clock, whatever else is said of it. At 0 it is not kept at all, not even as a stale one.
    fn end(&self) -> u64;
}

/// A rule about values, asked about those within others.
struct Within<K, V>(Box<dyn Expiry<K, V>>);

impl<K, V, W: Carries<V>> Expiry<K, W> for Within<K, V> {
    fn created(&self, key: &K, value: &W) -> Duration {
        self.0.created(key, value.value())
    }
    fn updated(&self, key: &K, value: &W, left: Duration) -> Duration {
        self.0.updated(key, value.value(), left)
    }
    fn read(&self, key: &K, value: &W, left: Duration) -> Option<Duration> {
        self.0.read(key, value.value(), left)
    }
}

impl<K, V, S> Builder<K, V, S> {
    pub(crate) fn freshness_chosen(&self) -> Option<Freshness> {
        self.freshness
    }

    /// The clock that the cache will have.
    pub(crate) fn clock_of(&mut self) -> Arc<dyn Clock> {
        Arc::clone(self.clock.get_or_insert_with(|| Arc::new(SystemClock::new())))
    }

    /// The time to live of all values, if it was chosen.
    pub(crate) fn live_of(&self) -> Option<Duration> {
        self.freshness.map(|freshness| freshness.ttl).or(self.time_to_live)
    }
}

impl<K: 'static, V: 'static, S> Builder<K, V, S> {
    /// The program's rules go on to see what the program gave.
    pub(crate) fn over<W: Carries<V>>(self) -> Builder<K, W, S> {
        let weigher = self.weigher.map(|weigh| -> Box<Weigher<K, W>> {
            Box::new(move |key: &K, value: &W| weigh(key, value.value()))
        });
        let listener = self.listener.map(|listener| -> Box<Listener<K, W>> {
            Box::new(move |key: &K, value: &W, cause| listener(key, value.value(), cause))
        });
        let freshness_by = self.freshness_by.map(|by| -> Box<FreshnessBy<K, W>> {
            Box::new(move |key: &K, value: &W, usual| by(key, value.value(), usual))
        });
        let expiry =
            self.expiry.map(|expiry| -> Box<dyn Expiry<K, W>> { Box::new(Within(expiry)) });
        Builder {
            weigher,
            listener,
            expiry,
            freshness_by,
            end: Some(W::end),
            capacity: self.capacity,
            make: self.make,
            time_to_live: self.time_to_live,
            time_to_idle: self.time_to_idle,
            freshness: self.freshness,
            jitter: self.jitter,
            seed: self.seed,
            hasher: self.hasher,
            clock: self.clock,
            segments: self.segments,
            expected: self.expected,
        }
    }
}
