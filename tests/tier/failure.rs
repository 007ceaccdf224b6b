//! A remote that fails, and loaders that do.

use crate::world::{BOUND, Chosen, Node, TTL, World, millis, seconds, settle};
use cachette::tier::{Breaker, Data, Delivery, Event, Mode, Op, Path, Raw, RemoteError, Side};
use cachette::{Backoff, Freshness, LoadError};

fn unreachable() -> RemoteError {
    RemoteError::Unreachable("for a test".to_owned())
}

fn is_queued(delivery: &Delivery) -> bool {
    matches!(delivery, Delivery::Queued(_))
}

#[test]
fn t26_a_remote_that_fails_costs_nobody_a_value() {
    let world = World::new();
    let node = world.node();
    node.remote.faults().partition(Path::Cut);
    for key in 0..20 {
        world.source.write(key, key);
        assert_eq!(node.value(key), key);
    }
    assert_eq!(node.remote.faults().count(Op::Read).calls, 5, "then the breaker opens");
    let told = node.events();
    assert!(told.contains(&Event::BreakerOpened));
    let failed = |event: &&Event| matches!(event, Event::RemoteFailed { .. });
    assert_eq!(told.iter().filter(failed).count(), 1, "the others are left out");
    assert_eq!(node.cache.stats().alone, 20);
}

#[test]
fn t26_a_remote_that_says_nothing_costs_no_more_than_the_timeout() {
    let world = World::new();
    let node = world.node_with(|builder| builder.remote_timeout(millis(500)));
    world.source.write(7, 1);
    node.remote.faults().partition(Path::Silent);
    let mut loads = node.load(7);
    world.live(&[&node], millis(400));
    assert!(loads.poll().is_none());
    world.live(&[&node], millis(100));
    assert_eq!(loads.end(), Ok("1".to_owned()));
    let timed_out = RemoteError::TimedOut(millis(500));
    assert!(node.events().contains(&Event::RemoteFailed { doing: "read", error: timed_out }));
}

#[test]
fn t26_one_asks_whether_the_remote_is_there_again() {
    let world = World::new();
    let wait = Backoff { first: seconds(1), most: seconds(1) };
    let node = world.node_with(|builder| builder.breaker(Breaker { after: 2, wait }));
    let faults = node.remote.faults();
    faults.fail(Op::Read, 3, unreachable());
    (0..9).for_each(|key| assert_eq!(node.value(key), 0));
    assert_eq!(faults.count(Op::Read).calls, 2);
    world.pass(&[], seconds(1));
    faults.hold(Op::Any, Side::Before);
    let probing = node.load(20);
    (21..25).for_each(|key| assert_eq!(node.value(key), 0));
    assert_eq!(faults.held().len(), 1, "one alone");
    faults.release();
    assert_eq!(probing.end(), Ok("0".to_owned()));
    node.settle();
    let told = node.events();
    assert!(told.contains(&Event::BreakerOpened));
    world.live(&[&node], seconds(3));
    assert_eq!(node.value(30), 0);
    assert!(node.events().contains(&Event::BreakerClosed));
    assert_eq!(node.cache.stats().leases, 1);
}

#[test]
fn t27_an_undelivered_deletion_is_made_up_for_before_the_remote_is_believed() {
    for mode in [Mode::Tracking, Mode::Messages] {
        let world = World::new();
        let (one, two) = (world.node_by([mode]), world.node_by([mode]));
        world.source.write(7, 1);
        assert_eq!((one.value(7), two.value(7)), (1, 1));
        one.remote.faults().fail(Op::Delete, 1, unreachable());
        one.remote.faults().hold(Op::Delete, Side::Before);
        world.source.write(7, 2);
        let mut deletes = one.call(one.cache.delete_async(&7));
        assert!(deletes.poll().is_none());
        assert!(one.remote.faults().release_next());
        assert_eq!(deletes.end(), Delivery::Queued(unreachable()));
        assert_eq!((one.cache.undelivered(), one.cache.stats().undelivered), (1, 1));
        // The remote is there again, and what is made up for is under way.
        one.settle();
        assert_eq!(one.remote.faults().held(), [Op::Delete]);
        assert_eq!(one.value(7), 2, "not what the remote has");
        assert_eq!(two.value(7), 1, "others hear of it when it is delivered");
        one.remote.faults().release();
        settle(&[&one, &two]);
        assert_eq!(one.cache.undelivered(), 0);
        assert_eq!(two.local(7), None);
        world.live(&[&one, &two], BOUND);
        assert_eq!((one.value(7), two.value(7)), (2, 2));
    }
}

#[test]
fn t27_a_deletion_of_many_that_has_failed_is_that_of_all_of_them() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    (1..4).for_each(|key| assert_eq!(two.value(key), 0));
    (1..4).for_each(|key| world.source.write(key, 1));
    one.remote.faults().partition(Path::Cut);
    assert!(is_queued(&one.cache.delete_many([1, 2, 3])));
    assert_eq!(one.cache.undelivered(), 3);
    let many = one.call(one.cache.load_many_async(&[1, 2, 3])).end();
    assert_eq!(many, vec![Ok("1".to_owned()); 3]);
    one.remote.faults().heal();
    world.live(&[&one, &two], seconds(12));
    assert_eq!(one.cache.undelivered(), 0);
    (1..4).for_each(|key| assert_eq!((one.value(key), two.value(key)), (1, 1)));
}

#[test]
fn t27_too_many_undelivered_deletions_are_one_of_all() {
    let world = World::new();
    let (one, two) = (world.node_with(|builder| builder.most_undelivered(2)), world.node());
    (1..6).for_each(|key| assert_eq!((one.value(key), two.value(key)), (0, 0)));
    one.events();
    one.remote.faults().partition(Path::Cut);
    settle(&[&one]);
    (1..6).for_each(|key| world.source.write(key, 1));
    for key in 1..4 {
        assert!(is_queued(&one.cache.delete(&key)));
    }
    assert_eq!(one.cache.undelivered(), 1, "all");
    assert!(one.events().contains(&Event::DeletionsOverflowed));
    one.remote.faults().heal();
    assert_eq!(one.value(5), 1, "nothing that the remote has is believed");
    world.live(&[&one, &two], seconds(12));
    assert_eq!(one.cache.undelivered(), 0);
    (1..6).for_each(|key| assert_eq!((one.value(key), two.value(key)), (1, 1)));
}

#[test]
fn t27_a_put_that_was_not_delivered_is_made_up_for_by_a_deletion() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    world.source.write(7, 1);
    assert_eq!((one.value(7), two.value(7)), (1, 1));
    one.remote.faults().lose_answers(Op::Write, 1);
    world.source.write(7, 2);
    assert!(is_queued(&one.call(one.cache.put_async(7, "2".to_owned())).end()));
    assert_eq!(one.value(7), 2);
    world.source.write(7, 3);
    assert_eq!(two.cache.put(7, "3".to_owned()), Delivery::Done);
    world.live(&[&one, &two], BOUND);
    assert_eq!(one.cache.undelivered(), 0);
    assert_eq!((one.value(7), two.value(7)), (3, 3), "nothing older came after it");
}

#[test]
fn t27_a_clear_that_was_not_delivered_is_made_up_for() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    world.source.write(7, 1);
    assert_eq!((one.value(7), two.value(7)), (1, 1));
    one.remote.faults().partition(Path::Cut);
    world.source.write(7, 2);
    assert!(is_queued(&one.call(one.cache.clear_async()).end()));
    assert_eq!((one.value(7), two.value(7)), (2, 1));
    one.remote.faults().heal();
    world.live(&[&one, &two], seconds(12));
    assert_eq!((one.value(7), two.value(7), one.cache.undelivered()), (2, 2, 0));
}

#[test]
fn t28_a_stale_value_is_served_while_the_loader_fails() {
    fail_safe(Mode::Messages);
    fail_safe(Mode::TtlOnly);
}

#[test]
fn t28_a_stale_value_is_served_while_the_loader_fails_with_tracking() {
    fail_safe(Mode::Tracking);
}

fn fail_safe(mode: Mode) {
    let world = World::new();
    let grace = Freshness::new(TTL).stale_if_error(seconds(100)).throttle(seconds(5));
    let node = world.node_fresh(grace, |builder| builder.remote_ttl(TTL).modes([mode]));
    world.source.write(7, 1);
    assert_eq!((node.value(7), node.value(8)), (1, 0));
    world.live(&[&node], TTL);
    world.source.set_down(true);
    let loads = world.source.loads();
    for _ in 0..3 {
        let entry = node.call(node.cache.load_entry_async(&7)).end().unwrap();
        assert!(entry.is_stale());
        assert_eq!(entry.value, "1");
    }
    assert_eq!(world.source.loads(), loads + 1, "nobody tries again for a while");
    assert_eq!(node.cache.delete(&7), Delivery::Done);
    assert_eq!(node.load(7).end().unwrap_err(), failed(), "a deletion leaves nothing");
    world.live(&[&node], seconds(100));
    assert_eq!(node.load(8).end().unwrap_err(), failed(), "its grace has ended");
}

fn failed() -> LoadError<crate::world::Down> {
    LoadError::Failed(std::sync::Arc::new(crate::world::Down))
}

#[test]
fn t29_an_error_is_the_same_for_all_and_stays_in_its_process() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    world.source.set_down(true);
    world.source.park();
    let (first, second, gone) = (one.load(7), one.load(7), one.load(7));
    drop(gone);
    world.source.release();
    let errors = [first.end(), second.end()].map(|ended| match ended {
        Err(LoadError::Failed(error)) => error,
        other => panic!("{other:?}"),
    });
    assert!(std::sync::Arc::ptr_eq(&errors[0], &errors[1]));
    assert_eq!(world.source.loads(), 1);
    one.settle();
    world.source.set_down(false);
    assert_eq!((two.value(7), one.value(7)), (0, 0));
    assert_eq!(world.source.loads(), 2);
}

#[test]
fn t30_after_the_hard_timeout_the_load_goes_on_for_all() {
    let world = World::new();
    let make = || {
        let before = |loading: crate::world::Loading| loading.hard_timeout(seconds(1));
        let node = world.node_made(Freshness::new(TTL), before, Raw, |builder| builder);
        node.settle();
        node
    };
    let (one, two) = (make(), make());
    world.source.write(7, 1);
    world.source.park();
    let (mut first, mut second) = (one.load(7), one.load(7));
    world.live(&[&one, &two], millis(900));
    assert!(first.poll().is_none() && second.poll().is_none());
    world.live(&[&one, &two], millis(100));
    let timed_out = || Err(LoadError::TimedOut(seconds(1)));
    assert_eq!((first.end(), second.end()), (timed_out(), timed_out()));
    let third = one.load(7);
    assert_eq!(world.source.loads(), 1, "one loader at most");
    world.source.release();
    assert_eq!(third.end(), Ok("1".to_owned()));
    assert_eq!((one.local(7), two.value(7), world.source.loads()), (Some(1), 1, 1));
}

#[test]
fn a_remote_that_was_restarted_is_used_as_before() {
    for data in [Data::Kept, Data::Lost] {
        for mode in [Mode::Tracking, Mode::Messages] {
            let world = World::new();
            let (one, two) = (world.node_by([mode]), world.node_by([mode]));
            world.source.write(7, 1);
            assert_eq!((one.value(7), two.value(7)), (1, 1));
            world.remote.restart(data);
            world.source.write(7, 2);
            assert_eq!(two.cache.delete(&7), Delivery::Done);
            world.live(&[&one, &two], seconds(3));
            assert_eq!((one.value(7), two.value(7)), (2, 2));
            world.live(&[&one, &two], seconds(3));
            assert_eq!((one.local(7), two.local(7), world.source.loads()), (Some(2), Some(2), 2));
        }
    }
}

#[test]
fn a_remote_that_is_full_refuses_and_values_are_served() {
    let world = World::new();
    let node = world.node();
    world.remote.set_capacity(0);
    assert_eq!(node.value(7), 0);
    let refused =
        |event: &Event| matches!(event, Event::RemoteFailed { error: RemoteError::Refused(_), .. });
    assert!(node.events().iter().any(refused));
    assert!(is_queued(&node.call(node.cache.put_async(8, "8".to_owned())).end()));
    assert_eq!(node.value(8), 8);
    assert_eq!(node.cache.stats().leases, 0, "not even a lease has room");
}

/// Everything that can be told, told once.
#[test]
fn each_event_is_told_by_what_it_says() {
    let world = World::new();
    let has = |node: &Node, what: &dyn Fn(&Event) -> bool| {
        let told = node.events();
        assert!(told.iter().any(what), "{told:?}");
    };
    let one = world.node_with(|builder: Chosen| builder.most_undelivered(0).max_value_bytes(5));
    let two = world.node();
    has(&one, &|event| *event == Event::LinkUp { mode: Mode::Tracking });
    world.remote.put_foreign(b"{test.0:k:1}", b"nonsense");
    assert_eq!(one.value(1), 0);
    let name = b"{test.0:k:1}".to_vec();
    has(&one, &|event| matches!(event, Event::Unreadable { name: its, .. } if *its == name));
    world.remote.put_other_type(b"{test.0:k:2}");
    assert_eq!(one.value(2), 0);
    has(&one, &|event| *event == Event::Foreign { name: b"{test.0:k:2}".to_vec() });
    assert_eq!(one.cache.put(3, "12345678".to_owned()), Delivery::Done);
    has(&one, &|event| matches!(event, Event::Unwritable { .. }));
    world.source.park();
    let parked = one.load(4);
    assert_eq!(two.cache.delete(&4), Delivery::Done);
    world.source.release();
    drop(parked.end());
    has(&one, &|event| *event == Event::FillRejected { name: b"{test.0:k:4}".to_vec() });
    one.remote.faults().partition(Path::Cut);
    settle(&[&one]);
    has(&one, &|event| matches!(event, Event::LinkLost { cause: RemoteError::Unreachable(_) }));
    world.live(&[&one], seconds(2));
    assert!(is_queued(&one.cache.delete(&5)));
    let told = one.events();
    assert!(told.contains(&Event::DeletionsOverflowed), "{told:?}");
    assert!(told.iter().any(|event| matches!(event, Event::NoLink { .. })));
    world.live(&[&one], seconds(2));
    let told = [told, one.events()].concat();
    assert!(told.contains(&Event::BreakerOpened), "{told:?}");
    assert!(told.iter().any(|event| matches!(event, Event::RemoteFailed { .. })));
    one.remote.faults().heal();
    world.live(&[&one], seconds(20));
    has(&one, &|event| *event == Event::BreakerClosed);
}
