//! The index: hash to slot.
//!
//! **Problem.** A hash table that doubles makes one unlucky caller move every entry. This one grows by one bucket an insert
//! and shrinks the same way, so no call pays for another's.
//!
//! ```text
//!   6 buckets, between 4 and 8: a hash picks one of 8 by its low 3 bits; the two that do not exist yet are still in
//!   the bucket with the top bit cleared.
//!
//!   bucket    0     1     2     3     4     5   (6)   (7)
//!   head      7     -     1     4     -     2    ┆     ┆
//!             │           │                 │    └─► 2 └─► 3
//!   chain     3           5 ─► 9            8
//!
//!   the next bucket, 6, takes from bucket 2 the entries whose hash has bit 2 set
//! ```
//!
//! **Invariants**
//!
//! 1. A slot is on the chain of the bucket that its hash picks, once.
//! 2. `len` slots are on chains; they are at most as many as the buckets, and at least half as many, unless there is one
//!    bucket.
//!
//! | operation | cost |
//! |---|---|
//! | `find`, `insert`, `remove` | O(1) expected; O(n) if n hashes are equal |
//! | growth | one bucket is split an insert |
//! | shrinking | at most two buckets are merged a removal |
//!
//! Source: W. Litwin, *Linear hashing: a new tool for file and table addressing*, 1980.

use crate::engine::slab::{Column, Slot};

#[derive(Clone, Copy)]
struct Link {
    hash: u64,
    next: Slot,
}

const LOOSE: Link = Link { hash: 0, next: Slot::NONE };

pub(crate) struct Index {
    /// The first slot of each bucket's chain.
    heads: Column<Slot>,
    /// Each slot's hash and the next slot of its chain.
    links: Column<Link>,
    len: usize,
}

impl Index {
    pub(crate) const fn new() -> Self {
        Self { heads: Column::new(), links: Column::new(), len: 0 }
    }

    /// The slot under `hash` that `is` accepts.
    pub(crate) fn find(&self, hash: u64, mut is: impl FnMut(Slot) -> bool) -> Option<Slot> {
        let mut slot = *self.heads.get(self.bucket(hash))?;
        while let Some(here) = slot.some() {
            let link = self.links[here];
            if link.hash == hash && is(here) {
                return Some(here);
            }
            slot = link.next;
        }
        None
    }

    /// Adds `slot`, which is not in the index.
    pub(crate) fn insert(&mut self, hash: u64, slot: Slot) {
        self.links.reach(slot.index(), &LOOSE);
        self.len += 1;
        if self.heads.len() < self.len {
            self.split();
        }
        self.push(hash, slot);
    }

    /// Takes out `slot`, which is in the index under `hash`.
    pub(crate) fn remove(&mut self, hash: u64, slot: Slot) {
        let bucket = Slot::new(self.bucket(hash));
        let next = self.links[slot].next;
        if self.heads[bucket] == slot {
            self.heads[bucket] = next;
        } else {
            let mut before = self.heads[bucket];
            while self.links[before].next != slot {
                before = self.links[before].next;
            }
            self.links[before].next = next;
        }
        self.links[slot] = LOOSE;
        self.len -= 1;
        for _ in 0..2 {
            if self.heads.len() > 1 && self.len * 2 < self.heads.len() {
                self.merge();
            }
        }
    }

    /// The bucket of a hash: as many low bits as there are buckets, less the top one where that bucket is yet to come.
    fn bucket(&self, hash: u64) -> usize {
        let buckets = self.heads.len();
        let mask = buckets.next_power_of_two() - 1;
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits are wanted")]
        let low = hash as usize & mask;
        if low < buckets { low } else { low & (mask >> 1) }
    }

    fn push(&mut self, hash: u64, slot: Slot) {
        let bucket = Slot::new(self.bucket(hash));
        self.links[slot] = Link { hash, next: self.heads[bucket] };
        self.heads[bucket] = slot;
    }

    /// Adds a bucket and shares its elder's chain with it.
    fn split(&mut self) {
        let young = self.heads.len();
        self.heads.push(Slot::NONE);
        if let Some(top) = young.checked_ilog2() {
            self.rehang(young - (1 << top));
        }
    }

    /// Takes the last bucket off and gives its chain to its elder.
    fn merge(&mut self) {
        let Some(mut slot) = self.heads.pop() else { return };
        while let Some(here) = slot.some() {
            let Link { hash, next } = self.links[here];
            self.push(hash, here);
            slot = next;
        }
    }

    /// Hangs every slot of a bucket's chain where it now belongs.
    fn rehang(&mut self, bucket: usize) {
        let mut slot = std::mem::replace(&mut self.heads[Slot::new(bucket)], Slot::NONE);
        while let Some(here) = slot.some() {
            let Link { hash, next } = self.links[here];
            self.push(hash, here);
            slot = next;
        }
    }

    #[cfg(test)]
    pub(crate) fn assert_valid(&self) {
        let mut seen = 0;
        for bucket in 0..self.heads.len() {
            let mut slot = self.heads[Slot::new(bucket)];
            while let Some(here) = slot.some() {
                assert_eq!(
                    self.bucket(self.links[here].hash),
                    bucket,
                    "{here:?} is on its own bucket's chain"
                );
                slot = self.links[here].next;
                seen += 1;
                assert!(seen <= self.len, "a chain is a ring, or len is short");
            }
        }
        assert_eq!(seen, self.len, "len counts the slots on chains");
        assert!(self.len <= self.heads.len(), "at most one slot a bucket on average");
        assert!(self.heads.len() <= (2 * self.len).max(1), "at least one slot in two buckets");
    }

    #[cfg(test)]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    #[cfg(test)]
    pub(crate) fn buckets(&self) -> usize {
        self.heads.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn the_picture_above() {
        let mut index = Index::new();
        // Six entries make six buckets; three bits of hash, and a slot each.
        for (hash, slot) in [(0, 3), (0, 7), (2, 9), (6, 5), (7, 4), (5, 2)] {
            index.insert(hash, Slot::new(slot));
            index.assert_valid();
        }
        assert_eq!(index.buckets(), 6);
        assert_eq!(index.bucket(6), 2);
        index.insert(3, Slot::new(1));
        assert_eq!(index.buckets(), 7);
        assert_eq!(index.bucket(6), 6);
        assert_eq!(index.find(6, |_| true), Some(Slot::new(5)));
        assert_eq!(index.find(14, |_| true), None);
    }

    #[test]
    fn equal_hashes_share_a_chain() {
        let mut index = Index::new();
        for slot in 0..1000 {
            index.insert(42, Slot::new(slot));
        }
        index.assert_valid();
        for slot in (0..1000).step_by(7) {
            assert_eq!(index.find(42, |s| s.index() == slot), Some(Slot::new(slot)));
        }
        assert_eq!(index.find(42, |_| false), None);
    }

    #[test]
    fn it_grows_by_one_and_shrinks_by_two() {
        let mut index = Index::new();
        let hash = |i: usize| (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for i in 0..5000 {
            index.insert(hash(i), Slot::new(i));
            assert_eq!(index.buckets(), i + 1);
        }
        let mut before = index.buckets();
        for i in 0..5000 {
            index.remove(hash(i), Slot::new(i));
            assert!(before - index.buckets() <= 2);
            before = index.buckets();
        }
        assert_eq!(index.buckets(), 1);
        index.assert_valid();
    }

    proptest! {
        #[test]
        fn an_index_is_a_map(ops in prop::collection::vec((any::<bool>(), 0..300_usize, 0..64_u64), 0..600)) {
            let mut index = Index::new();
            let mut oracle: HashMap<usize, u64> = HashMap::new();
            for (insert, slot, hash) in ops {
                match oracle.get(&slot).copied() {
                    None if insert => {
                        index.insert(hash, Slot::new(slot));
                        oracle.insert(slot, hash);
                    }
                    Some(hash) if !insert => {
                        index.remove(hash, Slot::new(slot));
                        oracle.remove(&slot);
                    }
                    _ => {}
                }
                index.assert_valid();
            }
            for slot in 0..300 {
                for hash in 0..64 {
                    let found = index.find(hash, |s| s.index() == slot);
                    prop_assert_eq!(found.is_some(), oracle.get(&slot) == Some(&hash));
                }
            }
        }
    }
}
