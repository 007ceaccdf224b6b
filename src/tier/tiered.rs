//! The public face of two levels: what it is, and reading.

mod writing;

use super::core::Tier;
use super::held::Held;
use super::names::RemoteKey;
use super::remote::Mode;
use super::stats::TierStats;
use crate::cache::Cache;
use crate::error::LoadError;
use crate::load::{Loaded, LoadingCache, Origin, block_on};
use crate::observe::Hot;
use crate::sync::{Arc, Ordering};
use crate::time::Clock;
use equivalent::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// A cache in this process (L1) before one that many processes share (L2), before the loader.
///
/// Made by [`LoadingBuilder::remote`](crate::LoadingBuilder::remote). It is a handle: clones share one cache.
///
/// ```text
///   load ──► L1 ──► L2: one question, which takes the lease if there is no value ──► the loader, in one process of all
/// ```
///
/// # What it promises
///
/// - **A bound on staleness**: what is served was right less than [`max_staleness`](Self::max_staleness) ago. The remote tells of
///   every change; the line on which it does is asked several times within the bound whether it is there, and a hit is one only if
///   it has answered in time.
/// - **No write is overtaken**: a value that was loaded before its key was written or deleted, here or elsewhere, is kept nowhere.
/// - **The remote may be gone**: values are loaded then, and kept for no longer than the bound. Deletions are made up for when it is back,
///   before anything it has is believed. All of it is told of by [`Event`](super::Event)s.
///
/// # From threads and tasks
///
/// Each method is there for both. Where the remote blocks, those for tasks go on in the [background](crate::LoadingBuilder::spawn). Writes go
/// on to their end though the caller's task is dropped.
///
/// ```
/// use cachette::{Cache, Threads, tier::{MemoryRemote, Raw}};
/// use std::time::Duration;
///
/// let users = Cache::<u64, String>::builder()
///     .capacity(10_000)
///     .loader(|id| -> Result<_, std::io::Error> { Ok(format!("user {id}")) })
///     .spawn(Threads::new())
///     .remote(MemoryRemote::new(), Raw)
///     .namespace("users")
///     .remote_ttl(Duration::from_secs(600))
///     .build()?;
/// assert_eq!(users.load(&7).unwrap(), "user 7");
/// assert!(users.delete(&7).is_done());
/// assert_eq!(users.max_staleness(), Duration::from_secs(2));
/// # Ok::<(), cachette::BuildError>(())
/// ```
pub struct TieredCache<K, V, E, S = ahash::RandomState> {
    inner: Arc<Inner<K, V, E, S>>,
    handle: Arc<Handle<K, V, E>>,
}

/// What goes on in the background shares the rest; it ends with the last of these.
struct Handle<K, V, E>(Arc<Tier<K, V, E>>);

impl<K, V, E> Drop for Handle<K, V, E> {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Release);
        self.0.bell.ring();
    }
}

/// Both levels.
pub(super) struct Inner<K, V, E, S> {
    pub(super) l1: LoadingCache<K, Held<V>, E, S>,
    pub(super) tier: Arc<Tier<K, V, E>>,
}

impl<K, V, E, S> TieredCache<K, V, E, S> {
    pub(super) fn new(l1: LoadingCache<K, Held<V>, E, S>, tier: Arc<Tier<K, V, E>>) -> Self {
        let handle = Arc::new(Handle(Arc::clone(&tier)));
        Self { inner: Arc::new(Inner { l1, tier }), handle }
    }

    fn l1(&self) -> &LoadingCache<K, Held<V>, E, S> {
        &self.inner.l1
    }

    /// Its clock.
    pub(crate) fn clock_of(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.inner.tier.asker.clock)
    }

    /// How the remote tells of changes; `None` while there is no line.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        self.inner.tier.gate.mode()
    }

    /// Deletions that the remote has not confirmed, and that will be made up for.
    #[must_use]
    pub fn undelivered(&self) -> usize {
        self.inner.tier.undelivered.len()
    }
}

impl<K, V, E, S> Clone for TieredCache<K, V, E, S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), handle: Arc::clone(&self.handle) }
    }
}

impl<K, V, E, S> fmt::Debug for TieredCache<K, V, E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TieredCache")
            .field("local", self.l1())
            .field("mode", &self.mode())
            .field("undelivered", &self.undelivered())
            .finish_non_exhaustive()
    }
}

/// Reading.
impl<K, V, E, S> TieredCache<K, V, E, S>
where
    K: RemoteKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// How stale what is served may be: a value, or its absence, was right less than this ago, counted from when the load began that
    /// brought it. It changes with the [`mode`](Self::mode): where nobody tells of changes it is the local TTL. What replicas
    /// [may lag](super::TieredBuilder::replica_lag) is added, if they are asked.
    #[must_use]
    pub fn max_staleness(&self) -> Duration {
        self.inner.tier.bound()
    }

    /// A value of L1, if it may be served.
    #[inline]
    fn hit<Q>(&self, hash: u64, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let Inner { l1, tier } = &*self.inner;
        if tier.hot.as_ref().is_some_and(|hot| hot.keys.samples()) {
            self.count(key);
        }
        let timer = tier.timer();
        let may = |held: &Held<V>| tier.serves(held, timer);
        let (value, ..) = l1.fresh_if(hash, key, timer, may, |held| held.value.clone())?;
        Some(value)
    }

    /// Counts a key that is asked for.
    #[cold]
    fn count<Q>(&self, key: &Q)
    where
        Q: ?Sized + ToOwned<Owned = K>,
    {
        let tier = &self.inner.tier;
        if let Some(hot) = &tier.hot {
            hot.keys.count(key.to_owned(), tier.asker.clock.now());
        }
    }

    /// The keys that this process is asked for most, the hottest first, from a [sample](super::TieredBuilder::sample_hot_keys) of the
    /// last ten to twenty seconds; none if there is no sample. Bulk loads are not counted. O(1).
    ///
    /// ```
    /// # use cachette::{Cache, Threads, tier::{MemoryRemote, Raw}};
    /// # let cache = Cache::builder().capacity(9).loader(|n: &u8| vec![*n]).spawn(Threads::new())
    /// #     .remote(MemoryRemote::new(), Raw).namespace("n").remote_ttl(std::time::Duration::from_secs(9))
    /// #     .sample_hot_keys(1).build()?;
    /// for key in [1, 7, 7, 2, 7] {
    ///     cache.load(&key).unwrap();
    /// }
    /// assert_eq!(cache.hot_keys(1)[0].key, 7);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    #[must_use]
    pub fn hot_keys(&self, most: usize) -> Vec<Hot<K>> {
        let tier = &self.inner.tier;
        let top = tier.hot.as_ref().map(|hot| hot.keys.top(most, tier.asker.clock.now()));
        top.unwrap_or_default()
    }

    /// The value of a key that this process has. Nothing is asked of the remote, nor loaded.
    ///
    /// When a line to the remote comes, which after [building](super::TieredBuilder::build) takes a moment, L1 is emptied: what was read
    /// before may have changed unheard of.
    ///
    /// ```
    /// # use cachette::{Cache, Threads, tier::{MemoryRemote, Raw}};
    /// # let cache = Cache::builder().capacity(9).loader(|n: &u32| vec![*n as u8]).spawn(Threads::new())
    /// #     .remote(MemoryRemote::new(), Raw).namespace("n").remote_ttl(std::time::Duration::from_secs(9)).build()?;
    /// assert_eq!(cache.get(&7), None);
    /// while cache.mode().is_none() || cache.get(&7).is_none() {
    ///     assert_eq!(cache.load(&7).unwrap(), [7]);
    /// }
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        self.hit(self.l1().hash(key), key)
    }

    /// The value of a key: from L1, from L2, or loaded.
    ///
    /// A hit in L1 costs what one of a [`LoadingCache`] costs, and a look at the line's last answer. A value of L2 costs one question; a
    /// load one question and one write. All who want a key in this process share these, and of all processes one loads.
    ///
    /// # Errors
    ///
    /// [`LoadError`], as [`LoadingCache::load`]. That the remote fails is no error.
    ///
    /// ```
    /// # use cachette::{Cache, Threads, tier::{MemoryRemote, Raw}};
    /// let cache = Cache::builder()
    ///     .capacity(100)
    ///     .loader(|page: &String| format!("text of {page}"))
    ///     .spawn(Threads::new())
    ///     .remote(MemoryRemote::new(), Raw)
    ///     .namespace("pages")
    ///     .remote_ttl(std::time::Duration::from_secs(60))
    ///     .build()?;
    /// assert_eq!(cache.load("home").unwrap(), "text of home");
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn load<Q>(&self, key: &Q) -> Result<V, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let hash = self.l1().hash(key);
        match self.hit(hash, key) {
            Some(value) => Ok(value),
            None => block_on(self.fetch(hash, key, true)).map(|loaded| loaded.value.value),
        }
    }

    /// As [`load`](Self::load), from a task.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub async fn load_async<Q>(&self, key: &Q) -> Result<V, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let hash = self.l1().hash(key);
        match self.hit(hash, key) {
            Some(value) => Ok(value),
            None => self.fetch(hash, key, false).await.map(|loaded| loaded.value.value),
        }
    }

    /// As [`load`](Self::load), with where in this process the value came from, and how fresh it is here.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_entry<Q>(&self, key: &Q) -> Result<Loaded<V>, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        block_on(self.entry(key, true))
    }

    /// As [`load_entry`](Self::load_entry), from a task.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub async fn load_entry_async<Q>(&self, key: &Q) -> Result<Loaded<V>, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        self.entry(key, false).await
    }

    /// A value that L1 has not. A load that is not kept was overtaken by something: who joined it may have come after that, and asks once
    /// more, by a load that begins later than it came.
    async fn fetch<Q>(
        &self,
        hash: u64,
        key: &Q,
        blocking: bool,
    ) -> Result<Loaded<Held<V>>, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let Inner { l1, tier } = &*self.inner;
        let loaded = l1.fetch(hash, key, blocking).await?;
        let held = &loaded.value;
        let overtaken = !held.is_current() || (held.admitted && held.end <= tier.now());
        if loaded.origin == Origin::Shared && overtaken {
            return l1.fetch(hash, key, blocking).await;
        }
        Ok(loaded)
    }

    async fn entry<Q>(&self, key: &Q, blocking: bool) -> Result<Loaded<V>, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let Inner { l1, tier } = &*self.inner;
        let (hash, timer) = (l1.hash(key), tier.timer());
        let may = |held: &Held<V>| tier.serves(held, timer);
        let loaded = match l1.fresh_entry_if(hash, key, timer, may) {
            Some(loaded) => loaded,
            None => self.fetch(hash, key, blocking).await?,
        };
        Ok(loaded.map(|held| held.value))
    }

    /// The values of many keys, in their order: what L1 has not costs one question to the remote, one call of the
    /// [`bulk_loader`](crate::LoadingBuilder::bulk_loader), and one write.
    ///
    /// # Errors
    ///
    /// For each key its own, as in [`LoadingCache::load_many`].
    ///
    /// ```
    /// # use cachette::{Cache, Threads, tier::{MemoryRemote, Raw}};
    /// # let cache = Cache::builder().capacity(9).loader(|n: &u8| vec![*n]).spawn(Threads::new())
    /// #     .remote(MemoryRemote::new(), Raw).namespace("n").remote_ttl(std::time::Duration::from_secs(9)).build()?;
    /// assert_eq!(cache.load_many(&[2, 3]), [Ok(vec![2]), Ok(vec![3])]);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn load_many<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> Vec<Result<V, LoadError<E>>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K> + 'q,
    {
        values(block_on(self.l1().load_many_async(keys)))
    }

    /// As [`load_many`](Self::load_many), from a task.
    ///
    /// # Errors
    ///
    /// As [`load_many`](Self::load_many).
    pub async fn load_many_async<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> Vec<Result<V, LoadError<E>>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K> + 'q,
    {
        values(self.l1().load_many_async(keys).await)
    }

    /// Has a key loaded anew and written to the remote, as [`LoadingCache::refresh`].
    pub fn refresh<Q>(&self, key: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        self.l1().refresh(key)
    }

    /// How many entries L1 has, those that may not be served any more included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.l1().len()
    }

    /// True if L1 has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.l1().is_empty()
    }

    /// Statistics of both levels since the cache was built.
    #[must_use]
    pub fn stats(&self) -> TierStats {
        self.inner.tier.counts.with(self.l1().stats())
    }

    /// Does in L1 what [`Cache::maintain`] does.
    pub fn maintain(&self) {
        Cache::maintain(self.l1());
    }
}

fn values<V, E>(answers: Vec<Result<Held<V>, LoadError<E>>>) -> Vec<Result<V, LoadError<E>>> {
    answers.into_iter().map(|answer| answer.map(|held| held.value)).collect()
}
