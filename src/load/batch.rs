//! Single loads, gathered into batches.
//!
//! **Problem.** Many tasks load one key each, at about the same time, from a source that answers many keys at the price of one. They
//! know nothing of each other, and none may wait long for company, nor for ever.
//!
//! ```text
//!   load(a) ─ opens a batch, and spawns its task ─────┐
//!   load(b) ─ joins it                                ▼
//!   load(a) ─ joins it                         the window, or until full ─► closes: no key joins any more
//!                                                     │
//!                                              load([a, b]) ─► one flight lands with all answers
//!   each wakes and takes its own ◄────────────────────┘
//! ```
//!
//! **Invariants**
//!
//! 1. A key is put into the open batch, if there is one, in one critical section with finding it open. A batch that is not open
//!    any more gets no key.
//! 2. The open batch has fewer than `most` keys.
//! 3. Every batch has a task, or its flight has ended: whoever drops the task, run or not, ends the flight.
//! 4. No user code runs under a lock: equal keys are found when the batch has closed.
//!
//! | operation | cost |
//! |---|---|
//! | `load` | O(1), one lock for the time of a push; a clone of the key |
//! | a batch | O(keys): a task, a call of the loader, a clone of each distinct key |
//!
//! After Facebook's `DataLoader` (Schrock, 2015), whose batches end with a turn of the event loop; here there may be none, so a window
//! is given.

use super::block::block_on;
use super::flight::{Flight, Landing};
use super::spawn::{Spawn, Task};
use crate::caught::caught;
use crate::error::BatchError;
use crate::sync::{Arc, Mutex};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::poll_fn;
use std::hash::Hash;
use std::mem;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

/// As many keys as most sources take in one query.
const MOST: usize = 100;

/// What the loader said, by key.
type Answers<K, V, E> = HashMap<K, Result<V, Arc<E>>, ahash::RandomState>;

type Answering<K, V, E> = Pin<Box<dyn Future<Output = Answers<K, V, E>> + Send>>;

type Load<K, V, E> = dyn Fn(Vec<K>) -> Answering<K, V, E> + Send + Sync;

/// Gathers loads of single keys, and has them answered many at a time.
///
/// The first key opens a batch. It is closed when [`window`](Self::window) has passed or it has [`most`](Self::most) keys, whichever
/// is first; then the loader is called, as a task of the program's [`Spawn`], and each caller gets the answer for its own key.
/// Equal keys in a batch are asked for once, and share a clone of the answer. Nothing is remembered: that is what a cache is for, and
/// a batch is a good loader for one.
///
/// A caller that gives up takes nothing from the others. Its key may be asked for all the same.
///
/// ```
/// use cachette::{Batch, Cache, Threads};
/// use std::{convert::Infallible, time::Duration};
///
/// type Lengths = Batch<String, usize, Infallible>;
///
/// // The loader would be one query.
/// let lengths = Lengths::new(Threads::new(), async |words| {
///     words.into_iter().map(|word| (word.clone(), Ok(word.len()))).collect::<Vec<_>>()
/// });
/// let lengths = lengths.most(50).window(Duration::from_millis(2));
///
/// // Those who want one word share a load of the cache; those who want different words share a batch.
/// async fn length(cache: &Cache<String, usize>, lengths: &Lengths, word: &str) -> usize {
///     cache.get_or_load_async(word, |word| lengths.load(word)).await.unwrap()
/// }
/// let cache = Cache::new(1_000);
/// let loaded = cache.get_or_load("four", |word| lengths.load_blocking(word.to_string()));
/// assert_eq!(loaded.unwrap(), 4);
/// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
/// # assert!(std::pin::pin!(length(&cache, &lengths, "four")).poll(&mut context).is_ready());
/// ```
pub struct Batch<K, V, E> {
    shared: Arc<Shared<K, V, E>>,
    most: usize,
    window: Duration,
}

struct Shared<K, V, E> {
    spawn: Box<dyn Spawn>,
    load: Box<Load<K, V, E>>,
    open: Mutex<Option<Arc<Gathering<K, V, E>>>>,
}

/// A batch that has not been asked for yet, and how those who wait for it will hear.
struct Gathering<K, V, E> {
    keys: Mutex<Vec<K>>,
    full: Arc<Flight<()>>,
    answered: Arc<Flight<Arc<Answers<K, V, E>>>>,
}

impl<K, V, E> Gathering<K, V, E> {
    fn new() -> Self {
        Self { keys: Mutex::new(Vec::new()), full: Flight::new(), answered: Flight::new() }
    }
}

/// The duty to answer a batch. Dropped before that, it tells all who wait that there is no answer.
struct Duty<K, V, E> {
    shared: Arc<Shared<K, V, E>>,
    batch: Arc<Gathering<K, V, E>>,
}

impl<K, V, E> Drop for Duty<K, V, E> {
    fn drop(&mut self) {
        // First closed, or a key could still come. What it leaves are the user's destructors.
        let keys = self.close();
        self.batch.answered.settle(Landing::Abandoned);
        caught(|| drop(keys));
    }
}

impl<K, V, E> Duty<K, V, E> {
    /// Has the batch open no more, and takes its keys.
    fn close(&self) -> Vec<K> {
        let mut open = self.shared.open.lock();
        if open.as_ref().is_some_and(|open| Arc::ptr_eq(open, &self.batch)) {
            // Not the last owner: this is another.
            *open = None;
        }
        drop(open);
        mem::take(&mut *self.batch.keys.lock())
    }
}

impl<K, V, E> Duty<K, V, E>
where
    K: Hash + Eq + Clone,
{
    /// Waits for company, asks for all keys, and tells all who wait.
    async fn run(self, window: Duration) {
        if !window.is_zero() {
            let mut full = pin!(self.batch.full.join());
            let mut passed = self.shared.spawn.sleep(window);
            poll_fn(|context| {
                if full.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
                passed.as_mut().poll(context)
            })
            .await;
        }
        let mut keys = self.close();
        let mut seen: HashSet<K, ahash::RandomState> = HashSet::default();
        keys.retain(|key| seen.insert(key.clone()));
        drop(seen);
        let answers = (self.shared.load)(keys).await;
        self.batch.answered.settle(Landing::Landed(Arc::new(answers)));
    }
}

impl<K, V, E> Batch<K, V, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Batches of up to 100 keys that `load` answers, on what `spawn` runs them; the window is 0.
    ///
    /// `load` is given keys, none twice, in the order in which they came first. It returns pairs of a key and its `Result`, such as a
    /// `HashMap<K, Result<V, E>>`; of two answers for a key the last one counts, and answers for other keys are ignored. See [`Batch`]
    /// for an example.
    pub fn new<F, R>(
        spawn: impl Spawn + 'static,
        load: impl Fn(Vec<K>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = R> + Send + 'static,
        R: IntoIterator<Item = (K, Result<V, E>)>,
    {
        let load = move |keys| {
            let answered = load(keys);
            let answers = async move {
                let answers = answered.await.into_iter();
                answers.map(|(key, answer)| (key, answer.map_err(Arc::new))).collect()
            };
            Box::pin(answers) as Answering<K, V, E>
        };
        let shared =
            Shared { spawn: Box::new(spawn), load: Box::new(load), open: Mutex::new(None) };
        Self { shared: Arc::new(shared), most: MOST, window: Duration::ZERO }
    }

    /// How many keys close a batch, equal ones counted each; unless chosen, 100. With 1 each key is a batch, and 0 is as 1.
    ///
    /// ```
    /// use cachette::{Batch, Spawn};
    /// use std::collections::HashMap;
    ///
    /// // As many as the source takes in one query.
    /// fn users(spawn: impl Spawn + 'static) -> Batch<u64, String, std::io::Error> {
    ///     Batch::new(spawn, async |ids: Vec<u64>| ids.into_iter().map(|id| (id, Ok(format!("user {id}")))).collect::<HashMap<_, _>>())
    ///         .most(1_000)
    /// }
    /// ```
    #[must_use]
    pub fn most(mut self, keys: usize) -> Self {
        self.most = keys;
        self
    }

    /// How long a batch may wait for more keys, from when its task first runs; unless chosen, not at all.
    ///
    /// Without a window a batch has the keys that come before its task first runs: where tasks and batches share a thread, those
    /// of all tasks that are ready now.
    ///
    /// ```
    /// use cachette::Batch;
    /// use std::time::Duration;
    ///
    /// /// Waits no longer than a query takes.
    /// fn patient(users: Batch<u64, String, std::io::Error>) -> Batch<u64, String, std::io::Error> {
    ///     users.window(Duration::from_millis(2))
    /// }
    /// ```
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// The value of a key, asked for together with others. The key joins a batch when the future is first polled.
    ///
    /// The future borrows nothing, and may be dropped at any time.
    ///
    /// # Errors
    ///
    /// [`BatchError::Failed`] if the loader failed for this key, [`BatchError::Unanswered`] if it said nothing of it, and
    /// [`BatchError::Lost`] if it panicked, or the batch's task was dropped.
    ///
    /// # Panics
    ///
    /// If `spawn` does; the others in the batch have [`BatchError::Lost`].
    ///
    /// # Limits
    ///
    /// A loader that waits for a key of its own batch, on its own or through a cache, waits for ever: it runs in a task of its own,
    /// so this is not seen.
    pub fn load(
        &self,
        key: K,
    ) -> impl Future<Output = Result<V, BatchError<E>>> + Send + use<K, V, E> {
        let (shared, most, window) = (Arc::clone(&self.shared), self.most, self.window);
        async move {
            let answered = shared.join(key.clone(), most, window);
            let Landing::Landed(answers) = answered.join().await else {
                return Err(BatchError::Lost);
            };
            match answers.get(&key) {
                Some(Ok(value)) => Ok(value.clone()),
                Some(Err(error)) => Err(BatchError::Failed(Arc::clone(error))),
                None => Err(BatchError::Unanswered),
            }
        }
    }

    /// As [`load`](Self::load), from a thread, which sleeps until there is an answer. On the thread that is to run the batch, that is
    /// for ever.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    ///
    /// # Panics
    ///
    /// As [`load`](Self::load).
    pub fn load_blocking(&self, key: K) -> Result<V, BatchError<E>> {
        block_on(self.load(key))
    }
}

impl<K, V, E> Shared<K, V, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Puts a key into the open batch, or opens one: the flight that will have the answers.
    fn join(
        self: &Arc<Self>,
        key: K,
        most: usize,
        window: Duration,
    ) -> Arc<Flight<Arc<Answers<K, V, E>>>> {
        let mut open = self.open.lock();
        let is_first = open.is_none();
        let batch = Arc::clone(open.get_or_insert_with(|| Arc::new(Gathering::new())));
        let keys = {
            let mut keys = batch.keys.lock();
            keys.push(key);
            keys.len()
        };
        if keys >= most {
            *open = None;
        }
        drop(open);
        let answered = Arc::clone(&batch.answered);
        if keys >= most {
            batch.full.settle(Landing::Landed(()));
        }
        if is_first {
            let duty = Duty { shared: Arc::clone(self), batch };
            let task: Task = Box::pin(duty.run(window));
            self.spawn.spawn(task);
        }
        answered
    }
}

impl<K, V, E> fmt::Debug for Batch<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("most", &self.most)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::sync::{Weak, thread};
    use proptest::prelude::*;
    use std::future::pending;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::task::{Context, Waker};

    const WINDOW: Duration = Duration::from_millis(5);

    /// Runs tasks when it is told to, and lets time pass when it is told to.
    #[derive(Default)]
    struct Hand {
        tasks: Mutex<Vec<Task>>,
        sleeps: Mutex<Vec<(Duration, Arc<Flight<()>>)>>,
    }

    impl Spawn for Hand {
        fn spawn(&self, task: Task) {
            self.tasks.lock().push(task);
        }

        fn sleep(&self, duration: Duration) -> Task {
            let end = Flight::new();
            self.sleeps.lock().push((duration, Arc::clone(&end)));
            Box::pin(async move { drop(end.join().await) })
        }
    }

    impl Hand {
        /// Polls each task once, and says how many have not ended.
        fn run(&self) -> usize {
            let mut tasks = mem::take(&mut *self.tasks.lock());
            tasks.retain_mut(|task| poll(task).is_pending());
            let mut all = self.tasks.lock();
            all.extend(tasks);
            all.len()
        }

        /// All windows end: how long they were.
        fn pass(&self) -> Vec<Duration> {
            let sleeps = mem::take(&mut *self.sleeps.lock());
            let end = |(window, end): (Duration, Arc<Flight<()>>)| {
                end.settle(Landing::Landed(()));
                window
            };
            sleeps.into_iter().map(end).collect()
        }

        fn forget(&self) {
            let tasks = mem::take(&mut *self.tasks.lock());
            drop(tasks);
        }
    }

    type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

    fn poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    type Loaded = Result<u32, BatchError<&'static str>>;

    /// What a waiter has: `None` while it waits.
    fn has(waiter: &mut Boxed<Loaded>) -> Option<Result<u32, &'static str>> {
        match poll(waiter) {
            Poll::Pending => None,
            Poll::Ready(loaded) => Some(loaded.map_err(|error| match error {
                BatchError::Failed(error) => *error,
                BatchError::Unanswered => "unanswered",
                BatchError::Lost => "lost",
            })),
        }
    }

    struct Scene {
        hand: Arc<Hand>,
        calls: Arc<Mutex<Vec<Vec<u32>>>>,
        batch: Batch<u32, u32, &'static str>,
    }

    /// Key 7 fails, key 8 has no answer, key 9 panics, key 10 takes for ever; others are multiplied by ten.
    fn scene() -> Scene {
        let (hand, calls) = (Arc::<Hand>::default(), Arc::<Mutex<Vec<Vec<u32>>>>::default());
        let noted = Arc::clone(&calls);
        let load = move |keys: Vec<u32>| {
            noted.lock().push(keys.clone());
            async move {
                if keys.contains(&9) {
                    resume_unwind(Box::new(()));
                }
                if keys.contains(&10) {
                    pending::<()>().await;
                }
                let answers = keys.into_iter().filter(|&key| key != 8).map(|key| match key {
                    7 => (key, Err("failed")),
                    _ => (key, Ok(key * 10)),
                });
                // Of two answers for a key the last one counts, and nobody has asked for 99.
                [(99, Ok(1)), (1, Ok(1))].into_iter().chain(answers).collect::<Vec<_>>()
            }
        };
        let batch = Batch::new(Arc::clone(&hand), load).window(WINDOW);
        Scene { hand, calls, batch }
    }

    impl Scene {
        /// Loads that have been polled, and wait.
        fn load<const N: usize>(&self, keys: [u32; N]) -> [Boxed<Loaded>; N] {
            keys.map(|key| {
                let mut waiter: Boxed<Loaded> = Box::pin(self.batch.load(key));
                assert_eq!(has(&mut waiter), None);
                waiter
            })
        }

        /// Lets every batch that is under way be asked for.
        fn turn(&self) {
            self.hand.run();
            self.hand.pass();
            self.hand.run();
        }

        fn calls(&self) -> Vec<Vec<u32>> {
            mem::take(&mut *self.calls.lock())
        }
    }

    #[test]
    fn l9_loads_in_a_window_are_one_batch() {
        let scene = scene();
        let mut waiters = scene.load([3, 1, 3, 2]);
        assert_eq!((scene.hand.run(), scene.hand.run()), (1, 1), "one task, which waits");
        let [mut late] = scene.load([4]);
        assert!(scene.calls().is_empty());
        assert_eq!(scene.hand.pass(), [WINDOW]);
        assert_eq!(scene.hand.run(), 0);
        assert_eq!(scene.calls(), [[3, 1, 2, 4]], "each key once, in the order of their coming");
        assert_eq!(waiters.each_mut().map(has), [30, 10, 30, 20].map(|value| Some(Ok(value))));
        assert_eq!(has(&mut late), Some(Ok(40)));
        let [mut next] = scene.load([1]);
        scene.turn();
        assert_eq!((scene.calls(), has(&mut next)), (vec![vec![1]], Some(Ok(10))), "not a cache");
    }

    #[test]
    fn l9_a_full_batch_does_not_wait() {
        let mut scene = scene();
        scene.batch = scene.batch.most(3);
        let mut first = scene.load([1, 2]);
        assert_eq!(scene.hand.run(), 1);
        let mut rest = scene.load([2, 4]);
        assert_eq!(scene.hand.run(), 1, "the first is asked for, the second has begun");
        assert_eq!(scene.calls(), [[1, 2]]);
        assert_eq!(first.each_mut().map(has), [Some(Ok(10)), Some(Ok(20))]);
        assert_eq!(rest.each_mut().map(has), [Some(Ok(20)), None]);
        assert_eq!(scene.hand.pass(), [WINDOW; 2]);
        assert_eq!((scene.hand.run(), scene.calls()), (0, vec![vec![4]]));
        assert_eq!(has(&mut rest[1]), Some(Ok(40)));
    }

    #[test]
    fn a_batch_that_is_full_before_its_task_runs_has_no_window() {
        for most in [0, 1] {
            let mut scene = scene();
            scene.batch = scene.batch.most(most);
            let mut waiters = scene.load([1, 2]);
            assert_eq!(scene.hand.run(), 0);
            assert_eq!(scene.calls(), [[1], [2]]);
            assert_eq!(waiters.each_mut().map(has), [Some(Ok(10)), Some(Ok(20))]);
        }
    }

    #[test]
    fn without_a_window_a_batch_has_what_comes_before_it_runs() {
        let mut scene = scene();
        scene.batch = scene.batch.window(Duration::ZERO);
        let _waiters = scene.load([1, 2]);
        assert_eq!((scene.hand.run(), scene.calls()), (0, vec![vec![1, 2]]));
        assert!(scene.hand.pass().is_empty(), "no timer was asked for");
    }

    #[test]
    fn l9_each_key_of_a_batch_has_an_answer_of_its_own() {
        let scene = scene();
        let mut waiters = scene.load([1, 7, 8, 7]);
        scene.turn();
        let expected = [Ok(10), Err("failed"), Err("unanswered"), Err("failed")];
        assert_eq!(waiters.each_mut().map(has), expected.map(Some));
    }

    #[test]
    fn l5_a_batch_that_is_dropped_or_panics_ends_for_all() {
        type Step = fn(&Hand);
        let steps: [(u32, Step); 4] = [
            (1, Hand::forget),
            (1, |hand| {
                hand.run();
                hand.forget();
            }),
            (10, |hand| {
                hand.run();
                hand.pass();
                assert_eq!(hand.run(), 1, "the loader waits");
                hand.forget();
            }),
            (9, |hand| {
                hand.run();
                hand.pass();
                assert!(catch_unwind(AssertUnwindSafe(|| hand.run())).is_err());
            }),
        ];
        for (key, step) in steps {
            let scene = scene();
            let mut waiters = scene.load([key, 2]);
            step(&scene.hand);
            assert_eq!(waiters.each_mut().map(has), [Some(Err("lost")); 2]);
            // The next batch knows nothing of that.
            let mut next = scene.load([3]);
            scene.turn();
            assert_eq!(next.each_mut().map(has), [Some(Ok(30))]);
        }
    }

    /// Drops each task, or panics.
    struct Broken(bool);

    impl Spawn for Broken {
        fn spawn(&self, task: Task) {
            drop(task);
            if self.0 {
                resume_unwind(Box::new(()));
            }
        }

        fn sleep(&self, _: Duration) -> Task {
            Box::pin(pending())
        }
    }

    #[test]
    fn l5_a_spawner_that_does_not_run_tasks_leaves_nobody_waiting() {
        let batch = |panics| {
            Batch::new(Broken(panics), async |_| -> Vec<(u32, Result<u32, ()>)> { Vec::new() })
        };
        let dropping = batch(false);
        for _ in 0..2 {
            assert!(matches!(dropping.load_blocking(1), Err(BatchError::Lost)));
        }
        let panicking = batch(true);
        for _ in 0..2 {
            assert!(catch_unwind(AssertUnwindSafe(|| panicking.load_blocking(1))).is_err());
        }
        assert!(panicking.shared.open.lock().is_none());
    }

    #[test]
    fn l5_a_key_whose_destructor_panics_keeps_nobody_waiting() {
        #[derive(Clone, PartialEq, Eq, Hash)]
        struct Bomb(bool);
        impl Drop for Bomb {
            fn drop(&mut self) {
                if self.0 && !thread::panicking() {
                    resume_unwind(Box::new(()));
                }
            }
        }
        let hand = Arc::<Hand>::default();
        let load = async |_| -> Vec<(Bomb, Result<u32, ()>)> { Vec::new() };
        let batch = Batch::new(Arc::clone(&hand), load);
        let mut bomb = Box::pin(batch.load(Bomb(true)));
        let mut quiet = Box::pin(batch.load(Bomb(false)));
        assert!(poll(&mut bomb).is_pending() && poll(&mut quiet).is_pending());
        hand.forget();
        assert!(matches!(poll(&mut quiet), Poll::Ready(Err(BatchError::Lost))));
        assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut bomb).is_ready())).is_err());
    }

    #[test]
    fn who_gives_up_takes_nothing_from_the_others() {
        let scene = scene();
        let [opener, mut stays, other] = scene.load([1, 2, 3]);
        drop(opener);
        assert_eq!(scene.hand.run(), 1);
        drop(other);
        scene.hand.pass();
        assert_eq!((scene.hand.run(), scene.calls()), (0, vec![vec![1, 2, 3]]));
        assert_eq!(has(&mut stays), Some(Ok(20)));
    }

    #[test]
    fn a_load_joins_when_it_is_polled_and_outlives_the_batch_it_came_from() {
        let Scene { hand, calls, batch } = scene();
        let never: Boxed<Loaded> = Box::pin(batch.load(1));
        let mut waiter: Boxed<Loaded> = Box::pin(batch.load(2));
        assert_eq!(hand.run(), 0, "nothing is under way");
        let alive: Weak<_> = Arc::downgrade(&batch.shared);
        drop((never, batch));
        assert_eq!(has(&mut waiter), None);
        hand.run();
        hand.pass();
        hand.run();
        assert_eq!((has(&mut waiter), calls.lock().len()), (Some(Ok(20)), 1));
        assert!(alive.upgrade().is_none(), "nothing is left of it");
    }

    #[test]
    fn l9_a_batch_is_a_loader_of_a_cache() {
        let (scene, cache) = (scene(), Cache::<u32, u32>::new(9));
        let get = |key: &'static u32| {
            let mut task = Box::pin(cache.get_or_load_async(key, |key| scene.batch.load(key)));
            assert!(poll(&mut task).is_pending());
            task
        };
        let (mut one, mut again, mut two, mut fails) = (get(&1), get(&1), get(&2), get(&7));
        scene.turn();
        assert_eq!(scene.calls(), [[1, 2, 7]]);
        assert!(matches!(poll(&mut one), Poll::Ready(Ok(10))));
        assert!(matches!(poll(&mut again), Poll::Ready(Ok(10))));
        assert!(matches!(poll(&mut two), Poll::Ready(Ok(20))));
        let Poll::Ready(Err(crate::LoadError::Failed(error))) = poll(&mut fails) else {
            panic!("its loader failed")
        };
        assert!(matches!(&*error, BatchError::Failed(error) if **error == "failed"));
        assert_eq!((cache.get(&1), cache.get(&2), cache.get(&7)), (Some(10), Some(20), None));
    }

    #[test]
    fn l9_threads_have_their_own_answers_and_batches_keep_their_bound() {
        let mut scene = scene();
        scene.batch = scene.batch.most(4);
        let batch = &scene.batch;
        thread::scope(|scope| {
            let load = |thread: u32| {
                move || {
                    for i in 0..200 {
                        let key = 100 + (i * 7 + thread) % 40;
                        assert!(matches!(batch.load_blocking(key), Ok(value) if value == key * 10));
                    }
                }
            };
            let threads: Vec<_> = (0..6).map(|thread| scope.spawn(load(thread))).collect();
            while threads.iter().any(|thread| !thread.is_finished()) {
                scene.turn();
                thread::yield_now();
            }
        });
        assert!(scene.calls().iter().all(|keys| (1..=4).contains(&keys.len())));
        assert_eq!(scene.hand.run(), 0);
    }

    /// What a property test does next.
    #[derive(Clone, Debug)]
    enum Step {
        Load(u32),
        GiveUp(usize),
        Run,
        Pass,
    }

    proptest! {
        #[test]
        fn l9_batches_are_those_of_a_list(
            most in 1..5_usize,
            steps in prop::collection::vec(
                prop_oneof![
                    6 => (20..26_u32).prop_map(Step::Load),
                    1 => (0..20_usize).prop_map(Step::GiveUp),
                    2 => Just(Step::Run),
                    1 => Just(Step::Pass),
                ],
                0..60,
            ),
        ) {
            let mut scene = scene();
            scene.batch = scene.batch.most(most);
            // The batches that have not been asked for, the last of them perhaps open; and who waits for which.
            let mut batches: Vec<Vec<u32>> = Vec::new();
            let mut waiters = Vec::new();
            let asked = |batches: Vec<Vec<u32>>| -> Vec<Vec<u32>> {
                let distinct = |keys: Vec<u32>| {
                    let first = |&(at, key): &(usize, u32)| !keys[..at].contains(&key);
                    keys.iter().copied().enumerate().filter(first).map(|(_, key)| key).collect()
                };
                batches.into_iter().map(distinct).collect()
            };
            for step in steps.into_iter().chain([Step::Pass]) {
                match step {
                    Step::Load(key) => {
                        let [waiter] = scene.load([key]);
                        waiters.push((key, waiter));
                        match batches.last_mut().filter(|keys| keys.len() < most) {
                            Some(keys) => keys.push(key),
                            None => batches.push(vec![key]),
                        }
                    }
                    Step::GiveUp(at) if at < waiters.len() => drop(waiters.swap_remove(at)),
                    Step::GiveUp(_) => {}
                    Step::Run => {
                        scene.hand.run();
                        let full = batches.iter().filter(|keys| keys.len() == most).count();
                        prop_assert_eq!(scene.calls(), asked(batches.drain(..full).collect()));
                    }
                    Step::Pass => {
                        scene.turn();
                        prop_assert_eq!(scene.calls(), asked(mem::take(&mut batches)));
                        for (key, mut waiter) in waiters.drain(..) {
                            prop_assert_eq!(has(&mut waiter), Some(Ok(key * 10)));
                        }
                    }
                }
            }
        }
    }
}
