//! Snapshots are taken while others write.

use crate::{Hooked, Place, restored, saved};
use cachette::Cache;
use cachette::policy::Lru;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock, Weak};
use std::thread;

/// Whatever is written between two slices, entries that stay are in the snapshot, with the values that they have.
#[test]
fn encoding_may_write_to_the_cache() {
    let cache: Arc<Cache<u32, Hooked>> =
        Arc::new(Cache::builder().capacity(3_000).segments(4).policy(Lru::new).build().unwrap());
    let place: Arc<OnceLock<Weak<Cache<u32, Hooked>>>> = Arc::default();
    place.set(Arc::downgrade(&cache)).unwrap();
    let calm: Arc<dyn Fn(u64) -> bool + Send + Sync> = Arc::new(|_| true);
    let written = Arc::new(Mutex::new(0_u32));
    let (inner, quiet) = (Arc::clone(&place), Arc::clone(&calm));
    let busy: Arc<dyn Fn(u64) -> bool + Send + Sync> = Arc::new(move |n| {
        let cache = inner.get().unwrap().upgrade().unwrap();
        let mut written = written.lock().unwrap();
        for _ in 0..3 {
            *written += 1;
            // New keys, old ones again, hits and deletions: but never of a multiple of ten.
            let key = *written * 7 % 2_000;
            let key = if key % 10 == 0 { key + 1 } else { key };
            match *written % 4 {
                0 => _ = cache.delete(&key),
                1 => _ = cache.get(&(key / 10 * 10)),
                2 => cache.put(key, Hooked(u64::from(key) + 10_000, quiet.clone())),
                _ => cache.put(5_000 + *written % 900, Hooked(n, quiet.clone())),
            }
        }
        true
    });
    (0..2_000_u32).for_each(|key| cache.put(key, Hooked(key.into(), busy.clone())));
    let bytes = saved(&cache);
    let again = Cache::<u32, u64>::new(3_000);
    restored(&again, &bytes).unwrap();
    for key in (0..2_000).step_by(10) {
        assert_eq!(again.peek(&key), Some(key.into()), "{key} was there throughout");
    }
    for (key, value) in again.iter().filter(|pair| pair.0 < 5_000) {
        let key = u64::from(key);
        assert!(value == key || value == key + 10_000, "{key} never had {value}");
    }
}

/// Threads write all the while; what they leave alone is in every snapshot, and no value is another key's.
#[test]
fn threads_write_while_snapshots_are_taken() {
    const CALM: u64 = 2_000;
    let place = Place::new();
    let cache: Cache<u64, (u64, u64)> =
        Cache::builder().capacity(100_000).segments(8).build().unwrap();
    (0..CALM).for_each(|key| cache.put(key, (key, 0)));
    let (ready, stop) = (Barrier::new(4), AtomicBool::new(false));
    thread::scope(|scope| {
        for thread in 1..4_u64 {
            let (cache, ready, stop) = (&cache, &ready, &stop);
            scope.spawn(move || {
                ready.wait();
                for step in 0.. {
                    let key = thread * 10_000 + step * 31 % 5_000;
                    match step % 5 {
                        0 => _ = cache.delete(&key),
                        1 => _ = cache.get(&(key % CALM)),
                        _ => cache.put(key, (key, step)),
                    }
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        ready.wait();
        for _ in 0..5 {
            cache.save(place.file()).unwrap();
            let again = Cache::<u64, (u64, u64)>::new(200_000);
            again.restore(place.file()).unwrap();
            let all: HashMap<_, _> = again.iter().collect();
            assert!((0..CALM).all(|key| all.get(&key) == Some(&(key, 0))));
            assert!(all.iter().all(|(key, value)| value.0 == *key));
        }
        stop.store(true, Ordering::Relaxed);
    });
}
