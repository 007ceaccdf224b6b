//! Two levels: this cache before a remote one that many processes share.

mod envelope;
#[cfg(feature = "redis")]
mod redis;
mod remote;

pub use envelope::HEAD;
#[cfg(feature = "redis-tokio")]
pub use redis::RedisTokio;
#[cfg(feature = "redis")]
pub use redis::{RedisOptions, RedisRemote, RedisUrlError};
pub use remote::{
    Claim, Delete, Ear, Found, Listen, Mode, Page, Place, Read, Remote, RemoteError, Reply, Tell,
    Token, Turn, Write,
};
