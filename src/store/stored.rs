//! The public face of a cache before a store: what it is, and reading.

mod writing;

use super::contract::Missing;
use super::inner::{Inner, present};
use super::levels::{Borrowed, Levels};
use super::stats::WriteStats;
use crate::error::LoadError;
use crate::load::{LoadingCache, block_on};
use crate::observe::Stats;
use crate::sync::{Arc, Ordering};
use crate::time::nanos;
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

/// A cache before its system of record: values are read through, and written through, around or behind.
///
/// Made by [`Builder::store`](crate::Builder::store). It is a handle: clones share one cache.
///
/// | | `put` returns when | the caches have then | if the store fails |
/// |---|---|---|---|
/// | [through](super::StoreBuilder::write_through) | the store has acknowledged it | the value | the put fails, and nothing was changed |
/// | [around](super::StoreBuilder::write_around) | the same | nothing of the key | the same |
/// | [behind](super::StoreBuilder::write_behind) | it is in the queue | the value, for this process | it is tried again, then a [dead letter](super::DeadLetter) |
///
/// # What it promises
///
/// - **One order**: writes of a key reach the store in the order in which they were accepted, one at a time, and the caches end with what
///   the store has. Between keys there is no order.
/// - **Read your writes**: after a put, this process reads the new value, whatever was evicted or expired meanwhile; after a delete, none.
///   The store is not asked for what waits to be written.
/// - **Nothing is lost silently**: what is accepted is written, or a dead letter, or given back by [`close`](Self::close). What waits is bounded.
/// - **At least once**: where an answer was lost, the store is given the same change again.
///
/// ```
/// use cachette::{Cache, store::MemoryStore};
///
/// let store = std::sync::Arc::new(MemoryStore::new());
/// let users = Cache::<u64, String>::builder().capacity(10_000).store(store.clone()).build()?;
/// users.put(7, "Ada".to_owned()).unwrap();
/// assert_eq!(store.get(&7).as_deref(), Some("Ada"));
/// assert_eq!(users.get(&7).as_deref(), Some("Ada"));
/// users.delete(&7).unwrap();
/// assert_eq!(users.load(&7).unwrap(), None);
/// # Ok::<(), cachette::BuildError>(())
/// ```
#[must_use = "writes behind are given up with the last handle: `close` it"]
pub struct StoredCache<K, V, E, L = LoadingCache<K, V, Missing<E>>>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    L: Levels<K, V, E>,
{
    inner: Arc<Inner<K, V, E, L>>,
    handle: Arc<Handle<K, V, E, L>>,
}

/// The background shares the rest; it ends with the last of these.
struct Handle<K, V, E, L>(Arc<Inner<K, V, E, L>>)
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    L: Levels<K, V, E>;

impl<K, V, E, L> Drop for Handle<K, V, E, L>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    L: Levels<K, V, E>,
{
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Release);
        self.0.abandon();
    }
}

impl<K, V, E, L> Clone for StoredCache<K, V, E, L>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    L: Levels<K, V, E>,
{
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), handle: Arc::clone(&self.handle) }
    }
}

impl<K, V, E, L> fmt::Debug for StoredCache<K, V, E, L>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    L: Levels<K, V, E>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredCache").field("writes", &self.write_stats()).finish_non_exhaustive()
    }
}

/// Reading.
impl<K, V, E, L> StoredCache<K, V, E, L>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    L: Levels<K, V, E>,
{
    pub(super) fn new(inner: Arc<Inner<K, V, E, L>>) -> Self {
        let handle = Arc::new(Handle(Arc::clone(&inner)));
        Self { inner, handle }
    }

    /// What waits to be written of a key, where it must be asked before the caches: others may have put an older value into the one that
    /// is shared.
    fn staged_first<Q: ?Sized + Borrowed<K>>(&self, key: &Q) -> Option<Option<V>> {
        if !L::SHARED {
            return None;
        }
        self.staged(key)
    }

    fn staged<Q: ?Sized + Borrowed<K>>(&self, key: &Q) -> Option<Option<V>> {
        if self.inner.behind()?.is_clean() {
            return None;
        }
        let staged = self.inner.record.staged(key.to_owned())?;
        Some(staged.value().cloned())
    }

    /// The value of a key that this process has, in the cache or in the queue. The store is not asked. O(1).
    ///
    /// A value that was written behind is in the cache again when it was [loaded](Self::load); what is neither there nor waiting is not seen.
    pub fn get<Q: ?Sized + Borrowed<K>>(&self, key: &Q) -> Option<V> {
        if let Some(staged) = self.staged_first(key) {
            return staged;
        }
        self.inner.levels.hit(key).or_else(|| self.staged(key).flatten())
    }

    /// The value of a key, from the cache, the queue or the store; `None` if the store has none. However many ask at once, the store is asked
    /// once.
    ///
    /// # Errors
    ///
    /// [`LoadError`], as of [`LoadingCache::load`].
    pub fn load<Q: ?Sized + Borrowed<K>>(&self, key: &Q) -> Result<Option<V>, LoadError<E>> {
        match self.staged_first(key) {
            Some(staged) => Ok(staged),
            None => present(self.inner.levels.fetch(key)),
        }
    }

    /// As [`load`](Self::load), from a task.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub async fn load_async<Q: ?Sized + Borrowed<K>>(
        &self,
        key: &Q,
    ) -> Result<Option<V>, LoadError<E>> {
        match self.staged_first(key) {
            Some(staged) => Ok(staged),
            None => present(self.inner.levels.fetch_async(key).await),
        }
    }

    /// The values of many keys, in their order: one call of the store for all that are neither in the cache nor in the queue.
    ///
    /// # Errors
    ///
    /// For each key its own.
    pub fn load_many(&self, keys: &[K]) -> Vec<Result<Option<V>, LoadError<E>>> {
        block_on(self.load_many_async(keys))
    }

    /// As [`load_many`](Self::load_many), from a task.
    ///
    /// # Errors
    ///
    /// For each key its own.
    pub async fn load_many_async(&self, keys: &[K]) -> Vec<Result<Option<V>, LoadError<E>>> {
        let mut staged: Vec<_> = keys.iter().map(|key| self.staged_first(key)).collect();
        let rest = keys.iter().zip(&staged).filter(|(_, staged)| staged.is_none());
        let rest: Vec<K> = rest.map(|(key, _)| key.clone()).collect();
        let mut loaded = self.inner.levels.fetch_many(&rest).await.into_iter();
        let answers = staged.iter_mut().map(|staged| match staged.take() {
            Some(staged) => Ok(staged),
            None => loaded.next().map_or(Err(LoadError::Lost), present),
        });
        answers.collect()
    }

    /// The levels below: what they can show. What writes to them writes past the store, and is not to be used.
    #[must_use]
    pub fn levels(&self) -> &L {
        &self.inner.levels
    }

    /// What the cache counts, of its first level where there are two.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.levels.counts()
    }

    /// How writing behind goes. All zero where writes are direct. O(1), and a copy of a kilobyte.
    ///
    /// ```
    /// use cachette::{Cache, store::{MemoryStore, WriteBehind}};
    ///
    /// let cache = Cache::<u8, u8>::builder().capacity(9).store(MemoryStore::new()).write_behind(WriteBehind::new()).build()?;
    /// cache.put(1, 1).unwrap();
    /// cache.put(1, 2).unwrap();
    /// let stats = cache.write_stats();
    /// assert_eq!((stats.accepted, stats.coalesced, stats.dirty), (2, 1, 1));
    /// # assert_eq!(cache.flush().unwrap(), 1);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    #[must_use]
    pub fn write_stats(&self) -> WriteStats {
        let Some(behind) = self.inner.behind() else { return WriteStats::default() };
        let now = nanos(behind.clock.now());
        let mut queue = behind.queue.lock();
        let (held, held_bytes, oldest) = queue.held();
        let (dirty, dead, in_flight) = (queue.dirty(), queue.dead_count(), queue.in_flight());
        let counts = queue.counts().clone();
        drop(queue);
        let oldest = oldest.map(|since| Duration::from_nanos(now.saturating_sub(since)));
        WriteStats {
            held,
            held_bytes,
            dirty,
            dead,
            oldest,
            in_flight,
            #[cfg(feature = "journal")]
            journal: behind.log.as_ref().map(|log| log.stats()),
            ..counts.into_stats()
        }
    }
}
