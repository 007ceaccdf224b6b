//! First in, first out (FIFO).
//!
//! **Problem.** Give up the entry that has been resident the longest, and let a hit cost nothing at all.
//!
//! **Idea.** A queue. It differs from LRU in one thing: uses do not move an entry. So reads need not tell the policy anything.
//! The queue is a doubly linked list all the same, for an entry may also leave from its middle, deleted or expired.
//!
//! ```text
//!                  front                     back
//!    insert ─────►   2  ⇄  0  ⇄  3  ⇄  1 ─────────► victim
//!                  newest           oldest
//!
//!    hit on 1        2  ⇄  0  ⇄  3  ⇄  1              nothing moves
//! ```
//!
//! **Good at** being cheap. **Bad at** popular entries: each is given up in its turn, however often it was read.
//!
//! **Invariants**
//!
//! 1. The list holds every resident entry once.
//! 2. From front to back, entries stand in the order of their insertion, the newest first. An update is no insertion.
//!
//! | operation | cost |
//! |---|---|
//! | `insert`, `remove`, `relocate`, `victim` | O(1) |
//! | a hit, an update | nothing |
//! | memory | 8 bytes an entry: two links |
//!
//! **Source.** Belady: *A study of replacement algorithms for a virtual-storage computer*, IBM Systems Journal 5(2), 1966;
//! and Belady, Nelson, Shedler: *An anomaly in space-time characteristics of certain programs running in a paging machine*,
//! Communications of the ACM 12(6), 1969: a larger FIFO cache can have fewer hits.
//!
//! **Trace.** Worked by hand; the test replays it from this very text. Leftmost leaves first.
//!
//! ```text
//!    call        oldest ─► newest
//!    insert A  │ A
//!    insert B  │ A B
//!    insert C  │ A B C
//!    hit A     │ A B C        ◄ FIFO never hears of it
//!    update B  │ A B C        ◄ a new value is not a new entry
//!    remove B  │ A C          ◄ out of the middle
//!    insert B  │ A C B        ◄ this is a new entry
//!    remove A  │ C B          ◄ the victim leaves
//! ```

use super::list::{Links, List};
use super::{EvictionPolicy, Hears, HitCounters, Meta, Slot, Victim, Walk};
use crate::observe::Cause;
use std::fmt;

/// Gives up the oldest entry, by insertion; reads and updates change nothing.
///
/// Every call costs O(1), a hit nothing, and an entry 8 bytes.
///
/// ```
/// use cachette::{Cache, policy::Fifo};
///
/// let cache = Cache::<u32, &str>::builder().capacity(2).policy(Fifo::new).build()?;
/// cache.put(1, "one");
/// cache.put(2, "two");
/// assert_eq!(cache.get(&1), Some("one")); // does not help it
/// cache.put(3, "three");
/// assert!(!cache.contains_key(&1));
/// assert!(cache.contains_key(&2));
/// # Ok::<(), cachette::BuildError>(())
/// ```
pub struct Fifo {
    links: Links,
    queue: List,
}

impl Fifo {
    /// A FIFO policy with no entries. Allocates nothing. O(1).
    #[must_use]
    pub const fn new() -> Self {
        Self { links: Links::new(), queue: List::new() }
    }
}

impl EvictionPolicy for Fifo {
    fn hears(&self) -> Hears {
        Hears::Nothing
    }

    fn hears_misses(&self) -> bool {
        false
    }

    fn insert(&mut self, slot: Slot, _: &Meta) {
        self.queue.push_front(&mut self.links, slot);
    }

    fn relocate(&mut self, from: Slot, to: Slot, _: &Meta) {
        self.queue.replace(&mut self.links, from, to);
    }

    fn remove(&mut self, slot: Slot, _: Cause) {
        self.queue.unlink(&mut self.links, slot);
    }

    fn victim(&mut self, _: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
        self.queue.back().map_or(Victim::None, Victim::Entry)
    }

    fn len(&self) -> usize {
        self.queue.len()
    }

    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.queue.iter(&self.links).rev())
    }

    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.queue.iter(&self.links))
    }

    fn coldest_after(&self, after: Option<Slot>) -> Option<Walk<'_>> {
        Some(match after {
            Some(slot) => Box::new(List::towards_front(&self.links, slot)),
            None => self.coldest(),
        })
    }

    fn assert_valid(&self) {
        // Invariant 1. Nothing but the history tells invariant 2: the lockstep test holds it.
        self.queue.assert_valid(&self.links);
    }
}

impl Default for Fifo {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Fifo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fifo").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::CALM;
    use super::super::lockstep::{complaint, letters, lockstep, replay};
    use super::*;

    #[test]
    fn the_trace_above() {
        replay(include_str!("fifo.rs"), Fifo::new(), |fifo| letters(fifo.coldest()));
    }

    #[test]
    fn lockstep_with_the_oracle() {
        lockstep(Fifo::new(), |row| (row.inserted, 0));
    }

    #[test]
    fn damage_is_seen() {
        let twice = complaint(Fifo::new(), |fifo| fifo.insert(Slot::new(2), &CALM));
        assert!(twice.contains("the same order"), "{twice}");
    }

    #[test]
    fn debug_is_short() {
        assert_eq!(format!("{:?}", Fifo::default()), "Fifo { len: 0 }");
    }
}
