//! T4 and L8: what is loaded anew behind its readers, and what is written meanwhile.

use super::*;
use cachette::Compute;
use cachette::policy::Lru;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock};

type Write = fn(&Numbers);

/// A world with 100 under the key 1, which is being loaded anew: the loader has begun, or is about to.
fn being_refreshed(freshness: Freshness, begun: bool) -> World {
    let world = slow_world(freshness.refresh_ahead(0.5), |choices| choices);
    world.cache.put(1, 100);
    world.clock.advance(seconds(5));
    assert_eq!((world.cache.load(&1), world.hand.tasks()), (Ok(100), 1));
    if begun {
        world.hand.run();
        assert_eq!((world.source.loads(), world.hand.tasks()), (1, 1));
    }
    world
}

fn run_all(hand: &Hand) {
    while hand.tasks() > 0 {
        hand.run();
    }
}

#[test]
fn t4_a_refresh_replaces_no_newer_value_and_brings_none_back() {
    let writes: [(&str, Write, Option<u64>); 10] = [
        ("put", |cache| cache.put(1, 7), Some(7)),
        ("put_with_ttl", |cache| cache.put_with_ttl(1, 7, seconds(9)), Some(7)),
        ("replace_if", |cache| assert!(cache.replace_if(1, 7, |old| *old == 100)), Some(7)),
        ("delete", |cache| assert!(cache.delete(&1)), None),
        ("take", |cache| assert_eq!(cache.take(&1), Some(100)), None),
        ("compute", |cache| assert!(cache.compute(1, |_| Compute::Delete).is_ok()), None),
        ("clear", |cache| cache.clear(), None),
        ("retain", |cache| cache.retain(|_, _| false), None),
        ("expire_in", |cache| assert!(cache.expire_in(&1, Duration::ZERO)), None),
        ("delete and put", |cache| assert!(cache.delete(&1) && cache.put_if_absent(1, 7)), Some(7)),
    ];
    for (name, write, left) in writes {
        for begun in [false, true] {
            let World { cache, hand, source, .. } = being_refreshed(Freshness::new(TTL), begun);
            write(&cache);
            assert_eq!(cache.get(&1), left, "{name}");
            run_all(&hand);
            assert_eq!((cache.get(&1), source.loads()), (left, 1), "{name}, begun: {begun}");
            assert!(cache.refresh(&1), "{name}: the next one may begin");
            run_all(&hand);
            assert_eq!(cache.get(&1), Some(1), "{name}");
        }
    }
}

/// Who hears that the old value was replaced comes between the landing of a refresh and its end.
#[test]
fn t4_a_refresh_that_has_landed_leaves_the_claim_of_the_next() {
    let (clock, hand, source) = (ManualClock::new(), Hand::default(), Source::default());
    let (cell, later) = (Arc::new(OnceLock::<Numbers>::new()), clock.clone());
    let heard = Arc::clone(&cell);
    let cache: Numbers = Cache::builder()
        .capacity(9)
        .freshness(Freshness::new(TTL).refresh_ahead(0.5))
        .clock(clock.clone())
        .removal_listener(move |_, _, _| {
            later.advance(seconds(5));
            let next = heard.get().map(|cache| cache.load_entry(&1));
            assert!(next.is_some_and(|next| next.unwrap().refreshing));
        })
        .loader(move |_| source.load())
        .spawn(hand.clone())
        .build()
        .unwrap();
    cell.set(cache.clone()).unwrap();
    assert_eq!(cache.load(&1), Ok(0));
    clock.advance(seconds(5));
    assert!(cache.load_entry(&1).unwrap().refreshing);
    hand.run();
    assert_eq!((hand.tasks(), cache.stats().listener_panics), (1, 0), "the next has begun");
    assert!(cache.load_entry(&1).unwrap().refreshing, "and is claimed");
}

/// A write may end a refresh, and leave the entry: another is to come.
#[test]
fn t4_a_refresh_that_is_overtaken_gives_its_claim_back() {
    let writes: [(&str, Write); 2] = [
        ("retain", |cache| cache.retain(|_, _| true)),
        ("expire_in", |cache| assert!(cache.expire_in(&1, seconds(3)))),
    ];
    for (name, write) in writes {
        let World { cache, hand, .. } = being_refreshed(Freshness::new(TTL), true);
        write(&cache);
        run_all(&hand);
        assert_eq!((cache.load(&1), hand.tasks()), (Ok(100), 1), "{name}: the next is begun");
        run_all(&hand);
        assert_eq!((cache.load(&1), hand.tasks()), (Ok(1), 0), "{name}");
    }
    let stale = Freshness::new(TTL).stale_while_revalidate(seconds(20));
    let World { cache, hand, .. } = being_refreshed(stale, true);
    assert!(cache.expire_in(&1, Duration::ZERO));
    run_all(&hand);
    let loaded = cache.load_entry(&1).unwrap();
    assert_eq!((loaded.value, loaded.is_stale(), loaded.refreshing), (100, true, true));
    run_all(&hand);
    assert_eq!(cache.load(&1), Ok(1));
}

#[test]
fn t4_eviction_and_expiry_do_not_stop_a_refresh() {
    let (clock, hand, source) = (ManualClock::new(), Hand::default(), Source::default());
    let own = source.clone();
    let cache = Cache::builder()
        .capacity(1)
        .policy(Lru::new)
        .freshness(Freshness::new(TTL).refresh_ahead(0.5))
        .clock(clock.clone())
        .loader(move |_: &u32| own.load())
        .spawn(hand.clone())
        .build()
        .unwrap();
    cache.put(1, 100);
    clock.advance(seconds(5));
    assert_eq!((cache.load(&1), hand.tasks()), (Ok(100), 1));
    cache.put(2, 200);
    assert!(!cache.contains_key(&1));
    hand.run();
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(0), None));
    clock.advance(seconds(5));
    assert_eq!((cache.load(&1), hand.tasks()), (Ok(0), 1));
    clock.advance(seconds(6));
    cache.maintain();
    assert_eq!(cache.stats().entries, 0);
    hand.run();
    assert_eq!(cache.get(&1), Some(1));
}

#[test]
fn t4_at_most_one_refresh_a_key() {
    let World { cache, clock, hand, source } = world(Freshness::new(TTL).refresh_ahead(0.5));
    cache.put(1, 100);
    clock.advance(seconds(5));
    assert_eq!((cache.load(&1), hand.tasks()), (Ok(100), 1));
    for _ in 0..3 {
        assert!(!cache.refresh(&1));
        let loaded = cache.load_entry(&1).unwrap();
        assert_eq!((loaded.value, loaded.origin, loaded.refreshing), (100, Origin::Hit, true));
    }
    assert_eq!((hand.tasks(), source.loads()), (1, 0));
    hand.run();
    // By hand, and again while that runs; a reader that is due meanwhile begins none either.
    assert!(cache.refresh(&1) && !cache.refresh(&1));
    clock.advance(seconds(5));
    assert_eq!((cache.load(&1), hand.tasks(), source.loads()), (Ok(0), 1, 1));
    hand.run();
    assert_eq!((cache.load(&1), hand.tasks(), source.loads()), (Ok(1), 0, 2));
    // A load is under way.
    let mut caller = Box::pin(cache.load_async(&2));
    assert!(poll(&mut caller).is_pending());
    assert!(!cache.refresh(&2));
    hand.run();
    assert_eq!(poll(&mut caller), Poll::Ready(Ok(2)));
    // One by hand of a key that is not there is a load that others join.
    assert!(cache.refresh(&3));
    let mut caller = Box::pin(cache.load_entry_async(&3));
    assert!(poll(&mut caller).is_pending());
    hand.run();
    let Poll::Ready(Ok(loaded)) = poll(&mut caller) else { panic!("it has ended") };
    assert_eq!((loaded.value, loaded.origin, loaded.left), (3, Origin::Shared, TTL));
}

#[test]
fn l8_no_more_refreshes_run_than_may() {
    for lost in [false, true] {
        let freshness = Freshness::new(TTL).refresh_ahead(0.5).throttle(Duration::ZERO);
        let World { cache, clock, hand, .. } =
            world_with(freshness, |choices| choices.most_refreshes(2));
        (1..=4).for_each(|key| cache.put(key, 100));
        clock.advance(seconds(5));
        for key in 1..=4 {
            let loaded = cache.load_entry(&key).unwrap();
            assert_eq!((loaded.value, loaded.refreshing), (100, key <= 2));
        }
        assert_eq!((hand.tasks(), cache.refresh(&3), cache.refresh(&4)), (2, false, false));
        if lost {
            hand.lose();
        } else {
            hand.run();
        }
        assert_eq!((cache.load(&3), hand.tasks()), (Ok(100), 1), "the claim was given back");
        assert!(cache.refresh(&4) && !cache.refresh(&5));
        hand.run();
        assert!(cache.get(&3) != Some(100) && cache.get(&4) != Some(100));
    }
}

/// A refresh that finds another load under way, or no place, leaves no place taken.
#[test]
fn l8_a_refresh_that_does_not_begin_takes_no_place() {
    let World { cache, hand, .. } =
        world_with(Freshness::new(TTL), |choices| choices.most_refreshes(1));
    let mut caller = Box::pin(cache.load_async(&1));
    assert!(poll(&mut caller).is_pending());
    assert!(!cache.refresh(&1) && !cache.refresh(&1));
    assert!(cache.refresh(&2) && !cache.refresh(&3));
    hand.run();
    assert!(cache.refresh(&3));
    assert_eq!(cache.stats().refresh_failures, 0);
}

#[test]
fn l8_a_refresh_that_fails_is_heard_of() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&heard);
    let freshness = Freshness::new(TTL).refresh_ahead(0.5).throttle(seconds(2));
    let World { cache, clock, hand, source } = world_with(freshness, |choices| {
        choices.on_refresh_error(move |key, error| {
            notes.lock().unwrap().push((*key, error.clone()));
            assert_ne!(*key, 2, "its own trouble");
        })
    });
    (1..=2).for_each(|key| cache.put(key, 100));
    source.set_down(true);
    assert_eq!(cache.load(&3), down_at(0), "who loads hears it");
    clock.advance(seconds(5));
    assert_eq!((cache.load(&1), cache.load(&2), hand.tasks()), (Ok(100), Ok(100), 2));
    hand.run();
    let told = || std::mem::take(&mut *heard.lock().unwrap());
    let failed = |key, number| (key, down_at::<()>(number).unwrap_err());
    assert_eq!(told(), [failed(1, 1), failed(2, 2)]);
    assert_eq!((cache.stats().listener_panics, cache.stats().refresh_failures), (1, 2));
    clock.advance(seconds(2) - Duration::from_nanos(1));
    assert_eq!((cache.load(&1), hand.tasks()), (Ok(100), 0), "not so soon");
    clock.advance(Duration::from_nanos(1));
    source.set_down(false);
    assert_eq!((cache.load(&1), hand.tasks()), (Ok(100), 1));
    hand.run();
    assert_eq!((cache.load(&1), told().len()), (Ok(3), 0));
    assert!(cache.refresh(&1));
    hand.lose();
    assert_eq!(told(), [(1, LoadError::Lost)]);
}

#[test]
fn l8_a_loader_that_panics_in_a_refresh_is_a_failure() {
    let (clock, hand) = (ManualClock::new(), Hand::default());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (notes, calls) = (Arc::clone(&heard), AtomicU64::new(0));
    let cache = Cache::builder()
        .capacity(100)
        .freshness(Freshness::new(TTL).refresh_ahead(0.5).throttle(seconds(1)))
        .clock(clock.clone())
        .loader(move |_: &u32| match calls.fetch_add(1, Ordering::SeqCst) {
            0 => panic!("in the loader"),
            number => number,
        })
        .spawn(hand.clone())
        .most_refreshes(1)
        .on_refresh_error(move |key, error| notes.lock().unwrap().push((*key, error.clone())))
        .build()
        .unwrap();
    cache.put(1, 100);
    clock.advance(seconds(5));
    assert_eq!((cache.load(&1), hand.tasks()), (Ok(100), 1));
    assert!(catch_unwind(AssertUnwindSafe(|| hand.run())).is_err());
    assert_eq!(*heard.lock().unwrap(), [(1, LoadError::Lost)]);
    assert_eq!(counts(&cache.stats()), [1, 0, 0, 0, 1, 0, 1]);
    assert_eq!((cache.load(&1), hand.tasks()), (Ok(100), 0), "it is throttled");
    clock.advance(seconds(1));
    assert_eq!((cache.load(&1), hand.tasks()), (Ok(100), 1));
    hand.run();
    assert_eq!(cache.load(&1), Ok(1));
}

/// Without a background a refresh by hand runs here, and its failure is nobody's but the listener's.
#[test]
fn l8_a_refresh_by_hand_without_a_background_runs_on_the_caller() {
    let (source, heard) = (Source::default(), Arc::new(AtomicU64::new(0)));
    let (own, notes) = (source.clone(), Arc::clone(&heard));
    let cache = Cache::builder()
        .capacity(100)
        .loader(move |_: &u32| own.load())
        .on_refresh_error(move |_, _| {
            notes.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    assert!(cache.refresh(&1));
    assert_eq!((cache.get(&1), source.loads()), (Some(0), 1));
    source.set_down(true);
    assert!(cache.refresh(&1));
    assert_eq!((cache.get(&1), heard.load(Ordering::SeqCst)), (Some(0), 1));
    assert_eq!(counts(&cache.stats()), [2, 0, 0, 1, 1, 1, 1]);
}

#[test]
fn l8_readers_leave_alone_what_is_refreshed_by_hand() {
    let World { cache, clock, hand, source } = world(Freshness::new(TTL).refresh_ahead(0.5));
    assert_eq!(cache.load(&1), Ok(0));
    assert!(cache.refresh(&1) && !cache.refresh(&1));
    clock.advance(seconds(6));
    let loaded = cache.load_entry(&1).unwrap();
    assert_eq!((loaded.value, loaded.refreshing, hand.tasks()), (0, true, 1));
    assert!(!cache.refresh(&1));
    assert!(cache.load_entry(&1).unwrap().refreshing, "its claim stands");
    hand.run();
    assert_eq!((cache.load(&1), source.loads()), (Ok(1), 2));
}
