//! A server, a system of record, and processes before both.

use crate::redis_server::{PATIENCE, Server};
use cachette::tier::{Event, Json, Mode, RedisOptions, RedisRemote, RedisTokio};
use cachette::tier::{Locks, TieredBuilder, TieredCache};
use cachette::{
    Builder as CacheBuilder, Cache, Clock, Freshness, LoadingBuilder, SystemClock, Threads, Tokio,
};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Longer than any test waits: what happens within it has been told of.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// A bound that a test can wait for.
pub(crate) const BRIEF: Duration = millis(400);

pub(crate) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Waits for what must happen, however busy the machine is.
#[track_caller]
pub(crate) fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        // Another process is waited for: there is nothing here that it could wake.
        std::thread::sleep(millis(1));
    }
}

/// The system of record: rows with versions.
#[derive(Default)]
struct Records {
    rows: HashMap<u64, u64>,
    loads: u64,
    bulks: u64,
    /// Rows whose answers are held back, as they were when they were read.
    parked: HashSet<u64>,
    waiting: usize,
    /// How long every eighth load takes.
    lag: Duration,
    down: HashSet<u64>,
}

/// Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Source(Arc<(Mutex<Records>, Condvar)>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Down;

impl Source {
    fn with<T>(&self, act: impl FnOnce(&mut Records) -> T) -> T {
        let result = act(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
        result
    }

    pub(crate) fn write(&self, key: u64, version: u64) {
        self.with(|records| records.rows.insert(key, version));
    }

    pub(crate) fn loads(&self) -> u64 {
        self.with(|records| records.loads)
    }

    /// Calls for many rows at once.
    pub(crate) fn bulks(&self) -> u64 {
        self.with(|records| records.bulks)
    }

    pub(crate) fn park(&self, key: u64) {
        self.with(|records| records.parked.insert(key));
    }

    pub(crate) fn release(&self, key: u64) {
        self.with(|records| records.parked.remove(&key));
    }

    /// Waits until so many loads are held back.
    #[track_caller]
    pub(crate) fn until_waiting(&self, count: usize) {
        until("a load is parked", || self.with(|records| records.waiting) == count);
    }

    pub(crate) fn set_down(&self, key: u64, down: bool) {
        self.with(
            |records| if down { records.down.insert(key) } else { records.down.remove(&key) },
        );
    }

    pub(crate) fn set_lag(&self, lag: Duration) {
        self.with(|records| records.lag = lag);
    }

    /// A row, and how long its answer takes.
    fn read(&self, key: u64) -> (Result<u64, Down>, Duration) {
        self.with(|records| {
            records.loads += 1;
            records.waiting += 1;
            let row = records.rows.get(&key).copied().unwrap_or_default();
            let lag = if records.loads % 8 == 0 { records.lag } else { Duration::ZERO };
            (if records.down.contains(&key) { Err(Down) } else { Ok(row) }, lag)
        })
    }

    fn load(&self, key: u64) -> Result<u64, Down> {
        let (row, lag) = self.read(key);
        // A slow source, beside a server whose leases end by its own clock.
        std::thread::sleep(lag);
        let mut records = self.0.0.lock().unwrap();
        while records.parked.contains(&key) {
            records = self.0.1.wait(records).unwrap();
        }
        records.waiting -= 1;
        row
    }

    async fn load_async(self, key: u64) -> Result<u64, Down> {
        let (row, lag) = self.read(key);
        if !lag.is_zero() {
            tokio::time::sleep(lag).await;
        }
        while self.with(|records| records.parked.contains(&key)) {
            tokio::time::sleep(millis(1)).await;
        }
        self.with(|records| records.waiting -= 1);
        row
    }

    /// Many rows, by one call.
    pub(crate) fn load_many(&self, keys: Vec<u64>) -> Vec<(u64, Result<u64, Down>)> {
        self.with(|records| records.bulks += 1);
        keys.into_iter().map(|key| (key, self.load(key))).collect()
    }
}

/// How a process asks the server, and what runs its background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Threads,
    Tokio,
}

pub(crate) const KINDS: [Kind; 2] = [Kind::Threads, Kind::Tokio];

impl Kind {
    /// True if its processes can be told of changes in this way.
    pub(crate) fn offers(self, mode: Mode) -> bool {
        self == Self::Tokio || mode != Mode::OptIn
    }
}

/// The ways in which changes are told of.
pub(crate) const TELLING: [Mode; 3] = [Mode::Tracking, Mode::OptIn, Mode::Messages];
/// The ways in which the server tells by itself.
pub(crate) const TRACKING: [Mode; 2] = [Mode::Tracking, Mode::OptIn];
pub(crate) const MODES: [Mode; 4] = [Mode::Tracking, Mode::OptIn, Mode::Messages, Mode::TtlOnly];

pub(crate) type Tiered = TieredCache<u64, u64, Down>;
pub(crate) type Chosen = TieredBuilder<u64, u64, Down>;
pub(crate) type Loading = LoadingBuilder<u64, u64, Down>;
type L1 = CacheBuilder<u64, u64>;

/// A runtime of a process's own, which ends with it.
pub(crate) struct Runtime {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        });
        Self { handle, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Runtime {
    /// All tasks are dropped where they are.
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Everything that the processes share.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) source: Source,
    pub(crate) kind: Kind,
    pub(crate) mode: Mode,
    /// `USER:PASSWORD@`, or nothing.
    pub(crate) login: String,
    /// The bound on staleness.
    pub(crate) bound: Duration,
    /// How long answers are waited for.
    pub(crate) patience: Duration,
    /// Where replicas of the server are.
    pub(crate) replicas: Vec<String>,
}

/// A process.
pub(crate) struct Process {
    pub(crate) cache: Tiered,
    events: Arc<Mutex<Vec<Event>>>,
    runtime: Option<Runtime>,
}

/// Runs a test in a world of its own for each kind of process and each mode.
pub(crate) fn each(settings: &[&str], modes: &[Mode], test: impl Fn(World)) {
    for kind in KINDS {
        for &mode in modes.iter().filter(|&&mode| kind.offers(mode)) {
            let Some(server) = Server::start(settings) else { return };
            if mode == Mode::Tracking && !server.tracks() {
                continue;
            }
            println!("{kind:?}, {mode}");
            remember(&server);
            test(World::new(server, kind, mode));
        }
    }
}

/// Puts the numbers of generations there, as somebody will have done before: so no process hears of a new one in the middle of a test.
pub(crate) fn remember(server: &Server) {
    server.run("MSET {test.0:g} 1 {test.0:t:low} 2 {test.0:t:high} 3 {test.0:t:all} 4");
}

impl World {
    pub(crate) fn new(server: Server, kind: Kind, mode: Mode) -> Self {
        Self {
            server,
            source: Source::default(),
            kind,
            mode,
            login: String::new(),
            bound: LONG,
            patience: PATIENCE,
            replicas: Vec::new(),
        }
    }

    pub(crate) fn with_replica(mut self, replica: &Server) -> Self {
        self.replicas.push(replica.url());
        self
    }

    pub(crate) fn options(&self) -> RedisOptions {
        self.options_at(self.server.port)
    }

    fn options_at(&self, port: u16) -> RedisOptions {
        let url = format!("redis://{}127.0.0.1:{port}", self.login);
        let options = RedisOptions::new(&url).unwrap();
        let add = |options: RedisOptions, url: &String| options.replica(url).unwrap();
        self.replicas
            .iter()
            .fold(options, add)
            .connect_timeout(self.patience)
            .answer_timeout(self.patience)
    }

    /// A process whose line is up.
    pub(crate) fn process(&self) -> Process {
        self.process_with(|builder| builder)
    }

    pub(crate) fn process_with(&self, choose: impl FnOnce(Chosen) -> Chosen) -> Process {
        let process = self.process_in_the_dark(SystemClock::new(), choose);
        process.until_up(self.mode);
        process
    }

    /// A process that loads many rows at once.
    pub(crate) fn process_many(
        &self,
        load: impl Fn(Vec<u64>) -> Vec<(u64, Result<u64, Down>)> + Send + Sync + 'static,
    ) -> Process {
        self.process_loading(|loading| loading.bulk_loader(load))
    }

    /// A process whose loads are done in a way of their own.
    pub(crate) fn process_loading(&self, choose: impl FnOnce(Loading) -> Loading) -> Process {
        self.up(self.build(self.options(), l1(SystemClock::new()), choose, |builder| builder))
    }

    /// A process whose values are fresh for so long in both levels, by such a clock; its jitter is drawn from this seed.
    pub(crate) fn process_fresh(
        &self,
        clock: impl Clock + 'static,
        seed: u64,
        ttl: Duration,
        choose: impl FnOnce(Freshness) -> Freshness,
    ) -> Process {
        let l1 = l1(clock).freshness(choose(Freshness::new(ttl))).seed(seed);
        self.up(self.build(self.options(), l1, |it| it, |builder| builder.remote_ttl(ttl)))
    }

    /// A process that has the server at another port.
    pub(crate) fn process_at(&self, port: u16, clock: impl Clock + 'static) -> Process {
        self.up(self.build(self.options_at(port), l1(clock), |it| it, |it| it))
    }

    #[track_caller]
    fn up(&self, process: Process) -> Process {
        process.until_up(self.mode);
        process
    }

    /// The locks of another process, which are there as long as its runtime.
    pub(crate) fn locks(&self) -> (Locks, Option<Runtime>) {
        if self.kind == Kind::Threads {
            return (Locks::new(RedisRemote::new(self.options()), Threads::new()), None);
        }
        let runtime = Runtime::start();
        let remote = RedisTokio::new(self.options(), runtime.handle.clone());
        (Locks::new(remote, Tokio::new(runtime.handle.clone())), Some(runtime))
    }

    /// A process that may have no line.
    pub(crate) fn process_in_the_dark(
        &self,
        clock: impl Clock + 'static,
        choose: impl FnOnce(Chosen) -> Chosen,
    ) -> Process {
        self.build(self.options(), l1(clock), |loading| loading, choose)
    }

    fn build(
        &self,
        options: RedisOptions,
        l1: L1,
        choose_local: impl FnOnce(Loading) -> Loading,
        choose: impl FnOnce(Chosen) -> Chosen,
    ) -> Process {
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let (source, hear) = (self.source.clone(), Arc::clone(&events));
        let (builder, runtime) = match self.kind {
            Kind::Threads => {
                let loading = l1.loader(move |key| source.load(*key)).spawn(Threads::new());
                (choose_local(loading).remote(RedisRemote::new(options), Json), None)
            }
            Kind::Tokio => {
                let runtime = Runtime::start();
                let loading = l1
                    .loader_async(move |key| source.clone().load_async(key))
                    .spawn(Tokio::new(runtime.handle.clone()));
                let remote = RedisTokio::new(options, runtime.handle.clone());
                (choose_local(loading).remote(remote, Json), Some(runtime))
            }
        };
        let builder = builder
            .namespace("test")
            .remote_ttl(LONG)
            .lease(LONG)
            .lock_wait(PATIENCE)
            .remote_timeout(self.patience)
            .max_staleness(self.bound)
            .modes([self.mode])
            .on_event(move |event, _| hear.lock().unwrap().push(event.clone()));
        let cache = choose(builder).build().unwrap();
        Process { cache, events, runtime }
    }

    /// True if the server has a value of this key.
    pub(crate) fn has(&self, key: u64) -> bool {
        self.server.run(&format!("EXISTS {}", name(key))) == redis::Value::Int(1)
    }
}

fn l1(clock: impl Clock + 'static) -> L1 {
    Cache::builder().capacity(1_000).clock(clock)
}

/// How often the server has done a command, whoever asked for it.
pub(crate) fn calls(server: &Server, command: &str) -> u64 {
    let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut server.client()).unwrap();
    let line = format!("cmdstat_{command}:calls=");
    let Some((_, rest)) = stats.split_once(&line) else { return 0 };
    rest.split(',').next().unwrap().parse().unwrap()
}

/// The milliseconds that the server has something for; negative if it has it not, or for ever.
pub(crate) fn left(server: &Server, name: &str) -> i64 {
    let redis::Value::Int(left) = server.run(&format!("PTTL {name}")) else { panic!("a number") };
    left
}

/// What a value is called.
pub(crate) fn name(key: u64) -> String {
    format!("{{test.0:k:{key}}}")
}

impl Process {
    /// Waits until changes are told of, and L1 has been emptied for that.
    #[track_caller]
    pub(crate) fn until_up(&self, mode: Mode) {
        let emptied = self.cache.stats().emptied;
        let fresh = emptied == 0;
        until("the line is up", || {
            self.cache.mode() == Some(mode) && (!fresh || self.cache.stats().emptied > 0)
        });
    }

    #[track_caller]
    pub(crate) fn value(&self, key: u64) -> u64 {
        self.cache.load(&key).unwrap()
    }

    /// What L1 serves.
    pub(crate) fn local(&self, key: u64) -> Option<u64> {
        self.cache.get(&key)
    }

    /// Begins a load on a thread of its own.
    pub(crate) fn begin(&self, key: u64) -> JoinHandle<Result<u64, String>> {
        let cache = self.cache.clone();
        std::thread::spawn(move || cache.load(&key).map_err(|error| error.to_string()))
    }

    /// Waits until this is told of.
    #[track_caller]
    pub(crate) fn until_told(&self, what: &str, is: impl Fn(&Event) -> bool) {
        let start = Instant::now();
        while !self.told(&is) {
            assert!(start.elapsed() < PATIENCE, "{what} is not told of: {self:?}");
            std::thread::sleep(millis(1));
        }
    }

    pub(crate) fn told(&self, is: impl Fn(&Event) -> bool) -> bool {
        self.events.lock().unwrap().iter().any(is)
    }

    /// Forgets what was told.
    pub(crate) fn hush(&self) {
        self.events.lock().unwrap().clear();
    }

    /// Ends as a process that is killed does: nothing is given back.
    pub(crate) fn kill(mut self) {
        drop(self.runtime.take());
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = self.events.lock().unwrap();
        f.debug_struct("Process").field("cache", &self.cache).field("events", &*events).finish()
    }
}
