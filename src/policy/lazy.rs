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

use super::regions::{Region, Regions};
use super::sketch::Sketch;
use super::{HitCounters, Slot};
use crate::hash::mix;

/// Moves a call, so that a put never pays for many. In traces the mean is below two; the bound matters after the window was made
/// smaller, and where nearly every entry is warm.
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
        ((u128::from(whole) * u128::from(self.manner.window) / 100) as u64).max(1)
    }

    /// A newcomer. While there is room in main, what the window has too much goes there unasked.
    pub(crate) fn insert(&mut self, slot: Slot, code: u32, weight: u64) {
        self.regions.insert(slot, code, weight);
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

    /// Whether who leaves next is decided already.
    pub(crate) fn is_decided(&self) -> bool {
        self.decided.is_some()
    }

    fn weight(&self, region: Region) -> u64 {
        self.regions.weight(region)
    }

    /// The entry is not in the sketch yet: it is to be counted when it is looked at.
    pub(crate) fn count_later(&mut self, slot: Slot) {
        self.regions.set_note(slot, UNCOUNTED);
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        self.forget_decision(slot);
        self.regions.remove(slot);
    }

    /// The entry was used by a write: as good as a hit.
    pub(crate) fn update(&mut self, slot: Slot, weight: u64) {
        self.forget_decision(slot);
        self.regions.reweigh(slot, weight);
        self.regions.set_note(slot, self.regions.note(slot) & UNCOUNTED | WARM);
    }

    /// The entry was used, and moves at once: for who hears of each hit.
    pub(crate) fn used(&mut self, slot: Slot) {
        self.forget_decision(slot);
        match self.regions.region(slot) {
            Region::Window => self.regions.move_to(slot, Region::Window),
            Region::Probation | Region::Protected => {
                self.regions.move_to(slot, Region::Protected);
                for _ in 0..WORK {
                    let Some(oldest) = self.too_protected() else { break };
                    self.regions.move_to(oldest, Region::Probation);
                }
            }
        }
    }

    /// The protected entry that is to go back on probation, if they are too many.
    fn too_protected(&self) -> Option<Slot> {
        let most = u128::from(self.regions.main_weight()) * u128::from(PROTECTED) / 100;
        self.regions
            .back(Region::Protected)
            .filter(|_| u128::from(self.weight(Region::Protected)) > most)
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
            self.regions.set_note(slot, WARM);
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
            popularity.sketch.add(self.regions.code(slot), uses);
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
        let survived = if warm { 0 } else { note & SURVIVED };
        if note != survived {
            self.regions.set_note(slot, survived);
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
                    Some(self.duel(candidate, victim, popularity.sketch))
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
    fn duel(&mut self, candidate: Slot, victim: Slot, sketch: &Sketch) -> Slot {
        let of = |slot| sketch.estimate(self.regions.code(slot));
        let survived = self.regions.note(victim) & SURVIVED;
        let (stronger, weaker) = (of(candidate), of(victim).saturating_sub(survived));
        if stronger > weaker || stronger >= JITTER.0 && self.draw() {
            self.regions.move_to(candidate, Region::Probation);
            return victim;
        }
        if self.manner.yields {
            self.regions.set_note(victim, (survived + 1).min(SURVIVED));
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
        let order = [Region::Probation, Region::Window, Region::Protected];
        let regions = order.into_iter().flat_map(|region| self.regions.iter(region).rev());
        self.decided.into_iter().chain(regions.filter(|&slot| Some(slot) != self.decided))
    }

    /// The same in reverse.
    pub(crate) fn hottest(&self) -> impl Iterator<Item = Slot> {
        let order = [Region::Protected, Region::Window, Region::Probation];
        let regions = order.into_iter().flat_map(|region| self.regions.iter(region));
        regions.filter(|&slot| Some(slot) != self.decided).chain(self.decided)
    }

    pub(crate) fn assert_valid(&self) {
        self.regions.assert_valid();
        let all = || Region::ALL.into_iter().flat_map(|region| self.regions.iter(region));
        let entry = |slot| all().any(|resident| resident == slot);
        assert!(self.decided.is_none_or(entry), "1: what was decided is an entry");
    }
}
