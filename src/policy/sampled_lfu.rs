//! Least frequently used, by sampling, as Redis does it.
//!
//! **Problem.** Exact LFU tells the policy of every hit, never forgets, and needs room for large counts. Eight bits beside the
//! entry, written ever more rarely, are enough to tell the popular from the others.
//!
//! **Idea.** Count logarithmically (Morris): the higher the count, the less likely a use raises it. And let it fall by one for
//! each minute without a use, so that what was popular once does not stay. The word holds the count and the minute; when
//! somebody must leave, look at the words of a few: the [pool](super::sampled) does the rest.
//!
//! ```text
//!    word      ┌─ minute, 16 bits ─┬─ count, 8 bits ─┐      a new entry: count 5
//!    use       count -= minutes since, not below 0
//!              count += 1, with a chance of 1 / (10 (count - 5) + 1): always up to 5, 1 in 11 at 6, 1 in 51 at 10
//! ```
//!
//! **Good at** scans, and at costing a hit little: a popular entry is hardly ever written to. **Bad at** new favourites: it
//! takes a hundred uses to rise from 5 to 10, and minutes to fall. Uses of less than a minute ago are told apart by chance.
//!
//! **Invariants**
//!
//! 1. An entry's word holds the minute of its last use, and the count after it.
//! 2. Those of [the pool](super::sampled).
//!
//! | operation | cost |
//! |---|---|
//! | `insert`, `remove`, `relocate`, `victim` | O(1): see [the pool](super::sampled) |
//! | a hit, an update | a cheap reading of the clock, a draw, and a store if count or minute changes |
//! | memory | 12 bytes an entry: two places and the word |
//!
//! **Sources.** Redis, `src/evict.c`: `LFU_INIT_VAL` 5, `lfu-log-factor` 10, `lfu-decay-time` 1, `LFULogIncr`,
//! `LFUDecrAndReturn`. The counter: Morris, *Counting large numbers of events in small registers*, Communications of the ACM
//! 21(10), 1978.
//!
//! **Measured.** Hit ratios in percent, read-through, at 1,000 requests a second (`cargo run --release --example replay -- TRACE
//! --policies lru,lfu,sampled-lfu`). Because it forgets it is far above exact LFU where fashions change, and below it where they
//! do not: between LFU and LRU, and often above both.
//!
//! | trace @ entries | LRU | LFU | sampled | | trace @ entries | LRU | LFU | sampled |
//! |---|---|---|---|---|---|---|---|---|
//! | OLTP @ 9344 | 60.1 | 33.6 | 59.5 | | P3 @ 38127 | 4.3 | 12.0 | 6.4 |
//! | scarab-recs @ 12918 | 51.7 | 43.4 | 52.8 | | P6 @ 38689 | 5.5 | 15.0 | 9.5 |
//! | orm-busy @ 3817 | 84.1 | 47.8 | 84.0 | | P6 @ 154754 | 82.4 | 37.2 | 76.8 |
//! | web07 @ 1024 | 50.6 | 45.2 | 52.1 | | sprite @ 354 | 65.7 | 23.3 | 56.0 |
//!
//! **Trace.** Worked by hand; the test replays it from this very text. It shows each entry with its minute and count. Up to a count
//! of 5 a use always counts; five draws from so few find everybody.
//!
//! ```text
//!    call          entries, with minute and count
//!    insert A    │ A:0/5
//!    insert B    │ A:0/5 B:0/5
//!    hit A       │ A:0/6 B:0/5
//!    victim B    │ A:0/6 B:0/5
//!    wait 59     │ A:0/6 B:0/5
//!    wait 121    │ A:0/6 B:0/5    ◄ three minutes: who looks counts them off, and does not write that down
//!    hit B       │ A:0/6 B:3/3    ◄ 5 - 3, and one for the use
//!    insert C    │ A:0/6 B:3/3 C:3/5
//!    victim A    │ A:0/6 B:3/3 C:3/5  ◄ A and B count 3, C 5; of equals the draws decide
//!    wait 600    │ A:0/6 B:3/3 C:3/5
//!    update A    │ A:13/1 B:3/3 C:3/5 ◄ not below 0
//! ```

use super::sampled::{Rank, Sampled};
use super::{Heat, Use};

/// The clock's resolution: a minute. A count falls by one in each.
const TICK: u64 = 60_000_000_000;
/// The clock's last value.
const LAST: u32 = (1 << 16) - 1;
/// The count of a new entry.
const INITIAL: u32 = 5;
/// How much harder each step up is than the one before.
const FACTOR: u64 = 10;
/// The highest count.
const MAX: u32 = 255;

/// Gives up an entry that is used seldom, by Redis's sampling.
///
/// The least used of five residents drawn at random and of the sixteen least used that were drawn before. A hit counts in eight
/// bits beside the entry, without a lock, the less likely the higher the count; a count falls by one a minute without a use. Choose
/// it where many threads read, and some keys stay popular for minutes and hours. Every call costs O(1), an entry 12 bytes. The
/// draws of victims are those of a seeded generator; whether a hit counts is drawn by each thread, the same in every run.
///
/// ```
/// use cachette::{Cache, policy::SampledLfu};
///
/// let cache = Cache::<u32, u32>::builder().capacity(2).policy(SampledLfu::new).build()?;
/// cache.put(1, 10);
/// cache.put(2, 20);
/// assert_eq!(cache.get(&1), Some(10)); // the first use always counts
/// cache.put(3, 30);
/// assert!(cache.contains_key(&1) && !cache.contains_key(&2));
/// # Ok::<(), cachette::BuildError>(())
/// ```
#[doc(alias = "allkeys-lfu")]
pub type SampledLfu = Sampled<Frequency>;

/// The note of a use, and how it is read.
pub enum Frequency {}

/// The minute, as far as 16 bits tell.
const fn minute(now: u64) -> u32 {
    (now / TICK) as u32 & LAST
}

/// The count of a word as it is by now: less one for each minute since; the clock may have gone round once.
const fn decayed(word: u32, now: u64) -> u32 {
    let (was, count, minute) = (word >> 8, word & MAX, minute(now));
    let passed = if minute >= was { minute - was } else { LAST - was + minute };
    count.saturating_sub(passed)
}

/// The count after a use.
const fn counted(count: u32, random: u32) -> u32 {
    let base = count.saturating_sub(INITIAL) as u64;
    // The chance is 1 in 10 base + 1, and `random` a fraction of 2^32.
    let counts = random as u64 * (base * FACTOR + 1) < 1 << 32;
    if counts && count < MAX { count + 1 } else { count }
}

impl Rank for Frequency {
    const NAME: &'static str = "SampledLfu";

    fn touch(it: Use) -> u32 {
        let count = it.word.map_or(INITIAL, |word| counted(decayed(word, it.now), it.random));
        minute(it.now) << 8 | count
    }

    /// How far the count has fallen, or is from the highest.
    fn idle(word: u32, now: u64) -> u64 {
        u64::from(MAX - decayed(word, now))
    }

    fn heat(word: u32, now: u64) -> Heat {
        Heat::new(decayed(word, now), false)
    }

    fn warmed(heat: Heat, now: u64) -> Option<u32> {
        Some(minute(now) << 8 | heat.uses.min(MAX))
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
        replay_marked(include_str!("sampled_lfu.rs"), SampledLfu::new(), |lfu, hits| {
            let mut slots: Vec<_> = lfu.coldest().collect();
            slots.sort_unstable();
            let one = |slot: &Slot| {
                let word = hits.stamp(*slot);
                format!("{}:{}/{}", char::from(b'A' + slot.index() as u8), word >> 8, word & 255)
            };
            slots.iter().map(one).collect::<Vec<_>>().join(" ")
        });
    }

    /// `LFULogIncr` and `LFUDecrAndReturn`, with real numbers.
    #[test]
    fn counts_rise_and_fall_as_in_redis() {
        assert_eq!((counted(255, 0), counted(254, 0)), (255, 255));
        let mut random = 1;
        for _ in 0..100_000 {
            random = crate::hash::after(random);
            let (count, r) = ((random & 255) as u32, (random >> 32) as u32);
            let base = (f64::from(count) - 5.0).max(0.0);
            let rises = count < 255 && f64::from(r) / 4_294_967_296.0 < 1.0 / (base * 10.0 + 1.0);
            assert_eq!(counted(count, r), count + u32::from(rises), "{count} {r}");

            let (was, is) = ((random >> 8) as u16, (random >> 24) as u16);
            let passed = if is >= was { is - was } else { 65_535 - was + is };
            let falls_to = if u32::from(passed) > count { 0 } else { count - u32::from(passed) };
            let now = (u64::from(is) + 65_536) * 60_000_000_000 + 1;
            assert_eq!(decayed(u32::from(was) << 8 | count, now), falls_to);
        }
    }

    /// The table of Redis's `redis.conf` for a factor of 10: 100 hits count about 10, a thousand 18, and so on.
    #[test]
    fn so_many_hits_count_so_much() {
        for (hits, expected) in [(100, 8..13), (1_000, 15..22), (100_000, 125..160)] {
            let mut random = 1;
            let mut count = INITIAL;
            for _ in 0..hits {
                random = crate::hash::after(random);
                count = counted(count, (random >> 32) as u32);
            }
            assert!(expected.contains(&count), "{hits} hits count {count}");
        }
    }

    #[test]
    fn the_rare_leave_before_the_popular_until_they_are_forgotten() {
        let mut segment = Segment::new(SampledLfu::new());
        let slots: Vec<_> = (0..100).map(|_| segment.insert(&CALM)).collect();
        for &slot in slots.iter().step_by(2) {
            (0..20).for_each(|_| segment.hit(slot));
        }
        let evict = |segment: &mut Segment<SampledLfu>| {
            let Victim::Entry(slot) = segment.victim(None) else { panic!("none") };
            segment.remove(slot, Cause::Evicted);
            segment.check(|_| true);
            slot.index()
        };
        assert!((0..30).all(|_| evict(&mut segment) % 2 == 1));
        // All are forgotten, but those that are used now.
        segment.hits.advance(Duration::from_secs(3_600));
        slots.iter().skip(1).step_by(2).for_each(|&slot| segment.hit(slot));
        assert!((0..15).all(|_| evict(&mut segment) % 2 == 0));
    }

    #[test]
    fn debug_is_short() {
        assert_eq!(format!("{:?}", SampledLfu::default()), "SampledLfu { len: 0 }");
    }
}
