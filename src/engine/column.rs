//! Arrays with one element a slot, for those who hold the lock.
//!
//! **Problem.** A `Vec` that grows copies everything, and one caller pays for it. A column grows by a chunk, and never copies
//! one that is full.
//!
//! ```text
//!   Column<T>   chunks ─► [ 0 .. 1023 ] [ 1024 .. 2047 ] [ 2048 .. ]
//! ```
//!
//! | operation | cost |
//! |---|---|
//! | `push`, `pop`, `get`, `reach` | O(1); once in 1,024 a chunk is allocated |

use crate::engine::slab::Slot;

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

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index >> SHIFT)?.get(index & (CHUNK - 1))
    }

    #[inline]
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
    #[inline]
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
    #[inline]
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

    #[inline]
    fn index(&self, slot: Slot) -> &T {
        &self.chunks[slot.index() >> SHIFT][slot.index() & (CHUNK - 1)]
    }
}

impl<T> std::ops::IndexMut<Slot> for Column<T> {
    #[inline]
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        &mut self.chunks[slot.index() >> SHIFT][slot.index() & (CHUNK - 1)]
    }
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
}
