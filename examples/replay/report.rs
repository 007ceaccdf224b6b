//! What a run says: the table, the CSV rows, and the comparison with a reference.

use crate::run::{Cell, Check};
use crate::trace::Phase;
use std::fmt::Write as _;
use std::ops::Range;

/// The columns of a reference come first, so that a file written here can be one. The last has the hits of each slice, with spaces
/// between; without `--over-time` all requests are one slice.
pub(crate) const CSV_HEADER: &str = "trace,capacity,policy,requests,hits,ratio,bytes,byte_hits,requests_per_second,peak_weight,hits_over_time";

/// What goes above the table.
pub(crate) fn clock(rate: u32, jobs: usize) -> String {
    let clock = format!("by the cache's clock: {rate} requests a second");
    match jobs {
        1 => clock,
        _ => format!("{clock}; up to {jobs} cells side by side: --jobs 1 to measure throughput"),
    }
}

/// The table's column heads; `names` is the width of the longest trace name.
pub(crate) fn header(names: usize) -> String {
    table_line(
        names,
        [
            "trace",
            "capacity",
            "policy",
            "requests",
            "hits",
            "hit %",
            "byte hit %",
            "M req/s",
            "peak weight",
            "seconds",
        ]
        .map(str::to_owned),
    )
}

/// One cell as a line of the table.
pub(crate) fn row(names: usize, cell: &Cell) -> String {
    let fields = [
        cell.trace.clone(),
        cell.capacity.to_string(),
        cell.policy.to_owned(),
        cell.requests.to_string(),
        cell.hits.to_string(),
        format!("{:.2}", 100.0 * cell.ratio()),
        cell.byte_ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{:.2}", 100.0 * ratio)),
        format!("{:.2}", cell.throughput() / 1e6),
        cell.peak.to_string(),
        format!("{:.3}", cell.elapsed.as_secs_f64()),
    ];
    table_line(names, fields)
}

fn table_line(names: usize, fields: [String; 10]) -> String {
    let [trace, capacity, policy, requests, hits, ratio, byte_ratio, speed, peak, seconds] = fields;
    format!(
        "{trace:<names$}  {capacity:>10}  {policy:<15}  {requests:>9}  {hits:>9}  {ratio:>6}  {byte_ratio:>10}  {speed:>8}  {peak:>11}  {seconds:>8}"
    )
}

/// The most columns of the table over time.
const COLUMNS: usize = 8;

/// The hit ratios over time of cells of one trace at one capacity, line by line. Slices share a column if they are many.
pub(crate) fn over_time(cells: &[Cell]) -> Vec<String> {
    let Some(first) = cells.first() else { return Vec::new() };
    let slices = first.over_time.len();
    let columns = slices.min(COLUMNS);
    let start = |column: usize| column * slices / columns;
    let mut lines = vec![format!("{} at {}: hit % over time", first.trace, first.capacity)];
    let named = |phase: &Phase| format!("{} from {}", phase.name, phase.start);
    if !first.phases.is_empty() {
        let phases: Vec<_> = first.phases.iter().map(named).collect();
        lines.push(format!("the requests: {}", phases.join("; ")));
    }
    let width = first.requests.to_string().len().max("100.00".len());
    let line = |name: &str, entry: &dyn Fn(Range<usize>) -> String| {
        let entries = (0..columns).map(|column| entry(start(column)..start(column + 1)));
        entries.fold(format!("{name:<15}"), |line, entry| format!("{line}  {entry:>width$}"))
    };
    lines.push(line("up to request", &|slices| first.start(slices.end).to_string()));
    lines.extend(
        cells.iter().map(|cell| {
            line(cell.policy, &|slices| format!("{:.2}", 100.0 * cell.ratio_of(slices)))
        }),
    );
    lines
}

/// One cell as a row under [`CSV_HEADER`].
pub(crate) fn csv_row(cell: &Cell) -> String {
    let Cell { trace, capacity, policy, requests, hits, bytes, peak, .. } = cell;
    let quoted = trace.contains([',', '"', '\n', '\r']);
    let trace = if quoted { format!("\"{}\"", trace.replace('"', "\"\"")) } else { trace.clone() };
    let (asked, hit) =
        bytes.map_or_else(Default::default, |(asked, hit)| (asked.to_string(), hit.to_string()));
    let (ratio, speed) = (cell.ratio(), cell.throughput());
    let over_time: Vec<_> = cell.over_time.iter().map(u64::to_string).collect();
    format!(
        "{trace},{capacity},{policy},{requests},{hits},{ratio:.6},{asked},{hit},{speed:.0},{peak},{}",
        over_time.join(" ")
    )
}

/// One row of a reference.
pub(crate) struct Expected {
    trace: String,
    pub(crate) capacity: u64,
    pub(crate) policy: String,
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    bytes: Option<(u64, u64)>,
}

/// Known results, to check a run against.
pub(crate) struct Reference {
    rows: Vec<Expected>,
}

/// Where each column is.
struct Columns {
    count: usize,
    needed: [usize; 5],
    bytes: Option<[usize; 2]>,
}

impl Columns {
    fn of(header: &str) -> Result<Self, String> {
        let names: Vec<_> = header.split(',').map(str::trim).collect();
        let place = |wanted: &str| {
            names
                .iter()
                .position(|name| *name == wanted)
                .ok_or_else(|| format!("line 1: there is no column `{wanted}`"))
        };
        Ok(Self {
            count: names.len(),
            needed: [
                place("trace")?,
                place("capacity")?,
                place("policy")?,
                place("requests")?,
                place("hits")?,
            ],
            bytes: place("bytes").and_then(|asked| Ok([asked, place("byte_hits")?])).ok(),
        })
    }

    fn row(&self, line: &str) -> Result<Expected, String> {
        let fields: Vec<_> = line.split(',').map(str::trim).collect();
        if fields.len() != self.count {
            return Err(format!("{} fields where the first line has {}", fields.len(), self.count));
        }
        let number = |at: usize| {
            fields[at].parse::<u64>().map_err(|_| format!("{:?} is not a number", fields[at]))
        };
        let [trace, capacity, policy, requests, hits] = self.needed;
        let bytes = match self.bytes {
            Some([asked, hit]) if !fields[asked].is_empty() => Some((number(asked)?, number(hit)?)),
            _ => None,
        };
        Ok(Expected {
            trace: fields[trace].to_owned(),
            capacity: number(capacity)?,
            policy: fields[policy].to_owned(),
            requests: number(requests)?,
            hits: number(hits)?,
            bytes,
        })
    }
}

impl Reference {
    /// Reads a reference: CSV with at least the columns `trace,capacity,policy,requests,hits`, and `bytes,byte_hits` where
    /// capacities are bytes.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().zip(1_u64..).filter(|(line, _)| !line.trim().is_empty());
        let Some((header, _)) = lines.next() else { return Err("it is empty".to_owned()) };
        let columns = Columns::of(header)?;
        let rows = lines.map(|(line, number)| {
            columns.row(line).map_err(|what| format!("line {number}: {what}"))
        });
        Ok(Self { rows: rows.collect::<Result<_, _>>()? })
    }

    /// What it has for a trace: where capacities are bytes, or where they are not.
    pub(crate) fn rows<'a>(
        &'a self,
        trace: &'a str,
        sized: bool,
    ) -> impl Iterator<Item = &'a Expected> {
        self.rows.iter().filter(move |row| row.trace == trace && row.bytes.is_some() == sized)
    }

    /// The capacities that it has for a trace, each once. Those of sized traces are bytes, and never mixed with the others.
    pub(crate) fn capacities(&self, trace: &str, sized: bool) -> Vec<u64> {
        let mut capacities: Vec<_> = self.rows(trace, sized).map(|row| row.capacity).collect();
        capacities.sort_unstable();
        capacities.dedup();
        capacities
    }

    /// None where it has no such cell, or there is nothing to compare; else the differences, none of them in the empty string.
    pub(crate) fn differences(&self, cell: &Cell, check: Check) -> Option<String> {
        if check == Check::None {
            return None;
        }
        let mut rows = self.rows(&cell.trace, cell.bytes.is_some());
        // Some write a policy's name without its hyphen.
        let policy = cell.policy.replace('-', "");
        let expected = rows
            .find(|row| row.capacity == cell.capacity && row.policy.replace('-', "") == policy)?;
        let mut differences = String::new();
        let mut compare = |what: &str, ours: u64, theirs: u64| {
            if ours != theirs {
                // Writing into a string cannot fail.
                let _ = write!(differences, "; {what} {ours}, expected {theirs}");
            }
        };
        compare("requests", cell.requests, expected.requests);
        compare("hits", cell.hits, expected.hits);
        if let (Some(ours), Some(theirs)) = (cell.bytes, expected.bytes) {
            compare("bytes", ours.0, theirs.0);
            compare("byte hits", ours.1, theirs.1);
        }
        let found = differences.trim_start_matches("; ");
        let place = format!("{} at {}, {}: ", cell.trace, cell.capacity, cell.policy);
        Some(if found.is_empty() { String::new() } else { place + found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn cell(bytes: Option<(u64, u64)>) -> Cell {
        Cell {
            trace: "T".to_owned(),
            capacity: 10,
            policy: "lru",
            requests: 3,
            hits: 2,
            over_time: vec![2],
            phases: Vec::new(),
            bytes,
            peak: 9,
            elapsed: Duration::from_millis(3),
        }
    }

    #[test]
    fn the_columns_of_the_table_stand_under_their_names() {
        let (head, line) = (header(5), row(5, &cell(None)));
        assert_eq!(head.len(), line.len());
        assert_eq!(
            line.split_whitespace().collect::<Vec<_>>(),
            ["T", "10", "lru", "3", "2", "66.67", "-", "0.00", "9", "0.003"]
        );
        assert!(row(1, &cell(Some((200, 50)))).contains(" 25.00 "));
    }

    #[test]
    fn slices_share_a_column_if_they_are_many() {
        let phases = ["day", "night"].into_iter().zip([0, 9]);
        let lru = Cell {
            requests: 18,
            hits: 10,
            over_time: (0..9).map(|slice| slice % 3).collect(),
            phases: phases.map(|(name, start)| Phase { name, start }).collect(),
            ..cell(None)
        };
        let fifo = Cell { policy: "fifo", over_time: vec![2; 9], ..lru.clone() };
        let words = |line: &String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let lines = over_time(&[lru, fifo]);
        assert_eq!(lines[0], "T at 10: hit % over time");
        assert_eq!(lines[1], "the requests: day from 0; night from 9");
        assert_eq!(words(&lines[2])[3..], ["2", "4", "6", "8", "10", "12", "14", "18"]);
        let expected =
            ["lru", "0.00", "50.00", "100.00", "0.00", "50.00", "100.00", "0.00", "75.00"];
        assert_eq!(words(&lines[3]), expected);
        assert_eq!(words(&lines[4])[8], "100.00");
        assert_eq!((lines[2].len(), lines.len()), (lines[4].len(), 5));
        assert_eq!(words(&over_time(&[cell(None)])[2]), ["lru", "66.67"]);
        assert!(over_time(&[]).is_empty());
    }

    #[test]
    fn cells_side_by_side_are_told_for_they_slow_each_other_down() {
        assert_eq!(clock(5, 1), "by the cache's clock: 5 requests a second");
        assert!(clock(5, 3).contains("up to 3 cells side by side: --jobs 1"));
    }

    #[test]
    fn csv_rows_begin_as_the_reference_does() {
        assert_eq!(csv_row(&cell(None)), "T,10,lru,3,2,0.666667,,,1000,9,2");
        assert_eq!(csv_row(&cell(Some((200, 50)))), "T,10,lru,3,2,0.666667,200,50,1000,9,2");
        let slices = Cell { over_time: vec![0, 1, 1], ..cell(None) };
        assert!(csv_row(&slices).ends_with(",9,0 1 1"));
        let named = Cell { trace: "a,\"b\"".to_owned(), ..cell(None) };
        assert!(csv_row(&named).starts_with("\"a,\"\"b\"\"\",10,"));
        assert_eq!(CSV_HEADER.split(',').count(), csv_row(&cell(None)).split(',').count());
    }

    #[test]
    fn what_is_written_can_be_checked_against() {
        for bytes in [None, Some((200, 50))] {
            let text = format!("{CSV_HEADER}\n{}\n", csv_row(&cell(bytes)));
            let reference = Reference::parse(&text).expect("ours");
            assert_eq!(reference.differences(&cell(bytes), Check::Exact), Some(String::new()));
            assert_eq!(reference.capacities("T", bytes.is_some()), [10]);
            assert_eq!(reference.capacities("T", bytes.is_none()), [0_u64; 0]);
        }
    }

    #[test]
    fn differences_are_told_and_other_cells_are_not_compared() {
        let text = "trace,capacity,policy,requests,hits,ratio\nT,20,lru,3,2,0.6\nT,10,lru,3,1,0.3\nT,20,fifo,3,2,0.6\n";
        let reference = Reference::parse(text).expect("well formed");
        assert_eq!(reference.capacities("T", false), [10, 20]);
        assert_eq!(
            reference.differences(&cell(None), Check::Exact).as_deref(),
            Some("T at 10, lru: hits 2, expected 1")
        );
        assert_eq!(
            reference.differences(&Cell { policy: "fifo", ..cell(None) }, Check::Exact),
            None
        );
        assert_eq!(
            reference.differences(&cell(Some((1, 1))), Check::Exact),
            None,
            "bytes are another kind of capacity"
        );
        let sized = Reference::parse(
            "trace,capacity,policy,requests,hits,bytes,byte_hits\nT,10,lru,4,2,200,50\n",
        )
        .expect("well formed");
        let told = sized.differences(&cell(Some((200, 51))), Check::Exact).expect("compared");
        assert_eq!(told, "T at 10, lru: requests 3, expected 4; byte hits 51, expected 50");
    }

    #[test]
    fn a_name_may_lack_its_hyphen_and_what_is_drawn_is_not_compared() {
        let text = "trace,capacity,policy,requests,hits\nT,10,s3fifo,20000,9\n";
        let reference = Reference::parse(text).expect("well formed");
        let cell = |hits| Cell { policy: "s3-fifo", requests: 20_000, hits, ..cell(None) };
        assert_eq!(reference.differences(&cell(9), Check::Exact).as_deref(), Some(""));
        assert_eq!(
            reference.differences(&cell(8), Check::Exact).as_deref(),
            Some("T at 10, s3-fifo: hits 8, expected 9")
        );
        assert_eq!(reference.differences(&cell(8), Check::None), None);
    }

    #[test]
    fn a_garbled_reference_is_told_with_its_line() {
        let says = |text: &str, expected: &str| {
            let error = Reference::parse(text).err().expect("garbled");
            assert!(error.contains(expected), "{error} lacks {expected}");
        };
        says("", "empty");
        says("trace,capacity,policy,hits\n", "line 1: there is no column `requests`");
        says("trace,capacity,policy,requests,hits\n\nT,1,lru,2\n", "line 3: 4 fields");
        says("trace,capacity,policy,requests,hits\nT,1,lru,2,x\n", "line 2: \"x\" is not a number");
    }
}
