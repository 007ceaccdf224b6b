//! The limiters: take this file with you.
//!
//! A limiter is a cache of what it knows of each client, and a rule. It is only as good as its memory: who is evicted begins anew, so
//! someone with many addresses could push out the count of one. Here nobody is evicted. Where there is no room left a newcomer is
//! denied until the time of others is over, and each such denial looks into every segment of the cache for what has expired. So have
//! room for all clients that may come within two windows. (`compute` says `Refused`, if you would rather let newcomers pass.)

use cachette::policy::NoEviction;
use cachette::{BuildError, Cache, Clock, Compute, Computed};
use std::{net::IpAddr, time::Duration};

/// True if a request of this client passes.
pub(crate) type Limiter = Box<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// What becomes of a client's state, if it has one, by a request at this time. Who is to `Keep` it does not pass.
pub(crate) type Rule<T> = Box<dyn Fn(Duration, Option<&T>) -> Compute<T> + Send + Sync>;

/// A limiter for so many clients at a time. The rule is told the time by the cache's own clock, read after the state: if another thread
/// was faster, both are read again. (A thread that is halted right then, for as long as a whole entry lives, may pass uncounted.)
pub(crate) fn limiter<T: Send + Sync + 'static>(
    clients: u64,
    clock: impl Clock + Clone + 'static,
    rule: Rule<T>,
) -> Result<Limiter, BuildError> {
    let cache = Cache::builder().capacity(clients).policy(NoEviction::new);
    let cache = cache.clock(clock.clone()).build()?;
    Ok(Box::new(move |client| {
        let decided = cache.compute(client, |state| rule(clock.now(), state));
        matches!(decided, Ok(Computed::Replaced))
    }))
}

/// **Fixed window**: `most` requests, from a client's first one until the TTL ends its window; the next one begins another. Where two
/// windows meet, up to `2 * most - 1` pass within a moment. The state is how many have passed.
pub(crate) fn fixed(most: u32, window: Duration) -> Rule<u32> {
    Box::new(move |_, passed| match passed {
        Some(&passed) if passed < most => Compute::ReplaceKeepTtl(passed + 1),
        None if most > 0 => Compute::ReplaceWithTtl(1, window),
        _ => Compute::Keep,
    })
}

/// Which window of the clock it is, how many have passed in it, and in the one before.
pub(crate) struct Counts(u128, u32, u32);

/// **Sliding window**: of the requests in the window before as many count as the last `window` still covers, if they had come evenly. If
/// they did, about `most` pass in any `window`. If they came late, more do: in a fraction `x` of a window up to `most * (1 + x)`, so
/// within a moment never more than `most`.
pub(crate) fn sliding(most: u32, window: Duration) -> Rule<Counts> {
    let length = window.as_nanos().max(1);
    Box::new(move |now, counts| {
        let (number, into) = (now.as_nanos() / length, now.as_nanos() % length);
        let (here, before) = match *counts.unwrap_or(&Counts(number, 0, 0)) {
            Counts(of, here, before) if of == number => (here, before),
            Counts(of, here, _) if of + 1 == number => (0, here),
            Counts(..) => (0, 0),
        };
        let weighed = u128::from(before) * (length - into) + u128::from(here) * length;
        if weighed + length > u128::from(most) * length {
            return Compute::Keep;
        }
        Compute::ReplaceWithTtl(Counts(number, here + 1, before), window.saturating_mul(2))
    })
}

/// **Token bucket**: `burst` tokens, of which each request takes one; one comes back `every` so often. In any time `t`, at most
/// `burst + t / every` pass. The state is when the bucket will be full. Then it is as one that nobody used, and its TTL is over.
pub(crate) fn bucket(burst: u32, every: Duration) -> Rule<Duration> {
    Box::new(move |now, full| {
        let full = full.map_or(now, |&full| full.max(now)).saturating_add(every);
        let missing = full.saturating_sub(now);
        if missing > every.saturating_mul(burst) {
            return Compute::Keep;
        }
        Compute::ReplaceWithTtl(full, missing)
    })
}

/// **Once** in a `window`. That there is an entry says it all, so this is one call: no rule, and no state.
pub(crate) fn once(
    clients: u64,
    clock: impl Clock + 'static,
    window: Duration,
) -> Result<Limiter, BuildError> {
    let cache = Cache::builder().capacity(clients).policy(NoEviction::new).time_to_live(window);
    let cache = cache.clock(clock).build()?;
    Ok(Box::new(move |client| cache.put_if_absent(client, ())))
}
