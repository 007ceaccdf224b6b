//! Two levels: processes that share a Redis, read by Zipf, and write now and then. What each way makes of it: how fast reads are, how
//! stale, and what the Redis is asked for.
//!
//! ```text
//! cargo run --release -- tiers                        a minute and a half; it starts a redis-server of its own
//! cargo run --release -- tiers --markdown             the tables of the README
//! cargo run --release -- tiers --only cachette --seconds 30
//! ```
//!
//! A worker does one thing after the other, without a pause: a read, or, one time of a hundred, a write of the source and then the
//! deletion. After each 32 it lets others go first, as a server does that waits for its sockets: a hit in L1 never suspends, and what
//! hears of changes runs in the same threads. Of each 16 reads one is timed, and its value's version is kept with the time at which
//! the read began. When all is over these are held against the log of the writes: a read is stale if the next version had
//! been written before it began, and by how much says the time between.
//!
//! Reading order: [`source`] (what is read and written), [`ways`] (who takes part), [`child`] (what a process does), [`server`] (the Redis,
//! and what it counts), [`log`] (what the processes saw), [`output`] (how it is told); and [`hits`] by itself.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::machine;
use log::{Seen, Writes};
use server::{Counts, Server};
use source::Source;
use ways::{ALL, Way};

mod child;
pub mod hits;
mod log;
mod output;
mod server;
mod source;
mod ways;

/// Has processes that share a Redis read and write: reads, staleness, and what the Redis is asked for
#[derive(clap::Args)]
pub struct Args {
    /// Processes
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    processes: u32,
    /// Workers of each: tasks on two threads, or threads
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: u32,
    /// Keys
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    keys: u32,
    /// Entries that a process may keep
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(100..))]
    capacity: u32,
    /// How long a load takes, in milliseconds
    #[arg(long, default_value_t = 1)]
    load_ms: u64,
    /// Writes of a thousand operations
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=1_000))]
    writes: u32,
    /// Seconds for each way, after half as many to warm up
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Ways to run: those whose name begins so
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Print the tables of the README
    #[arg(long)]
    markdown: bool,
    /// Be one of the processes, told by the parent: its number, the way, the Redis, the folder
    #[arg(long, hide = true, num_args = 4)]
    child: Option<Vec<String>>,
}

/// What one way did, all processes together.
struct Outcome {
    way: &'static Way,
    totals: Totals,
    redis: Counts,
    seen: Seen,
    /// What the first process says of itself.
    note: String,
}

/// What the processes have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    reads: f64,
    writes: f64,
    misses: f64,
    loads: f64,
    seconds: f64,
}

/// Prints what `args` ask for; the error says what is wrong.
pub fn run(args: &Args) -> Result<(), String> {
    if let Some(told) = &args.child {
        return child::run(args, told);
    }
    let named =
        |way: &&Way| args.only.is_empty() || args.only.iter().any(|it| way.name.starts_with(it));
    let chosen: Vec<_> = ALL.iter().filter(named).collect();
    if chosen.is_empty() {
        return Err("no way is called so".to_owned());
    }
    let folder = Folder::new("tiers")?;
    let server = Server::start(&folder.0)?;
    let mut outcomes = Vec::new();
    for way in chosen {
        eprintln!("{} ...", way.name);
        outcomes.push(measure(way, args, &server, &folder.0)?);
    }
    print!("{}", output::whole(&outcomes, args, &machine::line()));
    Ok(())
}

/// A folder that goes when this does.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("cachette-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn measure(
    way: &'static Way,
    args: &Args,
    server: &Server,
    folder: &Path,
) -> Result<Outcome, String> {
    server.empty()?;
    Source::make(folder, args.keys)?;
    let processes: Result<Vec<_>, _> = (0..args.processes)
        .map(|number| Process::start(number, way, args, server, folder))
        .collect();
    let mut processes = processes?;
    all(&mut processes, None)?;
    all(&mut processes, Some("warm"))?;
    let before = server.counts()?;
    let answers = all(&mut processes, Some("measure"))?;
    let redis = server.counts()? - before;
    all(&mut processes, Some("log"))?;
    let mut totals = Totals::default();
    for (answer, _) in &answers {
        totals.add(answer);
    }
    let mut writes = Writes::default();
    for number in 0..args.processes {
        writes.read(&log::writes_of(folder, number))?;
    }
    let mut seen = Seen::new();
    for number in 0..args.processes {
        seen.read(&log::reads_of(folder, number), &writes)?;
    }
    let note = answers.into_iter().next().map(|(_, note)| note).unwrap_or_default();
    Ok(Outcome { way, totals, redis, seen, note })
}

impl Totals {
    /// Adds `name=number` pairs. The processes run at the same time.
    fn add(&mut self, pairs: &str) {
        for pair in pairs.split(' ') {
            let Some((name, number)) = pair.split_once('=') else { continue };
            let number: f64 = number.parse().unwrap_or(f64::NAN);
            match name {
                "reads" => self.reads += number,
                "writes" => self.writes += number,
                "misses" => self.misses += number,
                "loads" => self.loads += number,
                "seconds" => self.seconds = self.seconds.max(number),
                _ => {}
            }
        }
    }
}

/// Tells all processes something, and waits for the answer of each: its pairs, and its words after them.
fn all(processes: &mut [Process], word: Option<&str>) -> Result<Vec<(String, String)>, String> {
    if let Some(word) = word {
        for process in &mut *processes {
            process.tell(word)?;
        }
    }
    processes.iter_mut().map(Process::hear).collect()
}

/// A running child, which ends with this.
struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Process {
    fn start(
        number: u32,
        way: &Way,
        args: &Args,
        server: &Server,
        folder: &Path,
    ) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command
            .arg("tiers")
            .arg("--child")
            .args([&number.to_string(), way.name, &server.url()])
            .arg(folder);
        for (name, value) in [
            ("--processes", args.processes.to_string()),
            ("--workers", args.workers.to_string()),
            ("--keys", args.keys.to_string()),
            ("--capacity", args.capacity.to_string()),
            ("--load-ms", args.load_ms.to_string()),
            ("--writes", args.writes.to_string()),
            ("--seconds", args.seconds.to_string()),
        ] {
            command.args([name, &value]);
        }
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| format!("{}: {error}", way.name))?;
        let out = child.stdout.take().ok_or("no standard output")?;
        Ok(Self { child, out: BufReader::new(out) })
    }

    fn tell(&mut self, word: &str) -> Result<(), String> {
        let mut line = self.child.stdin.as_ref().ok_or("no standard input")?;
        writeln!(line, "{word}").map_err(|error| format!("a process ended early: {error}"))
    }

    fn hear(&mut self) -> Result<(String, String), String> {
        let mut line = String::new();
        match self.out.read_line(&mut line) {
            Ok(0) => Err("a process ended early".to_owned()),
            Ok(_) => {
                let (pairs, note) = line.trim().split_once(" | ").unwrap_or((line.trim(), ""));
                Ok((pairs.to_owned(), note.to_owned()))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
