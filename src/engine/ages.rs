//! How old each entry of a segment is, and what becomes of it after its deadline.
//!
//! **Problem.** A value that is about to grow stale should be loaded anew by one of its readers, and one alone; a value that is stale may
//! still be served for a while. Readers decide both at every hit, without a lock.
//!
//! ```text
//!   reader ──► next: not before this time     one word; who changes it from what was seen to NEVER refreshes the entry
//!                 ▲
//!   a refresh that failed: now + throttle     a refresh that succeeded: a new value in another slot, with words of its own
//! ```
//!
//! A segment has ages only if its cache is told of freshness: others pay nothing.
//!
//! **Invariants**
//!
//! 1. A slot that is in the index has words, made when its entry was published.
//! 2. `next` is changed by those alone who hold the entry's slot by a pin, or the lock: never for an entry that comes later.
//!
//! | operation | cost |
//! |---|---|
//! | `publish`, `get`, `claim`, `postpone` | O(1) |
//! | `is_quiet`, all that most hits ask | two loads |
//! | memory | 40 bytes a slot |

use crate::engine::deadlines::Deadline;
use crate::engine::slab::Slot;
use crate::engine::slab::chunks::Chunks;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::time::NEVER;

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;
/// What a word of milliseconds holds at most: some 49 days.
const MOST: u64 = u32::MAX as u64 * MILLI;

/// What is decided of a value when it is written, beside its deadline. Times are nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Terms {
    /// How long its load took; 0 if it was put. Kept in microseconds.
    pub(crate) cost: u64,
    /// The part of its time to live after which a reader refreshes it, of 2^32; [`u32::MAX`] for never.
    pub(crate) ahead: u32,
    /// How long before its end it may be refreshed by chance, at most. Not kept.
    pub(crate) reach: u64,
    /// How long after its deadline it is served while it is loaded anew. Kept in milliseconds, as the next; 49 days and more
    /// are for ever, since the entry leaves in time.
    pub(crate) revalidate: u64,
    /// How long after its deadline it is served if loading it anew fails.
    pub(crate) grace: u64,
}

impl Terms {
    /// Before when no read need ask whether a value is to be refreshed that is written at `born` with this deadline: it is refreshed
    /// at a part of its time, or by chance near its end, and not at all before that. Reads that move the deadline, and writes, may bring its
    /// end forward: of these it is not known.
    pub(crate) fn quiet_until(&self, born: u64, deadline: Deadline) -> u64 {
        if deadline.idle != NEVER || deadline.hard == NEVER {
            return 0;
        }
        let life = deadline.hard.saturating_sub(born);
        #[expect(clippy::cast_possible_truncation, reason = "a part of `life`")]
        let ahead = ((u128::from(life) * u128::from(self.ahead)) >> 32) as u64;
        // The paper's draws reach no further than 37 times beta and the cost.
        born + ahead.min(life.saturating_sub(self.reach))
    }

    /// Of what is never refreshed, nor served stale.
    pub(crate) const NONE: Self =
        Self { cost: 0, ahead: u32::MAX, reach: 0, revalidate: 0, grace: 0 };
}

/// What is known of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Age {
    /// When it was published.
    pub(crate) born: u64,
    /// It is not refreshed before this; [`NEVER`] while that is under way.
    pub(crate) next: u64,
    pub(crate) terms: Terms,
}

struct Words {
    born: AtomicU64,
    /// Before this its terms do not ask for a refresh.
    quiet: AtomicU64,
    next: AtomicU64,
    cost: AtomicU32,
    ahead: AtomicU32,
    revalidate: AtomicU32,
    grace: AtomicU32,
}

impl Words {
    const fn new() -> Self {
        Self {
            born: AtomicU64::new(0),
            quiet: AtomicU64::new(0),
            next: AtomicU64::new(0),
            cost: AtomicU32::new(0),
            ahead: AtomicU32::new(0),
            revalidate: AtomicU32::new(0),
            grace: AtomicU32::new(0),
        }
    }
}

/// The ages of a segment's slots.
pub(crate) struct Ages {
    words: Chunks<Words>,
}

impl Ages {
    pub(crate) fn new() -> Self {
        Self { words: Chunks::new(10) }
    }

    /// For a writer: an entry with this deadline is about to be seen in `slot`.
    pub(crate) fn publish(&self, slot: Slot, born: u64, deadline: Deadline, terms: Terms) {
        let words = self.words.reach(slot.index(), Words::new);
        // Readers come here by the index, where the slot is published after this.
        words.born.store(born, Ordering::Relaxed);
        words.quiet.store(terms.quiet_until(born, deadline), Ordering::Relaxed);
        words.next.store(0, Ordering::Relaxed);
        words.cost.store(in_units(terms.cost, MICRO), Ordering::Relaxed);
        words.ahead.store(terms.ahead, Ordering::Relaxed);
        words.revalidate.store(in_units(terms.revalidate, MILLI), Ordering::Relaxed);
        words.grace.store(in_units(terms.grace, MILLI), Ordering::Relaxed);
    }

    /// True if a reader who holds the slot need not look closer: it is not to be refreshed now.
    #[inline]
    pub(crate) fn is_quiet(&self, slot: Slot, now: u64) -> bool {
        let before = |word: &AtomicU64| now < word.load(Ordering::Relaxed);
        self.words
            .get(slot.index())
            .is_some_and(|words| before(&words.quiet) || before(&words.next))
    }

    /// For who holds the slot by a pin, or the lock.
    pub(crate) fn get(&self, slot: Slot) -> Age {
        let Some(words) = self.words.get(slot.index()) else {
            return Age { born: 0, next: 0, terms: Terms::NONE };
        };
        let nanos = |word: &AtomicU32, unit| u64::from(word.load(Ordering::Relaxed)) * unit;
        // What did not fit is as long as the entry stays.
        let stale = |word| Some(nanos(word, MILLI)).filter(|&time| time != MOST).unwrap_or(NEVER);
        let terms = Terms {
            cost: nanos(&words.cost, MICRO),
            ahead: words.ahead.load(Ordering::Relaxed),
            reach: 0,
            revalidate: stale(&words.revalidate),
            grace: stale(&words.grace),
        };
        let [born, next] = [&words.born, &words.next].map(|word| word.load(Ordering::Relaxed));
        Age { born, next, terms }
    }

    /// For a reader who has seen this `next`: true if it is this one that refreshes the entry.
    pub(crate) fn claim(&self, slot: Slot, seen: u64) -> bool {
        let claimed = |words: &Words| {
            words.next.compare_exchange(seen, NEVER, Ordering::Relaxed, Ordering::Relaxed)
        };
        seen != NEVER && self.words.get(slot.index()).is_some_and(|words| claimed(words).is_ok())
    }

    /// The entry's deadline was moved: readers must look closer.
    pub(crate) fn look_closer(&self, slot: Slot) {
        if let Some(words) = self.words.get(slot.index()) {
            words.quiet.store(0, Ordering::Relaxed);
        }
    }

    /// Nobody refreshes the entry before this; then anybody may.
    pub(crate) fn postpone(&self, slot: Slot, until: u64) {
        if let Some(words) = self.words.get(slot.index()) {
            words.next.store(until.min(NEVER - 1), Ordering::Relaxed);
        }
    }
}

/// Rounded to the nearest, and as much as fits.
fn in_units(nanos: u64, unit: u64) -> u32 {
    let units = nanos / unit + u64::from(nanos % unit >= unit / 2);
    u32::try_from(units).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        cost: 2 * MICRO,
        ahead: 3 << 30,
        reach: 0,
        revalidate: 3 * MILLI,
        grace: 4 * MILLI,
    };

    #[test]
    fn what_is_published_is_read() {
        let ages = Ages::new();
        let [a, b] = [0, 5_000].map(Slot::new);
        assert_eq!(ages.get(b), Age { born: 0, next: 0, terms: Terms::NONE }, "none was there");
        ages.publish(b, 7, Deadline::NEVER, TERMS);
        assert_eq!(ages.get(b), Age { born: 7, next: 0, terms: TERMS });
        ages.publish(a, 8, Deadline::NEVER, Terms::NONE);
        assert_eq!(ages.get(a), Age { born: 8, next: 0, terms: Terms::NONE });
        assert_eq!(ages.get(b).born, 7);
        let long = Terms { revalidate: MOST - MILLI, grace: MOST, ..TERMS };
        ages.publish(a, 9, Deadline::NEVER, long);
        assert_eq!(ages.get(a).terms, Terms { grace: NEVER, ..long }, "what did not fit");
    }

    #[test]
    fn one_reader_has_it() {
        let ages = Ages::new();
        let slot = Slot::new(3);
        assert!(!ages.claim(slot, 0), "nothing is there");
        ages.publish(slot, 7, Deadline::NEVER, TERMS);
        assert!(!ages.claim(slot, 1), "not what was seen");
        assert!(ages.claim(slot, 0));
        assert_eq!(ages.get(slot).next, NEVER);
        assert!(!ages.claim(slot, 0) && !ages.claim(slot, NEVER), "it is under way");
        ages.postpone(slot, 9);
        assert_eq!(ages.get(slot), Age { born: 7, next: 9, terms: TERMS });
        assert!(ages.claim(slot, 9));
        ages.postpone(slot, NEVER);
        assert!(ages.claim(slot, NEVER - 1), "the end of time is not a claim");
        ages.publish(slot, 8, Deadline::NEVER, TERMS);
        assert_eq!(ages.get(slot).next, 0);
    }

    #[test]
    fn until_its_terms_may_ask_for_a_refresh_a_value_is_quiet() {
        let ages = Ages::new();
        let slot = Slot::new(3);
        let at = |hard, idle| Deadline { hard, idle };
        let quiet_until = |deadline, terms| {
            ages.publish(slot, 1_000, deadline, terms);
            let until = (0..10_000).find(|&now| !ages.is_quiet(slot, now)).unwrap();
            assert!((until..10_000).all(|now| !ages.is_quiet(slot, now)));
            until
        };
        assert_eq!(quiet_until(at(2_000, NEVER), TERMS), 1_750);
        assert_eq!(quiet_until(at(2_000, NEVER), Terms { reach: 300, ..TERMS }), 1_700);
        assert_eq!(quiet_until(at(2_000, NEVER), Terms { reach: 3_000, ..TERMS }), 1_000);
        assert_eq!(quiet_until(at(2_000, 1_500), TERMS), 0, "reads move the idle deadline");
        assert_eq!(quiet_until(Deadline::NEVER, TERMS), 0);
        // By hand.
        ages.publish(slot, 1_000, at(2_000, NEVER), TERMS);
        ages.look_closer(slot);
        assert!(!ages.is_quiet(slot, 0));
        ages.postpone(slot, 1_900);
        assert!(ages.is_quiet(slot, 1_899) && !ages.is_quiet(slot, 1_900), "it has failed");
        assert!(ages.claim(slot, 1_900) && ages.is_quiet(slot, NEVER - 1), "it is under way");
    }

    #[test]
    fn units_are_rounded_and_bounded() {
        assert_eq!(
            [0, 499, 500, 1_499, 1_500, u64::MAX].map(|nanos| in_units(nanos, MICRO)),
            [0, 0, 1, 1, 2, u32::MAX]
        );
    }
}
