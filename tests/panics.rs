//! C5: a panic in any user code leaves a valid cache.
//!
//! Every hook of every operation panics once, at its first call, its second, and so on to its last.

mod hooks;

use hooks::{Hook, Key, OPS, Op, World, arm, disarm};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Once};

const ON_PURPOSE: &str = "on purpose";

/// Keeps the output free of the panics that are meant.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = take_hook();
        set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&ON_PURPOSE) {
                loud(info);
            }
        }));
    });
}

/// Who meets the panic.
#[derive(Clone, Copy)]
enum Whose {
    /// The caller.
    Caller,
    /// Nobody: it is caught, and counted once where this says.
    Counted(fn(&World) -> u64),
    /// The caller, if the value was the caller's: a clone, or one that never got in. Else nobody.
    Owner,
}

fn inject(op: &Op, hook: Hook, nth: usize, mask: u64, whose: Whose) -> bool {
    let world = World::new(mask);
    arm(hook, nth, || std::panic::panic_any(ON_PURPOSE));
    let outcome = catch_unwind(AssertUnwindSafe(|| op.1(&world)));
    if let Hook::DropValue | Hook::DropKey = hook {
        world.settle();
    }
    let fired = disarm();
    let place = format!("{hook:?} call {nth} of {:?}, hash mask {mask:x}", op.0);
    match whose {
        Whose::Caller => assert_eq!(outcome.is_err(), fired, "{place}"),
        Whose::Owner => {
            let counted = world.cache.stats().drop_panics;
            assert_eq!(u64::from(outcome.is_err()) + counted, u64::from(fired), "{place}");
        }
        Whose::Counted(count) => {
            assert!(outcome.is_ok(), "{place} came through");
            assert_eq!(count(&world), u64::from(fired), "{place} is counted");
        }
    }
    let sound = catch_unwind(AssertUnwindSafe(|| world.assert_sound()));
    assert!(sound.is_ok(), "not sound after {place}");
    fired
}

/// Panics at every call of `hook` in every operation. There must be `least` such calls in all.
fn everywhere(hook: Hook, whose: Whose, least: usize) {
    let all: Vec<_> = OPS.iter().map(|op| op.0).collect();
    each(&all, hook, whose, least);
}

fn each(names: &[&str], hook: Hook, whose: Whose, least: usize) {
    hush();
    let mut panics = 0;
    for op in OPS.iter().filter(|op| names.contains(&op.0)) {
        for mask in [0, u64::MAX] {
            panics += (0..).take_while(|&nth| inject(op, hook, nth, mask, whose)).count();
        }
    }
    assert!(panics >= least, "{panics} panics in {hook:?}");
}

#[test]
fn c5_hash() {
    everywhere(Hook::Hash, Whose::Caller, 2 * (OPS.len() - 6));
}

#[test]
fn c5_eq() {
    everywhere(Hook::Eq, Whose::Caller, 60);
}

#[test]
fn c5_clone_of_a_key() {
    everywhere(Hook::CloneKey, Whose::Caller, 14);
}

#[test]
fn c5_clone_of_a_value() {
    everywhere(Hook::CloneValue, Whose::Caller, 20);
}

#[test]
fn c5_weigher() {
    everywhere(Hook::Weigher, Whose::Caller, 40);
}

#[test]
fn c5_closures() {
    everywhere(Hook::Closure, Whose::Caller, 20);
}

#[test]
fn c5_loader() {
    everywhere(Hook::Loader, Whose::Caller, 4);
}

#[test]
fn c5_expiry() {
    everywhere(Hook::Created, Whose::Caller, 16);
    everywhere(Hook::Updated, Whose::Caller, 16);
    everywhere(Hook::Read, Whose::Caller, 8);
}

#[test]
fn c5_clock() {
    everywhere(Hook::Now, Whose::Caller, 100);
    everywhere(Hook::Date, Whose::Caller, 2);
}

#[test]
fn c5_listener() {
    everywhere(Hook::Listener, Whose::Counted(|w| w.cache.stats().listener_panics), 40);
}

#[test]
fn c5_policy() {
    let whose = Whose::Counted(|w| w.cache.stats().policy_panics);
    everywhere(Hook::Insert, whose, 12);
    everywhere(Hook::Update, whose, 10);
    everywhere(Hook::Reschedule, whose, 4);
    everywhere(Hook::Hit, whose, 6);
    everywhere(Hook::Miss, whose, 6);
    everywhere(Hook::Remove, whose, 40);
    everywhere(Hook::Victim, whose, 10);
    everywhere(Hook::Resize, whose, 4);
}

#[test]
fn c5_drop_of_what_has_left() {
    let names = [
        "get_with and delete",
        "put, new",
        "put, replacing",
        "put, heavier",
        "put, lighter",
        "put, on a dead one",
        "put, evicting",
        "put, stillborn",
        "put_with_ttl",
        "replace_if",
        "delete",
        "compute, replacing",
        "compute, new",
        "compute, deleting",
        "retain",
        "clear",
        "maintain",
        "set_capacity, down",
        "expire_in, at once",
    ];
    each(&names, Hook::DropValue, Whose::Counted(|w| w.cache.stats().drop_panics), 40);
}

#[test]
fn c5_drop() {
    everywhere(Hook::DropValue, Whose::Owner, 60);
    everywhere(Hook::DropKey, Whose::Owner, 60);
}

/// The `first` panic of a policy brings in a fresh one, of which `second` panics as well.
fn policy_panics_again(first: Hook, second: Hook) {
    let world = World::new(u64::MAX);
    arm(first, 0, move || {
        arm(second, 0, || std::panic::panic_any(ON_PURPOSE));
        std::panic::panic_any(ON_PURPOSE);
    });
    world.cache.put(Key(5), world.value(5, 5));
    assert!(disarm(), "{first:?}, then {second:?}");
    assert!(world.cache.stats().policy_panics >= 1);
    assert!(world.cache.get(&Key(5)).is_some());
    world.assert_sound();
}

#[test]
fn c5_a_policy_that_panics_when_it_is_built_anew() {
    hush();
    for second in [Hook::Make, Hook::Resize, Hook::Hears, Hook::Insert, Hook::DropPolicy] {
        policy_panics_again(Hook::Victim, second);
        policy_panics_again(Hook::Insert, second);
    }
}

/// Panics with something that panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::panic_any(ON_PURPOSE);
    }
}

#[test]
fn c5_what_a_caught_panic_carries_may_panic_when_dropped() {
    hush();
    for hook in [Hook::Listener, Hook::Remove, Hook::DropValue] {
        let world = World::new(u64::MAX);
        arm(hook, 0, || std::panic::panic_any(Bomb));
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            world.cache.clear();
            world.settle();
        }));
        assert!(outcome.is_ok(), "{hook:?}");
        assert!(disarm());
        world.assert_sound();
    }
}

#[test]
fn c5_a_closure_and_the_drop_of_what_it_saw_may_both_panic() {
    hush();
    let world = World::new(u64::MAX);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        world.cache.get_with(&Key(0), |_| -> () {
            world.cache.delete(&Key(0));
            arm(Hook::DropValue, 0, || std::panic::panic_any(ON_PURPOSE));
            std::panic::panic_any(ON_PURPOSE);
        })
    }));
    world.settle();
    assert!(outcome.is_err() && disarm());
    assert_eq!(world.cache.stats().drop_panics, 1);
    world.assert_sound();
}

#[test]
fn c5_dropping_the_cache_drops_everything() {
    hush();
    for nth in 0..5 {
        let world = World::new(u64::MAX);
        let alive = world.alive();
        arm(Hook::DropValue, nth, || std::panic::panic_any(ON_PURPOSE));
        drop(Arc::into_inner(world).unwrap());
        assert!(disarm());
        assert_eq!(alive(), 0);
    }
}
