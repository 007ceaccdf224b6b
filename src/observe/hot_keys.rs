//! Which keys are asked for most, from a sample, in bounded memory.
//!
//! **Problem.** A few keys take most of the reads, and nobody knows which. To count every key costs as much memory as there are keys; to
//! count every read costs each of them a turn.
//!
//! ```text
//!   one read in so many ──► is its key counted? ─┬─ yes: one more
//!                                                └─ no: it takes the place of the least, and its count, and one more
//! ```
//!
//! **Invariants**
//!
//! 1. A count is never too low, and too high by no more than the least count when its key came.
//! 2. So a key of more than `1 / counters` of all that were counted is among them.
//!
//! Counts are of the current window and of the one before, so what was hot an hour ago is forgotten.
//!
//! | operation | cost |
//! |---|---|
//! | a read that is not sampled | a draw of a thread's own |
//! | one that is | a lock; O(1), or O(counters) if its key is new |
//!
//! **Source.** Metwally, Agrawal, El Abbadi: *Efficient Computation of Frequent and Top-k Elements in Data Streams*, 2005 (Space-Saving).

use crate::hash::draw;
use crate::sync::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::mem;
use std::time::Duration;

/// Keys that are counted at once.
const COUNTERS: usize = 256;

const WINDOW: Duration = Duration::from_secs(10);

/// A key that is asked for often.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hot<K> {
    /// Which.
    pub key: K,
    /// How often a second, about: over the last ten to twenty seconds.
    pub rate: f64,
    /// It may be too high by so much.
    pub error: f64,
}

pub(crate) struct HotKeys<K> {
    /// One read in so many is counted.
    one_in: u64,
    state: Mutex<State<K>>,
}

struct State<K> {
    began: Duration,
    counts: Counts<K>,
    before: Counts<K>,
    /// Of the window before; none in the first.
    lasted: Duration,
}

type Counts<K> = HashMap<K, Count, ahash::RandomState>;

#[derive(Clone, Copy, Default)]
struct Count {
    count: u64,
    error: u64,
}

impl<K: Hash + Eq + Clone> HotKeys<K> {
    pub(crate) fn new(one_in: u64, now: Duration) -> Self {
        let (counts, before) = (Counts::default(), Counts::default());
        let state = State { began: now, counts, before, lasted: Duration::ZERO };
        Self { one_in: one_in.max(1), state: Mutex::new(state) }
    }

    /// True if this read is one that counts.
    #[inline]
    pub(crate) fn samples(&self) -> bool {
        draw() % self.one_in == 0
    }

    /// Counts a key.
    pub(crate) fn count(&self, key: K, now: Duration) {
        let mut state = self.state.lock();
        state.turn(now);
        if let Some(count) = state.counts.get_mut(&key) {
            count.count += 1;
            return;
        }
        let mut least = Count::default();
        if state.counts.len() >= COUNTERS {
            let found = state.counts.iter().min_by_key(|(_, count)| count.count);
            if let Some((key, count)) = found.map(|(key, count)| (key.clone(), *count)) {
                state.counts.remove(&key);
                least = count;
            }
        }
        state.counts.insert(key, Count { count: least.count + 1, error: least.count });
    }

    /// How often a second a key is asked for, at most.
    pub(crate) fn rate(&self, key: &K, now: Duration) -> f64 {
        let mut state = self.state.lock();
        state.turn(now);
        let count = |counts: &Counts<K>| counts.get(key).map_or(0, |count| count.count);
        let both = count(&state.counts) + count(&state.before);
        self.a_second(both, state.time(now))
    }

    /// The hottest keys, the hottest first.
    pub(crate) fn top(&self, most: usize, now: Duration) -> Vec<Hot<K>> {
        let mut state = self.state.lock();
        state.turn(now);
        let time = state.time(now);
        let mut all = state.before.clone();
        for (key, count) in &state.counts {
            let both = all.entry(key.clone()).or_default();
            both.count += count.count;
            both.error += count.error;
        }
        drop(state);
        let mut all: Vec<(K, Count)> = all.into_iter().collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(count.count));
        all.truncate(most);
        let hot = |(key, count): (K, Count)| Hot {
            key,
            rate: self.a_second(count.count, time),
            error: self.a_second(count.error, time),
        };
        all.into_iter().map(hot).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn a_second(&self, count: u64, time: Duration) -> f64 {
        // In the first instant any rate would be infinite.
        let seconds = time.max(Duration::from_secs(1)).as_secs_f64();
        count as f64 * self.one_in as f64 / seconds
    }
}

impl<K> State<K> {
    /// Begins a new window if this one has lasted long enough.
    fn turn(&mut self, now: Duration) {
        let lasted = now.saturating_sub(self.began);
        if lasted < WINDOW {
            return;
        }
        self.before = mem::take(&mut self.counts);
        self.lasted = WINDOW;
        if lasted >= WINDOW * 2 {
            // Nobody has asked for a whole window.
            self.before = Counts::default();
        }
        self.began = now;
    }

    /// How long what is known has lasted.
    fn time(&self, now: Duration) -> Duration {
        self.lasted + now.saturating_sub(self.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_hot_is_found_among_much_that_is_not() {
        let hot = HotKeys::new(1, Duration::ZERO);
        for n in 0..100_000_u64 {
            let key = if n % 10 == 0 { n % 3 } else { 1_000 + n };
            hot.count(key, SECOND);
        }
        let top: Vec<u64> = hot.top(3, SECOND).into_iter().map(|hot| hot.key).collect();
        assert_eq!(
            {
                let mut top = top.clone();
                top.sort_unstable();
                top
            },
            [0, 1, 2]
        );
        for hot in hot.top(COUNTERS, SECOND) {
            let counted = if hot.key < 3 { 3_333.0 } else { 1.0 };
            assert!(hot.rate >= counted && hot.rate - hot.error <= counted + 1.0, "{hot:?}");
        }
        assert!(hot.state.lock().counts.len() <= COUNTERS);
    }

    #[test]
    fn rates_are_of_the_last_two_windows() {
        let hot = HotKeys::new(2, Duration::ZERO);
        for second in 0..20 {
            for _ in 0..50 {
                hot.count("a", SECOND * second);
            }
        }
        let rate = hot.rate(&"a", SECOND * 19);
        assert!((95.0..=106.0).contains(&rate), "50 counted a second, one in two: {rate}");
        assert!(hot.rate(&"a", SECOND * 29) > 0.0);
        assert_eq!(hot.rate(&"a", SECOND * 60), 0.0);
        assert_eq!(hot.rate(&"b", SECOND * 60), 0.0);
        assert!(hot.top(9, SECOND * 90).is_empty());
    }

    #[test]
    fn one_read_in_so_many_counts() {
        let hot = HotKeys::<u8>::new(64, Duration::ZERO);
        let sampled = (0..64_000).filter(|_| hot.samples()).count();
        assert!((800..1_200).contains(&sampled), "{sampled}");
    }
}
