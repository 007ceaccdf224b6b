//! A registered loader: closures of every kind, as one.

use super::Outcome;
use crate::sync::Arc;
use std::pin::Pin;
use std::time::Duration;

/// A load under way.
pub(super) type Loading<V, E> = Pin<Box<dyn Future<Output = Result<V, E>> + Send>>;

/// A value that is to be loaded anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Old<V> {
    /// What the cache has.
    pub value: V,
    /// How long ago that was written, if the cache notes that: it does where it was told of [`Freshness`](crate::Freshness).
    pub age: Option<Duration>,
}

/// What a conditional loader answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload<V> {
    /// There is another value.
    Value(V),
    /// The old value is still right: it is as fresh as if it had been loaded now.
    NotModified,
}

type Load<K, V, E> = dyn Fn(K) -> Loading<V, E> + Send + Sync;
type LoadAnew<K, V, E> = dyn Fn(K, Old<V>) -> Loading<V, E> + Send + Sync;

/// Where values come from.
pub(super) struct Source<K, V, E> {
    load: Box<Load<K, V, E>>,
    /// Used instead where there is an old value.
    reload: Option<Box<LoadAnew<K, V, E>>>,
    /// It blocks the thread that it runs on.
    pub(super) blocks: bool,
}

impl<K, V, E> Source<K, V, E>
where
    K: Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    pub(super) fn blocking<R>(load: impl Fn(&K) -> R + Send + Sync + 'static) -> Self
    where
        R: Outcome<V, Error = E>,
    {
        let load = Arc::new(load);
        let load = move |key: K| -> Loading<V, E> {
            let load = Arc::clone(&load);
            Box::pin(async move { load(&key).into_result() })
        };
        Self { load: Box::new(load), reload: None, blocks: true }
    }

    pub(super) fn suspending<F>(load: impl Fn(K) -> F + Send + Sync + 'static) -> Self
    where
        F: Future + Send + 'static,
        F::Output: Outcome<V, Error = E>,
    {
        let load = move |key: K| -> Loading<V, E> {
            let loading = load(key);
            Box::pin(async move { loading.await.into_result() })
        };
        Self { load: Box::new(load), reload: None, blocks: false }
    }

    pub(super) fn reload_blocking<R>(
        &mut self,
        reload: impl Fn(&K, &Old<V>) -> R + Send + Sync + 'static,
    ) where
        R: Outcome<Reload<V>, Error = E>,
    {
        let reload = Arc::new(reload);
        self.reload = Some(Box::new(move |key: K, old: Old<V>| {
            let reload = Arc::clone(&reload);
            Box::pin(async move {
                let answer = reload(&key, &old).into_result()?;
                Ok(answer.or(old.value))
            })
        }));
    }

    pub(super) fn reload_suspending<F>(
        &mut self,
        reload: impl Fn(K, Old<V>) -> F + Send + Sync + 'static,
    ) where
        F: Future + Send + 'static,
        F::Output: Outcome<Reload<V>, Error = E>,
    {
        self.reload = Some(Box::new(move |key: K, old: Old<V>| {
            let value = old.value.clone();
            let loading = reload(key, old);
            Box::pin(async move { Ok(loading.await.into_result()?.or(value)) })
        }));
    }

    /// True if it makes use of old values.
    pub(super) fn wants_old(&self) -> bool {
        self.reload.is_some()
    }

    pub(super) fn load(&self, key: K, old: Option<Old<V>>) -> Loading<V, E> {
        match (&self.reload, old) {
            (Some(reload), Some(old)) => reload(key, old),
            _ => (self.load)(key),
        }
    }
}

impl<V> Reload<V> {
    fn or(self, old: V) -> V {
        match self {
            Self::Value(value) => value,
            Self::NotModified => old,
        }
    }
}
