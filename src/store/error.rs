//! What can go wrong with a write.

use crate::error::LoadError;
use crate::sync::Arc;
use std::error::Error;
use std::time::Duration;
use thiserror::Error;

/// Why a write was not made, or not taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WriteError<E> {
    /// The store failed. If it has [refused](super::Store::refused), nothing was changed anywhere.
    #[error("the store failed")]
    Failed(#[source] Arc<E>),
    /// The store panicked, or what ran it dropped it. It may have made the change.
    #[error("the write was lost: the store panicked, or its task was dropped")]
    Lost,
    /// The store has not answered in time. It may have made the change.
    #[error("the store has not answered within {0:?}")]
    TimedOut(Duration),
    /// The store answered for another number of changes than it was asked for: nobody knows which were made.
    #[error("the store was asked for {asked} changes and answered for {answered}")]
    Miscounted {
        /// How many changes there were.
        asked: usize,
        /// How many answers.
        answered: usize,
    },
    /// Too many writes wait for the store, and this one was not taken. It names what there was.
    #[error("{entries} writes of {bytes} bytes wait for the store: there is no room for another")]
    Full {
        /// How many writes the queue held.
        entries: usize,
        /// How many bytes they were.
        bytes: u64,
    },
    /// The journal has not taken it: the disk is full, or fails.
    #[error("the journal has not taken the write")]
    Journal(#[source] Arc<dyn Error + Send + Sync>),
    /// The cache is [closed](super::StoredCache::close), or its last handle is gone.
    #[error("the cache is closed: it takes no more writes")]
    Closed,
    /// The closure of a computation asked for the key that it computes.
    #[error("the closure of `compute` changed its own key")]
    Recursive,
    /// The value that the computation was to begin with could not be loaded.
    #[error("the value to begin with could not be loaded")]
    Unloaded(#[source] LoadError<E>),
}

impl<E> Clone for WriteError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
            Self::Lost => Self::Lost,
            Self::TimedOut(after) => Self::TimedOut(*after),
            Self::Miscounted { asked, answered } => {
                Self::Miscounted { asked: *asked, answered: *answered }
            }
            Self::Full { entries, bytes } => Self::Full { entries: *entries, bytes: *bytes },
            Self::Journal(error) => Self::Journal(Arc::clone(error)),
            Self::Closed => Self::Closed,
            Self::Recursive => Self::Recursive,
            Self::Unloaded(error) => Self::Unloaded(error.clone()),
        }
    }
}

/// Why a [flush](super::StoredCache::flush) has not written everything.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("of the writes before the flush, {failed} were given up and {left} still wait")]
pub struct FlushError {
    /// Writes that have become dead letters while it waited.
    pub failed: u64,
    /// Writes that are to be tried again later, where nobody but callers [drives](super::StoredCache::drive) the queue.
    pub left: usize,
}
