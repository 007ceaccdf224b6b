//! Two levels: this cache before a remote one that many processes share.
//!
//! ```text
//!   load ──► L1: a cache with its loader, and a gate that every hit looks at
//!             └─► its loader: read ──► a value, or the lease, or somebody else's lease
//!                              ├─ granted: the program's loader, fill: written if the lease still stands
//!                              └─ held: wait until the line tells of a change
//!
//!   line ──► keeper: L1 loses what has changed; echoes of one's own changes are compared; the gate is told when the line answered
//! ```
//!
//! [`TieredCache`] is the face, [`Remote`] what a store must be able to do; [`MemoryRemote`] is one in this process.
//!
//! Reading order: `remote` (the contract), `names`, `envelope` and `codec` (what lies where, and how), `gate` (why a hit may be believed), `core`,
//! `read`, `replicas`, `fill` and `many` (a miss), `write` (a deletion, a put), `keeper` with `echoes`, `inbox`, `undelivered` and `generations` (what changes
//! elsewhere, and what could not be said there), `asker` with `breaker` and `events` (a remote that fails); last `build` and `tiered`.

mod arrivals;
mod asker;
mod breaker;
mod build;
mod codec;
mod compress;
mod copies;
mod core;
mod draws;
mod echoes;
mod envelope;
mod events;
mod fill;
mod gate;
mod generations;
mod held;
#[cfg(any(test, feature = "test-kit"))]
mod hostile;
mod inbox;
mod keeper;
#[cfg(any(test, feature = "test-kit"))]
#[cfg_attr(docsrs, doc(cfg(feature = "test-kit")))]
pub mod laws;
mod lock;
mod many;
mod memory;
mod names;
mod read;
#[cfg(feature = "redis")]
mod redis;
mod remote;
mod replicas;
mod stats;
mod tiered;
mod undelivered;
mod write;

pub use breaker::Breaker;
pub use build::TieredBuilder;
#[cfg(feature = "json")]
#[cfg_attr(docsrs, doc(cfg(feature = "json")))]
pub use codec::Json;
#[cfg(feature = "msgpack")]
#[cfg_attr(docsrs, doc(cfg(feature = "msgpack")))]
pub use codec::MessagePack;
#[cfg(feature = "postcard")]
#[cfg_attr(docsrs, doc(cfg(feature = "postcard")))]
pub use codec::Postcard;
pub use codec::{Codec, CodecError, Raw};
pub use compress::Compression;
pub use envelope::HEAD;
pub use events::Event;
#[cfg(any(test, feature = "test-kit"))]
#[cfg_attr(docsrs, doc(cfg(feature = "test-kit")))]
pub use hostile::hostile;
pub use keeper::OnLinkLoss;
pub use lock::{Locked, Locks};
pub use memory::MemoryRemote;
#[cfg(any(test, feature = "test-kit"))]
#[cfg_attr(docsrs, doc(cfg(feature = "test-kit")))]
pub use memory::{Count, Data, Faults, News, Op, Path, Side};
pub use names::RemoteKey;
#[cfg(feature = "redis-rustls")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis-rustls")))]
pub use redis::RedisCertificateError;
#[cfg(feature = "redis-cluster")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis-cluster")))]
pub use redis::RedisCluster;
#[cfg(feature = "redis-tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis-tokio")))]
pub use redis::RedisTokio;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use redis::{RedisOptions, RedisRemote, RedisUrlError};
pub use remote::{
    Claim, Delete, Ear, Found, Listen, Mode, Page, Place, Read, Remote, RemoteError, Replicated,
    Reply, Tell, Token, Turn, Write,
};
pub use stats::TierStats;
pub use tiered::TieredCache;
pub use write::Delivery;
