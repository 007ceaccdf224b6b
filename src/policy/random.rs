//! Random replacement.
//!
//! **Problem.** Give up any entry, each with the same chance, in O(1), though entries come and go in any order.
//!
//! **Idea.** An even draw needs the residents in an array without gaps. To close the gap that a leaver makes, the last one
//! takes its place; the order is lost, and nobody misses it. A second array tells where each entry stands.
//!
//! ```text
//!    dense   0    1    2    3                  place   slot 1 at 2
//!            4    7    1    2                          slot 2 at 3
//!                 ▲                                    slot 4 at 0
//!                 └─ drawn                             slot 7 at 1
//!
//!    remove 7:   4    2    1                   slot 2 at 1: the last took its place
//! ```
//!
//! The draw is a function of the generator's state and the number of residents. The state steps whenever an entry comes or
//! leaves, and at no other time: so asking twice answers the same, and nothing needs to be remembered.
//!
//! **Good at** loops, where LRU and FIFO have no hit at all, and at costing nothing a hit. **Bad at** popular entries, which it
//! treats as all others.
//!
//! **Invariants**
//!
//! 1. `dense` holds every resident entry once, at the place that `place` names.
//! 2. The victim is drawn evenly over `dense`: no entry is favoured, not even by one part in 2^64.
//!
//! | operation | cost |
//! |---|---|
//! | `insert`, `remove`, `relocate` | O(1) |
//! | `victim` | O(1) expected: a draw is repeated with a chance below n / 2^64 |
//! | a hit, an update | nothing |
//! | memory | 8 bytes an entry |
//!
//! **Sources.** Belady: *A study of replacement algorithms for a virtual-storage computer*, IBM Systems Journal 5(2), 1966.
//! The generator is `SplitMix64`: Steele, Lea, Flood: *Fast splittable pseudorandom number generators*, OOPSLA 2014. The draw
//! without bias: Lemire: *Fast random integer generation in an interval*, ACM TOMACS 29(1), 2019.
//!
//! **Trace.** Worked by hand; the test replays it from this very text. It shows `dense`.
//!
//! ```text
//!    call        places 0, 1, 2 ...
//!    insert A  │ A
//!    insert B  │ A B
//!    insert C  │ A B C
//!    insert D  │ A B C D
//!    remove B  │ A D C        ◄ the last takes the place of the one that left
//!    hit A     │ A D C
//!    remove C  │ A D          ◄ it was the last itself
//!    insert B  │ A D B
//!    remove A  │ B D
//! ```

use super::{EvictionPolicy, Hears, HitCounters, Meta, Slot, Victim};
use crate::engine::column::Column;
use crate::observe::Cause;
use std::fmt;

/// A place in `Random::dense`, which is indexed as every column is.
type Place = Slot;

/// Gives up any entry, by an even draw.
///
/// Every call costs O(1), a hit nothing, and an entry 8 bytes. The draws are those of a seeded generator, so that the same calls
/// have the same outcome, run after run. They are no secret: who knows the calls and the seed can work them out.
///
/// ```
/// use cachette::{Cache, policy::Random};
///
/// let cache = Cache::<u32, u32>::builder().capacity(8).policy(Random::new).build()?;
/// for key in 0..100 {
///     cache.put(key, key);
/// }
/// assert_eq!(cache.len(), 8);
///
/// let other_draws = Cache::<u32, u32>::builder().capacity(8).policy(|| Random::seeded(7)).build()?;
/// # other_draws.put(1, 1);
/// # Ok::<(), cachette::BuildError>(())
/// ```
pub struct Random {
    /// The residents, without gaps, in no particular order.
    dense: Column<Slot>,
    /// Where each resident stands in `dense`.
    place: Column<Place>,
    generator: SplitMix64,
}

impl Random {
    /// A random policy with no entries and a fixed seed. Allocates nothing. O(1).
    #[must_use]
    pub const fn new() -> Self {
        Self::seeded(0)
    }

    /// A random policy with no entries, whose draws follow from `seed`. Any seed is as good as another. O(1).
    ///
    /// ```
    /// use cachette::{Cache, policy::Random};
    ///
    /// let survivors = |seed| {
    ///     let cache = Cache::<u32, u32>::builder().capacity(8).policy(move || Random::seeded(seed)).build()?;
    ///     (0..100).for_each(|key| cache.put(key, key));
    ///     Ok::<Vec<bool>, cachette::BuildError>((0..100).map(|key| cache.contains_key(&key)).collect())
    /// };
    /// assert_eq!(survivors(7)?, survivors(7)?);
    /// assert_ne!(survivors(7)?, survivors(8)?);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self { dense: Column::new(), place: Column::new(), generator: SplitMix64 { state: seed } }
    }

    /// The place drawn; 0 if there is none. The generator's own state stands still: only its copy draws.
    fn drawn(&self) -> usize {
        self.generator.clone().below(self.dense.len() as u64) as usize
    }

    /// Any resident, by an even draw. Another call draws anew.
    pub(super) fn draw(&mut self) -> Option<Slot> {
        let place = self.generator.below(self.dense.len() as u64) as usize;
        self.dense.get(place).copied()
    }

    /// The residents, in no particular order, which changes only when one comes or leaves.
    pub(super) fn residents(&self) -> impl DoubleEndedIterator<Item = Slot> {
        (0..self.dense.len()).filter_map(|place| self.dense.get(place).copied())
    }

    pub(super) fn holds(&self, slot: Slot) -> bool {
        let place = self.place.get(slot.index()).and_then(|place| place.some());
        place.is_some_and(|place| self.dense.get(place.index()) == Some(&slot))
    }

    /// The drawn one first, then those behind it, then round to the front.
    fn round_from_drawn(&self) -> impl DoubleEndedIterator<Item = Slot> {
        let drawn = self.drawn();
        (drawn..self.dense.len()).chain(0..drawn).filter_map(|place| self.dense.get(place).copied())
    }
}

impl EvictionPolicy for Random {
    fn hears(&self) -> Hears {
        Hears::Nothing
    }

    fn hears_misses(&self) -> bool {
        false
    }

    fn insert(&mut self, slot: Slot, _: &Meta) {
        self.place.reach(slot.index(), Place::NONE);
        self.place[slot] = Place::new(self.dense.len());
        self.dense.push(slot);
        self.generator.next();
    }

    fn relocate(&mut self, from: Slot, to: Slot, _: &Meta) {
        // Nobody comes or leaves: the generator stands still.
        let place = self.place[from];
        self.dense[place] = to;
        self.place.reach(to.index(), Place::NONE);
        self.place[to] = place;
    }

    fn remove(&mut self, slot: Slot, _: Cause) {
        let place = self.place[slot];
        if let Some(last) = self.dense.pop().filter(|&last| last != slot) {
            self.dense[place] = last;
            self.place[last] = place;
        }
        self.generator.next();
    }

    fn victim(&mut self, _: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
        self.dense.get(self.drawn()).map_or(Victim::None, |&slot| Victim::Entry(slot))
    }

    fn len(&self) -> usize {
        self.dense.len()
    }

    /// The drawn victim first, then the others in the order in which they happen to stand.
    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.round_from_drawn())
    }

    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.round_from_drawn().rev())
    }

    fn assert_valid(&self) {
        for place in (0..self.dense.len()).map(Place::new) {
            let slot = self.dense[place];
            assert_eq!(self.place[slot], place, "1: an entry stands at its place");
        }
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Random").field("len", &self.len()).finish()
    }
}

/// `SplitMix64`: a counter that goes up by the golden ratio, and a mixer that makes noise of it.
#[derive(Clone)]
struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An even draw from `0..n`; 0 if `n` is 0.
    ///
    /// `x * n / 2^64` sends 2^64 values of `x` to `n` results. Unless `n` divides 2^64, some results get one `x` more than
    /// others. Lemire's method draws again for just as many `x` as are too many: those whose product's lower half is below
    /// 2^64 mod `n`. That remainder is below `n`, so the division is rarely needed.
    fn below(&mut self, n: u64) -> u64 {
        let mut product = u128::from(self.next()) * u128::from(n);
        if (product as u64) < n {
            let too_many = n.wrapping_neg() % n;
            while (product as u64) < too_many {
                product = u128::from(self.next()) * u128::from(n);
            }
        }
        (product >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::CALM;
    use super::super::lockstep::{complaint, letters, replay};
    use super::*;

    #[test]
    fn the_trace_above() {
        replay(include_str!("random.rs"), Random::new(), |random| {
            letters((0..random.dense.len()).map(|place| random.dense[Place::new(place)]))
        });
    }

    #[test]
    fn the_generator_is_splitmix64() {
        let mut generator = SplitMix64 { state: 1_234_567 };
        let first = [0; 5].map(|_| generator.next());
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(first, published);
    }

    /// With n = 3/4 of 2^64, `x * n / 2^64` alone would send two values of `x` to each third result, and one to the others.
    #[test]
    fn a_draw_from_a_large_range_has_no_bias() {
        let mut generator = SplitMix64 { state: 1 };
        let n = 3 << 62;
        let thirds = (0..30_000).filter(|_| generator.below(n) % 3 == 0).count();
        assert!(
            (9_600..10_400).contains(&thirds),
            "{thirds} of 30,000, expected 10,000, biased 15,000"
        );
    }

    /// With n = 2^63 + 1 every second draw is repeated, and 2^64 mod n is n - 2.
    #[test]
    fn a_repeated_draw_is_a_product_again() {
        let n = (1 << 63) + 1;
        let mut generator = SplitMix64 { state: 5 };
        // Worked out by the definition, in integers without bounds. Draws: 2, 1, 1, 1, 6 and 3.
        let by_definition = [
            6_938_807_493_011_938_172,
            2_146_363_211_429_306_531,
            916_244_348_587_400_354,
            1_733_626_130_553_941_730,
            4_154_899_361_148_330_835,
            4_175_487_192_854_586_758,
        ];
        assert_eq!([0; 6].map(|_| generator.below(n)), by_definition);

        let mut twin = generator.clone();
        let (wide, words) = (u128::from(n), 1_u128 << 64);
        for _ in 0..1_000 {
            let products = std::iter::repeat_with(|| u128::from(twin.next()) * wide);
            let mut kept = products.skip_while(|product| product % words < words % wide);
            assert_eq!(Some(generator.below(n)), kept.next().map(|x| (x / words) as u64));
        }
        assert_eq!(generator.state, twin.state, "as many draws");
    }

    #[test]
    fn a_draw_from_a_small_range_stays_inside() {
        let mut generator = SplitMix64 { state: 2 };
        assert_eq!(generator.below(0), 0);
        assert_eq!(generator.below(1), 0);
        let drawn: Vec<_> = (0..1_000).map(|_| generator.below(7)).collect();
        assert!((0..7).all(|side| drawn.contains(&side)) && drawn.iter().all(|&side| side < 7));
    }

    /// Chi-square over 16 entries, 15 degrees of freedom: an even draw is below 4.6 or above 32.8 once in 200 times each.
    fn chi_square(mut step: impl FnMut(&mut Random, Slot)) -> f64 {
        const ENTRIES: usize = 16;
        const DRAWS: usize = 160_000;
        let mut random = Random::seeded(3);
        (0..ENTRIES).for_each(|index| random.insert(Slot::new(index), &CALM));
        let mut drawn = [0_u32; ENTRIES];
        for _ in 0..DRAWS {
            let Victim::Entry(victim) = random.victim(None, &mut HitCounters::new(0)) else {
                panic!("none drawn")
            };
            drawn[victim.index()] += 1;
            step(&mut random, victim);
        }
        let expected = (DRAWS / ENTRIES) as f64;
        drawn.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum()
    }

    #[test]
    fn every_entry_is_drawn_as_often_as_any_other() {
        let one_slot_comes_and_goes = chi_square(|random, _| {
            random.remove(Slot::new(0), Cause::Deleted);
            random.insert(Slot::new(0), &CALM);
        });
        let the_victim_comes_back = chi_square(|random, victim| {
            random.remove(victim, Cause::Evicted);
            random.insert(victim, &CALM);
        });
        for chi in [one_slot_comes_and_goes, the_victim_comes_back] {
            assert!((4.6..32.8).contains(&chi), "chi-square {chi}");
        }
    }

    #[test]
    fn another_seed_draws_otherwise_and_the_same_seed_the_same() {
        let draws = |seed| {
            let mut random = Random::seeded(seed);
            let mut draw = |index| {
                random.insert(Slot::new(index), &CALM);
                random.victim(None, &mut HitCounters::new(0))
            };
            (0..100).map(&mut draw).collect::<Vec<_>>()
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }

    #[test]
    fn whoever_comes_or_leaves_there_is_a_new_draw_and_otherwise_not() {
        let mut random = Random::new();
        let slot = Slot::new(0);
        let empty = random.generator.state;
        random.insert(slot, &CALM);
        let resident = random.generator.state;
        random.update(slot, &CALM);
        random.hit(slot);
        assert_eq!(random.victim(None, &mut HitCounters::new(0)), Victim::Entry(slot));
        assert_eq!(random.generator.state, resident);
        random.remove(slot, Cause::Deleted);
        assert!(empty != resident && resident != random.generator.state);
    }

    #[test]
    fn damage_is_seen() {
        let misplaced =
            complaint(Random::new(), |random| random.place[Slot::new(1)] = Place::new(2));
        assert!(misplaced.contains("1: an entry stands at its place"), "{misplaced}");
    }

    #[test]
    fn debug_is_short() {
        assert_eq!(format!("{:?}", Random::default()), "Random { len: 0 }");
    }
}
