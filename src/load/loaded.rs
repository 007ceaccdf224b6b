//! A value, and all that is to be said of how it was come by.

use super::block::block_on;
use super::lead::Outcome;
use crate::cache::Cache;
use crate::error::LoadError;
use crate::freshness::Seen;
use crate::observe::Tally;
use crate::sync::Arc;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// A value with where it came from, how old it is and how long it is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded<V> {
    /// The value.
    pub value: V,
    /// Where it came from.
    pub origin: Origin,
    /// How long ago it was written, if that is known: a [`LoadingCache`](crate::LoadingCache) with [`Freshness`](crate::Freshness) notes it, or the value was
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

    pub(crate) fn map<W>(self, map: impl FnOnce(V) -> W) -> Loaded<W> {
        let Self { value, origin, age, left, refreshing } = self;
        Loaded { value: map(value), origin, age, left, refreshing }
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

/// A value that others may share. If this is its last owner, a panic in its destructor goes no further than here, even if
/// the caller's own code is panicking.
struct Contained<'a, K, V, S> {
    cache: &'a Cache<K, V, S>,
    value: Option<Arc<V>>,
}

impl<K, V, S> Drop for Contained<'_, K, V, S> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take().and_then(Arc::into_inner) {
            self.cache.contain(Tally::DropPanics, || drop(value));
        }
    }
}

impl<K, V, S> Cache<K, V, S> {
    /// A value of one's own from one that others may share.
    pub(super) fn unshare(&self, value: Arc<V>) -> V
    where
        V: Clone,
    {
        match Arc::try_unwrap(value) {
            Ok(value) => value,
            Err(shared) => {
                // Declared before the other, so dropped after it: a panic of the destructor ends here.
                let _last = Contained { cache: self, value: Some(Arc::clone(&shared)) };
                let shared = shared;
                (*shared).clone()
            }
        }
    }
}

/// Loads that say where a value came from.
impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    S: BuildHasher,
{
    /// As [`get_or_load`](Self::get_or_load), with where the value came from and what is left of its time. A few more look-ups.
    ///
    /// Nothing here is ever stale, nor refreshed: that is what [`LoadingCache::load_entry`](crate::LoadingCache::load_entry) may tell of.
    ///
    /// # Errors
    ///
    /// As [`get_or_load`](Self::get_or_load).
    ///
    /// ```
    /// use cachette::{Cache, Origin};
    /// use std::time::Duration;
    ///
    /// let cache = Cache::<&str, usize>::new(100);
    /// let loaded = cache.get_or_load_entry(&"four", |key| key.len()).unwrap();
    /// assert_eq!((loaded.value, loaded.origin, loaded.left), (4, Origin::Load, Duration::MAX));
    /// let again = cache.get_or_load_entry(&"four", |key| key.len()).unwrap();
    /// assert_eq!((again.value, again.origin), (4, Origin::Hit));
    /// ```
    pub fn get_or_load_entry<Q, R>(
        &self,
        key: &Q,
        loader: impl FnOnce(&Q) -> R,
    ) -> Result<Loaded<V>, LoadError<R::Error>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
        R: Outcome<V>,
    {
        block_on(self.entry_by(key, async || loader(key)))
    }

    /// As [`get_or_load_entry`](Self::get_or_load_entry), from a task.
    ///
    /// # Errors
    ///
    /// As [`get_or_load`](Self::get_or_load).
    pub async fn get_or_load_entry_async<Q, R, F>(
        &self,
        key: &Q,
        loader: impl FnOnce(K) -> F,
    ) -> Result<Loaded<V>, LoadError<R::Error>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
        F: Future<Output = R>,
        R: Outcome<V>,
    {
        self.entry_by(key, || loader(key.to_owned())).await
    }

    async fn entry_by<Q, R, F>(
        &self,
        key: &Q,
        loader: impl FnOnce() -> F,
    ) -> Result<Loaded<V>, LoadError<R::Error>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
        F: Future<Output = R>,
        R: Outcome<V>,
    {
        let hash = self.hash(key);
        let (value, origin) = match self.value(hash, key) {
            Some(value) => (value, Origin::Hit),
            None => self.load(hash, key, loader).await?,
        };
        let left = self.time_to_live_of(key).unwrap_or_default();
        let age = (origin != Origin::Hit).then_some(Duration::ZERO);
        Ok(Loaded { age, ..Loaded::new(value, origin, left) })
    }
}
