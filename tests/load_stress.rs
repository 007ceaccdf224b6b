//! Loads under stress: L1 to L6, L8 and L9 with threads that do not wait for each other. What is exact is checked: which values may be
//! seen, how many loads of a key may run, and that everybody ends.

#[path = "support/rng.rs"]
mod rng;

use cachette::{Cache, Freshness, LoadError, LoadingCache, Threads};
use rng::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

const KEYS: u64 = 6;
/// Nobody ever writes or deletes these.
const CALM: u64 = 3;

/// A source whose rows have versions, and which counts who asks.
#[derive(Default)]
struct Source {
    versions: [AtomicU64; KEYS as usize],
    asking: [AtomicU64; KEYS as usize],
    asked: AtomicU64,
    /// Loads of a calm key beside another one of it.
    overlaps: AtomicU64,
}

impl Source {
    /// Fails, and panics, now and then.
    fn load(&self, key: u64) -> Result<u64, String> {
        let at = key as usize;
        let side_by_side = self.asking[at].fetch_add(1, SeqCst);
        let asked = self.asked.fetch_add(1, SeqCst);
        let version = self.versions[at].load(SeqCst);
        thread::yield_now();
        self.asking[at].fetch_sub(1, SeqCst);
        self.overlaps.fetch_add(u64::from(key < CALM && side_by_side > 0), SeqCst);
        match asked % 64 {
            7 => Err("now and then".to_owned()),
            9 => std::panic::panic_any(()),
            _ => Ok(version),
        }
    }

    fn version(&self, key: u64) -> u64 {
        self.versions[key as usize].load(SeqCst)
    }
}

type Versions = LoadingCache<u64, u64, String>;

/// A value, or an error that there may be.
fn judged(answer: Result<u64, LoadError<String>>, at_least: u64, at_most: impl Fn() -> u64) {
    match answer {
        Ok(version) => {
            assert!(
                version >= at_least,
                "a load that began after a deletion has seen what was before it"
            );
            assert!(version <= at_most());
        }
        Err(LoadError::Failed(why)) => assert_eq!(*why, "now and then"),
        Err(LoadError::Lost) => {}
        Err(other) => panic!("{other:?}"),
    }
}

/// What a call gives, unless the loader that it runs panics.
fn survived<R>(call: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// One thread: it loads in every way there is, and invalidates rows that it has changed.
fn one(cache: &Versions, source: &Source, changed: &[AtomicU64], seed: u64, steps: u64) {
    let mut rng = Rng::new(seed);
    for _ in 0..steps {
        let key = rng.below(KEYS);
        // What was deleted before this is not to be seen after it.
        let at_least = changed[key as usize].load(SeqCst);
        let at_most = || source.version(key);
        match rng.below(10) {
            0..=3 => {
                if let Some(answer) = survived(|| cache.load(&key)) {
                    judged(answer, at_least, at_most);
                }
            }
            4 => {
                let own = |key: &u64| source.load(*key);
                if let Some(answer) = survived(|| cache.get_or_load(&key, own)) {
                    judged(answer, at_least, at_most);
                }
            }
            5 => {
                let keys = [key, (key + 1) % KEYS, key];
                let least = keys.map(|key| changed[key as usize].load(SeqCst));
                let loaded = survived(|| cache.load_many(&keys)).unwrap_or_default();
                for ((answer, key), least) in loaded.into_iter().zip(keys).zip(least) {
                    judged(answer, least, || source.version(key));
                }
            }
            6 => drop(survived(|| cache.refresh(&key))),
            7 => drop(cache.get(&key).map(|version| assert!(version <= at_most()))),
            _ if key >= CALM => {
                // The row changes, then the cache is told, then everybody may rely on it.
                let version = source.versions[key as usize].fetch_add(1, SeqCst) + 1;
                if rng.below(2) == 0 {
                    cache.delete(&key);
                } else {
                    assert!(cache.take(&key).is_none_or(|old| old <= at_most()));
                }
                changed[key as usize].fetch_max(version, SeqCst);
            }
            _ => {}
        }
    }
}

fn storm(build: impl Fn(Arc<Source>) -> Versions) {
    std::panic::set_hook(Box::new(|_| {}));
    let steps = if cfg!(miri) { 20 } else { 3_000 };
    for seed in 0..4 {
        let source = Arc::new(Source::default());
        let cache = build(Arc::clone(&source));
        let changed: Vec<_> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        let failures = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|thread| {
                    let (cache, source, changed) = (&cache, &source, &changed);
                    scope.spawn(move || one(cache, source, changed, seed * 8 + thread, steps))
                })
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().err()).count()
        });
        assert_eq!(failures, 0, "seed {seed}");
        assert_eq!(source.overlaps.load(SeqCst), 0, "seed {seed}: two loads of one key at once");
    }
}

#[test]
fn l2_l3_l5_no_thread_sees_what_was_before_a_deletion_callers_load() {
    storm(|source| {
        let loader = move |key: &u64| source.load(*key);
        Cache::<u64, u64>::builder().capacity(4).loader(loader).build().unwrap()
    });
}

#[test]
fn l6_l8_t4_no_thread_sees_what_was_before_a_deletion_the_background_loads() {
    storm(|source| {
        let freshness = Freshness::new(Duration::from_micros(200))
            .refresh_ahead(0.3)
            .refresh_early(1.0)
            .jitter(0.5)
            .throttle(Duration::from_micros(50));
        Cache::<u64, u64>::builder()
            .capacity(4)
            .freshness(freshness)
            .loader_async(move |key| {
                let source = Arc::clone(&source);
                async move { source.load(key) }
            })
            .spawn(Threads::new())
            .build()
            .unwrap()
    });
}
