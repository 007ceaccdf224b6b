//! The database. `SQLite` blocks, so each query runs on a thread that is there for it.

use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::spawn_blocking;

/// Shared, since a query for many products fails for all of them.
pub(crate) type Failure = Arc<rusqlite::Error>;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Product {
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) cents: i64,
}

/// A handle: clones share one connection.
#[derive(Clone)]
pub(crate) struct Shop {
    connection: Arc<Mutex<Connection>>,
}

impl Shop {
    /// Opens the database, or makes one with a hundred products.
    pub(crate) fn open(file: Option<&Path>) -> rusqlite::Result<Self> {
        let connection = file.map_or_else(Connection::open_in_memory, Connection::open)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.execute_batch(
            "BEGIN IMMEDIATE;
             CREATE TABLE IF NOT EXISTS products (
                 id INTEGER PRIMARY KEY, name TEXT NOT NULL, category TEXT NOT NULL, cents INTEGER NOT NULL
             );
             WITH RECURSIVE ids(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM ids WHERE id < 100)
             INSERT OR IGNORE INTO products
                 SELECT id, 'product ' || id, 'category ' || (id % 5), 100 * id FROM ids;
             COMMIT;",
        )?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    pub(crate) async fn product(self, id: i64) -> Result<Option<Product>, Failure> {
        let query = "SELECT name, category, cents FROM products WHERE id = ?1";
        self.run(move |connection| connection.query_row(query, [id], product).optional()).await
    }

    /// All of them by one query, and for each of `ids` an answer.
    pub(crate) async fn products(
        self,
        ids: Vec<i64>,
    ) -> Vec<(i64, Result<Option<Product>, Failure>)> {
        let wanted = ids.clone();
        let found = self.run(move |connection| find(connection, &wanted)).await;
        let answer =
            |id| (id, found.as_ref().map(|found| found.get(&id).cloned()).map_err(Arc::clone));
        ids.into_iter().map(answer).collect()
    }

    pub(crate) async fn write(self, id: i64, product: Product) -> Result<(), Failure> {
        let command =
            "INSERT OR REPLACE INTO products (id, name, category, cents) VALUES (?1, ?2, ?3, ?4)";
        let Product { name, category, cents } = product;
        self.run(move |connection| connection.execute(command, params![id, name, category, cents]))
            .await?;
        Ok(())
    }

    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let work = move || work(&self.connection.lock().unwrap_or_else(PoisonError::into_inner));
        match spawn_blocking(work).await {
            Ok(answer) => answer.map_err(Arc::new),
            Err(panicked) => resume_unwind(panicked.into_panic()),
        }
    }
}

fn product(row: &Row<'_>) -> rusqlite::Result<Product> {
    Ok(Product { name: row.get("name")?, category: row.get("category")?, cents: row.get("cents")? })
}

fn find(connection: &Connection, ids: &[i64]) -> rusqlite::Result<HashMap<i64, Product>> {
    let marks = vec!["?"; ids.len()].join(", ");
    let query = format!("SELECT id, name, category, cents FROM products WHERE id IN ({marks})");
    let mut query = connection.prepare(&query)?;
    let rows = query.query_map(params_from_iter(ids), |row| Ok((row.get("id")?, product(row)?)))?;
    rows.collect()
}
