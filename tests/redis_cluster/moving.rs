//! Two caches before a cluster, while a slot moves from node to node.

use super::*;
use cachette::tier::{Event, Mode, Raw, TieredCache};
use cachette::{Cache, Threads};
use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

const BOUND: Duration = Duration::from_secs(2);
const KEYS: u64 = 20;
/// Its slot is the one that moves.
const MOVED: u64 = 7;

/// The system of record: of each key the version, and when which version was the newest that all had been told of.
#[derive(Default)]
struct Records {
    versions: [AtomicU64; KEYS as usize],
    told: [Mutex<Vec<(Instant, u64)>>; KEYS as usize],
}

impl Records {
    fn version(&self, key: u64) -> u64 {
        self.versions[key as usize].load(Ordering::SeqCst)
    }

    /// The version that everyone must have heard of who reads now.
    fn least(&self, key: u64) -> u64 {
        let now = Instant::now();
        let told = self.told[key as usize].lock().unwrap();
        let is_due = |(at, _): &&(Instant, u64)| *at + BOUND <= now;
        told.iter().rev().find(is_due).map_or(0, |(_, version)| *version)
    }
}

/// A process.
struct Node {
    cache: TieredCache<u64, String, Infallible>,
    events: Arc<Mutex<Vec<Event>>>,
    reads: AtomicU64,
}

impl Node {
    fn new(cluster: &Cluster, records: &Arc<Records>) -> Self {
        let options = cluster.urls();
        let options = options.iter().map(|url| {
            options_for(url).answer_timeout(Duration::from_millis(300)).connect_timeout(PATIENCE)
        });
        let remote = RedisCluster::new(options).unwrap();
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let (source, hear) = (Arc::clone(records), Arc::clone(&events));
        let cache = Cache::<u64, String>::builder()
            .capacity(1_000)
            .loader(move |key| Ok::<_, Infallible>(source.version(*key).to_string()))
            .spawn(Threads::new())
            .remote(remote, Raw)
            .namespace("test")
            .remote_ttl(LONG)
            .max_staleness(BOUND)
            .remote_timeout(PATIENCE)
            .on_event(move |event, _| hear.lock().unwrap().push(event.clone()))
            .build()
            .unwrap();
        Self { cache, events, reads: AtomicU64::new(0) }
    }

    /// Reads a key, which must not be too old.
    fn read(&self, key: u64, records: &Records) {
        let least = records.least(key);
        let version: u64 = self.cache.load(&key).unwrap().parse().unwrap();
        assert!(version >= least, "{key}: {version} is staler than {least}");
        self.reads.fetch_add(1, Ordering::SeqCst);
    }

    fn has_lost_its_line(&self) -> bool {
        let events = self.events.lock().unwrap();
        events.iter().any(|event| {
            matches!(event, Event::LinkLost { cause } if cause.to_string().contains("have changed"))
        })
    }

    /// A value that was loaded is a hit from now on.
    fn is_up(&self) -> bool {
        self.cache.load(&0).unwrap();
        self.cache.mode() == Some(Mode::Tracking) && self.cache.get(&0).is_some()
    }
}

fn options_for(url: &str) -> RedisOptions {
    RedisOptions::new(url).unwrap()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE * 2, "in vain: {what}");
        std::thread::yield_now();
    }
}

/// The name of a key's value.
fn name_of(cluster: &Cluster, key: u64) -> String {
    let end = format!(":k:{key}}}");
    let names = cluster.nodes.iter().flat_map(|node| match node.run("KEYS {*") {
        redis::Value::Array(names) => names,
        other => panic!("{other:?} are no names"),
    });
    let names: Vec<_> = names.map(|name| redis_cluster::text(&name)).collect();
    names.into_iter().find(|name| name.ends_with(&end)).expect("it has a value")
}

/// Changes a key, and deletes what the caches have of it.
fn change(node: &Node, key: u64, records: &Records) {
    let version = records.versions[key as usize].fetch_add(1, Ordering::SeqCst) + 1;
    if node.cache.delete(&key).is_done() {
        records.told[key as usize].lock().unwrap().push((Instant::now(), version));
    }
}

#[test]
fn t20_nothing_is_staler_than_the_bound_while_a_slot_moves_and_reads_go_on() {
    let Some(cluster) = Cluster::start() else { return };
    let records = Arc::new(Records::default());
    let nodes = [Node::new(&cluster, &records), Node::new(&cluster, &records)];
    nodes.iter().for_each(|node| until("it is up", || node.is_up()));
    (0..KEYS).for_each(|key| nodes[0].read(key, &records));
    let name = name_of(&cluster, MOVED);
    let (slot, at) = (cluster.slot(&name), cluster.owner(&name));
    let (from, to) = (&cluster.nodes[at], &cluster.nodes[(at + 1) % 3]);
    let ended = Ended(AtomicBool::new(false));
    std::thread::scope(|scope| {
        for node in &nodes {
            scope.spawn(|| {
                for key in (0..KEYS).cycle().take_while(|_| !ended.is_so()) {
                    node.read(key, &records);
                }
            });
        }
        scope.spawn(|| {
            for key in (0..KEYS).cycle().take_while(|_| !ended.is_so()) {
                change(&nodes[key as usize % 2], key, &records);
            }
        });
        let _end = End(&ended);
        let reads_go_on = || {
            for node in &nodes {
                let before = node.reads.load(Ordering::SeqCst);
                until("reads", || node.reads.load(Ordering::SeqCst) > before + 100);
            }
        };
        reads_go_on();
        cluster.begin_to_move(slot, from, to);
        reads_go_on();
        // What is written meanwhile is written where the slot goes to.
        cluster.move_names(slot, from, to);
        reads_go_on();
        cluster.move_names(slot, from, to);
        cluster.end_to_move(slot, from, to);
        nodes.iter().for_each(|node| until("its line ends", || node.has_lost_its_line()));
        nodes.iter().for_each(|node| until("it is up again", || node.is_up()));
        reads_go_on();
        // And longer than the bound, so that what was changed in the end is told, too.
        let start = Instant::now();
        until("time passes", || start.elapsed() > BOUND);
        reads_go_on();
    });
    let told = records.told[MOVED as usize].lock().unwrap();
    assert!(told.len() > 2, "the key that moved was changed {} times", told.len());
}

struct Ended(AtomicBool);

impl Ended {
    fn is_so(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// The threads end with the test, however it ends.
struct End<'a>(&'a Ended);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn t20_hits_alone_see_that_a_slot_has_moved() {
    let Some(cluster) = Cluster::start() else { return };
    let records = Arc::new(Records::default());
    let nodes = [Node::new(&cluster, &records), Node::new(&cluster, &records)];
    let [node, other] = &nodes;
    nodes.iter().for_each(|node| until("it is up", || node.is_up()));
    node.read(MOVED, &records);
    let name = name_of(&cluster, MOVED);
    let (slot, at) = (cluster.slot(&name), cluster.owner(&name));
    let (from, to) = (&cluster.nodes[at], &cluster.nodes[(at + 1) % 3]);
    let hit = |key: u64| node.cache.load(&key).is_ok() && node.cache.get(&key).is_some();
    until("hits", || hit(MOVED) && hit(0));
    cluster.begin_to_move(slot, from, to);
    cluster.move_names(slot, from, to);
    cluster.end_to_move(slot, from, to);
    // What was not in the slot goes too: nobody asks the nodes for it.
    until("it is emptied", || node.cache.get(&MOVED).is_none() && node.cache.get(&0).is_none());
    until("its line ends", || node.has_lost_its_line());
    cluster.agree();
    nodes.iter().for_each(|node| until("it is up again", || node.is_up()));
    // The new owner tells of changes as the old one did.
    until("a hit", || hit(MOVED));
    assert_eq!(name_of(&cluster, MOVED), name);
    assert_eq!(cluster.owner(&name), (at + 1) % 3);
    change(other, MOVED, &records);
    until("the change is heard of", || node.cache.load(&MOVED).unwrap() == "1");
}
