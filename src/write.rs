//! Writing one key: put and delete.

use crate::cache::Cache;
use crate::engine::epoch::{self, Guard};
use crate::engine::{Entry, Found, Outgoing, When, Write, Written};
use crate::error::Refused;
use crate::load::Ticket;
use crate::observe::{Cause, Tally};
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// How long a write is to live, before it is known what it replaces.
#[derive(Clone, Copy)]
pub(crate) enum Ttl {
    /// As the cache was built.
    Configured,
    /// The same; its load took so many nanoseconds.
    Loaded(u64),
    /// This long.
    Of(Duration),
    /// As long as what it replaces has left.
    Kept,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Weighs an entry, decides how long it lives, and publishes it if it may be.
    pub(crate) fn write<'p>(
        &'p self,
        entry: Entry<K, V>,
        hash: u64,
        ttl: Ttl,
        when: When<'p, Ticket<V>>,
        guard: Option<Guard<'p>>,
        out: &mut Outgoing<K, V, Ticket<V>>,
    ) -> Written<'p, K, V> {
        let weight = self.weigher.as_ref().map_or(1, |weigh| weigh(&entry.key, &entry.value));
        let (lifetime, terms) = self.lifetime(hash, &entry, ttl);
        let write = Write { entry, hash, weight, lifetime, terms, when, guard };
        let written = self.engine.write(write, &|| self.now(), out);
        if let Written::Refused { .. } = written {
            self.recorder.count(Tally::Removed(Cause::Refused));
        }
        written
    }

    /// Publishes a pair whatever the key has, and tells the listener if it is refused.
    /// What it replaces is shown to who has a guard.
    pub(crate) fn store<'p>(
        &'p self,
        key: K,
        value: V,
        ttl: Ttl,
        guard: Option<Guard<'p>>,
    ) -> Option<Found<'p, K, V>> {
        let hash = self.hash(&key);
        let entry = Entry { key, value };
        let mut delivery = self.delivery();
        match self.write(entry, hash, ttl, When::Always, guard, &mut delivery.out) {
            Written::Stored { old, .. } => old,
            Written::NotMet { entry } | Written::Refused { entry, .. } => {
                self.refuse(entry);
                None
            }
        }
    }

    /// Tells the listener of an entry that never got in, and drops it.
    pub(crate) fn refuse(&self, entry: Entry<K, V>) {
        self.tell(&entry, Cause::Refused);
        self.contain(Tally::DropPanics, || drop(entry));
    }

    /// The value of an entry that never got in; its key is dropped.
    pub(crate) fn value_of(&self, Entry { key, value }: Entry<K, V>) -> V {
        self.contain(Tally::DropPanics, || drop(key));
        value
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
        self.store(key, value, Ttl::Configured, None);
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
        self.store(key, value, Ttl::Of(ttl), None);
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
        let entry = Entry { key, value };
        let mut delivery = self.delivery();
        match self.write(entry, hash, Ttl::Configured, When::Always, None, &mut delivery.out) {
            Written::Refused { entry: Entry { key, value }, reason } => {
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
        self.remove(key, None).0
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
        let pin = epoch::pin();
        self.remove(key, Some(pin.guard())).1.map(|found| found.entry.value.clone())
    }

    /// Deletes a key's entry: whether it had a live one, and that one, for who has a guard.
    fn remove<'p, Q>(&'p self, key: &Q, guard: Option<Guard<'p>>) -> (bool, Option<Found<'p, K, V>>)
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let hash = self.hash(key);
        let mut delivery = self.delivery();
        let mut segment = self.engine.lock(hash);
        let now = self.now_in(&segment);
        let slot = segment.find(hash, key);
        segment.pending().fence(hash, key, &mut delivery.out);
        let live = slot.filter(|&slot| !segment.is_dead(slot, now));
        let found = live.zip(guard).and_then(|(slot, guard)| segment.found(slot, guard));
        if let Some(slot) = slot {
            let cause = if live.is_some() { Cause::Deleted } else { Cause::Expired };
            segment.detach(slot, cause, &mut delivery.out);
        }
        self.finish(segment, now, &mut delivery.out);
        (live.is_some(), found)
    }
}
