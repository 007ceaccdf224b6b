//! The system of record behind a cache, and the ways to write to it: through, around and behind.
//!
//! ```text
//!   load ──► L1 ──► what waits in the queue ──► (L2) ──► store
//!
//!   through:  put ──► turn of the key ──► store ──► L2 ──► L1
//!   around:   put ──► turn of the key ──► store ──► L2 and L1 forget
//!   behind:   put ──► queue, L1 forgets ──► returns          later: store, a batch at once ──► L2 forgets
//! ```
//!
//! [`StoredCache`] is the face, [`Store`] what a store must be able to do, [`WriteBehind`] what there is to choose.
//!
//! Reading order: `contract`; `queue` (which knows no store, no thread and no clock) with `keyed` and `fate`; `turns`; `levels` (the caches, as this
//! module sees them), `record` (the store, as the loader sees it); `inner` (the ways of writing), `behind` and `driver`; last `build` and `stored`.

mod asker;
mod behind;
mod build;
mod contract;
mod driver;
mod error;
mod fate;
mod inner;
#[cfg(feature = "journal")]
mod journal;
#[cfg(feature = "journal")]
mod journaled;
mod keyed;
mod levels;
mod log;
mod memory;
mod options;
mod queue;
mod record;
mod stats;
mod stored;
mod turns;

pub use build::{BuildLevels, OneLevel, StoreBuilder};
pub use contract::{Answer, Applied, Change, Missing, Store};
pub use error::{FlushError, WriteError};
pub use fate::Receipt;
#[cfg(feature = "journal")]
#[cfg_attr(docsrs, doc(cfg(feature = "journal")))]
pub use journal::{Fsync, JournalError, JournalOptions, JournalStats, Torn};
#[cfg(feature = "journal")]
#[cfg_attr(docsrs, doc(cfg(feature = "journal")))]
pub use journaled::WriteJournal;
pub use levels::{Borrowed, Levels};
pub use memory::MemoryStore;
pub use options::{DeadLetter, Unwritten, WhenFull, WriteBehind};
pub use stats::{Latencies, WriteStats};
pub use stored::StoredCache;
