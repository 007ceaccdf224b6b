//! Soonest deadline first.
//!
//! **Problem.** Whoever sets deadlines knows how long an entry is worth keeping: give up the one that would go next anyway.
//!
//! **Idea.** A priority queue by deadline. Entries also leave from its middle, and deadlines move, so each entry must be found
//! in it at once: beside the heap, `place` says where in the heap each slot stands. A heap whose nodes have four children is
//! half as deep as one with two, and the four stand side by side in memory.
//!
//! ```text
//!    heap    0      1   2   3   4      5 ..              place    slot 7 at 0
//!            7:12   3:20 1:15 4:90 2:31    9:25                   slot 3 at 1 ...
//!            │      └─── children of 0 ───┘  └ child of 1
//!            └─► victim: nobody above it, so nobody's deadline is nearer
//!
//!    permanent entries have no place: they are counted, and nothing else
//! ```
//!
//! **Good at** data whose value ends at a known time, such as sessions and offers; a hit costs nothing. **Bad at** everything
//! else: it does not ask whether an entry is used. If all have the same time to live, it is first in, first out.
//!
//! **Invariants**
//!
//! 1. `heap` holds every resident with a deadline once, at the place that `place` names; no other slot has a place.
//! 2. Nobody in the heap comes before their parent: by deadline, and among equals by who came into the heap first.
//! 3. `len` is the number of residents, permanent ones included.
//!
//! | operation | cost |
//! |---|---|
//! | `insert`, `remove`, `update`, `reschedule`, `relocate` | O(log n) of those with a deadline: at most 4 comparisons a level |
//! | the same, of permanent entries | O(1) |
//! | `victim` | O(1) |
//! | a hit | nothing |
//! | memory | 4 bytes an entry, and 24 one with a deadline |
//!
//! Who reads may push back an idle deadline ([`time_to_idle`](crate::Builder::time_to_idle)), and no policy hears of that: the
//! queue goes by what it was when the entry was last written.
//!
//! **Sources.** Redis's `maxmemory-policy volatile-ttl`, which takes the nearest of a few samples; this is exact. The heap:
//! Williams, *Algorithm 232: Heapsort*, Communications of the ACM 7(6), 1964; with more children: Johnson, *Priority queues with
//! update and finding minimum spanning trees*, Information Processing Letters 4(3), 1975.
//!
//! **Trace.** Worked by hand; the test replays it from this very text. It shows the heap, its places from left to right, and
//! behind the bar how many are permanent. A number is a deadline.
//!
//! ```text
//!    call                 heap / permanent
//!    insert A at 50     │ A / 0
//!    insert B at 30     │ B A / 0          ◄ B is sooner than its parent A: they change places
//!    insert C           │ B A / 1          ◄ permanent
//!    insert D at 50     │ B A D / 1
//!    insert E at 10     │ E A D B / 1      ◄ past B, the parent of all others
//!    insert F at 20     │ E A D B F / 1
//!    insert G at 5      │ G E D B F A / 1  ◄ place 5 is a child of 1, which is a child of 0: two steps up
//!    victim G           │ G E D B F A / 1
//!    remove G           │ E A D B F / 1    ◄ the last, A, fills the gap, and goes down past the least child, E
//!    reschedule E at 60 │ F A D B E / 1    ◄ the least of four children comes up
//!    hit F              │ F A D B E / 1
//!    update F at 40     │ B A D F E / 1
//!    relocate A H at 50 │ B H D F E / 1    ◄ a new value, in another slot: same place
//!    reschedule C at 50 │ B H D F E C / 0  ◄ ties are in order: C came into the heap after H
//!    reschedule B       │ F H D C E / 1    ◄ persist: the last, C, fills the gap, and goes down
//!    remove F           │ H E D C / 1      ◄ H and D both have 50: H is the older
//!    victim H           │ H E D C / 1
//!    remove B           │ H E D C / 0
//! ```

use super::{EvictionPolicy, Hears, HitCounters, Meta, Slot, Victim};
use crate::engine::column::Column;
use crate::observe::Cause;
use std::fmt;

/// A place in `SoonestDeadline::heap`, which is indexed as every column is.
type Place = Slot;

/// Children a node.
const ARITY: usize = 4;

/// An entry in the heap.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    deadline: u64,
    /// When it came into the heap: no two have the same.
    turn: u64,
    slot: Slot,
}

/// Gives up the entry with the nearest deadline; permanent ones never. Redis's `volatile-ttl`, exactly.
///
/// Of entries with the same deadline the one that got it first leaves first. Where only permanent entries are left, a write that
/// does not fit is refused, as under [`NoEviction`](super::NoEviction).
///
/// A write of an entry with a deadline costs O(log n), a hit nothing, and an entry 28 bytes, a permanent one 4. A deadline that
/// reads push back ([`time_to_idle`](crate::Builder::time_to_idle)) counts as it was at the last write.
///
/// ```
/// use cachette::{Cache, policy::SoonestDeadline};
/// use std::time::Duration;
///
/// let minutes = |n: u64| Duration::from_secs(60 * n);
/// let cache = Cache::<&str, u32>::builder().capacity(3).policy(SoonestDeadline::new).build()?;
/// cache.put("config", 1);
/// cache.put_with_ttl("session", 2, minutes(30));
/// cache.put_with_ttl("offer", 3, minutes(5));
/// cache.put_with_ttl("another session", 4, minutes(30));
/// assert!(!cache.contains_key("offer"), "it would have gone next anyway");
/// cache.put("more config", 5);
/// assert!(!cache.contains_key("session"), "as near as the other, but older");
/// # Ok::<(), cachette::BuildError>(())
/// ```
#[doc(alias = "volatile-ttl")]
pub struct SoonestDeadline {
    heap: Column<Item>,
    /// Where each resident with a deadline stands in `heap`; none for who has no deadline.
    place: Column<Place>,
    /// The next one's turn.
    turn: u64,
    len: usize,
}

impl SoonestDeadline {
    /// A policy with no entries. Allocates nothing. O(1).
    #[must_use]
    pub const fn new() -> Self {
        Self { heap: Column::new(), place: Column::new(), turn: 0, len: 0 }
    }

    fn place_of(&self, slot: Slot) -> Option<Place> {
        self.place.get(slot.index()).and_then(|place| place.some())
    }

    fn set_place(&mut self, slot: Slot, place: Place) {
        self.place.reach(slot.index(), Place::NONE);
        self.place[slot] = place;
    }

    fn put(&mut self, at: Place, item: Item) {
        self.heap[at] = item;
        self.place[item.slot] = at;
    }

    /// The entry in `slot` has this deadline from now on, if any.
    fn schedule(&mut self, slot: Slot, deadline: u64) {
        match self.place_of(slot) {
            None if deadline == u64::MAX => {}
            None => {
                let at = Place::new(self.heap.len());
                let item = Item { deadline, turn: self.turn, slot };
                self.turn += 1;
                self.heap.push(item);
                self.set_place(slot, at);
                self.up(at, item);
            }
            Some(at) if deadline == u64::MAX => self.leave(at),
            Some(at) => self.settle(at, Item { deadline, ..self.heap[at] }),
        }
    }

    /// Takes out who stands at a place. The last one fills the gap.
    fn leave(&mut self, at: Place) {
        let slot = self.heap[at].slot;
        self.place[slot] = Place::NONE;
        if let Some(last) = self.heap.pop().filter(|last| last.slot != slot) {
            self.settle(at, last);
        }
    }

    /// Puts `item` to a place, and then where it belongs.
    fn settle(&mut self, at: Place, item: Item) {
        let at = self.up(at, item);
        self.down(at, item);
    }

    /// Lets those above who come after `item` down, from place `at` on, and puts `item` above them.
    fn up(&mut self, mut at: Place, item: Item) -> Place {
        while let Some(above) = at.index().checked_sub(1) {
            let parent = Place::new(above / ARITY);
            if self.heap[parent] < item {
                break;
            }
            self.put(at, self.heap[parent]);
            at = parent;
        }
        self.put(at, item);
        at
    }

    /// Lets those below who come before `item` up, from place `at` on, and puts `item` below them.
    fn down(&mut self, mut at: Place, item: Item) {
        while let Some(child) = self.least_child(at).filter(|&child| self.heap[child] < item) {
            self.put(at, self.heap[child]);
            at = child;
        }
        self.put(at, item);
    }

    fn least_child(&self, at: Place) -> Option<Place> {
        let first = at.index() * ARITY + 1;
        let children = first..(first + ARITY).min(self.heap.len());
        children.map(Place::new).min_by_key(|&child| self.heap[child])
    }

    fn items(&self) -> impl Iterator<Item = Item> + '_ {
        (0..self.heap.len()).map(|place| self.heap[Place::new(place)])
    }

    fn sorted(&self) -> impl DoubleEndedIterator<Item = Slot> {
        let mut items: Vec<_> = self.items().collect();
        items.sort_unstable();
        items.into_iter().map(|item| item.slot)
    }
}

impl EvictionPolicy for SoonestDeadline {
    fn hears(&self) -> Hears {
        Hears::Nothing
    }

    fn hears_misses(&self) -> bool {
        false
    }

    fn insert(&mut self, slot: Slot, meta: &Meta) {
        self.len += 1;
        self.schedule(slot, meta.deadline);
    }

    fn update(&mut self, slot: Slot, meta: &Meta) {
        self.schedule(slot, meta.deadline);
    }

    /// Its new deadline is told by `update`, which comes next.
    fn relocate(&mut self, from: Slot, to: Slot, _: &Meta) {
        if let Some(at) = self.place_of(from) {
            self.place[from] = Place::NONE;
            self.heap[at].slot = to;
            self.set_place(to, at);
        }
    }

    fn reschedule(&mut self, slot: Slot, meta: &Meta) {
        self.schedule(slot, meta.deadline);
    }

    fn remove(&mut self, slot: Slot, _: Cause) {
        self.len -= 1;
        if let Some(at) = self.place_of(slot) {
            self.leave(at);
        }
    }

    fn victim(&mut self, _: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
        self.heap.get(0).map_or(Victim::None, |item| Victim::Entry(item.slot))
    }

    fn len(&self) -> usize {
        self.len
    }

    /// Sorts a copy of the heap: O(n log n).
    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.sorted())
    }

    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(self.sorted().rev())
    }

    fn assert_valid(&self) {
        for at in (0..self.heap.len()).map(Place::new) {
            let item = self.heap[at];
            assert_eq!(self.place_of(item.slot), Some(at), "1: an entry stands at its place");
            assert_ne!(item.deadline, u64::MAX, "1: nobody permanent is in the heap");
            let parent = at.index().checked_sub(1).map(|above| Place::new(above / ARITY));
            let sooner = parent.is_some_and(|parent| item < self.heap[parent]);
            assert!(!sooner, "2: nobody comes before their parent");
        }
        let places = (0..self.place.len()).filter(|&slot| self.place_of(Slot::new(slot)).is_some());
        assert_eq!(places.count(), self.heap.len(), "1: no other slot has a place");
        assert!(self.heap.len() <= self.len, "3: permanent residents are counted too");
    }
}

impl Default for SoonestDeadline {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SoonestDeadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoonestDeadline").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::{CALM, Segment};
    use super::super::lockstep::{complaint, letters, operations, random, replay};
    use super::*;

    const fn due(deadline: u64) -> Meta {
        Meta::new(0, 1, deadline)
    }

    #[test]
    fn the_trace_above() {
        replay(include_str!("soonest.rs"), SoonestDeadline::new(), |soonest| {
            let permanent = soonest.len() - soonest.heap.len();
            format!("{} / {permanent}", letters(soonest.items().map(|item| item.slot)))
        });
    }

    /// Beside a plain table: the least deadline leaves, and among equals who has had one the longest.
    #[test]
    fn lockstep_with_a_table() {
        let mut random = random();
        let mut segment = Segment::new(SoonestDeadline::new());
        // Slot, deadline, and since when it has had one.
        let mut table: Vec<(Slot, u64, u64)> = Vec::new();
        for now in 1..=operations() {
            let pick = random(table.len().max(1));
            // Few deadlines, so that many are equal; and sometimes all of them far.
            let deadline = if random(4) == 0 { u64::MAX } else { random(40) as u64 + now / 5_000 };
            let meta = due(deadline);
            let change = |row: &mut (Slot, u64, u64)| {
                row.2 = if row.1 == u64::MAX { now } else { row.2 };
                row.1 = deadline;
            };
            match random(10) {
                0..4 if table.len() < 150 => {
                    table.push((segment.insert(&meta), deadline, now));
                }
                0..5 => {
                    if let Victim::Entry(slot) = segment.victim(Some(&meta)) {
                        segment.remove(slot, Cause::Evicted);
                        table.retain(|row| row.0 != slot);
                    }
                }
                5 if !table.is_empty() => {
                    segment.remove(table.swap_remove(pick).0, Cause::Deleted);
                }
                6 if !table.is_empty() => {
                    table[pick].0 = segment.relocate(table[pick].0, &meta);
                    segment.update(table[pick].0, &meta);
                    change(&mut table[pick]);
                }
                7 if !table.is_empty() => {
                    segment.update(table[pick].0, &meta);
                    change(&mut table[pick]);
                }
                8 if !table.is_empty() => {
                    segment.reschedule(table[pick].0, &meta);
                    change(&mut table[pick]);
                }
                _ if !table.is_empty() => segment.hit(table[pick].0),
                _ => {}
            }
            let mortal = || table.iter().filter(|row| row.1 != u64::MAX);
            let soonest = mortal().min_by_key(|row| (row.1, row.2));
            let expected = soonest.map_or(Victim::None, |row| Victim::Entry(row.0));
            assert_eq!(segment.victim(None), expected, "operation {now}");
            if now % 1_000 == 0 {
                let mut order: Vec<_> = mortal().map(|row| (row.1, row.2, row.0)).collect();
                order.sort_unstable();
                assert!(segment.policy.coldest().eq(order.iter().map(|row| row.2)), "{now}");
                segment.check(|meta| !meta.is_permanent());
            }
        }
    }

    #[test]
    fn the_heap_is_as_deep_as_its_arity_allows() {
        let mut soonest = SoonestDeadline::new();
        for index in 0..1 + 4 + 16 + 64 {
            soonest.insert(Slot::new(index), &due(100));
        }
        // Each is sooner than all before it: it goes all the way up, past one a level.
        let items =
            |soonest: &SoonestDeadline| soonest.items().map(|it| it.slot).collect::<Vec<_>>();
        let before = items(&soonest);
        soonest.reschedule(Slot::new(84), &due(1));
        let after = items(&soonest);
        let moved = before.iter().zip(&after).filter(|(was, is)| was != is).count();
        assert_eq!(moved, 4, "itself, and three on the way");
        soonest.assert_valid();
    }

    #[test]
    fn damage_is_seen() {
        let three = |soonest: &mut SoonestDeadline| {
            for index in 0..3 {
                soonest.reschedule(Slot::new(index), &due(index as u64));
            }
        };
        let says = |damage: fn(&mut SoonestDeadline), what: &str| {
            let told = complaint(SoonestDeadline::new(), |soonest| {
                three(soonest);
                soonest.assert_valid();
                damage(soonest);
            });
            assert!(told.contains(what), "{told}");
        };
        says(|it| it.place[Slot::new(1)] = Place::new(2), "1: an entry stands at its place");
        says(|it| it.heap[Place::new(2)].deadline = u64::MAX, "1: nobody permanent");
        says(|it| it.heap[Place::new(0)].deadline = 9, "2: nobody comes before their parent");
        says(|it| it.set_place(Slot::new(7), Place::new(1)), "1: no other slot has a place");
        says(|it| it.len = 2, "3: permanent residents are counted too");
    }

    #[test]
    fn a_turn_is_taken_once() {
        let mut soonest = SoonestDeadline::new();
        let [a, b] = [0, 1].map(Slot::new);
        soonest.insert(a, &due(5));
        soonest.insert(b, &due(5));
        soonest.reschedule(a, &due(6));
        soonest.reschedule(a, &due(5));
        assert!(soonest.coldest().eq([a, b]), "its turn is still the first");
        soonest.reschedule(a, &CALM);
        soonest.reschedule(a, &due(5));
        assert!(soonest.hottest().eq([a, b]), "who persists and comes back has a new turn");
    }

    #[test]
    fn debug_is_short() {
        assert_eq!(format!("{:?}", SoonestDeadline::default()), "SoonestDeadline { len: 0 }");
    }
}
