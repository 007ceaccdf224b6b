//! Many threads, a small cache and a store that fails: what was accepted is there at the end, and nobody sees time go back.

use crate::direct::one_more;
use crate::faulty::Fault;
use crate::{Behind, Kit, Stored, millis, on_both, text, usual};
use cachette::{Backoff, Cache, Threads};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const KEYS: u64 = 5;
const WRITERS: u64 = 3;
const ROUNDS: u64 = 120;

/// Counts in several threads, while one looks, and one has the store fail.
fn count(kit: &Kit, cache: &Stored) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut seen = [0; KEYS as usize];
            while !over.load(Ordering::Relaxed) {
                for key in 0..KEYS {
                    let value = cache.load(&key).unwrap().map_or(0, |value| value.parse().unwrap());
                    let before = &mut seen[key as usize];
                    assert!(value >= *before, "r1: {key} went back from {before} to {value}");
                    *before = value;
                    // Others are in its place.
                    let _ = cache.load(&(key + 100));
                }
            }
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(|| {
                    for round in 0..ROUNDS {
                        let key = round % KEYS;
                        cache.compute(key, one_more).unwrap();
                        let read = cache.load(&key).unwrap();
                        assert!(read.is_some(), "w5: {key} is gone");
                        if round % 7 == 0 {
                            kit.store.plan([Fault::Down, Fault::None, Fault::LateDown]);
                        }
                    }
                })
            })
            .collect();
        // The reader ends with the writers, however they end.
        let _over = Over(&over);
        for writer in writers {
            writer.join().unwrap();
        }
    });
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn check_counts(kit: &Kit, cache: &Stored) {
    for key in 0..KEYS {
        let all = text(WRITERS * ROUNDS / KEYS);
        assert_eq!(kit.store.get(key), Some(all.clone()), "of {key}");
        assert_eq!(cache.load(&key), Ok(Some(all)));
    }
}

fn behind() -> Behind {
    let backoff = Backoff { first: millis(1), most: millis(1) };
    usual().batch(2).in_flight(2).delay(millis(0)).attempts(1_000).backoff(backoff)
}

#[test]
fn w20_counts_are_exact_behind() {
    on_both(|kit| {
        let builder = Cache::builder().capacity(3).store(Arc::clone(&kit.store));
        let builder = builder.spawn(Threads::new()).write_behind(behind());
        let cache = builder.build().unwrap();
        count(&kit, &cache);
        cache.flush().unwrap();
        check_counts(&kit, &cache);
        assert!(cache.close(millis(60_000)).is_empty());
    });
}

#[test]
fn w22_counts_are_exact_through() {
    on_both(|kit| {
        let cache = Cache::builder().capacity(3).store(Arc::clone(&kit.store)).build().unwrap();
        thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| {
                    for round in 0..ROUNDS {
                        cache.compute(round % KEYS, one_more).unwrap();
                    }
                });
            }
        });
        check_counts(&kit, &cache);
    });
}

/// Puts of the same keys race: the cache ends with what the store has.
#[test]
fn w1_racing_puts_end_alike_everywhere() {
    on_both(|kit| {
        for behind in [None, Some(behind())] {
            let builder = Cache::builder().capacity(3).store(Arc::clone(&kit.store));
            let builder = builder.spawn(Threads::new());
            let builder = match behind {
                Some(behind) => builder.write_behind(behind),
                None => builder.write_through(),
            };
            let cache: Stored = builder.build().unwrap();
            thread::scope(|scope| {
                for writer in 0..WRITERS {
                    let cache = &cache;
                    scope.spawn(move || {
                        for round in 0..ROUNDS {
                            let key = round % KEYS;
                            cache.put(key, format!("{writer} {round}")).unwrap();
                            assert!(cache.load(&key).unwrap().is_some());
                        }
                    });
                }
            });
            cache.flush().unwrap();
            for key in 0..KEYS {
                assert_eq!(cache.load(&key).unwrap(), kit.store.get(key));
            }
        }
    });
}
