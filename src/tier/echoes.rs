//! Changes that one made oneself, and hears of like any other.
//!
//! **Problem.** The remote tells of every change, of this process's own too, and does not say whose it was. Within one turn of its event
//! loop it tells of a name once, however often that changed. Whoever drops its own value at its own echo reads it back from the
//! remote each time; whoever ignores the echo misses the change that another made in the same turn.
//!
//! ```text
//!   write ──► expected ──► told of ──► in doubt ──► compare with the remote ─┬─ the same value: keep
//!                 │                                                          └─ another, or none: drop
//!                 └─ not written: forgotten
//! ```
//!
//! Doubts are settled many at a time, several times within the bound on staleness, and the gate counts from the oldest that is not. So
//! a doubt costs less than a command, and never more than the bound.
//!
//! **Invariants**
//!
//! 1. A change that is told of is dropped, or in doubt: never neither, unless it was compared after.

use crate::sync::Mutex;
use crate::time::NEVER;
use std::collections::HashMap;

/// More than these are not noted: the change is taken for another's.
const MOST: usize = 65_536;

#[derive(Default)]
pub(super) struct Echoes {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Names that were written, and when.
    expected: HashMap<Vec<u8>, u64, ahash::RandomState>,
    /// Those that were told of, and since when they may have been changed.
    doubts: HashMap<Vec<u8>, u64, ahash::RandomState>,
    /// The oldest of those that are being compared.
    comparing: Option<u64>,
}

impl Echoes {
    /// A name is about to be written.
    pub(super) fn expect(&self, name: &[u8], now: u64) {
        let mut state = self.state.lock();
        if state.expected.len() < MOST {
            state.expected.insert(name.to_vec(), now);
        }
    }

    /// It was not written after all.
    pub(super) fn forget(&self, name: &[u8]) {
        self.state.lock().expected.remove(name);
    }

    /// A name has changed, since that time. True if that may have been one's own doing: it is in doubt now. The second change is another's.
    pub(super) fn doubt(&self, name: &[u8], since: u64) -> bool {
        let mut state = self.state.lock();
        let own = state.expected.remove(name).is_some();
        if own {
            state.doubts.entry(name.to_vec()).or_insert(since);
        }
        own
    }

    /// Those in doubt, to be compared. [`compared`](Self::compared) is called after.
    pub(super) fn take(&self) -> Vec<Vec<u8>> {
        let mut state = self.state.lock();
        let doubts = std::mem::take(&mut state.doubts);
        state.comparing = doubts.values().min().copied();
        doubts.into_keys().collect()
    }

    /// Those that were taken have been compared, or dropped.
    pub(super) fn compared(&self) {
        self.state.lock().comparing = None;
    }

    /// Since when the oldest doubt has been one that has not been settled.
    pub(super) fn oldest(&self) -> u64 {
        let state = self.state.lock();
        state.doubts.values().copied().chain(state.comparing).min().unwrap_or(NEVER)
    }

    /// Forgets what was expected before: of that all has been told by now, or never will be.
    pub(super) fn forget_before(&self, time: u64) {
        self.state.lock().expected.retain(|_, &mut since| since >= time);
    }

    /// The line is a new one.
    pub(super) fn clear(&self) {
        let mut state = self.state.lock();
        (state.expected, state.doubts) = Default::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_own_change_is_doubted_and_anothers_is_not() {
        let echoes = Echoes::default();
        echoes.expect(b"a", 1);
        assert!(echoes.doubt(b"a", 5) && !echoes.doubt(b"b", 5));
        assert!(!echoes.doubt(b"a", 6), "one write, one echo: the next is another's");
        assert_eq!(echoes.oldest(), 5);
        assert_eq!(echoes.take(), [b"a"]);
        assert_eq!(echoes.oldest(), 5, "not settled yet");
        echoes.compared();
        assert_eq!(echoes.oldest(), NEVER);
    }

    #[test]
    fn what_was_not_written_is_not_expected() {
        let echoes = Echoes::default();
        echoes.expect(b"a", 1);
        echoes.forget(b"a");
        assert!(!echoes.doubt(b"a", 2));
        echoes.expect(b"b", 3);
        echoes.expect(b"c", 4);
        echoes.forget_before(4);
        assert!(!echoes.doubt(b"b", 5) && echoes.doubt(b"c", 5));
        echoes.expect(b"d", 6);
        echoes.clear();
        assert!(!echoes.doubt(b"d", 7) && echoes.take().is_empty());
    }

    #[test]
    fn there_is_an_end_to_what_is_noted() {
        let echoes = Echoes::default();
        for name in 0..=MOST {
            echoes.expect(&name.to_le_bytes(), 0);
        }
        assert!(echoes.doubt(&0_usize.to_le_bytes(), 1));
        assert!(!echoes.doubt(&MOST.to_le_bytes(), 1), "another's, for all that is known");
    }
}
