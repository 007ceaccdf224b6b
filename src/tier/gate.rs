//! Whether L1 may be believed: until when, as a number that every hit compares with the time.
//!
//! **Problem.** A hit in L1 asks nobody, so a link that is dead without having said so would let it be stale for ever. The link may
//! only ever be believed for a while after it has answered.
//!
//! ```text
//!   lost ──► up ──► L1 is emptied ──► open until (asked + bound) ◄──┐
//!    ▲                                  │        answered: asked ───┘
//!    └──────────────────────────────────┘
//!        lost: shut at once; or, where stale values may be served, when the time has come
//! ```
//!
//! An answer to a question that was asked at `t` comes after everything that had changed before `t`. So at any time before
//! `t + bound` what is served was right less than `bound` ago, however late the threads of this process are.
//!
//! **Invariants**
//!
//! 1. It is open only if the line has been up since L1 was last emptied, and answered after that.
//! 2. Nobody but the reader's own clock shuts it in time.
//!
//! | operation | cost |
//! |---|---|
//! | `is_open` | one load, one look at the clock |

use super::remote::Mode;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::time::{NEVER, deadline};
use std::time::Duration;

pub(super) struct Gate {
    /// Open before this. 0 is shut.
    until: AtomicU64,
    state: Mutex<State>,
}

struct State {
    /// How the line tells of changes, if it is there.
    mode: Option<Mode>,
    /// When the last question was asked that has been answered, or a change was left in doubt.
    proof: Option<u64>,
    /// When the last question was asked that has been answered: what is told of now has changed after that.
    heard: u64,
    /// L1 holds what may have changed unheard of. Counts the reasons; `None` if there is none.
    dirty: Option<u64>,
    reasons: u64,
    bound: Duration,
}

impl Gate {
    pub(super) fn new(bound: Duration) -> Self {
        let state = State { mode: None, proof: None, heard: 0, dirty: None, reasons: 0, bound };
        Self { until: AtomicU64::new(0), state: Mutex::new(state) }
    }

    /// True if what L1 holds may be served. `now` is not before the time.
    #[inline]
    pub(super) fn is_open(&self, now: u64) -> bool {
        now < self.until.load(Ordering::Acquire)
    }

    /// The line is there. It opens once L1 has been emptied, and the line has answered.
    pub(super) fn up(&self, mode: Mode) {
        let mut state = self.state.lock();
        state.mode = Some(mode);
        (state.proof, state.heard) = (None, 0);
        state.soil();
        self.shut();
    }

    /// The line is gone. What is left of the time is used up only if `stale` values may be served.
    pub(super) fn lost(&self, stale: bool) {
        let mut state = self.state.lock();
        state.mode = None;
        if !stale {
            self.shut();
        }
    }

    /// Anything may have changed. It opens again once L1 has been emptied.
    pub(super) fn all_changed(&self) {
        self.state.lock().soil();
        self.shut();
    }

    /// The reason for which L1 is to be emptied.
    pub(super) fn dirty(&self) -> Option<u64> {
        self.state.lock().dirty
    }

    /// L1 has been emptied for this reason.
    pub(super) fn emptied(&self, reason: u64) {
        let mut state = self.state.lock();
        if state.dirty == Some(reason) {
            state.dirty = None;
            self.publish(&state);
        }
    }

    /// The line has answered what it was asked then.
    pub(super) fn proved(&self, asked: u64) {
        let mut state = self.state.lock();
        state.proof = state.proof.max(Some(asked));
        self.publish(&state);
    }

    /// The line has answered what it was asked then, whatever is in doubt.
    pub(super) fn heard(&self, asked: u64) {
        let mut state = self.state.lock();
        state.heard = state.heard.max(asked);
    }

    /// What is told of now has not changed before this time.
    pub(super) fn last_heard(&self) -> u64 {
        self.state.lock().heard
    }

    pub(super) fn mode(&self) -> Option<Mode> {
        self.state.lock().mode
    }

    fn shut(&self) {
        self.until.store(0, Ordering::Release);
    }

    fn publish(&self, state: &State) {
        let tells = state.mode.is_some_and(|mode| mode != Mode::TtlOnly);
        let proof = state.proof.filter(|_| tells && state.dirty.is_none());
        if let Some(proof) = proof {
            let until = deadline(proof, state.bound).min(NEVER - 1);
            self.until.store(until, Ordering::Release);
        }
    }
}

impl State {
    fn soil(&mut self) {
        self.reasons += 1;
        self.dirty = Some(self.reasons);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_nanos(100);

    fn opened() -> Gate {
        let gate = Gate::new(BOUND);
        gate.up(Mode::Tracking);
        gate.emptied(gate.dirty().unwrap());
        gate.proved(1_000);
        gate
    }

    #[test]
    fn it_is_open_for_the_bound_after_the_question() {
        let gate = opened();
        assert!(gate.is_open(1_099) && !gate.is_open(1_100));
        gate.proved(1_050);
        assert!(gate.is_open(1_149) && !gate.is_open(1_150));
        gate.proved(1_020);
        assert!(gate.is_open(1_149), "an older answer takes nothing back");
    }

    #[test]
    fn it_opens_only_when_emptied_and_answered() {
        let gate = Gate::new(BOUND);
        assert!(!gate.is_open(0));
        gate.proved(1_000);
        assert!(!gate.is_open(1_000), "no line");
        gate.up(Mode::Tracking);
        let reason = gate.dirty().unwrap();
        gate.proved(1_000);
        assert!(!gate.is_open(1_000), "not emptied");
        gate.all_changed();
        gate.emptied(reason);
        assert!(!gate.is_open(1_000), "emptied for an older reason");
        gate.emptied(gate.dirty().unwrap());
        assert!(gate.is_open(1_000));
        gate.up(Mode::Tracking);
        gate.emptied(gate.dirty().unwrap());
        assert!(!gate.is_open(1_000), "the answer came by another line");
    }

    #[test]
    fn a_loss_shuts_it_at_once_unless_stale_values_may_be_served() {
        let gate = opened();
        gate.lost(false);
        assert!(!gate.is_open(1_000));
        let gate = opened();
        gate.lost(true);
        assert!(gate.is_open(1_099) && !gate.is_open(1_100));
        gate.proved(1_050);
        assert!(!gate.is_open(1_100), "nobody can have answered");
        let gate = Gate::new(BOUND);
        gate.up(Mode::TtlOnly);
        gate.emptied(gate.dirty().unwrap());
        gate.proved(1_000);
        assert!(!gate.is_open(1_000), "it tells of nothing");
    }
}
