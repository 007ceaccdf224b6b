//! The homes of a table: a bucket for each number.
//!
//! **Problem.** A reader finds its home in as few steps as can be; a table of millions is made and taken away in small pieces.
//!
//! ```text
//!   chunks ─► [ 0 ][ 1 ][ 2 ][ 3 ]           one for 256 homes; all known from the beginning
//!               │    └────┼────┘
//!               ▼         ▼
//!           256 homes   NOWHERE: 256 homes that nobody ever writes to
//! ```
//!
//! So a reader asks no question: where nothing was ever written it finds an empty home.
//!
//! **Invariants**
//!
//! 1. A pointer leads to `NOWHERE`, and changes once, or to a chunk of this table's own, and stays until the table goes.
//! 2. A chunk has `CHUNK` homes, or, if it is the last, as many as are left.
//! 3. Nobody writes to `NOWHERE`.

#![expect(unsafe_code, reason = "pointers to what only grows: see the invariants")]

use super::bucket::Bucket;
use crate::sync::{AtomicPtr, Ordering};
use std::ptr;

/// Homes a chunk, at most: 16 KiB. Whoever inserts first into a chunk of a new table pays for making it.
const CHUNK: usize = if cfg!(cachette_loom) { 4 } else { 256 };

#[cfg(not(cachette_loom))]
static NOWHERE: [Bucket; CHUNK] = [const { Bucket::empty() }; CHUNK];

/// Where a pointer leads that leads to no chunk of a table's own.
#[cfg(not(cachette_loom))]
fn nowhere() -> *mut Bucket {
    NOWHERE.as_ptr().cast_mut()
}

/// A model has no constants of its kind.
#[cfg(cachette_loom)]
fn nowhere() -> *mut Bucket {
    let chunk: [Bucket; CHUNK] = std::array::from_fn(|_| Bucket::empty());
    Box::leak(Box::new(chunk)).as_mut_ptr()
}

pub(super) struct Homes {
    chunks: Box<[AtomicPtr<Bucket>]>,
    /// How many there are.
    len: usize,
    /// Chunks that are not shed yet.
    left: usize,
    nowhere: *mut Bucket,
}

impl Homes {
    pub(super) fn new(len: usize) -> Self {
        let nowhere = nowhere();
        let chunks: Box<[_]> = (0..len.div_ceil(CHUNK)).map(|_| AtomicPtr::new(nowhere)).collect();
        Self { left: chunks.len(), chunks, len, nowhere }
    }

    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The home with this number, to be read: an empty one if nothing near it was ever written.
    ///
    /// # Panics
    ///
    /// If there is no such number.
    #[inline]
    pub(super) fn get(&self, number: usize) -> &Bucket {
        assert!(number < self.len, "a home of this table");
        // SAFETY: there is a pointer for each 256 of `len`.
        let chunk = unsafe { self.chunks.get_unchecked(number / CHUNK) }.load(Ordering::Acquire);
        // SAFETY: a chunk has all homes of its 256 that the table has, and is freed by `&mut self` alone.
        unsafe { &*chunk.add(number % CHUNK) }
    }

    /// The home with this number, to be written to. For the one writer.
    ///
    /// # Panics
    ///
    /// If there is no such number.
    #[inline]
    pub(super) fn reach(&self, number: usize) -> &Bucket {
        if self.is_nowhere(self.chunks[number / CHUNK].load(Ordering::Relaxed)) {
            self.make(number / CHUNK);
        }
        self.get(number)
    }

    fn is_nowhere(&self, chunk: *mut Bucket) -> bool {
        ptr::eq(chunk, self.nowhere)
    }

    /// How many homes a chunk has.
    fn len_of(&self, chunk: usize) -> usize {
        (self.len - chunk * CHUNK).min(CHUNK)
    }

    #[cold]
    fn make(&self, chunk: usize) {
        let homes: Box<[Bucket]> = (0..self.len_of(chunk)).map(|_| Bucket::empty()).collect();
        self.chunks[chunk].store(Box::into_raw(homes).cast(), Ordering::Release);
    }

    /// Frees the last chunk that is left; false once there is none. It looks at 1,024 pointers a call, at most. Nobody reads any
    /// more.
    pub(super) fn shed(&mut self) -> bool {
        for _ in 0..1024 {
            let Some(last) = self.left.checked_sub(1) else { return false };
            self.left = last;
            let chunk = self.chunks[last].swap(self.nowhere, Ordering::Relaxed);
            if !self.is_nowhere(chunk) {
                let homes = ptr::slice_from_raw_parts_mut(chunk, self.len_of(last));
                // SAFETY: made by `make`, with so many homes; `&mut self`: no reader is left, and the pointer is forgotten.
                drop(unsafe { Box::from_raw(homes) });
                return true;
            }
        }
        true
    }

    #[cfg(test)]
    pub(super) fn chunks(&self) -> usize {
        let own = |chunk: &&AtomicPtr<_>| !self.is_nowhere(chunk.load(Ordering::Relaxed));
        self.chunks.iter().filter(own).count()
    }
}

impl Drop for Homes {
    fn drop(&mut self) {
        while self.shed() {}
    }
}

#[cfg(test)]
#[cfg(not(cachette_loom))]
mod tests {
    use super::*;

    fn write(home: &Bucket, count: u8) {
        home.counts[0].store(count, Ordering::Relaxed);
    }

    fn read(home: &Bucket) -> u8 {
        home.counts[0].load(Ordering::Relaxed)
    }

    #[test]
    fn the_picture_above() {
        let homes = Homes::new(4 * CHUNK - 1);
        assert_eq!(homes.len(), 4 * CHUNK - 1);
        assert_eq!([0, 3].map(|chunk| homes.len_of(chunk)), [CHUNK, CHUNK - 1]);
        for number in [0, CHUNK - 1, 3 * CHUNK, 4 * CHUNK - 2] {
            write(homes.reach(number), 7);
        }
        assert_eq!(homes.chunks(), 2);
        let written: Vec<_> = (0..homes.len()).filter(|&n| read(homes.get(n)) != 0).collect();
        assert_eq!(written, [0, CHUNK - 1, 3 * CHUNK, 4 * CHUNK - 2]);
        assert!(ptr::eq(homes.get(CHUNK + 5), homes.get(2 * CHUNK + 5)), "nowhere");
        assert!(ptr::eq(homes.get(3), homes.reach(3)), "where it was");
    }

    #[test]
    fn a_table_has_the_homes_it_was_made_with() {
        for len in [1, 4, CHUNK, CHUNK + 1] {
            let homes = Homes::new(len);
            write(homes.reach(len - 1), 1);
            assert_eq!(read(homes.get(len - 1)), 1);
            let beyond = std::panic::AssertUnwindSafe(|| homes.get(len));
            assert!(std::panic::catch_unwind(|| beyond().version.load(Ordering::Relaxed)).is_err());
        }
    }

    #[test]
    fn it_goes_a_chunk_at_a_time() {
        let mut homes = Homes::new(2050 * CHUNK);
        for chunk in [0, 1, 2049] {
            homes.reach(chunk * CHUNK);
        }
        let left: Vec<_> = (0..6).map(|_| (homes.shed(), homes.chunks())).collect();
        let expected = [(true, 2), (true, 2), (true, 1), (true, 0), (false, 0), (false, 0)];
        assert_eq!(left, expected);
    }
}
