//! How often was a key asked for lately? A count-min sketch of 4-bit counters.
//!
//! **Problem.** A policy that admits by popularity must know how popular a key is that it does not hold, in a few bytes an entry,
//! and must forget what was popular long ago.
//!
//! **Idea.** Each key has four counters, found by its hash, and shares each of them with others. A use adds one to all four. No
//! counter is then below the key's own count, so the least of them is the best estimate: it is wrong only if all four are shared
//! with busier keys. Who is popular matters, not how very popular: four bits, stopping at 15, are enough. Now and then every
//! counter is halved, so that the past fades.
//!
//! ```text
//!   block = one cache line, chosen by the hash; four rows of 32 counters, one of each row chosen by the hash
//!
//!   row 0   [0 0 3 0 1 0 ...]     key "ada": 3
//!   row 1   [7 0 0 0 3 0 ...]                3      estimate: min(3, 3, 5, 3) = 3
//!   row 2   [0 5 0 0 0 0 ...]                5      shared with another key
//!   row 3   [0 0 0 3 0 1 ...]                3
//! ```
//!
//! All four counters of a key lie in one block, so a look-up is one miss of the processor's cache, not four. The price: keys are
//! spread less evenly over fewer, larger places.
//!
//! **Invariants**
//!
//! 1. An estimate is never below the uses added since the last two halvings began, or 15.
//! 2. While no halving is under way, at most 10 uses an entry have been added since half of that were left.
//!
//! | operation | cost |
//! |---|---|
//! | `estimate` | O(1): one cache line |
//! | `add` | O(1): one cache line, and 8 blocks of a halving that is under way |
//! | `resize` | O(entries), at the speed of a copy; nothing if the number of blocks stays, which is a power of two |
//! | memory | 3 to 6 bytes an entry that it is made for: 6 to 12 counters; a wide one, 8 to 16 bytes; allocated 64 KiB at a time, when first needed |
//!
//! **The constants.** *About eight counters an entry*: twice as many gain 0.2 points of hit ratio in the mean over the traces of DESIGN.md, half as many
//! cost 0.3. *Ten uses an
//! entry* to a halving is the paper's: long enough that a key used a few times as often as others stands out, and stale counts
//! are gone after four periods at most, since 15 is halved to 0 by then. *Eight blocks a call*: a halving is then over after
//! 1/128 use an entry, so the time in which some keys have been halved and others not is short; and 64 words are less than a
//! microsecond's work.
//!
//! **Sources.** Cormode, Muthukrishnan: *An improved data stream summary: the count-min sketch and its applications*, Journal of
//! Algorithms 55(1), 2005. The halving, and its use in a cache: Einziger, Friedman, Manes: *`TinyLFU`: A Highly Efficient Cache
//! Admission Policy*, ACM Transactions on Storage 13(4), 2017. The blocks: Putze, Sanders, Singler: *Cache-, hash- and
//! space-efficient Bloom filters*, 2007, as in Caffeine.

use crate::hash::mix;

/// Counters an entry, at least: as few as do little harm, and as many as others have in their measurements.
const LEAN: usize = 6;
const WIDE: usize = 16;
/// Counters of a block.
const COUNTERS: usize = 128;
/// Words of a block: 64 bytes.
const WORDS: usize = 8;
/// Uses added, an entry, until all counters are halved.
const PERIOD: u64 = 10;
/// Blocks that one call halves.
const SLICE: usize = 8;
/// Where a counter stops.
pub(crate) const MOST: u8 = 15;
/// All bits of a word but the top one of each counter.
const LOW_THREE: u64 = 0x7777_7777_7777_7777;
/// Blocks a chunk: 64 KiB, so that no call clears more.
const CHUNK: usize = 1024;

/// Estimates of how often keys were used, aged by halving.
pub(crate) struct Sketch {
    entries: usize,
    /// Counters an entry, at least.
    width: usize,
    /// The blocks, a chunk at a time. A chunk is empty until something is added to it.
    chunks: Vec<Box<[Block]>>,
    blocks: usize,
    /// Uses added since all counters were zero, halved whenever they are.
    added: u64,
    /// Blocks that a halving has still to do.
    left: usize,
}

impl Sketch {
    /// A sketch for so many entries, at least 1. Allocates nothing.
    pub(crate) fn new(entries: usize) -> Self {
        Self::of(entries, LEAN)
    }

    /// The same with 16 to 32 counters an entry: 8 to 16 bytes.
    pub(crate) fn wide(entries: usize) -> Self {
        Self::of(entries, WIDE)
    }

    fn of(entries: usize, width: usize) -> Self {
        let blocks = blocks(entries, width);
        Self { entries, width, chunks: Vec::new(), blocks, added: 0, left: 0 }
    }

    /// How many entries it is made for.
    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// Makes it one for so many entries. Keys keep their estimates, or, where two old blocks become one, about half of them.
    pub(crate) fn resize(&mut self, entries: usize) {
        let (new, old) = (blocks(entries, self.width), self.blocks);
        self.entries = entries;
        if new == old {
            return;
        }
        let mut fresh = Self::of(entries, self.width);
        // Both numbers are powers of two, and a block is chosen by a hash's low bits: the keys of each new block come from one
        // old block, or from several.
        for at in (0..new).filter(|_| !self.chunks.is_empty()) {
            let from = (at % old..old).step_by(new).filter_map(|from| self.block(from).copied());
            if let Some(block) = from.reduce(Block::merged) {
                *fresh.block_mut(at) = block;
            }
        }
        fresh.added = if new > old { self.added } else { self.added / 2 };
        *self = fresh;
    }

    /// Counts `uses` of a key.
    #[inline]
    pub(crate) fn add(&mut self, code: u32, uses: u8) {
        let bits = spread(code);
        let at = self.place(bits);
        self.added += u64::from(self.block_mut(at).add(bits, uses));
        if self.left > 0 || self.added >= self.entries as u64 * PERIOD {
            self.age();
        }
    }

    /// About how often a key was used lately, from 0 to [`MOST`].
    #[inline]
    pub(crate) fn estimate(&self, code: u32) -> u8 {
        let bits = spread(code);
        self.block(self.place(bits)).map_or(0, |block| block.least(bits))
    }

    /// Begins a halving if none is under way, and does a slice of it.
    #[inline(never)]
    fn age(&mut self) {
        if self.added >= self.entries as u64 * PERIOD {
            self.added /= 2;
            self.left = self.blocks;
        }
        let first = self.blocks - self.left;
        let slice = self.left.min(SLICE);
        for at in first..first + slice {
            let chunk = self.chunks.get_mut(at / CHUNK);
            if let Some(block) = chunk.and_then(|chunk| chunk.get_mut(at % CHUNK)) {
                *block = block.halved();
            }
        }
        self.left -= slice;
    }

    /// The block of a key.
    fn place(&self, bits: u64) -> usize {
        (bits >> 32) as usize & (self.blocks - 1)
    }

    /// None where nothing was added.
    fn block(&self, at: usize) -> Option<&Block> {
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    fn block_mut(&mut self, at: usize) -> &mut Block {
        if self.chunks.get(at / CHUNK).is_none_or(|chunk| chunk.is_empty()) {
            self.make(at / CHUNK);
        }
        &mut self.chunks[at / CHUNK][at % CHUNK]
    }

    #[cold]
    fn make(&mut self, chunk: usize) {
        self.chunks.resize_with(self.blocks.div_ceil(CHUNK), Box::default);
        self.chunks[chunk] = vec![Block([0; WORDS]); self.blocks.min(CHUNK)].into();
    }
}

/// A cache line of 128 counters: four rows of two words.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Block([u64; WORDS]);

impl Block {
    /// The counters that the lower half of a key's bits choose, one in each row: their words, and how far up in these they are.
    #[inline]
    fn counters(bits: u64) -> [(usize, u32); 4] {
        [0, 1, 2, 3].map(|row| {
            let choice = bits >> (8 * row);
            (2 * row + (choice & 1) as usize, (choice >> 1 & 15) as u32 * 4)
        })
    }

    /// The least of a key's counters.
    #[inline]
    fn least(&self, bits: u64) -> u8 {
        let count = |(word, shift): (usize, u32)| (self.0[word] >> shift) as u8 & MOST;
        Self::counters(bits).map(count).into_iter().fold(MOST, u8::min)
    }

    /// Raises a key's counters by `uses`, or to the most; the most that one of them was raised by.
    #[inline]
    fn add(&mut self, bits: u64, uses: u8) -> u8 {
        let mut most = 0;
        for (word, shift) in Self::counters(bits) {
            let word = &mut self.0[word];
            let count = (*word >> shift) as u8 & MOST;
            let more = uses.min(MOST - count);
            *word += u64::from(more) << shift;
            most = most.max(more);
        }
        most
    }

    /// Every counter, halved.
    fn halved(self) -> Self {
        Self(self.0.map(|word| word >> 1 & LOW_THREE))
    }

    /// One for the keys of two: half of each, so that no counter is full that was not.
    fn merged(self, other: Self) -> Self {
        let (mut sum, other) = (self.halved(), other.halved());
        sum.0.iter_mut().zip(other.0).for_each(|(word, other)| *word += other);
        sum
    }
}

/// The bits of a code that choose its block and its counters.
#[inline]
fn spread(code: u32) -> u64 {
    mix(mix(u64::from(code)) + 1)
}

/// A power of two: from `width` to twice as many counters an entry.
fn blocks(entries: usize, width: usize) -> usize {
    (entries.saturating_mul(width) / COUNTERS).next_power_of_two().min(1 << 31)
}

#[cfg(test)]
mod tests {
    use super::super::lockstep::{operations, random};
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_picture_above() {
        let mut sketch = Sketch::new(16);
        assert_eq!(sketch.estimate(1), 0);
        assert!(sketch.chunks.is_empty(), "nothing is allocated before the first use");
        sketch.add(1, 3);
        assert_eq!((sketch.estimate(1), sketch.added), (3, 3));
        let counters = Block::counters(spread(1));
        assert_eq!(counters.map(|(word, _)| word / 2), [0, 1, 2, 3], "one counter a row");
        // Another key that shares a counter or not: both are at least what they are.
        let (word, shift) = counters[2];
        sketch.block_mut(0).0[word] += 2 << shift;
        assert_eq!(sketch.estimate(1), 3, "the least of the four");
    }

    #[test]
    fn blocks_are_cache_lines_and_chunks_come_when_they_are_needed() {
        assert_eq!((size_of::<Block>(), align_of::<Block>()), (64, 64));
        for (entries, chunks, size) in [(1, 1, 1), (5_000, 1, 256), (100_000, 8, CHUNK)] {
            let mut sketch = Sketch::new(entries);
            sketch.add(1, 1);
            let made: Vec<_> = sketch.chunks.iter().map(|chunk| chunk.len()).collect();
            assert_eq!((made.len(), made.iter().sum()), (chunks, size), "{entries}");
        }
        let mut sketch = Sketch::new(100_000);
        (0..1_000).for_each(|code| sketch.add(code, 1));
        assert!(sketch.chunks.iter().all(|chunk| chunk.len() == CHUNK));
        assert!((0..1_000).all(|code| sketch.estimate(code) == 1));
    }

    /// Never too low, and rarely too high: the law of the count-min sketch, against exact counts.
    #[test]
    fn lockstep_with_exact_counts() {
        let mut random = random();
        let mut sketch = Sketch::new(1_000);
        let mut exact: HashMap<u32, u64> = HashMap::new();
        let mut halvings = 0;
        for now in 1..=operations().min(200_000) {
            // The least of three: some keys are far busier than others.
            let code = (0..3).map(|_| random(3_000) as u32).min().unwrap_or(0);
            let uses = random(4) as u8;
            let (was, left) = (sketch.added, sketch.left);
            sketch.add(code, uses);
            assert!(sketch.added <= was + u64::from(uses));
            let count = exact.entry(code).or_default();
            *count = (*count + u64::from(uses)).min(u64::from(MOST));
            if sketch.added < was {
                assert_eq!(left, 0, "a halving ends before the next begins");
                while sketch.left > 0 {
                    sketch.add(code, 0);
                }
                exact.values_mut().for_each(|count| *count /= 2);
                halvings += 1;
            }
            assert!(u64::from(sketch.estimate(code)) >= exact[&code], "operation {now}");
        }
        assert!(halvings > 1);
        let over = |(&code, &count): (&u32, &u64)| u64::from(sketch.estimate(code)) > count + 2;
        let wrong = exact.iter().filter(|&(code, count)| over((code, count))).count();
        assert!(wrong * 10 < exact.len(), "{wrong} of {} are too high by 3", exact.len());
    }

    #[test]
    fn a_counter_stops_at_its_most_and_what_is_full_ages_nobody() {
        let mut sketch = Sketch::new(16);
        (0..10).for_each(|_| sketch.add(5, 3));
        assert_eq!((sketch.estimate(5), sketch.added), (MOST, 15));
    }

    #[test]
    fn a_halving_takes_a_slice_a_call() {
        let mut sketch = Sketch::new(2_048);
        assert_eq!(sketch.blocks, 128);
        sketch.add(7, 8);
        sketch.added = sketch.entries as u64 * PERIOD - 1;
        let counters = |sketch: &Sketch| -> u32 {
            let nibbles = |word: u64| (0..16).map(move |i| (word >> (4 * i)) as u32 & 15);
            sketch.chunks.iter().flatten().flat_map(|block| block.0).flat_map(nibbles).sum()
        };
        assert_eq!(counters(&sketch), 32);
        sketch.add(7, 1);
        let calls = (0..100).take_while(|_| {
            let more = sketch.left > 0;
            if more {
                sketch.add(7, 0);
            }
            more
        });
        assert_eq!(calls.count(), 128 / SLICE - 1, "the first slice was that of the call itself");
        assert_eq!((counters(&sketch), sketch.estimate(7)), (16, 4));
        assert_eq!(sketch.added, sketch.entries as u64 * PERIOD / 2);
        (0..100).for_each(|_| sketch.add(7, 0));
        assert_eq!(sketch.estimate(7), 4, "and is over");
    }

    #[test]
    fn another_size_keeps_the_estimates() {
        let fill = || {
            let mut sketch = Sketch::new(1_600);
            (0..400).for_each(|code| sketch.add(code, 5));
            sketch
        };
        for size in [1_600, 1_601, 2_000, 3_200, 16_000] {
            let mut sketch = fill();
            sketch.resize(size);
            let counters = sketch.blocks * 128;
            assert!((size * 6 - 128..=size * 12).contains(&counters), "{counters} for {size}");
            let kept = (0..400).filter(|&code| sketch.estimate(code) >= 5).count();
            assert!(kept > 300, "{kept} of 400 at {size}");
            assert_eq!(sketch.added, fill().added);
        }
        let mut sketch = fill();
        sketch.resize(800);
        let kept = (0..400).filter(|&code| sketch.estimate(code) >= 2).count();
        assert!(kept > 300, "{kept} of 400");
        assert_eq!(sketch.added, fill().added / 2);
        let mut empty = Sketch::new(16);
        empty.resize(0);
        empty.resize(1 << 20);
        assert!(empty.chunks.is_empty());
        assert_eq!(empty.estimate(3), 0);
    }

    #[test]
    fn a_wide_one_is_wrong_less_often() {
        let wrong = |mut sketch: Sketch| {
            (0..1_600).for_each(|code| sketch.add(code, 1));
            (0..1_600).filter(|&code| sketch.estimate(code) > 1).count()
        };
        let (lean, wide) = (wrong(Sketch::new(1_600)), wrong(Sketch::wide(1_600)));
        assert!(wide * 2 < lean && wide > 0, "{wide} and {lean} of 1,600");
    }

    #[test]
    fn neighbouring_codes_do_not_meet() {
        let mut sketch = Sketch::new(1_600);
        (0..800).for_each(|code| sketch.add(code << 16, 1));
        let wrong = (0..800).filter(|code| sketch.estimate(code << 16) > 1).count();
        assert!(wrong < 80, "{wrong} of 800");
    }
}
