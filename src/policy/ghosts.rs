//! Ghosts: what is remembered of entries that have left.
//!
//! **Problem.** A key that was evicted and is asked for again soon should not have been. To see that, a policy must remember keys
//! that it no longer holds: in the order in which they left, found and taken out by hash in O(1), and no more of them than a
//! bound; and no single call may pay for a table that grows.
//!
//! **Idea.** A ghost is the entry's hash and weight. Ghosts stand in a list, the oldest at its end, and in a hash table whose
//! chains run through them. The table has as many chains as there are rows: with each new row it gets one chain more, and the
//! one chain whose ghosts may belong there is looked through (*linear hashing*). So it grows, a ghost at a time.
//!
//! ```text
//!   chains      rows                                  a chain more, number 5, in binary 101:
//!   0 ─► 3      hash, weight, note, next in chain     chain 1, that is 001, is looked through;
//!   1 ─► 0 ─► 4                                       ghosts whose hash ends in 101 go over
//!   2
//!   3 ─► 1      order: newest 4 ⇄ 3 ⇄ 1 ⇄ 0 oldest
//!   4           spare: 2
//! ```
//!
//! **Invariants**
//!
//! 1. Every row is in `order`, as a ghost, or in `spare`.
//! 2. Every ghost is in one chain, the one for its hash; no two ghosts have the same hash.
//! 3. There are as many chains as rows.
//! 4. `weight` is the sum of the ghosts' weights.
//!
//! | operation | cost |
//! |---|---|
//! | `push`, `take`, `hold`, `claim`, `drop_oldest` | O(1), expected; growing splits one chain |
//! | `trim` | O(1): it drops at most [`SLICE`] ghosts |
//! | memory | 28 bytes a ghost, and the note; for the most ghosts that there have been at a time |
//!
//! The whole hash is kept, so that a key is taken for another one's ghost only if their hashes are equal.
//!
//! **Source.** Litwin: *Linear hashing: a new tool for file and table addressing*, VLDB 1980.

use super::Slot;
use super::list::{Links, List};
use super::queues::kept;
use crate::engine::column::Column;
use crate::hash::mix;

/// The most ghosts that `trim` drops.
pub(super) const SLICE: usize = 16;

/// Ghosts that there may be however few entries there are. What is light beside the capacity is bounded by number.
pub(super) const FEW: usize = 64;

/// The place of a ghost in `Ghosts::rows`.
type At = Slot;

#[derive(Clone, Copy)]
struct Ghost<Note> {
    hash: u64,
    note: Note,
    weight: u32,
    /// The next in its chain.
    next: At,
}

/// Entries that have left, the oldest to be forgotten first. The policy chooses what it notes of each.
pub(super) struct Ghosts<Note> {
    links: Links,
    rows: Column<Ghost<Note>>,
    order: List,
    spare: List,
    /// The first ghost of each chain.
    chains: Column<At>,
    weight: u64,
    /// A ghost that is none any more, and waits for its newcomer.
    held: Option<(u64, Note)>,
}

impl<Note: Copy> Ghosts<Note> {
    pub(super) const fn new() -> Self {
        Self {
            links: Links::new(),
            rows: Column::new(),
            order: List::new(),
            spare: List::new(),
            chains: Column::new(),
            weight: 0,
            held: None,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) const fn weight(&self) -> u64 {
        self.weight
    }

    /// Remembers an entry, as the newest. If there is a ghost with that hash already, this takes its place.
    pub(super) fn push(&mut self, hash: u64, weight: u64, note: Note) {
        let _ = self.take(hash);
        let ghost = Ghost { hash, note, weight: kept(weight), next: At::NONE };
        let at = self.make(ghost);
        let chain = self.chain(hash);
        self.rows[at].next = self.chains[chain];
        self.chains[chain] = at;
        self.order.push_front(&mut self.links, at);
        self.weight += u64::from(ghost.weight);
    }

    /// Forgets the ghost with this hash, and says what was noted of it.
    pub(super) fn take(&mut self, hash: u64) -> Option<Note> {
        let (before, at) = self.find(hash)?;
        let Ghost { note, weight, next, .. } = self.rows[at];
        match before {
            Some(before) => self.rows[before].next = next,
            None => {
                let chain = self.chain(hash);
                self.chains[chain] = next;
            }
        }
        self.order.unlink(&mut self.links, at);
        self.spare.push_front(&mut self.links, at);
        self.weight -= u64::from(weight);
        Some(note)
    }

    /// A newcomer is asked about: its ghost, if it has one, is taken and held for it, since those who leave for it would perhaps
    /// push it out. Asked again, there is none to take any more. One is held at a time.
    pub(super) fn hold(&mut self, hash: u64) -> Option<Note> {
        let note = self.take(hash)?;
        self.held = Some((hash, note));
        Some(note)
    }

    /// What is held for the newcomer with this hash.
    pub(super) fn held(&self, hash: u64) -> Option<Note> {
        self.held.filter(|held| held.0 == hash).map(|held| held.1)
    }

    /// A newcomer comes in: takes its ghost, held or not.
    pub(super) fn claim(&mut self, hash: u64) -> Option<Note> {
        let held = self.held(hash);
        if held.is_some() {
            self.held = None;
        }
        self.take(hash).or(held)
    }

    /// What is noted of the oldest ghost.
    pub(super) fn oldest(&self) -> Option<Note> {
        self.order.back().map(|at| self.rows[at].note)
    }

    /// Forgets the oldest ghost.
    pub(super) fn drop_oldest(&mut self) {
        if let Some(at) = self.order.back() {
            let _ = self.take(self.rows[at].hash);
        }
    }

    /// Forgets the oldest until they weigh at most `weight`, and are at most twice as many as the `entries` and a [`FEW`]; or until
    /// a [`SLICE`] has been forgotten: then the next calls go on.
    pub(super) fn trim(&mut self, weight: u64, entries: usize) {
        let count = 2 * entries + FEW;
        for _ in 0..SLICE {
            if self.weight <= weight && self.len() <= count {
                break;
            }
            self.drop_oldest();
        }
    }

    /// The ghost with this hash, and the one before it in its chain.
    fn find(&self, hash: u64) -> Option<(Option<At>, At)> {
        if self.chains.len() == 0 {
            return None;
        }
        let mut before = None;
        let mut at = self.chains[self.chain(hash)].some()?;
        while self.rows[at].hash != hash {
            before = Some(at);
            at = self.rows[at].next.some()?;
        }
        Some((before, at))
    }

    /// The chain for this hash: its last bits, one fewer where that chain is not made yet.
    fn chain(&self, hash: u64) -> At {
        let chains = self.chains.len();
        let mask = chains.next_power_of_two() - 1;
        let low = usize::try_from(mix(hash) & u64::from(u32::MAX)).unwrap_or(0) & mask;
        At::new(if low < chains { low } else { low & (mask >> 1) })
    }

    /// A row for this ghost.
    fn make(&mut self, ghost: Ghost<Note>) -> At {
        if let Some(spare) = self.spare.front() {
            self.spare.unlink(&mut self.links, spare);
            self.rows[spare] = ghost;
            return spare;
        }
        self.rows.push(ghost);
        self.split();
        At::new(self.rows.len() - 1)
    }

    /// Makes one chain more, and brings over what belongs there.
    fn split(&mut self) {
        let fresh = self.chains.len();
        self.chains.push(At::NONE);
        if fresh == 0 {
            return;
        }
        // The same number without its first bit: where a hash that ends in `fresh` was until now.
        let parent = At::new(fresh & !(1 << fresh.ilog2()));
        let mut rest = std::mem::replace(&mut self.chains[parent], At::NONE);
        while let Some(at) = rest.some() {
            rest = self.rows[at].next;
            let chain = self.chain(self.rows[at].hash);
            self.rows[at].next = self.chains[chain];
            self.chains[chain] = at;
        }
    }

    /// Checks every invariant.
    pub(super) fn assert_valid(&self) {
        self.order.assert_valid(&self.links);
        self.spare.assert_valid(&self.links);
        let rows = self.rows.len();
        assert_eq!(self.order.len() + self.spare.len(), rows, "a row is a ghost or spare");
        assert_eq!(self.chains.len(), rows, "there are as many chains as rows");
        let found = |at| self.find(self.rows[at].hash).is_some_and(|(_, found)| found == at);
        assert!(self.order.iter(&self.links).all(found), "a ghost is found by its hash");
        let mut chained = 0;
        for chain in (0..self.chains.len()).map(At::new) {
            let mut at = self.chains[chain];
            while !at.is_none() && chained <= rows {
                chained += 1;
                at = self.rows[at].next;
            }
        }
        assert_eq!(chained, self.order.len(), "the chains hold the ghosts and nothing else");
        let weights = self.order.iter(&self.links).map(|at| u64::from(self.rows[at].weight));
        assert_eq!(weights.sum::<u64>(), self.weight, "weight is the ghosts' sum");
    }

    /// What is noted of the ghost with this hash.
    #[cfg(test)]
    pub(super) fn get(&self, hash: u64) -> Option<Note> {
        self.find(hash).map(|(_, at)| self.rows[at].note)
    }

    /// The hashes, the oldest first.
    #[cfg(test)]
    pub(super) fn hashes(&self) -> Vec<u64> {
        self.order.iter(&self.links).rev().map(|at| self.rows[at].hash).collect()
    }

    /// Breaks invariant 3, to see that a policy looks at its ghosts.
    #[cfg(test)]
    pub(super) fn damage(&mut self) {
        self.chains.push(At::NONE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    proptest! {
        #[test]
        fn ghosts_are_a_queue_that_is_searched(
            ops in prop::collection::vec((0..10_u8, 0..150_u64, 1..9_u64), 0..400),
            bound in 1..500_u64,
            scale in prop::sample::select(vec![1, 1 << 20, 1 << 40]),
        ) {
            let mut ghosts = Ghosts::new();
            let mut oracle: VecDeque<(u64, u64, u64)> = VecDeque::new();
            for (step, (op, key, weight)) in (0_u64..).zip(ops) {
                let hash = key * scale;
                let place = oracle.iter().position(|ghost| ghost.0 == hash);
                match op {
                    0..6 => {
                        ghosts.push(hash, weight, step);
                        if let Some(place) = place {
                            oracle.remove(place);
                        }
                        oracle.push_back((hash, weight, step));
                    }
                    6..8 => {
                        let known = place.and_then(|place| oracle.remove(place));
                        prop_assert_eq!(ghosts.take(hash), known.map(|ghost| ghost.2));
                    }
                    8 => {
                        ghosts.drop_oldest();
                        oracle.pop_front();
                    }
                    _ => {
                        ghosts.trim(bound, 3);
                        for _ in 0..SLICE {
                            let sum: u64 = oracle.iter().map(|ghost| ghost.1).sum();
                            if sum > bound || oracle.len() > 6 + FEW {
                                oracle.pop_front();
                            }
                        }
                    }
                }
                ghosts.assert_valid();
                prop_assert_eq!(ghosts.len(), oracle.len());
                prop_assert_eq!(ghosts.weight(), oracle.iter().map(|ghost| ghost.1).sum::<u64>());
                prop_assert_eq!(ghosts.hashes(), oracle.iter().map(|ghost| ghost.0).collect::<Vec<_>>());
                prop_assert_eq!(ghosts.oldest(), oracle.front().map(|ghost| ghost.2));
                let known = oracle.iter().find(|ghost| ghost.0 == hash);
                prop_assert_eq!(ghosts.get(hash), known.map(|ghost| ghost.2));
            }
        }
    }

    #[test]
    fn chains_stay_short_while_the_table_grows() {
        let mut ghosts = Ghosts::new();
        for key in 0..10_000_u64 {
            ghosts.push(key << 32, 1, ());
        }
        let mut longest = 0;
        for chain in (0..ghosts.chains.len()).map(At::new) {
            let next = |at: &At| ghosts.rows[*at].next.some();
            longest = longest.max(std::iter::successors(ghosts.chains[chain].some(), next).count());
        }
        assert!(longest <= 12, "{longest}");
        ghosts.assert_valid();
    }

    #[test]
    fn a_ghost_is_held_until_its_newcomer_comes() {
        let mut ghosts = Ghosts::new();
        (1..4).for_each(|hash| ghosts.push(hash, 1, hash * 10));
        assert_eq!(ghosts.hold(2), Some(20));
        assert_eq!((ghosts.hold(2), ghosts.held(2), ghosts.held(1)), (None, Some(20), None));
        assert_eq!(ghosts.hashes(), [1, 3]);
        assert_eq!((ghosts.claim(7), ghosts.claim(1)), (None, Some(10)));
        assert_eq!((ghosts.claim(2), ghosts.claim(2), ghosts.held(2)), (Some(20), None, None));
        // Another one with the same hash left meanwhile: the newcomer has both, and the younger counts.
        assert_eq!(ghosts.hold(3), Some(30));
        ghosts.push(3, 1, 31);
        assert_eq!((ghosts.claim(3), ghosts.len()), (Some(31), 0));
        ghosts.assert_valid();
    }

    #[test]
    fn rows_are_used_again() {
        let mut ghosts = Ghosts::new();
        for key in 0..1_000 {
            ghosts.push(key, 1, ());
            ghosts.trim(10, 0);
        }
        assert_eq!((ghosts.len(), ghosts.rows.len()), (10, 11));
    }

    #[test]
    fn a_ghost_has_28_bytes() {
        let row = size_of::<Ghost<()>>();
        let links = 2 * size_of::<Slot>();
        assert_eq!(row + links + size_of::<At>(), 28);
    }

    #[test]
    fn damage_is_seen() {
        let says = |damage: &dyn Fn(&mut Ghosts<()>), what: &str| {
            let mut ghosts = Ghosts::new();
            (0..4).for_each(|hash| ghosts.push(hash, 1, ()));
            ghosts.drop_oldest();
            ghosts.assert_valid();
            damage(&mut ghosts);
            let panic = catch_unwind(AssertUnwindSafe(|| ghosts.assert_valid())).unwrap_err();
            let text = panic.downcast_ref::<String>().cloned();
            let text =
                text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap();
            assert!(text.contains(what), "{text}, expected {what}");
        };
        says(&|ghosts| ghosts.spare = List::new(), "a row is a ghost or spare");
        says(&|ghosts| ghosts.chains.push(At::NONE), "as many chains as rows");
        says(&|ghosts| ghosts.weight = 7, "weight is the ghosts' sum");
        says(&|ghosts| ghosts.rows[At::new(2)].hash = 3, "a ghost is found by its hash");
        let stray = |ghosts: &mut Ghosts<()>| {
            let spare = ghosts.spare.front().unwrap();
            let first = ghosts.chains[At::new(0)];
            ghosts.rows[spare] = Ghost { hash: 99, note: (), weight: 1, next: first };
            ghosts.chains[At::new(0)] = spare;
        };
        says(&stray, "the chains hold the ghosts and nothing else");
    }
}
