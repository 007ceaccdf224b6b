//! A write: its condition, its room at home, its publication.
//!
//! ```text
//!   lock home ─► find the key ─► does the condition hold? ─► room at home ─► publish ─► unlock
//!      ▲                              └── no: the entry comes back    └── none: unlock, others give something up
//!      └─────────────────────────────────────────────────────────────────────┘
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
use super::segment::{Fresh, Segment};
use super::slab::{Entry, Found, Slot};
use super::{Deadline, Engine, IN_PASSING, Outgoing, SLICE, Terms};
use crate::error::Reason;
use crate::observe::Cause;
use crate::policy::{Meta, Victim};
use crate::time::NEVER;

/// How long an entry is to live, from the moment it is published; `u64::MAX` nanoseconds are for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    /// The time to live; `None` keeps the hard deadline of the value that is replaced.
    pub(crate) live: Option<u64>,
    /// The time to idle; `None` keeps the idle deadline.
    pub(crate) idle: Option<u64>,
}

impl Lifetime {
    #[inline]
    fn deadline(self, now: u64, was: Deadline) -> Deadline {
        Deadline {
            hard: self.live.map_or(was.hard, |live| now.saturating_add(live)),
            idle: self.idle.map_or(was.idle, |idle| now.saturating_add(idle)),
        }
    }

    #[inline]
    fn is_finite(self) -> bool {
        let finite = |time: Option<u64>| time.is_some_and(|time| time != NEVER);
        finite(self.live) || finite(self.idle)
    }
}

/// The condition under which a write takes effect, judged in the critical section that publishes it.
pub(crate) enum When<'a, F> {
    Always,
    /// The key has no live entry.
    Absent,
    /// The key has no live entry, and nobody loads one.
    #[cfg(feature = "serde")]
    Unclaimed,
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
    /// Where ages are kept.
    pub(crate) terms: Option<Terms>,
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

/// How a try at a write ended. The entry stays where it was, unless it is stored.
enum Step<'p, K, V> {
    Stored {
        old: Option<Found<'p, K, V>>,
        new: Option<Found<'p, K, V>>,
    },
    NotMet,
    Refused(Reason),
    /// So much is missing, and home gives up no more.
    Short {
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

impl<K: Eq, V, F: PartialEq> Engine<K, V, F> {
    /// Publishes a write if its condition holds and room can be made for it.
    pub(crate) fn write<'p>(
        &'p self,
        write: Write<'p, K, V, F>,
        clock: &dyn Fn() -> u64,
        out: &mut Outgoing<K, V, F>,
    ) -> Written<'p, K, V> {
        let Write { entry, hash, weight, lifetime, terms, when, guard } = write;
        let mut entry = Some(entry);
        let mut room = self.budget.reservation();
        let mut turn = None;
        let mut attempt =
            Attempt { engine: self, hash, weight, lifetime, terms, when, guard, last: false };
        let mut asked = 0;
        let (ended, mut more) = loop {
            let mut segment = self.lock(hash);
            let step = attempt.run(&mut segment, &mut entry, clock, &mut room, out);
            let more = segment.thin(out);
            // Nothing stays reserved without a lock or a turn: a heavy write would look for it in vain.
            room.keep(std::mem::take(&mut out.freed));
            room.release();
            segment.tidy(out);
            drop(segment);
            match step {
                Step::Short { missing, ask: Ask::Neighbour } if asked < NEIGHBOURS => {
                    asked += 1;
                    self.ask_a_neighbour(hash, missing, asked, clock, out);
                }
                Step::Short { missing, .. } => {
                    turn.get_or_insert_with(|| self.budget.heavy());
                    let home = Some(self.home(hash));
                    attempt.last = !self.reserve(missing, home, &mut room, clock, out);
                }
                ended => break (ended, more),
            }
        };
        while more {
            let mut segment = self.lock(hash);
            more = segment.thin(out);
            room.keep(std::mem::take(&mut out.freed));
            room.release();
            segment.tidy(out);
        }
        match (ended, entry) {
            (Step::NotMet, Some(entry)) => Written::NotMet { entry },
            (Step::Refused(reason), Some(entry)) => Written::Refused { entry, reason },
            (Step::Stored { old, new }, None) => Written::Stored { old, new },
            _ => unreachable!("what is stored has been taken, and nothing else has"),
        }
    }
}

/// One try at a write, under the lock of its home.
struct Attempt<'p, K, V, F> {
    engine: &'p Engine<K, V, F>,
    hash: u64,
    weight: u64,
    lifetime: Lifetime,
    terms: Option<Terms>,
    when: When<'p, F>,
    guard: Option<Guard<'p>>,
    /// If there is no room now there will be none.
    last: bool,
}

impl<'p, K: Eq, V, F: PartialEq> Attempt<'p, K, V, F> {
    #[inline]
    fn run(
        &self,
        segment: &mut Segment<'p, K, V, F>,
        entry: &mut Option<Entry<K, V>>,
        clock: &dyn Fn() -> u64,
        room: &mut Reservation<'_>,
        out: &mut Outgoing<K, V, F>,
    ) -> Step<'p, K, V> {
        let Some(key) = entry.as_ref().map(|entry| &entry.key) else { return Step::NotMet };
        let timed = segment.expires() || self.lifetime.is_finite() || self.terms.is_some();
        let now = if timed { clock() } else { 0 };
        let slot = segment.find(self.hash, key);
        let live = slot.filter(|&slot| !segment.is_dead(slot, now));
        if !self.holds(segment, live) {
            return Step::NotMet;
        }
        #[cfg(feature = "serde")]
        if matches!(self.when, When::Unclaimed) && segment.pending().load(self.hash, key).is_some()
        {
            return Step::NotMet;
        }
        if !matches!(self.when, When::Load(_)) {
            segment.pending().fence(self.hash, key, out);
        }
        // From here on no key is compared.
        if let (Some(slot), None) = (slot, live) {
            segment.detach(slot, Cause::Expired, out);
        }
        let was = live.map_or(Deadline::NEVER, |slot| segment.deadline(slot));
        let deadline = self.lifetime.deadline(now, was);
        if deadline.earlier() <= now {
            return self.stillborn(segment, live, entry.take(), out);
        }
        match self.make_room(segment, live, deadline, now, room, out) {
            Room::Made => self.publish(segment, live, entry.take(), deadline, now, out),
            Room::Short(ask) if !self.last => {
                let old = live.map_or(0, |slot| segment.weight_of(slot));
                Step::Short { missing: self.weight.saturating_sub(old), ask }
            }
            _ => self.refuse(segment, live, out),
        }
    }

    /// There is room: the entry gets in.
    #[inline]
    fn publish(
        &self,
        segment: &mut Segment<'p, K, V, F>,
        live: Option<Slot>,
        entry: Option<Entry<K, V>>,
        deadline: Deadline,
        now: u64,
        out: &mut Outgoing<K, V, F>,
    ) -> Step<'p, K, V> {
        let Some(entry) = entry else { return Step::NotMet };
        let terms = self.terms.unwrap_or(Terms::NONE);
        let fresh = Fresh { entry, hash: self.hash, weight: self.weight, deadline, terms, now };
        let old = self.see(segment, live);
        let slot = match live {
            Some(slot) => segment.replace(slot, fresh, out),
            None => segment.publish(fresh),
        };
        let new = self.see(segment, Some(slot));
        self.unmark(segment, out);
        segment.expire(now, IN_PASSING, out);
        Step::Stored { old, new }
    }

    #[inline]
    fn holds(&self, segment: &mut Segment<'_, K, V, F>, live: Option<Slot>) -> bool {
        match self.when {
            When::Always => true,
            When::Absent => live.is_none(),
            #[cfg(feature = "serde")]
            When::Unclaimed => live.is_none(),
            When::Current(expected) => live == expected,
            When::Load(load) => segment.pending().has_load(self.hash, load),
        }
    }

    /// What is about to leave, if the caller wants to see it.
    #[inline]
    fn see(&self, segment: &Segment<'p, K, V, F>, slot: Option<Slot>) -> Option<Found<'p, K, V>> {
        segment.found(slot?, self.guard?)
    }

    /// The load has landed: its mark has done its work.
    #[inline]
    fn unmark(&self, segment: &mut Segment<'_, K, V, F>, out: &mut Outgoing<K, V, F>) {
        if let When::Load(load) = self.when {
            segment.pending().remove_load(self.hash, load, out);
        }
    }

    /// An entry that lives for no time replaces the old one, and is gone.
    #[inline(never)]
    fn stillborn(
        &self,
        segment: &mut Segment<'p, K, V, F>,
        live: Option<Slot>,
        entry: Option<Entry<K, V>>,
        out: &mut Outgoing<K, V, F>,
    ) -> Step<'p, K, V> {
        let old = self.see(segment, live);
        if let Some(slot) = live {
            segment.detach(slot, Cause::Replaced, out);
        }
        self.unmark(segment, out);
        let new = entry.and_then(|entry| segment.pass(entry, self.weight, self.guard, out));
        Step::Stored { old, new }
    }

    /// There is no room: the old value, which is out of date, leaves all the same.
    #[inline(never)]
    fn refuse(
        &self,
        segment: &mut Segment<'_, K, V, F>,
        live: Option<Slot>,
        out: &mut Outgoing<K, V, F>,
    ) -> Step<'p, K, V> {
        if let Some(slot) = live {
            segment.detach(slot, Cause::Deleted, out);
        }
        self.unmark(segment, out);
        let heavy = self.weight > self.engine.budget.capacity();
        Step::Refused(if heavy { Reason::TooHeavy } else { Reason::Full })
    }

    /// Reserves the weight of the write, less that of the entry it replaces.
    #[inline]
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
        if too_heavy || segment.is_full() {
            return Room::Refused;
        }
        let was = live.map_or(0, |slot| segment.weight_of(slot));
        room.keep(std::mem::take(&mut out.freed));
        if room.exchange(was, self.weight) {
            return Room::Made;
        }
        let newcomer = Meta::new(self.hash, self.weight, deadline.earlier());
        // It needs room for itself; what else has expired must not make this call long.
        segment.expire(now, 2 * IN_PASSING, out);
        let mut made = Room::Short(Ask::Everywhere);
        for _ in 0..SLICE {
            room.keep(std::mem::take(&mut out.freed));
            if room.exchange(was, self.weight) {
                made = Room::Made;
                break;
            }
            if let Err(why) = self.evict_one(segment, live, &newcomer, out) {
                made = why;
                break;
            }
        }
        segment.put_back(self.hash);
        made
    }

    /// One entry leaves, or it is said why not. The entry to be replaced is not among those that leave: where the policy
    /// names it, it goes to the end of the order.
    #[inline]
    fn evict_one(
        &self,
        segment: &mut Segment<'_, K, V, F>,
        live: Option<Slot>,
        newcomer: &Meta,
        out: &mut Outgoing<K, V, F>,
    ) -> Result<(), Room> {
        if self.engine.stripes.len() > 1 && segment.is_poor() {
            return Err(Room::Short(Ask::Neighbour));
        }
        match segment.victim(live.is_none().then_some(newcomer)) {
            Victim::Entry(slot) if Some(slot) == live => segment.set_aside(slot),
            Victim::Entry(slot) => segment.detach(slot, Cause::Evicted, out),
            Victim::Newcomer => return Err(Room::Refused),
            // A heavy write may hold what would be enough: who waits for a turn will know.
            Victim::None => return Err(Room::Short(Ask::Everywhere)),
        }
        Ok(())
    }
}
