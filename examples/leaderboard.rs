//! A leaderboard: many games, few records. Written behind, the table hears of the best alone of the scores that came since it was
//! written last, and an index keeps it sorted. `cargo run --example leaderboard` prints
//!
//! ```text
//! 100000 games, 968 records, 303 rows written
//! 1. player 25, 1048573
//! 2. player 68, 1048560
//! 3. player 11, 1048547
//! player 7 has a record: from Some(46) to Some(1)
//! ```

use cachette::store::{Answer, Change, Store, StoredCache, WriteBehind, WriteStats};
use cachette::{Cache, Compute};
use rusqlite::{Connection, Error, OptionalExtension as _, Result as Sql};
use std::{sync::Arc, sync::Mutex, thread};

struct Table(Mutex<Connection>);

impl Table {
    /// The best few and their scores: the head of the index.
    fn top(&self, most: u32) -> Sql<Vec<(u32, u32)>> {
        let query = "SELECT player, best FROM scores ORDER BY best DESC, player LIMIT ?1";
        self.0.lock().unwrap().prepare(query)?.query_map([most], |row| row.try_into())?.collect()
    }
    /// One more than there are better scores, which are counted along the index; `None` of who never played.
    fn rank(&self, player: u32) -> Sql<Option<u32>> {
        let better = "SELECT 1 + count(*) FROM scores AS other WHERE other.best > own.best";
        let query = format!("SELECT ({better}) FROM scores AS own WHERE player = ?1");
        self.0.lock().unwrap().query_row(&query, [player], |row| row.get(0)).optional()
    }
}

impl Store<u32, u32> for Table {
    type Error = Error;
    fn blocks(&self) -> bool {
        true
    }
    fn load<'a>(&'a self, player: &'a u32) -> Answer<'a, Sql<Option<u32>>> {
        let query = "SELECT best FROM scores WHERE player = ?1";
        Box::pin(async move {
            self.0.lock().unwrap().query_row(query, [player], |row| row.get(0)).optional()
        })
    }
    fn apply<'a>(&'a self, change: Change<'a, u32, u32>) -> Answer<'a, Sql<()>> {
        Box::pin(async move { self.apply_batch(&[change]).await.map(drop) })
    }
    fn apply_batch<'a>(&'a self, all: &'a [Change<'a, u32, u32>]) -> Answer<'a, Sql<Vec<Sql<()>>>> {
        Box::pin(async move {
            let mut table = self.0.lock().unwrap();
            let batch = table.transaction()?;
            for Change { key, value, .. } in all {
                match value {
                    Some(best) => batch.execute("REPLACE INTO scores VALUES (?1, ?2)", [key, best]),
                    None => batch.execute("DELETE FROM scores WHERE player = ?1", [key]),
                }?;
            }
            batch.commit()?;
            Ok(all.iter().map(|_| Ok(())).collect())
        })
    }
}

/// A game is over. What is no record is not written at all.
fn played(scores: &StoredCache<u32, u32, Error>, player: u32, score: u32) {
    let better = |best: Option<&u32>| match best {
        Some(best) if *best >= score => Compute::Keep,
        _ => Compute::Replace(score),
    };
    scores.compute(player, better).expect("there is room in the queue");
}

/// What this example prints. Here a flush writes; with `.spawn(Threads::new())` the background does, every 100 ms.
pub(crate) fn show() -> Result<String, Box<dyn std::error::Error>> {
    let table = Connection::open_in_memory()?;
    table.execute("CREATE TABLE scores (player INTEGER PRIMARY KEY, best INT NOT NULL)", ())?;
    table.execute("CREATE INDEX by_score ON scores (best DESC, player)", ())?;
    let table = Arc::new(Table(Mutex::new(table)));
    let scores = Cache::builder().capacity(10_000).store(Arc::clone(&table));
    let scores = &scores.write_behind(WriteBehind::new()).build()?;
    // Between two flushes each of a hundred players, 25 of a thread, plays a hundred games.
    for round in 0..10 {
        let dice = |n: u32| (round * 10_000 + n).wrapping_mul(0x9E37_79B9) >> 12;
        let play = |t| (t..10_000).step_by(4).for_each(|n| played(scores, n % 100, dice(n)));
        thread::scope(|scope| (0..4).for_each(|t| drop(scope.spawn(move || play(t)))));
        scores.flush()?;
    }
    let WriteStats { accepted, written, .. } = scores.write_stats();
    let mut out = format!("100000 games, {accepted} records, {written} rows written\n");
    for (place, (player, best)) in (1..).zip(table.top(3)?) {
        out += &format!("{place}. player {player}, {best}\n");
    }
    played(scores, 7, 9_999_999);
    let (before, _, after) = (table.rank(7)?, scores.flush()?, table.rank(7)?);
    Ok(out + &format!("player 7 has a record: from {before:?} to {after:?}\n"))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    show().map(|out| print!("{out}"))
}
