//! A cache all of whose user code can be made to do something once: panic, or call the cache again.
//!
//! Every hook passes through [`reach`]. [`arm`] says at which hook, at the how-manieth call on this thread, what is done.

use cachette::policy::{EvictionPolicy, Hears, HitCounters, Lru, Meta, Slot, Victim};
use cachette::{Cache, Cause, Clock, Compute, Expiry, ManualClock};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::pin::pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, SystemTime};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Hash,
    Eq,
    CloneKey,
    CloneValue,
    DropKey,
    DropValue,
    Weigher,
    Listener,
    Closure,
    Loader,
    Created,
    Updated,
    Read,
    Now,
    Date,
    Insert,
    Update,
    Reschedule,
    Hit,
    Miss,
    Remove,
    Victim,
    Resize,
    Make,
    Hears,
    DropPolicy,
}

struct Armed {
    hook: Hook,
    calls_left: usize,
    act: Box<dyn FnOnce()>,
}

thread_local! {
    static ARMED: RefCell<Option<Armed>> = const { RefCell::new(None) };
}

/// Lets `act` run at the `nth` call of `hook`, counted from 0, on this thread.
pub(crate) fn arm(hook: Hook, nth: usize, act: impl FnOnce() + 'static) {
    ARMED.set(Some(Armed { hook, calls_left: nth, act: Box::new(act) }));
}

/// True if what was armed has been done.
pub(crate) fn disarm() -> bool {
    ARMED.take().is_none()
}

fn reach(hook: Hook) {
    let due = ARMED.try_with(|armed| {
        let mut armed = armed.borrow_mut();
        match &mut *armed {
            Some(it) if it.hook == hook && it.calls_left == 0 => armed.take(),
            Some(it) if it.hook == hook => {
                it.calls_left -= 1;
                None
            }
            _ => None,
        }
    });
    if let Ok(Some(armed)) = due {
        (armed.act)();
    }
}

#[derive(Debug)]
pub(crate) struct Key(pub(crate) u32);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        reach(Hook::Hash);
        state.write_u32(self.0);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        reach(Hook::Eq);
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Clone for Key {
    fn clone(&self) -> Self {
        reach(Hook::CloneKey);
        Self(self.0)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        reach(Hook::DropKey);
    }
}

/// A value that knows whose it is, and is counted from its making to its drop.
pub(crate) struct Value {
    pub(crate) id: u64,
    weight: u64,
    ttl: Duration,
    alive: Arc<AtomicI64>,
}

impl Value {
    fn new(id: u64, weight: u64, ttl: Duration, alive: &Arc<AtomicI64>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self { id, weight, ttl, alive: Arc::clone(alive) }
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        reach(Hook::CloneValue);
        Self::new(self.id, self.weight, self.ttl, &self.alive)
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
        reach(Hook::DropValue);
    }
}

/// Hashes that agree in all but some bits, so that keys are compared.
#[derive(Clone)]
pub(crate) struct Coarse {
    mask: u64,
}

pub(crate) struct CoarseHasher {
    mask: u64,
    hash: u64,
}

impl BuildHasher for Coarse {
    type Hasher = CoarseHasher;

    fn build_hasher(&self) -> CoarseHasher {
        CoarseHasher { mask: self.mask, hash: 0 }
    }
}

impl Hasher for CoarseHasher {
    fn finish(&self) -> u64 {
        self.hash & self.mask
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.hash = (self.hash << 8) | u64::from(byte);
        }
    }
}

struct HookedClock(ManualClock);

impl Clock for HookedClock {
    fn now(&self) -> Duration {
        reach(Hook::Now);
        self.0.now()
    }

    fn date(&self) -> SystemTime {
        reach(Hook::Date);
        self.0.date()
    }
}

struct HookedExpiry;

impl Expiry<Key, Value> for HookedExpiry {
    fn created(&self, _: &Key, value: &Value) -> Duration {
        reach(Hook::Created);
        value.ttl
    }

    fn updated(&self, _: &Key, value: &Value, _: Duration) -> Duration {
        reach(Hook::Updated);
        value.ttl
    }

    fn read(&self, _: &Key, value: &Value, _: Duration) -> Option<Duration> {
        reach(Hook::Read);
        Some(value.ttl)
    }
}

struct HookedPolicy(Lru);

impl HookedPolicy {
    fn make() -> Self {
        reach(Hook::Make);
        Self(Lru::new())
    }
}

impl Drop for HookedPolicy {
    fn drop(&mut self) {
        reach(Hook::DropPolicy);
    }
}

impl EvictionPolicy for HookedPolicy {
    fn hears(&self) -> Hears {
        reach(Hook::Hears);
        Hears::InOrder
    }
    fn resize(&mut self, share: u64) {
        reach(Hook::Resize);
        self.0.resize(share);
    }
    fn insert(&mut self, slot: Slot, meta: &Meta) {
        reach(Hook::Insert);
        self.0.insert(slot, meta);
        self.0.assert_valid();
    }
    fn update(&mut self, slot: Slot, meta: &Meta) {
        reach(Hook::Update);
        self.0.update(slot, meta);
    }
    fn reschedule(&mut self, slot: Slot, meta: &Meta) {
        reach(Hook::Reschedule);
        self.0.reschedule(slot, meta);
    }
    fn hit(&mut self, slot: Slot) {
        reach(Hook::Hit);
        self.0.hit(slot);
    }
    fn miss(&mut self, hash: u64) {
        reach(Hook::Miss);
        self.0.miss(hash);
    }
    fn remove(&mut self, slot: Slot, cause: Cause) {
        reach(Hook::Remove);
        self.0.remove(slot, cause);
        self.0.assert_valid();
    }
    fn victim(&mut self, newcomer: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        reach(Hook::Victim);
        self.0.victim(newcomer, hits)
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        self.0.coldest()
    }
    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        self.0.hottest()
    }
}

/// A cache of capacity 10 in one segment: keys 0 to 3 of weight 2; key 4 of weight 1, whose deadline has passed, unnoticed.
pub(crate) struct World {
    pub(crate) cache: Cache<Key, Value, Coarse>,
    told: Arc<Mutex<Vec<(u64, Cause)>>>,
    alive: Arc<AtomicI64>,
    versions: AtomicU64,
}

impl World {
    pub(crate) fn new(mask: u64) -> Arc<Self> {
        let told = Arc::new(Mutex::new(Vec::new()));
        let (clock, hear) = (ManualClock::new(), Arc::clone(&told));
        let cache = Cache::builder()
            .capacity(10)
            .segments(1)
            .hasher(Coarse { mask })
            .clock(HookedClock(clock.clone()))
            .expiry(HookedExpiry)
            .policy(HookedPolicy::make)
            .weigher(|_: &Key, value: &Value| {
                reach(Hook::Weigher);
                value.weight
            })
            .removal_listener(move |_, value, cause| {
                hear.lock().unwrap().push((value.id, cause));
                reach(Hook::Listener);
            })
            .build()
            .unwrap();
        let versions = AtomicU64::new(0);
        let world = Self { cache, told, alive: Arc::default(), versions };
        (0..4).for_each(|key| world.cache.put(Key(key), world.value(key, 2)));
        world.cache.put(Key(4), world.with_ttl(4, Duration::from_secs(1)));
        clock.advance(Duration::from_secs(2));
        Arc::new(world)
    }

    /// A value of `key`, unlike all others.
    pub(crate) fn value(&self, key: u32, weight: u64) -> Value {
        let version = self.versions.fetch_add(1, Ordering::SeqCst);
        let hour = Duration::from_secs(3_600);
        Value::new(u64::from(key) * 1_000 + version, weight, hour, &self.alive)
    }

    fn with_ttl(&self, key: u32, ttl: Duration) -> Value {
        let mut value = self.value(key, 1);
        value.ttl = ttl;
        value
    }

    /// How many values there are, wherever they are.
    pub(crate) fn alive(&self) -> impl Fn() -> i64 + use<> {
        let alive = Arc::clone(&self.alive);
        move || alive.load(Ordering::SeqCst)
    }

    fn live(&self) -> HashMap<u32, Value> {
        self.cache.iter().map(|(key, value)| (key.0, value)).collect()
    }

    /// Checks everything that must hold between two calls, whatever happened in the last.
    fn assert_valid(&self) {
        let live = self.live();
        self.cache.maintain();
        let weight: u64 = live.values().map(|value| value.weight).sum();
        assert_eq!(self.cache.weight(), weight, "the weight is that of the live entries");
        assert!(weight <= self.cache.capacity());
        let stats = self.cache.stats();
        assert_eq!((stats.entries, self.cache.len()), (live.len() as u64, live.len()));
        for (key, value) in &live {
            assert_eq!(value.id / 1_000, u64::from(*key), "a key has a value of its own");
            assert_eq!(self.cache.peek(&Key(*key)).map(|found| found.id), Some(value.id));
        }
        let told = self.told.lock().unwrap();
        for (at, (id, cause)) in told.iter().enumerate() {
            assert!(
                live.values().all(|value| value.id != *id),
                "{id} is told {cause:?}, and lives"
            );
            assert!(told[..at].iter().all(|(other, _)| other != id), "{id} is told twice");
        }
        // The first five versions are those the world began with.
        for key in 0..5 {
            let id = u64::from(key) * 1_001;
            let lives = live.get(&key).is_some_and(|value| value.id == id);
            assert!(lives || told.iter().any(|(told, _)| *told == id), "{key} left in silence");
        }
    }

    /// Uses everything once, on every key.
    fn assert_usable(&self) {
        let cache = &self.cache;
        for key in 0..8 {
            let key_of_load = Key(key);
            let load = pin!(cache.get_or_load_async(&key_of_load, async |_| self.value(key, 1)));
            let ready = load.poll(&mut Context::from_waker(Waker::noop())).is_ready();
            assert!(ready, "a load of {key} that is over has left its mark");
            cache.put(Key(key), self.value(key, 1));
            assert!(cache.get(&Key(key)).is_some());
            assert!(cache.compute(Key(key), |_| Compute::Replace(self.value(key, 1))).is_ok());
            assert!(cache.delete(&Key(key)));
            let load = || cache.get_or_load(&Key(key), |_| self.value(key, 1)).map(|v| v.id);
            let first = load().unwrap();
            assert_eq!(load().unwrap(), first, "a load of {key} is kept");
        }
        assert!(cache.set_capacity(3).is_ok());
        assert_eq!((cache.weight(), cache.len()), (3, 3));
        assert!(cache.set_capacity(10).is_ok());
        cache.retain(|key, _| key.0 == 7);
        assert_eq!(cache.len(), 1);
        cache.clear();
        assert_eq!((cache.weight(), cache.len()), (0, 0));
    }

    /// Checks the world, uses it from here and from another thread, and ends it: nothing is left over.
    /// Drops all that has left. Readers in other tests may be in the way for a moment.
    pub(crate) fn settle(&self) -> &Self {
        while self.cache.stats().limbo != 0 {
            self.cache.maintain();
        }
        self
    }

    pub(crate) fn assert_sound(self: Arc<Self>) {
        self.settle().assert_valid();
        self.assert_usable();
        thread::scope(|scope| {
            let other = scope.spawn(|| self.assert_usable());
            assert!(other.join().is_ok(), "usable from another thread");
        });
        let alive = self.alive();
        drop(Arc::into_inner(self).unwrap());
        assert_eq!(alive(), 0, "every value is dropped, once");
    }
}

pub(crate) type Op = (&'static str, fn(&World));

fn replace(world: &World, key: u32, weight: u64) -> Compute<Value> {
    reach(Hook::Closure);
    Compute::Replace(world.value(key, weight))
}

/// What an operation answers is another test's matter.
fn ignore<T>(_: T) {}

/// Every operation, on keys that are there, are not, or are dead; with room, without, and with victims.
pub(crate) const OPS: &[Op] = &[
    ("get, hit", |w| ignore(w.cache.get(&Key(0)))),
    ("get, miss", |w| ignore(w.cache.get(&Key(9)))),
    ("get, dead", |w| ignore(w.cache.get(&Key(4)))),
    ("get_with", |w| ignore(w.cache.get_with(&Key(0), |_| reach(Hook::Closure)))),
    ("get_with and delete", |w| {
        w.cache.get_with(&Key(0), |_| {
            w.cache.delete(&Key(0));
            reach(Hook::Closure);
        });
    }),
    ("peek", |w| ignore(w.cache.peek(&Key(1)))),
    ("contains_key", |w| ignore(w.cache.contains_key(&Key(1)))),
    ("put, new", |w| w.cache.put(Key(5), w.value(5, 2))),
    ("put, replacing", |w| w.cache.put(Key(1), w.value(1, 2))),
    ("put, heavier", |w| w.cache.put(Key(0), w.value(0, 7))),
    ("put, lighter", |w| w.cache.put(Key(0), w.value(0, 0))),
    ("put, on a dead one", |w| w.cache.put(Key(4), w.value(4, 1))),
    ("put, evicting", |w| w.cache.put(Key(5), w.value(5, 9))),
    ("put, refused", |w| w.cache.put(Key(1), w.value(1, 11))),
    ("put, stillborn", |w| w.cache.put(Key(1), w.with_ttl(1, Duration::ZERO))),
    ("try_put, refused", |w| ignore(w.cache.try_put(Key(1), w.value(1, 11)))),
    ("put_with_ttl", |w| w.cache.put_with_ttl(Key(5), w.value(5, 2), Duration::from_secs(9))),
    ("put_if_absent, absent", |w| ignore(w.cache.put_if_absent(Key(5), w.value(5, 3)))),
    ("put_if_absent, present", |w| ignore(w.cache.put_if_absent(Key(1), w.value(1, 3)))),
    ("get_and_put", |w| ignore(w.cache.get_and_put(Key(1), w.value(1, 3)))),
    ("replace_if", |w| {
        w.cache.replace_if(Key(1), w.value(1, 3), |_| {
            reach(Hook::Closure);
            true
        });
    }),
    ("delete", |w| ignore(w.cache.delete(&Key(2)))),
    ("delete, absent", |w| ignore(w.cache.delete(&Key(9)))),
    ("take", |w| ignore(w.cache.take(&Key(2)))),
    ("compute, replacing", |w| ignore(w.cache.compute(Key(2), |_| replace(w, 2, 5)))),
    ("compute, new", |w| ignore(w.cache.compute(Key(6), |_| replace(w, 6, 5)))),
    ("compute, refused", |w| ignore(w.cache.compute(Key(2), |_| replace(w, 2, 11)))),
    ("compute, keeping the deadline", |w| {
        ignore(w.cache.compute(Key(2), |_| Compute::ReplaceKeepTtl(w.value(2, 1))));
    }),
    ("compute, deleting", |w| {
        ignore(w.cache.compute(Key(2), |_| {
            reach(Hook::Closure);
            Compute::Delete
        }));
    }),
    ("retain", |w| {
        w.cache.retain(|key, _| {
            reach(Hook::Closure);
            key.0 % 2 == 0
        });
    }),
    ("clear", |w| w.cache.clear()),
    ("iter", |w| ignore(w.cache.iter().count())),
    ("maintain", |w| w.cache.maintain()),
    ("set_capacity, down", |w| ignore(w.cache.set_capacity(3))),
    ("set_capacity, up", |w| ignore(w.cache.set_capacity(20))),
    ("time_to_live_of", |w| ignore(w.cache.time_to_live_of(&Key(3)))),
    ("expire_in", |w| ignore(w.cache.expire_in(&Key(3), Duration::from_secs(7)))),
    ("expire_in, at once", |w| ignore(w.cache.expire_in(&Key(3), Duration::ZERO))),
    ("expire_at", |w| ignore(w.cache.expire_at(&Key(3), SystemTime::now()))),
    ("persist", |w| ignore(w.cache.persist(&Key(3)))),
    ("get_or_load, hit", |w| ignore(w.cache.get_or_load(&Key(3), |_| w.value(3, 1)))),
    ("get_or_load", |w| {
        ignore(w.cache.get_or_load(&Key(7), |_| {
            reach(Hook::Loader);
            w.value(7, 5)
        }));
    }),
    ("get_or_load, refused", |w| ignore(w.cache.get_or_load(&Key(7), |_| w.value(7, 11)))),
    ("get_or_load, overtaken", |w| {
        ignore(w.cache.get_or_load(&Key(7), |key| {
            w.cache.put(key.clone(), w.value(7, 1));
            w.value(7, 2)
        }));
    }),
    ("get_or_load, failing", |w| {
        ignore(w.cache.get_or_load(&Key(4), |_| {
            reach(Hook::Loader);
            Err::<Value, _>("no")
        }));
    }),
];
