//! Limbo: where entries wait that have left, until no reader can be looking at them.
//!
//! ```text
//!   retire ──► open batch ──seal──► sealed, with a tag ──grace──► tag is safe ──reclaim──► dropped, outside the lock
//! ```
//!
//! **How much waits.** In ordinary running at most 2 % of the residents, or 1,024 entries in all segments together if that is
//! more; and, where entries have weights, 2 % of the capacity, or one entry. At half of that a segment asks for a grace period,
//! which serves all segments; at all of it, it waits for its turn to have one. No writer waits for a reader: if one stays, limbo
//! grows, and the statistics say so.

use super::epoch::{Grace, domain};
use super::segment::Segment;
use super::slab::{Departed, Slot};
use super::state::State;
use super::{IN_PASSING, Outgoing, SLICE};

/// How full limbo may be, in parts of itself.
const FULL: u64 = 64;

impl<K, V, F> Segment<'_, K, V, F> {
    /// Puts what has left, and has been shown, into limbo.
    #[inline]
    pub(crate) fn retire(&mut self, departed: Departed<K, V>) {
        let state = &mut *self.state;
        if state.weighs {
            state.limbo += u128::from(state.weight_of(departed.slot()));
        }
        self.shared.slab.retire(&mut state.keeper, departed);
    }

    /// Puts what has left, and nobody is to be shown, into limbo.
    #[inline]
    pub(super) fn bury(&mut self, slot: Slot, weight: u64) {
        let state = &mut *self.state;
        if state.weighs {
            state.limbo += u128::from(weight);
        }
        self.shared.slab.bury(&mut state.keeper, slot);
    }

    /// Before the lock is released by who has changed something: seals a batch, takes out what nobody looks at any more, and
    /// asks for a grace period if too much waits.
    #[inline]
    pub(crate) fn tidy(&mut self, out: &mut Outgoing<K, V, F>) {
        let state = &*self.state;
        let heavy = state.weighs && state.keeper.open() != 0;
        if heavy || state.keeper.open() >= state.batch || state.keeper.is_due(domain().safe()) {
            self.tidy_limbo(out);
        }
        if self.state.scribe.has_scrap() {
            self.state.scribe.sweep(domain(), self.stripe.safe());
            out.want(Grace::Try, self.stripe.number);
        }
    }

    #[inline(never)]
    fn tidy_limbo(&mut self, out: &mut Outgoing<K, V, F>) {
        let bound = (self.len() / 50).max(self.stripe.limbo);
        self.state.batch = (bound / 16).clamp(1, SLICE);
        let fill = self.fill(bound);
        if self.state.keeper.open() >= self.state.batch || fill >= FULL / 2 {
            self.state.keeper.seal(domain());
        }
        let more = self.reclaim(if fill > FULL { SLICE } else { IN_PASSING }, out);
        let fill = self.fill(bound);
        let enough = if more { FULL } else { FULL / 2 };
        if fill < self.state.ask.max(enough) {
            return;
        }
        if fill >= FULL {
            out.want(Grace::Wait, self.stripe.number);
        } else {
            out.want(Grace::Try, self.stripe.number);
            self.state.ask = (fill + FULL / 8).min(FULL);
        }
    }

    /// After a grace period that was waited for: takes out a slice. If there is nothing to take, readers are in the way: asks
    /// again only when more has come.
    pub(crate) fn after_grace(&mut self, out: &mut Outgoing<K, V, F>) {
        let more = self.reclaim(SLICE, out);
        let fill = self.fill((self.len() / 50).max(self.stripe.limbo));
        if !more && fill >= FULL {
            self.state.ask = fill + FULL / 4;
        }
    }

    /// How full limbo is, by count or by weight. `bound` entries may be there.
    fn fill(&self, bound: usize) -> u64 {
        let state = &*self.state;
        let by_count = state.keeper.limbo() as u64 * FULL / bound as u64;
        if !state.weighs {
            return by_count;
        }
        let by_weight = state.limbo * u128::from(FULL) / u128::from(state.share / 50).max(1);
        by_count.max(u64::try_from(by_weight).unwrap_or(u64::MAX / 2))
    }

    /// Takes out of limbo what nobody looks at any more, at most so much. True if there is more of that.
    fn reclaim(&mut self, most: usize, out: &mut Outgoing<K, V, F>) -> bool {
        let safe = self.stripe.safe();
        if !self.state.keeper.is_due(safe) {
            return false;
        }
        // Who noted a hit on what is safe now has done so before.
        self.hear();
        let State { keeper, weights, weighs, limbo, .. } = &mut *self.state;
        self.shared.slab.reclaim(keeper, domain(), safe, most, |slot, entry| {
            if *weighs {
                *limbo -= u128::from(weights.get(slot.index()).copied().unwrap_or(1));
            }
            out.dead(entry);
        });
        self.state.ask = 0;
        self.state.keeper.is_due(safe)
    }

    /// What waits for readers to leave: entries, and their weight.
    pub(crate) fn limbo(&self) -> (usize, u64) {
        let entries = self.state.keeper.limbo();
        let weight = if self.state.weighs { self.state.limbo } else { entries as u128 };
        (entries, u64::try_from(weight).unwrap_or(u64::MAX))
    }

    /// Seals everything in limbo, so that a grace period frees all of it.
    pub(crate) fn seal(&mut self) {
        self.state.keeper.seal(domain());
    }

    /// Takes out a slice of what may be dropped. True if there may be more.
    pub(crate) fn reclaim_slice(&mut self, out: &mut Outgoing<K, V, F>) -> bool {
        self.reclaim(SLICE, out)
    }
}
