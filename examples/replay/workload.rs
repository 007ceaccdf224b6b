//! Synthetic workloads: `zipf:S`, `uniform`, `loop`, `scan`, `mixture:N`, `shift`, `regimes`.
//!
//! | workload | request `i` |
//! |---|---|
//! | `zipf:S` | the key of rank `r` with a probability in proportion to `1 / r^S` |
//! | `uniform` | any key, by an even draw |
//! | `loop` | key `i mod keys`: the worst case of LRU |
//! | `scan` | Zipf 0.99 over one half of the keys, interrupted by sweeps through the other half |
//! | `mixture:N` | Zipf 0.9 over the keys, and, every fifth request, a key never asked for before, which is asked for once more `N` requests later |
//! | `shift` | a third `loop` over 3/20 of the keys, a third Zipf 0.99 over a tenth that moves on, a third `loop` again |
//! | `regimes` | a quarter each: Zipf 0.9 over the keys; a loop over 3/20 of them; a working set that drifts; Zipf 0.9 again, with other keys popular |
//!
//! The working set of `regimes` is asked for anew every fifth request, with the key after the last new one; the others ask again for
//! one of the last new ones, as many as a fifth of the keys, by Zipf 0.9 the later ones more often. So what was used lately comes
//! again, and what was used long ago does not, however often it was. A cache for a tenth of the keys sees every phase tell
//! policies apart: the first and the last count, the loop is half as long again as the cache, and the working set forgets.
//!
//! The same seed gives the same requests on every machine, so a result can be repeated.

use crate::trace::{Phase, Requests, Trace, TraceError};
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

/// `SplitMix64` (Steele, Lea, Flood 2014): one addition and three shifts a number, and any seed will do.
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Even over `0.0..1.0`.
    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Even over `0..n`, by the high half of a product. The bias is below `n / 2^64`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }
}

/// Draws ranks `1..=n` by Zipf's law, in O(1) a draw and without a table.
///
/// Rejection-inversion (Hörmann & Derflinger 1996): the sum of `r^-s` is laid under the integral of `x^-s`, a point under the
/// integral is drawn by inverting it, and the few points that lie under the curve but not in a bar are drawn again.
pub(crate) struct Zipf {
    n: f64,
    exponent: f64,
    /// The integral at `1.5`, less the first bar, and at `n + 0.5`: the points drawn lie between.
    low: f64,
    high: f64,
    /// A draw this close above its rank needs no test.
    sure: f64,
}

impl Zipf {
    pub(crate) fn new(n: u64, exponent: f64) -> Self {
        let mut zipf = Self { n: n as f64, exponent, low: 0.0, high: 0.0, sure: 0.0 };
        zipf.low = zipf.integral(1.5) - 1.0;
        zipf.high = zipf.integral(zipf.n + 0.5);
        zipf.sure = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.bar(2.0));
        zipf
    }

    fn bar(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// The integral of `bar` from 1 to `x`: `(x^(1-s) - 1) / (1-s)`, written so that `s = 1` (the logarithm) is no special case.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        over(((1.0 - self.exponent) * log).exp_m1(), (1.0 - self.exponent) * log) * log
    }

    fn inverse(&self, area: f64) -> f64 {
        // Rounding may push the product just below -1, where the logarithm ends.
        let t = (area * (1.0 - self.exponent)).max(-1.0);
        (over(t.ln_1p(), t) * area).exp()
    }

    pub(crate) fn draw(&self, from: &mut Draw) -> u64 {
        loop {
            let area = self.high + from.unit() * (self.low - self.high);
            let x = self.inverse(area);
            let rank = x.round().clamp(1.0, self.n);
            if rank - x <= self.sure || area >= self.integral(rank + 0.5) - self.bar(rank) {
                return rank as u64;
            }
        }
    }
}

/// `y / x` where both tend to 0 together, and the quotient to 1.
fn over(y: f64, x: f64) -> f64 {
    if x.abs() < 1e-12 { 1.0 } else { y / x }
}

/// A way to make requests up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Workload {
    Zipf(f64),
    Uniform,
    Loop,
    Scan,
    /// Popular keys, and such as are asked for twice, so many requests apart: a trap for windows that are smaller than that.
    Mixture(u64),
    /// A load that changes its nature twice.
    Shift,
    /// A load that changes its nature three times, and comes back to the first with other keys.
    Regimes,
}

/// What `--workload` takes.
pub(crate) const LEGAL: &str = "zipf:S (S from 0 to 10, such as zipf:0.99), uniform, loop, scan, \
                                mixture:N (N from 1), shift, regimes";

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let exponent = |s: &str| s.parse().ok().filter(|s| (0.0..=10.0).contains(s));
        let distance = |n: &str| n.parse().ok().filter(|n| *n > 0);
        if let Some(distance) = text.strip_prefix("mixture:").and_then(distance) {
            return Ok(Self::Mixture(distance));
        }
        match (text, text.strip_prefix("zipf:").and_then(exponent)) {
            (_, Some(exponent)) => Ok(Self::Zipf(exponent)),
            ("uniform", _) => Ok(Self::Uniform),
            ("loop", _) => Ok(Self::Loop),
            ("scan", _) => Ok(Self::Scan),
            ("shift", _) => Ok(Self::Shift),
            ("regimes", _) => Ok(Self::Regimes),
            _ => Err(format!("legal are {LEGAL}")),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zipf(exponent) => write!(f, "zipf:{exponent}"),
            Self::Uniform => f.write_str("uniform"),
            Self::Loop => f.write_str("loop"),
            Self::Scan => f.write_str("scan"),
            Self::Mixture(distance) => write!(f, "mixture:{distance}"),
            Self::Shift => f.write_str("shift"),
            Self::Regimes => f.write_str("regimes"),
        }
    }
}

impl Workload {
    /// Makes `requests` requests for at most `keys` keys, both at least 1.
    pub(crate) fn make(self, requests: u64, keys: u32, seed: u64) -> Result<Trace, TraceError> {
        let name = self.to_string();
        let mut made = Requests::default();
        if usize::try_from(requests).ok().and_then(|n| made.reserve(n).ok()).is_none() {
            return Err(TraceError::nowhere(
                name,
                format!("{requests} requests do not fit into memory"),
            ));
        }
        let mut draw = Draw::new(seed);
        let keys = u64::from(keys);
        let scan = Scan::new(keys);
        let mut mixture = Mixture::default();
        let recency = Recency::new(keys);
        let zipf = match self {
            Self::Zipf(exponent) => Zipf::new(keys, exponent),
            Self::Mixture(_) | Self::Regimes => Zipf::new(keys, 0.9),
            Self::Shift => Zipf::new(keys.div_ceil(10), 0.99),
            _ => Zipf::new(scan.hot, 0.99),
        };
        let phases = self.phases(requests);
        for i in 0..requests {
            let key = match self {
                Self::Zipf(_) => zipf.draw(&mut draw) - 1,
                Self::Uniform => draw.below(keys),
                Self::Loop => i % keys,
                Self::Scan => scan.cold(i).unwrap_or_else(|| zipf.draw(&mut draw) - 1),
                Self::Mixture(distance) => mixture
                    .once_more_or_new(i, distance, &mut draw)
                    .map_or_else(|| zipf.draw(&mut draw) - 1, |fresh| keys + fresh),
                // The popular keys move on by one in ten requests.
                Self::Shift if (phases[1].start..phases[2].start).contains(&i) => {
                    (zipf.draw(&mut draw) - 1 + i / 10) % keys
                }
                Self::Shift => round(i, keys),
                Self::Regimes => match phases.iter().rposition(|phase| phase.start <= i) {
                    Some(1) => keys / 4 + round(i, keys),
                    Some(2) => recency.key(i - phases[2].start, &mut draw),
                    Some(3) => keys - zipf.draw(&mut draw),
                    _ => zipf.draw(&mut draw) - 1,
                },
            };
            made.push_key(key, None).map_err(|what| TraceError::nowhere(name.clone(), what))?;
        }
        let mut trace =
            made.finish(name.clone()).map_err(|what| TraceError::nowhere(name, what))?;
        trace.phases = phases;
        Ok(trace)
    }

    /// Where so many requests change their nature.
    fn phases(self, requests: u64) -> Vec<Phase> {
        let names: &[_] = match self {
            Self::Shift => &["loop", "moving zipf", "loop again"],
            Self::Regimes => &["zipf", "loop", "recency", "zipf, other keys"],
            _ => &[],
        };
        let start = |at: usize| requests * at as u64 / names.len() as u64;
        names.iter().enumerate().map(|(at, name)| Phase { start: start(at), name }).collect()
    }
}

/// Request `i` of a loop that a cache for a tenth of the keys cannot hold.
fn round(i: u64, keys: u64) -> u64 {
    i % (keys * 3 / 20).max(1)
}

/// A working set that drifts through the keys, from their middle on and round.
struct Recency {
    keys: u64,
    age: Zipf,
}

impl Recency {
    fn new(keys: u64) -> Self {
        Self { keys, age: Zipf::new(keys.div_ceil(5), 0.9) }
    }

    fn key(&self, i: u64, draw: &mut Draw) -> u64 {
        let age = match i % 5 {
            0 => 0,
            _ => self.age.draw(draw) - 1,
        };
        // An age is below the number of keys.
        (self.keys / 2 + self.keys + i / 5 - age) % self.keys
    }
}

/// `3 sweep` requests a round, of which the last `sweep` go on through the cold keys where the round before stopped.
struct Scan {
    keys: u64,
    hot: u64,
    sweep: u64,
}

impl Scan {
    fn new(keys: u64) -> Self {
        Self { keys, hot: keys.div_ceil(2), sweep: (keys / 20).max(1) }
    }

    /// The cold key that request `i` sweeps over, if it is part of a sweep.
    fn cold(&self, i: u64) -> Option<u64> {
        let (round, step) = (i / (3 * self.sweep), i % (3 * self.sweep));
        let swept = round * self.sweep + step.checked_sub(2 * self.sweep)?;
        Some(self.hot + swept.checked_rem(self.keys - self.hot)?)
    }
}

/// The keys of a mixture that are asked for twice.
#[derive(Default)]
struct Mixture {
    made: u64,
    /// Those asked for once, and when.
    once: VecDeque<(u64, u64)>,
}

impl Mixture {
    fn once_more_or_new(&mut self, i: u64, distance: u64, draw: &mut Draw) -> Option<u64> {
        if let Some(&(fresh, _)) = self.once.front().filter(|(_, at)| at + distance <= i) {
            self.once.pop_front();
            return Some(fresh);
        }
        (draw.below(5) == 0).then(|| {
            self.once.push_back((self.made, i));
            self.made += 1;
            self.made - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each frequency within five standard deviations of theory: the seed is fixed, so this is no gamble.
    fn compare(n: u64, exponent: f64, draws: u64) {
        let mut counts = vec![0_u64; n as usize + 1];
        let zipf = Zipf::new(n, exponent);
        let mut from = Draw::new(7);
        for _ in 0..draws {
            counts[zipf.draw(&mut from) as usize] += 1;
        }
        let total: f64 = (1..=n).map(|r| (r as f64).powf(-exponent)).sum();
        assert_eq!(counts[0], 0);
        for rank in 1..=n {
            let p = (rank as f64).powf(-exponent) / total;
            let expected = p * draws as f64;
            let deviation = (expected * (1.0 - p)).sqrt();
            let seen = counts[rank as usize] as f64;
            assert!(
                (seen - expected).abs() <= 5.0 * deviation + 1e-9,
                "s = {exponent}, rank {rank}: {seen}, theory {expected}"
            );
        }
    }

    #[test]
    fn zipf_draws_as_theory_says() {
        for exponent in [0.0, 0.5, 0.99, 1.0, 1.2, 2.5] {
            compare(100, exponent, 400_000);
        }
        compare(1, 0.99, 100);
        compare(2, 10.0, 100_000);
    }

    #[test]
    fn even_draws_are_even() {
        let mut draw = Draw::new(1);
        let mut counts = [0_u32; 10];
        for _ in 0..100_000 {
            counts[draw.below(10) as usize] += 1;
        }
        assert!(counts.iter().all(|c| (9_500..10_500).contains(c)), "{counts:?}");
    }

    #[test]
    fn the_draws_are_those_of_splitmix64() {
        let mut draw = Draw::new(1_234_567);
        assert_eq!(draw.bits(), 6_457_827_717_110_365_317);
        assert_eq!(draw.bits(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn a_seed_repeats_its_requests_and_another_does_not() {
        let ids = |seed| Workload::Zipf(0.99).make(1_000, 50, seed).expect("made").ids;
        assert_eq!(ids(3), ids(3));
        assert_ne!(ids(3), ids(4));
    }

    #[test]
    fn a_loop_goes_round_and_a_scan_sweeps() {
        assert_eq!(Workload::Loop.make(7, 3, 1).expect("made").ids, [0, 1, 2, 0, 1, 2, 0]);
        let scan = Scan::new(100);
        assert_eq!((scan.hot, scan.sweep), (50, 5));
        let cold: Vec<_> = (0..30).filter_map(|i| scan.cold(i)).collect();
        assert_eq!(cold, [50, 51, 52, 53, 54, 55, 56, 57, 58, 59]);
        assert_eq!(Workload::Scan.make(100, 1, 1).expect("one key is legal").distinct(), 1);
    }

    #[test]
    fn a_mixture_asks_twice_and_a_shift_shifts() {
        let ids = Workload::Mixture(7).make(2_000, 10, 3).expect("made").ids;
        let mut asked = std::collections::HashMap::<u32, Vec<usize>>::new();
        ids.iter().enumerate().for_each(|(i, &id)| asked.entry(id).or_default().push(i));
        let late =
            |places: &&Vec<usize>| places.len() == 2 && (7..40).contains(&(places[1] - places[0]));
        let twice = asked.values().filter(late).count();
        assert!((250..400).contains(&twice), "{twice} keys asked for twice");
        let ids = Workload::Shift.make(300, 100, 3).expect("made").ids;
        assert_eq!(&ids[..17], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0, 1]);
        assert_ne!(&ids[100..115], &ids[115..130], "no loop");
        assert_eq!(&ids[200..215], &ids[215..230]);
    }

    #[test]
    fn regimes_change_three_times() {
        let trace = Workload::Regimes.make(40_000, 1_000, 3).expect("made");
        let starts: Vec<_> = trace.phases.iter().map(|phase| phase.start).collect();
        assert_eq!(starts, [0, 10_000, 20_000, 30_000]);
        assert_eq!(trace.ids, Workload::Regimes.make(40_000, 1_000, 3).expect("made").ids);
        assert!(trace.distinct() <= 1_000);
        let counts = |requests: std::ops::Range<usize>| {
            let mut counts = vec![0; 1_000];
            trace.ids[requests].iter().for_each(|id| counts[*id as usize] += 1);
            counts
        };
        let favourite = |counts: &[u32]| (0..1_000).max_by_key(|id| counts[*id]).expect("ids");
        let (first, last) = (counts(0..10_000), counts(30_000..40_000));
        assert_ne!(favourite(&first), favourite(&last));
        assert!(last[favourite(&first)] < 30 && first[favourite(&first)] > 500);
        assert_eq!(trace.ids[10_000..10_150], trace.ids[10_150..10_300]);
        assert_eq!(counts(10_000..20_000).iter().filter(|count| **count > 0).count(), 150);
        // The working set: what is asked for at first is not asked for later.
        let (early, late) = (counts(20_000..20_500), counts(22_000..22_500));
        assert!((0..1_000).all(|id| early[id] == 0 || late[id] == 0));
        assert!(early.iter().filter(|count| **count > 2).count() > 50, "and soon again");
    }

    #[test]
    fn few_keys_and_few_requests_are_legal() {
        for (requests, keys) in [(1, 1), (3, 1), (50, 1), (50, 2), (50, 7), (7, 100)] {
            let trace = Workload::Regimes.make(requests, keys, 1).expect("made");
            assert!(trace.distinct() <= u64::from(keys));
            assert_eq!(trace.ids.len() as u64, requests);
        }
    }

    #[test]
    fn names_read_back_and_nonsense_does_not() {
        for text in ["zipf:0.99", "uniform", "loop", "scan", "mixture:250", "shift", "regimes"] {
            assert_eq!(text.parse::<Workload>().expect("legal").to_string(), text);
        }
        for text in ["zipf", "zipf:", "zipf:-1", "zipf:NaN", "zipf:inf", "loops", "mixture:0", ""] {
            assert!(text.parse::<Workload>().expect_err("nonsense").contains("zipf:S"), "{text}");
        }
    }
}
