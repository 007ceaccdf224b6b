//! Replicas: what they have may be old, and never older than what is said.

use crate::world::{BOUND, Node, World, millis, seconds, settle};
use cachette::tier::{Event, Mode, OnLinkLoss, Op, Path, RemoteError, Side};

/// The most that a replica may lag.
const LAG: std::time::Duration = millis(400);

/// A process that asks a replica which lags so much.
fn reader(world: &World, lag: std::time::Duration) -> Node {
    reader_by(world, lag, &[Mode::Tracking])
}

fn reader_by(world: &World, lag: std::time::Duration, modes: &[Mode]) -> Node {
    let node = world.node_with(|builder| builder.modes(modes.to_vec()).replica_lag(LAG));
    node.remote.faults().replica(Some(lag));
    node
}

/// How often the primary and the replica were asked for values.
fn asked(node: &Node) -> (u64, u64) {
    let count = |op| node.remote.faults().count(op).calls;
    (count(Op::Read), count(Op::ReadReplica))
}

#[test]
fn a_replica_is_asked_and_the_primary_is_not() {
    let world = World::new();
    let (one, two) = (world.node(), reader(&world, millis(100)));
    assert_eq!(two.cache.max_staleness(), BOUND + LAG);
    world.live(&[&one, &two], seconds(1));
    world.source.write(7, 1);
    assert_eq!(one.value(7), 1);
    world.live(&[&one, &two], seconds(1));
    assert_eq!((two.value(7), asked(&two)), (1, (0, 1)));
    assert_eq!(two.events().iter().filter(|event| **event == Event::ReplicasUsed).count(), 1);
    let stats = two.cache.stats();
    assert_eq!((stats.remote_hits, stats.replica_hits, stats.replica_misses), (1, 1, 0));
    // It is kept as if the primary had had it.
    world.live(&[&one, &two], seconds(20));
    assert_eq!(two.local(7), Some(1));
    // What it has not is claimed at the primary.
    assert_eq!((two.value(8), asked(&two)), (0, (1, 2)));
    assert_eq!((world.source.loads(), two.cache.stats().leases), (2, 1));
}

#[test]
fn what_was_told_of_is_not_read_as_it_was_before() {
    for modes in [[Mode::Tracking], [Mode::Messages]] {
        let world = World::new();
        let (one, two) = (world.node_by(modes), reader_by(&world, millis(300), &modes));
        world.source.write(7, 1);
        assert_eq!(one.value(7), 1);
        world.live(&[&one, &two], seconds(1));
        world.source.write(7, 2);
        assert!(one.call(one.cache.delete_async(&7)).end().is_done());
        settle(&[&one, &two]);
        // The replica has the old one still, and nobody will tell again.
        assert_eq!((two.value(7), two.cache.stats().replica_misses), (2, 1));
        world.live(&[&one, &two], seconds(1));
        assert_eq!((two.local(7), one.value(7)), (Some(2), 2));
    }
}

#[test]
fn who_is_told_of_what_it_read_does_not_read_elsewhere() {
    let world = World::new();
    let (one, two) = (world.node(), reader_by(&world, millis(100), &[Mode::OptIn]));
    world.source.write(7, 1);
    assert_eq!(one.value(7), 1);
    world.live(&[&one, &two], seconds(1));
    assert_eq!((two.value(7), asked(&two)), (1, (1, 0)));
    world.source.write(7, 2);
    assert!(one.call(one.cache.delete_async(&7)).end().is_done());
    settle(&[&one, &two]);
    assert_eq!((two.local(7), two.value(7)), (None, 2));
}

#[test]
fn a_change_that_is_told_of_while_a_replica_answers_takes_its_answer_away() {
    for side in [Side::Before, Side::After] {
        let world = World::new();
        let (one, two) = (world.node(), reader(&world, millis(300)));
        world.source.write(7, 1);
        assert_eq!(one.value(7), 1);
        world.live(&[&one, &two], seconds(1));
        two.remote.faults().hold(Op::ReadReplica, side);
        let mut early = two.load(7);
        assert_eq!(early.poll(), None);
        world.source.write(7, 2);
        assert!(one.call(one.cache.delete_async(&7)).end().is_done());
        settle(&[&one, &two]);
        two.remote.faults().release();
        assert!(early.end().is_ok());
        assert_ne!(two.local(7), Some(1), "{side:?}");
        assert_eq!(two.value(7), 2);
    }
}

#[test]
fn one_that_lags_too_much_is_left_and_taken_again() {
    let world = World::new();
    let (one, two) = (world.node(), reader(&world, LAG));
    (0..9).for_each(|key| assert_eq!(one.value(key), 0));
    world.live(&[&one, &two], seconds(1));
    assert_eq!((two.value(0), asked(&two)), (0, (0, 1)));
    two.remote.faults().replica(Some(LAG + millis(1)));
    assert_eq!((two.value(1), two.value(2), asked(&two)), (0, 0, (2, 3)));
    assert_eq!(two.cache.stats().replica_misses, 2);
    two.remote.faults().replica(Some(LAG));
    assert_eq!((two.value(3), asked(&two)), (0, (2, 4)));
    let events = two.events();
    let told = |event: &&Event| matches!(event, Event::ReplicasUsed | Event::ReplicasLeft { .. });
    let told: Vec<_> = events.iter().filter(told).collect();
    let left =
        |event: &Event| matches!(event, Event::ReplicasLeft { cause: RemoteError::Refused(_) });
    assert!(left(told[1]), "{told:?}");
}

#[test]
fn one_that_fails_or_hangs_costs_nobody_a_value() {
    let world = World::new();
    let (one, two) = (world.node(), reader(&world, millis(10)));
    (0..9).for_each(|key| assert_eq!(one.value(key), 0));
    world.live(&[&one, &two], seconds(1));
    let faults = two.remote.faults();
    faults.fail(Op::ReadReplica, 1, RemoteError::Unreachable("for a test".to_owned()));
    assert_eq!((two.value(1), two.cache.stats().replica_misses), (0, 1));
    faults.hold(Op::ReadReplica, Side::Before);
    let mut hangs = two.load(2);
    assert_eq!(hangs.poll(), None);
    world.live(&[&one, &two], millis(500));
    assert_eq!(hangs.end().unwrap(), "0");
    // The primary has not failed.
    assert!(!two.events().contains(&Event::BreakerOpened));
    assert_eq!((world.source.loads(), two.cache.stats().remote_hits), (9, 2));
}

#[test]
fn what_one_did_oneself_is_read_back() {
    for modes in [[Mode::Tracking], [Mode::Messages], [Mode::TtlOnly]] {
        let world = World::new();
        let node = reader_by(&world, millis(300), &modes);
        world.live(&[&node], seconds(1));
        world.source.write(7, 1);
        assert_eq!(node.value(7), 1);
        world.live(&[&node], seconds(3));
        world.source.write(7, 2);
        assert!(node.call(node.cache.delete_async(&7)).end().is_done());
        assert_eq!(node.value(7), 2, "{modes:?}");
        world.live(&[&node], seconds(3));
        world.source.write(7, 3);
        assert!(node.call(node.cache.put_async(7, "3".to_owned())).end().is_done());
        // By another who has not got it.
        assert!(node.call(node.cache.delete_matching_async("8*", |_| {})).end().is_ok());
        assert_eq!(node.value(7), 3, "{modes:?}");
        world.live(&[&node], seconds(100));
        assert_eq!(node.value(7), 3, "{modes:?}");
        world.source.write(7, 4);
        assert!(node.call(node.cache.delete_matching_async("*", |_| {})).end().is_ok());
        assert_eq!(node.value(7), 4, "{modes:?}");
    }
}

#[test]
fn what_one_has_seen_is_not_read_as_it_was_before() {
    let world = World::new();
    let modes = [Mode::TtlOnly];
    let brief = |builder: crate::world::Chosen| builder.modes(modes).max_staleness(millis(100));
    let (one, two) =
        (world.node_with(brief), world.node_with(|builder| brief(builder).replica_lag(LAG)));
    let both = [&one, &two];
    two.remote.faults().replica(Some(millis(300)));
    world.source.write(7, 1);
    assert_eq!(one.value(7), 1);
    world.live(&both, seconds(1));
    // It puts another, and does not keep it for as long as the replica lags.
    assert!(two.call(two.cache.put_async(7, "2".to_owned())).end().is_done());
    world.live(&both, millis(200));
    assert_eq!((two.local(7), two.value(7)), (None, 2));
    // It sees what another has put, at the primary.
    world.live(&both, seconds(1));
    assert!(one.call(one.cache.put_async(7, "3".to_owned())).end().is_done());
    for many in [false, true] {
        let down = RemoteError::Unreachable("for a test".to_owned());
        two.remote.faults().fail(Op::ReadReplica, 1, down);
        if many {
            assert_eq!(two.call(two.cache.load_many_async(&[7])).end(), [Ok("3".to_owned())]);
        } else {
            assert_eq!(two.value(7), 3);
        }
        world.live(&both, millis(120));
        assert_eq!((two.local(7), two.value(7)), (None, 3), "{many}");
        world.live(&both, millis(120));
    }
}

#[test]
fn what_others_deleted_does_not_come_back_by_a_pattern_that_finds_nothing() {
    let world = World::new();
    let modes = [Mode::TtlOnly];
    let (one, two) = (world.node_by(modes), reader_by(&world, millis(300), &modes));
    world.source.write(7, 1);
    assert_eq!(one.value(7), 1);
    world.live(&[&one, &two], seconds(1));
    world.source.write(7, 2);
    assert!(one.call(one.cache.delete_async(&7)).end().is_done());
    assert!(two.call(two.cache.delete_matching_async("*", |_| {})).end().is_ok());
    assert_eq!(two.value(7), 2);
}

#[test]
fn what_is_owed_is_not_read_from_a_replica() {
    let world = World::new();
    let (one, two) = (world.node(), reader(&world, millis(300)));
    world.source.write(7, 1);
    assert_eq!(one.value(7), 1);
    world.live(&[&one, &two], seconds(1));
    world.source.write(7, 2);
    two.remote.faults().fail(Op::Delete, 1, RemoteError::Unreachable("for a test".to_owned()));
    two.remote.faults().hold(Op::Delete, Side::Before);
    let mut delete = two.call(two.cache.delete_async(&7));
    assert!(two.remote.faults().release_next());
    assert!(delete.poll().is_some_and(|delivery| !delivery.is_done()));
    assert_eq!((two.cache.undelivered(), two.value(7), asked(&two)), (1, 2, (0, 0)));
    two.remote.faults().release();
    settle(&[&one, &two]);
    assert_eq!((two.cache.undelivered(), two.value(7)), (0, 2));
}

#[test]
fn what_changed_while_the_line_was_down_is_not_read_as_it_was_before() {
    for on_loss in [OnLinkLoss::Flush, OnLinkLoss::Bypass, OnLinkLoss::ServeStale(millis(900))] {
        let world = World::new();
        let one = world.node();
        let two = world.node_with(|builder| builder.on_link_loss(on_loss).replica_lag(LAG));
        two.remote.faults().replica(Some(LAG));
        world.source.write(7, 1);
        assert_eq!(one.value(7), 1);
        world.live(&[&one, &two], seconds(1));
        two.remote.faults().lines(Path::Cut);
        world.live(&[&one, &two], seconds(3));
        world.source.write(7, 2);
        assert!(one.call(one.cache.delete_async(&7)).end().is_done());
        two.remote.faults().lines(Path::Open);
        for _ in 0..20 {
            world.live(&[&one, &two], millis(100));
            let _ = two.value(7);
        }
        world.live(&[&one, &two], BOUND + LAG);
        assert_eq!(two.value(7), 2, "{on_loss:?}");
    }
}

#[test]
fn where_nobody_tells_it_is_kept_no_longer_than_the_bound_after_it_was_right() {
    let world = World::new();
    let modes = [Mode::TtlOnly];
    let one = world.node_by(modes);
    let two = world.node_with(|builder| builder.modes(modes).max_staleness(BOUND).replica_lag(LAG));
    two.remote.faults().replica(Some(LAG));
    world.source.write(7, 1);
    assert_eq!(one.value(7), 1);
    world.live(&[&one, &two], seconds(1));
    world.source.write(7, 2);
    assert!(one.call(one.cache.delete_async(&7)).end().is_done());
    assert_eq!((two.value(7), two.cache.stats().replica_hits), (1, 1));
    world.pass(&[&one, &two], BOUND - millis(1));
    assert_eq!(two.local(7), Some(1));
    world.pass(&[&one, &two], millis(1));
    assert_eq!(two.local(7), None);
}

#[test]
fn many_are_one_question_to_the_replica_and_one_to_the_primary() {
    let world = World::new();
    let (one, two) = (world.node(), reader(&world, millis(300)));
    (0..4).for_each(|key| assert_eq!(one.value(key), 0));
    world.live(&[&one, &two], seconds(1));
    world.source.write(1, 5);
    assert!(one.call(one.cache.delete_async(&1)).end().is_done());
    settle(&[&one, &two]);
    let loaded = two.call(two.cache.load_many_async(&[0, 1, 2, 3, 9])).end();
    let loaded: Vec<u64> =
        loaded.into_iter().map(|value| value.unwrap().parse().unwrap()).collect();
    assert_eq!((loaded, asked(&two)), (vec![0, 5, 0, 0, 0], (1, 1)));
    let stats = two.cache.stats();
    assert_eq!((stats.remote_hits, stats.replica_hits, stats.leases), (3, 3, 2));
}

#[test]
fn a_value_whose_tag_was_deleted_is_none_at_a_replica_either() {
    let world = World::new();
    let tagged = |lag| {
        let node =
            world.node_with(|builder| builder.tags(|_, _| vec!["all".to_owned()]).replica_lag(LAG));
        node.remote.faults().replica(lag);
        node
    };
    let (one, two) = (tagged(None), tagged(Some(millis(300))));
    // The first of a tag is not kept.
    (0..2).for_each(|_| assert_eq!(one.value(7), 0));
    world.live(&[&one, &two], seconds(1));
    world.source.write(7, 2);
    assert!(one.call(one.cache.delete_tag_async("all")).end().is_done());
    settle(&[&one, &two]);
    assert_eq!(two.value(7), 2);
    assert_eq!(two.cache.stats().replica_hits, 0);
}
