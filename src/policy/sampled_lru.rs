//! Least recently used, by sampling, as Redis does it.
//!
//! **Problem.** Exact LRU tells the policy of every hit, in order: that takes a lock, sooner or later. If a hit only noted the time
//! beside the entry, nobody need be told.
//!
//! **Idea.** The note is the second of the last use, in 24 bits. When somebody must leave, look at the notes of a few, and give
//! up the one unused for the longest time: the [pool](super::sampled) does the rest.
//!
//! ```text
//!    hit      entry's word := seconds & 0xff_ffff            a store, once a second and entry
//!
//!    idle     clock 1000:   word 940 ─► 60 s     word 998 ─► 2 s     victim: the most idle of the pool
//! ```
//!
//! **Good at** costing a hit little: no lock, no queue, no links. **Bad at** telling uses within one second apart: in a cache
//! that turns over faster than that it draws at random. Bad, as LRU, at scans; on loops its mistakes make it better than LRU.
//!
//! **Invariants**
//!
//! 1. An entry's word is the second of its last use, or of a later one. (Then the clock has gone round: it does so in 194 days.)
//! 2. Those of [the pool](super::sampled).
//!
//! | operation | cost |
//! |---|---|
//! | `insert`, `remove`, `relocate`, `victim` | O(1): see [the pool](super::sampled) |
//! | a hit, an update | a cheap reading of the clock, and a store if the second is another |
//! | memory | 12 bytes an entry: two places and the word |
//!
//! **Source.** Redis, `src/evict.c`: `LRU_BITS` 24, `LRU_CLOCK_RESOLUTION` 1000 ms, `estimateObjectIdleTime`.
//!
//! **Measured.** Hit ratios in percent, read-through, at 1,000 requests a second (`cargo run --release --example replay -- TRACE
//! --policies lru,sampled-lru`). In 13 cells of 2,500 entries or more it is within a point of LRU, in 8 within a fifth of one.
//! In small caches a whole round of the entries fits into few seconds, and the draws matter more, for better and worse. OLTP @ 1869
//! has 41.4 at 10 requests a second and 36.3 at 100,000, when the entries turn over within one.
//!
//! | trace @ entries | LRU | sampled | | trace @ entries | LRU | sampled |
//! |---|---|---|---|---|---|---|
//! | OLTP @ 1869 | 41.6 | 41.2 | | P6 @ 154754 | 82.4 | 81.8 |
//! | OLTP @ 9344 | 60.1 | 60.0 | | multi2 @ 284 | 26.9 | 23.2 |
//! | scarab-recs @ 12918 | 51.7 | 51.5 | | sprite @ 354 | 65.7 | 63.2 |
//! | orm-busy @ 3817 | 84.1 | 84.2 | | cpp @ 61 | 19.4 | 33.0 |
//!
//! **Trace.** Worked by hand; the test replays it from this very text. It shows each entry with its word. Five draws from so few
//! find everybody.
//!
//! ```text
//!    call        entries, with the second of their last use
//!    insert A  │ A:0
//!    wait 10   │ A:0
//!    insert B  │ A:0 B:10
//!    victim A  │ A:0 B:10      ◄ idle for 10 s, B for none
//!    wait 5    │ A:0 B:10
//!    hit A     │ A:15 B:10
//!    hit A     │ A:15 B:10     ◄ within a second: nothing is written
//!    insert C  │ A:15 B:10 C:15
//!    wait 1    │ A:15 B:10 C:15
//!    update C  │ A:15 B:10 C:16
//!    remove B  │ A:15 C:16     ◄ the last takes its place, as it happens here
//!    victim A  │ A:15 C:16
//! ```

use super::Use;
use super::sampled::{Rank, Sampled};

/// The clock's resolution: a second.
const TICK: u64 = 1_000_000_000;
/// The clock's last value.
const LAST: u32 = (1 << 24) - 1;

/// Gives up an entry that has gone unused for long, by Redis's sampling.
///
/// The most idle of five residents drawn at random and of the sixteen most idle that were drawn before. A hit notes the second
/// beside the entry, without a lock, and writes nothing if that is noted already: choose it where many threads read, and
/// the order of uses within a second does not matter. Every call costs O(1), an entry 12 bytes. The draws are those of a seeded
/// generator.
///
/// ```
/// use cachette::{Cache, ManualClock, policy::SampledLru};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let cache = Cache::<u32, u32>::builder().capacity(2).clock(clock.clone()).policy(SampledLru::new).build()?;
/// cache.put(1, 10);
/// cache.put(2, 20);
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(cache.get(&1), Some(10)); // a second later than 2 was used
/// cache.put(3, 30);
/// assert!(cache.contains_key(&1) && !cache.contains_key(&2));
/// # Ok::<(), cachette::BuildError>(())
/// ```
#[doc(alias = "allkeys-lru")]
pub type SampledLru = Sampled<Recency>;

/// The note of a use, and how it is read.
pub enum Recency {}

/// The second, as far as 24 bits tell.
const fn clock(now: u64) -> u32 {
    (now / TICK) as u32 & LAST
}

impl Rank for Recency {
    const NAME: &'static str = "SampledLru";

    fn touch(it: Use) -> u32 {
        clock(it.now)
    }

    /// The seconds since the last use; the clock may have gone round once.
    fn idle(word: u32, now: u64) -> u64 {
        let clock = clock(now);
        u64::from(if clock >= word { clock - word } else { clock + (LAST - word) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::{CALM, Segment};
    use super::super::lockstep::replay_marked;
    use super::super::{EvictionPolicy, Slot, Victim};
    use super::*;
    use crate::observe::Cause;
    use std::time::Duration;

    #[test]
    fn the_trace_above() {
        replay_marked(include_str!("sampled_lru.rs"), SampledLru::new(), |lru, hits| {
            let mut slots: Vec<_> = lru.coldest().collect();
            slots.sort_unstable();
            let one = |slot: &Slot| {
                format!("{}:{}", char::from(b'A' + slot.index() as u8), hits.stamp(*slot))
            };
            slots.iter().map(one).collect::<Vec<_>>().join(" ")
        });
    }

    #[test]
    fn seconds_are_counted_and_the_clock_goes_round() {
        assert_eq!((clock(999_999_999), clock(1_000_000_000)), (0, 1));
        assert_eq!(clock((1 << 24) * TICK + 5 * TICK), 5);
        let at = |second: u64| second * TICK + 7;
        assert_eq!((Recency::idle(5, at(5)), Recency::idle(5, at(9))), (0, 4));
        // As Redis counts: the step past the last second is none.
        assert_eq!(Recency::idle(LAST - 2, at((1 << 24) + 3)), 5);
    }

    #[test]
    fn the_idle_leave_before_the_busy() {
        let mut segment = Segment::new(SampledLru::new());
        let slots: Vec<_> = (0..200).map(|_| segment.insert(&CALM)).collect();
        segment.hits.advance(Duration::from_secs(5));
        // Every other is used again.
        slots.iter().step_by(2).for_each(|&slot| segment.hit(slot));
        let mut busy = 0;
        for _ in 0..80 {
            let Victim::Entry(slot) = segment.victim(None) else { panic!("none") };
            busy += usize::from(slot.index() % 2 == 0);
            segment.remove(slot, Cause::Evicted);
            segment.check(|_| true);
        }
        assert_eq!(busy, 0, "with the pool, five draws find an idle one as long as one in six is");
    }

    #[test]
    fn debug_is_short() {
        assert_eq!(format!("{:?}", SampledLru::default()), "SampledLru { len: 0 }");
    }
}
