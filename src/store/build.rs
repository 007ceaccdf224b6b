//! Building a cache before a store.

use super::asker::Asker;
use super::behind::Behind;
use super::contract::{Missing, Store};
use super::inner::{Direct, Inner};
use super::levels::Levels;
use super::options::{WhenFull, WriteBehind};
use super::queue::Queue;
use super::record::Record;
use super::stored::StoredCache;
use super::turns::Turns;
use crate::builder::Builder;
use crate::error::BuildError;
use crate::load::{LoadingBuilder, LoadingCache, Spawn, block_on};
use crate::sync::{Arc, AtomicBool, AtomicU64};
use crate::tier::{RemoteKey, TieredBuilder, TieredCache};
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::{Duration, SystemTime};

/// How long what does not fit waits for room, unless chosen.
const PATIENCE: Duration = Duration::from_secs(1);

/// What [`Builder::store`] gives: one level before a store, so far.
pub type OneLevel<K, V, E, S> = StoreBuilder<K, V, E, LoadingBuilder<K, V, Missing<E>, S>>;

/// What was built, and who runs work in the background.
type Built<L> = Result<(L, Option<Arc<dyn Spawn>>), BuildError>;

/// Chooses how a [`StoredCache`] reads and writes its store, and [builds](Self::build) it. What the cache can choose is chosen before, on the
/// [`Builder`] that this comes from; what a cache with a loader or a remote can choose, in [`levels`](Self::levels).
///
/// | choice | unless chosen |
/// |---|---|
/// | [`write_through`](Self::write_through), [`write_around`](Self::write_around), [`write_behind`](Self::write_behind) | through |
/// | [`spawn`](Self::spawn) | no background: callers write |
/// | [`write_timeout`](Self::write_timeout) | direct writes are waited for to their end |
#[must_use = "a builder does nothing until `build` is called"]
pub struct StoreBuilder<K, V, E, B> {
    record: Arc<Record<K, V, E>>,
    levels: B,
    direct: Direct,
    behind: Option<WriteBehind<K, V, E>>,
    timeout: Option<Duration>,
}

impl<K, V, S> Builder<K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Puts this cache before a store, which is the system of record: values are read through, and written through, around or behind. See
    /// [`StoredCache`].
    pub fn store<T>(self, store: T) -> OneLevel<K, V, T::Error, S>
    where
        T: Store<K, V>,
    {
        let record = Record::new(Arc::new(store));
        let (one, many) = (Arc::clone(&record), Arc::clone(&record));
        let levels = if record.store.blocks() {
            // Its futures never suspend: this polls once.
            self.loader(move |key: &K| block_on(one.load(key.clone())))
                .bulk_loader(move |keys| block_on(many.load_many(keys)))
        } else {
            self.loader_async(move |key| {
                let record = Arc::clone(&one);
                async move { record.load(key).await }
            })
            .bulk_loader_async(move |keys| {
                let record = Arc::clone(&many);
                async move { record.load_many(keys).await }
            })
        };
        StoreBuilder { record, levels, direct: Direct::Through, behind: None, timeout: None }
    }
}

impl<K, V, E, S> OneLevel<K, V, E, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Who works in the background: [`LoadingBuilder::spawn`]. It writes behind, and has direct writes of tasks go on to their end.
    pub fn spawn(self, spawn: impl Spawn + 'static) -> Self {
        self.levels(|levels| levels.spawn(spawn))
    }
}

impl<K, V, E, B> StoreBuilder<K, V, E, B>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Chooses what a cache with a loader can choose beside its loader, or [puts it before a remote](LoadingBuilder::remote).
    ///
    /// ```
    /// use cachette::{Cache, Threads, store::MemoryStore, tier::{MemoryRemote, Raw}};
    /// use std::time::Duration;
    ///
    /// let users = Cache::<u64, String>::builder()
    ///     .capacity(10_000)
    ///     .store(MemoryStore::new())
    ///     .spawn(Threads::new())
    ///     .levels(|l1| {
    ///         l1.remote(MemoryRemote::new(), Raw).namespace("users").remote_ttl(Duration::from_secs(600))
    ///     })
    ///     .write_through()
    ///     .build()?;
    /// users.put(7, "Ada".to_owned()).unwrap();
    /// assert_eq!(users.load(&7).unwrap().as_deref(), Some("Ada"));
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn levels<C>(self, choose: impl FnOnce(B) -> C) -> StoreBuilder<K, V, E, C> {
        StoreBuilder {
            record: self.record,
            levels: choose(self.levels),
            direct: self.direct,
            behind: self.behind,
            timeout: self.timeout,
        }
    }

    /// Writes go to the store first; when it has acknowledged one, the caches get the value. If it refuses, nothing is changed anywhere.
    pub fn write_through(mut self) -> Self {
        (self.direct, self.behind) = (Direct::Through, None);
        self
    }

    /// Writes go to the store, and the caches forget the key: for what is written and seldom read.
    pub fn write_around(mut self) -> Self {
        (self.direct, self.behind) = (Direct::Around, None);
        self
    }

    /// Writes go to a queue, and to the store later, in batches.
    pub fn write_behind(mut self, behind: WriteBehind<K, V, E>) -> Self {
        self.behind = Some(behind);
        self
    }

    /// How long the store may take for a direct write: [`WriteError::TimedOut`](super::WriteError::TimedOut). It needs
    /// [`spawn`](Self::spawn), and a store that does not [block](Store::blocks).
    pub fn write_timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    /// Builds the cache. Where there is a background, it begins to write behind.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the choice that is missing, out of range, or at odds with another.
    pub fn build(self) -> Result<StoredCache<K, V, E, B::Levels>, BuildError>
    where
        B: BuildLevels<K, V, E>,
    {
        let rules = self.behind.as_ref().map(WriteBehind::rules).transpose()?;
        let (levels, spawn) = self.levels.build_levels()?;
        if self.timeout.is_some() && spawn.is_none() {
            return Err(BuildError::NoSpawn("write_timeout"));
        }
        let clock = levels.clock();
        let version = first_version(clock.date());
        let mut timeout = self.timeout;
        if let Some((options, rules)) = self.behind.zip(rules) {
            let full = match (options.full, &spawn) {
                (Some(WhenFull::Block(_)), None) => {
                    return Err(BuildError::NoSpawn("when_full(Block)"));
                }
                (Some(full), _) => full,
                (None, Some(_)) => WhenFull::Block(PATIENCE),
                (None, None) => WhenFull::Reject,
            };
            timeout = Some(options.timeout);
            let mut behind = Behind::new(Queue::new(rules, version), clock, full);
            behind.bytes_of = options.bytes_of;
            (behind.on_dead, behind.on_abandoned) = (options.on_dead, options.on_abandoned);
            (behind.log, behind.early) = (options.log, options.early);
            for (number, key, value) in options.recovered {
                let bytes = behind.bytes_of(&key, value.as_ref());
                behind.restore(self.record.keyed(key), value, (bytes, number));
            }
            // It is the first: nobody else builds from this record.
            let _ = self.record.behind.set(behind);
        }
        let store = Arc::clone(&self.record.store);
        let inner = Arc::new(Inner {
            asker: Asker { store, spawn: spawn.clone(), timeout },
            record: self.record,
            levels,
            turns: Turns::new(),
            direct: self.direct,
            version: AtomicU64::new(version),
            closed: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        });
        if let (Some(spawn), Some(_)) = (&spawn, inner.behind()) {
            spawn.spawn(Box::pin(Arc::clone(&inner).run(Arc::clone(spawn))));
        }
        Ok(StoredCache::new(inner))
    }
}

impl<K, V, E, B> fmt::Debug for StoreBuilder<K, V, E, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreBuilder").field("behind", &self.behind).finish_non_exhaustive()
    }
}

/// Nanoseconds since 1970: what comes later has more, whichever process it is in.
fn first_version(date: SystemTime) -> u64 {
    let since = date.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(0)
}

/// What builds the levels before a store: a [`LoadingBuilder`] or a [`TieredBuilder`]. Nobody else implements it.
pub trait BuildLevels<K, V, E>: sealed::Sealed {
    /// What is built.
    type Levels: Levels<K, V, E>;

    #[doc(hidden)]
    fn build_levels(self) -> Built<Self::Levels>;
}

mod sealed {
    pub trait Sealed {}
    impl<K, V, E, S> Sealed for super::LoadingBuilder<K, V, E, S> {}
    impl<K, V, E, S> Sealed for super::TieredBuilder<K, V, E, S> {}
}

impl<K, V, E, S> BuildLevels<K, V, E> for LoadingBuilder<K, V, Missing<E>, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    type Levels = LoadingCache<K, V, Missing<E>, S>;

    fn build_levels(self) -> Built<Self::Levels> {
        let spawn = self.background();
        Ok((self.build()?, spawn))
    }
}

impl<K, V, E, S> BuildLevels<K, V, E> for TieredBuilder<K, V, Missing<E>, S>
where
    K: RemoteKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    type Levels = TieredCache<K, V, Missing<E>, S>;

    fn build_levels(self) -> Built<Self::Levels> {
        let spawn = self.background();
        Ok((self.build()?, spawn))
    }
}
