//! Loads against deletions, writes, and loads of other processes.

use crate::world::{
    BRIEF, Kind, LONG, MODES, Process, Source, TELLING, World, each, millis, name, until,
};
use cachette::tier::{Delivery, Event, Mode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

#[test]
fn one_load_serves_all_processes() {
    each(&[], &MODES, |world| {
        let (one, two) = (world.process(), world.process());
        world.source.write(7, 1);
        world.source.park(7);
        let loads = [one.begin(7), two.begin(7), two.begin(7)];
        until("the other waits", || {
            let waits = |process: &Process| process.cache.stats().waits;
            world.source.loads() == 1 && waits(&one) + waits(&two) > 0
        });
        world.source.release(7);
        for load in loads {
            assert_eq!(load.join().unwrap(), Ok(1));
        }
        assert_eq!((one.value(7), two.value(7)), (1, 1));
        assert_eq!(world.source.loads(), 1);
    });
}

#[test]
fn t1_t2_a_load_that_a_deletion_overtook_is_not_kept_nor_joined() {
    each(&[], &MODES, |world| {
        let one = world.process();
        world.source.write(7, 1);
        world.source.park(7);
        let parked = one.begin(7);
        world.source.until_waiting(1);
        world.source.write(7, 2);
        assert_eq!(one.cache.delete(&7), Delivery::Done);
        let after = one.begin(7);
        world.source.until_waiting(2);
        world.source.release(7);
        assert_eq!((parked.join().unwrap(), after.join().unwrap()), (Ok(1), Ok(2)));
        assert_eq!(one.value(7), 2);
        assert_eq!(one.local(7), Some(2));
        assert_eq!(world.process().value(7), 2, "the remote has the new one");
        assert_eq!(world.source.loads(), 2);
    });
}

#[test]
fn t3_a_load_that_another_process_deleted_is_not_written() {
    each(&[], &MODES, |world| {
        let (one, two) = (world.process(), world.process());
        world.source.write(7, 1);
        world.source.park(7);
        let parked = one.begin(7);
        world.source.until_waiting(1);
        world.source.write(7, 2);
        assert_eq!(two.cache.delete(&7), Delivery::Done);
        world.source.release(7);
        assert_eq!(parked.join().unwrap(), Ok(1));
        assert!(!world.has(7));
        assert_eq!((one.local(7), one.cache.stats().rejected), (None, 1));
        assert_eq!((two.value(7), one.value(7)), (2, 2));
    });
}

#[test]
fn t5_a_load_that_outlived_its_lease_is_kept_nowhere() {
    each(&[], &MODES, |world| {
        let one = world.process_with(|builder| builder.lease(millis(300)));
        let two = world.process();
        world.source.write(7, 1);
        world.source.park(7);
        let parked = one.begin(7);
        world.source.until_waiting(1);
        world.source.write(7, 2);
        // It waits for the lease to end, and loads under one of its own.
        let next = two.begin(7);
        world.source.until_waiting(2);
        assert_eq!(two.cache.stats().alone, 0);
        assert!(two.cache.stats().waits > 0);
        world.source.release(7);
        assert_eq!((parked.join().unwrap(), next.join().unwrap()), (Ok(1), Ok(2)));
        assert_eq!((one.value(7), two.value(7)), (2, 2));
    });
}

#[test]
fn t6_a_process_that_died_with_a_lease_is_waited_for_no_longer_than_it_lasts() {
    each(&[], &MODES, |world| {
        let one = world.process_with(|builder| builder.lease(millis(300)));
        let two = world.process();
        world.source.write(7, 1);
        world.source.park(7);
        let lost = one.begin(7);
        world.source.until_waiting(1);
        if world.kind == Kind::Tokio {
            one.kill();
            assert!(lost.join().unwrap().is_err());
        }
        let next = two.begin(7);
        world.source.until_waiting(2);
        assert_eq!((two.cache.stats().leases, two.cache.stats().alone), (1, 0));
        world.source.release(7);
        assert_eq!(next.join().unwrap(), Ok(1));
        assert_eq!(two.local(7), Some(1));
    });
}

#[test]
fn t6_who_will_not_wait_so_long_loads_without_a_lease() {
    each(&[], &MODES, |world| {
        world.server.run(&format!("SET lease{} someone", name(7)));
        let two = world.process_with(|builder| builder.lock_wait(millis(100)));
        world.source.write(7, 1);
        assert_eq!(two.value(7), 1);
        let stats = two.cache.stats();
        assert_eq!((stats.leases, stats.alone), (0, 1));
        assert!(stats.waits > 0 && !world.has(7));
    });
}

#[test]
fn t29_a_load_that_fails_gives_its_lease_back() {
    each(&[], &MODES, |world| {
        let (one, two) = (world.process(), world.process());
        world.source.write(7, 1);
        world.source.set_down(7, true);
        world.source.park(7);
        let failing = one.begin(7);
        world.source.until_waiting(1);
        let next = two.begin(7);
        until("the other waits", || two.cache.stats().waits > 0);
        world.source.set_down(7, false);
        world.source.release(7);
        assert!(failing.join().unwrap().is_err());
        assert_eq!(next.join().unwrap(), Ok(1));
        assert_eq!(two.cache.stats().leases, 1);
        assert_eq!((one.value(7), world.source.loads()), (1, 2));
    });
}

/// Writes rows and deletes them, while others read: no one who begins after a deletion reads what was there before it, in the process
/// that deleted.
#[test]
fn t8_a_process_reads_what_it_wrote() {
    each(&[], &MODES, |world| {
        let one = world.process();
        let (deleted, ended) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !ended.load(Ordering::SeqCst) {
                        let least = deleted.load(Ordering::SeqCst);
                        let found = one.value(7);
                        assert!(found >= least, "{found} was deleted before {least}");
                    }
                });
            }
            for version in 1..=150 {
                world.source.write(7, version);
                assert_eq!(one.cache.delete(&7), Delivery::Done);
                deleted.store(version, Ordering::SeqCst);
            }
            ended.store(true, Ordering::SeqCst);
        });
        assert_eq!(one.value(7), 150);
    });
}

/// A value that is read while another process writes the next is not kept: nobody would say that it has changed.
#[test]
fn t11_an_answer_that_a_change_overtook_is_not_kept() {
    each(&[], &TELLING, |world| {
        let (one, two) = (world.process(), world.process());
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !ended.load(Ordering::SeqCst) {
                        one.value(7);
                    }
                });
            }
            for version in 1..=150 {
                world.source.write(7, version);
                if version % 3 == 0 {
                    assert_eq!(two.cache.delete(&7), Delivery::Done);
                } else {
                    assert_eq!(two.cache.put(7, version), Delivery::Done);
                }
                if version % 8 == 0 {
                    until("the change is heard of", || one.value(7) == version);
                }
            }
            until("the last change is heard of", || one.value(7) == 150);
            ended.store(true, Ordering::SeqCst);
        });
    });
}

#[test]
fn t17_after_ones_own_write_that_of_another_is_heard_of() {
    each(&[], &TELLING, |world| {
        let (one, two) = (world.process(), world.process());
        for version in [1, 3, 5] {
            assert_eq!(one.cache.put(7, version), Delivery::Done);
            assert_eq!(one.local(7), Some(version), "it keeps its own");
            assert_eq!(two.cache.put(7, version + 1), Delivery::Done);
            until("the other's write is heard of", || one.local(7).is_none());
            assert_eq!(one.value(7), version + 1);
        }
        assert_eq!(world.source.loads(), 0);
    });
}

#[test]
fn t19_who_never_had_a_value_tells_those_who_have_it() {
    each(&[], &TELLING, |world| {
        let (one, two) = (world.process(), world.process());
        world.source.write(7, 1);
        assert_eq!(one.value(7), 1);
        world.source.write(7, 2);
        assert_eq!(two.cache.delete(&7), Delivery::Done);
        until("the deletion is heard of", || one.local(7).is_none());
        assert_eq!(one.value(7), 2);
    });
}

/// The other has no line that would tell it.
#[test]
fn where_nobody_tells_a_value_lives_no_longer_than_the_bound() {
    each(&[], &[Mode::TtlOnly], |mut world| {
        world.bound = BRIEF;
        let (one, two) = (world.process(), world.process());
        assert_eq!(one.cache.max_staleness(), BRIEF);
        world.source.write(7, 1);
        assert_eq!(one.value(7), 1);
        world.source.write(7, 2);
        assert_eq!(two.cache.delete(&7), Delivery::Done);
        let deleted = Instant::now();
        let mut begins = Instant::now();
        while one.value(7) == 1 {
            assert!(begins - deleted < BRIEF, "{:?}", begins - deleted);
            begins = Instant::now();
        }
        assert_eq!(one.value(7), 2);
    });
}

#[test]
fn a_late_value_is_told_of() {
    each(&[], &[Mode::Tracking], |world| {
        let one = world.process();
        world.source.park(7);
        let parked = one.begin(7);
        world.source.until_waiting(1);
        world.server.run(&format!("DEL lease{}", name(7)));
        world.source.release(7);
        assert_eq!(parked.join().unwrap(), Ok(0));
        let rejected = Event::FillRejected { name: name(7).into_bytes() };
        one.until_told("the rejection", |event| *event == rejected);
        assert_eq!(one.local(7), None);
    });
}

/// Of processes that all want a key at once, one loads.
#[test]
fn a_herd_loads_once() {
    each(&[], &MODES, |world| {
        let processes: Vec<Process> = (0..3).map(|_| world.process()).collect();
        for key in 0..20 {
            world.source.write(key, 1);
            let loads: Vec<_> = processes
                .iter()
                .flat_map(|process| [process.begin(key), process.begin(key)])
                .collect();
            assert!(loads.into_iter().all(|load| load.join().unwrap() == Ok(1)));
        }
        assert_eq!(Source::loads(&world.source), 20);
        let leases: u64 = processes.iter().map(|process| process.cache.stats().leases).sum();
        assert_eq!(leases, 20);
    });
}

#[test]
fn nothing_is_left_behind_in_the_remote_but_values() {
    each(&[], &[Mode::Tracking], |world: World| {
        let one = world.process();
        (0..10).for_each(|key| assert_eq!(one.value(key), 0));
        (0..5).for_each(|key| assert_eq!(one.cache.delete(&key), Delivery::Done));
        world.source.set_down(99, true);
        assert!(one.cache.load(&99).is_err());
        // Four generations, and five values. A lease is given back in the background.
        until("all leases are given back", || world.server.run("DBSIZE") == redis::Value::Int(9));
        for key in 5..10 {
            let redis::Value::Int(left) = world.server.run(&format!("PTTL {}", name(key))) else {
                panic!("it has a time")
            };
            assert!(left > 0 && left <= i64::try_from(LONG.as_millis()).unwrap());
        }
    });
}
