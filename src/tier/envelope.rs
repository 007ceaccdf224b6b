//! What lies around a value in the remote.

/// The length of the fixed part at the beginning. No two values that were ever written have the same.
pub const HEAD: usize = 48;

/// Where the version is: eight bytes, little-endian.
pub(crate) const VERSION_AT: usize = 12;

/// The version that an envelope tells.
pub(crate) fn version_of(bytes: &[u8]) -> Option<u64> {
    let version = bytes.get(VERSION_AT..VERSION_AT + 8)?;
    Some(u64::from_le_bytes(version.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_where_it_is_told_to_be() {
        let mut bytes = [0; HEAD];
        bytes[VERSION_AT] = 7;
        assert_eq!((version_of(&bytes), version_of(&bytes[..VERSION_AT])), (Some(7), None));
    }
}
