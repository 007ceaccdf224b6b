//! The public face: hash, choose the segment, deliver what left, run the user's code.
//!
//! Every operation has the same shape. The user's code that it needs (hash, weigher, expiry) runs first; then the key's
//! segment is locked, looked at and changed; then, unlocked, what left is told to the listener and dropped, and the value is
//! cloned or shown to the closure.

use crate::builder::Builder;
use crate::caught::caught;
use crate::engine::deadlines::Deadlines;
use crate::engine::epoch::{self, Guard};
use crate::engine::{
    Engine, Entry, Found, Held, IN_PASSING, Outgoing, Read, SLICE, Segment, Shared,
};
use crate::expiry::Lifetimes;
use crate::load::Ticket;
use crate::observe::{Cause, Recorder, Stats, Tally};
use crate::policy::Slot;
use crate::sync::Arc;
use crate::time::{Clock, Timer};
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
/// - Reads take no lock, and wait for nobody.
/// - The user's code (`Hash`, `Clone`, `Drop`, closures, listeners, loaders, weighers) runs outside every lock; it may panic,
///   or call the cache again. The exception is the key's `Eq` (and [`Equivalent`]) in a write: it runs under a lock, may panic,
///   but must not call a cache; one that does panics.
///
/// # When values are dropped
///
/// A value that has left the cache is dropped once no reader can be looking at it: by a later write, perhaps on another thread,
/// by [`maintain`](Self::maintain), or with the cache. [`Stats::limbo`] counts those that wait. A panic in its destructor is
/// caught and counted in [`stats`](Self::stats).
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
    pub(crate) engine: Engine<K, V, Ticket<V>>,
    pub(crate) hasher: S,
    pub(crate) weigher: Option<Box<Weigher<K, V>>>,
    pub(crate) listener: Option<Box<Listener<K, V>>>,
    pub(crate) lifetimes: Lifetimes<K, V>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) recorder: Recorder,
}

impl<K, V> Cache<K, V> {
    /// A cache of at most `capacity` entries, without expiry. Who leaves when it is full decides
    /// [`Adaptive`](crate::policy::Adaptive).
    ///
    /// A capacity of 0 is legal: every write is refused.
    ///
    /// ```
    /// let cache = cachette::Cache::new(2);
    /// for i in 0..3 {
    ///     cache.put(i, i * i);
    /// }
    /// assert_eq!(cache.len(), 2);
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
    pub(crate) out: Outgoing<K, V, Ticket<V>>,
}

impl<K, V, S> Drop for Delivery<'_, K, V, S> {
    fn drop(&mut self) {
        self.cache.deliver(&mut self.out);
    }
}

/// Without bounds: what dropping the cache needs too.
impl<K, V, S> Cache<K, V, S> {
    #[inline]
    pub(crate) fn delivery(&self) -> Delivery<'_, K, V, S> {
        Delivery { cache: self, out: Outgoing::new(self.listener.is_some()) }
    }

    /// Counts what left, tells the listener, and drops what nobody looks at any more. No lock is held.
    #[inline]
    pub(crate) fn deliver(&self, out: &mut Outgoing<K, V, Ticket<V>>) {
        if !out.is_quiet() {
            self.deliver_all(out);
        }
    }

    fn deliver_all(&self, out: &mut Outgoing<K, V, Ticket<V>>) {
        out.take_counts(|cause, count| self.recorder.add(Tally::Removed(cause), u64::from(count)));
        match out.take_evicted_weight() {
            0 => {}
            weight => self.recorder.add(Tally::EvictedWeight, weight),
        }
        if out.has_more() {
            self.deliver_more(out);
        }
        for mark in out.take_loads() {
            self.contain(Tally::DropPanics, || drop(mark));
        }
    }

    /// All that costs more than counting.
    #[inline(never)]
    fn deliver_more(&self, out: &mut Outgoing<K, V, Ticket<V>>) {
        let departed = out.take_departed();
        if !departed.is_empty() {
            for left in &departed {
                self.tell(self.engine.shown(left), left.cause);
            }
            self.engine.give_up(departed, out);
        }
        self.engine.have_grace(out);
        for entry in out.take_dead() {
            self.contain(Tally::DropPanics, || drop(entry));
        }
    }

    /// Tells the listener, if there is one.
    pub(crate) fn tell(&self, entry: &Entry<K, V>, cause: Cause) {
        if let Some(listener) = &self.listener {
            let told = || listener(&entry.key, &entry.value, cause);
            self.contain(Tally::ListenerPanics, told);
        }
    }

    /// Runs user code whose panic must not keep others from what is theirs; counts the panic.
    pub(crate) fn contain(&self, tally: Tally, f: impl FnOnce()) {
        if caught(f) {
            self.recorder.count(tally);
        }
    }

    pub(crate) fn timer(&self) -> Timer<'_> {
        Timer::new(&self.clock)
    }

    /// The time by the cache's clock.
    pub(crate) fn now(&self) -> u64 {
        self.timer().now()
    }

    /// The time, if this segment has anything to expire.
    pub(crate) fn now_in(&self, segment: &Segment<'_, K, V, Ticket<V>>) -> u64 {
        if segment.expires() { self.now() } else { 0 }
    }

    /// Gives back to the budget what has left, delivers it after the lock, and takes expired entries out in passing.
    pub(crate) fn finish(
        &self,
        mut segment: Segment<'_, K, V, Ticket<V>>,
        now: u64,
        out: &mut Outgoing<K, V, Ticket<V>>,
    ) {
        segment.expire(now, IN_PASSING, out);
        // Under the lock: whoever gathers room finds all of it resident, or free.
        self.engine.give_back(out);
        segment.tidy(out);
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
            let (entries, weight) = segment.limbo();
            stats.limbo += entries as u64;
            stats.limbo_weight = stats.limbo_weight.saturating_add(weight);
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
        if self.listener.is_some() {
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
        if needs_drop::<Entry<K, V>>() {
            for dead in std::iter::from_fn(|| self.engine.drain(SLICE)) {
                for entry in dead {
                    if caught(|| drop(entry)) {
                        self.recorder.count(Tally::DropPanics);
                    }
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
    #[inline]
    pub(crate) fn read<'p, Q>(
        &'p self,
        guard: Guard<'p>,
        hash: u64,
        key: &Q,
    ) -> Option<&'p Entry<K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        Some(self.read_found(guard, hash, key)?.entry)
    }

    #[inline]
    pub(crate) fn read_found<'p, Q>(
        &'p self,
        guard: Guard<'p>,
        hash: u64,
        key: &Q,
    ) -> Option<Found<'p, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.read_if(guard, hash, key, |shared, found| {
            !shared.deadlines.any()
                || self.outlives(&shared.deadlines, found.slot, self.timer()).is_some()
        })
    }

    /// The same, where `lives` judges an entry.
    #[inline]
    pub(crate) fn read_if<'p, Q>(
        &'p self,
        guard: Guard<'p>,
        hash: u64,
        key: &Q,
        lives: impl FnOnce(&Shared<K, V>, &Found<'p, K, V>) -> bool,
    ) -> Option<Found<'p, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let Some(found) = self.engine.read(guard, hash, key, lives) else {
            self.recorder.count(Tally::Misses);
            return None;
        };
        self.recorder.count(Tally::Hits);
        if self.lifetimes.expiry.is_some() {
            let deadline = self.engine.deadline_of(hash, &found);
            self.expiry_of_read(hash, &Read { found, deadline });
        }
        Some(found)
    }

    /// A time not later than now, if a slot's deadline is yet to come. Apart, so that a hit without expiry loads nothing of this.
    #[inline(never)]
    pub(crate) fn outlives(
        &self,
        deadlines: &Deadlines,
        slot: Slot,
        timer: Timer<'_>,
    ) -> Option<u64> {
        deadlines.outlive(slot, timer, self.lifetimes.idle)
    }

    /// Looks a key up and touches nothing.
    #[inline]
    pub(crate) fn look<'p, Q>(
        &'p self,
        guard: Guard<'p>,
        hash: u64,
        key: &Q,
    ) -> Option<Read<'p, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.engine.look(guard, hash, key, self.timer())
    }

    /// The entry of a key, to be kept for as long as the caller likes. Touches nothing.
    pub(crate) fn snapshot<Q>(&self, hash: u64, key: &Q) -> Option<Held<'_, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let pin = epoch::pin();
        let read = self.look(pin.guard(), hash, key)?;
        Some(self.engine.hold(hash, read.found, &pin))
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
        let pin = epoch::pin();
        self.read(pin.guard(), self.hash(key), key).map(|entry| entry.value.clone())
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
        let hash = self.hash(key);
        let pin = epoch::pin();
        let found = self.read_found(pin.guard(), hash, key)?;
        // `f` may take its time: it holds back this entry, and nothing else.
        let held = self.engine.hold(hash, found, &pin);
        drop(pin);
        Some(f(&held.value))
    }

    /// A clone of the value of a key, touching nothing: neither the policy's order, nor an idle deadline, nor the
    /// statistics. O(1).
    ///
    /// ```
    /// use cachette::{Cache, policy::Lru};
    ///
    /// let cache = Cache::builder().capacity(2).policy(Lru::new).build()?;
    /// cache.put(1, 'a');
    /// cache.put(2, 'b');
    /// assert_eq!(cache.peek(&1), Some('a'));
    /// cache.put(3, 'c');
    /// assert_eq!(cache.peek(&1), None, "1 was still the least recently used");
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    #[must_use]
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        let pin = epoch::pin();
        let read = self.look(pin.guard(), self.hash(key), key)?;
        Some(read.found.entry.value.clone())
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
        let pin = epoch::pin();
        self.look(pin.guard(), self.hash(key), key).is_some()
    }
}
