//! Who gives room to whom.

use super::*;
use crate::engine::room::two_others;

#[test]
fn a_segment_below_its_share_takes_from_a_heavier_one() {
    let engine = engine(4, 400, Lru::new);
    let home = |key: u64| crate::hash::mix(key) >> 62;
    let (mut crowd, mut few) = (0.., 0..);
    let next = |segment: u64, of: &mut std::ops::RangeFrom<u64>| {
        of.by_ref().find(|&key| home(key) == segment).unwrap()
    };
    for segment in [0, 1, 2] {
        for _ in 0..if segment == 0 { 200 } else { 100 } {
            put(&engine, next(segment, &mut crowd), 1, NEVER, 0);
        }
    }
    assert_eq!(engine.budget.used(), 400);
    for _ in 0..300 {
        let (written, causes) = put(&engine, next(3, &mut few), 1, NEVER, 0);
        assert!(matches!(written, Done::Stored(_)));
        assert_eq!(causes, [Cause::Evicted]);
    }
    let weights: Vec<u64> = engine.stripes().map(Stripe::weight).collect();
    assert!(weights[3] >= 75 && weights.iter().all(|&weight| weight > 30), "{weights:?}");
    assert_valid(&engine);
}

const FOUR: usize = 4;

/// Keys whose home, of four, is this one.
fn keys_of(home: usize) -> impl Iterator<Item = u64> {
    (0..100_000).filter(move |&key| crate::hash::mix(key) >> 62 == home as u64)
}

/// Whom a write of this key asks, the first time, the second, and so on.
fn asked_by(key: u64, segments: usize) -> impl Iterator<Item = [usize; 2]> {
    let hash = crate::hash::mix(key);
    let home = usize::try_from(hash >> (64 - segments.ilog2())).unwrap();
    (1..).map(move |asked| two_others(home, segments, crate::hash::mix(hash.wrapping_add(asked))))
}

/// A key of home 0 that asks 1 and 2 first, of four, and then 3 and another.
fn asks_1_and_2_then_3() -> u64 {
    let wanted = |&key: &u64| {
        let mut asked = asked_by(key, FOUR);
        let first = asked.next().unwrap();
        matches!(first, [1, 2] | [2, 1]) && asked.next().unwrap().contains(&3)
    };
    keys_of(0).find(wanted).unwrap()
}

/// Four segments with these weights in each, oldest first. It is full.
fn full(entries: [&[u64]; FOUR]) -> Small {
    let capacity = entries.iter().flat_map(|weights| weights.iter()).sum();
    let engine = engine(FOUR, capacity, Lru::new);
    for (home, weights) in entries.into_iter().enumerate() {
        for (key, &weight) in keys_of(home).skip(1000).zip(weights) {
            put(&engine, key, weight, NEVER, 0);
        }
    }
    engine
}

fn weights<const N: usize>(engine: &Small) -> [u64; N] {
    std::array::from_fn(|number| engine.stripes.get(number).map_or(0, Stripe::weight))
}

fn store(engine: &Small, key: u64, weight: u64) -> Vec<Cause> {
    let (written, causes) = put(engine, key, weight, NEVER, 0);
    assert!(matches!(written, Done::Stored(_)));
    assert_valid(engine);
    causes
}

#[test]
fn the_heavier_of_two_others_gives_to_a_poor_home() {
    let key = asks_1_and_2_then_3();
    // The share is 20, and 14 at home are poor; 3 would give if it were asked.
    let engine = full([&[2; 7], &[1; 16], &[1; 20], &[1; 30]]);
    assert_eq!(store(&engine, key, 3), [Cause::Evicted; 3]);
    assert_eq!(weights(&engine), [17, 16, 17, 30]);
    let engine = full([&[2; 7], &[1; 20], &[1; 16], &[1; 30]]);
    assert_eq!(store(&engine, key, 3), [Cause::Evicted; 3]);
    assert_eq!(weights(&engine), [17, 17, 16, 30]);
}

#[test]
fn a_home_with_three_quarters_of_its_share_helps_itself() {
    let engine = full([&[1; 15], &[1; 20], &[1; 20], &[1; 25]]);
    assert_eq!(store(&engine, asks_1_and_2_then_3(), 1), [Cause::Evicted]);
    assert_eq!(weights(&engine), [15, 20, 20, 25]);
}

#[test]
fn a_neighbour_gives_until_it_is_poor_itself() {
    let key = asks_1_and_2_then_3();
    // 16 is two more than poor: the third unit is 3's, the heavier of those that are asked next.
    let engine = full([&[1; 14], &[1; 15], &[1; 16], &[1; 35]]);
    assert_eq!(store(&engine, key, 3), [Cause::Evicted; 3]);
    assert_eq!(weights(&engine), [17, 15, 14, 34]);
    // Poor already: it gives nothing.
    let engine = full([&[1; 14], &[1; 14], &[1; 14], &[1; 38]]);
    assert_eq!(store(&engine, key, 3), [Cause::Evicted; 3]);
    assert_eq!(weights(&engine), [17, 14, 14, 35]);
}

#[test]
fn a_neighbour_gives_a_slice_at_most() {
    // Nobody is poor but home, and 1 and 2 are asked first: a slice is theirs, the rest is 3's.
    let key = asks_1_and_2_then_3();
    let engine = full([&[], &[1; 200], &[1; 280], &[1; 320]]);
    assert_eq!(store(&engine, key, 70), [Cause::Evicted; 70]);
    assert_eq!(weights(&engine), [70, 200, 280 - SLICE as u64, 320 - 6]);
}

#[test]
fn a_neighbour_gives_what_has_expired_first() {
    let key = asks_1_and_2_then_3();
    let engine = engine(FOUR, 80, Lru::new);
    for (home, count) in [(1, 20), (2, 30), (3, 30)] {
        for (i, key) in keys_of(home).skip(1000).take(count).enumerate() {
            let live = if home < 3 && i >= 15 { 1 << 30 } else { NEVER };
            put(&engine, key, 1, live, 0);
        }
    }
    let (written, causes) = put(&engine, key, 4, NEVER, 1 << 40);
    assert!(matches!(written, Done::Stored(_)));
    assert_eq!(causes, [Cause::Expired; 15]);
    assert_eq!(weights(&engine), [4, 20, 15, 30]);
    assert_valid(&engine);
}

/// Of 64 segments all are poor but two: a rich one, which a write asks the `nth` time and not before, and a richer one, which
/// it does not ask until then. What the two have left when the write is done.
fn left_by_a_write_that_asks_the_rich(nth: usize) -> [u64; 2] {
    let home = |key: u64| usize::try_from(crate::hash::mix(key) >> 58).unwrap();
    let asked = |key, times| asked_by(key, 64).take(times).flatten().collect::<Vec<_>>();
    let last = |key| asked_by(key, 64).nth(nth - 1).unwrap()[0];
    let key = (0..100_000).find(|&key| !asked(key, nth - 1).contains(&last(key))).unwrap();
    let others = (0..64).filter(|&at| at != home(key));
    let (rich, asked) = (last(key), asked(key, nth));
    let richer = others.into_iter().find(|at| !asked.contains(at)).unwrap();

    let engine = engine(64, 640, Lru::new);
    for (at, count) in [(rich, 31), (richer, 33)] {
        for key in (0..100_000).filter(|&key| home(key) == at).take(count) {
            put(&engine, key, 10, NEVER, 0);
        }
    }
    assert_eq!(store(&engine, key, 7), [Cause::Evicted]);
    let weights: [u64; 64] = weights(&engine);
    assert_eq!(weights[home(key)], 7);
    [weights[rich], weights[richer]]
}

#[test]
fn a_write_asks_eight_times_and_then_everyone() {
    assert_eq!(left_by_a_write_that_asks_the_rich(8), [300, 330]);
    assert_eq!(left_by_a_write_that_asks_the_rich(9), [310, 320]);
}

#[test]
fn a_neighbour_that_is_busy_is_passed_over() {
    let key = asks_1_and_2_then_3();
    let engine = full([&[1; 10], &[1; 20], &[1; 24], &[1; 26]]);
    // Only a write that went to everyone, and so to 1, would read the clock. It would wait for 2: the clock lets 2 go.
    let deadline = Deadline { hard: 1 << 30, idle: NEVER };
    engine.stripe_from(1).unwrap().lock().reschedule(0, Slot::new(0), deadline, 0);
    let (locked, wait) = std::sync::mpsc::channel();
    let (held, hold) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let (engine, held) = (&engine, std::cell::Cell::new(Some(held)));
        scope.spawn(move || {
            let guard = engine.stripe_from(2).map(Stripe::lock);
            locked.send(()).unwrap();
            assert!(hold.recv().is_err(), "the other end is dropped");
            drop(guard);
        });
        wait.recv().unwrap();
        let clock = || {
            drop(held.take());
            0
        };
        let (written, causes) = put_by(engine, key, 3, NEVER, &clock);
        assert!(held.take().is_some(), "2 is still held");
        assert!(matches!(written, Done::Stored(_)));
        assert_eq!(causes, [Cause::Evicted; 3]);
    });
    assert_eq!(weights(&engine), [13, 20, 24, 23]);
    assert_valid(&engine);
}

#[test]
fn a_home_gives_a_slice_and_the_heaviest_the_rest() {
    let engine = full([&[1; 300], &[1; 200], &[1; 200], &[1; 250]]);
    let key = keys_of(0).next().unwrap();
    assert_eq!(store(&engine, key, 70), [Cause::Evicted; 70]);
    assert_eq!(weights(&engine), [300 - SLICE as u64 + 70, 200, 200, 250 - 6]);
}

#[test]
fn an_update_asks_others_if_its_policy_names_a_newcomer() {
    /// It keeps what it has, even where nothing new comes.
    struct Stubborn;
    impl EvictionPolicy for Stubborn {
        fn hears(&self) -> Hears {
            Hears::Nothing
        }
        fn insert(&mut self, _: Slot, _: &Meta) {}
        fn remove(&mut self, _: Slot, _: Cause) {}
        fn victim(&mut self, _: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
            Victim::Newcomer
        }
        fn len(&self) -> usize {
            1
        }
        fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
            Box::new(std::iter::empty())
        }
        fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
            Box::new(std::iter::empty())
        }
    }
    let made = AtomicU64::new(0);
    let make: Make = Arc::new(move || match made.fetch_add(1, Ordering::Relaxed) {
        0 => Box::new(Stubborn),
        _ => Box::new(Lru::new()),
    });
    let engine: Small = Engine::new(2, 10, None, plan(make));
    let keys_of = |home| (0..).filter(move |&key| crate::hash::mix(key) >> 63 == home);
    let key = keys_of(0).next().unwrap();
    put(&engine, key, 5, NEVER, 0);
    keys_of(1).take(5).for_each(|key| drop(put(&engine, key, 1, NEVER, 0)));
    assert_eq!(store(&engine, key, 7), [Cause::Evicted, Cause::Evicted, Cause::Replaced]);
    assert_eq!(weights(&engine), [7, 3]);
    // A true newcomer is refused, though others could give.
    let (written, causes) = put(&engine, keys_of(0).nth(1).unwrap(), 1, NEVER, 0);
    assert_eq!(written, Done::Refused(Some(Reason::Full)));
    assert_eq!(causes, []);
}
