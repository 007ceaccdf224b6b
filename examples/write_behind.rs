//! Write-behind: page views are counted in memory, and the database hears of many as of one. If the process is killed a view may be
//! lost; a sale may not, so who sells waits for the receipt. `cargo run --example write_behind` prints
//!
//! ```text
//! 4 threads count 1000 views of 5 pages: 5 rows
//! a shop is killed when it has told of 20 sales: 20 of them are there
//! page 0 had 200 views, and 10 come: Some(210)
//! ```

use cachette::store::{Answer, Change, Store, StoredCache, WriteBehind};
use cachette::{Cache, Compute, Threads};
use rusqlite::{Connection, Error, OptionalExtension as _, Result as Sql};
use std::io::{BufRead as _, BufReader};
use std::{env, fs, path::Path, process, process::Command, sync::Mutex, thread, time::Duration};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
type New<'a> = Change<'a, String, i64>;

/// Counts by name, in `SQLite`. NULL stands for none.
struct Table(Mutex<Connection>);

impl Store<String, i64> for Table {
    type Error = Error;
    fn blocks(&self) -> bool {
        true
    }
    fn load<'a>(&'a self, name: &'a String) -> Answer<'a, Sql<Option<i64>>> {
        let query = "SELECT count FROM counts WHERE name = ?1 AND count NOT NULL";
        let find = move |db: &Connection| db.query_row(query, [name], |row| row.get(0)).optional();
        Box::pin(async move { find(&self.0.lock().unwrap()) })
    }
    fn apply<'a>(&'a self, change: New<'a>) -> Answer<'a, Sql<()>> {
        Box::pin(async move { self.apply_batch(&[change]).await.map(drop) })
    }
    /// One transaction: after an error none of them was made, and all are tried again.
    fn apply_batch<'a>(&'a self, changes: &'a [New<'a>]) -> Answer<'a, Sql<Vec<Sql<()>>>> {
        Box::pin(async move {
            let mut table = self.0.lock().unwrap();
            let batch = table.transaction()?;
            for Change { key, value, .. } in changes {
                batch.execute("REPLACE INTO counts VALUES (?1, ?2)", (key, value))?;
            }
            batch.commit()?;
            Ok(changes.iter().map(|_| Ok(())).collect())
        })
    }
}

/// The background writes a hundred rows at once, or what has waited for the delay.
fn counts(file: &Path, delay: Duration) -> Outcome<StoredCache<String, i64, Error>> {
    let table = Connection::open(file)?;
    table.execute("CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, count INT)", ())?;
    let counts = Cache::builder().capacity(10_000).store(Table(Mutex::new(table)));
    Ok(counts.write_behind(WriteBehind::new().delay(delay)).spawn(Threads::new()).build()?)
}

fn view(counts: &StoredCache<String, i64, Error>, page: u32) {
    counts.compute(format!("page {page}"), |n| Compute::Replace(n.unwrap_or(&0) + 1)).unwrap();
}

/// What the process does that is killed: it sells, and does not tell of a sale before it is durable.
pub(crate) fn shop(file: &Path) -> Outcome<()> {
    let counts = counts(file, Duration::from_millis(5))?;
    for n in 0.. {
        view(&counts, 5);
        counts.put(format!("sale {n}"), 1)?.wait()?;
        println!("sale {n}");
    }
    Ok(())
}

/// What this example prints. Here only a flush writes, so that it can be told beforehand how much.
pub(crate) fn show(file: &Path, shop: &mut Command) -> Outcome<String> {
    let site = counts(file, Duration::MAX)?;
    let visitor = || (0..250).for_each(|n| view(&site, n % 5));
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(visitor))));
    let mut out = format!("4 threads count 1000 views of 5 pages: {} rows\n", site.flush()?);
    let mut shop = shop.stdout(process::Stdio::piped()).spawn()?;
    let lines = BufReader::new(shop.stdout.as_mut().unwrap()).lines().map_while(Result::ok);
    let told: Vec<_> = lines.filter(|line| line.starts_with("sale")).take(20).collect();
    shop.kill().and_then(|()| shop.wait())?;
    // The views that waited are lost. This is where a journal of the queue would bring them back: before it is asked for any.
    let site = counts(file, Duration::MAX)?;
    let there = told.iter().filter(|sale| site.load(*sale).ok() == Some(Some(1))).count();
    out += &format!("a shop is killed when it has told of 20 sales: {there} of them are there\n");
    (0..10).for_each(|_| view(&site, 0));
    assert!(site.close(Duration::from_secs(5)).is_empty());
    let views = counts(file, Duration::MAX)?.load("page 0")?;
    Ok(out + &format!("page 0 had 200 views, and 10 come: {views:?}\n"))
}

fn main() -> Outcome<()> {
    if let Some(file) = env::args_os().nth(1) {
        return shop(file.as_ref());
    }
    let file = env::temp_dir().join(format!("views-{}.sqlite", process::id()));
    print!("{}", show(&file, Command::new(env::current_exe()?).arg(&file))?);
    Ok(fs::remove_file(file)?)
}
