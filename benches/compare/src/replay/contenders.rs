//! Who takes part: the peers, each set so that it hits as often as it can, and the policies of this repository.
//!
//! One shard where a peer lets us choose, for parts that cannot share their room only lose hits; capacity in entries; a hasher
//! with a seed where we may bring one. stretto is not here: its puts may be dropped, and a thread of its own applies the others
//! some time later. Neither is mini-moka, whose policy is that of moka.

use std::cell::Cell;

use ahash::RandomState;
use foyer_memory::{
    CacheBuilder, CacheProperties, EvictionConfig, LfuConfig, LruConfig, S3FifoConfig, SieveConfig,
};
use quick_cache::sync::DefaultLifecycle;
use quick_cache::{OptionsBuilder, UnitWeighter};
use tinyufo::TinyUfo;

use super::regret::Who;
use crate::run::{self, POLICIES, Policy, Setting};
use crate::trace::Trace;

/// A cache of another library.
pub struct Peer {
    pub name: &'static str,
    /// The package in `Cargo.lock`, to print its version.
    pub package: &'static str,
    pub note: &'static str,
    /// Replays these requests through a new cache of this capacity, and counts the hits.
    hits: fn(&[u32], u64) -> u64,
}

/// Every peer. A new one is one line here, and one function below.
pub const PEERS: &[Peer] = &[
    Peer {
        name: "moka",
        package: "moka",
        note: "`run_pending_tasks` after every 64 inserts, as it does by itself, but not by the time too; in between it holds up to 64 entries more than its capacity",
        hits: moka,
    },
    Peer {
        name: "quick_cache",
        package: "quick_cache",
        note: "one shard, as many items estimated as its capacity",
        hits: quick_cache,
    },
    Peer {
        name: "tinyufo",
        package: "TinyUFO",
        note: "its hash is drawn anew for each cache, so its hits differ a little from run to run",
        hits: tinyufo,
    },
    Peer {
        name: "foyer s3-fifo",
        package: "foyer-memory",
        note: "one shard, defaults",
        hits: |ids, capacity| foyer(ids, capacity, S3FifoConfig::default()),
    },
    Peer {
        name: "foyer w-tinylfu",
        package: "foyer-memory",
        note: "one shard, its sketch as wide as four times the capacity; by default it has 2,719 counters a row, whatever the capacity",
        hits: |ids, capacity| foyer(ids, capacity, wide_sketch(capacity)),
    },
    Peer {
        name: "foyer lru",
        package: "foyer-memory",
        note: "one shard, defaults",
        hits: |ids, capacity| foyer(ids, capacity, LruConfig::default()),
    },
    Peer {
        name: "foyer sieve",
        package: "foyer-memory",
        note: "one shard",
        hits: |ids, capacity| foyer(ids, capacity, SieveConfig),
    },
];

/// Read-through: a get, and on a miss a put.
fn read_through(ids: &[u32], get: impl Fn(u32) -> bool, put: impl Fn(u32)) -> u64 {
    let mut hits = 0;
    for &id in ids {
        if get(id) {
            hits += 1;
        } else {
            put(id);
        }
    }
    hits
}

/// The same hash in every run.
fn hasher() -> RandomState {
    RandomState::with_seeds(1, 2, 3, 4)
}

fn size(capacity: u64) -> usize {
    usize::try_from(capacity).unwrap_or(usize::MAX)
}

/// Inserts that moka may put off; at so many it works them off by itself.
const PENDING: u64 = 64;

fn moka(ids: &[u32], capacity: u64) -> u64 {
    let pending = Cell::new(0);
    let cache = moka::sync::Cache::builder().max_capacity(capacity).build_with_hasher(hasher());
    let put = |id| {
        cache.insert(id, ());
        pending.set((pending.get() + 1) % PENDING);
        if pending.get() == 0 {
            cache.run_pending_tasks();
        }
    };
    read_through(ids, |id| cache.get(&id).is_some(), put)
}

fn quick_cache(ids: &[u32], capacity: u64) -> u64 {
    let options = OptionsBuilder::new()
        .shards(1)
        .estimated_items_capacity(size(capacity))
        .weight_capacity(capacity)
        .build()
        .expect("all that is needed is set");
    let lifecycle = DefaultLifecycle::default();
    let cache = quick_cache::sync::Cache::with_options(options, UnitWeighter, hasher(), lifecycle);
    read_through(ids, |id| cache.get(&id).is_some(), |id| cache.insert(id, ()))
}

fn tinyufo(ids: &[u32], capacity: u64) -> u64 {
    let cache = TinyUfo::new(size(capacity), size(capacity));
    read_through(ids, |id| cache.get(&id).is_some(), |id| drop(cache.put(id, (), 1)))
}

fn foyer(ids: &[u32], capacity: u64, policy: impl Into<EvictionConfig>) -> u64 {
    let cache: foyer_memory::Cache<u32, (), RandomState, CacheProperties> =
        CacheBuilder::new(size(capacity))
            .with_shards(1)
            .with_eviction_config(policy)
            .with_hash_builder(hasher())
            .build();
    read_through(ids, |id| cache.get(&id).is_some(), |id| drop(cache.insert(id, ())))
}

/// The width is e / eps counters a row, and they are halved after as many requests.
fn wide_sketch(capacity: u64) -> LfuConfig {
    let cmsketch_eps = std::f64::consts::E / (4 * capacity) as f64;
    LfuConfig { cmsketch_eps, ..LfuConfig::default() }
}

/// Whoever replays a trace.
#[derive(Clone, Copy)]
pub enum Contender {
    Peer(&'static Peer),
    Ours(&'static Policy),
}

impl Contender {
    /// The peers and policies of these names; all of a kind where no name of it is given.
    pub fn chosen(peers: &[String], policies: &[String]) -> Result<Vec<Self>, String> {
        let peer = |name: &String| {
            let legal = || PEERS.iter().map(|peer| peer.name).collect::<Vec<_>>().join(", ");
            let found = PEERS.iter().find(|peer| peer.name == name).map(Self::Peer);
            found.ok_or_else(|| format!("no peer is called {name}; legal are {}", legal()))
        };
        let policy = |name: &String| {
            run::policy(name)
                .map(Self::Ours)
                .map_err(|legal| format!("no policy is called {name}; {legal}"))
        };
        let mut chosen: Vec<_> = peers.iter().map(peer).collect::<Result<_, _>>()?;
        if peers.is_empty() {
            chosen.extend(PEERS.iter().map(Self::Peer));
        }
        chosen.extend(policies.iter().map(policy).collect::<Result<Vec<_>, _>>()?);
        if policies.is_empty() {
            // Redis's names are of policies that have names of their own, or that give nothing up where nothing expires.
            let redis = |name: &str| name.starts_with("allkeys-") || name.starts_with("volatile-");
            chosen.extend(POLICIES.iter().filter(|own| !redis(own.name)).map(Self::Ours));
        }
        Ok(chosen)
    }

    pub const fn who(self) -> Who {
        match self {
            Self::Peer(peer) => Who::Peer(peer.name),
            Self::Ours(policy) => Who::Ours(policy.name),
        }
    }

    /// The hits of `trace` in a cache of `capacity` entries; `segments` is for our own.
    pub fn hits(self, trace: &Trace, capacity: u64, segments: usize) -> Result<u64, String> {
        match self {
            Self::Peer(peer) => Ok((peer.hits)(&trace.ids, capacity)),
            Self::Ours(policy) => {
                let setting = Setting { segments, seed: 1, rate: 1_000, ttl: None, slices: 1 };
                run::replay(trace, policy, capacity, setting, |_| ())
                    .map(|cell| cell.hits)
                    .map_err(|error| format!("capacity {capacity}, {segments} segments: {error}"))
            }
        }
    }
}
