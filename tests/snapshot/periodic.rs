//! Snapshots every so often, and a last one.

use crate::hand::Hand;
use crate::{Hooked, Place, seconds};
use cachette::Cache;
use cachette::snapshot::{Autosave, Saved, Snapshot, SnapshotError};
use serde::Serialize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What was told: how many entries, or what went wrong.
type Told = Arc<Mutex<Vec<Result<u64, String>>>>;

fn start<V>(cache: &Arc<Cache<u32, V>>, path: &Path, hand: &Hand) -> (Autosave, Told)
where
    V: Serialize + Send + Sync + 'static,
{
    let told = Told::default();
    let log = Arc::clone(&told);
    let tell = move |outcome: &Result<Saved, SnapshotError>| {
        let outcome = outcome.as_ref();
        log.lock().unwrap().push(outcome.map(|saved| saved.entries).map_err(ToString::to_string));
    };
    let saving = Autosave::start(cache, Snapshot::new(), path, seconds(60), hand.clone(), tell);
    hand.run();
    (saving, told)
}

/// Lets a period pass: the timer ends, the snapshot is taken, the next timer begins.
fn pass(hand: &Hand) {
    hand.pass(seconds(60));
    (0..3).for_each(|_| hand.run());
}

fn take(told: &Told) -> Vec<Result<u64, String>> {
    std::mem::take(&mut told.lock().unwrap())
}

fn entries(path: &Path) -> u64 {
    Cache::<u32, u32>::new(100).restore(path).unwrap().entries
}

#[test]
fn one_is_taken_after_each_period_and_one_at_the_end() {
    let (place, hand) = (Place::new(), Hand::default());
    let cache = Arc::new(Cache::<u32, u32>::new(100));
    let (saving, told) = start(&cache, &place.file(), &hand);
    hand.pass(seconds(59));
    hand.run();
    assert!(take(&told).is_empty() && place.names().is_empty(), "not yet");
    cache.put(1, 1);
    hand.pass(seconds(1));
    (0..3).for_each(|_| hand.run());
    assert_eq!((take(&told), entries(&place.file())), (vec![Ok(1)], 1));
    cache.put(2, 2);
    pass(&hand);
    assert_eq!((take(&told), entries(&place.file())), (vec![Ok(2)], 2));
    cache.put(3, 3);
    assert_eq!(saving.close().unwrap().entries, 3);
    assert_eq!((take(&told), entries(&place.file())), (vec![], 3), "who closes has the answer");
    cache.put(4, 4);
    pass(&hand);
    assert_eq!((take(&told), hand.tasks(), hand.sleepers()), (vec![], 0, 0), "it has ended");
}

#[test]
fn dropping_it_takes_the_last_one_though_the_cache_is_gone() {
    let (place, hand) = (Place::new(), Hand::default());
    let cache = Arc::new(Cache::<u32, u32>::new(100));
    let (saving, told) = start(&cache, &place.file(), &hand);
    cache.put(1, 1);
    drop(cache);
    drop(saving);
    assert_eq!((take(&told), entries(&place.file())), (vec![Ok(1)], 1));
}

#[test]
fn an_error_is_told_and_the_next_one_comes_all_the_same() {
    let (place, hand) = (Place::new(), Hand::default());
    let cache = Arc::new(Cache::<u32, u32>::new(100));
    let directory = place.0.join("later");
    let (saving, told) = start(&cache, &directory.join("cache"), &hand);
    pass(&hand);
    let [Err(text)] = &take(&told)[..] else { panic!("it cannot be written") };
    assert!(text.starts_with("creating ") && text.contains("later"), "{text}");
    std::fs::create_dir(&directory).unwrap();
    pass(&hand);
    assert_eq!(take(&told), [Ok(0)]);
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(saving.close().unwrap_err().is_missing());
}

#[test]
fn a_panic_is_told_and_ends_nothing() {
    let (place, hand) = (Place::new(), Hand::default());
    let cache = Arc::new(Cache::<u32, Hooked>::new(100));
    let (saving, told) = start(&cache, &place.file(), &hand);
    let panics = Arc::new(AtomicBool::new(true));
    let inner = Arc::clone(&panics);
    let hook = Arc::new(move |_| {
        assert!(!inner.load(Ordering::SeqCst), "a value's own");
        true
    });
    cache.put(1, Hooked(1, hook));
    std::panic::set_hook(Box::new(|_| {}));
    pass(&hand);
    drop(std::panic::take_hook());
    assert_eq!(take(&told), [Err("a panic while the snapshot was taken".to_owned())]);
    assert!(place.names().is_empty());
    panics.store(false, Ordering::SeqCst);
    pass(&hand);
    assert_eq!(take(&told), [Ok(1)]);
    drop(saving);
    assert_eq!(take(&told), [Ok(1)]);
}

#[test]
fn a_background_that_drops_its_tasks_takes_the_last_one_from_nobody() {
    let (place, hand) = (Place::new(), Hand::default());
    let cache = Arc::new(Cache::<u32, u32>::new(100));
    let (saving, told) = start(&cache, &place.file(), &hand);
    hand.lose();
    pass(&hand);
    assert!(take(&told).is_empty());
    assert_eq!(saving.close().unwrap().entries, 0);
}
