//! The public face of two levels.

use super::core::Tier;
use super::held::Held;
use super::names::RemoteKey;
use super::offload::offload;
use super::remote::{Mode, RemoteError};
use super::stats::TierStats;
use super::write::Delivery;
use crate::cache::Cache;
use crate::error::LoadError;
use crate::load::{Loaded, LoadingCache, Origin, block_on};
use crate::sync::{Arc, Ordering};
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
    handle: Arc<Handle<K, V, E, S>>,
}

/// The last one ends what goes on in the background.
struct Handle<K, V, E, S>(Arc<Inner<K, V, E, S>>);

impl<K, V, E, S> Drop for Handle<K, V, E, S> {
    fn drop(&mut self) {
        self.0.tier.gone.store(true, Ordering::Release);
        self.0.tier.bell.ring();
    }
}

/// Both levels.
pub(super) struct Inner<K, V, E, S> {
    pub(super) l1: LoadingCache<K, Held<V>, E, S>,
    pub(super) tier: Arc<Tier<K, V, E>>,
}

impl<K, V, E, S> TieredCache<K, V, E, S> {
    pub(super) fn new(l1: LoadingCache<K, Held<V>, E, S>, tier: Arc<Tier<K, V, E>>) -> Self {
        Self { handle: Arc::new(Handle(Arc::new(Inner { l1, tier }))) }
    }

    fn inner(&self) -> &Arc<Inner<K, V, E, S>> {
        &self.handle.0
    }

    fn l1(&self) -> &LoadingCache<K, Held<V>, E, S> {
        &self.inner().l1
    }

    /// How the remote tells of changes; `None` while there is no line.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        self.inner().tier.gate.mode()
    }

    /// Deletions that the remote has not confirmed, and that will be made up for.
    #[must_use]
    pub fn undelivered(&self) -> usize {
        self.inner().tier.undelivered.len()
    }
}

impl<K, V, E, S> Clone for TieredCache<K, V, E, S> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle) }
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
    /// brought it. It changes with the [`mode`](Self::mode): where nobody tells of changes it is the local TTL.
    #[must_use]
    pub fn max_staleness(&self) -> Duration {
        self.inner().tier.bound()
    }

    /// A value of L1, if it may be served.
    #[inline]
    fn hit<Q>(&self, hash: u64, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let Inner { l1, tier } = &**self.inner();
        l1.fresh(hash, key, |held| tier.serves(held).then(|| held.value.clone()))?.0
    }

    /// The value of a key that this process has. Nothing is asked of the remote, nor loaded.
    ///
    /// ```
    /// # use cachette::{Cache, Threads, tier::{MemoryRemote, Raw}};
    /// # let cache = Cache::builder().capacity(9).loader(|n: &u32| vec![*n as u8]).spawn(Threads::new())
    /// #     .remote(MemoryRemote::new(), Raw).namespace("n").remote_ttl(std::time::Duration::from_secs(9)).build()?;
    /// assert_eq!(cache.get(&7), None);
    /// assert_eq!(cache.load(&7).unwrap(), [7]);
    /// assert_eq!(cache.get(&7), Some(vec![7]));
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
        let Inner { l1, tier } = &**self.inner();
        let loaded = l1.fetch(hash, key, blocking).await?;
        let kept = loaded.value.is_current() && loaded.value.end > tier.now();
        if loaded.origin == Origin::Shared && !kept {
            return l1.fetch(hash, key, blocking).await;
        }
        Ok(loaded)
    }

    async fn entry<Q>(&self, key: &Q, blocking: bool) -> Result<Loaded<V>, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let Inner { l1, tier } = &**self.inner();
        let hash = l1.hash(key);
        let loaded = match l1.fresh_entry(hash, key).filter(|found| tier.serves(&found.value)) {
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
        self.inner().tier.counts.with(self.l1().stats())
    }

    /// Does in L1 what [`Cache::maintain`] does.
    pub fn maintain(&self) {
        Cache::maintain(self.l1());
    }
}

fn values<V, E>(answers: Vec<Result<Held<V>, LoadError<E>>>) -> Vec<Result<V, LoadError<E>>> {
    answers.into_iter().map(|answer| answer.map(|held| held.value)).collect()
}

/// Writing and deleting.
impl<K, V, E, S> TieredCache<K, V, E, S>
where
    K: RemoteKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Runs what writes to the remote to its end, though the caller be gone.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        offload(self.inner().tier.spawn(), self.inner().tier.asker.remote.blocks(), work).await
    }

    /// Deletes a key on both levels, its lease in the remote, and the loads of it that are under way: what they bring is kept nowhere.
    /// Other processes are told.
    ///
    /// To be called after the system of record has been written. It never fails here; see [`Delivery::Queued`] for a remote that does.
    ///
    /// ```
    /// # use cachette::{Cache, Threads, tier::{Delivery, MemoryRemote, Raw}};
    /// # let cache = Cache::builder().capacity(9).loader(|n: &u8| vec![*n]).spawn(Threads::new())
    /// #     .remote(MemoryRemote::new(), Raw).namespace("n").remote_ttl(std::time::Duration::from_secs(9)).build()?;
    /// cache.load(&7).unwrap();
    /// assert_eq!(cache.delete(&7), Delivery::Done);
    /// assert_eq!(cache.get(&7), None);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    #[doc(alias = "invalidate", alias = "remove")]
    pub fn delete<Q>(&self, key: &Q) -> Delivery
    where
        Q: ?Sized + Equivalent<K> + ToOwned<Owned = K>,
    {
        block_on(Arc::clone(self.inner()).delete(vec![key.to_owned()], None))
    }

    /// As [`delete`](Self::delete), from a task.
    pub async fn delete_async<Q>(&self, key: &Q) -> Delivery
    where
        Q: ?Sized + Equivalent<K> + ToOwned<Owned = K>,
    {
        let work = Arc::clone(self.inner()).delete(vec![key.to_owned()], None);
        self.run(work).await.unwrap_or_else(lost)
    }

    /// Deletes many keys, by one call of the remote.
    pub fn delete_many(&self, keys: impl IntoIterator<Item = K>) -> Delivery {
        block_on(Arc::clone(self.inner()).delete(keys.into_iter().collect(), None))
    }

    /// As [`delete_many`](Self::delete_many), from a task.
    pub async fn delete_many_async(&self, keys: impl IntoIterator<Item = K>) -> Delivery {
        let work = Arc::clone(self.inner()).delete(keys.into_iter().collect(), None);
        self.run(work).await.unwrap_or_else(lost)
    }

    /// Deletes a key unless its value is of this version or a higher one: for whoever knows which version was written. Loads under way are
    /// not kept. Versions are those of [`versions`](super::TieredBuilder::versions).
    pub fn delete_older<Q>(&self, key: &Q, version: u64) -> Delivery
    where
        Q: ?Sized + Equivalent<K> + ToOwned<Owned = K>,
    {
        block_on(Arc::clone(self.inner()).delete(vec![key.to_owned()], Some(version)))
    }

    /// As [`delete_older`](Self::delete_older), from a task.
    pub async fn delete_older_async<Q>(&self, key: &Q, version: u64) -> Delivery
    where
        Q: ?Sized + Equivalent<K> + ToOwned<Owned = K>,
    {
        let work = Arc::clone(self.inner()).delete(vec![key.to_owned()], Some(version));
        self.run(work).await.unwrap_or_else(lost)
    }

    /// Deletes a key now, and once more after `settle`: for loaders that read from a replica of the system of record, which may lag
    /// behind it by so much. Where values have [`versions`](super::TieredBuilder::versions) once is enough, and the second is left out.
    pub fn delete_after_write<Q>(&self, key: &Q, settle: Duration) -> Delivery
    where
        Q: ?Sized + Equivalent<K> + ToOwned<Owned = K>,
    {
        let delivery = self.delete(key);
        self.delete_again(key.to_owned(), settle);
        delivery
    }

    /// As [`delete_after_write`](Self::delete_after_write), from a task.
    pub async fn delete_after_write_async<Q>(&self, key: &Q, settle: Duration) -> Delivery
    where
        Q: ?Sized + Equivalent<K> + ToOwned<Owned = K>,
    {
        let delivery = self.delete_async(key).await;
        self.delete_again(key.to_owned(), settle);
        delivery
    }

    fn delete_again(&self, key: K, settle: Duration) {
        let tier = &self.inner().tier;
        if tier.rules.version.is_some() {
            return;
        }
        let (inner, settled) = (Arc::clone(self.inner()), tier.spawn().sleep(settle));
        tier.behind(async move {
            settled.await;
            // What is not delivered is noted.
            let _ = inner.delete(vec![key], None).await;
        });
    }

    /// Writes a value to both levels: after the system of record has it. Loads that come meanwhile wait for it; those under way are not
    /// kept. Where values have [`versions`](super::TieredBuilder::versions), an older one changes nothing.
    ///
    /// Two processes that write one key at once leave what the remote got last; whoever cannot say which that should be
    /// [deletes](Self::delete) instead.
    ///
    /// ```
    /// # use cachette::{Cache, Threads, tier::{MemoryRemote, Raw}};
    /// # let cache = Cache::builder().capacity(9).loader(|n: &u8| vec![*n]).spawn(Threads::new())
    /// #     .remote(MemoryRemote::new(), Raw).namespace("n").remote_ttl(std::time::Duration::from_secs(9)).build()?;
    /// assert!(cache.put(7, vec![1, 2]).is_done());
    /// assert_eq!(cache.load(&7).unwrap(), [1, 2]);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    #[doc(alias = "insert", alias = "set")]
    pub fn put(&self, key: K, value: V) -> Delivery {
        block_on(Arc::clone(self.inner()).put(key, value))
    }

    /// As [`put`](Self::put), from a task.
    pub async fn put_async(&self, key: K, value: V) -> Delivery {
        self.run(Arc::clone(self.inner()).put(key, value)).await.unwrap_or_else(lost)
    }

    /// Deletes all values of a [tag](super::TieredBuilder::tags), wherever they are: O(1), since values name the generation of their
    /// tags, and this draws another.
    pub fn delete_tag(&self, tag: &str) -> Delivery {
        block_on(Arc::clone(self.inner()).delete_tag(tag.to_owned()))
    }

    /// As [`delete_tag`](Self::delete_tag), from a task.
    pub async fn delete_tag_async(&self, tag: &str) -> Delivery {
        let work = Arc::clone(self.inner()).delete_tag(tag.to_owned());
        self.run(work).await.unwrap_or_else(lost)
    }

    /// Deletes all values of the namespace, wherever they are, by its generation. O(1) in the remote, whose memory is freed as the TTLs
    /// of the old values end; O(entries) here.
    pub fn clear(&self) -> Delivery {
        block_on(Arc::clone(self.inner()).clear())
    }

    /// As [`clear`](Self::clear), from a task.
    pub async fn clear_async(&self) -> Delivery {
        self.run(Arc::clone(self.inner()).clear()).await.unwrap_or_else(lost)
    }

    /// Deletes the keys whose names match a glob pattern (`*`, `?`, `[a-z]`, `\`), by walking through the whole remote a page at a time:
    /// O(names in the remote). `progress` hears after each page how many have been deleted. What is written while it walks may stay.
    ///
    /// # Errors
    ///
    /// [`RemoteError`]: the walk has ended there; what came before is deleted.
    pub fn delete_matching(
        &self,
        pattern: &str,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<u64, RemoteError> {
        block_on(Arc::clone(self.inner()).delete_matching(pattern.to_owned(), progress))
    }

    /// As [`delete_matching`](Self::delete_matching), from a task.
    ///
    /// # Errors
    ///
    /// As [`delete_matching`](Self::delete_matching).
    pub async fn delete_matching_async(
        &self,
        pattern: &str,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<u64, RemoteError> {
        let work = Arc::clone(self.inner()).delete_matching(pattern.to_owned(), progress);
        self.run(work).await.unwrap_or_else(|| Err(dropped()))
    }
}

fn dropped() -> RemoteError {
    RemoteError::Unreachable("the background dropped the work".to_owned())
}

fn lost() -> Delivery {
    Delivery::Queued(dropped())
}
