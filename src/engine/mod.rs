//! The engine: stripes of the key space under a lock each, and one budget for them all. It knows no waiting thread, no wall
//! clock and no user callback.
//!
//! ```text
//!   hash ──► top bits choose the stripe ─► [ lock | Segment ] [ lock | Segment ] ...      made when something comes
//!        └─► low bits choose the bucket of that segment's index
//!   Budget: what is free, one word for the whole cache
//! ```
//!
//! Readers take no lock: they pin the [epoch] and follow the index ([`read`]). Whatever leaves is told to an [`Outgoing`], which
//! the caller delivers after the lock is released: destructors and listeners are user code.

use crate::sync::{Arc, Mutex, MutexGuard};
use crate::time::Clock;
use std::mem;

pub(crate) mod ages;
pub(crate) mod budget;
pub(crate) mod code;
pub(crate) mod column;
pub(crate) mod deadlines;
pub(crate) mod epoch;
mod guarded;
mod index;
mod limbo;
mod outgoing;
pub(crate) mod pending;
mod read;
mod ring;
mod room;
pub(crate) mod segment;
pub(crate) mod slab;
pub(crate) mod stamps;
mod state;
mod stripe;
mod stripes;
pub(crate) mod sys;
#[cfg(feature = "serde")]
mod walk;
pub(crate) mod wheel;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use ages::{Age, Terms};
pub(crate) use budget::Budget;
pub(crate) use deadlines::Deadline;
pub(crate) use guarded::Make;
pub(crate) use outgoing::{Left, Outgoing};
pub(crate) use read::Read;
pub(crate) use segment::Segment;
pub(crate) use slab::{Entry, Found, Held};
pub(crate) use stripe::{Shared, Stripe};
pub(crate) use write::{Lifetime, When, Write, Written};

#[cfg(feature = "serde")]
pub(crate) use walk::{Met, Walk};

use epoch::Views;
use slab::Slot;
use stripes::Stripes;

/// Entries taken out between two unlocks: what a call may do at once.
pub(crate) const SLICE: usize = 64;

/// Expired entries that a write takes out in passing.
pub(crate) const IN_PASSING: usize = 16;

/// What a cache's segments are made by.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) make: Make,
    /// For what is noted beside entries. The engine's calls are told the time.
    pub(crate) clock: Arc<dyn Clock>,
    /// If ages are kept: how long an entry stays after its deadline.
    pub(crate) grace: Option<u64>,
}

/// All the segments of a cache.
pub(crate) struct Engine<K, V, F> {
    stripes: Stripes<K, V, F>,
    pub(crate) budget: Budget,
    pub(crate) views: Arc<Views>,
}

impl<K, V, F> Engine<K, V, F> {
    /// `segments` is a power of two. `expected` entries altogether, if that is known.
    pub(crate) fn new(segments: usize, capacity: u64, expected: Option<usize>, plan: Plan) -> Self {
        let (views, budget) = (Arc::new(Views::new()), Budget::new(capacity));
        let stripes = Stripes::new(segments, expected, plan, Arc::clone(&views));
        stripes.reach(0, &budget);
        Self { stripes, budget, views }
    }

    /// A key's home, made if it is not.
    #[inline]
    pub(crate) fn home(&self, hash: u64) -> &Stripe<K, V, F> {
        self.stripes.reach(self.stripes.number(hash), &self.budget)
    }

    /// A key's home, if anything was ever written there.
    #[inline]
    fn home_made(&self, hash: u64) -> Option<&Stripe<K, V, F>> {
        self.stripes.get(self.stripes.number(hash))
    }

    pub(crate) fn lock(&self, hash: u64) -> Segment<'_, K, V, F> {
        self.home(hash).lock()
    }

    /// Those that anything was ever written to; the others are empty.
    pub(crate) fn stripes(&self) -> impl Iterator<Item = &Stripe<K, V, F>> {
        self.stripes.iter()
    }

    /// The first of those from this number on.
    pub(crate) fn stripe_from(&self, number: usize) -> Option<&Stripe<K, V, F>> {
        (number..self.stripes.len()).find_map(|number| self.stripes.get(number))
    }

    /// One that something has left.
    fn known(&self, number: usize) -> &Stripe<K, V, F> {
        self.stripes.reach(number, &self.budget)
    }

    /// Gives the weight of what has left back to the budget.
    pub(crate) fn give_back(&self, out: &mut Outgoing<K, V, F>) {
        self.budget.reservation().keep(mem::take(&mut out.freed));
    }

    /// An entry that left and is to be shown.
    pub(crate) fn shown<'s>(&'s self, left: &'s Left<K, V>) -> &'s Entry<K, V> {
        left.departed.entry(&self.known(left.stripe).shared.slab)
    }

    /// Puts what has been shown into limbo. Takes locks.
    pub(crate) fn give_up(&self, shown: Vec<Left<K, V>>, out: &mut Outgoing<K, V, F>) {
        let mut shown = shown.into_iter().peekable();
        while let Some(Left { stripe, departed, .. }) = shown.next() {
            let mut segment = self.known(stripe).lock();
            segment.retire(departed);
            while let Some(next) = shown.next_if(|next| next.stripe == stripe) {
                segment.retire(next.departed);
            }
            segment.tidy(out);
        }
    }

    /// Has the grace period that was wanted. Where it was waited for, what it sets free goes at once. Takes locks.
    pub(crate) fn have_grace(&self, out: &mut Outgoing<K, V, F>) {
        let (grace, full) = out.take_grace();
        epoch::domain().grace(grace);
        for stripe in full {
            self.known(stripe).lock().after_grace(out);
        }
    }

    /// Takes out at most `most` of the entries that are left, to be dropped; nothing once there are none. The cache is being
    /// dropped.
    pub(crate) fn drain(&mut self, most: usize) -> Option<Vec<Entry<K, V>>> {
        let mut stripes = self.stripes.iter_mut();
        stripes.find_map(|stripe| Some(stripe.drain(most)).filter(|dead| !dead.is_empty()))
    }

    /// Waits for this key's turn, if contended computations queue for it; `None` if this thread has a turn already: it could
    /// be waiting for itself.
    pub(crate) fn turn(&self, hash: u64) -> Option<Turn<'_>> {
        if stripe::has_turn() { None } else { Some(Turn::new(self.home(hash))) }
    }
}

pub(crate) use stripe::Turn;
