//! What comes back, for how long, and in what order it leaves.

use crate::{Process, restored, saved, seconds};
use cachette::policy::{self, EvictionPolicy};
use cachette::snapshot::Snapshot;
use cachette::{Cache, Expiry, Freshness, LoadError, ManualClock};
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Ints = Cache<u32, u64>;
type Left = Arc<Mutex<Vec<u32>>>;
type Make = fn() -> Box<dyn EvictionPolicy>;

const POLICIES: [Make; 12] = [
    || Box::new(policy::Lru::new()),
    || Box::new(policy::Lfu::new()),
    || Box::new(policy::Fifo::new()),
    || Box::new(policy::Sieve::new()),
    || Box::new(policy::Clock::new()),
    || Box::new(policy::Slru::new()),
    // Those above are exact: what they would give up, and in what order, outlives them.
    || Box::new(policy::S3Fifo::new()),
    || Box::new(policy::Adaptive::seeded(1)),
    || Box::new(policy::WTinyLfu::new()),
    || Box::new(policy::Random::new()),
    || Box::new(policy::Volatile::new(policy::Lru::new())),
    || Box::new(policy::SoonestDeadline::new()),
];
const EXACT: usize = 6;

/// A cache whose keys weigh 0 to 3, and who has left it.
fn cache(make: Make, segments: usize, idle: Option<u64>, clock: &Process) -> (Ints, Left) {
    let left = Left::default();
    let log = Arc::clone(&left);
    let mut builder = Cache::builder()
        .capacity(60)
        .segments(segments)
        .policy(make)
        .weigher(|key: &u32, _: &u64| u64::from(key % 4))
        .clock(clock.clone())
        .removal_listener(move |key: &u32, _: &u64, _| log.lock().unwrap().push(*key));
    if let Some(idle) = idle {
        builder = builder.time_to_idle(seconds(idle));
    }
    (builder.build().unwrap(), left)
}

#[derive(Clone, Debug)]
enum Op {
    Put(u32),
    PutFor(u32, u64),
    Get(u32),
    Delete(u32),
    ExpireIn(u32, u64),
    Persist(u32),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..80_u32;
    prop_oneof![
        4 => key().prop_map(Op::Put),
        3 => (key(), 0..60_u64).prop_map(|(key, ttl)| Op::PutFor(key, ttl)),
        4 => key().prop_map(Op::Get),
        1 => key().prop_map(Op::Delete),
        1 => (key(), 0..60_u64).prop_map(|(key, ttl)| Op::ExpireIn(key, ttl)),
        1 => key().prop_map(Op::Persist),
        1 => (1..20_u64).prop_map(Op::Pass),
    ]
}

fn apply(cache: &Ints, clock: &Process, ops: &[Op]) {
    for (value, op) in (0..).zip(ops) {
        match *op {
            Op::Put(key) => cache.put(key, value),
            Op::PutFor(key, ttl) => cache.put_with_ttl(key, value, seconds(ttl)),
            Op::Get(key) => _ = cache.get(&key),
            Op::Delete(key) => _ = cache.delete(&key),
            Op::ExpireIn(key, ttl) => _ = cache.expire_in(&key, seconds(ttl)),
            Op::Persist(key) => _ = cache.persist(&key),
            Op::Pass(time) => clock.uptime.advance(seconds(time)),
        }
    }
}

proptest! {
    #[test]
    fn what_is_saved_comes_back_for_as_long_as_it_had(
        ops in prop::collection::vec(op(), 0..150),
        policy in 0..POLICIES.len(),
        segments in (0..3_u32, 0..3_u32),
        idle in prop::option::of(5..50_u64),
        gap in 0..40_u64,
    ) {
        let clock = Process::on(1_000_000);
        let (before, _) = cache(POLICIES[policy], 1 << segments.0, idle, &clock);
        apply(&before, &clock, &ops);
        let bytes = saved(&before);
        let later = clock.after(gap as i64);
        let (after, _) = cache(POLICIES[policy], 1 << segments.1, idle, &later);
        let done = restored(&after, &bytes).unwrap();
        prop_assert_eq!(done.age, seconds(gap));
        let mut alive = 0;
        for (key, value) in &before {
            let left = before.time_to_live_of(&key).unwrap();
            let due = match left {
                Duration::MAX => Some(Duration::MAX),
                left => left.checked_sub(seconds(gap)).filter(|left| !left.is_zero()),
            };
            prop_assert_eq!(after.time_to_live_of(&key), due, "{}", key);
            prop_assert_eq!(after.peek(&key), due.map(|_| value), "{}", key);
            alive += u64::from(due.is_some());
        }
        prop_assert_eq!((done.entries, done.expired), (alive, before.iter().count() as u64 - alive));
        prop_assert_eq!((done.refused, done.resident, after.len() as u64), (0, 0, alive));
    }

    #[test]
    fn who_would_leave_first_leaves_first(
        ops in prop::collection::vec(op(), 0..150),
        policy in 0..EXACT,
    ) {
        let clock = Process::on(1_000_000);
        let (before, left) = cache(POLICIES[policy], 1, None, &clock);
        apply(&before, &clock, &ops);
        let (after, left_after) = cache(POLICIES[policy], 1, None, &clock.after(0));
        restored(&after, &saved(&before)).unwrap();
        let live: HashSet<u32> = before.iter().map(|(key, _)| key).collect();
        left.lock().unwrap().clear();
        before.set_capacity(0).unwrap();
        after.set_capacity(0).unwrap();
        left.lock().unwrap().retain(|key| live.contains(key));
        prop_assert_eq!(&*left.lock().unwrap(), &*left_after.lock().unwrap());
        let rest = |cache: &Ints| cache.iter().map(|(key, _)| key % 4).collect::<Vec<_>>();
        prop_assert!(rest(&after).iter().all(|&weight| weight == 0), "what has no weight stays");
        prop_assert_eq!(rest(&after).len(), rest(&before).len());
    }
}

#[test]
fn in_a_smaller_cache_the_hottest_stay() {
    for segments in [1, 4] {
        for make in [POLICIES[0], POLICIES[1]] {
            let cache = |capacity, segments| {
                Cache::builder().capacity(capacity).segments(segments).policy(make).build().unwrap()
            };
            let large: Ints = cache(4_000, 4);
            (0..4_000).for_each(|key| large.put(key, 0));
            (0..8_000).for_each(|request| _ = large.get(&(request % 400)));
            let small: Ints = cache(1_000, segments);
            let done = restored(&small, &saved(&large)).unwrap();
            assert_eq!((done.entries, small.len()), (4_000, 1_000));
            let hot = (0..400).filter(|key| small.contains_key(key)).count();
            assert_eq!(hot, 400, "in {segments} segments");
        }
    }
}

#[test]
fn what_is_there_is_newer() {
    let old = Ints::new(10);
    (0..4).for_each(|key| old.put(key, 1));
    let cache = Ints::new(10);
    cache.put(1, 2);
    cache.put_with_ttl(2, 2, Duration::ZERO);
    let done = restored(&cache, &saved(&old)).unwrap();
    assert_eq!((done.entries, done.resident), (3, 1));
    assert_eq!([0, 1, 2, 3].map(|key| cache.get(&key)), [Some(1), Some(2), Some(1), Some(1)]);
    let again = restored(&cache, &saved(&old)).unwrap();
    assert_eq!((again.entries, again.resident), (0, 4));
}

#[test]
fn what_is_being_loaded_is_newer() {
    let old = Ints::new(10);
    old.put(1, 1);
    let bytes = saved(&old);
    let cache = Ints::new(10);
    let loaded: Result<u64, LoadError<()>> = cache.get_or_load(&1, |_| {
        let done = restored(&cache, &bytes).unwrap();
        assert_eq!((done.entries, done.resident), (0, 1));
        Ok::<_, ()>(2)
    });
    assert_eq!((loaded.unwrap(), cache.get(&1)), (2, Some(2)), "the load fills the cache");
}

#[test]
fn a_date_that_went_back_is_no_time() {
    let clock = Process::on(1_000_000);
    let (old, _) = cache(POLICIES[0], 1, None, &clock);
    old.put_with_ttl(1, 1, seconds(60));
    clock.uptime.advance(seconds(20));
    let bytes = saved(&old);
    for (gap, left) in [(-500_000, Some(40)), (0, Some(40)), (39, Some(1)), (40, None)] {
        let (cache, _) = cache(POLICIES[0], 1, None, &clock.after(gap));
        let done = restored(&cache, &bytes).unwrap();
        assert_eq!(cache.time_to_live_of(&1), left.map(seconds), "after {gap} s");
        assert_eq!(
            (done.expired, done.age),
            (u64::from(left.is_none()), seconds(gap.max(0) as u64))
        );
    }
    // Before 1970 there are no dates.
    let (cache, _) = cache(POLICIES[0], 1, None, &Process::on(0));
    assert_eq!(restored(&cache, &bytes).unwrap().age, Duration::ZERO);
}

#[test]
fn time_that_passes_while_it_is_restored_counts() {
    let clock = Process::on(1_000_000);
    let (old, _) = cache(POLICIES[2], 1, None, &clock);
    (1..=3).for_each(|key| old.put_with_ttl(key, 1, seconds(u64::from(key) * 10)));
    let bytes = saved(&old);
    let later = clock.after(0);
    let ticking = later.uptime.clone();
    let weigher = move |_: &u32, _: &u64| {
        ticking.advance(seconds(6));
        1
    };
    let cache: Ints = Cache::builder().capacity(9).weigher(weigher).clock(later).build().unwrap();
    let done = restored(&cache, &bytes).unwrap();
    assert_eq!((done.entries, done.expired), (3, 0));
    let left = [1, 2, 3].map(|key| cache.time_to_live_of(&key));
    assert_eq!(left, [None, Some(seconds(2)), Some(seconds(12))]);
    let ticks = clock.after(0);
    let ticking = ticks.uptime.clone();
    let weigher = move |_: &u32, _: &u64| {
        ticking.advance(seconds(15));
        1
    };
    let cache: Ints = Cache::builder().capacity(9).weigher(weigher).clock(ticks).build().unwrap();
    let done = restored(&cache, &bytes).unwrap();
    assert_eq!((done.entries, done.expired), (0, 3), "each ended while it was weighed");
}

#[test]
fn an_idle_deadline_fits_the_cache_that_it_comes_to() {
    let clock = Process::on(1_000_000);
    let (old, _) = cache(POLICIES[0], 1, Some(30), &clock);
    old.put(1, 1);
    old.put_with_ttl(2, 2, seconds(20));
    old.put(3, 3);
    old.persist(&3);
    clock.uptime.advance(seconds(5));
    let bytes = saved(&old);
    let lives = |idle| {
        let (cache, _) = cache(POLICIES[0], 1, idle, &clock.after(1));
        restored(&cache, &bytes).unwrap();
        let lives = [1, 2, 3].map(|key| cache.time_to_live_of(&key).unwrap());
        // A read pushes back what is idle, if there is an idle time, and nothing else.
        let read = cache.get(&1).and(cache.time_to_live_of(&1));
        (lives, read.unwrap())
    };
    let never = Duration::MAX;
    assert_eq!(lives(Some(30)), ([seconds(24), seconds(14), never], seconds(30)));
    assert_eq!(lives(Some(10)), ([seconds(10), seconds(10), never], seconds(10)));
    assert_eq!(lives(None), ([seconds(24), seconds(14), never], seconds(24)));
}

#[test]
fn a_rule_s_deadline_is_the_rule_s_again() {
    struct Rule;
    impl Expiry<u32, u64> for Rule {
        fn created(&self, _: &u32, _: &u64) -> Duration {
            seconds(100)
        }
        fn read(&self, _: &u32, _: &u64, left: Duration) -> Option<Duration> {
            Some(left + seconds(1))
        }
    }
    let build = |clock: &Process| -> Ints {
        Cache::builder().capacity(9).expiry(Rule).clock(clock.clone()).build().unwrap()
    };
    let clock = Process::on(1_000_000);
    let old = build(&clock);
    old.put(1, 1);
    old.put_with_ttl(2, 2, seconds(50));
    clock.uptime.advance(seconds(10));
    let cache = build(&clock.after(10));
    restored(&cache, &saved(&old)).unwrap();
    assert_eq!([1, 2].map(|key| cache.time_to_live_of(&key)), [80, 30].map(|n| Some(seconds(n))));
    _ = (cache.get(&1), cache.get(&2));
    assert_eq!([1, 2].map(|key| cache.time_to_live_of(&key)), [81, 30].map(|n| Some(seconds(n))));
}

#[test]
fn a_loaded_value_is_as_stale_as_it_was() {
    let freshness = Freshness::new(seconds(10)).stale_if_error(seconds(60));
    let build = |clock: &Process| {
        let builder = Cache::<u32, u64>::builder().capacity(9).clock(clock.clone());
        builder
            .freshness(freshness)
            .loader(|key: &u32| u64::from(*key).checked_sub(1).ok_or("no"))
            .build()
            .unwrap()
    };
    let clock = Process::on(1_000_000);
    let old = build(&clock);
    assert_eq!(old.load(&7).unwrap(), 6);
    old.put(0, 5);
    clock.uptime.advance(seconds(4));
    let bytes = saved(&old);
    let later = clock.after(1);
    let cache = build(&later);
    assert_eq!(restored(&cache, &bytes).unwrap().entries, 2);
    assert_eq!([0, 7].map(|key| cache.time_to_live_of(&key)), [Some(seconds(5)); 2]);
    later.uptime.advance(seconds(5));
    assert_eq!(cache.load(&0).unwrap(), 5, "stale, and its loader fails");
    // What was stale when it was saved is not in it.
    clock.uptime.advance(seconds(6));
    assert_eq!(restored(&build(&later), &saved(&old)).unwrap().entries, 0);
}

#[test]
fn saving_touches_nothing() {
    let cache: Ints = Cache::builder().capacity(2).policy(policy::Lru::new).build().unwrap();
    cache.put(1, 1);
    cache.put(2, 2);
    let before = cache.stats();
    saved(&cache);
    assert_eq!(cache.stats(), before);
    cache.put(3, 3);
    assert!(!cache.contains_key(&1), "it was still the least recently used");
}

#[test]
fn what_a_cache_refuses_it_is_told_of() {
    let old = Ints::new(10);
    (0..5).for_each(|key| old.put(key, 1));
    let (log, told) = (Left::default(), Left::default());
    let heard = Arc::clone(&told);
    let cache: Ints = Cache::builder()
        .capacity(3)
        .policy(policy::NoEviction::new)
        .removal_listener(move |key: &u32, _: &u64, _| heard.lock().unwrap().push(*key))
        .build()
        .unwrap();
    drop(log);
    let done = restored(&cache, &saved(&old)).unwrap();
    assert_eq!((done.entries, done.refused, cache.len()), (3, 2, 3));
    assert_eq!(told.lock().unwrap().len(), 2);
    assert_eq!(cache.stats().refused, 2);
}

#[test]
fn an_empty_cache_and_one_without_room_are_caches() {
    let empty = Ints::new(10);
    let bytes = saved(&empty);
    assert_eq!(restored(&empty, &bytes).unwrap().entries, 0);
    empty.put(1, 1);
    let none = Ints::new(0);
    assert_eq!(restored(&none, &saved(&empty)).unwrap().refused, 1);
}

#[test]
fn large_entries_make_blocks_of_their_own() {
    let cache = Cache::<u32, Vec<u8>>::new(100);
    (0..10).for_each(|key| cache.put(key, vec![key as u8; 200_000]));
    (10..90).for_each(|key| cache.put(key, vec![key as u8; 10]));
    let bytes = saved(&cache);
    let again = Cache::<u32, Vec<u8>>::new(100);
    assert_eq!(restored(&again, &bytes).unwrap().entries, 90);
    assert!(cache.iter().all(|(key, value)| again.peek(&key) == Some(value)));
}

#[test]
fn a_schema_is_asked_for() {
    let clock = ManualClock::new();
    let cache: Ints = Cache::builder().capacity(9).clock(clock).build().unwrap();
    cache.put(1, 1);
    let mut bytes = Vec::new();
    Snapshot::new().schema(7).save_to(&cache, &mut bytes).unwrap();
    let error = restored(&cache, &bytes).unwrap_err();
    assert_eq!(error.to_string(), "the snapshot has the schema 7, and 0 is asked for");
}
