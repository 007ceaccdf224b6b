//! Key streams, made before the clock starts.

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Zipf};

/// The skew of every Zipf row.
const SKEW: f64 = 0.99;

/// The key of rank `rank`: an odd multiplier, so one to one, and near ranks are far apart as numbers.
#[inline]
pub fn key(rank: u64) -> u64 {
    rank.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Every key of a space of `count`, in random order: popular keys must not lie side by side in a peer's memory.
pub fn shuffled(count: u64) -> Vec<u64> {
    let mut keys: Vec<u64> = (0..count).map(key).collect();
    keys.shuffle(&mut SmallRng::seed_from_u64(1));
    keys
}

/// `length` draws from a space of `count` keys: rank r with a weight of 1 / (r + 1)^0.99, by rejection-inversion
/// (Hörmann and Derflinger, 1996).
pub fn zipf(count: u64, length: usize, seed: u64) -> Vec<u64> {
    let zipf = Zipf::new(count as f64, SKEW).expect("a positive count and skew are legal");
    let mut random = SmallRng::seed_from_u64(seed);
    (0..length).map(|_| key(zipf.sample(&mut random) as u64 - 1)).collect()
}

/// `length` draws from a space of `count` keys, each as likely.
pub fn uniform(count: u64, length: usize, seed: u64) -> Vec<u64> {
    let mut random = SmallRng::seed_from_u64(seed);
    (0..length).map(|_| key(random.random_range(0..count))).collect()
}
