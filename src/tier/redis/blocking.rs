//! A Redis that is asked by threads, which wait for the answer.

pub(super) mod listening;

use self::listening::Ping;
use super::ops::{self, Line};
use super::options::RedisOptions;
use super::pool::{Lent, Pool};
use super::replica::Replicas;
use crate::sync::Arc;
use crate::tier::{
    Delete, Ear, Found, HEAD, Listen, Page, Place, Read, Remote, RemoteError, Replicated, Reply,
    Tell, Token, Turn, Write,
};
use ::redis::{Client, Connection, Pipeline, RedisError, RedisResult, Value};
use std::convert::Infallible;
use std::fmt;
use std::time::{Duration, Instant};

/// A Redis, or a Valkey, that is asked by threads. Each waits for its answer, so a cache calls it where blocking does no harm.
///
/// Version 6 at least; 7 for [`Mode::Tracking`](crate::tier::Mode::Tracking). Every operation is one round trip, by a connection that no other thread has
/// meanwhile; the first after the server has started is two. A connection that fails is not used again, and nothing is tried twice:
/// what failed may have been done.
///
/// Its user needs the commands `EVAL`, `EVALSHA`, `GET`, `SET`, `GETRANGE`, `PTTL`, `PEXPIRE`, `DEL`, `UNLINK`, `PUBLISH`, `SCAN` and
/// `PING`; to listen, `HELLO` and `CLIENT TRACKING` or `SUBSCRIBE`; for [replicas](RedisOptions::replica), `INFO`. It must be a single
/// server, or the primary of one.
///
/// ```no_run
/// use cachette::tier::{RedisOptions, RedisRemote};
///
/// let remote = RedisRemote::new(RedisOptions::new("redis://localhost")?);
/// # Ok::<(), cachette::tier::RedisUrlError>(())
/// ```
pub struct RedisRemote {
    options: RedisOptions,
    client: Client,
    pool: Pool<Connection>,
    replicas: Replicas<Self>,
}

impl RedisRemote {
    /// Connects when something is asked, and not before.
    #[must_use]
    pub fn new(options: RedisOptions) -> Self {
        let (client, pool) = (options.client(), Pool::new(options.connections));
        let replicas = Replicas::new(options.replicas().map(Self::new));
        Self { options, client, pool, replicas }
    }

    fn connect(&self, client: &Client) -> RedisResult<Connection> {
        client.get_connection_with_timeout(self.options.connect_timeout)
    }

    fn exchange(&self, commands: &Pipeline) -> Result<Vec<Value>, RemoteError> {
        self.send(&commands.get_packed_pipeline(), commands.len())?.answers()
    }

    /// Sends so many commands, by a connection that nobody else has until they are answered.
    pub(super) fn send(&self, packed: &[u8], count: usize) -> Result<Asked<'_>, RemoteError> {
        let patience = self.options.answer_timeout;
        let mut lent = self.pool.lend(patience).ok_or(RemoteError::TimedOut(patience))?;
        let connection = lent
            .connection(|| self.connect(&self.client))
            .map_err(|error| self.options.not_connected(&error))?;
        let start = Instant::now();
        let sent = connection
            .set_write_timeout(Some(patience))
            .and_then(|()| connection.send_packed_command(packed));
        let asked = Asked { remote: self, lent, count, start };
        match sent {
            Ok(()) => Ok(asked),
            Err(error) => Err(asked.failed(&error)),
        }
    }
}

/// Commands that have been sent.
pub(super) struct Asked<'a> {
    remote: &'a RedisRemote,
    lent: Lent<'a, Connection>,
    count: usize,
    start: Instant,
}

impl Asked<'_> {
    /// All the answers, within the time: the transport by itself would wait so long for each.
    pub(super) fn answers(mut self) -> Result<Vec<Value>, RemoteError> {
        match self.receive() {
            Ok(answers) => {
                self.lent.give_back();
                Ok(answers)
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn receive(&mut self) -> RedisResult<Vec<Value>> {
        let patience = self.remote.options.answer_timeout;
        let mut answers = Vec::with_capacity(self.count);
        let Some(connection) = self.lent.made() else { return Ok(answers) };
        while answers.len() < self.count {
            connection.set_read_timeout(Some(left_of(patience, self.start)))?;
            match connection.recv_response()? {
                Value::Push { .. } => {}
                answer => answers.push(answer),
            }
        }
        Ok(answers)
    }

    fn failed(self, error: &RedisError) -> RemoteError {
        // A server that is late is late for one; one that is gone is gone for all.
        if !error.is_timeout() {
            self.lent.give_up();
        }
        self.remote.options.not_answered(error)
    }
}

/// What is left of a time, but not nothing: that would be no timeout.
fn left_of(time: Duration, start: Instant) -> Duration {
    time.saturating_sub(start.elapsed()).max(Duration::from_millis(1))
}

impl Line for RedisRemote {
    async fn ask(&self, commands: Pipeline) -> Result<Vec<Value>, RemoteError> {
        self.exchange(&commands)
    }
}

impl fmt::Debug for RedisRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRemote").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Remote for RedisRemote {
    fn blocks(&self) -> bool {
        true
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
        Box::pin(async move { Err(self.hear(listen, &*ear, &Ping)) })
    }
}
