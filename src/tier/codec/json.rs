//! JSON.

use super::{Codec, CodecError, bounded};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// JSON, by serde: readable in `redis-cli` and by every language, and the largest of the codecs.
///
/// Versions of a type read each other if what is added has `#[serde(default)]`. Keys of maps must be strings or numbers, and a number that is
/// not finite becomes `null`, which is no number again. An `Arc` needs serde's feature `rc`.
///
/// Behind the feature `json`. O(bytes).
///
/// ```
/// use cachette::tier::{Codec, Json};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Deserialize, PartialEq, Serialize)]
/// struct User {
///     name: String,
///     #[serde(default)]
///     visits: u32,
/// }
///
/// let user = User { name: "Ada".to_string(), visits: 3 };
/// let mut bytes = Vec::new();
/// Json.encode(&user, &mut bytes)?;
/// assert_eq!(bytes, br#"{"name":"Ada","visits":3}"#);
/// assert_eq!(Json.decode(&bytes), Ok(user));
///
/// // Before there were visits.
/// assert_eq!(Json.decode(br#"{"name":"Ada"}"#), Ok(User { name: "Ada".to_string(), visits: 0 }));
/// # Ok::<(), cachette::tier::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl<V: Serialize + DeserializeOwned> Codec<V> for Json {
    fn id(&self) -> u8 {
        1
    }

    fn encode(&self, value: &V, into: &mut Vec<u8>) -> Result<(), CodecError> {
        serde_json::to_writer(into, value).map_err(CodecError::new)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        let mut from = serde_json::Deserializer::from_slice(bytes);
        let value = bounded::decode(&mut from, bytes.len()).map_err(CodecError::new)?;
        from.end().map_err(CodecError::new)?;
        Ok(value)
    }
}
