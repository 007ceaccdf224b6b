//! The queue of writing behind: which changes wait for the store, and which are to be tried next. It knows no store, no thread and no clock.
//!
//! **Problem.** Writes come faster than the store takes them, the same keys again and again; the store wants them in batches, fails, and may
//! choke on a single one of them. What is accepted must reach it in the order in which it was accepted, key by key, and nothing may be lost
//! or be written twice at once.
//!
//! ```text
//!   push ─► line of the key:   waiting ──next──► flying ──settle──┬─ acknowledged ──► gone, or the next that waits
//!              │                  ▲ ▲                             ├─ failed for now ─► resting, until its time
//!              │ coalesces        │ └──── its time has come ◄─────┘        │
//!              └─ with what waits ┘                               └─ failed for good ► dead: kept, told of once
//!
//!   ready:    lines that may fly, the oldest first        resting: lines that wait for another try, by time
//!   open:     every change that is not acknowledged, by its number: what a barrier looks at
//! ```
//!
//! **Invariants**
//!
//! 1. At most one change of a key flies. While it does, those that come wait behind it.
//! 2. What waits of a key is one change where they coalesce: the latest, as old as the first of those that it stands for.
//! 3. A line is ready or resting if and only if something of it waits and nothing of it flies.
//! 4. `ops` and `bytes` are those of all that is held: waiting, flying and dead. A change that is dead is the last of its key.
//! 5. A change leaves by being acknowledged, replaced by a newer one, told of as dead, or handed back by `close` or `take_dead`.
//!
//! | operation | cost |
//! |---|---|
//! | `push` of a key that waits | a look-up |
//! | `push` of another | a look-up, two entries in trees: O(log n) |
//! | `next` | O(batch log n), and at most 64 that have rested enough |
//! | `settle` | O(batch log n), and O(barriers) |
//!
//! # Which batch is next
//!
//! The oldest that are ready, as many as a batch may hold; when there are as many, or the oldest is as old as may be, or a barrier waits for it,
//! or it has been tried before. What fails as a whole is tried again as a whole, for the store may be down; when the tries are used up, or
//! where the store has refused, in halves, down to one: so a poisoned change is found in O(log batch) batches, and does not take the others
//! with it.

mod ends;
mod flights;
#[cfg(test)]
mod tests;

pub(super) use ends::{Dead, Gone};
pub(super) use flights::{Batch, Failed, Item, Outcome, Settled, Step};

use super::error::WriteError;
use super::fate::Fate;
use super::keyed::{ByHash, Keyed};
use super::stats::Counts;
use crate::load::Backoff;
use crate::sync::Arc;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::task::Waker;

/// What there is to choose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) batch: usize,
    pub(super) batch_bytes: u64,
    /// In nanoseconds.
    pub(super) delay: u64,
    pub(super) most: usize,
    pub(super) most_bytes: u64,
    pub(super) flights: usize,
    pub(super) attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) coalesce: bool,
    pub(super) keep_dead: bool,
}

/// A change that was accepted.
pub(super) struct Accepted<V, E> {
    pub(super) value: Option<Arc<V>>,
    pub(super) version: u64,
    pub(super) bytes: u64,
    /// Its number in the journal; 0 if it is in none.
    noted: u64,
    /// The version of the first change that it stands for, and when that was accepted.
    first: u64,
    since: u64,
    fate: Arc<Fate<E>>,
}

/// All that is held of a key, but for what is dead.
struct Line<V, E> {
    flying: Option<Accepted<V, E>>,
    waiting: VecDeque<Accepted<V, E>>,
    /// How often its oldest was tried.
    attempts: u32,
    /// The largest batch that it may be in.
    most: usize,
    /// When it may be tried again, while it rests.
    rests: Option<u64>,
}

type Lines<K, T> = HashMap<Arc<Keyed<K>>, T, ByHash>;

pub(super) struct Queue<K, V, E> {
    rules: Rules,
    lines: Lines<K, Line<V, E>>,
    ready: BTreeMap<u64, Arc<Keyed<K>>>,
    ready_bytes: u64,
    resting: BTreeMap<(u64, u64), Arc<Keyed<K>>>,
    flights: usize,
    dead: Lines<K, Dead<K, V, E>>,
    /// Keys that computations look at: how many do, and how many changes came since the first.
    watched: Lines<K, (u32, u64)>,
    ledger: Ledger,
    /// Numbers in the journal that need not be made again: what others have replaced.
    replaced: Vec<u64>,
    barriers: Vec<Barrier>,
    /// Who waits for room, the longest first.
    crowd: VecDeque<(u64, Waker)>,
    /// The last number that a barrier or one of the crowd was given.
    given: u64,
    closing: bool,
    closed: bool,
    /// Who waits for the last flight to end.
    last: Option<Waker>,
}

/// What is held, in numbers.
struct Ledger {
    ops: usize,
    bytes: u64,
    /// That of the latest change.
    version: u64,
    /// What is not acknowledged, by number; when it was accepted.
    open: BTreeMap<u64, u64>,
    counts: Counts,
}

impl Ledger {
    /// Counts a change in, and numbers it.
    fn accept(&mut self, bytes: u64, now: u64) -> u64 {
        self.version += 1;
        self.open.insert(self.version, now);
        self.ops += 1;
        self.bytes += bytes;
        self.counts.accepted += 1;
        self.version
    }

    /// Counts a change out.
    fn leave(&mut self, first: u64, bytes: u64) {
        self.open.remove(&first);
        self.ops -= 1;
        self.bytes -= bytes;
    }

    /// True if all that was accepted up to this one is acknowledged or dead.
    fn is_past(&self, upto: u64) -> bool {
        self.open.keys().next().is_none_or(|&oldest| oldest > upto)
    }
}

/// Somebody waits until all that was accepted before is acknowledged or dead.
struct Barrier {
    id: u64,
    upto: u64,
    done: u64,
    failed: u64,
    waker: Option<Waker>,
}

/// Why a change was not accepted. It comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Full,
    Closed,
}

/// A change that was accepted, and what is to be dropped outside the lock.
pub(super) struct Pushed<K, V, E> {
    pub(super) fate: Arc<Fate<E>>,
    pub(super) key: Handle<K>,
    /// There may be something to do.
    pub(super) ring: bool,
    pub(super) old: Option<Accepted<V, E>>,
    pub(super) dead: Option<Dead<K, V, E>>,
}

/// The key of a change: the caller's, or the queue's own.
pub(super) enum Handle<K> {
    Spare(Keyed<K>),
    Kept(Arc<Keyed<K>>),
}

impl<K> Handle<K> {
    pub(super) fn key(&self) -> &K {
        match self {
            Self::Spare(keyed) => &keyed.key,
            Self::Kept(keyed) => &keyed.key,
        }
    }
}

/// What is refused comes back.
pub(super) type Refused<K, V> = (Refusal, Keyed<K>, Option<Arc<V>>);

/// What a key will be when all that is held of it is written.
pub(super) enum Staged<V> {
    Value(Arc<V>),
    Deleted,
}

impl<V> Staged<V> {
    pub(super) fn value(&self) -> Option<&V> {
        match self {
            Self::Value(value) => Some(value),
            Self::Deleted => None,
        }
    }
}

/// What a computation has looked at.
pub(super) struct Watch<K, V> {
    pub(super) key: Arc<Keyed<K>>,
    seen: u64,
    pub(super) staged: Option<Staged<V>>,
}

impl<V, E> Accepted<V, E> {
    fn staged(&self) -> Staged<V> {
        self.value.as_ref().map_or(Staged::Deleted, |value| Staged::Value(Arc::clone(value)))
    }
}

impl<V, E> Line<V, E> {
    fn new(most: usize) -> Self {
        Self { flying: None, waiting: VecDeque::with_capacity(1), attempts: 0, most, rests: None }
    }

    fn latest(&self) -> Option<&Accepted<V, E>> {
        self.waiting.back().or(self.flying.as_ref())
    }
}

impl<K: Eq, V, E> Queue<K, V, E> {
    /// An empty queue. The first change will have the version after this.
    pub(super) fn new(rules: Rules, version: u64) -> Self {
        let counts = Counts::default();
        Self {
            rules,
            lines: HashMap::default(),
            ready: BTreeMap::new(),
            ready_bytes: 0,
            resting: BTreeMap::new(),
            flights: 0,
            dead: HashMap::default(),
            watched: HashMap::default(),
            ledger: Ledger { ops: 0, bytes: 0, version, open: BTreeMap::new(), counts },
            replaced: Vec::new(),
            barriers: Vec::new(),
            crowd: VecDeque::new(),
            given: 0,
            closing: false,
            closed: false,
            last: None,
        }
    }

    /// Accepts a change, if there is room for it.
    pub(super) fn push(
        &mut self,
        key: Keyed<K>,
        value: Option<Arc<V>>,
        bytes: u64,
        noted: u64,
        now: u64,
    ) -> Result<Pushed<K, V, E>, Refused<K, V>> {
        if self.closing {
            return Err((Refusal::Closed, key, value));
        }
        self.note_change(&key);
        let coalesce = self.rules.coalesce;
        let waiting = self.lines.get_mut(&key).filter(|_| coalesce).and_then(|line| {
            let ready = line.flying.is_none() && line.rests.is_none();
            line.waiting.back_mut().map(|last| (last, ready))
        });
        let Some((last, ready)) = waiting else { return self.add(key, value, bytes, noted, now) };
        let ledger = &mut self.ledger;
        let room = self.rules.most_bytes.saturating_sub(ledger.bytes);
        if ledger.ops > 1 && bytes > last.bytes && bytes - last.bytes > room {
            return Err((Refusal::Full, key, value));
        }
        ledger.version += 1;
        let (version, first, since) = (ledger.version, last.first, last.since);
        let fate = Arc::clone(&last.fate);
        let new = Accepted { value, version, bytes, noted, first, since, fate: Arc::clone(&fate) };
        let old = std::mem::replace(last, new);
        ledger.bytes = ledger.bytes - old.bytes + bytes;
        ledger.counts.accepted += 1;
        ledger.counts.coalesced += 1;
        if ready {
            self.ready_bytes = self.ready_bytes - old.bytes + bytes;
        }
        let ring = ready && self.is_full();
        note_replaced(&mut self.replaced, old.noted);
        let (key, old) = (Handle::Spare(key), Some(old));
        Ok(Pushed { fate, key, ring, old, dead: None })
    }

    /// Accepts what an earlier process had accepted: there is room for it.
    pub(super) fn restore(
        &mut self,
        key: Keyed<K>,
        value: Option<Arc<V>>,
        of: (u64, u64),
        now: u64,
    ) {
        let (bytes, noted) = of;
        let rules = self.rules;
        (self.rules.most, self.rules.most_bytes) = (usize::MAX, u64::MAX);
        let pushed = self.push(key, value, bytes, noted, now);
        self.rules = rules;
        drop(pushed);
    }

    /// Numbers in the journal that are settled since this was last called, if there are so many.
    pub(super) fn take_replaced(&mut self, least: usize) -> Vec<u64> {
        if self.replaced.len() < least { Vec::new() } else { std::mem::take(&mut self.replaced) }
    }

    /// True if so much more may be held. What is larger than all that may be has the queue for itself.
    fn fits(&self, ops: usize, bytes: u64) -> bool {
        let Ledger { ops: held, bytes: held_bytes, .. } = self.ledger;
        held == 0 || held + ops <= self.rules.most && held_bytes + bytes <= self.rules.most_bytes
    }

    /// A change waits, behind what there is of its key.
    fn add(
        &mut self,
        key: Keyed<K>,
        value: Option<Arc<V>>,
        bytes: u64,
        noted: u64,
        now: u64,
    ) -> Result<Pushed<K, V, E>, Refused<K, V>> {
        let freed = self.dead.get(&key).map(|dead| dead.bytes);
        if !self.fits(usize::from(freed.is_none()), bytes.saturating_sub(freed.unwrap_or(0))) {
            return Err((Refusal::Full, key, value));
        }
        let dead = self.forget_dead(&key);
        let fate = Fate::new();
        let (line, key) = match self.lines.get_mut(&key) {
            Some(line) => (line, Handle::Spare(key)),
            None => {
                let key = Arc::new(key);
                let kept = Handle::Kept(Arc::clone(&key));
                (self.lines.entry(key).or_insert(Line::new(self.rules.batch)), kept)
            }
        };
        let version = self.ledger.accept(bytes, now);
        let (first, since) = (version, now);
        let new = Accepted { value, version, bytes, noted, first, since, fate: Arc::clone(&fate) };
        line.waiting.push_back(new);
        let mut ring = false;
        // A line that was there flies, or has others before this.
        if let Handle::Kept(key) = &key {
            self.ready.insert(version, Arc::clone(key));
            self.ready_bytes += bytes;
            ring = self.ready.len() == 1 || self.is_full();
        }
        Ok(Pushed { fate, key, ring, old: None, dead })
    }

    /// True if there is a batch of the largest size, and it may fly.
    fn is_full(&self) -> bool {
        let much =
            self.ready.len() >= self.rules.batch || self.ready_bytes >= self.rules.batch_bytes;
        much && self.flights < self.rules.flights
    }

    /// What a key will be, if any change of it is held that is not dead.
    pub(super) fn latest(&self, key: &Keyed<K>) -> Option<Staged<V>> {
        self.lines.get(key)?.latest().map(Accepted::staged)
    }

    /// How many keys have changes that are not acknowledged, the dead left out.
    pub(super) fn dirty(&self) -> usize {
        self.lines.len()
    }

    /// Begins to look at a key, until `unwatch`: `is_unchanged` knows whether it was changed.
    pub(super) fn watch(&mut self, key: Arc<Keyed<K>>) -> Watch<K, V> {
        let staged = self.latest(&key);
        let watched = self.watched.entry(Arc::clone(&key)).or_insert((0, 0));
        watched.0 += 1;
        Watch { key, seen: watched.1, staged }
    }

    pub(super) fn unwatch(&mut self, key: &Keyed<K>) {
        let last = self.watched.get_mut(key).is_some_and(|watched| {
            watched.0 -= 1;
            watched.0 == 0
        });
        if last {
            self.watched.remove(key);
        }
    }

    /// True if no change of the key was accepted since it was looked at.
    pub(super) fn is_unchanged(&self, watch: &Watch<K, V>) -> bool {
        self.watched.get(&*watch.key).is_some_and(|watched| watched.1 == watch.seen)
    }

    fn note_change(&mut self, key: &Keyed<K>) {
        if self.watched.is_empty() {
            return;
        }
        if let Some(watched) = self.watched.get_mut(key) {
            watched.1 += 1;
        }
    }

    /// How much is held, and since when the oldest is not acknowledged.
    pub(super) fn held(&self) -> (usize, u64, Option<u64>) {
        let Ledger { ops, bytes, open, .. } = &self.ledger;
        (*ops, *bytes, open.values().next().copied())
    }

    pub(super) fn counts(&mut self) -> &mut Counts {
        &mut self.ledger.counts
    }

    /// Counts a write that is not taken for want of room.
    pub(super) fn reject(&mut self) -> WriteError<E> {
        self.ledger.counts.rejected += 1;
        WriteError::Full { entries: self.ledger.ops, bytes: self.ledger.bytes }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flights
    }

    pub(super) fn dead_count(&self) -> usize {
        self.dead.len()
    }

    /// Has a caller woken when there is room.
    pub(super) fn wait_for_room(&mut self, id: &mut Option<u64>, waker: &Waker) {
        if let Some((_, kept)) = self.crowd.iter_mut().find(|(other, _)| Some(*other) == *id) {
            kept.clone_from(waker);
            return;
        }
        self.ledger.counts.blocked += u64::from(id.is_none());
        self.given += 1;
        *id = Some(self.given);
        self.crowd.push_back((self.given, waker.clone()));
    }

    /// A caller waits no more. If it had been woken, the next one is: the room may still be there.
    pub(super) fn leave_crowd(&mut self, id: u64) -> Option<Waker> {
        match self.crowd.iter().position(|(other, _)| *other == id) {
            Some(at) => {
                self.crowd.remove(at);
                None
            }
            None => self.crowd.pop_front().map(|(_, waker)| waker),
        }
    }
}

fn note_replaced(replaced: &mut Vec<u64>, noted: u64) {
    if noted != 0 {
        replaced.push(noted);
    }
}
