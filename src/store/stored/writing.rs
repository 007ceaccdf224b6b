//! Writing, from threads and from tasks.

use super::StoredCache;
use crate::entry::{Compute, Computed};
use crate::load::block_on;
use crate::store::error::{FlushError, WriteError};
use crate::store::fate::Receipt;
use crate::store::inner::Caller;
use crate::store::levels::{Borrowed, Levels};
use crate::store::options::Unwritten;
use crate::store::queue::Queue;
use std::hash::Hash;
use std::time::Duration;

/// Writing. Each method is there for threads and for tasks; those of tasks suspend where those of threads sleep.
impl<K, V, E, L> StoredCache<K, V, E, L>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    L: Levels<K, V, E>,
{
    /// Gives a key a value. Direct writes return when the store has it; those behind when it is in the queue, and the receipt tells
    /// when the store has it.
    ///
    /// Behind: O(1) and two small allocations; one of a key that waits already takes its place, and needs no room.
    ///
    /// # Errors
    ///
    /// [`WriteError`]: of a direct write, that the store failed; of one behind, that it was not taken.
    ///
    /// ```
    /// use cachette::{Cache, store::{MemoryStore, WriteBehind}};
    ///
    /// let store = std::sync::Arc::new(MemoryStore::new());
    /// let cache = Cache::<u8, u8>::builder().capacity(9).store(store.clone()).write_behind(WriteBehind::new()).build()?;
    /// let receipt = cache.put(1, 7).unwrap();
    /// assert_eq!((cache.get(&1), store.get(&1)), (Some(7), None));
    /// cache.flush().unwrap();
    /// assert_eq!(store.get(&1), Some(7));
    /// assert!(receipt.wait().is_ok());
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    #[doc(alias = "insert")]
    pub fn put(&self, key: K, value: V) -> Result<Receipt<E>, WriteError<E>> {
        self.write(key, Some(value))
    }

    /// As [`put`](Self::put), from a task. A direct write goes on to its end though the task is dropped, if there is a background.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn put_async(&self, key: K, value: V) -> Result<Receipt<E>, WriteError<E>> {
        self.inner.write(key, Some(value), Caller::Task).await
    }

    /// Deletes a key, in the store as in the caches.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    #[doc(alias = "remove", alias = "invalidate")]
    pub fn delete<Q: ?Sized + Borrowed<K>>(&self, key: &Q) -> Result<Receipt<E>, WriteError<E>> {
        self.write(key.to_owned(), None)
    }

    /// As [`delete`](Self::delete), from a task.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn delete_async<Q: ?Sized + Borrowed<K>>(
        &self,
        key: &Q,
    ) -> Result<Receipt<E>, WriteError<E>> {
        self.inner.write(key.to_owned(), None, Caller::Task).await
    }

    fn write(&self, key: K, value: Option<V>) -> Result<Receipt<E>, WriteError<E>> {
        match self.inner.try_write(key, value) {
            Ok(receipt) => Ok(receipt),
            Err((key, value)) => block_on(self.inner.write(key, value, Caller::Thread)),
        }
    }

    /// Gives many keys values, one after the other, in their order. Behind, that is as fast as it gets: they reach the store in batches.
    ///
    /// # Errors
    ///
    /// For each key its own.
    pub fn put_many(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Vec<Result<Receipt<E>, WriteError<E>>> {
        entries.into_iter().map(|(key, value)| self.put(key, value)).collect()
    }

    /// As [`put_many`](Self::put_many), from a task.
    ///
    /// # Errors
    ///
    /// For each key its own.
    pub async fn put_many_async(
        &self,
        entries: Vec<(K, V)>,
    ) -> Vec<Result<Receipt<E>, WriteError<E>>> {
        let mut receipts = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            receipts.push(self.put_async(key, value).await);
        }
        receipts
    }

    /// Reads, decides and writes a key as one: no other write of this cache comes in between. The value is loaded if it is not there. Says what was
    /// done; the receipt is that of the write.
    ///
    /// `decide` sees the key's value, or `None` if the store has none. It runs outside every lock; behind, it runs again if a put came in
    /// between. How long a value is kept here is the cache's choice: the variants of [`Compute`] with a TTL are as [`Compute::Replace`].
    /// Other processes that write the store are not kept out.
    ///
    /// # Errors
    ///
    /// [`WriteError::Unloaded`] if the value to begin with could not be loaded, [`WriteError::Recursive`] if `decide` computes or writes its
    /// own key, or as [`put`](Self::put).
    ///
    /// ```
    /// use cachette::{Cache, Compute, store::{MemoryStore, WriteBehind}};
    ///
    /// let views = Cache::<&str, u64>::builder().capacity(9).store(MemoryStore::new()).write_behind(WriteBehind::new()).build()?;
    /// for _ in 0..3 {
    ///     let (_, receipt) = views.compute("home", |seen| Compute::Replace(seen.unwrap_or(&0) + 1)).unwrap();
    ///     assert!(receipt.outcome().is_none(), "it waits");
    /// }
    /// assert_eq!(views.get(&"home"), Some(3));
    /// # assert_eq!(views.flush().unwrap(), 1);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn compute(
        &self,
        key: K,
        decide: impl FnMut(Option<&V>) -> Compute<V>,
    ) -> Result<(Computed, Receipt<E>), WriteError<E>> {
        block_on(self.inner.compute(key, decide, Caller::Thread))
    }

    /// As [`compute`](Self::compute), from a task.
    ///
    /// # Errors
    ///
    /// As [`compute`](Self::compute).
    pub async fn compute_async(
        &self,
        key: K,
        decide: impl FnMut(Option<&V>) -> Compute<V> + Send,
    ) -> Result<(Computed, Receipt<E>), WriteError<E>> {
        self.inner.compute(key, decide, Caller::Task).await
    }

    /// Gives a key a value if it has none. True if it had none.
    ///
    /// # Errors
    ///
    /// As [`compute`](Self::compute).
    pub fn put_if_absent(&self, key: K, value: V) -> Result<bool, WriteError<E>> {
        let decide = |old: Option<&V>| match old {
            Some(_) => Compute::Keep,
            None => Compute::Replace(value.clone()),
        };
        Ok(self.compute(key, decide)?.0 == Computed::Replaced)
    }

    /// Gives a key a value if it has one that passes the test. True if it had.
    ///
    /// # Errors
    ///
    /// As [`compute`](Self::compute).
    pub fn replace_if(
        &self,
        key: K,
        value: V,
        mut test: impl FnMut(&V) -> bool,
    ) -> Result<bool, WriteError<E>> {
        let decide = |old: Option<&V>| match old {
            Some(old) if test(old) => Compute::Replace(value.clone()),
            _ => Compute::Keep,
        };
        Ok(self.compute(key, decide)?.0 == Computed::Replaced)
    }

    /// Gives a key a value, and says which it had.
    ///
    /// # Errors
    ///
    /// As [`compute`](Self::compute).
    pub fn get_and_put(&self, key: K, value: V) -> Result<Option<V>, WriteError<E>> {
        let mut had = None;
        self.compute(key, |old| {
            had = old.cloned();
            Compute::Replace(value.clone())
        })?;
        Ok(had)
    }

    /// Deletes a key, and says which value it had.
    ///
    /// # Errors
    ///
    /// As [`compute`](Self::compute).
    pub fn take<Q: ?Sized + Borrowed<K>>(&self, key: &Q) -> Result<Option<V>, WriteError<E>> {
        let mut had = None;
        self.compute(key.to_owned(), |old| {
            had = old.cloned();
            if had.is_some() { Compute::Delete } else { Compute::Keep }
        })?;
        Ok(had)
    }
}

/// Writing behind.
impl<K, V, E, L> StoredCache<K, V, E, L>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    L: Levels<K, V, E>,
{
    /// Waits until every write that was accepted before is acknowledged or a dead letter; those that come meanwhile it does not wait for. Says
    /// how many changes the store has acknowledged.
    ///
    /// Where there is no background, it writes what is due by itself, and does not wait for what is to be tried again later.
    ///
    /// # Errors
    ///
    /// [`FlushError`] if some were given up, or still wait.
    pub fn flush(&self) -> Result<u64, FlushError> {
        block_on(self.inner.flush())
    }

    /// As [`flush`](Self::flush), from a task.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush).
    pub async fn flush_async(&self) -> Result<u64, FlushError> {
        self.inner.flush().await
    }

    /// Takes no more writes, waits until those that were accepted are written, but no longer than `time`, and gives back those that are not, the
    /// oldest first, the dead letters with them. Nothing is written after it returns, but by a store that
    /// [blocks](crate::store::Store::blocks), which cannot be interrupted: those changes are [unsure](Unwritten::unsure). Reading goes on.
    ///
    /// Where there is no background, it writes what is due by itself, and waits for nothing else.
    #[must_use = "these are all that is left of the writes"]
    pub fn close(&self, time: Duration) -> Vec<Unwritten<K, V, E>> {
        block_on(self.inner.close(time))
    }

    /// As [`close`](Self::close), from a task.
    #[must_use = "these are all that is left of the writes"]
    pub async fn close_async(&self, time: Duration) -> Vec<Unwritten<K, V, E>> {
        self.inner.close(time).await
    }

    /// Writes, on this thread, all that is due: for a program that has no background, or a test whose clock it moves. Says how many changes
    /// the store was given.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn drive(&self) -> usize {
        block_on(self.inner.drive())
    }

    /// As [`drive`](Self::drive), from a task.
    pub async fn drive_async(&self) -> usize {
        self.inner.drive().await
    }

    /// The changes that were given up and are kept, the oldest first: keys, values, and what they failed with. O(dead log dead).
    #[must_use]
    pub fn dead_letters(&self) -> Vec<Unwritten<K, V, E>> {
        let dead = self.inner.behind().map(|behind| behind.queue.lock().list_dead());
        dead.unwrap_or_default().into_iter().map(Into::into).collect()
    }

    /// Tries again what was given up, as if it had been accepted now. Says of how many changes. O(dead log n).
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn retry_dead(&self) -> usize {
        let Some(behind) = self.inner.behind() else { return 0 };
        let now = behind.now();
        let dead = behind.with_queue(|queue| queue.retry_dead(now));
        for dead in &dead {
            self.inner.levels.forget(&dead.key.key);
        }
        behind.bell.ring();
        dead.len()
    }

    /// Takes what was given up: they need no room any more.
    #[must_use = "these are all that is left of the writes"]
    pub fn take_dead(&self) -> Vec<Unwritten<K, V, E>> {
        let dead = self.inner.behind().map(|behind| {
            let dead = behind.wake_after(Queue::take_dead);
            behind.settle_replaced(0);
            dead
        });
        dead.unwrap_or_default().into_iter().map(Into::into).collect()
    }
}
