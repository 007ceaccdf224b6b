//! Arrays that are read without a lock while they grow.
//!
//! **Problem.** A reader follows an index into an array that a writer makes longer. The array must not move under it.
//!
//! ```text
//!   directory ─► [ chunk 0 ][ chunk 1 ][   -   ][   -   ]      doubles by copying its pointers; chunks stay where they are
//! ```
//!
//! **Invariants**
//!
//! 1. A chunk's pointer, once stored, stays in every later directory, until the whole array is dropped.
//! 2. `length` is at most that of the directory which a reader sees after it has loaded `length`.
//!
//! | operation | cost |
//! |---|---|
//! | `get` | three loads |
//! | `reach` | O(1); a chunk is allocated once in its length, a directory once in a doubling |

#![expect(unsafe_code, reason = "pointers to what only grows: see the invariants")]

use crate::sync::{AtomicPtr, AtomicUsize, Mutex, Ordering};
use std::ptr;

/// An array that grows a chunk at a time and is read without a lock. What it has once shown stays where it is until it is
/// dropped.
pub(crate) struct Chunks<T> {
    /// `length` pointers to chunks, null where there is none.
    directory: AtomicPtr<AtomicPtr<T>>,
    length: AtomicUsize,
    /// A chunk has 2^shift elements, and an index within one has the bits of `mask`.
    shift: u32,
    mask: u32,
    /// Directories that were outgrown, and their lengths: a reader may be in one. (So they are not boxes, which nobody else may
    /// look into.) Together they are smaller than the one in use. The lock is for growing alone.
    outgrown: Mutex<Vec<(AtomicPtr<AtomicPtr<T>>, usize)>>,
}

impl<T> Chunks<T> {
    /// Chunks of `2^shift` elements.
    pub(crate) fn new(shift: u32) -> Self {
        Self {
            directory: AtomicPtr::new(ptr::null_mut()),
            length: AtomicUsize::new(0),
            shift,
            mask: (1 << shift) - 1,
            outgrown: Mutex::new(Vec::new()),
        }
    }

    /// True if there is no chunk.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.length.load(Ordering::Acquire) == 0
    }

    #[inline]
    fn chunk(&self, number: usize) -> Option<&AtomicPtr<T>> {
        // Acquire: a directory of at least this length is seen.
        if number >= self.length.load(Ordering::Acquire) {
            return None;
        }
        let directory = self.directory.load(Ordering::Acquire);
        // SAFETY: the directory has `length` elements or more, and is freed with `self` alone.
        Some(unsafe { &*directory.add(number) })
    }

    /// The element at `index`, if its chunk is there.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        let chunk = self.chunk(index >> self.shift)?.load(Ordering::Acquire);
        if chunk.is_null() {
            return None;
        }
        // SAFETY: a chunk has 2^shift elements, made before its pointer was stored, and is freed with `self` alone.
        Some(unsafe { &*chunk.add(index & self.mask as usize) })
    }

    /// The element at `index`.
    ///
    /// # Safety
    ///
    /// [`reach`](Self::reach) has made its chunk, and the caller has seen something that was done after that.
    #[inline]
    pub(crate) unsafe fn get_unchecked(&self, index: usize) -> &T {
        let directory = self.directory.load(Ordering::Acquire);
        // SAFETY: as promised, the directory that is seen reaches so far, and has the chunk.
        let chunk = unsafe { &*directory.add(index >> self.shift) }.load(Ordering::Relaxed);
        // SAFETY: a chunk has 2^shift elements, and is freed with `self` alone.
        unsafe { &*chunk.add(index & self.mask as usize) }
    }

    /// Makes the chunk of `index`, of elements that `make` gives, if it is not there.
    #[inline]
    pub(crate) fn reach(&self, index: usize, make: impl Fn() -> T) -> &T {
        if let Some(there) = self.get(index) {
            return there;
        }
        self.grow(index >> self.shift, make);
        self.get(index).unwrap_or_else(|| unreachable!("its chunk has just been made"))
    }

    #[cold]
    fn grow(&self, number: usize, make: impl Fn() -> T) {
        let mut outgrown = self.outgrown.lock();
        let length = self.length.load(Ordering::Relaxed);
        if number >= length {
            let longer = (number + 1).next_power_of_two();
            let old = (0..length).filter_map(|i| self.chunk(i)).map(|c| c.load(Ordering::Relaxed));
            let none = (length..longer).map(|_| ptr::null_mut());
            let directory: Box<[AtomicPtr<T>]> = old.chain(none).map(AtomicPtr::new).collect();
            let was = self.directory.swap(Box::into_raw(directory).cast(), Ordering::AcqRel);
            self.length.store(longer, Ordering::Release);
            if length != 0 {
                outgrown.push((AtomicPtr::new(was), length));
            }
        }
        let Some(place) = self.chunk(number) else { return };
        if place.load(Ordering::Relaxed).is_null() {
            let chunk: Box<[T]> = (0..1_usize << self.shift).map(|_| make()).collect();
            place.store(Box::into_raw(chunk).cast(), Ordering::Release);
        }
    }

    /// Frees the last chunk; false if there was none. It looks at the directory from its end, at most 1,024 places a call.
    pub(crate) fn shed(&mut self) -> bool {
        let length = self.length.load(Ordering::Relaxed);
        for number in (length.saturating_sub(1024)..length).rev() {
            let chunk =
                self.chunk(number).map(|place| place.swap(ptr::null_mut(), Ordering::Relaxed));
            if let Some(chunk) = chunk.filter(|chunk| !chunk.is_null()) {
                // SAFETY: made by `grow`, with 2^shift elements; `&mut self`: no reader is left.
                drop(unsafe { boxed(chunk, 1 << self.shift) });
                return true;
            }
        }
        false
    }

    #[cfg(test)]
    pub(crate) fn chunks(&self) -> usize {
        let length = self.length.load(Ordering::Relaxed);
        let made = |&i: &usize| self.chunk(i).is_some_and(|c| !c.load(Ordering::Relaxed).is_null());
        (0..length).filter(made).count()
    }
}

/// # Safety
///
/// `start` came from `Box::into_raw` of a slice of `length`, and nobody else will make a box of it.
unsafe fn boxed<T>(start: *mut T, length: usize) -> Box<[T]> {
    // SAFETY: as promised.
    unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(start, length)) }
}

impl<T> Drop for Chunks<T> {
    fn drop(&mut self) {
        for (directory, length) in self.outgrown.lock().drain(..) {
            // SAFETY: made by `grow`, with that length, and nobody's since; `&mut self`: no reader is left.
            drop(unsafe { boxed(directory.load(Ordering::Relaxed), length) });
        }
        let length = self.length.load(Ordering::Relaxed);
        if length == 0 {
            return;
        }
        // SAFETY: made by `grow`, with that length; `&mut self`: no reader is left.
        let directory = unsafe { boxed(self.directory.load(Ordering::Relaxed), length) };
        for chunk in &directory {
            let chunk = chunk.load(Ordering::Relaxed);
            if !chunk.is_null() {
                // SAFETY: likewise, with 2^shift elements.
                drop(unsafe { boxed(chunk, 1 << self.shift) });
            }
        }
    }
}

/// A chunk is a power of two of elements: as many as are expected, but no more than fit in 64 KiB, so that no call pays for
/// a large allocation.
pub(crate) fn chunk_shift(size: usize, expected: usize) -> u32 {
    let fit = (65_536 / size.max(1)).max(1).ilog2();
    let wanted = expected.clamp(1, 1 << 20).next_power_of_two().ilog2();
    wanted.clamp(4, 10).min(fit)
}

#[cfg(test)]
#[cfg(not(cachette_loom))]
mod tests {
    use super::*;
    use crate::sync::{AtomicU64, thread};

    #[test]
    fn elements_stay_where_they_are() {
        let array = Chunks::new(4);
        assert!(array.get(0).is_none());
        let first = ptr::from_ref(array.reach(3, || AtomicU64::new(7)));
        for index in (0..400).step_by(16) {
            array.reach(index, || AtomicU64::new(8)).store(index as u64, Ordering::Relaxed);
        }
        assert_eq!(array.chunks(), 25);
        assert!(ptr::eq(first, array.get(3).unwrap()));
        assert_eq!(array.get(3).unwrap().load(Ordering::Relaxed), 7);
        assert_eq!(array.get(384).unwrap().load(Ordering::Relaxed), 384);
        assert!(array.get(400).is_none());
    }

    #[test]
    fn a_late_chunk_is_made_alone() {
        let array = Chunks::new(4);
        array.reach(1000, || 5_u8);
        assert_eq!((array.get(1001), array.get(0)), (Some(&5), None));
        assert_eq!(array.chunks(), 1);
    }

    #[test]
    fn readers_look_while_it_grows() {
        let array = Chunks::new(4);
        let made = AtomicU64::new(0);
        let last = if cfg!(miri) { 200 } else { 20_000 };
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while made.load(Ordering::Acquire) < last {
                        let seen = made.load(Ordering::Acquire);
                        for index in [0, seen / 2, seen.saturating_sub(1)] {
                            if index < seen {
                                let element: &AtomicU64 = array.get(index as usize).unwrap();
                                assert_eq!(element.load(Ordering::Acquire), index + 1);
                            }
                        }
                    }
                });
            }
            for index in 0..last {
                let element = array.reach(index as usize, || AtomicU64::new(0));
                element.store(index + 1, Ordering::Release);
                made.store(index + 1, Ordering::Release);
            }
        });
    }

    #[test]
    fn a_chunk_fits_in_64_kib() {
        assert_eq!(chunk_shift(16, usize::MAX / 4), 10);
        assert_eq!(chunk_shift(64, 1_000_000), 10);
        assert_eq!(chunk_shift(65, 1_000_000), 9);
        assert_eq!(chunk_shift(1 << 20, 1_000_000), 0);
        assert_eq!(chunk_shift(0, 100), 7);
        assert_eq!(chunk_shift(8, 3), 4);
    }
}
