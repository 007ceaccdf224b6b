//! Replays access traces, or workloads made up, through the cache: hit ratios, throughput, peak weight.
//!
//! ```text
//! cargo run --release --example replay
//! cargo run --release --example replay -- OLTP.u32.zst --policies lru,lfu,fifo --capacity 1000,5%
//! cargo run --release --example replay -- OLTP.u32.zst --policies lru,lfu,fifo --check hit-ratios.csv --capacity from-check
//! ```
//!
//! `--help` tells the rest. Reading order: [`run`] is the cache's part; [`trace`], [`zstd`] and [`workload`] bring the requests;
//! [`report`] tells the results; [`args`] is the command line.

mod args;
mod report;
mod run;
mod trace;
mod workload;
mod zstd;

use args::{Amount, Args};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use report::Reference;
use run::{Cell, Check, Policy, Setting};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use trace::{Source, Trace};
use workload::Workload;

fn main() -> ExitCode {
    let args = Args::parse();
    match replay(&args) {
        Ok(code) => code,
        Err(what) => {
            complain(&what);
            ExitCode::from(2)
        }
    }
}

/// To standard error; that it is closed is no reason to fail.
fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "replay: {what}");
}

/// Where requests come from.
enum Input {
    File(Source),
    Made(Workload),
}

impl Input {
    fn name(&self) -> String {
        match self {
            Self::File(source) => source.name().to_owned(),
            Self::Made(workload) => workload.to_string(),
        }
    }

    fn load(self, args: &Args) -> Result<Trace, String> {
        let trace = match self {
            Self::File(source) => source.read(),
            Self::Made(workload) => workload.make(args.requests, args.keys, args.seed),
        };
        let mut trace = trace.map_err(|error| error.to_string())?;
        if args.ignore_sizes {
            trace.sizes = None;
        }
        Ok(trace)
    }
}

/// Opens everything that is to be read, so that what is missing is told before any work is done.
fn inputs(args: &Args) -> Result<Vec<Input>, String> {
    let files = args
        .traces
        .iter()
        .map(|path| Source::open(path).map(Input::File).map_err(|error| error.to_string()));
    let mut inputs = files.collect::<Result<Vec<_>, _>>()?;
    inputs.extend(args.workload.iter().copied().map(Input::Made));
    if inputs.is_empty() {
        inputs.extend([Workload::Zipf(0.99), Workload::Scan].map(Input::Made));
        complain(&format!(
            "no trace given; made up: {} requests for {} keys",
            args.requests, args.keys
        ));
    }
    Ok(inputs)
}

fn reference(path: &Path) -> Result<Reference, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
    Reference::parse(&text).map_err(|what| format!("{}: {what}", path.display()))
}

fn replay(args: &Args) -> Result<ExitCode, String> {
    args.validate()?;
    let check = args.check.as_deref().map(reference).transpose()?;
    let inputs = inputs(args)?;
    let mut output =
        Output::new(args, inputs.iter().map(|input| input.name().len()).max().unwrap_or(0), check)?;
    for input in inputs {
        output.bar.set_message(format!("reading {}", input.name()));
        let trace = input.load(args)?;
        let capacities = capacities(args, &trace, output.check.as_ref());
        output
            .bar
            .set_length(trace.ids.len() as u64 * (capacities.len() * args.policies.len()) as u64);
        output.bar.set_position(0);
        for capacity in capacities {
            for policy in &args.policies {
                output.bar.set_message(format!("{} {} {capacity}", trace.name, policy.name));
                let cell = cell(args, &trace, policy, capacity, &output.bar)?;
                output.cell(&cell, policy.check)?;
                if output.is_unheard() {
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
    }
    output.finish()
}

/// Replays one cell, in a thread of its own: what is drawn there does not depend on the cells before.
fn cell(
    args: &Args,
    trace: &Trace,
    policy: &Policy,
    capacity: u64,
    bar: &ProgressBar,
) -> Result<Cell, String> {
    let Args { segments, seed, rate, .. } = *args;
    let setting = Setting { segments, seed, rate, ttl: args.ttl.map(Duration::from_secs) };
    let replay = || run::replay(trace, policy, capacity, setting, |done| bar.inc(done));
    let done = std::thread::scope(|scope| scope.spawn(replay).join());
    let cell = done.map_err(|_| format!("{} at {capacity}: a panic", policy.name))?;
    cell.map_err(|error| format!("capacity {capacity}, {segments} segments: {error}"))
}

/// The capacities to run, each once, as given.
fn capacities(args: &Args, trace: &Trace, check: Option<&Reference>) -> Vec<u64> {
    let sized = trace.sizes.is_some();
    let mut capacities = Vec::new();
    for amount in &args.capacity {
        match (amount, check) {
            (Amount::FromCheck, Some(check)) => {
                capacities.extend(check.capacities(&trace.name, sized));
            }
            _ => capacities.extend(amount.of(trace.weight())),
        }
    }
    let mut seen = std::collections::HashSet::new();
    capacities.retain(|capacity| seen.insert(*capacity));
    capacities
}

/// Everything that hears of a cell.
struct Output {
    bar: ProgressBar,
    /// The width of the longest trace name.
    names: usize,
    begun: bool,
    /// Requests a second of the cache's clock.
    rate: u32,
    /// False once the reader of standard output is gone.
    heard: bool,
    csv: Option<(String, File)>,
    check: Option<Reference>,
    compared: u64,
    differing: Vec<String>,
}

impl Output {
    fn new(args: &Args, names: usize, check: Option<Reference>) -> Result<Self, String> {
        let csv = match &args.csv {
            None => None,
            Some(path) => {
                let shown = path.display().to_string();
                let mut file = File::create(path)
                    .map_err(|error| format!("{shown}: cannot be made: {error}"))?;
                writeln!(file, "{}", report::CSV_HEADER)
                    .map_err(|error| format!("{shown}: cannot be written: {error}"))?;
                Some((shown, file))
            }
        };
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent}%, {eta} left") {
            bar.set_style(style);
        }
        let names = names.max("trace".len());
        Ok(Self {
            bar,
            names,
            begun: false,
            rate: args.rate,
            heard: true,
            csv,
            check,
            compared: 0,
            differing: Vec::new(),
        })
    }

    fn cell(&mut self, cell: &Cell, check: Check) -> Result<(), String> {
        if !self.begun {
            self.begun = true;
            self.say(&report::clock(self.rate))?;
            self.say(&report::header(self.names))?;
        }
        self.say(&report::row(self.names, cell))?;
        if let Some((shown, file)) = &mut self.csv {
            writeln!(file, "{}", report::csv_row(cell))
                .map_err(|error| format!("{shown}: cannot be written: {error}"))?;
        }
        let found = self.check.as_ref().and_then(|reference| reference.differences(cell, check));
        if let Some(differences) = found {
            self.compared += 1;
            self.differing.extend(Some(differences).filter(|text| !text.is_empty()));
        }
        Ok(())
    }

    /// A line to standard output, around the progress bar. A closed pipe is no error.
    fn say(&mut self, line: &str) -> Result<(), String> {
        if !self.heard {
            return Ok(());
        }
        match self.bar.suspend(|| writeln!(io::stdout(), "{line}")) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.heard = false,
            other => {
                other.map_err(|error| format!("standard output cannot be written: {error}"))?;
            }
        }
        Ok(())
    }

    /// Nobody would notice if the run stopped here.
    const fn is_unheard(&self) -> bool {
        !self.heard && self.csv.is_none() && self.check.is_none()
    }

    fn finish(mut self) -> Result<ExitCode, String> {
        self.bar.finish_and_clear();
        if self.check.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
        for line in std::mem::take(&mut self.differing) {
            self.say(&format!("DIFFERS: {line}"))?;
            self.differing.push(line);
        }
        self.say(&format!(
            "check: {} cells compared, {} differ",
            self.compared,
            self.differing.len()
        ))?;
        let good = self.compared > 0 && self.differing.is_empty();
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}
