//! A node of the test kit: one of the processes that share a remote, and what goes wrong between it and the remote.
//!
//! ```text
//!   asked ──► counted ──► Before ──► done ──► After ──► answered
//!                │          │                   │
//!                │          └── parked, until a test releases it or lets it fail
//!                └── a script: fail now, or be done and fail
//! ```

use super::super::remote::{Mode, RemoteError};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// An operation of a remote, or any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Op {
    /// Any of the others, but for [`Listen`](Self::Listen): a line that is made anew must not use up what a test meant for the next read.
    Any,
    /// [`Remote::read`](crate::tier::Remote::read).
    Read,
    /// [`Remote::read_replica`](crate::tier::Remote::read_replica), where there is a replica.
    ReadReplica,
    /// [`Remote::heads`](crate::tier::Remote::heads).
    Heads,
    /// [`Remote::write`](crate::tier::Remote::write).
    Write,
    /// [`Remote::delete`](crate::tier::Remote::delete).
    Delete,
    /// [`Remote::numbers`](crate::tier::Remote::numbers).
    Numbers,
    /// [`Remote::set_number`](crate::tier::Remote::set_number).
    SetNumber,
    /// [`Remote::lock`](crate::tier::Remote::lock).
    Lock,
    /// [`Remote::scan`](crate::tier::Remote::scan).
    Scan,
    /// [`Remote::listen`](crate::tier::Remote::listen): the beginning of it.
    Listen,
}

impl Op {
    fn covers(self, op: Self) -> bool {
        self == op || (self == Self::Any && op != Self::Listen)
    }
}

/// When an operation is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Before it is done: the question is on its way.
    Before,
    /// After it was done: the answer is on its way.
    After,
}

/// What the network does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Path {
    /// All gets through.
    #[default]
    Open,
    /// Nothing gets through, and nobody is told so: operations hang before they are done, listeners hear nothing.
    Silent,
    /// Connections break: operations fail with [`RemoteError::Unreachable`], lines end with it.
    Cut,
}

/// How much was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Operations: round trips, on a remote that is a server.
    pub calls: u64,
    /// Names, of all these together: values, numbers, locks.
    pub names: u64,
}

/// Clones are the same node.
#[derive(Clone)]
pub(super) struct Node(Arc<Inner>);

struct Inner {
    number: u64,
    state: Mutex<State>,
    /// An operation was parked.
    parked: Condvar,
}

#[derive(Default)]
struct State {
    counts: BTreeMap<Op, Count>,
    scripts: Vec<Script>,
    holds: Vec<Hold>,
    parked: BTreeMap<u64, Parked>,
    tickets: u64,
    calls: Path,
    lines: Path,
    modes: Option<Vec<Mode>>,
    /// How many connections it has given up, to be told of what was read by: one whenever an answer does not come.
    given_up: u64,
    /// How much the replica lags, if there is one.
    replica: Option<Duration>,
}

/// What the next operations of a kind meet.
struct Script {
    op: Op,
    left: u64,
    /// It is done, and fails nevertheless.
    done: bool,
    error: RemoteError,
}

/// What is to be parked, and how often yet; `u64::MAX` is always.
struct Hold {
    op: Op,
    side: Side,
    left: u64,
}

struct Parked {
    op: Op,
    /// By a test that holds it, and not because nothing gets through.
    held: bool,
    verdict: Option<Result<(), RemoteError>>,
    waker: Option<Waker>,
}

fn broken() -> RemoteError {
    RemoteError::Unreachable("the connection is broken".to_owned())
}

impl State {
    fn count(&mut self, op: Op, names: usize) {
        let count = self.counts.entry(op).or_default();
        count.calls += 1;
        count.names += names as u64;
    }

    /// What the first script that covers it says.
    fn script(&mut self, op: Op) -> Option<(bool, RemoteError)> {
        let at = self.scripts.iter().position(|script| script.op.covers(op))?;
        let script = &mut self.scripts[at];
        let said = (script.done, script.error.clone());
        script.left -= 1;
        if script.left == 0 {
            self.scripts.remove(at);
        }
        Some(said)
    }

    /// Whether this operation is to be held here. Uses up one of the times.
    fn take_hold(&mut self, op: Op, side: Side) -> bool {
        let held = |hold: &Hold| hold.left > 0 && hold.op.covers(op) && hold.side == side;
        let Some(hold) = self.holds.iter_mut().find(|hold| held(hold)) else { return false };
        hold.left -= u64::from(hold.left < u64::MAX);
        self.holds.retain(|hold| hold.left > 0);
        true
    }

    /// Decides about all of those parked that `which` chooses. Their wakers come back.
    fn decide(
        &mut self,
        verdict: &Result<(), RemoteError>,
        which: impl Fn(&Parked) -> bool,
        most: usize,
    ) -> Vec<Waker> {
        let open = self.parked.values_mut().filter(|one| one.verdict.is_none() && which(one));
        let decided = open.take(most).map(|one| {
            one.verdict = Some(verdict.clone());
            one.waker.take()
        });
        decided.flatten().collect()
    }
}

fn wake(state: MutexGuard<'_, State>, wakers: Vec<Waker>) {
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
}

impl Node {
    pub(super) fn new(number: u64) -> Self {
        Self(Arc::new(Inner { number, state: Mutex::default(), parked: Condvar::new() }))
    }

    pub(super) fn number(&self) -> u64 {
        self.0.number
    }

    /// The connection that it reads by.
    pub(super) fn connection(&self) -> u64 {
        self.0.state.lock().given_up
    }

    /// Does what was asked, or what the faults say.
    pub(super) async fn pass<T>(
        &self,
        op: Op,
        names: usize,
        act: impl FnOnce() -> Result<T, RemoteError>,
    ) -> Result<T, RemoteError> {
        let script = {
            let mut state = self.0.state.lock();
            state.count(op, names);
            state.script(op)
        };
        let mut asked = Asked { node: self, answered: op == Op::Listen };
        self.gate(op, Side::Before).await?;
        let fails = script.is_some();
        let answer = match script {
            None => act(),
            Some((false, error)) => Err(error),
            Some((true, error)) => act().and(Err(error)),
        };
        self.gate(op, Side::After).await?;
        asked.answered |= !fails;
        answer
    }

    fn gate(&self, op: Op, side: Side) -> Gate<'_> {
        Gate { node: self, op, side, released: false, ticket: None }
    }

    pub(super) fn offers(&self, mode: Mode) -> bool {
        let state = self.0.state.lock();
        state.modes.as_ref().map_or(mode != Mode::OptIn, |modes| modes.contains(&mode))
    }

    /// Whether a new line hears nothing.
    pub(super) fn is_silent(&self) -> Result<bool, RemoteError> {
        match self.0.state.lock().lines {
            Path::Open => Ok(false),
            Path::Silent => Ok(true),
            Path::Cut => Err(broken()),
        }
    }

    pub(super) fn set_modes(&self, modes: &[Mode]) {
        self.0.state.lock().modes = Some(modes.to_vec());
    }

    pub(super) fn replica(&self) -> Option<Duration> {
        self.0.state.lock().replica
    }

    pub(super) fn set_replica(&self, lag: Option<Duration>) {
        self.0.state.lock().replica = lag;
    }

    pub(super) fn set_lines(&self, path: Path) {
        self.0.state.lock().lines = path;
    }

    pub(super) fn set_calls(&self, path: Path) {
        let mut state = self.0.state.lock();
        state.calls = path;
        let wakers = match path {
            Path::Open => state.decide(&Ok(()), |one| !one.held, usize::MAX),
            Path::Silent => Vec::new(),
            Path::Cut => state.decide(&Err(broken()), |one| one.op != Op::Listen, usize::MAX),
        };
        wake(state, wakers);
    }

    pub(super) fn script_next(&self, op: Op, left: u64, done: bool, error: RemoteError) {
        if left > 0 {
            self.0.state.lock().scripts.push(Script { op, left, done, error });
        }
    }

    pub(super) fn hold(&self, op: Op, side: Side, left: u64) {
        self.0.state.lock().holds.push(Hold { op, side, left });
    }

    /// Holds nothing any more, and lets go of what is held.
    pub(super) fn release(&self, verdict: &Result<(), RemoteError>) {
        let mut state = self.0.state.lock();
        state.holds.clear();
        let wakers = state.decide(verdict, |one| one.held, usize::MAX);
        wake(state, wakers);
    }

    /// Lets go of the first that is held. False if none is.
    pub(super) fn release_next(&self, verdict: &Result<(), RemoteError>) -> bool {
        let mut state = self.0.state.lock();
        let any = state.parked.values().any(|one| one.held && one.verdict.is_none());
        let wakers = state.decide(verdict, |one| one.held, 1);
        wake(state, wakers);
        any
    }

    pub(super) fn parked(&self) -> Vec<Op> {
        let state = self.0.state.lock();
        let open = state.parked.values().filter(|one| one.verdict.is_none());
        open.map(|one| one.op).collect()
    }

    pub(super) fn wait_parked(&self, number: usize) {
        let mut state = self.0.state.lock();
        while state.parked.values().filter(|one| one.verdict.is_none()).count() < number {
            state = self.0.parked.wait(state);
        }
    }

    pub(super) fn count(&self, op: Op) -> Count {
        let state = self.0.state.lock();
        let counts = state.counts.iter().filter(|(own, _)| op.covers(**own));
        counts.fold(Count::default(), |sum, (_, count)| Count {
            calls: sum.calls + count.calls,
            names: sum.names + count.names,
        })
    }

    pub(super) fn reset_counts(&self) {
        self.0.state.lock().counts.clear();
    }

    /// No script, no hold, and all gets through. What is parked goes on.
    pub(super) fn heal(&self) {
        let mut state = self.0.state.lock();
        state.scripts.clear();
        drop(state);
        self.release(&Ok(()));
        self.set_calls(Path::Open);
    }
}

/// An operation. If it is not answered, or nobody waits for that any more, its connection is given up.
struct Asked<'a> {
    node: &'a Node,
    answered: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.node.0.state.lock().given_up += 1;
        }
    }
}

/// Ready once the operation may go on.
struct Gate<'a> {
    node: &'a Node,
    op: Op,
    side: Side,
    /// A test has let it go: it is not held again here.
    released: bool,
    ticket: Option<u64>,
}

impl Future for Gate<'_> {
    type Output = Result<(), RemoteError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (this, waker) = (&mut *self, context.waker().clone());
        let mut state = this.node.0.state.lock();
        if let Some(ticket) = this.ticket {
            let Some(parked) = state.parked.get_mut(&ticket) else { return Poll::Ready(Ok(())) };
            match parked.verdict.take() {
                None => {
                    let last = parked.waker.replace(waker);
                    drop(state);
                    drop(last);
                    return Poll::Pending;
                }
                Some(verdict) => {
                    this.released |= parked.held;
                    state.parked.remove(&ticket);
                    this.ticket = None;
                    verdict?;
                }
            }
        }
        let Some(held) = this.stop(&mut state)? else { return Poll::Ready(Ok(())) };
        let ticket = state.tickets;
        state.tickets += 1;
        state
            .parked
            .insert(ticket, Parked { op: this.op, held, verdict: None, waker: Some(waker) });
        this.ticket = Some(ticket);
        drop(state);
        this.node.0.parked.notify_all();
        Poll::Pending
    }
}

impl Gate<'_> {
    /// Whether it must wait here; if so, whether it is a test that holds it.
    fn stop(&self, state: &mut State) -> Result<Option<bool>, RemoteError> {
        let path = if self.op == Op::Listen { state.lines } else { state.calls };
        if path == Path::Cut {
            return Err(broken());
        }
        if !self.released && state.take_hold(self.op, self.side) {
            return Ok(Some(true));
        }
        // A line that nothing gets through is made nevertheless: it is silent.
        let silent = path == Path::Silent && self.side == Side::Before && self.op != Op::Listen;
        Ok(silent.then_some(false))
    }
}

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let parked = self.node.0.state.lock().parked.remove(&ticket);
            drop(parked);
        }
    }
}
