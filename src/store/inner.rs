//! What the handles of one cache before a store share, and the ways in which it writes.

use super::asker::Asker;
use super::behind::{Behind, Entry, Tried};
use super::contract::{Change, Missing};
use super::error::WriteError;
use super::fate::Receipt;
use super::keyed::Keyed;
use super::levels::Levels;
use super::log::Noted;
use super::queue::{Refusal, Watch};
use super::record::Record;
use super::turns::{Recursive, Turn, Turns};
use crate::entry::{Compute, Computed};
use crate::error::LoadError;
use crate::load::offload;
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use std::hash::Hash;

/// How the store is written.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Direct {
    /// The store, then the caches get the value.
    Through,
    /// The store, then the caches forget the key.
    Around,
}

pub(super) struct Inner<K, V, E, L> {
    pub(super) record: Arc<Record<K, V, E>>,
    pub(super) asker: Asker<K, V, E>,
    pub(super) levels: L,
    pub(super) turns: Arc<Turns<K>>,
    /// How the store is written where it is not written behind.
    pub(super) direct: Direct,
    /// The version of the latest direct write.
    pub(super) version: AtomicU64,
    pub(super) closed: AtomicBool,
    /// The last handle is gone.
    pub(super) gone: AtomicBool,
}

/// Who waits for a write.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Caller {
    /// A thread: it does what is to be done.
    Thread,
    /// A task: what is begun goes on in the background, if there is one, though the task is dropped.
    Task,
}

/// A key whose caches are in doubt until its write is known to have been made, or not.
struct Doubt<'a, K, V, E, L: Levels<K, V, E>> {
    inner: &'a Inner<K, V, E, L>,
    key: Option<&'a K>,
}

impl<K, V, E, L: Levels<K, V, E>> Drop for Doubt<'_, K, V, E, L> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.inner.levels.doubt(key);
        }
    }
}

/// A look at a key that ends with it.
struct Look<'a, K, V, E>
where
    K: Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    behind: &'a Behind<K, V, E>,
    watch: Watch<K, V>,
}

impl<K, V, E> Drop for Look<'_, K, V, E>
where
    K: Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    fn drop(&mut self) {
        self.behind.with_queue(|queue| queue.unwatch(&self.watch.key));
    }
}

impl<K, V, E, L> Inner<K, V, E, L>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    L: Levels<K, V, E>,
{
    pub(super) fn behind(&self) -> Option<&Behind<K, V, E>> {
        self.record.behind.get()
    }

    fn next_version(&self) -> u64 {
        self.version.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Does what must not end half-way.
    pub(super) async fn carry<T: Send + 'static>(
        &self,
        caller: Caller,
        work: impl Future<Output = Result<T, WriteError<E>>> + Send + 'static,
    ) -> Result<T, WriteError<E>> {
        match &self.asker.spawn {
            Some(spawn) if caller == Caller::Task => {
                let done = offload(&**spawn, self.asker.store.blocks(), work).await;
                done.unwrap_or(Err(WriteError::Lost))
            }
            _ => work.await,
        }
    }

    /// Gives a key a value, or deletes it.
    pub(super) async fn write(
        self: &Arc<Self>,
        key: K,
        value: Option<V>,
        caller: Caller,
    ) -> Result<Receipt<E>, WriteError<E>> {
        let key = self.record.keyed(key);
        let Some(behind) = self.behind() else {
            let turn = self.turns.take(Arc::new(key)).await.map_err(recursive)?;
            self.write_in_turn(Arc::new(turn), value, caller).await?;
            return Ok(Receipt::done());
        };
        let mut turn = None;
        let entry = Self::entry(behind, key, value, None);
        if Self::takes_turns(behind) {
            let key = Arc::new(copy(&entry.key));
            turn = Some(Arc::new(self.turns.take(key).await.map_err(recursive)?));
        }
        let written = self.write_behind(behind, entry, turn.as_ref(), caller).await?;
        Ok(written.unwrap_or_else(|| unreachable!("nobody has looked at it")))
    }

    /// The store, then the caches.
    async fn write_in_turn(
        self: &Arc<Self>,
        turn: Arc<Turn<K>>,
        value: Option<V>,
        caller: Caller,
    ) -> Result<(), WriteError<E>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(WriteError::Closed);
        }
        let inner = Arc::clone(self);
        self.carry(caller, async move { inner.write_now(&turn.key().key, value).await }).await
    }

    async fn write_now(&self, key: &K, value: Option<V>) -> Result<(), WriteError<E>> {
        let mut doubt = Doubt { inner: self, key: Some(key) };
        let change = Change { key, value: value.as_ref(), version: self.next_version() };
        if let Err(failed) = self.asker.apply(change).await {
            if failed.refused {
                doubt.key = None;
            }
            return Err(failed.error);
        }
        self.tell_levels(key, value).await;
        doubt.key = None;
        Ok(())
    }

    /// The store has a key's value, or has none of it.
    async fn tell_levels(&self, key: &K, value: Option<V>) {
        match value {
            Some(value) if self.direct == Direct::Through => {
                self.levels.publish(key.clone(), value).await;
            }
            _ => self.levels.delete(vec![key.clone()]).await,
        }
    }

    fn entry<'a>(
        behind: &Behind<K, V, E>,
        key: Keyed<K>,
        value: Option<V>,
        unless_changed: Option<&'a Watch<K, V>>,
    ) -> Entry<'a, K, V> {
        let bytes = behind.bytes_of(&key.key, value.as_ref());
        Entry { key, value: value.map(Arc::new), bytes, noted: 0, unless_changed }
    }

    /// Puts a change into the queue; `None` if the key was changed since it was looked at.
    async fn write_behind(
        self: &Arc<Self>,
        behind: &Behind<K, V, E>,
        entry: Entry<'_, K, V>,
        turn: Option<&Arc<Turn<K>>>,
        caller: Caller,
    ) -> Result<Option<Receipt<E>>, WriteError<E>> {
        let early = behind.early && L::SHARED;
        let early = early.then(|| (entry.key.key.clone(), entry.value.clone()));
        let mut entry = entry;
        let noted = self.note(behind, &entry, turn, caller).await?;
        entry.noted = noted.as_ref().map_or(0, Noted::number);
        let Entry { bytes, noted: number, unless_changed, .. } = entry;
        let written = match behind.enter(&self.levels, entry, None) {
            Tried::Taken(receipt) => Ok(Some(receipt)),
            Tried::Changed => Ok(None),
            Tried::Refused((Refusal::Closed, ..)) => Err(WriteError::Closed),
            Tried::Refused((Refusal::Full, key, value)) => {
                let entry = Entry { key, value, bytes, noted: number, unless_changed };
                self.write_without_room(behind, entry, caller).await
            }
        };
        if !matches!(written, Ok(Some(_))) {
            return written;
        }
        if let Some(noted) = noted {
            noted.keep();
        }
        match early {
            Some((key, Some(value))) => self.levels.publish(key, V::clone(&value)).await,
            Some((key, None)) => self.levels.delete(vec![key]).await,
            None => {}
        }
        written
    }

    /// True if writes of a key wait for each other: what else hears of them must hear of them in the queue's order.
    fn takes_turns(behind: &Behind<K, V, E>) -> bool {
        behind.log.is_some() || behind.early && L::SHARED
    }

    /// Notes a change in the journal, if there is one. A task does not wait for the disk on its own thread.
    async fn note(
        &self,
        behind: &Behind<K, V, E>,
        entry: &Entry<'_, K, V>,
        turn: Option<&Arc<Turn<K>>>,
        caller: Caller,
    ) -> Result<Option<Noted<K, V>>, WriteError<E>> {
        let Some(log) = behind.log.clone() else { return Ok(None) };
        let (key, value) = (entry.key.key.clone(), entry.value.clone());
        // Though its caller be gone, nobody else writes the key before this has ended.
        let turn = turn.cloned();
        let work = async move {
            let _turn = turn;
            Noted::new(log, &key, value.as_deref())
        };
        let noted = match &self.asker.spawn {
            Some(spawn) if caller == Caller::Task => {
                offload(&**spawn, true, work).await.ok_or(WriteError::Lost)?
            }
            _ => work.await,
        };
        let noted = noted.map_err(WriteError::Journal)?;
        behind.noted();
        Ok(Some(noted))
    }

    /// A put that finds the queue open, and room in it: all that most need, without a future.
    pub(super) fn try_write(&self, key: K, value: Option<V>) -> Result<Receipt<E>, (K, Option<V>)> {
        let Some(behind) = self.behind().filter(|behind| !Self::takes_turns(behind)) else {
            return Err((key, value));
        };
        let entry = Self::entry(behind, self.record.keyed(key), value, None);
        match behind.enter(&self.levels, entry, None) {
            Tried::Taken(receipt) => Ok(receipt),
            Tried::Refused((_, Keyed { key, .. }, value)) => {
                Err((key, value.map(Arc::unwrap_or_clone)))
            }
            Tried::Changed => unreachable!("nobody has looked at it"),
        }
    }

    /// Reads, decides and writes a key as one.
    pub(super) async fn compute(
        self: &Arc<Self>,
        key: K,
        mut decide: impl FnMut(Option<&V>) -> Compute<V>,
        caller: Caller,
    ) -> Result<(Computed, Receipt<E>), WriteError<E>> {
        let key = Arc::new(self.record.keyed(key));
        let turn = Arc::new(self.turns.take(Arc::clone(&key)).await.map_err(recursive)?);
        loop {
            let look = self.behind().map(|behind| Look {
                behind,
                watch: behind.with_queue(|queue| queue.watch(Arc::clone(&key))),
            });
            let current = self.current(&key, look.as_ref(), caller).await?;
            let (value, done) = match turn.inside(|| decide(current.as_ref())) {
                Compute::Keep => return Ok((Computed::Kept, Receipt::done())),
                Compute::Delete => (None, Computed::Deleted),
                Compute::Replace(value)
                | Compute::ReplaceWithTtl(value, _)
                | Compute::ReplaceKeepTtl(value) => (Some(value), Computed::Replaced),
            };
            let Some(look) = &look else {
                self.write_in_turn(turn, value, caller).await?;
                return Ok((done, Receipt::done()));
            };
            let entry = Self::entry(look.behind, copy(&key), value, Some(&look.watch));
            let written = self.write_behind(look.behind, entry, Some(&turn), caller).await?;
            if let Some(receipt) = written {
                return Ok((done, receipt));
            }
        }
    }

    /// What a computation begins with.
    async fn current(
        &self,
        key: &Keyed<K>,
        look: Option<&Look<'_, K, V, E>>,
        caller: Caller,
    ) -> Result<Option<V>, WriteError<E>> {
        let loaded = match look {
            Some(Look { watch: Watch { staged: Some(staged), .. }, .. }) => {
                return Ok(staged.value().cloned());
            }
            // L1 may have what was before a write that is already in the store.
            Some(look) if look.behind.is_entered(key) => {
                let loaded = self.record.load_from_store(&key.key).await;
                loaded.map_err(|error| LoadError::Failed(Arc::new(error)))
            }
            _ if caller == Caller::Thread => self.levels.fetch(&key.key),
            _ => self.levels.fetch_async(&key.key).await,
        };
        present(loaded).map_err(WriteError::Unloaded)
    }
}

/// A value that is there, or is not.
pub(super) fn present<V, E>(
    loaded: Result<V, LoadError<Missing<E>>>,
) -> Result<Option<V>, LoadError<E>> {
    match loaded {
        Ok(value) => Ok(Some(value)),
        Err(LoadError::Failed(missing)) => match &*missing {
            Missing::Absent => Ok(None),
            Missing::Failed(error) => Err(LoadError::Failed(Arc::clone(error))),
        },
        Err(LoadError::Recursive) => Err(LoadError::Recursive),
        Err(LoadError::TimedOut(after)) => Err(LoadError::TimedOut(after)),
        Err(LoadError::Lost) => Err(LoadError::Lost),
        Err(LoadError::Unanswered) => Err(LoadError::Unanswered),
    }
}

fn copy<K: Clone>(key: &Keyed<K>) -> Keyed<K> {
    Keyed { hash: key.hash, key: key.key.clone() }
}

fn recursive<E>(Recursive: Recursive) -> WriteError<E> {
    WriteError::Recursive
}
