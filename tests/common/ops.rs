//! The alphabet: what may be done to a cache, and how the cache may be built. Everything is made from bytes, so that a
//! property test and a fuzzer speak the same language. The simplest choice is always byte 0: that is where both shrink to.

use std::time::Duration;

/// A tick of the timer wheel, in nanoseconds.
pub(crate) const TICK: u64 = 1 << 20;

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 24 * 3600 * SECOND;
const YEAR: u64 = 365 * DAY;

/// Operations within operations: how deep.
const DEPTH: usize = 3;

/// Bytes to be made into something. At their end there are zeros.
pub(crate) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }

    fn key(&mut self, keys: u16) -> u16 {
        u16::from(self.byte()) % keys
    }

    fn weight(&mut self) -> u64 {
        self.pick(&[1, 1, 1, 2, 2, 3, 0, 4, 0, 6, 1, 9, 2, 13, 1, 40, 3, 1, 1, 1, 5, u64::MAX])
    }

    /// A length of time: often one at the edge of something.
    fn span(&mut self) -> Duration {
        let edges = [
            SECOND,
            TICK,
            0,
            3 * TICK,
            1,
            TICK - 1,
            TICK + 1,
            64 * TICK,
            65 * TICK + 7,
            10 * SECOND,
            60 * SECOND,
            4100 * TICK,
            100 * DAY,
            10 * YEAR,
            400 * YEAR,
            u64::MAX,
        ];
        match self.byte() {
            0xFF => Duration::MAX,
            byte if byte < 128 => Duration::from_nanos(edges[usize::from(byte) % edges.len()]),
            byte => Duration::from_nanos((u64::from(byte) * u64::from(self.byte())) << 17),
        }
    }

    /// How far the clock goes at once: mostly not far.
    fn advance(&mut self) -> Duration {
        let edges = [TICK, SECOND, 1, TICK - 1, TICK + 1, 10 * SECOND, 60 * SECOND, 4096 * TICK];
        match self.byte() {
            byte @ 0..128 => Duration::from_nanos(edges[usize::from(byte) % edges.len()]),
            byte @ 128..=251 => {
                Duration::from_nanos((u64::from(byte) * u64::from(self.byte())) << 17)
            }
            252 => Duration::from_nanos(DAY),
            253 => Duration::from_nanos(100 * DAY),
            254 => Duration::from_nanos(300 * YEAR),
            255 => Duration::MAX,
        }
    }
}

/// A cache, and what is done to it until the bytes end.
pub(crate) fn script(bytes: &[u8]) -> (Config, Vec<Op>) {
    let mut bytes = Bytes::new(bytes);
    let config = Config::decode(&mut bytes);
    let mut ops = Vec::new();
    while !bytes.0.is_empty() {
        ops.push(Op::decode(&config, &mut bytes));
    }
    (config, ops)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Lru,
    Lfu,
    Fifo,
    NoEviction,
    /// Any entry may be its victim, so its caches are never exact.
    Random,
}

/// How a cache is built.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) policy: Policy,
    pub(crate) capacity: u64,
    /// Entries weigh what their values say; otherwise 1.
    pub(crate) weighed: bool,
    pub(crate) time_to_live: Option<Duration>,
    pub(crate) time_to_idle: Option<Duration>,
    /// Each entry has a rule of its own, instead of the two above.
    pub(crate) per_entry: bool,
    pub(crate) segments: usize,
    pub(crate) keys: u16,
    /// The oracle foresees every removal; otherwise it checks those that it is told of.
    pub(crate) exact: bool,
    /// The bits of a key's hash that count: with none, all keys collide.
    pub(crate) hashes: u64,
}

impl Config {
    fn decode(bytes: &mut Bytes<'_>) -> Self {
        let exact = [Policy::Lru, Policy::Lfu, Policy::Fifo, Policy::NoEviction];
        match bytes.byte() % 6 {
            choice @ 0..4 => Self::exact(exact[usize::from(choice)], bytes),
            _ => Self::loose(bytes),
        }
    }

    /// A cache of one segment, so small that the oracle knows all that it does.
    pub(crate) fn exact(policy: Policy, bytes: &mut Bytes<'_>) -> Self {
        let capacity = bytes.pick(&[4, 3, 2, 5, 6, 7, 10, 12, 1, 0, 20, u64::MAX]);
        let mut config = Self::lifetimes(policy, capacity, bytes);
        // A write takes out 16 expired entries in passing. One whose idle deadline was moved can cost two steps of that.
        config.keys = if config.time_to_idle.is_some() || config.per_entry { 8 } else { 16 };
        config.exact = true;
        config
    }

    /// A cache of several segments, or of a policy with a will of its own.
    pub(crate) fn loose(bytes: &mut Bytes<'_>) -> Self {
        let segments = bytes.pick(&[2, 4, 1, 8]);
        let policies = [Policy::Lru, Policy::Random, Policy::Lfu, Policy::Fifo, Policy::NoEviction];
        let policy = bytes.pick(&policies);
        let capacity = bytes.pick(&[8, 16, 40, 3, 100, 200, 1, 0, 12, u64::MAX]);
        let mut config = Self::lifetimes(policy, capacity, bytes);
        config.segments = segments;
        config.keys = bytes.pick(&[12, 40, 200]);
        config
    }

    fn lifetimes(policy: Policy, capacity: u64, bytes: &mut Bytes<'_>) -> Self {
        let weighed = bytes.byte() % 2 == 1;
        let lifetimes = bytes.byte() % 8;
        let (live, idle) = (bytes.span(), bytes.span());
        Self {
            policy,
            capacity,
            weighed,
            time_to_live: (lifetimes & 1 != 0 && lifetimes != 7).then_some(live),
            time_to_idle: (lifetimes & 2 != 0 && lifetimes != 7).then_some(idle),
            per_entry: lifetimes == 7,
            segments: 1,
            keys: 1,
            exact: false,
            hashes: bytes.pick(&[u64::MAX, 0, 1]),
        }
    }
}

/// What `compute` decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Keep,
    Replace,
    ReplaceWithTtl(Duration),
    ReplaceKeepTtl,
    Delete,
}

/// What becomes of a loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loader {
    Loads,
    Fails,
    /// Its task is dropped before it ends.
    Cancelled,
}

/// An operation that is done from inside a closure of another one, the first time the closure runs.
pub(crate) type Inner = Option<Box<Op>>;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Get { key: u16 },
    GetWith { key: u16, inner: Inner },
    Peek { key: u16 },
    ContainsKey { key: u16 },
    TimeToLiveOf { key: u16 },
    Put { key: u16, weight: u64 },
    TryPut { key: u16, weight: u64 },
    PutWithTtl { key: u16, weight: u64, ttl: Duration },
    PutIfAbsent { key: u16, weight: u64 },
    GetAndPut { key: u16, weight: u64 },
    ReplaceIf { key: u16, weight: u64, accept: bool, inner: Inner },
    Compute { key: u16, weight: u64, action: Action, inner: Inner },
    Delete { key: u16 },
    Take { key: u16 },
    ExpireIn { key: u16, ttl: Duration },
    ExpireAt { key: u16, date: Duration },
    Persist { key: u16 },
    Advance { by: Duration },
    Maintain,
    Clear,
    Retain { modulus: u64, inner: Inner },
    SetCapacity { capacity: u64 },
    Load { key: u16, weight: u64, loader: Loader, task: bool, inner: Inner },
}

impl Op {
    pub(crate) fn decode(config: &Config, bytes: &mut Bytes<'_>) -> Self {
        Self::nested(config, bytes, 0)
    }

    fn nested(config: &Config, bytes: &mut Bytes<'_>, depth: usize) -> Self {
        let kind = bytes.byte() % 64;
        let key = bytes.key(config.keys);
        match kind {
            0..8 => Self::Get { key },
            8 => Self::GetWith { key, inner: Self::inner(config, bytes, depth) },
            9 => Self::Peek { key },
            10 => Self::ContainsKey { key },
            11 => Self::TimeToLiveOf { key },
            12..22 => Self::Put { key, weight: bytes.weight() },
            22..25 => Self::TryPut { key, weight: bytes.weight() },
            25..28 => Self::PutWithTtl { key, weight: bytes.weight(), ttl: bytes.span() },
            28 => Self::PutIfAbsent { key, weight: bytes.weight() },
            29 => Self::GetAndPut { key, weight: bytes.weight() },
            30..33 => Self::ReplaceIf {
                key,
                weight: bytes.weight(),
                accept: bytes.byte() % 4 != 3,
                inner: Self::inner(config, bytes, depth),
            },
            33..39 => Self::Compute {
                key,
                weight: bytes.weight(),
                action: Self::action(bytes),
                inner: Self::inner(config, bytes, depth),
            },
            39 | 40 => Self::Delete { key },
            41 => Self::Take { key },
            42 | 43 => Self::ExpireIn { key, ttl: bytes.span() },
            44 => Self::ExpireAt { key, date: bytes.span() },
            45 => Self::Persist { key },
            46..52 => Self::Advance { by: bytes.advance() },
            52 | 53 => Self::Maintain,
            54 => Self::Clear,
            55 => Self::retain(config, bytes, depth),
            56 | 57 => Self::SetCapacity {
                capacity: bytes.pick(&[4, 2, 3, 6, 1, 8, 12, 0, 30, 100, u64::MAX]),
            },
            _ => Self::Load {
                key,
                weight: bytes.weight(),
                loader: bytes.pick(&[
                    Loader::Loads,
                    Loader::Loads,
                    Loader::Fails,
                    Loader::Cancelled,
                ]),
                task: bytes.byte() % 2 == 1,
                inner: Self::inner(config, bytes, depth),
            },
        }
    }

    fn retain(config: &Config, bytes: &mut Bytes<'_>, depth: usize) -> Self {
        let modulus = bytes.pick(&[2, 3, 5, 1]);
        // Among several slices it is not foreseen which come after the inner operation.
        let inner = if config.exact { Self::inner(config, bytes, depth) } else { None };
        Self::Retain { modulus, inner }
    }

    fn action(bytes: &mut Bytes<'_>) -> Action {
        match bytes.byte() % 8 {
            0 => Action::Keep,
            1..4 => Action::Replace,
            4 => Action::ReplaceWithTtl(bytes.span()),
            5 | 6 => Action::ReplaceKeepTtl,
            _ => Action::Delete,
        }
    }

    fn inner(config: &Config, bytes: &mut Bytes<'_>, depth: usize) -> Inner {
        let within = depth < DEPTH && bytes.byte() % 3 == 1;
        within.then(|| Box::new(Self::nested(config, bytes, depth + 1)))
    }
}

/// How long an entry has to live that was created with `wish`, by a rule of its own.
pub(crate) fn created(wish: Duration) -> Duration {
    wish
}

/// The same for one that replaced a value with `left` to live.
pub(crate) fn updated(wish: Duration, left: Duration) -> Duration {
    if left == Duration::MAX { wish } else { left / 2 + Duration::from_nanos(TICK) }
}

/// The same for the value `id`, which was read with `left` to live.
pub(crate) fn read(id: u64, left: Duration) -> Option<Duration> {
    match id % 3 {
        0 => Some(Duration::from_secs(2)),
        1 => Some(left.saturating_add(Duration::from_nanos(TICK / 2))),
        _ => None,
    }
}
