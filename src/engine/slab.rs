//! Slots: where entries live, at addresses that never move.
//!
//! **Problem.** An index, a list and a wheel must all point at one entry, and any of them must be able to let go of it in
//! O(1). A pointer each costs 24 bytes and a proof; a `u32` into a slab costs 12 and needs none.
//!
//! ```text
//!   Column<T>   chunks ─► [ 0 .. 1023 ] [ 1024 .. 2047 ] [ 2048 .. ]      grows by a chunk, never copies a full one
//!   Slab<T>     cells:     Full(a) Free(4) Full(b) Full(c) Free(none)
//!                          free ─► 1 ─► 4                                 last freed, first reused
//! ```
//!
//! **Invariants**
//!
//! 1. A slot names the same cell for as long as that cell is full.
//! 2. Every cell is either full or on the free list, once.
//! 3. `len` is the number of full cells.
//!
//! | operation | cost |
//! |---|---|
//! | `insert` | O(1); once in 1,024 inserts a chunk is allocated |
//! | `remove`, `get` | O(1) |

use std::fmt;

/// The place of one entry in a segment: a small number, stable for as long as the entry is resident.
///
/// Policies and the timer wheel know entries by their slots alone. A slot is reused after its entry has left.
///
/// ```
/// use cachette::policy::Slot;
///
/// let slot = Slot::new(7);
/// assert_eq!(slot.index(), 7);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u32);

impl Slot {
    /// No slot: the end of a list.
    pub(crate) const NONE: Self = Self(u32::MAX);

    /// The most slots that a segment can have.
    pub(crate) const MAX: usize = u32::MAX as usize;

    /// The slot with this index.
    ///
    /// # Panics
    ///
    /// If `index` is `u32::MAX` or more: no segment holds that many entries.
    #[must_use]
    pub const fn new(index: usize) -> Self {
        assert!(index < Self::MAX, "a slot's index is below u32::MAX");
        #[expect(clippy::cast_possible_truncation, reason = "checked in the line above")]
        Self(index as u32)
    }

    /// The slot as an index into an array with one element a slot. O(1).
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) const fn is_none(self) -> bool {
        self.0 == Self::NONE.0
    }

    pub(crate) fn some(self) -> Option<Self> {
        if self.is_none() { None } else { Some(self) }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() { f.write_str("Slot(none)") } else { write!(f, "Slot({})", self.0) }
    }
}

/// Elements a chunk. With elements of up to 64 bytes a chunk is at most 64 KiB, so that no single call pays for a large
/// allocation or a large copy.
const CHUNK: usize = 1024;
const SHIFT: u32 = CHUNK.trailing_zeros();

/// An array that grows a chunk at a time: growing never copies a chunk that is full. It is either dense, and grows at its
/// end ([`push`](Self::push)), or has an element for some slots ([`reach`](Self::reach)).
pub(crate) struct Column<T> {
    chunks: Vec<Vec<T>>,
}

impl<T> Column<T> {
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index >> SHIFT)?.get(index & (CHUNK - 1))
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.chunks.get_mut(index >> SHIFT)?.get_mut(index & (CHUNK - 1))
    }

    pub(crate) fn push(&mut self, value: T) {
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            // The first chunk grows by doubling, so that a small cache stays small.
            let capacity = if self.chunks.is_empty() { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(capacity));
        }
        if let Some(last) = self.chunks.last_mut() {
            last.push(value);
        }
    }

    /// Takes the last element off, and gives its chunk back when that was the chunk's only one.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let last = self.chunks.last_mut()?;
        let value = last.pop();
        if last.is_empty() {
            self.chunks.pop();
        }
        value
    }
}

impl<T: Clone> Column<T> {
    /// Makes `index` legal, and fills what it adds with `filler`. Only the chunk of `index` is made, so that a column which
    /// comes into use late, beside a slab that is full, costs no call more than one chunk.
    pub(crate) fn reach(&mut self, index: usize, filler: &T) {
        let (chunk, within) = (index >> SHIFT, index & (CHUNK - 1));
        if self.chunks.len() <= chunk {
            self.chunks.resize_with(chunk + 1, Vec::new);
        }
        let chunk = &mut self.chunks[chunk];
        if chunk.len() <= within {
            chunk.resize(within + 1, filler.clone());
        }
    }
}

impl<T> std::ops::Index<Slot> for Column<T> {
    type Output = T;

    fn index(&self, slot: Slot) -> &T {
        &self.chunks[slot.index() >> SHIFT][slot.index() & (CHUNK - 1)]
    }
}

impl<T> std::ops::IndexMut<Slot> for Column<T> {
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        &mut self.chunks[slot.index() >> SHIFT][slot.index() & (CHUNK - 1)]
    }
}

enum Cell<T> {
    Free(Slot),
    Full(T),
}

/// Cells with stable addresses and a free list through the empty ones.
pub(crate) struct Slab<T> {
    cells: Column<Cell<T>>,
    free: Slot,
    len: usize,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { cells: Column::new(), free: Slot::NONE, len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// One past the highest slot ever used: where a walk over all slots ends.
    pub(crate) fn end(&self) -> usize {
        self.cells.len()
    }

    /// True if no slot is left: 2^32 - 1 of them are full.
    pub(crate) fn is_full(&self) -> bool {
        self.free.is_none() && self.cells.len() == Slot::MAX
    }

    /// Stores `value` in a free slot.
    ///
    /// # Panics
    ///
    /// If the slab [is full](Self::is_full).
    pub(crate) fn insert(&mut self, value: T) -> Slot {
        self.len += 1;
        let Some(slot) = self.free.some() else {
            let slot = Slot::new(self.cells.len());
            self.cells.push(Cell::Full(value));
            return slot;
        };
        if let Cell::Free(next) = self.cells[slot] {
            self.free = next;
        }
        self.cells[slot] = Cell::Full(value);
        slot
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        let cell = self.cells.get_mut(slot.index())?;
        if let Cell::Free(_) = cell {
            return None;
        }
        let Cell::Full(value) = std::mem::replace(cell, Cell::Free(self.free)) else { return None };
        self.free = slot;
        self.len -= 1;
        Some(value)
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        match self.cells.get(slot.index()) {
            Some(Cell::Full(value)) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        match self.cells.get_mut(slot.index()) {
            Some(Cell::Full(value)) => Some(value),
            _ => None,
        }
    }

    /// The full slots at or after `from`, in order.
    pub(crate) fn iter_from(&self, from: usize) -> impl Iterator<Item = (Slot, &T)> + Clone {
        (from..self.end()).filter_map(|index| {
            let slot = Slot::new(index);
            self.get(slot).map(|value| (slot, value))
        })
    }

    #[cfg(test)]
    pub(crate) fn assert_valid(&self) {
        let mut free = 0;
        let mut slot = self.free;
        while let Some(here) = slot.some() {
            let Cell::Free(next) = self.cells[here] else {
                panic!("{here:?} is full and on the free list")
            };
            slot = next;
            free += 1;
            assert!(free <= self.cells.len(), "the free list is a ring");
        }
        assert_eq!(free + self.len, self.cells.len(), "every cell is full or free");
        assert_eq!(self.iter_from(0).count(), self.len, "len counts the full cells");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_column_grows_and_shrinks_over_chunks() {
        let mut column = Column::new();
        for i in 0..3 * CHUNK {
            assert_eq!(column.len(), i);
            column.push(i);
        }
        assert_eq!(column.get(CHUNK), Some(&CHUNK));
        assert_eq!(column.get(3 * CHUNK), None);
        *column.get_mut(5).unwrap() = 50;
        assert_eq!(column[Slot::new(5)], 50);
        for i in (0..3 * CHUNK).rev() {
            assert_eq!(column.pop(), Some(if i == 5 { 50 } else { i }));
            assert_eq!(column.len(), i);
        }
        assert_eq!(column.pop(), None);
    }

    #[test]
    fn a_column_that_comes_late_makes_one_chunk() {
        let mut column = Column::new();
        column.reach(5 * CHUNK + 1, &7);
        assert_eq!(column[Slot::new(5 * CHUNK)], 7);
        assert_eq!(column.get(5 * CHUNK + 1), Some(&7));
        assert_eq!(column.get(5 * CHUNK + 2), None);
        assert_eq!(column.get(CHUNK), None);
        column[Slot::new(5 * CHUNK)] = 8;
        column.reach(3, &9);
        column.reach(5 * CHUNK + 1, &9);
        column.reach(5 * CHUNK + 2, &9);
        assert_eq!([0, 1, 2].map(|i| column[Slot::new(5 * CHUNK + i)]), [8, 7, 9]);
        assert_eq!(column[Slot::new(3)], 9);
        assert_eq!(column.chunks.iter().filter(|chunk| !chunk.is_empty()).count(), 2);
    }

    #[test]
    fn the_last_freed_slot_is_the_first_reused() {
        let mut slab = Slab::new();
        let slots: Vec<_> = (0..4).map(|i| slab.insert(i)).collect();
        assert_eq!(slab.remove(slots[1]), Some(1));
        assert_eq!(slab.remove(slots[3]), Some(3));
        assert_eq!(slab.remove(slots[3]), None);
        assert_eq!(slab.insert(10), slots[3]);
        assert_eq!(slab.insert(11), slots[1]);
        assert_eq!(slab.insert(12), Slot::new(4));
        assert!(!slab.is_full());
    }

    #[test]
    #[should_panic(expected = "below u32::MAX")]
    fn a_slot_is_never_the_mark_for_none() {
        let _ = Slot::new(u32::MAX as usize);
    }

    #[test]
    fn slots_print_their_index() {
        assert_eq!(format!("{:?} {:?}", Slot::new(3), Slot::NONE), "Slot(3) Slot(none)");
    }

    proptest! {
        #[test]
        fn a_slab_is_a_map_from_slots(ops in prop::collection::vec((any::<bool>(), 0..40_usize), 0..400)) {
            let mut slab = Slab::new();
            let mut oracle = HashMap::new();
            for (step, (insert, pick)) in ops.into_iter().enumerate() {
                if insert {
                    let slot = slab.insert(step);
                    prop_assert!(oracle.insert(slot, step).is_none());
                } else {
                    let slot = Slot::new(pick);
                    prop_assert_eq!(slab.remove(slot), oracle.remove(&slot));
                }
                slab.assert_valid();
                for (slot, value) in slab.iter_from(0) {
                    prop_assert_eq!(oracle.get(&slot), Some(value));
                }
                prop_assert_eq!(slab.len(), oracle.len());
            }
        }
    }
}
