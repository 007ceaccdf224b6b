//! Which calls reach a policy: all of them through a box, and what the defaults make of those that it does not know.

use super::*;

#[test]
fn by_default_an_entry_that_moves_is_removed_and_inserted() {
    /// A spy that overrides nothing it need not.
    struct Plain(Spy);
    impl EvictionPolicy for Plain {
        fn hears(&self) -> Hears {
            Hears::Nothing
        }
        fn insert(&mut self, slot: Slot, meta: &Meta) {
            self.0.insert(slot, meta);
        }
        fn remove(&mut self, slot: Slot, cause: Cause) {
            self.0.remove(slot, cause);
        }
        fn victim(&mut self, _: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
            Victim::None
        }
        fn len(&self) -> usize {
            0
        }
        fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
            Box::new(std::iter::empty())
        }
        fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
            Box::new(std::iter::empty())
        }
    }
    let mut plain = Plain(Spy::default());
    plain.relocate(Slot::new(1), Slot::new(2), &CALM);
    assert_eq!(plain.0.0.into_inner(), ["remove (Slot(1), Replaced)", "insert (Slot(2), 1)"]);
}

/// Writes down the calls it gets.
#[derive(Default)]
struct Spy(std::cell::RefCell<Vec<String>>);

impl Spy {
    fn heard<T: Debug>(&self, call: &str, what: T) {
        self.0.borrow_mut().push(format!("{call} {what:?}"));
    }
}

impl EvictionPolicy for Spy {
    fn hears(&self) -> Hears {
        Hears::Counter(7)
    }
    fn resize(&mut self, share: u64) {
        self.heard("resize", share);
    }
    fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.heard("insert", (slot, meta.weight));
    }
    fn update(&mut self, slot: Slot, meta: &Meta) {
        self.heard("update", (slot, meta.weight));
    }
    fn relocate(&mut self, from: Slot, to: Slot, meta: &Meta) {
        self.heard("relocate", (from, to, meta.weight));
    }
    fn reschedule(&mut self, slot: Slot, meta: &Meta) {
        self.heard("reschedule", (slot, meta.weight));
    }
    fn hit(&mut self, slot: Slot) {
        self.heard("hit", slot);
    }
    fn miss(&mut self, hash: u64) {
        self.heard("miss", hash);
    }
    fn remove(&mut self, slot: Slot, cause: Cause) {
        self.heard("remove", (slot, cause));
    }
    fn victim(&mut self, newcomer: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
        self.heard("victim", newcomer.is_some());
        Victim::Newcomer
    }
    fn len(&self) -> usize {
        13
    }
    fn is_empty(&self) -> bool {
        true // as len is not, so that one sees which was asked
    }
    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new([Slot::new(1), Slot::new(2)].into_iter())
    }
    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new([Slot::new(2), Slot::new(1)].into_iter())
    }
    fn coldest_after(&self, after: Option<Slot>) -> Option<Walk<'_>> {
        self.heard("coldest_after", after);
        Some(Box::new([Slot::new(3)].into_iter()))
    }
    fn heat(&self, slot: Slot, _: &HitCounters<'_>) -> Heat {
        self.heard("heat", slot);
        Heat::new(9, true)
    }
    fn warm(&mut self, slot: Slot, heat: Heat, _: &mut HitCounters<'_>) {
        self.heard("warm", (slot, heat.uses));
    }
    fn learned(&self) -> u64 {
        77
    }
    fn recall(&mut self, learned: u64) {
        self.heard("recall", learned);
    }
    fn assert_valid(&self) {
        self.heard("assert_valid", ());
    }
}

/// Makes every call once, as `P` and nothing else: through a box, if `P` is a box.
fn call_everything<P: EvictionPolicy>(policy: &mut P) {
    let slot = Slot::new(5);
    policy.resize(1);
    policy.insert(slot, &CALM);
    policy.update(slot, &CALM);
    policy.relocate(slot, Slot::new(6), &CALM);
    policy.reschedule(slot, &CALM);
    policy.hit(slot);
    policy.miss(6);
    policy.remove(slot, Cause::Expired);
    assert_eq!(policy.victim(Some(&CALM), &mut HitCounters::new(0)), Victim::Newcomer);
    let mut hits = HitCounters::new(0);
    assert_eq!(policy.coldest_after(Some(slot)).map(Iterator::count), Some(1));
    assert_eq!(policy.heat(slot, &hits), Heat::new(9, true));
    policy.warm(slot, Heat::new(4, false), &mut hits);
    policy.recall(3);
    policy.assert_valid();
    assert_eq!(policy.learned(), 77);
    assert_eq!((policy.hears(), policy.len(), policy.is_empty()), (Hears::Counter(7), 13, true));
    assert!(
        policy.coldest().map(Slot::index).eq([1, 2])
            && policy.hottest().map(Slot::index).eq([2, 1])
    );
}

#[test]
fn a_box_passes_every_call_on() {
    let mut boxed = Box::new(Spy::default());
    call_everything(&mut boxed);
    let heard = [
        "resize 1",
        "insert (Slot(5), 1)",
        "update (Slot(5), 1)",
        "relocate (Slot(5), Slot(6), 1)",
        "reschedule (Slot(5), 1)",
        "hit Slot(5)",
        "miss 6",
        "remove (Slot(5), Expired)",
        "victim true",
        "coldest_after Some(Slot(5))",
        "heat Slot(5)",
        "warm (Slot(5), 4)",
        "recall 3",
        "assert_valid ()",
    ];
    assert_eq!(boxed.0.into_inner(), heard);
}
