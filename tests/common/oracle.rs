//! The oracle: the whole cache as a list that is searched from end to end. It knows one segment exactly. Of several it does
//! not know who leaves and when the expired are taken out; there it asks what the cache has told (`told`), and checks that
//! it was right to do so.

use super::ops::{self, Config, Policy, TICK};
use cachette::{Cause, Reason};
use std::time::Duration;

const NEVER: u64 = u64::MAX;

/// A removal, as the listener hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) key: u16,
    pub(crate) id: u64,
    pub(crate) cause: Cause,
}

/// What is written: which value, how heavy, and how long it would like to live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) id: u64,
    pub(crate) weight: u64,
    pub(crate) wish: Duration,
}

/// A resident entry.
#[derive(Clone, Debug)]
struct Held {
    key: u16,
    id: u64,
    weight: u64,
    hard: u64,
    idle: u64,
    // What policies order by: moments, counted by the oracle, and uses.
    inserted: u64,
    used: u64,
    uses: u64,
}

impl Held {
    fn deadline(&self) -> u64 {
        self.hard.min(self.idle)
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Ttl {
    Configured,
    Of(Duration),
    Kept,
}

#[derive(Clone, Copy)]
pub(crate) enum When {
    Always,
    Absent,
    Current(Option<u64>),
    Load(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrote {
    /// The live value that was replaced.
    Stored(Option<u64>),
    NotMet,
    Refused(Reason),
}

/// What statistics must say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) loads: u64,
    pub(crate) load_failures: u64,
    pub(crate) load_nanos: u64,
    /// In the order of [`Cause::ALL`].
    pub(crate) removals: [u64; Cause::ALL.len()],
    pub(crate) evicted_weight: u64,
}

fn index(cause: Cause) -> usize {
    Cause::ALL.iter().position(|&each| each == cause).expect("ALL has every cause")
}

pub(crate) struct Oracle {
    config: Config,
    pub(crate) capacity: u64,
    pub(crate) now: u64,
    held: Vec<Held>,
    /// Counts what policies order by.
    moment: u64,
    /// The loads under way: their keys and numbers.
    marks: Vec<(u16, u64)>,
    flights: u64,
    /// The computations under way: their keys, and whether these were written meanwhile.
    computing: Vec<(u16, bool)>,
    /// What the cache has told since the last comparison.
    pub(crate) told: Vec<Removal>,
    /// What it should have told.
    pub(crate) due: Vec<Removal>,
    pub(crate) counts: Counts,
}

/// Reading.
impl Oracle {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            capacity: config.capacity,
            config,
            now: 0,
            held: Vec::new(),
            moment: 0,
            marks: Vec::new(),
            flights: 0,
            computing: Vec::new(),
            told: Vec::new(),
            due: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// The clock goes on. The last instant stands for never, so time stops just before it.
    pub(crate) fn advance(&mut self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(NEVER);
        self.now = self.now.saturating_add(by).min(NEVER - 1);
    }

    fn at(&self, key: u16) -> Option<usize> {
        self.held.iter().position(|held| held.key == key)
    }

    fn is_dead(&self, held: &Held) -> bool {
        held.deadline() <= self.now
    }

    /// The place of a key's entry that has not expired.
    fn at_live(&self, key: u16) -> Option<usize> {
        self.at(key).filter(|&at| !self.is_dead(&self.held[at]))
    }

    /// A key's live value.
    pub(crate) fn live(&self, key: u16) -> Option<u64> {
        self.at_live(key).map(|at| self.held[at].id)
    }

    /// All live values.
    pub(crate) fn all_live(&self) -> Vec<(u16, u64)> {
        let live = self.held.iter().filter(|held| !self.is_dead(held));
        let mut all: Vec<_> = live.map(|held| (held.key, held.id)).collect();
        all.sort_unstable();
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// What is resident weighs so much. Sums of weights may not fit in `u64` while it is being decided who leaves.
    pub(crate) fn used(&self) -> u128 {
        self.held.iter().map(|held| u128::from(held.weight)).sum()
    }

    fn left(&self, deadline: u64) -> Duration {
        if deadline == NEVER { Duration::MAX } else { Duration::from_nanos(deadline - self.now) }
    }

    pub(crate) fn time_to_live_of(&self, key: u16) -> Option<Duration> {
        self.at_live(key).map(|at| self.left(self.held[at].deadline()))
    }

    fn after(&self, span: Duration) -> u64 {
        self.now.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(NEVER))
    }

    /// A reader comes.
    pub(crate) fn read(&mut self, key: u16) -> Option<u64> {
        let Some(at) = self.at_live(key) else {
            self.counts.misses += 1;
            return None;
        };
        self.counts.hits += 1;
        self.use_it(at);
        let Held { id, idle, .. } = self.held[at];
        let left = self.left(self.held[at].deadline());
        if let Some(tti) = self.config.time_to_idle {
            let fresh = self.after(tti);
            let step = (u64::try_from(tti.as_nanos()).unwrap_or(NEVER) / 64).max(TICK);
            if idle != NEVER && fresh - idle >= step {
                self.held[at].idle = fresh;
            }
        }
        // The rule hears only of what it set itself.
        if self.config.per_entry && idle != NEVER {
            if let Some(more) = ops::read(id, left) {
                self.held[at].idle = self.after(more);
            }
        }
        Some(id)
    }

    fn use_it(&mut self, at: usize) {
        self.moment += 1;
        self.held[at].used = self.moment;
        self.held[at].uses += 1;
    }

    /// The entry is new to the policy.
    fn enter_order(&mut self, at: usize) {
        self.moment += 1;
        self.held[at].inserted = self.moment;
        self.held[at].used = self.moment;
        self.held[at].uses = 1;
    }
}

/// Removing.
impl Oracle {
    fn tell(&mut self, key: u16, id: u64, cause: Cause) {
        self.due.push(Removal { key, id, cause });
    }

    fn count(&mut self, cause: Cause) {
        self.counts.removals[index(cause)] += 1;
    }

    fn remove(&mut self, at: usize, cause: Cause) {
        let Held { key, id, weight, .. } = self.held.remove(at);
        self.count(cause);
        if cause == Cause::Evicted {
            self.counts.evicted_weight = self.counts.evicted_weight.saturating_add(weight);
        }
        self.tell(key, id, cause);
    }

    /// The listener hears of a value that never got in.
    pub(crate) fn tell_refused(&mut self, key: u16, id: u64) {
        self.tell(key, id, Cause::Refused);
    }

    /// Takes out what the wheel must find: entries whose deadline lies before the beginning of this tick. Those that have
    /// expired since, it may find.
    pub(crate) fn expire(&mut self) {
        let tick = self.now / TICK;
        while let Some(at) = self
            .held
            .iter()
            .position(|held| held.deadline() != NEVER && held.deadline().div_ceil(TICK) <= tick)
        {
            self.remove(at, Cause::Expired);
        }
        self.expire_as_told();
    }

    /// A write takes expired entries out in passing.
    pub(crate) fn pass(&mut self) {
        if self.config.exact { self.expire() } else { self.expire_as_told() }
    }

    /// The expirations that the cache has told of.
    fn expire_as_told(&mut self) {
        for Removal { key, id, .. } in self.told_of(Cause::Expired) {
            let at = self.at(key).filter(|&at| self.held[at].id == id);
            if let Some(at) = at.filter(|&at| self.is_dead(&self.held[at])) {
                self.remove(at, Cause::Expired);
            }
        }
    }

    fn told_of(&self, cause: Cause) -> Vec<Removal> {
        self.told.iter().copied().filter(|told| told.cause == cause).collect()
    }

    /// A write was interrupted: to make room for it, a segment may have given up what it was to replace.
    pub(crate) fn interrupted(&mut self, key: u16) {
        if !self.config.exact {
            self.evict_as_told();
            self.pass();
            self.fence(key);
        }
    }

    /// The evictions that the cache has told of.
    fn evict_as_told(&mut self) {
        for Removal { key, id, .. } in self.told_of(Cause::Evicted) {
            if let Some(at) = self.at(key).filter(|&at| self.held[at].id == id) {
                assert_ne!(self.held[at].weight, 0, "{key}, of weight 0, was evicted");
                self.remove(at, Cause::Evicted);
            }
        }
    }

    /// Who leaves next, but not `aside`.
    fn victim(&self, aside: Option<u16>) -> Option<usize> {
        let mut order: Vec<usize> = (0..self.held.len())
            .filter(|&at| self.held[at].weight != 0 && Some(self.held[at].key) != aside)
            .collect();
        order.sort_by_key(|&at| {
            let Held { inserted, used, uses, .. } = self.held[at];
            match self.config.policy {
                Policy::Lfu => (uses, used),
                Policy::Fifo => (inserted, 0),
                Policy::Lru | Policy::NoEviction | Policy::Random => (used, 0),
            }
        });
        order.first().copied().filter(|_| self.config.policy != Policy::NoEviction)
    }

    pub(crate) fn delete(&mut self, key: u16) -> Option<u64> {
        self.fence(key);
        let live = self.live(key);
        if let Some(at) = self.at(key) {
            self.remove(at, if live.is_some() { Cause::Deleted } else { Cause::Expired });
        }
        self.pass();
        live
    }

    /// Deletes a key's entry if it, or its absence, is still `current`.
    pub(crate) fn delete_current(&mut self, key: u16, current: Option<u64>) -> bool {
        let same = self.live(key) == current;
        if same {
            self.fence(key);
            if let Some(at) = self.at_live(key) {
                self.remove(at, Cause::Deleted);
            }
        }
        self.pass();
        same
    }

    /// Deletes this very value, if it is resident, expired or not.
    pub(crate) fn delete_value(&mut self, key: u16, id: u64) {
        if let Some(at) = self.at(key).filter(|&at| self.held[at].id == id) {
            let dead = self.is_dead(&self.held[at]);
            self.remove(at, if dead { Cause::Expired } else { Cause::Deleted });
        }
    }

    pub(crate) fn clear(&mut self, cause: Cause) {
        self.fence_all();
        while !self.held.is_empty() {
            self.remove(0, cause);
        }
    }

    pub(crate) fn expire_at(&mut self, key: u16, hard: u64) -> bool {
        let ruled = self.config.per_entry;
        self.reschedule(key, |held| {
            held.hard = hard;
            if ruled {
                held.idle = NEVER;
            }
        })
    }

    pub(crate) fn expire_in(&mut self, key: u16, ttl: Duration) -> bool {
        self.expire_at(key, self.after(ttl))
    }

    pub(crate) fn persist(&mut self, key: u16) -> bool {
        self.reschedule(key, |held| (held.hard, held.idle) = (NEVER, NEVER))
    }

    fn reschedule(&mut self, key: u16, to: impl FnOnce(&mut Held)) -> bool {
        let Some(at) = self.at_live(key) else { return false };
        self.fence(key);
        to(&mut self.held[at]);
        if self.is_dead(&self.held[at]) {
            self.remove(at, Cause::Expired);
        }
        self.pass();
        true
    }

    pub(crate) fn set_capacity(&mut self, capacity: u64) -> bool {
        if self.used() > u128::from(capacity) {
            // What has expired leaves before what lives.
            self.pass();
        }
        if self.config.exact {
            while self.used() > u128::from(capacity) {
                let Some(victim) = self.victim(None) else { return false };
                self.remove(victim, Cause::Evicted);
            }
        } else if self.used() > u128::from(capacity) {
            self.evict_as_told();
            if self.used() > u128::from(capacity) {
                assert_eq!(self.config.policy, Policy::NoEviction, "others give up enough");
                return false;
            }
        }
        self.capacity = capacity;
        true
    }
}

/// Writing.
impl Oracle {
    pub(crate) fn write(&mut self, key: u16, new: Sample, ttl: Ttl, when: When) -> Wrote {
        let live = self.live(key);
        let holds = match when {
            When::Always => true,
            When::Absent => live.is_none(),
            When::Current(current) => live == current,
            When::Load(flight) => self.marks.contains(&(key, flight)),
        };
        if !holds {
            return Wrote::NotMet;
        }
        if !matches!(when, When::Load(_)) {
            self.fence(key);
        }
        let (hard, idle) = self.deadlines(key, new, ttl);
        if let (Some(at), None) = (self.at(key), live) {
            self.remove(at, Cause::Expired);
        }
        let old = if hard.min(idle) <= self.now {
            self.stillborn(key, new);
            live
        } else {
            let weight = if self.config.weighed { new.weight } else { 1 };
            if let Some(reason) = self.refusal(key, weight) {
                if let Some(at) = self.at(key) {
                    self.remove(at, Cause::Deleted);
                }
                self.count(Cause::Refused);
                self.unmark(when);
                return Wrote::Refused(reason);
            }
            // Of several segments, one may have given up the old value in order to make room for the new one.
            let old = self.at(key).map(|at| self.held[at].id);
            self.store(Held { key, id: new.id, weight, hard, idle, inserted: 0, used: 0, uses: 0 });
            self.pass();
            old
        };
        self.unmark(when);
        Wrote::Stored(old)
    }

    /// The hard and the idle deadline of a write.
    fn deadlines(&self, key: u16, new: Sample, ttl: Ttl) -> (u64, u64) {
        let idle = self.config.time_to_idle.map_or(NEVER, |tti| self.after(tti));
        let was = self.at_live(key).map(|at| &self.held[at]);
        match (ttl, self.time_to_live_of(key)) {
            (Ttl::Of(ttl), _) => (self.after(ttl), idle),
            (Ttl::Kept, _) if self.config.per_entry => {
                was.map_or((NEVER, NEVER), |was| (was.hard, was.idle))
            }
            (Ttl::Kept, _) => (was.map_or(NEVER, |was| was.hard), idle),
            (Ttl::Configured, None) if self.config.per_entry => {
                (NEVER, self.after(ops::created(new.wish)))
            }
            (Ttl::Configured, Some(left)) if self.config.per_entry => {
                (NEVER, self.after(ops::updated(new.wish, left)))
            }
            (Ttl::Configured, _) => {
                (self.config.time_to_live.map_or(NEVER, |ttl| self.after(ttl)), idle)
            }
        }
    }

    /// A value that lives for no time replaces the old one and is gone.
    fn stillborn(&mut self, key: u16, new: Sample) {
        if let Some(at) = self.at(key) {
            self.remove(at, Cause::Replaced);
        }
        self.count(Cause::Expired);
        self.tell(key, new.id, Cause::Expired);
    }

    fn store(&mut self, new: Held) {
        let Some(at) = self.at(new.key) else {
            self.held.push(new);
            return self.enter_order(self.held.len() - 1);
        };
        let Held { key, id, weight, inserted, used, uses, .. } = self.held[at];
        self.held[at] = Held { inserted, used, uses, ..new };
        self.count(Cause::Replaced);
        self.tell(key, id, Cause::Replaced);
        // An entry without weight is not in the policy's order.
        if weight == 0 { self.enter_order(at) } else { self.use_it(at) }
    }

    fn fits(&self, key: u16, weight: u64) -> bool {
        let old = self.at(key).map_or(0, |at| u128::from(self.held[at].weight));
        self.used() - old + u128::from(weight) <= u128::from(self.capacity)
    }

    /// Makes room, or says why there is none.
    fn refusal(&mut self, key: u16, weight: u64) -> Option<Reason> {
        if weight > self.capacity {
            return Some(Reason::TooHeavy);
        }
        if self.fits(key, weight) {
            return None;
        }
        self.pass();
        if !self.config.exact {
            self.evict_as_told();
            let fits = self.fits(key, weight);
            assert!(fits || self.config.policy == Policy::NoEviction, "there is no room for {key}");
            return (!fits).then_some(Reason::Full);
        }
        let mut aside = None;
        while !self.fits(key, weight) {
            let Some(victim) = self.victim(aside) else { return Some(Reason::Full) };
            // What is being replaced is not its own victim: it goes to the end of the order.
            if self.held[victim].key == key {
                aside = Some(key);
            } else {
                self.remove(victim, Cause::Evicted);
            }
        }
        if let Some(at) = aside.and_then(|key| self.at(key)) {
            self.enter_order(at);
        }
        None
    }
}

/// Loads and computations under way.
impl Oracle {
    /// A write of a key takes effect.
    fn fence(&mut self, key: u16) {
        self.marks.retain(|&(marked, _)| marked != key);
        self.computing.iter_mut().for_each(|(k, disturbed)| *disturbed |= *k == key);
    }

    pub(crate) fn fence_all(&mut self) {
        self.marks.clear();
        self.computing.iter_mut().for_each(|(_, disturbed)| *disturbed = true);
    }

    /// Begins a load: its number; `None` if the key is being loaded, and that by this very thread.
    pub(crate) fn lead(&mut self, key: u16) -> Option<u64> {
        if self.marks.iter().any(|&(marked, _)| marked == key) {
            return None;
        }
        self.flights += 1;
        self.marks.push((key, self.flights));
        Some(self.flights)
    }

    pub(crate) fn abandon(&mut self, flight: u64) {
        self.unmark(When::Load(flight));
    }

    fn unmark(&mut self, when: When) {
        if let When::Load(flight) = when {
            self.marks.retain(|&(_, marked)| marked != flight);
        }
    }

    /// Begins a computation; false if this very thread is computing the key.
    pub(crate) fn begin(&mut self, key: u16) -> bool {
        let free = self.computing.iter().all(|&(computing, _)| computing != key);
        if free {
            self.computing.push((key, false));
        }
        free
    }

    /// Ends the computation that began last: was its key written meanwhile?
    pub(crate) fn end(&mut self) -> bool {
        self.computing.pop().expect("it has begun").1
    }
}
