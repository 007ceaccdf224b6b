//! The engine as a whole: its parts stay in step, whatever is written, expires, or panics.

use super::code::Code;
use super::slab::Keeper;
use super::*;
use crate::error::Reason;
use crate::observe::Cause;
use crate::policy::{EvictionPolicy, Fifo, Hears, HitCounters, Lfu, Lru, Meta, NoEviction, Random};
use crate::policy::{SampledLfu, Sieve, Slot, SoonestDeadline, Victim, Volatile};
use crate::sync::{AtomicU64, Ordering};
use crate::time::{Clock, ManualClock, NEVER, Timer};
use proptest::prelude::*;
use std::time::Duration;

mod limbo;
mod outgoing;
mod policies;
mod room;

type Small = Engine<u64, u64, u32>;

impl<K: Eq, V, F> Segment<'_, K, V, F> {
    /// Checks that slab, index, policy, wheel and weight describe the same entries. `hash` is what keys are found by.
    pub(crate) fn assert_valid(&self, hash: impl Fn(&K) -> u64) {
        let (mut weighing, mut weight) = (0, 0);
        for (slot, code, heavy) in self.residents() {
            let entry = self.entry(slot).unwrap();
            assert_eq!(
                self.find(hash(&entry.key), &entry.key),
                Some(slot),
                "the index knows {slot:?}"
            );
            assert_eq!(Code::new(hash(&entry.key)), code);
            weight += heavy;
            weighing += usize::from(heavy != 0);
        }
        assert_eq!(weight, self.weight(), "the weight is the sum of the residents'");
        self.assert_parts_valid(weighing);
    }
}

fn engine<P: EvictionPolicy + 'static>(
    segments: usize,
    capacity: u64,
    make: impl Fn() -> P + Send + Sync + 'static,
) -> Small {
    let make: Make = Arc::new(move || Box::new(make()));
    Engine::new(segments, capacity, None, plan(make))
}

/// By a clock that nobody moves.
fn plan(make: Make) -> Plan {
    Plan { make, clock: Arc::new(ManualClock::new()), grace: None }
}

fn for_ever() -> Lifetime {
    Lifetime { live: Some(NEVER), idle: Some(NEVER) }
}

fn write_of(key: u64, value: u64, when: When<'_, u32>) -> Write<'_, u64, u64, u32> {
    Write {
        entry: Entry { key, value },
        hash: crate::hash::mix(key),
        weight: 1,
        lifetime: for_ever(),
        terms: None,
        when,
        guard: None,
    }
}

/// Everything that left, and why; it goes into limbo.
fn causes(engine: &Small, out: &mut Outgoing<u64, u64, u32>) -> Vec<Cause> {
    let left = out.take_departed();
    let causes = left.iter().map(|left| left.cause).collect();
    engine.give_up(left, out);
    engine.have_grace(out);
    drop(out.take_dead());
    causes
}

/// What became of a write: the value that it replaced, or why it was not stored.
#[derive(Debug, PartialEq, Eq)]
enum Done {
    Stored(Option<u64>),
    Refused(Option<Reason>),
}

/// The same, and what left.
type Put = (Done, Vec<Cause>);

fn put(engine: &Small, key: u64, weight: u64, live: u64, now: u64) -> Put {
    put_by(engine, key, weight, live, &|| now)
}

fn put_by(engine: &Small, key: u64, weight: u64, live: u64, clock: &dyn Fn() -> u64) -> Put {
    let mut out = Outgoing::new(true);
    let pin = epoch::pin();
    let write = Write {
        weight,
        lifetime: Lifetime { live: Some(live), idle: Some(NEVER) },
        guard: Some(pin.guard()),
        ..write_of(key, weight, When::Always)
    };
    let written = match engine.write(write, clock, &mut out) {
        Written::Stored { old, .. } => Done::Stored(old.map(|found| found.entry.value)),
        Written::NotMet { .. } => Done::Refused(None),
        Written::Refused { reason, .. } => Done::Refused(Some(reason)),
    };
    (written, causes(engine, &mut out))
}

fn read(engine: &Small, key: u64, now: u64) -> Option<u64> {
    let clock = ManualClock::new();
    clock.advance(Duration::from_nanos(now));
    let clock: Arc<dyn Clock> = Arc::new(clock);
    let pin = epoch::pin();
    let hash = crate::hash::mix(key);
    let found = engine.read(pin.guard(), hash, &key, |shared, found| {
        shared.deadlines.outlive(found.slot, Timer::new(&clock), NEVER).is_some()
    })?;
    Some(found.entry.value)
}

fn delete(engine: &Small, key: u64) {
    delete_by(engine, key, &mut Outgoing::new(false));
}

fn delete_by(engine: &Small, key: u64, out: &mut Outgoing<u64, u64, u32>) {
    let hash = crate::hash::mix(key);
    let mut segment = engine.lock(hash);
    if let Some(slot) = segment.find(hash, &key) {
        segment.detach(slot, Cause::Deleted, out);
    }
    segment.tidy(out);
    drop(segment);
    engine.give_back(out);
}

fn assert_valid(engine: &Small) {
    let mut weight = 0;
    for stripe in engine.stripes() {
        let segment = stripe.lock();
        segment.assert_valid(|&key| crate::hash::mix(key));
        weight += segment.weight();
        drop(segment);
        assert_eq!(stripe.weight(), stripe.lock().weight());
    }
    assert_eq!(engine.budget.used(), weight, "nothing stays reserved");
    assert!(weight <= engine.budget.capacity());
}

proptest! {
    #[test]
    fn the_parts_stay_in_step(
        policy in 0..9_u8,
        segments in 0..3_u32,
        ops in prop::collection::vec((0..20_u8, 0..60_u64, 0..12_u64), 1..250),
    ) {
        let make: Make = Arc::new(move || match policy {
            0 => Box::new(Lru::new()),
            1 => Box::new(Lfu::new()),
            2 => Box::new(Fifo::new()),
            3 => Box::new(Random::seeded(3)),
            4 => Box::new(Sieve::new()),
            5 => Box::new(Volatile::new(Lru::new())),
            6 => Box::new(SoonestDeadline::new()),
            7 => Box::new(SampledLfu::new()),
            _ => Box::new(NoEviction::new()),
        });
        let engine: Small = Engine::new(1 << segments, 40, Some(40), plan(make));
        let mut now = 0;
        for (op, key, n) in ops {
            match op {
                0..8 => drop(put(&engine, key, n, NEVER, now)),
                8..12 => drop(put(&engine, key, 1, (n + 1) << 30, now)),
                12..15 => {
                    read(&engine, key, now);
                }
                15 => delete(&engine, key),
                16 => now += n << 30,
                17 => drop(engine.set_capacity(n * 8, &|| now, &mut Outgoing::new(false))),
                18 => drop(put(&engine, key, n * 4, NEVER, now)),
                _ => {
                    let mut out = Outgoing::new(false);
                    let hash = crate::hash::mix(key);
                    engine.lock(hash).expire(now, usize::try_from(n).unwrap(), &mut out);
                    engine.give_back(&mut out);
                }
            }
            assert_valid(&engine);
        }
    }
}

#[test]
fn the_entry_being_replaced_is_not_its_own_victim() {
    let engine = engine(1, 10, Fifo::new);
    for key in 0..5 {
        put(&engine, key, 2, NEVER, 0);
    }
    // 0 is the oldest, and grows: 1 and 2 leave for it, and it is now the newest.
    let (written, causes) = put(&engine, 0, 5, NEVER, 0);
    assert_eq!(written, Done::Stored(Some(2)));
    assert_eq!(causes, [Cause::Evicted, Cause::Evicted, Cause::Replaced]);
    let (_, causes) = put(&engine, 9, 4, NEVER, 0);
    assert_eq!(causes, [Cause::Evicted, Cause::Evicted], "3 and 4 leave before 0");
    assert_valid(&engine);
}

#[test]
fn a_single_segment_asks_nobody_however_poor() {
    let engine = engine(1, 10, Fifo::new);
    put(&engine, 0, 3, NEVER, 0);
    put(&engine, 1, 3, NEVER, 0);
    assert_eq!(put(&engine, 0, 9, NEVER, 0).1, [Cause::Evicted, Cause::Replaced]);
    assert_valid(&engine);
}

#[test]
fn what_can_never_fit_pushes_nobody_out() {
    let engine = engine(1, 10, Fifo::new);
    put(&engine, 0, 10, NEVER, 0);
    let (written, causes) = put(&engine, 1, 11, NEVER, 0);
    assert_eq!(written, Done::Refused(Some(Reason::TooHeavy)));
    assert_eq!(causes, []);
    assert_valid(&engine);
}

#[test]
fn a_heavy_write_gathers_from_every_segment() {
    let engine = engine(8, 1000, Lru::new);
    for key in 0..1000 {
        put(&engine, key, 1, NEVER, 0);
    }
    let (written, causes) = put(&engine, 5000, 990, NEVER, 0);
    assert_eq!(written, Done::Stored(None));
    assert!((990..=1000).contains(&causes.len()), "{}", causes.len());
    assert_valid(&engine);
    let (written, _) = put(&engine, 5000, 1001, NEVER, 0);
    assert_eq!(written, Done::Refused(Some(Reason::TooHeavy)));
    assert!(engine.lock(crate::hash::mix(5000)).find(crate::hash::mix(5000), &5000).is_none());
    assert_valid(&engine);
}

#[test]
fn a_heavy_update_takes_no_more_than_it_lacks() {
    let engine = engine(8, 1000, Lru::new);
    put(&engine, 5000, 500, NEVER, 0);
    let home = |key| crate::hash::mix(key) >> 61;
    for key in (0..).filter(|&key| home(key) != home(5000)).take(500) {
        put(&engine, key, 1, NEVER, 0);
    }
    // Its own segment has it alone: others must give up 10.
    let (written, causes) = put(&engine, 5000, 510, NEVER, 0);
    assert!(matches!(written, Done::Stored(Some(_))));
    let evicted = causes.iter().filter(|&&cause| cause == Cause::Evicted).count();
    assert_eq!(evicted, 10);
    assert_valid(&engine);
}

#[test]
fn without_deadlines_no_clock_is_read() {
    let engine = engine(2, 10, Lru::new);
    let never = || panic!("no entry has a deadline");
    let mut out = Outgoing::new(true);
    for key in 0..20 {
        let weight = if key == 10 { 9 } else { 1 };
        engine.write(Write { weight, ..write_of(key, key, When::Always) }, &never, &mut out);
    }
    assert!(engine.set_capacity(2, &never, &mut out));
    assert!(engine.stripes().all(|stripe| !stripe.lock().expires()));
    // The first deadline changes that.
    let (now, hash) = (1 << 40, crate::hash::mix(30));
    put(&engine, 30, 1, 1 << 30, now);
    assert_eq!(engine.stripes().filter(|stripe| stripe.lock().expires()).count(), 1);
    assert!(engine.lock(hash).find_live(hash, &30, now).is_some());
    assert!(engine.lock(hash).find_live(hash, &30, now + (1 << 30)).is_none());
}

#[test]
fn where_enough_is_free_nothing_leaves() {
    let engine = engine(2, 10, Lru::new);
    (0..4).for_each(|key| drop(put(&engine, key, 1, 1 << 30, 0)));
    let mut out = Outgoing::new(true);
    assert!(engine.set_capacity(4, &|| 1 << 40, &mut out));
    assert_eq!(causes(&engine, &mut out), [], "the expired may wait");
    assert!(engine.set_capacity(3, &|| 1 << 40, &mut out));
    let causes = causes(&engine, &mut out);
    assert!(!causes.is_empty() && causes.iter().all(|&cause| cause == Cause::Expired));
    assert!(engine.set_capacity(7, &|| 1 << 40, &mut out));
    assert_eq!(engine.budget.capacity(), 7);
    assert_valid(&engine);
}

#[test]
fn writes_that_contend_for_all_the_room_all_end() {
    let engine = engine(4, 100, Lru::new);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let engine = &engine;
            scope.spawn(move || {
                for i in 0..300 {
                    let weight = [100, 60, 1, 30][usize::try_from((i + thread) % 4).unwrap()];
                    let (written, _) = put(engine, i % 17 + thread * 100, weight, NEVER, 0);
                    assert!(matches!(written, Done::Stored(_)));
                    assert!(engine.budget.used() <= 100);
                }
            });
        }
    });
    assert_valid(&engine);
}

#[test]
fn a_million_that_expire_at_once_leave_in_slices() {
    let engine = engine(1, 10_000, Lru::new);
    for key in 0..10_000 {
        put(&engine, key, 1, 1 << 30, 0);
    }
    let later = 1 << 40;
    let (_, causes) = put(&engine, 20_000, 1, NEVER, later);
    assert!(causes.len() <= SLICE + IN_PASSING, "{}", causes.len());
    assert!(causes.iter().all(|&cause| cause == Cause::Expired));
    assert_valid(&engine);
}

#[test]
fn what_has_expired_makes_room_before_what_lives() {
    for segments in [1, 8] {
        let engine = engine(segments, 400, NoEviction::new);
        for key in 0..400 {
            let live = if key % 2 == 0 { 1 << 30 } else { NEVER };
            put(&engine, key, 1, live, 0);
        }
        let later = 1 << 40;
        assert!(engine.set_capacity(300, &|| later, &mut Outgoing::new(false)), "half has expired");
        assert_valid(&engine);
        let (written, _) = put(&engine, 1000, 100, NEVER, later);
        assert!(matches!(written, Done::Stored(_)));
        assert_eq!(engine.budget.used(), 300);
        assert!(!engine.set_capacity(299, &|| later, &mut Outgoing::new(false)), "the rest lives");
        assert_valid(&engine);
    }
}

#[test]
fn conditions_are_judged_where_the_write_happens() {
    let engine = engine(1, 10, Lru::new);
    let mut out = Outgoing::new(false);
    let hash = crate::hash::mix(1);
    let mut run = |value, when| {
        matches!(engine.write(write_of(1, value, when), &|| 0, &mut out), Written::Stored { .. })
    };
    assert!(!run(1, When::Load(&5)));
    assert!(run(2, When::Current(None)));
    assert!(!run(3, When::Current(None)));
    assert!(!run(4, When::Absent));
    let seen = engine.lock(hash).find(hash, &1);
    assert!(run(5, When::Current(seen)));
    assert!(!run(6, When::Current(seen)), "5 is there now");
    delete(&engine, 1);
    assert!(!run(7, When::Current(seen)), "nothing is there now");
    engine.lock(hash).pending().add_load(hash, 1, 9);
    assert!(!run(8, When::Load(&5)), "another load");
    assert!(run(9, When::Load(&9)));
    assert!(!run(10, When::Load(&9)), "it has landed");
    engine.lock(hash).pending().add_load(hash, 1, 9);
    assert!(run(11, When::Always));
    assert!(!run(12, When::Load(&9)), "11 overtook it");
}

#[test]
fn reentry_is_refused_and_the_lock_is_free_again() {
    let engine = engine(1, 10, Lru::new);
    let held = engine.lock(0);
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(engine.lock(0))));
    let tried = engine.stripes().next().unwrap();
    let tried =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tried.try_lock().is_some()));
    drop(held);
    assert!(again.is_err() && tried.is_err());
    drop(engine.lock(0));
    assert!(engine.stripes().next().unwrap().try_lock().is_some());
}

#[test]
fn a_thread_has_one_turn() {
    let engine = engine(2, 10, Lru::new);
    let turn = engine.turn(0);
    assert!(turn.is_some());
    assert!(engine.turn(u64::MAX).is_none());
    drop(turn);
    assert!(engine.turn(0).is_some());
}

/// Looks for 3. Without the lock it always comes too late: what it looks at has been moved.
struct TooLate<'a>(&'a Small);

impl equivalent::Equivalent<u64> for TooLate<'_> {
    fn equivalent(&self, key: &u64) -> bool {
        if stripe::is_locked() {
            return *key == 3;
        }
        let mut out = Outgoing::new(false);
        let mut segment = self.0.lock(0);
        if let Some(slot) = segment.find(0, &0) {
            segment.detach(slot, Cause::Deleted, &mut out);
        }
        drop(segment);
        self.0.give_back(&mut out);
        put_at_0(self.0, 0);
        false
    }
}

/// Keys whose hash is 0 share a chain.
fn put_at_0(engine: &Small, key: u64) {
    let mut out = Outgoing::new(false);
    let write = Write { hash: 0, ..write_of(key, key, When::Always) };
    engine.write(write, &|| 0, &mut out);
    engine.give_back(&mut out);
}

#[test]
fn who_cannot_prove_a_miss_asks_under_the_lock() {
    let engine = engine(1, 100, Fifo::new);
    (0..12).for_each(|key| put_at_0(&engine, key));
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new());
    let pin = epoch::pin();
    let found = engine.read(pin.guard(), 0, &TooLate(&engine), |shared, found| {
        shared.deadlines.outlive(found.slot, Timer::new(&clock), NEVER).is_some()
    });
    assert_eq!(found.map(|found| found.entry.value), Some(3));
}

#[test]
fn where_no_slot_is_left_a_write_is_refused() {
    let engine = engine(1, 100, Lru::new);
    put(&engine, 0, 1, NEVER, 0);
    let was = engine.lock(0).state.keeper.set_end(Keeper::MOST);
    let (newcomer, causes) = put(&engine, 1, 1, NEVER, 0);
    assert_eq!((newcomer, causes), (Done::Refused(Some(Reason::Full)), vec![]));
    // A new value needs a slot of its own. What it was to replace is out of date.
    let (update, causes) = put(&engine, 0, 1, NEVER, 0);
    assert_eq!((update, causes), (Done::Refused(Some(Reason::Full)), vec![Cause::Deleted]));
    engine.lock(0).state.keeper.set_end(was);
    assert!(matches!(put(&engine, 1, 1, NEVER, 0).0, Done::Stored(None)));
    assert_valid(&engine);
}

#[test]
fn what_is_left_is_drained_from_all_segments() {
    let mut engine = engine(4, 1_000, Lru::new);
    (0..300).for_each(|key| drop(put(&engine, key, 1, NEVER, 0)));
    (0..20).for_each(|key| delete(&engine, key));
    let waiting: usize = engine.stripes().map(|stripe| stripe.lock().limbo().0).sum();
    let mut keys = Vec::new();
    for _ in 0..100 {
        let Some(dead) = engine.drain(64) else { break };
        assert!((1..=64).contains(&dead.len()));
        keys.extend(dead.into_iter().map(|entry| entry.key));
    }
    assert_eq!(keys.len(), 280 + waiting);
    keys.retain(|&key| key >= 20);
    keys.sort_unstable();
    assert!(keys.into_iter().eq(20..300));
}
