//! What a hit costs in the first of two levels, beside one of a plain cache and one of a cache that loads.

use std::convert::Infallible;
use std::hint::black_box;
use std::time::{Duration, Instant};

use cachette::tier::{Codec, CodecError, MemoryRemote, TieredCache};
use cachette::{Cache, Freshness, LoadingCache, Threads};

use crate::keys;
use crate::machine;
use crate::table::Table;

/// Entries of each cache.
const RESIDENT: u64 = 64 << 10;

/// What a hit of two levels may cost more, in nanoseconds.
const MORE: f64 = 5.0;

const HOUR: Duration = Duration::from_secs(3_600);

/// What a hit costs in the first of two levels, beside other hits
#[derive(clap::Args)]
pub struct Args {
    /// Rounds; all ways take turns within one
    #[arg(long, default_value_t = 31, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Print the tables of the README
    #[arg(long)]
    markdown: bool,
}

/// Eight bytes.
struct Bytes;

impl Codec<u64> for Bytes {
    fn id(&self) -> u8 {
        128
    }

    fn encode(&self, value: &u64, into: &mut Vec<u8>) -> Result<(), CodecError> {
        into.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<u64, CodecError> {
        bytes.try_into().map(u64::from_le_bytes).map_err(CodecError::new)
    }
}

/// All that are compared, with the same entries.
struct Caches {
    plain: Cache<u64, u64>,
    loading: LoadingCache<u64, u64, Infallible>,
    expiring: LoadingCache<u64, u64, Infallible>,
    tiered: TieredCache<u64, u64, Infallible>,
    expiring_tiered: TieredCache<u64, u64, Infallible>,
}

const NAMES: [&str; 6] = [
    "Cache::get",
    "LoadingCache::load",
    "LoadingCache::load, a TTL",
    "TieredCache::get",
    "TieredCache::load",
    "TieredCache::load, a TTL",
];

/// Which of the above a floor compares.
const FLOORS: [(usize, usize); 4] = [(3, 0), (4, 0), (4, 1), (5, 2)];

/// Prints what `args` ask for.
pub fn run(args: &Args) -> Result<(), String> {
    let caches = full()?;
    let show: fn(&Table) -> String = if args.markdown { Table::markdown } else { Table::text };
    let mut costs = Table::new(["a hit, ns", "one key", "Zipf", "uniform"]);
    let mut floors = Table::new(["floor", "measured", "verdict"]);
    let length = 4 * RESIDENT as usize;
    let streams = [
        ("one key", vec![keys::key(7); length]),
        ("Zipf", keys::zipf(RESIDENT, length, 7)),
        ("uniform", keys::uniform(RESIDENT, length, 7)),
    ];
    let mut columns = Vec::new();
    for (name, stream) in &streams {
        let rounds = rounds(&caches, stream, args.rounds);
        for (this, that) in FLOORS {
            let more = median(rounds.iter().map(|round| round[this] - round[that]).collect());
            floors.line([
                format!(
                    "{name}: {} costs at most {MORE} ns more than {}",
                    NAMES[this], NAMES[that]
                ),
                format!("{more:.1} ns"),
                if more <= MORE { "met" } else { "missed" }.to_owned(),
            ]);
        }
        columns.push(rounds);
    }
    for (way, name) in NAMES.iter().enumerate() {
        let cost = |rounds: &Vec<[f64; 6]>| median(rounds.iter().map(|round| round[way]).collect());
        let cells = columns.iter().map(|rounds| format!("{:.1}", cost(rounds)));
        costs.line(std::iter::once((*name).to_owned()).chain(cells));
    }
    println!(
        "Measured on {}, where {}. 65,536 entries, one thread; medians of {} rounds.\n",
        machine::line(),
        machine::busy(),
        args.rounds
    );
    println!(
        "{}\nThe floors, by the medians of the rounds' differences:\n\n{}",
        show(&costs),
        show(&floors)
    );
    let tiered = [&caches.tiered, &caches.expiring_tiered].map(|cache| cache.stats().local.misses);
    if tiered == [0, 0] { Ok(()) } else { Err(format!("not all were hits: {tiered:?} misses")) }
}

fn full() -> Result<Caches, String> {
    let capacity = RESIDENT * 5 / 4;
    let plain = || Cache::<u64, u64>::builder().capacity(capacity);
    let fresh = || plain().freshness(Freshness::new(HOUR));
    let load = |key: &u64| *key;
    let text = |error: cachette::BuildError| error.to_string();
    let caches = Caches {
        plain: plain().build().map_err(text)?,
        loading: plain().loader(load).build().map_err(text)?,
        expiring: fresh().loader(load).build().map_err(text)?,
        tiered: plain()
            .loader(load)
            .spawn(Threads::new())
            .remote(MemoryRemote::new(), Bytes)
            .namespace("hits")
            .remote_ttl(HOUR)
            .build()
            .map_err(text)?,
        expiring_tiered: fresh()
            .loader(load)
            .spawn(Threads::new())
            .remote(MemoryRemote::new(), Bytes)
            .namespace("hits")
            .remote_ttl(HOUR)
            .build()
            .map_err(text)?,
    };
    let tiered = [&caches.tiered, &caches.expiring_tiered];
    while tiered.iter().any(|cache| cache.mode().is_none()) {
        std::thread::sleep(Duration::from_millis(10));
    }
    // L1 is emptied once, when the line is there.
    std::thread::sleep(Duration::from_millis(500));
    for key in keys::shuffled(RESIDENT) {
        caches.plain.put(key, key);
        caches.loading.put(key, key);
        caches.expiring.put(key, key);
        for cache in tiered {
            let _ = cache.put(key, key);
        }
    }
    // What was heard of the own writes is settled by the keeper.
    std::thread::sleep(Duration::from_secs(2));
    Ok(caches)
}

/// What each way cost in each round, in nanoseconds.
fn rounds(caches: &Caches, keys: &[u64], rounds: u32) -> Vec<[f64; 6]> {
    let round = |_| {
        [
            time(keys, |key| caches.plain.get(&key)),
            time(keys, |key| caches.loading.load(&key).ok()),
            time(keys, |key| caches.expiring.load(&key).ok()),
            time(keys, |key| caches.tiered.get(&key)),
            time(keys, |key| caches.tiered.load(&key).ok()),
            time(keys, |key| caches.expiring_tiered.load(&key).ok()),
        ]
    };
    // The first warms the caches of the processor.
    (0..=rounds).map(round).skip(1).collect()
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
