//! The laws of [`Remote`], as one suite for every remote: those of this crate, and yours.
//!
//! ```
//! use cachette::ManualClock;
//! use cachette::tier::{MemoryRemote, laws};
//! use std::sync::Arc;
//!
//! let clock = ManualClock::new();
//! let remote = MemoryRemote::with_clock(clock.clone());
//! // A remote that goes by a clock of its own needs a closure that sleeps: `std::thread::sleep`.
//! laws::check(&laws::Trial::new(Arc::new(remote), move |time| clock.advance(time)));
//! ```
//!
//! The module is there with the feature `test-kit`, which brings no dependency. Name it in the development dependencies alone.
//!
//! # What is checked
//!
//! Each law is a function of this module, whose documentation says it in a sentence. [`LAWS`] lists them, and [`check`] runs them all and
//! panics with those that are broken:
//!
//! ```text
//! 2 laws of a remote are broken:
//!   a_deletion_ends_the_lease: a fill with a lease that a deletion ended was answered with true
//!   names_are_any_bytes: `a\x00b` and `a\x00c` are one
//! ```
//!
//! What cannot be seen from outside is not checked: that an operation is atomic, that a failed one is not done twice.
//!
//! # How it runs
//!
//! The remote may hold other things, and others may use it: the suite's names begin with a run's own number, which is drawn at random.
//! What it leaves behind expires within two minutes.
//!
//! Operations are waited for on the calling thread. A remote that needs tokio is checked inside `Runtime::enter` of a runtime with
//! threads, with [`Trial::spawn`] given a `Tokio`: its lines run there.
//!
//! With a remote whose clock is moved by hand it takes a tenth of a second, else about two seconds, of which most is waiting for
//! something to expire. Only if a listener is not told what it should be, it waits ten seconds for that.

use super::envelope::{HEAD, VERSION_AT};
use super::remote::{Claim, Delete, Found, Mode, Place, Read, Remote, RemoteError, Token, Write};
use crate::load::{Spawn, Threads, block_on};
use crate::sync::{Arc, AtomicU64, Ordering};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

mod leases;
mod listening;
mod names;
mod rest;
mod values;
mod versions;

pub use leases::{
    a_claim_instead_of_a_value_goes_by_its_head, a_claim_is_granted_once,
    a_deletion_ends_the_lease, a_fill_ends_its_lease, a_fill_needs_its_lease,
    a_write_without_a_lease_ends_it, an_expired_lease_is_free, only_a_claim_takes_a_lease,
};
pub use listening::{
    a_line_that_nobody_wants_ends, changes_are_told_before_the_line_is_alive,
    messages_are_told_in_order, what_was_read_is_told_of_when_it_changes,
};
pub use names::{a_scan_finds_what_stays, names_are_any_bytes, patterns_are_those_of_redis};
pub use rest::{a_lock_is_one_holder_s, numbers_are_put_once, set_numbers_replace};
pub use values::{
    a_deletion_leaves_nothing, answers_are_in_the_order_asked, heads_are_of_long_values,
    nothing_asked_is_nothing_answered, the_time_left_is_told, values_are_any_bytes, values_expire,
};
pub use versions::{a_higher_version_is_not_deleted, a_higher_version_stays};

/// A law that does not hold: what was seen instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(String);

/// What a law answers.
pub type Held = Result<(), Broken>;

/// A law.
pub type Law = fn(&Trial) -> Held;

/// All laws, by their names.
pub const LAWS: &[(&str, Law)] = &[
    ("a_claim_is_granted_once", a_claim_is_granted_once),
    ("only_a_claim_takes_a_lease", only_a_claim_takes_a_lease),
    ("a_fill_needs_its_lease", a_fill_needs_its_lease),
    ("a_fill_ends_its_lease", a_fill_ends_its_lease),
    ("a_deletion_ends_the_lease", a_deletion_ends_the_lease),
    ("a_write_without_a_lease_ends_it", a_write_without_a_lease_ends_it),
    ("an_expired_lease_is_free", an_expired_lease_is_free),
    ("a_claim_instead_of_a_value_goes_by_its_head", a_claim_instead_of_a_value_goes_by_its_head),
    ("a_higher_version_stays", a_higher_version_stays),
    ("a_higher_version_is_not_deleted", a_higher_version_is_not_deleted),
    ("values_are_any_bytes", values_are_any_bytes),
    ("values_expire", values_expire),
    ("the_time_left_is_told", the_time_left_is_told),
    ("a_deletion_leaves_nothing", a_deletion_leaves_nothing),
    ("heads_are_of_long_values", heads_are_of_long_values),
    ("answers_are_in_the_order_asked", answers_are_in_the_order_asked),
    ("nothing_asked_is_nothing_answered", nothing_asked_is_nothing_answered),
    ("names_are_any_bytes", names_are_any_bytes),
    ("a_scan_finds_what_stays", a_scan_finds_what_stays),
    ("patterns_are_those_of_redis", patterns_are_those_of_redis),
    ("numbers_are_put_once", numbers_are_put_once),
    ("set_numbers_replace", set_numbers_replace),
    ("a_lock_is_one_holder_s", a_lock_is_one_holder_s),
    ("changes_are_told_before_the_line_is_alive", changes_are_told_before_the_line_is_alive),
    ("what_was_read_is_told_of_when_it_changes", what_was_read_is_told_of_when_it_changes),
    ("messages_are_told_in_order", messages_are_told_in_order),
    ("a_line_that_nobody_wants_ends", a_line_that_nobody_wants_ends),
];

/// Holds a remote to every law.
///
/// # Panics
///
/// If a law is broken: with all that are, and what was seen.
///
/// # Example
///
/// A remote behind a network that loses every deletion.
///
/// ```should_panic
/// # use cachette::ManualClock;
/// use cachette::tier::{MemoryRemote, Op, RemoteError, laws};
/// use std::sync::Arc;
///
/// # let clock = ManualClock::new();
/// let remote = MemoryRemote::with_clock(clock.clone());
/// remote.faults().fail(Op::Delete, u64::MAX, RemoteError::Unreachable("lost".to_string()));
/// laws::check(&laws::Trial::new(Arc::new(remote), move |time| clock.advance(time)));
/// ```
#[track_caller]
pub fn check(trial: &Trial) {
    let broken = broken(trial);
    let text: String = broken.iter().map(|(law, why)| format!("\n  {law}: {why}")).collect();
    assert!(broken.is_empty(), "{} laws of a remote are broken:{text}", broken.len());
}

/// The laws that a remote breaks, by their names.
///
/// ```
/// # use cachette::ManualClock;
/// use cachette::tier::{MemoryRemote, laws};
/// use std::sync::Arc;
///
/// # let clock = ManualClock::new();
/// # let remote = MemoryRemote::with_clock(clock.clone());
/// let trial = laws::Trial::new(Arc::new(remote), move |time| clock.advance(time));
/// assert_eq!(laws::broken(&trial), []);
/// ```
#[must_use]
pub fn broken(trial: &Trial) -> Vec<(&'static str, Broken)> {
    let tried = LAWS.iter().map(|(name, law)| (*name, law(trial)));
    tried.filter_map(|(name, held)| held.err().map(|why| (name, why))).collect()
}

/// A remote that is tried.
pub struct Trial {
    remote: Arc<dyn Remote>,
    pass: Box<dyn Fn(Duration) + Send + Sync>,
    modes: Vec<Mode>,
    spawn: Arc<dyn Spawn>,
    patience: Duration,
    run: u64,
    drawn: AtomicU64,
}

impl Trial {
    /// Tries this remote. `pass` lets time go by for it: it sleeps, or moves the clock by hand.
    pub fn new(remote: Arc<dyn Remote>, pass: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self {
            remote,
            pass: Box::new(pass),
            modes: vec![Mode::Tracking, Mode::Messages],
            spawn: Arc::new(Threads::new()),
            patience: Duration::from_secs(10),
            run: RandomState::new().hash_one(0),
            drawn: AtomicU64::new(0),
        }
    }

    /// The ways in which it can tell of changes: those that are not named are not tried. At first [`Mode::Tracking`] and
    /// [`Mode::Messages`]; [`Mode::OptIn`] is tried where it is named.
    ///
    /// ```
    /// use cachette::tier::{MemoryRemote, Mode, laws::Trial};
    /// use std::sync::Arc;
    ///
    /// // A server too old for tracking.
    /// let trial = Trial::new(Arc::new(MemoryRemote::new()), std::thread::sleep).modes(&[Mode::Messages]);
    /// ```
    #[must_use]
    pub fn modes(mut self, modes: &[Mode]) -> Self {
        self.modes = modes.to_vec();
        self
    }

    /// Where lines run. At first this is a [`Threads`] of its own.
    #[must_use]
    pub fn spawn(mut self, spawn: Arc<dyn Spawn>) -> Self {
        self.spawn = spawn;
        self
    }

    /// How long a listener waits for what he should be told, in real time. At first this is ten seconds: only a remote that breaks a law
    /// takes so long.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A number that was never there before.
    fn draw(&self) -> u64 {
        self.drawn.fetch_add(1, Ordering::Relaxed)
    }

    fn token(&self) -> Token {
        Token((u128::from(self.run) << 64 | u128::from(self.draw())).to_be_bytes())
    }

    /// How the names of values begin, and no other: for what is listened to.
    fn prefix(&self, group: &str) -> Vec<u8> {
        format!("{{laws{:016x}.{group}:", self.run).into_bytes()
    }

    fn place(&self, group: &str, key: &[u8]) -> Place {
        let value = [&self.prefix(group), key, b"}"].concat();
        let lease = [b"lease".as_slice(), &value].concat();
        Place { value, lease }
    }

    /// A place where nothing was before.
    fn fresh(&self) -> Place {
        self.place("f", self.draw().to_string().as_bytes())
    }

    /// An envelope with this version, unlike all others, and as long as a head and this many bytes.
    fn envelope(&self, version: u64, more: usize) -> Vec<u8> {
        let mut bytes = vec![0xc5; HEAD + more];
        for (at, number) in [(VERSION_AT, version), (VERSION_AT + 8, self.draw())] {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn pass(&self, time: Duration) {
        (self.pass)(time);
    }

    fn read(&self, place: &Place, claim: Option<Claim>) -> Result<Found, Broken> {
        let found = answered("a read", block_on(self.remote.read(&[Read { place, claim }])))?;
        one("a read", found)
    }

    /// A claim for a lease that will last.
    fn claim(&self, place: &Place, token: Token) -> Result<Found, Broken> {
        self.read(place, Some(Claim { token, ttl: LONG, instead_of: None }))
    }

    fn write(&self, write: Write<'_>) -> Result<bool, Broken> {
        one("a write", answered("a write", block_on(self.remote.write(&[write])))?)
    }

    /// Writes in any case.
    fn put(&self, place: &Place, bytes: &[u8]) -> Held {
        same("a write in any case", &self.write(plain(place, bytes))?, &true)
    }

    fn delete(&self, delete: Delete<'_>) -> Result<bool, Broken> {
        one("a deletion", answered("a deletion", block_on(self.remote.delete(&[delete])))?)
    }

    /// Nothing is at the place, and nobody has its lease: who claims it, gets it.
    fn is_free(&self, place: &Place) -> Held {
        let what = "a claim where is no value and no lease";
        same(what, &self.claim(place, self.token())?, &Found::Granted)
    }

    /// At the place is this value.
    fn has(&self, place: &Place, should: &[u8]) -> Held {
        let found = self.read(place, None)?;
        match &found {
            Found::Value { bytes, .. } if bytes == should => Ok(()),
            Found::Value { bytes, .. } => {
                let (is, should) = (Shown(bytes), Shown(should));
                Err(Broken(format!("a read found the value {is} and not {should}")))
            }
            other => Err(Broken(format!("a read found {other:?} and not {}", Shown(should)))),
        }
    }
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial").field("run", &self.run).finish_non_exhaustive()
    }
}

/// So long that it does not end during the trial.
const LONG: Duration = Duration::from_secs(60);

/// So short that it is over after [`OVER`].
const SHORT: Duration = Duration::from_millis(40);

const OVER: Duration = Duration::from_millis(80);

/// The same where something must be done before it is over, also on a slow machine.
const BRIEF: Duration = Duration::from_millis(500);

const AFTER: Duration = Duration::from_millis(600);

/// A write in any case, which lasts.
fn plain<'a>(place: &'a Place, bytes: &'a [u8]) -> Write<'a> {
    Write { place, bytes, ttl: LONG, leased: None, version: None, tell: None }
}

/// A deletion in any case.
fn gone(place: &Place) -> Delete<'_> {
    Delete { place, unless: None, tell: None }
}

fn answered<T>(what: &str, answer: Result<T, RemoteError>) -> Result<T, Broken> {
    answer.map_err(|error| Broken(format!("{what} failed: {error}")))
}

/// The only answer there should be.
fn one<T: fmt::Debug>(what: &str, mut answers: Vec<T>) -> Result<T, Broken> {
    match (answers.pop(), answers.as_slice()) {
        (Some(answer), []) => Ok(answer),
        (last, before) => Err(Broken(format!("{what} has not one answer: {before:?}, {last:?}"))),
    }
}

fn same<T: PartialEq + fmt::Debug + ?Sized>(what: &str, is: &T, should: &T) -> Held {
    holds(is == should, || format!("{what} was answered with {is:?} and not {should:?}"))
}

fn holds(what: bool, otherwise: impl FnOnce() -> String) -> Held {
    if what { Ok(()) } else { Err(Broken(otherwise())) }
}

/// Bytes as one can read them: the first few.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.0.get(..80).unwrap_or(self.0);
        write!(f, "`{}` of {} bytes", first.escape_ascii(), self.0.len())
    }
}
