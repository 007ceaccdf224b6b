//! A cluster of Redis as a remote, against clusters that each test starts for itself.

#[path = "redis_cluster/listening.rs"]
mod listening;
#[path = "redis_cluster/moving.rs"]
mod moving;
#[path = "redis_cluster/operations.rs"]
mod operations;

#[path = "support/heard.rs"]
mod heard;
#[path = "support/places.rs"]
mod places;
#[path = "support/redis_cluster.rs"]
mod redis_cluster;
#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/wait.rs"]
mod wait;

use cachette::tier::{Delete, HEAD, Place, RedisCluster, RedisOptions, Remote, Write};
use places::{LONG, claim, delete, envelope, options, place, read, token, write};
use redis_cluster::Cluster;
use redis_server::PATIENCE;
use std::sync::Arc;
use std::time::Duration;
use wait::wait;

fn remote(cluster: &Cluster) -> Arc<dyn Remote> {
    let remote = RedisCluster::new(cluster.urls().iter().map(|url| options(url))).unwrap();
    assert!(remote.blocks());
    Arc::new(remote)
}

/// So many places that each node has some.
fn places(count: usize) -> Vec<Place> {
    (0..count).map(|n| place(&n.to_string())).collect()
}
