//! W-TinyLFU that finds out how it is best run.
//!
//! **Problem.** Every policy has loads that it is bad at: recency fails in loops and scans, popularity where what is popular changes.
//! A cache does not know its load beforehand; and its readers should not even take a lock to tell of a hit.
//!
//! **Idea.** Three parts.
//!
//! 1. *Lazy W-TinyLFU* ([`lazy`](super::lazy)): a window for newcomers, then a duel for a place in main, decided by how often
//!    keys were asked for. A hit only raises a counter of two bits, which is read when the entry's turn to leave comes.
//! 2. *Manners*: the same rules make LRU of a window that is nearly all, and a cache that no scan can harm of one that is nearly
//!    nothing; and victims that yield forget what was popular, where others keep it.
//! 3. *Models* ([`models`]): four small caches without values, each in one of four manners, are asked for a sample of the keys.
//!    The cache takes the manner of the model that has most hits.
//!
//! ```text
//!    all keys       ─► [ window │ probation │ protected ]        the cache, in the best manner
//!                           ▲ window 1, 20 or 75 %; yielding or not
//!    1 key of 8 to  ─► ┌────┴─┐┌──────┐┌──────┐┌──────┐
//!    1 of millions     │ 1 %  ││ 1 %  ││ 20 % ││ 75 % │       four models of at most 256 entries
//!                      │      ││yields││yields││yields│
//!                      └──────┘└──────┘└──────┘└──────┘
//! ```
//!
//! **Good at** loads of any kind, and such as change. **Bad at** the first few thousand requests, while it learns; at phases shorter
//! than five times the capacity, which are over when it has learned; and where a cache has so few entries (below some 100) that
//! its models tell nothing.
//!
//! **Invariants** are those of the rules and of the models; there are no others.
//!
//! | operation | cost |
//! |---|---|
//! | a hit | a counter raised by the engine, if it is below 3 |
//! | `insert`, `remove`, `relocate`, `update` | O(1) |
//! | `victim` | O(1): at most [`WORK`](super::lazy::WORK) list moves, and two counters looked at for the models |
//! | a sampled key, one of 8 or fewer | as much again in each model |
//! | memory | 9 bytes an entry: links and mark; 3 to 6 for the sketch; at most about 60 KiB a segment for the models |
//!
//! No call of the policy hears of hits, so their number is not known: exact counts of hits in the window and in main, as other
//! caches adapt by, would cost readers a shared write. What the models see of hits comes late and thinned out. Fed with every request
//! instead they would gain 0.1 points of hit ratio in the mean over the traces of DESIGN.md.
//!
//! **The constants.** *Two counters a call*: with one, models hear of a hit too late to tell a small window from a large one (0.1
//! points worse); with four they gain less than 0.05. *A sixteenth of the share* until sketch and models are made: later, and
//! short traces lose a point; earlier, and a cache with few entries would pay for many. The others are argued where they stand.
//!
//! **Sources.** Einziger, Friedman, Manes: *`TinyLFU`*, ACM Transactions on Storage 13(4), 2017, for window, main and sketch. Einziger,
//! Eytan, Friedman, Manes: *Adaptive Software Cache Management*, Middleware 2018, for models that choose the window. Corbató: *A Paging
//! Experiment with the Multics System*, 1968, for a second chance in place of a move at each hit.
//!
//! **Trace.** Worked by hand; the test replays it from this very text. For a share of 100, of which 1 is window: `window` ¦
//! `probation` ¦ `protected`, each from its front; `*` is a hit that is counted and not yet looked at.
//!
//! ```text
//!    call        window ¦ probation ¦ protected
//!    insert A  │ A ¦ ¦
//!    insert B  │ B ¦ A ¦             ◄ main has room
//!    insert C  │ C ¦ B A ¦
//!    insert D  │ D ¦ C B A ¦
//!    hit A     │ D ¦ C B A* ¦        ◄ only a counter
//!    hit D     │ D* ¦ C B A* ¦
//!    victim D  │ D ¦ C B ¦ A         ◄ A was used: protected. D, warm too, had its second turn; it is as popular as B
//!    victim D  │ D ¦ C B ¦ A         ◄ asked again, the same answer
//!    remove D  │ ¦ C B ¦ A
//!    hit B     │ ¦ C B* ¦ A
//!    victim C  │ ¦ C ¦ B A           ◄ nothing in the window: main gives up its oldest that was not used
//!    update C  │ ¦ C ¦ B A           ◄ used by a write, which is as good as a hit:
//!    victim A  │ ¦ ¦ C B A           ◄ another leaves
//!    remove A  │ ¦ ¦ C B
//! ```

use super::lazy::{Lazy, Popularity};
use super::regions::code_of;
use super::sketch::Sketch;
use super::{EvictionPolicy, Hears, Heat, HitCounters, Meta, Slot, Victim, Walk};
use crate::observe::Cause;
use models::{MANNERS, Models};
use std::fmt;

mod models;

/// Where an entry's counter stops.
const COUNTS_TO: u8 = 3;

/// Sampled residents whose counters each call that makes room looks at.
const POLLS: usize = 2;

/// What tells its [`learned`](EvictionPolicy::learned) from another policy's.
const LEARNED: u64 = 0x4164_6170_7469_7600;

/// Sketch and models are made when a share's first sixteenth is full: by then it is known how many entries will fit, and a cache that
/// holds little costs little.
const START: u64 = 16;

/// W-TinyLFU that finds out how it is best run, by small models of itself. The right choice where nothing speaks for another.
///
/// A hit costs readers a counter, stored if it is below three: hits from many threads do not contend. Making room costs O(1), an
/// entry about 14 bytes. It keeps what is popular through scans and loops, and what is recent where that is what counts; it finds out
/// which in some five times as many requests as there are entries, again and again.
///
/// Where chance decides, its draws are those of a seed: [`new`](Self::new) has another for each policy, so that nobody can
/// work out keys that would be let in; [`seeded`](Self::seeded) can be repeated.
///
/// ```
/// use cachette::{Cache, policy::Adaptive};
///
/// let cache = Cache::<u32, u32>::builder().capacity(1_000).policy(Adaptive::new).build()?;
/// let ask = |key| cache.get(&key).unwrap_or_else(|| {
///     cache.put(key, key);
///     key
/// });
/// for _ in 0..20 {
///     (0..1_500).for_each(|key| _ = ask(key)); // a loop that does not fit: LRU would have no hit at all
/// }
/// assert!(cache.stats().hit_ratio() > 0.4);
/// # Ok::<(), cachette::BuildError>(())
/// ```
pub struct Adaptive {
    lazy: Lazy,
    /// None until it is known how many entries there will be.
    learnt: Option<Box<Learnt>>,
}

/// What is known of the requests.
struct Learnt {
    sketch: Sketch,
    models: Models,
}

impl Adaptive {
    /// A policy with no entries, and a seed of its own. Allocates nothing. O(1).
    #[must_use]
    pub fn new() -> Self {
        Self::seeded(ahash::RandomState::new().hash_one(0_u8))
    }

    /// A policy with no entries, whose draws follow from `seed`. Any seed is as good as another. O(1).
    ///
    /// ```
    /// use cachette::{Cache, policy::Adaptive};
    ///
    /// let cache = Cache::<u32, u32>::builder().capacity(1_000).policy(|| Adaptive::seeded(7)).build()?;
    /// cache.put(1, 1);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { lazy: Lazy::new(MANNERS[0], Some(seed)), learnt: None }
    }

    /// Fits sketch and models to so many entries, unless they are about right.
    fn fit(&mut self, entries: usize) {
        let made = self.learnt.as_ref().map_or(0, |learnt| learnt.models.entries);
        if entries > made * 2 || entries * 4 < made {
            let mut models = Models::new(entries, self.lazy.manner);
            models.set_share(self.lazy.share);
            let sketch = match self.learnt.take() {
                Some(mut learnt) => {
                    learnt.sketch.resize(entries);
                    learnt.sketch
                }
                None => Sketch::new(entries),
            };
            self.learnt = Some(Box::new(Learnt { sketch, models }));
        }
    }
}

impl Learnt {
    /// A key was asked for: if it is sampled, the models hear of it, and say how the cache is best run.
    fn ask(&mut self, hash: u64, weight: u64, lazy: &mut Lazy) {
        if self.models.samples(code_of(hash)) {
            self.models.ask(hash, weight, &mut self.sketch);
            lazy.manner = self.models.best();
        }
    }

    /// Tells the models of hits on residents that are sampled.
    fn poll(&mut self, lazy: &mut Lazy, hits: &mut HitCounters<'_>) {
        if !self.models.is_time() {
            return;
        }
        for _ in 0..POLLS {
            let Some(slot) = self.models.next_resident() else { return };
            let mut popularity = Popularity { sketch: &mut self.sketch, feeds: true };
            if lazy.poll(slot, hits, &mut popularity) {
                self.ask(hits.hash(slot), lazy.regions.weight_of(slot), lazy);
            }
        }
    }
}

impl EvictionPolicy for Adaptive {
    fn hears(&self) -> Hears {
        Hears::Counter(COUNTS_TO)
    }

    fn hears_misses(&self) -> bool {
        false
    }

    fn resize(&mut self, share: u64) {
        self.lazy.share = share;
        if let Some(learnt) = &mut self.learnt {
            learnt.models.set_share(share);
        }
    }

    fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.lazy.insert(slot, meta.weight);
        if self.learnt.is_none() {
            if self.lazy.regions.total_weight() <= self.lazy.share / START {
                self.lazy.count_later(slot);
                return;
            }
            self.fit(self.len() * START as usize);
        }
        let Some(learnt) = &mut self.learnt else { return };
        let code = code_of(meta.hash);
        learnt.sketch.add(code, 1);
        learnt.ask(meta.hash, meta.weight, &mut self.lazy);
        if learnt.models.samples(code) {
            learnt.models.settle(code, slot);
            self.lazy.mark(slot);
        }
    }

    fn update(&mut self, slot: Slot, meta: &Meta) {
        self.lazy.update(slot, meta.weight);
        if let Some(learnt) = &mut self.learnt {
            learnt.ask(meta.hash, meta.weight, &mut self.lazy);
        }
    }

    fn relocate(&mut self, from: Slot, to: Slot, meta: &Meta) {
        self.lazy.relocate(from, to, meta.weight);
        if let Some(learnt) = self.learnt.as_mut().filter(|_| self.lazy.is_marked(to)) {
            learnt.models.moved(from, to);
        }
    }

    fn remove(&mut self, slot: Slot, cause: Cause) {
        if let Some(learnt) = self.learnt.as_mut().filter(|_| self.lazy.is_marked(slot)) {
            learnt.models.left(slot, matches!(cause, Cause::Evicted | Cause::Replaced));
        }
        self.lazy.remove(slot);
    }

    fn victim(&mut self, newcomer: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        let decided = self.lazy.is_decided();
        if !decided {
            self.fit(self.len());
        }
        let Some(learnt) = &mut self.learnt else { return Victim::None };
        if !decided {
            learnt.models.set_share(self.lazy.regions.total_weight());
            learnt.poll(&mut self.lazy, hits);
        }
        let mut popularity = Popularity { sketch: &mut learnt.sketch, feeds: true };
        let coming = newcomer.map_or(1, |meta| meta.weight);
        self.lazy.victim(coming, hits, &mut popularity).map_or(Victim::None, Victim::Entry)
    }

    fn len(&self) -> usize {
        self.lazy.regions.len()
    }

    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.lazy.coldest())
    }

    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.lazy.hottest())
    }

    fn coldest_after(&self, after: Option<Slot>) -> Option<Walk<'_>> {
        Some(self.lazy.coldest_after(after))
    }

    fn heat(&self, slot: Slot, hits: &HitCounters<'_>) -> Heat {
        let popular =
            self.learnt.as_ref().map_or(0, |it| it.sketch.estimate(code_of(hits.hash(slot))));
        self.lazy.heat(slot, popular.saturating_add(hits.get(slot)))
    }

    fn warm(&mut self, slot: Slot, heat: Heat, hits: &mut HitCounters<'_>) {
        if let Some(learnt) = &mut self.learnt {
            // One use was its coming.
            let uses = u8::try_from(heat.uses).unwrap_or(u8::MAX).saturating_sub(1);
            learnt.sketch.add(code_of(hits.hash(slot)), uses);
        }
        if heat.proven {
            self.lazy.protect(slot);
        }
    }

    /// Its manner.
    fn learned(&self) -> u64 {
        let at = MANNERS.iter().position(|&manner| manner == self.lazy.manner);
        at.map_or(0, |at| LEARNED | at as u64)
    }

    fn recall(&mut self, learned: u64) {
        let at = usize::try_from(learned ^ LEARNED).ok();
        if let Some(&manner) = at.and_then(|at| MANNERS.get(at)) {
            self.lazy.manner = manner;
            if let Some(learnt) = &mut self.learnt {
                learnt.models.begin_with(manner);
            }
        }
    }

    fn assert_valid(&self) {
        self.lazy.assert_valid();
        if let Some(learnt) = &self.learnt {
            learnt.models.assert_valid();
        }
    }
}

impl Default for Adaptive {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Adaptive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adaptive").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::Segment;
    use super::super::lockstep::{random, replay_marked};
    use super::super::regions::tests::picture;
    use super::super::{Counts, lazy::WORK};
    use super::*;
    use crate::sync::{AtomicU64, Ordering};
    use std::collections::HashMap;

    #[test]
    fn the_trace_above() {
        replay_marked(include_str!("adaptive.rs"), Adaptive::seeded(0), |policy, hits| {
            picture(&policy.lazy.regions, hits)
        });
    }

    /// A cache of keys without values, read through.
    struct Reader {
        segment: Segment<Adaptive>,
        at: HashMap<u64, Slot>,
        keys: HashMap<Slot, u64>,
        capacity: usize,
    }

    impl Reader {
        fn new(capacity: usize) -> Self {
            let mut segment = Segment::new(Adaptive::seeded(0));
            segment.policy.resize(capacity as u64);
            Self { segment, at: HashMap::new(), keys: HashMap::new(), capacity }
        }

        fn ask(&mut self, key: u64) -> bool {
            if let Some(&slot) = self.at.get(&key) {
                self.segment.hit(slot);
                return true;
            }
            let hash = crate::hash::mix(crate::hash::mix(key + 1));
            let meta = Meta::new(hash, 1, u64::MAX);
            while self.at.len() >= self.capacity {
                self.evict(Some(&meta));
            }
            let slot = self.segment.insert(&meta);
            self.at.insert(key, slot);
            self.keys.insert(slot, key);
            false
        }

        fn evict(&mut self, newcomer: Option<&Meta>) {
            let Victim::Entry(slot) = self.segment.victim(newcomer) else {
                panic!("there is always one")
            };
            self.segment.remove(slot, Cause::Evicted);
            self.at.remove(&self.keys.remove(&slot).unwrap());
        }

        /// Of so many requests, the hits in percent.
        fn ratio(&mut self, requests: u64, mut key: impl FnMut(u64) -> u64) -> u64 {
            (0..requests).filter(|&i| self.ask(key(i))).count() as u64 * 100 / requests
        }

        fn manner(&self) -> (u64, bool) {
            (self.segment.policy.lazy.manner.window, self.segment.policy.lazy.manner.yields)
        }
    }

    /// Keys that were asked for lately are asked for again, each some eight times, and then never.
    fn recent() -> impl FnMut(u64) -> u64 {
        let mut random = random();
        move |i| 1_000_000 + (i / 8).saturating_sub(random(300) as u64)
    }

    /// LRU would have no hit in the loop; a small window few in the other.
    #[test]
    fn it_finds_its_manner_and_another_when_the_load_changes() {
        let mut reader = Reader::new(400);
        for _ in 0..2 {
            reader.ratio(20_000, |i| i % 600);
            let looping = reader.ratio(5_000, |i| i % 600);
            assert!(looping > 55, "{looping} % in a loop, where 66 are possible");
            assert_eq!(reader.manner(), (1, false));
            reader.ratio(20_000, recent());
            let recency = reader.ratio(5_000, recent());
            assert!(recency > 80, "{recency} % where what is recent counts");
            reader.segment.check(|_| true);
        }
    }

    #[test]
    fn it_holds_while_the_capacity_changes() {
        let mut reader = Reader::new(400);
        for capacity in [400, 3_000, 100, 800] {
            reader.capacity = capacity;
            reader.segment.policy.resize(capacity as u64);
            while reader.at.len() > capacity {
                reader.evict(None);
            }
            let keys = capacity as u64 * 3 / 2;
            reader.ratio(keys * 40, |i| i % keys);
            let looping = reader.ratio(keys * 10, |i| i % keys);
            assert!(looping > 45, "{looping} % at {capacity}, where 66 are possible");
            let models = &reader.segment.policy.learnt.as_ref().unwrap().models;
            assert!(models.entries <= capacity * 4 && models.entries * 2 >= capacity);
            reader.segment.check(|_| true);
        }
    }

    #[test]
    fn a_cache_that_holds_little_has_neither_sketch_nor_models() {
        let mut reader = Reader::new(1_600);
        reader.ratio(200, |i| i % 100);
        assert!(reader.segment.policy.learnt.is_none());
        reader.ask(1_000);
        let models = &reader.segment.policy.learnt.as_ref().unwrap().models;
        assert_eq!(models.entries, 1_616, "made when the share's sixteenth is full");
    }

    #[test]
    fn a_call_looks_at_so_many_counters_and_no_more() {
        /// Every entry is always warm: readers are faster than the walk.
        struct Relentless(AtomicU64);
        impl Counts for Relentless {
            fn get(&self, _: Slot) -> u8 {
                self.0.fetch_add(1, Ordering::Relaxed);
                3
            }
            fn set(&self, _: Slot, _: u8) {}
        }
        let mut reader = Reader::new(1_000);
        reader.ratio(3_000, |i| i);
        let looks: Vec<_> = (0..50)
            .map(|_| {
                let readers = Relentless(AtomicU64::new(0));
                let asked = reader.segment.policy.victim(None, &mut HitCounters::view(&readers, 3));
                let Victim::Entry(slot) = asked else { panic!("nobody leaves: {asked:?}") };
                reader.segment.remove(slot, Cause::Evicted);
                usize::try_from(readers.0.into_inner()).unwrap()
            })
            .collect();
        // Not every call looks for the models.
        let (least, most) = (looks.iter().min(), looks.iter().max());
        assert_eq!((least, most), (Some(&WORK), Some(&(WORK + POLLS))));
    }

    #[test]
    fn two_policies_have_two_seeds() {
        let of = |policy: Adaptive| format!("{:?}", policy.lazy.seed());
        assert_ne!(of(Adaptive::new()), of(Adaptive::default()));
        assert_eq!(of(Adaptive::seeded(5)), of(Adaptive::seeded(5)));
    }

    #[test]
    fn debug_is_short() {
        assert_eq!(format!("{:?}", Adaptive::default()), "Adaptive { len: 0 }");
    }
}
