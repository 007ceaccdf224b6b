//! A system of record, a remote, and processes that are stepped by hand.

use crate::hand::Hand;
use cachette::tier::{Codec, Event, MemoryRemote, Mode, Raw, TieredBuilder, TieredCache};
use cachette::{Cache, Clock, Freshness, LoadError, LoadingBuilder, ManualClock};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

pub(crate) const BOUND: Duration = Duration::from_secs(2);
pub(crate) const TTL: Duration = Duration::from_secs(60);

pub(crate) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The system of record: rows with versions. Its answers can be parked.
#[derive(Default)]
pub(crate) struct Records {
    rows: HashMap<u64, u64>,
    loads: u64,
    parked: bool,
    down: bool,
}

/// Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Source(Arc<Mutex<Records>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Down;

impl Source {
    pub(crate) fn write(&self, key: u64, value: u64) {
        self.0.lock().unwrap().rows.insert(key, value);
    }

    pub(crate) fn loads(&self) -> u64 {
        self.0.lock().unwrap().loads
    }

    /// What is read from now on is answered when it is released, as it was when it was read.
    pub(crate) fn park(&self) {
        self.0.lock().unwrap().parked = true;
    }

    pub(crate) fn release(&self) {
        self.0.lock().unwrap().parked = false;
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.0.lock().unwrap().down = down;
    }

    pub(crate) async fn load(self, key: u64) -> Result<String, Down> {
        let (value, parked) = {
            let mut records = self.0.lock().unwrap();
            records.loads += 1;
            let value = records.rows.get(&key).copied().unwrap_or_default();
            (if records.down { Err(Down) } else { Ok(value.to_string()) }, records.parked)
        };
        if parked {
            poll_fn(
                |_| {
                    if self.0.lock().unwrap().parked { Poll::Pending } else { Poll::Ready(()) }
                },
            )
            .await;
        }
        value
    }
}

pub(crate) type Tiered = TieredCache<u64, String, Down>;
pub(crate) type Chosen = TieredBuilder<u64, String, Down>;
pub(crate) type Loading = LoadingBuilder<u64, String, Down>;

/// The clock of one process: its dates are its own affair.
#[derive(Clone)]
struct Host {
    clock: ManualClock,
    date: Arc<Mutex<SystemTime>>,
}

impl Clock for Host {
    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn date(&self) -> SystemTime {
        *self.date.lock().unwrap()
    }
}

/// Everything that the processes share.
pub(crate) struct World {
    pub(crate) remote: MemoryRemote,
    pub(crate) source: Source,
    pub(crate) clock: ManualClock,
}

/// A process.
pub(crate) struct Node {
    pub(crate) cache: Tiered,
    pub(crate) remote: MemoryRemote,
    pub(crate) hand: Hand,
    clock: ManualClock,
    date: Arc<Mutex<SystemTime>>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = ManualClock::new();
        let remote = MemoryRemote::with_clock(clock.clone());
        Self { remote, source: Source::default(), clock }
    }

    /// A process whose line is up and which has been answered.
    pub(crate) fn node(&self) -> Node {
        self.node_with(|builder| builder)
    }

    pub(crate) fn node_with(&self, choose: impl FnOnce(Chosen) -> Chosen) -> Node {
        let freshness = Freshness::new(TTL).stale_if_error(seconds(600));
        self.node_fresh(freshness, choose)
    }

    /// A process that may be told in these ways only.
    pub(crate) fn node_by(&self, modes: impl IntoIterator<Item = Mode>) -> Node {
        self.node_with(|builder| builder.modes(modes))
    }

    /// A process whose L1 has this freshness, or knows of no lifetime but that of the remote.
    pub(crate) fn node_fresh(
        &self,
        freshness: impl Into<Option<Freshness>>,
        choose: impl FnOnce(Chosen) -> Chosen,
    ) -> Node {
        let node = self.node_in_the_dark(freshness, choose);
        node.settle();
        node
    }

    /// A process whose background has not run yet.
    pub(crate) fn node_in_the_dark(
        &self,
        freshness: impl Into<Option<Freshness>>,
        choose: impl FnOnce(Chosen) -> Chosen,
    ) -> Node {
        self.node_made(freshness, |loading| loading, Raw, choose)
    }

    /// A process whose background has not run yet, with all that can be chosen.
    pub(crate) fn node_made(
        &self,
        freshness: impl Into<Option<Freshness>>,
        before: impl FnOnce(Loading) -> Loading,
        codec: impl Codec<String>,
        choose: impl FnOnce(Chosen) -> Chosen,
    ) -> Node {
        let (hand, remote) = (Hand::default(), self.remote.node());
        remote.faults().offer(&[Mode::Tracking, Mode::OptIn, Mode::Messages, Mode::TtlOnly]);
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let date = Arc::new(Mutex::new(SystemTime::UNIX_EPOCH));
        let (source, hear) = (self.source.clone(), Arc::clone(&events));
        let mut local = Cache::<u64, String>::builder()
            .capacity(1_000)
            .clock(Host { clock: self.clock.clone(), date: Arc::clone(&date) });
        if let Some(freshness) = freshness.into() {
            local = local.freshness(freshness);
        }
        let loading = local.loader_async(move |key| source.clone().load(key)).spawn(hand.clone());
        let builder = before(loading)
            .remote(remote.clone(), codec)
            .namespace("test")
            .remote_ttl(seconds(600))
            .on_event(move |event, _| hear.lock().unwrap().push(event.clone()));
        let cache = choose(builder).build().unwrap();
        Node { cache, remote, hand, clock: self.clock.clone(), date, events }
    }

    /// Lets time pass for all.
    pub(crate) fn pass(&self, nodes: &[&Node], time: Duration) {
        self.clock.advance(time);
        nodes.iter().for_each(|node| node.hand.pass(time));
        settle(nodes);
    }

    /// Lets time pass in steps, as it does: lines are asked whether they are there.
    pub(crate) fn live(&self, nodes: &[&Node], time: Duration) {
        const STEP: Duration = millis(100);
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(STEP);
            self.pass(nodes, step);
            left -= step;
        }
    }
}

/// Runs what there is to be run, in all processes in turn.
pub(crate) fn settle(nodes: &[&Node]) {
    for _ in 0..4 {
        nodes.iter().for_each(|node| node.settle());
    }
}

/// A call of a task that goes on by itself.
pub(crate) struct Call<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + 'a>>,
    node: &'a Node,
}

impl<T> Call<'_, T> {
    /// What it gives, if it has ended.
    pub(crate) fn poll(&mut self) -> Option<T> {
        for _ in 0..4 {
            if let Poll::Ready(output) =
                self.future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                return Some(output);
            }
            self.node.hand.run();
        }
        None
    }

    #[track_caller]
    pub(crate) fn end(mut self) -> T {
        self.poll().expect("the call still waits")
    }
}

impl Node {
    pub(crate) fn settle(&self) {
        (0..4).for_each(|_| self.hand.run());
    }

    /// Begins a load, which may have to wait.
    pub(crate) fn load(&self, key: u64) -> Call<'_, Result<String, LoadError<Down>>> {
        let mut call =
            Call { future: Box::pin(async move { self.cache.load_async(&key).await }), node: self };
        if let Some(ended) = call.poll() {
            call.future = Box::pin(async { ended });
        }
        call
    }

    /// The value of a key, which is there without waiting for anybody.
    #[track_caller]
    pub(crate) fn value(&self, key: u64) -> u64 {
        self.load(key).end().unwrap().parse().unwrap()
    }

    /// Begins any call.
    pub(crate) fn call<'a, T: 'a>(&'a self, future: impl Future<Output = T> + 'a) -> Call<'a, T> {
        let mut call = Call { future: Box::pin(future), node: self };
        if let Some(ended) = call.poll() {
            call.future = Box::pin(async { ended });
        }
        call
    }

    /// What L1 serves.
    pub(crate) fn local(&self, key: u64) -> Option<u64> {
        self.cache.get(&key).map(|value| value.parse().unwrap())
    }

    /// What has been told since this was last asked for.
    pub(crate) fn events(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().unwrap())
    }

    /// Somebody sets the clock on the wall.
    pub(crate) fn set_date(&self, date: SystemTime) {
        *self.date.lock().unwrap() = date;
    }

    pub(crate) fn clock(&self) -> &ManualClock {
        &self.clock
    }
}
