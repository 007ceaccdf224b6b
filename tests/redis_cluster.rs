//! A cluster of Redis as a remote, against clusters that each test starts for itself.

#[path = "redis_cluster/listening.rs"]
mod listening;
#[path = "redis_cluster/moving.rs"]
mod moving;
#[path = "redis_cluster/operations.rs"]
mod operations;

#[path = "support/heard.rs"]
mod heard;
#[path = "support/redis_cluster.rs"]
mod redis_cluster;
#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/wait.rs"]
mod wait;

use cachette::tier::{
    Claim, Delete, HEAD, Place, Read, RedisCluster, RedisOptions, Remote, Token, Write,
};
use redis_cluster::Cluster;
use redis_server::PATIENCE;
use std::sync::Arc;
use std::time::Duration;
use wait::wait;

/// Longer than any test runs.
const LONG: Duration = Duration::from_secs(3_600);

/// Options for tests on a machine that has other work to do.
fn options(url: &str) -> RedisOptions {
    RedisOptions::new(url).unwrap().connect_timeout(PATIENCE).answer_timeout(PATIENCE)
}

fn remote(cluster: &Cluster) -> Arc<dyn Remote> {
    let remote = RedisCluster::new(cluster.urls().iter().map(|url| options(url))).unwrap();
    assert!(remote.blocks());
    Arc::new(remote)
}

fn place(name: &str) -> Place {
    Place::of(format!("{{p:k:{name}}}").into())
}

/// So many places that each node has some.
fn places(count: usize) -> Vec<Place> {
    (0..count).map(|n| place(&n.to_string())).collect()
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
