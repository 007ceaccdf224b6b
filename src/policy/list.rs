//! Doubly linked lists through slots.
//!
//! **Problem.** A policy keeps its entries in order and must unlink any of them in O(1), without an allocation an entry and
//! without a pointer. Several lists share one column of links, since an entry is on at most one of them.
//!
//! ```text
//!   links:   slot   0       1       2       3
//!            prev   -       3       -       2          List { head: 2, tail: 1, len: 3 }   2 ⇄ 3 ⇄ 1
//!            next   -       -       3       1          (slot 0 is on no list)
//! ```
//!
//! **Invariants**
//!
//! 1. A slot is on at most one of the lists that share a `Links`.
//! 2. From `head`, following `next`, one meets `len` slots and ends at `tail`; `prev` gives the same walk reversed.
//!
//! | operation | cost |
//! |---|---|
//! | `push_front`, `push_after`, `unlink`, `replace`, `move_to_front`, `front`, `back`, `after`, `before` | O(1) |
//! | `iter` | O(1) a step, from either end |

use crate::engine::column::Column;
use crate::engine::slab::Slot;

#[derive(Clone, Copy)]
struct Link {
    prev: Slot,
    next: Slot,
}

const LOOSE: Link = Link { prev: Slot::NONE, next: Slot::NONE };

/// The links of every slot, shared by all the lists of one policy.
pub(crate) struct Links {
    column: Column<Link>,
}

impl Links {
    pub(crate) const fn new() -> Self {
        Self { column: Column::new() }
    }
}

/// One list: its ends and its length. The links are in a [`Links`].
#[derive(Clone, Copy)]
pub(crate) struct List {
    head: Slot,
    tail: Slot,
    len: usize,
}

impl List {
    pub(crate) const fn new() -> Self {
        Self { head: Slot::NONE, tail: Slot::NONE, len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn front(&self) -> Option<Slot> {
        self.head.some()
    }

    pub(crate) fn back(&self) -> Option<Slot> {
        self.tail.some()
    }

    /// Puts `slot`, which is on no list, at the front.
    pub(crate) fn push_front(&mut self, links: &mut Links, slot: Slot) {
        links.column.reach(slot.index(), LOOSE);
        links.column[slot] = Link { prev: Slot::NONE, next: self.head };
        match self.head.some() {
            Some(head) => links.column[head].prev = slot,
            None => self.tail = slot,
        }
        self.head = slot;
        self.len += 1;
    }

    /// Puts `slot`, which is on no list, next to `before`, which is on this one, on its back side.
    pub(crate) fn push_after(&mut self, links: &mut Links, before: Slot, slot: Slot) {
        links.column.reach(slot.index(), LOOSE);
        let next = links.column[before].next;
        links.column[slot] = Link { prev: before, next };
        links.column[before].next = slot;
        match next.some() {
            Some(next) => links.column[next].prev = slot,
            None => self.tail = slot,
        }
        self.len += 1;
    }

    /// The neighbour of `slot`, which is on a list, on its back side.
    pub(crate) fn after(links: &Links, slot: Slot) -> Option<Slot> {
        links.column[slot].next.some()
    }

    /// The neighbour of `slot`, which is on a list, on its front side.
    pub(crate) fn before(links: &Links, slot: Slot) -> Option<Slot> {
        links.column[slot].prev.some()
    }

    /// From the neighbour of `slot`, which is on a list, on its front side to the front.
    pub(crate) fn towards_front(links: &Links, slot: Slot) -> impl Iterator<Item = Slot> {
        std::iter::successors(Self::before(links, slot), |&slot| Self::before(links, slot))
    }

    /// Takes `slot`, which is on this list, off it.
    pub(crate) fn unlink(&mut self, links: &mut Links, slot: Slot) {
        let Link { prev, next } = links.column[slot];
        match prev.some() {
            Some(prev) => links.column[prev].next = next,
            None => self.head = next,
        }
        match next.some() {
            Some(next) => links.column[next].prev = prev,
            None => self.tail = prev,
        }
        links.column[slot] = LOOSE;
        self.len -= 1;
    }

    /// Takes `from`, which is on this list, off it, and puts `to`, which is on no list, in its place.
    pub(crate) fn replace(&mut self, links: &mut Links, from: Slot, to: Slot) {
        links.column.reach(to.index(), LOOSE);
        let link = std::mem::replace(&mut links.column[from], LOOSE);
        links.column[to] = link;
        match link.prev.some() {
            Some(prev) => links.column[prev].next = to,
            None => self.head = to,
        }
        match link.next.some() {
            Some(next) => links.column[next].prev = to,
            None => self.tail = to,
        }
    }

    pub(crate) fn move_to_front(&mut self, links: &mut Links, slot: Slot) {
        if self.head != slot {
            self.unlink(links, slot);
            self.push_front(links, slot);
        }
    }

    /// From front to back; `rev()` goes from back to front.
    pub(crate) fn iter<'a>(&self, links: &'a Links) -> Iter<'a> {
        Iter { links, front: self.head, back: self.tail, left: self.len }
    }

    /// Checks invariant 2; that no slot is met twice follows, since a walk that met one twice would never end.
    pub(crate) fn assert_valid(&self, links: &Links) {
        let forth: Vec<_> = self.iter(links).collect();
        let mut back: Vec<_> = self.iter(links).rev().collect();
        back.reverse();
        assert_eq!(forth, back, "prev and next tell the same order");
        assert_eq!(forth.len(), self.len, "len counts the slots");
        assert_eq!(forth.first().copied(), self.front(), "head is the first");
        assert_eq!(forth.last().copied(), self.back(), "tail is the last");
        if let (Some(head), Some(tail)) = (self.front(), self.back()) {
            assert!(
                links.column[head].prev.is_none() && links.column[tail].next.is_none(),
                "the ends are ends"
            );
        }
    }
}

/// A walk over a list's slots.
pub(crate) struct Iter<'a> {
    links: &'a Links,
    front: Slot,
    back: Slot,
    left: usize,
}

impl Iterator for Iter<'_> {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        self.left = self.left.checked_sub(1)?;
        let slot = self.front.some()?;
        self.front = self.links.column[slot].next;
        Some(slot)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Slot> {
        self.left = self.left.checked_sub(1)?;
        let slot = self.back.some()?;
        self.back = self.links.column[slot].prev;
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn indices(list: &List, links: &Links) -> Vec<usize> {
        list.iter(links).map(Slot::index).collect()
    }

    #[test]
    fn the_picture_above() {
        let mut links = Links::new();
        let mut list = List::new();
        for slot in [1, 3, 2] {
            list.push_front(&mut links, Slot::new(slot));
        }
        assert_eq!(indices(&list, &links), [2, 3, 1]);
        list.move_to_front(&mut links, Slot::new(1));
        assert_eq!(indices(&list, &links), [1, 2, 3]);
        list.unlink(&mut links, Slot::new(2));
        assert_eq!(indices(&list, &links), [1, 3]);
        assert_eq!((list.front(), list.back()), (Some(Slot::new(1)), Some(Slot::new(3))));
        list.push_after(&mut links, Slot::new(1), Slot::new(0));
        list.push_after(&mut links, Slot::new(3), Slot::new(2));
        assert_eq!(indices(&list, &links), [1, 0, 3, 2]);
        assert_eq!(List::after(&links, Slot::new(0)), Some(Slot::new(3)));
        assert_eq!(List::after(&links, Slot::new(2)), None);
        assert_eq!(List::before(&links, Slot::new(0)), Some(Slot::new(1)));
        assert_eq!(List::before(&links, Slot::new(1)), None);
        list.replace(&mut links, Slot::new(0), Slot::new(4));
        assert_eq!(indices(&list, &links), [1, 4, 3, 2]);
        list.replace(&mut links, Slot::new(1), Slot::new(0));
        list.replace(&mut links, Slot::new(2), Slot::new(1));
        assert_eq!(indices(&list, &links), [0, 4, 3, 1]);
        assert_eq!((list.front(), list.back()), (Some(Slot::new(0)), Some(Slot::new(1))));
        list.assert_valid(&links);
    }

    proptest! {
        #[test]
        fn two_lists_on_one_column_are_two_deques(ops in prop::collection::vec((0..6_u8, any::<bool>(), 0..20_usize), 0..300)) {
            let mut links = Links::new();
            let mut lists = [List::new(), List::new()];
            let mut oracle = [VecDeque::new(), VecDeque::new()];
            for (op, second, slot) in ops {
                let which = usize::from(second);
                let home = (0..2).find(|&i| oracle[i].contains(&slot));
                match (op, home) {
                    (0 | 1, None) => {
                        lists[which].push_front(&mut links, Slot::new(slot));
                        oracle[which].push_front(slot);
                    }
                    (4, None) if !oracle[which].is_empty() => {
                        let at = slot % oracle[which].len();
                        let before = Slot::new(oracle[which][at]);
                        lists[which].push_after(&mut links, before, Slot::new(slot));
                        oracle[which].insert(at + 1, slot);
                        prop_assert_eq!(List::after(&links, before), Some(Slot::new(slot)));
                        prop_assert_eq!(List::before(&links, Slot::new(slot)), Some(before));
                    }
                    (5, Some(home)) => {
                        // Sometimes a slot that was on a list before, sometimes one that no list has reached.
                        let free = (slot..).find(|s| oracle.iter().all(|list| !list.contains(s)));
                        let to = free.unwrap_or(slot);
                        lists[home].replace(&mut links, Slot::new(slot), Slot::new(to));
                        for place in oracle[home].iter_mut().filter(|place| **place == slot) {
                            *place = to;
                        }
                    }
                    (2, Some(home)) => {
                        lists[home].unlink(&mut links, Slot::new(slot));
                        oracle[home].retain(|&s| s != slot);
                    }
                    (_, Some(home)) => {
                        lists[home].move_to_front(&mut links, Slot::new(slot));
                        oracle[home].retain(|&s| s != slot);
                        oracle[home].push_front(slot);
                    }
                    (_, None) => {}
                }
                for (list, oracle) in lists.iter().zip(&oracle) {
                    list.assert_valid(&links);
                    prop_assert_eq!(&indices(list, &links), &Vec::from(oracle.clone()));
                    prop_assert_eq!(list.is_empty(), oracle.is_empty());
                    prop_assert_eq!(list.len(), oracle.len());
                }
            }
        }
    }
}
