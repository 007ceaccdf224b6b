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
//! **Invariants**
//!
//! 1. Weight is reserved before an entry is published and given back after it is detached: the bound holds at every instant.
//! 2. A writer waits for a turn, or for another lock, with nothing reserved: two that waited for each other's room would
//!    wait for ever.
//! 3. Keys are compared before anything is changed: a panic in `Eq` changes nothing.

use super::budget::Reservation;
use super::epoch::Guard;
use super::segment::Segment;
use super::slab::{Entry, Found, Slot};
use super::{Deadline, Engine, IN_PASSING, Outgoing, SLICE, Stripe};
use crate::error::Reason;
use crate::observe::Cause;
use crate::policy::{Meta, Victim};
use crate::time::NEVER;
use std::cmp::Reverse;

/// How long an entry is to live, from the moment it is published; `u64::MAX` nanoseconds are for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    /// The time to live; `None` keeps the hard deadline of the value that is replaced.
    pub(crate) live: Option<u64>,
    /// The time to idle; `None` keeps the idle deadline.
    pub(crate) idle: Option<u64>,
}

impl Lifetime {
    fn deadline(self, now: u64, was: Deadline) -> Deadline {
        Deadline {
            hard: self.live.map_or(was.hard, |live| now.saturating_add(live)),
            idle: self.idle.map_or(was.idle, |idle| now.saturating_add(idle)),
        }
    }

    fn is_finite(self) -> bool {
        [self.live, self.idle].into_iter().flatten().any(|time| time != NEVER)
    }
}

/// The condition under which a write takes effect, judged in the critical section that publishes it.
pub(crate) enum When<'a, F> {
    Always,
    /// The key has no live entry.
    Absent,
    /// The key's entry, or its absence, is still this one. The caller keeps the slot from being used again.
    Current(Option<Slot>),
    /// This load's mark is still there.
    Load(&'a F),
}

/// A write to be done.
pub(crate) struct Write<'a, K, V, F> {
    pub(crate) entry: Entry<K, V>,
    pub(crate) hash: u64,
    pub(crate) weight: u64,
    pub(crate) lifetime: Lifetime,
    pub(crate) when: When<'a, F>,
    /// If the caller wants to see what is replaced.
    pub(crate) guard: Option<Guard<'a>>,
}

/// How a write ended. What was not stored comes back.
pub(crate) enum Written<'p, K, V> {
    /// It is resident, or its deadline had passed at once. For who has a guard: the live entry it replaced, and itself.
    Stored { old: Option<Found<'p, K, V>>, new: Option<Found<'p, K, V>> },
    /// Its condition did not hold.
    NotMet { entry: Entry<K, V> },
    /// There is no room for it. The key's old value is gone: it was out of date.
    Refused { entry: Entry<K, V>, reason: Reason },
}

/// What to do next about a write.
enum Step<'p, K, V> {
    Done(Written<'p, K, V>),
    /// So much is missing, and home gives up no more. The write comes back.
    Short {
        entry: Entry<K, V>,
        missing: u64,
        ask: Ask,
    },
}

/// Whom a write asks that finds no room at home.
enum Ask {
    /// Home is poor: others must give something up.
    Neighbour,
    /// Much is missing, or nothing at home may leave.
    Everywhere,
}

/// Whether a write's weight could be reserved under the lock of its home.
enum Room {
    Made,
    Short(Ask),
    Refused,
}

/// How often a write asks its neighbours before it queues as a heavy one.
const NEIGHBOURS: usize = 8;

/// Walks over all segments that find nothing, before a heavy write is refused: others may be moving what it looks for.
const WALKS: usize = 3;

impl<K: Eq, V, F: PartialEq> Engine<K, V, F> {
    /// Publishes a write if its condition holds and room can be made for it.
    pub(crate) fn write<'p>(
        &'p self,
        write: Write<'p, K, V, F>,
        clock: &dyn Fn() -> u64,
        out: &mut Outgoing<K, V, F>,
    ) -> Written<'p, K, V> {
        let Write { mut entry, hash, weight, lifetime, when, guard } = write;
        let mut room = self.budget.reservation();
        let mut turn = None;
        let mut attempt =
            Attempt { engine: self, hash, weight, lifetime, when, guard, last: false };
        let mut asked = 0;
        loop {
            let mut segment = self.lock(hash);
            let step = attempt.run(&mut segment, entry, clock, &mut room, out);
            // Nothing stays reserved without a lock or a turn: a heavy write would look for it in vain.
            room.keep(std::mem::take(&mut out.freed));
            room.release();
            segment.tidy(out);
            drop(segment);
            entry = match step {
                Step::Done(written) => return written,
                Step::Short { entry, missing, ask: Ask::Neighbour } if asked < NEIGHBOURS => {
                    asked += 1;
                    self.ask_a_neighbour(hash, missing, asked, clock, out);
                    entry
                }
                Step::Short { entry, missing, .. } => {
                    turn.get_or_insert_with(|| self.budget.heavy());
                    let home = Some(self.home(hash));
                    attempt.last = !self.reserve(missing, home, &mut room, clock, out);
                    entry
                }
            };
        }
    }

    /// Lets the heavier of two other segments give up what is not free of `weight`, at most a slice, for anyone to take. One
    /// that is itself poor gives nothing: the poor would rob each other.
    fn ask_a_neighbour(
        &self,
        hash: u64,
        weight: u64,
        asked: usize,
        clock: &dyn Fn() -> u64,
        out: &mut Outgoing<K, V, F>,
    ) {
        let draw = crate::hash::mix(hash.wrapping_add(asked as u64));
        let others = two_others(self.home_index(hash), self.stripes.len(), draw);
        let heavier = others.into_iter().map(|at| &self.stripes[at]).max_by_key(|it| it.weight());
        let Some(mut segment) = heavier.and_then(|stripe| stripe.try_lock()) else { return };
        // Read, not reserved: another write may fit in it meanwhile.
        let missing = weight.saturating_sub(self.budget.free());
        let mut room = self.budget.reservation();
        expire(&mut segment, clock, &mut room, out);
        for _ in 0..SLICE {
            let enough = room.amount() >= missing || self.is_poor(&segment);
            if enough || !evict(&mut segment, out) {
                break;
            }
            room.keep(std::mem::take(&mut out.freed));
        }
        segment.tidy(out);
    }

    /// True if a segment has less than three quarters of its share.
    fn is_poor(&self, segment: &Segment<'_, K, V, F>) -> bool {
        segment.weight().saturating_mul(4) < self.share().saturating_mul(3)
    }

    /// Reserves `weight`: from what is free, from what has expired anywhere, and then from the policies, the heaviest segment
    /// first, but `home` last: it may hold the very entry that is to be replaced. The caller is heavy.
    fn reserve(
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
        for stripe in self.stripes() {
            stripe.lock().resize(self.share());
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
            if room.amount() >= weight || !evict(&mut segment, out) {
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

/// Evicts the policy's victim. False if there is none.
fn evict<K, V, F>(segment: &mut Segment<'_, K, V, F>, out: &mut Outgoing<K, V, F>) -> bool {
    let Victim::Entry(slot) = segment.victim(None) else { return false };
    segment.detach(slot, Cause::Evicted, out);
    true
}

/// One try at a write, under the lock of its home.
struct Attempt<'p, K, V, F> {
    engine: &'p Engine<K, V, F>,
    hash: u64,
    weight: u64,
    lifetime: Lifetime,
    when: When<'p, F>,
    guard: Option<Guard<'p>>,
    /// If there is no room now there will be none.
    last: bool,
}

impl<'p, K: Eq, V, F: PartialEq> Attempt<'p, K, V, F> {
    fn run(
        &self,
        segment: &mut Segment<'p, K, V, F>,
        entry: Entry<K, V>,
        clock: &dyn Fn() -> u64,
        room: &mut Reservation<'_>,
        out: &mut Outgoing<K, V, F>,
    ) -> Step<'p, K, V> {
        let now = if segment.expires() || self.lifetime.is_finite() { clock() } else { 0 };
        let slot = segment.find(self.hash, &entry.key);
        let live = slot.filter(|&slot| !segment.is_dead(slot, now));
        if !self.holds(segment, live) {
            return Step::Done(Written::NotMet { entry });
        }
        if !matches!(self.when, When::Load(_)) {
            segment.pending().fence(self.hash, &entry.key, out);
        }
        // From here on no key is compared.
        if let (Some(slot), None) = (slot, live) {
            segment.detach(slot, Cause::Expired, out);
        }
        let was = live.map_or(Deadline::NEVER, |slot| segment.deadline(slot));
        let deadline = self.lifetime.deadline(now, was);
        let made = match deadline.earlier() <= now {
            true => return Step::Done(self.stillborn(segment, live, entry, out)),
            false => self.make_room(segment, live, deadline, now, room, out),
        };
        match made {
            Room::Made => {
                let (hash, weight) = (self.hash, self.weight);
                let old = self.see(segment, live);
                let slot = match live {
                    Some(slot) => segment.replace(slot, entry, hash, weight, deadline, now, out),
                    None => segment.publish(entry, hash, weight, deadline, now),
                };
                let new = self.see(segment, Some(slot));
                self.unmark(segment, out);
                segment.expire(now, IN_PASSING, out);
                Step::Done(Written::Stored { old, new })
            }
            Room::Short(ask) if !self.last => {
                let old = live.map_or(0, |slot| segment.weight_of(slot));
                Step::Short { entry, missing: self.weight.saturating_sub(old), ask }
            }
            _ => Step::Done(self.refuse(segment, live, entry, out)),
        }
    }

    fn holds(&self, segment: &mut Segment<'_, K, V, F>, live: Option<Slot>) -> bool {
        match self.when {
            When::Always => true,
            When::Absent => live.is_none(),
            When::Current(expected) => live == expected,
            When::Load(load) => segment.pending().has_load(self.hash, load),
        }
    }

    /// What is about to leave, if the caller wants to see it.
    fn see(&self, segment: &Segment<'p, K, V, F>, slot: Option<Slot>) -> Option<Found<'p, K, V>> {
        segment.found(slot?, self.guard?)
    }

    /// The load has landed: its mark has done its work.
    fn unmark(&self, segment: &mut Segment<'_, K, V, F>, out: &mut Outgoing<K, V, F>) {
        if let When::Load(load) = self.when {
            segment.pending().remove_load(self.hash, load, out);
        }
    }

    /// An entry that lives for no time replaces the old one, and is gone.
    fn stillborn(
        &self,
        segment: &mut Segment<'p, K, V, F>,
        live: Option<Slot>,
        entry: Entry<K, V>,
        out: &mut Outgoing<K, V, F>,
    ) -> Written<'p, K, V> {
        let old = self.see(segment, live);
        if let Some(slot) = live {
            segment.detach(slot, Cause::Replaced, out);
        }
        self.unmark(segment, out);
        let new = segment.pass(entry, self.weight, self.guard, out);
        Written::Stored { old, new }
    }

    /// There is no room: the old value, which is out of date, leaves all the same.
    fn refuse(
        &self,
        segment: &mut Segment<'_, K, V, F>,
        live: Option<Slot>,
        entry: Entry<K, V>,
        out: &mut Outgoing<K, V, F>,
    ) -> Written<'p, K, V> {
        if let Some(slot) = live {
            segment.detach(slot, Cause::Deleted, out);
        }
        self.unmark(segment, out);
        let heavy = self.weight > self.engine.budget.capacity();
        Written::Refused { entry, reason: if heavy { Reason::TooHeavy } else { Reason::Full } }
    }

    /// Reserves the weight of the write, less that of the entry it replaces.
    fn make_room(
        &self,
        segment: &mut Segment<'_, K, V, F>,
        live: Option<Slot>,
        deadline: Deadline,
        now: u64,
        room: &mut Reservation<'_>,
        out: &mut Outgoing<K, V, F>,
    ) -> Room {
        let too_heavy = self.weight > self.engine.budget.capacity();
        if too_heavy || (live.is_none() && segment.is_full()) {
            return Room::Refused;
        }
        let was = live.map_or(0, |slot| segment.weight_of(slot));
        let newcomer = Meta::new(self.hash, self.weight, deadline.earlier());
        let newcomer = live.is_none().then_some(&newcomer);
        room.keep(std::mem::take(&mut out.freed));
        if room.exchange(was, self.weight) {
            return Room::Made;
        }
        segment.expire(now, SLICE, out);
        let mut made = Room::Short(Ask::Everywhere);
        for _ in 0..SLICE {
            room.keep(std::mem::take(&mut out.freed));
            if room.exchange(was, self.weight) {
                made = Room::Made;
                break;
            }
            if let Err(why) = self.evict_one(segment, live, newcomer, out) {
                made = why;
                break;
            }
        }
        segment.put_back(self.hash);
        made
    }

    /// One entry leaves, or it is said why not. The entry to be replaced is not among those that leave: where the policy
    /// names it, it goes to the end of the order.
    fn evict_one(
        &self,
        segment: &mut Segment<'_, K, V, F>,
        live: Option<Slot>,
        newcomer: Option<&Meta>,
        out: &mut Outgoing<K, V, F>,
    ) -> Result<(), Room> {
        if self.engine.stripes.len() > 1 && self.engine.is_poor(segment) {
            return Err(Room::Short(Ask::Neighbour));
        }
        match segment.victim(newcomer) {
            Victim::Entry(slot) if Some(slot) == live => segment.set_aside(slot),
            Victim::Entry(slot) => segment.detach(slot, Cause::Evicted, out),
            Victim::Newcomer => return Err(Room::Refused),
            // A heavy write may hold what would be enough: who waits for a turn will know.
            Victim::None => return Err(Room::Short(Ask::Everywhere)),
        }
        Ok(())
    }
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
