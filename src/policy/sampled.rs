//! Sampling with a pool, as Redis does it: what `SampledLru` and `SampledLfu` share.
//!
//! **Problem.** To know the entry that is least worth keeping, one must keep all of them in order, and every hit changes it. To
//! find one that is *nearly* the least, it is enough to look at a few.
//!
//! **Idea.** Draw five residents, and take the worst. That wastes the other four, of which some may be bad too: so keep the worst
//! sixteen ever seen in a pool, and let each five compete with them. After some evictions the pool's worst is nearly the worst
//! of all. How bad a candidate is, its *idleness*, is noted when it is drawn, and not looked up again.
//!
//! ```text
//!    residents  ──5 draws──►  pool   least idle                     most idle
//!                                    C:2   F:3   A:9   ...   D:40   K:41 ─────► victim
//!    full, and more idle than C:     C drops out, the drawn one finds its place
//!    full, and less idle than C:     it is not taken
//! ```
//!
//! **Invariants**
//!
//! 1. The pool holds at most 16 residents, each once.
//! 2. From front to back the candidates are ever more idle, as they were when they were drawn.
//! 3. If anybody is resident, a call of `victim` leaves somebody in the pool.
//!
//! | operation | cost |
//! |---|---|
//! | `insert` | O(1) |
//! | `remove`, `relocate` | O(1): a look at 16 candidates |
//! | `victim` | O(1): 5 draws, 5 words read, 5 looks at the pool; nothing if nobody has come or left since |
//! | memory | 8 bytes an entry, and its word |
//!
//! **Source.** Redis, `src/evict.c` (`evictionPoolPopulate`). Otherwise here: the five are drawn evenly, where Redis takes a run of
//! neighbours from its hash table; nobody is in the pool twice; who leaves the cache leaves the pool at once, where Redis finds
//! out when it would evict it; and a segment has a pool of its own.
//!
//! **Trace.** Of the pool, worked by hand, as if it had room for three; the test replays it from this very text. A number is an
//! idleness.
//!
//! ```text
//!    call         least idle ─► most idle
//!    offer A 5  │ A:5
//!    offer B 9  │ A:5 B:9
//!    offer C 7  │ A:5 C:7 B:9
//!    offer D 4  │ A:5 C:7 B:9    ◄ full, and nobody is less idle: not taken
//!    offer E 8  │ C:7 E:8 B:9    ◄ A drops out
//!    offer F 9  │ E:8 F:9 B:9    ◄ among equals, who came first leaves first
//!    offer F 3  │ F:3 E:8 B:9    ◄ drawn again, it has been used meanwhile
//!    leave B    │ F:3 E:8
//!    move E A   │ F:3 A:8        ◄ the same entry, in another slot
//!    offer C 1  │ C:1 F:3 A:8
//! ```

use super::{EvictionPolicy, Hears, Heat, HitCounters, Meta, Random, Slot, Touch, Use, Victim};
use crate::observe::Cause;
use std::fmt;
use std::marker::PhantomData;

/// Residents drawn for a victim: Redis's `maxmemory-samples`.
const SAMPLES: usize = 5;
/// Candidates kept: Redis's `EVPOOL_SIZE`.
const POOL: usize = 16;

/// A resident, and how idle it was when it was drawn.
#[derive(Clone, Copy)]
struct Candidate {
    slot: Slot,
    idle: u64,
}

/// The most idle of all that were drawn.
struct Pool {
    candidates: Vec<Candidate>,
    room: usize,
}

impl Pool {
    const fn new(room: usize) -> Self {
        Self { candidates: Vec::new(), room }
    }

    fn holds(&self, slot: Slot) -> bool {
        self.candidates.iter().any(|candidate| candidate.slot == slot)
    }

    fn worst(&self) -> Option<Slot> {
        self.candidates.last().map(|candidate| candidate.slot)
    }

    /// Takes a candidate in, if there is room or one that is less idle.
    fn offer(&mut self, slot: Slot, idle: u64) {
        self.leave(slot);
        let place = self.candidates.partition_point(|candidate| candidate.idle < idle);
        let candidate = Candidate { slot, idle };
        if self.candidates.len() < self.room {
            self.candidates.insert(place, candidate);
        } else if let Some(below) = place.checked_sub(1) {
            self.candidates.remove(0);
            self.candidates.insert(below, candidate);
        }
    }

    fn leave(&mut self, slot: Slot) {
        self.candidates.retain(|candidate| candidate.slot != slot);
    }

    fn relocate(&mut self, from: Slot, to: Slot) {
        let moved = self.candidates.iter_mut().filter(|candidate| candidate.slot == from);
        moved.for_each(|candidate| candidate.slot = to);
    }
}

/// What a policy notes beside an entry, and how it reads its notes.
pub trait Rank: Send + 'static {
    /// The policy's name.
    const NAME: &'static str;

    /// The word after a use. It runs at every hit, on the thread that hits.
    fn touch(it: Use) -> u32;

    /// How little the entry with this word is worth by now.
    fn idle(word: u32, now: u64) -> u64;

    /// What a snapshot keeps of this word.
    fn heat(word: u32, now: u64) -> Heat {
        let _ = (word, now);
        Heat::default()
    }

    /// The word of an entry that was this hot, if there is any to be made of that.
    fn warmed(heat: Heat, now: u64) -> Option<u32> {
        let _ = (heat, now);
        None
    }
}

/// A policy that gives up the worst of a few, by Redis's sampling: [`SampledLru`](super::SampledLru) or
/// [`SampledLfu`](super::SampledLfu).
///
/// `R` is what the one has and the other has not: what a use notes beside the entry, and how bad that is.
///
/// ```
/// use cachette::policy::{EvictionPolicy, SampledLfu, SampledLru};
///
/// assert!(SampledLru::new().is_empty() && SampledLfu::new().is_empty());
/// ```
pub struct Sampled<R> {
    residents: Random,
    pool: Pool,
    /// Nobody has come or left since the last draws.
    drawn: bool,
    rank: PhantomData<R>,
}

impl<R: Rank> Sampled<R> {
    /// A policy with no entries and a fixed seed. Allocates nothing. O(1).
    #[must_use]
    pub const fn new() -> Self {
        Self::seeded(0)
    }

    /// A policy with no entries, whose draws of victims follow from `seed`. O(1).
    ///
    /// ```
    /// use cachette::{Cache, policy::{SampledLfu, SampledLru}};
    ///
    /// let lru = Cache::<u32, u32>::builder().capacity(9).policy(|| SampledLru::seeded(7)).build()?;
    /// let lfu = Cache::<u32, u32>::builder().capacity(9).policy(|| SampledLfu::seeded(7)).build()?;
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self {
            residents: Random::seeded(seed),
            pool: Pool::new(POOL),
            drawn: false,
            rank: PhantomData,
        }
    }

    /// The pool, most idle first, then the others as they happen to stand.
    fn in_order(&self) -> impl DoubleEndedIterator<Item = Slot> {
        let pool = self.pool.candidates.iter().rev().map(|candidate| candidate.slot);
        pool.chain(self.residents.residents().filter(|&slot| !self.pool.holds(slot)))
    }
}

impl<R: Rank> EvictionPolicy for Sampled<R> {
    fn hears(&self) -> Hears {
        Hears::Stamp(Touch::new(R::touch))
    }

    fn hears_misses(&self) -> bool {
        false
    }

    fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.residents.insert(slot, meta);
        self.drawn = false;
    }

    fn relocate(&mut self, from: Slot, to: Slot, meta: &Meta) {
        self.residents.relocate(from, to, meta);
        self.pool.relocate(from, to);
    }

    fn remove(&mut self, slot: Slot, cause: Cause) {
        self.residents.remove(slot, cause);
        self.pool.leave(slot);
        self.drawn = false;
    }

    /// The most idle in the pool, after others were drawn.
    fn victim(&mut self, _: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        if !self.drawn {
            let now = hits.now();
            for _ in 0..SAMPLES {
                let Some(slot) = self.residents.draw() else { break };
                self.pool.offer(slot, R::idle(hits.stamp(slot), now));
            }
            self.drawn = true;
        }
        self.pool.worst().map_or(Victim::None, Victim::Entry)
    }

    fn len(&self) -> usize {
        self.residents.len()
    }

    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.in_order())
    }

    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.in_order().rev())
    }

    fn heat(&self, slot: Slot, hits: &HitCounters<'_>) -> Heat {
        R::heat(hits.stamp(slot), hits.now())
    }

    fn warm(&mut self, slot: Slot, heat: Heat, hits: &mut HitCounters<'_>) {
        if let Some(word) = R::warmed(heat, hits.now()) {
            hits.set_stamp(slot, word);
        }
    }

    fn assert_valid(&self) {
        self.residents.assert_valid();
        let pool = &self.pool.candidates;
        assert!(pool.len() <= POOL, "1: the pool has its size");
        let resident = pool.iter().all(|candidate| self.residents.holds(candidate.slot));
        assert!(resident, "1: candidates are residents");
        let count = |slot| pool.iter().filter(|candidate| candidate.slot == slot).count();
        assert!(pool.iter().all(|candidate| count(candidate.slot) == 1), "1: nobody stands twice");
        assert!(pool.is_sorted_by_key(|candidate| candidate.idle), "2: the pool is in order");
        let nobody = self.drawn && pool.is_empty() && self.len() != 0;
        assert!(!nobody, "3: who has drawn has a candidate");
    }
}

impl<R: Rank> Default for Sampled<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Rank> fmt::Debug for Sampled<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(R::NAME).field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::{CALM, Segment};
    use super::super::lockstep::{operations, random};
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Duration;

    #[test]
    fn the_trace_above() {
        let source = include_str!("sampled.rs");
        let trace = source.lines().skip_while(|line| !line.starts_with("//! **Trace.**"));
        let block = trace.skip_while(|line| *line != "//! ```text").skip(1);
        let rows = block.take_while(|line| *line != "//! ```");
        let slot = |letter: &str| Slot::new(usize::from(letter.as_bytes()[0] - b'A'));
        let mut pool = Pool::new(3);
        let mut replayed = 0;
        for (call, rest) in rows.filter_map(|line| line.trim_start_matches("//!").split_once('│'))
        {
            match call.split_whitespace().collect::<Vec<_>>()[..] {
                ["offer", who, idle] => pool.offer(slot(who), idle.parse().unwrap()),
                ["leave", who] => pool.leave(slot(who)),
                ["move", from, to] => pool.relocate(slot(from), slot(to)),
                _ => panic!("no such call: {call}"),
            }
            let one = |it: &Candidate| {
                format!("{}:{}", char::from(b'A' + it.slot.index() as u8), it.idle)
            };
            let shown: Vec<_> = pool.candidates.iter().map(one).collect();
            let written: Vec<_> = rest.split('◄').next().unwrap().split_whitespace().collect();
            assert_eq!(shown, written, "after {call}");
            replayed += 1;
        }
        assert_eq!(replayed, 10);
    }

    /// The pool as in `evict.c`: an array of places that may be empty, in which what is inserted shifts the others.
    struct Places([Option<(Slot, u64)>; POOL]);

    impl Places {
        fn offer(&mut self, slot: Slot, idle: u64) {
            let pool = &mut self.0;
            let mut k = 0;
            while k < POOL && pool[k].is_some_and(|(_, other)| other < idle) {
                k += 1;
            }
            if k == 0 && pool[POOL - 1].is_some() {
                return;
            }
            if k == POOL || pool[k].is_some() {
                if pool[POOL - 1].is_none() {
                    pool.copy_within(k..POOL - 1, k + 1);
                } else {
                    k -= 1;
                    pool.copy_within(1..=k, 0);
                }
            }
            pool[k] = Some((slot, idle));
        }

        /// Not in Redis: who leaves leaves no gap.
        fn leave(&mut self, slot: Slot) {
            let left: Vec<_> = self.0.iter().copied().flatten().filter(|it| it.0 != slot).collect();
            self.0 = [None; POOL];
            left.into_iter().zip(&mut self.0).for_each(|(it, place)| *place = Some(it));
        }
    }

    #[test]
    fn lockstep_of_the_pool_with_redis() {
        let mut random = random();
        let (mut pool, mut places) = (Pool::new(POOL), Places([None; POOL]));
        for now in 0..operations() {
            let slot = Slot::new(random(60));
            if random(10) == 0 {
                pool.leave(slot);
                places.leave(slot);
            } else {
                let idle = random(30) as u64;
                pool.offer(slot, idle);
                places.leave(slot);
                places.offer(slot, idle);
            }
            let ours = pool.candidates.iter().map(|it| (it.slot, it.idle));
            assert!(ours.eq(places.0.iter().copied().flatten()), "operation {now}");
        }
    }

    /// The word is the idleness.
    struct Plain;

    impl Rank for Plain {
        const NAME: &'static str = "Plain";

        fn touch(it: Use) -> u32 {
            it.now as u32
        }

        fn idle(word: u32, _: u64) -> u64 {
            u64::from(word)
        }
    }

    /// The whole policy: the draws are those of a `Random` beside it, which has a lockstep of its own; the rest is Redis's pool
    /// and a table of words.
    #[test]
    fn lockstep_of_the_whole_with_redis() {
        let mut random = random();
        let mut segment = Segment::new(Sampled::<Plain>::seeded(7));
        let mut draws = Random::seeded(7);
        let mut places = Places([None; POOL]);
        let mut words: Vec<(Slot, u32)> = Vec::new();
        let mut drawn = false;
        for now in 0..operations() {
            segment.hits.advance(Duration::from_nanos(random(3) as u64));
            let word = segment.hits.now() as u32;
            let pick = random(words.len().max(1));
            let what =
                if words.is_empty() { 0 } else { random(if words.len() < 60 { 10 } else { 7 }) };
            let mut leaves = None;
            match what {
                0 | 7.. => {
                    let slot = segment.insert(&CALM);
                    draws.insert(slot, &CALM);
                    words.push((slot, word));
                    drawn = false;
                }
                1 => leaves = Some(words[pick].0),
                2 => {
                    let from = words[pick].0;
                    let to = segment.relocate(from, &CALM);
                    draws.relocate(from, to, &CALM);
                    words[pick].0 = to;
                    let pooled = places.0.iter_mut().flatten().filter(|it| it.0 == from);
                    pooled.for_each(|it| it.0 = to);
                }
                3 | 4 => {
                    segment.hit(words[pick].0);
                    words[pick].1 = word;
                }
                _ => {
                    for _ in 0..if drawn { 0 } else { SAMPLES } {
                        let slot = draws.draw().expect("there is one");
                        let idle = words.iter().find(|it| it.0 == slot).expect("a resident").1;
                        places.leave(slot);
                        places.offer(slot, u64::from(idle));
                    }
                    drawn = true;
                    let worst =
                        places.0.iter().copied().flatten().last().expect("some were drawn").0;
                    assert_eq!(segment.victim(None), Victim::Entry(worst), "operation {now}");
                    leaves = Some(worst).filter(|_| what == 5);
                }
            }
            if let Some(slot) = leaves {
                segment.remove(slot, Cause::Evicted);
                draws.remove(slot, Cause::Evicted);
                places.leave(slot);
                words.retain(|it| it.0 != slot);
                drawn = false;
            }
        }
        segment.policy.assert_valid();
    }

    /// Slots are their own words.
    fn eighty() -> (Sampled<Plain>, HitCounters<'static>) {
        let mut hits = HitCounters::stamped(Touch::new(Plain::touch));
        let mut sampled = Sampled::seeded(7);
        for index in 0..80 {
            hits.publish(Slot::new(index), 0);
            sampled.insert(Slot::new(index), &CALM);
            hits.advance(Duration::from_nanos(1));
        }
        (sampled, hits)
    }

    #[test]
    fn five_are_drawn_for_each_change_and_no_more() {
        let (mut sampled, mut hits) = eighty();
        let mut known = Vec::new();
        for round in 1..=3 {
            let victim = sampled.victim(None, &mut hits);
            assert_eq!(sampled.victim(None, &mut hits), victim);
            assert!(sampled.pool.candidates.len() <= SAMPLES * round);
            assert!(sampled.pool.candidates.len() >= 4 * round, "few are drawn twice");
            sampled.assert_valid();
            known.push(victim);
            let other =
                sampled.residents.residents().find(|&slot| !sampled.pool.holds(slot)).unwrap();
            sampled.remove(other, Cause::Deleted);
        }
        let Some(Victim::Entry(last)) = known.last().copied() else { panic!("none") };
        assert!(last.index() > 60, "the most idle of fifteen of eighty: {last:?}");
    }

    #[test]
    fn a_candidate_that_moves_stays_a_candidate() {
        let (mut sampled, mut hits) = eighty();
        let Victim::Entry(worst) = sampled.victim(None, &mut hits) else { panic!("none") };
        let there = Slot::new(100);
        sampled.relocate(worst, there, &CALM);
        assert_eq!(sampled.victim(None, &mut hits), Victim::Entry(there));
        sampled.assert_valid();
    }

    #[test]
    fn damage_is_seen() {
        let says = |damage: fn(&mut Sampled<Plain>), what: &str| {
            let (mut sampled, mut hits) = eighty();
            sampled.victim(None, &mut hits);
            sampled.assert_valid();
            damage(&mut sampled);
            let told = catch_unwind(AssertUnwindSafe(|| sampled.assert_valid())).unwrap_err();
            let told = told.downcast_ref::<&str>().copied().unwrap();
            assert!(told.contains(what), "{told}");
        };
        says(|it| it.pool.candidates = vec![it.pool.candidates[0]; 17], "1: the pool has its size");
        says(|it| it.pool.candidates[0].slot = Slot::new(99), "1: candidates are residents");
        says(|it| it.pool.candidates[0] = it.pool.candidates[1], "1: nobody stands twice");
        says(|it| it.pool.candidates[0].idle = u64::MAX, "2: the pool is in order");
        says(|it| it.pool.candidates.clear(), "3: who has drawn has a candidate");
    }
}
