//! Replays one trace through one cache: a policy at a capacity.
//!
//! Read-through, as a service would: look the key up, and put it on a miss. An item that the cache refuses (heavier than the
//! capacity, or no room under a policy that evicts nothing) is simply not kept.

use crate::trace::{Phase, Trace, slices};
use ahash::RandomState;
use cachette::policy::{
    Adaptive, AdaptiveReplacement, Clock, Fifo, Lfu, Lirs, Lru, Random, RedisPolicy, S3Fifo,
    SampledLfu, SampledLru, Sieve, Slru, TwoQ, WTinyLfu,
};
use cachette::{BuildError, Builder, Cache, ManualClock};
use std::ops::Range;
use std::time::{Duration, Instant};

type Build = Builder<u32, u64>;

/// How far a policy's hits may be from a reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Check {
    /// They are drawn at random, or it evicts nothing: there is nothing to compare.
    None,
    /// They are a matter of arithmetic: to the hit.
    Exact,
}

/// A policy that can be named on the command line.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) name: &'static str,
    /// How its hits can be checked against a reference.
    pub(crate) check: Check,
    /// Gives a cache this policy; the number is a seed.
    choose: fn(Build, u64) -> Build,
}

/// One of Redis's policies, by its name there.
macro_rules! redis {
    ($name:literal, $policy:ident, $check:expr) => {
        Policy {
            name: $name,
            check: $check,
            choose: |build, _| build.policy(|| RedisPolicy::$policy.build()),
        }
    };
}

/// Every policy. A new one is one line here.
pub(crate) const POLICIES: &[Policy] = &[
    Policy { name: "lru", check: Check::Exact, choose: |build, _| build.policy(Lru::new) },
    Policy { name: "lfu", check: Check::Exact, choose: |build, _| build.policy(Lfu::new) },
    Policy { name: "fifo", check: Check::Exact, choose: |build, _| build.policy(Fifo::new) },
    Policy { name: "sieve", check: Check::Exact, choose: |build, _| build.policy(Sieve::new) },
    Policy { name: "clock", check: Check::Exact, choose: |build, _| build.policy(Clock::new) },
    Policy { name: "s3-fifo", check: Check::Exact, choose: |build, _| build.policy(S3Fifo::new) },
    Policy { name: "slru", check: Check::Exact, choose: |build, _| build.policy(Slru::new) },
    Policy { name: "2q", check: Check::Exact, choose: |build, _| build.policy(TwoQ::new) },
    Policy {
        name: "arc",
        check: Check::Exact,
        choose: |build, _| build.policy(AdaptiveReplacement::new),
    },
    Policy { name: "lirs", check: Check::Exact, choose: |build, _| build.policy(Lirs::new) },
    // Exact, but for the hash and the sketch, which no reference shares.
    Policy { name: "wtinylfu", check: Check::None, choose: |build, _| build.policy(WTinyLfu::new) },
    Policy {
        name: "adaptive",
        check: Check::None,
        choose: |build, seed| build.policy(move || Adaptive::seeded(seed)),
    },
    Policy {
        name: "random",
        check: Check::None,
        choose: |build, seed| build.policy(move || Random::seeded(seed)),
    },
    Policy {
        name: "sampled-lru",
        check: Check::None,
        choose: |build, seed| build.policy(move || SampledLru::seeded(seed)),
    },
    Policy {
        name: "sampled-lfu",
        check: Check::None,
        choose: |build, seed| build.policy(move || SampledLfu::seeded(seed)),
    },
    redis!("noeviction", NoEviction, Check::None),
    redis!("allkeys-lru", AllkeysLru, Check::Exact),
    redis!("allkeys-lfu", AllkeysLfu, Check::Exact),
    redis!("allkeys-random", AllkeysRandom, Check::None),
    redis!("volatile-lru", VolatileLru, Check::Exact),
    redis!("volatile-lfu", VolatileLfu, Check::Exact),
    redis!("volatile-random", VolatileRandom, Check::None),
    redis!("volatile-ttl", VolatileTtl, Check::Exact),
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
    /// Requests a second of the cache's clock.
    pub(crate) rate: u32,
    /// How long an item lives, by that clock.
    pub(crate) ttl: Option<Duration>,
    /// Slices of the requests to count the hits of; 1 for no more than their number.
    pub(crate) slices: usize,
}

/// What one replay counted.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) trace: String,
    pub(crate) capacity: u64,
    pub(crate) policy: &'static str,
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    /// The hits of each slice of the requests.
    pub(crate) over_time: Vec<u64>,
    /// Those of the trace.
    pub(crate) phases: Vec<Phase>,
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

    /// The number of the first request of a slice, or of all if it is the one past the last.
    pub(crate) fn start(&self, slice: usize) -> u64 {
        self.requests * slice as u64 / self.over_time.len() as u64
    }

    /// The hit ratio of some slices that follow each other, at least one.
    pub(crate) fn ratio_of(&self, slices: Range<usize>) -> f64 {
        let requests = self.start(slices.end) - self.start(slices.start);
        self.over_time[slices].iter().sum::<u64>() as f64 / requests as f64
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
    let (cache, clock) = build(policy, capacity, setting)?;
    let size_of = |id: u32| trace.sizes.as_ref().map_or(1, |sizes| sizes[id as usize]);
    let (mut byte_hits, mut peak) = (0_u64, 0);
    let step = Duration::from_secs(1) / setting.rate;
    let start = Instant::now();
    let mut slice_hits = |slice: &[u32]| {
        let mut hits = 0;
        for some in slice.chunks(1 << 15) {
            for &id in some {
                if let Some(size) = cache.get(&id) {
                    hits += 1;
                    byte_hits = byte_hits.saturating_add(size);
                } else {
                    cache.put(id, size_of(id));
                    peak = peak.max(cache.weight());
                }
                clock.advance(step);
            }
            progress(some.len() as u64);
        }
        hits
    };
    let over_time: Vec<u64> = slices(&trace.ids, setting.slices).map(&mut slice_hits).collect();
    let elapsed = start.elapsed();
    Ok(Cell {
        trace: trace.name.clone(),
        capacity,
        policy: policy.name,
        requests: trace.ids.len() as u64,
        hits: over_time.iter().sum(),
        over_time,
        phases: trace.phases.clone(),
        bytes: trace.bytes().map(|asked| (asked, byte_hits)),
        peak,
        elapsed,
    })
}

/// A cache, and the clock that it goes by.
fn build(
    policy: &Policy,
    capacity: u64,
    setting: Setting,
) -> Result<(Cache<u32, u64, RandomState>, ManualClock), BuildError> {
    let clock = ManualClock::new();
    let build = Cache::<u32, u64>::builder()
        .clock(clock.clone())
        .time_to_live(setting.ttl.unwrap_or(Duration::MAX))
        .capacity(capacity)
        .weigher(|_, size| *size)
        .segments(setting.segments)
        .seed(setting.seed)
        // Seeded by hand, so that policies with a sketch, and runs in several segments, can be repeated. `with_seed` would not
        // do: it mixes in what each process draws anew.
        .hasher(RandomState::with_seeds(setting.seed, 1, 2, 3));
    Ok(((policy.choose)(build, setting.seed).build()?, clock))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Requests;

    const ONE: Setting = Setting { segments: 1, seed: 1, rate: 1_000, ttl: None, slices: 1 };

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
    ///            a b a c b a c c a
    ///   lru      . . h . . . . h h
    ///   lfu      . . h . . h . h h
    ///   fifo     . . h . h . h h h
    ///   sieve    . . h . . . . h h
    ///   clock    . . h . . . . h h
    ///   s3-fifo  . . h . h . h h h
    ///   slru     . . h . . h . h h
    ///   2q       . . h . h . h h h
    ///   arc      . . h . . . . h h
    ///   lirs     . . h . . h . h h
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
        // a b: misses; a: hit, marked; c: miss, a goes round and b leaves; b: miss, a leaves; a: miss, c leaves; c: miss, b
        // leaves; c, a: hits.
        assert_eq!(run(&trace, "clock", 2).hits, 3);
        // a b: misses, in small; a: hit; c: miss, a leaves for one hit is not enough; b: hit; a: miss, into main, b leaves;
        // c, c, a: hits.
        assert_eq!(run(&trace, "s3-fifo", 2).hits, 5);
        // a b: misses; a: hit, protected; c: miss, b leaves; b: miss, c leaves; a: hit; c: miss, b leaves; c, a: hits.
        assert_eq!(run(&trace, "slru", 2).hits, 4);
        // a b: misses, in A1in; a: hit; c: miss, a leaves; b: hit; a: miss, into Am, b leaves; c, c, a: hits.
        assert_eq!(run(&trace, "2q", 2).hits, 5);
        // a b: misses; a: hit, into T2; c: miss, b leaves T1; b: miss, p is 1 and a leaves T2; a: miss, p is 0 and c leaves
        // T1; c: miss, b leaves T2; c, a: hits.
        assert_eq!(run(&trace, "arc", 2).hits, 3);
        // a: miss, LIR; b: miss, HIR; a: hit; c: miss, b leaves; b: miss, c leaves; a: hit; c: miss, for a was used after
        // c had left, b leaves; c: hit, LIR in place of a; a: hit.
        assert_eq!(run(&trace, "lirs", 2).hits, 4);
        // a b: misses and stay; a, b, a, a hit; c never fits.
        assert_eq!(run(&trace, "noeviction", 2).hits, 4);
        assert_eq!(run(&trace, "random", 3).hits, 6);
        assert_eq!((run(&trace, "lru", 2).peak, run(&trace, "lru", 5).peak), (2, 3));
    }

    #[test]
    fn the_clock_goes_with_the_requests() {
        let requests: Vec<_> = (0..10_000).map(|i| (i % 100, None)).collect();
        let hits = |name, rate, ttl| {
            let setting = Setting { rate, ttl, ..ONE };
            let policy = policy(name).expect("legal");
            replay(&trace(&requests), policy, 50, setting, |_| {}).expect("builds").hits
        };
        assert_eq!(hits("allkeys-lru", 1_000, None), 0);
        // Half of the keys stay for good, or for as long as they live: 100 requests a second.
        assert_eq!(hits("volatile-lru", 100, None), 50 * 99);
        assert_eq!(hits("volatile-ttl", 100, Some(Duration::from_secs(1_000))), 0);
        assert!((1..5_000).contains(&hits("noeviction", 100, Some(Duration::from_secs(3)))));
        // A clock that stands still tells sampled LRU nothing; one that goes makes it LRU.
        assert!(
            hits("sampled-lru", u32::MAX, None) > 1_000 && hits("sampled-lru", 1, None) < 1_000
        );
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
    fn a_slice_has_the_hits_of_its_requests() {
        // Misses at 0, 4 and 5: ids 0 and 1 fit, 2 comes once.
        let trace = trace(&[0, 0, 0, 0, 1, 2, 1].map(|key| (key, None)));
        let hits = |slices| {
            let setting = Setting { slices, ..ONE };
            replay(&trace, &POLICIES[0], 2, setting, |_| {}).expect("builds")
        };
        assert_eq!(hits(1).over_time, [4]);
        let three = hits(3);
        assert_eq!((three.over_time.clone(), three.hits), (vec![1, 2, 1], 4));
        assert_eq!([0, 1, 2, 3].map(|slice| three.start(slice)), [0, 2, 4, 7]);
        assert_eq!([0..1, 1..2, 0..3].map(|slices| three.ratio_of(slices)), [0.5, 1.0, 4.0 / 7.0]);
        assert_eq!(hits(7).over_time, [0, 1, 1, 1, 0, 0, 1]);
    }

    #[test]
    fn an_unknown_policy_hears_which_are_legal() {
        let error = policy("mru").map(|_| ()).expect_err("unknown");
        assert!(POLICIES.iter().all(|policy| error.contains(policy.name)), "{error}");
    }
}
