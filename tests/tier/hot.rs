//! Keys that are asked for more than others.

use crate::world::{World, settle};
use cachette::tier::{Delivery, Op, Side};

fn name(copy: u8, key: u64) -> Vec<u8> {
    let kind = if copy == 0 { "k".to_owned() } else { format!("r{copy}") };
    format!("{{test.0:{kind}:{key}}}").into_bytes()
}

/// Reads a key, past L1, until every copy has been made.
fn spread(world: &World, node: &crate::world::Node, key: u64, copies: u8) {
    for _ in 0..200 {
        let value = node.value(key);
        assert_eq!(node.value(key), value);
        settle(&[node]);
        if (0..=copies).all(|copy| world.remote.peek(&name(copy, key)).is_some()) {
            return;
        }
    }
    panic!("not all copies were made");
}

#[test]
fn a_hot_key_is_read_from_its_copies_and_a_deletion_deletes_all() {
    let world = World::new();
    // Nothing is kept in L1, so that every read asks the remote.
    let choose = |builder: crate::world::Chosen| {
        builder.admit_above(f64::INFINITY).copies(3, |&key, _| key == 7)
    };
    let (one, two) = (world.node_with(choose), world.node_with(choose));
    world.source.write(7, 1);
    spread(&world, &one, 7, 3);
    assert_eq!(world.source.loads(), 1, "copies are made of the first");
    let same = world.remote.peek(&name(0, 7));
    assert!((1..=3).all(|copy| world.remote.peek(&name(copy, 7)) == same));

    world.source.write(7, 2);
    assert_eq!(two.cache.delete(&7), Delivery::Done);
    assert!((0..=3).all(|copy| world.remote.peek(&name(copy, 7)).is_none()));
    for _ in 0..20 {
        assert_eq!((one.value(7), two.value(7)), (2, 2));
    }
    spread(&world, &one, 7, 3);
    assert_eq!(two.cache.put(7, "3".to_owned()), Delivery::Done);
    assert!((1..=3).all(|copy| world.remote.peek(&name(copy, 7)).is_none()));
    for _ in 0..20 {
        assert_eq!((one.value(7), two.value(7)), (3, 3));
    }
    one.value(8);
    assert!((1..=3).all(|copy| world.remote.peek(&name(copy, 8)).is_none()), "it is not hot");
}

#[test]
fn a_copy_that_a_deletion_overtook_is_not_written() {
    let world = World::new();
    let choose =
        |builder: crate::world::Chosen| builder.admit_above(f64::INFINITY).copies(255, |_, _| true);
    let (one, two) = (world.node_with(choose), world.node());
    world.source.write(7, 1);
    assert_eq!(two.value(7), 1);
    // Of 256 names 255 are copies.
    one.remote.faults().hold(Op::Write, Side::Before);
    let mut copying = one.load(7);
    for _ in 0..20 {
        if one.remote.faults().held() == [Op::Write] {
            break;
        }
        copying = one.load(7);
    }
    assert!(copying.poll().is_none());
    let other = world.node_with(choose);
    world.source.write(7, 2);
    assert_eq!(other.cache.delete(&7), Delivery::Done);
    one.remote.faults().release();
    assert_eq!(copying.end(), Ok("1".to_owned()));
    assert!((0..=255).all(|copy| world.remote.peek(&name(copy, 7)).is_none()));
    assert_eq!(one.value(7), 2);
}

#[test]
fn only_what_is_asked_for_often_is_kept_in_l1() {
    let world = World::new();
    let node = world.node_with(|builder| builder.sample_hot_keys(1).admit_above(5.0));
    world.source.write(7, 1);
    for _ in 0..5 {
        assert_eq!(node.local(7), None);
    }
    assert_eq!(node.value(7), 1);
    assert_eq!(node.local(7), Some(1), "asked for six times within a second");
    assert_eq!((node.value(8), node.local(8)), (0, None));
    let hottest = node.cache.hot_keys(9);
    assert_eq!(hottest.iter().map(|hot| hot.key).collect::<Vec<_>>(), [7, 8]);
}
