//! Random reads and writes by several processes, while the server is stopped, killed and started again: nobody reads what was
//! superseded for longer than the bound.
//!
//! A row's version is raised in the system of record, and its key deleted or written. Once that is [`Delivery::Done`], every older
//! version is superseded. Who begins to read later than the bound after that must not find one.

use crate::follower::Follower;
use crate::redis_server::Server;
use crate::rng::Rng;
use crate::world::{BRIEF, KINDS, Kind, Process, Source, World, millis, remember, until};
use cachette::tier::{Breaker, Delivery, Mode};
use cachette::{Backoff, SystemClock};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const KEYS: u64 = 100;
const PROCESSES: usize = 3;
const THREADS: u64 = 4;

/// What is known of a row.
#[derive(Default)]
struct Row {
    /// One writes at a time, and this is what was written last.
    writing: Mutex<u64>,
    /// Versions, and when all before them were superseded.
    done: Mutex<Vec<(u64, Instant)>>,
}

impl Row {
    /// For how long this version has been superseded.
    fn superseded(&self, version: u64, now: Instant) -> Option<Duration> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = done.partition_point(|&(done, _)| done <= version);
        done.get(newer).map(|&(_, at)| now.saturating_duration_since(at))
    }
}

struct Campaign<'a> {
    rows: Vec<Row>,
    source: Source,
    processes: &'a [Process],
    ended: AtomicBool,
    hits: AtomicU64,
    reads: AtomicU64,
    written: AtomicU64,
    queued: AtomicU64,
}

impl Campaign<'_> {
    fn act(&self, seed: u64) {
        let mut rng = Rng::new(seed);
        while !self.ended.load(Ordering::Relaxed) {
            let process = &self.processes[usize::try_from(rng.below(PROCESSES as u64)).unwrap()];
            // Some keys are read much, some seldom.
            let key = rng.below(KEYS).min(rng.below(KEYS));
            if rng.below(16) == 0 {
                self.write(process, key, &mut rng);
            } else {
                self.read(process, key);
            }
        }
    }

    fn read(&self, process: &Process, key: u64) {
        let began = Instant::now();
        let (found, hit) = match process.local(key) {
            Some(found) => (found, true),
            None => (process.value(key), false),
        };
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.hits.fetch_add(hit.into(), Ordering::Relaxed);
        let row = &self.rows[usize::try_from(key).unwrap()];
        let Some(superseded) = row.superseded(found, began) else { return };
        let bound = process.cache.max_staleness();
        assert!(
            superseded <= bound,
            "version {found} of row {key} was read {superseded:?} after it was superseded (hit: {hit}); \
             {:?} {process:?}",
            row.done.lock().unwrap_or_else(PoisonError::into_inner)
        );
    }

    fn write(&self, process: &Process, key: u64, rng: &mut Rng) {
        let row = &self.rows[usize::try_from(key).unwrap()];
        let mut writing = row.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let version = *writing + 1;
        *writing = version;
        self.source.write(key, version);
        let delivery = match rng.below(8) {
            0..4 => process.cache.delete(&key),
            4 => process.cache.delete_many([key]),
            5 => process.cache.delete_older(&key, version),
            _ => process.cache.put(key, version),
        };
        self.written.fetch_add(1, Ordering::Relaxed);
        match delivery {
            Delivery::Done => row.done.lock().unwrap().push((version, Instant::now())),
            // A load has found the new one already, and a newer one there is none.
            Delivery::Older => {}
            Delivery::Queued(_) => {
                self.queued.fetch_add(1, Ordering::Relaxed);
                // While nothing can be superseded there is little to see.
                drop(writing);
                thread::sleep(millis(2));
            }
        }
    }
}

/// Does things to a server.
fn torment(
    server: &mut Server,
    mut follower: Option<&mut Follower>,
    rng: &mut Rng,
    time: Duration,
) {
    let start = Instant::now();
    // A real server goes by a real clock: what matters is what happens to it meanwhile, and no assertion hangs on how long that was.
    let rest = |rng: &mut Rng, most: u64| thread::sleep(millis(rng.below(most)));
    while start.elapsed() < time {
        rest(rng, 500);
        if let Some(follower) = follower.as_deref_mut().filter(|_| rng.below(3) > 0) {
            torment_follower(follower, rng);
            continue;
        }
        match rng.below(8) {
            0 | 1 => {
                server.stop();
                rest(rng, 900);
                server.cont();
            }
            2 | 3 => {
                server.kill();
                rest(rng, 500);
                server.restart();
            }
            4 => {
                server.run("FLUSHALL");
            }
            5 => {
                server.run("CLIENT KILL TYPE normal");
            }
            6 => {
                server.run("CLIENT KILL TYPE pubsub");
            }
            _ => {
                server.run("SCRIPT FLUSH");
            }
        }
    }
}

/// Does things to a replica.
fn torment_follower(follower: &mut Follower, rng: &mut Rng) {
    // As above: a real server goes by a real clock, and no assertion hangs on how long that was.
    let rest = |rng: &mut Rng, most: u64| thread::sleep(millis(rng.below(most)));
    match rng.below(8) {
        0..3 => {
            follower.hold();
            rest(rng, 900);
            follower.release();
        }
        3 | 4 => {
            follower.server.stop();
            rest(rng, 500);
            follower.server.cont();
        }
        5 => {
            follower.server.kill();
            rest(rng, 300);
            follower.server.restart();
        }
        6 => {
            follower.promote();
            rest(rng, 500);
            follower.follow();
        }
        _ => {
            follower.server.run("CLIENT KILL TYPE master");
        }
    }
}

/// How long each campaign lasts.
fn time() -> Duration {
    let seconds = std::env::var("CACHETTE_CAMPAIGN_SECONDS");
    seconds.map_or(millis(2_000), |seconds| Duration::from_secs(seconds.parse().unwrap()))
}

/// How much a replica may lag.
const LAG: Duration = millis(250);

fn campaign(kind: Kind, mode: Mode, seed: u64, replicated: bool) {
    // What is killed may have written to its disk what it has said, or not: here it has.
    let durable: &[&str] =
        if seed % 2 == 0 { &[] } else { &["--appendonly", "yes", "--appendfsync", "always"] };
    // A replica that has lost its primary is not made to wait for others.
    let settings = [durable, &["--repl-diskless-sync-delay", "0"]].concat();
    let Some(server) = Server::start(&settings) else { return };
    if mode == Mode::Tracking && !server.tracks() {
        return;
    }
    remember(&server);
    let mut follower = None;
    if replicated {
        follower = Follower::start(&server);
    }
    let mut world = World::new(server, kind, mode);
    (world.bound, world.patience) = (BRIEF, millis(250));
    world.replicas = follower.iter().map(|follower| follower.server.url()).collect();
    let wait = Backoff { first: millis(50), most: millis(200) };
    let processes: Vec<Process> = (0..PROCESSES)
        .map(|_| {
            world.process_in_the_dark(SystemClock::new(), |builder| {
                let lag = follower.as_ref().map(|_| LAG);
                let builder = match lag {
                    Some(lag) => builder.replica_lag(lag),
                    None => builder,
                };
                builder
                    .breaker(Breaker { after: 3, wait })
                    .lease(millis(300))
                    .lock_wait(millis(300))
                    .versions(|_, &version| version)
            })
        })
        .collect();
    processes.iter().for_each(|process| process.until_up(mode));
    world.source.set_lag(millis(20));
    let campaign = Campaign {
        rows: (0..KEYS).map(|_| Row::default()).collect(),
        source: world.source.clone(),
        processes: &processes,
        ended: AtomicBool::new(false),
        hits: AtomicU64::new(0),
        reads: AtomicU64::new(0),
        written: AtomicU64::new(0),
        queued: AtomicU64::new(0),
    };
    thread::scope(|scope| {
        let actors: Vec<_> = (0..THREADS)
            .map(|at| {
                scope.spawn({
                    let campaign = &campaign;
                    move || campaign.act(seed * THREADS + at)
                })
            })
            .collect();
        torment(&mut world.server, follower.as_mut(), &mut Rng::new(seed), time());
        campaign.ended.store(true, Ordering::Relaxed);
        for actor in actors {
            assert!(actor.join().is_ok(), "{kind:?}, {mode}, seed {seed}");
        }
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{kind:?}, {mode}, seed {seed}: {} reads, {} of them hits, {} writes, {} of them late",
        count(&campaign.reads),
        count(&campaign.hits),
        count(&campaign.written),
        count(&campaign.queued)
    );
    assert!(count(&campaign.hits) > 100 && count(&campaign.written) > 10);
    let replica_hits = processes.iter().map(|process| process.cache.stats().replica_hits);
    println!("{} of the reads were a replica's", replica_hits.sum::<u64>());
    settle(&campaign, mode);
}

/// All is well again in the end, by itself.
fn settle(campaign: &Campaign<'_>, mode: Mode) {
    for process in campaign.processes {
        until("the line is there", || process.cache.mode() == Some(mode));
        until("what was owed is delivered", || process.cache.undelivered() == 0);
    }
    for (key, row) in (0..).zip(&campaign.rows) {
        let last = *row.writing.lock().unwrap();
        for process in campaign.processes {
            until("the last version is found", || process.value(key) == last);
        }
    }
}

fn campaigns(mode: Mode, seed: u64) {
    for (seed, kind) in (seed..).zip(KINDS).filter(|(_, kind)| kind.offers(mode)) {
        campaign(kind, mode, seed, false);
    }
}

#[test]
fn tracking_holds_the_bound() {
    campaigns(Mode::Tracking, 1);
}

#[test]
fn tracking_of_what_was_read_holds_the_bound() {
    campaigns(Mode::OptIn, 4);
}

#[test]
fn messages_hold_the_bound() {
    campaigns(Mode::Messages, 2);
}

#[test]
fn times_to_live_hold_the_bound() {
    campaigns(Mode::TtlOnly, 3);
}

#[test]
fn replicas_hold_the_bound() {
    for (seed, mode) in [(6, Mode::Tracking), (7, Mode::Messages), (8, Mode::TtlOnly)] {
        campaign(KINDS[(seed % 2) as usize], mode, seed, true);
    }
}
