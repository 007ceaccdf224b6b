//! How an index grows and shrinks: home by home, while readers and writers go on.
//!
//! A new table is linked behind the old one. Each insert and each removal moves a few homes, and first of all the home of its
//! own key. When all are moved the new table takes the old one's place, and that one waits, like an entry in limbo, until no
//! reader can be in it; then it goes, a chunk at a time.

#![expect(unsafe_code, reason = "tables are reached through a pointer")]

use super::bucket::{FORWARDED, STEP};
use super::{Code, Index, Scribe, Table};
use crate::engine::epoch::Domain;
use crate::engine::slab::Slot;
use crate::sync::Ordering;

/// Entries a home, on average, at which a table grows, and those it is made for. At 6.5 one entry in 20 is in the overflow.
const CROWDED: usize = 7;
const SPARSE: usize = 2;
/// Homes that a table has at least once it shrinks.
pub(super) const SMALLEST: usize = 4;

impl Index {
    /// The newest table, where `code`'s home is at home now.
    #[inline]
    pub(super) fn settle<'s>(
        &'s self,
        scribe: &mut Scribe,
        code: Code,
        code_of: &impl Fn(Slot) -> Code,
    ) -> &'s Table {
        // SAFETY: as in `older`; freed by `sweep` alone, which takes `&mut Scribe` and frees scrap alone, not this.
        let older = unsafe { &*self.table.load(Ordering::Acquire) };
        let Some(newer) = self.newer(older) else { return older };
        self.migrate(scribe, older, newer, older.number(code), code_of);
        newer
    }

    /// Moves the entries of one home to the newer table, if that has not been done.
    pub(super) fn migrate(
        &self,
        scribe: &mut Scribe,
        older: &Table,
        newer: &Table,
        number: usize,
        code_of: &impl Fn(Slot) -> Code,
    ) {
        let home = older.homes.reach(number);
        let version = home.version.load(Ordering::Relaxed);
        if version & FORWARDED != 0 {
            return;
        }
        for bucket in older.chain(home) {
            for place in bucket.places() {
                let slot = bucket.slot(place);
                let count = bucket.counts[place].load(Ordering::Relaxed);
                let there = newer.make_home(code_of(slot));
                self.append(scribe, newer, there, bucket.tag(place), slot, count);
            }
        }
        // Readers of an empty home must find one too.
        home.version.store(version.wrapping_add(STEP) | FORWARDED, Ordering::Release);
    }

    /// A step of growing or shrinking, or the beginning of it.
    #[inline]
    pub(super) fn work(&self, scribe: &mut Scribe, code_of: &impl Fn(Slot) -> Code) {
        // SAFETY: as in `settle`.
        let older = unsafe { &*self.table.load(Ordering::Acquire) };
        match self.newer(older) {
            Some(newer) => self.go_on(scribe, older, newer, code_of),
            None if scribe.is_fit() => {}
            None => Self::begin(scribe, older),
        }
    }

    #[cold]
    fn begin(scribe: &mut Scribe, older: &Table) {
        let size = scribe.better_size(older.homes.len());
        // The free buckets are the older table's: there is no more use for them.
        (scribe.moved, scribe.overflowed) = (0, 0);
        scribe.free.clear();
        scribe.fit(size);
        older.next.store(Box::into_raw(Box::new(Table::new(size))), Ordering::Release);
    }

    #[inline(never)]
    fn go_on(
        &self,
        scribe: &mut Scribe,
        older: &Table,
        newer: &Table,
        code_of: &impl Fn(Slot) -> Code,
    ) {
        // One: many may leave in one call. It is enough, since a table is nearly always made for more insertions, or removals,
        // than the older one has homes; else its chains are longer for a while.
        if scribe.moved < older.homes.len() {
            self.migrate(scribe, older, newer, scribe.moved, code_of);
            scribe.moved += 1;
        }
        if scribe.moved == older.homes.len() {
            let newest = older.next.load(Ordering::Relaxed);
            let old = self.table.swap(newest, Ordering::AcqRel);
            scribe.scrap.push((u64::MAX, old));
        }
    }
}

impl Scribe {
    #[cfg(test)]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The newest table has this many homes.
    pub(super) fn fit(&mut self, size: usize) {
        self.most = size * CROWDED;
        self.least = if size > SMALLEST { size * SPARSE } else { 0 };
    }

    /// True if the number of homes suits that of the entries.
    #[inline]
    fn is_fit(&self) -> bool {
        (self.least..=self.most).contains(&self.len)
    }

    /// A number of homes that suits better.
    fn better_size(&self, size: usize) -> usize {
        if self.len < self.least {
            return size.div_ceil(2);
        }
        // Halves of the target on the way to it, so that it is met exactly; beyond it, a quarter more at a time.
        let halves = (0..usize::BITS).map(|halves| self.target.div_ceil(1 << halves));
        let next = halves.take_while(|&half| half > size).last();
        let beyond = if self.target == 0 { size * 2 } else { size + size.div_ceil(4) };
        next.unwrap_or(beyond)
    }

    /// True if a table waits for a grace period.
    pub(crate) fn has_scrap(&self) -> bool {
        !self.scrap.is_empty() || self.rubble.is_some()
    }

    /// Seals tables that have gone out of use, and frees a chunk of one whose time has come.
    /// `safe` is what may go.
    pub(crate) fn sweep(&mut self, domain: &Domain, safe: u64) {
        for (tag, _) in self.scrap.iter_mut().filter(|(tag, _)| *tag == u64::MAX) {
            *tag = domain.seal();
        }
        if let Some(table) = &mut self.rubble {
            if !(table.homes.shed() || table.overflow.shed()) {
                self.rubble = None;
            }
            return;
        }
        if let Some(due) = self.scrap.iter().position(|&(tag, _)| tag < safe) {
            let (_, table) = self.scrap.swap_remove(due);
            // SAFETY: made by `Box::into_raw`; no pointer leads to it, and every reader that had loaded one is gone.
            self.rubble = Some(unsafe { Box::from_raw(table) });
        }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        for (_, table) in self.scrap.drain(..) {
            // SAFETY: a scribe is dropped with its index, when there is no reader left.
            drop(unsafe { Box::from_raw(table) });
        }
    }
}

#[cfg(test)]
#[cfg(not(cachette_loom))]
mod tests {
    use super::*;
    use crate::engine::epoch::Grace;

    /// A scribe whose index holds `len` entries of `expected`.
    fn scribe(expected: Option<usize>, len: usize) -> Scribe {
        let (_, mut scribe) = Index::new(expected);
        scribe.len = len;
        scribe
    }

    #[test]
    fn a_table_that_is_crowded_grows_and_one_that_is_sparse_shrinks() {
        let better = |expected, len, size| {
            let mut scribe = scribe(expected, len);
            scribe.fit(size);
            (!scribe.is_fit()).then(|| scribe.better_size(size))
        };
        assert_eq!(better(None, 70, 10), None);
        assert_eq!(better(None, 71, 10), Some(20));
        assert_eq!(better(None, 20, 10), None);
        assert_eq!(better(None, 19, 10), Some(5));
        assert_eq!(better(None, 9, 5), Some(3));
        assert_eq!(better(None, 0, 4), None, "it is small enough");
        // With 6,500 expected, 1,000 homes are the target, and its halves the way to it.
        let target = Some(6_500);
        for (size, next) in [(4, 8), (8, 16), (63, 125), (100, 125), (125, 250), (500, 1_000)] {
            assert_eq!(better(target, size * 7, size), None);
            assert_eq!(better(target, size * 7 + 1, size), Some(next));
        }
        assert_eq!(better(target, 7_001, 1_000), Some(1_250));
        assert_eq!(better(target, 8_751, 1_250), Some(1_563));
    }

    #[test]
    fn a_table_starts_with_at_most_four_homes() {
        let start = |expected| {
            let (index, scribe) = Index::new(expected);
            index.older(&scribe).homes.len()
        };
        assert_eq!([None, Some(0), Some(6), Some(7)].map(start), [1, 1, 1, 2]);
        assert_eq!([Some(26), Some(27), Some(6_500)].map(start), [4, 3, 4]);
    }

    /// One at each step; the last step puts the newer table in the place of the older, which then goes a chunk at a time.
    #[test]
    fn homes_move_one_at_a_time() {
        let domain = Domain::of_a_test();
        let (index, mut scribe) = Index::new(None);
        let code_of = |_: Slot| unreachable!("nothing is there to move");
        let step = |scribe: &mut Scribe| {
            index.work(scribe, &code_of);
            (
                index.older(scribe).homes.len(),
                scribe.moved,
                index.newer(index.older(scribe)).is_some(),
            )
        };
        scribe.len = 8;
        assert_eq!(step(&mut scribe), (1, 0, true));
        assert_eq!(step(&mut scribe), (2, 1, false));
        assert_eq!(step(&mut scribe), (2, 1, false));
        scribe.len = 15;
        assert_eq!(step(&mut scribe), (2, 0, true));
        assert_eq!(step(&mut scribe), (2, 1, true));
        assert_eq!(step(&mut scribe), (4, 2, false));
        for (len, size) in [(29, 4), (57, 8)] {
            scribe.len = len;
            assert_eq!(step(&mut scribe), (size, 0, true));
            assert!((1..size).all(|moved| step(&mut scribe) == (size, moved, true)));
            assert_eq!(step(&mut scribe), (size * 2, size, false));
        }
        assert_eq!(scribe.scrap.len(), 4);

        assert!(scribe.has_scrap());
        let pin = domain.pin();
        scribe.sweep(domain, domain.safe());
        assert!(scribe.scrap.iter().map(|&(tag, _)| tag).eq(1..5), "each is sealed once");
        domain.grace(Grace::Wait);
        scribe.sweep(domain, domain.safe());
        assert!(scribe.rubble.is_none(), "a reader may be in it");
        drop(pin);
        domain.grace(Grace::Wait);
        let safe = domain.safe();
        for left in (0..4).rev() {
            scribe.sweep(domain, safe);
            assert_eq!(scribe.scrap.len(), left);
            let rubble = scribe.rubble.as_ref().unwrap();
            assert_eq!((rubble.homes.chunks(), rubble.overflow.chunks()), (1, 0));
            assert!(scribe.has_scrap());
            scribe.sweep(domain, safe);
            assert_eq!(scribe.rubble.as_ref().unwrap().homes.chunks(), 0);
            scribe.sweep(domain, safe);
            assert!(scribe.rubble.is_none());
        }
        assert!(!scribe.has_scrap());
    }
}
