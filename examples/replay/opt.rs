//! Belady's optimum: what a cache could hit that knew every request to come.
//!
//! On a miss with the cache full, the item whose next request is furthest away is given up (Belady 1966). Here that item may be
//! the newcomer itself: a load may be refused. So no policy can pass it, with or without admission, and no policy can reach
//! it but by luck: it is an upper bound, not a cache. Weights are all 1: with sizes the question is NP-hard. Deadlines are
//! none: what expires only hits less.
//!
//! ```text
//!   two places      a b a c b a c c a
//!   next request    2 4 5 6 - 8 7 - -
//!   hit             . . h . h h . h h    c is refused at first: 6 is further than 4 and 5; then b's place is free
//! ```
//!
//! An item that is kept stands for one hit, at its next request: what is kept is a set of positions to come. The furthest
//! is on top of a heap. A position that has come is below all of those to come, so it never surfaces, and needs no removal.
//!
//! | step | cost |
//! |---|---|
//! | the next request of every request | O(n), one walk from the end |
//! | the replay | O(n log capacity) |
//! | memory | a word a request, and two words a place |

use std::collections::BinaryHeap;

/// The next request of what is never asked for again.
const NEVER: usize = usize::MAX;

/// What the optimum counted.
#[derive(Debug, PartialEq)]
pub(crate) struct Optimum {
    /// For each request, whether it hit.
    pub(crate) hit: Vec<bool>,
    /// The most items kept at a time, of those that are asked for again.
    pub(crate) peak: u64,
}

/// How many of some requests hit.
pub(crate) fn hits(hit: &[bool]) -> u64 {
    hit.iter().filter(|hit| **hit).count() as u64
}

/// Where each id is asked for next. O(n).
fn next_requests(ids: &[u32], distinct: usize) -> Vec<usize> {
    let mut seen = vec![NEVER; distinct];
    let mut next = vec![NEVER; ids.len()];
    for (at, id) in ids.iter().enumerate().rev() {
        next[at] = std::mem::replace(&mut seen[*id as usize], at);
    }
    next
}

/// Replays dense ids through `capacity` places. `progress` hears of the requests done, some ten thousand at a time.
pub(crate) fn replay(
    ids: &[u32],
    distinct: usize,
    capacity: u64,
    mut progress: impl FnMut(u64),
) -> Optimum {
    // More places than ids are never used.
    let places = usize::try_from(capacity).unwrap_or(usize::MAX).min(distinct);
    let next = next_requests(ids, distinct);
    // `kept[at]`: the request there finds its item.
    let mut kept = vec![false; ids.len()];
    let mut furthest = BinaryHeap::new();
    let (mut held, mut peak, mut untold) = (0, 0, 0);
    for (at, &to_come) in next.iter().enumerate() {
        held -= usize::from(kept[at]);
        if to_come != NEVER {
            furthest.push(to_come);
            kept[to_come] = true;
            held += 1;
            if held > places {
                // All kept but one fit: the furthest of them leaves, be it the newcomer.
                kept[furthest.pop().unwrap_or(to_come)] = false;
                held -= 1;
            }
            peak = peak.max(held);
        }
        // Positions that have come are swept out once they are the most: the heap stays as small as the cache.
        if furthest.len() > 2 * places + 64 {
            furthest.retain(|position| *position > at);
        }
        untold += 1;
        if untold == 1 << 15 {
            progress(untold);
            untold = 0;
        }
    }
    progress(untold);
    Optimum { hit: kept, peak: peak as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Draw;
    use std::collections::HashMap;

    fn of(text: &str, capacity: u64) -> u64 {
        let ids: Vec<_> = text.bytes().map(|byte| u32::from(byte - b'a')).collect();
        hits(&replay(&ids, 26, capacity, |_| {}).hit)
    }

    #[test]
    fn the_picture_above() {
        assert_eq!(next_requests(&[0, 1, 0, 2, 1, 0, 2, 2, 0], 3)[..4], [2, 4, 5, 6]);
        assert_eq!(of("abacbacca", 2), 5);
        assert_eq!(of("abacbacca", 1), 3);
        assert_eq!(of("abacbacca", 3), 6);
        assert_eq!(of("abacbacca", u64::MAX), 6);
        assert_eq!(of("a", 1), 0);
        // A loop of three through two places: each round keeps one for the next, and one goes on.
        assert_eq!(of("abcabcabcabc", 2), 6);
    }

    /// The most hits that any choice can have, from request `at` on: on a miss the item is refused, or takes a free place,
    /// or that of any other.
    fn best(
        ids: &[u32],
        at: usize,
        held: u32,
        capacity: u32,
        known: &mut HashMap<(usize, u32), u64>,
    ) -> u64 {
        let Some(&id) = ids.get(at) else { return 0 };
        if let Some(&best) = known.get(&(at, held)) {
            return best;
        }
        let bit = 1 << id;
        let found = if held & bit != 0 {
            1 + best(ids, at + 1, held, capacity, known)
        } else {
            let mut found = best(ids, at + 1, held, capacity, known);
            if held.count_ones() < capacity {
                found = found.max(best(ids, at + 1, held | bit, capacity, known));
            }
            for other in (0..32).filter(|other| held & (1 << other) != 0) {
                let exchanged = held & !(1 << other) | bit;
                found = found.max(best(ids, at + 1, exchanged, capacity, known));
            }
            found
        };
        known.insert((at, held), found);
        found
    }

    #[test]
    fn no_choice_is_better() {
        let mut draw = Draw::new(5);
        for case in 0..2_000 {
            let keys = 2 + draw.below(6);
            let length = 1 + draw.below(24);
            let ids: Vec<_> = (0..length).map(|_| draw.below(keys) as u32).collect();
            let capacity = 1 + draw.below(keys) as u32;
            let ours = replay(&ids, keys as usize, u64::from(capacity), |_| {});
            let most = best(&ids, 0, 0, capacity, &mut HashMap::new());
            assert_eq!(hits(&ours.hit), most, "case {case}: {ids:?} through {capacity}");
            assert!(ours.peak <= u64::from(capacity), "case {case}");
        }
    }

    /// As the paper has it, with nothing precomputed: each miss looks ahead for every item held.
    fn plain(ids: &[u32], capacity: usize) -> u64 {
        let mut held: Vec<u32> = Vec::new();
        let mut hits = 0;
        for (at, id) in ids.iter().enumerate() {
            if held.contains(id) {
                hits += 1;
                continue;
            }
            held.push(*id);
            if held.len() > capacity {
                let ahead = |id: &u32| ids[at + 1..].iter().position(|other| other == id);
                let furthest =
                    (0..held.len()).max_by_key(|i| ahead(&held[*i]).unwrap_or(usize::MAX));
                held.swap_remove(furthest.expect("not empty"));
            }
        }
        hits
    }

    /// Long enough that positions that have come are swept out many times.
    #[test]
    fn a_long_trace_hits_as_the_paper_says() {
        for (keys, capacity) in [(3, 1), (10, 3), (40, 20), (60, 59)] {
            let mut draw = Draw::new(keys);
            // Two even draws, so that some keys are asked for more often than others.
            let ids: Vec<_> = (0..4_000)
                .map(|_| {
                    let most = 1 + draw.below(keys);
                    draw.below(most) as u32
                })
                .collect();
            let ours = replay(&ids, keys as usize, capacity, |_| {});
            assert_eq!(
                hits(&ours.hit),
                plain(&ids, capacity as usize),
                "{keys} keys, {capacity} places"
            );
        }
    }

    #[test]
    fn progress_hears_of_every_request() {
        let ids: Vec<_> = (0..70_000_u32).map(|i| i % 10).collect();
        let mut done = 0;
        let optimum = replay(&ids, 10, 10, |some| done += some);
        assert_eq!((done, hits(&optimum.hit), optimum.peak), (70_000, 69_990, 10));
        assert!(optimum.hit[..10].iter().all(|hit| !hit) && optimum.hit.len() == 70_000);
    }
}
