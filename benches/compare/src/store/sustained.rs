//! How many puts a second reach the disk, how long a put takes, and how long its value is not on the disk.

use std::path::Path;
use std::time::{Duration, Instant};

use cachette::store::WriteStats;
use hdrhistogram::Histogram;

use super::ways::{ALL, Way, Writer};
use super::{Args, Floors, median};
use crate::keys;
use crate::sqlite::Durability;
use crate::table::Table;

/// How much faster than writing through it is to write behind in batches.
const FASTER: f64 = 20.0;

/// Keys of the Zipf stream.
const SPACE: u64 = 100_000;

/// Its draws, before it begins again.
const DRAWS: usize = 1 << 20;

const QUANTILES: [f64; 4] = [0.5, 0.99, 0.999, 1.0];

/// Characters of a value.
const VALUE: usize = 100;

#[derive(Clone, Copy, PartialEq)]
enum Keys {
    /// Each put another.
    Distinct,
    Zipf,
}

/// What is put where.
#[derive(Clone, Copy, PartialEq)]
struct Load {
    durability: Durability,
    keys: Keys,
}

const LOADS: [Load; 4] = [
    Load { durability: Durability::Full, keys: Keys::Distinct },
    Load { durability: Durability::Full, keys: Keys::Zipf },
    Load { durability: Durability::Normal, keys: Keys::Distinct },
    Load { durability: Durability::Normal, keys: Keys::Zipf },
];

impl Load {
    fn name(self) -> &'static str {
        match (self.durability, self.keys) {
            (Durability::Full, Keys::Distinct) => "FULL, distinct keys",
            (Durability::Full, Keys::Zipf) => "FULL, Zipf",
            (Durability::Normal, Keys::Distinct) => "NORMAL, distinct keys",
            (Durability::Normal, Keys::Zipf) => "NORMAL, Zipf",
        }
    }
}

/// What a way did with a load, in all rounds.
pub struct Outcome {
    way: Way,
    load: Load,
    rounds: Vec<Round>,
    puts: Histogram<u64>,
}

struct Round {
    rate: f64,
    stats: WriteStats,
}

impl Outcome {
    fn rate(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.rate).collect())
    }

    /// Of how many puts a row of the file was written, in the middle round.
    fn coalescing(&self) -> f64 {
        let ratio = |stats: &WriteStats| stats.accepted as f64 / stats.written as f64;
        median(self.rounds.iter().map(|round| ratio(&round.stats)).collect())
    }

    /// Milliseconds from when a put is accepted to its acknowledgement, in the middle round.
    fn unwritten(&self, quantile: f64) -> f64 {
        let time = |round: &Round| round.stats.latency.quantile(quantile).unwrap_or_default();
        median(self.rounds.iter().map(|round| time(round).as_secs_f64() * 1e3).collect())
    }

    fn cells(&self, times: f64) -> Vec<String> {
        let mut cells = vec![self.way.name(), thousands(self.rate()), short(times)];
        let put = |quantile| self.puts.value_at_quantile(quantile) as f64 / 1e3;
        cells.extend(QUANTILES.map(|quantile| short(put(quantile))));
        if matches!(self.way, Way::Behind(_)) {
            cells.extend(QUANTILES.map(|quantile| short(self.unwritten(quantile))));
            cells.push(short(self.coalescing()));
        } else {
            cells.extend(["0"; 4].map(str::to_owned));
            cells.push("1".to_owned());
        }
        cells
    }
}

pub fn run(args: &Args, folder: &Path) -> Result<Vec<Outcome>, String> {
    let pairs = LOADS.iter().flat_map(|&load| ALL.iter().map(move |&way| (way, load)));
    let empty = || Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("legal bounds");
    let new = |(way, load)| Outcome { way, load, rounds: Vec::new(), puts: empty() };
    let mut outcomes: Vec<Outcome> = pairs.map(new).collect();
    let draws = keys::zipf(SPACE, DRAWS, 7);
    let seconds = Duration::try_from_secs_f64(args.seconds).map_err(|error| error.to_string())?;
    for round in 1..=args.rounds {
        eprintln!("round {round} of {} ...", args.rounds);
        for outcome in &mut outcomes {
            measure(outcome, seconds, &draws, folder)?;
        }
    }
    Ok(outcomes)
}

/// One round of one way.
fn measure(
    outcome: &mut Outcome,
    time: Duration,
    draws: &[u64],
    folder: &Path,
) -> Result<(), String> {
    let folder = folder.join("round");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let writer = outcome.way.open(&folder.join("entries.db"), outcome.load.durability)?;
    let start = Instant::now();
    let puts = match outcome.load.keys {
        Keys::Distinct => put(&writer, time, (0..).map(keys::key), &mut outcome.puts)?,
        Keys::Zipf => put(&writer, time, draws.iter().copied().cycle(), &mut outcome.puts)?,
    };
    writer.flush()?;
    let rate = puts as f64 / start.elapsed().as_secs_f64();
    outcome.rounds.push(Round { rate, stats: writer.stats() });
    writer.close()?;
    std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())
}

/// Puts for so long, and says how many there were.
fn put(
    writer: &Writer,
    time: Duration,
    keys: impl Iterator<Item = u64>,
    took: &mut Histogram<u64>,
) -> Result<u64, String> {
    let value = "v".repeat(VALUE);
    let start = Instant::now();
    let (mut puts, mut before) = (0, start);
    for key in keys {
        writer.put(key, &value)?;
        puts += 1;
        // The end of a put is the beginning of the next: one reading of the clock for each.
        let after = Instant::now();
        took.saturating_record((after - before).as_nanos() as u64);
        if after - start >= time {
            break;
        }
        before = after;
    }
    Ok(puts)
}

/// A table a load, a line a way.
pub fn tables(outcomes: &[Outcome], floors: &mut Floors) -> Vec<(String, Table)> {
    let mut tables = Vec::new();
    for load in LOADS {
        let mut table = Table::new([
            "written",
            "puts/s",
            "by through",
            "put: p50, us",
            "p99",
            "p99.9",
            "max",
            "unwritten: p50, ms",
            "p99",
            "p99.9",
            "max",
            "puts a write",
        ]);
        let of_load: Vec<_> = outcomes.iter().filter(|outcome| outcome.load == load).collect();
        let through = of_load.iter().find(|outcome| outcome.way == Way::Through);
        let through = through.map_or(f64::NAN, |outcome| outcome.rate());
        for outcome in of_load {
            let times = outcome.rate() / through;
            table.line(outcome.cells(times));
            if matches!(outcome.way, Way::Behind(batch) if batch > 1) {
                floors.line(
                    format!(
                        "{}: {} at least {FASTER} times through",
                        load.name(),
                        outcome.way.name()
                    ),
                    format!("{times:.1}"),
                    times >= FASTER,
                );
            }
        }
        tables.push((format!("{}:", load.name()), table));
    }
    tables
}

/// Three digits, or all before the point.
fn short(number: f64) -> String {
    match number {
        _ if number < 1.0 => format!("{number:.2}"),
        _ if number < 10.0 => format!("{number:.1}"),
        _ => thousands(number),
    }
}

/// 12,345
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::{short, thousands};

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [0.0, 999.4, 1_000.0, 1_234_567.0].map(thousands),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!([0.123, 1.26, 12.6].map(short), ["0.12", "1.3", "13"]);
    }
}
