//! When each entry of a segment expires.
//!
//! **Problem.** An entry may have two deadlines: a hard one that writers set (time to live) and an idle one that readers push
//! back (time to idle); the earlier kills. Readers look at both at every hit, without a lock, and push one back; they must
//! not pay for moving the entry through the wheel, nor undo what a writer has just decided.
//!
//! ```text
//!   reader ──► idle deadline: +30 s        one word, changed only from the value that was checked
//!   wheel:   still fires at the old one ──► looks at the word ──► not yet: goes back in, at the new one
//! ```
//!
//! **Invariants**
//!
//! 1. A full slot that has an end (its earlier deadline, and the grace after it) is in the wheel, at or before that; others are
//!    not.
//! 2. `expired` never names a slot before its end.
//! 3. The words of a slot stay as they are when its entry leaves, until the next entry comes: who found the one that left
//!    must still see when it would have expired.
//!
//! | operation | cost |
//! |---|---|
//! | `set`, `get`, `postpone`, `cancel` | O(1) |
//! | `expired` | O(1) a unit of its budget |
//! | memory | nothing until the first deadline; then 16 bytes a slot, and the wheel's 16 |

use crate::engine::slab::Slot;
use crate::engine::slab::chunks::Chunks;
use crate::engine::wheel::{TICK, Wheel};
use crate::sync::{AtomicU64, Ordering};
use crate::time::{NEVER, Timer};

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
    #[inline]
    pub(crate) fn earlier(self) -> u64 {
        self.hard.min(self.idle)
    }
}

/// Both words of a slot, side by side: one cache line.
struct Words {
    hard: AtomicU64,
    idle: AtomicU64,
}

impl Words {
    const fn never() -> Self {
        Self { hard: AtomicU64::new(NEVER), idle: AtomicU64::new(NEVER) }
    }
}

/// The deadlines of a segment's slots, as readers see them.
pub(crate) struct Deadlines {
    words: Chunks<Words>,
    /// How long an entry stays after its deadline, to be served stale to those who ask for that.
    grace: u64,
}

impl Deadlines {
    pub(crate) fn new(grace: u64) -> Self {
        Self { words: Chunks::new(10), grace }
    }

    /// When an entry leaves that has this deadline.
    #[inline]
    pub(crate) fn end(&self, deadline: Deadline) -> u64 {
        deadline.earlier().saturating_add(self.grace)
    }

    /// False if no slot has ever had a deadline.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        !self.words.is_empty()
    }

    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Deadline {
        self.words.get(slot.index()).map_or(Deadline::NEVER, |words| Deadline {
            hard: words.hard.load(Ordering::Acquire),
            idle: words.idle.load(Ordering::Acquire),
        })
    }

    fn store(&self, slot: Slot, deadline: Deadline) {
        let words = self.words.reach(slot.index(), Words::never);
        words.hard.store(deadline.hard, Ordering::Release);
        words.idle.store(deadline.idle, Ordering::Release);
    }

    /// For a reader: a time not later than now, if the slot's deadline is yet to come; 0 if it never comes. Pushes the idle deadline back to `idle` from now, in steps of
    /// at least a tick and a 64th of it, so that a busy key is not written to at every read: it may end early by that much,
    /// never late.
    pub(crate) fn outlive(&self, slot: Slot, timer: Timer<'_>, idle: u64) -> Option<u64> {
        let deadline = self.get(slot);
        let earlier = deadline.earlier();
        if earlier == NEVER {
            return Some(0);
        }
        let now = timer.before(earlier)?;
        // Without a time to idle, an idle deadline is a per-entry rule's own, and not this one's to move.
        if idle != NEVER && deadline.idle != NEVER {
            let fresh = now.saturating_add(idle);
            if fresh.saturating_sub(deadline.idle) >= (idle / 64).max(TICK) {
                self.push_back(slot, deadline.idle, fresh);
            }
        }
        Some(now)
    }

    /// Moves the idle deadline from the value that was checked, if it is still that.
    fn push_back(&self, slot: Slot, from: u64, to: u64) {
        if let Some(words) = self.words.get(slot.index()) {
            // If another has moved it, that one's word holds.
            let _ = words.idle.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Gives a full slot its deadlines, and the wheel its end.
    pub(crate) fn set(&self, wheel: &mut Wheel, slot: Slot, deadline: Deadline) {
        self.store(slot, deadline);
        match self.end(deadline) {
            NEVER => wheel.cancel(slot),
            end => wheel.reschedule(slot, end),
        }
    }

    /// A slot whose end has come, if the budget lasts to find one. It stays as it is until it is cancelled or set again.
    pub(crate) fn expired(&self, wheel: &mut Wheel, now: u64, budget: &mut usize) -> Option<Slot> {
        while let Some(slot) = wheel.advance(now, budget) {
            let end = self.end(self.get(slot));
            if end <= now {
                return Some(slot);
            }
            if end != NEVER {
                wheel.schedule(slot, end);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Arc;
    use crate::time::{Clock, ManualClock};
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;

    struct Both(Deadlines, Wheel);

    impl Both {
        fn new() -> Self {
            Self(Deadlines::new(0), Wheel::new(0))
        }

        fn set(&mut self, slot: usize, hard: u64, idle: u64) {
            self.0.set(&mut self.1, Slot::new(slot), Deadline { hard, idle });
        }

        fn push_back(&self, slot: usize, to: u64) {
            let slot = Slot::new(slot);
            self.0.push_back(slot, self.0.get(slot).idle, to);
        }

        fn due(&mut self, now: u64) -> Vec<usize> {
            let mut found = Vec::new();
            while let Some(slot) = self.0.expired(&mut self.1, now, &mut 1000) {
                self.1.cancel(slot);
                found.push(slot.index());
            }
            found.sort_unstable();
            found
        }
    }

    #[test]
    fn the_earlier_of_two_kills() {
        let mut both = Both::new();
        both.set(0, 9 * SECOND, 2 * SECOND);
        both.set(1, 2 * SECOND, NEVER);
        both.set(2, NEVER, NEVER);
        assert_eq!(both.0.get(Slot::new(0)).earlier(), 2 * SECOND);
        assert_eq!(both.due(2 * SECOND - 1), [0_usize; 0]);
        assert_eq!(both.due(3 * SECOND), [0, 1]);
        assert_eq!(both.due(u64::MAX - 1), [0_usize; 0]);
    }

    #[test]
    fn a_reader_postpones_and_the_wheel_comes_back() {
        let mut both = Both::new();
        both.set(0, 9 * SECOND, 2 * SECOND);
        both.push_back(0, 5 * SECOND);
        assert_eq!(both.due(4 * SECOND), [0_usize; 0]);
        both.push_back(0, 20 * SECOND);
        assert_eq!(both.due(8 * SECOND), [0_usize; 0]);
        assert_eq!(both.due(10 * SECOND), [0]);
    }

    #[test]
    fn a_reader_undoes_no_writer() {
        let mut both = Both::new();
        both.set(0, NEVER, 2 * SECOND);
        let seen = both.0.get(Slot::new(0)).idle;
        both.set(0, SECOND, NEVER);
        both.0.push_back(Slot::new(0), seen, 50 * SECOND);
        assert_eq!(both.0.get(Slot::new(0)), Deadline { hard: SECOND, idle: NEVER });
    }

    #[test]
    fn an_entry_made_permanent_is_never_found() {
        let mut both = Both::new();
        both.set(0, SECOND, NEVER);
        both.set(0, NEVER, NEVER);
        assert_eq!(both.due(100 * SECOND), [0_usize; 0]);
        both.set(0, NEVER, 200 * SECOND);
        both.push_back(0, NEVER);
        assert_eq!(both.due(1000 * SECOND), [0_usize; 0]);
    }

    #[test]
    fn the_budget_bounds_the_work() {
        let mut both = Both::new();
        for slot in 0..100 {
            both.set(slot, SECOND, SECOND);
        }
        let mut budget = 1;
        let mut found = 0;
        while both.0.expired(&mut both.1, 2 * SECOND, &mut budget).is_some() {
            found += 1;
        }
        assert!(found <= 1);
        assert_eq!(budget, 0);
    }

    fn timer(at: u64) -> Arc<dyn Clock> {
        let clock = ManualClock::new();
        clock.advance(Duration::from_nanos(at));
        Arc::new(clock)
    }

    #[test]
    fn a_reader_sees_both_deadlines() {
        let mut both = Both::new();
        assert!(!both.0.any());
        let outlives = |both: &Both, now| {
            both.0.outlive(Slot::new(0), Timer::new(&timer(now)), NEVER).is_some()
        };
        assert!(outlives(&both, SECOND), "it has none");
        for (hard, idle) in [(SECOND, NEVER), (NEVER, SECOND), (SECOND, 2 * SECOND)] {
            both.set(0, hard, idle);
            assert!(both.0.any());
            assert!(outlives(&both, SECOND - 1) && !outlives(&both, SECOND));
            assert_eq!(both.0.get(Slot::new(0)), Deadline { hard, idle }, "it postpones nothing");
        }
    }

    /// In steps of at least a tick and a 64th of the time to idle.
    #[test]
    fn a_reader_pushes_the_idle_deadline_back_in_steps() {
        let step = 10 * SECOND / 64;
        assert!(step > TICK);
        for (idle, step) in [(10 * SECOND, step), (10 * TICK, TICK)] {
            let read_at = |hard, now| {
                let mut both = Both::new();
                both.set(0, hard, idle);
                let alive = both.0.outlive(Slot::new(0), Timer::new(&timer(now)), idle).is_some();
                (alive, both.0.get(Slot::new(0)).idle)
            };
            assert_eq!(read_at(NEVER, step - 1), (true, idle));
            assert_eq!(read_at(NEVER, step), (true, idle + step));
            assert_eq!(read_at(2 * idle, step), (true, idle + step));
            assert_eq!(read_at(NEVER, idle - 1), (true, 2 * idle - 1));
            assert_eq!(read_at(NEVER, idle), (false, idle));
            assert_eq!(read_at(step, step), (false, idle));
        }
    }

    #[test]
    fn a_reader_moves_no_deadline_that_is_not_there_to_be_moved() {
        let mut both = Both::new();
        let mut read_at = |hard, idle, now, by| {
            both.set(0, hard, idle);
            let alive = both.0.outlive(Slot::new(0), Timer::new(&timer(now)), by).is_some();
            (alive, both.0.get(Slot::new(0)).idle)
        };
        let kept = read_at(NEVER, 5 * SECOND, 4 * SECOND, NEVER);
        assert_eq!(kept, (true, 5 * SECOND), "a per-entry rule's own, without a time to idle");
        let kept = read_at(5 * SECOND, NEVER, 4 * SECOND, 10 * SECOND);
        assert_eq!(kept, (true, NEVER), "this entry may idle for ever");
    }
}
