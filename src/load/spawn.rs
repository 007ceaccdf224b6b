//! Work in the background, and timers: what a cache asks of the program's runtime.

use crate::sync::Arc;
use std::pin::Pin;
use std::time::Duration;

/// A future that the background runs or waits for.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// Runs tasks in the background, and tells when some time has passed.
///
/// A cache has no threads and no timers of its own: what refreshes, what outlives its caller and what waits with a timeout runs on what
/// the program gives: [`Threads`](crate::Threads), `Tokio` (feature `tokio`), or one of your own. An `Arc` of one is one.
///
/// A task that is dropped before it has ended counts as a load that panicked: those who wait for it go on by themselves.
///
/// ```
/// use cachette::{Spawn, Task};
/// use std::{pin::Pin, time::Duration};
///
/// /// For a test: everything at once, on the caller's thread; no time ever passes.
/// struct Now;
///
/// impl Spawn for Now {
///     fn spawn(&self, mut task: Task) {
///         let mut context = std::task::Context::from_waker(std::task::Waker::noop());
///         let _ = task.as_mut().poll(&mut context);
///     }
///     fn sleep(&self, _: Duration) -> Task {
///         Box::pin(std::future::pending())
///     }
/// }
/// ```
pub trait Spawn: Send + Sync {
    /// Runs a task to its end. It must not run on the calling thread if the caller is not to wait for it.
    fn spawn(&self, task: Task);

    /// As [`spawn`](Self::spawn), for a task that never suspends, but blocks the thread that it runs on: it calls a loader that is not
    /// asynchronous.
    fn spawn_blocking(&self, task: Task) {
        self.spawn(task);
    }

    /// A future that is ready once this much time has passed. It may be dropped before.
    fn sleep(&self, duration: Duration) -> Task;
}

impl<T: Spawn + ?Sized> Spawn for Arc<T> {
    fn spawn(&self, task: Task) {
        (**self).spawn(task);
    }
    fn spawn_blocking(&self, task: Task) {
        (**self).spawn_blocking(task);
    }
    fn sleep(&self, duration: Duration) -> Task {
        (**self).sleep(duration)
    }
}
