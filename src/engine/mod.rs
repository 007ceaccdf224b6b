//! The engine: stripes of the key space under a lock each, and one budget for them all. It knows no waiting thread, no wall
//! clock and no user callback.
//!
//! ```text
//!   hash ──► top bits choose the stripe ─► [ lock | Segment ] [ lock | Segment ] ...
//!        └─► low bits choose the bucket of that segment's index
//!   Budget: what is free, one word for the whole cache
//! ```
//!
//! Whatever leaves a segment goes into an [`Outgoing`], which the caller delivers and drops after the lock is released:
//! destructors and listeners are user code.

use crate::observe::Cause;
use crate::sync::{Arc, Mutex, MutexGuard};
use crossbeam_utils::CachePadded;
use std::mem;

pub(crate) mod budget;
pub(crate) mod deadlines;
mod guarded;
mod index;
pub(crate) mod pending;
mod room;
pub(crate) mod segment;
pub(crate) mod slab;
mod stripe;
pub(crate) mod wheel;

#[cfg(test)]
mod tests;

pub(crate) use budget::Budget;
pub(crate) use deadlines::Deadline;
pub(crate) use guarded::Make;
pub(crate) use room::{Lifetime, When, Write, Written};
pub(crate) use segment::{Entry, Found, Segment};
pub(crate) use stripe::{Locked, Stripe};

/// Entries taken out between two unlocks: what a call may do at once.
pub(crate) const SLICE: usize = 64;

/// Expired entries that a write takes out in passing.
pub(crate) const IN_PASSING: usize = 16;

/// What left a segment under its lock, to be delivered and dropped after it.
pub(crate) struct Outgoing<K, V, F> {
    first: Option<Removed<K, V>>,
    rest: Vec<Removed<K, V>>,
    /// Marks of loads that a write overtook.
    pub(crate) loads: Vec<(K, F)>,
    /// Weight of what left, still counted in the budget.
    pub(crate) freed: u64,
}

/// An entry that left, and why.
pub(crate) struct Removed<K, V> {
    pub(crate) entry: Arc<Entry<K, V>>,
    pub(crate) cause: Cause,
    pub(crate) weight: u64,
}

impl<K, V, F> Outgoing<K, V, F> {
    pub(crate) const fn new() -> Self {
        Self { first: None, rest: Vec::new(), loads: Vec::new(), freed: 0 }
    }

    pub(crate) fn push(&mut self, entry: Arc<Entry<K, V>>, cause: Cause, weight: u64) {
        let removed = Removed { entry, cause, weight };
        // The common call removes one entry: no allocation for it.
        match self.first {
            None => self.first = Some(removed),
            Some(_) => self.rest.push(removed),
        }
    }

    /// The entries, in the order in which they left.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Removed<K, V>> + use<K, V, F> {
        self.first.take().into_iter().chain(mem::take(&mut self.rest))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.loads.is_empty()
    }
}

/// All the segments of a cache.
pub(crate) struct Engine<K, V, F> {
    stripes: Box<[CachePadded<Stripe<K, V, F>>]>,
    pub(crate) budget: Budget,
}

impl<K, V, F> Engine<K, V, F> {
    /// `segments` is a power of two.
    pub(crate) fn new(segments: usize, capacity: u64, make: &Make) -> Self {
        let share = capacity / segments as u64;
        let stripe = |_| CachePadded::new(Stripe::new(Segment::new(Arc::clone(make), share)));
        Self { stripes: (0..segments).map(stripe).collect(), budget: Budget::new(capacity) }
    }

    /// A key's home: chosen by the top bits of its hash, which its segment's index does not use.
    fn home_index(&self, hash: u64) -> usize {
        let bits = self.stripes.len().trailing_zeros();
        let home = hash.checked_shr(u64::BITS - bits).unwrap_or(0);
        #[expect(clippy::cast_possible_truncation, reason = "below the number of stripes")]
        let home = home as usize;
        home
    }

    pub(crate) fn home(&self, hash: u64) -> &Stripe<K, V, F> {
        &self.stripes[self.home_index(hash)]
    }

    pub(crate) fn lock(&self, hash: u64) -> Locked<'_, K, V, F> {
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
