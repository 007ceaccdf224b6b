//! Reads from a replica that lags, is stopped, is killed, or is made a primary.

use crate::follower::Follower;
use crate::redis_server::Server;
use crate::world::{BRIEF, KINDS, MODES, Process, World, millis, name, until};
use cachette::SystemClock;
use cachette::tier::{Event, Mode};
use std::time::Duration;

/// The most that a replica may lag: longer than any test holds one up, so that what it lacks is no more than the bound allows.
const LAG: Duration = Duration::from_secs(600);

/// The same, for tests that wait for it.
const SHORT: Duration = millis(300);

/// Runs a test before a primary and its replica, by each kind of process and in each mode in which replicas are asked.
fn each(modes: &[Mode], test: impl Fn(World, Follower)) {
    for kind in KINDS {
        for &mode in modes.iter().filter(|&&mode| mode != Mode::OptIn) {
            let Some(server) = Server::start(&["--repl-diskless-sync-delay", "0"]) else { return };
            if mode == Mode::Tracking && !server.tracks() {
                continue;
            }
            crate::world::remember(&server);
            let Some(follower) = Follower::start(&server) else { return };
            println!("{kind:?}, {mode}");
            let world = World::new(server, kind, mode).with_replica(&follower.server);
            test(world, follower);
        }
    }
}

fn reader(world: &World, lag: Duration) -> Process {
    world.process_with(|builder| builder.replica_lag(lag))
}

fn used(event: &Event) -> bool {
    *event == Event::ReplicasUsed
}

fn left(event: &Event) -> bool {
    matches!(event, Event::ReplicasLeft { .. })
}

/// Has keys read, from this one on, that another has written, until the replica has answered. Says which was not used yet.
fn until_used(one: &Process, two: &Process, first: u64) -> u64 {
    let (before, mut key) = (two.cache.stats().replica_hits, first);
    until("the replica is read", || {
        // What was told of a moment ago is asked of the primary: so not each at once after it was written.
        if (key - first) % 200 == 0 {
            (key..key + 200).for_each(|key| assert!(one.cache.put(key, key).is_done()));
        }
        assert_eq!(two.value(key), key);
        key += 1;
        two.cache.stats().replica_hits > before
    });
    first + (key - first).next_multiple_of(200)
}

#[test]
fn a_replica_is_read() {
    each(&MODES, |world, _follower| {
        let (one, two) = (world.process(), reader(&world, SHORT));
        assert_eq!(two.cache.max_staleness(), one.cache.max_staleness() + SHORT);
        until_used(&one, &two, 100);
        assert!(two.told(used));
        // A value in the remote that nobody has changed for a while.
        (0..50).for_each(|key| assert_eq!(one.value(key), 0));
        let loads = world.source.loads();
        until("all of them are read there", || {
            let three = reader(&world, SHORT);
            (0..50).for_each(|key| assert_eq!(three.value(key), 0));
            three.cache.stats().replica_hits == 50
        });
        until("all of them are read there at once", || {
            let four = reader(&world, SHORT);
            let all = four.cache.load_many(&(0..50).collect::<Vec<_>>());
            assert!(all.iter().all(|value| *value == Ok(0)));
            four.cache.stats().replica_hits == 50
        });
        assert_eq!(world.source.loads(), loads);
    });
}

#[test]
fn what_was_told_of_or_done_here_is_not_read_as_it_was_before() {
    each(&[Mode::Tracking, Mode::Messages], |world, follower| {
        let (one, two) = (world.process(), reader(&world, LAG));
        let key = until_used(&one, &two, 100);
        assert!(one.cache.put(7, 1).is_done());
        // Where it was put into the remote all hear of it.
        until("it is there", || {
            follower.server.run(&format!("EXISTS {}", name(7))) == redis::Value::Int(1)
        });
        follower.hold();
        world.source.write(7, 2);
        let changes = two.cache.stats().changes;
        assert!(one.cache.delete(&7).is_done());
        until("it is heard of", || two.cache.stats().changes > changes);
        assert_eq!(two.value(7), 2);
        for version in 3..6 {
            world.source.write(7, version);
            if version % 2 == 0 {
                assert!(two.cache.delete(&7).is_done());
            } else {
                assert!(two.cache.put(7, version).is_done());
            }
            assert_eq!(two.value(7), version);
        }
        follower.release();
        until_used(&one, &two, key);
        assert_eq!(two.value(7), 5);
    });
}

#[test]
fn one_that_lags_is_left_until_it_does_not() {
    each(&MODES, |world, follower| {
        let (one, two) = (world.process(), reader(&world, SHORT));
        let key = until_used(&one, &two, 100);
        follower.hold();
        // It goes on as if nothing were wrong.
        let mut key = key;
        until("it is left", || {
            assert!(one.cache.put(key, key).is_done());
            assert_eq!(two.value(key), key);
            key += 1;
            two.told(left)
        });
        two.hush();
        follower.release();
        until_used(&one, &two, key);
        two.until_told("it is taken again", used);
    });
}

#[test]
fn one_that_is_stopped_killed_or_promoted_costs_nobody_a_value() {
    each(&[Mode::Tracking], |mut world, mut follower| {
        world.patience = millis(200);
        let (one, two) = (world.process(), reader(&world, SHORT));
        let mut key = until_used(&one, &two, 100);
        for trouble in 0..3 {
            match trouble {
                0 => follower.server.stop(),
                1 => follower.server.kill(),
                _ => follower.promote(),
            }
            two.hush();
            until("it is left", || {
                let _ = one.cache.put(key, key);
                assert!([0, key].contains(&two.value(key)));
                key += 1;
                two.told(left)
            });
            if trouble == 2 {
                // Another history: what it says is not what was.
                follower.server.run(&format!("SET {} garbage", name(key)));
                (0..50).for_each(|_| assert_eq!(two.value(key), 0));
            }
            match trouble {
                0 => follower.server.cont(),
                1 => follower.server.restart(),
                _ => follower.follow(),
            }
            follower.until_linked();
            key = until_used(&one, &two, key + 1);
        }
        assert!(!two.told(|event| *event == Event::BreakerOpened));
    });
}

#[test]
fn where_there_is_none_or_none_that_answers_nothing_changes() {
    each(&[Mode::Tracking], |mut world, mut follower| {
        follower.server.kill();
        let dead = reader(&world, SHORT);
        assert_eq!((dead.value(1), dead.cache.stats().replica_hits), (0, 0));
        dead.until_told("it is left", left);
        // One that follows nobody.
        world.replicas = vec![world.server.url()];
        let wrong = reader(&world, SHORT);
        assert_eq!((wrong.value(1), wrong.cache.stats().replica_hits), (0, 0));
        wrong.until_told("it is no replica", left);
        world.replicas.clear();
        let none = reader(&world, SHORT);
        assert_eq!((none.value(1), none.cache.stats().replica_misses), (0, 0));
        assert!(!none.told(left));
    });
}

#[test]
fn one_of_another_server_proves_nothing_however_much_it_has() {
    each(&[Mode::Tracking], |mut world, _follower| {
        let Some(other) = Server::start(&["--repl-diskless-sync-delay", "0"]) else { return };
        let Some(follower) = Follower::start(&other) else { return };
        other.run(&format!("SET much {}", "x".repeat(1 << 20)));
        world.replicas = vec![follower.server.url()];
        let one = reader(&world, SHORT);
        let mut key = 0;
        until("it is left", || {
            key += 1;
            assert_eq!(one.value(key), 0);
            one.told(left)
        });
        assert_eq!(one.cache.stats().replica_hits, 0);
        assert!(!one.told(used));
    });
}

#[test]
fn without_a_line_it_is_kept_for_the_bound() {
    each(&[Mode::TtlOnly], |mut world, follower| {
        world.bound = BRIEF;
        let one = world.process();
        let two = world.process_in_the_dark(SystemClock::new(), |builder| builder.replica_lag(LAG));
        two.until_up(Mode::TtlOnly);
        until_used(&one, &two, 100);
        assert!(one.cache.put(7, 1).is_done());
        until("it is there", || {
            follower.server.run(&format!("EXISTS {}", name(7))) == redis::Value::Int(1)
        });
        assert_eq!(two.value(7), 1);
        world.source.write(7, 2);
        assert!(one.cache.delete(&7).is_done());
        until("it is read anew", || two.value(7) == 2);
    });
}
