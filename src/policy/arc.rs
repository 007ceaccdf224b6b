//! The adaptive replacement cache (ARC).
//!
//! **Problem.** How much of a cache should recency have, and how much frequency? It depends on the workload, and that changes. Find
//! out while running, with nothing to tune.
//!
//! **Idea.** Two LRU lists: T1 has what was used once lately, T2 what was used at least twice. Of both there are ghosts: B1 has
//! what left T1, B2 what left T2. A request for a ghost in B1 says that T1 should have been larger, one in B2 that T2
//! should. So `p`, what T1 is to have, goes up or down with each, the faster the fewer ghosts there are of that kind. Who leaves is
//! taken from T1 if it has more than `p`, else from T2.
//!
//! ```text
//!            used once                           used again
//!    new ─► [ T1:  9  8  7 ] ── used again ──► [ T2:  4  1  6  2 ]
//!                     │ more than p                     │ else
//!                     ▼                                 ▼
//!           [ B1:  f e d ] ── asked for again ─► T2 ◄── [ B2:  c b a ]
//!              p goes up                                 p goes down
//! ```
//!
//! **Good at** recency, frequency, and turns from one to the other; nothing is to be set. **Bad at** loops longer than the cache:
//! their ghosts are gone too before they are asked for. Its ghosts are as many as its entries.
//!
//! **Invariants**
//!
//! 1. Every resident entry is in T1 or T2, which know their weights.
//! 2. From newest to oldest, the entries of T1 and T2 stand in the order of their last use.
//! 3. T1 and B1 weigh no more than the capacity, all four no more than twice as much; but for what following calls drop,
//!    [`SLICE`](super::ghosts::SLICE) of each kind at a time. And there are at most twice as many ghosts of a kind as
//!    entries, and a few more.
//! 4. `p` is at most the capacity.
//!
//! | operation | cost |
//! |---|---|
//! | `insert`, `remove`, `relocate`, `victim`, `hit`, `update` | O(1) |
//! | memory | 24 bytes an entry, and 28 a ghost, of which there is one for each entry: about 52 an entry |
//!
//! **Source.** Megiddo, Modha: *ARC: a self-tuning, low overhead replacement cache*, FAST 2003, figure 4. Added here: weights, where a
//! step of `p` is as long as the newcomer is heavy; and the ghosts are trimmed after the newcomer has come in, not before, which
//! comes to the same.
//!
//! **Trace.** Worked by hand; the test replays it from this very text. `p: T1 / T2 / B1 / B2`, each from oldest to newest. Capacity 3.
//!
//! ```text
//!    call           p: T1 / T2 / B1 / B2
//!    capacity 3   │ 0: / / /
//!    insert A     │ 0: A / / /
//!    insert B     │ 0: A B / / /
//!    insert C     │ 0: A B C / / /
//!    hit A        │ 0: B C / A / /       ◄ the second use
//!    victim B D   │ 0: B C / A / /
//!    evict B      │ 0: C / A / b /
//!    insert D     │ 0: C D / A / b /
//!    victim C B   │ 1: C D / A / /       ◄ B is asked for again: T1 was too short
//!    victim C B   │ 1: C D / A / /       ◄ asked again, it is not counted twice
//!    evict C      │ 1: D / A / c /
//!    insert B     │ 1: D / A B / c /     ◄ it is in T2 now
//!    victim A E   │ 1: D / A B / c /     ◄ T1 has no more than p: T2 gives
//!    evict A      │ 1: D / B / c / a
//!    insert E     │ 1: D E / B / c / a
//!    victim D A   │ 0: D E / B / c /     ◄ A is asked for again: T2 was too short
//!    evict D      │ 0: E / B / c d /
//!    insert A     │ 0: E / B A / c d /
//!    victim E F   │ 0: E / B A / c d /
//!    evict E      │ 0: / B A / c d e /
//!    insert F     │ 0: F / B A / d e /   ◄ T1 and B1 have three together: C is forgotten
//! ```

use super::ghosts::Ghosts;
use super::queues::{Queue, Queues, kept};
use super::{EvictionPolicy, Hears, Heat, HitCounters, Meta, Slot, Victim, Walk};
use crate::observe::Cause;
use std::fmt;

/// T1, and B1 among the ghosts.
const ONCE: Queue = 0;
/// T2, and B2 among the ghosts.
const AGAIN: Queue = 1;

/// What tells its [`learned`](EvictionPolicy::learned) from another policy's.
const LEARNED: u64 = 0x4152_4300_0000_0000;

/// Divides its room between what was used once and what was used again, and learns how from what it should not have given up
/// (ARC; Megiddo, Modha 2003).
///
/// Reading an entry, writing it and inserting it are uses; `peek` and `contains_key` are not. Every call costs O(1). An entry
/// costs 24 bytes, and the ghosts of what has left 28 more. Choose it where the workload is not known, or turns from one kind to
/// another.
///
/// Exact while one thread at a time uses the cache. Where threads read and write side by side, hits are heard in the order in
/// which they were noted, in batches; one is lost if 64 others wait to be heard while somebody writes to the segment.
/// An entry that weighs more than `u32::MAX` counts as if it weighed that.
///
/// It is not called `Arc` so that nobody takes it for the pointer.
///
/// ```
/// use cachette::{Cache, policy::AdaptiveReplacement};
///
/// let cache = Cache::<u32, u32>::builder().capacity(10).policy(AdaptiveReplacement::new).build()?;
/// cache.put(0, 0);
/// cache.get(&0); // used again
/// for key in 1..100 {
///     cache.put(key, key); // a scan
/// }
/// assert!(cache.contains_key(&0));
/// # Ok::<(), cachette::BuildError>(())
/// ```
#[doc(alias = "ARC")]
pub struct AdaptiveReplacement {
    /// Of each entry its hash is noted.
    queues: Queues<2, u64>,
    /// B1.
    once: Ghosts<()>,
    /// B2.
    again: Ghosts<()>,
    /// What T1 is to have: `p`, which moves by ratios, and so is no whole number.
    target: f64,
    share: u64,
    /// True while a newcomer from B2 is awaited: then T1 gives even at `p`.
    tie: bool,
}

impl AdaptiveReplacement {
    /// An ARC policy with no entries. Allocates nothing. O(1).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            queues: Queues::new(),
            once: Ghosts::new(),
            again: Ghosts::new(),
            target: 0.0,
            share: 0,
            tie: false,
        }
    }

    /// Learns from a newcomer, if there is a ghost of it. What is learnt once is not learnt again: the ghost is held then.
    fn learn(&mut self, newcomer: &Meta) {
        let (once, again) = (self.once.weight() as f64, self.again.weight() as f64);
        let weight = f64::from(kept(newcomer.weight));
        if self.once.hold(newcomer.hash).is_some() {
            let step = weight * (again / once).max(1.0);
            self.target = (self.target + step).min(self.share as f64);
        } else if self.again.hold(newcomer.hash).is_some() {
            let step = weight * (once / again).max(1.0);
            self.target = (self.target - step).max(0.0);
        }
    }

    /// The list that gives next, and the other one.
    fn turns(&self) -> [Queue; 2] {
        let once = self.queues.weight(ONCE) as f64;
        let long = once > self.target || (self.tie && once == self.target);
        let first = (long && once > 0.0) || self.queues.count(AGAIN) == 0;
        if first { [ONCE, AGAIN] } else { [AGAIN, ONCE] }
    }

    /// Drops ghosts beyond their bounds.
    fn trim(&mut self) {
        let (once, again) = (self.queues.weight(ONCE), self.queues.weight(AGAIN));
        self.once.trim(self.share.saturating_sub(once), self.len());
        let others = [once, again, self.once.weight()];
        let rest = others.into_iter().fold(self.share.saturating_mul(2), u64::saturating_sub);
        self.again.trim(rest, self.len());
    }
}

impl EvictionPolicy for AdaptiveReplacement {
    fn hears(&self) -> Hears {
        Hears::InOrder
    }

    fn hears_misses(&self) -> bool {
        false
    }

    fn resize(&mut self, share: u64) {
        self.share = share;
        self.target = self.target.min(share as f64);
    }

    fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.learn(meta);
        self.tie = false;
        let known = self.once.claim(meta.hash).is_some() | self.again.claim(meta.hash).is_some();
        self.queues.push(if known { AGAIN } else { ONCE }, slot, meta.weight, meta.hash);
        self.trim();
    }

    fn update(&mut self, slot: Slot, _: &Meta) {
        self.hit(slot);
    }

    fn hit(&mut self, slot: Slot) {
        self.queues.move_to(AGAIN, slot);
    }

    fn relocate(&mut self, from: Slot, to: Slot, meta: &Meta) {
        self.queues.relocate(from, to, meta.weight);
    }

    fn remove(&mut self, slot: Slot, cause: Cause) {
        let row = self.queues.remove(slot);
        if cause == Cause::Evicted {
            let ghosts = if row.queue == ONCE { &mut self.once } else { &mut self.again };
            ghosts.push(row.note, u64::from(row.weight), ());
        }
        self.trim();
    }

    fn victim(&mut self, newcomer: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
        if let Some(newcomer) = newcomer {
            self.learn(newcomer);
            self.tie = self.again.held(newcomer.hash).is_some();
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
        Heat::new(0, self.queues.row(slot).queue == AGAIN)
    }

    fn warm(&mut self, slot: Slot, heat: Heat, _: &mut HitCounters<'_>) {
        if heat.proven {
            self.queues.move_to(AGAIN, slot);
        }
    }

    /// `p`, as a part of the capacity.
    fn learned(&self) -> u64 {
        let part = if self.share == 0 { 0.0 } else { self.target / self.share as f64 };
        LEARNED | u64::from((part as f32).to_bits())
    }

    fn recall(&mut self, learned: u64) {
        if let Ok(bits) = u32::try_from(learned ^ LEARNED) {
            let part = f64::from(f32::from_bits(bits));
            if (0.0..=1.0).contains(&part) {
                self.target = part * self.share as f64;
            }
        }
    }

    fn assert_valid(&self) {
        // Nothing but the history tells invariant 2, and what is left to drop of invariant 3: the lockstep test holds them.
        self.queues.assert_valid();
        self.once.assert_valid();
        self.again.assert_valid();
        assert!(self.target <= self.share as f64, "4: p is at most the capacity");
    }
}

impl Default for AdaptiveReplacement {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for AdaptiveReplacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveReplacement")
            .field("len", &self.len())
            .field("target", &self.target)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::{CALM, Segment};
    use super::super::lockstep::{Paper, beside, complaint, pictured, replay};
    use super::*;

    #[test]
    fn the_trace_above() {
        replay(include_str!("arc.rs"), AdaptiveReplacement::new(), |arc| {
            let queues = [ONCE, AGAIN].map(|queue| arc.queues.iter(queue));
            let lists = pictured(queues, &[arc.once.hashes(), arc.again.hashes()]);
            format!("{}: {lists}", arc.target)
        });
    }

    /// The paper's figure 4, over plain arrays whose fronts are the LRU ends.
    #[derive(Default)]
    struct Figure {
        c: usize,
        p: f64,
        t1: Vec<u64>,
        t2: Vec<u64>,
        b1: Vec<u64>,
        b2: Vec<u64>,
        gone: Vec<u64>,
    }

    impl Figure {
        fn of(c: usize) -> Self {
            Self { c, ..Self::default() }
        }

        fn full(&self) -> bool {
            self.t1.len() + self.t2.len() == self.c
        }

        fn replace(&mut self, x_in_b2: bool) {
            // The paper's cache, once full, stays full; here entries may have been deleted.
            if !self.full() {
                return;
            }
            let t1 = self.t1.len();
            let long = t1 >= 1 && ((x_in_b2 && t1 as f64 == self.p) || t1 as f64 > self.p);
            if long || self.t2.is_empty() {
                let lru = self.t1.remove(0);
                self.b1.push(lru);
                self.gone.push(lru);
            } else {
                let lru = self.t2.remove(0);
                self.b2.push(lru);
                self.gone.push(lru);
            }
        }
    }

    impl Paper for Figure {
        /// Case I.
        fn hit(&mut self, x: u64) {
            self.delete(x);
            self.t2.push(x);
        }

        fn miss(&mut self, x: u64) -> Vec<u64> {
            let (b1, b2) = (self.b1.len(), self.b2.len());
            if self.b1.contains(&x) {
                // Case II.
                let delta = if b1 >= b2 { 1.0 } else { b2 as f64 / b1 as f64 };
                self.p = (self.p + delta).min(self.c as f64);
                self.b1.retain(|&ghost| ghost != x);
                self.replace(false);
                self.t2.push(x);
            } else if self.b2.contains(&x) {
                // Case III.
                let delta = if b2 >= b1 { 1.0 } else { b1 as f64 / b2 as f64 };
                self.p = (self.p - delta).max(0.0);
                self.b2.retain(|&ghost| ghost != x);
                self.replace(true);
                self.t2.push(x);
            } else {
                // Case IV.
                let total = self.t1.len() + self.t2.len() + b1 + b2;
                if self.t1.len() + b1 == self.c {
                    if self.t1.len() < self.c {
                        self.b1.remove(0);
                        self.replace(false);
                    } else {
                        let lru = self.t1.remove(0);
                        self.gone.push(lru);
                    }
                } else if total >= self.c {
                    if total == 2 * self.c {
                        self.b2.remove(0);
                    }
                    self.replace(false);
                }
                self.t1.push(x);
            }
            std::mem::take(&mut self.gone)
        }

        fn delete(&mut self, x: u64) {
            self.t1.retain(|&resident| resident != x);
            self.t2.retain(|&resident| resident != x);
        }

        fn order(&self) -> Vec<u64> {
            if self.t1.len() as f64 > self.p || self.t2.is_empty() {
                [&self.t1[..], &self.t2].concat()
            } else {
                [&self.t2[..], &self.t1].concat()
            }
        }
    }

    #[test]
    fn lockstep_with_the_figure() {
        beside(AdaptiveReplacement::new, Figure::of);
    }

    #[test]
    fn one_ghost_of_few_is_a_long_step() {
        let mut arc = AdaptiveReplacement::new();
        arc.resize(100);
        arc.once.push(1, 2, ());
        (2..22).for_each(|hash| arc.again.push(hash, 1, ()));
        arc.learn(&Meta::new(1, 3, u64::MAX));
        assert_eq!(arc.target, 30.0, "ten times the weight");
        arc.once.push(50, 19, ());
        arc.learn(&Meta::new(5, 3, u64::MAX));
        assert_eq!(arc.target, 27.0, "at least the weight");
        arc.once.push(51, 1_000, ());
        arc.learn(&Meta::new(6, 1, u64::MAX));
        assert_eq!(arc.target, 0.0);
        arc.learn(&Meta::new(51, u64::MAX, u64::MAX));
        assert_eq!(arc.target, 100.0, "never more than the capacity");
        arc.resize(40);
        assert_eq!(arc.target, 40.0);
        arc.assert_valid();
    }

    #[test]
    fn at_p_it_is_the_newcomer_that_decides() {
        let mut segment = Segment::new(AdaptiveReplacement::new());
        let [a, b] = [1, 2].map(|hash| segment.insert(&Meta::new(hash, 1, u64::MAX)));
        segment.hit(b);
        segment.policy.again.push(3, 1, ());
        segment.policy.target = 2.0;
        let known = Meta::new(3, 1, u64::MAX);
        assert_eq!(segment.victim(Some(&known)), Victim::Entry(a), "T1 gives for one from B2");
        assert_eq!(segment.policy.target, 1.0);
        segment.insert(&known);
        assert_eq!(segment.victim(None), Victim::Entry(b), "and else T2");
        segment.check(|_| true);
    }

    #[test]
    fn ghosts_have_their_share_in_weight() {
        let mut segment = Segment::new(AdaptiveReplacement::new());
        segment.policy.resize(1_000);
        for step in 0..2_000 {
            let meta = Meta::new(step % 90, 30, u64::MAX);
            while (0..2).map(|queue| segment.policy.queues.weight(queue)).sum::<u64>() > 970 {
                let Victim::Entry(slot) = segment.victim(Some(&meta)) else { unreachable!() };
                segment.remove(slot, Cause::Evicted);
            }
            let slot = segment.insert(&meta);
            if step % 7 == 0 {
                segment.hit(slot);
            }
            let AdaptiveReplacement { queues, once, again, .. } = &segment.policy;
            assert!(queues.weight(ONCE) + once.weight() <= 1_000);
            let residents = queues.weight(ONCE) + queues.weight(AGAIN);
            assert!(residents + once.weight() + again.weight() <= 2_000);
        }
        segment.check(|_| true);
    }

    #[test]
    fn only_what_is_evicted_is_remembered() {
        let mut segment = Segment::new(AdaptiveReplacement::new());
        for (hash, cause) in (0..).zip(Cause::ALL) {
            let slot = segment.insert(&Meta::new(hash, 1, u64::MAX));
            segment.remove(slot, cause);
            assert_eq!(segment.policy.once.get(hash).is_some(), cause == Cause::Evicted);
        }
    }

    #[test]
    fn damage_is_seen() {
        type Damage = fn(&mut AdaptiveReplacement);
        let damages: [(Damage, &str); 4] = [
            (|arc| arc.insert(Slot::new(2), &CALM), "the same order"),
            (|arc| arc.once.damage(), "as many chains as rows"),
            (|arc| arc.again.damage(), "as many chains as rows"),
            (|arc| arc.target = 1.0, "4: p is at most the capacity"),
        ];
        for (damage, what) in damages {
            let text = complaint(AdaptiveReplacement::new(), damage);
            assert!(text.contains(what), "{text}, expected {what}");
        }
    }

    #[test]
    fn debug_is_short() {
        let arc = AdaptiveReplacement::default();
        assert_eq!(format!("{arc:?}"), "AdaptiveReplacement { len: 0, target: 0.0 }");
    }
}
