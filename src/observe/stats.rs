//! Statistics that are always on.
//!
//! **Problem.** Every read counts a hit or a miss. A counter shared by the threads would cost each of them more than the
//! read itself; a counter a thread must be found, summed, and kept when its thread ends.
//!
//! ```text
//!   thread 1   table: cache 7 ─► cell ◄────┐            Registry of cache 7
//!                     cache 9 ─► cell      ├── live:    the cells of running threads
//!   thread 2   table: cache 7 ─► cell ◄────┘   folded:  the sums of threads that ended
//!                                              shared:  what was counted by threads without a table
//! ```
//!
//! **Invariants**
//!
//! 1. A cell has one writer, the thread whose table holds it; so a load and a store count, without a read-modify-write.
//! 2. A cell whose thread runs is in `live`; when the thread ends it moves to `folded`, in one critical section.
//!    So every count is in exactly one of `live`, `folded` and `shared`.
//! 3. No two caches ever have the same id, so a table never mistakes a new cache for one that is gone.
//! 4. Less than half of a table is in use, so that every probe ends; cells of caches that are gone leave when it is
//!    rebuilt, so they are at most as many as fit.
//!
//! | operation | cost |
//! |---|---|
//! | `add`, `count` | O(1): about 1 ns; a thread's first in a cache allocates a cell and locks the registry |
//! | `snapshot` | O(threads that counted in this cache and still run) |
//! | thread exit | O(live caches it counted in x threads of each) |

use crate::observe::{Cause, Tally};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, Weak, fixed};
use crossbeam_utils::CachePadded;
use std::cell::{Cell, RefCell};
use std::ops::Sub;
use std::time::Duration;

/// What a cache counted since it was made, and what it holds now.
///
/// Got from [`Cache::stats`](crate::Cache::stats). Counters only grow, up to `u64::MAX`, where they stay. The difference of
/// two is the interval between them. While other threads are at work the counters are read one after another, so they may
/// disagree by what those threads did meanwhile; counts of what happened before the call are all there.
///
/// ```
/// use cachette::Cache;
///
/// let cache = Cache::<&str, u32>::new(100);
/// cache.put("a", 1);
/// cache.get("a");
/// cache.get("b");
/// let before = cache.stats();
/// assert_eq!((before.hits, before.misses, before.entries), (1, 1, 1));
///
/// cache.get("a");
/// let interval = cache.stats() - before;
/// assert_eq!((interval.hits, interval.misses, interval.entries), (1, 0, 1));
/// assert_eq!(interval.hit_ratio(), 1.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Counter: reads that found an entry.
    pub hits: u64,
    /// Counter: reads that found none, or one whose deadline had passed.
    pub misses: u64,
    /// Counter: loads that gave a value. Of a bulk load, each key counts.
    pub loads: u64,
    /// Counter: loads that gave an error, no answer, or panicked. Of a bulk load, each key counts.
    pub load_failures: u64,
    /// Counter: the time that loads took, those that gave an error too, those that panicked not. Loads side by side count
    /// each in full; a bulk load counts once for all its keys.
    pub load_time: Duration,
    /// Counter: misses that were served a stale value, at once or instead of an error.
    pub stale: u64,
    /// Counter: loads that took the place of a resident value, in the background or by hand; each is a load, too.
    pub refreshes: u64,
    /// Counter: such loads that gave an error or panicked; each is a load failure, too.
    pub refresh_failures: u64,
    /// Counter: removals with [`Cause::Replaced`].
    pub replaced: u64,
    /// Counter: removals with [`Cause::Expired`]; an expired entry counts when it is removed, not at its deadline.
    pub expired: u64,
    /// Counter: removals with [`Cause::Evicted`].
    pub evicted: u64,
    /// Counter: removals with [`Cause::Deleted`].
    pub deleted: u64,
    /// Counter: removals with [`Cause::Cleared`].
    pub cleared: u64,
    /// Counter: writes that were refused, [`Cause::Refused`].
    pub refused: u64,
    /// Counter: removals with [`Cause::Dropped`].
    pub dropped: u64,
    /// Counter: the weight of the evicted entries, in the weigher's unit (entries, if there is no weigher).
    pub evicted_weight: u64,
    /// Counter: panics of the removal listener that were caught.
    pub listener_panics: u64,
    /// Counter: panics that were caught while a key or value was dropped.
    pub drop_panics: u64,
    /// Counter: panics of the eviction policy that were caught; after each it was built anew.
    pub policy_panics: u64,
    /// Gauge: entries resident now, expired ones that are not yet removed among them.
    pub entries: u64,
    /// Gauge: the weight of those entries, in the weigher's unit.
    pub weight: u64,
    /// Gauge: the capacity, in the weigher's unit.
    pub capacity: u64,
    /// Gauge: entries that have left, but wait to be dropped until no reader can be looking at them. In ordinary running at most
    /// 2 % of the entries resident, or 1,024 if that is more. A reader that stays (in a slow `Clone`, under a pin) raises it.
    pub limbo: u64,
    /// Gauge: the weight of those, in the weigher's unit.
    pub limbo_weight: u64,
}

impl Stats {
    /// Reads: hits and misses together. O(1).
    ///
    /// ```
    /// let cache = cachette::Cache::<u32, u32>::new(10);
    /// cache.get(&1);
    /// assert_eq!(cache.stats().requests(), 1);
    /// ```
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.hits.saturating_add(self.misses)
    }

    /// The share of reads that were hits, from 0.0 to 1.0; 0.0 if there were no reads. O(1).
    ///
    /// ```
    /// let cache = cachette::Cache::<u32, u32>::new(10);
    /// assert_eq!(cache.stats().hit_ratio(), 0.0);
    /// cache.put(1, 1);
    /// cache.get(&1);
    /// cache.get(&2);
    /// assert_eq!(cache.stats().hit_ratio(), 0.5);
    /// ```
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        if self.requests() == 0 { 0.0 } else { self.hits as f64 / self.requests() as f64 }
    }

    /// Removals, whatever their [`Cause`]: all that a removal listener hears of, and the writes whose refusal was handed back
    /// instead ([`try_put`](crate::Cache::try_put), [`compute`](crate::Cache::compute)). O(1).
    ///
    /// ```
    /// let cache = cachette::Cache::<u32, u32>::new(10);
    /// cache.put(1, 1);
    /// cache.put(1, 2);
    /// cache.delete(&1);
    /// assert_eq!(cache.stats().removals(), 2);
    /// ```
    #[must_use]
    pub fn removals(&self) -> u64 {
        let causes = [
            self.replaced,
            self.expired,
            self.evicted,
            self.deleted,
            self.cleared,
            self.refused,
            self.dropped,
        ];
        causes.into_iter().fold(0, u64::saturating_add)
    }
}

/// What was counted between `earlier` and `self`; the gauges are those of `self`. Taken the wrong way round, counters are 0.
impl Sub for Stats {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            hits: self.hits.saturating_sub(earlier.hits),
            misses: self.misses.saturating_sub(earlier.misses),
            loads: self.loads.saturating_sub(earlier.loads),
            load_failures: self.load_failures.saturating_sub(earlier.load_failures),
            load_time: self.load_time.saturating_sub(earlier.load_time),
            stale: self.stale.saturating_sub(earlier.stale),
            refreshes: self.refreshes.saturating_sub(earlier.refreshes),
            refresh_failures: self.refresh_failures.saturating_sub(earlier.refresh_failures),
            replaced: self.replaced.saturating_sub(earlier.replaced),
            expired: self.expired.saturating_sub(earlier.expired),
            evicted: self.evicted.saturating_sub(earlier.evicted),
            deleted: self.deleted.saturating_sub(earlier.deleted),
            cleared: self.cleared.saturating_sub(earlier.cleared),
            refused: self.refused.saturating_sub(earlier.refused),
            dropped: self.dropped.saturating_sub(earlier.dropped),
            evicted_weight: self.evicted_weight.saturating_sub(earlier.evicted_weight),
            listener_panics: self.listener_panics.saturating_sub(earlier.listener_panics),
            drop_panics: self.drop_panics.saturating_sub(earlier.drop_panics),
            policy_panics: self.policy_panics.saturating_sub(earlier.policy_panics),
            entries: self.entries,
            weight: self.weight,
            capacity: self.capacity,
            limbo: self.limbo,
            limbo_weight: self.limbo_weight,
        }
    }
}

type Sums = [u64; Tally::COUNT];

/// One number a tally, on cache lines of its own.
struct Counts(CachePadded<[AtomicU64; Tally::COUNT]>);

impl Counts {
    fn new() -> Self {
        Self(CachePadded::new(std::array::from_fn(|_| AtomicU64::new(0))))
    }

    /// For the cell's only writer.
    #[inline]
    fn add(&self, tally: Tally, n: u64) {
        let number = &self.0[tally.index()];
        number.store(number.load(Ordering::Relaxed).saturating_add(n), Ordering::Relaxed);
    }

    /// As [`add`](Self::add) of 1. It does not look whether the number is at its end: one by one none gets there in a century.
    #[inline]
    fn count(&self, tally: Tally) {
        let number = &self.0[tally.index()];
        number.store(number.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// For any number of writers.
    fn add_shared(&self, tally: Tally, n: u64) {
        let more = |now: u64| Some(now.saturating_add(n));
        // The closure never declines, so there is no failure to handle.
        let _ = self.0[tally.index()].fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    fn add_to(&self, sums: &mut Sums) {
        for (sum, number) in sums.iter_mut().zip(self.0.iter()) {
            *sum = sum.saturating_add(number.load(Ordering::Relaxed));
        }
    }
}

/// Cells that no thread uses. They are made for ever and lent, so that a thread can keep a plain reference to its own.
static SPARE: fixed::Mutex<Vec<&'static Counts>> = fixed::Mutex::new(Vec::new());

fn borrow_cell() -> &'static Counts {
    let spare = SPARE.lock().pop();
    spare.unwrap_or_else(|| Box::leak(Box::new(Counts::new())))
}

fn give_back(cell: &'static Counts) {
    cell.0.iter().for_each(|number| number.store(0, Ordering::Relaxed));
    SPARE.lock().push(cell);
}

#[derive(Default)]
struct Cells {
    live: Vec<&'static Counts>,
    folded: Sums,
}

/// All the cells of one cache.
struct Registry {
    cells: Mutex<Cells>,
    shared: Counts,
}

impl Registry {
    /// Keeps the numbers of a cell that will count no more.
    fn fold(&self, cell: &Counts) {
        let mut cells = self.cells.lock();
        let place = cells.live.iter().position(|live| std::ptr::eq(*live, cell));
        if let Some(place) = place {
            cells.live.swap_remove(place);
            cell.add_to(&mut cells.folded);
        }
    }
}

/// The counters of one cache.
pub(crate) struct Recorder {
    /// Unique in the process, and spread over all 64 bits, so that a table takes its upper bits as they are.
    id: u64,
    registry: Arc<Registry>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        static CACHES: AtomicU64 = AtomicU64::new(1);
        // 2^64 over the golden ratio (Knuth, The Art of Computer Programming 3, 1973): odd, so no two numbers share an id.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let id = CACHES.fetch_add(1, Ordering::Relaxed).wrapping_mul(SPREAD);
        let registry = Registry { cells: Mutex::new(Cells::default()), shared: Counts::new() };
        Self { id, registry: Arc::new(registry) }
    }

    /// Adds `n`. Calls no user code.
    #[inline]
    pub(crate) fn add(&self, tally: Tally, n: u64) {
        match LAST.get() {
            Some((id, cell)) if id == self.id => cell.add(tally, n),
            _ => self.add_elsewhere(tally, n),
        }
    }

    /// A count of a thread that last counted for another cache.
    #[inline(never)]
    fn add_elsewhere(&self, tally: Tally, n: u64) {
        let found = TABLE.try_with(|table| {
            let Ok(table) = table.try_borrow() else { return None };
            table.find(self.id)
        });
        match found {
            Ok(Some(cell)) => {
                LAST.set(Some((self.id, cell)));
                cell.add(tally, n);
            }
            _ => self.add_first(tally, n),
        }
    }

    /// Adds 1.
    #[inline]
    pub(crate) fn count(&self, tally: Tally) {
        match LAST.get() {
            Some((id, cell)) if id == self.id => cell.count(tally),
            _ => self.add_elsewhere(tally, 1),
        }
    }

    /// This thread's first count here; or any count of a thread whose table is gone (it runs its last destructors) or
    /// in use (the allocator counts while the table grows).
    #[cold]
    fn add_first(&self, tally: Tally, n: u64) {
        let cell = borrow_cell();
        let registry = Arc::downgrade(&self.registry);
        let row = Row { id: self.id, cell, registry };
        let entered = TABLE.try_with(|table| {
            let Ok(mut table) = table.try_borrow_mut() else { return false };
            table.insert(row);
            true
        });
        if entered == Ok(true) {
            cell.add(tally, n);
            self.registry.cells.lock().live.push(cell);
        } else {
            give_back(cell);
            self.registry.shared.add_shared(tally, n);
        }
    }

    /// The counters; the gauges are 0.
    pub(crate) fn snapshot(&self) -> Stats {
        let sums = {
            let cells = self.registry.cells.lock();
            let mut sums = cells.folded;
            for cell in &cells.live {
                cell.add_to(&mut sums);
            }
            self.registry.shared.add_to(&mut sums);
            sums
        };
        let of = |tally: Tally| sums[tally.index()];
        Stats {
            hits: of(Tally::Hits),
            misses: of(Tally::Misses),
            loads: of(Tally::Loads),
            load_failures: of(Tally::LoadFailures),
            load_time: Duration::from_nanos(of(Tally::LoadNanos)),
            stale: of(Tally::Stale),
            refreshes: of(Tally::Refreshes),
            refresh_failures: of(Tally::RefreshFailures),
            replaced: of(Tally::Removed(Cause::Replaced)),
            expired: of(Tally::Removed(Cause::Expired)),
            evicted: of(Tally::Removed(Cause::Evicted)),
            deleted: of(Tally::Removed(Cause::Deleted)),
            cleared: of(Tally::Removed(Cause::Cleared)),
            refused: of(Tally::Removed(Cause::Refused)),
            dropped: of(Tally::Removed(Cause::Dropped)),
            evicted_weight: of(Tally::EvictedWeight),
            listener_panics: of(Tally::ListenerPanics),
            drop_panics: of(Tally::DropPanics),
            policy_panics: of(Tally::PolicyPanics),
            ..Stats::default()
        }
    }
}

thread_local! {
    /// The cache that this thread last counted for, and its cell there. Without a destructor: the cheapest to reach.
    static LAST: Cell<Option<(u64, &'static Counts)>> = const { Cell::new(None) };
    static TABLE: RefCell<Table> = const { RefCell::new(Table::new()) };
}

/// A thread's cell in one cache.
struct Row {
    id: u64,
    cell: &'static Counts,
    /// Dead when the cache is.
    registry: Weak<Registry>,
}

/// A thread's cells, by cache: open addressing with linear probes.
struct Table {
    /// None at first, then a power of two of them.
    rows: Vec<Option<Row>>,
    used: usize,
    /// An id's home is its upper bits, from this one on.
    shift: u32,
}

impl Table {
    const SMALLEST: usize = 8;

    const fn new() -> Self {
        Self { rows: Vec::new(), used: 0, shift: 0 }
    }

    /// The row after `place`; the first comes after the last.
    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.rows.len() - 1)
    }

    fn home(&self, id: u64) -> usize {
        // Of a table without rows this is past its end, as any place is.
        (id >> self.shift) as usize
    }

    #[inline]
    fn find(&self, id: u64) -> Option<&'static Counts> {
        let mut place = self.home(id);
        loop {
            let row = self.rows.get(place)?.as_ref()?;
            if row.id == id {
                return Some(row.cell);
            }
            place = self.after(place);
        }
    }

    fn insert(&mut self, row: Row) {
        if (self.used + 1) * 2 > self.rows.len() {
            self.rebuild();
        }
        self.place(row);
    }

    /// Puts `row` into the first free place from its home on.
    fn place(&mut self, row: Row) {
        let mut place = self.home(row.id);
        while self.rows[place].is_some() {
            place = self.after(place);
        }
        self.rows[place] = Some(row);
        self.used += 1;
    }

    /// Leaves the rows of caches that are gone behind, and makes room for as many again as are left.
    fn rebuild(&mut self) {
        let old = std::mem::take(&mut self.rows);
        let (rows, dead): (Vec<_>, Vec<_>) = old.into_iter().flatten().partition(Row::is_live);
        dead.iter().for_each(|row| give_back(row.cell));
        let size = ((rows.len() + 1) * 4).next_power_of_two().max(Self::SMALLEST);
        self.rows.resize_with(size, || None);
        self.shift = u64::BITS - size.trailing_zeros();
        self.used = 0;
        for row in rows {
            self.place(row);
        }
    }
}

impl Row {
    fn is_live(&self) -> bool {
        self.registry.strong_count() > 0
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // What is counted from here on has no cell any more.
        LAST.set(None);
        for row in self.rows.iter().flatten() {
            if let Some(registry) = row.registry.upgrade() {
                registry.fold(row.cell);
            }
            give_back(row.cell);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    fn all_tallies() -> Vec<Tally> {
        use Tally::{
            DropPanics, EvictedWeight, Hits, ListenerPanics, LoadFailures, LoadNanos, Loads,
            Misses, PolicyPanics, RefreshFailures, Refreshes, Stale,
        };
        let plain = [
            Hits,
            Misses,
            Loads,
            LoadFailures,
            LoadNanos,
            Stale,
            Refreshes,
            RefreshFailures,
            EvictedWeight,
            ListenerPanics,
            DropPanics,
            PolicyPanics,
        ];
        plain.into_iter().chain(Cause::ALL.map(Tally::Removed)).collect()
    }

    /// Every counter of `stats`, each tally in its place.
    fn sums(stats: &Stats) -> Sums {
        let load_nanos = u64::try_from(stats.load_time.as_nanos()).unwrap();
        [
            stats.hits,
            stats.misses,
            stats.loads,
            stats.load_failures,
            load_nanos,
            stats.stale,
            stats.refreshes,
            stats.refresh_failures,
            stats.evicted_weight,
            stats.listener_panics,
            stats.drop_panics,
            stats.policy_panics,
            stats.replaced,
            stats.expired,
            stats.evicted,
            stats.deleted,
            stats.cleared,
            stats.refused,
            stats.dropped,
        ]
    }

    fn live(recorder: &Recorder) -> usize {
        recorder.registry.cells.lock().live.len()
    }

    fn table<R>(look: impl FnOnce(&Table) -> R) -> R {
        TABLE.with(|table| look(&table.borrow()))
    }

    #[test]
    fn n1_every_tally_has_a_number_of_its_own() {
        let recorder = Recorder::new();
        assert_eq!(recorder.snapshot(), Stats::default());
        for (index, tally) in all_tallies().into_iter().enumerate() {
            assert_eq!(tally.index(), index);
            recorder.add(tally, 1 << index);
            recorder.count(tally);
        }
        assert_eq!(sums(&recorder.snapshot()), std::array::from_fn(|index| (1 << index) + 1));
        assert_eq!(size_of::<Counts>() % 64, 0);
        assert_eq!(align_of::<Counts>(), align_of::<CachePadded<u8>>());
    }

    #[test]
    fn n1_an_interval_is_a_difference() {
        let recorder = Recorder::new();
        for tally in all_tallies() {
            recorder.add(tally, 5);
        }
        let earlier = Stats { entries: 1, weight: 2, capacity: 3, ..recorder.snapshot() };
        for (index, tally) in all_tallies().into_iter().enumerate() {
            recorder.add(tally, index as u64);
        }
        let later = Stats { entries: 4, weight: 5, capacity: 6, ..recorder.snapshot() };
        assert_eq!(sums(&(later - earlier)), std::array::from_fn(|index| index as u64));
        let gauges = |stats: Stats| (stats.entries, stats.weight, stats.capacity);
        assert_eq!(gauges(later - earlier), (4, 5, 6));
        assert_eq!(sums(&(earlier - later)), [0; Tally::COUNT]);
        assert_eq!(gauges(earlier - later), (1, 2, 3));
    }

    #[test]
    fn n1_ratios_and_sums() {
        assert_eq!(Stats::default().hit_ratio(), 0.0);
        let stats = Stats { hits: 3, misses: 1, ..Stats::default() };
        assert_eq!((stats.requests(), stats.hit_ratio()), (4, 0.75));
        let recorder = Recorder::new();
        for (index, cause) in Cause::ALL.into_iter().enumerate() {
            recorder.add(Tally::Removed(cause), 10_u64.pow(index as u32));
        }
        assert_eq!(recorder.snapshot().removals(), 1_111_111);
        let full =
            Stats { hits: u64::MAX, misses: 1, evicted: u64::MAX, deleted: 1, ..Stats::default() };
        assert_eq!((full.requests(), full.removals(), full.hit_ratio()), (u64::MAX, u64::MAX, 1.0));
    }

    #[test]
    fn n1_counters_stay_at_their_end() {
        let recorder = Recorder::new();
        let end = |recorder: &Recorder| recorder.snapshot().evicted_weight;
        recorder.add(Tally::EvictedWeight, u64::MAX);
        recorder.count(Tally::EvictedWeight);
        assert_eq!(end(&recorder), u64::MAX);
        thread::scope(|scope| {
            scope.spawn(|| recorder.add(Tally::EvictedWeight, 7)).join().unwrap();
        });
        recorder.registry.shared.add_shared(Tally::EvictedWeight, 7);
        assert_eq!(end(&recorder), u64::MAX);
        recorder.registry.shared.add_shared(Tally::EvictedWeight, u64::MAX);
        assert_eq!(end(&recorder), u64::MAX);
    }

    #[test]
    fn n1_eight_threads_lose_and_double_nothing() {
        const EACH: u64 = if cfg!(miri) { 100 } else { 20_000 };
        let recorder = Recorder::new();
        let done = AtomicBool::new(false);
        let start = Barrier::new(9);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        for _ in 0..EACH {
                            recorder.count(Tally::Hits);
                            recorder.add(Tally::EvictedWeight, 3);
                        }
                    })
                })
                .collect();
            let watcher = scope.spawn(|| {
                start.wait();
                let mut last = recorder.snapshot();
                while !done.load(Ordering::Acquire) {
                    let now = recorder.snapshot();
                    assert!(
                        last.hits <= now.hits && last.evicted_weight <= now.evicted_weight,
                        "a count was lost"
                    );
                    assert!(
                        now.hits <= 8 * EACH && now.evicted_weight <= 24 * EACH,
                        "a count was doubled"
                    );
                    last = now;
                }
            });
            for thread in threads {
                thread.join().unwrap();
            }
            done.store(true, Ordering::Release);
            watcher.join().unwrap();
        });
        let stats = recorder.snapshot();
        assert_eq!((stats.hits, stats.evicted_weight), (8 * EACH, 24 * EACH));
        assert_eq!(live(&recorder), 0, "ended threads leave no cell");
    }

    #[test]
    fn n1_threads_that_come_and_go_while_others_read() {
        const ROUNDS: u64 = if cfg!(miri) { 10 } else { 200 };
        let recorder = Recorder::new();
        let mut last = 0;
        for round in 1..=ROUNDS {
            thread::scope(|scope| {
                let ending = scope.spawn(|| recorder.add(Tally::Misses, 2));
                let staying = scope.spawn(|| recorder.count(Tally::Misses));
                for _ in 0..20 {
                    let now = recorder.snapshot().misses;
                    assert!(last <= now && now <= 3 * round, "{last} <= {now} <= {}", 3 * round);
                    last = now;
                }
                ending.join().unwrap();
                staying.join().unwrap();
            });
            assert_eq!(recorder.snapshot().misses, 3 * round);
            assert_eq!(live(&recorder), 0);
        }
    }

    #[test]
    fn n1_a_thread_with_many_caches_keeps_them_apart() {
        let many = if cfg!(miri) { 40 } else { 1000 };
        let recorders: Vec<_> = (0..many).map(|_| Recorder::new()).collect();
        for round in 0..3 {
            for (index, recorder) in recorders.iter().enumerate() {
                recorder.add(Tally::Hits, index as u64 + round);
            }
        }
        for (index, recorder) in recorders.iter().enumerate() {
            assert_eq!(recorder.snapshot().hits, 3 * index as u64 + 3);
            assert_eq!(live(recorder), 1, "one cell a thread");
        }
        let (rows, used) = table(|table| (table.rows.len(), table.used));
        assert_eq!(used, recorders.len());
        assert!(used * 2 <= rows && rows <= used * 8, "{used} of {rows}");
    }

    #[test]
    fn n1_rows_with_one_home_are_all_found() {
        const HALF: u64 = if cfg!(miri) { 10 } else { 50 };
        let registry = Recorder::new().registry;
        let row = |id| Row { id, cell: borrow_cell(), registry: Arc::downgrade(&registry) };
        let (mut table, mut cells) = (Table::new(), Vec::new());
        assert!(table.find(0).is_none() && table.find(u64::MAX).is_none());
        // The homes of these are all the first row, and all the last, from where the probe goes round to the first.
        for id in (0..HALF).chain((0..HALF).map(|id| u64::MAX - id)) {
            let row = row(id);
            cells.push((id, row.cell));
            table.insert(row);
            for (id, cell) in &cells {
                assert!(std::ptr::eq(table.find(*id).unwrap(), *cell));
            }
            assert!(table.find(1000).is_none());
            assert!(table.used * 2 <= table.rows.len());
        }
    }

    #[test]
    fn n1_caches_that_come_and_go_leak_nothing() {
        let keeper = Recorder::new();
        keeper.count(Tally::Hits);
        let mut gone = Vec::new();
        const GONE: u64 = if cfg!(miri) { 60 } else { 5000 };
        for _ in 0..GONE {
            let recorder = Recorder::new();
            recorder.count(Tally::Hits);
            keeper.count(Tally::Hits);
            gone.push(recorder.registry.cells.lock().live[0]);
        }
        assert_eq!(keeper.snapshot().hits, GONE + 1);
        assert!(table(|table| table.rows.len()) <= 4 * Table::SMALLEST);
        gone.sort_by_key(|cell| std::ptr::from_ref(*cell).addr());
        gone.dedup_by_key(|cell| std::ptr::from_ref(*cell).addr());
        // Other tests lend and borrow meanwhile, so not every cell comes round again.
        assert!(gone.len() <= GONE as usize / 2, "{} cells for {GONE} caches", gone.len());
    }

    #[test]
    fn n1_a_cache_may_end_before_its_threads_or_after() {
        let (short, long) = (Recorder::new(), Recorder::new());
        let registry = Arc::downgrade(&short.registry);
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                short.count(Tally::Hits);
                long.count(Tally::Hits);
                drop(short);
                long.count(Tally::Hits);
            });
            thread.join().unwrap();
        });
        assert!(registry.upgrade().is_none());
        assert_eq!(long.snapshot().hits, 2);
        assert_eq!(live(&long), 0);
    }

    /// Counts when its thread ends.
    struct Last(RefCell<Option<Arc<Recorder>>>);

    impl Drop for Last {
        fn drop(&mut self) {
            if let Some(recorder) = self.0.take() {
                recorder.count(Tally::Hits);
            }
        }
    }

    #[test]
    fn n1_destructors_of_a_thread_count_too() {
        thread_local! {
            static LAST: Last = const { Last(RefCell::new(None)) };
        }
        let recorder = Arc::new(Recorder::new());
        for last_is_first in [true, false] {
            let twin = Arc::clone(&recorder);
            let thread = thread::spawn(move || {
                let leave = |recorder| LAST.with(|last| last.0.replace(recorder));
                // Whichever is used first is destroyed first, or last: one of the two counts without a table.
                if last_is_first {
                    leave(Some(Arc::clone(&twin)));
                }
                twin.count(Tally::Hits);
                if !last_is_first {
                    leave(Some(Arc::clone(&twin)));
                }
            });
            thread.join().unwrap();
        }
        assert_eq!(recorder.snapshot().hits, 4);
        assert_eq!(live(&recorder), 0);
        let mut shared = [0; Tally::COUNT];
        recorder.registry.shared.add_to(&mut shared);
        assert_eq!(shared[Tally::Hits.index()], 1, "one destructor ran without a table");
    }

    #[test]
    fn n1_a_count_while_the_table_is_in_use_is_kept() {
        let recorder = Recorder::new();
        TABLE.with(|table| {
            let table = table.borrow_mut();
            recorder.count(Tally::Hits);
            drop(table);
        });
        recorder.count(Tally::Hits);
        assert_eq!((recorder.snapshot().hits, live(&recorder)), (2, 1));
    }
}
