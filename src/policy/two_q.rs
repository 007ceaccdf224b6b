//! 2Q, in its full version.
//!
//! **Problem.** LRU takes one use for a promise of the next; and a second use right after the first, as databases make it, for
//! a promise of many. Find those that are used again after a while, in O(1).
//!
//! **Idea.** A newcomer goes into a short queue, **A1in**, a quarter of the capacity, where hits count for nothing: they belong to the first use.
//! What leaves it is remembered, as a ghost, in **A1out**. Only a key that is asked for again while it is there has been used
//! twice, with a while between: it comes back into **Am**, an LRU list, which has the rest of the capacity.
//!
//! ```text
//!              A1in, 25 %                              Am, the rest
//!    new ─►  [ 9  8  7 ]                          ┌► [ 4  1  6  2  5 ] ──► least recent: leaves
//!                │ oldest                         │
//!                ▼                                │
//!              leaves    A1out [ f e d c b a ] ───┘ asked for again
//! ```
//!
//! **Good at** scans, and at uses that come in bursts: databases. **Bad at** loops, and at a second use that comes later than A1out
//! remembers, or so early that A1in still has it: then it is lost, and the third must come in time.
//!
//! **Invariants**
//!
//! 1. Every resident entry is in A1in or Am, which know their weights.
//! 2. From newest to oldest, the entries of A1in stand in the order in which they came, those of Am in the order of their
//!    last use.
//! 3. Ghosts weigh no more than half of the capacity, and are at most twice as many as the entries, and a few more; but for
//!    what following calls drop, [`SLICE`](super::ghosts::SLICE) at a time.
//!
//! | operation | cost |
//! |---|---|
//! | `insert`, `remove`, `relocate`, `victim` | O(1) |
//! | `hit`, `update` | O(1): a move in Am, nothing in A1in |
//! | memory | 24 bytes an entry, and 28 a ghost, of which there is one for two entries: about 38 an entry |
//!
//! **Source.** Johnson, Shasha: *2Q: a low overhead high performance buffer management replacement algorithm*, VLDB 1994, with the
//! shares that it recommends: Kin 25 %, Kout 50 %. Where the paper leaves room: a ghost is taken when its key is asked for, before
//! others may push it out; if Am is empty, A1in gives even if it is short.
//!
//! **Trace.** Worked by hand; the test replays it from this very text. `A1in / Am / A1out`, each from oldest to newest. Capacity 4:
//! A1in keeps 1 of it, A1out remembers 2.
//!
//! ```text
//!    call           A1in / Am / A1out
//!    capacity 4   │ / /
//!    insert A     │ A / /
//!    insert B     │ A B / /
//!    insert C     │ A B C / /
//!    insert D     │ A B C D / /         ◄ there is room: A1in may be longer than its share
//!    hit A        │ A B C D / /         ◄ it has just come: this is no second use
//!    victim A E   │ A B C D / /
//!    evict A      │ B C D / / a
//!    insert E     │ B C D E / / a
//!    victim B F   │ B C D E / / a
//!    evict B      │ C D E / / a b
//!    insert F     │ C D E F / / a b
//!    victim C A   │ C D E F / / b       ◄ A is asked for again: its ghost is taken
//!    evict C      │ D E F / / b c
//!    insert A     │ D E F / A / b c
//!    victim D B   │ D E F / A / c
//!    evict D      │ E F / A / c d
//!    insert B     │ E F / A B / c d
//!    hit A        │ E F / B A / c d
//!    victim E G   │ E F / B A / c d
//!    evict E      │ F / B A / d e       ◄ C is forgotten
//!    insert D     │ F / B A D / e       ◄ and D was not
//!    victim B G   │ F / B A D / e       ◄ A1in is short: Am gives
//!    evict B      │ F / A D / e         ◄ what leaves Am is not remembered
//! ```

use super::ghosts::Ghosts;
use super::queues::{Queue, Queues};
use super::{EvictionPolicy, Hears, Heat, HitCounters, Meta, Slot, Victim, Walk};
use crate::observe::Cause;
use std::fmt;

/// A1in.
const NEW: Queue = 0;
/// Am.
const MAIN: Queue = 1;

/// Keeps what is asked for again some time after its first uses (Johnson, Shasha 1994).
///
/// Reading an entry and writing it are uses; `peek` and `contains_key` are not. Uses of an entry that has come lately change
/// nothing. Every call costs O(1). An entry costs 24 bytes, and the ghosts of what has left half as much again. Choose it where
/// uses come in bursts, and scans pass through: in front of a database.
///
/// Exact while one thread at a time uses the cache. Where threads read and write side by side, hits are heard in the order in
/// which they were noted, in batches; one is lost if 64 others wait to be heard while somebody writes to the segment.
/// An entry that weighs more than `u32::MAX` counts as if it weighed that.
///
/// ```
/// use cachette::{Cache, policy::TwoQ};
///
/// let cache = Cache::<u32, u32>::builder().capacity(8).policy(TwoQ::new).build()?;
/// for key in 0..10 {
///     cache.put(key, key);
/// }
/// cache.put(0, 0); // it was here a while ago
/// for key in 10..100 {
///     cache.put(key, key); // a scan
/// }
/// assert!(cache.contains_key(&0));
/// # Ok::<(), cachette::BuildError>(())
/// ```
#[doc(alias = "2Q")]
pub struct TwoQ {
    /// Of each entry its hash is noted.
    queues: Queues<2, u64>,
    /// A1out.
    ghosts: Ghosts<()>,
    /// What A1in keeps, and A1out remembers: Kin and Kout.
    new: u64,
    out: u64,
}

impl TwoQ {
    /// A 2Q policy with no entries. Allocates nothing. O(1).
    #[must_use]
    pub const fn new() -> Self {
        Self { queues: Queues::new(), ghosts: Ghosts::new(), new: 0, out: 0 }
    }

    /// The queue that gives next, and the other one.
    fn turns(&self) -> [Queue; 2] {
        let new = self.queues.weight(NEW) > self.new || self.queues.count(MAIN) == 0;
        if new { [NEW, MAIN] } else { [MAIN, NEW] }
    }
}

impl EvictionPolicy for TwoQ {
    fn hears(&self) -> Hears {
        Hears::InOrder
    }

    fn hears_misses(&self) -> bool {
        false
    }

    fn resize(&mut self, share: u64) {
        self.new = share / 4;
        self.out = share / 2;
    }

    fn insert(&mut self, slot: Slot, meta: &Meta) {
        let home = if self.ghosts.claim(meta.hash).is_some() { MAIN } else { NEW };
        self.queues.push(home, slot, meta.weight, meta.hash);
    }

    fn update(&mut self, slot: Slot, _: &Meta) {
        self.hit(slot);
    }

    fn hit(&mut self, slot: Slot) {
        if self.queues.row(slot).queue == MAIN {
            self.queues.move_to(MAIN, slot);
        }
    }

    fn relocate(&mut self, from: Slot, to: Slot, meta: &Meta) {
        self.queues.relocate(from, to, meta.weight);
    }

    fn remove(&mut self, slot: Slot, cause: Cause) {
        let row = self.queues.remove(slot);
        if cause == Cause::Evicted && row.queue == NEW {
            self.ghosts.push(row.note, u64::from(row.weight), ());
        }
        self.ghosts.trim(self.out, self.len());
    }

    fn victim(&mut self, newcomer: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
        if let Some(newcomer) = newcomer {
            let _ = self.ghosts.hold(newcomer.hash);
        }
        self.queues.oldest(self.turns()[0]).map_or(Victim::None, Victim::Entry)
    }

    fn len(&self) -> usize {
        self.queues.len()
    }

    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.queues.in_order(self.turns()))
    }

    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.queues.in_order(self.turns()).rev())
    }

    fn coldest_after(&self, after: Option<Slot>) -> Option<Walk<'_>> {
        let order = self.turns();
        Some(match after {
            Some(slot) => Box::new(self.queues.in_order_after(order, slot)),
            None => Box::new(self.queues.in_order(order)),
        })
    }

    fn heat(&self, slot: Slot, _: &HitCounters<'_>) -> Heat {
        Heat::new(0, self.queues.row(slot).queue == MAIN)
    }

    fn warm(&mut self, slot: Slot, heat: Heat, _: &mut HitCounters<'_>) {
        if heat.proven {
            self.queues.move_to(MAIN, slot);
        }
    }

    fn assert_valid(&self) {
        // Nothing but the history tells invariant 2, and what is left to drop of invariant 3: the lockstep test holds them.
        self.queues.assert_valid();
        self.ghosts.assert_valid();
    }
}

impl Default for TwoQ {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TwoQ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let main = self.queues.count(MAIN);
        f.debug_struct("TwoQ").field("len", &self.len()).field("main", &main).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::{CALM, Segment};
    use super::super::lockstep::{Paper, beside, complaint, pictured, replay};
    use super::*;

    #[test]
    fn the_trace_above() {
        replay(include_str!("two_q.rs"), TwoQ::new(), |two_q| {
            let queues = [NEW, MAIN].map(|queue| two_q.queues.iter(queue));
            pictured(queues, &[two_q.ghosts.hashes()])
        });
    }

    /// The paper's figure 2, over plain arrays whose fronts are the tails.
    #[derive(Default)]
    struct Figure {
        slots: usize,
        k_in: usize,
        k_out: usize,
        a1_in: Vec<u64>,
        a1_out: Vec<u64>,
        am: Vec<u64>,
    }

    impl Figure {
        fn of(slots: usize) -> Self {
            Self { slots, k_in: slots / 4, k_out: slots / 2, ..Self::default() }
        }

        fn reclaim_for(&mut self) -> Vec<u64> {
            if self.a1_in.len() + self.am.len() < self.slots {
                return Vec::new();
            }
            if self.a1_in.len() > self.k_in || self.am.is_empty() {
                let y = self.a1_in.remove(0);
                self.a1_out.push(y);
                if self.a1_out.len() > self.k_out {
                    self.a1_out.remove(0);
                }
                return vec![y];
            }
            vec![self.am.remove(0)]
        }
    }

    impl Paper for Figure {
        fn hit(&mut self, x: u64) {
            if let Some(at) = self.am.iter().position(|&resident| resident == x) {
                self.am.remove(at);
                self.am.push(x);
            }
        }

        fn miss(&mut self, x: u64) -> Vec<u64> {
            let remembered = self.a1_out.contains(&x);
            self.a1_out.retain(|&ghost| ghost != x);
            let gone = self.reclaim_for();
            if remembered { &mut self.am } else { &mut self.a1_in }.push(x);
            gone
        }

        fn delete(&mut self, x: u64) {
            self.a1_in.retain(|&resident| resident != x);
            self.am.retain(|&resident| resident != x);
        }

        fn order(&self) -> Vec<u64> {
            if self.a1_in.len() > self.k_in || self.am.is_empty() {
                [&self.a1_in[..], &self.am].concat()
            } else {
                [&self.am[..], &self.a1_in].concat()
            }
        }
    }

    #[test]
    fn lockstep_with_the_figure() {
        beside(TwoQ::new, Figure::of);
    }

    #[test]
    fn a_queue_has_its_share_in_weight() {
        let mut segment = Segment::new(TwoQ::new());
        segment.policy.resize(1_000);
        for hash in 0..1_000 {
            let meta = Meta::new(hash % 45, 30, u64::MAX);
            while (0..2).map(|queue| segment.policy.queues.weight(queue)).sum::<u64>() > 970 {
                let Victim::Entry(slot) = segment.victim(Some(&meta)) else { unreachable!() };
                segment.remove(slot, Cause::Evicted);
            }
            segment.insert(&meta);
        }
        assert_eq!(
            segment.policy.queues.weight(NEW),
            270,
            "more than 250 before the last one left"
        );
        assert_eq!(segment.policy.ghosts.weight(), 480);
        segment.check(|_| true);
    }

    #[test]
    fn only_what_is_evicted_is_remembered() {
        let mut segment = Segment::new(TwoQ::new());
        for (hash, cause) in (0..).zip(Cause::ALL) {
            let slot = segment.insert(&Meta::new(hash, 1, u64::MAX));
            segment.remove(slot, cause);
            assert_eq!(segment.policy.ghosts.get(hash).is_some(), cause == Cause::Evicted);
        }
    }

    #[test]
    fn damage_is_seen() {
        let twice = complaint(TwoQ::new(), |two_q| two_q.insert(Slot::new(2), &CALM));
        assert!(twice.contains("the same order"), "{twice}");
        let ghosts = complaint(TwoQ::new(), |two_q| two_q.ghosts.damage());
        assert!(ghosts.contains("as many chains as rows"), "{ghosts}");
    }

    #[test]
    fn debug_is_short() {
        assert_eq!(format!("{:?}", TwoQ::default()), "TwoQ { len: 0, main: 0 }");
    }
}
