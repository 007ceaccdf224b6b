//! A cache before its system of record: what writing costs, through and behind.
//!
//! ```text
//! cargo run --release -- store                     six minutes
//! cargo run --release -- store --markdown          the tables of the README
//! cargo run --release -- store --only sustained --rounds 1 --seconds 0.5
//! ```
//!
//! *Sustained*: one thread puts values into an empty `SQLite` file for some seconds, then waits until the last of them is written; the puts
//! are divided by all that time. A queue that only hides how slow the disk is gains nothing by that. All ways take turns within a round,
//! each with a file of its own in the same folder.
//!
//! *Cost* and *memory*: a store that has stalled. Nothing is written, so what is seen is what a put and its change cost by themselves.
//!
//! Reading order: [`ways`] (how values are written), [`sustained`], [`stalled`] (a store that waits to be let go), with [`cost`] and
//! [`memory`] upon it.

use std::path::Path;

use crate::machine;
use crate::table::Table;
use crate::tiers::Folder;

mod cost;
mod memory;
mod stalled;
mod sustained;
mod ways;

/// Measures what writing through and behind costs, to a database, and to a store that has stalled
#[derive(clap::Args)]
pub struct Args {
    /// Rounds; all ways take turns within one
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of puts for each way in each round
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Parts to run
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Print the tables of the README
    #[arg(long)]
    markdown: bool,
    /// Be the process whose memory is looked at, told by the parent: which case
    #[arg(long, hide = true)]
    child: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Part {
    Memory,
    Cost,
    Sustained,
}

impl Args {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// Floors, and whether they are met.
struct Floors(Table);

impl Floors {
    fn line(&mut self, floor: String, measured: String, met: bool) {
        self.0.line([floor, measured, if met { "met" } else { "missed" }.to_owned()]);
    }
}

/// Prints what `args` ask for; the error says what is wrong.
pub fn run(args: &Args) -> Result<(), String> {
    if let Some(case) = args.child {
        return memory::child(case);
    }
    let show: fn(&Table) -> String = if args.markdown { Table::markdown } else { Table::text };
    let folder = Folder::new("store")?;
    let before = machine::busy();
    let mut floors = Floors(Table::new(["floor", "measured", "verdict"]));
    let mut tables = Vec::new();
    if args.wants(Part::Memory) {
        let what = "A store that has stalled, and puts until one is refused:";
        tables.push((what.to_owned(), memory::table()?));
    }
    if args.wants(Part::Cost) {
        let what = "A put of one of 16 keys while the store has stalled, ns of each thread, medians of 31 rounds:";
        tables.push((what.to_owned(), cost::table(&mut floors)?));
    }
    if args.wants(Part::Sustained) {
        let outcomes = sustained::run(args, &folder.0)?;
        tables.extend(sustained::tables(&outcomes, &mut floors));
    }
    println!(
        "Measured on {}, {}; when it began, {before}, and when it ended, {}. SQLite: medians of {} rounds of {} s, 100 characters a value, one thread.",
        machine::line(),
        file_system(&folder.0),
        machine::busy(),
        args.rounds,
        args.seconds,
    );
    for (what, table) in &tables {
        println!("\n{what}\n\n{}", show(table).trim_end());
    }
    println!("\nThe floors:\n\n{}", show(&floors.0));
    Ok(())
}

/// What a folder lies on: that with the longest path of those that it is below.
fn file_system(folder: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let below = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, path, kind) = (words.next()?, words.next()?, words.next()?);
        folder.starts_with(path).then(|| (path.len(), format!("{kind} on {device}")))
    });
    below.max().map_or_else(|| "an unknown file system".to_owned(), |(_, name)| name)
}

/// The one in the middle.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}
