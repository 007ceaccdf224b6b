//! A registered loader: closures of every kind, as one.

use super::Outcome;
use crate::sync::Arc;
use std::pin::Pin;
use std::time::Duration;

/// A load under way.
pub(crate) type Loading<V, E> = Pin<Box<dyn Future<Output = Result<V, E>> + Send>>;

/// A value that is to be loaded anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Old<V> {
    /// What the cache has.
    pub value: V,
    /// How long ago that was written, if the cache notes that: it does where it was told of [`Freshness`](crate::Freshness).
    pub age: Option<Duration>,
}

impl<V> Old<V> {
    pub(crate) fn map<W>(self, map: impl FnOnce(V) -> W) -> Old<W> {
        Old { value: map(self.value), age: self.age }
    }
}

/// What a conditional loader answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload<V> {
    /// There is another value.
    Value(V),
    /// The old value is still right: it is as fresh as if it had been loaded now.
    NotModified,
}

/// What a bulk loader answers, key by key.
pub(crate) type Answers<K, V, E> = Vec<(K, Result<V, E>)>;
pub(crate) type LoadMany<K, V, E> =
    dyn Fn(Vec<K>) -> Pin<Box<dyn Future<Output = Answers<K, V, E>> + Send>> + Send + Sync;
type Load<K, V, E> = dyn Fn(K, Why) -> Loading<V, E> + Send + Sync;
type LoadAnew<K, V, E> = dyn Fn(K, Old<V>, Why) -> Loading<V, E> + Send + Sync;

/// Why a value is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// A caller found none.
    Missed,
    /// There is one, which is due to be loaded anew.
    Due,
    /// The program asked for it to be loaded anew.
    ByHand,
}

/// Where values come from.
pub(crate) struct Source<K, V, E> {
    load: Box<Load<K, V, E>>,
    /// Used instead where there is an old value.
    reload: Option<Box<LoadAnew<K, V, E>>>,
    /// Used instead for many keys.
    pub(crate) many: Option<Box<LoadMany<K, V, E>>>,
    /// It blocks the thread that it runs on.
    pub(crate) blocks: bool,
    /// It may run on the thread of a caller that blocks.
    pub(crate) here: bool,
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
        let load = move |key: K, _: Why| -> Loading<V, E> {
            let load = Arc::clone(&load);
            Box::pin(async move { load(&key).into_result() })
        };
        Self { load: Box::new(load), reload: None, many: None, blocks: true, here: true }
    }

    pub(super) fn suspending<F>(load: impl Fn(K) -> F + Send + Sync + 'static) -> Self
    where
        F: Future + Send + 'static,
        F::Output: Outcome<V, Error = E>,
    {
        let load = move |key: K, _: Why| -> Loading<V, E> {
            let loading = load(key);
            Box::pin(async move { loading.await.into_result() })
        };
        Self { load: Box::new(load), reload: None, many: None, blocks: false, here: false }
    }

    /// A source around another, which makes use of old values if that one does.
    pub(crate) fn around<W>(
        inner: &Source<K, W, E>,
        blocks: bool,
        load: impl Fn(K, Option<Old<V>>, Why) -> Loading<V, E> + Send + Sync + 'static,
        many: Box<LoadMany<K, V, E>>,
    ) -> Self
    where
        V: 'static,
    {
        let load = Arc::new(load);
        let anew = Arc::clone(&load);
        let reload: Box<LoadAnew<K, V, E>> =
            Box::new(move |key, old, why| anew(key, Some(old), why));
        Self {
            load: Box::new(move |key, why| load(key, None, why)),
            reload: inner.reload.is_some().then_some(reload),
            many: Some(many),
            blocks,
            here: inner.here,
        }
    }

    pub(super) fn reload_blocking<R>(
        &mut self,
        reload: impl Fn(&K, &Old<V>) -> R + Send + Sync + 'static,
    ) where
        R: Outcome<Reload<V>, Error = E>,
    {
        let reload = Arc::new(reload);
        self.reload = Some(Box::new(move |key: K, old: Old<V>, _| {
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
        self.reload = Some(Box::new(move |key: K, old: Old<V>, _| {
            let value = old.value.clone();
            let loading = reload(key, old);
            Box::pin(async move { Ok(loading.await.into_result()?.or(value)) })
        }));
    }

    pub(super) fn many_blocking<R, O>(&mut self, load: impl Fn(Vec<K>) -> R + Send + Sync + 'static)
    where
        R: IntoIterator<Item = (K, O)>,
        O: Outcome<V, Error = E>,
    {
        let load = Arc::new(load);
        self.many = Some(Box::new(move |keys| {
            let load = Arc::clone(&load);
            Box::pin(async move { results(load(keys)) })
        }));
    }

    pub(super) fn many_suspending<F, O>(
        &mut self,
        load: impl Fn(Vec<K>) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output: IntoIterator<Item = (K, O)>> + Send + 'static,
        O: Outcome<V, Error = E>,
    {
        self.many = Some(Box::new(move |keys| {
            let loading = load(keys);
            Box::pin(async move { results(loading.await) })
        }));
    }

    /// True if it makes use of old values.
    pub(crate) fn wants_old(&self) -> bool {
        self.reload.is_some()
    }

    pub(crate) fn load(&self, key: K, old: Option<Old<V>>, why: Why) -> Loading<V, E> {
        match (&self.reload, old) {
            (Some(reload), Some(old)) => reload(key, old, why),
            _ => (self.load)(key, why),
        }
    }
}

fn results<K, V, O: Outcome<V>>(
    answers: impl IntoIterator<Item = (K, O)>,
) -> Answers<K, V, O::Error> {
    answers.into_iter().map(|(key, outcome)| (key, outcome.into_result())).collect()
}

impl<V> Reload<V> {
    fn or(self, old: V) -> V {
        match self {
            Self::Value(value) => value,
            Self::NotModified => old,
        }
    }
}
