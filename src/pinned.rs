//! Reading without a clone: a view of the cache whose `get` returns a reference; and many keys at once.

use crate::cache::Cache;
use crate::engine::epoch::{self, Guard, View};
use crate::engine::{Entry, Found, SLICE};
use equivalent::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};

/// Keys looked up side by side: so many cache misses a core keeps in flight.
const BATCH: usize = 16;

/// A view of a cache under which references into it stay valid: see [`Cache::pin`].
///
/// While it lives, what leaves the cache is kept in memory ([`Stats::limbo`](crate::Stats::limbo) counts it), in this cache and
/// no other. No writer waits for it. It stays on its thread.
pub struct Pinned<'a, K, V, S = ahash::RandomState> {
    cache: &'a Cache<K, V, S>,
    view: View<'a>,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// A view whose [`get`](Pinned::get) returns `&V`.
    ///
    /// Take one for a run of reads, not for each: it costs a short lock to begin and to end, about 20 ns each. Drop it soon: what
    /// leaves the cache meanwhile is not freed.
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// cache.put("page", vec![1, 2, 3]);
    /// let pinned = cache.pin();
    /// let page: &Vec<i32> = pinned.get("page").unwrap();
    /// cache.delete("page");
    /// assert_eq!(page.len(), 3, "it is still there to look at");
    /// assert!(pinned.get("page").is_none());
    /// ```
    pub fn pin(&self) -> Pinned<'_, K, V, S> {
        Pinned { cache: self, view: self.engine.views.begin(epoch::domain()) }
    }

    /// Clones of the values of many keys, in the order of the keys; each a use, and a hit or a miss, as in [`get`](Self::get).
    ///
    /// In a cache beyond the processor's own, this is about twice as fast as one `get` after another: the memory of 16 keys
    /// is asked for at once. O(keys).
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// cache.put(1, 'a');
    /// cache.put(2, 'b');
    /// assert_eq!(cache.get_many(&[2, 3, 1]), [Some('b'), None, Some('a')]);
    /// ```
    #[must_use]
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        Q: ?Sized + Hash + Equivalent<K> + 'q,
        V: Clone,
    {
        let pin = epoch::pin();
        let mut values = Vec::new();
        self.read_many(pin.guard(), keys, |entry| {
            values.push(entry.map(|entry| entry.value.clone()));
        });
        values
    }

    fn read_many<'p, 'q, Q>(
        &'p self,
        guard: Guard<'p>,
        keys: impl IntoIterator<Item = &'q Q>,
        mut each: impl FnMut(Option<&'p Entry<K, V>>),
    ) where
        Q: ?Sized + Hash + Equivalent<K> + 'q,
    {
        let mut keys = keys.into_iter();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            batch.extend(keys.by_ref().take(BATCH).map(|key| (self.hash(key), key)));
            if batch.is_empty() {
                return;
            }
            batch.iter().for_each(|&(hash, _)| self.engine.prefetch(guard, hash));
            batch.iter().for_each(|&(hash, _)| self.engine.prefetch_entry(guard, hash));
            batch.drain(..).for_each(|(hash, key)| each(self.read(guard, hash, key)));
        }
    }
}

impl<K, V, S> Pinned<'_, K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// The value of a key. A use of the entry, and a hit or a miss in the statistics, as in [`Cache::get`]; nothing is cloned.
    /// O(1).
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// cache.put(1, "one".to_string());
    /// assert_eq!(cache.pin().get(&1).map(String::len), Some(3));
    /// ```
    #[inline]
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let entry = self.cache.read(self.view.guard(), self.cache.hash(key), key)?;
        Some(&entry.value)
    }

    /// The value of a key, touching nothing, as in [`Cache::peek`]. O(1).
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// cache.put(1, 1);
    /// assert_eq!(cache.pin().peek(&1), Some(&1));
    /// assert_eq!(cache.stats().hits, 0);
    /// ```
    #[must_use]
    pub fn peek<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let read = self.cache.look(self.view.guard(), self.cache.hash(key), key)?;
        Some(&read.found.entry.value)
    }

    /// The values of many keys, in the order of the keys, as in [`Cache::get_many`]; nothing is cloned. O(keys).
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// cache.put(1, 'a');
    /// assert_eq!(cache.pin().get_many(&[1, 2]), [Some(&'a'), None]);
    /// ```
    #[must_use]
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<&V>>
    where
        Q: ?Sized + Hash + Equivalent<K> + 'q,
    {
        let mut values = Vec::new();
        self.cache.read_many(self.view.guard(), keys, |entry| {
            values.push(entry.map(|entry| &entry.value));
        });
        values
    }

    /// All live pairs, in no order, as in [`Cache::iter`]; nothing is cloned.
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// cache.put(1, 10);
    /// cache.put(2, 20);
    /// let pinned = cache.pin();
    /// assert_eq!(pinned.iter().map(|(key, value)| key + value).sum::<i32>(), 33);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let guard = self.view.guard();
        let stripes = self.cache.engine.stripes();
        let slices = stripes.flat_map(move |stripe| {
            let mut from = Some(0);
            std::iter::from_fn(move || {
                let segment = stripe.lock();
                let now = self.cache.now_in(&segment);
                let (slice, next) = segment.slice(from?, SLICE, now, guard);
                from = (next < segment.end()).then_some(next);
                Some(slice)
            })
        });
        slices.flatten().map(|Found { entry, .. }| (&entry.key, &entry.value))
    }
}

impl<K, V, S> fmt::Debug for Pinned<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").field("cache", self.cache).finish()
    }
}
