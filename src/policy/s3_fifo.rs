//! S3-FIFO: three first-in, first-out queues.
//!
//! **Problem.** Most keys of a real workload are asked for once and never again. Let them pass through without pushing out what
//! is worth keeping, and let a hit write at most a small counter.
//!
//! **Idea.** A newcomer goes into a **small** queue, a tenth of the capacity. At its end, an entry that was hit more than once
//! goes over into **main**; any other leaves, and only its ghost is remembered. So one-hit wonders are gone after a tenth of the
//! time that LRU gives them. A key that comes back while there is a ghost of it goes straight into main. Main is
//! [`Clock`](super::Clock): an entry with hits goes round again, one fewer each time.
//!
//! ```text
//!              small, 10 %                        main, 90 %
//!    new ─►  [ 9  8  7 ] ── hit twice ──────►   [ 5  3  1 ] ── not hit ──► leaves
//!                │                                ▲  ▲   └─ hit ─┐
//!                │ else                           │  └───────────┘
//!                ▼                                │
//!              leaves    its ghost [ d c b a ] ───┘ asked for again
//! ```
//!
//! What leaves waits in a third queue, **leaving**, until the engine has taken it. Mostly it is one entry. But when small gives to a
//! main that is full, main gives up one for each, and small still has to find its own: several leave for one newcomer, and
//! the policy is overfull until they have.
//!
//! **Good at** workloads with many one-hit wonders: web, key-value stores. **Bad at** loops, and at keys whose second use comes when they
//! have left small and their ghosts are gone; on databases and disks, policies that count are better.
//!
//! **Invariants**
//!
//! 1. Every resident entry is in one of the three queues, which know their weights.
//! 2. From newest to oldest, the entries of small stand in the order in which they came, those of main in the order in
//!    which they came into it or came again.
//! 3. Ghosts weigh no more than main may, and are at most twice as many as the entries, and a few more; but for what following
//!    calls drop, [`SLICE`](super::ghosts::SLICE) at a time.
//!
//! | operation | cost |
//! |---|---|
//! | `insert`, `remove`, `relocate` | O(1) |
//! | `victim` | O(1) amortised: each step takes hits from a counter; never more than one round of small and three of main |
//! | a hit | a byte set by the engine, up to the third |
//! | an update | nothing: a write is not taken for a sign that the entry will be read |
//! | memory | 24 bytes an entry, and 28 a ghost, of which there are nine for ten entries: about 50 an entry |
//!
//! **Source.** Yang, Zhang, Qiu, Yue, Rashmi: *FIFO queues are all you need for cache eviction*, SOSP 2023. Where the paper leaves
//! room: counts are cleared on the way from small to main; what leaves main has no ghost. Added here: weights, and
//! the queue of those who leave, since an engine takes them one by one.
//!
//! **Trace.** Worked by hand; the test replays it from this very text. `small / main / ghosts`, each from oldest to newest; `*` is
//! a hit, `†` an entry that leaves. Capacity 4: small has 1, main 3.
//!
//! ```text
//!    call           small / main / ghosts
//!    capacity 4   │ / /
//!    insert A     │ A / /
//!    insert B     │ A B / /
//!    insert C     │ A B C / /
//!    insert D     │ A B C D / /          ◄ there is room: small may have more than its share
//!    hit B        │ A B* C D / /
//!    hit B        │ A B** C D / /
//!    victim A E   │ †A B** C D / / a     ◄ not hit twice: it leaves, and its ghost stays
//!    victim A E   │ †A B** C D / / a     ◄ asked again, the same answer
//!    evict A      │ B** C D / / a
//!    insert E     │ B** C D E / / a
//!    victim C A   │ †C D E / B / c       ◄ A is asked for again: its ghost is taken. B goes over, its count cleared
//!    evict C      │ D E / B / c
//!    insert A     │ D E / B A / c        ◄ straight into main
//!    hit D        │ D* E / B A / c
//!    victim D C   │ †D E / B A / d       ◄ one hit is not enough; and C is known
//!    hit D        │ †D* E / B A / d      ◄ too late
//!    evict D      │ E / B A / d
//!    insert C     │ E / B A C / d
//!    hit B        │ E / B* A C / d
//!    hit E        │ E* / B* A C / d
//!    hit E        │ E** / B* A C / d
//!    victim A F   │ †A / C B E / d       ◄ E goes over to a main that is full. There B goes round, for its hit; A leaves, without a ghost
//!    relocate C G │ †A / G B E / d       ◄ a new value, in another slot: same place
//!    evict A      │ / G B E / d
//! ```

use super::ghosts::Ghosts;
use super::queues::{Queue, Queues};
use super::{EvictionPolicy, Hears, Heat, HitCounters, Meta, Slot, Victim, Walk};
use crate::observe::Cause;
use std::fmt;

const LEAVING: Queue = 0;
const SMALL: Queue = 1;
const MAIN: Queue = 2;

/// Where a counter stops.
const MOST: u8 = 3;

/// Keeps newcomers in a small queue until they are hit twice, or come back; the others soon leave (Yang et al. 2023).
///
/// Reading an entry counts, up to three; `peek`, `contains_key` and writes do not. A read of an entry with a full count writes
/// nothing, so hits from many threads do not contend. Making room costs O(1), amortised over the hits. An entry costs 24
/// bytes, and the ghosts of what has left about as much again. Choose it where many keys are asked for once, as on the web or in
/// front of a key-value store.
///
/// An entry that weighs more than `u32::MAX` counts as if it weighed that.
///
/// ```
/// use cachette::{Cache, policy::S3Fifo};
///
/// let cache = Cache::<u32, u32>::builder().capacity(10).policy(S3Fifo::new).build()?;
/// cache.put(0, 0);
/// cache.get(&0);
/// cache.get(&0); // hit twice: worth keeping
/// for key in 1..100 {
///     cache.put(key, key); // a scan
/// }
/// assert!(cache.contains_key(&0));
/// # Ok::<(), cachette::BuildError>(())
/// ```
pub struct S3Fifo {
    /// Of each entry its hash is noted.
    queues: Queues<3, u64>,
    ghosts: Ghosts<()>,
    /// What small and main may weigh.
    small: u64,
    main: u64,
}

impl S3Fifo {
    /// An S3-FIFO policy with no entries. Allocates nothing. O(1).
    #[must_use]
    pub const fn new() -> Self {
        Self { queues: Queues::new(), ghosts: Ghosts::new(), small: 1, main: 0 }
    }

    /// Makes at least one entry leave, if there is any.
    ///
    /// Main may be gone through as often as hits can be counted, all in all. That bound matters only where readers count while
    /// this runs: then one leaves that was hit just now.
    fn choose(&mut self, hits: &mut HitCounters<'_>) {
        let mut steps = self.queues.count(MAIN) * usize::from(MOST);
        if self.queues.weight(SMALL) >= self.small || self.queues.count(MAIN) == 0 {
            self.choose_from_small(hits, &mut steps);
        }
        if self.queues.count(LEAVING) == 0 {
            self.choose_from_main(hits, &mut steps);
        }
    }

    fn choose_from_small(&mut self, hits: &mut HitCounters<'_>, steps: &mut usize) {
        while let Some(slot) = self.queues.oldest(SMALL) {
            let row = self.queues.row(slot);
            let worthy = hits.get(slot) > 1;
            hits.set(slot, 0);
            if !worthy {
                self.queues.move_to(LEAVING, slot);
                self.ghosts.push(row.note, u64::from(row.weight), ());
                self.ghosts.trim(self.main, self.len());
                break;
            }
            if self.queues.weight(MAIN) + u64::from(row.weight) > self.main {
                self.choose_from_main(hits, steps);
            }
            self.queues.move_to(MAIN, slot);
        }
    }

    fn choose_from_main(&mut self, hits: &mut HitCounters<'_>, steps: &mut usize) {
        while let Some(slot) = self.queues.oldest(MAIN) {
            let count = hits.get(slot);
            if count == 0 || *steps == 0 {
                hits.set(slot, 0);
                self.queues.move_to(LEAVING, slot);
                break;
            }
            *steps -= 1;
            hits.set(slot, count - 1);
            self.queues.move_to(MAIN, slot);
        }
    }
}

impl EvictionPolicy for S3Fifo {
    fn hears(&self) -> Hears {
        Hears::Counter(MOST)
    }

    fn hears_misses(&self) -> bool {
        false
    }

    fn resize(&mut self, share: u64) {
        self.small = (share / 10).max(1);
        self.main = share.saturating_sub(self.small);
    }

    fn insert(&mut self, slot: Slot, meta: &Meta) {
        let home = if self.ghosts.claim(meta.hash).is_some() { MAIN } else { SMALL };
        self.queues.push(home, slot, meta.weight, meta.hash);
    }

    fn relocate(&mut self, from: Slot, to: Slot, meta: &Meta) {
        self.queues.relocate(from, to, meta.weight);
    }

    fn remove(&mut self, slot: Slot, cause: Cause) {
        let row = self.queues.remove(slot);
        // Who leaves has a ghost already. It is for those who are evicted, not for what was deleted, or has expired.
        if row.queue == LEAVING && cause != Cause::Evicted {
            let _ = self.ghosts.take(row.note);
        }
    }

    fn victim(&mut self, newcomer: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        if let Some(newcomer) = newcomer {
            let _ = self.ghosts.hold(newcomer.hash);
        }
        if self.queues.count(LEAVING) == 0 {
            self.choose(hits);
        }
        self.queues.oldest(LEAVING).map_or(Victim::None, Victim::Entry)
    }

    fn is_overfull(&self) -> bool {
        self.queues.count(LEAVING) > 0
    }

    fn len(&self) -> usize {
        self.queues.len()
    }

    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.queues.in_order([LEAVING, SMALL, MAIN]))
    }

    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.queues.in_order([LEAVING, SMALL, MAIN]).rev())
    }

    fn coldest_after(&self, after: Option<Slot>) -> Option<Walk<'_>> {
        let order = [LEAVING, SMALL, MAIN];
        Some(match after {
            Some(slot) => Box::new(self.queues.in_order_after(order, slot)),
            None => Box::new(self.queues.in_order(order)),
        })
    }

    fn heat(&self, slot: Slot, hits: &HitCounters<'_>) -> Heat {
        Heat::new(hits.get(slot).into(), self.queues.row(slot).queue == MAIN)
    }

    fn warm(&mut self, slot: Slot, heat: Heat, hits: &mut HitCounters<'_>) {
        if heat.proven {
            self.queues.move_to(MAIN, slot);
        }
        (0..heat.uses.min(MOST.into())).for_each(|_| hits.record(slot));
    }

    fn assert_valid(&self) {
        // Nothing but the history tells invariant 2, and what is left to drop of invariant 3: the lockstep test holds them.
        self.queues.assert_valid();
        self.ghosts.assert_valid();
    }
}

impl Default for S3Fifo {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for S3Fifo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let main = self.queues.count(MAIN);
        f.debug_struct("S3Fifo").field("len", &self.len()).field("main", &main).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Counts;
    use super::super::ghosts::FEW;
    use super::super::laws::{CALM, Segment};
    use super::super::lockstep::{Paper, beside, complaint, letters, replay_marked};
    use super::*;
    use crate::sync::{AtomicU64, Ordering};
    use std::collections::{HashMap, VecDeque};
    use std::iter::once;

    fn picture(s3: &S3Fifo, hits: &HitCounters<'_>) -> String {
        let one = |slot: Slot, sign: &str| {
            let mark = "*".repeat(usize::from(hits.get(slot)));
            format!("{sign}{}{mark}", letters(once(slot)))
        };
        let queue = |queue, sign: &'static str| {
            s3.queues.iter(queue).rev().map(move |slot| one(slot, sign))
        };
        let ghosts = s3.ghosts.hashes().into_iter();
        let ghosts = ghosts.map(|hash| letters(once(Slot::new(hash as usize))).to_lowercase());
        let slash = || once("/".to_owned());
        let small = queue(LEAVING, "†").chain(queue(SMALL, ""));
        let all = small.chain(slash()).chain(queue(MAIN, "")).chain(slash()).chain(ghosts);
        all.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_trace_above() {
        replay_marked(include_str!("s3_fifo.rs"), S3Fifo::new(), picture);
    }

    /// The paper's Algorithm 1, over plain queues whose fronts are the tails.
    struct Algorithm {
        small: VecDeque<u64>,
        main: VecDeque<u64>,
        ghosts: VecDeque<u64>,
        freq: HashMap<u64, u8>,
        small_size: usize,
        main_size: usize,
        evicted: Vec<u64>,
    }

    impl Algorithm {
        fn of(capacity: usize) -> Self {
            let small_size = (capacity / 10).max(1);
            Self {
                small: VecDeque::new(),
                main: VecDeque::new(),
                ghosts: VecDeque::new(),
                freq: HashMap::new(),
                small_size,
                main_size: capacity - small_size,
                evicted: Vec::new(),
            }
        }

        fn evict_small(&mut self) {
            let mut evicted = false;
            while !evicted && !self.small.is_empty() {
                let tail = self.small.pop_front().unwrap();
                if self.freq[&tail] > 1 {
                    if self.main.len() >= self.main_size {
                        self.evict_main();
                    }
                    self.freq.insert(tail, 0);
                    self.main.push_back(tail);
                } else {
                    self.freq.remove(&tail);
                    self.ghosts.push_back(tail);
                    while self.ghosts.len() > self.main_size {
                        self.ghosts.pop_front();
                    }
                    self.evicted.push(tail);
                    evicted = true;
                }
            }
        }

        fn evict_main(&mut self) {
            let mut evicted = false;
            while !evicted && !self.main.is_empty() {
                let tail = self.main.pop_front().unwrap();
                let freq = self.freq.get_mut(&tail).unwrap();
                if *freq > 0 {
                    *freq -= 1;
                    self.main.push_back(tail);
                } else {
                    self.freq.remove(&tail);
                    self.evicted.push(tail);
                    evicted = true;
                }
            }
        }
    }

    impl Paper for Algorithm {
        fn hit(&mut self, key: u64) {
            let freq = self.freq.get_mut(&key).unwrap();
            *freq = (*freq + 1).min(3);
        }

        fn miss(&mut self, key: u64) -> Vec<u64> {
            let ghost = self.ghosts.contains(&key);
            self.ghosts.retain(|&ghost| ghost != key);
            while self.small.len() + self.main.len() >= self.small_size + self.main_size {
                if self.small.len() >= self.small_size || self.main.is_empty() {
                    self.evict_small();
                } else {
                    self.evict_main();
                }
            }
            if ghost { &mut self.main } else { &mut self.small }.push_back(key);
            self.freq.insert(key, 0);
            std::mem::take(&mut self.evicted)
        }

        fn delete(&mut self, key: u64) {
            self.small.retain(|&resident| resident != key);
            self.main.retain(|&resident| resident != key);
            self.freq.remove(&key);
        }

        fn order(&self) -> Vec<u64> {
            self.small.iter().chain(&self.main).copied().collect()
        }
    }

    #[test]
    fn lockstep_with_the_pseudo_code() {
        beside(S3Fifo::new, Algorithm::of);
    }

    #[test]
    fn a_queue_has_its_share_in_weight() {
        let mut segment = Segment::new(S3Fifo::new());
        segment.policy.resize(1_000);
        for hash in 0..10 {
            let slot = segment.insert(&Meta::new(hash, 100, u64::MAX));
            (0..3).for_each(|_| segment.hit(slot));
        }
        for hash in 10..1_000 {
            let meta = Meta::new(hash, 50, u64::MAX);
            let weight =
                |policy: &S3Fifo| (0..3).map(|queue| policy.queues.weight(queue)).sum::<u64>();
            while weight(&segment.policy) > 950 {
                let Victim::Entry(slot) = segment.victim(Some(&meta)) else { unreachable!() };
                segment.remove(slot, Cause::Evicted);
            }
            segment.insert(&meta);
        }
        assert_eq!(segment.policy.queues.weight(MAIN), 900);
        assert_eq!(segment.policy.queues.weight(SMALL), 100);
        assert_eq!(segment.policy.ghosts.weight(), 900);
    }

    #[test]
    fn light_ghosts_are_not_many_more_than_entries() {
        let mut segment = Segment::new(S3Fifo::new());
        segment.policy.resize(u64::MAX);
        for hash in 0..1_000 {
            let slot = segment.insert(&Meta::new(hash, 1, u64::MAX));
            assert_eq!(segment.victim(None), Victim::Entry(slot));
            segment.remove(slot, Cause::Evicted);
        }
        assert_eq!(segment.policy.ghosts.len(), FEW + 2);
    }

    #[test]
    fn a_ghost_that_was_taken_waits_for_its_newcomer() {
        let mut segment = Segment::new(S3Fifo::new());
        let gone = Meta::new(7, 1, u64::MAX);
        let slot = segment.insert(&gone);
        segment.insert(&CALM);
        assert_eq!(segment.victim(Some(&CALM)), Victim::Entry(slot));
        segment.remove(slot, Cause::Evicted);
        segment.victim(Some(&gone));
        segment.insert(&Meta::new(8, 1, u64::MAX)); // another one comes first
        let slot = segment.insert(&gone);
        assert_eq!(segment.policy.queues.row(slot).queue, MAIN);
    }

    #[test]
    fn only_what_is_evicted_is_remembered() {
        for cause in Cause::ALL {
            let mut segment = Segment::new(S3Fifo::new());
            let slot = segment.insert(&Meta::new(7, 1, u64::MAX));
            assert_eq!(segment.victim(None), Victim::Entry(slot));
            segment.remove(slot, cause);
            assert_eq!(segment.policy.ghosts.get(7).is_some(), cause == Cause::Evicted);
        }
    }

    #[test]
    fn the_work_is_bounded_where_readers_are_faster() {
        /// All have a full count, and keep it.
        struct Relentless(AtomicU64);
        impl Counts for Relentless {
            fn get(&self, _: Slot) -> u8 {
                MOST
            }
            fn set(&self, _: Slot, _: u8) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let mut s3 = S3Fifo::new();
        s3.resize(100);
        (0..50).for_each(|hash| s3.ghosts.push(hash, 1, ()));
        (0..100).for_each(|at| s3.insert(Slot::new(at), &Meta::new(at as u64, 1, u64::MAX)));
        assert_eq!((s3.queues.count(MAIN), s3.queues.count(SMALL)), (50, 50));
        let readers = Relentless(AtomicU64::new(0));
        let mut hits = HitCounters::view(&readers, MOST);
        // 40 of small fit into main. For each of the last 10, main gives up one: for the first it goes round, 150 steps of the 90
        // entries that it has by then; for the others no more.
        assert_eq!(s3.victim(None, &mut hits), Victim::Entry(Slot::new(60)));
        assert_eq!(s3.queues.count(LEAVING), 10);
        assert_eq!(readers.0.into_inner(), 50 + 3 * 50 + 10);
    }

    #[test]
    fn damage_is_seen() {
        let twice = complaint(S3Fifo::new(), |s3| s3.insert(Slot::new(2), &CALM));
        assert!(twice.contains("the same order"), "{twice}");
        let ghosts = complaint(S3Fifo::new(), |s3| s3.ghosts.damage());
        assert!(ghosts.contains("as many chains as rows"), "{ghosts}");
    }

    #[test]
    fn debug_is_short() {
        assert_eq!(format!("{:?}", S3Fifo::default()), "S3Fifo { len: 0, main: 0 }");
    }
}
