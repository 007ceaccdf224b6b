//! CLOCK, or second chance.
//!
//! **Problem.** Keep what is used as well as LRU does, more or less, and let a hit write at most one bit: no list to move in,
//! no lock to take.
//!
//! **Idea.** A queue, as in FIFO, and a mark on each entry that was hit. When the oldest has a mark, it does not leave: the mark
//! is taken, and the entry goes to the end of the queue, as if it had just come. So each mark buys one more round. Drawn as a
//! ring with a hand that walks over the entries, it looks like a clock; as a queue it is called FIFO with reinsertion.
//!
//! ```text
//!                    newest              oldest
//!    insert ─────►     6  ⇄  2*  ⇄  0  ⇄  3*        * hit since it came, or came again
//!
//!    who leaves?       3  ⇄  6  ⇄  2*  ⇄  0         3 loses its mark, and starts anew
//!                                         └─► victim
//! ```
//!
//! With a counter in place of the mark an entry survives as many rounds as it had hits, up to the most that is counted.
//!
//! **Good at** being cheap: a hit on a marked entry writes nothing, and hit ratios are near those of LRU. **Bad at** scans and loops,
//! as LRU is: what is asked for once has a whole round to live.
//!
//! **Invariants**
//!
//! 1. The list holds every resident entry once.
//! 2. From front to back, entries stand in the order in which they came, or came again, the newest first.
//!
//! | operation | cost |
//! |---|---|
//! | `insert`, `remove`, `relocate` | O(1) |
//! | `victim` | O(1) amortised: each step takes a mark, which a hit paid for; never more than a round for each hit that is counted |
//! | a hit | a byte set by the engine, if the count was not full |
//! | an update | nothing: a write is not taken for a sign that the entry will be read |
//! | memory | 8 bytes an entry: two links; the mark is the engine's counter |
//!
//! **Source.** Corbató: *A paging experiment with the Multics system*, MIT Project MAC report MAC-M-384, 1968. With a counter:
//! Smith: *Sequentiality and prefetching in database systems*, ACM TODS 3(3), 1978, as GCLOCK.
//!
//! **Trace.** Worked by hand; the test replays it from this very text. `*` is a mark.
//!
//! ```text
//!    call          oldest ─► newest
//!    insert A    │ A
//!    insert B    │ A B
//!    insert C    │ A B C
//!    hit A       │ A* B C
//!    hit A       │ A* B C       ◄ marked already: nothing is written
//!    hit C       │ A* B C*
//!    victim B    │ B C* A       ◄ A has gone round, and paid with its mark
//!    victim B    │ B C* A       ◄ asked again, the same answer
//!    evict B     │ C* A
//!    insert B    │ C* A B
//!    update A    │ C* A B       ◄ a write is no hit
//!    victim A    │ A B C        ◄ a second chance for C, none for A
//!    relocate A D│ D B C        ◄ a new value, in another slot: same place
//!    hit D       │ D* B C
//!    hit B       │ D* B* C
//!    hit C       │ D* B* C*
//!    victim D    │ D B C        ◄ all were marked: a whole round, and the oldest leaves
//! ```

use super::list::{Links, List};
use super::{EvictionPolicy, Hears, HitCounters, Meta, Slot, Victim, Walk};
use crate::observe::Cause;
use std::fmt;

/// Gives up the oldest entry, but lets one that was hit go round once more (Corbató 1968).
///
/// Reading an entry marks it; `peek`, `contains_key` and writes do not. A read of a marked entry writes nothing, so hits from many
/// threads do not contend. Making room costs O(1), amortised over the hits, and an entry 8 bytes. Choose it where LRU is right
/// and hits must be cheap; [`Sieve`](super::Sieve) and [`S3Fifo`](super::S3Fifo) cost the same and stand scans better.
///
/// ```
/// use cachette::{Cache, policy::Clock};
///
/// let cache = Cache::<u32, &str>::builder().capacity(2).policy(Clock::new).build()?;
/// cache.put(1, "one");
/// cache.put(2, "two");
/// assert_eq!(cache.get(&1), Some("one")); // marked
/// cache.put(3, "three"); // 1 is the oldest, but goes round; 2 leaves
/// assert!(cache.contains_key(&1));
/// assert!(!cache.contains_key(&2));
/// # Ok::<(), cachette::BuildError>(())
/// ```
pub struct Clock {
    links: Links,
    queue: List,
    /// The most hits that are counted.
    most: u8,
}

impl Clock {
    /// A CLOCK policy with no entries, and a mark for each: one more round for an entry that was hit. Allocates nothing. O(1).
    #[must_use]
    pub const fn new() -> Self {
        Self::counting(1)
    }

    /// The same with a count in place of the mark: one more round for each hit since the entry came, up to `most`. With 0 it is
    /// FIFO.
    ///
    /// ```
    /// use cachette::{Cache, policy::Clock};
    ///
    /// let cache = Cache::<u32, u32>::builder().capacity(2).policy(|| Clock::counting(3)).build()?;
    /// cache.put(1, 1);
    /// cache.get(&1);
    /// cache.get(&1); // two rounds
    /// for key in 2..=4 {
    ///     cache.put(key, key);
    /// }
    /// assert!(cache.contains_key(&1));
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    #[must_use]
    pub const fn counting(most: u8) -> Self {
        Self { links: Links::new(), queue: List::new(), most }
    }
}

impl EvictionPolicy for Clock {
    fn hears(&self) -> Hears {
        Hears::Counter(self.most)
    }

    fn hears_misses(&self) -> bool {
        false
    }

    fn insert(&mut self, slot: Slot, _: &Meta) {
        self.queue.push_front(&mut self.links, slot);
    }

    fn relocate(&mut self, from: Slot, to: Slot, _: &Meta) {
        self.queue.replace(&mut self.links, from, to);
    }

    fn remove(&mut self, slot: Slot, _: Cause) {
        self.queue.unlink(&mut self.links, slot);
    }

    /// The bound matters only where readers mark entries while this runs: then one leaves that was hit just now.
    fn victim(&mut self, _: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        for _ in 0..self.queue.len() * usize::from(self.most) {
            let Some(slot) = self.queue.back() else { break };
            let Some(fewer) = hits.get(slot).checked_sub(1) else { break };
            hits.set(slot, fewer);
            self.queue.move_to_front(&mut self.links, slot);
        }
        self.queue.back().map_or(Victim::None, Victim::Entry)
    }

    fn len(&self) -> usize {
        self.queue.len()
    }

    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.queue.iter(&self.links).rev())
    }

    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.queue.iter(&self.links))
    }

    fn coldest_after(&self, after: Option<Slot>) -> Option<Walk<'_>> {
        Some(match after {
            Some(slot) => Box::new(List::towards_front(&self.links, slot)),
            None => self.coldest(),
        })
    }

    fn assert_valid(&self) {
        // Invariant 1. Nothing but the history tells invariant 2: the lockstep test holds it.
        self.queue.assert_valid(&self.links);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("len", &self.len()).field("most", &self.most).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Counts;
    use super::super::laws::CALM;
    use super::super::lockstep::{Paper, beside, complaint, letters, replay_marked};
    use super::*;
    use crate::sync::{AtomicU64, Ordering};
    use std::collections::HashMap;

    fn picture(clock: &Clock, hits: &HitCounters<'_>) -> String {
        let one = |slot| {
            let mark = "*".repeat(usize::from(hits.get(slot)));
            format!("{}{mark}", letters(std::iter::once(slot)))
        };
        clock.coldest().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_trace_above() {
        replay_marked(include_str!("clock.rs"), Clock::new(), picture);
    }

    /// A ring of frames and a hand, as in the report: a frame whose count is not 0 loses one and is passed by; the first
    /// other one is given to the newcomer, and the hand stands behind it.
    struct Ring {
        capacity: usize,
        most: u8,
        frames: Vec<u64>,
        hand: usize,
        counts: HashMap<u64, u8>,
    }

    impl Paper for Ring {
        fn hit(&mut self, key: u64) {
            let count = self.counts.get_mut(&key).unwrap();
            *count = self.most.min(*count + 1);
        }

        fn miss(&mut self, key: u64) -> Vec<u64> {
            self.counts.insert(key, 0);
            if self.frames.len() < self.capacity {
                // A frame was free: it is the one behind the hand.
                self.frames.insert(self.hand, key);
                self.hand += 1;
                return Vec::new();
            }
            loop {
                self.hand %= self.frames.len();
                let frame = &mut self.frames[self.hand];
                self.hand += 1;
                let count = self.counts.get_mut(frame).unwrap();
                if *count == 0 {
                    let gone = std::mem::replace(frame, key);
                    self.counts.remove(&gone);
                    return vec![gone];
                }
                *count -= 1;
            }
        }

        fn delete(&mut self, key: u64) {
            let at = self.frames.iter().position(|&frame| frame == key).unwrap();
            self.frames.remove(at);
            self.hand -= usize::from(at < self.hand);
        }

        fn order(&self) -> Vec<u64> {
            let mut order = self.frames.clone();
            order.rotate_left(self.hand % self.frames.len().max(1));
            order
        }
    }

    #[test]
    fn lockstep_with_a_ring_and_a_hand() {
        for most in [1, 3] {
            let ring = |capacity| Ring {
                capacity,
                most,
                frames: Vec::new(),
                hand: 0,
                counts: HashMap::new(),
            };
            beside(|| Clock::counting(most), ring);
        }
    }

    #[test]
    fn the_work_is_bounded_by_a_round_for_each_hit_counted() {
        /// All are hit again at once: readers are faster than the hand.
        struct Relentless(AtomicU64);
        impl Counts for Relentless {
            fn get(&self, _: Slot) -> u8 {
                3
            }
            fn set(&self, _: Slot, _: u8) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        for most in [0, 1, 3] {
            let mut clock = Clock::counting(most);
            (0..100).for_each(|index| clock.insert(Slot::new(index), &CALM));
            let readers = Relentless(AtomicU64::new(0));
            let asked = clock.victim(None, &mut HitCounters::view(&readers, most));
            assert_eq!(asked, Victim::Entry(Slot::new(0)));
            assert_eq!(readers.0.into_inner(), 100 * u64::from(most));
        }
    }

    #[test]
    fn damage_is_seen() {
        let twice = complaint(Clock::new(), |clock| clock.insert(Slot::new(2), &CALM));
        assert!(twice.contains("the same order"), "{twice}");
    }

    #[test]
    fn debug_is_short() {
        assert_eq!(format!("{:?}", Clock::default()), "Clock { len: 0, most: 1 }");
    }
}
