//! A few queues of entries in one segment, each with its weight.
//!
//! **Problem.** Many policies are some queues, and rules for when an entry goes from one to another. They must find an entry's
//! queue by its slot, know what each queue weighs, and, since a policy is not told again when an entry leaves, keep what they
//! want to know of it then.
//!
//! ```text
//!   rows:     slot     0      1      2      3
//!             queue    1      -      0      1          queue 0   newest  2          oldest     weight 7
//!             weight   3      -      7      1          queue 1   newest  3  ⇄  0    oldest     weight 4
//!             note     ...    -      ...    ...
//! ```
//!
//! **Invariants**
//!
//! 1. Every entry is in one queue, the one that its row names.
//! 2. A queue's weight is the sum of the weights in the rows of its entries.
//!
//! | operation | cost |
//! |---|---|
//! | `push`, `remove`, `move_to`, `relocate`, `oldest`, `row` | O(1) |
//! | memory | 16 bytes an entry, and the note |
//!
//! An entry that weighs more than `u32::MAX` counts as if it weighed that: four bytes an entry are worth more than the share of
//! a queue of such entries.

use super::Slot;
use super::list::{Iter, Links, List};
use crate::engine::column::Column;

/// One of the queues.
pub(super) type Queue = u8;

/// A weight as it is kept here.
pub(super) fn kept(weight: u64) -> u32 {
    u32::try_from(weight).unwrap_or(u32::MAX)
}

/// What is known of an entry.
#[derive(Clone, Copy)]
pub(super) struct Row<Note> {
    pub(super) note: Note,
    pub(super) weight: u32,
    pub(super) queue: Queue,
}

/// `N` queues. The policy chooses what it notes of an entry.
pub(super) struct Queues<const N: usize, Note> {
    links: Links,
    rows: Column<Row<Note>>,
    lists: [List; N],
    weights: [u64; N],
}

impl<const N: usize, Note: Copy> Queues<N, Note> {
    pub(super) const fn new() -> Self {
        Self { links: Links::new(), rows: Column::new(), lists: [List::new(); N], weights: [0; N] }
    }

    /// Puts `slot`, which is in no queue, into `queue` as its newest.
    pub(super) fn push(&mut self, queue: Queue, slot: Slot, weight: u64, note: Note) {
        let row = Row { note, weight: kept(weight), queue };
        self.rows.reach(slot.index(), row);
        self.rows[slot] = row;
        self.enter(queue, slot);
    }

    /// Takes `slot` out of its queue, and says what was known of it.
    pub(super) fn remove(&mut self, slot: Slot) -> Row<Note> {
        self.leave(slot);
        self.rows[slot]
    }

    /// Makes `slot` the newest of `queue`, wherever it was.
    pub(super) fn move_to(&mut self, queue: Queue, slot: Slot) {
        self.leave(slot);
        self.rows[slot].queue = queue;
        self.enter(queue, slot);
    }

    /// Puts `to` in the place of `from`, with a new weight.
    pub(super) fn relocate(&mut self, from: Slot, to: Slot, weight: u64) {
        let old = self.rows[from];
        let new = Row { weight: kept(weight), ..old };
        let queue = usize::from(old.queue);
        self.lists[queue].replace(&mut self.links, from, to);
        self.rows.reach(to.index(), new);
        self.rows[to] = new;
        self.weights[queue] = self.weights[queue] - u64::from(old.weight) + u64::from(new.weight);
    }

    /// Notes something else of `slot`.
    pub(super) fn note(&mut self, slot: Slot, note: Note) {
        self.rows[slot].note = note;
    }

    pub(super) fn row(&self, slot: Slot) -> Row<Note> {
        self.rows[slot]
    }

    pub(super) fn oldest(&self, queue: Queue) -> Option<Slot> {
        self.lists[usize::from(queue)].back()
    }

    pub(super) const fn weight(&self, queue: Queue) -> u64 {
        self.weights[queue as usize]
    }

    pub(super) const fn count(&self, queue: Queue) -> usize {
        self.lists[queue as usize].len()
    }

    /// The entries of all queues.
    pub(super) fn len(&self) -> usize {
        self.lists.iter().map(List::len).sum()
    }

    /// From the newest of `queue` to its oldest; `rev()` goes from the oldest.
    pub(super) fn iter(&self, queue: Queue) -> Iter<'_> {
        self.lists[usize::from(queue)].iter(&self.links)
    }

    /// The entries of all queues, each from its oldest on; `queues` are in the order in which they give.
    pub(super) fn in_order(&self, queues: [Queue; N]) -> impl DoubleEndedIterator<Item = Slot> {
        queues.into_iter().flat_map(|queue| self.iter(queue).rev())
    }

    /// The same from the entry behind `slot` on.
    pub(super) fn in_order_after(
        &self,
        queues: [Queue; N],
        slot: Slot,
    ) -> impl Iterator<Item = Slot> {
        let here = self.rows[slot].queue;
        let later = queues.into_iter().skip_while(move |&queue| queue != here).skip(1);
        let newer = List::towards_front(&self.links, slot);
        newer.chain(later.flat_map(|queue| self.iter(queue).rev()))
    }

    fn enter(&mut self, queue: Queue, slot: Slot) {
        let queue = usize::from(queue);
        self.lists[queue].push_front(&mut self.links, slot);
        self.weights[queue] += u64::from(self.rows[slot].weight);
    }

    fn leave(&mut self, slot: Slot) {
        let row = &self.rows[slot];
        let queue = usize::from(row.queue);
        self.weights[queue] -= u64::from(row.weight);
        self.lists[queue].unlink(&mut self.links, slot);
    }

    /// Checks both invariants.
    pub(super) fn assert_valid(&self) {
        for (queue, list) in self.lists.iter().enumerate() {
            list.assert_valid(&self.links);
            let row = |slot| &self.rows[slot];
            let named = list.iter(&self.links).all(|slot| usize::from(row(slot).queue) == queue);
            assert!(named, "an entry is in the queue that its row names");
            let weight: u64 = list.iter(&self.links).map(|slot| u64::from(row(slot).weight)).sum();
            assert_eq!(weight, self.weights[queue], "a queue weighs what its entries do");
        }
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
        fn queues_are_deques(ops in prop::collection::vec((0..6_u8, 0..3_u8, 0..20_usize, 1..9_u64), 0..300)) {
            let mut queues = Queues::<3, usize>::new();
            let mut oracle: [VecDeque<(usize, u64, usize)>; 3] = Default::default();
            for (op, queue, index, weight) in ops {
                let at = usize::from(queue);
                let slot = Slot::new(index);
                let home = (0..3).find_map(|home| {
                    Some((home, oracle[home].iter().position(|row| row.0 == index)?))
                });
                match (op, home) {
                    (0..4, None) => {
                        queues.push(queue, slot, weight, index * 10);
                        oracle[at].push_front((index, weight, index * 10));
                    }
                    (0, Some((home, place))) => {
                        let row = queues.remove(slot);
                        let (_, weight, note) = oracle[home].remove(place).unwrap();
                        prop_assert_eq!((u64::from(row.weight), row.note, usize::from(row.queue)), (weight, note, home));
                    }
                    (1..3, Some((home, place))) => {
                        queues.move_to(queue, slot);
                        let row = oracle[home].remove(place).unwrap();
                        oracle[at].push_front(row);
                    }
                    (3, Some((home, place))) => {
                        let to = (index..).find(|to| oracle.iter().flatten().all(|row| row.0 != *to)).unwrap();
                        queues.relocate(slot, Slot::new(to), weight);
                        (oracle[home][place].0, oracle[home][place].1) = (to, weight);
                    }
                    (4, Some((home, place))) => {
                        queues.note(slot, 7);
                        oracle[home][place].2 = 7;
                        prop_assert_eq!(queues.row(slot).note, 7);
                    }
                    _ => {}
                }
                queues.assert_valid();
                prop_assert_eq!(queues.len(), oracle.iter().map(VecDeque::len).sum::<usize>());
                let order = [2, 0, 1].into_iter().flat_map(|at| oracle[at].iter().rev().map(|row| row.0));
                prop_assert!(queues.in_order([2, 0, 1]).map(Slot::index).eq(order));
                for (queue, oracle) in (0..).zip(&oracle) {
                    let order: Vec<_> = oracle.iter().map(|row| row.0).collect();
                    prop_assert_eq!(queues.iter(queue).map(Slot::index).collect::<Vec<_>>(), order);
                    prop_assert_eq!(queues.weight(queue), oracle.iter().map(|row| row.1).sum::<u64>());
                    prop_assert_eq!(queues.count(queue), oracle.len());
                    prop_assert_eq!(queues.oldest(queue).map(Slot::index), oracle.back().map(|row| row.0));
                }
            }
        }
    }

    #[test]
    fn an_entry_has_16_bytes_and_its_note() {
        let links = 2 * size_of::<Slot>();
        assert_eq!(size_of::<Row<()>>() + links, 16);
        assert_eq!(size_of::<Row<u64>>() + links, 24);
        assert_eq!(size_of::<Row<[u64; 2]>>() + links, 32);
    }

    #[test]
    fn a_very_heavy_entry_counts_as_one_that_fits_four_bytes() {
        let mut queues = Queues::<1, ()>::new();
        queues.push(0, Slot::new(0), u64::MAX, ());
        queues.push(0, Slot::new(1), 5, ());
        assert_eq!(queues.weight(0), u64::from(u32::MAX) + 5);
        queues.relocate(Slot::new(0), Slot::new(2), 1);
        assert_eq!(queues.weight(0), 6);
    }

    #[test]
    fn damage_is_seen() {
        let says = |damage: &dyn Fn(&mut Queues<2, ()>)| {
            let mut queues = Queues::new();
            queues.push(0, Slot::new(0), 3, ());
            queues.push(1, Slot::new(1), 3, ());
            queues.assert_valid();
            damage(&mut queues);
            let panic = catch_unwind(AssertUnwindSafe(|| queues.assert_valid())).unwrap_err();
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap()
        };
        let text = says(&|queues| queues.rows[Slot::new(1)].queue = 0);
        assert!(text.contains("the queue that its row names"), "{text}");
        let text = says(&|queues| queues.weights[1] = 2);
        assert!(text.contains("weighs what its entries do"), "{text}");
    }
}
