//! Redis's eight policies, by the names that its `maxmemory-policy` has.

use super::{
    EvictionPolicy, Lfu, Lru, NoEviction, Random, SampledLfu, SampledLru, SoonestDeadline, Volatile,
};
use crate::error::UnknownPolicy;
use std::fmt;
use std::str::FromStr;

/// A policy by its name in Redis: for a name that comes from configuration.
///
/// [`build`](Self::build) makes the policy. It is exact where Redis samples: the least recently used entry of a segment leaves, not
/// one of the least recently used; [`build_sampled`](Self::build_sampled) samples. Names are read without regard to case, as Redis does.
///
/// ```
/// use cachette::{Cache, policy::RedisPolicy};
///
/// let configured = "Allkeys-LFU";
/// let name: RedisPolicy = configured.parse()?;
/// let cache = Cache::<u32, u32>::builder().capacity(1_000).policy(move || name.build()).build()?;
/// # cache.put(1, 1);
/// assert_eq!(name.to_string(), "allkeys-lfu");
///
/// let error = "allkeys-mru".parse::<RedisPolicy>().unwrap_err();
/// assert!(error.to_string().contains("allkeys-mru"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// | name | policy here |
/// |---|---|
/// | `noeviction` | [`NoEviction`] |
/// | `allkeys-lru` | [`Lru`] |
/// | `allkeys-lfu` | [`Lfu`] |
/// | `allkeys-random` | [`Random`] |
/// | `volatile-lru` | [`Volatile`] around [`Lru`] |
/// | `volatile-lfu` | [`Volatile`] around [`Lfu`] |
/// | `volatile-random` | [`Volatile`] around [`Random`] |
/// | `volatile-ttl` | [`SoonestDeadline`] |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "maxmemory-policy")]
pub enum RedisPolicy {
    /// `noeviction`: a write that does not fit is refused.
    NoEviction,
    /// `allkeys-lru`: the least recently used leaves.
    AllkeysLru,
    /// `allkeys-lfu`: the least often used leaves.
    AllkeysLfu,
    /// `allkeys-random`: any leaves.
    AllkeysRandom,
    /// `volatile-lru`: of those with a deadline, the least recently used leaves.
    VolatileLru,
    /// `volatile-lfu`: of those with a deadline, the least often used leaves.
    VolatileLfu,
    /// `volatile-random`: of those with a deadline, any leaves.
    VolatileRandom,
    /// `volatile-ttl`: the one with the nearest deadline leaves.
    VolatileTtl,
}

impl RedisPolicy {
    /// All eight.
    ///
    /// ```
    /// use cachette::policy::RedisPolicy;
    ///
    /// assert!(RedisPolicy::ALL.iter().all(|policy| policy.name().parse() == Ok(*policy)));
    /// ```
    pub const ALL: [Self; 8] = [
        Self::NoEviction,
        Self::AllkeysLru,
        Self::AllkeysLfu,
        Self::AllkeysRandom,
        Self::VolatileLru,
        Self::VolatileLfu,
        Self::VolatileRandom,
        Self::VolatileTtl,
    ];

    /// The name in Redis. O(1).
    ///
    /// ```
    /// assert_eq!(cachette::policy::RedisPolicy::VolatileTtl.name(), "volatile-ttl");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoEviction => "noeviction",
            Self::AllkeysLru => "allkeys-lru",
            Self::AllkeysLfu => "allkeys-lfu",
            Self::AllkeysRandom => "allkeys-random",
            Self::VolatileLru => "volatile-lru",
            Self::VolatileLfu => "volatile-lfu",
            Self::VolatileRandom => "volatile-random",
            Self::VolatileTtl => "volatile-ttl",
        }
    }

    /// A policy of this name, with no entries, exact within a segment. O(1).
    ///
    /// ```
    /// use cachette::{Cache, policy::RedisPolicy};
    ///
    /// let cache = Cache::<u32, u32>::builder().capacity(2).policy(|| RedisPolicy::AllkeysLru.build()).build()?;
    /// (0..3).for_each(|key| cache.put(key, key));
    /// assert_eq!(cache.get(&0), None);
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    #[must_use]
    pub fn build(self) -> Box<dyn EvictionPolicy> {
        match self {
            Self::NoEviction => Box::new(NoEviction::new()),
            Self::AllkeysLru => Box::new(Lru::new()),
            Self::AllkeysLfu => Box::new(Lfu::new()),
            Self::AllkeysRandom => Box::new(Random::new()),
            Self::VolatileLru => Box::new(Volatile::new(Lru::new())),
            Self::VolatileLfu => Box::new(Volatile::new(Lfu::new())),
            Self::VolatileRandom => Box::new(Volatile::new(Random::new())),
            Self::VolatileTtl => Box::new(SoonestDeadline::new()),
        }
    }
}

impl RedisPolicy {
    /// As [`build`](Self::build), but `*-lru` and `*-lfu` sample as Redis does: [`SampledLru`], [`SampledLfu`]. Choose it to have
    /// Redis's hit ratios, or cheaper hits from many threads. O(1).
    ///
    /// ```
    /// use cachette::{Cache, policy::RedisPolicy};
    ///
    /// let name: RedisPolicy = "volatile-lfu".parse()?;
    /// let cache = Cache::<u32, u32>::builder().capacity(1_000).policy(move || name.build_sampled()).build()?;
    /// # cache.put(1, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn build_sampled(self) -> Box<dyn EvictionPolicy> {
        match self {
            Self::AllkeysLru => Box::new(SampledLru::new()),
            Self::AllkeysLfu => Box::new(SampledLfu::new()),
            Self::VolatileLru => Box::new(Volatile::new(SampledLru::new())),
            Self::VolatileLfu => Box::new(Volatile::new(SampledLfu::new())),
            other => other.build(),
        }
    }
}

impl fmt::Display for RedisPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for RedisPolicy {
    type Err = UnknownPolicy;

    /// The policy of this name, in small letters or capitals.
    ///
    /// # Errors
    ///
    /// [`UnknownPolicy`] if there is none. White space is part of a name.
    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let named = Self::ALL.into_iter().find(|policy| policy.name().eq_ignore_ascii_case(name));
        named.ok_or_else(|| UnknownPolicy { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::{CALM, Segment};
    use super::super::{Hears, Meta, Victim};
    use super::*;
    use crate::observe::Cause;

    #[test]
    fn names_are_read_as_redis_reads_them_and_written_as_it_writes_them() {
        for policy in RedisPolicy::ALL {
            let name = policy.to_string();
            assert_eq!(name.parse(), Ok(policy));
            assert_eq!(name.to_ascii_uppercase().parse(), Ok(policy));
        }
        let names = RedisPolicy::ALL.map(RedisPolicy::name);
        assert_eq!(
            names.join(" "),
            "noeviction allkeys-lru allkeys-lfu allkeys-random volatile-lru volatile-lfu volatile-random volatile-ttl"
        );
        assert_eq!(format!("{:>12}|", RedisPolicy::AllkeysLru), " allkeys-lru|");
    }

    #[test]
    fn an_unknown_name_hears_itself_and_all_that_are_known() {
        for name in ["", "lru", "allkeys_lru", " allkeys-lru", "allkeys-lru\n", "volatile-lrü"] {
            let error = name.parse::<RedisPolicy>().unwrap_err();
            assert_eq!(error.name, name);
            let told = error.to_string();
            assert!(told.contains(&format!("{name:?}")), "{told}");
            assert!(RedisPolicy::ALL.iter().all(|policy| told.contains(policy.name())), "{told}");
        }
    }

    /// Whom each gives up: of three entries used once, twice and three times, the last use of the first being the latest; the
    /// deadlines fall, and the fourth has none.
    fn order(policy: RedisPolicy) -> Vec<usize> {
        let mut segment = Segment::new(policy.build());
        let slots = [9, 8, 7, u64::MAX].map(|due| segment.insert(&Meta::new(0, 1, due)));
        [3, 2, 2, 1, 0].into_iter().for_each(|at| segment.hit(slots[at]));
        let mut order = Vec::new();
        while let Victim::Entry(slot) = segment.victim(Some(&CALM)) {
            segment.remove(slot, Cause::Evicted);
            order.push(slot.index());
        }
        order
    }

    #[test]
    fn each_name_is_its_policy() {
        assert_eq!(order(RedisPolicy::NoEviction), [0_usize; 0]);
        assert_eq!(order(RedisPolicy::AllkeysLru), [3, 2, 1, 0]);
        assert_eq!(order(RedisPolicy::AllkeysLfu), [3, 1, 0, 2]);
        assert_eq!(order(RedisPolicy::VolatileLru), [2, 1, 0]);
        assert_eq!(order(RedisPolicy::VolatileLfu), [1, 0, 2]);
        assert_eq!(order(RedisPolicy::VolatileTtl), [2, 1, 0]);
        for policy in RedisPolicy::ALL {
            let (exact, sampled) = (policy.build(), policy.build_sampled());
            let samples = matches!(sampled.hears(), Hears::Stamp(_));
            assert_eq!(samples, policy.name().ends_with("lru") || policy.name().ends_with("lfu"));
            assert!(samples || sampled.hears() == exact.hears());
        }
        for (policy, all) in [(RedisPolicy::AllkeysRandom, 4), (RedisPolicy::VolatileRandom, 3)] {
            assert_eq!(policy.build().hears(), Hears::Nothing);
            let mut left = order(policy);
            left.sort_unstable();
            assert!(left.into_iter().eq(0..all));
        }
    }
}
