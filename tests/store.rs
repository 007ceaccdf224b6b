//! Caches before a system of record: W1 to W22, on a store in memory and on `SQLite`, each of which fails, stalls and lies on command.

#[path = "store/behind.rs"]
mod behind;
#[cfg(not(cachette_lean))]
#[path = "store/contract.rs"]
mod contract;
#[path = "store/direct.rs"]
mod direct;
#[path = "store/faulty.rs"]
mod faulty;
#[path = "store/levels.rs"]
mod levels;
#[path = "store/lives.rs"]
mod lives;
#[cfg(not(cachette_lean))]
#[path = "store/sqlite.rs"]
mod sqlite;

use cachette::store::{MemoryStore, StoreBuilder, StoredCache, WriteBehind};
use cachette::{Backoff, Cache, LoadingBuilder, ManualClock, store::Missing};
use faulty::{Faulty, Trouble};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

type Stored = StoredCache<u64, String, Trouble>;
type Below = LoadingBuilder<u64, String, Missing<Trouble>>;
type Behind = WriteBehind<u64, String, Trouble>;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A store, and the clock of what is before it.
struct Kit {
    store: Arc<Faulty>,
    clock: ManualClock,
}

impl Kit {
    fn memory() -> Self {
        Self::of(MemoryStore::new())
    }

    /// Around what never fails.
    fn of(table: impl faulty::Table + 'static) -> Self {
        Self { store: Faulty::new(table), clock: ManualClock::new() }
    }

    fn builder(&self, capacity: u64) -> StoreBuilder<u64, String, Trouble, Below> {
        let cache = Cache::builder().capacity(capacity).clock(self.clock.clone());
        cache.store(Arc::clone(&self.store))
    }

    fn through(&self) -> Stored {
        self.builder(100).write_through().build().unwrap()
    }

    /// Driven by hand.
    fn behind(&self, behind: Behind) -> Stored {
        self.builder(100).write_behind(behind).build().unwrap()
    }
}

/// Batches of up to four, no older than 100 ms; three tries, 10 and 20 ms apart at most.
fn usual() -> Behind {
    let backoff = Backoff { first: millis(10), most: millis(1_000) };
    WriteBehind::new().batch(4).delay(millis(100)).attempts(3).backoff(backoff)
}

fn text(value: impl fmt::Display + Copy) -> String {
    value.to_string()
}

/// Runs a test on each kind of store.
fn on_both(test: impl Fn(Kit)) {
    test(Kit::of(MemoryStore::new()));
    #[cfg(not(cachette_lean))]
    {
        let file = std::path::Path::new(":memory:");
        test(Kit::of(sqlite::SqliteStore::open(file, sqlite::Durability::Normal).unwrap()));
    }
}
