//! Small models of the cache, each run in another manner, to see which manner is best.
//!
//! **Problem.** No manner of running a cache is best for every load, and a load changes. The hits of the manner in use do not tell how
//! many another would have had.
//!
//! **Idea.** Keys whose code ends in some zeros are a fair sample of all keys. A cache of 1/64 of the weight that is asked for 1/64
//! of the keys has about the same hit ratio as the whole one. So run four of them beside it, without values, each in its
//! manner, and count their hits. All are asked for the same keys, so what is noise to one is noise to all.
//!
//! ```text
//!   misses ───────────► code ends in 000? ──► [ window  1 %          ]  hits: 512
//!   hits, by polling      │ no: nothing       [ window  1 %, yielding ]        530
//!   the counters of                           [ window 20 %, yielding ]        541 ◄ the cache follows
//!   sampled residents                         [ window 75 %, yielding ]        498
//! ```
//!
//! Misses are heard of at once. Hits are not heard of at all: so each call that makes room looks at the counters of two sampled
//! residents, in turn, and an entry that was hit counts as asked for now. It comes late, by at most as many misses as half the
//! residents sampled, and many hits count as one: to a model, the first of them decides whether it is a hit.
//!
//! **Invariants**
//!
//! 1. A node is there for each sampled key that is resident, or in a model, and for no other.
//! 2. A node's bits name the models that it is in.
//!
//! | operation | cost |
//! |---|---|
//! | a key that is not sampled | a comparison |
//! | one that is | O(1): in each model a counter, or an insertion and the evictions that it needs, at most [`EVICTIONS`] |
//! | memory | 80 bytes a node, of which there are about 600 for 2,048 entries or more, fewer for fewer |
//!
//! **Sources.** Sampling by hash: Waldspurger, Park, Garthwaite, Ahmad: *Efficient MRC Construction with SHARDS*, FAST 2015. Models
//! to choose a window by: Einziger, Eytan, Friedman, Manes: *Adaptive Software Cache Management*, Middleware 2018.

use crate::engine::column::Column;
use crate::policy::lazy::{Lazy, Manner, Popularity};
use crate::policy::sketch::Sketch;
use crate::policy::{HitCounters, Slot};
use std::collections::HashMap;

/// The manners to choose from. That of the smallest window comes first: it does least harm where there is too little to go by.
/// Of all choices of four among windows of 1 to 95 % and yielding or not, these leave the least regret; their neighbours
/// are nearly as good.
pub(super) const MANNERS: [Manner; 4] = [
    Manner { window: 1, yields: false },
    Manner { window: 1, yields: true },
    Manner { window: 20, yields: true },
    Manner { window: 75, yields: true },
];

/// Entries that a model holds, if the cache is large enough. With 256, chance makes two manners differ by about a point in a
/// period, and scores average over [`MEMORY`] of them.
const ENTRIES: usize = 256;

/// At least this many zeros at a code's end: one key in eight, so that models never cost much.
const ZEROS: u32 = 3;

/// Evictions that one entry is worth to a model. Needed only where weights differ much.
const EVICTIONS: usize = 8;

/// After a period (as many requests as a model has entries) scores lose one part in so many, so they tell of the last ten
/// periods or so. A manner must lead by one hundredth of the requests of that time to be followed: for less, moving the
/// window costs more than it brings.
const MEMORY: u64 = 10;

/// Scores are in parts of a hit, so that the loss of a tenth is not rounded away.
const HIT: u64 = 256;

/// A sampled key.
#[derive(Clone, Copy)]
struct Node {
    code: u32,
    /// Where it is resident, if it is.
    resident: Slot,
    /// The models that it is in, a bit each.
    models: u8,
}

/// One model: a cache without values. Its slots are the nodes.
struct Model {
    lazy: Lazy,
    hits: HitCounters<'static>,
    score: u64,
}

/// All of them, over the same sample.
pub(super) struct Models {
    /// How many entries the cache was thought to have when they were made.
    pub(super) entries: usize,
    zeros: u32,
    nodes: Column<Node>,
    free: Vec<Slot>,
    places: HashMap<u32, Slot, ahash::RandomState>,
    models: [Model; MANNERS.len()],
    /// What each model may weigh.
    share: u64,
    best: usize,
    /// Requests in this period.
    asked: u64,
    /// The node to look at next.
    hand: usize,
}

impl Models {
    pub(super) fn new(entries: usize, manner: Manner) -> Self {
        let over = entries.div_ceil(ENTRIES).next_power_of_two().trailing_zeros();
        let model = |manner| Model {
            lazy: Lazy::new(manner, None),
            hits: HitCounters::new(super::COUNTS_TO),
            score: 0,
        };
        Self {
            entries,
            zeros: over.clamp(ZEROS, 25),
            nodes: Column::new(),
            free: Vec::new(),
            places: HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4)),
            models: MANNERS.map(model),
            share: 1,
            best: MANNERS.iter().position(|&it| it == manner).unwrap_or(0),
            asked: 0,
            hand: 0,
        }
    }

    /// The manner that was best of late.
    pub(super) fn best(&self) -> Manner {
        MANNERS[self.best]
    }

    pub(super) fn samples(&self, code: u32) -> bool {
        code.trailing_zeros() >= self.zeros
    }

    /// The cache may weigh so much.
    pub(super) fn set_share(&mut self, whole: u64) {
        self.share = (whole >> self.zeros).max(1);
    }

    /// A sampled key was asked for.
    pub(super) fn ask(&mut self, code: u32, weight: u64, sketch: &mut Sketch) {
        let place = self.node(code);
        let mut popularity = Popularity { sketch, feeds: false };
        for at in 0..MANNERS.len() {
            if self.nodes[place].models & 1 << at != 0 {
                self.models[at].hits.record(place);
                self.models[at].score += HIT;
            } else if self.make_room(at, weight, &mut popularity) {
                let model = &mut self.models[at];
                model.lazy.share = self.share;
                model.hits.set(place, 0);
                model.lazy.insert(place, code, weight);
                self.nodes[place].models |= 1 << at;
            }
        }
        self.drop_if_unused(place);
        self.asked += 1;
        if self.asked >= (self.entries as u64 >> self.zeros).max(1) {
            self.judge();
        }
    }

    /// True if an entry of this weight fits now.
    fn make_room(&mut self, at: usize, weight: u64, popularity: &mut Popularity<'_>) -> bool {
        for _ in 0..EVICTIONS {
            let model = &mut self.models[at];
            if model.lazy.regions.total_weight().saturating_add(weight) <= self.share {
                return true;
            }
            let Some(victim) = model.lazy.victim(weight, &mut model.hits, popularity) else {
                return false;
            };
            model.lazy.remove(victim);
            self.nodes[victim].models &= !(1 << at);
            self.drop_if_unused(victim);
        }
        false
    }

    /// A period is over: is another manner better by enough?
    fn judge(&mut self) {
        let leader = (0..MANNERS.len()).max_by_key(|&at| self.models[at].score).unwrap_or(0);
        let margin = self.asked * MEMORY * HIT / 100;
        if self.models[leader].score > self.models[self.best].score + margin {
            self.best = leader;
        }
        for model in &mut self.models {
            model.score -= model.score / MEMORY;
        }
        self.asked = 0;
    }

    /// The node of a key, made if need be.
    fn node(&mut self, code: u32) -> Slot {
        if let Some(&place) = self.places.get(&code) {
            return place;
        }
        let place = self.free.pop().unwrap_or_else(|| Slot::new(self.nodes.len()));
        let node = Node { code, resident: Slot::NONE, models: 0 };
        self.nodes.reach(place.index(), node);
        self.nodes[place] = node;
        self.places.insert(code, place);
        place
    }

    fn drop_if_unused(&mut self, place: Slot) {
        let node = self.nodes[place];
        if node.models == 0 && node.resident.is_none() {
            self.places.remove(&node.code);
            self.free.push(place);
        }
    }

    /// The entry of a sampled key is in `slot`.
    pub(super) fn settle(&mut self, code: u32, slot: Slot) {
        let place = self.node(code);
        self.nodes[place].resident = slot;
    }

    /// The entry of a sampled key has left. If it was not evicted, a cache that was run in another manner has lost it too.
    pub(super) fn left(&mut self, code: u32, slot: Slot, evicted: bool) {
        let Some(&place) = self.places.get(&code) else { return };
        // Another key with the same code may have come since.
        if self.nodes[place].resident == slot {
            self.nodes[place].resident = Slot::NONE;
        }
        if !evicted {
            for at in 0..MANNERS.len() {
                if self.nodes[place].models & 1 << at != 0 {
                    self.models[at].lazy.remove(place);
                }
            }
            self.nodes[place].models = 0;
        }
        self.drop_if_unused(place);
    }

    /// A sampled resident, each in its turn; none if the next few nodes are not resident.
    pub(super) fn next_resident(&mut self) -> Option<Slot> {
        for _ in 0..4 {
            self.hand = if self.hand < self.nodes.len() { self.hand } else { 0 };
            let node = self.nodes.get(self.hand).copied()?;
            self.hand += 1;
            if let Some(resident) = node.resident.some() {
                return Some(resident);
            }
        }
        None
    }

    pub(super) fn assert_valid(&self) {
        for (&code, &place) in &self.places {
            let node = self.nodes[place];
            assert!(node.code == code && self.samples(code), "1: a node has a sampled key");
            assert!(node.models != 0 || node.resident.some().is_some(), "1: a node is needed");
        }
        for (at, model) in self.models.iter().enumerate() {
            model.lazy.assert_valid();
            let bits =
                self.places.values().filter(|&&place| self.nodes[place].models >> at & 1 != 0);
            assert_eq!(bits.clone().count(), model.lazy.regions.len(), "2: bits name the models");
            let held = |&&place: &&Slot| model.lazy.coldest().any(|held| held == place);
            assert!(bits.clone().all(|place| held(&place)), "2: bits name the models");
        }
    }
}
