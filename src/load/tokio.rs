//! The program's tokio runtime, for work in the background.

use super::block::block_on;
use super::spawn::{Spawn, Task};
use ::tokio::runtime::Handle;
use std::time::Duration;
use thiserror::Error;

/// Runs tasks on a tokio runtime that is there already.
///
/// Tasks run beside the program's own; those that block run on the threads that the runtime keeps for that, of which there are at most
/// 512 if it was not told otherwise. A loader that blocks while it waits for another load that stands in line for one of these would
/// never end: if loaders nest, and so many of them run at once, raise `max_blocking_threads`.
///
/// It does not keep the runtime alive. When that shuts down, the tasks on it are dropped, and those who wait for them go on by
/// themselves.
///
/// ```
/// use cachette::{Spawn, Tokio};
/// use std::time::Duration;
///
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// runtime.block_on(async {
///     let tokio = Tokio::current()?;
///     let (sender, receiver) = tokio::sync::oneshot::channel();
///     tokio.spawn(Box::pin(async {
///         let _ = sender.send("done");
///     }));
///     assert_eq!(receiver.await, Ok("done"));
///     tokio.sleep(Duration::from_millis(1)).await;
///     Ok::<(), cachette::NoRuntime>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tokio {
    handle: Handle,
}

/// This thread runs in no tokio runtime that lives.
///
/// ```
/// use cachette::Tokio;
///
/// let error = Tokio::current().unwrap_err();
/// assert_eq!(error.to_string(), "not in a tokio runtime: give one's handle to `Tokio::new`");
/// ```
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not in a tokio runtime: give one's handle to `Tokio::new`")]
#[non_exhaustive]
pub struct NoRuntime;

impl Tokio {
    /// The runtime that calls this.
    ///
    /// # Errors
    ///
    /// If none does.
    pub fn current() -> Result<Self, NoRuntime> {
        Handle::try_current().map(Self::new).map_err(|_| NoRuntime)
    }

    /// The runtime of this handle.
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

impl Spawn for Tokio {
    fn spawn(&self, task: Task) {
        self.handle.spawn(task);
    }

    /// On a thread that may block, with the runtime entered.
    ///
    /// # Panics
    ///
    /// As tokio's: if the system gives no thread, and the runtime has none that could run the task later.
    fn spawn_blocking(&self, task: Task) {
        self.handle.spawn_blocking(move || block_on(task));
    }

    /// May be called outside the runtime, and polled there. The time counts from this call.
    ///
    /// # Panics
    ///
    /// If the runtime was built without `enable_time`. The future does, if it is polled when the runtime has shut down.
    fn sleep(&self, duration: Duration) -> Task {
        // tokio looks for its timer in the runtime that is entered when a sleep is made, and never after.
        let _entered = self.handle.enter();
        Box::pin(::tokio::time::sleep(duration))
    }
}
