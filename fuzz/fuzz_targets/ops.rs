//! The state machine of `tests/model.rs`, driven by a fuzzer: any bytes are a cache and a list of operations.

#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;

use common::ops::{Config, Op, script};
use common::runner::run;
use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;

/// What `cargo fuzz fmt` prints of an input.
#[derive(Debug)]
struct Script {
    config: Config,
    ops: Vec<Op>,
}

impl Arbitrary<'_> for Script {
    fn arbitrary(bytes: &mut Unstructured<'_>) -> Result<Self> {
        let (config, ops) = script(bytes.bytes(bytes.len())?);
        Ok(Self { config, ops })
    }
}

fuzz_target!(|script: Script| run(&script.config, script.ops));
