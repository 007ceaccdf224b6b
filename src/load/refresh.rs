//! Loading anew what is resident: behind its readers, or by hand.
//!
//! ```text
//!   reader: due? ─► claim the entry's `next` ─► a permit? ─► a mark under the key ─► task ─► lands if the mark is still there
//!             │ no      │ lost                   │ none        │ a load is under way     └─► fails: `next` is now + throttle
//!             ▼         ▼                        ▼             ▼
//!             it has its value, and goes on
//! ```

use super::lead::{Begun, Lead};
use super::loading::LoadingCache;
use super::source::Why;
use crate::engine::ages::Ages;
use crate::error::LoadError;
use crate::observe::Tally;
use crate::policy::Slot;
use crate::sync::{Arc, AtomicUsize, Ordering};
use crate::time::{NEVER, deadline};
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// How many refreshes may run at once, and how many do.
pub(super) struct Permits {
    most: usize,
    out: AtomicUsize,
}

impl Permits {
    pub(super) const fn new(most: usize) -> Self {
        Self { most, out: AtomicUsize::new(0) }
    }

    fn take(&self) -> bool {
        let one_more = |out: usize| (out < self.most).then_some(out + 1);
        self.out.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).is_ok()
    }
}

/// A refresh under way, from its permit to its end.
struct Refresh<K, V, E, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    cache: LoadingCache<K, V, E, S>,
    hash: u64,
    key: K,
    /// Where the entry was when this began, if there was one.
    slot: Option<Slot>,
    /// Lost, until it ends: its loader may panic, and its task be dropped. `None` if another load does the work.
    ended: Option<Result<(), LoadError<E>>>,
}

impl<K, V, E, S> Drop for Refresh<K, V, E, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    fn drop(&mut self) {
        match &self.ended {
            // A write that took the mark away may have left the entry, and so the claim. If this has landed, another entry is in its
            // place, and a claim there is that of the next refresh.
            Some(Ok(())) => self.cache.unclaim_at(self.hash, &self.key, self.slot),
            Some(Err(error)) => {
                self.cache.shared.cache.recorder.count(Tally::RefreshFailures);
                self.cache.postpone(self.hash, &self.key, self.cache.shared.throttle);
                self.report(error);
            }
            None => {}
        }
        self.cache.shared.permits.out.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<K, V, E, S> LoadingCache<K, V, E, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Nobody refreshes a key for so long; then anybody may.
    pub(super) fn postpone<Q>(&self, hash: u64, key: &Q, time: Duration)
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let until = deadline(self.shared.cache.now(), time);
        self.with_age(hash, key, |ages, slot| ages.postpone(slot, until));
    }

    /// Claims a key, due or not, so that no reader tries to refresh it. False if it is claimed already, or not there.
    pub(super) fn claim_by_hand<Q>(&self, hash: u64, key: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let claim = |ages: &Ages, slot| ages.claim(slot, ages.get(slot).next);
        self.with_age(hash, key, claim).unwrap_or(false)
    }

    /// A key that is still claimed may be refreshed by anybody. If somebody does that already, who claims it next finds the mark.
    pub(super) fn unclaim<Q>(&self, hash: u64, key: &Q)
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let slot = self.with_age(hash, key, |_, slot| slot);
        self.unclaim_at(hash, key, slot);
    }

    /// The same, if the key's entry is where it was.
    fn unclaim_at<Q>(&self, hash: u64, key: &Q, was: Option<Slot>)
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.with_age(hash, key, |ages, slot| {
            if was == Some(slot) && ages.get(slot).next == NEVER {
                ages.postpone(slot, 0);
            }
        });
    }

    fn with_age<Q, R>(&self, hash: u64, key: &Q, f: impl FnOnce(&Ages, Slot) -> R) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let segment = self.shared.cache.engine.lock(hash);
        segment.ages().zip(segment.find(hash, key)).map(|(ages, slot)| f(ages, slot))
    }
}

impl<K, V, E, S> LoadingCache<K, V, E, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Has a key loaded anew, by who has claimed it. True if that has begun.
    pub(super) fn refresh_claimed<Q>(&self, hash: u64, key: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let begun = self.begin_refresh(hash, key, Why::Due);
        if begun.is_none() {
            // The claim is given back. Who has no permit, or meets another load, comes again.
            self.postpone(hash, key, Duration::ZERO);
        }
        begun.map(|task| self.run_behind(Box::pin(task))).is_some()
    }

    /// A task that loads a key anew; none if it is being loaded, or no more refreshes may run.
    pub(super) fn begin_refresh<Q>(
        &self,
        hash: u64,
        key: &Q,
        why: Why,
    ) -> Option<impl Future<Output = ()> + Send + 'static + use<K, V, E, S, Q>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let (cache, owned) = (self.clone(), key.to_owned());
        if !self.shared.permits.take() {
            return None;
        }
        let slot = self.with_age(hash, key, |_, slot| slot);
        let ended = Some(Err(LoadError::Lost));
        let mut refresh = Refresh { cache, hash, key: owned, slot, ended };
        let Begun::Lead(lead) = Lead::begin(self.clone(), hash, key, None, |_| false) else {
            refresh.ended = None;
            return None;
        };
        Some(async move {
            match refresh.cache.run_lead(lead, why).await {
                // The value's destructor may panic: it has landed before.
                Ok(_value) => refresh.end(Ok(())),
                Err(error) => refresh.end(Err(error)),
            }
        })
    }
}

impl<K, V, E, S> Refresh<K, V, E, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    fn end(&mut self, ended: Result<(), LoadError<E>>) {
        if ended.is_ok() {
            self.cache.shared.cache.recorder.count(Tally::Refreshes);
        }
        self.ended = Some(ended);
    }

    fn report(&self, error: &LoadError<E>) {
        if let Some(report) = &self.cache.shared.report {
            let report = Arc::clone(report);
            self.cache.shared.cache.contain(Tally::ListenerPanics, || report(&self.key, error));
        }
    }
}
