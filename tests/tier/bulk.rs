//! Many keys at once.

use crate::world::{Down, Loading, Node, World, millis, settle};
use cachette::tier::{Count, Delivery, Op, Path, Raw};
use cachette::{Freshness, LoadError};
use std::sync::{Arc, Mutex};

type Calls = Arc<Mutex<Vec<Vec<u64>>>>;

/// A process with a bulk loader that knows of no key above 100, and fails for those that end with 3.
fn node(world: &World) -> (Node, Calls) {
    let calls = Calls::default();
    let (note, source) = (Arc::clone(&calls), world.source.clone());
    let before = move |loading: Loading| {
        loading.bulk_loader_async(move |keys: Vec<u64>| {
            let mut sorted = keys.clone();
            sorted.sort_unstable();
            note.lock().unwrap().push(sorted);
            let source = source.clone();
            async move {
                let mut answers = Vec::new();
                for key in keys.into_iter().filter(|&key| key <= 100) {
                    let value = source.clone().load(key).await;
                    let value = if key % 10 == 3 { Err(Down) } else { value };
                    answers.push((key, value));
                }
                answers
            }
        })
    };
    let node = world.node_made(Freshness::new(crate::world::TTL), before, Raw, |builder| builder);
    node.settle();
    (node, calls)
}

fn said(calls: &Calls) -> Vec<Vec<u64>> {
    std::mem::take(&mut *calls.lock().unwrap())
}

fn values<const N: usize>(values: [u64; N]) -> Vec<Result<String, LoadError<Down>>> {
    values.map(|value| Ok(value.to_string())).to_vec()
}

#[test]
fn t32_many_keys_cost_one_question_one_load_and_one_write() {
    let world = World::new();
    let ((one, calls), (two, _)) = (node(&world), node(&world));
    (1..9).for_each(|key| world.source.write(key, key));
    assert_eq!((one.value(1), two.value(2)), (1, 2));
    one.remote.faults().reset_counts();
    let keys = [1, 2, 4, 5, 4];
    let many = one.call(one.cache.load_many_async(&keys)).end();
    assert_eq!(many, values([1, 2, 4, 5, 4]));
    assert_eq!(said(&calls), [[4, 5]]);
    let faults = one.remote.faults();
    assert_eq!(faults.count(Op::Read), Count { calls: 1, names: 3 });
    assert_eq!(faults.count(Op::Write), Count { calls: 1, names: 2 });
    assert_eq!(faults.count(Op::Numbers).calls, 0);
    let all: Vec<u64> = (1..6).filter(|key| *key != 3).collect();
    assert_eq!(two.call(two.cache.load_many_async(&all)).end(), values([1, 2, 4, 5]));
    assert_eq!(one.call(one.cache.load_many_async(&all)).end(), values([1, 2, 4, 5]));
    assert_eq!(world.source.loads(), 4);
    let stats = one.cache.stats();
    assert_eq!((stats.leases, stats.remote_hits, stats.alone), (3, 1, 0));
}

#[test]
fn t32_a_key_that_another_process_loads_is_waited_for_last() {
    let world = World::new();
    let ((one, calls), (two, _)) = (node(&world), node(&world));
    (1..9).for_each(|key| world.source.write(key, key));
    world.source.park();
    let elsewhere = two.load(2);
    world.source.release();
    let mut many = one.call(one.cache.load_many_async(&[1, 2]));
    assert!(many.poll().is_none());
    assert_eq!(said(&calls), [[1]]);
    assert_eq!(elsewhere.end(), Ok("2".to_owned()));
    assert_eq!(many.end(), values([1, 2]));
    assert_eq!((said(&calls).len(), world.source.loads()), (0, 2));
}

#[test]
fn t32_two_processes_that_ask_for_the_same_keys_do_not_wait_for_each_other_for_ever() {
    let world = World::new();
    let ((one, _), (two, _)) = (node(&world), node(&world));
    (1..9).for_each(|key| world.source.write(key, key));
    world.source.park();
    let (first, second) = (one.load(1), two.load(2));
    let mut there = one.call(one.cache.load_many_async(&[2, 4]));
    let mut back = two.call(two.cache.load_many_async(&[1, 5]));
    assert!(there.poll().is_none() && back.poll().is_none());
    world.source.release();
    assert_eq!((first.end(), second.end()), (Ok("1".to_owned()), Ok("2".to_owned())));
    world.live(&[&one, &two], millis(100));
    assert_eq!((there.end(), back.end()), (values([2, 4]), values([1, 5])));
    assert_eq!(world.source.loads(), 4);
}

#[test]
fn t32_a_lease_whose_holder_is_dead_holds_many_up_no_longer_than_one() {
    let world = World::new();
    let ((one, calls), (two, _)) = (node(&world), node(&world));
    (1..9).for_each(|key| world.source.write(key, key));
    world.source.park();
    let dead = two.load(2);
    two.remote.faults().partition(Path::Cut);
    drop(dead);
    two.hand.lose();
    world.source.release();
    let mut many = one.call(one.cache.load_many_async(&[1, 2]));
    world.live(&[&one], millis(900));
    assert!(many.poll().is_none());
    world.live(&[&one], millis(100));
    assert_eq!(many.end(), values([1, 2]));
    assert_eq!(said(&calls), [[1], [2]]);
}

#[test]
fn t32_a_key_that_fails_harms_no_other_and_gives_its_lease_back() {
    let world = World::new();
    let ((one, _), (two, _)) = (node(&world), node(&world));
    (1..9).for_each(|key| world.source.write(key, key));
    let many = one.call(one.cache.load_many_async(&[1, 3, 101, 2])).end();
    assert_eq!((&many[0], &many[3]), (&Ok("1".to_owned()), &Ok("2".to_owned())));
    assert!(matches!(many[1], Err(LoadError::Failed(_))));
    assert!(matches!(many[2], Err(LoadError::Unanswered)));
    one.settle();
    assert_eq!((two.value(3), two.value(101)), (3, 0), "by its own loader, at once");
    assert_eq!(two.cache.stats().waits, 0);
}

#[test]
fn t32_many_that_a_deletion_overtook_are_kept_nowhere() {
    let world = World::new();
    let ((one, _), (two, _)) = (node(&world), node(&world));
    world.source.park();
    let mut many = one.call(one.cache.load_many_async(&[1, 2]));
    assert!(many.poll().is_none());
    world.source.write(1, 9);
    assert_eq!(two.cache.delete(&1), Delivery::Done);
    world.source.release();
    assert_eq!(many.end(), values([0, 0]));
    assert_eq!((one.local(1), one.local(2)), (None, Some(0)));
    assert_eq!((two.value(1), one.value(1)), (9, 9));
    assert_eq!(one.cache.stats().rejected, 1);
}

#[test]
fn t32_while_the_remote_fails_many_are_loaded_by_one_call() {
    let world = World::new();
    let (one, calls) = node(&world);
    one.remote.faults().partition(Path::Cut);
    settle(&[&one]);
    assert_eq!(one.call(one.cache.load_many_async(&[1, 2, 4])).end(), values([0, 0, 0]));
    assert_eq!(said(&calls), [[1, 2, 4]]);
    assert_eq!(one.local(2), Some(0));
}

#[test]
fn t32_what_cannot_be_read_among_many_is_loaded() {
    let world = World::new();
    let ((one, calls), (two, _)) = (node(&world), node(&world));
    world.remote.put_foreign(b"{test.0:k:2}", b"nonsense");
    world.remote.put_other_type(b"{test.0:k:4}");
    assert_eq!(one.call(one.cache.load_many_async(&[1, 2, 4])).end(), values([0, 0, 0]));
    assert_eq!(said(&calls), [vec![1], vec![2, 4]]);
    assert_eq!((two.value(2), world.source.loads()), (0, 3), "another is there instead");
}

#[test]
fn t27_of_many_keys_those_are_not_believed_whose_deletion_is_owed() {
    let world = World::new();
    let ((one, calls), (two, _)) = (node(&world), node(&world));
    (1..3).for_each(|key| assert_eq!(two.value(key), 0));
    (1..3).for_each(|key| world.source.write(key, 1));
    let down = cachette::tier::RemoteError::Unreachable("for a test".to_owned());
    one.remote.faults().fail(Op::Delete, 2, down);
    let deletes = one.call(one.cache.delete_async(&1)).end();
    assert!(matches!(deletes, Delivery::Queued(_)));
    one.settle();
    assert_eq!(one.cache.undelivered(), 1);
    assert_eq!(one.call(one.cache.load_many_async(&[1, 2])).end(), values([1, 0]));
    assert_eq!(said(&calls), [[1]]);
}
