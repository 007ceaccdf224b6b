//! Locks that end by themselves, and deletions that are done twice.

use crate::redis_server::PATIENCE;
use crate::world::{BRIEF, Chosen, LONG, MODES, calls, each, left, millis, name, until};
use cachette::tier::{Delivery, Mode};
use redis::Value;
use std::time::{Duration, Instant};

#[test]
fn t7_a_lock_that_has_ended_is_not_given_back() {
    each(&[], &[Mode::TtlOnly], |world| {
        let ((one, _one), (two, _two)) = (world.locks(), world.locks());
        let owner = || world.server.run("GET lock{report}");
        for late_extends in [false, true] {
            let mut late = one.try_lock("report", millis(50)).unwrap().expect("nobody has it");
            let lock = two.lock("report", LONG, PATIENCE).unwrap();
            let mut its = lock.expect("that of the first has ended");
            let whose = owner();
            assert!(matches!(whose, Value::BulkString(_)), "{whose:?}");
            if late_extends {
                assert_eq!(late.extend(LONG * 2), Ok(false));
            }
            assert_eq!(late.unlock(), Ok(false));
            assert_eq!(owner(), whose);
            assert!(left(&world.server, "lock{report}") <= LONG.as_millis().try_into().unwrap());
            assert!(one.try_lock("report", LONG).unwrap().is_none());
            assert_eq!(its.extend(LONG * 2), Ok(true));
            assert!(left(&world.server, "lock{report}") > LONG.as_millis().try_into().unwrap());
            assert_eq!((its.unlock(), owner()), (Ok(true), Value::Nil));
        }
    });
}

#[test]
fn t7_a_lease_that_has_ended_is_not_given_back() {
    each(&[], &MODES, |mut world| {
        let one = world.process_with(|builder| builder.lease(millis(300)));
        // Each has a source of its own, so that one alone is released.
        let ones = std::mem::take(&mut world.source);
        let two = world.process();
        let owner = || world.server.run(&format!("GET lease{}", name(7)));
        ones.set_down(7, true);
        ones.park(7);
        let failing = one.begin(7);
        ones.until_waiting(1);
        world.source.write(7, 2);
        world.source.park(7);
        let parked = two.begin(7);
        world.source.until_waiting(1);
        let whose = owner();
        assert!(matches!(whose, Value::BulkString(_)), "{whose:?}");
        let scripts = || calls(&world.server, "evalsha") + calls(&world.server, "eval");
        let before = scripts();
        ones.release(7);
        assert!(failing.join().unwrap().is_err());
        until("the first gives its lease back", || scripts() > before);
        assert_eq!(owner(), whose);
        world.source.release(7);
        assert_eq!(parked.join().unwrap(), Ok(2));
        assert_eq!((owner(), world.has(7)), (Value::Nil, true));
        assert_eq!((two.cache.stats().leases, two.cache.stats().rejected), (1, 0));
    });
}

#[test]
fn t9_what_a_replica_said_too_early_is_deleted_once_more() {
    const SETTLE: Duration = Duration::from_millis(1_500);
    each(&[], &MODES, |mut world| {
        world.bound = if world.mode == Mode::TtlOnly { BRIEF } else { world.bound };
        let (one, two) = (world.process(), world.process());
        let versions = |builder: Chosen| builder.versions(|_, &version| version);
        let versioned = world.process_with(|builder| versions(builder.namespace("versions")));
        // What is loaded is what the replica has.
        world.source.write(7, 1);
        let deletions = || calls(&world.server, "unlink");
        // Again, if this machine was so slow that the time had passed before all was there.
        let before = loop {
            assert_eq!((one.value(7), two.value(7), versioned.value(7)), (1, 1, 1));
            let (before, start) = (deletions(), Instant::now());
            assert_eq!(versioned.cache.delete_after_write(&7, millis(1)), Delivery::Done);
            assert_eq!(versioned.value(7), 1);
            assert_eq!(one.cache.delete_after_write(&7, SETTLE), Delivery::Done);
            until("the first is done", || deletions() >= before + 2);
            assert_eq!(two.value(7), 1);
            assert_eq!(one.value(7), 1);
            let there = world.has(7);
            if start.elapsed() < SETTLE {
                assert!(there, "it lags behind");
                break before;
            }
            until("the second comes", || deletions() == before + 3);
        };
        world.source.write(7, 2);
        until("the second deletion", || !world.has(7));
        until("it is heard of", || (one.value(7), two.value(7)) == (2, 2));
        // That of the value with a version would have come long before.
        assert_eq!(deletions(), before + 3);
        assert_eq!(versioned.value(7), 1);
    });
}
