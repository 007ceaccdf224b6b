//! Least frequently used (LFU), in constant time.
//!
//! **Problem.** Give up the entry with the fewest uses, and among equals the one unused for the longest time; keep every
//! count exact through every use. A heap does it in O(log n) a use. This file does it in O(1).
//!
//! **Idea.** A use adds one to a count, never two. So an entry need not be *sorted* into its new place: that is next door.
//! Keep all entries with equal counts in one **bucket**, the buckets in a list by ascending count, and the whole of LFU is a
//! step from one bucket to the next. The first bucket has the smallest count there is: its front end is the *minimum pointer*.
//!
//! ```text
//!    order    front: the minimum                          back
//!             ┌─ count 1 ─┐    ┌─ count 2 ─┐    ┌─ count 5 ─┐
//!             │  D  ⇄  C  │ ⇄  │     A     │ ⇄  │     B     │
//!             └────────│──┘    └───────────┘    └───────────┘
//!                      └─► victim: the back of the first bucket
//! ```
//!
//! What a use does. Each case touches one entry, its bucket and the next one. Buckets are shown from front to back:
//!
//! ```text
//!    use C   the next bucket counts 2, as wanted: C moves in, at the front      1: D      2: C A   5: B
//!    use C   the next counts 5, not 3: a new bucket opens between               1: D      2: A     3: C   5: B
//!    use C   C is alone, and the next does not count 4: its bucket becomes 4    1: D      2: A     4: C   5: B
//!    use C   C is alone, but a bucket for 5 exists: C moves in, its own closes  1: D      2: A     5: C B
//! ```
//!
//! Why the ties come out right: an entry enters a bucket at the front, and enters it by a use. So within a bucket, from front
//! to back, entries stand in the order of their last use. Each bucket is a small LRU.
//!
//! **Good at** keeping what is always popular. **Bad at** forgetting: what was popular once stays, and a newcomer, with its
//! count of 1, is given up before it can earn a second use. A count lives as long as its entry; it does not outlast it.
//!
//! **Invariants**
//!
//! 1. From front to back, the buckets in `order` have strictly ascending counts, the least at least 1.
//! 2. No bucket in `order` is empty; every other bucket is `spare`, and empty.
//! 3. Every resident entry is in one bucket, the one that `home` names, and `len` counts the entries.
//! 4. From front to back, the entries of a bucket stand in the order of their last use.
//!
//! | operation | cost |
//! |---|---|
//! | `insert`, `remove`, `relocate`, `victim` | O(1) |
//! | `hit`, `update` | O(1): one step to the next bucket; an entry alone in its bucket often needs a single addition |
//! | memory | 12 bytes an entry (two links and the bucket), 32 a bucket; never more buckets than entries |
//!
//! **Source.** Shah, Mitra, Matani: *An O(1) algorithm for implementing the LFU cache eviction scheme*, 2010. Added here: the
//! order within a bucket, the bucket that is recounted in place, and buckets that are used again.
//!
//! **Trace.** Worked by hand; the test replays it from this very text. Leftmost leaves first.
//!
//! ```text
//!    call        fewest uses ─► most: within a bucket, least recent ─► most recent
//!    insert A  │ 1: A
//!    insert B  │ 1: A B
//!    insert C  │ 1: A B C
//!    hit A     │ 1: B C   2: A
//!    hit C     │ 1: B     2: A C      ◄ the same count as A, but more recent
//!    hit A     │ 1: B     2: C   3: A
//!    update A  │ 1: B     2: C   4: A      ◄ A alone, nobody at 4: its bucket is recounted
//!    hit B     │ 2: C B   4: A             ◄ bucket 1 is empty, and closes: the minimum is now 2
//!    hit C     │ 2: B     3: C   4: A
//!    hit C     │ 2: B     4: A C
//!    remove B  │ 4: A C                    ◄ the victim leaves
//!    insert B  │ 1: B     4: A C           ◄ its past is forgotten: the minimum is 1 again
//! ```

use super::list::{Links, List};
use super::{EvictionPolicy, Hears, Heat, HitCounters, Meta, Slot, Victim, Walk};
use crate::engine::column::Column;
use crate::observe::Cause;
use std::fmt;

/// Buckets that [`Lfu::recount`] looks at, at most.
const SLICE: usize = 64;

/// The place of a bucket in `Lfu::buckets`: slots there, as entries have slots in the engine.
type At = Slot;

/// All the entries that were used `count` times.
#[derive(Clone, Copy)]
struct Bucket {
    count: u64,
    entries: List,
}

/// Gives up the least frequently used entry, exactly, and among equals the least recently used
/// (Shah, Mitra, Matani 2010).
///
/// Reading an entry, writing it and inserting it are uses; `peek` and `contains_key` are not. Counts are of resident entries
/// alone: an entry that comes back starts at 1. Every call costs O(1), and an entry 12 bytes, and 32 for each count that
/// occurs. Choose it where some keys stay popular for good; what was popular once is slow to leave.
///
/// Exact while one thread at a time uses the cache. Where threads read and write side by side, hits are heard in the order in
/// which they were noted, in batches; one is lost if 64 others wait to be heard while somebody writes to the segment.
///
/// ```
/// use cachette::{Cache, policy::Lfu};
///
/// let cache = Cache::<u32, &str>::builder().capacity(2).policy(Lfu::new).build()?;
/// cache.put(1, "one");
/// cache.put(2, "two");
/// assert_eq!(cache.get(&1), Some("one"));
/// assert_eq!(cache.get(&1), Some("one"));
/// assert_eq!(cache.get(&2), Some("two")); // more recent than 1, but used less often
/// cache.put(3, "three");
/// assert!(cache.contains_key(&1));
/// assert!(!cache.contains_key(&2));
/// # Ok::<(), cachette::BuildError>(())
/// ```
pub struct Lfu {
    /// The entries' links, each within its bucket.
    links: Links,
    /// The bucket of each entry.
    home: Column<At>,
    buckets: Column<Bucket>,
    /// The buckets' own links.
    chain: Links,
    /// The buckets in use, by ascending count. Its front is the minimum pointer.
    order: List,
    /// The buckets to use again.
    spare: List,
    len: usize,
}

impl Lfu {
    /// An LFU policy with no entries. Allocates nothing. O(1).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            links: Links::new(),
            home: Column::new(),
            buckets: Column::new(),
            chain: Links::new(),
            order: List::new(),
            spare: List::new(),
            len: 0,
        }
    }

    /// Counts one use of a resident entry: it moves to the next bucket.
    fn promote(&mut self, slot: Slot) {
        let here = self.home[slot];
        let Some(count) = self.buckets[here].count.checked_add(1) else {
            // 2^64 - 1 uses: from here on only the order of the uses tells entries apart.
            return self.buckets[here].entries.move_to_front(&mut self.links, slot);
        };
        let alone = self.buckets[here].entries.len() == 1;
        let there = match List::after(&self.chain, here) {
            Some(next) if self.buckets[next].count == count => next,
            _ if alone => return self.buckets[here].count = count,
            _ => self.open(count, Some(here)),
        };
        self.leave(slot);
        self.enter(there, slot);
    }

    /// Puts an entry that is in no bucket into this one, as its most recent.
    fn enter(&mut self, there: At, slot: Slot) {
        self.buckets[there].entries.push_front(&mut self.links, slot);
        self.home[slot] = there;
    }

    /// Takes an entry out of its bucket, and closes the bucket if that was the last one.
    fn leave(&mut self, slot: Slot) {
        let here = self.home[slot];
        self.buckets[here].entries.unlink(&mut self.links, slot);
        if self.buckets[here].entries.is_empty() {
            self.order.unlink(&mut self.chain, here);
            self.spare.push_front(&mut self.chain, here);
        }
    }

    /// Gives an entry another count. Its place is looked for from the most used on, at most [`SLICE`] buckets far: who restores
    /// a snapshot goes from cold to hot.
    fn recount(&mut self, slot: Slot, count: u64) {
        self.leave(slot);
        let mut above = None;
        let mut below = self.order.back();
        for _ in 0..SLICE {
            let Some(at) = below.filter(|&at| self.buckets[at].count > count) else { break };
            (above, below) = (Some(at), List::before(&self.chain, at));
        }
        let there = match (below, above) {
            (Some(at), _) if self.buckets[at].count == count => at,
            // Too far: the entry counts for more than it was.
            (Some(at), Some(above)) if self.buckets[at].count > count => above,
            _ => self.open(count, below),
        };
        self.enter(there, slot);
    }

    /// Opens an empty bucket, right behind `before`, or else as the first. The caller fills it.
    fn open(&mut self, count: u64, before: Option<At>) -> At {
        let fresh = Bucket { count, entries: List::new() };
        let here = match self.spare.front() {
            Some(spare) => {
                self.spare.unlink(&mut self.chain, spare);
                self.buckets[spare] = fresh;
                spare
            }
            None => {
                self.buckets.push(fresh);
                At::new(self.buckets.len() - 1)
            }
        };
        match before {
            Some(before) => self.order.push_after(&mut self.chain, before, here),
            None => self.order.push_front(&mut self.chain, here),
        }
        here
    }
}

impl EvictionPolicy for Lfu {
    fn hears(&self) -> Hears {
        Hears::InOrder
    }

    fn hears_misses(&self) -> bool {
        false
    }

    fn insert(&mut self, slot: Slot, _: &Meta) {
        let first = match self.order.front() {
            Some(first) if self.buckets[first].count == 1 => first,
            _ => self.open(1, None),
        };
        self.home.reach(slot.index(), Slot::NONE);
        self.enter(first, slot);
        self.len += 1;
    }

    fn update(&mut self, slot: Slot, _: &Meta) {
        self.promote(slot);
    }

    fn hit(&mut self, slot: Slot) {
        self.promote(slot);
    }

    fn relocate(&mut self, from: Slot, to: Slot, _: &Meta) {
        let here = self.home[from];
        self.buckets[here].entries.replace(&mut self.links, from, to);
        self.home.reach(to.index(), Slot::NONE);
        self.home[to] = here;
    }

    fn remove(&mut self, slot: Slot, _: Cause) {
        self.leave(slot);
        self.len -= 1;
    }

    fn victim(&mut self, _: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
        let minimum = self.order.front();
        minimum.and_then(|at| self.buckets[at].entries.back()).map_or(Victim::None, Victim::Entry)
    }

    fn len(&self) -> usize {
        self.len
    }

    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        let ascending = self.order.iter(&self.chain);
        Box::new(ascending.flat_map(|at| self.buckets[at].entries.iter(&self.links).rev()))
    }

    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        let descending = self.order.iter(&self.chain).rev();
        Box::new(descending.flat_map(|at| self.buckets[at].entries.iter(&self.links)))
    }

    fn coldest_after(&self, after: Option<Slot>) -> Option<Walk<'_>> {
        let Some(slot) = after else { return Some(self.coldest()) };
        let here = self.home[slot];
        let mut bucket = List::after(&self.chain, here);
        let buckets = std::iter::from_fn(move || {
            let at = bucket?;
            bucket = List::after(&self.chain, at);
            Some(at)
        });
        let later = buckets.flat_map(|at| self.buckets[at].entries.iter(&self.links).rev());
        Some(Box::new(List::towards_front(&self.links, slot).chain(later)))
    }

    fn heat(&self, slot: Slot, _: &HitCounters<'_>) -> Heat {
        let count = self.buckets[self.home[slot]].count;
        Heat::new(u32::try_from(count).unwrap_or(u32::MAX), false)
    }

    fn warm(&mut self, slot: Slot, heat: Heat, _: &mut HitCounters<'_>) {
        if heat.uses > 1 {
            self.recount(slot, heat.uses.into());
        }
    }

    fn assert_valid(&self) {
        self.order.assert_valid(&self.chain);
        self.spare.assert_valid(&self.chain);
        let mut below = 0;
        let mut entries = 0;
        for at in self.order.iter(&self.chain) {
            let bucket = &self.buckets[at];
            assert!(bucket.count > below, "1: counts ascend, from at least 1");
            assert!(!bucket.entries.is_empty(), "2: no bucket in order is empty");
            bucket.entries.assert_valid(&self.links);
            let at_home = bucket.entries.iter(&self.links).all(|slot| self.home[slot] == at);
            assert!(at_home, "3: an entry is in the bucket that home names");
            below = bucket.count;
            entries += bucket.entries.len();
        }
        assert_eq!(entries, self.len, "3: len counts the entries");
        let empty = self.spare.iter(&self.chain).all(|at| self.buckets[at].entries.is_empty());
        assert!(empty, "2: a spare bucket is empty");
        assert_eq!(
            self.order.len() + self.spare.len(),
            self.buckets.len(),
            "2: a bucket is in order or spare"
        );
    }
}

impl Default for Lfu {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Lfu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lfu").field("len", &self.len).field("buckets", &self.order.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::CALM;
    use super::super::lockstep::{complaint, letters, lockstep, replay};
    use super::*;

    fn picture(lfu: &Lfu) -> String {
        let bucket = |at| {
            let Bucket { count, entries } = &lfu.buckets[at];
            format!("{count}: {}", letters(entries.iter(&lfu.links).rev()))
        };
        lfu.order.iter(&lfu.chain).map(bucket).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_trace_above() {
        replay(include_str!("lfu.rs"), Lfu::new(), picture);
    }

    #[test]
    fn an_entry_alone_takes_its_bucket_along() {
        let mut lfu = Lfu::new();
        lfu.insert(Slot::new(0), &CALM);
        (0..10).for_each(|_| lfu.hit(Slot::new(0)));
        assert_eq!(picture(&lfu), "11: A");
        assert_eq!(lfu.buckets.len(), 1);
    }

    #[test]
    fn a_bucket_is_used_again() {
        let mut lfu = Lfu::new();
        let [a, b] = [0, 1].map(Slot::new);
        for _ in 0..100 {
            lfu.insert(a, &CALM);
            lfu.insert(b, &CALM);
            lfu.hit(b);
            lfu.hit(a);
            lfu.remove(b, Cause::Deleted);
            lfu.remove(a, Cause::Deleted);
        }
        assert_eq!(lfu.buckets.len(), 2, "two entries never need a third bucket");
    }

    #[test]
    fn a_full_count_stays_full_and_keeps_the_order_of_uses() {
        let mut lfu = Lfu::new();
        let [a, b] = [0, 1].map(Slot::new);
        lfu.insert(a, &CALM);
        let at = lfu.home[a];
        lfu.buckets[at].count = u64::MAX - 1;
        lfu.insert(b, &CALM);
        lfu.hit(a);
        lfu.hit(a);
        assert_eq!(picture(&lfu), format!("1: B {}: A", u64::MAX));
        let at = lfu.home[b];
        lfu.buckets[at].count = u64::MAX - 1;
        lfu.hit(b);
        assert_eq!(picture(&lfu), format!("{}: A B", u64::MAX));
        lfu.hit(a);
        assert_eq!(picture(&lfu), format!("{}: B A", u64::MAX));
        lfu.assert_valid();
    }

    #[test]
    fn lockstep_with_the_oracle() {
        let lfu = lockstep(Lfu::new(), |row| (row.uses, row.used));
        assert!(lfu.buckets.len() <= 200, "never more buckets than entries");
    }

    #[test]
    fn damage_is_seen() {
        let [a, b, lone] = [0, 1, 3].map(Slot::new);
        let says = |damage: &dyn Fn(&mut Lfu), what: &str| {
            let text = complaint(Lfu::new(), damage);
            assert!(text.contains(what), "{text}, expected {what}");
        };
        // A is in a bucket of count 2, B and C are in the bucket of count 1.
        says(&|lfu| lfu.buckets[lfu.home[b]].count = 0, "1: counts ascend");
        says(&|lfu| lfu.buckets[lfu.home[b]].count = 2, "1: counts ascend");
        says(
            &|lfu| lfu.buckets[lfu.home[a]].entries = List::new(),
            "2: no bucket in order is empty",
        );
        says(&|lfu| lfu.order = List::new(), "3: len counts the entries");
        says(&|lfu| lfu.len = 2, "3: len counts the entries");
        says(&|lfu| lfu.home[a] = lfu.home[b], "3: an entry is in the bucket that home names");
        says(
            &|lfu| lfu.buckets[lfu.home[b]].entries.push_front(&mut lfu.links, b),
            "the same order",
        );
        says(&|lfu| lfu.order.push_front(&mut lfu.chain, lfu.home[b]), "the same order");
        says(
            &|lfu| lfu.buckets.push(Bucket { count: 7, entries: List::new() }),
            "2: a bucket is in order or spare",
        );
        let spare_but_full = |lfu: &mut Lfu| {
            let mut entries = List::new();
            entries.push_front(&mut lfu.links, lone);
            lfu.buckets.push(Bucket { count: 7, entries });
            lfu.spare.push_front(&mut lfu.chain, At::new(lfu.buckets.len() - 1));
        };
        says(&spare_but_full, "2: a spare bucket is empty");
    }

    #[test]
    fn debug_is_short() {
        assert_eq!(format!("{:?}", Lfu::default()), "Lfu { len: 0, buckets: 0 }");
    }
}
