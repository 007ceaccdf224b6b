//! What is counted of the writes behind.

use std::time::Duration;

/// How many powers of two of nanoseconds are told apart, and how many parts of each.
const PARTS: usize = 4;
const CELLS: usize = 64 * PARTS;

/// How writing behind goes. Copied at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteStats {
    /// Changes that are held: waiting, in the store's hands, or dead.
    pub held: usize,
    /// How many bytes they are, as [`bytes_by`](super::WriteBehind::bytes_by) has it.
    pub held_bytes: u64,
    /// Keys with changes that are not acknowledged, the dead left out.
    pub dirty: usize,
    /// Changes that nobody tries any more, and that are kept.
    pub dead: usize,
    /// For how long the oldest change has not been acknowledged.
    pub oldest: Option<Duration>,
    /// Batches that the store has.
    pub in_flight: usize,
    /// Changes that were accepted, since the cache was built, as all below.
    pub accepted: u64,
    /// Of these, those that took the place of one that waited, or was to be tried again.
    pub coalesced: u64,
    /// Changes that the store has acknowledged.
    pub written: u64,
    /// Changes that were given back to be tried again.
    pub retried: u64,
    /// Changes that were given up.
    pub dead_lettered: u64,
    /// Writes that had to wait for room.
    pub blocked: u64,
    /// Writes that were not taken for want of room.
    pub rejected: u64,
    /// Writes that their callers made for want of room.
    pub written_through: u64,
    /// From when a change was accepted, or the first that it stands for, to its acknowledgement.
    pub latency: Latencies,
    /// The journal, if there is one.
    #[cfg(feature = "journal")]
    #[cfg_attr(docsrs, doc(cfg(feature = "journal")))]
    pub journal: Option<super::JournalStats>,
}

/// How long things took: counts, by time, each cell a quarter of a power of two wide.
#[derive(Clone, PartialEq, Eq)]
pub struct Latencies {
    cells: [u64; CELLS],
    count: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { cells: [0; CELLS], count: 0 }
    }
}

impl std::fmt::Debug for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Latencies")
            .field("count", &self.count)
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .finish()
    }
}

impl Latencies {
    pub(super) fn note(&mut self, nanos: u64) {
        self.cells[cell(nanos)] += 1;
        self.count += 1;
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The time that this part of them, from 0 to 1, did not exceed, rounded up by a quarter at most; `None` if there were none.
    ///
    /// ```
    /// let none = cachette::store::Latencies::default();
    /// assert_eq!(none.quantile(0.99), None);
    /// ```
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let wanted = ((self.count as f64 * part.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        let at = self.cells.iter().position(|cell| {
            seen += cell;
            seen >= wanted
        })?;
        Some(Duration::from_nanos(end(at)))
    }
}

/// The cell of a time: the power of two below it, and which quarter above that.
fn cell(nanos: u64) -> usize {
    let nanos = nanos.max(PARTS as u64);
    let power = nanos.ilog2();
    let quarter = (nanos >> (power - 2)) as usize & (PARTS - 1);
    power as usize * PARTS + quarter
}

/// The last time of a cell.
fn end(cell: usize) -> u64 {
    let (power, quarter) = ((cell / PARTS) as u32, (cell % PARTS) as u128);
    let from = (1_u128 << power) + (quarter << power) / 4;
    let end = from + (1_u128 << power) / 4 - u128::from(power >= 2);
    u64::try_from(end).unwrap_or(u64::MAX)
}

/// What a queue counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) accepted: u64,
    pub(super) coalesced: u64,
    pub(super) written: u64,
    pub(super) retried: u64,
    pub(super) dead_lettered: u64,
    pub(super) blocked: u64,
    pub(super) rejected: u64,
    pub(super) written_through: u64,
    pub(super) latency: Latencies,
}

impl Counts {
    /// The same, with nothing held.
    pub(super) fn into_stats(self) -> WriteStats {
        WriteStats {
            accepted: self.accepted,
            coalesced: self.coalesced,
            written: self.written,
            retried: self.retried,
            dead_lettered: self.dead_lettered,
            blocked: self.blocked,
            rejected: self.rejected,
            written_through: self.written_through,
            latency: self.latency,
            ..WriteStats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cell_ends_at_most_a_quarter_above_what_is_in_it(nanos in 4_u64..u64::MAX) {
            let end = end(cell(nanos));
            prop_assert!(end >= nanos && end - nanos <= nanos / 4, "{nanos}: {end}");
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_noted() {
        let mut latencies = Latencies::default();
        for micros in 1..=100 {
            latencies.note(micros * 1_000);
        }
        let within = |part, micros: u64| {
            let found = latencies.quantile(part).unwrap().as_nanos() as u64;
            found >= micros * 1_000 && found <= micros * 1_250
        };
        assert!(within(0.5, 50) && within(0.99, 99) && within(1.0, 100) && within(0.0, 1));
        assert_eq!(latencies.count(), 100);
    }
}
