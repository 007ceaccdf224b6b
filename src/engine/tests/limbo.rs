//! How full limbo gets, and who asks for a grace period.

use super::*;
use crate::engine::epoch::Grace;

/// Deletes keys while this thread is pinned, so that nothing leaves limbo: when a grace period is wanted, and how much.
fn grace_wanted(engine: &Small, keys: std::ops::Range<u64>) -> Vec<(u64, Grace)> {
    let mut wanted = Vec::new();
    for key in keys {
        let mut out = Outgoing::new(false);
        delete_by(engine, key, &mut out);
        if out.grace() != Grace::No {
            wanted.push((key + 1, out.grace()));
        }
        engine.have_grace(&mut out);
    }
    wanted
}

fn limbo(engine: &Small) -> (usize, u64) {
    engine.stripes().next().unwrap().lock().limbo()
}

/// Until nobody is pinned that could see what has been retired so far.
fn until_all_is_safe(engine: &Small) {
    let stripe = engine.stripes().next().unwrap();
    stripe.lock().seal();
    let tag = epoch::domain().seal();
    let graces = (0..1_000_000).map(|_| epoch::domain().grace(Grace::Wait));
    assert!(graces.into_iter().any(|()| stripe.safe() > tag), "nothing is ever safe");
}

/// The same, and until nothing is left of outgrown tables, which ask for grace periods of their own; nor in limbo.
fn until_all_is_tidy(engine: &Small) {
    let stripe = engine.stripes().next().unwrap();
    for _ in 0..1_000 {
        // An insertion and a removal, for a table that is growing to go on.
        put(engine, u64::MAX, 1, NEVER, 0);
        delete(engine, u64::MAX);
    }
    for _ in 0..1_000 {
        until_all_is_safe(engine);
        let mut segment = stripe.lock();
        segment.tidy(&mut Outgoing::new(false));
        if !segment.state.scribe.has_scrap() && segment.limbo().0 == 0 {
            return;
        }
    }
    panic!("there is always something left");
}

/// At half of 1,024 it is asked for, and at each eighth from there; at all of it it is waited for, and then at each quarter.
#[test]
fn a_grace_period_is_wanted_as_limbo_fills() {
    use Grace::{Try, Wait};

    let engine = engine(1, 5_000, Lru::new);
    (0..3_000).for_each(|key| drop(put(&engine, key, 1, NEVER, 0)));
    until_all_is_tidy(&engine);
    let pin = epoch::pin();
    let wanted = grace_wanted(&engine, 0..1_600);
    let tries = [512, 640, 768, 896].map(|at| (at, Try));
    let waits = [1_024, 1_280, 1_536].map(|at| (at, Wait));
    assert_eq!(wanted, [&tries[..], &waits[..]].concat());
    assert_eq!(limbo(&engine), (1_600, 1_600));
    drop(pin);

    // A write takes out 64 where limbo is too full, else 16, and wants nothing more while there is some to take. A grace period
    // that was waited for is followed by as much.
    until_all_is_safe(&engine);
    assert_eq!(grace_wanted(&engine, 1_600..1_601), [(1_601, Wait)]);
    assert_eq!(limbo(&engine), (1_601 - 2 * SLICE, 1_601 - 2 * SLICE as u64));
    for key in 1_601..1_660 {
        let before = limbo(&engine).0;
        let pin = epoch::pin();
        let mut out = Outgoing::new(false);
        delete_by(&engine, key, &mut out);
        drop(pin);
        let taken = before + 1 - limbo(&engine).0;
        assert_eq!(taken, if before + 1 >= 1_040 { SLICE } else { IN_PASSING }, "of {before}");
        assert_eq!(out.grace(), if limbo(&engine).0 >= 1_024 { Wait } else { Grace::No });
    }
}

/// 2 % of the residents, if that is more than 1,024; and of their weight.
#[test]
fn limbo_may_grow_with_the_cache() {
    let engine = engine(1, 200_000, Fifo::new);
    (0..100_000).for_each(|key| drop(put(&engine, key, 1, NEVER, 0)));
    until_all_is_tidy(&engine);
    let pin = epoch::pin();
    // With 98,000 left 1,960 is full, and with 97,500 a quarter more than that is 2,437.
    let wanted = grace_wanted(&engine, 0..2_600);
    let first = wanted[0];
    assert!((960..=1_024).contains(&first.0) && first.1 == Grace::Try, "{wanted:?}");
    let waits: Vec<_> = wanted.iter().filter(|(_, grace)| *grace == Grace::Wait).collect();
    let [full, fuller] = waits[..] else { panic!("{wanted:?}") };
    assert!((1_920..=1_984).contains(&full.0), "{wanted:?}");
    assert!((2_430..=2_500).contains(&fuller.0), "{wanted:?}");
    drop(pin);
}

/// More weight than 2^64 times what may be there.
#[test]
fn limbo_may_be_fuller_than_can_be_told() {
    let engine = engine(1, u64::MAX, Lru::new);
    put(&engine, 0, 1 << 63, NEVER, 0);
    put(&engine, 1, 1, NEVER, 0);
    until_all_is_tidy(&engine);
    let pin = epoch::pin();
    delete(&engine, 0);
    assert!(engine.set_capacity(50, &|| 0, &mut Outgoing::new(false)));
    assert_eq!(grace_wanted(&engine, 1..2), [(2, Grace::Wait)]);
    drop(pin);
}

/// A sixteenth of 1,024.
#[test]
fn what_leaves_is_sealed_in_batches() {
    let engine = engine(1, 5_000, Lru::new);
    (0..3_000).for_each(|key| drop(put(&engine, key, 1, NEVER, 0)));
    until_all_is_tidy(&engine);
    let pin = epoch::pin();
    for key in 0..320 {
        delete(&engine, key);
        let segment = engine.stripes().next().unwrap().lock();
        assert_eq!(segment.state.keeper.open() as u64, (key + 1) % 64);
    }
    drop(pin);
}

#[test]
fn a_grace_period_is_wanted_as_limbo_fills_by_weight() {
    use Grace::{Try, Wait};

    let engine = engine(1, 100_000, Lru::new);
    (0..1_000).for_each(|key| drop(put(&engine, key, 10, NEVER, 0)));
    until_all_is_tidy(&engine);
    let pin = epoch::pin();
    // 2,000 may be there.
    let wanted = grace_wanted(&engine, 0..310);
    let tries = [100, 125, 150, 175].map(|at| (at, Try));
    let waits = [200, 250, 300].map(|at| (at, Wait));
    assert_eq!(wanted, [&tries[..], &waits[..]].concat());
    assert_eq!(limbo(&engine), (310, 3_100));
    drop(pin);
    until_all_is_safe(&engine);
    let mut out = Outgoing::new(false);
    let mut slices = 0;
    while engine.stripes().next().unwrap().lock().reclaim_slice(&mut out) {
        slices += 1;
    }
    assert_eq!(slices, 310 / SLICE);
    assert_eq!(limbo(&engine), (0, 0));
}
