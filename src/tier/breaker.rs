//! A circuit breaker: a remote that keeps failing is left alone for a while.
//!
//! ```text
//!            fails `after` times in a row                 `rest` has passed
//!   closed ───────────────────────────────► open ──────────────────────────► one probe
//!     ▲                                       ▲                                 │
//!     │                 it answers            └──────── it fails: rest twice ───┤
//!     └─────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! **Source.** Nygard: *Release It!*, 2007.

use crate::load::Backoff;
use crate::sync::Mutex;
use crate::time::deadline;

/// When a remote that fails is left alone, and for how long.
///
/// ```
/// use cachette::{Backoff, tier::Breaker};
/// use std::time::Duration;
///
/// let wait = Backoff { first: Duration::from_millis(500), most: Duration::from_secs(10) };
/// let breaker = Breaker { after: 3, wait };
/// assert_ne!(breaker, Breaker::default());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// After so many failures in a row nobody asks any more; at least one. Failures are those to reach it, and to have an answer in time.
    pub after: u32,
    /// Then one call is let through, after the first of these times; after the next if it fails, and so on.
    pub wait: Backoff,
}

impl Default for Breaker {
    /// After five failures; waits from a quarter of a second to ten.
    fn default() -> Self {
        use std::time::Duration;

        let wait = Backoff { first: Duration::from_millis(250), most: Duration::from_secs(10) };
        Self { after: 5, wait }
    }
}

/// A breaker at work.
pub(super) struct Circuit {
    rule: Breaker,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
enum State {
    /// So many failures in a row.
    Closed(u32),
    /// Nobody asks before this time. So many probes have failed.
    Open { until: u64, probes: u64 },
    /// One asks: if it is not heard of by this time, another may.
    Probing { until: u64, probes: u64 },
}

/// What a call has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Opened,
    Closed,
}

impl Circuit {
    pub(super) const fn new(rule: Breaker) -> Self {
        Self { rule, state: Mutex::new(State::Closed(0)) }
    }

    /// True if the remote may be asked now. Whoever asks [says](Self::note) how it went.
    pub(super) fn lets(&self, now: u64) -> bool {
        let mut state = self.state.lock();
        match *state {
            State::Closed(_) => true,
            State::Open { until, probes } | State::Probing { until, probes } if now >= until => {
                // A probe whose caller is gone must not be the last.
                let until = deadline(now, self.rule.wait.after(probes));
                *state = State::Probing { until, probes };
                true
            }
            State::Open { .. } | State::Probing { .. } => false,
        }
    }

    /// True if nobody may ask now.
    pub(super) fn spares(&self, now: u64) -> bool {
        match *self.state.lock() {
            State::Closed(_) => false,
            State::Open { until, .. } | State::Probing { until, .. } => now < until,
        }
    }

    pub(super) fn note(&self, answered: bool, now: u64) -> Change {
        let mut state = self.state.lock();
        match (*state, answered) {
            (State::Closed(_), true) => {
                *state = State::Closed(0);
                Change::None
            }
            (_, true) => {
                *state = State::Closed(0);
                Change::Closed
            }
            (State::Closed(failures), false) => {
                let failures = failures.saturating_add(1);
                if failures < self.rule.after.max(1) {
                    *state = State::Closed(failures);
                    return Change::None;
                }
                *state = State::Open { until: deadline(now, self.rule.wait.after(0)), probes: 0 };
                Change::Opened
            }
            (State::Probing { probes, .. }, false) => {
                let probes = probes.saturating_add(1);
                *state = State::Open { until: deadline(now, self.rule.wait.after(probes)), probes };
                Change::None
            }
            // It was asked before, and fails late.
            (State::Open { .. }, false) => Change::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn circuit() -> Circuit {
        let nanos = Duration::from_nanos;
        Circuit::new(Breaker { after: 3, wait: Backoff { first: nanos(10), most: nanos(40) } })
    }

    fn opened() -> Circuit {
        let circuit = circuit();
        assert_eq!(
            [1, 2, 3].map(|now| circuit.note(false, now)),
            [Change::None, Change::None, Change::Opened]
        );
        circuit
    }

    #[test]
    fn failures_in_a_row_open_it() {
        let circuit = circuit();
        for now in 0..10 {
            assert!(circuit.lets(now));
            assert_eq!(circuit.note(now % 3 == 2, now), Change::None);
        }
        let circuit = opened();
        assert!(!circuit.lets(3) && !circuit.lets(12));
        assert!(circuit.spares(12) && !circuit.spares(13) && circuit.lets(13));
    }

    #[test]
    fn one_probe_goes_at_a_time_and_waits_grow() {
        let circuit = opened();
        assert!(circuit.lets(13) && !circuit.lets(13), "one probe");
        assert_eq!(circuit.note(false, 14), Change::None);
        assert!(!circuit.lets(33) && circuit.lets(34));
        circuit.note(false, 34);
        circuit.note(false, 35);
        assert!(!circuit.lets(73) && circuit.lets(74));
        assert_eq!(circuit.note(true, 75), Change::Closed);
        assert!(circuit.lets(75) && circuit.lets(75));
        assert_eq!(circuit.note(false, 76), Change::None, "it counts anew");
    }

    #[test]
    fn a_probe_that_is_never_heard_of_is_not_the_last() {
        let circuit = opened();
        assert!(circuit.lets(13) && !circuit.lets(22) && circuit.lets(23));
    }

    #[test]
    fn an_answer_to_what_was_asked_before_closes_it() {
        let circuit = opened();
        assert_eq!(circuit.note(false, 5), Change::None);
        assert_eq!(circuit.note(true, 6), Change::Closed);
    }
}
