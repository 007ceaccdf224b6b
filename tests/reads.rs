//! Reading: promises R1 to R4, and walks over a cache that changes.

mod support;

use cachette::policy::{EvictionPolicy, Lfu, Lru};
use cachette::{Cache, Cause, Compute, ManualClock};
use equivalent::Equivalent;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, Weak};
use std::thread;
use std::time::Duration;
use support::{Log, Rng};

/// What a record keeper in front of a cache does: it changes the record, then the cache.
struct Records {
    cache: Cache<u64, u64>,
    record: Vec<AtomicU64>,
    /// The version that the cache was last told of, when telling it had ended.
    told: Vec<AtomicU64>,
}

#[test]
fn r1_no_reader_goes_back_in_time() {
    const KEYS: u64 = 8;
    let numbers = || (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    for segments in [1, 4] {
        let cache = Cache::builder().capacity(6).segments(segments).build().unwrap();
        let all = Records { cache, record: numbers(), told: numbers() };
        let (start, writing) = (Barrier::new(8), AtomicUsize::new(4));
        thread::scope(|scope| {
            for writer in 0..4 {
                let (all, start, writing) = (&all, &start, &writing);
                scope.spawn(move || {
                    let _done = OneLess(writing);
                    start.wait();
                    write_two_keys(all, writer);
                });
            }
            for reader in 4..8 {
                let (all, start, writing) = (&all, &start, &writing);
                scope.spawn(move || {
                    start.wait();
                    read_all_keys(all, reader, writing);
                });
            }
        });
    }
}

/// Counts a thread out, also after a panic.
struct OneLess<'a>(&'a AtomicUsize);

impl Drop for OneLess<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Each key has one writer, so its versions have one order.
fn write_two_keys(all: &Records, writer: u64) {
    let mut rng = Rng::new(writer);
    for version in 1..4_000 {
        let key = writer * 2 + rng.below(2);
        all.record[key as usize].store(version, SeqCst);
        match rng.below(4) {
            0 => drop(all.cache.delete(&key)),
            1 => drop(all.cache.compute(key, |_| Compute::Replace(version))),
            2 => drop(all.cache.compute(key, |_| Compute::Delete)),
            _ => all.cache.put(key, version),
        }
        all.told[key as usize].store(version, SeqCst);
    }
}

fn read_all_keys(all: &Records, reader: u64, writing: &AtomicUsize) {
    let mut rng = Rng::new(reader);
    let mut seen: HashMap<u64, u64> = HashMap::new();
    while writing.load(SeqCst) != 0 {
        let key = rng.below(8);
        let told = all.told[key as usize].load(SeqCst);
        // The record may change before what was read of it lands.
        let load = |&key: &u64| {
            let version = all.record[key as usize].load(SeqCst);
            thread::yield_now();
            version
        };
        let read = match rng.below(4) {
            0 => all.cache.peek(&key),
            1 => all.cache.get_or_load(&key, load).ok(),
            _ => all.cache.get(&key),
        };
        let Some(version) = read else { continue };
        let newest = seen.entry(key).or_default();
        assert!(version >= *newest, "key {key}: {version} after {newest} by the same reader");
        assert!(version >= told, "key {key}: {version} after {told} was put or deleted");
        *newest = version;
    }
}

/// One operation on one key, with what it returned.
#[derive(Clone, Copy, Debug)]
enum Op {
    Get(Option<u32>),
    Put(u32),
    Delete(bool),
    Take(Option<u32>),
    PutIfAbsent(u32, bool),
    GetAndPut(u32, Option<u32>),
    Add(u32),
    ReplaceIfEven(u32, bool),
}

impl Op {
    /// The state after it, if it could have returned this in that state.
    fn step(self, state: Option<u32>) -> Option<Option<u32>> {
        let even = state.is_some_and(|v| v % 2 == 0);
        let (fits, next) = match self {
            Self::Get(read) => (read == state, state),
            Self::Put(value) => (true, Some(value)),
            Self::Delete(had) => (had == state.is_some(), None),
            Self::Take(taken) => (taken == state, None),
            Self::PutIfAbsent(value, stored) => {
                (stored == state.is_none(), if stored { Some(value) } else { state })
            }
            Self::GetAndPut(value, old) => (old == state, Some(value)),
            Self::Add(n) => (true, Some(state.unwrap_or(0).wrapping_add(n))),
            Self::ReplaceIfEven(value, done) => {
                (done == even, if done { Some(value) } else { state })
            }
        };
        fits.then_some(next)
    }

    fn run(cache: &Cache<u32, u32>, rng: &mut Rng) -> Self {
        let value = rng.below(1_000) as u32;
        match rng.below(10) {
            0 => {
                cache.put(0, value);
                Self::Put(value)
            }
            1 => Self::Delete(cache.delete(&0)),
            2 => Self::Take(cache.take(&0)),
            3 => Self::PutIfAbsent(value, cache.put_if_absent(0, value)),
            4 => Self::GetAndPut(value, cache.get_and_put(0, value)),
            5 => {
                let add = |v: Option<&u32>| Compute::Replace(v.unwrap_or(&0).wrapping_add(value));
                cache.compute(0, add).unwrap();
                Self::Add(value)
            }
            6 => Self::ReplaceIfEven(value, cache.replace_if(0, value, |v| v % 2 == 0)),
            _ => Self::Get(cache.get(&0)),
        }
    }
}

/// When an operation began and ended, by a clock that ticks at every look.
#[derive(Clone, Copy, Debug)]
struct Event {
    began: u64,
    ended: u64,
    op: Op,
}

/// True if the operations fit into one order that respects time (Wing and Gong 1993; states seen before are skipped, Lowe
/// 2017). Bit i of `done` is operation i.
fn linearizable(
    history: &[Event],
    done: u32,
    state: Option<u32>,
    seen: &mut HashSet<(u32, Option<u32>)>,
) -> bool {
    if done.count_ones() as usize == history.len() {
        return true;
    }
    if !seen.insert((done, state)) {
        return false;
    }
    let open = || (0..history.len()).filter(|i| done & 1 << i == 0);
    let first_end = open().map(|i| history[i].ended).min().unwrap_or(u64::MAX);
    open().filter(|&i| history[i].began < first_end).any(|i| {
        history[i]
            .op
            .step(state)
            .is_some_and(|next| linearizable(history, done | 1 << i, next, seen))
    })
}

#[test]
fn r1_the_checker_knows_a_bad_history() {
    let at = |began, ended, op| Event { began, ended, op };
    let check = |history: &[Event]| linearizable(history, 0, None, &mut HashSet::new());
    assert!(check(&[at(0, 3, Op::Put(1)), at(1, 2, Op::Get(None))]));
    assert!(check(&[at(0, 3, Op::Put(1)), at(1, 2, Op::Get(Some(1)))]));
    assert!(!check(&[at(0, 1, Op::Put(1)), at(2, 3, Op::Get(None))]));
    let back = [at(0, 9, Op::Put(1)), at(1, 2, Op::Get(Some(1))), at(3, 4, Op::Get(None))];
    assert!(!check(&back));
    let lost = [at(0, 5, Op::Add(1)), at(0, 5, Op::Add(2)), at(6, 7, Op::Get(Some(2)))];
    assert!(!check(&lost));
}

#[test]
fn r1_recorded_histories_are_linearizable() {
    for round in 0..1_500 {
        let cache = Cache::new(4);
        let (time, start) = (AtomicU64::new(0), Barrier::new(3));
        let history = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for thread in 0..3 {
                let (cache, time, start, history) = (&cache, &time, &start, &history);
                scope.spawn(move || {
                    let mut rng = Rng::new(round * 3 + thread);
                    let mut mine = Vec::new();
                    start.wait();
                    for _ in 0..7 {
                        let began = time.fetch_add(1, SeqCst);
                        let op = Op::run(cache, &mut rng);
                        mine.push(Event { began, ended: time.fetch_add(1, SeqCst), op });
                    }
                    history.lock().unwrap().extend(mine);
                });
            }
        });
        let history = history.into_inner().unwrap();
        let ok = linearizable(&history, 0, None, &mut HashSet::new());
        assert!(ok, "round {round}: {history:#?}");
    }
}

/// Looks at everything in every way that touches nothing.
fn look_around(cache: &Cache<u64, u64>) {
    for key in 0..10 {
        let _ = (cache.peek(&key), cache.contains_key(&key), cache.time_to_live_of(&key));
        cache.compute(key, |_| Compute::Keep).unwrap();
    }
    assert_eq!(cache.iter().count(), cache.len());
    let _ = (cache.stats(), cache.weight(), cache.capacity(), cache.is_empty());
}

fn untouched<P: EvictionPolicy + 'static>(make: impl Fn() -> P + Send + Sync + 'static) {
    let cache = Cache::<u64, u64>::builder().capacity(3).policy(make).build().unwrap();
    (0..3).for_each(|key| cache.put(key, key));
    let _ = (cache.get(&1), cache.get(&2), cache.get(&0), cache.get(&0), cache.get(&2));
    let before = cache.stats();
    for _ in 0..5 {
        look_around(&cache);
    }
    assert_eq!(cache.stats(), before);
    cache.put(3, 3);
    assert!(!cache.contains_key(&1), "1 was the least recent, and the least frequent");
}

#[test]
fn r2_looking_leaves_the_order_and_the_statistics_alone() {
    untouched(Lru::new);
    untouched(Lfu::new);
}

#[test]
fn r2_looking_does_not_postpone_an_idle_deadline() {
    let clock = ManualClock::new();
    let idle = Duration::from_secs(64);
    let cache = Cache::<u64, u64>::builder().capacity(10).time_to_idle(idle).clock(clock.clone());
    let cache = cache.build().unwrap();
    cache.put(0, 0);
    for _ in 0..63 {
        clock.advance(Duration::from_secs(1));
        look_around(&cache);
    }
    assert_eq!(cache.time_to_live_of(&0), Some(Duration::from_secs(1)));
    clock.advance(Duration::from_secs(1));
    assert_eq!(cache.peek(&0), None);
    cache.put(1, 1);
    clock.advance(Duration::from_secs(63));
    assert_eq!(cache.get(&1), Some(1));
    clock.advance(Duration::from_secs(62));
    assert_eq!(cache.peek(&1), Some(1), "a use postpones it");
}

/// A key in parts, where the parts are at hand.
#[derive(Hash)]
struct Parts<'a>(&'a str, u32);

impl Equivalent<(String, u32)> for Parts<'_> {
    fn equivalent(&self, key: &(String, u32)) -> bool {
        self.0 == key.0 && self.1 == key.1
    }
}

#[test]
fn r3_keys_are_looked_up_by_any_borrowed_form() {
    let strings = Cache::new(10);
    strings.put("a".to_string(), 1);
    assert_eq!((strings.get("a"), strings.peek("a"), strings.get("b")), (Some(1), Some(1), None));
    assert_eq!(strings.get(&"a".to_string()), Some(1));
    assert!(strings.contains_key("a") && strings.expire_in("a", Duration::MAX));
    assert_eq!(strings.get_or_load("c", str::len).unwrap(), 1);
    assert!(strings.delete("a"));
    assert_eq!(strings.take("c"), Some(1));

    let bytes = Cache::new(10);
    bytes.put(vec![1_u8, 2], "x");
    assert_eq!(bytes.get(&[1_u8, 2][..]), Some("x"));

    let pairs = Cache::new(10);
    pairs.put(("a".to_string(), 1), 10);
    pairs.put(("a".to_string(), 2), 20);
    assert_eq!(pairs.get(&Parts("a", 2)), Some(20));
    assert_eq!(pairs.get(&Parts("b", 2)), None);
    assert_eq!(pairs.take(&Parts("a", 1)), Some(10));
    assert_eq!(pairs.len(), 1);
}

/// Every key has the same hash.
#[derive(Clone)]
struct Constant;

impl BuildHasher for Constant {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self
    }
}

impl Hasher for Constant {
    fn write(&mut self, _: &[u8]) {}

    fn finish(&self) -> u64 {
        0xDEAD_BEEF
    }
}

#[test]
fn r4_keys_are_compared_whatever_their_hashes() {
    let keys = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
    for segments in [1, 4] {
        let cache = Cache::<u64, u64>::builder().capacity(keys).segments(segments);
        let cache = cache.hasher(Constant).build().unwrap();
        (0..keys).for_each(|key| cache.put(key, key * 3));
        assert_eq!(cache.len() as u64, keys);
        assert!((0..keys).all(|key| cache.get(&key) == Some(key * 3)));
        assert_eq!(cache.get(&keys), None);
        assert!((0..keys).filter(|key| key % 2 == 0).all(|key| cache.delete(&key)));
        assert!((0..keys).all(|key| cache.peek(&key) == (key % 2 == 1).then_some(key * 3)));
        cache.put(1, 7);
        assert_eq!((cache.get(&1), cache.get(&3)), (Some(7), Some(9)));
        assert_eq!(cache.get_or_load(&0, |_| 5).unwrap(), 5);
    }
}

/// Runs `walk` while four threads put and delete keys from 1,000 on.
fn amid_changes(cache: &Cache<u64, u64>, walk: impl FnOnce()) {
    let (start, stop) = (Barrier::new(5), AtomicBool::new(false));
    thread::scope(|scope| {
        for thread in 0..4 {
            let (start, stop) = (&start, &stop);
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                start.wait();
                while !stop.load(SeqCst) {
                    let key = 1_000 + rng.below(500);
                    match rng.below(2) {
                        0 => cache.put(key, key),
                        _ => drop(cache.delete(&key)),
                    }
                }
            });
        }
        start.wait();
        let done = StopWhenDropped(&stop);
        walk();
        drop(done);
    });
}

struct StopWhenDropped<'a>(&'a AtomicBool);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn r1_a_walk_meets_what_stays_once() {
    for segments in [1, 8] {
        let cache = Cache::builder().capacity(10_000).segments(segments).build().unwrap();
        (0..1_000).for_each(|key| cache.put(key, key));
        amid_changes(&cache, || {
            for _ in 0..20 {
                let mut met: HashMap<u64, u32> = HashMap::new();
                cache.iter().for_each(|(key, _)| *met.entry(key).or_default() += 1);
                assert!((0..1_000).all(|key| met.get(&key) == Some(&1)));
                assert!(met.keys().all(|&key| key < 1_500));
            }
        });
    }
}

#[test]
fn r1_retain_asks_once_about_what_stays() {
    for segments in [1, 8] {
        let cache = Cache::builder().capacity(10_000).segments(segments).build().unwrap();
        (0..1_000).for_each(|key| cache.put(key, key));
        amid_changes(&cache, || {
            for round in 1..10 {
                let mut asked: HashMap<u64, u32> = HashMap::new();
                cache.retain(|&key, _| {
                    *asked.entry(key).or_default() += 1;
                    key >= 1_000 || key >= round * 50
                });
                let stayed = (round - 1) * 50..1_000;
                assert!(stayed.clone().all(|key| asked.get(&key) == Some(&1)));
                assert!(!asked.keys().any(|&key| key < stayed.start));
                assert!((0..1_000).all(|key| cache.contains_key(&key) == (key >= round * 50)));
            }
        });
    }
}

#[test]
fn r1_retain_does_not_delete_what_replaced_the_rejected() {
    let log = Log::new();
    let cache = Cache::builder().capacity(10).removal_listener(log.listener()).build().unwrap();
    cache.put(1, 1);
    cache.put(2, 2);
    cache.retain(|&key, &value| {
        if key == 1 && value == 1 {
            cache.put(1, 5);
        }
        false
    });
    assert_eq!(cache.iter().collect::<Vec<_>>(), [(1, 5)]);
    let mut heard = log.take();
    heard.sort_by_key(|&(key, _, _)| key);
    assert_eq!(heard, [(1, 1, Cause::Replaced), (2, 2, Cause::Deleted)]);
}

#[test]
fn r1_clear_deletes_what_was_there() {
    for segments in [1, 8] {
        let cache = Cache::builder().capacity(10_000).segments(segments).build().unwrap();
        amid_changes(&cache, || {
            for _ in 0..20 {
                (0..1_000).for_each(|key| cache.put(key, key));
                cache.clear();
                assert!((0..1_000).all(|key| !cache.contains_key(&key)));
            }
        });
        cache.clear();
        assert_eq!((cache.len(), cache.weight()), (0, 0));
    }
}

/// A value that cannot be cloned.
#[derive(Debug, PartialEq)]
struct Single(u32);

#[test]
fn r1_values_need_not_be_clone() {
    let cache = Cache::new(10);
    cache.put(1, Single(1));
    assert_eq!(cache.get_with(&1, |value| value.0), Some(1));
    assert_eq!(cache.get_with(&2, |value| value.0), None);
    assert!(cache.replace_if(1, Single(2), |value| value.0 == 1));
    assert!(!cache.put_if_absent(1, Single(3)));
    cache.compute(1, |old| Compute::Replace(Single(old.map_or(0, |v| v.0 + 1)))).unwrap();
    assert_eq!(cache.get_with(&1, |value| value.0), Some(3));
    cache.retain(|_, value| value.0 == 3);
    assert!(cache.contains_key(&1) && cache.delete(&1));
}

#[test]
fn r1_a_reader_may_keep_what_has_been_replaced() {
    let cache = Cache::new(10);
    cache.put(1, Single(1));
    let seen = cache.get_with(&1, |value| {
        cache.put(1, Single(2));
        let inside = cache.get_with(&1, |value| value.0);
        cache.clear();
        (value.0, inside, cache.len())
    });
    assert_eq!(seen, Some((1, Some(2), 0)));
}

/// Calls its cache when it is dropped, which would never end under the cache's lock.
struct CallsBack(Weak<Cache<u32, Self>>, Arc<AtomicU64>);

impl Drop for CallsBack {
    fn drop(&mut self) {
        if let Some(cache) = self.0.upgrade() {
            let _ = (cache.contains_key(&1), cache.get_with(&2, |_| ()), cache.delete(&99));
            self.1.fetch_add(1, SeqCst);
        }
    }
}

#[test]
fn r1_values_are_dropped_outside_locks() {
    let clock = ManualClock::new();
    let cache = Cache::builder().capacity(4).segments(1).clock(clock.clone()).build().unwrap();
    let (cache, called) = (Arc::new(cache), Arc::new(AtomicU64::new(0)));
    let value = || CallsBack(Arc::downgrade(&cache), Arc::clone(&called));
    let after = |expected: u64| {
        while cache.stats().limbo != 0 {
            cache.maintain();
        }
        assert_eq!(cache.stats().drop_panics, 0);
        assert_eq!(called.swap(0, SeqCst), expected);
    };
    cache.put(1, value());
    cache.put(1, value());
    after(1);
    assert!(cache.delete(&1));
    after(1);
    (0..6).for_each(|key| cache.put(key, value()));
    after(2);
    assert!(!cache.put_if_absent(5, value()));
    after(1);
    assert!(cache.replace_if(5, value(), |_| true));
    after(1);
    assert!(cache.compute(5, |_| Compute::Delete).is_ok());
    after(1);
    cache.retain(|key, _| key % 2 == 0);
    after(1);
    cache.set_capacity(1).unwrap();
    after(1);
    cache.put_with_ttl(7, value(), Duration::from_secs(1));
    after(1);
    clock.advance(Duration::from_secs(2));
    cache.maintain();
    after(1);
    cache.put_with_ttl(7, value(), Duration::ZERO);
    after(1);
    cache.put(8, value());
    assert!(cache.expire_in(&8, Duration::ZERO));
    after(1);
    cache.put(9, value());
    cache.clear();
    after(1);
    drop(cache.try_put(10, value()));
    cache.set_capacity(0).unwrap();
    after(1);
    cache.put(10, value());
    after(1);
}
