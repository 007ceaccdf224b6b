//! Low inter-reference recency set (LIRS).
//!
//! **Problem.** LRU goes by how long ago the last use was. But a key in a loop was always used long ago when it is wanted
//! again, and a key of a scan never. Go by the time *between the last two uses* instead.
//!
//! **Idea.** Entries whose last two uses were close are **LIR**, and have 99 % of the capacity; all others are **HIR**, pass through the
//! last hundredth, a queue, and leave from there. Which is close? If the last two uses of an entry are closer to each other than the
//! last use of some LIR entry is to now, the two should change places. The paper keeps a stack of all entries, and of those that
//! have left, by their last uses, and prunes it so that the bottom is the least recent LIR entry: an HIR entry that is used while it
//! is *in the stack* becomes LIR, and the bottom becomes HIR.
//!
//! ```text
//!    the paper's stack           here
//!
//!    top     9  hir
//!            4  LIR              LIR, by last use     4 at 17  ⇄  1 at 14  ⇄  2 at 12      ◄ the least recent
//!            7  hir
//!            1  LIR              HIR, a queue         9 at 18  ⇄  7 at 15  ⇄  5 at 8 ──► victim
//!            x  ghost
//!            2  LIR              ghosts               x at 13
//!    ------- pruned below
//! ```
//!
//! What is pruned here: nothing. That an entry, or a ghost, is in the stack means that its last use came after that of the least
//! recent LIR entry; so it is enough to know **when** each was used last, on a clock that counts uses. 7 at 15 and x at 13
//! are in the stack, since 2 was used at 12; 5 at 8 is not. So every call is O(1), where the paper's pruning may walk far.
//!
//! **Good at** loops, scans, and whatever has a steady rhythm. **Bad at** what turns: who was close once keeps its place until enough
//! others are; on patterns that LRU is made for it may have hardly a hit.
//!
//! **Invariants**
//!
//! 1. Every resident entry is in one of the two queues, which know their weights.
//! 2. From newest to oldest, LIR entries stand in the order of their last use.
//! 3. So do the ghosts, and those of the HIR entries that are in the stack.
//! 4. LIR entries weigh no more than their share, but for what following uses make HIR, [`SLICE`] at a time.
//! 5. Ghosts weigh no more than twice the capacity, and are at most twice as many as the entries, and a few more; but for what
//!    following calls drop, [`SLICE`] at a time.
//!
//! | operation | cost |
//! |---|---|
//! | `insert`, `remove`, `relocate`, `victim` | O(1); `insert` forgets at most a [`SLICE`] of ghosts that are out of the stack |
//! | `hit`, `update` | O(1): a move, and at most [`SLICE`] entries that become HIR; one, where all weigh the same |
//! | memory | 32 bytes an entry, and 36 a ghost, of which there are at most two for each entry |
//!
//! **Source.** Jiang, Zhang: *LIRS: an efficient low inter-reference recency set replacement policy to improve buffer cache
//! performance*, SIGMETRICS 2002. Where the paper leaves room: HIR entries have 1 % and at least one unit; ghosts are bounded.
//! Added here: times in place of the stack, and weights.
//!
//! **Trace.** Worked by hand; the test replays it from this very text. `LIR / HIR / ghosts`, each from oldest to newest, with the
//! time of the last use. Capacity 3: LIR has 2.
//!
//! ```text
//!    call           LIR / HIR / ghosts
//!    capacity 3   │ / /
//!    insert A     │ A1 / /              ◄ while there is room among them, newcomers are LIR
//!    insert B     │ A1 B2 / /
//!    insert C     │ A1 B2 / C3 /
//!    hit A        │ B2 A4 / C3 /
//!    victim C D   │ B2 A4 / C3 /
//!    evict C      │ B2 A4 / / c3        ◄ C was in the stack (3 > 2): a ghost
//!    insert D     │ B2 A4 / D5 / c3
//!    victim D C   │ B2 A4 / D5 /        ◄ C is asked for again: its ghost is held for it
//!    evict D      │ B2 A4 / / d5
//!    insert C     │ A4 C6 / B2 / d5     ◄ C is LIR, B is not any more: and not in the stack (2 < 4)
//!    hit B        │ A4 C6 / B7 / d5     ◄ so its use brings it into the stack, no more
//!    hit B        │ C6 B8 / A4 / d5     ◄ its next one makes it LIR
//!    victim A E   │ C6 B8 / A4 / d5
//!    evict A      │ C6 B8 / / d5        ◄ A was not in the stack (4 < 6): forgotten
//!    insert E     │ C6 B8 / E9 /        ◄ the ghost of D is out of the stack (5 < 6), and goes too
//!    remove C     │ B8 / E9 /
//!    update E     │ B8 E10 / /          ◄ a write is a use; there is room among LIR: nobody makes place
//! ```

use super::ghosts::{Ghosts, SLICE};
use super::queues::{Queue, Queues};
use super::{EvictionPolicy, Hears, Heat, HitCounters, Meta, Slot, Victim, Walk};
use crate::observe::Cause;
use std::fmt;

const LIR: Queue = 0;
const HIR: Queue = 1;

/// What is noted of an entry.
#[derive(Clone, Copy)]
struct Note {
    hash: u64,
    /// When it was used last: how many uses there had been by then.
    used: u64,
}

/// Keeps what is used again after a short time, and judges by the last two uses (LIRS; Jiang, Zhang 2002).
///
/// Reading an entry, writing it and inserting it are uses; `peek` and `contains_key` are not. Every call costs O(1). An entry costs
/// 32 bytes, and a ghost of what has left 36, of which there may be two for each entry. Choose it for loops and scans, as programs make
/// them that go through files or tables; where what was used lately is used again soon, [`Lru`](super::Lru) is better.
///
/// Exact while one thread at a time uses the cache. Where threads read and write side by side, hits are heard in the order in
/// which they were noted, in batches; one is lost if 64 others wait to be heard while somebody writes to the segment.
/// An entry that weighs more than `u32::MAX` counts as if it weighed that.
///
/// ```
/// use cachette::{Cache, policy::Lirs};
///
/// let cache = Cache::<u32, u32>::builder().capacity(100).policy(Lirs::new).build()?;
/// let mut hits = 0;
/// for request in 0..1_200 {
///     let key = request % 120; // round and round: under LRU there is not one hit
///     if cache.get(&key).is_some() {
///         hits += 1;
///     } else {
///         cache.put(key, key);
///     }
/// }
/// assert!(hits > 800);
/// # Ok::<(), cachette::BuildError>(())
/// ```
pub struct Lirs {
    queues: Queues<2, Note>,
    /// Of each it is noted when it was used last.
    ghosts: Ghosts<u64>,
    /// The uses there have been.
    now: u64,
    share: u64,
}

impl Lirs {
    /// A LIRS policy with no entries. Allocates nothing. O(1).
    #[must_use]
    pub const fn new() -> Self {
        Self { queues: Queues::new(), ghosts: Ghosts::new(), now: 0, share: 0 }
    }

    /// What LIR entries may weigh.
    fn room(&self) -> u64 {
        self.share.saturating_sub((self.share / 100).max(1))
    }

    /// True if what was used last at that time is in the stack.
    fn in_stack(&self, used: u64) -> bool {
        self.queues.oldest(LIR).is_some_and(|least| self.queues.row(least).note.used < used)
    }

    /// Makes LIR entries HIR, the least recent first, until the rest have room.
    fn make_room(&mut self) {
        for _ in 0..SLICE {
            if self.queues.weight(LIR) <= self.room() {
                break;
            }
            let Some(least) = self.queues.oldest(LIR) else { break };
            self.queues.move_to(HIR, least);
        }
    }

    /// Forgets the oldest ghosts if they are out of the stack: they will never be in it again.
    fn forget(&mut self) {
        for _ in 0..SLICE {
            if self.ghosts.oldest().is_none_or(|used| self.in_stack(used)) {
                break;
            }
            self.ghosts.drop_oldest();
        }
    }
}

impl EvictionPolicy for Lirs {
    fn hears(&self) -> Hears {
        Hears::InOrder
    }

    fn hears_misses(&self) -> bool {
        false
    }

    fn resize(&mut self, share: u64) {
        self.share = share;
    }

    fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.now += 1;
        let known = self.ghosts.claim(meta.hash).is_some_and(|used| self.in_stack(used));
        let note = Note { hash: meta.hash, used: self.now };
        self.queues.push(LIR, slot, meta.weight, note);
        if !known && self.queues.weight(LIR) > self.room() {
            self.queues.move_to(HIR, slot);
        }
        self.make_room();
        self.forget();
    }

    fn update(&mut self, slot: Slot, _: &Meta) {
        self.hit(slot);
    }

    fn hit(&mut self, slot: Slot) {
        self.now += 1;
        let row = self.queues.row(slot);
        let close = row.queue == LIR || self.in_stack(row.note.used);
        self.queues.note(slot, Note { used: self.now, ..row.note });
        self.queues.move_to(if close { LIR } else { HIR }, slot);
        self.make_room();
    }

    fn relocate(&mut self, from: Slot, to: Slot, meta: &Meta) {
        self.queues.relocate(from, to, meta.weight);
    }

    fn remove(&mut self, slot: Slot, cause: Cause) {
        let row = self.queues.remove(slot);
        // A LIR entry that leaves was the bottom of the stack, and so is not in it any more.
        if cause == Cause::Evicted && self.in_stack(row.note.used) {
            self.ghosts.push(row.note.hash, u64::from(row.weight), row.note.used);
        }
        self.ghosts.trim(self.share.saturating_mul(2), self.len());
    }

    fn victim(&mut self, newcomer: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
        if let Some(newcomer) = newcomer {
            let _ = self.ghosts.hold(newcomer.hash);
        }
        let next = self.queues.oldest(HIR).or_else(|| self.queues.oldest(LIR));
        next.map_or(Victim::None, Victim::Entry)
    }

    fn len(&self) -> usize {
        self.queues.len()
    }

    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.queues.in_order([HIR, LIR]))
    }

    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.queues.in_order([HIR, LIR]).rev())
    }

    fn coldest_after(&self, after: Option<Slot>) -> Option<Walk<'_>> {
        let order = [HIR, LIR];
        Some(match after {
            Some(slot) => Box::new(self.queues.in_order_after(order, slot)),
            None => Box::new(self.queues.in_order(order)),
        })
    }

    fn heat(&self, slot: Slot, _: &HitCounters<'_>) -> Heat {
        Heat::new(0, self.queues.row(slot).queue == LIR)
    }

    fn warm(&mut self, slot: Slot, heat: Heat, _: &mut HitCounters<'_>) {
        // Those that came before are LIR as long as there was room for them: they are not so hot, and give it up.
        if heat.proven {
            self.queues.move_to(LIR, slot);
            self.make_room();
        }
    }

    fn assert_valid(&self) {
        // Nothing but the history tells what is left to do of invariants 4 and 5: the lockstep test holds them.
        self.queues.assert_valid();
        self.ghosts.assert_valid();
        let used = |slot: Slot| self.queues.row(slot).note.used;
        let lir = self.queues.iter(LIR).rev().map(used);
        assert!(lir.is_sorted_by(|a, b| a < b), "2: LIR entries stand in the order of their uses");
        let hir = self.queues.iter(HIR).rev().map(used).filter(|&used| self.in_stack(used));
        assert!(hir.is_sorted_by(|a, b| a < b), "3: so do HIR entries that are in the stack");
    }
}

impl Default for Lirs {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Lirs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hir = self.queues.count(HIR);
        f.debug_struct("Lirs").field("len", &self.len()).field("hir", &hir).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::{CALM, Segment};
    use super::super::lockstep::{Paper, beside, complaint, letters, replay};
    use super::*;
    use std::iter::once;

    fn picture(lirs: &Lirs) -> String {
        let queue = |queue| {
            let one = |slot| format!("{}{}", letters(once(slot)), lirs.queues.row(slot).note.used);
            lirs.queues.iter(queue).rev().map(one).collect::<Vec<_>>()
        };
        let ghost = |hash: u64| {
            let letter = letters(once(Slot::new(usize::try_from(hash).unwrap()))).to_lowercase();
            format!("{letter}{}", lirs.ghosts.get(hash).unwrap())
        };
        let ghosts: Vec<_> = lirs.ghosts.hashes().into_iter().map(ghost).collect();
        let slash = || vec!["/".to_owned()];
        [queue(LIR), slash(), queue(HIR), slash(), ghosts].concat().join(" ")
    }

    #[test]
    fn the_trace_above() {
        replay(include_str!("lirs.rs"), Lirs::new(), picture);
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Status {
        Lir,
        Hir,
        Ghost,
    }

    /// The paper's section 3.3: a stack S, pruned, and a queue Q. The bottom of S and the front of Q are first.
    struct Section {
        capacity: usize,
        s: Vec<(u64, Status)>,
        q: Vec<u64>,
    }

    impl Section {
        fn of(capacity: usize) -> Self {
            Self { capacity, s: Vec::new(), q: Vec::new() }
        }

        fn lirs(&self) -> usize {
            self.s.iter().filter(|row| row.1 == Status::Lir).count()
        }

        fn most_lirs(&self) -> usize {
            self.capacity - (self.capacity / 100).max(1)
        }

        fn prune(&mut self) {
            while self.s.first().is_some_and(|row| row.1 != Status::Lir) {
                self.s.remove(0);
            }
        }

        fn demote(&mut self) {
            if self.lirs() > self.most_lirs() {
                let (bottom, _) = self.s.remove(0);
                self.q.push(bottom);
                self.prune();
            }
        }

        /// Takes `x` out of S and Q, and says what it was there.
        fn take(&mut self, x: u64) -> Option<Status> {
            self.q.retain(|&hir| hir != x);
            let at = self.s.iter().position(|row| row.0 == x)?;
            let status = self.s.remove(at).1;
            Some(status)
        }

        fn push(&mut self, x: u64, status: Status) {
            self.s.push((x, status));
            if status == Status::Hir {
                self.q.push(x);
            }
            self.prune();
            self.demote();
        }
    }

    impl Paper for Section {
        fn hit(&mut self, x: u64) {
            // In S, as LIR or HIR, it is LIR now; HIR and not in S, it comes into S, and is HIR still.
            let status = if self.take(x).is_some() { Status::Lir } else { Status::Hir };
            self.push(x, status);
        }

        fn miss(&mut self, x: u64) -> Vec<u64> {
            let known = self.take(x) == Some(Status::Ghost);
            let mut gone = Vec::new();
            if self.lirs() + self.q.len() == self.capacity {
                if self.q.is_empty() {
                    gone.push(self.s.remove(0).0);
                    self.prune();
                } else {
                    let front = self.q.remove(0);
                    self.s
                        .iter_mut()
                        .filter(|row| row.0 == front)
                        .for_each(|row| row.1 = Status::Ghost);
                    gone.push(front);
                }
            }
            let ghosts = self.s.iter().filter(|row| row.1 == Status::Ghost).count();
            if ghosts > 2 * self.capacity {
                let oldest = self.s.iter().position(|row| row.1 == Status::Ghost).unwrap();
                self.s.remove(oldest);
            }
            let lir = known || self.lirs() < self.most_lirs();
            self.push(x, if lir { Status::Lir } else { Status::Hir });
            gone
        }

        fn delete(&mut self, x: u64) {
            self.take(x);
            self.prune();
        }

        fn order(&self) -> Vec<u64> {
            let lirs = self.s.iter().filter(|row| row.1 == Status::Lir).map(|row| row.0);
            self.q.iter().copied().chain(lirs).collect()
        }
    }

    #[test]
    fn lockstep_with_a_stack_that_is_pruned() {
        beside(Lirs::new, Section::of);
    }

    #[test]
    fn one_use_makes_no_more_than_a_slice_hir() {
        let mut segment = Segment::new(Lirs::new());
        segment.policy.resize(101);
        for hash in 0..100 {
            segment.insert(&Meta::new(hash, 1, u64::MAX));
        }
        let heavy = segment.insert(&Meta::new(100, 70, u64::MAX));
        let count = |segment: &Segment<Lirs>| segment.policy.queues.count(HIR);
        assert_eq!(count(&segment), 1);
        for hir in [16, 32, 48, 64, 70, 70] {
            segment.hit(heavy);
            assert_eq!(count(&segment), hir);
            segment.check(|_| true);
        }
        assert_eq!(segment.policy.queues.weight(LIR), 100);
    }

    #[test]
    fn ghosts_are_bounded_and_forgotten_a_slice_at_a_time() {
        let mut segment = Segment::new(Lirs::new());
        segment.policy.resize(20);
        let lir: Vec<_> =
            (0..19).map(|hash| segment.insert(&Meta::new(hash, 1, u64::MAX))).collect();
        for hash in 19..200 {
            let meta = Meta::new(hash, 1, u64::MAX);
            if segment.policy.len() == 20 {
                let Victim::Entry(slot) = segment.victim(Some(&meta)) else { unreachable!() };
                segment.remove(slot, Cause::Evicted);
            }
            segment.insert(&meta);
        }
        assert_eq!(segment.policy.ghosts.len(), 40, "twice the capacity");
        // All LIR entries are used, so that every ghost is out of the stack.
        lir.iter().for_each(|&slot| segment.hit(slot));
        for ghosts in [24, 8, 0] {
            segment.remove(lir[ghosts % 19], Cause::Deleted);
            segment.insert(&CALM);
            assert_eq!(segment.policy.ghosts.len(), ghosts);
        }
    }

    #[test]
    fn only_what_is_evicted_is_remembered() {
        let mut segment = Segment::new(Lirs::new());
        segment.policy.resize(2);
        segment.insert(&CALM);
        for (hash, cause) in (1..).zip(Cause::ALL) {
            let slot = segment.insert(&Meta::new(hash, 1, u64::MAX));
            segment.remove(slot, cause);
            assert_eq!(segment.policy.ghosts.get(hash).is_some(), cause == Cause::Evicted);
        }
    }

    #[test]
    fn damage_is_seen() {
        type Damage = fn(&mut Lirs);
        const STRAY: Note = Note { hash: 0, used: 9 };
        // All are LIR: B, C and, used once more, A.
        let damages: [(Damage, &str); 4] = [
            (|lirs| lirs.queues.push(LIR, Slot::new(2), 1, STRAY), "the same order"),
            (|lirs| lirs.ghosts.damage(), "as many chains as rows"),
            (|lirs| lirs.queues.move_to(LIR, Slot::new(1)), "2: LIR entries stand"),
            (
                |lirs| [0, 2].into_iter().for_each(|at| lirs.queues.move_to(HIR, Slot::new(at))),
                "3: so do HIR entries",
            ),
        ];
        for (damage, what) in damages {
            let mut lirs = Lirs::new();
            lirs.resize(100);
            let text = complaint(lirs, damage);
            assert!(text.contains(what), "{text}, expected {what}");
        }
    }

    #[test]
    fn debug_is_short() {
        assert_eq!(format!("{:?}", Lirs::default()), "Lirs { len: 0, hir: 0 }");
    }
}
