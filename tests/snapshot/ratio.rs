//! A restored cache has the hits that it would have had, had it never stopped.

use crate::rng::Rng;
use cachette::Cache;
use cachette::policy::{self, EvictionPolicy};
use cachette::snapshot::Snapshot;
use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::sync::{Arc, Mutex};

/// A policy by its name.
type Make = fn() -> Box<dyn EvictionPolicy>;

const POLICIES: &[(&str, Make)] = &[
    ("lru", || Box::new(policy::Lru::new())),
    ("lfu", || Box::new(policy::Lfu::new())),
    ("fifo", || Box::new(policy::Fifo::new())),
    ("clock", || Box::new(policy::Clock::new())),
    ("sieve", || Box::new(policy::Sieve::new())),
    ("s3-fifo", || Box::new(policy::S3Fifo::new())),
    ("slru", || Box::new(policy::Slru::new())),
    ("2q", || Box::new(policy::TwoQ::new())),
    ("arc", || Box::new(policy::AdaptiveReplacement::new())),
    ("lirs", || Box::new(policy::Lirs::new())),
    ("w-tinylfu", || Box::new(policy::WTinyLfu::new())),
    ("adaptive", || Box::new(policy::Adaptive::seeded(7))),
    ("random", || Box::new(policy::Random::seeded(7))),
    ("sampled-lru", || Box::new(policy::SampledLru::seeded(7))),
    ("sampled-lfu", || Box::new(policy::SampledLfu::seeded(7))),
];

/// Hashes by a seed, so that every run is the same, and no two caches hash alike.
struct Seeded(u64);

impl BuildHasher for Seeded {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

type Ints = Cache<u64, u64, Seeded>;

fn cache(make: Make, capacity: u64, segments: usize, seed: u64) -> Ints {
    let builder = Cache::builder().capacity(capacity).segments(segments).policy(make);
    builder.hasher(Seeded(seed)).build().unwrap()
}

/// The hits of these requests.
fn ask(cache: &Ints, keys: &[u64]) -> usize {
    let hit = |&&key: &&u64| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.put(key, key);
        }
        hit
    };
    keys.iter().filter(hit).count()
}

/// Popular keys, as in the web: the key of rank `n` is asked for in proportion to `n` to the -0.9.
fn zipf(keys: usize, requests: usize) -> Vec<u64> {
    let mut sum = 0.0;
    let cumulative: Vec<f64> = (1..=keys)
        .map(|rank| {
            sum += (rank as f64).powf(-0.9);
            sum
        })
        .collect();
    let mut random = Rng::new(3);
    let mut draw = || {
        let at = random.below(1 << 53) as f64 / (1_u64 << 53) as f64 * sum;
        cumulative.partition_point(|&up_to| up_to < at) as u64
    };
    (0..requests).map(|_| draw()).collect()
}

/// How many hits in a hundred a cache has, in all requests up to each of these numbers.
fn percents<const N: usize>(cache: &Ints, keys: &[u64], upto: [usize; N]) -> [f64; N] {
    let (mut from, mut hits) = (0, 0);
    upto.map(|upto| {
        let upto = upto.min(keys.len());
        hits += ask(cache, &keys[from..upto]);
        from = upto;
        hits as f64 * 100.0 / upto as f64
    })
}

/// A cache is saved after half of the requests, and restored in another number of segments: by how many points of the others it hits
/// less than the one that went on; or than one of its own shape that had all requests from the first on, if that is less.
fn losses<const N: usize>(
    make: Make,
    keys: &[u64],
    capacity: u64,
    segments: [usize; 2],
    upto: [usize; N],
) -> [f64; N] {
    let (before, rest) = keys.split_at(keys.len() / 2);
    let first = cache(make, capacity, segments[0], 1);
    ask(&first, before);
    let mut bytes = Vec::new();
    Snapshot::new().save_to(&first, &mut bytes).unwrap();
    let again = cache(make, capacity, segments[1], 2);
    Snapshot::new().restore_from(&again, &*bytes).unwrap();
    let whole = cache(make, capacity, segments[1], 2);
    ask(&whole, before);
    let [again, first, whole] = [again, first, whole].map(|cache| percents(&cache, rest, upto));
    std::array::from_fn(|at| first[at].min(whole[at]) - again[at])
}

#[test]
fn it_hits_as_often_as_if_it_had_never_stopped() {
    let keys = zipf(20_000, 80_000);
    for (name, make) in POLICIES {
        for segments in [[1, 1], [4, 4], [1, 4], [4, 1]] {
            // What a LIRS cache hits depends on how its keys are divided, by more than a point, stopped or not.
            if *name == "lirs" && segments[0] != segments[1] {
                continue;
            }
            let losses = losses(*make, &keys, 2_000, segments, [10_000, 40_000]);
            assert!(losses.iter().all(|&loss| loss < 1.0), "{name}, {segments:?}: {losses:.2?}");
        }
    }
}

/// Without what policies know beside the order it would not.
#[test]
fn the_requests_are_such_that_the_order_alone_would_not_do() {
    let keys = zipf(20_000, 80_000);
    let (before, rest) = keys.split_at(40_000);
    for (name, make) in POLICIES.iter().filter(|it| ["sieve", "s3-fifo", "lfu"].contains(&it.0)) {
        let first = cache(*make, 2_000, 1, 1);
        ask(&first, before);
        let mut bytes = Vec::new();
        Snapshot::new().save_to(&first, &mut bytes).unwrap();
        // FIFO gives up in the order in which entries come, so it tells the order of the snapshot.
        let log = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&log);
        let order = Cache::builder()
            .capacity(2_000)
            .segments(1)
            .policy(policy::Fifo::new)
            .removal_listener(move |key: &u64, _: &u64, _| heard.lock().unwrap().push(*key))
            .build()
            .unwrap();
        Snapshot::new().restore_from(&order, &*bytes).unwrap();
        order.set_capacity(0).unwrap();
        let again = cache(*make, 2_000, 1, 2);
        log.lock().unwrap().iter().for_each(|&key| again.put(key, key));
        let [[there], [here]] = [first, again].map(|cache| percents(&cache, rest, [10_000]));
        assert!(there - here > 0.5, "{name}: {there:.2} and {here:.2}");
    }
}

/// The same on what was really asked for, where these requests are: they are not part of the package.
#[cfg(not(cachette_lean))]
#[test]
fn it_does_so_on_traces_of_real_requests() {
    let traces = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traces");
    if !traces.exists() {
        println!("SKIP hit ratios after a restart on real traces: there are none");
        return;
    }
    for (trace, capacity) in [("OLTP", 2_000), ("sprite", 600), ("web07", 1_024)] {
        let file = std::fs::File::open(traces.join(format!("{trace}.u32.zst"))).unwrap();
        let mut bytes = Vec::new();
        let mut stream = ruzstd::decoding::StreamingDecoder::new(file).unwrap();
        std::io::Read::read_to_end(&mut stream, &mut bytes).unwrap();
        let ids = bytes.chunks_exact(4).map(|id| u32::from_le_bytes(id.try_into().unwrap()));
        let keys: Vec<u64> = ids.map(u64::from).collect();
        for (name, make) in POLICIES {
            let [loss] = losses(*make, &keys, capacity, [1, 1], [usize::MAX]);
            assert!(loss < 1.0, "{name} on {trace}: {loss:.2}");
        }
    }
}
