//! A stripe with its lock held: everything that a writer does.
//!
//! **Problem.** An index, a policy, a wheel and a slab describe the same entries. They stay in step because entries come in
//! through [`publish`](Segment::publish) and [`replace`](Segment::replace) alone, and go out through
//! [`leave`](Segment::leave) alone.
//!
//! ```text
//!   hash ─► index ─► slot ─► slab: Entry                    seen by readers, without the lock
//!                     ├────► deadlines: when
//!                     ├────► wheel: a list for each tick    seen by writers
//!                     ├────► hash, weight
//!                     └────► policy: its order
//!
//!   detach(slot): out of the index, the wheel and the policy; the slab keeps the entry until nobody looks at it any more
//! ```
//!
//! **Invariants**
//!
//! 1. Slab and index hold the same full slots. The policy holds those of them with weight, unless it has panicked in this
//!    call.
//! 2. `weight` is the sum of the residents' weights.
//! 3. A slot is in the index only while it is full: what a reader finds there it may read.
//! 4. Before a slot is used again, the policy has heard of all hits on what was in it before.
//!
//! Every method runs no user code but `Equivalent` of keys, before it changes anything.

use crate::engine::ages::Ages;
use crate::engine::code::Code;
use crate::engine::deadlines::Deadline;
use crate::engine::epoch::Guard;
use crate::engine::pending::Pending;
use crate::engine::slab::{Entry, Found, Slot};
use crate::engine::state::State;
use crate::engine::stripe::{Shared, Stripe, unlocked};
use crate::engine::wheel::Wheel;
use crate::engine::{Left, MutexGuard, Outgoing, SLICE, Terms};
use crate::observe::Cause;
use crate::policy::{Counts, Meta, Victim};
use crate::sync::Ordering;
use equivalent::Equivalent;

/// A stripe, locked.
pub(crate) struct Segment<'a, K, V, F> {
    pub(super) stripe: &'a Stripe<K, V, F>,
    pub(super) shared: &'a Shared<K, V>,
    pub(super) state: MutexGuard<'a, State<K, F>>,
}

/// An entry that is to be published, and all that is to be known of it.
pub(crate) struct Fresh<K, V> {
    pub(crate) entry: Entry<K, V>,
    pub(crate) hash: u64,
    pub(crate) weight: u64,
    pub(crate) deadline: Deadline,
    pub(crate) terms: Terms,
    pub(crate) now: u64,
}

impl<K, V, F> Drop for Segment<'_, K, V, F> {
    fn drop(&mut self) {
        self.stripe.publish_weight(self.state.weight);
        unlocked();
    }
}

impl<'a, K, V, F> Segment<'a, K, V, F> {
    pub(super) fn new(stripe: &'a Stripe<K, V, F>, state: MutexGuard<'a, State<K, F>>) -> Self {
        let mut segment = Self { stripe, shared: &stripe.shared, state };
        segment.hear();
        segment
    }

    /// Tells the policy of the hits that readers have noted.
    #[inline]
    pub(super) fn hear(&mut self) {
        if !self.shared.ring.is_empty() {
            self.drain();
        }
    }

    #[inline(never)]
    fn drain(&mut self) {
        let State { keeper, weights, policy, .. } = &mut *self.state;
        let weighs = |slot: Slot| weights.get(slot.index()).is_none_or(|&weight| weight != 0);
        policy.hits(self.shared.ring.drain().filter(|&slot| keeper.has(slot) && weighs(slot)));
        self.mend_if_broken();
    }

    /// A read found nothing under `hash`.
    pub(crate) fn miss(&mut self, hash: u64) {
        self.state.policy.miss(hash);
        self.mend_if_broken();
    }

    pub(crate) fn pending(&mut self) -> &mut Pending<K, F> {
        &mut self.state.pending
    }

    pub(crate) fn len(&self) -> usize {
        self.state.keeper.len()
    }

    #[cfg(test)]
    pub(crate) fn weight(&self) -> u64 {
        self.state.weight
    }

    /// One past the highest slot in use.
    pub(crate) fn end(&self) -> usize {
        self.state.keeper.end()
    }

    /// True once any entry had a deadline: only then need the caller read a clock.
    #[inline]
    pub(crate) fn expires(&self) -> bool {
        self.state.wheel.is_some()
    }

    pub(crate) fn resize(&mut self, share: u64) {
        self.state.share = share;
        self.state.policy.resize(share);
        self.changed();
    }

    /// True if the segment has less than three quarters of its share.
    #[inline]
    pub(crate) fn is_poor(&self) -> bool {
        self.state.weight.saturating_mul(4) < self.state.share.saturating_mul(3)
    }

    /// How often the policy has panicked.
    pub(crate) fn policy_panics(&self) -> u64 {
        self.state.policy.panics()
    }

    #[inline]
    pub(crate) fn deadline(&self, slot: Slot) -> Deadline {
        self.shared.deadlines.get(slot)
    }

    /// How old the residents are, if that is noted.
    pub(crate) fn ages(&self) -> Option<&Ages> {
        self.shared.ages.as_deref()
    }

    /// When an entry leaves that has this deadline.
    pub(crate) fn end_of(&self, deadline: Deadline) -> u64 {
        self.shared.deadlines.end(deadline)
    }

    #[inline]
    pub(crate) fn entry(&self, slot: Slot) -> Option<&Entry<K, V>> {
        self.shared.slab.entry(&self.state.keeper, slot)
    }

    /// The entry in a slot, to be kept beyond the lock.
    pub(crate) fn found<'p>(&self, slot: Slot, guard: Guard<'p>) -> Option<Found<'p, K, V>>
    where
        'a: 'p,
    {
        self.shared.slab.found(&self.state.keeper, slot, guard)
    }

    #[inline]
    pub(crate) fn has(&self, slot: Slot) -> bool {
        self.state.keeper.has(slot)
    }

    pub(crate) fn weight_of(&self, slot: Slot) -> u64 {
        if self.has(slot) { self.state.weight_of(slot) } else { 0 }
    }

    /// True if the slot's deadline has passed.
    #[inline]
    pub(crate) fn is_dead(&self, slot: Slot, now: u64) -> bool {
        self.expires() && self.deadline(slot).earlier() <= now
    }

    /// The slot of a key, dead or alive.
    #[inline]
    pub(crate) fn find<Q>(&self, hash: u64, key: &Q) -> Option<Slot>
    where
        Q: ?Sized + Equivalent<K>,
    {
        self.shared.index.find_locked(&self.state.scribe, Code::new(hash), |slot| {
            self.entry(slot).is_some_and(|entry| key.equivalent(&entry.key))
        })
    }

    /// The slot of a key whose deadline has not passed. Touches nothing.
    pub(crate) fn find_live<Q>(&self, hash: u64, key: &Q, now: u64) -> Option<Slot>
    where
        Q: ?Sized + Equivalent<K>,
    {
        self.find(hash, key).filter(|&slot| !self.is_dead(slot, now))
    }

    /// Sets both deadlines of a resident, and tells the policy.
    pub(crate) fn reschedule(&mut self, hash: u64, slot: Slot, deadline: Deadline, now: u64) {
        self.set_deadline(slot, deadline, now);
        if let Some(meta) = self.meta(hash, slot) {
            self.state.policy.reschedule(slot, &meta);
        }
        self.changed();
    }

    #[inline]
    pub(crate) fn set_deadline(&mut self, slot: Slot, deadline: Deadline, now: u64) {
        if self.expires() || deadline != Deadline::NEVER {
            let wheel = self.state.wheel.get_or_insert_with(|| Box::new(Wheel::new(now)));
            self.shared.deadlines.set(wheel, slot, deadline);
        }
    }

    /// What the policy may know of a resident; nothing of one without weight.
    #[inline]
    fn meta(&self, hash: u64, slot: Slot) -> Option<Meta> {
        let weight = self.weight_of(slot);
        (weight != 0).then(|| Meta::new(hash, weight, self.deadline(slot).earlier()))
    }

    /// True if there is no slot left for another entry.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.state.keeper.is_full()
    }

    /// Puts an entry into a slot, and notes all that is to be known of it; `from` is what it replaces. Readers do not see it
    /// yet.
    #[inline]
    fn place(&mut self, fresh: Fresh<K, V>, from: Option<Slot>) -> (Slot, Code, Option<Meta>) {
        let Fresh { entry, hash, weight, deadline, terms, now } = fresh;
        let (state, code) = (&mut *self.state, Code::new(hash));
        let slot = self.shared.slab.insert(&mut state.keeper, entry, code);
        state.set_weight(slot, weight);
        if let Some(stamps) = &self.shared.stamps {
            state.policy.stamp(stamps, slot, from);
        }
        if let Some(ages) = &self.shared.ages {
            ages.publish(slot, now, deadline, terms);
        }
        // What this replaces is still counted: the sum may pass the end of `u64` until that has left.
        state.weight = state.weight.wrapping_add(weight);
        self.set_deadline(slot, deadline, now);
        (slot, code, (weight != 0).then(|| Meta::new(hash, weight, deadline.earlier())))
    }

    /// Puts an entry in, under a key that is not resident.
    #[inline]
    pub(crate) fn publish(&mut self, fresh: Fresh<K, V>) -> Slot {
        let (slot, code, meta) = self.place(fresh, None);
        let State { scribe, keeper, policy, .. } = &mut *self.state;
        self.shared.index.insert(scribe, code, slot, |slot| keeper.code(slot));
        if let Some(meta) = meta {
            policy.insert(slot, &meta);
        }
        self.changed();
        slot
    }

    /// Gives a resident key a new value, in its place; the old one is replaced.
    #[inline]
    pub(crate) fn replace(
        &mut self,
        from: Slot,
        fresh: Fresh<K, V>,
        out: &mut Outgoing<K, V, F>,
    ) -> Slot {
        let (to, code, meta) = self.place(fresh, Some(from));
        self.shared.index.replace(&self.state.scribe, code, from, to);
        let was = self.state.weight_of(from);
        match (was, meta) {
            (0, Some(meta)) => self.state.policy.insert(to, &meta),
            (_, Some(meta)) => self.state.policy.replace(from, to, &meta),
            (0, None) => {}
            (_, None) => self.state.policy.remove(from, Cause::Replaced),
        }
        self.leave(from, Cause::Replaced, out);
        to
    }

    /// The way out for an entry whose key goes with it. Its weight is still counted in the budget; `out` says how much there
    /// is to give back.
    pub(crate) fn detach(&mut self, slot: Slot, cause: Cause, out: &mut Outgoing<K, V, F>) {
        if !self.has(slot) {
            return;
        }
        let State { scribe, keeper, .. } = &mut *self.state;
        self.shared.index.remove(scribe, keeper.code(slot), slot, |slot| keeper.code(slot));
        let weight = self.state.weight_of(slot);
        if weight != 0 {
            self.state.policy.remove(slot, cause);
        }
        out.freed += weight;
        self.leave(slot, cause, out);
    }

    /// The one way out: of the slab and the wheel. The index leads to it no more, and the policy has been told.
    #[inline]
    fn leave(&mut self, slot: Slot, cause: Cause, out: &mut Outgoing<K, V, F>) {
        let state = &mut *self.state;
        let weight = state.weight_of(slot);
        state.weight = state.weight.wrapping_sub(weight);
        if let Some(wheel) = &mut state.wheel {
            wheel.cancel(slot);
        }
        self.part(slot, cause, weight, out);
        self.changed();
    }

    /// A full slot is full no more: its entry is counted, and goes into limbo, now or after it has been shown.
    #[inline]
    fn part(&mut self, slot: Slot, cause: Cause, weight: u64, out: &mut Outgoing<K, V, F>) {
        out.count(cause, weight);
        if !out.shown {
            self.bury(slot, weight);
        } else if let Some(departed) = self.shared.slab.depart(&mut self.state.keeper, slot) {
            out.show(Left { stripe: self.stripe.number, departed, cause });
        }
    }

    /// Counts and shows an entry that lives for no time at all.
    pub(crate) fn pass<'p>(
        &mut self,
        entry: Entry<K, V>,
        weight: u64,
        guard: Option<Guard<'p>>,
        out: &mut Outgoing<K, V, F>,
    ) -> Option<Found<'p, K, V>>
    where
        'a: 'p,
    {
        let state = &mut *self.state;
        // It is never in the index, so any code will do.
        let slot = self.shared.slab.insert(&mut state.keeper, entry, Code::new(0));
        let found = guard.and_then(|guard| self.shared.slab.found(&state.keeper, slot, guard));
        state.set_weight(slot, weight);
        self.part(slot, Cause::Expired, weight, out);
        found
    }

    /// Detaches what is in the next slots from `from` on, and says where to go on.
    pub(crate) fn detach_slice(
        &mut self,
        from: usize,
        cause: Cause,
        out: &mut Outgoing<K, V, F>,
    ) -> usize {
        let end = self.end().min(from + SLICE);
        (from..end).for_each(|index| self.detach(Slot::new(index), cause, out));
        end
    }

    /// Who would leave for `newcomer`, if anyone.
    pub(crate) fn victim(&mut self, newcomer: Option<&Meta>) -> Victim {
        let mut victim = self.ask_policy(newcomer);
        if self.state.policy.is_broken() {
            self.mend_if_broken();
            victim = self.ask_policy(newcomer);
            self.mend_if_broken();
        }
        match victim {
            // The policy may be the user's, and wrong.
            Victim::Entry(slot) if self.weight_of(slot) == 0 => Victim::None,
            Victim::Newcomer if newcomer.is_none() => Victim::None,
            victim => victim,
        }
    }

    /// Evicts what the policy wants to leave even where there is room, at most a slice. True if there may be more.
    #[inline]
    pub(crate) fn thin(&mut self, out: &mut Outgoing<K, V, F>) -> bool {
        for _ in 0..SLICE {
            if !self.state.policy.is_overfull() || !self.evict(out) {
                return false;
            }
        }
        true
    }

    /// Evicts the policy's victim. False if there is none.
    pub(crate) fn evict(&mut self, out: &mut Outgoing<K, V, F>) -> bool {
        let Victim::Entry(slot) = self.victim(None) else { return false };
        self.detach(slot, Cause::Evicted, out);
        true
    }

    fn ask_policy(&mut self, newcomer: Option<&Meta>) -> Victim {
        let State { policy, scribe, keeper, .. } = &mut *self.state;
        policy.victim(newcomer, &self.shared.counts(scribe, keeper))
    }

    /// Takes a resident out of the policy's order for a while: it is being replaced, and must not be its own victim.
    pub(crate) fn set_aside(&mut self, slot: Slot) {
        let State { policy, scribe, keeper, aside, .. } = &mut *self.state;
        *aside = Some(slot);
        policy.remove(slot, Cause::Replaced);
        self.shared.counts(scribe, keeper).set(slot, 0);
        self.changed();
    }

    /// Puts what was set aside, if anything, back into the order.
    #[inline]
    pub(crate) fn put_back(&mut self, hash: u64) {
        let Some(slot) = self.state.aside.take() else { return };
        if let Some(meta) = self.meta(hash, slot) {
            self.state.policy.insert(slot, &meta);
            self.changed();
        }
    }

    /// Takes out entries whose end has come, at most `budget` of them. True if there may be more.
    #[inline]
    pub(crate) fn expire(&mut self, now: u64, budget: usize, out: &mut Outgoing<K, V, F>) -> bool {
        self.expires() && self.expire_some(now, budget, out)
    }

    #[inline(never)]
    fn expire_some(&mut self, now: u64, mut budget: usize, out: &mut Outgoing<K, V, F>) -> bool {
        let deadlines = &self.shared.deadlines;
        while let Some(slot) =
            self.state.wheel.as_mut().and_then(|wheel| deadlines.expired(wheel, now, &mut budget))
        {
            self.detach(slot, Cause::Expired, out);
        }
        budget == 0
    }

    /// Live entries from slot `from` on, at most `most`; and where to go on.
    pub(crate) fn slice<'p>(
        &self,
        from: usize,
        most: usize,
        now: u64,
        guard: Guard<'p>,
    ) -> (Vec<Found<'p, K, V>>, usize)
    where
        'a: 'p,
    {
        let end = self.end().min(from + most);
        let live = (from..end).map(Slot::new).filter(|&slot| !self.is_dead(slot, now));
        (live.filter_map(|slot| self.found(slot, guard)).collect(), end)
    }

    /// The policy's order has changed.
    #[inline]
    fn changed(&mut self) {
        self.shared.ring.forget();
        self.mend_if_broken();
    }

    #[inline]
    pub(super) fn mend_if_broken(&mut self) {
        if self.state.policy.is_broken() {
            self.mend();
        }
    }

    #[cold]
    fn mend(&mut self) {
        let State { policy, keeper, weights, aside, .. } = &mut *self.state;
        let (keeper, weights, aside) = (&*keeper, &*weights, *aside);
        let deadlines = &self.shared.deadlines;
        let residents = keeper.iter_from(0).filter_map(move |slot| {
            let weight = weights.get(slot.index()).copied().unwrap_or(1);
            // All that is kept of a hash is its middle.
            let hash = keeper.code(slot).to_hash();
            let meta = Meta::new(hash, weight, deadlines.get(slot).earlier());
            (weight != 0 && Some(slot) != aside).then_some((slot, meta))
        });
        policy.mend(residents);
        self.shared.ears.store(self.state.policy.ears().word(), Ordering::Relaxed);
    }

    /// Slot, code and weight of every resident.
    #[cfg(test)]
    pub(crate) fn residents(&self) -> impl Iterator<Item = (Slot, Code, u64)> + '_ {
        let state = &*self.state;
        state.keeper.iter_from(0).map(|slot| (slot, state.keeper.code(slot), state.weight_of(slot)))
    }

    /// Checks each part by itself, and that the policy holds the `weighing` entries with weight.
    #[cfg(test)]
    pub(crate) fn assert_parts_valid(&self, weighing: usize) {
        let state = &*self.state;
        self.shared.index.assert_valid(&state.scribe, |slot| state.keeper.code(slot));
        state.keeper.assert_valid();
        state.policy.inner().assert_valid();
        assert_eq!(state.scribe.len(), state.keeper.len(), "index and slab hold the same entries");
        assert_eq!(
            state.policy.inner().len(),
            weighing,
            "the policy holds the entries with weight"
        );
        if let Some(wheel) = &state.wheel {
            wheel.assert_valid();
        }
    }
}
