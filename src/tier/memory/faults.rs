//! The test kit's face: nodes that share a remote, and what a test may do to them.

use super::super::remote::{Mode, RemoteError};
use super::line::{Line, News};
use super::node::{Count, Node, Op, Path, Side};
use super::store::{Store, What};
use super::{MemoryRemote, State, deliver};
use crate::sync::{Arc, MutexGuard};
use crate::time::nanos;
use std::time::Duration;

/// What becomes of the data when a remote is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Data {
    /// It is there again.
    Kept,
    /// It is lost.
    Lost,
}

/// For tests, with the feature `test-kit`.
#[cfg_attr(docsrs, doc(cfg(feature = "test-kit")))]
impl MemoryRemote {
    /// Another process that shares this remote: the same data, with faults, counts and lines of its own. A clone, in contrast, is the
    /// same process.
    ///
    /// ```
    /// use cachette::tier::{MemoryRemote, Op, Path};
    ///
    /// let (one, other) = (MemoryRemote::new(), MemoryRemote::new().node());
    /// one.faults().partition(Path::Cut);
    /// assert_eq!(other.faults().count(Op::Any).calls, 0);
    /// ```
    #[must_use]
    pub fn node(&self) -> Self {
        let mut state = self.shared.state.lock();
        let number = state.nodes;
        state.nodes += 1;
        Self { shared: Arc::clone(&self.shared), node: Node::new(number) }
    }

    /// What goes wrong between this node and the remote.
    #[must_use]
    pub fn faults(&self) -> Faults<'_> {
        Faults(self)
    }

    /// Puts bytes under a name, for ever, as another program might: over what is there, whatever the capacity.
    pub fn put_foreign(&self, name: &[u8], bytes: &[u8]) {
        self.put(name, What::Bytes(bytes.into()));
    }

    /// Puts something under a name that is no value: [`Found::Foreign`](crate::tier::Found::Foreign).
    pub fn put_other_type(&self, name: &[u8]) {
        self.put(name, What::Other);
    }

    fn put(&self, name: &[u8], what: What) {
        self.shared.act(None, |store| store.put_unbounded(name, what));
    }

    /// The bytes under a name, past all faults and uncounted.
    ///
    /// ```
    /// use cachette::tier::MemoryRemote;
    ///
    /// let remote = MemoryRemote::new();
    /// remote.put_foreign(b"name", b"bytes");
    /// assert_eq!(remote.peek(b"name"), Some(b"bytes".to_vec()));
    /// ```
    #[must_use]
    pub fn peek(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.shared.act(None, |store| store.peek(name))
    }

    /// Frees all that has expired, and tells of it: what a server does in its own time.
    pub fn expire(&self) {
        self.shared.act(None, |store| store.free_expired(usize::MAX));
    }

    /// Ends the lines of all nodes, as a restart of the server does, with its data or without. Nobody is told what was lost.
    pub fn restart(&self, data: Data) {
        let now = nanos(self.shared.clock.now());
        let mut state = self.shared.state.lock();
        if data == Data::Lost {
            state.clear(now);
        }
        let lines = std::mem::take(&mut state.lines);
        drop(state);
        for line in lines {
            line.cut(RemoteError::Unreachable("the remote was restarted".to_owned()));
        }
    }
}

/// What goes wrong between one node and a [`MemoryRemote`]. Nothing does by itself, and nothing waits for time to pass: what hangs
/// goes on when the test says so.
///
/// ```
/// use cachette::tier::{Op, MemoryRemote, Place, Read, Remote, RemoteError, Side};
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
///
/// let mut context = Context::from_waker(Waker::noop());
/// let remote = MemoryRemote::new();
/// let place = Place { value: b"{7}".to_vec(), lease: b"lease{7}".to_vec() };
/// let reads = [Read { place: &place, claim: None }];
///
/// // The next one fails.
/// let down = RemoteError::Unreachable("for a test".to_string());
/// remote.faults().fail(Op::Read, 1, down.clone());
/// assert_eq!(pin!(remote.read(&reads)).poll(&mut context), Poll::Ready(Err(down)));
///
/// // The one after it is done, and its answer is late.
/// remote.faults().hold(Op::Read, Side::After);
/// let mut read = pin!(remote.read(&reads));
/// assert!(read.as_mut().poll(&mut context).is_pending());
/// assert_eq!(remote.faults().held(), [Op::Read]);
/// remote.faults().release();
/// assert!(read.poll(&mut context).is_ready());
///
/// assert_eq!(remote.faults().count(Op::Read).calls, 2);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Faults<'a>(&'a MemoryRemote);

impl Faults<'_> {
    fn node(&self) -> &Node {
        &self.0.node
    }

    /// The next `times` operations of this kind fail, and are not done. Scripts are used up one after the other, each operation uses one.
    pub fn fail(&self, op: Op, times: u64, error: RemoteError) {
        self.node().script_next(op, times, false, error);
    }

    /// The next `times` operations of this kind are done, but their answers are lost: they fail with [`RemoteError::Unreachable`].
    pub fn lose_answers(&self, op: Op, times: u64) {
        let error = RemoteError::Unreachable("the answer was lost".to_owned());
        self.node().script_next(op, times, true, error);
    }

    /// From now on operations of this kind are parked, until they are [released](Self::release). One that is parked on both sides
    /// is to be released twice.
    pub fn hold(&self, op: Op, side: Side) {
        self.hold_next(op, u64::MAX, side);
    }

    /// The same for the next `times` that come to this side, and for no others.
    pub fn hold_next(&self, op: Op, times: u64, side: Side) {
        self.node().hold(op, side, times);
    }

    /// The operations that are parked, the first first: those that are held, and those to which nothing gets through.
    #[must_use]
    pub fn held(&self) -> Vec<Op> {
        self.node().parked()
    }

    /// Blocks this thread until so many operations are parked: for tests with threads.
    pub fn wait_until_held(&self, number: usize) {
        self.node().wait_parked(number);
    }

    /// Holds no more, and lets all go on that is held.
    pub fn release(&self) {
        self.node().release(&Ok(()));
    }

    /// Lets the first go on of those that are held. False if none is.
    #[must_use = "false means that nothing was held"]
    pub fn release_next(&self) -> bool {
        self.node().release_next(&Ok(()))
    }

    /// Holds no more, and lets all fail that is held. What was held [before](Side::Before) it was done will not be done; what was held
    /// [after](Side::After) is done, and its answer is lost.
    pub fn fail_held(&self, error: RemoteError) {
        self.node().release(&Err(error));
    }

    /// The same for the first of those that are held alone; others go on being held. False if none is.
    #[must_use = "false means that nothing was held"]
    pub fn fail_next_held(&self, error: RemoteError) -> bool {
        self.node().release_next(&Err(error))
    }

    /// What becomes of operations. Those that hang go on and are done when the path is open again, and fail undone when it is cut. A cut
    /// fails those that are [held](Self::hold), too.
    pub fn calls(&self, path: Path) {
        self.node().set_calls(path);
    }

    /// What becomes of the lines of this node. What a line is not told while it is silent it is told, in order, when it is open again,
    /// unless a test [has it otherwise](Self::edit_news). A listener who is not answered gives up after its patience.
    pub fn lines(&self, path: Path) {
        let (state, lines) = self.own_lines();
        self.node().set_lines(path);
        lines.iter().for_each(|line| line.set_silent(path == Path::Silent));
        drop(state);
        match path {
            Path::Open => deliver(lines),
            Path::Silent => {}
            Path::Cut => lines.iter().for_each(|line| {
                line.cut(RemoteError::Unreachable("the line was cut".to_owned()));
            }),
        }
    }

    /// What becomes of both: a partition.
    ///
    /// ```
    /// use cachette::tier::{MemoryRemote, Path, Remote, RemoteError};
    /// use std::pin::pin;
    /// use std::task::{Context, Poll, Waker};
    ///
    /// let mut context = Context::from_waker(Waker::noop());
    /// let remote = MemoryRemote::new();
    /// remote.faults().partition(Path::Silent);
    /// let mut heads = pin!(remote.heads(&[b"name"]));
    /// assert!(heads.as_mut().poll(&mut context).is_pending());
    /// remote.faults().partition(Path::Cut);
    /// assert!(matches!(heads.poll(&mut context), Poll::Ready(Err(RemoteError::Unreachable(_)))));
    /// remote.faults().heal();
    /// assert_eq!(pin!(remote.heads(&[b"name"])).poll(&mut context), Poll::Ready(Ok(vec![None])));
    /// ```
    pub fn partition(&self, path: Path) {
        self.calls(path);
        self.lines(path);
    }

    /// Nothing goes wrong any more: scripts are forgotten, what is parked goes on, and all gets through.
    pub fn heal(&self) {
        self.node().heal();
        self.lines(Path::Open);
    }

    /// What waits for the listeners of this node, which hear nothing.
    #[must_use]
    pub fn news(&self) -> Vec<News> {
        let (state, lines) = self.own_lines();
        drop(state);
        lines.iter().flat_map(|line| line.waiting()).collect()
    }

    /// Changes what waits for the listeners of this node, one after the other: a test may lose some of it, or have it come in another order.
    ///
    /// ```
    /// use cachette::tier::{MemoryRemote, News, Path};
    ///
    /// let remote = MemoryRemote::new();
    /// remote.faults().lines(Path::Silent);
    /// // What somebody tells meanwhile is lost, and the line goes on as if nothing had been.
    /// remote.faults().edit_news(|news| news.retain(|one| !matches!(one, News::Message(_))));
    /// remote.faults().lines(Path::Open);
    /// ```
    pub fn edit_news(&self, mut edit: impl FnMut(&mut Vec<News>)) {
        let (state, lines) = self.own_lines();
        drop(state);
        lines.iter().for_each(|line| line.edit(&mut edit));
    }

    /// In which ways new listeners can be told: by a server that can do less, or refuses. At first these are all but [`Mode::OptIn`]:
    /// a node to which that is offered is told of changes of what was read, or written, by this node since it listens. An operation of
    /// the node that is not answered, or waited for no longer, ends that line at its next beat: what is read by then is told of by none.
    pub fn offer(&self, modes: &[Mode]) {
        self.node().set_modes(modes);
    }

    /// From now on this node has a replica, which lags by exactly this much, and says so; `None`: it has none, as at first. It lacks what has
    /// changed since, and at the very moment. What it holds before the first of this remote's nodes has one is taken to have been there
    /// for ever.
    ///
    /// ```
    /// use cachette::ManualClock;
    /// use cachette::tier::{Found, MemoryRemote, Place, Remote};
    /// use std::pin::pin;
    /// use std::task::{Context, Poll, Waker};
    /// use std::time::Duration;
    ///
    /// let (clock, second) = (ManualClock::new(), Duration::from_secs(1));
    /// let remote = MemoryRemote::with_clock(clock.clone());
    /// remote.faults().replica(Some(second));
    /// clock.advance(second);
    /// remote.put_foreign(b"{7}", b"bytes");
    /// let (place, mut context) = (Place::of(b"{7}".to_vec()), Context::from_waker(Waker::noop()));
    /// let mut found = || match pin!(remote.read_replica(&[&place], second)).poll(&mut context) {
    ///     Poll::Ready(Ok(Some(replicated))) => replicated.found[0].clone(),
    ///     other => panic!("{other:?}"),
    /// };
    /// clock.advance(second);
    /// assert_eq!(found(), Found::Nothing);
    /// clock.advance(Duration::from_nanos(1));
    /// assert_eq!(found(), Found::Value { bytes: b"bytes".to_vec(), left: None });
    /// ```
    pub fn replica(&self, lag: Option<Duration>) {
        if lag.is_some() {
            self.0.shared.remember();
        }
        self.node().set_replica(lag);
    }

    /// How many operations of this kind were asked for since the last [reset](Self::reset_counts), and for how many names. Those that fail
    /// count.
    #[must_use]
    pub fn count(&self, op: Op) -> Count {
        self.node().count(op)
    }

    /// Begins to count anew.
    pub fn reset_counts(&self) {
        self.node().reset_counts();
    }

    fn own_lines(&self) -> (MutexGuard<'_, State>, Vec<Arc<Line>>) {
        let state = self.0.shared.state.lock();
        let own = state.lines.iter().filter(|line| line.node == self.node().number());
        let lines = own.cloned().collect();
        (state, lines)
    }
}

impl Store {
    /// Puts something there for ever, whatever the capacity.
    fn put_unbounded(&mut self, name: &[u8], what: What) {
        let capacity = self.set_capacity(u64::MAX);
        // It cannot be refused: there is no bound.
        let _ = self.put(name, what, Duration::MAX);
        self.set_capacity(capacity);
    }
}
