//! Building a cache: what is refused, what is legal though extreme.

use cachette::{BuildError, Builder, Cache, Expiry, Reason};
use std::error::Error;
use std::time::Duration;

struct Always;

impl Expiry<u64, u64> for Always {
    fn created(&self, _: &u64, _: &u64) -> Duration {
        Duration::MAX
    }
}

fn ten() -> Builder<u64, u64> {
    Cache::builder().capacity(10)
}

/// The error, which names the method and the number in question.
fn refused(builder: Builder<u64, u64>, named: &[&str]) -> BuildError {
    let error = builder.build().map(|_| ()).unwrap_err();
    let message = error.to_string();
    assert!(named.iter().all(|name| message.contains(name)), "{message}");
    assert!(error.source().is_none());
    error
}

#[test]
fn c2_a_cache_needs_a_capacity() {
    assert_eq!(refused(Cache::builder(), &["capacity"]), BuildError::NoCapacity);
}

#[test]
fn c2_segments_are_a_power_of_two() {
    for segments in [0, 3, 65_535, 1 << 17, usize::MAX] {
        let error = refused(ten().segments(segments), &["segments", &segments.to_string()]);
        assert_eq!(error, BuildError::Segments(segments));
    }
    for segments in [1, 2, 1 << 16] {
        let cache = ten().segments(segments).build().unwrap();
        (0..30).for_each(|key| cache.put(key, key));
        assert_eq!(cache.weight(), 10, "{segments} segments");
        assert_eq!(cache.get(&29), Some(29));
    }
}

#[test]
fn c2_no_more_entries_are_expected_than_slots_are_there() {
    let most = u32::MAX as usize;
    for (segments, expected) in [(1, most), (2, 2 * most), (1, usize::MAX)] {
        let builder = ten().segments(segments).expected_entries(expected);
        let error = refused(builder, &["expected_entries", &expected.to_string()]);
        assert_eq!(error, BuildError::ExpectedEntries(expected));
    }
    assert!(ten().segments(1).expected_entries(most - 1).build().is_ok());
    assert!(ten().segments(2).expected_entries(2 * most - 1).build().is_ok());
    assert!(ten().expected_entries(0).build().is_ok());
}

#[test]
fn e4_jitter_is_a_fraction_of_something() {
    let ttl = || ten().time_to_live(Duration::from_secs(1));
    for fraction in [-0.1, 1.000_001, f64::INFINITY, f64::NEG_INFINITY] {
        let error = refused(ttl().ttl_jitter(fraction), &["ttl_jitter", &fraction.to_string()]);
        assert_eq!(error, BuildError::Jitter(fraction));
    }
    let error = refused(ttl().ttl_jitter(f64::NAN), &["ttl_jitter", "NaN"]);
    assert!(matches!(error, BuildError::Jitter(fraction) if fraction.is_nan()));
    for fraction in [0.0, -0.0, 1.0, f64::MIN_POSITIVE] {
        assert!(ttl().ttl_jitter(fraction).build().is_ok());
    }
    let named = ["ttl_jitter", "time_to_live", "expiry"];
    assert_eq!(refused(ten().ttl_jitter(0.1), &named), BuildError::JitterWithoutTtl);
    assert!(ten().expiry(Always).ttl_jitter(0.1).build().is_ok());
}

#[test]
fn e4_one_rule_decides_how_long_an_entry_lives() {
    let second = Duration::from_secs(1);
    let error = refused(ten().expiry(Always).time_to_live(second), &["time_to_live", "expiry"]);
    assert_eq!(error, BuildError::TtlAndExpiry);
    let error = refused(ten().expiry(Always).time_to_idle(second), &["time_to_idle", "expiry"]);
    assert_eq!(error, BuildError::TtiAndExpiry);
    assert!(ten().time_to_live(second).time_to_idle(second).build().is_ok());
}

#[test]
fn c2_capacity_may_be_nothing() {
    for cache in [Cache::new(0), Cache::builder().capacity(0).segments(8).build().unwrap()] {
        cache.put(1, 1);
        assert_eq!((cache.get(&1), cache.len(), cache.capacity()), (None, 0, 0));
        assert_eq!(cache.try_put(1, 2).unwrap_err().reason, Reason::TooHeavy);
        assert_eq!(cache.get_or_load(&1, |_| 3).unwrap(), 3);
        assert!(cache.is_empty());
    }
}

#[test]
fn c2_capacity_may_be_all_that_a_number_holds() {
    for segments in [1, 16] {
        let cache = Cache::<u64, u64>::builder().capacity(u64::MAX).segments(segments);
        let cache = cache.weigher(|_, &weight| weight).build().unwrap();
        cache.try_put(1, u64::MAX).unwrap();
        assert_eq!(cache.weight(), u64::MAX);
        cache.try_put(1, u64::MAX).unwrap();
        cache.try_put(2, u64::MAX).unwrap();
        assert_eq!(cache.iter().collect::<Vec<_>>(), [(2, u64::MAX)]);
        assert_eq!(cache.stats().evicted_weight, u64::MAX);
        cache.try_put(2, u64::MAX - 1).unwrap();
        cache.try_put(3, 1).unwrap();
        assert_eq!((cache.len(), cache.weight()), (2, u64::MAX));
        cache.try_put(3, 2).unwrap();
        assert_eq!(cache.iter().collect::<Vec<_>>(), [(3, 2)]);
        cache.set_capacity(1).unwrap();
        assert_eq!((cache.len(), cache.weight()), (0, 0));
    }
    let entries = Cache::new(u64::MAX);
    (0..1_000).for_each(|key| entries.put(key, key));
    assert_eq!(entries.len(), 1_000);
}

#[test]
fn c1_hostile_weights_never_overflow() {
    let weights = [0, 1, 2, u64::MAX / 2, u64::MAX / 2 + 1, u64::MAX - 1, u64::MAX];
    for capacity in [0, 1, 100, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
        for segments in [1, 4] {
            let cache = Cache::<u64, u64>::builder().capacity(capacity).segments(segments);
            let cache = cache.weigher(|_, &weight| weight).build().unwrap();
            // Every weight follows every other, under one key and under two.
            for (step, pair) in
                (0..49_u64).map(|i| (i, [weights[i as usize / 7], weights[i as usize % 7]]))
            {
                for (i, weight) in pair.into_iter().enumerate() {
                    let key = step % 3 + i as u64;
                    let stored = cache.try_put(key, weight).is_ok();
                    assert_eq!(stored, weight <= capacity);
                    assert!(cache.weight() <= capacity);
                }
                let sum: u64 = cache.iter().map(|(_, weight)| weight).sum();
                assert_eq!(sum, cache.weight());
            }
        }
    }
}
