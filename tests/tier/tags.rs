//! Tags, namespaces, and patterns.

use crate::world::{BOUND, Chosen, Node, World, seconds, settle};
use cachette::tier::{Delivery, Mode, Op, Path, RemoteError, Side};

fn tagged(builder: Chosen) -> Chosen {
    builder.tags(|&key, _| {
        let parity = if key % 2 == 0 { "even" } else { "odd" };
        // In any order, and as often as they like.
        vec![parity.to_owned(), "all".to_owned(), parity.to_owned()]
    })
}

fn nodes(world: &World, modes: &[Mode]) -> (Node, Node) {
    let choose = |builder: Chosen| tagged(builder).modes(modes.iter().copied());
    (world.node_with(choose), world.node_with(choose))
}

const TOLD: [&[Mode]; 3] = [&[Mode::Tracking], &[Mode::OptIn], &[Mode::Messages]];

#[test]
fn t23_a_tag_s_deletion_takes_its_values_and_no_others() {
    for modes in TOLD {
        let world = World::new();
        let (one, two) = nodes(&world, modes);
        (1..5).for_each(|key| assert_eq!((one.value(key), two.value(key)), (0, 0)));
        assert_eq!(world.source.loads(), 4, "each is loaded once, also the first of its tag");
        (1..5).for_each(|key| world.source.write(key, 1));
        let delete = one.call(one.cache.delete_tag_async("even"));
        assert_eq!(delete.end(), Delivery::Done);
        for node in [&one, &two] {
            assert_eq!([1, 2, 3, 4].map(|key| node.local(key)), [Some(0), None, Some(0), None]);
        }
        for node in [&one, &two] {
            for _ in 0..2 {
                assert_eq!([1, 2, 3, 4].map(|key| node.value(key)), [0, 1, 0, 1]);
                settle(&[node]);
            }
            assert_eq!([1, 2, 3, 4].map(|key| node.local(key)), [0, 1, 0, 1].map(Some));
        }
    }
}

#[test]
fn t23_a_tag_that_is_deleted_while_a_value_is_loaded_takes_it() {
    for modes in TOLD {
        for by in [0, 1] {
            let world = World::new();
            let (one, two) = nodes(&world, modes);
            assert_eq!((one.value(2), two.value(2)), (0, 0), "the numbers are known");
            world.source.park();
            let mut parked = one.load(4);
            world.source.write(4, 1);
            // At the same time by the clock.
            assert_eq!([&one, &two][by].cache.delete_tag("even"), Delivery::Done);
            let mut after = one.load(4);
            assert!(parked.poll().is_none() && after.poll().is_none());
            world.source.release();
            assert_eq!(parked.end(), Ok("0".to_owned()));
            assert_eq!(after.end(), Ok("1".to_owned()), "it joined, and asked once more");
            assert_ne!(one.local(4), Some(0));
            settle(&[&one, &two]);
            assert_eq!((two.value(4), one.value(4)), (1, 1));
        }
    }
}

#[test]
fn t23_a_value_whose_tags_are_not_known_yet_is_not_served() {
    let world = World::new();
    let (one, two) = nodes(&world, &[Mode::Tracking]);
    assert_eq!(two.value(2), 0);
    one.remote.faults().hold(Op::Numbers, Side::Before);
    let mut reads = one.load(2);
    assert!(reads.poll().is_none());
    assert_eq!(one.local(2), None);
    world.source.write(2, 1);
    assert_eq!(two.cache.delete_tag("even"), Delivery::Done);
    one.remote.faults().release();
    assert_eq!(reads.end(), Ok("1".to_owned()));
    assert_ne!(one.local(2), Some(0));
}

#[test]
fn t23_a_deletion_that_was_not_delivered_holds_here_at_once_and_elsewhere_later() {
    for modes in TOLD {
        let world = World::new();
        let (one, two) = nodes(&world, modes);
        (1..3).for_each(|key| assert_eq!((one.value(key), two.value(key)), (0, 0)));
        settle(&[&one, &two]);
        let down = RemoteError::Unreachable("for a test".to_owned());
        one.remote.faults().fail(Op::SetNumber, 3, down.clone());
        (1..3).for_each(|key| world.source.write(key, 1));
        let delete = one.call(one.cache.delete_tag_async("even")).end();
        assert_eq!(delete, Delivery::Queued(down));
        assert_eq!((one.local(2), two.local(2), one.cache.undelivered()), (None, Some(0), 1));
        // Its old number is asked for, by a load of another value.
        assert_eq!(one.value(6), 0);
        settle(&[&one]);
        assert_eq!(one.cache.undelivered(), 1);
        assert_eq!((one.local(2), one.local(1)), (None, Some(0)), "it is no good any more");
        assert_eq!(one.value(2), 1, "not what the remote has");
        world.live(&[&one, &two], BOUND);
        assert_eq!((one.cache.undelivered(), two.local(2)), (0, None));
        assert_eq!(two.value(2), 1);
        settle(&[&one, &two]);
        assert_eq!((one.value(2), two.value(1)), (1, 0));
    }
}

#[test]
fn t23_a_put_of_unknown_tags_is_not_kept() {
    let world = World::new();
    let (one, _) = nodes(&world, &[Mode::Tracking]);
    one.remote.faults().partition(Path::Cut);
    settle(&[&one]);
    world.source.write(2, 1);
    assert!(matches!(one.cache.put(2, "1".to_owned()), Delivery::Queued(_)));
    world.source.write(2, 2);
    assert!(matches!(one.cache.delete_tag("even"), Delivery::Queued(_)));
    assert_eq!(one.local(2), None);
    assert_eq!(one.value(2), 2);
}

#[test]
fn where_nobody_tells_a_tag_s_deletion_is_noticed_when_the_remote_is_asked() {
    let world = World::new();
    let (one, two) = nodes(&world, &[Mode::TtlOnly]);
    for key in [2, 4] {
        assert_eq!(two.value(key), 0);
        settle(&[&two]);
        two.value(key);
    }
    assert_eq!(one.value(2), 0);
    (1..5).for_each(|key| world.source.write(key, 1));
    assert_eq!(two.cache.delete_tag("even"), Delivery::Done);
    assert_eq!((one.local(2), two.local(2)), (Some(0), None));
    assert_eq!(one.value(4), 1, "the remote says that its tag is another");
    assert_eq!(one.local(2), None, "which is so for all its values");
}

#[test]
fn what_is_cleared_is_gone_everywhere_and_is_loaded_once() {
    for modes in TOLD {
        let world = World::new();
        let (one, two) = nodes(&world, modes);
        (1..5).for_each(|key| assert_eq!((one.value(key), two.value(key)), (0, 0)));
        world.source.park();
        let parked = one.load(9);
        (1..10).for_each(|key| world.source.write(key, 1));
        assert_eq!(two.cache.clear(), Delivery::Done);
        assert!((1..5).all(|key| one.local(key).is_none() && two.local(key).is_none()));
        settle(&[&one, &two]);
        world.source.release();
        assert_eq!(parked.end(), Ok("0".to_owned()));
        assert_eq!(one.local(9), None);
        // Whose tags are not known is loaded twice.
        for _ in 0..2 {
            for key in [1, 2, 3, 4, 9] {
                assert_eq!(one.value(key), 1);
                settle(&[&one]);
                assert_eq!(two.value(key), 1);
                settle(&[&two]);
            }
        }
        assert_eq!(one.cache.len() + two.cache.len(), 10);
    }
}

#[test]
fn keys_are_deleted_by_a_pattern() {
    for modes in TOLD {
        let world = World::new();
        let (one, two) = nodes(&world, modes);
        let keys = [1, 10, 11, 12, 21, 100];
        for key in keys {
            assert_eq!((one.value(key), two.value(key)), (0, 0));
            world.source.write(key, 1);
        }
        let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let hears = std::sync::Arc::clone(&heard);
        let deleted = one.call(one.cache.delete_matching_async("1[01]*", move |so_far| {
            hears.lock().unwrap().push(so_far);
        }));
        assert_eq!(deleted.end(), Ok(3));
        assert_eq!(heard.lock().unwrap().last(), Some(&3));
        for node in [&one, &two] {
            let left = keys.map(|key| node.local(key).is_some());
            assert_eq!(left, [true, false, false, true, true, false]);
        }
        settle(&[&one, &two]);
        assert_eq!(keys.map(|key| one.value(key)), [0, 1, 1, 0, 0, 1]);
    }
}

#[test]
fn a_walk_by_pattern_takes_many_pages_and_may_fail_on_the_way() {
    let world = World::new();
    let (one, _) = nodes(&world, &[Mode::Tracking]);
    for key in 0..600 {
        assert_eq!(one.cache.put(key, "0".to_owned()), Delivery::Done);
    }
    let down = RemoteError::Unreachable("for a test".to_owned());
    one.remote.faults().fail(Op::Delete, 1, down.clone());
    assert_eq!(one.cache.delete_matching("*", |_| {}), Err(down));
    assert!(one.cache.is_empty(), "L1 has given them up");
    assert_eq!(one.cache.delete_matching("*", |_| {}), Ok(600));
    assert_eq!(one.cache.delete_matching("*", |_| {}), Ok(0));
    world.source.write(7, 1);
    assert_eq!(one.value(7), 1);
    world.live(&[&one], seconds(1));
}

#[test]
fn of_two_deletions_of_all_the_later_one_holds() {
    for modes in TOLD {
        for by_tag in [false, true] {
            let world = World::new();
            let (one, two) = nodes(&world, modes);
            assert_eq!((one.value(2), two.value(2)), (0, 0));
            one.remote.faults().hold(Op::SetNumber, Side::After);
            world.source.write(2, 1);
            let mut first = one.call(async {
                if by_tag {
                    one.cache.delete_tag_async("even").await
                } else {
                    one.cache.clear_async().await
                }
            });
            assert!(first.poll().is_none());
            for _ in 0..2 {
                assert_eq!(two.value(2), 1);
                settle(&[&two]);
            }
            world.source.write(2, 2);
            let second = if by_tag { two.cache.delete_tag("even") } else { two.cache.clear() };
            assert_eq!(second, Delivery::Done);
            one.remote.faults().release();
            assert_eq!(first.end(), Delivery::Done);
            settle(&[&one, &two]);
            assert_eq!(one.value(2), 2, "by tag: {by_tag}");
        }
    }
}
