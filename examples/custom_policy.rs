//! A policy of your own: GreedyDual-Size-Frequency (Cherkasova 1998).
//!
//! Where entries differ in weight, one that weighs as much as a hundred others must be worth as many hits. So an entry is worth its
//! uses divided by its weight, and what is worth least leaves. Uses alone would keep for ever what was popular once; so the worth
//! of each victim becomes the **floor**, to which the worth of whatever is used from then on is added.
//!
//! `cargo run --example custom_policy --features test-kit` prints
//!
//! ```text
//! 10 of capacity: a weighs 1, b 6, c 1; d weighs 4, and b leaves for it: a c d stay
//! LRU would have given up a, the oldest, and then b: c d stay
//! hits of 100000 requests for 5000 items of 1 to 100, 10000 of capacity:
//!   lru          30.9 %
//!   greedy dual  41.7 %
//! it keeps every law
//! ```

use cachette::policy::{EvictionPolicy, Hears, HitCounters, Lru, Meta, Slot, Victim};
use cachette::{BuildError, Cache, Cause};
use std::collections::BTreeSet;

/// The worth of one use of an entry of weight 1: far above 1, so that a heavy entry's worth is not rounded to nothing.
const USE: u64 = 1 << 20;

/// What the policy knows of an entry. It never sees keys or values.
#[derive(Clone, Copy, Default)]
struct Row {
    worth: u64,
    /// When it was ranked, by a count of its own. No two entries have the same, so the order never hangs on slots, which change.
    ranked: u64,
    weight: u64,
    uses: u64,
}

#[derive(Default)]
struct GreedyDual {
    /// By slot. Slots are small numbers and are used again, so a `Vec` is the map from slots.
    rows: Vec<Row>,
    /// Every entry, the least worth first. Each call below does one or two things to it: O(log n).
    order: BTreeSet<(u64, u64, Slot)>,
    floor: u64,
    now: u64,
}

impl GreedyDual {
    /// Takes an entry out of the order.
    fn take(&mut self, slot: Slot) -> Row {
        let row = self.rows[slot.index()];
        self.order.remove(&(row.worth, row.ranked, slot));
        row
    }

    /// Puts an entry into the order.
    fn put(&mut self, slot: Slot, row: Row) {
        if self.rows.len() <= slot.index() {
            self.rows.resize(slot.index() + 1, Row::default());
        }
        self.rows[slot.index()] = row;
        self.order.insert((row.worth, row.ranked, slot));
    }

    /// Puts an entry into the order by what it is worth now.
    fn rank(&mut self, slot: Slot, weight: u64, uses: u64) {
        self.now += 1;
        let worth = self.floor.saturating_add(uses.saturating_mul(USE) / weight);
        self.put(slot, Row { worth, ranked: self.now, weight, uses });
    }
}

impl EvictionPolicy for GreedyDual {
    /// Uses are counted without a bound, so each hit must be told. A policy for which a few bits do asks for a counter, and its
    /// hits cost next to nothing.
    fn hears(&self) -> Hears {
        Hears::InOrder
    }
    /// Nothing is known of what is not here, so a miss need not take the lock.
    fn hears_misses(&self) -> bool {
        false
    }
    fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.rank(slot, meta.weight, 1);
    }
    fn hit(&mut self, slot: Slot) {
        let row = self.take(slot);
        self.rank(slot, row.weight, row.uses + 1);
    }
    /// A write is a use.
    fn update(&mut self, slot: Slot, _: &Meta) {
        self.hit(slot);
    }
    /// A value was replaced: the entry is in another slot, and keeps its place. `update` comes next, and ranks it anew.
    fn relocate(&mut self, from: Slot, to: Slot, meta: &Meta) {
        let row = self.take(from);
        self.put(to, Row { weight: meta.weight, ..row });
    }
    /// Only an eviction raises the floor: what was deleted or expired says nothing of what worth survives.
    fn remove(&mut self, slot: Slot, cause: Cause) {
        let row = self.take(slot);
        if cause == Cause::Evicted {
            self.floor = self.floor.max(row.worth);
        }
    }
    /// Names, and changes nothing: asked again, it must answer the same. (`Victim::Newcomer` would refuse the newcomer.)
    fn victim(&mut self, _: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
        self.order.first().map_or(Victim::None, |&(_, _, slot)| Victim::Entry(slot))
    }
    fn len(&self) -> usize {
        self.order.len()
    }
    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.order.iter().map(|&(_, _, slot)| slot))
    }
    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.order.iter().rev().map(|&(_, _, slot)| slot))
    }
}

/// What stays when four entries ask for more than there is room for.
fn survivors<P: EvictionPolicy + 'static>(
    policy: impl Fn() -> P + Send + Sync + 'static,
) -> Result<String, BuildError> {
    let cache =
        Cache::builder().capacity(10).weigher(|_: &&str, w: &u64| *w).policy(policy).build()?;
    let entries = [("a", 1), ("b", 6), ("c", 1), ("d", 4)];
    for (key, weight) in entries {
        cache.put(key, weight);
    }
    let here = entries.iter().filter(|(key, _)| cache.contains_key(key));
    Ok(here.map(|(key, _)| *key).collect::<Vec<_>>().join(" "))
}

/// The hit ratio, in percent, on a workload of its own: the items that are asked for most are of any weight.
fn hit_ratio<P: EvictionPolicy + 'static>(
    policy: impl Fn() -> P + Send + Sync + 'static,
) -> Result<f64, BuildError> {
    // One segment: with more of them each would have an order of its own.
    let cache = Cache::builder()
        .capacity(10_000)
        .weigher(|_: &u64, weight: &u64| *weight)
        .segments(1)
        .policy(policy)
        .build()?;
    let mut seed = 7_u64; // Marsaglia's xorshift, so that each run is the same
    let mut draw = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 11) as f64 / (1_u64 << 53) as f64
    };
    for _ in 0..100_000 {
        let key = (draw().powi(4) * 5_000.0) as u64; // low keys are asked for most
        if cache.get(&key).is_none() {
            cache.put(key, 1 + key * 7_919 % 100);
        }
    }
    Ok(cache.stats().hit_ratio() * 100.0)
}

/// The suite that holds every policy of the crate to the laws. Call it in a test of yours.
#[cfg(feature = "test-kit")]
fn laws() -> &'static str {
    cachette::policy::laws::check(GreedyDual::default);
    "it keeps every law"
}

#[cfg(not(feature = "test-kit"))]
fn laws() -> &'static str {
    "with --features test-kit it is held to the laws, too"
}

/// What this example prints.
pub(crate) fn show() -> Result<String, BuildError> {
    let (ours, lru) = (survivors(GreedyDual::default)?, survivors(Lru::new)?);
    let mut lines = vec![
        format!(
            "10 of capacity: a weighs 1, b 6, c 1; d weighs 4, and b leaves for it: {ours} stay"
        ),
        format!("LRU would have given up a, the oldest, and then b: {lru} stay"),
        "hits of 100000 requests for 5000 items of 1 to 100, 10000 of capacity:".to_owned(),
    ];
    lines.push(format!("  lru          {:.1} %", hit_ratio(Lru::new)?));
    lines.push(format!("  greedy dual  {:.1} %", hit_ratio(GreedyDual::default)?));
    lines.push(laws().to_owned());
    Ok(lines.join("\n") + "\n")
}

fn main() -> Result<(), BuildError> {
    print!("{}", show()?);
    Ok(())
}
