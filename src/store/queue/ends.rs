//! What is dead, barriers, and the end.

use super::{Accepted, Barrier, Line, Queue, note_replaced};
use crate::store::error::WriteError;
use crate::store::fate::Fate;
use crate::store::keyed::Keyed;
use crate::sync::Arc;
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

/// A change that nobody tries any more.
pub(in crate::store) struct Dead<K, V, E> {
    pub(in crate::store) key: Arc<Keyed<K>>,
    pub(in crate::store) value: Option<Arc<V>>,
    pub(in crate::store) version: u64,
    pub(in crate::store) bytes: u64,
    /// Its number in the journal.
    pub(in crate::store) noted: u64,
    pub(in crate::store) since: u64,
    pub(in crate::store) attempts: u32,
    pub(in crate::store) error: WriteError<E>,
}

impl<K, V, E> Clone for Dead<K, V, E> {
    fn clone(&self) -> Self {
        Self {
            key: Arc::clone(&self.key),
            value: self.value.clone(),
            error: self.error.clone(),
            ..*self
        }
    }
}

/// A change that the end has left unwritten.
pub(in crate::store) struct Gone<K, V, E> {
    pub(in crate::store) key: Arc<Keyed<K>>,
    pub(in crate::store) value: Option<Arc<V>>,
    pub(in crate::store) version: u64,
    /// The store had it: it may be written, or not.
    pub(in crate::store) flying: bool,
    /// Of one that is dead.
    pub(in crate::store) error: Option<WriteError<E>>,
    pub(in crate::store) fate: Option<Arc<Fate<E>>>,
}

impl<K: Eq, V, E> Queue<K, V, E> {
    /// Takes out what is dead of a key.
    pub(super) fn forget_dead(&mut self, key: &Keyed<K>) -> Option<Dead<K, V, E>> {
        if self.dead.is_empty() {
            return None;
        }
        let dead = self.dead.remove(key)?;
        self.ledger.ops -= 1;
        self.ledger.bytes -= dead.bytes;
        note_replaced(&mut self.replaced, dead.noted);
        Some(dead)
    }

    /// What is dead, the oldest first.
    pub(in crate::store) fn list_dead(&self) -> Vec<Dead<K, V, E>> {
        let mut dead: Vec<_> = self.dead.values().cloned().collect();
        dead.sort_unstable_by_key(|dead| dead.version);
        dead
    }

    /// Gives up what is dead, and says what that was.
    pub(in crate::store) fn take_dead(&mut self, wakers: &mut Vec<Waker>) -> Vec<Dead<K, V, E>> {
        let dead = self.list_dead();
        for Dead { key, .. } in &dead {
            self.forget_dead(key);
        }
        self.wake(wakers);
        dead
    }

    /// Tries again what is dead, as if it had been accepted now, with the version that it has. Says what that was.
    pub(in crate::store) fn retry_dead(&mut self, now: u64) -> Vec<Dead<K, V, E>> {
        let dead = self.list_dead();
        for dead in &dead {
            self.forget_dead(&dead.key);
            // It is open all the same.
            self.replaced.retain(|noted| *noted != dead.noted);
            let Dead { version, bytes, noted, .. } = *dead;
            let value = dead.value.clone();
            let fate = Fate::new();
            let first = version;
            let accepted = Accepted { value, version, bytes, noted, first, since: now, fate };
            self.note_change(&dead.key);
            self.ledger.open.insert(version, now);
            self.ledger.ops += 1;
            self.ledger.bytes += bytes;
            let mut line = Line::new(self.rules.batch);
            line.waiting.push_back(accepted);
            self.lines.insert(Arc::clone(&dead.key), line);
            self.ready.insert(version, Arc::clone(&dead.key));
            self.ready_bytes += bytes;
        }
        dead
    }

    /// Begins to wait for all that is accepted so far.
    pub(in crate::store) fn begin_flush(&mut self) -> u64 {
        self.given += 1;
        let (id, upto) = (self.given, self.ledger.version);
        self.barriers.push(Barrier { id, upto, done: 0, failed: 0, waker: None });
        id
    }

    /// How many were acknowledged, and how many have failed for good, when all are one or the other.
    pub(in crate::store) fn poll_flush(
        &mut self,
        id: u64,
        context: &Context<'_>,
    ) -> Poll<(u64, u64)> {
        let Some(barrier) = self.barriers.iter_mut().find(|barrier| barrier.id == id) else {
            return Poll::Ready((0, 0));
        };
        if self.ledger.is_past(barrier.upto) {
            return Poll::Ready((barrier.done, barrier.failed));
        }
        barrier.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// What `poll_flush` would say if it were over.
    pub(in crate::store) fn flush_so_far(&self, id: u64) -> (u64, u64) {
        let barrier = self.barriers.iter().find(|barrier| barrier.id == id);
        barrier.map_or((0, 0), |barrier| (barrier.done, barrier.failed))
    }

    pub(in crate::store) fn end_flush(&mut self, id: u64) {
        self.barriers.retain(|barrier| barrier.id != id);
    }

    /// Accepts no more. What is held is hurried.
    pub(in crate::store) fn close(&mut self, wakers: &mut Vec<Waker>) {
        self.closing = true;
        self.wake(wakers);
    }

    /// Ready when no batch is in the store's hands.
    pub(in crate::store) fn poll_landed(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.flights == 0 {
            return Poll::Ready(());
        }
        self.last = Some(context.waker().clone());
        Poll::Pending
    }

    /// Gives up all that is held, and says what that was, the oldest first. What flies will be settled for nobody.
    pub(in crate::store) fn end(&mut self, wakers: &mut Vec<Waker>) -> Vec<Gone<K, V, E>> {
        (self.closing, self.closed) = (true, true);
        let mut gone: Vec<Gone<K, V, E>> = Vec::new();
        for (key, line) in self.lines.drain() {
            let flying = line.flying.map(|flying| (true, flying));
            let waiting: VecDeque<_> = line.waiting;
            for (flying, left) in
                flying.into_iter().chain(waiting.into_iter().map(|it| (false, it)))
            {
                let (value, version, fate) = (left.value, left.version, Some(left.fate));
                let key = Arc::clone(&key);
                gone.push(Gone { key, value, version, flying, error: None, fate });
            }
        }
        for (key, dead) in self.dead.drain() {
            let Dead { value, version, error, .. } = dead;
            let error = Some(error);
            gone.push(Gone { key, value, version, flying: false, error, fate: None });
        }
        gone.sort_unstable_by_key(|gone| gone.version);
        self.ready.clear();
        self.resting.clear();
        self.ledger.open.clear();
        (self.ready_bytes, self.ledger.ops, self.ledger.bytes) = (0, 0, 0);
        self.wake(wakers);
        gone
    }
}
