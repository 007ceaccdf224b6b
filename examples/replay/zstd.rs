//! A zstd stream as an [`io::Read`], by a decoder in Rust alone.
//!
//! The decoder's own reader takes one frame, forgets the checksum, and cannot say where a file is damaged. This one reads
//! every frame, checks the checksum and the length that the frame declares, and names the byte of the file in each error.

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::fmt;
use std::io::{self, BufRead, Read};

/// What is wrong with a compressed file, and at which of its bytes. Travels inside an [`io::Error`].
#[derive(Debug)]
pub(crate) struct Damage {
    pub(crate) at: u64,
    pub(crate) what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.at, self.what)
    }
}

impl std::error::Error for Damage {}

/// A reader that knows how far it has come, and whether it has met the end.
struct Counted<R> {
    inner: R,
    at: u64,
    ended: bool,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.at += n as u64;
        self.ended |= n == 0 && !buf.is_empty();
        Ok(n)
    }
}

/// One frame under way.
struct Frame {
    decoder: FrameDecoder,
    start: u64,
    produced: u64,
}

/// Decompresses all frames of a zstd stream.
pub(crate) struct Zstd<R> {
    source: Counted<R>,
    frame: Option<Frame>,
    frames: u64,
}

impl<R: BufRead> Zstd<R> {
    pub(crate) const fn new(inner: R) -> Self {
        Self { source: Counted { inner, at: 0, ended: false }, frame: None, frames: 0 }
    }

    /// The error of a decoder: at the end of the file if that is what it met, else at the start of the unit it was decoding.
    fn damage(&self, start: u64, unit: &str, error: &FrameDecoderError) -> io::Error {
        let damage = if self.source.ended {
            Damage { at: self.source.at, what: format!("the file ends inside a zstd {unit}") }
        } else {
            Damage {
                at: start,
                what: format!("the zstd {unit} that starts here is garbled ({error})"),
            }
        };
        io::Error::new(io::ErrorKind::InvalidData, damage)
    }

    /// Reads the next frame's header; none at the end of the file. Skippable frames are skipped.
    fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let start = self.source.at;
            if self.source.inner.fill_buf()?.is_empty() && self.frames > 0 {
                return Ok(None);
            }
            // A decoder of its own for each frame: one that is used again reserves the whole window, which a garbled header may
            // make enormous.
            let mut decoder = FrameDecoder::new();
            match decoder.init(&mut self.source) {
                Ok(()) => {
                    self.frames += 1;
                    return Ok(Some(Frame { decoder, start, produced: 0 }));
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    self.skip(start, u64::from(length))?;
                    self.frames += 1;
                }
                Err(error) => return Err(self.damage(start, "frame header", &error)),
            }
        }
    }

    fn skip(&mut self, start: u64, length: u64) -> io::Result<()> {
        if io::copy(&mut (&mut self.source).take(length), &mut io::sink())? == length {
            return Ok(());
        }
        self.source.ended = true;
        Err(self.damage(start, "skippable frame", &FrameDecoderError::FailedToSkipFrame))
    }
}

impl Frame {
    /// Compares what came out with what the frame's header and its end say.
    fn check(&self) -> io::Result<()> {
        let wrong =
            |what| Err(io::Error::new(io::ErrorKind::InvalidData, Damage { at: self.start, what }));
        let declared = self.decoder.content_size();
        if declared != 0 && declared != self.produced {
            return wrong(format!(
                "the zstd frame that starts here says {declared} bytes and holds {}",
                self.produced
            ));
        }
        match self.decoder.get_checksum_from_data() {
            Some(sum) if self.decoder.get_calculated_checksum() != Some(sum) => {
                wrong("the zstd frame that starts here does not match its checksum".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let Some(mut frame) = self.frame.take() else {
                self.frame = self.next_frame()?;
                if self.frame.is_none() {
                    return Ok(0);
                }
                continue;
            };
            if frame.decoder.can_collect() > 0 {
                let n = frame.decoder.read(buf)?;
                frame.produced += n as u64;
                self.frame = Some(frame);
                return Ok(n);
            }
            if frame.decoder.is_finished() {
                frame.check()?;
                continue;
            }
            let start = self.source.at;
            match frame
                .decoder
                .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
            {
                Ok(_) => self.frame = Some(frame),
                Err(error) => return Err(self.damage(start, "block", &error)),
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    pub(crate) fn pack(data: &[u8]) -> Vec<u8> {
        compress_to_vec(data, CompressionLevel::Fastest)
    }

    pub(crate) fn sample() -> Vec<u8> {
        (0..40_000_u32).flat_map(|i| (i * i % 977).to_le_bytes()).collect()
    }

    fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        match Zstd::new(packed).read_to_end(&mut out) {
            Ok(_) => Ok(out),
            Err(error) => Err(error
                .get_ref()
                .and_then(|e| e.downcast_ref::<Damage>())
                .map(ToString::to_string)
                .expect("an offset")),
        }
    }

    #[test]
    fn what_was_packed_comes_out() {
        let data = sample();
        assert_eq!(unpack(&pack(&data)), Ok(data.clone()));
        let two_and_a_skipped_one =
            [pack(&data), b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec(), pack(b"end")].concat();
        assert_eq!(unpack(&two_and_a_skipped_one), Ok([&data[..], b"end"].concat()));
        assert_eq!(unpack(&pack(b"")), Ok(Vec::new()));
    }

    #[test]
    fn a_file_cut_short_says_where_it_ends() {
        let packed = pack(&sample());
        for cut in [0, 1, 4, 7, 100, packed.len() / 2, packed.len() - 1] {
            let error = unpack(&packed[..cut]).expect_err("cut");
            assert!(
                error.starts_with(&format!("byte {cut}: the file ends inside a zstd")),
                "{error}"
            );
        }
        let error = unpack(b"\x50\x2a\x4d\x18\x03\0\0\0ab").expect_err("cut");
        assert_eq!(error, "byte 10: the file ends inside a zstd skippable frame");
    }

    #[test]
    fn garbled_bytes_are_errors_with_an_offset() {
        assert!(
            unpack(b"not zstd at all")
                .expect_err("magic")
                .starts_with("byte 0: the zstd frame header")
        );
        let mut tail = pack(b"whole");
        let end = tail.len();
        tail.extend_from_slice(b"leftovers");
        assert!(
            unpack(&tail)
                .expect_err("tail")
                .starts_with(&format!("byte {end}: the zstd frame header"))
        );
        // A raw block of three bytes, a frame that declares them, and the checksum of others.
        let frame = b"\x28\xb5\x2f\xfd\x24\x03\x19\0\0abcXXXX";
        assert!(unpack(frame).expect_err("sum").contains("checksum"));
        let longer = b"\x28\xb5\x2f\xfd\x20\x09\x19\0\0abc";
        assert!(unpack(longer).expect_err("length").contains("says 9 bytes and holds 3"));
    }

    #[test]
    fn no_flipped_byte_panics() {
        let packed = pack(&sample()[..6000]);
        for at in 0..packed.len() {
            for flip in [0x01, 0x10, 0x80, 0xff] {
                let mut garbled = packed.clone();
                garbled[at] ^= flip;
                // Some flips decode to other bytes; what matters is that every answer is an answer.
                drop(unpack(&garbled));
            }
        }
    }
}
