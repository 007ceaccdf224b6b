//! Rate limiters. [Three rules](rules) of a few lines each, for `Cache::compute`, which reads, decides and writes a key as one: however
//! many threads ask at once, each is counted. `cargo run --example rate_limiter` prints how many pass where 10 a minute may:
//!
//! ```text
//! second  requests  fixed window  sliding window  token bucket  once
//!      0         1             1               1             1     1
//!     59        20             9               9            10     0
//!     60        20            10               0             0     1
//!     66        20             0               1             1     0
//!     90        20             0               4             4     0
//!    600        20            10              10            10     1
//! 8 threads, 8000 requests at once: 10 10 10 1
//! 3 clients where there is room for 2: 10 10 0
//! ```
//!
//! The fixed window lets 19 pass within a second, where two windows meet. All of this is one process: `rate_limiter_redis` is for several.

pub(crate) mod rules;

use cachette::{BuildError, Clock, ManualClock};
use rules::{Limiter, bucket, fixed, limiter, once, sliding};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::{thread, time::Duration};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// How many of so many requests pass, if each of 8 threads makes as many as the others.
fn at_once(limiter: &Limiter, requests: u32) -> u32 {
    let passed = AtomicU32::new(0);
    let some = || {
        for _ in 0..requests / 8 {
            passed.fetch_add(limiter(CLIENT).into(), Relaxed);
        }
    };
    thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(some))));
    passed.into_inner()
}

/// What this example prints.
pub(crate) fn show() -> Result<String, BuildError> {
    let (clock, minute) = (ManualClock::new(), Duration::from_secs(60));
    let limiters = || -> Result<[Limiter; 4], BuildError> {
        Ok([
            limiter(2, clock.clone(), fixed(10, minute))?,
            limiter(2, clock.clone(), sliding(10, minute))?,
            limiter(2, clock.clone(), bucket(10, minute / 10))?,
            once(2, clock.clone(), minute)?,
        ])
    };
    let mut out = "second  requests  fixed window  sliding window  token bucket  once\n".to_owned();
    let all = limiters()?;
    for (second, requests) in [(0, 1), (59, 20), (60, 20), (66, 20), (90, 20), (600, 20)] {
        clock.advance(Duration::from_secs(second) - clock.now());
        let passed =
            all.each_ref().map(|limiter| (0..requests).filter(|_| limiter(CLIENT)).count());
        let [fixed, sliding, bucket, once] = passed;
        out += &format!("{second:>6}{requests:>10}{fixed:>14}{sliding:>16}{bucket:>14}{once:>6}\n");
    }
    let [fixed, sliding, bucket, once] = limiters()?.map(|limiter| at_once(&limiter, 8_000));
    out += &format!("8 threads, 8000 requests at once: {fixed} {sliding} {bucket} {once}\n");
    let [limiter, ..] = limiters()?;
    let passed = |client: u8| (0..20).filter(|_| limiter([10, 0, 0, client].into())).count();
    let [first, second, third] = [1, 2, 3].map(passed);
    Ok(out + &format!("3 clients where there is room for 2: {first} {second} {third}\n"))
}

fn main() -> Result<(), BuildError> {
    show().map(|out| print!("{out}"))
}
