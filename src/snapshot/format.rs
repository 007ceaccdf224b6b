//! The bytes of a snapshot.
//!
//! **Problem.** A file is written in one go, by a process that may die, to a disk that may err, and read by another program. Whatever
//! has become of it, entries that were not written must never come out of it.
//!
//! ```text
//!   ┌───────┬───────┬──────┬──────┬─────────┬───┐┌──────┬───────┬───┬────┬─────────┐       ┌──────┬───────┬───┬────┬─────────┐
//!   │magic 8│version│schema│date 8│learned 8│crc││length│entries│crc│crc'│ payload │  ...  │   8  │2^32-1 │crc│crc'│ entries │
//!   └───────┴───────┴──────┴──────┴─────────┴───┘└──────┴───────┴───┴────┴─────────┘       └──────┴───────┴───┴────┴─────────┘
//!    head: 36 bytes                               block: 16 bytes, and what length says     end: how many there are in all
//! ```
//!
//! Numbers are little-endian, of four bytes where nothing else is said. The date is in nanoseconds since 1970; what was
//! learned is a word of the policy's.
//!
//! **Invariants**
//!
//! 1. `crc` is the payload's checksum; `crc'` that of the block's place in the file and its first twelve bytes. So a block is only
//!    a block where it was written, and no length is believed that was not written.
//! 2. The last block says how many entries the others have together: a file that ends early, or lacks a block, is none.
//! 3. Memory is taken for bytes that are there, never for bytes that are announced.
//!
//! | operation | cost |
//! |---|---|
//! | `push`, a block | O(bytes) |
//! | memory | one block: 64 KiB, or an entry and 64 KiB |

use super::SnapshotError;
use crate::crc::crc32;
use serde::Serialize;
use std::io::{self, ErrorKind, Read, Write};

/// How every snapshot begins. In UTF-8 nothing does.
const MAGIC: [u8; 8] = *b"\xCAchette\n";

/// The version of this layout, and of what is in an entry.
pub(super) const VERSION: u32 = 1;

const HEAD: usize = 36;
const BLOCK_HEAD: usize = 16;

/// A block is written once it has so many bytes.
pub(super) const BLOCK: usize = 64 << 10;

/// The number of entries of the block that is the end.
const END: u32 = u32::MAX;

/// What is kept beside a key and its value. Times are nanoseconds, counted from the head's date.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Mark {
    /// When the hard deadline is, and one; 0 is never.
    pub(super) hard: u64,
    /// The same of the idle deadline.
    pub(super) idle: u64,
    /// How long its load took, in microseconds.
    pub(super) cost: u32,
    pub(super) uses: u32,
    pub(super) proven: bool,
}

/// Writes a snapshot.
pub(super) struct Writer<W> {
    to: W,
    offset: u64,
    block: Vec<u8>,
    in_block: u32,
    entries: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(mut to: W, schema: u32, date: u64, learned: u64) -> io::Result<Self> {
        let mut head = Vec::with_capacity(HEAD);
        head.extend(MAGIC);
        head.extend(VERSION.to_le_bytes());
        head.extend(schema.to_le_bytes());
        head.extend(date.to_le_bytes());
        head.extend(learned.to_le_bytes());
        head.extend(crc32(&[&head]).to_le_bytes());
        to.write_all(&head)?;
        Ok(Self { to, offset: HEAD as u64, block: Vec::new(), in_block: 0, entries: 0 })
    }

    /// Adds an entry to the block, and writes nothing. False if the entry cannot be encoded.
    pub(super) fn push<K: Serialize, V: Serialize>(
        &mut self,
        mark: Mark,
        key: &K,
        value: &V,
    ) -> bool {
        let before = self.block.len();
        let encoded = postcard::to_io(&(mark, key, value), &mut self.block).is_ok();
        if encoded && u32::try_from(self.block.len()).is_ok() {
            self.in_block += 1;
            return true;
        }
        self.block.truncate(before);
        false
    }

    /// Writes the block if it is full.
    pub(super) fn relieve(&mut self) -> io::Result<()> {
        if self.block.len() < BLOCK { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> io::Result<()> {
        if self.in_block > 0 {
            self.entries += u64::from(self.in_block);
            self.write_block(self.in_block)?;
        }
        Ok(())
    }

    fn write_block(&mut self, entries: u32) -> io::Result<()> {
        let length = u32::try_from(self.block.len()).map_err(io::Error::other)?;
        let mut head = Vec::with_capacity(BLOCK_HEAD);
        head.extend(length.to_le_bytes());
        head.extend(entries.to_le_bytes());
        head.extend(crc32(&[&self.block]).to_le_bytes());
        head.extend(crc32(&[&self.offset.to_le_bytes(), &head]).to_le_bytes());
        self.to.write_all(&head)?;
        self.to.write_all(&self.block)?;
        self.offset += (BLOCK_HEAD + self.block.len()) as u64;
        self.block.clear();
        self.in_block = 0;
        Ok(())
    }

    /// The bytes that wait to be written.
    pub(super) fn in_hand(&self) -> usize {
        self.block.len()
    }

    /// Writes what is left, and the end: how many entries there are, and how many bytes.
    pub(super) fn end(mut self) -> io::Result<(u64, u64)> {
        self.write()?;
        self.block.extend(self.entries.to_le_bytes());
        self.write_block(END)?;
        self.to.flush()?;
        Ok((self.entries, self.offset))
    }
}

/// A block that is as it was written.
pub(super) struct Block<'a> {
    /// Where the payload is in the file.
    pub(super) offset: u64,
    pub(super) entries: u32,
    pub(super) payload: &'a [u8],
}

/// Reads a snapshot, block by block.
pub(super) struct Blocks<R> {
    from: R,
    /// Where the next byte is.
    offset: u64,
    /// Entries in the blocks so far.
    entries: u64,
    payload: Vec<u8>,
    /// When it was taken, in nanoseconds since 1970.
    pub(super) date: u64,
    /// What the policy had learned.
    pub(super) learned: u64,
}

impl<R: Read> Blocks<R> {
    pub(super) fn begin(from: R, schema: u32) -> Result<Self, SnapshotError> {
        let mut blocks =
            Self { from, offset: 0, entries: 0, payload: Vec::new(), date: 0, learned: 0 };
        let magic: [u8; 8] = blocks.bytes("it ends within its head")?;
        if magic != MAGIC {
            return Err(SnapshotError::Damaged {
                offset: 0,
                what: "it does not begin as a snapshot",
            });
        }
        let found = u32::from_le_bytes(blocks.bytes("it ends within its head")?);
        if found != VERSION {
            return Err(SnapshotError::Version { found, known: VERSION });
        }
        let schemas: [u8; 4] = blocks.bytes("it ends within its head")?;
        let date: [u8; 8] = blocks.bytes("it ends within its head")?;
        let learned: [u8; 8] = blocks.bytes("it ends within its head")?;
        let crc = u32::from_le_bytes(blocks.bytes("it ends within its head")?);
        if crc != crc32(&[&magic, &found.to_le_bytes(), &schemas, &date, &learned]) {
            return Err(SnapshotError::Damaged {
                offset: 12,
                what: "the head's checksum is wrong",
            });
        }
        let found = u32::from_le_bytes(schemas);
        if found != schema {
            return Err(SnapshotError::Schema { found, wanted: schema });
        }
        (blocks.date, blocks.learned) = (u64::from_le_bytes(date), u64::from_le_bytes(learned));
        Ok(blocks)
    }

    /// The next so many bytes.
    fn bytes<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], SnapshotError> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => SnapshotError::Damaged { offset: self.offset, what },
            _ => SnapshotError::reading(error),
        })?;
        self.offset += N as u64;
        Ok(bytes)
    }

    /// The next block; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Block<'_>>, SnapshotError> {
        let start = self.offset;
        let damaged = |what| SnapshotError::Damaged { offset: start, what };
        let head: [u8; 12] = self.bytes("it ends before its end")?;
        let crc = u32::from_le_bytes(self.bytes("it ends within a block")?);
        if crc != crc32(&[&start.to_le_bytes(), &head]) {
            return Err(damaged("a block's own checksum is wrong"));
        }
        let [length, entries, crc] = [0, 4, 8]
            .map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        self.payload.clear();
        let payload = self.offset;
        let mut from = (&mut self.from).take(length.into());
        from.read_to_end(&mut self.payload).map_err(SnapshotError::reading)?;
        self.offset += self.payload.len() as u64;
        if self.payload.len() as u64 != u64::from(length) {
            let what = "it ends within a block";
            return Err(SnapshotError::Damaged { offset: self.offset, what });
        }
        if crc != crc32(&[&self.payload]) {
            return Err(damaged("the checksum of a block's entries is wrong"));
        }
        if entries != END {
            self.entries += u64::from(entries);
            return Ok(Some(Block { offset: payload, entries, payload: &self.payload }));
        }
        if self.payload != self.entries.to_le_bytes() {
            return Err(damaged("blocks are missing: the number of entries is wrong"));
        }
        Ok(None)
    }

    /// Reads to the end and beyond: all of it is as it was written, and nothing comes behind.
    pub(super) fn verify(mut self) -> Result<(), SnapshotError> {
        while self.next()?.is_some() {}
        match self.bytes::<1>("") {
            Err(SnapshotError::Damaged { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => {
                let what = "something comes behind its end";
                Err(SnapshotError::Damaged { offset: self.offset - 1, what })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = Mark { hard: 0, idle: 5, cost: 7, uses: 300, proven: true };

    fn written(keys: std::ops::Range<u32>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::begin(&mut bytes, 9, 1_000, 5).unwrap();
        for key in keys {
            assert!(writer.push(MARK, &key, &"v".repeat(1_000)));
            writer.relieve().unwrap();
        }
        let (_, said) = writer.end().unwrap();
        assert_eq!(said, bytes.len() as u64);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<u32>, SnapshotError> {
        let mut blocks = Blocks::begin(bytes, 9)?;
        assert_eq!((blocks.date, blocks.learned), (1_000, 5));
        let mut keys = Vec::new();
        while let Some(Block { entries, mut payload, .. }) = blocks.next()? {
            for _ in 0..entries {
                let ((mark, key, value), rest): ((Mark, u32, String), _) =
                    postcard::take_from_bytes(payload).unwrap();
                assert_eq!((mark, value.len()), (MARK, 1_000));
                keys.push(key);
                payload = rest;
            }
            assert!(payload.is_empty());
        }
        Ok(keys)
    }

    #[test]
    fn what_is_written_is_read() {
        for many in [0, 1, 3, 200] {
            assert_eq!(read(&written(0..many)).unwrap(), (0..many).collect::<Vec<_>>());
            Blocks::begin(&*written(0..many), 9).unwrap().verify().unwrap();
        }
        let blocks = written(0..200).len() / BLOCK;
        assert!(blocks >= 3, "there are several blocks");
    }

    #[test]
    fn a_block_is_a_block_only_in_its_place() {
        let bytes = written(0..200);
        let length = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let second = HEAD + BLOCK_HEAD + length(HEAD);
        let third = second + BLOCK_HEAD + length(second);
        // One left out; one twice; the first two the other way round.
        let without = [&bytes[..HEAD], &bytes[second..]].concat();
        let twice = [&bytes[..second], &bytes[HEAD..]].concat();
        let (first, other) = (&bytes[HEAD..second], &bytes[second..third]);
        let swapped = [&bytes[..HEAD], other, first, &bytes[third..]].concat();
        for (bytes, at) in [(without, HEAD), (twice, second), (swapped, HEAD)] {
            let Err(SnapshotError::Damaged { offset, .. }) = read(&bytes) else { panic!("read") };
            assert_eq!(offset, at as u64);
        }
    }

    #[test]
    fn an_announced_length_takes_no_memory() {
        let mut bytes = written(0..1);
        bytes[HEAD..HEAD + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let head = crc32(&[&(HEAD as u64).to_le_bytes(), &bytes[HEAD..HEAD + 12]]);
        bytes[HEAD + 12..HEAD + 16].copy_from_slice(&head.to_le_bytes());
        let mut blocks = Blocks::begin(&*bytes, 9).unwrap();
        assert!(matches!(blocks.next(), Err(SnapshotError::Damaged { .. })));
        assert!(blocks.payload.capacity() < 1 << 20);
    }

    #[test]
    fn the_end_counts_the_entries() {
        let mut bytes = Vec::new();
        let mut writer = Writer::begin(&mut bytes, 9, 1_000, 5).unwrap();
        assert!(writer.push(MARK, &1_u32, &"v".repeat(1_000)));
        writer.entries = 1;
        writer.end().unwrap();
        let Err(SnapshotError::Damaged { what, .. }) = read(&bytes) else { panic!("read") };
        assert!(what.contains("the number of entries is wrong"), "{what}");
    }

    #[test]
    fn what_cannot_be_encoded_leaves_no_trace() {
        struct Never;
        impl Serialize for Never {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("a handle"))
            }
        }
        let mut bytes = Vec::new();
        let mut writer = Writer::begin(&mut bytes, 9, 1_000, 5).unwrap();
        assert!(!writer.push(MARK, &1_u32, &Never));
        assert!(writer.push(MARK, &2_u32, &"v".repeat(1_000)));
        writer.end().unwrap();
        assert_eq!(read(&bytes).unwrap(), [2]);
    }
}
