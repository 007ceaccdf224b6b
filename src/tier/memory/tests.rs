//! What the laws do not say: the bound, the order in which listeners are told, and the faults.

use super::*;
use crate::load::Task;
use crate::sync::{AtomicBool, Ordering, thread};
use crate::time::ManualClock;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

const SECOND: Duration = Duration::from_secs(1);

/// Polls once, and says what came.
fn poll<T>(future: &mut Pin<Box<dyn Future<Output = T> + Send + '_>>) -> Poll<T> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn ready<T>(mut future: Pin<Box<dyn Future<Output = T> + Send + '_>>) -> T {
    match poll(&mut future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it is not ready"),
    }
}

fn place(name: &str) -> super::super::Place {
    super::super::Place {
        value: format!("{{p:{name}}}").into_bytes(),
        lease: format!("lease{{p:{name}}}").into_bytes(),
    }
}

fn write<'a>(place: &'a super::super::Place, bytes: &'a [u8]) -> Write<'a> {
    Write { place, bytes, ttl: SECOND, leased: None, version: None, tell: None }
}

fn put(remote: &MemoryRemote, name: &str) -> Result<Vec<bool>, RemoteError> {
    ready(remote.write(&[write(&place(name), b"bytes")]))
}

fn delete(remote: &MemoryRemote, name: &str) -> Result<Vec<bool>, RemoteError> {
    let message = name.as_bytes();
    let tell = Some(Tell { channel: b"channel", message });
    ready(remote.delete(&[Delete { place: &place(name), unless: None, tell }]))
}

/// Somebody who writes down what he hears.
struct Hears {
    clock: ManualClock,
    heard: Mutex<Vec<String>>,
    gone: AtomicBool,
    /// What is done when a change is told.
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Hears {
    fn new(clock: &ManualClock) -> Arc<Self> {
        Arc::new(Self {
            clock: clock.clone(),
            heard: Mutex::default(),
            gone: AtomicBool::new(false),
            then: Mutex::default(),
        })
    }

    fn note(&self, text: String) {
        self.heard.lock().push(text);
    }

    /// What was heard since this was asked last.
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock())
    }
}

impl Ear for Hears {
    fn up(&self, mode: Mode) {
        self.note(format!("up by {mode}"));
    }
    fn changed(&self, names: &[&[u8]]) {
        let names: Vec<_> = names.iter().map(|name| name.escape_ascii().to_string()).collect();
        self.note(names.join(" "));
        let then = self.then.lock().take();
        if let Some(then) = then {
            then();
            self.note("then".to_string());
        }
    }
    fn all_changed(&self) {
        self.note("all".to_string());
    }
    fn message(&self, message: &[u8]) {
        self.note(format!("message {}", message.escape_ascii()));
    }
    fn now(&self) -> Duration {
        self.clock.now()
    }
    fn alive(&self, asked: Duration) {
        self.note(format!("alive at {asked:?}"));
    }
    fn sleep(&self, time: Duration) -> Task {
        let (clock, until) = (self.clock.clone(), self.clock.now() + time);
        Box::pin(std::future::poll_fn(move |_| match clock.now() < until {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }))
    }
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

fn listen(modes: &[Mode]) -> Listen {
    Listen {
        prefix: b"{p:".to_vec(),
        channel: b"channel".to_vec(),
        modes: modes.to_vec(),
        beat: SECOND,
        patience: SECOND * 3,
    }
}

#[test]
fn what_would_go_beyond_the_bound_is_refused() {
    let clock = ManualClock::new();
    let remote = MemoryRemote::with_clock(clock.clone());
    put(&remote, "1").unwrap();
    let cost = remote.used();
    assert_eq!(cost, 5 + 5 + store::OVERHEAD);
    remote.set_capacity(2 * cost);
    assert_eq!(put(&remote, "2"), Ok(vec![true]));
    assert!(matches!(put(&remote, "3"), Err(RemoteError::Refused(_))));
    assert_eq!(put(&remote, "2"), Ok(vec![true]), "as long as what it replaces");
    assert_eq!(delete(&remote, "1"), Ok(vec![true]));
    assert_eq!(put(&remote, "3"), Ok(vec![true]));
    clock.advance(SECOND);
    assert_eq!((put(&remote, "4"), remote.used()), (Ok(vec![true]), cost), "all expired");
    remote.shared.state.lock().store.assert_valid();
}

#[test]
fn a_listener_is_told_of_all_that_changes_in_order() {
    let clock = ManualClock::new();
    let remote = MemoryRemote::with_clock(clock.clone());
    let ear = Hears::new(&clock);
    let listen = listen(&[Mode::OptIn, Mode::Tracking, Mode::Messages]);
    let mut line = remote.listen(&listen, ear.clone());
    assert!(poll(&mut line).is_pending());
    assert_eq!(ear.heard(), ["up by tracking by prefix", "alive at 0ns"]);
    put(&remote, "1").unwrap();
    put(&remote, "2").unwrap();
    delete(&remote, "1").unwrap();
    assert_eq!(ear.heard(), ["{p:1}", "{p:2}", "{p:1}"]);
    delete(&remote, "1").unwrap();
    assert!(ear.heard().is_empty(), "there was nothing");
    clock.advance(SECOND);
    assert!(poll(&mut line).is_pending());
    assert_eq!(ear.heard(), ["{p:2}", "alive at 1s"], "2 expired");
    remote.flush_all();
    assert_eq!(ear.heard(), ["all"]);
    ear.gone.store(true, Ordering::Relaxed);
    clock.advance(SECOND);
    assert!(matches!(poll(&mut line), Poll::Ready(Err(RemoteError::Unreachable(_)))));
    drop(line);
    put(&remote, "3").unwrap();
    assert!(ear.heard().is_empty());
}

#[test]
fn messages_are_for_those_who_are_not_told_of_changes() {
    let clock = ManualClock::new();
    let remote = MemoryRemote::with_clock(clock.clone());
    remote.faults().offer(&[Mode::Messages]);
    let ear = Hears::new(&clock);
    let listen = listen(&[Mode::Tracking, Mode::Messages]);
    let mut line = remote.listen(&listen, ear.clone());
    assert!(poll(&mut line).is_pending());
    put(&remote, "1").unwrap();
    delete(&remote, "1").unwrap();
    delete(&remote, "1").unwrap();
    remote.flush_all();
    assert_eq!(ear.heard(), ["up by messages", "alive at 0ns", "message 1", "message 1"]);
    remote.faults().offer(&[]);
    let refused = ready(remote.listen(&listen, ear));
    assert!(matches!(refused, Err(RemoteError::Refused(_))));
}

#[test]
fn an_ear_that_calls_the_remote_is_told_of_that_afterwards() {
    let clock = ManualClock::new();
    let remote = MemoryRemote::with_clock(clock.clone());
    let ear = Hears::new(&clock);
    let listen = listen(&[Mode::Tracking]);
    let mut line = remote.listen(&listen, ear.clone());
    assert!(poll(&mut line).is_pending());
    ear.heard();
    let inner = remote.clone();
    *ear.then.lock() = Some(Box::new(move || drop(put(&inner, "2"))));
    put(&remote, "1").unwrap();
    assert_eq!(ear.heard(), ["{p:1}", "then", "{p:2}"]);
}

#[test]
fn a_listener_that_panics_loses_its_line_and_harms_nobody() {
    let clock = ManualClock::new();
    let remote = MemoryRemote::with_clock(clock.clone());
    let ear = Hears::new(&clock);
    let listen = listen(&[Mode::Tracking]);
    let mut line = remote.listen(&listen, ear.clone());
    assert!(poll(&mut line).is_pending());
    *ear.then.lock() = Some(Box::new(|| std::panic::resume_unwind(Box::new(()))));
    assert_eq!(put(&remote, "1"), Ok(vec![true]));
    assert!(poll(&mut line).is_ready());
}

#[test]
fn racing_writers_are_told_of_in_the_order_of_their_writes() {
    let clock = ManualClock::new();
    let remote = MemoryRemote::with_clock(clock.clone());
    let ear = Hears::new(&clock);
    let listen = listen(&[Mode::Messages]);
    let mut line = remote.listen(&listen, ear.clone());
    assert!(poll(&mut line).is_pending());
    ear.heard();
    let race = |who: &'static str| {
        let remote = remote.clone();
        thread::spawn(move || (0..200).for_each(|n| drop(delete(&remote, &format!("{who}{n}")))))
    };
    for racing in [race("a"), race("b")] {
        racing.join().unwrap();
    }
    let heard = ear.heard();
    for who in ["a", "b"] {
        let own: Vec<_> = heard.iter().filter(|text| text[8..].starts_with(who)).collect();
        let expected: Vec<_> = (0..200).map(|n| format!("message {who}{n}")).collect();
        assert_eq!(own, expected.iter().collect::<Vec<_>>());
    }
}
