//! What statistics count.

use super::Cause;

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Tally {
    Hits,
    Misses,
    Loads,
    LoadFailures,
    LoadNanos,
    EvictedWeight,
    ListenerPanics,
    DropPanics,
    PolicyPanics,
    Removed(Cause),
}

impl Tally {
    /// Where the causes begin in a cell.
    pub(super) const REMOVED: usize = 9;
    /// Numbers a cell: 16, which is just the 128 bytes that two neighbouring cache lines have.
    pub(super) const COUNT: usize = Self::REMOVED + Cause::ALL.len();

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Hits => 0,
            Self::Misses => 1,
            Self::Loads => 2,
            Self::LoadFailures => 3,
            Self::LoadNanos => 4,
            Self::EvictedWeight => 5,
            Self::ListenerPanics => 6,
            Self::DropPanics => 7,
            Self::PolicyPanics => 8,
            Self::Removed(cause) => Self::REMOVED + cause as usize,
        }
    }
}
