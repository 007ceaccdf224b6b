//! Rows that need more than one cache kept from round to round: memory, cost by size, expiration, growth.

use std::time::Duration;

use crate::alloc;
use crate::child::{Answer, Job, quantiles};
use crate::keys;
use crate::loops::{self, Latencies, Stream};
use crate::peer::{Peer, Reader, Way};
use crate::work::SIZES;

/// How many new keys the memory row puts into a full cache, in capacities; and the same for a peer that evicts on
/// a thread of its own, in entries: stretto needs about half a millisecond for each.
const MEMORY_CHURN: u64 = 10;
const MEMORY_CHURN_BACKGROUND: u64 = 2_000;

/// Into how many parts the empty caches of the memory row are divided.
const DIVIDED: [usize; 3] = [1, 8, 64];

pub fn memory<P: Peer>(job: &Job) -> Answer {
    let capacity = job.row.capacity(job.quick);
    // The first cache of a process also makes what all caches share.
    drop(P::build(64));
    alloc::start();
    let peer = P::build(capacity);
    let empty = alloc::live();
    let last = if P::BACKGROUND {
        capacity + MEMORY_CHURN_BACKGROUND
    } else {
        capacity * (MEMORY_CHURN + 1)
    };
    for rank in 0..last {
        peer.put(keys::key(rank), rank);
        if rank % capacity == 0 {
            peer.settle();
        }
    }
    peer.settle();
    let live = alloc::live();
    let held = || (0..last).filter(|&rank| peer.get(keys::key(rank)).is_some()).count() as u64;
    let resident = peer.resident().unwrap_or_else(held);
    // Not dropped: some peers take seconds for it.
    std::mem::forget(peer);
    let mut answer = vec![
        ("bytes".to_owned(), live as f64 / resident as f64),
        ("empty".to_owned(), empty as f64),
        ("resident".to_owned(), resident as f64),
    ];
    for parts in DIVIDED {
        let before = alloc::live();
        if let Some(divided) = P::build_divided(capacity, parts) {
            answer.push((format!("empty_{parts}"), (alloc::live() - before) as f64));
            drop(divided);
        }
    }
    answer
}

/// A store at one of `SIZES`, and the keys to ask it for.
pub struct Sized<R> {
    size: u64,
    store: R,
    stream: Stream,
}

/// Every size, full.
pub fn sized<R: Reader>(job: &Job) -> Vec<Sized<R>> {
    let scale = if job.quick { 16 } else { 1 };
    let make = |size: u64| {
        let entries = size / scale;
        let store = R::filled(entries + entries / 4, &keys::shuffled(entries));
        let length = usize::try_from(entries).unwrap_or(usize::MAX).max(64 << 10);
        Sized { size, store, stream: Stream::new(keys::uniform(entries, length, 7)) }
    };
    SIZES.into_iter().map(make).collect()
}

/// Nanoseconds of a get and of an update at every size. The sizes take turns inside the round.
pub fn cost<R: Reader + Send>(
    job: &Job,
    stores: &mut [Sized<R>],
    put: impl Fn(&mut R, u64, u64) + Sync,
) -> Answer {
    let time = job.round / 4;
    let mut answer = Answer::new();
    for Sized { size, store, stream } in stores {
        let both = loops::parallel(&mut [(store, stream)], |_, (store, stream)| {
            [
                loops::read(&**store, Way::Get, stream, time),
                loops::update(&mut **store, &put, stream, time),
            ]
        });
        for (name, tally) in ["get", "put"].into_iter().zip(both.into_iter().flatten()) {
            let (rate, _) = loops::rate(&[tally]);
            answer.push((format!("{name}_{size}"), 1e3 / rate));
        }
    }
    answer
}

/// How long an entry lives in the row `expire`: longer than any peer needs to put them all.
const fn lifetime(quick: bool) -> Duration {
    Duration::from_millis(if quick { 250 } else { 2_000 })
}

/// How many operations meet the expired entries: a quarter as many, the same for every peer, or those of `PATIENCE`.
const EXPIRE_SHARE: u64 = 4;
const PATIENCE: Duration = Duration::from_secs(20);

/// Fills a cache, lets everything expire unobserved, then does the mix of `churn` over the same keys.
pub fn expire<P: Peer>(job: &Job, stream: Stream) -> Answer {
    let (entries, ttl) = (job.row.entries(job.quick), lifetime(job.quick));
    let Some(peer) = P::build_expiring(job.row.capacity(job.quick), ttl) else {
        return Answer::new();
    };
    (0..entries).for_each(|rank| peer.put(keys::key(rank), rank));
    let resident = peer.resident();
    std::thread::sleep(ttl + Duration::from_millis(20));
    let batches = entries / EXPIRE_SHARE / loops::BATCH as u64;
    let work =
        |_: usize, stream: &mut Stream| loops::latency(&peer, stream, PATIENCE, batches.max(1));
    let (tally, latencies) = loops::parallel(&mut [stream], work).remove(0);
    let answer = results(&latencies, loops::rate(&[tally]), resident.unwrap_or(entries));
    // Not dropped: the process ends with the round.
    std::mem::forget(peer);
    answer
}

/// How long a peer may take to grow; what it has by then is what is reported.
const GROWTH_TIME: Duration = Duration::from_secs(60);

/// Inserts into a cache that was empty, until it holds the entries of the row.
pub fn grow<P: Peer>(job: &Job) -> Answer {
    let peer = P::build(job.row.capacity(job.quick));
    let work = |_: usize, (): &mut ()| loops::grow(&peer, job.row.entries(job.quick), GROWTH_TIME);
    let (tally, latencies) = loops::parallel(&mut [()], work).remove(0);
    let resident = peer.resident().unwrap_or(tally.operations);
    std::mem::forget(peer);
    results(&latencies, loops::rate(&[tally]), resident)
}

fn results(latencies: &Latencies, (rate, hits): (f64, f64), resident: u64) -> Answer {
    let mut answer = quantiles(latencies);
    answer.push(("rate".to_owned(), rate));
    answer.push(("hits".to_owned(), hits));
    answer.push(("resident".to_owned(), resident as f64));
    answer
}
