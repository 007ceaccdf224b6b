//! What a store that has stalled makes the process hold.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cachette::Threads;
use cachette::store::{WhenFull, WriteBehind, WriteError};

use super::stalled::Stalled;
use crate::keys;
use crate::table::Table;

/// What is put, and what bounds it.
struct Case {
    name: &'static str,
    /// Bytes of a value.
    value: usize,
    most: usize,
    most_bytes: u64,
}

const CASES: [Case; 3] = [
    Case { name: "100,000 changes", value: 8, most: 100_000, most_bytes: u64::MAX },
    Case {
        name: "64 MiB, values of 1 KiB",
        value: 1 << 10,
        most: usize::MAX,
        most_bytes: 64 << 20,
    },
    Case {
        name: "64 MiB, values of 64 KiB",
        value: 64 << 10,
        most: usize::MAX,
        most_bytes: 64 << 20,
    },
];

/// Each case in a process of its own: what another has given back would hide what this one takes.
pub fn table() -> Result<Table, String> {
    let mut table = Table::new([
        "bound",
        "changes held",
        "MiB held",
        "resident before, MiB",
        "after",
        "grown by",
    ]);
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    for (number, case) in CASES.iter().enumerate() {
        let mut command = Command::new(&program);
        let output = command.args(["store", "--child", &number.to_string()]).output();
        let output = output.map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let cells = told.trim().split(' ').map(str::to_owned);
        table.line(std::iter::once(case.name.to_owned()).chain(cells));
    }
    Ok(table)
}

/// Puts until one is refused, and prints the cells of the table's line.
pub fn child(case: usize) -> Result<(), String> {
    let Case { value, most, most_bytes, .. } = CASES.get(case).ok_or("no such case")?;
    let store = Arc::new(Stalled::default());
    let behind = WriteBehind::new()
        .bound(*most)
        .bound_bytes(*most_bytes)
        .bytes_by(|_, value: Option<&Vec<u8>>| 8 + value.map_or(0, Vec::len) as u64)
        .when_full(WhenFull::Reject);
    // A small cache: what the queue holds is looked at.
    let cache = cachette::Cache::<u64, Vec<u8>>::builder()
        .capacity(100)
        .store(Arc::clone(&store))
        .spawn(Threads::new())
        .write_behind(behind)
        .build()
        .map_err(|error| error.to_string())?;
    let before = resident()?;
    let refused = (0..).map(keys::key).find_map(|key| cache.put(key, vec![7; *value]).err());
    if !matches!(refused, Some(WriteError::Full { .. })) {
        return Err("a put was refused, and not for want of room".to_owned());
    }
    let after = resident()?;
    let stats = cache.write_stats();
    let held = stats.held_bytes as f64 / f64::from(1 << 20);
    println!("{} {held:.1} {before:.1} {after:.1} {:.1}", stats.held, after - before);
    store.let_go();
    match cache.close(Duration::from_secs(60)).len() {
        0 => Ok(()),
        left => Err(format!("{left} changes were not written")),
    }
}

/// MiB of this process that are in memory.
fn resident() -> Result<f64, String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).ok_or_else(|| "this system does not tell its memory".to_owned())
}
