//! T29: errors that are kept.

use super::*;
use std::thread;

fn kept(keep: impl Fn(&String, u64) -> Option<Duration> + Send + Sync + 'static) -> World {
    world_with(Freshness::new(TTL), |choices| choices.cache_errors(keep))
}

#[test]
fn t29_everybody_has_the_same_kept_error() {
    let World { cache, clock, hand, source } = kept(|_, _| Some(seconds(5)));
    source.set_down(true);
    let LoadError::Failed(first) = cache.load(&1).unwrap_err() else { panic!("it failed") };
    let shared = |error: Result<u64, LoadError<String>>| {
        let Err(LoadError::Failed(error)) = error else { panic!("it is kept") };
        assert!(Arc::ptr_eq(&error, &first));
    };
    shared(cache.load(&1));
    shared(cache.load_entry(&1).map(|loaded| loaded.value));
    let Poll::Ready(in_task) = poll(&mut Box::pin(cache.load_async(&1))) else { panic!() };
    shared(in_task);
    shared(cache.get_or_load(&1, |_| Err::<u64, _>("mine".to_owned())));
    thread::scope(|scope| scope.spawn(|| shared(cache.load(&1))).join().unwrap());
    assert!(!cache.refresh(&1), "not by hand either");
    assert_eq!((hand.tasks(), source.loads(), cache.stats().load_failures), (0, 1, 1));
    assert_eq!(cache.load(&2), down_at(1), "under its key alone");
    clock.advance(seconds(5) - Duration::from_nanos(1));
    shared(cache.load(&1));
    clock.advance(Duration::from_nanos(1));
    assert_eq!(cache.load(&1), down_at(2));
}

#[test]
fn t29_a_write_or_a_deletion_ends_a_kept_error() {
    type Write = fn(&Numbers);
    let writes: [(&str, Write); 5] = [
        ("put", |cache| cache.put(1, 7)),
        ("delete", |cache| assert!(!cache.delete(&1))),
        ("take", |cache| assert_eq!(cache.take(&1), None)),
        ("clear", |cache| cache.clear()),
        ("retain", |cache| cache.retain(|_, _| true)),
    ];
    for (name, write) in writes {
        let World { cache, source, .. } = kept(|_, _| Some(seconds(5)));
        source.set_down(true);
        assert_eq!((cache.load(&1), cache.load(&1)), (down_at(0), down_at(0)));
        write(&cache);
        let put = cache.get(&1);
        assert_eq!(put.is_some(), name == "put");
        assert_eq!(cache.load(&1), put.map_or(down_at(1), Ok), "{name}");
    }
}

#[test]
fn t29_an_error_of_another_type_is_nobody_s() {
    let World { cache, source, .. } = kept(|_, _| Some(seconds(5)));
    source.set_down(true);
    assert_eq!(cache.load(&1), down_at(0));
    let calls = AtomicU64::new(0);
    let mine = |_: &u32| {
        calls.fetch_add(1, Ordering::SeqCst);
        Err::<u64, u8>(9)
    };
    for call in 1..=3 {
        let ended = cache.get_or_load(&1, mine);
        assert_eq!(
            (ended, calls.load(Ordering::SeqCst)),
            (Err(LoadError::Failed(Arc::new(9))), call)
        );
    }
    assert_eq!(cache.get_or_load(&1, |_| Ok::<_, u8>(7)), Ok(7));
    assert_eq!((cache.load(&1), source.loads()), (Ok(7), 1));
}

#[test]
fn t29_what_is_kept_for_no_time_is_not_kept() {
    for keep in [None, Some(Duration::ZERO)] {
        let World { cache, source, .. } = kept(move |_, _| keep);
        source.set_down(true);
        for number in 0..3 {
            assert_eq!(cache.load(&1), down_at(number));
        }
        source.set_down(false);
        assert_eq!(cache.load(&1), Ok(3));
    }
    let World { cache, clock, source, .. } = kept(|_, _| Some(Duration::MAX));
    source.set_down(true);
    assert_eq!(cache.load(&1), down_at(0));
    clock.advance(seconds(1 << 40));
    assert_eq!(cache.load(&1), down_at(0), "for ever");
}

/// The error decides for how long, and it hears how many came before it.
#[test]
fn t29_failures_in_a_row_are_counted_until_a_success() {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let notes = Arc::clone(&told);
    let World { cache, clock, source, hand } = kept(move |error, failures| {
        notes.lock().unwrap().push((error.clone(), failures));
        Some(seconds(1))
    });
    let told = || std::mem::take(&mut *told.lock().unwrap());
    source.set_down(true);
    for number in 0..3 {
        assert_eq!(cache.load(&1), down_at(number));
        clock.advance(seconds(1));
    }
    let row = |from: u64, failures: u64| (format!("down at {from}"), failures);
    assert_eq!(told(), [row(0, 0), row(1, 1), row(2, 2)]);
    assert_eq!(cache.load(&2), down_at(3));
    assert_eq!(told(), [row(3, 0)], "each key has its own row");
    source.set_down(false);
    assert_eq!(cache.load(&1), Ok(4));
    source.set_down(true);
    assert!(cache.refresh(&1));
    hand.run();
    assert_eq!((told(), cache.get(&1)), (vec![row(5, 0)], Some(4)), "the row began anew");
    assert!(!cache.refresh(&1), "the error of a refresh is kept too");
    clock.advance(seconds(1));
    assert!(cache.refresh(&1));
    hand.run();
    assert_eq!(told(), [row(6, 1)]);
}

#[test]
fn t29_of_too_many_errors_the_oldest_gives_way() {
    let World { cache, source, .. } = kept(|_, _| Some(seconds(5)));
    source.set_down(true);
    for key in 0..1_024 {
        assert_eq!(cache.load(&key), down_at(u64::from(key)));
    }
    assert_eq!((cache.load(&0), cache.load(&1_023)), (down_at(0), down_at(1_023)));
    assert_eq!(cache.load(&1_024), down_at(1_024));
    assert_eq!((cache.load(&1), source.loads()), (down_at(1), 1_025));
    assert_eq!(cache.load(&0), down_at(1_025), "the oldest");
    assert_eq!(cache.load(&2), down_at(2));
    assert_eq!(cache.load(&1), down_at(1_026), "then the next");
}

/// A key that fails again and again has one error, and drives out none of the others.
#[test]
fn t29_a_key_has_one_kept_error() {
    let World { cache, clock, source, .. } = world_with(Freshness::new(TTL), |choices| {
        choices.cache_errors(|error, _| Some(seconds(if error == "down at 0" { 9_999 } else { 1 })))
    });
    source.set_down(true);
    assert_eq!(cache.load(&1), down_at(0));
    for number in 1..2_000 {
        assert_eq!(cache.load(&2), down_at(number));
        clock.advance(seconds(1));
    }
    assert_eq!(cache.load(&1), down_at(0));
}

/// The stale value is better than a kept error, for as long as there is one.
#[test]
fn t29_a_kept_error_and_a_stale_value() {
    let freshness = Freshness::new(TTL).stale_if_error(seconds(3)).throttle(Duration::ZERO);
    let World { cache, clock, source, .. } =
        world_with(freshness, |choices| choices.cache_errors(|_, _| Some(seconds(5))));
    cache.put(1, 100);
    source.set_down(true);
    clock.advance(TTL);
    assert_eq!((cache.load(&1), cache.load(&1), source.loads()), (Ok(100), Ok(100), 1));
    clock.advance(seconds(3));
    assert_eq!((cache.load(&1), source.loads()), (down_at(0), 1));
    clock.advance(seconds(2));
    source.set_down(false);
    assert_eq!(cache.load(&1), Ok(1));
}
