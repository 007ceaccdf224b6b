//! From bytes to a cache.

use super::format::{Block, Blocks, Mark};
use super::save::since_1970;
use super::{Restored, SnapshotError};
use crate::cache::Cache;
use crate::engine::{Entry, Lifetime, When, Write, Written, epoch};
use crate::load::Ticket;
use crate::observe::{Cause, Tally};
use crate::policy::Heat;
use crate::time::NEVER;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::hash::{BuildHasher, Hash};
use std::io::{BufReader, Read, Seek};
use std::path::Path;
use std::time::Duration;

/// First all of the file is held against its checksums, then its entries are put in.
pub(super) fn from_file<K, V, S>(
    cache: &Cache<K, V, S>,
    schema: u32,
    path: &Path,
) -> Result<Restored, SnapshotError>
where
    K: Hash + Eq + DeserializeOwned,
    V: DeserializeOwned,
    S: BuildHasher,
{
    let failed = |doing| move |source| SnapshotError::at(doing, path, source);
    let named = |error| match error {
        SnapshotError::Io { doing, path: None, source } => SnapshotError::at(doing, path, source),
        error => error,
    };
    let mut file = BufReader::new(File::open(path).map_err(failed("opening"))?);
    Blocks::begin(&mut file, schema).and_then(Blocks::verify).map_err(named)?;
    file.rewind().map_err(failed("reading"))?;
    restore(cache, schema, file).map_err(named)
}

pub(super) fn restore<K, V, S>(
    cache: &Cache<K, V, S>,
    schema: u32,
    from: impl Read,
) -> Result<Restored, SnapshotError>
where
    K: Hash + Eq + DeserializeOwned,
    V: DeserializeOwned,
    S: BuildHasher,
{
    let mut blocks = Blocks::begin(from, schema)?;
    let age = since_1970(cache.clock.date()).saturating_sub(blocks.date);
    let mut restoring = Restoring { cache, start: cache.now(), age, done: Restored::default() };
    restoring.done.age = Duration::from_nanos(age);
    while let Some(block) = blocks.next()? {
        restoring.block(&block)?;
    }
    cache.engine.stripes().for_each(|stripe| stripe.lock().recall(blocks.learned));
    Ok(restoring.done)
}

/// A snapshot that is being restored.
struct Restoring<'a, K, V, S> {
    cache: &'a Cache<K, V, S>,
    /// By the cache's clock, when it began; and how old the snapshot was then.
    start: u64,
    age: u64,
    done: Restored,
}

impl<K, V, S> Restoring<'_, K, V, S>
where
    K: Hash + Eq + DeserializeOwned,
    V: DeserializeOwned,
    S: BuildHasher,
{
    fn block(&mut self, block: &Block<'_>) -> Result<(), SnapshotError> {
        let &Block { offset, entries, payload } = block;
        let wrong = |rest: &[u8], reason: &dyn std::fmt::Display| SnapshotError::Entry {
            offset: offset + (payload.len() - rest.len()) as u64,
            reason: reason.to_string(),
        };
        let mut rest = payload;
        for _ in 0..entries {
            let ((mark, key, value), after): ((Mark, K, V), _) =
                postcard::take_from_bytes(rest).map_err(|error| wrong(rest, &error))?;
            rest = after;
            self.entry(mark, Entry { key, value });
        }
        if rest.is_empty() { Ok(()) } else { Err(wrong(rest, &"something comes after the value")) }
    }

    /// The deadline by the cache's clock; `None` if it has passed.
    fn deadline(&self, saved: u64) -> Option<u64> {
        match saved.checked_sub(1) {
            None => Some(NEVER),
            Some(left) if left <= self.age => None,
            Some(left) => Some(self.start.saturating_add(left - self.age)),
        }
    }

    fn entry(&mut self, mark: Mark, entry: Entry<K, V>) {
        let Some((hard, idle)) = self.deadline(mark.hard).zip(self.deadline(mark.idle)) else {
            return self.expired(entry);
        };
        let cache = self.cache;
        let hash = cache.hash(&entry.key);
        let weight = cache.weigher.as_ref().map_or(1, |weigh| weigh(&entry.key, &entry.value));
        let terms = cache.restored_terms(&entry, u64::from(mark.cost) * 1_000);
        // After all that may take its time.
        let Some(lifetime) = self.lifetime(hard, idle) else { return self.expired(entry) };
        let pin = epoch::pin();
        let guard = Some(pin.guard());
        let write = Write { entry, hash, weight, lifetime, terms, when: When::Unclaimed, guard };
        self.put(write, Heat::new(mark.uses, mark.proven));
    }

    fn expired(&mut self, entry: Entry<K, V>) {
        self.done.expired += 1;
        self.cache.contain(Tally::DropPanics, || drop(entry));
    }

    /// What is left until these deadlines, in the cache's own terms; `None` if they pass meanwhile.
    fn lifetime(&self, hard: u64, idle: u64) -> Option<Lifetime> {
        let rules = &self.cache.lifetimes;
        let earliest = hard.min(idle);
        let now = if earliest == NEVER { 0 } else { self.cache.now() };
        if earliest <= now {
            return None;
        }
        let left = |deadline: u64| if deadline == NEVER { NEVER } else { deadline - now };
        let (hard, idle) = (left(hard), left(idle));
        let lifetime = |live, idle| Some(Lifetime { live: Some(live), idle: Some(idle) });
        if rules.expiry.is_some() || idle == NEVER {
            lifetime(hard, idle)
        } else if rules.idle != NEVER {
            lifetime(hard, idle.min(rules.idle))
        } else {
            // Nobody would move it.
            lifetime(hard.min(idle), NEVER)
        }
    }

    fn put(&mut self, write: Write<'_, K, V, Ticket<V>>, heat: Heat) {
        let (cache, hash) = (self.cache, write.hash);
        let mut delivery = cache.delivery();
        match cache.engine.write(write, &|| cache.now(), &mut delivery.out) {
            Written::Stored { new, .. } => {
                self.done.entries += 1;
                if let Some(found) = new.filter(|_| heat != Heat::default()) {
                    // The guard keeps its slot from being used again: if it is full, this entry is in it.
                    let mut segment = cache.engine.lock(hash);
                    if segment.has(found.slot) {
                        segment.warm(found.slot, heat);
                    }
                }
            }
            Written::NotMet { entry } => {
                self.done.resident += 1;
                cache.contain(Tally::DropPanics, || drop(entry));
            }
            Written::Refused { entry, .. } => {
                self.done.refused += 1;
                cache.recorder.count(Tally::Removed(Cause::Refused));
                cache.refuse(entry);
            }
        }
    }
}
