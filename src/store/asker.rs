//! Asking the store to change something: within a time, whatever it does.

use super::contract::{Change, Store};
use super::error::WriteError;
use super::queue::{Failed, Item, Outcome};
use crate::caught::caught;
use crate::load::Spawn;
use crate::sync::Arc;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

pub(super) struct Asker<K, V, E> {
    pub(super) store: Arc<dyn Store<K, V, Error = E>>,
    pub(super) spawn: Option<Arc<dyn Spawn>>,
    /// How long to wait for an answer, where there is a timer and the store does not block.
    pub(super) timeout: Option<Duration>,
}

impl<K, V, E> Asker<K, V, E>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Makes one change.
    pub(super) async fn apply(&self, change: Change<'_, K, V>) -> Result<(), Failed<E>> {
        let answer = Box::pin(async move { self.store.apply(change).await });
        self.in_time(answer).await?.map_err(|error| self.failed(error))
    }

    /// Makes many, of different keys.
    pub(super) async fn apply_batch(&self, batch: &[Item<K, V>]) -> Outcome<E> {
        let changes: Vec<Change<'_, K, V>> = batch
            .iter()
            .map(|item| Change {
                key: &item.key.key,
                value: item.value.as_deref(),
                version: item.version,
            })
            .collect();
        let asked = changes.len();
        let changes = &changes;
        let answer = Box::pin(async move { self.store.apply_batch(changes).await });
        match self.in_time(answer).await {
            Err(failed) => Outcome::Whole(failed),
            Ok(Err(error)) => Outcome::Whole(self.failed(error)),
            Ok(Ok(answers)) if answers.len() != asked => {
                let answered = answers.len();
                let error = WriteError::Miscounted { asked, answered };
                Outcome::Whole(Failed { error, refused: false })
            }
            Ok(Ok(answers)) => Outcome::Each(
                answers
                    .into_iter()
                    .map(|answer| answer.map_err(|error| self.failed(error)))
                    .collect(),
            ),
        }
    }

    fn failed(&self, error: E) -> Failed<E> {
        let mut refused = false;
        // It is the user's: one that panics has said nothing.
        caught(|| refused = self.store.refused(&error));
        Failed { error: WriteError::Failed(Arc::new(error)), refused }
    }

    /// What an answer gives. Not if it panics, or takes too long: it is dropped then.
    async fn in_time<T>(
        &self,
        answer: Pin<Box<dyn Future<Output = T> + Send + '_>>,
    ) -> Result<T, Failed<E>> {
        let mut answer = Answering(Some(answer));
        let limit = self.timeout.filter(|_| !self.store.blocks());
        let mut limit =
            limit.zip(self.spawn.as_ref()).map(|(time, spawn)| (time, spawn.sleep(time)));
        poll_fn(|context| {
            let mut polled = Poll::Pending;
            let panicked = caught(|| {
                if let Some(answer) = &mut answer.0 {
                    polled = answer.as_mut().poll(context);
                }
            });
            if panicked {
                return Poll::Ready(Err(WriteError::Lost));
            }
            if let Poll::Ready(value) = polled {
                return Poll::Ready(Ok(value));
            }
            let Some((time, sleep)) = &mut limit else { return Poll::Pending };
            sleep.as_mut().poll(context).map(|()| Err(WriteError::TimedOut(*time)))
        })
        .await
        .map_err(|error| Failed { error, refused: false })
    }
}

/// An answer whose destructor may panic as well.
struct Answering<'a, T>(Option<Pin<Box<dyn Future<Output = T> + Send + 'a>>>);

impl<T> Drop for Answering<'_, T> {
    fn drop(&mut self) {
        caught(|| drop(self.0.take()));
    }
}
