//! The tables of the README.

use crate::Options;
use crate::floors;
use crate::peer::{Info, OURS, SIEVE};
use crate::report::{Section, rate, ratio};
use crate::table::Table;
use crate::work::Kind;

/// Everything, dated.
pub fn print(sections: &[Section], peers: &[Info], machine: &str, options: &Options) -> String {
    let versions: Vec<_> =
        peers.iter().map(|peer| format!("{} {}", peer.package, peer.version())).collect();
    let mut out = format!("Measured on {machine}.\n\n{}.\n\n", versions.join(", "));
    if options.quick {
        out +=
            "**A smoke test: sizes a sixteenth, one short round. The numbers mean nothing.**\n\n";
    }
    out +=
        &format!("Reading the clock adds {} ns to every latency.\n\n", crate::child::clock_cost());
    out += &summary(sections, options);
    out += &throughput(sections, peers, options);
    for section in sections {
        let table = match section.row.kind {
            Kind::Memory => section.memory(options),
            Kind::Cost => section.cost(options),
            _ if section.row.times() => section.latency(options),
            _ => continue,
        };
        out +=
            &format!("{}{}:\n\n{}\n", heading(section, options), unit(section), table.markdown());
    }
    out += &format!("The floors:\n\n{}\n", floors::table(sections, options).markdown());
    out += "† held more than its capacity at some moment; by more than a tenth, and it does not count as the fastest.\n\n";
    for peer in peers {
        out += &format!("- {}: {}.\n", peer.name, peer.note);
    }
    let failures: String = sections.iter().map(Section::failures).collect();
    if !failures.is_empty() {
        out += &format!("\n{failures}");
    }
    out
}

fn heading(section: &Section, options: &Options) -> String {
    format!(
        "`{}`{}",
        section.row.name,
        section.heading(options).trim_start_matches(section.row.name)
    )
}

const fn unit(section: &Section) -> &'static str {
    match section.row.kind {
        Kind::Cost => ", nanoseconds",
        _ if section.row.times() => ", nanoseconds with the reading of the clock",
        _ => ", u64 to u64, after churn",
    }
}

/// The section with the hit ratios that decide who is as careful as we are: the same number of threads if it ran.
pub fn churn<'a>(sections: &'a [Section], of: &Section) -> Option<&'a Section> {
    let churns = || sections.iter().filter(|section| section.row.kind == Kind::Churn);
    churns().find(|section| section.row.threaded == of.row.threaded).or_else(|| churns().next())
}

/// One line a row: ours beside the fastest peer and the bare map.
fn summary(sections: &[Section], options: &Options) -> String {
    let mut table = Table::new([
        "work",
        "cachette",
        "with sieve",
        "fastest peer",
        "cachette / peer",
        "bare map",
    ]);
    for section in sections {
        let Some((fastest, by)) = section.against(churn(sections, section), options) else {
            continue;
        };
        let median = |name| rate(section.outcome(name).and_then(|outcome| outcome.median("rate")));
        let loss = if by < 1.0 { " (slower)" } else { "" };
        table.line([
            heading(section, options),
            median(OURS),
            median(SIEVE),
            format!("{} {}", fastest.peer.name, rate(fastest.median("rate"))),
            ratio(Some(by)) + loss,
            median("hashbrown"),
        ]);
    }
    format!(
        "Million operations a second, medians of {} rounds:\n\n{}\n",
        options.rounds,
        table.markdown()
    )
}

/// A line a peer, a column a row: rate, in brackets ours divided by it, and the hit ratio where it is no matter of
/// course.
fn throughput(sections: &[Section], peers: &[Info], options: &Options) -> String {
    let timed: Vec<_> = sections.iter().filter(|section| section.row.rates()).collect();
    if timed.is_empty() {
        return String::new();
    }
    let heading = timed.iter().map(|section| section.row.name);
    let mut table = Table::new(["peer"].into_iter().chain(heading));
    for peer in peers {
        let cells = timed.iter().map(|section| cell(section, peer, options));
        table.line([peer.name.to_owned()].into_iter().chain(cells));
    }
    let what = "Million operations a second; in brackets cachette divided by the peer; hits where there are misses:";
    format!("{what}\n\n{}\n", table.markdown())
}

fn cell(section: &Section, peer: &Info, options: &Options) -> String {
    let Some(outcome) = section.outcome(peer.name) else { return "-".to_owned() };
    let Some(median) = outcome.median("rate") else { return "-".to_owned() };
    let mut cell = rate(Some(median));
    if peer.name != OURS {
        cell += &format!(" ({})", ratio(section.ratio(outcome, "rate")));
    }
    if let Some(hits) = outcome.median("hits").filter(|hits| *hits < 99.95) {
        cell += &format!(", {hits:.1} %");
    }
    cell + section.mark(outcome, options)
}
