//! What the second level must be able to do: a few operations on bytes, each atomic, and a line on which it tells of changes.
//!
//! A value lies under its [`Place`]: the name of the value and the name of its lease, which a store that is spread over machines keeps
//! together. Whoever finds no value may claim the lease in the same step; a value that is loaded is written only if the lease is
//! still there with the loader's token. A deletion ends the lease as well, so what was loaded before it is never written after it.
//!
//! ```text
//!   read + claim ─┬─ a value ───────────────► it, and how long it will live
//!                 ├─ none, and no lease ────► Granted: load, then write if still leased
//!                 └─ none, and a lease ─────► Held: somebody loads; ask again
//!
//!   delete ───────► value and lease are gone; all who listen are told
//!   write ────────► Always | Leased(token), and never over a newer version
//! ```

use super::envelope::HEAD;
use crate::load::Task;
use crate::sync::Arc;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;
use thiserror::Error;

/// What a remote answers, once.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, RemoteError>> + Send + 'a>>;

/// Why a remote has not done what it was asked for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteError {
    /// It is not reached, or the connection broke: it may have done it, or not.
    #[error("the remote is not reached: {0}")]
    Unreachable(String),
    /// It has not answered in time: it may have done it, or not.
    #[error("the remote has not answered within {0:?}")]
    TimedOut(Duration),
    /// It refused: the password is wrong, its memory is full, it is a replica.
    #[error("the remote refused: {0}")]
    Refused(String),
    /// Its answer makes no sense.
    #[error("the remote's answer is not understood: {0}")]
    Garbled(String),
    /// It was not asked: it has failed so often that it is left alone for a while.
    #[error("the remote was not asked: it has failed too often")]
    Spared,
}

/// Where a value lies. Both names lie on the same machine of a cluster: what is between the braces is the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The name of the value. It begins with the prefix that is [listened](Remote::listen) to.
    pub value: Vec<u8>,
    /// The name of its lease, which is a [lock](Remote::lock). It does not.
    pub lease: Vec<u8>,
}

impl Place {
    /// The place of a value: its lease has the same name, with `lease` before it.
    #[must_use]
    pub fn of(value: Vec<u8>) -> Self {
        let lease = [b"lease", value.as_slice()].concat();
        Self { value, lease }
    }
}

/// Who holds a lease or a lock: drawn at random by the holder, and never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub [u8; 16]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:032x})", u128::from_be_bytes(self.0))
    }
}

/// What is asked for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read<'a> {
    /// Where.
    pub place: &'a Place,
    /// Take the lease where there is no value.
    pub claim: Option<Claim>,
}

/// Taking a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose it will be.
    pub token: Token,
    /// After this long it ends by itself.
    pub ttl: Duration,
    /// A value with these first bytes, filled up with zeros if it is shorter, counts as none: it was read before, and is no good. It stays
    /// until another is written.
    pub instead_of: Option<[u8; HEAD]>,
}

/// What was found at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A value.
    Value {
        /// As it was written.
        bytes: Vec<u8>,
        /// For how long it will be there; `None` if for ever. It counts from some instant between question and answer.
        left: Option<Duration>,
    },
    /// No value; who asked has the lease.
    Granted,
    /// No value, and somebody has the lease, for at most this long.
    Held(Duration),
    /// No value, and nobody claimed.
    Nothing,
    /// Something that is no value: a list, a set. It is left as it is.
    Foreign,
}

/// What a replica has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicated {
    /// What it has at each place: [`Found::Value`], [`Found::Nothing`] or [`Found::Foreign`].
    pub found: Vec<Found>,
    /// All that had changed this long before it was asked is in it. It may lack what changed later, or at that very moment.
    pub age: Duration,
}

/// A value that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// Where.
    pub place: &'a Place,
    /// What: an envelope, whose first [`HEAD`] bytes are compared.
    pub bytes: &'a [u8],
    /// For how long; at least a millisecond.
    pub ttl: Duration,
    /// Only if this token holds the lease. Written or not, the lease of another stays; one's own ends.
    /// `None` is in any case, and ends any lease.
    pub leased: Option<Token>,
    /// Only if no value with a higher version is there, as its envelope says.
    pub version: Option<u64>,
    /// Whom to tell, in the same step, if it was written.
    pub tell: Option<Tell<'a>>,
}

/// A value that is to be deleted, with its lease.
#[derive(Clone, Copy, Debug)]
pub struct Delete<'a> {
    /// Where.
    pub place: &'a Place,
    /// A value of this version, or of a higher one, stays. The lease ends in any case.
    pub unless: Option<u64>,
    /// Whom to tell, in the same step, whether or not there was a value.
    pub tell: Option<Tell<'a>>,
}

/// A message for all who [listen](Remote::listen) on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tell<'a> {
    /// To whom.
    pub channel: &'a [u8],
    /// What.
    pub message: &'a [u8],
}

/// What is done with a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Take it, if nobody has it, for this long.
    Take(Duration),
    /// Keep it for this long from now, if it is one's own.
    Extend(Duration),
    /// Give it back, if it is one's own.
    Free,
}

/// A part of the names that were looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Names; some may come twice, or not exist any more.
    pub names: Vec<Vec<u8>>,
    /// Where to go on; `None` after the last page.
    pub next: Option<Vec<u8>>,
}

/// How a remote tells of changes, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Mode {
    /// It tells of every change of every name with a prefix, whoever made it.
    Tracking,
    /// It tells of the next change of what was read, or written, on the same connection, whoever made it. So a process is told of
    /// nothing that it has not asked for, which is worth it where the names are many more than one process reads, or change much
    /// more often than it reads them. The server keeps a table of who has read what, and a script that writes does two commands more.
    ///
    /// `RedisTokio` (feature `redis-tokio`) alone offers it: who asks by many connections is told by one.
    OptIn,
    /// It passes on what those who change something tell each other.
    Messages,
    /// It does not.
    TtlOnly,
}

impl Mode {
    /// True if the server tells who makes a change of it too.
    pub(super) const fn echoes(self) -> bool {
        matches!(self, Self::Tracking | Self::OptIn)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tracking => "tracking by prefix",
            Self::OptIn => "tracking of what was read",
            Self::Messages => "messages",
            Self::TtlOnly => "TTL only",
        })
    }
}

/// What is listened for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Changes of names that begin with this.
    pub prefix: Vec<u8>,
    /// Messages on this channel, where changes are not told of.
    pub channel: Vec<u8>,
    /// In which ways, the best first. The first that the remote can do is taken.
    pub modes: Vec<Mode>,
    /// How often to ask whether the line is still there.
    pub beat: Duration,
    /// After this long without an answer it is not.
    pub patience: Duration,
}

/// Who listens. Its methods do not block for long; they are called in the order in which things happened, by one thread at a time.
pub trait Ear: Send + Sync {
    /// The line is there: nothing that is changed from now on will be missed. Called once, before all else.
    fn up(&self, mode: Mode);
    /// These names have changed, or are gone.
    fn changed(&self, names: &[&[u8]]);
    /// Any name may have changed.
    fn all_changed(&self);
    /// A message came on the channel.
    fn message(&self, message: &[u8]);
    /// The time by the listener's clock, to be taken before the line is asked whether it is there.
    fn now(&self) -> Duration;
    /// The line answered what it was asked at that time; what had changed before has been told before this.
    fn alive(&self, asked: Duration);
    /// A future that is ready once this much time has passed.
    fn sleep(&self, time: Duration) -> Task;
    /// True if nobody is interested any more: the line is to be given up. To be asked at every beat.
    fn is_gone(&self) -> bool;
}

/// A store that many processes share, as the second level of a cache: Redis, or another that can do this.
///
/// Each operation is atomic, for each of its items by itself. One that fails may have been done.
///
/// Implementations: `MemoryRemote` in this process, `Redis` behind the features `redis` and `redis-tokio`. A new one can
/// be tried by the same laws as these (feature `test-kit`).
pub trait Remote: Send + Sync + 'static {
    /// True if its futures block the thread that polls them, and never suspend. They are then polled where blocking does no harm.
    fn blocks(&self) -> bool;

    /// What lies at each place, and for how long; leases, where they are claimed. In the order of `reads`.
    fn read<'a>(&'a self, reads: &'a [Read<'a>]) -> Reply<'a, Vec<Found>>;

    /// What a replica has at each place, in the order of `places`, and how old that may be: no older than `lag` is wanted. It grants no
    /// leases. `None`: there is no replica, which is what there is unless this is implemented, or nothing is known of it yet. An error:
    /// all there are have failed, or lag more. Either way the caller asks for what it needs by [`read`](Self::read).
    fn read_replica<'a>(
        &'a self,
        places: &'a [&'a Place],
        lag: Duration,
    ) -> Reply<'a, Option<Replicated>> {
        let (_, _) = (places, lag);
        Box::pin(std::future::ready(Ok(None)))
    }

    /// The first [`HEAD`] bytes of each value, `None` where there is none that is so long. In the order of `names`.
    fn heads<'a>(&'a self, names: &'a [&'a [u8]]) -> Reply<'a, Vec<Option<[u8; HEAD]>>>;

    /// Writes values. True where it was written.
    fn write<'a>(&'a self, writes: &'a [Write<'a>]) -> Reply<'a, Vec<bool>>;

    /// Deletes values, with their leases. True where there is none left.
    fn delete<'a>(&'a self, deletes: &'a [Delete<'a>]) -> Reply<'a, Vec<bool>>;

    /// The number under each name; where there is none, `fresh` is put there for `ttl`, and returned. [`Duration::MAX`] is for ever.
    fn numbers<'a>(
        &'a self,
        names: &'a [&'a [u8]],
        fresh: u64,
        ttl: Duration,
    ) -> Reply<'a, Vec<u64>>;

    /// Puts a number under a name, for `ttl`.
    fn set_number<'a>(
        &'a self,
        name: &'a [u8],
        number: u64,
        ttl: Duration,
        tell: Option<Tell<'a>>,
    ) -> Reply<'a, ()>;

    /// Takes, keeps or gives back a lock. True if it was done.
    fn lock<'a>(&'a self, name: &'a [u8], token: Token, turn: Turn) -> Reply<'a, bool>;

    /// A page of the names that match a glob pattern (`*`, `?`, `[a-z]`, `\`), from where the page before it ended. What is there from the
    /// first page to the last is on one of them.
    fn scan<'a>(&'a self, pattern: &'a [u8], from: Option<&'a [u8]>) -> Reply<'a, Page>;

    /// Tells `ear` of what changes, until the line is lost: it ends with the reason.
    fn listen<'a>(&'a self, listen: &'a Listen, ear: Arc<dyn Ear>) -> Reply<'a, Infallible>;
}

/// One that is shared: by several caches, or a cache and [`Locks`](super::Locks).
impl<R: Remote + ?Sized> Remote for Arc<R> {
    fn blocks(&self) -> bool {
        (**self).blocks()
    }

    fn read<'a>(&'a self, reads: &'a [Read<'a>]) -> Reply<'a, Vec<Found>> {
        (**self).read(reads)
    }

    fn read_replica<'a>(
        &'a self,
        places: &'a [&'a Place],
        lag: Duration,
    ) -> Reply<'a, Option<Replicated>> {
        (**self).read_replica(places, lag)
    }

    fn heads<'a>(&'a self, names: &'a [&'a [u8]]) -> Reply<'a, Vec<Option<[u8; HEAD]>>> {
        (**self).heads(names)
    }

    fn write<'a>(&'a self, writes: &'a [Write<'a>]) -> Reply<'a, Vec<bool>> {
        (**self).write(writes)
    }

    fn delete<'a>(&'a self, deletes: &'a [Delete<'a>]) -> Reply<'a, Vec<bool>> {
        (**self).delete(deletes)
    }

    fn numbers<'a>(
        &'a self,
        names: &'a [&'a [u8]],
        fresh: u64,
        ttl: Duration,
    ) -> Reply<'a, Vec<u64>> {
        (**self).numbers(names, fresh, ttl)
    }

    fn set_number<'a>(
        &'a self,
        name: &'a [u8],
        number: u64,
        ttl: Duration,
        tell: Option<Tell<'a>>,
    ) -> Reply<'a, ()> {
        (**self).set_number(name, number, ttl, tell)
    }

    fn lock<'a>(&'a self, name: &'a [u8], token: Token, turn: Turn) -> Reply<'a, bool> {
        (**self).lock(name, token, turn)
    }

    fn scan<'a>(&'a self, pattern: &'a [u8], from: Option<&'a [u8]>) -> Reply<'a, Page> {
        (**self).scan(pattern, from)
    }

    fn listen<'a>(&'a self, listen: &'a Listen, ear: Arc<dyn Ear>) -> Reply<'a, Infallible> {
        (**self).listen(listen, ear)
    }
}
