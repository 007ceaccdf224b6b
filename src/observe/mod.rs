//! What the cache tells of itself: removals and statistics.

mod removal;
mod stats;
mod tally;

pub use removal::Cause;
pub(crate) use stats::Recorder;
pub use stats::Stats;
pub(crate) use tally::Tally;
