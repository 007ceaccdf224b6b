//! Arrays with one element a slot, for those who hold the lock.
//!
//! **Problem.** A `Vec` that grows copies everything, and one caller pays for it. A column grows by a chunk, and copies only
//! the pointers to its chunks.
//!
//! ```text
//!   Column<T>   chunks ─► [ 0 .. 127 ] [    -    ] [ 256 .. 383 ]
//! ```
//!
//! | operation | cost |
//! |---|---|
//! | `push`, `pop`, `get`, `reach`, indexing | O(1); a chunk is allocated once in its length |

use crate::engine::slab::Slot;

/// Elements a chunk: enough that its pointer costs an element nothing, few enough that a small cache stays small.
const CHUNK: usize = 128;
const SHIFT: u32 = CHUNK.trailing_zeros();

/// An array that grows a chunk at a time. It is either dense, and grows at its end ([`push`](Self::push)), or has an element
/// for some slots ([`reach`](Self::reach)).
pub(crate) struct Column<T> {
    /// `None` where nothing has been reached.
    chunks: Vec<Option<Box<[T; CHUNK]>>>,
    /// One past the last element.
    len: usize,
}

impl<T> Column<T> {
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        let chunk = self.chunks.get(index >> SHIFT)?.as_ref()?;
        (index < self.len).then(|| &chunk[index & (CHUNK - 1)])
    }
}

impl<T: Copy> Column<T> {
    /// Makes `index` legal, and fills what it adds with `filler`. Only the chunk of `index` is made, so that a column which
    /// comes into use late, beside a slab that is full, costs no call more than one chunk.
    #[inline]
    pub(crate) fn reach(&mut self, index: usize, filler: T) {
        if index >= self.len || self.chunks[index >> SHIFT].is_none() {
            self.extend(index, filler);
        }
    }

    #[inline(never)]
    fn extend(&mut self, index: usize, filler: T) {
        let chunk = index >> SHIFT;
        if self.chunks.len() <= chunk {
            self.chunks.resize_with(chunk + 1, || None);
        }
        self.chunks[chunk].get_or_insert_with(|| Box::new([filler; CHUNK]));
        self.len = self.len.max(index + 1);
    }

    pub(crate) fn push(&mut self, value: T) {
        let end = Slot::new(self.len);
        self.reach(end.index(), value);
        self[end] = value;
    }

    /// Takes the last element off.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let last = self.len.checked_sub(1)?;
        let value = self.get(last).copied();
        self.len = last;
        value
    }
}

impl<T> std::ops::Index<Slot> for Column<T> {
    type Output = T;

    #[inline]
    fn index(&self, slot: Slot) -> &T {
        match &self.chunks[slot.index() >> SHIFT] {
            Some(chunk) => &chunk[slot.index() & (CHUNK - 1)],
            None => not_reached(slot),
        }
    }
}

impl<T> std::ops::IndexMut<Slot> for Column<T> {
    #[inline]
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        match &mut self.chunks[slot.index() >> SHIFT] {
            Some(chunk) => &mut chunk[slot.index() & (CHUNK - 1)],
            None => not_reached(slot),
        }
    }
}

#[cold]
fn not_reached(slot: Slot) -> ! {
    panic!("{slot:?} was not reached")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_grows_and_shrinks_over_chunks() {
        let mut column = Column::new();
        for i in 0..3 * CHUNK {
            assert_eq!(column.len(), i);
            column.push(i);
        }
        assert_eq!(column.get(CHUNK), Some(&CHUNK));
        assert_eq!(column.get(3 * CHUNK), None);
        column[Slot::new(5)] = 50;
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
        column.reach(5 * CHUNK + 1, 7);
        assert_eq!(column[Slot::new(5 * CHUNK)], 7);
        assert_eq!(column.get(5 * CHUNK + 1), Some(&7));
        assert_eq!(column.get(5 * CHUNK + 2), None);
        assert_eq!(column.get(CHUNK), None);
        column[Slot::new(5 * CHUNK)] = 8;
        column.reach(3, 9);
        column.reach(5 * CHUNK + 1, 9);
        column.reach(5 * CHUNK + 2, 9);
        assert_eq!([0, 1, 2].map(|i| column[Slot::new(5 * CHUNK + i)]), [8, 7, 7]);
        assert_eq!(column[Slot::new(3)], 9);
        assert_eq!(column.chunks.iter().flatten().count(), 2);
    }
}
