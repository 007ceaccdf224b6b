//! A remote in this process.

use super::remote::{
    Delete, Ear, Found, Listen, Page, Read, Remote, RemoteError, Reply, Tell, Token, Turn, Write,
};
use crate::sync::{Arc, Mutex};
use crate::time::{Clock, SystemClock, nanos};
pub(super) use glob::Glob;
use line::Line;
use node::Node;
use std::convert::Infallible;
use std::fmt;
use std::time::Duration;
use store::{Changes, Store};

#[cfg(any(test, feature = "test-kit"))]
mod faults;
mod glob;
mod line;
#[cfg(any(test, feature = "test-kit"))]
mod node;
#[cfg(not(any(test, feature = "test-kit")))]
#[path = "memory/plain.rs"]
mod node;
#[cfg(any(test, feature = "test-kit"))]
mod replica;
mod store;
#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "test-kit"))]
pub use faults::{Data, Faults};
#[cfg(any(test, feature = "test-kit"))]
pub use line::News;
#[cfg(any(test, feature = "test-kit"))]
pub use node::{Count, Op, Path, Side};

#[cfg(not(any(test, feature = "test-kit")))]
use node::Op;

/// How many expired items a beat of a listener frees, so that they are told of where nobody asks for them.
const AT_A_BEAT: usize = 1024;

/// A remote in this process: the second level where there is no server, and in tests.
///
/// Clones share what it holds. Its futures are ready when they are first polled; it never suspends and never blocks for long. Those
/// who [listen](Remote::listen) are told of a change before the operation that made it returns, unless another thread is
/// telling them something just then.
///
/// It is one ordered map under one lock, and it holds what it is given until that expires: bound it with
/// [`set_capacity`](Self::set_capacity). Expired items are not seen; each operation frees up to 32 of them in passing.
///
/// | operation | cost, of n items |
/// |---|---|
/// | read, write, delete, number, lock | O(log n) an item, and its bytes are copied |
/// | a change | O(listeners) in addition |
/// | a page of names | O(log n + 256) |
///
/// ```
/// use cachette::ManualClock;
/// use cachette::tier::{Found, MemoryRemote, Place, Read, Remote, Write};
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
/// use std::time::Duration;
///
/// # fn ready<F: Future>(future: F) -> F::Output {
/// #     match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
/// #         Poll::Ready(output) => output,
/// #         Poll::Pending => panic!("it never suspends"),
/// #     }
/// # }
/// let clock = ManualClock::new();
/// let remote = MemoryRemote::with_clock(clock.clone());
/// let place = Place { value: b"{users:7}".to_vec(), lease: b"lease{users:7}".to_vec() };
/// let write = Write {
///     place: &place,
///     bytes: b"an envelope",
///     ttl: Duration::from_secs(60),
///     leased: None,
///     version: None,
///     tell: None,
/// };
/// assert_eq!(ready(remote.write(&[write])), Ok(vec![true]));
///
/// clock.advance(Duration::from_secs(20));
/// let found = ready(remote.read(&[Read { place: &place, claim: None }]))?;
/// let left = Some(Duration::from_secs(40));
/// assert_eq!(found, [Found::Value { bytes: b"an envelope".to_vec(), left }]);
/// # Ok::<(), cachette::tier::RemoteError>(())
/// ```
#[derive(Clone)]
pub struct MemoryRemote {
    shared: Arc<Shared>,
    node: Node,
}

/// What all clones and nodes have in common.
struct Shared {
    clock: Box<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    store: Store,
    lines: Vec<Arc<Line>>,
    #[cfg(any(test, feature = "test-kit"))]
    nodes: u64,
    /// What replicas look back into, if there are any.
    #[cfg(any(test, feature = "test-kit"))]
    history: Option<replica::History>,
}

impl MemoryRemote {
    /// An empty one, on the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(SystemClock::new())
    }

    /// An empty one, on a clock of your own.
    ///
    /// ```
    /// use cachette::{ManualClock, tier::MemoryRemote};
    ///
    /// let clock = ManualClock::new();
    /// let remote = MemoryRemote::with_clock(clock.clone());
    /// assert!(remote.is_empty());
    /// ```
    #[must_use]
    pub fn with_clock(clock: impl Clock + 'static) -> Self {
        let state = State {
            store: Store::new(),
            lines: Vec::new(),
            #[cfg(any(test, feature = "test-kit"))]
            nodes: 1,
            #[cfg(any(test, feature = "test-kit"))]
            history: None,
        };
        let shared = Shared { clock: Box::new(clock), state: Mutex::new(state) };
        Self { shared: Arc::new(shared), node: Node::new(0) }
    }

    /// Bounds what it holds: names and bytes, and 96 bytes an item. There is no bound before.
    ///
    /// What would go beyond it is answered with [`RemoteError::Refused`]: a value, a number, a lease or a lock, if it is not shorter than
    /// what it replaces. Nothing is evicted but what has expired, which a write that finds no room frees, as much as it needs. What is
    /// there stays, also if it is more than a new bound. This is `maxmemory-policy noeviction` in Redis.
    ///
    /// ```
    /// use cachette::tier::MemoryRemote;
    ///
    /// let remote = MemoryRemote::new();
    /// remote.set_capacity(64 << 20);
    /// ```
    pub fn set_capacity(&self, bytes: u64) {
        self.shared.state.lock().store.set_capacity(bytes);
    }

    /// Deletes everything, as `FLUSHDB` does. Those who are told of changes learn that any name may have changed; those who are told
    /// messages learn nothing. O(n).
    ///
    /// ```
    /// use cachette::tier::MemoryRemote;
    ///
    /// let remote = MemoryRemote::new();
    /// remote.flush_all();
    /// assert!(remote.is_empty());
    /// ```
    pub fn flush_all(&self) {
        let now = nanos(self.shared.clock.now());
        let mut state = self.shared.state.lock();
        state.clear(now);
        let told = state.lines.iter().filter(|line| line.flushed()).cloned().collect();
        drop(state);
        deliver(told);
    }

    /// How many items it holds: values, leases, numbers and locks, with those that have expired and were not yet freed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.state.lock().store.len()
    }

    /// True if it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How much of the [capacity](Self::set_capacity) is used, in bytes.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.shared.state.lock().store.used()
    }

    /// An operation as one of a node: with its faults, where there are any.
    fn perform<'a, T: Send + 'a>(
        &'a self,
        op: Op,
        names: usize,
        act: impl FnOnce(&mut Store) -> Result<T, RemoteError> + Send + 'a,
    ) -> Reply<'a, T> {
        Box::pin(self.node.pass(op, names, || self.shared.act(Some(self.reader()), act)))
    }

    /// This node, and the connection that it reads by.
    fn reader(&self) -> (u64, u64) {
        (self.node.number(), self.node.connection())
    }

    /// The line of a new listener. It is told of all that changes from now on.
    fn line(&self, listen: &Listen, ear: Arc<dyn Ear>) -> Result<Listening, RemoteError> {
        let Some(mode) = listen.modes.iter().copied().find(|mode| self.node.offers(*mode)) else {
            let why = "it tells of changes in none of these ways";
            return Err(RemoteError::Refused(why.to_owned()));
        };
        let what = (listen.prefix.as_slice(), listen.channel.as_slice(), mode);
        let mut state = self.shared.state.lock();
        let silent = self.node.is_silent()?;
        let line = Arc::new(Line::new(self.reader(), what, ear, silent));
        state.lines.push(Arc::clone(&line));
        Ok(Listening { shared: Arc::clone(&self.shared), node: self.node.clone(), line })
    }
}

impl Default for MemoryRemote {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRemote").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl State {
    /// Loses everything.
    fn clear(&mut self, now: u64) {
        self.store.clear();
        #[cfg(not(any(test, feature = "test-kit")))]
        let _ = now;
        #[cfg(any(test, feature = "test-kit"))]
        if let Some(history) = &mut self.history {
            history.clear(now);
        }
    }

    /// What the operation that has ended changed, for those who look back as well.
    fn changes(&mut self, now: u64) -> Changes {
        let changes = self.store.changes();
        #[cfg(not(any(test, feature = "test-kit")))]
        let _ = now;
        #[cfg(any(test, feature = "test-kit"))]
        if let Some(history) = &mut self.history {
            history.note(&changes, &self.store, now);
        }
        changes
    }
}

impl Shared {
    /// Does something in one step, for a node that reads by a connection or for none, and tells those who listen what it changed.
    fn act<T>(&self, reader: Option<(u64, u64)>, act: impl FnOnce(&mut Store) -> T) -> T {
        let now = nanos(self.clock.now());
        let mut state = self.state.lock();
        let reads = |line: &&Arc<Line>| line.is_of_reads(reader);
        let notes = state.lines.iter().any(|line| reads(&line));
        state.store.set_notes(notes);
        state.store.turn(now);
        let answer = act(&mut state.store);
        let changes = state.changes(now);
        state.lines.iter().filter(reads).for_each(|line| line.note(&changes.known));
        let told = state.lines.iter().filter(|line| line.post(&changes)).cloned().collect();
        state.lines.iter().filter(reads).for_each(|line| line.note(&changes.seen));
        drop(state);
        deliver(told);
        answer
    }

    /// Asks a line whether it is there. What has changed, and what has expired, is told before it answers.
    fn beat(&self, line: &Line, asked: Duration) {
        self.act(None, |store| store.free_expired(AT_A_BEAT));
        // What was changed before is queued by now, for that is done in one step with the change: the answer stands behind it.
        line.ask(asked);
        line.deliver();
    }
}

fn deliver(lines: Vec<Arc<Line>>) {
    for line in lines {
        line.deliver();
    }
}

/// Somebody who listens, until it is dropped.
struct Listening {
    shared: Arc<Shared>,
    node: Node,
    line: Arc<Line>,
}

impl Listening {
    /// Asks at every beat, until the line is lost.
    async fn run(&self, beat: Duration, patience: Duration) -> RemoteError {
        self.line.deliver();
        loop {
            match self.beat(beat, patience).await {
                Ok(()) => {}
                Err(why) => return why,
            }
        }
    }

    async fn beat(&self, beat: Duration, patience: Duration) -> Result<(), RemoteError> {
        let ear = &self.line.ear;
        let asked = ear.now();
        if self.line.is_left(self.node.connection()) {
            return Err(RemoteError::Unreachable("its connection was given up".to_owned()));
        }
        self.shared.beat(&self.line, asked);
        self.line.answer(patience).await?;
        self.line.sleep(beat).await?;
        if ear.is_gone() {
            return Err(RemoteError::Unreachable("nobody listens any more".to_owned()));
        }
        Ok(())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.lines.retain(|line| !Arc::ptr_eq(line, &self.line));
        drop(state);
        self.line.cut(RemoteError::Unreachable("nobody listens any more".to_owned()));
    }
}

impl Remote for MemoryRemote {
    fn blocks(&self) -> bool {
        false
    }

    fn read<'a>(&'a self, reads: &'a [Read<'a>]) -> Reply<'a, Vec<Found>> {
        self.perform(Op::Read, reads.len(), |store| {
            reads.iter().map(|read| store.read(read)).collect()
        })
    }

    #[cfg(any(test, feature = "test-kit"))]
    fn read_replica<'a>(
        &'a self,
        places: &'a [&'a super::Place],
        _: Duration,
    ) -> Reply<'a, Option<super::Replicated>> {
        let look = || self.node.replica().map(|lag| self.shared.look_back(places, lag));
        Box::pin(async move {
            // Where there is none nothing is asked.
            match self.node.replica() {
                Some(_) => self.node.pass(Op::ReadReplica, places.len(), || Ok(look())).await,
                None => Ok(None),
            }
        })
    }

    fn heads<'a>(&'a self, names: &'a [&'a [u8]]) -> Reply<'a, Vec<Option<[u8; super::HEAD]>>> {
        self.perform(Op::Heads, names.len(), |store| {
            Ok(names.iter().map(|name| store.head(name)).collect())
        })
    }

    fn write<'a>(&'a self, writes: &'a [Write<'a>]) -> Reply<'a, Vec<bool>> {
        self.perform(Op::Write, writes.len(), |store| {
            writes.iter().map(|write| store.write(write)).collect()
        })
    }

    fn delete<'a>(&'a self, deletes: &'a [Delete<'a>]) -> Reply<'a, Vec<bool>> {
        self.perform(Op::Delete, deletes.len(), |store| {
            Ok(deletes.iter().map(|delete| store.delete(delete)).collect())
        })
    }

    fn numbers<'a>(
        &'a self,
        names: &'a [&'a [u8]],
        fresh: u64,
        ttl: Duration,
    ) -> Reply<'a, Vec<u64>> {
        self.perform(Op::Numbers, names.len(), move |store| {
            names.iter().map(|name| store.number(name, fresh, ttl)).collect()
        })
    }

    fn set_number<'a>(
        &'a self,
        name: &'a [u8],
        number: u64,
        ttl: Duration,
        tell: Option<Tell<'a>>,
    ) -> Reply<'a, ()> {
        self.perform(Op::SetNumber, 1, move |store| store.set_number(name, number, ttl, tell))
    }

    fn lock<'a>(&'a self, name: &'a [u8], token: Token, turn: Turn) -> Reply<'a, bool> {
        self.perform(Op::Lock, 1, move |store| store.lock(name, token, turn))
    }

    fn scan<'a>(&'a self, pattern: &'a [u8], from: Option<&'a [u8]>) -> Reply<'a, Page> {
        let pattern = Glob::new(pattern);
        self.perform(Op::Scan, 0, move |store| Ok(store.scan(&pattern, from)))
    }

    fn listen<'a>(&'a self, listen: &'a Listen, ear: Arc<dyn Ear>) -> Reply<'a, Infallible> {
        Box::pin(async move {
            let line = self.node.pass(Op::Listen, 0, || self.line(listen, ear)).await?;
            Err(line.run(listen.beat, listen.patience).await)
        })
    }
}
