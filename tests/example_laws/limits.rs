//! The rate limiters of the example keep what their documentation says: against slow ones that remember every request, and by threads.

use crate::rate_limiter::rules::{Limiter, Rule, bucket, fixed, limiter, once, sliding};
use cachette::{Clock as _, Compute, ManualClock};
use proptest::prelude::*;
use std::net::IpAddr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// The window, and what a bucket has back after: in nanoseconds.
const WINDOW: u64 = 100_000_000;
const EVERY: u64 = 30_000_000;

fn client(number: u32) -> IpAddr {
    IpAddr::V4(number.into())
}

fn nanos(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

/// The four, and the clock that they share.
fn all(most: u32, clients: u64) -> ([Limiter; 4], ManualClock) {
    let clock = ManualClock::new();
    let limiters = [
        limiter(clients, clock.clone(), fixed(most, nanos(WINDOW))).unwrap(),
        limiter(clients, clock.clone(), sliding(most, nanos(WINDOW))).unwrap(),
        limiter(clients, clock.clone(), bucket(most, nanos(EVERY))).unwrap(),
        once(clients, clock.clone(), nanos(WINDOW)).unwrap(),
    ];
    (limiters, clock)
}

/// The same for one client, by all the times at which a request has passed.
type Slow = fn(now: u64, passed: &[u64], most: u64) -> bool;

/// Windows are found by walking through all there were.
fn slow_fixed(now: u64, passed: &[u64], most: u64) -> bool {
    let (mut start, mut count) = (None, 0);
    for &at in passed.iter().chain([&now]) {
        if start.is_none_or(|start| at >= start + WINDOW) {
            (start, count) = (Some(at), 0);
        }
        count += 1;
    }
    count <= most
}

fn slow_sliding(now: u64, passed: &[u64], most: u64) -> bool {
    let within = |number: u64| passed.iter().filter(|&at| at / WINDOW == number).count() as u64;
    let number = now / WINDOW;
    let before = number.checked_sub(1).map_or(0, within);
    before * (WINDOW - now % WINDOW) + (within(number) + 1) * WINDOW <= most * WINDOW
}

/// Tokens are counted in the nanoseconds that they take to come back.
fn slow_bucket(now: u64, passed: &[u64], most: u64) -> bool {
    let (mut tokens, mut then) = (most * EVERY, 0);
    for &at in passed {
        tokens = (tokens + at - then).min(most * EVERY) - EVERY;
        then = at;
    }
    (tokens + now - then).min(most * EVERY) >= EVERY
}

fn slow_once(now: u64, passed: &[u64], _: u64) -> bool {
    passed.last().is_none_or(|&last| now >= last + WINDOW)
}

const SLOW: [Slow; 4] = [slow_fixed, slow_sliding, slow_bucket, slow_once];

/// What every two requests that pass, and those between, must keep: `count` within `time` nanoseconds.
fn lawful(which: usize, count: u64, time: u64, most: u64) -> bool {
    match which {
        0 => time >= WINDOW || count < 2 * most,
        1 => time > WINDOW || count * WINDOW <= most * (WINDOW + time),
        2 => count <= most + time / EVERY,
        _ => count == 1 || time >= WINDOW,
    }
}

/// After how long which client makes how many requests. Edges are met on purpose.
fn requests() -> impl Strategy<Value = Vec<(u64, u32, u32)>> {
    let edge = prop_oneof![Just(WINDOW), Just(WINDOW / 2), Just(EVERY), Just(2 * WINDOW)];
    let wait = prop_oneof![
        Just(0),
        edge.clone(),
        edge.prop_map(|edge| edge - 1),
        Just(1),
        0..WINDOW,
        0..4 * WINDOW,
    ];
    prop::collection::vec((wait, 0..2_u32, 0..8_u32), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn each_lets_pass_what_a_slow_one_does(most in 0..6_u32, requests in requests()) {
        let (limiters, clock) = all(most, 2);
        let mut passed = [const { [const { Vec::<u64>::new() }; 2] }; 4];
        for (wait, who, times) in requests {
            clock.advance(nanos(wait));
            let now = u64::try_from(clock.now().as_nanos()).unwrap();
            for ((limiter, slow), passed) in limiters.iter().zip(SLOW).zip(&mut passed) {
                let passed = &mut passed[who as usize];
                for _ in 0..times {
                    let may = slow(now, passed, most.into());
                    prop_assert_eq!(limiter(client(who)), may, "at {} after {:?}", now, &passed);
                    if may {
                        passed.push(now);
                    }
                }
            }
        }
        for (which, passed) in passed.iter().enumerate() {
            for passed in passed {
                for (from, first) in passed.iter().enumerate() {
                    for (to, last) in passed.iter().enumerate().skip(from) {
                        let (count, time) = ((to - from + 1) as u64, last - first);
                        prop_assert!(
                            lawful(which, count, time, most.into()),
                            "{} passes {} in {}", which, count, time
                        );
                    }
                }
            }
        }
    }
}

/// How many of a hundred requests pass.
fn burst(limiter: &Limiter) -> u32 {
    (0..100).filter(|_| limiter(client(1))).count() as u32
}

/// The bounds are not only kept, but met: who relies on less would be wrong.
#[test]
fn the_edges_are_as_wide_as_is_said() {
    let ([fixed, sliding, bucket, _], clock) = all(10, 1);
    assert!(fixed(client(1)));
    clock.advance(nanos(WINDOW - 1));
    assert_eq!([burst(&fixed), burst(&sliding)], [9, 10], "the end of a window");
    clock.advance(nanos(1));
    assert_eq!([burst(&fixed), burst(&sliding)], [10, 0], "2 * most - 1 within a moment; most");
    clock.advance(nanos(WINDOW / 2));
    assert_eq!(burst(&sliding), 5, "most * (1 + x) within half a window");
    assert_eq!(burst(&bucket), 10);
    clock.advance(nanos(EVERY - 1));
    assert_eq!(burst(&bucket), 0);
    clock.advance(nanos(1));
    assert_eq!(burst(&bucket), 1);
    clock.advance(nanos(9 * EVERY));
    assert_eq!(burst(&bucket), 9);
    clock.advance(nanos(100 * EVERY));
    assert_eq!(burst(&bucket), 10, "no more than it holds");
}

/// A rule whose threads stand aside between what they saw and what they do about it, so that others come between.
fn hesitant<T: 'static>(rule: Rule<T>) -> Rule<T> {
    Box::new(move |now, state| {
        let decided = rule(now, state);
        thread::yield_now();
        decided
    })
}

/// Who comes first in each round finds an entry whose time is over: eight do at once.
#[test]
fn threads_together_get_what_one_would() {
    const ROUNDS: usize = 100;
    let clock = ManualClock::new();
    let rules = (fixed(10, nanos(WINDOW)), sliding(10, nanos(WINDOW)), bucket(10, nanos(EVERY)));
    let limiters = [
        limiter(1, clock.clone(), hesitant(rules.0)).unwrap(),
        limiter(1, clock.clone(), hesitant(rules.1)).unwrap(),
        limiter(1, clock.clone(), hesitant(rules.2)).unwrap(),
        once(1, clock.clone(), nanos(WINDOW)).unwrap(),
    ];
    for (limiter, most) in limiters.iter().zip([10, 10, 10, 1]) {
        let (start, passed) = (Barrier::new(8), [const { AtomicU32::new(0) }; ROUNDS]);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for passed in &passed {
                        // One of them lets all time pass that any of the limiters looks back.
                        if start.wait().is_leader() {
                            clock.advance(nanos(10 * EVERY));
                        }
                        start.wait();
                        for _ in 0..5 {
                            passed.fetch_add(limiter(client(1)).into(), SeqCst);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.map(AtomicU32::into_inner), [most; ROUNDS]);
    }
}

/// Whoever would be evicted could begin anew. And what is over makes room.
#[test]
fn a_full_house_forgets_nobody() {
    const CLIENTS: u32 = 4_096;
    let (limiters, clock) = all(1, CLIENTS.into());
    let passes = |limiter: &Limiter, clients: std::ops::Range<u32>| {
        clients.filter(|&number| limiter(client(number))).count() as u32
    };
    for limiter in &limiters {
        assert_eq!(passes(limiter, 0..CLIENTS), CLIENTS);
        assert_eq!(passes(limiter, CLIENTS..CLIENTS + 200), 0, "strangers are denied");
        assert_eq!(passes(limiter, 0..CLIENTS), 0, "and nobody was forgotten for them");
    }
    clock.advance(nanos(3 * WINDOW));
    for limiter in &limiters {
        assert_eq!(passes(limiter, CLIENTS..2 * CLIENTS), CLIENTS, "the house is theirs now");
    }
}

#[test]
fn odd_choices_do_the_obvious() {
    let clock = ManualClock::new();
    let count = |rule| burst(&rule);
    assert_eq!(count(limiter(1, clock.clone(), fixed(5, Duration::ZERO)).unwrap()), 100);
    assert_eq!(count(limiter(1, clock.clone(), bucket(5, Duration::ZERO)).unwrap()), 100);
    assert_eq!(count(limiter(1, clock.clone(), sliding(5, Duration::ZERO)).unwrap()), 100);
    for most in [0, 5] {
        assert_eq!(count(limiter(1, clock.clone(), fixed(most, Duration::MAX)).unwrap()), most);
        assert_eq!(count(limiter(1, clock.clone(), sliding(most, Duration::MAX)).unwrap()), most);
        let ages = Duration::MAX / 10;
        assert_eq!(count(limiter(1, clock.clone(), bucket(most, ages)).unwrap()), most);
    }
    assert_eq!(count(once(1, clock, Duration::MAX).unwrap()), 1);
    // Time goes on between a look at an entry and a look at the clock: the entry may be over by then.
    let late = bucket(3, nanos(2))(nanos(10), Some(&nanos(4)));
    assert_eq!(late, Compute::ReplaceWithTtl(nanos(12), nanos(2)));
}
