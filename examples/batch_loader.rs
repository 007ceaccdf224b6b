//! Batches: many handlers each want one product, and the database answers a hundred at the price of one. They know nothing of each
//! other; a `Batch` gathers what they ask for. `cargo run --example batch_loader` prints
//!
//! ```text
//! 20 handlers, 10 products: 1 query
//! again: 0 queries
//! a page of 12, of which 10 are there: 1 query, for 2
//! ```

use cachette::{Batch, Cache, Spawn, Task, Threads};
use std::collections::BTreeMap;
use std::sync::{Arc, Barrier, Mutex};
use std::{thread, time::Duration};

/// Stands for the database, which knows the products 0 to 99. It notes how many keys each query was for.
#[derive(Default)]
struct Database {
    queries: Mutex<Vec<usize>>,
}

impl Database {
    fn products(&self, ids: Vec<u32>) -> BTreeMap<u32, String> {
        self.queries.lock().unwrap().push(ids.len());
        ids.into_iter().filter(|id| *id < 100).map(|id| (id, format!("product {id}"))).collect()
    }
    fn queries(&self) -> Vec<usize> {
        std::mem::take(&mut self.queries.lock().unwrap())
    }
}

/// Threads whose time stands still: a batch of this example ends when it is full, and not by a timer.
struct Unhurried(Threads);

impl Spawn for Unhurried {
    fn spawn(&self, task: Task) {
        self.0.spawn(task);
    }
    fn sleep(&self, _: Duration) -> Task {
        self.0.sleep(Duration::MAX)
    }
}

/// What this example prints.
pub(crate) fn show() -> String {
    let database = Arc::new(Database::default());
    let source = Arc::clone(&database);
    let batch = Batch::<u32, String, String>::new(Unhurried(Threads::new()), move |ids| {
        let found = source.products(ids);
        async move { found.into_iter().map(|(id, product)| (id, Ok(product))).collect::<Vec<_>>() }
    });
    // At most ten at once, or what has come within two milliseconds.
    let batch = batch.most(10).window(Duration::from_millis(2));
    let cache = Cache::<u32, String>::new(1_000);
    let product = |id: u32| cache.get_or_load(&id, |id| batch.load_blocking(*id));
    let everybody = Barrier::new(20);
    let handlers = || {
        thread::scope(|scope| {
            for handler in 0..20 {
                let (everybody, product) = (&everybody, &product);
                scope.spawn(move || {
                    everybody.wait();
                    assert_eq!(product(handler % 10).unwrap(), format!("product {}", handler % 10));
                });
            }
        });
        database.queries().len()
    };
    let mut out = format!("20 handlers, 10 products: {} query\n", handlers());
    out += &format!("again: {} queries\n", handlers());
    let page = cache.get_or_load_many(&Vec::from_iter(0..12), |ids| database.products(ids));
    assert!(page.iter().all(Result::is_ok));
    out +=
        &format!("a page of 12, of which 10 are there: 1 query, for {:?}\n", database.queries()[0]);
    out
}

fn main() {
    print!("{}", show());
}
