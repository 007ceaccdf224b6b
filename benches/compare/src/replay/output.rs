//! How a run is told: tables as text and as Markdown, and every cell as CSV.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::time::Duration;

use super::contenders::Contender;
use super::regret::{self, Cell, FAR, Summary, Who, Worst};
use super::{LEAST, Outcome};
use crate::peer;
use crate::table::Table;

/// The policy whose far cells are listed: what we recommend to whoever does not know.
const OURS: Who = Who::Ours("adaptive");

pub fn text(outcome: &Outcome) -> String {
    whole(outcome, Table::text)
}

pub fn markdown(outcome: &Outcome) -> String {
    whole(outcome, Table::markdown)
}

fn whole(outcome: &Outcome, show: fn(&Table) -> String) -> String {
    let mut out = format!("{}\n\n{}\n", heading(&outcome.cells), show(&summaries(&outcome.cells)));
    if outcome.cells.iter().any(|cell| cell.hits.contains_key(&OURS)) {
        let far = regret::far(&OURS, &outcome.cells);
        out +=
            &format!("{OURS} is more than {FAR} points below the best in {} cells.\n\n", far.len());
        if !far.is_empty() {
            out += &format!("{}\n", show(&details(&far)));
        }
    }
    out + &notes(&outcome.contenders)
}

/// What was replayed, and against whom it is measured.
fn heading(cells: &[Cell]) -> String {
    let traces: BTreeSet<_> = cells.iter().map(|cell| &cell.trace).collect();
    let everyone: BTreeSet<_> = cells.iter().flat_map(|cell| cell.hits.keys()).collect();
    let names = |name: fn(&Who) -> Option<&str>| {
        everyone.iter().filter_map(|who| name(who)).collect::<Vec<_>>().join(", ")
    };
    let reference = names(|who| if let Who::Reference(name) = who { Some(name) } else { None });
    let peers = names(|who| if let Who::Peer(name) = who { Some(name) } else { None });
    format!(
        "{} cells of {} traces, of {LEAST} entries and more. Regret: points of hit ratio below the best of the \
         reference ({reference}) and the peers ({peers}). A cell is large from half a million requests and a hundredth \
         of the distinct keys on.",
        cells.len(),
        traces.len(),
    )
}

/// A line a contender, the least mean regret first.
fn summaries(cells: &[Cell]) -> Table {
    let mut table = Table::new([
        "contender".to_owned(),
        "mean regret".to_owned(),
        "worst".to_owned(),
        "at".to_owned(),
        format!("cells > {FAR}"),
        "worst, large".to_owned(),
        "at".to_owned(),
        "cells".to_owned(),
    ]);
    for Summary { who, cells, mean, worst, far, large } in regret::summaries(cells) {
        let [large, large_at] = match large {
            Some(Worst { regret, cell }) => [points(regret), cell],
            None => ["-", "-"].map(str::to_owned),
        };
        table.line([
            who.to_string(),
            points(mean),
            points(worst.regret),
            worst.cell,
            far.to_string(),
            large,
            large_at,
            cells.to_string(),
        ]);
    }
    table
}

fn points(points: f64) -> String {
    format!("{points:.2}")
}

/// A line a cell, with who is best there.
fn details(far: &[(&Cell, f64)]) -> Table {
    let mut table = Table::new(["cell", "of distinct, %", "best", "its %", "ours, %", "regret"]);
    for (cell, regret) in far {
        let (Some((best, hits)), Some(ours)) = (cell.best(), cell.hits.get(&OURS)) else {
            continue;
        };
        table.line([
            cell.to_string(),
            points(100.0 * cell.capacity as f64 / cell.distinct as f64),
            best.to_string(),
            points(cell.ratio(hits)),
            points(cell.ratio(*ours)),
            points(*regret),
        ]);
    }
    table
}

/// A line a peer: its version, and how it is set.
fn notes(contenders: &[Contender]) -> String {
    let note = |contender: &Contender| match contender {
        Contender::Peer(peer) => {
            Some(format!("- {} {}: {}.\n", peer.name, peer::version(peer.package), peer.note))
        }
        Contender::Ours(_) => None,
    };
    contenders.iter().filter_map(note).collect()
}

/// The time of each, the longest first.
pub fn times(times: &[(Who, Duration)]) -> String {
    let mut times = times.to_vec();
    times.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    let all: Vec<_> =
        times.iter().map(|(who, time)| format!("{who} {:.1}", time.as_secs_f64())).collect();
    format!("seconds of one thread: {}", all.join(", "))
}

/// A row a contender and cell. The first columns are those of a reference.
pub fn csv(out: impl Write, cells: &[Cell]) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    writeln!(out, "trace,capacity,policy,requests,hits,ratio,regret")?;
    for cell in cells {
        let Cell { trace, capacity, requests, .. } = cell;
        for (who, hits) in &cell.hits {
            let ratio = cell.ratio(*hits) / 100.0;
            let regret = cell.regret(who).map(|points| format!("{points:.4}")).unwrap_or_default();
            writeln!(out, "{trace},{capacity},{who},{requests},{hits},{ratio:.6},{regret}")?;
        }
    }
    out.flush()
}
