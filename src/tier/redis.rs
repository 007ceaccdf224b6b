//! Redis and Valkey as a remote.
//!
//! ```text
//!   Remote ── ops: calls of scripts, and how their answers are read
//!              │
//!             Line ─┬─ blocking: a pool of connections      ─┐
//!                   ├─ cluster: one of these for each node   ├─ listening: a connection of its own
//!                   └─ tokio: one connection that all share ─┘
//!
//!   replica: other servers asked by the same lines, and the proof of how old what they have is
//! ```
//!
//! The crate `redis` carries bytes to and fro; none of its types are seen from outside.

mod blocking;
#[cfg(feature = "redis-rustls")]
mod certificates;
#[cfg(feature = "redis-cluster")]
mod cluster;
mod failure;
mod hear;
mod ops;
mod options;
mod pool;
mod replica;
mod scripts;
#[cfg(feature = "redis-tokio")]
mod tokio;

#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use blocking::RedisRemote;
#[cfg(feature = "redis-rustls")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis-rustls")))]
pub use certificates::RedisCertificateError;
#[cfg(feature = "redis-cluster")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis-cluster")))]
pub use cluster::RedisCluster;
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use options::{RedisOptions, RedisUrlError};
#[cfg(feature = "redis-tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis-tokio")))]
pub use tokio::RedisTokio;
