//! Web sessions: every request asks for one, so they are in memory; they outlive the process, so they are in a database. Written
//! through: a log-in or a log-out that was answered is in both. `cargo run --example session_store` prints
//!
//! ```text
//! minute  request       queries  whose session it is
//!      0  log in   Ada        0  Ada
//!      1  log in              0  Ada (CHECK constraint failed: user <> '')
//!     20  a page              1  Ada
//!     29  restart             1  Ada
//!     30  a page              1  nobody
//!     30  log in   Ada        0  Ada
//!     31  log out             1  nobody
//! ```

use cachette::store::{Answer, Change, Store, StoredCache};
use cachette::{BuildError, Cache, Clock as _, Freshness, ManualClock};
use rusqlite::{Connection, Error, ErrorCode, OptionalExtension as _, Result as Sql};
use std::{error::Error as _, sync::Arc, sync::Mutex, time::Duration};

/// Whose it is, and until when: in seconds since 1970, which every process understands.
type Session = (String, f64);

/// The clock is there for the example's sake, and begins in 1970: else it is the system's.
struct Table(Mutex<Connection>, ManualClock);

impl Store<String, Session> for Table {
    type Error = Error;
    fn blocks(&self) -> bool {
        true
    }
    /// Nothing was changed, and asking again is no use.
    fn refused(&self, error: &Error) -> bool {
        error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
    }
    fn load<'a>(&'a self, token: &'a String) -> Answer<'a, Sql<Option<Session>>> {
        let query = "SELECT user, ends FROM sessions WHERE token = ?1 AND ends > ?2";
        let asked = (token, self.1.now().as_secs_f64());
        Box::pin(async move {
            self.0.lock().unwrap().query_row(query, asked, |row| row.try_into()).optional()
        })
    }
    fn apply<'a>(&'a self, new: Change<'a, String, Session>) -> Answer<'a, Sql<()>> {
        let replace = "REPLACE INTO sessions VALUES (?1, ?2, ?3)";
        let delete = "DELETE FROM sessions WHERE token = ?1 OR ends <= ?2";
        Box::pin(async move {
            let (table, now) = (self.0.lock().unwrap(), self.1.now().as_secs_f64());
            match new.value {
                Some((user, ends)) => table.execute(replace, (new.key, user, ends)).map(drop),
                None => table.execute(delete, (new.key, now)).map(drop),
            }
        })
    }
}

/// Each is kept to its own end: one that is loaded late has less left. What nobody asks for leaves the memory before.
fn sessions(table: &Arc<Table>) -> Result<StoredCache<String, Session, Error>, BuildError> {
    let (seconds, clock) = (Duration::from_secs, table.1.clone());
    let left = move |end: f64| Duration::from_secs_f64(end - clock.now().as_secs_f64().min(end));
    let cache = Cache::builder().capacity(100_000).clock(table.1.clone());
    let cache = cache.time_to_idle(seconds(600)).freshness(Freshness::new(seconds(1_800)));
    let cache = cache.freshness_by(move |_, (_, ends), usual| usual.ttl(left(*ends)));
    cache.store(Arc::clone(table)).write_through().build()
}

/// What this example prints.
pub(crate) fn show() -> Result<String, Box<dyn std::error::Error>> {
    let (db, clock) = (Connection::open_in_memory()?, ManualClock::new());
    db.execute("CREATE TABLE sessions (token PRIMARY KEY, user CHECK (user <> ''), ends)", ())?;
    let table = Arc::new(Table(Mutex::new(db), clock.clone()));
    let processes = [sessions(&table)?, sessions(&table)?];
    let mut out = "minute  request       queries  whose session it is\n".to_owned();
    for (minute, request, user) in [
        (0, "log in", "Ada"),
        (1, "log in", ""),  // refused: nothing is changed
        (20, "a page", ""), // after ten quiet minutes it is in the database alone
        (29, "restart", ""),
        (30, "a page", ""), // it has ended, and its row is there: `load` does not see it
        (30, "log in", "Ada"),
        (31, "log out", ""),
    ] {
        clock.advance(Duration::from_secs(60 * minute) - clock.now());
        let (cache, now) = (&processes[usize::from(minute >= 29)], clock.now().as_secs_f64());
        let written = match request {
            "log in" => cache.put("token".to_owned(), (user.to_owned(), now + 1_800.0)).map(drop),
            "log out" => cache.delete("token").map(drop),
            _ => Ok(()),
        };
        let why = written.err().and_then(|error| Some(format!(" ({})", error.source()?)));
        let (before, found) = (cache.stats().misses, cache.load("token")?);
        let (asked, why) = (cache.stats().misses - before, why.unwrap_or_default());
        let whose = found.map_or("nobody".to_owned(), |(user, _)| user);
        out += &format!("{minute:>6}  {request:7}  {user:3}  {asked:>7}  {whose}{why}\n");
    }
    Ok(out)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    show().map(|out| print!("{out}"))
}
