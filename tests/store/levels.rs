//! Two levels before the store.

use crate::faulty::{Fault, Trouble};
use crate::{Behind, Kit, millis, text, usual};
use cachette::store::{Missing, StoredCache};
use cachette::tier::{MemoryRemote, Raw, TieredCache};
use cachette::{Cache, Threads};
use std::sync::Arc;
use std::time::Duration;

type Two = StoredCache<u64, String, Trouble, TieredCache<u64, String, Missing<Trouble>>>;

/// A process before a remote and a store that others share.
fn process(kit: &Kit, remote: &MemoryRemote, behind: Option<Behind>) -> Two {
    let builder = Cache::<u64, String>::builder().capacity(100).clock(kit.clock.clone());
    let builder = builder.store(Arc::clone(&kit.store)).spawn(Threads::new()).levels(|l1| {
        l1.remote(remote.clone(), Raw).namespace("rows").remote_ttl(Duration::from_secs(600))
    });
    let builder = match behind {
        Some(behind) => builder.write_behind(behind),
        None => builder.write_through(),
    };
    let cache = builder.build().unwrap();
    while cache.levels().mode().is_none() {
        std::thread::yield_now();
    }
    cache
}

/// Waits until another process reads this: it is told in the background.
fn await_value(cache: &Two, key: u64, value: Option<&str>) {
    while cache.load(&key).unwrap().as_deref() != value {
        std::thread::yield_now();
    }
}

#[test]
fn w22_through_all_levels_end_with_what_the_store_has() {
    let (kit, remote) = (Kit::memory(), MemoryRemote::new());
    let (one, other) = (process(&kit, &remote, None), process(&kit, &remote, None));
    one.put(1, text("a")).unwrap();
    assert_eq!(other.load(&1).unwrap(), Some(text("a")));
    assert!(kit.store.loads().is_empty(), "L2 has it");
    one.put(1, text("b")).unwrap();
    await_value(&other, 1, Some("b"));
    kit.store.plan([Fault::Refuse]);
    assert!(one.put(1, text("c")).is_err());
    assert_eq!(
        (one.load(&1).unwrap(), other.load(&1).unwrap()),
        (Some(text("b")), Some(text("b")))
    );
    one.delete(&1).unwrap();
    await_value(&other, 1, None);
}

#[test]
fn w17_others_hear_of_a_write_when_the_store_has_it() {
    let (kit, remote) = (Kit::memory(), MemoryRemote::new());
    let one = process(&kit, &remote, Some(usual()));
    let other = process(&kit, &remote, None);
    other.put(1, text("old")).unwrap();
    await_value(&one, 1, Some("old"));
    kit.store.plan([Fault::Stall]);
    let receipt = one.put(1, text("new")).unwrap();
    assert_eq!(one.load(&1).unwrap(), Some(text("new")), "w5");
    assert_eq!(one.load_many(&[1, 2]), [Ok(Some(text("new"))), Ok(None)]);
    assert_eq!(other.load(&1).unwrap(), Some(text("old")), "the store may refuse it");
    kit.clock.advance(millis(100));
    kit.store.open();
    one.flush().unwrap();
    receipt.wait().unwrap();
    assert_eq!(one.load(&1).unwrap(), Some(text("new")));
    await_value(&other, 1, Some("new"));
}

#[test]
fn w17_published_early_others_read_what_the_store_may_refuse() {
    let (kit, remote) = (Kit::memory(), MemoryRemote::new());
    let one = process(&kit, &remote, Some(usual().publish_early(true)));
    let other = process(&kit, &remote, None);
    other.put(1, text("old")).unwrap();
    await_value(&one, 1, Some("old"));
    one.put(1, text("new")).unwrap();
    await_value(&other, 1, Some("new"));
    assert_eq!(kit.store.get(1), Some(text("old")), "the store has it later");
    assert_eq!(one.flush(), Ok(1));
    kit.store.plan([Fault::Refuse]);
    one.delete(&1).unwrap();
    assert_eq!((one.load(&1).unwrap(), kit.store.get(1)), (None, Some(text("new"))));
    assert!(one.flush().is_err());
    await_value(&other, 1, Some("new"));
    await_value(&one, 1, Some("new"));
}

#[test]
fn w17_what_is_given_up_is_as_it_was_on_all_levels() {
    let (kit, remote) = (Kit::memory(), MemoryRemote::new());
    let one = process(&kit, &remote, Some(usual()));
    let other = process(&kit, &remote, None);
    other.put(1, text("old")).unwrap();
    await_value(&one, 1, Some("old"));
    kit.store.plan([Fault::Refuse]);
    one.put(1, text("new")).unwrap();
    assert!(one.flush().is_err());
    assert_eq!(
        (one.load(&1).unwrap(), other.load(&1).unwrap()),
        (Some(text("old")), Some(text("old")))
    );
}
