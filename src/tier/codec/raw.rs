//! Bytes as they are.

use super::{Codec, CodecError};
use crate::sync::Arc;

/// Bytes as they are, and text as UTF-8: `Vec<u8>`, `Box<[u8]>`, `Arc<[u8]>`, `String`, `Box<str>`, `Arc<str>`.
///
/// Needs no feature. O(bytes), one copy.
///
/// ```
/// use cachette::tier::{Codec, Raw};
///
/// let mut bytes = Vec::new();
/// Raw.encode(&"tea".to_string(), &mut bytes)?;
/// assert_eq!(bytes, b"tea");
/// assert_eq!(Raw.decode(&bytes), Ok("tea".to_string()));
/// # Ok::<(), cachette::tier::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

fn bytes(bytes: &[u8]) -> Result<&[u8], CodecError> {
    Ok(bytes)
}

fn text(bytes: &[u8]) -> Result<&str, CodecError> {
    std::str::from_utf8(bytes).map_err(CodecError::new)
}

macro_rules! raw {
    ($inner:ty, $read:ident: $($value:ty),*) => {$(
        impl Codec<$value> for Raw {
            fn id(&self) -> u8 {
                0
            }

            fn encode(&self, value: &$value, into: &mut Vec<u8>) -> Result<(), CodecError> {
                let inner: &$inner = value;
                into.extend_from_slice(inner.as_ref());
                Ok(())
            }

            fn decode(&self, bytes: &[u8]) -> Result<$value, CodecError> {
                $read(bytes).map(Into::into)
            }
        }
    )*};
}

raw!([u8], bytes: Vec<u8>, Box<[u8]>, Arc<[u8]>);
raw!(str, text: String, Box<str>, Arc<str>);
