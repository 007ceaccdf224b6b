//! A cluster of Redis that is asked by threads.
//!
//! ```text
//!   commands ──► the slot of each first key ──► by node: one round trip each, all at once ──► answers, in order
//!                     ▲                                       │
//!                     └── MOVED: ask there; look at the map   │
//!                         ASK: ask there, this once      ◄────┤
//!                         TRYAGAIN: ask again, a bit later    │
//! ```
//!
//! The cluster client of the crate below is not used. Its pipelines take `MOVED` and `ASK` for answers, and what it asks alone it sends
//! again after a connection broke, though it may have been done.

mod listening;
mod topology;

pub(super) use self::topology::Address;
use self::topology::Topology;
use super::blocking::RedisRemote;
use super::ops::{self, Line};
use super::options::{RedisOptions, RedisUrlError};
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, thread};
use crate::tier::{
    Delete, Ear, Found, HEAD, Listen, Page, Read, Remote, RemoteError, Reply, Tell, Token, Turn,
    Write,
};
use ::redis::{Arg, Cmd, Pipeline, ServerError, ServerErrorKind, Value, cmd};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::time::{Duration, Instant};

/// How often a command is sent elsewhere: more than once only if slots move meanwhile.
const HOPS: u32 = 8;

/// How long to wait for names that are on their way from node to node.
const PAUSE: Duration = Duration::from_millis(10);

/// A cluster of Redis or Valkey, asked by threads. Each waits for its answers, so a cache calls it where blocking does no harm.
///
/// Version 7 at least. Every operation is one round trip to each node that has one of its names, to all at once; the first of all, and
/// the first after the cluster has changed, are more. Nothing is tried twice but what a node has refused to do.
///
/// Primaries alone are asked. To listen takes a connection to each; that line ends whenever slots or primaries change, so that L1 is
/// emptied. While a slot moves from node to node, most operations on its names wait for at most the time that an answer may take, and then
/// fail as refused. In [`Mode::Messages`](crate::tier::Mode::Messages) one node is listened to, and what is told to another is as late as
/// the bus between them.
///
/// If it is encrypted, its nodes need `tls-cluster`: a Redis 7.0 does not tell otherwise where it encrypts.
///
/// Its user needs what that of [`RedisRemote`] needs, and `CLUSTER SHARDS` and `ASKING`; `CLUSTER NODES` to scan.
///
/// ```no_run
/// use cachette::tier::{RedisCluster, RedisOptions};
///
/// let nodes = ["redis://cache-1.example", "redis://cache-2.example"];
/// let nodes: Result<Vec<_>, _> = nodes.map(RedisOptions::new).into_iter().collect();
/// let remote = RedisCluster::new(nodes?)?;
/// # Ok::<(), cachette::tier::RedisUrlError>(())
/// ```
pub struct RedisCluster {
    /// For all nodes; the address is that of the first that was given.
    options: RedisOptions,
    seeds: Vec<Address>,
    known: Mutex<Known>,
    /// Who is asked next for the topology: not always the same, which may hang.
    turn: AtomicUsize,
}

struct Known {
    /// None if it has turned out to be wrong.
    topology: Option<Arc<Topology>>,
    nodes: BTreeMap<Address, Arc<RedisRemote>>,
}

/// A command that is yet to be answered.
struct Due {
    /// Its place among all.
    at: usize,
    to: Address,
    /// The node has the name though it has not got the slot yet.
    asking: bool,
}

/// What is to be done with a command that a node has refused.
enum Turned {
    Elsewhere { to: Address, asking: bool },
    Later,
}

type Answer<T> = Result<T, RemoteError>;

impl RedisCluster {
    /// A cluster that has a node at one of these addresses; it tells where the others are. User, password, certificates, times and
    /// numbers are those of the first. Connects when something is asked, and not before.
    ///
    /// # Errors
    ///
    /// If there is no address, or one is not that of a host, or has a database.
    pub fn new(nodes: impl IntoIterator<Item = RedisOptions>) -> Result<Self, RedisUrlError> {
        let nodes: Vec<_> = nodes.into_iter().collect();
        let seeds = nodes.iter().map(RedisOptions::node).collect::<Result<_, _>>()?;
        let options = nodes.into_iter().next().ok_or_else(RedisUrlError::none)?;
        let known = Mutex::new(Known { topology: None, nodes: BTreeMap::new() });
        Ok(Self { options, seeds, known, turn: AtomicUsize::new(0) })
    }

    fn node(&self, address: &Address) -> Arc<RedisRemote> {
        let mut known = self.known.lock();
        let node = known.nodes.entry(address.clone());
        Arc::clone(node.or_insert_with(|| Arc::new(RedisRemote::new(self.options.at(address)))))
    }

    fn topology(&self) -> Answer<Arc<Topology>> {
        let known = self.known.lock().topology.clone();
        known.map_or_else(|| self.explore(), Ok)
    }

    fn forget_topology(&self) {
        self.known.lock().topology = None;
    }

    /// Asks for the topology: the nodes that are known, in turn, until one knows who has each slot.
    fn explore(&self) -> Answer<Arc<Topology>> {
        let mut candidates: Vec<_> = self.known.lock().nodes.keys().cloned().collect();
        candidates.extend(self.seeds.iter().cloned());
        candidates.sort();
        candidates.dedup();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % candidates.len();
        candidates.rotate_left(turn);
        let (mut best, mut failure) = (None::<Topology>, None);
        for candidate in &candidates {
            match self.topology_of(candidate) {
                Ok(found) => {
                    if best.as_ref().is_none_or(|best| found.lacks() < best.lacks()) {
                        best = Some(found);
                    }
                }
                Err(error) => failure = Some(error),
            }
            if best.as_ref().is_some_and(|best| best.lacks() == 0) {
                break;
            }
        }
        let none = || RemoteError::Unreachable("there is no node".to_owned());
        let found = Arc::new(best.ok_or_else(|| failure.unwrap_or_else(none))?);
        let mut known = self.known.lock();
        known.topology = Some(Arc::clone(&found));
        let seeds = &self.seeds;
        let is_known = |one: &Address| found.nodes().iter().any(|node| node.address == *one);
        known.nodes.retain(|address, _| seeds.contains(address) || is_known(address));
        drop(known);
        Ok(found)
    }

    fn topology_of(&self, address: &Address) -> Answer<Topology> {
        let answers = self.ask_node(address, &[Topology::question()])?;
        let [answer] = answers.try_into().map_err(|_| few())?;
        Topology::read(ops::checked(answer)?, address, self.options.is_encrypted())
    }

    fn ask_node(&self, address: &Address, commands: &[Cmd]) -> Answer<Vec<Value>> {
        let packed: Vec<u8> = commands.iter().flat_map(Cmd::get_packed_command).collect();
        self.node(address).send(&packed, commands.len())?.answers()
    }

    fn exchange(&self, commands: &[&Cmd]) -> Answer<Vec<Value>> {
        let start = Instant::now();
        let topology = self.topology()?;
        let home = |at: usize| Due {
            at,
            to: topology.owner(commands.get(at).map_or(&[], |command| key(command))).clone(),
            asking: false,
        };
        let mut answers = vec![Value::Nil; commands.len()];
        let mut due: Vec<_> = (0..commands.len()).map(home).collect();
        let mut hops = 0;
        while !due.is_empty() {
            let turned = self.round(due, commands, &mut answers)?;
            due = Vec::new();
            let mut waits = false;
            for (at, turned) in turned {
                match turned {
                    Turned::Elsewhere { to, asking } if hops < HOPS => {
                        due.push(Due { at, to, asking });
                    }
                    Turned::Later if start.elapsed() < self.options.answer_timeout => {
                        due.push(home(at));
                        waits = true;
                    }
                    // It remains refused, in the node's words.
                    _ => {}
                }
            }
            hops = if waits { 0 } else { hops + 1 };
            if waits {
                // Nobody tells when a slot has moved; this remote may block, and the time is bounded above.
                thread::sleep(PAUSE);
            }
        }
        Ok(answers)
    }

    /// Sends each command to its node, and notes what is answered. Returns what was not done there.
    fn round(
        &self,
        due: Vec<Due>,
        commands: &[&Cmd],
        answers: &mut [Value],
    ) -> Answer<Vec<(usize, Turned)>> {
        let mut groups = BTreeMap::<Address, Vec<Due>>::new();
        for due in due {
            groups.entry(due.to.clone()).or_default().push(due);
        }
        // In the order of their addresses: who waits for a connection has none that comes after it.
        let groups: Vec<_> =
            groups.into_iter().map(|(to, group)| (self.node(&to), to, group)).collect();
        let mut asked = Vec::with_capacity(groups.len());
        for (node, _, group) in &groups {
            let (packed, count) = packed(group, commands);
            asked.push(node.send(&packed, count).inspect_err(|_| self.forget_topology())?);
        }
        let mut turned = Vec::new();
        for (asked, (_, to, group)) in asked.into_iter().zip(&groups) {
            let mut came = asked.answers().inspect_err(|_| self.forget_topology())?.into_iter();
            for due in group {
                if due.asking {
                    came.next();
                }
                let answer = came.next().ok_or_else(few)?;
                if let Value::ServerError(error) = &answer {
                    turned.extend(self.turned(error, to).map(|turned| (due.at, turned)));
                }
                if let Some(place) = answers.get_mut(due.at) {
                    *place = answer;
                }
            }
        }
        Ok(turned)
    }

    fn turned(&self, error: &ServerError, by: &Address) -> Option<Turned> {
        // MOVED or ASK, slot, address.
        let there = || Address::read(error.details()?.split(' ').nth(1)?, by);
        match error.kind()? {
            ServerErrorKind::Moved => {
                self.forget_topology();
                Some(Turned::Elsewhere { to: there()?, asking: false })
            }
            ServerErrorKind::Ask => Some(Turned::Elsewhere { to: there()?, asking: true }),
            ServerErrorKind::TryAgain => Some(Turned::Later),
            ServerErrorKind::ClusterDown => {
                self.forget_topology();
                None
            }
            _ => None,
        }
    }

    /// A page of one node's names. Where to go on is said by the topology, the node, and its own word.
    fn page(&self, pattern: &[u8], from: Option<&[u8]>) -> Answer<Page> {
        let (topology, print, at, cursor) = match from {
            None => {
                let topology = self.explore()?;
                let print = topology.print();
                (topology, print, 0, "0".to_owned())
            }
            Some(from) => {
                let (print, at, cursor) = read_cursor(from)?;
                (self.topology()?, print, at, cursor)
            }
        };
        let node = topology.nodes().get(at).ok_or_else(moved)?;
        let mut nodes = cmd("CLUSTER");
        nodes.arg("NODES");
        let commands = [ops::scan_command(pattern, cursor.as_bytes()), Topology::question(), nodes];
        let answers = self.ask_node(&node.address, &commands)?;
        let [scanned, shards, nodes] = answers.try_into().map_err(|_| few())?;
        let (shards, nodes) = (ops::checked(shards)?, ops::bytes(ops::checked(nodes)?)?);
        let now = Topology::read(shards, &node.address, self.options.is_encrypted())?;
        // Names that came from a node which is yet to be scanned to one that has been would be on no page.
        if now.print() != print || is_moving(&nodes) {
            self.forget_topology();
            return Err(moved());
        }
        let mut page = ops::page(scanned)?;
        let next = match &page.next {
            Some(next) => Some((at, String::from_utf8_lossy(next).into_owned())),
            None => (at + 1 < topology.nodes().len()).then(|| (at + 1, "0".to_owned())),
        };
        page.next = next.map(|(at, cursor)| format!("{print:x}:{at}:{cursor}").into_bytes());
        Ok(page)
    }
}

/// The key by which a call of a script finds its node: after the command, the script, and the number of keys.
fn key(command: &Cmd) -> &[u8] {
    match command.args_iter().nth(3) {
        Some(Arg::Simple(key)) => key,
        _ => &[],
    }
}

/// The commands as they are sent, and how many.
fn packed(group: &[Due], commands: &[&Cmd]) -> (Vec<u8>, usize) {
    let (mut packed, mut count) = (Vec::new(), 0);
    for due in group {
        if due.asking {
            packed.extend(cmd("ASKING").get_packed_command());
            count += 1;
        }
        if let Some(command) = commands.get(due.at) {
            packed.extend(command.get_packed_command());
            count += 1;
        }
    }
    (packed, count)
}

fn read_cursor(text: &[u8]) -> Answer<(u64, usize, String)> {
    let read = || {
        let mut parts = std::str::from_utf8(text).ok()?.splitn(3, ':');
        let print = u64::from_str_radix(parts.next()?, 16).ok()?;
        Some((print, parts.next()?.parse().ok()?, parts.next()?.to_owned()))
    };
    read().ok_or_else(|| RemoteError::Garbled("this is no place to go on from".to_owned()))
}

/// True if a node says, in the line of its own, that a slot comes or goes: `[93->-ID]`.
fn is_moving(nodes: &[u8]) -> bool {
    nodes.windows(2).any(|two| two == b" [")
}

fn moved() -> RemoteError {
    RemoteError::Unreachable("slots have moved in the midst of a scan".to_owned())
}

fn few() -> RemoteError {
    RemoteError::Garbled("there are fewer answers than questions".to_owned())
}

impl Line for RedisCluster {
    const TOGETHER: usize = 1;

    async fn ask(&self, commands: Pipeline) -> Answer<Vec<Value>> {
        self.exchange(&commands.cmd_iter().collect::<Vec<_>>())
    }

    async fn scan(&self, pattern: &[u8], from: Option<&[u8]>) -> Answer<Page> {
        self.page(pattern, from)
    }
}

impl fmt::Debug for RedisCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCluster")
            .field("nodes", &self.seeds)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Remote for RedisCluster {
    fn blocks(&self) -> bool {
        true
    }

    ops::operations!();

    fn listen<'a>(&'a self, listen: &'a Listen, ear: Arc<dyn Ear>) -> Reply<'a, Infallible> {
        Box::pin(async move { Err(self.hear(listen, &ear)) })
    }
}
