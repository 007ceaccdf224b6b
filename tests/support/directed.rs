//! Keys that say which segment they belong to.

use std::hash::{BuildHasher, Hasher};

/// A hasher that the cache's own mixing turns back into the key: a key's top bits choose its segment.
#[derive(Clone)]
pub(crate) struct Directed;

pub(crate) struct Direct(u64);

impl BuildHasher for Directed {
    type Hasher = Direct;

    fn build_hasher(&self) -> Direct {
        Direct(0)
    }
}

impl Hasher for Direct {
    fn write(&mut self, _: &[u8]) {
        panic!("keys are u64");
    }

    fn write_u64(&mut self, key: u64) {
        // The mixing folds, multiplies by the golden ratio and folds; each fold undoes itself.
        let folded = (key ^ (key >> 32)).wrapping_mul(inverse(0x9E37_79B9_7F4A_7C15));
        self.0 = folded ^ (folded >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The inverse of an odd number modulo 2^64, by Newton's iteration: each step doubles the right bits.
fn inverse(odd: u64) -> u64 {
    (0..6).fold(odd, |x, _| x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x))))
}
