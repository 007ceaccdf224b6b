//! One line of the index: eight places, each a tag, a slot and a hit counter. What the parts mean is said in the
//! [index](super).

#![expect(unsafe_code, reason = "a reader follows a slot without a lock")]

use crate::engine::code::Code;
use crate::engine::epoch::Guard;
use crate::engine::slab::{Found, Slab, Slot};
use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use equivalent::Equivalent;

/// Places a bucket.
pub(super) const PLACES: usize = 8;

/// Version bits: entries are being moved; this bucket's entries are in the next table. The rest counts.
pub(super) const BUSY: u32 = 1;
pub(super) const FORWARDED: u32 = 2;
pub(super) const STEP: u32 = 4;

/// An entry's hit counter.
pub(crate) type Counter<'p> = &'p AtomicU8;

/// What a reader has found, and its hit counter.
pub(crate) type Hit<'p, K, V> = (Found<'p, K, V>, Counter<'p>);

#[repr(align(64))]
pub(super) struct Bucket {
    pub(super) version: AtomicU32,
    /// The next bucket of the chain: its number in the overflow, plus 1.
    pub(super) overflow: AtomicU32,
    pub(super) tags: AtomicU64,
    pub(super) slots: [AtomicU32; PLACES],
    pub(super) counts: [AtomicU8; PLACES],
}

impl Bucket {
    #[cfg(not(cachette_loom))]
    pub(super) const fn empty() -> Self {
        Self {
            version: AtomicU32::new(0),
            overflow: AtomicU32::new(0),
            tags: AtomicU64::new(0),
            slots: [const { AtomicU32::new(0) }; PLACES],
            counts: [const { AtomicU8::new(0) }; PLACES],
        }
    }

    /// The same for a model, whose atomics are no constants.
    #[cfg(cachette_loom)]
    pub(super) fn empty() -> Self {
        Self {
            version: AtomicU32::new(0),
            overflow: AtomicU32::new(0),
            tags: AtomicU64::new(0),
            slots: std::array::from_fn(|_| AtomicU32::new(0)),
            counts: std::array::from_fn(|_| AtomicU8::new(0)),
        }
    }

    #[inline]
    pub(super) fn slot(&self, place: usize) -> Slot {
        Slot::from_number(self.slots[place].load(Ordering::Acquire))
    }

    /// The entry of a key, if it is in this bucket.
    #[inline(always)]
    pub(super) fn hit<'p, K, V, Q>(
        &'p self,
        slab: &'p Slab<K, V>,
        guard: Guard<'p>,
        code: Code,
        key: &Q,
    ) -> Option<Hit<'p, K, V>>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let mut hits = matches(self.tags.load(Ordering::Acquire), code.tag());
        while hits != 0 {
            let place = hits.trailing_zeros() as usize;
            // SAFETY: just loaded, under this guard; the segment keeps slab and index together.
            let found = unsafe { slab.read(self.slot(place), guard) };
            if key.equivalent(&found.entry.key) {
                return Some((found, &self.counts[place]));
            }
            hits &= hits - 1;
        }
        None
    }

    /// For a home: true if nothing in its chain has been moved since `version` was loaded.
    #[inline]
    pub(super) fn proves(&self, version: u32) -> bool {
        fence(Ordering::Acquire);
        version & BUSY == 0 && self.version.load(Ordering::Relaxed) == version
    }

    pub(super) fn set_slot(&self, place: usize, slot: Slot) {
        self.slots[place].store(slot.number(), Ordering::Release);
    }

    /// Fills an empty place. The tag is last: it makes the slot visible.
    pub(super) fn fill(&self, place: usize, tag: u8, slot: Slot, count: u8) {
        self.set_slot(place, slot);
        self.counts[place].store(count, Ordering::Relaxed);
        let tags = self.tags.load(Ordering::Relaxed);
        self.tags.store(tags | u64::from(tag) << (place * 8), Ordering::Release);
    }

    pub(super) fn vacate(&self, place: usize) {
        let tags = self.tags.load(Ordering::Relaxed);
        self.tags.store(tags & !(0xff << (place * 8)), Ordering::Release);
    }

    pub(super) fn tag(&self, place: usize) -> u8 {
        self.tags.load(Ordering::Relaxed).to_le_bytes()[place]
    }

    /// The places in use.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let tags = self.tags.load(Ordering::Relaxed).to_le_bytes();
        (0..PLACES).filter(move |&place| tags[place] != 0)
    }

    #[inline]
    pub(super) fn empty_place(&self) -> Option<usize> {
        let empty = matches(self.tags.load(Ordering::Relaxed), 0);
        (empty != 0).then(|| empty.trailing_zeros() as usize)
    }

    /// The place of a slot that has this tag.
    #[inline]
    pub(super) fn place_of(&self, tag: u8, slot: Slot) -> Option<usize> {
        let mut hits = matches(self.tags.load(Ordering::Relaxed), tag);
        while hits != 0 {
            let place = hits.trailing_zeros() as usize;
            if self.slot(place) == slot {
                return Some(place);
            }
            hits &= hits - 1;
        }
        None
    }
}

/// A bit for each place whose tag this is. Exact: what is flagged is read, and an empty place must not be.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn matches(tags: u64, tag: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_cvtsi64_si128, _mm_movemask_epi8, _mm_set1_epi8};

    // SAFETY: SSE2 is part of every x86-64.
    let mask = unsafe {
        let tags = _mm_cvtsi64_si128(tags as i64);
        _mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8(tag as i8)))
    };
    // The upper half of the register is zero, and would match an empty tag.
    mask as u32 & 0xff
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) const fn matches(tags: u64, tag: u8) -> u32 {
    matches_by_words(tags, tag)
}

/// The same without vector registers.
#[cfg(any(test, not(target_arch = "x86_64")))]
const fn matches_by_words(tags: u64, tag: u8) -> u32 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const REST: u64 = LOW * 0x7f;
    let differ = tags ^ (LOW * tag as u64);
    // No byte carries into the next.
    let equal = !(((differ & REST) + REST) | differ | REST);
    // One bit a byte; gathered in the top byte.
    ((equal >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_matched_exactly() {
        for tag in 0..=255_u8 {
            let mut bytes = [0, tag, tag ^ 1, 1, 255, tag, 0, 2];
            for _ in 0..8 {
                bytes.rotate_left(1);
                let tags = u64::from_le_bytes(bytes);
                let places = (0..8).filter(|&place| bytes[place] == tag);
                let mask = places.fold(0, |mask, place| mask | 1 << place);
                assert_eq!(matches(tags, tag), mask, "{tag} in {bytes:?}");
                assert_eq!(matches_by_words(tags, tag), mask, "{tag} in {bytes:?}");
            }
        }
    }
}
