//! postcard.

use super::{Codec, CodecError, bounded};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// postcard, by serde: the smallest and fastest, for programs that are deployed together.
///
/// **The bytes do not say what they are.** A field that is added, removed, moved or given another type makes old values errors at best, and other
/// values at worst: raise the number that is given to the builder's `schema` with every such change. Values of another schema count as
/// misses, so processes of both versions can run side by side. For the same reason a type may not use `skip_serializing_if`,
/// `untagged` or `flatten`.
///
/// A list of values that take no bytes, such as `Vec<()>`, is refused if it is longer than 65,536. An `Arc` needs serde's feature `rc`.
///
/// Behind the feature `postcard`. O(bytes).
///
/// ```
/// use cachette::tier::{Codec, Postcard};
///
/// let mut bytes = Vec::new();
/// Postcard.encode(&("Ada".to_string(), 3_u8), &mut bytes)?;
/// assert_eq!(bytes, b"\x03Ada\x03");
/// assert_eq!(Postcard.decode(&bytes), Ok(("Ada".to_string(), 3_u8)));
///
/// // A part of it is a value, too: that something remains is what shows that it is not the one that was written.
/// assert!(Codec::<String>::decode(&Postcard, &bytes).is_err());
/// # Ok::<(), cachette::tier::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Postcard;

impl<V: Serialize + DeserializeOwned> Codec<V> for Postcard {
    fn id(&self) -> u8 {
        3
    }

    fn encode(&self, value: &V, into: &mut Vec<u8>) -> Result<(), CodecError> {
        *into = postcard::to_extend(value, std::mem::take(into)).map_err(CodecError::new)?;
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        let mut from = postcard::Deserializer::from_bytes(bytes);
        let value = bounded::decode(&mut from, bytes.len()).map_err(CodecError::new)?;
        match from.finalize() {
            Ok([]) => Ok(value),
            Ok(_) => Err(CodecError::new("something comes after the value")),
            Err(error) => Err(CodecError::new(error)),
        }
    }
}
