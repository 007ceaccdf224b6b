//! The only file that names `std::sync` and `std::thread`. Under `--cfg cachette_loom` it hands out loom's twins, so that
//! the concurrent parts can be model-checked as they are.

use std::cell::Cell;
#[cfg(not(cachette_loom))]
use std::time::Duration;

#[cfg(cachette_loom)]
pub(crate) use loom::{
    sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    },
    thread,
};
#[cfg(not(cachette_loom))]
pub(crate) use std::{
    sync::OnceLock,
    sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    },
    thread,
};

pub(crate) use std::sync::atomic::compiler_fence;

// The same in a model: loom's own `Arc` can neither hold a `dyn`, nor be a receiver, nor make a `Waker`.
pub(crate) use std::sync::{Arc, Weak};

#[cfg(not(cachette_loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard};

#[cfg(cachette_loom)]
pub(crate) use loom::sync::MutexGuard;

/// loom's lock with `parking_lot`'s face: it does not poison.
#[cfg(cachette_loom)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(cachette_loom)]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

#[cfg(not(cachette_loom))]
use parking_lot::Condvar as Inner;

#[cfg(cachette_loom)]
use loom::sync::Condvar as Inner;

/// What a thread sleeps on, with one face for both. Threads do not park: loom loses the token of a thread that waits for a lock.
pub(crate) struct Condvar(Inner);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(Inner::new())
    }

    #[cfg(not(cachette_loom))]
    pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(&mut guard);
        guard
    }

    #[cfg(cachette_loom)]
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits until it is notified, or this long.
    #[cfg(not(cachette_loom))]
    pub(crate) fn wait_for<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        period: Duration,
    ) -> MutexGuard<'a, T> {
        self.0.wait_for(&mut guard, period);
        guard
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    #[cfg(any(test, feature = "test-kit", feature = "journal"))]
    #[cfg(not(cachette_loom))]
    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// What a `static` holds, in a model too: loom's twins cannot be made in a constant. A model takes what happens under
/// this lock, or to this word, for one step, which is right as long as nothing of loom's is touched meanwhile.
pub(crate) mod fixed {
    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
}

/// `thread_local!` for one constant: loom's macro knows no `const` blocks.
macro_rules! per_thread {
    (static $name:ident: $type:ty = const { $value:expr };) => {
        #[cfg(not(cachette_loom))]
        std::thread_local! {
            static $name: $type = const { $value };
        }
        #[cfg(cachette_loom)]
        loom::thread_local! {
            static $name: $type = $value;
        }
    };
}
pub(crate) use per_thread;

static THREADS: fixed::AtomicU64 = fixed::AtomicU64::new(0);

per_thread! {
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// This thread's number, unlike that of any other that lives or has lived.
pub(crate) fn thread_number() -> u64 {
    NUMBER.with(|number| {
        if number.get() == 0 {
            number.set(THREADS.fetch_add(1, fixed::Ordering::Relaxed) + 1);
        }
        number.get()
    })
}

/// How many threads can run at once here; 1 if the system does not say.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
#[cfg(not(cachette_loom))]
pub(crate) use std::sync::{Barrier, mpsc};
