//! Why a snapshot was not saved or restored.

use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a snapshot could not be saved or restored.
///
/// ```
/// use cachette::{Cache, snapshot::{Snapshot, SnapshotError}};
///
/// let cache = Cache::<u32, u32>::new(10);
/// let mut bytes = Vec::new();
/// Snapshot::new().save_to(&cache, &mut bytes)?;
/// bytes.pop();
/// let damaged = Snapshot::new().restore_from(&cache, &*bytes);
/// assert!(matches!(damaged, Err(SnapshotError::Damaged { offset: 59, .. })));
/// # Ok::<(), SnapshotError>(())
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It is not as it was written: cut off, changed, or no snapshot at all.
    #[error("the snapshot is damaged at byte {offset}: {what}")]
    Damaged {
        /// Where: counted in bytes from its beginning.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// It was written by another version of this library, in a layout that this one does not know.
    #[error(
        "the snapshot is of version {found} of the format, and this program reads version {known}"
    )]
    Version {
        /// The version of the snapshot.
        found: u32,
        /// The one that is known here.
        known: u32,
    },
    /// It has another schema.
    #[error("the snapshot has the schema {found}, and {wanted} is asked for")]
    Schema {
        /// The schema of the snapshot.
        found: u32,
        /// The one that was asked for.
        wanted: u32,
    },
    /// The bytes are as they were written, and yet no key and value: the types are others than then. Give another
    /// [schema](crate::snapshot::Snapshot::schema) when they change.
    #[error("the snapshot's entry at byte {offset} is no key and value of these types: {reason}")]
    Entry {
        /// Where the entry begins: counted in bytes from the snapshot's beginning.
        offset: u64,
        /// What its decoder said.
        reason: String,
    },
    /// The operating system failed, or the reader or writer that was given.
    #[error("{doing}{}: {source}", .path.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file, if there is one.
        path: Option<PathBuf>,
        /// What was said.
        source: io::Error,
    },
    /// A `Serialize` of the program's own panicked. Told by [`Autosave`](crate::snapshot::Autosave) alone; elsewhere a panic goes on.
    #[error("a panic while the snapshot was taken")]
    Panicked,
}

impl SnapshotError {
    /// True if there is no such file, as at a program's first start. O(1).
    ///
    /// ```
    /// let cache = cachette::Cache::<u32, u32>::new(10);
    /// assert!(cache.restore("no/such/file").unwrap_err().is_missing());
    /// ```
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    pub(super) fn at(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: Some(path.to_owned()), source }
    }

    pub(super) fn reading(source: io::Error) -> Self {
        Self::Io { doing: "reading the snapshot", path: None, source }
    }

    pub(super) fn writing(source: io::Error) -> Self {
        Self::Io { doing: "writing the snapshot", path: None, source }
    }
}
