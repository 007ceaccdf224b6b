//! L9, T32: many keys by one call of the loader; and L1 to L7 for each of them.

#[path = "support/tasks.rs"]
mod support;

use cachette::{Cache, LoadError};
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex, mpsc};
use std::thread;
use support::{Gate, Task, breathe};

type Loaded<E = Infallible> = Result<u32, LoadError<E>>;

/// What each key has, in few words.
#[derive(Clone, Debug, PartialEq)]
enum Short<E> {
    Value(u32),
    Failed(E),
    Recursive,
    Unanswered,
}
use Short::{Failed, Recursive, Unanswered, Value};

fn short<E: Clone>(loaded: &Loaded<E>) -> Short<E> {
    match loaded {
        Ok(value) => Value(*value),
        Err(LoadError::Failed(error)) => Failed(E::clone(error)),
        Err(LoadError::Recursive) => Recursive,
        Err(LoadError::Unanswered) => Unanswered,
        Err(_) => unreachable!("no other error is known"),
    }
}

fn shorts<E: Clone>(loaded: Vec<Loaded<E>>) -> Vec<Short<E>> {
    loaded.into_iter().map(|loaded| short(&loaded)).collect()
}

/// The answer of a loader that gives ten times the key.
fn tens(keys: Vec<u32>) -> HashMap<u32, u32> {
    keys.into_iter().map(|key| (key, key * 10)).collect()
}

fn values<const N: usize>(values: [u32; N]) -> Vec<Short<Infallible>> {
    values.map(Value).to_vec()
}

#[test]
fn t32_a_hit_a_miss_a_flight_and_a_duplicate_cost_one_call() {
    let (cache, gate, calls) = (Cache::<u32, u32>::new(99), Gate::default(), Mutex::new(vec![]));
    cache.put(1, 11);
    let elsewhere = Task::waiting(cache.get_or_load_async(&3, async |_| {
        gate.pass().await;
        33
    }));
    let load = |keys: Vec<u32>| {
        calls.lock().unwrap().push(keys.clone());
        std::future::ready(tens(keys))
    };
    let mut bulk = Task::waiting(cache.get_or_load_many_async(&[1, 2, 3, 2, 4, 1, 3], load));
    assert_eq!((cache.get(&2), cache.get(&4)), (Some(20), Some(40)), "its own have landed");
    assert!(bulk.poll().is_pending() && bulk.wakes() == 0);
    gate.open();
    assert_eq!(elsewhere.end().unwrap(), 33);
    assert_eq!(bulk.wakes(), 1);
    assert_eq!(shorts(bulk.end()), values([11, 20, 33, 20, 40, 11, 33]));
    assert_eq!(*calls.lock().unwrap(), [[2, 4]], "one call, no key twice, none that others load");
}

#[test]
fn t32_threads_see_the_same_as_tasks() {
    let (cache, gate, calls) = (Cache::<u32, u32>::new(99), Gate::default(), AtomicU64::new(0));
    cache.put(1, 11);
    let elsewhere = Task::waiting(cache.get_or_load_async(&3, async |_| {
        gate.pass().await;
        33
    }));
    thread::scope(|scope| {
        let bulk = scope.spawn(|| {
            shorts(cache.get_or_load_many(&[1, 2, 3, 2], |keys| {
                calls.fetch_add(1, Ordering::SeqCst);
                assert_eq!(keys, [2]);
                tens(keys)
            }))
        });
        while cache.peek(&2).is_none() {
            thread::yield_now();
        }
        gate.open();
        assert_eq!(elsewhere.end().unwrap(), 33);
        assert_eq!(bulk.join().unwrap(), values([11, 20, 33, 20]));
    });
    assert_eq!(calls.into_inner(), 1);
}

#[test]
fn l9_each_key_has_an_answer_of_its_own() {
    let cache = Cache::<u32, u32>::new(99);
    let loaded = cache.get_or_load_many(&[1, 2, 3, 2, 4], |keys| {
        assert_eq!(keys, [1, 2, 3, 4]);
        // Key 3 has none, key 9 was never asked for, and of two answers the last one counts.
        vec![(9, Ok(9)), (4, Ok(5)), (4, Ok(40)), (2, Err("no")), (1, Ok(10))]
    });
    assert_eq!(shorts(loaded), [Value(10), Failed("no"), Unanswered, Failed("no"), Value(40)]);
    assert_eq!([1, 2, 3, 4, 9].map(|key| cache.peek(&key)), [Some(10), None, None, Some(40), None]);
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_failures, stats.hits, stats.misses), (2, 2, 0, 4));
    // Nothing is left behind: the others may be loaded again.
    assert_eq!(cache.get_or_load(&2, |_| 2).unwrap(), 2);
    assert_eq!(cache.get_or_load(&3, |_| 3).unwrap(), 3);
}

#[test]
fn l9_duplicates_share_one_error() {
    let cache = Cache::<u32, u32>::new(9);
    let loaded = cache.get_or_load_many(&[1, 1], |_| [(1, Err::<u32, _>("no".to_string()))]);
    let [Err(LoadError::Failed(one)), Err(LoadError::Failed(two))] = &loaded[..] else {
        panic!("both failed")
    };
    assert!(std::sync::Arc::ptr_eq(one, two));
}

#[test]
fn l9_what_is_there_calls_no_loader() {
    let cache = Cache::<u32, u32>::new(99);
    let never = |_: Vec<u32>| -> HashMap<u32, u32> { panic!("nothing is to be loaded") };
    assert!(cache.get_or_load_many(&[] as &[u32], never).is_empty());
    cache.put(1, 10);
    assert_eq!(shorts(cache.get_or_load_many(&[1, 1, 1], never)), values([10, 10, 10]));
    assert_eq!((cache.stats().hits, cache.stats().misses), (1, 0), "equal keys are one use");
}

#[test]
fn l9_keys_may_be_borrowed_and_hash_alike() {
    /// Sends all keys to one place.
    #[derive(Clone, Default)]
    struct Same;
    impl std::hash::Hasher for Same {
        fn finish(&self) -> u64 {
            7
        }
        fn write(&mut self, _: &[u8]) {}
    }
    let hasher = std::hash::BuildHasherDefault::<Same>::default();
    let cache = Cache::<String, u32>::builder().capacity(99).hasher(hasher).build().unwrap();
    let loaded = cache.get_or_load_many(["a", "bb", "a", "ccc", "bb", "a"], |keys| {
        assert_eq!(keys, ["a", "bb", "ccc"]);
        keys.into_iter().map(|key| (key.clone(), key.len() as u32))
    });
    assert_eq!(shorts(loaded), values([1, 2, 1, 3, 2, 1]));
    assert_eq!(cache.stats().misses, 3, "equal keys are one use");
}

#[test]
fn l9_futures_are_send() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    fn load<'a, V>(cache: &'a Cache<String, V>, value: V) -> impl Send + 'a
    where
        V: Clone + Send + Sync + 'a,
    {
        sendable(cache.get_or_load_many_async(["a", "b"], move |keys| {
            let value = value.clone();
            async move {
                breathe().await;
                keys.into_iter().map(move |key| (key, Ok::<_, String>(value.clone())))
            }
        }))
    }
    drop(load(&Cache::new(1), vec![1]));
}

#[test]
fn l1_single_loads_join_a_bulk_load() {
    let (cache, gate) = (Cache::<u32, u32>::new(99), Gate::default());
    let bulk = Task::waiting(cache.get_or_load_many_async(&[1, 2, 3], async |_| {
        gate.pass().await;
        [(1, Ok(10)), (2, Err("no"))]
    }));
    let value = Task::waiting(cache.get_or_load_async(&1, async |_| 99));
    let failed = Task::waiting(cache.get_or_load_async(&2, async |_| Err::<u32, _>("mine")));
    let other = Task::waiting(cache.get_or_load_async(&2, async |_| 98));
    let unanswered = Task::waiting(cache.get_or_load_async(&3, async |_| 97));
    gate.open();
    assert_eq!(shorts(bulk.end()), [Value(10), Failed("no"), Unanswered]);
    assert_eq!((value.wakes(), failed.wakes(), other.wakes(), unanswered.wakes()), (1, 1, 1, 1));
    assert_eq!(short(&value.end()), Value(10));
    assert_eq!(short(&failed.end()), Failed("no"));
    assert_eq!(short(&other.end()), Value(98), "an error of another type is not its");
    assert_eq!(short(&unanswered.end()), Value(97), "no answer is nobody's but the caller's");
}

#[test]
fn l9_what_others_give_up_is_loaded_in_a_second_round() {
    let (cache, gate) = (Cache::<u32, u32>::new(99), Gate::default());
    let cancelled = Task::waiting(cache.get_or_load_async(&2, async |_| {
        gate.pass().await;
        99
    }));
    let failing = Task::waiting(cache.get_or_load_async(&3, async |_| {
        gate.pass().await;
        Err::<u32, _>("for others")
    }));
    let mut calls = Vec::new();
    let mut bulk = Task::waiting(cache.get_or_load_many_async(&[1, 2, 3], |keys: Vec<u32>| {
        calls.push(keys.clone());
        std::future::ready(tens(keys))
    }));
    drop(cancelled);
    assert!(bulk.poll().is_pending());
    gate.open();
    assert!(failing.end().is_err());
    assert_eq!(shorts(bulk.end()), values([10, 20, 30]));
    assert_eq!(calls, [vec![1], vec![2, 3]]);
    assert_eq!((cache.stats().misses, cache.stats().loads), (5, 3), "a round is no look-up");
}

#[test]
fn l9_an_error_of_the_same_type_is_shared() {
    let (cache, gate) = (Cache::<u32, u32>::new(99), Gate::default());
    let failing = Task::waiting(cache.get_or_load_async(&2, async |_| {
        gate.pass().await;
        Err::<u32, _>("no")
    }));
    let load = async |keys: Vec<u32>| keys.into_iter().map(|key| (key, Ok::<_, &str>(key)));
    let bulk = Task::waiting(cache.get_or_load_many_async(&[1, 2], load));
    gate.open();
    assert!(failing.end().is_err());
    assert_eq!(shorts(bulk.end()), [Value(1), Failed("no")]);
}

#[test]
fn l9_a_kept_error_is_for_its_own_type_alone() {
    let minute = std::time::Duration::from_secs(60);
    let cache = Cache::builder().capacity(99).clock(cachette::ManualClock::new());
    let cache =
        cache.loader(|_: &u32| Err::<u32, _>("kept")).cache_errors(move |_, _| Some(minute));
    let cache = cache.build().unwrap();
    assert_eq!(short(&cache.load(&1)), Failed("kept"));
    let sure = |keys: Vec<u32>| keys.into_iter().map(|key| (key, Ok::<_, &str>(key * 10)));
    assert_eq!(shorts(cache.get_or_load_many(&[1, 2], sure)), [Failed("kept"), Value(20)]);
    // Were it to join the kept one again, this would never end.
    assert_eq!(shorts(cache.get_or_load_many(&[1, 2], tens)), values([10, 20]));
}

#[test]
fn l9_calls_that_want_each_others_keys_both_end() {
    let (cache, lead, calls) = (Cache::<u32, u32>::new(99), Barrier::new(2), Mutex::new(vec![]));
    // Each begins with a key of its own, and is in its loader before the other asks for the rest.
    let bulk = |keys: [u32; 4]| {
        let mut first = true;
        shorts(cache.get_or_load_many(&keys, |keys| {
            calls.lock().unwrap().extend(keys.iter().copied());
            if std::mem::take(&mut first) {
                lead.wait();
            }
            tens(keys)
        }))
    };
    for _ in 0..200 {
        thread::scope(|scope| {
            let one = scope.spawn(|| bulk([0, 1, 2, 3]));
            let two = scope.spawn(|| bulk([9, 3, 2, 1]));
            assert_eq!(one.join().unwrap(), values([0, 10, 20, 30]));
            assert_eq!(two.join().unwrap(), values([90, 30, 20, 10]));
        });
        let mut loaded = std::mem::take(&mut *calls.lock().unwrap());
        loaded.sort_unstable();
        assert_eq!(loaded, [0, 1, 2, 3, 9], "each key once");
        cache.clear();
    }
}

#[test]
fn l9_calls_in_opposite_orders_end_one_step_at_a_time() {
    let (cache, gates) = (Cache::<u32, u32>::new(99), [Gate::default(), Gate::default()]);
    let keys = [[1, 2, 3], [3, 2, 1]];
    // 2 is led by a third, so that both calls lead one key and join the others.
    let hold = Gate::default();
    let middle = Task::waiting(cache.get_or_load_many_async(&[2], async |keys| {
        hold.pass().await;
        tens(keys)
    }));
    let bulk = |own: usize, keys: &'static [u32]| {
        let gate = &gates[own];
        Task::waiting(cache.get_or_load_many_async(keys, async |keys: Vec<u32>| {
            assert!(!keys.is_empty(), "who joins all calls no loader");
            gate.pass().await;
            tens(keys)
        }))
    };
    // The first has 1 and 3 and joins 2; the second joins all three.
    let (mut one, mut two) = (bulk(0, &[1, 2, 3]), bulk(1, &[3, 2, 1]));
    gates[1].open();
    assert!(two.poll().is_pending(), "its loader has nothing to do");
    gates[0].open();
    assert!(one.poll().is_pending());
    assert!(two.poll().is_pending());
    assert_eq!((cache.peek(&1), cache.peek(&2), cache.peek(&3)), (Some(10), None, Some(30)));
    hold.open();
    assert_eq!(shorts(middle.end()), values([20]));
    assert_eq!(shorts(two.end()), values(keys[1].map(|key| key * 10)));
    assert_eq!(shorts(one.end()), values(keys[0].map(|key| key * 10)));
    assert_eq!(cache.stats().loads, 3);
}

#[test]
fn l2_a_write_during_a_bulk_load_wins_for_its_key_alone() {
    let cache = Cache::<u32, u32>::new(99);
    let loaded = cache.get_or_load_many(&[1, 2, 3], |keys| {
        cache.put(2, 7);
        assert!(!cache.delete(&3));
        tens(keys)
    });
    assert_eq!(shorts(loaded), values([10, 20, 30]), "the caller has what was loaded");
    assert_eq!([1, 2, 3].map(|key| cache.get(&key)), [Some(10), Some(7), None]);
}

#[test]
fn l5_a_bulk_load_cancelled_at_any_of_its_waits_hands_over() {
    for polls in 0..=4 {
        let (cache, gate) = (Cache::<u32, u32>::new(99), Gate::default());
        let elsewhere = Task::waiting(cache.get_or_load_async(&3, async |_| {
            gate.pass().await;
            33
        }));
        let mut bulk = Task::new(cache.get_or_load_many_async(&[1, 2, 3], async |keys| {
            for _ in 0..3 {
                breathe().await;
            }
            tens(keys)
        }));
        assert!((0..polls).all(|_| bulk.poll().is_pending()));
        // With the fourth poll 1 and 2 have landed, and it waits for 3.
        let alone = |key: u32| Task::new(cache.get_or_load_async(key_of(key), async |_| 5));
        let mut tasks = [1, 2, 3].map(alone);
        let landed = tasks.each_mut().map(|task| task.poll().is_ready());
        assert_eq!(landed, [polls == 0 || polls == 4, polls == 0 || polls == 4, false]);
        drop(bulk);
        let waits = u64::from((1..=3).contains(&polls));
        assert_eq!([tasks[0].wakes(), tasks[1].wakes(), tasks[2].wakes()], [waits, waits, 0]);
        gate.open();
        assert_eq!(elsewhere.end().unwrap(), 33);
        let [one, two, three] = tasks;
        if waits == 1 {
            assert_eq!((one.end().unwrap(), two.end().unwrap()), (5, 5));
        }
        assert_eq!(three.end().unwrap(), 33);
        let expected = if polls == 4 { [10, 20, 33] } else { [5, 5, 33] };
        assert_eq!([1, 2, 3].map(|key| cache.get(&key)), expected.map(Some));
        assert_eq!(cache.stats().load_failures, 0, "a cancelled load has not failed");
    }
}

/// Keys that live as long as any task.
fn key_of(key: u32) -> &'static u32 {
    &[0, 1, 2, 3][key as usize]
}

#[test]
fn l5_a_loader_that_panics_hands_all_its_keys_over() {
    let cache = Cache::<u32, u32>::new(99);
    let gate = Gate::default();
    let mut bulk = Task::waiting(cache.get_or_load_many_async(&[1, 2], async |_| {
        gate.pass().await;
        // Some answers are there already: an answer counts when all have come.
        [1, 2].into_iter().map(|key| {
            if key == 2 {
                resume_unwind(Box::new(key));
            }
            (key, key * 10)
        })
    }));
    let join = |key| Task::waiting(cache.get_or_load_async(key_of(key), async |_| 5));
    let (one, two) = (join(1), join(2));
    gate.open();
    assert!(catch_unwind(AssertUnwindSafe(|| bulk.poll())).is_err());
    assert_eq!((one.wakes(), two.wakes()), (1, 1));
    assert_eq!(cache.stats().load_failures, 2);
    assert_eq!((one.end().unwrap(), two.end().unwrap()), (5, 5));
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(5), Some(5)));
}

#[test]
fn l5_a_panic_while_landing_hands_over_what_has_not_landed() {
    let weigh = |key: &u32, _: &u32| {
        if *key == 2 {
            resume_unwind(Box::new(()));
        }
        1
    };
    let cache = Cache::builder().capacity(99).weigher(weigh).build().unwrap();
    let gate = Gate::default();
    let mut bulk = Task::waiting(cache.get_or_load_many_async(&[1, 2, 3], async |keys| {
        gate.pass().await;
        tens(keys)
    }));
    let join = |key| Task::waiting(cache.get_or_load_async(key_of(key), async |_| 5));
    let (one, three) = (join(1), join(3));
    gate.open();
    assert!(catch_unwind(AssertUnwindSafe(|| bulk.poll())).is_err());
    assert_eq!((one.end().unwrap(), three.end().unwrap()), (10, 5));
    assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (Some(10), None, Some(5)));
}

#[test]
fn l7_a_bulk_loader_that_asks_for_its_own_keys_is_told() {
    let cache = Cache::<u32, u32>::new(99);
    let loaded = cache.get_or_load_many(&[1, 2], |keys| {
        for key in &keys {
            assert_eq!(short(&cache.get_or_load(key, |_| 9)), Recursive);
        }
        // Of many keys, only those are refused that it loads itself.
        assert_eq!(
            shorts(cache.get_or_load_many(&[2, 3, 1], tens)),
            [Recursive, Value(30), Recursive]
        );
        // The answer may be lazy, and asks as well.
        let cache = &cache;
        keys.into_iter().map(move |key| {
            assert_eq!(short(&cache.get_or_load(&(3 - key), |_| 9)), Recursive);
            (key, key * 10)
        })
    });
    assert_eq!(shorts(loaded), values([10, 20]));
    assert_eq!(cache.get_or_load(&4, |_| 4).unwrap(), 4, "nothing runs any more");
}

#[test]
fn l7_user_code_of_a_bulk_load_that_asks_for_its_keys_is_told() {
    use std::sync::{Arc, OnceLock, Weak};
    static CACHE: OnceLock<Weak<Cache<Nosy, u32>>> = OnceLock::new();
    static TOLD: AtomicU64 = AtomicU64::new(0);

    /// Each clone of key 2 asks for key 1.
    #[derive(Hash, PartialEq, Eq)]
    struct Nosy(u32);
    impl Clone for Nosy {
        fn clone(&self) -> Self {
            if let Some(cache) = CACHE.get().and_then(Weak::upgrade).filter(|_| self.0 == 2) {
                let asked = cache.get_or_load(&Self(1), |_| 9);
                TOLD.fetch_add(u64::from(short(&asked) == Recursive), Ordering::SeqCst);
            }
            Self(self.0)
        }
    }
    // Its weigher asks as well: at the time of the first to land, the second has not.
    let weigh = |key: &Nosy, _: &u32| {
        if key.0 == 1 {
            let cache = CACHE.get().and_then(Weak::upgrade).unwrap();
            let asked = cache.get_or_load(&Nosy(3), |_| 9);
            TOLD.fetch_add(u64::from(short(&asked) == Recursive) << 32, Ordering::SeqCst);
        }
        1
    };
    let cache = Arc::new(Cache::builder().capacity(99).weigher(weigh).build().unwrap());
    assert!(CACHE.set(Arc::downgrade(&cache)).is_ok());
    let (tell, hear) = mpsc::channel();
    // On another thread: were it not told, it would wait for ever there.
    let bulk = Arc::clone(&cache);
    thread::spawn(move || {
        let keys = [Nosy(1), Nosy(2), Nosy(3)];
        let loaded = bulk.get_or_load_many(&keys, |keys| keys.into_iter().map(|key| (key, 1)));
        tell.send(shorts(loaded)).unwrap();
    });
    assert_eq!(hear.recv().unwrap(), values([1, 1, 1]));
    let told = TOLD.load(Ordering::SeqCst);
    assert_eq!((told >> 32, told as u32), (1, 3), "one landing; two clones to begin, one to load");
}

#[test]
fn l7_a_ring_through_bulk_loads_is_found() {
    let (cache, both_lead) = (Cache::<u32, u32>::new(99), Barrier::new(2));
    let rings = AtomicU64::new(0);
    let lead = |own: [u32; 2], other: [u32; 2]| {
        cache.get_or_load_many(&own, |keys| {
            both_lead.wait();
            for crossed in cache.get_or_load_many(&other, tens) {
                rings.fetch_add(u64::from(short(&crossed) == Recursive), Ordering::SeqCst);
            }
            tens(keys)
        })
    };
    thread::scope(|scope| {
        let one = scope.spawn(|| shorts(lead([1, 2], [3, 4])));
        let two = scope.spawn(|| shorts(lead([3, 4], [1, 2])));
        assert_eq!(one.join().unwrap(), values([10, 20]));
        assert_eq!(two.join().unwrap(), values([30, 40]));
    });
    assert_eq!(rings.into_inner(), 2, "both keys of the one that would have closed it");
}

#[test]
fn n1_a_bulk_load_takes_its_time_once() {
    let clock = cachette::ManualClock::new();
    let cache = Cache::builder().capacity(99).clock(clock.clone()).build().unwrap();
    let second = std::time::Duration::from_secs(1);
    let loaded = cache.get_or_load_many(&[1, 2, 3], |keys| {
        clock.advance(second);
        tens(keys)
    });
    assert_eq!(shorts(loaded), values([10, 20, 30]));
    assert_eq!((cache.stats().loads, cache.stats().load_time), (3, second));
}

/// What the loader says of a key.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    Value,
    Error,
    Nothing,
}

proptest! {
    #[test]
    fn l9_as_a_map_would(
        says in prop::collection::vec(
            prop_oneof![Just(Says::Value), Just(Says::Error), Just(Says::Nothing)],
            12,
        ),
        steps in prop::collection::vec(
            (prop::collection::vec(0..12_u32, 0..10), prop::collection::vec(0..12_u32, 0..4)),
            1..8,
        ),
    ) {
        let cache = Cache::<u32, u32>::new(99);
        let mut oracle = HashMap::new();
        for (keys, deleted) in steps {
            let missing: BTreeSet<u32> =
                keys.iter().copied().filter(|key| !oracle.contains_key(key)).collect();
            let mut calls = 0;
            let loaded = cache.get_or_load_many(&keys, |asked| {
                calls += 1;
                assert_eq!(asked.len(), missing.len(), "none twice");
                assert_eq!(BTreeSet::from_iter(asked), missing);
                // Answers come in another order, and for keys that nobody has asked for, too.
                (0..13).rev().filter_map(|key| match says.get(key as usize) {
                    Some(Says::Value) => Some((key, Ok(key * 10))),
                    Some(Says::Error) => Some((key, Err(key))),
                    Some(Says::Nothing) => None,
                    None => Some((key, Ok(1))),
                }).collect::<Vec<_>>()
            });
            prop_assert_eq!(calls, u32::from(!missing.is_empty()));
            for key in missing {
                if says[key as usize] == Says::Value {
                    oracle.insert(key, key * 10);
                }
            }
            let expected: Vec<_> = keys.iter().map(|&key| match says[key as usize] {
                Says::Value => Value(oracle[&key]),
                Says::Error => Failed(key),
                Says::Nothing => Unanswered,
            }).collect();
            prop_assert_eq!(shorts(loaded), expected);
            for key in deleted {
                prop_assert_eq!(cache.delete(&key), oracle.remove(&key).is_some());
            }
            prop_assert_eq!(cache.len(), oracle.len());
        }
    }
}
