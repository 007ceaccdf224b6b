//! Two levels: this cache before a remote one that many processes share.

mod codec;
mod compress;
#[cfg_attr(
    not(any(test, feature = "test-kit")),
    expect(dead_code, reason = "the tiered cache will put its values into envelopes")
)]
mod envelope;
#[cfg(any(test, feature = "test-kit"))]
mod hostile;
#[cfg(any(test, feature = "test-kit"))]
#[cfg_attr(docsrs, doc(cfg(feature = "test-kit")))]
pub mod laws;
mod memory;
mod remote;

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
#[cfg(any(test, feature = "test-kit"))]
#[cfg_attr(docsrs, doc(cfg(feature = "test-kit")))]
pub use hostile::hostile;
pub use memory::MemoryRemote;
#[cfg(any(test, feature = "test-kit"))]
#[cfg_attr(docsrs, doc(cfg(feature = "test-kit")))]
pub use memory::{Count, Data, Faults, News, Op, Path, Side};
pub use remote::{
    Claim, Delete, Ear, Found, Listen, Mode, Page, Place, Read, Remote, RemoteError, Reply, Tell,
    Token, Turn, Write,
};
