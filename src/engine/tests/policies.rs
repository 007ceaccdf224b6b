//! Policies that misbehave, and one that watches.

use super::*;
use crate::engine::epoch::Views;
use crate::engine::stripes::Stripes;

/// A policy that panics when told to, and otherwise is LRU.
struct Fragile {
    inner: Lru,
    calls: Arc<AtomicU64>,
    fatal: u64,
}

impl Fragile {
    fn count(&self) {
        assert_ne!(self.calls.fetch_add(1, Ordering::Relaxed), self.fatal, "the policy breaks");
    }
}

impl EvictionPolicy for Fragile {
    fn hears(&self) -> Hears {
        self.inner.hears()
    }
    fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.count();
        self.inner.insert(slot, meta);
    }
    fn update(&mut self, slot: Slot, meta: &Meta) {
        self.count();
        self.inner.update(slot, meta);
    }
    fn hit(&mut self, slot: Slot) {
        self.count();
        self.inner.hit(slot);
    }
    fn remove(&mut self, slot: Slot, cause: Cause) {
        self.count();
        self.inner.remove(slot, cause);
    }
    fn victim(&mut self, newcomer: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        self.count();
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

#[test]
fn a_policy_that_panics_is_replaced_wherever_it_does() {
    std::panic::set_hook(Box::new(|_| {}));
    for fatal in 0..120 {
        let calls = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&calls);
        let engine = engine(1, 20, move || Fragile {
            inner: Lru::new(),
            calls: Arc::clone(&counter),
            fatal,
        });
        for i in 0..60_u64 {
            put(&engine, i % 30, i % 3 + 1, NEVER, 0);
            read(&engine, i % 7, 0);
            assert_valid(&engine);
        }
        let panics = engine.stripes().next().unwrap().lock().policy_panics();
        assert_eq!(panics, u64::from(calls.load(Ordering::Relaxed) > fatal));
    }
    drop(std::panic::take_hook());
}

/// A policy that is broken from the start.
struct Hopeless;

impl EvictionPolicy for Hopeless {
    fn hears(&self) -> Hears {
        Hears::Nothing
    }
    fn insert(&mut self, _: Slot, _: &Meta) {
        panic!("hopeless");
    }
    fn remove(&mut self, _: Slot, _: Cause) {}
    fn victim(&mut self, _: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
        Victim::None
    }
    fn len(&self) -> usize {
        0
    }
    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(std::iter::empty())
    }
    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(std::iter::empty())
    }
}

#[test]
fn a_policy_that_panics_twice_gives_way_to_lru() {
    std::panic::set_hook(Box::new(|_| {}));
    let engine = engine(1, 3, || Hopeless);
    for key in 0..3 {
        put(&engine, key, 1, NEVER, 0);
    }
    read(&engine, 0, 0);
    let (written, causes) = put(&engine, 3, 1, NEVER, 0);
    drop(std::panic::take_hook());
    assert!(matches!(written, Done::Stored(_)));
    assert_eq!(causes, [Cause::Evicted]);
    let one = crate::hash::mix(1);
    assert!(engine.lock(one).find(one, &1).is_none(), "1 was the least recently used");
    assert_valid(&engine);
}

#[test]
fn a_policy_that_names_nonsense_is_not_believed() {
    struct Wrong(bool);
    impl EvictionPolicy for Wrong {
        fn hears(&self) -> Hears {
            Hears::Nothing
        }
        fn insert(&mut self, _: Slot, _: &Meta) {}
        fn remove(&mut self, _: Slot, _: Cause) {}
        fn victim(&mut self, _: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
            if self.0 { Victim::Newcomer } else { Victim::Entry(Slot::new(77)) }
        }
        fn len(&self) -> usize {
            0
        }
        fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
            Box::new(std::iter::empty())
        }
        fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
            Box::new(std::iter::empty())
        }
    }
    for newcomer in [false, true] {
        let engine = engine(1, 1, move || Wrong(newcomer));
        put(&engine, 0, 1, NEVER, 0);
        let (written, _) = put(&engine, 1, 1, NEVER, 0);
        assert_eq!(written, Done::Refused(Some(Reason::Full)));
        assert!(!engine.set_capacity(0, &|| 0, &mut Outgoing::new(false)), "it gives nothing up");
        assert_eq!((engine.budget.capacity(), engine.budget.used()), (1, 1));
    }
}

/// FIFO that keeps no more than a bound of its own.
struct Narrow {
    inner: Fifo,
    bound: Arc<AtomicU64>,
}

impl EvictionPolicy for Narrow {
    fn hears(&self) -> Hears {
        Hears::Nothing
    }
    fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.inner.insert(slot, meta);
    }
    fn remove(&mut self, slot: Slot, cause: Cause) {
        self.inner.remove(slot, cause);
    }
    fn victim(&mut self, newcomer: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        self.inner.victim(newcomer, hits)
    }
    fn is_overfull(&self) -> bool {
        self.inner.len() as u64 > self.bound.load(Ordering::Relaxed)
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

#[test]
fn a_policy_that_is_overfull_evicts_where_there_is_room() {
    let bound = Arc::new(AtomicU64::new(NEVER));
    let told = Arc::clone(&bound);
    let engine = engine(1, 300, move || {
        let narrow = Narrow { inner: Fifo::new(), bound: Arc::clone(&told) };
        Box::new(narrow) as Box<dyn EvictionPolicy>
    });
    let evicted = |key| {
        let (written, causes) = put(&engine, key, 1, NEVER, 0);
        assert!(matches!(written, Done::Stored(_)));
        assert!(causes.iter().all(|&cause| cause == Cause::Evicted));
        assert_valid(&engine);
        causes.len()
    };
    assert_eq!((0..200).map(evicted).sum::<usize>(), 0);
    // More than a slice, exactly one, and none.
    for (left, most, key) in [(200, 71, 200), (71, 8, 201), (8, 9, 202)] {
        bound.store(most, Ordering::Relaxed);
        let gone = (left + 1_u64).saturating_sub(most);
        assert_eq!(evicted(key) as u64, gone);
        assert_eq!(engine.budget.used(), left + 1 - gone, "what left was given back");
    }
}

/// FIFO that hears of hits as it is told to, and of misses; it writes down what it sees.
struct Witness {
    inner: Fifo,
    hears: Hears,
    seen: Arc<crate::sync::Mutex<Vec<String>>>,
    /// Panics at this miss.
    fatal: u64,
}

impl EvictionPolicy for Witness {
    fn hears(&self) -> Hears {
        self.hears
    }
    fn hit(&mut self, slot: Slot) {
        self.seen.lock().push(format!("hit {slot:?}"));
    }
    fn resize(&mut self, share: u64) {
        self.seen.lock().push(format!("share {share}"));
    }
    fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.inner.insert(slot, meta);
    }
    fn reschedule(&mut self, _: Slot, meta: &Meta) {
        self.seen.lock().push(format!("deadline {}", meta.deadline));
    }
    fn miss(&mut self, hash: u64) {
        assert_ne!(hash, self.fatal, "the policy breaks");
        self.seen.lock().push(format!("miss {hash}"));
    }
    fn remove(&mut self, slot: Slot, cause: Cause) {
        self.inner.remove(slot, cause);
    }
    fn victim(&mut self, newcomer: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        let counts: Vec<_> = self.inner.coldest().map(|slot| hits.get(slot)).collect();
        self.seen.lock().push(format!("counts {counts:?}"));
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

/// An engine with a witness in each segment, and what they have seen since that was asked last.
fn witnessed(segments: usize, capacity: u64, fatal: u64) -> (Small, impl Fn() -> Vec<String>) {
    witnessed_by(Hears::Counter(2), segments, capacity, fatal)
}

fn witnessed_by(
    hears: Hears,
    segments: usize,
    capacity: u64,
    fatal: u64,
) -> (Small, impl Fn() -> Vec<String>) {
    let seen = Arc::new(crate::sync::Mutex::new(Vec::new()));
    let book = Arc::clone(&seen);
    let make = move || Witness { inner: Fifo::new(), hears, seen: Arc::clone(&book), fatal };
    (engine(segments, capacity, make), move || std::mem::take(&mut *seen.lock()))
}

#[test]
fn a_policy_hears_of_all_that_it_asked_for() {
    let (engine, seen) = witnessed(1, 5, 1);
    assert_eq!(seen(), ["share 5"]);
    (0..5).for_each(|key| drop(put(&engine, key, 1, NEVER, 0)));
    for key in 1..5 {
        (1..key).for_each(|_| assert_eq!(read(&engine, key, 0), Some(1)));
    }
    put(&engine, 5, 1, NEVER, 0);
    assert_eq!(seen(), ["counts [0, 0, 1, 2, 2]"], "a counter stops at 2");
    assert_eq!(read(&engine, 0, 0), None);
    assert_eq!(seen(), [format!("miss {}", crate::hash::mix(0))]);
    let hash = crate::hash::mix(5);
    let mut segment = engine.lock(hash);
    let slot = segment.find(hash, &5).unwrap();
    segment.reschedule(hash, slot, Deadline { hard: 9 << 30, idle: 7 << 30 }, 1);
    drop(segment);
    assert_eq!(seen(), [format!("deadline {}", 7_u64 << 30)]);
    assert_eq!(engine.lock(hash).find_live(hash, &5, 7 << 30), None);
    assert!(engine.set_capacity(8, &|| 0, &mut Outgoing::new(false)));
    assert_eq!(seen(), ["share 8"]);
    let stripe = engine.stripes().next().unwrap();
    let segment = stripe.lock();
    assert_eq!((segment.state.share, segment.policy_panics()), (8, 0));
}

/// One hit is one round more, and the hand begins another where the others have left.
#[test]
fn a_counter_that_was_lowered_stays_so() {
    let engine = engine(1, 3, Sieve::new);
    (0..3).for_each(|key| drop(put(&engine, key, 1, NEVER, 0)));
    assert_eq!(read(&engine, 0, 0), Some(1));
    put(&engine, 3, 1, NEVER, 0);
    assert_eq!(read(&engine, 1, 0), None);
    [2, 3].into_iter().for_each(|key| delete(&engine, key));
    (4..7).for_each(|key| drop(put(&engine, key, 1, NEVER, 0)));
    assert_eq!(read(&engine, 0, 0), None);
}

#[test]
fn each_policy_hears_of_its_share() {
    let (engine, seen) = witnessed(4, 100, 1);
    let make = |segment: u64| assert_eq!(engine.home(segment << 62).weight(), 0);
    assert_eq!(seen(), ["share 25"], "the first is made with the cache");
    make(2);
    assert_eq!(seen(), ["share 25"]);
    make(2);
    assert!(seen().is_empty(), "it is there");
    assert!(engine.set_capacity(40, &|| 0, &mut Outgoing::new(false)));
    assert_eq!(seen(), ["share 10"; 2]);
    make(1);
    assert_eq!(seen(), ["share 10"]);
    assert_eq!(engine.stripes().map(|stripe| stripe.number).collect::<Vec<_>>(), [0, 1, 2]);
    let from = |number| engine.stripe_from(number).map(|stripe| stripe.number);
    assert_eq!([0, 1, 2, 3, 4].map(from), [Some(0), Some(1), Some(2), None, None]);
}

#[test]
fn segments_share_what_may_be_in_limbo() {
    let limbo = |segments| engine(segments, 1_000, Lru::new).home(0).limbo;
    assert_eq!([1, 4, 64, 256].map(limbo), [1_024, 256, 16, 16]);
}

#[test]
fn a_policy_that_is_made_while_the_capacity_changes_hears_of_it() {
    let (engine, seen) = witnessed(2, 100, 1);
    let engine = Arc::new(engine);
    let inside = Arc::clone(&engine);
    // The first is made; the maker of the second is interrupted by a change of the capacity.
    let stripes: Stripes<u64, u64, u32> = {
        let made = AtomicU64::new(0);
        let make: Make = Arc::new(move || {
            if made.fetch_add(1, Ordering::Relaxed) == 0 {
                assert!(inside.set_capacity(10, &|| 0, &mut Outgoing::new(false)));
            }
            Box::new(Fifo::new())
        });
        Stripes::new(2, None, plan(make), Arc::new(Views::new()))
    };
    drop(seen());
    assert_eq!(stripes.reach(1, &engine.budget).lock().state.share, 5);
}

#[test]
fn a_miss_where_nothing_was_ever_written_is_heard() {
    let (engine, seen) = witnessed(4, 100, 1);
    drop(seen());
    let key = (0..).find(|&key| crate::hash::mix(key) >> 62 == 3).unwrap();
    assert_eq!(read(&engine, key, 0), None);
    assert_eq!(seen(), ["share 25".to_owned(), format!("miss {}", crate::hash::mix(key))]);
    // One that does not hear has nothing made for it.
    let engine = self::engine(4, 100, Lru::new);
    assert_eq!(read(&engine, key, 0), None);
    assert_eq!(engine.stripes().count(), 1);
}

#[test]
fn a_fresh_policy_is_shown_what_has_weight() {
    let fatal = crate::hash::mix(100);
    let (engine, _) = witnessed(1, 10, fatal);
    (0..10).for_each(|key| drop(put(&engine, key, key % 3, NEVER, 0)));
    assert_valid(&engine);
    std::panic::set_hook(Box::new(|_| {}));
    assert_eq!(read(&engine, 100, 0), None);
    drop(std::panic::take_hook());
    assert_eq!(engine.stripes().next().unwrap().lock().policy_panics(), 1);
    assert_valid(&engine);
}

/// More hits than the ring takes, on entries with weights, one of which has none.
#[test]
fn with_one_thread_no_hit_is_lost() {
    for weight in [1, 2] {
        let engine = engine(1, 200 * weight, Lru::new);
        (0..200).for_each(|key| drop(put(&engine, key, weight, NEVER, 0)));
        put(&engine, 1_000, 0, NEVER, 0);
        for key in (0..200).rev() {
            assert_eq!(read(&engine, key, 0), Some(weight));
            assert_eq!(read(&engine, 1_000, 0), Some(0));
        }
        for key in 0..200 {
            put(&engine, 300 + key, weight, NEVER, 0);
            assert_eq!(engine.lock(0).len(), 201);
            let hash = crate::hash::mix(199 - key);
            assert_eq!(engine.lock(hash).find(hash, &(199 - key)), None, "{key} of {weight}");
        }
        assert_valid(&engine);
    }
}

/// How many of `hits` on each of two keys an exact policy has heard of: of the first while another thread writes to the segment,
/// of the second while none does. Neither waits.
fn heard_of(hits: u64) -> [usize; 2] {
    let (engine, seen) = witnessed_by(Hears::InOrder, 1, 10, 1);
    (1..3).for_each(|key| drop(put(&engine, key, 1, NEVER, 0)));
    let heard = |key| {
        let told = seen();
        let hash = crate::hash::mix(key);
        let slot = engine.lock(hash).find(hash, &key).unwrap();
        let also = seen();
        told.iter().chain(&also).filter(|said| **said == format!("hit {slot:?}")).count()
    };
    let busy = engine.lock(0);
    let read_all = |key| (0..hits).for_each(|_| assert_eq!(read(&engine, key, 0), Some(1)));
    crate::sync::thread::scope(|scope| scope.spawn(|| read_all(1)).join().unwrap());
    drop(busy);
    let first = heard(1);
    read_all(2);
    [first, heard(2)]
}

#[test]
fn a_hit_is_lost_only_where_64_wait_and_somebody_writes() {
    assert_eq!(heard_of(64), [64, 64]);
    assert_eq!(heard_of(70), [64, 70]);
}
