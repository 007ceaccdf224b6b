//! SIEVE.
//!
//! **Problem.** Keep what is popular as well as LRU does, or better, and let a hit write at most one bit: no list to move in,
//! no lock to take.
//!
//! **Idea.** A queue, as in FIFO, and a mark on each entry that was hit. A **hand** walks the queue from the oldest to the
//! newest and then round again. It takes the mark of each entry it passes, and the first one without a mark leaves. So far
//! this is CLOCK; but CLOCK moves a survivor to the head, among the newcomers. Here a survivor stays where it is, and so does
//! the hand. Hence newcomers gather ahead of the hand, which reaches them soon: who is not hit by then leaves, while the old and
//! popular behind it have a whole round to be hit again. The hand *sieves* the newcomers.
//!
//! ```text
//!                     newest                          oldest
//!    insert ─────►      6  ⇄  2*  ⇄  0  ⇄  3*  ⇄  1*            * hit since the hand last passed
//!                                          hand: here
//!
//!    who leaves?        6  ⇄  2*  ⇄  0  ⇄  3   ⇄  1*            3 loses its mark, and stays
//!                                    hand ─────────► victim
//!    0 left             6  ⇄  2*  ⇄  3  ⇄  1*
//!                            hand: on to the next newer
//! ```
//!
//! **Good at** sieving out what is asked for once; at costing a hit nothing once the entry is marked. **Bad at** recency: a mark
//! does not say when it was made, so what has just gone out of use stays for a round, while what was hit a moment after the hand
//! passed is no safer than what was hit long before. And a newcomer that meets the hand before its second use is lost.
//!
//! **Invariants**
//!
//! 1. The list holds every resident entry once.
//! 2. From front to back, entries stand in the order of their insertion, the newest first. A hit or an update moves nothing.
//! 3. The hand is at a resident entry, or nowhere: then it starts at the oldest.
//!
//! | operation | cost |
//! |---|---|
//! | `insert`, `remove`, `relocate` | O(1) |
//! | `victim` | O(1) amortised: each step takes a mark, which a hit paid for; never more than one round |
//! | a hit | a byte set by the engine, if it was not |
//! | an update | nothing: a write is not taken for a sign that the entry will be read |
//! | memory | 8 bytes an entry: two links; the mark is the engine's counter |
//!
//! The bound of one round matters only where readers mark entries while the hand walks: when it is back where it started, that
//! entry leaves, even if it was hit meanwhile. With nobody else running it has no mark by then.
//!
//! **Source.** Zhang, Yang, Yue, Vigfusson, Rashmi: *SIEVE is Simpler than LRU: an Efficient Turn-Key Eviction Algorithm for
//! Web Caches*, NSDI 2024. Added here: an entry that leaves from under the hand, however it leaves, sends the hand on to the
//! next newer one.
//!
//! **Trace.** Worked by hand; the test replays it from this very text. `*` is a mark, `►` the hand.
//!
//! ```text
//!    call          oldest ─► newest
//!    insert A    │ A
//!    insert B    │ A B
//!    insert C    │ A B C
//!    hit A       │ A* B C
//!    hit C       │ A* B C*
//!    hit C       │ A* B C*      ◄ marked already: nothing is written
//!    victim B    │ A ►B C*      ◄ the hand took the mark of A
//!    remove B    │ A ►C*        ◄ ... and goes on to the next
//!    insert D    │ A ►C* D      ◄ the newcomer is ahead of the hand, the survivor A behind it
//!    victim D    │ A C ►D
//!    victim D    │ A C ►D       ◄ asked again, the same answer
//!    remove D    │ A C          ◄ past the newest, the hand is nowhere: it will start at the oldest
//!    insert B    │ A C B
//!    hit A       │ A* C B
//!    victim C    │ A ►C B
//!    relocate C D│ A ►D B       ◄ a new value, in another slot: same place, and the hand is still there
//!    hit D       │ A ►D* B
//!    hit B       │ A ►D* B*
//!    victim A    │ ►A D B       ◄ past the newest, and round
//!    update A    │ ►A D B       ◄ a write is no hit
//!    remove A    │ ►D B
//!    remove B    │ ►D           ◄ deleted elsewhere: the hand stays
//!    remove D    │
//! ```

use super::list::{Links, List};
use super::{EvictionPolicy, Hears, HitCounters, Meta, Slot, Victim, Walk};
use crate::observe::Cause;
use std::fmt;
use std::iter::successors;

/// Gives up the oldest entry that was not hit since the hand last passed it (Zhang et al. 2024).
///
/// Reading an entry marks it; `peek`, `contains_key` and writes do not. A read of a marked entry writes nothing, so hits from many
/// threads do not contend. Making room costs O(1), amortised over the hits, and an entry 8 bytes. Choose it where many keys are
/// asked for once and a few again and again, as on the web; where recency is all that counts, [`Lru`](super::Lru) is better.
///
/// ```
/// use cachette::{Cache, policy::Sieve};
///
/// let cache = Cache::<u32, &str>::builder().capacity(3).policy(Sieve::new).build()?;
/// cache.put(1, "one");
/// cache.put(2, "two");
/// cache.put(3, "three");
/// assert_eq!(cache.get(&1), Some("one")); // marked
/// cache.put(4, "four"); // the hand takes the mark of 1, and 2 leaves
/// assert!(!cache.contains_key(&2));
/// cache.put(5, "five"); // the hand goes on from there: 3 leaves
/// assert!(!cache.contains_key(&3));
/// assert!(cache.contains_key(&1)); // the oldest has a round to be hit again
/// # Ok::<(), cachette::BuildError>(())
/// ```
pub struct Sieve {
    links: Links,
    queue: List,
    /// Where the walk goes on; after `victim`, at the victim.
    hand: Option<Slot>,
}

impl Sieve {
    /// A SIEVE policy with no entries. Allocates nothing. O(1).
    #[must_use]
    pub const fn new() -> Self {
        Self { links: Links::new(), queue: List::new(), hand: None }
    }

    /// Where the walk goes on: at the hand, or else at the oldest.
    fn start(&self) -> Option<Slot> {
        self.hand.or_else(|| self.queue.back())
    }
}

impl EvictionPolicy for Sieve {
    fn hears(&self) -> Hears {
        Hears::Counter(1)
    }

    fn hears_misses(&self) -> bool {
        false
    }

    fn insert(&mut self, slot: Slot, _: &Meta) {
        self.queue.push_front(&mut self.links, slot);
    }

    fn relocate(&mut self, from: Slot, to: Slot, _: &Meta) {
        self.queue.replace(&mut self.links, from, to);
        if self.hand == Some(from) {
            self.hand = Some(to);
        }
    }

    fn remove(&mut self, slot: Slot, _: Cause) {
        if self.hand == Some(slot) {
            self.hand = List::before(&self.links, slot);
        }
        self.queue.unlink(&mut self.links, slot);
    }

    /// The hand stays at the victim: asked again, it finds it at once.
    fn victim(&mut self, _: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        for _ in 0..self.queue.len() {
            let Some(slot) = self.start().filter(|&slot| hits.get(slot) != 0) else { break };
            hits.set(slot, 0);
            self.hand = List::before(&self.links, slot);
        }
        self.hand = self.start();
        self.hand.map_or(Victim::None, Victim::Entry)
    }

    fn len(&self) -> usize {
        self.queue.len()
    }

    /// From the hand on to the newest, then from the oldest up to the hand.
    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        let start = self.start();
        let ahead = successors(start, |&slot| List::before(&self.links, slot));
        let oldest_on = self.queue.iter(&self.links).rev();
        Box::new(ahead.chain(oldest_on.take_while(move |&slot| Some(slot) != start)))
    }

    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        let start = self.start();
        let older = |&slot: &Slot| List::after(&self.links, slot);
        let behind = successors(start.as_ref().and_then(older), older);
        let newest_on = self.queue.iter(&self.links);
        Box::new(behind.chain(newest_on.take_while(move |&slot| Some(slot) != start)).chain(start))
    }

    fn coldest_after(&self, after: Option<Slot>) -> Option<Walk<'_>> {
        let Some(slot) = after else { return Some(self.coldest()) };
        // Past the newest it goes round to the oldest, and ends where it began.
        let start = self.start();
        let next = |&slot: &Slot| List::before(&self.links, slot).or_else(|| self.queue.back());
        Some(Box::new(successors(next(&slot), next).take_while(move |&slot| Some(slot) != start)))
    }

    fn assert_valid(&self) {
        // Invariant 1. Nothing but the history tells invariant 2: the lockstep test holds it.
        self.queue.assert_valid(&self.links);
        let resident = |hand| self.queue.iter(&self.links).any(|slot| slot == hand);
        assert!(self.hand.is_none_or(resident), "3: the hand is at a resident entry");
    }
}

impl Default for Sieve {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sieve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sieve").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Counts;
    use super::super::laws::{CALM, Segment};
    use super::super::lockstep::{complaint, letters, operations, random, replay_marked};
    use super::*;
    use crate::sync::{AtomicU64, Ordering};

    fn picture(sieve: &Sieve, hits: &HitCounters<'_>) -> String {
        let one = |slot| {
            let hand = if sieve.hand == Some(slot) { "►" } else { "" };
            let mark = "*".repeat(usize::from(hits.get(slot)));
            format!("{hand}{}{mark}", letters(std::iter::once(slot)))
        };
        sieve.queue.iter(&sieve.links).rev().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_trace_above() {
        replay_marked(include_str!("sieve.rs"), Sieve::new(), picture);
    }

    /// The pseudo-code of the paper (Algorithm 1), line by line, over a plain array whose front is the head. Entries are known
    /// by a number of their own, so that the slot, which changes, is only looked up.
    #[derive(Default)]
    struct Paper {
        queue: Vec<Cell>,
        /// `p`, or nil.
        hand: Option<u64>,
    }

    struct Cell {
        id: u64,
        slot: Slot,
        visited: bool,
    }

    impl Paper {
        fn at(&self, id: u64) -> usize {
            self.queue.iter().position(|cell| cell.id == id).unwrap()
        }

        fn prev(&self, id: u64) -> Option<u64> {
            self.at(id).checked_sub(1).map(|place| self.queue[place].id)
        }

        /// "o = p; if o is nil: o = tail; while o.visited: o.visited = 0; o = o.prev; if o is nil: o = tail".
        fn search(&mut self) -> Option<u64> {
            let tail = self.queue.last()?.id;
            let mut o = self.hand.unwrap_or(tail);
            while self.queue[self.at(o)].visited {
                let place = self.at(o);
                self.queue[place].visited = false;
                o = self.prev(o).unwrap_or(tail);
            }
            self.hand = Some(o);
            Some(o)
        }

        /// "p = o.prev; discard o", and the same for whatever is discarded from under the hand.
        fn discard(&mut self, id: u64) {
            if self.hand == Some(id) {
                self.hand = self.prev(id);
            }
            self.queue.remove(self.at(id));
        }

        /// The walk from the hand, ended after one round.
        fn order(&self) -> Vec<Slot> {
            let len = self.queue.len();
            let start = self.hand.map_or(len, |hand| self.at(hand) + 1);
            (0..len).map(|step| self.queue[(start + len - 1 - step) % len].slot).collect()
        }
    }

    /// Half of the operations are requests as in the paper: a hit, or else an insertion, preceded by an eviction if the queue
    /// is full. The others are what the paper has no word for.
    #[test]
    fn lockstep_with_the_pseudo_code() {
        let mut random = random();
        let mut segment = Segment::new(Sieve::new());
        let mut paper = Paper::default();
        let mut capacity = 30;
        for now in 1..=operations() {
            let full = paper.queue.len() >= capacity;
            let pick = (0..2).map(|_| random(paper.queue.len().max(1))).min().unwrap_or(0);
            match random(100) {
                0..30 => {
                    while paper.queue.len() >= capacity {
                        let id = paper.search().unwrap();
                        let slot = paper.queue[paper.at(id)].slot;
                        assert_eq!(segment.victim(Some(&CALM)), Victim::Entry(slot), "{now}");
                        segment.remove(slot, Cause::Evicted);
                        paper.discard(id);
                    }
                    let slot = segment.insert(&CALM);
                    paper.queue.insert(0, Cell { id: now, slot, visited: false });
                }
                30..33 => {
                    let found = paper.search().map(|id| paper.queue[paper.at(id)].slot);
                    let asked = segment.victim(None);
                    assert_eq!(asked, found.map_or(Victim::None, Victim::Entry), "{now}");
                }
                33..40 if !paper.queue.is_empty() => {
                    segment.remove(paper.queue[pick].slot, Cause::Deleted);
                    paper.discard(paper.queue[pick].id);
                }
                40..48 if !paper.queue.is_empty() => {
                    paper.queue[pick].slot = segment.relocate(paper.queue[pick].slot, &CALM);
                }
                48..52 if !paper.queue.is_empty() => segment.update(paper.queue[pick].slot, &CALM),
                _ if !paper.queue.is_empty() && (full || random(2) == 0) => {
                    segment.hit(paper.queue[pick].slot);
                    paper.queue[pick].visited = true;
                }
                _ => {}
            }
            assert_eq!(segment.policy.coldest().next(), paper.order().first().copied(), "{now}");
            if now % 1_000 == 0 {
                assert!(segment.policy.coldest().eq(paper.order()), "operation {now}");
                let marked = |cell: &Cell| cell.visited == (segment.hits.get(cell.slot) != 0);
                assert!(paper.queue.iter().all(marked), "operation {now}");
                segment.check(|_| true);
                capacity = random(60) + 1;
            }
        }
    }

    #[test]
    fn the_work_is_bounded_by_the_marks_and_by_one_round() {
        /// The oldest so many are marked, and marked again at once: readers are faster than the hand.
        struct Relentless {
            marked: usize,
            looks: AtomicU64,
        }
        impl Counts for Relentless {
            fn get(&self, slot: Slot) -> u8 {
                self.looks.fetch_add(1, Ordering::Relaxed);
                u8::from(slot.index() < self.marked)
            }
            fn set(&self, _: Slot, _: u8) {}
        }
        for (marked, victim, looks) in [(0, 0, 1), (10, 10, 11), (99, 99, 100), (100, 0, 100)] {
            let mut sieve = Sieve::new();
            (0..100).for_each(|index| sieve.insert(Slot::new(index), &CALM));
            let readers = Relentless { marked, looks: AtomicU64::new(0) };
            let asked = sieve.victim(None, &mut HitCounters::view(&readers, 1));
            assert_eq!(asked, Victim::Entry(Slot::new(victim)));
            assert_eq!(readers.looks.into_inner(), looks, "{marked} marked");
        }
    }

    #[test]
    fn damage_is_seen() {
        let twice = complaint(Sieve::new(), |sieve| sieve.insert(Slot::new(2), &CALM));
        assert!(twice.contains("the same order"), "{twice}");
        let lost = complaint(Sieve::new(), |sieve| sieve.hand = Some(Slot::new(7)));
        assert!(lost.contains("3: the hand is at a resident entry"), "{lost}");
    }

    #[test]
    fn debug_is_short() {
        assert_eq!(format!("{:?}", Sieve::default()), "Sieve { len: 0 }");
    }
}
