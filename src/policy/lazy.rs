//! W-TinyLFU whose hits only count: the rules by which entries move.
//!
//! **Problem.** W-TinyLFU moves an entry at every hit. Readers should not take a lock, so they cannot.
//!
//! **Idea.** A hit raises the entry's counter, up to three, and nothing else. When an entry comes to the back of its region, its
//! counter tells whether it was used since it was looked at last. Then it is *warm*: its uses are told to the sketch, and it
//! goes to the front of where a used one belongs.
//!
//! ```text
//!    newcomer ─► window ── not warm ──► candidate ─┐
//!               (warm: to the front)               ├── duel: the sketch says who stays
//!    probation ── not warm ──► victim ─────────────┘
//!       └ warm: to protected; what that pushes out, if warm, to its front, else back to probation
//! ```
//!
//! The duel: the candidate stays if it was used more often than the victim. What wins goes to the front of probation, and what
//! loses leaves.
//!
//! **A [`Manner`]** is a way to run this: how much of the weight is window, and whether victims *yield*. A victim that does not
//! yield stays at the back and meets every candidate until one is more popular: right for loops, where all are equally popular
//! and any change is a loss. One that yields goes to the front after a duel, so that others are tried too, and each duel that it has
//! survived since it was last used counts as one use less: right where what was popular goes out of use.
//!
//! **Invariants**, beside those of [`Regions`]
//!
//! 1. What was decided is an entry, until it is removed or used by a write.
//! 2. A call moves at most [`WORK`] entries, and one more where it decides.

use super::regions::{Region, Regions, code_of};
use super::sketch::Sketch;
use super::{Heat, HitCounters, Slot, Walk};
use crate::hash::mix;

/// Moves a call, so that a put never pays for many. The bound matters after the window was made smaller, and where nearly every
/// entry is warm; what it leaves over, the next calls do.
pub(crate) const WORK: usize = 24;

/// Of main's weight, in percent, that protected entries may have. The paper's; all other values were worse (Caffeine's
/// ledger of experiments).
const PROTECTED: u64 = 80;

/// How often a candidate must have been used, at least, and one in how many of these is let in though its victim is as popular:
/// keys crafted to be as popular as all victims would else keep everything else out for ever. Caffeine's.
const JITTER: (u8, u64) = (6, 128);

/// Notes: an entry that was found warm and not yet moved; one that came before there was a sketch to count it; and how many
/// duels it has survived unused, up to seven.
const WARM: u8 = 0b1_0000;
const UNCOUNTED: u8 = 0b1000;
const SURVIVED: u8 = 0b0111;

/// A note that is the owner's, which no move touches.
const MARKED: u8 = 0b10_0000;

/// The regions in the order in which they give.
const COLDEST: [Region; 3] = [Region::Probation, Region::Window, Region::Protected];

/// A way to run the cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Manner {
    /// The window's part of the weight, in percent.
    pub(crate) window: u64,
    /// Whether a victim that survived steps aside, a use poorer.
    pub(crate) yields: bool,
}

/// What asks and feeds a sketch. A model only asks: its keys are counted by the cache that it is a model of.
pub(crate) struct Popularity<'a> {
    pub(crate) sketch: &'a mut Sketch,
    pub(crate) feeds: bool,
}

/// The entries, and the rules.
pub(crate) struct Lazy {
    pub(crate) regions: Regions,
    pub(crate) manner: Manner,
    /// The weight that is this segment's.
    pub(crate) share: u64,
    /// Who leaves next, if that is decided.
    decided: Option<Slot>,
    /// Steps at each duel that chance may decide; none if chance decides nothing.
    draws: Option<u64>,
}

impl Lazy {
    pub(crate) const fn new(manner: Manner, seed: Option<u64>) -> Self {
        Self { regions: Regions::new(), manner, share: 0, decided: None, draws: seed }
    }

    /// The window's weight where `whole` is all of it; at least 1.
    fn window_of(&self, whole: u64) -> u64 {
        percent(whole, self.manner.window).max(1)
    }

    /// A newcomer. While there is room in main, what the window has too much goes there unasked.
    pub(crate) fn insert(&mut self, slot: Slot, weight: u64) {
        self.regions.insert(slot, weight);
        let window = self.window_of(self.share);
        for _ in 0..2 {
            let oldest =
                self.regions.back(Region::Window).filter(|_| self.weight(Region::Window) > window);
            let Some(oldest) = oldest.filter(|&slot| self.fits_main(slot, self.share)) else {
                break;
            };
            self.regions.move_to(oldest, Region::Probation);
        }
    }

    /// Whether main has room for an entry of the window, if all may weigh `whole`.
    fn fits_main(&self, slot: Slot, whole: u64) -> bool {
        let main = self.regions.main_weight() + self.regions.weight_of(slot);
        main <= whole - self.window_of(whole).min(whole)
    }

    #[cfg(test)]
    pub(crate) fn seed(&self) -> Option<u64> {
        self.draws
    }

    /// Whether who leaves next is decided already.
    pub(crate) fn is_decided(&self) -> bool {
        self.decided.is_some()
    }

    fn weight(&self, region: Region) -> u64 {
        self.regions.weight(region)
    }

    /// The entry is not in the sketch yet: it is to be counted when it is looked at.
    pub(crate) fn count_later(&mut self, slot: Slot) {
        self.note(slot, UNCOUNTED);
    }

    /// Marks an entry for whoever owns this. It stays so for as long as it is here.
    pub(crate) fn mark(&mut self, slot: Slot) {
        self.note(slot, MARKED);
    }

    pub(crate) fn is_marked(&self, slot: Slot) -> bool {
        self.regions.note(slot) & MARKED != 0
    }

    fn note(&mut self, slot: Slot, more: u8) {
        self.regions.set_note(slot, self.regions.note(slot) | more);
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        self.forget_decision(slot);
        self.regions.remove(slot);
    }

    /// The entry was used by a write: as good as a hit.
    pub(crate) fn update(&mut self, slot: Slot, weight: u64) {
        self.forget_decision(slot);
        self.regions.reweigh(slot, weight);
        let rest = self.regions.note(slot) & (UNCOUNTED | MARKED);
        self.regions.set_note(slot, rest | WARM);
    }

    /// The entry was used, and moves at once: for who hears of each hit.
    pub(crate) fn used(&mut self, slot: Slot) {
        self.forget_decision(slot);
        match self.regions.region(slot) {
            Region::Window => self.regions.move_to(slot, Region::Window),
            Region::Probation | Region::Protected => self.protect(slot),
        }
    }

    /// Makes an entry the last of the protected ones.
    pub(crate) fn protect(&mut self, slot: Slot) {
        self.forget_decision(slot);
        self.regions.move_to(slot, Region::Protected);
        for _ in 0..WORK {
            let Some(oldest) = self.too_protected() else { break };
            self.regions.move_to(oldest, Region::Probation);
        }
    }

    /// What a snapshot keeps of an entry that is this popular.
    pub(crate) fn heat(&self, slot: Slot, uses: u8) -> Heat {
        Heat::new(uses.into(), self.regions.region(slot) == Region::Protected)
    }

    /// The protected entry that is to go back on probation, if they are too many for what main is or will be.
    fn too_protected(&self) -> Option<Slot> {
        let whole = self.share.max(self.regions.total_weight());
        let main = whole - self.window_of(whole).min(whole);
        let over = self.weight(Region::Protected) > percent(main, PROTECTED);
        self.regions.back(Region::Protected).filter(|_| over)
    }

    pub(crate) fn relocate(&mut self, from: Slot, to: Slot, weight: u64) {
        self.regions.replace(from, to, weight);
        self.decided = self.decided.map(|slot| if slot == from { to } else { slot });
    }

    fn forget_decision(&mut self, slot: Slot) {
        self.decided = self.decided.filter(|&decided| decided != slot);
    }

    /// Reads and empties an entry's counter ahead of time: it stays warm. True if it was hit since.
    pub(crate) fn poll(
        &mut self,
        slot: Slot,
        hits: &mut HitCounters<'_>,
        popularity: &mut Popularity<'_>,
    ) -> bool {
        let hit = self.take_hits(slot, hits, popularity);
        if hit {
            let rest = self.regions.note(slot) & MARKED;
            self.regions.set_note(slot, rest | WARM);
        }
        hit
    }

    /// Tells the sketch of the hits on an entry, if there were any.
    fn take_hits(
        &mut self,
        slot: Slot,
        hits: &mut HitCounters<'_>,
        popularity: &mut Popularity<'_>,
    ) -> bool {
        let count = hits.get(slot);
        if count > 0 {
            hits.set(slot, 0);
        }
        let uses = count + u8::from(self.regions.note(slot) & UNCOUNTED != 0);
        if uses > 0 && popularity.feeds {
            popularity.sketch.add(code_of(hits.hash(slot)), uses);
        }
        count > 0
    }

    /// Whether an entry was used since it was looked at last; from now on it was not.
    fn cool(
        &mut self,
        slot: Slot,
        hits: &mut HitCounters<'_>,
        popularity: &mut Popularity<'_>,
    ) -> bool {
        let hit = self.take_hits(slot, hits, popularity);
        let note = self.regions.note(slot);
        let warm = hit || note & WARM != 0;
        let cooled = note & if warm { MARKED } else { MARKED | SURVIVED };
        if note != cooled {
            self.regions.set_note(slot, cooled);
        }
        warm
    }

    /// Who leaves, so that something of weight `coming` fits.
    pub(crate) fn victim(
        &mut self,
        coming: u64,
        hits: &mut HitCounters<'_>,
        popularity: &mut Popularity<'_>,
    ) -> Option<Slot> {
        if self.decided.is_none() {
            let mut work = WORK;
            let candidate = self.candidate(coming, hits, popularity, &mut work);
            let victim = self.of_main(hits, popularity, &mut work);
            self.decided = match (candidate, victim) {
                (Some(candidate), Some(victim)) => {
                    Some(self.duel(candidate, victim, hits, popularity.sketch))
                }
                (candidate, victim) => {
                    victim.or(candidate).or_else(|| self.regions.back(Region::Window))
                }
            };
        }
        self.decided
    }

    /// What must leave the window, and has no room in main. The cache is full: what it weighs is what it may weigh, whatever
    /// this segment's share of it was meant to be.
    fn candidate(
        &mut self,
        coming: u64,
        hits: &mut HitCounters<'_>,
        popularity: &mut Popularity<'_>,
        work: &mut usize,
    ) -> Option<Slot> {
        let whole = self.regions.total_weight();
        let window = self.window_of(whole);
        loop {
            let over = self.weight(Region::Window).saturating_add(coming) > window;
            let oldest = self.regions.back(Region::Window).filter(|_| over)?;
            if *work == 0 {
                return Some(oldest);
            }
            if self.cool(oldest, hits, popularity) {
                self.regions.move_to(oldest, Region::Window);
            } else if self.fits_main(oldest, whole) {
                self.regions.move_to(oldest, Region::Probation);
            } else {
                return Some(oldest);
            }
            *work -= 1;
        }
    }

    /// The first entry at the back of probation that was not used; the last of the protected ones if there is none.
    fn of_main(
        &mut self,
        hits: &mut HitCounters<'_>,
        popularity: &mut Popularity<'_>,
        work: &mut usize,
    ) -> Option<Slot> {
        while let Some(oldest) = self.regions.back(Region::Probation) {
            if *work == 0 || !self.cool(oldest, hits, popularity) {
                return Some(oldest);
            }
            *work -= 1;
            self.regions.move_to(oldest, Region::Protected);
            self.demote(hits, popularity, work);
        }
        self.regions.back(Region::Protected)
    }

    /// Protected entries that are too many go back on probation, unless they were used meanwhile.
    fn demote(
        &mut self,
        hits: &mut HitCounters<'_>,
        popularity: &mut Popularity<'_>,
        work: &mut usize,
    ) {
        while *work > 0 {
            let Some(oldest) = self.too_protected() else { return };
            *work -= 1;
            let warm = self.cool(oldest, hits, popularity);
            let to = if warm { Region::Protected } else { Region::Probation };
            self.regions.move_to(oldest, to);
        }
    }

    /// Who of the two leaves. The other goes on in probation.
    fn duel(
        &mut self,
        candidate: Slot,
        victim: Slot,
        hits: &HitCounters<'_>,
        sketch: &Sketch,
    ) -> Slot {
        let of = |slot| sketch.estimate(code_of(hits.hash(slot)));
        let survived = self.regions.note(victim) & SURVIVED;
        let (stronger, weaker) = (of(candidate), of(victim).saturating_sub(survived));
        if stronger > weaker || stronger >= JITTER.0 && self.draw() {
            self.regions.move_to(candidate, Region::Probation);
            return victim;
        }
        if self.manner.yields {
            let rest = self.regions.note(victim) & !SURVIVED;
            self.regions.set_note(victim, rest | (survived + 1).min(SURVIVED));
            self.regions.move_to(victim, self.regions.region(victim));
        }
        candidate
    }

    /// True once in a while, nobody knows when.
    fn draw(&mut self) -> bool {
        let Some(draws) = &mut self.draws else { return false };
        *draws = draws.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(mix(*draws)) % JITTER.1 == 0
    }

    /// From who leaves next to who stays longest, as far as is known.
    pub(crate) fn coldest(&self) -> impl Iterator<Item = Slot> {
        let regions = COLDEST.into_iter().flat_map(|region| self.regions.iter(region).rev());
        self.decided.into_iter().chain(regions.filter(|&slot| Some(slot) != self.decided))
    }

    /// The same from the entry behind `after` on.
    pub(crate) fn coldest_after(&self, after: Option<Slot>) -> Walk<'_> {
        let Some(slot) = after else { return Box::new(self.coldest()) };
        if Some(slot) == self.decided {
            return Box::new(self.coldest().skip(1));
        }
        let here = self.regions.region(slot);
        let later = COLDEST.into_iter().skip_while(move |&region| region != here).skip(1);
        let later = later.flat_map(|region| self.regions.iter(region).rev());
        let all = self.regions.towards_front(slot).chain(later);
        Box::new(all.filter(|&slot| Some(slot) != self.decided))
    }

    /// The same in reverse.
    pub(crate) fn hottest(&self) -> impl Iterator<Item = Slot> {
        let regions = COLDEST.into_iter().rev().flat_map(|region| self.regions.iter(region));
        regions.filter(|&slot| Some(slot) != self.decided).chain(self.decided)
    }

    pub(crate) fn assert_valid(&self) {
        self.regions.assert_valid();
        let all = || Region::ALL.into_iter().flat_map(|region| self.regions.iter(region));
        let entry = |slot| all().any(|resident| resident == slot);
        assert!(self.decided.is_none_or(entry), "1: what was decided is an entry");
    }
}

/// `whole * part / 100`, and no product that is too large.
const fn percent(whole: u64, part: u64) -> u64 {
    whole / 100 * part + whole % 100 * part / 100
}

#[cfg(test)]
mod tests {
    use super::super::lockstep::{operations, random};
    use super::*;
    use crate::policy::Counts;
    use crate::sync::{AtomicU64, Ordering};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const CALM: Manner = Manner { window: 10, yields: false };

    #[derive(Clone, Copy)]
    struct Row {
        slot: Slot,
        code: u32,
        weight: u64,
        warm: bool,
        survived: u8,
    }

    /// The rules again, over plain arrays whose fronts come first, and with no bits.
    struct Slow {
        window: Vec<Row>,
        probation: Vec<Row>,
        protected: Vec<Row>,
        manner: Manner,
        share: u64,
        decided: Option<Slot>,
    }

    fn weigh(rows: &[Row]) -> u64 {
        rows.iter().map(|row| row.weight).sum()
    }

    impl Slow {
        fn rows(&mut self) -> impl Iterator<Item = &mut Row> {
            self.window.iter_mut().chain(&mut self.probation).chain(&mut self.protected)
        }

        fn total(&self) -> u64 {
            weigh(&self.window) + self.main()
        }

        fn main(&self) -> u64 {
            weigh(&self.probation) + weigh(&self.protected)
        }

        fn room(&self, whole: u64) -> u64 {
            (whole * self.manner.window / 100).max(1)
        }

        fn fits_main(&self, row: Row, whole: u64) -> bool {
            self.main() + row.weight + self.room(whole) <= whole
        }

        fn take(&mut self, slot: Slot) -> Row {
            for rows in [&mut self.window, &mut self.probation, &mut self.protected] {
                if let Some(at) = rows.iter().position(|row| row.slot == slot) {
                    return rows.remove(at);
                }
            }
            panic!("{slot:?} is no entry");
        }

        fn insert(&mut self, row: Row) {
            self.window.insert(0, row);
            for _ in 0..2 {
                let Some(&oldest) = self.window.last() else { break };
                let over = weigh(&self.window) > self.room(self.share);
                if over && self.fits_main(oldest, self.share) {
                    self.window.pop();
                    self.probation.insert(0, oldest);
                }
            }
        }

        fn too_protected(&self) -> bool {
            let whole = self.share.max(self.total());
            let main = whole.saturating_sub(self.room(whole));
            weigh(&self.protected) > main * 80 / 100
        }

        fn used(&mut self, slot: Slot) {
            self.decided = self.decided.filter(|&decided| decided != slot);
            let newcomer = self.window.iter().any(|row| row.slot == slot);
            let row = self.take(slot);
            if newcomer {
                self.window.insert(0, row);
                return;
            }
            self.protected.insert(0, row);
            for _ in 0..WORK {
                if self.too_protected() {
                    let oldest = self.protected.pop().unwrap();
                    self.probation.insert(0, oldest);
                }
            }
        }

        /// The row, cooled, and whether it was warm.
        fn cooled(mut row: Row, hits: &mut HitCounters<'_>, sketch: &mut Sketch) -> (Row, bool) {
            let count = hits.get(row.slot);
            if count > 0 {
                hits.set(row.slot, 0);
                sketch.add(row.code, count);
            }
            let warm = row.warm || count > 0;
            row.warm = false;
            if warm {
                row.survived = 0;
            }
            (row, warm)
        }

        fn victim(
            &mut self,
            coming: u64,
            hits: &mut HitCounters<'_>,
            sketch: &mut Sketch,
        ) -> Option<Slot> {
            if self.decided.is_some() {
                return self.decided;
            }
            let mut work = WORK;
            let whole = self.total();
            let mut candidate = None;
            while weigh(&self.window) + coming > self.room(whole) && candidate.is_none() {
                let Some(oldest) = self.window.pop() else { break };
                if work == 0 {
                    self.window.push(oldest);
                    candidate = Some(oldest);
                    break;
                }
                let (oldest, warm) = Self::cooled(oldest, hits, sketch);
                if warm {
                    self.window.insert(0, oldest);
                } else if self.main() + oldest.weight + self.room(whole) <= whole {
                    self.probation.insert(0, oldest);
                } else {
                    self.window.push(oldest);
                    candidate = Some(oldest);
                    break;
                }
                work -= 1;
            }
            let victim = self.of_main(&mut work, hits, sketch);
            self.decided = match (candidate, victim) {
                (None, None) => self.window.last().map(|row| row.slot),
                (Some(one), None) | (None, Some(one)) => Some(one.slot),
                (Some(candidate), Some(victim)) => {
                    let weaker = sketch.estimate(victim.code).saturating_sub(victim.survived);
                    if sketch.estimate(candidate.code) > weaker {
                        let row = self.take(candidate.slot);
                        self.probation.insert(0, row);
                        Some(victim.slot)
                    } else {
                        if self.manner.yields {
                            let on_probation = !self.probation.is_empty();
                            let mut row = self.take(victim.slot);
                            row.survived = (row.survived + 1).min(7);
                            let rows = if on_probation {
                                &mut self.probation
                            } else {
                                &mut self.protected
                            };
                            rows.insert(0, row);
                        }
                        Some(candidate.slot)
                    }
                }
            };
            self.decided
        }

        fn of_main(
            &mut self,
            work: &mut usize,
            hits: &mut HitCounters<'_>,
            sketch: &mut Sketch,
        ) -> Option<Row> {
            while let Some(oldest) = self.probation.pop() {
                if *work == 0 {
                    self.probation.push(oldest);
                    return Some(oldest);
                }
                let (oldest, warm) = Self::cooled(oldest, hits, sketch);
                if !warm {
                    self.probation.push(oldest);
                    return Some(oldest);
                }
                *work -= 1;
                self.protected.insert(0, oldest);
                while *work > 0 && self.too_protected() {
                    *work -= 1;
                    let (oldest, warm) = Self::cooled(self.protected.pop().unwrap(), hits, sketch);
                    let to = if warm { &mut self.protected } else { &mut self.probation };
                    to.insert(0, oldest);
                }
            }
            self.protected.last().copied()
        }

        fn order(&self) -> Vec<Slot> {
            let rows = self.probation.iter().rev().chain(self.window.iter().rev());
            let rest = rows.chain(self.protected.iter().rev()).map(|row| row.slot);
            let rest = rest.filter(|&slot| Some(slot) != self.decided);
            self.decided.into_iter().chain(rest).collect()
        }
    }

    /// Both caches, and what the engine would keep of the entries.
    struct Pair {
        fast: Lazy,
        slow: Slow,
        hits: [HitCounters<'static>; 2],
        sketches: [Sketch; 2],
        entries: Vec<(Slot, u64)>,
        free: Vec<Slot>,
    }

    impl Pair {
        fn vacant(&mut self) -> Slot {
            self.free.pop().unwrap_or_else(|| Slot::new(self.entries.len()))
        }

        fn evict(&mut self, coming: u64) {
            let [a, b] = &mut self.hits;
            let [of_fast, of_slow] = &mut self.sketches;
            let mut popularity = Popularity { sketch: of_fast, feeds: true };
            let victim = self.fast.victim(coming, a, &mut popularity);
            assert_eq!(victim, self.fast.victim(coming, a, &mut popularity), "asked again");
            assert_eq!(victim, self.slow.victim(coming, b, of_slow));
            assert!(self.fast.coldest().eq(self.slow.order()));
            if let Some(victim) = victim {
                self.remove(victim);
            }
        }

        fn remove(&mut self, slot: Slot) {
            self.fast.remove(slot);
            self.slow.take(slot);
            self.slow.decided = self.slow.decided.filter(|&decided| decided != slot);
            self.entries.retain(|&(entry, _)| entry != slot);
            self.free.push(slot);
        }

        fn insert(&mut self, hash: u64, weight: u64) {
            let slot = self.vacant();
            self.entries.push((slot, weight));
            self.hits.iter_mut().for_each(|hits| hits.publish(slot, hash));
            let code = code_of(hash);
            self.sketches.iter_mut().for_each(|sketch| sketch.add(code, 1));
            self.fast.insert(slot, weight);
            self.slow.insert(Row { slot, code, weight, warm: false, survived: 0 });
        }

        fn change(&mut self, at: usize, what: usize, weight: u64) {
            let slot = self.entries[at].0;
            match what {
                0 => self.remove(slot),
                1 => {
                    let to = self.vacant();
                    self.fast.relocate(slot, to, weight);
                    let mut rows = self.slow.rows();
                    let row = rows.find(|row| row.slot == slot).unwrap();
                    (row.slot, row.weight) = (to, weight);
                    drop(rows);
                    self.slow.decided =
                        self.slow.decided.map(|it| if it == slot { to } else { it });
                    self.hits.iter_mut().for_each(|hits| hits.relocate(slot, to));
                    self.entries[at] = (to, weight);
                    self.free.push(slot);
                }
                2 => {
                    self.fast.update(slot, weight);
                    let decided = self.slow.decided.filter(|&decided| decided != slot);
                    self.slow.decided = decided;
                    let row = self.slow.rows().find(|row| row.slot == slot).unwrap();
                    (row.weight, row.warm, row.survived) = (weight, true, 0);
                    self.entries[at].1 = weight;
                }
                3 => {
                    self.fast.used(slot);
                    self.slow.used(slot);
                }
                _ => {
                    let [a, b] = &mut self.hits;
                    let mut popularity = Popularity { sketch: &mut self.sketches[0], feeds: true };
                    let hit = self.fast.poll(slot, a, &mut popularity);
                    assert_eq!(hit, b.get(slot) > 0);
                    let (count, row) =
                        (b.get(slot), self.slow.rows().find(|row| row.slot == slot).unwrap());
                    if hit {
                        (row.warm, row.survived) = (true, 0);
                        self.sketches[1].add(row.code, count);
                        b.set(slot, 0);
                    }
                }
            }
        }
    }

    /// Requests for keys of which some are popular, among changes of everything that can change.
    fn lockstep(most: usize) {
        let mut random = random();
        let slow = Slow {
            window: vec![],
            probation: vec![],
            protected: vec![],
            manner: CALM,
            share: 100,
            decided: None,
        };
        let mut pair = Pair {
            fast: Lazy::new(CALM, None),
            slow,
            hits: [HitCounters::new(3), HitCounters::new(3)],
            sketches: [Sketch::new(100), Sketch::new(100)],
            entries: vec![],
            free: vec![],
        };
        pair.fast.share = 100;
        for now in 1..=operations() {
            let pick = random(pair.entries.len().max(1));
            match random(100) {
                0..40 => {
                    let hash = (0..2).map(|_| random(300) as u64).min().unwrap_or(0) << 17;
                    let weight = random(most) as u64 + 1;
                    while pair.fast.regions.total_weight() + weight > pair.slow.share {
                        pair.evict(weight);
                    }
                    pair.insert(hash, weight);
                }
                40..42 => pair.evict(1),
                42..52 if !pair.entries.is_empty() => {
                    pair.change(pick, random(5), random(most) as u64 + 1);
                }
                52..53 if random(20) == 0 => {
                    let manner =
                        Manner { window: [1, 10, 50, 100][random(4)], yields: random(2) == 0 };
                    (pair.fast.manner, pair.slow.manner) = (manner, manner);
                    let share = [20, 100, 150][random(3)];
                    (pair.fast.share, pair.slow.share) = (share, share);
                }
                _ if !pair.entries.is_empty() => {
                    let slot = pair.entries[pick].0;
                    pair.hits.iter_mut().for_each(|hits| hits.record(slot));
                }
                _ => {}
            }
            assert!(pair.fast.regions.total_weight() == pair.slow.total(), "operation {now}");
            if now % 500 == 0 {
                assert!(pair.fast.coldest().eq(pair.slow.order()), "operation {now}");
                let mut hottest: Vec<_> = pair.fast.hottest().collect();
                hottest.reverse();
                assert_eq!(hottest, pair.slow.order());
                pair.fast.assert_valid();
            }
        }
    }

    #[test]
    fn lockstep_with_plain_arrays() {
        lockstep(1);
    }

    #[test]
    fn lockstep_with_plain_arrays_and_weights() {
        lockstep(9);
    }

    #[test]
    fn a_call_moves_so_many_and_no_more() {
        /// Every entry is always warm: readers are faster than the walk.
        struct Relentless(AtomicU64);
        impl Counts for Relentless {
            fn get(&self, _: Slot) -> u8 {
                self.0.fetch_add(1, Ordering::Relaxed);
                1
            }
            fn set(&self, _: Slot, _: u8) {}
        }
        for window in [1, 50] {
            let mut lazy = Lazy::new(Manner { window, yields: true }, None);
            lazy.share = 1_000;
            (0..1_000).for_each(|index| lazy.insert(Slot::new(index), 1));
            let readers = Relentless(AtomicU64::new(0));
            let mut sketch = Sketch::new(1_000);
            let mut popularity = Popularity { sketch: &mut sketch, feeds: true };
            let mut hits = HitCounters::view(&readers, 3);
            assert!(lazy.victim(1, &mut hits, &mut popularity).is_some());
            assert_eq!(readers.0.into_inner(), WORK as u64);
            lazy.assert_valid();
        }
    }

    /// Popular as all the rest are: without chance, nothing else would ever come in.
    #[test]
    fn a_popular_candidate_is_sometimes_let_in_though_its_victim_is_as_popular() {
        let let_in = |seed, uses| {
            let mut lazy = Lazy::new(Manner { window: 1, yields: false }, seed);
            lazy.share = 100;
            let mut sketch = Sketch::new(100);
            for index in 0..100 {
                lazy.insert(Slot::new(index), 1);
            }
            sketch.add(code_of(0), uses);
            let mut hits = HitCounters::new(3);
            let mut of_main = 0;
            for _ in 0..10_000 {
                let newest = lazy.regions.back(Region::Window).unwrap();
                let mut popularity = Popularity { sketch: &mut sketch, feeds: true };
                let victim = lazy.victim(1, &mut hits, &mut popularity).unwrap();
                of_main += u32::from(victim != newest);
                lazy.remove(victim);
                lazy.insert(victim, 1);
            }
            of_main
        };
        assert_eq!(let_in(None, 15), 0);
        assert_eq!(let_in(Some(1), 5), 0, "who was used less often is not let in");
        let times = let_in(Some(1), 15);
        assert!((40..140).contains(&times), "{times} of 10,000 by 1/128");
        assert_ne!(let_in(Some(2), 15), times, "another seed, other draws");
    }

    #[test]
    fn what_came_before_the_sketch_is_counted_later() {
        let mut lazy = Lazy::new(CALM, None);
        lazy.share = 10;
        let (a, b) = (Slot::new(0), Slot::new(1));
        let (mut sketch, mut hits) = (Sketch::new(10), HitCounters::new(3));
        let codes = [(a, 5 << 17), (b, 6 << 17)].map(|(slot, hash)| {
            hits.publish(slot, hash);
            lazy.insert(slot, 1);
            code_of(hash)
        });
        lazy.count_later(a);
        let mut popularity = Popularity { sketch: &mut sketch, feeds: true };
        hits.record(a);
        assert_eq!(lazy.victim(1, &mut hits, &mut popularity), Some(b));
        assert_eq!(codes.map(|code| sketch.estimate(code)), [2, 0], "its coming and its hit");
    }

    #[test]
    fn a_mark_stays_through_every_move() {
        let mut lazy = Lazy::new(CALM, None);
        lazy.share = 10;
        let slots = [0, 1, 2].map(Slot::new);
        slots.iter().for_each(|&slot| lazy.insert(slot, 1));
        lazy.mark(slots[0]);
        let (mut sketch, mut hits) = (Sketch::new(10), HitCounters::new(3));
        let mut popularity = Popularity { sketch: &mut sketch, feeds: true };
        hits.record(slots[0]);
        assert!(lazy.poll(slots[0], &mut hits, &mut popularity));
        for _ in 0..3 {
            lazy.update(slots[0], 1);
            let victim = lazy.victim(1, &mut hits, &mut popularity);
            assert_ne!(victim, Some(slots[0]), "it was used");
            lazy.forget_decision(slots[1]);
            lazy.forget_decision(slots[2]);
            assert!(lazy.is_marked(slots[0]) && !lazy.is_marked(slots[1]));
        }
        lazy.relocate(slots[0], Slot::new(5), 1);
        assert!(lazy.is_marked(Slot::new(5)));
        lazy.remove(Slot::new(5));
        lazy.insert(Slot::new(5), 1);
        assert!(!lazy.is_marked(Slot::new(5)), "another entry");
    }

    #[test]
    fn a_part_of_any_weight_is_exact() {
        for (whole, part, of) in [(0, 75, 0), (99, 1, 0), (199, 75, 149), (u64::MAX, 100, u64::MAX)]
        {
            assert_eq!(percent(whole, part), of);
        }
    }

    #[test]
    fn damage_is_seen() {
        let mut lazy = Lazy::new(CALM, None);
        lazy.insert(Slot::new(0), 1);
        lazy.assert_valid();
        lazy.decided = Some(Slot::new(3));
        let checked = catch_unwind(AssertUnwindSafe(|| lazy.assert_valid()));
        let panic = checked.expect_err("the damage is seen");
        let text = panic.downcast_ref::<&str>().copied().unwrap_or_default();
        assert!(text.contains("1: what was decided is an entry"), "{text}");
    }
}
