//! Smaller bytes for the remote, where that is worth it.
//!
//! Which way it was done is in the envelope, so readers are told nothing, and may be told another thing than writers. A reader that was
//! built without the feature takes the value for none.
//!
//! The length that comes out is known before: it is in the envelope too, was checked against the limit, and no more memory than that is
//! ever asked for. Bytes that give another length are broken.

use std::borrow::Cow;
use thiserror::Error;

/// From this many bytes on, if nothing else is said.
const ABOVE: usize = 1024;

/// What is in the envelope of bytes that are as they were.
const NONE: u8 = 0;
/// What is in the envelope of a block of LZ4, as <https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md> says, without a length.
const LZ4: u8 = 1;
/// What is in the envelope of frames of Zstandard, as RFC 8878 says.
const ZSTD: u8 = 2;

/// Whether values are compressed before they go to the remote, and how.
///
/// They are if they have more than 1 KiB, or more than [`above`](Self::above) says, and become smaller by at least a tenth; otherwise they
/// stay as they are. Compression costs the writer O(bytes), whether or not it is of use.
///
/// | | feature | writes, reads, in MB/s of one core | beside that | for |
/// |---|---|---|---|---|
/// | [`none`](Self::none) | | 1,400, 1,500: the checksum | | values that are small, or are compressed already |
/// | `lz4` | `lz4` | 900, 2,500 | | most |
/// | `zstd` | `zstd`; needs a C compiler | 100, 1,500 at level 3; 600, 1,500 at 1 | tens of microseconds a value | large ones, where the remote's memory or the network is short |
///
/// The numbers are for 100 KiB of JSON; LZ4 leaves 27 % of it, Zstandard 16 %.
///
/// ```
/// use cachette::tier::Compression;
///
/// assert_eq!(Compression::default(), Compression::none());
/// # #[cfg(feature = "lz4")]
/// let compression = Compression::lz4().above(4096);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    way: Way,
    above: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    None,
    #[cfg(feature = "lz4")]
    Lz4,
    #[cfg(feature = "zstd")]
    Zstd(i32),
}

/// Why there is nothing to be had from compressed bytes.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum Broken {
    #[error("its compression, number {0}, is not known")]
    Unknown(u8),
    #[error("it is compressed by {0}, and this program is built without that feature")]
    NotBuilt(&'static str),
    #[error("it does not give the length that is declared")]
    Content,
}

impl Default for Compression {
    fn default() -> Self {
        Self::none()
    }
}

impl Compression {
    /// Values stay as they are.
    #[must_use]
    pub const fn none() -> Self {
        Self { way: Way::None, above: ABOVE }
    }

    /// LZ4: fast.
    #[cfg(feature = "lz4")]
    #[cfg_attr(docsrs, doc(cfg(feature = "lz4")))]
    #[must_use]
    pub const fn lz4() -> Self {
        Self { way: Way::Lz4, above: ABOVE }
    }

    /// Zstandard: smaller. Levels are from 1, the fastest, to 22; 3 is usual, and 0 means that. One beyond either end means the end.
    #[cfg(feature = "zstd")]
    #[cfg_attr(docsrs, doc(cfg(feature = "zstd")))]
    #[must_use]
    pub const fn zstd(level: i32) -> Self {
        Self { way: Way::Zstd(level), above: ABOVE }
    }

    /// Only values of more bytes than this, as the codec writes them, are compressed; 1,024 unless it is said.
    #[must_use]
    pub const fn above(self, bytes: usize) -> Self {
        Self { above: bytes, ..self }
    }

    /// What is to be written of `payload`, and what the envelope says of it.
    pub(crate) fn squeeze(self, payload: &[u8]) -> (u8, Cow<'_, [u8]>) {
        let small: Option<(u8, Vec<u8>)> = match self.way {
            _ if payload.len() <= self.above => None,
            Way::None => None,
            #[cfg(feature = "lz4")]
            Way::Lz4 => Some((LZ4, lz4_flex::block::compress(payload))),
            #[cfg(feature = "zstd")]
            Way::Zstd(level) => {
                zstd::bulk::compress(payload, level).ok().map(|small| (ZSTD, small))
            }
        };
        match small {
            Some((way, small)) if small.len() <= payload.len() - payload.len().div_ceil(10) => {
                (way, small.into())
            }
            _ => (NONE, payload.into()),
        }
    }
}

/// The `length` bytes that were squeezed into `bytes` in that way.
pub(crate) fn unsqueeze(way: u8, bytes: &[u8], length: usize) -> Result<Cow<'_, [u8]>, Broken> {
    let whole = match way {
        NONE => Cow::Borrowed(bytes),
        #[cfg(feature = "lz4")]
        LZ4 => Cow::Owned(unlz4(bytes, length)?),
        #[cfg(feature = "zstd")]
        ZSTD => Cow::Owned(zstd::bulk::decompress(bytes, length).map_err(|_| Broken::Content)?),
        other => return Err(missing(other)),
    };
    if whole.len() == length { Ok(whole) } else { Err(Broken::Content) }
}

/// What a way is that cannot be undone.
fn missing(way: u8) -> Broken {
    match way {
        LZ4 => Broken::NotBuilt("lz4"),
        ZSTD => Broken::NotBuilt("zstd"),
        _ => Broken::Unknown(way),
    }
}

#[cfg(feature = "lz4")]
fn unlz4(bytes: &[u8], length: usize) -> Result<Vec<u8>, Broken> {
    // No byte gives more than 255: what declares more is not worth its memory.
    if length / 255 > bytes.len() {
        return Err(Broken::Content);
    }
    let mut whole = vec![0; length];
    let written =
        lz4_flex::block::decompress_into(bytes, &mut whole).map_err(|_| Broken::Content)?;
    whole.truncate(written);
    Ok(whole)
}

#[cfg(test)]
mod tests;
