//! How long a value is fresh, when it is loaded anew, and what becomes of it when it is stale.
//!
//! **Problem.** A value that expires makes somebody wait for the next one, and a source that fails takes the service with it. Both can be
//! had for some staleness, if it is said how much; and who says several things at once must know which comes first.
//!
//! ```text
//!  loaded        refresh ahead              TTL                revalidate                 grace
//!    │─────────────────┊─────────────────────│─────────────────────┊──────────────────────────│
//!    │      fresh      ┊        fresh        │        stale        ┊          stale           │  gone
//!    │      a hit      ┊ a hit; the first    │ served; the first   ┊ callers wait for a load; │  a miss
//!    │                 ┊ refreshes behind    │ refreshes behind    ┊ if it fails they get     │
//!    │           early: so does a read here, │                     ┊ the stale value, and     │
//!    │           with a chance that grows    │                     ┊ nobody loads for a while │
//! ```
//!
//! **The order.** Jitter first: it shortens the TTL. Refresh-ahead and early refresh count from what is left of it. The two
//! stale times both begin at its end; where one is shorter it is over, and the other goes on. `get` and all else but the loads of a
//! [`LoadingCache`](crate::LoadingCache) see nothing after the TTL.
//!
//! **Invariants**
//!
//! 1. A value's standing depends on its own words and the time alone.
//! 2. What is not fresh is due, unless it is being refreshed, or that has just failed.
//!
//! | operation | cost |
//! |---|---|
//! | `standing`, `is_due` | O(1); a logarithm within some forty load times of the deadline, with early refresh |
//!
//! **Source.** Early refresh: Vattani, Chierichetti, Lowenstein: *Optimal Probabilistic Cache Stampede Prevention*, VLDB 2015. The paper's reader
//! loads by itself and waits; here it has the value, and the load runs behind it. The other names are those of RFC 5861 (2010).

use crate::engine::{Age, Deadline, Terms};
use crate::error::BuildError;
use crate::time::{NEVER, left, nanos};
use std::time::Duration;

/// How long values are fresh, and what is done when they are not any more.
///
/// Given to [`Builder::freshness`](crate::Builder::freshness) for all values, and decided value by value by
/// [`Builder::freshness_by`](crate::Builder::freshness_by). It is a [`LoadingCache`](crate::LoadingCache) that refreshes and serves stale values.
///
/// ```text
///  loaded        refresh ahead              TTL                revalidate                 grace
///    │─────────────────┊─────────────────────│─────────────────────┊──────────────────────────│
///    │      fresh      ┊        fresh        │        stale        ┊          stale           │  gone
///    │      a hit      ┊ a hit; the first    │ served; the first   ┊ callers wait for a load; │  a miss
///    │                 ┊ refreshes behind    │ refreshes behind    ┊ if it fails they get     │
///    │           early: so does a read here, │                     ┊ the stale value, and     │
///    │           with a chance that grows    │                     ┊ nobody loads for a while │
/// ```
///
/// Every part may be left out. Jitter comes first: it shortens the TTL, and the other parts count from what is left of it. Both
/// stale times begin at its end; where one of them is shorter it is over, and the other goes on.
///
/// A cache that is given this pays 40 bytes an entry for what it notes of each value, and 32 for its deadlines.
///
/// ```
/// use cachette::{Cache, Freshness};
/// use std::time::Duration;
///
/// let seconds = Duration::from_secs;
/// let freshness = Freshness::new(seconds(60))
///     .jitter(0.1)                          // 54 to 60 s
///     .stale_if_error(seconds(600));        // a dead source is not noticed for ten minutes
/// let cache = Cache::builder().capacity(100).freshness(freshness).loader(|id: &u32| format!("user {id}")).build()?;
/// assert_eq!(cache.load(&7).unwrap(), "user 7");
/// # Ok::<(), cachette::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Freshness {
    pub(crate) ttl: Duration,
    pub(crate) jitter: f64,
    pub(crate) ahead: Option<f64>,
    pub(crate) early: Option<f64>,
    pub(crate) revalidate: Duration,
    pub(crate) grace: Duration,
    pub(crate) throttle: Duration,
}

impl Freshness {
    /// Fresh for `ttl` after it was written, and gone then. [`Duration::MAX`] is for ever.
    #[must_use]
    pub const fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            jitter: 0.0,
            ahead: None,
            early: None,
            revalidate: Duration::ZERO,
            grace: Duration::ZERO,
            throttle: Duration::from_secs(1),
        }
    }

    /// The same, fresh for another time.
    #[must_use]
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Shortens each TTL by a random part of up to `fraction`, so that what was loaded together is not loaded together again.
    /// [`Builder::seed`](crate::Builder::seed) makes the draws the same in every run.
    #[must_use]
    pub const fn jitter(mut self, fraction: f64) -> Self {
        self.jitter = fraction;
        self
    }

    /// The first read after this part of the TTL has the value loaded anew, in the background: 0.8 of 60 s is after 48 s. What is
    /// read often never expires.
    #[must_use]
    pub const fn refresh_ahead(mut self, fraction: f64) -> Self {
        self.ahead = Some(fraction);
        self
    }

    /// A read refreshes the value in the background, with a chance that grows towards the end of the TTL, and earlier for
    /// values that took long to load (`XFetch`). `beta` is 1.0 in theory; more is earlier. So caches that share a source do not
    /// refresh together. The chance is each read's own: the more of them, the earlier; where 10,000 a second read a value that takes
    /// 20 ms to load, that is some 0.1 s before its end.
    #[must_use]
    pub const fn refresh_early(mut self, beta: f64) -> Self {
        self.early = Some(beta);
        self
    }

    /// For this long after the TTL loads are served the stale value, while it is loaded anew in the background.
    #[must_use]
    pub const fn stale_while_revalidate(mut self, time: Duration) -> Self {
        self.revalidate = time;
        self
    }

    /// For this long after the TTL the stale value is served where loading it anew fails.
    #[must_use]
    pub const fn stale_if_error(mut self, time: Duration) -> Self {
        self.grace = time;
        self
    }

    /// After a failure, how long nobody loads a value anew of which there is a stale one, or refreshes one that is fresh. A
    /// second, unless chosen.
    #[must_use]
    pub const fn throttle(mut self, time: Duration) -> Self {
        self.throttle = time;
        self
    }

    /// How long an entry stays after its deadline.
    pub(crate) fn stay(&self) -> Duration {
        self.revalidate.max(self.grace)
    }

    /// The first part of it that is work for the background.
    pub(crate) fn needs_spawn(&self) -> Option<&'static str> {
        if self.ahead.is_some() {
            Some("refresh_ahead")
        } else if self.early.is_some() {
            Some("refresh_early")
        } else {
            (!self.revalidate.is_zero()).then_some("stale_while_revalidate")
        }
    }

    /// The first part of it that a cache without a loader cannot do.
    pub(crate) fn needs_loader(&self) -> Option<&'static str> {
        self.needs_spawn().or_else(|| (!self.grace.is_zero()).then_some("stale_if_error"))
    }

    /// Whether every number is legal.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(BuildError::Jitter(self.jitter));
        }
        match (self.ahead, self.early) {
            (Some(fraction), _) if !(fraction > 0.0 && fraction < 1.0) => {
                Err(BuildError::RefreshAhead(fraction))
            }
            (_, Some(beta)) if !(beta > 0.0 && beta.is_finite()) => {
                Err(BuildError::RefreshEarly(beta))
            }
            _ => Ok(()),
        }
    }

    /// What is noted beside a value whose load took so long. It is served stale no longer than `most` allows.
    pub(crate) fn terms(&self, cost: u64, most: &Self) -> Terms {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rounded down, and within bounds even where one value's own fraction is nonsense"
        )]
        let ahead = self.ahead.map_or(u32::MAX, |fraction| (fraction * 2_f64.powi(32)) as u32);
        let reach = cost as f64 * self.early.unwrap_or(0.0) * MOST_DRAWN;
        Terms {
            cost,
            ahead,
            reach: reach.ceil() as u64,
            revalidate: nanos(self.revalidate.min(most.revalidate)),
            grace: nanos(self.grace.min(most.grace)),
        }
    }
}

/// The logarithm of no draw is above this.
const MOST_DRAWN: f64 = 37.0;

/// What a value is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Fresh,
    /// It may be served at once.
    Revalidate,
    /// It may be served instead of an error.
    Grace,
    Gone,
}

/// A value's own words, and the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) now: u64,
    pub(crate) deadline: Deadline,
    pub(crate) age: Age,
}

impl Seen {
    pub(crate) fn standing(&self) -> Standing {
        let end = self.deadline.earlier();
        let within = |time: u64| self.now < end.saturating_add(time);
        match self.age.terms {
            _ if self.now < end => Standing::Fresh,
            terms if within(terms.revalidate) => Standing::Revalidate,
            terms if within(terms.grace) => Standing::Grace,
            _ => Standing::Gone,
        }
    }

    /// True if the value should be loaded anew. `draw` is from 0 to 1, and asked for with `early` refresh only, near the end.
    pub(crate) fn is_due(&self, early: Option<f64>, draw: impl FnOnce() -> f64) -> bool {
        let Self { now, deadline, age } = *self;
        if now < age.next {
            return false;
        }
        if now >= deadline.earlier() {
            return true;
        }
        if deadline.hard == NEVER {
            return false;
        }
        let (lived, life) = (now.saturating_sub(age.born), deadline.hard.saturating_sub(age.born));
        let ahead = u128::from(age.terms.ahead);
        if age.terms.ahead != u32::MAX && u128::from(lived) << 32 >= u128::from(life) * ahead {
            return true;
        }
        let (reach, gap) = (age.terms.cost as f64 * early.unwrap_or(0.0), (life - lived) as f64);
        reach * MOST_DRAWN >= gap && reach * -draw().ln() >= gap
    }

    /// True if loading it anew has failed just now.
    pub(crate) fn is_throttled(&self) -> bool {
        self.now < self.age.next && self.age.next != NEVER
    }

    pub(crate) fn is_being_refreshed(&self) -> bool {
        self.age.next == NEVER
    }

    pub(crate) fn age(&self) -> Duration {
        Duration::from_nanos(self.now.saturating_sub(self.age.born))
    }

    /// How long it is still fresh.
    pub(crate) fn left(&self) -> Duration {
        left(self.now, self.deadline.earlier())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    /// Written at 100 s, fresh for 10 s, revalidated for 5 s, with 20 s of grace; refreshed at 8 s. Loading it takes 0.1 s.
    fn seen(at: u64) -> Seen {
        let freshness = Freshness::new(Duration::from_secs(10))
            .refresh_ahead(0.75)
            .stale_while_revalidate(Duration::from_secs(5))
            .stale_if_error(Duration::from_secs(20));
        let terms = freshness.terms(SECOND / 10, &freshness);
        let age = Age { born: 100 * SECOND, next: 0, terms };
        Seen { now: at, deadline: Deadline { hard: 110 * SECOND, idle: NEVER }, age }
    }

    fn unasked() -> f64 {
        panic!("there is no early refresh")
    }

    #[test]
    fn the_timeline_above() {
        use Standing::{Fresh, Gone, Grace, Revalidate};
        let scenes = [
            (100.0, Fresh, false),
            (107.499, Fresh, false),
            (107.5, Fresh, true),
            (109.999, Fresh, true),
            (110.0, Revalidate, true),
            (114.999, Revalidate, true),
            (115.0, Grace, true),
            (129.999, Grace, true),
            (130.0, Gone, true),
        ];
        for (at, standing, due) in scenes {
            let seen = seen((at * SECOND as f64) as u64);
            assert_eq!((seen.standing(), seen.is_due(None, unasked)), (standing, due), "{at}");
        }
    }

    #[test]
    fn of_two_stale_times_the_longer_goes_on() {
        let mut longer = seen(125 * SECOND);
        longer.age.terms = Terms { revalidate: 16 * SECOND, grace: SECOND, ..Terms::NONE };
        assert_eq!(longer.standing(), Standing::Revalidate);
        longer.now = 126 * SECOND;
        assert_eq!(longer.standing(), Standing::Gone);
        assert_eq!(Freshness::new(Duration::ZERO).stay(), Duration::ZERO);
    }

    #[test]
    fn who_is_refreshed_or_has_failed_is_not_due() {
        let mut under_way = seen(112 * SECOND);
        under_way.age.next = NEVER;
        assert!(!under_way.is_due(None, unasked) && !under_way.is_throttled());
        let mut failed = seen(112 * SECOND);
        failed.age.next = 113 * SECOND;
        assert!(!failed.is_due(None, unasked) && failed.is_throttled());
        failed.now = 113 * SECOND;
        assert!(failed.is_due(None, unasked) && !failed.is_throttled());
    }

    #[test]
    fn an_idle_deadline_makes_stale_and_no_refresh_ahead() {
        let mut idle = seen(109 * SECOND);
        idle.deadline = Deadline { hard: NEVER, idle: 110 * SECOND };
        assert!(!idle.is_due(None, unasked));
        idle.now = 110 * SECOND;
        assert_eq!((idle.standing(), idle.is_due(None, unasked)), (Standing::Revalidate, true));
        idle.deadline = Deadline::NEVER;
        assert_eq!((idle.standing(), idle.is_due(None, unasked)), (Standing::Fresh, false));
        assert_eq!((idle.left(), idle.age()), (Duration::MAX, Duration::from_secs(10)));
    }

    /// The paper: refreshed where the time, and the load's time by beta by minus the logarithm of a draw, reach the deadline.
    #[test]
    fn early_refresh_is_the_paper_s() {
        let mut early = seen(109 * SECOND);
        early.age.terms.ahead = u32::MAX;
        // A second is left, and a load takes a tenth: the draw must be below exp(-10).
        let below = (-10.0_f64).exp();
        assert!(early.is_due(Some(1.0), || below * 0.999));
        assert!(!early.is_due(Some(1.0), || below * 1.001));
        let below = (-5.0_f64).exp();
        assert!(early.is_due(Some(2.0), || below * 0.999));
        assert!(!early.is_due(Some(2.0), || below * 1.001));
        assert!(!early.is_due(Some(0.0), || 0.5), "never");
        early.now = 106 * SECOND;
        assert!(!early.is_due(Some(1.0), || panic!("too far from the end to be asked")));
    }

    #[test]
    fn one_value_s_terms_stay_within_the_cache_s() {
        let seconds = Duration::from_secs;
        let most = Freshness::new(seconds(1))
            .stale_while_revalidate(seconds(2))
            .stale_if_error(seconds(3));
        let own = most.stale_while_revalidate(seconds(9)).stale_if_error(seconds(1));
        let terms = own.terms(7, &most);
        assert_eq!((terms.revalidate, terms.grace), (2 * SECOND, SECOND));
        assert_eq!((terms.cost, terms.ahead), (7, u32::MAX));
    }

    proptest! {
        /// Standing goes one way.
        #[test]
        fn a_value_never_grows_fresher(revalidate in 0..9_u64, grace in 0..9_u64, from in 0..30_u64, by in 0..9_u64) {
            let rank = |at| {
                let mut seen = seen((100 + at) * SECOND);
                seen.age.terms.revalidate = revalidate * SECOND;
                seen.age.terms.grace = grace * SECOND;
                seen.standing() as u8
            };
            prop_assert!(rank(from) <= rank(from + by));
            prop_assert_eq!(rank(from) == Standing::Gone as u8, from >= 10 + revalidate.max(grace));
        }
    }
}
