//! When each entry of a segment expires, and the wheel that finds those that have.
//!
//! **Problem.** An entry may have two deadlines: a hard one that writers set (time to live) and an idle one that readers push
//! back (time to idle); the earlier kills. A reader must not pay for moving the entry through the wheel at every read.
//!
//! ```text
//!   read ──► idle deadline: +30 s          (a word, nothing else)
//!   wheel:   still fires at the old one ──► looks at the word ──► not yet: goes back in, at the new one
//! ```
//!
//! **Invariants**
//!
//! 1. A slot with a deadline is in the wheel, at or before its earlier deadline; a slot without one is not.
//! 2. `expired` never names a slot before its deadline.
//!
//! | operation | cost |
//! |---|---|
//! | `set`, `get`, `postpone`, `clear` | O(1) |
//! | `expired` | O(1) a unit of its budget |

use crate::engine::slab::{Column, Slot};
use crate::engine::wheel::Wheel;
use crate::time::NEVER;

/// The two deadlines of an entry, in nanoseconds on the cache's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline {
    /// Moved by writers alone.
    pub(crate) hard: u64,
    /// Moved by readers too.
    pub(crate) idle: u64,
}

impl Deadline {
    pub(crate) const NEVER: Self = Self { hard: NEVER, idle: NEVER };

    /// The one that kills.
    pub(crate) fn earlier(self) -> u64 {
        self.hard.min(self.idle)
    }
}

pub(crate) struct Deadlines {
    column: Column<Deadline>,
    wheel: Wheel,
}

impl Deadlines {
    pub(crate) fn new(now: u64) -> Self {
        Self { column: Column::new(), wheel: Wheel::new(now) }
    }

    pub(crate) fn get(&self, slot: Slot) -> Deadline {
        self.column.get(slot.index()).copied().unwrap_or(Deadline::NEVER)
    }

    pub(crate) fn set(&mut self, slot: Slot, deadline: Deadline) {
        self.column.reach(slot.index(), &Deadline::NEVER);
        self.column[slot] = deadline;
        if deadline.earlier() == NEVER {
            self.wheel.cancel(slot);
        } else {
            self.wheel.reschedule(slot, deadline.earlier());
        }
    }

    /// Moves the idle deadline alone. A later one leaves the wheel as it is.
    pub(crate) fn postpone(&mut self, slot: Slot, idle: u64) {
        let was = self.get(slot);
        let deadline = Deadline { idle, ..was };
        if deadline.earlier() < was.earlier() {
            self.set(slot, deadline);
        } else {
            self.column.reach(slot.index(), &Deadline::NEVER);
            self.column[slot] = deadline;
        }
    }

    pub(crate) fn clear(&mut self, slot: Slot) {
        if self.get(slot) != Deadline::NEVER {
            self.set(slot, Deadline::NEVER);
        }
    }

    /// A slot whose deadline has come, if the budget lasts to find one. It stays as it is until it is cleared or set again.
    pub(crate) fn expired(&mut self, now: u64, budget: &mut usize) -> Option<Slot> {
        while let Some(slot) = self.wheel.advance(now, budget) {
            let earlier = self.get(slot).earlier();
            if earlier <= now {
                return Some(slot);
            }
            if earlier != NEVER {
                self.wheel.schedule(slot, earlier);
            }
        }
        None
    }

    #[cfg(test)]
    pub(crate) fn assert_valid(&self) {
        self.wheel.assert_valid();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn due(deadlines: &mut Deadlines, now: u64) -> Vec<usize> {
        let mut found = Vec::new();
        while let Some(slot) = deadlines.expired(now, &mut 1000) {
            deadlines.clear(slot);
            found.push(slot.index());
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn the_earlier_of_two_kills() {
        let mut deadlines = Deadlines::new(0);
        deadlines.set(Slot::new(0), Deadline { hard: 9 * SECOND, idle: 2 * SECOND });
        deadlines.set(Slot::new(1), Deadline { hard: 2 * SECOND, idle: NEVER });
        deadlines.set(Slot::new(2), Deadline::NEVER);
        assert_eq!(deadlines.get(Slot::new(0)).earlier(), 2 * SECOND);
        assert_eq!(due(&mut deadlines, 2 * SECOND - 1), []);
        assert_eq!(due(&mut deadlines, 3 * SECOND), [0, 1]);
        assert_eq!(due(&mut deadlines, u64::MAX - 1), []);
    }

    #[test]
    fn a_reader_postpones_and_the_wheel_comes_back() {
        let mut deadlines = Deadlines::new(0);
        let slot = Slot::new(0);
        deadlines.set(slot, Deadline { hard: 9 * SECOND, idle: 2 * SECOND });
        deadlines.postpone(slot, 5 * SECOND);
        assert_eq!(due(&mut deadlines, 4 * SECOND), []);
        deadlines.postpone(slot, 20 * SECOND);
        assert_eq!(due(&mut deadlines, 8 * SECOND), []);
        assert_eq!(due(&mut deadlines, 10 * SECOND), [0]);
    }

    #[test]
    fn an_idle_deadline_may_also_come_sooner() {
        let mut deadlines = Deadlines::new(0);
        let slot = Slot::new(0);
        deadlines.set(slot, Deadline { hard: NEVER, idle: 50 * SECOND });
        deadlines.postpone(slot, 2 * SECOND);
        assert_eq!(due(&mut deadlines, 3 * SECOND), [0]);
    }

    #[test]
    fn an_entry_made_permanent_is_never_found() {
        let mut deadlines = Deadlines::new(0);
        let slot = Slot::new(0);
        deadlines.set(slot, Deadline { hard: SECOND, idle: NEVER });
        deadlines.set(slot, Deadline::NEVER);
        assert_eq!(due(&mut deadlines, 100 * SECOND), []);
        deadlines.set(slot, Deadline { hard: NEVER, idle: 200 * SECOND });
        deadlines.postpone(slot, NEVER);
        assert_eq!(due(&mut deadlines, 1000 * SECOND), []);
    }

    #[test]
    fn what_is_cleared_costs_nothing_more() {
        let mut deadlines = Deadlines::new(0);
        let slot = Slot::new(0);
        deadlines.set(slot, Deadline { hard: SECOND, idle: NEVER });
        deadlines.clear(slot);
        deadlines.clear(Slot::new(1));
        assert_eq!(deadlines.get(slot), Deadline::NEVER);
        let mut budget = 1;
        assert_eq!(deadlines.expired(2 * SECOND, &mut budget), None);
        assert_eq!(budget, 1);
    }

    #[test]
    fn the_budget_bounds_the_work() {
        let mut deadlines = Deadlines::new(0);
        for slot in 0..100 {
            deadlines.set(Slot::new(slot), Deadline { hard: SECOND, idle: SECOND });
        }
        let mut budget = 1;
        let mut found = 0;
        while deadlines.expired(2 * SECOND, &mut budget).is_some() {
            found += 1;
        }
        assert!(found <= 1);
        assert_eq!(budget, 0);
    }
}
