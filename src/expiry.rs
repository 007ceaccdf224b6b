//! When entries expire: the cache's rules, per-entry rules, and commands on a single key.

use crate::cache::Cache;
use crate::engine::epoch;
use crate::engine::{Deadline, Entry, Lifetime, Read, Terms};
use crate::freshness::Freshness;
use crate::sync::{AtomicU64, Ordering};
use crate::time::{NEVER, deadline, left, nanos};
use crate::write::Ttl;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::time::{Duration, SystemTime};

/// Decides, entry by entry, how long it lives: an alternative to one time to live for all.
///
/// Each method returns how long the entry has from now; [`Duration::MAX`] is for ever. They run outside every lock and may
/// call the cache.
///
/// ```
/// use cachette::{Cache, Expiry, ManualClock};
/// use std::time::Duration;
///
/// struct Token { seconds: u64 }
/// struct ByToken;
///
/// impl Expiry<u32, Token> for ByToken {
///     fn created(&self, _: &u32, token: &Token) -> Duration {
///         Duration::from_secs(token.seconds)
///     }
/// }
///
/// let clock = ManualClock::new();
/// let cache = Cache::builder().capacity(9).expiry(ByToken).clock(clock.clone()).build()?;
/// cache.put(1, Token { seconds: 5 });
/// cache.put(2, Token { seconds: 50 });
/// clock.advance(Duration::from_secs(5));
/// assert!(!cache.contains_key(&1) && cache.contains_key(&2));
/// # Ok::<(), cachette::BuildError>(())
/// ```
pub trait Expiry<K, V>: Send + Sync {
    /// The key had no live value and gets this one.
    fn created(&self, key: &K, value: &V) -> Duration;

    /// The key had a value, with `left` to live, and gets this one.
    fn updated(&self, key: &K, value: &V, left: Duration) -> Duration {
        let _ = left;
        self.created(key, value)
    }

    /// The entry, with `left` to live, was read. `None` leaves its deadline as it is; anything else sets it anew, sooner or
    /// later.
    ///
    /// Not asked of an entry that lives for ever, or whose time to live was set by hand
    /// ([`put_with_ttl`](Cache::put_with_ttl), [`expire_in`](Cache::expire_in), [`expire_at`](Cache::expire_at),
    /// [`persist`](Cache::persist)): no read undoes that.
    fn read(&self, key: &K, value: &V, left: Duration) -> Option<Duration> {
        let _ = (key, value, left);
        None
    }
}

/// What the cache's builder said of lifetimes.
pub(crate) struct Lifetimes<K, V> {
    /// Time to live, in nanoseconds.
    pub(crate) live: u64,
    /// Time to idle, in nanoseconds.
    pub(crate) idle: u64,
    pub(crate) expiry: Option<Box<dyn Expiry<K, V>>>,
    pub(crate) freshness: Option<Freshness>,
    /// Decides the freshness of one value, by that of all.
    pub(crate) freshness_by: Option<Box<FreshnessBy<K, V>>>,
    /// The end of a value's life, whatever the other rules say: at 0 it is not kept at all.
    pub(crate) end: Option<fn(&V) -> u64>,
    pub(crate) jitter: Jitter,
}

impl<K, V> Lifetimes<K, V> {
    /// True if an entry lives until the end that its value has, and nothing else is said.
    pub(crate) fn are_the_values(&self) -> bool {
        self.end.is_some()
            && (self.live, self.idle) == (NEVER, NEVER)
            && self.expiry.is_none()
            && self.freshness.is_none()
    }
}

pub(crate) type FreshnessBy<K, V> = dyn Fn(&K, &V, Freshness) -> Freshness + Send + Sync;

/// Shortens times to live by a random part, so that what was stored together does not expire together.
pub(crate) struct Jitter {
    /// The largest part taken off, from 0 to 1.
    fraction: f64,
    /// One step a draw.
    state: AtomicU64,
}

impl Jitter {
    pub(crate) const fn new(fraction: f64, seed: u64) -> Self {
        Self { fraction, state: AtomicU64::new(seed) }
    }

    /// An evenly drawn part of `live`, never more than all of it; for ever stays for ever.
    fn apply(&self, live: u64) -> u64 {
        if self.fraction == 0.0 || live == NEVER {
            return live;
        }
        let step = self.state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "53 bits are an even draw of enough steps")]
        let draw = (crate::hash::mix(step) >> 11) as f64 / (1_u64 << 53) as f64;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of `live`: not negative; `as` saturates, and the next line bounds it"
        )]
        let off = (live as f64 * self.fraction * draw) as u64;
        live - off.min(live)
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// How long an entry is to live that is about to be written, and what is to be noted of its freshness.
    pub(crate) fn lifetime(
        &self,
        hash: u64,
        entry: &Entry<K, V>,
        ttl: Ttl,
    ) -> (Lifetime, Option<Terms>) {
        let (mut lifetime, mut terms) = self.ruled(hash, entry, ttl);
        let end = self.lifetimes.end.map_or(NEVER, |end| end(&entry.value));
        if end != NEVER {
            let most = end.saturating_sub(self.now());
            lifetime.live = Some(lifetime.live.unwrap_or(NEVER).min(most));
        }
        if let (0, Some(terms)) = (end, &mut terms) {
            (terms.revalidate, terms.grace) = (0, 0);
        }
        (lifetime, terms)
    }

    fn ruled(&self, hash: u64, entry: &Entry<K, V>, ttl: Ttl) -> (Lifetime, Option<Terms>) {
        let rules = &self.lifetimes;
        let Some(most) = &rules.freshness else {
            return (self.lived(hash, entry, ttl, rules.live), None);
        };
        let own = self.freshness_of(entry, *most);
        let cost = if let Ttl::Loaded(took) = ttl { took } else { 0 };
        (self.lived(hash, entry, ttl, nanos(own.ttl)), Some(own.terms(cost, most)))
    }

    /// The freshness of one value, where that of all is `most`.
    fn freshness_of(&self, entry: &Entry<K, V>, most: Freshness) -> Freshness {
        let by = self.lifetimes.freshness_by.as_ref();
        by.map_or(most, |by| by(&entry.key, &entry.value, most))
    }

    /// What is to be noted of the freshness of a value that comes out of a snapshot, and took so long to load.
    #[cfg(feature = "serde")]
    pub(crate) fn restored_terms(&self, entry: &Entry<K, V>, cost: u64) -> Option<Terms> {
        let most = self.lifetimes.freshness.as_ref()?;
        Some(self.freshness_of(entry, *most).terms(cost, most))
    }

    /// How long an entry is to live, where the cache's own time to live is `configured`.
    fn lived(&self, hash: u64, entry: &Entry<K, V>, ttl: Ttl, configured: u64) -> Lifetime {
        let rules = &self.lifetimes;
        let written = |live: u64| rules.jitter.apply(live);
        match (ttl, &rules.expiry) {
            (Ttl::Of(live), _) => {
                Lifetime { live: Some(written(nanos(live))), idle: Some(rules.idle) }
            }
            (Ttl::Configured | Ttl::Loaded(_), None) => {
                Lifetime { live: Some(written(configured)), idle: Some(rules.idle) }
            }
            // What a rule decides, reads may move: it is the idle deadline.
            (Ttl::Configured | Ttl::Loaded(_), Some(expiry)) => {
                let live = nanos(self.expiry_of_write(&**expiry, hash, entry));
                Lifetime { live: Some(NEVER), idle: Some(written(live)) }
            }
            (Ttl::Kept, None) => Lifetime { live: None, idle: Some(rules.idle) },
            (Ttl::Kept, Some(_)) => Lifetime { live: None, idle: None },
        }
    }

    fn expiry_of_write(
        &self,
        expiry: &dyn Expiry<K, V>,
        hash: u64,
        entry: &Entry<K, V>,
    ) -> Duration {
        let deadline = {
            let pin = epoch::pin();
            self.look(pin.guard(), hash, &entry.key).map(|read| read.deadline)
        };
        match deadline {
            None => expiry.created(&entry.key, &entry.value),
            Some(was) => expiry.updated(&entry.key, &entry.value, left(self.now(), was.earlier())),
        }
    }

    /// Lets the per-entry rule hear of a read, outside the lock; what it says counts only if nobody moved the deadline
    /// meanwhile.
    pub(crate) fn expiry_of_read(&self, hash: u64, read: &Read<'_, K, V>) {
        let Some(expiry) = &self.lifetimes.expiry else { return };
        if read.deadline.idle == NEVER {
            return;
        }
        let Entry { key, value } = read.found.entry;
        let Some(more) = expiry.read(key, value, left(self.now(), read.deadline.earlier())) else {
            return;
        };
        let mut segment = self.engine.lock(hash);
        // The reader's guard keeps the slot from being used again: if it is full, this entry is still in it.
        let slot = read.found.slot;
        if segment.has(slot) && segment.deadline(slot) == read.deadline {
            let now = self.now();
            let idle = deadline(now, more);
            segment.reschedule(hash, slot, Deadline { idle, ..read.deadline }, now);
        }
    }

    /// How long a key's entry has to live; [`Duration::MAX`] if for ever, `None` if the key has no live entry. Redis's TTL.
    /// O(1).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let cache = cachette::Cache::new(10);
    /// cache.put("a", 1);
    /// assert_eq!(cache.time_to_live_of("a"), Some(Duration::MAX));
    /// assert_eq!(cache.time_to_live_of("b"), None);
    /// ```
    #[doc(alias = "ttl")]
    #[must_use]
    pub fn time_to_live_of<Q>(&self, key: &Q) -> Option<Duration>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let pin = epoch::pin();
        let earlier = self.look(pin.guard(), self.hash(key), key)?.deadline.earlier();
        Some(left(if earlier == NEVER { 0 } else { self.now() }, earlier))
    }

    /// Lets a key's entry expire after `ttl`, from now; zero is at once, [`Duration::MAX`] never. False if the key has no
    /// live entry. Redis's EXPIRE.
    ///
    /// No read undoes it; a time to idle, which reads push back, may still end the entry earlier. Jitter does not apply.
    /// O(1).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let cache = cachette::Cache::new(10);
    /// cache.put("a", 1);
    /// assert!(cache.expire_in("a", Duration::ZERO));
    /// assert_eq!(cache.get("a"), None);
    /// assert!(!cache.expire_in("a", Duration::from_secs(1)));
    /// ```
    #[doc(alias = "expire")]
    pub fn expire_in<Q>(&self, key: &Q, ttl: Duration) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        // A command takes the place of a per-entry rule; a time to idle goes on beside it.
        let ruled = self.lifetimes.expiry.is_some();
        self.reschedule(key, |now, was| Deadline {
            hard: deadline(now, ttl),
            idle: if ruled { NEVER } else { was.idle },
        })
    }

    /// Lets a key's entry expire at a date, by the date of the cache's clock; one that has passed is at once. False if the
    /// key has no live entry. Redis's EXPIREAT. Otherwise as [`expire_in`](Self::expire_in).
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// let cache = cachette::Cache::new(10);
    /// cache.put("a", 1);
    /// assert!(cache.expire_at("a", SystemTime::now() + Duration::from_secs(60)));
    /// assert!(cache.time_to_live_of("a").unwrap() <= Duration::from_secs(60));
    /// ```
    #[doc(alias = "expireat")]
    pub fn expire_at<Q>(&self, key: &Q, date: SystemTime) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let ttl = date.duration_since(self.clock.date()).unwrap_or(Duration::ZERO);
        self.expire_in(key, ttl)
    }

    /// Takes a key's deadlines away, time to idle included: it stays until it is written, deleted or evicted. False if the
    /// key has no live entry. Redis's PERSIST. O(1).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let cache = cachette::Cache::new(10);
    /// cache.put_with_ttl("a", 1, Duration::from_secs(60));
    /// assert!(cache.persist("a"));
    /// assert_eq!(cache.time_to_live_of("a"), Some(Duration::MAX));
    /// ```
    pub fn persist<Q>(&self, key: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.reschedule(key, |_, _| Deadline::NEVER)
    }

    /// Gives a live entry another deadline. One that has passed takes the entry out at once.
    fn reschedule<Q>(&self, key: &Q, to: impl FnOnce(u64, Deadline) -> Deadline) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        use crate::observe::Cause::Expired;

        let hash = self.hash(key);
        let mut delivery = self.delivery();
        let now = self.now();
        let mut segment = self.engine.lock(hash);
        let Some(slot) = segment.find_live(hash, key, now) else { return false };
        segment.pending().fence(hash, key, &mut delivery.out);
        let deadline = to(now, segment.deadline(slot));
        if segment.end_of(deadline) <= now {
            segment.detach(slot, Expired, &mut delivery.out);
        } else {
            segment.reschedule(hash, slot, deadline, now);
            if let Some(ages) = segment.ages() {
                ages.look_closer(slot);
            }
        }
        self.finish(segment, now, &mut delivery.out);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_takes_off_no_more_than_its_fraction() {
        let jitter = Jitter::new(0.25, 7);
        let draws: Vec<u64> = (0..1000).map(|_| jitter.apply(1_000_000)).collect();
        assert!(draws.iter().all(|draw| (750_000..=1_000_000).contains(draw)));
        assert!(
            draws.iter().any(|&draw| draw < 760_000) && draws.iter().any(|&draw| draw > 990_000)
        );
        let again = Jitter::new(0.25, 7);
        assert!(draws.iter().all(|&draw| again.apply(1_000_000) == draw), "one seed, one sequence");
    }

    #[test]
    fn jitter_leaves_the_ends_alone() {
        assert_eq!(Jitter::new(0.0, 7).apply(1_000_000), 1_000_000);
        let all = Jitter::new(1.0, 7);
        assert_eq!(all.apply(NEVER), NEVER);
        assert_eq!(all.apply(0), 0);
        assert!((0..100).all(|_| all.apply(NEVER - 1) < NEVER));
    }
}
