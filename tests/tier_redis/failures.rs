//! A server that is down, refuses, is full, forgets, or holds something else.

use crate::redis_server::Server;
use crate::world::{BRIEF, Kind, MODES, TELLING, World, each, millis, name, until};
use cachette::tier::{Breaker, Delivery, Event, Mode, Raw, RemoteError};
use cachette::{Backoff, SystemClock};

/// One that tries again soon.
const BREAKER: Breaker =
    Breaker { after: 3, wait: Backoff { first: millis(50), most: millis(100) } };

#[test]
fn t26_a_server_that_is_down_from_the_start() {
    each(&[], &MODES, |mut world| {
        world.server.kill();
        (world.bound, world.patience) = (BRIEF, millis(300));
        let dark = |world: &World| {
            world.process_in_the_dark(SystemClock::new(), |builder| builder.breaker(BREAKER))
        };
        let (one, two) = (dark(&world), dark(&world));
        for key in 0..30 {
            world.source.write(key, 1);
            assert_eq!(one.value(key), 1);
        }
        until("what is loaded is kept, for a while", || {
            one.value(30) == 0 && one.local(30) == Some(0)
        });
        one.until_told("the breaker", |event| *event == Event::BreakerOpened);
        let stats = one.cache.stats();
        assert!(stats.alone > 30 && stats.leases + stats.remote_hits == 0);
        if world.mode != Mode::TtlOnly {
            let unreachable = |event: &Event| {
                matches!(event, Event::NoLink { cause: RemoteError::Unreachable(_) })
            };
            one.until_told("that there is no line", unreachable);
        }
        world.server.restart();
        one.until_up(world.mode);
        two.until_up(world.mode);
        until("the breaker closes", || {
            one.cache.delete(&99).is_done() && two.cache.delete(&99).is_done()
        });
        one.until_told("that it answers", |event| *event == Event::BreakerClosed);
        // Nothing from the time before is believed, and they share again.
        world.source.write(7, 2);
        until("the old value has ended", || one.value(7) == 2);
        until("they share", || {
            let loads = world.source.loads();
            one.cache.put(8, 5).is_done() && two.value(8) == 5 && world.source.loads() == loads
        });
    });
}

#[test]
fn t26_a_server_that_goes_down_in_the_middle() {
    each(&[], &MODES, |mut world| {
        (world.bound, world.patience) = (BRIEF, millis(300));
        let one = world.process_with(|builder| builder.breaker(BREAKER));
        for round in 0..2 {
            world.source.write(7, round);
            until("it is there", || one.cache.delete(&7).is_done() && one.value(7) == round);
            one.hush();
            world.server.kill();
            let loads = world.source.loads();
            (10..20).for_each(|key| assert_eq!(one.value(key), 0));
            assert!(world.source.loads() - loads <= 10);
            until("the server is left alone", || {
                one.cache.delete(&99) == Delivery::Queued(RemoteError::Spared)
            });
            let failed = |event: &Event| matches!(event, Event::RemoteFailed { .. });
            assert!(round > 0 || one.told(failed), "once a second");
            world.server.restart();
            one.until_up(world.mode);
            until("what was owed is delivered", || one.cache.undelivered() == 0);
        }
    });
}

/// A server that loses nothing.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

#[test]
fn t27_what_was_deleted_while_the_server_was_down_does_not_come_back() {
    each(&DURABLE, &MODES, |mut world| {
        (world.bound, world.patience) = (BRIEF, millis(1_000));
        let one = world.process_with(|builder| builder.breaker(BREAKER));
        for key in 0..20 {
            world.source.write(key, 1);
            assert_eq!(one.value(key), 1);
        }
        assert_eq!(one.value(30), 0);
        world.server.kill();
        for key in 0..20 {
            world.source.write(key, 2);
            let delivery =
                if key % 2 == 0 { one.cache.delete(&key) } else { one.cache.put(key, 2) };
            assert!(matches!(delivery, Delivery::Queued(_)), "{delivery:?}");
        }
        assert_eq!(one.cache.undelivered(), 20);
        world.server.restart();
        assert!(world.has(30), "it had all of them when it came back");
        // From the first moment, and until it is delivered.
        while one.cache.undelivered() > 0 {
            (0..20).for_each(|key| assert_eq!(one.value(key), 2));
        }
        (0..20).for_each(|key| assert_eq!(one.value(key), 2));
        let two = world.process();
        (0..20).for_each(|key| assert_eq!(two.value(key), 2));
    });
}

#[test]
fn t27_generations_that_were_given_up_while_the_server_was_down_do_not_come_back() {
    each(&DURABLE, &TELLING, |mut world| {
        (world.bound, world.patience) = (BRIEF, millis(1_000));
        let tags = |key: u64| vec![if key < 10 { "low" } else { "high" }.to_owned()];
        let one =
            world.process_with(|builder| builder.breaker(BREAKER).tags(move |&key, _| tags(key)));
        for all in [false, true] {
            for key in [1, 11] {
                world.source.write(key, 1);
                until("it answers", || one.cache.delete(&key).is_done());
                until("it is in the remote", || one.value(key) == 1 && world.has(key));
            }
            world.server.kill();
            [1, 11].into_iter().for_each(|key| world.source.write(key, 2));
            let delivery = if all { one.cache.clear() } else { one.cache.delete_tag("low") };
            assert!(matches!(delivery, Delivery::Queued(_)), "{delivery:?}");
            world.server.restart();
            while one.cache.undelivered() > 0 {
                assert_eq!(one.value(1), 2);
            }
            assert_eq!(one.value(1), 2);
            let two = world.process_with(|builder| builder.tags(move |&key, _| tags(key)));
            assert_eq!((two.value(1), two.value(11)), (2, if all { 2 } else { 1 }));
        }
    });
}

#[test]
fn t27_more_deletions_than_are_kept_give_all_values_up() {
    each(&DURABLE, &TELLING, |mut world| {
        (world.bound, world.patience) = (BRIEF, millis(1_000));
        let one = world.process_with(|builder| builder.breaker(BREAKER).most_undelivered(3));
        (0..10).for_each(|key| assert_eq!(one.value(key), 0));
        world.server.kill();
        for key in 0..10 {
            world.source.write(key, 2);
            let _ = one.cache.delete(&key);
        }
        assert_eq!(one.cache.undelivered(), 1);
        one.until_told("that they are too many", |event| *event == Event::DeletionsOverflowed);
        world.server.restart();
        until("it is delivered", || {
            (0..10).for_each(|key| assert_eq!(one.value(key), 2));
            one.cache.undelivered() == 0
        });
        let two = world.process();
        (0..10).for_each(|key| assert_eq!(two.value(key), 2));
    });
}

/// The server answers, and refuses to delete: what it has is not believed until it does.
#[test]
fn t27_a_deletion_that_is_refused_is_made_up_for() {
    each(&[], &TELLING, |mut world| {
        world.server.run("ACL SETUSER app on >pass ~* &* +@all");
        world.login = "app:pass@".to_owned();
        world.bound = millis(1_000);
        let (one, two) = (world.process(), world.process());
        world.source.write(7, 1);
        assert_eq!((one.value(7), two.value(7)), (1, 1));
        world.server.run("ACL SETUSER app -unlink -del");
        world.source.write(7, 2);
        let delivery = one.cache.delete(&7);
        assert!(matches!(delivery, Delivery::Queued(RemoteError::Refused(_))), "{delivery:?}");
        assert_eq!((one.value(7), two.value(7)), (2, 1));
        world.server.run("ACL SETUSER app +unlink +del");
        until("it is delivered", || one.cache.undelivered() == 0);
        until("it is heard of", || two.value(7) == 2);
        assert_eq!(one.value(7), 2);
    });
}

#[test]
fn t31_what_is_no_value_of_ours_is_a_miss() {
    each(&[], &[Mode::Tracking], |world| {
        let one = world.process();
        let schema = world.process_with(|builder| builder.schema(1));
        assert_eq!(schema.cache.put(1, 66), Delivery::Done);
        world.server.run(&format!("RENAME {{test.1:k:1}} {}", name(1)));
        world.server.run(&format!("SET {} garbage", name(2)));
        world.server.run(&format!("SET {} ", name(3)));
        let other = world.process_with(|builder| builder.namespace("other"));
        for (key, at, byte) in [(4, 60, 3_u8), (5, 20, 7), (6, 3, 9)] {
            assert_eq!(other.cache.put(key, 123_456_789_012_345_678), Delivery::Done);
            world.server.run(&format!("RENAME {{other.0:k:{key}}} {}", name(key)));
            let damage = redis::cmd("SETRANGE").arg(name(key)).arg(at).arg(vec![byte]).to_owned();
            damage.query::<u64>(&mut world.server.client()).unwrap();
        }
        let cut = format!("SET {} {}", name(7), "x".repeat(5));
        world.server.run(&cut);
        for key in 1..=7 {
            world.source.write(key, 1);
            assert_eq!(one.value(key), 1, "{key}");
            assert_eq!(one.cache.stats().unreadable, key);
            assert_eq!(world.process().value(key), 1, "another has taken its place");
        }
        assert_eq!(world.source.loads(), 7);
        one.until_told("it", |event| matches!(event, Event::Unreadable { .. }));
    });
}

#[test]
fn t31_what_another_program_keeps_under_our_names_is_left_there() {
    each(&[], &MODES, |world| {
        let one = world.process();
        for (key, command) in [(1, "LPUSH KEY a"), (2, "SADD KEY a"), (3, "HSET KEY a b")] {
            world.server.run(&command.replace("KEY", &name(key)));
            world.source.write(key, 1);
            until("it is kept", || one.value(key) == 1 && one.local(key) == Some(1));
            assert!(world.has(key));
        }
        one.until_told("it", |event| *event == Event::Foreign { name: name(1).into_bytes() });
        // But not when it is written or deleted.
        assert_eq!(one.cache.put(1, 2), Delivery::Done);
        assert_eq!(one.cache.delete(&2), Delivery::Done);
        assert_eq!(world.process().value(1), 2);
        assert!(!world.has(2));
        // A lease, a tag and the generation may be something else as well.
        world.server.run(&format!("LPUSH lease{} a", name(4)));
        let hasty = world.process_with(|builder| builder.lock_wait(millis(60)));
        assert_eq!(hasty.value(4), 0);
        world.server.run("LPUSH junk a");
        world.server.run("RENAME junk {test.0:g}");
        let lost = world.process();
        assert_eq!(lost.value(5), 0);
    });
}

#[test]
fn t31_a_value_that_does_not_fit_is_served_and_not_shared() {
    each(&[], &MODES, |world| {
        let one = world.process_with(|builder| builder.max_value_bytes(3));
        world.source.write(7, 12_345);
        assert_eq!((one.value(7), one.local(7)), (12_345, Some(12_345)));
        one.until_told("it", |event| matches!(event, Event::Unwritable { .. }));
        assert!(!world.has(7));
        let two = world.process();
        assert_eq!(two.cache.put(8, 12_345), Delivery::Done);
        assert_eq!(one.value(8), 0, "it is too large to be read, and is loaded");
    });
}

#[test]
fn a_full_server_gives_what_it_has_and_keeps_nothing_old() {
    each(&["--maxmemory-policy", "noeviction"], &MODES, |mut world| {
        world.bound = millis(1_000);
        let (one, two) = (world.process(), world.process());
        world.source.write(7, 1);
        assert_eq!((one.value(7), two.value(7)), (1, 1));
        world.server.run("CONFIG SET maxmemory 1");
        // What is loaded is served, and not shared.
        world.source.write(8, 1);
        assert_eq!((one.value(8), one.local(8)), (1, Some(1)));
        assert!(!world.has(8));
        // What cannot be written is deleted at least, if not at once.
        world.source.write(7, 2);
        let delivery = one.cache.put(7, 2);
        let full = |why: &str| why.contains("OOM");
        assert!(
            matches!(&delivery, Delivery::Queued(RemoteError::Refused(why)) if full(why)),
            "{delivery:?}"
        );
        assert_eq!(one.value(7), 2);
        until("the old one is deleted", || one.cache.undelivered() == 0);
        until("it is heard of", || two.value(7) == 2);
        world.server.run("CONFIG SET maxmemory 0");
        until("all is well", || one.cache.put(7, 3).is_done() && two.value(7) == 3);
    });
}

fn refuses(kind: Kind) {
    let Some(server) = Server::start(&["--requirepass", "secret"]) else { return };
    let mut world = World::new(server, kind, Mode::Tracking);
    (world.bound, world.patience) = (BRIEF, millis(1_000));
    world.login = ":wrong@".to_owned();
    for modes in [&TELLING[..], &MODES] {
        let one =
            world.process_in_the_dark(SystemClock::new(), |builder| builder.modes(modes.to_vec()));
        world.source.write(7, 1);
        until("it is kept, for now", || one.value(7) == 1 && one.local(7) == Some(1));
        let refused =
            |event: &Event| matches!(event, Event::NoLink { cause: RemoteError::Refused(_) });
        one.until_told("why there is no line", refused);
        let failed = |event: &Event| {
            matches!(event, Event::RemoteFailed { error: RemoteError::Refused(_), .. })
        };
        one.until_told("why it is not asked", failed);
        assert!(matches!(one.cache.delete(&7), Delivery::Queued(RemoteError::Refused(_))));
        if modes.contains(&Mode::TtlOnly) {
            until("it does without", || one.cache.mode() == Some(Mode::TtlOnly));
        }
        world.source.write(7, 2);
        until("it lives no longer than the bound", || one.value(7) == 2);
        world.source.write(7, 1);
    }
}

#[test]
fn a_wrong_password_is_told_of_and_values_are_loaded() {
    refuses(Kind::Threads);
    refuses(Kind::Tokio);
}

#[test]
fn codecs_do_not_read_each_other() {
    each(&[], &[Mode::TtlOnly], |world| {
        use cachette::tier::RedisRemote;
        use cachette::{Cache, Threads};
        let texts = Cache::<u64, String>::builder()
            .capacity(10)
            .loader(|_: &u64| "text".to_owned())
            .spawn(Threads::new())
            .remote(RedisRemote::new(world.options()), Raw)
            .namespace("test")
            .remote_ttl(crate::world::LONG)
            .build()
            .unwrap();
        assert_eq!(world.process().value(7), 0);
        assert_eq!(texts.load(&7).unwrap(), "text");
        assert_eq!(world.process().value(7), 0);
    });
}
