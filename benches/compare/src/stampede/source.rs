//! What is loaded: a number, after a while. It keeps a log, which tells whether a load was one too many.
//!
//! ```text
//!   load ────┐ lives ──────────────► expiry
//!            │                         load ────┐
//!            │     load ────┐                   │    begun before the expiry: one too many
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A source of values, shared by its clones.
#[derive(Clone)]
pub struct Source {
    time: Duration,
    loads: Arc<Mutex<Vec<(Instant, Instant)>>>,
}

impl Source {
    pub fn new(time: Duration) -> Self {
        Self { time, loads: Arc::default() }
    }

    /// Takes its time, and answers how many loads have ended before.
    pub fn load(&self) -> u64 {
        let start = Instant::now();
        thread::sleep(self.time);
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        loads.push((start, Instant::now()));
        loads.len() as u64
    }

    /// Forgets all loads but the last, whose value is the one that the readers find.
    pub fn begin(&self) {
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = loads.len().saturating_sub(1);
        loads.drain(..keep);
    }

    pub fn log(&self) -> Log {
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner).clone();
        loads.sort_unstable();
        Log { loads }
    }
}

/// When loads began and ended, by their beginning. The first came before the readers.
pub struct Log {
    loads: Vec<(Instant, Instant)>,
}

impl Log {
    #[cfg(test)]
    pub fn of(loads: Vec<(Instant, Instant)>) -> Self {
        Self { loads }
    }

    /// Loads that the readers caused.
    pub fn loads(&self) -> usize {
        self.loads.len().saturating_sub(1)
    }

    /// Loads of those that found an expired value first: no load was under way, and the last value had lived for `life`.
    pub fn expiries(&self, life: Duration) -> usize {
        let (mut expiries, mut value) = (0, None);
        for &(start, end) in &self.loads {
            if value.is_some_and(|loaded| start >= loaded + life) {
                expiries += 1;
            }
            value = value.max(Some(end));
        }
        expiries
    }
}
