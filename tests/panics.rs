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
#[derive(Clone, Copy, Debug, PartialEq)]
enum Whose {
    /// The caller.
    Caller,
    /// Nobody: it is caught, and counted once where this says.
    Counted(fn(&World) -> u64),
}

fn inject(op: &Op, hook: Hook, nth: usize, mask: u64, whose: Whose) -> bool {
    let world = World::new(mask);
    arm(hook, nth, || std::panic::panic_any(ON_PURPOSE));
    let outcome = catch_unwind(AssertUnwindSafe(|| op.1(&world)));
    let fired = disarm();
    let place = format!("{hook:?} call {nth} of {:?}, hash mask {mask:x}", op.0);
    match whose {
        Whose::Caller => assert_eq!(outcome.is_err(), fired, "{place}"),
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
    hush();
    let mut panics = 0;
    for op in OPS {
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
    everywhere(Hook::Insert, whose, 20);
    everywhere(Hook::Update, whose, 10);
    everywhere(Hook::Reschedule, whose, 4);
    everywhere(Hook::Hit, whose, 6);
    everywhere(Hook::Miss, whose, 6);
    everywhere(Hook::Remove, whose, 40);
    everywhere(Hook::Victim, whose, 10);
    everywhere(Hook::Resize, whose, 4);
}
