//! Every policy obeys the laws; and the suite sees one that does not.

mod calls;

use super::history::Op;
use super::*;
use crate::observe::Cause;
use crate::policy::{
    Adaptive, AdaptiveReplacement, Clock, Fifo, Hears, Heat, HitCounters, Lfu, Lirs, Lru,
    NoEviction, Random, S3Fifo, SampledLfu, SampledLru, Sieve, Slru, SoonestDeadline, TwoQ,
    Volatile, WTinyLfu, Walk,
};
use std::collections::VecDeque;
use std::fmt::Debug;

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
    check(Lru::new);
    check(Lfu::new);
    check(Fifo::new);
    check(|| Random::seeded(9));
    check_where(NoEviction::new, |_| false);
    check(Sieve::new);
    check(Ring::default);
    check(Clock::new);
    check(|| Clock::counting(3));
    check(S3Fifo::new);
    check(Slru::new);
    check(TwoQ::new);
    check(AdaptiveReplacement::new);
    check(Lirs::new);
    check(WTinyLfu::new);
    check(|| Adaptive::seeded(9));
    check(|| SampledLru::seeded(9));
    check(|| SampledLfu::seeded(9));
    check_where(|| Volatile::new(SampledLru::new()), MORTAL);
    check_where(SoonestDeadline::new, MORTAL);
    check_where(|| Volatile::new(Lru::new()), MORTAL);
    check_where(|| Volatile::new(Lfu::new()), MORTAL);
    check_where(|| Volatile::new(Random::seeded(9)), MORTAL);
    check_where(|| Volatile::new(Sieve::new()), MORTAL);
    check_where(|| Volatile::new(NoEviction::new()), |_| false);
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
    for op in [Op::Insert { meta: CALM }, Op::Clear, Op::Ask { newcomer: Some(CALM) }] {
        op.apply(&mut segment, ANY).unwrap();
        segment.check(ANY);
    }
}

#[test]
#[should_panic(expected = "law 9")]
fn the_suite_sees_an_entry_that_loses_its_place() {
    let mut segment = Segment::new(Stale::default());
    for _ in 0..2 {
        Op::Insert { meta: CALM }.apply(&mut segment, ANY).unwrap();
    }
    Op::Relocate { pick: 1 }.apply(&mut segment, ANY).unwrap();
    segment.check(ANY);
    Op::Relocate { pick: 0 }.apply(&mut segment, ANY).unwrap();
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

/// FIFO with one fault.
struct Faulty(Fifo, Fault);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    NamesAnyone,
    LosesItsWay,
    RefusesNobody,
    ChangesItsMind(u32),
    GivesUpTheNewest,
    GivesUpNobody,
    ForgetsOne,
    IsNotReversed,
    Miscounts,
    IsAlwaysEmpty,
    LosesAPlace,
    TakesADeadlineForAUse,
    Panics,
}

impl EvictionPolicy for Faulty {
    fn hears(&self) -> Hears {
        Hears::InOrder
    }
    fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.0.insert(slot, meta);
        assert!(self.1 != Fault::Panics || self.len() < 3, "three are a crowd");
    }
    fn relocate(&mut self, from: Slot, to: Slot, meta: &Meta) {
        match self.1 {
            Fault::LosesAPlace => {
                self.remove(from, Cause::Replaced);
                self.insert(to, meta);
            }
            _ => self.0.relocate(from, to, meta),
        }
    }
    fn reschedule(&mut self, slot: Slot, meta: &Meta) {
        if self.1 == Fault::TakesADeadlineForAUse {
            let other = self.coldest().find(|&other| other != slot);
            if let Some(other) = other {
                self.remove(other, Cause::Replaced);
                self.insert(other, meta);
            }
        }
    }
    fn remove(&mut self, slot: Slot, cause: Cause) {
        self.0.remove(slot, cause);
    }
    fn victim(&mut self, newcomer: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        let newest = self.0.hottest().next().map_or(Victim::None, Victim::Entry);
        match &mut self.1 {
            Fault::NamesAnyone => return Victim::Entry(Slot::new(7)),
            Fault::RefusesNobody if self.0.len() > 1 => return Victim::Newcomer,
            Fault::ChangesItsMind(asked) => {
                *asked += 1;
                if *asked % 2 == 0 {
                    return newest;
                }
            }
            Fault::GivesUpTheNewest => return newest,
            Fault::GivesUpNobody => return Victim::None,
            _ => {}
        }
        self.0.victim(newcomer, hits)
    }
    fn len(&self) -> usize {
        self.0.len() - usize::from(self.1 == Fault::Miscounts && self.0.len() == 4)
    }
    fn is_empty(&self) -> bool {
        self.1 == Fault::IsAlwaysEmpty || self.0.is_empty()
    }
    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        let forgotten = usize::from(self.1 == Fault::ForgetsOne && self.0.len() == 2);
        Box::new(self.0.coldest().skip(forgotten))
    }
    fn coldest_after(&self, after: Option<Slot>) -> Option<Walk<'_>> {
        let skipped = usize::from(self.1 == Fault::LosesItsWay && after.is_some());
        self.0.coldest_after(after).map(|walk| Box::new(walk.skip(skipped)) as Walk<'_>)
    }
    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        let kept = self.0.len() - usize::from(self.1 == Fault::ForgetsOne && self.0.len() == 2);
        match self.1 {
            Fault::IsNotReversed => self.0.coldest(),
            _ => Box::new(self.0.hottest().take(kept)),
        }
    }
}

/// What the suite says of a policy.
fn verdict<P: EvictionPolicy + 'static>(make: impl Fn() -> P, may_leave: MayLeave) -> String {
    let checked = catch_unwind(AssertUnwindSafe(|| check_where(make, may_leave)));
    words(&*checked.expect_err("the suite sees it")).to_owned()
}

#[test]
fn the_suite_sees_each_fault_and_shows_it_in_a_few_calls() {
    let faults = [
        (Fault::NamesAnyone, "law 1: Slot(7) is no resident"),
        (Fault::RefusesNobody, "law 1: there is no newcomer"),
        (Fault::ChangesItsMind(0), "law 2: asked again, Entry("),
        (Fault::GivesUpTheNewest, "law 3: the victim is Slot("),
        (Fault::GivesUpNobody, "law 3: nobody is to leave, and Some(Slot(0)) may"),
        (Fault::ForgetsOne, "law 3: coldest is [Slot(1)], and those that may"),
        (Fault::IsNotReversed, "law 3: hottest, [Slot(0), Slot(1)"),
        (Fault::Miscounts, "law 4: len is 3, and 4 are resident"),
        (Fault::IsAlwaysEmpty, "law 4: is_empty is true, and len is 1"),
        (Fault::LosesAPlace, "law 9: Slot(3) stands where Slot(1) stood"),
        (Fault::TakesADeadlineForAUse, "a new deadline is not a use"),
        (Fault::LosesItsWay, "law 10: behind Some(Slot(0)) come [Slot(2)], and"),
        (Fault::Panics, "the policy panicked: three are a crowd"),
    ];
    for (fault, says) in faults {
        let text = verdict(|| Faulty(Fifo::new(), fault), ANY);
        assert!(text.starts_with(says), "{fault:?}: {text}");
        assert!(text.contains("\n  1. resize(100)"), "{fault:?}: {text}");
        let calls = text.lines().count() - 2;
        assert!(calls <= 6, "{fault:?}, {calls} calls: {text}");
    }
}

/// The text in the documentation is what the suite says.
#[test]
fn the_shortest_history_is_told_call_by_call() {
    let text = verdict(|| Faulty(Fifo::new(), Fault::LosesAPlace), ANY);
    let shown: String = text.lines().map(|line| format!("//! {line}\n")).collect();
    let page = include_str!("../laws.rs");
    assert!(page.contains(&format!("//! ```text\n{shown}//! ```\n")), "it says\n{shown}");
}

#[test]
fn who_may_leave_is_part_of_the_law() {
    let text = verdict(Fifo::new, MORTAL);
    assert!(text.starts_with("law 3: coldest is [Slot(0)"), "{text}");
    assert!(text.contains(", and those that may leave are []\n"), "{text}");
    let text = verdict(SoonestDeadline::new, ANY);
    assert!(text.starts_with("law 3: coldest is [], and those that may leave are ["), "{text}");
}

/// What is drawn reaches everything: each kind of step, and each cause.
#[test]
fn histories_are_the_same_each_time_and_have_everything_in_them() {
    let all = || {
        let mut draw = history::Draw::new();
        (0..HISTORIES).flat_map(|_| history::draw(&mut draw)).collect::<Vec<_>>()
    };
    let text = |op: Op| format!("{op:?}");
    let steps: Vec<_> = all().into_iter().map(text).collect();
    assert!(all().into_iter().map(text).eq(steps.iter().cloned()));
    let has = |what: &str| steps.iter().any(|step| step.contains(what));
    for kind in ["Insert", "Admit", "Update", "Relocate", "Replace", "Reschedule", "Hit", "Miss"] {
        assert!(has(kind), "{kind}");
    }
    for kind in ["Remove", "Ask { newcomer: None", "Ask { newcomer: Some", "Evict", "Resize"] {
        assert!(has(kind), "{kind}");
    }
    for cause in Cause::ALL {
        assert!(has(&format!("cause: {cause:?}")), "{cause:?}");
    }
    assert!(has("Clear") && has("deadline: 3 }") && has("deadline: 18446744073709551615"));
    assert!(steps.len() > 100 * HISTORIES);
}
