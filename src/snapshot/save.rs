//! From a cache to bytes.

use super::format::{BLOCK, Mark, Writer};
use super::{Saved, SnapshotError};
use crate::cache::Cache;
use crate::engine::{Met, SLICE, Stripe, Walk, epoch};
use crate::load::Ticket;
use crate::time::NEVER;
use serde::Serialize;
use std::hash::{BuildHasher, Hash};
use std::io::Write;
use std::time::SystemTime;

/// Nanoseconds since 1970, as far as they fit.
pub(super) fn since_1970(date: SystemTime) -> u64 {
    date.duration_since(SystemTime::UNIX_EPOCH).map_or(0, crate::time::nanos)
}

pub(super) fn save<K, V, S>(
    cache: &Cache<K, V, S>,
    schema: u32,
    to: impl Write,
) -> Result<Saved, SnapshotError>
where
    K: Hash + Eq + Serialize,
    V: Serialize,
    S: BuildHasher,
{
    let date = since_1970(cache.clock.date());
    let start = cache.now();
    // What the fullest segment has learned holds for all: keys are spread evenly.
    let fullest = cache.engine.stripes().max_by_key(|stripe| stripe.lock().len());
    let learned = fullest.map_or(0, |stripe| stripe.lock().learned());
    let writer = Writer::begin(to, schema, date, learned).map_err(SnapshotError::writing)?;
    let mut taking = Taking { cache, start, writer, skipped: 0, met: 0, bytes: 0 };
    taking.take()?;
    let Taking { writer, skipped, .. } = taking;
    let mut saved = Saved { entries: 0, skipped, bytes: 0 };
    (saved.entries, saved.bytes) = writer.end().map_err(SnapshotError::writing)?;
    Ok(saved)
}

/// A segment, how many entries it had at first, and how far its walk has come.
struct Part<'a, K, V> {
    stripe: &'a Stripe<K, V, Ticket<V>>,
    entries: usize,
    walk: Walk,
}

/// A snapshot that is being taken.
struct Taking<'a, K, V, S, W> {
    cache: &'a Cache<K, V, S>,
    /// Lifetimes are counted from then.
    start: u64,
    writer: Writer<W>,
    skipped: u64,
    /// Entries so far, and their bytes.
    met: u64,
    bytes: u64,
}

impl<'a, K, V, S, W> Taking<'a, K, V, S, W>
where
    K: Hash + Eq + Serialize,
    V: Serialize,
    S: BuildHasher,
    W: Write,
{
    /// Goes through all segments side by side, so that in each the same part is behind: what is cold in one comes with what is cold in the
    /// others.
    fn take(&mut self) -> Result<(), SnapshotError> {
        let part = |stripe: &'a Stripe<K, V, Ticket<V>>| {
            let entries = stripe.lock().len();
            Part { stripe, entries, walk: Walk::new(entries) }
        };
        let mut parts: Vec<_> = self.cache.engine.stripes().map(part).collect();
        let rounds = parts.iter().map(|part| part.entries.div_ceil(SLICE)).max().unwrap_or(0);
        for round in 1..=rounds {
            for part in &mut parts {
                // In 128 bits no product is too large.
                let due = (part.entries as u128 * round as u128 / rounds as u128) as usize;
                while part.walk.is_in_order() && part.walk.count < due {
                    self.slice(part, due - part.walk.count)?;
                }
            }
        }
        // What has come since; then what is in no order.
        for part in &mut parts {
            while part.walk.is_in_order() {
                self.slice(part, SLICE)?;
            }
        }
        for part in &mut parts {
            while !part.stripe.lock().is_walked(&part.walk) {
                self.slice(part, SLICE)?;
            }
        }
        Ok(())
    }

    /// The next entries of a segment, at most `most` of them.
    fn slice(&mut self, part: &mut Part<'a, K, V>, most: usize) -> Result<(), SnapshotError> {
        let most = most.min(self.fitting());
        {
            // What it meets stays readable until it is encoded.
            let pin = epoch::pin();
            let met = {
                let mut segment = part.stripe.lock();
                let now = self.cache.now_in(&segment);
                segment.walk(&mut part.walk, most, now, pin.guard())
            };
            met.iter().for_each(|met| self.push(met));
        }
        // Nothing is held back by a slow disk.
        self.writer.relieve().map_err(SnapshotError::writing)
    }

    /// How many entries of the usual size make a block: large ones are gathered one by one.
    fn fitting(&self) -> usize {
        let usual = self.bytes / self.met.max(1);
        usize::try_from(BLOCK as u64 / usual.max(1)).unwrap_or(SLICE).clamp(1, SLICE)
    }

    fn push(&mut self, met: &Met<'_, K, V>) {
        // One more, so that never is 0, and takes a byte.
        let left = |deadline| match deadline {
            NEVER => 0,
            deadline => deadline.saturating_sub(self.start).saturating_add(1),
        };
        let mark = Mark {
            hard: left(met.deadline.hard),
            idle: left(met.deadline.idle),
            cost: u32::try_from(met.cost / 1_000).unwrap_or(u32::MAX),
            uses: met.heat.uses,
            proven: met.heat.proven,
        };
        let before = self.writer.in_hand();
        if self.writer.push(mark, &met.found.entry.key, &met.found.entry.value) {
            self.met += 1;
            self.bytes += (self.writer.in_hand() - before) as u64;
        } else {
            self.skipped += 1;
        }
    }
}
