//! A segment behind its lock, and what may be known of it without the lock.
//!
//! The lock refuses a thread that already holds one. A thread could only come back to it from user code that runs under it:
//! a key's `Eq`, or a policy or a clock that calls a cache. Waiting would be for ever; a panic names the mistake.

use super::{Mutex, MutexGuard, Segment};
use crate::sync::{AtomicU64, Ordering};
use std::cell::Cell;
use std::ops::{Deref, DerefMut};

thread_local! {
    /// This thread holds a segment's lock.
    static HOLDS: Cell<bool> = const { Cell::new(false) };
    /// This thread has a turn in a queue of computations.
    static HAS_TURN: Cell<bool> = const { Cell::new(false) };
}

pub(crate) struct Stripe<K, V, F> {
    segment: Mutex<Segment<K, V, F>>,
    /// The segment's weight when its lock was last released, for others to choose by.
    weight: AtomicU64,
    /// Computations that keep losing queue here.
    queue: Mutex<()>,
}

impl<K, V, F> Stripe<K, V, F> {
    pub(crate) const fn new(segment: Segment<K, V, F>) -> Self {
        Self { segment: Mutex::new(segment), weight: AtomicU64::new(0), queue: Mutex::new(()) }
    }

    pub(crate) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Waits for the lock.
    ///
    /// # Panics
    ///
    /// If this thread holds a segment's lock: user code that must not call a cache has called one.
    pub(crate) fn lock(&self) -> Locked<'_, K, V, F> {
        refuse_reentry();
        self.locked(self.segment.lock())
    }

    /// Takes the lock if no one has it.
    pub(crate) fn try_lock(&self) -> Option<Locked<'_, K, V, F>> {
        refuse_reentry();
        self.segment.try_lock().map(|guard| self.locked(guard))
    }

    fn locked<'a>(&'a self, guard: MutexGuard<'a, Segment<K, V, F>>) -> Locked<'a, K, V, F> {
        HOLDS.set(true);
        Locked { weight: &self.weight, guard }
    }
}

fn refuse_reentry() {
    assert!(
        !HOLDS.get(),
        "cachette was called under its own lock: `Eq`, a policy and a clock must not call a cache"
    );
}

/// A segment, locked.
pub(crate) struct Locked<'a, K, V, F> {
    weight: &'a AtomicU64,
    guard: MutexGuard<'a, Segment<K, V, F>>,
}

impl<K, V, F> Deref for Locked<'_, K, V, F> {
    type Target = Segment<K, V, F>;

    fn deref(&self) -> &Self::Target {
        &self.guard
    }
}

impl<K, V, F> DerefMut for Locked<'_, K, V, F> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.guard
    }
}

impl<K, V, F> Drop for Locked<'_, K, V, F> {
    fn drop(&mut self) {
        let weight = self.guard.weight();
        // Readers change nothing: they need not write the line.
        if self.weight.load(Ordering::Relaxed) != weight {
            self.weight.store(weight, Ordering::Relaxed);
        }
        HOLDS.set(false);
    }
}

/// A place at the head of a queue of computations.
pub(crate) struct Turn<'a> {
    _guard: MutexGuard<'a, ()>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new<K, V, F>(stripe: &'a Stripe<K, V, F>) -> Self {
        let guard = stripe.queue.lock();
        HAS_TURN.set(true);
        Self { _guard: guard }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        HAS_TURN.set(false);
    }
}

/// True if this thread has a turn.
pub(crate) fn has_turn() -> bool {
    HAS_TURN.get()
}
