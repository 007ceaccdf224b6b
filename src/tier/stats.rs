//! Statistics of the second level.

use crate::observe::Stats;
use crate::sync::{AtomicU64, Ordering};
use std::ops::Sub;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a cache of two levels has done since it was built. Differences of two are those of the time between.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct TierStats {
            /// The local level. A hit there that may not be served counts as one all the same.
            pub local: Stats,
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Default)]
        pub(super) struct Counts {
            $($name: AtomicU64,)*
        }

        impl Counts {
            $(pub(super) fn $name(&self) {
                self.$name.fetch_add(1, Ordering::Relaxed);
            })*

            pub(super) fn with(&self, local: Stats) -> TierStats {
                TierStats { local, $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }

        impl Sub for TierStats {
            type Output = Self;

            fn sub(self, earlier: Self) -> Self {
                Self {
                    local: self.local - earlier.local,
                    $($name: self.$name.saturating_sub(earlier.$name),)*
                }
            }
        }
    };
}

counts! {
    /// Values that the remote had.
    remote_hits,
    /// Those of them that a replica had.
    replica_hits,
    /// Questions to a replica that it did not answer, or that it answered too late: it failed, lags too much, or lacks what this process
    /// has seen of the key.
    replica_misses,
    /// Leases that were granted: loads that no other process does.
    leases,
    /// Times that another process held the lease.
    waits,
    /// Loads without a lease: the remote failed, or was not to be believed, or another's lease lasted too long.
    alone,
    /// Values that came too late to be written.
    rejected,
    /// Values that could not be read.
    unreadable,
    /// Changes that were told of.
    changes,
    /// Times that the local level was emptied, since changes may have been missed.
    emptied,
    /// Deletions that had to be made up for.
    undelivered,
}
