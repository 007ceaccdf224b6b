//! A background that does nothing by itself: a test runs its tasks, and lets its time pass.

use cachette::{Spawn, Task};
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A background that is run by hand. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Hand {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    tasks: Vec<Task>,
    now: Duration,
    sleeps: Vec<(Duration, Waker)>,
}

impl Hand {
    /// How many tasks wait to be run, or have been suspended.
    pub(crate) fn tasks(&self) -> usize {
        self.state.lock().unwrap().tasks.len()
    }

    /// Polls every task there is, once. Those that have not ended stay.
    pub(crate) fn run(&self) {
        let tasks = std::mem::take(&mut self.state.lock().unwrap().tasks);
        for mut task in tasks {
            if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                self.state.lock().unwrap().tasks.push(task);
            }
        }
    }

    /// Drops every task there is.
    pub(crate) fn lose(&self) {
        let tasks = std::mem::take(&mut self.state.lock().unwrap().tasks);
        drop(tasks);
    }

    /// Lets time pass for those who sleep.
    pub(crate) fn pass(&self, time: Duration) {
        let due = {
            let mut state = self.state.lock().unwrap();
            state.now += time;
            let now = state.now;
            let (due, later) =
                std::mem::take(&mut state.sleeps).into_iter().partition(|it| it.0 <= now);
            state.sleeps = later;
            due
        };
        let due: Vec<(Duration, Waker)> = due;
        due.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// How many sleep.
    pub(crate) fn sleepers(&self) -> usize {
        self.state.lock().unwrap().sleeps.len()
    }
}

impl Spawn for Hand {
    fn spawn(&self, task: Task) {
        self.state.lock().unwrap().tasks.push(task);
    }

    fn sleep(&self, duration: Duration) -> Task {
        let state = Arc::clone(&self.state);
        let until = state.lock().unwrap().now + duration;
        let mut ended = false;
        Box::pin(poll_fn(move |context| {
            assert!(!std::mem::replace(&mut ended, true), "polled after its end");
            let mut state = state.lock().unwrap();
            if state.now >= until {
                return Poll::Ready(());
            }
            ended = false;
            state.sleeps.push((until, context.waker().clone()));
            Poll::Pending
        }))
    }
}
