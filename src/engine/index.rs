//! The index: hash to slot, read without a lock.
//!
//! **Problem.** A look-up should touch two cache lines: one that says where the entry is, and the entry's. It may not write,
//! not even to a lock; and writers insert, remove and grow meanwhile.
//!
//! ```text
//!   a bucket, one cache line
//!   ┌─────────┬──────────┬─────────────────┬──────────────────────────────────┬─────────────────┐
//!   │ version │ overflow │ 8 tags of 8 bits│ 8 slots of 32 bits               │ 8 hit counters  │
//!   └─────────┴──────────┴─────────────────┴──────────────────────────────────┴─────────────────┘
//!
//!   code   31 bits of the hash            home  = code x buckets / 2^31        any number of buckets
//!                                         tag   = low 8 bits of the code, 0 made 1; 0 in a bucket means empty
//!
//!   home ─► overflow ─► overflow           what does not fit at home is in a chain from there
//!
//!   growing:   old table  [ → ][ → ][   ][   ]      → forwarded: look in the new table
//!              new table  [ ][ ][ ][ ][ ][ ][ ][ ]
//! ```
//!
//! **Reading.** Load home's version; go through the chain: where a tag matches, load the slot, compare the key. A hit needs no
//! more: entries are immutable, and a slot is one word. A miss must be proved, since a key may have been moved from where the
//! reader had not looked to where it had: the version must be even, and still the same. After 32 failed proofs the reader
//! takes the lock.
//!
//! **Invariants**
//!
//! 1. A key's slot is in the chain of its home, in the newest table if its home in the older one is forwarded, else in the
//!    older one. It is in one place, but for the moment of a move.
//! 2. Where entries move within a chain, home's version is odd meanwhile, and another afterwards.
//! 3. A bucket is forwarded after its entries have been copied; from then on it does not change.
//! 4. Only the last bucket of a chain has empty places, unless the chain is home alone.
//! 5. A bucket of the overflow is in one chain, or free. It is used again at once: a reader that strays into another chain
//!    finds keys that are not its own, and its miss is not proved unless its own chain is as it was.
//!
//! | operation | cost |
//! |---|---|
//! | `find` | two cache lines for a hit at home, and one for each bucket of overflow |
//! | `insert`, `replace`, `remove` | O(1) expected, O(n / 8) if n hashes are equal |
//! | growth, shrinking | one home moved an insert or a removal; tables come and go in chunks of 16 KiB |
//! | memory | 64 bytes a bucket, of about 6.5 entries; with overflow, 12 bytes an entry |
//!
//! Sources: the tagged bucket is that of *`MemC3`* (Fan, Andersen, Kaminsky, 2013) and *CLHT* (David, Guerraoui, Trigonakis,
//! 2015); the version is a seqlock; the slots of a moved bucket are found as in P. Larson's *Dynamic hash tables*, 1988.

#![expect(unsafe_code, reason = "tables are reached through a pointer, and slots without a lock")]

use crate::engine::code::Code;
use crate::engine::epoch::Guard;
use crate::engine::slab::chunks::Chunks;
use crate::engine::slab::{Slab, Slot};
use crate::engine::sys::prefetch;
use crate::sync::{AtomicPtr, Ordering, fence};
use bucket::{BUSY, Bucket, FORWARDED, PLACES, STEP, matches};
use equivalent::Equivalent;
use growth::SMALLEST;
use homes::Homes;
use std::ptr;

mod bucket;
mod growth;
mod homes;

pub(crate) use bucket::{Counter, Hit};

/// Failed proofs of a miss, after which a reader takes the lock.
const PROOFS: usize = if cfg!(cachette_loom) { 2 } else { 32 };

struct Table {
    homes: Homes,
    overflow: Chunks<Bucket>,
    /// Where forwarded buckets have gone.
    next: AtomicPtr<Self>,
}

impl Table {
    fn new(size: usize) -> Self {
        Self {
            homes: Homes::new(size),
            overflow: Chunks::new(4),
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    #[inline]
    fn number(&self, code: Code) -> usize {
        ((u64::from(code.bits()) * self.homes.len() as u64) >> Code::BITS) as usize
    }

    /// A home to read.
    #[inline]
    fn home(&self, code: Code) -> &Bucket {
        self.homes.get(self.number(code))
    }

    /// A home to write to.
    #[inline]
    fn make_home(&self, code: Code) -> &Bucket {
        self.homes.reach(self.number(code))
    }

    fn follow(&self, bucket: &Bucket) -> Option<&Bucket> {
        let number = bucket.overflow.load(Ordering::Acquire) as usize;
        self.overflow.get(number.checked_sub(1)?)
    }

    fn chain<'t>(&'t self, home: &'t Bucket) -> impl Iterator<Item = &'t Bucket> {
        std::iter::successors(Some(home), |bucket| self.follow(bucket))
    }
}

/// The index of a segment, as readers see it.
pub(crate) struct Index {
    table: AtomicPtr<Table>,
}

/// The reader could not prove that the key is not there: too much is being moved. It must ask under the lock.
#[derive(Debug)]
pub(crate) struct Unproved;

/// What the one writer of an index knows of it.
pub(crate) struct Scribe {
    len: usize,
    /// With fewer entries than this, or more, another number of homes suits better.
    least: usize,
    most: usize,
    /// Homes at which the segment's share is just held: what growth aims for. 0 if that is not known.
    target: usize,
    /// Homes of the older table that are forwarded, from the first on; only while there are two.
    moved: usize,
    /// Free buckets of the newest table's overflow, and how many it has ever had.
    free: Vec<u32>,
    overflowed: u32,
    /// Tables that nothing leads to any more, with their tags.
    scrap: Vec<(u64, *mut Table)>,
    /// One that nobody looks at, being taken apart.
    rubble: Option<Box<Table>>,
}

// SAFETY: by reference a scribe shows numbers alone.
unsafe impl Sync for Scribe {}
// SAFETY: a scribe owns the tables in `scrap`, which hold atomics alone.
unsafe impl Send for Scribe {}

impl Index {
    /// An index, and its writer's part, for a segment that will hold `expected` entries, if that is known.
    pub(crate) fn new(expected: Option<usize>) -> (Self, Scribe) {
        let target = expected.map_or(0, |expected| (expected * 2).div_ceil(PLACES * 2 - 3));
        let mut start = target.max(1);
        while start > SMALLEST {
            start = start.div_ceil(2);
        }
        let mut scribe = Scribe {
            len: 0,
            least: 0,
            most: 0,
            target,
            moved: 0,
            free: Vec::new(),
            overflowed: 0,
            scrap: Vec::new(),
            rubble: None,
        };
        scribe.fit(start);
        let table = Box::into_raw(Box::new(Table::new(start)));
        (Self { table: AtomicPtr::new(table) }, scribe)
    }

    /// The older table, or the only one.
    #[inline]
    fn table<'p>(&'p self, _: Guard<'p>) -> &'p Table {
        // SAFETY: a table is freed after the grace period that began when this pointer no longer led to it, or with `self`.
        unsafe { &*self.table.load(Ordering::Acquire) }
    }

    /// As [`table`](Self::table), for the writer, who alone frees tables.
    #[inline]
    fn older(&self, _: &Scribe) -> &Table {
        // SAFETY: this pointer leads to a table that is not scrap.
        unsafe { &*self.table.load(Ordering::Acquire) }
    }

    /// The slot of a key, and its hit counter.
    // Always: out of line, what it finds would go through memory.
    #[inline(always)]
    pub(crate) fn find<'p, K, V, Q>(
        &'p self,
        slab: &'p Slab<K, V>,
        guard: Guard<'p>,
        code: Code,
        key: &Q,
    ) -> Result<Option<Hit<'p, K, V>>, Unproved>
    where
        Q: ?Sized + Equivalent<K>,
    {
        // At home, where nearly all are found. The rest is for `find_beyond`.
        let home = self.table(guard).home(code);
        let version = home.version.load(Ordering::Acquire);
        if version & FORWARDED == 0 {
            if let Some(hit) = home.hit(slab, guard, code, key) {
                return Ok(Some(hit));
            }
            if home.overflow.load(Ordering::Acquire) == 0 && home.proves(version) {
                return Ok(None);
            }
        }
        self.find_beyond(slab, guard, code, key)
    }

    #[inline(never)]
    fn find_beyond<'p, K, V, Q>(
        &'p self,
        slab: &'p Slab<K, V>,
        guard: Guard<'p>,
        code: Code,
        key: &Q,
    ) -> Result<Option<Hit<'p, K, V>>, Unproved>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let mut table = self.table(guard);
        for _ in 0..PROOFS {
            let home = table.home(code);
            let version = home.version.load(Ordering::Acquire);
            if version & FORWARDED != 0 {
                // SAFETY: it was stored before the bucket was forwarded, and outlives the older table.
                table = unsafe { &*table.next.load(Ordering::Acquire) };
                continue;
            }
            let mut chain = table.chain(home);
            if let Some(hit) = chain.find_map(|bucket| bucket.hit(slab, guard, code, key)) {
                return Ok(Some(hit));
            }
            if home.proves(version) {
                return Ok(None);
            }
            std::hint::spin_loop();
        }
        Err(Unproved)
    }

    /// Asks for the home of a key ahead of its use.
    pub(crate) fn prefetch(&self, guard: Guard<'_>, code: Code) {
        prefetch(self.table(guard).home(code));
    }

    /// Asks for the first entry that may be a key's, ahead of its use.
    pub(crate) fn prefetch_entry<K, V>(&self, slab: &Slab<K, V>, guard: Guard<'_>, code: Code) {
        let home = self.table(guard).home(code);
        let hits = matches(home.tags.load(Ordering::Relaxed), code.tag());
        if hits != 0 {
            prefetch(slab.place(home.slot(hits.trailing_zeros() as usize)));
        }
    }

    /// The slot of a key that `is` accepts, for who has the lock.
    #[inline]
    pub(crate) fn find_locked(
        &self,
        scribe: &Scribe,
        code: Code,
        mut is: impl FnMut(Slot) -> bool,
    ) -> Option<Slot> {
        let (table, home) = self.where_is(scribe, code);
        for bucket in table.chain(home) {
            let mut hits = matches(bucket.tags.load(Ordering::Relaxed), code.tag());
            while hits != 0 {
                let slot = bucket.slot(hits.trailing_zeros() as usize);
                if is(slot) {
                    return Some(slot);
                }
                hits &= hits - 1;
            }
        }
        None
    }

    /// The home of a code where it is now.
    #[inline]
    fn where_is<'s>(&'s self, scribe: &'s Scribe, code: Code) -> (&'s Table, &'s Bucket) {
        let older = self.older(scribe);
        let home = older.home(code);
        match self.newer(older) {
            Some(newer) if home.version.load(Ordering::Relaxed) & FORWARDED != 0 => {
                (newer, newer.home(code))
            }
            _ => (older, home),
        }
    }

    #[inline]
    fn newer<'s>(&'s self, older: &'s Table) -> Option<&'s Table> {
        // SAFETY: null, or a table that is freed after this one.
        unsafe { older.next.load(Ordering::Acquire).as_ref() }
    }

    /// Where an entry is.
    #[inline]
    fn place_of<'s>(
        &'s self,
        scribe: &'s Scribe,
        code: Code,
        slot: Slot,
    ) -> Option<(&'s Table, &'s Bucket, &'s Bucket, usize)> {
        let (table, home) = self.where_is(scribe, code);
        let tag = code.tag();
        let mut bucket = home;
        loop {
            if let Some(place) = bucket.place_of(tag, slot) {
                return Some((table, home, bucket, place));
            }
            bucket = table.follow(bucket)?;
        }
    }

    /// The hit counter of an entry.
    #[inline]
    pub(crate) fn counter<'s>(
        &'s self,
        scribe: &'s Scribe,
        code: Code,
        slot: Slot,
    ) -> Option<Counter<'s>> {
        let (_, _, bucket, place) = self.place_of(scribe, code, slot)?;
        Some(&bucket.counts[place])
    }

    /// Adds a slot, which is not in the index. `code_of` gives the bucket codes of others, which may have to move.
    #[inline]
    pub(crate) fn insert(
        &self,
        scribe: &mut Scribe,
        code: Code,
        slot: Slot,
        code_of: impl Fn(Slot) -> Code,
    ) {
        scribe.len += 1;
        self.work(scribe, &code_of);
        let table = self.settle(scribe, code, &code_of);
        let home = table.make_home(code);
        self.append(scribe, table, home, code.tag(), slot, 0);
    }

    /// Lets `to` take the place of `from`.
    #[inline]
    pub(crate) fn replace(&self, scribe: &Scribe, code: Code, from: Slot, to: Slot) {
        if let Some((_, _, bucket, place)) = self.place_of(scribe, code, from) {
            bucket.set_slot(place, to);
        }
    }

    /// Takes a slot out.
    #[inline]
    pub(crate) fn remove(
        &self,
        scribe: &mut Scribe,
        code: Code,
        slot: Slot,
        code_of: impl Fn(Slot) -> Code,
    ) {
        // From where it is: to move its home first could cost a chunk of the newer table, and many may leave in one call.
        let Some((table, home, bucket, place)) = self.place_of(scribe, code, slot) else { return };
        let freed = if home.overflow.load(Ordering::Relaxed) == 0 {
            bucket.vacate(place);
            None
        } else {
            unchain(table, home, bucket, place)
        };
        // A free bucket of the older table goes with it.
        let freed = freed.filter(|_| self.newer(table).is_none());
        scribe.len -= 1;
        scribe.free.extend(freed);
        self.work(scribe, &code_of);
    }

    /// Puts an entry into the first empty place of a chain, or a new bucket at its end.
    #[inline]
    fn append(
        &self,
        scribe: &mut Scribe,
        table: &Table,
        home: &Bucket,
        tag: u8,
        slot: Slot,
        count: u8,
    ) {
        if let Some(place) = home.empty_place() {
            return home.fill(place, tag, slot, count);
        }
        self.lengthen(scribe, table, home, tag, slot, count);
    }

    #[inline(never)]
    fn lengthen(
        &self,
        scribe: &mut Scribe,
        table: &Table,
        home: &Bucket,
        tag: u8,
        slot: Slot,
        count: u8,
    ) {
        let mut last = home;
        while let Some(bucket) = table.follow(last) {
            last = bucket;
            if let Some(place) = bucket.empty_place() {
                return bucket.fill(place, tag, slot, count);
            }
        }
        let number = scribe.free.pop().unwrap_or_else(|| {
            scribe.overflowed += 1;
            scribe.overflowed
        });
        let bucket = table.overflow.reach(number as usize - 1, Bucket::empty);
        bucket.overflow.store(0, Ordering::Relaxed);
        bucket.fill(0, tag, slot, count);
        last.overflow.store(number, Ordering::Release);
    }
}

/// Takes a place out of a chain of several buckets. The last entry of the chain fills the hole; a bucket that this empties
/// leaves the chain, and its number comes back.
#[inline(never)]
fn unchain(table: &Table, home: &Bucket, bucket: &Bucket, place: usize) -> Option<u32> {
    let (mut before, mut last) = (home, home);
    while let Some(next) = table.follow(last) {
        (before, last) = (last, next);
    }
    let version = home.version.load(Ordering::Relaxed);
    home.version.store(version | BUSY, Ordering::Relaxed);
    fence(Ordering::Release);
    let moved = last.places().find(|_| !ptr::eq(last, bucket));
    bucket.vacate(place);
    if let Some(from) = moved {
        let count = last.counts[from].load(Ordering::Relaxed);
        bucket.fill(place, last.tag(from), last.slot(from), count);
        last.vacate(from);
    }
    let number = before.overflow.load(Ordering::Relaxed);
    let empty = last.tags.load(Ordering::Relaxed) == 0;
    if empty {
        before.overflow.store(0, Ordering::Release);
    }
    home.version.store(version.wrapping_add(STEP), Ordering::Release);
    empty.then_some(number)
}

impl Drop for Index {
    fn drop(&mut self) {
        let mut table = self.table.load(Ordering::Relaxed);
        while !table.is_null() {
            // SAFETY: made by `Box::into_raw`, reached by one pointer, and `&mut self`: no reader is left.
            let owned = unsafe { Box::from_raw(table) };
            table = owned.next.load(Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, cachette_loom))]
mod models;

#[cfg(test)]
#[cfg(not(cachette_loom))]
mod tests {
    use super::*;
    use crate::engine::epoch;
    use crate::engine::slab::{Entry, Keeper};
    use proptest::prelude::*;

    impl Index {
        /// Checks that every slot is where its code says, once, and what is said of chains.
        pub(crate) fn assert_valid(&self, scribe: &Scribe, code_of: impl Fn(Slot) -> Code) {
            let older = self.older(scribe);
            let mut seen = 0;
            for (number, table) in
                [Some(older), self.newer(older)].into_iter().flatten().enumerate()
            {
                for home in 0..table.homes.len() {
                    let first = table.homes.get(home);
                    let version = first.version.load(Ordering::Relaxed);
                    assert_eq!(version & BUSY, 0, "nobody is at work");
                    if version & FORWARDED != 0 {
                        continue;
                    }
                    let moved = number == 0 || home_is_forwarded(older, table, home);
                    let chain: Vec<_> = table.chain(first).collect();
                    for (at, bucket) in chain.iter().enumerate() {
                        let full = bucket.empty_place().is_none();
                        assert!(full || at + 1 == chain.len(), "only the last has empty places");
                        assert!(at == 0 || bucket.places().count() > 0, "no overflow is empty");
                        for place in bucket.places() {
                            let code = code_of(bucket.slot(place));
                            assert_eq!(table.number(code), home, "a slot is in its home's chain");
                            seen += 1;
                        }
                    }
                    assert!(
                        moved || first.places().count() == 0,
                        "what is in the newer table was moved"
                    );
                }
            }
            assert_eq!(seen, scribe.len, "len counts the slots");
        }
    }

    /// True if some home of the older table that leads here is forwarded.
    fn home_is_forwarded(older: &Table, newer: &Table, home: usize) -> bool {
        let (of, to) = (older.homes.len(), newer.homes.len());
        let first = home * of / to;
        let last = ((home + 1) * of).div_ceil(to).min(of);
        (first..last)
            .map(|number| older.homes.get(number))
            .any(|bucket| bucket.version.load(Ordering::Relaxed) & FORWARDED != 0)
    }

    /// An index over a slab of its own, of keys that choose their hashes.
    struct Map {
        index: Index,
        scribe: Scribe,
        slab: Slab<u64, u64>,
        keeper: Keeper,
        hash: fn(u64) -> u64,
    }

    impl Map {
        fn new(expected: Option<usize>, hash: fn(u64) -> u64) -> Self {
            let (index, scribe) = Index::new(expected);
            let (slab, keeper) = Slab::new(expected.unwrap_or(100));
            Self { index, scribe, slab, keeper, hash }
        }

        fn code(&self, key: u64) -> Code {
            Code::new((self.hash)(key))
        }

        fn find(&self, key: u64) -> Option<Slot> {
            let pin = epoch::pin();
            let found = self.index.find(&self.slab, pin.guard(), self.code(key), &key).unwrap();
            let slot = found.map(|(found, _)| found.slot);
            let locked = self.index.find_locked(&self.scribe, self.code(key), |slot| {
                self.slab.entry(&self.keeper, slot).unwrap().key == key
            });
            assert_eq!(slot, locked);
            slot
        }

        fn insert(&mut self, key: u64) {
            let code = self.code(key);
            let Self { index, scribe, slab, keeper, .. } = self;
            let slot = slab.insert(keeper, Entry { key, value: key }, code);
            index.insert(scribe, code, slot, |slot| keeper.code(slot));
            scribe.sweep(epoch::domain(), epoch::domain().safe());
        }

        fn replace(&mut self, key: u64) {
            let from = self.find(key).unwrap();
            let code = self.code(key);
            let to = self.slab.insert(&mut self.keeper, Entry { key, value: key }, code);
            self.index.replace(&self.scribe, code, from, to);
            self.retire(from);
        }

        fn remove(&mut self, key: u64) {
            let slot = self.find(key).unwrap();
            let code = self.code(key);
            let Self { index, scribe, keeper, .. } = self;
            index.remove(scribe, code, slot, |slot| keeper.code(slot));
            self.retire(slot);
        }

        fn retire(&mut self, slot: Slot) {
            let departed = self.slab.depart(&mut self.keeper, slot).unwrap();
            self.slab.retire(&mut self.keeper, departed);
        }

        fn assert_valid(&self) {
            self.index.assert_valid(&self.scribe, |slot| self.keeper.code(slot));
        }
    }

    #[test]
    fn it_grows_to_its_target_and_shrinks() {
        const HOMES: usize = if cfg!(miri) { 30 } else { 1000 };
        let keys = HOMES as u64 * 13 / 2;
        let mut map = Map::new(Some(HOMES * 13 / 2), crate::hash::mix);
        for key in 0..keys {
            map.insert(key);
        }
        assert_eq!(map.index.older(&map.scribe).homes.len(), HOMES);
        map.assert_valid();
        for key in 0..keys {
            map.remove(key);
        }
        map.assert_valid();
        assert!(map.index.older(&map.scribe).homes.len() < 10);
    }

    /// At 6.5 entries a home, one entry in 20 is in the overflow.
    #[test]
    fn homes_share_the_entries_evenly() {
        const HOMES: usize = 256;
        // Multiplied once more, what `mix` makes of neighbours is not as even as they are.
        let hash = |key| crate::hash::mix(crate::hash::mix(key) ^ key << 40);
        let mut map = Map::new(Some(HOMES * 13 / 2), hash);
        for key in 0..HOMES as u64 * 13 / 2 {
            map.insert(key);
        }
        let table = map.index.older(&map.scribe);
        assert_eq!(table.homes.len(), HOMES);
        let homes = (0..HOMES).map(|number| table.homes.get(number));
        let at_home: usize = homes.map(|home| home.places().count()).sum();
        let beyond = map.scribe.len - at_home;
        assert!((HOMES * 13 / 2) / 40 < beyond && beyond < (HOMES * 13 / 2) / 10, "{beyond}");
    }

    #[test]
    fn what_is_removed_while_the_index_grows_is_not_found() {
        let mut map = Map::new(None, crate::hash::mix);
        let (mut resident, mut both) = (Vec::new(), 0);
        for key in 0..if cfg!(miri) { 60 } else { 1000 } {
            for key in [key, key + 1000] {
                map.insert(key);
                resident.push(key);
            }
            map.remove(resident.swap_remove(resident.len() / 2));
            if map.index.newer(map.index.older(&map.scribe)).is_none() {
                continue;
            }
            both += 1;
            for key in (0..=key).flat_map(|key| [key, key + 1000]) {
                assert_eq!(map.find(key).is_some(), resident.contains(&key), "{key}");
            }
        }
        assert!(both > 3, "it was seen at work {both} times");
    }

    /// However it moves: to another table, into a hole.
    #[test]
    fn a_counter_goes_with_its_entry() {
        let mut map = Map::new(None, |key| crate::hash::mix(key % 9));
        let count_of = |key: u64| u8::try_from(key % 250 + 1).unwrap();
        let keys = if cfg!(miri) { 60 } else { 500 };
        let check = |map: &Map, keys: std::ops::Range<u64>| {
            for key in keys {
                let slot = map.find(key).unwrap();
                let counter = map.index.counter(&map.scribe, map.code(key), slot).unwrap();
                assert_eq!(counter.load(Ordering::Relaxed), count_of(key), "{key}");
            }
        };
        for key in 0..keys {
            map.insert(key);
            let slot = map.find(key).unwrap();
            let counter = map.index.counter(&map.scribe, map.code(key), slot).unwrap();
            assert_eq!(counter.load(Ordering::Relaxed), 0, "a newcomer has no hits");
            counter.store(count_of(key), Ordering::Relaxed);
            if key % 50 == 0 {
                check(&map, 0..key + 1);
            }
        }
        for key in 0..keys {
            map.remove(key);
            if key % 50 == 0 {
                check(&map, key + 1..keys);
            }
        }
        let code = map.code(0);
        assert!(map.index.counter(&map.scribe, code, Slot::new(0)).is_none());
    }

    #[test]
    fn equal_hashes_are_slow_and_right() {
        let mut map = Map::new(None, |_| 42 << 16 | 7);
        let keys = if cfg!(miri) { 40 } else { 10_000 };
        for key in 0..keys {
            map.insert(key);
        }
        map.assert_valid();
        for key in (0..keys).step_by(97) {
            assert!(map.find(key).is_some());
        }
        for key in 0..keys {
            map.remove(key);
        }
        map.assert_valid();
        assert_eq!(map.find(3), None);
    }

    proptest! {
        #[test]
        fn an_index_is_a_map(
            few in any::<bool>(),
            expected in prop::option::of(0..500_usize),
            ops in prop::collection::vec((0..5_u8, 0..200_u64), 0..if cfg!(miri) { 60 } else { 800 }),
        ) {
            // With few hashes, chains are long.
            let mut map = Map::new(expected, if few { |key| crate::hash::mix(key % 5) } else { crate::hash::mix });
            let mut oracle = std::collections::BTreeSet::new();
            for (op, key) in ops {
                match (op, oracle.contains(&key)) {
                    (0..3, false) => {
                        map.insert(key);
                        oracle.insert(key);
                    }
                    (3, true) => map.replace(key),
                    (4, true) => {
                        map.remove(key);
                        oracle.remove(&key);
                    }
                    _ => {}
                }
                map.assert_valid();
            }
            for key in 0..200 {
                prop_assert_eq!(map.find(key).is_some(), oracle.contains(&key));
            }
        }
    }
}
