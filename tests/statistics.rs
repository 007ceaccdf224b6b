//! Numbers and news: promise N1, and what a removal listener hears.

mod support;

use cachette::policy::{Lru, NoEviction};
use cachette::{Cache, Cause, Compute, ManualClock, Stats};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, OnceLock, Weak};
use std::thread;
use std::time::Duration;
use support::{Log, Rng};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn n1_every_number_counts_what_it_says() {
    let clock = ManualClock::new();
    let cache = Cache::builder()
        .capacity(10)
        .segments(1)
        .weigher(|_: &u32, &value: &u64| value)
        .clock(clock.clone())
        .build()
        .unwrap();
    assert_eq!((cache.stats().capacity, cache.stats().requests()), (10, 0));
    (1..=3).for_each(|key| cache.put(key, 3));
    let _ = (cache.get(&1), cache.get(&2), cache.get_with(&9, |_| ()));
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.requests()), (2, 1, 3));
    assert_eq!((stats.entries, stats.weight), (3, 9));

    cache.put(4, 4);
    let stats = cache.stats();
    assert_eq!((stats.evicted, stats.evicted_weight), (1, 3));
    cache.put(4, 1);
    cache.put(5, 11);
    assert!(cache.delete(&4));
    assert_eq!(cache.take(&1), Some(3));
    cache.put_with_ttl(6, 2, SECOND);
    cache.put_with_ttl(7, 0, SECOND);
    clock.advance(SECOND * 2);
    let stats = cache.stats();
    assert_eq!((stats.expired, stats.entries, stats.weight), (0, 3, 5), "not yet taken out");
    assert_eq!(cache.get(&6), None);
    cache.maintain();
    cache.clear();
    let stats = cache.stats();
    assert_eq!((stats.replaced, stats.refused, stats.deleted), (1, 1, 2));
    assert_eq!((stats.expired, stats.cleared, stats.dropped), (2, 1, 0));
    assert_eq!((stats.removals(), stats.misses), (8, 2));
    assert_eq!((stats.entries, stats.weight), (0, 0));
    cache.set_capacity(20).unwrap();
    assert_eq!(cache.stats().capacity, 20);
}

#[test]
fn n1_loads_are_counted_and_timed() {
    let clock = ManualClock::new();
    let cache = Cache::<u32, u32>::builder().capacity(9).clock(clock.clone()).build().unwrap();
    let load = |key, seconds| {
        cache.get_or_load(&key, |_| {
            clock.advance(SECOND * seconds);
            if key < 10 { Ok(key) } else { Err("too large") }
        })
    };
    assert_eq!(load(1, 3).unwrap(), 1);
    assert_eq!(load(1, 100).unwrap(), 1, "a hit");
    assert!(load(10, 2).is_err());
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses), (1, 2));
    assert_eq!((stats.loads, stats.load_failures), (1, 1));
    assert_eq!(stats.load_time, SECOND * 5, "failed ones too");

    let panicking = || {
        cache.get_or_load(&5, |_| {
            let fate: u32 = "none".parse().expect("as the test wants it");
            fate
        })
    };
    assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_failures), (1, 2), "a panic is a failure");
    assert_eq!(load(5, 0).unwrap(), 5);
}

#[test]
fn n1_an_interval_is_a_difference() {
    let cache = Cache::builder().capacity(2).policy(Lru::new).build().unwrap();
    cache.put(1, 1);
    let _ = (cache.get(&1), cache.get(&2));
    let before = cache.stats();
    assert_eq!(before - before, only_gauges(before));
    cache.put(2, 2);
    cache.put(3, 3);
    let _ = (cache.get(&3), cache.get(&3), cache.get(&1));
    let interval = cache.stats() - before;
    assert_eq!((interval.hits, interval.misses, interval.evicted), (2, 1, 1));
    assert_eq!((interval.entries, interval.weight, interval.capacity), (2, 2, 2));
    assert_eq!((interval.hit_ratio() * 3.0).round(), 2.0);
}

/// The gauges, and nothing counted.
fn only_gauges(now: Stats) -> Stats {
    let mut idle = Stats::default();
    (idle.entries, idle.weight, idle.capacity) = (now.entries, now.weight, now.capacity);
    idle
}

#[test]
fn n1_looking_is_not_counted() {
    let cache = Cache::new(5);
    (0..5).for_each(|key| cache.put(key, key));
    let before = cache.stats();
    for key in 0..10 {
        let _ = (cache.peek(&key), cache.contains_key(&key), cache.time_to_live_of(&key));
        cache.compute(key, |_| Compute::Keep).unwrap();
        let _ = cache.iter().count();
        let _ = (cache.len(), cache.weight(), cache.expire_in(&key, Duration::MAX));
        cache.maintain();
    }
    assert_eq!(cache.stats(), before);
}

/// What one of eight threads does: its share is known in advance.
fn work(cache: &Cache<u64, u64>, thread: u64) {
    for i in 0..1_000 {
        let key = thread * 1_000 + i;
        cache.put(key, 1);
        cache.put(key, 2);
        let _ = (cache.get(&key), cache.get(&key), cache.get(&(key + 1_000_000)));
        assert!(cache.delete(&key));
        assert_eq!(cache.get_or_load(&key, |_| 3).unwrap(), 3);
    }
}

fn expected(stats: Stats) {
    assert_eq!((stats.hits, stats.misses), (16_000, 16_000));
    assert_eq!((stats.replaced, stats.deleted), (8_000, 8_000));
    assert_eq!((stats.loads, stats.load_failures), (8_000, 0));
    assert_eq!((stats.entries, stats.weight, stats.removals()), (8_000, 8_000, 16_000));
}

#[test]
fn n1_no_count_is_lost_when_threads_end() {
    let cache = Cache::builder().capacity(10_000).segments(4).build().unwrap();
    thread::scope(|scope| {
        for thread in 0..8 {
            let cache = &cache;
            scope.spawn(move || work(cache, thread));
        }
    });
    expected(cache.stats());
}

#[test]
fn n1_no_count_is_lost_while_threads_live() {
    let cache = Cache::builder().capacity(10_000).segments(4).build().unwrap();
    let (done, seen) = (Barrier::new(9), Barrier::new(9));
    thread::scope(|scope| {
        for thread in 0..8 {
            let (cache, done, seen) = (&cache, &done, &seen);
            scope.spawn(move || {
                work(cache, thread);
                done.wait();
                seen.wait();
            });
        }
        done.wait();
        let stats = cache.stats();
        seen.wait();
        expected(stats);
    });
}

#[test]
fn n1_every_removal_is_heard_once_with_its_cause() {
    let (clock, log) = (ManualClock::new(), Log::new());
    let cache = Cache::<u64, u64>::builder()
        .capacity(200)
        .segments(2)
        .clock(clock.clone())
        .removal_listener(log.listener())
        .build()
        .unwrap();
    // Every value is unlike all others, so that a removal told twice would show.
    let mut rng = Rng::new(7);
    for value in 0..20_000 {
        let key = rng.below(400);
        match rng.below(8) {
            0 => cache.put_with_ttl(key, value, SECOND),
            1 => drop(cache.delete(&key)),
            2 => drop(cache.put_if_absent(key, value)),
            3 if value % 500 == 0 => cache.clear(),
            4 => clock.advance(SECOND / 10),
            _ => cache.put(key, value),
        }
    }
    let stats = cache.stats();
    let heard = log.take();
    let mut causes: HashMap<Cause, u64> = HashMap::new();
    heard.iter().for_each(|&(_, _, cause)| *causes.entry(cause).or_default() += 1);
    let counted = [
        (Cause::Replaced, stats.replaced),
        (Cause::Expired, stats.expired),
        (Cause::Evicted, stats.evicted),
        (Cause::Deleted, stats.deleted),
        (Cause::Cleared, stats.cleared),
    ];
    for (cause, count) in counted {
        assert_eq!(causes.get(&cause), Some(&count), "{cause:?}");
    }
    let mut left: Vec<u64> = cache.iter().map(|(_, value)| value).collect();
    cache.maintain();
    drop(cache);
    let dropped = log.take();
    let mut gone: Vec<u64> =
        dropped.iter().filter(|e| e.2 == Cause::Dropped).map(|e| e.1).collect();
    left.sort_unstable();
    gone.sort_unstable();
    assert_eq!(gone, left, "what was left when the cache was dropped");
    let mut values: Vec<u64> = heard.iter().chain(&dropped).map(|e| e.1).collect();
    let told = values.len();
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), told, "nothing is told twice");
}

#[test]
fn n1_a_listener_may_call_its_cache() {
    static HOME: OnceLock<Weak<Cache<u64, u64>>> = OnceLock::new();
    let heard = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&heard);
    let listener = move |&key: &u64, &value: &u64, _: Cause| {
        count.fetch_add(1, SeqCst);
        let Some(cache) = HOME.get().and_then(Weak::upgrade) else { return };
        // A few generations of what was removed go back in under other keys.
        if value < 3 && key < 1_000 {
            cache.put(key + 1_000 * (value + 1), value + 1);
        }
        let _ = (cache.get(&key), cache.delete(&(key + 500_000)), cache.len());
    };
    let cache = Cache::builder().capacity(50).segments(1).removal_listener(listener);
    let cache = Arc::new(cache.build().unwrap());
    HOME.set(Arc::downgrade(&cache)).unwrap();
    (0..200).for_each(|key| cache.put(key, 0));
    cache.clear();
    cache.set_capacity(0).unwrap();
    assert!(cache.is_empty());
    assert_eq!(heard.load(SeqCst), cache.stats().removals());
}

#[test]
fn n1_a_listener_that_panics_stays_on() {
    let heard = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&heard);
    let listener = move |key: &u64, _: &u64, _: Cause| {
        count.fetch_add(1, SeqCst);
        assert!(key % 2 == 0, "as the test wants it");
    };
    let cache = Cache::builder().capacity(100).segments(1).removal_listener(listener);
    let cache = cache.build().unwrap();
    (0..100).for_each(|key| cache.put(key, key));
    (0..10).for_each(|key| cache.put(key, 0));
    assert!(cache.delete(&11));
    (100..104).for_each(|key| cache.put(key, key));
    cache.clear();
    assert_eq!((heard.load(SeqCst), cache.stats().removals()), (114, 114));
    // Five odd keys of ten replaced, 11 deleted; of the 104 keys, 52 are odd, and all but 11 were evicted or cleared.
    assert_eq!(cache.stats().listener_panics, 5 + 1 + 51);
    assert_eq!((cache.len(), cache.weight()), (0, 0));
}

#[test]
fn n1_a_refusal_is_counted_and_heard() {
    let log = Log::new();
    let cache = Cache::builder()
        .capacity(1)
        .policy(NoEviction::new)
        .removal_listener(log.listener())
        .build()
        .unwrap();
    cache.put(1, 1);
    cache.put(2, 2);
    assert!(cache.try_put(3, 3).is_err());
    assert_eq!(cache.get_or_load(&4, |_| 4).unwrap(), 4);
    assert_eq!(cache.stats().refused, 3);
    assert_eq!(log.take(), [(2, 2, Cause::Refused), (4, 4, Cause::Refused)], "3 was handed back");
    assert_eq!(cache.get(&1), Some(1));
}

#[test]
fn n1_what_is_heard_has_happened() {
    static HOME: OnceLock<Weak<Cache<u32, u32>>> = OnceLock::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let listener = move |key: &u32, _: &u32, cause: Cause| {
        if let Some(cache) = HOME.get().and_then(Weak::upgrade) {
            notes.lock().unwrap().push((cause, cache.peek(key)));
        }
    };
    let cache = Arc::new(Cache::builder().capacity(1).removal_listener(listener).build().unwrap());
    HOME.set(Arc::downgrade(&cache)).unwrap();
    cache.put(1, 10);
    cache.put(1, 11);
    cache.put(2, 20);
    assert!(cache.delete(&2));
    let expected = [(Cause::Replaced, Some(11)), (Cause::Evicted, None), (Cause::Deleted, None)];
    assert_eq!(*seen.lock().unwrap(), expected);
}
