//! Threads of the cache's own, for a program without a runtime.
//!
//! **Problem.** Work in the background comes in bursts, and a thread costs more to start than most of the work takes. But no number of
//! threads is enough beforehand: a loader may wait for another load, and if that one stood in a queue behind it, neither would end.
//!
//! ```text
//!   spawn ──► is a worker idle? ─┬─ yes: the one that became so last ──► given: { worker: task } ──► it is told, and takes it
//!                                └─ no: a new worker, with the task
//!
//!   worker:  run its task ──► idle, for 10 s ─┬─ given a task ──► run it ...
//!               ▲                             └─ nothing came, or the pool is closed ──► end
//!               └── however the last one ended
//! ```
//!
//! **Invariants**
//!
//! 1. A worker is idle, or a task is given to it, or it runs one; never two of these. A task never waits for a worker that is busy.
//! 2. A worker that waits is told, or has waited long enough: there are no other wakes.
//! 3. Nothing of the user's runs, and nothing of it is dropped, inside the lock.
//!
//! | operation | cost |
//! |---|---|
//! | `spawn` | one lock, O(log tasks given), and a wake; or the start of a thread |
//! | the end of a task | the same lock, O(1); O(idle) for a worker that ends |
//! | a worker without work | a thread, for 10 s |

use super::block::block_on;
use super::spawn::{Spawn, Task};
use super::timer::Timer;
use crate::caught::caught;
use crate::sync::{Arc, Condvar, Mutex, thread, thread_number};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How long a worker waits for work before it ends.
const KEEP: Duration = Duration::from_secs(10);

/// Starts a thread of this name. False if there is none to be had.
pub(super) type Start = fn(&str, Box<dyn FnOnce() + Send>) -> bool;

fn start(name: &str, run: Box<dyn FnOnce() + Send>) -> bool {
    thread::Builder::new().name(name.to_string()).spawn(run).is_ok()
}

/// Runs tasks on threads of its own, for a program without an asynchronous runtime.
///
/// Nothing is started before it is needed. A task is given to a thread that has no work, or else to a new one, `cachette-worker`, which
/// runs it to its end, blocked while it waits. A thread that has had no work for 10 seconds ends. A task that panics is dropped, and its
/// thread goes on. All who [`sleep`](Spawn::sleep) share one thread, `cachette-timer`.
///
/// **There is no limit on the number of threads.** A loader may wait for another load: were that one queued behind it, neither would
/// ever end. So there are as many threads as there have been tasks at one time; whoever starts the loads sets the limit.
///
/// Clones share their threads. When the last one is dropped, those without work end at once, and the others when they have none:
/// what runs is run to its end, and who sleeps is woken in time. Nobody waits for that.
///
/// # If the system gives no thread
///
/// A task that no thread is there for is dropped, and those who wait for it go on by themselves. Without the timer's thread nobody is
/// woken; each new sleep tries to start it again.
///
/// ```
/// use cachette::{Spawn, Threads};
/// use std::{sync::mpsc, time::Duration};
///
/// let threads = Threads::new();
/// let (sender, receiver) = mpsc::channel();
/// let later = threads.sleep(Duration::from_millis(1));
/// threads.spawn(Box::pin(async move {
///     later.await;
///     let _ = sender.send("done");
/// }));
/// assert_eq!(receiver.recv(), Ok("done"));
/// ```
#[derive(Clone)]
pub struct Threads {
    shared: Arc<Shared>,
}

/// What the clones have in common; the threads do not hold it.
struct Shared {
    pool: Arc<Pool>,
    timer: Arc<Timer>,
}

impl Threads {
    /// A pool without threads.
    #[must_use]
    pub fn new() -> Self {
        Self::with(KEEP, start)
    }

    fn with(keep: Duration, start: Start) -> Self {
        let pool = Pool { state: Mutex::new(State::default()), keep, start };
        let shared = Shared { pool: Arc::new(pool), timer: Arc::new(Timer::new(start)) };
        Self { shared: Arc::new(shared) }
    }
}

impl Default for Threads {
    fn default() -> Self {
        Self::new()
    }
}

impl Spawn for Threads {
    fn spawn(&self, task: Task) {
        self.shared.pool.give(task);
    }

    /// A future that is ready once this much time has passed since this call. It never is if that is longer than the system's clock can
    /// tell, such as [`Duration::MAX`].
    fn sleep(&self, duration: Duration) -> Task {
        Box::pin(self.shared.timer.sleep(duration))
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.pool.close();
        self.timer.close();
    }
}

struct Pool {
    state: Mutex<State>,
    keep: Duration,
    start: Start,
}

#[derive(Default)]
struct State {
    /// Who has no work. The last is asked first, so that those who are not needed stay so, and end.
    idle: Vec<Idle>,
    /// The tasks of workers that were idle and have not taken theirs yet.
    given: BTreeMap<u64, Task>,
    closed: bool,
}

struct Idle {
    worker: u64,
    told: Arc<Condvar>,
}

impl Pool {
    fn give(self: &Arc<Self>, task: Task) {
        let mut state = self.state.lock();
        if let Some(idle) = state.idle.pop() {
            state.given.insert(idle.worker, task);
            drop(state);
            idle.told.notify_one();
            return;
        }
        drop(state);
        let pool = Arc::clone(self);
        // If there is no thread, this drops the task.
        (self.start)("cachette-worker", Box::new(move || pool.work(task)));
    }

    /// What a worker does.
    fn work(&self, first: Task) {
        let told = Arc::new(Condvar::new());
        let mut next = Some(first);
        while let Some(task) = next {
            caught(|| block_on(task));
            next = self.wait(&told);
        }
    }

    /// The worker's next task, or `None` if it is to end.
    fn wait(&self, told: &Arc<Condvar>) -> Option<Task> {
        let worker = thread_number();
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        state.idle.push(Idle { worker, told: Arc::clone(told) });
        state = told.wait_for(state, self.keep);
        let task = state.given.remove(&worker);
        if task.is_none() {
            // Nobody has called it.
            state.idle.retain(|idle| idle.worker != worker);
        }
        task
    }

    /// Ends the workers that are idle; the others end when their tasks have.
    fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        for idle in idle {
            idle.told.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{AtomicU64, Barrier, Ordering, mpsc};
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::panic::resume_unwind;
    use std::task::{Poll, Waker};

    thread_local! {
        static NO_THREADS: Cell<bool> = const { Cell::new(false) };
        static STARTED: Cell<u64> = const { Cell::new(0) };
    }

    fn counted(name: &str, run: Box<dyn FnOnce() + Send>) -> bool {
        if NO_THREADS.get() {
            return false;
        }
        STARTED.set(STARTED.get() + 1);
        start(name, run)
    }

    /// Its workers wait for work without end.
    fn patient() -> Threads {
        Threads::with(Duration::MAX, counted)
    }

    fn await_idle(threads: &Threads, idle: usize) {
        while threads.shared.pool.state.lock().idle.len() != idle {
            thread::yield_now();
        }
    }

    /// Waits until only this many own the pool: each worker is one of them.
    fn await_owners(pool: &Arc<Pool>, owners: usize) {
        while Arc::strong_count(pool) != owners {
            thread::yield_now();
        }
    }

    /// Which worker runs the next task.
    fn worker(threads: &Threads) -> u64 {
        let (sender, receiver) = mpsc::channel();
        threads.spawn(Box::pin(async move {
            let _ = sender.send(thread_number());
        }));
        receiver.recv().expect("the task was run")
    }

    /// A task that says which worker runs it, and ends when it is told to, or when the other end is dropped.
    fn held(threads: &Threads) -> (u64, mpsc::Sender<()>) {
        let ((sender, receiver), (release, released)) = (mpsc::channel(), mpsc::channel());
        threads.spawn(Box::pin(async move {
            let _ = sender.send(thread_number());
            let _ = released.recv();
        }));
        (receiver.recv().expect("the task was run"), release)
    }

    #[test]
    fn tasks_run_on_threads_of_its_own() {
        let threads = Threads::default();
        assert!(threads.shared.pool.state.lock().idle.is_empty());
        let (sender, receiver) = mpsc::channel();
        threads.spawn_blocking(Box::pin(async move {
            let _ = sender.send(thread::current().name().map(str::to_string));
        }));
        assert_eq!(receiver.recv(), Ok(Some("cachette-worker".to_string())));
        assert_ne!(worker(&threads), thread_number());
        assert_eq!(format!("{threads:?}"), "Threads { .. }");
        assert_eq!(threads.shared.pool.keep, KEEP);
    }

    #[test]
    fn a_task_may_suspend() {
        let threads = patient();
        let ((sender, receiver), (to_waker, wakers)) = (mpsc::channel(), mpsc::channel::<Waker>());
        let mut polls = 0;
        threads.spawn(Box::pin(async move {
            poll_fn(|context| {
                polls += 1;
                let sent = to_waker.send(context.waker().clone());
                if polls < 3 && sent.is_ok() { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            let _ = sender.send(polls);
        }));
        wakers.into_iter().for_each(Waker::wake);
        assert_eq!(receiver.recv(), Ok(3));
    }

    #[test]
    fn there_is_no_limit() {
        let (threads, barrier) = (patient(), Arc::new(Barrier::new(101)));
        for _ in 0..100 {
            let barrier = Arc::clone(&barrier);
            threads.spawn(Box::pin(async move {
                barrier.wait();
            }));
        }
        barrier.wait();
        assert_eq!(STARTED.get(), 100);
        await_idle(&threads, 100);
    }

    #[test]
    fn the_latest_idle_worker_is_asked_first() {
        let threads = patient();
        let (first, release_first) = held(&threads);
        let (second, release_second) = held(&threads);
        assert_ne!(first, second);
        drop(release_second);
        await_idle(&threads, 1);
        drop(release_first);
        await_idle(&threads, 2);
        let (third, _release) = held(&threads);
        assert_eq!((third, worker(&threads), STARTED.get()), (first, second, 2));
    }

    #[test]
    fn a_worker_survives_its_task() {
        let threads = patient();
        let number = worker(&threads);
        for _ in 0..3 {
            await_idle(&threads, 1);
            threads.spawn(Box::pin(async { resume_unwind(Box::new("a task fails")) }));
        }
        await_idle(&threads, 1);
        assert_eq!((worker(&threads), STARTED.get()), (number, 1));
    }

    #[test]
    fn a_worker_without_work_ends() {
        let threads = Threads::with(Duration::ZERO, counted);
        let first = worker(&threads);
        await_owners(&threads.shared.pool, 1);
        assert!(threads.shared.pool.state.lock().idle.is_empty());
        assert_ne!(worker(&threads), first);
    }

    #[test]
    fn the_last_clone_ends_the_workers() {
        let threads = patient();
        let pool = Arc::clone(&threads.shared.pool);
        let releases = [held(&threads), held(&threads), held(&threads)].map(|(_, release)| release);
        let [first, second, third] = releases;
        drop((first, second));
        await_idle(&threads, 2);
        drop(threads.clone());
        await_idle(&threads, 2);
        drop(threads);
        // The pool is held here, and by the worker that still has work.
        await_owners(&pool, 2);
        assert!(third.send(()).is_ok(), "its task was not ended");
        await_owners(&pool, 1);
    }

    #[test]
    fn the_last_clone_ends_the_timer() {
        let threads = patient();
        let timer = Arc::clone(&threads.shared.timer);
        let sleep = threads.sleep(Duration::from_secs(3_600));
        let (sender, receiver) = mpsc::channel::<()>();
        threads.clone().spawn(Box::pin(async move {
            drop(threads);
            let mut sleep = sleep;
            poll_fn(|context| Poll::Ready(sleep.as_mut().poll(context).is_pending())).await;
            drop((sleep, sender));
        }));
        assert!(receiver.recv().is_err());
        while Arc::strong_count(&timer) > 1 {
            thread::yield_now();
        }
    }

    #[test]
    fn without_a_thread_a_task_is_dropped() {
        let threads = patient();
        let number = worker(&threads);
        await_idle(&threads, 1);
        NO_THREADS.set(true);
        let (same, _release) = held(&threads);
        assert_eq!(same, number, "an idle worker will do");
        let (sender, receiver) = mpsc::channel::<()>();
        threads.spawn(Box::pin(async move {
            let _ = sender.send(());
        }));
        assert_eq!(receiver.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }

    #[test]
    fn no_task_is_lost_while_workers_end() {
        // So short that workers end all the time, and often just when they are given a task.
        let threads = Threads::with(Duration::from_nanos(1), start);
        let ran = Arc::new(AtomicU64::new(0));
        let (sender, receiver) = mpsc::channel::<()>();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let (ran, sender) = (Arc::clone(&ran), sender.clone());
                        threads.spawn(Box::pin(async move {
                            ran.fetch_add(1, Ordering::Relaxed);
                            drop(sender);
                        }));
                    }
                });
            }
        });
        drop(sender);
        assert!(receiver.recv().is_err(), "all have ended");
        assert_eq!(ran.load(Ordering::Relaxed), 2_000);
        await_owners(&threads.shared.pool, 1);
        let state = threads.shared.pool.state.lock();
        assert!(state.idle.is_empty() && state.given.is_empty());
    }
}
