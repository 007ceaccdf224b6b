//! Where a journal is, and what it does against a loss of power.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most bytes of a record: 1 GiB.
const RECORD: usize = 1 << 30;

/// When what was written to a journal is forced onto the disk.
///
/// A crash of the *process*, by a panic, a signal or for want of memory, loses nothing in any of these: a record is with the
/// operating system before its write is acknowledged. The choice is about a crash of the *machine*:
///
/// | | what a loss of power may take | cost of a write |
/// |---|---|---|
/// | `Always` | nothing that was acknowledged | waits for the disk: tens of microseconds to milliseconds; writes at the same time share one wait |
/// | `Within(d)` | what was acknowledged in the last `d`, and in the time that a sync takes | a call of the system |
/// | `Never` | what the system has not written by itself, often half a minute; at most one segment | a call of the system |
///
/// The disk must keep its word: one that says that it has written what is only in its own memory loses it all the same.
///
/// ```
/// use cachette::store::{Fsync, JournalOptions};
/// use std::time::Duration;
///
/// let options = JournalOptions::new("queue").fsync(Fsync::Within(Duration::from_millis(100)));
/// assert_ne!(options, JournalOptions::new("queue"));
/// assert_eq!(Fsync::default(), Fsync::Always);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Before each write is acknowledged.
    #[default]
    Always,
    /// So soon after a write that no more than this time is lost. Zero is as soon as whoever drives the journal comes to it, which is later
    /// than `Always`.
    Within(Duration),
    /// When a segment is full, and at the end.
    Never,
}

/// Where the journal of write-behind is, and how it is kept.
///
/// | what | if it is not told |
/// |---|---|
/// | [`fsync`](Self::fsync) | [`Fsync::Always`] |
/// | [`segment_bytes`](Self::segment_bytes) | 16 MiB |
///
/// Nothing is done by this alone: the directory is made and locked when the journal is opened.
///
/// ```
/// use cachette::store::{Fsync, JournalOptions};
///
/// let options = JournalOptions::new("queue").fsync(Fsync::Never).segment_bytes(1 << 20);
/// assert_eq!(options.dir(), std::path::Path::new("queue"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    dir: PathBuf,
    pub(super) fsync: Fsync,
    pub(super) segment_bytes: u64,
    pub(super) record_bytes: usize,
}

impl JournalOptions {
    /// A journal in this directory, which is made if it is missing. It belongs to one journal at a time; files in it that are not a
    /// journal's are left alone. On a network file system the lock that sees to that may not hold.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            fsync: Fsync::default(),
            segment_bytes: 16 << 20,
            record_bytes: RECORD,
        }
    }

    /// When what is written is forced onto the disk.
    #[must_use]
    pub fn fsync(mut self, fsync: Fsync) -> Self {
        self.fsync = fsync;
        self
    }

    /// The size in bytes at which the next file is begun. Space is given back by whole files, once all that is in them is settled, so
    /// smaller ones give it back sooner, and larger ones are fewer. A file holds one record at least, however small this is.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// The directory. O(1).
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}
