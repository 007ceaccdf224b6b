//! Refresh-ahead: nobody waits for what is asked for all the time. Here these are the keys that a service checks signatures with:
//! an identity provider publishes them, every request needs them, and they rarely change. `cargo run --example refresh_ahead` prints
//!
//! ```text
//! seconds  what a request gets, and what goes on behind it
//!       0  version 1, Load, 0 s old
//!      47  version 1, Hit, 47 s old
//!      48  version 1, Hit, 48 s old; fetched behind it: version 1
//!      95  version 1, Hit, 47 s old
//!      96  version 1, Hit, 48 s old; fetched behind it: version 2
//!     300  version 2, Stale, 204 s old; fetched behind it: version 2
//! 4 fetches, and 1 request has waited for one
//! ```

use cachette::{BuildError, Cache, Freshness, LoadingCache, ManualClock, Origin, Reload, Threads};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::{io, sync::Arc, thread, time::Duration};

/// Stands for a request to the identity provider, which says so if its keys are those that one has. Here they are their version.
fn fetch(provider: &AtomicU64, old: u64) -> io::Result<Reload<u64>> {
    let version = provider.load(SeqCst);
    Ok(if version == old { Reload::NotModified } else { Reload::Value(version) })
}

type Keys = LoadingCache<&'static str, u64, io::Error>;

/// The cache of the service. Only the clock is there for the example's sake: without it time is the system's.
fn keys(provider: Arc<AtomicU64>, clock: ManualClock) -> Result<Keys, BuildError> {
    let (seconds, again) = (Duration::from_secs, Arc::clone(&provider));
    let fresh = Freshness::new(seconds(60)).refresh_ahead(0.8);
    Cache::builder()
        .capacity(10)
        .freshness(fresh.stale_while_revalidate(seconds(600)))
        .clock(clock)
        .loader(move |_issuer| Ok(provider.load(SeqCst)))
        .reloader(move |_issuer, old| fetch(&again, old.value))
        .spawn(Threads::new())
        .build()
}

/// What this example prints.
pub(crate) fn show() -> Result<String, Box<dyn std::error::Error>> {
    let (provider, clock) = (Arc::new(AtomicU64::new(1)), ManualClock::new());
    let keys = keys(Arc::clone(&provider), clock.clone())?;
    let mut out = "seconds  what a request gets, and what goes on behind it\n".to_owned();
    let (mut now, mut waited) = (0, 0);
    for (at, version) in [(0, 1), (47, 1), (48, 1), (95, 1), (96, 2), (300, 2)] {
        provider.store(version, SeqCst);
        clock.advance(Duration::from_secs(at - now));
        now = at;
        let mut got = keys.load_entry(&"issuer")?;
        waited += u64::from(got.origin == Origin::Load);
        let age = got.age.unwrap_or_default().as_secs();
        out += &format!("{at:>7}  version {}, {:?}, {age} s old", got.value, got.origin);
        if got.refreshing {
            while got.refreshing {
                thread::yield_now();
                got = keys.load_entry(&"issuer")?;
            }
            out += &format!("; fetched behind it: version {}", got.value);
        }
        out.push('\n');
    }
    let loads = keys.stats().loads;
    Ok(format!("{out}{loads} fetches, and {waited} request has waited for one\n"))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    show().map(|out| print!("{out}"))
}
