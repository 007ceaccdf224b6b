//! What a call owes when its lock is released.

use super::*;
use crate::engine::epoch::Grace;

#[test]
fn what_left_is_counted_by_its_cause() {
    for shown in [false, true] {
        let engine = engine(1, 10, Fifo::new);
        (0..2).for_each(|key| drop(put(&engine, key, 1, 1 << 30, 0)));
        (2..4).for_each(|key| drop(put(&engine, key, 3, NEVER, 0)));
        let mut out = Outgoing::new(shown);
        assert!(out.is_quiet());
        let later = || 1 << 40;
        // Two expire and two are evicted; the next replaces, and the last evicts.
        for (key, weight) in [(9, 8), (9, 8), (10, 3)] {
            let write = Write { weight, ..write_of(key, key, When::Always) };
            engine.write(write, &later, &mut out);
            engine.give_back(&mut out);
        }
        assert!(!out.is_quiet());
        let mut counts = [0; Cause::ALL.len()];
        out.take_counts(|cause, count| counts[cause as usize] += count);
        let expected = [(Cause::Expired, 2), (Cause::Evicted, 3), (Cause::Replaced, 1)];
        for cause in Cause::ALL {
            let count = expected.iter().find(|it| it.0 == cause).map_or(0, |it| it.1);
            assert_eq!(counts[cause as usize], count, "{cause:?}");
        }
        assert_eq!((out.take_evicted_weight(), out.take_evicted_weight()), (14, 0));
        out.take_counts(|cause, count| assert_eq!(count, 0, "{cause:?} was told"));
        let left = causes(&engine, &mut out);
        use Cause::{Evicted, Expired, Replaced};
        let order = [Expired, Expired, Evicted, Evicted, Replaced, Evicted];
        assert_eq!(left, if shown { &order[..] } else { &[] });
        assert_valid(&engine);
    }
}

#[test]
fn there_is_something_to_deliver_if_anything_is_to_be_done() {
    type Boxes = Outgoing<u64, Box<u64>, u32>;
    let quiet = |stir: &dyn Fn(&mut Boxes)| {
        let mut out = Outgoing::new(false);
        stir(&mut out);
        out.is_quiet()
    };
    assert!(quiet(&|_| ()));
    assert!(!quiet(&|out| out.overtaken((1, 2))));
    assert!(!quiet(&|out| out.want(Grace::Try, 0)));
    assert!(!quiet(&|out| out.dead(Entry { key: 1, value: Box::new(1) })));
}

#[test]
fn who_waits_for_a_grace_period_is_named_once() {
    let mut out = Outgoing::<u64, u64, u32>::new(false);
    assert!(!out.has_more());
    out.want(Grace::Try, 3);
    assert!(out.has_more());
    assert_eq!(out.take_grace(), (Grace::Try, vec![]));
    [5, 5, 6, 6].into_iter().for_each(|stripe| out.want(Grace::Wait, stripe));
    out.want(Grace::Try, 7);
    assert_eq!(out.take_grace(), (Grace::Wait, vec![5, 6]));
    assert_eq!(out.take_grace(), (Grace::No, vec![]));
}

/// What has left is dropped outside the lock, with what dropping it calls.
#[test]
fn what_is_dead_is_handed_over() {
    let mut out = Outgoing::<u64, Box<u64>, u32>::new(false);
    out.dead(Entry { key: 1, value: Box::new(7) });
    assert!(out.take_dead().iter().map(|entry| *entry.value).eq([7]));
    assert!(out.take_dead().is_empty());
}
