//! Everything that can go wrong, one type a place.

use crate::sync::Arc;
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// Why a cache could not be built.
///
/// ```
/// use cachette::{BuildError, Cache};
///
/// let error = Cache::<u32, u32>::builder().build().unwrap_err();
/// assert_eq!(error, BuildError::NoCapacity);
/// ```
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum BuildError {
    /// No capacity was given.
    #[error("a cache needs a capacity: call `capacity(n)`")]
    NoCapacity,
    /// The number of segments is zero, not a power of two, or more than 65,536.
    #[error("segments({0}): must be a power of two from 1 to 65536")]
    Segments(usize),
    /// More entries are expected than a cache can hold.
    #[error("expected_entries({0}): must be below 2^32 - 1 times the number of segments")]
    ExpectedEntries(usize),
    /// The jitter is not a fraction.
    #[error("ttl_jitter({0}): must be from 0.0 to 1.0")]
    Jitter(f64),
    /// Jitter was asked for, but nothing sets a time to live.
    #[error("ttl_jitter needs `time_to_live` or `expiry`: there is nothing to vary")]
    JitterWithoutTtl,
    /// Both a time to live for all entries and an `Expiry` for each were given.
    #[error("`time_to_live` and `expiry` both decide when an entry expires: give one of them")]
    TtlAndExpiry,
    /// Both a time to idle for all entries and an `Expiry` for each were given.
    #[error(
        "`time_to_idle` and `expiry` both decide what a read does to a deadline: give one of them"
    )]
    TtiAndExpiry,
    /// Both `freshness` and another time to live were given.
    #[error(
        "`freshness` and `time_to_live` or `expiry` both decide when an entry expires: give one of them"
    )]
    FreshnessAndTtl,
    /// `freshness_by` was given, and nothing for it to begin with.
    #[error("`freshness_by` changes what `freshness` says: give that too")]
    NoFreshness,
    /// The part of the TTL after which values are refreshed is no fraction.
    #[error("refresh_ahead({0}): must be above 0.0 and below 1.0")]
    RefreshAhead(f64),
    /// The eagerness of early refresh is no positive number.
    #[error("refresh_early({0}): must be above 0.0, and finite")]
    RefreshEarly(f64),
    /// A part of the freshness is about loads, and the cache has no loader.
    #[error("`{0}` needs a loader: call `loader(..)`, or leave it out")]
    NoLoader(&'static str),
    /// There is work for the background, and nobody to do it.
    #[error("`{0}` needs the background: call `spawn(..)`, or leave it out")]
    NoSpawn(&'static str),
    /// The soft timeout is not the shorter one.
    #[error("soft_timeout({soft:?}) must be below hard_timeout({hard:?})")]
    Timeouts {
        /// After which a stale value is served.
        soft: Duration,
        /// After which a caller waits no more.
        hard: Duration,
    },
    /// The namespace of a remote is missing, or makes no unambiguous names.
    #[error(
        "a remote needs a namespace: from 1 to 128 bytes, without braces, glob characters and control characters"
    )]
    Namespace,
    /// Nothing says how long values stay in the remote.
    #[error("a remote needs a TTL: call `remote_ttl(..)`")]
    NoRemoteTtl,
    /// A time is shorter than can be told to a remote.
    #[error("`{0}` must be a millisecond at least")]
    TooShort(&'static str),
    /// The remote may tell of changes in no way.
    #[error("`modes` must name one way at least in which changes are heard of, or TTL only")]
    NoModes,
    /// A bound on staleness that cannot be kept.
    #[error(
        "max_staleness({bound:?}) must be 40 ms at least, and so much above the {stale:?} for which stale values are served after a loss"
    )]
    Staleness {
        /// What was asked for.
        bound: Duration,
        /// What `OnLinkLoss::ServeStale` takes of it.
        stale: Duration,
    },
    /// A number of the writes behind is zero.
    #[error("`{0}` of the writes behind must be at least 1")]
    Zero(&'static str),
    /// No refresh may run.
    #[error("most_refreshes(0): must be at least 1")]
    MostRefreshes,
}

/// A name that no policy of Redis has.
///
/// ```
/// use cachette::policy::RedisPolicy;
///
/// let error = "lru".parse::<RedisPolicy>().unwrap_err();
/// assert_eq!(error.name, "lru");
/// assert!(error.to_string().contains("allkeys-lru"));
/// ```
#[derive(Clone, Debug, Error, PartialEq, Eq)]
// The names are written out: errors know nothing of policies. A test compares.
#[error(
    "no policy is named {name:?}: legal are noeviction, allkeys-lru, allkeys-lfu, allkeys-random, volatile-lru, volatile-lfu, volatile-random, volatile-ttl"
)]
pub struct UnknownPolicy {
    /// What was given.
    pub name: String,
}

/// Why a write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The entry alone is heavier than the whole cache may be.
    TooHeavy,
    /// Nothing that is in the cache would make room for it: [`NoEviction`](crate::policy::NoEviction), or a policy that
    /// preferred what it has.
    Full,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooHeavy => "the entry is heavier than the cache's capacity",
            Self::Full => "the cache is full and its policy gives nothing up for it",
        })
    }
}

/// A write that was refused, with what was to be written.
///
/// ```
/// use cachette::{Cache, Reason};
///
/// let cache = Cache::builder().capacity(10).weigher(|_: &&str, v: &Vec<u8>| v.len() as u64).build()?;
/// let refused = cache.try_put("big", vec![0; 11]).unwrap_err();
/// assert_eq!(refused.reason, Reason::TooHeavy);
/// assert_eq!((refused.key, refused.value.len()), ("big", 11));
/// # Ok::<(), cachette::BuildError>(())
/// ```
#[derive(Clone, Copy, Error, PartialEq, Eq)]
#[error("not stored: {reason}")]
pub struct Refused<K, V> {
    /// The key, as it was given.
    pub key: K,
    /// The value, as it was given.
    pub value: V,
    /// Why it was refused.
    pub reason: Reason,
}

// By hand, so that keys and values need no `Debug` for the error to be one.
impl<K, V> fmt::Debug for Refused<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("reason", &self.reason).finish_non_exhaustive()
    }
}

/// Why [`compute`](crate::Cache::compute) gave up.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ComputeError<K, V> {
    /// The closure computed the key that it was computing, or overtook itself by writing it.
    #[error("the closure of `compute` changed its own key")]
    Recursive,
    /// The new value was refused; the old one is gone.
    #[error(transparent)]
    Refused(#[from] Refused<K, V>),
}

/// Why [`set_capacity`](crate::Cache::set_capacity) left the capacity as it was.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the capacity stays {capacity}: the policy gives up too little to go down to {wanted}")]
pub struct CapacityError {
    /// The capacity that was asked for.
    pub wanted: u64,
    /// The capacity that the cache still has.
    pub capacity: u64,
}

/// Why [`get_or_load`](crate::Cache::get_or_load) has no value.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader failed. Everyone who waited for this load has the same error.
    #[error("the loader failed")]
    Failed(#[source] Arc<E>),
    /// The load would have waited for itself: its loader asked for the key that it was loading, on its own or through the
    /// loads of other keys.
    #[error("the loader asked for the key that it was loading")]
    Recursive,
    /// The hard timeout passed. The load goes on, and fills the cache.
    #[error("the load took longer than the hard timeout of {0:?}, and goes on")]
    TimedOut(Duration),
    /// The load in the background panicked, or was dropped by what was to run it.
    #[error("the load was lost: its loader panicked, or its task was dropped")]
    Lost,
    /// The loader of [`get_or_load_many`](crate::Cache::get_or_load_many) was asked for this key and said nothing of it.
    #[error("the batch loader gave no answer for the key")]
    Unanswered,
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
            Self::Recursive => Self::Recursive,
            Self::TimedOut(after) => Self::TimedOut(*after),
            Self::Lost => Self::Lost,
            Self::Unanswered => Self::Unanswered,
        }
    }
}

/// Why [`Batch::load`](crate::Batch::load) has no value.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BatchError<E> {
    /// The loader failed for this key. Everyone who asked for it in this batch has the same error.
    #[error("the batch loader failed for the key")]
    Failed(#[source] Arc<E>),
    /// The loader was asked for the key and said nothing of it.
    #[error("the batch loader gave no answer for the key")]
    Unanswered,
    /// The loader panicked, or the batch's task was dropped before it had ended.
    #[error("the batch was lost: its loader panicked, or its task was dropped")]
    Lost,
}

impl<E> Clone for BatchError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
            Self::Unanswered => Self::Unanswered,
            Self::Lost => Self::Lost,
        }
    }
}
