//! Single operations on one thread, `u64` to `u64`, for each policy, with and without a TTL.
//!
//! ```text
//! cargo bench --bench ops                      all of them, about a minute
//! cargo bench --bench ops -- lru/get           those whose name contains it
//! ```
//!
//! For other caches beside this one, and for several threads, see `benches/compare`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use cachette::Cache;
use cachette::policy::{EvictionPolicy, Fifo, Lfu, Lru};
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};

/// Entries in the cache: more than fits the second-level cache of a core, less than the third.
const RESIDENT: u64 = 64 << 10;

/// One cache to measure.
struct Setup {
    name: &'static str,
    policy: fn() -> Box<dyn EvictionPolicy>,
    ttl: Option<Duration>,
}

const HOUR: Option<Duration> = Some(Duration::from_secs(3600));

const SETUPS: [Setup; 6] = [
    Setup { name: "lru", policy: || Box::new(Lru::new()), ttl: None },
    Setup { name: "lru, ttl", policy: || Box::new(Lru::new()), ttl: HOUR },
    Setup { name: "lfu", policy: || Box::new(Lfu::new()), ttl: None },
    Setup { name: "lfu, ttl", policy: || Box::new(Lfu::new()), ttl: HOUR },
    Setup { name: "fifo", policy: || Box::new(Fifo::new()), ttl: None },
    Setup { name: "fifo, ttl", policy: || Box::new(Fifo::new()), ttl: HOUR },
];

impl Setup {
    fn empty(&self, capacity: u64) -> Cache<u64, u64> {
        let mut builder = Cache::builder().capacity(capacity).policy(self.policy);
        if let Some(ttl) = self.ttl {
            builder = builder.time_to_live(ttl);
        }
        builder.build().expect("the settings are legal")
    }

    /// Holds the keys of the first `RESIDENT` ranks.
    fn full(&self, capacity: u64) -> Cache<u64, u64> {
        let cache = self.empty(capacity);
        for rank in 0..RESIDENT {
            cache.put(key(rank), rank);
        }
        cache
    }
}

/// The key of a rank: an odd multiplier, so one to one, and near ranks are far apart as numbers.
fn key(rank: u64) -> u64 {
    rank.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Walks the resident keys, every one once in `RESIDENT` calls, never two neighbours in a row.
struct Walk(u64);

impl Walk {
    fn next(&mut self) -> u64 {
        self.0 += 40_503;
        key(self.0 % RESIDENT)
    }
}

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .configure_from_args();
    for setup in &SETUPS {
        let mut group = criterion.benchmark_group(setup.name);
        reads(&mut group, setup);
        writes(&mut group, setup);
        slices(&mut group, setup);
        group.finish();
    }
    criterion.final_summary();
}

/// Operations that change no more than what the policy remembers.
fn reads(group: &mut Group<'_>, setup: &Setup) {
    let cache = setup.full(RESIDENT * 5 / 4);
    let mut walk = Walk(0);
    group.bench_function("get hit", |bench| bench.iter(|| cache.get(&walk.next())));
    group.bench_function("get miss", |bench| bench.iter(|| cache.get(&!walk.next())));
    group.bench_function("get_with", |bench| {
        bench.iter(|| cache.get_with(&walk.next(), |value| value.wrapping_add(1)));
    });
    group.bench_function("peek", |bench| bench.iter(|| cache.peek(&walk.next())));
    group.bench_function("get_or_load hit", |bench| {
        bench.iter(|| cache.get_or_load(&walk.next(), |key| *key).ok());
    });
}

/// Operations that leave as many entries as there were.
fn writes(group: &mut Group<'_>, setup: &Setup) {
    let cache = setup.full(RESIDENT * 5 / 4);
    let mut walk = Walk(0);
    group.bench_function("put update", |bench| bench.iter(|| cache.put(walk.next(), 1)));
    let cache = setup.full(RESIDENT);
    let mut rank = RESIDENT;
    group.bench_function("put evicting", |bench| {
        bench.iter(|| {
            rank += 1;
            cache.put(key(rank), rank);
        });
    });
}

/// Operations that fill or empty the cache: in slices of `RESIDENT`, each with a cache made while the clock stands still.
fn slices(group: &mut Group<'_>, setup: &Setup) {
    group.bench_function("put new", |bench| {
        bench.iter_custom(|count| {
            sliced(count, || setup.empty(RESIDENT), |cache, rank| cache.put(key(rank), rank))
        });
    });
    group.bench_function("delete", |bench| {
        bench.iter_custom(|count| {
            let delete = |cache: &Cache<_, _>, rank| assert!(cache.delete(&key(rank)));
            sliced(count, || setup.full(RESIDENT * 5 / 4), delete)
        });
    });
}

/// The time of `count` calls of `operation`, with ranks from zero in each slice.
fn sliced(
    count: u64,
    make: impl Fn() -> Cache<u64, u64>,
    operation: impl Fn(&Cache<u64, u64>, u64),
) -> Duration {
    let mut total = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let slice = left.min(RESIDENT);
        let cache = make();
        let start = Instant::now();
        for rank in 0..slice {
            operation(&cache, black_box(rank));
        }
        total += start.elapsed();
        left -= slice;
    }
    total
}
