//! The runner: does an operation to a cache and to the oracle, and compares all that can be seen of the two.

use super::ops::{self, Action, Config, Inner, Loader, Op, Policy};
use super::oracle::{Counts, Oracle, Removal, Sample, Ttl, When, Wrote};
use cachette::policy::{EvictionPolicy, Fifo, Lfu, Lru, NoEviction, Random};
use cachette::{
    Cache, Cause, Clock, Compute, ComputeError, Computed, Expiry, LoadError, ManualClock, Reason,
    Refused,
};
use std::hash::{BuildHasher, Hasher};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

/// Values made and values dropped, clones included.
#[derive(Debug, Default)]
struct Ledger {
    made: AtomicU64,
    dropped: AtomicU64,
}

/// A value that is known by its number, and counted.
#[derive(Debug)]
struct Value {
    sample: Sample,
    ledger: Arc<Ledger>,
}

impl Value {
    fn new(sample: Sample, ledger: &Arc<Ledger>) -> Self {
        ledger.made.fetch_add(1, Ordering::Relaxed);
        Self { sample, ledger: Arc::clone(ledger) }
    }

    fn id(&self) -> u64 {
        self.sample.id
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        Self::new(self.sample, &self.ledger)
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.ledger.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// A hasher of which only some bits count, so that keys collide.
#[derive(Clone, Copy)]
struct Hashes(u64);

struct Fold {
    hash: u64,
    mask: u64,
}

impl BuildHasher for Hashes {
    type Hasher = Fold;

    fn build_hasher(&self) -> Fold {
        Fold { hash: 0xCBF2_9CE4_8422_2325, mask: self.0 }
    }
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    fn finish(&self) -> u64 {
        self.hash & self.mask
    }
}

/// The per-entry rule.
struct Wishes;

impl Expiry<u16, Value> for Wishes {
    fn created(&self, _: &u16, value: &Value) -> Duration {
        ops::created(value.sample.wish)
    }

    fn updated(&self, _: &u16, value: &Value, left: Duration) -> Duration {
        ops::updated(value.sample.wish, left)
    }

    fn read(&self, _: &u16, value: &Value, left: Duration) -> Option<Duration> {
        ops::read(value.id(), left)
    }
}

type Cached = Cache<u16, Value, Hashes>;

/// What the removal listener has heard.
type Log = Arc<Mutex<Vec<Removal>>>;

pub(crate) struct Runner {
    config: Config,
    cache: Arc<Cached>,
    clock: ManualClock,
    log: Log,
    oracle: Oracle,
    ledger: Arc<Ledger>,
    /// The number of the next value.
    next: u64,
}

/// Builds a cache, does the operations one by one, drops the cache; and compares all the way.
pub(crate) fn run(config: &Config, ops: impl IntoIterator<Item = Op>) {
    let mut runner = Runner::new(config);
    for op in ops {
        runner.step(&op);
    }
    runner.finish();
}

fn make(policy: Policy) -> Box<dyn EvictionPolicy> {
    match policy {
        Policy::Lru => Box::new(Lru::new()),
        Policy::Lfu => Box::new(Lfu::new()),
        Policy::Fifo => Box::new(Fifo::new()),
        Policy::NoEviction => Box::new(NoEviction::new()),
        Policy::Random => Box::new(Random::new()),
    }
}

impl Runner {
    fn new(config: &Config) -> Self {
        let (clock, log) = (ManualClock::new(), Log::default());
        let policy = config.policy;
        let home: Arc<OnceLock<Weak<Cached>>> = Arc::default();
        let mut builder = Cache::builder()
            .capacity(config.capacity)
            .segments(config.segments)
            .policy(move || make(policy))
            .seed(1)
            .clock(clock.clone())
            .removal_listener({
                let (log, home) = (Arc::clone(&log), Arc::clone(&home));
                move |&key, value: &Value, cause| {
                    let cache = home.get().and_then(Weak::upgrade);
                    assert!(cache.is_none_or(|cache| cache.weight() <= cache.capacity()));
                    log.lock().unwrap().push(Removal { key, id: value.id(), cause });
                }
            });
        if config.weighed {
            builder = builder.weigher(|_, value: &Value| value.sample.weight);
        }
        if let Some(ttl) = config.time_to_live {
            builder = builder.time_to_live(ttl);
        }
        if let Some(tti) = config.time_to_idle {
            builder = builder.time_to_idle(tti);
        }
        if config.per_entry {
            builder = builder.expiry(Wishes);
        }
        let cache = Arc::new(builder.hasher(Hashes(config.hashes)).build().unwrap());
        home.set(Arc::downgrade(&cache)).unwrap();
        Self {
            oracle: Oracle::new(config.clone()),
            config: config.clone(),
            cache,
            clock,
            log,
            ledger: Arc::default(),
            next: 0,
        }
    }

    /// A fresh value.
    fn value(&mut self, weight: u64) -> (Sample, Value) {
        self.next += 1;
        let id = self.next;
        // Every kind of lifetime by turns.
        let wish = match id % 5 {
            0 => Duration::MAX,
            1 => Duration::ZERO,
            n => Duration::from_nanos((n << 31) + id),
        };
        let sample = Sample { id, weight, wish };
        (sample, Value::new(sample, &self.ledger))
    }

    /// Hears what the cache has told meanwhile.
    fn hear(&mut self) {
        self.oracle.told.append(&mut self.log.lock().unwrap());
    }

    fn step(&mut self, op: &Op) {
        self.apply(op);
        self.compare(op);
    }

    /// The inner operation of another: done once.
    fn within(&mut self, inner: &mut Option<&Op>) {
        if let Some(op) = inner.take() {
            self.step(op);
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Get { .. }
            | Op::GetWith { .. }
            | Op::Peek { .. }
            | Op::ContainsKey { .. }
            | Op::TimeToLiveOf { .. } => self.apply_read(op),
            Op::ReplaceIf { key, weight, accept, inner } => {
                self.replace_if(*key, *weight, *accept, inner);
            }
            Op::Compute { key, weight, action, inner } => {
                self.compute(*key, *weight, *action, inner);
            }
            Op::Load { key, weight, loader, task, inner } => {
                self.load(*key, *weight, *loader, *task, inner);
            }
            Op::Retain { modulus, inner } => self.retain(*modulus, inner),
            Op::Advance { by } => {
                self.clock.advance(*by);
                self.oracle.advance(*by);
            }
            Op::Maintain => {
                self.cache.maintain();
                self.hear();
                self.oracle.expire();
            }
            Op::Clear => {
                self.cache.clear();
                self.oracle.clear(Cause::Cleared);
            }
            &Op::SetCapacity { capacity } => {
                let result = self.cache.set_capacity(capacity);
                self.hear();
                assert_eq!(result.is_ok(), self.oracle.set_capacity(capacity));
                if let Err(error) = result {
                    assert_eq!((error.wanted, error.capacity), (capacity, self.oracle.capacity));
                }
            }
            _ => self.apply_write(op),
        }
    }

    fn apply_read(&mut self, op: &Op) {
        let cache = Arc::clone(&self.cache);
        match op {
            Op::Get { key } => {
                let value = cache.get(key);
                assert_eq!(value.map(|value| value.id()), self.oracle.read(*key));
            }
            Op::GetWith { key, inner } => {
                let (read, mut inner) = (self.oracle.read(*key), inner.as_deref());
                let id = cache.get_with(key, |value| {
                    self.within(&mut inner);
                    value.id()
                });
                assert_eq!(id, read);
            }
            Op::Peek { key } => {
                assert_eq!(cache.peek(key).map(|value| value.id()), self.oracle.live(*key));
            }
            Op::ContainsKey { key } => {
                assert_eq!(cache.contains_key(key), self.oracle.live(*key).is_some());
            }
            Op::TimeToLiveOf { key } => {
                assert_eq!(cache.time_to_live_of(key), self.oracle.time_to_live_of(*key));
            }
            _ => unreachable!("{op:?} is no read"),
        }
    }

    fn apply_write(&mut self, op: &Op) {
        match *op {
            Op::Put { key, weight } => {
                let (sample, value) = self.value(weight);
                self.cache.put(key, value);
                self.stored(key, sample, Ttl::Configured, When::Always);
            }
            Op::PutWithTtl { key, weight, ttl } => {
                let (sample, value) = self.value(weight);
                self.cache.put_with_ttl(key, value, ttl);
                self.stored(key, sample, Ttl::Of(ttl), When::Always);
            }
            Op::PutIfAbsent { key, weight } => {
                let (sample, value) = self.value(weight);
                let stored = self.cache.put_if_absent(key, value);
                let wrote = self.stored(key, sample, Ttl::Configured, When::Absent);
                assert_eq!(stored, matches!(wrote, Wrote::Stored(_)));
            }
            Op::GetAndPut { key, weight } => {
                let (sample, value) = self.value(weight);
                let old = self.cache.get_and_put(key, value).map(|old| old.id());
                let wrote = self.stored(key, sample, Ttl::Configured, When::Always);
                assert_eq!(old, if let Wrote::Stored(old) = wrote { old } else { None });
            }
            Op::TryPut { key, weight } => {
                let (sample, value) = self.value(weight);
                let result = self.cache.try_put(key, value);
                self.hear();
                match self.oracle.write(key, sample, Ttl::Configured, When::Always) {
                    Wrote::Refused(reason) => {
                        is_refused(&result.unwrap_err(), key, sample.id, reason);
                    }
                    _ => assert!(result.is_ok(), "refused: {:?}", result.err()),
                }
            }
            _ => self.apply_to_key(op),
        }
    }

    fn apply_to_key(&mut self, op: &Op) {
        let cache = Arc::clone(&self.cache);
        match *op {
            Op::Delete { key } => {
                let deleted = cache.delete(&key);
                self.hear();
                assert_eq!(deleted, self.oracle.delete(key).is_some());
            }
            Op::Take { key } => {
                let taken = cache.take(&key).map(|value| value.id());
                self.hear();
                assert_eq!(taken, self.oracle.delete(key));
            }
            Op::ExpireIn { key, ttl } => {
                let found = cache.expire_in(&key, ttl);
                self.hear();
                assert_eq!(found, self.oracle.expire_in(key, ttl));
            }
            Op::ExpireAt { key, date } => {
                // Not every length of time leads to a date.
                let date = date.min(Duration::from_nanos(u64::MAX));
                let found = cache.expire_at(&key, SystemTime::UNIX_EPOCH + date);
                self.hear();
                let from_now = date.saturating_sub(self.clock.now());
                assert_eq!(found, self.oracle.expire_in(key, from_now));
            }
            Op::Persist { key } => {
                let found = cache.persist(&key);
                self.hear();
                assert_eq!(found, self.oracle.persist(key));
            }
            _ => unreachable!("{op:?} is done elsewhere"),
        }
    }

    /// The oracle's side of a write whose refusal is told.
    fn stored(&mut self, key: u16, sample: Sample, ttl: Ttl, when: When) -> Wrote {
        self.hear();
        let wrote = self.oracle.write(key, sample, ttl, when);
        if let Wrote::Refused(_) = wrote {
            self.oracle.tell_refused(key, sample.id);
        }
        wrote
    }

    fn replace_if(&mut self, key: u16, weight: u64, accept: bool, inner: &Inner) {
        let cache = Arc::clone(&self.cache);
        let (sample, value) = self.value(weight);
        let (mut inner, mut seen) = (inner.as_deref(), None);
        let stored = cache.replace_if(key, value, |current| {
            if seen.is_some() {
                self.hear();
                self.oracle.interrupted(key);
            }
            assert_eq!(self.oracle.live(key), Some(current.id()));
            assert_ne!(seen, Some(current.id()), "asked again though nothing had changed");
            seen = Some(current.id());
            self.within(&mut inner);
            accept
        });
        self.hear();
        if !stored && accept && seen.is_some() && self.evicted(key, seen) {
            self.oracle.interrupted(key);
        }
        let same = self.oracle.live(key).is_some() && self.oracle.live(key) == seen;
        if !(accept && same) {
            assert!(!stored);
            // What it had accepted is gone; or there was nothing; or it did not accept.
            assert!(!accept || self.oracle.live(key).is_none(), "what is there was not looked at");
            return;
        }
        let wrote = self.stored(key, sample, Ttl::Configured, When::Current(seen));
        assert_eq!(stored, matches!(wrote, Wrote::Stored(_)));
    }

    /// True if the cache has told that it evicted this value.
    fn evicted(&self, key: u16, id: Option<u64>) -> bool {
        let evicted = |id| Removal { key, id, cause: Cause::Evicted };
        id.is_some_and(|id| self.oracle.told.contains(&evicted(id)))
    }

    fn compute(&mut self, key: u16, weight: u64, action: Action, inner: &Inner) {
        let cache = Arc::clone(&self.cache);
        let mut inner = inner.as_deref();
        // What the last look saw, whether its own thread wrote the key meanwhile, and what it was to write.
        let mut round: Option<(Option<u64>, bool, Sample)> = None;
        let recursive = !self.oracle.begin(key);
        if !recursive {
            self.oracle.end();
        }
        let result = cache.compute(key, |current| {
            let current = current.map(Value::id);
            if let Some((seen, disturbed, _)) = round {
                self.hear();
                self.oracle.interrupted(key);
                assert!(!disturbed && action != Action::Keep, "it was over");
                if action == Action::Delete {
                    self.oracle.pass();
                }
                assert_ne!(current, seen, "decided again though nothing had changed");
            }
            assert!(self.oracle.begin(key), "a computation in itself");
            assert_eq!(current, self.oracle.live(key));
            self.within(&mut inner);
            let disturbed = self.oracle.end();
            let (sample, value) = self.value(weight);
            round = Some((current, disturbed, sample));
            match action {
                Action::Keep => Compute::Keep,
                Action::Replace => Compute::Replace(value),
                Action::ReplaceWithTtl(ttl) => Compute::ReplaceWithTtl(value, ttl),
                Action::ReplaceKeepTtl => Compute::ReplaceKeepTtl(value),
                Action::Delete => Compute::Delete,
            }
        });
        self.hear();
        let Some(round) = round.filter(|_| !recursive) else {
            assert!(recursive && matches!(result, Err(ComputeError::Recursive)), "{result:?}");
            return;
        };
        let (current, disturbed, _) = round;
        let lost = disturbed && matches!(result, Err(ComputeError::Recursive));
        if lost && self.evicted(key, current) {
            // The closure wrote all keys, and then making room took the very value that it had seen.
            return self.oracle.interrupted(key);
        }
        self.carried_out(key, action, round, result);
    }

    /// The oracle's side of what a computation decided.
    fn carried_out(
        &mut self,
        key: u16,
        action: Action,
        (current, disturbed, sample): (Option<u64>, bool, Sample),
        result: Result<Computed, ComputeError<u16, Value>>,
    ) {
        let ttl = match action {
            Action::Keep => return assert_eq!(result.ok(), Some(Computed::Kept)),
            Action::Delete if self.oracle.delete_current(key, current) => {
                return assert_eq!(result.ok(), Some(Computed::Deleted));
            }
            Action::Delete => {
                let recursive = matches!(result, Err(ComputeError::Recursive));
                return assert!(disturbed && recursive, "the race was lost to another");
            }
            Action::ReplaceWithTtl(ttl) => Ttl::Of(ttl),
            Action::ReplaceKeepTtl if current.is_some() => Ttl::Kept,
            Action::Replace | Action::ReplaceKeepTtl => Ttl::Configured,
        };
        match (self.oracle.write(key, sample, ttl, When::Current(current)), result) {
            (Wrote::Stored(_), Ok(done)) => assert_eq!(done, Computed::Replaced),
            (Wrote::Refused(reason), Err(ComputeError::Refused(refused))) => {
                is_refused(&refused, key, sample.id, reason);
            }
            (Wrote::NotMet, Err(ComputeError::Recursive)) => {
                assert!(disturbed, "the race was lost to another");
            }
            (wrote, result) => panic!("{wrote:?}, but {result:?}"),
        }
    }

    fn retain(&mut self, modulus: u64, inner: &Inner) {
        let cache = Arc::clone(&self.cache);
        let keep = |id: u64| id % modulus != 0;
        let (snapshot, mut inner) = (self.oracle.all_live(), inner.as_deref());
        let newest = self.next;
        self.oracle.fence_all();
        let mut met = Vec::new();
        cache.retain(|&key, value| {
            met.push((key, value.id()));
            self.within(&mut inner);
            keep(value.id())
        });
        // What came while it went on may have been met too.
        let (mut old, new): (Vec<_>, Vec<_>) = met.into_iter().partition(|&(_, id)| id <= newest);
        old.sort_unstable();
        // And what left before the walk came to it may not.
        let live = self.oracle.all_live();
        let due = snapshot.iter().filter(|&pair| old.contains(pair) || live.contains(pair));
        assert!(old.iter().eq(due), "{old:?} of {snapshot:?}, and {live:?} are left");
        for (key, id) in old.into_iter().chain(new).filter(|&(_, id)| !keep(id)) {
            self.oracle.delete_value(key, id);
        }
    }

    fn load(&mut self, key: u16, weight: u64, loader: Loader, task: bool, inner: &Inner) {
        let cache = Arc::clone(&self.cache);
        let hit = self.oracle.read(key);
        let flight = if hit.is_none() { self.oracle.lead(key) } else { None };
        let (began, mut inner) = (self.oracle.now, inner.as_deref());
        let (sample, value) = self.value(weight);
        let mut ran = false;
        let cancelled = task && loader == Loader::Cancelled;
        let work = |runner: &mut Self| {
            assert!(flight.is_some(), "it had not to load");
            ran = true;
            runner.within(&mut inner);
            if loader == Loader::Fails { Err(sample.id) } else { Ok(value) }
        };
        let loaded = if task {
            let mut future = pin!(cache.get_or_load_async(&key, async |_| {
                let outcome = work(self);
                if cancelled {
                    std::future::pending::<()>().await;
                }
                outcome
            }));
            match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) => Some(result),
                Poll::Pending => None,
            }
        } else {
            Some(cache.get_or_load(&key, |_| work(self)))
        };
        let Some(flight) = flight else {
            assert!(!ran);
            return match (hit, loaded) {
                (Some(id), Some(Ok(value))) => assert_eq!(value.id(), id),
                (None, Some(Err(LoadError::Recursive))) => {}
                (hit, loaded) => panic!("{hit:?}, but {loaded:?}"),
            };
        };
        let counts = &mut self.oracle.counts;
        let took = self.oracle.now - began;
        match (loader, loaded) {
            (_, None) => {
                assert!(cancelled && ran);
                self.oracle.abandon(flight);
            }
            (Loader::Fails, Some(Err(LoadError::Failed(error)))) => {
                assert_eq!(*error, sample.id);
                counts.load_failures += 1;
                counts.load_nanos = counts.load_nanos.saturating_add(took);
                self.oracle.abandon(flight);
            }
            (_, Some(Ok(value))) => {
                assert_eq!(value.id(), sample.id);
                counts.loads += 1;
                counts.load_nanos = counts.load_nanos.saturating_add(took);
                self.stored(key, sample, Ttl::Configured, When::Load(flight));
            }
            (loader, loaded) => panic!("{loader:?}, but {loaded:?}"),
        }
    }

    /// Compares all that can be seen.
    fn compare(&mut self, op: &Op) {
        self.hear();
        let (cache, oracle) = (&self.cache, &mut self.oracle);
        let order = |told: &Removal| (told.key, told.id, told.cause as u8);
        oracle.told.sort_by_key(order);
        oracle.due.sort_by_key(order);
        assert_eq!(oracle.told, oracle.due, "told of removals, and to be told of, by {op:?}");
        oracle.told.clear();
        oracle.due.clear();
        assert_eq!(counted(cache), oracle.counts, "statistics, after {op:?}");
        let stats = cache.stats();
        assert_eq!((stats.listener_panics, stats.drop_panics, stats.policy_panics), (0, 0, 0));
        assert_eq!(u128::from(cache.weight()), oracle.used(), "weight, after {op:?}");
        assert!(cache.weight() <= cache.capacity(), "the bound, after {op:?}");
        assert_eq!(cache.capacity(), oracle.capacity);
        assert_eq!((cache.len(), cache.is_empty()), (oracle.len(), oracle.len() == 0));
        assert_eq!(
            (stats.entries, stats.weight, stats.capacity),
            (cache.len() as u64, cache.weight(), cache.capacity())
        );
        let mut live: Vec<_> = cache.iter().map(|(key, value)| (key, value.id())).collect();
        live.sort_unstable();
        assert_eq!(live, oracle.all_live(), "live entries, after {op:?}");
        if self.config.exact {
            for key in 0..self.config.keys {
                let left = cache.time_to_live_of(&key);
                assert_eq!(left, oracle.time_to_live_of(key), "what {key} has left, after {op:?}");
            }
        }
    }

    /// Drops the cache: what it still held is told of, and every value is dropped that was made.
    fn finish(mut self) {
        self.oracle.clear(Cause::Dropped);
        self.cache = Arc::new(Cache::builder().capacity(0).hasher(Hashes(0)).build().unwrap());
        self.hear();
        let order = |told: &Removal| (told.key, told.id, told.cause as u8);
        self.oracle.told.sort_by_key(order);
        self.oracle.due.sort_by_key(order);
        assert_eq!(self.oracle.told, self.oracle.due, "told when the cache was dropped");
        let Ledger { made, dropped } = &*self.ledger;
        assert_eq!(made.load(Ordering::Relaxed), dropped.load(Ordering::Relaxed), "values dropped");
    }
}

fn is_refused(refused: &Refused<u16, Value>, key: u16, id: u64, reason: Reason) {
    assert_eq!((refused.key, refused.value.id(), refused.reason), (key, id, reason));
}

/// The cache's statistics, as the oracle counts.
fn counted(cache: &Cached) -> Counts {
    let stats = cache.stats();
    let removals = Cause::ALL.map(|cause| match cause {
        Cause::Replaced => stats.replaced,
        Cause::Expired => stats.expired,
        Cause::Evicted => stats.evicted,
        Cause::Deleted => stats.deleted,
        Cause::Cleared => stats.cleared,
        Cause::Refused => stats.refused,
        Cause::Dropped => stats.dropped,
        cause => panic!("{cause:?} is new: it has no number here"),
    });
    Counts {
        hits: stats.hits,
        misses: stats.misses,
        loads: stats.loads,
        load_failures: stats.load_failures,
        load_nanos: u64::try_from(stats.load_time.as_nanos()).unwrap(),
        removals,
        evicted_weight: stats.evicted_weight,
    }
}
