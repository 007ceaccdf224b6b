//! What an operator should know, told once a second of each kind.

use super::remote::{Mode, RemoteError};
use crate::caught::caught;
use crate::sync::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

/// Something that callers do not see, since they are served all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The line on which the remote tells of changes is there, in this mode.
    LinkUp {
        /// How it tells.
        mode: Mode,
    },
    /// The line is gone. [`RemoteError::TimedOut`] means that nobody said so: it did not answer any more.
    LinkLost {
        /// Why.
        cause: RemoteError,
    },
    /// There is no line to be had for now.
    NoLink {
        /// Why.
        cause: RemoteError,
    },
    /// The remote has not done what it was asked for.
    RemoteFailed {
        /// What that was.
        doing: &'static str,
        /// Why.
        error: RemoteError,
    },
    /// The remote has failed so often that it is left alone for a while.
    BreakerOpened,
    /// It answers again.
    BreakerClosed,
    /// Replicas are asked from now on.
    ReplicasUsed,
    /// No replica is of use for now: the primary is asked.
    ReplicasLeft {
        /// Why.
        cause: RemoteError,
    },
    /// What lies under a name of ours is no value that this program can read: it counts as none.
    Unreadable {
        /// The name.
        name: Vec<u8>,
        /// What is wrong with it.
        why: String,
    },
    /// What lies under a name of ours is a list, a set or the like, by someone else: it is left there, and the key is loaded.
    Foreign {
        /// The name.
        name: Vec<u8>,
    },
    /// A value cannot be written to the remote: it is too large, or its codec refuses it. It is served, and kept here for as long as
    /// the bound on staleness allows.
    Unwritable {
        /// The name.
        name: Vec<u8>,
        /// Why.
        why: String,
    },
    /// A value came too late: its lease had ended, or its key was deleted meanwhile. It was served, and is kept nowhere.
    FillRejected {
        /// The name.
        name: Vec<u8>,
    },
    /// Messages of another process are missing: the local level is emptied.
    MessagesMissing,
    /// More deletions than could be kept were not delivered: all values of the namespace will be given up instead.
    DeletionsOverflowed,
}

/// Hears of events, each with how many of its kind were left out since the last one.
pub(super) type Hear = dyn Fn(&Event, u64) + Send + Sync;

/// Nobody is told of the same kind twice in this time.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Events {
    hear: Option<Box<Hear>>,
    /// When a kind was told last, and how many have been left out since.
    told: Mutex<HashMap<Discriminant<Event>, Told, ahash::RandomState>>,
}

type Told = (Option<Duration>, u64);

impl Events {
    pub(super) fn new(hear: Option<Box<Hear>>) -> Self {
        Self { hear, told: Mutex::default() }
    }

    pub(super) fn tell(&self, now: Duration, event: &Event) {
        let Some(hear) = &self.hear else { return };
        // These come seldom, and none may be missed.
        let always = matches!(
            event,
            Event::LinkUp { .. }
                | Event::LinkLost { .. }
                | Event::ReplicasUsed
                | Event::ReplicasLeft { .. }
        );
        let left_out = {
            let mut told = self.told.lock();
            let (last, left_out) = told.entry(discriminant(event)).or_default();
            let paused = last.is_none_or(|last| now.saturating_sub(last) >= PAUSE);
            if !(always || paused) {
                *left_out += 1;
                return;
            }
            *last = Some(now);
            std::mem::take(left_out)
        };
        // Its panic is its own affair: those who are served know nothing of it.
        caught(|| hear(event, left_out));
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Arc;

    #[test]
    fn a_kind_is_told_once_a_second_with_how_many_were_left_out() {
        let heard: Arc<Mutex<Vec<(Event, u64)>>> = Arc::default();
        let hear = Arc::clone(&heard);
        let events = Events::new(Some(Box::new(move |event, left_out| {
            hear.lock().push((event.clone(), left_out));
        })));
        let millis = Duration::from_millis;
        for now in [0, 500, 999, 1_000, 1_999, 2_001] {
            events.tell(millis(now), &Event::BreakerOpened);
        }
        events.tell(millis(2_002), &Event::BreakerClosed);
        let opened = |left_out| (Event::BreakerOpened, left_out);
        let all = [opened(0), opened(2), opened(1), (Event::BreakerClosed, 0)];
        assert_eq!(*heard.lock(), all);
        for _ in 0..2 {
            events.tell(millis(2_003), &Event::LinkUp { mode: Mode::Tracking });
        }
        assert_eq!(heard.lock().len(), 6, "the line is never left out");
    }

    #[test]
    fn a_panic_of_who_hears_ends_there() {
        let events = Events::new(Some(Box::new(|_, _| std::panic::panic_any("on purpose"))));
        events.tell(Duration::ZERO, &Event::BreakerOpened);
    }
}
