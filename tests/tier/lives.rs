//! Random lives of a few processes, held against what the system of record said, and when.
//!
//! **The oracle.** Every row has a version, which is its value. A write to the system of record is followed by a deletion, or a `put`, of
//! one of the processes, or by a deletion of somebody who is no cache. It is told to others when that ended with `Done`, or
//! when it has been made up for; it is known at once to the process that did it, whatever became of it in the remote. A value that a
//! read returns must not be older than what its process had done itself before the read began, nor than what others were told of
//! before `began - max_staleness()`. A read that joins a load counts from when that began.

use crate::rng::Rng;
use crate::world::{BOUND, Call, Chosen, Down, Node, World, millis, seconds};
use cachette::tier::{
    Breaker, Data, Delete, Delivery, Mode, OnLinkLoss, Op, Path, Place, Remote, RemoteError, Side,
};
use cachette::{Freshness, LoadError};
use std::fmt::Write as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const KEYS: u64 = 4;
const TAGS: [&str; 2] = ["even", "odd"];

/// What is chosen for all processes of a life.
struct Choices {
    modes: Vec<Mode>,
    /// The mode that is there when nothing goes wrong.
    best: Mode,
    on_loss: OnLinkLoss,
    tags: bool,
    versions: bool,
    timeout: Duration,
    most_undelivered: usize,
    remote_ttl: Duration,
    local: Option<Freshness>,
    bound: Option<Duration>,
    /// How much replicas may lag, if they are asked.
    lag: Option<Duration>,
}

fn tags_of(key: u64) -> Vec<String> {
    vec![TAGS[(key % 2) as usize].to_owned()]
}

impl Choices {
    fn draw(modes: &[Mode], replicas: bool, rng: &mut Rng) -> Self {
        let best = modes[0];
        let mut local = Freshness::new(seconds([3, 20][rng.below(2) as usize]));
        if rng.below(3) == 0 {
            local = local.refresh_ahead(0.5);
        }
        let losses = [OnLinkLoss::Flush, OnLinkLoss::Bypass, OnLinkLoss::ServeStale(millis(600))];
        // Where nobody tells of changes, the bound is the TTL unless it is chosen.
        let bound = (rng.below(2) == 0).then_some(BOUND);
        let lag = replicas.then(|| millis([50, 400, 1_500][rng.below(3) as usize]));
        Self {
            modes: modes.to_vec(),
            best,
            on_loss: losses[rng.below(3) as usize],
            tags: rng.below(2) == 0,
            versions: rng.below(3) == 0,
            timeout: millis([100, 500, 3_000][rng.below(3) as usize]),
            most_undelivered: [2, 10_000][rng.below(2) as usize],
            remote_ttl: seconds([5, 600][rng.below(2) as usize]),
            // Without, what is remote decides alone.
            local: (best == Mode::TtlOnly || rng.below(3) > 0).then_some(local),
            bound,
            lag,
        }
    }

    fn choose(&self, builder: Chosen) -> Chosen {
        let mut builder = builder
            .modes(self.modes.clone())
            .on_link_loss(self.on_loss)
            .remote_timeout(self.timeout)
            .most_undelivered(self.most_undelivered)
            .remote_ttl(self.remote_ttl)
            .breaker(Breaker { after: 3, ..Breaker::default() });
        if self.tags {
            builder = builder.tags(|&key, _| tags_of(key));
        }
        if self.versions {
            builder = builder.versions(|_, value: &String| value.parse().unwrap());
        }
        if let Some(lag) = self.lag {
            builder = builder.replica_lag(lag);
        }
        match self.bound {
            Some(bound) => builder.max_staleness(bound),
            None => builder,
        }
    }
}

/// A row was written, and somebody said so.
#[derive(Debug)]
struct Change {
    version: u64,
    by: Option<usize>,
    /// Who did it knows of it since this step.
    own: Option<u64>,
    /// Others have been told at this time.
    told: Option<Duration>,
}

/// A read that has begun.
struct Reading<'a> {
    node: usize,
    key: u64,
    step: u64,
    began: Duration,
    /// When the load began that it may have joined.
    counts_from: Duration,
    bound: Duration,
    call: Call<'a, Result<String, LoadError<Down>>>,
}

/// A write that has begun.
struct Writing<'a> {
    node: usize,
    /// Keys, and which of their changes.
    changes: Vec<(u64, usize)>,
    /// It puts a value: nobody else may write these keys until it has ended.
    puts: bool,
    call: Call<'a, Delivery>,
}

struct Life<'a> {
    world: &'a World,
    nodes: &'a [Node],
    choices: &'a Choices,
    rng: Rng,
    step: u64,
    rows: Vec<Vec<Change>>,
    reading: Vec<Reading<'a>>,
    writing: Vec<Writing<'a>>,
    /// Changes that a process has not delivered.
    queued: Vec<(usize, u64, usize)>,
    /// Loads that nobody waits for began then: by process and key.
    refreshes: Vec<Vec<Option<Duration>>>,
    parked: bool,
    log: String,
}

fn now(world: &World) -> Duration {
    use cachette::Clock;
    world.clock.now()
}

impl<'a> Life<'a> {
    fn note(&mut self, what: &str) {
        let at = now(self.world);
        writeln!(self.log, "{:>4} {at:>9.3?} {what}", self.step).unwrap();
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{what}\n{}", self.log);
    }

    fn node(&mut self) -> usize {
        self.rng.below(self.nodes.len() as u64) as usize
    }

    /// One key more often than others.
    fn key(&mut self) -> u64 {
        if self.rng.below(2) == 0 { 0 } else { self.rng.below(KEYS) }
    }

    /// The current version of a row.
    fn current(&self, key: u64) -> u64 {
        self.rows[key as usize].last().map_or(0, |change| change.version)
    }

    /// Writes rows in the system of record.
    fn write(&mut self, keys: &[u64], by: Option<usize>) -> Vec<(u64, usize)> {
        let write = |&key: &u64| {
            let version = self.current(key) + 1;
            self.world.source.write(key, version);
            let row = &mut self.rows[key as usize];
            row.push(Change { version, by, own: None, told: None });
            (key, row.len() - 1)
        };
        keys.iter().map(write).collect()
    }

    fn is_put(&self, key: u64) -> bool {
        let about = |writing: &Writing<'_>| writing.changes.iter().any(|change| change.0 == key);
        self.writing.iter().any(|writing| writing.puts && about(writing))
    }

    fn is_written(&self, key: u64) -> bool {
        let about = |writing: &Writing<'_>| writing.changes.iter().any(|change| change.0 == key);
        self.writing.iter().any(about)
    }

    fn load(&mut self) {
        let (at, key) = (self.node(), self.key());
        self.note(&format!("node {at} loads {key}"));
        let node = &self.nodes[at];
        let began = now(self.world);
        let same = |reading: &&Reading<'_>| (reading.node, reading.key) == (at, key);
        let joined = self.reading.iter().filter(same).map(|reading| reading.counts_from).min();
        let refresh = self.refreshes[at][key as usize];
        let counts_from = began.min(joined.unwrap_or(began)).min(refresh.unwrap_or(began));
        let bound = node.cache.max_staleness();
        let (step, call) = (self.step, node.load(key));
        self.reading.push(Reading { node: at, key, step, began, counts_from, bound, call });
    }

    fn get(&mut self) {
        let (at, key) = (self.node(), self.key());
        let bound = self.nodes[at].cache.max_staleness();
        if let Some(value) = self.nodes[at].local(key) {
            self.note(&format!("node {at} has {key}: {value}"));
            let began = now(self.world);
            self.judge(at, key, self.step, began, bound, value);
        }
    }

    /// Holds a value against what its reader may not have missed.
    fn judge(
        &self,
        node: usize,
        key: u64,
        step: u64,
        counts_from: Duration,
        bound: Duration,
        value: u64,
    ) {
        for change in self.rows[key as usize].iter().filter(|change| change.version > value) {
            if change.by == Some(node) && change.own.is_some_and(|own| own < step) {
                self.fail(&format!("node {node} has {key}: {value}, and did {change:?} itself"));
            }
            if change.told.is_some_and(|told| told + bound <= counts_from) {
                self.fail(&format!("node {node} has {key}: {value}, and was told {change:?}"));
            }
        }
        if value > self.current(key) {
            self.fail("from the future");
        }
    }

    fn delete(&mut self) {
        let (at, key) = (self.node(), self.key());
        if self.is_put(key) {
            return;
        }
        let changes = self.write(&[key], Some(at));
        self.note(&format!("node {at} deletes {key}, now {}", self.current(key)));
        let node = &self.nodes[at];
        let call = node.call(async move { node.cache.delete_async(&key).await });
        self.writing.push(Writing { node: at, changes, puts: false, call });
    }

    fn put(&mut self) {
        let (at, key) = (self.node(), self.key());
        if self.is_written(key) {
            return;
        }
        let changes = self.write(&[key], Some(at));
        let version = self.current(key);
        self.note(&format!("node {at} puts {key}: {version}"));
        let node = &self.nodes[at];
        let call = node.call(async move { node.cache.put_async(key, version.to_string()).await });
        self.writing.push(Writing { node: at, changes, puts: true, call });
    }

    fn delete_tag(&mut self) {
        let (at, tag) = (self.node(), self.rng.below(2));
        let keys: Vec<u64> = (0..KEYS).filter(|key| key % 2 == tag).collect();
        if !self.choices.tags || keys.iter().any(|&key| self.is_put(key)) {
            return;
        }
        let changes = self.write(&keys, Some(at));
        self.note(&format!("node {at} deletes tag {}, now", TAGS[tag as usize]));
        let node = &self.nodes[at];
        let call = node.call(node.cache.delete_tag_async(TAGS[tag as usize]));
        self.writing.push(Writing { node: at, changes, puts: false, call });
    }

    fn clear(&mut self) {
        let at = self.node();
        if (0..KEYS).any(|key| self.is_put(key)) {
            return;
        }
        let keys: Vec<u64> = (0..KEYS).collect();
        let changes = self.write(&keys, Some(at));
        self.note(&format!("node {at} clears"));
        let node = &self.nodes[at];
        let call = node.call(node.cache.clear_async());
        self.writing.push(Writing { node: at, changes, puts: false, call });
    }

    /// Somebody who is no cache deletes a value. Where processes are told by messages only, he tells nobody.
    fn foreign(&mut self) {
        let key = self.key();
        if self.is_put(key) {
            return;
        }
        let place = Place::of(format!("{{test.0:k:{key}}}").into_bytes());
        let deletes = [Delete { place: &place, unless: None, tell: None }];
        let heard = self.choices.best != Mode::Messages;
        let changes = if heard { self.write(&[key], None) } else { Vec::new() };
        self.note(&format!("somebody deletes {key}, now {}", self.current(key)));
        let mut deleted = pin!(self.world.remote.delete(&deletes));
        let deleted = deleted.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(deleted, Poll::Ready(Ok(vec![true])));
        self.end(None, &changes, true);
    }

    fn refresh(&mut self) {
        let (at, key) = (self.node(), self.key());
        let began = now(self.world);
        if self.nodes[at].cache.refresh(&key) {
            self.note(&format!("node {at} refreshes {key}"));
            self.refreshes[at][key as usize].get_or_insert(began);
        }
    }

    /// Notes that a write has ended.
    fn end(&mut self, by: Option<usize>, changes: &[(u64, usize)], delivered: bool) {
        for &(key, at) in changes {
            let change = &mut self.rows[key as usize][at];
            change.own = Some(self.step);
            if delivered {
                change.told = Some(now(self.world));
            } else if let Some(by) = by {
                self.queued.push((by, key, at));
            }
        }
    }

    /// Polls what is under way.
    fn poll(&mut self) {
        for mut writing in std::mem::take(&mut self.writing) {
            match writing.call.poll() {
                None => self.writing.push(writing),
                Some(delivery) => {
                    self.note(&format!("node {}: {delivery:?}", writing.node));
                    let delivered = !matches!(delivery, Delivery::Queued(_));
                    self.end(Some(writing.node), &writing.changes, delivered);
                }
            }
        }
        for mut reading in std::mem::take(&mut self.reading) {
            match reading.call.poll() {
                None => self.reading.push(reading),
                Some(value) => self.has_read(&reading, value),
            }
        }
        let at = now(self.world);
        let Self { queued, rows, nodes, .. } = self;
        queued.retain(|&(node, key, change)| {
            let waits = nodes[node].cache.undelivered() > 0;
            if !waits {
                rows[key as usize][change].told = Some(at);
            }
            waits
        });
    }

    fn has_read(&mut self, reading: &Reading<'_>, value: Result<String, LoadError<Down>>) {
        let Ok(value) = value else { self.fail(&format!("a load gave {value:?}")) };
        let value = value.parse().unwrap();
        let Reading { node, key, step, counts_from, .. } = *reading;
        self.note(&format!("node {node} has loaded {key}: {value}, since step {step}"));
        let bound = reading.bound.max(self.nodes[node].cache.max_staleness());
        assert!(counts_from <= reading.began);
        self.judge(node, key, step, counts_from, bound, value);
    }

    /// Time passes, for all or with the background of some standing still.
    fn pass(&mut self) {
        let times = [1, 20, 60, 200, 600, 1_100, 2_500, 12_000];
        let time = millis(times[self.rng.below(times.len() as u64) as usize]);
        let stalled = if self.rng.below(4) == 0 { self.node() } else { usize::MAX };
        self.note(&format!("{time:?} pass, but for node {stalled}"));
        let awake = self.nodes.iter().enumerate().filter(|(at, _)| *at != stalled);
        let awake: Vec<&Node> = awake.map(|(_, node)| node).collect();
        if self.rng.below(3) == 0 {
            self.world.pass(&awake, time);
        } else {
            self.world.live(&awake, time);
        }
        if !self.parked && time > seconds(10) && stalled == usize::MAX {
            let healthy = |node: &Node| node.remote.faults().held().is_empty();
            if self.nodes.iter().all(healthy) {
                self.refreshes.iter_mut().flatten().for_each(|since| *since = None);
            }
        }
    }

    fn park(&mut self) {
        self.parked = !self.parked;
        self.note(if self.parked { "loads are parked" } else { "loads go on" });
        if self.parked { self.world.source.park() } else { self.world.source.release() }
    }

    fn fault(&mut self) {
        let at = self.node();
        let faults = self.nodes[at].remote.faults();
        let ops = [
            Op::Any,
            Op::Read,
            Op::Write,
            Op::Delete,
            Op::Numbers,
            Op::SetNumber,
            Op::Heads,
            Op::ReadReplica,
        ];
        let count = ops.len() as u64 - u64::from(self.choices.lag.is_none());
        let op = ops[self.rng.below(count) as usize];
        let path = [Path::Silent, Path::Cut, Path::Open][self.rng.below(3) as usize];
        let times = 1 + self.rng.below(3);
        let side = [Side::Before, Side::After][self.rng.below(2) as usize];
        let what = match self.rng.below(9) {
            0 => {
                faults.lines(path);
                format!("lines {path:?}")
            }
            1 => {
                faults.calls(path);
                format!("calls {path:?}")
            }
            2 => {
                faults.partition(path);
                format!("partition {path:?}")
            }
            3 => {
                faults.lose_answers(op, times);
                format!("{times} answers of {op:?} are lost")
            }
            4 => {
                faults.fail(op, times, RemoteError::Unreachable("for a test".to_owned()));
                format!("{times} of {op:?} fail")
            }
            5 => {
                faults.hold(op, side);
                format!("{op:?} is held {side:?}")
            }
            6 => {
                faults.release();
                "released".to_owned()
            }
            7 => {
                faults.fail_held(RemoteError::Unreachable("for a test".to_owned()));
                "what is held fails".to_owned()
            }
            _ => {
                faults.heal();
                "healed".to_owned()
            }
        };
        self.note(&format!("node {at}: {what}"));
    }

    /// Something that concerns all.
    fn server(&mut self) {
        match self.rng.below(4) {
            0 => {
                let data = [Data::Kept, Data::Lost][self.rng.below(2) as usize];
                self.note(&format!("restart, {data:?}"));
                self.world.remote.restart(data);
            }
            1 => {
                self.note("flush");
                self.world.remote.flush_all();
            }
            2 if self.choices.modes.len() > 1 => {
                let at = self.node();
                let refuses = self.rng.below(2) == 0;
                self.note(&format!("node {at} may listen: {}", !refuses));
                let offered = if refuses { &[][..] } else { &self.choices.modes };
                self.nodes[at].remote.faults().offer(offered);
            }
            _ => {
                self.note("expired ones are freed");
                self.world.remote.expire();
            }
        }
    }

    /// Another replica, which lags by something else: more, at times, than it may.
    fn replica(&mut self) {
        let at = self.node();
        let lags = [0, 1, 40, 50, 250, 399, 1_200, 1_600];
        let lag = millis(lags[self.rng.below(lags.len() as u64) as usize]);
        self.note(&format!("node {at} has a replica that lags by {lag:?}"));
        self.nodes[at].remote.faults().replica(Some(lag));
    }

    fn act(&mut self) {
        self.step += 1;
        let kinds = if self.choices.lag.is_some() { 43 } else { 40 };
        match self.rng.below(kinds) {
            0..10 => self.load(),
            10..14 => self.get(),
            14..18 => self.delete(),
            18..20 => self.put(),
            20..22 => self.delete_tag(),
            22 => self.clear(),
            23 => self.foreign(),
            24 => self.refresh(),
            25..32 => self.pass(),
            32..34 => self.park(),
            34..39 => self.fault(),
            39 => self.server(),
            _ => self.replica(),
        }
        self.step += 1;
        self.poll();
    }

    /// In the end all is well.
    fn converge(&mut self) {
        self.note("the end");
        self.world.source.release();
        for node in self.nodes {
            node.remote.faults().heal();
            node.remote.faults().offer(&self.choices.modes);
        }
        let all: Vec<&Node> = self.nodes.iter().collect();
        for _ in 0..180 {
            self.step += 1;
            self.world.pass(&all, millis(250));
            self.poll();
        }
        if !self.reading.is_empty() || !self.writing.is_empty() {
            self.fail("somebody still waits");
        }
        for (at, node) in self.nodes.iter().enumerate() {
            if node.cache.undelivered() > 0 || node.cache.mode() != Some(self.choices.best) {
                self.fail(&format!("node {at} does not recover: {:?}", node.cache));
            }
            for key in 0..KEYS {
                let value = node.value(key);
                if value != self.current(key) {
                    self.fail(&format!("node {at} has {key}: {value} in the end"));
                }
            }
        }
    }
}

fn live(seed: u64, modes: &[Mode], replicas: bool) {
    let mut rng = Rng::new(seed);
    let choices = Choices::draw(modes, replicas, &mut rng);
    let world = World::new();
    let nodes: Vec<Node> = (0..2 + rng.below(2))
        .map(|_| world.node_fresh(choices.local, |builder| choices.choose(builder)))
        .collect();
    let mut life = Life {
        world: &world,
        nodes: &nodes,
        choices: &choices,
        rng,
        step: 0,
        rows: (0..KEYS).map(|_| Vec::new()).collect(),
        reading: Vec::new(),
        writing: Vec::new(),
        queued: Vec::new(),
        refreshes: vec![vec![None; KEYS as usize]; nodes.len()],
        parked: false,
        log: format!("seed {seed}, {modes:?}, {} processes\n", nodes.len()),
    };
    if replicas {
        let lag = choices.lag.map(|lag| lag / 2);
        nodes.iter().for_each(|node| node.remote.faults().replica(lag));
    }
    for _ in 0..80 {
        life.act();
    }
    life.converge();
}

/// How many lives of each kind: `CACHETTE_LIVES` says otherwise.
fn lives(modes: &[Mode]) {
    lives_of(modes, false);
}

fn lives_of(modes: &[Mode], replicas: bool) {
    let chosen = std::env::var("CACHETTE_LIVES").ok().and_then(|text| text.parse().ok());
    let first = std::env::var("CACHETTE_LIFE").ok().and_then(|text| text.parse().ok());
    let first: u64 = first.unwrap_or(0);
    // What a replica does wrong shows seldom.
    let usual = if replicas { 500 } else { 100 };
    (first..first + chosen.unwrap_or(usual)).for_each(|seed| live(seed, modes, replicas));
}

#[test]
fn lives_with_tracking() {
    lives(&[Mode::Tracking]);
}

#[test]
fn lives_with_tracking_of_what_was_read() {
    lives(&[Mode::OptIn]);
}

#[test]
fn lives_with_messages() {
    lives(&[Mode::Messages]);
}

#[test]
fn lives_with_ttl_only() {
    lives(&[Mode::TtlOnly]);
}

#[test]
fn lives_with_a_remote_that_sometimes_tells() {
    lives(&[Mode::Tracking, Mode::TtlOnly]);
    lives(&[Mode::OptIn, Mode::TtlOnly]);
}

#[test]
fn lives_with_tracking_and_replicas() {
    lives_of(&[Mode::Tracking], true);
}

#[test]
fn lives_with_messages_and_replicas() {
    lives_of(&[Mode::Messages], true);
}

#[test]
fn lives_with_ttl_only_and_replicas() {
    lives_of(&[Mode::TtlOnly], true);
}

#[test]
fn lives_with_replicas_of_a_remote_that_sometimes_tells() {
    lives_of(&[Mode::Tracking, Mode::TtlOnly], true);
    lives_of(&[Mode::OptIn, Mode::TtlOnly], true);
}
