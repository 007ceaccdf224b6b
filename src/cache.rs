//! The public face: hash, choose the segment, deliver what left, run the user's code.
//!
//! Every operation has the same shape. The user's code that it needs (hash, weigher, expiry) runs first; then the key's
//! segment is locked, looked at and changed; then, unlocked, what left is told to the listener and dropped, and the value is
//! cloned or shown to the closure.

use crate::builder::Builder;
use crate::engine::{
    self, Engine, Entry, Found, IN_PASSING, Lifetime, Locked, Outgoing, When, Write, Written,
};
use crate::error::Refused;
use crate::expiry::Lifetimes;
use crate::load::Ticket;
use crate::observe::{Cause, Recorder, Stats, Tally};
use crate::sync::Arc;
use crate::time::{Clock, nanos};
use equivalent::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::mem::needs_drop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

pub(crate) type Weigher<K, V> = dyn Fn(&K, &V) -> u64 + Send + Sync;
pub(crate) type Listener<K, V> = dyn Fn(&K, &V, Cause) + Send + Sync;

/// A bounded, concurrent cache.
///
/// All methods take `&self`: share it by reference, or behind an `Arc`. Keys are looked up by any borrowed form
/// ([`Equivalent`]): a `Cache<String, _>` by `&str`.
///
/// # Guarantees
///
/// - The weight of what is resident never exceeds the capacity, at any instant.
/// - Nothing is returned at or after its deadline.
/// - The user's code (`Hash`, `Clone`, `Drop`, closures, listeners, loaders, weighers) runs outside every lock; it may panic,
///   or call the cache again. The exception is the key's `Eq` (and [`Equivalent`]): it runs under a lock, may panic, but must
///   not call a cache; one that does panics.
///
/// # When values are dropped
///
/// A value that has left the cache is dropped when the last reader that still looks at it is done, perhaps on another thread.
/// A panic in its destructor is caught and counted in [`stats`](Self::stats).
///
/// # Example
///
/// ```
/// use cachette::Cache;
///
/// let cache = Cache::new(10_000);
/// cache.put("answer".to_string(), 42);
/// assert_eq!(cache.get("answer"), Some(42));
/// assert!(cache.delete("answer"));
/// assert_eq!(cache.get("answer"), None);
/// ```
pub struct Cache<K, V, S = ahash::RandomState> {
    pub(crate) engine: Engine<K, V, Ticket<K, V>>,
    pub(crate) hasher: S,
    pub(crate) weigher: Option<Box<Weigher<K, V>>>,
    pub(crate) listener: Option<Box<Listener<K, V>>>,
    pub(crate) lifetimes: Lifetimes<K, V>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) recorder: Recorder,
}

impl<K, V> Cache<K, V> {
    /// A cache of at most `capacity` entries, LRU, without expiry.
    ///
    /// A capacity of 0 is legal: every write is refused.
    ///
    /// ```
    /// let cache = cachette::Cache::new(2);
    /// for i in 0..3 {
    ///     cache.put(i, i * i);
    /// }
    /// assert_eq!(cache.get(&0), None);
    /// assert_eq!(cache.get(&2), Some(4));
    /// ```
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Builder::new().assemble(capacity)
    }

    /// Chooses everything: see [`Builder`].
    ///
    /// ```
    /// use cachette::{Cache, policy::Lfu};
    /// use std::time::Duration;
    ///
    /// let cache = Cache::<String, Vec<u8>>::builder()
    ///     .capacity(64 << 20)
    ///     .weigher(|key, value| (key.len() + value.len()) as u64)
    ///     .policy(Lfu::new)
    ///     .time_to_live(Duration::from_secs(300))
    ///     .build()?;
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    #[must_use]
    pub fn builder() -> Builder<K, V> {
        Builder::new()
    }
}

/// How long a write is to live, before it is known what it replaces.
#[derive(Clone, Copy)]
pub(crate) enum Ttl {
    /// As the cache was built.
    Configured,
    /// This long.
    Of(Duration),
    /// As long as what it replaces has left.
    Kept,
}

/// What leaves in one operation. It is delivered when this is dropped: even if a panic cuts the operation short.
pub(crate) struct Delivery<'a, K, V, S> {
    cache: &'a Cache<K, V, S>,
    pub(crate) out: Outgoing<K, V, Ticket<K, V>>,
}

impl<K, V, S> Drop for Delivery<'_, K, V, S> {
    fn drop(&mut self) {
        self.cache.deliver(&mut self.out);
    }
}

/// Without bounds: what dropping the cache needs too.
impl<K, V, S> Cache<K, V, S> {
    pub(crate) fn delivery(&self) -> Delivery<'_, K, V, S> {
        Delivery { cache: self, out: Outgoing::new() }
    }

    /// Counts what left, tells the listener, and drops it. No lock is held.
    pub(crate) fn deliver(&self, out: &mut Outgoing<K, V, Ticket<K, V>>) {
        if out.is_empty() {
            return;
        }
        for engine::Removed { entry, cause, weight } in out.drain() {
            self.recorder.count(Tally::Removed(cause));
            if cause == Cause::Evicted {
                self.recorder.add(Tally::EvictedWeight, weight);
            }
            if let Some(listener) = &self.listener {
                let told = || listener(&entry.key, &entry.value, cause);
                self.contain(Tally::ListenerPanics, told);
            }
            self.contain(Tally::DropPanics, || drop(entry));
        }
        for mark in out.loads.drain(..) {
            self.contain(Tally::DropPanics, || drop(mark));
        }
    }

    /// Runs user code whose panic must not keep others from what is theirs; counts the panic.
    fn contain(&self, tally: Tally, f: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(f)).is_err() {
            self.recorder.count(tally);
        }
    }

    /// The time by the cache's clock.
    pub(crate) fn now(&self) -> u64 {
        nanos(self.clock.now())
    }

    /// The time, if this segment has anything to expire.
    pub(crate) fn now_in(&self, segment: &Locked<'_, K, V, Ticket<K, V>>) -> u64 {
        if segment.expires() { self.now() } else { 0 }
    }

    /// Gives back to the budget what has left, delivers it after the lock, and takes expired entries out in passing.
    pub(crate) fn finish(
        &self,
        mut segment: Locked<'_, K, V, Ticket<K, V>>,
        now: u64,
        out: &mut Outgoing<K, V, Ticket<K, V>>,
    ) {
        segment.expire(now, IN_PASSING, out);
        drop(segment);
        self.engine.give_back(out);
    }

    /// Statistics since the cache was built. O(threads that have used it + segments).
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// cache.put(1, 1);
    /// let before = cache.stats();
    /// cache.get(&1);
    /// cache.get(&2);
    /// let interval = cache.stats() - before;
    /// assert_eq!((interval.hits, interval.misses), (1, 1));
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.recorder.snapshot();
        for stripe in self.engine.stripes() {
            let segment = stripe.lock();
            stats.entries += segment.len() as u64;
            stats.policy_panics += segment.policy_panics();
        }
        stats.weight = self.weight();
        stats.capacity = self.capacity();
        stats
    }

    /// The weight of what is resident, with what is reserved for writes under way. Never more than the capacity. O(1).
    ///
    /// Without a weigher every entry weighs 1.
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// cache.put("a", 1);
    /// assert_eq!(cache.weight(), 1);
    /// ```
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.engine.budget.used()
    }

    /// The most weight that may be resident. O(1).
    ///
    /// ```
    /// assert_eq!(cachette::Cache::<u32, u32>::new(10).capacity(), 10);
    /// ```
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.engine.budget.capacity()
    }
}

impl<K, V, S> Drop for Cache<K, V, S> {
    fn drop(&mut self) {
        if self.listener.is_none() && !needs_drop::<K>() && !needs_drop::<V>() {
            return;
        }
        for stripe in self.engine.stripes() {
            let mut from = 0;
            loop {
                let mut delivery = self.delivery();
                let mut segment = stripe.lock();
                from = segment.detach_slice(from, Cause::Dropped, &mut delivery.out);
                if from == segment.end() {
                    break;
                }
            }
        }
    }
}

impl<K, V, S> fmt::Debug for Cache<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("weight", &self.weight())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

/// Reading.
impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    pub(crate) fn hash<Q>(&self, key: &Q) -> u64
    where
        Q: ?Sized + Hash,
    {
        crate::hash::mix(self.hasher.hash_one(key))
    }

    /// Looks a key up as a reader does: counted, and heard by the policy.
    pub(crate) fn read<Q>(&self, hash: u64, key: &Q) -> Option<Arc<Entry<K, V>>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let (found, now) = {
            let mut segment = self.engine.lock(hash);
            let now = self.now_in(&segment);
            (segment.read(hash, key, now, self.lifetimes.idle), now)
        };
        self.recorder.count(if found.is_some() { Tally::Hits } else { Tally::Misses });
        let found = found?;
        self.expiry_of_read(hash, &found, now);
        Some(found.entry)
    }

    /// Looks a key up and touches nothing.
    pub(crate) fn look<Q>(&self, hash: u64, key: &Q) -> Option<Found<K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let segment = self.engine.lock(hash);
        let now = self.now_in(&segment);
        segment.find_live(hash, key, now).and_then(|slot| segment.found(slot))
    }

    /// A clone of the value of a key. A use of the entry, and a hit or a miss in the statistics.
    ///
    /// O(1), and a clone of `V`, outside the lock. Where that is dear, see [`get_with`](Self::get_with), or keep an `Arc`.
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// cache.put("a".to_string(), 1);
    /// assert_eq!(cache.get("a"), Some(1));
    /// assert_eq!(cache.get("b"), None);
    /// ```
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        self.get_with(key, V::clone)
    }

    /// What `f` makes of the value of a key, without cloning it. Otherwise as [`get`](Self::get).
    ///
    /// `f` runs outside the lock and may call the cache.
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// cache.put("page", vec![0_u8; 4096]);
    /// assert_eq!(cache.get_with("page", |page| page.len()), Some(4096));
    /// ```
    pub fn get_with<Q, R>(&self, key: &Q, f: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.read(self.hash(key), key).map(|entry| f(&entry.value))
    }

    /// A clone of the value of a key, touching nothing: neither the policy's order, nor an idle deadline, nor the
    /// statistics. O(1).
    ///
    /// ```
    /// let cache = cachette::Cache::new(2);
    /// cache.put(1, 'a');
    /// cache.put(2, 'b');
    /// assert_eq!(cache.peek(&1), Some('a'));
    /// cache.put(3, 'c');
    /// assert_eq!(cache.peek(&1), None, "1 was still the least recently used");
    /// ```
    #[must_use]
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        self.look(self.hash(key), key).map(|found| found.entry.value.clone())
    }

    /// True if the key has a live entry. Touches nothing. O(1).
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// cache.put(1, ());
    /// assert!(cache.contains_key(&1));
    /// ```
    #[must_use]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.look(self.hash(key), key).is_some()
    }
}

/// Writing.
impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Weighs an entry, decides how long it lives, and publishes it if it may be.
    pub(crate) fn write(
        &self,
        entry: Arc<Entry<K, V>>,
        hash: u64,
        ttl: Ttl,
        when: When<'_, K, V, Ticket<K, V>>,
        out: &mut Outgoing<K, V, Ticket<K, V>>,
    ) -> Written<K, V> {
        let weight = self.weigher.as_ref().map_or(1, |weigh| weigh(&entry.key, &entry.value));
        let lifetime: Lifetime = self.lifetime(hash, &entry, ttl);
        let written =
            self.engine.write(Write { entry, hash, weight, lifetime, when }, &|| self.now(), out);
        if let Written::Refused { .. } = written {
            self.recorder.count(Tally::Removed(Cause::Refused));
        }
        written
    }

    /// Publishes a pair whatever the key has, and tells the listener if it is refused.
    pub(crate) fn store(&self, key: K, value: V, ttl: Ttl) -> Option<Arc<Entry<K, V>>> {
        let hash = self.hash(&key);
        let entry = Arc::new(Entry { key, value });
        let mut delivery = self.delivery();
        match self.write(entry, hash, ttl, When::Always, &mut delivery.out) {
            Written::Stored { old } => old,
            Written::NotMet { entry } | Written::Refused { entry, .. } => {
                self.refuse(&entry);
                None
            }
        }
    }

    /// Tells the listener that an entry never got in.
    pub(crate) fn refuse(&self, entry: &Entry<K, V>) {
        if let Some(listener) = &self.listener {
            let told = || listener(&entry.key, &entry.value, Cause::Refused);
            self.contain(Tally::ListenerPanics, told);
        }
    }

    /// Gives a key a value, replacing the one it has. A use of the entry.
    ///
    /// An entry that cannot be kept (heavier than the capacity, or nothing would make room) is refused: the removal listener
    /// hears of it, and the key's old value, being out of date, is deleted. [`try_put`](Self::try_put) hands it back instead.
    ///
    /// O(1), and O(entries displaced) if it is heavy.
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// cache.put("a", 1);
    /// cache.put("a", 2);
    /// assert_eq!(cache.get("a"), Some(2));
    /// ```
    #[doc(alias = "insert", alias = "set")]
    pub fn put(&self, key: K, value: V) {
        drop(self.store(key, value, Ttl::Configured));
    }

    /// As [`put`](Self::put), but the entry lives for `ttl`, whatever the cache's own time to live.
    ///
    /// With a `ttl` of zero the key has no value afterwards; [`Duration::MAX`] is for ever. The cache's jitter applies, its
    /// time to idle too.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let cache = cachette::Cache::new(10);
    /// cache.put_with_ttl("token", 7, Duration::from_secs(60));
    /// assert!(cache.time_to_live_of("token").unwrap() <= Duration::from_secs(60));
    /// ```
    pub fn put_with_ttl(&self, key: K, value: V, ttl: Duration) {
        drop(self.store(key, value, Ttl::Of(ttl)));
    }

    /// As [`put`](Self::put), but what is refused comes back, with the reason.
    ///
    /// # Errors
    ///
    /// [`Refused`] has the key and the value. The key's old value, being out of date, is gone.
    ///
    /// ```
    /// use cachette::{Cache, Reason, policy::NoEviction};
    ///
    /// let cache = Cache::builder().capacity(1).policy(NoEviction::new).build()?;
    /// assert!(cache.try_put(1, "a").is_ok());
    /// let refused = cache.try_put(2, "b").unwrap_err();
    /// assert_eq!((refused.key, refused.value, refused.reason), (2, "b", Reason::Full));
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn try_put(&self, key: K, value: V) -> Result<(), Refused<K, V>> {
        let hash = self.hash(&key);
        let entry = Arc::new(Entry { key, value });
        let mut delivery = self.delivery();
        match self.write(entry, hash, Ttl::Configured, When::Always, &mut delivery.out) {
            Written::Refused { entry, reason } => {
                let Entry { key, value } = unpublished(entry);
                Err(Refused { key, value, reason })
            }
            Written::Stored { .. } | Written::NotMet { .. } => Ok(()),
        }
    }

    /// Deletes a key's entry. True if it had a live one.
    ///
    /// A load of this key that is under way will not fill the cache. O(1).
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// cache.put(1, 1);
    /// assert!(cache.delete(&1));
    /// assert!(!cache.delete(&1));
    /// ```
    #[doc(alias = "remove", alias = "invalidate")]
    pub fn delete<Q>(&self, key: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.remove(key).is_some()
    }

    /// Deletes a key's entry and returns a clone of its value. Otherwise as [`delete`](Self::delete).
    ///
    /// ```
    /// let cache = cachette::Cache::new(10);
    /// cache.put(1, "one");
    /// assert_eq!(cache.take(&1), Some("one"));
    /// assert_eq!(cache.take(&1), None);
    /// ```
    #[doc(alias = "remove")]
    pub fn take<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        self.remove(key).map(|entry| entry.value.clone())
    }

    fn remove<Q>(&self, key: &Q) -> Option<Arc<Entry<K, V>>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let hash = self.hash(key);
        let mut delivery = self.delivery();
        let mut segment = self.engine.lock(hash);
        let now = self.now_in(&segment);
        let slot = segment.find(hash, key);
        segment.pending.fence(hash, key, &mut delivery.out);
        let live = slot.filter(|&slot| !segment.is_dead(slot, now));
        let entry = live.and_then(|slot| segment.entry(slot).map(Arc::clone));
        if let Some(slot) = slot {
            let cause = if live.is_some() { Cause::Deleted } else { Cause::Expired };
            segment.detach(slot, cause, &mut delivery.out);
        }
        self.finish(segment, now, &mut delivery.out);
        entry
    }
}

/// The pair in an entry that was never published: no one else has it.
pub(crate) fn unpublished<K, V>(entry: Arc<Entry<K, V>>) -> Entry<K, V> {
    Arc::into_inner(entry).unwrap_or_else(|| unreachable!("it was never published"))
}
