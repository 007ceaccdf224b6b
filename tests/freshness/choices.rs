//! L8: choices that cannot be, and what the compiler is to say of futures.

use super::*;
use cachette::{BuildError, Builder};

fn builder() -> Builder<u32, u64> {
    Cache::builder().capacity(10)
}

/// Why there is no cache of this freshness, with a loader and a background.
fn refused(freshness: Freshness) -> Option<String> {
    let choices = builder().freshness(freshness).loader(|_: &u32| 0).spawn(Hand::default());
    choices.build().err().map(|error| format!("{error:?}"))
}

#[test]
fn l8_what_needs_a_background_says_so() {
    let ttl = Freshness::new(TTL);
    let parts = [
        (ttl, None),
        (ttl.jitter(0.5).stale_if_error(TTL).throttle(TTL), None),
        (ttl.refresh_ahead(0.5), Some("refresh_ahead")),
        (ttl.refresh_early(1.0), Some("refresh_early")),
        (ttl.stale_while_revalidate(TTL), Some("stale_while_revalidate")),
        (ttl.stale_while_revalidate(Duration::ZERO), None),
    ];
    for (freshness, part) in parts {
        let built = builder().freshness(freshness).loader(|_: &u32| 0).build();
        assert_eq!(built.err(), part.map(BuildError::NoSpawn));
        let built =
            builder().freshness(freshness).loader(|_: &u32| 0).spawn(Hand::default()).build();
        assert_eq!(built.err(), None);
    }
    let soft = builder().loader(|_: &u32| 0).soft_timeout(TTL).build();
    assert_eq!(soft.err(), Some(BuildError::NoSpawn("soft_timeout")));
    let hard = builder().loader(|_: &u32| 0).hard_timeout(TTL).build();
    assert_eq!(hard.err(), Some(BuildError::NoSpawn("hard_timeout")));
}

#[test]
fn l8_what_needs_a_loader_says_so() {
    let ttl = Freshness::new(TTL);
    let parts = [
        (ttl, None),
        (ttl.jitter(0.5).throttle(TTL), None),
        (ttl.stale_if_error(TTL), Some("stale_if_error")),
        (ttl.refresh_ahead(0.5), Some("refresh_ahead")),
        (ttl.refresh_early(1.0), Some("refresh_early")),
        (ttl.stale_while_revalidate(TTL), Some("stale_while_revalidate")),
    ];
    for (freshness, part) in parts {
        let built = builder().freshness(freshness).build();
        assert_eq!(built.err(), part.map(BuildError::NoLoader));
    }
}

#[test]
fn l8_numbers_out_of_range_are_refused() {
    let ttl = Freshness::new(TTL);
    for fraction in [-0.1, 0.0, 1.0, 1.1, f64::NAN, f64::INFINITY] {
        let right = format!("RefreshAhead({fraction:?})");
        assert_eq!(refused(ttl.refresh_ahead(fraction)), Some(right));
    }
    for beta in [-1.0, 0.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(ttl.refresh_early(beta)), Some(format!("RefreshEarly({beta:?})")));
    }
    for jitter in [-0.1, 1.1, f64::NAN] {
        assert_eq!(refused(ttl.jitter(jitter)), Some(format!("Jitter({jitter:?})")));
    }
    let legal = ttl.jitter(1.0).refresh_ahead(0.999).refresh_early(1e9);
    assert_eq!(refused(legal.jitter(0.0)), None);
    assert_eq!(refused(legal), None);
    let bad_without_loader = builder().freshness(ttl.jitter(2.0)).build();
    assert_eq!(bad_without_loader.err(), Some(BuildError::Jitter(2.0)));
}

#[test]
fn l8_choices_at_odds_are_refused() {
    let timeouts = |soft, hard| {
        let choices = builder().loader(|_: &u32| 0).spawn(Hand::default());
        choices.soft_timeout(soft).hard_timeout(hard).build().err()
    };
    assert_eq!(timeouts(TTL, TTL * 2), None);
    for soft in [TTL, TTL * 2] {
        assert_eq!(timeouts(soft, TTL), Some(BuildError::Timeouts { soft, hard: TTL }));
    }
    let most = builder().loader(|_: &u32| 0).most_refreshes(0).build();
    assert_eq!(most.err(), Some(BuildError::MostRefreshes));
    let both = builder().freshness(Freshness::new(TTL)).time_to_live(TTL).loader(|_: &u32| 0);
    assert_eq!(both.build().err(), Some(BuildError::FreshnessAndTtl));
    let nothing = builder().freshness_by(|_, _, usual| usual).loader(|_: &u32| 0).build();
    assert_eq!(nothing.err(), Some(BuildError::NoFreshness));
    let without = Cache::<u32, u64>::builder().loader(|_: &u32| 0).build();
    assert_eq!(without.err(), Some(BuildError::NoCapacity));
}

#[test]
fn l1_futures_of_loads_are_send() {
    fn sendable<T: Send>(_: &T) {}
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    let World { cache, .. } = world(Freshness::new(TTL));
    shared(&cache);
    sendable(&cache.load_async(&1));
    sendable(&cache.load_entry_async(&1));
    let text = Cache::builder().capacity(9).loader(|key: &String| key.len()).build().unwrap();
    sendable(&text.load_async("four"));
    assert_eq!(text.load("four"), Ok(4));
}
