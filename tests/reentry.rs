//! User code calls the cache again: no deadlock, and a valid cache after. What runs under a lock may not, and is told so.

mod hooks;

use cachette::{Cache, Compute, ComputeError, ManualClock};
use hooks::{Hook, Key, OPS, Op, World, arm, disarm};
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Weak, mpsc};
use std::thread;
use std::time::Duration;

const REFUSAL: &str = "called under its own lock";

/// Calls `inner` at the `nth` call of `hook` in `outer`. False if there is no such call.
fn nest(outer: &Op, hook: Hook, nth: usize, inner: &Op, mask: u64) -> bool {
    let world = World::new(mask);
    let (weak, call): (Weak<World>, _) = (Arc::downgrade(&world), inner.1);
    arm(hook, nth, move || {
        if let Some(world) = weak.upgrade() {
            call(&world);
        }
    });
    let outcome = catch_unwind(AssertUnwindSafe(|| outer.1(&world)));
    let fired = disarm();
    let place = format!("{:?} at call {nth} of {hook:?} in {:?}, mask {mask:x}", inner.0, outer.0);
    assert!(outcome.is_ok(), "{place}");
    let sound = catch_unwind(AssertUnwindSafe(|| world.assert_sound()));
    assert!(sound.is_ok(), "not sound after {place}");
    fired
}

/// Every operation inside every operation, at the first calls of `hook`.
fn everything_in_everything(hook: Hook, least: usize) {
    let mut nested = 0;
    for outer in OPS {
        for inner in OPS {
            for mask in [0, u64::MAX] {
                nested += (0..3).take_while(|&nth| nest(outer, hook, nth, inner, mask)).count();
            }
        }
    }
    assert!(nested >= least, "{nested} calls from {hook:?}");
}

#[test]
fn c5_hash_may_call_the_cache() {
    everything_in_everything(Hook::Hash, 2_000);
}

#[test]
fn c5_clones_may_call_the_cache() {
    everything_in_everything(Hook::CloneKey, 400);
    everything_in_everything(Hook::CloneValue, 400);
}

#[test]
fn c5_destructors_may_call_the_cache() {
    everything_in_everything(Hook::DropKey, 2_000);
    everything_in_everything(Hook::DropValue, 1_000);
}

#[test]
fn c5_weighers_and_expiries_may_call_the_cache() {
    everything_in_everything(Hook::Weigher, 1_000);
    everything_in_everything(Hook::Created, 500);
    everything_in_everything(Hook::Updated, 500);
    everything_in_everything(Hook::Read, 200);
}

#[test]
fn c5_listeners_may_call_the_cache() {
    everything_in_everything(Hook::Listener, 1_000);
}

#[test]
fn c5_closures_and_loaders_may_call_the_cache() {
    everything_in_everything(Hook::Closure, 500);
    everything_in_everything(Hook::Loader, 100);
}

/// The message with which `call` panics, if it does.
fn refusal(call: impl FnOnce()) -> Option<String> {
    let payload = catch_unwind(AssertUnwindSafe(call)).err()?;
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string))
}

/// Operations that compare keys without a lock alone: readers may be called back from there.
const READS: &[&str] = &[
    "get, hit",
    "get, miss",
    "get, dead",
    "get_with",
    "peek",
    "contains_key",
    "time_to_live_of",
    "get_or_load, hit",
];

#[test]
fn c5_eq_that_calls_the_cache_under_its_lock_panics() {
    let mut refusing = 0;
    for outer in OPS {
        let (mut fired, mut refused) = (0, 0);
        for nth in 0.. {
            let world = World::new(0);
            let weak = Arc::downgrade(&world);
            arm(Hook::Eq, nth, move || ignore(weak.upgrade().unwrap().cache.is_empty()));
            let message = refusal(|| outer.1(&world));
            if !disarm() {
                break;
            }
            assert!(message.as_ref().is_none_or(|text| text.contains(REFUSAL)), "{:?}", outer.0);
            fired += 1;
            refused += u32::from(message.is_some());
            world.assert_sound();
        }
        assert_eq!(fired > 0 && refused == 0, READS.contains(&outer.0), "{:?}", outer.0);
        refusing += u32::from(refused > 0);
    }
    assert!(refusing > 20, "{refusing} operations compare keys under the lock");
}

fn ignore<T>(_: T) {}

#[test]
fn c5_a_policy_that_calls_the_cache_is_built_anew() {
    for hook in [Hook::Insert, Hook::Victim, Hook::Remove] {
        let world = World::new(u64::MAX);
        let weak = Arc::downgrade(&world);
        arm(hook, 0, move || assert!(weak.upgrade().unwrap().cache.is_empty()));
        world.cache.put(Key(5), world.value(5, 5));
        assert!(disarm() && world.cache.get(&Key(5)).is_some());
        assert_eq!(world.cache.stats().policy_panics, 1, "{hook:?}");
        world.assert_sound();
    }
}

#[test]
fn r1_computing_a_key_inside_its_own_computation_is_an_error() {
    let cache = Cache::new(10);
    cache.put("a", 1);
    let mut inner = None;
    let outer = cache.compute("a", |_| {
        inner = Some(cache.compute("a", |_| Compute::Replace(2)));
        Compute::Keep
    });
    assert_eq!(inner, Some(Err(ComputeError::Recursive)));
    assert!(outer.is_ok());
    assert_eq!(cache.get("a"), Some(1));
    assert!(cache.compute("a", |_| Compute::Replace(3)).is_ok(), "its mark is gone");
}

#[test]
fn r1_writing_a_key_inside_its_own_computation_is_an_error() {
    type Write = fn(&Cache<&'static str, u32>);
    let writes: [Write; 9] = [
        |cache| cache.put("a", 7),
        |cache| assert!(cache.get_and_put("a", 7).is_some()),
        |cache| assert!(cache.replace_if("a", 7, |_| true)),
        |cache| assert!(cache.delete("a")),
        |cache| assert!(cache.take("a").is_some()),
        |cache| cache.clear(),
        |cache| cache.retain(|_, _| false),
        |cache| assert!(cache.expire_in("a", Duration::ZERO)),
        |cache| cache.put_with_ttl("a", 7, Duration::from_secs(60)),
    ];
    for (number, write) in writes.iter().enumerate() {
        for decision in [Compute::Replace(2), Compute::Delete] {
            let cache = Cache::new(10);
            cache.put("a", 1);
            let mut calls = 0;
            let computed = cache.compute("a", |_| {
                calls += 1;
                write(&cache);
                decision
            });
            assert_eq!((computed, calls), (Err(ComputeError::Recursive), 1), "write {number}");
            assert!(cache.get("a").is_none_or(|value| value == 7), "the write stands");
        }
    }
}

#[test]
fn r1_a_read_or_a_load_of_its_own_key_is_no_recursion() {
    let cache = Cache::new(10);
    let computed = cache.compute("a", |now| {
        let loaded = cache.get_or_load(&"a", |_| 5).unwrap();
        assert!(now.is_none() || now == Some(&loaded));
        Compute::Replace(loaded + 1)
    });
    assert!(computed.is_ok());
    assert_eq!(cache.get("a"), Some(6));
}

/// All keys have one hash.
#[derive(Clone, Copy, Default)]
struct Constant;

impl Hasher for Constant {
    fn finish(&self) -> u64 {
        7
    }
    fn write(&mut self, _: &[u8]) {}
}

impl BuildHasher for Constant {
    type Hasher = Self;
    fn build_hasher(&self) -> Self {
        Self
    }
}

#[test]
fn r1_computations_of_other_keys_may_be_nested() {
    let cache = Cache::builder().capacity(10).hasher(Constant).build().unwrap();
    let outer = cache.compute("a", |_| {
        let inner = cache.compute("b", |_| {
            cache.put("c", 3);
            assert!(!cache.delete("d"));
            Compute::Replace(2)
        });
        assert!(inner.is_ok());
        Compute::Replace(1)
    });
    assert!(outer.is_ok());
    assert_eq!((cache.get("a"), cache.get("b"), cache.get("c")), (Some(1), Some(2), Some(3)));
}

#[test]
fn r1_another_threads_write_runs_the_closure_again() {
    let cache = Cache::new(10);
    cache.put("n", 0);
    let mut runs = 0;
    // Five losses in a row: more than are taken before the computation queues.
    let computed = cache.compute("n", |now| {
        runs += 1;
        if runs <= 5 {
            thread::scope(|scope| scope.spawn(|| cache.put("n", runs * 100)).join().unwrap());
        }
        Compute::Replace(now.copied().unwrap_or(0) + 1)
    });
    assert!(computed.is_ok());
    assert_eq!((runs, cache.get("n")), (6, Some(501)));
}

#[test]
fn r1_a_computation_that_queues_lets_others_wait_their_turn() {
    let cache = Cache::builder().capacity(10).segments(1).build().unwrap();
    let (tell, hear) = mpsc::channel();
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            let mut runs = 0;
            cache.compute("n", |now| {
                runs += 1;
                if runs <= 4 {
                    thread::scope(|s| s.spawn(|| cache.put("n", 10)).join().unwrap());
                } else {
                    // It has its turn now; a computation inside it does not wait for another.
                    assert!(cache.compute("m", |_| Compute::Replace(1)).is_ok());
                    tell.send(()).unwrap();
                }
                Compute::Replace(now.copied().unwrap_or(0) + 1)
            })
        });
        hear.recv().unwrap();
        assert!(cache.compute("other", |_| Compute::Replace(1)).is_ok());
        assert!(first.join().unwrap().is_ok());
    });
    assert_eq!((cache.get("n"), cache.get("m")), (Some(11), Some(1)));
}

#[test]
fn r1_contended_computations_lose_no_increment() {
    let clock = ManualClock::new();
    let cache = Cache::builder().capacity(10).clock(clock).build().unwrap();
    let (start, runs) = (Barrier::new(8), AtomicU64::new(0));
    let minute = Duration::from_secs(60);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                for _ in 0..500 {
                    let counted = cache.compute("hits", |hits| {
                        runs.fetch_add(1, Ordering::Relaxed);
                        thread::yield_now();
                        match hits {
                            None => Compute::ReplaceWithTtl(1, minute),
                            Some(hits) => Compute::ReplaceKeepTtl(hits + 1),
                        }
                    });
                    assert!(counted.is_ok());
                }
            });
        }
    });
    assert_eq!(cache.get("hits"), Some(4_000));
    assert_eq!(cache.time_to_live_of("hits"), Some(minute));
    assert!(runs.into_inner() >= 4_000);
}

#[test]
fn r1_a_counter_with_a_ttl_starts_anew() {
    let clock = ManualClock::new();
    let cache = Cache::builder().capacity(10).clock(clock.clone()).build().unwrap();
    let count = || {
        let step = cache.compute("ip", |n: Option<&u64>| match n {
            None => Compute::ReplaceWithTtl(1, Duration::from_secs(60)),
            Some(n) => Compute::ReplaceKeepTtl(n + 1),
        });
        assert!(step.is_ok());
        cache.get("ip")
    };
    assert_eq!((count(), count()), (Some(1), Some(2)));
    clock.advance(Duration::from_secs(59));
    assert_eq!(count(), Some(3));
    clock.advance(Duration::from_secs(1));
    assert_eq!((count(), count()), (Some(1), Some(2)));
}

#[test]
fn c5_a_listener_may_put_back_what_was_evicted_elsewhere() {
    let spill = Arc::new(Cache::new(100));
    let second = Arc::clone(&spill);
    let cache = Cache::builder()
        .capacity(3)
        .removal_listener(move |key: &u32, value: &u32, _| second.put(*key, *value))
        .build()
        .unwrap();
    (0..10).for_each(|i| cache.put(i, i));
    assert_eq!((cache.len(), spill.len()), (3, 7));
}
