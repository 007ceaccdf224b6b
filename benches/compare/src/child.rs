//! The measuring side: a process with one peer and one row.
//!
//! It prepares the peer, says `ready`, and then answers each line from its standard input with one line of
//! `name=number` pairs. A process each, because peers leave things behind: threads, garbage awaiting an epoch, a
//! fragmented heap. The cache stays alive from round to round.

use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::keys;
use crate::loops::{self, Latencies, Stream, Tally};
use crate::once;
use crate::peer::{Bound, Peer, Reader, Way};
use crate::work::{Kind, Row};

/// What the parent asks for.
pub struct Job {
    pub row: &'static Row,
    pub threads: usize,
    pub round: Duration,
    pub quick: bool,
}

/// `name=number` pairs, in order.
pub type Answer = Vec<(String, f64)>;

/// Serves a row of any kind.
pub fn serve<P: Peer + Send>(job: &Job) -> Result<(), String> {
    match job.row.kind {
        Kind::Memory => talk(|_| once::memory::<P>(job)),
        Kind::Expire => talk(|_| once::expire::<P>(job, stream(job, 0))),
        Kind::Grow => talk(|_| once::grow::<P>(job)),
        Kind::Cost => serve_cost::<P>(job, |peer, key, value| peer.put(key, value)),
        _ if job.row.reads() => serve_reads::<P>(job),
        _ => serve_writes::<P>(job),
    }
}

/// Serves a row to a map that never evicts.
pub fn serve_bound<B: Bound + Send>(job: &Job) -> Result<(), String> {
    match job.row.kind {
        Kind::Cost => serve_cost::<B>(job, B::insert),
        _ if job.row.reads() => serve_reads::<B>(job),
        _ => Err(format!("{} never evicts: it has no place in {}", B::NAME, job.row.name)),
    }
}

fn serve_cost<R: Reader + Send>(
    job: &Job,
    put: impl Fn(&mut R, u64, u64) + Sync,
) -> Result<(), String> {
    let mut stores = once::sized::<R>(job);
    talk(|_| once::cost(job, &mut stores, &put))
}

fn serve_reads<R: Reader>(job: &Job) -> Result<(), String> {
    let resident = keys::shuffled(job.row.entries(job.quick));
    let peer = R::filled(job.row.capacity(job.quick), &resident);
    let mut streams: Vec<_> = (0..job.threads).map(|thread| stream(job, thread)).collect();
    talk(|command| match command {
        Command::Round => {
            let mut round = |way| {
                loops::parallel(&mut streams, |_, stream| {
                    loops::read(&peer, way, stream, job.round)
                })
            };
            let mut answer = throughput(&round(job.row.way()));
            if job.row.way() != Way::Get {
                answer.push(("single".to_owned(), loops::rate(&round(Way::Get)).0));
            }
            answer
        }
        Command::Peak => {
            let probe = || resident.iter().filter(|&&key| peer.get(key).is_some()).count() as u64;
            vec![("resident".to_owned(), peer.resident().unwrap_or_else(probe) as f64)]
        }
    })
}

fn throughput(tallies: &[Tally]) -> Answer {
    let (rate, hits) = loops::rate(tallies);
    vec![("rate".to_owned(), rate), ("hits".to_owned(), hits)]
}

/// The keys of one thread.
fn stream(job: &Job, thread: usize) -> Stream {
    let scale = if job.quick { 16 } else { 1 };
    let (space, seed) = (job.row.key_space(job.quick), 100 + thread as u64);
    Stream::new(match job.row.kind {
        Kind::ReadHot => vec![keys::key(space / 2); loops::BATCH],
        Kind::ReadUniform | Kind::Read(Way::Many) => keys::uniform(space, (8 << 20) / scale, seed),
        Kind::ReadZipf | Kind::Read(_) => keys::zipf(space, (1 << 20) / scale, seed),
        _ => keys::zipf(space, (4 << 20) / scale, seed),
    })
}

/// What one thread of a writing row keeps between rounds.
struct Writer {
    stream: Stream,
    /// The first rank that `insert` has not used. Far from the ranks of the other threads.
    next: u64,
}

/// Where the ranks of a thread begin.
const fn first_rank(thread: usize) -> u64 {
    (thread as u64 + 1) << 40
}

fn serve_writes<P: Peer>(job: &Job) -> Result<(), String> {
    let peer = P::build(job.row.capacity(job.quick));
    let writer = |thread| Writer { stream: stream(job, thread), next: first_rank(thread) };
    let mut writers: Vec<_> = (0..job.threads).map(writer).collect();
    warm_up(job, &peer, &mut writers);
    talk(|command| match command {
        Command::Round if job.row.kind == Kind::Latency => latency(job, &peer, &mut writers),
        Command::Round => {
            let (time, nothing) = (job.round, || ());
            let round = |_, writer: &mut _| write(job, &peer, writer, time, nothing);
            throughput(&loops::parallel(&mut writers, round))
        }
        Command::Peak => vec![("resident".to_owned(), peak(job, &peer, &mut writers) as f64)],
    })
}

/// How much of the row's own work comes before the first round, in operations an entry of capacity: a quarter of them
/// inserts, it takes that many for a full cache and a steady hit ratio.
const WARM_UP: u64 = 16;

/// The same, in time: enough for all but the slowest writers.
const WARM_UP_TIME: Duration = Duration::from_secs(4);

/// Does the row's work until the cache is as it will stay.
fn warm_up<P: Peer>(job: &Job, peer: &P, writers: &mut [Writer]) {
    let start = Instant::now();
    let mut operations = 0;
    while operations < WARM_UP * job.row.entries(job.quick) && start.elapsed() < WARM_UP_TIME {
        let slice = Duration::from_millis(20);
        let work = |_, writer: &mut _| write(job, peer, writer, slice, || ()).operations;
        operations += loops::parallel(writers, work).iter().sum::<u64>();
    }
}

/// One thread's share of a round.
fn write<P: Peer>(
    job: &Job,
    peer: &P,
    writer: &mut Writer,
    time: Duration,
    each_batch: impl FnMut(),
) -> Tally {
    match job.row.kind {
        Kind::Insert => loops::insert(peer, &mut writer.next, time, each_batch),
        Kind::Load => loops::load(peer, &mut writer.stream, time, each_batch),
        _ => loops::churn(peer, &mut writer.stream, time, each_batch),
    }
}

/// The greatest number of entries seen while the row's own work runs for another round, which is not timed: counting
/// takes long in some peers.
fn peak<P: Peer>(job: &Job, peer: &P, writers: &mut [Writer]) -> u64 {
    let peak = AtomicU64::new(peer.resident().unwrap_or(0));
    loops::parallel(writers, |thread, writer| {
        let mut batch = 0_u32;
        write(job, peer, writer, job.round, || {
            batch += 1;
            if thread == 0 && batch.is_multiple_of(4) {
                peak.fetch_max(peer.resident().unwrap_or(0), Ordering::Relaxed);
            }
        })
    });
    let probe = || probe(job, peer, writers);
    peak.into_inner().max(peer.resident().unwrap_or_else(probe))
}

/// Counts the entries of a peer that does not: asks for every key there ever was.
fn probe<P: Peer>(job: &Job, peer: &P, writers: &[Writer]) -> u64 {
    let held = |rank: &u64| peer.get(keys::key(*rank)).is_some();
    let drawn = (0..job.row.key_space(job.quick)).filter(held).count();
    let inserted: usize = writers
        .iter()
        .enumerate()
        .map(|(thread, writer)| (first_rank(thread)..writer.next).filter(held).count())
        .sum();
    (drawn + inserted) as u64
}

fn latency<P: Peer>(job: &Job, peer: &P, writers: &mut [Writer]) -> Answer {
    let time = job.round;
    let round = |_, writer: &mut Writer| loops::latency(peer, &mut writer.stream, time, u64::MAX);
    let mut all = Latencies::new();
    let mut tallies = Vec::new();
    for (tally, latencies) in loops::parallel(writers, round) {
        all.add(&latencies);
        tallies.push(tally);
    }
    let mut answer = throughput(&tallies);
    answer.extend(quantiles(&all));
    answer
}

/// The quantiles that the tables show, of every operation that was timed.
pub fn quantiles(latencies: &Latencies) -> Answer {
    let mut answer = Answer::new();
    for (operation, histogram) in [("get", &latencies.get), ("put", &latencies.put)] {
        if histogram.is_empty() {
            continue;
        }
        let quantiles =
            [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)];
        for (name, quantile) in quantiles {
            let value = histogram.value_at_quantile(quantile) as f64;
            answer.push((format!("{operation}_{name}"), value));
        }
    }
    answer
}

enum Command {
    Round,
    Peak,
}

/// Answers the parent until it closes the line.
fn talk(mut answer: impl FnMut(Command) -> Answer) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    let mut say = |line: &str| {
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| error.to_string())
    };
    say("ready")?;
    for line in std::io::stdin().lock().lines() {
        let command = match line.map_err(|error| error.to_string())?.as_str() {
            "round" => Command::Round,
            "peak" => Command::Peak,
            other => return Err(format!("unknown command {other}")),
        };
        let pairs: Vec<_> =
            answer(command).iter().map(|(name, number)| format!("{name}={number}")).collect();
        say(&pairs.join(" "))?;
    }
    Ok(())
}

/// What one reading of the clock adds to every latency, in nanoseconds: the median of many.
pub fn clock_cost() -> u64 {
    let mut costs: Vec<u64> = (0..10_001)
        .map(|_| {
            let start = Instant::now();
            u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
        })
        .collect();
    costs.sort_unstable();
    costs[costs.len() / 2]
}
