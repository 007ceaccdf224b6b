//! The rate limit that processes share keeps its bound, by the clock of a Redis of the test's own.

use crate::rate_limiter_redis::bucket::Limiter;
use crate::rate_limiter_redis::{second, show};
use crate::redis_server::Server;
use redis::{Connection, cmd};
use std::process::Command;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

/// Where a test tells the process that it starts which Redis to ask, and for whom.
const URL: &str = "CACHETTE_TEST_URL";
const CLIENT: &str = "CACHETTE_TEST_CLIENT";

/// No test of its own: this program is the second process if it is started by the one below.
#[test]
fn the_second_process() {
    let Ok(url) = std::env::var(URL) else { return };
    second(&url, &std::env::var(CLIENT).unwrap()).unwrap();
}

#[test]
fn two_processes_get_what_one_would() {
    let Some(server) = Server::start(&[]) else { return };
    let url = server.url();
    let command = |client: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "shared::the_second_process", "--nocapture"]);
        command.env(URL, &url).env(CLIENT, client);
        command
    };
    let printed = show(&url, command).unwrap();
    let source = include_str!("../../examples/rate_limiter_redis/main.rs");
    let says = source.split("//! ```text\n").nth(1).unwrap().split("//! ```").next().unwrap();
    assert_eq!(printed, says.replace("//! ", ""));
}

/// How many scripts the server has run.
fn scripts(redis: &mut Connection) -> u64 {
    let info: String = cmd("INFO").arg("commandstats").query(redis).unwrap();
    let calls = info.split_once("cmdstat_evalsha:calls=").map_or("0", |(_, calls)| calls);
    calls.split(',').next().unwrap().parse().unwrap()
}

/// The server's time, in microseconds.
fn time(redis: &mut Connection) -> u64 {
    let (seconds, micros): (u64, u64) = cmd("TIME").query(redis).unwrap();
    seconds * 1_000_000 + micros
}

#[test]
fn no_more_pass_than_the_bucket_has() {
    let Some(server) = Server::start(&[]) else { return };
    let mut redis = server.client();
    for (burst, every) in [(0, 20), (1, 20), (5, 100), (5, 1_000)] {
        let client = format!("{burst} and one in {every}");
        let limiter = || Limiter::new(burst, Duration::from_micros(every));
        let (start, mut passed, mut waits) = (time(&mut redis), 0, 0);
        // Each a process of its own, which has not been told to wait. The server's clock says how long it all takes.
        while passed < u64::from(burst) + 20 && waits < 2_000 {
            match limiter().ask(&mut redis, &client).unwrap() {
                None => passed += 1,
                Some(wait) => {
                    waits += 1;
                    assert!(wait <= Duration::from_micros(every), "a token comes each {every} us");
                }
            }
        }
        let most = u64::from(burst) + (time(&mut redis) - start) / every;
        assert!(passed <= most, "{client}: {passed} of {most} have passed");
        assert!(passed >= burst.into() && (passed > 0) == (burst > 0), "{client}: {passed}");
    }
}

/// Who is to wait asks no more; everybody else does, and a server that has forgotten the script is sent it.
#[test]
fn a_flood_is_kept_from_the_server() {
    let Some(server) = Server::start(&[]) else { return };
    let mut redis = server.client();
    let limiter = Limiter::new(1, HOUR);
    assert_eq!(limiter.ask(&mut redis, "a").unwrap(), None);
    let wait = limiter.ask(&mut redis, "a").unwrap().unwrap();
    assert!(HOUR / 2 < wait && wait <= HOUR, "{wait:?}");
    let before = scripts(&mut redis);
    for _ in 0..1_000 {
        assert!(limiter.ask(&mut redis, "a").unwrap().unwrap() <= wait);
    }
    assert_eq!(scripts(&mut redis), before);
    cmd("SCRIPT").arg("FLUSH").exec(&mut redis).unwrap();
    assert_eq!(limiter.ask(&mut redis, "b").unwrap(), None);
    assert!(scripts(&mut redis) > before);
}

/// The server's clock was set back: what is stored lies farther ahead than requests can have put it.
#[test]
fn a_clock_that_was_set_back_empties_a_bucket_and_no_more() {
    let Some(server) = Server::start(&[]) else { return };
    let mut redis = server.client();
    let ahead = time(&mut redis) + 1_000 * 3_600_000_000;
    cmd("SET").arg("limit:a").arg(ahead).exec(&mut redis).unwrap();
    let wait = Limiter::new(3, HOUR).ask(&mut redis, "a").unwrap();
    assert_eq!(wait, Some(HOUR), "as if all tokens had just been taken");
    let stored: u64 = cmd("GET").arg("limit:a").query(&mut redis).unwrap();
    let most = time(&mut redis) + 3 * 3_600_000_000;
    assert!(stored <= most, "it does not stay ahead: {stored} of {most}");
    let left: u64 = cmd("PTTL").arg("limit:a").query(&mut redis).unwrap();
    assert!(left <= 3 * 3_600_000 + 1, "nor does it stay for longer: {left} ms");
}

/// A limit that cannot be asked for is an error: not a yes, and not a wait that would be remembered.
#[test]
fn no_answer_is_an_error() {
    let Some(mut server) = Server::start(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"])
    else {
        return;
    };
    let mut redis = server.client();
    let limiter = Limiter::new(3, HOUR);
    assert!(limiter.ask(&mut redis, "a").is_err(), "it is full");
    server.run("CONFIG SET maxmemory 0");
    assert_eq!(limiter.ask(&mut redis, "a").unwrap(), None);
    server.run("SET limit:b nonsense");
    assert!(limiter.ask(&mut redis, "b").is_err());
    server.kill();
    assert!(limiter.ask(&mut redis, "a").is_err(), "it is gone");
}
