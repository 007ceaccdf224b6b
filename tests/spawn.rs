//! What a `Spawn` promises, for those that come with the crate.

use cachette::{Spawn, Task, Threads};
use std::panic::resume_unwind;
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

/// Whether it is ready when it is polled once, outside all that could wake it.
fn is_ready(future: &mut Task) -> bool {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Runs a future in the background, and waits for it.
fn end<T: Send + 'static>(
    spawn: &dyn Spawn,
    future: impl Future<Output = T> + Send + 'static,
) -> T {
    let (sender, receiver) = mpsc::channel();
    spawn.spawn(Box::pin(async move {
        let _ = sender.send(future.await);
    }));
    receiver.recv().expect("the task was run to its end")
}

/// What holds for every `Spawn`, called by a thread that is none of its own.
fn obeys(spawn: &Arc<dyn Spawn>) {
    // Tasks run on other threads: a task may wait for its caller.
    let caller = thread::current().id();
    assert_ne!(end(spawn, async { thread::current().id() }), caller);
    let ((sender, receiver), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
    spawn.spawn_blocking(Box::pin(async move {
        let _ = released.recv();
        let _ = sender.send(thread::current().id());
    }));
    // One that blocks does not hold up one that does not.
    assert_eq!(end(spawn, async { 1 }), 1);
    drop(release);
    assert_ne!(receiver.recv().expect("the task was run"), caller);

    // A panic ends its own task alone.
    spawn.spawn(Box::pin(async { resume_unwind(Box::new("a task fails")) }));
    spawn.spawn_blocking(Box::pin(async { resume_unwind(Box::new("a task fails")) }));
    assert_eq!(end(spawn, async { 2 }), 2);

    // Sleeps end, in tasks of either kind, whoever has made them.
    end(spawn, spawn.sleep(Duration::ZERO));
    let (inside, (sender, receiver)) = (Arc::clone(spawn), mpsc::channel::<()>());
    spawn.spawn_blocking(Box::pin(async move {
        inside.sleep(Duration::from_millis(1)).await;
        drop(sender);
    }));
    assert!(receiver.recv().is_err());

    // They are polled and dropped anywhere.
    for duration in [HOUR, Duration::MAX] {
        let mut sleep = spawn.sleep(duration);
        assert!(!is_ready(&mut sleep) && !is_ready(&mut sleep));
        drop((sleep, spawn.sleep(duration)));
    }
}

/// Threads that all spawn, sleep, and drop what sleeps at once. Says how many tasks have ended.
fn storm(spawn: &Arc<dyn Spawn>, rounds: u64) -> usize {
    let (ended, ends) = mpsc::channel();
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (ended, start) = (ended.clone(), &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..rounds {
                    let (inside, ended) = (Arc::clone(spawn), ended.clone());
                    let short = Duration::from_micros(thread * 50 + round % 7 * 100);
                    let mut long = spawn.sleep(HOUR);
                    let _ = is_ready(&mut long);
                    spawn.spawn(Box::pin(async move {
                        inside.sleep(short).await;
                        drop(long);
                        let last = Arc::clone(&inside);
                        inside.spawn_blocking(Box::pin(async move {
                            last.sleep(short / 2).await;
                            let _ = ended.send(());
                        }));
                    }));
                }
            });
        }
    });
    drop(ended);
    ends.into_iter().count()
}

#[test]
fn threads_obey() {
    obeys(&(Arc::new(Threads::new()) as Arc<dyn Spawn>));
}

#[test]
fn threads_in_a_storm() {
    let threads: Arc<dyn Spawn> = Arc::new(Threads::new());
    assert_eq!(storm(&threads, 50), 200);
}

#[test]
fn threads_may_be_dropped_while_their_tasks_sleep() {
    let (ended, ends) = mpsc::channel();
    for _ in 0..20 {
        let (threads, ended) = (Threads::new(), ended.clone());
        let sleep = threads.sleep(Duration::from_millis(1));
        threads.spawn(Box::pin(async move {
            sleep.await;
            let _ = ended.send(());
        }));
    }
    drop(ended);
    assert_eq!(ends.into_iter().count(), 20);
}

#[cfg(feature = "tokio")]
mod on_tokio {
    use super::*;
    use cachette::{NoRuntime, Tokio};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::oneshot;
    use tokio::time::advance;

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_time().build().expect("a runtime")
    }

    /// Its clock stands still, but for `advance`.
    fn paused() -> Runtime {
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
    }

    /// Calls `f` while the runtime has a thread to run on.
    fn driven(f: impl FnOnce(Arc<dyn Spawn>)) {
        let runtime = runtime();
        let tokio = Tokio::new(runtime.handle().clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || drop(runtime.block_on(stopped)));
        f(Arc::new(tokio));
        drop(stop);
        thread.join().expect("the runtime has ended");
    }

    #[test]
    fn tokio_obeys() {
        driven(|tokio| obeys(&tokio));
    }

    #[test]
    fn tokio_in_a_storm() {
        driven(|tokio| assert_eq!(storm(&tokio, 50), 200));
    }

    #[test]
    fn the_current_runtime_is_the_one_that_calls() {
        assert!(matches!(Tokio::current(), Err(NoRuntime { .. })));
        let (one, other) = (runtime(), runtime());
        let tokio = one.block_on(async { Tokio::current() }).expect("in a runtime");
        let _entered = other.enter();
        let (sender, receiver) = oneshot::channel();
        tokio.spawn(Box::pin(async move {
            let _ = sender.send(tokio::runtime::Handle::current().id());
        }));
        assert_eq!(one.block_on(receiver), Ok(one.handle().id()));
    }

    #[test]
    fn a_blocking_task_is_in_the_runtime_and_may_wait_for_it() {
        let runtime = paused();
        let tokio = Tokio::new(runtime.handle().clone());
        let ((to_task, from_here), (to_here, from_task)) = (oneshot::channel(), oneshot::channel());
        tokio.spawn_blocking(Box::pin(async move {
            let id = tokio::runtime::Handle::try_current().map(|handle| handle.id());
            let _ = to_here.send((id.ok(), from_here.await));
        }));
        let told = runtime.block_on(async {
            to_task.send(1).expect("the task waits");
            from_task.await
        });
        assert_eq!(told, Ok((Some(runtime.handle().id()), Ok(1))));
    }

    #[test]
    fn time_counts_from_the_call() {
        let runtime = paused();
        let tokio = Tokio::new(runtime.handle().clone());
        let (mut polled, mut unpolled) = (tokio.sleep(HOUR), tokio.sleep(HOUR));
        runtime.block_on(async {
            assert!(!is_ready(&mut polled));
            advance(HOUR - Duration::from_secs(1)).await;
            assert!(!is_ready(&mut polled));
            advance(Duration::from_secs(2)).await;
            assert!(is_ready(&mut polled) && is_ready(&mut unpolled));
        });
    }

    #[test]
    fn without_a_timer_nobody_sleeps() {
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let tokio = Tokio::new(runtime.handle().clone());
        let sleep = catch_unwind(AssertUnwindSafe(|| drop(tokio.sleep(HOUR))));
        assert!(sleep.is_err());
        let (sender, receiver) = oneshot::channel();
        tokio.spawn(Box::pin(async {
            let _ = sender.send(1);
        }));
        assert_eq!(runtime.block_on(receiver), Ok(1), "the rest works");
    }

    #[test]
    fn a_runtime_that_has_ended_drops_its_tasks() {
        let runtime = runtime();
        let tokio = Tokio::new(runtime.handle().clone());
        let (sender, receiver) = mpsc::channel::<()>();
        let task = || -> Task {
            let sender = sender.clone();
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop(sender);
            })
        };
        tokio.spawn(task());
        drop(runtime);
        tokio.spawn(task());
        tokio.spawn_blocking(task());
        drop(sender);
        assert!(receiver.recv().is_err(), "none is kept");
    }
}
