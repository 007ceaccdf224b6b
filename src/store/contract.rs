//! What a system of record must be able to do.

use crate::sync::Arc;
use std::fmt;
use std::pin::Pin;
use thiserror::Error;

/// What a store answers, once.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What has become of each of many changes, in their order; or one error for all, if nobody knows of any.
pub type Applied<E> = Result<Vec<Result<(), E>>, E>;

/// What is to become of a key.
pub struct Change<'a, K, V> {
    /// Which.
    pub key: &'a K,
    /// Its new value; `None` deletes it.
    pub value: Option<&'a V>,
    /// Higher than that of every earlier change that this process made of the key, and than those of processes before it, if the clock did
    /// not go back: a store that keeps it beside the value can refuse what comes late.
    pub version: u64,
}

impl<K, V> Clone for Change<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Change<'_, K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Change<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("key", &self.key)
            .field("value", &self.value)
            .field("version", &self.version)
            .finish()
    }
}

/// A system of record: a database, a file, a service behind HTTP.
///
/// What it is asked for is to be *idempotent*: where an answer was lost, the same change comes again. Changes of one key come one
/// after another, never two at once; those of different keys may come at once, and in any order.
///
/// Its futures may be dropped before they have ended, and may panic: either counts as a failure of which nobody knows what was done.
///
/// ```
/// use cachette::store::{Answer, Change, Store};
/// use std::{collections::HashMap, convert::Infallible, sync::Mutex};
///
/// #[derive(Default)]
/// struct Table(Mutex<HashMap<u64, String>>);
///
/// impl Store<u64, String> for Table {
///     type Error = Infallible;
///
///     fn load<'a>(&'a self, key: &'a u64) -> Answer<'a, Result<Option<String>, Infallible>> {
///         Box::pin(async move { Ok(self.0.lock().unwrap().get(key).cloned()) })
///     }
///
///     fn apply<'a>(&'a self, change: Change<'a, u64, String>) -> Answer<'a, Result<(), Infallible>> {
///         Box::pin(async move {
///             let mut table = self.0.lock().unwrap();
///             match change.value {
///                 Some(value) => table.insert(*change.key, value.clone()),
///                 None => table.remove(change.key),
///             };
///             Ok(())
///         })
///     }
/// }
///
/// let users = cachette::Cache::builder().capacity(100).store(Table::default()).build()?;
/// users.put(7, "Ada".to_owned()).unwrap();
/// assert_eq!(users.load(&7).unwrap().as_deref(), Some("Ada"));
/// # Ok::<(), cachette::BuildError>(())
/// ```
pub trait Store<K, V>: Send + Sync + 'static
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Why it has not done what it was asked for.
    type Error: Send + Sync + 'static;

    /// True if its futures block the thread that polls them, and never suspend: a driver without `async`. They are then polled where
    /// blocking does no harm.
    fn blocks(&self) -> bool {
        false
    }

    /// True if it has refused for good: nothing was changed, and asking again is no use. A constraint, a value that is too long. After
    /// any other error the change may have been made or not, and is tried again where that is [chosen](super::WriteBehind).
    fn refused(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }

    /// The value of a key, or `None` if there is none.
    fn load<'a>(&'a self, key: &'a K) -> Answer<'a, Result<Option<V>, Self::Error>>;

    /// The values of many keys, in their order. One by one, unless it is implemented.
    fn load_many<'a>(&'a self, keys: &'a [K]) -> Answer<'a, Vec<Result<Option<V>, Self::Error>>> {
        Box::pin(async move {
            let mut loaded = Vec::with_capacity(keys.len());
            for key in keys {
                loaded.push(self.load(key).await);
            }
            loaded
        })
    }

    /// Makes one change.
    fn apply<'a>(&'a self, change: Change<'a, K, V>) -> Answer<'a, Result<(), Self::Error>>;

    /// Makes many changes, of different keys: what has become of each, in their order; or one error for all, if nobody knows of any. One by
    /// one, unless it is implemented, as it should be where a batch costs less: it is what makes writing behind fast.
    fn apply_batch<'a>(
        &'a self,
        changes: &'a [Change<'a, K, V>],
    ) -> Answer<'a, Applied<Self::Error>> {
        Box::pin(async move {
            let mut applied = Vec::with_capacity(changes.len());
            for change in changes {
                applied.push(self.apply(*change).await);
            }
            Ok(applied)
        })
    }
}

/// One that is shared with other parts of the program.
impl<K, V, T> Store<K, V> for Arc<T>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    T: Store<K, V> + ?Sized,
{
    type Error = T::Error;

    fn blocks(&self) -> bool {
        (**self).blocks()
    }

    fn refused(&self, error: &Self::Error) -> bool {
        (**self).refused(error)
    }

    fn load<'a>(&'a self, key: &'a K) -> Answer<'a, Result<Option<V>, Self::Error>> {
        (**self).load(key)
    }

    fn load_many<'a>(&'a self, keys: &'a [K]) -> Answer<'a, Vec<Result<Option<V>, Self::Error>>> {
        (**self).load_many(keys)
    }

    fn apply<'a>(&'a self, change: Change<'a, K, V>) -> Answer<'a, Result<(), Self::Error>> {
        (**self).apply(change)
    }

    fn apply_batch<'a>(
        &'a self,
        changes: &'a [Change<'a, K, V>],
    ) -> Answer<'a, Applied<Self::Error>> {
        (**self).apply_batch(changes)
    }
}

/// Why a cache before a store has no value to keep: what its loader fails with, where [errors are
/// kept](crate::LoadingBuilder::cache_errors).
#[derive(Debug, Error)]
pub enum Missing<E> {
    /// The store has no value of the key.
    #[error("the store has no value of the key")]
    Absent,
    /// The store failed.
    #[error("the store failed")]
    Failed(#[source] Arc<E>),
}

impl<E> Clone for Missing<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Absent => Self::Absent,
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
        }
    }
}
