//! Messages that processes send each other, where the remote does not tell of changes by itself.
//!
//! Each carries who sent it and which of its messages it is, so that a missing one is noticed by the next. Messages of one sender may
//! overtake each other on their way by different connections: a gap is only believed when it has not closed after a while, and the gate
//! counts from when it was noticed.
//!
//! ```text
//!   node: u64 | number: u64 | name
//! ```

use crate::sync::Mutex;
use crate::time::NEVER;
use std::collections::HashMap;

/// More gaps than these are none that will close.
const MOST: usize = 1_024;

#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The highest number of each sender.
    highest: HashMap<u64, u64, ahash::RandomState>,
    /// Messages that were overtaken, and since when.
    missing: HashMap<(u64, u64), u64, ahash::RandomState>,
}

pub(super) fn message(node: u64, number: u64, name: &[u8]) -> Vec<u8> {
    [&node.to_le_bytes(), &number.to_le_bytes(), name].concat()
}

/// Who sent a message, which of its messages it is, and what has changed.
pub(super) fn read(message: &[u8]) -> Option<(u64, u64, &[u8])> {
    let (node, rest) = message.split_first_chunk()?;
    let (number, name) = rest.split_first_chunk()?;
    Some((u64::from_le_bytes(*node), u64::from_le_bytes(*number), name))
}

impl Inbox {
    /// A message has come. False if too many are missing.
    pub(super) fn note(&self, node: u64, number: u64, now: u64) -> bool {
        let mut state = self.state.lock();
        if state.missing.remove(&(node, number)).is_some() {
            return true;
        }
        let State { highest, missing } = &mut *state;
        let highest = highest.entry(node).or_insert(number);
        if number <= *highest {
            return true;
        }
        let gap = *highest + 1..number;
        *highest = number;
        if gap.end - gap.start + missing.len() as u64 > MOST as u64 {
            missing.clear();
            return false;
        }
        missing.extend(gap.map(|number| ((node, number), now)));
        true
    }

    /// When the oldest gap was noticed that has not closed.
    pub(super) fn oldest(&self) -> u64 {
        self.state.lock().missing.values().copied().min().unwrap_or(NEVER)
    }

    /// Gives up the gaps that were noticed before; true if there were any.
    pub(super) fn give_up(&self, before: u64) -> bool {
        let mut state = self.state.lock();
        let count = state.missing.len();
        state.missing.retain(|_, &mut since| since >= before);
        state.missing.len() < count
    }

    /// The line is a new one: nobody knows what was sent meanwhile.
    pub(super) fn clear(&self) {
        *self.state.lock() = State::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let written = message(7, 9, b"name");
        assert_eq!(read(&written), Some((7, 9, &b"name"[..])));
        assert_eq!(read(&written[..15]), None);
    }

    #[test]
    fn t18_a_gap_is_noticed_and_may_close() {
        let inbox = Inbox::default();
        assert!(inbox.note(1, 5, 10) && inbox.note(2, 90, 10));
        assert_eq!(inbox.oldest(), NEVER, "what came before the first was before the line");
        assert!(inbox.note(1, 8, 20));
        assert_eq!(inbox.oldest(), 20);
        assert!(inbox.note(1, 7, 30) && inbox.note(1, 6, 30));
        assert_eq!(inbox.oldest(), NEVER, "they had been overtaken");
        assert!(inbox.note(2, 92, 40) && inbox.note(2, 92, 41) && inbox.note(1, 3, 41));
        assert!(!inbox.give_up(40) && inbox.give_up(41));
        assert!(!inbox.give_up(99), "said once");
    }

    #[test]
    fn too_many_are_not_waited_for() {
        let inbox = Inbox::default();
        assert!(inbox.note(1, 1, 0));
        assert!(!inbox.note(1, 2 + MOST as u64 + 1, 0));
        assert!(inbox.note(1, 2 + MOST as u64 + 2, 0));
        inbox.clear();
        assert!(inbox.note(1, u64::MAX, 0));
    }
}
