//! The laws of [`EvictionPolicy`], as one suite for every policy: those of this crate, and yours.
//!
//! ```
//! use cachette::policy::{Lru, SoonestDeadline, laws};
//!
//! laws::check(Lru::new); // any entry may leave
//! laws::check_where(SoonestDeadline::new, |meta| !meta.is_permanent());
//! ```
//!
//! The module is there with the feature `test-kit`, which brings no dependency. Name it in the development dependencies alone:
//!
//! ```toml
//! [dev-dependencies]
//! cachette = { version = "0.1", features = ["test-kit"] }
//! ```
//!
//! # What is checked
//!
//! The suite plays the engine: it hands out slots, frees and reuses them, moves entries, counts hits, and keeps the engine's side
//! of the laws (6 to 8) itself. After each step it holds the policy to its own:
//!
//! | law | what must hold |
//! |---|---|
//! | 1 | the victim is an entry that is resident and may leave; the newcomer is named only if there is one |
//! | 2 | asked again, with nothing between, [`victim`](EvictionPolicy::victim) answers the same |
//! | 3 | [`coldest`](EvictionPolicy::coldest) names each entry that may leave once, [`hottest`](EvictionPolicy::hottest) the same in reverse; the victim is the coldest; while one may leave, the answer is not [`Victim::None`] |
//! | 4 | [`len`](EvictionPolicy::len) and [`is_empty`](EvictionPolicy::is_empty) count the residents, those that may not leave too |
//! | 9 | an entry that moves without a change of its weight keeps its place, and so does every other |
//! | 10 | [`coldest_after`](EvictionPolicy::coldest_after), if there is one, goes on behind an entry as `coldest` does |
//!
//! And beside the numbered laws: a new deadline is not a use, so nobody else changes place by it;
//! [`assert_valid`](EvictionPolicy::assert_valid) holds after each step; nothing panics; and a policy in a box does the same.
//!
//! Law 5, that work a call is bounded, cannot be seen from outside. Count the steps of your own structure in a test of your own.
//!
//! # What it runs
//!
//! 128 random histories of up to 250 steps, each with the policy as it is and once more as a `Box<dyn EvictionPolicy>`. A step is an
//! insertion, an update in place or in another slot, a move, a new deadline, a hit, a miss, a removal for any cause, a question
//! for a victim, an eviction with or without a newcomer, a newcomer that is let in, a new share of the capacity, or the removal of
//! everything. Weights are 1 to 99, deadlines often equal, a third of the entries permanent; hashes come again, so that ghosts are
//! found. The histories are drawn from a fixed seed: the suite says the same each time, on every machine.
//!
//! It takes less than a second, also in a build without optimisation.
//!
//! # When a law is broken
//!
//! The check panics with the law, and with the calls that led there. It first leaves out of the history what it can, as long as
//! some law is still broken, so what is printed is short:
//!
//! ```text
//! law 9: Slot(3) stands where Slot(1) stood: [Slot(0), Slot(2), Slot(3)] is not [Slot(0), Slot(3), Slot(2)]
//! in the shortest history found:
//!   1. resize(100)
//!   2. insert(Slot(0), weight 22, deadline 3)
//!   3. insert(Slot(1), weight 57, deadline 7)
//!   4. insert(Slot(2), weight 40, deadline 6)
//!   5. relocate(Slot(1), Slot(3), weight 57, deadline 7)
//! ```
//!
//! `make` must make the same policy each time, a random one from a fixed seed: otherwise the shorter histories mean nothing. While
//! the suite looks for them, a policy that panics prints its panic many times.

use super::{EvictionPolicy, Meta, Slot, Victim};
use history::Op;
use segment::Held;
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

mod history;
mod segment;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use segment::CALM;
pub(super) use segment::Segment;

/// Which entries a policy may give up. What is false for one is in no order.
pub(super) type MayLeave = fn(&Meta) -> bool;

/// How many histories are run.
const HISTORIES: usize = 128;

/// Holds a policy that may give up any entry to every law.
///
/// # Panics
///
/// If a law is broken: with the law, and the shortest history found that breaks it.
///
/// # Example
///
/// A queue that looks right, and forgets that an entry whose value is replaced moves to another slot (law 9).
///
/// ```should_panic
/// use cachette::Cause;
/// use cachette::policy::{EvictionPolicy, Hears, HitCounters, Meta, Slot, Victim, laws};
///
/// #[derive(Default)]
/// struct Queue(Vec<Slot>);
///
/// impl EvictionPolicy for Queue {
///     fn hears(&self) -> Hears {
///         Hears::Nothing
///     }
///     fn insert(&mut self, slot: Slot, _: &Meta) {
///         self.0.push(slot);
///     }
///     fn remove(&mut self, slot: Slot, _: Cause) {
///         self.0.retain(|&other| other != slot);
///     }
///     fn victim(&mut self, _: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
///         self.0.first().map_or(Victim::None, |&slot| Victim::Entry(slot))
///     }
///     fn len(&self) -> usize {
///         self.0.len()
///     }
///     fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
///         Box::new(self.0.iter().copied())
///     }
///     fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
///         Box::new(self.0.iter().rev().copied())
///     }
/// }
///
/// laws::check(Queue::default);
/// ```
#[track_caller]
pub fn check<P: EvictionPolicy + 'static>(make: impl Fn() -> P) {
    check_where(make, |_| true);
}

/// Holds a policy that may give up some entries alone to every law: those for which `may_leave` is true.
///
/// ```
/// use cachette::policy::{Lru, NoEviction, Volatile, laws};
///
/// laws::check_where(|| Volatile::new(Lru::new()), |meta| !meta.is_permanent());
/// laws::check_where(NoEviction::new, |_| false);
/// ```
///
/// # Panics
///
/// If a law is broken: with the law, and the shortest history found that breaks it.
#[track_caller]
pub fn check_where<P: EvictionPolicy + 'static>(
    make: impl Fn() -> P,
    may_leave: fn(&Meta) -> bool,
) {
    let boxed = || -> Box<dyn EvictionPolicy> { Box::new(make()) };
    if let Err(broken) = hold(&make, may_leave).and_then(|()| hold(&boxed, may_leave)) {
        panic!("{broken}");
    }
}

/// Runs the histories. The first that breaks a law is shortened.
fn hold<P: EvictionPolicy>(make: &impl Fn() -> P, may_leave: MayLeave) -> Result<(), Broken> {
    let mut draw = history::Draw::new();
    for _ in 0..HISTORIES {
        let history = history::draw(&mut draw);
        if let Err(broken) = run(make, &history, may_leave) {
            return Err(shorten(make, history, broken, may_leave));
        }
    }
    Ok(())
}

/// A law that does not hold, and how that came.
struct Broken {
    what: String,
    /// The calls that the policy got.
    calls: Vec<String>,
    /// How many operations of the history were begun.
    begun: usize,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nin the shortest history found:", self.what)?;
        for (number, call) in (1..).zip(&self.calls) {
            write!(f, "\n{number:>3}. {call}")?;
        }
        Ok(())
    }
}

/// Runs one history: every law is checked after each of its operations.
fn run<P: EvictionPolicy>(
    make: &impl Fn() -> P,
    history: &[Op],
    may_leave: MayLeave,
) -> Result<(), Broken> {
    let mut segment = Segment::new(make());
    segment.write_down();
    let mut begun = 0;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for op in history {
            begun += 1;
            op.apply(&mut segment, may_leave)?;
            segment.audit(may_leave)?;
        }
        finish(&mut segment, may_leave)
    }));
    let what = match outcome {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(law)) => law,
        Err(panic) => format!("the policy panicked: {}", words(&*panic)),
    };
    Err(Broken { what, calls: segment.calls(), begun })
}

/// Empties the segment, and begins anew with a few entries.
fn finish<P: EvictionPolicy>(segment: &mut Segment<P>, may_leave: MayLeave) -> Held {
    Op::Clear.apply(segment, may_leave)?;
    segment.audit(may_leave)?;
    segment.ask(None, may_leave)?;
    for _ in 0..3 {
        segment.insert(&segment::CALM);
    }
    segment.audit(may_leave)
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

/// Leaves operations out, half of them at once, then a quarter and so on down to single ones, as long as some law is broken.
fn shorten<P: EvictionPolicy>(
    make: &impl Fn() -> P,
    mut history: Vec<Op>,
    mut broken: Broken,
    may_leave: MayLeave,
) -> Broken {
    history.truncate(broken.begun);
    let mut size = history.len().div_ceil(2);
    while size > 0 {
        let (mut at, before) = (0, history.len());
        while at < history.len() {
            let mut shorter = history.clone();
            shorter.drain(at..history.len().min(at + size));
            match run(make, &shorter, may_leave) {
                Err(found) if found.calls.len() <= broken.calls.len() => {
                    shorter.truncate(found.begun);
                    (history, broken) = (shorter, found);
                }
                _ => at += size,
            }
        }
        // Single ones are tried until none can go.
        if size > 1 || history.len() == before {
            size /= 2;
        }
    }
    broken
}
