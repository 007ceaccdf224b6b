//! A listener that notes what it hears, and the line it listens on.

use crate::redis_server::PATIENCE;
use crate::wait::wait;
use cachette::Task;
use cachette::tier::{Ear, Listen, Mode, Remote, RemoteError};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    Up(Mode),
    Changed(Vec<String>),
    AllChanged,
    Message(Vec<u8>),
    Alive(Duration),
    Ended(RemoteError),
}

/// An ear that notes all it hears.
pub(crate) struct Notes {
    start: Instant,
    pub(crate) gone: AtomicBool,
    notes: Sender<Event>,
}

impl Notes {
    pub(crate) fn new() -> (Arc<Self>, Receiver<Event>) {
        let (sender, events) = channel();
        let (start, gone) = (Instant::now(), AtomicBool::new(false));
        (Arc::new(Self { start, gone, notes: sender }), events)
    }

    fn note(&self, event: Event) {
        let _ = self.notes.send(event);
    }
}

impl Ear for Notes {
    fn up(&self, mode: Mode) {
        self.note(Event::Up(mode));
    }
    fn changed(&self, names: &[&[u8]]) {
        let text = |name: &&[u8]| String::from_utf8(name.to_vec()).unwrap();
        self.note(Event::Changed(names.iter().map(text).collect()));
    }
    fn all_changed(&self) {
        self.note(Event::AllChanged);
    }
    fn message(&self, message: &[u8]) {
        self.note(Event::Message(message.to_vec()));
    }
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
    fn alive(&self, asked: Duration) {
        self.note(Event::Alive(asked));
    }
    fn sleep(&self, _: Duration) -> Task {
        Box::pin(std::future::pending())
    }
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }
}

/// A line, and what was heard on it.
pub(crate) struct Heard {
    pub(crate) ear: Arc<Notes>,
    pub(crate) events: Receiver<Event>,
}

pub(crate) fn all(beat: Duration) -> Listen {
    Listen {
        prefix: b"{p:".to_vec(),
        channel: b"channel".to_vec(),
        modes: vec![Mode::Tracking, Mode::OptIn, Mode::Messages],
        beat,
        patience: PATIENCE,
    }
}

impl Heard {
    pub(crate) fn new(remote: &Arc<dyn Remote>, listen: Listen) -> Self {
        let (ear, events) = Notes::new();
        let (remote, listener) = (Arc::clone(remote), Arc::clone(&ear));
        std::thread::spawn(move || {
            let ended: Result<Infallible, _> = wait(remote.listen(&listen, listener.clone()));
            let Err(error) = ended;
            listener.note(Event::Ended(error));
        });
        Self { ear, events }
    }

    /// What comes next, beats apart.
    pub(crate) fn next(&self) -> Event {
        let start = Instant::now();
        loop {
            match self.any() {
                Event::Alive(_) => assert!(start.elapsed() < PATIENCE, "only beats are heard"),
                event => return event,
            }
        }
    }

    pub(crate) fn any(&self) -> Event {
        self.events.recv_timeout(PATIENCE).expect("something is heard in time")
    }

    /// The names of the next changes, up to this many.
    pub(crate) fn names(&self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        while names.len() < count {
            match self.next() {
                Event::Changed(some) => names.extend(some),
                other => panic!("{other:?} is no change"),
            }
        }
        names.sort();
        names
    }
}
