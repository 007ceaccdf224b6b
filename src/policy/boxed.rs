//! A policy in a box is a policy, so that one can come from configuration.

use super::{EvictionPolicy, Hears, Heat, HitCounters, Meta, Slot, Victim, Walk};
use crate::observe::Cause;

impl<P: EvictionPolicy + ?Sized> EvictionPolicy for Box<P> {
    fn hears(&self) -> Hears {
        (**self).hears()
    }
    fn resize(&mut self, share: u64) {
        (**self).resize(share);
    }
    fn insert(&mut self, slot: Slot, meta: &Meta) {
        (**self).insert(slot, meta);
    }
    fn update(&mut self, slot: Slot, meta: &Meta) {
        (**self).update(slot, meta);
    }
    fn relocate(&mut self, from: Slot, to: Slot, meta: &Meta) {
        (**self).relocate(from, to, meta);
    }
    fn reschedule(&mut self, slot: Slot, meta: &Meta) {
        (**self).reschedule(slot, meta);
    }
    fn hit(&mut self, slot: Slot) {
        (**self).hit(slot);
    }
    fn hears_misses(&self) -> bool {
        (**self).hears_misses()
    }
    fn miss(&mut self, hash: u64) {
        (**self).miss(hash);
    }
    fn remove(&mut self, slot: Slot, cause: Cause) {
        (**self).remove(slot, cause);
    }
    fn victim(&mut self, newcomer: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        (**self).victim(newcomer, hits)
    }
    fn is_overfull(&self) -> bool {
        (**self).is_overfull()
    }
    fn len(&self) -> usize {
        (**self).len()
    }
    fn is_empty(&self) -> bool {
        (**self).is_empty()
    }
    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        (**self).coldest()
    }
    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        (**self).hottest()
    }
    fn coldest_after(&self, after: Option<Slot>) -> Option<Walk<'_>> {
        (**self).coldest_after(after)
    }
    fn heat(&self, slot: Slot, hits: &HitCounters<'_>) -> Heat {
        (**self).heat(slot, hits)
    }
    fn warm(&mut self, slot: Slot, heat: Heat, hits: &mut HitCounters<'_>) {
        (**self).warm(slot, heat, hits);
    }
    fn learned(&self) -> u64 {
        (**self).learned()
    }
    fn recall(&mut self, learned: u64) {
        (**self).recall(learned);
    }
    fn assert_valid(&self) {
        (**self).assert_valid();
    }
}
