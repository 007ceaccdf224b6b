//! A Redis that is asked by tasks, which wait for the answer without blocking.
//!
//! All share one connection, on which answers come in the order of questions. Whoever finds it lost makes the next, once for all who
//! come meanwhile.
//!
//! What is asked runs as a task of the runtime, where its sockets and timers live; who asked waits for that task, and may be polled
//! anywhere.

mod ears;
mod listening;

use super::ops::{self, Line};
use super::options::RedisOptions;
use super::replica::Replicas;
use crate::sync::{Arc, AtomicBool, Ordering};
use crate::tier::{
    Delete, Ear, Found, HEAD, Listen, Page, Place, Read, Remote, RemoteError, Replicated, Reply,
    Tell, Token, Turn, Write,
};
use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, Pipeline, RedisResult, Value};
use ::tokio::runtime::Handle;
use ::tokio::sync::Mutex;
use ::tokio::task::JoinHandle;
use ::tokio::time::{Instant, timeout};
use ears::Ears;
use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

/// After it was not reached, it is not tried again for so long: those who come meanwhile are told the same.
const PAUSE: Duration = Duration::from_millis(50);

/// A Redis, or a Valkey, that is asked by tasks. All share one connection, and none blocks.
///
/// Its connection lives in the tokio runtime that it is given, which must be built with `enable_all`, and run. Its futures may be
/// polled anywhere: in that runtime, in another executor, by a thread that blocks. One that is dropped does not take back what it
/// asked for.
///
/// Version 6 at least; 7 for [`Mode::Tracking`](crate::tier::Mode::Tracking). Every operation is one round trip; the first after the
/// server has started is two. A connection that fails is not used again, and nothing is tried twice: what failed may have been done.
/// What its user must be allowed is what [`RedisRemote`](crate::tier::RedisRemote) needs.
///
/// # Changes of what was read
///
/// It offers [`Mode::OptIn`](crate::tier::Mode::OptIn), from version 7 on: a cache that names that among its
/// [modes](crate::tier::TieredBuilder::modes), and not `Tracking`, is told of changes on the connection that is read by, and of what
/// was read there alone. The line ends with that connection, and is made anew with the next.
///
/// For that the connection speaks the third version of the protocol as soon as somebody listens so; whoever else asks by this remote shares
/// it. Writing and deleting look at the name as well, up to twice, and a script reads 16 places where it would read 256: Redis 7.0 notes all
/// names of a script whenever that reads one. The server notes 1,000,000 names unless its `tracking-table-max-keys` says
/// otherwise; what it notes no more it tells of as changed.
///
/// ```no_run
/// use cachette::tier::{Mode, RedisOptions, RedisTokio};
/// use cachette::{Cache, Tokio};
/// use std::time::Duration;
/// use tokio::runtime::Handle;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let remote = RedisTokio::new(RedisOptions::new("redis://localhost")?, Handle::current());
/// let pages = Cache::<u64, Vec<u8>>::builder()
///     .capacity(10_000)
///     .loader_async(|page| async move { format!("page {page}").into_bytes() })
///     .spawn(Tokio::new(Handle::current()))
///     .remote(remote, cachette::tier::Raw)
///     .namespace("pages")
///     .remote_ttl(Duration::from_secs(600))
///     .modes([Mode::OptIn, Mode::Messages, Mode::TtlOnly])
///     .build()?;
/// # Ok(())
/// # }
/// ```
///
/// # Example
///
/// ```no_run
/// use cachette::tier::{RedisOptions, RedisTokio};
/// use tokio::runtime::Handle;
///
/// # async fn example() -> Result<(), cachette::tier::RedisUrlError> {
/// let remote = RedisTokio::new(RedisOptions::new("redis://localhost")?, Handle::current());
/// # Ok(())
/// # }
/// ```
pub struct RedisTokio {
    runtime: Handle,
    shared: Arc<Shared>,
    replicas: Replicas<Self>,
}

struct Shared {
    options: RedisOptions,
    client: Client,
    line: Mutex<State>,
    /// Somebody listens, or did, on the connection that all share: what is kept of what is written must have been looked at after.
    looks: AtomicBool,
}

/// The connection that all share.
struct State {
    open: Option<Open>,
    number: u64,
    failed: Option<(Instant, RemoteError)>,
    /// Somebody is to be told what comes on it unasked.
    tells: bool,
}

/// A connection that is there. Numbers tell them apart.
#[derive(Clone)]
struct Open {
    connection: MultiplexedConnection,
    number: u64,
    /// Who is told what comes on it unasked, if the server says such things.
    ears: Option<Ears>,
}

impl RedisTokio {
    /// Connects when something is asked, and not before.
    #[must_use]
    pub fn new(options: RedisOptions, runtime: Handle) -> Self {
        let line = Mutex::new(State { open: None, number: 0, failed: None, tells: false });
        let looks = AtomicBool::new(false);
        let replica = |options| Self::new(options, runtime.clone());
        let replicas = Replicas::new(options.replicas().map(replica));
        let shared = Arc::new(Shared { client: options.client(), options, line, looks });
        Self { runtime, shared, replicas }
    }

    /// What a task of the runtime returns. The task runs on if nobody waits for it any more.
    async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, RemoteError>> + Send + 'static,
    ) -> Result<T, RemoteError> {
        ended(self.runtime.spawn(task)).await
    }
}

async fn ended<T>(task: JoinHandle<Result<T, RemoteError>>) -> Result<T, RemoteError> {
    let lost = |error| RemoteError::Unreachable(format!("the runtime did not answer: {error}"));
    task.await.map_err(lost)?
}

impl Shared {
    async fn exchange(&self, commands: Pipeline) -> Result<Vec<Value>, RemoteError> {
        let mut line = self.line.lock().await;
        let Open { mut connection, number, .. } = self.open(&mut line).await?;
        drop(line);
        let patience = self.options.answer_timeout;
        let answers = connection.send_packed_commands(&commands, 0, commands.len());
        let error = match timeout(patience, answers).await {
            Ok(Ok(answers)) => return Ok(answers),
            Ok(Err(error)) => self.options.not_answered(&error),
            Err(_) => RemoteError::TimedOut(patience),
        };
        self.give_up(number).await;
        Err(error)
    }

    /// The connection. Whoever comes while it is being made waits for that.
    async fn open(&self, line: &mut State) -> Result<Open, RemoteError> {
        if let Some(open) = &line.open {
            return Ok(open.clone());
        }
        if let Some((when, error)) = &line.failed {
            if when.elapsed() < PAUSE {
                return Err(error.clone());
            }
        }
        match self.connect_telling(line.tells).await {
            Ok((connection, ears)) => {
                line.number += 1;
                line.failed = None;
                Ok(line.open.insert(Open { connection, number: line.number, ears }).clone())
            }
            Err(error) => {
                line.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// The connection, as one on which the server says something unasked, if it can.
    async fn open_telling(&self) -> Result<Open, RemoteError> {
        let mut line = self.line.lock().await;
        line.tells = true;
        // What is being asked on the other is answered there.
        line.open.take_if(|open| open.ears.is_none());
        self.open(&mut line).await
    }

    /// A late answer does not say whether another will come: the line may be cut without a word.
    async fn give_up(&self, number: u64) {
        let mut line = self.line.lock().await;
        let open = line.open.take_if(|open| open.number == number);
        // Before another is made: who still hears something on this one has missed nothing.
        if let Some(ears) = open.and_then(|open| open.ears) {
            ears.close();
        }
    }

    async fn connect_telling(
        &self,
        tells: bool,
    ) -> Result<(MultiplexedConnection, Option<Ears>), RemoteError> {
        if tells {
            let ears = Ears::new();
            let all = ears.clone();
            let config = config().set_push_sender(move |push| {
                all.tell(&push);
                Ok::<_, Infallible>(())
            });
            match self.connect(&self.options.third_client(), config).await {
                // It may be the third version of the protocol that is refused.
                Err(RemoteError::Refused(_)) => {}
                connected => return Ok((connected?, Some(ears))),
            }
        }
        Ok((self.connect(&self.client, config()).await?, None))
    }

    async fn connect(
        &self,
        client: &Client,
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, RemoteError> {
        let patience = self.options.connect_timeout;
        let connection: RedisResult<_> =
            timeout(patience, client.get_multiplexed_async_connection_with_config(&config))
                .await
                .map_err(|_| RemoteError::TimedOut(patience))?;
        connection.map_err(|error| self.options.not_connected(&error))
    }
}

/// Without the transport's own timeouts, which do not say what they waited for.
fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None)
}

impl Line for RedisTokio {
    fn looks_at_what_it_writes(&self) -> bool {
        self.shared.looks.load(Ordering::Relaxed)
    }

    async fn ask(&self, commands: Pipeline) -> Result<Vec<Value>, RemoteError> {
        let shared = Arc::clone(&self.shared);
        self.run(async move { shared.exchange(commands).await }).await
    }
}

impl fmt::Debug for RedisTokio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTokio").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Remote for RedisTokio {
    fn blocks(&self) -> bool {
        false
    }

    ops::operations!();

    fn read_replica<'a>(
        &'a self,
        places: &'a [&'a Place],
        lag: Duration,
    ) -> Reply<'a, Option<Replicated>> {
        Box::pin(self.replicas.read(self, places, lag))
    }

    fn listen<'a>(&'a self, listen: &'a Listen, ear: Arc<dyn Ear>) -> Reply<'a, Infallible> {
        Box::pin(self.hear(listen.clone(), ear))
    }
}
