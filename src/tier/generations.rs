//! Tags and namespaces that are deleted at once: every value names the generation that its tags had, and is good as long as they
//! have it still.
//!
//! **Problem.** Nobody knows all the values of a tag, and clocks differ between machines. So each tag has a number in the remote, drawn at
//! random; to delete its values is to draw another. What was loaded before the tag was deleted must not be taken for a value
//! after it, though it is only after the load that its tags are known.
//!
//! ```text
//!   read a value:   its (tag, number) pairs are those in force now?     else it is none
//!   load a value:   its tags' numbers were known when the load began,
//!                   and have not changed since?                         else it is not kept
//!   a hit in L1:    the cell still has the number?                      else it is none
//! ```
//!
//! **Invariants**
//!
//! 1. A cell's number was in force at `since`, and no change has been heard of after; 0 is not known.
//! 2. What was asked for before a change is never noted after it.
//!
//! When a number was asked for, when a load began, when a change was told: these are put in order by a count of moments. By the clock two of them
//! may be at the same time.

use crate::sync::{Arc, AtomicU64, Mutex, Ordering};
use std::collections::HashMap;

/// More tags than these are not known at once: the others are forgotten.
const MOST: usize = 65_536;

/// What is known of a tag. All entries in L1 that have it look at the same one.
#[derive(Debug, Default)]
pub(super) struct Cell {
    /// Its number; 0 if that is not known.
    number: AtomicU64,
    state: Mutex<CellState>,
}

#[derive(Debug, Default)]
struct CellState {
    /// The moment at which the number was asked for.
    since: u64,
    /// A number that this process put there last, and from which moment on it is good: from the beginning, where there was none before.
    created: (u64, u64),
    /// A number may have been there before this moment, and be lost.
    floor: u64,
    /// Counts what it has been told of.
    changes: u64,
}

/// A question under way: which cell, and what that had been told of when it was asked.
pub(super) struct Question {
    pub(super) cell: Arc<Cell>,
    changes: u64,
    asked: u64,
}

impl Cell {
    #[inline]
    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// The number, if it was in force from that moment on to now.
    pub(super) fn number_since(&self, moment: u64) -> Option<u64> {
        let state = self.state.lock();
        Some(self.number()).filter(|&number| number != 0 && state.since <= moment)
    }

    pub(super) fn ask(self: &Arc<Self>, moment: u64) -> Question {
        let changes = self.state.lock().changes;
        Question { cell: Arc::clone(self), changes, asked: moment }
    }

    fn change(&self, number: u64, moment: u64) {
        let mut state = self.state.lock();
        state.changes += 1;
        state.since = moment;
        self.number.store(number, Ordering::Release);
    }
}

impl Question {
    /// The number that was in force at some moment since it was asked for.
    pub(super) fn answer(&self, number: u64) {
        let mut state = self.cell.state.lock();
        if state.changes != self.changes {
            return;
        }
        // An older answer to the same says the same; the earlier it is known from, the better.
        if number == state.created.0 {
            state.since = state.created.1;
        } else if self.cell.number() != number {
            state.since = self.asked;
        }
        self.cell.number.store(number, Ordering::Release);
    }

    /// There was no number, and this one was put there: as long as it is there, no value of the tag has been deleted since one may have been
    /// lost. Where that is told of as a change before the answer comes, the next question finds the same number.
    pub(super) fn answer_new(&self, number: u64) {
        let mut state = self.cell.state.lock();
        state.created = (number, state.floor);
        drop(state);
        self.answer(number);
    }

    /// This process has put another number there, which is good from this moment on. Another process may have done so after: if a change was
    /// told of since it was asked for, be it one's own, the number is to be asked for.
    pub(super) fn renewed(&self, number: u64, moment: u64) {
        let mut state = self.cell.state.lock();
        let alone = state.changes == self.changes;
        (state.created, state.floor) = ((number, moment), moment);
        state.changes += 1;
        state.since = moment;
        self.cell.number.store(if alone { number } else { 0 }, Ordering::Release);
    }
}

/// A value's tag with the number that it had.
#[derive(Clone, Debug)]
pub(super) struct Stamp {
    pub(super) tag: Arc<str>,
    pub(super) cell: Arc<Cell>,
    pub(super) number: u64,
}

impl Stamp {
    /// True if that is its number still.
    #[inline]
    pub(super) fn is_good(&self) -> bool {
        self.cell.number() == self.number
    }
}

/// The tags that are known.
#[derive(Default)]
pub(super) struct Generations {
    /// The namespace, whose values are all.
    pub(super) all: Arc<Cell>,
    cells: Mutex<HashMap<Arc<str>, Arc<Cell>, ahash::RandomState>>,
    moments: AtomicU64,
    /// Of tags that are not known: a number may have been there before this moment.
    floor: AtomicU64,
}

impl Generations {
    /// Now: after all moments that were asked for before.
    pub(super) fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::AcqRel) + 1
    }

    pub(super) fn cell(&self, tag: &str) -> (Arc<str>, Arc<Cell>) {
        let mut cells = self.cells.lock();
        if let Some((tag, cell)) = cells.get_key_value(tag) {
            return (Arc::clone(tag), Arc::clone(cell));
        }
        if cells.len() >= MOST {
            // Entries look at cells that nobody tells any more: they are none.
            for (_, cell) in cells.drain() {
                cell.change(0, 0);
            }
            self.floor.store(self.moment(), Ordering::Release);
        }
        let (tag, cell): (Arc<str>, Arc<Cell>) = (tag.into(), Arc::default());
        cell.state.lock().floor = self.floor.load(Ordering::Acquire);
        cells.insert(Arc::clone(&tag), Arc::clone(&cell));
        (tag, cell)
    }

    /// A tag has another number: this one, or one that is not known.
    pub(super) fn change(&self, tag: &str, number: u64) {
        let cell = self.cells.lock().get(tag).cloned();
        if let Some(cell) = cell {
            cell.change(number, self.moment());
        }
    }

    /// Gives up what has a tag: whatever its number is said to be, what has it now is no good.
    pub(super) fn give_up(&self, tag: &str) {
        let mut cells = self.cells.lock();
        let cell = cells.remove(tag);
        let moment = self.moment();
        self.floor.store(moment, Ordering::Release);
        drop(cells);
        if let Some(cell) = cell {
            cell.change(0, moment);
        }
    }

    pub(super) fn change_all(&self, number: u64) {
        self.all.change(number, self.moment());
    }

    /// Some of the tags whose numbers were known once, and are not now.
    pub(super) fn unknown(&self, most: usize) -> Vec<Arc<str>> {
        let cells = self.cells.lock();
        let unknown = cells.iter().filter(|(_, cell)| cell.number() == 0);
        unknown.take(most).map(|(tag, _)| Arc::clone(tag)).collect()
    }

    /// Nothing is known any more.
    pub(super) fn forget(&self) {
        self.all.change(0, 0);
        let cells = self.cells.lock();
        let moment = self.moment();
        self.floor.store(moment, Ordering::Release);
        for cell in cells.values() {
            cell.change(0, 0);
            cell.state.lock().floor = moment;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_known_from_when_it_was_asked_for() {
        let generations = Generations::default();
        let (_, cell) = generations.cell("red");
        assert_eq!(cell.number(), 0);
        cell.ask(10).answer(7);
        assert_eq!((cell.number_since(9), cell.number_since(10)), (None, Some(7)));
        cell.ask(20).answer(7);
        assert_eq!(cell.number_since(10), Some(7), "it was in force all the time");
        cell.ask(30).answer(8);
        assert_eq!((cell.number_since(29), cell.number_since(30)), (None, Some(8)));
    }

    #[test]
    fn t23_an_answer_from_before_a_change_is_not_noted() {
        let generations = Generations::default();
        let (tag, cell) = generations.cell("red");
        let question = cell.ask(10);
        generations.change("red", 0);
        question.answer(7);
        assert_eq!(cell.number(), 0);
        cell.ask(12).answer(8);
        let stamp = Stamp { tag, cell: Arc::clone(&cell), number: 8 };
        assert!(stamp.is_good());
        generations.forget();
        assert!(!stamp.is_good());
    }

    #[test]
    fn t23_a_new_number_is_known_for_ever_though_it_is_told_of_as_a_change() {
        let generations = Generations::default();
        let (_, cell) = generations.cell("red");
        let question = cell.ask(10);
        generations.change("red", 0);
        question.answer_new(7);
        assert_eq!(cell.number(), 0);
        cell.ask(20).answer(7);
        assert_eq!(cell.number_since(0), Some(7));
        generations.change("red", 0);
        cell.ask(30).answer(8);
        assert_eq!((cell.number_since(29), cell.number_since(30)), (None, Some(8)));
    }

    #[test]
    fn a_renewal_that_another_may_have_overtaken_is_not_believed() {
        let generations = Generations::default();
        let (_, cell) = generations.cell("red");
        cell.ask(1).renewed(7, 2);
        assert_eq!((cell.number_since(1), cell.number_since(2)), (None, Some(7)));
        let (late, renewal) = (cell.ask(3), cell.ask(3));
        generations.change("red", 0);
        renewal.renewed(8, 4);
        late.answer(7);
        assert_eq!(cell.number(), 0);
        cell.ask(5).answer(8);
        assert_eq!(cell.number_since(4), Some(8), "it was one's own that was told of");
        generations.change("red", 0);
        cell.ask(7).answer(9);
        assert_eq!((cell.number_since(6), cell.number_since(7)), (None, Some(9)));
    }

    #[test]
    fn a_number_that_was_lost_is_not_taken_for_one_that_never_was() {
        let lose: [fn(&Generations); 3] = [
            |generations| generations.give_up("red"),
            Generations::forget,
            |generations| generations.cell("red").1.ask(0).renewed(5, generations.moment()),
        ];
        for lose in lose {
            let generations = Generations::default();
            generations.cell("red");
            let before = generations.moment();
            lose(&generations);
            let after = generations.moment();
            let (_, cell) = generations.cell("red");
            cell.ask(generations.moment()).answer_new(8);
            assert_eq!((cell.number_since(before), cell.number_since(after)), (None, Some(8)));
        }
    }

    #[test]
    fn what_was_given_up_stays_so_whatever_the_number() {
        let generations = Generations::default();
        let (tag, cell) = generations.cell("red");
        cell.ask(10).answer(7);
        let stamp = Stamp { tag, cell, number: 7 };
        let late = stamp.cell.ask(11);
        generations.give_up("red");
        late.answer(7);
        let (_, cell) = generations.cell("red");
        cell.ask(12).answer(7);
        assert!(!stamp.is_good() && cell.number() == 7);
    }

    #[test]
    fn one_tag_has_one_cell() {
        let generations = Generations::default();
        let (_, cell) = generations.cell("red");
        assert!(Arc::ptr_eq(&cell, &generations.cell("red").1));
        assert!(!Arc::ptr_eq(&cell, &generations.cell("blue").1));
        let before = generations.moment();
        generations.change("red", 9);
        assert_eq!(cell.number_since(before), None);
        assert_eq!(generations.cell("red").1.number_since(generations.moment()), Some(9));
        for n in 0..MOST {
            generations.cell(&n.to_string());
        }
        assert_eq!(cell.number(), 0, "forgotten, and its entries with it");
    }
}
