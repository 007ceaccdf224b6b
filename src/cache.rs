//! The public face: hash, choose the segment, deliver what left, run the user's code.
//!
//! Every operation has the same shape. The user's code that it needs (hash, weigher, expiry) runs first; then the key's
//! segment is locked, looked at and changed; then, unlocked, what left is told to the listener and dropped, and the value is
//! cloned or shown to the closure.

use crate::builder::Builder;
use crate::caught::caught;
use crate::engine::{self, Engine, Entry, Found, IN_PASSING, Locked, Outgoing};
use crate::expiry::Lifetimes;
use crate::load::Ticket;
use crate::observe::{Cause, Recorder, Stats, Tally};
use crate::sync::Arc;
use crate::time::{Clock, NEVER, nanos};
use equivalent::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::mem::needs_drop;

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
    pub fn builder() -> Builder<K, V> {
        Builder::new()
    }
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

/// An entry that a caller looks at, outside the lock. It may have left the cache meanwhile, with this its last owner: then a
/// panic in its destructor goes no further than here, even if the caller's own code is panicking.
pub(crate) struct Held<'a, K, V, S> {
    cache: &'a Cache<K, V, S>,
    entry: Option<Arc<Entry<K, V>>>,
}

impl<K, V, S> Held<'_, K, V, S> {
    pub(crate) fn get(&self) -> Option<&Arc<Entry<K, V>>> {
        self.entry.as_ref()
    }

    pub(crate) fn value(&self) -> Option<&V> {
        self.entry.as_ref().map(|entry| &entry.value)
    }
}

impl<K, V, S> Drop for Held<'_, K, V, S> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take().and_then(Arc::into_inner) {
            self.cache.contain(Tally::DropPanics, || drop(entry));
        }
    }
}

/// Without bounds: what dropping the cache needs too.
impl<K, V, S> Cache<K, V, S> {
    pub(crate) fn delivery(&self) -> Delivery<'_, K, V, S> {
        Delivery { cache: self, out: Outgoing::new() }
    }

    /// A clone of the value of an entry that may have left meanwhile.
    pub(crate) fn clone_of(&self, entry: Arc<Entry<K, V>>) -> V
    where
        V: Clone,
    {
        // Declared before the other, so dropped after it: a panic of the destructor ends here.
        let _held = self.hold(Some(Arc::clone(&entry)));
        let entry = entry;
        entry.value.clone()
    }

    pub(crate) fn hold(&self, entry: Option<Arc<Entry<K, V>>>) -> Held<'_, K, V, S> {
        Held { cache: self, entry }
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
    pub(crate) fn contain(&self, tally: Tally, f: impl FnOnce()) {
        if caught(f) {
            self.recorder.count(tally);
        }
    }

    /// The time by the cache's clock. It stops short of the last instant, which as a deadline means never.
    pub(crate) fn now(&self) -> u64 {
        nanos(self.clock.now()).min(NEVER - 1)
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
        // Under the lock: whoever gathers room finds all of it resident, or free.
        self.engine.give_back(out);
        drop(segment);
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
        self.hold(self.read(self.hash(key), key)).value().map(f)
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
        let found = self.look(self.hash(key), key);
        self.hold(found.map(|found| found.entry)).value().cloned()
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
