//! Least recently used (LRU).
//!
//! **Problem.** Give up the entry that has gone unused for the longest time; keep track of that, through every hit, in O(1).
//!
//! **Idea.** No clock is needed: the order of the last uses says it all. A use makes an entry the most recent of all,
//! wherever it was before. So the order only ever changes in one way: one entry is taken out and put in again at the front.
//! A doubly linked list does both in O(1), provided that one need not search it; and one need not, for the cache's index
//! has just found the entry. This is all of LRU: a map to find, a list to order.
//!
//! ```text
//!    the engine's index             this file's list
//!
//!    "ada" ─► slot 2                front                     back
//!    "bob" ─► slot 0                  2  ⇄  0  ⇄  3  ⇄  1 ─────────► victim
//!    "cat" ─► slot 3                most recent     least recent
//!    "dan" ─► slot 1
//!
//!    hit on "cat" (slot 3)            3  ⇄  2  ⇄  0  ⇄  1      one unlinked, one pushed in front; the rest stand still
//! ```
//!
//! **Good at** whatever was used lately being used again soon. **Bad at** scans and loops: read N + 1 keys round and round
//! through a cache of N, and each is given up just before it is wanted: not one hit.
//!
//! **Invariants**
//!
//! 1. The list holds every resident entry once.
//! 2. From front to back, entries stand in the order of their last use, where insertion and update are uses too.
//!
//! | operation | cost |
//! |---|---|
//! | `insert`, `remove`, `relocate`, `victim` | O(1) |
//! | `hit`, `update` | O(1); nothing is written if the entry is the most recent already |
//! | memory | 8 bytes an entry: two links |
//!
//! **Source.** Mattson, Gecsei, Slutz, Traiger: *Evaluation techniques for storage hierarchies*, IBM Systems Journal 9(2),
//! 1970, where LRU is the model of a *stack algorithm*: what a cache of N holds, a cache of N + 1 holds too.
//!
//! **Trace.** Worked by hand; the test replays it from this very text. Leftmost leaves first.
//!
//! ```text
//!    call        least recent ─► most recent
//!    insert A  │ A
//!    insert B  │ A B
//!    insert C  │ A B C
//!    hit A     │ B C A        ◄ A was the next to leave, and is now the last
//!    hit A     │ B C A        ◄ already most recent: nothing moves
//!    update B  │ C A B        ◄ a write is a use
//!    remove C  │ A B          ◄ the victim leaves ...
//!    insert C  │ A B C        ◄ ... and its slot is used again, by an entry with no past
//!    hit B     │ A C B
//! ```

use super::list::{Links, List};
use super::{EvictionPolicy, Hears, HitCounters, Meta, Slot, Victim, Walk};
use crate::observe::Cause;
use std::fmt;

/// Gives up the least recently used entry, exactly (Mattson et al. 1970).
///
/// Reading an entry, writing it and inserting it are uses; `peek` and `contains_key` are not. Every call costs O(1), and an
/// entry 8 bytes. Choose it where what was used lately is used again soon; a scan longer than the cache sweeps it clean.
///
/// Exact while one thread at a time uses the cache. Where threads read and write side by side, hits are heard in the order in
/// which they were noted, in batches; one is lost if 64 others wait to be heard while somebody writes to the segment.
///
/// ```
/// use cachette::{Cache, policy::Lru};
///
/// let cache = Cache::<u32, &str>::builder().capacity(2).policy(Lru::new).build()?;
/// cache.put(1, "one");
/// cache.put(2, "two");
/// assert_eq!(cache.get(&1), Some("one")); // 2 is now the least recently used
/// cache.put(3, "three");
/// assert!(cache.contains_key(&1));
/// assert!(!cache.contains_key(&2));
/// # Ok::<(), cachette::BuildError>(())
/// ```
pub struct Lru {
    links: Links,
    recency: List,
}

impl Lru {
    /// An LRU policy with no entries. Allocates nothing. O(1).
    #[must_use]
    pub const fn new() -> Self {
        Self { links: Links::new(), recency: List::new() }
    }
}

impl EvictionPolicy for Lru {
    fn hears(&self) -> Hears {
        Hears::Recency
    }

    fn hears_misses(&self) -> bool {
        false
    }

    fn insert(&mut self, slot: Slot, _: &Meta) {
        self.recency.push_front(&mut self.links, slot);
    }

    fn update(&mut self, slot: Slot, _: &Meta) {
        self.hit(slot);
    }

    fn hit(&mut self, slot: Slot) {
        self.recency.move_to_front(&mut self.links, slot);
    }

    fn relocate(&mut self, from: Slot, to: Slot, _: &Meta) {
        self.recency.replace(&mut self.links, from, to);
    }

    fn remove(&mut self, slot: Slot, _: Cause) {
        self.recency.unlink(&mut self.links, slot);
    }

    fn victim(&mut self, _: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
        self.recency.back().map_or(Victim::None, Victim::Entry)
    }

    fn len(&self) -> usize {
        self.recency.len()
    }

    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.recency.iter(&self.links).rev())
    }

    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.recency.iter(&self.links))
    }

    fn coldest_after(&self, after: Option<Slot>) -> Option<Walk<'_>> {
        Some(match after {
            Some(slot) => Box::new(List::towards_front(&self.links, slot)),
            None => self.coldest(),
        })
    }

    fn assert_valid(&self) {
        // Invariant 1. Nothing but the history tells invariant 2: the lockstep test holds it.
        self.recency.assert_valid(&self.links);
    }
}

impl Default for Lru {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Lru {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lru").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::CALM;
    use super::super::lockstep::{complaint, letters, lockstep, replay};
    use super::*;

    #[test]
    fn the_trace_above() {
        replay(include_str!("lru.rs"), Lru::new(), |lru| letters(lru.coldest()));
    }

    #[test]
    fn lockstep_with_the_oracle() {
        lockstep(Lru::new(), |row| (row.used, 0));
    }

    #[test]
    fn damage_is_seen() {
        let twice = complaint(Lru::new(), |lru| lru.insert(Slot::new(2), &CALM));
        assert!(twice.contains("the same order"), "{twice}");
    }

    #[test]
    fn debug_is_short() {
        assert_eq!(format!("{:?}", Lru::default()), "Lru { len: 0 }");
    }
}
