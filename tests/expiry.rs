//! Deadlines: promises E1 to E7.

mod support;

use cachette::{Cache, Cause, Clock, Compute, Expiry, Maintainer, ManualClock};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};
use support::{Log, Rng};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const NEVER: u64 = u64::MAX;

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

/// By the value: its last digit is the time to live in seconds, 9 is for ever; a read of an odd one leaves it a second.
struct ByValue;

impl Expiry<u64, u64> for ByValue {
    fn created(&self, _: &u64, value: &u64) -> Duration {
        if value % 10 == 9 { Duration::MAX } else { SECOND * (value % 10) as u32 }
    }

    fn updated(&self, key: &u64, value: &u64, left: Duration) -> Duration {
        // A small value keeps the deadline of the old one.
        if *value < 300 { left } else { self.created(key, value) }
    }

    fn read(&self, _: &u64, value: &u64, _: Duration) -> Option<Duration> {
        (value % 2 == 1).then_some(SECOND)
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Rule {
    Nothing,
    Live(Duration),
    Idle(Duration),
    Both(Duration, Duration),
    Each,
}

/// An entry as the oracle sees it: its value, and its deadlines.
#[derive(Clone, Copy, Debug)]
struct Kept {
    value: u64,
    hard: u64,
    idle: u64,
}

impl Kept {
    fn ends(self) -> u64 {
        self.hard.min(self.idle)
    }
}

/// A map, a clock, and the rules: no wheel, no policy, no locks.
struct Oracle {
    rule: Rule,
    now: u64,
    kept: BTreeMap<u64, Kept>,
}

impl Oracle {
    fn live(&self, key: u64) -> Option<Kept> {
        self.kept.get(&key).copied().filter(|kept| kept.ends() > self.now)
    }

    fn after(&self, duration: Duration) -> u64 {
        self.now.saturating_add(nanos(duration))
    }

    fn idle(&self) -> u64 {
        match self.rule {
            Rule::Idle(idle) | Rule::Both(_, idle) => self.after(idle),
            _ => NEVER,
        }
    }

    fn put(&mut self, key: u64, value: u64, ttl: Option<Duration>) {
        let live = match (ttl, self.rule) {
            (Some(ttl), _) | (None, Rule::Live(ttl) | Rule::Both(ttl, _)) => ttl,
            (None, Rule::Nothing | Rule::Idle(_)) => Duration::MAX,
            (None, Rule::Each) => match self.live(key) {
                None => ByValue.created(&key, &value),
                Some(old) => ByValue.updated(&key, &value, self.left(old)),
            },
        };
        let (hard, idle) = match (ttl, self.rule) {
            // What a per-entry rule decides, reads may move.
            (None, Rule::Each) => (NEVER, self.after(live)),
            _ => (self.after(live), self.idle()),
        };
        self.kept.insert(key, Kept { value, hard, idle });
    }

    fn left(&self, kept: Kept) -> Duration {
        match kept.ends() {
            NEVER => Duration::MAX,
            ends => Duration::from_nanos(ends - self.now),
        }
    }

    /// A use of the entry: the idle deadline moves in steps, a per-entry rule moves only what it set.
    fn read(&mut self, key: u64) -> Option<u64> {
        let mut kept = self.live(key)?;
        match self.rule {
            Rule::Idle(idle) | Rule::Both(_, idle) => {
                let step = (nanos(idle) / 64).max(1 << 20);
                let fresh = self.idle();
                if kept.idle != NEVER && fresh - kept.idle >= step {
                    kept.idle = fresh;
                }
            }
            Rule::Each if kept.idle != NEVER => {
                let more = ByValue.read(&key, &kept.value, self.left(kept));
                kept.idle = more.map_or(kept.idle, |more| self.after(more));
            }
            _ => {}
        }
        self.kept.insert(key, kept);
        Some(kept.value)
    }
}

/// One random operation on both; what they return must agree.
fn step(cache: &Cache<u64, u64>, clock: &ManualClock, oracle: &mut Oracle, rng: &mut Rng) {
    let (key, value) = (rng.below(12), rng.below(1_000));
    let live = oracle.live(key).map(|kept| kept.value);
    let ttl = [Duration::ZERO, SECOND / 2, SECOND * 3, DAY, Duration::MAX][rng.below(5) as usize];
    match rng.below(20) {
        0 => {
            cache.put(key, value);
            oracle.put(key, value, None);
        }
        1 => {
            cache.put_with_ttl(key, value, ttl);
            oracle.put(key, value, Some(ttl));
        }
        2 => {
            assert_eq!(cache.put_if_absent(key, value), live.is_none());
            if live.is_none() {
                oracle.put(key, value, None);
            }
        }
        3 => {
            assert_eq!(cache.get_and_put(key, value), live);
            oracle.put(key, value, None);
        }
        4 => {
            assert_eq!(cache.replace_if(key, value, |_| true), live.is_some());
            if live.is_some() {
                oracle.put(key, value, None);
            }
        }
        5 => {
            let mut view = None;
            let decide = |seen: Option<&u64>| {
                view = Some(seen.copied());
                Compute::ReplaceKeepTtl(value)
            };
            cache.compute(key, decide).unwrap();
            assert_eq!(view, Some(live));
            let was = oracle.live(key);
            oracle.put(key, value, None);
            let ruled = oracle.rule == Rule::Each;
            if let (Some(was), Some(kept)) = (was, oracle.kept.get_mut(&key)) {
                kept.hard = was.hard;
                kept.idle = if ruled { was.idle } else { kept.idle };
            }
        }
        6 => {
            let read = oracle.read(key);
            assert_eq!(cache.get_or_load(&key, |_| value).unwrap(), read.unwrap_or(value));
            if read.is_none() {
                oracle.put(key, value, None);
            }
        }
        7 => {
            assert_eq!(cache.take(&key), live);
            oracle.kept.remove(&key);
        }
        8 => {
            assert_eq!(cache.delete(&key), live.is_some());
            oracle.kept.remove(&key);
        }
        9 => {
            assert_eq!(cache.expire_in(&key, ttl), live.is_some());
            let hard = oracle.after(ttl);
            if live.is_some() {
                let ruled = oracle.rule == Rule::Each;
                oracle.kept.entry(key).and_modify(|kept| {
                    kept.hard = hard;
                    kept.idle = if ruled { NEVER } else { kept.idle };
                });
            }
        }
        10 => {
            assert_eq!(cache.persist(&key), live.is_some());
            if live.is_some() {
                oracle.kept.entry(key).and_modify(|kept| (kept.hard, kept.idle) = (NEVER, NEVER));
            }
        }
        11 => cache.maintain(),
        12 => {
            let by = [1, 1 << 20, 499_999_999, 1_000_000_000, nanos(DAY)][rng.below(5) as usize];
            clock.advance(Duration::from_nanos(by));
            oracle.now += by;
        }
        13 | 14 => assert_eq!(cache.get(&key), oracle.read(key)),
        15 => assert_eq!(cache.get_with(&key, |&v| v), oracle.read(key)),
        16 => {
            let expected = oracle.live(key).map(|kept| oracle.left(kept));
            assert_eq!(cache.time_to_live_of(&key), expected);
        }
        _ => assert_eq!((cache.peek(&key), cache.contains_key(&key)), (live, live.is_some())),
    }
}

#[test]
fn e1_nothing_is_returned_at_or_after_its_deadline() {
    let rules = [
        Rule::Nothing,
        Rule::Live(SECOND),
        Rule::Idle(SECOND),
        Rule::Idle(Duration::from_millis(3)),
        Rule::Both(SECOND * 2, SECOND),
        Rule::Each,
    ];
    for (rule, seed) in rules.into_iter().flat_map(|rule| (0..12).map(move |seed| (rule, seed))) {
        let clock = ManualClock::new();
        let builder = Cache::builder().capacity(100).segments(1 << (seed % 3)).clock(clock.clone());
        let builder = match rule {
            Rule::Nothing => builder,
            Rule::Live(live) => builder.time_to_live(live),
            Rule::Idle(idle) => builder.time_to_idle(idle),
            Rule::Both(live, idle) => builder.time_to_live(live).time_to_idle(idle),
            Rule::Each => builder.expiry(ByValue),
        };
        let cache = builder.build().unwrap();
        let mut oracle = Oracle { rule, now: 0, kept: BTreeMap::new() };
        let mut rng = Rng::new(seed);
        for _ in 0..3_000 {
            step(&cache, &clock, &mut oracle, &mut rng);
            let mut seen: Vec<_> = cache.iter().collect();
            seen.sort_unstable();
            let live = (0..12).filter_map(|key| Some((key, oracle.live(key)?.value)));
            assert_eq!(seen, live.collect::<Vec<_>>(), "{rule:?}, seed {seed}");
        }
        clock.advance(DAY * 2);
        oracle.now += nanos(DAY * 2);
        cache.maintain();
        let live = (0..12).filter(|&key| oracle.live(key).is_some()).count();
        assert_eq!((cache.len(), cache.weight()), (live, live as u64), "{rule:?}, seed {seed}");
    }
}

#[test]
fn e2_no_call_pays_for_all_that_expires_at_once() {
    let entries = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    for segments in [1, 4] {
        let (clock, log) = (ManualClock::new(), Log::new());
        let cache = Cache::<u64, u64>::builder()
            .capacity(entries)
            .segments(segments)
            .clock(clock.clone())
            .removal_listener(log.listener())
            .build()
            .unwrap();
        (0..entries).for_each(|key| cache.put_with_ttl(key, key, SECOND));
        clock.advance(SECOND * 2);
        // The cache is full, so this one has to make room.
        cache.put_with_ttl(entries * 5, 0, DAY);
        let mut heard = log.take().len();
        assert!((1..=64 + 16).contains(&heard), "one put took out {heard}");
        let mut rng = Rng::new(1);
        for _ in 0..500 {
            let key = rng.below(entries * 2);
            match rng.below(6) {
                0 => assert_eq!(cache.get(&key), None),
                1 => drop(cache.delete(&key)),
                2 => drop(cache.expire_in(&key, DAY)),
                3 => drop(cache.get_or_load(&(entries * 2 + key), |_| 0)),
                4 => cache.put_with_ttl(entries * 4 + key, 0, DAY),
                _ => drop(cache.put_if_absent(key, key)),
            }
            // A slice to make room, what is taken out in passing, and the entry itself.
            let now = log.take().len();
            assert!(now <= 64 + 16 + 1, "one call took out {now}");
            heard += now;
        }
        assert!(heard > 500, "writes clear away more than they bring: {heard}");
        let live = cache.iter().count();
        cache.maintain();
        assert_eq!(cache.len(), live);
        assert!(log.take().iter().all(|&(_, _, cause)| cause == Cause::Expired));
    }
}

fn cache_with(clock: &ManualClock) -> Cache<u32, u32> {
    Cache::builder().capacity(100).clock(clock.clone()).build().unwrap()
}

#[test]
fn e3_deadlines_can_be_asked_for_and_changed() {
    let clock = ManualClock::new();
    let cache = cache_with(&clock);
    assert_eq!(cache.time_to_live_of(&1), None);
    assert!(!cache.expire_in(&1, SECOND) && !cache.expire_at(&1, SystemTime::now()));
    assert!(!cache.persist(&1));
    cache.put(1, 1);
    assert_eq!(cache.time_to_live_of(&1), Some(Duration::MAX));
    assert!(cache.expire_in(&1, SECOND * 5));
    clock.advance(SECOND * 2);
    assert_eq!(cache.time_to_live_of(&1), Some(SECOND * 3));
    assert!(cache.expire_at(&1, SystemTime::UNIX_EPOCH + SECOND * 10));
    assert_eq!(cache.time_to_live_of(&1), Some(SECOND * 8));
    assert!(cache.persist(&1));
    assert_eq!(cache.time_to_live_of(&1), Some(Duration::MAX));
    clock.advance(DAY * 1_000);
    assert_eq!(cache.get(&1), Some(1));
    assert!(cache.expire_at(&1, SystemTime::UNIX_EPOCH + SECOND), "long ago");
    assert_eq!((cache.get(&1), cache.len()), (None, 0));
    assert!(!cache.expire_in(&1, SECOND) && !cache.persist(&1));
}

#[test]
fn e3_no_reader_undoes_what_a_writer_set() {
    let clock = ManualClock::new();
    let idle = SECOND * 64;
    let cache = Cache::builder().capacity(9).time_to_idle(idle).clock(clock.clone());
    let cache = cache.build().unwrap();
    (0..3).for_each(|key| cache.put(key, key));
    assert!(cache.expire_in(&0, SECOND * 100) && cache.persist(&1));
    for _ in 0..99 {
        clock.advance(SECOND);
        assert_eq!((cache.get(&0), cache.get(&2)), (Some(0), Some(2)));
    }
    assert_eq!(cache.time_to_live_of(&0), Some(SECOND));
    clock.advance(SECOND);
    assert_eq!((cache.get(&0), cache.get(&2)), (None, Some(2)));
    assert_eq!(cache.get(&1), Some(1));
    clock.advance(DAY);
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), None));
    // A write starts anew.
    cache.put(1, 7);
    assert_eq!(cache.time_to_live_of(&1), Some(idle));
}

/// Every read leaves the entry this long.
struct OnRead(Duration);

impl Expiry<u32, u32> for OnRead {
    fn created(&self, _: &u32, _: &u32) -> Duration {
        SECOND * 60
    }

    fn read(&self, _: &u32, _: &u32, _: Duration) -> Option<Duration> {
        Some(self.0)
    }
}

#[test]
fn e3_no_reader_undoes_persist_or_expire_under_an_expiry() {
    let clock = ManualClock::new();
    let cache = Cache::builder().capacity(9).expiry(OnRead(SECOND)).clock(clock.clone());
    let cache = cache.build().unwrap();
    (0..4).for_each(|key| cache.put(key, key));
    assert!(cache.persist(&0));
    cache.put_with_ttl(1, 1, Duration::MAX);
    assert!(cache.expire_in(&2, Duration::MAX));
    for key in 0..4 {
        assert_eq!(cache.get(&key), Some(key));
    }
    assert_eq!(cache.time_to_live_of(&3), Some(SECOND));
    clock.advance(DAY);
    assert_eq!((cache.get(&0), cache.get(&1), cache.get(&2)), (Some(0), Some(1), Some(2)));
    assert_eq!(cache.get(&3), None);

    let cache = Cache::builder().capacity(9).expiry(OnRead(DAY)).clock(clock.clone());
    let cache = cache.build().unwrap();
    cache.put(1, 1);
    assert!(cache.expire_in(&1, SECOND * 5));
    let _ = (cache.get(&1), cache.get(&1));
    assert_eq!(cache.time_to_live_of(&1), Some(SECOND * 5), "the earlier of the two counts");
}

#[test]
fn e3_concurrent_readers_undo_nothing() {
    for rounds in 0..200 {
        let clock = ManualClock::new();
        let builder = Cache::builder().capacity(9).clock(clock.clone());
        let cache = if rounds % 2 == 0 {
            builder.time_to_idle(SECOND * 60).build().unwrap()
        } else {
            builder.expiry(OnRead(SECOND * 60)).build().unwrap()
        };
        (0..2).for_each(|key| cache.put(key, key));
        let (start, stop) = (Barrier::new(4), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    start.wait();
                    while !stop.load(SeqCst) {
                        let _ = (cache.get(&0), cache.get(&1));
                    }
                });
            }
            start.wait();
            clock.advance(SECOND * 2);
            let done = (cache.expire_in(&0, SECOND * 3), cache.persist(&1));
            clock.advance(SECOND * 3);
            stop.store(true, SeqCst);
            assert_eq!(done, (true, true));
        });
        assert_eq!(cache.get(&0), None);
        clock.advance(DAY);
        assert_eq!(cache.get(&1), Some(1));
    }
}

#[test]
fn e4_an_idle_entry_ends_no_later_and_at_most_a_step_earlier() {
    for idle in [Duration::from_millis(10), SECOND, SECOND * 64, DAY] {
        let step = (idle / 64).max(Duration::from_nanos(1 << 20));
        let mut rng = Rng::new(nanos(idle));
        for _ in 0..50 {
            let clock = ManualClock::new();
            let cache = Cache::builder().capacity(9).time_to_idle(idle).clock(clock.clone());
            let cache = cache.build().unwrap();
            cache.put(1, 1);
            for _ in 0..20 {
                clock.advance(Duration::from_nanos(rng.below(nanos(idle - step))));
                assert_eq!(cache.get(&1), Some(1), "it is in use");
            }
            let left = cache.time_to_live_of(&1).unwrap();
            assert!(left <= idle && left > idle - step, "{left:?} of {idle:?}");
            clock.advance(left);
            assert_eq!(cache.get(&1), None);
        }
    }
}

/// Writes down what it is told.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Expiry<u32, u32> for Diary {
    fn created(&self, key: &u32, value: &u32) -> Duration {
        self.0.lock().unwrap().push(format!("created {key} {value}"));
        SECOND * 10
    }

    fn updated(&self, key: &u32, value: &u32, left: Duration) -> Duration {
        self.0.lock().unwrap().push(format!("updated {key} {value} {left:?}"));
        SECOND * 20
    }

    fn read(&self, key: &u32, value: &u32, left: Duration) -> Option<Duration> {
        self.0.lock().unwrap().push(format!("read {key} {value} {left:?}"));
        (*value == 2).then_some(SECOND * 5)
    }
}

#[test]
fn e4_an_expiry_is_told_what_is_left() {
    let (clock, diary) = (ManualClock::new(), Diary::default());
    let cache = Cache::builder().capacity(9).expiry(diary.clone()).clock(clock.clone());
    let cache = cache.build().unwrap();
    let told = || std::mem::take(&mut *diary.0.lock().unwrap());
    cache.put(1, 1);
    clock.advance(SECOND * 4);
    let _ = (cache.get(&1), cache.peek(&1), cache.get(&2));
    assert_eq!(told(), ["created 1 1", "read 1 1 6s"]);
    cache.put(1, 2);
    assert_eq!(told(), ["updated 1 2 6s"]);
    assert_eq!(cache.time_to_live_of(&1), Some(SECOND * 20));
    let _ = cache.get(&1);
    assert_eq!(told(), ["read 1 2 20s"]);
    assert_eq!(cache.time_to_live_of(&1), Some(SECOND * 5));
    clock.advance(SECOND * 5);
    cache.put(1, 3);
    assert_eq!(told(), ["created 1 3"], "what had expired is not updated");
    cache.put_with_ttl(1, 4, SECOND);
    assert!(told().is_empty(), "the caller has decided");
    assert_eq!(cache.get_or_load(&5, |_| 5).unwrap(), 5);
    assert_eq!(told(), ["created 5 5"]);
    assert!(cache.persist(&5));
    cache.put(5, 6);
    assert_eq!(told(), [format!("updated 5 6 {:?}", Duration::MAX)]);
}

/// The lifetimes of a hundred entries.
fn jittered(fraction: f64, seed: u64) -> Vec<Duration> {
    let cache = Cache::<u32, u32>::builder()
        .capacity(1_000)
        .time_to_live(SECOND * 100)
        .ttl_jitter(fraction)
        .seed(seed)
        .clock(ManualClock::new())
        .build()
        .unwrap();
    (0..100).for_each(|key| cache.put(key, key));
    (0..100).map(|key| cache.time_to_live_of(&key).unwrap_or_default()).collect()
}

#[test]
fn e4_jitter_shortens_within_its_fraction_and_repeats_by_seed() {
    let tenth = jittered(0.1, 1);
    assert!(tenth.iter().all(|ttl| (SECOND * 90..=SECOND * 100).contains(ttl)));
    assert!(
        tenth.iter().any(|&ttl| ttl < SECOND * 92) && tenth.iter().any(|&ttl| ttl > SECOND * 98)
    );
    assert_eq!(tenth, jittered(0.1, 1));
    assert_ne!(tenth, jittered(0.1, 2));
    assert!(jittered(0.0, 1).iter().all(|&ttl| ttl == SECOND * 100));
    assert!(jittered(1.0, 1).iter().all(|&ttl| ttl <= SECOND * 100));
}

#[test]
fn e5_a_lifetime_of_zero_keeps_nothing() {
    let clock = ManualClock::new();
    let builder = || Cache::<u32, u32>::builder().capacity(9).clock(clock.clone());
    let none = builder().time_to_live(Duration::ZERO).build().unwrap();
    let idle = builder().time_to_idle(Duration::ZERO).build().unwrap();
    struct Zero;
    impl Expiry<u32, u32> for Zero {
        fn created(&self, _: &u32, _: &u32) -> Duration {
            Duration::ZERO
        }
    }
    let each = builder().expiry(Zero).build().unwrap();
    for cache in [&none, &idle, &each] {
        cache.put(1, 1);
        assert_eq!((cache.get(&1), cache.len(), cache.weight()), (None, 0, 0));
        assert_eq!(cache.get_or_load(&1, |_| 5).unwrap(), 5);
        assert_eq!((cache.get(&1), cache.get_and_put(1, 2), cache.len()), (None, None, 0));
    }
    none.put_with_ttl(1, 1, SECOND);
    assert_eq!(none.get(&1), Some(1));
    none.put(1, 2);
    assert_eq!(none.get(&1), None, "the newer value has ended, the older is out of date");
    let cache = builder().build().unwrap();
    cache.put(1, 1);
    cache.put_with_ttl(1, 2, Duration::ZERO);
    assert_eq!((cache.get(&1), cache.len()), (None, 0));
    cache.put(1, 1);
    assert!(cache.expire_in(&1, Duration::ZERO));
    assert_eq!((cache.get(&1), cache.len()), (None, 0));
}

#[test]
fn e5_a_lifetime_without_end_never_ends() {
    let clock = ManualClock::new();
    let builder = || Cache::<u32, u32>::builder().capacity(9).clock(clock.clone());
    struct Max;
    impl Expiry<u32, u32> for Max {
        fn created(&self, _: &u32, _: &u32) -> Duration {
            Duration::MAX
        }
        fn read(&self, _: &u32, _: &u32, left: Duration) -> Option<Duration> {
            Some(left)
        }
    }
    let caches = [
        builder().time_to_live(Duration::MAX).ttl_jitter(1.0).build().unwrap(),
        builder().time_to_idle(Duration::MAX).build().unwrap(),
        builder().expiry(Max).build().unwrap(),
        builder().build().unwrap(),
    ];
    for cache in &caches {
        (1..5).for_each(|key| cache.put(key, key));
        cache.put_with_ttl(2, 2, Duration::MAX);
        assert!(cache.expire_in(&3, Duration::MAX));
        let year_3000 = SystemTime::UNIX_EPOCH + DAY * 365 * 1_030;
        assert!(cache.expire_at(&4, year_3000));
        assert!(cache.expire_at(&4, SystemTime::UNIX_EPOCH + DAY * 365 * 280 * 2));
    }
    clock.advance(DAY * 365 * 300);
    for cache in &caches {
        assert!((1..5).all(|key| cache.get(&key) == Some(key)));
        assert!((1..4).all(|key| cache.time_to_live_of(&key) == Some(Duration::MAX)));
        cache.maintain();
        assert_eq!(cache.len(), 4);
    }
    // At the end of its time the clock stands still: what never ends has not ended.
    clock.advance(Duration::MAX);
    for cache in &caches {
        assert!((1..4).all(|key| cache.get(&key) == Some(key)));
        assert_eq!(cache.get(&4), None);
        cache.put(9, 9);
        assert_eq!(cache.get(&9), Some(9));
        cache.maintain();
        assert_eq!(cache.len(), 4);
    }
}

#[test]
fn e5_after_a_hundred_days_ten_years_are_ten_years() {
    let clock = ManualClock::new();
    clock.advance(DAY * 100);
    let cache = cache_with(&clock);
    cache.put_with_ttl(1, 1, DAY * 3_650);
    cache.put_with_ttl(2, 2, SECOND);
    assert_eq!(cache.time_to_live_of(&1), Some(DAY * 3_650));
    clock.advance(DAY * 3_650 - Duration::from_nanos(1));
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), None));
    cache.maintain();
    assert_eq!(cache.len(), 1);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(cache.get(&1), None);
    clock.advance(SECOND);
    cache.maintain();
    assert!(cache.is_empty());
}

#[test]
fn e6_a_clock_may_be_the_callers_own() {
    struct Hourly(ManualClock);
    impl Clock for Hourly {
        fn now(&self) -> Duration {
            Duration::from_secs(self.0.now().as_secs() / 3_600 * 3_600)
        }
        fn date(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + self.now()
        }
    }
    let clock = ManualClock::new();
    let cache = Cache::builder().capacity(9).clock(Hourly(clock.clone())).build().unwrap();
    cache.put_with_ttl(1, 1, SECOND);
    clock.advance(SECOND * 3_599);
    assert_eq!(cache.get(&1), Some(1));
    clock.advance(SECOND);
    assert_eq!(cache.get(&1), None);
}

#[test]
fn e7_a_maintainer_frees_what_expired_in_an_idle_cache() {
    let (clock, (tell, hear)) = (ManualClock::new(), mpsc::channel());
    let cache = Cache::<u32, u32>::builder()
        .capacity(9)
        .clock(clock.clone())
        .removal_listener(move |&key, _, cause| tell.send((key, cause)).unwrap())
        .build()
        .unwrap();
    let cache = Arc::new(cache);
    cache.put_with_ttl(1, 1, SECOND);
    clock.advance(SECOND * 2);
    let maintainer = Maintainer::start(&cache, Duration::from_millis(1)).unwrap();
    assert_eq!(hear.recv().unwrap(), (1, Cause::Expired), "at once");
    for key in 2..5 {
        cache.put_with_ttl(key, key, SECOND);
        clock.advance(SECOND * 2);
        assert_eq!(hear.recv().unwrap(), (key, Cause::Expired), "and again and again");
    }
    drop(maintainer);
    cache.put_with_ttl(5, 5, SECOND);
    clock.advance(SECOND * 2);
    assert!(hear.try_recv().is_err(), "it has ended");
    cache.maintain();
    assert_eq!(hear.try_recv().unwrap(), (5, Cause::Expired), "by hand");

    // A maintainer does not keep its cache alive, and waits for nothing when it is dropped.
    cache.put(6, 6);
    let maintainer = Maintainer::start(&cache, DAY).unwrap();
    drop(cache);
    assert_eq!(hear.recv().unwrap(), (6, Cause::Dropped));
    assert!(hear.recv().is_err(), "the listener is gone with the cache");
    drop(maintainer);
}

#[test]
fn e1_what_had_expired_is_reported_as_expired() {
    let (clock, log) = (ManualClock::new(), Log::new());
    let cache = Cache::builder()
        .capacity(9)
        .clock(clock.clone())
        .time_to_live(SECOND)
        .removal_listener(log.listener())
        .build()
        .unwrap();
    let expired = |overwrite: &dyn Fn()| {
        cache.put(1, 1);
        clock.advance(SECOND * 2);
        overwrite();
        assert_eq!(log.take(), [(1, 1, Cause::Expired)]);
        cache.clear();
        log.take();
    };
    expired(&|| cache.put(1, 2));
    expired(&|| assert_eq!(cache.get_and_put(1, 2), None));
    expired(&|| assert!(cache.put_if_absent(1, 2)));
    expired(&|| assert!(!cache.delete(&1)));
    expired(&|| assert_eq!(cache.take(&1), None));
    expired(&|| assert!(cache.compute(1, |_| Compute::Replace(2)).is_ok()));
    expired(&|| assert_eq!(cache.get_or_load(&1, |_| 2).unwrap(), 2));
    expired(&|| cache.maintain());
    cache.put(1, 1);
    cache.put(1, 2);
    cache.put_with_ttl(1, 3, Duration::ZERO);
    let replaced = [(1, 1, Cause::Replaced), (1, 2, Cause::Replaced), (1, 3, Cause::Expired)];
    assert_eq!(log.take(), replaced);
}

#[test]
fn e1_the_expired_make_room_before_the_living() {
    let (clock, log) = (ManualClock::new(), Log::new());
    let cache = Cache::<u32, u32>::builder()
        .capacity(20)
        .segments(1)
        .clock(clock.clone())
        .removal_listener(log.listener())
        .build()
        .unwrap();
    (0..10).for_each(|key| cache.put(key, key));
    (10..20).for_each(|key| cache.put_with_ttl(key, key, SECOND));
    clock.advance(SECOND * 2);
    (20..30).for_each(|key| cache.put(key, key));
    assert!((0..10).chain(20..30).all(|key| cache.contains_key(&key)));
    assert!(log.take().iter().all(|&(_, _, cause)| cause == Cause::Expired));
}
