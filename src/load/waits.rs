//! Who waits for whom: the detection of loads that would wait for themselves.
//!
//! **Problem.** A loader may load other keys. If what it waits for waits, through any chain of flights on any threads, for
//! what it is about to load, nobody would ever end. The one who would close the ring must learn it instead of waiting.
//!
//! ```text
//!   this thread's stack          the graph of all threads
//!
//!   [ 4, 7 ]                     4 ──▶ 9 ◀── 7        flight 7's loader, run by flight 4's, waits for flight 9
//!   4's loader runs 7's          9 ──▶ 2              on some other thread, 9's loader waits for 2
//!                                2 ──▶ 4 ?            2's loader may not: 4 ▶ 9 ▶ 2 would become a ring
//! ```
//!
//! **Invariants**
//!
//! 1. A thread's stack holds the flights whose loaders are being run or polled on it now, the innermost last.
//! 2. The graph holds an edge a `Waiting` and flight of its stack: from that flight to the one waited for. Equal edges are counted.
//! 3. The graph has no ring: an edge is looked at and added in one critical section.
//!
//! | operation | cost |
//! |---|---|
//! | `enter`, its end | O(1), no lock, for a stack as deep as loaders are nested |
//! | `Nested`, its end | O(its flights), no lock |
//! | `wait_for` outside loaders | O(1), no lock |
//! | `wait_for` in a loader | one process-wide lock, O(edges reachable from the flight, each at O(log edges + depth of the stack)) |
//! | the end of a `Waiting` | the same lock, O(depth of the stack) at O(log edges) |
//!
//! What is not seen: a task that a loader spawned, for its polls are not inside the loader's. What is seen wrongly: a loader
//! that blocks its thread on an executor which polls unrelated tasks there; they count as its own.

use crate::sync::{fixed, per_thread};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::pin;

per_thread! {
    static RUNNING: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

static WAITS: fixed::Mutex<Graph> = fixed::Mutex::new(Graph::new());

/// The wait would never end: a flight would wait for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recursive;

/// Which flight waits for which, and how many times over.
struct Graph {
    edges: BTreeMap<(u64, u64), usize>,
}

impl Graph {
    const fn new() -> Self {
        Self { edges: BTreeMap::new() }
    }

    fn add(&mut self, from: u64, to: u64) {
        *self.edges.entry((from, to)).or_insert(0) += 1;
    }

    fn remove(&mut self, from: u64, to: u64) {
        if let Some(count) = self.edges.get_mut(&(from, to)) {
            *count -= 1;
            if *count == 0 {
                self.edges.remove(&(from, to));
            }
        }
    }

    /// Whether `from` is, or waits through any chain for, one of `goals`. Chains may be long, so it does
    /// not recurse.
    fn reaches(&self, from: u64, goals: &[u64]) -> bool {
        let mut seen = BTreeSet::from([from]);
        let mut left = vec![from];
        while let Some(at) = left.pop() {
            if goals.contains(&at) {
                return true;
            }
            let next = self.edges.range((at, 0)..=(at, u64::MAX)).map(|(&(_, to), _)| to);
            left.extend(next.filter(|&to| seen.insert(to)));
        }
        false
    }
}

/// While it lives, a flight counts as running on the thread that made it.
#[must_use = "the flight runs until this is dropped"]
pub(crate) struct Entered {
    flight: u64,
    /// It must be dropped on the thread whose stack it is on.
    stays: PhantomData<*const ()>,
}

/// Marks `flight` as running on this thread, inside those that already are.
pub(crate) fn enter(flight: u64) -> Entered {
    // A thread that is ending has no stack any more: what it still loads is not watched.
    let _ = RUNNING.try_with(|running| running.borrow_mut().push(flight));
    Entered { flight, stays: PhantomData }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let _ = RUNNING.try_with(|running| {
            let mut running = running.borrow_mut();
            // The last but for guards dropped out of order.
            if let Some(at) = running.iter().rposition(|&flight| flight == self.flight) {
                running.remove(at);
            }
        });
    }
}

/// Runs the loader `inner` of `flight`: every poll of it is inside [`enter`].
pub(crate) async fn led<F: Future>(flight: u64, inner: F) -> F::Output {
    let mut inner = pin!(inner);
    poll_fn(|context| {
        let _running = enter(flight);
        inner.as_mut().poll(context)
    })
    .await
}

/// Flights that run on this thread all at once, for the loader of a batch is the loader of each. They leave together.
#[must_use = "the flights run until this is dropped"]
pub(crate) struct Nested(Vec<Entered>);

impl Nested {
    /// Marks `flights` as running on this thread.
    pub(crate) fn of(flights: impl IntoIterator<Item = u64>) -> Self {
        Self(flights.into_iter().map(enter).collect())
    }

    /// One more.
    pub(crate) fn enter(&mut self, flight: u64) {
        self.0.push(enter(flight));
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        // The innermost first: a vector would begin with the outermost, and look for each through all the others.
        while self.0.pop().is_some() {}
    }
}

/// Runs the one loader `inner` of many flights: every poll of it is inside [`Nested`].
pub(crate) async fn led_all<F: Future>(flights: &[u64], inner: F) -> F::Output {
    let mut inner = pin!(inner);
    poll_fn(|context| {
        let _running = Nested::of(flights.iter().copied());
        inner.as_mut().poll(context)
    })
    .await
}

/// While it lives, the flights that ran when it was made wait for another.
#[must_use = "the wait is forgotten when this is dropped"]
#[derive(Debug)]
pub(crate) struct Waiting {
    waiters: Vec<u64>,
    flight: u64,
}

/// Notes that the flights that run on this thread are about to wait for `flight`.
///
/// # Errors
///
/// [`Recursive`] if `flight` is one of them or waits, through any chain of flights, for one of them.
pub(crate) fn wait_for(flight: u64) -> Result<Waiting, Recursive> {
    let waiters = RUNNING.try_with(|running| running.borrow().clone()).unwrap_or_default();
    if !waiters.is_empty() {
        let mut waits = WAITS.lock();
        if waits.reaches(flight, &waiters) {
            return Err(Recursive);
        }
        for &waiter in &waiters {
            waits.add(waiter, flight);
        }
    }
    Ok(Waiting { waiters, flight })
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.waiters.is_empty() {
            let mut waits = WAITS.lock();
            for &waiter in &self.waiters {
                waits.remove(waiter, self.flight);
            }
        }
    }
}

/// How many edges touch `flight`: other tests of the process have their own in the graph.
#[cfg(test)]
pub(crate) fn edges_of(flight: u64) -> usize {
    let waits = WAITS.lock();
    let touching = waits.edges.iter().filter(|((from, to), _)| *from == flight || *to == flight);
    touching.map(|(_, count)| count).sum()
}

#[cfg(test)]
#[cfg(not(cachette_loom))]
mod tests {
    use super::*;
    use crate::load::flight::Flight;
    use crate::sync::{Arc, Barrier, mpsc, thread};
    use proptest::prelude::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::task::{Context, Poll, Waker};

    /// Flights that no other test has.
    fn flights<const N: usize>() -> [u64; N] {
        std::array::from_fn(|_| Flight::<()>::new().id())
    }

    /// A wait for `to` by the loader of `from`, which runs in no other.
    fn wait(from: u64, to: u64) -> Result<Waiting, Recursive> {
        let _running = enter(from);
        wait_for(to)
    }

    fn assert_no_edges(flights: &[u64]) {
        for &flight in flights {
            assert_eq!(edges_of(flight), 0, "flight {flight} neither waits nor is waited for");
        }
    }

    #[test]
    fn outside_loaders_nothing_is_noted() {
        let [a, b] = flights();
        let waiting = wait_for(a);
        assert!(waiting.is_ok());
        assert_no_edges(&[a]);
        drop(enter(b));
        assert!(wait_for(b).is_ok(), "b runs no more");
        assert_no_edges(&[a, b]);
    }

    #[test]
    fn l7_a_loader_cannot_wait_for_itself_nor_for_those_around_it() {
        let [a, b, c] = flights();
        let _a = enter(a);
        assert_eq!(wait_for(a).err(), Some(Recursive));
        let inner = enter(b);
        assert_eq!(wait_for(a).err(), Some(Recursive));
        assert_eq!(wait_for(b).err(), Some(Recursive));
        assert_no_edges(&[a, b, c]);
        let waiting = wait_for(c);
        assert!(waiting.is_ok());
        assert_eq!([a, b, c].map(edges_of), [1, 1, 2], "both wait for c");
        drop(inner);
        assert_eq!(edges_of(c), 2, "the wait outlives the poll");
        assert_eq!(wait(c, a).err(), Some(Recursive), "a waits for c, by way of b's loader");
        assert_eq!(wait(c, b).err(), Some(Recursive));
        drop(waiting);
        assert_no_edges(&[a, b, c]);
        assert!(wait_for(b).is_ok(), "b has left the stack");
        assert_eq!(wait_for(a).err(), Some(Recursive), "a has not");
    }

    /// Each of `N` threads runs a flight and waits for the next one's, all at once: one of them, and one alone, must not.
    fn ring<const N: usize>() {
        for _ in 0..100 {
            let flights = flights::<N>();
            let (start, end) = (&Barrier::new(N), &Barrier::new(N));
            let refused = thread::scope(|scope| {
                let threads: Vec<_> = (0..N)
                    .map(|i| {
                        scope.spawn(move || {
                            let _running = enter(flights[i]);
                            start.wait();
                            let waiting = wait_for(flights[(i + 1) % N]);
                            end.wait();
                            waiting.is_err()
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum::<usize>()
            });
            assert_eq!(refused, 1);
            assert_no_edges(&flights);
        }
    }

    #[test]
    fn l7_a_ring_of_two_threads_is_cut_once() {
        ring::<2>();
    }

    #[test]
    fn l7_a_ring_of_three_threads_is_cut_once() {
        ring::<3>();
    }

    #[test]
    fn l7_a_ring_through_the_outer_loader_is_seen() {
        let [outer, inner, other, last] = flights();
        let first = wait(other, last);
        let second = wait(last, outer);
        assert!(first.is_ok() && second.is_ok());
        let _outer = enter(outer);
        let _inner = enter(inner);
        assert_eq!(wait_for(other).err(), Some(Recursive));
        drop(second);
        assert!(wait_for(other).is_ok(), "the ring was cut elsewhere");
        drop(first);
        assert_no_edges(&[outer, inner, other, last]);
    }

    #[test]
    fn a_diamond_is_not_a_ring() {
        let [top, left, right, bottom] = flights();
        let waits = [wait(left, bottom), wait(right, bottom), wait(top, left), wait(top, right)];
        assert!(waits.iter().all(Result::is_ok));
        assert_eq!([top, left, right, bottom].map(edges_of), [2, 2, 2, 2]);
        assert_eq!(wait(bottom, top).err(), Some(Recursive));
        let [left_to_bottom, right_to_bottom, top_to_left, top_to_right] = waits;
        drop(left_to_bottom);
        assert_eq!(wait(bottom, left).map(drop), Ok(()), "left waits no more");
        assert_eq!(wait(bottom, right).err(), Some(Recursive));
        drop(right_to_bottom);
        assert_eq!(wait(bottom, right).map(drop), Ok(()));
        assert_eq!([top, left, right].map(edges_of), [2, 1, 1]);
        drop((top_to_left, top_to_right));
        assert_no_edges(&[top, left, right, bottom]);
    }

    #[test]
    fn two_waits_of_one_loader_for_one_flight_are_two() {
        let [a, b] = flights();
        let (once, twice) = (wait(a, b), wait(a, b));
        assert_eq!(edges_of(a), 2);
        drop(once);
        assert_eq!(wait(b, a).err(), Some(Recursive), "one is left");
        drop(twice);
        assert!(wait(b, a).is_ok());
        assert_no_edges(&[a, b]);
    }

    #[test]
    fn guards_may_be_dropped_in_any_order() {
        let [a, b] = flights();
        let (outer, inner, again) = (enter(a), enter(b), enter(a));
        drop(outer);
        assert!(wait_for(a).is_err() && wait_for(b).is_err());
        drop(inner);
        assert!(wait_for(a).is_err() && wait_for(b).is_ok());
        drop(again);
        assert!(wait_for(a).is_ok() && wait_for(b).is_ok());
        assert_no_edges(&[a, b]);
    }

    #[test]
    fn every_poll_of_a_loader_is_inside_its_flight_and_nothing_else_is() {
        fn sendable<T: Send>(value: T) -> T {
            value
        }
        let [a, b] = flights();
        let mut polls = 0;
        let loader = poll_fn(move |_| {
            polls += 1;
            assert_eq!(wait_for(a).err(), Some(Recursive));
            assert!(wait_for(b).is_ok());
            if polls == 2 { Poll::Ready("loaded") } else { Poll::Pending }
        });
        let mut led = Box::pin(sendable(led(a, loader)));
        assert!(led.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(wait_for(a).is_ok(), "between polls it does not run here");
        let output = thread::spawn(move || {
            let output = led.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(wait_for(a).is_ok(), "nor does it after the last");
            output
        });
        assert_eq!(output.join().unwrap(), Poll::Ready("loaded"));
        assert_no_edges(&[a, b]);
    }

    #[test]
    fn c5_a_loader_that_panics_leaves_the_stack() {
        let [a, b] = flights();
        let mut led = Box::pin(led(
            a,
            poll_fn(|_| -> Poll<()> {
                let _waiting = wait_for(b);
                panic!("the loader fails");
            }),
        ));
        let poll = || led.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(catch_unwind(AssertUnwindSafe(poll)).is_err());
        assert!(wait_for(a).is_ok());
        assert_no_edges(&[a, b]);
    }

    #[test]
    fn a_thread_that_is_ending_may_still_load() {
        struct Late(u64, mpsc::Sender<bool>);
        impl Drop for Late {
            fn drop(&mut self) {
                let unwatched = RUNNING.try_with(|_| ()).is_err();
                let _running = enter(self.0);
                let _ = self.1.send(unwatched && wait_for(self.0).is_ok());
            }
        }
        thread_local! {
            static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
        }
        let [a] = flights();
        let (sender, told) = mpsc::channel();
        let ending = thread::spawn(move || {
            // Thread-locals are dropped in the reverse order of their first use: the stack goes first.
            LATE.with(|late| late.replace(Some(Late(a, sender))));
            drop(enter(a));
        });
        assert!(ending.join().is_ok());
        assert_eq!(told.recv(), Ok(true));
        assert_no_edges(&[a]);
    }

    proptest! {
        #[test]
        fn reaching_is_the_transitive_closure(
            ops in prop::collection::vec((any::<bool>(), 0..8_u64, 0..8_u64), 0..60),
            goals in prop::collection::vec(0..8_u64, 0..3),
        ) {
            let mut graph = Graph::new();
            let mut oracle: Vec<(u64, u64)> = Vec::new();
            for (add, from, to) in ops {
                if add {
                    graph.add(from, to);
                    oracle.push((from, to));
                } else {
                    graph.remove(from, to);
                    if let Some(at) = oracle.iter().position(|&edge| edge == (from, to)) {
                        oracle.remove(at);
                    }
                }
            }
            let mut closure = [[false; 8]; 8];
            for (node, row) in closure.iter_mut().enumerate() {
                row[node] = true;
            }
            for _ in 0..8 {
                for &(from, to) in &oracle {
                    for row in &mut closure {
                        row[to as usize] |= row[from as usize];
                    }
                }
            }
            for from in 0..8_u64 {
                let expected = goals.iter().any(|&goal| closure[from as usize][goal as usize]);
                prop_assert_eq!(graph.reaches(from, &goals), expected);
            }
            prop_assert_eq!(graph.edges.values().sum::<usize>(), oracle.len());
            for (from, to) in oracle {
                graph.remove(from, to);
            }
            prop_assert!(graph.edges.is_empty());
        }
    }

    #[test]
    fn a_long_chain_does_not_overflow_the_stack() {
        let mut graph = Graph::new();
        for at in 0..100_000 {
            graph.add(at, at + 1);
        }
        assert!(graph.reaches(0, &[100_000]));
        assert!(!graph.reaches(1, &[0]));
    }

    #[test]
    fn waits_cross_threads() {
        fn sendable<T: Send>(_: &T) {}
        let [a, b] = flights();
        let waiting = wait(a, b).unwrap();
        sendable(&waiting);
        let waiting = Arc::new(waiting);
        let elsewhere = Arc::clone(&waiting);
        drop(waiting);
        assert!(thread::spawn(move || drop(elsewhere)).join().is_ok());
        assert_no_edges(&[a, b]);
    }
}
