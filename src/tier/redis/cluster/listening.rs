//! Lines to all nodes, merged into one.
//!
//! ```text
//!   node 1 ── thread ──► told, alive ─┐
//!   node 2 ── thread ──► told, alive ─┼─ one lock ──► ear: up once all are up; alive as of the least; ends with the first
//!   node 3 ── thread ──► told, alive ─┘
//! ```
//!
//! A node tells of what is written to it, and of nothing else. So the primary that has no slots yet is listened to as well: a slot that is
//! on its way to it is written there before anyone else knows.
//!
//! **Invariants**
//!
//! 1. Nothing is told before all lines are up, nor after one has ended. What changes before is not missed: the ear takes everything for
//!    changed when it is told that the line is up.
//! 2. At every beat each node has the same slots as when the line began, or the line ends.

use super::RedisCluster;
use super::topology::{Address, Topology};
use crate::load::Task;
use crate::sync::{Arc, Condvar, Mutex, thread};
use crate::tier::redis::blocking::RedisRemote;
use crate::tier::redis::blocking::listening::Question;
use crate::tier::redis::hear::Refusals;
use crate::tier::{Ear, Listen, Mode, RemoteError};
use ::redis::{Cmd, Value};
use std::time::Duration;

impl RedisCluster {
    /// Listens until a line is lost, and says why it was.
    pub(super) fn hear(&self, listen: &Listen, ear: &Arc<dyn Ear>) -> RemoteError {
        let topology = match self.explore() {
            Ok(topology) => topology,
            Err(error) => return error,
        };
        let mut refusals = Refusals::default();
        for &mode in &listen.modes {
            let merged = self.merge(mode, listen, ear, &topology);
            match merged.wait() {
                (RemoteError::Refused(why), false) => refusals.add_told(why),
                (why, _) => {
                    self.forget_topology();
                    return why;
                }
            }
        }
        refusals.into_error()
    }

    /// Opens the lines. Their threads end by themselves soon after the first has ended: nobody waits for one that hangs.
    fn merge(
        &self,
        mode: Mode,
        listen: &Listen,
        ear: &Arc<dyn Ear>,
        topology: &Arc<Topology>,
    ) -> Arc<Merged> {
        let all = topology.nodes();
        // Messages are told to all nodes, whichever is told.
        let nodes = if mode == Mode::Tracking { all } else { all.get(..1).unwrap_or(all) };
        let merged = Arc::new(Merged::new(Arc::clone(ear), nodes.len()));
        for (at, node) in nodes.iter().enumerate() {
            let line = Line {
                node: self.node(&node.address),
                listen: Listen { modes: vec![mode], ..listen.clone() },
                ear: NodeEar { merged: Arc::clone(&merged), at },
                question: SameTopology {
                    expected: Arc::clone(topology),
                    asked: node.address.clone(),
                    is_encrypted: self.options.is_encrypted(),
                },
            };
            let thread = thread::Builder::new().name("cachette-cluster".to_owned());
            if let Err(error) = thread.spawn(move || line.run()) {
                merged.end(RemoteError::Unreachable(format!("there is no thread: {error}")));
            }
        }
        merged
    }
}

struct Line {
    node: Arc<RedisRemote>,
    listen: Listen,
    ear: NodeEar,
    question: SameTopology,
}

impl Line {
    fn run(self) {
        /// An ear that panics must not leave the others waiting.
        struct Last<'a>(&'a Merged);
        impl Drop for Last<'_> {
            fn drop(&mut self) {
                self.0.end(RemoteError::Unreachable("who listens has panicked".to_owned()));
            }
        }
        let last = Last(&self.ear.merged);
        let why = self.node.hear(&self.listen, &self.ear, &self.question);
        last.0.end(why);
    }
}

/// What each node is asked at every beat.
struct SameTopology {
    expected: Arc<Topology>,
    asked: Address,
    is_encrypted: bool,
}

impl Question for SameTopology {
    fn command(&self) -> Cmd {
        Topology::question()
    }

    fn check(&self, answer: Value) -> Result<(), RemoteError> {
        if Topology::read(answer, &self.asked, self.is_encrypted)? == *self.expected {
            return Ok(());
        }
        let why = format!("{}: slots or primaries of the cluster have changed", self.asked);
        Err(RemoteError::Unreachable(why))
    }
}

/// What is heard on all lines.
struct Merged {
    ear: Arc<dyn Ear>,
    state: Mutex<State>,
    ended: Condvar,
}

struct State {
    lines: Vec<Heard>,
    /// All lines are up.
    up: bool,
    /// As of when the line was last said to be alive.
    alive: Option<Duration>,
    end: Option<RemoteError>,
}

#[derive(Clone, Default)]
struct Heard {
    up: bool,
    /// When the last question was asked that has been answered.
    asked: Option<Duration>,
}

impl Merged {
    fn new(ear: Arc<dyn Ear>, lines: usize) -> Self {
        let lines = vec![Heard::default(); lines];
        let state = Mutex::new(State { lines, up: false, alive: None, end: None });
        Self { ear, state, ended: Condvar::new() }
    }

    fn up(&self, at: usize, mode: Mode) {
        let mut state = self.state.lock();
        if let Some(line) = state.lines.get_mut(at) {
            line.up = true;
        }
        if !state.up && state.end.is_none() && state.lines.iter().all(|line| line.up) {
            state.up = true;
            self.ear.up(mode);
            state.tell_alive(&*self.ear);
        }
    }

    fn tell(&self, tell: impl FnOnce(&(dyn Ear + 'static))) {
        let state = self.state.lock();
        if state.up && state.end.is_none() {
            tell(&*self.ear);
        }
    }

    fn alive(&self, at: usize, asked: Duration) {
        let mut state = self.state.lock();
        if let Some(line) = state.lines.get_mut(at) {
            line.asked = Some(asked);
        }
        if state.up && state.end.is_none() {
            state.tell_alive(&*self.ear);
        }
    }

    fn has_ended(&self) -> bool {
        self.state.lock().end.is_some()
    }

    fn end(&self, why: RemoteError) {
        self.state.lock().end.get_or_insert(why);
        self.ended.notify_one();
    }

    /// Waits until a line has ended: why, and whether all were up.
    fn wait(&self) -> (RemoteError, bool) {
        let mut state = self.state.lock();
        loop {
            match &state.end {
                Some(why) => return (why.clone(), state.up),
                None => state = self.ended.wait(state),
            }
        }
    }
}

impl State {
    /// As of when the node that was asked first was asked: what had changed before has been told by all.
    fn tell_alive(&mut self, ear: &dyn Ear) {
        let asked: Option<Vec<_>> = self.lines.iter().map(|line| line.asked).collect();
        let least = asked.and_then(|asked| asked.into_iter().min());
        if least > self.alive {
            self.alive = least;
            least.into_iter().for_each(|asked| ear.alive(asked));
        }
    }
}

/// What is heard on the line to one node.
struct NodeEar {
    merged: Arc<Merged>,
    at: usize,
}

impl Ear for NodeEar {
    fn up(&self, mode: Mode) {
        self.merged.up(self.at, mode);
    }

    fn changed(&self, names: &[&[u8]]) {
        self.merged.tell(|ear| ear.changed(names));
    }

    fn all_changed(&self) {
        self.merged.tell(Ear::all_changed);
    }

    fn message(&self, message: &[u8]) {
        self.merged.tell(|ear| ear.message(message));
    }

    fn now(&self) -> Duration {
        self.merged.ear.now()
    }

    fn alive(&self, asked: Duration) {
        self.merged.alive(self.at, asked);
    }

    fn sleep(&self, time: Duration) -> Task {
        self.merged.ear.sleep(time)
    }

    fn is_gone(&self) -> bool {
        self.merged.has_ended() || self.merged.ear.is_gone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes what it is told, each in a word.
    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Notes {
        fn note(&self, what: String) {
            self.0.lock().push(what);
        }
    }

    impl Ear for Notes {
        fn up(&self, mode: Mode) {
            self.note(format!("up by {mode}"));
        }
        fn changed(&self, names: &[&[u8]]) {
            self.note(format!("{} changed", names.len()));
        }
        fn all_changed(&self) {
            self.note("all changed".to_owned());
        }
        fn message(&self, message: &[u8]) {
            self.note(format!("message of {}", message.len()));
        }
        fn now(&self) -> Duration {
            Duration::ZERO
        }
        fn alive(&self, asked: Duration) {
            self.note(format!("alive at {}", asked.as_secs()));
        }
        fn sleep(&self, _: Duration) -> Task {
            Box::pin(std::future::pending())
        }
        fn is_gone(&self) -> bool {
            false
        }
    }

    #[test]
    fn it_is_told_between_the_last_that_is_up_and_the_first_that_ends() {
        let notes = Arc::new(Notes::default());
        let merged = Arc::new(Merged::new(notes.clone(), 2));
        let line = |at| NodeEar { merged: Arc::clone(&merged), at };
        let (one, other) = (line(0), line(1));
        let told = || std::mem::take(&mut *notes.0.lock());
        one.up(Mode::Tracking);
        one.changed(&[b"early"]);
        one.all_changed();
        one.alive(Duration::from_secs(3));
        assert!(told().is_empty());
        other.up(Mode::Tracking);
        assert_eq!(told(), ["up by tracking by prefix"]);
        // As of the line that was asked first; and only if that is later than before.
        for (line, asked) in [(&other, 5), (&other, 7), (&one, 6), (&one, 9)] {
            line.alive(Duration::from_secs(asked));
        }
        assert_eq!(told(), ["alive at 3", "alive at 6", "alive at 7"]);
        one.changed(&[b"a", b"b"]);
        other.message(b"text");
        assert_eq!(told(), ["2 changed", "message of 4"]);
        let why = |text: &str| RemoteError::Unreachable(text.to_owned());
        merged.end(why("first"));
        merged.end(why("second"));
        other.all_changed();
        other.alive(Duration::from_secs(10));
        one.alive(Duration::from_secs(11));
        assert!(told().is_empty() && one.is_gone());
        assert_eq!(merged.wait(), (why("first"), true));
    }
}
