//! Caches before a system of record: W1 to W22, on a store in memory and on `SQLite`, each of which fails, stalls and lies on command.

#[path = "store/behind.rs"]
mod behind;
#[path = "store/direct.rs"]
mod direct;
#[path = "store/faulty.rs"]
mod faulty;
#[path = "store/levels.rs"]
mod levels;
#[path = "store/lives.rs"]
mod lives;

use cachette::store::{MemoryStore, StoreBuilder, StoredCache, WriteBehind};
use cachette::{Backoff, Cache, LoadingBuilder, ManualClock, store::Missing};
use faulty::{Faulty, Trouble};
use std::sync::Arc;
use std::time::Duration;

pub type Stored = StoredCache<u64, String, Trouble>;
pub type Below = LoadingBuilder<u64, String, Missing<Trouble>>;
pub type Behind = WriteBehind<u64, String, Trouble>;

pub fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A store, and the clock of what is before it.
pub struct Kit {
    pub store: Arc<Faulty>,
    pub clock: ManualClock,
}

impl Kit {
    pub fn memory() -> Self {
        Self { store: Faulty::new(MemoryStore::new()), clock: ManualClock::new() }
    }

    pub fn builder(&self, capacity: u64) -> StoreBuilder<u64, String, Trouble, Below> {
        let cache = Cache::builder().capacity(capacity).clock(self.clock.clone());
        cache.store(Arc::clone(&self.store))
    }

    pub fn through(&self) -> Stored {
        self.builder(100).write_through().build().unwrap()
    }

    /// Driven by hand.
    pub fn behind(&self, behind: Behind) -> Stored {
        self.builder(100).write_behind(behind).build().unwrap()
    }
}

/// Batches of up to four, no older than 100 ms; three tries, 10 and 20 ms apart at most.
pub fn usual() -> Behind {
    let backoff = Backoff { first: millis(10), most: millis(1_000) };
    WriteBehind::new().batch(4).delay(millis(100)).attempts(3).backoff(backoff)
}

pub fn text(value: impl ToString) -> String {
    value.to_string()
}

/// Runs a test on each kind of store.
pub fn on_both(test: impl Fn(Kit)) {
    test(Kit::memory());
}
