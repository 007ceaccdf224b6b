//! Deletions that the remote has not confirmed.
//!
//! **Problem.** The remote is not reached, and what it holds of a key is out of date from now on. When it is reached again, nobody may
//! believe what it has before the deletion has been made up for; and an outage must not fill the memory.
//!
//! Names are kept, each once. There is an end to their number: then all values of the namespace are given up at once, by its
//! generation, and the names need not be kept any more.

use super::remote::Place;
use crate::sync::{AtomicUsize, Mutex, Ordering};
use std::collections::HashMap;

pub(super) struct Undelivered {
    most: usize,
    /// How much there is: what readers ask first.
    count: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was asked for at each place, as a number: that of the latest.
    places: HashMap<Place, u64, ahash::RandomState>,
    /// The same of each tag.
    tags: HashMap<String, u64, ahash::RandomState>,
    /// All values are to be given up.
    all: bool,
    asked: u64,
}

/// What is to be made up for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// These deletions, each with its number.
    Places(Vec<(Place, u64)>),
    /// These tags, each with its number.
    Tags(Vec<(String, u64)>),
    /// Every value. The number of the latest request.
    All(u64),
}

/// What was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    Noted,
    /// There were too many: all values are given up instead.
    Overflowed,
}

impl Undelivered {
    pub(super) fn new(most: usize) -> Self {
        Self { most, count: AtomicUsize::new(0), state: Mutex::new(State::default()) }
    }

    pub(super) fn add(&self, place: &Place) -> Added {
        let mut state = self.state.lock();
        state.asked += 1;
        let asked = state.asked;
        if !state.all {
            state.places.insert(place.clone(), asked);
        }
        self.bound(&mut state)
    }

    pub(super) fn add_tag(&self, tag: &str) -> Added {
        let mut state = self.state.lock();
        state.asked += 1;
        let asked = state.asked;
        if !state.all {
            state.tags.insert(tag.to_owned(), asked);
        }
        self.bound(&mut state)
    }

    pub(super) fn add_all(&self) {
        let mut state = self.state.lock();
        state.asked += 1;
        Self::give_up(&mut state);
        self.recount(&state);
    }

    fn bound(&self, state: &mut State) -> Added {
        let overflows = !state.all && state.places.len() + state.tags.len() > self.most;
        if overflows {
            Self::give_up(state);
        }
        self.recount(state);
        if overflows { Added::Overflowed } else { Added::Noted }
    }

    fn give_up(state: &mut State) {
        state.all = true;
        state.places = HashMap::default();
        state.tags = HashMap::default();
    }

    fn recount(&self, state: &State) {
        let count = state.places.len() + state.tags.len() + usize::from(state.all);
        self.count.store(count, Ordering::Release);
    }

    /// True if what the remote has at a place may be out of date.
    pub(super) fn covers(&self, place: &Place) -> bool {
        if self.len() == 0 {
            return false;
        }
        let state = self.state.lock();
        state.all || state.places.contains_key(place)
    }

    pub(super) fn covers_tag(&self, tag: &str) -> bool {
        if self.len() == 0 {
            return false;
        }
        let state = self.state.lock();
        state.all || state.tags.contains_key(tag)
    }

    /// True if all that the remote has may be out of date.
    pub(super) fn covers_all(&self) -> bool {
        self.len() != 0 && self.state.lock().all
    }

    /// How much there is to be made up for.
    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// What is to be done next: at most `slice` at once.
    pub(super) fn due(&self, slice: usize) -> Due {
        let state = self.state.lock();
        if state.all {
            Due::All(state.asked)
        } else if !state.places.is_empty() {
            let places = state.places.iter().take(slice);
            Due::Places(places.map(|(place, &asked)| (place.clone(), asked)).collect())
        } else if !state.tags.is_empty() {
            let tags = state.tags.iter().take(slice);
            Due::Tags(tags.map(|(tag, &asked)| (tag.clone(), asked)).collect())
        } else {
            Due::Nothing
        }
    }

    /// It has been done. What was asked for again meanwhile stays.
    pub(super) fn done(&self, due: &Due) {
        let mut state = self.state.lock();
        match due {
            Due::Nothing => {}
            Due::All(asked) => state.all = state.asked != *asked,
            Due::Places(places) => {
                for (place, asked) in places {
                    if state.places.get(place) == Some(asked) {
                        state.places.remove(place);
                    }
                }
            }
            Due::Tags(tags) => {
                for (tag, asked) in tags {
                    if state.tags.get(tag) == Some(asked) {
                        state.tags.remove(tag);
                    }
                }
            }
        }
        self.recount(&state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(n: usize) -> Place {
        Place { value: vec![u8::try_from(n).unwrap()], lease: Vec::new() }
    }

    #[test]
    fn what_is_noted_covers_its_place_until_it_is_done() {
        let undelivered = Undelivered::new(3);
        assert_eq!(undelivered.due(9), Due::Nothing);
        assert_eq!(undelivered.add(&place(1)), Added::Noted);
        assert_eq!(undelivered.add(&place(1)), Added::Noted);
        assert_eq!(undelivered.len(), 1);
        assert!(undelivered.covers(&place(1)) && !undelivered.covers(&place(2)));
        let due = undelivered.due(9);
        assert_eq!(due, Due::Places(vec![(place(1), 2)]));
        undelivered.add(&place(1));
        undelivered.done(&due);
        assert!(undelivered.covers(&place(1)), "asked for again meanwhile");
        undelivered.done(&undelivered.due(9));
        assert!(!undelivered.covers(&place(1)) && undelivered.len() == 0);
    }

    #[test]
    fn too_many_are_all() {
        let undelivered = Undelivered::new(3);
        for n in 0..3 {
            assert_eq!(undelivered.add(&place(n)), Added::Noted);
        }
        assert_eq!(undelivered.add_tag("red"), Added::Overflowed);
        assert_eq!(undelivered.add(&place(9)), Added::Noted, "said once");
        assert!(undelivered.covers(&place(77)) && undelivered.covers_tag("blue"));
        assert_eq!(undelivered.len(), 1);
        let due = undelivered.due(9);
        undelivered.add_all();
        undelivered.done(&due);
        assert!(undelivered.covers(&place(77)), "asked for again meanwhile");
        let due = undelivered.due(9);
        undelivered.add_tag("red");
        undelivered.done(&due);
        assert!(undelivered.covers_tag("red"), "it may have been written in between");
        undelivered.done(&undelivered.due(9));
        assert!(!undelivered.covers(&place(77)));
    }

    #[test]
    fn tags_are_noted_once_and_done_after_places() {
        let undelivered = Undelivered::new(3);
        undelivered.add_tag("red");
        undelivered.add_tag("red");
        undelivered.add(&place(1));
        assert!(undelivered.covers_tag("red") && !undelivered.covers_tag("blue"));
        undelivered.done(&undelivered.due(1));
        let due = undelivered.due(1);
        assert_eq!(due, Due::Tags(vec![("red".to_owned(), 2)]));
        undelivered.add_tag("red");
        undelivered.done(&due);
        assert!(undelivered.covers_tag("red"), "asked for again meanwhile");
        undelivered.done(&undelivered.due(1));
        assert_eq!(undelivered.due(1), Due::Nothing);
    }
}
