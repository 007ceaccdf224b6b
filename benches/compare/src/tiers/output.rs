//! How a run is told.

use hdrhistogram::Histogram;

use super::{Args, Outcome};
use crate::machine;
use crate::peer;
use crate::table::Table;

pub fn whole(outcomes: &[Outcome], args: &Args, machine: &str) -> String {
    let show: fn(&Table) -> String = if args.markdown { Table::markdown } else { Table::text };
    let mut out = format!("{}\n\n{}\n", heading(args, machine), show(&reads(outcomes)));
    out += &format!(
        "Of each thousand reads, with the writes that came between:\n\n{}\n",
        show(&asked(outcomes))
    );
    for outcome in outcomes {
        let way = outcome.way;
        out += &format!(
            "- {}, {} {}: {}.",
            way.name,
            way.package,
            peer::version(way.package),
            way.note
        );
        if !outcome.note.is_empty() {
            out += &format!(" One process, since its start: {}.", outcome.note);
        }
        out.push('\n');
    }
    out + &format!("\nThe floors:\n\n{}", show(&floors(outcomes)))
}

fn heading(args: &Args, line: &str) -> String {
    format!(
        "Measured on {line}, where {}. {} processes of {} workers each, {} keys by Zipf \
         (0.99), L1 of {} entries, values of 256 bytes; of a thousand operations {} are writes; a load takes {} ms. {} s for each way. \
         Stale: of the reads that were looked at (one in 16) those that began after the next version had been written, and how long after.",
        machine::busy(),
        args.processes,
        args.workers,
        args.keys,
        args.capacity,
        args.writes,
        args.load_ms,
        args.seconds,
    )
}

fn reads(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new([
        "way",
        "1,000 reads/s",
        "p50, us",
        "p99",
        "stale, of a million",
        "p50, ms",
        "p99",
        "max",
        "says",
    ]);
    for Outcome { way, totals, seen, .. } in outcomes {
        let part = seen.stale.len() as f64 / seen.took.len().max(1) as f64;
        let stale = |quantile| {
            if seen.stale.is_empty() { "-".to_owned() } else { at(&seen.stale, quantile, 1e6) }
        };
        table.line([
            way.name.to_owned(),
            short(totals.reads / totals.seconds / 1e3),
            at(&seen.took, 0.5, 1e3),
            at(&seen.took, 0.99, 1e3),
            short(part * 1e6),
            stale(0.5),
            stale(0.99),
            stale(1.0),
            way.says.to_owned(),
        ]);
    }
    table
}

fn asked(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new([
        "way",
        "writes",
        "misses",
        "loads",
        "Redis: commands",
        "of these EVAL, EVALSHA",
        "KB in",
        "KB out",
        "commands/s",
        "MB/s in",
        "MB/s out",
    ]);
    for Outcome { way, totals, redis, .. } in outcomes {
        let each = |count: f64| short(count * 1e3 / totals.reads.max(1.0));
        let second = |count: f64| short(count / totals.seconds);
        table.line([
            way.name.to_owned(),
            each(totals.writes),
            each(totals.misses),
            each(totals.loads),
            each(redis.commands),
            each(redis.scripts),
            each(redis.bytes_in / 1e3),
            each(redis.bytes_out / 1e3),
            second(redis.commands),
            second(redis.bytes_in / 1e6),
            second(redis.bytes_out / 1e6),
        ]);
    }
    table
}

fn at(histogram: &Histogram<u64>, quantile: f64, unit: f64) -> String {
    short(histogram.value_at_quantile(quantile) as f64 / unit)
}

fn short(number: f64) -> String {
    match number {
        0.0 => "0".to_owned(),
        _ if number < 10.0 => format!("{number:.2}"),
        _ if number < 100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// The bound of each way that states one.
fn floors(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new(["floor", "measured", "verdict"]);
    for Outcome { way, seen, .. } in outcomes {
        let Some(bound) = way.bound else { continue };
        let most = if seen.stale.is_empty() { 0 } else { seen.stale.max() };
        let met = u128::from(most) < bound.as_nanos();
        table.line([
            format!("{}: no read is staler than {}", way.name, way.says),
            format!("{} ms", short(most as f64 / 1e6)),
            if met { "met" } else { "missed" }.to_owned(),
        ]);
    }
    table
}
