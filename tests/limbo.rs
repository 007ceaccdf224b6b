//! What has left and is still looked at: promise C1, as far as values that wait for readers are concerned. In a program of its own,
//! so that no other test's readers are in the way.

#[path = "support/rng.rs"]
mod support;

use cachette::Cache;
use cachette::policy::Sieve;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, mpsc};
use std::thread;
use support::Rng;

/// Entries that may be in limbo in ordinary running, where that is more than 2 %.
const LIMBO: u64 = 1024;

/// What a call takes out at once.
const SLICE: u64 = 64;

/// Tests that count what is in limbo run one after another: a reader of another test could hold it.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// How many values there are.
#[derive(Default)]
struct Ledger(AtomicU64);

impl Ledger {
    fn value(self: &Arc<Self>, number: u64) -> Value {
        self.0.fetch_add(1, SeqCst);
        Value { number: Box::new(number), state: AtomicU64::new(ALIVE), ledger: Arc::clone(self) }
    }

    fn live(&self) -> u64 {
        self.0.load(SeqCst)
    }
}

const ALIVE: u64 = 0x5EED;

/// A value that knows if it is dropped twice, and if it is read afterwards.
struct Value {
    number: Box<u64>,
    state: AtomicU64,
    ledger: Arc<Ledger>,
}

impl Value {
    fn read(&self) -> u64 {
        assert_eq!(self.state.load(SeqCst), ALIVE, "a value is read after it was dropped");
        *self.number
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        assert_eq!(self.state.swap(0, SeqCst), ALIVE, "a value is dropped twice");
        self.ledger.0.fetch_sub(1, SeqCst);
    }
}

type Values = Cache<u64, Value>;

fn values(capacity: u64, segments: usize) -> (Values, Arc<Ledger>) {
    let cache = Cache::builder().capacity(capacity).segments(segments).policy(Sieve::new);
    (cache.build().unwrap(), Arc::default())
}

/// Puts keys from `from` on, `count` of them; and what is in limbo after each put is shown to `look`.
fn churn(cache: &Values, ledger: &Arc<Ledger>, keys: std::ops::Range<u64>, look: impl Fn(u64)) {
    for key in keys {
        cache.put(key, ledger.value(key));
        look(cache.stats().limbo);
    }
}

/// Where one thread stops until another, who knows that it has stopped, drops what it got for that; also by a panic.
fn pause() -> (Pause, Resume) {
    let ((stopped, stops), (go, goes)) = (mpsc::channel(), mpsc::channel());
    (Pause(stopped, Mutex::new(goes)), Resume(stops, go))
}

struct Pause(mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>);

struct Resume(mpsc::Receiver<()>, mpsc::Sender<()>);

impl Pause {
    fn wait(&self) {
        self.0.send(()).unwrap();
        assert!(self.1.lock().unwrap().recv().is_err());
    }
}

impl Resume {
    fn wait(self) -> mpsc::Sender<()> {
        self.0.recv().unwrap();
        self.1
    }
}

fn assert_all_gone(cache: Values, ledger: &Ledger) {
    cache.maintain();
    assert_eq!(cache.stats().limbo, 0, "nobody looks at anything");
    assert_eq!(ledger.live(), cache.len() as u64);
    drop(cache);
    assert_eq!(ledger.live(), 0);
}

/// Beyond the bound a thread may hold a slice that it is about to drop; and while one that looks for a grace period is kept from
/// running, each of the others goes on for another quarter of the bound before it waits. That is seldom: once in hundreds of runs,
/// on a machine whose processors are lent to others.
#[test]
fn c1_values_that_left_are_dropped_soon() {
    const THREADS: u64 = 8;
    let _alone = alone();
    for segments in [1, 4, 16] {
        let (cache, ledger) = values(4_096, segments);
        let start = Barrier::new(THREADS as usize);
        let most = AtomicU64::new(0);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (cache, ledger, start, most) = (&cache, &ledger, &start, &most);
                scope.spawn(move || {
                    let mut rng = Rng::new(thread);
                    start.wait();
                    for _ in 0..20_000 {
                        let key = rng.below(50_000);
                        match rng.below(8) {
                            0 => drop(cache.delete(&key)),
                            _ => cache.put(key, ledger.value(key)),
                        }
                        most.fetch_max(ledger.live(), SeqCst);
                    }
                });
            }
        });
        let (most, others) = (most.load(SeqCst), THREADS - 1);
        let limbo = most.saturating_sub(4_096);
        assert!(limbo <= LIMBO + others * LIMBO / 4 + THREADS * (SLICE + 1), "{limbo}");
        assert_all_gone(cache, &ledger);
    }
}

#[test]
fn c1_a_closure_that_takes_its_time_holds_one_entry() {
    let _alone = alone();
    for segments in [1, 4] {
        let (cache, ledger) = values(4_096, segments);
        cache.put(0, ledger.value(0));
        thread::scope(|scope| {
            let (pause, resume) = pause();
            let cache = &cache;
            let reader = scope.spawn(move || {
                cache.get_with(&0, |value| {
                    pause.wait();
                    value.read()
                })
            });
            let resume = resume.wait();
            cache.delete(&0);
            churn(cache, &ledger, 1..50_000, |limbo| assert!(limbo <= LIMBO, "{limbo}"));
            cache.maintain();
            assert_eq!(cache.stats().limbo, 1, "what it looks at, and nothing else");
            drop(resume);
            assert_eq!(reader.join().unwrap(), Some(0));
        });
        assert_all_gone(cache, &ledger);
    }
}

/// A value whose clone takes its time.
struct Slow(Value, Option<Pause>);

impl Clone for Slow {
    fn clone(&self) -> Self {
        self.1.iter().for_each(Pause::wait);
        assert_eq!(self.0.read(), 0);
        Self(self.0.ledger.value(0), None)
    }
}

#[test]
fn c1_what_is_being_cloned_is_not_dropped() {
    let _alone = alone();
    let ledger = Arc::<Ledger>::default();
    let cache = Cache::builder().capacity(10).segments(1).build().unwrap();
    thread::scope(|scope| {
        let (pause, resume) = pause();
        cache.put(0, Slow(ledger.value(0), Some(pause)));
        let reader = scope.spawn(|| cache.get(&0).unwrap().0.read());
        let resume = resume.wait();
        for key in 0..5_000 {
            cache.put(key, Slow(ledger.value(0), None));
        }
        cache.maintain();
        assert_eq!(cache.stats().limbo, 5_000 - 10 + 1, "a pin holds back all that leaves");
        drop(resume);
        assert_eq!(reader.join().unwrap(), 0);
    });
    cache.maintain();
    assert_eq!((cache.stats().limbo, ledger.live()), (0, 10));
}

#[test]
fn c1_a_view_holds_back_what_leaves_its_cache_and_no_other() {
    let _alone = alone();
    let (cache, ledger) = values(100, 1);
    let (other, others) = values(100, 1);
    (0..100).for_each(|key| cache.put(key, ledger.value(key)));
    let view = cache.pin();
    let first = view.get(&0).unwrap();
    churn(&cache, &ledger, 100..10_000, |_| ());
    assert_eq!((cache.stats().limbo, ledger.live()), (9_900, 10_000));
    churn(&other, &others, 0..10_000, |limbo| assert!(limbo <= LIMBO));
    assert_all_gone(other, &others);
    assert_eq!(first.read(), 0);
    drop(view);
    while cache.stats().limbo != 0 {
        cache.maintain();
    }
    assert_all_gone(cache, &ledger);
}

#[test]
fn c1_the_oldest_view_counts() {
    let _alone = alone();
    let (cache, ledger) = values(1_000, 4);
    let views: Vec<_> = (0..5)
        .map(|round| {
            churn(&cache, &ledger, round * 1_000..(round + 1) * 1_000, |_| ());
            cache.pin()
        })
        .collect();
    for (round, view) in views.into_iter().enumerate() {
        let seen: Vec<_> = view.iter().map(|(key, value)| (*key, value.read())).collect();
        assert!(seen.iter().all(|(key, value)| key == value) && !seen.is_empty(), "{round}");
        let held = cache.stats().limbo;
        drop(view);
        cache.maintain();
        assert!(cache.stats().limbo <= held);
    }
    assert_all_gone(cache, &ledger);
}

#[test]
fn c1_no_writer_waits_for_a_reader() {
    let _alone = alone();
    for segments in [1, 16] {
        let (cache, ledger) = values(1_000, segments);
        (0..4).for_each(|key| cache.put(key, ledger.value(key)));
        thread::scope(|scope| {
            let paused = [0_u64, 1, 2, 3].map(|key| {
                let (pause, resume) = pause();
                let cache = &cache;
                scope.spawn(move || {
                    let look = |value: &Value| {
                        pause.wait();
                        assert_eq!(value.read(), key);
                    };
                    if key % 2 == 0 {
                        cache.get_with(&key, look).unwrap();
                    } else {
                        look(cache.pin().get(&key).unwrap());
                    }
                });
                resume.wait()
            });
            // They end, though the readers do not.
            let writers = [1, 2, 3].map(|writer| {
                let (cache, ledger) = (&cache, &ledger);
                scope.spawn(move || {
                    churn(cache, ledger, writer * 100_000..writer * 100_000 + 5_000, |_| ());
                })
            });
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            cache.clear();
            cache.maintain();
            assert!(cache.is_empty() && cache.stats().limbo > LIMBO);
            drop(paused);
        });
        while cache.stats().limbo != 0 {
            cache.maintain();
        }
        assert_all_gone(cache, &ledger);
    }
}

#[test]
fn c1_a_thread_may_be_in_more_closures_than_it_has_hazards() {
    fn nest(cache: &Values, depth: u64) -> u64 {
        let inner = cache.get_with(&depth, |value| {
            cache.delete(&depth);
            let inner = if depth == 0 { 0 } else { nest(cache, depth - 1) };
            cache.maintain();
            assert_eq!(value.read(), depth);
            inner + 1
        });
        inner.unwrap()
    }
    let _alone = alone();
    let (cache, ledger) = values(100, 1);
    for _ in 0..3 {
        (0..40).for_each(|key| cache.put(key, ledger.value(key)));
        assert_eq!(nest(&cache, 39), 40);
        cache.maintain();
        assert_eq!(ledger.live(), 0);
    }
    assert_all_gone(cache, &ledger);
}

#[test]
fn c1_readers_read_what_lives_while_writers_churn() {
    let _alone = alone();
    for segments in [1, 4] {
        let (cache, ledger) = values(64, segments);
        let start = Barrier::new(6);
        thread::scope(|scope| {
            for thread in 0..6_u64 {
                let (cache, ledger, start) = (&cache, &ledger, &start);
                scope.spawn(move || {
                    let mut rng = Rng::new(thread);
                    start.wait();
                    for _ in 0..if thread < 2 { 15_000 } else { 5_000 } {
                        let key = rng.below(96);
                        match (thread, rng.below(8)) {
                            (0..2, 0) => drop(cache.delete(&key)),
                            (0..2, _) => cache.put(key, ledger.value(key)),
                            (2, _) => {
                                assert!(cache.pin().get(&key).is_none_or(|v| v.read() == key));
                            }
                            (3, 0) => assert!(cache.pin().iter().all(|(key, v)| v.read() == *key)),
                            (_, 1) => {
                                let slow = |value: &Value| {
                                    thread::yield_now();
                                    value.read()
                                };
                                assert!(cache.get_with(&key, slow).is_none_or(|v| v == key));
                            }
                            _ => {
                                assert!(cache.get_with(&key, Value::read).is_none_or(|v| v == key));
                            }
                        }
                    }
                });
            }
        });
        assert_all_gone(cache, &ledger);
    }
}

#[test]
fn c1_threads_may_end_at_any_time() {
    let _alone = alone();
    let (cache, ledger) = values(200, 1);
    for round in 0..40_u64 {
        thread::scope(|scope| {
            for thread in 0..6 {
                let (cache, ledger) = (&cache, &ledger);
                scope.spawn(move || {
                    let key = round * 6 + thread;
                    cache.put(key, ledger.value(key));
                    let panics = || {
                        cache.get_with(&key, |value| {
                            cache.delete(&key);
                            assert_eq!(value.read(), key);
                            resume_unwind(Box::new(()))
                        })
                    };
                    match thread {
                        0 => {}
                        1 => drop(cache.pin().get(&key).map(Value::read)),
                        2 => assert!(catch_unwind(AssertUnwindSafe(panics)).is_err()),
                        _ => drop(cache.get_with(&key, Value::read)),
                    }
                });
            }
        });
    }
    assert_all_gone(cache, &ledger);
}

/// Uses the cache when its thread has all but ended, and says what it saw.
struct Last(Arc<Values>, Arc<Ledger>, u64, mpsc::Sender<bool>);

impl Drop for Last {
    fn drop(&mut self) {
        let Self(cache, ledger, key, said) = self;
        cache.put(*key, ledger.value(*key));
        let read = cache.get_with(key, |value| {
            cache.delete(key);
            // A nested read, while the outer entry is held.
            cache.put(*key + 1, ledger.value(7));
            let inner = cache.pin().get(&(*key + 1)).map(Value::read);
            (value.read(), inner)
        });
        let _ = said.send(read == Some((*key, Some(7))));
    }
}

thread_local! {
    static BEFORE: RefCell<Option<Last>> = const { RefCell::new(None) };
    static AFTER: RefCell<Option<Last>> = const { RefCell::new(None) };
}

#[test]
fn c1_destructors_of_thread_locals_may_use_a_cache() {
    let _alone = alone();
    let (cache, ledger) = values(200, 1);
    let cache = Arc::new(cache);
    let (said, heard) = mpsc::channel();
    for uses in [false, true] {
        let (cache, ledger, said) = (Arc::clone(&cache), Arc::clone(&ledger), said.clone());
        let last = move |key| Last(Arc::clone(&cache), Arc::clone(&ledger), key, said.clone());
        let thread = thread::spawn(move || {
            BEFORE.set(Some(last(10)));
            if uses {
                // It does the same when it goes out of scope, on a thread that lives.
                let Last(cache, ledger, ..) = &last(0);
                cache.put(1, ledger.value(1));
                assert_eq!(cache.get_with(&1, Value::read), Some(1));
            }
            AFTER.set(Some(last(20)));
        });
        thread.join().unwrap();
    }
    drop(said);
    assert!(heard.iter().all(|fits| fits));
    let cache = Arc::into_inner(cache).unwrap();
    assert_all_gone(cache, &ledger);
}

/// 2 % of the capacity, or one entry.
#[test]
fn c1_the_weight_in_limbo_is_bounded_too() {
    let _alone = alone();
    for segments in [1, 4] {
        for heaviest in [100, 1_000, 10_000] {
            let cache = Cache::<u64, u64>::builder().capacity(100_000).segments(segments);
            let cache = cache.weigher(|_, &weight| weight).build().unwrap();
            let mut rng = Rng::new(heaviest);
            for step in 0..20_000 {
                cache.put(rng.below(20_000), rng.below(heaviest) + 1);
                let limbo = cache.stats().limbo_weight;
                let bound = heaviest.max(2_000);
                assert!(limbo <= bound, "{limbo} of at most {bound} at step {step}");
            }
            cache.maintain();
            assert_eq!(cache.stats().limbo_weight, 0);
        }
    }
}
