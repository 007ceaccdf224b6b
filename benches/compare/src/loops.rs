//! The hot loops. Each looks at the clock once in `BATCH` operations and stops when its time is over, whatever the
//! peer: a slow one must not hold up the run.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::keys;
use crate::peer::{Peer, Reader, Way};

/// Operations between two looks at the clock. Every stream is a multiple of it.
pub const BATCH: usize = 1024;

/// What one thread did in one round.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    pub operations: u64,
    pub lookups: u64,
    pub hits: u64,
    pub seconds: f64,
    /// The sum of all values read, so that no read can be left out by the compiler.
    pub sum: u64,
}

/// The keys of one thread, made beforehand and used over and over.
pub struct Stream {
    keys: Vec<u64>,
    batch: usize,
}

impl Stream {
    /// At least one batch of keys.
    pub fn new(mut keys: Vec<u64>) -> Self {
        keys.truncate((keys.len() / BATCH).max(1) * BATCH);
        Self { keys, batch: 0 }
    }

    /// The next batch, and how many times the stream has begun again: a mix that takes every fourth key for an insert
    /// must not take the same ones each time.
    #[inline]
    fn next(&mut self) -> (&[u64], usize) {
        let batches = self.keys.len() / BATCH;
        let (pass, at) = (self.batch / batches, self.batch % batches * BATCH);
        self.batch += 1;
        (&self.keys[at..at + BATCH], pass)
    }
}

/// Runs `worker` at once on a thread for each of `states`, each pinned to a core while there are enough of them.
/// Returns what the workers return. The worker also hears its number.
pub fn parallel<S: Send, T: Send>(
    states: &mut [S],
    worker: impl Fn(usize, &mut S) -> T + Sync,
) -> Vec<T> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let (threads, barrier) = (states.len(), Barrier::new(states.len()));
    std::thread::scope(|scope| {
        let (barrier, worker, cores) = (&barrier, &worker, &cores);
        let spawn = |(index, state)| {
            scope.spawn(move || {
                if threads <= cores.len() {
                    core_affinity::set_for_current(cores[index]);
                }
                barrier.wait();
                worker(index, state)
            })
        };
        let handles: Vec<_> = states.iter_mut().enumerate().map(spawn).collect();
        handles.into_iter().map(|handle| handle.join().expect("a worker panicked")).collect()
    })
}

/// Million operations a second of all threads together, and hits in a hundred look-ups.
pub fn rate(tallies: &[Tally]) -> (f64, f64) {
    let rate: f64 = tallies.iter().map(|tally| tally.operations as f64 / tally.seconds).sum();
    let hits: u64 = tallies.iter().map(|tally| tally.hits).sum();
    let lookups: u64 = tallies.iter().map(|tally| tally.lookups).sum();
    std::hint::black_box(tallies.iter().fold(0, |sum: u64, tally| sum.wrapping_add(tally.sum)));
    (rate / 1e6, 100.0 * hits as f64 / lookups as f64)
}

/// Calls `batch` until `time` is over.
#[inline]
fn timed(time: Duration, tally: &mut Tally, mut batch: impl FnMut(&mut Tally)) {
    let start = Instant::now();
    loop {
        batch(tally);
        tally.operations += BATCH as u64;
        let elapsed = start.elapsed();
        if elapsed >= time {
            tally.seconds = elapsed.as_secs_f64();
            return;
        }
    }
}

pub fn read<R: Reader>(peer: &R, way: Way, stream: &mut Stream, time: Duration) -> Tally {
    let mut tally = Tally::default();
    timed(time, &mut tally, |tally| {
        peer.visit(way, stream.next().0, |value| {
            tally.hits += 1;
            tally.sum = tally.sum.wrapping_add(value);
        });
    });
    tally.lookups = tally.operations;
    tally
}

/// Replaces the values of the keys of `stream`, by `put`.
pub fn update<R>(
    peer: &mut R,
    put: impl Fn(&mut R, u64, u64),
    stream: &mut Stream,
    time: Duration,
) -> Tally {
    let mut tally = Tally::default();
    timed(time, &mut tally, |tally| {
        for &key in stream.next().0 {
            put(peer, key, tally.operations);
        }
    });
    tally
}

/// Three reads, one insert. `each_batch` runs once a batch: the place to take samples from.
pub fn churn<P: Peer>(
    peer: &P,
    stream: &mut Stream,
    time: Duration,
    mut each_batch: impl FnMut(),
) -> Tally {
    let mut tally = Tally::default();
    timed(time, &mut tally, |tally| {
        let (keys, pass) = stream.next();
        for (index, &key) in keys.iter().enumerate() {
            if (index + pass) % 4 == 3 {
                peer.put(key, key);
            } else if let Some(value) = peer.get(key) {
                tally.hits += 1;
                tally.sum = tally.sum.wrapping_add(value);
            }
        }
        each_batch();
    });
    tally.lookups = tally.operations / 4 * 3;
    tally
}

/// Inserts the keys of the ranks from `next` on, and leaves the first unused rank there.
pub fn insert<P: Peer>(
    peer: &P,
    next: &mut u64,
    time: Duration,
    mut each_batch: impl FnMut(),
) -> Tally {
    let mut tally = Tally::default();
    timed(time, &mut tally, |_| {
        for rank in *next..*next + BATCH as u64 {
            peer.put(keys::key(rank), rank);
        }
        *next += BATCH as u64;
        each_batch();
    });
    tally
}

pub fn load<P: Peer>(
    peer: &P,
    stream: &mut Stream,
    time: Duration,
    mut each_batch: impl FnMut(),
) -> Tally {
    let mut tally = Tally::default();
    let misses = std::cell::Cell::new(0);
    timed(time, &mut tally, |tally| {
        for &key in stream.next().0 {
            let value = peer.get_or_load(key, |key| {
                misses.set(misses.get() + 1);
                key
            });
            tally.sum = tally.sum.wrapping_add(value);
        }
        each_batch();
    });
    tally.lookups = tally.operations;
    tally.hits = tally.operations - misses.get();
    tally
}

/// The times of single look-ups and inserts, in nanoseconds.
pub struct Latencies {
    pub get: Histogram<u64>,
    pub put: Histogram<u64>,
}

impl Latencies {
    /// From a nanosecond to ten seconds, three digits.
    pub fn new() -> Self {
        let new = || Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("legal bounds");
        Self { get: new(), put: new() }
    }

    pub fn add(&mut self, other: &Self) {
        self.get.add(&other.get).expect("equal bounds");
        self.put.add(&other.put).expect("equal bounds");
    }
}

/// The mix of `churn`, every operation between two readings of the clock; `batches` of them at most.
pub fn latency<P: Peer>(
    peer: &P,
    stream: &mut Stream,
    time: Duration,
    batches: u64,
) -> (Tally, Latencies) {
    let (mut tally, start) = (Tally::default(), Instant::now());
    let mut latencies = Latencies::new();
    while start.elapsed() < time && tally.operations < batches.saturating_mul(BATCH as u64) {
        let (keys, pass) = stream.next();
        for (index, &key) in keys.iter().enumerate() {
            let start = Instant::now();
            if (index + pass) % 4 == 3 {
                peer.put(key, key);
                latencies.put.saturating_record(nanoseconds(start));
            } else {
                let value = peer.get(key);
                latencies.get.saturating_record(nanoseconds(start));
                tally.hits += u64::from(value.is_some());
                tally.sum = tally.sum.wrapping_add(value.unwrap_or(0));
            }
        }
        tally.operations += BATCH as u64;
    }
    tally.seconds = start.elapsed().as_secs_f64();
    tally.lookups = tally.operations / 4 * 3;
    (tally, latencies)
}

/// Inserts `count` new keys, each between two readings of the clock, for as long as `time` at most.
pub fn grow<P: Peer>(peer: &P, count: u64, time: Duration) -> (Tally, Latencies) {
    let (mut tally, start) = (Tally::default(), Instant::now());
    let mut latencies = Latencies::new();
    while tally.operations < count && start.elapsed() < time {
        for rank in tally.operations..tally.operations + BATCH as u64 {
            let start = Instant::now();
            peer.put(keys::key(rank), rank);
            latencies.put.saturating_record(nanoseconds(start));
        }
        tally.operations += BATCH as u64;
    }
    tally.seconds = start.elapsed().as_secs_f64();
    (tally, latencies)
}

#[inline]
fn nanoseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
}
