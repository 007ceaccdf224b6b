//! An embeddable cache for Rust services: bounded, concurrent, with exact policies, timer-wheel expiry and single-flight
//! loads.
//!
//! ```
//! use cachette::{Cache, policy::Lfu};
//! use std::time::Duration;
//!
//! let cache = Cache::<String, u64>::builder()
//!     .capacity(10_000)
//!     .policy(Lfu::new)
//!     .time_to_live(Duration::from_secs(300))
//!     .ttl_jitter(0.1)
//!     .build()?;
//!
//! cache.put("a".to_string(), 1);
//! assert_eq!(cache.get("a"), Some(1));
//!
//! // However many threads and tasks ask at once, one of them loads.
//! let loaded = cache.get_or_load("b", |key| key.len() as u64);
//! assert_eq!(loaded.unwrap(), 1);
//! # Ok::<(), cachette::BuildError>(())
//! ```
//!
//! # When not to use it
//!
//! - Entries must survive the process, or be shared between processes: use a store, and put a cache before it. (To be warm
//!   after a restart, it needs none: `snapshot`, feature `serde`.)
//! - Nothing is ever evicted and nothing expires: a concurrent map is simpler.
//! - One thread owns the data: an unsynchronised map with a list costs less.
//!
//! # Reading the source
//!
//! Bottom up: [`engine/slab.rs`] (slots) and `policy/list.rs` (lists through slots); then `policy/lru.rs`, `policy/lfu.rs`,
//! `policy/sieve.rs`, `engine/wheel.rs` (the O(1) structures, each with its picture and its paper); `engine/epoch.rs` and
//! `engine/index.rs`, which let readers go without a lock; `engine/budget.rs`; `engine/segment.rs`, `engine/write.rs` and `engine/room.rs`, which
//! hold them together; `load/`; and `cache.rs`, the face. Above it is [`tier`], two levels, and
//! above both [`store`], the system of record: each has a reading order of its own.
//!
//! [`engine/slab.rs`]: policy::Slot

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(doctest)]
mod bounds;
#[cfg(not(cachette_loom))]
mod builder;
#[cfg(not(cachette_loom))]
mod cache;
mod caught;
#[cfg(not(cachette_loom))]
mod crc;
#[cfg(not(cachette_loom))]
mod engine;
#[cfg(cachette_loom)]
#[path = "engine/modelled.rs"]
mod engine;
#[cfg(not(cachette_loom))]
mod entry;
#[cfg(not(cachette_loom))]
mod error;
#[cfg(not(cachette_loom))]
mod expiry;
#[cfg(not(cachette_loom))]
mod freshness;
#[cfg(not(cachette_loom))]
mod hash;
mod load;
#[cfg(not(cachette_loom))]
mod maintainer;
#[cfg(not(cachette_loom))]
mod observe;
#[cfg(not(cachette_loom))]
mod pinned;
#[cfg(not(cachette_loom))]
pub mod policy;
#[cfg(all(feature = "serde", not(cachette_loom)))]
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
pub mod snapshot;
#[cfg(not(cachette_loom))]
pub mod store;
#[cfg(not(cachette_loom))]
mod sweep;
mod sync;
#[cfg(not(cachette_loom))]
pub mod tier;
#[cfg(not(cachette_loom))]
mod time;
#[cfg(not(cachette_loom))]
mod write;

#[cfg(not(cachette_loom))]
pub use builder::Builder;
#[cfg(not(cachette_loom))]
pub use cache::Cache;
#[cfg(not(cachette_loom))]
pub use entry::{Compute, Computed};
#[cfg(not(cachette_loom))]
pub use error::{
    BatchError, BuildError, CapacityError, ComputeError, LoadError, Reason, Refused, UnknownPolicy,
};
#[cfg(not(cachette_loom))]
pub use expiry::Expiry;
#[cfg(not(cachette_loom))]
pub use freshness::Freshness;
#[cfg(not(cachette_loom))]
pub use load::{
    Backoff, Batch, Loaded, LoadingBuilder, LoadingCache, Old, Origin, Outcome, Reload, Spawn,
    Task, Threads, Warmed,
};
#[cfg(all(feature = "tokio", not(cachette_loom)))]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub use load::{NoRuntime, Tokio};
#[cfg(not(cachette_loom))]
pub use maintainer::Maintainer;
#[cfg(not(cachette_loom))]
pub use observe::{Cause, Hot, Stats};
#[cfg(not(cachette_loom))]
pub use pinned::Pinned;
#[cfg(not(cachette_loom))]
pub use sweep::Iter;
#[cfg(not(cachette_loom))]
pub use time::{Clock, ManualClock, SystemClock};

/// The example in the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
