//! The engine: stripes of the key space under a lock each, and one budget for them all. It knows no waiting thread, no wall
//! clock and no user callback.
//!
//! ```text
//!   hash ──► top bits choose the stripe ─► [ lock | Segment ] [ lock | Segment ] ...
//!        └─► low bits choose the bucket of that segment's index
//!   Budget: what is free, one word for the whole cache
//! ```
//!
//! Readers take no lock: they pin the [epoch] and follow the index ([`read`]). Whatever leaves is told to an [`Outgoing`], which
//! the caller delivers after the lock is released: destructors and listeners are user code.

use crate::observe::Cause;
use crate::sync::{Arc, Mutex, MutexGuard};
use crossbeam_utils::CachePadded;
use std::mem;

pub(crate) mod budget;
pub(crate) mod column;
pub(crate) mod deadlines;
pub(crate) mod epoch;
mod guarded;
mod index;
mod limbo;
pub(crate) mod pending;
mod read;
mod ring;
mod room;
pub(crate) mod segment;
pub(crate) mod slab;
mod state;
mod stripe;
pub(crate) mod sys;
pub(crate) mod wheel;

#[cfg(test)]
mod tests;

pub(crate) use budget::Budget;
pub(crate) use deadlines::Deadline;
pub(crate) use guarded::Make;
pub(crate) use read::Read;
pub(crate) use room::{Lifetime, When, Write, Written};
pub(crate) use segment::Segment;
pub(crate) use slab::{Entry, Found, Held};
pub(crate) use stripe::Stripe;

use epoch::{Grace, Views};
use slab::{Departed, Slot};

/// Entries taken out between two unlocks: what a call may do at once.
pub(crate) const SLICE: usize = 64;

/// Entries that may be in limbo in ordinary running, in all segments together, if that is more than 2 % of what is resident.
const LIMBO: usize = 1024;

/// Expired entries that a write takes out in passing.
pub(crate) const IN_PASSING: usize = 16;

/// What left under a lock, to be counted, shown and dropped after it.
pub(crate) struct Outgoing<K, V, F> {
    /// A listener is to be shown what leaves, before it goes into limbo.
    shown: bool,
    /// Something has left, died, or piled up.
    stirred: bool,
    departed: Vec<Left<K, V>>,
    /// How many left lately, for one cause; how many before, for each; and the weight of those evicted.
    run: (Cause, u32),
    counts: Option<Box<[u32; Cause::ALL.len()]>>,
    evicted_weight: u64,
    /// Entries that nobody looks at any more.
    dead: Vec<Entry<K, V>>,
    /// Marks of loads that a write overtook.
    pub(crate) loads: Vec<(K, F)>,
    /// Weight of what left, still counted in the budget.
    pub(crate) freed: u64,
    /// How much a grace period is wanted, and by which segments because their limbo is full.
    grace: Grace,
    full: Vec<usize>,
}

/// An entry that left, and why. It is readable until it is [given up](Engine::give_up).
pub(crate) struct Left<K, V> {
    stripe: usize,
    departed: Departed<K, V>,
    pub(crate) cause: Cause,
}

impl<K, V, F> Outgoing<K, V, F> {
    pub(crate) const fn new(shown: bool) -> Self {
        Self {
            shown,
            stirred: false,
            departed: Vec::new(),
            run: (Cause::Evicted, 0),
            counts: None,
            evicted_weight: 0,
            dead: Vec::new(),
            loads: Vec::new(),
            freed: 0,
            grace: Grace::No,
            full: Vec::new(),
        }
    }

    /// Counts what leaves; keeps it if it is to be shown, else gives it back.
    fn push(
        &mut self,
        stripe: usize,
        departed: Departed<K, V>,
        cause: Cause,
        weight: u64,
    ) -> Option<Departed<K, V>> {
        self.stirred = true;
        // Mostly a call removes one entry, or many for one cause.
        if self.run.0 != cause {
            self.end_run();
        }
        self.run = (cause, self.run.1 + 1);
        if cause == Cause::Evicted {
            self.evicted_weight += weight;
        }
        if !self.shown {
            return Some(departed);
        }
        self.departed.push(Left { stripe, departed, cause });
        None
    }

    /// True if there is nothing to deliver.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.stirred && self.loads.is_empty()
    }

    fn end_run(&mut self) {
        let (cause, count) = self.run;
        if count != 0 {
            self.counts.get_or_insert_default()[cause as usize] += count;
            self.run.1 = 0;
        }
    }

    /// Tells how many have left for each cause since this was last asked.
    #[inline]
    pub(crate) fn take_counts(&mut self, mut tell: impl FnMut(Cause, u32)) {
        let (cause, count) = self.run;
        if count != 0 {
            tell(cause, count);
            self.run.1 = 0;
        }
        if let Some(counts) = self.counts.take() {
            Cause::ALL.into_iter().zip(*counts).for_each(|(cause, count)| tell(cause, count));
        }
    }

    pub(crate) fn take_evicted_weight(&mut self) -> u64 {
        mem::take(&mut self.evicted_weight)
    }

    /// What is to be shown, in the order in which it left.
    pub(crate) fn take_departed(&mut self) -> Vec<Left<K, V>> {
        mem::take(&mut self.departed)
    }

    pub(crate) fn take_dead(&mut self) -> Vec<Entry<K, V>> {
        mem::take(&mut self.dead)
    }

    fn want(&mut self, grace: Grace, stripe: usize) {
        self.stirred = true;
        self.grace = self.grace.max(grace);
        if grace == Grace::Wait && self.full.last() != Some(&stripe) {
            self.full.push(stripe);
        }
    }

    fn dead(&mut self, entry: Entry<K, V>) {
        if mem::needs_drop::<Entry<K, V>>() {
            self.stirred = true;
            self.dead.push(entry);
        }
    }
}

/// All the segments of a cache.
pub(crate) struct Engine<K, V, F> {
    stripes: Box<[CachePadded<Stripe<K, V, F>>]>,
    pub(crate) budget: Budget,
    pub(crate) views: Arc<Views>,
    /// How far a hash, less its lowest bit, is shifted to tell its home.
    shift: u32,
}

impl<K, V, F> Engine<K, V, F> {
    /// `segments` is a power of two. `expected` entries altogether, if that is known.
    pub(crate) fn new(
        segments: usize,
        capacity: u64,
        expected: Option<usize>,
        make: &Make,
    ) -> Self {
        let share = capacity / segments as u64;
        let expected = expected.map(|entries| entries.div_ceil(segments).min(Slot::MAX));
        let limbo = (LIMBO / segments).max(16);
        let views = Arc::new(Views::new());
        let stripe = |number| {
            let (make, views) = (Arc::clone(make), Arc::clone(&views));
            CachePadded::new(Stripe::new(number, make, share, expected, limbo, views))
        };
        let stripes = (0..segments).map(stripe).collect();
        let shift = u64::BITS - 1 - segments.trailing_zeros();
        Self { stripes, budget: Budget::new(capacity), views, shift }
    }

    /// A key's home: chosen by the top bits of its hash, which its segment's index does not use.
    #[inline]
    fn home_index(&self, hash: u64) -> usize {
        // In two steps: one alone would be by 64 where there is one segment.
        (hash >> 1 >> self.shift) as usize
    }

    #[inline]
    pub(crate) fn home(&self, hash: u64) -> &Stripe<K, V, F> {
        &self.stripes[self.home_index(hash)]
    }

    pub(crate) fn lock(&self, hash: u64) -> Segment<'_, K, V, F> {
        self.home(hash).lock()
    }

    pub(crate) fn stripes(&self) -> impl Iterator<Item = &Stripe<K, V, F>> {
        self.stripes.iter().map(|stripe| &**stripe)
    }

    pub(crate) fn stripe(&self, at: usize) -> Option<&Stripe<K, V, F>> {
        self.stripes.get(at).map(|stripe| &**stripe)
    }

    /// Gives the weight of what has left back to the budget.
    pub(crate) fn give_back(&self, out: &mut Outgoing<K, V, F>) {
        self.budget.reservation().keep(mem::take(&mut out.freed));
    }

    /// An entry that left and is to be shown.
    pub(crate) fn shown<'s>(&'s self, left: &'s Left<K, V>) -> &'s Entry<K, V> {
        left.departed.entry(&self.stripes[left.stripe].shared.slab)
    }

    /// Puts what has been shown into limbo. Takes locks.
    pub(crate) fn give_up(&self, shown: Vec<Left<K, V>>, out: &mut Outgoing<K, V, F>) {
        let mut shown = shown.into_iter().peekable();
        while let Some(Left { stripe, departed, .. }) = shown.next() {
            let mut segment = self.stripes[stripe].lock();
            segment.retire(departed);
            while let Some(next) = shown.next_if(|next| next.stripe == stripe) {
                segment.retire(next.departed);
            }
            segment.tidy(out);
        }
    }

    /// Has the grace period that was wanted. Where it was waited for, what it sets free goes at once. Takes locks.
    pub(crate) fn have_grace(&self, out: &mut Outgoing<K, V, F>) {
        epoch::domain().grace(mem::take(&mut out.grace));
        for stripe in mem::take(&mut out.full) {
            self.stripes[stripe].lock().after_grace(out);
        }
    }

    /// Takes out at most `most` of the entries that are left, to be dropped; nothing once there are none. The cache is being
    /// dropped.
    pub(crate) fn drain(&mut self, most: usize) -> Option<Vec<Entry<K, V>>> {
        let mut stripes = self.stripes.iter_mut();
        stripes.find_map(|stripe| Some(stripe.drain(most)).filter(|dead| !dead.is_empty()))
    }

    /// A segment's share of the capacity.
    fn share(&self) -> u64 {
        self.budget.capacity() / self.stripes.len() as u64
    }

    /// Waits for this key's turn, if contended computations queue for it; `None` if this thread has a turn already: it could
    /// be waiting for itself.
    pub(crate) fn turn(&self, hash: u64) -> Option<Turn<'_>> {
        if stripe::has_turn() { None } else { Some(Turn::new(self.home(hash))) }
    }
}

pub(crate) use stripe::Turn;
