//! What the processes saw, in files: every write, and the reads that were looked at. Held against each other they tell how stale these were.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use hdrhistogram::Histogram;

/// A version that was there from a time on.
#[derive(Clone, Copy)]
pub struct Write {
    pub rank: u32,
    pub version: u64,
    pub time: u64,
}

/// A version that was read.
#[derive(Clone, Copy)]
pub struct Read {
    pub rank: u32,
    pub version: u64,
    pub began: u64,
    pub took: u64,
}

pub fn writes_of(folder: &Path, process: u32) -> PathBuf {
    folder.join(format!("writes-{process}"))
}

pub fn reads_of(folder: &Path, process: u32) -> PathBuf {
    folder.join(format!("reads-{process}"))
}

/// Writes numbers to a file, `N` of them an item.
pub fn save<const N: usize>(
    file: &Path,
    items: impl Iterator<Item = [u64; N]>,
) -> Result<(), String> {
    let bytes: Vec<u8> = items.flatten().flat_map(u64::to_le_bytes).collect();
    std::fs::write(file, bytes).map_err(|error| error.to_string())
}

fn saved<const N: usize>(file: &Path) -> Result<Vec<[u64; N]>, String> {
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let (numbers, _) = bytes.as_chunks::<8>();
    let numbers: Vec<u64> = numbers.iter().map(|number| u64::from_le_bytes(*number)).collect();
    Ok(numbers.as_chunks::<N>().0.to_vec())
}

/// When each version was written.
#[derive(Default)]
pub struct Writes(HashMap<(u64, u64), u64>);

impl Writes {
    pub fn read(&mut self, file: &Path) -> Result<(), String> {
        let all = saved::<3>(file)?;
        self.0.extend(all.into_iter().map(|[rank, version, time]| ((rank, version), time)));
        Ok(())
    }

    /// For how long there had been another version when a read began.
    fn staleness(&self, rank: u64, version: u64, began: u64) -> Option<u64> {
        let next = self.0.get(&(rank, version + 1))?;
        began.checked_sub(*next).filter(|&stale| stale > 0)
    }
}

/// What readers saw, in nanoseconds.
pub struct Seen {
    pub took: Histogram<u64>,
    /// Of those that were stale.
    pub stale: Histogram<u64>,
}

impl Seen {
    pub fn new() -> Self {
        // From a nanosecond to an hour, three digits.
        let empty = || Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("legal bounds");
        Self { took: empty(), stale: empty() }
    }

    pub fn read(&mut self, file: &Path, writes: &Writes) -> Result<(), String> {
        for [rank, version, began, took] in saved::<4>(file)? {
            self.took.saturating_record(took);
            if let Some(stale) = writes.staleness(rank, version, began) {
                self.stale.saturating_record(stale);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Seen, Writes, save};

    #[test]
    fn a_read_is_stale_from_when_the_next_version_was_there() {
        let folder = std::env::temp_dir().join(format!("cachette-log-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (wrote, read) = (folder.join("writes"), folder.join("reads"));
        save(&wrote, [[7, 1, 100], [7, 2, 200]].into_iter()).unwrap();
        let reads = [[7, 0, 99, 1], [7, 0, 150, 2], [7, 1, 200, 3], [7, 2, 900, 4], [8, 0, 900, 5]];
        save(&read, reads.into_iter()).unwrap();
        let (mut writes, mut seen) = (Writes::default(), Seen::new());
        writes.read(&wrote).unwrap();
        seen.read(&read, &writes).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!((seen.took.len(), seen.took.max()), (5, 5));
        assert_eq!((seen.stale.len(), seen.stale.max()), (1, 50));
    }
}
