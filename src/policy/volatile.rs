//! Only entries with a deadline are given up.
//!
//! **Problem.** A cache holds two kinds of entries: some were stored for a time, and may as well go sooner; others were stored
//! for good, and must not make room for anything.
//!
//! **Idea.** Any policy will do, if it is shown only the entries that may go. This one stands before it, and tells it of an
//! entry when that has a deadline, and never of one that has none. An entry that gains a deadline is inserted, one that loses
//! it is removed. If nobody with a deadline is left, nobody leaves, and the write is refused.
//!
//! ```text
//!                      ┌─ has a deadline? ─┐
//!    insert, update ──►│ yes ──────────────┼──► the inner policy: its order, its victims
//!    expire_in         │ no: counted, and  │
//!    persist           │     not passed on │       who leaves?  ask inside; nobody there: nobody
//!                      └───────────────────┘
//! ```
//!
//! **Good at** keeping what must not be lost beside what may be. **Bad at** a cache that fills up with permanent entries: what
//! is left for the others shrinks to nothing, and then writes are refused.
//!
//! **Invariants**
//!
//! 1. `mortal` is set for those residents that had a deadline when the policy last heard of it; the inner policy holds these,
//!    and no other.
//! 2. `len` is the number of residents of both kinds.
//!
//! | operation | cost |
//! |---|---|
//! | every one | that of the inner policy, and O(1) |
//! | memory | that of the inner policy, and 1 byte an entry |
//!
//! The inner policy is told the whole share of the segment, though it may never fill it: what permanent entries take up changes
//! all the time.
//!
//! **Source.** Redis's `maxmemory-policy volatile-lru`, `volatile-lfu` and `volatile-random`.
//!
//! **Trace.** Worked by hand, around LRU; the test replays it from this very text. On the left of the bar is the order of those
//! that may leave, leftmost first; behind it, how many others there are. A number is a deadline.
//!
//! ```text
//!    call                 order / permanent
//!    insert A at 9      │ A / 0
//!    insert B           │ A / 1        ◄ permanent: LRU does not hear of it
//!    insert C at 5      │ A C / 1
//!    hit A              │ C A / 1
//!    hit B              │ C A / 1      ◄ nor of hits on it
//!    victim C           │ C A / 1
//!    reschedule C       │ A / 2        ◄ persist: out of the order
//!    victim A           │ A / 2
//!    reschedule B at 7  │ A B / 1      ◄ expire_in: in, as the most recent
//!    relocate B D at 7  │ A D / 1      ◄ a new value, in another slot, with a deadline as before
//!    update A           │ D / 2        ◄ a new value without a deadline
//!    remove D           │ / 2
//!    victim none        │ / 2          ◄ only permanent ones are left: nobody leaves
//!    update C at 3      │ C / 1
//!    remove A           │ C / 0
//! ```

use super::{EvictionPolicy, Hears, Heat, HitCounters, Meta, Slot, Victim, Walk};
use crate::engine::column::Column;
use crate::observe::Cause;
use std::fmt;

/// Gives up only entries that have a deadline, in the order of the policy inside: Redis's `volatile-*`.
///
/// An entry has a deadline if it was stored with a time to live or to idle, or given one by
/// [`expire_in`](crate::Cache::expire_in) or [`expire_at`](crate::Cache::expire_at); [`persist`](crate::Cache::persist) takes it
/// away. Where only permanent entries are left, a write that does not fit is refused, as under
/// [`NoEviction`](super::NoEviction). Permanent newcomers may push out what has a deadline.
///
/// Costs what the policy inside costs, and a byte an entry. In a cache of several segments, a segment that has nothing to give
/// up takes from another; such a write looks at every segment, one lock after the other.
///
/// ```
/// use cachette::{Cache, Reason, policy::{Lru, Volatile}};
/// use std::time::Duration;
///
/// let hour = Duration::from_secs(3600);
/// let cache = Cache::<&str, u32>::builder().capacity(2).policy(|| Volatile::new(Lru::new())).build()?;
/// cache.put("config", 1);
/// cache.put_with_ttl("page", 2, hour);
/// cache.put_with_ttl("other page", 3, hour);
/// assert!(!cache.contains_key("page"), "`config` is older, but may not leave");
///
/// cache.persist("other page");
/// let refused = cache.try_put("new", 4).unwrap_err();
/// assert_eq!((refused.key, refused.reason), ("new", Reason::Full));
/// # Ok::<(), cachette::BuildError>(())
/// ```
#[doc(alias = "volatile-lru")]
#[doc(alias = "volatile-lfu")]
#[doc(alias = "volatile-random")]
pub struct Volatile<P> {
    inner: P,
    /// Whether the inner policy holds the entry in this slot.
    mortal: Column<bool>,
    len: usize,
}

impl<P: EvictionPolicy> Volatile<P> {
    /// `inner`, shown only entries with a deadline. It has no entries yet. O(1).
    #[must_use]
    pub const fn new(inner: P) -> Self {
        Self { inner, mortal: Column::new(), len: 0 }
    }

    fn is_mortal(&self, slot: Slot) -> bool {
        self.mortal.get(slot.index()).copied().unwrap_or(false)
    }

    fn set_mortal(&mut self, slot: Slot, mortal: bool) {
        self.mortal.reach(slot.index(), false);
        self.mortal[slot] = mortal;
    }

    /// Lets an entry in or out, if it has gained or lost its deadline. True if it was in, and stays.
    fn settle(&mut self, slot: Slot, meta: &Meta) -> bool {
        let (was, is) = (self.is_mortal(slot), !meta.is_permanent());
        if was != is {
            self.set_mortal(slot, is);
            if is {
                self.inner.insert(slot, meta);
            } else {
                self.inner.remove(slot, Cause::Replaced);
            }
        }
        was && is
    }
}

impl<P: EvictionPolicy> EvictionPolicy for Volatile<P> {
    fn hears(&self) -> Hears {
        self.inner.hears()
    }

    fn hears_misses(&self) -> bool {
        self.inner.hears_misses()
    }

    fn resize(&mut self, share: u64) {
        self.inner.resize(share);
    }

    fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.len += 1;
        self.settle(slot, meta);
    }

    fn update(&mut self, slot: Slot, meta: &Meta) {
        if self.settle(slot, meta) {
            self.inner.update(slot, meta);
        }
    }

    /// An entry that was permanent stays so until `update`, which comes next, says otherwise.
    fn relocate(&mut self, from: Slot, to: Slot, meta: &Meta) {
        if !self.is_mortal(from) {
            return;
        }
        self.set_mortal(from, false);
        if meta.is_permanent() {
            self.inner.remove(from, Cause::Replaced);
        } else {
            self.inner.relocate(from, to, meta);
            self.set_mortal(to, true);
        }
    }

    fn reschedule(&mut self, slot: Slot, meta: &Meta) {
        if self.settle(slot, meta) {
            self.inner.reschedule(slot, meta);
        }
    }

    fn hit(&mut self, slot: Slot) {
        if self.is_mortal(slot) {
            self.inner.hit(slot);
        }
    }

    fn miss(&mut self, hash: u64) {
        self.inner.miss(hash);
    }

    fn remove(&mut self, slot: Slot, cause: Cause) {
        self.len -= 1;
        if self.is_mortal(slot) {
            self.set_mortal(slot, false);
            self.inner.remove(slot, cause);
        }
    }

    /// A permanent newcomer is not shown either: it is let in if anybody may leave.
    fn victim(&mut self, newcomer: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        if self.inner.is_empty() {
            return Victim::None;
        }
        self.inner.victim(newcomer.filter(|meta| !meta.is_permanent()), hits)
    }

    fn len(&self) -> usize {
        self.len
    }

    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        self.inner.coldest()
    }

    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        self.inner.hottest()
    }

    fn coldest_after(&self, after: Option<Slot>) -> Option<Walk<'_>> {
        match after {
            // It was in the order, and has lost its deadline.
            Some(slot) if !self.is_mortal(slot) => Some(Box::new(std::iter::empty())),
            _ => self.inner.coldest_after(after),
        }
    }

    fn heat(&self, slot: Slot, hits: &HitCounters<'_>) -> Heat {
        if self.is_mortal(slot) { self.inner.heat(slot, hits) } else { Heat::default() }
    }

    fn warm(&mut self, slot: Slot, heat: Heat, hits: &mut HitCounters<'_>) {
        if self.is_mortal(slot) {
            self.inner.warm(slot, heat, hits);
        }
    }

    fn learned(&self) -> u64 {
        self.inner.learned()
    }

    fn recall(&mut self, learned: u64) {
        self.inner.recall(learned);
    }

    fn assert_valid(&self) {
        self.inner.assert_valid();
        let mortal = (0..self.mortal.len()).filter(|&index| self.is_mortal(Slot::new(index)));
        assert_eq!(mortal.count(), self.inner.len(), "1: inside are those with a deadline");
        let inside = self.inner.coldest().all(|slot| self.is_mortal(slot));
        assert!(inside, "1: nobody permanent is in the order");
        assert!(self.inner.len() <= self.len, "2: the residents of both kinds are counted");
    }
}

impl<P: EvictionPolicy> fmt::Debug for Volatile<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permanent = self.len.saturating_sub(self.inner.len());
        f.debug_struct("Volatile")
            .field("len", &self.len)
            .field("permanent", &permanent)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::{CALM, Segment};
    use super::super::lockstep::{complaint, letters, operations, random, replay};
    use super::super::{Fifo, Lfu, Lru, SoonestDeadline};
    use super::*;

    const MORTAL: Meta = Meta::new(0, 1, 9);

    #[test]
    fn the_trace_above() {
        replay(include_str!("volatile.rs"), Volatile::new(Lru::new()), |volatile| {
            let permanent = volatile.len() - volatile.inner.len();
            format!("{} / {permanent}", letters(volatile.coldest())).trim().to_owned()
        });
    }

    /// One entry of the oracle.
    struct Row {
        slot: Slot,
        meta: Meta,
        used: u64,
        uses: u64,
        /// Since when it has had a deadline.
        since: u64,
    }

    /// A plain table of all entries, of which those with a deadline may leave, lowest `rank` first. What happens to an entry
    /// while it has none does not count.
    fn lockstep<P: EvictionPolicy>(inner: P, rank: fn(&Row) -> (u64, u64)) {
        let mut random = random();
        let mut segment = Segment::new(Volatile::new(inner));
        let mut table: Vec<Row> = Vec::new();
        for now in 1..=operations() {
            let deadline = if random(3) == 0 { u64::MAX } else { now };
            let meta = Meta::new(now, 1, deadline);
            let pick = random(table.len().max(1));
            let use_of = |row: &mut Row, write: bool| {
                let was = row.meta.is_permanent();
                if write {
                    row.meta = meta;
                }
                if was && !row.meta.is_permanent() {
                    (row.since, row.uses) = (now, 0);
                }
                row.used = now;
                row.uses += 1;
            };
            match random(100) {
                0..25 if table.len() < 100 => {
                    let slot = segment.insert(&meta);
                    table.push(Row { slot, meta, used: now, uses: 1, since: now });
                }
                0..35 => {
                    if let Victim::Entry(slot) = segment.victim(Some(&meta)) {
                        segment.remove(slot, Cause::Evicted);
                        table.retain(|row| row.slot != slot);
                    }
                }
                35..40 if !table.is_empty() => {
                    segment.remove(table.swap_remove(pick).slot, Cause::Deleted);
                }
                40..50 if !table.is_empty() => {
                    let row = &mut table[pick];
                    row.slot = segment.relocate(row.slot, &meta);
                    segment.update(row.slot, &meta);
                    use_of(row, true);
                }
                50..55 if !table.is_empty() => {
                    segment.update(table[pick].slot, &meta);
                    use_of(&mut table[pick], true);
                }
                55..65 if !table.is_empty() => {
                    let row = &mut table[pick];
                    segment.reschedule(row.slot, &meta);
                    if row.meta.is_permanent() && !meta.is_permanent() {
                        (row.since, row.used, row.uses) = (now, now, 1);
                    }
                    row.meta = meta;
                }
                _ if !table.is_empty() => {
                    segment.hit(table[pick].slot);
                    if !table[pick].meta.is_permanent() {
                        use_of(&mut table[pick], false);
                    }
                }
                _ => {}
            }
            let mut mortal: Vec<_> = table.iter().filter(|row| !row.meta.is_permanent()).collect();
            mortal.sort_by_key(|row| rank(row));
            let expected = mortal.first().map_or(Victim::None, |row| Victim::Entry(row.slot));
            assert_eq!(segment.victim(None), expected, "operation {now}");
            if now % 1_000 == 0 {
                assert!(segment.policy.coldest().eq(mortal.iter().map(|row| row.slot)), "{now}");
                segment.check(|meta| !meta.is_permanent());
            }
        }
    }

    #[test]
    fn lockstep_with_a_table_around_lru_lfu_and_fifo() {
        lockstep(Lru::new(), |row| (row.used, 0));
        lockstep(Lfu::new(), |row| (row.uses, row.used));
        lockstep(Fifo::new(), |row| (row.since, 0));
    }

    /// Refuses every newcomer that it is shown.
    #[derive(Default)]
    struct Proud(Lru);

    impl EvictionPolicy for Proud {
        fn hears(&self) -> Hears {
            self.0.hears()
        }
        fn insert(&mut self, slot: Slot, meta: &Meta) {
            self.0.insert(slot, meta);
        }
        fn remove(&mut self, slot: Slot, cause: Cause) {
            self.0.remove(slot, cause);
        }
        fn victim(&mut self, newcomer: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
            newcomer.map_or_else(|| self.0.victim(None, hits), |_| Victim::Newcomer)
        }
        fn len(&self) -> usize {
            self.0.len()
        }
        fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
            self.0.coldest()
        }
        fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
            self.0.hottest()
        }
    }

    #[test]
    fn a_permanent_newcomer_is_not_judged() {
        let mut segment = Segment::new(Volatile::new(Proud::default()));
        let permanent = segment.insert(&CALM);
        assert_eq!(segment.victim(Some(&MORTAL)), Victim::None, "nobody inside is asked");
        let slot = segment.insert(&MORTAL);
        assert_eq!(segment.victim(Some(&MORTAL)), Victim::Newcomer);
        assert_eq!(segment.victim(Some(&CALM)), Victim::Entry(slot));
        segment.remove(permanent, Cause::Deleted);
        assert_eq!(segment.policy.len(), 1);
    }

    #[test]
    fn a_new_deadline_goes_through() {
        let mut segment = Segment::new(Volatile::new(SoonestDeadline::new()));
        let [a, b] = [5, 6].map(|due| segment.insert(&Meta::new(0, 1, due)));
        assert!(segment.policy.coldest().eq([a, b]));
        segment.reschedule(a, &Meta::new(0, 1, 7));
        assert!(segment.policy.coldest().eq([b, a]));
        segment.update(a, &MORTAL);
        segment.update(b, &Meta::new(0, 1, 10));
        assert!(segment.policy.coldest().eq([a, b]));
    }

    #[test]
    fn what_is_not_of_one_entry_goes_through() {
        struct Listens(u64);
        impl EvictionPolicy for Listens {
            fn hears(&self) -> Hears {
                Hears::Counter(3)
            }
            fn resize(&mut self, share: u64) {
                self.0 = share;
            }
            fn insert(&mut self, _: Slot, _: &Meta) {}
            fn miss(&mut self, hash: u64) {
                self.0 += hash;
            }
            fn remove(&mut self, _: Slot, _: Cause) {}
            fn victim(&mut self, _: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
                Victim::None
            }
            fn len(&self) -> usize {
                0
            }
            fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
                Box::new(std::iter::empty())
            }
            fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
                Box::new(std::iter::empty())
            }
        }
        let mut volatile = Volatile::new(Listens(0));
        assert_eq!((volatile.hears(), volatile.hears_misses()), (Hears::Counter(3), true));
        volatile.resize(70);
        volatile.miss(7);
        assert_eq!(volatile.inner.0, 77);
    }

    #[test]
    fn damage_is_seen() {
        let mortal = |volatile: &mut Volatile<Lru>| {
            (0..3).for_each(|index| volatile.reschedule(Slot::new(index), &MORTAL));
        };
        let lost = complaint(Volatile::new(Lru::new()), |volatile| {
            mortal(volatile);
            volatile.inner.remove(Slot::new(1), Cause::Deleted);
        });
        assert!(lost.contains("1: inside are those with a deadline"), "{lost}");
        let other = complaint(Volatile::new(Lru::new()), |volatile| {
            volatile.reschedule(Slot::new(0), &MORTAL);
            volatile.inner.relocate(Slot::new(0), Slot::new(1), &MORTAL);
        });
        assert!(other.contains("1: nobody permanent"), "{other}");
        let miscounted = complaint(Volatile::new(Lru::new()), |volatile| {
            mortal(volatile);
            volatile.len = 2;
        });
        assert!(miscounted.contains("2: the residents"), "{miscounted}");
        let inside = complaint(Volatile::new(Lru::new()), |volatile| {
            mortal(volatile);
            volatile.inner.insert(Slot::new(2), &MORTAL);
        });
        assert!(inside.contains("the same order"), "{inside}");
    }

    #[test]
    fn debug_is_short() {
        let mut volatile = Volatile::new(Lru::new());
        volatile.insert(Slot::new(0), &CALM);
        assert_eq!(format!("{volatile:?}"), "Volatile { len: 1, permanent: 1, .. }");
    }
}
