//! What lies around a value in the remote.
//!
//! ```text
//!   0      2  3  4  5  6      8          12             20             28       32       36      40       44      48
//!   ┌──────┬──┬──┬──┬──┬──────┬──────────┬──────────────┬──────────────┬────────┬────────┬───────┬────────┬───────┬──────┬─────────┐
//!   │magic │en│co│sq│fl│ tags │  schema  │   version    │      id      │ fresh  │ grace  │ cost  │ length │  crc  │ tags │ payload │
//!   └──────┴──┴──┴──┴──┴──────┴──────────┴──────────────┴──────────────┴────────┴────────┴───────┴────────┴───────┴──────┴─────────┘
//! ```
//!
//! | at | field | |
//! |---|---|---|
//! | 0 | magic, u16 | `ca c4` |
//! | 2 | envelope version, u8 | 1 |
//! | 3 | codec, u8 | [`Codec::id`](super::Codec::id) |
//! | 4 | compression, u8 | 0 none, 1 LZ4, 2 Zstandard |
//! | 5 | flags, u8 | 0; what another bit means is not known |
//! | 6 | tags, u16 | how many |
//! | 8 | schema, u32 | the user's number for the type |
//! | 12 | version, u64 | of the value: a higher one is newer |
//! | 20 | id, u64 | random: no other envelope has it |
//! | 28 | fresh, u32 ms | rounded down; 2^32 - 1: for longer than that can be told, or for ever |
//! | 32 | grace, u32 ms | after it, rounded up; 2^32 - 1: longer than that can be told |
//! | 36 | cost, u32 µs | of the load; 2^32 - 1: that, or more |
//! | 40 | length, u32 | of the payload before it was compressed |
//! | 44 | CRC-32, u32 | of all but itself |
//! | 48 | tags | each: length u16, name in UTF-8, generation u64 |
//! | | payload | the rest |
//!
//! Numbers are little-endian. Times are spans, never points in time: no two clocks are compared. How long a value is still fresh is told
//! by the remote, which knows how long it will keep it: that, less the grace. Where it keeps it for ever, it is fresh for ever.
//!
//! A value is opened only if all of that is as this program would have written it. The checksum is looked at first, after what must be the
//! same in every version, so what is named as the reason is what was written, and not what became of it on the way. Nothing is allocated by what
//! a field says before it was held against the limit, or against the bytes that are there.

use super::compress::{Broken, Compression, unsqueeze};
use crate::crc::crc32;
use crate::sync::Arc;
use std::borrow::Cow;
use std::time::Duration;
use thiserror::Error;

/// The length of the fixed part at the beginning. No two values that were ever written have the same.
pub const HEAD: usize = 48;

/// How every envelope begins. In UTF-8 nothing does.
const MAGIC: [u8; 2] = [0xCA, 0xC4];
const ENVELOPE: u8 = 1;
/// Where the version is: eight bytes, little-endian.
pub(crate) const VERSION_AT: usize = 12;
const ID_AT: usize = 20;
const CRC_AT: usize = 44;

/// What a tag takes beside its name.
const TAG: usize = 2 + 8;

/// What is written beside a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealing<'a> {
    pub(crate) codec: u8,
    pub(crate) schema: u32,
    pub(crate) version: u64,
    pub(crate) id: u64,
    /// `None`: for ever.
    pub(crate) fresh: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) cost: Duration,
    /// Names, and their generations.
    pub(crate) tags: &'a [(Arc<str>, u64)],
}

/// Why a value cannot be written.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum SealError {
    #[error("it has {length} bytes, and {limit} are the most")]
    TooLarge { length: usize, limit: usize },
    #[error("it has {0} tags, and 65,535 are the most")]
    TooManyTags(usize),
    #[error("the name of a tag has {0} bytes, and 65,535 are the most")]
    TagTooLong(usize),
}

/// What a reader takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) codec: u8,
    pub(crate) schema: u32,
    /// The most bytes of a payload.
    pub(crate) limit: usize,
}

/// A value, and what was written beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened<'a> {
    pub(crate) version: u64,
    pub(crate) id: u64,
    /// `None`: for ever, or for so long that only the remote knows.
    pub(crate) fresh: Option<Duration>,
    /// [`Duration::MAX`] if it is too long to be told: then what is left is never more than the grace.
    pub(crate) grace: Duration,
    pub(crate) cost: Duration,
    pub(crate) tags: Vec<(&'a str, u64)>,
    pub(crate) payload: Cow<'a, [u8]>,
}

/// Why bytes are no value. It is the first thing that is found.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum Unreadable {
    #[error("it has {0} bytes, fewer than an envelope")]
    TooShort(usize),
    #[error("it is no envelope")]
    Magic,
    #[error("its envelope is of version {0}, not {ENVELOPE}")]
    Envelope(u8),
    #[error("its checksum does not fit: it is damaged")]
    Checksum,
    #[error("its flags, {0:#010b}, are not known")]
    Flags(u8),
    #[error("it was written by codec {0}")]
    Codec(u8),
    #[error("it is of schema {0}")]
    Schema(u32),
    #[error("it has {length} bytes, and {limit} are the most")]
    TooLarge { length: u32, limit: usize },
    #[error("its tags do not fit into it")]
    Tags,
    #[error("the name of a tag is not UTF-8")]
    TagName,
    #[error("its compression, number {0}, is not known")]
    Compression(u8),
    #[error("it is compressed by {0}, and this program is built without that feature")]
    NotBuilt(&'static str),
    #[error("its payload does not give the length that it declares")]
    Payload,
}

impl From<Broken> for Unreadable {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Unknown(way) => Self::Compression(way),
            Broken::NotBuilt(feature) => Self::NotBuilt(feature),
            Broken::Content => Self::Payload,
        }
    }
}

/// The fixed part, as it is written.
struct Head {
    magic: [u8; 2],
    envelope: u8,
    codec: u8,
    way: u8,
    flags: u8,
    tags: u16,
    schema: u32,
    version: u64,
    id: u64,
    fresh: u32,
    grace: u32,
    cost: u32,
    length: u32,
    crc: u32,
}

impl Head {
    /// The fields as they are written, but for the checksum.
    fn write(&self, into: &mut Vec<u8>) {
        into.extend(self.magic);
        into.extend([self.envelope, self.codec, self.way, self.flags]);
        into.extend(self.tags.to_le_bytes());
        into.extend(self.schema.to_le_bytes());
        into.extend(self.version.to_le_bytes());
        into.extend(self.id.to_le_bytes());
        for field in [self.fresh, self.grace, self.cost, self.length, self.crc] {
            into.extend(field.to_le_bytes());
        }
    }

    /// The same, of bytes that are long enough; the rest remains.
    fn read(from: &mut Rest<'_>) -> Option<Self> {
        let magic = from.take()?;
        let [envelope, codec, way, flags] = from.take()?;
        Some(Self {
            magic,
            envelope,
            codec,
            way,
            flags,
            tags: from.u16()?,
            schema: from.u32()?,
            version: from.u64()?,
            id: from.u64()?,
            fresh: from.u32()?,
            grace: from.u32()?,
            cost: from.u32()?,
            length: from.u32()?,
            crc: from.u32()?,
        })
    }
}

/// Bytes that are still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// The bytes of a name, and a generation.
    fn tag(&mut self) -> Option<(&'a [u8], u64)> {
        let length = self.u16()?;
        let (name, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        Some((name, self.u64()?))
    }

    fn tags(&mut self, tags: u16) -> Result<Vec<(&'a str, u64)>, Unreadable> {
        let mut read = Vec::with_capacity(usize::from(tags).min(self.0.len() / TAG));
        for _ in 0..tags {
            let (name, generation) = self.tag().ok_or(Unreadable::Tags)?;
            let name = std::str::from_utf8(name).map_err(|_| Unreadable::TagName)?;
            read.push((name, generation));
        }
        Ok(read)
    }
}

/// Puts a payload into an envelope: O(bytes).
///
/// # Errors
///
/// If it has more than `limit` bytes before compression, or more than fit into the fields.
pub(crate) fn seal(
    sealing: &Sealing<'_>,
    payload: &[u8],
    compression: Compression,
    limit: usize,
) -> Result<Vec<u8>, SealError> {
    let tags = sealing.tags.len();
    let too_large = SealError::TooLarge { length: payload.len(), limit };
    let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= limit);
    let (way, squeezed) = compression.squeeze(payload);
    let head = Head {
        magic: MAGIC,
        envelope: ENVELOPE,
        codec: sealing.codec,
        way,
        flags: 0,
        tags: u16::try_from(tags).map_err(|_| SealError::TooManyTags(tags))?,
        schema: sealing.schema,
        version: sealing.version,
        id: sealing.id,
        fresh: sealing.fresh.map_or(u32::MAX, |fresh| told(fresh.as_millis())),
        grace: told(sealing.grace.as_nanos().div_ceil(1_000_000)),
        cost: told(sealing.cost.as_micros()),
        length: length.ok_or(too_large)?,
        crc: 0,
    };
    let names: usize = sealing.tags.iter().map(|(name, _)| TAG + name.len()).sum();
    let mut bytes = Vec::with_capacity(HEAD + names + squeezed.len());
    head.write(&mut bytes);
    for (name, generation) in sealing.tags {
        let length = u16::try_from(name.len()).map_err(|_| SealError::TagTooLong(name.len()))?;
        bytes.extend(length.to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(generation.to_le_bytes());
    }
    bytes.extend(squeezed.iter());
    let crc = checksum(&bytes).to_le_bytes();
    bytes[CRC_AT..HEAD].copy_from_slice(&crc);
    Ok(bytes)
}

/// A span in the field's unit, as far as that goes.
fn told(span: u128) -> u32 {
    u32::try_from(span).unwrap_or(u32::MAX)
}

/// The checksum of an envelope, of all but the checksum. There is a head.
fn checksum(bytes: &[u8]) -> u32 {
    crc32(&[&bytes[..CRC_AT], &bytes[HEAD..]])
}

/// Takes a payload out of its envelope: O(bytes), and it is copied only if it is compressed.
///
/// # Errors
///
/// If it is not an envelope as this program would have written it, or not what is wanted.
pub(crate) fn open(bytes: &[u8], wanted: Wanted) -> Result<Opened<'_>, Unreadable> {
    let mut rest = Rest(bytes);
    let head = Head::read(&mut rest).ok_or(Unreadable::TooShort(bytes.len()))?;
    if head.magic != MAGIC {
        return Err(Unreadable::Magic);
    }
    if head.envelope != ENVELOPE {
        return Err(Unreadable::Envelope(head.envelope));
    }
    if head.crc != checksum(bytes) {
        return Err(Unreadable::Checksum);
    }
    if head.flags != 0 {
        return Err(Unreadable::Flags(head.flags));
    }
    if head.codec != wanted.codec {
        return Err(Unreadable::Codec(head.codec));
    }
    if head.schema != wanted.schema {
        return Err(Unreadable::Schema(head.schema));
    }
    let Head { version, id, fresh, grace, cost, .. } = head;
    let millis = |field: u32| (field < u32::MAX).then(|| Duration::from_millis(field.into()));
    Ok(Opened {
        version,
        id,
        fresh: millis(fresh),
        grace: millis(grace).unwrap_or(Duration::MAX),
        cost: Duration::from_micros(cost.into()),
        tags: rest.tags(head.tags)?,
        payload: payload(head.way, rest.0, head.length, wanted.limit)?,
    })
}

fn payload(
    way: u8,
    bytes: &[u8],
    declared: u32,
    limit: usize,
) -> Result<Cow<'_, [u8]>, Unreadable> {
    match usize::try_from(declared) {
        Ok(length) if length <= limit => Ok(unsqueeze(way, bytes, length)?),
        _ => Err(Unreadable::TooLarge { length: declared, limit }),
    }
}

/// Makes any bytes begin as an envelope does, with the checksum that they have. False if they are too short.
#[cfg(any(test, feature = "test-kit"))]
pub(crate) fn mend(bytes: &mut [u8]) -> bool {
    if bytes.len() < HEAD {
        return false;
    }
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    bytes[MAGIC.len()] = ENVELOPE;
    let crc = checksum(bytes).to_le_bytes();
    bytes[CRC_AT..HEAD].copy_from_slice(&crc);
    true
}

/// The version that an envelope tells.
pub(crate) fn version_of(bytes: &[u8]) -> Option<u64> {
    Rest(bytes.get(VERSION_AT..)?).u64()
}

/// The number that no other envelope has.
pub(crate) fn id_of(bytes: &[u8]) -> Option<u64> {
    Rest(bytes.get(ID_AT..)?).u64()
}

/// The fixed part, or what there is of it, filled up with zeros.
pub(crate) fn head_of(bytes: &[u8]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let length = bytes.len().min(HEAD);
    head[..length].copy_from_slice(&bytes[..length]);
    head
}

#[cfg(test)]
mod tests;
