use super::*;

#[test]
fn none_is_none() {
    assert_eq!(Compression::none().above(0).squeeze(&[7; 5000]), (NONE, [7; 5000][..].into()));
    assert_eq!(unsqueeze(NONE, b"abc", 3), Ok(b"abc"[..].into()));
    assert_eq!(unsqueeze(NONE, b"abc", 4), Err(Broken::Content));
    assert_eq!(unsqueeze(NONE, b"abc", 2), Err(Broken::Content));
}

#[test]
fn a_way_that_nobody_knows() {
    for way in 3..=255 {
        assert_eq!(unsqueeze(way, b"", 0), Err(Broken::Unknown(way)));
    }
}

#[cfg(not(feature = "lz4"))]
#[test]
fn lz4_is_not_built() {
    assert_eq!(unsqueeze(LZ4, b"", 0), Err(Broken::NotBuilt("lz4")));
}

#[cfg(not(feature = "zstd"))]
#[test]
fn zstd_is_not_built() {
    assert_eq!(unsqueeze(ZSTD, b"", 0), Err(Broken::NotBuilt("zstd")));
}

#[cfg(all(feature = "lz4", feature = "zstd"))]
mod both {
    use super::*;
    use proptest::prelude::*;

    const WAYS: [(u8, Compression); 4] = [
        (LZ4, Compression::lz4()),
        (ZSTD, Compression::zstd(1)),
        (ZSTD, Compression::zstd(-5)),
        (ZSTD, Compression::zstd(1000)),
    ];

    proptest! {
        #[test]
        fn what_is_squeezed_comes_back(
            bytes in prop::collection::vec(prop_oneof![3 => 0..2_u8, 1 => any::<u8>()], 0..3000),
            above in 0..3000_usize,
        ) {
            for (way, compression) in WAYS {
                let (written, small) = compression.above(above).squeeze(&bytes);
                prop_assert_eq!(&unsqueeze(written, &small, bytes.len()), &Ok((&bytes).into()));
                prop_assert!(written == NONE || written == way);
                if written == NONE {
                    prop_assert_eq!(&*small, &*bytes);
                } else {
                    prop_assert!(bytes.len() > above);
                    prop_assert!(10 * small.len() <= 9 * bytes.len());
                }
                // Another length is another value, or none at all.
                prop_assert_eq!(unsqueeze(written, &small, bytes.len() + 1), Err(Broken::Content));
                if let Some(less) = bytes.len().checked_sub(1) {
                    prop_assert_eq!(unsqueeze(written, &small, less), Err(Broken::Content));
                }
            }
        }

        #[test]
        fn any_bytes_give_that_length_or_nothing(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            length in 0..5000_usize,
        ) {
            for way in [NONE, LZ4, ZSTD] {
                if let Ok(whole) = unsqueeze(way, &bytes, length) {
                    prop_assert_eq!(whole.len(), length);
                }
            }
        }
    }

    #[test]
    fn only_beyond_the_threshold() {
        for (way, compression) in WAYS {
            assert_eq!(compression.squeeze(&[7; 1024]).0, NONE);
            assert_eq!(compression.squeeze(&[7; 1025]).0, way);
            assert_eq!(compression.above(5000).squeeze(&[7; 5000]).0, NONE);
            assert_eq!(compression.above(5000).squeeze(&[7; 5001]).0, way);
            assert_eq!(compression.above(0).squeeze(b"").0, NONE);
        }
    }

    /// Bytes that no way makes smaller, and a few that all do: what they save is about their number.
    #[test]
    fn only_if_a_tenth_is_saved() {
        let noise = |length: u32| {
            (0..length).scan(1_u64, |state, _| {
                *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                Some((*state >> 56) as u8)
            })
        };
        for (way, compression) in WAYS {
            let some: Vec<u8> = noise(10_000).chain([7; 800]).collect();
            assert_eq!(compression.squeeze(&some).0, NONE);
            let more: Vec<u8> = noise(10_000).chain([7; 1400]).collect();
            assert_eq!(compression.squeeze(&more).0, way);
        }
    }

    /// A kilobyte that would be megabytes: it is cut off at the length that was declared.
    #[test]
    fn a_bomb_does_not_go_off() {
        let zeros = vec![0; 16 << 20];
        for (way, compression) in WAYS {
            let (_, bomb) = compression.squeeze(&zeros);
            assert!(bomb.len() < 100_000);
            assert_eq!(unsqueeze(way, &bomb, 1000), Err(Broken::Content));
        }
    }

    /// What cannot be true is not even given memory: this would be 2^40 bytes and more.
    #[test]
    fn lz4_declares_no_more_than_it_can_give() {
        assert_eq!(unsqueeze(LZ4, &[0; 100], usize::MAX / 4), Err(Broken::Content));
        // Nearly the most that there can be: a byte, copied.
        let mut bytes = vec![0x1F, 7, 1, 0];
        bytes.extend([255; 1000]);
        bytes.extend([0, 0x50, 7, 7, 7, 7, 7]);
        let length = 1 + 19 + 255 * 1000 + 5;
        assert_eq!(unsqueeze(LZ4, &bytes, length), Ok(vec![7; length].into()));
    }
}
