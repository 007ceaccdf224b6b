//! What a load does that has found nothing fresh.
//!
//! ```text
//!   fresh? ──yes──► a hit; due for refresh? ─► refresh behind
//!     │ no
//!   stale, and may be served at once? ──yes──► refresh behind, serve it
//!     │ no
//!   join a load, or lead one: here, or in the background
//!     ├─ it ends with a value ───────────────► that
//!     ├─ it fails, or a timeout passes ──────► the stale value, if there is one in its grace
//!     └─ else ───────────────────────────────► the error
//! ```

use super::lead::{Begun, Lead, Ticket};
use super::loaded::{Loaded, Origin};
use super::loading::LoadingCache;
use super::refresh::Permits;
use super::source::{Old, Source, Why};
use super::spawn::{Spawn, Task};
use crate::cache::Cache;
use crate::engine::{Found, epoch};
use crate::error::LoadError;
use crate::freshness::{Seen, Standing};
use crate::observe::Tally;
use crate::sync::{Arc, Mutex};
use crate::time::Timer;
use equivalent::Equivalent;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hash};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// How often a write tries to be before the loads of its key.
const TRIES: u32 = 8;

/// How many errors a cache keeps. The oldest gives way.
const KEPT_ERRORS: usize = 1_024;

pub(super) type Report<K, E> = dyn Fn(&K, &LoadError<E>) + Send + Sync;
pub(super) type KeepError<E> = dyn Fn(&E, u64) -> Option<Duration> + Send + Sync;

/// What the handles of one cache share.
pub(super) struct Shared<K, V, E, S> {
    pub(super) cache: Cache<K, V, S>,
    pub(super) source: Source<K, V, E>,
    pub(super) spawn: Option<Arc<dyn Spawn>>,
    pub(super) soft: Option<Duration>,
    pub(super) hard: Option<Duration>,
    pub(super) throttle: Duration,
    /// Values say when they end, and nothing else does: deadlines say no more.
    pub(super) values_end: bool,
    /// If there is anything to be done behind a hit.
    pub(super) refreshes: bool,
    pub(super) early: Option<f64>,
    pub(super) permits: Permits,
    pub(super) keep: Option<Box<KeepError<E>>>,
    pub(super) kept: Mutex<VecDeque<(u64, Ticket<V>)>>,
    pub(super) report: Option<Arc<Report<K, E>>>,
    /// Whether a value that is there may be served; unless it is asked, any may.
    pub(super) vouch: Option<Box<Vouch<V>>>,
}

/// Whether a value may be served, which is stale or not.
pub(crate) type Vouch<V> = dyn Fn(&V, Standing) -> bool + Send + Sync;

/// When a stale value is good enough.
#[derive(Clone, Copy, PartialEq)]
enum Need {
    /// Before anything is loaded.
    AtOnce,
    /// Since loading has failed, or takes long.
    Instead,
}

impl<K, V, E, S> LoadingCache<K, V, E, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// What `show` makes of a fresh value, what is known of it, and whether this call has it refreshed. A use of the entry.
    #[inline]
    pub(crate) fn fresh<Q, R>(
        &self,
        hash: u64,
        key: &Q,
        show: impl FnOnce(&V) -> R,
    ) -> Option<(R, Option<Seen>, bool)>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        self.fresh_if(hash, key, self.shared.cache.timer(), |_| true, show)
    }

    /// The same of a value that `may` be served: it sees to the end that the value itself has.
    #[inline]
    pub(crate) fn fresh_if<Q, R>(
        &self,
        hash: u64,
        key: &Q,
        timer: Timer<'_>,
        may: impl FnOnce(&V) -> bool,
        show: impl FnOnce(&V) -> R,
    ) -> Option<(R, Option<Seen>, bool)>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let pin = epoch::pin();
        let cache = &self.shared.cache;
        let mut quiet = true;
        let found = cache.read_if(pin.guard(), hash, key, |shared, found| {
            if !may(&found.entry.value) {
                return false;
            }
            // A deadline is a cache line more.
            if self.shared.values_end || !shared.deadlines.any() {
                return true;
            }
            let slot = found.slot;
            let Some(now) = cache.outlives(&shared.deadlines, slot, timer) else {
                return false;
            };
            if let (true, Some(ages)) = (self.shared.refreshes, &shared.ages) {
                quiet = ages.is_quiet(slot, now);
            }
            true
        })?;
        let shown = show(&found.entry.value);
        if quiet {
            return Some((shown, None, false));
        }
        let seen = self.seen(hash, &found, self.shared.cache.clock.bounds().0);
        let claimed = seen.is_due(self.shared.early, draw) && self.claim(hash, &found, &seen);
        drop(pin);
        let refreshing = claimed && self.refresh_claimed(hash, key);
        Some((shown, Some(seen), refreshing))
    }

    /// True if it is this caller, who has a pin, that is to refresh what was found.
    fn claim(&self, hash: u64, found: &Found<'_, K, V>, seen: &Seen) -> bool {
        let ages = self.shared.cache.engine.ages(hash);
        ages.is_some_and(|ages| ages.claim(found.slot, seen.age.next))
    }

    /// A fresh value and all that is known of it.
    pub(super) fn fresh_entry<Q>(&self, hash: u64, key: &Q) -> Option<Loaded<V>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        self.fresh_entry_if(hash, key, self.shared.cache.timer(), |_| true)
    }

    /// The same of a value that `may` be served.
    pub(crate) fn fresh_entry_if<Q>(
        &self,
        hash: u64,
        key: &Q,
        timer: Timer<'_>,
        may: impl FnOnce(&V) -> bool,
    ) -> Option<Loaded<V>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let cache = &self.shared.cache;
        let (value, seen, refreshing) = self.fresh_if(hash, key, timer, may, V::clone)?;
        let seen = seen.or_else(|| {
            let pin = epoch::pin();
            let read = cache.look(pin.guard(), hash, key)?;
            cache.engine.ages(hash)?;
            Some(self.seen(hash, &read.found, cache.now()))
        });
        let mut loaded = Loaded::had(value, seen, refreshing, Origin::Hit);
        match seen {
            Some(seen) => loaded.refreshing |= seen.is_being_refreshed(),
            None => loaded.left = cache.time_to_live_of(key).unwrap_or_default(),
        }
        Some(loaded)
    }

    /// What is known of an entry that is in its slot: the caller has a pin.
    fn seen(&self, hash: u64, found: &Found<'_, K, V>, now: u64) -> Seen {
        let engine = &self.shared.cache.engine;
        let age = engine.age_of(hash, found);
        Seen { now, deadline: engine.deadline_of(hash, found), age }
    }

    /// A value, after none was found that is fresh.
    pub(crate) async fn fetch<Q>(
        &self,
        hash: u64,
        key: &Q,
        blocking: bool,
    ) -> Result<Loaded<V>, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        if let Some(stale) = self.stale(hash, key, Need::AtOnce) {
            return Ok(stale);
        }
        let error = match self.in_time(hash, key, self.join_or_lead(hash, key, blocking)).await {
            Ok(loaded) => return Ok(loaded),
            // Whoever recurs must hear of it.
            Err(LoadError::Recursive) => return Err(LoadError::Recursive),
            Err(error) => error,
        };
        if let LoadError::TimedOut(_) = error {
            // Who has written the key meanwhile has made this load one that nobody joins any more.
            let timer = self.shared.cache.timer();
            let written = self.fresh_entry_if(hash, key, timer, |value| self.is_good(value));
            return written.or_else(|| self.stale(hash, key, Need::Instead)).ok_or(error);
        }
        self.instead(hash, key).ok_or(error)
    }

    /// What is served without a load, if anything.
    pub(super) fn served<Q>(&self, hash: u64, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let fresh = self.fresh(hash, key, V::clone).map(|(value, ..)| value);
        let good = fresh.filter(|value| self.is_good(value));
        good.or_else(|| self.stale(hash, key, Need::AtOnce).map(|stale| stale.value))
    }

    /// The stale value of a key, of which a load has failed; nobody tries again for a while.
    pub(super) fn instead<Q>(&self, hash: u64, key: &Q) -> Option<Loaded<V>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let stale = self.stale(hash, key, Need::Instead)?;
        self.postpone(hash, key, self.shared.throttle);
        Some(stale)
    }

    /// The stale value of a key, if it may be served now.
    fn stale<Q>(&self, hash: u64, key: &Q, need: Need) -> Option<Loaded<V>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let cache = &self.shared.cache;
        cache.engine.ages(hash)?;
        let pin = epoch::pin();
        let found = cache.engine.look_dead(pin.guard(), hash, key)?.found;
        let seen = self.seen(hash, &found, cache.now());
        let enough = match seen.standing() {
            // It has come meanwhile: the load will find it.
            Standing::Fresh | Standing::Gone => false,
            Standing::Revalidate => true,
            Standing::Grace => need == Need::Instead || seen.is_throttled(),
        };
        let vouch = self.shared.vouch.as_ref();
        let good = vouch.is_none_or(|vouch| vouch(&found.entry.value, seen.standing()));
        if !(enough && good) {
            return None;
        }
        let value = found.entry.value.clone();
        let claimed = need == Need::AtOnce
            && seen.standing() == Standing::Revalidate
            && seen.is_due(None, draw)
            && self.claim(hash, &found, &seen);
        drop(pin);
        let refreshing = claimed && self.refresh_claimed(hash, key);
        cache.recorder.count(Tally::Stale);
        let refreshing = refreshing || seen.is_being_refreshed();
        Some(Loaded::had(value, Some(seen), refreshing, Origin::Stale))
    }

    /// Joins the load of a key or leads it, until there is a value or an error.
    async fn join_or_lead<Q>(
        &self,
        hash: u64,
        key: &Q,
        blocking: bool,
    ) -> Result<Loaded<V>, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let (mut past, mut led) = (None, false);
        loop {
            let ticket =
                match Lead::begin(self.clone(), hash, key, past, |value| self.is_good(value)) {
                    Begun::Resident(value) => {
                        return Ok(self.describe(key, value, Origin::Hit));
                    }
                    Begun::Lead(lead) if self.leads_here(blocking) => {
                        let value = self.run_lead(lead, Why::Missed).await?;
                        return Ok(self.describe(key, self.unshare(value), Origin::Load));
                    }
                    // Twice would be once for every loss.
                    Begun::Lead(_) if led => return Err(LoadError::Lost),
                    Begun::Lead(lead) => {
                        led = true;
                        let (cache, ticket) = (self.clone(), lead.ticket());
                        self.run_behind(Box::pin(async move {
                            // Whoever waits hears of it by the flight.
                            let _ = cache.run_lead(lead, Why::Missed).await;
                        }));
                        ticket
                    }
                    Begun::Join(ticket) => ticket,
                };
            past = Some(ticket.id());
            if let Some(value) = ticket.wait().await? {
                let origin = if led { Origin::Load } else { Origin::Shared };
                return Ok(self.describe(key, self.unshare(value), origin));
            }
        }
    }

    /// What `show` makes of a live value. No use of the entry.
    pub(crate) fn show<R>(&self, key: &K, show: impl FnOnce(&V) -> R) -> Option<R> {
        let cache = &self.shared.cache;
        let pin = epoch::pin();
        let read = cache.look(pin.guard(), cache.hash(key), key)?;
        Some(show(&read.found.entry.value))
    }

    /// Takes a key for a write that is made elsewhere first: its value is deleted, loads under way are not published, and those
    /// that come wait. None if others go on taking it.
    pub(crate) fn begin_write(&self, key: &K) -> Option<Lead<Self, K, V, S>> {
        let hash = self.hash(key);
        (0..TRIES).find_map(|_| {
            self.delete(key);
            match Lead::begin(self.clone(), hash, key, None, |_| false) {
                Begun::Lead(lead) => Some(lead),
                Begun::Join(_) | Begun::Resident(_) => None,
            }
        })
    }

    /// True if a fresh value may be served.
    pub(super) fn is_good(&self, value: &V) -> bool {
        self.shared.vouch.as_ref().is_none_or(|vouch| vouch(value, Standing::Fresh))
    }

    fn describe<Q>(&self, key: &Q, value: V, origin: Origin) -> Loaded<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        Loaded::new(value, origin, self.time_to_live_of(key).unwrap_or_default())
    }

    /// True if the caller is to run the loader: nobody else is there, or nothing would be gained.
    fn leads_here(&self, blocking: bool) -> bool {
        let patient = self.shared.soft.is_none() && self.shared.hard.is_none();
        self.shared.spawn.is_none() || (blocking && self.shared.source.here && patient)
    }

    /// Runs the loader for whoever leads. Its value is shared with those who wait.
    pub(super) async fn run_lead(
        &self,
        lead: Lead<Self, K, V, S>,
        why: Why,
    ) -> Result<Arc<V>, LoadError<E>> {
        let shared = &self.shared;
        let (hash, key, ticket) = (lead.hash(), lead.key().clone(), lead.ticket());
        let keep =
            |error: &E, failures| shared.keep.as_ref().and_then(|keep| keep(error, failures));
        let loader = || {
            let old = self.old(hash, &key);
            shared.source.load(key, old, why)
        };
        let (_, landed) = lead.run(loader, keep).await;
        if ticket.is_kept() {
            self.note_error(hash, ticket);
        }
        landed
    }

    /// The value that is to be loaded anew, if the loader makes use of it.
    fn old(&self, hash: u64, key: &K) -> Option<Old<V>> {
        if !self.shared.source.wants_old() {
            return None;
        }
        let engine = &self.shared.cache.engine;
        let pin = epoch::pin();
        let found = engine.look_dead(pin.guard(), hash, key)?.found;
        let age = engine.ages(hash).map(|_| self.seen(hash, &found, self.shared.cache.now()).age());
        Some(Old { value: found.entry.value.clone(), age })
    }

    /// An error stands under its key, in the place of the one before it. If there are too many, the oldest gives way.
    fn note_error(&self, hash: u64, ticket: Ticket<V>) {
        let gone = {
            let mut kept = self.shared.kept.lock();
            let before = kept.iter().position(|(other, _)| *other == hash);
            let gone = match before {
                Some(at) => kept.remove(at),
                None if kept.len() == KEPT_ERRORS => kept.pop_front(),
                None => None,
            };
            kept.push_back((hash, ticket));
            gone
        };
        // Of this key it is not there any more; of another with the same hash it is.
        if let Some((hash, ticket)) = gone {
            self.unmark(hash, &ticket);
        }
    }

    /// Runs a task in the background, if there is any; else it is dropped.
    pub(super) fn run_behind(&self, task: Task) {
        match &self.shared.spawn {
            Some(spawn) if self.shared.source.blocks => spawn.spawn_blocking(task),
            Some(spawn) => spawn.spawn(task),
            None => drop(task),
        }
    }

    /// Waits for a load: to its end, until the soft timeout if there is a stale value then, or until the hard one.
    async fn in_time<Q>(
        &self,
        hash: u64,
        key: &Q,
        load: impl Future<Output = Result<Loaded<V>, LoadError<E>>>,
    ) -> Result<Loaded<V>, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let mut load = pin!(load);
        let sleep = |time: Option<Duration>| Some(self.shared.spawn.as_ref()?.sleep(time?));
        let mut sleeps = None;
        poll_fn(|context| {
            if let Poll::Ready(ended) = load.as_mut().poll(context) {
                return Poll::Ready(ended);
            }
            // Only who waits needs a timer.
            let (soft, hard) =
                sleeps.get_or_insert_with(|| (sleep(self.shared.soft), sleep(self.shared.hard)));
            if soft.as_mut().is_some_and(|soft| soft.as_mut().poll(context).is_ready()) {
                *soft = None;
                if let Some(mut stale) = self.stale(hash, key, Need::Instead) {
                    stale.refreshing = true;
                    return Poll::Ready(Ok(stale));
                }
            }
            match (hard, self.shared.hard) {
                (Some(hard), Some(after)) => {
                    hard.as_mut().poll(context).map(|()| Err(LoadError::TimedOut(after)))
                }
                _ => Poll::Pending,
            }
        })
        .await
    }
}

/// From 0 to 1, but for 0 itself.
#[expect(clippy::cast_precision_loss, reason = "53 bits are an even draw of enough steps")]
fn draw() -> f64 {
    ((crate::hash::draw() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}
