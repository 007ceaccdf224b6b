//! How long values live: jitter, dates, halts, grace, and callers who wait no longer.

use crate::proxy::Proxy;
use crate::world::{
    BRIEF, LONG, MODES, Process, TELLING, World, calls, each, left, millis, name, until,
};
use cachette::tier::{Delivery, Mode};
use cachette::{Clock, LoadError, ManualClock, Origin, SystemClock};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const KEYS: u64 = 300;

#[test]
fn t24_jitter_shortens_lives_in_l1_alone() {
    each(&[], &MODES, |world| {
        // By its own clock no time passes.
        let process =
            |seed| world.process_fresh(ManualClock::new(), seed, LONG, |it| it.jitter(0.25));
        let lives = |process: &Process| -> Vec<Duration> {
            (0..KEYS).map(|key| process.cache.load_entry(&key).unwrap().left).collect()
        };
        let start = Instant::now();
        let first = lives(&process(7));
        let (least, most) = (LONG * 3 / 4, LONG);
        assert!(first.iter().all(|left| (least..=most).contains(left)), "{first:?}");
        // Ten boxes of thirty each, were they even.
        let mut boxes = [0; 10];
        let of = |left: &Duration| (*left - least).as_millis() * 10 / (most - least).as_millis();
        first.iter().for_each(|left| boxes[of(left).min(9) as usize] += 1);
        assert!(boxes.iter().all(|&held| (10..60).contains(&held)), "{boxes:?}");
        for key in 0..KEYS {
            let left = left(&world.server, &name(key));
            let passed = i64::try_from(start.elapsed().as_millis()).unwrap() + 1;
            let ttl = i64::try_from(LONG.as_millis()).unwrap();
            assert!((ttl - passed..=ttl).contains(&left), "{left} of {ttl}, after {passed}");
        }
        // What the server has for less time than that.
        let short = LONG / 10;
        for key in 0..KEYS / 2 {
            world.server.run(&format!("PEXPIRE {} {}", name(key), short.as_millis()));
        }
        let (same, other) = (lives(&process(7)), lives(&process(8)));
        let half = (KEYS / 2) as usize;
        for lives in [&same, &other] {
            assert!(lives[..half].iter().all(|&left| left <= short), "{lives:?}");
        }
        assert!(world.source.loads() == KEYS, "all were there");
        world.server.run("FLUSHALL");
        crate::world::remember(&world.server);
        assert_eq!(lives(&process(7)), first, "one seed, one row of lives");
        assert_ne!(other[half..], first[half..]);
    });
}

/// A clock whose dates, and whose time, are set by the test.
#[derive(Clone)]
struct Host(SystemClock, Arc<Mutex<(Duration, SystemTime)>>);

impl Host {
    fn new() -> Self {
        Self(SystemClock::new(), Arc::new(Mutex::new((Duration::ZERO, SystemTime::now()))))
    }

    fn set_date(&self, date: SystemTime) {
        self.1.lock().unwrap().1 = date;
    }

    /// As after a sleep of the machine.
    fn wake_after(&self, time: Duration) {
        self.1.lock().unwrap().0 += time;
    }
}

impl Clock for Host {
    fn now(&self) -> Duration {
        self.0.now() + self.1.lock().unwrap().0
    }
    fn date(&self) -> SystemTime {
        self.1.lock().unwrap().1
    }
}

/// Everything that the server is told to do, by commands and in scripts.
struct Monitor(redis::Connection);

impl Monitor {
    fn new(world: &World) -> Self {
        let mut connection = world.server.client();
        connection.send_packed_command(&redis::cmd("MONITOR").get_packed_command()).unwrap();
        assert_eq!(connection.recv_response(), Ok(redis::Value::Okay));
        Self(connection)
    }

    /// What was done until now: what stands after the time and who asked, without the quotes.
    fn words(mut self, world: &World) -> Vec<Vec<String>> {
        world.server.run("ECHO end.of.this");
        let mut lines = Vec::new();
        loop {
            let line = match self.0.recv_response().unwrap() {
                redis::Value::SimpleString(line) => line,
                other => panic!("{other:?} is no line"),
            };
            let (_, command) = line.split_once("] ").unwrap();
            if command.contains("end.of.this") {
                return lines;
            }
            lines.push(command.split(' ').map(|word| word.trim_matches('"').into()).collect());
        }
    }
}

#[test]
fn t25_nothing_changes_when_the_date_is_set() {
    each(&[], &MODES, |world| {
        let monitor = Monitor::new(&world);
        let host = Host::new();
        let process = |clock: Host| {
            let tags = |_: &u64, _: &u64| vec!["all".to_owned()];
            let process = world.process_in_the_dark(clock, |builder| builder.tags(tags));
            process.until_up(world.mode);
            process
        };
        let (one, two) = (process(host.clone()), process(Host::new()));
        let (locks, _runtime) = world.locks();
        world.source.write(7, 1);
        // A tag must have been known before what has it is kept.
        until("it is kept", || {
            (one.value(7), two.value(7)) == (1, 1)
                && one.local(7).is_some()
                && two.local(7).is_some()
        });
        let (day, loads) = (Duration::from_secs(86_400), world.source.loads());
        let mut before = i64::MAX;
        for (at, date) in (10..).zip([day * 365, day * 20_000, Duration::ZERO, day * 10_000]) {
            host.set_date(UNIX_EPOCH + date);
            assert_eq!((one.local(7), two.local(7)), (Some(1), Some(1)));
            assert!(one.cache.mode() == Some(world.mode));
            let left = left(&world.server, &name(7));
            assert!(0 < left && left <= before, "{left} after {before}");
            before = left;
            // What is written on that day is as fresh as any.
            assert_eq!(one.cache.put(at, at), Delivery::Done);
            assert_eq!((one.local(at), two.value(at)), (Some(at), at));
            assert_eq!(two.cache.put(at + 100, at), Delivery::Done);
            assert_eq!(one.value(at + 100), at);
            locks.try_lock("job", LONG).unwrap().expect("it is free").unlock().unwrap();
        }
        assert_eq!(world.source.loads(), loads);
        assert_eq!(one.cache.delete_tag("all"), Delivery::Done);
        assert!(one.local(7).is_none());
        assert_eq!(one.cache.delete(&7), Delivery::Done);
        no_dates(&monitor.words(&world));
    });
}

/// Times that the server is told are how long something is to be there, and not until when.
fn no_dates(told: &[Vec<String>]) {
    let is = |command: &str, words: &[String]| words[0].eq_ignore_ascii_case(command);
    assert!(told.iter().any(|words| is("EVALSHA", words) || is("EVAL", words)));
    // As scripts do it: SET name value PX milliseconds.
    let relative = |words: &Vec<String>| is("SET", words) && words.iter().any(|word| word == "PX");
    assert!(told.iter().any(relative), "{told:?}");
    let dated = ["EXPIREAT", "PEXPIREAT", "EXPIRETIME", "PEXPIRETIME", "EXAT", "PXAT", "TIME"];
    for words in told.iter().filter(|words| !is("EVAL", words)) {
        for word in words {
            assert!(!dated.iter().any(|dated| word.eq_ignore_ascii_case(dated)), "{words:?}");
        }
    }
}

#[test]
fn t25_after_a_sleep_of_the_machine_nothing_old_is_served() {
    each(&[], &TELLING, |mut world| {
        // The server has its values for longer.
        world.bound = LONG / 4;
        let (proxy, host) = (Proxy::before(&world.server), Host::new());
        let (one, two) = (world.process_at(proxy.port, host.clone()), world.process());
        world.source.write(7, 1);
        assert_eq!((one.value(7), one.local(7)), (1, Some(1)));
        // It hears nothing; its clock goes on.
        proxy.hold();
        world.source.write(7, 2);
        assert_eq!(two.cache.delete(&7), Delivery::Done);
        assert_eq!(one.local(7), Some(1), "nobody could have told");
        host.wake_after(world.bound);
        assert_eq!(one.local(7), None);
        proxy.release();
        until("it hears again", || one.value(7) == 2 && one.local(7) == Some(2));
    });
}

#[test]
fn t28_a_stale_value_is_served_while_the_loader_fails() {
    each(&[], &MODES, |world| {
        let ttl = millis(500);
        let fresh = |grace| {
            let choose = move |it: cachette::Freshness| it.stale_if_error(grace).throttle(LONG);
            world.process_fresh(SystemClock::new(), 7, ttl, choose)
        };
        let (one, two) = (fresh(LONG), fresh(LONG));
        world.source.write(7, 1);
        assert_eq!(one.value(7), 1);
        // In L1, and then at the server, whose time began a little later.
        let grace = LONG.as_millis().try_into().unwrap();
        until("its TTL has passed", || {
            one.local(7).is_none() && left(&world.server, &name(7)) <= grace
        });
        world.source.set_down(7, true);
        let loads = world.source.loads();
        for _ in 0..3 {
            let entry = one.cache.load_entry(&7).unwrap();
            assert_eq!((entry.value, entry.origin), (1, Origin::Stale));
        }
        assert_eq!(world.source.loads(), loads + 1, "nobody tries again for a while");
        // The server has it for as long, for those who have it in L1: nobody else is given it.
        let there = left(&world.server, &name(7));
        assert!((1..=grace).contains(&there), "{there}");
        assert!(matches!(two.cache.load(&7), Err(LoadError::Failed(_))));
        assert_eq!(one.cache.load_entry(&7).unwrap().origin, Origin::Stale);
        assert_eq!(two.cache.delete(&7), Delivery::Done);
        assert!(!world.has(7));
        if world.mode == Mode::TtlOnly {
            // Nobody tells it.
            assert_eq!(one.cache.delete(&7), Delivery::Done);
        }
        until("a deletion leaves nothing to serve", || one.cache.load(&7).is_err());
        assert!(!world.has(7));
        world.source.set_down(7, false);
        assert_eq!((one.value(7), two.value(7)), (1, 1));
    });
}

#[test]
fn t28_after_its_grace_it_is_served_no_more() {
    each(&[], &MODES, |world| {
        let choose = |it: cachette::Freshness| it.stale_if_error(BRIEF).throttle(LONG);
        let one = world.process_fresh(SystemClock::new(), 7, millis(100), choose);
        world.source.write(7, 1);
        let loaded = Instant::now();
        assert_eq!(one.value(7), 1);
        assert!(left(&world.server, &name(7)) <= 500);
        world.source.set_down(7, true);
        until("the error is told", || one.cache.load(&7).is_err());
        assert!(loaded.elapsed() >= BRIEF + millis(100), "{:?}", loaded.elapsed());
        until("the server has it no more", || !world.has(7));
    });
}

#[test]
fn t30_after_the_hard_timeout_the_load_goes_on_for_all() {
    each(&[], &MODES, |world| {
        let (one, two) = (world.process_loading(|it| it.hard_timeout(BRIEF)), world.process());
        world.source.write(7, 1);
        world.source.park(7);
        for _ in 0..2 {
            assert_eq!(one.cache.load(&7), Err(LoadError::TimedOut(BRIEF)));
        }
        assert_eq!(world.source.loads(), 1, "who comes later joins it");
        let other = two.begin(7);
        until("the other process waits", || two.cache.stats().waits > 0);
        assert!(!world.has(7));
        let writes = calls(&world.server, "set");
        world.source.release(7);
        assert_eq!(other.join().unwrap(), Ok(1));
        assert!(world.has(7) && calls(&world.server, "set") > writes);
        until("it is in L1", || one.local(7) == Some(1));
        assert_eq!((one.cache.load(&7), two.value(7)), (Ok(1), 1));
        assert_eq!(world.source.loads(), 1, "one in all");
        assert_eq!((one.cache.stats().leases, two.cache.stats().leases), (1, 0));
    });
}
