//! Many values at once, and what all of it costs the server.

use crate::redis_server::Server;
use crate::world::{MODES, Process, World, each, name, until};
use cachette::tier::{Delivery, Mode};

/// How often the server has run scripts since this was last asked.
fn scripts(server: &Server) -> u64 {
    let told: String = redis::cmd("INFO").arg("commandstats").query(&mut server.client()).unwrap();
    server.run("CONFIG RESETSTAT");
    let calls = |command: &str| -> u64 {
        let line =
            told.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|rest| rest.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
    };
    calls("evalsha") + calls("eval")
}

/// Has the server know the scripts, and the process its generation.
fn warm(world: &World, process: &Process) {
    assert_eq!(process.cache.put(900, 0), Delivery::Done);
    process.value(901);
    assert_eq!(process.cache.delete(&900), Delivery::Done);
    assert_eq!(process.cache.delete_tag("warm"), Delivery::Done);
    until("the server is quiet", || scripts(&world.server) == 0);
}

#[test]
fn t32_what_each_operation_costs() {
    each(&[], &[Mode::Tracking, Mode::Messages], |world| {
        let (one, two) = (world.process(), world.process());
        warm(&world, &one);
        warm(&world, &two);
        one.value(7);
        assert_eq!(scripts(&world.server), 2, "a load: a question, and a write");
        one.value(7);
        assert_eq!(scripts(&world.server), 0, "a hit asks nobody");
        two.value(7);
        assert_eq!(scripts(&world.server), 1, "a value that the remote has");
        assert_eq!(two.cache.put(7, 1), Delivery::Done);
        assert_eq!(scripts(&world.server), 1);
        assert_eq!(two.cache.delete(&7), Delivery::Done);
        assert_eq!(scripts(&world.server), 1);
        assert_eq!(two.cache.delete_many(0..100), Delivery::Done);
        assert_eq!(scripts(&world.server), 100, "one for each, in one message");
        assert_eq!(two.cache.delete_tag("low"), Delivery::Done);
        assert_eq!(scripts(&world.server), 1);
    });
}

#[test]
fn t32_many_are_one_question_one_load_and_one_write() {
    each(&[], &MODES, |world| {
        let source = world.source.clone();
        let many = world.process_many(move |keys| source.load_many(keys));
        let two = world.process();
        warm(&world, &many);
        (0..40).for_each(|key| world.source.write(key, key + 1));
        (0..5).for_each(|key| assert_eq!(many.value(key), key + 1));
        (5..10).for_each(|key| assert_eq!(two.value(key), key + 1));
        scripts(&world.server);
        let (loads, bulks) = (world.source.loads(), world.source.bulks());
        // Here, there, nowhere, and twice.
        let keys: Vec<u64> = (0..40).chain(0..40).collect();
        let values: Vec<u64> =
            many.cache.load_many(&keys).into_iter().map(Result::unwrap).collect();
        assert!(values.iter().zip(&keys).all(|(value, key)| *value == key + 1));
        assert_eq!((world.source.loads() - loads, world.source.bulks() - bulks), (30, 1));
        // Where nobody tells of changes, the generation is asked for before values are believed, and before some are loaded.
        let told = world.mode != Mode::TtlOnly;
        let asked = scripts(&world.server);
        // Where the server notes what is read, it is asked for 16 at a time.
        let questions = if world.mode == Mode::OptIn { 35_u64.div_ceil(16) } else { 1 };
        assert!(if told { asked == questions + 30 } else { asked <= 8 + 30 }, "{asked}");
        let values = two.cache.load_many(&keys);
        assert!(values.iter().zip(&keys).all(|(value, key)| value.as_ref() == Ok(&(key + 1))));
        assert_eq!(world.source.loads() - loads, 30);
    });
}

#[test]
fn t32_a_foreign_load_is_joined_and_a_failure_is_one_keys_own() {
    each(&[], &MODES, |world| {
        let source = world.source.clone();
        let many = world.process_many(move |keys| source.load_many(keys));
        let two = world.process();
        (0..10).for_each(|key| world.source.write(key, 1));
        world.source.park(3);
        let parked = two.begin(3);
        world.source.until_waiting(1);
        world.source.set_down(5, true);
        let cache = many.cache.clone();
        let all = std::thread::spawn(move || cache.load_many(&(0..10).collect::<Vec<u64>>()));
        until("it waits for the other's load", || many.cache.stats().waits > 0);
        world.source.release(3);
        assert_eq!(parked.join().unwrap(), Ok(1));
        for (key, value) in (0_u64..).zip(all.join().unwrap()) {
            assert_eq!(value.is_err(), key == 5, "{key}: {value:?}");
        }
        assert_eq!(world.source.loads(), 10);
        let lease = format!("EXISTS lease{}", name(5));
        until("its lease is given back", || world.server.run(&lease) == redis::Value::Int(0));
    });
}

/// Two processes that want the same keys in another order.
#[test]
fn t32_processes_that_wait_for_each_other_do_not_wait_for_ever() {
    each(&[], &MODES, |world| {
        let processes = [(); 2].map(|()| {
            let source = world.source.clone();
            world.process_many(move |keys| source.load_many(keys))
        });
        for round in 0..10 {
            let keys: Vec<u64> = (round * 50..round * 50 + 50).collect();
            let threads: Vec<_> = [false, true, false, true]
                .into_iter()
                .enumerate()
                .map(|(at, backwards)| {
                    let (cache, mut keys) = (processes[at / 2].cache.clone(), keys.clone());
                    if backwards {
                        keys.reverse();
                    }
                    std::thread::spawn(move || cache.load_many(&keys).iter().all(Result::is_ok))
                })
                .collect();
            assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
        }
        assert_eq!(world.source.loads(), 500);
    });
}
