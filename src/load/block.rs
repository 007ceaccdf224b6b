//! Waiting for a future on a thread.
//!
//! A blocking load is the asynchronous load whose loader never suspends, so all that threads need of their own is this.

use crate::sync::{Arc, Condvar, Mutex};
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};

/// Whether the future was woken since it was last polled.
///
/// A flag and not the thread's park token, which is shared with all else that runs on the thread: the loader may park as well.
struct Signal {
    woken: Mutex<bool>,
    raised: Condvar,
}

impl Signal {
    /// Sleeps until there is a wake, and takes it.
    fn wait(&self) {
        let mut woken = self.woken.lock();
        while !*woken {
            woken = self.raised.wait(woken);
        }
        *woken = false;
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *self.woken.lock() = true;
        // Whoever sleeps saw the flag down and let go of the lock in one step, so it cannot miss this.
        self.raised.notify_one();
    }
}

/// Runs `future` to its end on this thread, which sleeps whenever the future waits. One allocation a call.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let signal = Arc::new(Signal { woken: Mutex::new(false), raised: Condvar::new() });
    let waker = Waker::from(Arc::clone(&signal));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        signal.wait();
    }
}

#[cfg(test)]
#[cfg(not(cachette_loom))]
mod tests {
    use super::*;
    use crate::sync::{AtomicU64, Ordering, mpsc, thread};
    use std::future::{poll_fn, ready};

    #[test]
    fn a_future_that_is_ready_is_polled_once() {
        let mut polls = 0;
        let output = block_on(poll_fn(|_| {
            polls += 1;
            Poll::Ready(7)
        }));
        assert_eq!((output, polls), (7, 1));
        assert_eq!(block_on(ready("at once")), "at once");
    }

    #[test]
    fn a_wake_before_the_sleep_is_not_lost() {
        let mut polls = 0;
        let output = block_on(poll_fn(|context| {
            polls += 1;
            let waker = context.waker().clone();
            match polls {
                1 => waker.wake(),
                2 => waker.wake_by_ref(),
                3 => (0..2).for_each(|_| waker.wake_by_ref()),
                _ => return Poll::Ready(polls),
            }
            Poll::Pending
        }));
        assert_eq!(output, 4);
    }

    #[test]
    fn every_wake_is_one_poll() {
        let (to_waker, wakers) = mpsc::channel::<Waker>();
        let wakes = Arc::new(AtomicU64::new(0));
        let waking = thread::spawn({
            let wakes = Arc::clone(&wakes);
            move || {
                for waker in wakers {
                    wakes.fetch_add(1, Ordering::Release);
                    waker.wake();
                }
            }
        });
        let mut polls = 0;
        block_on(poll_fn(|context| {
            assert_eq!(wakes.load(Ordering::Acquire), polls, "a poll for every wake, and no other");
            polls += 1;
            // A token is no wake: were it one, the next poll would come before the other thread can have run.
            thread::current().unpark();
            match to_waker.send(context.waker().clone()) {
                Ok(()) if polls < 100 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        }));
        drop(to_waker);
        assert_eq!((polls, waking.join().is_ok()), (100, true));
    }

    #[test]
    fn the_wake_of_one_wait_outlives_the_wait_inside_it() {
        let (to_waker, wakers) = mpsc::channel::<Waker>();
        let waking = thread::spawn(move || wakers.into_iter().for_each(Waker::wake));
        let mut outer = false;
        let output = block_on(poll_fn(|context| {
            if outer {
                return Poll::Ready(true);
            }
            outer = true;
            context.waker().wake_by_ref();
            let mut inner = false;
            let inside = block_on(poll_fn(|context| {
                if inner {
                    return Poll::Ready(true);
                }
                inner = true;
                to_waker
                    .send(context.waker().clone())
                    .map_or(Poll::Ready(false), |()| Poll::Pending)
            }));
            assert!(inside, "the wait inside ended by its own wake");
            Poll::Pending
        }));
        drop(to_waker);
        assert!(output && waking.join().is_ok());
    }
}
