//! A cache with its loader: freshness, refreshes, stale values, timeouts, kept errors.

#[path = "freshness/background.rs"]
mod background;
#[path = "freshness/choices.rs"]
mod choices;
#[path = "freshness/errors.rs"]
mod errors;
#[path = "support/hand.rs"]
mod hand;
#[path = "freshness/lifetimes.rs"]
mod lifetimes;
#[path = "freshness/loads.rs"]
mod loads;
#[path = "freshness/refresh.rs"]
mod refresh;
#[path = "freshness/reload.rs"]
mod reload;
#[path = "support/rng.rs"]
mod rng;
#[path = "freshness/timeline.rs"]
mod timeline;

use cachette::{Backoff, Cache, Freshness, LoadError, LoadingBuilder, LoadingCache, ManualClock};
use cachette::{Origin, Stats};
use hand::Hand;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const TTL: Duration = seconds(10);

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A source that counts its answers, which are their numbers, and fails if told to.
#[derive(Clone, Default)]
struct Source {
    loads: Arc<AtomicU64>,
    down: Arc<AtomicBool>,
}

impl Source {
    fn loads(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }

    fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    fn load(&self) -> Result<u64, String> {
        let number = self.loads.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) { Err(format!("down at {number}")) } else { Ok(number) }
    }
}

type Numbers = LoadingCache<u32, u64, String>;
type Choices = LoadingBuilder<u32, u64, String>;

struct World {
    cache: Numbers,
    clock: ManualClock,
    hand: Hand,
    source: Source,
}

fn world(freshness: Freshness) -> World {
    world_with(freshness, |choices| choices)
}

/// A world with more choices.
fn world_with(freshness: Freshness, choose: impl FnOnce(Choices) -> Choices) -> World {
    let (clock, hand, source) = (ManualClock::new(), Hand::default(), Source::default());
    let own = source.clone();
    let builder = Cache::builder().capacity(100).freshness(freshness).clock(clock.clone());
    let choices = builder.loader(move |_: &u32| own.load()).spawn(hand.clone());
    World { cache: choose(choices).build().unwrap(), clock, hand, source }
}

/// A world whose loader asks the source, and is suspended once before it answers.
fn slow_world(freshness: Freshness, choose: impl FnOnce(Choices) -> Choices) -> World {
    let (clock, hand, source) = (ManualClock::new(), Hand::default(), Source::default());
    let own = source.clone();
    let builder = Cache::builder().capacity(100).freshness(freshness).clock(clock.clone());
    let load = move |_: u32| {
        let own = own.clone();
        async move {
            let answer = own.load();
            breathe().await;
            answer
        }
    };
    let choices = builder.loader_async(load).spawn(hand.clone());
    World { cache: choose(choices).build().unwrap(), clock, hand, source }
}

/// Suspends once.
async fn breathe() {
    let mut first = true;
    poll_fn(|_| if std::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(()) }).await;
}

/// What the source says when it is down.
fn down_at<V>(number: u64) -> Result<V, LoadError<String>> {
    Err(LoadError::Failed(Arc::new(format!("down at {number}"))))
}

/// Hits, misses, stale values, refreshes and those that failed, loads and those that failed.
fn counts(stats: &Stats) -> [u64; 7] {
    let Stats { hits, misses, stale, refreshes, refresh_failures, loads, load_failures, .. } =
        *stats;
    [hits, misses, stale, refreshes, refresh_failures, loads, load_failures]
}

#[test]
fn l8_a_read_late_in_the_ttl_refreshes_behind() {
    let World { cache, clock, hand, source } = world(Freshness::new(TTL).refresh_ahead(0.8));
    assert_eq!(cache.load(&1), Ok(0));
    clock.advance(seconds(7));
    assert_eq!((cache.load(&1), hand.tasks()), (Ok(0), 0));
    clock.advance(seconds(1));
    for _ in 0..3 {
        assert_eq!((cache.load(&1), hand.tasks(), source.loads()), (Ok(0), 1, 1));
    }
    hand.run();
    assert_eq!((cache.load(&1), hand.tasks(), source.loads()), (Ok(1), 0, 2));
    assert_eq!((cache.stats().refreshes, cache.stats().loads), (1, 2));
    assert_eq!(cache.time_to_live_of(&1), Some(TTL), "as fresh as a new one");
}

#[test]
fn t28_a_stale_value_stands_in_for_an_error() {
    let World { cache, clock, hand, source } =
        world(Freshness::new(TTL).stale_if_error(seconds(20)).throttle(seconds(3)));
    assert_eq!(cache.load(&1), Ok(0));
    source.set_down(true);
    clock.advance(TTL);
    assert_eq!(cache.get(&1), None, "only loads see what is stale");
    for _ in 0..3 {
        let loaded = cache.load_entry(&1).unwrap();
        assert_eq!((loaded.value, loaded.origin, loaded.age), (0, Origin::Stale, Some(TTL)));
        assert_eq!(source.loads(), 2, "nobody asks again so soon");
    }
    clock.advance(seconds(3));
    assert_eq!((cache.load(&1), source.loads()), (Ok(0), 3));
    clock.advance(seconds(16));
    assert_eq!((cache.load(&1), source.loads()), (Ok(0), 4));
    clock.advance(seconds(1));
    let error = cache.load(&1).unwrap_err();
    assert!(matches!(&error, LoadError::Failed(why) if **why == "down at 4"), "{error:?}");
    assert_eq!((hand.tasks(), cache.stats().stale), (0, 5));
}

#[test]
fn l8_a_stale_value_is_served_while_it_is_loaded_anew() {
    let World { cache, clock, hand, source } =
        world(Freshness::new(TTL).stale_while_revalidate(seconds(5)));
    assert_eq!(cache.load(&1), Ok(0));
    clock.advance(TTL + seconds(4));
    for _ in 0..3 {
        let loaded = cache.load_entry(&1).unwrap();
        assert!(loaded.is_stale() && loaded.refreshing);
        assert_eq!((loaded.value, hand.tasks(), source.loads()), (0, 1, 1));
    }
    hand.run();
    let loaded = cache.load_entry(&1).unwrap();
    assert_eq!((loaded.value, loaded.origin, loaded.left), (1, Origin::Hit, TTL));
    clock.advance(TTL + seconds(5));
    assert_eq!((cache.load(&1), hand.tasks()), (Ok(2), 0), "too late: the caller loads");
}

#[test]
fn t29_an_error_is_kept_if_that_is_asked_for() {
    let (clock, source) = (ManualClock::new(), Source::default());
    let own = source.clone();
    let backoff = Backoff { first: seconds(1), most: seconds(4) };
    let cache = Cache::builder()
        .capacity(100)
        .clock(clock.clone())
        .loader(move |_: &u32| own.load())
        .cache_errors(move |_, failures| Some(backoff.after(failures)))
        .build()
        .unwrap();
    source.set_down(true);
    let fails = |number: u64| {
        for _ in 0..3 {
            let error = cache.load(&1).unwrap_err();
            assert_eq!(error, LoadError::Failed(Arc::new(format!("down at {number}"))));
            assert_eq!(source.loads(), number + 1);
        }
    };
    fails(0);
    for (wait, number) in [(1, 1), (2, 2), (4, 3), (4, 4)] {
        clock.advance(seconds(wait) - Duration::from_nanos(1));
        fails(number - 1);
        clock.advance(Duration::from_nanos(1));
        fails(number);
    }
    cache.delete(&1);
    source.set_down(false);
    assert_eq!(cache.load(&1), Ok(5), "a deletion ends it");
}

/// Polls a future once.
fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn t30_ten_callers_give_up_and_the_value_is_cached() {
    let (hand, source) = (Hand::default(), Source::default());
    let own = source.clone();
    let timeout = Duration::from_millis(60);
    let cache = Cache::builder()
        .capacity(100)
        .loader(move |_: &u32| own.load())
        .spawn(hand.clone())
        .hard_timeout(timeout)
        .build()
        .unwrap();
    let mut callers: Vec<_> = (0..10).map(|_| Box::pin(cache.load_async(&1))).collect();
    assert!(callers.iter_mut().all(|caller| poll(caller).is_pending()));
    assert_eq!((hand.tasks(), hand.sleepers()), (1, 10), "one load for all");
    hand.pass(timeout);
    for caller in &mut callers {
        assert_eq!(poll(caller), Poll::Ready(Err(LoadError::TimedOut(timeout))));
    }
    drop(callers);
    hand.run();
    assert_eq!((cache.get(&1), source.loads()), (Some(0), 1));
}

#[test]
fn l5_a_load_that_is_lost_is_an_error() {
    let World { cache, clock, hand, source } = world(Freshness::new(TTL).refresh_ahead(0.5));
    let mut caller = Box::pin(cache.load_async(&1));
    assert!(poll(&mut caller).is_pending());
    hand.lose();
    // Led again, and lost again: the caller hears of it, and nobody is left behind.
    assert_eq!(poll(&mut caller), Poll::Ready(Err(LoadError::Lost)));
    assert_eq!((hand.tasks(), source.loads()), (0, 0));
    assert_eq!(cache.load(&1), Ok(0), "the next call loads");
    // A refresh that is lost is one that failed.
    clock.advance(seconds(6));
    assert_eq!((cache.load(&1), hand.tasks()), (Ok(0), 1));
    hand.lose();
    assert_eq!((cache.load(&1), hand.tasks(), cache.stats().refresh_failures), (Ok(0), 0, 1));
    clock.advance(seconds(1));
    assert_eq!((cache.load(&1), hand.tasks()), (Ok(0), 1));
    hand.run();
    assert_eq!(cache.load(&1), Ok(1));
}
