//! The system of record: a version for each key, in a file that the processes share. A key is written by one worker alone.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of a value; the first eight are its version.
const BYTES: usize = 256;

pub type Value = Arc<[u8]>;

/// A handle: clones share their counts.
#[derive(Clone)]
pub struct Source {
    file: Arc<File>,
    time: Duration,
    loads: Arc<AtomicU64>,
}

impl Source {
    /// A new one: every key has version 0.
    pub fn make(folder: &Path, keys: u32) -> Result<(), String> {
        let zeros = vec![0; keys as usize * 8];
        std::fs::write(folder.join("versions"), zeros).map_err(|error| error.to_string())
    }

    pub fn open(folder: &Path, time: Duration) -> Result<Self, String> {
        let file = OpenOptions::new().read(true).write(true).open(folder.join("versions"));
        let file = Arc::new(file.map_err(|error| error.to_string())?);
        Ok(Self { file, time, loads: Arc::default() })
    }

    /// How often it was asked for a value.
    pub fn loads(&self) -> u64 {
        self.loads.load(Relaxed)
    }

    pub fn version(&self, rank: u32) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, u64::from(rank) * 8).expect("the file is there");
        u64::from_le_bytes(bytes)
    }

    /// Writes the next version, and says which, and when it was there.
    pub fn write(&self, rank: u32) -> (u64, u64) {
        let version = self.version(rank) + 1;
        self.file
            .write_all_at(&version.to_le_bytes(), u64::from(rank) * 8)
            .expect("the file is there");
        (version, now())
    }

    /// What is there at first, after a while.
    pub fn load(&self, rank: u32) -> Value {
        let value = self.value(rank);
        std::thread::sleep(self.time);
        value
    }

    pub async fn load_async(self, rank: u32) -> Value {
        let value = self.value(rank);
        tokio::time::sleep(self.time).await;
        value
    }

    fn value(&self, rank: u32) -> Value {
        self.loads.fetch_add(1, Relaxed);
        let mut bytes = vec![0; BYTES];
        bytes[..8].copy_from_slice(&self.version(rank).to_le_bytes());
        bytes.into()
    }
}

/// The version of a value.
pub fn version_of(value: &[u8]) -> u64 {
    value.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes))
}

/// Nanoseconds, by the clock that all processes have.
pub fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
