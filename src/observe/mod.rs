//! What the cache tells of itself: removals and statistics.

mod removal;
mod stats;

pub use removal::Cause;
pub use stats::Stats;
pub(crate) use stats::{Recorder, Tally};
