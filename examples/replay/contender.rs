//! Who takes part in a run: caches with a policy, and the optimum that none of them can pass.

use crate::opt;
use crate::run::{self, Cell, Check, POLICIES, Policy, Setting};
use crate::trace::{Trace, slices};
use std::time::Instant;

/// The optimum's name.
pub(crate) const OPT: &str = "opt";

/// A column of the results.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Contender {
    /// A cache with this policy.
    Online(&'static Policy),
    /// Belady's optimum, by count.
    Optimum,
}

impl Contender {
    /// The one of this name.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        if name == OPT { Ok(Self::Optimum) } else { run::policy(name).map(Self::Online) }
    }

    /// Everyone, each once: the optimum, then the policies but for Redis's names of those that have a name of their own.
    /// The volatile policies take part where items have deadlines: without, they give nothing up.
    pub(crate) fn all(deadlines: bool) -> Vec<Self> {
        let again =
            |name: &str| name.strip_prefix("allkeys-").is_some_and(|own| run::policy(own).is_ok());
        let apart = |policy: &&Policy| {
            !again(policy.name) && (deadlines || !policy.name.starts_with("volatile-"))
        };
        let online = POLICIES.iter().filter(apart).map(Self::Online);
        std::iter::once(Self::Optimum).chain(online).collect()
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Online(policy) => policy.name,
            Self::Optimum => OPT,
        }
    }

    /// How its hits can be checked against a reference.
    pub(crate) const fn check(self) -> Check {
        match self {
            Self::Online(policy) => policy.check,
            Self::Optimum => Check::Exact,
        }
    }

    /// True unless the trace has sizes and this one knows none.
    pub(crate) const fn takes(self, trace: &Trace) -> bool {
        matches!(self, Self::Online(_)) || trace.sizes.is_none()
    }

    /// Replays `trace`. `progress` hears of the requests done, some ten thousand at a time.
    ///
    /// # Errors
    ///
    /// The capacity or the segments are not those of a cache.
    pub(crate) fn replay(
        self,
        trace: &Trace,
        capacity: u64,
        setting: Setting,
        progress: impl FnMut(u64),
    ) -> Result<Cell, String> {
        let Self::Online(policy) = self else {
            return Ok(optimum(trace, capacity, setting, progress));
        };
        run::replay(trace, policy, capacity, setting, progress)
            .map_err(|error| format!("capacity {capacity}, {} segments: {error}", setting.segments))
    }
}

fn optimum(trace: &Trace, capacity: u64, setting: Setting, progress: impl FnMut(u64)) -> Cell {
    let start = Instant::now();
    let opt::Optimum { hit, peak } =
        opt::replay(&trace.ids, trace.distinct() as usize, capacity, progress);
    let over_time: Vec<_> = slices(&hit, setting.slices).map(opt::hits).collect();
    Cell {
        trace: trace.name.clone(),
        capacity,
        policy: OPT,
        requests: trace.ids.len() as u64,
        hits: over_time.iter().sum(),
        over_time,
        phases: trace.phases.clone(),
        bytes: None,
        peak,
        elapsed: start.elapsed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;
    use std::collections::HashSet;

    #[test]
    fn all_has_each_once_and_the_volatile_ones_with_deadlines() {
        let names = |deadlines| -> Vec<_> {
            Contender::all(deadlines).into_iter().map(Contender::name).collect()
        };
        let (without, with) = (names(false), names(true));
        assert_eq!(without[..3], [OPT, "lru", "lfu"]);
        for name in ["s3-fifo", "random", "sampled-lru", "noeviction"] {
            assert!(without.contains(&name), "{name}");
        }
        assert!(!with.iter().any(|name| name.starts_with("allkeys-")));
        assert!(!without.iter().any(|name| name.starts_with("volatile-")));
        let more: Vec<_> = with.iter().filter(|name| !without.contains(name)).copied().collect();
        assert_eq!(more, ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"]);
        assert_eq!(with.iter().collect::<HashSet<_>>().len(), with.len());
        assert!(
            with.iter().all(|name| Contender::named(name).is_ok_and(|one| one.name() == *name))
        );
        assert!(Contender::named("all").is_err());
    }

    #[test]
    fn nobody_passes_the_optimum() {
        let setting = Setting { segments: 1, seed: 1, rate: 1_000, ttl: None, slices: 1 };
        for workload in [Workload::Zipf(0.8), Workload::Scan, Workload::Loop, Workload::Uniform] {
            let trace = workload.make(20_000, 500, 3).expect("made");
            for capacity in [1, 10, 100, 499, 500, 501] {
                let hits = |contender: Contender| {
                    contender.replay(&trace, capacity, setting, |_| {}).expect("builds").hits
                };
                let most = hits(Contender::Optimum);
                for contender in Contender::all(false) {
                    assert!(hits(contender) <= most, "{} at {capacity}", contender.name());
                }
                if capacity >= 500 {
                    assert_eq!(most, 20_000 - trace.distinct());
                }
            }
        }
    }

    #[test]
    fn slices_add_up_to_all_hits() {
        let trace = Workload::Regimes.make(20_000, 500, 3).expect("made");
        for contender in Contender::all(false) {
            let cell = |slices| {
                let setting = Setting { segments: 1, seed: 1, rate: 1_000, ttl: None, slices };
                // What is drawn at random is drawn by each thread.
                std::thread::scope(|scope| {
                    let cell = scope.spawn(|| contender.replay(&trace, 50, setting, |_| {}));
                    cell.join().expect("no panic").expect("builds")
                })
            };
            let all = cell(1);
            assert_eq!(all.over_time, [all.hits], "{}", contender.name());
            for slices in [2, 7, 8, 1_000, 20_000] {
                let sliced = cell(slices);
                assert_eq!((sliced.over_time.len(), sliced.hits), (slices, all.hits));
                assert_eq!(sliced.over_time.iter().sum::<u64>(), all.hits);
                assert!((0..slices).all(|at| sliced.ratio_of(at..at + 1) <= 1.0));
            }
        }
    }

    /// Each phase of `regimes` is another's: percent of hits in the second half of each, at a tenth of the keys.
    #[test]
    fn every_phase_of_regimes_tells_policies_apart() {
        let trace = Workload::Regimes.make(200_000, 5_000, 3).expect("made");
        assert_eq!(trace.phases.len(), 4);
        let percent = |name: &str| {
            let setting = Setting { segments: 1, seed: 1, rate: 1_000, ttl: None, slices: 8 };
            let contender = Contender::named(name).expect("legal");
            let cell = contender.replay(&trace, 500, setting, |_| {}).expect("builds");
            [1, 3, 5, 7].map(|half| (100.0 * cell.ratio_of(half..half + 1)).round() as i64)
        };
        let [opt, lru, lfu, lirs] = ["opt", "lru", "lfu", "lirs"].map(percent);
        assert!(lfu[0] >= lru[0] + 4, "what is popular stays so: {lru:?} {lfu:?}");
        assert!(lru[1] == 0 && lirs[1] >= 60, "it goes round: {lru:?} {lirs:?}");
        assert!(lru[2] >= lfu[2] + 40, "what was popular is not asked for: {lru:?} {lfu:?}");
        assert!(
            lirs[3] >= lru[3] + 4 && lru[3] >= lfu[3] + 20,
            "other favourites: {lru:?} {lfu:?}"
        );
        assert!((0..4).all(|phase| opt[phase] >= lirs[phase].max(lru[phase])));
    }

    #[test]
    fn the_optimum_knows_no_sizes() {
        let mut trace = Workload::Loop.make(10, 3, 1).expect("made");
        assert!(Contender::Optimum.takes(&trace));
        trace.sizes = Some(vec![1, 2, 3]);
        assert!(!Contender::Optimum.takes(&trace));
        assert!(Contender::Online(&POLICIES[0]).takes(&trace));
    }
}
