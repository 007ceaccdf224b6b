//! A value, and all that is to be said of how it was come by.

use crate::freshness::Seen;
use std::time::Duration;

/// A value with where it came from, how old it is and how long it is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded<V> {
    /// The value.
    pub value: V,
    /// Where it came from.
    pub origin: Origin,
    /// How long ago it was written, if the cache notes that: it does where it was told of [`Freshness`](crate::Freshness), or the value was
    /// just loaded.
    pub age: Option<Duration>,
    /// How long it is still fresh: nothing if it is stale, or could not be kept; [`Duration::MAX`] if for ever.
    pub left: Duration,
    /// It is being loaded anew.
    pub refreshing: bool,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The cache had it, fresh.
    Hit,
    /// The cache had it, and its TTL had passed.
    Stale,
    /// It was loaded by this call.
    Load,
    /// It was loaded by another call, which this one joined.
    Shared,
}

impl<V> Loaded<V> {
    /// True if its TTL had passed.
    pub fn is_stale(&self) -> bool {
        self.origin == Origin::Stale
    }

    /// A value that the cache had.
    pub(super) fn had(value: V, seen: Option<Seen>, refreshing: bool, origin: Origin) -> Self {
        let left = seen.map_or(Duration::MAX, |seen| seen.left());
        Self { value, origin, age: seen.map(|seen| seen.age()), left, refreshing }
    }

    /// A value that was just loaded, and is fresh for this long.
    pub(super) fn new(value: V, origin: Origin, left: Duration) -> Self {
        Self { value, origin, age: Some(Duration::ZERO), left, refreshing: false }
    }
}
