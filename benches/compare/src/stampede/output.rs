//! How a run is told: tables as text and as Markdown, and the floors.

use super::strategies::{REFRESH_AHEAD, SINGLE_FLIGHT};
use super::{Args, Hit, Outcome};
use crate::peer;
use crate::table::Table;

/// What a hit by `load` may cost more than one by `get`, in nanoseconds.
const MORE: f64 = 2.0;

pub fn whole(outcomes: &[Outcome], hits: &[Hit], args: &Args, machine: &str) -> String {
    let show: fn(&Table) -> String = if args.markdown { Table::markdown } else { Table::text };
    let mut out = format!("{}\n\n{}\n", heading(args, machine), show(&strategies(outcomes)));
    for outcome in outcomes {
        let (name, version) = package(outcome.strategy.name);
        out += &format!("- {name}{version}: {}.\n", outcome.strategy.note);
    }
    if !hits.is_empty() {
        let what = "A hit among 65,536 entries, one thread, nanoseconds:";
        out += &format!("\n{what}\n\n{}", show(&costs(hits)));
    }
    out + &format!("\nThe floors:\n\n{}", show(&floors(outcomes, hits)))
}

fn package(name: &'static str) -> (&'static str, String) {
    match peer::version(name) {
        "" => (name, String::new()),
        version => (name, format!(" {version}")),
    }
}

fn heading(args: &Args, machine: &str) -> String {
    format!(
        "Measured on {machine}. {} readers, {} reads a second in all, one key: TTL {} ms, a load takes {} ms. {} s for each strategy. \
         Waited: readers who had their value after more than {} ms.",
        args.readers,
        args.rate,
        args.ttl_ms,
        args.load_ms,
        args.seconds,
        args.patience().as_secs_f64() * 1e3,
    )
}

/// A line a strategy.
fn strategies(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new([
        "strategy",
        "loads",
        "loads an expiry",
        "ms between expiries",
        "reads",
        "waited",
        "p50, us",
        "p99",
        "p99.9",
        "max",
    ]);
    for outcome in outcomes {
        let Outcome { strategy, loads, expiries, readers, time } = outcome;
        let latencies = &readers.latencies;
        let micros = |quantile| short(latencies.value_at_quantile(quantile) as f64 / 1e3);
        table.line([
            strategy.name.to_owned(),
            loads.to_string(),
            over(*loads as f64, *expiries, 2),
            over(time.as_secs_f64() * 1e3, *expiries, 0),
            latencies.len().to_string(),
            readers.waited.to_string(),
            micros(0.5),
            micros(0.99),
            micros(0.999),
            micros(1.0),
        ]);
    }
    table
}

fn over(number: f64, by: usize, digits: usize) -> String {
    if by == 0 { "-".to_owned() } else { format!("{:.digits$}", number / by as f64) }
}

fn short(number: f64) -> String {
    if number < 100.0 { format!("{number:.1}") } else { format!("{number:.0}") }
}

/// A line a cache.
fn costs(hits: &[Hit]) -> Table {
    let mut table = Table::new(["a hit by", "keys", "get", "this", "more"]);
    for Hit { name, keys, get, load, more } in hits {
        let cells = [get, load, more].map(|number| format!("{number:.1}"));
        table.line([name, keys].map(|it| (*it).to_owned()).into_iter().chain(cells));
    }
    table
}

/// Every floor whose strategy ran.
fn floors(outcomes: &[Outcome], hits: &[Hit]) -> Table {
    let mut table = Table::new(["floor", "measured", "verdict"]);
    let mut line = |floor: String, measured: String, met: bool| {
        table.line([floor, measured, if met { "met" } else { "missed" }.to_owned()]);
    };
    for Outcome { strategy, loads, expiries, readers, .. } in outcomes {
        if strategy.name == SINGLE_FLIGHT {
            let floor = format!("{}: as many loads as expiries", strategy.name);
            line(floor, format!("{loads} of {expiries}"), loads == expiries && *loads > 0);
        }
        if strategy.name == REFRESH_AHEAD {
            let floor = format!("{}: nobody waits", strategy.name);
            line(floor, format!("{} waited", readers.waited), readers.waited == 0);
        }
    }
    for Hit { name, keys, more, .. } in hits {
        let floor = format!("a hit by {name}, {keys}: at most {MORE} ns more than by get");
        line(floor, format!("{more:.1} ns"), *more <= MORE);
    }
    table
}
