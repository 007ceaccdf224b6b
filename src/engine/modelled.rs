//! What of the engine is model-checked: the parts that readers look at while a writer changes them. Each has its models in a
//! module of its own; all else needs locks alone, and is not compiled under `--cfg cachette_loom`.

// Writers and statistics that are not here use what looks unused.
#![expect(dead_code, reason = "its users are not part of a model")]

pub(crate) mod code;
pub(crate) mod column;
pub(crate) mod epoch;
pub(crate) mod index;
pub(crate) mod slab;
pub(crate) mod sys;
