//! L1, L5 and T4 where the background is odd, or many come at once.

use super::loads::ready;
use super::*;
use cachette::{Spawn, Task};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Barrier, OnceLock};
use std::thread;

/// A background without threads: what it is given is dropped.
struct Nowhere;

impl Spawn for Nowhere {
    fn spawn(&self, task: Task) {
        drop(task);
    }

    fn sleep(&self, _: Duration) -> Task {
        Box::pin(std::future::pending())
    }
}

/// A background that runs everything at once, on the caller's thread.
struct AtOnce;

impl Spawn for AtOnce {
    fn spawn(&self, mut task: Task) {
        assert!(poll(&mut task).is_ready());
    }

    fn sleep(&self, _: Duration) -> Task {
        Box::pin(std::future::pending())
    }
}

fn cache_of(clock: &ManualClock, source: &Source, spawn: impl Spawn + 'static) -> Numbers {
    let own = source.clone();
    Cache::builder()
        .capacity(100)
        .freshness(Freshness::new(TTL).refresh_ahead(0.5).throttle(seconds(1)))
        .clock(clock.clone())
        .loader(move |_: &u32| own.load())
        .spawn(spawn)
        .hard_timeout(TTL)
        .build()
        .unwrap()
}

#[test]
fn l5_a_background_that_runs_nothing_leaves_nobody_behind() {
    let (clock, source) = (ManualClock::new(), Source::default());
    let cache = cache_of(&clock, &source, Nowhere);
    for _ in 0..2 {
        assert_eq!(cache.load(&1), Err(LoadError::Lost));
        assert_eq!(ready(poll(&mut Box::pin(cache.load_async(&1)))), Err(LoadError::Lost));
    }
    cache.put(1, 100);
    clock.advance(seconds(5));
    for (wait, failures) in [(0, 1), (0, 1), (1, 2)] {
        clock.advance(seconds(wait));
        assert_eq!((cache.load(&1), cache.stats().refresh_failures), (Ok(100), failures));
    }
    assert!(cache.refresh(&1), "it was begun, and failed");
    assert_eq!((cache.load(&1), source.loads()), (Ok(100), 0));
}

#[test]
fn l8_a_background_that_runs_at_once_is_one() {
    let (clock, source) = (ManualClock::new(), Source::default());
    let cache = cache_of(&clock, &source, AtOnce);
    assert_eq!((cache.load(&1), cache.get(&1)), (Ok(0), Some(0)));
    assert_eq!(ready(poll(&mut Box::pin(cache.load_async(&2)))), Ok(1));
    clock.advance(seconds(5));
    assert_eq!((cache.load(&1), cache.load(&1)), (Ok(0), Ok(2)), "refreshed behind the read");
    assert_eq!(cache.stats().refreshes, 1);
}

/// Each caller tries once, whoever leads.
#[test]
fn l5_a_loader_that_panics_in_the_background_leaves_nobody_behind() {
    let hand = Hand::default();
    let load = |_: &u32| -> u64 { panic!("in the loader") };
    let cache = Cache::builder().capacity(9).loader(load).spawn(hand.clone()).build().unwrap();
    let mut callers: Vec<_> = (0..4).map(|_| Box::pin(cache.load_async(&1))).collect();
    for panics in 1..=4 {
        callers.retain_mut(|caller| match poll(caller) {
            Poll::Pending => true,
            Poll::Ready(ended) => {
                assert_eq!(ended, Err(LoadError::Lost));
                false
            }
        });
        assert_eq!((callers.len(), hand.tasks()), (5 - panics, 1));
        assert!(catch_unwind(AssertUnwindSafe(|| hand.run())).is_err());
        assert_eq!(cache.stats().load_failures, panics as u64);
    }
    assert_eq!(ready(poll(&mut callers[0])), Err(LoadError::Lost));
    assert_eq!((hand.tasks(), cache.get(&1)), (0, None));
}

#[test]
fn t4_of_many_threads_one_refreshes() {
    let World { cache, clock, hand, source } =
        world(Freshness::new(TTL).refresh_ahead(0.5).stale_while_revalidate(TTL));
    let all_at_once = |begins: &(dyn Fn() -> bool + Sync)| {
        let start = Barrier::new(6);
        let begun = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    start.wait();
                    begun.fetch_add(u64::from(begins()), Ordering::SeqCst);
                });
            }
        });
        begun.into_inner()
    };
    for round in 0..100 {
        cache.put(1, 1_000);
        // Fresh and due, stale, and by hand.
        match round % 3 {
            0 => clock.advance(seconds(5)),
            1 => clock.advance(TTL),
            _ => {
                assert_eq!(all_at_once(&|| cache.refresh(&1)), 1);
                hand.run();
                continue;
            }
        }
        assert_eq!(all_at_once(&|| cache.load(&1) == Ok(1_000)), 6);
        assert_eq!((hand.tasks(), source.loads()), (1, round));
        hand.run();
        assert_eq!(cache.get(&1), Some(round));
    }
    assert_eq!(cache.stats().refreshes, 100);
}

/// L2: the loader's own write is a write.
#[test]
fn t4_what_the_loader_writes_itself_stays() {
    let (inside, hand) = (Arc::new(OnceLock::<Numbers>::new()), Hand::default());
    let own = Arc::clone(&inside);
    let load = move |key: &u32| {
        own.get().unwrap().put(*key, 7);
        Ok::<u64, String>(8)
    };
    let cache = Cache::builder().capacity(9).loader(load).spawn(hand.clone()).build().unwrap();
    inside.set(cache.clone()).unwrap();
    assert_eq!((cache.load(&1), cache.get(&1)), (Ok(8), Some(7)));
    cache.put(2, 100);
    assert!(cache.refresh(&2));
    hand.run();
    assert_eq!(cache.get(&2), Some(7));
    let mut caller = Box::pin(cache.load_entry_async(&3));
    assert!(poll(&mut caller).is_pending());
    hand.run();
    assert_eq!(ready(poll(&mut caller)).unwrap().value, 8);
    assert_eq!(cache.get(&3), Some(7));
}
