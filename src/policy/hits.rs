//! What the engine notes of hits beside an entry, without a lock, for policies that look only when a victim is chosen: a counter,
//! or a word of the policy's own making.

use super::Slot;
use crate::engine::code::Code;
use crate::engine::column::Column;
use std::fmt;
use std::time::Duration;

/// One use of an entry, as [`Hears::Stamp`](super::Hears::Stamp) hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Use {
    /// The entry's word until now; `None` if it has just been inserted.
    pub word: Option<u32>,
    /// The time, in nanoseconds on the cache's clock. A cheap reading: it may lag by a few milliseconds.
    pub now: u64,
    /// A number drawn at random for this use.
    pub random: u32,
}

/// What a use makes of an entry's word: a plain function, called outside every lock at a hit, and under the segment's lock when an
/// entry is written.
///
/// Work must be small. A panic at a hit goes through to the reader, and leaves the word as it was; one at a write is the policy's.
///
/// ```
/// use cachette::policy::{HitCounters, Slot, Touch, Use};
///
/// /// The seconds since the clock's origin.
/// fn last_used(it: Use) -> u32 {
///     (it.now / 1_000_000_000) as u32
/// }
///
/// let mut hits = HitCounters::stamped(Touch::new(last_used));
/// let slot = Slot::new(0);
/// hits.publish(slot, 0);
/// hits.advance(std::time::Duration::from_secs(5));
/// assert_eq!((hits.stamp(slot), hits.now()), (0, 5_000_000_000));
/// hits.record(slot);
/// assert_eq!(hits.stamp(slot), 5);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Touch(fn(Use) -> u32);

impl Touch {
    /// This function.
    #[must_use]
    pub const fn new(touch: fn(Use) -> u32) -> Self {
        Self(touch)
    }

    /// The word after a use. `random` is called once.
    #[inline]
    pub(crate) fn word(self, word: Option<u32>, now: u64, random: u32) -> u32 {
        (self.0)(Use { word, now, random })
    }
}

/// Equal if it is the same function. (The compiler may make one of two that do the same, or two of one.)
impl PartialEq for Touch {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::fn_addr_eq(self.0, other.0)
    }
}

impl Eq for Touch {}

/// The hit counters of one segment, for policies that hear by [`Hears::Counter`](super::Hears::Counter); or the words that
/// [`Hears::Stamp`](super::Hears::Stamp) asks for.
///
/// The engine counts; a policy reads and lowers. The counts are kept with the entries, or, if made by [`new`](Self::new), here.
/// They come with what the cache keeps of each key's [hash](Self::hash) anyway.
///
/// ```
/// use cachette::policy::{HitCounters, Slot};
///
/// let mut hits = HitCounters::new(3);
/// let slot = Slot::new(0);
/// for _ in 0..5 {
///     hits.record(slot);
/// }
/// assert_eq!(hits.get(slot), 3);
/// hits.set(slot, 0);
/// assert_eq!(hits.get(slot), 0);
/// ```
pub struct HitCounters<'a> {
    kept: Kept<'a>,
    max: u8,
    /// Of the hashes, unless they are kept elsewhere.
    codes: Column<Code>,
}

/// Where the counts are.
enum Kept<'a> {
    Here(Column<u8>),
    Stamps(Stamps),
    Elsewhere(&'a dyn Counts),
}

/// Words that are kept here, on a clock of their own.
struct Stamps {
    touch: Touch,
    words: Column<u32>,
    now: u64,
    random: u64,
}

impl Stamps {
    fn touch(&mut self, slot: Slot, word: Option<u32>) {
        self.random = crate::hash::after(self.random);
        self.words.reach(slot.index(), 0);
        self.words[slot] = self.touch.word(word, self.now, (self.random >> 32) as u32);
    }
}

/// Counts that are kept elsewhere: the engine's, beside the entries, where readers count without a lock. So `set` takes
/// `&self`, and a count that is set may have been counted up meanwhile: such a hit is lost, and may be.
pub(crate) trait Counts: Sync {
    fn get(&self, slot: Slot) -> u8;
    fn set(&self, slot: Slot, count: u8);

    /// What is known of the hash of the entry's key.
    fn hash(&self, slot: Slot) -> u64 {
        let _ = slot;
        0
    }

    /// The entry's word, if there are words.
    fn stamp(&self, slot: Slot) -> u32 {
        let _ = slot;
        0
    }

    /// Gives the entry another word, if there are words.
    fn set_stamp(&self, slot: Slot, word: u32) {
        let _ = (slot, word);
    }

    /// The time by which words are made, if there are words.
    fn now(&self) -> u64 {
        0
    }
}

impl<'a> HitCounters<'a> {
    /// Counters of their own, that stop at `max`. For tests of a policy.
    #[must_use]
    pub const fn new(max: u8) -> Self {
        Self { kept: Kept::Here(Column::new()), max, codes: Column::new() }
    }

    /// Words of their own, which `touch` makes, on a clock that stands at zero. For tests of a policy: see [`Touch`].
    #[must_use]
    pub const fn stamped(touch: Touch) -> Self {
        let stamps = Stamps { touch, words: Column::new(), now: 0, random: 1 };
        Self { kept: Kept::Stamps(stamps), max: 0, codes: Column::new() }
    }

    /// The counters kept in `counts`, that stop at `max`.
    pub(crate) fn view(counts: &'a dyn Counts, max: u8) -> Self {
        Self { kept: Kept::Elsewhere(counts), max, codes: Column::new() }
    }

    /// Counts one hit. O(1).
    pub fn record(&mut self, slot: Slot) {
        if let Kept::Stamps(stamps) = &mut self.kept {
            return stamps.touch(slot, stamps.words.get(slot.index()).copied());
        }
        let count = self.get(slot);
        if count < self.max {
            self.set(slot, count + 1);
        }
    }

    /// Another entry is in this slot, whose key has this hash: no hit is counted, and its word is new. For tests of a policy: the
    /// engine does so before it inserts an entry. O(1).
    pub fn publish(&mut self, slot: Slot, hash: u64) {
        self.know(slot, Code::new(hash));
        if let Kept::Stamps(stamps) = &mut self.kept {
            stamps.touch(slot, None);
        }
        self.set(slot, 0);
    }

    /// The entry in `from` is in `to`, with its hits. For tests of a policy: the engine does so before it relocates an entry.
    /// O(1).
    pub fn relocate(&mut self, from: Slot, to: Slot) {
        let (count, word) = (self.get(from), self.stamp(from));
        self.know(to, Code::new(self.hash(from)));
        if let Kept::Stamps(stamps) = &mut self.kept {
            stamps.words.reach(to.index(), 0);
            stamps.words[to] = word;
        }
        self.set(to, count);
        self.set(from, 0);
    }

    /// Moves the clock of words that are kept here forward. For tests of a policy. O(1).
    pub fn advance(&mut self, by: Duration) {
        if let Kept::Stamps(stamps) = &mut self.kept {
            stamps.now = stamps.now.saturating_add(crate::time::nanos(by));
        }
    }

    /// The hits counted and not yet lowered; 0 where there are words. O(1).
    #[must_use]
    pub fn get(&self, slot: Slot) -> u8 {
        match &self.kept {
            Kept::Here(counts) => counts.get(slot.index()).copied().unwrap_or(0),
            Kept::Stamps(_) => 0,
            Kept::Elsewhere(counts) => counts.get(slot),
        }
    }

    fn know(&mut self, slot: Slot, code: Code) {
        self.codes.reach(slot.index(), Code::new(0));
        self.codes[slot] = code;
    }

    /// What the cache keeps of the hash of the entry's key, so that a policy need not: bits 17 to 47 as they were in its
    /// [`Meta`](super::Meta); the others are 0. O(1).
    ///
    /// ```
    /// use cachette::policy::{HitCounters, Slot};
    ///
    /// let mut hits = HitCounters::new(3);
    /// hits.publish(Slot::new(0), u64::MAX);
    /// assert_eq!(hits.hash(Slot::new(0)), 0xffff_fffe_0000);
    /// ```
    #[must_use]
    pub fn hash(&self, slot: Slot) -> u64 {
        match &self.kept {
            Kept::Elsewhere(counts) => counts.hash(slot),
            _ => self.codes.get(slot.index()).map_or(0, |code| code.to_hash()),
        }
    }

    /// Sets a slot's count; nothing where there are words. O(1).
    pub fn set(&mut self, slot: Slot, count: u8) {
        match &mut self.kept {
            Kept::Here(counts) => {
                counts.reach(slot.index(), 0);
                counts[slot] = count;
            }
            Kept::Stamps(_) => {}
            Kept::Elsewhere(counts) => counts.set(slot, count),
        }
    }

    /// The entry's word, as its last use left it; 0 where there are counters. O(1).
    #[must_use]
    pub fn stamp(&self, slot: Slot) -> u32 {
        match &self.kept {
            Kept::Here(_) => 0,
            Kept::Stamps(stamps) => stamps.words.get(slot.index()).copied().unwrap_or(0),
            Kept::Elsewhere(counts) => counts.stamp(slot),
        }
    }

    /// Gives an entry a word that no use has made.
    pub(crate) fn set_stamp(&mut self, slot: Slot, word: u32) {
        match &mut self.kept {
            Kept::Here(_) => {}
            Kept::Stamps(stamps) => {
                stamps.words.reach(slot.index(), 0);
                stamps.words[slot] = word;
            }
            Kept::Elsewhere(counts) => counts.set_stamp(slot, word),
        }
    }

    /// The time by which words are made, in nanoseconds; 0 where there are counters. O(1); it reads the cache's clock.
    #[must_use]
    pub fn now(&self) -> u64 {
        match &self.kept {
            Kept::Here(_) => 0,
            Kept::Stamps(stamps) => stamps.now,
            Kept::Elsewhere(counts) => counts.now(),
        }
    }
}

impl fmt::Debug for HitCounters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HitCounters").field("max", &self.max).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Mutex;

    struct Bytes(Mutex<[u8; 2]>);

    impl Counts for Bytes {
        fn get(&self, slot: Slot) -> u8 {
            self.0.lock()[slot.index()]
        }
        fn set(&self, slot: Slot, count: u8) {
            self.0.lock()[slot.index()] = count;
        }
    }

    #[test]
    fn a_view_reads_and_lowers_the_counts_where_they_are() {
        let bytes = Bytes(Mutex::new([0, 2]));
        let [a, b] = [0, 1].map(Slot::new);
        let mut hits = HitCounters::view(&bytes, 3);
        (0..2).for_each(|_| hits.record(a));
        (0..2).for_each(|_| hits.record(b));
        assert_eq!((hits.get(a), hits.get(b)), (2, 3));
        assert_eq!(bytes.get(b), 3, "it stops at the view's max");
        bytes.set(b, 1);
        assert_eq!(hits.get(b), 1, "nothing is copied");
        hits.set(a, 0);
        assert_eq!(bytes.get(a), 0);
        assert_eq!((hits.stamp(b), hits.now()), (0, 0), "there are no words");
        assert_eq!((hits.hash(a), HitCounters::new(3).hash(a)), (0, 0), "nothing is known");
    }

    #[test]
    fn counters_print_where_they_stop() {
        assert_eq!(format!("{:?}", HitCounters::new(3)), "HitCounters { max: 3, .. }");
    }

    #[test]
    fn counts_go_along_with_an_entry_that_moves() {
        let [a, b] = [0, 1].map(Slot::new);
        let mut hits = HitCounters::new(3);
        hits.record(a);
        hits.relocate(a, b);
        assert_eq!((hits.get(a), hits.get(b)), (0, 1));
        hits.publish(b, 5 << 17);
        assert_eq!((hits.get(b), hits.stamp(b), hits.now()), (0, 0, 0));
        hits.relocate(b, a);
        assert_eq!(hits.hash(a), 5 << 17);
    }

    #[test]
    fn words_are_made_by_each_use() {
        // The word's old value, the time in seconds, and whether the draw was another than the last.
        let touch = |it: Use| {
            let (time, draw) = ((it.now / 1_000_000_000) as u32, it.random & 0xff);
            it.word.map_or(7, |word| (word >> 8) + 1) << 8 | (time << 20) | draw
        };
        let [a, b] = [0, 1].map(Slot::new);
        let mut hits = HitCounters::stamped(Touch::new(touch));
        hits.publish(a, 0);
        let first = hits.stamp(a);
        assert_eq!(first >> 8, 7);
        hits.record(a);
        let second = hits.stamp(a);
        assert_eq!(second >> 8, 8);
        assert_ne!(first & 0xff, second & 0xff);
        hits.advance(Duration::from_secs(3));
        assert_eq!((hits.now(), hits.stamp(a)), (3_000_000_000, second));
        hits.relocate(a, b);
        assert_eq!(hits.stamp(b), second);
        hits.record(b);
        assert_eq!((hits.stamp(b) >> 20, hits.stamp(b) >> 8 & 0xff), (3, 9));
        hits.set(b, 9);
        assert_eq!(hits.get(b), 0);
    }

    #[test]
    fn a_function_is_itself() {
        fn one(_: Use) -> u32 {
            1
        }
        fn other(it: Use) -> u32 {
            it.random
        }
        assert_eq!(Touch::new(one), Touch::new(one));
        assert_ne!(Touch::new(one), Touch::new(other));
    }
}
