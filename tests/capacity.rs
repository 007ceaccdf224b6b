//! The bound: promises C1 to C4, and who makes room for whom.

#[path = "support/directed.rs"]
mod directed;
mod support;

use cachette::policy::{
    EvictionPolicy, Fifo, Hears, HitCounters, Lfu, Lru, Meta, NoEviction, Random, Slot, Victim,
};
use cachette::{Builder, Cache, CapacityError, Cause, Compute, ComputeError, Reason};
use directed::Directed;
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;
use support::{Log, Rng};

const THREADS: u64 = 8;

/// A cache whose values are their own weights.
fn weighing(capacity: u64, segments: usize) -> Builder<u64, u64> {
    Cache::builder().capacity(capacity).segments(segments).seed(1).weigher(|_, &weight| weight)
}

/// One less at work, also after a panic.
struct AtWork<'a>(&'a AtomicUsize);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Runs `work` in 8 threads at once, and `watch` again and again until they are done.
fn watched(work: impl Fn(u64) + Sync, mut watch: impl FnMut() + Send) {
    let start = Barrier::new(THREADS as usize + 1);
    let working = AtomicUsize::new(THREADS as usize);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (start, working, work) = (&start, &working, &work);
            scope.spawn(move || {
                let _done = AtWork(working);
                start.wait();
                work(thread);
            });
        }
        start.wait();
        while working.load(SeqCst) != 0 {
            watch();
        }
        watch();
    });
}

#[test]
fn c1_the_weight_never_exceeds_the_capacity() {
    for segments in [1, 4, 16] {
        let cache = weighing(5_000, segments).build().unwrap();
        let work = |thread| {
            let mut rng = Rng::new(thread);
            for _ in 0..10_000 {
                let key = rng.below(2_000);
                let weight = if rng.below(500) == 0 { rng.below(5_001) } else { rng.below(40) };
                match rng.below(8) {
                    0 => drop(cache.delete(&key)),
                    1 => drop(cache.get_and_put(key, weight)),
                    2 => drop(cache.put_if_absent(key, weight)),
                    3 => drop(cache.compute(key, |_| Compute::Replace(weight))),
                    _ => cache.put(key, weight),
                }
            }
        };
        watched(work, || assert!(cache.weight() <= 5_000));
        let sum: u64 = cache.iter().map(|(_, weight)| weight).sum();
        assert_eq!(cache.weight(), sum, "{segments} segments");
        assert_eq!(cache.stats().entries, cache.iter().count() as u64);
        (2_000..2_600).for_each(|key| cache.put(key, 10));
        assert!(cache.weight() > 4_950, "it can be filled to the brim");
    }
}

#[test]
fn c2_an_entry_as_heavy_as_the_capacity_fits() {
    for segments in [1, 4, 16] {
        let log = Log::new();
        let cache = weighing(1_000, segments).removal_listener(log.listener()).build().unwrap();
        (0..1_000).for_each(|key| cache.put(key, 1));
        cache.try_put(5_000, 1_000).unwrap();
        assert_eq!(cache.iter().collect::<Vec<_>>(), [(5_000, 1_000)]);
        let evicted = log.take();
        assert_eq!(evicted.len(), 1_000);
        assert!(evicted.iter().all(|&(_, _, cause)| cause == Cause::Evicted));
        cache.try_put(5_000, 1_000).unwrap();
        cache.try_put(1, 1).unwrap();
        assert_eq!(cache.iter().collect::<Vec<_>>(), [(1, 1)]);
    }
}

#[test]
fn c2_the_heaviest_entry_fits_while_eight_threads_put_small_ones() {
    for segments in [1, 4, 16] {
        let cache = weighing(600, segments).build().unwrap();
        let work = |thread| {
            let mut rng = Rng::new(thread);
            for _ in 0..10_000 {
                match rng.below(4) {
                    0 => drop(cache.delete(&rng.below(2_000))),
                    _ => cache.try_put(rng.below(2_000), 1).expect("a small one displaces another"),
                }
            }
        };
        let mut fitted = 0;
        watched(work, || {
            cache.try_put(9_999, 600).expect("everything else may leave for it");
            fitted += 1;
        });
        assert!(fitted > 0);
        assert!(cache.weight() <= 600);
    }
}

#[test]
fn c2_heavy_writes_of_many_threads_all_end() {
    for segments in [1, 4, 16] {
        let cache = weighing(1_000, segments).build().unwrap();
        let work = |thread| {
            let mut rng = Rng::new(thread);
            for _ in 0..200 {
                let weight = 300 + rng.below(701);
                cache.try_put(rng.below(16), weight).expect("LRU gives up everything");
            }
        };
        watched(work, || assert!(cache.weight() <= 1_000));
        assert_eq!(cache.weight(), cache.iter().map(|(_, weight)| weight).sum::<u64>());
    }
}

/// Neither a key nor a value that can be cloned.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Own(u64);

#[test]
fn c2_a_heavier_entry_comes_back_and_the_old_value_of_its_key_is_gone() {
    for segments in [1, 16] {
        let builder = Cache::<Own, Own>::builder().capacity(100).segments(segments);
        let cache = builder.weigher(|_, value| value.0).build().unwrap();
        cache.put(Own(1), Own(10));
        cache.put(Own(2), Own(20));
        let refused = cache.try_put(Own(1), Own(101)).unwrap_err();
        assert_eq!((refused.key, refused.value), (Own(1), Own(101)));
        assert_eq!(refused.reason, Reason::TooHeavy);
        assert!(!cache.contains_key(&Own(1)), "it was out of date");
        assert!(cache.contains_key(&Own(2)), "nothing else left");
        assert_eq!(cache.weight(), 20);

        let refused = cache.compute(Own(2), |_| Compute::Replace(Own(u64::MAX)));
        let Err(ComputeError::Refused(refused)) = refused else { panic!("{refused:?}") };
        assert_eq!((refused.key, refused.value), (Own(2), Own(u64::MAX)));
        assert_eq!(cache.weight(), 0);
    }
}

#[test]
fn c2_the_listener_hears_what_put_refuses() {
    let log = Log::new();
    let cache = weighing(10, 1).removal_listener(log.listener()).build().unwrap();
    cache.put(1, 5);
    cache.put(1, 11);
    let mut heard = log.take();
    heard.sort_by_key(|&(_, value, _)| value);
    assert_eq!(heard, [(1, 5, Cause::Deleted), (1, 11, Cause::Refused)]);
    cache.put(2, 1);
    assert!(!cache.replace_if(2, 12, |_| true));
    assert!(!cache.put_if_absent(3, 13));
    assert_eq!(cache.get_and_put(4, 14), None);
    let refused: Vec<_> = log.take().into_iter().filter(|e| e.2 == Cause::Refused).collect();
    assert_eq!(
        refused,
        [(2, 12, Cause::Refused), (3, 13, Cause::Refused), (4, 14, Cause::Refused)]
    );
    assert!(cache.is_empty());
    assert_eq!(cache.stats().refused, 4);
}

#[test]
fn c2_a_cache_without_capacity_refuses_all_that_has_weight() {
    for segments in [1, 4] {
        let cache = weighing(0, segments).build().unwrap();
        assert_eq!(cache.try_put(1, 1).unwrap_err().reason, Reason::TooHeavy);
        cache.try_put(2, 0).unwrap();
        assert_eq!(cache.len(), 1);
    }
}

#[test]
fn c3_a_new_capacity_holds_when_set_capacity_returns() {
    for segments in [1, 4, 16] {
        let log = Log::new();
        let cache = weighing(1_000, segments).removal_listener(log.listener()).build().unwrap();
        (0..500).for_each(|key| cache.put(key, 2));
        for capacity in [999, 500, 3, 0] {
            cache.set_capacity(capacity).unwrap();
            assert_eq!(cache.capacity(), capacity);
            assert!(cache.weight() <= capacity && cache.weight() + 2 > capacity, "{capacity}");
        }
        assert_eq!(log.take().len(), 500);
        assert!(cache.is_empty());
        cache.set_capacity(u64::MAX).unwrap();
        cache.try_put(1, u64::MAX - 1).unwrap();
        cache.try_put(2, 1).unwrap();
        assert_eq!(cache.len(), 2);
        cache.set_capacity(10).unwrap();
        assert!(cache.weight() <= 10);
    }
}

#[test]
fn c3_the_capacity_may_change_while_eight_threads_write() {
    for segments in [1, 4, 16] {
        let cache = weighing(2_000, segments).build().unwrap();
        let work = |thread| {
            let mut rng = Rng::new(thread);
            for _ in 0..5_000 {
                let (key, weight) = (rng.below(1_000), rng.below(20));
                match rng.below(4) {
                    0 => drop(cache.delete(&key)),
                    _ => cache.put(key, weight),
                }
            }
        };
        let mut rng = Rng::new(99);
        let mut set = 0;
        watched(work, || {
            let capacity = [0, 19, 100, 500, 2_000][rng.below(5) as usize];
            cache.set_capacity(capacity).expect("LRU gives up everything");
            assert!(cache.weight() <= capacity, "{} > {capacity}", cache.weight());
            set += 1;
        });
        assert!(set > 0);
        assert_eq!(cache.weight(), cache.iter().map(|(_, weight)| weight).sum::<u64>());
    }
}

#[test]
fn c3_a_policy_that_gives_up_nothing_keeps_the_capacity() {
    for segments in [1, 4] {
        let cache = weighing(10, segments).policy(NoEviction::new).build().unwrap();
        (0..4).for_each(|key| cache.put(key, 2));
        assert_eq!(cache.set_capacity(7), Err(CapacityError { wanted: 7, capacity: 10 }));
        assert_eq!((cache.capacity(), cache.weight(), cache.len()), (10, 8, 4));
        cache.put(9, 2);
        assert_eq!(cache.weight(), 10, "what was tried has not cost any room");
        assert!(cache.delete(&0) && cache.delete(&1));
        cache.set_capacity(6).unwrap();
        cache.set_capacity(7).unwrap();
        assert_eq!(cache.try_put(8, 2).unwrap_err().reason, Reason::Full);
        cache.try_put(8, 1).unwrap();
    }
}

#[test]
fn c4_what_weighs_nothing_is_not_evicted() {
    for segments in [1, 4] {
        let cache = weighing(10, segments).build().unwrap();
        (0..100).for_each(|key| cache.put(key, 0));
        (100..1_000).for_each(|key| cache.put(key, 1 + key % 10));
        cache.set_capacity(0).unwrap();
        assert_eq!(cache.len(), 100);
        assert!((0..100).all(|key| cache.get(&key) == Some(0)));
    }
}

#[test]
fn c4_a_value_may_gain_weight_and_lose_it() {
    let log = Log::new();
    let cache = weighing(4, 1).policy(Lru::new).removal_listener(log.listener()).build().unwrap();
    cache.put(1, 0);
    cache.put(2, 2);
    cache.put(1, 2);
    assert_eq!(cache.weight(), 4);
    assert_eq!(log.take(), [(1, 0, Cause::Replaced)]);
    cache.put(3, 2);
    assert_eq!(log.take(), [(2, 2, Cause::Evicted)], "1 joined the order behind 2");
    cache.put(1, 0);
    assert_eq!(cache.weight(), 2);
    cache.put(4, 4);
    assert_eq!(log.take(), [(1, 2, Cause::Replaced), (3, 2, Cause::Evicted)]);
    assert_eq!(cache.peek(&1), Some(0));
    cache.put(1, 1);
    assert!(!cache.contains_key(&4) && cache.contains_key(&1));
}

#[test]
fn c2_without_eviction_nothing_is_lost() {
    for segments in [1, 4, 16] {
        let cache = weighing(100, segments).policy(NoEviction::new).build().unwrap();
        let stored = std::sync::Mutex::new(HashSet::new());
        let work = |thread: u64| {
            for i in 0..100 {
                let key = thread * 100 + i;
                match cache.try_put(key, 1) {
                    Ok(()) => drop(stored.lock().unwrap().insert(key)),
                    Err(refused) => assert_eq!(refused.reason, Reason::Full),
                }
            }
        };
        watched(work, || assert!(cache.weight() <= 100));
        let stored = stored.into_inner().unwrap();
        assert_eq!(stored.len(), 100, "{segments} segments: refused only when it is full");
        assert_eq!(cache.iter().map(|(key, _)| key).collect::<HashSet<_>>(), stored);
        for &key in &stored {
            cache.try_put(key, 1).expect("a value as heavy as the old one needs no room");
        }
        let one = *stored.iter().next().unwrap();
        assert_eq!(cache.try_put(one, 2).unwrap_err().reason, Reason::Full);
        assert!(!cache.contains_key(&one), "out of date, so gone");
    }
}

#[test]
fn c1_values_of_equal_weight_are_always_exchanged() {
    for segments in [1, 16] {
        let log = Log::new();
        let cache = weighing(160, segments).removal_listener(log.listener()).build().unwrap();
        (0..16).for_each(|key| cache.put(key, 10));
        assert_eq!(cache.weight(), 160);
        let present: Vec<u64> = cache.iter().map(|(key, _)| key).collect();
        watched(
            |thread| {
                let mut rng = Rng::new(thread);
                for _ in 0..2_000 {
                    let key = present[rng.below(present.len() as u64) as usize];
                    cache.try_put(key, 10).expect("nothing has to leave");
                }
            },
            || assert_eq!(cache.weight(), 160),
        );
        assert!(log.take().iter().all(|&(_, _, cause)| cause == Cause::Replaced));
    }
}

/// `1` is the next victim, and grows until another has to leave.
fn grown<P: EvictionPolicy + 'static>(
    make: impl Fn() -> P + Send + Sync + 'static,
    prepare: impl Fn(&Cache<u64, u64>),
) -> Vec<(u64, u64, Cause)> {
    let log = Log::new();
    let cache = weighing(10, 1).policy(make).removal_listener(log.listener()).build().unwrap();
    cache.put(1, 3);
    cache.put(2, 3);
    cache.put(3, 4);
    prepare(&cache);
    cache.put(1, 6);
    assert_eq!(cache.peek(&1), Some(6));
    assert!(cache.weight() <= 10);
    let heard = log.take();
    // It is in the order, once: it can leave, and only once.
    cache.put(4, 10);
    assert_eq!(cache.iter().collect::<Vec<_>>(), [(4, 10)]);
    assert_eq!(log.take().iter().filter(|e| e.0 == 1).count(), 1);
    heard
}

#[test]
fn c1_a_value_that_grows_pushes_out_others_and_not_itself() {
    let expected = [(2, 3, Cause::Evicted), (1, 3, Cause::Replaced)];
    assert_eq!(grown(Fifo::new, |_| {}), expected);
    assert_eq!(grown(Lru::new, |_| {}), expected);
    let read_others = |cache: &Cache<u64, u64>| {
        let _ = (cache.get(&2), cache.get(&3), cache.get(&3));
    };
    assert_eq!(grown(Lfu::new, read_others), expected);
    for seed in 0..20 {
        let heard = grown(move || Random::seeded(seed), |_| {});
        assert!(heard.iter().all(|&(key, _, cause)| key != 1 || cause == Cause::Replaced));
    }
}

#[test]
fn c1_a_value_that_grows_to_the_whole_capacity_stands_alone() {
    for segments in [1, 16] {
        let cache = weighing(100, segments).build().unwrap();
        (0..100).for_each(|key| cache.put(key, 1));
        let key = cache.iter().next().unwrap().0;
        cache.try_put(key, 100).unwrap();
        assert_eq!(cache.iter().collect::<Vec<_>>(), [(key, 100)]);
    }
}

/// How many entries each of 16 segments has.
fn spread(cache: &Cache<u64, u64, Directed>) -> Vec<usize> {
    let mut counts = vec![0; 16];
    cache.iter().for_each(|(key, _)| counts[(key >> 60) as usize] += 1);
    counts
}

#[test]
fn c1_no_segment_starves() {
    let builder = Cache::<u64, u64>::builder().capacity(1_600).segments(16).seed(3);
    let cache = builder.hasher(Directed).build().unwrap();
    (0..5_000).for_each(|id| cache.put(id, id));
    assert_eq!(spread(&cache)[0], 1_600, "one segment may have it all");
    for id in 0..1_000_u64 {
        (0..16).for_each(|segment| cache.put(segment << 60 | (10_000 + id), id));
        assert_eq!(cache.weight(), 1_600);
    }
    let counts = spread(&cache);
    assert!(counts.iter().all(|&count| count >= 70), "three quarters of the share: {counts:?}");
    // A burst into one segment pushes out its own.
    let before = spread(&cache);
    (0..5_000).for_each(|id| cache.put(7 << 60 | (20_000 + id), id));
    let after = spread(&cache);
    let robbed = (0..16).filter(|&s| s != 7).map(|s| before[s] - after[s]).sum::<usize>();
    assert!(robbed <= 20, "{before:?} {after:?}");
}

/// A queue whose answers are chosen by the test.
struct Custom {
    order: VecDeque<Slot>,
    hears: Hears,
    /// Prefers what it has.
    closed: Arc<AtomicBool>,
    /// Panics in its so-manieth call of `victim`.
    fatal: Arc<AtomicU64>,
    /// An entry came twice, or one left that was not there.
    broken: Arc<AtomicBool>,
}

impl EvictionPolicy for Custom {
    fn hears(&self) -> Hears {
        self.hears
    }

    fn insert(&mut self, slot: Slot, _: &Meta) {
        self.broken.fetch_or(self.order.contains(&slot), SeqCst);
        self.order.push_back(slot);
    }

    fn relocate(&mut self, from: Slot, to: Slot, _: &Meta) {
        let at = self.order.iter().position(|&other| other == from);
        self.broken.fetch_or(at.is_none() || self.order.contains(&to), SeqCst);
        if let Some(at) = at {
            self.order[at] = to;
        }
    }

    fn remove(&mut self, slot: Slot, _: Cause) {
        let at = self.order.iter().position(|&other| other == slot);
        self.broken.fetch_or(at.is_none(), SeqCst);
        at.map(|at| self.order.remove(at));
    }

    fn victim(&mut self, newcomer: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        assert_ne!(self.fatal.fetch_sub(1, SeqCst), 1, "as the test wants it");
        if self.closed.load(SeqCst) && newcomer.is_some() {
            return Victim::Newcomer;
        }
        // CLOCK (Corbato 1968): who was read gets another round.
        for _ in 0..=self.order.len() * 4 {
            let Some(&slot) = self.order.front() else { break };
            match hits.get(slot) {
                0 => return Victim::Entry(slot),
                count => hits.set(slot, count - 1),
            }
            self.order.rotate_left(1);
        }
        Victim::None
    }

    fn len(&self) -> usize {
        self.order.len()
    }

    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.order.iter().copied())
    }

    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.order.iter().rev().copied())
    }
}

/// What a test may do to its policy, and see of it.
#[derive(Clone, Default)]
struct Handle {
    closed: Arc<AtomicBool>,
    fatal: Arc<AtomicU64>,
    broken: Arc<AtomicBool>,
}

impl Handle {
    fn make(&self, hears: Hears) -> impl Fn() -> Custom + Send + Sync + 'static {
        let Self { closed, fatal, broken } = self.clone();
        move || Custom {
            order: VecDeque::new(),
            hears,
            closed: Arc::clone(&closed),
            fatal: Arc::clone(&fatal),
            broken: Arc::clone(&broken),
        }
    }
}

#[test]
fn c2_a_policy_may_prefer_what_it_has() {
    for segments in [1, 4] {
        let (log, handle) = (Log::new(), Handle::default());
        let cache = weighing(8, segments)
            .policy(handle.make(Hears::Nothing))
            .removal_listener(log.listener())
            .build()
            .unwrap();
        (0..64).for_each(|key| cache.put(key, 1));
        assert_eq!(log.take().len(), 56);
        handle.closed.store(true, SeqCst);
        let mut resident: Vec<_> = cache.iter().collect();
        let refused: Vec<u64> = (64..128)
            .filter(|&key| cache.try_put(key, 1).is_err_and(|e| e.reason == Reason::Full))
            .collect();
        // A segment that is below its share asks others for room, not for leave.
        assert!(refused.len() >= if segments == 1 { 64 } else { 32 }, "{}", refused.len());
        assert!(refused.iter().all(|key| !cache.contains_key(key)));
        assert_eq!(cache.weight(), 8);
        if segments == 1 {
            resident.sort_unstable();
            let mut now: Vec<_> = cache.iter().collect();
            now.sort_unstable();
            assert_eq!(now, resident);
        }
        assert!(!handle.broken.load(SeqCst));
    }
}

#[test]
fn c1_a_policy_may_hear_of_hits_by_counters() {
    let handle = Handle::default();
    let cache = Cache::<u64, u64>::builder()
        .capacity(8)
        .segments(1)
        .policy(handle.make(Hears::Counter(3)))
        .build()
        .unwrap();
    // The same, slow and obvious: keys from the next victim on, with their hits.
    let mut clock: VecDeque<(u64, u8)> = VecDeque::new();
    let mut rng = Rng::new(5);
    for step in 0..20_000 {
        let key = rng.below(16);
        let at = clock.iter().position(|&(other, _)| other == key);
        match rng.below(4) {
            0 => {
                assert_eq!(cache.delete(&key), at.is_some());
                at.map(|at| clock.remove(at));
            }
            1 => {
                cache.put(key, step);
                if at.is_none() {
                    while clock.len() == 8 {
                        let (key, hits) = clock.pop_front().unwrap();
                        if hits > 0 {
                            clock.push_back((key, hits - 1));
                        }
                    }
                    clock.push_back((key, 0));
                }
            }
            _ => {
                assert_eq!(cache.get(&key).is_some(), at.is_some());
                if let Some(at) = at {
                    clock[at].1 = (clock[at].1 + 1).min(3);
                }
            }
        }
        let resident: HashSet<u64> = cache.iter().map(|(key, _)| key).collect();
        assert_eq!(resident, clock.iter().map(|&(key, _)| key).collect(), "step {step}");
    }
    assert!(!handle.broken.load(SeqCst));
}

#[test]
fn c5_a_policy_that_panics_while_a_value_grows_is_shown_each_entry_once() {
    for fatal in 1..=3 {
        let handle = Handle::default();
        let cache = weighing(10, 1).policy(handle.make(Hears::Counter(1))).build().unwrap();
        (1..=5).for_each(|key| cache.put(key, 2));
        // What was read stays for another round, so 5 is named first; the fresh policy will name 1.
        (1..=4).for_each(|key| assert!(cache.get(&key).is_some()));
        handle.fatal.store(fatal, SeqCst);
        cache.put(5, 5);
        assert_eq!(cache.peek(&5), Some(5));
        assert_eq!(cache.stats().policy_panics, 1, "panic in call {fatal}");
        assert!(!handle.broken.load(SeqCst), "panic in call {fatal}");
        (10..20).for_each(|key| cache.put(key, 2));
        assert_eq!(cache.weight(), 10);
        assert!(!handle.broken.load(SeqCst), "panic in call {fatal}");
    }
}
