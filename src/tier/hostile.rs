//! What a value's bytes must not do, whatever they are.

use super::compress::Compression;
use super::envelope::{
    HEAD, Sealing, Unreadable, Wanted, head_of, id_of, mend, open, seal, version_of,
};
use crate::sync::Arc;
use std::time::Duration;

/// The most bytes of a payload here.
const LIMIT: usize = 1 << 20;

/// Holds envelopes to their promises, for any bytes: for a fuzzer.
///
/// The bytes are opened as they are, and once more with what must be the same in every envelope put right, so that what lies behind it is
/// met. Then they are a payload, which goes into an envelope in every way and comes out again; and each envelope with one byte changed, and each that
/// is cut off, is refused. Behind the feature `test-kit`.
///
/// ```
/// cachette::tier::hostile(b"");
/// cachette::tier::hostile(&[0xCA; 100]);
/// ```
///
/// # Panics
///
/// If a promise is broken.
pub fn hostile(bytes: &[u8]) {
    any_bytes(bytes);
    let mut mended = bytes.to_vec();
    if mend(&mut mended) {
        any_bytes(&mended);
    }
    let (first, rest) = bytes.split_first_chunk().unwrap_or((&[0; 16], bytes));
    any_payload(*first, rest);
}

/// What is opened is no larger than it may be, and is what would be written.
fn any_bytes(bytes: &[u8]) {
    let whole = bytes.first_chunk::<HEAD>();
    assert!(whole.is_none_or(|whole| head_of(bytes) == *whole));
    let wanted = Wanted {
        codec: bytes.get(3).copied().unwrap_or(0),
        schema: whole.map_or(0, |head| u32::from_le_bytes([head[8], head[9], head[10], head[11]])),
        limit: LIMIT,
    };
    let Ok(opened) = open(bytes, wanted) else { return };
    assert!(opened.payload.len() <= LIMIT);
    assert_eq!(id_of(bytes), Some(opened.id));
    assert_eq!(version_of(bytes), Some(opened.version));
    let tags: Vec<(Arc<str>, u64)> = opened.tags.iter().map(|tag| (tag.0.into(), tag.1)).collect();
    let sealing = Sealing {
        codec: wanted.codec,
        schema: wanted.schema,
        version: opened.version,
        id: opened.id,
        fresh: opened.fresh,
        grace: opened.grace,
        cost: opened.cost,
        tags: &tags,
    };
    let sealed = seal(&sealing, &opened.payload, Compression::none(), LIMIT);
    let sealed = sealed.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(open(&sealed, wanted).as_ref(), Ok(&opened));
}

/// What is sealed is opened, and nothing else is.
fn any_payload(drawn: [u8; 16], payload: &[u8]) {
    let number = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|at: usize| drawn[at]));
    let [codec, schema, tags, at, bits, ..] = drawn;
    let tags = vec![(Arc::from("t".repeat(tags.into())), number); usize::from(tags % 4)];
    let sealing = Sealing {
        codec,
        schema: schema.into(),
        version: number,
        id: !number,
        fresh: (bits & 1 == 0).then(|| Duration::from_micros(number)),
        grace: Duration::from_nanos(number),
        cost: Duration::from_nanos(number),
        tags: &tags,
    };
    let wanted = Wanted { codec, schema: schema.into(), limit: payload.len() };
    for way in ways() {
        let sealed = seal(&sealing, payload, way.above(0), payload.len());
        let sealed = sealed.unwrap_or_else(|error| panic!("{error}"));
        let opened = open(&sealed, wanted).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((opened.version, opened.id), (number, !number));
        assert_eq!(&*opened.payload, payload);
        assert!(opened.tags.iter().copied().eq(tags.iter().map(|tag| (&*tag.0, tag.1))));

        let at = usize::from(at) * sealed.len() / 256;
        let mut changed = sealed.clone();
        changed[at] ^= bits.max(1);
        assert!(open(&changed, wanted).is_err(), "opened, with byte {at} changed by {bits}");
        assert!(open(&sealed[..at], wanted).is_err(), "opened, though cut off at {at}");
        if let Some(limit) = payload.len().checked_sub(1) {
            let small = open(&sealed, Wanted { limit, ..wanted });
            assert!(matches!(small, Err(Unreadable::TooLarge { .. })), "{small:?}");
        }
    }
}

/// All that this program can do.
fn ways() -> Vec<Compression> {
    vec![
        Compression::none(),
        #[cfg(feature = "lz4")]
        Compression::lz4(),
        #[cfg(feature = "zstd")]
        Compression::zstd(1),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_keep_the_promises(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            hostile(&bytes);
        }

        /// Mostly zeros: lengths that fit, tags, and payloads that become smaller.
        #[test]
        fn small_numbers_keep_them_too(
            bytes in prop::collection::vec(prop_oneof![8 => Just(0), 1 => 0..4_u8, 1 => any::<u8>()], 0..300),
        ) {
            hostile(&bytes);
        }
    }
}
