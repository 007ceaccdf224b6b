//! What a snapshot keeps of an entry beside its place in the order.

/// What a policy knows of an entry that its place in the order does not tell: for snapshots, which outlive the policy.
///
/// It means the same to every policy, so that a snapshot of a cache with one warms a cache with another.
///
/// ```
/// use cachette::policy::{EvictionPolicy, Heat, HitCounters, Lfu, Meta, Slot};
///
/// let (slot, mut hits) = (Slot::new(0), HitCounters::new(0));
/// let mut lfu = Lfu::new();
/// lfu.insert(slot, &Meta::new(0xfeed, 1, u64::MAX));
/// lfu.hit(slot);
/// assert_eq!(lfu.heat(slot, &hits), Heat::new(2, false));
///
/// let mut later = Lfu::new();
/// later.insert(slot, &Meta::new(0xbead, 1, u64::MAX)); // another process hashes differently
/// later.warm(slot, Heat::new(2, false), &mut hits);
/// assert_eq!(later.heat(slot, &hits).uses, 2);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Heat {
    /// How often it was used, as far as the policy counts.
    pub uses: u32,
    /// Whether it is among those that the policy keeps for more than having come lately: protected, or in the main queue.
    pub proven: bool,
}

impl Heat {
    /// So many uses, and whether the entry is proven. O(1).
    ///
    /// ```
    /// assert_eq!(cachette::policy::Heat::new(0, false), cachette::policy::Heat::default());
    /// ```
    #[must_use]
    pub const fn new(uses: u32, proven: bool) -> Self {
        Self { uses, proven }
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::Segment;
    use super::super::*;
    use crate::observe::Cause;
    use proptest::prelude::*;

    /// What a snapshot would keep: each hash from cold to hot, with its heat.
    fn kept(segment: &Segment<Box<dyn EvictionPolicy>>, hashes: &[u64]) -> Vec<(u64, Heat)> {
        let heat = |slot| segment.policy.heat(slot, &segment.hits);
        let row = |slot: Slot| (hashes[slot.index()], heat(slot));
        segment.policy.coldest_after(None).unwrap().map(row).collect()
    }

    /// A history, and what a fresh policy makes of what is left of it.
    fn twice(make: fn() -> Box<dyn EvictionPolicy>, ops: &[(u8, usize)]) -> [Vec<(u64, Heat)>; 2] {
        let mut segment = Segment::new(make());
        let (mut hashes, mut slots): (Vec<u64>, Vec<Slot>) = (Vec::new(), Vec::new());
        for (number, &(op, pick)) in (1_u64..).zip(ops) {
            let at = pick.checked_rem(slots.len());
            match (op, at) {
                (0..4, _) | (_, None) => {
                    let hash = crate::hash::mix(number);
                    let slot = segment.insert(&Meta::new(hash, 1, 5));
                    hashes.resize(hashes.len().max(slot.index() + 1), 0);
                    hashes[slot.index()] = hash;
                    slots.push(slot);
                }
                (4..9, Some(at)) => segment.hit(slots[at]),
                (_, Some(at)) => segment.remove(slots.swap_remove(at), Cause::Deleted),
            }
        }
        let saved = kept(&segment, &hashes);
        let mut again = Segment::new(make());
        let mut hashes = Vec::new();
        for &(hash, heat) in &saved {
            let slot = again.insert(&Meta::new(hash, 1, 5));
            again.policy.warm(slot, heat, &mut again.hits);
            hashes.push(hash);
        }
        again.policy.recall(segment.policy.learned());
        again.policy.assert_valid();
        let restored = kept(&again, &hashes);
        [saved, restored]
    }

    proptest! {
        #[test]
        fn an_order_and_its_heat_outlive_the_policy(ops in prop::collection::vec((0..10_u8, 0..100_usize), 0..150)) {
            let exact: [fn() -> Box<dyn EvictionPolicy>; 9] = [
                || Box::new(Lru::new()),
                || Box::new(Lfu::new()),
                || Box::new(Fifo::new()),
                || Box::new(Clock::new()),
                || Box::new(Sieve::new()),
                || Box::new(S3Fifo::new()),
                || Box::new(Slru::new()),
                || Box::new(TwoQ::new()),
                || Box::new(Volatile::new(Lfu::new())),
            ];
            for make in exact {
                let [saved, restored] = twice(make, &ops);
                prop_assert_eq!(saved, restored);
            }
            // Who of these is oldest of two regions depends on how large they have come to be.
            let others: [fn() -> Box<dyn EvictionPolicy>; 4] = [
                || Box::new(AdaptiveReplacement::new()),
                || Box::new(Lirs::new()),
                || Box::new(WTinyLfu::new()),
                || Box::new(Adaptive::seeded(1)),
            ];
            for make in others {
                let [mut saved, mut restored] = twice(make, &ops);
                saved.retain(|row| row.1.proven);
                restored.retain(|row| row.1.proven);
                let hashes = |rows: &[(u64, Heat)]| rows.iter().map(|row| row.0).collect::<Vec<_>>();
                prop_assert_eq!(hashes(&saved), hashes(&restored));
            }
        }
    }

    #[test]
    fn the_counters_of_a_snapshot_go_into_any_policy() {
        fn warmed(mut policy: impl EvictionPolicy, max: u8) -> u8 {
            let slot = Slot::new(0);
            let mut hits = HitCounters::new(max);
            policy.insert(slot, &Meta::new(1, 1, u64::MAX));
            policy.warm(slot, Heat::new(1_000_000, true), &mut hits);
            policy.assert_valid();
            hits.get(slot)
        }
        assert_eq!(warmed(Sieve::new(), 1), 1);
        assert_eq!(warmed(S3Fifo::new(), 3), 3);
        assert_eq!(warmed(Lru::new(), 0), 0);
        assert_eq!(warmed(WTinyLfu::new(), 0), 0);
        assert_eq!(warmed(Adaptive::new(), 3), 0);
    }

    #[test]
    fn an_lfu_count_is_put_where_it_belongs_whatever_came_before() {
        let counts = |order: &[u32]| {
            let (mut lfu, mut hits) = (Lfu::new(), HitCounters::new(0));
            for (index, &uses) in order.iter().enumerate() {
                lfu.insert(Slot::new(index), &Meta::new(0, 1, u64::MAX));
                lfu.warm(Slot::new(index), Heat::new(uses, false), &mut hits);
                lfu.assert_valid();
            }
            lfu.coldest().map(|slot| lfu.heat(slot, &hits).uses).collect::<Vec<_>>()
        };
        assert_eq!(counts(&[5, 3, 9, 1, 3, 0, 5]), [1, 1, 3, 3, 5, 5, 9]);
        let far: Vec<u32> = (2..100).rev().chain([1]).collect();
        assert_eq!(counts(&far).len(), 99, "one that is far off is put where the search ends");
        let worst: Vec<u32> = (100..200).chain([50]).collect();
        assert_eq!(counts(&worst)[..2], [100, 101], "64 buckets from the end is 136");
    }

    #[test]
    fn a_word_of_another_policy_is_not_recalled() {
        let mut adaptive = Adaptive::seeded(1);
        let mut arc = AdaptiveReplacement::new();
        arc.resize(100);
        let words = [adaptive.learned(), arc.learned()];
        assert_ne!(words[0], words[1]);
        adaptive.recall(words[1]);
        arc.recall(words[0]);
        arc.recall(words[1] | u64::from(f32::NAN.to_bits()));
        assert_eq!([adaptive.learned(), arc.learned()], words);
        // Half of the capacity, and the third manner.
        arc.recall(words[1] | u64::from(0.5_f32.to_bits()));
        arc.assert_valid();
        assert_eq!(arc.learned(), words[1] | u64::from(0.5_f32.to_bits()));
        adaptive.recall(words[0] + 2);
        assert_eq!(adaptive.learned(), words[0] + 2);
    }
}
