//! The stampede: when a value that everybody reads expires, everybody loads it, or waits for who does. Unless that is done before.
//!
//! `cargo run --release --example stampede` has 16 threads read one key for two seconds by each of five ways, and charts how often the source
//! was asked, and how many readers waited. `benches/compare` measures it at length, other caches beside it.

use cachette::{BuildError, Cache, Freshness, Threads};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{sync::Arc, thread, time::Duration, time::Instant};

const TTL: Duration = Duration::from_millis(100);
const LOAD: Duration = Duration::from_millis(20);

type Read = Box<dyn Fn() -> u64 + Sync>;

/// Stands for the source, which takes its time.
fn load(loads: &AtomicU64) -> u64 {
    thread::sleep(LOAD);
    loads.fetch_add(1, Relaxed)
}

/// Who finds nothing loads.
fn unprotected(loads: Arc<AtomicU64>) -> Result<Read, BuildError> {
    let cache = Cache::builder().capacity(10).time_to_live(TTL).build()?;
    Ok(Box::new(move || {
        cache.get(&7).unwrap_or_else(|| {
            let value = load(&loads);
            cache.put(7, value);
            value
        })
    }))
}

/// One loads for all, in time if `freshness` says so.
fn loading(loads: Arc<AtomicU64>, freshness: Freshness) -> Result<Read, BuildError> {
    let cache = Cache::builder().capacity(10).freshness(freshness);
    let cache = cache.loader(move |_: &u32| load(&loads)).spawn(Threads::new()).build()?;
    Ok(Box::new(move || cache.load(&7).unwrap_or_default()))
}

/// How many readers waited for a load.
fn waited(read: &Read, readers: usize, time: Duration) -> u64 {
    let (waited, start) = (AtomicU64::new(0), Instant::now());
    let reader = || {
        while start.elapsed() < time {
            let begun = Instant::now();
            read();
            waited.fetch_add(u64::from(begun.elapsed() > LOAD / 2), Relaxed);
            thread::sleep(LOAD / 10);
        }
    };
    thread::scope(|scope| (0..readers).for_each(|_| drop(scope.spawn(reader))));
    waited.into_inner()
}

/// What this example prints.
pub(crate) fn show(readers: usize, time: Duration) -> Result<String, BuildError> {
    let (fresh, loads) = (Freshness::new(TTL), Arc::new(AtomicU64::new(0)));
    let (loading, mut out) = (|freshness| loading(Arc::clone(&loads), freshness), String::new());
    for (way, read) in [
        ("no protection", unprotected(Arc::clone(&loads))?),
        ("single flight", loading(fresh)?),
        ("early refresh", loading(fresh.refresh_early(1.0))?),
        ("refresh ahead", loading(fresh.refresh_ahead(0.5))?),
        ("stale meanwhile", loading(fresh.stale_while_revalidate(TTL))?),
    ] {
        read(); // the first value is there before the readers come
        loads.store(0, Relaxed);
        let waited = waited(&read, readers, time);
        for (what, count) in [("loads", loads.load(Relaxed)), ("waited", waited)] {
            let bar = "#".repeat(usize::try_from(count.div_ceil(8)).unwrap_or(0).min(60));
            out += &format!("{way:<16}{what:<6} {count:>4} {bar}\n");
        }
    }
    Ok(out)
}

fn main() -> Result<(), BuildError> {
    show(16, Duration::from_secs(2)).map(|out| print!("{out}"))
}
