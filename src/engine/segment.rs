//! One stripe of the key space: everything that a writer needs, under one lock.
//!
//! **Problem.** An index, a policy, a wheel and a slab describe the same entries. They stay in step because entries come in
//! through [`publish`](Segment::publish) alone and go out through [`detach`](Segment::detach) alone.
//!
//! ```text
//!   hash ─► index ─► slot ─► slab: Arc<Entry>, hash, weight
//!                     ├────► policy: its order
//!                     └────► deadlines: when, and the wheel
//!   detach(slot): out of all four, into `Outgoing`, which the caller delivers and drops after the lock
//! ```
//!
//! **Invariants**
//!
//! 1. Slab and index hold the same slots. The policy holds those of them with weight, unless it has panicked in this call.
//! 2. `weight` is the sum of the residents' weights.
//! 3. A published entry is never changed and never moved out: readers may hold it.
//!
//! Every method is called under the segment's lock and runs no user code but `Equivalent` of keys, before it changes
//! anything.

use crate::engine::deadlines::{Deadline, Deadlines};
use crate::engine::guarded::{Guarded, Make};
use crate::engine::index::Index;
use crate::engine::pending::Pending;
use crate::engine::slab::{Slab, Slot};
use crate::engine::{Outgoing, SLICE};
use crate::observe::Cause;
use crate::policy::{Meta, Victim};
use crate::sync::Arc;
use crate::time::NEVER;
use equivalent::Equivalent;

/// A key and its value, immutable once published.
pub(crate) struct Entry<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
}

pub(crate) struct Resident<K, V> {
    pub(crate) entry: Arc<Entry<K, V>>,
    hash: u64,
    weight: u64,
}

/// What a reader takes away from the lock.
pub(crate) struct Found<K, V> {
    pub(crate) entry: Arc<Entry<K, V>>,
    pub(crate) slot: Slot,
    pub(crate) deadline: Deadline,
}

pub(crate) struct Segment<K, V, F> {
    index: Index,
    slab: Slab<Resident<K, V>>,
    policy: Guarded,
    /// Made when the first entry with a deadline comes: a cache that never expires anything pays nothing for it.
    deadlines: Option<Box<Deadlines>>,
    pub(crate) pending: Pending<K, F>,
    weight: u64,
    /// A resident that is out of the policy's order for a while.
    aside: Option<Slot>,
}

impl<K, V, F> Segment<K, V, F> {
    pub(crate) fn new(make: Make, share: u64) -> Self {
        Self {
            index: Index::new(),
            slab: Slab::new(),
            policy: Guarded::new(make, share),
            deadlines: None,
            pending: Pending::new(),
            weight: 0,
            aside: None,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) const fn weight(&self) -> u64 {
        self.weight
    }

    /// One past the highest slot in use.
    pub(crate) fn end(&self) -> usize {
        self.slab.end()
    }

    /// True once any entry had a deadline: only then need the caller read a clock.
    pub(crate) const fn expires(&self) -> bool {
        self.deadlines.is_some()
    }

    pub(crate) fn resize(&mut self, share: u64) {
        self.policy.resize(share);
    }

    /// How often the policy has panicked.
    pub(crate) const fn policy_panics(&self) -> u64 {
        self.policy.panics()
    }

    pub(crate) fn deadline(&self, slot: Slot) -> Deadline {
        self.deadlines.as_ref().map_or(Deadline::NEVER, |d| d.get(slot))
    }

    pub(crate) fn entry(&self, slot: Slot) -> Option<&Arc<Entry<K, V>>> {
        self.slab.get(slot).map(|resident| &resident.entry)
    }

    pub(crate) fn weight_of(&self, slot: Slot) -> u64 {
        self.slab.get(slot).map_or(0, |resident| resident.weight)
    }

    /// True if the slot's deadline has passed.
    pub(crate) fn is_dead(&self, slot: Slot, now: u64) -> bool {
        self.deadlines.as_ref().is_some_and(|d| d.get(slot).earlier() <= now)
    }

    /// The slot of a key, dead or alive.
    pub(crate) fn find<Q>(&self, hash: u64, key: &Q) -> Option<Slot>
    where
        Q: ?Sized + Equivalent<K>,
    {
        self.index
            .find(hash, |slot| self.slab.get(slot).is_some_and(|r| key.equivalent(&r.entry.key)))
    }

    /// The slot of a key whose deadline has not passed. Touches nothing.
    pub(crate) fn find_live<Q>(&self, hash: u64, key: &Q, now: u64) -> Option<Slot>
    where
        Q: ?Sized + Equivalent<K>,
    {
        self.find(hash, key).filter(|&slot| !self.is_dead(slot, now))
    }

    /// Looks a key up for a reader, tells the policy, and pushes the idle deadline back to `now + idle` if that is a step.
    pub(crate) fn read<Q>(&mut self, hash: u64, key: &Q, now: u64, idle: u64) -> Option<Found<K, V>>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let found = self.find_live(hash, key, now).and_then(|slot| self.found(slot));
        match &found {
            Some(found) => {
                if self.weight_of(found.slot) != 0 {
                    self.policy.hit(found.slot);
                }
                self.touch(found.slot, found.deadline, now, idle);
            }
            None => self.policy.miss(hash),
        }
        self.mend_if_broken();
        found
    }

    /// What is in a slot.
    pub(crate) fn found(&self, slot: Slot) -> Option<Found<K, V>> {
        let entry = Arc::clone(self.entry(slot)?);
        Some(Found { entry, slot, deadline: self.deadline(slot) })
    }

    /// Pushes an idle deadline back, in steps of at least a tick and a 64th of the TTI, so that a busy key is not moved at
    /// every read: it may end early by that much, never late.
    fn touch(&mut self, slot: Slot, deadline: Deadline, now: u64, idle: u64) {
        let fresh = now.saturating_add(idle);
        let step = (idle / 64).max(crate::engine::wheel::TICK);
        // Without a time to idle, an idle deadline is a per-entry rule's own, and not this one's to move.
        let idles = idle != NEVER && deadline.idle != NEVER;
        if idles && fresh.saturating_sub(deadline.idle) >= step {
            self.postpone(slot, fresh, now);
        }
    }

    /// Moves the idle deadline of a resident.
    pub(crate) fn postpone(&mut self, slot: Slot, idle: u64, now: u64) {
        match &mut self.deadlines {
            Some(deadlines) => deadlines.postpone(slot, idle),
            None => self.set_deadline(slot, Deadline { hard: NEVER, idle }, now),
        }
    }

    /// Sets both deadlines of a resident, and tells the policy.
    pub(crate) fn reschedule(&mut self, slot: Slot, deadline: Deadline, now: u64) {
        self.set_deadline(slot, deadline, now);
        if let Some(meta) = self.meta(slot) {
            self.policy.reschedule(slot, &meta);
        }
        self.mend_if_broken();
    }

    fn set_deadline(&mut self, slot: Slot, deadline: Deadline, now: u64) {
        match &mut self.deadlines {
            Some(deadlines) => deadlines.set(slot, deadline),
            None if deadline == Deadline::NEVER => {}
            none => none.insert(Box::new(Deadlines::new(now))).set(slot, deadline),
        }
    }

    /// What the policy may know of a resident; nothing of one without weight.
    fn meta(&self, slot: Slot) -> Option<Meta> {
        let resident = self.slab.get(slot).filter(|r| r.weight != 0)?;
        Some(Meta::new(resident.hash, resident.weight, self.deadline(slot).earlier()))
    }

    /// True if there is no slot left for another entry.
    pub(crate) fn is_full(&self) -> bool {
        self.slab.is_full()
    }

    /// Puts an entry in, under a key that is not resident.
    pub(crate) fn publish(
        &mut self,
        entry: Arc<Entry<K, V>>,
        hash: u64,
        weight: u64,
        deadline: Deadline,
        now: u64,
    ) {
        let slot = self.slab.insert(Resident { entry, hash, weight });
        self.index.insert(hash, slot);
        self.weight += weight;
        self.set_deadline(slot, deadline, now);
        if let Some(meta) = self.meta(slot) {
            self.policy.insert(slot, &meta);
        }
        self.mend_if_broken();
    }

    /// Gives a resident key a new value, in its place; the old one is replaced.
    pub(crate) fn replace(
        &mut self,
        slot: Slot,
        entry: Arc<Entry<K, V>>,
        weight: u64,
        deadline: Deadline,
        now: u64,
        out: &mut Outgoing<K, V, F>,
    ) {
        let Some(resident) = self.slab.get_mut(slot) else { return };
        let was = std::mem::replace(&mut resident.weight, weight);
        out.push(std::mem::replace(&mut resident.entry, entry), Cause::Replaced, was);
        self.weight = self.weight - was + weight;
        self.set_deadline(slot, deadline, now);
        match (was, self.meta(slot)) {
            (0, Some(meta)) => self.policy.insert(slot, &meta),
            (_, Some(meta)) => self.policy.update(slot, &meta),
            (0, None) => {}
            (_, None) => self.policy.remove(slot, Cause::Replaced),
        }
        self.mend_if_broken();
    }

    /// The one way out: out of the slab, the index, the policy and the wheel at once. Its weight is still counted in the
    /// budget; `out` says how much there is to give back.
    pub(crate) fn detach(&mut self, slot: Slot, cause: Cause, out: &mut Outgoing<K, V, F>) {
        let Some(Resident { entry, hash, weight }) = self.slab.remove(slot) else { return };
        self.index.remove(hash, slot);
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.clear(slot);
        }
        if weight != 0 {
            self.policy.remove(slot, cause);
        }
        self.weight -= weight;
        out.freed += weight;
        out.push(entry, cause, weight);
        self.mend_if_broken();
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
        let mut victim = self.policy.victim(newcomer);
        if self.policy.is_broken() {
            self.mend_if_broken();
            victim = self.policy.victim(newcomer);
            self.mend_if_broken();
        }
        match victim {
            // The policy may be the user's, and wrong.
            Victim::Entry(slot) if self.weight_of(slot) == 0 => Victim::None,
            Victim::Newcomer if newcomer.is_none() => Victim::None,
            victim => victim,
        }
    }

    /// Takes a resident out of the policy's order for a while: it is being replaced, and must not be its own victim.
    pub(crate) fn set_aside(&mut self, slot: Slot) {
        self.aside = Some(slot);
        self.policy.remove(slot, Cause::Replaced);
        self.mend_if_broken();
    }

    /// Puts what was set aside, if anything, back into the order.
    pub(crate) fn put_back(&mut self) {
        let aside = self.aside.take();
        if let Some((slot, meta)) = aside.and_then(|slot| Some((slot, self.meta(slot)?))) {
            self.policy.insert(slot, &meta);
            self.mend_if_broken();
        }
    }

    /// Takes out entries whose deadlines have passed, at most `budget` of them.
    /// True if there may be more.
    pub(crate) fn expire(
        &mut self,
        now: u64,
        mut budget: usize,
        out: &mut Outgoing<K, V, F>,
    ) -> bool {
        while let Some(slot) = self.deadlines.as_mut().and_then(|d| d.expired(now, &mut budget)) {
            self.detach(slot, Cause::Expired, out);
        }
        budget == 0
    }

    /// Live entries from slot `from` on, at most `most`; and where to go on.
    pub(crate) fn slice(&self, from: usize, most: usize, now: u64) -> (Vec<Found<K, V>>, usize) {
        let end = self.end().min(from + most);
        let live = (from..end).map(Slot::new).filter(|&slot| !self.is_dead(slot, now));
        (live.filter_map(|slot| self.found(slot)).collect(), end)
    }

    fn mend_if_broken(&mut self) {
        if self.policy.is_broken() {
            let (slab, deadlines) = (&self.slab, &self.deadlines);
            let aside = self.aside;
            let ordered = slab
                .iter_from(0)
                .filter(move |&(slot, resident)| resident.weight != 0 && Some(slot) != aside);
            let residents = ordered.map(|(slot, r)| {
                let deadline = deadlines.as_ref().map_or(NEVER, |d| d.get(slot).earlier());
                (slot, Meta::new(r.hash, r.weight, deadline))
            });
            self.policy.mend(residents);
        }
    }

    /// Slot, hash and weight of every resident.
    #[cfg(test)]
    pub(crate) fn residents(&self) -> impl Iterator<Item = (Slot, u64, u64)> {
        self.slab.iter_from(0).map(|(slot, r)| (slot, r.hash, r.weight))
    }

    /// Checks each part by itself, and that the policy holds the `weighing` entries with weight.
    #[cfg(test)]
    pub(crate) fn assert_parts_valid(&self, weighing: usize) {
        self.index.assert_valid();
        self.slab.assert_valid();
        self.policy.inner().assert_valid();
        assert_eq!(self.index.len(), self.slab.len(), "index and slab hold the same entries");
        assert_eq!(self.policy.inner().len(), weighing, "the policy holds the entries with weight");
        if let Some(deadlines) = &self.deadlines {
            deadlines.assert_valid();
        }
    }
}
