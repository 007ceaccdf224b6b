//! Turns: who writes a key now, while others wait.
//!
//! **Problem.** A write through asks the store, which takes long, and then changes the caches. Two of one key must do all of that one after
//! the other, or the caches end with what the store does not have; those of other keys must not wait. Tasks wait as well as threads.
//!
//! ```text
//!   key ─► [ 17 has the turn | 21 waits | 22 waits ]        gone: the next is woken        empty: no entry
//! ```
//!
//! **Invariants**
//!
//! 1. The first of a row has the turn. A row that is empty is not there.
//! 2. Who is dropped leaves the row, wherever they stand; if they stood first, the next is woken.
//!
//! A turn is O(1): two locks, and one entry in a table. To leave from the middle of a row is O(row).

use super::keyed::{ByHash, Keyed};
use crate::sync::{Arc, Mutex};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// One who has the turn, or waits for it: their number, and how to wake them.
type Row = VecDeque<(u64, Option<Waker>)>;

struct State<K> {
    rows: HashMap<Arc<Keyed<K>>, Row, ByHash>,
    given: u64,
}

pub(super) struct Turns<K> {
    state: Mutex<State<K>>,
}

/// The turn of a key, or a place in its row. Dropped, it is the next one's.
pub(super) struct Turn<K: Eq> {
    turns: Arc<Turns<K>>,
    key: Arc<Keyed<K>>,
    number: u64,
}

/// The turn is this thread's own: a closure that runs in it asks for its key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recursive;

thread_local! {
    /// Turns in which a closure of the user's runs on this thread.
    static INSIDE: RefCell<Vec<(usize, u64)>> = const { RefCell::new(Vec::new()) };
}

impl<K: Eq> Turns<K> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { rows: HashMap::default(), given: 0 }) })
    }

    /// Waits for the turn of a key.
    pub(super) async fn take(self: &Arc<Self>, key: Arc<Keyed<K>>) -> Result<Turn<K>, Recursive> {
        let turn = self.stand_in_line(key)?;
        poll_fn(|context| turn.poll(context)).await;
        Ok(turn)
    }

    fn stand_in_line(self: &Arc<Self>, key: Arc<Keyed<K>>) -> Result<Turn<K>, Recursive> {
        let mut state = self.state.lock();
        state.given += 1;
        let number = state.given;
        let row = state.rows.entry(Arc::clone(&key)).or_default();
        let inside = |first: u64| {
            INSIDE.with_borrow(|inside| inside.contains(&(Arc::as_ptr(self).addr(), first)))
        };
        if row.front().is_some_and(|(first, _)| inside(*first)) {
            return Err(Recursive);
        }
        row.push_back((number, None));
        drop(state);
        Ok(Turn { turns: Arc::clone(self), key, number })
    }
}

impl<K: Eq> Turn<K> {
    pub(super) fn key(&self) -> &Arc<Keyed<K>> {
        &self.key
    }

    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.turns.state.lock();
        let row = state.rows.get_mut(&*self.key);
        match row
            .and_then(|row| row.iter_mut().position(|(n, _)| *n == self.number).map(|at| (row, at)))
        {
            None | Some((_, 0)) => Poll::Ready(()),
            Some((row, at)) => {
                row[at].1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Runs a closure of the user's, which may not take this turn again.
    pub(super) fn inside<T>(&self, run: impl FnOnce() -> T) -> T {
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                let _ = INSIDE.with_borrow_mut(Vec::pop);
            }
        }
        let mark = (Arc::as_ptr(&self.turns).addr(), self.number);
        INSIDE.with_borrow_mut(|inside| inside.push(mark));
        let _leave = Leave;
        run()
    }
}

impl<K: Eq> Drop for Turn<K> {
    fn drop(&mut self) {
        let (mut next, mut gone) = (None, None);
        {
            let mut state = self.turns.state.lock();
            if let Some(row) = state.rows.get_mut(&*self.key) {
                let at = row.iter().position(|(number, _)| *number == self.number);
                gone = at.and_then(|at| row.remove(at));
                if at == Some(0) {
                    next = row.front_mut().and_then(|(_, waker)| waker.take());
                }
                if row.is_empty() {
                    state.rows.remove(&*self.key);
                }
            }
        }
        if let Some(waker) = next {
            waker.wake();
        }
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::block_on;
    use crate::sync::{AtomicU64, Ordering, thread};
    use std::pin::pin;

    fn key(key: u8) -> Arc<Keyed<u8>> {
        Arc::new(Keyed { hash: 7, key })
    }

    fn now(future: impl Future) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_key_has_one_turn_and_others_have_theirs() {
        let turns = Turns::new();
        let first = block_on(turns.take(key(1))).unwrap();
        assert!(now(turns.take(key(2))), "other keys do not wait");
        let mut second = pin!(turns.take(key(1)));
        let mut context = Context::from_waker(Waker::noop());
        assert!(second.as_mut().poll(&mut context).is_pending());
        {
            let third = pin!(turns.take(key(1)));
            assert!(third.poll(&mut context).is_pending(), "and is dropped");
        }
        drop(first);
        let Poll::Ready(Ok(second)) = second.poll(&mut context) else { panic!("it is their turn") };
        assert!(!now(turns.take(key(1))));
        drop(second);
        assert!(turns.state.lock().rows.is_empty());
    }

    #[test]
    fn a_closure_cannot_wait_for_itself() {
        let turns = Turns::new();
        let turn = block_on(turns.take(key(1))).unwrap();
        turn.inside(|| {
            assert!(block_on(turns.take(key(1))).is_err());
            assert!(block_on(turns.take(key(2))).is_ok());
        });
        assert!(!now(turns.take(key(1))), "outside, it waits");
    }

    #[test]
    fn no_two_threads_have_it_at_once() {
        let (turns, inside, sum) = (Turns::new(), AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let _turn = block_on(turns.take(key(1))).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        sum.fetch_add(1, Ordering::Relaxed);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(sum.load(Ordering::Relaxed), 2_000);
    }
}
