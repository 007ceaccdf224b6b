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
//! 3. The residents that are known are of keys that are sampled.
//!
//! | operation | cost |
//! |---|---|
//! | a key that is not sampled | a comparison |
//! | one that is | O(1): in each model a counter, or an insertion and the evictions that it needs, at most [`EVICTIONS`] |
//! | memory | 100 bytes a node, of which there are about 600 for 2,048 entries or more, fewer for fewer |
//!
//! **Sources.** Sampling by hash: Waldspurger, Park, Garthwaite, Ahmad: *Efficient MRC Construction with SHARDS*, FAST 2015. Models
//! to choose a window by: Einziger, Eytan, Friedman, Manes: *Adaptive Software Cache Management*, Middleware 2018.

use crate::engine::column::Column;
use crate::policy::lazy::{Lazy, Manner, Popularity};
use crate::policy::regions::code_of;
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

/// Entries that a model holds, if the cache is large enough. With 256, chance makes two manners differ by about two points in
/// the time from one judgement to the next, and scores average over [`MEMORY`] of these.
const ENTRIES: usize = 256;

/// At least this many zeros at a code's end: one key in eight, so that models never cost much.
const ZEROS: u32 = 3;

/// Residents are looked at in every call while one key in 2^(`ZEROS` + `SLACK`) or more is sampled, in every other where half
/// as many are, and so on: so a hit is heard of after the same part of the cache has changed.
const SLACK: u32 = 2;

/// The hasher of both maps. It needs no seed of its own: nobody can choose codes, which are of the cache's hashes, nor slots.
fn seeded() -> ahash::RandomState {
    ahash::RandomState::with_seeds(1, 2, 3, 4)
}

/// Evictions that one entry is worth to a model. Needed only where weights differ much.
const EVICTIONS: usize = 8;

/// Judgements in the time that a model is asked for as many entries as it holds. One, with the memory and the lead that suited it,
/// found changes out later, and was 0.03 points worse in the mean; eight gain nothing.
const JUDGEMENTS: u64 = 4;

/// At a judgement scores lose one part in so many: they tell of the last twenty or so, the time of five times as many requests as
/// there are entries.
const MEMORY: u64 = 20;

/// Of a thousand requests of that time, the hits by which a manner must lead to be followed: for less, moving the window costs more
/// than it brings.
const LEAD: u64 = 15;

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
    /// The codes of the residents that are sampled.
    residents: HashMap<Slot, u32, ahash::RandomState>,
    models: [Model; MANNERS.len()],
    /// What each model may weigh.
    share: u64,
    best: usize,
    /// Requests since the last judgement.
    asked: u64,
    /// The node to look at next.
    hand: usize,
    /// Calls that made room.
    calls: u32,
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
            places: HashMap::with_hasher(seeded()),
            residents: HashMap::with_hasher(seeded()),
            models: MANNERS.map(model),
            share: 1,
            best: MANNERS.iter().position(|&it| it == manner).unwrap_or(0),
            asked: 0,
            hand: 0,
            calls: 0,
        }
    }

    /// The manner that was best of late.
    pub(super) fn best(&self) -> Manner {
        MANNERS[self.best]
    }

    /// This manner is taken for the best until another has led.
    pub(super) fn begin_with(&mut self, manner: Manner) {
        self.best = MANNERS.iter().position(|&it| it == manner).unwrap_or(self.best);
        self.models.iter_mut().for_each(|model| model.score = 0);
    }

    pub(super) fn samples(&self, code: u32) -> bool {
        code.trailing_zeros() >= self.zeros
    }

    /// The cache may weigh so much.
    pub(super) fn set_share(&mut self, whole: u64) {
        self.share = (whole >> self.zeros).max(1);
    }

    /// A sampled key was asked for.
    pub(super) fn ask(&mut self, hash: u64, weight: u64, sketch: &mut Sketch) {
        let place = self.node(code_of(hash));
        let mut popularity = Popularity { sketch, feeds: false };
        for at in 0..MANNERS.len() {
            if self.nodes[place].models & 1 << at != 0 {
                self.models[at].hits.record(place);
                self.models[at].score += HIT;
            } else if self.make_room(at, weight, &mut popularity) {
                let model = &mut self.models[at];
                model.lazy.share = self.share;
                model.hits.publish(place, hash);
                model.lazy.insert(place, weight);
                self.nodes[place].models |= 1 << at;
            }
        }
        self.drop_if_unused(place);
        self.asked += 1;
        if self.asked >= ((self.entries as u64 / JUDGEMENTS) >> self.zeros).max(1) {
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

    /// Is another manner better by enough?
    fn judge(&mut self) {
        let leader = (0..MANNERS.len()).max_by_key(|&at| self.models[at].score).unwrap_or(0);
        let margin = self.asked * MEMORY * HIT * LEAD / 1_000;
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
        self.residents.insert(slot, code);
        let place = self.node(code);
        self.nodes[place].resident = slot;
    }

    /// It is in another slot.
    pub(super) fn moved(&mut self, from: Slot, to: Slot) {
        if let Some(code) = self.residents.remove(&from) {
            self.settle(code, to);
        }
    }

    /// The entry of a sampled key has left. If it was not evicted, a cache that was run in another manner has lost it too.
    pub(super) fn left(&mut self, slot: Slot, evicted: bool) {
        let code = self.residents.remove(&slot);
        let Some(&place) = code.and_then(|code| self.places.get(&code)) else { return };
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

    /// Whether it is time to look at residents again: the fewer keys are sampled, the less often.
    pub(super) fn is_time(&mut self) -> bool {
        self.calls = self.calls.wrapping_add(1);
        self.calls.trailing_zeros() >= self.zeros.saturating_sub(ZEROS + SLACK)
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
        let mut residents = self.residents.values();
        assert!(residents.all(|&code| self.samples(code)), "3: a resident has a sampled key");
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// Models of a cache of so many entries, all of weight 1.
    fn models(entries: usize) -> (Models, Sketch) {
        let mut models = Models::new(entries, MANNERS[0]);
        models.set_share(entries as u64);
        (models, Sketch::new(entries))
    }

    /// So many hashes of keys that are sampled.
    fn hashes(models: &Models, many: usize) -> Vec<u64> {
        let all = (0..).map(|number| number << 17);
        all.filter(|&hash| models.samples(code_of(hash))).take(many).collect()
    }

    #[test]
    fn the_sample_is_small_and_so_are_the_models() {
        for (entries, zeros) in [(1, 3), (100, 3), (2_048, 3), (2_049, 4), (1 << 20, 12)] {
            let (models, _) = models(entries);
            assert_eq!(models.zeros, zeros, "{entries}");
            assert!(models.share <= 256 && models.share >= 1);
            assert!(models.samples(1 << zeros) && models.samples(0) && !models.samples(1));
            assert!(!models.samples(1 << (zeros - 1)));
        }
    }

    #[test]
    fn a_loop_is_best_kept_and_recency_best_followed() {
        let (mut models, mut sketch) = models(800);
        let hashes = hashes(&models, 20_000);
        for &hash in hashes[..150].iter().cycle().take(20_000) {
            sketch.add(code_of(hash), 1);
            models.ask(hash, 1, &mut sketch);
        }
        assert_eq!(models.best(), MANNERS[0]);
        models.assert_valid();
        for number in 1_060..hashes.len() {
            for back in [0, 60] {
                let hash = hashes[number - back];
                sketch.add(code_of(hash), 1);
                models.ask(hash, 1, &mut sketch);
            }
        }
        assert_eq!(models.best(), MANNERS[3]);
        models.assert_valid();
    }

    #[test]
    fn who_leads_by_too_little_is_not_followed() {
        let lead = |lead: u64| {
            let (mut models, _) = models(800);
            models.asked = 100;
            models.models[2].score = lead;
            models.judge();
            assert_eq!(models.models[2].score, lead - lead / 20, "what was long ago counts less");
            models.best()
        };
        assert_eq!(lead(30 * HIT), MANNERS[0], "15 of a thousand in the time of 20 judgements");
        assert_eq!(lead(30 * HIT + 1), MANNERS[2]);
    }

    #[test]
    fn what_was_evicted_stays_a_memory_and_what_was_deleted_does_not() {
        let (mut models, mut sketch) = models(800);
        let (hash, [other, was, slot]) = (hashes(&models, 2)[1], [3, 4, 9].map(Slot::new));
        let code = code_of(hash);
        models.ask(hash, 1, &mut sketch);
        models.settle(code, other);
        models.settle(code, was);
        models.moved(was, slot);
        assert_eq!(models.next_resident(), Some(slot));
        models.left(other, true);
        models.left(was, true);
        assert_eq!(models.next_resident(), Some(slot), "another entry's slot");
        models.left(slot, true);
        assert_eq!((models.next_resident(), models.places.len()), (None, 1));
        models.assert_valid();
        models.settle(code, slot);
        models.left(slot, false);
        assert_eq!((models.places.len(), models.free.len()), (0, 1));
        models.assert_valid();
        models.left(slot, false);
        models.settle(code, slot);
        models.left(slot, true);
        assert!(models.places.is_empty(), "it was in no model");
    }

    #[test]
    fn an_entry_too_heavy_for_a_model_is_in_none() {
        let (mut models, mut sketch) = models(800);
        let hashes = hashes(&models, 101);
        hashes[..100].iter().for_each(|&hash| models.ask(hash, 1, &mut sketch));
        models.ask(hashes[100], 101, &mut sketch);
        assert!(!models.places.contains_key(&code_of(hashes[100])));
        let left: Vec<_> = models.models.iter().map(|it| it.lazy.regions.len()).collect();
        assert_eq!(left, [100 - EVICTIONS; 4], "at most so many make room");
        models.assert_valid();
    }

    #[test]
    fn residents_are_looked_at_the_less_often_the_fewer_are_sampled() {
        let times = |entries| {
            let (mut models, _) = models(entries);
            (0..1_024).filter(|_| models.is_time()).count()
        };
        assert_eq!((times(100), times(8_192)), (1_024, 1_024));
        assert_eq!((times(16_384), times(65_536)), (512, 128));
    }

    #[test]
    fn damage_is_seen() {
        let complaint = |damage: fn(&mut Models)| {
            let (mut models, mut sketch) = models(800);
            models.ask(hashes(&models, 1)[0], 1, &mut sketch);
            models.assert_valid();
            damage(&mut models);
            let checked = catch_unwind(AssertUnwindSafe(|| models.assert_valid()));
            let panic = checked.expect_err("the damage is seen");
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap()
        };
        let bits = complaint(|it| it.nodes[Slot::new(0)].models = 0b1011);
        assert!(bits.contains("2: bits name the models"), "{bits}");
        let unused = complaint(|it| it.nodes[Slot::new(0)].models = 0);
        assert!(unused.contains("1: a node is needed"), "{unused}");
        let code = complaint(|it| it.nodes[Slot::new(0)].code = 1);
        assert!(code.contains("1: a node has a sampled key"), "{code}");
        let resident = complaint(|it| _ = it.residents.insert(Slot::new(3), 1));
        assert!(resident.contains("3: a resident has a sampled key"), "{resident}");
    }
}
