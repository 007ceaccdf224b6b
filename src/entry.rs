//! Writes that depend on what is there: `compute` and its kin.
//!
//! The user's closure runs unlocked, on a snapshot. What it decides is published if and only if the key's entry, or its
//! absence, is still the one it saw; else it runs again. A computation that has lost three times queues, so that those who
//! contend for one key take turns instead of running in vain.

use crate::cache::Cache;
use crate::engine::epoch;
use crate::engine::slab::Slot;
use crate::engine::{Entry, When, Written};
use crate::error::{ComputeError, Refused};
use crate::observe::{Cause, Tally};
use crate::sync::Arc;
use crate::write::Ttl;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// What [`compute`](Cache::compute) is to do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compute<V> {
    /// Leave it as it is.
    Keep,
    /// Give it this value, as [`put`](Cache::put) would.
    Replace(V),
    /// Give it this value for so long, as [`put_with_ttl`](Cache::put_with_ttl) would.
    ReplaceWithTtl(V, Duration),
    /// Give it this value, and let it expire when the old one would have. As `Replace` if there is no old one.
    ReplaceKeepTtl(V),
    /// Delete it.
    Delete,
}

/// What [`compute`](Cache::compute) has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Computed {
    /// Nothing was changed.
    Kept,
    /// The key has the new value.
    Replaced,
    /// The key has no value.
    Deleted,
}

/// Losses after which a computation queues.
const LOSSES: u32 = 3;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Reads, decides and writes a key as one: whatever other threads do, the decision holds for the value that it was made
    /// from.
    ///
    /// `decide` sees the key's live value, or `None`. It runs outside every lock and may call the cache; it runs again if
    /// the key changed meanwhile, so it should have no effects of its own. The look is not counted as a hit or a miss.
    ///
    /// O(1) and `decide`, as often as others get in between; after three such losses the computation queues.
    ///
    /// # Errors
    ///
    /// [`ComputeError::Recursive`] from a computation of the key that this thread is computing already, and from one whose own
    /// closure overtook it by writing the key some other way. [`ComputeError::Refused`], with the key and
    /// the value, if there is no room; the old value is gone then, as after a refused [`put`](Self::put).
    ///
    /// # Example
    ///
    /// A counter that starts at 1 and ends a minute after it started, in one call:
    ///
    /// ```
    /// use cachette::{Cache, Compute};
    /// use std::time::Duration;
    ///
    /// let cache = Cache::new(1_000);
    /// let minute = Duration::from_secs(60);
    /// for _ in 0..3 {
    ///     cache.compute("10.0.0.1", |requests| match requests {
    ///         None => Compute::ReplaceWithTtl(1, minute),
    ///         Some(n) => Compute::ReplaceKeepTtl(n + 1),
    ///     })?;
    /// }
    /// assert_eq!(cache.get("10.0.0.1"), Some(3));
    /// # Ok::<(), cachette::ComputeError<&str, i32>>(())
    /// ```
    #[doc(alias = "entry", alias = "upsert", alias = "update")]
    pub fn compute(
        &self,
        key: K,
        mut decide: impl FnMut(Option<&V>) -> Compute<V>,
    ) -> Result<Computed, ComputeError<K, V>> {
        let hash = self.hash(&key);
        let mut key = key;
        let mut turn = None;
        for losses in 0.. {
            if losses >= LOSSES && turn.is_none() {
                turn = self.engine.turn(hash);
            }
            let frame = Frame::begin(self, hash, key).ok_or(ComputeError::Recursive)?;
            // Kept to the end: while it is, its slot stands for this very entry.
            let current = self.snapshot(hash, &*frame.key);
            let decision = decide(current.as_ref().map(|entry| &entry.value));
            let (mine, disturbed) = frame.end();
            match self.carry_out(decision, mine, hash, current.as_ref().map(|held| held.slot)) {
                Ok(done) => return Ok(done),
                Err(Lost::Refused(refused)) => return Err(ComputeError::Refused(refused)),
                Err(Lost::Race(_)) if disturbed => return Err(ComputeError::Recursive),
                Err(Lost::Race(mine)) => key = mine,
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Does what was decided, if the key still has `current`. The key comes back if it has not.
    fn carry_out(
        &self,
        decision: Compute<V>,
        key: K,
        hash: u64,
        current: Option<Slot>,
    ) -> Result<Computed, Lost<K, V>> {
        let (value, ttl) = match decision {
            Compute::Keep => return Ok(Computed::Kept),
            Compute::Delete if self.delete_current(hash, &key, current) => {
                return Ok(Computed::Deleted);
            }
            Compute::Delete => return Err(Lost::Race(key)),
            Compute::ReplaceWithTtl(value, ttl) => (value, Ttl::Of(ttl)),
            Compute::ReplaceKeepTtl(value) if current.is_some() => (value, Ttl::Kept),
            Compute::Replace(value) | Compute::ReplaceKeepTtl(value) => (value, Ttl::Configured),
        };
        let entry = Entry { key, value };
        let mut delivery = self.delivery();
        match self.write(entry, hash, ttl, When::Current(current), None, &mut delivery.out) {
            Written::Stored { .. } => Ok(Computed::Replaced),
            Written::NotMet { entry: Entry { key, value } } => {
                self.contain(Tally::DropPanics, || drop(value));
                Err(Lost::Race(key))
            }
            Written::Refused { entry: Entry { key, value }, reason } => {
                Err(Lost::Refused(Refused { key, value, reason }))
            }
        }
    }

    /// Deletes a key's entry if it is still `current`; true also if it is still absent.
    fn delete_current(&self, hash: u64, key: &K, current: Option<Slot>) -> bool {
        let mut delivery = self.delivery();
        let mut segment = self.engine.lock(hash);
        let now = self.now_in(&segment);
        let live = segment.find_live(hash, key, now);
        let same = live == current;
        if same {
            segment.pending().fence(hash, key, &mut delivery.out);
            // A stale one is not to be served any more.
            if let Some(slot) = segment.find(hash, key) {
                let cause = if live.is_some() { Cause::Deleted } else { Cause::Expired };
                segment.detach(slot, cause, &mut delivery.out);
            }
        }
        self.finish(segment, now, &mut delivery.out);
        same
    }

    /// Gives a key a value if it has none. True if it was stored.
    ///
    /// False if the key has a live value, or the new one was refused (the removal listener hears which). O(1).
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// assert!(cache.put_if_absent("a", 1));
    /// assert!(!cache.put_if_absent("a", 2));
    /// assert_eq!(cache.get("a"), Some(1));
    /// ```
    pub fn put_if_absent(&self, key: K, value: V) -> bool {
        let hash = self.hash(&key);
        let entry = Entry { key, value };
        let mut delivery = self.delivery();
        match self.write(entry, hash, Ttl::Configured, When::Absent, None, &mut delivery.out) {
            Written::Stored { .. } => true,
            Written::NotMet { entry } => {
                self.contain(Tally::DropPanics, || drop(entry));
                false
            }
            Written::Refused { entry, .. } => {
                self.refuse(entry);
                false
            }
        }
    }

    /// Gives a key a value, and returns a clone of the live value that it replaced. Otherwise as [`put`](Self::put).
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// assert_eq!(cache.get_and_put("a", 1), None);
    /// assert_eq!(cache.get_and_put("a", 2), Some(1));
    /// ```
    #[doc(alias = "insert", alias = "replace", alias = "swap")]
    pub fn get_and_put(&self, key: K, value: V) -> Option<V>
    where
        V: Clone,
    {
        let pin = epoch::pin();
        let old = self.store(key, value, Ttl::Configured, Some(pin.guard()));
        old.map(|found| found.entry.value.clone())
    }

    /// Gives a key a value if it has a live one that `test` accepts. True if it was stored.
    ///
    /// `test` runs outside every lock, and again if the key changed meanwhile; what it accepted is what is replaced. A
    /// refused value (the removal listener hears of it) counts as not stored. O(1) and `test`.
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// cache.put("version", 3);
    /// assert!(cache.replace_if("version", 4, |&now| now < 4));
    /// assert!(!cache.replace_if("version", 4, |&now| now < 4));
    /// ```
    #[doc(alias = "compare_and_swap")]
    pub fn replace_if(&self, key: K, value: V, mut test: impl FnMut(&V) -> bool) -> bool {
        let hash = self.hash(&key);
        let mut entry = Entry { key, value };
        loop {
            let Some(current) = self.snapshot(hash, &entry.key).filter(|held| test(&held.value))
            else {
                return false;
            };
            let mut delivery = self.delivery();
            let when = When::Current(Some(current.slot));
            match self.write(entry, hash, Ttl::Configured, when, None, &mut delivery.out) {
                Written::Stored { .. } => return true,
                Written::NotMet { entry: mine } => entry = mine,
                Written::Refused { entry, .. } => {
                    self.refuse(entry);
                    return false;
                }
            }
        }
    }
}

/// Why a decision was not carried out.
enum Lost<K, V> {
    /// The key had changed.
    Race(K),
    Refused(Refused<K, V>),
}

/// A computation's mark on its key, taken away when this is dropped: a closure may panic.
struct Frame<'a, K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    cache: &'a Cache<K, V, S>,
    hash: u64,
    key: Arc<K>,
    ended: bool,
}

impl<'a, K, V, S> Frame<'a, K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// `None` if this thread is computing this key already.
    fn begin(cache: &'a Cache<K, V, S>, hash: u64, key: K) -> Option<Self> {
        let key = Arc::new(key);
        let begun = {
            let mut segment = cache.engine.lock(hash);
            segment.pending().begin(hash, &key, crate::sync::thread_number())
        };
        begun.then(|| Self { cache, hash, key, ended: false })
    }

    /// Ends the computation: the key, and whether its own thread wrote it meanwhile.
    fn end(mut self) -> (K, bool) {
        let disturbed = self.unmark();
        let key = Arc::clone(&self.key);
        drop(self);
        let key = Arc::into_inner(key).unwrap_or_else(|| unreachable!("its mark is gone"));
        (key, disturbed)
    }

    fn unmark(&mut self) -> bool {
        self.ended = true;
        let (mark, disturbed) = self.cache.engine.lock(self.hash).pending().end(&self.key);
        drop(mark);
        disturbed
    }
}

impl<K, V, S> Drop for Frame<'_, K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    fn drop(&mut self) {
        if !self.ended {
            self.unmark();
        }
    }
}
