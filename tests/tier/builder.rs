//! What cannot be built, and why.

use crate::hand::Hand;
use crate::world::{Chosen, Down, millis, seconds};
use cachette::tier::{MemoryRemote, Mode, OnLinkLoss, Raw};
use cachette::{BuildError, Cache, LoadingBuilder};
use std::time::Duration;

fn loading() -> LoadingBuilder<u64, String, Down> {
    Cache::<u64, String>::builder().capacity(9).loader(|key| Ok::<_, Down>(key.to_string()))
}

fn whole() -> Chosen {
    loading()
        .spawn(Hand::default())
        .remote(MemoryRemote::new(), Raw)
        .namespace("test")
        .remote_ttl(seconds(9))
}

#[track_caller]
fn refused(builder: Chosen, error: BuildError, message: &str) {
    let built = builder.build().err();
    assert_eq!(built, Some(error));
    let told = error.to_string();
    assert!(told.contains(message), "{told}");
}

#[test]
fn what_is_missing_is_named() {
    let nameless = || loading().spawn(Hand::default()).remote(MemoryRemote::new(), Raw);
    refused(nameless().remote_ttl(seconds(9)), BuildError::Namespace, "needs a namespace");
    refused(nameless().namespace("test"), BuildError::NoRemoteTtl, "remote_ttl(..)");
    let lonely =
        loading().remote(MemoryRemote::new(), Raw).namespace("test").remote_ttl(seconds(9));
    refused(lonely, BuildError::NoSpawn("remote"), "`remote` needs the background");
    let boundless = Cache::<u64, String>::builder()
        .loader(|key| Ok::<_, Down>(key.to_string()))
        .spawn(Hand::default())
        .remote(MemoryRemote::new(), Raw)
        .namespace("test")
        .remote_ttl(seconds(9));
    refused(boundless, BuildError::NoCapacity, "capacity(n)");
}

#[test]
fn what_is_out_of_range_is_named() {
    for namespace in ["", "a{b", "a}b", "a*", "\n", &"x".repeat(129)] {
        refused(whole().namespace(namespace), BuildError::Namespace, "from 1 to 128 bytes");
    }
    let short = Duration::from_micros(999);
    refused(whole().remote_ttl(short), BuildError::TooShort("remote_ttl"), "`remote_ttl`");
    refused(whole().lease(short), BuildError::TooShort("lease"), "a millisecond at least");
    let timeout = whole().remote_timeout(short);
    refused(timeout, BuildError::TooShort("remote_timeout"), "`remote_timeout`");
    refused(whole().modes([]), BuildError::NoModes, "one way at least");
    let staleness = |bound, stale| BuildError::Staleness { bound, stale };
    let (least, none) = (millis(40), Duration::ZERO);
    refused(whole().max_staleness(millis(39)), staleness(millis(39), none), "40 ms at least");
    assert!(whole().max_staleness(least).build().is_ok());
    for (stale, legal) in [(millis(1_960), true), (millis(1_961), false), (seconds(3), false)] {
        let builder = whole().on_link_loss(OnLinkLoss::ServeStale(stale));
        if legal {
            assert!(builder.build().is_ok());
        } else {
            refused(builder, staleness(seconds(2), stale), "for which stale values are served");
        }
    }
}

#[test]
fn all_that_is_legal_can_be_built() {
    let cache = whole()
        .modes([Mode::TtlOnly, Mode::Messages, Mode::Messages, Mode::Tracking])
        .namespace("sessions of /eu")
        .schema(u32::MAX)
        .remote_ttl(Duration::MAX)
        .max_staleness(Duration::MAX)
        .lock_wait(Duration::ZERO)
        .most_undelivered(0)
        .max_value_bytes(0)
        .build()
        .unwrap();
    assert_eq!(cache.max_staleness(), Duration::MAX);
    assert!(format!("{cache:?} {:?}", whole()).contains("undelivered: 0"));
}
