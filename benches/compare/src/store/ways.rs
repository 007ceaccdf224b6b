//! How a value gets into a `SQLite` file.

use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use cachette::store::{Change, Store as _, StoredCache, WhenFull, WriteBehind, WriteStats};
use cachette::{Cache, Threads};

use crate::sqlite::{Durability, Failure, SqliteStore};

/// Entries that the cache keeps.
const CAPACITY: u64 = 10_000;

/// Longer than any run: a put that finds the queue full waits for room.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    /// The store without a cache, a transaction for each put.
    Direct,
    Through,
    /// Behind, in batches of at most so many.
    Behind(usize),
}

pub const ALL: [Way; 5] =
    [Way::Direct, Way::Through, Way::Behind(1), Way::Behind(100), Way::Behind(1_000)];

impl Way {
    pub fn name(self) -> String {
        match self {
            Self::Direct => "SQLite by itself".to_owned(),
            Self::Through => "through".to_owned(),
            Self::Behind(batch) => format!("behind, batches of {batch}"),
        }
    }

    pub fn open(self, file: &Path, durability: Durability) -> Result<Writer, String> {
        let store =
            SqliteStore::open(file, durability).map_err(|error| format!("SQLite: {error}"))?;
        let cache = Cache::<u64, String>::builder().capacity(CAPACITY);
        let built = match self {
            Self::Direct => return Ok(Writer::Direct(store, AtomicU64::new(0))),
            Self::Through => cache.store(store).write_through().build(),
            Self::Behind(batch) => {
                let behind = WriteBehind::new().batch(batch).when_full(WhenFull::Block(PATIENCE));
                cache.store(store).spawn(Threads::new()).write_behind(behind).build()
            }
        };
        built.map(Writer::Cache).map_err(|error| error.to_string())
    }
}

/// A file that is written in one of these ways.
pub enum Writer {
    /// With the version of the latest change.
    Direct(SqliteStore, AtomicU64),
    Cache(StoredCache<u64, String, Failure>),
}

impl Writer {
    pub fn put(&self, key: u64, value: &str) -> Result<(), String> {
        let value = value.to_owned();
        match self {
            Self::Direct(store, version) => {
                let version = version.fetch_add(1, Ordering::Relaxed) + 1;
                let change = Change { key: &key, value: Some(&value), version };
                now(store.apply(change)).map_err(|error| error.to_string())
            }
            Self::Cache(cache) => {
                cache.put(key, value).map(drop).map_err(|error| format!("a put: {error}"))
            }
        }
    }

    /// Waits until all is written.
    pub fn flush(&self) -> Result<(), String> {
        match self {
            Self::Direct(..) => Ok(()),
            Self::Cache(cache) => cache.flush().map(drop).map_err(|error| error.to_string()),
        }
    }

    pub fn stats(&self) -> WriteStats {
        match self {
            Self::Direct(..) => WriteStats::default(),
            Self::Cache(cache) => cache.write_stats(),
        }
    }

    /// An error if anything was not written.
    pub fn close(self) -> Result<(), String> {
        let left = match self {
            Self::Direct(..) => 0,
            Self::Cache(cache) => cache.close(PATIENCE).len(),
        };
        if left == 0 { Ok(()) } else { Err(format!("{left} changes were not written")) }
    }
}

/// What a store that blocks answers when it is polled, once.
fn now<T>(answer: impl Future<Output = T>) -> T {
    match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("it blocks, and never suspends"),
    }
}
