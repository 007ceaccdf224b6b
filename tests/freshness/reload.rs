//! L8: conditional loaders, which are handed the old value.

use super::loads::ready;
use super::*;
use cachette::Reload;
use std::sync::Mutex;

/// A world whose reloader notes what it is handed, and answers as it is told.
fn conditional(reload: fn(u64) -> Result<Reload<u64>, String>, suspends: bool) -> (World, Olds) {
    let olds = Olds::default();
    let notes = Arc::clone(&olds);
    let freshness =
        Freshness::new(TTL).refresh_ahead(0.5).stale_if_error(seconds(20)).throttle(seconds(1));
    let world = world_with(freshness, |choices| {
        if suspends {
            choices.reloader_async(move |key, old| {
                notes.lock().unwrap().push((key, old.value, old.age));
                async move {
                    breathe().await;
                    reload(old.value)
                }
            })
        } else {
            choices.reloader(move |key, old| {
                notes.lock().unwrap().push((*key, old.value, old.age));
                reload(old.value)
            })
        }
    });
    (world, olds)
}

type Olds = Arc<Mutex<Vec<(u32, u64, Option<Duration>)>>>;

#[test]
fn l8_a_reloader_is_handed_the_old_value_and_may_keep_it() {
    for suspends in [false, true] {
        let (World { cache, clock, hand, source }, olds) =
            conditional(|_| Ok(Reload::NotModified), suspends);
        let told = || std::mem::take(&mut *olds.lock().unwrap());
        assert_eq!((cache.load(&1), source.loads()), (Ok(0), 1), "there is no old value");
        clock.advance(seconds(6));
        assert_eq!((cache.load(&1), hand.tasks()), (Ok(0), 1));
        hand.run();
        hand.run();
        assert_eq!(told(), [(1, 0, Some(seconds(6)))]);
        let loaded = cache.load_entry(&1).unwrap();
        assert_eq!((loaded.value, loaded.origin), (0, Origin::Hit));
        assert_eq!((loaded.age, loaded.left), (Some(Duration::ZERO), TTL), "as fresh as a new one");
        // A miss with a stale value in its place.
        clock.advance(seconds(12));
        let mut caller = Box::pin(cache.load_entry_async(&1));
        assert!(poll(&mut caller).is_pending());
        hand.run();
        hand.run();
        let loaded = ready(poll(&mut caller)).unwrap();
        assert_eq!((loaded.value, loaded.origin, loaded.left), (0, Origin::Load, TTL));
        assert_eq!(told(), [(1, 0, Some(seconds(12)))]);
        // Nothing is left of it: loaded in full.
        clock.advance(seconds(31));
        cache.maintain();
        let mut caller = Box::pin(cache.load_async(&1));
        assert!(poll(&mut caller).is_pending());
        hand.run();
        assert_eq!((ready(poll(&mut caller)), source.loads(), told().len()), (Ok(1), 2, 0));
        // Deleted meanwhile, it is not brought back.
        assert!(cache.refresh(&1) && cache.delete(&1));
        hand.run();
        hand.run();
        assert_eq!(cache.get(&1), None);
    }
}

#[test]
fn l8_a_reloader_s_new_value_and_its_error() {
    for suspends in [false, true] {
        let (World { cache, hand, .. }, _) =
            conditional(|old| Ok(Reload::Value(old + 1)), suspends);
        cache.put(1, 100);
        assert!(cache.refresh(&1));
        hand.run();
        hand.run();
        assert_eq!(cache.get(&1), Some(101));
        let (World { cache, hand, .. }, _) = conditional(|_| Err("no".to_owned()), suspends);
        cache.put(1, 100);
        assert!(cache.refresh(&1));
        hand.run();
        hand.run();
        assert_eq!((cache.get(&1), cache.stats().refresh_failures), (Some(100), 1));
    }
}

/// A cache that is not told of freshness does not note when values were written.
#[test]
fn l8_an_age_that_is_not_known_is_not_made_up() {
    let (clock, olds) = (ManualClock::new(), Olds::default());
    let notes = Arc::clone(&olds);
    clock.advance(seconds(1_000));
    let cache = Cache::builder()
        .capacity(10)
        .clock(clock.clone())
        .loader(|_: &u32| 0)
        .reloader(move |key, old| {
            notes.lock().unwrap().push((*key, old.value, old.age));
            Reload::NotModified
        })
        .build()
        .unwrap();
    cache.put(1, 100);
    assert!(cache.refresh(&1));
    assert_eq!(*olds.lock().unwrap(), [(1, 100, None)]);
    assert_eq!(cache.load_entry(&1).unwrap().age, None);
}
