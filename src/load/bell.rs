//! What wakes work in the background before its time.

use super::spawn::Task;
use crate::sync::Mutex;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// One waits for it, anybody rings. A ring that nobody waits for is kept, once.
#[derive(Default)]
pub(crate) struct Bell {
    state: Mutex<(bool, Option<Waker>)>,
}

impl Bell {
    pub(crate) fn ring(&self) {
        let waker = {
            let mut state = self.state.lock();
            state.0 = true;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for the bell, or for `most` to end.
    pub(crate) async fn wait(&self, most: Task) {
        let mut most = most;
        poll_fn(|context| {
            let mut state = self.state.lock();
            if std::mem::take(&mut state.0) {
                return Poll::Ready(());
            }
            state.1 = Some(context.waker().clone());
            drop(state);
            most.as_mut().poll(context)
        })
        .await;
    }
}
