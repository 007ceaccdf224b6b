//! What a call owes when its lock is released: what left is to be counted, shown and dropped, and a grace period may be due.
//!
//! Nearly every write removes one entry or none, so what is common is a few numbers, and everything else is on the heap, once
//! there is any.

use super::epoch::Grace;
use super::slab::{Departed, Entry};
use crate::observe::Cause;
use std::mem;

/// What left under a lock, to be counted, shown and dropped after it.
pub(crate) struct Outgoing<K, V, F> {
    /// A listener is to be shown what leaves, before it goes into limbo.
    pub(super) shown: bool,
    /// Something has left, died, or piled up.
    stirred: bool,
    /// How much a grace period is wanted.
    grace: Grace,
    /// How many left lately, for one cause, and the weight of those evicted.
    run: (Cause, u32),
    evicted_weight: u64,
    /// Weight of what left, still counted in the budget.
    pub(crate) freed: u64,
    rest: Option<Box<Rest<K, V, F>>>,
}

struct Rest<K, V, F> {
    departed: Vec<Left<K, V>>,
    /// How many left for each cause, before the run.
    counts: [u32; Cause::ALL.len()],
    /// Entries that nobody looks at any more.
    dead: Vec<Entry<K, V>>,
    /// Marks of loads that a write overtook.
    loads: Vec<(K, F)>,
    /// The segments that want a grace period because their limbo is full.
    full: Vec<usize>,
}

/// An entry that left, and why. It is readable until it is [given up](super::Engine::give_up).
pub(crate) struct Left<K, V> {
    pub(super) stripe: usize,
    pub(super) departed: Departed<K, V>,
    pub(crate) cause: Cause,
}

impl<K, V, F> Outgoing<K, V, F> {
    #[inline]
    pub(crate) const fn new(shown: bool) -> Self {
        Self {
            shown,
            stirred: false,
            grace: Grace::No,
            run: (Cause::Evicted, 0),
            evicted_weight: 0,
            freed: 0,
            rest: None,
        }
    }

    #[inline(never)]
    fn rest(&mut self) -> &mut Rest<K, V, F> {
        self.stirred = true;
        self.rest.get_or_insert_with(|| {
            Box::new(Rest {
                departed: Vec::new(),
                counts: [0; Cause::ALL.len()],
                dead: Vec::new(),
                loads: Vec::new(),
                full: Vec::new(),
            })
        })
    }

    /// Counts what leaves.
    #[inline]
    pub(super) fn count(&mut self, cause: Cause, weight: u64) {
        self.stirred = true;
        // Mostly a call removes one entry, or many for one cause.
        if self.run.0 != cause {
            self.end_run(cause);
        }
        self.run.1 += 1;
        if cause == Cause::Evicted {
            self.evicted_weight += weight;
        }
    }

    fn end_run(&mut self, next: Cause) {
        let (cause, count) = mem::replace(&mut self.run, (next, 0));
        if count != 0 {
            self.rest().counts[cause as usize] += count;
        }
    }

    /// Keeps what is to be shown.
    pub(super) fn show(&mut self, left: Left<K, V>) {
        self.rest().departed.push(left);
    }

    /// Keeps the mark of a load that is not to publish, to be dropped.
    pub(super) fn overtaken(&mut self, mark: (K, F)) {
        self.rest().loads.push(mark);
    }

    /// Keeps what nobody looks at any more, to be dropped.
    #[inline]
    pub(super) fn dead(&mut self, entry: Entry<K, V>) {
        if mem::needs_drop::<Entry<K, V>>() {
            self.rest().dead.push(entry);
        }
    }

    /// A grace period is wanted, because of this segment.
    pub(super) fn want(&mut self, grace: Grace, stripe: usize) {
        self.stirred = true;
        self.grace = self.grace.max(grace);
        if grace == Grace::Wait && self.rest().full.last() != Some(&stripe) {
            self.rest().full.push(stripe);
        }
    }

    #[cfg(test)]
    pub(super) const fn grace(&self) -> Grace {
        self.grace
    }

    /// True if there is nothing to deliver.
    #[inline]
    pub(crate) const fn is_quiet(&self) -> bool {
        !self.stirred
    }

    /// True if there is more than numbers to deliver.
    #[inline]
    pub(crate) const fn has_more(&self) -> bool {
        self.rest.is_some() || !matches!(self.grace, Grace::No)
    }

    /// Tells how many have left for each cause since this was last asked.
    #[inline]
    pub(crate) fn take_counts(&mut self, mut tell: impl FnMut(Cause, u32)) {
        let (cause, count) = self.run;
        if count != 0 {
            tell(cause, count);
            self.run.1 = 0;
        }
        if let Some(rest) = &mut self.rest {
            let counts = mem::take(&mut rest.counts);
            let counts = Cause::ALL.into_iter().zip(counts);
            counts.filter(|&(_, n)| n != 0).for_each(|(cause, n)| tell(cause, n));
        }
    }

    pub(crate) fn take_evicted_weight(&mut self) -> u64 {
        mem::take(&mut self.evicted_weight)
    }

    /// What is to be shown, in the order in which it left.
    pub(crate) fn take_departed(&mut self) -> Vec<Left<K, V>> {
        self.rest.as_mut().map_or_else(Vec::new, |rest| mem::take(&mut rest.departed))
    }

    pub(crate) fn take_dead(&mut self) -> Vec<Entry<K, V>> {
        self.rest.as_mut().map_or_else(Vec::new, |rest| mem::take(&mut rest.dead))
    }

    pub(crate) fn take_loads(&mut self) -> Vec<(K, F)> {
        self.rest.as_mut().map_or_else(Vec::new, |rest| mem::take(&mut rest.loads))
    }

    /// How much a grace period is wanted, and by which segments because their limbo is full.
    pub(super) fn take_grace(&mut self) -> (Grace, Vec<usize>) {
        let full = self.rest.as_mut().map_or_else(Vec::new, |rest| mem::take(&mut rest.full));
        (mem::take(&mut self.grace), full)
    }
}
