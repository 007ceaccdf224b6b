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
    Stale,
    Refreshes,
    RefreshFailures,
    EvictedWeight,
    ListenerPanics,
    DropPanics,
    PolicyPanics,
    Removed(Cause),
}

impl Tally {
    /// Where the causes begin in a cell.
    pub(super) const REMOVED: usize = 12;
    /// Numbers a cell. The first sixteen, among them all that reads count, share the two neighbouring cache lines that come together.
    pub(super) const COUNT: usize = Self::REMOVED + Cause::ALL.len();

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Hits => 0,
            Self::Misses => 1,
            Self::Loads => 2,
            Self::LoadFailures => 3,
            Self::LoadNanos => 4,
            Self::Stale => 5,
            Self::Refreshes => 6,
            Self::RefreshFailures => 7,
            Self::EvictedWeight => 8,
            Self::ListenerPanics => 9,
            Self::DropPanics => 10,
            Self::PolicyPanics => 11,
            Self::Removed(cause) => Self::REMOVED + cause as usize,
        }
    }
}
