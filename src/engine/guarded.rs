//! A policy that cannot hurt: its panics are caught, and a fresh one takes over.
//!
//! A policy may be the user's. If it panicked through the engine it would leave an index, a wheel and an order that disagree.
//! So each call is caught; after a panic the policy's state is not trusted, and the segment [mends](Guarded::mend) it by
//! showing a fresh policy every resident. That costs O(residents), once a panic.

use crate::caught::caught;
use crate::engine::stamps::Stamps;
use crate::observe::Cause;
use crate::policy::{Counts, EvictionPolicy, Hears, HitCounters, Lru, Meta, Slot, Touch, Victim};
use crate::sync::Arc;

/// Makes a policy for a segment.
pub(crate) type Make = Arc<dyn Fn() -> Box<dyn EvictionPolicy> + Send + Sync>;

/// How readers tell a policy of hits and misses, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ears(u32);

impl Ears {
    /// Through the ring.
    const IN_ORDER: u32 = 1 << 8;
    /// Through the ring, but not twice in a row.
    const RECENCY: u32 = 1 << 9;
    const MISSES: u32 = 1 << 10;
    const STAMPS: u32 = 1 << 11;

    fn of(policy: &dyn EvictionPolicy, hears: Hears) -> Self {
        let hits = match hears {
            Hears::Nothing => 0,
            Hears::Counter(max) => u32::from(max),
            Hears::Stamp(_) => Self::STAMPS,
            Hears::InOrder => Self::IN_ORDER,
            Hears::Recency => Self::RECENCY,
        };
        Self(hits | if policy.hears_misses() { Self::MISSES } else { 0 })
    }

    pub(crate) const fn from_word(word: u32) -> Self {
        Self(word)
    }

    pub(crate) const fn word(self) -> u32 {
        self.0
    }

    /// Where an entry's counter stops: at 0 if the policy does not hear by counters.
    #[inline]
    pub(crate) const fn counter(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// True if a hit is told by more than a counter: through the ring, or by stamps.
    #[inline]
    pub(crate) const fn by_note(self) -> bool {
        self.0 & (Self::IN_ORDER | Self::RECENCY | Self::STAMPS) != 0
    }

    #[inline]
    pub(crate) const fn recency(self) -> bool {
        self.0 & Self::RECENCY != 0
    }

    #[inline]
    pub(crate) const fn stamps(self) -> bool {
        self.0 & Self::STAMPS != 0
    }

    #[inline]
    pub(crate) const fn misses(self) -> bool {
        self.0 & Self::MISSES != 0
    }
}

pub(crate) struct Guarded {
    policy: Box<dyn EvictionPolicy>,
    make: Make,
    hears: Hears,
    /// The same, and whether it hears of misses, in a word that readers can load.
    ears: Ears,
    share: u64,
    broken: bool,
    panics: u64,
}

impl Guarded {
    pub(crate) fn new(make: Make, share: u64) -> Self {
        let mut policy = make();
        policy.resize(share);
        let hears = policy.hears();
        let ears = Ears::of(&*policy, hears);
        Self { policy, make, hears, ears, share, broken: false, panics: 0 }
    }

    /// How the policy hears.
    pub(crate) const fn ears(&self) -> Ears {
        self.ears
    }

    /// What makes the words of its entries, if it hears by these.
    pub(crate) const fn touch(&self) -> Option<Touch> {
        if let Hears::Stamp(touch) = self.hears { Some(touch) } else { None }
    }

    /// How often it has panicked.
    pub(crate) const fn panics(&self) -> u64 {
        self.panics
    }

    /// True after a panic, until mended.
    #[inline]
    pub(crate) const fn is_broken(&self) -> bool {
        self.broken
    }

    pub(crate) fn resize(&mut self, share: u64) {
        self.share = share;
        self.call(|policy| policy.resize(share));
    }

    #[inline]
    pub(crate) fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.call(|policy| policy.insert(slot, meta));
    }

    /// Makes the word of an entry, which has come into `to`: as a new one, or from `from`.
    pub(crate) fn stamp(&mut self, stamps: &Stamps, to: Slot, from: Option<Slot>) {
        self.call(|_| stamps.publish(to, from));
    }

    pub(crate) fn reschedule(&mut self, slot: Slot, meta: &Meta) {
        self.call(|policy| policy.reschedule(slot, meta));
    }

    /// The entry in `from` has a new value, in `to`.
    #[inline]
    pub(crate) fn replace(&mut self, from: Slot, to: Slot, meta: &Meta) {
        self.call(|policy| {
            policy.relocate(from, to, meta);
            policy.update(to, meta);
        });
    }

    #[inline]
    pub(crate) fn remove(&mut self, slot: Slot, cause: Cause) {
        self.call(|policy| policy.remove(slot, cause));
    }

    /// Entries of the policy's were read, in this order.
    pub(crate) fn hits(&mut self, slots: impl Iterator<Item = Slot>) {
        self.call(|policy| slots.for_each(|slot| policy.hit(slot)));
    }

    pub(crate) fn miss(&mut self, hash: u64) {
        self.call(|policy| policy.miss(hash));
    }

    #[inline]
    pub(crate) fn victim(&mut self, newcomer: Option<&Meta>, counts: &dyn Counts) -> Victim {
        let (max, mut victim) = (self.max(), Victim::None);
        self.call(|policy| victim = policy.victim(newcomer, &mut HitCounters::view(counts, max)));
        victim
    }

    /// Shows the policy to `look`.
    #[cfg(feature = "serde")]
    pub(crate) fn show(&mut self, look: impl FnOnce(&dyn EvictionPolicy)) {
        self.call(|policy| look(policy));
    }

    /// What a snapshot is to keep of an entry.
    #[cfg(feature = "serde")]
    pub(crate) fn heat(&mut self, slot: Slot, counts: &dyn Counts) -> crate::policy::Heat {
        let (max, mut heat) = (self.max(), crate::policy::Heat::default());
        self.call(|policy| heat = policy.heat(slot, &HitCounters::view(counts, max)));
        heat
    }

    /// The entry in `slot`, just inserted, was this hot.
    #[cfg(feature = "serde")]
    pub(crate) fn warm(&mut self, slot: Slot, heat: crate::policy::Heat, counts: &dyn Counts) {
        let max = self.max();
        self.call(|policy| policy.warm(slot, heat, &mut HitCounters::view(counts, max)));
    }

    /// What the policy has learned of its load.
    #[cfg(feature = "serde")]
    pub(crate) fn learned(&mut self) -> u64 {
        let mut learned = 0;
        self.call(|policy| learned = policy.learned());
        learned
    }

    /// The policy is to go on with this.
    #[cfg(feature = "serde")]
    pub(crate) fn recall(&mut self, learned: u64) {
        self.call(|policy| policy.recall(learned));
    }

    /// Where an entry's counter stops.
    const fn max(&self) -> u8 {
        if let Hears::Counter(max) = self.hears { max } else { 0 }
    }

    /// Whether an entry is to leave even where there is room.
    #[inline]
    pub(crate) fn is_overfull(&mut self) -> bool {
        let mut overfull = false;
        self.call(|policy| overfull = policy.is_overfull());
        overfull
    }

    /// Starts afresh with these entries. A policy that panics even then gives way to LRU.
    pub(crate) fn mend<'a>(&mut self, residents: impl Iterator<Item = (Slot, Meta)> + Clone + 'a) {
        let make = Arc::clone(&self.make);
        if !self.restart(&*make, residents.clone()) {
            self.restart(&|| Box::new(Lru::new()), residents);
        }
    }

    fn restart(
        &mut self,
        make: &dyn Fn() -> Box<dyn EvictionPolicy>,
        residents: impl Iterator<Item = (Slot, Meta)>,
    ) -> bool {
        let share = self.share;
        let mut fresh = None;
        caught(|| {
            let mut policy = make();
            policy.resize(share);
            residents.for_each(|(slot, meta)| policy.insert(slot, &meta));
            let hears = policy.hears();
            let ears = Ears::of(&*policy, hears);
            fresh = Some((policy, hears, ears));
        });
        let Some((fresh, hears, ears)) = fresh else { return false };
        // The old one's destructor is as little to be trusted as the rest of it.
        let old = std::mem::replace(&mut self.policy, fresh);
        caught(|| drop(old));
        (self.hears, self.ears) = (hears, ears);
        self.broken = false;
        true
    }

    #[inline]
    fn call(&mut self, f: impl FnOnce(&mut dyn EvictionPolicy)) {
        if !self.broken {
            let policy = &mut *self.policy;
            self.broken = caught(|| f(policy));
            self.panics += u64::from(self.broken);
        }
    }

    #[cfg(test)]
    pub(crate) fn inner(&self) -> &dyn EvictionPolicy {
        &*self.policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Mutex;

    #[test]
    fn a_word_says_how_a_policy_hears() {
        use crate::policy::Fifo;

        let touch = crate::policy::Touch::new(|_| 0);
        let ears = |hears| Ears::from_word(Ears::of(&Fifo::new(), hears).word());
        let seen = |ears: Ears| (ears.counter(), ears.by_note(), ears.recency(), ears.misses());
        assert_eq!(seen(ears(Hears::Stamp(touch))), (0, true, false, false));
        assert!(ears(Hears::Stamp(touch)).stamps() && !ears(Hears::InOrder).stamps());
        assert!(!ears(Hears::Counter(255)).stamps() && !ears(Hears::Nothing).stamps());
        assert_eq!(seen(ears(Hears::Nothing)), (0, false, false, false));
        assert_eq!(seen(ears(Hears::Counter(255))), (255, false, false, false));
        assert_eq!(seen(ears(Hears::InOrder)), (0, true, false, false));
        assert_eq!(seen(ears(Hears::Recency)), (0, true, true, false));
        assert!(Ears::from_word(Ears::MISSES).misses());
    }

    /// Writes down what it is told, and panics at a miss of the hash 13.
    struct Scribe(Arc<Mutex<Vec<String>>>);

    impl Scribe {
        fn note(&self, what: &str, of: &dyn std::fmt::Debug) {
            self.0.lock().push(format!("{what} {of:?}"));
        }
    }

    impl EvictionPolicy for Scribe {
        fn hears(&self) -> Hears {
            Hears::Counter(3)
        }
        fn resize(&mut self, share: u64) {
            self.note("resize", &share);
        }
        fn insert(&mut self, slot: Slot, meta: &Meta) {
            self.note("insert", &(slot.index(), meta.hash));
        }
        fn update(&mut self, slot: Slot, meta: &Meta) {
            self.note("update", &(slot.index(), meta.hash));
        }
        fn relocate(&mut self, from: Slot, to: Slot, meta: &Meta) {
            self.note("relocate", &(from.index(), to.index(), meta.hash));
        }
        fn reschedule(&mut self, slot: Slot, meta: &Meta) {
            self.note("reschedule", &(slot.index(), meta.hash));
        }
        fn hit(&mut self, slot: Slot) {
            self.note("hit", &slot.index());
        }
        fn miss(&mut self, hash: u64) {
            self.note("miss", &hash);
            assert_ne!(hash, 13, "unlucky");
        }
        fn remove(&mut self, slot: Slot, cause: Cause) {
            self.note("remove", &(slot.index(), cause));
        }
        fn victim(&mut self, newcomer: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim {
            self.note("victim", &(newcomer.map(|meta| meta.hash), hits));
            Victim::Entry(Slot::new(5))
        }
        fn len(&self) -> usize {
            0
        }
        fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
            Box::new(std::iter::empty())
        }
        fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
            Box::new(std::iter::empty())
        }
    }

    struct NoCounts;

    impl Counts for NoCounts {
        fn get(&self, _: Slot) -> u8 {
            0
        }
        fn set(&self, _: Slot, _: u8) {}
    }

    #[test]
    fn a_policy_is_told_everything_until_it_panics() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let book = Arc::clone(&told);
        let mut guarded = Guarded::new(Arc::new(move || Box::new(Scribe(Arc::clone(&book)))), 9);
        let told = || std::mem::take(&mut *told.lock());
        assert_eq!(told(), ["resize 9"]);
        let [a, b] = [1, 2].map(Slot::new);
        let meta = Meta::new(7, 1, u64::MAX);
        guarded.resize(8);
        guarded.insert(a, &meta);
        guarded.reschedule(a, &meta);
        guarded.replace(a, b, &meta);
        guarded.hits([a, b].into_iter());
        guarded.miss(12);
        guarded.remove(b, Cause::Deleted);
        let said = [
            "resize 8",
            "insert (1, 7)",
            "reschedule (1, 7)",
            "relocate (1, 2, 7)",
            "update (2, 7)",
            "hit 1",
            "hit 2",
            "miss 12",
            "remove (2, Deleted)",
        ];
        assert_eq!(told(), said);
        assert_eq!(guarded.victim(Some(&meta), &NoCounts), Victim::Entry(Slot::new(5)));
        assert_eq!(told(), ["victim (Some(7), HitCounters { max: 3, .. })"]);
        assert_eq!((guarded.panics(), guarded.is_broken()), (0, false));

        std::panic::set_hook(Box::new(|_| {}));
        guarded.miss(13);
        drop(std::panic::take_hook());
        assert_eq!((guarded.panics(), guarded.is_broken()), (1, true));
        assert_eq!(told(), ["miss 13"]);
        guarded.resize(6);
        guarded.miss(12);
        assert_eq!(guarded.victim(None, &NoCounts), Victim::None);
        assert!(told().is_empty(), "what has panicked is told nothing");
        guarded.mend([(a, meta)].into_iter());
        assert_eq!(told(), ["resize 6", "insert (1, 7)"], "it starts with what there is");
        assert_eq!((guarded.panics(), guarded.is_broken()), (1, false));
        guarded.miss(12);
        assert_eq!(told(), ["miss 12"]);
    }
}
