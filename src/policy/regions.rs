//! A cache in three regions: a window for newcomers, and a main part whose entries are on probation or protected.
//!
//! **Problem.** W-TinyLFU and its kin move entries between three lists, must know the weight of each list at any time, and keep a
//! few bits an entry. All of that is the same whoever decides about the moves.
//!
//! ```text
//!    newcomers ─► [ window ] ─► candidate        candidate, if it is let in ─► [ probation ] ─► victim
//!                                                                                │       ▲
//!                                                                         used   ▼       │  pushed out
//!                                                                              [ protected ]
//! ```
//!
//! A *mark* is what is kept of an entry beside its links, in a byte: its region, and six bits for the policy. Its key's code, 25
//! bits of the hash to ask a [sketch](super::sketch) by, is made of what the cache keeps of the hash anyway. 25 bits are enough:
//! among a million entries one in thirty-five shares its code with another, and is taken for as popular as both are together.
//!
//! **Invariants**
//!
//! 1. Every entry is on the list of the region that its mark names, and on no other.
//! 2. A region's weight is the sum of the weights of its entries.
//!
//! | operation | cost |
//! |---|---|
//! | all but the walks | O(1) |
//! | memory | 9 bytes an entry: two links and a mark; 8 more once an entry of another weight than 1 has come |

use super::Slot;
use super::list::{Links, List};
use crate::engine::column::Column;
use crate::hash::mix;

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Region {
    Window,
    Probation,
    Protected,
}

impl Region {
    pub(crate) const ALL: [Self; 3] = [Self::Window, Self::Probation, Self::Protected];
}

/// What is kept of an entry: note, region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark(u8);

impl Mark {
    const REGION: u8 = 0b11;

    const fn note(self) -> u8 {
        self.0 >> 2
    }

    const fn region(self) -> Region {
        match self.0 & Self::REGION {
            0 => Region::Window,
            1 => Region::Probation,
            _ => Region::Protected,
        }
    }

    const fn with_note(self, note: u8) -> Self {
        Self(self.0 & Self::REGION | note << 2)
    }

    const fn with_region(self, region: Region) -> Self {
        Self(self.0 & !Self::REGION | region as u8)
    }
}

/// The bits of a key's hash that a policy with a sketch goes by. They are taken from its middle, which is all that is kept of it.
#[inline]
pub(crate) fn code_of(hash: u64) -> u32 {
    (mix(hash >> 17 & 0x7fff_ffff) >> 39) as u32
}

/// Three lists over the slots of one segment.
pub(crate) struct Regions {
    links: Links,
    lists: [List; 3],
    weights: [u64; 3],
    marks: Column<Mark>,
    /// The weights of the entries, once one of them was not 1.
    heavy: Option<Column<u64>>,
}

impl Regions {
    pub(crate) const fn new() -> Self {
        Self {
            links: Links::new(),
            lists: [List::new(); 3],
            weights: [0; 3],
            marks: Column::new(),
            heavy: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lists.iter().map(List::len).sum()
    }

    pub(crate) fn weight(&self, region: Region) -> u64 {
        self.weights[region as usize]
    }

    /// Of probation and protected together.
    pub(crate) fn main_weight(&self) -> u64 {
        self.weight(Region::Probation) + self.weight(Region::Protected)
    }

    pub(crate) fn total_weight(&self) -> u64 {
        self.weight(Region::Window) + self.main_weight()
    }

    /// The entry at the back, which leaves its region next.
    pub(crate) fn back(&self, region: Region) -> Option<Slot> {
        self.lists[region as usize].back()
    }

    pub(crate) fn region(&self, slot: Slot) -> Region {
        self.marks[slot].region()
    }

    /// Six bits of the policy's, 0 at first.
    pub(crate) fn note(&self, slot: Slot) -> u8 {
        self.marks[slot].note()
    }

    pub(crate) fn set_note(&mut self, slot: Slot, note: u8) {
        self.marks[slot] = self.marks[slot].with_note(note);
    }

    #[inline]
    pub(crate) fn weight_of(&self, slot: Slot) -> u64 {
        let kept = |heavy: &Column<u64>| heavy.get(slot.index()).copied();
        self.heavy.as_ref().and_then(kept).unwrap_or(1)
    }

    /// A newcomer, to the window's front.
    pub(crate) fn insert(&mut self, slot: Slot, weight: u64) {
        self.marks.reach(slot.index(), Mark(0));
        self.marks[slot] = Mark(0);
        self.weigh(slot, weight);
        self.enter(slot, Region::Window);
    }

    /// To the front of `region`, from wherever it is.
    pub(crate) fn move_to(&mut self, slot: Slot, region: Region) {
        self.leave(slot);
        self.enter(slot, region);
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        self.leave(slot);
    }

    /// `to` takes the place of `from`, with another weight.
    pub(crate) fn replace(&mut self, from: Slot, to: Slot, weight: u64) {
        let mark = self.marks[from];
        let at = mark.region() as usize;
        self.lists[at].replace(&mut self.links, from, to);
        self.marks.reach(to.index(), mark);
        self.marks[to] = mark;
        let was = self.weight_of(from);
        self.weigh(to, weight);
        self.weights[at] = self.weights[at] - was + weight;
    }

    /// The same entry has another weight.
    pub(crate) fn reweigh(&mut self, slot: Slot, weight: u64) {
        let (at, was) = (self.region(slot) as usize, self.weight_of(slot));
        if weight != was {
            self.weigh(slot, weight);
            self.weights[at] = self.weights[at] - was + weight;
        }
    }

    /// From front to back.
    pub(crate) fn iter(&self, region: Region) -> impl DoubleEndedIterator<Item = Slot> {
        self.lists[region as usize].iter(&self.links)
    }

    fn weigh(&mut self, slot: Slot, weight: u64) {
        if weight != 1 || self.heavy.is_some() {
            let heavy = self.heavy.get_or_insert_with(Column::new);
            heavy.reach(slot.index(), 1);
            heavy[slot] = weight;
        }
    }

    /// From the neighbour of `slot` on its front side to the front of its region.
    pub(crate) fn towards_front(&self, slot: Slot) -> impl Iterator<Item = Slot> {
        List::towards_front(&self.links, slot)
    }

    fn enter(&mut self, slot: Slot, region: Region) {
        self.lists[region as usize].push_front(&mut self.links, slot);
        self.weights[region as usize] += self.weight_of(slot);
        self.marks[slot] = self.marks[slot].with_region(region);
    }

    fn leave(&mut self, slot: Slot) {
        let at = self.region(slot) as usize;
        self.lists[at].unlink(&mut self.links, slot);
        self.weights[at] -= self.weight_of(slot);
    }

    pub(crate) fn assert_valid(&self) {
        for region in Region::ALL {
            self.lists[region as usize].assert_valid(&self.links);
            let mut slots = self.iter(region);
            assert!(slots.all(|slot| self.region(slot) == region), "1: a mark names the region");
            let sum: u64 = self.iter(region).map(|slot| self.weight_of(slot)).sum();
            assert_eq!(sum, self.weight(region), "2: a region's weight is that of its entries");
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::lockstep::letters;
    use super::*;
    use crate::policy::HitCounters;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// `window ¦ probation ¦ protected`, each from its front, with a star for each hit counted.
    pub(in crate::policy) fn picture(regions: &Regions, hits: &HitCounters<'_>) -> String {
        let one = |slot| letters(std::iter::once(slot)) + &"*".repeat(usize::from(hits.get(slot)));
        let region = |region| regions.iter(region).map(one).collect::<Vec<_>>().join(" ");
        let text = Region::ALL.map(region).join(" ¦ ");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_mark_keeps_its_two_parts_apart() {
        assert_eq!((Mark(0).note(), Mark(0).region()), (0, Region::Window));
        for region in Region::ALL {
            for note in [0, 1, 63] {
                let mark = Mark(0).with_note(21).with_region(region).with_note(note);
                assert_eq!((mark.note(), mark.region()), (note, region));
                let mark =
                    Mark(0).with_region(Region::Protected).with_note(note).with_region(region);
                assert_eq!((mark.note(), mark.region()), (note, region));
            }
        }
    }

    #[test]
    fn a_code_is_of_the_middle_of_a_hash() {
        let of = code_of;
        assert_eq!(of(0x1234 << 17), of(0xabcd << 48 | 0x1234 << 17 | 77));
        assert_ne!(of(0x1234 << 17), of(0x1235 << 17));
        assert!(of(u64::MAX) < 1 << 25);
    }

    #[test]
    fn weights_follow_the_entries() {
        let mut regions = Regions::new();
        let [a, b, c] = [0, 1, 200].map(Slot::new);
        regions.insert(a, 1);
        assert!(regions.heavy.is_none(), "nothing is kept where all weigh 1");
        regions.insert(b, 5);
        regions.move_to(a, Region::Protected);
        regions.replace(a, c, 7);
        regions.reweigh(b, 4);
        assert_eq!(Region::ALL.map(|region| regions.weight(region)), [4, 0, 7]);
        assert_eq!((regions.total_weight(), regions.main_weight(), regions.len()), (11, 7, 2));
        assert_eq!((regions.region(c), regions.weight_of(c)), (Region::Protected, 7));
        regions.assert_valid();
        regions.remove(c);
        regions.insert(a, 1);
        assert_eq!((regions.total_weight(), regions.weight_of(a)), (5, 1), "a slot used again");
    }

    #[test]
    fn damage_is_seen() {
        let complaint = |damage: fn(&mut Regions)| {
            let mut regions = Regions::new();
            (0..3).for_each(|index| regions.insert(Slot::new(index), 1));
            regions.assert_valid();
            damage(&mut regions);
            let checked = catch_unwind(AssertUnwindSafe(|| regions.assert_valid()));
            let panic = checked.expect_err("the damage is seen");
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap()
        };
        let mark = complaint(|it| it.marks[Slot::new(1)] = Mark(0).with_region(Region::Protected));
        assert!(mark.contains("1: a mark names the region"), "{mark}");
        let weight = complaint(|it| it.weights[0] = 4);
        assert!(weight.contains("2: a region's weight"), "{weight}");
        let list = complaint(|it| it.lists[1].push_front(&mut it.links, Slot::new(1)));
        assert!(list.contains("the same order") || list.contains("1: a mark"), "{list}");
    }
}
