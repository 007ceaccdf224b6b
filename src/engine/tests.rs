//! The engine as a whole: its parts stay in step, whatever is written, expires, or panics.

use super::*;
use crate::error::Reason;
use crate::policy::{EvictionPolicy, Fifo, Hears, HitCounters, Lfu, Lru, Meta, NoEviction, Random};
use crate::policy::{Sieve, Slot, Victim};
use crate::sync::{AtomicU64, Ordering};
use crate::time::NEVER;
use proptest::prelude::*;

type Small = Engine<u64, u64, u32>;

impl<K: Eq, V, F> Segment<K, V, F> {
    /// Checks that slab, index, policy, wheel and weight describe the same entries.
    pub(crate) fn assert_valid(&self) {
        let (mut weighing, mut weight) = (0, 0);
        for (slot, hash, heavy) in self.residents() {
            let entry = self.entry(slot).unwrap();
            assert_eq!(self.find(hash, &entry.key), Some(slot), "the index knows {slot:?}");
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
    Engine::new(segments, capacity, &make, 7)
}

fn for_ever() -> Lifetime {
    Lifetime { live: Some(NEVER), idle: Some(NEVER) }
}

fn put(
    engine: &Small,
    key: u64,
    weight: u64,
    live: u64,
    now: u64,
) -> (Written<u64, u64>, Vec<Cause>) {
    let mut out = Outgoing::new();
    let write = Write {
        entry: Arc::new(Entry { key, value: weight }),
        hash: crate::hash::mix(key),
        weight,
        lifetime: Lifetime { live: Some(live), idle: Some(NEVER) },
        when: When::Always,
    };
    let written = engine.write(write, &|| now, &mut out);
    (written, out.drain().map(|removed| removed.cause).collect())
}

fn delete(engine: &Small, key: u64) {
    let mut out = Outgoing::new();
    let hash = crate::hash::mix(key);
    let mut segment = engine.lock(hash);
    if let Some(slot) = segment.find(hash, &key) {
        segment.detach(slot, Cause::Deleted, &mut out);
    }
    drop(segment);
    engine.give_back(&mut out);
}

fn assert_valid(engine: &Small) {
    let mut weight = 0;
    for stripe in engine.stripes() {
        let segment = stripe.lock();
        segment.assert_valid();
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
        let engine: Small = Engine::new(1 << segments, 40, &make, 7);
        let mut now = 0;
        for (op, key, n) in ops {
            match op {
                0..8 => drop(put(&engine, key, n, NEVER, now)),
                8..12 => drop(put(&engine, key, 1, (n + 1) << 30, now)),
                12..15 => {
                    let hash = crate::hash::mix(key);
                    engine.lock(hash).read(hash, &key, now, NEVER);
                }
                15 => delete(&engine, key),
                16 => now += n << 30,
                17 => drop(engine.set_capacity(n * 8, &|| now, &mut Outgoing::new())),
                18 => drop(put(&engine, key, n * 4, NEVER, now)),
                _ => {
                    let mut out = Outgoing::new();
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
    assert!(matches!(written, Written::Stored { old: Some(old) } if old.value == 2));
    assert_eq!(causes, [Cause::Evicted, Cause::Evicted, Cause::Replaced]);
    let (_, causes) = put(&engine, 9, 4, NEVER, 0);
    assert_eq!(causes, [Cause::Evicted, Cause::Evicted], "3 and 4 leave before 0");
    assert_valid(&engine);
}

#[test]
fn a_heavy_write_gathers_from_every_segment() {
    let engine = engine(8, 1000, Lru::new);
    for key in 0..1000 {
        put(&engine, key, 1, NEVER, 0);
    }
    let (written, causes) = put(&engine, 5000, 990, NEVER, 0);
    assert!(matches!(written, Written::Stored { old: None }));
    assert!((990..=1000).contains(&causes.len()), "{}", causes.len());
    assert_valid(&engine);
    let (written, _) = put(&engine, 5000, 1001, NEVER, 0);
    assert!(matches!(written, Written::Refused { reason: Reason::TooHeavy, .. }));
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
    assert!(matches!(written, Written::Stored { old: Some(_) }));
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
        assert!(matches!(written, Written::Stored { .. }));
        assert_eq!(causes, [Cause::Evicted]);
    }
    let weights: Vec<u64> = engine.stripes().map(Stripe::weight).collect();
    assert!(weights[3] >= 75 && weights.iter().all(|&weight| weight > 30), "{weights:?}");
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
                    assert!(matches!(written, Written::Stored { .. }));
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
        assert!(engine.set_capacity(300, &|| later, &mut Outgoing::new()), "half has expired");
        assert_valid(&engine);
        let (written, _) = put(&engine, 1000, 100, NEVER, later);
        assert!(matches!(written, Written::Stored { .. }));
        assert_eq!(engine.budget.used(), 300);
        assert!(!engine.set_capacity(299, &|| later, &mut Outgoing::new()), "the rest lives");
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
            let hash = crate::hash::mix(i % 7);
            engine.lock(hash).read(hash, &(i % 7), 0, NEVER);
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
    let hash = crate::hash::mix(0);
    engine.lock(hash).read(hash, &0, 0, NEVER);
    let (written, causes) = put(&engine, 3, 1, NEVER, 0);
    drop(std::panic::take_hook());
    assert!(matches!(written, Written::Stored { .. }));
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
        assert!(matches!(written, Written::Refused { reason: Reason::Full, .. }));
        assert!(!engine.set_capacity(0, &|| 0, &mut Outgoing::new()), "it gives nothing up");
        assert_eq!((engine.budget.capacity(), engine.budget.used()), (1, 1));
    }
}

#[test]
fn conditions_are_judged_where_the_write_happens() {
    let engine = engine(1, 10, Lru::new);
    let mut out = Outgoing::new();
    let hash = crate::hash::mix(1);
    let write = |value, when| Write {
        entry: Arc::new(Entry { key: 1, value }),
        hash,
        weight: 1,
        lifetime: for_ever(),
        when,
    };
    let mut run = |value, when| {
        matches!(engine.write(write(value, when), &|| 0, &mut out), Written::Stored { .. })
    };
    assert!(!run(1, When::Load(&5)));
    assert!(run(2, When::Current(None)));
    assert!(!run(3, When::Current(None)));
    assert!(!run(4, When::Absent));
    let slot = engine.lock(hash).find(hash, &1).unwrap();
    let seen = Arc::clone(engine.lock(hash).entry(slot).unwrap());
    assert!(run(5, When::Current(Some(&seen))));
    assert!(!run(6, When::Current(Some(&seen))), "5 is there now");
    delete(&engine, 1);
    assert!(!run(7, When::Current(Some(&seen))), "nothing is there now");
    engine.lock(hash).pending.add_load(hash, 1, 9);
    assert!(!run(8, When::Load(&5)), "another load");
    assert!(run(9, When::Load(&9)));
    assert!(!run(10, When::Load(&9)), "it has landed");
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
