//! The entries of a segment in the policy's order, a slice at a time, while others write.
//!
//! **Problem.** A snapshot wants every entry of a segment, from the coldest to the hottest. It may neither hold the lock throughout, nor
//! copy the segment. Between two slices entries come, leave, and change their places.
//!
//! ```text
//!   order:   a  b  c │ d  e  f  g         trail: a b c      where the last slice ended
//!                    ▲                    seen:  a b c      a bit a slot
//!                    └ behind c, if c still follows b; else behind b, if b still follows a; else from the coldest on
//!
//!   then the rest: every slot that was not seen, in the order of slots
//! ```
//!
//! Who has left takes its neighbours' trust along, and so does who was used and now stands at the hot end: so two that still stand side
//! by side show that the place is still that place. Where two moved together, the walk skips some, and the rest has them.
//!
//! **Invariants**
//!
//! 1. No slot is given twice.
//! 2. An entry that is resident throughout is given.
//! 3. While nobody writes, and no hit is heard, entries are given in the order of [`EvictionPolicy::coldest`].
//!
//! | operation | cost |
//! |---|---|
//! | a slice | O(1): at most [`STEPS`] steps in the order, or [`SLICE`] slots |
//! | all of them | O(slots): in the order at most five steps an entry, whatever others do |
//! | memory | a bit a slot |

use super::SLICE;
use super::deadlines::Deadline;
use super::epoch::Guard;
use super::segment::Segment;
use super::slab::{Found, Slot};
use super::state::State;
use crate::policy::{EvictionPolicy, Heat};

/// Steps in the order that a slice takes at most, those over entries that were seen before included.
const STEPS: usize = 4 * SLICE;

/// An entry as it was met.
pub(crate) struct Met<'p, K, V> {
    pub(crate) found: Found<'p, K, V>,
    pub(crate) deadline: Deadline,
    pub(crate) heat: Heat,
    /// How long its load took, in nanoseconds.
    pub(crate) cost: u64,
}

/// How far a walk over one segment has come.
pub(crate) struct Walk {
    /// A bit a slot.
    seen: Vec<u64>,
    /// How many of them are set.
    pub(crate) count: usize,
    /// Where the last slice ended, the last of them last.
    trail: Vec<Slot>,
    /// True if the order's end is the end: nobody has moved on the way.
    smooth: bool,
    /// Steps in the order that are left.
    steps: usize,
    /// Once the order has ended: the slot to look at next.
    rest: Option<usize>,
}

impl Walk {
    /// One over a segment of so many entries.
    pub(crate) fn new(entries: usize) -> Self {
        Self {
            seen: Vec::new(),
            count: 0,
            trail: Vec::new(),
            smooth: true,
            steps: entries.saturating_mul(5).saturating_add(STEPS),
            rest: None,
        }
    }

    /// True until the order has ended, and only the rest is left.
    pub(crate) const fn is_in_order(&self) -> bool {
        self.rest.is_none()
    }

    /// True if it was not seen before; from now on it was.
    fn see(&mut self, slot: Slot) -> bool {
        let (word, bit) = (slot.index() / 64, 1_u64 << (slot.index() % 64));
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        let new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        self.count += usize::from(new);
        new
    }

    /// Goes on in the order, to at most `most` that were not seen. `is_in` tells who is in it.
    fn go_on(
        &mut self,
        policy: &dyn EvictionPolicy,
        most: usize,
        is_in: impl Fn(Slot) -> bool,
    ) -> Vec<Slot> {
        let after = self.place(policy, &is_in);
        self.smooth &= after.is_some() || self.count == 0;
        let mut new = Vec::new();
        let Some(order) = policy.coldest_after(after) else {
            self.rest = Some(0);
            return new;
        };
        let (mut ended, begun) = (true, self.trail.len());
        for slot in order {
            self.trail.push(slot);
            if is_in(slot) && self.see(slot) {
                new.push(slot);
            }
            if new.len() == most || self.trail.len() - begun == STEPS {
                ended = false;
                break;
            }
        }
        let taken = self.trail.len() - begun;
        self.steps = self.steps.saturating_sub(taken.max(1));
        self.trail.drain(..self.trail.len().saturating_sub(SLICE));
        if ended && (self.smooth || new.is_empty()) || self.steps == 0 {
            self.rest = Some(0);
        } else if ended {
            // Somebody may have been passed over.
            self.trail.clear();
        }
        new
    }

    /// Whom the walk goes on behind, as far as that can be told; nobody if it begins at the coldest.
    fn place(&self, policy: &dyn EvictionPolicy, is_in: impl Fn(Slot) -> bool) -> Option<Slot> {
        if let [only] = self.trail[..] {
            return Some(only).filter(|&only| is_in(only));
        }
        let follows = |before: Slot, slot: Slot| {
            let next = policy.coldest_after(Some(before)).and_then(|mut order| order.next());
            next == Some(slot)
        };
        let side_by_side =
            |pair: &&[Slot]| is_in(pair[0]) && is_in(pair[1]) && follows(pair[0], pair[1]);
        self.trail.windows(2).rev().find(side_by_side).map(|pair| pair[1])
    }
}

impl<'a, K, V, F> Segment<'a, K, V, F> {
    /// The next live entries of a walk, at most `most` and a slice. Those that have expired are passed over.
    pub(crate) fn walk<'p>(
        &mut self,
        walk: &mut Walk,
        most: usize,
        now: u64,
        guard: Guard<'p>,
    ) -> Vec<Met<'p, K, V>>
    where
        'a: 'p,
    {
        let most = most.clamp(1, SLICE);
        let slots = match walk.rest {
            None => self.walk_in_order(walk, most),
            Some(from) => {
                let end = self.end().min(from + most);
                walk.rest = Some(end);
                (from..end)
                    .map(Slot::new)
                    .filter(|&slot| self.has(slot) && walk.see(slot))
                    .collect()
            }
        };
        let live = slots.into_iter().filter(|&slot| self.has(slot) && !self.is_dead(slot, now));
        let live: Vec<Slot> = live.collect();
        live.into_iter().filter_map(|slot| self.meet(slot, guard)).collect()
    }

    /// True if a walk has nothing more to see.
    pub(crate) fn is_walked(&self, walk: &Walk) -> bool {
        walk.rest.is_some_and(|from| from >= self.end())
    }

    fn walk_in_order(&mut self, walk: &mut Walk, most: usize) -> Vec<Slot> {
        let State { policy, keeper, weights, .. } = &mut *self.state;
        let weighs = |slot: Slot| weights.get(slot.index()).is_none_or(|&weight| weight != 0);
        let is_in = |slot| keeper.has(slot) && weighs(slot);
        let mut slots = Vec::new();
        policy.show(|policy| slots = walk.go_on(policy, most, is_in));
        if policy.is_broken() {
            walk.rest = Some(0);
        }
        self.mend_if_broken();
        slots
    }

    /// What the policy knows of an entry; nothing of one without weight.
    fn heat(&mut self, slot: Slot) -> Heat {
        if self.weight_of(slot) == 0 {
            return Heat::default();
        }
        let State { policy, scribe, keeper, .. } = &mut *self.state;
        let heat = policy.heat(slot, &self.shared.counts(scribe, keeper));
        self.mend_if_broken();
        heat
    }

    /// The policy is to know that an entry which was just published was this hot.
    pub(crate) fn warm(&mut self, slot: Slot, heat: Heat) {
        if self.weight_of(slot) != 0 {
            let State { policy, scribe, keeper, .. } = &mut *self.state;
            policy.warm(slot, heat, &self.shared.counts(scribe, keeper));
            self.shared.ring.forget();
            self.mend_if_broken();
        }
    }

    /// What the policy has learned of its load.
    pub(crate) fn learned(&mut self) -> u64 {
        let learned = self.state.policy.learned();
        self.mend_if_broken();
        learned
    }

    /// The policy is to go on with what another one has learned.
    pub(crate) fn recall(&mut self, learned: u64) {
        self.state.policy.recall(learned);
        self.mend_if_broken();
    }

    fn meet<'p>(&mut self, slot: Slot, guard: Guard<'p>) -> Option<Met<'p, K, V>>
    where
        'a: 'p,
    {
        let heat = self.heat(slot);
        let cost = self.ages().map_or(0, |ages| ages.get(slot).terms.cost);
        let (found, deadline) = (self.found(slot, guard)?, self.deadline(slot));
        Some(Met { found, deadline, heat, cost })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cache;
    use crate::engine::epoch;
    use crate::policy::{Lfu, Lru, Random, Sieve, Volatile};
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    type Small = Cache<u64, u64>;

    fn cache(make: fn() -> Box<dyn EvictionPolicy>, capacity: u64) -> Small {
        let weigher = |key: &u64, _: &u64| u64::from(key % 10 != 0);
        let builder = Cache::builder().capacity(capacity).segments(1).weigher(weigher);
        builder.policy(make).build().unwrap()
    }

    const POLICIES: [fn() -> Box<dyn EvictionPolicy>; 5] = [
        || Box::new(Lru::new()),
        || Box::new(Lfu::new()),
        || Box::new(Sieve::new()),
        || Box::new(Random::new()),
        || Box::new(Volatile::new(Lru::new())),
    ];

    /// The next of a walk, as pairs.
    fn slice(cache: &Small, walk: &mut Walk, most: usize) -> Vec<(u64, u64)> {
        let pin = epoch::pin();
        let mut segment = cache.engine.lock(0);
        let met = segment.walk(walk, most, 0, pin.guard());
        met.iter().map(|met| (met.found.entry.key, met.found.entry.value)).collect()
    }

    fn is_over(cache: &Small, walk: &Walk) -> bool {
        cache.engine.lock(0).is_walked(walk)
    }

    fn ordered(cache: &Small) -> Vec<u64> {
        let mut segment = cache.engine.lock(0);
        let mut slots = Vec::new();
        segment.state.policy.show(|policy| slots = policy.coldest().collect());
        slots.iter().map(|&slot| segment.entry(slot).unwrap().key).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn who_stays_is_met_and_nobody_twice(
            policy in 0..POLICIES.len(),
            before in 0..400_u64,
            steps in prop::collection::vec((1..80_usize, prop::collection::vec((0..4_u8, 0..500_u64), 0..40)), 0..40),
        ) {
            let cache = cache(POLICIES[policy], 300);
            let mut value = 0;
            let mut put = |cache: &Small, key| { value += 1; cache.put(key, value); };
            (0..before).for_each(|key| put(&cache, key));
            // What each key has had without a break since the walk began.
            let mut stayed: HashMap<u64, u64> = cache.iter().collect();
            let (mut met, mut walk) = (HashSet::new(), Walk::new(cache.len()));
            let mut steps = steps.into_iter();
            let mut slices = 0;
            while !is_over(&cache, &walk) {
                let (most, ops) = steps.next().unwrap_or((64, Vec::new()));
                let slice = slice(&cache, &mut walk, most);
                prop_assert!(slice.len() <= SLICE);
                for pair in slice {
                    prop_assert!(met.insert(pair), "{pair:?} twice");
                }
                for (op, key) in ops {
                    match op {
                        0 | 1 => put(&cache, key),
                        2 => _ = cache.get(&key),
                        _ => _ = cache.delete(&key),
                    }
                }
                stayed.retain(|key, value| cache.peek(key) == Some(*value));
                slices += 1;
                prop_assert!(slices < 1_000, "it ends");
            }
            for (key, value) in stayed {
                prop_assert!(met.contains(&(key, value)), "{key} was there throughout");
            }
        }

        #[test]
        fn while_nobody_writes_it_is_the_order(
            policy in 0..3_usize,
            keys in prop::collection::vec((0..300_u64, any::<bool>()), 0..600),
            sizes in prop::collection::vec(1..100_usize, 1..9),
        ) {
            let cache = cache(POLICIES[policy], 200);
            for (key, hit) in keys {
                if hit { _ = cache.get(&key) } else { cache.put(key, key) }
            }
            let (mut walk, mut met) = (Walk::new(cache.len()), Vec::new());
            let due = ordered(&cache);
            let mut sizes = sizes.into_iter().cycle();
            while walk.is_in_order() {
                met.extend(slice(&cache, &mut walk, sizes.next().unwrap()).into_iter().map(|pair| pair.0));
            }
            prop_assert_eq!(&met, &due);
            while !is_over(&cache, &walk) {
                met.extend(slice(&cache, &mut walk, 64).into_iter().map(|pair| pair.0));
            }
            prop_assert_eq!(met.len(), cache.len());
            prop_assert!(met[due.len()..].iter().all(|key| key % 10 == 0), "the rest is what has no weight");
        }
    }

    #[test]
    fn a_walk_goes_on_where_it_was_though_its_end_has_left_or_moved() {
        let cache = cache(POLICIES[0], 200);
        (1..=9).for_each(|key| cache.put(key, key));
        let mut walk = Walk::new(9);
        let keys = |met: Vec<(u64, u64)>| met.into_iter().map(|pair| pair.0).collect::<Vec<_>>();
        assert_eq!(keys(slice(&cache, &mut walk, 4)), [1, 2, 3, 4]);
        cache.delete(&4);
        assert_eq!(keys(slice(&cache, &mut walk, 2)), [5, 6], "behind 3: 4 has left");
        assert_eq!(cache.get(&6), Some(6));
        assert_eq!(keys(slice(&cache, &mut walk, 1)), [7], "behind 5: 6 is at the hot end");
        (1..=7).for_each(|key| _ = cache.delete(&key));
        cache.put(11, 11);
        assert_eq!(keys(slice(&cache, &mut walk, 9)), [8, 9, 11], "from the coldest on");
    }

    #[test]
    fn a_slice_does_no_more_than_its_steps() {
        let cache = cache(POLICIES[0], 10_000);
        (0..5_000).for_each(|key| cache.put(key * 10 + 1, key));
        let mut walk = Walk::new(5_000);
        while walk.count < 4_000 {
            slice(&cache, &mut walk, 64);
        }
        // All it goes by is lost, and it begins anew: what was seen is passed over in slices.
        walk.trail.clear();
        let left = walk.steps;
        assert_eq!(slice(&cache, &mut walk, 64), []);
        assert_eq!(left - walk.steps, STEPS);
        assert_eq!(walk.trail.len(), SLICE);
    }
}
