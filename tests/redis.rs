//! Redis as a remote, against servers that each test starts for itself.

#[path = "redis/failures.rs"]
mod failures;
#[path = "redis/listening.rs"]
mod listening;
#[path = "redis/model.rs"]
mod model;
#[path = "redis/operations.rs"]
mod operations;
#[cfg(feature = "redis-tokio")]
#[path = "redis/reading.rs"]
mod reading;
#[path = "redis/wire.rs"]
mod wire;

#[path = "support/heard.rs"]
mod heard;
#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/rng.rs"]
mod rng;
#[path = "support/wait.rs"]
mod wait;

use cachette::tier::{
    Claim, Delete, HEAD, Place, Read, RedisOptions, RedisRemote, Remote, Token, Write,
};
use redis_server::{PATIENCE, Server};
use std::sync::Arc;
use std::time::Duration;
use wait::wait;

/// Longer than any test runs.
const LONG: Duration = Duration::from_secs(3_600);

/// A runtime that runs, on a thread of its own, as long as the tests do.
#[cfg(feature = "redis-tokio")]
fn runtime() -> tokio::runtime::Handle {
    use std::sync::OnceLock;
    static RUNTIME: OnceLock<tokio::runtime::Handle> = OnceLock::new();
    let start = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        handle
    };
    RUNTIME.get_or_init(start).clone()
}

/// One of each kind, with their names.
fn remotes(options: &RedisOptions) -> Vec<(&'static str, Arc<dyn Remote>)> {
    let blocking: Arc<dyn Remote> = Arc::new(RedisRemote::new(options.clone()));
    assert!(blocking.blocks());
    #[cfg(not(feature = "redis-tokio"))]
    return vec![("blocking", blocking)];
    #[cfg(feature = "redis-tokio")]
    {
        let tokio = cachette::tier::RedisTokio::new(options.clone(), runtime());
        assert!(!tokio.blocks());
        vec![("blocking", blocking), ("tokio", Arc::new(tokio))]
    }
}

/// Options for tests on a machine that has other work to do.
fn options(url: &str) -> RedisOptions {
    let options = RedisOptions::new(url).unwrap();
    options.connect_timeout(PATIENCE).answer_timeout(PATIENCE)
}

/// Runs a test against a new server by each kind of remote.
fn each(settings: &[&str], test: impl Fn(&dyn Remote, &mut Server)) {
    let Some(mut server) = Server::start(settings) else { return };
    for (name, remote) in remotes(&options(&server.url())) {
        println!("{name}");
        server.run("FLUSHALL");
        test(&*remote, &mut server);
    }
}

fn place(name: &str) -> Place {
    let (value, lease) = (format!("{{p:k:{name}}}"), format!("lease{{p:k:{name}}}"));
    Place { value: value.into(), lease: lease.into() }
}

fn token(number: u8) -> Token {
    Token([number; 16])
}

/// An envelope of this version: the rest of its head is `fill`, and so is its payload.
fn envelope(version: u64, fill: u8) -> Vec<u8> {
    let mut bytes = vec![fill; HEAD + 5];
    bytes[12..20].copy_from_slice(&version.to_le_bytes());
    bytes
}

fn read(place: &Place) -> Read<'_> {
    Read { place, claim: None }
}

fn claim(place: &Place, number: u8) -> Read<'_> {
    let claim = Claim { token: token(number), ttl: LONG, instead_of: None };
    Read { place, claim: Some(claim) }
}

fn write<'a>(place: &'a Place, bytes: &'a [u8]) -> Write<'a> {
    Write { place, bytes, ttl: LONG, leased: None, version: None, tell: None }
}

fn delete(place: &Place) -> Delete<'_> {
    Delete { place, unless: None, tell: None }
}
