//! How values become bytes for the remote, and values again.
//!
//! | codec | id | feature | a field is added or removed | bytes that are no value |
//! |---|---|---|---|---|
//! | [`Raw`] | 0 | | there are no fields | an error for text, impossible for bytes |
//! | `Json` | 1 | `json` | old and new read each other, with `#[serde(default)]` | an error |
//! | `MessagePack` | 2 | `msgpack` | the same | an error |
//! | `Postcard` | 3 | `postcard` | **read wrongly, unless the schema's number is raised** | an error if they happen not to fit |
//! | yours | 128 to 255 | | you decide | an error |
//!
//! The id is in the envelope of each value, and a value of another codec is never decoded: it counts as a miss.
//!
//! # Bytes from outside
//!
//! Whoever can write to the remote decides what is decoded, so the codecs of this crate bound what bytes can make them do. Values are
//! nested at most 128 deep: a list in a list, an `Option`, a variant of an `enum` are a level each. A list whose length is declared gets
//! memory for no more elements than there are bytes. What remains after the value is an error. So what is used is proportional to the
//! number of bytes, by a factor that only the type decides.

#[cfg(any(feature = "json", feature = "msgpack", feature = "postcard"))]
mod bounded;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "msgpack")]
mod msgpack;
#[cfg(feature = "postcard")]
mod postcard;
mod raw;

#[cfg(feature = "json")]
pub use json::Json;
#[cfg(feature = "msgpack")]
pub use msgpack::MessagePack;
#[cfg(feature = "postcard")]
pub use postcard::Postcard;
pub use raw::Raw;

use std::fmt::{self, Write as _};
use thiserror::Error;

/// Turns values into bytes, and bytes into values.
///
/// What `encode` has written, `decode` must read as an equal value, in every process that shares the remote. Any other bytes may come, too:
/// `decode` must bound what they make it do, as the codecs of this crate do, and should not panic. Neither method may keep a thread for long.
///
/// ```
/// use cachette::tier::{Codec, CodecError};
///
/// /// Four bytes, the most significant first.
/// struct BigEndian;
///
/// impl Codec<u32> for BigEndian {
///     fn id(&self) -> u8 {
///         128
///     }
///
///     fn encode(&self, value: &u32, into: &mut Vec<u8>) -> Result<(), CodecError> {
///         into.extend_from_slice(&value.to_be_bytes());
///         Ok(())
///     }
///
///     fn decode(&self, bytes: &[u8]) -> Result<u32, CodecError> {
///         bytes.try_into().map(u32::from_be_bytes).map_err(CodecError::new)
///     }
/// }
///
/// let mut bytes = Vec::new();
/// BigEndian.encode(&258, &mut bytes)?;
/// assert_eq!(bytes, [0, 0, 1, 2]);
/// assert_eq!(BigEndian.decode(&bytes), Ok(258));
/// assert!(BigEndian.decode(&bytes[1..]).is_err());
/// # Ok::<(), CodecError>(())
/// ```
pub trait Codec<V>: Send + Sync + 'static {
    /// Which codec it is, always the same: 128 to 255. The lower ones are this crate's.
    ///
    /// It is written beside each value. A process whose codec has another id takes that value for none.
    fn id(&self) -> u8;

    /// Appends the bytes of `value`.
    ///
    /// # Errors
    ///
    /// If it has none. What is in `into` is then of no use.
    fn encode(&self, value: &V, into: &mut Vec<u8>) -> Result<(), CodecError>;

    /// The value of `bytes`, all of them.
    ///
    /// # Errors
    ///
    /// If they are no value.
    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError>;
}

/// A value has no bytes, or bytes are no value.
///
/// ```
/// use cachette::tier::{Codec, CodecError, Raw};
///
/// let error: CodecError = Codec::<String>::decode(&Raw, b"\xff").unwrap_err();
/// assert_eq!(error.to_string(), "invalid utf-8 sequence of 1 bytes from index 0");
/// ```
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct CodecError {
    message: String,
}

impl CodecError {
    /// Says why. Of a long reason the first 200 bytes or so are kept: it may quote what came from outside.
    ///
    /// ```
    /// use cachette::tier::CodecError;
    ///
    /// assert_eq!(CodecError::new("no colour").to_string(), "no colour");
    /// assert!(CodecError::new("x".repeat(1_000_000)).to_string().len() <= 200);
    /// ```
    #[must_use]
    pub fn new(reason: impl fmt::Display) -> Self {
        let mut kept = Kept(String::new());
        // It fails once there is enough of it.
        let _ = write!(kept, "{reason}");
        Self { message: kept.0 }
    }
}

/// The beginning of a text.
struct Kept(String);

impl fmt::Write for Kept {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            if self.0.len() + letter.len_utf8() > 200 {
                return Err(fmt::Error);
            }
            self.0.push(letter);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
