//! Who takes part: ways to read through one key, with what keeps readers from the source.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use cachette::{Cache, Freshness, Threads};

use super::source::Source;

/// The key that all readers want.
const KEY: u64 = 7;

/// The capacity of every cache: this is not about room.
const CAPACITY: u64 = 1_024;

/// Reads the key, from the cache or the source.
pub type Read = Box<dyn Fn() -> u64 + Send + Sync>;

pub struct Strategy {
    pub name: &'static str,
    pub note: &'static str,
    /// The part of its TTL that a value lives before it may be loaded anew. None: as long as chance has it.
    pub life: Option<f64>,
    pub make: fn(Duration, Source) -> Read,
}

/// The name of the strategy that must load once an expiry.
pub const SINGLE_FLIGHT: &str = "cachette: single flight";
/// The name of the strategy that must let nobody wait.
pub const REFRESH_AHEAD: &str = "cachette: refresh ahead";

pub const ALL: &[Strategy] = &[
    Strategy {
        name: "cachette: no protection",
        note: "get, or load and put",
        life: Some(1.0),
        make: unprotected,
    },
    Strategy { name: SINGLE_FLIGHT, note: "get_or_load", life: Some(1.0), make: single_flight },
    Strategy {
        name: "cachette: jitter",
        note: "a loader, TTLs shortened by up to a fifth; meant for many keys, with one it changes nothing but when",
        life: Some(0.8),
        make: |ttl, source| loading(Freshness::new(ttl).jitter(0.2), source),
    },
    Strategy {
        name: "cachette: early refresh",
        note: "a loader, refresh_early(1.0): behind a reader, by chance",
        life: None,
        make: |ttl, source| loading(Freshness::new(ttl).refresh_early(1.0), source),
    },
    Strategy {
        name: REFRESH_AHEAD,
        note: "a loader, refresh_ahead(0.5): behind a reader, half through the TTL",
        life: Some(0.5),
        make: |ttl, source| loading(Freshness::new(ttl).refresh_ahead(0.5), source),
    },
    Strategy {
        name: "cachette: stale while revalidate",
        note: "a loader, the stale value served for a TTL more: behind a reader, after the TTL",
        life: Some(1.0),
        make: |ttl, source| loading(Freshness::new(ttl).stale_while_revalidate(ttl), source),
    },
    Strategy { name: "moka", note: "time_to_live, get_with", life: Some(1.0), make: moka },
    Strategy {
        name: "quick_cache",
        note: "it has no TTL: the value carries its deadline, and who finds it expired removes it; get_or_insert_with",
        life: Some(1.0),
        make: quick_cache,
    },
];

fn plain(ttl: Duration) -> Cache<u64, u64> {
    Cache::builder().capacity(CAPACITY).time_to_live(ttl).build().expect("the settings are legal")
}

fn unprotected(ttl: Duration, source: Source) -> Read {
    let cache = plain(ttl);
    Box::new(move || {
        cache.get(&KEY).unwrap_or_else(|| {
            let value = source.load();
            cache.put(KEY, value);
            value
        })
    })
}

fn single_flight(ttl: Duration, source: Source) -> Read {
    let cache = plain(ttl);
    Box::new(move || cache.get_or_load(&KEY, |_| source.load()).expect("it does not fail"))
}

fn loading(freshness: Freshness, source: Source) -> Read {
    let cache = Cache::builder()
        .capacity(CAPACITY)
        .freshness(freshness)
        .loader(move |_: &u64| source.load())
        .spawn(Threads::new())
        .build()
        .expect("the settings are legal");
    Box::new(move || cache.load(&KEY).expect("it does not fail"))
}

fn moka(ttl: Duration, source: Source) -> Read {
    let cache = moka::sync::Cache::builder().max_capacity(CAPACITY).time_to_live(ttl).build();
    Box::new(move || cache.get_with(KEY, || source.load()))
}

fn quick_cache(ttl: Duration, source: Source) -> Read {
    let cache = quick_cache::sync::Cache::<u64, (Instant, u64)>::new(CAPACITY as usize);
    Box::new(move || {
        loop {
            let load = || {
                let value = source.load();
                Ok::<_, Infallible>((Instant::now() + ttl, value))
            };
            let Ok((deadline, value)) = cache.get_or_insert_with(&KEY, load);
            if Instant::now() < deadline {
                return value;
            }
            cache.remove_if(&KEY, |(found, _)| *found == deadline);
        }
    })
}
