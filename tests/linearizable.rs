//! R1 on long histories: a few keys are read in every way, and each read must fit in one order with the writes, while the
//! index grows, shrinks and compacts under them.
//!
//! Each hot key has one writer, so that its versions have one order; a deletion is a version too, which reads as nothing. Then a
//! read fits if and only if its version had begun to be written before the read ended, was not overtaken by one that had been
//! written before the read began, and no read that had ended before saw a later one.

mod support;

use cachette::policy::{Lru, Sieve};
use cachette::{Cache, Cause, Compute};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use support::{Log, Rng};

const HOT: u64 = 6;

/// What is read must be of the key that was asked for.
type Value = (u64, u64);

/// A clock that ticks at every look.
struct Time(AtomicU64);

impl Time {
    fn now(&self) -> u64 {
        self.0.fetch_add(1, SeqCst)
    }
}

/// Version `n` is the `n`-th of its key.
#[derive(Clone, Copy, Debug)]
struct Write {
    began: u64,
    ended: u64,
    deletes: bool,
}

#[derive(Clone, Copy, Debug)]
struct Read {
    began: u64,
    ended: u64,
    /// The version; none if there was nothing.
    saw: Option<u64>,
}

/// One key's history.
#[derive(Clone, Default)]
struct History {
    writes: Vec<Write>,
    reads: Vec<Read>,
}

impl History {
    /// Checks every read.
    fn check(&self) -> Result<(), String> {
        let mut by_begin = self.reads.clone();
        by_begin.sort_by_key(|read| read.began);
        // When reads ended, and the least version that each can have seen.
        let mut open = BinaryHeap::new();
        let mut floor = 0;
        for read in by_begin {
            while let Some(&Reverse((ended, version))) = open.peek() {
                if ended > read.began {
                    break;
                }
                open.pop();
                floor = floor.max(version);
            }
            let version = self.least_version(&read, floor)?;
            open.push(Reverse((read.ended, version)));
        }
        Ok(())
    }

    /// The least version, not before `floor`, that fits a read.
    fn least_version(&self, read: &Read, floor: u64) -> Result<u64, String> {
        // 0 is before the first write.
        let written = self.writes.partition_point(|write| write.ended < read.began) as u64;
        let begun = self.writes.partition_point(|write| write.began < read.ended) as u64;
        let (from, to) = (written.max(floor), begun);
        let found = match read.saw {
            Some(version) => (from..=to).contains(&version).then_some(version),
            None => (from..=to).find(|&version| self.deletes(version)),
        };
        found.ok_or_else(|| {
            format!("{read:?}: {written} was written before, {begun} begun, {floor} seen")
        })
    }

    fn deletes(&self, version: u64) -> bool {
        version == 0 || self.writes[version as usize - 1].deletes
    }
}

/// One hash, so that all keys are in one chain, and move within it.
#[derive(Clone)]
struct Constant;

struct OneHash;

impl BuildHasher for Constant {
    type Hasher = OneHash;

    fn build_hasher(&self) -> OneHash {
        OneHash
    }
}

impl Hasher for OneHash {
    fn write(&mut self, _: &[u8]) {}

    fn finish(&self) -> u64 {
        7
    }
}

/// How much is done in a round.
#[derive(Clone, Copy)]
struct Plan {
    writers: u64,
    writes: u64,
    reads: u64,
    /// Keys that come and go beside the hot ones, so that tables grow and shrink.
    cold: u64,
    seed: u64,
}

const READERS: u64 = 3;

struct World<S> {
    cache: Cache<u64, Value, S>,
    time: Time,
    start: Barrier,
    /// Threads that have not done all that they are to do.
    busy: AtomicUsize,
    plan: Plan,
}

/// Counts a thread out, also after a panic.
struct OneLess<'a>(&'a AtomicUsize);

impl Drop for OneLess<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl<S: BuildHasher + Sync + Send> World<S> {
    /// Waits for the others; what it returns counts this one out.
    fn begin(&self) -> OneLess<'_> {
        let done = OneLess(&self.busy);
        self.start.wait();
        done
    }

    /// Writes the keys that are this writer's own.
    fn write(&self, writer: u64) -> Vec<History> {
        let Plan { writers, writes, seed, .. } = self.plan;
        let mut histories = vec![History::default(); HOT as usize];
        let mut rng = Rng::new(seed << 8 | writer);
        let _done = self.begin();
        for _ in 0..writes {
            let key = rng.below(HOT / writers) * writers + writer;
            let version = histories[key as usize].writes.len() as u64 + 1;
            let began = self.time.now();
            let (deletes, all) = self.write_once(key, version, writers == 1, &mut rng);
            let write = Write { began, ended: self.time.now(), deletes };
            let keys = if all { 0..HOT } else { key..key + 1 };
            keys.for_each(|key| histories[key as usize].writes.push(write));
        }
        histories
    }

    /// Gives a key a new version, or none; says which, and if it did so to all keys.
    fn write_once(&self, key: u64, version: u64, alone: bool, rng: &mut Rng) -> (bool, bool) {
        let (cache, value) = (&self.cache, (key, version));
        let way = rng.below(100);
        match way {
            0..60 => cache.put(key, value),
            60..65 => drop(cache.get_and_put(key, value)),
            65..70 => drop(cache.compute(key, |_| Compute::Replace(value)).unwrap()),
            70..75 => cache.try_put(key, value).unwrap(),
            75..85 => {
                cache.delete(&key);
            }
            85..93 => drop(cache.take(&key)),
            93..98 => drop(cache.compute(key, |_| Compute::Delete).unwrap()),
            98 => cache.retain(|&other, _| other != key),
            _ if alone => cache.clear(),
            _ => drop(cache.take(&key)),
        }
        (way >= 75, way == 99 && alone)
    }

    /// Reads all keys in all ways.
    fn read(&self, reader: u64) -> Vec<History> {
        let mut histories = vec![History::default(); HOT as usize];
        let mut rng = Rng::new((self.plan.seed << 8) | (100 + reader));
        let _done = self.begin();
        let mut done = 0;
        while done < self.plan.reads {
            let pinned = self.cache.pin();
            for _ in 0..20 {
                let key = rng.below(HOT);
                let way = rng.below(6);
                let keys: Vec<u64> = if way == 0 { (0..HOT).collect() } else { vec![key] };
                let began = self.time.now();
                let values = match way {
                    0 if key % 2 == 0 => self.cache.get_many(&keys),
                    0 => pinned.get_many(&keys).into_iter().map(Option::<&Value>::copied).collect(),
                    1 => vec![self.cache.peek(&key)],
                    2 => vec![pinned.get(&key).copied()],
                    3 => vec![self.cache.get_with(&key, |&value| value)],
                    _ => vec![self.cache.get(&key)],
                };
                let ended = self.time.now();
                for (key, value) in keys.into_iter().zip(values) {
                    assert!(value.is_none_or(|(of, _)| of == key), "{value:?} is not of {key}");
                    let saw = value.map(|(_, version)| version);
                    histories[key as usize].reads.push(Read { began, ended, saw });
                }
                done += 1;
            }
        }
        histories
    }

    /// Lets the index grow and shrink until all others are done.
    fn churn(&self) -> Vec<History> {
        let mut rng = Rng::new(self.plan.seed << 8 | 200);
        let cold = HOT..HOT + self.plan.cold;
        self.start.wait();
        while self.busy.load(SeqCst) != 0 {
            cold.clone().for_each(|key| self.cache.put(key, (key, 0)));
            for key in cold.clone() {
                if rng.below(8) != 0 {
                    self.cache.delete(&key);
                }
            }
        }
        Vec::new()
    }
}

/// Runs a plan on a cache in which everything fits, and checks every key's history.
fn check<S: BuildHasher + Sync + Send>(cache: Cache<u64, Value, S>, plan: Plan) {
    let threads = plan.writers + READERS;
    let world = World {
        cache,
        time: Time(AtomicU64::new(1)),
        start: Barrier::new(threads as usize + 1),
        busy: AtomicUsize::new(threads as usize),
        plan,
    };
    let world = &world;
    let parts: Vec<Vec<History>> = thread::scope(|scope| {
        let mut threads: Vec<_> =
            (0..plan.writers).map(|writer| scope.spawn(move || world.write(writer))).collect();
        threads.extend((0..READERS).map(|reader| scope.spawn(move || world.read(reader))));
        threads.push(scope.spawn(move || world.churn()));
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for key in 0..HOT as usize {
        let mut whole = History::default();
        for part in parts.iter().filter_map(|part| part.get(key)) {
            whole.writes.extend(&part.writes);
            whole.reads.extend(&part.reads);
        }
        if let Err(why) = whole.check() {
            panic!("seed {}, key {key}: {why}", plan.seed);
        }
    }
}

fn rounds() -> std::ops::Range<u64> {
    0..std::env::var("CACHETTE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(4)
}

const PLAN: Plan = Plan { writers: 1, writes: 4_000, reads: 12_000, cold: 2_000, seed: 0 };

#[test]
fn r1_reads_fit_while_the_index_grows_and_shrinks() {
    for seed in rounds() {
        for (segments, writers) in [(1, 1), (4, 2)] {
            let cache = Cache::builder().capacity(100_000).segments(segments).policy(Sieve::new);
            check(cache.build().unwrap(), Plan { writers, seed, ..PLAN });
        }
    }
}

#[test]
fn r1_reads_fit_where_every_hit_is_heard() {
    for seed in rounds() {
        let log = Log::new();
        let cache = Cache::builder().capacity(100_000).segments(1).policy(Lru::new);
        let cache = cache.removal_listener(log.listener()).build().unwrap();
        check(cache, Plan { writers: 3, seed, ..PLAN });
        assert!(log.take().iter().all(|&(_, _, cause)| cause != Cause::Evicted));
    }
}

#[test]
fn r1_reads_fit_while_keys_move_within_their_chain() {
    for seed in rounds() {
        for writers in [1, 3] {
            let cache = Cache::builder().capacity(100_000).segments(1).policy(Sieve::new);
            let cache = cache.hasher(Constant).build().unwrap();
            // The chain is a bucket and a half: any removal may move a hot key.
            check(cache, Plan { writers, writes: 20_000, reads: 60_000, cold: 8, seed });
        }
    }
}

#[test]
fn r1_the_check_of_a_history_knows_a_bad_one() {
    let write = |began, ended, deletes| Write { began, ended, deletes };
    let read = |began, ended, saw| Read { began, ended, saw };
    let history = |reads: &[Read]| History {
        writes: vec![write(10, 20, false), write(30, 40, true), write(50, 60, false)],
        reads: reads.to_vec(),
    };
    let fits = |reads: &[Read]| history(reads).check().is_ok();
    assert!(fits(&[
        read(1, 2, None),
        read(11, 12, None),
        read(13, 14, Some(1)),
        read(21, 22, Some(1))
    ]));
    assert!(fits(&[read(31, 32, Some(1)), read(33, 34, None), read(41, 42, None)]));
    assert!(fits(&[read(51, 58, Some(3)), read(52, 59, None)]), "they overlap");
    assert!(!fits(&[read(1, 2, Some(1))]), "of the future");
    assert!(!fits(&[read(21, 22, None)]), "lost");
    assert!(!fits(&[read(41, 42, Some(1))]), "overtaken");
    assert!(!fits(&[read(11, 12, Some(1)), read(13, 14, None)]), "back in time");
    assert!(!fits(&[read(33, 34, None), read(35, 36, Some(1))]), "back in time");
    assert!(!fits(&[read(51, 52, Some(3)), read(53, 54, None)]), "back in time");
    assert!(!fits(&[read(61, 62, Some(2))]), "a deletion is not read as a value");
}
