//! Two levels: this cache before a remote one that many processes share.

mod envelope;
mod remote;

pub use envelope::HEAD;
pub use remote::{
    Claim, Delete, Ear, Found, Listen, Mode, Page, Place, Read, Remote, RemoteError, Reply, Tell,
    Token, Turn, Write,
};
