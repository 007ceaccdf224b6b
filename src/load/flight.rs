//! One load that many wait for.
//!
//! **Problem.** While one caller loads a key, the others that want it must hear how that ends, each exactly once, whether they
//! are threads or tasks, and whether they come before or after; and one that gives up must leave nothing behind.
//!
//! ```text
//!   Flying                                     settle, once              Ended
//!   seat      0        1        2         ───────────────────▶           Landed(entry) | Failed(error) | Abandoned
//!             waker    -        waker     every waker is called          a join hears a copy, at once, any number of times
//!   free    [ 1 ]                         after the unlock
//! ```
//!
//! **Invariants**
//!
//! 1. A flight ends once, and its landing never changes.
//! 2. While it flies, a seat is empty if and only if its number is in `free`, where it is once.
//! 3. While it flies, every taken seat is that of one live [`Join`], and holds the waker of that join's last poll.
//! 4. A flight that has ended has no seats.
//! 5. No waker is cloned, called or dropped under the lock, and no landing is dropped there.
//!
//! | operation | cost |
//! |---|---|
//! | `new`, `join` | O(1); `join` allocates nothing |
//! | a poll or a drop of a `Join` | O(1), amortised when a seat is added |
//! | `settle` | O(joiners), outside the lock |
//!
//! A trace, which a test replays. A, B and C join and are polled: seats 0, 1, 2. B is dropped: `free` is `[1]`. D is polled: it
//! takes seat 1. C is polled with another waker: seat 2 changes hands. `settle` calls the wakers of A, D and the second of C.

use crate::caught::caught;
use crate::sync::{Arc, Mutex, fixed};
use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Identities are never reused: 64 bits last for centuries.
static NEXT_ID: fixed::AtomicU64 = fixed::AtomicU64::new(0);

/// How a flight ended, as its joiners hear it.
#[derive(Clone, Debug)]
pub(crate) enum Landing<T> {
    /// The loader gave a value.
    Landed(T),
    /// The loader failed. Joiners look in the box for an error of their own type.
    Failed(Arc<dyn Any + Send + Sync>),
    /// The leader was cancelled or panicked: somebody else must lead.
    Abandoned,
}

/// The wakers of those who wait.
#[derive(Default)]
struct Seats {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Seats {
    /// Puts `waker` into `seat`, or into a new one if that is `None`. Gives back the waker that sat there.
    fn put(&mut self, seat: &mut Option<usize>, waker: Waker) -> Option<Waker> {
        if let Some(index) = *seat {
            return self.wakers[index].replace(waker);
        }
        let index = self.free.pop().unwrap_or(self.wakers.len());
        *seat = Some(index);
        if index < self.wakers.len() {
            return self.wakers[index].replace(waker);
        }
        self.wakers.push(Some(waker));
        None
    }

    fn leave(&mut self, seat: usize) -> Option<Waker> {
        self.free.push(seat);
        self.wakers[seat].take()
    }

    #[cfg(test)]
    fn assert_valid(&self) {
        let mut free = self.free.clone();
        free.sort_unstable();
        let empty: Vec<_> =
            (0..self.wakers.len()).filter(|&seat| self.wakers[seat].is_none()).collect();
        assert_eq!(free, empty, "the empty seats are the free ones");
    }
}

enum State<T> {
    Flying(Seats),
    Ended(Landing<T>),
}

/// One load, by whoever leads it, and those who have joined.
///
/// `T` is cloned under the flight's lock, so its `Clone` must not be user code.
pub(crate) struct Flight<T> {
    id: u64,
    /// If its error is kept: until when. Written before its end.
    kept: fixed::AtomicU64,
    /// How many flights for the same failed in a row before this one.
    failures: fixed::AtomicU64,
    state: Mutex<State<T>>,
}

impl<T: Clone> Flight<T> {
    pub(crate) fn new() -> Arc<Self> {
        let id = NEXT_ID.fetch_add(1, fixed::Ordering::Relaxed);
        Arc::new(Self {
            id,
            kept: fixed::AtomicU64::new(0),
            failures: fixed::AtomicU64::new(0),
            state: Mutex::new(State::Flying(Seats::default())),
        })
    }

    /// The error that it is about to end with stands until then.
    pub(crate) fn keep_until(&self, until: u64) {
        self.kept.store(until, fixed::Ordering::Release);
    }

    /// Until when its error stands; `None` while it flies, and if it is not kept.
    pub(crate) fn kept_until(&self) -> Option<u64> {
        Some(self.kept.load(fixed::Ordering::Acquire)).filter(|&until| until != 0)
    }

    /// It follows this one, which has failed.
    pub(crate) fn follow(&self, failed: &Self) {
        self.failures.store(failed.failures().saturating_add(1), fixed::Ordering::Relaxed);
    }

    /// How many flights for the same failed in a row before this one.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(fixed::Ordering::Relaxed)
    }

    /// This flight's identity, unlike that of any other in the process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Ends the flight and wakes every joiner; says whether it had not ended before. If it had, `landing` is dropped.
    pub(crate) fn settle(&self, landing: Landing<T>) -> bool {
        let seats = {
            let mut state = self.state.lock();
            let State::Flying(seats) = &mut *state else { return false };
            let seats = std::mem::take(seats);
            *state = State::Ended(landing);
            seats
        };
        for waker in seats.wakers.into_iter().flatten() {
            // A panic of it must not keep those behind it in the queue waiting.
            caught(|| waker.wake());
        }
        true
    }

    /// A future of how the flight ends. Threads block on it, tasks await it.
    pub(crate) fn join(self: &Arc<Self>) -> Join<T> {
        Join { flight: Arc::clone(self), seat: None }
    }

    /// How many joiners wait now.
    #[cfg(test)]
    pub(crate) fn joiners(&self) -> usize {
        match &*self.state.lock() {
            State::Flying(seats) => {
                seats.assert_valid();
                seats.wakers.len() - seats.free.len()
            }
            State::Ended(_) => 0,
        }
    }
}

/// A wait for the end of a flight. Once that has come, every poll is ready.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Join<T> {
    flight: Arc<Flight<T>>,
    /// Where its waker is, from its first poll to the end it hears.
    seat: Option<usize>,
}

impl<T: Clone> Future for Join<T> {
    type Output = Landing<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Landing<T>> {
        let join = self.get_mut();
        // Cloned before the lock, and the one it replaces dropped after it: both are the executor's code.
        let waker = context.waker().clone();
        let _replaced = {
            let mut state = join.flight.state.lock();
            match &mut *state {
                State::Flying(seats) => seats.put(&mut join.seat, waker),
                State::Ended(landing) => {
                    join.seat = None;
                    return Poll::Ready(landing.clone());
                }
            }
        };
        Poll::Pending
    }
}

impl<T> Drop for Join<T> {
    fn drop(&mut self) {
        let Some(seat) = self.seat else { return };
        let _left = match &mut *self.flight.state.lock() {
            State::Flying(seats) => seats.leave(seat),
            State::Ended(_) => None,
        };
    }
}

#[cfg(test)]
#[cfg(not(cachette_loom))]
mod tests {
    use super::*;
    use crate::load::block::block_on;
    use crate::sync::{AtomicU64, Ordering, Weak, mpsc, thread};
    use std::collections::BTreeSet;
    use std::panic::{panic_any, resume_unwind};
    use std::task::Wake;

    /// A waker that counts. Its strong count tells who still holds it.
    #[derive(Default)]
    struct Count {
        wakes: AtomicU64,
    }

    impl Count {
        fn wakes(&self) -> u64 {
            self.wakes.load(Ordering::Acquire)
        }
    }

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.wakes.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn counts<const N: usize>() -> [Arc<Count>; N] {
        std::array::from_fn(|_| Arc::default())
    }

    fn poll_by<T: Clone>(
        join: &mut Join<T>,
        waker: &Arc<impl Wake + Send + Sync + 'static>,
    ) -> Poll<Landing<T>> {
        let waker = Waker::from(Arc::clone(waker));
        Pin::new(join).poll(&mut Context::from_waker(&waker))
    }

    fn value<T>(landing: Poll<Landing<T>>) -> Option<T> {
        match landing {
            Poll::Ready(Landing::Landed(value)) => Some(value),
            _ => None,
        }
    }

    #[test]
    fn the_trace_above() {
        let flight = Flight::new();
        let [by_a, by_b, by_c, by_d, by_c_again] = counts();
        let (mut a, mut b, mut c, mut d) =
            (flight.join(), flight.join(), flight.join(), flight.join());
        for (join, count) in [(&mut a, &by_a), (&mut b, &by_b), (&mut c, &by_c)] {
            assert!(poll_by(join, count).is_pending());
        }
        assert_eq!((a.seat, b.seat, c.seat), (Some(0), Some(1), Some(2)));
        drop(b);
        assert_eq!((flight.joiners(), Arc::strong_count(&by_b)), (2, 1));
        assert!(poll_by(&mut d, &by_d).is_pending());
        assert_eq!(d.seat, Some(1));
        assert!(poll_by(&mut c, &by_c_again).is_pending());
        assert_eq!((c.seat, flight.joiners(), Arc::strong_count(&by_c)), (Some(2), 3, 1));
        assert!(flight.settle(Landing::Landed("value")));
        assert_eq!(
            [&by_a, &by_b, &by_c, &by_d, &by_c_again].map(|count| count.wakes()),
            [1, 0, 0, 1, 1]
        );
        for count in [&by_a, &by_b, &by_c, &by_d, &by_c_again] {
            assert_eq!(Arc::strong_count(count), 1, "an ended flight holds no waker");
        }
        for join in [&mut a, &mut c, &mut d] {
            assert_eq!(value(poll_by(join, &by_a)), Some("value"));
            assert_eq!((join.seat, flight.joiners()), (None, 0));
        }
    }

    #[test]
    fn who_joins_after_the_end_hears_it_at_once_and_again() {
        let flight = Flight::new();
        assert!(flight.settle(Landing::Landed(7)));
        let [count] = counts();
        let mut join = flight.join();
        assert_eq!(value(poll_by(&mut join, &count)), Some(7));
        assert_eq!(value(poll_by(&mut join, &count)), Some(7));
        assert_eq!(value(Poll::Ready(block_on(flight.join()))), Some(7));
        assert_eq!((count.wakes(), Arc::strong_count(&count)), (0, 1));
    }

    #[test]
    fn a_flight_ends_once() {
        let flight = Flight::new();
        let [count] = counts();
        let mut join = flight.join();
        assert!(poll_by(&mut join, &count).is_pending());
        let (first, second) = (Arc::new(1), Arc::new(2));
        assert!(flight.settle(Landing::Landed(Arc::clone(&first))));
        assert!(!flight.settle(Landing::Landed(Arc::clone(&second))));
        assert!(!flight.settle(Landing::Abandoned));
        assert_eq!(
            (count.wakes(), Arc::strong_count(&first), Arc::strong_count(&second)),
            (1, 2, 1)
        );
        assert_eq!(value(poll_by(&mut join, &count)), Some(first));
    }

    #[test]
    fn an_error_is_found_by_its_type() {
        let flight = Flight::<()>::new();
        let error = Arc::new(String::from("no such row"));
        assert!(flight.settle(Landing::Failed(error.clone())));
        for _ in 0..2 {
            let Landing::Failed(shared) = block_on(flight.join()) else { panic!("it failed") };
            assert!(Arc::clone(&shared).downcast::<u8>().is_err());
            assert!(shared.downcast::<String>().is_ok_and(|shared| Arc::ptr_eq(&shared, &error)));
        }
        let flight = Flight::<()>::new();
        assert!(flight.settle(Landing::Abandoned));
        assert!(matches!(block_on(flight.join()), Landing::Abandoned));
    }

    #[test]
    fn no_two_flights_have_one_id() {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                thread::spawn(|| (0..100).map(|_| Flight::<()>::new().id()).collect::<Vec<_>>())
            })
            .collect();
        let ids: BTreeSet<_> =
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ids.len(), 400);
        let flight = Flight::<()>::new();
        assert_eq!(flight.id(), flight.id());
    }

    /// A task of an executor that is a channel: its waker sends its number.
    struct Task(usize, mpsc::Sender<usize>);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            // Nobody is left to poll it once the executor has ended.
            let _ = self.1.send(self.0);
        }
    }

    /// Runs `joins` on this thread until all have ended.
    fn run_tasks<T: Clone>(mut joins: Vec<Join<T>>) -> Vec<Landing<T>> {
        let (sender, woken) = mpsc::channel();
        let mut landings: Vec<Option<Landing<T>>> = joins.iter().map(|_| None).collect();
        (0..joins.len()).for_each(|task| sender.send(task).unwrap());
        while landings.iter().any(Option::is_none) {
            let task = woken.recv().unwrap();
            if let Poll::Ready(landing) =
                poll_by(&mut joins[task], &Arc::new(Task(task, sender.clone())))
            {
                landings[task] = Some(landing);
            }
        }
        landings.into_iter().flatten().collect()
    }

    #[test]
    fn l1_threads_and_tasks_hear_one_landing() {
        for late in [0, 3] {
            let flight = Flight::new();
            let value = Arc::new("value");
            let landings = thread::scope(|scope| {
                let tasks = scope.spawn(|| run_tasks((0..5).map(|_| flight.join()).collect()));
                let threads: Vec<_> =
                    (0..3).map(|_| scope.spawn(|| block_on(flight.join()))).collect();
                while flight.joiners() < 8 - late {
                    thread::yield_now();
                }
                assert!(flight.settle(Landing::Landed(Arc::clone(&value))));
                let mut landings = tasks.join().unwrap();
                landings.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
                landings
            });
            assert_eq!(landings.len(), 8);
            for landing in landings {
                assert!(matches!(landing, Landing::Landed(heard) if Arc::ptr_eq(&heard, &value)));
            }
        }
    }

    #[test]
    fn l5_a_joiner_that_gives_up_leaves_nothing_behind() {
        let flight = Flight::<()>::new();
        let [count, other] = counts();
        let mut stays = flight.join();
        assert!(poll_by(&mut stays, &other).is_pending());
        for _ in 0..100 {
            let mut first = flight.join();
            let mut second = flight.join();
            assert!(
                poll_by(&mut first, &count).is_pending()
                    && poll_by(&mut second, &count).is_pending()
            );
            assert_eq!((flight.joiners(), Arc::strong_count(&count)), (3, 3));
            drop(first);
            assert_eq!((flight.joiners(), Arc::strong_count(&count)), (2, 2));
            drop(second);
            drop(flight.join());
            assert_eq!((flight.joiners(), Arc::strong_count(&count)), (1, 1));
        }
        assert!(matches!(&*flight.state.lock(), State::Flying(seats) if seats.wakers.len() == 3));
        assert_eq!(Arc::strong_count(&flight), 2);
        assert!(flight.settle(Landing::Abandoned));
        drop(stays);
        assert_eq!((count.wakes(), other.wakes(), Arc::strong_count(&flight)), (0, 1, 1));
    }

    /// A waker whose call panics with something whose drop panics.
    struct Bomb(Arc<Count>);

    struct Shrapnel;

    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            self.0.wake_by_ref();
            panic_any(Shrapnel);
        }
    }

    impl Drop for Shrapnel {
        fn drop(&mut self) {
            // Without the hook, so without noise.
            resume_unwind(Box::new("shrapnel"));
        }
    }

    #[test]
    fn c5_a_waker_that_panics_keeps_nobody_asleep() {
        let flight = Flight::new();
        let [before, bomb, after] = counts();
        let mut joins = [flight.join(), flight.join(), flight.join()];
        assert!(poll_by(&mut joins[0], &before).is_pending());
        assert!(poll_by(&mut joins[1], &Arc::new(Bomb(Arc::clone(&bomb)))).is_pending());
        assert!(poll_by(&mut joins[2], &after).is_pending());
        assert!(flight.settle(Landing::Landed(1)));
        assert_eq!((before.wakes(), bomb.wakes(), after.wakes()), (1, 1, 1));
        for join in &mut joins {
            assert_eq!(value(poll_by(join, &before)), Some(1));
        }
    }

    #[test]
    fn c5_a_panicking_leader_may_settle_past_a_panicking_waker() {
        struct Leader(Arc<Flight<()>>);
        impl Drop for Leader {
            fn drop(&mut self) {
                self.0.settle(Landing::Abandoned);
            }
        }
        let flight = Flight::new();
        let [bomb, after] = counts();
        let mut joins = [flight.join(), flight.join()];
        assert!(poll_by(&mut joins[0], &Arc::new(Bomb(Arc::clone(&bomb)))).is_pending());
        assert!(poll_by(&mut joins[1], &after).is_pending());
        let leader = Leader(Arc::clone(&flight));
        let led = thread::spawn(move || {
            let _leader = leader;
            panic!("the loader fails");
        });
        assert!(led.join().is_err());
        assert_eq!((bomb.wakes(), after.wakes()), (1, 1));
        assert!(matches!(poll_by(&mut joins[1], &after), Poll::Ready(Landing::Abandoned)));
    }

    /// A waker that uses the flight when called and when dropped: it would hang under the flight's lock.
    struct Nosy {
        flight: Weak<Flight<Arc<Self>>>,
        looks: Arc<AtomicU64>,
    }

    impl Nosy {
        fn look(&self) {
            if let Some(flight) = self.flight.upgrade() {
                flight.joiners();
                self.looks.fetch_add(1, Ordering::AcqRel);
            }
        }
    }

    impl Wake for Nosy {
        fn wake(self: Arc<Self>) {
            self.look();
        }
    }

    impl Drop for Nosy {
        fn drop(&mut self) {
            self.look();
        }
    }

    #[test]
    fn wakers_and_landings_may_use_the_flight() {
        let flight = Flight::new();
        let looks = Arc::default();
        let nosy = || Arc::new(Nosy { flight: Arc::downgrade(&flight), looks: Arc::clone(&looks) });
        let looked = || looks.swap(0, Ordering::AcqRel);
        let (mut stays, mut leaves) = (flight.join(), flight.join());
        assert!(
            poll_by(&mut stays, &nosy()).is_pending() && poll_by(&mut leaves, &nosy()).is_pending()
        );
        assert_eq!(looked(), 0);
        assert!(poll_by(&mut stays, &nosy()).is_pending());
        assert_eq!(looked(), 1, "the replaced waker was dropped");
        drop(leaves);
        assert_eq!(looked(), 1, "the leaver's was dropped");
        assert!(flight.settle(Landing::Abandoned));
        assert_eq!(looked(), 2, "the last was called, then dropped");
        assert!(!flight.settle(Landing::Landed(nosy())));
        assert_eq!(looked(), 1, "the landing that came too late was dropped");
        assert!(poll_by(&mut stays, &nosy()).is_ready());
        assert_eq!(looked(), 1, "a waker that was not needed was dropped");
    }
}

/// Every interleaving of a few threads. The model fails if a thread sleeps for ever.
#[cfg(test)]
#[cfg(cachette_loom)]
mod models {
    use super::*;
    use crate::load::block::block_on;
    use crate::sync::thread;
    use loom::model;

    fn value<T>(landing: Landing<T>) -> Option<T> {
        match landing {
            Landing::Landed(value) => Some(value),
            Landing::Failed(_) | Landing::Abandoned => None,
        }
    }

    fn joiner(flight: &Arc<Flight<u8>>) -> thread::JoinHandle<Option<u8>> {
        let flight = Arc::clone(flight);
        thread::spawn(move || value(block_on(flight.join())))
    }

    #[test]
    fn loom_a_landing_reaches_every_joiner() {
        model(|| {
            let flight = Flight::new();
            let joiners = [joiner(&flight), joiner(&flight)];
            assert!(flight.settle(Landing::Landed(7)));
            for joiner in joiners {
                assert_eq!(joiner.join().unwrap(), Some(7));
            }
            assert_eq!(flight.joiners(), 0);
        });
    }

    #[test]
    fn loom_one_joiner_gives_up_while_another_waits() {
        model(|| {
            let flight = Flight::new();
            let waits = joiner(&flight);
            let leaver = Arc::clone(&flight);
            let leaves = thread::spawn(move || {
                let mut join = leaver.join();
                match Pin::new(&mut join).poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(landing) => value(landing) == Some(7),
                    Poll::Pending => true,
                }
            });
            assert!(flight.settle(Landing::Landed(7)));
            assert_eq!(waits.join().unwrap(), Some(7));
            assert!(leaves.join().unwrap());
        });
    }

    #[test]
    fn loom_a_seat_that_was_left_is_taken_by_another() {
        model(|| {
            let flight = Flight::new();
            let mut leaves = flight.join();
            assert!(
                Pin::new(&mut leaves).poll(&mut Context::from_waker(Waker::noop())).is_pending()
            );
            let waits = joiner(&flight);
            let leader = Arc::clone(&flight);
            let leads = thread::spawn(move || leader.settle(Landing::Landed(7)));
            drop(leaves);
            assert_eq!(waits.join().unwrap(), Some(7));
            assert!(leads.join().unwrap());
        });
    }

    #[test]
    fn loom_a_join_that_changes_its_waker_is_woken() {
        model(|| {
            let flight = Flight::new();
            let leader = Arc::clone(&flight);
            let leads = thread::spawn(move || leader.settle(Landing::Landed(7)));
            let mut join = flight.join();
            // First polled by a task that is not there any more.
            let _ = Pin::new(&mut join).poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(value(block_on(join)), Some(7));
            assert!(leads.join().unwrap());
        });
    }

    #[test]
    fn loom_of_two_ends_one_counts() {
        model(|| {
            let flight = Flight::new();
            let waits = joiner(&flight);
            let other = Arc::clone(&flight);
            let ends = thread::spawn(move || other.settle(Landing::Landed(1)));
            let here = flight.settle(Landing::Landed(2));
            let there = ends.join().unwrap();
            assert!(here != there);
            assert_eq!(waits.join().unwrap(), Some(if here { 2 } else { 1 }));
        });
    }
}
