//! L8, T28 and T29: each value's own freshness, commands on single keys, and what stays in memory.

use super::*;
use cachette::Compute;

type Maybe = Option<u64>;

/// Values say how many seconds they are fresh; none is for two.
fn by_value(usual: Freshness) -> (LoadingCache<u32, Maybe, String>, ManualClock, Hand) {
    let (clock, hand) = (ManualClock::new(), Hand::default());
    let cache = Cache::builder()
        .capacity(100)
        .freshness(usual)
        .freshness_by(|key, value: &Maybe, usual| {
            let own = usual.ttl(seconds(value.unwrap_or(2)));
            if *key < 100 {
                own
            } else {
                own.stale_if_error(seconds(1)).stale_while_revalidate(TTL * 9)
            }
        })
        .clock(clock.clone())
        .loader(|key: &u32| if *key % 2 == 0 { Ok(Some(30)) } else { Ok(None) })
        .spawn(hand.clone())
        .build()
        .unwrap();
    (cache, clock, hand)
}

#[test]
fn l8_a_value_decides_how_long_it_is_fresh() {
    let (cache, clock, hand) = by_value(Freshness::new(TTL).refresh_ahead(0.5));
    assert_eq!((cache.load(&0), cache.load(&1)), (Ok(Some(30)), Ok(None)));
    cache.put(2, Some(4));
    let left = |key| cache.time_to_live_of(&key);
    assert_eq!([0, 1, 2].map(left), [30, 2, 4].map(|n| Some(seconds(n))));
    // Each is refreshed after half of its own.
    clock.advance(seconds(1));
    (0..3).for_each(|key| drop(cache.load(&key)));
    assert_eq!(hand.tasks(), 1);
    clock.advance(seconds(1));
    assert_eq!((cache.load(&2), hand.tasks(), left(1)), (Ok(Some(4)), 2, None));
    hand.run();
    assert_eq!([0, 1, 2].map(left), [28, 2, 30].map(|n| Some(seconds(n))));
}

#[test]
fn l8_what_is_not_there_is_kept_as_such_for_a_while() {
    let (cache, clock, _) = by_value(Freshness::new(TTL));
    for loads in 1..=3 {
        for _ in 0..3 {
            assert_eq!((cache.load(&1), cache.stats().loads), (Ok(None), loads));
        }
        clock.advance(seconds(2));
    }
    assert_eq!(cache.stats().load_failures, 0);
}

#[test]
fn l8_a_value_s_windows_stay_within_the_cache_s() {
    let usual = Freshness::new(TTL).stale_if_error(seconds(20)).stale_while_revalidate(seconds(5));
    let (cache, clock, hand) = by_value(usual);
    let origin = |key| cache.load_entry(&key).unwrap().origin;
    let put = || [0, 100].map(|key| cache.put(key, Some(10)));
    put();
    clock.advance(TTL + seconds(5) - Duration::from_nanos(1));
    assert_eq!([0, 100].map(origin), [Origin::Stale; 2]);
    hand.lose();
    put();
    clock.advance(TTL + seconds(5));
    // The one has its grace yet, and so waits for the load; of the other nothing is left.
    assert_eq!([0, 100].map(origin), [Origin::Load; 2]);
    assert_eq!(hand.tasks(), 0);
}

#[test]
fn l8_a_value_cannot_have_more_grace_than_the_cache() {
    let (clock, source) = (ManualClock::new(), Source::default());
    let own = source.clone();
    let cache = Cache::builder()
        .capacity(10)
        .freshness(Freshness::new(TTL).stale_if_error(seconds(5)).stale_while_revalidate(TTL * 2))
        .freshness_by(|_, _, usual| {
            usual.stale_while_revalidate(Duration::ZERO).stale_if_error(TTL * 9)
        })
        .clock(clock.clone())
        .loader(move |_: &u32| own.load())
        .spawn(Hand::default())
        .build()
        .unwrap();
    source.set_down(true);
    cache.put(1, 100);
    clock.advance(TTL + seconds(5) - Duration::from_nanos(1));
    assert_eq!((cache.load(&1), source.loads()), (Ok(100), 1));
    clock.advance(Duration::from_nanos(1));
    // A second has not passed since the failure, but nothing is left to be served.
    assert_eq!(cache.load(&1), down_at(1));
}

#[test]
fn t28_delete_leaves_nothing_to_serve_and_expire_does() {
    type Write = fn(&Numbers);
    let freshness = Freshness::new(TTL).stale_if_error(seconds(20)).throttle(Duration::ZERO);
    let ends: [(&str, Write, bool); 8] = [
        ("delete", |cache| assert!(cache.delete(&1) || cache.get(&1).is_none()), false),
        ("take", |cache| assert_ne!(cache.take(&1), Some(7)), false),
        ("clear", |cache| cache.clear(), false),
        ("retain", |cache| cache.retain(|_, _| false), false),
        ("compute", |cache| assert!(cache.compute(1, |_| Compute::Delete).is_ok()), false),
        ("put_with_ttl", |cache| cache.put_with_ttl(1, 7, Duration::ZERO), false),
        (
            "expire_in",
            |cache| assert!(cache.expire_in(&1, Duration::ZERO) || cache.get(&1).is_none()),
            true,
        ),
        ("keep", |cache| cache.retain(|_, _| true), true),
    ];
    for (name, end, stale) in ends {
        // Of a value that is fresh, and of one that is stale.
        for age in [seconds(5), TTL, seconds(29)] {
            let World { cache, clock, source, .. } = world(freshness);
            source.set_down(true);
            cache.put(1, 100);
            clock.advance(age);
            end(&cache);
            if name == "keep" && age < TTL {
                clock.advance(TTL - age);
            }
            assert_eq!(cache.get(&1), None, "{name}");
            let right = if stale { Ok(100) } else { down_at(0) };
            assert_eq!((cache.load(&1), source.loads()), (right, 1), "{name} at {age:?}");
        }
    }
    // A write of a stale key is a write like others.
    let World { cache, clock, .. } = world(freshness);
    cache.put(1, 100);
    clock.advance(TTL);
    assert!(!cache.replace_if(1, 7, |_| true) && cache.put_if_absent(1, 8));
    assert_eq!(cache.load(&1), Ok(8));
}

#[test]
fn t28_the_grace_counts_from_when_it_was_expired() {
    let freshness = Freshness::new(TTL).stale_if_error(seconds(20)).throttle(Duration::ZERO);
    let World { cache, clock, source, .. } = world(freshness);
    source.set_down(true);
    cache.put(1, 100);
    clock.advance(seconds(3));
    assert!(cache.expire_in(&1, Duration::ZERO));
    clock.advance(seconds(20) - Duration::from_nanos(1));
    assert_eq!(cache.load(&1), Ok(100));
    clock.advance(Duration::from_nanos(1));
    assert_eq!(cache.load(&1), down_at(1));
}

#[test]
fn l8_deadlines_set_by_hand_are_a_value_s_own() {
    let freshness = Freshness::new(TTL).refresh_ahead(0.5).stale_while_revalidate(seconds(5));
    let World { cache, clock, hand, .. } = world(freshness);
    cache.put_with_ttl(1, 100, seconds(40));
    cache.put(2, 100);
    assert!(cache.expire_in(&2, seconds(40)));
    cache.put(3, 100);
    assert!(cache.persist(&3));
    cache.put_with_ttl(4, 100, Duration::MAX);
    clock.advance(seconds(20) - Duration::from_nanos(1));
    (1..=4).for_each(|key| assert_eq!((cache.load(&key), hand.tasks()), (Ok(100), 0)));
    clock.advance(Duration::from_nanos(1));
    for (key, tasks) in [(1, 1), (2, 2), (3, 2), (4, 2)] {
        assert_eq!((cache.load(&key), hand.tasks()), (Ok(100), tasks), "{key}");
    }
    hand.lose();
    clock.advance(seconds(20));
    for key in [1, 2] {
        assert!(cache.load_entry(&key).unwrap().is_stale());
    }
    for key in [3, 4] {
        let loaded = cache.load_entry(&key).unwrap();
        assert_eq!((loaded.origin, loaded.left), (Origin::Hit, Duration::MAX));
    }
}

/// E5: huge times do the obvious thing.
#[test]
fn l8_a_grace_of_a_hundred_days() {
    let day = seconds(86_400);
    for (grace, last) in [(day * 100, day * 100), (Duration::MAX, day * 36_500)] {
        for revalidate in [false, true] {
            let freshness = Freshness::new(TTL);
            let freshness = if revalidate {
                freshness.stale_while_revalidate(grace)
            } else {
                freshness.stale_if_error(grace)
            };
            let World { cache, clock, source, .. } = world(freshness);
            source.set_down(true);
            cache.put(1, 100);
            clock.advance(TTL + day * 60);
            assert_eq!(cache.load(&1), Ok(100));
            clock.advance(last - day * 60 - Duration::from_nanos(1));
            assert_eq!(cache.load(&1), Ok(100));
        }
    }
}

#[test]
fn l8_an_expired_entry_leaves_after_the_longer_stale_time() {
    for (revalidate, grace) in [(0, 0), (5, 20), (20, 5), (0, 20), (20, 0)] {
        let freshness = Freshness::new(TTL)
            .stale_while_revalidate(seconds(revalidate))
            .stale_if_error(seconds(grace));
        let World { cache, clock, .. } = world(freshness);
        (0..50).for_each(|key| cache.put(key, 100));
        let entries = || {
            cache.maintain();
            cache.stats().entries
        };
        let nano = Duration::from_nanos(1);
        clock.advance(TTL + seconds(revalidate.max(grace)) - nano);
        assert_eq!(entries(), 50, "{revalidate}, {grace}");
        // As late as a tick.
        clock.advance(Duration::from_millis(3));
        assert_eq!(entries(), 0, "{revalidate}, {grace}");
        assert_eq!(cache.stats().expired, 50);
    }
}

#[test]
fn l8_all_that_is_told_of_a_value() {
    let freshness = Freshness::new(TTL).refresh_ahead(0.5).stale_if_error(seconds(20));
    let World { cache, clock, hand, source } = world(freshness);
    let told = |key| {
        let it = cache.load_entry(&key).unwrap();
        (it.value, it.origin, it.age.unwrap().as_secs(), it.left.as_secs(), it.refreshing)
    };
    assert_eq!(told(1), (0, Origin::Load, 0, 10, false));
    clock.advance(seconds(2));
    assert_eq!(told(1), (0, Origin::Hit, 2, 8, false));
    clock.advance(seconds(4));
    assert_eq!(told(1), (0, Origin::Hit, 6, 4, true));
    assert_eq!(told(1), (0, Origin::Hit, 6, 4, true));
    source.set_down(true);
    hand.run();
    assert_eq!(told(1), (0, Origin::Hit, 6, 4, false));
    clock.advance(seconds(5));
    assert_eq!(told(1), (0, Origin::Stale, 11, 0, false));
    assert_eq!(counts(&cache.stats()), [4, 2, 1, 0, 1, 1, 2]);

    // Without freshness, ages are not noted; what is left is.
    let clock = ManualClock::new();
    let cache = Cache::builder().capacity(9).time_to_live(TTL).clock(clock.clone());
    let cache = cache.loader(|key: &u32| u64::from(*key)).build().unwrap();
    let loaded = cache.load_entry(&1).unwrap();
    assert_eq!((loaded.age, loaded.left), (Some(Duration::ZERO), TTL));
    clock.advance(seconds(1));
    let loaded = cache.load_entry(&1).unwrap();
    assert_eq!((loaded.origin, loaded.age, loaded.left), (Origin::Hit, None, seconds(9)));
    assert_eq!(counts(&cache.stats()), [1, 1, 0, 0, 0, 1, 0]);
}
