//! Two levels before a store that is written: W17 and W22 on a real server.

use crate::redis_server::Server;
use cachette::store::{Answer, Change, Missing, Store, StoredCache, WriteBehind};
use cachette::tier::{Raw, RedisOptions, RedisRemote, TieredCache};
use cachette::{Cache, Threads};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A table that all processes share, and that refuses when it is told to.
#[derive(Default)]
struct Table {
    rows: Mutex<HashMap<u64, String>>,
    refuses: AtomicBool,
}

impl Store<u64, String> for Table {
    type Error = &'static str;

    fn refused(&self, _: &&'static str) -> bool {
        true
    }

    fn load<'a>(&'a self, key: &'a u64) -> Answer<'a, Result<Option<String>, &'static str>> {
        Box::pin(async move { Ok(self.rows.lock().unwrap().get(key).cloned()) })
    }

    fn apply<'a>(
        &'a self,
        change: Change<'a, u64, String>,
    ) -> Answer<'a, Result<(), &'static str>> {
        Box::pin(async move {
            if self.refuses.load(Ordering::Relaxed) {
                return Err("refused");
            }
            let mut rows = self.rows.lock().unwrap();
            match change.value {
                Some(value) => rows.insert(*change.key, value.clone()),
                None => rows.remove(change.key),
            };
            Ok(())
        })
    }
}

type Levels = TieredCache<u64, String, Missing<&'static str>>;
type Process = StoredCache<u64, String, &'static str, Levels>;

/// A process. Behind, nothing is written before it is told to.
fn process(server: &Server, table: &Arc<Table>, behind: bool) -> Process {
    let options = RedisOptions::new(&server.url()).unwrap();
    // Longer than a server that works takes, and no longer than a test should wait for one that does not.
    let remote = RedisRemote::new(options.answer_timeout(Duration::from_secs(1)));
    let builder = Cache::<u64, String>::builder().capacity(100).store(Arc::clone(table));
    let builder = builder
        .spawn(Threads::new())
        .levels(|l1| l1.remote(remote, Raw).namespace("rows").remote_ttl(Duration::from_secs(600)));
    let never = WriteBehind::new().delay(Duration::from_secs(3_600));
    let builder = if behind { builder.write_behind(never) } else { builder.write_through() };
    let cache = builder.build().unwrap();
    await_line(&cache);
    cache
}

fn await_line(cache: &Process) {
    while cache.levels().mode().is_none() {
        thread::yield_now();
    }
}

/// Waits until a process reads this: it is told of changes in the background.
fn await_value(cache: &Process, value: Option<&str>) {
    while cache.load(&1).unwrap().as_deref() != value {
        thread::yield_now();
    }
}

#[test]
fn w17_others_hear_of_a_write_when_the_store_has_it() {
    let Some(server) = Server::start(&[]) else { return };
    let table = Arc::new(Table::default());
    let (one, other) = (process(&server, &table, true), process(&server, &table, false));
    other.put(1, "old".to_owned()).unwrap();
    await_value(&one, Some("old"));
    let receipt = one.put(1, "new".to_owned()).unwrap();
    assert_eq!(one.load(&1).unwrap().as_deref(), Some("new"), "w5");
    assert_eq!(other.load(&1).unwrap().as_deref(), Some("old"), "the store may refuse it");
    assert_eq!(one.flush(), Ok(1));
    receipt.wait().unwrap();
    assert_eq!(one.load(&1).unwrap().as_deref(), Some("new"));
    await_value(&other, Some("new"));
    one.delete(&1).unwrap();
    assert_eq!((one.load(&1), one.flush()), (Ok(None), Ok(1)));
    await_value(&other, None);
}

#[test]
fn w17_what_is_given_up_is_as_it_was_everywhere() {
    let Some(server) = Server::start(&[]) else { return };
    let table = Arc::new(Table::default());
    let (one, other) = (process(&server, &table, true), process(&server, &table, false));
    other.put(1, "old".to_owned()).unwrap();
    await_value(&one, Some("old"));
    table.refuses.store(true, Ordering::Relaxed);
    let receipt = one.put(1, "new".to_owned()).unwrap();
    assert!(one.flush().is_err() && receipt.wait().is_err());
    for cache in [&one, &other] {
        assert_eq!(cache.load(&1).unwrap().as_deref(), Some("old"));
    }
}

#[test]
fn w22_a_remote_that_does_not_answer_keeps_no_old_value() {
    let Some(server) = Server::start(&[]) else { return };
    let table = Arc::new(Table::default());
    let (one, other) = (process(&server, &table, true), process(&server, &table, false));
    other.put(1, "old".to_owned()).unwrap();
    await_value(&one, Some("old"));
    server.stop();
    one.put(1, "new".to_owned()).unwrap();
    assert_eq!(one.flush(), Ok(1), "the store has it, whatever the remote does");
    assert_eq!(one.load(&1).unwrap().as_deref(), Some("new"));
    assert!(one.levels().undelivered() > 0);
    server.cont();
    await_value(&other, Some("new"));
    while one.levels().undelivered() > 0 {
        thread::yield_now();
    }
    assert_eq!(one.load(&1).unwrap().as_deref(), Some("new"));
}
