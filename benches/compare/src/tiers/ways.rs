//! Who takes part: ways to read a key that another process may write.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use cachette::tier::{Raw, RedisOptions, RedisRemote, RedisTokio, TieredCache};
use cachette::{Cache, Threads, Tokio};
use redis::aio::MultiplexedConnection;
use redis::caching::CacheConfig;
use redis::{AsyncConnectionConfig, Client, RedisResult};
use tokio::runtime::Handle;

use super::source::{Source, Value, version_of};

/// How long values stay in the Redis, whoever put them there.
const TTL: Duration = Duration::from_secs(60);

/// A way, by its names.
pub struct Way {
    pub name: &'static str,
    pub package: &'static str,
    pub note: &'static str,
    /// What it says of staleness, in words, and as a bound that can be missed.
    pub says: &'static str,
    pub bound: Option<Duration>,
}

pub const TASKS: &str = "cachette, tasks";
pub const THREADS: &str = "cachette, threads";
const ALONE: &str = "Redis alone";
const CACHED: &str = "redis-rs, its cache";
const BY_HAND: &str = "moka + Redis by hand";

const TWO_SECONDS: Option<Duration> = Some(Duration::from_secs(2));

pub const ALL: &[Way] = &[
    Way {
        name: TASKS,
        package: "cachette",
        note: "`TieredCache` on `RedisTokio`; a write is `delete_async`",
        says: "2 s",
        bound: TWO_SECONDS,
    },
    Way {
        name: THREADS,
        package: "cachette",
        note: "`TieredCache` on `RedisRemote`, with 16 connections; a write is `delete`",
        says: "2 s",
        bound: TWO_SECONDS,
    },
    Way {
        name: ALONE,
        package: "redis",
        note: "no L1: `GET`, load and `SET` with a TTL of 60 s; a write is `DEL`, which a load under way does not notice",
        says: "60 s",
        bound: Some(TTL),
    },
    Way {
        name: CACHED,
        package: "redis",
        note: "the same on a connection with `CacheConfig`: client-side caching, as the client does it",
        says: "60 s",
        bound: Some(TTL),
    },
    Way {
        name: BY_HAND,
        package: "moka",
        note: "`future::Cache::get_with` with a TTL of 1 s before the same; a write is `DEL`, then `invalidate`",
        says: "61 s",
        bound: Some(Duration::from_secs(61)),
    },
];

/// What a process asks of a way. Those that block never suspend.
pub trait Reader: Clone + Send + Sync + 'static {
    /// True if each worker needs a thread of its own.
    const BLOCKS: bool = false;

    /// The version of a key's value.
    fn read(&self, rank: u32) -> impl Future<Output = u64> + Send;

    /// To be called after the source was written.
    fn delete(&self, rank: u32) -> impl Future<Output = ()> + Send;

    /// Reads that this process had no value for.
    fn misses(&self) -> u64;

    /// What else it knows of itself.
    fn note(&self) -> String {
        String::new()
    }
}

/// What a reader is made for.
pub struct Setting {
    pub url: String,
    pub capacity: u32,
    pub source: Source,
}

/// Does something with a reader of any kind.
pub trait Use {
    fn with(self, reader: impl Reader) -> Result<(), String>;
}

pub fn make(name: &str, setting: Setting, runtime: &Handle, then: impl Use) -> Result<(), String> {
    match name {
        TASKS => then.with(Tasks(tasks(setting, runtime)?)),
        THREADS => then.with(Blocking(threads(setting)?)),
        ALONE => then.with(runtime.block_on(ByRedis::new(setting, false))?),
        CACHED => then.with(runtime.block_on(ByRedis::new(setting, true))?),
        BY_HAND => then.with(runtime.block_on(ByHand::new(setting))?),
        _ => Err(format!("no way is called {name}")),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

type Ours = TieredCache<u32, Value, Infallible>;

fn tasks(setting: Setting, runtime: &Handle) -> Result<Ours, String> {
    let source = setting.source;
    let options = RedisOptions::new(&setting.url).map_err(text)?;
    Cache::builder()
        .capacity(setting.capacity.into())
        .loader_async(move |rank| source.clone().load_async(rank))
        .spawn(Tokio::new(runtime.clone()))
        .remote(RedisTokio::new(options, runtime.clone()), Raw)
        .namespace("items")
        .remote_ttl(TTL)
        .build()
        .map_err(text)
}

fn threads(setting: Setting) -> Result<Ours, String> {
    let source = setting.source;
    let options = RedisOptions::new(&setting.url).map_err(text)?;
    Cache::builder()
        .capacity(setting.capacity.into())
        .loader(move |rank: &u32| source.load(*rank))
        .spawn(Threads::new())
        .remote(RedisRemote::new(options), Raw)
        .namespace("items")
        .remote_ttl(TTL)
        .build()
        .map_err(text)
}

#[derive(Clone)]
struct Tasks(Ours);

impl Reader for Tasks {
    async fn read(&self, rank: u32) -> u64 {
        self.0.load_async(&rank).await.map_or(u64::MAX, |value| version_of(&value))
    }

    async fn delete(&self, rank: u32) {
        // What is not delivered is made up for.
        let _ = self.0.delete_async(&rank).await;
    }

    fn misses(&self) -> u64 {
        self.0.stats().local.misses
    }

    fn note(&self) -> String {
        told(&self.0)
    }
}

#[derive(Clone)]
struct Blocking(Ours);

impl Reader for Blocking {
    const BLOCKS: bool = true;

    async fn read(&self, rank: u32) -> u64 {
        self.0.load(&rank).map_or(u64::MAX, |value| version_of(&value))
    }

    async fn delete(&self, rank: u32) {
        let _ = self.0.delete(&rank);
    }

    fn misses(&self) -> u64 {
        self.0.stats().local.misses
    }

    fn note(&self) -> String {
        told(&self.0)
    }
}

fn told(cache: &Ours) -> String {
    let stats = cache.stats();
    let mode = cache.mode().map_or_else(|| "no line".to_owned(), |mode| mode.to_string());
    format!(
        "{mode}, found in the Redis {}, leases {}, waits {}, loads without a lease {}, too late to be kept {}, L1 emptied {}",
        stats.remote_hits, stats.leases, stats.waits, stats.alone, stats.rejected, stats.emptied
    )
}

/// Cache-aside, as one writes it by hand.
#[derive(Clone)]
struct ByRedis {
    connection: MultiplexedConnection,
    source: Source,
    misses: Arc<AtomicU64>,
    failures: Arc<AtomicU64>,
    cached: bool,
}

impl ByRedis {
    async fn new(setting: Setting, cached: bool) -> Result<Self, String> {
        let mut config = AsyncConnectionConfig::new();
        let mut url = setting.url;
        if cached {
            let size = NonZeroUsize::new(setting.capacity as usize).ok_or("no capacity")?;
            config = config.set_cache_config(CacheConfig::new().set_size(size));
            url += "/?protocol=resp3";
        }
        let client = Client::open(url).map_err(text)?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connection.map_err(text)?;
        let (misses, failures) = (Arc::default(), Arc::default());
        Ok(Self { connection, source: setting.source, misses, failures, cached })
    }

    async fn value(&self, rank: u32) -> Value {
        self.misses.fetch_add(1, Relaxed);
        let (name, mut connection) = (name(rank), self.connection.clone());
        let found: RedisResult<Option<Vec<u8>>> =
            redis::cmd("GET").arg(&name).query_async(&mut connection).await;
        match found {
            Ok(Some(bytes)) => return bytes.into(),
            Ok(None) => {}
            Err(_) => self.failed(),
        }
        let value = self.source.clone().load_async(rank).await;
        let mut set = redis::cmd("SET");
        set.arg(&name).arg(&value[..]).arg("EX").arg(TTL.as_secs());
        if set.exec_async(&mut connection).await.is_err() {
            self.failed();
        }
        value
    }

    fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }
}

fn name(rank: u32) -> String {
    format!("items:{rank}")
}

impl Reader for ByRedis {
    async fn read(&self, rank: u32) -> u64 {
        version_of(&self.value(rank).await)
    }

    async fn delete(&self, rank: u32) {
        let mut connection = self.connection.clone();
        if redis::cmd("DEL").arg(name(rank)).exec_async(&mut connection).await.is_err() {
            self.failed();
        }
    }

    fn misses(&self) -> u64 {
        let cached = self.connection.get_cache_statistics().filter(|_| self.cached);
        cached.map_or_else(|| self.misses.load(Relaxed), |cached| cached.miss as u64)
    }

    fn note(&self) -> String {
        format!("failures {}", self.failures.load(Relaxed))
    }
}

/// A local cache before that.
#[derive(Clone)]
struct ByHand {
    local: moka::future::Cache<u32, Value>,
    redis: ByRedis,
}

impl ByHand {
    async fn new(setting: Setting) -> Result<Self, String> {
        let builder = moka::future::Cache::builder().max_capacity(setting.capacity.into());
        let local = builder.time_to_live(Duration::from_secs(1)).build();
        Ok(Self { local, redis: ByRedis::new(setting, false).await? })
    }
}

impl Reader for ByHand {
    async fn read(&self, rank: u32) -> u64 {
        version_of(&self.local.get_with(rank, self.redis.value(rank)).await)
    }

    async fn delete(&self, rank: u32) {
        self.redis.delete(rank).await;
        self.local.invalidate(&rank).await;
    }

    fn misses(&self) -> u64 {
        self.redis.misses()
    }

    fn note(&self) -> String {
        self.redis.note()
    }
}

/// Waits until a cache of ours hears of changes; others have nothing to wait for.
pub fn settle(reader: &impl Reader) {
    let start = std::time::Instant::now();
    while reader.note().starts_with("no line") && start.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
}
