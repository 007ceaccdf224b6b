//! A word an entry, which the policy makes anew at each use.
//!
//! **Problem.** A policy that samples wants to know when an entry was last used, or about how often; a hit must tell it
//! without a lock, and one that has nothing new to say without a write.
//!
//! ```text
//!   hit ──► word of the slot ──► the policy's function: word, time, a random number ──► another word? store it
//!   write ─► the old entry's word, or none ───────────────┘                               ▲ a plain store: of two hits at once
//!                                                                                           one may be lost
//! ```
//!
//! A segment has words only if its policy asks for them: others pay nothing, and read no clock.
//!
//! **Invariants**
//!
//! 1. A slot that is in the index has a word, made when its entry was published.
//! 2. A word is stored by those alone who hold the entry's slot by a pin, or the lock: never for an entry that comes later.
//!
//! | operation | cost |
//! |---|---|
//! | `hit` | O(1): a cheap reading of the clock, the function, and a store if the word changes |
//! | `publish` | the same |
//! | memory | 4 bytes a slot |

use crate::engine::slab::Slot;
use crate::engine::slab::chunks::Chunks;
use crate::policy::Touch;
use crate::sync::{Arc, AtomicU32, Ordering};
use crate::time::Clock;

/// A random number for a policy that wants one.
fn draw() -> u32 {
    (crate::hash::draw() >> 32) as u32
}

/// The words of a segment's slots.
pub(crate) struct Stamps {
    touch: Touch,
    clock: Arc<dyn Clock>,
    words: Chunks<AtomicU32>,
}

impl Stamps {
    pub(crate) fn new(touch: Touch, clock: Arc<dyn Clock>) -> Self {
        Self { touch, clock, words: Chunks::new(10) }
    }

    /// The time by which words are made.
    pub(crate) fn now(&self) -> u64 {
        self.clock.bounds().0
    }

    pub(crate) fn get(&self, slot: Slot) -> u32 {
        self.words.get(slot.index()).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Gives a full slot a word that no use has made.
    pub(crate) fn set(&self, slot: Slot, word: u32) {
        if let Some(words) = self.words.get(slot.index()) {
            words.store(word, Ordering::Relaxed);
        }
    }

    fn touched(&self, word: Option<u32>) -> u32 {
        self.touch.word(word, self.now(), draw())
    }

    /// For a reader: the entry in this slot was used.
    pub(crate) fn hit(&self, slot: Slot) {
        let Some(word) = self.words.get(slot.index()) else { return };
        let was = word.load(Ordering::Relaxed);
        let is = self.touched(Some(was));
        if is != was {
            word.store(is, Ordering::Relaxed);
        }
    }

    /// For a writer: a new entry is about to be seen in `slot`, or the new value of the one in `from`.
    pub(crate) fn publish(&self, slot: Slot, from: Option<Slot>) {
        let word = self.words.reach(slot.index(), || AtomicU32::new(0));
        word.store(self.touched(from.map(|from| self.get(from))), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Use;
    use crate::time::ManualClock;
    use std::time::Duration;

    #[test]
    fn a_word_is_made_at_publication_and_at_each_use() {
        // Nanoseconds below, uses above.
        let touch = |it: Use| it.word.map_or(0, |word| (word >> 16) + 1) << 16 | it.now as u32;
        let clock = ManualClock::new();
        let stamps = Stamps::new(Touch::new(touch), Arc::new(clock.clone()));
        let [a, b] = [0, 5_000].map(Slot::new);
        stamps.hit(b);
        assert_eq!(stamps.get(b), 0, "no entry was ever there");
        clock.advance(Duration::from_nanos(3));
        stamps.publish(a, None);
        assert_eq!((stamps.get(a), stamps.now()), (3, 3));
        clock.advance(Duration::from_nanos(1));
        stamps.hit(a);
        assert_eq!(stamps.get(a), 1 << 16 | 4);
        stamps.publish(b, Some(a));
        assert_eq!(stamps.get(b), 2 << 16 | 4, "a write is a use");
        stamps.publish(b, None);
        assert_eq!((stamps.get(b), stamps.get(a)), (4, 1 << 16 | 4));
    }

    #[test]
    fn the_cheap_reading_is_the_time() {
        struct Coarse;
        impl Clock for Coarse {
            fn now(&self) -> Duration {
                panic!("dear")
            }
            fn bounds(&self) -> (u64, u64) {
                (3, 5)
            }
            fn date(&self) -> std::time::SystemTime {
                std::time::SystemTime::UNIX_EPOCH
            }
        }
        let stamps = Stamps::new(Touch::new(|it: Use| it.now as u32), Arc::new(Coarse));
        stamps.publish(Slot::new(0), None);
        assert_eq!((stamps.get(Slot::new(0)), stamps.now()), (3, 3), "it never says too much");
    }

    #[test]
    fn a_thread_draws_the_same_in_every_run() {
        let drawn = || crate::sync::thread::spawn(|| [0; 9].map(|_| draw())).join();
        let (first, again) = (drawn().unwrap(), drawn().unwrap());
        assert_eq!(first, again);
        assert!((1..9).all(|at| !first[..at].contains(&first[at])), "{first:?}");
    }
}
