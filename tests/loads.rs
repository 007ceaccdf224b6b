//! L1 to L7, T1, T2: one load a key, and a write during a load wins.

#[path = "support/tasks.rs"]
mod support;

use cachette::policy::NoEviction;
use cachette::{Cache, Cause, Compute, Expiry, LoadError, ManualClock};
use std::cell::Cell;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;
use support::{Gate, Task, breathe};

const MINUTE: Duration = Duration::from_secs(60);

type Loaded<E = Infallible> = Result<u32, LoadError<E>>;

fn failed<E: Copy>(loaded: &Loaded<E>) -> Option<E> {
    match loaded {
        Err(LoadError::Failed(error)) => Some(**error),
        _ => None,
    }
}

#[test]
fn l1_threads_and_tasks_share_one_load() {
    let (cache, loads, gate) = (Cache::<u32, u32>::new(10), AtomicU64::new(0), Gate::default());
    let load = || {
        loads.fetch_add(1, Ordering::SeqCst);
        1
    };
    let lead = Task::waiting(cache.get_or_load_async(&0, async |_| {
        gate.pass().await;
        load()
    }));
    let joins: Vec<_> =
        (0..4).map(|_| Task::waiting(cache.get_or_load_async(&0, async |_| load()))).collect();
    let fallible: Vec<_> = (0..4)
        .map(|_| Task::waiting(cache.get_or_load_async(&0, async |_| Ok::<_, u8>(load()))))
        .collect();
    thread::scope(|scope| {
        let infallible: Vec<_> =
            (0..4).map(|_| scope.spawn(|| cache.get_or_load(&0, |_| load()).unwrap())).collect();
        let others: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| cache.get_or_load(&0, |_| Ok::<_, u8>(load())).unwrap()))
            .collect();
        // All have found nothing: they have joined, or are about to.
        while cache.stats().misses < 17 {
            thread::yield_now();
        }
        gate.open();
        assert_eq!(lead.end().unwrap(), 1);
        for thread in infallible.into_iter().chain(others) {
            assert_eq!(thread.join().unwrap(), 1);
        }
    });
    assert!(joins.iter().all(|task| task.wakes() == 1));
    assert!(joins.into_iter().all(|task| matches!(task.end(), Ok(1))));
    assert!(fallible.into_iter().all(|task| matches!(task.end(), Ok(1))));
    assert_eq!((loads.into_inner(), cache.stats().loads), (1, 1));
    assert_eq!(cache.get(&0), Some(1));
}

#[test]
fn l1_a_thread_leads_tasks() {
    let cache = Cache::<u32, u32>::new(10);
    let ((entered, enter), (release, released)) = (mpsc::channel(), mpsc::channel());
    thread::scope(|scope| {
        let lead = scope.spawn(|| {
            cache.get_or_load(&0, move |_| {
                entered.send(()).unwrap();
                released.recv().unwrap()
            })
        });
        enter.recv().unwrap();
        let joins: Vec<_> =
            (0..8).map(|_| Task::waiting(cache.get_or_load_async(&0, async |_| 99))).collect();
        release.send(7).unwrap();
        assert_eq!(lead.join().unwrap().unwrap(), 7);
        assert!(joins.into_iter().all(|task| matches!(task.end(), Ok(7))));
    });
    assert_eq!(cache.stats().loads, 1);
}

#[test]
fn l1_a_herd_is_one_load_in_every_round() {
    let (cache, loads, start) = (Cache::new(1_000), AtomicU64::new(0), Barrier::new(8));
    let load = |key: u32| {
        loads.fetch_add(1, Ordering::SeqCst);
        thread::yield_now();
        key * 2
    };
    thread::scope(|scope| {
        for thread in 0..8 {
            let (cache, start) = (&cache, &start);
            scope.spawn(move || {
                for key in 0..200 {
                    start.wait();
                    let value = match thread % 3 {
                        0 => cache.get_or_load(&key, |key| load(*key)).unwrap(),
                        1 => cache.get_or_load(&key, |key| Ok::<_, u8>(load(*key))).unwrap(),
                        _ => spin(cache.get_or_load_async(&key, async |key| {
                            breathe().await;
                            load(key)
                        }))
                        .unwrap(),
                    };
                    assert_eq!(value, key * 2);
                }
            });
        }
    });
    assert_eq!(loads.into_inner(), 200);
}

/// Polls a future to its end.
fn spin<T>(future: impl Future<Output = T> + Send) -> T {
    let mut task = Task::new(future);
    loop {
        match task.poll() {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::yield_now(),
        }
    }
}

#[test]
fn l1_futures_are_send() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    fn load<'a, K, V>(cache: &'a Cache<K, V>, key: &'a K, value: V) -> impl Send + 'a
    where
        K: std::hash::Hash + Eq + Clone + Send + Sync,
        V: Clone + Send + Sync + 'a,
    {
        sendable(cache.get_or_load_async(key, move |_| async move {
            breathe().await;
            Ok::<_, String>(value)
        }))
    }
    drop(load(&Cache::new(1), &String::new(), vec![1]));
}

#[test]
fn l1_keys_may_be_borrowed() {
    let cache = Cache::<String, usize>::new(10);
    assert_eq!(cache.get_or_load("four", str::len).unwrap(), 4);
    let length = Task::new(cache.get_or_load_async("three", async |key: String| key.len()));
    assert_eq!(length.end().unwrap(), 5);
    assert_eq!(cache.get("four"), Some(4));
    assert_eq!(cache.get("three"), Some(5));
}

/// Does `write` during a load of key 0 that gives 1: what the cache has of key 0 after it.
fn written_during(cache: &Cache<u32, u32>, write: impl FnOnce(&Cache<u32, u32>)) -> Option<u32> {
    let gate = Gate::default();
    let load = || {
        cache.get_or_load_async(&0, async |_| {
            gate.pass().await;
            1
        })
    };
    let (lead, join) = (Task::waiting(load()), Task::waiting(load()));
    write(cache);
    gate.open();
    assert_eq!(lead.end().unwrap(), 1, "who leads has what was loaded");
    assert_eq!(join.end().unwrap(), 1, "who has joined before the write, too");
    cache.peek(&0)
}

type Step = fn(&Cache<u32, u32>);

#[test]
fn l2_a_write_during_a_load_wins() {
    let puts: [Step; 8] = [
        |cache| cache.put(0, 2),
        |cache| cache.put_with_ttl(0, 2, MINUTE),
        |cache| assert!(cache.try_put(0, 2).is_ok()),
        |cache| assert!(cache.put_if_absent(0, 2)),
        |cache| assert_eq!(cache.get_and_put(0, 2), None),
        |cache| assert!(cache.compute(0, |_| Compute::Replace(2)).is_ok()),
        |cache| assert!(cache.compute(0, |_| Compute::ReplaceWithTtl(2, MINUTE)).is_ok()),
        |cache| assert!(cache.compute(0, |_| Compute::ReplaceKeepTtl(2)).is_ok()),
    ];
    for (number, put) in puts.iter().enumerate() {
        assert_eq!(written_during(&Cache::new(10), put), Some(2), "put {number}");
    }
    let deletions: [Step; 10] = [
        |cache| assert!(!cache.delete(&0)),
        |cache| assert_eq!(cache.take(&0), None),
        |cache| cache.clear(),
        |cache| cache.retain(|_, _| true),
        |cache| cache.retain(|_, _| false),
        |cache| assert!(cache.compute(0, |_| Compute::Delete).is_ok()),
        |cache| cache.put_with_ttl(0, 2, Duration::ZERO),
        |cache| {
            cache.put(0, 2);
            assert!(cache.delete(&0));
        },
        |cache| {
            cache.put(0, 2);
            assert!(cache.expire_in(&0, Duration::ZERO));
        },
        |cache| {
            cache.put(0, 2);
            assert!(cache.set_capacity(0).is_ok() && cache.set_capacity(10).is_ok());
        },
    ];
    for (number, delete) in deletions.iter().enumerate() {
        assert_eq!(written_during(&Cache::new(10), delete), None, "deletion {number}");
    }
}

#[test]
fn l2_a_write_from_another_thread_during_a_load_wins() {
    let cache = Cache::<u32, u32>::new(10);
    let loaded = cache.get_or_load(&0, |_| {
        thread::scope(|scope| scope.spawn(|| cache.put(0, 2)).join().unwrap());
        1
    });
    assert_eq!((loaded.unwrap(), cache.get(&0)), (1, Some(2)));
}

#[test]
fn l2_a_refused_write_during_a_load_wins_too() {
    let cache = Cache::builder()
        .capacity(10)
        .weigher(|_: &u32, value: &u32| u64::from(*value))
        .build()
        .unwrap();
    let kept = written_during(&cache, |cache| assert!(cache.try_put(0, 11).is_err()));
    assert_eq!(kept, None, "the write was newer than what was loaded");
}

#[test]
fn l2_what_writes_nothing_leaves_a_load_alone() {
    let steps: [Step; 12] = [
        |cache| assert_eq!(cache.get(&0), None),
        |cache| assert_eq!(cache.peek(&0), None),
        |cache| assert!(!cache.contains_key(&0)),
        |cache| assert!(!cache.replace_if(0, 2, |_| true)),
        |cache| assert!(cache.compute(0, |_| Compute::Keep).is_ok()),
        |cache| assert!(!cache.expire_in(&0, MINUTE)),
        |cache| assert!(!cache.persist(&0)),
        |cache| assert_eq!(cache.time_to_live_of(&0), None),
        |cache| cache.put(1, 2),
        |cache| assert!(!cache.delete(&1)),
        |cache| cache.maintain(),
        |cache| assert!(cache.set_capacity(20).is_ok()),
    ];
    for (number, step) in steps.iter().enumerate() {
        assert_eq!(written_during(&Cache::new(10), step), Some(1), "step {number}");
    }
}

#[test]
fn l2_evictions_and_expirations_during_a_load_leave_it_alone() {
    let kept = written_during(&Cache::new(2), |cache| (1..9).for_each(|key| cache.put(key, key)));
    assert_eq!(kept, Some(1));

    let clock = ManualClock::new();
    let build = || Cache::builder().capacity(9).time_to_live(MINUTE).clock(clock.clone());
    let cache = build().build().unwrap();
    cache.put(0, 5);
    clock.advance(MINUTE);
    // The old value of the very key is dead, and still there: it leaves while its successor is loaded.
    let kept = written_during(&cache, |cache| {
        assert_eq!(cache.len(), 1);
        clock.advance(MINUTE);
        cache.maintain();
        assert_eq!((cache.len(), cache.stats().expired), (0, 1));
    });
    assert_eq!(kept, Some(1));
}

#[test]
fn l2_a_loader_may_call_the_cache() {
    let cache = Cache::<u32, u32>::new(10);
    let loaded = cache.get_or_load(&0, |&key| {
        cache.put(1, 10);
        assert_eq!(cache.get(&1), Some(10));
        assert!(!cache.contains_key(&key) && cache.delete(&1));
        cache.get_or_load(&2, |_| 20).unwrap() + 1
    });
    assert_eq!(loaded.unwrap(), 21);
    assert_eq!((cache.get(&0), cache.get(&1), cache.get(&2)), (Some(21), None, Some(20)));
    let own: [Step; 3] = [
        |cache| cache.put(3, 2),
        |cache| assert!(!cache.delete(&3)),
        // Its own key is nobody's load any more, so this is a load of its own.
        |cache| {
            assert!(!cache.delete(&3));
            assert_eq!(cache.get_or_load(&3, |_| 4).unwrap(), 4);
        },
    ];
    for (step, after) in own.iter().zip([Some(2), None, Some(4)]) {
        cache.delete(&3);
        let loaded = cache.get_or_load(&3, |_| {
            step(&cache);
            1
        });
        assert_eq!((loaded.unwrap(), cache.get(&3)), (1, after));
    }
}

/// The system of record, a parked load of its first value, and a write to it that has been told to the cache.
fn overtaken(check: impl FnOnce(&Cache<u32, u32>, &AtomicU64, Task<'_, Loaded>, &Gate)) {
    let (cache, store, gate) = (Cache::new(10), AtomicU64::new(1), Gate::default());
    let parked = Task::waiting(cache.get_or_load_async(&0, async |_| {
        let read = store.load(Ordering::SeqCst) as u32;
        gate.pass().await;
        read
    }));
    store.store(2, Ordering::SeqCst);
    assert!(!cache.delete(&0));
    check(&cache, &store, parked, &gate);
}

#[test]
fn t1_what_was_read_before_a_delete_is_not_kept_after_it() {
    overtaken(|cache, store, parked, gate| {
        gate.open();
        assert_eq!(parked.end().unwrap(), 1, "the parked caller may have the old value");
        assert_eq!(cache.get(&0), None);
        let read = |_: &u32| store.load(Ordering::SeqCst) as u32;
        assert_eq!(cache.get_or_load(&0, read).unwrap(), 2, "the next one loads again");
        assert_eq!(cache.get(&0), Some(2));
    });
}

#[test]
fn t2_who_comes_after_a_delete_does_not_join_the_load_before_it() {
    overtaken(|cache, store, parked, gate| {
        let read = |_: &u32| store.load(Ordering::SeqCst) as u32;
        // Were it to join, it would wait for the parked one for ever.
        assert_eq!(cache.get_or_load(&0, read).unwrap(), 2);
        gate.open();
        assert_eq!(parked.end().unwrap(), 1);
        assert_eq!(cache.get(&0), Some(2), "the parked load does not replace the newer one");
    });
}

#[test]
fn l3_readers_after_a_delete_share_a_load_of_their_own() {
    overtaken(|cache, _, parked, gate| {
        let later = Gate::default();
        let load = async |_| {
            later.pass().await;
            2
        };
        let lead = Task::waiting(cache.get_or_load_async(&0, load));
        let mut join = Task::waiting(cache.get_or_load_async(&0, async |_| 3));
        gate.open();
        assert_eq!(parked.end().unwrap(), 1);
        assert!(join.poll().is_pending() && cache.get(&0).is_none(), "the first is over, not this");
        later.open();
        assert_eq!((lead.end().unwrap(), join.end().unwrap()), (2, 2));
        assert_eq!(cache.get(&0), Some(2));
    });
}

#[test]
fn l4_a_herd_of_failures_is_one_load() {
    let (cache, gate, loads) = (Cache::<u32, u32>::new(10), Gate::default(), AtomicU64::new(0));
    let load = || {
        cache.get_or_load_async(&0, async |_| {
            loads.fetch_add(1, Ordering::SeqCst);
            gate.pass().await;
            Err::<u32, _>(7_u8)
        })
    };
    let tasks: Vec<_> = (0..8).map(|_| Task::waiting(load())).collect();
    gate.open();
    let ends: Vec<_> = tasks.into_iter().map(Task::end).collect();
    assert!(ends.iter().all(|end| failed(end) == Some(7)));
    let errors = ends.iter().filter_map(|end| match end {
        Err(LoadError::Failed(error)) => Some(Arc::as_ptr(error)),
        _ => None,
    });
    assert_eq!(errors.collect::<std::collections::HashSet<_>>().len(), 1, "one error, shared");
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_failures), (0, 1));

    assert_eq!(cache.get(&0), None, "an error is not kept");
    assert_eq!(failed(&Task::new(load()).end()), Some(7));
    assert_eq!(loads.load(Ordering::SeqCst), 2, "who comes later loads again");
}

#[test]
fn l4_who_expects_another_error_loads_next_once_for_its_kind() {
    let (cache, gate) = (Cache::<u32, u32>::new(10), Gate::default());
    let (bytes, words, sure) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let byte = async |_| {
        gate.pass().await;
        bytes.fetch_add(1, Ordering::SeqCst);
        Err::<u32, _>(7_u8)
    };
    let word = async |_| {
        words.fetch_add(1, Ordering::SeqCst);
        breathe().await;
        Err::<u32, _>(8_u16)
    };
    let value = async |_| {
        sure.fetch_add(1, Ordering::SeqCst);
        breathe().await;
        9
    };
    let mut first = Task::waiting(cache.get_or_load_async(&0, &byte));
    let second = Task::waiting(cache.get_or_load_async(&0, &byte));
    let mut word_lead = Task::waiting(cache.get_or_load_async(&0, &word));
    let mut word_join = Task::waiting(cache.get_or_load_async(&0, &word));
    let mut sure_lead = Task::waiting(cache.get_or_load_async(&0, &value));
    let mut sure_join = Task::waiting(cache.get_or_load_async(&0, &value));
    gate.open();
    assert!(matches!(first.poll(), Poll::Ready(end) if failed(&end) == Some(7)));
    assert_eq!(failed(&second.end()), Some(7));

    assert!(word_lead.poll().is_pending() && word_join.poll().is_pending());
    assert!(sure_lead.poll().is_pending() && sure_join.poll().is_pending());
    assert_eq!(failed(&word_lead.end()), Some(8));
    assert_eq!(failed(&word_join.end()), Some(8));

    assert!(sure_lead.poll().is_pending() && sure_join.poll().is_pending());
    assert_eq!((sure_lead.end().unwrap(), sure_join.end().unwrap()), (9, 9));
    let loads = [&bytes, &words, &sure].map(|loads| loads.load(Ordering::SeqCst));
    assert_eq!((loads, cache.get(&0)), ([1, 1, 1], Some(9)));
}

#[test]
fn l4_a_thread_that_cannot_fail_leads_after_a_failure() {
    let (cache, gate) = (Cache::<u32, u32>::new(10), Gate::default());
    let lead = Task::waiting(cache.get_or_load_async(&0, async |_| {
        gate.pass().await;
        Err::<u32, _>("no")
    }));
    thread::scope(|scope| {
        let sure = scope.spawn(|| cache.get_or_load(&0, |_| 5).unwrap());
        while cache.stats().misses < 2 {
            thread::yield_now();
        }
        gate.open();
        assert_eq!(failed(&lead.end()), Some("no"));
        assert_eq!(sure.join().unwrap(), 5);
    });
    assert_eq!(cache.get(&0), Some(5));
}

#[test]
fn l5_a_leader_cancelled_at_any_of_its_waits_hands_over() {
    for polls in 1..=3 {
        let cache = Cache::<u32, u32>::new(10);
        let mut lead = Task::new(cache.get_or_load_async(&0, async |_| {
            for _ in 0..3 {
                breathe().await;
            }
            1
        }));
        assert!((0..polls).all(|_| lead.poll().is_pending()));
        let next = Task::waiting(cache.get_or_load_async(&0, async |_| 2));
        let mut last = Task::waiting(cache.get_or_load_async(&0, async |_| 3));
        drop(lead);
        assert_eq!((next.wakes(), last.wakes()), (1, 1));
        assert_eq!(next.end().unwrap(), 2);
        assert!(matches!(last.poll(), Poll::Ready(Ok(2))));
        assert_eq!(cache.get(&0), Some(2));
    }
}

#[test]
fn l5_leaders_may_be_cancelled_one_after_another() {
    let cache = Cache::<u32, u32>::new(10);
    let load = || {
        cache.get_or_load_async(&0, async |_| {
            breathe().await;
            1
        })
    };
    let mut tasks: Vec<_> = (0..5).map(|_| Task::waiting(load())).collect();
    while tasks.len() > 1 {
        tasks.remove(0);
        assert!(tasks.iter_mut().all(|task| task.poll().is_pending()), "the next one leads");
    }
    assert_eq!(tasks.remove(0).end().unwrap(), 1);
    assert_eq!((cache.get(&0), cache.stats().loads), (Some(1), 1));
}

#[test]
fn l5_a_cancelled_joiner_or_a_lone_leader_leaves_nothing_behind() {
    let (cache, gate) = (Cache::<u32, u32>::new(10), Gate::default());
    let load = || {
        cache.get_or_load_async(&0, async |_| {
            gate.pass().await;
            1
        })
    };
    drop(load());
    drop(Task::waiting(load()));
    assert_eq!(cache.get_or_load(&0, |_| 2).unwrap(), 2, "no mark keeps this from loading");
    assert!(cache.delete(&0));
    let (lead, gone, stays) = (Task::waiting(load()), Task::waiting(load()), Task::waiting(load()));
    drop(gone);
    gate.open();
    assert_eq!((lead.end().unwrap(), stays.end().unwrap()), (1, 1));
}

#[test]
fn l5_threads_take_over_from_a_cancelled_task() {
    let (cache, loads) = (Cache::<u32, u32>::new(10), AtomicU64::new(0));
    let gate = Gate::default();
    let lead = Task::waiting(cache.get_or_load_async(&0, async |_| {
        gate.pass().await;
        1
    }));
    let load = |_: &u32| {
        loads.fetch_add(1, Ordering::SeqCst);
        2
    };
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| cache.get_or_load(&0, load).unwrap())).collect();
        while cache.stats().misses < 9 {
            thread::yield_now();
        }
        drop(lead);
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 2));
    });
    assert_eq!(loads.into_inner(), 1);
}

thread_local! {
    static FUSE: Cell<Option<Spot>> = const { Cell::new(None) };
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Spot {
    Loader,
    Weigher,
    Expiry,
    CloneKey,
    CloneValue,
}

/// Panics, quietly, if this is the spot that was set; once.
fn pass(spot: Spot) {
    if FUSE.get() == Some(spot) {
        FUSE.set(None);
        std::panic::resume_unwind(Box::new(spot));
    }
}

#[derive(Hash, PartialEq, Eq)]
struct Key(u32);

impl Clone for Key {
    fn clone(&self) -> Self {
        pass(Spot::CloneKey);
        Self(self.0)
    }
}

#[derive(Debug, PartialEq)]
struct Value(u32);

impl Clone for Value {
    fn clone(&self) -> Self {
        pass(Spot::CloneValue);
        Self(self.0)
    }
}

struct Fused;

impl Expiry<Key, Value> for Fused {
    fn created(&self, _: &Key, _: &Value) -> Duration {
        pass(Spot::Expiry);
        MINUTE
    }
}

#[test]
fn l5_a_leader_that_panics_hands_over() {
    for spot in [Spot::Loader, Spot::Weigher, Spot::Expiry, Spot::CloneKey, Spot::CloneValue] {
        let weigh = |_: &Key, _: &Value| {
            pass(Spot::Weigher);
            1
        };
        let cache = Cache::builder().capacity(9).weigher(weigh).expiry(Fused).build().unwrap();
        let (gate, key) = (Gate::default(), Key(0));
        let mut lead = Task::waiting(cache.get_or_load_async(&key, async |_| {
            gate.pass().await;
            FUSE.set(Some(spot));
            pass(Spot::Loader);
            Value(1)
        }));
        let join = Task::waiting(cache.get_or_load_async(&key, async |_| Value(2)));
        gate.open();
        let outcome = catch_unwind(AssertUnwindSafe(|| lead.poll()));
        assert_eq!(outcome.err().and_then(|it| it.downcast().ok()), Some(Box::new(spot)));
        assert_eq!((FUSE.get(), join.wakes()), (None, 1));
        // It had landed when its own clone of the value panicked.
        let then = Value(if spot == Spot::CloneValue { 1 } else { 2 });
        assert_eq!(join.end().unwrap(), then, "{spot:?}");
        assert_eq!(cache.get(&key), Some(then));
        assert!(cache.delete(&key));
        assert_eq!(cache.get_or_load(&key, |_| Value(3)).unwrap(), Value(3));
        drop(lead);
    }
}

#[test]
fn l5_a_thread_that_panics_hands_over() {
    let cache = Cache::<u32, u32>::new(10);
    let ((entered, enter), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
    thread::scope(|scope| {
        let lead = scope.spawn(|| {
            let load = || {
                cache.get_or_load(&0, move |_| -> u32 {
                    entered.send(()).unwrap();
                    released.recv().unwrap();
                    panic_any(Spot::Loader)
                })
            };
            catch_unwind(AssertUnwindSafe(load)).is_err()
        });
        enter.recv().unwrap();
        let join = Task::waiting(cache.get_or_load_async(&0, async |_| 2));
        release.send(()).unwrap();
        assert!(lead.join().unwrap());
        assert_eq!((join.wakes(), join.end().unwrap()), (1, 2));
    });
    assert_eq!(cache.get_or_load(&0, |_| 3).unwrap(), 2);
}

#[test]
fn n1_a_load_that_panics_is_a_failed_load() {
    let cache = Cache::<u32, u32>::new(10);
    let load = || cache.get_or_load(&0, |_| -> u32 { std::panic::resume_unwind(Box::new(())) });
    assert!(catch_unwind(AssertUnwindSafe(load)).is_err());
    assert_eq!(cache.stats().load_failures, 1);
    drop(Task::waiting(cache.get_or_load_async(&0, async |_| {
        breathe().await;
        1
    })));
    assert_eq!(cache.stats().load_failures, 1, "a cancelled one is not");
}

fn recursive<E>(loaded: &Loaded<E>) -> bool {
    matches!(loaded, Err(LoadError::Recursive))
}

#[test]
fn l7_a_loader_that_asks_for_its_own_key_is_told() {
    let cache = Cache::<u32, u32>::new(10);
    let loaded = cache.get_or_load(&0, |key| {
        assert!(recursive(&cache.get_or_load(key, |_| 2)));
        assert!(recursive(&Task::new(cache.get_or_load_async(key, async |_| 2)).end()));
        1
    });
    assert_eq!(loaded.unwrap(), 1, "the outer load is none the worse");
    let task = Task::new(cache.get_or_load_async(&1, async |key| {
        breathe().await;
        cache
            .get_or_load_async(&key, async |_| 2)
            .await
            .map_err(|error| recursive(&Err::<u32, _>(error)))
    }));
    let mut task = task;
    assert!(task.poll().is_pending());
    assert_eq!(failed(&task.end()), Some(true));
}

#[test]
fn l7_a_ring_through_nested_keys_is_found() {
    let cache = Cache::<u32, u32>::new(10);
    let loaded = cache.get_or_load(&0, |_| {
        cache
            .get_or_load(&1, |_| {
                let middle = cache.get_or_load(&2, |_| {
                    assert!(recursive(&cache.get_or_load(&1, |_| 9)));
                    assert!(recursive(&cache.get_or_load(&0, |_| 9)));
                    3
                });
                middle.unwrap() + 1
            })
            .unwrap()
            + 1
    });
    assert_eq!(loaded.unwrap(), 5);
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(4), Some(3)));
}

#[test]
fn l7_a_ring_over_two_threads_is_found() {
    let (cache, both_lead) = (Cache::<u32, u32>::new(10), Barrier::new(2));
    let rings = Mutex::new(0);
    let lead = |own: u32, other: u32| {
        cache.get_or_load(&own, |_| {
            both_lead.wait();
            let crossed = cache.get_or_load(&other, |_| 99);
            if recursive(&crossed) {
                *rings.lock().unwrap() += 1;
            }
            crossed.unwrap_or(10)
        })
    };
    thread::scope(|scope| {
        let one = scope.spawn(|| lead(0, 1).unwrap());
        let two = scope.spawn(|| lead(1, 0).unwrap());
        // Whoever would close the ring is told, and both end with what that one made of it.
        assert_eq!((one.join().unwrap(), two.join().unwrap()), (10, 10));
    });
    assert_eq!(rings.into_inner().unwrap(), 1);
    assert_eq!((cache.get(&0), cache.get(&1)), (Some(10), Some(10)));
}

#[test]
fn l7_a_ring_over_tasks_is_found() {
    let cache = Cache::<u32, u32>::new(10);
    let lead = |own: u32| {
        let cache = &cache;
        async move {
            let loader = async |_| {
                breathe().await;
                let next = (own + 1) % 3;
                cache.get_or_load_async(&next, async |_| 99).await.unwrap_or(10) + 1
            };
            cache.get_or_load_async(&own, loader).await
        }
    };
    let mut tasks: Vec<_> = (0..3).map(|own| Task::waiting(lead(own))).collect();
    assert!(tasks[0].poll().is_pending() && tasks[1].poll().is_pending());
    let [zero, one, two] = std::array::from_fn(|_| tasks.remove(0));
    assert_eq!(two.end().unwrap(), 11, "2 would have waited for 0, which waits for it");
    assert_eq!(one.end().unwrap(), 12);
    assert_eq!(zero.end().unwrap(), 13);
}

#[test]
fn l7_a_diamond_is_no_ring() {
    let (cache, gate, loads) = (Cache::<u32, u32>::new(10), Gate::default(), AtomicU64::new(0));
    let bottom = async |_| {
        loads.fetch_add(1, Ordering::SeqCst);
        gate.pass().await;
        1
    };
    let side = async |_| cache.get_or_load_async(&3, bottom).await.unwrap();
    let left = Task::waiting(cache.get_or_load_async(&1, side));
    let right = Task::waiting(cache.get_or_load_async(&2, side));
    let top = Task::waiting(cache.get_or_load_async(&0, async |_| {
        let left = cache.get_or_load_async(&1, side).await.unwrap();
        left + cache.get_or_load_async(&2, side).await.unwrap()
    }));
    gate.open();
    assert_eq!((left.end().unwrap(), right.end().unwrap(), top.end().unwrap()), (1, 1, 2));
    assert_eq!(loads.into_inner(), 1);
}

#[test]
fn l7_a_cancelled_wait_is_forgotten() {
    let (cache, gate) = (Cache::<u32, u32>::new(10), Gate::default());
    let slow = Task::waiting(cache.get_or_load_async(&1, async |_| {
        gate.pass().await;
        // 0 no longer waits for this: asking for it is no ring.
        cache.get_or_load_async(&0, async |_| 5).await.unwrap()
    }));
    let gave_up =
        Task::waiting(cache.get_or_load_async(&0, async |_| {
            cache.get_or_load_async(&1, async |_| 9).await.unwrap()
        }));
    drop(gave_up);
    gate.open();
    assert_eq!(slow.end().unwrap(), 5);
}

#[test]
fn c2_a_loaded_value_too_heavy_to_keep_is_returned() {
    let (tell, hear) = mpsc::channel();
    let cache = Cache::builder()
        .capacity(10)
        .weigher(|_: &u32, value: &u32| u64::from(*value))
        .removal_listener(move |key, value, cause| tell.send((*key, *value, cause)).unwrap())
        .build()
        .unwrap();
    assert_eq!(cache.get_or_load(&0, |_| 11).unwrap(), 11);
    assert_eq!(hear.try_iter().collect::<Vec<_>>(), [(0, 11, Cause::Refused)]);
    assert_eq!((cache.get(&0), cache.weight(), cache.stats().refused), (None, 0, 1));
    assert_eq!(cache.get_or_load(&0, |_| 10).unwrap(), 10, "its mark is gone");
    assert_eq!(cache.get(&0), Some(10));
}

#[test]
fn c2_a_load_into_a_full_cache_without_eviction_is_returned() {
    let cache = Cache::builder().capacity(1).policy(NoEviction::new).build().unwrap();
    cache.put(0, 1);
    for _ in 0..2 {
        let load = cache.get_or_load_async(&7, async |_| 5);
        assert_eq!(Task::new(load).end().unwrap(), 5);
    }
    assert_eq!((cache.get(&0), cache.get(&7), cache.stats().refused), (Some(1), None, 2));
    let none = Cache::<u32, u32>::new(0);
    assert_eq!(none.get_or_load(&0, |_| 5).unwrap(), 5);
}

#[test]
fn e5_a_load_that_lives_for_no_time_is_returned() {
    let (tell, hear) = mpsc::channel();
    let cache = Cache::builder()
        .capacity(10)
        .time_to_live(Duration::ZERO)
        .clock(ManualClock::new())
        .removal_listener(move |key: &u32, _: &u32, cause| tell.send((*key, cause)).unwrap())
        .build()
        .unwrap();
    let loads = AtomicU64::new(0);
    for round in 1..=2 {
        let load = |_: &u32| loads.fetch_add(1, Ordering::SeqCst) as u32;
        assert_eq!(cache.get_or_load(&0, load).unwrap(), round - 1);
        assert_eq!((cache.len(), cache.weight()), (0, 0));
    }
    assert_eq!(hear.try_iter().collect::<Vec<_>>(), [(0, Cause::Expired); 2]);
    assert_eq!(written_during(&cache, |_| {}), None, "joiners have it all the same");
}

#[test]
fn e1_an_expired_entry_is_loaded_again() {
    let clock = ManualClock::new();
    let build = Cache::builder().capacity(10).time_to_live(MINUTE).clock(clock.clone());
    let cache = build.build().unwrap();
    assert_eq!(cache.get_or_load(&0, |_| 1).unwrap(), 1);
    clock.advance(MINUTE - Duration::from_nanos(1));
    assert_eq!(cache.get_or_load(&0, |_| 2).unwrap(), 1);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(cache.get_or_load(&0, |_| 3).unwrap(), 3);
    assert_eq!(cache.time_to_live_of(&0), Some(MINUTE), "it lives from when it landed");
    assert_eq!((cache.stats().expired, cache.stats().loads), (1, 2));
}
