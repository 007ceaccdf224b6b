//! The results as one page: a chart for each trace, and a table that sorts by a click. Cells in, HTML out.
//!
//! The page holds all that it needs and asks no network: the charts are inline SVG ([`chart`]), the style and the
//! script stand beside this file. Its colours follow the reader's preference for light or dark.

use crate::chart;
use crate::contender::OPT;
use crate::run::Cell;
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Text as it may stand in HTML, between tags or in a quoted attribute.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(letter),
        }
    }
    safe
}

/// What `of` makes of each item, each once, in the order of their first appearance.
pub(crate) fn distinct<'a, T: PartialEq>(
    cells: impl IntoIterator<Item = &'a Cell>,
    of: impl Fn(&'a Cell) -> T,
) -> Vec<T> {
    let mut found = Vec::new();
    for cell in cells {
        let item = of(cell);
        if !found.contains(&item) {
            found.push(item);
        }
    }
    found
}

/// A trace's cells belong together; with sizes its capacities are bytes, and it is another one.
fn trace_of(cell: &Cell) -> (&str, bool) {
    (&cell.trace, cell.bytes.is_some())
}

/// The cells of a trace and a capacity, which follow each other.
pub(crate) fn rows(cells: &[Cell]) -> impl Iterator<Item = &[Cell]> {
    cells.chunk_by(|one, next| (trace_of(one), one.capacity) == (trace_of(next), next.capacity))
}

/// The whole page.
pub(crate) fn page(cells: &[Cell]) -> String {
    let policies = distinct(cells, |cell| cell.policy);
    let charts = charts(cells, &policies);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>cachette replay: hit ratios</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>Hit ratios</h1>\n<p>Each line is a policy; point at one, or at its name, to see it alone. {}</p>\n{charts}\
         <h2>All cells</h2>\n<p>Requests hit, in %; for a trace with sizes also bytes hit. The best policy of each row is named and marked. \
         A click on a column's head sorts by it, a second one the other way round.</p>\n{}\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        if policies.contains(&OPT) {
            "<b>opt</b> is Belady&#39;s optimum, which knows the future: an upper bound, not a policy."
        } else {
            ""
        },
        table(cells, &policies)
    )
}

/// For each trace a head and its charts.
fn charts(cells: &[Cell], policies: &[&str]) -> String {
    let mut text = String::new();
    for (name, sized) in distinct(cells, trace_of) {
        let shown: Vec<_> = cells.iter().filter(|cell| trace_of(cell) == (name, sized)).collect();
        let (name, requests) = (escaped(name), grouped(shown[0].requests));
        let unit = if sized { "bytes" } else { "entries" };
        // Writing into a string cannot fail.
        let _ = writeln!(text, "<h2>{name}</h2>\n<p>{requests} requests, capacities in {unit}</p>");
        let over_time: Vec<_> = rows(cells)
            .filter(|row| trace_of(&row[0]) == trace_of(shown[0]) && row[0].over_time.len() > 1)
            .collect();
        // Over a single capacity there is little to see: dots above each other.
        if over_time.len() != 1 {
            text.push_str(&chart::over_capacity(&shown, policies));
        }
        for row in over_time {
            let capacity = grouped(row[0].capacity);
            let _ = writeln!(text, "<h3>{name} over time, at {capacity} {unit}</h3>");
            text.push_str(&chart::over_time(row, policies));
        }
        text.push('\n');
    }
    text
}

/// A row for each trace and capacity, a column for each policy.
fn table(cells: &[Cell], policies: &[&str]) -> String {
    let mut text = String::from("<div class=\"scroll\"><table>\n<thead><tr>");
    let heads = ["trace", "capacity", "best"].into_iter().chain(policies.iter().copied());
    for (at, head) in heads.enumerate() {
        let class = match at {
            0 => " class=\"name\"",
            2 => " class=\"word\"",
            _ => "",
        };
        let _ = write!(
            text,
            "<th scope=\"col\"{class} aria-sort=\"none\"><button>{}</button></th>",
            escaped(head)
        );
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    for row in rows(cells) {
        let first = &row[0];
        // The optimum is no policy that one could choose.
        let most = row.iter().filter(|cell| cell.policy != OPT).map(|cell| cell.hits).max();
        let is_best = |cell: &Cell| cell.policy != OPT && Some(cell.hits) == most;
        let best: Vec<_> =
            row.iter().filter(|cell| is_best(cell)).map(|cell| cell.policy).collect();
        let _ = write!(
            text,
            "<tr><td class=\"name\">{}</td><td data-v=\"{}\">{}</td><td class=\"word\">{}</td>",
            escaped(&first.trace),
            first.capacity,
            grouped(first.capacity),
            escaped(&some(&best))
        );
        for policy in policies {
            let cell = row.iter().find(|cell| cell.policy == *policy);
            text.push_str(&cell.map_or_else(
                || "<td data-v=\"\">-</td>".to_owned(),
                |cell| entry(cell, is_best(cell)),
            ));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div>\n");
    text
}

/// The names of few, the number of many.
fn some(names: &[&str]) -> String {
    if names.len() <= 2 { names.join(", ") } else { format!("{} alike", names.len()) }
}

fn entry(cell: &Cell, best: bool) -> String {
    let bytes = cell
        .byte_ratio()
        .map_or_else(String::new, |ratio| format!(" <small>/ {:.2}</small>", 100.0 * ratio));
    format!(
        "<td{} data-v=\"{:.6}\" title=\"{} hits, {:.2} M requests a second\">{:.2}{bytes}</td>",
        if best { " class=\"best\"" } else { "" },
        100.0 * cell.ratio(),
        grouped(cell.hits),
        cell.throughput() / 1e6,
        100.0 * cell.ratio()
    )
}

/// With a comma before each three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::time::Duration;

    pub(crate) fn cell(trace: &str, capacity: u64, policy: &'static str, hits: u64) -> Cell {
        Cell {
            trace: trace.to_owned(),
            capacity,
            policy,
            requests: 1_000,
            hits,
            over_time: vec![hits],
            phases: Vec::new(),
            bytes: None,
            peak: capacity,
            elapsed: Duration::from_millis(1),
        }
    }

    /// The text between tags of every row of the table's body.
    fn rows(page: &str) -> Vec<String> {
        let body = page.split("<tbody>").nth(1).and_then(|rest| rest.split("</tbody>").next());
        let row = |line: &str| {
            let texts = line.split('>').filter_map(|part| part.split('<').next());
            texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("|")
        };
        body.expect("a table").lines().filter(|line| !line.is_empty()).map(row).collect()
    }

    #[test]
    fn a_row_has_every_policy_and_its_best_is_marked() {
        let cells = [
            cell("T", 10, OPT, 900),
            cell("T", 10, "lru", 500),
            cell("T", 10, "fifo", 400),
            cell("T", 20, OPT, 900),
            cell("T", 20, "lru", 600),
            cell("T", 20, "fifo", 600),
            cell("T", 30, OPT, 900),
            cell("T", 30, "lru", 900),
            Cell { bytes: Some((100, 25)), ..cell("U", 1_234_567, "lru", 123) },
        ];
        let page = page(&cells);
        assert_eq!(
            rows(&page),
            [
                "T|10|lru|90.00|50.00|40.00",
                "T|20|lru, fifo|90.00|60.00|60.00",
                "T|30|lru|90.00|90.00|-",
                "U|1,234,567|lru|-|12.30 |/ 25.00|-"
            ]
        );
        let marked: Vec<_> = page
            .split("class=\"best\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').nth(1))
            .collect();
        assert_eq!(marked, ["50.000000", "60.000000", "60.000000", "90.000000", "12.300000"]);
        // Ties are named as far as there is room.
        assert_eq!(some(&["a", "b", "c"]), "3 alike");
        assert_eq!(page.matches("<svg").count(), 2, "a chart for each trace");
        assert_eq!(page.matches("<h2>").count(), 3);
        assert!(page.contains("capacities in bytes") && page.contains("Belady"));
        assert!(!page.contains("over time"));
    }

    #[test]
    fn there_is_a_chart_over_time_for_each_capacity() {
        let slices = |cell: Cell| Cell { over_time: vec![cell.hits / 2; 2], ..cell };
        let cells = [cell("T", 10, OPT, 900), cell("T", 10, "lru", 500), cell("T", 20, "lru", 600)]
            .map(slices);
        let both = page(&cells);
        assert_eq!(both.matches("<svg").count(), 3, "one over the capacity, two over time");
        assert!(both.contains("T over time, at 10 entries") && both.contains(", at 20 entries"));
        let one = page(&cells[..2]);
        assert_eq!(one.matches("<svg").count(), 1, "a single capacity is no chart of its own");
        assert!(one.contains("Hit ratios of T at 10 over time"));
    }

    #[test]
    fn what_a_name_holds_is_no_markup() {
        let name = "<script>alert('1 & \"2\"')</script>";
        let page = page(&[cell(name, 10, "lru", 500)]);
        assert!(!page.contains(name) && !page.contains("<script>alert"));
        let safe = "&lt;script&gt;alert(&#39;1 &amp; &quot;2&quot;&#39;)&lt;/script&gt;";
        assert!(page.matches(safe).count() >= 3, "head, chart and table");
        assert!(!page.contains("Belady"), "no optimum, no word of it");
    }

    #[test]
    fn the_page_asks_no_network() {
        let page = page(&[cell("T", 10, "lru", 500), cell("T", 20, "lru", 600)]);
        for outside in ["http:", "https:", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn no_cells_are_a_page_too() {
        assert_eq!(rows(&page(&[])), Vec::<String>::new());
    }

    #[test]
    fn digits_come_in_threes() {
        let texts = [0, 12, 123, 1_234, 123_456, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "12", "123", "1,234", "123,456", "1,234,567"]);
    }
}
