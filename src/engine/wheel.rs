//! The timing wheel: which entries have passed their deadlines, for O(1) an entry.
//!
//! **Problem.** Entries expire in another order than they were written in, and most leave before their deadlines. A heap
//! charges O(log n) for every write; a sweep looks at entries that have years to live. And when a million deadlines pass at
//! once, no single call may pay for all of them.
//!
//! ```text
//!   tick = 2^20 ns = 1.05 ms                    elapsed: all before this tick is done
//!                                                  │
//!   level   a bucket   the level                   ▼
//!     0      1.05 ms     67.1 ms    [ ][ ][ ][ ][ ][ ][a][ ] .. [ ]      64 buckets of 1 tick
//!     1      67.1 ms     4.29 s     [ ][b][ ][ ] .. [ ]                  64 buckets of 64 ticks
//!     2      4.29 s      4.58 min   [ ][c ⇄ d][ ] .. [ ]                 64 buckets of 64^2 ticks, and so on
//!     3      4.58 min    4.89 h                                          a bucket is a list through the slots;
//!     4      4.89 h      13.0 days                                       a level has one bit a bucket: is it occupied?
//!     5      13.0 days   2.28 years
//!     6      2.28 years  146 years
//!     7      146 years   584 years   5 buckets used: the end of `u64` nanoseconds
//! ```
//!
//! Write a tick in base 64: one digit a level. An entry lives at the highest digit in which its tick differs from `elapsed`,
//! in the bucket that this digit names. The next bucket is found by a look at eight bitmaps, however far away it is. When
//! time reaches a bucket, those of its entries that are not due are moved to lower levels, one by one, each paid from the
//! caller's budget; the bucket stays *open* until it is empty, which may take many calls.
//!
//! **Invariants**
//!
//! 1. A scheduled slot is on the list of the one bucket that its place names, and `len` counts those slots.
//! 2. A bucket's bit is set exactly if its list is not empty.
//! 3. An entry's tick is one of the ticks that its bucket spans, given the higher digits of `elapsed`.
//! 4. A bucket that is not empty starts after `elapsed`, except that of `elapsed` itself on level 0, and at most one on the
//!    other levels: the open one, which `elapsed` is within.
//! 5. `elapsed` is never after `now`, and neither ever goes back.
//!
//! A deadline belongs to the first tick that is not before it, so an entry is never returned early, and at most one tick
//! (1.05 ms) late. The wheel is only for freeing memory in time: a reader checks the deadline itself.
//!
//! | operation | cost |
//! |---|---|
//! | `schedule`, `cancel`, `reschedule` | O(1) |
//! | `advance` | O(1 + budget spent), whatever the jump in time; an entry costs 1 for its return and at most 7 for moves |
//! | memory | 16 bytes a slot; 8 KiB for the buckets, from the first `schedule` on |
//!
//! **By hand.** In ticks, from 0, with `a` due at 5, `b` at 70 = 1·64 + 6, `c` at 4,200 = 1·64² + 1·64 + 40:
//!
//! | call | what happens | spent |
//! |---|---|---|
//! | schedule a, b, c | a to bucket 5 of level 0, b to bucket 1 of level 1, c to bucket 1 of level 2 | |
//! | advance to 4 | nothing: the next bucket starts at 5 | 0 |
//! | advance to 5 | a is returned | 1 |
//! | advance to 64 | b's bucket starts: b moves to bucket 6 of level 0 | 1 |
//! | advance to 70 | b is returned | 1 |
//! | advance to 4,100 | c's bucket has started at 4,096: c moves to bucket 1 of level 1, which starts at 4,160 | 1 |
//! | advance to ten years on | c is returned, with no stop in between | 1 |
//!
//! **Paper.** George Varghese and Tony Lauck, "Hashed and Hierarchical Timing Wheels: Data Structures for the Efficient
//! Implementation of a Timer Facility", SOSP 1987, scheme 7. To find the level by the highest digit that differs, and to
//! keep a bitmap a level, are ideas of tokio's wheel; the budget and the open bucket are this cache's.

use crate::engine::column::Column;
use crate::engine::slab::Slot;
use crate::policy::list::{Links, List};

/// A tick in nanoseconds: 1.05 ms. A power of two, so that the last instant of `u64` is near a whole tick too.
pub(crate) const TICK: u64 = 1 << 20;
/// Bits of a tick that one level looks at.
const DIGIT: u32 = 6;
/// Buckets a level: one bit each in a `u64`.
const BUCKETS: usize = 1 << DIGIT;
/// Enough levels for every tick up to 2^44, the tick of `u64::MAX` nanoseconds: nothing is clamped.
const LEVELS: usize = 8;

/// The tick in which an entry with this deadline is due: the first that is not before the deadline.
const fn tick_of(deadline: u64) -> u64 {
    deadline.div_ceil(TICK)
}

/// The tick that time has reached at `now`. The last tick has no room for its start, so the last instant counts as it.
const fn reached(now: u64) -> u64 {
    if now == u64::MAX { tick_of(u64::MAX) } else { now / TICK }
}

/// How many bits of a tick the levels below this one look at.
const fn shift(level: usize) -> u32 {
    level as u32 * DIGIT
}

/// How many ticks a bucket of this level spans.
const fn span(level: usize) -> u64 {
    1 << shift(level)
}

/// Where a slot is in the wheel: its tick and its bucket in one word, since there is one for every slot of the segment.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place(u64);

impl Place {
    /// Not in the wheel.
    const NONE: Self = Self(u64::MAX);
    /// All buckets of all levels.
    const RANGE: u64 = (LEVELS * BUCKETS) as u64;

    /// A tick takes 45 bits and a bucket 9, so that no place looks like `NONE`.
    const fn new(tick: u64, bucket: usize) -> Self {
        Self(tick * Self::RANGE + bucket as u64)
    }

    const fn tick(self) -> u64 {
        self.0 / Self::RANGE
    }

    const fn bucket(self) -> usize {
        (self.0 % Self::RANGE) as usize
    }
}

/// A hierarchical timing wheel over slots.
pub(crate) struct Wheel {
    /// The wheel's position: the base that buckets are relative to.
    elapsed: u64,
    /// The latest tick that `advance` has heard of. `elapsed` trails it while a budget was too small.
    now: u64,
    /// One word a level, one bit a bucket.
    occupied: [u64; LEVELS],
    /// The buckets of level 0, then those of level 1, and so on. Empty until something is scheduled.
    buckets: Box<[List]>,
    links: Links,
    places: Column<Place>,
    len: usize,
}

impl Wheel {
    /// An empty wheel at `now` nanoseconds. Allocates nothing.
    pub(crate) fn new(now: u64) -> Self {
        let now = reached(now);
        Self {
            elapsed: now,
            now,
            occupied: [0; LEVELS],
            buckets: Box::default(),
            links: Links::new(),
            places: Column::new(),
            len: 0,
        }
    }

    /// How many slots are scheduled.
    #[cfg(test)]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// True if `slot` is in the wheel.
    pub(crate) fn is_scheduled(&self, slot: Slot) -> bool {
        self.place(slot).is_some()
    }

    /// Puts `slot`, which is not in the wheel, under `deadline`, which is not `u64::MAX` ("never"). A deadline in the past
    /// is due at once.
    pub(crate) fn schedule(&mut self, slot: Slot, deadline: u64) {
        debug_assert!(deadline != u64::MAX, "what never expires is not scheduled");
        debug_assert!(!self.is_scheduled(slot), "{slot:?} is scheduled already");
        self.attach(slot, tick_of(deadline));
    }

    /// Takes `slot` out of the wheel, if it is in.
    pub(crate) fn cancel(&mut self, slot: Slot) {
        if let Some(place) = self.place(slot) {
            self.detach(slot, place);
        }
    }

    /// Puts `slot` under another deadline, whether or not it had one.
    pub(crate) fn reschedule(&mut self, slot: Slot, deadline: u64) {
        self.cancel(slot);
        self.schedule(slot, deadline);
    }

    /// Moves time to `now` and takes one slot that is due out of the wheel. Call it until it gives `None`: then nothing
    /// more is due, or the budget is spent.
    ///
    /// Each slot returned and each slot moved to a lower level costs 1 of `budget`; nothing else takes time that grows
    /// with the entries or with the jump. Between calls any slot may be scheduled or cancelled. If `now` is before that
    /// of an earlier call, it counts as that one.
    ///
    /// The wheel knows the deadline it was told. If the entry's own has moved later since, the caller schedules the slot
    /// again.
    pub(crate) fn advance(&mut self, now: u64, budget: &mut usize) -> Option<Slot> {
        self.now = self.now.max(reached(now));
        while *budget > 0 {
            let Some((start, bucket)) = self.first().filter(|&(start, _)| start <= self.now) else {
                self.elapsed = self.now;
                return None;
            };
            if start > self.elapsed {
                // A bucket opens. It is the first of all, so no other starts before its end: `elapsed` may go as far into it
                // as time has come, and what is not due then moves to where it would be if scheduled now.
                let end = start + (span(bucket / BUCKETS) - 1);
                self.elapsed = end.min(self.now);
            }
            let slot = self.buckets[bucket].back()?;
            let place = self.place(slot)?;
            self.detach(slot, place);
            *budget -= 1;
            if place.tick() <= self.now {
                return Some(slot);
            }
            self.attach(slot, place.tick());
        }
        None
    }

    /// When there is next something to do: `advance` before this instant, in nanoseconds, finds nothing. An entry may be due
    /// later than that, since a far bucket is opened when it starts. `None` if the wheel is empty.
    #[cfg(test)]
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.first().map(|(start, _)| start.saturating_mul(TICK))
    }

    /// The occupied bucket that starts first, and its first tick. A tie goes to the lowest level.
    fn first(&self) -> Option<(u64, usize)> {
        let levels = self.occupied.iter().enumerate().filter(|&(_, &bits)| bits != 0);
        let buckets = levels.map(|(level, bits)| level * BUCKETS + bits.trailing_zeros() as usize);
        buckets.map(|bucket| (self.start(bucket), bucket)).min()
    }

    /// The first tick of a bucket: its digit, with the higher digits of `elapsed`.
    fn start(&self, bucket: usize) -> u64 {
        let (level, digit) = (bucket / BUCKETS, bucket % BUCKETS);
        let higher = shift(level + 1);
        (self.elapsed >> higher << higher) + ((digit as u64) << shift(level))
    }

    fn place(&self, slot: Slot) -> Option<Place> {
        self.places.get(slot.index()).copied().filter(|&place| place != Place::NONE)
    }

    /// Puts a slot in its bucket, relative to `elapsed`.
    fn attach(&mut self, slot: Slot, tick: u64) {
        // What is past joins the bucket of `elapsed`, which is the first of all.
        let tick = tick.max(self.elapsed);
        let level = (tick ^ self.elapsed).checked_ilog2().map_or(0, |bit| (bit / DIGIT) as usize);
        let digit = (tick >> shift(level)) as usize % BUCKETS;
        let bucket = level * BUCKETS + digit;
        if self.buckets.is_empty() {
            self.buckets = vec![List::new(); LEVELS * BUCKETS].into_boxed_slice();
        }
        self.buckets[bucket].push_front(&mut self.links, slot);
        self.occupied[level] |= 1 << digit;
        self.places.reach(slot.index(), Place::NONE);
        self.places[slot] = Place::new(tick, bucket);
        self.len += 1;
    }

    /// Takes a slot out of its bucket.
    fn detach(&mut self, slot: Slot, place: Place) {
        let bucket = place.bucket();
        self.buckets[bucket].unlink(&mut self.links, slot);
        if self.buckets[bucket].is_empty() {
            self.occupied[bucket / BUCKETS] &= !(1 << (bucket % BUCKETS));
        }
        self.places[slot] = Place::NONE;
        self.len -= 1;
    }

    #[cfg(test)]
    pub(crate) fn assert_valid(&self) {
        let (mut listed, mut open) = (0, 0);
        for (bucket, list) in self.buckets.iter().enumerate() {
            list.assert_valid(&self.links);
            let (level, digit) = (bucket / BUCKETS, bucket % BUCKETS);
            let bit = self.occupied[level] >> digit & 1;
            assert_eq!(bit == 0, list.is_empty(), "bucket {bucket}: its bit tells if it is empty");
            let start = self.start(bucket);
            let end = start + (span(level) - 1);
            for slot in list.iter(&self.links) {
                let (tick, named) = (self.places[slot].tick(), self.places[slot].bucket());
                assert_eq!(named, bucket, "{slot:?} is in the bucket that its place names");
                assert!((start..=end).contains(&tick), "tick {tick} within {start}..={end}");
            }
            if !list.is_empty() && start <= self.elapsed {
                assert!(self.elapsed <= end, "bucket {bucket} was left behind");
                open += usize::from(level > 0);
            }
            listed += list.len();
        }
        assert!(open <= 1, "one bucket is open at a time");
        assert_eq!(listed, self.len, "len counts the scheduled slots");
        let slots = (0..self.places.len()).map(Slot::new);
        assert_eq!(slots.filter(|&s| self.is_scheduled(s)).count(), self.len, "a place, a list");
        assert!(self.elapsed <= self.now, "elapsed is never after now");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The last tick, in which all of time has passed.
    const LAST: u64 = 1 << 44;
    const YEAR: u64 = 365 * 24 * 3600 * 1_000_000_000;

    /// When an entry with this deadline must come, in plain wide arithmetic.
    fn due(deadline: u64) -> u64 {
        let tick = u128::from(deadline).div_ceil(1 << 20);
        u64::try_from(tick << 20).unwrap_or(u64::MAX)
    }

    /// All that `advance` gives for this budget, as indices, and what it spent.
    fn take(wheel: &mut Wheel, now: u64, budget: usize) -> (Vec<usize>, usize) {
        let mut left = budget;
        let mut slots = Vec::new();
        while let Some(slot) = wheel.advance(now, &mut left) {
            slots.push(slot.index());
            wheel.assert_valid();
        }
        wheel.assert_valid();
        assert!(slots.len() + left <= budget, "each slot costs 1");
        (slots, budget - left)
    }

    fn home(wheel: &Wheel, slot: usize) -> (usize, usize) {
        let bucket = wheel.place(Slot::new(slot)).expect("it is scheduled").bucket();
        (bucket / BUCKETS, bucket % BUCKETS)
    }

    #[test]
    fn by_hand() {
        let mut wheel = Wheel::new(0);
        let (a, b, c) = (0, 1, 2);
        for (slot, tick) in [(a, 5), (b, 70), (c, 4_200)] {
            wheel.schedule(Slot::new(slot), tick * TICK);
        }
        assert_eq!([a, b, c].map(|slot| home(&wheel, slot)), [(0, 5), (1, 1), (2, 1)]);
        assert_eq!(take(&mut wheel, 4 * TICK, 9), (vec![], 0));
        assert_eq!(take(&mut wheel, 5 * TICK, 9), (vec![a], 1));
        assert_eq!(take(&mut wheel, 64 * TICK, 9), (vec![], 1));
        assert_eq!(home(&wheel, b), (0, 6));
        assert_eq!(take(&mut wheel, 70 * TICK, 9), (vec![b], 1));
        assert_eq!(take(&mut wheel, 4_100 * TICK, 9), (vec![], 1));
        assert_eq!(home(&wheel, c), (1, 1));
        assert_eq!(wheel.next_due(), Some(4_160 * TICK));
        assert_eq!(take(&mut wheel, 10 * YEAR, 9), (vec![c], 1));
        assert_eq!((wheel.len(), wheel.next_due()), (0, None));
    }

    #[test]
    fn a_tick_is_never_early_and_the_last_instant_is_the_last_tick() {
        assert_eq!([0, 1, TICK - 1, TICK, TICK + 1].map(tick_of), [0, 1, 1, 1, 2]);
        assert_eq!([0, 1, TICK - 1, TICK, TICK + 1].map(reached), [0, 0, 0, 1, 1]);
        assert_eq!([u64::MAX - TICK, u64::MAX - TICK + 1].map(tick_of), [LAST - 1; 2]);
        assert_eq!([u64::MAX - TICK + 2, u64::MAX].map(tick_of), [LAST; 2]);
        assert_eq!([u64::MAX - TICK, u64::MAX - 1].map(reached), [LAST - 2, LAST - 1]);
        assert_eq!(reached(u64::MAX), LAST);
        // The highest tick and the highest bucket fit in a place, and are not the mark for none.
        let place = Place::new(LAST, LEVELS * BUCKETS - 1);
        assert_eq!((place.tick(), place.bucket()), (LAST, LEVELS * BUCKETS - 1));
        assert!(place != Place::NONE);
        assert_eq!(size_of::<Place>(), 8);
    }

    #[test]
    fn an_empty_wheel_allocates_nothing_and_costs_nothing() {
        let mut wheel = Wheel::new(7 * YEAR);
        assert!(!wheel.is_scheduled(Slot::new(3)));
        wheel.cancel(Slot::new(3));
        assert_eq!(take(&mut wheel, 8 * YEAR, 5), (vec![], 0));
        assert_eq!((wheel.len(), wheel.next_due()), (0, None));
        assert_eq!((wheel.buckets.len(), wheel.places.len()), (0, 0));
        wheel.schedule(Slot::new(3), 9 * YEAR);
        assert_eq!((wheel.buckets.len(), wheel.places.len()), (512, 4));
        assert!(wheel.is_scheduled(Slot::new(3)) && !wheel.is_scheduled(Slot::new(2)));
        wheel.cancel(Slot::new(2));
        wheel.cancel(Slot::new(3));
        wheel.cancel(Slot::new(3));
        assert!(!wheel.is_scheduled(Slot::new(3)));
        assert_eq!((wheel.len(), wheel.occupied), (0, [0; LEVELS]));
        wheel.assert_valid();
    }

    #[test]
    fn every_level_has_its_span() {
        let mut wheel = Wheel::new(0);
        let spans = [1_u64, 64, 4_096, 262_144, 1 << 24, 1 << 30, 1 << 36, 1 << 42];
        for (level, span) in spans.into_iter().enumerate() {
            for (digit, tick) in [(1, span), (3, 4 * span - 1), (4, 4 * span)] {
                wheel.schedule(Slot::new(0), tick.saturating_mul(TICK).min(u64::MAX - 1));
                assert_eq!(home(&wheel, 0), (level, digit), "tick {tick}");
                let start = (digit as u64 * span).saturating_mul(TICK);
                assert_eq!(wheel.next_due(), Some(start), "tick {tick}");
                wheel.assert_valid();
                wheel.cancel(Slot::new(0));
            }
        }
    }

    #[test]
    fn deadlines_at_the_ends_of_time() {
        let last = u64::MAX - 1;
        let mut wheel = Wheel::new(0);
        wheel.schedule(Slot::new(0), 0);
        wheel.schedule(Slot::new(1), last);
        assert_eq!(take(&mut wheel, 0, 9), (vec![0], 1));
        assert_eq!(take(&mut wheel, last, 9), (vec![], 0));
        assert_eq!(wheel.next_due(), Some(u64::MAX));
        assert_eq!(take(&mut wheel, u64::MAX, 9), (vec![1], 1));
        // At the end of time whatever is scheduled is due at once, and a second end changes nothing.
        for deadline in [0, 1, last] {
            wheel.schedule(Slot::new(2), deadline);
            assert_eq!(take(&mut wheel, u64::MAX, 9), (vec![2], 1));
        }
        let mut wheel = Wheel::new(u64::MAX);
        wheel.schedule(Slot::new(0), last);
        assert_eq!(take(&mut wheel, 0, 9), (vec![0], 1));
    }

    #[test]
    fn the_past_is_due_at_once_and_time_does_not_go_back() {
        let mut wheel = Wheel::new(YEAR);
        for (slot, deadline) in
            [(0, 0), (1, YEAR - TICK), (2, YEAR / TICK * TICK), (3, YEAR + TICK)]
        {
            wheel.schedule(Slot::new(slot), deadline);
        }
        assert_eq!(take(&mut wheel, 0, 9), (vec![0, 1, 2], 3));
        assert_eq!(take(&mut wheel, YEAR + 2 * TICK, 0), (vec![], 0));
        assert_eq!(take(&mut wheel, 5, 9), (vec![3], 1), "the year was heard of, with no budget");
    }

    #[test]
    fn a_bucket_gives_its_entries_in_the_order_they_came() {
        let mut wheel = Wheel::new(0);
        for slot in [4, 2, 9] {
            wheel.schedule(Slot::new(slot), TICK);
        }
        wheel.reschedule(Slot::new(4), TICK - 1);
        assert_eq!(take(&mut wheel, TICK, 9), (vec![2, 9, 4], 3));
    }

    #[test]
    fn an_entry_moves_at_most_seven_times() {
        // A digit of 1 on every level: who wakes at each `next_due` sees the entry come down all of them.
        let tick = (0..LEVELS).map(span).sum::<u64>();
        let mut wheel = Wheel::new(0);
        wheel.schedule(Slot::new(0), tick * TICK);
        for level in (1..LEVELS).rev() {
            assert_eq!(home(&wheel, 0), (level, 1));
            let now = wheel.next_due().unwrap();
            assert_eq!(now, (level..LEVELS).map(span).sum::<u64>() * TICK);
            assert_eq!(take(&mut wheel, now - 1, 9), (vec![], 0));
            assert_eq!(take(&mut wheel, now, 9), (vec![], 1));
        }
        assert_eq!(home(&wheel, 0), (0, 1));
        assert_eq!(take(&mut wheel, tick * TICK - 1, 9), (vec![], 0));
        assert_eq!(take(&mut wheel, tick * TICK, 9), (vec![0], 1));
    }

    #[test]
    fn a_jump_of_any_size_costs_no_more_than_what_is_due() {
        for jump in [100 * YEAR / 365, 10 * YEAR, 500 * YEAR, u64::MAX] {
            let mut wheel = Wheel::new(0);
            // A deadline in every bucket of every level.
            let ticks = (0..LEVELS).flat_map(|level| (1..64).map(move |digit| digit * span(level)));
            let ticks: Vec<_> = ticks.filter(|&tick| tick < LAST).collect();
            for (slot, &tick) in ticks.iter().enumerate() {
                wheel.schedule(Slot::new(slot), tick * TICK);
            }
            let passed = ticks.iter().filter(|&tick| tick * TICK <= jump).count();
            let (slots, spent) = take(&mut wheel, jump, usize::MAX);
            assert_eq!((slots.len(), spent), (passed, passed));
            assert_eq!(slots, (0..passed).collect::<Vec<_>>(), "buckets come in the order of time");
        }
    }

    #[test]
    fn e2_a_million_deadlines_at_once_cost_no_call_more_than_its_budget() {
        const ENTRIES: usize = 1_000_000;
        const BUDGET: usize = 1_000;
        let hour = 3_600_000_000_000;
        let mut wheel = Wheel::new(0);
        for slot in 0..ENTRIES {
            wheel.schedule(Slot::new(slot), hour + slot as u64);
        }
        assert_eq!(wheel.len(), ENTRIES);
        let (mut came, mut calls) = (0, 0);
        // Shortly before, their bucket of 4.58 minutes opens, and every call moves what it may.
        for (now, moved) in [(hour - 20_000_000_000, ENTRIES), (2 * hour, 0)] {
            let mut spent = 0;
            loop {
                let mut left = BUDGET;
                while wheel.advance(now, &mut left).is_some() {
                    came += 1;
                }
                spent += BUDGET - left;
                calls += 1;
                assert!(calls <= 2 * (ENTRIES / BUDGET + 1), "it does not end");
                if left > 0 {
                    break;
                }
            }
            assert_eq!(spent, moved + came);
        }
        assert_eq!((came, wheel.len()), (ENTRIES, 0));
        assert_eq!(calls, 2 * (ENTRIES / BUDGET + 1));
        wheel.assert_valid();
    }

    #[test]
    fn an_open_bucket_waits_while_others_come_and_go() {
        let at = |tick: u64| tick * TICK;
        let mut wheel = Wheel::new(0);
        for (slot, tick) in [(0, 65), (1, 127), (2, 100), (3, 90)] {
            wheel.schedule(Slot::new(slot), at(tick));
        }
        assert_eq!(take(&mut wheel, at(64), 1), (vec![], 1));
        assert_eq!([0, 1].map(|slot| home(&wheel, slot)), [(0, 1), (1, 1)]);
        assert_eq!(wheel.next_due(), Some(at(64)), "the open bucket is there to do");
        // Its entries can be cancelled and moved, and others scheduled in front of it.
        wheel.cancel(Slot::new(2));
        wheel.reschedule(Slot::new(3), at(66));
        wheel.schedule(Slot::new(4), at(127));
        wheel.schedule(Slot::new(5), 0);
        wheel.assert_valid();
        assert_eq!([3, 4, 5].map(|slot| home(&wheel, slot)), [(0, 2), (0, 63), (0, 0)]);
        // Time goes on before it is empty: `elapsed` stays, since 0 and 3 are between.
        assert_eq!(take(&mut wheel, at(70), 1), (vec![5], 1));
        assert_eq!(take(&mut wheel, at(70), 1), (vec![], 1));
        assert_eq!(wheel.elapsed, 64);
        assert_eq!(take(&mut wheel, at(70), 9), (vec![0, 3], 2));
        assert_eq!(wheel.elapsed, 70);
        assert_eq!(take(&mut wheel, at(127), 9), (vec![4, 1], 2));
        assert_eq!(wheel.len(), 0);
    }

    #[test]
    fn a_bucket_opened_late_gives_what_is_due_and_keeps_what_is_not() {
        let mut wheel = Wheel::new(0);
        for (slot, tick) in [(0, 64), (1, 100), (2, 101), (3, 127), (4, 128)] {
            wheel.schedule(Slot::new(slot), tick * TICK);
        }
        assert_eq!(take(&mut wheel, 100 * TICK, 9), (vec![0, 1], 4));
        assert_eq!([2, 3, 4].map(|slot| home(&wheel, slot)), [(0, 37), (0, 63), (1, 2)]);
        assert_eq!(take(&mut wheel, 500 * TICK, 9), (vec![2, 3, 4], 3));
        // A move goes as low as time allows: one move from level 2 to level 0, not two.
        let at = |digit: u64| (4_096 + 64 * 5 + digit) * TICK;
        wheel.schedule(Slot::new(5), at(7));
        assert_eq!(home(&wheel, 5), (2, 1));
        assert_eq!(take(&mut wheel, at(0), 9), (vec![], 1));
        assert_eq!(home(&wheel, 5), (0, 7));
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "what never expires is not scheduled")]
    fn never_is_not_scheduled() {
        Wheel::new(0).schedule(Slot::new(0), u64::MAX);
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "Slot(6) is scheduled already")]
    fn a_slot_is_scheduled_once() {
        let mut wheel = Wheel::new(0);
        wheel.schedule(Slot::new(6), 1);
        wheel.schedule(Slot::new(6), 2);
    }

    /// A stretch of time from nothing to centuries, every magnitude as likely; and low bits to clear, for times on the
    /// edges of buckets.
    #[derive(Clone, Copy, Debug)]
    struct Stretch {
        raw: u64,
        bits: u32,
        clear: u32,
    }

    impl Stretch {
        fn after(self, now: u64, longest: u32) -> u64 {
            let length = self.raw.checked_shr(64 - self.bits.min(longest)).unwrap_or(0);
            now.saturating_add(length) >> self.clear << self.clear
        }
    }

    fn stretch() -> impl Strategy<Value = Stretch> {
        let clear = prop::sample::select(vec![0, 0, 20, 26, 32, 38]);
        (any::<u64>(), 0..=64_u32, clear).prop_map(|(raw, bits, clear)| Stretch {
            raw,
            bits,
            clear,
        })
    }

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Set(usize, Stretch),
        Cancel(usize),
        Advance(Stretch, usize),
        Back(u64, usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => (0..24_usize, stretch()).prop_map(|(slot, stretch)| Op::Set(slot, stretch)),
            1 => (0..24_usize).prop_map(Op::Cancel),
            4 => (stretch(), 1..64_usize).prop_map(|(stretch, budget)| Op::Advance(stretch, budget)),
            2 => (stretch(), 1..4_usize).prop_map(|(stretch, budget)| Op::Advance(stretch, budget)),
            1 => (any::<u64>(), 0..4_usize).prop_map(|(now, budget)| Op::Back(now, budget)),
        ]
    }

    /// The wheel beside a map from slots to deadlines.
    struct Pair {
        wheel: Wheel,
        oracle: BTreeMap<usize, u64>,
        now: u64,
        scheduled: usize,
        spent: usize,
    }

    impl Pair {
        fn set(&mut self, slot: usize, deadline: u64) {
            let deadline = deadline.min(u64::MAX - 1);
            if self.oracle.insert(slot, deadline).is_some() {
                self.wheel.reschedule(Slot::new(slot), deadline);
            } else {
                self.wheel.schedule(Slot::new(slot), deadline);
            }
            self.scheduled += 1;
        }

        /// Advances to `now`, which the wheel takes for `self.now` if that is later.
        fn advance(&mut self, now: u64, budget: usize) {
            self.now = self.now.max(now);
            let idle = self.wheel.next_due().is_none_or(|next| next > self.now);
            let (slots, spent) = take(&mut self.wheel, now, budget);
            for slot in slots {
                let deadline = self.oracle.remove(&slot).expect("only what is scheduled, and once");
                assert!(deadline <= self.now, "never early");
            }
            if spent < budget {
                let late = self.oracle.values().find(|&&deadline| due(deadline) <= self.now);
                assert_eq!(late, None, "with budget left, all that is due has come");
            }
            assert!(!idle || spent == 0, "nothing to do before next_due");
            self.spent += spent;
        }

        fn check(&self) {
            self.wheel.assert_valid();
            assert_eq!(self.wheel.len(), self.oracle.len());
            for slot in 0..24 {
                let expected = self.oracle.contains_key(&slot);
                assert_eq!(self.wheel.is_scheduled(Slot::new(slot)), expected);
            }
            let first = self.oracle.values().copied().map(due).min();
            let next = self.wheel.next_due();
            assert_eq!(next.is_some(), first.is_some());
            // What was past when it was scheduled may have had its time before the wheel's.
            assert!(next <= first.map(|first| first.max(self.now)), "{next:?} is after {first:?}");
            assert!(self.spent <= LEVELS * self.scheduled, "an entry costs at most 8");
        }
    }

    proptest! {
        #[test]
        fn a_wheel_is_a_map_of_deadlines(
            start in stretch(),
            longest in 20..=64_u32,
            ops in prop::collection::vec(op(), 0..150),
            budget in 1..64_usize,
        ) {
            let now = start.after(0, longest);
            let wheel = Wheel::new(now);
            let mut pair = Pair { wheel, oracle: BTreeMap::new(), now, scheduled: 0, spent: 0 };
            for op in ops {
                match op {
                    Op::Set(slot, stretch) => pair.set(slot, stretch.after(pair.now, longest)),
                    Op::Cancel(slot) => {
                        pair.wheel.cancel(Slot::new(slot));
                        pair.oracle.remove(&slot);
                    }
                    Op::Advance(stretch, budget) => {
                        pair.advance(stretch.after(pair.now, longest).max(pair.now), budget);
                    }
                    Op::Back(now, budget) => pair.advance(now.min(pair.now), budget),
                }
                pair.check();
            }
            // Whatever is left comes at the end of time, whatever the budget a call.
            for _ in 0..24 * LEVELS {
                pair.advance(u64::MAX, budget);
                pair.check();
            }
            prop_assert_eq!(pair.wheel.len(), 0);
        }

        #[test]
        fn who_sleeps_until_next_due_gets_each_entry_in_its_tick(
            start in stretch(),
            stretches in prop::collection::vec(stretch(), 1..40),
        ) {
            let mut now = start.after(0, 63);
            let mut wheel = Wheel::new(now);
            let deadlines: Vec<_> =
                stretches.iter().map(|stretch| stretch.after(now, 64).min(u64::MAX - 1)).collect();
            for (slot, &deadline) in deadlines.iter().enumerate() {
                wheel.schedule(Slot::new(slot), deadline);
            }
            let (mut wakes, mut came) = (0, 0);
            while let Some(next) = wheel.next_due() {
                wakes += 1;
                prop_assert!(wakes <= LEVELS * deadlines.len(), "an entry wakes its sleeper at most 8 times");
                now = now.max(next);
                for slot in take(&mut wheel, now, usize::MAX).0 {
                    prop_assert!(due(deadlines[slot]) <= now);
                    prop_assert!(due(deadlines[slot]) == now || wakes == 1, "not a tick too late");
                    came += 1;
                }
            }
            prop_assert_eq!(came, deadlines.len());
        }
    }
}
