//! Reading: no lock, and on a warm key no write.
//!
//! ```text
//!   pin ─► home bucket ─► tag ─► slot ─► key? ─► deadlines, if there are any ─► the policy's ear ─► the value
//!                                          └── no: the next match, the next bucket, and a proof of the miss
//! ```
//!
//! What a hit costs beyond the look-up is the policy's choice: nothing (it does not hear), a store that stops when the counter
//! is full, a word made anew and stored if it is another, or a push into the segment's ring.

use super::ages::{Age, Ages, Terms};
use super::code::Code;
use super::deadlines::Deadline;
use super::epoch::{Guard, Pin};
use super::guarded::Ears;
use super::index::{Counter, Hit};
use super::slab::{Found, Held};
use super::stripe::{Shared, Stripe, is_locked};
use super::{Engine, Slot};
use crate::sync::{AtomicU8, Ordering};
use crate::time::{NEVER, Timer};
use equivalent::Equivalent;

/// A counter that counts no more.
static FULL: AtomicU8 = AtomicU8::new(u8::MAX);

/// What was found, and when it expires.
pub(crate) struct Read<'p, K, V> {
    pub(crate) found: Found<'p, K, V>,
    pub(crate) deadline: Deadline,
}

impl<K, V, F> Engine<K, V, F> {
    /// The live entry of a key, and its deadline. Touches nothing.
    #[inline]
    pub(crate) fn look<'p, Q>(
        &'p self,
        guard: Guard<'p>,
        hash: u64,
        key: &Q,
        timer: Timer<'_>,
    ) -> Option<Read<'p, K, V>>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let read = self.look_dead(guard, hash, key)?;
        if read.deadline != Deadline::NEVER {
            timer.before(read.deadline.earlier())?;
        }
        Some(read)
    }

    /// The entry of a key, though its deadline may have passed. Touches nothing.
    #[inline]
    pub(crate) fn look_dead<'p, Q>(
        &'p self,
        guard: Guard<'p>,
        hash: u64,
        key: &Q,
    ) -> Option<Read<'p, K, V>>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let stripe = self.home_made(hash)?;
        let (found, _) = stripe.seek(guard, hash, key)?;
        let deadlines = &stripe.shared.deadlines;
        let deadline = if deadlines.any() { deadlines.get(found.slot) } else { Deadline::NEVER };
        Some(Read { found, deadline })
    }

    /// The ages of the entries in a key's home, if they are kept.
    #[inline]
    pub(crate) fn ages(&self, hash: u64) -> Option<&Ages> {
        self.home_made(hash)?.shared.ages.as_deref()
    }

    /// The entry of a key, for a reader: the policy hears of it. `lives` is asked whether it is one; it may look at all that is
    /// noted of the slot.
    #[inline]
    pub(crate) fn read<'p, Q>(
        &'p self,
        guard: Guard<'p>,
        hash: u64,
        key: &Q,
        lives: impl FnOnce(&Shared<K, V>, &Found<'p, K, V>) -> bool,
    ) -> Option<Found<'p, K, V>>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let Some(stripe) = self.home_made(hash) else {
            self.missed_unmade(hash);
            return None;
        };
        let found = stripe.seek(guard, hash, key);
        let found = found.filter(|(found, _)| lives(&stripe.shared, found));
        let Some((found, counter)) = found else {
            stripe.missed(hash);
            return None;
        };
        stripe.hit(found.slot, counter);
        Some(found)
    }

    /// A miss where nothing was ever written. All policies are of one maker, and the first of them is made.
    #[cold]
    fn missed_unmade(&self, hash: u64) {
        if self.stripes().next().is_some_and(|first| first.ears().misses()) {
            self.home(hash).missed(hash);
        }
    }

    /// Both deadlines of what was found.
    pub(crate) fn deadline_of(&self, hash: u64, found: &Found<'_, K, V>) -> Deadline {
        self.home(hash).shared.deadlines.get(found.slot)
    }

    /// The age of what was found.
    pub(crate) fn age_of(&self, hash: u64, found: &Found<'_, K, V>) -> Age {
        let ages = self.ages(hash);
        ages.map_or(Age { born: 0, next: NEVER, terms: Terms::NONE }, |ages| ages.get(found.slot))
    }

    /// An entry that was found, kept beyond its pin.
    pub(crate) fn hold<'s>(
        &'s self,
        hash: u64,
        found: Found<'_, K, V>,
        pin: &Pin,
    ) -> Held<'s, K, V> {
        self.home(hash).shared.slab.hold(found, pin)
    }

    /// Asks for a key's bucket ahead of its use.
    pub(crate) fn prefetch(&self, guard: Guard<'_>, hash: u64) {
        if let Some(stripe) = self.home_made(hash) {
            stripe.shared.index.prefetch(guard, Code::new(hash));
        }
    }

    /// Asks for a key's entry ahead of its use.
    pub(crate) fn prefetch_entry(&self, guard: Guard<'_>, hash: u64) {
        if let Some(stripe) = self.home_made(hash) {
            let Shared { index, slab, .. } = &stripe.shared;
            index.prefetch_entry(slab, guard, Code::new(hash));
        }
    }
}

impl<K, V, F> Stripe<K, V, F> {
    /// The entry of a key, dead or alive, and its hit counter; a full one, if that is not known.
    // Always: out of line, what it finds would go through memory.
    #[inline(always)]
    fn seek<'p, Q>(&'p self, guard: Guard<'p>, hash: u64, key: &Q) -> Option<Hit<'p, K, V>>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let Shared { index, slab, .. } = &self.shared;
        match index.find(slab, guard, Code::new(hash), key) {
            Ok(found) => found,
            Err(_) => Some((self.find_locked(guard, hash, key)?, &FULL)),
        }
    }

    #[inline]
    fn ears(&self) -> Ears {
        Ears::from_word(self.shared.ears.load(Ordering::Relaxed))
    }

    /// Lets the policy hear of a hit, in the way that it asked for.
    #[inline]
    fn hit(&self, slot: Slot, counter: Counter<'_>) {
        let ears = self.ears();
        if ears.by_note() {
            if !(ears.recency() && self.shared.ring.is_last(slot)) {
                self.note(slot);
            }
        } else {
            let count = counter.load(Ordering::Relaxed);
            if count < ears.counter() {
                counter.store(count + 1, Ordering::Relaxed);
            }
        }
    }

    // Apart, so that the code of a warm hit has no locked instruction.
    #[inline(never)]
    fn note(&self, slot: Slot) {
        if self.ears().stamps() {
            self.stamp(slot);
        } else if self.shared.ring.push(slot).is_err() {
            self.note_in_full_ring(slot);
        }
    }

    #[inline(never)]
    fn stamp(&self, slot: Slot) {
        if let Some(stamps) = &self.shared.stamps {
            stamps.hit(slot);
        }
    }

    #[cold]
    fn note_in_full_ring(&self, slot: Slot) {
        if !is_locked() {
            // Whoever has the lock hears what is in the ring. If that is somebody else, this hit is lost.
            drop(self.try_lock());
            let _ = self.shared.ring.push(slot);
        }
    }

    /// Lets the policy hear of a miss, if it wants to.
    #[inline]
    fn missed(&self, hash: u64) {
        if self.ears().misses() {
            self.tell_miss(hash);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_miss(&self, hash: u64) {
        if !is_locked() {
            if let Some(mut segment) = self.try_lock() {
                segment.miss(hash);
            }
        }
    }

    /// What could not be found, or proved not to be there, without the lock.
    #[cold]
    fn find_locked<'p, Q>(&'p self, guard: Guard<'p>, hash: u64, key: &Q) -> Option<Found<'p, K, V>>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let segment = self.lock();
        segment.find(hash, key).and_then(|slot| segment.found(slot, guard))
    }
}
