//! What a hit costs through `get_or_load` and `load` beside `get`, where nothing is to be loaded.

use std::hint::black_box;
use std::time::{Duration, Instant};

use cachette::{Cache, Freshness, LoadingCache, Threads};

use crate::keys;

/// Entries of each cache.
const RESIDENT: u64 = 64 << 10;

/// Rounds of each cache; its two ways take turns within one.
pub const ROUNDS: usize = 31;

type Ours = LoadingCache<u64, u64, std::convert::Infallible>;
/// A way to load.
type Read = fn(&Ours, u64) -> Option<u64>;

/// One cache and one way to choose keys, read both ways.
pub struct Hit {
    pub name: &'static str,
    pub keys: &'static str,
    /// Nanoseconds, medians of the rounds.
    pub get: f64,
    pub load: f64,
    /// The median of the rounds' differences.
    pub more: f64,
}

pub fn measure(rounds: usize) -> Vec<Hit> {
    let hour = Freshness::new(Duration::from_secs(3_600));
    let given = |cache: &Ours, key| cache.get_or_load(&key, |key| *key).ok();
    let own = |cache: &Ours, key| cache.load(&key).ok();
    let caches: [(_, _, Read); 4] = [
        ("get_or_load", None, given),
        ("load, no freshness", None, own),
        ("load, a TTL", Some(hour), own),
        ("load, refresh ahead", Some(hour.refresh_ahead(0.8)), own),
    ];
    let length = 4 * RESIDENT as usize;
    let streams = [
        ("one", vec![keys::key(7); length]),
        ("Zipf", keys::zipf(RESIDENT, length, 7)),
        ("uniform", keys::uniform(RESIDENT, length, 7)),
    ];
    let mut hits = Vec::new();
    for (name, freshness, read) in caches {
        let cache = full(freshness);
        for (keys, stream) in &streams {
            let [get, load, more] = one(&cache, stream, rounds, read);
            hits.push(Hit { name, keys, get, load, more });
        }
    }
    hits
}

fn full(freshness: Option<Freshness>) -> Ours {
    let mut builder = Cache::builder().capacity(RESIDENT * 5 / 4);
    if let Some(freshness) = freshness {
        builder = builder.freshness(freshness);
    }
    let cache = builder.loader(|key: &u64| *key).spawn(Threads::new()).build();
    let cache = cache.expect("the settings are legal");
    keys::shuffled(RESIDENT).into_iter().for_each(|key| cache.put(key, key));
    cache
}

/// Nanoseconds of a get, of a load, and how much more that is.
fn one(cache: &Ours, keys: &[u64], rounds: usize, read: Read) -> [f64; 3] {
    let mut numbers = [const { Vec::new() }; 3];
    for round in 0..=rounds {
        let get = time(keys, |key| cache.get(&key));
        let load = time(keys, |key| read(cache, key));
        // The first warms the caches of the processor.
        if round > 0 {
            let [gets, loads, more] = &mut numbers;
            gets.push(get);
            loads.push(load);
            more.push(load - get);
        }
    }
    assert_eq!(cache.stats().loads, 0, "every key is resident");
    numbers.map(median)
}

/// Nanoseconds an operation.
fn time(keys: &[u64], mut read: impl FnMut(u64) -> Option<u64>) -> f64 {
    let start = Instant::now();
    for &key in keys {
        black_box(read(key));
    }
    start.elapsed().as_nanos() as f64 / keys.len() as f64
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}
