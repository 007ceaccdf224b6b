//! Redis as a remote, against servers that each test starts for itself.

#[cfg(feature = "redis-rustls")]
#[path = "redis/encrypted.rs"]
mod encrypted;
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
#[path = "support/places.rs"]
mod places;
#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/rng.rs"]
mod rng;
#[path = "support/wait.rs"]
mod wait;

use cachette::tier::{Claim, Delete, HEAD, Place, Read, RedisOptions, RedisRemote, Remote, Write};
use places::{LONG, claim, delete, envelope, options, place, read, token, write};
use redis_server::{PATIENCE, Server};
use std::sync::Arc;
use std::time::Duration;
use wait::wait;

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

/// Runs a test against a new server by each kind of remote.
fn each(settings: &[&str], test: impl Fn(&dyn Remote, &mut Server)) {
    let Some(mut server) = Server::start(settings) else { return };
    for (name, remote) in remotes(&options(&server.url())) {
        println!("{name}");
        server.run("FLUSHALL");
        test(&*remote, &mut server);
    }
}
