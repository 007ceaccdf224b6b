//! Tasks that are polled by hand, and what their loaders wait at.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Counts wakes.
#[derive(Default)]
struct Wakes(AtomicU64);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A task that is polled by hand: pending means that it has joined, or leads and waits in its loader.
pub(crate) struct Task<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
    wakes: Arc<Wakes>,
}

impl<'a, T> Task<'a, T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self { future: Box::pin(future), wakes: Arc::default() }
    }

    /// A task that has been polled once, and waits.
    pub(crate) fn waiting(future: impl Future<Output = T> + Send + 'a) -> Self {
        let mut task = Self::new(future);
        assert!(task.poll().is_pending());
        task
    }

    pub(crate) fn poll(&mut self) -> Poll<T> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    pub(crate) fn wakes(&self) -> u64 {
        self.wakes.0.load(Ordering::SeqCst)
    }

    /// What it returns, if it has nothing more to wait for.
    pub(crate) fn end(mut self) -> T {
        match self.poll() {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("the task still waits"),
        }
    }
}

/// What a loader waits at until the test opens it.
#[derive(Default)]
pub(crate) struct Gate(AtomicBool);

impl Gate {
    pub(crate) fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) async fn pass(&self) {
        let open = |_: &mut Context<'_>| self.0.load(Ordering::SeqCst).then_some(());
        poll_fn(|context| open(context).map_or(Poll::Pending, Poll::Ready)).await;
    }
}

/// Suspends once.
pub(crate) async fn breathe() {
    let mut first = true;
    poll_fn(|_| if std::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(()) }).await;
}
