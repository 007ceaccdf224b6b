//! Who leaves when the cache is full: the [`EvictionPolicy`] trait and the policies.
//!
//! A policy orders the entries of one segment. It knows an entry by its [`Slot`], its hash, its weight and its deadline,
//! never by its key or value, so one policy serves every `K` and `V` and runs no user code.
//!
//! | policy | gives up | hears of hits | a hit costs | source |
//! |---|---|---|---|---|
//! | [`Lru`] | the least recently used | in order, repeats left out | O(1), two list moves | Mattson et al. 1970 |
//! | [`Lfu`] | the least often used, ties to the least recent | in order | O(1), one bucket move | Shah, Mitra, Matani 2010 |
//! | [`Fifo`] | the oldest | not at all | nothing | |
//! | [`Sieve`] | the oldest not hit since the hand last passed it | by a counter | a byte set, if it was not | Zhang et al. 2024 |
//! | [`Clock`] | the oldest not hit since it came, or came round again | by a counter | a byte set, if it was not full | Corbató 1968 |
//! | [`S3Fifo`] | newcomers that are not hit twice soon; else as [`Clock`] | by a counter, up to 3 | a byte set, if it was not full | Yang et al. 2023 |
//! | [`Slru`] | the least recently used of those used once; those used again are protected, in four fifths of the room | in order | O(1), a list move, or two | Karedla, Love, Wherry 1994 |
//! | [`TwoQ`] | newcomers in their turn, unless they were here before; of those the least recently used | in order | O(1), a list move, or nothing while the entry is new | Johnson, Shasha 1994 |
//! | [`AdaptiveReplacement`] | the least recently used of those used once, or of those used again: it learns which | in order | O(1), a list move | Megiddo, Modha 2003 (ARC) |
//! | [`Lirs`] | what was long unused before its last use | in order | O(1), a list move, or two | Jiang, Zhang 2002 |
//! | [`WTinyLfu`] | who was asked for less often than the newcomer that comes out of its window | in order | O(1), two list moves | Einziger, Friedman, Manes 2017 |
//! | [`Adaptive`] | the same, in the best of four manners, found by models | by a counter | a counter raised, if it is below 3 | Einziger et al. 2018 |
//! | [`Random`] | any, by an even draw | not at all | nothing | |
//! | [`SampledLru`] | one that went unused for long | by a stamp | a clock reading; a store, if the second is another | Redis's `allkeys-lru` |
//! | [`SampledLfu`] | one that is used seldom | by a stamp | a clock reading; rarely a store | Redis's `allkeys-lfu` |
//! | [`SoonestDeadline`] | the nearest deadline | not at all | nothing | Redis's `volatile-ttl`, exactly |
//! | [`NoEviction`] | nothing: a write that does not fit is refused | not at all | nothing | Redis's `noeviction` |
//!
//! [`Volatile`] narrows any of them to the entries that have a deadline. [`RedisPolicy`] chooses one by its name in Redis.
//!
//! # Which policy for which data
//!
//! First, what may leave at all?
//!
//! - Nothing: [`NoEviction`]. A write that does not fit is refused, and its writer told.
//! - Only what has a deadline, because permanent keys live beside the cached ones: [`Volatile`] around whatever fits the others; or
//!   [`SoonestDeadline`], if what ends soonest is worth least. (With one time to live for all, that is [`Fifo`].)
//! - Anything, since everything can be loaded again: go on.
//!
//! Then, what makes an entry worth keeping?
//!
//! ```text
//!   known exactly, and it must be that ........ that it was used lately:  Lru        how often:  Lfu
//!   unknown, or a bit of all .................. S3Fifo
//!   what is popular stays so (web pages) ...... S3Fifo, Sieve
//!   scans and loops pass through:
//!       much else is asked for ................ S3Fifo, TwoQ
//!       loops longer than the cache ........... Lirs
//!   a burst, then never again ................. Lru, S3Fifo; never Lfu, which keeps what was popular once
//!   weights differ much ....................... S3Fifo, Lirs, or one of your own (see below)
//!   nothing repeats, or everything as likely .. Fifo, Random: they cost least
//! ```
//!
//! What that is based on: hits in percent of the requests, by `cargo run --release --example replay` over public traces, entries of
//! weight 1, one segment. In bold the best of a row.
//!
//! | what is asked for | trace, capacity | [`Lru`] | [`Lfu`] | [`Fifo`] | [`Sieve`] | [`Clock`] | [`S3Fifo`] | [`Slru`] | [`TwoQ`] | [ARC](AdaptiveReplacement) | [`Lirs`] | [`Random`] |
//! |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
//! | a database's pages: recency and scans | OLTP, 1,000 | 32.83 | 13.83 | 28.53 | 32.56 | 33.27 | **40.84** | 37.52 | 40.53 | 38.95 | 34.82 | 28.37 |
//! | database objects of a web shop: bursts | orm-busy, 4,096 | 84.56 | 52.14 | 83.56 | 84.11 | 84.34 | 85.63 | 84.76 | **85.99** | 84.72 | 83.82 | 83.28 |
//! | requests to a file server: recency | sprite, 600 | 83.19 | 31.13 | 78.50 | 77.78 | 83.17 | **83.32** | 82.38 | 82.67 | 82.08 | 81.00 | 75.79 |
//! | web pages: popularity | web07, 1,024 | 50.56 | 45.20 | 47.88 | 53.44 | 51.16 | **54.22** | 52.93 | 53.16 | 53.21 | 52.41 | 47.48 |
//! | recommendations: popularity | scarab-recs, 10,000 | 48.65 | 41.03 | 45.13 | 51.51 | 49.18 | **53.47** | 50.63 | 52.64 | 52.33 | 51.99 | 44.88 |
//! | a workstation's disk reads: long scans | P3, 50,000 | 6.86 | 15.90 | 7.40 | 15.90 | 7.15 | 24.59 | 16.04 | 20.34 | 22.22 | **25.25** | 12.05 |
//! | another's: scans and loops | P6, 65,536 | 17.76 | 21.39 | 21.00 | 21.39 | 19.80 | 40.68 | 26.36 | 35.07 | 31.68 | **51.08** | 32.38 |
//! | several programs, some of which loop | multi2, 1,137 | 48.02 | 50.75 | 39.35 | 50.75 | 48.17 | 49.83 | 50.75 | 49.13 | 50.80 | **60.32** | 42.72 |
//! | one loop, twice the capacity | loop, 512 | 0.00 | 0.00 | 0.00 | 0.00 | 0.00 | 0.00 | 0.00 | 0.00 | 0.00 | **50.05** | 20.90 |
//!
//! With weights, cloudPhysicsIO by bytes, 256 MiB: [`Lru`] 21.16, [`Fifo`] 21.59, [`Lfu`] and [`Sieve`] 23.57, [`TwoQ`] 26.48, ARC
//! 26.77, [`S3Fifo`] 27.45, [`Lirs`] 28.18.
//!
//! They differ in what a hit costs, too: see the first table. Replay a trace of your own before you decide.
//!
//! # Write your own
//!
//! 1. Implement [`EvictionPolicy`]: nine laws, and seven methods that have no default. [Its example](EvictionPolicy#example) is the
//!    smallest one there is.
//! 2. Read `examples/custom_policy.rs`: a real policy in seventy lines, for entries whose weights differ. It shows how to find an
//!    entry by its slot, how to keep an order in O(log n) without walking, what to do when an entry moves, and why `victim` changes
//!    nothing. `cargo run --release --example custom_policy --features test-kit` shows what it keeps.
//! 3. Ask for as little as you can: [`Hears::Nothing`] and [`Hears::Counter`] make a hit cheap, and `hears_misses` that says no
//!    lets a miss go without a lock.
//! 4. Hold it to the laws, in a test: [`laws::check`], with the feature `test-kit`.
//! 5. Compare it with the others on requests of yours, as `examples/replay` does.
#![cfg_attr(not(feature = "test-kit"), doc = "")]
#![cfg_attr(
    not(feature = "test-kit"),
    doc = "[`laws::check`]: https://docs.rs/cachette/latest/cachette/policy/laws/fn.check.html"
)]

use crate::observe::Cause;

pub use crate::engine::slab::Slot;

mod adaptive;
mod arc;
mod boxed;
mod clock;
mod fifo;
mod ghosts;
mod heat;
mod hits;
mod lazy;
mod lfu;
mod lirs;
pub(crate) mod list;
mod lru;
mod no_eviction;
mod queues;
mod random;
mod redis;
mod regions;
mod s3_fifo;
mod sampled;
mod sampled_lfu;
mod sampled_lru;
mod sieve;
pub(crate) mod sketch;
mod slru;
mod soonest;
mod two_q;
mod volatile;
mod w_tiny_lfu;

#[cfg(any(test, feature = "test-kit"))]
#[cfg_attr(docsrs, doc(cfg(feature = "test-kit")))]
pub mod laws;
#[cfg(test)]
mod lockstep;

pub use adaptive::Adaptive;
pub use arc::AdaptiveReplacement;
pub use clock::Clock;
pub use fifo::Fifo;
pub use heat::Heat;
pub(crate) use hits::Counts;
pub use hits::{HitCounters, Touch, Use};
pub use lfu::Lfu;
pub use lirs::Lirs;
pub use lru::Lru;
pub use no_eviction::NoEviction;
pub use random::Random;
pub use redis::RedisPolicy;
pub use s3_fifo::S3Fifo;
pub use sampled::Sampled;
pub use sampled_lfu::SampledLfu;
pub use sampled_lru::SampledLru;
pub use sieve::Sieve;
pub use slru::Slru;
pub use soonest::SoonestDeadline;
pub use two_q::TwoQ;
pub use volatile::Volatile;
pub use w_tiny_lfu::WTinyLfu;

/// How a policy hears of hits. The less it must hear, the cheaper a hit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hears {
    /// Not at all: FIFO, random.
    Nothing,
    /// By a counter that the engine keeps with the entry, stopping at this value, read when a victim is chosen
    /// ([`HitCounters`]): CLOCK, SIEVE, S3-FIFO. A hit on an entry whose counter is full writes nothing.
    Counter(u8),
    /// By a word that the engine keeps with the entry, and at each use replaces by what this function makes of it; read when a
    /// victim is chosen ([`HitCounters::stamp`]): sampled LRU and LFU. A write is a use. A use that leaves the word as it was
    /// writes nothing. Whatever else makes policies for the same cache must name the same function.
    Stamp(Touch),
    /// Each hit, in the order of hits, through [`EvictionPolicy::hit`]: exact LFU.
    InOrder,
    /// As [`InOrder`](Self::InOrder), but a hit on the entry that was used last already (inserted, updated or hit, and no other
    /// since) need not be told: exact LRU.
    Recency,
}

/// What a policy may know of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// The key's hash. Equal keys have equal hashes; the reverse does not hold.
    pub hash: u64,
    /// The entry's weight, at least 1: entries of weight 0 are never shown to a policy.
    pub weight: u64,
    /// When the entry expires, in nanoseconds on the cache's clock; `u64::MAX` is never.
    pub deadline: u64,
}

impl Meta {
    /// The facts of one entry.
    ///
    /// ```
    /// let meta = cachette::policy::Meta::new(0xfeed, 1, u64::MAX);
    /// assert_eq!(meta.weight, 1);
    /// ```
    #[must_use]
    pub const fn new(hash: u64, weight: u64, deadline: u64) -> Self {
        Self { hash, weight, deadline }
    }

    /// True if the entry never expires.
    ///
    /// ```
    /// use cachette::policy::Meta;
    ///
    /// assert!(Meta::new(0xfeed, 1, u64::MAX).is_permanent());
    /// ```
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.deadline == u64::MAX
    }
}

/// Some entries, in a policy's order: see [`EvictionPolicy::coldest_after`].
pub type Walk<'a> = Box<dyn Iterator<Item = Slot> + 'a>;

/// A policy's answer to "who leaves?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// This entry leaves.
    Entry(Slot),
    /// The newcomer is not worth what it would push out: its write is refused.
    Newcomer,
    /// Nothing in this segment may leave.
    None,
}

/// Decides who leaves a full segment.
///
/// The engine owns the entries; a policy owns an order over their slots. One policy serves one segment, always under that
/// segment's lock, so it needs no synchronisation of its own. It must not call any cache.
///
/// # Laws
///
/// The engine relies on them, and every policy here is tested against them. The policy promises:
///
/// 1. [`victim`](Self::victim) names an entry that was inserted and not yet removed. Naming it does not remove it. It answers
///    [`Victim::Newcomer`] only if there is a newcomer.
/// 2. `victim` asked again, with no other call and no counted hit between, answers the same.
/// 3. [`coldest`](Self::coldest) names every entry that may be given up, once, and [`hottest`](Self::hottest) the same ones in
///    reverse. An entry that may not ([`NoEviction`], [`SoonestDeadline`], [`Volatile`]) is in neither. `victim` answers [`Victim::None`] only if
///    both are empty.
/// 4. [`len`](Self::len) is the number of entries inserted and not yet removed, whether they may be given up or not.
/// 5. Work a call is bounded by a constant, amortised over the calls. (`coldest`, `hottest` and `assert_valid` may walk.)
///
/// The engine promises:
///
/// 6. Each [`insert`](Self::insert) is followed by exactly one [`remove`](Self::remove) of the same slot, whatever the reason
///    it leaves. Every other call that names a slot comes between the two.
/// 7. An entry of weight 0 is never inserted.
/// 8. An entry's hit counter is 0 when it is inserted. (Not so behind [`Volatile`]: an entry that gains a deadline brings its
///    hits along.)
///
/// And of an entry that moves:
///
/// 9. [`relocate`](Self::relocate) is called between an entry's `insert` and its `remove`, with a slot `to` that holds no entry,
///    and the entry's hit counter goes along. From then on `to` counts as inserted and `from` as removed. If its weight is
///    what it was, `to` stands in the order where `from` stood, and every other entry where it did. (The default body makes `to` a
///    newcomer instead: enough to begin with, but [the suite](self#write-your-own) rejects it.)
///
/// For snapshots, if the policy takes part in them:
///
/// 10. [`coldest_after`](Self::coldest_after) is `coldest` from behind any entry that it names.
///
/// A policy that panics is replaced by a fresh one, which is shown the resident entries again; the panic is counted in
/// the statistics and goes no further.
///
/// # Example
///
/// First in, first out, with a queue of its own. (To hold law 5 it would need a list that `remove` need not walk, as
/// [`Fifo`] has; to hold law 9, a `relocate`. [How to go on from here](self#write-your-own).)
///
/// ```
/// use cachette::{Cache, Cause};
/// use cachette::policy::{EvictionPolicy, Hears, HitCounters, Meta, Slot, Victim};
/// use std::collections::VecDeque;
///
/// #[derive(Default)]
/// struct Queue(VecDeque<Slot>);
///
/// impl EvictionPolicy for Queue {
///     fn hears(&self) -> Hears {
///         Hears::Nothing
///     }
///     fn insert(&mut self, slot: Slot, _: &Meta) {
///         self.0.push_back(slot);
///     }
///     fn remove(&mut self, slot: Slot, _: Cause) {
///         self.0.retain(|&s| s != slot);
///     }
///     fn victim(&mut self, _: Option<&Meta>, _: &mut HitCounters) -> Victim {
///         self.0.front().map_or(Victim::None, |&slot| Victim::Entry(slot))
///     }
///     fn len(&self) -> usize {
///         self.0.len()
///     }
///     fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
///         Box::new(self.0.iter().copied())
///     }
///     fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
///         Box::new(self.0.iter().rev().copied())
///     }
/// }
///
/// let cache = Cache::<u32, u32>::builder().capacity(2).policy(Queue::default).build()?;
/// cache.put(1, 1);
/// cache.put(2, 2);
/// cache.put(3, 3);
/// assert_eq!(cache.get(&1), None);
/// # Ok::<(), cachette::BuildError>(())
/// ```
pub trait EvictionPolicy: Send {
    /// How this policy wants to hear of hits. Asked once, when the policy is made.
    fn hears(&self) -> Hears;

    /// The segment's share of the capacity is now `share` (a weight). Called once before anything else, and whenever
    /// the cache's capacity changes.
    fn resize(&mut self, share: u64) {
        let _ = share;
    }

    /// An entry was published in `slot`.
    fn insert(&mut self, slot: Slot, meta: &Meta);

    /// The entry in `slot` was given a new value. A write is a use: LRU and LFU count it as a hit; FIFO does not. The weight is
    /// what the policy was last told of this slot: a new one comes with [`relocate`](Self::relocate), just before.
    fn update(&mut self, slot: Slot, meta: &Meta) {
        let _ = (slot, meta);
    }

    /// The entry in `from` has a new value, which is in `to`: `to` takes its place in the order, `from` leaves it. Not a use:
    /// the engine calls [`update`](Self::update) of `to` next, with the same `meta`. `from` may be inserted again.
    ///
    /// By default `from` is removed, as [`Cause::Replaced`], and `to` inserted. A policy whose order remembers more than the
    /// last use does better to keep what it knows of the entry.
    ///
    /// ```
    /// use cachette::policy::{EvictionPolicy, Fifo, HitCounters, Meta, Slot, Victim};
    ///
    /// let meta = Meta::new(0, 1, u64::MAX);
    /// let [old, other, new] = [0, 1, 2].map(Slot::new);
    /// let mut fifo = Fifo::new();
    /// fifo.insert(old, &meta);
    /// fifo.insert(other, &meta);
    /// fifo.relocate(old, new, &meta);
    /// fifo.update(new, &meta);
    /// assert_eq!(fifo.victim(None, &mut HitCounters::new(0)), Victim::Entry(new)); // still the oldest
    /// ```
    fn relocate(&mut self, from: Slot, to: Slot, meta: &Meta) {
        self.remove(from, Cause::Replaced);
        self.insert(to, meta);
    }

    /// The entry in `slot` was given a new deadline, its value unchanged.
    fn reschedule(&mut self, slot: Slot, meta: &Meta) {
        let _ = (slot, meta);
    }

    /// The entry in `slot` was read. Called only for [`Hears::InOrder`] and [`Hears::Recency`].
    fn hit(&mut self, slot: Slot) {
        let _ = slot;
    }

    /// Whether [`miss`](Self::miss) does anything. Asked once. A read that finds nothing takes no lock if this says no; it is
    /// yes unless a policy says otherwise, so that none which listens is deaf.
    fn hears_misses(&self) -> bool {
        true
    }

    /// A read found nothing under `hash`: for ghosts and sketches. Not told if the segment is being written to at that moment.
    fn miss(&mut self, hash: u64) {
        let _ = hash;
    }

    /// The entry in `slot` has left, for this reason. The slot may be inserted again.
    fn remove(&mut self, slot: Slot, cause: Cause);

    /// Who must leave, so that `newcomer` (or a value that grew, then `None`) fits? The engine then removes the named
    /// entry, and asks again if that was not enough.
    fn victim(&mut self, newcomer: Option<&Meta>, hits: &mut HitCounters<'_>) -> Victim;

    /// Whether an entry is to leave even where there is room, because a queue of the policy's own is over its bound. Asked at
    /// the end of every write: as long as this says yes, the engine evicts one [victim](Self::victim) after another, 64
    /// before it unlocks the segment for others. By default no.
    fn is_overfull(&self) -> bool {
        false
    }

    /// How many entries the policy holds.
    fn len(&self) -> usize;

    /// True if the policy holds no entry.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries from the next victim on, as far as is known: hits that a counter holds may yet change the order.
    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_>;

    /// The entries from the one that would leave last.
    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_>;

    /// The order of [`coldest`](Self::coldest) from the entry behind `after` on, or all of it, found in O(1) and walked in O(1) a
    /// step: a snapshot asks for 64 at a time, between which others write. `None`, as by default, says that this policy cannot: its
    /// entries are saved in no order.
    fn coldest_after(&self, after: Option<Slot>) -> Option<Walk<'_>> {
        let _ = after;
        None
    }

    /// What a snapshot is to keep of an entry beside its place. By default what its counter holds. O(1).
    fn heat(&self, slot: Slot, hits: &HitCounters<'_>) -> Heat {
        Heat::new(hits.get(slot).into(), false)
    }

    /// The entry in `slot`, which was just inserted, comes out of a snapshot, and was this hot. Colder ones came before it, as a rule.
    /// By default so many hits are counted. O(1).
    fn warm(&mut self, slot: Slot, heat: Heat, hits: &mut HitCounters<'_>) {
        (0..heat.uses.min(u8::MAX.into())).for_each(|_| hits.record(slot));
    }

    /// What the policy has learned of its load as a whole, for a snapshot: a word of its own making that no other policy takes for one
    /// of its. 0, as by default, is nothing. O(1).
    fn learned(&self) -> u64 {
        0
    }

    /// The policy is to go on with what was [`learned`](Self::learned): it has all the entries of a snapshot. A word that it has not made
    /// changes nothing. O(1).
    fn recall(&mut self, learned: u64) {
        let _ = learned;
    }

    /// Checks every invariant of the policy's own structure.
    ///
    /// # Panics
    ///
    /// With the name of the invariant that does not hold. For tests; O(n) or worse.
    fn assert_valid(&self) {}
}
