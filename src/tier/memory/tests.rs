use super::store::{PAGE, Store, What};
use proptest::prelude::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn bytes(length: usize) -> What {
    What::Bytes(vec![7; length].into())
}

proptest! {
    #[test]
    fn the_store_stays_valid(
        steps in proptest::collection::vec((0_u8..4, 0_u8..6, 0_usize..40, 0_u64..5), 0..60),
    ) {
        let mut store = Store::new();
        store.set_capacity(500);
        let mut now = 0;
        for (what, name, length, time) in steps {
            let name = [name; 3];
            store.turn(now);
            match what {
                // Those of time 0 stay for ever.
                0 | 1 => {
                    let ttl = [Duration::MAX, SECOND, SECOND * 2][(time % 3) as usize];
                    let before = store.used();
                    let put = store.put(&name, bytes(length), ttl);
                    prop_assert!(put.is_ok() || store.used() <= before, "what is refused is not put");
                }
                2 => drop(store.remove(&name)),
                _ => now += time * 500_000_000,
            }
            store.assert_valid();
            prop_assert!(store.used() <= 500);
        }
    }
}

#[test]
fn an_operation_frees_a_few_of_those_that_expired() {
    let mut store = Store::new();
    for name in 0..100_u8 {
        store.put(&[name], bytes(1), SECOND).unwrap();
    }
    store.turn(1_000_000_000 - 1);
    assert_eq!(store.len(), 100);
    for left in [68, 36, 4, 0] {
        store.turn(1_000_000_000);
        assert_eq!(store.len(), left);
    }
    assert_eq!(store.changes().names.len(), 200, "put, and freed");
}

#[test]
fn what_has_expired_and_is_not_yet_freed_is_not_seen() {
    let mut store = Store::new();
    for name in 0..100_u8 {
        store.put(&[name], bytes(1), SECOND).unwrap();
    }
    store.turn(1_000_000_000);
    assert_eq!(store.scan(&super::glob::Glob::new(b"*"), None).names, Vec::<Vec<u8>>::new());
    assert_eq!((store.peek(&[99]), store.len()), (None, 67));
    assert_eq!(store.head(&[98]), None);
    store.assert_valid();
}

#[test]
fn a_write_that_finds_no_room_frees_all_that_expired() {
    let mut store = Store::new();
    for name in 0..100_u8 {
        store.put(&[name], bytes(1), SECOND).unwrap();
    }
    let capacity = store.used();
    store.set_capacity(capacity);
    let now = 1_000_000_000;
    store.turn(now);
    assert_eq!(store.len(), 68);
    // An item costs 98; the long one leaves room for one of them.
    let long = capacity as usize - 98 - 100;
    store.put(b"long", bytes(long), SECOND).unwrap();
    assert_eq!(store.len(), 2, "as many as it takes");
    store.turn(now);
    assert!(store.put(b"longer", bytes(long), SECOND).is_err());
    store.assert_valid();
}

#[test]
fn the_time_does_not_go_back() {
    let mut store = Store::new();
    store.put(b"name", bytes(1), SECOND).unwrap();
    store.turn(1_000_000_000);
    store.turn(0);
    assert_eq!(store.peek(b"name"), None);
    store.put(b"name", bytes(1), SECOND).unwrap();
    store.turn(1_999_999_999);
    assert!(store.peek(b"name").is_some(), "its time began at the latest");
    store.turn(u64::MAX);
    store.put(b"name", bytes(1), Duration::MAX).unwrap();
    assert!(store.peek(b"name").is_some(), "what lives for ever");
}

#[test]
fn a_page_that_ends_with_the_last_name_is_the_last() {
    let mut store = Store::new();
    for name in 0..PAGE {
        store.put(&name.to_be_bytes(), bytes(0), SECOND).unwrap();
    }
    let all = super::glob::Glob::new(b"*");
    assert_eq!(store.scan(&all, None).next, None);
    store.put(&PAGE.to_be_bytes(), bytes(0), SECOND).unwrap();
    let page = store.scan(&all, None);
    assert_eq!(page.names.len(), PAGE);
    assert_eq!(store.scan(&all, page.next.as_deref()).names, [PAGE.to_be_bytes()]);
}
