//! The line on which changes are told of.

use crate::world::{BOUND, World, millis, seconds, settle};
use cachette::tier::{Delivery, Event, Mode, OnLinkLoss, Path, RemoteError};

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
    assert_eq!(one.local(7), None);
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
