//! What a cache asks of the allocator: little for each entry, never much in one call, and nothing that it does not give back.

#![expect(unsafe_code, reason = "an allocator")]

use cachette::policy::{EvictionPolicy, Lfu, Lru, Random, Sieve};
use cachette::{Builder, Cache, ManualClock};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// An allocator that counts what the calling thread has asked for and not given back, and the most that it has asked for at once.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.set(LIVE.get().wrapping_add_unsigned(layout.size()));
        LARGEST.set(LARGEST.get().max(layout.size()));
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().wrapping_sub_unsigned(layout.size()));
        // SAFETY: `place` came from `System` with this layout, as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

/// One test after another: a reader of another could hold what has left.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn use_up<P: EvictionPolicy + 'static>(segments: usize, policy: fn() -> P) {
    let clock = ManualClock::new();
    let cache = Cache::builder().capacity(1_000).segments(segments).policy(policy);
    let cache = cache.time_to_live(Duration::from_secs(60)).clock(clock.clone()).build().unwrap();
    for key in 0..3_000_u64 {
        cache.put(key, Box::new(key));
        cache.get_with(&(key / 2), |value| assert_eq!(**value, key / 2));
        if key % 3 == 0 {
            cache.delete(&(key - key / 100));
        }
        if key % 300 == 0 {
            clock.advance(Duration::from_secs(15));
        }
    }
}

/// Caches that are dropped at each moment of their first growth.
fn grow(segments: usize) {
    for entries in 1..=40 {
        let cache = Cache::<u64, ()>::builder().capacity(100).segments(segments).build().unwrap();
        (0..entries).for_each(|key| cache.put(key, ()));
    }
}

#[test]
fn what_a_cache_has_asked_for_goes_with_it() {
    let _alone = alone();
    const ROUNDS: usize = 25;
    let all: [fn(usize); 5] = [
        grow,
        |segments| use_up(segments, Sieve::new),
        |segments| use_up(segments, Lru::new),
        |segments| use_up(segments, Lfu::new),
        |segments| use_up(segments, || Random::seeded(1)),
    ];
    // A thread keeps a few words of caches that are gone, for a while: so what counts is the least of many rounds.
    let least = || {
        let round = |use_up: &fn(usize)| {
            [1, 4].map(|segments| {
                use_up(segments);
                LIVE.get()
            })
        };
        let rounds = (0..ROUNDS / all.len()).flat_map(|_| all.iter().flat_map(round));
        rounds.min().unwrap()
    };
    least();
    let first = least();
    let leak = (least() - first) / ROUNDS as isize;
    assert_eq!(leak / 8, 0, "{leak} bytes a cache");
}

/// What a cache that is full and busy has asked for.
fn full(
    capacity: u64,
    segments: usize,
    choose: fn(Builder<u64, u64>) -> Builder<u64, u64>,
) -> usize {
    let before = LIVE.get();
    let cache = choose(Cache::builder().capacity(capacity).segments(segments)).build().unwrap();
    LARGEST.set(0);
    for key in 0..3 * capacity {
        cache.put(key, key);
    }
    assert!(LARGEST.get() <= 64 << 10, "{} bytes at once", LARGEST.get());
    cache.maintain();
    assert!(cache.len() as u64 > capacity - capacity / 50);
    usize::try_from(LIVE.get() - before).unwrap()
}

#[test]
fn an_entry_costs_48_bytes_and_no_call_asks_for_more_than_64_kib() {
    const CAPACITY: usize = 250_000;
    let _alone = alone();
    for segments in [1, 4] {
        let each = full(CAPACITY as u64, segments, |builder| builder) / CAPACITY;
        assert!((28..=48).contains(&each), "{each} bytes an entry");
    }
}

/// What it learns by costs a segment a fixed amount, which only small segments feel.
#[test]
fn the_default_policy_costs_7_bytes_an_entry_more_than_lru_and_64_kib_a_segment() {
    const CAPACITY: usize = 60_000;
    let _alone = alone();
    for segments in [1, 4, 16] {
        let lru = full(CAPACITY as u64, segments, |builder| builder.policy(Lru::new));
        let more = full(CAPACITY as u64, segments, |builder| builder) - lru;
        assert!(more <= 7 * CAPACITY + (64 << 10) * segments, "{more} bytes, {segments} segments");
    }
}

#[test]
fn an_empty_cache_is_small() {
    let _alone = alone();
    let empty = |segments: usize| {
        let before = LIVE.get();
        let cache = Cache::<u64, u64>::builder().capacity(1 << 20).segments(segments);
        let cache = cache.build().unwrap();
        assert_eq!(cache.get(&1), None);
        assert_eq!(cache.iter().count() + cache.len(), 0);
        usize::try_from(LIVE.get() - before).unwrap() + size_of_val(&cache)
    };
    empty(1);
    assert!(empty(1) < 4096, "{} bytes", empty(1));
    for segments in [16, 64] {
        assert!(empty(segments) <= 256 * segments, "{} bytes", empty(segments));
    }
}

#[test]
fn an_index_that_is_emptied_shrinks() {
    let _alone = alone();
    let cache = Cache::<u64, ()>::builder().capacity(100_000).segments(1).build().unwrap();
    let before = LIVE.get();
    (0..50_000).for_each(|key| cache.put(key, ()));
    let full = LIVE.get() - before;
    (0..50_000).for_each(|key| assert!(cache.delete(&key)));
    for _ in 0..100 {
        cache.put(0, ());
        cache.delete(&0);
        cache.maintain();
    }
    let empty = LIVE.get() - before;
    // The index was 10 to 12 bytes an entry.
    assert!(empty < full - 50_000 * 6, "{full} bytes, and then {empty}");
}
