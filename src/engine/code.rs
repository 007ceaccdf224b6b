//! Which bits of a hash serve what.
//!
//! ```text
//!   63              48 47                                17 16        0
//!   [    segment    ] [               code               ] [  unused  ]
//!     from the top       home in the index, from the top
//!                        tag in its bucket: the low 8
//! ```
//!
//! The parts do not overlap, so what one of them has chosen says nothing of the next. (With more than 2^23 homes in a segment,
//! home and tag begin to overlap, and tags to tell less.)

/// What is kept of a hash: 31 bits, so that a slot's word has one to spare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(u32);

impl Code {
    pub(crate) const BITS: u32 = 31;
    const SHIFT: u32 = 17;

    #[expect(clippy::cast_possible_truncation, reason = "these bits are wanted")]
    #[inline]
    pub(crate) const fn new(hash: u64) -> Self {
        Self::from_bits((hash >> Self::SHIFT) as u32)
    }

    /// The low bits of a word.
    #[inline]
    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits & (u32::MAX >> (u32::BITS - Self::BITS)))
    }

    #[inline]
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// A hash with this code: its other bits are not known any more.
    pub(crate) const fn to_hash(self) -> u64 {
        (self.0 as u64) << Self::SHIFT
    }

    /// Never 0, which means empty.
    #[inline]
    pub(crate) const fn tag(self) -> u8 {
        let tag = self.0.to_le_bytes()[0];
        if tag == 0 { 1 } else { tag }
    }
}

#[cfg(test)]
#[cfg(not(cachette_loom))]
mod tests {
    use super::*;

    #[test]
    fn the_picture_above() {
        let code = Code::new(u64::MAX);
        assert_eq!(code.bits(), (1 << 31) - 1);
        assert_eq!(code.to_hash(), ((1 << 31) - 1) << 17);
        assert_eq!(Code::new(code.to_hash()), code);
        assert_eq!(Code::new(0xffff << 48 | 0x1_ffff).bits(), 0);
        assert_eq!(Code::from_bits(u32::MAX), code);
    }

    #[test]
    fn a_tag_is_the_low_bits_and_never_empty() {
        assert_eq!(
            [0, 1, 2, 255, 256, 257].map(|bits| Code::from_bits(bits).tag()),
            [1, 1, 2, 255, 1, 1]
        );
    }
}
