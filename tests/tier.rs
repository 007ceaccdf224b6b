//! Two levels: processes that share a remote, each with its own L1, before one system of record. All time passes by hand.

#![cfg(feature = "test-kit")]

#[path = "tier/builder.rs"]
mod builder;
#[path = "tier/bulk.rs"]
mod bulk;
#[path = "tier/codecs.rs"]
mod codecs;
#[path = "tier/failure.rs"]
mod failure;
#[path = "tier/fills.rs"]
mod fills;
#[path = "support/hand.rs"]
mod hand;
#[path = "tier/hot.rs"]
mod hot;
#[path = "tier/link.rs"]
mod link;
#[path = "tier/lives.rs"]
mod lives;
#[path = "tier/replicas.rs"]
mod replicas;
#[path = "support/rng.rs"]
mod rng;
#[path = "tier/tags.rs"]
mod tags;
#[path = "tier/time.rs"]
mod time;
#[path = "tier/world.rs"]
mod world;
