//! Every policy obeys the laws; and the suite sees one that does not.

use super::*;
use crate::policy::{
    Adaptive, AdaptiveReplacement, Clock, Fifo, Lfu, Lirs, Lru, NoEviction, Random, S3Fifo,
    SampledLfu, SampledLru, Sieve, Slru, SoonestDeadline, TwoQ, Volatile, WTinyLfu,
};

/// CLOCK as a user may write it, who overrides nothing that need not be.
#[derive(Default)]
struct Ring {
    ring: VecDeque<Slot>,
}

impl EvictionPolicy for Ring {
    fn hears(&self) -> Hears {
        Hears::Counter(1)
    }
    fn insert(&mut self, slot: Slot, _: &Meta) {
        self.ring.push_back(slot);
    }
    fn relocate(&mut self, from: Slot, to: Slot, _: &Meta) {
        self.ring.iter_mut().filter(|slot| **slot == from).for_each(|slot| *slot = to);
    }
    fn remove(&mut self, slot: Slot, _: Cause) {
        self.ring.retain(|&resident| resident != slot);
    }
    fn victim(&mut self, _: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        while let Some(&oldest) = self.ring.front() {
            if hits.get(oldest) == 0 {
                return Victim::Entry(oldest);
            }
            hits.set(oldest, 0);
            self.ring.rotate_left(1);
        }
        Victim::None
    }
    fn len(&self) -> usize {
        self.ring.len()
    }
    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.ring.iter().copied())
    }
    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.ring.iter().rev().copied())
    }
}

const ANY: MayLeave = |_| true;
const MORTAL: MayLeave = |meta| !meta.is_permanent();

#[test]
fn every_policy_obeys_the_laws() {
    obeys_boxed_or_not(Lru::new, ANY);
    obeys_boxed_or_not(Lfu::new, ANY);
    obeys_boxed_or_not(Fifo::new, ANY);
    obeys_boxed_or_not(|| Random::seeded(9), ANY);
    obeys_boxed_or_not(NoEviction::new, |_| false);
    obeys_boxed_or_not(Sieve::new, ANY);
    obeys_boxed_or_not(Ring::default, ANY);
    obeys_boxed_or_not(Clock::new, ANY);
    obeys_boxed_or_not(|| Clock::counting(3), ANY);
    obeys_boxed_or_not(S3Fifo::new, ANY);
    obeys_boxed_or_not(Slru::new, ANY);
    obeys_boxed_or_not(TwoQ::new, ANY);
    obeys_boxed_or_not(AdaptiveReplacement::new, ANY);
    obeys_boxed_or_not(Lirs::new, ANY);
    obeys_boxed_or_not(WTinyLfu::new, ANY);
    obeys_boxed_or_not(|| Adaptive::seeded(9), ANY);
    obeys_boxed_or_not(|| SampledLru::seeded(9), ANY);
    obeys_boxed_or_not(|| SampledLfu::seeded(9), ANY);
    obeys_boxed_or_not(|| Volatile::new(SampledLru::new()), MORTAL);
    obeys_boxed_or_not(SoonestDeadline::new, MORTAL);
    obeys_boxed_or_not(|| Volatile::new(Lru::new()), MORTAL);
    obeys_boxed_or_not(|| Volatile::new(Lfu::new()), MORTAL);
    obeys_boxed_or_not(|| Volatile::new(Random::seeded(9)), MORTAL);
    obeys_boxed_or_not(|| Volatile::new(Sieve::new()), MORTAL);
    obeys_boxed_or_not(|| Volatile::new(NoEviction::new()), |_| false);
}

/// A miss that is heard of takes the lock: it is not asked for where nothing comes of it.
#[test]
fn who_does_not_say_otherwise_hears_of_misses() {
    let ours: Vec<Box<dyn EvictionPolicy>> = vec![
        Box::new(Lru::new()),
        Box::new(Lfu::new()),
        Box::new(Fifo::new()),
        Box::new(Random::seeded(9)),
        Box::new(NoEviction::new()),
        Box::new(Sieve::new()),
        Box::new(SampledLru::new()),
        Box::new(SampledLfu::new()),
        Box::new(SoonestDeadline::new()),
        Box::new(Volatile::new(Lru::new())),
        Box::new(Clock::new()),
        Box::new(S3Fifo::new()),
        Box::new(Slru::new()),
        Box::new(TwoQ::new()),
        Box::new(AdaptiveReplacement::new()),
        Box::new(Lirs::new()),
        Box::new(WTinyLfu::new()),
        Box::new(Adaptive::new()),
    ];
    for policy in ours {
        assert!(!policy.hears_misses());
        assert!(!Box::new(policy).hears_misses(), "a box says what is in it");
    }
    assert!(Ring::default().hears_misses());
    assert!(Box::new(Ring::default()).hears_misses());
}

#[test]
fn an_entry_hit_once_gets_a_second_chance_from_a_clock() {
    let mut segment = Segment::new(Ring::default());
    let [a, b] = [0, 1].map(|_| segment.insert(&CALM));
    segment.hit(a);
    segment.hit(a);
    assert_eq!(segment.hits.get(a), 1, "the counter stops at 1");
    assert_eq!(segment.victim(None), Victim::Entry(b));
    segment.remove(b, Cause::Evicted);
    assert_eq!(segment.victim(None), Victim::Entry(a), "its hit was spent");
}

/// Breaks law 1: goes on naming an entry that has left. And law 9: an entry that moves is a newcomer, by the default.
#[derive(Default)]
struct Stale(Lru, Option<Slot>);

impl EvictionPolicy for Stale {
    fn hears(&self) -> Hears {
        Hears::Nothing
    }
    fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.1 = Some(slot);
        self.0.insert(slot, meta);
    }
    fn remove(&mut self, slot: Slot, cause: Cause) {
        self.0.remove(slot, cause);
    }
    fn victim(&mut self, _: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
        self.1.map_or(Victim::None, Victim::Entry)
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        self.0.coldest()
    }
    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        self.0.hottest()
    }
}

#[test]
#[should_panic(expected = "law 1")]
fn the_suite_sees_a_policy_that_breaks_a_law() {
    let mut segment = Segment::new(Stale::default());
    for op in [Op::Insert { weight: 1, deadline: 1 }, Op::Clear, Op::Ask { newcomer: true }] {
        apply(&mut segment, &op, ANY);
        segment.check(ANY);
    }
}

#[test]
#[should_panic(expected = "law 9")]
fn the_suite_sees_an_entry_that_loses_its_place() {
    let mut segment = Segment::new(Stale::default());
    for _ in 0..2 {
        apply(&mut segment, &Op::Insert { weight: 1, deadline: 1 }, ANY);
    }
    apply(&mut segment, &Op::Relocate { pick: 1 }, ANY);
    segment.check(ANY);
    apply(&mut segment, &Op::Relocate { pick: 0 }, ANY);
}

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
    policy.assert_valid();
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
        "assert_valid ()",
    ];
    assert_eq!(boxed.0.into_inner(), heard);
}

#[test]
fn the_calls_that_a_policy_may_ignore_change_nothing() {
    let mut fifo = Fifo::new();
    assert!(fifo.is_empty());
    fifo.insert(Slot::new(5), &CALM);
    fifo.resize(1);
    fifo.update(Slot::new(5), &CALM);
    fifo.reschedule(Slot::new(5), &CALM);
    fifo.hit(Slot::new(5));
    fifo.miss(6);
    fifo.assert_valid();
    assert!(!fifo.is_empty() && fifo.coldest().eq([Slot::new(5)]));
}
