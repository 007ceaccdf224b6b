//! The engine as a whole: its parts stay in step, whatever is written, expires, or panics.

use super::index::Code;
use super::room::two_others;
use super::*;
use crate::error::Reason;
use crate::policy::{EvictionPolicy, Fifo, Hears, HitCounters, Lfu, Lru, Meta, NoEviction, Random};
use crate::policy::{Sieve, Slot, Victim};
use crate::sync::{AtomicU64, Ordering};
use crate::time::{Clock, ManualClock, NEVER, Timer};
use proptest::prelude::*;
use std::time::Duration;

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
    Engine::new(segments, capacity, None, &make)
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
    let found = engine.read(pin.guard(), hash, &key, Timer(&clock), NEVER)?;
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
        policy in 0..6_u8,
        segments in 0..3_u32,
        ops in prop::collection::vec((0..20_u8, 0..60_u64, 0..12_u64), 1..250),
    ) {
        let make: Make = Arc::new(move || match policy {
            0 => Box::new(Lru::new()),
            1 => Box::new(Lfu::new()),
            2 => Box::new(Fifo::new()),
            3 => Box::new(Random::seeded(3)),
            4 => Box::new(Sieve::new()),
            _ => Box::new(NoEviction::new()),
        });
        let engine: Small = Engine::new(1 << segments, 40, Some(40), &make);
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
fn a_segment_below_its_share_takes_from_a_heavier_one() {
    let engine = engine(4, 400, Lru::new);
    let home = |key: u64| crate::hash::mix(key) >> 62;
    let (mut crowd, mut few) = (0.., 0..);
    let next = |segment: u64, of: &mut std::ops::RangeFrom<u64>| {
        of.by_ref().find(|&key| home(key) == segment).unwrap()
    };
    for segment in [0, 1, 2] {
        for _ in 0..if segment == 0 { 200 } else { 100 } {
            put(&engine, next(segment, &mut crowd), 1, NEVER, 0);
        }
    }
    assert_eq!(engine.budget.used(), 400);
    for _ in 0..300 {
        let (written, causes) = put(&engine, next(3, &mut few), 1, NEVER, 0);
        assert!(matches!(written, Done::Stored(_)));
        assert_eq!(causes, [Cause::Evicted]);
    }
    let weights: Vec<u64> = engine.stripes().map(Stripe::weight).collect();
    assert!(weights[3] >= 75 && weights.iter().all(|&weight| weight > 30), "{weights:?}");
    assert_valid(&engine);
}

const FOUR: usize = 4;

/// Keys whose home, of four, is this one.
fn keys_of(home: usize) -> impl Iterator<Item = u64> {
    (0..100_000).filter(move |&key| crate::hash::mix(key) >> 62 == home as u64)
}

/// Whom a write of this key asks, the first time, the second, and so on.
fn asked_by(key: u64, segments: usize) -> impl Iterator<Item = [usize; 2]> {
    let hash = crate::hash::mix(key);
    let home = usize::try_from(hash >> (64 - segments.ilog2())).unwrap();
    (1..).map(move |asked| two_others(home, segments, crate::hash::mix(hash.wrapping_add(asked))))
}

/// A key of home 0 that asks 1 and 2 first, of four, and then 3 and another.
fn asks_1_and_2_then_3() -> u64 {
    let wanted = |&key: &u64| {
        let mut asked = asked_by(key, FOUR);
        let first = asked.next().unwrap();
        matches!(first, [1, 2] | [2, 1]) && asked.next().unwrap().contains(&3)
    };
    keys_of(0).find(wanted).unwrap()
}

/// Four segments with these weights in each, oldest first. It is full.
fn full(entries: [&[u64]; FOUR]) -> Small {
    let capacity = entries.iter().flat_map(|weights| weights.iter()).sum();
    let engine = engine(FOUR, capacity, Lru::new);
    for (home, weights) in entries.into_iter().enumerate() {
        for (key, &weight) in keys_of(home).skip(1000).zip(weights) {
            put(&engine, key, weight, NEVER, 0);
        }
    }
    engine
}

fn weights<const N: usize>(engine: &Small) -> [u64; N] {
    let weights: Vec<_> = engine.stripes().map(Stripe::weight).collect();
    weights.try_into().unwrap()
}

fn store(engine: &Small, key: u64, weight: u64) -> Vec<Cause> {
    let (written, causes) = put(engine, key, weight, NEVER, 0);
    assert!(matches!(written, Done::Stored(_)));
    assert_valid(engine);
    causes
}

#[test]
fn the_heavier_of_two_others_gives_to_a_poor_home() {
    let key = asks_1_and_2_then_3();
    // The share is 20, and 14 at home are poor; 3 would give if it were asked.
    let engine = full([&[2; 7], &[1; 16], &[1; 20], &[1; 30]]);
    assert_eq!(store(&engine, key, 3), [Cause::Evicted; 3]);
    assert_eq!(weights(&engine), [17, 16, 17, 30]);
    let engine = full([&[2; 7], &[1; 20], &[1; 16], &[1; 30]]);
    assert_eq!(store(&engine, key, 3), [Cause::Evicted; 3]);
    assert_eq!(weights(&engine), [17, 17, 16, 30]);
}

#[test]
fn a_home_with_three_quarters_of_its_share_helps_itself() {
    let engine = full([&[1; 15], &[1; 20], &[1; 20], &[1; 25]]);
    assert_eq!(store(&engine, asks_1_and_2_then_3(), 1), [Cause::Evicted]);
    assert_eq!(weights(&engine), [15, 20, 20, 25]);
}

#[test]
fn a_neighbour_gives_until_it_is_poor_itself() {
    let key = asks_1_and_2_then_3();
    // 16 is two more than poor: the third unit is 3's, the heavier of those that are asked next.
    let engine = full([&[1; 14], &[1; 15], &[1; 16], &[1; 35]]);
    assert_eq!(store(&engine, key, 3), [Cause::Evicted; 3]);
    assert_eq!(weights(&engine), [17, 15, 14, 34]);
    // Poor already: it gives nothing.
    let engine = full([&[1; 14], &[1; 14], &[1; 14], &[1; 38]]);
    assert_eq!(store(&engine, key, 3), [Cause::Evicted; 3]);
    assert_eq!(weights(&engine), [17, 14, 14, 35]);
}

#[test]
fn a_neighbour_gives_a_slice_at_most() {
    // Nobody is poor but home, and 1 and 2 are asked first: a slice is theirs, the rest is 3's.
    let key = asks_1_and_2_then_3();
    let engine = full([&[], &[1; 200], &[1; 280], &[1; 320]]);
    assert_eq!(store(&engine, key, 70), [Cause::Evicted; 70]);
    assert_eq!(weights(&engine), [70, 200, 280 - SLICE as u64, 320 - 6]);
}

#[test]
fn a_neighbour_gives_what_has_expired_first() {
    let key = asks_1_and_2_then_3();
    let engine = engine(FOUR, 80, Lru::new);
    for (home, count) in [(1, 20), (2, 30), (3, 30)] {
        for (i, key) in keys_of(home).skip(1000).take(count).enumerate() {
            let live = if home < 3 && i >= 15 { 1 << 30 } else { NEVER };
            put(&engine, key, 1, live, 0);
        }
    }
    let (written, causes) = put(&engine, key, 4, NEVER, 1 << 40);
    assert!(matches!(written, Done::Stored(_)));
    assert_eq!(causes, [Cause::Expired; 15]);
    assert_eq!(weights(&engine), [4, 20, 15, 30]);
    assert_valid(&engine);
}

/// Of 64 segments all are poor but two: a rich one, which a write asks the `nth` time and not before, and a richer one, which
/// it does not ask until then. What the two have left when the write is done.
fn left_by_a_write_that_asks_the_rich(nth: usize) -> [u64; 2] {
    let home = |key: u64| usize::try_from(crate::hash::mix(key) >> 58).unwrap();
    let asked = |key, times| asked_by(key, 64).take(times).flatten().collect::<Vec<_>>();
    let last = |key| asked_by(key, 64).nth(nth - 1).unwrap()[0];
    let key = (0..100_000).find(|&key| !asked(key, nth - 1).contains(&last(key))).unwrap();
    let others = (0..64).filter(|&at| at != home(key));
    let (rich, asked) = (last(key), asked(key, nth));
    let richer = others.into_iter().find(|at| !asked.contains(at)).unwrap();

    let engine = engine(64, 640, Lru::new);
    for (at, count) in [(rich, 31), (richer, 33)] {
        for key in (0..100_000).filter(|&key| home(key) == at).take(count) {
            put(&engine, key, 10, NEVER, 0);
        }
    }
    assert_eq!(store(&engine, key, 7), [Cause::Evicted]);
    let weights: [u64; 64] = weights(&engine);
    assert_eq!(weights[home(key)], 7);
    [weights[rich], weights[richer]]
}

#[test]
fn a_write_asks_eight_times_and_then_everyone() {
    assert_eq!(left_by_a_write_that_asks_the_rich(8), [300, 330]);
    assert_eq!(left_by_a_write_that_asks_the_rich(9), [310, 320]);
}

#[test]
fn a_neighbour_that_is_busy_is_passed_over() {
    let key = asks_1_and_2_then_3();
    let engine = full([&[1; 10], &[1; 20], &[1; 24], &[1; 26]]);
    // Only a write that went to everyone, and so to 1, would read the clock. It would wait for 2: the clock lets 2 go.
    let deadline = Deadline { hard: 1 << 30, idle: NEVER };
    engine.stripe(1).unwrap().lock().reschedule(0, Slot::new(0), deadline, 0);
    let (locked, wait) = std::sync::mpsc::channel();
    let (held, hold) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let (engine, held) = (&engine, std::cell::Cell::new(Some(held)));
        scope.spawn(move || {
            let guard = engine.stripe(2).map(Stripe::lock);
            locked.send(()).unwrap();
            assert!(hold.recv().is_err(), "the other end is dropped");
            drop(guard);
        });
        wait.recv().unwrap();
        let clock = || {
            drop(held.take());
            0
        };
        let (written, causes) = put_by(engine, key, 3, NEVER, &clock);
        assert!(held.take().is_some(), "2 is still held");
        assert!(matches!(written, Done::Stored(_)));
        assert_eq!(causes, [Cause::Evicted; 3]);
    });
    assert_eq!(weights(&engine), [13, 20, 24, 23]);
    assert_valid(&engine);
}

#[test]
fn a_home_gives_a_slice_and_the_heaviest_the_rest() {
    let engine = full([&[1; 300], &[1; 200], &[1; 200], &[1; 250]]);
    let key = keys_of(0).next().unwrap();
    assert_eq!(store(&engine, key, 70), [Cause::Evicted; 70]);
    assert_eq!(weights(&engine), [300 - SLICE as u64 + 70, 200, 200, 250 - 6]);
}

#[test]
fn an_update_asks_others_if_its_policy_names_a_newcomer() {
    /// It keeps what it has, even where nothing new comes.
    struct Stubborn;
    impl EvictionPolicy for Stubborn {
        fn hears(&self) -> Hears {
            Hears::Nothing
        }
        fn insert(&mut self, _: Slot, _: &Meta) {}
        fn remove(&mut self, _: Slot, _: Cause) {}
        fn victim(&mut self, _: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
            Victim::Newcomer
        }
        fn len(&self) -> usize {
            1
        }
        fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
            Box::new(std::iter::empty())
        }
        fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
            Box::new(std::iter::empty())
        }
    }
    let made = AtomicU64::new(0);
    let make: Make = Arc::new(move || match made.fetch_add(1, Ordering::Relaxed) {
        0 => Box::new(Stubborn),
        _ => Box::new(Lru::new()),
    });
    let engine: Small = Engine::new(2, 10, None, &make);
    let keys_of = |home| (0..).filter(move |&key| crate::hash::mix(key) >> 63 == home);
    let key = keys_of(0).next().unwrap();
    put(&engine, key, 5, NEVER, 0);
    keys_of(1).take(5).for_each(|key| drop(put(&engine, key, 1, NEVER, 0)));
    assert_eq!(store(&engine, key, 7), [Cause::Evicted, Cause::Evicted, Cause::Replaced]);
    assert_eq!(weights(&engine), [7, 3]);
    // A true newcomer is refused, though others could give.
    let (written, causes) = put(&engine, keys_of(0).nth(1).unwrap(), 1, NEVER, 0);
    assert_eq!(written, Done::Refused(Some(Reason::Full)));
    assert_eq!(causes, []);
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

/// A policy that panics when told to, and otherwise is LRU.
struct Fragile {
    inner: Lru,
    calls: Arc<AtomicU64>,
    fatal: u64,
}

impl Fragile {
    fn count(&self) {
        assert_ne!(self.calls.fetch_add(1, Ordering::Relaxed), self.fatal, "the policy breaks");
    }
}

impl EvictionPolicy for Fragile {
    fn hears(&self) -> Hears {
        self.inner.hears()
    }
    fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.count();
        self.inner.insert(slot, meta);
    }
    fn update(&mut self, slot: Slot, meta: &Meta) {
        self.count();
        self.inner.update(slot, meta);
    }
    fn hit(&mut self, slot: Slot) {
        self.count();
        self.inner.hit(slot);
    }
    fn remove(&mut self, slot: Slot, cause: Cause) {
        self.count();
        self.inner.remove(slot, cause);
    }
    fn victim(&mut self, newcomer: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        self.count();
        self.inner.victim(newcomer, hits)
    }
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        self.inner.coldest()
    }
    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        self.inner.hottest()
    }
}

#[test]
fn a_policy_that_panics_is_replaced_wherever_it_does() {
    std::panic::set_hook(Box::new(|_| {}));
    for fatal in 0..120 {
        let calls = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&calls);
        let engine = engine(1, 20, move || Fragile {
            inner: Lru::new(),
            calls: Arc::clone(&counter),
            fatal,
        });
        for i in 0..60_u64 {
            put(&engine, i % 30, i % 3 + 1, NEVER, 0);
            read(&engine, i % 7, 0);
            assert_valid(&engine);
        }
        let panics = engine.stripes().next().unwrap().lock().policy_panics();
        assert_eq!(panics, u64::from(calls.load(Ordering::Relaxed) > fatal));
    }
    drop(std::panic::take_hook());
}

/// A policy that is broken from the start.
struct Hopeless;

impl EvictionPolicy for Hopeless {
    fn hears(&self) -> Hears {
        Hears::Nothing
    }
    fn insert(&mut self, _: Slot, _: &Meta) {
        panic!("hopeless");
    }
    fn remove(&mut self, _: Slot, _: Cause) {}
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

#[test]
fn a_policy_that_panics_twice_gives_way_to_lru() {
    std::panic::set_hook(Box::new(|_| {}));
    let engine = engine(1, 3, || Hopeless);
    for key in 0..3 {
        put(&engine, key, 1, NEVER, 0);
    }
    read(&engine, 0, 0);
    let (written, causes) = put(&engine, 3, 1, NEVER, 0);
    drop(std::panic::take_hook());
    assert!(matches!(written, Done::Stored(_)));
    assert_eq!(causes, [Cause::Evicted]);
    let one = crate::hash::mix(1);
    assert!(engine.lock(one).find(one, &1).is_none(), "1 was the least recently used");
    assert_valid(&engine);
}

#[test]
fn a_policy_that_names_nonsense_is_not_believed() {
    struct Wrong(bool);
    impl EvictionPolicy for Wrong {
        fn hears(&self) -> Hears {
            Hears::Nothing
        }
        fn insert(&mut self, _: Slot, _: &Meta) {}
        fn remove(&mut self, _: Slot, _: Cause) {}
        fn victim(&mut self, _: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
            if self.0 { Victim::Newcomer } else { Victim::Entry(Slot::new(77)) }
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
    for newcomer in [false, true] {
        let engine = engine(1, 1, move || Wrong(newcomer));
        put(&engine, 0, 1, NEVER, 0);
        let (written, _) = put(&engine, 1, 1, NEVER, 0);
        assert_eq!(written, Done::Refused(Some(Reason::Full)));
        assert!(!engine.set_capacity(0, &|| 0, &mut Outgoing::new(false)), "it gives nothing up");
        assert_eq!((engine.budget.capacity(), engine.budget.used()), (1, 1));
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

/// Deletes keys while this thread is pinned, so that nothing leaves limbo: when a grace period is wanted, and how much.
fn grace_wanted(engine: &Small, keys: std::ops::Range<u64>) -> Vec<(u64, Grace)> {
    let mut wanted = Vec::new();
    for key in keys {
        let mut out = Outgoing::new(false);
        delete_by(engine, key, &mut out);
        if out.grace != Grace::No {
            wanted.push((key + 1, out.grace));
        }
        engine.have_grace(&mut out);
    }
    wanted
}

fn limbo(engine: &Small) -> (usize, u64) {
    engine.stripes().next().unwrap().lock().limbo()
}

/// Until nobody is pinned that could see what has been retired so far.
fn until_all_is_safe(engine: &Small) {
    let stripe = engine.stripes().next().unwrap();
    stripe.lock().seal();
    let tag = epoch::domain().seal();
    let graces = (0..1_000_000).map(|_| epoch::domain().grace(Grace::Wait));
    assert!(graces.into_iter().any(|()| stripe.safe() > tag), "nothing is ever safe");
}

/// The same, and until nothing is left of outgrown tables, which ask for grace periods of their own.
fn until_all_is_tidy(engine: &Small) {
    let stripe = engine.stripes().next().unwrap();
    for _ in 0..1_000 {
        stripe.lock().tidy(&mut Outgoing::new(false));
        until_all_is_safe(engine);
        if !stripe.lock().state.scribe.has_scrap() {
            return;
        }
    }
    panic!("there is always something left");
}

/// At half of 1,024 it is asked for, and at each eighth from there; at all of it it is waited for, and then at each quarter.
#[test]
fn a_grace_period_is_wanted_as_limbo_fills() {
    use Grace::{Try, Wait};

    let engine = engine(1, 5_000, Lru::new);
    (0..3_000).for_each(|key| drop(put(&engine, key, 1, NEVER, 0)));
    until_all_is_tidy(&engine);
    let pin = epoch::pin();
    let wanted = grace_wanted(&engine, 0..1_600);
    let tries = [512, 640, 768, 896].map(|at| (at, Try));
    let waits = [1_024, 1_280, 1_536].map(|at| (at, Wait));
    assert_eq!(wanted, [&tries[..], &waits[..]].concat());
    assert_eq!(limbo(&engine), (1_600, 1_600));
    drop(pin);

    // A write takes out 64 where limbo is too full, else 16, and wants nothing more while there is some to take. A grace period
    // that was waited for is followed by as much.
    until_all_is_safe(&engine);
    assert_eq!(grace_wanted(&engine, 1_600..1_601), [(1_601, Wait)]);
    assert_eq!(limbo(&engine), (1_601 - 2 * SLICE, 1_601 - 2 * SLICE as u64));
    for key in 1_601..1_660 {
        let before = limbo(&engine).0;
        let pin = epoch::pin();
        let mut out = Outgoing::new(false);
        delete_by(&engine, key, &mut out);
        drop(pin);
        let taken = before + 1 - limbo(&engine).0;
        assert_eq!(taken, if before + 1 >= 1_040 { SLICE } else { IN_PASSING }, "of {before}");
        assert_eq!(out.grace, if limbo(&engine).0 >= 1_024 { Wait } else { Grace::No });
    }
}

/// 2 % of the residents, if that is more than 1,024; and of their weight.
#[test]
fn limbo_may_grow_with_the_cache() {
    let engine = engine(1, 200_000, Fifo::new);
    (0..100_000).for_each(|key| drop(put(&engine, key, 1, NEVER, 0)));
    until_all_is_tidy(&engine);
    let pin = epoch::pin();
    // With 99,000 left, 1,980 is full.
    let wanted = grace_wanted(&engine, 0..2_100);
    let first = wanted[0];
    assert!((960..=1_024).contains(&first.0) && first.1 == Grace::Try, "{wanted:?}");
    let full = wanted.iter().find(|(_, grace)| *grace == Grace::Wait).unwrap();
    assert!((1_920..=2_048).contains(&full.0), "{wanted:?}");
    drop(pin);
}

#[test]
fn a_grace_period_is_wanted_as_limbo_fills_by_weight() {
    use Grace::{Try, Wait};

    let engine = engine(1, 100_000, Lru::new);
    (0..1_000).for_each(|key| drop(put(&engine, key, 10, NEVER, 0)));
    until_all_is_tidy(&engine);
    let pin = epoch::pin();
    // 2,000 may be there.
    let wanted = grace_wanted(&engine, 0..310);
    let tries = [100, 125, 150, 175].map(|at| (at, Try));
    let waits = [200, 250, 300].map(|at| (at, Wait));
    assert_eq!(wanted, [&tries[..], &waits[..]].concat());
    assert_eq!(limbo(&engine), (310, 3_100));
    drop(pin);
    until_all_is_safe(&engine);
    let mut out = Outgoing::new(false);
    let mut slices = 0;
    while engine.stripes().next().unwrap().lock().reclaim_slice(&mut out) {
        slices += 1;
    }
    assert_eq!(slices, 310 / SLICE);
    assert_eq!(limbo(&engine), (0, 0));
}

/// FIFO that hears of hits by counters, and of misses; it writes down what it sees.
struct Witness {
    inner: Fifo,
    seen: Arc<crate::sync::Mutex<Vec<String>>>,
    /// Panics at this miss.
    fatal: u64,
}

impl EvictionPolicy for Witness {
    fn hears(&self) -> Hears {
        Hears::Counter(2)
    }
    fn resize(&mut self, share: u64) {
        self.seen.lock().push(format!("share {share}"));
    }
    fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.inner.insert(slot, meta);
    }
    fn reschedule(&mut self, _: Slot, meta: &Meta) {
        self.seen.lock().push(format!("deadline {}", meta.deadline));
    }
    fn miss(&mut self, hash: u64) {
        assert_ne!(hash, self.fatal, "the policy breaks");
        self.seen.lock().push(format!("miss {hash}"));
    }
    fn remove(&mut self, slot: Slot, cause: Cause) {
        self.inner.remove(slot, cause);
    }
    fn victim(&mut self, newcomer: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        let counts: Vec<_> = self.inner.coldest().map(|slot| hits.get(slot)).collect();
        self.seen.lock().push(format!("counts {counts:?}"));
        self.inner.victim(newcomer, hits)
    }
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        self.inner.coldest()
    }
    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        self.inner.hottest()
    }
}

/// An engine with a witness in each segment, and what they have seen since that was asked last.
fn witnessed(segments: usize, capacity: u64, fatal: u64) -> (Small, impl Fn() -> Vec<String>) {
    let seen = Arc::new(crate::sync::Mutex::new(Vec::new()));
    let book = Arc::clone(&seen);
    let make = move || Witness { inner: Fifo::new(), seen: Arc::clone(&book), fatal };
    (engine(segments, capacity, make), move || std::mem::take(&mut *seen.lock()))
}

#[test]
fn a_policy_hears_of_all_that_it_asked_for() {
    let (engine, seen) = witnessed(1, 5, 1);
    assert_eq!(seen(), ["share 5"]);
    (0..5).for_each(|key| drop(put(&engine, key, 1, NEVER, 0)));
    for key in 1..5 {
        (1..key).for_each(|_| assert_eq!(read(&engine, key, 0), Some(1)));
    }
    put(&engine, 5, 1, NEVER, 0);
    assert_eq!(seen(), ["counts [0, 0, 1, 2, 2]"], "a counter stops at 2");
    assert_eq!(read(&engine, 0, 0), None);
    assert_eq!(seen(), [format!("miss {}", crate::hash::mix(0))]);
    let hash = crate::hash::mix(5);
    let mut segment = engine.lock(hash);
    let slot = segment.find(hash, &5).unwrap();
    segment.reschedule(hash, slot, Deadline { hard: 9 << 30, idle: 7 << 30 }, 1);
    drop(segment);
    assert_eq!(seen(), [format!("deadline {}", 7_u64 << 30)]);
    assert_eq!(engine.lock(hash).find_live(hash, &5, 7 << 30), None);
    assert!(engine.set_capacity(8, &|| 0, &mut Outgoing::new(false)));
    assert_eq!(seen(), ["share 8"]);
    let stripe = engine.stripes().next().unwrap();
    let segment = stripe.lock();
    assert_eq!((segment.state.share, segment.policy_panics()), (8, 0));
}

#[test]
fn a_fresh_policy_is_shown_what_has_weight() {
    let fatal = crate::hash::mix(100);
    let (engine, _) = witnessed(1, 10, fatal);
    (0..10).for_each(|key| drop(put(&engine, key, key % 3, NEVER, 0)));
    assert_valid(&engine);
    std::panic::set_hook(Box::new(|_| {}));
    assert_eq!(read(&engine, 100, 0), None);
    drop(std::panic::take_hook());
    assert_eq!(engine.stripes().next().unwrap().lock().policy_panics(), 1);
    assert_valid(&engine);
}

/// More hits than the ring takes, on entries with weights, one of which has none.
#[test]
fn with_one_thread_no_hit_is_lost() {
    for weight in [1, 2] {
        let engine = engine(1, 200 * weight, Lru::new);
        (0..200).for_each(|key| drop(put(&engine, key, weight, NEVER, 0)));
        put(&engine, 1_000, 0, NEVER, 0);
        for key in (0..200).rev() {
            assert_eq!(read(&engine, key, 0), Some(weight));
            assert_eq!(read(&engine, 1_000, 0), Some(0));
        }
        for key in 0..200 {
            put(&engine, 300 + key, weight, NEVER, 0);
            assert_eq!(engine.lock(0).len(), 201);
            let hash = crate::hash::mix(199 - key);
            assert_eq!(engine.lock(hash).find(hash, &(199 - key)), None, "{key} of {weight}");
        }
        assert_valid(&engine);
    }
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
    let found = engine.read(pin.guard(), 0, &TooLate(&engine), Timer(&clock), NEVER);
    assert_eq!(found.map(|found| found.entry.value), Some(3));
}

#[test]
fn where_no_slot_is_left_a_newcomer_is_refused() {
    let engine = engine(1, 100, Lru::new);
    put(&engine, 0, 1, NEVER, 0);
    let was = engine.lock(0).state.keeper.set_end(Slot::MAX);
    let (written, causes) = put(&engine, 1, 1, NEVER, 0);
    engine.lock(0).state.keeper.set_end(was);
    assert_eq!(written, Done::Refused(Some(Reason::Full)));
    assert_eq!(causes, []);
    assert!(matches!(put(&engine, 1, 1, NEVER, 0).0, Done::Stored(None)));
    assert_valid(&engine);
}

#[test]
fn what_left_is_counted_by_its_cause() {
    for shown in [false, true] {
        let engine = engine(1, 10, Fifo::new);
        [0, 1].map(|key| put(&engine, key, 1, 1 << 30, 0));
        [2, 3].map(|key| put(&engine, key, 3, NEVER, 0));
        let mut out = Outgoing::new(shown);
        assert!(out.is_quiet());
        let later = || 1 << 40;
        // Two expire and two are evicted; the next replaces, and the last evicts.
        for (key, weight) in [(9, 8), (9, 8), (10, 3)] {
            let write = Write { weight, ..write_of(key, key, When::Always) };
            engine.write(write, &later, &mut out);
            engine.give_back(&mut out);
        }
        assert!(!out.is_quiet());
        let mut counts = [0; Cause::ALL.len()];
        out.take_counts(|cause, count| counts[cause as usize] += count);
        let expected = [(Cause::Expired, 2), (Cause::Evicted, 3), (Cause::Replaced, 1)];
        for cause in Cause::ALL {
            let count = expected.iter().find(|it| it.0 == cause).map_or(0, |it| it.1);
            assert_eq!(counts[cause as usize], count, "{cause:?}");
        }
        assert_eq!((out.take_evicted_weight(), out.take_evicted_weight()), (14, 0));
        out.take_counts(|cause, count| assert_eq!(count, 0, "{cause:?} was told"));
        let left = causes(&engine, &mut out);
        use Cause::{Evicted, Expired, Replaced};
        let order = [Expired, Expired, Evicted, Evicted, Replaced, Evicted];
        assert_eq!(left, if shown { &order[..] } else { &[] });
        assert_valid(&engine);
    }
}

#[test]
fn there_is_something_to_deliver_if_anything_is_to_be_done() {
    let quiet = |stir: &dyn Fn(&mut Outgoing<u64, Box<u64>, u32>)| {
        let mut out = Outgoing::new(false);
        stir(&mut out);
        out.is_quiet()
    };
    assert!(quiet(&|_| ()));
    assert!(!quiet(&|out| out.loads.push((1, 2))));
    assert!(!quiet(&|out| out.want(Grace::Try, 0)));
    assert!(!quiet(&|out| out.dead(Entry { key: 1, value: Box::new(1) })));
}

#[test]
fn who_waits_for_a_grace_period_is_named_once() {
    let mut out = Outgoing::<u64, u64, u32>::new(false);
    out.want(Grace::Try, 3);
    assert_eq!((out.grace, &out.full[..]), (Grace::Try, &[][..]));
    [5, 5, 6, 6].map(|stripe| out.want(Grace::Wait, stripe));
    out.want(Grace::Try, 7);
    assert_eq!((out.grace, &out.full[..]), (Grace::Wait, &[5, 6][..]));
}

/// What has left is dropped outside the lock, with what dropping it calls.
#[test]
fn what_is_dead_is_handed_over() {
    let mut out = Outgoing::<u64, Box<u64>, u32>::new(false);
    out.dead(Entry { key: 1, value: Box::new(7) });
    assert!(out.take_dead().iter().map(|entry| *entry.value).eq([7]));
    assert!(out.take_dead().is_empty());
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
