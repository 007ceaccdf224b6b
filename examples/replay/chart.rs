//! Charts as inline SVG: hit ratio over capacity, the capacity on a logarithmic scale; and hit ratio over the requests.
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
use crate::trace::Phase;
use std::fmt::Write as _;

/// Where the plot lies in the picture, and how high a line of the legend is.
const LEFT: f64 = 60.0;
const RIGHT: f64 = 800.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 400.0;
const LEGEND: f64 = 870.0;
const WIDTH: f64 = 1_030.0;
const LINE: f64 = 19.0;

/// The most points of a line that are marked before one points at it.
const MARKED: usize = 40;

/// The colours of the style, which repeat with other dashes.
const COLOURS: usize = 10;
const DASHES: [&str; 3] = ["", "8 4", "2 4"];

/// What lies along the bottom.
enum Across {
    /// Capacities, on a logarithmic scale; the logarithms of the least and the greatest.
    Capacities((f64, f64)),
    /// So many requests.
    Requests(f64),
}

/// A cell, or a slice of one.
struct Point {
    /// A capacity, or the number of a request.
    at: f64,
    percent: f64,
    /// What a reader is told who points at it.
    words: String,
}

/// What there is of a policy.
struct Line<'a> {
    policy: &'a str,
    hits: u128,
    points: Vec<Point>,
}

/// From values to places in the picture.
struct Scale {
    across: Across,
    /// In percent.
    y: (f64, f64),
    /// Percent between two lines of the grid.
    step: f64,
}

impl Scale {
    fn of(across: Across, lines: &[Line<'_>]) -> Self {
        let points = lines.iter().flat_map(|line| &line.points);
        let (low, high) = ends(points.map(|point| point.percent));
        let step = match high - low {
            small if small <= 8.0 => 1.0,
            middle if middle <= 20.0 => 2.0,
            large if large <= 45.0 => 5.0,
            _ => 10.0,
        };
        let top = ((high / step).ceil() * step).clamp(step, 100.0);
        let bottom = ((low / step).floor() * step).min(top - step);
        Self { across, y: (bottom, top), step }
    }

    fn x(&self, at: f64) -> f64 {
        let part = match self.across {
            Across::Capacities((low, high)) => (at.max(1.0).log10() - low) / (high - low),
            Across::Requests(all) => at / all,
        };
        LEFT + part * (RIGHT - LEFT)
    }

    fn y(&self, percent: f64) -> f64 {
        BOTTOM - (percent - self.y.0) / (self.y.1 - self.y.0) * (BOTTOM - TOP)
    }

    fn place(&self, point: &Point) -> (f64, f64) {
        (self.x(point.at), self.y(point.percent))
    }

    /// The values along the bottom that get a line, and whether a number, too.
    fn ticks(&self) -> Vec<(f64, bool)> {
        match self.across {
            Across::Capacities(ends) => logarithmic(ends),
            Across::Requests(all) => even(all),
        }
    }
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}

/// The chart of one trace's cells, at least one. `policies` are all of the page.
pub(crate) fn over_capacity(cells: &[&Cell], policies: &[&str]) -> String {
    let Some(first) = cells.first() else { return String::new() };
    let line = |policy| {
        let mut cells: Vec<_> = cells.iter().filter(|cell| cell.policy == policy).collect();
        cells.sort_by_key(|cell| cell.capacity);
        let point = |cell: &&&Cell| Point {
            at: cell.capacity as f64,
            percent: 100.0 * cell.ratio(),
            words: format!("at {}", grouped(cell.capacity)),
        };
        let hits = cells.iter().map(|cell| u128::from(cell.hits)).sum();
        Line { policy, hits, points: cells.iter().map(point).collect() }
    };
    let lines = distinct(cells.iter().copied(), |cell| cell.policy).into_iter().map(line).collect();
    let capacities = cells.iter().map(|cell| (cell.capacity as f64).max(1.0).log10());
    let (low, high) = ends(capacities);
    // A single capacity stands in the middle.
    let ends = if high - low < 1e-9 { (low - 0.5, high + 0.5) } else { (low, high) };
    let unit = if first.bytes.is_some() { "bytes" } else { "entries" };
    Chart {
        label: format!("Hit ratios of {} over the capacity", first.trace),
        bottom: format!("capacity in {unit}, logarithmic"),
        across: Across::Capacities(ends),
        lines,
        phases: &[],
    }
    .draw(policies)
}

/// The chart of the slices of cells, at least one, of one trace and capacity. `policies` are all of the page.
pub(crate) fn over_time(cells: &[Cell], policies: &[&str]) -> String {
    let Some(first) = cells.first() else { return String::new() };
    let line = |cell: &'_ Cell| {
        let point = |slice| {
            let (start, end) = (cell.start(slice), cell.start(slice + 1));
            Point {
                at: f64::midpoint(start as f64, end as f64),
                percent: 100.0 * cell.ratio_of(slice..slice + 1),
                words: format!("in requests {} to {}", grouped(start + 1), grouped(end)),
            }
        };
        let points = (0..cell.over_time.len()).map(point).collect();
        Line { policy: cell.policy, hits: u128::from(cell.hits), points }
    };
    Chart {
        label: format!("Hit ratios of {} at {} over time", first.trace, first.capacity),
        bottom: "requests".to_owned(),
        across: Across::Requests(first.requests as f64),
        lines: cells.iter().map(line).collect(),
        phases: &first.phases,
    }
    .draw(policies)
}

/// All that a picture shows.
struct Chart<'a> {
    label: String,
    /// What stands under the numbers along the bottom.
    bottom: String,
    across: Across,
    lines: Vec<Line<'a>>,
    phases: &'a [Phase],
}

impl Chart<'_> {
    fn draw(mut self, policies: &[&str]) -> String {
        let scale = Scale::of(self.across, &self.lines);
        // The legend's order is that of the lines, as far as lines have one: by all their hits, the best on top.
        self.lines.sort_by_key(|line| std::cmp::Reverse(line.hits));
        let height = (BOTTOM + 50.0).max(TOP + LINE * self.lines.len() as f64 + 10.0);
        let mut text = format!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n{}{}<g class=\"plot\">\n",
            escaped(&self.label),
            axes(&scale, &self.bottom),
            phases(&scale, self.phases)
        );
        for (row, line) in self.lines.iter().enumerate() {
            let place = policies.iter().position(|other| *other == line.policy);
            text.push_str(&drawn(&scale, line, place.unwrap_or_default(), row));
        }
        text.push_str("</g>\n</svg>");
        text
    }
}

/// Where the requests change their nature, and the name of each piece above it.
fn phases(scale: &Scale, phases: &[Phase]) -> String {
    let mut text = String::new();
    for (at, phase) in phases.iter().enumerate() {
        let x = scale.x(phase.start as f64);
        let end = phases.get(at + 1).map_or(RIGHT, |next| scale.x(next.start as f64));
        if at > 0 {
            // Writing into a string cannot fail.
            let _ = write!(text, "<path class=\"phase\" d=\"M{x:.1} {TOP}V{BOTTOM}\"/>");
        }
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(x, end),
            TOP - 8.0,
            escaped(phase.name)
        );
    }
    text
}

/// The grid, its numbers, and what they are.
fn axes(scale: &Scale, bottom: &str) -> String {
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
    for (value, named) in scale.ticks() {
        let x = scale.x(value);
        let _ = write!(text, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{BOTTOM}\"/>");
        if named {
            let (y, short) = (BOTTOM + 18.0, short(value));
            let _ =
                write!(text, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{short}</text>");
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "<path class=\"axis\" fill=\"none\" d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}V{TOP}\"/>\
         <text x=\"{}\" y=\"16\">hit %</text><text x=\"{}\" y=\"16\" text-anchor=\"end\">miss %</text>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{bottom}</text>",
        LEFT - 32.0,
        RIGHT + 36.0,
        f64::midpoint(LEFT, RIGHT),
        BOTTOM + 40.0
    );
    text
}

/// The capacities between two logarithms that get a line, and whether a number, too: the powers of ten; where these are few,
/// their doubles and fivefolds, too.
fn logarithmic((low, high): (f64, f64)) -> Vec<(f64, bool)> {
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

/// At most ten steps from 0 on, each a round number.
fn even(all: f64) -> Vec<(f64, bool)> {
    let decade = 10.0_f64.powf(all.log10().floor() - 1.0).max(1.0);
    let fits = |step: &f64| all / step <= 10.0;
    let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * decade).into_iter().find(fits);
    let step = step.unwrap_or(all);
    (0_u32..).map(|at| (f64::from(at) * step, true)).take_while(|tick| tick.0 <= all).collect()
}

/// A round number in few letters: `20k` for 20,000, `1.2M` for 1,200,000.
fn short(number: f64) -> String {
    let units = [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.into_iter().find(|(unit, _)| number >= *unit * 0.999) {
        Some((unit, letter)) => format!("{}{letter}", (10.0 * number / unit).round() / 10.0),
        None => format!("{number:.0}"),
    }
}

/// A policy's line and points, and its row of the legend.
fn drawn(scale: &Scale, line: &Line<'_>, place: usize, row: usize) -> String {
    let (colour, dashes) = if line.policy == OPT {
        ("var(--text)".to_owned(), DASHES[2])
    } else {
        (format!("var(--c{})", place % COLOURS), DASHES[place / COLOURS % DASHES.len()])
    };
    let class = if line.points.len() > MARKED { "line many" } else { "line" };
    let mut text =
        format!("<g class=\"{class}\" style=\"--c:{colour}\" stroke-dasharray=\"{dashes}\">");
    let mut way = String::new();
    for (at, point) in line.points.iter().enumerate() {
        let (x, y) = scale.place(point);
        // Writing into a string cannot fail.
        let _ = write!(way, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
    }
    let y = TOP + LINE * row as f64 + 6.0;
    let (end, word, base, name) = (LEGEND + 30.0, LEGEND + 38.0, y + 4.0, escaped(line.policy));
    let _ = write!(
        text,
        "<path d=\"{way}\"/><rect class=\"hit\" x=\"{LEGEND}\" y=\"{:.1}\" width=\"{}\" height=\"{LINE}\"/>\
         <path d=\"M{LEGEND} {y:.1}H{end}\"/><text x=\"{word}\" y=\"{base:.1}\">{name}</text>",
        y - LINE / 2.0,
        WIDTH - LEGEND
    );
    // Solid lines have round marks, the others square ones.
    let round = if dashes.is_empty() { 3 } else { 0 };
    for point in &line.points {
        let (x, y) = scale.place(point);
        let (words, percent) = (&point.words, point.percent);
        let _ = write!(
            text,
            "<rect class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" width=\"6\" height=\"6\" rx=\"{round}\">\
             <title>{name} {words}: {percent:.2} %</title></rect>",
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
        over_capacity(&cells.iter().collect::<Vec<_>>(), policies)
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
            let point =
                |hits: u64| Point { at: 1.0, percent: hits as f64 / 10.0, words: String::new() };
            let line = Line { policy: "lru", hits: 0, points: hits.map(point).into() };
            Scale::of(Across::Requests(9.0), &[line]).y
        };
        assert_eq!(scale([0, 1_000]), (0.0, 100.0));
        assert_eq!(scale([613, 688]), (61.0, 69.0));
        assert_eq!(scale([0, 0]), (0.0, 1.0));
        assert_eq!(scale([1_000, 1_000]), (99.0, 100.0));
        let named = |low: f64, high: f64| -> Vec<_> {
            let named = logarithmic((low.log10(), high.log10())).into_iter().filter(|tick| tick.1);
            named.map(|(tick, _)| short(tick)).collect()
        };
        assert_eq!(named(1.0, 30.0), ["1", "2", "5", "10", "20"]);
        assert_eq!(
            named(187.0, 186_880.0),
            ["200", "500", "1k", "2k", "5k", "10k", "20k", "50k", "100k"]
        );
        assert_eq!(named(1.0, 2e6), ["1", "10", "100", "1k", "10k", "100k", "1M"]);
        assert_eq!(short(5e9), "5G");
        let even = |all| even(all).into_iter().map(|(tick, _)| short(tick)).collect::<Vec<_>>();
        assert_eq!(even(1.0), ["0", "1"]);
        assert_eq!(even(17.0), ["0", "2", "4", "6", "8", "10", "12", "14", "16"]);
        assert_eq!(even(1_280_000.0), ["0", "200k", "400k", "600k", "800k", "1M", "1.2M"]);
        assert_eq!(
            even(99_999.0)[1..],
            ["10k", "20k", "30k", "40k", "50k", "60k", "70k", "80k", "90k"]
        );
    }

    #[test]
    fn slices_stand_over_the_middle_of_their_requests_and_phases_are_named() {
        let phases = [("day", 0), ("<night>", 500)].map(|(name, start)| Phase { start, name });
        let lru =
            Cell { over_time: vec![0, 500], phases: phases.into(), ..cell("T", 10, "lru", 500) };
        let fifo = Cell { over_time: vec![250, 250], policy: "fifo", ..lru.clone() };
        let text = over_time(&[lru.clone(), fifo], &["fifo", "lru"]);
        assert!(text.contains("d=\"M245.0 400.0L615.0 28.0\""), "{text}");
        assert!(text.contains("d=\"M245.0 214.0L615.0 214.0\""), "{text}");
        assert!(text.contains("<title>lru in requests 501 to 1,000: 100.00 %</title>"));
        assert_eq!(text.matches("class=\"phase\" d=\"M430.0 28V400\"").count(), 1);
        for words in [">requests<", ">day<", ">&lt;night&gt;<", "at 10 over time", ">500<", ">1k<"]
        {
            assert!(text.contains(words), "{words}");
        }
        assert!(!text.contains("line many"));
        let many = Cell { over_time: vec![1; 500], phases: Vec::new(), ..lru };
        let text = over_time(&[many], &["lru"]);
        assert!(text.contains("line many") && !text.contains("phase"));
    }
}
