//! Making room: who gives up what when a write does not fit.
//!
//! **Problem.** The bound is one for the whole cache, the locks are many, and no thread may hold two of them. So a write
//! reserves its weight from the budget before it publishes, and finds what is missing in three steps:
//!
//! ```text
//!   1. at home        expired entries, then the policy's victims, at most 64 under one lock
//!   2. a neighbour    if home is below 3/4 of its share: the heavier of two others gives something up, unless it is as
//!                     poor (power of two choices), so that no segment starves; home is unlocked meanwhile
//!   3. everywhere     a heavy write queues for its turn, then takes what is free and what others give, the heaviest
//!                     first, until all of its weight is reserved; nobody can take that from it, so it ends
//! ```
//!
//! The first step is the [write's](super::write) own; the others are here.

use super::budget::Reservation;
use super::segment::Segment;
use super::{Engine, Outgoing, SLICE, Stripe};
use crate::sync::{Ordering, fence};
use std::cmp::Reverse;

/// Walks over all segments that find nothing, before a heavy write is refused: others may be moving what it looks for.
const WALKS: usize = 3;

impl<K, V, F> Engine<K, V, F> {
    /// Lets the heavier of two other segments give up what is not free of `weight`, at most a slice, for anyone to take. One
    /// that is itself poor gives nothing: the poor would rob each other.
    pub(super) fn ask_a_neighbour(
        &self,
        hash: u64,
        weight: u64,
        asked: usize,
        clock: &dyn Fn() -> u64,
        out: &mut Outgoing<K, V, F>,
    ) {
        let draw = crate::hash::mix(hash.wrapping_add(asked as u64));
        let others = two_others(self.stripes.number(hash), self.stripes.len(), draw);
        let made = others.into_iter().filter_map(|number| self.stripes.get(number));
        let heavier = made.max_by_key(|stripe| stripe.weight());
        let Some(mut segment) = heavier.and_then(Stripe::try_lock) else { return };
        // Read, not reserved: another write may fit in it meanwhile.
        let missing = weight.saturating_sub(self.budget.free());
        let mut room = self.budget.reservation();
        expire(&mut segment, clock, &mut room, out);
        for _ in 0..SLICE {
            let enough = room.amount() >= missing || segment.is_poor();
            if enough || !segment.evict(out) {
                break;
            }
            room.keep(std::mem::take(&mut out.freed));
        }
        segment.tidy(out);
    }

    /// Reserves `weight`: from what is free, from what has expired anywhere, and then from the policies, the heaviest segment
    /// first, but `home` last: it may hold the very entry that is to be replaced. The caller is heavy.
    pub(super) fn reserve(
        &self,
        weight: u64,
        home: Option<&Stripe<K, V, F>>,
        room: &mut Reservation<'_>,
        clock: &dyn Fn() -> u64,
        out: &mut Outgoing<K, V, F>,
    ) -> bool {
        room.grab(weight);
        for stripe in self.stripes() {
            let mut more = true;
            while more && room.amount() < weight {
                let mut segment = stripe.lock();
                more = expire(&mut segment, clock, room, out);
                segment.tidy(out);
                drop(segment);
                room.grab(weight);
            }
        }
        let mut fruitless = 0;
        while fruitless < WALKS {
            let before = room.amount();
            let mut stripes: Vec<_> = self.stripes().collect();
            stripes.sort_by_key(|&stripe| {
                let last = home.is_some_and(|home| std::ptr::eq(home, stripe));
                (last, Reverse(stripe.weight()))
            });
            for stripe in stripes {
                squeeze(stripe, weight, room, out);
                if room.amount() >= weight {
                    return true;
                }
            }
            fruitless = if room.amount() == before { fruitless + 1 } else { 0 };
        }
        room.release();
        false
    }

    /// Sets the capacity; says no, and leaves it as it was, if the policy does not give up enough.
    pub(crate) fn set_capacity(
        &self,
        capacity: u64,
        clock: &dyn Fn() -> u64,
        out: &mut Outgoing<K, V, F>,
    ) -> bool {
        let turn = self.budget.heavy();
        let was = self.budget.capacity();
        if capacity < was {
            let mut difference = self.budget.reservation();
            if !self.reserve(was - capacity, None, &mut difference, clock, out) {
                return false;
            }
            self.budget.shrink(difference, was - capacity);
        } else {
            self.budget.grow(capacity - was);
        }
        // Before it looks for stripes: one that is being made looks at the capacity after it can be found.
        fence(Ordering::SeqCst);
        let share = self.stripes.share(&self.budget);
        for stripe in self.stripes() {
            stripe.lock().resize(share);
        }
        drop(turn);
        true
    }
}

/// Two of the `segments` other than `home`, each chosen by its own half of `draw`. There are at least two segments.
pub(super) fn two_others(home: usize, segments: usize, draw: u64) -> [usize; 2] {
    let others = segments as u64 - 1;
    [draw >> u32::BITS, draw & u64::from(u32::MAX)].map(|half| {
        // The half is a fraction of 2^32, and the product its share of the others: no division.
        let step = ((half * others) >> u32::BITS) as usize;
        (home + 1 + step) % segments
    })
}

/// Takes victims from one segment, a slice between two unlocks, until `room` holds `weight` or there are no more.
fn squeeze<K, V, F>(
    stripe: &Stripe<K, V, F>,
    weight: u64,
    room: &mut Reservation<'_>,
    out: &mut Outgoing<K, V, F>,
) {
    loop {
        let mut segment = stripe.lock();
        room.grab(weight);
        for _ in 0..SLICE {
            if room.amount() >= weight || !segment.evict(out) {
                segment.tidy(out);
                return;
            }
            room.keep(std::mem::take(&mut out.freed));
        }
        segment.tidy(out);
    }
}

/// Takes out a slice of what has expired. True if there may be more.
fn expire<K, V, F>(
    segment: &mut Segment<'_, K, V, F>,
    clock: &dyn Fn() -> u64,
    room: &mut Reservation<'_>,
    out: &mut Outgoing<K, V, F>,
) -> bool {
    let more = segment.expires() && segment.expire(clock(), SLICE, out);
    room.keep(std::mem::take(&mut out.freed));
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_half_of_a_draw_chooses_by_itself() {
        let half = |quarters: u64| quarters << 30;
        let draw = |first: u64, second: u64| half(first) << 32 | half(second);
        // Four others, a quarter of the range each, counted from the one after home.
        assert_eq!(two_others(2, 5, draw(0, 0)), [3, 3]);
        assert_eq!(two_others(2, 5, draw(1, 2)), [4, 0]);
        assert_eq!(two_others(2, 5, draw(3, 1)), [1, 4]);
        assert_eq!(two_others(0, 5, draw(3, 0)), [4, 1]);
        // Up to the last value before the next quarter.
        assert_eq!(two_others(2, 5, draw(1, 3) - 1), [4, 0]);
        assert_eq!(two_others(2, 5, draw(2, 0) - 1), [4, 1]);
        assert_eq!(two_others(2, 5, u64::MAX), [1, 1]);
    }

    #[test]
    fn every_segment_but_home_is_drawn() {
        assert_eq!(two_others(0, 2, 0), [1, 1]);
        assert_eq!(two_others(1, 2, u64::MAX), [0, 0]);
        for segments in [2, 3, 4, 64] {
            for home in 0..segments {
                let mut drawn = vec![[0; 2]; segments];
                for seed in 0..segments as u64 * 20 {
                    let pair = two_others(home, segments, crate::hash::mix(seed));
                    pair.into_iter().enumerate().for_each(|(pick, at)| drawn[at][pick] += 1);
                }
                assert_eq!(drawn.remove(home), [0, 0]);
                assert!(drawn.iter().flatten().all(|&times| times > 0), "{drawn:?}");
            }
        }
    }
}
