//! Replays access traces, or workloads made up, through the cache: hit ratios, throughput, peak weight.
//!
//! ```text
//! cargo run --release --example replay
//! cargo run --release --example replay -- OLTP.u32.zst --policies lru,lfu,fifo --capacity 1000,5%
//! cargo run --release --example replay -- OLTP.u32.zst --policies all --curve 20 --html lab.html
//! cargo run --release --example replay -- OLTP.u32.zst --policies lru,lfu,fifo --check hit-ratios.csv --capacity from-check
//! ```
//!
//! `--help` tells the rest. Reading order: [`run`] is the cache's part, [`opt`] the bound of all caches, [`contender`] who takes
//! part; [`trace`], [`zstd`] and [`workload`] bring the requests; [`pool`] runs cells side by side; [`output`], [`report`] and
//! [`page`] with its [`chart`]s tell the results; [`args`] is the command line.

mod args;
mod chart;
mod contender;
mod opt;
mod output;
mod page;
mod pool;
mod report;
mod run;
mod trace;
mod workload;
mod zstd;

use args::Args;
use clap::Parser;
use output::Output;
use report::Reference;
use run::Setting;
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
        output.reads(&input.name());
        let trace = input.load(args)?;
        if !cells(args, &trace, &mut output)? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    output.finish()
}

/// Replays every cell of a trace, and tells them in order. False once nobody listens.
fn cells(args: &Args, trace: &Trace, output: &mut Output) -> Result<bool, String> {
    let (takes, refuses): (Vec<_>, Vec<_>) =
        args.contenders().into_iter().partition(|contender| contender.takes(trace));
    if !refuses.is_empty() {
        output.complain(&format!(
            "{}: opt takes no part, for items have sizes; --ignore-sizes counts them",
            trace.name
        ));
    }
    let capacities = args.capacities(trace.weight(), || output.known(trace));
    let cells: Vec<_> = capacities
        .iter()
        .flat_map(|capacity| takes.iter().map(|contender| (*capacity, *contender)))
        .collect();
    let bar = output.begin(trace.ids.len() as u64 * cells.len() as u64);
    let setting = Setting {
        segments: args.segments,
        seed: args.seed,
        rate: args.rate,
        ttl: args.ttl.map(Duration::from_secs),
        slices: args.slices(trace)?,
    };
    let work = |at: usize| {
        let (capacity, contender) = cells[at];
        bar.set_message(format!("{} {} {capacity}", trace.name, contender.name()));
        let cell = contender.replay(trace, capacity, setting, |done| bar.inc(done))?;
        Ok((cell, contender.check()))
    };
    let mut heard = true;
    pool::in_order(cells.len(), args.jobs(), work, |(cell, check)| {
        output.cell(cell, check)?;
        heard = !output.is_unheard();
        Ok(heard)
    })?;
    Ok(heard)
}
