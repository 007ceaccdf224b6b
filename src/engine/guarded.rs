//! A policy that cannot hurt: its panics are caught, and a fresh one takes over.
//!
//! A policy may be the user's. If it panicked through the engine it would leave an index, a wheel and an order that disagree.
//! So each call is caught; after a panic the policy's state is not trusted, and the segment [mends](Guarded::mend) it by
//! showing a fresh policy every resident. That costs O(residents), once a panic.

use crate::caught::caught;
use crate::observe::Cause;
use crate::policy::{EvictionPolicy, Hears, HitCounters, Lru, Meta, Slot, Victim};
use crate::sync::Arc;

/// Makes a policy for a segment.
pub(crate) type Make = Arc<dyn Fn() -> Box<dyn EvictionPolicy> + Send + Sync>;

pub(crate) struct Guarded {
    policy: Box<dyn EvictionPolicy>,
    make: Make,
    hears: Hears,
    counters: HitCounters<'static>,
    share: u64,
    broken: bool,
    panics: u64,
}

impl Guarded {
    pub(crate) fn new(make: Make, share: u64) -> Self {
        let mut policy = make();
        policy.resize(share);
        let hears = policy.hears();
        Self { policy, make, hears, counters: counters(hears), share, broken: false, panics: 0 }
    }

    /// How often it has panicked.
    pub(crate) const fn panics(&self) -> u64 {
        self.panics
    }

    /// True after a panic, until mended.
    pub(crate) const fn is_broken(&self) -> bool {
        self.broken
    }

    pub(crate) fn resize(&mut self, share: u64) {
        self.share = share;
        self.call(|policy, _| policy.resize(share));
    }

    pub(crate) fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.call(|policy, _| policy.insert(slot, meta));
    }

    pub(crate) fn update(&mut self, slot: Slot, meta: &Meta) {
        self.call(|policy, _| policy.update(slot, meta));
    }

    pub(crate) fn reschedule(&mut self, slot: Slot, meta: &Meta) {
        self.call(|policy, _| policy.reschedule(slot, meta));
    }

    pub(crate) fn remove(&mut self, slot: Slot, cause: Cause) {
        if let Hears::Counter(_) = self.hears {
            self.counters.set(slot, 0);
        }
        self.call(|policy, _| policy.remove(slot, cause));
    }

    /// An entry of the policy's was read.
    pub(crate) fn hit(&mut self, slot: Slot) {
        match self.hears {
            Hears::Nothing => {}
            Hears::Counter(_) => self.counters.record(slot),
            Hears::InOrder | Hears::Recency => self.call(|policy, _| policy.hit(slot)),
        }
    }

    pub(crate) fn miss(&mut self, hash: u64) {
        self.call(|policy, _| policy.miss(hash));
    }

    pub(crate) fn victim(&mut self, newcomer: Option<&Meta>) -> Victim {
        let mut victim = Victim::None;
        self.call(|policy, counters| victim = policy.victim(newcomer, counters));
        victim
    }

    /// Starts afresh with these entries. A policy that panics even then gives way to LRU.
    pub(crate) fn mend<'a>(&mut self, residents: impl Iterator<Item = (Slot, Meta)> + Clone + 'a) {
        let make = Arc::clone(&self.make);
        if !self.restart(&*make, residents.clone()) {
            self.restart(&|| Box::new(Lru::new()), residents);
        }
    }

    fn restart(
        &mut self,
        make: &dyn Fn() -> Box<dyn EvictionPolicy>,
        residents: impl Iterator<Item = (Slot, Meta)>,
    ) -> bool {
        let share = self.share;
        let mut fresh = None;
        caught(|| {
            let mut policy = make();
            policy.resize(share);
            residents.for_each(|(slot, meta)| policy.insert(slot, &meta));
            let hears = policy.hears();
            fresh = Some((policy, hears));
        });
        let Some((fresh, hears)) = fresh else { return false };
        // The old one's destructor is as little to be trusted as the rest of it.
        let old = std::mem::replace(&mut self.policy, fresh);
        caught(|| drop(old));
        self.hears = hears;
        self.counters = counters(self.hears);
        self.broken = false;
        true
    }

    fn call(&mut self, f: impl FnOnce(&mut dyn EvictionPolicy, &mut HitCounters<'_>)) {
        if !self.broken {
            let (policy, counters) = (&mut *self.policy, &mut self.counters);
            self.broken = caught(|| f(policy, counters));
            self.panics += u64::from(self.broken);
        }
    }

    #[cfg(test)]
    pub(crate) fn inner(&self) -> &dyn EvictionPolicy {
        &*self.policy
    }
}

fn counters(hears: Hears) -> HitCounters<'static> {
    HitCounters::new(if let Hears::Counter(max) = hears { max } else { 0 })
}
