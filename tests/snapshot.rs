//! Snapshots: what is saved comes back, as warm as it was; what is damaged does not.

#[path = "snapshot/damage.rs"]
mod damage;
#[path = "snapshot/files.rs"]
mod files;
#[path = "support/hand.rs"]
mod hand;
#[path = "snapshot/lives.rs"]
mod lives;
#[path = "snapshot/periodic.rs"]
mod periodic;
#[path = "snapshot/ratio.rs"]
mod ratio;
#[path = "support/rng.rs"]
mod rng;
#[path = "snapshot/writers.rs"]
mod writers;

use cachette::snapshot::{Restored, Snapshot, SnapshotError};
use cachette::{Cache, Clock, ManualClock};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::hash::{BuildHasher, Hash};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// The clock of a process: its own time begins at zero, whatever the date.
#[derive(Clone)]
struct Process {
    uptime: ManualClock,
    /// The date on which it began, in nanoseconds since 1970.
    began: u64,
}

impl Process {
    /// One that begins at this date, in seconds since 1970.
    fn on(date: u64) -> Self {
        Self { uptime: ManualClock::new(), began: date * 1_000_000_000 }
    }

    /// One that begins so many seconds after this moment.
    fn after(&self, seconds: i64) -> Self {
        let now = self.began + self.uptime.now().as_nanos() as u64;
        Self {
            uptime: ManualClock::new(),
            began: now.saturating_add_signed(seconds * 1_000_000_000),
        }
    }
}

impl Clock for Process {
    fn now(&self) -> Duration {
        self.uptime.now()
    }
    fn date(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.began) + self.uptime.now()
    }
}

/// The bytes of a snapshot.
fn saved<K, V, S>(cache: &Cache<K, V, S>) -> Vec<u8>
where
    K: Hash + Eq + Serialize,
    V: Serialize,
    S: BuildHasher,
{
    let mut bytes = Vec::new();
    let saved = Snapshot::new().save_to(cache, &mut bytes).unwrap();
    assert_eq!(saved.bytes, bytes.len() as u64);
    bytes
}

fn restored<K, V, S>(cache: &Cache<K, V, S>, bytes: &[u8]) -> Result<Restored, SnapshotError>
where
    K: Hash + Eq + DeserializeOwned,
    V: DeserializeOwned,
    S: BuildHasher,
{
    Snapshot::new().restore_from(cache, bytes)
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A directory of its own, which is gone with this.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("cachette-snapshot-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("cache")
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A value whose encoding does something first.
#[derive(Clone)]
struct Hooked(u64, Arc<dyn Fn(u64) -> bool + Send + Sync>);

impl Serialize for Hooked {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if (self.1)(self.0) {
            self.0.serialize(to)
        } else {
            Err(serde::ser::Error::custom("it has no bytes"))
        }
    }
}
