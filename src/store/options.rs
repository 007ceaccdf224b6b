//! What there is to choose of writing behind.

use super::error::WriteError;
use super::log::Log;
use super::queue::{Dead, Rules};
use crate::error::BuildError;
use crate::load::Backoff;
use crate::sync::Arc;
use crate::time::nanos;
use std::fmt;
use std::time::Duration;

/// What a write does that finds no room in the queue. One of a key that waits already always has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// It waits for room, at most this long, and fails then with [`WriteError::Full`]. Tasks are suspended, threads sleep.
    Block(Duration),
    /// It fails at once with [`WriteError::Full`].
    Reject,
    /// Its caller writes it to the store, and waits for that.
    WriteThrough,
}

/// A change that was given up.
#[derive(Debug)]
#[non_exhaustive]
pub struct DeadLetter<'a, K, V, E> {
    /// Of which key.
    pub key: &'a K,
    /// Its value; `None` is a deletion.
    pub value: Option<&'a V>,
    /// What the last try failed with.
    pub error: &'a WriteError<E>,
    /// How often it was tried.
    pub attempts: u32,
    /// How long ago it was accepted, or the first change that it stands for.
    pub age: Duration,
}

pub(super) type OnDead<K, V, E> = dyn Fn(&DeadLetter<'_, K, V, E>) + Send + Sync;
pub(super) type BytesOf<K, V> = dyn Fn(&K, Option<&V>) -> u64 + Send + Sync;
pub(super) type OnAbandoned = dyn Fn(usize) + Send + Sync;

/// How to write behind: when, how much at once, and what to do when the store fails or is too slow.
///
/// | choice | unless chosen |
/// |---|---|
/// | [`batch`](Self::batch), [`batch_bytes`](Self::batch_bytes) | 100 changes, 1 MiB |
/// | [`delay`](Self::delay) | 100 ms |
/// | [`bound`](Self::bound), [`bound_bytes`](Self::bound_bytes) | 10,000 changes, 64 MiB |
/// | [`when_full`](Self::when_full) | block for 1 s; where there is no background, reject |
/// | [`in_flight`](Self::in_flight) | 1 batch |
/// | [`attempts`](Self::attempts), [`backoff`](Self::backoff) | 10 tries; 100 ms, doubled to at most 30 s, less up to a half by chance |
/// | [`coalesce`](Self::coalesce) | yes |
/// | [`timeout`](Self::timeout) | 30 s |
/// | [`keep_dead`](Self::keep_dead) | yes |
/// | [`publish_early`](Self::publish_early) | no: a second level is told when the store has acknowledged |
/// | [`bytes_by`](Self::bytes_by) | the sizes of the types |
///
/// # What a crash loses
///
/// The queue is in memory: with the process goes what was accepted and not acknowledged, at most the bound, and what came within the delay
/// and the time of a batch if the store keeps up. With a journal (feature `journal`) nothing of it is lost with the process, and with the
/// machine as much as was chosen.
///
/// ```
/// use cachette::store::{MemoryStore, WhenFull, WriteBehind};
/// use cachette::{Cache, Threads};
/// use std::time::Duration;
///
/// let views = Cache::<String, u64>::builder()
///     .capacity(10_000)
///     .store(MemoryStore::new())
///     .spawn(Threads::new())
///     .write_behind(WriteBehind::new().batch(500).delay(Duration::from_millis(50)).when_full(WhenFull::Reject))
///     .build()?;
/// let receipt = views.put("home".to_owned(), 1).unwrap();
/// receipt.wait().unwrap();
/// assert!(views.close(Duration::from_secs(5)).is_empty());
/// # Ok::<(), cachette::BuildError>(())
/// ```
#[must_use = "it is to be given to `write_behind`"]
pub struct WriteBehind<K, V, E> {
    pub(super) batch: usize,
    pub(super) batch_bytes: u64,
    pub(super) delay: Duration,
    pub(super) most: usize,
    pub(super) most_bytes: u64,
    pub(super) flights: usize,
    pub(super) attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) coalesce: bool,
    pub(super) keep_dead: bool,
    pub(super) early: bool,
    pub(super) full: Option<WhenFull>,
    pub(super) timeout: Duration,
    pub(super) on_dead: Option<Box<OnDead<K, V, E>>>,
    pub(super) on_abandoned: Option<Box<OnAbandoned>>,
    pub(super) bytes_of: Option<Box<BytesOf<K, V>>>,
    pub(super) log: Option<Arc<dyn Log<K, V>>>,
    /// What an earlier process had accepted: numbers in the journal, keys and values.
    pub(super) recovered: Vec<(u64, K, Option<V>)>,
}

impl<K, V, E> WriteBehind<K, V, E> {
    /// The usual choices.
    pub fn new() -> Self {
        Self {
            batch: 100,
            batch_bytes: 1 << 20,
            delay: Duration::from_millis(100),
            most: 10_000,
            most_bytes: 64 << 20,
            flights: 1,
            attempts: 10,
            backoff: Backoff { first: Duration::from_millis(100), most: Duration::from_secs(30) },
            coalesce: true,
            keep_dead: true,
            early: false,
            full: None,
            timeout: Duration::from_secs(30),
            on_dead: None,
            on_abandoned: None,
            bytes_of: None,
            log: None,
            recovered: Vec::new(),
        }
    }

    /// How many changes the store is given at once, at most. As many are written as soon as they are there.
    pub fn batch(mut self, most: usize) -> Self {
        self.batch = most;
        self
    }

    /// How many bytes it is given at once, at most; a change that is larger goes alone.
    pub fn batch_bytes(mut self, most: u64) -> Self {
        self.batch_bytes = most;
        self
    }

    /// How old the oldest change gets before a batch is written that is not full. A key that is written again and again is as old as its
    /// first write that the store does not have.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// How many changes are held, at most: those that wait, those that the store has, and the dead that are kept.
    pub fn bound(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// How many bytes they are, at most, as [`bytes_by`](Self::bytes_by) has it; what the queue needs for itself, some 500 bytes a change, comes on
    /// top. A change that is larger is held alone.
    pub fn bound_bytes(mut self, most: u64) -> Self {
        self.most_bytes = most;
        self
    }

    /// What a write does that finds no room.
    pub fn when_full(mut self, full: WhenFull) -> Self {
        self.full = Some(full);
        self
    }

    /// How many batches the store is given at the same time. No key is in two of them.
    pub fn in_flight(mut self, most: usize) -> Self {
        self.flights = most;
        self
    }

    /// How often a change is tried before it is a dead letter. One that the store has [refused](super::Store::refused) is not tried
    /// again.
    pub fn attempts(mut self, most: u32) -> Self {
        self.attempts = most;
        self
    }

    /// How long to wait before the next try. Up to a half is taken off by chance.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Whether a change takes the place of one of the same key that waits. If not, the store sees all of them, in their order, and each
    /// needs room of its own.
    pub fn coalesce(mut self, coalesce: bool) -> Self {
        self.coalesce = coalesce;
        self
    }

    /// How long the store may take for a batch. One that [blocks](super::Store::blocks) is not interrupted.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// Whether dead letters are kept, to be [looked at](super::StoredCache::dead_letters), [tried again](super::StoredCache::retry_dead) or
    /// [taken](super::StoredCache::take_dead); they need room. If not, `on_dead_letter` is all that is left of them.
    pub fn keep_dead(mut self, keep: bool) -> Self {
        self.keep_dead = keep;
        self
    }

    /// Tells other processes of a write when it is accepted, and not when the store has it; where there are two levels. They read what the store may
    /// still refuse: then it is taken from them again. If the value leaves the shared level before the store has it, they read the old one
    /// again. Each write waits for the remote.
    pub fn publish_early(mut self, early: bool) -> Self {
        self.early = early;
        self
    }

    /// Hears of every change that is given up, once. A panic in it is caught.
    pub fn on_dead_letter(
        mut self,
        hear: impl Fn(&DeadLetter<'_, K, V, E>) + Send + Sync + 'static,
    ) -> Self {
        self.on_dead = Some(Box::new(hear));
        self
    }

    /// Hears how many changes were given up with the last handle, which was dropped without [`close`](super::StoredCache::close): if
    /// there were any. A panic in it is caught.
    pub fn on_abandoned(mut self, hear: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.on_abandoned = Some(Box::new(hear));
        self
    }

    /// Notes every change in a journal before it is accepted, and makes first what an earlier process left in it: see
    /// [`WriteJournal`](super::WriteJournal). Writes of a key wait for each other then, and each for a call of the system, or for the disk.
    #[cfg(feature = "journal")]
    #[cfg_attr(docsrs, doc(cfg(feature = "journal")))]
    pub fn journal(mut self, journal: super::WriteJournal<K, V>) -> Self {
        (self.log, self.recovered) = (Some(journal.log), journal.recovered);
        self
    }

    /// How many bytes a change is, for the bounds: of what it points to, the types say nothing. `None` is a deletion. If it panics, the
    /// write does.
    pub fn bytes_by(
        mut self,
        bytes: impl Fn(&K, Option<&V>) -> u64 + Send + Sync + 'static,
    ) -> Self {
        self.bytes_of = Some(Box::new(bytes));
        self
    }

    pub(super) fn rules(&self) -> Result<Rules, BuildError> {
        let counts = [
            ("batch", self.batch),
            ("bound", self.most),
            ("in_flight", self.flights),
            ("attempts", self.attempts as usize),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(BuildError::Zero(name));
        }
        Ok(Rules {
            batch: self.batch,
            batch_bytes: self.batch_bytes,
            delay: nanos(self.delay),
            most: self.most,
            most_bytes: self.most_bytes,
            flights: self.flights,
            attempts: self.attempts,
            backoff: self.backoff,
            coalesce: self.coalesce,
            keep_dead: self.keep_dead,
        })
    }
}

impl<K, V, E> Default for WriteBehind<K, V, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V, E> fmt::Debug for WriteBehind<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBehind")
            .field("batch", &self.batch)
            .field("delay", &self.delay)
            .field("bound", &self.most)
            .field("when_full", &self.full)
            .finish_non_exhaustive()
    }
}

/// A change that was not written when the cache was [closed](super::StoredCache::close).
#[derive(Debug)]
#[non_exhaustive]
pub struct Unwritten<K, V, E> {
    /// Of which key.
    pub key: K,
    /// Its value; `None` is a deletion.
    pub value: Option<Arc<V>>,
    /// The version that the store would have been told.
    pub version: u64,
    /// The store had it, and has not answered: it may have made the change.
    pub unsure: bool,
    /// What it failed with, if it was a dead letter.
    pub error: Option<WriteError<E>>,
}

impl<K: Clone, V, E> From<Dead<K, V, E>> for Unwritten<K, V, E> {
    fn from(dead: Dead<K, V, E>) -> Self {
        let Dead { key, value, version, error, .. } = dead;
        Self { key: key.key.clone(), value, version, unsure: false, error: Some(error) }
    }
}
