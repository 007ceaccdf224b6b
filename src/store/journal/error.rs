//! Why a journal cannot be opened, or takes nothing more.

use crate::sync::Arc;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a journal could not be opened, or did not take what it was given.
///
/// ```
/// use cachette::store::JournalError;
///
/// fn advice(error: &JournalError) -> &'static str {
///     match error {
///         JournalError::Locked { .. } => "end the other process, or choose another directory",
///         JournalError::Io { .. } => "make room or grant access, and try again",
///         _ => "look at the file that it names",
///     }
/// }
///
/// let error = JournalError::Locked { path: "queue/journal.lock".into() };
/// assert!(error.to_string().contains("queue/journal.lock"));
/// assert!(advice(&error).contains("other process"));
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The system refused. Of what was to be written nothing is kept, and the next attempt may succeed: a full disk is such a case.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was to be done with it.
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Another process has the journal open, or another journal in this one.
    #[error("{} is held: the journal is open already, in this process or in another", path.display())]
    Locked {
        /// The file that is locked.
        path: PathBuf,
    },
    /// A file has the name of a segment, and was written by something else.
    #[error("{} has the name of a journal's segment, and is none", path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
    },
    /// The journal was written by another version of this library. Nothing of it was changed.
    #[error("{} is of version {found}, and {known} is the one that is known", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version that is known.
        known: u32,
    },
    /// What was on disk for certain cannot be read any more. No crash leaves this behind, so nothing is dropped and nothing is changed:
    /// restore the file from a copy, or move the directory away to begin anew without it.
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it the first thing is that cannot be read.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A segment is gone from among the others, with what it held. Nothing was changed.
    #[error("{} is missing from the journal, and later segments are there", path.display())]
    Missing {
        /// The file that should be there.
        path: PathBuf,
    },
    /// A record is whole, and none of the keys and values that it was opened for: they were written by another codec, or another program.
    #[error("record {number} of the journal in {} cannot be read: {why}", path.display())]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// The number of the record.
        number: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The record is larger than a journal takes.
    #[error("a record of {bytes} bytes is too large for the journal: {limit} are the most")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The most bytes of a record.
        limit: usize,
    },
    /// A sync failed, or a write that could not be undone. What is on disk is not known any more, so nothing is added to it: open the
    /// journal again. A record whose append ended like this may be recovered then, or not.
    #[error("the journal in {} is broken: what of it is on disk is not known", path.display())]
    Broken {
        /// The directory.
        path: PathBuf,
        /// What the system said first.
        source: Arc<io::Error>,
    },
}
