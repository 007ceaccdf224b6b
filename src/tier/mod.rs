//! Two levels: this cache before a remote one that many processes share.

mod envelope;
#[cfg(any(test, feature = "test-kit"))]
#[cfg_attr(docsrs, doc(cfg(feature = "test-kit")))]
pub mod laws;
mod memory;
mod remote;

pub use envelope::HEAD;
pub use memory::MemoryRemote;
#[cfg(any(test, feature = "test-kit"))]
#[cfg_attr(docsrs, doc(cfg(feature = "test-kit")))]
pub use memory::{Count, Data, Faults, News, Op, Path, Side};
pub use remote::{
    Claim, Delete, Ear, Found, Listen, Mode, Page, Place, Read, Remote, RemoteError, Reply, Tell,
    Token, Turn, Write,
};
