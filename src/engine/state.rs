//! What a writer knows of a segment, and readers do not: it is behind the segment's lock.

use super::column::Column;
use super::guarded::{Ears, Guarded, Make};
use super::index::{Index, Scribe};
use super::pending::Pending;
use super::slab::{Keeper, Slot};
use super::stamps::Stamps;
use super::stripe::Shared;
use super::wheel::Wheel;
use crate::policy::Counts;
use crate::sync::Ordering;

/// One segment's.
pub(super) struct State<K, F> {
    pub(super) scribe: Scribe,
    pub(super) keeper: Keeper,
    pub(super) policy: Guarded,
    /// Made when the first entry with a deadline comes: a cache that never expires anything pays nothing for it.
    pub(super) wheel: Option<Box<Wheel>>,
    pub(super) pending: Pending<K, F>,
    /// The weights of the slots, where there is any but 1.
    pub(super) weights: Column<u64>,
    pub(super) weight: u64,
    pub(super) share: u64,
    /// A resident that is out of the policy's order for a while.
    pub(super) aside: Option<Slot>,
    /// Some entry has had another weight than 1: only then is the weight in limbo counted.
    pub(super) weighs: bool,
    /// The weight of what is in limbo.
    pub(super) limbo: u128,
    /// How full limbo must be for another grace period to be asked for.
    pub(super) ask: u64,
    /// How many retired slots share a tag.
    pub(super) batch: usize,
}

impl<K, F> State<K, F> {
    pub(crate) fn new(scribe: Scribe, keeper: Keeper, make: Make, share: u64) -> Self {
        Self {
            scribe,
            keeper,
            policy: Guarded::new(make, share),
            wheel: None,
            pending: Pending::new(),
            weights: Column::new(),
            weight: 0,
            share,
            aside: None,
            weighs: false,
            limbo: 0,
            ask: 0,
            batch: 1,
        }
    }

    /// How the policy hears.
    pub(crate) fn ears(&self) -> Ears {
        self.policy.ears()
    }

    #[inline]
    pub(super) fn weight_of(&self, slot: Slot) -> u64 {
        if self.weighs { self.weights.get(slot.index()).copied().unwrap_or(1) } else { 1 }
    }

    #[inline]
    pub(super) fn set_weight(&mut self, slot: Slot, weight: u64) {
        if weight != 1 && !self.weighs {
            self.weighs = true;
            // Until now every entry weighed 1.
            self.limbo = self.keeper.limbo() as u128;
        }
        if self.weighs {
            self.weights.reach(slot.index(), 1);
            self.weights[slot] = weight;
        }
    }
}

impl<K, V> Shared<K, V> {
    /// What is noted of hits.
    pub(super) fn counts<'a>(&'a self, scribe: &'a Scribe, keeper: &'a Keeper) -> Noted<'a> {
        Noted { index: &self.index, scribe, keeper, stamps: self.stamps.as_deref() }
    }
}

/// The hit counters of a segment, which are in its index; and the words, where there are any.
pub(super) struct Noted<'a> {
    index: &'a Index,
    scribe: &'a Scribe,
    keeper: &'a Keeper,
    stamps: Option<&'a Stamps>,
}

impl Counts for Noted<'_> {
    fn get(&self, slot: Slot) -> u8 {
        let counter = self.index.counter(self.scribe, self.keeper.code(slot), slot);
        counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    fn set(&self, slot: Slot, count: u8) {
        if let Some(counter) = self.index.counter(self.scribe, self.keeper.code(slot), slot) {
            counter.store(count, Ordering::Relaxed);
        }
    }

    fn hash(&self, slot: Slot) -> u64 {
        self.keeper.code(slot).to_hash()
    }

    fn stamp(&self, slot: Slot) -> u32 {
        self.stamps.map_or(0, |stamps| stamps.get(slot))
    }

    fn set_stamp(&self, slot: Slot, word: u32) {
        if let Some(stamps) = self.stamps {
            stamps.set(slot, word);
        }
    }

    fn now(&self) -> u64 {
        self.stamps.map_or(0, Stamps::now)
    }
}
