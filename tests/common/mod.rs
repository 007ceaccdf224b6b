//! The state machine over the whole cache: an alphabet of operations, a plain oracle, and a runner that does each operation
//! to both and compares. The property tests and the fuzzer share it.

pub(crate) mod ops;
mod oracle;
pub(crate) mod runner;
