//! Redis's policies as a user of the cache meets them: what may leave, what may not, and what is refused.

#[path = "support/directed.rs"]
mod directed;

use cachette::policy::{
    EvictionPolicy, Fifo, Hears, HitCounters, Lfu, Lru, Meta, Random, SampledLfu, SampledLru,
    Sieve, Slot, SoonestDeadline, Touch, Use, Victim, Volatile,
};
use cachette::{Builder, Cache, Cause, Clock, Expiry, ManualClock, Reason};
use directed::Directed;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

const HOUR: Duration = Duration::from_secs(3600);

fn small<P: EvictionPolicy + 'static>(
    capacity: u64,
    make: impl Fn() -> P + Send + Sync + 'static,
) -> Builder<u64, u64> {
    Cache::builder().capacity(capacity).segments(1).clock(ManualClock::new()).policy(make)
}

#[test]
fn permanent_entries_are_never_given_up_whatever_the_policy() {
    fn holds<P: EvictionPolicy + 'static>(make: impl Fn() -> P + Send + Sync + 'static) {
        let cache = small(20, move || Volatile::new(make())).build().unwrap();
        (0..10).for_each(|key| cache.put(key, key));
        for key in 100..1_000 {
            cache.put_with_ttl(key, key, HOUR);
            let _ = cache.get(&(key - 3));
            assert_eq!(cache.weight(), 20.min(key - 100 + 11));
        }
        assert!((0..10).all(|key| cache.contains_key(&key)));
    }
    holds(Lru::new);
    holds(Lfu::new);
    holds(Fifo::new);
    holds(Random::new);
    holds(Sieve::new);
}

#[test]
fn where_only_permanent_entries_are_left_a_write_is_refused_and_handed_back() {
    let cache = small(3, || Volatile::new(Lru::new())).build().unwrap();
    cache.put_with_ttl(1, 10, HOUR);
    cache.put(2, 20);
    cache.put(3, 30);
    assert!(cache.try_put(4, 40).is_ok(), "1 leaves for a permanent entry");
    assert!(!cache.contains_key(&1));
    let refused = cache.try_put(5, 50).unwrap_err();
    assert_eq!((refused.key, refused.value, refused.reason), (5, 50, Reason::Full));
    cache.put_with_ttl(5, 50, HOUR);
    assert_eq!((cache.contains_key(&5), cache.stats().refused), (false, 2));
    // What is there may be written all the same, and leaves in other ways.
    assert!(cache.try_put(2, 21).is_ok());
    cache.delete(&3);
    assert!(cache.try_put(5, 50).is_ok());
    assert_eq!(cache.stats().evicted, 1);
}

#[test]
fn an_entry_gains_and_loses_its_deadline() {
    let cache = small(2, || Volatile::new(Lru::new())).build().unwrap();
    cache.put(1, 10);
    cache.put(2, 20);
    assert!(cache.try_put(3, 30).is_err());
    cache.expire_in(&1, HOUR);
    assert!(cache.try_put(3, 30).is_ok());
    assert!(!cache.contains_key(&1));
    // By a write.
    cache.put_with_ttl(3, 31, HOUR);
    cache.put(3, 32);
    assert!(cache.try_put(4, 40).is_err(), "the last write of 3 was for good");
    cache.put_with_ttl(3, 33, HOUR);
    cache.persist(&3);
    assert!(cache.try_put(4, 40).is_err());
    cache.put_with_ttl(2, 21, HOUR);
    assert!(cache.try_put(4, 40).is_ok());
    assert!(cache.contains_key(&3) && !cache.contains_key(&2));
}

#[test]
fn hits_count_for_those_that_may_leave() {
    let cache = small(4, || Volatile::new(Lru::new())).build().unwrap();
    cache.put(0, 0);
    (1..4).for_each(|key| cache.put_with_ttl(key, key, HOUR));
    assert_eq!((cache.get(&1), cache.get(&0), cache.get(&2)), (Some(1), Some(0), Some(2)));
    cache.put_with_ttl(4, 4, HOUR);
    assert!(!cache.contains_key(&3) && cache.contains_key(&1));
}

#[test]
fn the_entry_that_is_written_is_not_its_own_victim() {
    let cache = small(10, || Volatile::new(Fifo::new())).weigher(|_, &weight| weight);
    let cache = cache.build().unwrap();
    (0..5).for_each(|key| cache.put_with_ttl(key, 2, HOUR));
    cache.put_with_ttl(0, 5, HOUR);
    let left: Vec<_> = (0..5).filter(|key| cache.contains_key(key)).collect();
    assert_eq!(left, [0, 3, 4]);
    // It becomes permanent by the write for which it is set aside.
    cache.put(3, 5);
    assert_eq!((cache.peek(&3), cache.peek(&0), cache.weight()), (Some(5), Some(5), 10));
    assert!(cache.try_put(3, 11).is_err());
    assert_eq!(cache.weight(), 5);
}

#[test]
fn a_segment_of_permanent_entries_takes_from_another() {
    let key = |segment: u64, id: u64| segment << 62 | id;
    for home in 0..4 {
        let cache = Cache::<u64, u64>::builder()
            .capacity(400)
            .segments(4)
            .seed(1)
            .hasher(Directed)
            .policy(|| Volatile::new(Lru::new()))
            .build()
            .unwrap();
        let mortal: Vec<_> = (0..4).filter(|&it| it != home).map(|it| key(it, 0)).collect();
        for id in 0..100 {
            for segment in 0..4 {
                let key = key(segment, id);
                if mortal.contains(&key) {
                    cache.put_with_ttl(key, id, HOUR);
                } else {
                    cache.put(key, id);
                }
            }
        }
        assert_eq!(cache.weight(), 400);
        let left = || mortal.iter().filter(|&key| cache.contains_key(key)).count();
        for more in 1..=3 {
            assert!(cache.try_put(key(home, 100 + more), 0).is_ok(), "{more}");
            assert_eq!((left() as u64, cache.weight()), (3 - more, 400), "one leaves, elsewhere");
        }
        let refused = cache.try_put(key(home, 200), 0).unwrap_err();
        assert_eq!(refused.reason, Reason::Full, "now nobody has any to give");
        assert_eq!((cache.weight(), cache.stats().evicted), (400, 3));
        // A poor segment asks its neighbours in vain, too.
        assert!((0..90).all(|id| cache.delete(&key(home, id))));
        (0..90).for_each(|id| cache.put(key((home + 1) % 4, 1_000 + id), id));
        assert_eq!(cache.try_put(key(home, 300), 0).unwrap_err().reason, Reason::Full);
    }
}

#[test]
fn the_capacity_stays_above_what_is_permanent() {
    let cache = Cache::<u64, u64>::builder()
        .capacity(100)
        .segments(4)
        .policy(|| Volatile::new(Lru::new()))
        .build()
        .unwrap();
    (0..30).for_each(|key| cache.put(key, key));
    (30..100).for_each(|key| cache.put_with_ttl(key, key, HOUR));
    assert!(cache.set_capacity(30).is_ok());
    assert_eq!((cache.weight(), cache.capacity()), (30, 30));
    let error = cache.set_capacity(29).unwrap_err();
    assert_eq!((error.wanted, error.capacity), (29, 30));
    assert!((0..30).all(|key| cache.contains_key(&key)));
}

/// Makes an entry permanent at its first read.
struct ReadOnce;

impl Expiry<u64, u64> for ReadOnce {
    fn created(&self, _: &u64, _: &u64) -> Duration {
        HOUR
    }
    fn read(&self, _: &u64, _: &u64, _: Duration) -> Option<Duration> {
        Some(Duration::MAX)
    }
}

#[test]
fn a_rule_that_takes_a_deadline_away_at_a_read_is_heard() {
    let cache = small(2, || Volatile::new(Lru::new())).expiry(ReadOnce).build().unwrap();
    cache.put(1, 10);
    cache.put(2, 20);
    assert_eq!(cache.get(&1), Some(10));
    cache.put(3, 30);
    assert!(cache.contains_key(&1) && !cache.contains_key(&2));
    assert_eq!(cache.get(&3), Some(30));
    assert!(cache.try_put(4, 40).is_err());
}

fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

#[test]
fn the_nearest_deadline_leaves_first_whoever_sets_it() {
    let cache = small(4, SoonestDeadline::new).build().unwrap();
    cache.put(0, 0);
    for (key, left) in [(1, 10), (2, 40), (3, 20)] {
        cache.put_with_ttl(key, key, minutes(left));
    }
    let leaves = |key: u64, for_whom: u64| {
        cache.put_with_ttl(for_whom, for_whom, minutes(1_000));
        assert!(!cache.contains_key(&key) && cache.contains_key(&for_whom), "{key} {for_whom}");
    };
    assert_eq!(cache.get(&1), Some(1), "a use does not help");
    leaves(1, 10);
    cache.expire_in(&2, minutes(5));
    leaves(2, 11);
    // A new value, with another deadline, and none at all.
    cache.put_with_ttl(10, 10, minutes(3));
    leaves(10, 12);
    cache.put(3, 3);
    cache.persist(&12);
    leaves(11, 13);
    cache.persist(&13);
    assert_eq!(cache.try_put(14, 14).unwrap_err().reason, Reason::Full);
    cache.expire_in(&0, minutes(2_000));
    leaves(0, 14);
}

#[test]
fn who_gets_the_same_deadline_leaves_in_the_order_of_coming() {
    let cache = small(100, SoonestDeadline::new).build().unwrap();
    (0..100).for_each(|key| cache.put_with_ttl(key, key, HOUR));
    for key in 0..100 {
        cache.put_with_ttl(1_000 + key, 0, 2 * HOUR);
        let left: Vec<_> = (0..100).filter(|key| cache.contains_key(key)).collect();
        assert!(left.into_iter().eq(key + 1..100));
    }
}

#[test]
fn the_sampled_ones_keep_what_is_used() {
    fn holds<P: EvictionPolicy + 'static>(make: impl Fn() -> P + Send + Sync + 'static) {
        let clock = ManualClock::new();
        let cache = small(200, make).clock(clock.clone()).build().unwrap();
        for key in 0..5_000 {
            cache.put(key, key);
            if key % 100 == 0 {
                clock.advance(Duration::from_secs(1));
                // Twenty favourites, often used.
                (0..20).for_each(|key| _ = cache.get(&key));
            }
        }
        assert_eq!(cache.weight(), 200);
        let kept = (0..20).filter(|key| cache.contains_key(key)).count();
        assert!(kept >= 19, "{kept} of 20");
    }
    holds(SampledLru::new);
    holds(SampledLfu::new);
}

/// A policy whose words count uses, and that says what it sees of them.
struct Watch {
    inner: Fifo,
    seen: Arc<Mutex<Vec<(u32, u64)>>>,
}

/// Uses above, seconds below. A word of 99 uses is not to be touched.
fn count(it: Use) -> u32 {
    let uses = it.word.map_or(1, |word| (word >> 16) + 1);
    assert_ne!(uses, 99, "unlucky");
    uses << 16 | u32::try_from(it.now / 1_000_000_000).unwrap()
}

impl EvictionPolicy for Watch {
    fn hears(&self) -> Hears {
        Hears::Stamp(Touch::new(count))
    }
    fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.inner.insert(slot, meta);
    }
    fn relocate(&mut self, from: Slot, to: Slot, meta: &Meta) {
        self.inner.relocate(from, to, meta);
    }
    fn remove(&mut self, slot: Slot, cause: Cause) {
        self.inner.remove(slot, cause);
    }
    fn victim(&mut self, newcomer: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        let words = self.inner.coldest().map(|slot| hits.stamp(slot));
        self.seen.lock().unwrap().extend(words.map(|word| (word, hits.now())));
        self.inner.victim(newcomer, hits)
    }
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        self.inner.coldest()
    }
    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        self.inner.hottest()
    }
}

type Seen = Arc<Mutex<Vec<(u32, u64)>>>;

fn watched(capacity: u64) -> (Cache<u64, u64>, ManualClock, Seen) {
    let seen = Seen::default();
    let (clock, view) = (ManualClock::new(), Arc::clone(&seen));
    let make = move || Watch { inner: Fifo::new(), seen: Arc::clone(&view) };
    (small(capacity, make).clock(clock.clone()).build().unwrap(), clock, seen)
}

#[test]
fn a_stamp_is_made_at_each_use_and_follows_the_entry() {
    let (cache, clock, seen) = watched(3);
    let second = Duration::from_secs(1);
    (0..3).for_each(|key| cache.put(key, key));
    clock.advance(second);
    // Used four times, and looked at in ways that touch nothing.
    let _ = (cache.get(&0), cache.get_with(&0, |_| ()), cache.pin().get(&0), cache.get_many(&[0]));
    let _ = (cache.peek(&0), cache.contains_key(&0), cache.iter().count());
    clock.advance(second);
    // A write is a use, of the same entry in another slot; a new deadline is not.
    cache.put(1, 11);
    cache.put(1, 12);
    cache.expire_in(&2, HOUR);
    clock.advance(second);
    cache.put(3, 3);
    let now = 3_000_000_000;
    assert_eq!(*seen.lock().unwrap(), [(5 << 16 | 1, now), (3 << 16 | 2, now), (1 << 16, now)]);
    // Entry 0 has left; its slot is used again, by an entry with no past.
    cache.maintain();
    seen.lock().unwrap().clear();
    cache.put(4, 4);
    let words: Vec<_> = seen.lock().unwrap().iter().map(|&(word, _)| word).collect();
    assert_eq!(words, [3 << 16 | 2, 1 << 16, 1 << 16 | 3]);
}

#[test]
fn a_panic_while_a_stamp_is_made_leaves_a_valid_cache() {
    let (cache, _, seen) = watched(2);
    cache.put(0, 0);
    (0..97).for_each(|_| assert_eq!(cache.get(&0), Some(0)));
    std::panic::set_hook(Box::new(|_| {}));
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cache.get(&0)));
    assert!(read.is_err(), "at a hit it goes through to the reader");
    assert_eq!(cache.stats().policy_panics, 0);
    cache.put(0, 1);
    drop(std::panic::take_hook());
    assert_eq!((cache.stats().policy_panics, cache.peek(&0)), (1, Some(1)), "at a write it ends");
    (1..9).for_each(|key| cache.put(key, key));
    assert_eq!((cache.weight(), cache.get(&8)), (2, Some(8)));
    assert!(!seen.lock().unwrap().is_empty());
}

/// Counts how often it is read.
struct Counting(Arc<AtomicU64>);

impl Clock for Counting {
    fn now(&self) -> Duration {
        self.0.fetch_add(1, SeqCst);
        Duration::ZERO
    }
    fn date(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

#[test]
fn only_a_policy_that_asks_for_stamps_reads_the_clock() {
    let readings = |name: &str| {
        let read = Arc::new(AtomicU64::new(0));
        let builder = Cache::<u64, u64>::builder().capacity(100).clock(Counting(Arc::clone(&read)));
        let cache = match name {
            "lru" => builder.policy(Lru::new),
            "sieve" => builder.policy(Sieve::new),
            "fifo" => builder.policy(Fifo::new),
            _ => builder.policy(SampledLru::new),
        };
        let cache = cache.build().unwrap();
        (0..50).for_each(|key| cache.put(key, key));
        (0..50).for_each(|key| assert_eq!(cache.get(&key), Some(key)));
        read.load(SeqCst)
    };
    assert_eq!(["lru", "sieve", "fifo"].map(readings), [0; 3]);
    assert_eq!(readings("sampled"), 100, "once a write, once a hit");
}
