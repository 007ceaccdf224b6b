//! What the numbers say: medians, ratios, the fastest peer, and who held more than its capacity.

use crate::Options;
use crate::host::Outcome;
use crate::peer::{OURS, Way};
use crate::table::Table;
use crate::work::{Kind, Row, SIZES};

/// A peer that held more than this times its capacity does not count as the fastest: it did other work.
const TOLERANCE: f64 = 1.1;

/// How many points of hit ratio below ours the fastest peer under churn may lie.
const POINTS: f64 = 3.0;

/// A row with its results, ours first and the bounds last.
pub struct Section {
    pub row: &'static Row,
    pub outcomes: Vec<Outcome>,
}

impl Outcome {
    fn numbers(&self, metric: &str) -> &[f64] {
        self.metrics
            .as_ref()
            .ok()
            .and_then(|metrics| metrics.get(metric))
            .map_or(&[], Vec::as_slice)
    }

    /// The middle one of all rounds, the upper one of two.
    pub fn median(&self, metric: &str) -> Option<f64> {
        let mut numbers = self.numbers(metric).to_vec();
        numbers.sort_unstable_by(f64::total_cmp);
        numbers.get(numbers.len() / 2).copied()
    }

    fn most(&self, metric: &str) -> Option<f64> {
        self.numbers(metric).iter().copied().max_by(f64::total_cmp)
    }

    fn least(&self, metric: &str) -> Option<f64> {
        self.numbers(metric).iter().copied().min_by(f64::total_cmp)
    }
}

impl Section {
    pub fn outcome(&self, peer: &str) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| outcome.peer.name == peer)
    }

    /// Ours divided by theirs.
    pub fn ratio(&self, peer: &Outcome, metric: &str) -> Option<f64> {
        Some(self.outcome(OURS)?.median(metric)? / peer.median(metric)?)
    }

    /// A mark for a peer that held more than its capacity.
    pub fn mark(&self, outcome: &Outcome, options: &Options) -> &'static str {
        let capacity = self.row.capacity(options.quick) as f64;
        match outcome.most("resident") {
            Some(resident) if resident > capacity && !outcome.peer.bound => "†",
            _ => "",
        }
    }

    /// The fastest other cache that does the same work as `ours`. `churn` has the hit ratios, if they were measured.
    pub fn fastest(&self, ours: &str, churn: Option<&Self>, options: &Options) -> Option<&Outcome> {
        let rate = |outcome: &Outcome| outcome.median("rate");
        self.rivals(ours, churn, options)
            .into_iter()
            .filter(|outcome| rate(outcome).is_some())
            .max_by(|a, b| rate(a).partial_cmp(&rate(b)).unwrap_or(std::cmp::Ordering::Equal))
    }

    /// The other caches that do the same work as `ours`.
    pub fn rivals(&self, ours: &str, churn: Option<&Self>, options: &Options) -> Vec<&Outcome> {
        let limit = self.row.capacity(options.quick) as f64 * TOLERANCE;
        // What had gone before everything expired need not be expired any more.
        let least = match self.row.kind {
            Kind::Expire => self.row.entries(options.quick) as f64 / TOLERANCE,
            _ => 0.0,
        };
        let same_work = |outcome: &&Outcome| {
            let fits = |resident| (least..=limit).contains(&resident);
            !outcome.peer.bound
                && !outcome.peer.ours()
                && outcome.most("resident").is_none_or(fits)
                && self.keeps_up(ours, outcome.peer.name, churn)
        };
        self.outcomes.iter().filter(same_work).collect()
    }

    /// True if the hit ratio of `peer` under churn is at most a few points below that of `ours`, in the rows where a
    /// cache can buy speed with hits.
    fn keeps_up(&self, ours: &str, peer: &str, churn: Option<&Self>) -> bool {
        if !matches!(self.row.kind, Kind::Churn | Kind::Insert | Kind::Latency)
            || peer == "quick_cache"
        {
            return true;
        }
        let hits = |name| churn.and_then(|churn| churn.outcome(name)?.median("hits"));
        match (hits(ours), hits(peer)) {
            (Some(ours), Some(theirs)) => theirs >= ours - POINTS,
            _ => true,
        }
    }

    pub fn heading(&self, options: &Options) -> String {
        let count = grouped(self.row.entries(options.quick) as f64);
        let what = if self.row.reads() { "resident" } else { "of capacity" };
        let threads = if self.row.threaded { options.threads } else { 1 };
        let plural = if threads == 1 { "" } else { "s" };
        let title = self.row.title;
        format!("{}: {title}, {count} {what}, {threads} thread{plural}", self.row.name)
    }

    /// The row as aligned text.
    pub fn text(&self, churn: Option<&Self>, options: &Options) -> String {
        let table = match self.row.kind {
            Kind::Memory => self.memory(options),
            Kind::Cost => self.cost(options),
            _ if self.row.times() => self.latency(options),
            _ => self.rates(options),
        };
        let mut text = format!("{}\n{}", self.heading(options), table.text());
        if let Some((fastest, ratio)) = self.against(churn, options) {
            text += &format!("  fastest peer: {}; cachette is {ratio:.2} x\n", fastest.peer.name);
        }
        text + &self.failures()
    }

    /// The fastest peer, and our ratio to it.
    pub fn against(&self, churn: Option<&Self>, options: &Options) -> Option<(&Outcome, f64)> {
        if !self.row.rates() {
            return None;
        }
        let fastest = self.fastest(OURS, churn, options)?;
        Some((fastest, self.ratio(fastest, "rate")?))
    }

    /// A line for each peer without a result.
    pub fn failures(&self) -> String {
        let line = |outcome: &Outcome| match &outcome.metrics {
            Ok(_) => String::new(),
            Err(error) => format!("  left out: {} {error}\n", outcome.peer.name),
        };
        self.outcomes.iter().map(line).collect()
    }

    fn rates(&self, options: &Options) -> Table {
        let heading =
            ["peer", "Mops/s", "least", "most", "cachette / peer", "hits %", "peak resident"];
        // Measured in the same rounds, to be compared with.
        let single = (self.row.way() != Way::Get).then_some("by get");
        let mut table = Table::new(heading.into_iter().chain(single));
        for outcome in &self.outcomes {
            let cells = [
                outcome.peer.name.to_owned(),
                rate(outcome.median("rate")),
                rate(outcome.least("rate")),
                rate(outcome.most("rate")),
                ratio(self.ratio(outcome, "rate")),
                fixed(outcome.median("hits"), 1),
                whole(outcome.most("resident")) + self.mark(outcome, options),
            ];
            table.line(cells.into_iter().chain(single.map(|_| rate(outcome.median("single")))));
        }
        table
    }

    /// Nanoseconds an operation at every size, and how many times the least size's the greatest size's is.
    pub fn cost(&self, options: &Options) -> Table {
        let scale = if options.quick { 16.0 } else { 1.0 };
        let mut heading = vec!["peer".to_owned()];
        for operation in ["get", "update"] {
            heading
                .extend(SIZES.map(|size| format!("{operation} {}", grouped(size as f64 / scale))));
            heading.push("growth".to_owned());
        }
        let mut table = Table::new(heading);
        for outcome in &self.outcomes {
            let mut cells = vec![outcome.peer.name.to_owned()];
            for operation in ["get", "put"] {
                let times = SIZES.map(|size| outcome.median(&format!("{operation}_{size}")));
                cells.extend(times.map(|time| fixed(time, 1)));
                let growth = times[SIZES.len() - 1].zip(times[0]).map(|(last, first)| last / first);
                cells.push(fixed(growth, 1));
            }
            table.line(cells);
        }
        table
    }

    /// Bytes an entry and of an empty cache.
    pub fn memory(&self, options: &Options) -> Table {
        let heading = ["peer", "bytes an entry", "cachette / peer", "empty cache", "resident"];
        let parts = ["empty, 1 segment", "8 segments", "64 segments"];
        let mut table = Table::new(heading.into_iter().chain(parts));
        for outcome in &self.outcomes {
            table.line([
                outcome.peer.name.to_owned(),
                fixed(outcome.median("bytes"), 1),
                ratio(self.ratio(outcome, "bytes")),
                whole(outcome.median("empty")),
                whole(outcome.most("resident")) + self.mark(outcome, options),
                whole(outcome.median("empty_1")),
                whole(outcome.median("empty_8")),
                whole(outcome.median("empty_64")),
            ]);
        }
        table
    }

    /// Quantiles in nanoseconds: medians over the rounds, the greatest for the maximum.
    pub fn latency(&self, options: &Options) -> Table {
        let heading = ["peer", "get p50", "p99", "p99.9", "p99.99", "max"];
        let put = ["put p50", "p99", "p99.9", "p99.99", "max", "hits %", "peak resident"];
        let mut table = Table::new(heading.into_iter().chain(put));
        for outcome in &self.outcomes {
            let mut cells = vec![outcome.peer.name.to_owned()];
            for operation in ["get", "put"] {
                for quantile in ["p50", "p99", "p99.9", "p99.99"] {
                    cells.push(whole(outcome.median(&format!("{operation}_{quantile}"))));
                }
                cells.push(whole(outcome.most(&format!("{operation}_max"))));
            }
            cells.push(fixed(outcome.median("hits"), 1));
            cells.push(whole(outcome.most("resident")) + self.mark(outcome, options));
            table.line(cells);
        }
        table
    }
}

/// Million operations a second, with as many digits as mean anything.
pub fn rate(rate: Option<f64>) -> String {
    match rate {
        Some(rate) if rate >= 100.0 => fixed(Some(rate), 0),
        Some(rate) if rate >= 10.0 => fixed(Some(rate), 1),
        Some(rate) if rate < 0.1 => fixed(Some(rate), 4),
        _ => fixed(rate, 2),
    }
}

pub fn ratio(ratio: Option<f64>) -> String {
    fixed(ratio, 2)
}

/// A dash for what was not measured.
fn fixed(number: Option<f64>, digits: usize) -> String {
    match number {
        Some(number) if number.is_finite() => format!("{number:.digits$}"),
        _ => "-".to_owned(),
    }
}

fn whole(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), grouped)
}

/// A whole number in groups of three digits.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Section, grouped};
    use crate::Options;
    use crate::host::Outcome;
    use crate::peer::{Info, Way};
    use crate::work::Row;

    fn outcome(name: &'static str, rates: &[f64], hits: f64, resident: f64) -> Outcome {
        let peer = Info {
            name,
            package: if name == "cachette" { name } else { "" },
            note: "",
            bound: false,
            background: false,
            expires: false,
            slow_to_fill: false,
            ways: &[Way::Get],
        };
        let metrics = BTreeMap::from([
            ("rate".to_owned(), rates.to_vec()),
            ("hits".to_owned(), vec![hits]),
            ("resident".to_owned(), vec![resident]),
        ]);
        Outcome { peer, metrics: Ok(metrics) }
    }

    fn section(outcomes: Vec<Outcome>) -> Section {
        Section { row: Row::named("churn").expect("there is such a row"), outcomes }
    }

    #[test]
    fn the_fastest_peer_holds_its_capacity_and_hits_as_often() {
        let capacity = 65_536.0;
        let section = section(vec![
            outcome("cachette", &[9.0, 1.0, 10.0], 80.0, capacity),
            outcome("overfull", &[50.0], 99.0, capacity * 1.2),
            outcome("careless", &[40.0], 76.9, capacity),
            outcome("careful", &[3.0, 18.0, 100.0], 77.1, capacity * 1.05),
            outcome("slow", &[2.0], 90.0, capacity),
        ]);
        let options = Options::default();
        let (fastest, ratio) = section.against(Some(&section), &options).expect("a fastest peer");
        assert_eq!(fastest.peer.name, "careful");
        assert!((ratio - 0.5).abs() < 1e-9);
        assert_eq!(section.mark(fastest, &options), "†");
    }

    #[test]
    fn a_lost_peer_is_named() {
        let mut lost = outcome("lost", &[], 0.0, 0.0);
        lost.metrics = Err("gave no answer".to_owned());
        let section = section(vec![outcome("cachette", &[1.0], 1.0, 1.0), lost]);
        assert!(
            section.text(None, &Options::default()).ends_with("  left out: lost gave no answer\n")
        );
    }

    #[test]
    fn digits_come_in_threes() {
        assert_eq!(grouped(0.0), "0");
        assert_eq!(grouped(999.0), "999");
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!(grouped(-123_456.0), "-123,456");
    }
}
