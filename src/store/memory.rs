//! A store in this process, for tests and examples.

use super::contract::{Answer, Change, Store};
use crate::sync::Mutex;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::ready;
use std::hash::Hash;

/// A store in this process: a table. It never fails, keeps the version of each change, and takes no older one after a newer.
///
/// ```
/// use cachette::store::MemoryStore;
///
/// let store = MemoryStore::<u8, u8>::new();
/// assert_eq!(store.get(&1), None);
/// ```
pub struct MemoryStore<K, V> {
    rows: Mutex<HashMap<K, (u64, Option<V>)>>,
}

impl<K, V> MemoryStore<K, V> {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self { rows: Mutex::new(HashMap::new()) }
    }
}

impl<K: Hash + Eq, V: Clone> MemoryStore<K, V> {
    /// What it has of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V> {
        self.rows.lock().get(key)?.1.clone()
    }

    /// Changes it behind the cache's back, as another process would.
    pub fn set(&self, key: K, value: Option<V>) {
        let mut rows = self.rows.lock();
        let version = rows.get(&key).map_or(0, |row| row.0);
        rows.insert(key, (version, value));
    }
}

impl<K: Hash + Eq + Clone, V: Clone> MemoryStore<K, V> {
    fn change(&self, change: Change<'_, K, V>) {
        let mut rows = self.rows.lock();
        let row = rows.entry(change.key.clone()).or_insert((0, None));
        if change.version >= row.0 {
            *row = (change.version, change.value.cloned());
        }
    }
}

impl<K, V> Default for MemoryStore<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> fmt::Debug for MemoryStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("rows", &self.rows.lock().len()).finish()
    }
}

impl<K, V> Store<K, V> for MemoryStore<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    type Error = Infallible;

    fn load<'a>(&'a self, key: &'a K) -> Answer<'a, Result<Option<V>, Infallible>> {
        Box::pin(ready(Ok(self.get(key))))
    }

    fn apply<'a>(&'a self, change: Change<'a, K, V>) -> Answer<'a, Result<(), Infallible>> {
        self.change(change);
        Box::pin(ready(Ok(())))
    }
}
