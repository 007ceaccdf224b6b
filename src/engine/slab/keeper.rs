//! Which slots of a slab are full, free, or in limbo: the writer's side of it.
//!
//! ```text
//!   a slot's word    full                       1 | code of its entry's hash
//!                    free, or in limbo          0 | the next slot of that list
//! ```
//!
//! **Invariants**
//!
//! 1. A slot below `end` is full, departed, in limbo, or free; the latter two are lists through the words.
//! 2. Batches in limbo have rising tags; what is not of a batch is open, and newer.
//!
//! | operation | cost |
//! |---|---|
//! | all but walks | O(1) |
//! | memory | 4 bytes a slot |

use super::Slot;
use crate::engine::code::Code;
use crate::engine::column::Column;
use crate::engine::epoch::Domain;
use std::collections::VecDeque;

/// What the one writer of a slab knows of it: whose slots are full, free, or in limbo. A slab and its keeper are made together,
/// and stay together under one lock.
pub(crate) struct Keeper {
    words: Column<Word>,
    /// The free slots, last in first out.
    free: Slot,
    len: usize,
    end: usize,
    /// The oldest and the newest slot in limbo, and how many there are.
    oldest: Slot,
    newest: Slot,
    limbo: usize,
    /// Sealed batches: their tags, and how many slots each has.
    batches: VecDeque<(u64, usize)>,
    /// Slots in limbo that are not sealed yet.
    open: usize,
}

/// What the writer knows of a slot: the code of its entry if it is full, else the next slot of the list it is on.
#[derive(Clone, Copy)]
struct Word(u32);

impl Word {
    const FULL: u32 = 1 << Code::BITS;
    /// The most slots whose numbers fit, less the one that means none.
    const SLOTS: usize = (Self::FULL - 1) as usize;
    const LAST: Self = Self(Self::FULL - 1);

    const fn full(code: Code) -> Self {
        Self(Self::FULL | code.bits())
    }

    const fn is_full(self) -> bool {
        self.0 & Self::FULL != 0
    }

    const fn code(self) -> Code {
        Code::from_bits(self.0)
    }

    /// `next` is a slot, or none.
    const fn before(next: Slot) -> Self {
        Self(next.0 & !Self::FULL)
    }

    const fn next(self) -> Slot {
        if self.0 == Self::LAST.0 { Slot::NONE } else { Slot(self.0) }
    }
}

impl Keeper {
    pub(super) const fn new() -> Self {
        Self {
            words: Column::new(),
            free: Slot::NONE,
            len: 0,
            end: 0,
            oldest: Slot::NONE,
            newest: Slot::NONE,
            limbo: 0,
            batches: VecDeque::new(),
            open: 0,
        }
    }

    /// A slot that was free is full.
    #[inline]
    pub(super) fn fill(&mut self, slot: Slot, code: Code) {
        self.words[slot] = Word::full(code);
        self.len += 1;
    }

    /// Every slot in limbo is about to be emptied.
    pub(super) fn forget_batches(&mut self) {
        self.open = 0;
        self.batches.clear();
    }

    /// How many slots are full.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// One past the highest slot ever used: where a walk over all slots ends.
    pub(crate) const fn end(&self) -> usize {
        self.end
    }

    /// True if no slot is left: 2^31 - 1 of them are in use.
    pub(crate) const fn is_full(&self) -> bool {
        self.free.is_none() && self.end == Word::SLOTS
    }

    /// True if the slot is full.
    #[inline]
    pub(crate) fn has(&self, slot: Slot) -> bool {
        self.words.get(slot.index()).is_some_and(|word| word.is_full())
    }

    /// The code of a full slot's entry.
    #[inline]
    pub(crate) fn code(&self, slot: Slot) -> Code {
        self.words[slot].code()
    }

    #[inline]
    pub(super) fn take_free(&mut self) -> Slot {
        let Some(slot) = self.free.some() else {
            let slot = Slot::new(self.end);
            self.words.reach(self.end, Word::LAST);
            self.end += 1;
            return slot;
        };
        self.free = self.words[slot].next();
        slot
    }

    #[inline]
    pub(super) fn push_free(&mut self, slot: Slot) {
        self.words[slot] = Word::before(self.free);
        self.free = slot;
    }

    /// A full slot is full no more.
    #[inline]
    pub(super) fn depart(&mut self, slot: Slot) {
        self.words[slot] = Word::LAST;
        self.len -= 1;
    }

    /// A slot that was full, or has departed, is the newest in limbo.
    #[inline]
    pub(super) fn push_limbo(&mut self, slot: Slot) {
        self.words[slot] = Word::LAST;
        match self.newest.some() {
            Some(newest) => self.words[newest] = Word::before(slot),
            None => self.oldest = slot,
        }
        self.newest = slot;
        self.limbo += 1;
        self.open += 1;
    }

    #[inline]
    pub(super) fn pop_limbo(&mut self) -> Option<Slot> {
        let slot = self.oldest.some()?;
        self.oldest = self.words[slot].next();
        if self.oldest.is_none() {
            self.newest = Slot::NONE;
        }
        self.limbo -= 1;
        Some(slot)
    }

    pub(super) fn pop_full(&mut self) -> Option<Slot> {
        let slot = (0..self.end).rev().map(Slot::new).find(|&slot| self.has(slot));
        match slot {
            Some(slot) => {
                self.depart(slot);
                self.end = slot.index();
            }
            None => self.end = 0,
        }
        slot
    }

    /// The full slots at or after `from`, in order.
    pub(crate) fn iter_from(&self, from: usize) -> impl Iterator<Item = Slot> + Clone + '_ {
        (from..self.end).map(Slot::new).filter(|&slot| self.has(slot))
    }

    /// Slots in limbo.
    #[inline]
    pub(crate) const fn limbo(&self) -> usize {
        self.limbo
    }

    /// Slots in limbo that have no tag yet.
    #[inline]
    pub(crate) const fn open(&self) -> usize {
        self.open
    }

    /// Gives what has been retired since the last seal its tag.
    pub(crate) fn seal(&mut self, domain: &Domain) {
        if self.open != 0 {
            self.batches.push_back((domain.seal(), std::mem::take(&mut self.open)));
        }
    }

    /// Takes the oldest slot out of limbo if its tag is below `safe`.
    #[inline]
    pub(super) fn next_below(&mut self, safe: u64) -> Option<Slot> {
        let (tag, count) = self.batches.front_mut()?;
        if *tag >= safe {
            return None;
        }
        *count -= 1;
        if *count == 0 {
            self.batches.pop_front();
        }
        self.pop_limbo()
    }

    /// True if something in limbo could be reclaimed now.
    #[inline]
    pub(crate) fn is_due(&self, safe: u64) -> bool {
        self.batches.front().is_some_and(|&(tag, _)| tag < safe)
    }

    #[cfg(test)]
    pub(crate) fn assert_valid(&self) {
        let list = |first: Slot| {
            let next = |&slot: &Slot| self.words[slot].next().some();
            std::iter::successors(first.some(), next).take(self.end + 1).collect::<Vec<_>>()
        };
        let (limbo, free) = (list(self.oldest), list(self.free));
        let sealed: usize = self.batches.iter().map(|&(_, count)| count).sum();
        assert_eq!(sealed + self.open, limbo.len(), "every slot in limbo is of one batch");
        assert_eq!((limbo.len(), limbo.last().copied()), (self.limbo, self.newest.some()));
        assert!(self.batches.iter().is_sorted(), "tags rise");
        assert_eq!(self.iter_from(0).count(), self.len, "len counts the full slots");
        let all = self.len + limbo.len() + free.len();
        assert_eq!(all, self.end, "every slot is full, in limbo, or free");
        assert!(
            limbo.iter().chain(&free).all(|&slot| !self.has(slot)),
            "what is listed is not full"
        );
    }
}

#[cfg(test)]
#[cfg(not(cachette_loom))]
mod tests {
    use super::*;

    impl Keeper {
        /// The most slots that there can be.
        pub(crate) const MOST: usize = Word::SLOTS;

        /// Sets where it ends, as after so many insertions, and says where that was.
        pub(crate) fn set_end(&mut self, end: usize) -> usize {
            std::mem::replace(&mut self.end, end)
        }
    }

    #[test]
    fn slots_can_be_used_up() {
        let mut keeper = Keeper::new();
        let first = keeper.take_free();
        assert!(!keeper.is_full());
        keeper.end = Word::SLOTS;
        assert!(keeper.is_full());
        keeper.push_free(first);
        assert!(!keeper.is_full());
        assert_eq!(keeper.take_free(), first);
        keeper.end = 0;
        assert!(!keeper.is_full());
    }

    #[test]
    fn a_word_is_a_code_or_a_link() {
        let code = Code::new(u64::MAX);
        assert!(Word::full(code).is_full() && Word::full(code).code() == code);
        assert!(!Word::before(Slot::NONE).is_full());
        assert_eq!(Word::before(Slot::NONE).next(), Slot::NONE);
        let last = Slot::new(Word::SLOTS - 1);
        assert!(!Word::before(last).is_full());
        assert_eq!(Word::before(last).next(), last);
    }
}
