//! The remote in memory as its users see it, who also test with it: who listens, the bound, and all that a test can make go wrong.

#![cfg(feature = "test-kit")]

use cachette::tier::{
    Claim, Count, Data, Delete, Ear, Found, HEAD, Listen, MemoryRemote, Mode, News, Op, Path,
    Place, Read, Remote, RemoteError, Side, Tell, Token, Turn, Write,
};
use cachette::{Clock, ManualClock, Task};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

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

fn place(name: &str) -> Place {
    Place {
        value: format!("{{p:{name}}}").into_bytes(),
        lease: format!("lease{{p:{name}}}").into_bytes(),
    }
}

fn write<'a>(place: &'a Place, bytes: &'a [u8]) -> Write<'a> {
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
        self.heard.lock().unwrap().push(text);
    }

    /// What was heard since this was asked last.
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }
}

impl Ear for Hears {
    fn up(&self, mode: Mode) {
        self.note(format!("up by {mode}"));
    }
    fn changed(&self, names: &[&[u8]]) {
        let names: Vec<_> = names.iter().map(|name| name.escape_ascii().to_string()).collect();
        self.note(names.join(" "));
        let then = self.then.lock().unwrap().take();
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
    assert_eq!(cost, 5 + 5 + 96);
    remote.set_capacity(2 * cost);
    assert_eq!(put(&remote, "2"), Ok(vec![true]));
    assert!(matches!(put(&remote, "3"), Err(RemoteError::Refused(_))));
    assert_eq!(put(&remote, "2"), Ok(vec![true]), "as long as what it replaces");
    assert_eq!(delete(&remote, "1"), Ok(vec![true]));
    assert_eq!(put(&remote, "3"), Ok(vec![true]));
    clock.advance(SECOND);
    assert_eq!((put(&remote, "4"), remote.used()), (Ok(vec![true]), cost), "all expired");
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
    assert_eq!(Arc::strong_count(&ear), 1, "nothing of the line is left");
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
    *ear.then.lock().unwrap() = Some(Box::new(move || drop(put(&inner, "2"))));
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
    *ear.then.lock().unwrap() = Some(Box::new(|| std::panic::resume_unwind(Box::new(()))));
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
    // A write below the version that is there is not done, and not told: so what is told goes up.
    let versions = Arc::new(AtomicU64::new(0));
    let race = || {
        let (remote, versions) = (remote.clone(), versions.clone());
        thread::spawn(move || {
            for _ in 0..500 {
                let version = versions.fetch_add(1, Ordering::Relaxed);
                let (place, mut bytes) = (place("1"), [0; HEAD]);
                bytes[12..20].copy_from_slice(&version.to_le_bytes());
                let message = format!("{version:04}");
                let tell = Some(Tell { channel: b"channel", message: message.as_bytes() });
                let write = Write { version: Some(version), tell, ..write(&place, &bytes) };
                ready(remote.write(&[write])).unwrap();
            }
        })
    };
    for racing in [race(), race()] {
        racing.join().unwrap();
    }
    let heard = ear.heard();
    assert!(heard.len() >= 500, "all of one of them, at least");
    assert!(heard.is_sorted(), "{heard:?}");
}

fn read<'a>(place: &'a Place) -> Read<'a> {
    Read { place, claim: None }
}

fn unreachable<T: std::fmt::Debug>(answer: &Result<T, RemoteError>) -> bool {
    matches!(answer, Err(RemoteError::Unreachable(_)))
}

#[test]
fn scripts_are_used_up_one_by_one_each_by_an_operation_of_its_kind() {
    let remote = MemoryRemote::new();
    let other = remote.node();
    let full = RemoteError::Refused("full".to_string());
    let spared = RemoteError::Spared;
    remote.faults().fail(Op::Write, 2, full.clone());
    remote.faults().fail(Op::Any, 1, spared.clone());
    remote.faults().fail(Op::Any, 0, full.clone());
    assert_eq!(put(&other, "1"), Ok(vec![true]), "another node");
    assert_eq!(put(&remote, "2"), Err(full.clone()));
    assert_eq!(delete(&remote, "1"), Err(spared));
    assert_eq!(delete(&remote, "1"), Ok(vec![true]));
    assert_eq!(put(&remote, "2"), Err(full));
    assert!(remote.is_empty(), "what failed was not done");
    assert_eq!(put(&remote.clone(), "2"), Ok(vec![true]));
}

#[test]
fn an_answer_that_is_lost_is_that_of_something_done() {
    let remote = MemoryRemote::new();
    remote.faults().lose_answers(Op::Any, 1);
    assert!(unreachable(&put(&remote, "1")));
    assert_eq!(remote.peek(&place("1").value), Some(b"bytes".to_vec()));
    remote.set_capacity(0);
    remote.faults().lose_answers(Op::Any, 1);
    assert!(matches!(put(&remote, "2"), Err(RemoteError::Refused(_))), "that answer was no better");
}

#[test]
fn what_is_held_goes_on_or_fails_as_the_test_says() {
    let remote = MemoryRemote::new();
    let (one, two) = (place("1"), place("2"));
    let (reads, writes) = ([read(&one)], [write(&one, b"bytes")]);
    let deletes = [Delete { place: &one, unless: None, tell: None }];
    remote.faults().hold(Op::Write, Side::Before);
    remote.faults().hold(Op::Read, Side::After);
    remote.faults().hold_next(Op::Delete, 1, Side::Before);
    let (mut w, mut r) = (remote.write(&writes), remote.read(&reads));
    let mut d = remote.delete(&deletes);
    assert!(poll(&mut w).is_pending() && poll(&mut r).is_pending() && poll(&mut d).is_pending());
    assert_eq!(remote.faults().held(), [Op::Write, Op::Read, Op::Delete]);
    assert_eq!(ready(remote.delete(&deletes)), Ok(vec![true]), "one only");
    // The write goes on, the read has been done before it.
    assert!(remote.faults().release_next());
    assert_eq!((poll(&mut w), poll(&mut r)), (Poll::Ready(Ok(vec![true])), Poll::Pending));
    assert_eq!(remote.faults().held(), [Op::Read, Op::Delete]);
    assert!(remote.faults().release_next());
    assert_eq!(poll(&mut r), Poll::Ready(Ok(vec![Found::Nothing])));
    // The deletion fails, and is not done.
    let error = RemoteError::TimedOut(SECOND);
    assert!(remote.faults().fail_next_held(error.clone()));
    assert_eq!(poll(&mut d), Poll::Ready(Err(error.clone())));
    assert!(!remote.faults().release_next() && !remote.faults().fail_next_held(error.clone()));
    assert!(remote.peek(&one.value).is_some());
    // The holds are still there, until all is let go.
    let writes = [write(&two, b"bytes")];
    let (mut w, mut r) = (remote.write(&writes), remote.read(&reads));
    assert!(poll(&mut w).is_pending() && poll(&mut r).is_pending());
    remote.faults().fail_held(error.clone());
    assert_eq!(poll(&mut w), Poll::Ready(Err(error.clone())));
    assert_eq!(poll(&mut r), Poll::Ready(Err(error)));
    assert!(remote.peek(&two.value).is_none());
    assert_eq!(ready(remote.write(&writes)), Ok(vec![true]));
    assert!(remote.faults().held().is_empty());
}

#[test]
fn what_is_held_on_both_sides_is_released_twice() {
    let remote = MemoryRemote::new();
    remote.faults().hold_next(Op::Any, 1, Side::Before);
    remote.faults().hold_next(Op::Any, 1, Side::After);
    let place = place("1");
    let writes = [write(&place, b"bytes")];
    let mut w = remote.write(&writes);
    for there in [false, true] {
        assert!(poll(&mut w).is_pending());
        assert_eq!(remote.peek(&place.value).is_some(), there);
        assert!(remote.faults().release_next());
    }
    assert_eq!(poll(&mut w), Poll::Ready(Ok(vec![true])));
}

#[test]
fn what_is_held_is_woken_and_what_is_dropped_is_forgotten() {
    let remote = MemoryRemote::new();
    remote.faults().hold(Op::Any, Side::Before);
    let waiting = thread::spawn({
        let remote = remote.clone();
        move || {
            let place = place("1");
            block_on(remote.write(&[write(&place, b"bytes")]))
        }
    });
    remote.faults().wait_until_held(1);
    let place = place("2");
    let writes = [write(&place, b"bytes")];
    let mut forgotten = remote.write(&writes);
    assert!(poll(&mut forgotten).is_pending());
    remote.faults().wait_until_held(2);
    drop(forgotten);
    assert_eq!(remote.faults().held(), [Op::Write]);
    remote.faults().release();
    assert_eq!(waiting.join().unwrap(), Ok(vec![true]));
    assert!(remote.peek(&place.value).is_none());
}

/// Waits on this thread.
fn block_on<T>(mut future: Pin<Box<dyn Future<Output = T> + Send + '_>>) -> T {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn a_partition_hangs_or_fails_what_is_asked() {
    let remote = MemoryRemote::new();
    let other = remote.node();
    let (one, two) = (place("1"), place("2"));
    let (first, second) = ([write(&one, b"bytes")], [write(&two, b"bytes")]);
    remote.faults().partition(Path::Silent);
    let mut late = remote.write(&first);
    assert!(poll(&mut late).is_pending());
    remote.faults().release();
    assert!(!remote.faults().release_next() && poll(&mut late).is_pending(), "no test holds it");
    assert_eq!(put(&other, "3"), Ok(vec![true]), "who is on the other side");
    remote.faults().hold_next(Op::Read, 1, Side::Before);
    let reads = [read(&one)];
    let mut held = remote.read(&reads);
    assert!(poll(&mut held).is_pending());
    assert!(remote.faults().fail_next_held(RemoteError::Spared));
    assert_eq!(
        (poll(&mut held), poll(&mut late)),
        (Poll::Ready(Err(RemoteError::Spared)), Poll::Pending)
    );
    remote.faults().partition(Path::Open);
    assert_eq!(poll(&mut late), Poll::Ready(Ok(vec![true])), "late, but done");

    remote.faults().partition(Path::Silent);
    let mut late = remote.write(&second);
    assert!(poll(&mut late).is_pending());
    remote.faults().partition(Path::Cut);
    assert!(matches!(poll(&mut late), Poll::Ready(Err(RemoteError::Unreachable(_)))));
    assert!(unreachable(&put(&remote, "2")));
    assert!(remote.peek(&two.value).is_none());
    remote.faults().heal();
    assert_eq!(put(&remote, "2"), Ok(vec![true]));
}

#[test]
fn what_is_cut_while_it_is_held_fails_and_healing_forgets_all() {
    let remote = MemoryRemote::new();
    let one = place("1");
    let writes = [write(&one, b"bytes")];
    remote.faults().hold(Op::Write, Side::After);
    remote.faults().fail(Op::Read, 9, RemoteError::Spared);
    let mut late = remote.write(&writes);
    assert!(poll(&mut late).is_pending());
    remote.faults().calls(Path::Cut);
    assert!(matches!(poll(&mut late), Poll::Ready(Err(RemoteError::Unreachable(_)))));
    assert!(remote.peek(&one.value).is_some(), "it was done");
    remote.faults().heal();
    assert_eq!(ready(remote.write(&writes)), Ok(vec![true]));
    assert!(ready(remote.read(&[read(&one)])).is_ok());
    remote.faults().hold(Op::Write, Side::Before);
    let mut late = remote.write(&writes);
    assert!(poll(&mut late).is_pending());
    remote.faults().heal();
    assert_eq!(poll(&mut late), Poll::Ready(Ok(vec![true])));
}

/// A remote, somebody who listens to it, and his line.
fn listening(mode: Mode) -> (ManualClock, MemoryRemote, Arc<Hears>) {
    let clock = ManualClock::new();
    let remote = MemoryRemote::with_clock(clock.clone());
    remote.faults().offer(&[mode]);
    let ear = Hears::new(&clock);
    (clock, remote, ear)
}

#[test]
fn a_silent_line_is_given_up_when_patience_ends() {
    let (clock, remote, ear) = listening(Mode::Tracking);
    let listen = listen(&[Mode::Tracking]);
    let mut line = remote.listen(&listen, ear.clone());
    assert!(poll(&mut line).is_pending());
    ear.heard();
    remote.faults().lines(Path::Silent);
    put(&remote, "1").unwrap();
    clock.advance(SECOND);
    assert!(poll(&mut line).is_pending(), "asked, and not answered");
    clock.advance(SECOND * 3 - Duration::from_nanos(1));
    assert!(poll(&mut line).is_pending());
    clock.advance(Duration::from_nanos(1));
    assert_eq!(poll(&mut line), Poll::Ready(Err(RemoteError::TimedOut(SECOND * 3))));
    assert!(ear.heard().is_empty());
    drop(line);
    // A new one hears nothing either, until it is not silent any more.
    let mut line = remote.listen(&listen, ear.clone());
    assert!(poll(&mut line).is_pending());
    assert!(ear.heard().is_empty());
    remote.faults().heal();
    assert_eq!(ear.heard(), ["up by tracking by prefix", "alive at 4s"]);
}

#[test]
fn what_a_silent_line_missed_is_told_later_or_lost_or_told_in_another_order() {
    let (clock, remote, ear) = listening(Mode::Messages);
    let other = remote.node();
    let heard_by_other = Hears::new(&clock);
    let listen = listen(&[Mode::Messages]);
    let mut line = remote.listen(&listen, ear.clone());
    let mut line_of_other = other.listen(&listen, heard_by_other.clone());
    assert!(poll(&mut line).is_pending() && poll(&mut line_of_other).is_pending());
    ear.heard();
    remote.faults().lines(Path::Silent);
    for name in ["1", "2", "3"] {
        delete(&remote, name).unwrap();
    }
    clock.advance(SECOND);
    assert!(poll(&mut line).is_pending());
    let message = |text: &str| News::Message(text.as_bytes().into());
    let waiting = [message("1"), message("2"), message("3"), News::Alive(SECOND)];
    assert_eq!(remote.faults().news(), waiting);
    remote.faults().edit_news(|news| {
        news.swap(0, 2);
        news.remove(1);
    });
    assert!(ear.heard().is_empty());
    remote.faults().lines(Path::Open);
    assert_eq!(ear.heard(), ["message 3", "message 1", "alive at 1s"]);
    assert!(remote.faults().news().is_empty());
    let heard = heard_by_other.heard();
    assert_eq!(heard[2..], ["message 1", "message 2", "message 3"], "another node's line");
    delete(&remote, "4").unwrap();
    assert_eq!(ear.heard(), ["message 4"]);
}

#[test]
fn a_cut_ends_lines_and_makes_no_new_ones() {
    let (clock, remote, ear) = listening(Mode::Tracking);
    let other = remote.node();
    let listen = listen(&[Mode::Tracking]);
    let mut line = remote.listen(&listen, ear.clone());
    let heard_by_other = Hears::new(&clock);
    let mut line_of_other = other.listen(&listen, heard_by_other.clone());
    assert!(poll(&mut line).is_pending() && poll(&mut line_of_other).is_pending());
    ear.heard();
    heard_by_other.heard();
    remote.faults().lines(Path::Cut);
    put(&remote, "1").unwrap();
    assert!(ear.heard().is_empty());
    assert!(matches!(poll(&mut line), Poll::Ready(Err(RemoteError::Unreachable(_)))));
    drop(line);
    assert!(unreachable(&ready(remote.listen(&listen, ear.clone()))));
    assert_eq!(heard_by_other.heard(), ["{p:1}"]);
    remote.faults().lines(Path::Open);
    let mut line = remote.listen(&listen, ear.clone());
    assert!(poll(&mut line).is_pending());
    assert_eq!(ear.heard(), ["up by tracking by prefix", "alive at 0ns"]);
    remote.faults().fail(Op::Any, 1, RemoteError::Spared);
    remote.faults().fail(Op::Listen, 1, RemoteError::TimedOut(SECOND));
    assert_eq!(ready(remote.listen(&listen, ear)), Err(RemoteError::TimedOut(SECOND)));
}

#[test]
fn a_restart_ends_all_lines_and_may_lose_the_data() {
    for data in [Data::Kept, Data::Lost] {
        let (_, remote, ear) = listening(Mode::Tracking);
        let other = remote.node();
        let listen = listen(&[Mode::Tracking]);
        let mut lines = [remote.listen(&listen, ear.clone()), other.listen(&listen, ear.clone())];
        assert!(lines.iter_mut().all(|line| poll(line).is_pending()));
        put(&remote, "1").unwrap();
        ear.heard();
        remote.restart(data);
        let ended = |line| matches!(poll(line), Poll::Ready(Err(RemoteError::Unreachable(_))));
        assert!(lines.iter_mut().all(ended));
        assert!(ear.heard().is_empty());
        assert_eq!(remote.peek(&place("1").value).is_some(), data == Data::Kept);
        assert_eq!(put(&remote, "1"), Ok(vec![true]));
    }
}

#[test]
fn a_line_that_is_lost_wakes_who_listens() {
    let (_, remote, ear) = listening(Mode::Tracking);
    let listener = thread::spawn({
        let (remote, ear) = (remote.clone(), ear.clone());
        move || block_on(remote.listen(&listen(&[Mode::Tracking]), ear))
    });
    while ear.heard().last().is_none_or(|last| last != "alive at 0ns") {
        thread::yield_now();
    }
    remote.faults().lines(Path::Cut);
    assert!(unreachable(&listener.join().unwrap()));
}

#[test]
fn a_listener_that_is_too_slow_loses_its_line() {
    let (_, remote, ear) = listening(Mode::Messages);
    let listener = thread::spawn({
        let (remote, ear) = (remote.clone(), ear.clone());
        move || block_on(remote.listen(&listen(&[Mode::Messages]), ear))
    });
    while ear.heard().last().is_none_or(|last| last != "alive at 0ns") {
        thread::yield_now();
    }
    remote.faults().lines(Path::Silent);
    for _ in 0..1 << 16 {
        delete(&remote, "1").unwrap();
    }
    assert_eq!(remote.faults().news().len(), 1 << 16);
    delete(&remote, "1").unwrap();
    assert!(unreachable(&listener.join().unwrap()));
    assert!(ear.heard().is_empty());
}

#[test]
fn who_listens_is_woken_by_an_answer_and_not_by_every_change() {
    struct Wakes(AtomicU64);
    impl std::task::Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let wakes = Arc::new(Wakes(AtomicU64::new(0)));
    let waker = Waker::from(wakes.clone());
    let (clock, remote, ear) = listening(Mode::Tracking);
    let listen = listen(&[Mode::Tracking]);
    let mut line = remote.listen(&listen, ear.clone());
    let mut poll = || line.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll().is_pending());
    put(&remote, "1").unwrap();
    put(&remote, "2").unwrap();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
    remote.faults().lines(Path::Silent);
    clock.advance(SECOND);
    assert!(poll().is_pending());
    remote.faults().lines(Path::Open);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert!(poll().is_pending());
    put(&remote, "1").unwrap();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    remote.restart(Data::Kept);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
    assert!(poll().is_ready());
}

#[test]
fn what_others_put_there_is_not_taken_for_ours() {
    let remote = MemoryRemote::new();
    let (list, text) = (place("list"), place("text"));
    remote.put_other_type(&list.value);
    remote.put_foreign(&text.value, b"not a number");
    let claim = Some(Claim { token: Token([1; 16]), ttl: SECOND, instead_of: Some([0; HEAD]) });
    let found = ready(remote.read(&[read(&list), Read { place: &list, claim }, read(&text)]));
    let left = None;
    let value = Found::Value { bytes: b"not a number".to_vec(), left };
    assert_eq!(found, Ok(vec![Found::Foreign, Found::Foreign, value]));
    assert_eq!(ready(remote.write(&[write(&list, b"bytes")])), Ok(vec![false]));
    assert_eq!(delete(&remote, "list"), Ok(vec![false]));
    assert_eq!(ready(remote.heads(&[&list.value, &text.value])), Ok(vec![None, None]));
    for place in [&list, &text] {
        let number = ready(remote.numbers(&[&place.value], 1, SECOND));
        assert!(matches!(number, Err(RemoteError::Garbled(_))));
    }
    let lock = |turn| ready(remote.lock(&list.value, Token([1; 16]), turn));
    assert_eq!((lock(Turn::Take(SECOND)), lock(Turn::Free)), (Ok(false), Ok(false)));
    remote.set_capacity(0);
    remote.put_foreign(&list.value, b"now bytes");
    assert_eq!(remote.peek(&list.value), Some(b"now bytes".to_vec()));
    assert!(matches!(put(&remote, "another"), Err(RemoteError::Refused(_))));
}

#[test]
fn what_is_asked_is_counted_done_or_not() {
    let remote = MemoryRemote::new();
    let (one, two) = (place("1"), place("2"));
    let faults = remote.faults();
    ready(remote.write(&[write(&one, b"1"), write(&two, b"2")])).unwrap();
    ready(remote.read(&[read(&one)])).unwrap();
    faults.fail(Op::Read, 1, RemoteError::Spared);
    ready(remote.read(&[read(&one), read(&two), read(&one)])).unwrap_err();
    drop(remote.read(&[read(&one)]));
    ready(remote.scan(b"*", None)).unwrap();
    ready(remote.set_number(b"n", 1, SECOND, None)).unwrap();
    ready(remote.heads(&[])).unwrap();
    ready(remote.node().heads(&[b"n"])).unwrap();
    let ear = Hears::new(&ManualClock::new());
    assert!(poll(&mut remote.listen(&listen(&[Mode::Tracking]), ear)).is_pending());
    let count = |calls, names| Count { calls, names };
    assert_eq!(faults.count(Op::Write), count(1, 2));
    assert_eq!(faults.count(Op::Read), count(2, 4));
    assert_eq!((faults.count(Op::Scan), faults.count(Op::Listen)), (count(1, 0), count(1, 0)));
    assert_eq!((faults.count(Op::SetNumber), faults.count(Op::Heads)), (count(1, 1), count(1, 0)));
    assert_eq!((faults.count(Op::Lock), faults.count(Op::Any)), (count(0, 0), count(6, 7)));
    faults.reset_counts();
    assert_eq!(faults.count(Op::Any), count(0, 0));
}

#[test]
fn many_names_come_in_pages() {
    let remote = MemoryRemote::new();
    let places: Vec<_> = (0..600).map(|n| place(&format!("{n:03}"))).collect();
    let writes: Vec<_> = places.iter().map(|place| write(place, b"bytes")).collect();
    ready(remote.write(&writes)).unwrap();
    let (mut found, mut from, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = ready(remote.scan(b"{p:*5}", from.as_deref())).unwrap();
        found.extend(page.names);
        pages += 1;
        let Some(next) = page.next else { break };
        from = Some(next);
    }
    let should: Vec<_> =
        places.iter().skip(5).step_by(10).map(|place| place.value.clone()).collect();
    assert_eq!((found, pages), (should, 3));
}
