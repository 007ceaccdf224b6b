//! The command line.

use crate::run::{self, Policy};
use crate::workload::Workload;
use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
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
    /// Policies
    #[arg(long, value_delimiter = ',', value_name = "NAME,..", default_value = "lru,lfu,fifo,random", value_parser = policies())]
    pub(crate) policies: Vec<&'static Policy>,
    /// Capacities: entries (bytes for a trace with sizes), N% of the distinct keys (of their bytes), or from-check: all that the
    /// file of --check has for the trace
    #[arg(long, value_delimiter = ',', value_name = "N|N%,..", default_value = "1%,5%,10%")]
    pub(crate) capacity: Vec<Amount>,
    /// Segments of the cache, a power of two. With more than one, the bound is kept but policies are no longer exact
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = segments)]
    pub(crate) segments: usize,
    /// Give every item weight 1, even where the trace has sizes
    #[arg(long)]
    pub(crate) ignore_sizes: bool,
    /// Synthetic workloads: zipf:S (such as zipf:0.99), uniform, loop, scan, mixture:N, shift
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
    /// Compare the hits of exact policies (not of those that draw or have a sketch; s3-fifo may differ by 0.05 points) with this
    /// file, such as one that --csv wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) check: Option<PathBuf>,
}

fn policies() -> impl TypedValueParser<Value = &'static Policy> {
    PossibleValuesParser::new(run::POLICIES.iter().map(|policy| policy.name))
        .try_map(|name| run::policy(&name))
}

fn segments(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n: &usize| n.is_power_of_two())
        .ok_or_else(|| "legal is a power of two: 1, 2, 4, ...".to_owned())
}

/// A capacity as given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Amount {
    Weight(u64),
    Percent(f64),
    FromCheck,
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let amount = match text.strip_suffix('%') {
            None if text == "from-check" => Some(Self::FromCheck),
            None => text.parse().ok().filter(|n| *n > 0).map(Self::Weight),
            Some(part) => part.parse().ok().filter(|p| *p > 0.0 && *p <= 100.0).map(Self::Percent),
        };
        amount.ok_or_else(|| {
            "legal are a whole number from 1, a percentage above 0% up to 100%, from-check"
                .to_owned()
        })
    }
}

impl Amount {
    /// In units of weight, where `whole` is 100 %: rounded, and at least 1. None for `from-check`.
    pub(crate) fn of(self, whole: u64) -> Option<u64> {
        match self {
            Self::Weight(weight) => Some(weight),
            Self::Percent(percent) => {
                Some(((whole as f64 * percent / 100.0).round() as u64).max(1))
            }
            Self::FromCheck => None,
        }
    }
}

impl Args {
    /// What clap cannot see: arguments that need each other.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if self.capacity.contains(&Amount::FromCheck) && self.check.is_none() {
            return Err("--capacity from-check needs --check FILE".to_owned());
        }
        if self.check.is_some() && self.segments != 1 {
            return Err(
                "--check needs --segments 1: policies are exact in one segment only".to_owned()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        let args = Args::try_parse_from(["replay"]).expect("no argument is legal");
        assert_eq!(
            args.policies.iter().map(|policy| policy.name).collect::<Vec<_>>(),
            ["lru", "lfu", "fifo", "random"]
        );
        assert_eq!(args.capacity, [1.0, 5.0, 10.0].map(Amount::Percent));
        let help = Args::command().render_long_help().to_string();
        assert!(
            run::POLICIES.iter().all(|policy| help.contains(policy.name)),
            "the help names every policy"
        );
    }

    #[test]
    fn capacities_are_entries_or_percent() {
        let of = |text: &str, whole| text.parse::<Amount>().expect("legal").of(whole);
        assert_eq!(of("1000", 7), Some(1000));
        assert_eq!(of("0.1%", 186_880), Some(187));
        assert_eq!(of("20%", 2_033_711_615), Some(406_742_323));
        assert_eq!(of("0.1%", 5), Some(1));
        assert_eq!(of("from-check", 5), None);
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
            assert!(text.parse::<Amount>().expect_err("nonsense").contains("percentage"), "{text}");
        }
        for (flag, value, legal) in [
            ("--policies", "mru", "noeviction"),
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
    fn arguments_that_need_each_other() {
        let ask = |args: &[&str]| {
            Args::try_parse_from([&["replay"], args].concat()).expect("parses").validate()
        };
        assert!(ask(&["--capacity", "from-check"]).is_err());
        assert!(ask(&["--capacity", "from-check", "--check", "x.csv"]).is_ok());
        assert!(ask(&["--check", "x.csv", "--segments", "2"]).is_err());
    }
}
