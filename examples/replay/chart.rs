//! A chart as inline SVG: hit ratio over capacity, the capacity on a logarithmic scale.
//!
//! ```text
//!   hit %                    miss %
//!    60 |              ___---| 40   -- opt
//!    40 |      ___-----      | 60   -- lru
//!    20 |__----              | 80   -- fifo
//!       +--------------------+
//!       10       100       1k
//! ```
//!
//! A policy's line and its name in the legend are one group, so that pointing at either brings both out. Its colour and
//! dashes are those of its place among all policies of the page, the same in every chart.

use crate::contender::OPT;
use crate::page::{distinct, escaped, grouped};
use crate::run::Cell;
use std::fmt::Write as _;

/// Where the plot lies in the picture, and how high a line of the legend is.
const LEFT: f64 = 60.0;
const RIGHT: f64 = 800.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 400.0;
const LEGEND: f64 = 870.0;
const WIDTH: f64 = 1_030.0;
const LINE: f64 = 19.0;

/// The colours of the style, which repeat with other dashes.
const COLOURS: usize = 10;
const DASHES: [&str; 3] = ["", "8 4", "2 4"];

/// From values to places in the picture.
struct Scale {
    /// Logarithms of the least and the greatest capacity.
    x: (f64, f64),
    /// In percent.
    y: (f64, f64),
    /// Percent between two lines of the grid.
    step: f64,
}

impl Scale {
    fn of(cells: &[&Cell]) -> Self {
        let capacities = cells.iter().map(|cell| (cell.capacity as f64).max(1.0).log10());
        let (low, high) = ends(capacities);
        // A single capacity stands in the middle.
        let x = if high - low < 1e-9 { (low - 0.5, high + 0.5) } else { (low, high) };
        let (low, high) = ends(cells.iter().map(|cell| 100.0 * cell.ratio()));
        let step = match high - low {
            small if small <= 8.0 => 1.0,
            middle if middle <= 20.0 => 2.0,
            large if large <= 45.0 => 5.0,
            _ => 10.0,
        };
        let top = ((high / step).ceil() * step).clamp(step, 100.0);
        let bottom = ((low / step).floor() * step).min(top - step);
        Self { x, y: (bottom, top), step }
    }

    fn x(&self, capacity: f64) -> f64 {
        let part = (capacity.max(1.0).log10() - self.x.0) / (self.x.1 - self.x.0);
        LEFT + part * (RIGHT - LEFT)
    }

    fn y(&self, percent: f64) -> f64 {
        BOTTOM - (percent - self.y.0) / (self.y.1 - self.y.0) * (BOTTOM - TOP)
    }

    fn place(&self, cell: &Cell) -> (f64, f64) {
        (self.x(cell.capacity as f64), self.y(100.0 * cell.ratio()))
    }
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}

/// The chart of one trace's cells, at least one. `policies` are all of the page.
pub(crate) fn chart(name: &str, cells: &[&Cell], policies: &[&str]) -> String {
    let scale = Scale::of(cells);
    let mut lines: Vec<(&str, Vec<&Cell>)> = distinct(cells.iter().copied(), |cell| cell.policy)
        .into_iter()
        .map(|policy| (policy, points(cells, policy)))
        .collect();
    // The legend's order is that of the lines, as far as lines have one: by all their hits, the best on top.
    lines.sort_by_key(|(_, points)| {
        std::cmp::Reverse(points.iter().map(|cell| u128::from(cell.hits)).sum::<u128>())
    });
    let height = (BOTTOM + 50.0).max(TOP + LINE * lines.len() as f64 + 10.0);
    let sized = cells.iter().any(|cell| cell.bytes.is_some());
    let label = escaped(&format!("Hit ratios of {name} over the capacity"));
    let mut text = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">\n{}<g class=\"plot\">\n",
        axes(&scale, sized)
    );
    for (row, (policy, points)) in lines.iter().enumerate() {
        let place = policies.iter().position(|other| other == policy).unwrap_or_default();
        text.push_str(&line(&scale, policy, points, place, row));
    }
    text.push_str("</g>\n</svg>");
    text
}

/// A policy's cells from left to right.
fn points<'a>(cells: &[&'a Cell], policy: &str) -> Vec<&'a Cell> {
    let mut points: Vec<_> = cells.iter().copied().filter(|cell| cell.policy == policy).collect();
    points.sort_by_key(|cell| cell.capacity);
    points
}

/// The grid, its numbers, and what they are.
fn axes(scale: &Scale, sized: bool) -> String {
    let mut text = String::new();
    let mut percent = scale.y.0;
    while percent < scale.y.1 + scale.step / 2.0 {
        let (y, miss, base) = (scale.y(percent), 100.0 - percent, scale.y(percent) + 4.0);
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>\
             <text x=\"{}\" y=\"{base:.1}\" text-anchor=\"end\">{percent}</text>\
             <text x=\"{}\" y=\"{base:.1}\">{miss}</text>",
            LEFT - 8.0,
            RIGHT + 8.0
        );
        percent += scale.step;
    }
    for (capacity, named) in ticks(scale.x) {
        let x = scale.x(capacity);
        let _ = write!(text, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{BOTTOM}\"/>");
        if named {
            let y = BOTTOM + 18.0;
            let short = short(capacity);
            let _ =
                write!(text, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{short}</text>");
        }
        text.push('\n');
    }
    let unit = if sized { "bytes" } else { "entries" };
    let _ = writeln!(
        text,
        "<path class=\"axis\" fill=\"none\" d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}V{TOP}\"/>\
         <text x=\"{}\" y=\"16\">hit %</text><text x=\"{}\" y=\"16\" text-anchor=\"end\">miss %</text>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">capacity in {unit}, logarithmic</text>",
        LEFT - 32.0,
        RIGHT + 36.0,
        f64::midpoint(LEFT, RIGHT),
        BOTTOM + 40.0
    );
    text
}

/// The capacities between two logarithms that get a line, and whether a number, too: the powers of ten; where these are few,
/// their doubles and fivefolds, too.
fn ticks((low, high): (f64, f64)) -> Vec<(f64, bool)> {
    let mut ticks = Vec::new();
    let mut decade = low.floor();
    while decade <= high {
        for digit in [1.0, 2.0, 5.0] {
            let tick = digit * 10.0_f64.powf(decade);
            let at = tick.log10();
            if tick >= 1.0 && at >= low - 1e-9 && at <= high + 1e-9 {
                ticks.push((tick, high - low <= 4.0 || digit < 2.0));
            }
        }
        decade += 1.0;
    }
    ticks
}

/// A round number in few letters: `20k` for 20,000.
fn short(number: f64) -> String {
    let units = [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.into_iter().find(|(unit, _)| number >= *unit * 0.999) {
        Some((unit, letter)) => format!("{:.0}{letter}", number / unit),
        None => format!("{number:.0}"),
    }
}

/// A policy's line and points, and its row of the legend.
fn line(scale: &Scale, policy: &str, points: &[&Cell], place: usize, row: usize) -> String {
    let (colour, dashes) = if policy == OPT {
        ("var(--text)".to_owned(), DASHES[2])
    } else {
        (format!("var(--c{})", place % COLOURS), DASHES[place / COLOURS % DASHES.len()])
    };
    let mut text =
        format!("<g class=\"line\" style=\"--c:{colour}\" stroke-dasharray=\"{dashes}\">");
    let mut way = String::new();
    for (at, cell) in points.iter().enumerate() {
        let (x, y) = scale.place(cell);
        // Writing into a string cannot fail.
        let _ = write!(way, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
    }
    let y = TOP + LINE * row as f64 + 6.0;
    let (end, word, base, name) = (LEGEND + 30.0, LEGEND + 38.0, y + 4.0, escaped(policy));
    let _ = write!(
        text,
        "<path d=\"{way}\"/><rect class=\"hit\" x=\"{LEGEND}\" y=\"{:.1}\" width=\"{}\" height=\"{LINE}\"/>\
         <path d=\"M{LEGEND} {y:.1}H{end}\"/><text x=\"{word}\" y=\"{base:.1}\">{name}</text>",
        y - LINE / 2.0,
        WIDTH - LEGEND
    );
    // Solid lines have round marks, the others square ones.
    let round = if dashes.is_empty() { 3 } else { 0 };
    for cell in points {
        let (x, y) = scale.place(cell);
        let (capacity, percent) = (grouped(cell.capacity), 100.0 * cell.ratio());
        let _ = write!(
            text,
            "<rect class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" width=\"6\" height=\"6\" rx=\"{round}\">\
             <title>{name} at {capacity}: {percent:.2} %</title></rect>",
            x - 3.0,
            y - 3.0
        );
    }
    text.push_str("</g>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::tests::cell;

    fn drawn(cells: &[Cell], policies: &[&str]) -> String {
        chart("T", &cells.iter().collect::<Vec<_>>(), policies)
    }

    #[test]
    fn points_lie_where_their_capacity_and_ratio_say() {
        let cells =
            [cell("T", 1_000, "lru", 800), cell("T", 10, "lru", 0), cell("T", 100, "lru", 400)];
        let text = drawn(&cells, &["lru"]);
        assert!(text.contains("d=\"M60.0 400.0L430.0 214.0L800.0 28.0\""), "{text}");
        assert!(text.contains("x=\"427.0\" y=\"211.0\" width=\"6\""), "{text}");
        assert!(text.contains("<title>lru at 1,000: 80.00 %</title>"));
        for words in ["hit %", "miss %", "capacity in entries, logarithmic", ">80<", ">1k<"] {
            assert!(text.contains(words), "{words}");
        }
    }

    #[test]
    fn one_capacity_stands_in_the_middle() {
        assert!(drawn(&[cell("T", 100, "lru", 400)], &["lru"]).contains("M430.0 "));
        assert!(!drawn(&[cell("T", 1, "lru", 0)], &["lru"]).contains("NaN"));
        assert!(!drawn(&[cell("T", 1, "lru", 1_000)], &["lru"]).contains("inf"));
    }

    #[test]
    fn the_legend_has_each_policy_once_the_best_on_top() {
        let cells =
            [cell("T", 10, "fifo", 300), cell("T", 10, "lru", 500), cell("T", 10, OPT, 900)];
        let text = drawn(&cells, &["fifo", "lru", OPT]);
        let place = |name: &str| text.find(&format!(">{name}</text>")).expect("in the legend");
        assert!(place(OPT) < place("lru") && place("lru") < place("fifo"));
        assert_eq!(text.matches(">lru</text>").count(), 1);
    }

    #[test]
    fn no_two_policies_look_the_same_and_a_policy_always_does() {
        let policies = [
            "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q",
            "r", "s", "t", "u", "v", "w", "x",
        ];
        let cells: Vec<_> = policies.iter().map(|policy| cell("T", 10, policy, 500)).collect();
        let looks = |text: &str| -> std::collections::BTreeSet<String> {
            let looks = text.split("class=\"line\"").skip(1);
            looks.filter_map(|rest| rest.split('>').next().map(str::to_owned)).collect()
        };
        let all = looks(&drawn(&cells, &policies));
        assert_eq!(all.len(), policies.len());
        assert!(looks(&drawn(&cells[13..14], &policies)).is_subset(&all));
    }

    #[test]
    fn the_scales_show_all_there_is() {
        let scale = |hits: [u64; 2]| {
            let cells = hits.map(|hits| cell("T", 10, "lru", hits));
            Scale::of(&cells.iter().collect::<Vec<_>>()).y
        };
        assert_eq!(scale([0, 1_000]), (0.0, 100.0));
        assert_eq!(scale([613, 688]), (61.0, 69.0));
        assert_eq!(scale([0, 0]), (0.0, 1.0));
        assert_eq!(scale([1_000, 1_000]), (99.0, 100.0));
        let named = |low: f64, high: f64| -> Vec<_> {
            let named = ticks((low.log10(), high.log10())).into_iter().filter(|tick| tick.1);
            named.map(|(tick, _)| short(tick)).collect()
        };
        assert_eq!(named(1.0, 30.0), ["1", "2", "5", "10", "20"]);
        assert_eq!(
            named(187.0, 186_880.0),
            ["200", "500", "1k", "2k", "5k", "10k", "20k", "50k", "100k"]
        );
        assert_eq!(named(1.0, 2e6), ["1", "10", "100", "1k", "10k", "100k", "1M"]);
        assert_eq!(short(5e9), "5G");
    }
}
