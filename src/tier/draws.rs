//! Numbers that nobody has drawn before.

use super::remote::Token;
use crate::sync::{AtomicU64, Ordering};
use std::hash::{BuildHasher, RandomState};

/// Draws numbers: a counter, keyed by what the system calls random. Two of them never draw the same, but for a chance of one in 2^64
/// a pair.
pub(super) struct Draws {
    key: RandomState,
    drawn: AtomicU64,
}

impl Draws {
    pub(super) fn new() -> Self {
        Self { key: RandomState::new(), drawn: AtomicU64::new(0) }
    }

    /// Never 0, which means none.
    pub(super) fn number(&self) -> u64 {
        self.key.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed)).max(1)
    }

    pub(super) fn token(&self) -> Token {
        let halves = u128::from(self.number()) << 64 | u128::from(self.number());
        Token(halves.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_draws_are_equal() {
        let several = [Draws::new(), Draws::new()];
        let tokens: HashSet<Token> =
            several.iter().flat_map(|draws| (0..1_000).map(|_| draws.token())).collect();
        assert_eq!(tokens.len(), 2_000);
    }
}
