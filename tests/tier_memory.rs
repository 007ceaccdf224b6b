//! The remote in memory against a plain map: three nodes ask whatever they like, and what they ask is done at once, or is late, or its answer
//! is; time passes meanwhile. Who listens is told of every change, so that what was read may be kept until then.

#![cfg(feature = "test-kit")]

use cachette::tier::{
    Claim, Delete, Ear, Found, HEAD, Listen, MemoryRemote, Mode, Op, Place, Read, Remote,
    RemoteError, Reply, Side, Token, Turn, Write,
};
use cachette::{Clock, ManualClock, Task};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const NODES: usize = 3;

/// What is asked, by small numbers, so that they meet.
#[derive(Clone, Debug)]
enum Ask {
    Read { key: u8, claim: Option<(u8, u8, Option<u8>)> },
    Head { key: u8 },
    Write { key: u8, id: u8, ttl: u8, leased: Option<u8>, version: Option<u64> },
    Delete { key: u8, unless: Option<u64> },
    Number { name: u8, fresh: u64, ttl: u8 },
    SetNumber { name: u8, number: u64, ttl: u8 },
    Lock { name: u8, token: u8, turn: u8, ttl: u8 },
}

#[derive(Clone, Debug)]
enum Step {
    /// It is asked by a node; it, or its answer, may be late.
    Ask(usize, Ask, Option<Side>),
    /// The oldest late one of a node goes on, or fails.
    Release(usize, bool),
    /// The oldest late one of a node is forgotten by who asked.
    Forget(usize),
    Pass(u8),
}

#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Found(Found),
    Head(Option<[u8; HEAD]>),
    Done(bool),
    Number(u64),
    Nothing,
}

fn place(key: u8) -> Place {
    Place {
        value: format!("{{p:{key}}}").into_bytes(),
        lease: format!("lease{{p:{key}}}").into_bytes(),
    }
}

fn number_name(name: u8) -> Vec<u8> {
    format!("{{p:number{name}}}").into_bytes()
}

fn lock_name(name: u8) -> Vec<u8> {
    format!("lock{name}").into_bytes()
}

fn token(token: u8) -> Token {
    Token([token; 16])
}

/// Some values are too short for a head.
fn value(id: u8, version: u64) -> Vec<u8> {
    let mut bytes = vec![id; if id == 0 { 5 } else { HEAD + usize::from(id) }];
    if let Some(at) = bytes.get_mut(12..20) {
        at.copy_from_slice(&version.to_le_bytes());
    }
    bytes
}

/// The head of a value with this identity and version 1.
fn instead_of(id: u8) -> [u8; HEAD] {
    value(id + 1, 1)[..HEAD].try_into().unwrap()
}

fn millis(ttl: u8) -> Duration {
    Duration::from_millis(u64::from(ttl))
}

fn turn(turn: u8, ttl: u8) -> Turn {
    [Turn::Take(millis(ttl)), Turn::Extend(millis(ttl)), Turn::Free][usize::from(turn % 3)]
}

impl Ask {
    fn send(self, node: MemoryRemote) -> Reply<'static, Answer> {
        Box::pin(async move {
            Ok(match self {
                Self::Read { key, claim } => {
                    let claim = claim.map(|(holder, ttl, id)| Claim {
                        token: token(holder),
                        ttl: millis(ttl),
                        instead_of: id.map(instead_of),
                    });
                    let found = node.read(&[Read { place: &place(key), claim }]).await?;
                    Answer::Found(found[0].clone())
                }
                Self::Head { key } => Answer::Head(node.heads(&[&place(key).value]).await?[0]),
                Self::Write { key, id, ttl, leased, version } => {
                    let bytes = value(id, version.unwrap_or(1));
                    let leased = leased.map(token);
                    let (place, ttl) = (place(key), millis(ttl));
                    let write =
                        Write { place: &place, bytes: &bytes, ttl, leased, version, tell: None };
                    Answer::Done(node.write(&[write]).await?[0])
                }
                Self::Delete { key, unless } => {
                    let delete = Delete { place: &place(key), unless, tell: None };
                    Answer::Done(node.delete(&[delete]).await?[0])
                }
                Self::Number { name, fresh, ttl } => {
                    let name = number_name(name);
                    Answer::Number(node.numbers(&[&name], fresh, millis(ttl)).await?[0])
                }
                Self::SetNumber { name, number, ttl } => {
                    node.set_number(&number_name(name), number, millis(ttl), None).await?;
                    Answer::Nothing
                }
                Self::Lock { name, token: holder, turn: which, ttl } => {
                    let turn = turn(which, ttl);
                    Answer::Done(node.lock(&lock_name(name), token(holder), turn).await?)
                }
            })
        })
    }
}

/// What should be there: everything under its name, with the time at which it ends.
#[derive(Default)]
struct Plain {
    all: BTreeMap<Vec<u8>, (Vec<u8>, Duration)>,
    now: Duration,
}

impl Plain {
    fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let (bytes, end) = self.all.get(name)?;
        (*end > self.now).then_some(bytes.as_slice())
    }

    fn left(&self, name: &[u8]) -> Duration {
        self.all[name].1 - self.now
    }

    fn put(&mut self, name: Vec<u8>, bytes: Vec<u8>, ttl: u8) {
        self.all.insert(name, (bytes, self.now + millis(ttl.max(1))));
    }

    fn version(&self, key: u8) -> Option<u64> {
        let bytes = self.get(&place(key).value)?.get(12..20)?;
        Some(u64::from_le_bytes(bytes.try_into().unwrap()))
    }

    fn answer(&mut self, ask: &Ask) -> Answer {
        match *ask {
            Ask::Read { key, claim } => Answer::Found(self.read(key, claim)),
            Ask::Head { key } => {
                let bytes = self.get(&place(key).value);
                Answer::Head(bytes.and_then(|bytes| bytes.get(..HEAD)?.try_into().ok()))
            }
            Ask::Write { key, id, ttl, leased, version } => {
                let place = place(key);
                let holder = self.get(&place.lease).map(<[u8]>::to_vec);
                if leased.is_some_and(|leased| holder != Some(token(leased).0.to_vec())) {
                    return Answer::Done(false);
                }
                self.all.remove(&place.lease);
                if version.is_some_and(|version| self.version(key).is_some_and(|is| is > version)) {
                    return Answer::Done(false);
                }
                self.put(place.value, value(id, version.unwrap_or(1)), ttl);
                Answer::Done(true)
            }
            Ask::Delete { key, unless } => {
                let place = place(key);
                self.all.remove(&place.lease);
                if unless.is_some_and(|unless| self.version(key).is_some_and(|is| is >= unless)) {
                    return Answer::Done(false);
                }
                self.all.remove(&place.value);
                Answer::Done(true)
            }
            Ask::Number { name, fresh, ttl } => {
                let name = number_name(name);
                if self.get(&name).is_none() {
                    self.put(name.clone(), fresh.to_string().into_bytes(), ttl);
                }
                let text = String::from_utf8(self.get(&name).unwrap().to_vec()).unwrap();
                Answer::Number(text.parse().unwrap())
            }
            Ask::SetNumber { name, number, ttl } => {
                self.put(number_name(name), number.to_string().into_bytes(), ttl);
                Answer::Nothing
            }
            Ask::Lock { name, token: holder, turn: which, ttl } => {
                Answer::Done(self.lock(lock_name(name), token(holder), turn(which, ttl), ttl))
            }
        }
    }

    fn read(&mut self, key: u8, claim: Option<(u8, u8, Option<u8>)>) -> Found {
        let place = place(key);
        if let Some(bytes) = self.get(&place.value) {
            let instead_of = claim.and_then(|(_, _, id)| id).map(instead_of);
            if instead_of.is_none_or(|head| bytes.get(..HEAD) != Some(&head)) {
                return Found::Value { bytes: bytes.to_vec(), left: Some(self.left(&place.value)) };
            }
        }
        let Some((holder, ttl, _)) = claim else { return Found::Nothing };
        if self.get(&place.lease).is_some() {
            return Found::Held(self.left(&place.lease));
        }
        self.put(place.lease, token(holder).0.to_vec(), ttl);
        Found::Granted
    }

    fn lock(&mut self, name: Vec<u8>, token: Token, turn: Turn, ttl: u8) -> bool {
        let holder = self.get(&name);
        let may = match turn {
            Turn::Take(_) => holder.is_none(),
            Turn::Extend(_) | Turn::Free => holder == Some(&token.0),
        };
        match turn {
            _ if !may => {}
            Turn::Free => drop(self.all.remove(&name)),
            Turn::Take(_) | Turn::Extend(_) => self.put(name, token.0.to_vec(), ttl),
        }
        may
    }
}

/// What a node has read, until it is told that it changed.
#[derive(Default)]
struct Kept(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

impl Ear for Kept {
    fn up(&self, mode: Mode) {
        assert_eq!(mode, Mode::Tracking);
    }
    fn changed(&self, names: &[&[u8]]) {
        let mut kept = self.0.lock().unwrap();
        for name in names {
            kept.remove(*name);
        }
    }
    fn all_changed(&self) {
        self.0.lock().unwrap().clear();
    }
    fn message(&self, _: &[u8]) {}
    fn now(&self) -> Duration {
        Duration::ZERO
    }
    fn alive(&self, _: Duration) {}
    fn sleep(&self, _: Duration) -> Task {
        Box::pin(std::future::pending())
    }
    fn is_gone(&self) -> bool {
        false
    }
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// One that is late: what was asked, where it is, and what is to be answered if it was done already.
type Late = (Ask, Reply<'static, Answer>, Option<Answer>);

struct Run {
    clock: ManualClock,
    nodes: Vec<MemoryRemote>,
    kept: Vec<Arc<Kept>>,
    late: Vec<VecDeque<Late>>,
    plain: Plain,
}

impl Run {
    fn new() -> Self {
        let clock = ManualClock::new();
        let remote = MemoryRemote::with_clock(clock.clone());
        Self {
            nodes: (0..NODES).map(|_| remote.node()).collect(),
            kept: (0..NODES).map(|_| Arc::default()).collect(),
            late: (0..NODES).map(|_| VecDeque::new()).collect(),
            plain: Plain::default(),
            clock,
        }
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Pass(time) => {
                self.clock.advance(millis(time));
                self.plain.now = self.clock.now();
            }
            Step::Ask(node, ask, None) => {
                let answer = poll(&mut ask.clone().send(self.nodes[node].clone()));
                let should = self.plain.answer(&ask);
                self.keep(node, &ask, &should);
                prop_assert_eq!(answer, Poll::Ready(Ok(should)));
            }
            Step::Ask(node, ask, Some(side)) => {
                self.nodes[node].faults().hold_next(Op::Any, 1, side);
                let mut reply = ask.clone().send(self.nodes[node].clone());
                prop_assert!(poll(&mut reply).is_pending());
                let should = (side == Side::After).then(|| self.plain.answer(&ask));
                self.late[node].push_back((ask, reply, should));
            }
            Step::Release(node, well) => {
                let Some((ask, mut reply, should)) = self.late[node].pop_front() else {
                    return Ok(());
                };
                let error = RemoteError::Unreachable("for a test".to_owned());
                let faults = self.nodes[node].faults();
                let any =
                    if well { faults.release_next() } else { faults.fail_next_held(error.clone()) };
                prop_assert!(any);
                let should = match well {
                    true => Ok(should.unwrap_or_else(|| self.plain.answer(&ask))),
                    false => Err(error),
                };
                prop_assert_eq!(poll(&mut reply), Poll::Ready(should));
            }
            Step::Forget(node) => drop(self.late[node].pop_front()),
        }
        self.check()
    }

    /// Keeps what was read at once. (What was late may have changed since.)
    fn keep(&self, node: usize, ask: &Ask, answer: &Answer) {
        if let (Ask::Read { key, .. }, Answer::Found(Found::Value { bytes, .. })) = (ask, answer) {
            self.kept[node].0.lock().unwrap().insert(place(*key).value, bytes.clone());
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for (node, late) in self.nodes.iter().zip(&self.late) {
            prop_assert_eq!(node.faults().held().len(), late.len());
        }
        for kept in &self.kept {
            for (name, bytes) in &*kept.0.lock().unwrap() {
                let is = self.plain.get(name);
                prop_assert!(is.is_none_or(|is| is == bytes), "nobody told that {name:?} changed");
                let gone = !self.plain.all.contains_key(name);
                prop_assert!(!gone, "nobody told that {name:?} was deleted");
            }
        }
        Ok(())
    }

    /// All that is there is found by who looks for it, and nothing else.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        let page = poll(&mut self.nodes[0].scan(b"*", None));
        let alive = self.plain.all.keys().filter(|name| self.plain.get(name).is_some());
        let alive: Vec<_> = alive.cloned().collect();
        prop_assert_eq!(
            page,
            Poll::Ready(Ok(cachette::tier::Page { names: alive.clone(), next: None }))
        );
        for name in &alive {
            prop_assert_eq!(self.nodes[1].peek(name), self.plain.get(name).map(<[u8]>::to_vec));
        }
        self.nodes[2].expire();
        prop_assert_eq!(self.nodes[2].len(), alive.len());
        self.clock.advance(Duration::from_secs(1));
        self.nodes[0].expire();
        prop_assert_eq!((self.nodes[0].len(), self.nodes[0].used()), (0, 0));
        Ok(())
    }
}

fn asks() -> impl Strategy<Value = Ask> {
    let key = 0_u8..2;
    let ttl = || select(vec![0_u8, 1, 5, 10, 200]);
    let version = || select(vec![0, 1, 2, 1 << 32, 1 << 53, (1 << 53) + 1, u64::MAX]);
    let holder = || 0_u8..3;
    prop_oneof![
        4 => (key.clone(), option::of((holder(), ttl(), option::of(0_u8..2))))
            .prop_map(|(key, claim)| Ask::Read { key, claim }),
        1 => key.clone().prop_map(|key| Ask::Head { key }),
        4 => (key.clone(), 0_u8..4, ttl(), option::of(holder()), option::of(version())).prop_map(
            |(key, id, ttl, leased, version)| Ask::Write { key, id, ttl, leased, version }
        ),
        2 => (key.clone(), option::of(version())).prop_map(|(key, unless)| Ask::Delete { key, unless }),
        1 => (key.clone(), version(), ttl()).prop_map(|(name, fresh, ttl)| Ask::Number { name, fresh, ttl }),
        1 => (key.clone(), version(), ttl())
            .prop_map(|(name, number, ttl)| Ask::SetNumber { name, number, ttl }),
        2 => (key, holder(), 0_u8..3, ttl())
            .prop_map(|(name, token, turn, ttl)| Ask::Lock { name, token, turn, ttl }),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let node = 0..NODES;
    let late =
        prop_oneof![4 => Just(None), 1 => Just(Some(Side::Before)), 1 => Just(Some(Side::After))];
    prop_oneof![
        10 => (node.clone(), asks(), late).prop_map(|(node, ask, late)| Step::Ask(node, ask, late)),
        3 => (node.clone(), prop_oneof![3 => Just(true), 1 => Just(false)])
            .prop_map(|(node, well)| Step::Release(node, well)),
        1 => node.prop_map(Step::Forget),
        2 => select(vec![1_u8, 4, 5, 6, 50]).prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn three_nodes_see_what_a_plain_map_has(steps in vec(steps(), 0..120)) {
        let mut run = Run::new();
        let (nodes, kept) = (run.nodes.clone(), run.kept.clone());
        let listen = Listen {
            prefix: b"{p:".to_vec(),
            channel: Vec::new(),
            modes: vec![Mode::Tracking],
            beat: Duration::from_secs(1),
            patience: Duration::from_secs(1),
        };
        let mut lines: Vec<_> =
            nodes.iter().zip(&kept).map(|(node, kept)| node.listen(&listen, kept.clone())).collect();
        for line in &mut lines {
            prop_assert!(poll(line).is_pending());
        }
        for step in steps {
            run.step(step)?;
        }
        run.finish()?;
    }
}
