//! Bringing what waits to the store: in the background, by hand, without room, at the end.

use super::behind::{Behind, Entry, Tried};
use super::contract::Change;
use super::error::{FlushError, WriteError};
use super::fate::Receipt;
use super::inner::{Caller, Inner};
use super::keyed::Keyed;
use super::levels::Levels;
use super::options::{Unwritten, WhenFull};
use super::queue::{Batch, Failed, Gone, Item, Outcome, Queue, Refusal, Step};
use crate::caught::caught;
use crate::load::{Spawn, Task, offload};
use crate::sync::{Arc, Ordering};
use crate::time::nanos;
use std::future::poll_fn;
use std::hash::Hash;
use std::task::Poll;
use std::time::Duration;

/// A batch in the store's hands. Dropped before it has landed, it was lost.
struct Flight<K, V, E, L>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    L: Levels<K, V, E>,
{
    inner: Arc<Inner<K, V, E, L>>,
    batch: Option<Batch<K, V>>,
    /// Its caller writes it, since there was no room.
    alone: bool,
}

impl<K, V, E, L> Flight<K, V, E, L>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    L: Levels<K, V, E>,
{
    async fn fly(mut self) {
        let inner = Arc::clone(&self.inner);
        let (Some(behind), Some(batch)) = (inner.behind(), self.batch.clone()) else { return };
        let number = batch.first().map_or(0, |item| item.version);
        let asked = async {
            let outcome = inner.asker.apply_batch(&batch).await;
            let done = acknowledged(&batch, &outcome);
            if L::SHARED && !behind.early && !done.is_empty() {
                inner.levels.delete(done).await;
            }
            outcome
        };
        if let Some(outcome) = behind.unless_ended(number, asked).await {
            self.land(outcome);
        }
    }

    /// The same of one change, for its caller.
    async fn fly_alone(mut self, item: Item<K, V>) -> Result<(), WriteError<E>> {
        let inner = Arc::clone(&self.inner);
        let Some(behind) = inner.behind() else { return Err(WriteError::Closed) };
        let (key, value, version) = (&item.key.key, item.value.as_deref(), item.version);
        let asked = async {
            let outcome = inner.asker.apply(Change { key, value, version }).await;
            if outcome.is_ok() {
                inner.levels.delete(vec![key.clone()]).await;
            }
            outcome.map_err(|failed| failed.error)
        };
        let outcome = behind.unless_ended(version, asked).await.unwrap_or(Err(WriteError::Closed));
        let told = outcome.clone();
        let failed = |error| Failed { error, refused: true };
        self.land(Outcome::Each(vec![outcome.map_err(failed)]));
        told
    }

    /// What the batch has come to is known.
    fn land(&mut self, outcome: Outcome<E>) {
        let Some(batch) = self.batch.take() else { return };
        let Some(behind) = self.inner.behind() else { return };
        let draw = crate::hash::draw() as f64 / u64::MAX as f64;
        let now = nanos(behind.clock.now());
        let levels = &self.inner.levels;
        if !self.alone {
            let settled = behind.settle_log(|queue| {
                let mut settled = queue.settle(&batch, outcome, now, draw);
                let numbers = std::mem::take(&mut settled.settled);
                (settled, numbers)
            });
            return behind.settled(levels, settled);
        }
        let (item, outcome) = (&batch[0], outcome.of_one());
        let failed = outcome.is_err();
        let settled = behind.settle_log(|queue| {
            let mut settled = queue.settle_alone(item, outcome, now);
            let numbers = std::mem::take(&mut settled.settled);
            (settled, numbers)
        });
        behind.settled(levels, settled);
        if failed {
            // It may have been read while it flew.
            levels.doubt(&item.key.key);
        }
    }
}

impl<K, V, E, L> Drop for Flight<K, V, E, L>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    L: Levels<K, V, E>,
{
    fn drop(&mut self) {
        self.land(Outcome::Whole(Failed { error: WriteError::Lost, refused: false }));
    }
}

/// The keys that the store has acknowledged.
fn acknowledged<K: Clone, V, E>(batch: &Batch<K, V>, outcome: &Outcome<E>) -> Vec<K> {
    let Outcome::Each(outcomes) = outcome else { return Vec::new() };
    let done = batch.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_ok());
    done.map(|(item, _)| item.key.key.clone()).collect()
}

/// A sync that is to be made, by whoever drops this: though nobody runs it, it is made.
struct Syncing<K, V, E, L>(Arc<Inner<K, V, E, L>>)
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    L: Levels<K, V, E>;

impl<K, V, E, L> Drop for Syncing<K, V, E, L>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    L: Levels<K, V, E>,
{
    fn drop(&mut self) {
        if let Some(behind) = self.0.behind().filter(|behind| behind.log.is_some()) {
            behind.sync();
        }
    }
}

/// A place in the crowd that waits for room.
struct Place<'a, K, V, E>
where
    K: Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    behind: &'a Behind<K, V, E>,
    id: Option<u64>,
}

impl<K, V, E> Drop for Place<'_, K, V, E>
where
    K: Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    fn drop(&mut self) {
        let next = self.id.and_then(|id| self.behind.with_queue(|queue| queue.leave_crowd(id)));
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

impl<K, V, E, L> Inner<K, V, E, L>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    L: Levels<K, V, E>,
{
    /// What the background does: a batch after the other, each in a task of its own.
    pub(super) async fn run(self: Arc<Self>, spawn: Arc<dyn Spawn>) {
        let Some(behind) = self.behind() else { return };
        while !self.gone.load(Ordering::Acquire) {
            match behind.next() {
                Step::Fly(batch) => {
                    let task: Task = Box::pin(self.flight(batch).fly());
                    if self.asker.store.blocks() {
                        spawn.spawn_blocking(task);
                    } else {
                        spawn.spawn(task);
                    }
                }
                Step::Wait(until) => {
                    self.sync_if_due();
                    behind.wait(&*spawn, until).await;
                }
            }
        }
    }

    /// What was noted is on the disk when a cache was closed.
    async fn sync_at_the_end(self: &Arc<Self>) {
        let syncing = Syncing(Arc::clone(self));
        match &self.asker.spawn {
            Some(spawn) => drop(offload(&**spawn, true, async move { drop(syncing) }).await),
            None => drop(syncing),
        }
    }

    /// Gives up what waits: the last handle is gone.
    pub(super) fn abandon(self: &Arc<Self>) {
        let Some(behind) = self.behind() else { return };
        let gone = behind.wake_after(Queue::end);
        behind.settle_replaced(0);
        self.sync_behind();
        behind.bell.ring();
        let lost = gone.iter().filter(|gone| !gone.flying).count();
        gone.into_iter().for_each(|gone| drop(unwritten(gone)));
        if let (Some(hear), 1..) = (&behind.on_abandoned, lost) {
            caught(|| hear(lost));
        }
    }

    /// Brings what was noted to the disk, if that is due.
    fn sync_if_due(self: &Arc<Self>) {
        let due = self.behind().is_some_and(|behind| {
            // One at a time: until it has ended, it is due.
            behind.is_sync_due() && !behind.syncing.swap(true, Ordering::AcqRel)
        });
        if due {
            self.sync_behind();
        }
    }

    /// Brings what was noted to the disk, where blocking does no harm.
    fn sync_behind(self: &Arc<Self>) {
        let syncing = Syncing(Arc::clone(self));
        if let Some(spawn) = &self.asker.spawn {
            spawn.spawn_blocking(Box::pin(async move { drop(syncing) }));
        }
    }

    fn flight(self: &Arc<Self>, batch: Batch<K, V>) -> Flight<K, V, E, L> {
        Flight { inner: Arc::clone(self), batch: Some(batch), alone: false }
    }

    /// Writes all that is due now. Says how many changes the store was given.
    pub(super) async fn drive(self: &Arc<Self>) -> usize {
        let Some(behind) = self.behind() else { return 0 };
        if behind.is_sync_due() {
            behind.sync();
        }
        let mut given = 0;
        while let Step::Fly(batch) = behind.next() {
            given += batch.len();
            self.flight(batch).fly().await;
        }
        given
    }

    /// A change finds no room.
    pub(super) async fn write_without_room(
        self: &Arc<Self>,
        behind: &Behind<K, V, E>,
        entry: Entry<'_, K, V>,
        caller: Caller,
    ) -> Result<Option<Receipt<E>>, WriteError<E>> {
        match behind.full {
            WhenFull::Reject => Err(behind.with_queue(Queue::reject)),
            WhenFull::Block(limit) => self.write_when_room(behind, entry, limit).await,
            WhenFull::WriteThrough => self.write_alone(behind, entry, caller).await,
        }
    }

    async fn write_when_room(
        self: &Arc<Self>,
        behind: &Behind<K, V, E>,
        entry: Entry<'_, K, V>,
        limit: Duration,
    ) -> Result<Option<Receipt<E>>, WriteError<E>> {
        let Some(spawn) = &self.asker.spawn else {
            return Err(behind.with_queue(Queue::reject));
        };
        let mut limit = spawn.sleep(limit);
        let mut place = Place { behind, id: None };
        let Entry { bytes, noted, unless_changed, .. } = entry;
        let mut held = Some((entry.key, entry.value));
        poll_fn(|context| {
            let Some((key, value)) = held.take() else { return Poll::Pending };
            let entry = Entry { key, value, bytes, noted, unless_changed };
            let crowd = Some((&mut place.id, context.waker()));
            match behind.enter(&self.levels, entry, crowd) {
                Tried::Taken(receipt) => Poll::Ready(Ok(Some(receipt))),
                Tried::Changed => Poll::Ready(Ok(None)),
                Tried::Refused((Refusal::Closed, ..)) => Poll::Ready(Err(WriteError::Closed)),
                Tried::Refused((Refusal::Full, key, value)) => {
                    held = Some((key, value));
                    let over = limit.as_mut().poll(context);
                    over.map(|()| Err(behind.with_queue(Queue::reject)))
                }
            }
        })
        .await
    }

    /// The caller writes what there is no room for.
    async fn write_alone(
        self: &Arc<Self>,
        behind: &Behind<K, V, E>,
        entry: Entry<'_, K, V>,
        caller: Caller,
    ) -> Result<Option<Receipt<E>>, WriteError<E>> {
        let Entry { key, value, bytes, noted, unless_changed } = entry;
        let (key, now) = (Arc::new(key), behind.now());
        let taken = behind.with_queue(|queue| {
            if unless_changed.is_some_and(|watch| !queue.is_unchanged(watch)) {
                return None;
            }
            Some(queue.fly_alone(&key, value.clone(), (bytes, noted), now))
        });
        match taken {
            None => Ok(None),
            Some(Some((item, dead))) => {
                drop(dead);
                self.levels.forget(&key.key);
                let batch = Some(vec![item.clone()]);
                let flight = Flight { inner: Arc::clone(self), batch, alone: true };
                self.carry(caller, flight.fly_alone(item)).await?;
                Ok(Some(Receipt::done()))
            }
            Some(None) => {
                // Its key is in the store's hands: when that is over, there is room, or it is this caller's turn.
                let key = Keyed { hash: key.hash, key: key.key.clone() };
                let entry = Entry { key, value, bytes, noted, unless_changed };
                let limit = self.asker.timeout.unwrap_or(Duration::MAX);
                self.write_when_room(behind, entry, limit).await
            }
        }
    }

    /// Waits until all that was accepted before is acknowledged or dead.
    pub(super) async fn flush(self: &Arc<Self>) -> Result<u64, FlushError> {
        let Some(behind) = self.behind() else { return Ok(0) };
        let barrier = Barrier { behind, id: behind.with_queue(Queue::begin_flush) };
        behind.bell.ring();
        if self.asker.spawn.is_none() {
            self.drive().await;
        }
        let by_hand = self.asker.spawn.is_none();
        let (done, failed, left) = poll_fn(|context| {
            let mut queue = behind.queue.lock();
            match queue.poll_flush(barrier.id, context) {
                Poll::Ready((done, failed)) => Poll::Ready((done, failed, 0)),
                // Nobody would wake it.
                Poll::Pending if by_hand && queue.in_flight() == 0 => {
                    let (done, failed) = queue.flush_so_far(barrier.id);
                    Poll::Ready((done, failed, queue.dirty()))
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        if failed == 0 && left == 0 { Ok(done) } else { Err(FlushError { failed, left }) }
    }

    /// Takes no more writes, waits for those that were accepted, but no longer than this, and gives back what is left.
    pub(super) async fn close(self: &Arc<Self>, time: Duration) -> Vec<Unwritten<K, V, E>> {
        self.closed.store(true, Ordering::Release);
        let Some(behind) = self.behind() else { return Vec::new() };
        behind.wake_after(Queue::close);
        behind.bell.ring();
        let mut flushed = std::pin::pin!(self.flush());
        let mut limit = self.asker.spawn.as_ref().map(|spawn| spawn.sleep(time));
        poll_fn(|context| {
            if flushed.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            limit.as_mut().map_or(Poll::Pending, |limit| limit.as_mut().poll(context))
        })
        .await;
        let gone = behind.wake_after(Queue::end);
        behind.settle_replaced(0);
        self.sync_at_the_end().await;
        behind.end_flights();
        if !self.asker.store.blocks() {
            poll_fn(|context| behind.queue.lock().poll_landed(context)).await;
        }
        gone.into_iter().map(unwritten).collect()
    }
}

/// A flush under way.
struct Barrier<'a, K, V, E>
where
    K: Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    behind: &'a Behind<K, V, E>,
    id: u64,
}

impl<K, V, E> Drop for Barrier<'_, K, V, E>
where
    K: Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    fn drop(&mut self) {
        self.behind.with_queue(|queue| queue.end_flush(self.id));
    }
}

fn unwritten<K: Clone, V, E>(gone: Gone<K, V, E>) -> Unwritten<K, V, E> {
    if let Some(fate) = gone.fate {
        fate.settle(&Err(WriteError::Closed));
    }
    let Gone { key, value, version, flying, error, .. } = gone;
    Unwritten { key: key.key.clone(), value, version, unsure: flying, error }
}
