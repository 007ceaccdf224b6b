mod lives;

use super::*;
use crate::store::error::WriteError;
use std::collections::HashSet;
use std::task::{Context, Poll};
use std::time::Duration;

type Q = Queue<u8, u32, &'static str>;

const MILLI: u64 = 1_000_000;

fn rules() -> Rules {
    Rules {
        batch: 4,
        batch_bytes: 1_000,
        delay: 100 * MILLI,
        most: 100,
        most_bytes: 10_000,
        flights: 2,
        attempts: 3,
        backoff: Backoff { first: Duration::from_millis(10), most: Duration::from_secs(1) },
        coalesce: true,
        keep_dead: true,
    }
}

fn key(key: u8) -> Keyed<u8> {
    // Few hashes, so that they meet.
    Keyed { hash: u64::from(key % 3), key }
}

fn put(queue: &mut Q, k: u8, value: u32, now: u64) -> Pushed<u8, u32, &'static str> {
    let pushed = queue.push(key(k), Some(Arc::new(value)), 1, 0, now);
    queue.assert_valid();
    pushed.unwrap_or_else(|_| panic!("there is room"))
}

fn fly(queue: &mut Q, now: u64) -> Batch<u8, u32> {
    let step = queue.next(now);
    queue.assert_valid();
    match step {
        Step::Fly(batch) => batch,
        Step::Wait(until) => panic!("nothing flies before {until:?}"),
    }
}

fn waits(queue: &mut Q, now: u64) -> Option<u64> {
    match queue.next(now) {
        Step::Fly(batch) => panic!("{} fly", batch.len()),
        Step::Wait(until) => until,
    }
}

fn all_done(batch: &Batch<u8, u32>) -> Outcome<&'static str> {
    Outcome::Each(batch.iter().map(|_| Ok(())).collect())
}

fn failed(refused: bool) -> Failed<&'static str> {
    Failed { error: WriteError::Failed(Arc::new("no")), refused }
}

fn settle(
    queue: &mut Q,
    batch: &Batch<u8, u32>,
    outcome: Outcome<&'static str>,
    now: u64,
) -> Vec<u8> {
    let settled = queue.settle(batch, outcome, now, 1.0);
    queue.assert_valid();
    let dead = settled.dead.iter().map(|dead| dead.key.key).collect();
    settled.tell();
    dead
}

fn content(batch: &Batch<u8, u32>) -> Vec<(u8, Option<u32>)> {
    batch.iter().map(|item| (item.key.key, item.value.as_deref().copied())).collect()
}

impl<K: Eq, V, E> Queue<K, V, E> {
    /// Checks the invariants.
    fn assert_valid(&self) {
        let (mut ops, mut bytes, mut ready_bytes) = (self.dead.len(), 0, 0);
        let mut open = HashSet::new();
        for (key, line) in &self.lines {
            assert!(line.latest().is_some(), "a line without changes");
            assert!(!self.dead.contains_key(key), "what is dead is the last of its key");
            for held in line.flying.iter().chain(&line.waiting) {
                ops += 1;
                bytes += held.bytes;
                assert!(held.first <= held.version && open.insert(held.first));
            }
            if self.rules.coalesce {
                assert!(line.waiting.len() <= 1);
            }
            let mut before = 0;
            for held in line.flying.iter().chain(&line.waiting) {
                assert!(held.version > before, "out of order");
                before = held.version;
            }
            let Some(front) = line.waiting.front() else { continue };
            let ready = self.ready.contains_key(&front.first);
            let resting =
                line.rests.is_some_and(|due| self.resting.contains_key(&(due, front.first)));
            assert_eq!(line.flying.is_none(), ready != resting);
            ready_bytes += if ready { front.bytes } else { 0 };
        }
        bytes += self.dead.values().map(|dead| dead.bytes).sum::<u64>();
        let waiting = self.ready.len() + self.resting.len();
        let lines = self.lines.values().filter(|line| line.flying.is_none()).count();
        assert_eq!(waiting, lines);
        assert_eq!(
            (ops, bytes, ready_bytes),
            (self.ledger.ops, self.ledger.bytes, self.ready_bytes)
        );
        assert_eq!(open, self.ledger.open.keys().copied().collect());
    }
}

#[test]
fn w1_the_last_write_wins() {
    let mut queue = Q::new(rules(), 0);
    let fates = [1, 2, 3].map(|value| put(&mut queue, 7, value, 0).fate);
    assert_eq!(waits(&mut queue, 99 * MILLI), Some(100 * MILLI));
    let batch = fly(&mut queue, 100 * MILLI);
    assert_eq!(content(&batch), [(7, Some(3))]);
    settle(&mut queue, &batch, all_done(&batch), 101 * MILLI);
    for fate in fates {
        assert!(matches!(crate::store::Receipt::of(fate).outcome(), Some(Ok(()))));
    }
    assert_eq!(queue.held(), (0, 0, None));
    assert_eq!((queue.counts().accepted, queue.counts().coalesced), (3, 2));
}

#[test]
fn w2_kinds_coalesce_too() {
    let mut queue = Q::new(rules(), 0);
    put(&mut queue, 1, 1, 0);
    assert!(queue.push(key(1), None, 1, 0, 0).is_ok());
    assert!(queue.push(key(2), None, 1, 0, 0).is_ok());
    put(&mut queue, 2, 2, 0);
    assert_eq!(content(&fly(&mut queue, 100 * MILLI)), [(1, None), (2, Some(2))]);
}

#[test]
fn w3_without_coalescing_all_come_in_order() {
    let mut queue = Q::new(Rules { coalesce: false, ..rules() }, 0);
    for value in 1..=3 {
        put(&mut queue, 7, value, 0);
    }
    let mut seen = Vec::new();
    for now in 1..=4 {
        let batch = fly(&mut queue, now * 100 * MILLI);
        // The second is tried once more.
        let outcome = if now == 2 { Outcome::Whole(failed(false)) } else { all_done(&batch) };
        seen.extend(content(&batch));
        settle(&mut queue, &batch, outcome, now * 100 * MILLI);
    }
    assert_eq!(seen, [1, 2, 2, 3].map(|value| (7, Some(value))));
}

#[test]
fn w4_one_flies_and_the_newer_is_tried_instead() {
    let mut queue = Q::new(rules(), 0);
    let first = put(&mut queue, 7, 1, 0).fate;
    let batch = fly(&mut queue, 100 * MILLI);
    let second = put(&mut queue, 7, 2, 100 * MILLI).fate;
    assert_eq!(waits(&mut queue, 900 * MILLI), None, "one flight a key");
    settle(&mut queue, &batch, Outcome::Whole(failed(false)), 900 * MILLI);
    assert_eq!(waits(&mut queue, 909 * MILLI), Some(910 * MILLI));
    let again = fly(&mut queue, 910 * MILLI);
    assert_eq!(content(&again), [(7, Some(2))]);
    settle(&mut queue, &again, all_done(&again), 911 * MILLI);
    for fate in [first, second] {
        assert!(matches!(crate::store::Receipt::of(fate).outcome(), Some(Ok(()))));
    }
}

#[test]
fn w8_a_full_queue_refuses_new_keys_and_takes_old_ones() {
    let mut queue = Q::new(Rules { most: 2, most_bytes: 10, ..rules() }, 0);
    put(&mut queue, 1, 1, 0);
    put(&mut queue, 2, 1, 0);
    let refused = queue.push(key(3), None, 1, 0, 0);
    assert!(matches!(refused, Err((Refusal::Full, Keyed { key: 3, .. }, None))));
    put(&mut queue, 2, 2, 0);
    assert!(queue.push(key(2), None, 9, 0, 0).is_ok());
    assert!(matches!(queue.push(key(2), None, 10, 0, 0), Err((Refusal::Full, ..))), "bytes");
    queue.assert_valid();
}

#[test]
fn what_is_larger_than_the_queue_has_it_for_itself() {
    let mut queue = Q::new(Rules { most_bytes: 10, ..rules() }, 0);
    assert!(queue.push(key(1), None, 99, 0, 0).is_ok());
    assert!(matches!(queue.push(key(2), None, 0, 0, 0), Err((Refusal::Full, ..))));
    queue.assert_valid();
}

#[test]
fn w9_a_batch_flies_when_it_is_full_heavy_or_old() {
    let mut queue = Q::new(rules(), 0);
    for k in 0..3 {
        put(&mut queue, k, 0, 0);
    }
    assert_eq!(waits(&mut queue, 0), Some(100 * MILLI));
    put(&mut queue, 3, 0, 0);
    assert_eq!(fly(&mut queue, 0).len(), 4, "full");
    assert!(queue.push(key(9), None, 1_000, 0, 0).is_ok());
    assert_eq!(fly(&mut queue, 0).len(), 1, "heavy");
}

#[test]
fn w9_age_counts_from_the_first_write() {
    let mut queue = Q::new(rules(), 0);
    for now in 0..100 {
        put(&mut queue, 7, now, u64::from(now) * MILLI);
    }
    assert_eq!(content(&fly(&mut queue, 100 * MILLI)), [(7, Some(99))]);
}

#[test]
fn w10_tries_come_later_and_later_and_end() {
    let mut queue = Q::new(rules(), 0);
    put(&mut queue, 7, 1, 0);
    let mut now = 100 * MILLI;
    for wait in [10, 20] {
        let batch = fly(&mut queue, now);
        let each = Outcome::Each(vec![Err(failed(false))]);
        assert!(settle(&mut queue, &batch, each, now).is_empty());
        assert_eq!(waits(&mut queue, now), Some(now + wait * MILLI));
        now += wait * MILLI;
    }
    let batch = fly(&mut queue, now);
    let each = Outcome::Each(vec![Err(failed(false))]);
    assert_eq!(settle(&mut queue, &batch, each, now), [7], "w12: told of once");
    assert!(queue.latest(&key(7)).is_none());
    assert_eq!((queue.dead_count(), queue.held().0), (1, 1));
}

#[test]
fn w11_a_poisoned_change_is_found_by_halves() {
    let mut queue = Q::new(rules(), 0);
    for k in 0..4 {
        put(&mut queue, k, 0, 0);
    }
    let (mut batches, mut written, mut dead) = (0, Vec::new(), Vec::new());
    while let Step::Fly(batch) = queue.next(100 * MILLI) {
        batches += 1;
        let poisoned = batch.iter().any(|item| item.key.key == 2);
        let outcome = if poisoned { Outcome::Whole(failed(true)) } else { all_done(&batch) };
        if !poisoned {
            written.extend(batch.iter().map(|item| item.key.key));
        }
        dead.extend(settle(&mut queue, &batch, outcome, 100 * MILLI));
    }
    written.sort_unstable();
    assert_eq!((written, dead, batches), (vec![0, 1, 3], vec![2], 5));
}

#[test]
fn w11_only_what_failed_is_tried_again() {
    let mut queue = Q::new(rules(), 0);
    for k in 0..4 {
        put(&mut queue, k, 0, 0);
    }
    let batch = fly(&mut queue, 0);
    let each = (0..4).map(|k| if k == 2 { Err(failed(false)) } else { Ok(()) }).collect();
    settle(&mut queue, &batch, Outcome::Each(each), 0);
    assert_eq!(content(&fly(&mut queue, 10 * MILLI)), [(2, Some(0))]);
}

#[test]
fn w12_what_is_dead_is_kept_tried_again_or_replaced() {
    let mut queue = Q::new(Rules { attempts: 1, ..rules() }, 0);
    for k in 0..4 {
        put(&mut queue, k, u32::from(k), 0);
    }
    let batch = fly(&mut queue, 0);
    let each = Outcome::Each((0..4).map(|_| Err(failed(false))).collect());
    assert_eq!(settle(&mut queue, &batch, each, 0), [0, 1, 2, 3]);
    assert!(put(&mut queue, 3, 9, 0).dead.is_some());
    assert_eq!(queue.list_dead().len(), 3);
    assert_eq!(queue.retry_dead(0).len(), 3);
    queue.assert_valid();
    assert_eq!(
        content(&fly(&mut queue, 0)),
        [(0, Some(0)), (1, Some(1)), (2, Some(2)), (3, Some(9))]
    );
    assert_eq!(queue.dead_count(), 0);
}

#[test]
fn w14_a_barrier_waits_for_what_was_accepted_before() {
    let mut queue = Q::new(Rules { attempts: 1, ..rules() }, 0);
    let context = Context::from_waker(Waker::noop());
    put(&mut queue, 1, 1, 0);
    put(&mut queue, 2, 1, 0);
    let id = queue.begin_flush();
    put(&mut queue, 1, 2, 0);
    put(&mut queue, 3, 1, 0);
    let batch = fly(&mut queue, 0);
    assert_eq!(content(&batch), [(1, Some(2)), (2, Some(1)), (3, Some(1))], "hurried");
    put(&mut queue, 2, 2, 0);
    assert!(queue.poll_flush(id, &context).is_pending());
    let each = Outcome::Each(vec![Ok(()), Err(failed(true)), Err(failed(true))]);
    assert_eq!(settle(&mut queue, &batch, each, 0), [2, 3]);
    assert_eq!(queue.poll_flush(id, &context), Poll::Ready((1, 1)));
    queue.end_flush(id);
    assert_eq!(waits(&mut queue, 0), Some(100 * MILLI), "what came later is not hurried");
}

#[test]
fn w15_the_end_gives_back_what_was_not_written() {
    let mut queue = Q::new(Rules { attempts: 1, ..rules() }, 0);
    put(&mut queue, 1, 1, 0);
    let dead = fly(&mut queue, 100 * MILLI);
    settle(&mut queue, &dead, Outcome::Whole(failed(true)), 0);
    put(&mut queue, 2, 2, 0);
    let flying = fly(&mut queue, 100 * MILLI);
    put(&mut queue, 2, 3, 0);
    let mut wakers = Vec::new();
    queue.close(&mut wakers);
    assert!(matches!(queue.push(key(4), None, 1, 0, 0), Err((Refusal::Closed, ..))));
    let gone = queue.end(&mut wakers);
    let gone: Vec<_> = gone
        .iter()
        .map(|gone| {
            (gone.key.key, gone.value.as_deref().copied(), gone.flying, gone.error.is_some())
        })
        .collect();
    assert_eq!(
        gone,
        [(1, Some(1), false, true), (2, Some(2), true, false), (2, Some(3), false, false)]
    );
    assert!(settle(&mut queue, &flying, all_done(&flying), 0).is_empty(), "too late");
    assert_eq!(queue.counts().written, 0);
}

#[test]
fn a_computation_knows_of_changes_since_its_look() {
    let mut queue = Q::new(rules(), 0);
    put(&mut queue, 1, 1, 0);
    let watch = queue.watch(Arc::new(key(1)));
    assert!(matches!(&watch.staged, Some(Staged::Value(value)) if **value == 1));
    put(&mut queue, 2, 1, 0);
    assert!(queue.is_unchanged(&watch));
    put(&mut queue, 1, 2, 0);
    assert!(!queue.is_unchanged(&watch));
    queue.unwatch(&key(1));
    assert!(queue.watched.is_empty());
}

#[test]
fn a_caller_that_leaves_wakes_the_next() {
    let mut queue = Q::new(Rules { most: 1, ..rules() }, 0);
    let (mut first, mut second) = (None, None);
    queue.wait_for_room(&mut first, Waker::noop());
    queue.wait_for_room(&mut second, Waker::noop());
    assert!(queue.leave_crowd(first.unwrap()).is_none(), "it was not woken");
    let mut third = None;
    queue.wait_for_room(&mut third, Waker::noop());
    let mut wakers = Vec::new();
    queue.wake(&mut wakers);
    assert_eq!(wakers.len(), 1);
    assert!(queue.leave_crowd(second.unwrap()).is_some(), "it was woken: the third is next");
    assert_eq!(queue.counts().blocked, 3);
}
