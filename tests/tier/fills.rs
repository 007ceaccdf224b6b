//! Values that are loaded, against deletions and writes.

use crate::world::{World, seconds, settle};
use cachette::tier::{Delivery, Op};

#[test]
fn one_load_serves_all_processes() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    world.source.write(7, 1);
    assert_eq!((one.value(7), two.value(7)), (1, 1));
    assert_eq!(world.source.loads(), 1);
    assert_eq!((one.local(7), two.local(7)), (Some(1), Some(1)));
    settle(&[&one, &two]);
    assert_eq!((one.local(7), two.local(7)), (Some(1), Some(1)), "ones own echo is none");
}

#[test]
fn t1_a_load_that_a_deletion_overtook_is_not_kept_in_l1() {
    let world = World::new();
    let node = world.node();
    world.source.write(7, 1);
    world.source.park();
    let parked = node.load(7);
    world.source.write(7, 2);
    assert_eq!(node.cache.delete(&7), Delivery::Done);
    world.source.release();
    assert_eq!(parked.end(), Ok("1".to_owned()));
    assert_eq!(node.local(7), None);
    assert_eq!(node.value(7), 2);
}

#[test]
fn t2_who_comes_after_a_deletion_does_not_join_the_load_before_it() {
    let world = World::new();
    let node = world.node();
    world.source.write(7, 1);
    world.source.park();
    let mut parked = node.load(7);
    world.source.write(7, 2);
    assert_eq!(node.cache.delete(&7), Delivery::Done);
    let mut after = node.load(7);
    assert!(parked.poll().is_none() && after.poll().is_none());
    assert_eq!(world.source.loads(), 2);
    world.source.release();
    assert_eq!((parked.end(), after.end()), (Ok("1".to_owned()), Ok("2".to_owned())));
    assert_eq!(node.local(7), Some(2));
}

#[test]
fn t3_a_load_that_another_process_deleted_is_not_written() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    world.source.write(7, 1);
    world.source.park();
    let parked = one.load(7);
    world.source.write(7, 2);
    assert_eq!(two.cache.delete(&7), Delivery::Done);
    world.source.release();
    assert_eq!(parked.end(), Ok("1".to_owned()));
    assert_eq!((one.local(7), two.local(7)), (None, None));
    assert_eq!((two.value(7), one.value(7)), (2, 2));
    assert_eq!(one.cache.stats().rejected, 1);
}

#[test]
fn t5_a_load_that_outlived_its_lease_is_kept_nowhere() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    world.source.write(7, 1);
    world.source.park();
    let parked = one.load(7);
    world.live(&[&one, &two], seconds(11));
    world.source.release();
    world.source.write(7, 2);
    assert_eq!(two.value(7), 2);
    assert_eq!(parked.end(), Ok("1".to_owned()));
    assert_eq!(one.local(7), None);
    assert_eq!((one.value(7), two.value(7)), (2, 2));
    assert_eq!(world.source.loads(), 2);
}

#[test]
fn t8_a_reader_between_the_two_deletions_leaves_nothing_old() {
    use cachette::tier::Side;

    let world = World::new();
    let node = world.node();
    world.source.write(7, 1);
    assert_eq!(node.value(7), 1);
    world.source.write(7, 2);
    node.remote.faults().hold(Op::Delete, Side::Before);
    let mut deleting = node.call(node.cache.delete_async(&7));
    assert!(deleting.poll().is_none());
    assert_eq!(node.value(7), 1, "the remote has it still");
    assert_eq!(node.local(7), Some(1));
    node.remote.faults().release();
    assert_eq!(deleting.end(), Delivery::Done);
    assert_eq!(node.local(7), None);
    assert_eq!(node.value(7), 2);
}
