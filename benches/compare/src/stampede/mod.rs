//! A stampede: many readers of one key that takes long to load and does not live long. What each strategy makes of it: how often the
//! source is asked, and how long readers wait.
//!
//! ```text
//! cargo run --release -- stampede                     half a minute: a table, and the floors
//! cargo run --release -- stampede --markdown          the table of the README
//! cargo run --release -- stampede --readers 512 --rate 20000 --only cachette,moka
//! ```
//!
//! A reader reads, then pauses; the pause is even between a half and three halves of what makes the rate. It does not make up for what it
//! missed while it waited: readers who wait are those of the moment, not those who would have come.
//!
//! Reading order: [`strategies`] (who takes part), [`source`] (what is loaded, and what its log tells), here (what readers do),
//! [`hits`] (what a hit costs if nothing is to be loaded), [`output`] (how it is told).

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::machine;
use hits::Hit;
use source::Source;
use strategies::{ALL, Strategy};

mod hits;
mod output;
mod source;
mod strategies;
#[cfg(test)]
mod tests;

/// Has many readers ask for one key that expires again and again: loads, and who waits for them
#[derive(clap::Args)]
pub struct Args {
    /// Threads that read
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    readers: u64,
    /// Reads a second, of all readers together
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// The TTL, in milliseconds
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    ttl_ms: u64,
    /// How long a load takes, in milliseconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    load_ms: u64,
    /// Seconds for each strategy
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// Strategies to run: those whose name begins so
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Do not measure what a hit costs
    #[arg(long)]
    no_hits: bool,
    /// Print the tables of the README
    #[arg(long)]
    markdown: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= 3_600.0 => Ok(seconds),
        _ => Err("more than 0, at most 3600".to_owned()),
    }
}

impl Args {
    fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }

    fn load(&self) -> Duration {
        Duration::from_millis(self.load_ms)
    }

    /// Who waits for more than half of a load has waited for one.
    fn patience(&self) -> Duration {
        self.load() / 2
    }

    fn strategies(&self) -> Result<Vec<&'static Strategy>, String> {
        let named = |strategy: &&Strategy| {
            self.only.is_empty() || self.only.iter().any(|name| strategy.name.starts_with(name))
        };
        let some: Vec<_> = ALL.iter().filter(named).collect();
        if some.is_empty() { Err("no strategy is called so".to_owned()) } else { Ok(some) }
    }
}

/// What one strategy did.
struct Outcome {
    strategy: &'static Strategy,
    /// Those that the readers caused.
    loads: usize,
    /// How many values were found to have lived out their time.
    expiries: usize,
    readers: Readers,
    time: Duration,
}

/// What readers saw.
struct Readers {
    waited: u64,
    latencies: Histogram<u64>,
}

impl Readers {
    fn new() -> Self {
        // From a nanosecond to an hour, three digits.
        let latencies = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("legal bounds");
        Self { waited: 0, latencies }
    }

    fn record(&mut self, took: Duration, patience: Duration) {
        self.waited += u64::from(took > patience);
        self.latencies.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    fn add(&mut self, other: &Self) {
        self.waited += other.waited;
        self.latencies.add(&other.latencies).expect("equal bounds");
    }
}

/// Prints what `args` ask for; the error says what is wrong.
pub fn run(args: &Args) -> Result<(), String> {
    let strategies = args.strategies()?;
    let mut outcomes = Vec::new();
    for strategy in strategies {
        eprintln!("{} ...", strategy.name);
        outcomes.push(measure(strategy, args));
    }
    let hits = if args.no_hits { Vec::new() } else { hits::measure(hits::ROUNDS) };
    print!("{}", output::whole(&outcomes, &hits, args, &machine::line()));
    Ok(())
}

/// Lets the readers of one strategy go. The value is there when they come, and the source's log begins with them.
fn measure(strategy: &'static Strategy, args: &Args) -> Outcome {
    let source = Source::new(args.load());
    let read = (strategy.make)(args.ttl(), source.clone());
    read();
    let (barrier, read) = (Barrier::new(args.readers as usize), &*read);
    let (mut readers, start) = (Readers::new(), Instant::now());
    source.begin();
    thread::scope(|scope| {
        let reader = |seed| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                one(read, args, seed)
            })
        };
        let handles: Vec<_> = (0..args.readers).map(reader).collect();
        for handle in handles {
            readers.add(&handle.join().expect("a reader does not panic"));
        }
    });
    let (time, log) = (start.elapsed(), source.log());
    let life = args.ttl().mul_f64(strategy.life.unwrap_or(0.0));
    Outcome { strategy, loads: log.loads(), expiries: log.expiries(life), readers, time }
}

/// One reader, from its start until its time is over.
fn one(read: &(dyn Fn() -> u64 + Sync), args: &Args, seed: u64) -> Readers {
    let (mut random, mut readers) = (SmallRng::seed_from_u64(seed), Readers::new());
    let pause = Duration::from_secs(args.readers).div_f64(args.rate as f64);
    let (start, time) = (Instant::now(), Duration::from_secs_f64(args.seconds));
    // At first a part of a pause, so that they do not come in step.
    thread::sleep(pause.mul_f64(random.random_range(0.0..1.0)));
    while start.elapsed() < time {
        let begun = Instant::now();
        std::hint::black_box(read());
        readers.record(begun.elapsed(), args.patience());
        thread::sleep(pause.mul_f64(random.random_range(0.5..1.5)));
    }
    readers
}
