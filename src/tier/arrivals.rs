//! Waiting for another process to fill a place: until the line tells of a change there, or for a while.

use crate::load::Task;
use crate::sync::{AtomicUsize, Mutex, Ordering};
use std::collections::HashMap;
use std::future::poll_fn;
use std::task::{Poll, Waker};

#[derive(Default)]
pub(super) struct Arrivals {
    /// How many wait: what the line asks first.
    count: AtomicUsize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// By name, and by number: who waits for it.
    names: HashMap<Vec<u8>, HashMap<u64, Option<Waker>>, ahash::RandomState>,
    numbers: u64,
}

/// One who waits.
struct Waiter<'a> {
    arrivals: &'a Arrivals,
    name: &'a [u8],
    number: u64,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiting = self.arrivals.waiting.lock();
        if let Some(wakers) = waiting.names.get_mut(self.name) {
            wakers.remove(&self.number);
            if wakers.is_empty() {
                waiting.names.remove(self.name);
            }
        }
        self.arrivals.count.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Arrivals {
    /// A name has changed.
    pub(super) fn came(&self, name: &[u8]) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let wakers = self.waiting.lock().names.remove(name);
        wakers.into_iter().flatten().filter_map(|(_, waker)| waker).for_each(Waker::wake);
    }

    /// Waits until a name has changed, or `most` has ended.
    pub(super) async fn wait(&self, name: &[u8], mut most: Task) {
        self.count.fetch_add(1, Ordering::AcqRel);
        let number = {
            let mut waiting = self.waiting.lock();
            waiting.numbers += 1;
            let number = waiting.numbers;
            waiting.names.entry(name.to_vec()).or_default().insert(number, None);
            number
        };
        let waiter = Waiter { arrivals: self, name, number };
        poll_fn(|context| {
            if most.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.lock();
            let place = waiting.names.get_mut(name).and_then(|wakers| wakers.get_mut(&number));
            match place {
                Some(waker) => {
                    *waker = Some(context.waker().clone());
                    Poll::Pending
                }
                None => Poll::Ready(()),
            }
        })
        .await;
        drop(waiter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::task::Context;

    #[test]
    fn a_wait_ends_by_the_name_or_by_the_time() {
        let arrivals = Arrivals::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut one = pin!(arrivals.wait(b"a", Box::pin(pending())));
        let mut other = pin!(arrivals.wait(b"b", Box::pin(pending())));
        assert!(one.as_mut().poll(&mut context).is_pending());
        assert!(other.as_mut().poll(&mut context).is_pending());
        arrivals.came(b"a");
        assert!(one.as_mut().poll(&mut context).is_ready());
        assert!(other.as_mut().poll(&mut context).is_pending());
        assert!(pin!(arrivals.wait(b"c", Box::pin(ready(())))).poll(&mut context).is_ready());
    }

    #[test]
    fn who_gives_up_leaves_nothing_behind() {
        let arrivals = Arrivals::default();
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut one = pin!(arrivals.wait(b"a", Box::pin(pending())));
            assert!(one.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(arrivals.count.load(Ordering::Relaxed), 0);
        assert!(arrivals.waiting.lock().names.is_empty());
    }
}
