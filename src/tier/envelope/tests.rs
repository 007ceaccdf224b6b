//! Envelopes: what is sealed comes back, and what is not what was sealed is named.

use super::*;
use proptest::prelude::*;

const WANTED: Wanted = Wanted { codec: 3, schema: 4, limit: 1 << 20 };

fn plain(tags: &[(Arc<str>, u64)]) -> Sealing<'_> {
    Sealing {
        codec: WANTED.codec,
        schema: WANTED.schema,
        version: 5,
        id: 6,
        fresh: Some(Duration::from_secs(60)),
        grace: Duration::from_secs(3600),
        cost: Duration::from_millis(8),
        tags,
    }
}

fn sealed(sealing: &Sealing<'_>, payload: &[u8], compression: Compression) -> Vec<u8> {
    let bytes = seal(sealing, payload, compression, WANTED.limit);
    bytes.unwrap_or_else(|error| panic!("{error}"))
}

/// A tag, and a payload that becomes smaller.
fn one(compression: Compression) -> Vec<u8> {
    sealed(&plain(&[("red".into(), 9)]), &[7; 64], compression.above(0))
}

fn ways() -> Vec<Compression> {
    vec![
        Compression::none(),
        #[cfg(feature = "lz4")]
        Compression::lz4(),
        #[cfg(feature = "zstd")]
        Compression::zstd(3),
    ]
}

/// With other bytes at a place, and a checksum that fits.
fn with(mut bytes: Vec<u8>, at: usize, other: &[u8]) -> Vec<u8> {
    bytes[at..at + other.len()].copy_from_slice(other);
    let crc = checksum(&bytes).to_le_bytes();
    bytes[CRC_AT..HEAD].copy_from_slice(&crc);
    bytes
}

fn why(bytes: &[u8]) -> Unreadable {
    open(bytes, WANTED).unwrap_err()
}

/// The layout: every byte, by hand.
#[test]
fn the_table_above() {
    let tags = [("red".into(), 9), ("é".into(), u64::MAX)];
    let bytes = sealed(&plain(&tags), b"payload", Compression::none());
    let mut expected = vec![0xCA, 0xC4, 1, 3, 0, 0, 2, 0];
    expected.extend([4, 0, 0, 0]);
    expected.extend([5, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([6, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([0x60, 0xEA, 0, 0]);
    expected.extend([0x80, 0xEE, 0x36, 0]);
    expected.extend([0x40, 0x1F, 0, 0]);
    expected.extend([7, 0, 0, 0]);
    // As Python's zlib has computed it.
    expected.extend(0x2D93_B41B_u32.to_le_bytes());
    assert_eq!(expected.len(), HEAD);
    expected.extend(b"\x03\0red\x09\0\0\0\0\0\0\0");
    expected.extend(b"\x02\0\xc3\xa9\xff\xff\xff\xff\xff\xff\xff\xff");
    expected.extend(b"payload");
    assert_eq!(bytes, expected);
}

#[test]
fn parts_of_a_head() {
    let bytes = one(Compression::none());
    assert_eq!((version_of(&bytes), id_of(&bytes)), (Some(5), Some(6)));
    assert_eq!(head_of(&bytes), bytes[..HEAD]);
    assert_eq!(version_of(&bytes[..VERSION_AT + 7]), None);
    assert_eq!(id_of(&bytes[..ID_AT + 7]), None);
    assert_eq!((version_of(b""), id_of(b"")), (None, None));
    assert_eq!(head_of(b"ab")[..3], *b"ab\0");
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened(
        (codec, schema, version, id) in any::<(u8, u32, u64, u64)>(),
        (fresh, grace, cost) in any::<(Option<u32>, u32, u32)>(),
        tags in prop::collection::vec((any::<String>(), any::<u64>()), 0..5),
        payload in prop::collection::vec(prop_oneof![0..2_u8, any::<u8>()], 0..3000),
    ) {
        let millis = |field: u32| Duration::from_millis(field.min(u32::MAX - 1).into());
        let tags: Vec<(Arc<str>, u64)> = tags.into_iter().map(|(name, n)| (name.into(), n)).collect();
        let opened = Opened {
            version,
            id,
            fresh: fresh.map(millis),
            grace: millis(grace),
            cost: Duration::from_micros(cost.into()),
            tags: tags.iter().map(|(name, generation)| (&**name, *generation)).collect(),
            payload: (&payload).into(),
        };
        let Opened { fresh, grace, cost, .. } = opened;
        let sealing = Sealing { codec, schema, version, id, fresh, grace, cost, tags: &tags };
        for way in ways() {
            let bytes = sealed(&sealing, &payload, way);
            let wanted = Wanted { codec, schema, limit: payload.len() };
            let read = open(&bytes, wanted);
            prop_assert_eq!(read.as_ref(), Ok(&opened));
        }
    }
}

#[test]
fn every_changed_byte_is_seen() {
    for way in ways() {
        let bytes = one(way);
        assert!(open(&bytes, WANTED).is_ok());
        for at in 0..bytes.len() {
            for change in 1..=255 {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                let expected = match at {
                    0 | 1 => Unreadable::Magic,
                    2 => Unreadable::Envelope(changed[2]),
                    _ => Unreadable::Checksum,
                };
                assert_eq!(why(&changed), expected, "byte {at}, changed by {change}");
            }
        }
    }
}

#[test]
fn every_cut_is_seen() {
    for way in ways() {
        let bytes = one(way);
        for length in 0..bytes.len() {
            let expected =
                if length < HEAD { Unreadable::TooShort(length) } else { Unreadable::Checksum };
            assert_eq!(why(&bytes[..length]), expected);
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(why(&longer), Unreadable::Checksum);
    }
}

/// The same, by one who can compute a checksum: nothing but what was sealed is ever opened as that long.
#[test]
fn what_lies_behind_the_checksum_holds_too() {
    for way in ways() {
        let bytes = one(way);
        for length in HEAD..bytes.len() {
            let cut = with(bytes[..length].to_vec(), 0, &MAGIC);
            assert!(matches!(why(&cut), Unreadable::Tags | Unreadable::Payload), "{length}");
        }
    }
}

#[test]
fn what_is_other_is_named() {
    let bytes = || one(Compression::none());
    assert_eq!(
        why(b"a string, set by somebody with redis-cli, of enough bytes"),
        Unreadable::Magic
    );
    assert_eq!(why(&with(bytes(), 2, &[2])), Unreadable::Envelope(2));
    assert_eq!(why(&with(bytes(), 3, &[2])), Unreadable::Codec(2));
    assert_eq!(why(&with(bytes(), 5, &[0x80])), Unreadable::Flags(0x80));
    assert_eq!(why(&with(bytes(), 8, &[5])), Unreadable::Schema(5));
    assert_eq!(why(&with(bytes(), 4, &[3])), Unreadable::Compression(3));
    // Another version of the value is none that cannot be read.
    let newer = with(bytes(), VERSION_AT, &[200]);
    assert_eq!(open(&newer, WANTED).map(|opened| opened.version), Ok(200));
    // Another codec of another schema, with other flags: what says most comes first.
    let other = with(with(with(bytes(), 3, &[2]), 8, &[5]), 5, &[1]);
    assert_eq!(why(&other), Unreadable::Flags(1));
}

#[test]
fn lengths_that_do_not_fit() {
    let bytes = || one(Compression::none());
    let length_at = CRC_AT - 4;
    let declared = |length: u32| why(&with(bytes(), length_at, &length.to_le_bytes()));
    assert_eq!(declared(63), Unreadable::Payload);
    assert_eq!(declared(65), Unreadable::Payload);
    assert_eq!(declared(0), Unreadable::Payload);
    for length in [WANTED.limit as u32 + 1, u32::MAX] {
        assert_eq!(declared(length), Unreadable::TooLarge { length, limit: WANTED.limit });
    }
    // The limit is that of the reader, for what comes out.
    for way in ways() {
        let wanted = Wanted { limit: 63, ..WANTED };
        let refused = open(&one(way), wanted).unwrap_err();
        assert_eq!(refused, Unreadable::TooLarge { length: 64, limit: 63 });
        assert!(open(&one(way), Wanted { limit: 64, ..WANTED }).is_ok());
    }
}

#[test]
fn tags_that_do_not_fit() {
    let bytes = || one(Compression::none());
    assert_eq!(why(&with(bytes(), 6, &[255, 255])), Unreadable::Tags);
    assert_eq!(why(&with(bytes(), HEAD, &[255, 255])), Unreadable::Tags);
    // The name takes all that there is, and leaves nothing for the generation.
    assert_eq!(why(&with(bytes(), HEAD, &[75, 0])), Unreadable::Tags);
    assert_eq!(why(&with(bytes(), HEAD + 2, &[0xFF])), Unreadable::TagName);
    // What was a tag is a part of the payload.
    assert_eq!(why(&with(bytes(), 6, &[0, 0])), Unreadable::Payload);
}

#[cfg(all(feature = "lz4", feature = "zstd"))]
#[test]
fn a_payload_that_cannot_be_decompressed() {
    for way in [Compression::lz4(), Compression::zstd(3)] {
        let length = one(way).len();
        assert!(length < HEAD + 13 + 64, "it is not compressed");
        let longer = with(one(way), CRC_AT - 4, &65_u32.to_le_bytes());
        assert_eq!(why(&longer), Unreadable::Payload);
        let other = with(one(way), HEAD + 13, &[0xF0]);
        assert_eq!(why(&other), Unreadable::Payload);
    }
    let other_way = with(one(Compression::lz4()), 4, &[2]);
    assert_eq!(why(&other_way), Unreadable::Payload);
}

#[cfg(not(any(feature = "lz4", feature = "zstd")))]
#[test]
fn a_compression_that_is_not_built() {
    let by = |way| why(&with(one(Compression::none()), 4, &[way]));
    assert_eq!((by(1), by(2)), (Unreadable::NotBuilt("lz4"), Unreadable::NotBuilt("zstd")));
}

#[test]
fn what_does_not_fit_is_not_sealed() {
    let refused = |sealing: &Sealing<'_>, payload: &[u8], limit| {
        seal(sealing, payload, Compression::none(), limit).unwrap_err()
    };
    let too_large = SealError::TooLarge { length: 11, limit: 10 };
    assert_eq!(refused(&plain(&[]), &[0; 11], 10), too_large);
    assert!(seal(&plain(&[]), &[0; 10], Compression::none(), 10).is_ok());

    let tags = vec![(Arc::from("t"), 0); 1 << 16];
    assert_eq!(refused(&plain(&tags), b"", 10), SealError::TooManyTags(1 << 16));
    let most = sealed(&plain(&tags[1..]), b"", Compression::none());
    assert_eq!(open(&most, WANTED).map(|opened| opened.tags.len()), Ok(65_535));

    let tag = [(Arc::from("t".repeat(1 << 16)), 0)];
    assert_eq!(refused(&plain(&tag), b"", 10), SealError::TagTooLong(1 << 16));
    let tag = [(Arc::from("t".repeat(65_535)), 7)];
    let longest = sealed(&plain(&tag), b"", Compression::none());
    assert_eq!(open(&longest, WANTED).map(|opened| opened.tags[0].1), Ok(7));
}

/// Times are told in whole units, and never so that a value seems fresher than it is.
#[test]
fn times_are_rounded_to_the_safe_side() {
    let told = |fresh, grace, cost| {
        let sealing = Sealing { fresh, grace, cost, ..plain(&[]) };
        let bytes = sealed(&sealing, b"", Compression::none());
        let opened = open(&bytes, WANTED).unwrap_or_else(|error| panic!("{error}"));
        (opened.fresh, opened.grace, opened.cost)
    };
    let (millis, micros) = (Duration::from_millis, Duration::from_micros);
    let odd = Duration::from_nanos(1_500_500);
    assert_eq!(told(Some(odd), odd, odd), (Some(millis(1)), millis(2), micros(1500)));
    let none = Duration::ZERO;
    assert_eq!(told(Some(none), none, none), (Some(none), none, none));
    let last = u64::from(u32::MAX);
    let longest = told(Some(millis(last - 1)), millis(last - 1), micros(last));
    assert_eq!(longest, (Some(millis(last - 1)), millis(last - 1), micros(last)));
    let beyond = (None, Duration::MAX, micros(last));
    assert_eq!(told(Some(millis(last)), millis(last), micros(last + 1)), beyond);
    assert_eq!(told(Some(Duration::MAX), Duration::MAX, Duration::MAX), beyond);
    assert_eq!(told(None, Duration::MAX, Duration::MAX), beyond);
}
