//! Work of the background, awaited from a task.

use super::spawn::{Spawn, Task};
use crate::sync::{Arc, Mutex};
use std::future::poll_fn;
use std::task::{Poll, Waker};

struct Slot<T> {
    state: Mutex<State<T>>,
}

enum State<T> {
    Running(Option<Waker>),
    Ended(Option<T>),
}

/// Gives what the work gave, or nothing if it was dropped.
struct Giver<T>(Arc<Slot<T>>);

impl<T> Giver<T> {
    fn give(&self, value: Option<T>) {
        let before = {
            let mut state = self.0.state.lock();
            if matches!(*state, State::Ended(_)) {
                return;
            }
            std::mem::replace(&mut *state, State::Ended(value))
        };
        if let State::Running(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl<T> Drop for Giver<T> {
    fn drop(&mut self) {
        self.give(None);
    }
}

/// What some work gives, which runs to its end though nobody waits any more; `None` if it panicked, or was dropped.
pub(crate) async fn offload<T: Send + 'static>(
    spawn: &dyn Spawn,
    blocks: bool,
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let slot = Arc::new(Slot { state: Mutex::new(State::Running(None)) });
    let giver = Giver(Arc::clone(&slot));
    let task: Task = Box::pin(async move { giver.give(Some(work.await)) });
    if blocks {
        spawn.spawn_blocking(task);
    } else {
        spawn.spawn(task);
    }
    poll_fn(|context| match &mut *slot.state.lock() {
        State::Running(waker) => {
            *waker = Some(context.waker().clone());
            Poll::Pending
        }
        State::Ended(value) => Poll::Ready(value.take()),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Threads, block_on};

    #[test]
    fn what_the_work_gives_or_nothing_if_it_panics() {
        let threads = Threads::new();
        assert_eq!(block_on(offload(&threads, true, async { 7 })), Some(7));
        let panics = async { std::panic::panic_any("on purpose") };
        assert_eq!(block_on(offload::<()>(&threads, false, panics)), None);
    }
}
