//! Mixing of bits.

use std::cell::Cell;

/// Spreads every input bit over the whole word. A hasher that leaves the high bits empty, as an identity does, would
/// otherwise send every key to one segment.
#[inline]
pub(crate) const fn mix(hash: u64) -> u64 {
    // Both halves of the product with the golden ratio's odd multiplier (Knuth 1973, 6.4). Each bit of one of them hears of
    // the bits below its own, of the other of those above. Not a bijection: two hashes may meet, as two keys' hashes may.
    let product = (hash as u128) * 0x9E37_79B9_7F4A_7C15;
    (product >> u64::BITS) as u64 ^ product as u64
}

/// The number after `x` in a long row of numbers that look random; `x` is not 0, and never comes to be.
pub(crate) const fn after(x: u64) -> u64 {
    // Marsaglia's xorshift, 2003.
    let x = x ^ (x << 13);
    let x = x ^ (x >> 7);
    x ^ (x << 17)
}

thread_local! {
    static DRAWN: Cell<u64> = const { Cell::new(1) };
}

/// A number that looks random. Each thread draws the same ones in every run.
pub(crate) fn draw() -> u64 {
    let drawn = after(DRAWN.get());
    DRAWN.set(drawn);
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn small_numbers_reach_the_top_bits() {
        let tops: HashSet<u64> = (0..64_u64).map(|i| mix(i) >> 58).collect();
        assert!(tops.len() > 32, "{} of 64 tops", tops.len());
    }

    /// Of hashes that differ in a few bits alone, wherever those are, every part of the result tells them apart.
    #[test]
    fn every_part_hears_of_every_bit() {
        for at in 0..=54 {
            let part = |from: u32| -> usize {
                let of = |i: u64| (mix(i << at) >> from) & 0x3ff;
                (0..1024).map(of).collect::<HashSet<u64>>().len()
            };
            // 1,024 balls in as many boxes leave some 647 of them occupied. In these patterns it is 306 at the least, 744 in the
            // mean.
            for from in 0..=54 {
                assert!(part(from) > 300, "bits from {at} on, to those from {from} on");
            }
        }
        let all: HashSet<u64> = (0..10_000_u64).map(mix).collect();
        assert_eq!(all.len(), 10_000);
    }

    #[test]
    fn numbers_that_look_random_do_not_come_again_soon() {
        // Worked by hand: 1, 1 + 2^13, that and 2^6, and that again 2^17 times larger.
        assert_eq!(after(1), 8_257 + (8_257 << 17));
        let row: HashSet<u64> =
            std::iter::successors(Some(1), |&x| Some(after(x))).take(10_000).collect();
        assert_eq!(row.len(), 10_000);
        assert!(!row.contains(&0));
        let high = row.iter().filter(|&&x| x >> 63 == 1).count();
        assert!((4_700..5_300).contains(&high), "{high}");
    }
}
