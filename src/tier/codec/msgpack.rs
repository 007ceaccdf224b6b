//! Bytes of `MessagePack`.

use super::{Codec, CodecError, bounded};
use rmp_serde::decode::Error;
use rmp_serde::{Deserializer, Serializer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// `MessagePack`, by serde: compact, and known to most languages. Fields have their names, so they may come and go.
///
/// Versions of a type read each other if what is added has `#[serde(default)]`. `Some(None)` is read as `None`. An `Arc` needs serde's feature
/// `rc`.
///
/// Behind the feature `msgpack`. O(bytes).
///
/// ```
/// use cachette::tier::{Codec, MessagePack};
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
/// MessagePack.encode(&user, &mut bytes)?;
/// assert_eq!(bytes, b"\x82\xa4name\xa3Ada\xa6visits\x03");
/// assert_eq!(MessagePack.decode(&bytes), Ok(user));
///
/// // Before there were visits.
/// let old = MessagePack.decode(b"\x81\xa4name\xa3Ada");
/// assert_eq!(old, Ok(User { name: "Ada".to_string(), visits: 0 }));
/// # Ok::<(), cachette::tier::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagePack;

impl<V: Serialize + DeserializeOwned> Codec<V> for MessagePack {
    fn id(&self) -> u8 {
        2
    }

    fn encode(&self, value: &V, into: &mut Vec<u8>) -> Result<(), CodecError> {
        value.serialize(&mut Serializer::new(into).with_struct_map()).map_err(CodecError::new)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        let mut from = Deserializer::from_read_ref(bytes);
        let value = bounded::decode(&mut from, bytes.len()).map_err(CodecError::new)?;
        // It does not say where it is. Only at the end there is not even the first byte of another value.
        match bool::deserialize(&mut from) {
            Err(Error::InvalidMarkerRead(_)) => Ok(value),
            _ => Err(CodecError::new("something comes after the value")),
        }
    }
}
