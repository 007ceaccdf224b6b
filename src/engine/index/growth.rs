//! How an index grows and shrinks: home by home, while readers and writers go on.
//!
//! A new table is linked behind the old one. Each insert and each removal moves a few homes, and first of all the home of its
//! own key. When all are moved the new table takes the old one's place, and that one waits, like an entry in limbo, until no
//! reader can be in it; then it goes, a chunk at a time.

#![expect(unsafe_code, reason = "tables are reached through a pointer")]

use super::bucket::{Bucket, FORWARDED, STEP};
use super::{Code, Index, Scribe, Table};
use crate::engine::epoch::Domain;
use crate::engine::slab::Slot;
use crate::sync::Ordering;

/// Homes moved an insert or a removal, while there are two tables.
const MOVES: usize = 4;
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
        let home = older.homes.reach(number, Bucket::empty);
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
        let size = scribe.better_size(older.size);
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
        for _ in 0..MOVES {
            if scribe.moved < older.size {
                self.migrate(scribe, older, newer, scribe.moved, code_of);
                scribe.moved += 1;
            }
        }
        if scribe.moved == older.size {
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
