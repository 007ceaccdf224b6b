//! All the stripes of a cache.
//!
//! **Problem.** A cache has several segments for each core, and many a cache is small, or empty. So a stripe is made when its
//! first entry comes; until then it is two words. The first of them is made at once, so that a policy that cannot be made is
//! found out when the cache is built.
//!
//! ```text
//!   hash, top bits ──►  [ 0 ][ 1 ][ - ][ 3 ]      - : nothing was ever written there
//!                         │    │         │
//!                      Stripe Stripe   Stripe     stays where it is
//! ```

use super::Plan;
use super::budget::Budget;
use super::epoch::Views;
use super::slab::Slot;
use super::stripe::Stripe;
use crate::sync::{Arc, OnceLock, Ordering, fence};
use crossbeam_utils::CachePadded;

/// Entries that may be in limbo in ordinary running, in all segments together, if that is more than 2 % of what is resident.
const LIMBO: usize = 1024;

type Place<K, V, F> = OnceLock<Box<CachePadded<Stripe<K, V, F>>>>;

/// The stripes of a cache, made as they are needed.
pub(super) struct Stripes<K, V, F> {
    places: Box<[Place<K, V, F>]>,
    /// How far a hash, less its lowest bit, is shifted to tell its home.
    shift: u32,
    plan: Plan,
    /// The entries of a segment, if that is known.
    expected: Option<usize>,
    views: Arc<Views>,
}

impl<K, V, F> Stripes<K, V, F> {
    /// `segments` is a power of two. `expected` entries altogether, if that is known.
    pub(super) fn new(
        segments: usize,
        expected: Option<usize>,
        plan: Plan,
        views: Arc<Views>,
    ) -> Self {
        Self {
            places: (0..segments).map(|_| OnceLock::new()).collect(),
            shift: u64::BITS - 1 - segments.trailing_zeros(),
            plan,
            expected: expected.map(|entries| entries.div_ceil(segments).min(Slot::MAX)),
            views,
        }
    }

    /// How many there are, made or not.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// A key's home: chosen by the top bits of its hash, which its segment's index does not use.
    #[inline]
    pub(super) fn number(&self, hash: u64) -> usize {
        // In two steps: one alone would be by 64 where there is one segment.
        (hash >> 1 >> self.shift) as usize
    }

    /// This one, if it is made.
    #[inline]
    pub(super) fn get(&self, number: usize) -> Option<&Stripe<K, V, F>> {
        self.places.get(number)?.get().map(|stripe| &***stripe)
    }

    /// This one, made if it is not.
    #[inline]
    pub(super) fn reach(&self, number: usize, budget: &Budget) -> &Stripe<K, V, F> {
        match self.get(number) {
            Some(stripe) => stripe,
            None => self.make(number, budget),
        }
    }

    #[cold]
    fn make(&self, number: usize, budget: &Budget) -> &Stripe<K, V, F> {
        let share = self.share(budget);
        let limbo = (LIMBO / self.len()).max(16);
        // Outside of `get_or_init`: to make a policy may be the user's code, which may be back here before it ends.
        let made =
            Stripe::new(number, &self.plan, share, self.expected, limbo, Arc::clone(&self.views));
        let stripe = self.places[number].get_or_init(|| Box::new(CachePadded::new(made)));
        // Whoever sets the capacity stores it, and then looks for stripes. Either it has found this one, or its new capacity
        // is seen here.
        fence(Ordering::SeqCst);
        if self.share(budget) != share {
            stripe.lock().resize(self.share(budget));
        }
        stripe
    }

    /// A segment's share of the capacity.
    pub(super) fn share(&self, budget: &Budget) -> u64 {
        budget.capacity() / self.len() as u64
    }

    /// Those that are made.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Stripe<K, V, F>> {
        self.places.iter().filter_map(OnceLock::get).map(|stripe| &***stripe)
    }

    /// Those that are made; the cache is being dropped.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stripe<K, V, F>> {
        self.places.iter_mut().filter_map(OnceLock::get_mut).map(|stripe| &mut ***stripe)
    }
}
