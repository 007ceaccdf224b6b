//! `SQLite` as a system of record: a store to copy from.
//!
//! ```text
//!   entries   key │ value                 │ version
//!             ────┼───────────────────────┼────────
//!               7 │ 'Ada'                 │ 1041        what it is
//!               8 │ NULL                  │ 1042        it was deleted: a tombstone
//! ```
//!
//! 1. **A change that comes late loses.** A row changes only if the change's version is higher than its own. What is left is what there
//!    would be, had the changes come in their order; so a late one is acknowledged, and so is one that comes again.
//! 2. **A deletion leaves its version behind.** A row that is gone would let an older value come back. [`forget_deleted`] takes such rows
//!    when nothing that old can be on its way any more.
//! 3. **A batch is one transaction**, with one wait for the disk. A change that breaks a constraint undoes its own statement and no other:
//!    `SQLite` needs no savepoint for that. After any other error the transaction is rolled back, and nothing of the batch was made.
//!
//! | call | statements | waits for the disk |
//! |---|---|---|
//! | `load`, `load_many` | 1 | |
//! | `apply` | 1 | as [`Durability`] has it, once |
//! | `apply_batch` | 1 a change, prepared once | the same, once |
//!
//! Keys are `u64`, which `SQLite` does not know: the same 64 bits are stored with a sign.
//!
//! [`forget_deleted`]: SqliteStore::forget_deleted

use cachette::store::{Answer, Change, Store};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, TransactionBehavior, params};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Characters that a value may have. More are refused by a constraint of the table.
pub(crate) const LONGEST: usize = 4_096;

/// How long to wait for another process that writes the same file.
const PATIENCE: Duration = Duration::from_secs(5);

const LOAD: &str = "SELECT value FROM entries WHERE key = ?1";

/// The keys come as one parameter, so that the statement is the same for any number of them.
const LOAD_MANY: &str =
    "SELECT key, value FROM entries WHERE key IN (SELECT value FROM json_each(?1))";

const APPLY: &str = "INSERT INTO entries (key, value, version) VALUES (?1, ?2, ?3)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version
    WHERE excluded.version > version";

const FORGET: &str = "DELETE FROM entries WHERE value IS NULL AND version < ?1";

/// Shared, since a query for many keys fails for all of them.
pub(crate) type Failure = Arc<rusqlite::Error>;

/// What an acknowledged change survives, beside the end of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// A loss of power too: each transaction waits for the disk.
    Full,
    /// Not always a loss of power, which may take the latest transactions: the disk is waited for now and then. The file stays whole.
    Normal,
}

/// One table in one file, by one connection behind a lock.
pub(crate) struct SqliteStore {
    connection: Mutex<Connection>,
}

impl SqliteStore {
    /// Opens the file, or makes it.
    pub(crate) fn open(file: &Path, durability: Durability) -> Result<Self, Failure> {
        let connection = Connection::open(file)?;
        connection.busy_timeout(PATIENCE)?;
        let synchronous = match durability {
            Durability::Full => "FULL",
            Durability::Normal => "NORMAL",
        };
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = {synchronous};
             CREATE TABLE IF NOT EXISTS entries (
                 key INTEGER PRIMARY KEY,
                 value TEXT CHECK (length(value) <= {LONGEST}),
                 version INTEGER NOT NULL
             );"
        ))?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// Takes the rows that were deleted by changes of versions before this one, and says how many. Reads the whole table.
    ///
    /// Versions begin as nanoseconds since 1970: a day ago is old enough if no change is on its way for a day.
    pub(crate) fn forget_deleted(&self, before: u64) -> Result<usize, Failure> {
        Ok(self.lock().execute(FORGET, [signed(before)])?)
    }

    /// A panic while it was locked has left nothing half-done: its transaction was rolled back.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, key: u64) -> Result<Option<String>, Failure> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(LOAD)?;
        let value = statement.query_row([bits(key)], |row| row.get(0)).optional()?;
        Ok(value.flatten())
    }

    fn read_many(&self, keys: &[u64]) -> Result<HashMap<i64, Option<String>>, Failure> {
        let keys: Vec<String> = keys.iter().map(|key| bits(*key).to_string()).collect();
        let connection = self.lock();
        let mut statement = connection.prepare_cached(LOAD_MANY)?;
        let rows = statement
            .query_map([format!("[{}]", keys.join(","))], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// What has become of each; or nothing was changed.
    fn write(
        &self,
        changes: &[Change<'_, u64, String>],
    ) -> Result<Vec<Result<(), Failure>>, Failure> {
        let mut connection = self.lock();
        // Begun as a writer: one that became it later could find that another process has written meanwhile.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut results = Vec::with_capacity(changes.len());
        for change in changes {
            match change_row(&transaction, *change) {
                Err(error) if !is_refusal(&error) => return Err(error.into()),
                result => results.push(result.map_err(Arc::new)),
            }
        }
        transaction.commit()?;
        Ok(results)
    }
}

impl Store<u64, String> for SqliteStore {
    type Error = Failure;

    fn blocks(&self) -> bool {
        true
    }

    fn refused(&self, error: &Failure) -> bool {
        is_refusal(error)
    }

    fn load<'a>(&'a self, key: &'a u64) -> Answer<'a, Result<Option<String>, Failure>> {
        Box::pin(async move { self.read(*key) })
    }

    fn load_many<'a>(
        &'a self,
        keys: &'a [u64],
    ) -> Answer<'a, Vec<Result<Option<String>, Failure>>> {
        Box::pin(async move {
            let rows = self.read_many(keys);
            // Cloned, and not taken out: a key may be asked for twice.
            let value = |key: &u64| match &rows {
                Ok(rows) => Ok(rows.get(&bits(*key)).cloned().flatten()),
                Err(error) => Err(Arc::clone(error)),
            };
            keys.iter().map(value).collect()
        })
    }

    fn apply<'a>(&'a self, change: Change<'a, u64, String>) -> Answer<'a, Result<(), Failure>> {
        // A statement by itself is a transaction.
        Box::pin(async move { Ok(change_row(&self.lock(), change)?) })
    }

    fn apply_batch<'a>(
        &'a self,
        changes: &'a [Change<'a, u64, String>],
    ) -> Answer<'a, Result<Vec<Result<(), Failure>>, Failure>> {
        Box::pin(async move { self.write(changes) })
    }
}

fn change_row(connection: &Connection, change: Change<'_, u64, String>) -> rusqlite::Result<()> {
    let row = params![bits(*change.key), change.value, signed(change.version)];
    connection.prepare_cached(APPLY)?.execute(row)?;
    Ok(())
}

/// Refused for what it is, and the transaction goes on. A full disk or a locked file says nothing of the change.
fn is_refusal(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig))
}

const fn bits(key: u64) -> i64 {
    i64::from_ne_bytes(key.to_ne_bytes())
}

/// Versions keep their order, which the bits of large ones would not.
fn signed(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}
