//! Mixing of bits.

/// Spreads every input bit over the whole word; a bijection. A hasher that leaves the high bits empty, as an identity
/// does, would otherwise send every key to one segment.
pub(crate) const fn mix(hash: u64) -> u64 {
    // The golden ratio's odd multiplier, between two folds (Knuth 1973, 6.4).
    let folded = (hash ^ (hash >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    folded ^ (folded >> 32)
}

/// The number after `x` in a long row of numbers that look random; `x` is not 0, and never comes to be.
pub(crate) const fn after(x: u64) -> u64 {
    // Marsaglia's xorshift, 2003.
    let x = x ^ (x << 13);
    let x = x ^ (x >> 7);
    x ^ (x << 17)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn small_numbers_reach_the_top_bits() {
        let tops: HashSet<u64> = (0..64_u64).map(|i| mix(i) >> 58).collect();
        assert!(tops.len() > 32, "{} of 64 tops", tops.len());
        let all: HashSet<u64> = (0..10_000_u64).map(mix).collect();
        assert_eq!(all.len(), 10_000);
        assert_eq!(mix(1), 0x9E37_79B9_7F4A_7C15 ^ 0x9E37_79B9);
    }

    #[test]
    fn numbers_that_look_random_do_not_come_again_soon() {
        let row: HashSet<u64> =
            std::iter::successors(Some(1), |&x| Some(after(x))).take(10_000).collect();
        assert_eq!(row.len(), 10_000);
        assert!(!row.contains(&0));
        let high = row.iter().filter(|&&x| x >> 63 == 1).count();
        assert!((4_700..5_300).contains(&high), "{high}");
    }
}
