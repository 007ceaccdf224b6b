//! A thread that frees expired memory while nobody writes.

use crate::cache::Cache;
use crate::sync::{Arc, Condvar, Mutex, Weak, thread};
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::io;
use std::time::Duration;

/// Calls [`maintain`](Cache::maintain) on a cache every so often, from a thread of its own.
///
/// It is needed only where a cache may stand idle, full of expired entries, and their memory matters: reads never return
/// them, and writes take them out in passing. It holds the cache weakly: when the cache's last owner is gone it ends, and
/// dropping it ends it at once.
///
/// A task does as well: `loop { interval.tick().await; cache.maintain(); }`.
///
/// ```
/// use cachette::{Cache, Maintainer};
/// use std::{sync::Arc, time::Duration};
///
/// let cache = Arc::new(Cache::<u32, String>::new(1_000));
/// let maintainer = Maintainer::start(&cache, Duration::from_secs(1))?;
/// cache.put_with_ttl(1, "one".to_string(), Duration::from_millis(5));
/// # drop(maintainer);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "dropping it ends the maintenance"]
pub struct Maintainer {
    stop: Arc<Stop>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Stop {
    stopped: Mutex<bool>,
    told: Condvar,
}

impl Maintainer {
    /// Starts the thread. It maintains the cache at once, and then after each `period`.
    ///
    /// # Errors
    ///
    /// If the operating system gives no thread.
    pub fn start<K, V, S>(cache: &Arc<Cache<K, V, S>>, period: Duration) -> io::Result<Self>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
    {
        let stop = Arc::new(Stop { stopped: Mutex::new(false), told: Condvar::new() });
        let (cache, told) = (Arc::downgrade(cache), Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("cachette-maintainer".to_string())
            .spawn(move || run(&cache, &told, period))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

fn run<K, V, S>(cache: &Weak<Cache<K, V, S>>, stop: &Stop, period: Duration)
where
    K: Hash + Eq,
    S: BuildHasher,
{
    loop {
        match cache.upgrade() {
            Some(cache) => cache.maintain(),
            None => return,
        }
        let mut stopped = stop.stopped.lock();
        if !*stopped {
            stopped = stop.told.wait_for(stopped, period);
        }
        if *stopped {
            return;
        }
    }
}

impl Drop for Maintainer {
    fn drop(&mut self) {
        *self.stop.stopped.lock() = true;
        self.stop.told.notify_one();
        if let Some(thread) = self.thread.take() {
            // The thread itself may hold the cache's last owner, and with it this.
            if thread.thread().id() != thread::current().id() {
                // It ends of itself; the cache's code in it does not panic.
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for Maintainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maintainer").finish_non_exhaustive()
    }
}
