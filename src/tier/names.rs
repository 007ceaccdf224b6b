//! What things are called in the remote.
//!
//! ```text
//!   {users.3:k:42}        the value of key 42, in the namespace `users`, of values of schema 3
//!   lease{users.3:k:42}   its lease
//!   {users.3:r1:42}       a copy of it
//!   {users.3:t:red}       the generation of the tag `red`
//!   {users.3:g}           the generation of the whole namespace
//!   {users.3:m}           the channel
//! ```
//!
//! All but the leases begin with `{users.3:`, which is what the link listens to: leases come and go, and nobody need hear of it. A
//! cluster places a name by what is between its braces, so a value and its lease are together. Programs whose values have another
//! schema use other names, and never see each other's values.

use super::remote::Place;
use crate::error::BuildError;
use crate::sync::Arc;

/// A key, as a part of a name in the remote.
///
/// Two keys must not write the same, and `read` must give back what `write` was given: changes come as names, and are brought to the
/// entries of their keys. Integers are written in decimal, text and bytes as they are.
///
/// ```
/// use cachette::tier::RemoteKey;
///
/// #[derive(Clone, PartialEq, Eq, Hash, Debug)]
/// struct Page { site: u32, path: String }
///
/// impl RemoteKey for Page {
///     fn write(&self, into: &mut Vec<u8>) {
///         into.extend_from_slice(format!("{}/{}", self.site, self.path).as_bytes());
///     }
///     fn read(bytes: &[u8]) -> Option<Self> {
///         let (site, path) = std::str::from_utf8(bytes).ok()?.split_once('/')?;
///         Some(Self { site: site.parse().ok()?, path: path.to_owned() })
///     }
/// }
///
/// let page = Page { site: 7, path: "a/b".to_owned() };
/// let mut name = Vec::new();
/// page.write(&mut name);
/// assert_eq!(name, b"7/a/b");
/// assert_eq!(Page::read(&name), Some(page));
/// ```
pub trait RemoteKey: Sized {
    /// Appends what tells this key from others.
    fn write(&self, into: &mut Vec<u8>);

    /// The key of which this was written; `None` if it is of none.
    fn read(bytes: &[u8]) -> Option<Self>;
}

macro_rules! text {
    ($($type:ty),*) => {$(
        impl RemoteKey for $type {
            fn write(&self, into: &mut Vec<u8>) {
                into.extend_from_slice(self.as_bytes());
            }
            fn read(bytes: &[u8]) -> Option<Self> {
                Some(std::str::from_utf8(bytes).ok()?.into())
            }
        }
    )*};
}
text!(String, Box<str>, Arc<str>);

macro_rules! bytes {
    ($($type:ty),*) => {$(
        impl RemoteKey for $type {
            fn write(&self, into: &mut Vec<u8>) {
                into.extend_from_slice(self);
            }
            fn read(bytes: &[u8]) -> Option<Self> {
                Some(bytes.into())
            }
        }
    )*};
}
bytes!(Vec<u8>, Box<[u8]>, Arc<[u8]>);

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl RemoteKey for $type {
            fn write(&self, into: &mut Vec<u8>) {
                into.extend_from_slice(self.to_string().as_bytes());
            }
            fn read(bytes: &[u8]) -> Option<Self> {
                let text = std::str::from_utf8(bytes).ok()?;
                let number: Self = text.parse().ok()?;
                // `007` and `+7` are no names of ours.
                (number.to_string() == text).then_some(number)
            }
        }
    )*};
}
integers!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

/// Makes names, and tells what they are of.
pub(super) struct Names {
    /// What all names that are listened to begin with.
    pub(super) prefix: Vec<u8>,
    pub(super) generation: Vec<u8>,
    pub(super) channel: Vec<u8>,
}

/// What a name is of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named<'a, K> {
    Value(K),
    Tag(&'a str),
    Generation,
    Other,
}

const LONGEST: usize = 128;

impl Names {
    pub(super) fn new(namespace: &str, schema: u32) -> Result<Self, BuildError> {
        let legal = |c: char| !c.is_control() && !"{}*?[]\\".contains(c);
        if namespace.is_empty() || namespace.len() > LONGEST || !namespace.chars().all(legal) {
            return Err(BuildError::Namespace);
        }
        let name = |part: &str| format!("{{{namespace}.{schema}:{part}").into_bytes();
        Ok(Self { prefix: name(""), generation: name("g}"), channel: name("m}") })
    }

    fn name(&self, kind: &[u8], write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut name = self.prefix.clone();
        name.extend_from_slice(kind);
        write(&mut name);
        name.push(b'}');
        name
    }

    pub(super) fn place<K: RemoteKey>(&self, key: &K) -> Place {
        Place::of(self.name(b"k:", |name| key.write(name)))
    }

    /// The place of a copy of a key's value; its number is at least 1.
    pub(super) fn copy<K: RemoteKey>(&self, key: &K, copy: u8) -> Place {
        Place::of(self.name(format!("r{copy}:").as_bytes(), |name| key.write(name)))
    }

    pub(super) fn tag(&self, tag: &str) -> Vec<u8> {
        self.name(b"t:", |name| name.extend_from_slice(tag.as_bytes()))
    }

    /// The pattern of the values whose keys match one.
    pub(super) fn pattern(&self, keys: &str) -> Vec<u8> {
        self.name(b"k:", |name| name.extend_from_slice(keys.as_bytes()))
    }

    pub(super) fn read<'a, K: RemoteKey>(&self, name: &'a [u8]) -> Named<'a, K> {
        if name == self.generation {
            return Named::Generation;
        }
        let inner = name.strip_prefix(self.prefix.as_slice());
        let Some(inner) = inner.and_then(|inner| inner.strip_suffix(b"}")) else {
            return Named::Other;
        };
        if let Some(key) = inner.strip_prefix(b"k:").or_else(|| of_copy(inner)) {
            return K::read(key).map_or(Named::Other, Named::Value);
        }
        let tag = inner.strip_prefix(b"t:").and_then(|tag| std::str::from_utf8(tag).ok());
        tag.map_or(Named::Other, Named::Tag)
    }
}

/// The key in the name of a copy.
fn of_copy(inner: &[u8]) -> Option<&[u8]> {
    let numbered = inner.strip_prefix(b"r")?;
    let digits = numbered.iter().take_while(|byte| byte.is_ascii_digit()).count();
    numbered.get(digits..)?.strip_prefix(b":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_were_written() {
        let names = Names::new("users", 3).unwrap();
        let place = names.place(&42_u64);
        assert_eq!(place.value, b"{users.3:k:42}");
        assert_eq!(place.lease, b"lease{users.3:k:42}");
        assert_eq!(names.read::<u64>(&place.value), Named::Value(42));
        assert_eq!(names.read::<u64>(&place.lease), Named::Other);
        assert_eq!(names.copy(&42_u64, 255).value, b"{users.3:r255:42}");
        assert_eq!(names.read::<u64>(&names.copy(&42_u64, 255).value), Named::Value(42));
        assert_eq!(names.read::<u64>(&names.tag("red}")), Named::Tag("red}"));
        assert_eq!(names.read::<u64>(&names.generation), Named::Generation);
        for other in ["{users.3:k:042}", "{users.3:k:+42}", "{users.3:k:42", "{users.4:k:42}", ""] {
            assert_eq!(names.read::<u64>(other.as_bytes()), Named::Other, "{other}");
        }
        for key in ["", "}", "a}b{", "\n", "k:", "t:x"] {
            let place = names.place(&key.to_owned());
            assert_eq!(names.read::<String>(&place.value), Named::Value(key.to_owned()));
            assert!(!place.lease.starts_with(&names.prefix));
        }
    }

    #[test]
    fn what_would_make_names_ambiguous_is_no_namespace() {
        let long = "x".repeat(LONGEST + 1);
        for namespace in ["", "a{b", "a}b", "a*", "a?", "a[b]", "a\\b", "a\n", &long] {
            assert_eq!(Names::new(namespace, 0).err(), Some(BuildError::Namespace), "{namespace}");
        }
        assert!(Names::new("sessions.v2/eu west", 0).is_ok());
    }
}
