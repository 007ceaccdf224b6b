//! Regret: how far below the best a contender is, in points of hit ratio.
//!
//! The best of a cell is the best of the others: a policy of the reference, or a peer. What we hit does not raise it, so that
//! all of ours are measured against the same; whoever is above has no regret, not a negative one.
//!
//! ```text
//!   cell     lru (reference)   moka   cachette lfu   cachette sieve       best   regret of lfu   of sieve
//!   T 100    50                60     55             70                   60     5               0
//!   T 200    80                79     80             81                   80     0               0
//! ```

use std::collections::BTreeMap;
use std::fmt;

/// A cell with more regret than this is far from the best.
pub const FAR: f64 = 2.0;

/// Cells that are large: so many requests, and a capacity of this part of the distinct keys at least.
const LARGE_REQUESTS: u64 = 500_000;
const LARGE_PART: u64 = 100;

/// Whose hits they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// A simulated policy, by its name there.
    Reference(String),
    Peer(&'static str),
    Ours(&'static str),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference(policy) => write!(f, "{policy} (reference)"),
            Self::Peer(name) => f.write_str(name),
            Self::Ours(policy) => write!(f, "cachette {policy}"),
        }
    }
}

/// A trace at a capacity, with the hits of each contender.
#[derive(Debug)]
pub struct Cell {
    pub trace: String,
    pub capacity: u64,
    pub requests: u64,
    pub distinct: u64,
    pub hits: BTreeMap<Who, u64>,
}

impl Cell {
    /// In percent.
    pub fn ratio(&self, hits: u64) -> f64 {
        100.0 * hits as f64 / self.requests as f64
    }

    /// The best of the others and its hits; none if there is no other.
    pub fn best(&self) -> Option<(&Who, u64)> {
        let others = self.hits.iter().filter(|(who, _)| !matches!(who, Who::Ours(_)));
        others.max_by_key(|(_, hits)| **hits).map(|(who, hits)| (who, *hits))
    }

    /// None if `who` has no hits here, or there is no best.
    pub fn regret(&self, who: &Who) -> Option<f64> {
        let (_, best) = self.best()?;
        Some(self.ratio(best.saturating_sub(*self.hits.get(who)?)))
    }

    const fn is_large(&self) -> bool {
        self.requests >= LARGE_REQUESTS && self.capacity * LARGE_PART >= self.distinct
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.trace, self.capacity)
    }
}

/// The greatest regret, and its cell.
#[derive(Debug, PartialEq)]
pub struct Worst {
    pub regret: f64,
    pub cell: String,
}

/// What all cells say of one contender.
#[derive(Debug, PartialEq)]
pub struct Summary {
    pub who: Who,
    /// In how many cells it took part.
    pub cells: usize,
    pub mean: f64,
    pub worst: Worst,
    /// How many cells are far from the best.
    pub far: usize,
    /// The worst of the large cells, if it took part in any.
    pub large: Option<Worst>,
}

impl Summary {
    /// None if it took part nowhere.
    fn of(who: &Who, cells: &[Cell]) -> Option<Self> {
        let found: Vec<_> =
            cells.iter().filter_map(|cell| Some((cell, cell.regret(who)?))).collect();
        let worst = |only: fn(&Cell) -> bool| {
            let some = found.iter().filter(|(cell, _)| only(cell));
            let (cell, regret) = some.max_by(|(_, one), (_, other)| one.total_cmp(other))?;
            Some(Worst { regret: *regret, cell: cell.to_string() })
        };
        Some(Self {
            who: who.clone(),
            cells: found.len(),
            mean: found.iter().map(|(_, regret)| regret).sum::<f64>() / found.len() as f64,
            worst: worst(|_| true)?,
            far: found.iter().filter(|(_, regret)| *regret > FAR).count(),
            large: worst(Cell::is_large),
        })
    }
}

/// A summary of each contender, the least mean regret first.
pub fn summaries(cells: &[Cell]) -> Vec<Summary> {
    let mut everyone: Vec<_> = cells.iter().flat_map(|cell| cell.hits.keys()).collect();
    everyone.sort_unstable();
    everyone.dedup();
    let mut found: Vec<_> =
        everyone.into_iter().filter_map(|who| Summary::of(who, cells)).collect();
    found.sort_by(|one, other| one.mean.total_cmp(&other.mean));
    found
}

/// The cells where `who` is far from the best, the worst first.
pub fn far<'a>(who: &Who, cells: &'a [Cell]) -> Vec<(&'a Cell, f64)> {
    let regrets = cells.iter().filter_map(|cell| Some((cell, cell.regret(who)?)));
    let mut found: Vec<_> = regrets.filter(|(_, regret)| *regret > FAR).collect();
    found.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const LFU: Who = Who::Ours("lfu");
    const SIEVE: Who = Who::Ours("sieve");
    const MOKA: Who = Who::Peer("moka");

    fn lru() -> Who {
        Who::Reference("lru".to_owned())
    }

    fn cell(capacity: u64, hits: impl IntoIterator<Item = (Who, u64)>) -> Cell {
        let hits = hits.into_iter().collect();
        Cell { trace: "T".to_owned(), capacity, requests: 100, distinct: 10, hits }
    }

    /// The table above.
    fn cells() -> [Cell; 2] {
        [
            cell(100, [(lru(), 50), (MOKA, 60), (LFU, 55), (SIEVE, 70)]),
            cell(200, [(lru(), 80), (MOKA, 79), (LFU, 80), (SIEVE, 81)]),
        ]
    }

    fn summary(who: &Who, cells: &[Cell]) -> Summary {
        summaries(cells).into_iter().find(|row| row.who == *who).expect("it takes part")
    }

    #[test]
    fn the_best_is_of_the_others() {
        let [small, large] = cells();
        assert_eq!(small.best(), Some((&MOKA, 60)));
        assert_eq!(large.best(), Some((&lru(), 80)));
        let regrets = |who: Who| [small.regret(&who), large.regret(&who)];
        assert_eq!(regrets(LFU), [Some(5.0), Some(0.0)]);
        assert_eq!(regrets(SIEVE), [Some(0.0), Some(0.0)], "above the best is no regret");
        assert_eq!(regrets(MOKA), [Some(0.0), Some(1.0)]);
        assert_eq!(regrets(lru()), [Some(10.0), Some(0.0)]);
    }

    #[test]
    fn summaries_are_sorted_by_their_mean() {
        let rows = summaries(&cells());
        let means: Vec<_> = rows.iter().map(|row| (row.who.clone(), row.mean)).collect();
        assert_eq!(means, [(SIEVE, 0.0), (MOKA, 0.5), (LFU, 2.5), (lru(), 5.0)]);
        let worst = Worst { regret: 5.0, cell: "T 100".to_owned() };
        let lfu = Summary { who: LFU, cells: 2, mean: 2.5, worst, far: 1, large: None };
        assert_eq!(rows[2], lfu);
    }

    #[test]
    fn a_cell_that_lacks_a_contender_does_not_count_for_it() {
        let mut cells = cells();
        cells[0].hits.remove(&lru());
        let row = summary(&lru(), &cells);
        assert_eq!((row.cells, row.mean, row.far), (1, 0.0, 0));
        assert_eq!(summary(&LFU, &cells).cells, 2);
    }

    #[test]
    fn a_cell_of_ours_alone_has_no_best() {
        let mut cells = cells();
        cells[0].hits.retain(|who, _| matches!(who, Who::Ours(_)));
        assert_eq!((cells[0].best(), cells[0].regret(&LFU)), (None, None));
        let row = summary(&LFU, &cells);
        assert_eq!((row.cells, row.mean), (1, 0.0));
        cells[1].hits.clear();
        assert_eq!((summaries(&cells).len(), far(&LFU, &cells).len()), (0, 0));
    }

    #[test]
    fn large_cells_have_many_requests_and_a_hundredth_of_the_keys() {
        let sized =
            |capacity, requests, distinct| Cell { requests, distinct, ..cell(capacity, []) };
        assert!(sized(10, 500_000, 1_000).is_large());
        assert!(!sized(10, 499_999, 1_000).is_large());
        assert!(!sized(10, 500_000, 1_001).is_large());
        let mut cells = cells();
        cells[1].requests = 1_000_000;
        let row = summary(&lru(), &cells);
        assert_eq!(row.large, Some(Worst { regret: 0.0, cell: "T 200".to_owned() }));
        assert_eq!(row.worst.cell, "T 100");
    }

    #[test]
    fn far_cells_come_worst_first_and_two_points_are_not_far() {
        let cells = [
            cell(1, [(MOKA, 52), (LFU, 50)]),
            cell(2, [(MOKA, 53), (LFU, 50)]),
            cell(3, [(MOKA, 59), (LFU, 50)]),
        ];
        let found: Vec<_> =
            far(&LFU, &cells).iter().map(|(cell, regret)| (cell.to_string(), *regret)).collect();
        assert_eq!(found, [("T 3".to_owned(), 9.0), ("T 2".to_owned(), 3.0)]);
        assert_eq!(summary(&LFU, &cells).far, 2);
    }

    #[test]
    fn names_tell_the_kind() {
        assert_eq!(lru().to_string(), "lru (reference)");
        assert_eq!([MOKA, LFU].map(|who| who.to_string()), ["moka", "cachette lfu"]);
    }
}
