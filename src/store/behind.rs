//! Writing behind: accepting changes, and bringing them to the store.
//!
//! ```text
//!   put ──► queue (lock) ──► L1 forgets the key ──► returns            reads: L1 ──► what waits in the queue ──► L2, the store
//!
//!   driver: next ──► apply_batch ──► L2 forgets the keys ──► settle ──► fates, dead letters, room, barriers
//! ```
//!
//! **Why L1 forgets and is not given the value.** Two puts of a key that race would have to reach L1 in the order in which they reached the
//! queue. So the queue has the value, and L1 takes it from there when it is asked for, as it takes others from the store: by a load,
//! which the next write of the key makes void. What is evicted from L1 is there again for the asking.
//!
//! **Why L2 is told after the store.** Another process would take from it what the store may still refuse.

use super::fate::Receipt;
use super::keyed::Keyed;
use super::levels::Levels;
use super::log::Log;
use super::options::{BytesOf, DeadLetter, OnAbandoned, OnDead, WhenFull};
use super::queue::{Dead, Pushed, Queue, Refusal, Refused, Settled, Staged, Step, Watch};
use crate::caught::caught;
use crate::load::{Bell, Spawn, Task};
use crate::sync::{Arc, AtomicBool, AtomicU32, AtomicUsize, Mutex, Ordering};
use crate::time::{Clock, nanos};
use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Parts of the key space in which puts that are not over are counted.
const STRIPES: usize = 64;

/// How many numbers are told to the journal at once, where nothing else tells it.
const SLICE: usize = 4_096;

pub(super) struct Behind<K, V, E> {
    pub(super) queue: Mutex<Queue<K, V, E>>,
    /// Keys that have changes in the queue.
    dirty: AtomicUsize,
    /// Puts that are in the queue, and L1 may not have forgotten their keys.
    entering: [AtomicU32; STRIPES],
    pub(super) bell: Bell,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) full: WhenFull,
    /// Shared levels are told of a write when it is accepted.
    pub(super) early: bool,
    pub(super) bytes_of: Option<Box<BytesOf<K, V>>>,
    pub(super) on_dead: Option<Box<OnDead<K, V, E>>>,
    pub(super) on_abandoned: Option<Box<OnAbandoned>>,
    pub(super) log: Option<Arc<dyn Log<K, V>>>,
    /// Something was noted since the last sync began, and the driver was told.
    pub(super) unsynced: AtomicBool,
    /// A sync is under way.
    pub(super) syncing: AtomicBool,
    /// Held from when numbers are taken from the queue until the journal has them: none may overtake those that it stands for.
    settling: Mutex<()>,
    /// The end has come: what the store has is taken from it. Who is to be woken then, by the first version of their batch.
    ended: AtomicBool,
    landing: Mutex<BTreeMap<u64, Waker>>,
}

/// What a try to put has come to.
pub(super) enum Tried<K, V, E> {
    Taken(Receipt<E>),
    Refused(Refused<K, V>),
    /// The key was changed since it was looked at.
    Changed,
}

/// A change on its way into the queue.
pub(super) struct Entry<'a, K, V> {
    pub(super) key: Keyed<K>,
    pub(super) value: Option<Arc<V>>,
    pub(super) bytes: u64,
    /// Its number in the journal.
    pub(super) noted: u64,
    /// Only if the key was not changed since.
    pub(super) unless_changed: Option<&'a Watch<K, V>>,
}

/// Counted while it is there.
struct Entering<'a>(&'a AtomicU32);

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl<K, V, E> Behind<K, V, E>
where
    K: Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    pub(super) fn new(queue: Queue<K, V, E>, clock: Arc<dyn Clock>, full: WhenFull) -> Self {
        Self {
            queue: Mutex::new(queue),
            dirty: AtomicUsize::new(0),
            entering: [const { AtomicU32::new(0) }; STRIPES],
            bell: Bell::default(),
            clock,
            full,
            early: false,
            bytes_of: None,
            on_dead: None,
            on_abandoned: None,
            log: None,
            unsynced: AtomicBool::new(false),
            syncing: AtomicBool::new(false),
            settling: Mutex::new(()),
            ended: AtomicBool::new(false),
            landing: Mutex::new(BTreeMap::new()),
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.bounds().0
    }

    /// True if nothing waits to be written.
    pub(super) fn is_clean(&self) -> bool {
        self.dirty.load(Ordering::Acquire) == 0
    }

    pub(super) fn latest(&self, key: &Keyed<K>) -> Option<Staged<V>> {
        self.queue.lock().latest(key)
    }

    pub(super) fn bytes_of(&self, key: &K, value: Option<&V>) -> u64 {
        let types = size_of::<K>() + size_of::<V>();
        self.bytes_of.as_ref().map_or(types as u64, |bytes| bytes(key, value))
    }

    fn stripe(&self, key: &Keyed<K>) -> &AtomicU32 {
        &self.entering[key.hash as usize % STRIPES]
    }

    /// True if L1 may have what was before a put that is in the queue, or was.
    pub(super) fn is_entered(&self, key: &Keyed<K>) -> bool {
        self.stripe(key).load(Ordering::Acquire) != 0
    }

    /// Tries to put a change into the queue; without room, the waker is woken when there may be some.
    pub(super) fn enter<L: Levels<K, V, E>>(
        &self,
        levels: &L,
        entry: Entry<'_, K, V>,
        crowd: Option<(&mut Option<u64>, &Waker)>,
    ) -> Tried<K, V, E> {
        let stripe = self.stripe(&entry.key);
        stripe.fetch_add(1, Ordering::Relaxed);
        let _entering = Entering(stripe);
        let Entry { key, value, bytes, noted, unless_changed } = entry;
        let now = self.now();
        let pushed = {
            let mut queue = self.queue.lock();
            if unless_changed.is_some_and(|watch| !queue.is_unchanged(watch)) {
                return Tried::Changed;
            }
            let pushed = queue.push(key, value, bytes, noted, now);
            if let (Err((Refusal::Full, ..)), Some((id, waker))) = (&pushed, crowd) {
                queue.wait_for_room(id, waker);
            }
            self.dirty.store(queue.dirty(), Ordering::Release);
            pushed
        };
        match pushed {
            Ok(pushed) => Tried::Taken(self.entered(levels, pushed)),
            Err(refused) => Tried::Refused(refused),
        }
    }

    fn entered<L: Levels<K, V, E>>(&self, levels: &L, pushed: Pushed<K, V, E>) -> Receipt<E> {
        let Pushed { fate, key, ring, old, dead, .. } = pushed;
        if ring {
            self.bell.ring();
        }
        levels.forget(key.key());
        drop((old, dead));
        self.settle_replaced(SLICE);
        Receipt::of(fate)
    }

    /// Accepts what an earlier process had accepted.
    pub(super) fn restore(&self, key: Keyed<K>, value: Option<V>, of: (u64, u64)) {
        let now = self.now();
        self.with_queue(|queue| queue.restore(key, value.map(Arc::new), of, now));
    }

    /// The next batch for the store, or until when there is none.
    pub(super) fn next(&self) -> Step<K, V> {
        self.queue.lock().next(nanos(self.clock.now()))
    }

    /// What a flight gives, unless the end comes first: it is dropped then.
    pub(super) async fn unless_ended<T>(
        &self,
        flight: u64,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let mut future = pin!(future);
        let landed = poll_fn(|context| {
            self.landing.lock().insert(flight, context.waker().clone());
            if self.ended.load(Ordering::Acquire) {
                return Poll::Ready(None);
            }
            future.as_mut().poll(context).map(Some)
        })
        .await;
        self.landing.lock().remove(&flight);
        landed
    }

    /// What a batch has come to is known.
    pub(super) fn settled<L: Levels<K, V, E>>(&self, levels: &L, settled: Settled<K, V, E>) {
        for dead in &settled.dead {
            levels.doubt(&dead.key.key);
        }
        if let Some(hear) = &self.on_dead {
            for dead in &settled.dead {
                caught(|| hear(&self.letter(dead)));
            }
        }
        settled.tell();
        self.bell.ring();
    }

    fn letter<'a>(&self, dead: &'a Dead<K, V, E>) -> DeadLetter<'a, K, V, E> {
        DeadLetter {
            key: &dead.key.key,
            value: dead.value.as_deref(),
            error: &dead.error,
            attempts: dead.attempts,
            age: Duration::from_nanos(self.now().saturating_sub(dead.since)),
        }
    }

    /// Something was noted: who drives is told in what time it is to be on the disk.
    pub(super) fn noted(&self) {
        let waits = self.log.as_ref().is_some_and(|log| log.due().is_some());
        if waits && !self.unsynced.swap(true, Ordering::AcqRel) {
            self.bell.ring();
        }
    }

    /// True if what was noted is to be brought to the disk now.
    pub(super) fn is_sync_due(&self) -> bool {
        self.log.as_ref().and_then(|log| log.due()).is_some_and(|time| time.is_zero())
    }

    /// Brings what was noted to the disk.
    pub(super) fn sync(&self) {
        // Before it begins: what is noted from now on may come too late for it.
        self.unsynced.store(false, Ordering::Release);
        if let Some(log) = &self.log {
            log.sync();
        }
        self.syncing.store(false, Ordering::Release);
        self.bell.ring();
    }

    /// Tells the journal what others have replaced, if there is so much.
    pub(super) fn settle_replaced(&self, least: usize) {
        if self.log.is_some() {
            self.settle_log(|queue| ((), queue.take_replaced(least)));
        }
    }

    /// Changes the queue, and tells the journal what need not be made again.
    pub(super) fn settle_log<T>(
        &self,
        change: impl FnOnce(&mut Queue<K, V, E>) -> (T, Vec<u64>),
    ) -> T {
        let Some(log) = &self.log else { return self.with_queue(change).0 };
        let _in_order = self.settling.lock();
        let (changed, settled) = self.with_queue(change);
        if !settled.is_empty() {
            log.settle(&settled);
        }
        changed
    }

    pub(super) fn with_queue<T>(&self, change: impl FnOnce(&mut Queue<K, V, E>) -> T) -> T {
        let mut queue = self.queue.lock();
        let changed = change(&mut queue);
        self.dirty.store(queue.dirty(), Ordering::Release);
        changed
    }

    /// The same, for what wakes others.
    pub(super) fn wake_after<T>(
        &self,
        change: impl FnOnce(&mut Queue<K, V, E>, &mut Vec<Waker>) -> T,
    ) -> T {
        let mut wakers = Vec::new();
        let changed = self.with_queue(|queue| change(queue, &mut wakers));
        wakers.into_iter().for_each(Waker::wake);
        changed
    }

    /// Takes from the store what it has.
    pub(super) fn end_flights(&self) {
        self.ended.store(true, Ordering::Release);
        let wakers = std::mem::take(&mut *self.landing.lock());
        wakers.into_values().for_each(Waker::wake);
    }

    /// Waits until the bell rings, or until then.
    pub(super) async fn wait(&self, spawn: &dyn Spawn, until: Option<u64>) {
        let now = nanos(self.clock.now());
        let until = until.map(|until| Duration::from_nanos(until.saturating_sub(now)));
        let due = self.log.as_ref().filter(|_| !self.syncing.load(Ordering::Acquire));
        let due = due.and_then(|log| log.due());
        let sleep: Task = match until.into_iter().chain(due).min() {
            Some(time) => spawn.sleep(time),
            None => Box::pin(pending()),
        };
        self.bell.wait(sleep).await;
    }
}
