//! W-TinyLFU that adapts: the draft of the module's page comes with its numbers.

use super::lazy::{Lazy, Popularity};
use super::regions::code_of;
use super::sketch::Sketch;
use super::{EvictionPolicy, Hears, HitCounters, Meta, Slot, Victim};
use crate::observe::Cause;
use models::{MANNERS, Models};
use std::fmt;

mod models;

/// Where an entry's counter stops.
const COUNTS_TO: u8 = 3;

/// Sampled residents whose counters each call that makes room looks at.
const POLLS: usize = 2;

/// Sketch and models are made when a share's first sixteenth is full: by then it is known how many entries will fit, and a cache that
/// holds little costs little.
const START: u64 = 16;

/// W-TinyLFU that learns from small models of itself how to run (the default).
pub struct Adaptive {
    lazy: Lazy,
    sketch: Sketch,
    models: Option<Box<Models>>,
}

impl Adaptive {
    /// A policy with no entries.
    #[must_use]
    pub fn new() -> Self {
        Self::seeded(0)
    }

    /// The same, with other draws where chance decides.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { lazy: Lazy::new(MANNERS[0], Some(seed)), sketch: Sketch::new(1), models: None }
    }

    /// Fits sketch and models to so many entries, unless they are about right.
    fn fit(&mut self, entries: usize) {
        let made = self.models.as_ref().map_or(0, |models| models.entries);
        if entries > made * 2 || entries * 4 < made {
            self.sketch.resize(entries);
            let mut models = Models::new(entries, self.lazy.manner);
            models.set_share(self.lazy.share);
            self.models = Some(Box::new(models));
        }
    }

    /// A key was asked for: if it is sampled, the models hear of it.
    fn ask(&mut self, code: u32, weight: u64) {
        if let Some(models) = self.models.as_mut().filter(|models| models.samples(code)) {
            models.ask(code, weight, &mut self.sketch);
            self.lazy.manner = models.best();
        }
    }

    /// Tells the models of hits on residents that are sampled.
    fn poll(&mut self, hits: &mut HitCounters<'_>) {
        for _ in 0..POLLS {
            let next = self.models.as_mut().and_then(|models| models.next_resident());
            let Some(slot) = next else { return };
            let mut popularity = Popularity { sketch: &mut self.sketch, feeds: true };
            if self.lazy.poll(slot, hits, &mut popularity) {
                self.ask(self.lazy.regions.code(slot), self.lazy.regions.weight_of(slot));
            }
        }
    }
}

impl EvictionPolicy for Adaptive {
    fn hears(&self) -> Hears {
        Hears::Counter(COUNTS_TO)
    }

    fn hears_misses(&self) -> bool {
        false
    }

    fn resize(&mut self, share: u64) {
        self.lazy.share = share;
        if let Some(models) = &mut self.models {
            models.set_share(share);
        }
    }

    fn insert(&mut self, slot: Slot, meta: &Meta) {
        let code = code_of(meta);
        self.lazy.insert(slot, code, meta.weight);
        if self.models.is_none() {
            if self.lazy.regions.total_weight() <= self.lazy.share / START {
                self.lazy.count_later(slot);
                return;
            }
            self.fit(self.len() * START as usize);
        }
        self.sketch.add(code, 1);
        self.ask(code, meta.weight);
        if let Some(models) = self.models.as_mut().filter(|models| models.samples(code)) {
            models.settle(code, slot);
        }
    }

    fn update(&mut self, slot: Slot, meta: &Meta) {
        self.lazy.update(slot, meta.weight);
        self.ask(self.lazy.regions.code(slot), meta.weight);
    }

    fn relocate(&mut self, from: Slot, to: Slot, meta: &Meta) {
        self.lazy.relocate(from, to, meta.weight);
        let code = self.lazy.regions.code(to);
        if let Some(models) = self.models.as_mut().filter(|models| models.samples(code)) {
            models.settle(code, to);
        }
    }

    fn remove(&mut self, slot: Slot, cause: Cause) {
        let code = self.lazy.regions.code(slot);
        self.lazy.remove(slot);
        if let Some(models) = self.models.as_mut().filter(|models| models.samples(code)) {
            models.left(code, slot, matches!(cause, Cause::Evicted | Cause::Replaced));
        }
    }

    fn victim(&mut self, newcomer: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
        if !self.lazy.is_decided() {
            self.fit(self.len());
            if let Some(models) = &mut self.models {
                models.set_share(self.lazy.regions.total_weight());
            }
            self.poll(hits);
        }
        let mut popularity = Popularity { sketch: &mut self.sketch, feeds: true };
        let coming = newcomer.map_or(1, |meta| meta.weight);
        self.lazy.victim(coming, hits, &mut popularity).map_or(Victim::None, Victim::Entry)
    }

    fn len(&self) -> usize {
        self.lazy.regions.len()
    }

    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.lazy.coldest())
    }

    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.lazy.hottest())
    }

    fn assert_valid(&self) {
        self.lazy.assert_valid();
        if let Some(models) = &self.models {
            models.assert_valid();
        }
    }
}

impl Default for Adaptive {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Adaptive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adaptive")
            .field("len", &self.len())
            .field("window", &self.lazy.manner.window)
            .finish()
    }
}
