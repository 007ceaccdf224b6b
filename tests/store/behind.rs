//! Behind: the queue, as a cache has it.

use crate::direct::one_more;
use crate::faulty::{Fault, Trouble, now, poll};
use crate::{Kit, millis, on_both, text, usual};
use cachette::store::{FlushError, MemoryStore, WhenFull, WriteBehind, WriteError};
use cachette::{BuildError, Cache, Compute, Threads};
use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

#[test]
fn w1_the_store_sees_the_last_of_many_writes() {
    on_both(|kit| {
        let cache = kit.behind(usual());
        for value in 1..=3 {
            cache.put(1, text(value)).unwrap();
        }
        assert_eq!(cache.drive(), 0, "it is not due");
        assert_eq!(kit.store.get(1), None);
        kit.clock.advance(millis(100));
        assert_eq!(cache.drive(), 1);
        assert_eq!(kit.store.asked(), [(1, Some(text(3)))]);
    });
}

#[test]
fn w2_a_put_and_a_deletion_are_one_write() {
    on_both(|kit| {
        let cache = kit.behind(usual());
        cache.put(1, text("a")).unwrap();
        cache.delete(&1).unwrap();
        cache.delete(&2).unwrap();
        cache.put(2, text("b")).unwrap();
        assert_eq!(cache.flush(), Ok(2));
        assert_eq!(kit.store.asked(), [(1, None), (2, Some(text("b")))]);
        assert_eq!((cache.load(&1), cache.load(&2)), (Ok(None), Ok(Some(text("b")))));
    });
}

#[test]
fn w3_without_coalescing_the_store_sees_every_write_in_order() {
    on_both(|kit| {
        let cache = kit.behind(usual().coalesce(false));
        kit.store.plan([Fault::None, Fault::Down]);
        for value in 1..=4 {
            cache.put(1, text(value)).unwrap();
        }
        let mut flushed = cache.flush();
        while flushed.is_err() {
            kit.clock.advance(millis(20));
            flushed = cache.flush();
        }
        let asked: Vec<String> = kit.store.asked().into_iter().filter_map(|it| it.1).collect();
        assert_eq!(asked, ["1", "2", "2", "3", "4"], "the second was tried twice");
    });
}

#[test]
fn w4_what_comes_while_a_key_is_written_is_written_after_it() {
    on_both(|kit| {
        let cache = kit.behind(usual());
        kit.store.plan([Fault::Stall]);
        cache.put(1, text("a")).unwrap();
        kit.clock.advance(millis(100));
        let mut driving = pin!(cache.drive_async());
        assert!(poll(driving.as_mut()).is_pending());
        cache.put(1, text("b")).unwrap();
        kit.clock.advance(millis(100));
        assert_eq!(cache.drive(), 0, "one at a time");
        assert_eq!(cache.get(&1), Some(text("b")));
        kit.store.open();
        assert_eq!(poll(driving.as_mut()), Poll::Ready(2), "and the one that waited");
        assert_eq!(kit.store.asked(), [(1, Some(text("a"))), (1, Some(text("b")))]);
    });
}

#[test]
fn w4_a_write_that_fails_is_not_tried_after_a_newer_one() {
    on_both(|kit| {
        let cache = kit.behind(usual());
        kit.store.plan([Fault::Down]);
        cache.put(1, text("a")).unwrap();
        assert_eq!(cache.flush(), Err(FlushError { failed: 0, left: 1 }));
        cache.put(1, text("b")).unwrap();
        kit.clock.advance(millis(100));
        assert_eq!(cache.flush(), Ok(1));
        assert_eq!(kit.store.asked(), [(1, Some(text("a"))), (1, Some(text("b")))]);
    });
}

#[test]
fn w5_a_writer_reads_what_it_wrote_though_it_was_evicted_or_has_expired() {
    on_both(|kit| {
        let cache = Cache::builder().capacity(1).time_to_live(millis(10)).clock(kit.clock.clone());
        let cache = cache.store(Arc::clone(&kit.store)).write_behind(usual()).build().unwrap();
        for key in 0..3 {
            cache.put(key, text(key)).unwrap();
            assert_eq!(cache.load(&key), Ok(Some(text(key))));
        }
        kit.clock.advance(millis(50));
        for key in 0..3 {
            assert_eq!(cache.get(&key), Some(text(key)));
            assert_eq!(cache.load(&key), Ok(Some(text(key))));
        }
        assert!(kit.store.loads().is_empty(), "the store is not asked for what waits");
    });
}

#[test]
fn w5_what_is_to_be_deleted_is_not_there_and_not_asked_for() {
    on_both(|kit| {
        kit.through().put(1, text("a")).unwrap();
        let cache = kit.behind(usual());
        assert_eq!(cache.load(&1), Ok(Some(text("a"))));
        cache.put(1, text("b")).unwrap();
        assert_eq!((cache.get(&1), cache.load(&1)), (Some(text("b")), Ok(Some(text("b")))));
        cache.delete(&1).unwrap();
        assert_eq!((cache.get(&1), cache.load(&1)), (None, Ok(None)));
        assert_eq!(cache.load_many(&[1, 2]), [Ok(None), Ok(None)]);
        assert_eq!(kit.store.loads(), [1, 2]);
    });
}

#[test]
fn w6_eviction_loses_nothing() {
    on_both(|kit| {
        let cache = Cache::builder().capacity(1).clock(kit.clock.clone());
        let behind = WriteBehind::new().bound(1_000);
        let cache = cache.store(Arc::clone(&kit.store)).write_behind(behind).build().unwrap();
        kit.store.plan([Fault::Stall]);
        for key in 0..1_000 {
            cache.put(key, text(key)).unwrap();
        }
        assert!(matches!(cache.put(1_000, text("x")), Err(WriteError::Full { .. })));
        assert_eq!(cache.write_stats().held, 1_000);
        let mut flushing = pin!(cache.flush_async());
        assert!(poll(flushing.as_mut()).is_pending());
        kit.store.open();
        assert_eq!(now(flushing), Ok(1_000));
        for key in 0..1_000 {
            assert_eq!(kit.store.get(key), Some(text(key)));
        }
    });
}

#[test]
fn w7_what_has_expired_is_written_once_and_not_deleted() {
    on_both(|kit| {
        let cache = Cache::builder().capacity(9).time_to_live(millis(10)).clock(kit.clock.clone());
        let cache = cache.store(Arc::clone(&kit.store)).write_behind(usual()).build().unwrap();
        cache.put(1, text("a")).unwrap();
        kit.clock.advance(millis(100));
        cache.drive();
        kit.clock.advance(millis(100));
        cache.drive();
        assert_eq!(kit.store.asked(), [(1, Some(text("a")))]);
    });
}

#[test]
fn w8_a_full_queue_rejects_what_is_new() {
    on_both(|kit| {
        let cache = kit.behind(usual().bound(2).when_full(WhenFull::Reject));
        cache.put(1, text("a")).unwrap();
        cache.put(2, text("a")).unwrap();
        let full = cache.put(3, text("a")).unwrap_err();
        assert!(matches!(full, WriteError::Full { entries: 2, .. }), "{full}");
        cache.put(2, text("b")).unwrap();
        assert_eq!(cache.write_stats().rejected, 1);
        assert_eq!(cache.flush(), Ok(2));
        cache.put(3, text("a")).unwrap();
    });
}

#[test]
fn w8_a_task_waits_for_room_and_no_thread_is_blocked() {
    on_both(|kit| {
        let behind = usual().bound(2).when_full(WhenFull::Block(millis(3_600_000)));
        let builder = kit.builder(100).spawn(Never).write_behind(behind);
        let cache = builder.build().unwrap();
        cache.put(1, text("a")).unwrap();
        cache.put(2, text("a")).unwrap();
        let mut third = pin!(cache.put_async(3, text("a")));
        let mut fourth = pin!(cache.put_async(4, text("a")));
        let woken = Arc::new(Woken::default());
        {
            let mut dropped = pin!(cache.put_async(5, text("a")));
            assert!(poll(third.as_mut()).is_pending());
            assert!(poll(dropped.as_mut()).is_pending());
            let waker = Waker::from(Arc::clone(&woken));
            assert!(fourth.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            assert!(now(cache.put_async(1, text("b"))).is_ok(), "it takes the place of another");
        }
        kit.clock.advance(millis(100));
        assert_eq!(cache.drive(), 2);
        assert!(woken.0.load(Ordering::Relaxed), "who is gone takes nobody's room");
        assert!(now(third).is_ok() && now(fourth).is_ok());
        assert_eq!(cache.write_stats().blocked, 3);
        assert_eq!(cache.get(&5), None);
    });
}

/// Knows whether it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A background in which nothing runs, and no time passes.
struct Never;

impl cachette::Spawn for Never {
    fn spawn(&self, _: cachette::Task) {}
    fn sleep(&self, _: std::time::Duration) -> cachette::Task {
        Box::pin(std::future::pending())
    }
}

#[test]
fn w8_waiting_for_room_has_an_end() {
    on_both(|kit| {
        kit.store.always(Some(Fault::Hang));
        let behind = usual().bound(1).when_full(WhenFull::Block(millis(1)));
        let cache = kit.builder(100).spawn(Threads::new()).write_behind(behind).build().unwrap();
        cache.put(1, text("a")).unwrap();
        assert!(matches!(cache.put(2, text("a")), Err(WriteError::Full { .. })));
        let left = cache.close(millis(0));
        assert_eq!(left.len(), 1);
    });
}

#[test]
fn w8_without_room_the_caller_writes() {
    on_both(|kit| {
        let cache = kit.behind(usual().bound(1).when_full(WhenFull::WriteThrough));
        cache.put(1, text("a")).unwrap();
        let receipt = cache.put(2, text("b")).unwrap();
        assert!(matches!(receipt.outcome(), Some(Ok(()))));
        assert_eq!((kit.store.get(1), kit.store.get(2)), (None, Some(text("b"))));
        assert_eq!(cache.load(&2), Ok(Some(text("b"))));
        kit.store.plan([Fault::Down]);
        assert!(matches!(cache.put(3, text("c")), Err(WriteError::Failed(_))));
        assert_eq!(cache.load(&3), Ok(None));
        assert_eq!(cache.write_stats().written_through, 2);
    });
}

#[test]
fn w8_what_a_caller_could_not_write_is_not_kept() {
    on_both(|kit| {
        let cache = kit.behind(usual().bound(1).when_full(WhenFull::WriteThrough));
        cache.put(1, text("a")).unwrap();
        kit.store.plan([Fault::Stall, Fault::LateDown]);
        {
            let mut alone = pin!(cache.put_async(2, text("b")));
            assert!(poll(alone.as_mut()).is_pending());
            assert_eq!(cache.load(&2), Ok(Some(text("b"))), "w5: it is on its way");
        }
        assert_eq!((cache.get(&2), cache.load(&2)), (None, Ok(None)), "its caller is gone");
        assert!(cache.put(2, text("c")).is_err());
        assert_eq!(cache.load(&2), Ok(Some(text("c"))), "it was done all the same");
    });
}

#[test]
fn w9_a_batch_is_written_when_it_is_full_and_when_it_is_old() {
    on_both(|kit| {
        let cache = kit.behind(usual());
        for key in 0..5 {
            cache.put(key, text(key)).unwrap();
        }
        assert_eq!(cache.drive(), 4);
        kit.clock.advance(millis(99));
        assert_eq!(cache.drive(), 0);
        kit.clock.advance(millis(1));
        assert_eq!(cache.drive(), 1);
        assert_eq!(kit.store.batches().iter().map(Vec::len).collect::<Vec<_>>(), [4, 1]);
    });
}

#[test]
fn w9_a_heavy_batch_is_a_full_one() {
    on_both(|kit| {
        let bytes = |_: &u64, value: Option<&String>| value.map_or(0, |value| value.len() as u64);
        let cache = kit.behind(usual().batch_bytes(10).bound_bytes(25).bytes_by(bytes));
        cache.put(1, text("12345")).unwrap();
        assert_eq!(cache.drive(), 0);
        cache.put(2, text("123456")).unwrap();
        assert_eq!(cache.drive(), 1, "both are too much, and the rest is not due");
        cache.put(3, text("1234")).unwrap();
        assert_eq!(cache.drive(), 2);
        assert_eq!(kit.store.batches().iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
        cache.put(2, text("1234")).unwrap();
        cache.put(1, "x".repeat(22)).unwrap_err();
        cache.put(2, "x".repeat(25)).unwrap();
    });
}

#[test]
fn w10_a_write_is_tried_again_later_and_later_with_what_is_newest() {
    on_both(|kit| {
        let cache = kit.behind(usual().batch(1));
        kit.store.plan([Fault::Down, Fault::Down]);
        cache.put(1, text("a")).unwrap();
        assert_eq!(cache.drive(), 1);
        assert_eq!(cache.drive(), 0);
        kit.clock.advance(millis(10));
        cache.put(1, text("b")).unwrap();
        assert_eq!(cache.drive(), 1);
        kit.clock.advance(millis(9));
        assert_eq!(cache.drive(), 0, "twice as long, less at most a half");
        kit.clock.advance(millis(11));
        assert_eq!(cache.drive(), 1);
        assert_eq!(
            kit.store.asked(),
            [(1, text("a")), (1, text("b")), (1, text("b"))].map(|(k, v)| (k, Some(v)))
        );
        assert_eq!((kit.store.get(1), cache.write_stats().retried), (Some(text("b")), 2));
    });
}

#[test]
fn w11_a_poisoned_key_stands_in_nobodys_way() {
    on_both(|kit| {
        let cache = kit.behind(usual());
        kit.store.poison(2, Fault::Refuse);
        for key in 0..4 {
            cache.put(key, text(key)).unwrap();
        }
        assert_eq!(cache.flush(), Err(FlushError { failed: 1, left: 0 }));
        assert_eq!([0, 1, 2, 3].map(|key| kit.store.get(key).is_some()), [true, true, false, true]);
        assert_eq!(cache.load(&2), Ok(None), "w17: it is as it was");
    });
}

#[test]
fn w11_only_keys_that_failed_are_tried_again() {
    on_both(|kit| {
        let cache = kit.behind(usual());
        kit.store.poison(2, Fault::LateDown);
        for key in 0..4 {
            cache.put(key, text(key)).unwrap();
        }
        assert_eq!(cache.flush(), Err(FlushError { failed: 0, left: 1 }));
        kit.clock.advance(millis(10));
        cache.drive();
        assert_eq!(kit.store.batches().iter().map(Vec::len).collect::<Vec<_>>(), [4, 1]);
    });
}

#[test]
fn w12_a_write_that_is_given_up_is_told_of_once_and_kept() {
    on_both(|kit| {
        let letters = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&letters);
        let behind = usual().on_dead_letter(move |dead| {
            let Some(value) = dead.value else { return };
            heard.lock().unwrap().push((*dead.key, value.clone(), dead.attempts, dead.age));
            std::panic::panic_any("it is caught");
        });
        let cache = kit.behind(behind);
        kit.store.plan([Fault::Down; 3]);
        cache.put(1, text("a")).unwrap();
        assert_eq!(
            (cache.load(&1), cache.levels().get(&1)),
            (Ok(Some(text("a"))), Some(text("a")))
        );
        for _ in 0..5 {
            let _ = cache.flush();
            kit.clock.advance(millis(20));
        }
        assert_eq!(*letters.lock().unwrap(), [(1, text("a"), 3, millis(40))]);
        let stats = cache.write_stats();
        assert_eq!((stats.dead, stats.held, stats.dead_lettered), (1, 1, 1));
        let dead = cache.dead_letters();
        assert!(matches!(&dead[..], [dead] if dead.key == 1 && dead.error.is_some()));
        assert_eq!((cache.get(&1), cache.load(&1)), (None, Ok(None)), "w17: it is as it was");
        assert_eq!(cache.retry_dead(), 1);
        assert_eq!(cache.load(&1), Ok(Some(text("a"))), "it waits again");
        assert_eq!(cache.flush(), Ok(1));
        assert_eq!(kit.store.get(1), Some(text("a")));
    });
}

#[test]
fn w12_dead_letters_can_be_taken_or_not_kept() {
    on_both(|kit| {
        let cache = kit.behind(usual());
        kit.store.plan([Fault::Refuse]);
        cache.put(1, text("a")).unwrap();
        assert!(cache.flush().is_err());
        assert_eq!(cache.take_dead().len(), 1);
        assert_eq!(cache.write_stats().held, 0);
        let cache = kit.behind(usual().keep_dead(false));
        kit.store.plan([Fault::Refuse]);
        cache.put(1, text("a")).unwrap();
        assert!(cache.flush().is_err());
        assert_eq!((cache.write_stats().held, cache.write_stats().dead_lettered), (0, 1));
    });
}

#[test]
fn w13_a_receipt_tells_when_the_store_has_it_or_something_newer() {
    on_both(|kit| {
        let cache = kit.behind(usual());
        let first = cache.put(1, text("a")).unwrap();
        let second = cache.put(1, text("b")).unwrap();
        let mut durable = pin!(first.durable());
        assert!(poll(durable.as_mut()).is_pending() && second.outcome().is_none());
        assert_eq!(cache.flush(), Ok(1));
        assert!(now(durable).is_ok() && second.wait().is_ok());
        kit.store.plan([Fault::Refuse]);
        let third = cache.put(1, text("c")).unwrap();
        assert!(cache.flush().is_err());
        assert!(matches!(third.wait(), Err(WriteError::Failed(_))));
        assert!(first.wait().is_ok(), "what is settled stays so");
    });
}

#[test]
fn w14_a_flush_waits_for_what_came_before_it() {
    on_both(|kit| {
        let cache = kit.behind(usual().batch(1));
        kit.store.plan([Fault::None, Fault::Stall]);
        cache.put(1, text("a")).unwrap();
        let mut flushing = pin!(cache.flush_async());
        cache.put(2, text("b")).unwrap();
        // The first poll is the barrier, and drives both.
        assert!(poll(flushing.as_mut()).is_pending());
        cache.put(3, text("c")).unwrap();
        kit.store.open();
        assert_eq!(now(flushing), Ok(2));
    });
}

#[test]
fn w14_a_flush_by_hand_tells_what_was_given_up_and_what_is_left() {
    on_both(|kit| {
        let cache = kit.behind(usual().batch(1));
        kit.store.plan([Fault::Refuse, Fault::Down, Fault::None]);
        for key in 0..3 {
            cache.put(key, text(key)).unwrap();
        }
        assert_eq!(cache.flush(), Err(FlushError { failed: 1, left: 1 }));
        assert_eq!(kit.store.get(2), Some(text(2)));
    });
}

#[test]
fn w15_a_closed_cache_gives_back_what_was_not_written() {
    on_both(|kit| {
        let cache = kit.behind(usual().batch(1));
        kit.store.plan([Fault::None, Fault::Down]);
        cache.put(1, text("a")).unwrap();
        cache.put(2, text("b")).unwrap();
        let receipt = cache.put(2, text("c")).unwrap();
        let left = cache.close(millis(0));
        assert!(matches!(&left[..], [left] if left.key == 2 && !left.unsure));
        assert_eq!(left[0].value.as_deref(), Some(&text("c")));
        assert!(matches!(receipt.wait(), Err(WriteError::Closed)));
        assert!(matches!(cache.put(3, text("d")), Err(WriteError::Closed)));
        kit.clock.advance(millis(1_000));
        assert_eq!(cache.drive(), 0, "nothing is written any more");
        assert_eq!((kit.store.get(1), kit.store.get(2)), (Some(text("a")), None));
    });
}

#[test]
fn w15_closing_ends_at_its_deadline_whatever_the_store_does() {
    on_both(|kit| {
        kit.store.always(Some(Fault::Hang));
        let cache = kit.builder(100).spawn(Threads::new()).write_behind(usual().batch(1));
        let cache = cache.build().unwrap();
        cache.put(1, text("a")).unwrap();
        while cache.write_stats().in_flight == 0 {
            thread::yield_now();
        }
        cache.put(1, text("b")).unwrap();
        let left = cache.close(millis(1));
        assert!(matches!(&left[..], [first, second] if first.unsure && !second.unsure));
        assert_eq!(cache.write_stats().in_flight, 0, "it was taken from the store");
    });
}

#[test]
fn w15_what_the_last_handle_gives_up_is_told_of() {
    on_both(|kit| {
        let lost = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&lost);
        let cache = kit.behind(usual().on_abandoned(move |lost| heard.lock().unwrap().push(lost)));
        let receipt = cache.put(1, text("a")).unwrap();
        drop(cache.clone());
        assert!(lost.lock().unwrap().is_empty());
        drop(cache);
        assert_eq!(*lost.lock().unwrap(), [1]);
        assert!(matches!(receipt.wait(), Err(WriteError::Closed)));
        assert!(kit.store.batches().is_empty());
    });
}

#[test]
fn w16_a_store_that_panics_or_miscounts_has_failed() {
    on_both(|kit| {
        let cache = kit.behind(usual());
        kit.store.plan([Fault::Panic, Fault::Miscount]);
        cache.put(1, text("a")).unwrap();
        assert_eq!(cache.flush(), Err(FlushError { failed: 0, left: 1 }));
        kit.clock.advance(millis(10));
        assert_eq!(cache.flush(), Err(FlushError { failed: 0, left: 1 }));
        kit.clock.advance(millis(20));
        assert_eq!(cache.flush(), Ok(1));
        assert_eq!((kit.store.get(1), cache.write_stats().retried), (Some(text("a")), 2));
    });
}

#[test]
fn w16_the_last_error_of_a_batch_that_miscounts_says_so() {
    let kit = Kit::memory();
    let cache = kit.behind(usual().attempts(1));
    kit.store.plan([Fault::Miscount]);
    let receipt = cache.put(1, text("a")).unwrap();
    assert!(cache.flush().is_err());
    let error = receipt.wait().unwrap_err();
    assert!(matches!(error, WriteError::Miscounted { asked: 1, answered: 0 }), "{error}");
}

#[test]
fn w16_a_store_that_never_answers_is_given_up() {
    let kit = Kit::memory();
    kit.store.plan([Fault::Hang, Fault::Hang, Fault::Hang]);
    let behind = usual().batch(1).timeout(millis(1)).attempts(1);
    let cache = kit.builder(100).spawn(Threads::new()).write_behind(behind).build().unwrap();
    let receipt = cache.put(1, text("a")).unwrap();
    assert!(matches!(receipt.wait(), Err(WriteError::TimedOut(_))));
    assert!(cache.close(millis(1_000)).len() == 1, "the dead letter");
}

#[test]
fn a_store_that_lies_is_believed() {
    let kit = Kit::memory();
    let cache = kit.behind(usual());
    kit.store.plan([Fault::Lie]);
    cache.put(1, text("a")).unwrap();
    assert_eq!(cache.flush(), Ok(1));
    assert_eq!(cache.load(&1), Ok(None), "but what it has is what is read");
}

#[test]
fn w18_what_may_have_been_written_is_written_again_with_its_version() {
    on_both(|kit| {
        let cache = kit.behind(usual());
        kit.store.plan([Fault::LateDown]);
        cache.put(1, text("a")).unwrap();
        assert!(cache.flush().is_err());
        kit.clock.advance(millis(10));
        assert_eq!(cache.flush(), Ok(1));
        let batches = kit.store.batches();
        assert_eq!(batches[0], batches[1]);
    });
}

#[test]
fn w19_a_load_under_way_does_not_bring_back_what_was() {
    let kit = Kit::memory();
    kit.through().put(1, text("old")).unwrap();
    let (reached, go_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let cache = kit.behind(usual());
    thread::scope(|scope| {
        let loading = scope.spawn(|| {
            cache.levels().get_or_load(&1, |_| {
                reached.wait();
                go_on.wait();
                text("old")
            })
        });
        reached.wait();
        cache.put(1, text("new")).unwrap();
        go_on.wait();
        loading.join().unwrap().unwrap();
    });
    assert_eq!((cache.get(&1), cache.load(&1)), (Some(text("new")), Ok(Some(text("new")))));
    cache.levels().refresh(&1);
    assert_eq!(cache.load(&1), Ok(Some(text("new"))));
    assert!(kit.store.loads().is_empty(), "what waits is not loaded anew");
    assert_eq!(cache.flush(), Ok(1));
    assert_eq!(cache.load(&1), Ok(Some(text("new"))));
}

#[test]
fn w20_computations_see_what_waits() {
    on_both(|kit| {
        kit.through().put(1, text(5)).unwrap();
        let cache = kit.behind(usual());
        let receipts = [1, 2, 3].map(|_| cache.compute(1, one_more).unwrap().1);
        assert_eq!(cache.get_and_put(2, text("x")).unwrap(), None);
        assert_eq!(cache.take(&2).unwrap(), Some(text("x")));
        assert!(!cache.replace_if(2, text("y"), |_| true).unwrap());
        assert!(cache.put_if_absent(2, text("z")).unwrap());
        assert_eq!(cache.flush(), Ok(2));
        assert!(receipts.iter().all(|receipt| matches!(receipt.outcome(), Some(Ok(())))), "w13");
        assert_eq!(kit.store.asked()[1..], [(1, Some(text(8))), (2, Some(text("z")))]);
    });
}

/// A key that stops the thread that asks for its hash, when that has been told to stop at so many more.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Halting;

thread_local! {
    static HALT: RefCell<Option<(u32, Arc<Barrier>)>> = const { RefCell::new(None) };
}

impl Hash for Halting {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u8(7);
        let halted = HALT.take().and_then(|(more, barrier)| match more {
            0 => Some(barrier),
            _ => {
                HALT.set(Some((more - 1, barrier)));
                None
            }
        });
        if let Some(barrier) = halted {
            // Here it is; and it may go on.
            barrier.wait();
            barrier.wait();
        }
    }
}

/// The second hash is that of L1, which is to forget the key: by now the write is in the queue.
#[test]
fn w20_a_computation_sees_a_write_that_l1_has_not_heard_of() {
    let store = Arc::new(MemoryStore::new());
    let cache = Cache::<Halting, u64>::builder().capacity(9).store(Arc::clone(&store));
    let cache = cache.write_behind(WriteBehind::new()).build().unwrap();
    cache.put(Halting, 1).unwrap();
    assert_eq!((cache.load(&Halting), cache.flush()), (Ok(Some(1)), Ok(1)));
    let barrier = Arc::new(Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            HALT.set(Some((1, Arc::clone(&barrier))));
            cache.put(Halting, 10).unwrap();
        });
        barrier.wait();
        assert_eq!(cache.flush(), Ok(1));
        cache.compute(Halting, |old| Compute::Replace(old.unwrap() + 1)).unwrap();
        barrier.wait();
    });
    assert_eq!((cache.load(&Halting), cache.flush()), (Ok(Some(11)), Ok(1)));
    assert_eq!(store.get(&Halting), Some(11));
}

#[test]
fn w20_a_computation_that_was_overtaken_runs_again() {
    let kit = Kit::memory();
    let cache = kit.behind(usual());
    let (inner, mut runs) = (cache.clone(), 0);
    cache
        .compute(1, |old| {
            runs += 1;
            if runs == 1 {
                // From another thread, or it would be told that it recurs.
                thread::scope(|scope| {
                    scope.spawn(|| inner.put(1, text(10)).unwrap());
                });
            }
            one_more(old)
        })
        .unwrap();
    assert_eq!((runs, cache.get(&1)), (2, Some(text(11))));
}

#[test]
fn w21_everything_is_counted() {
    on_both(|kit| {
        let cache = kit.behind(usual());
        cache.put(1, text("a")).unwrap();
        kit.clock.advance(millis(30));
        cache.put(1, text("b")).unwrap();
        cache.put(2, text("c")).unwrap();
        let stats = cache.write_stats();
        assert_eq!((stats.held, stats.dirty, stats.oldest), (2, 2, Some(millis(30))));
        assert!(stats.held_bytes > 0);
        kit.clock.advance(millis(70));
        assert_eq!(cache.drive(), 2);
        let stats = cache.write_stats();
        assert_eq!((stats.accepted, stats.coalesced, stats.written), (3, 1, 2));
        assert_eq!((stats.held, stats.held_bytes, stats.oldest), (0, 0, None));
        let longest = stats.latency.quantile(1.0).unwrap();
        assert!(longest >= millis(100) && longest <= millis(125), "{longest:?}");
    });
}

#[test]
fn choices_that_make_no_sense_are_named() {
    let kit = Kit::memory();
    let build = |behind| kit.builder(9).write_behind(behind).build().map(drop);
    assert_eq!(build(usual().batch(0)), Err(BuildError::Zero("batch")));
    assert_eq!(build(usual().bound(0)), Err(BuildError::Zero("bound")));
    assert_eq!(build(usual().in_flight(0)), Err(BuildError::Zero("in_flight")));
    assert_eq!(build(usual().attempts(0)), Err(BuildError::Zero("attempts")));
    let block = build(usual().when_full(WhenFull::Block(millis(1))));
    assert_eq!(block, Err(BuildError::NoSpawn("when_full(Block)")));
}

#[test]
fn the_background_writes_by_itself() {
    on_both(|kit| {
        let builder = kit.builder(100).spawn(Threads::new()).write_behind(usual().batch(2));
        let cache = builder.build().unwrap();
        let first = cache.put(1, text("a")).unwrap();
        cache.put(2, text("b")).unwrap().wait().unwrap();
        first.wait().unwrap();
        assert_eq!(kit.store.get(1), Some(text("a")));
        assert!(cache.close(millis(60_000)).is_empty());
    });
}

#[test]
fn tasks_compute_as_threads_do() {
    on_both(|kit| {
        let cache = kit.behind(usual());
        now(cache.compute_async(1, one_more)).unwrap();
        now(cache.compute_async(1, one_more)).unwrap();
        assert!(now(cache.put_many_async(vec![(2, text("x"))])).iter().all(Result::is_ok));
        assert!(now(cache.delete_async(&2)).is_ok());
        assert_eq!(now(cache.load_async(&1)), Ok(Some(text(2))));
        assert_eq!(now(cache.load_many_async(&[1, 2])), [Ok(Some(text(2))), Ok(None)]);
        assert_eq!(now(cache.flush_async()), Ok(2));
        assert!(now(cache.close_async(millis(0))).is_empty());
    });
}

#[test]
fn an_unreadable_value_to_begin_with_is_told_of() {
    let kit = Kit::memory();
    let failing: crate::Stored = kit
        .builder(9)
        .levels(|l1| l1.cache_errors(|_, _| None))
        .write_behind(usual())
        .build()
        .unwrap();
    kit.store.fail_loads(true);
    let error = failing.compute(1, |_| Compute::Keep).unwrap_err();
    assert!(matches!(error, WriteError::Unloaded(_)), "{error}");
    assert!(matches!(failing.load(&1), Err(cachette::LoadError::Failed(e)) if *e == Trouble::Down));
}
