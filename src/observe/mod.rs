//! What the cache tells of itself: removals and statistics.

mod hot_keys;
mod removal;
mod stats;
mod tally;

pub use hot_keys::Hot;
pub(crate) use hot_keys::HotKeys;
pub use removal::Cause;
pub(crate) use stats::Recorder;
pub use stats::Stats;
pub(crate) use tally::Tally;
