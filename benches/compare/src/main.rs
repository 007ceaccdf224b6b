//! Cachette beside other in-process caches, on one machine, in one run.
//!
//! ```text
//! cargo run --release                          about twelve minutes, a table a row, then the floors
//! cargo run --release -- --markdown            the tables of the README, in Markdown
//! cargo run --release -- --quick               does it still work? half a minute
//! cargo run --release -- --only get-hot-mt     one row
//! cargo run --release -- --rows churn,insert --peers quick_cache,moka
//! cargo run --release -- --full --threads 64   every row, on a large machine
//! cargo run --release -- replay DIR --reference hit-ratios.csv    hit ratios on the traces of a folder
//! cargo run --release -- stampede              one hot key that expires: loads, and who waits for them
//! cargo run --release -- tiers                 two processes before one Redis: reads, staleness, and what the Redis is asked
//! cargo run --release -- tiers-hit             what a hit costs in the first of two levels
//! cargo run --release -- store                 puts through and behind, to SQLite; what the queue costs
//! ```
//!
//! Reading order: `work` (what is measured), `peer` (what a cache must offer), `loops` (how), `child` and `host` (in which
//! process), `once` (rows that begin anew), `report` (what the numbers say), `floors` (whether that is enough). Apart from these:
//! `replay` (hit ratios), with what it shares with the example of that name; `stampede` (ways to load); `tiers` (two levels); `store`
//! (a cache before its system of record).

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::peer::Info;
use crate::report::Section;
use crate::work::{ROWS, Row};

mod alloc;
mod child;
mod floors;
mod host;
mod keys;
mod loops;
mod machine;
mod markdown;
mod once;
mod peer;
mod peers;
mod replay;
mod report;
mod stampede;
mod store;
mod table;
mod tiers;
mod work;

#[path = "../../../examples/replay/pool.rs"]
mod pool;
#[cfg_attr(not(test), expect(dead_code, reason = "the example uses the rest"))]
#[path = "../../../examples/replay/report.rs"]
mod reference;
#[expect(dead_code, reason = "the example uses the rest")]
#[path = "../../../examples/replay/run.rs"]
mod run;
#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../../../tests/store/sqlite.rs"]
mod sqlite;
#[cfg_attr(not(test), expect(dead_code, reason = "the example uses the rest"))]
#[path = "../../../examples/replay/trace.rs"]
mod trace;
#[path = "../../../examples/replay/zstd.rs"]
mod zstd;

#[cfg(test)]
#[path = "../../../examples/replay/opt.rs"]
mod opt;
#[cfg(test)]
#[path = "../../../examples/replay/workload.rs"]
mod workload;

/// Measures cachette beside other caches.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    mode: Option<Mode>,
    /// Rows to run, by name (see --list)
    #[arg(long, visible_alias = "only", value_delimiter = ',')]
    rows: Vec<String>,
    /// Peers to run beside cachette, by name (see --list)
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Threads in the rows whose name ends in -mt
    #[arg(long, default_value_t = 2, value_parser = threads)]
    threads: usize,
    /// Rounds of each peer in each row
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds a round
    #[arg(long, default_value_t = 300)]
    round_ms: u64,
    /// Every row, those that need much memory or time too
    #[arg(long)]
    full: bool,
    /// A smoke test: small sizes, one short round
    #[arg(long)]
    quick: bool,
    /// Print the tables of the README
    #[arg(long)]
    markdown: bool,
    /// Print the names of rows and peers
    #[arg(long)]
    list: bool,
    /// Measure one peer, told by the parent process
    #[arg(long, hide = true)]
    child: Option<String>,
}

/// What else than to measure.
#[derive(clap::Subcommand)]
enum Mode {
    Replay(replay::Args),
    Stampede(stampede::Args),
    Tiers(tiers::Args),
    TiersHit(tiers::hits::Args),
    Store(store::Args),
}

impl Default for Options {
    fn default() -> Self {
        Self::parse_from(["cachette-compare"])
    }
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads) if (1..=64).contains(&threads) => Ok(threads),
        _ => Err("from 1 to 64".to_owned()),
    }
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(mut options: Options) -> Result<(), String> {
    match &options.mode {
        Some(Mode::Replay(args)) => return replay::run(args),
        Some(Mode::Stampede(args)) => return stampede::run(args),
        Some(Mode::Tiers(args)) => return tiers::run(args),
        Some(Mode::TiersHit(args)) => return tiers::hits::run(args),
        Some(Mode::Store(args)) => return store::run(args),
        None => {}
    }
    if options.list {
        list();
        return Ok(());
    }
    let rows = rows(&options)?;
    if let Some(peer) = &options.child {
        let row = *rows.first().ok_or("no row")?;
        let threads = if row.threaded { options.threads } else { 1 };
        let round = Duration::from_millis(options.round_ms);
        return peers::run(peer, &child::Job { row, threads, round, quick: options.quick });
    }
    if options.quick {
        options.rounds = 1;
        options.round_ms = options.round_ms.min(40);
    }
    measure(&rows, &chosen(&options)?, &options);
    Ok(())
}

fn measure(rows: &[&'static Row], peers: &[Info], options: &Options) {
    let machine = machine::line();
    if !options.markdown {
        println!("{machine}");
        for peer in peers {
            println!("  {:<16} {:<8} {}", peer.name, peer.version(), peer.note);
        }
        println!("  reading the clock adds {} ns to every latency\n", child::clock_cost());
    }
    let mut sections: Vec<Section> = Vec::new();
    for &row in rows {
        eprintln!("{} ...", row.name);
        sections.push(Section { row, outcomes: host::run(row, peers, options) });
        if let (false, Some(section)) = (options.markdown, sections.last()) {
            println!("{}", section.text(markdown::churn(&sections, section), options));
        }
    }
    if options.markdown {
        print!("{}", markdown::print(&sections, peers, &machine, options));
    } else {
        println!("the floors\n{}", floors::table(&sections, options).text());
        println!("† held more than its capacity at some moment");
    }
}

/// The rows named, or all that the options allow.
fn rows(options: &Options) -> Result<Vec<&'static Row>, String> {
    if options.rows.is_empty() {
        return Ok(ROWS.iter().filter(|row| options.full || !row.full).collect());
    }
    let named = |name: &String| Row::named(name).ok_or_else(|| format!("no row is called {name}"));
    options.rows.iter().map(named).collect()
}

/// The peers named, or all; cachette always, and first.
fn chosen(options: &Options) -> Result<Vec<Info>, String> {
    let known = |name: &&String| peers::ALL.iter().any(|peer| peer.name == name.as_str());
    if let Some(name) = options.peers.iter().find(|name| !known(name)) {
        return Err(format!("no peer is called {name}"));
    }
    let wanted = |peer: &&Info| {
        options.peers.is_empty()
            || peer.ours()
            || options.peers.iter().any(|name| name == peer.name)
    };
    Ok(peers::ALL.iter().filter(wanted).copied().collect())
}

fn list() {
    println!("rows:");
    for row in ROWS {
        let full = if row.full { " (with --full)" } else { "" };
        println!("  {:<15} {}{full}", row.name, row.title);
    }
    println!("peers:");
    for peer in peers::ALL {
        println!("  {:<16} {:<8} {}", peer.name, peer.version(), peer.note);
    }
}
