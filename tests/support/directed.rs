//! Keys that say which segment they belong to.

use std::hash::{BuildHasher, Hasher};

/// A hasher whose hashes the cache's own mixing gives the top four bits of the key: those choose its segment.
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
        // The mixing adds both halves of a product without carry.
        let mix = |hash: u64| {
            let product = u128::from(hash) * 0x9E37_79B9_7F4A_7C15;
            (product >> 64) as u64 ^ product as u64
        };
        let draws = (1_u64..).map(|i| key.wrapping_mul(0xD134_2543_DE82_EF95) ^ i << 32);
        self.0 = draws.into_iter().find(|&hash| mix(hash) >> 60 == key >> 60).unwrap();
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
