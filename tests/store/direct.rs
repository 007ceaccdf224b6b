//! Through and around.

use crate::faulty::{Fault, Trouble, now, poll};
use crate::{Kit, millis, on_both, text};
use cachette::store::{StoredCache, WriteError};
use cachette::{BuildError, Cache, Compute, Computed, Threads};
use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::thread;

#[test]
fn w22_through_the_store_is_first_and_then_the_cache() {
    on_both(|kit| {
        let cache = kit.through();
        cache.put(1, text("a")).unwrap();
        assert_eq!(kit.store.get(1), Some(text("a")));
        assert_eq!((cache.get(&1), cache.load(&1)), (Some(text("a")), Ok(Some(text("a")))));
        assert!(kit.store.loads().is_empty(), "the cache has it");
        cache.delete(&1).unwrap();
        assert_eq!((cache.get(&1), kit.store.get(1)), (None, None));
        assert_eq!(cache.load(&1), Ok(None));
    });
}

#[test]
fn w22_what_the_store_refuses_changes_nothing() {
    on_both(|kit| {
        let cache = kit.through();
        cache.put(1, text("a")).unwrap();
        kit.store.plan([Fault::Refuse, Fault::Refuse]);
        let refused = cache.put(1, text("b")).unwrap_err();
        assert!(matches!(refused, WriteError::Failed(error) if *error == Trouble::Refused));
        assert!(cache.delete(&1).is_err());
        assert_eq!((cache.get(&1), kit.store.get(1)), (Some(text("a")), Some(text("a"))));
    });
}

#[test]
fn w22_what_may_have_been_written_is_asked_for_anew() {
    on_both(|kit| {
        let cache = kit.through();
        cache.put(1, text("a")).unwrap();
        kit.store.plan([Fault::LateDown]);
        assert!(cache.put(1, text("b")).is_err());
        assert_eq!(cache.get(&1), None, "it may be either");
        assert_eq!(cache.load(&1), Ok(Some(text("b"))));
    });
}

#[test]
fn w16_a_store_that_panics_has_lost_the_write_and_no_more() {
    on_both(|kit| {
        let cache = kit.through();
        kit.store.plan([Fault::Panic]);
        assert!(matches!(cache.put(1, text("a")), Err(WriteError::Lost)));
        cache.put(1, text("b")).unwrap();
        assert_eq!(cache.get(&1), Some(text("b")));
    });
}

#[test]
fn around_the_store_is_written_and_the_cache_forgets() {
    on_both(|kit| {
        let cache = kit.builder(100).write_around().build().unwrap();
        cache.put(1, text("a")).unwrap();
        assert_eq!((cache.get(&1), kit.store.get(1)), (None, Some(text("a"))));
        assert_eq!(cache.load(&1), Ok(Some(text("a"))));
        cache.put(1, text("b")).unwrap();
        assert_eq!(cache.get(&1), None);
        assert_eq!(cache.load(&1), Ok(Some(text("b"))));
    });
}

#[test]
fn writes_of_a_key_are_one_after_the_other() {
    on_both(|kit| {
        let cache = kit.through();
        kit.store.plan([Fault::Stall]);
        let mut first = pin!(cache.put_async(1, text("a")));
        assert!(poll(first.as_mut()).is_pending());
        let mut second = pin!(cache.put_async(1, text("b")));
        assert!(poll(second.as_mut()).is_pending(), "it waits for its turn");
        assert!(now(cache.put_async(2, text("c"))).is_ok(), "others do not");
        kit.store.open();
        assert!(poll(first.as_mut()).is_ready());
        now(second).unwrap();
        assert_eq!((cache.get(&1), kit.store.get(1)), (Some(text("b")), Some(text("b"))));
    });
}

#[test]
fn a_write_that_is_dropped_leaves_a_doubt() {
    on_both(|kit| {
        let cache = kit.through();
        cache.put(1, text("a")).unwrap();
        kit.store.plan([Fault::Stall]);
        {
            let mut dropped = pin!(cache.put_async(1, text("b")));
            assert!(poll(dropped.as_mut()).is_pending());
        }
        assert_eq!(cache.get(&1), None, "the store may have either");
        cache.put(1, text("c")).unwrap();
        assert_eq!(cache.get(&1), Some(text("c")));
    });
}

#[test]
fn with_a_background_a_write_goes_on_without_its_caller() {
    on_both(|kit| {
        let cache = kit.builder(100).spawn(Threads::new()).build().unwrap();
        kit.store.plan([Fault::Stall]);
        {
            let mut dropped = pin!(cache.put_async(1, text("a")));
            assert!(poll(dropped.as_mut()).is_pending());
        }
        kit.store.open();
        // Its turn is over when the write before is.
        cache.compute(1, |_| Compute::Keep).unwrap();
        assert_eq!((cache.get(&1), kit.store.get(1)), (Some(text("a")), Some(text("a"))));
    });
}

#[test]
fn a_write_ends_with_its_time() {
    let kit = Kit::memory();
    let builder = kit.builder(100).spawn(Threads::new()).write_timeout(millis(1));
    let cache = builder.build().unwrap();
    kit.store.plan([Fault::Hang]);
    assert!(matches!(cache.put(1, text("a")), Err(WriteError::TimedOut(_))));
    let alone = kit.builder(100).write_timeout(millis(1)).build();
    assert_eq!(alone.unwrap_err(), BuildError::NoSpawn("write_timeout"));
}

#[test]
fn a_closed_cache_reads_and_does_not_write() {
    on_both(|kit| {
        let cache = kit.through();
        cache.put(1, text("a")).unwrap();
        assert!(cache.close(millis(0)).is_empty());
        assert!(matches!(cache.put(1, text("b")), Err(WriteError::Closed)));
        assert!(matches!(cache.delete(&1), Err(WriteError::Closed)));
        assert_eq!(cache.load(&1), Ok(Some(text("a"))));
    });
}

#[test]
fn w20_computations_go_the_same_way() {
    on_both(|kit| {
        let cache = kit.through();
        assert!(cache.put_if_absent(1, text("a")).unwrap());
        assert!(!cache.put_if_absent(1, text("b")).unwrap());
        assert_eq!(cache.get_and_put(1, text("c")).unwrap(), Some(text("a")));
        assert!(!cache.replace_if(1, text("d"), |old| old == "a").unwrap());
        assert!(cache.replace_if(1, text("d"), |old| old == "c").unwrap());
        assert_eq!(kit.store.get(1), Some(text("d")));
        assert_eq!(cache.take(&1).unwrap(), Some(text("d")));
        assert_eq!(cache.take(&1).unwrap(), None);
        assert_eq!((kit.store.get(1), cache.load(&1)), (None, Ok(None)));
        let kept = cache.compute(1, |_| Compute::Keep).unwrap();
        assert_eq!(kept.0, Computed::Kept);
        let all = cache.put_many([(1, text("x")), (2, text("y"))]);
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(
            cache.load_many(&[1, 2, 3]),
            [Ok(Some(text("x"))), Ok(Some(text("y"))), Ok(None)]
        );
    });
}

#[test]
fn w20_a_computation_begins_with_what_the_store_has() {
    on_both(|kit| {
        kit.through().put(1, text("old")).unwrap();
        kit.clock.advance(millis(1));
        let cache = kit.through();
        cache.compute(1, |old| Compute::Replace(format!("{}er", old.unwrap()))).unwrap();
        assert_eq!(kit.store.get(1), Some(text("older")));
    });
}

#[test]
fn a_computation_that_writes_its_own_key_is_told() {
    let kit = Kit::memory();
    let cache = kit.through();
    let inner = cache.clone();
    let computed = cache.compute(1, |_| {
        assert!(matches!(inner.put(1, text("x")), Err(WriteError::Recursive)));
        inner.put(2, text("y")).unwrap();
        Compute::Keep
    });
    assert_eq!(computed.unwrap().0, Computed::Kept);
}

#[test]
fn computations_of_many_threads_are_one_after_the_other() {
    on_both(|kit| {
        let (cache, barrier) = (kit.through(), Arc::new(Barrier::new(4)));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    for _ in 0..50 {
                        cache.compute(7, one_more).unwrap();
                    }
                });
            }
        });
        assert_eq!((cache.get(&7), kit.store.get(7)), (Some(text(200)), Some(text(200))));
    });
}

pub(crate) fn one_more(old: Option<&String>) -> Compute<String> {
    let old: u64 = old.map_or(0, |old| old.parse().unwrap());
    Compute::Replace(text(old + 1))
}

#[test]
fn versions_grow_from_process_to_process() {
    let kit = Kit::memory();
    kit.through().put(1, text("a")).unwrap();
    kit.clock.advance(millis(1));
    kit.through().put(1, text("b")).unwrap();
    let versions: Vec<u64> = kit.store.batches().iter().map(|batch| batch[0].2).collect();
    assert!(versions[0] < versions[1], "w18: {versions:?}");
}

#[test]
fn many_keys_are_loaded_by_one_call() {
    let kit = Kit::memory();
    let cache: StoredCache<u64, String, Trouble> = kit.through();
    cache.put(1, text("a")).unwrap();
    assert_eq!(cache.load_many(&[1, 2, 2]), [Ok(Some(text("a"))), Ok(None), Ok(None)]);
    assert_eq!(kit.store.loads(), [2]);
    let plain = Cache::<u64, String>::builder().store(Arc::clone(&kit.store)).build();
    assert_eq!(plain.unwrap_err(), BuildError::NoCapacity);
}
