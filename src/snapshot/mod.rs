//! Snapshots: a cache that is warm when the program starts again.
//!
//! **Problem.** A program that starts with an empty cache asks its databases for everything at once. What a cache holds should outlive
//! the process: the entries, how long each still lives, and which of them the policy would keep; written while the cache is used, without a
//! second copy of it in memory.
//!
//! ```text
//!   segments   0: cold ····· hot      a slice of each in turn, by      ┌──────┬───────┬───────┬─────┬─────┐
//!              1: cold ·· hot      ─► its part of the whole         ─► │ head │ block │ block │ ... │ end │  the file
//!              2: cold ········ hot                                    └──────┴───────┴───────┴─────┴─────┘
//!                                                                        all that is cold ────────► all that is hot
//!   a cache with any number of segments ◄─ puts them in, in that order: the last in is the hottest
//! ```
//!
//! The file is a string of blocks, each with its checksum; what each field means stands in `src/snapshot/format.rs`. How a segment is walked
//! in its policy's order while others write to it stands in `src/engine/walk.rs`.
//!
//! # What is saved
//!
//! - Every live entry that is there throughout, once. What comes, goes or is replaced meanwhile may be in it or not: each key comes back with
//!   a value that it had at some moment while the snapshot was taken. There is no moment that is the snapshot of *all* keys.
//! - How long each still lives, by its time to live and its time to idle. The time between is counted by the clock's
//!   [date](crate::Clock::date); if that has gone back, as if no time had passed.
//! - The policy's order, and how hot each entry is ([`Heat`](crate::policy::Heat)), for policies that know
//!   [`coldest_after`](crate::policy::EvictionPolicy::coldest_after): all here but `Random`, `SoonestDeadline`, whose order the deadlines
//!   are, and `SampledLru` and `SampledLfu`, which begin anew.
//! - How long its load took.
//!
//! Not saved: ghosts of what has left, and what an adaptive policy has learned of its load; statistics; stale values that might yet be
//! [served](crate::Freshness::stale_if_error); how old a value is: the part of its life after which it is refreshed ahead is counted from
//! when it is restored.
//!
//! # What is restored
//!
//! - What has expired meanwhile is left out, and so is what is there already, or being loaded: both are newer.
//! - **Restore before the cache is used.** A key that is deleted before its turn to be restored comes back.
//! - The cache may have another capacity, policy, hasher or number of segments. In a smaller one what is hottest stays.
//! - The lifetimes are those that were saved, not those that the cache would give now. A time to idle is at most the cache's own.
//! - Weights are asked anew of the cache's weigher.
//!
//! # What a file is worth
//!
//! A file is read to its end before the first entry is restored: one that is damaged changes nothing. Checksums show what has become of it by
//! accident; they do not keep anybody from writing another one. Whoever can write the file can put anything into the cache.
//!
//! The bytes do not say what they are. When the type of keys or values changes, give another [`schema`](Snapshot::schema), and old files are refused.
//! For the same reason types may not use `skip_serializing_if`, `untagged` or `flatten`.

mod error;
mod format;
mod periodic;
mod replace;
mod restore;
mod save;

pub use error::SnapshotError;
pub use periodic::Autosave;

use crate::cache::Cache;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::hash::{BuildHasher, Hash};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

/// How snapshots are taken and restored, where [`Cache::save`] and [`Cache::restore`] do not say enough.
///
/// ```
/// use cachette::{Cache, snapshot::{Snapshot, SnapshotError}};
///
/// let cache = Cache::new(10);
/// cache.put("a".to_string(), 1_u64);
///
/// let of_users = Snapshot::new().schema(3);
/// let mut bytes = Vec::new();
/// assert_eq!(of_users.save_to(&cache, &mut bytes)?.entries, 1);
///
/// let later = Cache::<String, u64>::new(10);
/// assert_eq!(of_users.restore_from(&later, &*bytes)?.entries, 1);
/// assert_eq!(later.get("a"), Some(1));
///
/// // Its values have another field now.
/// let changed = of_users.schema(4).restore_from(&later, &*bytes);
/// assert!(matches!(changed, Err(SnapshotError::Schema { found: 3, wanted: 4 })));
/// # Ok::<(), SnapshotError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "it only says how"]
pub struct Snapshot {
    schema: u32,
}

/// What was saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// Entries that are in the snapshot.
    pub entries: u64,
    /// Entries whose key or value could not be encoded: their `Serialize` said no.
    pub skipped: u64,
    /// How long the snapshot is.
    pub bytes: u64,
}

/// What has become of the entries of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// Entries that were put in. Where the cache is smaller than the snapshot, colder ones were evicted for hotter ones.
    pub entries: u64,
    /// Entries that have expired since.
    pub expired: u64,
    /// Entries whose key has a value already, or is being loaded.
    pub resident: u64,
    /// Entries that the cache has no room for; its listener has heard of them.
    pub refused: u64,
    /// How long ago the snapshot was taken, by the date of the cache's clock.
    pub age: Duration,
}

impl Snapshot {
    /// As [`Cache::save`] and [`Cache::restore`] do it: with schema 0. O(1).
    pub const fn new() -> Self {
        Self { schema: 0 }
    }

    /// A number for what keys and values look like: raise it when their types change. A snapshot with another one is refused. O(1).
    pub const fn schema(mut self, schema: u32) -> Self {
        self.schema = schema;
        self
    }

    /// As [`Cache::save`].
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Io`].
    pub fn save<K, V, S>(
        &self,
        cache: &Cache<K, V, S>,
        path: impl AsRef<Path>,
    ) -> Result<Saved, SnapshotError>
    where
        K: Hash + Eq + Serialize,
        V: Serialize,
        S: BuildHasher,
    {
        replace::replace(path.as_ref(), |file| save::save(cache, self.schema, file))
    }

    /// As [`Cache::save`], to anything that takes bytes. They come in blocks of 64 KiB, so it need not be buffered; it is flushed at the end.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Io`]: part of the snapshot may be written, and cannot be restored.
    pub fn save_to<K, V, S>(
        &self,
        cache: &Cache<K, V, S>,
        to: impl Write,
    ) -> Result<Saved, SnapshotError>
    where
        K: Hash + Eq + Serialize,
        V: Serialize,
        S: BuildHasher,
    {
        save::save(cache, self.schema, to)
    }

    /// As [`Cache::restore`].
    ///
    /// # Errors
    ///
    /// Those of [`Cache::restore`], and [`SnapshotError::Schema`] if it was saved with another one.
    pub fn restore<K, V, S>(
        &self,
        cache: &Cache<K, V, S>,
        path: impl AsRef<Path>,
    ) -> Result<Restored, SnapshotError>
    where
        K: Hash + Eq + DeserializeOwned,
        V: DeserializeOwned,
        S: BuildHasher,
    {
        restore::from_file(cache, self.schema, path.as_ref())
    }

    /// As [`Cache::restore`], from anything that gives bytes, up to the snapshot's end and no further. It is read once: each block is held
    /// against its checksum before any of its entries is restored, but what came before the damage is in.
    ///
    /// # Errors
    ///
    /// Those of [`Cache::restore`], and [`SnapshotError::Schema`] if it was saved with another one.
    pub fn restore_from<K, V, S>(
        &self,
        cache: &Cache<K, V, S>,
        from: impl Read,
    ) -> Result<Restored, SnapshotError>
    where
        K: Hash + Eq + DeserializeOwned,
        V: DeserializeOwned,
        S: BuildHasher,
    {
        restore::restore(cache, self.schema, from)
    }
}

/// Snapshots: feature `serde`.
impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Saves all live entries to a file, with their lifetimes and the policy's order, so that [`restore`](Self::restore) makes a cache that
    /// is as warm. Touches nothing. [What is saved](crate::snapshot) while others write, and what is not.
    ///
    /// The file is replaced as a whole: it is written beside `path`, synced, and renamed, so whoever opens `path` finds the old snapshot or the
    /// new one. On Unix nobody but its owner may read it.
    ///
    /// No segment is locked for more than 64 entries at a time. `Serialize` runs outside every lock; what it has encoded is gathered in
    /// blocks of 64 KiB. An entry that cannot be encoded is left out and counted. O(entries), plus the disk: it blocks the calling thread,
    /// which should not be one that runs tasks. [`Autosave`] does it again and again.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Io`] says what failed, and with which file. The old file is as it was.
    ///
    /// ```
    /// use cachette::Cache;
    ///
    /// # let directory = std::env::temp_dir().join(format!("cachette-doc-save-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let path = directory.join("users.snapshot");
    /// let cache = Cache::new(100);
    /// cache.put("ada".to_string(), 36_u8);
    /// cache.save(&path)?;
    ///
    /// // The program stops, and starts again.
    /// let cache = Cache::<String, u8>::new(100);
    /// cache.restore(&path)?;
    /// assert_eq!(cache.get("ada"), Some(36));
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "dump", alias = "persist")]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<Saved, SnapshotError>
    where
        K: Serialize,
        V: Serialize,
    {
        Snapshot::new().save(self, path)
    }

    /// Puts in what a file of [`save`](Self::save)'s has, and has not expired since. What is there already stays: it is newer.
    ///
    /// Call it before the cache is used: [what is restored](crate::snapshot). The file is read twice, first to see that all of it is as it was
    /// written. O(entries), and O(bytes) twice.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] says what is wrong with the file, and where. One that is damaged, or was written by another version, has changed nothing.
    /// After [`SnapshotError::Entry`] and an error in reading the second time, the entries before are in. That there is no file, as at the
    /// first start, is [`SnapshotError::is_missing`].
    ///
    /// ```
    /// use cachette::Cache;
    ///
    /// let cache = Cache::<String, u8>::new(100);
    /// match cache.restore("no/such/file") {
    ///     Ok(restored) => println!("{} entries", restored.entries),
    ///     Err(error) if error.is_missing() => {} // the first start
    ///     Err(error) => eprintln!("starting cold: {error}"),
    /// }
    /// ```
    #[doc(alias = "load")]
    pub fn restore(&self, path: impl AsRef<Path>) -> Result<Restored, SnapshotError>
    where
        K: DeserializeOwned,
        V: DeserializeOwned,
    {
        Snapshot::new().restore(self, path)
    }
}
