//! Replays one trace through one cache: a policy at a capacity.
//!
//! Read-through, as a service would: look the key up, and put it on a miss. An item that the cache refuses (heavier than the
//! capacity, or no room under a policy that evicts nothing) is simply not kept.

use crate::trace::Trace;
use ahash::RandomState;
use cachette::policy::{Adaptive, Fifo, Lfu, Lru, NoEviction, Random, Sieve, WTinyLfu};
use cachette::{BuildError, Builder, Cache};
use std::time::{Duration, Instant};

type Build = Builder<u32, u64>;

/// A policy that can be named on the command line.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) name: &'static str,
    /// Whether its hits are a matter of arithmetic, and so can be checked against a reference to the hit.
    pub(crate) exact: bool,
    /// Gives a cache this policy; the number is a seed.
    choose: fn(Build, u64) -> Build,
}

/// Every policy. A new one is one line here.
pub(crate) const POLICIES: &[Policy] = &[
    Policy { name: "lru", exact: true, choose: |build, _| build.policy(Lru::new) },
    Policy { name: "lfu", exact: true, choose: |build, _| build.policy(Lfu::new) },
    Policy { name: "fifo", exact: true, choose: |build, _| build.policy(Fifo::new) },
    Policy { name: "sieve", exact: true, choose: |build, _| build.policy(Sieve::new) },
    // Exact, but for the hash and the sketch, which no reference shares.
    Policy { name: "wtinylfu", exact: false, choose: |build, _| build.policy(WTinyLfu::new) },
    Policy {
        name: "adaptive",
        exact: false,
        choose: |build, seed| build.policy(move || Adaptive::seeded(seed)),
    },
    Policy {
        name: "random",
        exact: false,
        choose: |build, seed| build.policy(move || Random::seeded(seed)),
    },
    Policy { name: "noeviction", exact: false, choose: |build, _| build.policy(NoEviction::new) },
];

/// The policy of this name.
pub(crate) fn policy(name: &str) -> Result<&'static Policy, String> {
    let legal = || POLICIES.iter().map(|policy| policy.name).collect::<Vec<_>>().join(", ");
    POLICIES
        .iter()
        .find(|policy| policy.name == name)
        .ok_or_else(|| format!("legal are {}", legal()))
}

/// What is the same for every cell of a run.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) segments: usize,
    pub(crate) seed: u64,
}

/// What one replay counted.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) trace: String,
    pub(crate) capacity: u64,
    pub(crate) policy: &'static str,
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    /// Bytes asked for, and of these the bytes of hits; none where ids have no sizes.
    pub(crate) bytes: Option<(u64, u64)>,
    /// The greatest weight that the cache had after a put.
    pub(crate) peak: u64,
    pub(crate) elapsed: Duration,
}

impl Cell {
    pub(crate) fn ratio(&self) -> f64 {
        self.hits as f64 / self.requests as f64
    }

    pub(crate) fn byte_ratio(&self) -> Option<f64> {
        let (asked, hit) = self.bytes?;
        Some(if asked == 0 { 0.0 } else { hit as f64 / asked as f64 })
    }

    /// Requests a second.
    pub(crate) fn throughput(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Replays `trace`. `progress` hears of the requests done, some ten thousand at a time.
///
/// # Errors
///
/// What [`Builder::build`](cachette::Builder::build) says of the capacity or the segments.
pub(crate) fn replay(
    trace: &Trace,
    policy: &Policy,
    capacity: u64,
    setting: Setting,
    mut progress: impl FnMut(u64),
) -> Result<Cell, BuildError> {
    let build = Cache::<u32, u64>::builder()
        .capacity(capacity)
        .weigher(|_, size| *size)
        .segments(setting.segments)
        .seed(setting.seed)
        // Seeded by hand, so that a run in several segments can be repeated.
        .hasher(RandomState::with_seed(setting.seed as usize));
    let cache = (policy.choose)(build, setting.seed).build()?;
    let size_of = |id: u32| trace.sizes.as_ref().map_or(1, |sizes| sizes[id as usize]);
    let (mut hits, mut byte_hits, mut peak) = (0, 0_u64, 0);
    let start = Instant::now();
    for some in trace.ids.chunks(1 << 15) {
        for &id in some {
            if let Some(size) = cache.get(&id) {
                hits += 1;
                byte_hits = byte_hits.saturating_add(size);
            } else {
                cache.put(id, size_of(id));
                peak = peak.max(cache.weight());
            }
        }
        progress(some.len() as u64);
    }
    let elapsed = start.elapsed();
    Ok(Cell {
        trace: trace.name.clone(),
        capacity,
        policy: policy.name,
        requests: trace.ids.len() as u64,
        hits,
        bytes: trace.bytes().map(|asked| (asked, byte_hits)),
        peak,
        elapsed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Requests;

    const ONE: Setting = Setting { segments: 1, seed: 1 };

    fn trace(requests: &[(u64, Option<u64>)]) -> Trace {
        let mut made = Requests::default();
        for &(key, size) in requests {
            made.push_key(key, size).expect("few keys");
        }
        made.finish("T".to_owned()).expect("not empty")
    }

    fn run(trace: &Trace, name: &str, capacity: u64) -> Cell {
        replay(trace, policy(name).expect("legal"), capacity, ONE, |_| {}).expect("builds")
    }

    /// Two places; h is a hit, a dot a miss.
    ///
    /// ```text
    ///         a b a c b a c c a
    ///   lru   . . h . . . . h h
    ///   lfu   . . h . . h . h h
    ///   fifo  . . h . h . h h h
    ///   sieve . . h . . . . h h
    /// ```
    #[test]
    fn a_hand_worked_trace() {
        let text = "abacbacca";
        let trace = trace(&text.bytes().map(|byte| (u64::from(byte), None)).collect::<Vec<_>>());
        // a b: misses; a: hit; c: miss, b leaves; b: miss, a leaves; a: miss, c leaves; c: miss, b leaves; c, a: hits.
        assert_eq!(run(&trace, "lru", 2).hits, 3);
        // a b: misses; a: hit (2); c: miss, b leaves; b: miss, c leaves; a: hit (3); c: miss, b leaves; c, a: hits.
        assert_eq!(run(&trace, "lfu", 2).hits, 4);
        // a b: misses; a: hit; c: miss, a leaves; b: hit; a: miss, b leaves; c, c, a: hits.
        assert_eq!(run(&trace, "fifo", 2).hits, 5);
        // a b: misses; a: hit, marked; c: miss, the hand takes the mark and b leaves; b: miss, a leaves; a: miss,
        // c leaves; c: miss, b leaves; c, a: hits.
        assert_eq!(run(&trace, "sieve", 2).hits, 3);
        // a b: misses and stay; a, b, a, a hit; c never fits.
        assert_eq!(run(&trace, "noeviction", 2).hits, 4);
        assert_eq!(run(&trace, "random", 3).hits, 6);
        assert_eq!((run(&trace, "lru", 2).peak, run(&trace, "lru", 5).peak), (2, 3));
    }

    #[test]
    fn sizes_are_weights_and_what_is_too_heavy_is_not_kept() {
        let trace = trace(&[
            (0, Some(4)),
            (1, Some(9)),
            (0, Some(4)),
            (1, Some(11)),
            (2, Some(6)),
            (0, Some(4)),
        ]);
        // Key 1 weighs 11, its last size, everywhere: it never fits into 10. Keys 0 and 2 do, together.
        let cell = run(&trace, "lru", 10);
        assert_eq!((cell.hits, cell.bytes, cell.peak), (2, Some((40, 8)), 10));
        assert_eq!(cell.byte_ratio(), Some(0.2));
        // 9 holds one of 0 and 2.
        let cell = run(&trace, "lru", 9);
        assert_eq!((cell.hits, cell.peak), (1, 6));
    }

    #[test]
    fn progress_hears_of_every_request() {
        let trace = trace(&(0..70_000).map(|i| (i % 10, None)).collect::<Vec<_>>());
        let mut done = 0;
        let cell = replay(&trace, &POLICIES[0], 10, ONE, |some| done += some).expect("builds");
        assert_eq!((done, cell.requests, cell.hits), (70_000, 70_000, 69_990));
    }

    #[test]
    fn an_unknown_policy_hears_which_are_legal() {
        let error = policy("mru").map(|_| ()).expect_err("unknown");
        assert!(POLICIES.iter().all(|policy| error.contains(policy.name)), "{error}");
    }
}
