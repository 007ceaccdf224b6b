//! Remaining lives, and clocks that differ.

use crate::world::{BOUND, TTL, World, millis, seconds, settle};
use cachette::Freshness;
use cachette::tier::{Delivery, Mode, Op, Side};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn t21_l1_keeps_nothing_longer_than_the_remote_counted_from_the_question() {
    for mode in [Mode::Tracking, Mode::Messages, Mode::TtlOnly] {
        let world = World::new();
        let choose = |builder: crate::world::Chosen| {
            builder.modes([mode]).remote_ttl(millis(700)).max_staleness(seconds(9))
        };
        let (one, two) = (world.node_fresh(None, choose), world.node_with(choose));
        world.source.write(7, 1);
        assert_eq!(two.value(7), 1);
        world.pass(&[&one, &two], millis(300));
        one.remote.faults().hold(Op::Read, Side::After);
        let mut reads = one.load(7);
        assert!(reads.poll().is_none());
        world.pass(&[&one, &two], millis(100));
        one.remote.faults().release();
        assert_eq!(reads.end(), Ok("1".to_owned()));
        world.source.write(7, 2);
        world.pass(&[&one, &two], millis(299));
        assert_eq!((one.local(7), two.local(7)), (Some(1), Some(1)), "{mode}");
        world.pass(&[&one, &two], millis(1));
        assert_eq!((one.local(7), two.local(7)), (None, None), "{mode}");
        assert_eq!(one.value(7), 2);
    }
}

#[test]
fn t21_a_value_s_own_ttl_is_that_of_both_levels() {
    let world = World::new();
    let choose = |builder: crate::world::Chosen| {
        builder.remote_ttl_by(|&key, _| if key == 7 { seconds(5) } else { Duration::MAX })
    };
    let (one, two) = (world.node_with(choose), world.node_with(choose));
    for key in [7, 8] {
        assert_eq!((one.value(key), two.value(key)), (0, 0));
    }
    assert_eq!(world.source.loads(), 2);
    world.live(&[&one, &two], seconds(5));
    assert_eq!((one.local(7), two.local(7)), (None, None));
    assert_eq!((one.local(8), two.local(8)), (Some(0), Some(0)));
    world.live(&[&one, &two], TTL - seconds(5));
    assert_eq!(one.local(8), None, "the TTL of L1");
    assert_eq!((one.value(8), world.source.loads()), (0, 2), "the remote has it for ever");
}

#[test]
fn t22_the_dates_of_processes_do_not_matter() {
    let world = World::new();
    let choose = |builder: crate::world::Chosen| builder.tags(|_, _| vec!["red".to_owned()]);
    let (one, two) = (world.node_with(choose), world.node_with(choose));
    one.set_date(SystemTime::UNIX_EPOCH + 30 * DAY);
    two.set_date(SystemTime::UNIX_EPOCH + 30 * DAY - seconds(7_200));
    world.source.write(7, 1);
    assert_eq!((one.value(7), two.value(7)), (1, 1));
    world.live(&[&one, &two], TTL - millis(1));
    assert_eq!((one.local(7), two.local(7)), (Some(1), Some(1)));
    world.source.write(7, 2);
    assert_eq!(two.cache.delete_tag("red"), Delivery::Done);
    assert_eq!((one.local(7), two.local(7)), (None, None));
    assert_eq!(one.value(7), 2);
    settle(&[&one]);
    assert_eq!(two.value(7), 2);
    world.source.write(7, 3);
    assert_eq!(one.cache.clear(), Delivery::Done);
    assert_eq!(one.value(7), 3);
    settle(&[&one]);
    assert_eq!(two.value(7), 3);
    settle(&[&two]);
    world.live(&[&one, &two], seconds(601));
    assert_eq!((one.local(7), two.local(7)), (None, None));
}

#[test]
fn t25_nothing_changes_when_the_clock_on_the_wall_is_set() {
    for mode in [Mode::Tracking, Mode::Messages, Mode::TtlOnly] {
        let world = World::new();
        let (one, two) = (world.node_by([mode]), world.node_by([mode]));
        let start = SystemTime::UNIX_EPOCH + 100 * DAY;
        one.set_date(start);
        two.set_date(start);
        world.source.write(7, 1);
        assert_eq!((one.value(7), two.value(7)), (1, 1));
        for date in [start + DAY, start - DAY, start] {
            one.set_date(date);
            world.live(&[&one, &two], seconds(1));
            assert_eq!((one.local(7), two.local(7)), (Some(1), Some(1)), "{mode}");
            assert!(one.cache.mode().is_some());
        }
        assert_eq!(world.source.loads(), 1);
    }
}

#[test]
fn t25_after_a_sleep_of_the_machine_nothing_old_is_served() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    world.source.write(7, 1);
    assert_eq!(one.value(7), 1);
    // Its lines and its background stand still; its clock does not.
    world.source.write(7, 2);
    one.remote.faults().lines(cachette::tier::Path::Silent);
    assert_eq!(two.cache.delete(&7), Delivery::Done);
    world.clock.advance(BOUND);
    assert_eq!(one.local(7), None);
    assert_eq!(one.value(7), 2);
}

#[test]
fn values_are_refreshed_ahead_once_for_all_processes() {
    let world = World::new();
    let fresh = Freshness::new(seconds(600)).refresh_ahead(0.5);
    let (one, two) = (world.node_fresh(fresh, |it| it), world.node_fresh(fresh, |it| it));
    world.source.write(7, 1);
    assert_eq!((one.value(7), two.value(7)), (1, 1));
    world.source.write(7, 2);
    world.live(&[&one, &two], seconds(301));
    assert_eq!((one.local(7), two.local(7)), (Some(1), Some(1)));
    world.live(&[&one, &two], seconds(1));
    assert_eq!((one.value(7), two.value(7)), (2, 2));
    assert_eq!(world.source.loads(), 2, "one has loaded it for both");
}
