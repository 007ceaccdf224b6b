//! Time as the cache sees it: nanoseconds since an origin, as a `u64`, so that nothing wraps for 584 years.

use crate::engine::sys;
use crate::sync::{Arc, AtomicU64, Ordering};
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

/// The deadline of an entry that never expires.
pub(crate) const NEVER: u64 = u64::MAX;

/// Where a cache reads the time.
///
/// A cache reads it only when it has entries that expire, or to time a load. It may do so under a segment's lock, so an
/// implementation must be quick and must not call the cache.
///
/// ```
/// use cachette::{Clock, SystemClock};
///
/// let clock = SystemClock::new();
/// let earlier = clock.now();
/// assert!(clock.now() >= earlier);
/// ```
pub trait Clock: Send + Sync {
    /// The time since the clock's own origin. It must never go back.
    fn now(&self) -> Duration;

    /// A cheap reading, in nanoseconds: the time is at least the first of these, and at most the second. A read of an entry
    /// with a deadline asks this first, and [`now`](Self::now) only if the deadline lies between the two. Both are `now` unless
    /// a clock knows better.
    fn bounds(&self) -> (u64, u64) {
        let now = nanos(self.now());
        (now, now)
    }

    /// The same moment as a date, for [`Cache::expire_at`](crate::Cache::expire_at).
    fn date(&self) -> SystemTime;
}

/// The operating system's monotonic clock; its dates are [`SystemTime`]'s.
///
/// On Linux, its cheap reading is the time of the kernel's last tick: 3 ns instead of 25. The kernel makes a tick every few
/// milliseconds, whether or not anybody asks, so a quiet cache is right too.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
    /// The same in the kernel's own nanoseconds, and how far its last tick may lie back; where it has such a clock.
    kernel: Option<(u64, u64)>,
}

impl SystemClock {
    /// A clock whose origin is now.
    #[must_use]
    pub fn new() -> Self {
        let kernel = sys::precise().zip(sys::lag());
        Self { origin: Instant::now(), kernel }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        match self.kernel.zip(sys::precise()) {
            Some(((origin, _), now)) => Duration::from_nanos(now.saturating_sub(origin)),
            None => self.origin.elapsed(),
        }
    }

    #[inline]
    fn bounds(&self) -> (u64, u64) {
        match self.kernel.zip(sys::coarse()) {
            Some(((origin, lag), tick)) => {
                let from = tick.saturating_sub(origin);
                (from, from + lag)
            }
            None => {
                let now = nanos(self.now());
                (now, now)
            }
        }
    }

    fn date(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that moves only when told to: for tests that must not sleep. Clones tell the same time.
///
/// It starts at zero, whose date is the Unix epoch.
///
/// ```
/// use cachette::{Cache, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let cache = Cache::builder()
///     .capacity(100)
///     .time_to_live(Duration::from_secs(60))
///     .clock(clock.clone())
///     .build()?;
/// cache.put("session", 1);
/// clock.advance(Duration::from_secs(59));
/// assert_eq!(cache.get("session"), Some(1));
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(cache.get("session"), None);
/// # Ok::<(), cachette::BuildError>(())
/// ```
#[derive(Clone, Default)]
pub struct ManualClock {
    nanos: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that stands at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock, and all its clones, forward. It stops at its end, 584 years on.
    pub fn advance(&self, by: Duration) {
        let by = nanos(by);
        let forward = |now: u64| Some(now.saturating_add(by));
        // The closure never declines, so there is no failure to handle.
        let _ = self.nanos.fetch_update(Ordering::AcqRel, Ordering::Acquire, forward);
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Acquire))
    }

    fn bounds(&self) -> (u64, u64) {
        let now = self.nanos.load(Ordering::Acquire);
        (now, now)
    }

    fn date(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.now()
    }
}

/// What reads the time for a reader of the cache.
#[derive(Clone, Copy)]
pub(crate) struct Timer<'a> {
    clock: &'a Arc<dyn Clock>,
    /// What the clock's cheap reading was, if it has been asked for it.
    bounds: Option<(u64, u64)>,
}

impl<'a> Timer<'a> {
    pub(crate) fn new(clock: &'a Arc<dyn Clock>) -> Self {
        Self { clock, bounds: None }
    }

    /// One that has read the clock now, for a reader who asks for the time more than once.
    #[inline]
    pub(crate) fn started(self) -> Self {
        Self { bounds: Some(self.bounds()), ..self }
    }

    #[inline]
    fn bounds(self) -> (u64, u64) {
        self.bounds.unwrap_or_else(|| self.clock.bounds())
    }

    /// The time. It stops short of the last instant, which as a deadline means never.
    pub(crate) fn now(self) -> u64 {
        nanos(self.clock.now()).min(NEVER - 1)
    }

    /// A cheap reading: the time is not after this.
    #[inline]
    pub(crate) fn latest(self) -> u64 {
        self.bounds().1
    }

    /// The time at least, if `deadline` is yet to come.
    #[inline]
    pub(crate) fn before(self, deadline: u64) -> Option<u64> {
        let (from, to) = self.bounds();
        if deadline > to {
            return Some(from);
        }
        if deadline <= from {
            return None;
        }
        let now = self.now();
        (now < deadline).then_some(now)
    }
}

/// A duration in nanoseconds; what does not fit is the largest that does, which as a deadline means never.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

/// What is left until `deadline`; [`Duration::MAX`] if it never comes.
pub(crate) fn left(now: u64, deadline: u64) -> Duration {
    if deadline == NEVER {
        Duration::MAX
    } else {
        Duration::from_nanos(deadline.saturating_sub(now))
    }
}

/// The deadline `after` from `now`; a duration that reaches past the clock's end is never.
pub(crate) fn deadline(now: u64, after: Duration) -> u64 {
    now.saturating_add(nanos(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_has_a_deadline() {
        assert_eq!(deadline(5, Duration::ZERO), 5);
        assert_eq!(deadline(5, Duration::from_nanos(7)), 12);
        assert_eq!(deadline(5, Duration::MAX), NEVER);
        assert_eq!(deadline(NEVER - 1, Duration::from_secs(1)), NEVER);
        assert_eq!(left(5, NEVER), Duration::MAX);
        assert_eq!(left(5, 12), Duration::from_nanos(7));
        assert_eq!(left(12, 5), Duration::ZERO);
    }

    #[test]
    fn clones_of_a_manual_clock_tell_the_same_time() {
        let clock = ManualClock::new();
        let twin = clock.clone();
        clock.advance(Duration::from_secs(3));
        assert_eq!(twin.now(), Duration::from_secs(3));
        assert_eq!(twin.date(), SystemTime::UNIX_EPOCH + Duration::from_secs(3));
        twin.advance(Duration::MAX);
        assert_eq!(nanos(clock.now()), u64::MAX);
        assert_eq!(format!("{:?}", ManualClock::new()), "ManualClock(0ns)");
    }

    #[test]
    fn the_system_clock_goes_forward() {
        let clock = SystemClock::default();
        let first = clock.now();
        while clock.now() == first {}
        assert!(clock.date() > SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn the_cheap_reading_lies_about_the_precise_one() {
        let clock = SystemClock::new();
        while clock.now() < Duration::from_micros(10) {}
        let lag = clock.kernel.map_or(0, |(_, lag)| lag);
        let about = |_: &i32| {
            let before = nanos(clock.now());
            let (from, to) = clock.bounds();
            let after = nanos(clock.now());
            assert!(from <= after, "{from} is after {after}");
            if clock.kernel.is_some() {
                assert_eq!(to - from, lag);
            }
            before <= to
        };
        // A machine that was halted for a while may have missed its ticks.
        assert!((0..1000).filter(about).count() > 900);
    }

    #[test]
    fn where_the_kernel_keeps_no_clock_there_is_the_library_s() {
        let clock = SystemClock { origin: Instant::now(), kernel: None };
        while clock.now() < Duration::from_micros(10) {}
        let before = nanos(clock.now());
        let (from, to) = clock.bounds();
        assert!(before <= from && from == to && to <= nanos(clock.origin.elapsed()));
    }

    /// A clock with these bounds, and how often it was asked for the time itself.
    struct Coarse {
        bounds: Option<(u64, u64)>,
        now: u64,
        asked: AtomicU64,
    }

    impl Clock for Coarse {
        fn now(&self) -> Duration {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Duration::from_nanos(self.now)
        }
        fn bounds(&self) -> (u64, u64) {
            self.bounds.unwrap_or_else(|| Precise(self).bounds())
        }
        fn date(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }
    }

    /// The same without bounds of its own.
    struct Precise<'a>(&'a Coarse);

    impl Clock for Precise<'_> {
        fn now(&self) -> Duration {
            self.0.now()
        }
        fn date(&self) -> SystemTime {
            self.0.date()
        }
    }

    #[test]
    fn the_time_itself_is_read_between_the_bounds_alone() {
        let ask = |bounds, deadline| {
            let coarse = Arc::new(Coarse { bounds, now: 15, asked: AtomicU64::new(0) });
            let clock: Arc<dyn Clock> = coarse.clone();
            let answer = Timer::new(&clock).before(deadline);
            (answer, coarse.asked.load(Ordering::Relaxed))
        };
        let between = Some((10, 20));
        assert_eq!(ask(between, 9), (None, 0));
        assert_eq!(ask(between, 10), (None, 0));
        assert_eq!(ask(between, 11), (None, 1));
        assert_eq!(ask(between, 15), (None, 1));
        assert_eq!(ask(between, 16), (Some(15), 1));
        assert_eq!(ask(between, 20), (Some(15), 1));
        assert_eq!(ask(between, 21), (Some(10), 0));
        assert_eq!(ask(None, 15), (None, 1), "the bounds are the time");
        assert_eq!(ask(None, 16), (Some(15), 1));
    }

    #[test]
    fn the_last_instant_is_never_reached() {
        let clock = ManualClock::new();
        assert_eq!(clock.bounds(), (0, 0));
        clock.advance(Duration::MAX);
        assert_eq!(clock.bounds(), (NEVER, NEVER));
        let clock: Arc<dyn Clock> = Arc::new(clock);
        assert_eq!(Timer::new(&clock).now(), NEVER - 1);
    }
}
