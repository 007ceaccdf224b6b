//! A cache with its loader: the public face of loads that know where values come from.

use super::block::block_on;
use super::fetch::Shared;
use super::loaded::Loaded;
use super::source::Why;
use crate::cache::Cache;
use crate::error::LoadError;
use crate::sync::{Arc, Weak};
use equivalent::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::ops::Deref;

/// A [`Cache`] that knows where its values come from (read-through), and keeps them [fresh](crate::Freshness).
///
/// Made by [`Builder::loader`](crate::Builder::loader). It is a handle: clones share one cache. Everything that a [`Cache`] can do it can
/// do, too; `get` and its kin see fresh values alone, and load nothing.
///
/// # Who runs the loader
///
/// | | no [`spawn`](crate::LoadingBuilder::spawn) | with it |
/// |---|---|---|
/// | [`load`](Self::load), a loader that blocks, no timeouts | the caller | the caller |
/// | [`load`](Self::load), otherwise | the caller | the background |
/// | [`load_async`](Self::load_async) | the caller's task | the background |
/// | refreshes | the caller, by hand only | the background |
///
/// A load in the background belongs to the cache: callers who give up, and tasks that are dropped, do not end it, and its value
/// is there for who comes next. One in a caller's hands is handed over: if the caller is gone, one of those who wait begins anew.
///
/// ```
/// use cachette::{Cache, Freshness, Threads};
/// use std::time::Duration;
///
/// let seconds = Duration::from_secs;
/// let users = Cache::<u64, String>::builder()
///     .capacity(10_000)
///     .freshness(Freshness::new(seconds(60)).refresh_ahead(0.8).stale_if_error(seconds(600)))
///     .loader(|id| -> Result<_, std::io::Error> { Ok(format!("user {id}")) })
///     .spawn(Threads::new())
///     .hard_timeout(seconds(2))
///     .build()?;
/// assert_eq!(users.load(&7).unwrap(), "user 7");
/// assert_eq!(users.get(&7).unwrap(), "user 7");
/// # Ok::<(), cachette::BuildError>(())
/// ```
pub struct LoadingCache<K, V, E, S = ahash::RandomState> {
    pub(super) shared: Arc<Shared<K, V, E, S>>,
}

/// A handle that does not keep the cache.
pub(crate) struct WeakLoading<K, V, E, S>(Weak<Shared<K, V, E, S>>);

impl<K, V, E, S> WeakLoading<K, V, E, S> {
    pub(crate) fn upgrade(&self) -> Option<LoadingCache<K, V, E, S>> {
        self.0.upgrade().map(|shared| LoadingCache { shared })
    }
}

impl<K, V, E, S> LoadingCache<K, V, E, S> {
    pub(crate) fn downgrade(&self) -> WeakLoading<K, V, E, S> {
        WeakLoading(Arc::downgrade(&self.shared))
    }
}

impl<K, V, E, S> Clone for LoadingCache<K, V, E, S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K, V, E, S> Deref for LoadingCache<K, V, E, S> {
    type Target = Cache<K, V, S>;

    fn deref(&self) -> &Cache<K, V, S> {
        &self.shared.cache
    }
}

impl<K, V, E, S> fmt::Debug for LoadingCache<K, V, E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadingCache")
            .field("weight", &self.weight())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

impl<K, V, E, S> LoadingCache<K, V, E, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The value of a key, loaded if there is none that may be served. However many ask at once, one of them loads.
    ///
    /// A hit costs what [`get`](Cache::get) costs, and 2 ns; where values are refreshed it looks at one more cache line.
    ///
    /// # Errors
    ///
    /// [`LoadError`]: the loader failed, or its error is kept; it asked for itself; the hard timeout passed; the load was
    /// lost. Within the grace of a stale value that is returned instead, but for the second.
    ///
    /// ```
    /// let squares = cachette::Cache::builder().capacity(10).loader(|n: &u64| n * n).build()?;
    /// assert_eq!(squares.load(&4).unwrap(), 16);
    /// assert_eq!(squares.stats().loads, 1);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn load<Q>(&self, key: &Q) -> Result<V, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let hash = self.hash(key);
        match self.fresh(hash, key, V::clone) {
            Some((value, ..)) => Ok(value),
            None => block_on(self.fetch(hash, key, true)).map(|loaded| loaded.value),
        }
    }

    /// As [`load`](Self::load), from a task.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    ///
    /// ```
    /// # let squares = cachette::Cache::builder().capacity(10).loader(|n: &u64| n * n).build()?;
    /// # let future = std::pin::pin!(async {
    /// assert_eq!(squares.load_async(&4).await.unwrap(), 16);
    /// # });
    /// # assert!(future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready());
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub async fn load_async<Q>(&self, key: &Q) -> Result<V, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let hash = self.hash(key);
        match self.fresh(hash, key, V::clone) {
            Some((value, ..)) => Ok(value),
            None => self.fetch(hash, key, false).await.map(|loaded| loaded.value),
        }
    }

    /// As [`load`](Self::load), with where the value came from, its age, what is left of its time, and whether it is stale,
    /// shared or being refreshed.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    ///
    /// ```
    /// use cachette::Origin;
    ///
    /// let squares = cachette::Cache::builder().capacity(10).loader(|n: &u64| n * n).build()?;
    /// assert_eq!(squares.load_entry(&4).unwrap().origin, Origin::Load);
    /// let again = squares.load_entry(&4).unwrap();
    /// assert_eq!((again.value, again.origin, again.is_stale()), (16, Origin::Hit, false));
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    #[doc(alias = "get_or_load_entry")]
    pub fn load_entry<Q>(&self, key: &Q) -> Result<Loaded<V>, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let hash = self.hash(key);
        match self.fresh_entry(hash, key) {
            Some(loaded) => Ok(loaded),
            None => block_on(self.fetch(hash, key, true)),
        }
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
        let hash = self.hash(key);
        match self.fresh_entry(hash, key) {
            Some(loaded) => Ok(loaded),
            None => self.fetch(hash, key, false).await,
        }
    }

    /// Has a key loaded anew, resident or not, while readers go on to see what it has. True if this call has begun that; false
    /// if it is being loaded, or as many refreshes run as may ([`most_refreshes`](crate::LoadingBuilder::most_refreshes)).
    ///
    /// If the key is written or deleted meanwhile, the write wins. Without [`spawn`](crate::LoadingBuilder::spawn) the loader runs on this
    /// thread, before this returns.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// let version = AtomicU32::new(0);
    /// let cache = cachette::Cache::builder().capacity(10).loader(move |_: &u32| version.fetch_add(1, Ordering::Relaxed)).build()?;
    /// assert_eq!(cache.load(&7).unwrap(), 0);
    /// assert!(cache.refresh(&7));
    /// assert_eq!(cache.load(&7).unwrap(), 1);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn refresh<Q>(&self, key: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let hash = self.hash(key);
        let claimed = self.claim_by_hand(hash, key);
        let Some(task) = self.begin_refresh(hash, key, Why::ByHand) else {
            if claimed {
                self.unclaim(hash, key);
            }
            return false;
        };
        if self.shared.spawn.is_some() {
            self.run_behind(Box::pin(task));
        } else {
            block_on(task);
        }
        true
    }
}
