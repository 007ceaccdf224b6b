//! Writing and deleting on both levels, from threads and from tasks.

use super::TieredCache;
use crate::load::{block_on, offload};
use crate::sync::Arc;
use crate::tier::names::RemoteKey;
use crate::tier::remote::RemoteError;
use crate::tier::write::Delivery;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

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
        offload(self.inner.tier.spawn(), self.inner.tier.asker.remote.blocks(), work).await
    }

    /// Deletes a key in L1 alone, and poisons its loads: the remote is told later.
    pub(crate) fn forget_here(&self, key: &K) {
        self.inner.l1.delete(key);
    }

    /// The same, and the remote's value is not believed before it was deleted, in the background.
    pub(crate) fn doubt_everywhere(&self, key: &K) {
        let tier = &self.inner.tier;
        let places: Vec<_> = tier.copies(key).chain([tier.names.place(key)]).collect();
        tier.owe(&places);
        self.inner.l1.delete(key);
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
        block_on(Arc::clone(&self.inner).delete(vec![key.to_owned()], None))
    }

    /// As [`delete`](Self::delete), from a task.
    pub async fn delete_async<Q>(&self, key: &Q) -> Delivery
    where
        Q: ?Sized + Equivalent<K> + ToOwned<Owned = K>,
    {
        let work = Arc::clone(&self.inner).delete(vec![key.to_owned()], None);
        self.run(work).await.unwrap_or_else(lost)
    }

    /// Deletes many keys, by one call of the remote.
    pub fn delete_many(&self, keys: impl IntoIterator<Item = K>) -> Delivery {
        block_on(Arc::clone(&self.inner).delete(keys.into_iter().collect(), None))
    }

    /// As [`delete_many`](Self::delete_many), from a task.
    pub async fn delete_many_async(&self, keys: impl IntoIterator<Item = K>) -> Delivery {
        let work = Arc::clone(&self.inner).delete(keys.into_iter().collect(), None);
        self.run(work).await.unwrap_or_else(lost)
    }

    /// Deletes a key unless its value is of this version or a higher one: for whoever knows which version was written. Loads under way are
    /// not kept. Versions are those of [`versions`](crate::tier::TieredBuilder::versions).
    pub fn delete_older<Q>(&self, key: &Q, version: u64) -> Delivery
    where
        Q: ?Sized + Equivalent<K> + ToOwned<Owned = K>,
    {
        block_on(Arc::clone(&self.inner).delete(vec![key.to_owned()], Some(version)))
    }

    /// As [`delete_older`](Self::delete_older), from a task.
    pub async fn delete_older_async<Q>(&self, key: &Q, version: u64) -> Delivery
    where
        Q: ?Sized + Equivalent<K> + ToOwned<Owned = K>,
    {
        let work = Arc::clone(&self.inner).delete(vec![key.to_owned()], Some(version));
        self.run(work).await.unwrap_or_else(lost)
    }

    /// Deletes a key now, and once more after `settle`: for loaders that read from a replica of the system of record, which may lag
    /// behind it by so much. Where values have [`versions`](crate::tier::TieredBuilder::versions) once is enough, and the second is left out.
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
        let tier = &self.inner.tier;
        if tier.rules.version.is_some() {
            return;
        }
        let (inner, settled) = (Arc::clone(&self.inner), tier.spawn().sleep(settle));
        tier.behind(async move {
            settled.await;
            // What is not delivered is noted.
            let _ = inner.delete(vec![key], None).await;
        });
    }

    /// Writes a value to both levels: after the system of record has it. Loads that come meanwhile wait for it; those under way are not
    /// kept. Where values have [`versions`](crate::tier::TieredBuilder::versions), an older one changes nothing.
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
        block_on(Arc::clone(&self.inner).put(key, value))
    }

    /// As [`put`](Self::put), from a task.
    pub async fn put_async(&self, key: K, value: V) -> Delivery {
        self.run(Arc::clone(&self.inner).put(key, value)).await.unwrap_or_else(lost)
    }

    /// Deletes all values of a [tag](crate::tier::TieredBuilder::tags), wherever they are: O(1), since values name the generation of their
    /// tags, and this draws another.
    pub fn delete_tag(&self, tag: &str) -> Delivery {
        block_on(Arc::clone(&self.inner).delete_tag(tag.to_owned()))
    }

    /// As [`delete_tag`](Self::delete_tag), from a task.
    pub async fn delete_tag_async(&self, tag: &str) -> Delivery {
        let work = Arc::clone(&self.inner).delete_tag(tag.to_owned());
        self.run(work).await.unwrap_or_else(lost)
    }

    /// Deletes all values of the namespace, wherever they are, by its generation. O(1) in the remote, whose memory is freed as the TTLs
    /// of the old values end; O(entries) here.
    pub fn clear(&self) -> Delivery {
        block_on(Arc::clone(&self.inner).clear())
    }

    /// As [`clear`](Self::clear), from a task.
    pub async fn clear_async(&self) -> Delivery {
        self.run(Arc::clone(&self.inner).clear()).await.unwrap_or_else(lost)
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
        block_on(Arc::clone(&self.inner).delete_matching(pattern.to_owned(), progress))
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
        let work = Arc::clone(&self.inner).delete_matching(pattern.to_owned(), progress);
        self.run(work).await.unwrap_or_else(|| Err(dropped()))
    }
}

fn dropped() -> RemoteError {
    RemoteError::Unreachable("the background dropped the work".to_owned())
}

fn lost() -> Delivery {
    Delivery::Queued(dropped())
}
