//! The line to one who listens: a queue, which whoever filled it empties into the ear.
//!
//! ```text
//!   an operation, under the store's lock ──► push ──► queue ──► pop, no lock held ──► ear
//!                                                      ▲
//!   another, at the same time ──────────────► push ────┘  finds that somebody is telling, and leaves it to him
//! ```
//!
//! **Invariants**
//!
//! 1. Changes are pushed under the store's lock: the queue has them in the order in which they happened.
//! 2. One thread at a time tells the ear; what comes meanwhile is told by that thread, in order. So an ear may call the remote, and
//!    is told of what it does there after it has returned.
//! 3. The ear is told outside locks.
//! 4. After the line was cut nothing is told any more, but for what was being told just then.

use super::super::remote::{Ear, Mode, RemoteError};
use super::store::{Changes, Name};
use crate::caught::caught;
use crate::sync::{Arc, Mutex};
use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How much may wait for a listener that is slow. One that is slower loses its line, as with Redis.
const WAITING: usize = 1 << 16;

/// What a listener is told. For tests that look at what waits for a listener that hears nothing, or change it: see
/// `Faults::edit_news`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(any(test, feature = "test-kit")),
    expect(unreachable_pub, reason = "the test kit shows it")
)]
pub enum News {
    /// The line is there.
    Up(Mode),
    /// These names have changed.
    Changed(Vec<Arc<[u8]>>),
    /// Any name may have changed.
    AllChanged,
    /// A message on the channel.
    Message(Arc<[u8]>),
    /// The line is there, as it was when it was asked at this time of the listener.
    Alive(Duration),
}

/// Whose line, and what is told on it.
pub(super) struct Line {
    pub(super) node: u64,
    /// The one that its node read by when it began.
    connection: u64,
    prefix: Vec<u8>,
    channel: Vec<u8>,
    mode: Mode,
    pub(super) ear: Arc<dyn Ear>,
    /// What its node has read, and was not told of since.
    read: Mutex<BTreeSet<Name>>,
    inbox: Mutex<Inbox>,
}

#[derive(Default)]
struct Inbox {
    queue: VecDeque<News>,
    /// Somebody is telling the ear.
    telling: bool,
    /// Nothing gets through, in either direction.
    silent: bool,
    /// What was asked last has been answered.
    answered: bool,
    cut: Option<RemoteError>,
    /// The future that listens.
    waker: Option<Waker>,
}

impl Line {
    pub(super) fn new(
        (node, connection): (u64, u64),
        (prefix, channel, mode): (&[u8], &[u8], Mode),
        ear: Arc<dyn Ear>,
        silent: bool,
    ) -> Self {
        let queue = VecDeque::from([News::Up(mode)]);
        let inbox = Mutex::new(Inbox { queue, silent, ..Inbox::default() });
        let (prefix, channel, read) = (prefix.to_vec(), channel.to_vec(), Mutex::default());
        Self { node, connection, prefix, channel, mode, ear, read, inbox }
    }

    /// True if it tells of changes of what that node reads by that connection.
    pub(super) fn is_of_reads(&self, reader: Option<(u64, u64)>) -> bool {
        self.mode == Mode::OptIn && reader == Some((self.node, self.connection))
    }

    /// True if it tells of what its node reads, and that reads by another connection by now.
    pub(super) fn is_left(&self, connection: u64) -> bool {
        self.mode == Mode::OptIn && connection != self.connection
    }

    /// Its node has read these: under the store's lock, before what an operation changed is posted, or after.
    pub(super) fn note(&self, names: &[Name]) {
        let fits = |name: &&Name| name.starts_with(&self.prefix);
        self.read.lock().extend(names.iter().filter(fits).cloned());
    }

    /// Queues what concerns this listener of what an operation changed. True if there is any.
    pub(super) fn post(&self, changes: &Changes) -> bool {
        match self.mode {
            Mode::Tracking => {
                let fits = |name: &&Name| name.starts_with(&self.prefix);
                let names: Vec<_> = changes.names.iter().filter(fits).cloned().collect();
                !names.is_empty() && self.push(News::Changed(names))
            }
            Mode::Messages => {
                let fits = changes.tells.iter().filter(|(channel, _)| *channel == self.channel);
                let push =
                    |_, (_, message): &(_, Arc<[u8]>)| self.push(News::Message(message.clone()));
                fits.fold(false, push)
            }
            Mode::OptIn => {
                let mut read = self.read.lock();
                // Once: who wants to be told again reads it again.
                let names: Vec<_> =
                    changes.names.iter().filter(|&name| read.remove(name)).cloned().collect();
                !names.is_empty() && self.push(News::Changed(names))
            }
            Mode::TtlOnly => false,
        }
    }

    /// Queues that any name may have changed, for who is told of changes.
    pub(super) fn flushed(&self) -> bool {
        self.read.lock().clear();
        self.mode.echoes() && self.push(News::AllChanged)
    }

    /// Queues one piece of news. It is true, so that it can be said in passing. It may be called under the store's lock, so
    /// who listens is woken later, by `deliver`.
    fn push(&self, news: News) -> bool {
        let mut inbox = self.inbox.lock();
        if inbox.queue.len() < WAITING && inbox.cut.is_none() {
            inbox.queue.push_back(news);
        } else {
            inbox.cut(RemoteError::Unreachable("the listener is too slow".to_owned()));
        }
        true
    }

    /// Tells the ear what is queued, unless somebody does so already. Wakes who listens, if the line was answered or lost.
    pub(super) fn deliver(&self) {
        while let Some(news) = self.next() {
            let panicked = caught(|| self.tell(&news));
            self.told(&news, panicked);
        }
        let mut inbox = self.inbox.lock();
        let ready = inbox.answered || inbox.cut.is_some();
        let waker = if ready { inbox.waker.take() } else { None };
        drop(inbox);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn next(&self) -> Option<News> {
        let mut inbox = self.inbox.lock();
        if inbox.telling || inbox.silent || inbox.cut.is_some() {
            return None;
        }
        let news = inbox.queue.pop_front()?;
        inbox.telling = true;
        Some(news)
    }

    fn tell(&self, news: &News) {
        match news {
            News::Up(mode) => self.ear.up(*mode),
            News::Changed(names) => {
                let names: Vec<&[u8]> = names.iter().map(AsRef::as_ref).collect();
                self.ear.changed(&names);
            }
            News::AllChanged => self.ear.all_changed(),
            News::Message(message) => self.ear.message(message),
            News::Alive(asked) => self.ear.alive(*asked),
        }
    }

    fn told(&self, news: &News, panicked: bool) {
        let mut inbox = self.inbox.lock();
        inbox.telling = false;
        inbox.answered |= matches!(news, News::Alive(_));
        if panicked {
            inbox.cut(RemoteError::Unreachable("the listener panicked".to_owned()));
        }
    }

    /// Ends the line for this reason, unless it has ended before.
    pub(super) fn cut(&self, why: RemoteError) {
        self.inbox.lock().cut(why);
        self.deliver();
    }

    /// Queues the question whether the line is there.
    pub(super) fn ask(&self, asked: Duration) {
        self.inbox.lock().answered = false;
        self.push(News::Alive(asked));
    }

    /// Waits until the question is answered, for this long at most.
    pub(super) async fn answer(&self, patience: Duration) -> Result<(), RemoteError> {
        if std::mem::take(&mut self.inbox.lock().answered) {
            return Ok(());
        }
        let mut sleep = self.ear.sleep(patience);
        poll_fn(move |context| {
            if self.listen(context)? {
                return Poll::Ready(Ok(()));
            }
            sleep.as_mut().poll(context).map(|()| Err(RemoteError::TimedOut(patience)))
        })
        .await
    }

    /// Waits this long, unless the line is lost before.
    pub(super) async fn sleep(&self, time: Duration) -> Result<(), RemoteError> {
        let mut sleep = self.ear.sleep(time);
        poll_fn(move |context| {
            self.listen(context)?;
            sleep.as_mut().poll(context).map(Ok)
        })
        .await
    }

    /// Whether the question was answered. The future is woken when it is, or when the line is lost.
    fn listen(&self, context: &Context<'_>) -> Result<bool, RemoteError> {
        let waker = context.waker().clone();
        let mut inbox = self.inbox.lock();
        if let Some(why) = &inbox.cut {
            return Err(why.clone());
        }
        let last = inbox.waker.replace(waker);
        // Taken: what is told later need not wake who sleeps until the next beat.
        let answered = std::mem::take(&mut inbox.answered);
        drop(inbox);
        drop(last);
        Ok(answered)
    }
}

impl Inbox {
    fn cut(&mut self, why: RemoteError) {
        self.cut.get_or_insert(why);
        self.queue.clear();
    }
}

#[cfg(any(test, feature = "test-kit"))]
impl Line {
    pub(super) fn set_silent(&self, silent: bool) {
        self.inbox.lock().silent = silent;
    }

    pub(super) fn waiting(&self) -> Vec<News> {
        self.inbox.lock().queue.iter().cloned().collect()
    }

    /// Lets a test change what waits.
    pub(super) fn edit(&self, edit: impl FnOnce(&mut Vec<News>)) {
        let mut queue = Vec::from(std::mem::take(&mut self.inbox.lock().queue));
        // The test's code runs outside the lock; what comes meanwhile stands behind.
        edit(&mut queue);
        let mut inbox = self.inbox.lock();
        queue.extend(inbox.queue.drain(..));
        inbox.queue = queue.into();
    }
}
