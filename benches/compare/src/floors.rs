//! What the cache promises of its speed and size, beside what was measured: the table in section 5 of the direction.

use crate::Options;
use crate::markdown::churn;
use crate::peer::{OURS, SIEVE};
use crate::report::Section;
use crate::table::Table;
use crate::work::SIZES;

/// A number, and what it was measured beside.
type Measured = (f64, String);

/// Measures one of our two configurations, by name.
type Measure<'a> = Box<dyn Fn(&str) -> Option<Measured> + 'a>;

/// Which side of the number a floor asks for.
#[derive(Clone, Copy)]
enum Want {
    AtLeast(f64),
    AtMost(f64),
}

/// One promise.
struct Floor<'a> {
    work: String,
    want: Want,
    unit: &'static str,
    /// The number for one of our two configurations, if its rows ran.
    measure: Measure<'a>,
}

/// All rows of a run.
#[derive(Clone, Copy)]
struct Book<'a> {
    sections: &'a [Section],
    options: &'a Options,
}

/// Rates beside the fastest peer that does the same work.
const RATES: [(&str, f64); 11] = [
    ("get-zipf", 1.5),
    ("get-zipf-mt", 2.0),
    ("get-hot-mt", 3.0),
    ("get-uniform-1m", 1.3),
    ("get-uniform-8m", 1.3),
    ("churn", 1.3),
    ("churn-mt", 1.3),
    ("insert", 1.2),
    ("insert-mt", 1.2),
    ("load", 1.3),
    ("load-mt", 1.3),
];

/// Every floor whose rows ran, a line each, met or missed by both configurations.
pub fn table(sections: &[Section], options: &Options) -> Table {
    let book = Book { sections, options };
    let heading = ["work", "floor", "beside", OURS, "verdict", SIEVE, "verdict"];
    let mut table = Table::new(heading);
    for floor in rates(book).into_iter().chain(reads(book)).chain(sizes(book)).chain(times(book)) {
        if let Some(cells) = line(&floor) {
            table.line(cells);
        }
    }
    table.line(["hit ratio, default policy, traces", "", "see examples/replay", "", "", "", ""]);
    table
}

/// The cells of a floor, none if its rows did not run.
fn line(floor: &Floor<'_>) -> Option<Vec<String>> {
    let unit = floor.unit;
    let want = match floor.want {
        Want::AtLeast(number) => format!("at least {}{unit}", short(number)),
        Want::AtMost(number) => format!("at most {}{unit}", short(number)),
    };
    let both = [OURS, SIEVE].map(|name| (floor.measure)(name));
    // The two may have different rivals: who counts depends on their own hit ratio.
    let mut beside: Vec<_> = both.iter().flatten().map(|(_, beside)| beside.as_str()).collect();
    if beside.is_empty() {
        return None;
    }
    beside.dedup();
    let mut cells = vec![floor.work.clone(), want, beside.join(" / ")];
    for measured in &both {
        cells.push(measured.as_ref().map_or_else(|| "-".to_owned(), |(number, _)| short(*number)));
        cells
            .push(measured.as_ref().map_or("-", |(number, _)| verdict(*number, floor.want)).into());
    }
    Some(cells)
}

fn verdict(number: f64, want: Want) -> &'static str {
    let met = match want {
        Want::AtLeast(least) => number >= least,
        Want::AtMost(most) => number <= most,
    };
    if met { "met" } else { "missed" }
}

fn short(number: f64) -> String {
    let digits = if number >= 1_000.0 || number.fract() == 0.0 { 0 } else { 2 };
    format!("{number:.digits$}")
}

impl<'a> Book<'a> {
    fn section(self, row: &str) -> Option<&'a Section> {
        self.sections.iter().find(|section| section.row.name == row)
    }

    fn median(self, row: &str, peer: &str, metric: &str) -> Option<f64> {
        self.section(row)?.outcome(peer)?.median(metric)
    }

    /// Ours beside the fastest peer.
    fn rate(self, row: &str, ours: &str) -> Option<Measured> {
        let section = self.section(row)?;
        let fastest = section.fastest(ours, churn(self.sections, section), self.options)?;
        let ratio = self.median(row, ours, "rate")? / fastest.median("rate")?;
        Some((ratio, fastest.peer.name.to_owned()))
    }

    /// What a second thread gains us, as a part of what it gains a map that nobody writes to.
    fn gain(self, ours: &str) -> Option<Measured> {
        let gain = |name| {
            Some(self.median("get-hot-mt", name, "rate")? / self.median("get-hot", name, "rate")?)
        };
        let bare = gain("hashbrown")?;
        Some((gain(ours)? / bare, format!("hashbrown, which gains {bare:.2} x")))
    }

    /// The time of a read beside that of a plain get of a bare map.
    fn beside_bare(self, row: &str, ours: &str) -> Option<Measured> {
        let bare = self.median(row, "hashbrown", "rate")?;
        Some((bare / self.median(row, ours, "rate")?, "hashbrown".to_owned()))
    }

    /// How much faster many keys a call are than one.
    fn many(self, ours: &str) -> Option<Measured> {
        let (row, single) = ("get-many-8m", "single");
        let ratio = self.median(row, ours, "rate")? / self.median(row, ours, single)?;
        Some((ratio, "its own get".to_owned()))
    }

    /// Bytes, divided among `parts`.
    fn bytes(self, ours: &str, metric: &str, parts: f64) -> Option<Measured> {
        Some((self.median("memory", ours, metric)? / parts, String::new()))
    }

    /// How an operation's time grows from the smallest size to the largest, beside a bare map's.
    fn growth(self, ours: &str, operation: &str) -> Option<Measured> {
        let at = |name, size| self.median("cost", name, &format!("{operation}_{size}"));
        let growth = |name| Some(at(name, SIZES[SIZES.len() - 1])? / at(name, SIZES[0])?);
        let bare = growth("hashbrown")?;
        Some((growth(ours)? / bare, format!("hashbrown, which grows {bare:.1} x")))
    }

    /// A quantile beside the least among the peers that do the same work.
    fn quantile(self, row: &str, ours: &str, metric: &str) -> Option<Measured> {
        let section = self.section(row)?;
        let churn = churn(self.sections, section);
        let best = section
            .rivals(ours, churn, self.options)
            .into_iter()
            .filter_map(|rival| Some((rival.median(metric)?, rival.peer.name)))
            .min_by(|a, b| a.0.total_cmp(&b.0))?;
        Some((self.median(row, ours, metric)? / best.0, best.1.to_owned()))
    }
}

fn floor<'a>(
    work: impl Into<String>,
    want: Want,
    unit: &'static str,
    measure: impl Fn(&str) -> Option<Measured> + 'a,
) -> Floor<'a> {
    Floor { work: work.into(), want, unit, measure: Box::new(measure) }
}

fn rates(book: Book<'_>) -> Vec<Floor<'_>> {
    let rate =
        |(row, least)| floor(row, Want::AtLeast(least), " x", move |ours| book.rate(row, ours));
    RATES.into_iter().map(rate).collect()
}

fn reads(book: Book<'_>) -> Vec<Floor<'_>> {
    vec![
        floor("get-hot-mt / get-hot", Want::AtLeast(0.9), " x", move |ours| book.gain(ours)),
        floor("get-pinned, time", Want::AtMost(2.2), " x", move |ours| {
            book.beside_bare("get-pinned", ours)
        }),
        floor("get-closure, time", Want::AtMost(3.0), " x", move |ours| {
            book.beside_bare("get-closure", ours)
        }),
        floor("get-many-8m", Want::AtLeast(1.6), " x", move |ours| book.many(ours)),
    ]
}

fn sizes(book: Book<'_>) -> Vec<Floor<'_>> {
    let bytes = |work, most, metric, parts| {
        floor(work, Want::AtMost(most), " B", move |ours| book.bytes(ours, metric, parts))
    };
    let growth = |work, operation| {
        floor(work, Want::AtMost(1.0), " x", move |ours| book.growth(ours, operation))
    };
    vec![
        bytes("memory, an entry", 48.0, "bytes", 1.0),
        bytes("memory, empty, 1 segment", 4_095.0, "empty_1", 1.0),
        bytes("memory, empty, each of 8 segments", 256.0, "empty_8", 8.0),
        bytes("memory, empty, each of 64 segments", 256.0, "empty_64", 64.0),
        growth("cost of a get, largest / smallest", "get"),
        growth("cost of an update, largest / smallest", "put"),
    ]
}

fn times(book: Book<'_>) -> Vec<Floor<'_>> {
    let mut floors = Vec::new();
    for row in ["latency", "latency-mt", "expire"] {
        for (operation, beside, alone) in
            [("get", "get_p99.9", "get_p99.99"), ("put", "put_p99.9", "put_p99.99")]
        {
            let work = format!("{row}, {operation} p99.9");
            floors.push(floor(work, Want::AtMost(1.5), " x", move |ours| {
                book.quantile(row, ours, beside)
            }));
            let work = format!("{row}, {operation} p99.99");
            floors.push(floor(work, Want::AtMost(25_000.0), " ns", move |ours| {
                Some((book.median(row, ours, alone)?, String::new()))
            }));
        }
    }
    floors
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::table;
    use crate::Options;
    use crate::host::Outcome;
    use crate::peer::Info;
    use crate::peers::ALL;
    use crate::report::Section;
    use crate::work::Row;

    fn peer(name: &str) -> Info {
        *ALL.iter().find(|peer| peer.name == name).expect("there is such a peer")
    }

    fn section(row: &str, metric: &str, numbers: &[(&str, f64)]) -> Section {
        let outcome = |&(name, number): &(&str, f64)| Outcome {
            peer: peer(name),
            metrics: Ok(BTreeMap::from([(metric.to_owned(), vec![number])])),
        };
        let row = Row::named(row).expect("there is such a row");
        Section { row, outcomes: numbers.iter().map(outcome).collect() }
    }

    #[test]
    fn a_floor_is_met_or_missed_by_each_configuration() {
        let rates = [("cachette", 14.0), ("cachette (sieve)", 30.0), ("scc", 10.0)];
        let bare = [("cachette", 10.0), ("cachette (sieve)", 5.0), ("hashbrown", 20.0)];
        let sections = [section("get-zipf", "rate", &rates), section("get-pinned", "rate", &bare)];
        let text = table(&sections, &Options::default()).text();
        let cells = |work: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(work)).unwrap_or("");
            line.split_whitespace().skip(work.split(' ').count()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(cells("get-zipf"), "at least 1.50 x scc 1.40 missed 3 met");
        assert_eq!(cells("get-pinned, time"), "at most 2.20 x hashbrown 2 met 4 missed");
        assert!(!text.contains("get-uniform-8m"), "it did not run: {text}");
    }

    #[test]
    fn a_quantile_is_held_against_the_best_peer() {
        let times = [("cachette", 200.0), ("quick_cache", 100.0), ("scc", 160.0)];
        let text = table(&[section("latency", "put_p99.9", &times)], &Options::default()).text();
        let line = text.lines().find(|line| line.contains("latency, put p99.9 ")).unwrap_or("");
        assert!(line.contains("quick_cache") && line.contains("missed"), "{text}");
    }
}
