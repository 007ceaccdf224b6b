//! The command line.

use crate::contender::{Contender, OPT};
use crate::run::POLICIES;
use crate::trace::Trace;
use crate::workload::Workload;
use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

/// Replays access traces through a cache and tells the hit ratios
///
/// Each TRACE is replayed under every policy at every capacity, read-through: get, and put on a miss. With neither a TRACE nor
/// a --workload, it makes workloads of its own.
///
/// Traces by their name's ending: .u32, .sized, .lis, .csv, .oracleGeneral, .oracleGeneral.bin, each with or without .zst.
///
/// Exit codes: 0 done; 1 --check found a difference, or nothing to compare; 2 bad arguments, or a file that cannot be read or written.
#[derive(Debug, Parser)]
#[command(name = "replay", max_term_width = 110)]
pub(crate) struct Args {
    /// Trace files
    #[arg(value_name = "TRACE")]
    pub(crate) traces: Vec<PathBuf>,
    /// Policies; opt, Belady's optimum, which no policy can pass; or all: opt and every policy once, the volatile ones only
    /// with --ttl. Opt counts items: it takes no part where they have sizes, unless --ignore-sizes
    #[arg(long, value_delimiter = ',', value_name = "NAME,..", default_value = "lru,lfu,fifo,random", value_parser = policies())]
    pub(crate) policies: Vec<Choice>,
    /// Capacities: entries (bytes for a trace with sizes), N% of the distinct keys (of their bytes), or from-check: all that the
    /// file of --check has for the trace; with --curve, also spans such as 100..10% [default: 1%,5%,10%; with --curve:
    /// 0.1%..100%]
    #[arg(long, value_delimiter = ',', value_name = "N|N%|A..B,..")]
    capacity: Vec<Capacity>,
    /// A curve: so many capacities over each span of --capacity, evenly on a logarithmic scale; fewer where whole numbers
    /// run out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1_000))]
    curve: Option<u32>,
    /// The hits over time, too: those of so many equal slices of the requests, as a table, in the files, and as charts of the
    /// page. A multiple of 8 divides evenly into the table's columns
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1_000))]
    over_time: Option<u32>,
    /// Cells to replay at a time; without it, as many as there are cores. It changes no count, but cells side by side slow each
    /// other down: use 1 to measure throughput
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Segments of the cache, a power of two. With more than one, the bound is kept but policies are no longer exact
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = segments)]
    pub(crate) segments: usize,
    /// Give every item weight 1, even where the trace has sizes
    #[arg(long)]
    pub(crate) ignore_sizes: bool,
    /// Synthetic workloads: zipf:S (such as zipf:0.99), uniform, loop, scan, mixture:N, shift, regimes
    #[arg(long, value_delimiter = ',', value_name = "NAME,..")]
    pub(crate) workload: Vec<Workload>,
    /// Requests of a synthetic workload
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: u64,
    /// Keys of a synthetic workload
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keys: u32,
    /// Seed of everything that is drawn at random
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Requests a second of the cache's clock, which the sampled policies and --ttl go by
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// Seconds that an item lives. Without it nothing has a deadline, and the volatile policies give nothing up
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) ttl: Option<u64>,
    /// Write the results to this file, too
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Write a page with charts and a table to this file, too
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Compare the hits of exact policies (not of those that draw or have a sketch) with this file, such as one that --csv wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) check: Option<PathBuf>,
}

/// A name as given to `--policies`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    All,
    One(Contender),
}

fn policies() -> impl TypedValueParser<Value = Choice> {
    let names = ["all", OPT].into_iter().chain(POLICIES.iter().map(|policy| policy.name));
    PossibleValuesParser::new(names).try_map(|name| match name.as_str() {
        "all" => Ok(Choice::All),
        name => Contender::named(name).map(Choice::One),
    })
}

fn segments(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n: &usize| n.is_power_of_two())
        .ok_or_else(|| "legal is a power of two: 1, 2, 4, ...".to_owned())
}

/// How much, as given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Amount {
    Weight(u64),
    Percent(f64),
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let amount = match text.strip_suffix('%') {
            None => text.parse().ok().filter(|n| *n > 0).map(Self::Weight),
            Some(part) => part.parse().ok().filter(|p| *p > 0.0 && *p <= 100.0).map(Self::Percent),
        };
        amount.ok_or_else(|| {
            "legal are a whole number from 1, a percentage above 0% up to 100%, two of them as A..B, from-check"
                .to_owned()
        })
    }
}

impl Amount {
    /// In units of weight, where `whole` is 100 %: rounded, and at least 1.
    pub(crate) fn of(self, whole: u64) -> u64 {
        match self {
            Self::Weight(weight) => weight,
            Self::Percent(percent) => ((whole as f64 * percent / 100.0).round() as u64).max(1),
        }
    }
}

/// What `--capacity` takes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Capacity {
    One(Amount),
    /// From one to the other, for a curve.
    Span(Amount, Amount),
    FromCheck,
}

impl FromStr for Capacity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "from-check" {
            return Ok(Self::FromCheck);
        }
        match text.split_once("..") {
            Some((from, to)) => Ok(Self::Span(from.parse()?, to.parse()?)),
            None => text.parse().map(Self::One),
        }
    }
}

/// `points` capacities between two, evenly on a logarithmic scale, the ends included. Where whole numbers run out, some come
/// twice.
fn curve(ends: (u64, u64), points: u32) -> Vec<u64> {
    let (low, high) = (ends.0.min(ends.1), ends.0.max(ends.1));
    let step = |i: u32| {
        let part = f64::from(i) / f64::from(points - 1);
        (low as f64 * (high as f64 / low as f64).powf(part)).round() as u64
    };
    let mut capacities: Vec<_> = (1..points - 1).map(step).collect();
    capacities.insert(0, low);
    capacities.push(high);
    capacities
}

impl Args {
    /// What clap cannot see: arguments that need each other.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if self.capacity.contains(&Capacity::FromCheck) && self.check.is_none() {
            return Err("--capacity from-check needs --check FILE".to_owned());
        }
        if self.check.is_some() && self.segments != 1 {
            return Err(
                "--check needs --segments 1: policies are exact in one segment only".to_owned()
            );
        }
        let span = self.capacity.iter().any(|capacity| matches!(capacity, Capacity::Span(..)));
        if span && self.curve.is_none() {
            return Err("--capacity A..B needs --curve N".to_owned());
        }
        if self.curve.is_some() && !span && !self.capacity.is_empty() {
            return Err("--curve needs a span in --capacity, such as 0.1%..100%".to_owned());
        }
        Ok(())
    }

    /// Who takes part, each once, as given.
    pub(crate) fn contenders(&self) -> Vec<Contender> {
        let all = || Contender::all(self.ttl.is_some());
        let chosen = self.policies.iter().flat_map(|choice| match choice {
            Choice::All => all(),
            Choice::One(one) => vec![*one],
        });
        let mut seen = HashSet::new();
        chosen.filter(|one| seen.insert(one.name())).collect()
    }

    /// The capacities to run, each once, as given. `whole` is 100 %, and `known` those that the file of `--check` has.
    pub(crate) fn capacities(&self, whole: u64, known: impl Fn() -> Vec<u64>) -> Vec<u64> {
        let percent = |part| Capacity::One(Amount::Percent(part));
        let usual = match self.curve {
            None => vec![percent(1.0), percent(5.0), percent(10.0)],
            Some(_) => vec![Capacity::Span(Amount::Percent(0.1), Amount::Percent(100.0))],
        };
        let wanted = if self.capacity.is_empty() { &usual } else { &self.capacity };
        let mut capacities = Vec::new();
        for capacity in wanted {
            match (*capacity, self.curve) {
                (Capacity::One(amount), _) => capacities.push(amount.of(whole)),
                (Capacity::Span(from, to), Some(points)) => {
                    capacities.extend(curve((from.of(whole), to.of(whole)), points));
                }
                (Capacity::Span(..), None) => {}
                (Capacity::FromCheck, _) => capacities.extend(known()),
            }
        }
        let mut seen = HashSet::new();
        capacities.retain(|capacity| seen.insert(*capacity));
        capacities
    }

    /// Slices of the requests to count the hits of: one without `--over-time`.
    pub(crate) fn slices(&self, trace: &Trace) -> Result<usize, String> {
        let (slices, requests) = (self.over_time.map_or(1, |n| n as usize), trace.ids.len());
        if slices > requests {
            let name = &trace.name;
            return Err(format!("{name}: --over-time {slices}, but it has {requests} requests"));
        }
        Ok(slices)
    }

    /// Cells at a time.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(args: &[&str]) -> Args {
        Args::try_parse_from([&["replay"], args].concat()).expect("parses")
    }

    fn names(args: &Args) -> Vec<&'static str> {
        args.contenders().into_iter().map(Contender::name).collect()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        let args = Args::try_parse_from(["replay"]).expect("no argument is legal");
        assert_eq!(names(&args), ["lru", "lfu", "fifo", "random"]);
        assert_eq!(args.capacities(1_000, Vec::new), [10, 50, 100]);
        assert!(args.jobs() >= 1);
        let help = Args::command().render_long_help().to_string();
        assert!(
            POLICIES.iter().all(|policy| help.contains(policy.name)),
            "the help names every policy"
        );
    }

    #[test]
    fn capacities_are_entries_or_percent() {
        let of = |text: &str, whole| text.parse::<Amount>().expect("legal").of(whole);
        assert_eq!(of("1000", 7), 1000);
        assert_eq!(of("0.1%", 186_880), 187);
        assert_eq!(of("20%", 2_033_711_615), 406_742_323);
        assert_eq!(of("0.1%", 5), 1);
    }

    #[test]
    fn capacities_come_each_once_as_given() {
        let args = parse(&["--capacity", "30,3%,from-check,10", "--check", "x.csv"]);
        assert_eq!(args.capacities(1_000, || vec![7, 10]), [30, 7, 10]);
    }

    #[test]
    fn a_curve_has_both_ends_and_even_steps_between() {
        let curve = |args: &[&str], whole| parse(args).capacities(whole, Vec::new);
        assert_eq!(curve(&["--curve", "4"], 1_000_000), [1_000, 10_000, 100_000, 1_000_000]);
        assert_eq!(curve(&["--curve", "2"], 186_880), [187, 186_880]);
        // 0.1 % of few keys is one; whole numbers run out; and one key has one capacity.
        assert_eq!(curve(&["--curve", "9"], 5), [1, 2, 3, 4, 5]);
        assert_eq!(curve(&["--curve", "9"], 1), [1]);
        assert_eq!(curve(&["--curve", "3", "--capacity", "10%..10"], 10_000), [10, 100, 1_000]);
        let both = ["--curve", "3", "--capacity", "7,1..100,100..10000"];
        assert_eq!(curve(&both, 9), [7, 1, 10, 100, 1_000, 10_000]);
        let most = curve(&["--curve", "1000", "--capacity", "1..18446744073709551615"], 9);
        assert_eq!((most[0], most[most.len() - 1]), (1, u64::MAX));
        assert!(most.is_sorted());
    }

    #[test]
    fn all_is_everyone_each_once() {
        let all = names(&parse(&["--policies", "all"]));
        assert_eq!(all[..2], ["opt", "lru"]);
        assert_eq!(names(&parse(&["--policies", "lru,all,lru,opt"])).len(), all.len());
        assert_eq!(names(&parse(&["--policies", "lru,all"]))[..3], ["lru", "opt", "lfu"]);
        assert_eq!(names(&parse(&["--policies", "all", "--ttl", "5"])).len(), all.len() + 4);
    }

    #[test]
    fn nonsense_hears_what_is_legal() {
        for text in [
            "0",
            "0%",
            "-1",
            "-5%",
            "101%",
            "NaN%",
            "inf%",
            "%",
            "",
            "ten",
            "1.5",
            "1e3",
            "99999999999999999999",
        ] {
            for text in [text.to_owned(), format!("{text}..5"), format!("5..{text}")] {
                let error = text.parse::<Capacity>().expect_err("nonsense");
                assert!(error.contains("percentage"), "{text}");
            }
        }
        for (flag, value, legal) in [
            ("--policies", "mru", "all"),
            ("--curve", "1", "2.."),
            ("--over-time", "0", "2..=1000"),
            ("--over-time", "1", "2..=1000"),
            ("--over-time", "1001", "2..=1000"),
            ("--over-time", "many", "invalid digit"),
            ("--jobs", "0", "zero"),
            ("--policies", "lru,", "noeviction"),
            ("--workload", "zipf", "zipf:S"),
            ("--segments", "3", "power of two"),
            ("--segments", "0", "power of two"),
            ("--requests", "0", "1.."),
            ("--keys", "0", "1.."),
            ("--rate", "0", "1.."),
            ("--ttl", "0", "1.."),
        ] {
            let error = Args::try_parse_from(["replay", flag, value]).expect_err("nonsense");
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(legal), "{flag} {value}: {error}");
        }
    }

    #[test]
    fn more_slices_than_requests_are_told() {
        let slices = |args: &[&str], requests| {
            let trace = Workload::Loop.make(requests, 3, 1).expect("made");
            parse(args).slices(&trace)
        };
        assert_eq!(slices(&[], 1), Ok(1));
        assert_eq!(slices(&["--over-time", "8"], 8), Ok(8));
        let error = slices(&["--over-time", "8"], 7).expect_err("too many");
        assert_eq!(error, "loop: --over-time 8, but it has 7 requests");
    }

    #[test]
    fn arguments_that_need_each_other() {
        let ask = |args: &[&str]| parse(args).validate();
        assert!(ask(&["--capacity", "from-check"]).is_err());
        assert!(ask(&["--capacity", "from-check", "--check", "x.csv"]).is_ok());
        assert!(ask(&["--check", "x.csv", "--segments", "2"]).is_err());
        assert!(ask(&["--capacity", "1..5"]).is_err());
        assert!(ask(&["--capacity", "5", "--curve", "3"]).is_err());
        assert!(ask(&["--capacity", "5,1..7", "--curve", "3"]).is_ok());
        assert!(ask(&["--curve", "3"]).is_ok());
    }
}
