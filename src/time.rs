//! Time as the cache sees it: nanoseconds since an origin, as a `u64`, so that nothing wraps for 584 years.

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

    /// The same moment as a date, for [`Cache::expire_at`](crate::Cache::expire_at).
    fn date(&self) -> SystemTime;
}

/// The operating system's monotonic clock; its dates are [`SystemTime`]'s.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose origin is now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
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

    fn date(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.now()
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
}
