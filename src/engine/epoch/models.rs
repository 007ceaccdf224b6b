//! Every interleaving of a reader and writers, and every value that a load may return. An entry is in loom's own cell, which
//! fails the model if it is destroyed before all who have looked at it are done.

use super::*;
use crate::sync::{Arc, thread};
use loom::cell::UnsafeCell;
use loom::model;

/// An entry, and the link that leads to it.
struct World {
    domain: &'static Domain,
    linked: AtomicBool,
    alive: UnsafeCell<bool>,
}

#[expect(unsafe_code, reason = "a model of what is unsafe")]
// SAFETY: the model is there to prove it.
unsafe impl Sync for World {}

impl World {
    fn new() -> Arc<Self> {
        let domain = Domain::of_a_test();
        Arc::new(Self { domain, linked: AtomicBool::new(true), alive: UnsafeCell::new(true) })
    }

    fn place(&self) -> *const () {
        ptr::from_ref(&self.alive).cast()
    }

    fn unlink(&self) {
        self.linked.store(false, Ordering::Relaxed);
    }

    fn is_linked(&self) -> bool {
        self.linked.load(Ordering::Acquire)
    }

    #[expect(unsafe_code, reason = "a model of what is unsafe")]
    fn look(&self) {
        // SAFETY: the model is there to prove it.
        self.alive.with(|alive| assert!(unsafe { *alive }, "a reader looks at what was destroyed"));
    }

    /// What a reclaimer does once it has seen the grace period.
    #[expect(unsafe_code, reason = "a model of what is unsafe")]
    fn destroy(&self, tag: u64) -> bool {
        let due = tag < self.domain.safe() && !self.domain.hazards().contains(&self.place());
        if due {
            // SAFETY: the model is there to prove it.
            self.alive.with_mut(|alive| unsafe { *alive = false });
        }
        due
    }

    fn look_pinned(&self, record: &'static Record) {
        let pin = Pin::new(record);
        if self.is_linked() {
            self.look();
        }
        drop(pin);
    }

    /// Pins, publishes a hazard, unpins, and then looks; perhaps under another pin, of a later epoch.
    fn look_held(&self, record: &'static Record, again: bool) {
        let pin = Pin::new(record);
        if self.is_linked() {
            let hazard = pin.protect(self.place());
            drop(pin);
            let later = again.then(|| Pin::new(record));
            self.look();
            drop((hazard, later));
        }
    }
}

fn run(world: &Arc<World>, f: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || f(&world))
}

/// A reader against one who unlinks, seals, waits, and destroys.
fn reader_and_writer(read: impl Fn(&World, &'static Record) + Clone + Send + Sync + 'static) {
    model(move || {
        let (world, read) = (World::new(), read.clone());
        let reader = run(&world, move |world| read(world, world.domain.take()));
        world.unlink();
        let tag = world.domain.seal();
        world.domain.grace(Grace::Wait);
        world.destroy(tag);
        reader.join().unwrap();
        // With everybody gone it can be destroyed.
        world.domain.grace(Grace::Wait);
        assert!(world.domain.safe() > tag);
    });
}

#[test]
fn loom_what_is_pinned_is_not_destroyed() {
    reader_and_writer(World::look_pinned);
}

#[test]
fn loom_a_later_pin_of_a_thread_tells_that_it_is_done_with_the_earlier() {
    reader_and_writer(|world, record| {
        world.look_pinned(record);
        world.look_pinned(record);
    });
}

#[test]
fn loom_pins_nest_and_the_oldest_counts() {
    reader_and_writer(|world, record| {
        let outer = Pin::new(record);
        let found = world.is_linked();
        world.look_pinned(record);
        if found {
            world.look();
        }
        drop(outer);
    });
}

#[test]
fn loom_a_hazard_outlasts_its_pin() {
    reader_and_writer(|world, record| world.look_held(record, false));
}

#[test]
fn loom_a_hazard_is_seen_behind_a_later_pin() {
    reader_and_writer(|world, record| world.look_held(record, true));
}

/// As `model`, with at most so many switches to another thread where this one could go on: all of three threads' are too many.
fn bounded(switches: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder.check(f);
}

#[test]
fn loom_a_record_is_seen_with_its_first_pin() {
    bounded(3, || {
        let world = World::new();
        let readers = [(); 2].map(|()| {
            run(&world, |world| {
                let pin = world.domain.pin();
                if world.is_linked() {
                    world.look();
                }
                drop(pin);
            })
        });
        world.unlink();
        let tag = world.domain.seal();
        world.domain.grace(Grace::Wait);
        world.destroy(tag);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

/// One thread unlinks and seals, another runs the grace period and destroys, as where two writers share a segment's lock.
#[test]
fn loom_a_grace_period_serves_all() {
    model(|| {
        let world = World::new();
        let reader = run(&world, |world| world.look_pinned(world.domain.take()));
        let other = run(&world, |world| world.domain.grace(Grace::Try));
        world.unlink();
        let tag = world.domain.seal();
        world.destroy(tag);
        reader.join().unwrap();
        other.join().unwrap();
    });
}

/// A view is looked for under a lock, by who has unlinked, or been told of it, before.
#[test]
fn loom_a_view_holds_back_what_it_may_find() {
    model(|| {
        let world = World::new();
        let views = Arc::new(Views::new());
        let theirs = Arc::clone(&views);
        let reader = run(&world, move |world| {
            let view = theirs.begin(&world.domain);
            if world.is_linked() {
                world.look();
            }
            drop(view);
        });
        world.unlink();
        let tag = world.domain.seal();
        world.domain.grace(Grace::Wait);
        if tag < views.oldest() {
            world.destroy(tag);
        }
        reader.join().unwrap();
    });
}

/// A reader, a writer that unlinks and tags in a way of its own, and another that seals something else meanwhile.
fn tagged(unlink: fn(&World) -> u64) {
    bounded(3, move || {
        let world = World::new();
        let reader = run(&world, |world| world.look_pinned(world.domain.take()));
        let other = run(&world, |world| {
            world.domain.seal();
        });
        let tag = unlink(&world);
        world.domain.grace(Grace::Wait);
        world.destroy(tag);
        reader.join().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn loom_a_tag_is_what_seals() {
    tagged(|world| {
        world.unlink();
        world.domain.seal()
    });
}

/// That the models above can fail.
#[test]
#[should_panic(expected = "Concurrent read and write")]
fn loom_a_tag_that_was_loaded_after_the_unlink_is_too_low() {
    tagged(|world| {
        world.unlink();
        world.domain.epoch.load(Ordering::SeqCst)
    });
}

#[test]
#[should_panic(expected = "Concurrent read and write")]
fn loom_a_tag_of_before_the_unlink_is_too_low() {
    tagged(|world| {
        let tag = world.domain.seal();
        world.unlink();
        tag
    });
}
