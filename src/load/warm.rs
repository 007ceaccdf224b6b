//! Many loads side by side: warming a cache, and many keys without a bulk loader.

use super::block::block_on;
use super::loading::LoadingCache;
use crate::error::LoadError;
use equivalent::Equivalent;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hash};
use std::iter::Fuse;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Runs a future for each item, at most `most` of them at once, and at least one. What they give is in the order of the items.
pub(crate) async fn side_by_side<I, F>(
    items: impl IntoIterator<Item = I>,
    most: usize,
    begin: impl FnMut(I) -> F,
) -> Vec<F::Output>
where
    F: Future,
{
    let mut crowd = Crowd {
        items: items.into_iter().fuse(),
        begin,
        most: most.max(1),
        running: Vec::new(),
        ended: Vec::new(),
    };
    poll_fn(|context| crowd.poll(context)).await;
    crowd.ended.into_iter().flatten().collect()
}

struct Crowd<I: Iterator, B, F: Future> {
    items: Fuse<I>,
    begin: B,
    most: usize,
    /// Each with its place.
    running: Vec<(usize, Pin<Box<F>>)>,
    /// By place.
    ended: Vec<Option<F::Output>>,
}

impl<I, B, F> Crowd<I, B, F>
where
    I: Iterator,
    B: FnMut(I::Item) -> F,
    F: Future,
{
    /// Polls all that run, and begins others in the place of those that end: O(`most`) a wake.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Self { items, begin, most, running, ended } = self;
        let mut polled = 0;
        loop {
            while running.len() < *most {
                let Some(item) = items.next() else { break };
                running.push((ended.len(), Box::pin(begin(item))));
                ended.push(None);
            }
            let Some((place, future)) = running.get_mut(polled) else { break };
            match future.as_mut().poll(context) {
                Poll::Pending => polled += 1,
                Poll::Ready(output) => {
                    ended[*place] = Some(output);
                    // What comes into its place has been polled in this call only if it stands before it.
                    drop(running.remove(polled));
                }
            }
        }
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// What [`LoadingCache::warm`] did, by keys.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warmed<K, E> {
    /// How many have a value now, loaded by this call or by others.
    pub loaded: usize,
    /// How many had one before.
    pub present: usize,
    /// Those that have none, and why, in the order in which they were given.
    pub failed: Vec<(K, LoadError<E>)>,
}

impl<K, V, E, S> LoadingCache<K, V, E, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Loads these keys, at most `concurrency` of them at once, for a cache that is about to serve; returns when all have ended. Keys
    /// that are there are left alone. The statistics count no hits and no misses for it.
    ///
    /// Side by side they are in the background, or where the loader is a future; a loader that blocks loads one after another if there
    /// is no [`spawn`](crate::LoadingBuilder::spawn). A `concurrency` of 0 is 1.
    ///
    /// ```
    /// let cache = cachette::Cache::<String, u32>::builder().capacity(100).loader(|text| text.parse::<u32>()).build()?;
    /// cache.put("1".to_owned(), 1);
    /// let warmed = cache.warm(["1", "2", "x"].map(String::from), 4);
    /// assert_eq!((warmed.present, warmed.loaded, warmed.failed.len()), (1, 1, 1));
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn warm(&self, keys: impl IntoIterator<Item = K>, concurrency: usize) -> Warmed<K, E> {
        block_on(self.warm_async(keys, concurrency))
    }

    /// As [`warm`](Self::warm), from a task.
    pub async fn warm_async(
        &self,
        keys: impl IntoIterator<Item = K>,
        concurrency: usize,
    ) -> Warmed<K, E> {
        let mut warmed = Warmed { loaded: 0, present: 0, failed: Vec::new() };
        let load = |key: K| async move {
            if self.contains_key(&key) {
                return (key, Ok(false));
            }
            let loaded = self.fetch(self.hash(&key), &key, false).await;
            (key, loaded.map(|_| true))
        };
        for (key, ended) in side_by_side(keys, concurrency, load).await {
            match ended {
                Ok(true) => warmed.loaded += 1,
                Ok(false) => warmed.present += 1,
                Err(error) => warmed.failed.push((key, error)),
            }
        }
        warmed
    }
}

/// How many keys are loaded side by side for one caller, where there is no bulk loader.
const AT_ONCE: usize = 64;

/// Many keys.
impl<K, V, E, S> LoadingCache<K, V, E, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The values of many keys, in the order of the keys. Those that may not be served are loaded: by one call of the
    /// [`bulk_loader`](crate::LoadingBuilder::bulk_loader), or each as by [`load`](Self::load), side by side, 64 at once.
    ///
    /// The bulk loader runs in the caller's hands: timeouts do not apply to it, and its errors are not kept. Otherwise it is as in
    /// [`get_or_load_many`](crate::Cache::get_or_load_many): a key of which another load is under way waits for that, after its own batch has
    /// landed; of a key that is named twice there is one load.
    ///
    /// # Errors
    ///
    /// For each key its own, as in [`load`](Self::load); [`LoadError::Unanswered`] if the bulk loader said nothing of it.
    ///
    /// ```
    /// let squares = cachette::Cache::builder().capacity(10).loader(|n: &u64| n * n).build()?;
    /// assert_eq!(squares.load_many(&[2, 3, 2]), [Ok(4), Ok(9), Ok(4)]);
    /// assert_eq!(squares.stats().loads, 2);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    #[doc(alias = "get_all")]
    pub fn load_many<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> Vec<Result<V, LoadError<E>>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K> + 'q,
    {
        block_on(self.load_many_async(keys))
    }

    /// As [`load_many`](Self::load_many), from a task.
    ///
    /// # Errors
    ///
    /// As [`load_many`](Self::load_many).
    pub async fn load_many_async<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> Vec<Result<V, LoadError<E>>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K> + 'q,
    {
        let Some(many) = &self.shared.source.many else {
            return side_by_side(keys, AT_ONCE, |key| self.load_async(key)).await;
        };
        let keys: Vec<&Q> = keys.into_iter().collect();
        let read = |hash, key| self.served(hash, key);
        let good = |value: &V| self.is_good(value);
        let mut answers =
            self.load_all(keys.iter().copied(), read, good, &mut |keys| many(keys)).await;
        for (answer, key) in answers.iter_mut().zip(keys) {
            if let Err(LoadError::Failed(_)) = answer {
                if let Some(stale) = self.instead(self.hash(key), key) {
                    *answer = Ok(stale.value);
                }
            }
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{AtomicUsize, Ordering};
    use std::task::Waker;

    /// Runs items that take as many polls as they say, and tells how many ran at once, at most.
    fn run(items: &[usize], most: usize) -> (Vec<usize>, usize) {
        let (running, highest) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let one = |(place, polls): (usize, usize)| {
            let (running, highest) = (&running, &highest);
            async move {
                highest.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                let mut left = polls;
                poll_fn(|_| {
                    left = left.saturating_sub(1);
                    if left == 0 { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                running.fetch_sub(1, Ordering::Relaxed);
                place
            }
        };
        let mut all = Box::pin(side_by_side(items.iter().copied().enumerate(), most, one));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..1_000 {
            if let Poll::Ready(places) = all.as_mut().poll(&mut context) {
                return (places, highest.load(Ordering::Relaxed));
            }
        }
        panic!("it does not end");
    }

    #[test]
    fn as_many_as_may_run_at_once_and_in_order() {
        for most in [0, 1, 2, 3, 10] {
            let (places, highest) = run(&[3, 2, 4, 2, 5, 9, 2, 6], most);
            assert_eq!(places, [0, 1, 2, 3, 4, 5, 6, 7]);
            assert_eq!(highest, most.clamp(1, 8));
        }
        assert_eq!(run(&[], 3), (vec![], 0));
    }
}
