//! The laws of [`EvictionPolicy`], as one suite for every policy.

use super::{EvictionPolicy, Hears, HitCounters, Meta, Slot, Victim};
use crate::observe::Cause;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use std::collections::VecDeque;
use std::fmt::Debug;

mod tests;

/// An entry that nothing is special about.
pub(super) const CALM: Meta = Meta::new(0, 1, u64::MAX);

/// Which entries a policy may give up. What is false for one is in no order.
pub(super) type MayLeave = fn(&Meta) -> bool;

/// A segment with no keys and no values. It hands out slots and counts hits as the engine does, and keeps the engine's
/// side of the laws.
pub(super) struct Segment<P> {
    pub(super) policy: P,
    pub(super) hits: HitCounters<'static>,
    /// What the policy was last told of each.
    residents: Vec<(Slot, Meta)>,
    free: Vec<Slot>,
    /// The entry used last: another hit on it need not be told under [`Hears::Recency`], and here never is.
    last: Option<Slot>,
}

impl<P: EvictionPolicy> Segment<P> {
    pub(super) fn new(mut policy: P) -> Self {
        policy.resize(100);
        let hits = match policy.hears() {
            Hears::Counter(max) => HitCounters::new(max),
            Hears::Stamp(touch) => HitCounters::stamped(touch),
            _ => HitCounters::new(0),
        };
        Self { policy, hits, residents: Vec::new(), free: Vec::new(), last: None }
    }

    /// Any resident entry, chosen by `pick`.
    fn pick(&self, pick: usize) -> Option<(Slot, Meta)> {
        self.residents.get(pick.checked_rem(self.residents.len())?).copied()
    }

    /// The slot freed last, or else one that was never used.
    fn vacant(&mut self) -> Slot {
        self.free.pop().unwrap_or_else(|| Slot::new(self.residents.len()))
    }

    pub(super) fn insert(&mut self, meta: &Meta) -> Slot {
        let slot = self.vacant();
        self.hits.publish(slot);
        self.policy.insert(slot, meta);
        self.residents.push((slot, *meta));
        self.last = Some(slot);
        slot
    }

    pub(super) fn update(&mut self, slot: Slot, meta: &Meta) {
        if let Hears::Stamp(_) = self.policy.hears() {
            self.hits.record(slot); // a write is a use
        }
        self.policy.update(slot, meta);
        self.know(slot, meta);
        self.last = Some(slot);
    }

    pub(super) fn reschedule(&mut self, slot: Slot, meta: &Meta) {
        self.policy.reschedule(slot, meta);
        self.know(slot, meta);
        // It may have come into the order by this, as the last used.
        self.last = None;
    }

    fn know(&mut self, slot: Slot, meta: &Meta) {
        self.residents.iter_mut().filter(|row| row.0 == slot).for_each(|row| row.1 = *meta);
    }

    /// Moves an entry to another slot, and says to which.
    pub(super) fn relocate(&mut self, from: Slot, meta: &Meta) -> Slot {
        let to = self.vacant();
        self.hits.relocate(from, to);
        self.policy.relocate(from, to, meta);
        let slots = self.residents.iter_mut().map(|row| &mut row.0).chain(&mut self.last);
        slots.filter(|slot| **slot == from).for_each(|slot| *slot = to);
        self.know(to, meta);
        self.free.push(from);
        to
    }

    pub(super) fn hit(&mut self, slot: Slot) {
        match self.policy.hears() {
            Hears::Nothing => {}
            Hears::Counter(_) | Hears::Stamp(_) => self.hits.record(slot),
            Hears::Recency if self.last == Some(slot) => {}
            Hears::InOrder | Hears::Recency => self.policy.hit(slot),
        }
        self.last = Some(slot);
    }

    pub(super) fn remove(&mut self, slot: Slot, cause: Cause) {
        self.policy.remove(slot, cause);
        self.residents.retain(|row| row.0 != slot);
        self.free.push(slot);
        self.last = self.last.filter(|&last| last != slot);
    }

    pub(super) fn victim(&mut self, newcomer: Option<&Meta>) -> Victim {
        self.policy.victim(newcomer, &mut self.hits)
    }

    /// The residents that the policy may give up.
    fn evictable(&self, may_leave: MayLeave) -> impl Iterator<Item = Slot> + '_ {
        self.residents.iter().filter(move |row| may_leave(&row.1)).map(|row| row.0)
    }

    /// Holds the policy to every law that can be seen at this moment.
    pub(super) fn check(&mut self, may_leave: MayLeave) {
        self.policy.assert_valid();
        assert_eq!(self.policy.len(), self.residents.len(), "law 4: len");
        assert_eq!(self.policy.is_empty(), self.residents.is_empty(), "law 4: is_empty");
        let coldest: Vec<_> = self.policy.coldest().collect();
        let mut reversed: Vec<_> = self.policy.hottest().collect();
        reversed.reverse();
        assert_eq!(coldest, reversed, "law 3: hottest is coldest in reverse");
        assert_eq!(
            sorted(coldest),
            sorted(self.evictable(may_leave).collect()),
            "law 3: coldest names every entry that may leave, once"
        );
    }

    /// Asks for a victim, and holds the answer to the laws.
    fn ask(&mut self, newcomer: Option<&Meta>, may_leave: MayLeave) -> Option<Slot> {
        let victim = self.victim(newcomer);
        assert_eq!(self.victim(newcomer), victim, "law 2: asked again, answers the same");
        match victim {
            Victim::Entry(slot) => {
                let resident = self.evictable(may_leave).any(|resident| resident == slot);
                assert!(resident, "law 1: {slot:?} is no resident that may leave");
                assert_eq!(
                    self.policy.coldest().next(),
                    Some(slot),
                    "law 3: the victim is the coldest"
                );
                return Some(slot);
            }
            Victim::Newcomer => assert!(newcomer.is_some(), "law 1: there is no newcomer"),
            Victim::None => {
                assert_eq!(self.evictable(may_leave).next(), None, "law 3: somebody must leave");
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
    Update { pick: usize, weight: u64, deadline: u64 },
    Relocate { pick: usize },
    Replace { pick: usize, weight: u64, deadline: u64 },
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
    // Of three entries one is permanent, and deadlines are often equal.
    let deadline = || prop_oneof![Just(u64::MAX), 0..9_u64, any::<u64>()];
    let write = || (pick(), 1..100_u64, deadline());
    prop_oneof![
        6 => (1..100_u64, deadline()).prop_map(|(weight, deadline)| Op::Insert { weight, deadline }),
        2 => write().prop_map(|(pick, weight, deadline)| Op::Update { pick, weight, deadline }),
        2 => pick().prop_map(|pick| Op::Relocate { pick }),
        2 => write().prop_map(|(pick, weight, deadline)| Op::Replace { pick, weight, deadline }),
        1 => (pick(), deadline()).prop_map(|(pick, deadline)| Op::Reschedule { pick, deadline }),
        8 => pick().prop_map(|pick| Op::Hit { pick }),
        1 => any::<u64>().prop_map(|hash| Op::Miss { hash }),
        2 => (pick(), 0..Cause::ALL.len()).prop_map(|(pick, cause)| Op::Remove { pick, cause }),
        1 => any::<bool>().prop_map(|newcomer| Op::Ask { newcomer }),
        3 => any::<bool>().prop_map(|newcomer| Op::Evict { newcomer }),
        1 => any::<u64>().prop_map(|share| Op::Resize { share }),
        1 => Just(Op::Clear),
    ]
}

fn apply<P: EvictionPolicy>(segment: &mut Segment<P>, op: &Op, may_leave: MayLeave) {
    let newcomer = |wanted: bool| wanted.then_some(&CALM);
    match *op {
        Op::Insert { weight, deadline } => {
            segment.insert(&Meta::new(weight ^ deadline, weight, deadline));
        }
        Op::Update { pick, weight, deadline } => {
            if let Some((slot, _)) = segment.pick(pick) {
                segment.update(slot, &Meta::new(pick as u64, weight, deadline));
            }
        }
        Op::Relocate { pick } => {
            if let Some((from, meta)) = segment.pick(pick) {
                let mut expected: Vec<_> = segment.policy.coldest().collect();
                let to =
                    segment.relocate(from, &Meta::new(pick as u64, meta.weight, meta.deadline));
                expected.iter_mut().filter(|slot| **slot == from).for_each(|slot| *slot = to);
                let order: Vec<_> = segment.policy.coldest().collect();
                assert_eq!(order, expected, "law 9: {to:?} stands where {from:?} stood");
            }
        }
        Op::Replace { pick, weight, deadline } => {
            if let Some((from, _)) = segment.pick(pick) {
                let meta = Meta::new(pick as u64, weight, deadline);
                let to = segment.relocate(from, &meta);
                segment.update(to, &meta);
            }
        }
        Op::Reschedule { pick, deadline } => {
            if let Some((slot, meta)) = segment.pick(pick) {
                let fresh = Meta::new(pick as u64, 1, deadline);
                let before: Vec<_> = segment.policy.coldest().collect();
                segment.reschedule(slot, &fresh);
                // Where the deadline decides, the entry itself may move, and nobody else.
                let stays = |&other: &Slot| other != slot || deadline == meta.deadline;
                let same =
                    segment.policy.coldest().filter(stays).eq(before.into_iter().filter(stays));
                // Who comes in or goes out may change an order that is drawn.
                let comes_or_goes = may_leave(&meta) != may_leave(&fresh);
                assert!(same || comes_or_goes, "a new deadline is not a use");
            }
        }
        Op::Hit { pick } => {
            if let Some((slot, _)) = segment.pick(pick) {
                segment.hit(slot);
            }
        }
        Op::Miss { hash } => segment.policy.miss(hash),
        Op::Remove { pick, cause } => {
            if let Some((slot, _)) = segment.pick(pick) {
                segment.remove(slot, Cause::ALL[cause]);
            }
        }
        Op::Ask { newcomer: wanted } => {
            segment.ask(newcomer(wanted), may_leave);
        }
        Op::Evict { newcomer: wanted } => {
            if let Some(slot) = segment.ask(newcomer(wanted), may_leave) {
                segment.remove(slot, Cause::Evicted);
            }
        }
        Op::Resize { share } => segment.policy.resize(share),
        Op::Clear => {
            while let Some((slot, _)) = segment.pick(0) {
                segment.remove(slot, Cause::Cleared);
            }
        }
    }
}

/// Runs the suite: the same random operations for every policy, and every law after each of them.
fn obeys<P: EvictionPolicy>(make: impl Fn() -> P, may_leave: MayLeave) {
    let config =
        ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let history = prop::collection::vec(op(), 0..250);
    let law = runner.run(&history, |history| {
        let mut segment = Segment::new(make());
        for op in &history {
            apply(&mut segment, op, may_leave);
            segment.check(may_leave);
        }
        apply(&mut segment, &Op::Clear, may_leave);
        assert_eq!(segment.ask(None, may_leave), None);
        for _ in 0..3 {
            segment.insert(&CALM);
        }
        segment.check(may_leave);
        Ok(())
    });
    if let Err(broken) = law {
        panic!("{broken}");
    }
}

/// The suite for a policy as it is, and as it comes from configuration.
fn obeys_boxed_or_not<P: EvictionPolicy + 'static>(make: impl Fn() -> P, may_leave: MayLeave) {
    obeys(&make, may_leave);
    obeys(|| -> Box<dyn EvictionPolicy> { Box::new(make()) }, may_leave);
}
