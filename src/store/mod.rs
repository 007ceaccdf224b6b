//! The system of record behind a cache, and the ways to write to it: through, around and behind.

mod contract;
mod error;
mod fate;
mod keyed;
mod queue;
mod stats;

pub use contract::{Answer, Change, Missing, Store};
pub use error::WriteError;
pub use fate::Receipt;
pub use stats::{Latencies, WriteStats};
