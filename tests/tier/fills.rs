//! Values that are loaded, against deletions and writes.

use crate::world::{BOUND, Chosen, World, millis, seconds, settle};
use cachette::tier::{Delivery, Mode, Op, Path, Side};

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

/// In all ways of being told.
fn told() -> [[Mode; 1]; 3] {
    [[Mode::Tracking], [Mode::OptIn], [Mode::Messages]]
}

#[test]
fn t1_t2_t3_hold_for_a_process_that_is_told_by_messages() {
    let world = World::new();
    let (one, two) = (world.node_by([Mode::Messages]), world.node_by([Mode::Messages]));
    world.source.write(7, 1);
    world.source.park();
    let mut parked = one.load(7);
    world.source.write(7, 2);
    assert_eq!(two.cache.delete(&7), Delivery::Done);
    let mut after = one.load(7);
    assert!(parked.poll().is_none() && after.poll().is_none());
    world.source.release();
    assert_eq!((parked.end(), after.end()), (Ok("1".to_owned()), Ok("2".to_owned())));
    assert_eq!((one.local(7), two.value(7)), (Some(2), 2));
    assert_eq!(world.source.loads(), 2);
}

#[test]
fn t4_a_refresh_that_a_write_overtook_replaces_nothing() {
    for (modes, elsewhere) in (0..3).flat_map(|modes| [(modes, false), (modes, true)]) {
        let world = World::new();
        let (one, two) = (world.node_by(told()[modes]), world.node_by(told()[modes]));
        world.source.write(7, 1);
        assert_eq!(one.value(7), 1);
        world.source.park();
        assert!(one.cache.refresh(&7));
        settle(&[&one]);
        assert_eq!(world.source.loads(), 2);
        world.source.write(7, 2);
        let writer = if elsewhere { &two } else { &one };
        assert_eq!(writer.cache.put(7, "2".to_owned()), Delivery::Done);
        world.source.release();
        settle(&[&one, &two]);
        assert_eq!(one.cache.stats().rejected, 1);
        assert_eq!((one.value(7), two.value(7)), (2, 2));
        assert_eq!(world.source.loads(), 2, "both have what was put");
    }
}

#[test]
fn t6_nobody_waits_long_for_a_dead_process() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    world.source.write(7, 1);
    world.source.park();
    let parked = one.load(7);
    one.remote.faults().partition(Path::Cut);
    drop(parked);
    one.hand.lose();
    world.source.release();
    let mut asks = two.load(7);
    world.live(&[&two], millis(900));
    assert!(asks.poll().is_none());
    assert_eq!(world.source.loads(), 1);
    world.live(&[&two], millis(100));
    assert_eq!(asks.end(), Ok("1".to_owned()));
    let stats = two.cache.stats();
    assert_eq!((stats.alone, stats.leases, world.source.loads()), (1, 0, 2));
    assert!(stats.waits >= 10);
    assert_eq!(two.local(7), Some(1));
    world.pass(&[&two], BOUND);
    assert_eq!(two.local(7), None, "nobody tells of what was loaded without a lease");
}

#[test]
fn t6_a_lease_whose_holder_died_ends_by_itself() {
    let world = World::new();
    let short = |builder: Chosen| builder.lease(millis(300));
    let (one, two) = (world.node_with(short), world.node_with(short));
    world.source.write(7, 1);
    world.source.park();
    let parked = one.load(7);
    one.remote.faults().partition(Path::Cut);
    drop(parked);
    one.hand.lose();
    world.source.release();
    let asks = two.load(7);
    world.live(&[&two], millis(300));
    assert_eq!(asks.end(), Ok("1".to_owned()));
    assert_eq!((two.cache.stats().leases, two.cache.stats().alone), (1, 0));
}

#[test]
fn t6_a_load_that_ends_without_a_value_gives_its_lease_back() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    world.source.write(7, 1);
    world.source.park();
    let dropped = one.load(7);
    one.hand.lose();
    drop(dropped);
    one.settle();
    world.source.release();
    assert_eq!(two.value(7), 1, "at once");
    world.source.set_down(true);
    assert!(one.load(8).end().is_err());
    one.settle();
    world.source.set_down(false);
    assert_eq!(two.value(8), 0, "at once");
    assert_eq!(two.cache.stats().waits, 0);
}

#[test]
fn t9_what_a_replica_said_too_early_is_deleted_once_more() {
    for versions in [false, true] {
        let world = World::new();
        let choose = |builder: Chosen| {
            if versions { builder.versions(|_, value| value.parse().unwrap()) } else { builder }
        };
        let (one, two) = (world.node_with(choose), world.node_with(choose));
        // What loaders see is the replica.
        world.source.write(7, 1);
        assert_eq!((one.value(7), two.value(7)), (1, 1));
        let delete = one.call(one.cache.delete_after_write_async(&7, seconds(3)));
        assert_eq!(delete.end(), Delivery::Done);
        assert_eq!((one.value(7), two.value(7)), (1, 1), "it lags behind");
        world.source.write(7, 2);
        world.live(&[&one, &two], millis(2_900));
        assert_eq!((one.value(7), two.value(7)), (1, 1));
        world.live(&[&one, &two], millis(200));
        let after = if versions { 1 } else { 2 };
        assert_eq!((one.value(7), two.value(7)), (after, after));
        assert_eq!(one.remote.faults().count(Op::Delete).calls, after);
    }
}

fn versioned(builder: Chosen) -> Chosen {
    builder.versions(|_, value| value.parse().unwrap())
}

#[test]
fn t10_no_older_version_takes_the_place_of_a_newer_one() {
    let world = World::new();
    let (one, two) = (world.node_with(versioned), world.node_with(versioned));
    world.source.write(7, 4);
    assert_eq!(one.cache.put(7, "5".to_owned()), Delivery::Done);
    assert_eq!(one.cache.put(7, "4".to_owned()), Delivery::Older, "L1 has a newer one");
    assert_eq!(two.cache.put(7, "4".to_owned()), Delivery::Older, "the remote has");
    assert_eq!(two.local(7), None);
    assert_eq!((one.value(7), two.value(7)), (5, 5));
    assert_eq!(two.cache.put(7, "5".to_owned()), Delivery::Done, "the same again");
    assert_eq!((one.value(7), two.value(7), world.source.loads()), (5, 5, 0));
    // A replica that lags.
    assert!(one.cache.refresh(&7));
    settle(&[&one, &two]);
    assert_eq!((world.source.loads(), one.cache.stats().rejected), (1, 1));
    assert_eq!((one.value(7), two.value(7)), (5, 5));
}

#[test]
fn t10_a_deletion_for_a_version_leaves_that_version_there() {
    let world = World::new();
    let (one, two) = (world.node_with(versioned), world.node_with(versioned));
    world.source.write(7, 5);
    assert_eq!((one.value(7), two.value(7)), (5, 5));
    assert_eq!(one.cache.delete_older(&7, 5), Delivery::Older);
    assert_eq!(one.call(one.cache.delete_older_async(&7, 4)).end(), Delivery::Older);
    assert_eq!((one.local(7), two.local(7), world.source.loads()), (Some(5), Some(5), 1));
    world.source.write(7, 6);
    assert_eq!(one.cache.delete_older(&7, 6), Delivery::Done);
    assert_eq!((one.local(7), two.local(7)), (None, None));
    assert_eq!((one.value(7), two.value(7)), (6, 6));
    // Loads under way are not kept.
    world.source.park();
    assert_eq!(one.cache.delete(&7), Delivery::Done);
    let parked = one.load(7);
    assert_eq!(two.cache.delete_older(&7, 9), Delivery::Done);
    world.source.release();
    assert_eq!(parked.end(), Ok("6".to_owned()));
    assert_eq!(one.local(7), None);
}

#[test]
fn t11_an_answer_that_a_change_overtook_is_not_kept() {
    for modes in told() {
        let world = World::new();
        let (one, two) = (world.node_by(modes), world.node_by(modes));
        world.source.write(7, 1);
        assert_eq!(two.value(7), 1);
        one.remote.faults().hold(Op::Read, Side::After);
        let mut reads = one.load(7);
        assert!(reads.poll().is_none());
        world.source.write(7, 2);
        assert_eq!(two.cache.delete(&7), Delivery::Done);
        one.remote.faults().release();
        assert_eq!(reads.end(), Ok("1".to_owned()));
        assert_eq!(one.local(7), None);
        assert_eq!(one.value(7), 2);
    }
}

#[test]
fn t19_who_has_a_key_is_told_by_who_never_had_it() {
    for modes in told() {
        let world = World::new();
        let (one, two) = (world.node_by(modes), world.node_by(modes));
        world.source.write(7, 1);
        assert_eq!(one.value(7), 1);
        world.source.write(7, 2);
        assert_eq!(two.cache.delete(&7), Delivery::Done);
        assert_eq!(one.local(7), None);
        assert_eq!(one.value(7), 2);
    }
}

#[test]
fn a_put_is_waited_for_and_then_is_there() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    world.source.write(7, 1);
    assert_eq!(one.value(7), 1);
    one.remote.faults().hold(Op::Write, Side::Before);
    world.source.write(7, 2);
    let mut puts = one.call(one.cache.put_async(7, "2".to_owned()));
    assert!(puts.poll().is_none());
    assert_eq!(one.local(7), None, "nothing old is served meanwhile");
    let mut waits = one.load(7);
    assert!(waits.poll().is_none());
    one.remote.faults().release();
    assert_eq!(puts.end(), Delivery::Done);
    assert_eq!(waits.end(), Ok("2".to_owned()));
    assert_eq!((two.value(7), world.source.loads()), (2, 1));
    settle(&[&one, &two]);
    world.live(&[&one, &two], seconds(3));
    assert_eq!((one.local(7), two.local(7)), (Some(2), Some(2)));
}

#[test]
fn a_write_goes_on_to_its_end_though_its_caller_is_gone() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    world.source.write(7, 1);
    assert_eq!((one.value(7), two.value(7)), (1, 1));
    one.remote.faults().hold(Op::Any, Side::Before);
    drop(one.call(one.cache.delete_async(&7)));
    one.remote.faults().release();
    one.settle();
    assert_eq!((one.local(7), two.local(7)), (None, None));
}

#[test]
fn t8_while_a_deletion_is_under_way_l1_serves_nothing_from_before_it() {
    let world = World::new();
    let node = world.node();
    assert_eq!(node.value(7), 0);
    node.remote.faults().hold(Op::Delete, Side::Before);
    let mut deleting = node.call(node.cache.delete_async(&7));
    assert!(deleting.poll().is_none());
    assert_eq!(node.local(7), None);
    // Whoever runs the background drops it.
    node.hand.lose();
    assert!(matches!(deleting.end(), Delivery::Queued(_)));
    assert_eq!(node.local(7), None);
}
