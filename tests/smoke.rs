//! The smallest thing that must work.

use cachette::{Cache, policy::Lfu};

#[test]
fn an_lru_cache_gives_up_the_least_recently_used() {
    let cache = Cache::new(3);
    for i in 0..3 {
        cache.put(i, i);
    }
    assert_eq!(cache.get(&0), Some(0));
    cache.put(3, 3);
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.len(), 3);
}

#[test]
fn an_lfu_cache_gives_up_the_least_often_used() {
    let cache = Cache::builder().capacity(2).policy(Lfu::new).build().unwrap();
    cache.put(1, 1);
    cache.put(2, 2);
    let _ = cache.get(&1);
    cache.put(3, 3);
    assert!(cache.contains_key(&1) && !cache.contains_key(&2));
}
