//! The system of record behind a cache, and the ways to write to it: through, around and behind.

#[cfg(feature = "journal")]
#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "whoever writes behind will open it")
)]
mod journal;

#[cfg(feature = "journal")]
#[cfg_attr(docsrs, doc(cfg(feature = "journal")))]
pub use journal::{Fsync, JournalError, JournalOptions};
