//! The limiter: take this file with you.

use cachette::Cache;
use redis::{Connection, RedisResult, Script};
use std::time::Duration;

/// The bucket of a client, as `bucket` of the example `rate_limiter` has it: the time when it will be full, for as long as it is not. Told
/// by Redis in microseconds, so the clocks of the processes play no part. The answer is how long to wait; 0 if the request passes.
///
/// A time that no request can have made is from before Redis's clock was set back: then the bucket is empty, and no worse.
const BUCKET: &str = "
    local burst, every, time = tonumber(ARGV[1]), tonumber(ARGV[2]), redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local empty = now + burst * every
    local full = math.max(now, redis.call('GET', KEYS[1]) or 0)
    local wait = math.min(full, empty) + every - empty
    if wait <= 0 then
        full = full + every
    elseif full > empty then
        full = empty
    else
        return wait
    end
    redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1)
    return math.max(wait, 0)";

/// `burst` tokens, of which each request takes one; one comes back `every` so often, a microsecond at the least. In any time `t` at most
/// `burst + t / every` pass, in all processes together.
///
/// Unless Redis is set to evict: a bucket that is evicted begins anew, full. Its default, `noeviction`, refuses what has no room. A
/// clock that is set forward fills buckets too; and a replica that takes over may not have heard of those who passed last.
pub(crate) struct Limiter {
    burst: u32,
    every: Duration,
    script: Script,
    /// Who is to wait, until then. Whoever is evicted here costs a question and no more, so any policy will do.
    waiting: Cache<String, ()>,
}

impl Limiter {
    /// A limiter that knows nobody yet, for as many threads as there are.
    pub(crate) fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, script: Script::new(BUCKET), waiting: Cache::new(10_000) }
    }

    /// Nothing if a request of this client passes, else how long it is to wait. Nobody gets a token any sooner, so until then Redis need
    /// not be asked: a flood of requests is no flood of questions.
    ///
    /// One round trip, and O(1) there. If Redis has no answer, it is for the caller to choose between a service without a limit and a
    /// limit without a service.
    pub(crate) fn ask(
        &self,
        redis: &mut Connection,
        client: &str,
    ) -> RedisResult<Option<Duration>> {
        if let Some(wait) = self.waiting.time_to_live_of(client) {
            return Ok(Some(wait));
        }
        // EVALSHA; a server that does not know the script is sent it.
        let mut script = self.script.key(format!("limit:{client}"));
        let wait = script.arg(self.burst).arg(self.every.as_micros().max(1)).invoke(redis)?;
        if wait == 0 {
            return Ok(None);
        }
        let wait = Duration::from_micros(wait);
        self.waiting.put_with_ttl(client.to_owned(), (), wait);
        Ok(Some(wait))
    }
}
