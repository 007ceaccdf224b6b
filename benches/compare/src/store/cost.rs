//! What a put costs by itself: of a key that waits to be written, beside one of a plain cache.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use cachette::store::{StoredCache, WriteBehind};
use cachette::{BuildError, Cache, Threads};

use super::stalled::Stalled;
use super::{Floors, median};
use crate::keys;
use crate::table::Table;

/// What a put that is coalesced may cost, in puts of a plain cache.
const TIMES: f64 = 1.5;

/// Keys that are put again and again.
const KEYS: u64 = 16;

/// Puts of each thread in a round.
const PUTS: usize = 200_000;

const ROUNDS: usize = 31;

pub fn table(floors: &mut Floors) -> Result<Table, String> {
    let mut table = Table::new(["values, threads", "Cache::put", "StoredCache::put", "ratio"]);
    line(&mut table, floors, "8 bytes", 7_u64)?;
    line(&mut table, floors, "100 bytes, allocated", "v".repeat(100))?;
    Ok(table)
}

/// Values of one kind, by one thread and by two.
fn line<V>(table: &mut Table, floors: &mut Floors, name: &str, value: V) -> Result<(), String>
where
    V: Clone + Send + Sync + 'static,
{
    let text = |error: BuildError| error.to_string();
    let plain = Cache::<u64, V>::builder().capacity(10_000).build().map_err(text)?;
    let store = Arc::new(Stalled::default());
    let stored: StoredCache<u64, V, Infallible> = Cache::builder()
        .capacity(10_000)
        .store(Arc::clone(&store))
        .spawn(Threads::new())
        .write_behind(WriteBehind::new())
        .build()
        .map_err(text)?;
    for threads in [1, 2] {
        let round = |_| {
            let before = time(threads, |key| plain.put(key, value.clone()));
            (before, time(threads, |key| drop(black_box(stored.put(key, value.clone())))))
        };
        // The first warms the caches of the processor.
        let rounds: Vec<(f64, f64)> = (0..=ROUNDS).map(round).skip(1).collect();
        let ratio = median(rounds.iter().map(|(plain, stored)| stored / plain).collect());
        let name = format!("{name}, {threads}");
        table.line([
            name.clone(),
            format!("{:.0}", median(rounds.iter().map(|round| round.0).collect())),
            format!("{:.0}", median(rounds.iter().map(|round| round.1).collect())),
            format!("{ratio:.2}"),
        ]);
        floors.line(
            format!("{name}: a coalesced put costs at most {TIMES} of a plain one"),
            format!("{ratio:.2}"),
            ratio <= TIMES,
        );
    }
    let stats = stored.write_stats();
    store.let_go();
    let left = stored.close(Duration::from_secs(60)).len();
    // A key waits once, and once more while the store has it.
    let alone = stats.accepted - stats.coalesced;
    if left == 0 && alone <= 2 * KEYS {
        return Ok(());
    }
    Err(format!("{alone} puts were not coalesced, {left} changes were not written"))
}

/// Nanoseconds of each put, of threads that put the same keys at the same time.
fn time(threads: usize, put: impl Fn(u64) + Sync) -> f64 {
    let (barrier, put) = (&Barrier::new(threads), &put);
    let work = || {
        barrier.wait();
        let start = Instant::now();
        for number in 0..PUTS {
            put(keys::key(number as u64 % KEYS));
        }
        start.elapsed().as_nanos() as f64 / PUTS as f64
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        others.into_iter().map(|other| other.join().unwrap_or(f64::NAN)).fold(own, f64::max)
    })
}
