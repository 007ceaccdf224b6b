//! What exact LRU and LFU promise where several threads use the cache.

#[path = "support/rng.rs"]
mod support;

use cachette::Cache;
use cachette::policy::{EvictionPolicy, Lfu, Lru};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use support::Rng;

const THREADS: usize = 3;
const CAPACITY: usize = 40;
const STEPS: u64 = if cfg!(miri) { 200 } else { 50_000 };

/// An entry of the oracle, and what is known of it: uses, and when it was used last.
struct Row {
    key: u64,
    uses: u64,
    used: u64,
}

/// Each operation is done by a thread drawn for it, and has ended before the next begins: then it does not matter by which. The
/// victims are those of a plain table, in which the lowest `rank` leaves.
fn exact_by_turns<P: EvictionPolicy + 'static>(policy: fn() -> P, rank: fn(&Row) -> (u64, u64)) {
    let cache = Cache::<u64, u64>::builder().capacity(CAPACITY as u64).policy(policy);
    let cache = &cache.segments(1).build().unwrap();
    let mut rng = Rng::new(11);
    let mut table: Vec<Row> = Vec::new();
    thread::scope(|scope| {
        let workers: Vec<(Sender<u64>, Receiver<bool>)> = (0..THREADS)
            .map(|_| {
                let ((orders, order), (answer, answers)) = (channel(), channel());
                scope.spawn(move || {
                    for key in order {
                        let hit = cache.get(&key).is_some();
                        if !hit {
                            cache.put(key, key);
                        }
                        answer.send(hit).unwrap();
                    }
                });
                (orders, answers)
            })
            .collect();
        for now in 0..STEPS {
            // Some keys are used far more often than others, so that uses differ.
            let key = rng.below(60).min(rng.below(60));
            let (orders, answers) = &workers[rng.below(THREADS as u64) as usize];
            orders.send(key).unwrap();
            let hit = answers.recv().unwrap();
            let row = table.iter_mut().find(|row| row.key == key);
            assert_eq!(hit, row.is_some(), "step {now}: {key}");
            match row {
                Some(row) => (row.uses, row.used) = (row.uses + 1, now),
                None => {
                    if table.len() == CAPACITY {
                        let lowest = table.iter().map(rank).min().unwrap();
                        table.retain(|row| rank(row) != lowest);
                    }
                    table.push(Row { key, uses: 1, used: now });
                }
            }
        }
    });
}

#[test]
fn lru_is_exact_where_operations_do_not_overlap() {
    exact_by_turns(Lru::new, |row| (row.used, 0));
}

#[test]
fn lfu_is_exact_where_operations_do_not_overlap() {
    exact_by_turns(Lfu::new, |row| (row.uses, row.used));
}
