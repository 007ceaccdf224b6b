//! Building a cache of two levels: what there is to choose beside what a cache with a loader has.

use super::arrivals::Arrivals;
use super::asker::Asker;
use super::breaker::{Breaker, Circuit};
use super::codec::Codec;
use super::compress::Compression;
use super::copies::{Copies, Hotness};
use super::core::{Rules, TagsOf, Tier, TtlOf, VersionOf};
use super::draws::Draws;
use super::echoes::Echoes;
use super::events::{Event, Events, Hear};
use super::gate::Gate;
use super::generations::Generations;
use super::held::Held;
use super::inbox::Inbox;
use super::keeper::{Keeper, OnLinkLoss};
use super::names::{Names, RemoteKey};
use super::remote::{Listen, Mode, Remote};
use super::replicas::Replicas;
use super::stats::Counts;
use super::tiered::TieredCache;
use super::undelivered::Undelivered;
use crate::error::BuildError;
use crate::freshness::Standing;
use crate::load::{Bell, LoadingBuilder, LoadingCache, Source, Spawn};
use crate::observe::HotKeys;
use crate::sync::{Arc, AtomicBool, AtomicU64};
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// How stale values may be, unless chosen.
const BOUND: Duration = Duration::from_secs(2);

/// Some 49 days: more milliseconds than a word of 32 bits can tell.
const LONGEST_GRACE: Duration = Duration::from_millis(u32::MAX as u64 - 1);
/// In less a lost line cannot be noticed.
const LEAST: Duration = Duration::from_millis(40);

/// Chooses how a [`TieredCache`] behaves, and [builds](Self::build) it. What L1 and the loader can choose is chosen before.
///
/// | choice | unless chosen |
/// |---|---|
/// | [`namespace`](Self::namespace), [`remote_ttl`](Self::remote_ttl) | must be |
/// | [`schema`](Self::schema) | 0 |
/// | [`max_staleness`](Self::max_staleness), [`on_link_loss`](Self::on_link_loss) | 2 s, flush |
/// | [`replica_lag`](Self::replica_lag) | replicas are not asked |
/// | [`modes`](Self::modes) | tracking, else messages, else TTL only |
/// | [`lease`](Self::lease), [`lock_wait`](Self::lock_wait) | 10 s, 1 s |
/// | [`remote_timeout`](Self::remote_timeout), [`breaker`](Self::breaker) | 500 ms, after five failures |
/// | [`most_undelivered`](Self::most_undelivered) | 10,000 deletions |
/// | [`max_value_bytes`](Self::max_value_bytes), [`compression`](Self::compression) | 8 MiB, none |
/// | [`tags`](Self::tags), [`versions`](Self::versions), [`remote_ttl_by`](Self::remote_ttl_by) | none |
/// | [`sample_hot_keys`](Self::sample_hot_keys), [`admit_above`](Self::admit_above), [`copies`](Self::copies) | keys are not counted, all are kept, no copies |
/// | [`on_event`](Self::on_event) | nobody is told |
#[must_use = "a builder does nothing until `build` is called"]
pub struct TieredBuilder<K, V, E, S = ahash::RandomState> {
    loading: LoadingBuilder<K, V, E, S>,
    remote: Arc<dyn Remote>,
    codec: Box<dyn Codec<V>>,
    namespace: Option<String>,
    schema: u32,
    ttl: Option<Duration>,
    ttl_by: Option<Box<TtlOf<K, V>>>,
    tags: Option<Box<TagsOf<K, V>>>,
    version: Option<Box<VersionOf<K, V>>>,
    compression: Compression,
    most_bytes: usize,
    bound: Option<Duration>,
    on_loss: OnLinkLoss,
    modes: Vec<Mode>,
    lease: Duration,
    lock_wait: Duration,
    timeout: Duration,
    breaker: Breaker,
    most_undelivered: usize,
    hear: Option<Box<Hear>>,
    sample: Option<u64>,
    admit: Option<f64>,
    copies: Option<Copies<K>>,
    pub(super) lag: Option<Duration>,
}

impl<K, V, E, S> LoadingBuilder<K, V, E, S>
where
    K: Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Puts this cache before a remote one that many processes share: see [`TieredCache`]. Its values are written there by `codec`.
    ///
    /// It needs [`spawn`](Self::spawn): a line to the remote and a keeper go on in the background, on a thread each where that is
    /// [`Threads`](crate::Threads).
    pub fn remote(self, remote: impl Remote, codec: impl Codec<V>) -> TieredBuilder<K, V, E, S> {
        TieredBuilder {
            loading: self,
            remote: Arc::new(remote),
            codec: Box::new(codec),
            namespace: None,
            schema: 0,
            ttl: None,
            ttl_by: None,
            tags: None,
            version: None,
            compression: Compression::none(),
            most_bytes: 8 << 20,
            bound: None,
            on_loss: OnLinkLoss::Flush,
            modes: vec![Mode::Tracking, Mode::Messages, Mode::TtlOnly],
            lease: Duration::from_secs(10),
            lock_wait: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            breaker: Breaker::default(),
            most_undelivered: 10_000,
            hear: None,
            sample: None,
            admit: None,
            copies: None,
            lag: None,
        }
    }
}

impl<K, V, E, S> TieredBuilder<K, V, E, S>
where
    K: RemoteKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// What the names of the values begin with in the remote: one for each kind of value. Up to 128 bytes, without braces, glob
    /// characters and control characters.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// The version of the values' type, to be raised when those that are in the remote cannot be read any more: it is a part of their
    /// names, so that programs of two versions can run beside each other.
    pub fn schema(mut self, schema: u32) -> Self {
        self.schema = schema;
        self
    }

    /// How long values in the remote are fresh; they stay there for as much longer as stale ones may be served. There is no usual one: it is
    /// how long a value may be wrong of which nobody says that it has changed. L1 keeps none longer than the remote, counted from when that was asked.
    pub fn remote_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The same, value by value.
    pub fn remote_ttl_by(
        mut self,
        by: impl Fn(&K, &V) -> Duration + Send + Sync + 'static,
    ) -> Self {
        self.ttl_by = Some(Box::new(by));
        self
    }

    /// Gives values tags, by which they can be [deleted](TieredCache::delete_tag) together. Each tag is a number in the remote.
    pub fn tags(mut self, tags: impl Fn(&K, &V) -> Vec<String> + Send + Sync + 'static) -> Self {
        self.tags = Some(Box::new(tags));
        self
    }

    /// Tells the versions of values, which only ever grow: a row's version, a log's position. Then no older value takes the place of a newer
    /// one, on either level.
    pub fn versions(mut self, version: impl Fn(&K, &V) -> u64 + Send + Sync + 'static) -> Self {
        self.version = Some(Box::new(version));
        self
    }

    /// Whether, and how, values are compressed in the remote.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// The largest value that is written to the remote, or read from it, in bytes before compression. Larger ones are served, and not
    /// shared.
    pub fn max_value_bytes(mut self, most: usize) -> Self {
        self.most_bytes = most;
        self
    }

    /// How stale what is served may be: see [`TieredCache::max_staleness`]. The line is asked four times as often whether it is there.
    ///
    /// Where nobody tells of changes, L1 keeps no value for longer than this if it is chosen, or than its TTL.
    pub fn max_staleness(mut self, bound: Duration) -> Self {
        self.bound = Some(bound);
        self
    }

    /// What is done when the line is lost.
    pub fn on_link_loss(mut self, on_loss: OnLinkLoss) -> Self {
        self.on_loss = on_loss;
        self
    }

    /// In which ways the remote may tell of changes. The best that it can do is taken, and told of by
    /// [`Event::LinkUp`]. All processes should choose the same. [`Mode::OptIn`] is for those who leave [`Mode::Tracking`] out: that is
    /// taken before it.
    pub fn modes(mut self, modes: impl IntoIterator<Item = Mode>) -> Self {
        self.modes = modes.into_iter().collect();
        self.modes.sort_unstable();
        self.modes.dedup();
        self
    }

    /// How long a lease lasts: longer than a load takes. What comes later is not kept; who dies with one is waited for no longer.
    pub fn lease(mut self, time: Duration) -> Self {
        self.lease = time;
        self
    }

    /// How long to wait for the process that has the lease, before loading without one.
    pub fn lock_wait(mut self, time: Duration) -> Self {
        self.lock_wait = time;
        self
    }

    /// How long to wait for an answer of the remote. One that blocks keeps its own times.
    pub fn remote_timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// When a remote that fails is left alone.
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.breaker = breaker;
        self
    }

    /// How many deletions are kept that the remote has not confirmed. If there are more, all values of the namespace are given up instead.
    pub fn most_undelivered(mut self, most: usize) -> Self {
        self.most_undelivered = most;
        self
    }

    /// Counts one read in so many, to tell which keys are hot: [`TieredCache::hot_keys`]. Where something below asks for it, one in 64 is,
    /// unless chosen.
    pub fn sample_hot_keys(mut self, one_in: u32) -> Self {
        self.sample = Some(one_in.into());
        self
    }

    /// Keeps in L1 only what is asked for so often a second, as the sample tells: for an L1 that is much smaller than what is asked for
    /// once. What is not kept is asked of the remote each time.
    pub fn admit_above(mut self, rate: f64) -> Self {
        self.admit = Some(rate);
        self
    }

    /// Spreads the reads of hot keys over this many copies in the remote, beside the first, each under a name of its own: a cluster has
    /// them on different machines. `of` is told a key and how often a second it is asked for here, about, and says whether it is hot. Each
    /// deletion and each put deletes the copies, of keys that are not hot as well: other processes may think otherwise. All processes
    /// choose the same number.
    pub fn copies(
        mut self,
        count: u8,
        of: impl Fn(&K, f64) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.copies = Some(Copies { count, of: Box::new(of) });
        self
    }

    /// Hears of [events](Event): at most once a second of each kind, with how many of the kind were left out before. It must not block; a
    /// panic in it is caught.
    pub fn on_event(mut self, hear: impl Fn(&Event, u64) + Send + Sync + 'static) -> Self {
        self.hear = Some(Box::new(hear));
        self
    }

    /// Who runs work in the background.
    pub(crate) fn background(&self) -> Option<Arc<dyn Spawn>> {
        self.loading.background()
    }

    /// Builds the cache, and begins to listen to the remote in the background. The remote need not be there yet.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the choice that is missing, out of range, or at odds with another.
    ///
    /// ```
    /// use cachette::{BuildError, Cache, Threads, tier::{MemoryRemote, OnLinkLoss, Raw}};
    /// use std::time::Duration;
    ///
    /// let seconds = Duration::from_secs;
    /// let tiered = Cache::builder()
    ///     .capacity(9)
    ///     .loader(|n: &u8| vec![*n])
    ///     .spawn(Threads::new())
    ///     .remote(MemoryRemote::new(), Raw)
    ///     .namespace("numbers")
    ///     .remote_ttl(seconds(60))
    ///     .max_staleness(seconds(2))
    ///     .on_link_loss(OnLinkLoss::ServeStale(seconds(5)))
    ///     .build();
    /// assert!(matches!(tiered, Err(BuildError::Staleness { .. })));
    /// ```
    pub fn build(mut self) -> Result<TieredCache<K, V, E, S>, BuildError> {
        let names = Names::new(self.namespace.as_deref().unwrap_or_default(), self.schema)?;
        let spawn = self.loading.background().ok_or(BuildError::NoSpawn("remote"))?;
        let clock = self.loading.below().clock_of();
        let rules = self.rules()?;
        let stale =
            if let OnLinkLoss::ServeStale(time) = self.on_loss { time } else { Duration::ZERO };
        let patience = rules.bound.saturating_sub(stale);
        if patience < LEAST {
            return Err(BuildError::Staleness { bound: rules.bound, stale });
        }
        let listen = Listen {
            prefix: names.prefix.clone(),
            channel: names.channel.clone(),
            modes: self.modes,
            beat: patience / 4,
            patience: patience / 2,
        };
        let asker = Asker {
            remote: self.remote,
            circuit: Circuit::new(self.breaker),
            clock,
            spawn,
            events: Events::new(self.hear),
            timeout: self.timeout,
        };
        let hot = hotness(self.sample, self.admit, self.copies, asker.clock.now());
        let most = self.most_undelivered;
        let replicas = self.lag.map(Replicas::new);
        let parts = Parts { codec: self.codec, asker, names, rules, most, hot, replicas };
        let (l1, tier) = assemble(self.loading, parts)?;
        begin(&l1, &tier, self.on_loss, listen);
        Ok(TieredCache::new(l1, tier))
    }

    fn rules(&mut self) -> Result<Rules<K, V>, BuildError> {
        let ttl = self.ttl.ok_or(BuildError::NoRemoteTtl)?;
        let times = [("remote_ttl", ttl), ("lease", self.lease), ("remote_timeout", self.timeout)];
        if let Some((name, _)) = times.into_iter().find(|(_, time)| time.as_millis() == 0) {
            return Err(BuildError::TooShort(name));
        }
        if self.modes.is_empty() {
            return Err(BuildError::NoModes);
        }
        let (local, freshness) = {
            let below = self.loading.below();
            (below.live_of(), below.freshness_chosen())
        };
        let stay = freshness.map_or(Duration::ZERO, |freshness| freshness.stay());
        let bound = self.bound.unwrap_or(BOUND);
        Ok(Rules {
            schema: self.schema,
            ttl,
            ttl_by: self.ttl_by.take(),
            tags: self.tags.take(),
            version: self.version.take(),
            compression: self.compression,
            most_bytes: self.most_bytes,
            tells: self.modes.contains(&Mode::Messages),
            lease: self.lease,
            lock_wait: self.lock_wait,
            ahead: freshness.and_then(|freshness| freshness.ahead),
            // What is longer cannot be written beside a value.
            grace: stay.min(LONGEST_GRACE),
            bound,
            unheard: self.bound.or(local).unwrap_or(BOUND),
        })
    }
}

/// What a tier is made of, beside where values come from.
struct Parts<K, V> {
    codec: Box<dyn Codec<V>>,
    asker: Asker,
    names: Names,
    rules: Rules<K, V>,
    most: usize,
    hot: Option<Hotness<K>>,
    replicas: Option<Replicas>,
}

fn hotness<K: Hash + Eq + Clone>(
    sample: Option<u64>,
    admit: Option<f64>,
    copies: Option<Copies<K>>,
    now: Duration,
) -> Option<Hotness<K>> {
    /// One read in so many is counted, unless chosen.
    const ONE_IN: u64 = 64;

    let wanted = sample.is_some() || admit.is_some() || copies.is_some();
    let keys = HotKeys::new(sample.unwrap_or(ONE_IN), now);
    wanted.then_some(Hotness { keys, admit, copies })
}

type Levels<K, V, E, S> = (LoadingCache<K, Held<V>, E, S>, Arc<Tier<K, V, E>>);

/// Puts L1 before the tier, as its loader.
fn assemble<K, V, E, S>(
    loading: LoadingBuilder<K, V, E, S>,
    parts: Parts<K, V>,
) -> Result<Levels<K, V, E, S>, BuildError>
where
    K: RemoteKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    let mut made = None;
    let loading = loading.over(|origin| {
        let draws = Draws::new();
        let tier = Arc::new(Tier {
            origin,
            codec: parts.codec,
            gate: Gate::new(parts.rules.bound),
            undelivered: Undelivered::new(parts.most),
            node: draws.number(),
            asker: parts.asker,
            names: parts.names,
            rules: parts.rules,
            draws,
            echoes: Echoes::default(),
            generations: Generations::default(),
            arrivals: Arrivals::default(),
            bell: Bell::default(),
            counts: Counts::default(),
            hot: parts.hot,
            replicas: parts.replicas,
            sent: AtomicU64::new(0),
            gone: AtomicBool::new(false),
        });
        made = Some(Arc::clone(&tier));
        source(&tier)
    });
    let tier = made.unwrap_or_else(|| unreachable!("the source was made"));
    let voucher = Arc::clone(&tier);
    let vouch = move |held: &Held<V>, standing| match standing {
        Standing::Fresh => voucher.trusts(held, voucher.timer()),
        // A stale value is told of when it changes, or is not served.
        Standing::Revalidate => voucher.trusts(held, voucher.timer()) && !held.bounded,
        Standing::Grace | Standing::Gone => held.is_current() && voucher.gate.dirty().is_none(),
    };
    Ok((loading.vouch(Box::new(vouch)).build()?, tier))
}

fn source<K, V, E>(tier: &Arc<Tier<K, V, E>>) -> Source<K, Held<V>, E>
where
    K: RemoteKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    let blocks = tier.asker.remote.blocks() || tier.origin.blocks;
    let (one, many) = (Arc::clone(tier), Arc::clone(tier));
    Source::around(
        &tier.origin,
        blocks,
        move |key, old, why| {
            let old = old.map(|old| old.map(|held: Held<V>| held.value));
            Box::pin(Arc::clone(&one).fetch(key, old, why))
        },
        Box::new(move |keys| Box::pin(Arc::clone(&many).fetch_many(keys))),
    )
}

/// Begins what goes on in the background.
fn begin<K, V, E, S>(
    l1: &LoadingCache<K, Held<V>, E, S>,
    tier: &Arc<Tier<K, V, E>>,
    on_loss: OnLinkLoss,
    listen: Listen,
) where
    K: RemoteKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    let keeper = Arc::new(Keeper {
        tier: Arc::clone(tier),
        l1: l1.downgrade(),
        inbox: Inbox::default(),
        on_loss,
        listen,
    });
    tier.behind(Arc::clone(&keeper).link());
    tier.behind(keeper.keep());
}

impl<K, V, E, S> fmt::Debug for TieredBuilder<K, V, E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TieredBuilder")
            .field("local", &self.loading)
            .field("namespace", &self.namespace)
            .field("schema", &self.schema)
            .field("remote_ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}
