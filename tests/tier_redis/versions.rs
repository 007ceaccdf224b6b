//! Versions, times to live, tags and generations.

use crate::world::{MODES, Process, TELLING, World, each, millis, until};
use cachette::tier::Delivery;
use cachette::{Clock, SystemClock};
use std::time::{Duration, Instant, SystemTime};

/// A server counts whole milliseconds, and has a value to the end of the last.
const TICK: Duration = millis(1);

/// A process whose values are their versions.
fn versioned(world: &World) -> Process {
    world.process_with(|builder| builder.versions(|_, &version| version))
}

#[test]
fn t10_no_older_version_takes_the_place_of_a_newer_one() {
    each(&[], &MODES, |world| {
        let (one, two, three) = (versioned(&world), versioned(&world), versioned(&world));
        assert_eq!(one.cache.put(7, 5), Delivery::Done);
        assert_eq!(one.cache.put(7, 4), Delivery::Older);
        assert_eq!(two.cache.put(7, 4), Delivery::Older);
        assert_eq!((one.value(7), two.value(7), three.value(7)), (5, 5, 5));
        assert_eq!(two.cache.delete_older(&7, 5), Delivery::Older);
        assert_eq!((three.value(7), world.source.loads()), (5, 0));
        world.source.write(7, 6);
        assert_eq!(two.cache.delete_older(&7, 6), Delivery::Done);
        assert_eq!(two.value(7), 6);
    });
}

/// A load that read a row before it was written does not bring the old one back.
#[test]
fn t4_a_load_does_not_take_the_place_of_a_newer_version() {
    each(&[], &MODES, |world| {
        let (one, two) = (versioned(&world), versioned(&world));
        world.source.write(7, 1);
        world.source.park(7);
        let parked = one.begin(7);
        world.source.until_waiting(1);
        assert_eq!(two.cache.put(7, 2), Delivery::Done);
        world.source.release(7);
        assert_eq!(parked.join().unwrap(), Ok(1));
        assert_eq!((one.value(7), two.value(7)), (2, 2));
    });
}

#[test]
fn t21_no_process_keeps_a_value_longer_than_the_remote() {
    each(&[], &MODES, |world| {
        let ttl = millis(600);
        let one = world.process_with(|builder| builder.remote_ttl(ttl));
        let two = world.process();
        assert_eq!(one.cache.put(7, 1), Delivery::Done);
        assert_eq!(two.value(7), 1);
        let mut begins = Instant::now();
        // The remote had it for the TTL from some time before it was done.
        let done = Instant::now();
        while two.local(7).is_some() {
            assert!(begins < done + ttl + TICK, "{:?}", begins - done);
            begins = Instant::now();
        }
        assert!(one.local(7).is_none() || begins < done + ttl + TICK);
        until("it is loaded", || two.value(7) == 0);
    });
}

/// Whose monotonic clock and calendar say something else.
struct Skewed(SystemClock, Duration, bool);

impl Clock for Skewed {
    fn now(&self) -> Duration {
        self.0.now() + self.1
    }
    fn date(&self) -> SystemTime {
        let date = self.0.date();
        if self.2 { date + self.1 } else { date - self.1 }
    }
}

#[test]
fn t22_clocks_need_not_agree() {
    each(&[], &TELLING, |world| {
        let skewed = |time: Duration, ahead: bool| {
            let clock = Skewed(SystemClock::new(), time, ahead);
            let process = world.process_in_the_dark(clock, |builder| {
                builder.remote_ttl(millis(600)).tags(|_, _| vec!["all".to_owned()])
            });
            process.until_up(world.mode);
            process
        };
        let hour = Duration::from_secs(3_600);
        let (one, two) = (skewed(hour, true), skewed(hour * 24, false));
        // As fresh as without skew.
        assert_eq!(one.cache.put(7, 1), Delivery::Done);
        let done = Instant::now();
        assert_eq!(two.value(7), 1);
        let mut begins = Instant::now();
        while two.local(7).is_some() || one.local(7).is_some() {
            assert!(begins < done + millis(600) + TICK, "{:?}", begins - done);
            begins = Instant::now();
        }
        for give_up in [
            |process: &Process| process.cache.delete_tag("all"),
            |process: &Process| process.cache.clear(),
        ] {
            for (here, there) in [(&one, &two), (&two, &one)] {
                world.source.write(8, 1);
                assert!(give_up(here).is_done());
                until("the old are given up", || there.value(8) == 1 && here.value(8) == 1);
                world.source.write(8, 2);
                assert!(give_up(here).is_done());
                until("both have the new one", || there.value(8) == 2 && here.value(8) == 2);
            }
        }
    });
}

fn tagged(world: &World) -> Process {
    world.process_with(|builder| {
        builder.tags(|&key, _| vec![if key < 10 { "low".to_owned() } else { "high".to_owned() }])
    })
}

#[test]
fn t23_what_is_loaded_while_its_tag_is_deleted_is_not_kept() {
    each(&[], &TELLING, |world| {
        let (one, two) = (tagged(&world), tagged(&world));
        for known in [false, true] {
            if known {
                assert_eq!((one.value(1), two.value(1)), (0, 0));
            }
            for from_elsewhere in [false, true] {
                let key = 2 + u64::from(from_elsewhere) + 2 * u64::from(known);
                world.source.write(key, 1);
                world.source.park(key);
                let parked = one.begin(key);
                world.source.until_waiting(1);
                world.source.write(key, 2);
                let who = if from_elsewhere { &two } else { &one };
                assert_eq!(who.cache.delete_tag("low"), Delivery::Done);
                world.source.release(key);
                assert_eq!(parked.join().unwrap(), Ok(1));
                assert_eq!(who.value(key), 2, "{known} {from_elsewhere}");
                until("it is heard of", || (two.value(key), one.value(key)) == (2, 2));
            }
        }
    });
}

#[test]
fn t23_a_namespace_that_is_cleared_while_a_value_is_loaded() {
    each(&[], &TELLING, |world| {
        let (one, two) = (tagged(&world), tagged(&world));
        assert_eq!((one.value(1), two.value(1)), (0, 0));
        for (key, who) in [(2, &one), (3, &two)] {
            world.source.write(key, 1);
            world.source.park(key);
            let parked = one.begin(key);
            world.source.until_waiting(1);
            world.source.write(key, 2);
            assert_eq!(who.cache.clear(), Delivery::Done);
            world.source.release(key);
            assert_eq!(parked.join().unwrap(), Ok(1));
            assert_eq!(who.value(key), 2);
            until("it is heard of", || (one.value(key), two.value(key)) == (2, 2));
        }
    });
}

/// Loads a value, and says whether it is kept: not if its tag was not known when the load began.
fn kept(process: &Process, key: u64) -> bool {
    process.value(key);
    process.local(key).is_some()
}

#[test]
fn a_tag_is_deleted_wherever_its_values_are() {
    each(&[], &TELLING, |world| {
        let (one, two) = (tagged(&world), tagged(&world));
        for version in 1..5 {
            [1, 2, 11].into_iter().for_each(|key| world.source.write(key, version));
            for process in [&one, &two] {
                until("all are kept", || [1, 2, 11].iter().all(|&key| kept(process, key)));
            }
            assert_eq!(one.cache.delete_tag("low"), Delivery::Done);
            assert_eq!((one.value(1), one.value(2)), (version, version));
            until("it is heard of", || two.value(1) == version && two.value(2) == version);
            assert_eq!((one.local(11), two.local(11)), (Some(1), Some(1)));
        }
    });
}

#[test]
fn a_namespace_is_cleared_wherever_its_values_are() {
    each(&[], &TELLING, |world| {
        let (one, two) = (world.process(), world.process());
        for version in 1..5 {
            world.source.write(7, version);
            assert_eq!(one.cache.clear(), Delivery::Done);
            assert_eq!(one.value(7), version);
            until("it is heard of", || two.value(7) == version);
        }
    });
}

#[test]
fn keys_are_deleted_by_a_pattern() {
    each(&[], &TELLING, |world| {
        let (one, two) = (world.process(), world.process());
        for key in (0..200).chain([1_000]) {
            one.value(key);
        }
        assert_eq!((two.value(150), two.value(20)), (0, 0));
        (0..200).for_each(|key| world.source.write(key, 1));
        assert_eq!(one.cache.delete_matching("1[0-9][0-9]", |_| {}), Ok(100));
        until("it is heard of", || two.local(150).is_none());
        assert_eq!((one.value(150), two.value(150)), (1, 1));
        assert_eq!((one.local(20), two.local(20)), (Some(0), Some(0)));
    });
}
