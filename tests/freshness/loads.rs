//! L1, L5, L6, L7, L8 and T30: who loads, who waits, and for how long.

use super::*;
use cachette::Threads;
use std::sync::{Barrier, Mutex, OnceLock, mpsc};
use std::thread;

const SOFT: Duration = Duration::from_millis(100);
const HARD: Duration = Duration::from_millis(400);

pub(super) fn ready<T>(polled: Poll<T>) -> T {
    match polled {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it still waits"),
    }
}

/// Polls a future to its end.
fn spin<F: Future>(future: F) -> F::Output {
    let mut future = Box::pin(future);
    loop {
        match poll(&mut future) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::yield_now(),
        }
    }
}

#[test]
fn l1_everybody_shares_the_load_in_the_background() {
    let World { cache, hand, source, .. } =
        world_with(Freshness::new(TTL), |choices| choices.hard_timeout(HARD));
    let mut first = Box::pin(cache.load_entry_async(&1));
    assert!(poll(&mut first).is_pending());
    let mut tasks: Vec<_> = (0..4).map(|_| Box::pin(cache.load_async(&1))).collect();
    let other = async |_| Ok::<u64, u8>(99);
    let mut others: Vec<_> = (0..4).map(|_| Box::pin(cache.get_or_load_async(&1, other))).collect();
    assert!(tasks.iter_mut().all(|task| poll(task).is_pending()));
    assert!(others.iter_mut().all(|task| poll(task).is_pending()));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| cache.load(&1))).collect();
        let sure: Vec<_> = (0..4).map(|_| scope.spawn(|| cache.get_or_load(&1, |_| 99))).collect();
        // All have found nothing: they have joined, or are about to.
        while cache.stats().misses < 17 {
            thread::yield_now();
        }
        assert_eq!(hand.tasks(), 1);
        hand.run();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == Ok(0)));
        assert!(sure.into_iter().all(|thread| thread.join().unwrap() == Ok(0)));
    });
    let first = ready(poll(&mut first)).unwrap();
    assert_eq!((first.value, first.origin), (0, Origin::Load));
    assert!(tasks.iter_mut().all(|task| poll(task) == Poll::Ready(Ok(0))));
    assert!(others.iter_mut().all(|task| poll(task) == Poll::Ready(Ok(0))));
    assert_eq!((source.loads(), cache.stats().loads, hand.tasks()), (1, 1, 0));
}

#[test]
fn l1_a_thread_that_loads_by_itself_is_joined() {
    let ((entered, enter), (release, released)) = (mpsc::channel(), mpsc::channel());
    let released = Mutex::new(released);
    let cache = Cache::builder()
        .capacity(10)
        .loader(move |_: &u32| -> u64 {
            entered.send(()).unwrap();
            released.lock().unwrap().recv().unwrap()
        })
        .build()
        .unwrap();
    thread::scope(|scope| {
        let lead = scope.spawn(|| cache.load(&1));
        enter.recv().unwrap();
        let mut joins: Vec<_> = (0..4).map(|_| Box::pin(cache.load_entry_async(&1))).collect();
        assert!(joins.iter_mut().all(|join| poll(join).is_pending()));
        assert!(!cache.refresh(&1));
        release.send(7).unwrap();
        assert_eq!(lead.join().unwrap(), Ok(7));
        for join in &mut joins {
            let loaded = ready(poll(join)).unwrap();
            assert_eq!((loaded.value, loaded.origin), (7, Origin::Shared));
        }
    });
    assert_eq!(cache.stats().loads, 1);
}

#[test]
fn l1_a_herd_is_one_load_in_every_round() {
    // Without a timeout a thread that blocks loads by itself, and with one nobody does.
    for hard in [Duration::MAX, Duration::from_secs(3_600)] {
        let (loads, start) = (Arc::new(AtomicU64::new(0)), Barrier::new(6));
        let count = Arc::clone(&loads);
        let load = move |key: u32| {
            count.fetch_add(1, Ordering::SeqCst);
            thread::yield_now();
            u64::from(key)
        };
        let own = load.clone();
        let choices = Cache::builder().capacity(1_000).loader(move |key: &u32| own(*key));
        let choices = choices.spawn(Threads::new());
        let choices = if hard == Duration::MAX { choices } else { choices.hard_timeout(hard) };
        let cache = choices.build().unwrap();
        thread::scope(|scope| {
            for number in 0..6 {
                let (cache, start, load) = (&cache, &start, &load);
                scope.spawn(move || {
                    for key in 0..100 {
                        start.wait();
                        let value = match number % 4 {
                            0 => cache.load(&key).unwrap(),
                            1 => spin(cache.load_async(&key)).unwrap(),
                            2 => cache.get_or_load(&key, |key| Ok::<_, u8>(load(*key))).unwrap(),
                            _ => spin(cache.get_or_load_async(&key, async |key| {
                                breathe().await;
                                load(key)
                            }))
                            .unwrap(),
                        };
                        assert_eq!(value, u64::from(key));
                    }
                });
            }
        });
        assert_eq!((loads.load(Ordering::SeqCst), cache.stats().loads), (100, 100));
    }
}

/// At whatever point the caller gives up, the load goes on.
#[test]
fn l6_a_load_in_the_background_outlives_its_callers() {
    for polls in 1..=3 {
        for runs in 0..=2 {
            let World { cache, hand, source, .. } = slow_world(Freshness::new(TTL), |choices| {
                choices.soft_timeout(SOFT).hard_timeout(HARD)
            });
            let mut callers: Vec<_> = (0..2).map(|_| Box::pin(cache.load_async(&1))).collect();
            for poll_number in 0..polls {
                let ended = callers.iter_mut().map(|caller| poll(caller).is_ready());
                assert!(ended.eq([false; 2]));
                match poll_number {
                    0 => (0..runs.min(1)).for_each(|_| hand.run()),
                    1 => hand.pass(SOFT),
                    _ => {}
                }
            }
            (1..runs).for_each(|_| hand.run());
            drop(callers);
            while hand.tasks() > 0 {
                hand.run();
            }
            assert_eq!((cache.get(&1), source.loads()), (Some(0), 1), "{polls} polls, {runs} runs");
        }
    }
    // Never polled: nothing has begun.
    let World { cache, hand, .. } = slow_world(Freshness::new(TTL), |choices| choices);
    drop(cache.load_async(&1));
    assert_eq!(hand.tasks(), 0);
}

/// The thread that blocks gives up too.
#[test]
fn t30_a_thread_gives_up_and_the_value_is_cached() {
    let World { cache, hand, source, .. } =
        world_with(Freshness::new(TTL), |choices| choices.hard_timeout(HARD));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| cache.load(&1))).collect();
        while hand.sleepers() < 3 {
            thread::yield_now();
        }
        hand.pass(HARD);
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Err(LoadError::TimedOut(HARD)));
        }
    });
    // The next caller joins what is still under way.
    let mut next = Box::pin(cache.load_async(&1));
    assert!(poll(&mut next).is_pending());
    assert_eq!(hand.tasks(), 1);
    hand.run();
    assert_eq!((poll(&mut next), source.loads()), (Poll::Ready(Ok(0)), 1));
}

#[test]
fn l5_a_load_in_a_caller_s_hands_is_handed_over() {
    let source = Source::default();
    let own = source.clone();
    let cache = Cache::builder()
        .capacity(10)
        .loader_async(move |_: u32| {
            let own = own.clone();
            async move {
                breathe().await;
                let answer = own.load();
                breathe().await;
                answer
            }
        })
        .build()
        .unwrap();
    for (key, polls) in [(1, 1), (2, 2)] {
        let before = source.loads();
        let mut lead = Box::pin(cache.load_async(&key));
        (0..polls).for_each(|_| assert!(poll(&mut lead).is_pending()));
        let mut joins: Vec<_> = (0..3).map(|_| Box::pin(cache.load_async(&key))).collect();
        assert!(joins.iter_mut().all(|join| poll(join).is_pending()));
        drop(lead);
        // One leads anew, from the beginning, and is joined.
        (0..2).for_each(|_| assert!(poll(&mut joins[0]).is_pending()));
        assert!(joins[1..].iter_mut().all(|join| poll(join).is_pending()));
        let value = ready(poll(&mut joins[0]));
        assert_eq!(value, Ok(source.loads() - 1));
        assert!(joins[1..].iter_mut().all(|join| ready(poll(join)) == value));
        assert_eq!(source.loads() - before, polls, "asked anew where it had been asked");
    }
}

#[test]
fn l8_after_the_soft_timeout_the_stale_value_is_served() {
    let freshness = Freshness::new(TTL).stale_if_error(seconds(20));
    let World { cache, clock, hand, source } =
        world_with(freshness, |choices| choices.soft_timeout(SOFT).hard_timeout(HARD));
    cache.put(1, 100);
    clock.advance(TTL);
    let mut caller = Box::pin(cache.load_entry_async(&1));
    assert!(poll(&mut caller).is_pending());
    hand.pass(SOFT - Duration::from_nanos(1));
    assert!(poll(&mut caller).is_pending());
    hand.pass(Duration::from_nanos(1));
    let loaded = ready(poll(&mut caller)).unwrap();
    assert_eq!((loaded.value, loaded.origin, loaded.refreshing), (100, Origin::Stale, true));
    assert_eq!((loaded.age, loaded.left), (Some(TTL), Duration::ZERO));
    // A thread that comes now joins the same load, and has the same patience.
    let asleep = hand.sleepers();
    thread::scope(|scope| {
        let thread = scope.spawn(|| cache.load(&1));
        while hand.sleepers() < asleep + 2 {
            thread::yield_now();
        }
        hand.pass(SOFT);
        assert_eq!(thread.join().unwrap(), Ok(100));
    });
    assert_eq!((hand.tasks(), source.loads()), (1, 0));
    hand.run();
    assert_eq!((cache.get(&1), source.loads(), cache.stats().stale), (Some(0), 1, 2));
}

#[test]
fn l8_without_a_stale_value_callers_wait_for_the_hard_timeout() {
    let freshness = Freshness::new(TTL).stale_if_error(seconds(20));
    let World { cache, hand, .. } =
        world_with(freshness, |choices| choices.soft_timeout(SOFT).hard_timeout(HARD));
    let mut early = Box::pin(cache.load_async(&1));
    let mut late = Box::pin(cache.load_async(&1));
    assert!(poll(&mut early).is_pending() && poll(&mut late).is_pending());
    hand.pass(SOFT);
    assert!(poll(&mut early).is_pending() && poll(&mut late).is_pending());
    hand.pass(HARD - SOFT - Duration::from_nanos(1));
    assert!(poll(&mut early).is_pending());
    hand.pass(Duration::from_nanos(1));
    assert_eq!(ready(poll(&mut early)), Err(LoadError::TimedOut(HARD)));
    // The value has come just before this one looks.
    hand.run();
    assert_eq!(ready(poll(&mut late)), Ok(0));
    assert_eq!(cache.get(&1), Some(0));
}

/// Each timeout alone; and the stale value is as good after the hard one.
#[test]
fn l8_one_timeout_without_the_other() {
    let freshness = Freshness::new(TTL).stale_if_error(seconds(20));
    let World { cache, clock, hand, source } =
        world_with(freshness, |choices| choices.hard_timeout(HARD));
    cache.put(1, 100);
    clock.advance(TTL);
    let mut caller = Box::pin(cache.load_entry_async(&1));
    assert!(poll(&mut caller).is_pending());
    hand.pass(HARD);
    let loaded = ready(poll(&mut caller)).unwrap();
    assert_eq!((loaded.value, loaded.origin), (100, Origin::Stale));
    // No failure: nobody is told to wait, and the next one waits for the load.
    let mut next = Box::pin(cache.load_async(&1));
    assert!(poll(&mut next).is_pending());
    hand.run();
    assert_eq!((ready(poll(&mut next)), source.loads()), (Ok(0), 1));

    let World { cache, hand, .. } = world_with(freshness, |choices| choices.soft_timeout(SOFT));
    let mut caller = Box::pin(cache.load_async(&1));
    assert!(poll(&mut caller).is_pending());
    hand.pass(seconds(1_000));
    assert!(poll(&mut caller).is_pending());
    hand.run();
    assert_eq!(ready(poll(&mut caller)), Ok(0));
}

type Inside = Arc<OnceLock<Numbers>>;

/// What a loader makes of another load's end.
fn passed_on(ended: Result<u64, LoadError<String>>) -> Result<u64, String> {
    ended.map_err(|error| match error {
        LoadError::Failed(why) => why.to_string(),
        LoadError::Recursive => "recursive".to_owned(),
        error => panic!("{error:?}"),
    })
}

fn recursive() -> Result<u64, LoadError<String>> {
    Err(LoadError::Failed(Arc::new("recursive".to_owned())))
}

/// Keys below 3 are a ring, 3 asks for itself, and the others are their own values.
fn next_of(key: u32) -> Option<u32> {
    [1, 2, 0, 3].get(key as usize).copied()
}

fn ring(choose: impl FnOnce(Choices) -> Choices) -> Numbers {
    let inside = Inside::default();
    let own = Arc::clone(&inside);
    let load = move |key: &u32| match (next_of(*key), own.get()) {
        (Some(next), Some(cache)) => passed_on(cache.load(&next)),
        _ => Ok(u64::from(*key)),
    };
    let cache = choose(Cache::builder().capacity(100).loader(load)).build().unwrap();
    inside.set(cache.clone()).unwrap();
    cache
}

#[test]
fn l7_a_loader_that_asks_for_its_own_key_is_told() {
    let hour = seconds(3_600);
    let caches = [
        ring(|choices| choices),
        ring(|choices| choices.spawn(Threads::new())),
        // Each load on a thread of its own.
        ring(|choices| choices.spawn(Threads::new()).hard_timeout(hour)),
    ];
    for cache in caches {
        for key in 0..4 {
            assert_eq!(cache.load(&key), recursive());
            assert_eq!(spin(cache.load_async(&key)), recursive());
        }
        assert_eq!(cache.load(&4), Ok(4));
        assert_eq!(cache.stats().entries, 1, "nothing is kept of it");
        for key in 0..4 {
            cache.put(key, 7);
            assert_eq!(cache.load(&key), Ok(7), "no mark is left behind");
        }
    }
}

#[test]
fn l7_two_threads_that_wait_for_each_other_are_told() {
    let (inside, both) = (Inside::default(), Arc::new(Barrier::new(2)));
    let (own, meet) = (Arc::clone(&inside), Arc::clone(&both));
    let load = move |key: &u32| {
        meet.wait();
        passed_on(own.get().unwrap().load(&(1 - key)))
    };
    let cache = Cache::builder().capacity(100).loader(load).build().unwrap();
    inside.set(cache.clone()).unwrap();
    thread::scope(|scope| {
        let threads: Vec<_> = [0, 1]
            .into_iter()
            .map(|key| {
                scope.spawn({
                    let cache = &cache;
                    move || cache.load(&key)
                })
            })
            .collect();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == recursive()));
    });
}

#[test]
fn l7_a_task_in_the_background_that_asks_for_its_own_key_is_told() {
    let (inside, hand) = (Inside::default(), Hand::default());
    let own = Arc::clone(&inside);
    let load = move |key: u32| {
        let cache = own.get().unwrap().clone();
        async move { passed_on(cache.load_async(&next_of(key).unwrap()).await) }
    };
    let cache = Cache::builder().capacity(100).loader_async(load).spawn(hand.clone());
    let cache = cache.build().unwrap();
    inside.set(cache.clone()).unwrap();
    for key in [3, 0] {
        let mut caller = Box::pin(cache.load_async(&key));
        let mut rounds = 0;
        let ended = loop {
            match poll(&mut caller) {
                Poll::Ready(ended) => break ended,
                Poll::Pending => hand.run(),
            }
            rounds += 1;
            assert!(rounds < 10, "it hangs");
        };
        assert_eq!((ended, hand.tasks()), (recursive(), 0));
    }
    // A refresh asks for what is resident: no recursion.
    cache.put(3, 7);
    assert!(cache.refresh(&3));
    hand.run();
    assert_eq!((cache.load(&3), cache.stats().refreshes), (Ok(7), 1));
}

#[test]
fn l8_a_value_that_cannot_be_kept_is_returned() {
    for (capacity, heavy) in [(0, false), (5, true)] {
        for hard in [None, Some(HARD)] {
            let (hand, source) = (Hand::default(), Source::default());
            let own = source.clone();
            let choices = Cache::builder()
                .capacity(capacity)
                .weigher(move |_: &u32, value: &u64| if heavy && *value < 50 { 6 } else { 1 })
                .freshness(Freshness::new(TTL).stale_if_error(TTL))
                .loader(move |_: &u32| own.load())
                .spawn(hand.clone());
            let cache = match hard {
                Some(hard) => choices.hard_timeout(hard),
                None => choices,
            };
            let cache = cache.build().unwrap();
            cache.put(1, 100);
            assert_eq!(cache.get(&1), heavy.then_some(100));
            cache.refresh(&1);
            hand.run();
            assert_eq!((cache.get(&1), source.loads()), (None, 1), "the old one is out of date");
            let mut callers: Vec<_> =
                (0..3).map(|_| Box::pin(cache.load_entry_async(&1))).collect();
            assert!(callers.iter_mut().all(|caller| poll(caller).is_pending()));
            hand.run();
            for (number, caller) in callers.iter_mut().enumerate() {
                let loaded = ready(poll(caller)).unwrap();
                let origin = if number == 0 { Origin::Load } else { Origin::Shared };
                assert_eq!((loaded.value, loaded.origin), (1, origin));
                assert_eq!((loaded.left, loaded.age), (Duration::ZERO, Some(Duration::ZERO)));
            }
            if hard.is_none() {
                assert_eq!(cache.load(&1), Ok(2));
            }
            assert_eq!((cache.get(&1), cache.stats().entries), (None, 0));
        }
    }
}

/// A stale value is no answer to who asks for what it is loading itself.
#[test]
fn l7_recursion_is_told_though_there_is_a_stale_value() {
    let (inside, clock) = (Inside::default(), ManualClock::new());
    let own = Arc::clone(&inside);
    let cache = Cache::builder()
        .capacity(10)
        .freshness(Freshness::new(TTL).stale_if_error(TTL))
        .clock(clock.clone())
        .loader(move |key: &u32| {
            assert!(matches!(own.get().unwrap().load(key), Err(LoadError::Recursive)));
            Ok::<u64, String>(7)
        })
        .build()
        .unwrap();
    inside.set(cache.clone()).unwrap();
    cache.put(1, 100);
    clock.advance(TTL);
    assert_eq!((cache.load(&1), cache.stats().stale), (Ok(7), 0));
}

#[test]
fn t30_who_waits_too_long_for_a_load_that_a_write_overtook_has_what_was_written() {
    let (hand, timeout) = (Hand::default(), Duration::from_millis(60));
    let cache = Cache::<u32, u64>::builder()
        .capacity(100)
        .loader(|_| 7)
        .spawn(hand.clone())
        .hard_timeout(timeout)
        .build()
        .unwrap();
    let mut caller = Box::pin(cache.load_entry_async(&1));
    assert!(poll(&mut caller).is_pending());
    cache.put(1, 8);
    hand.pass(timeout);
    let Poll::Ready(Ok(loaded)) = poll(&mut caller) else { panic!("it is there") };
    assert_eq!((loaded.value, loaded.origin), (8, Origin::Hit));
}
