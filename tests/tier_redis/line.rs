//! The line on which changes are told of: what is heard, and what is served when it is lost.

use crate::proxy::Proxy;
use crate::redis_server::Server;
use crate::world::{
    BRIEF, KINDS, MODES, Process, TELLING, TRACKING, World, each, millis, name, until,
};
use cachette::SystemClock;
use cachette::tier::{Delivery, Event, Mode, OnLinkLoss, RemoteError};
use std::time::Instant;

#[test]
fn what_another_program_does_is_heard_of() {
    each(&[], &TRACKING, |world| {
        let one = world.process();
        for command in
            ["DEL KEY", "SET KEY junk", "EXPIRE KEY 0", "PEXPIRE KEY 1", "RENAME KEY junk"]
        {
            let command = command.replace("KEY", &name(7));
            assert_eq!(one.cache.put(7, 1), Delivery::Done);
            assert_eq!(one.local(7), Some(1));
            world.server.run(&command);
            until(&command, || one.local(7).is_none());
        }
    });
}

#[test]
fn t12_when_all_is_flushed_nothing_is_left_and_many_names_are_all_heard_of() {
    each(&[], &TRACKING, |world| {
        let one = world.process();
        for command in ["FLUSHALL", "FLUSHDB", "FLUSHALL ASYNC", "MULTI"] {
            // What is told late of the flush before empties L1 once more, and on a busy machine the line may not have answered in time.
            until("all are there", || {
                (0..5).for_each(|key| assert_eq!(one.cache.put(key, 1), Delivery::Done));
                (0..5).all(|key| one.local(key) == Some(1))
            });
            // A load under way is not kept either.
            world.source.write(9, 1);
            world.source.park(9);
            let parked = one.begin(9);
            world.source.until_waiting(1);
            if command == "MULTI" {
                let names: Vec<String> = [0, 1, 2, 3, 4, 9].map(name).into();
                // The last is nothing yet. Its lease goes too, as when another process deletes it.
                world.server.run(&format!("SET {} junk", name(9)));
                world.server.run(&format!("DEL lease{} {}", name(9), names.join(" ")));
            } else {
                world.server.run(command);
            }
            until(command, || (0..5).all(|key| one.local(key).is_none()));
            world.source.write(9, 2);
            world.source.release(9);
            assert_eq!(parked.join().unwrap(), Ok(1));
            until("the load of before is not kept", || one.value(9) == 2);
            assert_eq!(one.cache.delete(&9), Delivery::Done);
            // The generation was flushed with the rest, and the new one is a change as well.
            until("it is kept again", || one.value(8) == 0 && one.local(8) == Some(0));
            assert_eq!(one.cache.delete(&8), Delivery::Done);
        }
    });
}

#[test]
fn a_value_that_the_server_evicts_is_heard_of() {
    each(&["--maxmemory-policy", "allkeys-lru"], &TRACKING, |world| {
        let one = world.process();
        (0..50).for_each(|key| assert_eq!(one.cache.put(key, 1), Delivery::Done));
        assert!((0..50).all(|key| one.local(key) == Some(1)));
        // Full from now on: whatever is written, something goes.
        world.server.run("CONFIG SET maxmemory 1");
        until("all are evicted", || (0..50).all(|key| one.local(key).is_none()));
        world.server.run("CONFIG SET maxmemory 0");
        (0..50).for_each(|key| assert_eq!(one.value(key), 0));
    });
}

/// Cuts all connections but the one that says so.
fn cut(server: &Server) {
    server.run("CLIENT KILL TYPE pubsub");
    server.run("CLIENT KILL TYPE normal");
}

#[test]
fn t13_after_a_loss_nothing_is_served_from_before_it() {
    each(&[], &TELLING, |world| {
        let (one, two) = (world.process(), world.process());
        for version in 1..4 {
            world.source.write(7, version);
            assert_eq!(two.cache.put(7, version), Delivery::Done);
            until("it is heard of", || one.value(7) == version);
            one.hush();
            let emptied = one.cache.stats().emptied;
            cut(&world.server);
            one.until_told("the loss", |event| matches!(event, Event::LinkLost { .. }));
            until("it is emptied", || one.cache.stats().emptied > emptied);
            one.until_told("the line", |event| *event == Event::LinkUp { mode: world.mode });
            assert!(one.value(7) == version);
            // And it hears as before.
            until("the other is there again", || two.cache.delete(&7).is_done());
            world.source.write(7, version + 100);
            until("the other is there again", || two.cache.delete(&7).is_done());
            until("it is heard of", || one.value(7) == version + 100);
        }
    });
}

#[test]
fn t13_while_the_server_is_down_no_value_from_before_is_served() {
    for on_loss in [OnLinkLoss::Flush, OnLinkLoss::Bypass] {
        each(&[], &TELLING, |mut world| {
            let one = world.process_with(|builder| builder.on_link_loss(on_loss));
            world.source.write(7, 1);
            assert_eq!(one.value(7), 1);
            world.server.kill();
            one.until_told("the loss", |event| matches!(event, Event::LinkLost { .. }));
            until("it is not served", || one.local(7).is_none());
            assert_eq!(one.cache.mode(), None);
            world.source.write(7, 2);
            assert_eq!(one.value(7), 2);
            world.server.restart();
            one.until_up(world.mode);
            until("what nobody would have told of is gone", || {
                world.source.write(7, 3);
                one.value(7) == 3
            });
        });
    }
}

#[test]
fn t13_stale_values_are_served_for_as_long_as_was_said() {
    each(&[], &TELLING, |mut world| {
        world.bound = millis(1_500);
        let stale = OnLinkLoss::ServeStale(millis(700));
        let one = world.process_with(|builder| builder.on_link_loss(stale));
        world.source.write(7, 1);
        assert_eq!(one.value(7), 1);
        world.server.kill();
        let killed = Instant::now();
        one.until_told("the loss", |event| matches!(event, Event::LinkLost { .. }));
        let mut begins = Instant::now();
        while one.local(7).is_some() {
            assert!(begins - killed < world.bound);
            begins = Instant::now();
        }
    });
}

#[test]
fn t14_a_server_that_says_nothing_is_believed_no_longer_than_the_bound() {
    each(&[], &TELLING, |mut world| {
        (world.bound, world.patience) = (BRIEF, millis(300));
        let one = world.process();
        for round in 0..2 {
            world.source.write(7, round);
            until("it is in L1 while the line is up", || {
                until("it answers", || one.cache.delete(&7).is_done());
                one.value(7) == round && one.local(7).is_some() && one.cache.mode().is_some()
            });
            one.hush();
            world.server.stop();
            let stopped = Instant::now();
            let mut begins = Instant::now();
            while one.local(7).is_some() {
                assert!(begins - stopped < BRIEF, "{:?}", begins - stopped);
                begins = Instant::now();
            }
            let silent = |event: &Event| {
                matches!(event, Event::LinkLost { cause: RemoteError::TimedOut(_) })
            };
            one.until_told("the loss", silent);
            world.source.write(7, round + 10);
            assert_eq!(one.value(7), round + 10, "it is loaded");
            world.server.cont();
            one.until_told("the line", |event| *event == Event::LinkUp { mode: world.mode });
        }
    });
}

/// A user who may do everything but this.
fn user(world: &mut World, name: &str, rules: &str) {
    world.server.run(&format!("ACL SETUSER {name} on >pass ~* &* +@all {rules}"));
    world.login = format!("{name}:pass@");
}

#[test]
fn t15_where_one_way_is_forbidden_the_next_is_taken_and_told_of() {
    each(&[], &[Mode::Messages, Mode::TtlOnly], |mut world| {
        if !world.server.tracks() {
            return;
        }
        let all = |world: &World| world.process_with(|builder| builder.modes(MODES));
        let mode = world.mode;
        world.mode = Mode::Tracking;
        let tracking = all(&world);
        world.mode = mode;
        match mode {
            Mode::Messages => user(&mut world, "untracked", "-client|tracking"),
            _ => user(&mut world, "silent", "-client|tracking -subscribe"),
        }
        world.bound = if mode == Mode::TtlOnly { BRIEF } else { world.bound };
        let (one, two) = (all(&world), all(&world));
        assert!(one.told(|event| *event == Event::LinkUp { mode }));
        let why = |event: &Event| match event {
            Event::NoLink { cause: RemoteError::Refused(why) } => {
                why.contains("tracking by prefix: NOPERM") && why.contains("messages: NOPERM")
            }
            _ => false,
        };
        // In the third way nobody is told of anything, and that is not what was wanted.
        let listens = one.told(why) || one.told(|event| *event == Event::LinkUp { mode });
        assert!(listens);
        // All hear of each other, whatever their way.
        for (version, writer) in [(1, &one), (2, &tracking), (3, &two)] {
            world.source.write(7, version);
            assert_eq!(writer.cache.delete(&7), Delivery::Done);
            for process in [&one, &two, &tracking] {
                until("it is heard of", || process.value(7) == version);
            }
        }
    });
}

/// A message from a process that has sent so many before.
fn message(server: &Server, number: u64, about: u64) {
    let text = [&99_u64.to_le_bytes()[..], &number.to_le_bytes(), name(about).as_bytes()].concat();
    let heard: u64 =
        redis::cmd("PUBLISH").arg("{test.0:m}").arg(text).query(&mut server.client()).unwrap();
    assert_eq!(heard, 1);
}

#[test]
fn t18_a_missing_message_is_noticed() {
    each(&[], &[Mode::Messages], |mut world| {
        world.bound = millis(4_000);
        let one = world.process();
        message(&world.server, 5, 1);
        for (number, whole) in [(6, true), (8, false)] {
            assert_eq!(one.value(7), 0);
            assert_eq!(one.value(8), 0);
            message(&world.server, number, 7);
            until("the message is heard", || one.local(7).is_none());
            if whole {
                assert_eq!(one.local(8), Some(0));
            } else {
                one.until_told("the gap", |event| *event == Event::MessagesMissing);
                until("L1 is emptied", || one.local(8).is_none());
            }
        }
    });
}

#[test]
fn t18_a_gap_that_closes_is_none() {
    each(&[], &[Mode::Messages], |world| {
        let one = world.process();
        assert_eq!(one.value(8), 0);
        for number in [5, 7, 8, 6, 9] {
            message(&world.server, number, 7);
        }
        until("all are heard", || one.cache.stats().changes >= 5);
        assert_eq!(one.local(8), Some(0));
        assert!(!one.told(|event| *event == Event::MessagesMissing));
    });
}

#[test]
fn what_is_no_message_of_ours_does_no_harm() {
    each(&[], &[Mode::Messages], |world| {
        let one = world.process();
        assert_eq!(one.value(8), 0);
        for text in ["", "x", "sixteen bytes of", "sixteen bytes of a name that is none"] {
            let publish = redis::cmd("PUBLISH").arg("{test.0:m}").arg(text).to_owned();
            assert_eq!(publish.query::<u64>(&mut world.server.client()), Ok(1));
        }
        message(&world.server, 1, 7);
        until("the last is heard", || one.cache.stats().changes >= 1);
        assert_eq!(one.local(8), Some(0));
    });
}

#[test]
fn what_goes_on_in_the_background_ends_with_the_last_handle() {
    for kind in KINDS {
        let Some(server) = Server::start(&[]) else { return };
        let mode = if server.tracks() { Mode::Tracking } else { Mode::Messages };
        let mut world = World::new(server, kind, mode);
        (world.bound, world.patience) = (BRIEF, BRIEF * 9);
        // But for who asks.
        let others = || {
            let list: String =
                redis::cmd("CLIENT").arg("LIST").query(&mut world.server.client()).unwrap();
            list.lines().count() - 1
        };
        let processes: Vec<Process> = (0..2)
            .map(|_| world.process_in_the_dark(SystemClock::new(), |it| it.modes([mode])))
            .collect();
        for process in &processes {
            process.until_up(mode);
            process.value(7);
        }
        assert!(others() >= 2);
        drop(processes);
        until("their connections are closed", || others() == 0);
    }
}

/// How many connections are told of changes.
fn lines(server: &Server) -> usize {
    let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut server.client()).unwrap();
    let flags = list.lines().map(|line| line.split_once(" flags=").unwrap().1);
    flags.filter(|flags| flags.split(' ').next().unwrap().contains(['t', 'P'])).count()
}

/// Has the server tell much, by names or messages that are nobody's.
fn tell_much(world: &World, round: u64) {
    let long = "x".repeat(20_000);
    let mut all = redis::pipe();
    for n in 0..50 {
        match world.mode {
            Mode::Tracking => all.cmd("SET").arg(name(round * 50 + n) + &long).arg(""),
            _ => all.cmd("PUBLISH").arg("{test.0:m}").arg(&long),
        };
    }
    all.exec(&mut world.server.client()).unwrap();
}

#[test]
fn t16_who_is_too_slow_loses_its_line_once_and_hears_again() {
    let mut settings = Vec::new();
    for class in ["normal", "pubsub"] {
        settings.extend(["--client-output-buffer-limit", class, "100kb", "0", "0"]);
    }
    // Who is told of what it read only is told too little for that.
    each(&settings, &[Mode::Tracking, Mode::Messages], |world| {
        let proxy = Proxy::before(&world.server);
        let (one, two) = (world.process_at(proxy.port, SystemClock::new()), world.process());
        world.source.write(7, 1);
        assert_eq!((one.value(7), one.value(8)), (1, 0));
        let emptied = one.cache.stats().emptied;
        one.hush();
        assert_eq!(lines(&world.server), 2);
        proxy.hold();
        let mut rounds = 0..;
        until("the server gives one of them up", || {
            tell_much(&world, rounds.next().unwrap());
            lines(&world.server) < 2
        });
        world.source.write(7, 2);
        assert_eq!(two.cache.delete(&7), Delivery::Done);
        assert_eq!(one.local(7), Some(1), "nobody could have told");
        proxy.release();
        one.until_told("the loss", |event| matches!(event, Event::LinkLost { .. }));
        one.until_told("the line", |event| *event == Event::LinkUp { mode: world.mode });
        until("it is emptied", || one.local(7).is_none() && one.local(8).is_none());
        until("it is kept again", || one.value(7) == 2 && one.local(7) == Some(2));
        let times = one.cache.stats().emptied - emptied;
        assert!((1..=2).contains(&times), "at the loss, and after it: {times}");
        assert!(two.cache.mode() == Some(world.mode), "who has read in time has lost nothing");
        world.source.write(7, 3);
        assert_eq!(two.cache.delete(&7), Delivery::Done);
        until("it hears as before", || one.local(7).is_none());
        assert_eq!(one.value(7), 3);
        assert_eq!(one.cache.stats().emptied - emptied, times);
    });
}
