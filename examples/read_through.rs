//! Read-through: handlers ask the cache, the cache asks the database. One query however many ask at once, "there is no such user"
//! kept for a short while, and an outage of the database that nobody notices. `cargo run --example read_through` prints
//!
//! ```text
//! queries  what happens, and what a handler gets
//!       1  eight have asked for user 7 at once: user 7, Hit, 0 s old
//!       2  there is no user 8: nobody, Load, 0 s old
//!       2  asked for again: nobody, Hit, 0 s old
//!       3  asked for 5 s later: nobody, Load, 0 s old
//!       4  60 s later the database is down: user 7, Stale, 65 s old
//!       4  asked for again: user 7, Stale, 65 s old
//!       5  user 6 was never asked for before: the loader failed
//!       6  the database is back, and 1 s passes: user 7, Load, 0 s old
//! ```

use cachette::{BuildError, Cache, Freshness, LoadingCache, ManualClock};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::{io, sync::Arc, thread, time::Duration};

/// Stands for a query of the database, which knows the users 1 to 7.
fn query(id: u64, down: &AtomicBool) -> io::Result<Option<String>> {
    let user = (1..=7).contains(&id).then(|| format!("user {id}"));
    if down.load(SeqCst) { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(user) }
}

type Users = LoadingCache<u64, Option<String>, io::Error>;

/// The cache of the service. Only the clock is there for the example's sake: without it time is the system's.
fn users(down: Arc<AtomicBool>, clock: ManualClock) -> Result<Users, BuildError> {
    let seconds = Duration::from_secs;
    Cache::builder()
        .capacity(10_000)
        .freshness(Freshness::new(seconds(60)).stale_if_error(seconds(3_600)))
        .freshness_by(
            move |_, user: &Option<_>, usual| {
                if user.is_some() { usual } else { usual.ttl(seconds(5)) }
            },
        )
        .clock(clock)
        .loader(move |id: &u64| query(*id, &down))
        .build()
}

/// What this example prints.
pub(crate) fn show() -> Result<String, BuildError> {
    let (down, clock) = (Arc::new(AtomicBool::new(false)), ManualClock::new());
    let users = users(Arc::clone(&down), clock.clone())?;
    thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(|| users.load(&7)))));
    let mut out = "queries  what happens, and what a handler gets\n".to_owned();
    for (id, pass, is_down, scene) in [
        (7, 0, false, "eight have asked for user 7 at once"),
        (8, 0, false, "there is no user 8"),
        (8, 0, false, "asked for again"),
        (8, 5, false, "asked for 5 s later"),
        (7, 60, true, "60 s later the database is down"),
        (7, 0, true, "asked for again"),
        (6, 0, true, "user 6 was never asked for before"),
        (7, 1, false, "the database is back, and 1 s passes"),
    ] {
        clock.advance(Duration::from_secs(pass));
        down.store(is_down, SeqCst);
        let answer = match users.load_entry(&id) {
            Ok(user) => {
                let age = user.age.unwrap_or_default().as_secs();
                let name = user.value.unwrap_or_else(|| "nobody".to_owned());
                format!("{name}, {:?}, {age} s old", user.origin)
            }
            Err(error) => error.to_string(),
        };
        let queries = users.stats().loads + users.stats().load_failures;
        out += &format!("{queries:>7}  {scene}: {answer}\n");
    }
    Ok(out)
}

fn main() -> Result<(), BuildError> {
    show().map(|out| print!("{out}"))
}
