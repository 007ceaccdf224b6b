//! W-TinyLFU: a window for newcomers, and admission by popularity.
//!
//! **Problem.** LRU keeps what was asked for once; LFU keeps what nobody asks for any more, and counts only what it holds.
//!
//! **Idea.** A newcomer has to be *more popular* than what it would push out. How popular a key is, held or not, a small
//! [sketch](super::sketch) tells, which forgets. But a newcomer has had no time to become popular: so each first spends some
//! time in a *window*, a small LRU cache of its own. What falls out of the window is a *candidate* for the main part, a
//! segmented LRU: entries on probation, of which the least recently used is the *victim*, and protected ones, which were used again.
//!
//! ```text
//!    insert ─► [ window 1 %, LRU ] ─► candidate ─┐
//!                                                ├─ the one used more often, by the sketch, stays
//!                       ┌─────────── victim ◄────┘
//!    [ probation, LRU   ]  ── hit ──►  [ protected, LRU: at most 80 % of main ]
//!            ▲                                 │
//!            └────── the least recent, if they are too many
//! ```
//!
//! **Good at** keeping what is popular, through scans and loops of any length. **Bad at** recency: with a window of 1 % a
//! newcomer is seldom given time. [`Adaptive`](super::Adaptive) finds the window that is right.
//!
//! **Invariants**
//!
//! 1. Every entry is in one of the three regions.
//! 2. Within a region, entries stand in the order of their last use, or of their coming there.
//! 3. What was decided about a candidate and a victim stands until something changes.
//!
//! | operation | cost |
//! |---|---|
//! | `insert`, `remove`, `relocate`, `victim` | O(1) |
//! | `hit`, `update` | O(1): one or two list moves and four counters, in one cache line |
//! | memory | 13 bytes an entry for links, mark and hash, and 8 to 16 for the sketch |
//!
//! The sketch is made for as many entries as the first one's weight lets expect, and grows by doubling if that was too few: then one
//! call copies 8 bytes an entry.
//!
//! **Source.** Einziger, Friedman, Manes: *`TinyLFU`: A Highly Efficient Cache Admission Policy*, ACM Transactions on Storage
//! 13(4), 2017. What the paper says in entries, this says in weight.
//!
//! **Trace.** Worked by hand; the test replays it from this very text. For a share of 100 and a window of 2 %: `window` ¦
//! `probation` ¦ `protected`, each from its front.
//!
//! ```text
//!    call        window ¦ probation ¦ protected
//!    insert A  │ A ¦ ¦
//!    insert B  │ B A ¦ ¦
//!    insert C  │ C B ¦ A ¦          ◄ main has room: no duel
//!    hit B     │ B C ¦ A ¦
//!    insert D  │ D B ¦ C A ¦
//!    hit A     │ D B ¦ C ¦ A        ◄ used again: protected
//!    insert E  │ E D ¦ B C ¦ A
//!    victim E  │ E ¦ D B C ¦ A      ◄ of 5 in all, one is window: D had room in main, E has not, and is no more popular than C
//!    victim E  │ E ¦ D B C ¦ A      ◄ asked again, the same answer
//!    remove E  │ ¦ D B C ¦ A
//!    hit C     │ ¦ D B ¦ C A        ◄ the victim of a moment ago is safe
//!    update A  │ ¦ D B ¦ A C        ◄ a write is a use
//! ```

use super::lazy::{Lazy, Manner, Popularity};
use super::regions::code_of;
use super::sketch::Sketch;
use super::{EvictionPolicy, Hears, Heat, HitCounters, Meta, Slot, Victim, Walk};
use crate::engine::column::Column;
use crate::observe::Cause;
use std::fmt;

/// The window's part of the weight, in percent: the paper's.
const WINDOW: u8 = 1;

/// The most entries that a sketch is made for at first. More than these it grows to.
const AT_FIRST: u64 = 1 << 20;

/// Admits a newcomer if it was asked for more often than what it would push out, after a time in a small window (Einziger,
/// Friedman, Manes 2017).
///
/// Reading an entry, writing it and inserting it are uses. Every call costs O(1), and an entry 21 to 29 bytes. Choose it where a stable
/// set of keys is popular, or where scans and loops longer than the cache are to do no harm.
///
/// Exact while one thread at a time uses the cache, as [`Lru`](super::Lru) is, and in one segment.
///
/// ```
/// use cachette::{Cache, policy::WTinyLfu};
///
/// let cache = Cache::<u32, u32>::builder().capacity(100).policy(WTinyLfu::new).build()?;
/// for key in (0..50).chain(100..110).chain(0..50) {
///     cache.get_with(&key, |_| ()).unwrap_or_else(|| cache.put(key, key));
/// }
/// for once in 1_000..2_000 {
///     cache.put(once, once); // a scan
/// }
/// assert!((0..50).all(|key| cache.contains_key(&key)));
/// # Ok::<(), cachette::BuildError>(())
/// ```
pub struct WTinyLfu {
    rules: Lazy,
    sketch: Sketch,
    /// Of the entries' hashes: who tells of a hit does not tell of these.
    codes: Column<u32>,
}

impl WTinyLfu {
    /// A W-TinyLFU policy with no entries and a window of 1 %. Allocates nothing. O(1).
    #[must_use]
    pub fn new() -> Self {
        Self::with_window(WINDOW)
    }

    /// The same with a window of `percent` of the weight; at 100 or more it is LRU. O(1).
    ///
    /// ```
    /// use cachette::{Cache, policy::WTinyLfu};
    ///
    /// let cache = Cache::<u32, u32>::builder().capacity(1_000).policy(|| WTinyLfu::with_window(20)).build()?;
    /// cache.put(1, 1);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    #[must_use]
    pub fn with_window(percent: u8) -> Self {
        let manner = Manner { window: u64::from(percent.min(100)), yields: false };
        Self { rules: Lazy::new(manner, Some(0)), sketch: Sketch::wide(0), codes: Column::new() }
    }

    fn know(&mut self, slot: Slot, meta: &Meta) {
        self.codes.reach(slot.index(), 0);
        self.codes[slot] = code_of(meta.hash);
    }

    /// Makes the sketch, or a larger one.
    fn fit(&mut self, weight: u64) {
        let expected = (self.rules.share / weight).min(AT_FIRST);
        let needed = if self.sketch.entries() == 0 { expected } else { self.len() as u64 * 2 };
        self.sketch.resize(usize::try_from(needed).unwrap_or(usize::MAX).max(1));
    }
}

impl EvictionPolicy for WTinyLfu {
    fn hears(&self) -> Hears {
        Hears::InOrder
    }

    fn hears_misses(&self) -> bool {
        false
    }

    fn resize(&mut self, share: u64) {
        self.rules.share = share;
    }

    fn insert(&mut self, slot: Slot, meta: &Meta) {
        if self.sketch.entries() == 0 || self.len() > self.sketch.entries() {
            self.fit(meta.weight);
        }
        self.sketch.add(code_of(meta.hash), 1);
        self.know(slot, meta);
        self.rules.insert(slot, meta.weight);
    }

    fn update(&mut self, slot: Slot, meta: &Meta) {
        self.rules.regions.reweigh(slot, meta.weight);
        self.hit(slot);
    }

    fn relocate(&mut self, from: Slot, to: Slot, meta: &Meta) {
        self.know(to, meta);
        self.rules.relocate(from, to, meta.weight);
    }

    fn hit(&mut self, slot: Slot) {
        self.sketch.add(self.codes[slot], 1);
        self.rules.used(slot);
    }

    fn remove(&mut self, slot: Slot, _: Cause) {
        self.rules.remove(slot);
    }

    fn victim(&mut self, newcomer: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        // Hits were told one by one: none are counted.
        let mut popularity = Popularity { sketch: &mut self.sketch, feeds: false };
        let coming = newcomer.map_or(1, |meta| meta.weight);
        self.rules.victim(coming, hits, &mut popularity).map_or(Victim::None, Victim::Entry)
    }

    fn len(&self) -> usize {
        self.rules.regions.len()
    }

    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.rules.coldest())
    }

    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.rules.hottest())
    }

    fn coldest_after(&self, after: Option<Slot>) -> Option<Walk<'_>> {
        Some(self.rules.coldest_after(after))
    }

    fn heat(&self, slot: Slot, _: &HitCounters<'_>) -> Heat {
        self.rules.heat(slot, self.sketch.estimate(self.codes[slot]))
    }

    fn warm(&mut self, slot: Slot, heat: Heat, _: &mut HitCounters<'_>) {
        // One use was its coming.
        let uses = u8::try_from(heat.uses).unwrap_or(u8::MAX).saturating_sub(1);
        self.sketch.add(self.codes[slot], uses);
        if heat.proven {
            self.rules.protect(slot);
        }
    }

    fn assert_valid(&self) {
        // Nothing but the history tells invariant 2: the lockstep test holds it.
        self.rules.assert_valid();
    }
}

impl Default for WTinyLfu {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WTinyLfu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WTinyLfu").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::Segment;
    use super::super::lockstep::{complaint, replay_marked};
    use super::super::regions::Region;
    use super::super::regions::tests::picture;
    use super::*;

    #[test]
    fn the_trace_above() {
        let policy = WTinyLfu::with_window(2);
        replay_marked(include_str!("w_tiny_lfu.rs"), policy, |policy, hits| {
            picture(&policy.rules.regions, hits)
        });
    }

    /// A hit is heard at once: the rest of the rules is in lockstep with plain arrays where they are.
    #[test]
    fn a_use_counts_and_moves() {
        let mut segment = Segment::new(WTinyLfu::new());
        let metas = [1_u64, 2].map(|key| Meta::new(key << 20, 1, u64::MAX));
        let slots = metas.map(|meta| segment.insert(&meta));
        let codes = metas.map(|meta| code_of(meta.hash));
        segment.hit(slots[0]);
        segment.update(slots[0], &metas[0]);
        let estimates = codes.map(|code| segment.policy.sketch.estimate(code));
        assert_eq!(estimates, [3, 1], "insertion, hit and update are uses");
        assert_eq!(segment.policy.rules.regions.region(slots[0]), Region::Protected);
        let to = segment.relocate(slots[0], &metas[0]);
        assert_eq!(segment.policy.codes[to], codes[0], "another slot, the same key");
    }

    #[test]
    fn a_window_of_all_is_lru() {
        let mut segment = Segment::new(WTinyLfu::with_window(200));
        let meta = |key: u64| Meta::new(key << 20, 1, u64::MAX);
        let slots: Vec<_> = (0..100).map(|key| segment.insert(&meta(key))).collect();
        segment.hit(slots[0]);
        assert_eq!(segment.victim(Some(&meta(100))), Victim::Entry(slots[1]));
        assert_eq!(segment.policy.rules.regions.weight(Region::Window), 100);
    }

    #[test]
    fn a_scan_does_no_harm() {
        let mut segment = Segment::new(WTinyLfu::new());
        let meta = |key: u64| Meta::new(key << 20, 1, u64::MAX);
        let slots: Vec<_> = (0..50).map(|key| segment.insert(&meta(key))).collect();
        segment.insert(&meta(999)); // pushes the last of them out of the window
        slots.iter().for_each(|&slot| segment.hit(slot));
        for key in 50..800 {
            while segment.policy.len() >= 100 {
                let Victim::Entry(victim) = segment.victim(Some(&meta(key))) else {
                    panic!("there is always one");
                };
                assert!(!slots.contains(&victim), "{key}");
                segment.remove(victim, Cause::Evicted);
            }
            segment.insert(&meta(key));
        }
    }

    #[test]
    fn the_sketch_grows_with_the_entries() {
        let mut segment = Segment::new(WTinyLfu::new());
        segment.insert(&Meta::new(1, 50, u64::MAX));
        assert_eq!(segment.policy.sketch.entries(), 2, "by the first one's weight");
        for key in 2..40_u64 {
            segment.insert(&Meta::new(key << 20, 1, u64::MAX));
        }
        assert!((39..=80).contains(&segment.policy.sketch.entries()));
    }

    #[test]
    fn damage_is_seen() {
        let twice = complaint(WTinyLfu::new(), |it| {
            it.rules.regions.insert(Slot::new(2), 1);
        });
        assert!(twice.contains("the same order") || twice.contains("2: a region"), "{twice}");
    }

    #[test]
    fn debug_is_short() {
        assert_eq!(format!("{:?}", WTinyLfu::default()), "WTinyLfu { len: 0 }");
    }
}
