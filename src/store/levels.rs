//! The caches before the store: one level or two, as the ways of writing see them.

use super::contract::Missing;
use crate::error::LoadError;
use crate::load::LoadingCache;
use crate::observe::Stats;
use crate::sync::Arc;
use crate::tier::{RemoteKey, TieredCache};
use crate::time::Clock;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};

/// A key in a borrowed form.
pub trait Borrowed<K>: Hash + Equivalent<K> + ToOwned<Owned = K> + Sync {}
impl<K, Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K> + Sync> Borrowed<K> for Q {}

/// The caches before a store: a [`LoadingCache`] or a [`TieredCache`]. Nobody else implements it.
pub trait Levels<K, V, E>: sealed::Sealed + Send + Sync + 'static {
    /// True if other processes share one of them.
    #[doc(hidden)]
    const SHARED: bool;
    #[doc(hidden)]
    fn hit<Q: ?Sized + Borrowed<K>>(&self, key: &Q) -> Option<V>;
    #[doc(hidden)]
    fn fetch<Q: ?Sized + Borrowed<K>>(&self, key: &Q) -> Result<V, LoadError<Missing<E>>>;
    #[doc(hidden)]
    fn fetch_async<Q: ?Sized + Borrowed<K>>(
        &self,
        key: &Q,
    ) -> impl Future<Output = Result<V, LoadError<Missing<E>>>> + Send;
    #[doc(hidden)]
    fn fetch_many(
        &self,
        keys: &[K],
    ) -> impl Future<Output = Vec<Result<V, LoadError<Missing<E>>>>> + Send;
    /// This process forgets a key, and keeps nothing that loads under way bring of it.
    #[doc(hidden)]
    fn forget(&self, key: &K);
    /// The same, and what is shared is to be made up for in the background.
    #[doc(hidden)]
    fn doubt(&self, key: &K);
    /// The store has a new value: all levels get it.
    #[doc(hidden)]
    fn publish(&self, key: K, value: V) -> impl Future<Output = ()> + Send;
    /// The store has changed: all levels forget what they have.
    #[doc(hidden)]
    fn delete(&self, keys: Vec<K>) -> impl Future<Output = ()> + Send;
    #[doc(hidden)]
    fn clock(&self) -> Arc<dyn Clock>;
    #[doc(hidden)]
    fn counts(&self) -> Stats;
}

mod sealed {
    pub trait Sealed {}
    impl<K, V, E, S> Sealed for super::LoadingCache<K, V, E, S> {}
    impl<K, V, E, S> Sealed for super::TieredCache<K, V, E, S> {}
}

/// Reads are those of the caches, by the same names.
macro_rules! reads {
    ($key:ident, $value:ident, $error:ident) => {
        fn hit<Q: ?Sized + Borrowed<$key>>(&self, key: &Q) -> Option<$value> {
            self.get(key)
        }

        fn fetch<Q: ?Sized + Borrowed<$key>>(
            &self,
            key: &Q,
        ) -> Result<$value, LoadError<Missing<$error>>> {
            self.load(key)
        }

        async fn fetch_async<Q: ?Sized + Borrowed<$key>>(
            &self,
            key: &Q,
        ) -> Result<$value, LoadError<Missing<$error>>> {
            self.load_async(key).await
        }

        async fn fetch_many(
            &self,
            keys: &[$key],
        ) -> Vec<Result<$value, LoadError<Missing<$error>>>> {
            self.load_many_async(keys).await
        }
    };
}

impl<K, V, E, S> Levels<K, V, E> for LoadingCache<K, V, Missing<E>, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    const SHARED: bool = false;

    reads!(K, V, E);

    fn forget(&self, key: &K) {
        (**self).delete(key);
    }

    fn doubt(&self, key: &K) {
        (**self).delete(key);
    }

    async fn publish(&self, key: K, value: V) {
        self.put(key, value);
    }

    async fn delete(&self, keys: Vec<K>) {
        for key in &keys {
            self.forget(key);
        }
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    fn counts(&self) -> Stats {
        self.stats()
    }
}

impl<K, V, E, S> Levels<K, V, E> for TieredCache<K, V, Missing<E>, S>
where
    K: RemoteKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    const SHARED: bool = true;

    reads!(K, V, E);

    fn forget(&self, key: &K) {
        self.forget_here(key);
    }

    fn doubt(&self, key: &K) {
        self.doubt_everywhere(key);
    }

    async fn publish(&self, key: K, value: V) {
        // What the remote has not confirmed is owed to it: nobody believes it meanwhile.
        let _ = self.put_async(key, value).await;
    }

    async fn delete(&self, keys: Vec<K>) {
        let _ = self.delete_many_async(keys).await;
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.clock_of()
    }

    fn counts(&self) -> Stats {
        self.stats().local
    }
}
