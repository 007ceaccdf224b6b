//! Sleeping without a runtime: one thread that wakes all who sleep.
//!
//! **Problem.** A load with a timeout sleeps until either is over, and nearly always it is the load: sleeps are many, long, and dropped
//! early. One that is dropped must leave nothing behind, or the memory of a million of them would stay until the last would have ended.
//!
//! ```text
//!   Sleep: deadline 7, number 2 ── polled ──► insert ┐                   ┌─ the timer's thread
//!                                                    ▼                   ▼ waits until 5, or until told of an earlier one
//!      Sleepers, by deadline and number:  (5, 1) ─ (7, 2) ─ (7, 3) ─ (9, 0) ...
//!                                                    ▲
//!   Sleep: dropped ─────────────────────── remove ───┘
//! ```
//!
//! **Invariants**
//!
//! 1. A key stands among the sleepers from the first poll of its `Sleep` that finds the deadline ahead, until it is woken or the `Sleep`
//!    is dropped, whichever comes first. Its waker is that of the last such poll.
//! 2. No two sleeps have the same key: numbers are not used twice.
//! 3. If anyone sleeps and the system gives threads, there is one that waits for the earliest deadline, or is about to.
//! 4. Wakers are cloned, woken and dropped outside the lock: they are code of the user's.
//!
//! | operation | cost, of n that sleep |
//! |---|---|
//! | a sleep that was never polled, or never ends | O(1), no lock |
//! | a poll, the end of a `Sleep` | one lock, O(log n) |
//! | a wake | O(log n) |
//! | memory | two words and a waker for each that sleeps now |

use super::threads::Start;
use crate::caught::caught;
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, Ordering};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// When, and which of those that sleep until then.
type Key = (Instant, u64);

/// Who is to be woken, and when.
#[derive(Default)]
struct Sleepers(BTreeMap<Key, Waker>);

impl Sleepers {
    /// Adds a sleeper, or replaces its waker, which comes back.
    fn insert(&mut self, key: Key, waker: Waker) -> Option<Waker> {
        self.0.insert(key, waker)
    }

    fn remove(&mut self, key: &Key) -> Option<Waker> {
        self.0.remove(key)
    }

    /// Takes out all whose deadline has come, in its order.
    fn due(&mut self, now: Instant) -> Vec<Waker> {
        let mut due = Vec::new();
        while let Some(first) = self.0.first_entry().filter(|first| first.key().0 <= now) {
            due.push(first.remove());
        }
        due
    }

    fn first(&self) -> Option<Key> {
        self.0.first_key_value().map(|(&key, _)| key)
    }
}

/// The thread `cachette-timer`, which is started for the first who sleeps, and ends when the timer is closed and nobody sleeps.
pub(super) struct Timer {
    state: Mutex<State>,
    told: Condvar,
    numbers: AtomicU64,
    start: Start,
}

#[derive(Default)]
struct State {
    sleepers: Sleepers,
    /// There is a thread, or somebody is starting it.
    running: bool,
    closed: bool,
}

impl Timer {
    pub(super) fn new(start: Start) -> Self {
        Self {
            state: Mutex::new(State::default()),
            told: Condvar::new(),
            numbers: AtomicU64::new(0),
            start,
        }
    }

    /// A sleep that begins now. It outlives the timer's closing. It never ends if the clock does not reach that far.
    pub(super) fn sleep(self: &Arc<Self>, duration: Duration) -> Sleep {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let key = Instant::now().checked_add(duration).map(|deadline| (deadline, number));
        Sleep { timer: Arc::clone(self), key, polled: false }
    }

    /// Nobody will begin to sleep any more. Those who do already will be woken in time.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.told.notify_one();
    }

    fn insert(self: &Arc<Self>, key: Key, waker: Waker) {
        let mut state = self.state.lock();
        let replaced = state.sleepers.insert(key, waker);
        let earliest = state.sleepers.first() == Some(key);
        let running = std::mem::replace(&mut state.running, true);
        drop(state);
        drop(replaced);
        if !running {
            self.run();
        } else if earliest {
            self.told.notify_one();
        }
    }

    fn remove(&self, key: &Key) {
        let mut state = self.state.lock();
        let removed = state.sleepers.remove(key);
        let last = state.closed && state.sleepers.first().is_none();
        drop(state);
        drop(removed);
        if last {
            self.told.notify_one();
        }
    }

    /// Starts the thread. If there is none to be had, the next who sleeps tries again.
    fn run(self: &Arc<Self>) {
        let timer = Arc::clone(self);
        if !(self.start)("cachette-timer", Box::new(move || timer.wake_all())) {
            self.state.lock().running = false;
        }
    }

    /// Wakes all who sleep, each in time, until there will be no more of them.
    fn wake_all(&self) {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            let due = state.sleepers.due(now);
            if !due.is_empty() {
                drop(state);
                for waker in due {
                    caught(|| waker.wake());
                }
                state = self.state.lock();
                continue;
            }
            state = match state.sleepers.first() {
                Some((deadline, _)) => {
                    self.told.wait_for(state, deadline.saturating_duration_since(now))
                }
                None if state.closed => {
                    state.running = false;
                    return;
                }
                None => self.told.wait(state),
            };
        }
    }
}

/// Ready once a deadline has passed.
pub(super) struct Sleep {
    timer: Arc<Timer>,
    /// `None` if the deadline is further away than the clock can tell.
    key: Option<Key>,
    /// It may stand among the sleepers.
    polled: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(key) = self.key else { return Poll::Pending };
        if key.0 <= Instant::now() {
            return Poll::Ready(());
        }
        self.polled = true;
        self.timer.insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key.filter(|_| self.polled) {
            self.timer.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::block::block_on;
    use crate::sync::{mpsc, thread};
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::panic::resume_unwind;
    use std::pin::pin;
    use std::task::Wake;

    const HOUR: Duration = Duration::from_secs(3_600);

    thread_local! {
        static NO_THREADS: Cell<bool> = const { Cell::new(false) };
        static STARTED: Cell<u32> = const { Cell::new(0) };
    }

    fn start(name: &str, run: Box<dyn FnOnce() + Send>) -> bool {
        if NO_THREADS.get() {
            return false;
        }
        STARTED.set(STARTED.get() + 1);
        thread::Builder::new().name(name.to_string()).spawn(run).is_ok()
    }

    fn timer() -> Arc<Timer> {
        Arc::new(Timer::new(start))
    }

    /// Whoever it wakes is told to the other end.
    struct Bell(u64, mpsc::Sender<u64>);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            let _ = self.1.send(self.0);
        }
    }

    fn bell(number: u64, told: &mpsc::Sender<u64>) -> Waker {
        Waker::from(Arc::new(Bell(number, told.clone())))
    }

    fn sleeping(timer: &Timer) -> usize {
        timer.state.lock().sleepers.0.len()
    }

    fn poll(sleep: &mut Pin<Box<Sleep>>, waker: &Waker) -> bool {
        sleep.as_mut().poll(&mut Context::from_waker(waker)).is_ready()
    }

    /// Waits until only this many own the timer: its thread is one of them.
    fn await_owners(timer: &Arc<Timer>, owners: usize) {
        while Arc::strong_count(timer) != owners {
            thread::yield_now();
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64, u64),
        Remove(usize),
        Replace(usize),
        Due(u64),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            3 => (0..20_u64, 0..3_u64).prop_map(|(at, sub)| Op::Insert(at, sub)),
            1 => any::<usize>().prop_map(Op::Remove),
            1 => any::<usize>().prop_map(Op::Replace),
            1 => (0..20_u64).prop_map(Op::Due),
        ];
        prop::collection::vec(op, 0..60)
    }

    proptest! {
        #[test]
        fn who_is_due_is_who_a_plain_list_says(ops in ops()) {
            let base = Instant::now();
            let key = |at: u64, sub: u64, number: u64| {
                (base + Duration::from_secs(at) + Duration::from_nanos(sub), number)
            };
            let (told, heard) = mpsc::channel();
            let mut sleepers = Sleepers::default();
            // In order of insertion: key, and what its waker tells.
            let mut oracle: Vec<(Key, u64)> = Vec::new();
            for (number, op) in (0..).zip(ops) {
                match op {
                    Op::Insert(at, sub) => {
                        let key = key(at, sub, number);
                        prop_assert!(sleepers.insert(key, bell(number, &told)).is_none());
                        oracle.push((key, number));
                    }
                    Op::Remove(at) if !oracle.is_empty() => {
                        let (key, tells) = oracle.remove(at % oracle.len());
                        sleepers.remove(&key).expect("it sleeps").wake();
                        prop_assert_eq!(heard.try_recv(), Ok(tells));
                        prop_assert!(sleepers.remove(&key).is_none());
                    }
                    Op::Replace(at) if !oracle.is_empty() => {
                        let at = at % oracle.len();
                        let (key, tells) = oracle[at];
                        sleepers.insert(key, bell(number, &told)).expect("it sleeps").wake();
                        prop_assert_eq!(heard.try_recv(), Ok(tells));
                        oracle[at].1 = number;
                    }
                    Op::Due(at) => {
                        let now = base + Duration::from_secs(at);
                        let (mut due, later): (Vec<_>, Vec<_>) =
                            oracle.into_iter().partition(|(key, _)| key.0 <= now);
                        due.sort_unstable();
                        oracle = later;
                        sleepers.due(now).into_iter().for_each(Waker::wake);
                        let woken: Vec<_> = heard.try_iter().collect();
                        let expected: Vec<_> = due.into_iter().map(|(_, tells)| tells).collect();
                        prop_assert_eq!(woken, expected);
                    }
                    Op::Remove(_) | Op::Replace(_) => {}
                }
                prop_assert_eq!(sleepers.first(), oracle.iter().map(|&(key, _)| key).min());
                prop_assert_eq!(sleepers.0.len(), oracle.len());
            }
        }
    }

    #[test]
    fn no_time_is_over_at_once_and_too_much_never() {
        let timer = timer();
        block_on(timer.sleep(Duration::ZERO));
        let mut never = Box::pin(timer.sleep(Duration::MAX));
        assert!(!poll(&mut never, Waker::noop()));
        let unpolled = [timer.sleep(HOUR), timer.sleep(HOUR)];
        let numbers = unpolled.map(|sleep| sleep.key.map(|(_, number)| number));
        assert_eq!(numbers, [Some(2), Some(3)], "all are different, whatever the clock says");
        assert_eq!((sleeping(&timer), STARTED.get()), (0, 0), "none of them needs the thread");
    }

    #[test]
    fn what_is_due_is_woken_by_the_thread() {
        let (timer, (told, heard)) = (timer(), mpsc::channel());
        let mut long = Box::pin(timer.sleep(HOUR));
        assert!(!poll(&mut long, Waker::noop()));
        // Earlier than the one that the thread waits for.
        for number in 10..20 {
            timer.insert((Instant::now(), number), bell(number, &told));
            assert_eq!(heard.recv(), Ok(number));
        }
        assert_eq!((sleeping(&timer), STARTED.get()), (1, 1));
        block_on(timer.sleep(Duration::from_millis(1)));
    }

    #[test]
    fn a_sleep_that_is_dropped_leaves_nothing() {
        let (timer, (told, heard)) = (timer(), mpsc::channel());
        let wakers: Vec<_> = (0..100).map(|number| Arc::new(Bell(number, told.clone()))).collect();
        let mut sleeps: Vec<_> = wakers.iter().map(|_| Box::pin(timer.sleep(HOUR))).collect();
        for (sleep, waker) in sleeps.iter_mut().zip(&wakers) {
            assert!(!poll(sleep, &Waker::from(Arc::clone(waker))));
        }
        assert_eq!((sleeping(&timer), STARTED.get()), (100, 1));
        sleeps.truncate(1);
        assert_eq!(sleeping(&timer), 1);
        drop(sleeps);
        assert_eq!(sleeping(&timer), 0);
        assert!(wakers.iter().all(|waker| Arc::strong_count(waker) == 1));
        assert!(heard.try_recv().is_err(), "nobody was woken");
    }

    #[test]
    fn the_waker_of_the_last_poll_counts() {
        let (timer, (told, _heard)) = (timer(), mpsc::channel());
        let wakers = [0, 1].map(|number| Arc::new(Bell(number, told.clone())));
        let mut sleep = Box::pin(timer.sleep(HOUR));
        for waker in &wakers {
            assert!(!poll(&mut sleep, &Waker::from(Arc::clone(waker))));
        }
        assert_eq!(wakers.map(|waker| Arc::strong_count(&waker)), [1, 2]);
        assert_eq!(sleeping(&timer), 1);
    }

    #[test]
    fn a_timer_that_is_closed_ends_with_the_last_who_sleeps() {
        let (timer, (told, heard)) = (timer(), mpsc::channel());
        let mut sleeps = [HOUR, HOUR, HOUR].map(|hour| Box::pin(timer.sleep(hour)));
        assert!(!poll(&mut sleeps[0], Waker::noop()) && !poll(&mut sleeps[1], Waker::noop()));
        timer.close();
        timer.insert((Instant::now(), 10), bell(10, &told));
        assert_eq!(heard.recv(), Ok(10), "it goes on");
        let [first, second, mut third] = sleeps;
        drop(first);
        assert!(timer.state.lock().running);
        drop(second);
        await_owners(&timer, 2);
        // It was made before, and is polled first when the thread has ended.
        assert!(!poll(&mut third, Waker::noop()));
        assert_eq!(STARTED.get(), 2);
        drop(third);
        await_owners(&timer, 1);
    }

    #[test]
    fn closing_ends_a_thread_for_whom_nobody_sleeps() {
        let (timer, (told, heard)) = (timer(), mpsc::channel());
        // Until then it stays, though now and then nobody sleeps.
        for number in 10..1_000 {
            timer.insert((Instant::now(), number), bell(number, &told));
            assert_eq!(heard.recv(), Ok(number));
        }
        timer.close();
        await_owners(&timer, 1);
        assert_eq!(STARTED.get(), 1);
    }

    #[test]
    fn without_a_thread_the_next_sleep_tries_again() {
        let (timer, (told, heard)) = (timer(), mpsc::channel());
        NO_THREADS.set(true);
        timer.insert((Instant::now(), 10), bell(10, &told));
        assert_eq!((sleeping(&timer), STARTED.get()), (1, 0));
        NO_THREADS.set(false);
        let mut sleep = Box::pin(timer.sleep(HOUR));
        assert!(!poll(&mut sleep, Waker::noop()));
        assert_eq!((heard.recv(), STARTED.get()), (Ok(10), 1));
    }

    #[test]
    fn c4_wakers_may_panic_and_may_sleep() {
        /// Does what must not be done under the timer's lock: when it is woken, and when it is dropped.
        struct Rude(Arc<Timer>, mpsc::Sender<u64>);
        impl Rude {
            fn sleep(&self) {
                assert!(
                    pin!(self.0.sleep(HOUR))
                        .poll(&mut Context::from_waker(Waker::noop()))
                        .is_pending()
                );
            }
        }
        impl Wake for Rude {
            fn wake(self: Arc<Self>) {
                self.sleep();
                let _ = self.1.send(1);
                resume_unwind(Box::new("a waker fails"));
            }
        }
        impl Drop for Rude {
            fn drop(&mut self) {
                self.sleep();
                let _ = self.1.send(2);
            }
        }
        let (timer, (told, heard)) = (timer(), mpsc::channel());
        let rude = || Waker::from(Arc::new(Rude(Arc::clone(&timer), told.clone())));
        let mut sleep = Box::pin(timer.sleep(HOUR));
        // Replaced, and then removed.
        assert!(!poll(&mut sleep, &rude()) && !poll(&mut sleep, &rude()));
        drop(sleep);
        assert_eq!([heard.recv(), heard.recv()], [Ok(2), Ok(2)]);
        // Woken, and the timer goes on.
        timer.insert((Instant::now(), 10), rude());
        assert_eq!([heard.recv(), heard.recv()], [Ok(1), Ok(2)]);
        timer.insert((Instant::now(), 11), bell(11, &told));
        assert_eq!((heard.recv(), STARTED.get()), (Ok(11), 1));
    }
}
