//! What is tried next, and what becomes of it.

use super::{Accepted, Dead, Line, Queue, note_replaced};
use crate::store::error::WriteError;
use crate::store::fate::Fate;
use crate::store::keyed::Keyed;
use crate::sync::Arc;
use crate::time::nanos;
use std::task::Waker;

/// How many a call lets go on that have rested enough.
const SLICE: usize = 64;

/// What is to be done.
pub(in crate::store) enum Step<K, V> {
    /// Write these.
    Fly(Batch<K, V>),
    /// Nothing, until this time unless something happens.
    Wait(Option<u64>),
}

/// Changes that are the store's to make, each of another key.
pub(in crate::store) type Batch<K, V> = Vec<Item<K, V>>;

pub(in crate::store) struct Item<K, V> {
    pub(in crate::store) key: Arc<Keyed<K>>,
    pub(in crate::store) value: Option<Arc<V>>,
    pub(in crate::store) version: u64,
}

impl<K, V> Clone for Item<K, V> {
    fn clone(&self) -> Self {
        let (key, value) = (Arc::clone(&self.key), self.value.clone());
        Self { key, value, version: self.version }
    }
}

/// What has become of a batch.
pub(in crate::store) enum Outcome<E> {
    /// Of each by itself; as many as there are in the batch.
    Each(Vec<Result<(), Failed<E>>>),
    Whole(Failed<E>),
}

impl<E> Outcome<E> {
    /// That of a batch of one change.
    pub(in crate::store) fn of_one(self) -> Result<(), WriteError<E>> {
        match self {
            Self::Each(outcomes) => {
                let outcome = outcomes.into_iter().next();
                outcome.map_or(Err(WriteError::Lost), |one| one.map_err(|failed| failed.error))
            }
            Self::Whole(failed) => Err(failed.error),
        }
    }
}

pub(in crate::store) struct Failed<E> {
    pub(in crate::store) error: WriteError<E>,
    /// Trying again is no use.
    pub(in crate::store) refused: bool,
}

/// What is to be done outside the lock when a batch has ended.
pub(in crate::store) struct Settled<K, V, E> {
    /// Numbers in the journal that need not be made again.
    pub(in crate::store) settled: Vec<u64>,
    pub(in crate::store) dead: Vec<Dead<K, V, E>>,
    /// Fates that are known now.
    fates: Vec<Known<E>>,
    /// The second of each follows the first.
    adopted: Vec<[Arc<Fate<E>>; 2]>,
    wakers: Vec<Waker>,
}

/// A fate that is known.
type Known<E> = (Arc<Fate<E>>, Result<(), WriteError<E>>);

/// A change that its caller writes, and the dead one that it has replaced.
type Alone<K, V, E> = (Item<K, V>, Option<Dead<K, V, E>>);

/// What a failure makes of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Fall {
    /// Again, in a batch of at most so many, after a rest if so.
    Again {
        most: usize,
        rest: bool,
    },
    Dead,
}

impl<K: Eq, V, E> Queue<K, V, E> {
    /// What is to be done now.
    pub(in crate::store) fn next(&mut self, now: u64) -> Step<K, V> {
        self.wake_rested(now);
        let rest = self.resting.keys().next().map(|(due, _)| *due);
        if self.closed || self.flights >= self.rules.flights {
            return Step::Wait(None);
        }
        let Some((&first, key)) = self.ready.iter().next() else { return Step::Wait(rest) };
        let old =
            self.ledger.open.get(&first).copied().unwrap_or(now).saturating_add(self.rules.delay);
        let tried = self.lines.get(&**key).is_some_and(|line| line.attempts > 0);
        let hurried = self.closing || self.barriers.iter().any(|barrier| first <= barrier.upto);
        if !(self.is_full() || tried || hurried || old <= now) {
            return Step::Wait(Some(rest.map_or(old, |rest| rest.min(old))));
        }
        self.flights += 1;
        Step::Fly(self.take_batch())
    }

    /// Lines that have rested enough are ready.
    fn wake_rested(&mut self, now: u64) {
        for _ in 0..SLICE {
            let Some(entry) = self.resting.first_entry().filter(|entry| entry.key().0 <= now)
            else {
                return;
            };
            let ((_, first), key) = entry.remove_entry();
            if let Some(line) = self.lines.get_mut(&*key) {
                line.rests = None;
                self.ready_bytes += line.waiting.front().map_or(0, |front| front.bytes);
                self.ready.insert(first, key);
            }
        }
    }

    fn take_batch(&mut self) -> Batch<K, V> {
        let (mut batch, mut bytes, mut limit) = (Batch::new(), 0, self.rules.batch);
        while let Some(entry) = self.ready.first_entry() {
            let Some(line) = self.lines.get_mut(&**entry.get()) else {
                entry.remove();
                continue;
            };
            let weight = line.waiting.front().map_or(0, |front| front.bytes);
            limit = limit.min(line.most);
            let full = batch.len() >= limit || bytes + weight > self.rules.batch_bytes;
            if full && !batch.is_empty() {
                break;
            }
            let key = entry.remove();
            self.ready_bytes -= weight;
            bytes += weight;
            line.flying = line.waiting.pop_front();
            if let Some(flying) = &line.flying {
                let (value, version) = (flying.value.clone(), flying.version);
                batch.push(Item { key, value, version });
            }
        }
        batch
    }

    /// A change that its caller writes, since there is no room for it: as if it had been accepted and taken. `None` if there is
    /// a line of its key, or the queue is closed.
    pub(in crate::store) fn fly_alone(
        &mut self,
        key: &Arc<Keyed<K>>,
        value: Option<Arc<V>>,
        (bytes, noted): (u64, u64),
        now: u64,
    ) -> Option<Alone<K, V, E>> {
        if self.closing || self.lines.contains_key(&**key) {
            return None;
        }
        let dead = self.forget_dead(key);
        let version = self.ledger.accept(bytes, now);
        self.note_change(key);
        let (first, since, fate) = (version, now, Fate::new());
        let flying = Accepted { value: value.clone(), version, bytes, noted, first, since, fate };
        let mut line = Line::new(self.rules.batch);
        line.flying = Some(flying);
        self.lines.insert(Arc::clone(key), line);
        self.flights += 1;
        self.ledger.counts.written_through += 1;
        Some((Item { key: Arc::clone(key), value, version }, dead))
    }

    /// Ends a batch. `draw` is from 0 to 1. The caller has the batch until the lock is gone: it keeps keys and values, whose destructors are the
    /// user's.
    pub(in crate::store) fn settle(
        &mut self,
        batch: &[Item<K, V>],
        outcome: Outcome<E>,
        now: u64,
        draw: f64,
    ) -> Settled<K, V, E> {
        let mut settled = Settled::new();
        // Before those that stand for them.
        settled.settled.append(&mut self.replaced);
        self.flights -= 1;
        let size = batch.len();
        match outcome {
            Outcome::Each(outcomes) => {
                for (item, outcome) in batch.iter().zip(outcomes) {
                    match outcome {
                        Ok(()) => self.acknowledge(item, now, &mut settled),
                        Err(failed) => self.fail(item, &failed, 1, (now, draw), &mut settled),
                    }
                }
            }
            Outcome::Whole(failed) => {
                for item in batch {
                    self.fail(item, &failed, size, (now, draw), &mut settled);
                }
            }
        }
        self.wake(&mut settled.wakers);
        settled
    }

    /// Ends a change that its caller has written. If that failed it is the caller's, and nobody tries again.
    pub(in crate::store) fn settle_alone(
        &mut self,
        item: &Item<K, V>,
        outcome: Result<(), WriteError<E>>,
        now: u64,
    ) -> Settled<K, V, E> {
        let mut settled = Settled::new();
        settled.settled.append(&mut self.replaced);
        self.flights -= 1;
        match outcome {
            Ok(()) => self.acknowledge(item, now, &mut settled),
            Err(error) => {
                if let Some(flying) = self.land(item) {
                    self.tell_barriers(flying.first, false);
                    note_replaced(&mut settled.settled, flying.noted);
                    self.leave(flying, Err(error), &mut settled);
                    self.go_on(&item.key);
                }
            }
        }
        self.wake(&mut settled.wakers);
        settled
    }

    /// The change of an item, if it is still the one that flies.
    fn land(&mut self, item: &Item<K, V>) -> Option<Accepted<V, E>> {
        let line = self.lines.get_mut(&*item.key)?;
        line.flying.take_if(|flying| flying.version == item.version)
    }

    fn acknowledge(&mut self, item: &Item<K, V>, now: u64, settled: &mut Settled<K, V, E>) {
        let Some(flying) = self.land(item) else { return };
        let took = now.saturating_sub(flying.since);
        self.ledger.counts.written += 1;
        self.ledger.counts.latency.note(took);
        note_replaced(&mut settled.settled, flying.noted);
        self.tell_barriers(flying.first, true);
        self.leave(flying, Ok(()), settled);
        self.go_on(&item.key);
    }

    /// A change is held no more.
    fn leave(
        &mut self,
        gone: Accepted<V, E>,
        outcome: Result<(), WriteError<E>>,
        settled: &mut Settled<K, V, E>,
    ) {
        self.ledger.leave(gone.first, gone.bytes);
        settled.fates.push((gone.fate, outcome));
    }

    /// What waits of a key is next, as if it had never been tried; without any the line ends.
    fn go_on(&mut self, key: &Arc<Keyed<K>>) {
        let Some(line) = self.lines.get_mut(&**key) else { return };
        match line.waiting.front() {
            Some(front) => {
                (line.attempts, line.most, line.rests) = (0, self.rules.batch, None);
                self.ready_bytes += front.bytes;
                self.ready.insert(front.first, Arc::clone(key));
            }
            None => drop(self.lines.remove(&**key)),
        }
    }

    /// A change was not made, in a batch of so many.
    fn fail(
        &mut self,
        item: &Item<K, V>,
        failed: &Failed<E>,
        size: usize,
        (now, draw): (u64, f64),
        settled: &mut Settled<K, V, E>,
    ) {
        let Some(flying) = self.land(item) else { return };
        let Some(line) = self.lines.get_mut(&*item.key) else { return };
        line.attempts = line.attempts.saturating_add(1);
        let fall = fall(failed.refused, size, line.attempts, self.rules.attempts, line.most);
        let Fall::Again { most, rest } = fall else {
            let attempts = line.attempts;
            return self.bury(flying, item, attempts, &failed.error, settled);
        };
        line.most = most;
        self.ledger.counts.retried += 1;
        if self.rules.coalesce {
            if let Some(newer) = line.waiting.front_mut() {
                // What is newer is tried instead, as old as what it stands for.
                self.ledger.leave(newer.first, flying.bytes);
                (newer.first, newer.since) = (flying.first, flying.since);
                self.ledger.counts.coalesced += 1;
                note_replaced(&mut settled.settled, flying.noted);
                settled.adopted.push([Arc::clone(&newer.fate), flying.fate]);
                return self.rest_or_not(item, rest, now, draw);
            }
        }
        line.waiting.push_front(flying);
        self.rest_or_not(item, rest, now, draw);
    }

    fn rest_or_not(&mut self, item: &Item<K, V>, rest: bool, now: u64, draw: f64) {
        let Some(line) = self.lines.get_mut(&*item.key) else { return };
        let Some(front) = line.waiting.front() else { return };
        if rest {
            let wait = self.rules.backoff.after(u64::from(line.attempts - 1));
            // Half of it at least, so that those who failed together do not all come back together.
            let due = now.saturating_add(nanos(wait.mul_f64(0.5 + draw / 2.0)));
            line.rests = Some(due);
            self.resting.insert((due, front.first), Arc::clone(&item.key));
        } else {
            self.ready_bytes += front.bytes;
            self.ready.insert(front.first, Arc::clone(&item.key));
        }
    }

    fn bury(
        &mut self,
        flying: Accepted<V, E>,
        item: &Item<K, V>,
        attempts: u32,
        error: &WriteError<E>,
        settled: &mut Settled<K, V, E>,
    ) {
        self.ledger.counts.dead_lettered += 1;
        self.tell_barriers(flying.first, false);
        let dead = Dead {
            key: Arc::clone(&item.key),
            value: flying.value.clone(),
            version: flying.version,
            bytes: flying.bytes,
            noted: flying.noted,
            since: flying.since,
            attempts,
            error: error.clone(),
        };
        let superseded = self.lines.get(&*item.key).is_some_and(|line| !line.waiting.is_empty());
        if self.rules.keep_dead && !superseded {
            self.ledger.ops += 1;
            self.ledger.bytes += dead.bytes;
            self.dead.insert(Arc::clone(&item.key), dead.clone());
        } else {
            note_replaced(&mut settled.settled, dead.noted);
        }
        settled.dead.push(dead);
        self.leave(flying, Err(error.clone()), settled);
        self.go_on(&item.key);
    }

    fn tell_barriers(&mut self, first: u64, done: bool) {
        for barrier in self.barriers.iter_mut().filter(|barrier| first <= barrier.upto) {
            if done {
                barrier.done += 1;
            } else {
                barrier.failed += 1;
            }
        }
    }

    /// Who waits for what is over: barriers, and as many as there may be room for.
    pub(super) fn wake(&mut self, wakers: &mut Vec<Waker>) {
        for barrier in self.barriers.iter_mut().filter(|it| self.ledger.is_past(it.upto)) {
            wakers.extend(barrier.waker.take());
        }
        if self.flights == 0 {
            wakers.extend(self.last.take());
        }
        let room = self.rules.most.saturating_sub(self.ledger.ops);
        let woken = if self.closing { self.crowd.len() } else { self.crowd.len().min(room.max(1)) };
        wakers.extend(self.crowd.drain(..woken).map(|(_, waker)| waker));
    }
}

/// What a failure makes of a change that was tried so often, in a batch of `size`, and may be in one of `most`.
pub(in crate::store) fn fall(
    refused: bool,
    size: usize,
    attempts: u32,
    limit: u32,
    most: usize,
) -> Fall {
    let half = size.div_ceil(2).max(1);
    match (refused, size) {
        (true, 0 | 1) => Fall::Dead,
        (true, _) => Fall::Again { most: half, rest: false },
        (false, 0 | 1) if attempts >= limit => Fall::Dead,
        (false, 2..) if attempts >= limit => Fall::Again { most: half, rest: true },
        (false, _) => Fall::Again { most, rest: true },
    }
}

impl<K, V, E> Settled<K, V, E> {
    pub(super) fn new() -> Self {
        Self {
            settled: Vec::new(),
            dead: Vec::new(),
            fates: Vec::new(),
            adopted: Vec::new(),
            wakers: Vec::new(),
        }
    }

    /// Tells all who wait. Outside the lock.
    pub(in crate::store) fn tell(self) {
        for (fate, outcome) in &self.fates {
            fate.settle(outcome);
        }
        for [newer, older] in self.adopted {
            newer.adopt(older);
        }
        self.wakers.into_iter().for_each(Waker::wake);
    }
}
