//! Segmented LRU (SLRU).
//!
//! **Problem.** LRU takes one use for a promise of the next. A scan, whose keys are all used once, sweeps it clean.
//!
//! **Idea.** Two LRU lists. A newcomer goes into **probation**; the second use takes it over into **protected**, which has four
//! fifths of the capacity. What protected has no room for goes back to probation, as its most recent: it gets one more
//! chance. The victim is always from probation, so a scan pushes out nothing that was used twice.
//!
//! ```text
//!               probation                          protected, 80 %
//!    new ─►  [ 9  8  5  7 ] ──── used again ────► [ 4  1  6  2 ] ◄─┐ used again
//!                  ▲    └─► victim                 └──┘         │  │
//!                  └──────── no room any more ◄─────────────────┘
//! ```
//!
//! **Good at** telling what is used twice from what is used once. **Bad at** what is first used again after it has left probation;
//! at forgetting: what was popular holds its place until the same number of others have been used twice.
//!
//! **Invariants**
//!
//! 1. Every resident entry is in one of the two lists, which know their weights.
//! 2. From newest to oldest, the entries of a list stand in the order in which they came into it or were used there.
//! 3. Protected weighs no more than its share, but for what following hits bring back, [`SLICE`] at a time.
//!
//! | operation | cost |
//! |---|---|
//! | `insert`, `remove`, `relocate`, `victim` | O(1) |
//! | `hit`, `update` | O(1): a move, and at most [`SLICE`] entries that go back to probation; one, where all weigh the same |
//! | memory | 16 bytes an entry: two links, the weight, the list |
//!
//! **Source.** Karedla, Love, Wherry: *Caching strategies to improve disk system performance*, IEEE Computer 27(3), 1994. The
//! share of 80 % is that of Einziger, Friedman, Manes (`TinyLFU`, 2017) and of most who came later.
//!
//! **Trace.** Worked by hand; the test replays it from this very text. `probation / protected`, each from least to most recent.
//! Capacity 4: protected has 3.
//!
//! ```text
//!    call         probation / protected
//!    capacity 4 │ /
//!    insert A   │ A /
//!    insert B   │ A B /
//!    insert C   │ A B C /
//!    hit A      │ B C / A           ◄ the second use
//!    hit A      │ B C / A
//!    update B   │ C / A B           ◄ a write is a use
//!    insert D   │ C D / A B
//!    hit D      │ C / A B D
//!    hit A      │ C / B D A
//!    hit C      │ B / D A C         ◄ there are four now: the least recent goes back
//!    victim B   │ B / D A C
//!    hit B      │ D / A C B         ◄ it got its chance
//!    evict D    │ / A C B
//!    victim A   │ / A C B           ◄ probation is empty
//!    relocate A E│ / E C B          ◄ a new value, in another slot: same place
//!    insert D   │ D / E C B
//! ```

use super::queues::{Queue, Queues};
use super::{EvictionPolicy, Hears, Heat, HitCounters, Meta, Slot, Victim, Walk};
use crate::observe::Cause;
use std::fmt;

const PROBATION: Queue = 0;
const PROTECTED: Queue = 1;

/// The most entries that one call sends back to probation.
const SLICE: usize = 16;

/// Gives up the least recently used of those used once, and protects those used again (Karedla, Love, Wherry 1994).
///
/// Reading an entry, writing it and inserting it are uses; `peek` and `contains_key` are not. Every call costs O(1), and an
/// entry 16 bytes. Choose it where LRU is right but for scans.
///
/// Exact while one thread at a time uses the cache. Where threads read and write side by side, hits are heard in the order in
/// which they were noted, in batches; one is lost if 64 others wait to be heard while somebody writes to the segment.
/// An entry that weighs more than `u32::MAX` counts as if it weighed that.
///
/// ```
/// use cachette::{Cache, policy::Slru};
///
/// let cache = Cache::<u32, u32>::builder().capacity(10).policy(Slru::new).build()?;
/// cache.put(0, 0);
/// cache.get(&0); // used again: protected
/// for key in 1..100 {
///     cache.put(key, key); // a scan
/// }
/// assert!(cache.contains_key(&0));
/// # Ok::<(), cachette::BuildError>(())
/// ```
pub struct Slru {
    queues: Queues<2, ()>,
    /// What protected may weigh.
    protected: u64,
}

impl Slru {
    /// An SLRU policy with no entries. Allocates nothing. O(1).
    #[must_use]
    pub const fn new() -> Self {
        Self { queues: Queues::new(), protected: 0 }
    }
}

impl EvictionPolicy for Slru {
    fn hears(&self) -> Hears {
        Hears::InOrder
    }

    fn hears_misses(&self) -> bool {
        false
    }

    fn resize(&mut self, share: u64) {
        // Four fifths, rounded down; four times the share may be too large a number.
        self.protected = share / 5 * 4 + share % 5 * 4 / 5;
    }

    fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.queues.push(PROBATION, slot, meta.weight, ());
    }

    fn update(&mut self, slot: Slot, _: &Meta) {
        self.hit(slot);
    }

    fn hit(&mut self, slot: Slot) {
        self.queues.move_to(PROTECTED, slot);
        for _ in 0..SLICE {
            if self.queues.weight(PROTECTED) <= self.protected {
                break;
            }
            let Some(least) = self.queues.oldest(PROTECTED) else { break };
            self.queues.move_to(PROBATION, least);
        }
    }

    fn relocate(&mut self, from: Slot, to: Slot, meta: &Meta) {
        self.queues.relocate(from, to, meta.weight);
    }

    fn remove(&mut self, slot: Slot, _: Cause) {
        self.queues.remove(slot);
    }

    fn victim(&mut self, _: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
        let least = self.queues.oldest(PROBATION).or_else(|| self.queues.oldest(PROTECTED));
        least.map_or(Victim::None, Victim::Entry)
    }

    fn len(&self) -> usize {
        self.queues.len()
    }

    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.queues.in_order([PROBATION, PROTECTED]))
    }

    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.queues.in_order([PROBATION, PROTECTED]).rev())
    }

    fn coldest_after(&self, after: Option<Slot>) -> Option<Walk<'_>> {
        let order = [PROBATION, PROTECTED];
        Some(match after {
            Some(slot) => Box::new(self.queues.in_order_after(order, slot)),
            None => Box::new(self.queues.in_order(order)),
        })
    }

    fn heat(&self, slot: Slot, _: &HitCounters<'_>) -> Heat {
        Heat::new(0, self.queues.row(slot).queue == PROTECTED)
    }

    fn warm(&mut self, slot: Slot, heat: Heat, _: &mut HitCounters<'_>) {
        if heat.proven {
            self.hit(slot);
        }
    }

    fn assert_valid(&self) {
        // Nothing but the history tells invariants 2 and 3: the lockstep test holds them.
        self.queues.assert_valid();
    }
}

impl Default for Slru {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Slru {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protected = self.queues.count(PROTECTED);
        f.debug_struct("Slru").field("len", &self.len()).field("protected", &protected).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::{CALM, Segment};
    use super::super::lockstep::{Paper, beside, complaint, pictured, replay};
    use super::*;

    #[test]
    fn the_trace_above() {
        replay(include_str!("slru.rs"), Slru::new(), |slru| {
            pictured([PROBATION, PROTECTED].map(|queue| slru.queues.iter(queue)), &[])
        });
    }

    /// Two stacks, the most recent on top.
    struct Stacks {
        capacity: usize,
        probation: Vec<u64>,
        protected: Vec<u64>,
    }

    impl Paper for Stacks {
        fn hit(&mut self, key: u64) {
            self.delete(key);
            self.protected.push(key);
            if self.protected.len() > self.capacity * 4 / 5 {
                let least = self.protected.remove(0);
                self.probation.push(least);
            }
        }

        fn miss(&mut self, key: u64) -> Vec<u64> {
            let mut gone = Vec::new();
            if self.probation.len() + self.protected.len() == self.capacity {
                let from = if self.probation.is_empty() {
                    &mut self.protected
                } else {
                    &mut self.probation
                };
                gone.push(from.remove(0));
            }
            self.probation.push(key);
            gone
        }

        fn delete(&mut self, key: u64) {
            self.probation.retain(|&resident| resident != key);
            self.protected.retain(|&resident| resident != key);
        }

        fn order(&self) -> Vec<u64> {
            [&self.probation[..], &self.protected].concat()
        }
    }

    #[test]
    fn lockstep_with_two_stacks() {
        let stacks = |capacity| Stacks { capacity, probation: Vec::new(), protected: Vec::new() };
        beside(Slru::new, stacks);
    }

    #[test]
    fn one_hit_sends_back_no_more_than_a_slice() {
        let mut segment = Segment::new(Slru::new());
        for _ in 0..80 {
            let slot = segment.insert(&CALM);
            segment.hit(slot);
        }
        let heavy = segment.insert(&Meta::new(0, 70, u64::MAX));
        let sizes = |segment: &Segment<Slru>| {
            [PROBATION, PROTECTED].map(|queue| segment.policy.queues.count(queue))
        };
        assert_eq!(sizes(&segment), [1, 80]);
        for (probation, protected) in [(16, 65), (32, 49), (48, 33), (64, 17), (70, 11), (70, 11)] {
            segment.hit(heavy);
            assert_eq!(sizes(&segment), [probation, protected]);
        }
        assert_eq!(segment.policy.queues.weight(PROTECTED), 80);
    }

    #[test]
    fn protected_has_four_fifths() {
        let mut slru = Slru::new();
        for (share, protected) in [(0, 0), (1, 0), (4, 3), (5, 4), (9, 7), (100, 80)] {
            slru.resize(share);
            assert_eq!(slru.protected, protected);
        }
        slru.resize(u64::MAX);
        assert_eq!(slru.protected, u64::MAX / 5 * 4);
    }

    #[test]
    fn damage_is_seen() {
        let twice = complaint(Slru::new(), |slru| slru.insert(Slot::new(2), &CALM));
        assert!(twice.contains("the same order"), "{twice}");
    }

    #[test]
    fn debug_is_short() {
        assert_eq!(format!("{:?}", Slru::default()), "Slru { len: 0, protected: 0 }");
    }
}
