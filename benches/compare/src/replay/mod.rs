//! Hit ratios of peers on access traces: each replays the cells of a reference, read-through, on one thread.
//!
//! ```text
//! cargo run --release -- replay TRACE_OR_FOLDER.. --reference hit-ratios.csv
//! cargo run --release -- replay OLTP.u32.zst --reference hit-ratios.csv --peers moka,quick_cache --policies adaptive,s3-fifo
//! ```
//!
//! Reading order: [`contenders`] (who takes part, and how it is set), [`regret`] (what the hits say), [`output`] (how it is told);
//! here is what is read, and who replays what when.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::pool;
use crate::reference::Reference;
use crate::trace::{Source, Trace};
use contenders::Contender;
use regret::{Cell, Who};

mod contenders;
mod output;
mod regret;
#[cfg(test)]
mod tests;

/// Cells with less room are left out: there, what a peer needs beside its policy decides.
const LEAST: u64 = 100;

/// A trace with more requests is a long one.
const LONG: u64 = 2_000_000;

/// The optimum's name in a reference. It knows the future, so it is nobody's measure.
const OPT: &str = "opt";

/// Replays access traces through peers and cachette's policies: hit ratios, and how far below the best
#[derive(clap::Args)]
pub struct Args {
    /// Traces, or folders with some (*.u32, *.u32.zst). Every item weighs 1
    #[arg(required = true)]
    traces: Vec<PathBuf>,
    /// Known results, CSV: trace,capacity,policy,requests,hits. They tell the cells, and are measured against
    #[arg(long)]
    reference: PathBuf,
    /// Peers to run, by name; all if none is named
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Policies of cachette to run, by name; all if none is named
    #[arg(long, value_delimiter = ',')]
    policies: Vec<String>,
    /// Segments of cachette; the peers have one where they let us choose
    #[arg(long, default_value_t = 1)]
    segments: usize,
    /// Of traces with more than two million requests, only every so manieth capacity
    #[arg(long, default_value_t = NonZeroUsize::MIN)]
    every: NonZeroUsize,
    /// Cells side by side; as many as there are cores
    #[arg(long)]
    jobs: Option<usize>,
    /// Write the hits of every cell to this file
    #[arg(long)]
    csv: Option<PathBuf>,
    /// Print the tables of the README
    #[arg(long)]
    markdown: bool,
}

impl Args {
    fn jobs(&self) -> usize {
        self.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

/// What a run found.
struct Outcome {
    cells: Vec<Cell>,
    contenders: Vec<Contender>,
    /// The time of all replays of each contender.
    times: Vec<(Who, Duration)>,
}

/// Prints the hit ratios that `args` ask for; the error says what is wrong.
pub fn run(args: &Args) -> Result<(), String> {
    let csv = args.csv.as_deref().map(create).transpose()?;
    let outcome = measure(args)?;
    if let (Some(path), Some(file)) = (&args.csv, csv) {
        output::csv(file, &outcome.cells).map_err(|error| at(path, "cannot be written", &error))?;
    }
    if args.markdown {
        print!("{}", output::markdown(&outcome));
    } else {
        print!("{}", output::text(&outcome));
    }
    eprintln!("{}", output::times(&outcome.times));
    Ok(())
}

/// Everything but the telling.
fn measure(args: &Args) -> Result<Outcome, String> {
    let contenders = Contender::chosen(&args.peers, &args.policies)?;
    let text = std::fs::read_to_string(&args.reference)
        .map_err(|error| at(&args.reference, "cannot be read", &error))?;
    let reference =
        Reference::parse(&text).map_err(|what| format!("{}: {what}", args.reference.display()))?;
    let traces = traces(&args.traces)?;
    let mut cells = Vec::new();
    for trace in &traces {
        let every = if trace.ids.len() as u64 > LONG { args.every.get() } else { 1 };
        let some = self::cells(trace, &reference, every)
            .map_err(|what| format!("{}: {what}", args.reference.display()))?;
        if some.is_empty() {
            eprintln!("{}: left out: no cell of the reference has room for {LEAST}", trace.name);
        }
        cells.extend(some);
    }
    if cells.is_empty() {
        return Err(format!("{}: it has none of these traces", args.reference.display()));
    }
    let times = replay(args, &traces, &contenders, &mut cells)?;
    Ok(Outcome { cells, contenders, times })
}

fn at(path: &Path, what: &str, error: &std::io::Error) -> String {
    format!("{}: {what}: {error}", path.display())
}

/// Before the work, so that a place that cannot be written is told at once.
fn create(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|error| at(path, "cannot be written", &error))
}

/// Reads every trace; all are opened first, so that a missing one is told at once.
fn traces(paths: &[PathBuf]) -> Result<Vec<Trace>, String> {
    let mut sources = Vec::new();
    for path in paths {
        let files = if path.is_dir() { folder(path)? } else { vec![path.clone()] };
        for file in files {
            let source = Source::open(&file).map_err(|error| error.to_string())?;
            if sources.iter().any(|other: &Source| other.name() == source.name()) {
                return Err(format!("{}: a second trace {}", file.display(), source.name()));
            }
            sources.push(source);
        }
    }
    let read = |source: Source| {
        let mut trace = source.read().map_err(|error| error.to_string())?;
        trace.sizes = None;
        Ok(trace)
    };
    sources.into_iter().map(read).collect()
}

/// The traces of a folder without sizes, by name.
fn folder(path: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error| at(path, "cannot be read", &error);
    let entries = std::fs::read_dir(path).map_err(unreadable)?;
    let files: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut files = files.map_err(unreadable)?;
    files.retain(|file| {
        let name = file.to_string_lossy();
        name.ends_with(".u32") || name.ends_with(".u32.zst")
    });
    files.sort_unstable();
    if files.is_empty() {
        return Err(format!("{}: it holds no *.u32 and no *.u32.zst", path.display()));
    }
    Ok(files)
}

/// The cells that a reference has of a trace, or every so manieth, with its policies' hits.
fn cells(trace: &Trace, reference: &Reference, every: usize) -> Result<Vec<Cell>, String> {
    let requests = trace.ids.len() as u64;
    let mut capacities = reference.capacities(&trace.name, false);
    capacities.retain(|capacity| *capacity >= LEAST);
    let cell = |capacity| {
        let mut cell = Cell {
            trace: trace.name.clone(),
            capacity,
            requests,
            distinct: trace.distinct(),
            hits: Default::default(),
        };
        for row in reference.rows(&trace.name, false).filter(|row| row.capacity == capacity) {
            if row.requests != requests || row.hits > requests {
                return Err(format!(
                    "{cell}, {}: {} hits of {} requests, and the trace has {requests}",
                    row.policy, row.hits, row.requests
                ));
            }
            if row.policy != OPT {
                cell.hits.insert(Who::Reference(row.policy.clone()), row.hits);
            }
        }
        Ok(cell)
    };
    // From the middle of the first few: the least capacities tell the least.
    capacities.into_iter().skip(every / 2).step_by(every).map(cell).collect()
}

/// Fills in the hits of every contender in every cell, the long ones first, and has the time that each took.
fn replay(
    args: &Args,
    traces: &[Trace],
    contenders: &[Contender],
    cells: &mut [Cell],
) -> Result<Vec<(Who, Duration)>, String> {
    let all = |cell| (0..contenders.len()).map(move |contender| (cell, contender));
    let mut pieces: Vec<_> = (0..cells.len()).flat_map(all).collect();
    pieces.sort_by_key(|(cell, _)| std::cmp::Reverse(cells[*cell].requests));
    let plan: Vec<_> = pieces
        .into_iter()
        .map(|(cell, contender)| {
            let Cell { trace, capacity, requests, .. } = &cells[cell];
            let trace = traces.iter().find(|one| one.name == *trace).ok_or("no such trace")?;
            Ok((cell, contender, trace, *capacity, *requests))
        })
        .collect::<Result<_, String>>()?;
    let total: u64 = plan.iter().map(|(.., requests)| requests).sum();
    let mut times: Vec<_> =
        contenders.iter().map(|contender| (contender.who(), Duration::ZERO)).collect();
    let (mut done, mut tenths) = (0, 0);
    let work = |at: usize| {
        let (cell, contender, trace, capacity, requests) = plan[at];
        let start = Instant::now();
        let hits = contenders[contender].hits(trace, capacity, args.segments)?;
        Ok((cell, contender, hits, requests, start.elapsed()))
    };
    pool::in_order(plan.len(), args.jobs(), work, |(cell, contender, hits, requests, time)| {
        cells[cell].hits.insert(times[contender].0.clone(), hits);
        times[contender].1 += time;
        done += requests;
        if done * 10 / total > tenths {
            tenths = done * 10 / total;
            eprintln!("{tenths}0 % of {total} requests");
        }
        Ok(true)
    })?;
    Ok(times)
}
