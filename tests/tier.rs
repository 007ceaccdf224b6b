//! Two levels: processes that share a remote, each with its own L1, before one system of record. All time passes by hand.

#[path = "tier/fills.rs"]
mod fills;
#[path = "support/hand.rs"]
mod hand;
#[path = "tier/hot.rs"]
mod hot;
#[path = "tier/link.rs"]
mod link;
#[path = "tier/world.rs"]
mod world;
