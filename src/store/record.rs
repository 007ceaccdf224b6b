//! The store as the loader sees it: with what waits to be written before it.

use super::behind::Behind;
use super::contract::{Missing, Store};
use super::keyed::Keyed;
use super::queue::Staged;
use crate::sync::{Arc, OnceLock};
use ahash::RandomState;
use std::hash::Hash;

/// The system of record, behind what is on its way to it.
pub(super) struct Record<K, V, E> {
    pub(super) behind: OnceLock<Behind<K, V, E>>,
    pub(super) store: Arc<dyn Store<K, V, Error = E>>,
    hash: RandomState,
}

impl<K, V, E> Record<K, V, E>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    pub(super) fn new(store: Arc<dyn Store<K, V, Error = E>>) -> Arc<Self> {
        Arc::new(Self { behind: OnceLock::new(), store, hash: RandomState::new() })
    }

    pub(super) fn keyed(&self, key: K) -> Keyed<K> {
        Keyed { hash: self.hash.hash_one(&key), key }
    }

    /// What a key will be, if that is not written yet.
    pub(super) fn staged(&self, key: K) -> Option<Staged<V>> {
        let behind = self.behind.get()?;
        if behind.is_clean() { None } else { behind.latest(&self.keyed(key)) }
    }

    /// What is on its way to the store, or else what that has.
    pub(super) async fn load(&self, key: K) -> Result<V, Missing<E>>
    where
        K: Clone,
    {
        match self.staged(key.clone()) {
            Some(staged) => value_of(&staged),
            None => self.load_from_store(&key).await,
        }
    }

    pub(super) async fn load_from_store(&self, key: &K) -> Result<V, Missing<E>> {
        found(self.store.load(key).await)
    }

    /// The same for many: one call of the store for all that are not on their way.
    pub(super) async fn load_many(&self, keys: Vec<K>) -> Vec<(K, Result<V, Missing<E>>)>
    where
        K: Clone,
    {
        let (mut loaded, mut asked) = (Vec::with_capacity(keys.len()), Vec::new());
        for key in keys {
            match self.staged(key.clone()) {
                Some(staged) => loaded.push((key, value_of(&staged))),
                None => asked.push(key),
            }
        }
        if !asked.is_empty() {
            // A key without an answer is told of as such by who asked.
            let answers = self.store.load_many(&asked).await;
            loaded.extend(asked.into_iter().zip(answers.into_iter().map(found)));
        }
        loaded
    }
}

fn value_of<V: Clone, E>(staged: &Staged<V>) -> Result<V, Missing<E>> {
    staged.value().cloned().ok_or(Missing::Absent)
}

fn found<V, E>(answer: Result<Option<V>, E>) -> Result<V, Missing<E>> {
    match answer {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(Missing::Absent),
        Err(error) => Err(Missing::Failed(Arc::new(error))),
    }
}
