//! The line on which changes are told of.

use crate::world::{BOUND, TTL, World, millis, seconds, settle};
use cachette::tier::{Delivery, Event, Mode, News, OnLinkLoss, Op, Path, RemoteError, Side};

#[test]
fn a_change_elsewhere_is_heard_of() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    world.source.write(7, 1);
    assert_eq!((one.value(7), two.value(7)), (1, 1));
    world.source.write(7, 2);
    assert_eq!(two.cache.delete(&7), Delivery::Done);
    assert_eq!(one.local(7), None);
    assert_eq!((one.value(7), two.value(7)), (2, 2));
    assert_eq!(one.events(), [Event::LinkUp { mode: Mode::Tracking }]);
}

#[test]
fn t13_after_a_loss_nothing_is_served_from_before_it() {
    for on_loss in [OnLinkLoss::Flush, OnLinkLoss::Bypass] {
        let world = World::new();
        let one = world.node_with(|builder| builder.on_link_loss(on_loss));
        let two = world.node();
        world.source.write(7, 1);
        assert_eq!(one.value(7), 1);
        one.remote.faults().lines(Path::Cut);
        settle(&[&one]);
        assert_eq!(one.local(7), None);
        world.source.write(7, 2);
        assert_eq!(two.cache.delete(&7), Delivery::Done);
        assert_eq!(one.value(7), 2, "past L1");
        one.remote.faults().lines(Path::Open);
        world.live(&[&one, &two], seconds(2));
        assert_eq!(one.cache.mode(), Some(Mode::Tracking));
        assert_eq!(one.local(7), None);
        assert_eq!(one.value(7), 2);
        world.live(&[&one, &two], seconds(5));
        assert_eq!(one.local(7), Some(2));
    }
}

#[test]
fn t14_a_line_that_says_nothing_is_believed_no_longer_than_the_bound() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    world.source.write(7, 1);
    assert_eq!(one.value(7), 1);
    one.events();
    one.remote.faults().lines(Path::Silent);
    world.source.write(7, 2);
    assert_eq!(two.cache.delete(&7), Delivery::Done);
    assert_eq!(one.local(7), Some(1), "nobody knows yet");
    assert_eq!(one.cache.max_staleness(), BOUND);
    // Its background does not run at all: its own clock is enough.
    one.clock().advance(BOUND);
    let hits = one.cache.stats().local.hits;
    assert_eq!(one.local(7), None);
    assert_eq!(one.cache.stats().local.hits, hits, "what may not be served is no hit");
    assert_eq!(one.call(one.cache.load_many_async(&[7])).end(), [Ok("2".to_owned())]);
    world.live(&[&one, &two], BOUND);
    let lost = |event: &Event| matches!(event, Event::LinkLost { cause: RemoteError::TimedOut(_) });
    assert!(one.events().iter().any(lost));
    one.remote.faults().lines(Path::Open);
    world.live(&[&one, &two], seconds(5));
    assert_eq!(one.value(7), 2);
}

#[test]
fn while_there_is_no_line_values_live_no_longer_than_the_bound() {
    let world = World::new();
    let one = world.node();
    one.remote.faults().lines(Path::Cut);
    settle(&[&one]);
    world.source.write(7, 1);
    assert_eq!(one.value(7), 1);
    assert_eq!(one.local(7), Some(1));
    world.pass(&[&one], BOUND - millis(1));
    assert_eq!(one.local(7), Some(1));
    world.pass(&[&one], millis(1));
    assert_eq!(one.local(7), None);
}

#[test]
fn t12_a_flush_takes_all_and_the_loads_under_way() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    for key in 1..4 {
        world.source.write(key, 1);
        assert_eq!((one.value(key), two.value(key)), (1, 1));
    }
    world.source.park();
    let parked = one.load(9);
    world.remote.flush_all();
    assert!((1..4).all(|key| one.local(key).is_none() && two.local(key).is_none()), "at once");
    settle(&[&one, &two]);
    world.source.release();
    assert_eq!(parked.end(), Ok("0".to_owned()));
    assert_eq!(one.local(9), None);
    assert_eq!(one.cache.len(), 0);
    world.live(&[&one, &two], seconds(1));
    assert_eq!((one.value(1), two.value(1), one.local(1)), (1, 1, Some(1)));
}

#[test]
fn t12_a_change_of_three_keys_takes_all_three() {
    for mode in [Mode::Tracking, Mode::OptIn, Mode::Messages] {
        let world = World::new();
        let (one, two) = (world.node_by([mode]), world.node_by([mode]));
        (1..5).for_each(|key| assert_eq!((one.value(key), two.value(key)), (0, 0)));
        let deletes = two.remote.faults().count(Op::Delete).calls;
        assert_eq!(two.cache.delete_many([1, 2, 3]), Delivery::Done);
        assert_eq!(two.remote.faults().count(Op::Delete).calls, deletes + 1);
        for key in 1..5 {
            let there = (key == 4).then_some(0);
            assert_eq!((one.local(key), two.local(key)), (there, there), "{key}");
        }
    }
}

#[test]
fn t13_stale_values_are_served_for_as_long_as_was_chosen() {
    for mode in [Mode::Tracking, Mode::OptIn, Mode::Messages] {
        let world = World::new();
        let stale = OnLinkLoss::ServeStale(seconds(1));
        let one = world.node_with(|builder| builder.modes([mode]).on_link_loss(stale));
        let two = world.node_by([mode]);
        world.source.write(7, 1);
        assert_eq!(one.value(7), 1);
        world.live(&[&one, &two], seconds(5));
        one.remote.faults().lines(Path::Cut);
        settle(&[&one]);
        assert_eq!(one.cache.mode(), None);
        world.source.write(7, 2);
        assert_eq!(two.cache.delete(&7), Delivery::Done);
        world.live(&[&one, &two], seconds(1));
        assert_eq!(one.local(7), Some(1));
        assert_eq!(one.cache.max_staleness(), BOUND);
        world.live(&[&one, &two], seconds(1));
        assert_eq!(one.local(7), None);
        assert_eq!(one.value(7), 2);
        one.remote.faults().lines(Path::Open);
        world.live(&[&one, &two], seconds(10));
        assert_eq!((one.value(7), one.cache.mode()), (2, Some(mode)));
    }
}

#[test]
fn t13_after_a_short_loss_nothing_from_before_is_served() {
    for mode in [Mode::Tracking, Mode::OptIn, Mode::Messages] {
        for on_loss in [OnLinkLoss::Flush, OnLinkLoss::Bypass, OnLinkLoss::ServeStale(seconds(1))] {
            let world = World::new();
            let one = world.node_with(|builder| builder.modes([mode]).on_link_loss(on_loss));
            let two = world.node_by([mode]);
            world.source.write(7, 1);
            assert_eq!(one.value(7), 1);
            one.remote.faults().lines(Path::Cut);
            world.source.write(7, 2);
            assert_eq!(two.cache.delete(&7), Delivery::Done);
            one.remote.faults().lines(Path::Open);
            world.live(&[&one, &two], millis(300));
            assert_eq!(one.cache.mode(), Some(mode));
            assert_eq!(one.local(7), None, "{on_loss:?}");
            assert_eq!(one.value(7), 2);
        }
    }
}

#[test]
fn t13_a_failing_load_has_what_a_lost_line_left_unless_it_was_flushed() {
    for (on_loss, left) in [(OnLinkLoss::Flush, None), (OnLinkLoss::Bypass, Some("1"))] {
        let world = World::new();
        let one = world.node_with(|builder| builder.on_link_loss(on_loss));
        world.source.write(7, 1);
        assert_eq!(one.value(7), 1);
        one.remote.faults().partition(Path::Cut);
        settle(&[&one]);
        world.source.set_down(true);
        world.live(&[&one], TTL);
        assert_eq!(one.load(7).end().ok().as_deref(), left, "{on_loss:?}");
    }
}

#[test]
fn t14_silence_of_messages_is_noticed_too() {
    let world = World::new();
    let (one, two) = (world.node_by([Mode::Messages]), world.node_by([Mode::Messages]));
    world.source.write(7, 1);
    assert_eq!(one.value(7), 1);
    one.remote.faults().lines(Path::Silent);
    world.source.write(7, 2);
    assert_eq!(two.cache.delete(&7), Delivery::Done);
    world.live(&[&one, &two], BOUND);
    assert_eq!(one.local(7), None);
    assert_eq!(one.value(7), 2);
}

#[test]
fn t15_nothing_is_kept_for_long_before_the_line_is_there() {
    let world = World::new();
    let two = world.node();
    let one = world.node_in_the_dark(cachette::Freshness::new(TTL), |builder| builder);
    one.remote.faults().hold(Op::Listen, Side::Before);
    one.settle();
    assert_eq!(one.cache.mode(), None);
    world.source.write(7, 1);
    assert_eq!(one.value(7), 1);
    world.source.write(7, 2);
    assert_eq!(two.cache.delete(&7), Delivery::Done);
    assert_eq!(one.local(7), Some(1), "within the bound");
    world.live(&[&one, &two], BOUND);
    assert_eq!(one.local(7), None);
    assert_eq!(one.value(7), 2);
    one.remote.faults().release();
    one.settle();
    assert_eq!(one.local(7), None, "what was there before the line is not there after it");
}

#[test]
fn t15_what_the_remote_cannot_do_is_done_in_the_next_best_way() {
    let world = World::new();
    let offered = [
        (&[Mode::Tracking, Mode::Messages][..], Mode::Tracking),
        (&[Mode::Messages], Mode::Messages),
    ];
    for (offer, mode) in offered {
        let one = world.node_in_the_dark(cachette::Freshness::new(TTL), |builder| builder);
        one.remote.faults().offer(offer);
        one.settle();
        assert_eq!((one.cache.mode(), one.events()), (Some(mode), vec![Event::LinkUp { mode }]));
    }
    let one = world.node_in_the_dark(cachette::Freshness::new(TTL), |builder| builder);
    one.remote.faults().offer(&[]);
    one.settle();
    assert_eq!(one.cache.mode(), Some(Mode::TtlOnly));
    let refused = |event: &Event| matches!(event, Event::NoLink { cause: RemoteError::Refused(_) });
    let events = one.events();
    assert!(events.iter().any(refused) && events.contains(&Event::LinkUp { mode: Mode::TtlOnly }));
    // A server that can do more is noticed.
    one.remote.faults().offer(&[Mode::Tracking]);
    world.live(&[&one], seconds(31));
    assert_eq!(one.cache.mode(), Some(Mode::Tracking));
    assert_eq!(one.events(), [Event::LinkUp { mode: Mode::Tracking }]);
}

#[test]
fn t15_where_ttl_only_will_not_do_the_line_is_tried_for_again() {
    let world = World::new();
    let one = world
        .node_in_the_dark(cachette::Freshness::new(TTL), |builder| builder.modes([Mode::Tracking]));
    one.remote.faults().offer(&[Mode::Messages]);
    one.settle();
    assert_eq!(one.cache.mode(), None);
    one.remote.faults().offer(&[Mode::Tracking]);
    world.live(&[&one], seconds(1));
    assert_eq!(one.cache.mode(), Some(Mode::Tracking));
}

#[test]
fn t16_who_is_too_slow_loses_its_line_once_and_hears_again() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    world.source.write(7, 1);
    assert_eq!(one.value(7), 1);
    let emptied = one.cache.stats().emptied;
    one.remote.faults().lines(Path::Silent);
    world.source.write(7, 2);
    assert_eq!(two.cache.delete(&7), Delivery::Done);
    for n in 0..70_000 {
        world.remote.put_foreign(b"{test.0:k:1000}", &[u8::try_from(n % 256).unwrap()]);
    }
    one.remote.faults().lines(Path::Open);
    world.live(&[&one, &two], seconds(2));
    assert_eq!(one.local(7), None);
    assert_eq!(one.value(7), 2);
    assert!((1..=2).contains(&(one.cache.stats().emptied - emptied)), "at the loss, and after it");
    world.live(&[&one, &two], seconds(2));
    assert_eq!(one.local(7), Some(2));
    assert_eq!(two.cache.delete(&7), Delivery::Done);
    assert_eq!(one.local(7), None);
}

#[test]
fn t17_ones_own_write_does_not_hide_the_next_one() {
    for mode in [Mode::Tracking, Mode::Messages, Mode::TtlOnly] {
        let world = World::new();
        let choose = |builder: crate::world::Chosen| builder.modes([mode]).max_staleness(BOUND);
        let (one, two) = (world.node_with(choose), world.node_with(choose));
        assert_eq!(one.cache.put(7, "1".to_owned()), Delivery::Done);
        assert_eq!(one.local(7), Some(1));
        assert_eq!(two.cache.put(7, "2".to_owned()), Delivery::Done);
        if mode == Mode::TtlOnly {
            world.pass(&[&one, &two], BOUND);
        }
        assert_eq!((one.value(7), two.value(7)), (2, 2), "{mode}");
        assert_eq!(world.source.loads(), 0);
    }
}

#[test]
fn t17_two_writes_that_are_told_of_as_one_are_noticed() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    one.remote.faults().lines(Path::Silent);
    assert_eq!(one.cache.put(7, "1".to_owned()), Delivery::Done);
    assert_eq!(two.cache.put(7, "2".to_owned()), Delivery::Done);
    // Within one turn of its loop a server tells of a name once.
    one.remote.faults().edit_news(|news| {
        assert_eq!(news.len(), 2);
        news.truncate(1);
    });
    one.remote.faults().lines(Path::Open);
    assert_eq!(one.local(7), Some(1), "it may have been its own");
    world.live(&[&one, &two], BOUND);
    assert_eq!(one.value(7), 2);
    assert_eq!(one.remote.faults().count(Op::Heads).calls, 1);
}

#[test]
fn t17_a_doubt_that_cannot_be_settled_is_believed_no_longer_than_the_bound() {
    let world = World::new();
    let slow = |builder: crate::world::Chosen| builder.remote_timeout(seconds(60));
    let (one, two) = (world.node_with(slow), world.node());
    one.remote.faults().lines(Path::Silent);
    assert_eq!(one.cache.put(7, "1".to_owned()), Delivery::Done);
    assert_eq!(two.cache.put(7, "2".to_owned()), Delivery::Done);
    world.pass(&[&one, &two], millis(900));
    one.remote.faults().edit_news(|news| drop(news.remove(1)));
    one.remote.faults().hold(Op::Heads, Side::Before);
    one.remote.faults().lines(Path::Open);
    world.live(&[&one, &two], BOUND - millis(900));
    assert_eq!(one.remote.faults().held(), [Op::Heads]);
    assert_eq!(one.local(7), None, "it was replaced so long ago");
}

/// Lets a process miss some of what another says.
fn missing(lose: impl FnMut(&mut Vec<News>)) -> (World, crate::world::Node, crate::world::Node) {
    let world = World::new();
    let (one, two) = (world.node_by([Mode::Messages]), world.node_by([Mode::Messages]));
    assert_eq!(two.cache.delete(&1), Delivery::Done, "from which on it is known");
    for key in 7..10 {
        world.source.write(key, 1);
        assert_eq!(one.value(key), 1);
    }
    one.events();
    one.remote.faults().lines(Path::Silent);
    for key in 7..9 {
        world.source.write(key, 2);
        assert_eq!(two.cache.delete(&key), Delivery::Done);
    }
    one.remote.faults().edit_news(lose);
    one.remote.faults().lines(Path::Open);
    (world, one, two)
}

#[test]
fn t18_a_message_that_is_missing_empties_l1() {
    let (world, one, two) = missing(|news| drop(news.remove(0)));
    assert_eq!((one.local(7), one.local(8)), (Some(1), None));
    world.live(&[&one, &two], seconds(2));
    assert_eq!((one.local(7), one.local(9)), (None, None));
    assert_eq!(one.value(7), 2);
    assert_eq!(one.events(), [Event::MessagesMissing]);
    assert_eq!(one.cache.stats().emptied, 2);
}

#[test]
fn t18_a_message_that_was_overtaken_is_not_missing() {
    let (world, one, two) = missing(|news| news.swap(0, 1));
    assert_eq!((one.local(7), one.local(8), one.local(9)), (None, None, Some(1)));
    world.live(&[&one, &two], seconds(5));
    assert_eq!((one.events(), one.local(9)), (vec![], Some(1)));
}

#[test]
fn t18_a_new_line_does_not_rely_on_the_messages_of_the_old_one() {
    let (world, one, two) = missing(Vec::clear);
    one.remote.faults().lines(Path::Cut);
    one.remote.faults().lines(Path::Open);
    world.live(&[&one, &two], seconds(1));
    assert_eq!((one.value(7), one.value(8)), (2, 2));
    assert!(!one.events().contains(&Event::MessagesMissing));
}

#[test]
fn where_nobody_tells_values_live_as_long_as_the_bound_or_the_ttl() {
    for (bound, lives) in [(None, TTL), (Some(seconds(5)), seconds(5))] {
        let world = World::new();
        let choose = |builder: crate::world::Chosen| {
            let builder = builder.modes([Mode::TtlOnly]);
            match bound {
                Some(bound) => builder.max_staleness(bound),
                None => builder,
            }
        };
        let (one, two) = (world.node_with(choose), world.node_with(choose));
        assert_eq!(one.cache.max_staleness(), lives);
        world.source.write(7, 1);
        assert_eq!((one.value(7), two.value(7)), (1, 1));
        world.source.write(7, 2);
        assert_eq!(two.cache.delete(&7), Delivery::Done);
        assert_eq!(two.local(7), None);
        world.pass(&[&one, &two], lives - millis(1));
        assert_eq!((one.local(7), two.value(7)), (Some(1), 2));
        world.pass(&[&one, &two], millis(1));
        assert_eq!(one.value(7), 2);
        assert_eq!(one.events(), [Event::LinkUp { mode: Mode::TtlOnly }]);
        assert_eq!(one.remote.faults().count(Op::Listen).calls, 0);
    }
}

#[test]
fn the_bound_is_that_of_the_mode() {
    let world = World::new();
    let usual = world.node();
    assert_eq!(usual.cache.max_staleness(), BOUND, "unless chosen");
    for modes in [vec![Mode::Tracking], vec![Mode::Messages]] {
        let node = world.node_with(|builder| builder.modes(modes).max_staleness(millis(40)));
        assert_eq!(node.cache.max_staleness(), millis(40));
    }
    let dark = world.node_in_the_dark(cachette::Freshness::new(TTL), |builder| builder);
    assert_eq!(dark.cache.max_staleness(), BOUND, "there is no line yet");
    dark.remote.faults().offer(&[]);
    dark.settle();
    assert_eq!(dark.cache.max_staleness(), TTL, "and none to be had");
}

#[test]
fn the_last_handle_ends_the_background() {
    for modes in [&[Mode::Tracking][..], &[Mode::Messages], &[Mode::TtlOnly]] {
        let world = World::new();
        let node = world.node_by(modes.iter().copied());
        node.value(7);
        assert!(node.hand.tasks() > 0 && node.hand.sleepers() > 0);
        let clone = node.cache.clone();
        let crate::world::Node { cache, hand, .. } = node;
        drop(clone);
        let pass = |time| {
            world.clock.advance(time);
            hand.pass(time);
            (0..4).for_each(|_| hand.run());
        };
        (0..10).for_each(|_| pass(millis(100)));
        assert!(hand.tasks() > 0, "one handle is left");
        drop(cache);
        (0..10).for_each(|_| pass(millis(100)));
        assert_eq!(hand.tasks(), 0);
        // Nobody listens any more.
        world.remote.put_foreign(b"{test.0:k:7}", b"");
    }
}

#[test]
fn a_panic_of_who_hears_of_events_is_its_own() {
    let world = World::new();
    let node = world.node_with(|builder| {
        builder.on_event(|_, _| std::panic::resume_unwind(Box::new("on purpose")))
    });
    assert_eq!(node.cache.mode(), Some(Mode::Tracking));
    node.remote.faults().partition(Path::Cut);
    world.live(&[&node], seconds(3));
    assert_eq!(node.value(7), 0);
    node.remote.faults().partition(Path::Open);
    world.live(&[&node], seconds(20));
    assert_eq!((node.value(7), node.cache.mode()), (0, Some(Mode::Tracking)));
}

#[test]
fn t15_what_was_known_of_generations_before_the_line_is_asked_anew() {
    let world = World::new();
    let two = world.node();
    world.source.write(7, 1);
    assert_eq!(two.value(7), 1);
    let one = world.node_in_the_dark(cachette::Freshness::new(TTL), |builder| builder);
    one.remote.faults().hold(Op::Listen, Side::Before);
    assert_eq!(one.value(8), 0, "which asks for the generation");
    world.source.write(7, 2);
    assert_eq!(two.cache.clear(), Delivery::Done);
    one.remote.faults().release();
    one.settle();
    assert_eq!(one.cache.mode(), Some(Mode::Tracking));
    assert_eq!(one.value(7), 2);
}
