//! A snapshot that is not as it was written is refused, and says where.

use crate::{Place, restored, saved};
use cachette::Cache;
use cachette::snapshot::SnapshotError;
use std::io::{self, Read, Write};

type Texts = Cache<u32, String>;

fn cache(entries: u32, length: usize) -> Texts {
    let cache = Texts::new(10_000);
    (0..entries).for_each(|key| cache.put(key, format!("{key}:{}", "x".repeat(length))));
    cache
}

/// All that was restored was written.
fn assert_right(cache: &Texts) {
    for (key, value) in cache {
        assert!(value.starts_with(&format!("{key}:x")), "{key} has {value}");
    }
}

/// Restores what must be refused, and says where it is damaged; `None` if it is named in another way.
fn refusal(bytes: &[u8]) -> Option<u64> {
    let cache = Texts::new(10_000);
    let error = restored(&cache, bytes).expect_err("it is damaged");
    assert_right(&cache);
    match error {
        SnapshotError::Damaged { offset, .. } => Some(offset),
        SnapshotError::Version { .. } => None,
        error => panic!("{error}"),
    }
}

#[test]
fn every_bit_counts() {
    let bytes = saved(&cache(20, 10));
    assert!(bytes.len() < 1_000);
    let mut damaged = bytes.clone();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            damaged[at] ^= 1 << bit;
            if let Some(offset) = refusal(&damaged) {
                assert!(offset <= at as u64, "byte {at} is changed, and {offset} named");
            } else {
                assert!((8..12).contains(&at), "the version is where it is");
            }
            damaged[at] = bytes[at];
        }
    }
}

#[test]
fn every_byte_is_missed() {
    let bytes = saved(&cache(20, 10));
    for length in 0..bytes.len() {
        let offset = refusal(&bytes[..length]).expect("no other version");
        assert!(offset <= length as u64, "cut at {length}, and {offset} named");
    }
}

#[test]
fn a_damaged_file_changes_nothing() {
    let place = Place::new();
    let bytes = saved(&cache(3_000, 100));
    assert!(bytes.len() > 4 * 65_536, "there are several blocks");
    let refused = |bytes: &[u8]| {
        std::fs::write(place.file(), bytes).unwrap();
        let cache = Texts::new(10_000);
        let error = cache.restore(place.file()).unwrap_err();
        assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}");
        assert!(cache.is_empty());
    };
    for at in (0..bytes.len()).step_by(7_919).filter(|at| !(8..12).contains(at)) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        refused(&damaged);
        refused(&bytes[..at]);
    }
    refused(&[&bytes[..], b"x"].concat());
    std::fs::write(place.file(), &bytes).unwrap();
    let whole = Texts::new(10_000);
    assert_eq!(whole.restore(place.file()).unwrap().entries, 3_000);
    assert_right(&whole);
}

#[test]
fn something_else_is_no_snapshot() {
    for bytes in [&b""[..], b"x", b"{\"a\": 1, \"b\": 2, \"c\": [1, 2, 3, 4, 5, 6, 7, 8]}"] {
        assert_eq!(refusal(bytes), Some(0));
    }
}

#[test]
fn a_reader_is_read_to_the_end_of_the_snapshot_and_no_further() {
    let bytes = [saved(&cache(5, 1)), saved(&cache(9, 1))].concat();
    let mut from = &bytes[..];
    let read = |from: &mut &[u8]| {
        let snapshot = cachette::snapshot::Snapshot::new();
        snapshot.restore_from(&Texts::new(100), from).unwrap().entries
    };
    assert_eq!([read(&mut from), read(&mut from), from.len() as u64], [5, 9, 0]);
}

#[test]
fn another_type_is_seen_where_its_bytes_do_not_fit() {
    let bytes = saved(&cache(5, 100));
    let other = Cache::<u32, (u64, Option<bool>)>::new(100);
    let error = restored(&other, &bytes).unwrap_err();
    let SnapshotError::Entry { offset, .. } = error else { panic!("{error}") };
    assert!((36..bytes.len() as u64).contains(&offset));
    let shorter = Cache::<u32, u8>::new(100);
    assert!(matches!(restored(&shorter, &bytes), Err(SnapshotError::Entry { .. })));
}

/// Fails after so many bytes.
struct Failing(usize);

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let most = bytes.len().min(self.0);
        self.0 -= most;
        Ok(most)
    }
    fn flush(&mut self) -> io::Result<()> {
        if self.0 == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

#[test]
fn who_writes_and_reads_may_fail() {
    let cache = cache(20, 10);
    let whole = saved(&cache).len();
    for after in 0..=whole {
        let saved = cachette::snapshot::Snapshot::new().save_to(&cache, Failing(after));
        let text = saved.unwrap_err().to_string();
        assert!(text.starts_with("writing the snapshot: "), "{text}");
    }
    let read = cachette::snapshot::Snapshot::new().restore_from(&cache, Failing(0));
    let text = read.unwrap_err().to_string();
    assert!(text.starts_with("reading the snapshot: "), "{text}");
}
