//! What becomes of a write, for who wants to know.
//!
//! **Problem.** A put behind returns before the store has it. Whoever holds its receipt may ask at any time, from a thread or a task, and
//! hears of the first acknowledgement of *that or a newer* value of the key, or of the error after which nobody tries again. Most never ask,
//! so a put may not pay for more than one small allocation.
//!
//! ```text
//!   put 1 ─► waiting ─► flying ───────── fails ─► waiting again, with the value of put 3
//!             fate A     fate A                    fate B, which A follows
//!   put 2, put 3 ──────► waiting, fate B (both)
//! ```
//!
//! **Invariants**
//!
//! 1. Writes that wait as one have one fate.
//! 2. A fate is settled once; those that follow it are settled with it. Followers are kept flat: settling does not recur.
//! 3. No waker is woken, and nothing of the user's is dropped, inside the lock.

use super::error::WriteError;
use crate::load::block_on;
use crate::sync::{Arc, Mutex};
use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

pub(super) struct Fate<E> {
    state: Mutex<State<E>>,
}

enum State<E> {
    Open {
        /// One a future that waits.
        wakers: Vec<Waker>,
        followers: Vec<Arc<Fate<E>>>,
    },
    Settled(Result<(), WriteError<E>>),
}

impl<E> Fate<E> {
    pub(super) fn new() -> Arc<Self> {
        let state = State::Open { wakers: Vec::new(), followers: Vec::new() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    fn settled(outcome: Result<(), WriteError<E>>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::Settled(outcome)) })
    }

    /// Has another share what becomes of this one, if anybody holds it.
    pub(super) fn adopt(&self, other: Arc<Self>) {
        if Arc::strong_count(&other) == 1 {
            return;
        }
        let mut taken = match &mut *other.state.lock() {
            State::Open { followers, .. } => std::mem::take(followers),
            State::Settled(_) => return,
        };
        taken.push(other);
        let outcome = match &mut *self.state.lock() {
            State::Open { followers, .. } => {
                // Who gave up their receipts meanwhile is not carried along for ever.
                followers.retain(|follower| Arc::strong_count(follower) > 1);
                followers.append(&mut taken);
                return;
            }
            State::Settled(outcome) => outcome.clone(),
        };
        for fate in taken {
            fate.settle_one(&outcome);
        }
    }

    pub(super) fn settle(&self, outcome: &Result<(), WriteError<E>>) {
        for follower in self.settle_one(outcome) {
            follower.settle_one(outcome);
        }
    }

    fn settle_one(&self, outcome: &Result<(), WriteError<E>>) -> Vec<Arc<Self>> {
        let before = {
            let mut state = self.state.lock();
            if matches!(*state, State::Settled(_)) {
                return Vec::new();
            }
            std::mem::replace(&mut *state, State::Settled(outcome.clone()))
        };
        let State::Open { wakers, followers } = before else { return Vec::new() };
        wakers.into_iter().for_each(Waker::wake);
        followers
    }

    fn poll(
        &self,
        place: &mut Option<usize>,
        context: &Context<'_>,
    ) -> Poll<Result<(), WriteError<E>>> {
        match &mut *self.state.lock() {
            State::Settled(outcome) => return Poll::Ready(outcome.clone()),
            State::Open { wakers, .. } => {
                let waker = context.waker().clone();
                match place {
                    Some(place) => wakers[*place] = waker,
                    None => {
                        *place = Some(wakers.len());
                        wakers.push(waker);
                    }
                }
            }
        }
        Poll::Pending
    }
}

/// A write that was taken. It may be dropped: the write goes on.
pub struct Receipt<E> {
    fate: Arc<Fate<E>>,
}

impl<E> Receipt<E> {
    pub(super) fn of(fate: Arc<Fate<E>>) -> Self {
        Self { fate }
    }

    /// Of a write that the store has made.
    pub(super) fn done() -> Self {
        Self { fate: Fate::settled(Ok(())) }
    }

    /// Ready when the store has acknowledged this write or a newer one of the same key; at once if it has already, as after each write
    /// through or around.
    ///
    /// # Errors
    ///
    /// The [`WriteError`] after which nobody tries again: the write is a dead letter, or the cache was closed before.
    ///
    /// # Limits
    ///
    /// Where nobody [drives](super::StoredCache::drive) the queue, it is never ready.
    pub async fn durable(&self) -> Result<(), WriteError<E>> {
        let mut place = None;
        poll_fn(|context| self.fate.poll(&mut place, context)).await
    }

    /// As [`durable`](Self::durable), for a thread.
    ///
    /// # Errors
    ///
    /// As [`durable`](Self::durable).
    pub fn wait(&self) -> Result<(), WriteError<E>> {
        block_on(self.durable())
    }

    /// What is known now; `None` if it is open.
    ///
    /// ```
    /// # use cachette::{Cache, store::MemoryStore};
    /// let cache = Cache::<u8, u8>::builder().capacity(9).store(MemoryStore::new()).build()?;
    /// let receipt = cache.put(1, 2).unwrap();
    /// assert!(matches!(receipt.outcome(), Some(Ok(()))));
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    #[must_use]
    pub fn outcome(&self) -> Option<Result<(), WriteError<E>>> {
        match &*self.fate.state.lock() {
            State::Settled(outcome) => Some(outcome.clone()),
            State::Open { .. } => None,
        }
    }
}

impl<E> fmt::Debug for Receipt<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = matches!(*self.fate.state.lock(), State::Open { .. });
        f.debug_struct("Receipt").field("open", &open).finish()
    }
}
