use std::time::{Duration, Instant};

use clap::Parser;

use super::source::Log;
use super::strategies::{ALL, SINGLE_FLIGHT};
use super::{Args, Hit, Outcome, hits, measure, output};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// A tenth of a second of four readers, a value that lives for 10 ms, and a load of 2.
fn small(more: &[&str]) -> Args {
    let line = "x --readers 4 --rate 2000 --ttl-ms 10 --load-ms 2 --seconds 0.1 --no-hits";
    Line::try_parse_from(line.split(' ').chain(more.iter().copied())).expect("well formed").args
}

fn log(loads: &[(u64, u64)]) -> Log {
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    Log::of(loads.iter().map(|&(from, to)| (at(from), at(to))).collect())
}

#[test]
fn a_load_before_the_value_has_lived_is_one_too_many() {
    let life = Duration::from_millis(100);
    let single = log(&[(0, 20), (120, 140), (240, 260)]);
    assert_eq!((single.loads(), single.expiries(life)), (2, 2));
    // Three find the value expired, one before it has; the next expiry is counted from the last to end.
    let stampede = log(&[(0, 20), (120, 140), (121, 150), (135, 145), (249, 269), (369, 389)]);
    assert_eq!((stampede.loads(), stampede.expiries(life)), (5, 2));
    // Where values may be loaded at any time, only those side by side are too many.
    assert_eq!(stampede.expiries(Duration::ZERO), 3);
    assert_eq!((log(&[]).loads(), log(&[]).expiries(life)), (0, 0));
}

#[test]
fn every_strategy_takes_part() {
    let args = small(&[]);
    let outcomes: Vec<_> = args.strategies().unwrap().iter().map(|it| measure(it, &args)).collect();
    for Outcome { strategy, loads, expiries, readers, time } in &outcomes {
        assert!(readers.latencies.len() >= readers.waited, "{}", strategy.name);
        assert!(expiries <= loads && *time >= Duration::from_millis(90), "{}", strategy.name);
    }
    let hit = Hit { name: "a cache", keys: "one", get: 10.04, load: 13.0, more: 3.0 };
    let text = output::whole(&outcomes, &[hit], &args, "a machine");
    for strategy in ALL {
        assert!(text.contains(&format!("\n  {} ", strategy.name)), "{} in\n{text}", strategy.name);
    }
    assert!(text.contains("a machine. 4 readers, 2000 reads a second"), "{text}");
    assert!(text.contains("10.0  13.0   3.0") && text.contains("3.0 ns   missed"), "{text}");
    let markdown = output::whole(&outcomes, &[], &small(&["--markdown"]), "a machine");
    assert!(markdown.contains("| strategy ") && !markdown.contains("A hit among"), "{markdown}");
}

#[test]
fn strategies_are_chosen_by_how_their_names_begin() {
    let names = |args: Args| {
        args.strategies().map(|some| some.iter().map(|it| it.name).collect::<Vec<_>>())
    };
    assert_eq!(names(small(&["--only", "cachette: single"])), Ok(vec![SINGLE_FLIGHT]));
    assert_eq!(names(small(&["--only", "quick,moka"])), Ok(vec!["moka", "quick_cache"]));
    assert!(names(small(&["--only", "redis"])).is_err());
}

#[test]
fn the_floors_say_what_was_measured() {
    let args = small(&["--only", "cachette"]);
    let mut outcomes: Vec<_> =
        args.strategies().unwrap().iter().map(|it| measure(it, &args)).collect();
    let verdict = |outcomes: &[Outcome], floor: &str| {
        let text = output::whole(outcomes, &[], &args, "");
        let line = text.lines().find(|line| line.contains(floor)).unwrap_or("");
        line.split_whitespace().last().unwrap_or("").to_owned()
    };
    for outcome in &mut outcomes {
        (outcome.loads, outcome.expiries, outcome.readers.waited) = (24, 24, 0);
    }
    assert_eq!(verdict(&outcomes, "as many loads as expiries"), "met");
    assert_eq!(verdict(&outcomes, "nobody waits"), "met");
    for outcome in &mut outcomes {
        (outcome.loads, outcome.readers.waited) = (25, 1);
    }
    assert_eq!(verdict(&outcomes, "as many loads as expiries"), "missed");
    assert_eq!(verdict(&outcomes, "nobody waits"), "missed");
}

#[test]
fn hits_are_hits() {
    let hits = hits::measure(1);
    assert_eq!(hits.len(), 9);
    assert!(hits.iter().all(|hit| hit.get > 0.0 && hit.load > 0.0));
}
