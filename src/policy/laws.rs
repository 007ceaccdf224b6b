//! The laws of [`EvictionPolicy`], as one suite for every policy.

use super::{
    EvictionPolicy, Fifo, Hears, HitCounters, Lfu, Lru, Meta, NoEviction, Random, Sieve, Slot,
    Victim,
};
use crate::observe::Cause;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use std::collections::VecDeque;
use std::fmt::Debug;

/// An entry that nothing is special about.
pub(super) const CALM: Meta = Meta::new(0, 1, u64::MAX);

/// A segment with no keys and no values. It hands out slots and counts hits as the engine does, and keeps the engine's
/// side of the laws.
pub(super) struct Segment<P> {
    pub(super) policy: P,
    pub(super) hits: HitCounters<'static>,
    residents: Vec<Slot>,
    free: Vec<Slot>,
    /// The entry used last: another hit on it need not be told under [`Hears::Recency`], and here never is.
    last: Option<Slot>,
}

impl<P: EvictionPolicy> Segment<P> {
    pub(super) fn new(mut policy: P) -> Self {
        policy.resize(100);
        let max = if let Hears::Counter(max) = policy.hears() { max } else { 0 };
        let hits = HitCounters::new(max);
        Self { policy, hits, residents: Vec::new(), free: Vec::new(), last: None }
    }

    /// Any resident entry, chosen by `pick`.
    fn pick(&self, pick: usize) -> Option<Slot> {
        self.residents.get(pick.checked_rem(self.residents.len())?).copied()
    }

    /// The slot freed last, or else one that was never used.
    fn vacant(&mut self) -> Slot {
        self.free.pop().unwrap_or_else(|| Slot::new(self.residents.len()))
    }

    pub(super) fn insert(&mut self, meta: &Meta) -> Slot {
        let slot = self.vacant();
        self.hits.set(slot, 0);
        self.policy.insert(slot, meta);
        self.residents.push(slot);
        self.last = Some(slot);
        slot
    }

    pub(super) fn update(&mut self, slot: Slot, meta: &Meta) {
        self.policy.update(slot, meta);
        self.last = Some(slot);
    }

    /// Moves an entry to another slot, and says to which.
    pub(super) fn relocate(&mut self, from: Slot, meta: &Meta) -> Slot {
        let to = self.vacant();
        self.hits.set(to, self.hits.get(from));
        self.hits.set(from, 0);
        self.policy.relocate(from, to, meta);
        for slot in self.residents.iter_mut().chain(&mut self.last).filter(|slot| **slot == from) {
            *slot = to;
        }
        self.free.push(from);
        to
    }

    pub(super) fn hit(&mut self, slot: Slot) {
        match self.policy.hears() {
            Hears::Nothing => {}
            Hears::Counter(_) => self.hits.record(slot),
            Hears::Recency if self.last == Some(slot) => {}
            Hears::InOrder | Hears::Recency => self.policy.hit(slot),
        }
        self.last = Some(slot);
    }

    pub(super) fn remove(&mut self, slot: Slot, cause: Cause) {
        self.policy.remove(slot, cause);
        self.residents.retain(|&resident| resident != slot);
        self.free.push(slot);
        self.last = self.last.filter(|&last| last != slot);
    }

    pub(super) fn victim(&mut self, newcomer: Option<&Meta>) -> Victim {
        self.policy.victim(newcomer, &mut self.hits)
    }

    /// Holds the policy to every law that can be seen at this moment.
    pub(super) fn check(&mut self, keeps_an_order: bool) {
        self.policy.assert_valid();
        assert_eq!(self.policy.len(), self.residents.len(), "law 4: len");
        assert_eq!(self.policy.is_empty(), self.residents.is_empty(), "law 4: is_empty");
        let coldest: Vec<_> = self.policy.coldest().collect();
        let mut reversed: Vec<_> = self.policy.hottest().collect();
        reversed.reverse();
        assert_eq!(coldest, reversed, "law 3: hottest is coldest in reverse");
        if keeps_an_order {
            assert_eq!(
                sorted(coldest),
                sorted(self.residents.clone()),
                "law 3: coldest names every entry once"
            );
        } else {
            assert_eq!(coldest, [], "law 3: no order, no victims");
        }
    }

    /// Asks for a victim, and holds the answer to the laws.
    fn ask(&mut self, newcomer: Option<&Meta>, keeps_an_order: bool) -> Option<Slot> {
        let victim = self.victim(newcomer);
        assert_eq!(self.victim(newcomer), victim, "law 2: asked again, answers the same");
        match victim {
            Victim::Entry(slot) => {
                assert!(self.residents.contains(&slot), "law 1: {slot:?} is no resident");
                assert_eq!(
                    self.policy.coldest().next(),
                    Some(slot),
                    "law 3: the victim is the coldest"
                );
                return Some(slot);
            }
            Victim::Newcomer => assert!(newcomer.is_some(), "law 1: there is no newcomer"),
            Victim::None => {
                assert!(self.residents.is_empty() || !keeps_an_order, "somebody must leave");
            }
        }
        None
    }
}

fn sorted(mut slots: Vec<Slot>) -> Vec<Slot> {
    slots.sort_unstable();
    slots
}

/// What can happen to a segment. A `usize` picks one of its entries.
#[derive(Clone, Debug)]
enum Op {
    Insert { weight: u64, deadline: u64 },
    Update { pick: usize, weight: u64 },
    Relocate { pick: usize, weight: u64 },
    Reschedule { pick: usize, deadline: u64 },
    Hit { pick: usize },
    Miss { hash: u64 },
    Remove { pick: usize, cause: usize },
    Ask { newcomer: bool },
    Evict { newcomer: bool },
    Resize { share: u64 },
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    let pick = any::<usize>;
    prop_oneof![
        6 => (1..100_u64, any::<u64>()).prop_map(|(weight, deadline)| Op::Insert { weight, deadline }),
        2 => (pick(), 1..100_u64).prop_map(|(pick, weight)| Op::Update { pick, weight }),
        2 => (pick(), 1..100_u64).prop_map(|(pick, weight)| Op::Relocate { pick, weight }),
        1 => (pick(), any::<u64>()).prop_map(|(pick, deadline)| Op::Reschedule { pick, deadline }),
        8 => pick().prop_map(|pick| Op::Hit { pick }),
        1 => any::<u64>().prop_map(|hash| Op::Miss { hash }),
        2 => (pick(), 0..Cause::ALL.len()).prop_map(|(pick, cause)| Op::Remove { pick, cause }),
        1 => any::<bool>().prop_map(|newcomer| Op::Ask { newcomer }),
        3 => any::<bool>().prop_map(|newcomer| Op::Evict { newcomer }),
        1 => any::<u64>().prop_map(|share| Op::Resize { share }),
        1 => Just(Op::Clear),
    ]
}

fn apply<P: EvictionPolicy>(segment: &mut Segment<P>, op: &Op, keeps_an_order: bool) {
    let newcomer = |wanted: bool| wanted.then_some(&CALM);
    match *op {
        Op::Insert { weight, deadline } => {
            segment.insert(&Meta::new(weight ^ deadline, weight, deadline));
        }
        Op::Update { pick, weight } => {
            if let Some(slot) = segment.pick(pick) {
                segment.update(slot, &Meta::new(pick as u64, weight, u64::MAX));
            }
        }
        Op::Relocate { pick, weight } => {
            if let Some(from) = segment.pick(pick) {
                let mut expected: Vec<_> = segment.policy.coldest().collect();
                let to = segment.relocate(from, &Meta::new(pick as u64, weight, u64::MAX));
                expected.iter_mut().filter(|slot| **slot == from).for_each(|slot| *slot = to);
                let order: Vec<_> = segment.policy.coldest().collect();
                assert_eq!(order, expected, "law 9: {to:?} stands where {from:?} stood");
            }
        }
        Op::Reschedule { pick, deadline } => {
            if let Some(slot) = segment.pick(pick) {
                let before: Vec<_> = segment.policy.coldest().collect();
                segment.policy.reschedule(slot, &Meta::new(pick as u64, 1, deadline));
                let after: Vec<_> = segment.policy.coldest().collect();
                assert_eq!(before, after, "a new deadline is not a use");
            }
        }
        Op::Hit { pick } => {
            if let Some(slot) = segment.pick(pick) {
                segment.hit(slot);
            }
        }
        Op::Miss { hash } => segment.policy.miss(hash),
        Op::Remove { pick, cause } => {
            if let Some(slot) = segment.pick(pick) {
                segment.remove(slot, Cause::ALL[cause]);
            }
        }
        Op::Ask { newcomer: wanted } => {
            segment.ask(newcomer(wanted), keeps_an_order);
        }
        Op::Evict { newcomer: wanted } => {
            if let Some(slot) = segment.ask(newcomer(wanted), keeps_an_order) {
                segment.remove(slot, Cause::Evicted);
            }
        }
        Op::Resize { share } => segment.policy.resize(share),
        Op::Clear => {
            while let Some(slot) = segment.pick(0) {
                segment.remove(slot, Cause::Cleared);
            }
        }
    }
}

/// Runs the suite: the same random operations for every policy, and every law after each of them.
fn obeys<P: EvictionPolicy>(make: impl Fn() -> P, keeps_an_order: bool) {
    let config =
        ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let history = prop::collection::vec(op(), 0..250);
    let law = runner.run(&history, |history| {
        let mut segment = Segment::new(make());
        for op in &history {
            apply(&mut segment, op, keeps_an_order);
            segment.check(keeps_an_order);
        }
        apply(&mut segment, &Op::Clear, keeps_an_order);
        assert_eq!(segment.ask(None, keeps_an_order), None);
        for _ in 0..3 {
            segment.insert(&CALM);
        }
        segment.check(keeps_an_order);
        Ok(())
    });
    if let Err(broken) = law {
        panic!("{broken}");
    }
}

/// The suite for a policy as it is, and as it comes from configuration.
fn obeys_boxed_or_not<P: EvictionPolicy + 'static>(make: impl Fn() -> P, keeps_an_order: bool) {
    obeys(&make, keeps_an_order);
    obeys(|| -> Box<dyn EvictionPolicy> { Box::new(make()) }, keeps_an_order);
}

/// CLOCK, or second chance: a queue in which an entry that was hit goes round once more (Corbató 1968). Here for a counter
/// policy that moves its entries, as no policy of this version does.
#[derive(Default)]
struct Clock {
    ring: VecDeque<Slot>,
}

impl EvictionPolicy for Clock {
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

#[test]
fn every_policy_obeys_the_laws() {
    obeys_boxed_or_not(Lru::new, true);
    obeys_boxed_or_not(Lfu::new, true);
    obeys_boxed_or_not(Fifo::new, true);
    obeys_boxed_or_not(|| Random::seeded(9), true);
    obeys_boxed_or_not(NoEviction::new, false);
    obeys_boxed_or_not(Sieve::new, true);
    obeys_boxed_or_not(Clock::default, true);
}

/// A miss that is heard of takes the lock: it is not asked for where nothing comes of it.
#[test]
fn who_does_not_say_otherwise_hears_of_misses() {
    let ours: [Box<dyn EvictionPolicy>; 6] = [
        Box::new(Lru::new()),
        Box::new(Lfu::new()),
        Box::new(Fifo::new()),
        Box::new(Random::seeded(9)),
        Box::new(NoEviction::new()),
        Box::new(Sieve::new()),
    ];
    for policy in ours {
        assert!(!policy.hears_misses());
        assert!(!Box::new(policy).hears_misses(), "a box says what is in it");
    }
    assert!(Clock::default().hears_misses());
    assert!(Box::new(Clock::default()).hears_misses());
}

#[test]
fn an_entry_hit_once_gets_a_second_chance_from_a_clock() {
    let mut segment = Segment::new(Clock::default());
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
        apply(&mut segment, &op, true);
        segment.check(true);
    }
}

#[test]
#[should_panic(expected = "law 9")]
fn the_suite_sees_an_entry_that_loses_its_place() {
    let mut segment = Segment::new(Stale::default());
    for _ in 0..2 {
        apply(&mut segment, &Op::Insert { weight: 1, deadline: 1 }, true);
    }
    apply(&mut segment, &Op::Relocate { pick: 1, weight: 1 }, true);
    segment.check(true);
    apply(&mut segment, &Op::Relocate { pick: 0, weight: 1 }, true);
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
