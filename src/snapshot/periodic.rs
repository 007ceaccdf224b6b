//! A snapshot every so often, on the program's background.

use super::{Saved, Snapshot, SnapshotError};
use crate::cache::Cache;
use crate::caught::caught;
use crate::load::{LoadingCache, Spawn};
use crate::sync::{Arc, Mutex, Weak};
use serde::Serialize;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::path::PathBuf;
use std::time::Duration;

/// Saves a cache every so often, and once more at the end.
///
/// Each snapshot is one of [`Cache::save`], on a thread of the [background](Spawn) that may block; one is over before the time to the next begins. How
/// each of them went is told to a callback: nothing else hears of its errors, and the next one comes all the same.
///
/// It keeps the cache until it is dropped: then, or by [`close`](Self::close), the last snapshot is taken on the calling thread. The
/// tasks in the background keep nothing.
///
/// ```
/// use cachette::{Cache, Threads, snapshot::{Autosave, Snapshot}};
/// use std::{sync::Arc, time::Duration};
///
/// # let path = std::env::temp_dir().join(format!("cachette-doc-autosave-{}", std::process::id()));
/// let cache = Arc::new(Cache::<u32, String>::new(1_000));
/// let told = |result: &Result<_, _>| if let Err(error) = result {
///     eprintln!("the cache was not saved: {error}");
/// };
/// let saving = Autosave::start(&cache, Snapshot::new(), &path, Duration::from_secs(60), Threads::new(), told);
/// cache.put(1, "one".to_string());
/// // ...
/// assert_eq!(saving.close()?.entries, 1);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it ends the snapshots"]
pub struct Autosave {
    ticks: Arc<Ticks>,
    /// Takes the last one, until it is taken.
    last: Option<Box<Last>>,
}

type Outcome = Result<Saved, SnapshotError>;
type Save = dyn Fn() -> Option<Outcome> + Send + Sync;
type Last = dyn FnOnce() -> Outcome + Send + Sync;
type Told = dyn Fn(&Outcome) + Send + Sync;

/// What the tasks in the background share.
struct Ticks {
    /// Takes one; nothing once the cache is gone.
    save: Box<Save>,
    told: Box<Told>,
    spawn: Box<dyn Spawn>,
    period: Duration,
    /// One at a time: who takes one has this. True once there are to be no more.
    stopped: Mutex<bool>,
}

impl Autosave {
    /// Begins: the first snapshot is taken after a `period`. `told` hears how each went that [`close`](Self::close) did not return; it runs where the
    /// snapshot was taken. O(1).
    pub fn start<K, V, S>(
        cache: &Arc<Cache<K, V, S>>,
        snapshot: Snapshot,
        path: impl Into<PathBuf>,
        period: Duration,
        spawn: impl Spawn + 'static,
        told: impl Fn(&Result<Saved, SnapshotError>) + Send + Sync + 'static,
    ) -> Self
    where
        K: Hash + Eq + Serialize + Send + Sync + 'static,
        V: Serialize + Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
    {
        let path = path.into();
        let (weak, to) = (Arc::downgrade(cache), path.clone());
        let save = move || weak.upgrade().map(|cache| save(&cache, snapshot, &to));
        let cache = Arc::clone(cache);
        let last = move || self::save(&cache, snapshot, &path);
        Self::begin(Box::new(save), Box::new(last), period, Box::new(spawn), Box::new(told))
    }

    /// As [`start`](Self::start), for a cache with its loader. O(1).
    ///
    /// ```
    /// use cachette::{Cache, Threads, snapshot::{Autosave, Snapshot}};
    /// use std::time::Duration;
    ///
    /// # let path = std::env::temp_dir().join(format!("cachette-doc-loading-{}", std::process::id()));
    /// let users = Cache::builder().capacity(100).loader(|id: &u32| format!("user {id}")).build()?;
    /// let day = Duration::from_secs(86_400);
    /// let saving = Autosave::start_loading(&users, Snapshot::new(), &path, day, Threads::new(), |_| ());
    /// users.load(&7)?;
    /// assert_eq!(saving.close()?.entries, 1);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start_loading<K, V, E, S>(
        cache: &LoadingCache<K, V, E, S>,
        snapshot: Snapshot,
        path: impl Into<PathBuf>,
        period: Duration,
        spawn: impl Spawn + 'static,
        told: impl Fn(&Result<Saved, SnapshotError>) + Send + Sync + 'static,
    ) -> Self
    where
        K: Hash + Eq + Serialize + Send + Sync + 'static,
        V: Serialize + Send + Sync + 'static,
        E: 'static,
        S: BuildHasher + Send + Sync + 'static,
    {
        let path = path.into();
        let (weak, to) = (cache.downgrade(), path.clone());
        let save = move || weak.upgrade().map(|cache| save(&cache, snapshot, &to));
        let cache = cache.clone();
        let last = move || self::save(&cache, snapshot, &path);
        Self::begin(Box::new(save), Box::new(last), period, Box::new(spawn), Box::new(told))
    }

    fn begin(
        save: Box<Save>,
        last: Box<Last>,
        period: Duration,
        spawn: Box<dyn Spawn>,
        told: Box<Told>,
    ) -> Self {
        let ticks = Arc::new(Ticks { save, told, spawn, period, stopped: Mutex::new(false) });
        ticks.wait();
        Self { ticks, last: Some(last) }
    }

    /// Ends it, and takes the last snapshot now. One that is under way is waited for. O(entries), plus the disk.
    ///
    /// # Errors
    ///
    /// Those of [`Cache::save`]; the callback does not hear of this one.
    pub fn close(mut self) -> Result<Saved, SnapshotError> {
        self.end().unwrap_or(Err(SnapshotError::Panicked))
    }

    /// The last one, if it was not taken.
    fn end(&mut self) -> Option<Outcome> {
        let last = self.last.take()?;
        let mut stopped = self.ticks.stopped.lock();
        *stopped = true;
        Some(last())
    }
}

fn save<K, V, S>(cache: &Cache<K, V, S>, snapshot: Snapshot, path: &PathBuf) -> Outcome
where
    K: Hash + Eq + Serialize,
    V: Serialize,
    S: BuildHasher,
{
    let mut outcome = Err(SnapshotError::Panicked);
    caught(|| outcome = snapshot.save(cache, path));
    outcome
}

impl Ticks {
    /// Takes one after a period, in the background.
    fn wait(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        let sleep = self.spawn.sleep(self.period);
        self.spawn.spawn(Box::pin(async move {
            sleep.await;
            let Some(ticks) = weak.upgrade() else { return };
            let blocking = Box::pin(async move { Self::tick(&weak) });
            ticks.spawn.spawn_blocking(blocking);
        }));
    }

    fn tick(weak: &Weak<Self>) {
        let Some(ticks) = weak.upgrade() else { return };
        let outcome = {
            let stopped = ticks.stopped.lock();
            if *stopped { None } else { (ticks.save)() }
        };
        if let Some(outcome) = outcome {
            ticks.tell(&outcome);
            ticks.wait();
        }
    }

    /// A panic in the callback ends nothing.
    fn tell(&self, outcome: &Outcome) {
        caught(|| (self.told)(outcome));
    }
}

impl Drop for Autosave {
    fn drop(&mut self) {
        if let Some(outcome) = self.end() {
            self.ticks.tell(&outcome);
        }
    }
}

impl fmt::Debug for Autosave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Autosave").field("period", &self.ticks.period).finish_non_exhaustive()
    }
}
