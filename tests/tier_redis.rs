//! Two levels before a real Redis, which each test starts for itself: processes that share it, each with its own L1, its own
//! connections and its own line, before one system of record. What depends on the order of steps is tested on a remote that is stepped by
//! hand; here the server is real, and is stopped, killed and started again.

#[path = "tier_redis/bulk.rs"]
mod bulk;
#[path = "tier_redis/campaign.rs"]
mod campaign;
#[path = "tier_redis/failures.rs"]
mod failures;
#[path = "tier_redis/fills.rs"]
mod fills;
#[path = "tier_redis/follower.rs"]
mod follower;
#[path = "tier_redis/line.rs"]
mod line;
#[path = "tier_redis/lives.rs"]
mod lives;
#[path = "tier_redis/locks.rs"]
mod locks;
#[path = "tier_redis/proxy.rs"]
mod proxy;
#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "tier_redis/replicas.rs"]
mod replicas;
#[path = "support/rng.rs"]
mod rng;
#[path = "tier_redis/stored.rs"]
mod stored;
#[path = "tier_redis/versions.rs"]
mod versions;
#[path = "tier_redis/world.rs"]
mod world;
