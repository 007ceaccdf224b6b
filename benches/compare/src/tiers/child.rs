//! One of the processes: workers that read and write, when the parent says so.

use std::io::{BufRead, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Zipf};
use tokio::runtime::{Builder, Handle};

use super::Args;
use super::log::{self, Read, Write};
use super::source::{Source, now};
use super::ways::{self, Reader, Setting, Use};

/// Of so many reads one is looked at.
const EVERY: u32 = 16;

/// After so many operations others go first.
const TURN: u32 = 32;

/// Draws that a worker goes through again and again.
const DRAWS: usize = 1 << 18;

pub fn run(args: &Args, told: &[String]) -> Result<(), String> {
    let [number, way, url, folder] = told else { return Err("four words are expected".to_owned()) };
    let number: u32 = number.parse().map_err(|_| "a number is expected")?;
    let folder = Path::new(folder);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let source = Source::open(folder, Duration::from_millis(args.load_ms))?;
    let setting = Setting { url: url.clone(), capacity: args.capacity, source: source.clone() };
    let process = Process { args, number, folder, source, runtime: runtime.handle() };
    ways::make(way, setting, runtime.handle(), process)
}

struct Process<'a> {
    args: &'a Args,
    number: u32,
    folder: &'a Path,
    source: Source,
    runtime: &'a Handle,
}

impl Use for Process<'_> {
    fn with(self, reader: impl Reader) -> Result<(), String> {
        ways::settle(&reader);
        let first = self.number * self.args.workers;
        let mut workers: Vec<_> = (first..first + self.args.workers)
            .map(|number| Worker::new(number, &self, reader.clone()))
            .collect();
        say("ready=1")?;
        for line in std::io::stdin().lock().lines() {
            match line.map_err(|error| error.to_string())?.as_str() {
                "warm" => {
                    workers = self.go(workers, self.args.seconds / 2.0);
                    for worker in &mut workers {
                        worker.forget();
                    }
                    say("warm=1")?;
                }
                "measure" => {
                    let (misses, loads, start) =
                        (reader.misses(), self.source.loads(), Instant::now());
                    workers = self.go(workers, self.args.seconds);
                    let seconds = start.elapsed().as_secs_f64();
                    let reads: u64 = workers.iter().map(|worker| worker.reads).sum();
                    let writes: u64 = workers.iter().map(Worker::measured_writes).sum();
                    let (misses, loads) = (reader.misses() - misses, self.source.loads() - loads);
                    let note = reader.note();
                    say(&format!(
                        "reads={reads} writes={writes} misses={misses} loads={loads} seconds={seconds} | {note}"
                    ))?;
                }
                _ => {
                    self.save(&workers)?;
                    say("log=1")?;
                }
            }
        }
        Ok(())
    }
}

fn say(line: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| error.to_string())
}

impl Process<'_> {
    /// Lets all work for a while.
    fn go<R: Reader>(&self, workers: Vec<Worker<R>>, seconds: f64) -> Vec<Worker<R>> {
        let stop = Arc::new(AtomicBool::new(false));
        let started = workers.into_iter().map(|worker| {
            let work = worker.work(Arc::clone(&stop));
            let (handle, runtime) = (self.runtime.clone(), self.runtime);
            if R::BLOCKS {
                Ok(thread::spawn(move || handle.block_on(work)))
            } else {
                Err(runtime.spawn(work))
            }
        });
        let started: Vec<_> = started.collect();
        thread::sleep(Duration::from_secs_f64(seconds));
        stop.store(true, Relaxed);
        let ended = started.into_iter().map(|work| match work {
            Ok(thread) => thread.join().expect("a worker does not panic"),
            Err(task) => self.runtime.block_on(task).expect("a worker does not panic"),
        });
        ended.collect()
    }

    fn save<R>(&self, workers: &[Worker<R>]) -> Result<(), String> {
        let writes = workers.iter().flat_map(|worker| &worker.written);
        let writes = writes.map(|it| [u64::from(it.rank), it.version, it.time]);
        log::save(&log::writes_of(self.folder, self.number), writes)?;
        let reads = workers.iter().flat_map(|worker| &worker.seen);
        let reads = reads.map(|it| [u64::from(it.rank), it.version, it.began, it.took]);
        log::save(&log::reads_of(self.folder, self.number), reads)
    }
}

struct Worker<R> {
    reader: R,
    source: Source,
    /// Of all workers of all processes, this is the `number`th of `all`.
    number: u32,
    all: u32,
    keys: u32,
    writes: u32,
    ranks: Vec<u32>,
    random: SmallRng,
    reads: u64,
    /// How many writes had been made when the measured time began.
    before: usize,
    written: Vec<Write>,
    seen: Vec<Read>,
}

impl<R: Reader> Worker<R> {
    fn new(number: u32, process: &Process<'_>, reader: R) -> Self {
        let args = process.args;
        let mut random = SmallRng::seed_from_u64(u64::from(number));
        let zipf =
            Zipf::new(f64::from(args.keys), 0.99).expect("a positive count and skew are legal");
        let ranks = (0..DRAWS).map(|_| zipf.sample(&mut random) as u32 - 1).collect();
        Self {
            reader,
            source: process.source.clone(),
            number,
            all: args.processes * args.workers,
            keys: args.keys,
            writes: args.writes,
            ranks,
            random,
            reads: 0,
            before: 0,
            written: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// Only what comes now is measured. Who reads later may still have what was written before.
    fn forget(&mut self) {
        self.reads = 0;
        self.before = self.written.len();
        self.seen.clear();
    }

    fn measured_writes(&self) -> u64 {
        (self.written.len() - self.before) as u64
    }

    async fn work(mut self, stop: Arc<AtomicBool>) -> Self {
        let (mut at, mut done) = (self.random.random_range(0..DRAWS), 0_u32);
        while !stop.load(Relaxed) {
            at = (at + 1) % DRAWS;
            let rank = self.ranks[at];
            if self.random.random_range(0..1_000) < self.writes {
                self.write(rank).await;
            } else {
                self.read(rank).await;
            }
            done = done.wrapping_add(1);
            if done.is_multiple_of(TURN) {
                tokio::task::yield_now().await;
            }
        }
        self
    }

    /// Writes the key next to this one that is this worker's.
    async fn write(&mut self, rank: u32) {
        let own = rank - rank % self.all + self.number;
        let rank = if own < self.keys { own } else { own - self.all };
        let (version, time) = self.source.write(rank);
        self.written.push(Write { rank, version, time });
        self.reader.delete(rank).await;
    }

    async fn read(&mut self, rank: u32) {
        self.reads += 1;
        if !self.random.random_ratio(1, EVERY) {
            std::hint::black_box(self.reader.read(rank).await);
            return;
        }
        let (began, start) = (now(), Instant::now());
        let version = self.reader.read(rank).await;
        let took = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.seen.push(Read { rank, version, began, took });
    }
}
