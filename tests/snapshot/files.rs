//! A file has the old snapshot or the new one, and nothing is left beside it.

use crate::{Hooked, Place};
use cachette::Cache;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

#[test]
fn a_save_that_fails_leaves_the_old_file() {
    let place = Place::new();
    let cache = Cache::<u32, u32>::new(10);
    cache.put(1, 1);
    cache.save(place.file()).unwrap();
    let before = std::fs::read(place.file()).unwrap();

    let panicking = Cache::<u32, Hooked>::new(1_000);
    let hook = Arc::new(|n| if n == 500 { panic!("a value's own") } else { true });
    (0..1_000_u32).for_each(|key| panicking.put(key, Hooked(key.into(), hook.clone())));
    std::panic::set_hook(Box::new(|_| {}));
    let panicked = catch_unwind(AssertUnwindSafe(|| panicking.save(place.file())));
    drop(std::panic::take_hook());
    assert!(panicked.is_err());
    assert_eq!(std::fs::read(place.file()).unwrap(), before);
    assert_eq!(place.names(), ["cache"]);
    assert_eq!(panicking.len(), 1_000, "the cache goes on");
}

#[test]
fn a_save_replaces_the_old_file() {
    let place = Place::new();
    let cache = Cache::<u32, String>::new(10_000);
    for entries in [5_000_u32, 3, 0] {
        cache.clear();
        (0..entries).for_each(|key| cache.put(key, "v".repeat(50)));
        let saved = cache.save(place.file()).unwrap();
        assert_eq!((saved.entries, saved.skipped), (u64::from(entries), 0));
        assert_eq!(saved.bytes, std::fs::metadata(place.file()).unwrap().len());
        let again = Cache::<u32, String>::new(10_000);
        assert_eq!(again.restore(place.file()).unwrap().entries, u64::from(entries));
        assert_eq!(place.names(), ["cache"]);
    }
}

#[test]
fn what_cannot_be_encoded_is_left_out() {
    let place = Place::new();
    let cache = Cache::<u32, Hooked>::new(1_000);
    let odd = Arc::new(|n| n % 2 == 1);
    (0..100_u32).for_each(|key| cache.put(key, Hooked(key.into(), odd.clone())));
    let saved = cache.save(place.file()).unwrap();
    assert_eq!((saved.entries, saved.skipped), (50, 50));
    let again = Cache::<u32, u64>::new(1_000);
    assert_eq!(again.restore(place.file()).unwrap().entries, 50);
    assert!(again.iter().all(|(key, value)| key % 2 == 1 && value == u64::from(key)));
}

#[test]
fn what_fails_is_named_with_its_file() {
    let place = Place::new();
    let cache = Cache::<u32, u32>::new(10);
    let error = cache.restore(place.file()).unwrap_err();
    assert!(error.is_missing() && error.to_string().starts_with("opening "), "{error}");
    let error = cache.save(place.0.join("missing").join("cache")).unwrap_err();
    assert!(error.is_missing() && error.to_string().contains("missing"), "{error}");
    let error = cache.restore(&place.0).unwrap_err();
    assert!(!error.is_missing() && error.to_string().contains("cachette-snapshot-"), "{error}");
}
