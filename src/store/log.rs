//! Where accepted changes are noted before they are in the queue, so that a crash does not lose them.

use crate::sync::Arc;
use std::error::Error;
use std::time::Duration;

/// Why a change could not be noted.
pub(super) type Unnoted = Arc<dyn Error + Send + Sync>;

/// A journal of changes.
pub(super) trait Log<K, V>: Send + Sync {
    /// Notes a change, and says under which number. It may wait for the disk.
    fn append(&self, key: &K, value: Option<&V>) -> Result<u64, Unnoted>;

    /// These need not be made again: in this order, for a later one may stand for those before it.
    fn settle(&self, numbers: &[u64]);

    /// In what time what was noted is to be brought to the disk, if it waits for that.
    fn due(&self) -> Option<Duration>;

    fn sync(&self);

    #[cfg(feature = "journal")]
    fn stats(&self) -> super::JournalStats;
}

/// A change that is noted, and not yet in the queue. Dropped, it is not to be made.
pub(super) struct Noted<K, V> {
    log: Arc<dyn Log<K, V>>,
    number: u64,
}

impl<K, V> Noted<K, V> {
    pub(super) fn new(
        log: Arc<dyn Log<K, V>>,
        key: &K,
        value: Option<&V>,
    ) -> Result<Self, Unnoted> {
        let number = log.append(key, value)?;
        Ok(Self { log, number })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The queue has it.
    pub(super) fn keep(mut self) {
        self.number = 0;
    }
}

impl<K, V> Drop for Noted<K, V> {
    fn drop(&mut self) {
        if self.number != 0 {
            self.log.settle(&[self.number]);
        }
    }
}
