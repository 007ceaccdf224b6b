//! Building a cache with a loader: what there is to choose beside what a cache has.

use super::Outcome;
use super::fetch::{KeepError, Report, Shared, Vouch};
use super::loading::LoadingCache;
use super::refresh::Permits;
use super::source::{Old, Reload, Source};
use super::spawn::Spawn;
use crate::builder::{Builder, Carries};
use crate::error::{BuildError, LoadError};
use crate::freshness::Freshness;
use crate::sync::{Arc, Mutex};
use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// Refreshes that may run at once, unless chosen.
const MOST_REFRESHES: usize = 64;

/// Chooses how a [`LoadingCache`] behaves, and [builds](Self::build) it. Everything that a cache can choose is chosen before, on the
/// [`Builder`] that this comes from.
///
/// | choice | unless chosen |
/// |---|---|
/// | [`spawn`](Self::spawn) | no background: callers load |
/// | [`reloader`](Self::reloader) | what is loaded anew is loaded in full |
/// | [`bulk_loader`](Self::bulk_loader) | many keys are loaded one by one, side by side |
/// | [`soft_timeout`](Self::soft_timeout), [`hard_timeout`](Self::hard_timeout) | callers wait to the end |
/// | [`cache_errors`](Self::cache_errors) | every call after a failure loads again |
/// | [`most_refreshes`](Self::most_refreshes) | 64 |
/// | [`on_refresh_error`](Self::on_refresh_error) | failures are counted |
#[must_use = "a builder does nothing until `build` is called"]
pub struct LoadingBuilder<K, V, E, S = ahash::RandomState> {
    cache: Builder<K, V, S>,
    source: Source<K, V, E>,
    spawn: Option<Arc<dyn Spawn>>,
    soft: Option<Duration>,
    hard: Option<Duration>,
    most: usize,
    keep: Option<Box<KeepError<E>>>,
    report: Option<Arc<Report<K, E>>>,
    vouch: Option<Box<Vouch<V>>>,
}

impl<K, V, S> Builder<K, V, S>
where
    K: Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Where values come from that the cache has not. `load` returns the value, or a `Result` of it, and may block its thread. It runs
    /// outside every lock and may call the cache.
    ///
    /// ```
    /// // Where the loader returns a `Result`, the types of the cache are to be named.
    /// let cache = cachette::Cache::<String, u32>::builder().capacity(10).loader(|text| text.parse::<u32>()).build()?;
    /// assert_eq!(cache.load("12").unwrap(), 12);
    /// assert!(cache.load("twelve").is_err());
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn loader<R>(
        self,
        load: impl Fn(&K) -> R + Send + Sync + 'static,
    ) -> LoadingBuilder<K, V, R::Error, S>
    where
        R: Outcome<V>,
    {
        LoadingBuilder::new(self, Source::blocking(load))
    }

    /// As [`loader`](Self::loader), for a loader that is a future.
    ///
    /// ```
    /// let cache = cachette::Cache::<u64, String>::builder()
    ///     .capacity(10)
    ///     .loader_async(|id| async move { Ok::<_, std::fmt::Error>(format!("user {id}")) })
    ///     .build()?;
    /// assert_eq!(cache.load(&7).unwrap(), "user 7");
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn loader_async<F>(
        self,
        load: impl Fn(K) -> F + Send + Sync + 'static,
    ) -> LoadingBuilder<K, V, <F::Output as Outcome<V>>::Error, S>
    where
        F: Future + Send + 'static,
        F::Output: Outcome<V>,
    {
        LoadingBuilder::new(self, Source::suspending(load))
    }
}

impl<K, V, E, S> LoadingBuilder<K, V, E, S>
where
    K: Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    fn new(cache: Builder<K, V, S>, source: Source<K, V, E>) -> Self {
        Self {
            cache,
            source,
            spawn: None,
            soft: None,
            hard: None,
            most: MOST_REFRESHES,
            keep: None,
            report: None,
            vouch: None,
        }
    }

    /// Who runs loads in the background, and tells when timeouts have passed: [`Threads`](crate::Threads), a runtime, or your own.
    pub fn spawn(mut self, spawn: impl Spawn + 'static) -> Self {
        self.spawn = Some(Arc::new(spawn));
        self
    }

    /// Loads anew what the cache has, knowing what that is: it may answer that nothing has changed, and the value is as fresh
    /// as a new one. For a loader that blocks; used for refreshes, and for misses where the stale value is still there.
    ///
    /// ```
    /// use cachette::{Cache, Reload};
    ///
    /// let cache = Cache::builder()
    ///     .capacity(10)
    ///     .loader(|page: &String| format!("text of {page}"))
    ///     .reloader(|_page, old| if old.value.len() < 100 { Reload::NotModified } else { Reload::Value("shorter".to_owned()) })
    ///     .build()?;
    /// let text = cache.load("home").unwrap();
    /// assert!(cache.refresh("home"));
    /// assert_eq!(cache.load("home").unwrap(), text);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn reloader<R>(mut self, reload: impl Fn(&K, &Old<V>) -> R + Send + Sync + 'static) -> Self
    where
        R: Outcome<Reload<V>, Error = E>,
    {
        self.source.reload_blocking(reload);
        self
    }

    /// As [`reloader`](Self::reloader), for a loader that is a future.
    pub fn reloader_async<F>(
        mut self,
        reload: impl Fn(K, Old<V>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future + Send + 'static,
        F::Output: Outcome<Reload<V>, Error = E>,
    {
        self.source.reload_suspending(reload);
        self
    }

    /// Loads many keys by one call, for [`load_many`](LoadingCache::load_many): it is given the keys that nobody has or loads, none twice, and
    /// returns what it knows of them, as pairs of a key and its value or its `Result`.
    ///
    /// ```
    /// let lengths = cachette::Cache::builder()
    ///     .capacity(10)
    ///     .loader(|word: &String| word.len())
    ///     .bulk_loader(|words| words.into_iter().map(|word| (word.clone(), word.len())).collect::<Vec<_>>())
    ///     .build()?;
    /// let values = lengths.load_many(["a", "abc"]);
    /// assert_eq!(values, [Ok(1), Ok(3)]);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn bulk_loader<R, O>(mut self, load: impl Fn(Vec<K>) -> R + Send + Sync + 'static) -> Self
    where
        R: IntoIterator<Item = (K, O)>,
        O: Outcome<V, Error = E>,
    {
        self.source.many_blocking(load);
        self
    }

    /// As [`bulk_loader`](Self::bulk_loader), for a loader that is a future.
    pub fn bulk_loader_async<F, O>(
        mut self,
        load: impl Fn(Vec<K>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output: IntoIterator<Item = (K, O)>> + Send + 'static,
        O: Outcome<V, Error = E>,
    {
        self.source.many_suspending(load);
        self
    }

    /// After this long a caller is served the stale value, if there is one within its times. The load goes on.
    pub fn soft_timeout(mut self, time: Duration) -> Self {
        self.soft = Some(time);
        self
    }

    /// After this long a caller waits no more: [`LoadError::TimedOut`], if there is no stale value. The load goes on, and fills
    /// the cache.
    pub fn hard_timeout(mut self, time: Duration) -> Self {
        self.hard = Some(time);
        self
    }

    /// Keeps errors: `keep` is told the error, and how many loads of the key failed in a row before, and says for how long the next
    /// callers have that error without a load; `None` is not at all. A write or a deletion of the key ends it.
    ///
    /// At most 1,024 errors are kept; the oldest gives way. For "there is no such thing", a value that says so is the
    /// better answer: `V = Option<T>`, with a short TTL by [`freshness_by`](Builder::freshness_by).
    ///
    /// ```
    /// use cachette::{Backoff, Cache};
    /// use std::time::Duration;
    ///
    /// let backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(30) };
    /// let cache = Cache::<String, u32>::builder()
    ///     .capacity(10)
    ///     .loader(|text| text.parse::<u32>())
    ///     .cache_errors(move |_error, failures| Some(backoff.after(failures)))
    ///     .build()?;
    /// assert!(cache.load("x").is_err() && cache.load("x").is_err());
    /// assert_eq!(cache.stats().load_failures, 1);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn cache_errors(
        mut self,
        keep: impl Fn(&E, u64) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        self.keep = Some(Box::new(keep));
        self
    }

    /// How many refreshes may run at once. A read that finds no place leaves the refresh to a later one.
    pub fn most_refreshes(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// Hears of every refresh that fails: nobody else does, for readers have the old value. A panic in it is caught and counted
    /// with the removal listener's.
    pub fn on_refresh_error(
        mut self,
        report: impl Fn(&K, &LoadError<E>) + Send + Sync + 'static,
    ) -> Self {
        self.report = Some(Arc::new(report));
        self
    }

    /// The same choices for a cache whose values carry more than what the program gave. `around` makes its source from the program's.
    pub(crate) fn over<W: Carries<V> + Clone>(
        self,
        around: impl FnOnce(Source<K, V, E>) -> Source<K, W, E>,
    ) -> LoadingBuilder<K, W, E, S> {
        LoadingBuilder {
            cache: self.cache.over(),
            source: around(self.source),
            spawn: self.spawn,
            soft: self.soft,
            hard: self.hard,
            most: self.most,
            keep: self.keep,
            report: self.report,
            vouch: None,
        }
    }

    /// Who runs work in the background.
    pub(crate) fn background(&self) -> Option<Arc<dyn Spawn>> {
        self.spawn.clone()
    }

    /// The builder below.
    pub(crate) fn below(&mut self) -> &mut Builder<K, V, S> {
        &mut self.cache
    }

    /// Asks this before a value is served that is stale, or was found under the lock.
    pub(crate) fn vouch(mut self, vouch: Box<Vouch<V>>) -> Self {
        self.vouch = Some(vouch);
        self
    }

    /// Builds the cache.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the choice that is missing, out of range, or at odds with another.
    ///
    /// ```
    /// use cachette::{BuildError, Cache};
    /// use std::time::Duration;
    ///
    /// let cache = Cache::builder().capacity(9).loader(|n: &u32| n + 1).hard_timeout(Duration::from_secs(1)).build();
    /// assert_eq!(cache.unwrap_err(), BuildError::NoSpawn("hard_timeout"));
    /// ```
    pub fn build(self) -> Result<LoadingCache<K, V, E, S>, BuildError>
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        let capacity = self.cache.check()?;
        let freshness = self.cache.freshness_chosen();
        self.check(freshness.as_ref())?;
        let usual = freshness.unwrap_or(Freshness::new(Duration::MAX));
        let cache = self.cache.assemble(capacity);
        let shared = Shared {
            values_end: cache.lifetimes.are_the_values(),
            cache,
            source: self.source,
            spawn: self.spawn,
            soft: self.soft,
            hard: self.hard,
            throttle: usual.throttle,
            refreshes: usual.needs_spawn().is_some(),
            early: usual.early,
            permits: Permits::new(self.most),
            keep: self.keep,
            kept: Mutex::new(VecDeque::new()),
            report: self.report,
            vouch: self.vouch,
        };
        Ok(LoadingCache { shared: Arc::new(shared) })
    }

    fn check(&self, freshness: Option<&Freshness>) -> Result<(), BuildError> {
        if self.most == 0 {
            return Err(BuildError::MostRefreshes);
        }
        if let (Some(soft), Some(hard)) = (self.soft, self.hard) {
            if soft >= hard {
                return Err(BuildError::Timeouts { soft, hard });
            }
        }
        let wants = [
            freshness.and_then(Freshness::needs_spawn),
            self.soft.map(|_| "soft_timeout"),
            self.hard.map(|_| "hard_timeout"),
        ];
        match wants.into_iter().flatten().next() {
            Some(want) if self.spawn.is_none() => Err(BuildError::NoSpawn(want)),
            _ => Ok(()),
        }
    }
}

impl<K, V, E, S> fmt::Debug for LoadingBuilder<K, V, E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadingBuilder")
            .field("cache", &self.cache)
            .field("soft_timeout", &self.soft)
            .field("hard_timeout", &self.hard)
            .finish_non_exhaustive()
    }
}

/// How long to wait after failures in a row: twice as long each time.
///
/// ```
/// use cachette::Backoff;
/// use std::time::Duration;
///
/// let seconds = Duration::from_secs;
/// let backoff = Backoff { first: seconds(1), most: seconds(30) };
/// assert_eq!([0, 1, 4, 5, 900].map(|failures| backoff.after(failures)), [1, 2, 16, 30, 30].map(seconds));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// Never longer than this.
    pub most: Duration,
}

impl Backoff {
    /// How long to wait after a failure, if so many in a row were before it.
    #[must_use]
    pub fn after(&self, failures: u64) -> Duration {
        let doubled = u32::try_from(failures).ok().and_then(|failures| 2_u32.checked_pow(failures));
        doubled
            .and_then(|times| self.first.checked_mul(times))
            .map_or(self.most, |wait| wait.min(self.most))
    }
}
