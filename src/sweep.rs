//! The whole cache at once: walking, clearing, resizing, upkeep. Their cost is their caller's, in slices: no lock is held for
//! more than 64 entries.

use crate::cache::Cache;
use crate::engine::{SLICE, epoch};
use crate::error::CapacityError;
use crate::observe::Cause;
use crate::time::nanos;
use std::fmt;
use std::hash::{BuildHasher, Hash};

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// How many entries are resident. Those whose deadline has passed count until they are taken out, by later writes or by
    /// [`maintain`](Self::maintain). O(segments).
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// cache.put(1, 1);
    /// assert_eq!(cache.len(), 1);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.engine.stripes().map(|stripe| stripe.lock().len()).sum()
    }

    /// True if [`len`](Self::len) is 0. O(segments).
    ///
    /// ```
    /// assert!(cachette::Cache::<u32, u32>::new(10).is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Clones of all live pairs, in no order. Touches nothing.
    ///
    /// An entry that is resident throughout the walk is met once; one that comes or goes meanwhile, at most once, and a key
    /// deleted and written again perhaps twice. Entries are read 64 at a time, and cloned outside the lock.
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// cache.put(1, 'a');
    /// cache.put(2, 'b');
    /// let mut pairs: Vec<_> = cache.iter().collect();
    /// pairs.sort();
    /// assert_eq!(pairs, [(1, 'a'), (2, 'b')]);
    /// ```
    #[must_use]
    pub fn iter(&self) -> Iter<'_, K, V, S>
    where
        K: Clone,
        V: Clone,
    {
        Iter { cache: self, stripe: 0, from: 0, slice: Vec::new().into_iter() }
    }

    /// Deletes the entries that `keep` does not accept.
    ///
    /// `keep` runs outside every lock and may call the cache. An entry that is replaced between its test and its deletion
    /// stays; one that is written while the walk goes on may be tested, too. So are stale ones that may yet be
    /// [served](crate::Freshness::stale_if_error). Loads under way will not fill the cache. O(n).
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// (0..6).for_each(|i| cache.put(i, i * 10));
    /// cache.retain(|key, _| key % 2 == 0);
    /// assert_eq!(cache.len(), 3);
    /// ```
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        let stay = self.lifetimes.freshness.map_or(0, |freshness| nanos(freshness.stay()));
        for stripe in self.engine.stripes() {
            let mut from = 0;
            loop {
                let mut delivery = self.delivery();
                // What it finds stays readable, and its slot is not used again, until it is dropped.
                let pin = epoch::pin();
                let (mut doomed, next, last) = {
                    let mut segment = stripe.lock();
                    segment.pending().fence_all(&mut delivery.out);
                    let gone_by = self.now_in(&segment).saturating_sub(stay);
                    let (slice, next) = segment.slice(from, SLICE, gone_by, pin.guard());
                    (slice, next, next == segment.end())
                };
                doomed.retain(|found| !keep(&found.entry.key, &found.entry.value));
                let mut segment = stripe.lock();
                let now = self.now_in(&segment);
                for found in &doomed {
                    let dead = segment.is_dead(found.slot, now);
                    let cause = if dead { Cause::Expired } else { Cause::Deleted };
                    segment.detach(found.slot, cause, &mut delivery.out);
                }
                self.engine.give_back(&mut delivery.out);
                segment.tidy(&mut delivery.out);
                drop(segment);
                from = next;
                if last {
                    break;
                }
            }
        }
    }

    /// Deletes every entry that is there now, and keeps loads under way from filling the cache. O(n).
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// cache.put(1, 1);
    /// cache.clear();
    /// assert!(cache.is_empty());
    /// ```
    #[doc(alias = "invalidate_all")]
    pub fn clear(&self) {
        for stripe in self.engine.stripes() {
            let (mut from, mut end) = (0, usize::MAX);
            while from < end {
                let mut delivery = self.delivery();
                let mut segment = stripe.lock();
                segment.pending().fence_all(&mut delivery.out);
                // What is put behind the walk while it goes on was put after it began.
                end = end.min(segment.end());
                from = segment.detach_slice(from, Cause::Cleared, &mut delivery.out);
                self.engine.give_back(&mut delivery.out);
                segment.tidy(&mut delivery.out);
                drop(segment);
            }
        }
    }

    /// Changes the capacity. When it returns, the weight is within the new one.
    ///
    /// # Errors
    ///
    /// [`CapacityError`] if the policy gives up too little, as [`NoEviction`](crate::policy::NoEviction) does: the capacity
    /// stays as it was. What other policies had given up by then is gone.
    ///
    /// O(segments), and O(entries evicted), 64 between two unlocks.
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// (0..10).for_each(|i| cache.put(i, i));
    /// cache.set_capacity(4)?;
    /// assert_eq!((cache.weight(), cache.capacity()), (4, 4));
    /// # Ok::<(), cachette::CapacityError>(())
    /// ```
    #[doc(alias = "resize")]
    pub fn set_capacity(&self, capacity: u64) -> Result<(), CapacityError> {
        let mut delivery = self.delivery();
        if self.engine.set_capacity(capacity, &|| self.now(), &mut delivery.out) {
            Ok(())
        } else {
            Err(CapacityError { wanted: capacity, capacity: self.capacity() })
        }
    }

    /// Takes out every entry whose deadline has passed a tick (about a millisecond) ago or more.
    ///
    /// Reads never return such an entry, and writes take a few out in passing, so this is needed only to free the memory of
    /// a cache that is not written to: call it from a timer of yours, or start a [`Maintainer`](crate::Maintainer).
    /// O(expired), 64 between two unlocks.
    ///
    /// ```
    /// use cachette::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().capacity(9).clock(clock.clone()).build()?;
    /// cache.put_with_ttl(1, 1, Duration::from_secs(1));
    /// clock.advance(Duration::from_secs(2));
    /// assert_eq!(cache.len(), 1);
    /// cache.maintain();
    /// assert_eq!(cache.len(), 0);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    #[doc(alias = "run_pending_tasks")]
    pub fn maintain(&self) {
        for stripe in self.engine.stripes() {
            let mut more = true;
            while more {
                let mut delivery = self.delivery();
                let mut segment = stripe.lock();
                let now = self.now_in(&segment);
                more = segment.expire(now, SLICE, &mut delivery.out);
                self.engine.give_back(&mut delivery.out);
                segment.tidy(&mut delivery.out);
            }
            stripe.lock().seal();
        }
        epoch::domain().grace(epoch::Grace::Wait);
        for stripe in self.engine.stripes() {
            let mut more = true;
            while more {
                let mut delivery = self.delivery();
                more = stripe.lock().reclaim_slice(&mut delivery.out);
            }
        }
    }
}

/// A walk over the live pairs of a cache: see [`Cache::iter`].
pub struct Iter<'a, K, V, S = ahash::RandomState> {
    cache: &'a Cache<K, V, S>,
    /// The segment being walked.
    stripe: usize,
    /// The slot in it to go on from.
    from: usize,
    slice: std::vec::IntoIter<(K, V)>,
}

impl<K, V, S> Iterator for Iter<'_, K, V, S>
where
    K: Clone,
    V: Clone,
{
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        loop {
            if let Some(pair) = self.slice.next() {
                return Some(pair);
            }
            let pin = epoch::pin();
            let stripe = self.cache.engine.stripe_from(self.stripe)?;
            if stripe.number != self.stripe {
                (self.stripe, self.from) = (stripe.number, 0);
            }
            let segment = stripe.lock();
            let now = self.cache.now_in(&segment);
            let (slice, next) = segment.slice(self.from, SLICE, now, pin.guard());
            self.from = next;
            if next == segment.end() {
                (self.stripe, self.from) = (self.stripe + 1, 0);
            }
            drop(segment);
            let pairs =
                slice.iter().map(|found| (found.entry.key.clone(), found.entry.value.clone()));
            self.slice = pairs.collect::<Vec<_>>().into_iter();
        }
    }
}

impl<K, V, S> std::iter::FusedIterator for Iter<'_, K, V, S>
where
    K: Clone,
    V: Clone,
{
}

impl<K, V, S> fmt::Debug for Iter<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("segment", &self.stripe).finish_non_exhaustive()
    }
}

impl<'a, K, V, S> IntoIterator for &'a Cache<K, V, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    S: BuildHasher,
{
    type Item = (K, V);
    type IntoIter = Iter<'a, K, V, S>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
