//! The whole cache against its oracle, operation by operation.

mod common;

use common::ops::{Bytes, Config, Op, Policy, script};
use common::runner::run;
use proptest::prelude::*;

/// Bytes enough for an operation, and for those inside it.
fn bytes() -> impl Strategy<Value = [u8; 32]> {
    (any::<u128>(), any::<u128>()).prop_map(|(first, second)| {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&first.to_le_bytes());
        bytes[16..].copy_from_slice(&second.to_le_bytes());
        bytes
    })
}

fn cases(config: impl Fn(&mut Bytes<'_>) -> Config) -> impl Strategy<Value = (Config, Vec<Op>)> {
    // Mapped at the end, not drawn one from the other: so it shrinks well.
    (bytes(), prop::collection::vec(bytes(), 1..200)).prop_map(move |(first, rest)| {
        let config = config(&mut Bytes::new(&first));
        let ops = rest.iter().map(|bytes| Op::decode(&config, &mut Bytes::new(bytes))).collect();
        (config, ops)
    })
}

fn exact(policy: Policy) -> impl Strategy<Value = (Config, Vec<Op>)> {
    cases(move |bytes| Config::exact(policy, bytes))
}

/// As many cases as `PROPTEST_CASES` says, or a thousand.
fn settings() -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { 1000 };
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 20_000, ..default }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn lru_does_what_the_oracle_does((config, ops) in exact(Policy::Lru)) {
        run(&config, ops);
    }

    #[test]
    fn lfu_does_what_the_oracle_does((config, ops) in exact(Policy::Lfu)) {
        run(&config, ops);
    }

    #[test]
    fn fifo_does_what_the_oracle_does((config, ops) in exact(Policy::Fifo)) {
        run(&config, ops);
    }

    #[test]
    fn no_eviction_does_what_the_oracle_does((config, ops) in exact(Policy::NoEviction)) {
        run(&config, ops);
    }

    #[test]
    fn whatever_several_segments_do_they_may((config, ops) in cases(Config::loose)) {
        run(&config, ops);
    }

    /// What the fuzzer does, without its guidance.
    #[test]
    fn any_bytes_are_a_script(bytes in prop::collection::vec(any::<u8>(), 0..1000)) {
        let (config, ops) = script(&bytes);
        run(&config, ops);
    }
}
