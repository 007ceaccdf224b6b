//! Building a cache: every choice, checked together.

mod over;

pub(crate) use over::Carries;

use crate::cache::{Cache, Listener, Weigher};
use crate::engine::{Engine, Make, Plan};
use crate::error::BuildError;
use crate::expiry::{Expiry, FreshnessBy, Jitter, Lifetimes};
use crate::freshness::Freshness;
use crate::observe::{Cause, Recorder};
use crate::policy::{Adaptive, EvictionPolicy};
use crate::sync::Arc;
use crate::time::{Clock, NEVER, SystemClock, nanos};
use std::fmt;
use std::time::Duration;

/// Entries that a segment should have at least: below a few hundred, a policy that sees only its own segment picks worse
/// victims than one that sees all.
const ENTRIES_A_SEGMENT: usize = 512;

/// Entries assumed where weights say nothing of their number.
const ENTRIES_ASSUMED: usize = 16_384;

const MAX_SEGMENTS: usize = 1 << 16;

/// Chooses how a cache behaves, and [builds](Self::build) it.
///
/// | choice | unless chosen |
/// |---|---|
/// | [`capacity`](Self::capacity) | must be chosen |
/// | [`weigher`](Self::weigher) | every entry weighs 1 |
/// | [`policy`](Self::policy) | [`Adaptive`] |
/// | [`time_to_live`](Self::time_to_live), [`time_to_idle`](Self::time_to_idle), [`expiry`](Self::expiry) | nothing expires |
/// | [`ttl_jitter`](Self::ttl_jitter) | none |
/// | [`removal_listener`](Self::removal_listener) | none |
/// | [`hasher`](Self::hasher) | `ahash`, seeded at random |
/// | [`clock`](Self::clock) | [`SystemClock`] |
/// | [`segments`](Self::segments) | up to 4 a core, each with 512 entries or more |
///
/// ```
/// use cachette::{Cache, policy::Lfu};
/// use std::time::Duration;
///
/// let cache = Cache::<u64, String>::builder()
///     .capacity(1_000)
///     .policy(Lfu::new)
///     .time_to_idle(Duration::from_secs(60))
///     .build()?;
/// assert_eq!(cache.capacity(), 1_000);
/// # Ok::<(), cachette::BuildError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder<K, V, S = ahash::RandomState> {
    capacity: Option<u64>,
    weigher: Option<Box<Weigher<K, V>>>,
    make: Option<Make>,
    time_to_live: Option<Duration>,
    time_to_idle: Option<Duration>,
    expiry: Option<Box<dyn Expiry<K, V>>>,
    freshness: Option<Freshness>,
    freshness_by: Option<Box<FreshnessBy<K, V>>>,
    jitter: Option<f64>,
    seed: Option<u64>,
    hasher: S,
    clock: Option<Arc<dyn Clock>>,
    listener: Option<Box<Listener<K, V>>>,
    segments: Option<usize>,
    expected: Option<usize>,
    /// Tells the end of a value's life.
    end: Option<fn(&V) -> u64>,
}

impl<K, V> Builder<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            capacity: None,
            weigher: None,
            make: None,
            time_to_live: None,
            time_to_idle: None,
            expiry: None,
            freshness: None,
            freshness_by: None,
            jitter: None,
            seed: None,
            hasher: ahash::RandomState::new(),
            clock: None,
            listener: None,
            segments: None,
            expected: None,
            end: None,
        }
    }
}

impl<K, V, S> Builder<K, V, S> {
    /// The most weight that may be resident: a number of entries, unless there is a [`weigher`](Self::weigher). With 0
    /// every write is refused.
    ///
    /// ```
    /// let cache = cachette::Cache::<u32, u32>::builder().capacity(500).build()?;
    /// assert_eq!(cache.capacity(), 500);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn capacity(mut self, capacity: u64) -> Self {
        self.capacity = Some(capacity);
        self
    }

    /// What an entry weighs. Called once a write, outside every lock.
    ///
    /// An entry of weight 0 is never evicted.
    ///
    /// ```
    /// use cachette::Cache;
    ///
    /// let cache = Cache::builder().capacity(1 << 20).weigher(|_: &u32, page: &String| page.len() as u64).build()?;
    /// cache.put(1, "four".to_string());
    /// assert_eq!(cache.weight(), 4);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn weigher(mut self, weigh: impl Fn(&K, &V) -> u64 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigh));
        self
    }

    /// Who leaves when the cache is full. `make` is called once a segment, and once more after a policy's panic.
    ///
    /// Any policy of [`policy`](crate::policy), your own, or a boxed one that was chosen at run time:
    /// [by its name in Redis](crate::policy::RedisPolicy), or as you like.
    ///
    /// ```
    /// use cachette::{Cache, policy::{EvictionPolicy, Fifo, Lru}};
    ///
    /// let configured = "fifo".to_string();
    /// let cache = Cache::<u32, u32>::builder()
    ///     .capacity(10)
    ///     .policy(move || -> Box<dyn EvictionPolicy> {
    ///         if configured == "fifo" { Box::new(Fifo::new()) } else { Box::new(Lru::new()) }
    ///     })
    ///     .build()?;
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn policy<P, F>(mut self, make: F) -> Self
    where
        P: EvictionPolicy + 'static,
        F: Fn() -> P + Send + Sync + 'static,
    {
        self.make = Some(Arc::new(move || Box::new(make())));
        self
    }

    /// How long an entry lives after it was written. Zero: nothing is kept. [`Duration::MAX`]: for ever.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let cache = cachette::Cache::builder().capacity(9).time_to_live(Duration::from_secs(60)).build()?;
    /// cache.put("a", 1);
    /// assert!(cache.time_to_live_of("a").unwrap() <= Duration::from_secs(60));
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn time_to_live(mut self, ttl: Duration) -> Self {
        self.time_to_live = Some(ttl);
        self
    }

    /// How long an entry lives after it was last written or read. It may end early by a tick (1 ms) or a 64th of `tti`,
    /// whichever is more; never late.
    ///
    /// ```
    /// use cachette::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let (clock, tti) = (ManualClock::new(), Duration::from_secs(60));
    /// let cache = Cache::builder().capacity(9).time_to_idle(tti).clock(clock.clone()).build()?;
    /// cache.put("a", 1);
    /// for _ in 0..3 {
    ///     clock.advance(tti / 2);
    ///     assert_eq!(cache.get("a"), Some(1));
    /// }
    /// clock.advance(tti);
    /// assert_eq!(cache.get("a"), None);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn time_to_idle(mut self, tti: Duration) -> Self {
        self.time_to_idle = Some(tti);
        self
    }

    /// Decides the lifetime of each entry by itself, instead of one time to live and one time to idle for all.
    /// See [`Expiry`] for an example.
    pub fn expiry(mut self, expiry: impl Expiry<K, V> + 'static) -> Self {
        self.expiry = Some(Box::new(expiry));
        self
    }

    /// How long values are fresh, when they are loaded anew, and whether they are served stale: instead of a time to live.
    /// All but its TTL and its jitter need a [`loader`](Self::loader). See [`Freshness`] for its timeline and an example.
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = Some(freshness);
        self
    }

    /// Decides the freshness of each value that is written, by the [`freshness`](Self::freshness) of all, which must be given and is its third
    /// argument. A value is served stale no longer than that allows; jitter, early refresh and throttle are the same for all.
    ///
    /// ```
    /// use cachette::{Cache, Freshness};
    /// use std::time::Duration;
    ///
    /// struct Token { seconds: u64 }
    /// let cache = Cache::builder()
    ///     .capacity(100)
    ///     .freshness(Freshness::new(Duration::from_secs(60)))
    ///     .freshness_by(|_: &u32, token: &Option<Token>, usual| match token {
    ///         Some(token) => usual.ttl(Duration::from_secs(token.seconds)),
    ///         None => usual.ttl(Duration::from_secs(5)), // not found: ask again soon
    ///     })
    ///     .build()?;
    /// cache.put(1, Some(Token { seconds: 3_600 }));
    /// cache.put(2, None);
    /// assert!(cache.time_to_live_of(&1).unwrap() > Duration::from_secs(3_500));
    /// assert!(cache.time_to_live_of(&2).unwrap() <= Duration::from_secs(5));
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn freshness_by(
        mut self,
        decide: impl Fn(&K, &V, Freshness) -> Freshness + Send + Sync + 'static,
    ) -> Self {
        self.freshness_by = Some(Box::new(decide));
        self
    }

    /// Shortens each time to live by a random part of up to `fraction` of it, so that entries stored together do not expire,
    /// and are not loaded, together. With 0.1, a TTL of 60 s becomes 54 to 60 s.
    ///
    /// ```
    /// use cachette::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let ttl = Duration::from_secs(60);
    /// let cache = Cache::builder().capacity(9).time_to_live(ttl).ttl_jitter(0.1).clock(ManualClock::new()).build()?;
    /// cache.put("a", 1);
    /// let left = cache.time_to_live_of("a").unwrap();
    /// assert!(ttl * 9 / 10 <= left && left <= ttl);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn ttl_jitter(mut self, fraction: f64) -> Self {
        self.jitter = Some(fraction);
        self
    }

    /// Makes the cache's own random choices, which are those of the jitter and of the policy that it has if none is chosen, the
    /// same in every run. Other policies, and hashers, have seeds of their own.
    ///
    /// ```
    /// let cache = cachette::Cache::<u32, u32>::builder().capacity(9).seed(42).build()?;
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// How keys are hashed. Its quality matters little, its resistance to chosen keys does: the default is seeded at random.
    ///
    /// ```
    /// use std::hash::RandomState;
    ///
    /// let cache = cachette::Cache::builder().capacity(9).hasher(RandomState::new()).build()?;
    /// cache.put("a", 1);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn hasher<H>(self, hasher: H) -> Builder<K, V, H> {
        Builder {
            capacity: self.capacity,
            weigher: self.weigher,
            make: self.make,
            time_to_live: self.time_to_live,
            time_to_idle: self.time_to_idle,
            expiry: self.expiry,
            freshness: self.freshness,
            freshness_by: self.freshness_by,
            jitter: self.jitter,
            seed: self.seed,
            hasher,
            clock: self.clock,
            listener: self.listener,
            segments: self.segments,
            expected: self.expected,
            end: self.end,
        }
    }

    /// Where the time is read. Tests use a [`ManualClock`](crate::ManualClock).
    ///
    /// ```
    /// use cachette::{Cache, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().capacity(9).clock(clock.clone()).build()?;
    /// cache.put_with_ttl("a", 1, Duration::from_secs(1));
    /// clock.advance(Duration::from_secs(1));
    /// assert_eq!(cache.get("a"), None);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Hears of every entry that leaves, once, with its [`Cause`].
    ///
    /// It is called after the operation that caused the removal, by the thread that did it, outside every lock, and may call
    /// the cache. A panic in it is caught and counted in the statistics; it stays on.
    ///
    /// ```
    /// use cachette::{Cache, Cause};
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use std::sync::Arc;
    ///
    /// let evictions = Arc::new(AtomicU32::new(0));
    /// let counter = Arc::clone(&evictions);
    /// let cache = Cache::builder()
    ///     .capacity(1)
    ///     .removal_listener(move |_: &u32, _: &u32, cause| {
    ///         counter.fetch_add(u32::from(cause == Cause::Evicted), Ordering::Relaxed);
    ///     })
    ///     .build()?;
    /// cache.put(1, 1);
    /// cache.put(2, 2);
    /// assert_eq!(evictions.load(Ordering::Relaxed), 1);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn removal_listener(
        mut self,
        listener: impl Fn(&K, &V, Cause) + Send + Sync + 'static,
    ) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// Into how many independently locked segments the keys are divided: a power of two. With 1, the policy is exact over the
    /// whole cache.
    ///
    /// ```
    /// let exact = cachette::Cache::<u32, u32>::builder().capacity(100_000).segments(1).build()?;
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn segments(mut self, segments: usize) -> Self {
        self.segments = Some(segments);
        self
    }

    /// About how many entries there will be, where weights do not tell. It decides the number of segments, and reserves
    /// nothing.
    ///
    /// ```
    /// use cachette::Cache;
    ///
    /// let pages = Cache::<u32, Vec<u8>>::builder()
    ///     .capacity(64 << 20)
    ///     .weigher(|_, page| page.len() as u64)
    ///     .expected_entries(2_000)
    ///     .build()?;
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn expected_entries(mut self, entries: usize) -> Self {
        self.expected = Some(entries);
        self
    }

    /// Builds the cache.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the choice that is missing, out of range, or at odds with another.
    ///
    /// ```
    /// use cachette::{BuildError, Cache};
    ///
    /// let wrong = Cache::<u32, u32>::builder().capacity(9).segments(3).build();
    /// assert_eq!(wrong.unwrap_err(), BuildError::Segments(3));
    /// ```
    pub fn build(self) -> Result<Cache<K, V, S>, BuildError> {
        let capacity = self.check()?;
        if let Some(freshness) = &self.freshness {
            if let Some(part) = freshness.needs_loader() {
                return Err(BuildError::NoLoader(part));
            }
        }
        Ok(self.assemble(capacity))
    }

    /// Checks every choice, and says what capacity was given.
    pub(crate) fn check(&self) -> Result<u64, BuildError> {
        let capacity = self.capacity.ok_or(BuildError::NoCapacity)?;
        if let Some(segments) = self.segments {
            if !segments.is_power_of_two() || segments > MAX_SEGMENTS {
                return Err(BuildError::Segments(segments));
            }
        }
        if let Some(expected) = self.expected {
            if expected / self.default_segments(capacity) >= u32::MAX as usize {
                return Err(BuildError::ExpectedEntries(expected));
            }
        }
        if let Some(fraction) = self.jitter {
            if !(0.0..=1.0).contains(&fraction) {
                return Err(BuildError::Jitter(fraction));
            }
            if self.time_to_live.is_none() && self.expiry.is_none() {
                return Err(BuildError::JitterWithoutTtl);
            }
        }
        if self.expiry.is_some() && self.time_to_live.is_some() {
            return Err(BuildError::TtlAndExpiry);
        }
        if self.expiry.is_some() && self.time_to_idle.is_some() {
            return Err(BuildError::TtiAndExpiry);
        }
        self.check_freshness()?;
        Ok(capacity)
    }

    fn check_freshness(&self) -> Result<(), BuildError> {
        let Some(freshness) = &self.freshness else {
            return if self.freshness_by.is_some() { Err(BuildError::NoFreshness) } else { Ok(()) };
        };
        if self.time_to_live.is_some() || self.expiry.is_some() {
            return Err(BuildError::FreshnessAndTtl);
        }
        freshness.check()
    }

    /// Builds from choices that have been checked.
    pub(crate) fn assemble(self, capacity: u64) -> Cache<K, V, S> {
        let segments = self.default_segments(capacity);
        let entries = self.entries(capacity);
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let seed = self.seed.unwrap_or_else(|| ahash::RandomState::new().hash_one(0_u8));
        let make = self.make.unwrap_or_else(|| Arc::new(move || Box::new(Adaptive::seeded(seed))));
        let grace = self.freshness.map(|freshness| nanos(freshness.stay()));
        let jitter = self.freshness.map(|freshness| freshness.jitter).or(self.jitter);
        let plan = Plan { make, clock: Arc::clone(&clock), grace };
        Cache {
            engine: Engine::new(segments, capacity, entries, plan),
            hasher: self.hasher,
            weigher: self.weigher,
            listener: self.listener,
            lifetimes: Lifetimes {
                live: self.time_to_live.map_or(NEVER, nanos),
                idle: self.time_to_idle.map_or(NEVER, nanos),
                expiry: self.expiry,
                freshness: self.freshness,
                freshness_by: self.freshness_by,
                end: self.end,
                jitter: Jitter::new(jitter.unwrap_or(0.0), seed),
            },
            clock,
            recorder: Recorder::new(),
        }
    }

    /// How many entries there will be, if that is known.
    fn entries(&self, capacity: u64) -> Option<usize> {
        let counted = || usize::try_from(capacity).unwrap_or(usize::MAX);
        self.expected.or_else(|| self.weigher.is_none().then(counted))
    }

    /// As many segments as were asked for; else up to 4 a core, none with fewer than 512 entries.
    fn default_segments(&self, capacity: u64) -> usize {
        if let Some(segments) = self.segments {
            return segments;
        }
        let counted = usize::try_from(capacity).unwrap_or(usize::MAX);
        let assumed = if self.weigher.is_none() { counted } else { counted.min(ENTRIES_ASSUMED) };
        let enough = (self.expected.unwrap_or(assumed) / ENTRIES_A_SEGMENT).max(1);
        let most = (4 * crate::sync::cores()).next_power_of_two().min(MAX_SEGMENTS);
        // The power of two that is not above either.
        1 << enough.min(most).ilog2()
    }
}

impl<K, V, S> fmt::Debug for Builder<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("capacity", &self.capacity)
            .field("time_to_live", &self.time_to_live)
            .field("time_to_idle", &self.time_to_idle)
            .field("segments", &self.segments)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_never_have_fewer_than_512_entries() {
        let segments = |capacity, expected: Option<usize>| {
            let mut builder = Builder::<u8, u8>::new();
            builder.expected = expected;
            builder.default_segments(capacity)
        };
        assert_eq!(segments(0, None), 1);
        assert_eq!(segments(1023, None), 1);
        assert_eq!(segments(1024, None), 2);
        assert_eq!(segments(u64::MAX, Some(4095)), 4);
        let most = (4 * crate::sync::cores()).next_power_of_two();
        assert_eq!(segments(u64::MAX, None), most);
    }

    #[test]
    fn weights_are_no_number_of_entries() {
        let builder = Builder::<u8, u8>::new().weigher(|_, _| 1);
        assert!(builder.default_segments(1 << 40) <= ENTRIES_ASSUMED / ENTRIES_A_SEGMENT);
        assert_eq!(builder.segments(64).default_segments(10), 64);
    }
}
