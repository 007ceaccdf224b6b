//! Headers and records as they are on disk. The picture is in the module above.

use super::error::JournalError;
use crate::crc::crc32;
use std::path::Path;

/// How every segment begins. Whoever turns line ends into others damages it.
const MAGIC: [u8; 8] = *b"\xCA\xC4JRNL\r\n";

/// The version of all that is written here.
pub(super) const VERSION: u32 = 1;

/// The length of a segment's header.
pub(super) const HEADER: usize = 56;

/// The length of what stands before a record's payload.
pub(super) const HEAD: usize = 21;

/// Where a head's own checksum is.
const CRC_AT: usize = HEAD - 4;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Its own, which is in its name too.
    pub(super) number: u64,
    /// The lowest segment that counted when this one was begun: those below were given up.
    pub(super) oldest: u64,
    /// The length of the segment before this one, if that counts.
    pub(super) before: u64,
    /// Above all that any earlier segment was told of.
    pub(super) next_seq: u64,
    /// Random: it makes records of this segment unlike those of any other, and unlike what a payload may have in it.
    pub(super) salt: u64,
}

impl Header {
    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        for field in [self.number, self.oldest, self.before, self.next_seq, self.salt] {
            bytes.extend(field.to_le_bytes());
        }
        let crc = crc32(&[&bytes]);
        bytes.extend(crc.to_le_bytes());
        bytes
    }

    /// The header of the segment at `path`, whose first bytes these are: fewer than [`HEADER`] if it has no more.
    pub(super) fn read(bytes: &[u8], path: &Path, number: u64) -> Result<Self, JournalError> {
        let damaged = |what| Err(JournalError::Damaged { path: path.to_owned(), offset: 0, what });
        let mut rest = Rest(bytes);
        if rest.take() != Some(MAGIC) {
            return Err(JournalError::NotAJournal { path: path.to_owned() });
        }
        let Some(found) = rest.u32() else { return damaged("its header is cut short") };
        if found != VERSION {
            let path = path.to_owned();
            return Err(JournalError::Version { path, found, known: VERSION });
        }
        let Some((header, crc)) = rest.header() else { return damaged("its header is cut short") };
        if bytes.get(..HEADER - 4).map(|covered| crc32(&[covered])) != Some(crc) {
            return damaged("the checksum of its header does not fit");
        }
        if header.number != number || header.oldest > number {
            return damaged("its header is that of another segment");
        }
        Ok(header)
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The payload was accepted under this number.
    Record = 1,
    /// This number is settled, and those in the payload, eight bytes each.
    Settled = 2,
    /// The number is that of a byte: all before it was synced. There is no payload.
    Synced = 3,
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) len: u32,
    pub(super) kind: Kind,
    pub(super) seq: u64,
    /// Of the payload.
    pub(super) crc: u32,
}

impl Head {
    /// `None` if these bytes are no head of the segment with that salt. O(1).
    pub(super) fn read(bytes: &[u8], salt: u64) -> Option<Self> {
        let mut rest = Rest(bytes);
        let len = rest.u32()?;
        let [kind] = rest.take()?;
        // Before the checksum: most of what is no head ends here, zeros among it.
        let kind = match kind {
            1 => Kind::Record,
            2 => Kind::Settled,
            3 => Kind::Synced,
            _ => return None,
        };
        let head = Self { len, kind, seq: rest.u64()?, crc: rest.u32()? };
        let own = rest.u32()?;
        (own == checksum(bytes.get(..CRC_AT)?, salt)).then_some(head)
    }

    /// The bytes of the record, payload and all.
    pub(super) fn end(&self) -> u64 {
        HEAD as u64 + u64::from(self.len)
    }
}

/// A record as it is written, but for the checksum of its head, which a segment adds: O(bytes). `None` if the payload has 4 GiB.
pub(super) fn frame(kind: Kind, seq: u64, payload: &[u8]) -> Option<Vec<u8>> {
    let len = u32::try_from(payload.len()).ok()?;
    let mut bytes = Vec::with_capacity(HEAD + payload.len());
    bytes.extend(len.to_le_bytes());
    bytes.push(kind as u8);
    bytes.extend(seq.to_le_bytes());
    bytes.extend(crc32(&[payload]).to_le_bytes());
    bytes.extend([0; HEAD - CRC_AT]);
    bytes.extend(payload);
    Some(bytes)
}

/// Adds the checksum of its head, which makes it a record of the segment with that salt. O(1).
pub(super) fn seal(frame: &mut [u8], salt: u64) {
    if let Some((covered, rest)) = frame.split_at_mut_checked(CRC_AT) {
        if let Some(crc) = rest.first_chunk_mut() {
            *crc = checksum(covered, salt).to_le_bytes();
        }
    }
}

fn checksum(head: &[u8], salt: u64) -> u32 {
    crc32(&[&salt.to_le_bytes(), head])
}

/// The numbers in the payload of a `Settled`. `None` if it is none.
pub(super) fn settled(payload: &[u8]) -> Option<impl Iterator<Item = u64>> {
    let eights = payload.chunks_exact(8);
    if !eights.remainder().is_empty() {
        return None;
    }
    Some(eights.filter_map(|eight| eight.try_into().ok().map(u64::from_le_bytes)))
}

/// Little-endian numbers, one after the other.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// The fields after the version, and the checksum.
    fn header(&mut self) -> Option<(Header, u32)> {
        let (number, oldest, before) = (self.u64()?, self.u64()?, self.u64()?);
        let (next_seq, salt) = (self.u64()?, self.u64()?);
        Some((Header { number, oldest, before, next_seq, salt }, self.u32()?))
    }
}
