//! Slots: where entries live, at addresses that never move, and where they wait until nobody looks at them any more.
//!
//! **Problem.** An index, a list and a wheel must all point at one entry, and any of them must be able to let go of it in
//! O(1). A pointer each costs 24 bytes; a `u32` into a slab costs 12. And readers take no lock: a slot that has been let go of
//! may not be used again while a reader that found it before still looks.
//!
//! ```text
//!   Chunks<T>  directory ─► [ chunk 0 ][ chunk 1 ][   -   ][   -   ]      grows by doubling; chunks stay where they are
//!
//!   a slot:    free ──insert──► full ──depart──► departed ──retire──► limbo ──reclaim──► free
//!                               readable         readable             readable           (entry moved out, to be dropped)
//!                               by all           by its owner and those who had found it before
//!
//!   limbo      oldest [ 7 4 9 | 1 8 | 3 ] newest
//!                       tag 5   tag 6  not yet sealed
//! ```
//!
//! **Invariants**
//!
//! 1. A slot is in one of the states above. In `full`, `departed` and `limbo` its cell holds an entry; in `free` it does not.
//! 2. Nobody changes a cell that holds an entry. It is emptied by `reclaim` alone, and that only if the tag of its batch is
//!    safe and no hazard names it; or if the whole slab goes.
//! 3. Batches in limbo have rising tags.
//!
//! | operation | cost |
//! |---|---|
//! | `insert`, `depart`, `retire` | O(1); a chunk is allocated once in its length |
//! | `reclaim` | O(slots reclaimed + threads) |
//! | reading a slot | three loads |

#![expect(unsafe_code, reason = "cells are read without a lock: see the invariants")]

use crate::engine::code::Code;
use crate::engine::epoch::{Domain, Guard, Hazard, Pin};
use chunks::{Chunks, chunk_shift};
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr::{self, NonNull};

pub(crate) mod chunks;
mod keeper;

pub(crate) use keeper::Keeper;

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

    /// The slot as a number.
    #[inline]
    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) const fn from_number(number: u32) -> Self {
        Self(number)
    }

    #[inline]
    pub(crate) const fn is_none(self) -> bool {
        self.0 == Self::NONE.0
    }

    #[inline]
    pub(crate) fn some(self) -> Option<Self> {
        if self.is_none() { None } else { Some(self) }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() { f.write_str("Slot(none)") } else { write!(f, "Slot({})", self.0) }
    }
}

/// A key and its value, immutable once published.
pub(crate) struct Entry<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
}

/// Room for one entry.
struct Cell<K, V>(UnsafeCell<MaybeUninit<Entry<K, V>>>);

impl<K, V> Cell<K, V> {
    const fn empty() -> Self {
        Self(UnsafeCell::new(MaybeUninit::uninit()))
    }

    const fn place(&self) -> *mut Entry<K, V> {
        self.0.get().cast()
    }
}

/// The cells of a segment, as readers see them.
pub(crate) struct Slab<K, V> {
    cells: Chunks<Cell<K, V>>,
}

// SAFETY: a slab owns its entries, and gives them up (to be dropped) on whatever thread reclaims them.
unsafe impl<K: Send, V: Send> Send for Slab<K, V> {}
// SAFETY: readers on many threads share `&K` and `&V`; and a slab shared by reference still takes entries in and gives them up.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Slab<K, V> {}

/// An entry under a pin.
pub(crate) struct Found<'p, K, V> {
    pub(crate) entry: &'p Entry<K, V>,
    pub(crate) slot: Slot,
}

impl<K, V> Clone for Found<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Found<'_, K, V> {}

/// An entry that has left, but is not in limbo yet: its owner shows it to a listener first. It must be
/// [retired](Slab::retire), or its slot is lost.
#[must_use]
pub(crate) struct Departed<K, V> {
    place: NonNull<Entry<K, V>>,
    slot: Slot,
}

impl<K, V> Departed<K, V> {
    pub(crate) const fn slot(&self) -> Slot {
        self.slot
    }

    /// The entry, for as long as the slab is borrowed.
    #[inline]
    pub(crate) fn entry<'s>(&'s self, slab: &'s Slab<K, V>) -> &'s Entry<K, V> {
        slab.assert_has(self.slot, self.place);
        // SAFETY: the slot is this slab's and departed: only `retire`, which takes `self`, lets it go on from there.
        unsafe { self.place.as_ref() }
    }
}

/// An entry that outlasts the pin under which it was found, by a hazard.
pub(crate) struct Held<'s, K, V> {
    place: NonNull<Entry<K, V>>,
    pub(crate) slot: Slot,
    _by: Hazard,
    _of: PhantomData<&'s Slab<K, V>>,
}

impl<K, V> Deref for Held<'_, K, V> {
    type Target = Entry<K, V>;

    fn deref(&self) -> &Entry<K, V> {
        // SAFETY: found under a pin in a slab that lives as long as `'s`; the hazard was published before that pin ended.
        unsafe { self.place.as_ref() }
    }
}

impl<K, V> Slab<K, V> {
    /// A slab for about `expected` entries, and its keeper.
    pub(crate) fn new(expected: usize) -> (Self, Keeper) {
        (Self { cells: Chunks::new(chunk_shift(size_of::<Cell<K, V>>(), expected)) }, Keeper::new())
    }

    /// Stores `entry`, whose hash has this code, in a free slot.
    ///
    /// # Panics
    ///
    /// If no slot is left: see [`Keeper::is_full`].
    #[inline]
    pub(crate) fn insert(&self, keeper: &mut Keeper, entry: Entry<K, V>, code: Code) -> Slot {
        let slot = keeper.take_free();
        let cell = self.cells.reach(slot.index(), Cell::empty);
        // SAFETY: the slot was free, so no reader looks at the cell (invariants 1 and 2), and the lock keeps writers out.
        unsafe { cell.place().write(entry) };
        keeper.fill(slot, code);
        slot
    }

    /// The entry in a full slot, for who has the lock.
    pub(crate) fn entry<'k>(&'k self, keeper: &'k Keeper, slot: Slot) -> Option<&'k Entry<K, V>> {
        if !keeper.has(slot) {
            return None;
        }
        // SAFETY: the slot is full; what would empty it needs the keeper exclusively.
        self.cells.get(slot.index()).map(|cell| unsafe { &*cell.place() })
    }

    /// The entry in a full slot, to be kept beyond the lock.
    #[inline]
    pub(crate) fn found<'p>(
        &'p self,
        keeper: &Keeper,
        slot: Slot,
        _: Guard<'p>,
    ) -> Option<Found<'p, K, V>> {
        if !keeper.has(slot) {
            return None;
        }
        let cell = self.cells.get(slot.index())?;
        // SAFETY: the slot is full now, under the lock, and the pin began before: whoever retires it seals it after.
        Some(Found { entry: unsafe { &*cell.place() }, slot })
    }

    /// The entry in a slot that a reader found in the index.
    ///
    /// # Safety
    ///
    /// The slot is of this slab, and was loaded from its index under this guard: so it was full at some moment since that
    /// began.
    #[inline]
    pub(crate) unsafe fn read<'p>(&'p self, slot: Slot, _: Guard<'p>) -> Found<'p, K, V> {
        // SAFETY: whoever put the slot into the index had made its cell before; and the slot was loaded from there.
        let cell = unsafe { self.cells.get_unchecked(slot.index()) };
        // SAFETY: it was full under the guard, so what has happened to it since has a tag that is not safe.
        Found { entry: unsafe { &*cell.place() }, slot }
    }

    /// Where a slot's cell is, for a prefetch.
    #[inline]
    pub(crate) fn place(&self, slot: Slot) -> *const Entry<K, V> {
        self.cells.get(slot.index()).map_or(ptr::null(), |cell| cell.place().cast_const())
    }

    /// Publishes a hazard for what was found, so that the pin may go.
    pub(crate) fn hold<'s>(&'s self, found: Found<'_, K, V>, pin: &Pin) -> Held<'s, K, V> {
        let place = NonNull::from(found.entry);
        self.assert_has(found.slot, place);
        let by = pin.protect(place.as_ptr().cast_const().cast());
        Held { place, slot: found.slot, _by: by, _of: PhantomData }
    }

    /// Panics if the place is not that of this slab's slot: what is about to trust it would read what another slab may free.
    fn assert_has(&self, slot: Slot, place: NonNull<Entry<K, V>>) {
        assert!(ptr::eq(self.place(slot), place.as_ptr()), "a slot of another segment");
    }

    /// Takes a full slot out of the writer's sight. The caller has taken it out of the index.
    #[inline]
    pub(crate) fn depart(&self, keeper: &mut Keeper, slot: Slot) -> Option<Departed<K, V>> {
        if !keeper.has(slot) {
            return None;
        }
        let place = NonNull::new(self.place(slot).cast_mut())?;
        keeper.depart(slot);
        Some(Departed { place, slot })
    }

    /// Takes a full slot out of the writer's sight, and puts it into limbo. The caller has taken it out of the index.
    #[inline]
    pub(crate) fn bury(&self, keeper: &mut Keeper, slot: Slot) {
        if keeper.has(slot) {
            keeper.depart(slot);
            keeper.push_limbo(slot);
        }
    }

    /// Puts what has departed into limbo.
    #[expect(clippy::needless_pass_by_value, reason = "whoever had it has it no longer")]
    #[inline]
    pub(crate) fn retire(&self, keeper: &mut Keeper, departed: Departed<K, V>) {
        let Departed { place, slot } = departed;
        self.assert_has(slot, place);
        keeper.push_limbo(slot);
    }

    /// Empties at most `most` slots whose time has come, oldest first, and puts them back among the free; the entries go
    /// to `out`, to be dropped outside the lock. `safe` is what the domain said. Those under a hazard go to the end of the queue.
    pub(crate) fn reclaim(
        &self,
        keeper: &mut Keeper,
        domain: &Domain,
        safe: u64,
        most: usize,
        mut out: impl FnMut(Slot, Entry<K, V>),
    ) {
        if !keeper.is_due(safe) {
            return;
        }
        let hazards = domain.hazards();
        for _ in 0..most {
            let Some(slot) = keeper.next_below(safe) else { return };
            let place = self.place(slot);
            if hazards.iter().any(|&hazard| ptr::eq(hazard, place.cast())) {
                keeper.push_limbo(slot);
                continue;
            }
            // SAFETY: in limbo the cell holds an entry; its tag is safe and no hazard names it, so no reader is left; it
            // leaves limbo here, so this is done once.
            out(slot, unsafe { place.read() });
            keeper.push_free(slot);
        }
    }

    /// Takes out at most `most` entries that are left, whoever may have looked at them: nobody can any more.
    pub(crate) fn drain(&mut self, keeper: &mut Keeper, most: usize) -> Vec<Entry<K, V>> {
        let mut out = Vec::new();
        while out.len() < most {
            let Some(slot) = keeper.pop_limbo().or_else(|| keeper.pop_full()) else { break };
            // SAFETY: the slot was full or in limbo, so its cell holds an entry; `&mut self`: there is no reader.
            out.push(unsafe { self.place(slot).read() });
            keeper.push_free(slot);
        }
        keeper.forget_batches();
        out
    }
}

#[cfg(test)]
#[cfg(not(cachette_loom))]
mod tests {
    use super::*;
    use crate::engine::epoch::Grace;
    use crate::sync::Arc;

    /// A slab with its keeper, and a domain that no other test touches.
    struct World {
        slab: Arc<Slab<u64, u64>>,
        keeper: Keeper,
        domain: &'static Domain,
    }

    impl World {
        /// With so many entries, each in the slot of its key.
        fn new(entries: u64) -> Self {
            let (slab, keeper) = Slab::new(usize::MAX);
            let (slab, domain) = (Arc::new(slab), Domain::of_a_test());
            let mut world = Self { slab, keeper, domain };
            for key in 0..entries {
                assert_eq!(world.insert(key), Slot::new(key as usize));
            }
            world
        }

        fn insert(&mut self, key: u64) -> Slot {
            let slot = self.slab.insert(&mut self.keeper, Entry { key, value: key }, Code::new(0));
            self.keeper.assert_valid();
            slot
        }

        fn retire(&mut self, slots: &[usize]) {
            for &slot in slots {
                let departed = self.slab.depart(&mut self.keeper, Slot::new(slot)).unwrap();
                assert_eq!(departed.slot().index(), slot);
                assert_eq!(departed.entry(&self.slab).key, slot as u64, "it can be read yet");
                self.slab.retire(&mut self.keeper, departed);
            }
            self.keeper.assert_valid();
        }

        fn seal(&mut self) {
            self.keeper.seal(self.domain);
        }

        fn safe(&self) -> u64 {
            self.domain.grace(Grace::Wait);
            self.domain.safe()
        }

        fn reclaim(&mut self, safe: u64, most: usize) -> Vec<usize> {
            let mut out = Vec::new();
            self.slab.reclaim(&mut self.keeper, self.domain, safe, most, |slot, entry| {
                assert_eq!(entry.key, slot.index() as u64);
                out.push(slot.index());
            });
            self.keeper.assert_valid();
            out
        }

        fn waiting(&self) -> (usize, usize) {
            (self.keeper.limbo(), self.keeper.open())
        }
    }

    #[test]
    fn a_slot_prints_its_number() {
        assert_eq!(format!("{:?} {:?}", Slot::new(7), Slot::NONE), "Slot(7) Slot(none)");
    }

    #[test]
    fn the_picture_above() {
        let mut world = World::new(12);
        world.seal();
        assert_eq!(world.domain.seal(), 1, "there was nothing to seal");
        assert!((2..5).all(|epoch| world.domain.seal() == epoch));
        world.retire(&[7, 4, 9]);
        world.seal();
        world.retire(&[1, 8]);
        world.seal();
        world.retire(&[3]);
        assert_eq!(world.waiting(), (6, 1));
        assert_eq!((world.keeper.len(), world.keeper.end()), (6, 12));
        assert!(world.slab.entry(&world.keeper, Slot::new(7)).is_none());
        assert!(world.slab.depart(&mut world.keeper, Slot::new(7)).is_none(), "it has departed");
        assert_eq!(world.slab.entry(&world.keeper, Slot::new(0)).unwrap().value, 0);
        // Tag 5 is safe from 6 on.
        assert!(!world.keeper.is_due(5) && world.keeper.is_due(6));
        assert_eq!(world.reclaim(5, 10), [0_usize; 0]);
        assert_eq!(world.reclaim(6, 2), [7, 4]);
        assert_eq!(world.reclaim(6, 10), [9]);
        assert_eq!(world.waiting(), (3, 1));
        assert_eq!(world.reclaim(7, 10), [1, 8]);
        assert_eq!(world.reclaim(u64::MAX, 10), [0_usize; 0], "3 is not yet sealed");
        assert_eq!(world.waiting(), (1, 1));
        let reused: Vec<_> = (0..5).map(|_| world.keeper.take_free().index()).collect();
        assert_eq!(reused, [8, 1, 9, 4, 7], "the last to be free is used first");
    }

    #[test]
    fn a_slot_is_used_again_when_nobody_looks() {
        let mut world = World::new(3);
        let (slab, pin) = (Arc::clone(&world.slab), world.domain.pin());
        let found = slab.found(&world.keeper, Slot::new(1), pin.guard()).unwrap();
        world.retire(&[1]);
        world.seal();
        assert!(world.slab.found(&world.keeper, Slot::new(1), pin.guard()).is_none());
        let safe = world.safe();
        assert!(world.reclaim(safe, 9).is_empty(), "it may be looked at under the pin");
        assert_eq!(world.insert(3), Slot::new(3));
        let (other, _) = Slab::<u64, u64>::new(usize::MAX);
        let of_another = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            drop(other.hold(found, &pin));
        }));
        assert!(of_another.is_err(), "another slab may free what it holds");
        let held = slab.hold(found, &pin);
        drop(pin);
        let safe = world.safe();
        assert!(world.keeper.is_due(safe));
        let mut out = Vec::new();
        world.slab.reclaim(&mut world.keeper, world.domain, safe, 1, |slot, _| out.push(slot));
        assert_eq!(out, [], "it is looked at");
        assert_eq!((held.key, held.slot), (1, Slot::new(1)));
        assert_eq!((world.keeper.limbo(), world.keeper.open()), (1, 1), "it must be sealed anew");
        drop(held);
        world.seal();
        let safe = world.safe();
        assert_eq!(world.reclaim(safe, 9), [1]);
        assert_eq!(world.insert(1), Slot::new(1));
        assert_eq!((world.keeper.len(), world.keeper.end()), (4, 4));
    }

    #[test]
    fn what_is_left_is_drained_in_parts() {
        let mut world = World::new(200);
        world.retire(&[3, 199, 0]);
        world.seal();
        world.retire(&[7]);
        let mut seen = Vec::new();
        for part in [64, 64, 64, 8, 0] {
            let slab = Arc::get_mut(&mut world.slab).unwrap();
            let drained = slab.drain(&mut world.keeper, 64);
            assert_eq!(drained.len(), part);
            seen.extend(drained.iter().map(|entry| entry.key));
        }
        assert_eq!((world.keeper.len(), world.keeper.end()), (0, 0));
        assert_eq!(world.waiting(), (0, 0));
        assert_eq!(seen[..4], [3, 199, 0, 7]);
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..200));
    }

    #[test]
    fn full_slots_are_walked_in_order() {
        let mut world = World::new(130);
        world.retire(&[0, 63, 64, 128]);
        let walk = |from| world.keeper.iter_from(from).map(Slot::index).collect::<Vec<_>>();
        assert_eq!(walk(0).len(), 126);
        assert_eq!(walk(62), (62..130).filter(|i| ![63, 64, 128].contains(i)).collect::<Vec<_>>());
        assert_eq!(walk(130), [0_usize; 0]);
        assert!(!world.keeper.has(Slot::new(100_000)), "it never was");
    }
}
