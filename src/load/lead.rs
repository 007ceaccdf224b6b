//! Leading and joining: what `get_or_load` does with a flight.

use super::flight::{Flight, Landing};
use super::loaded::Origin;
use super::{block, waits};
use crate::cache::Cache;
use crate::engine::{Entry, When, Written, epoch};
use crate::error::LoadError;
use crate::observe::{Cause, Tally};
use crate::sync::{Arc, thread};
use crate::time::deadline;
use crate::write::Ttl;
use equivalent::Equivalent;
use std::any::Any;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::ops::Deref;
use std::time::Duration;

/// A load's mark under its key: the flight, which is this one and no other.
pub(crate) struct Ticket<V>(Arc<Flight<Arc<V>>>);

impl<V> PartialEq for Ticket<V> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<V> Clone for Ticket<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V> Ticket<V> {
    /// Which load it is of.
    pub(super) fn id(&self) -> u64 {
        self.0.id()
    }

    /// True if the load has failed, and its error is kept.
    pub(super) fn is_kept(&self) -> bool {
        self.0.kept_until().is_some()
    }

    /// Waits for the end of the load: its value, or its error; neither if it was abandoned, or failed with an error of
    /// another type.
    pub(super) async fn wait<E>(self) -> Result<Option<Arc<V>>, LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        let _waiting = waits::wait_for(self.id()).map_err(|_| LoadError::Recursive)?;
        let landing = self.0.join().await;
        // The flight must not be the last to own a value whose destructor panics.
        drop(self);
        match landing {
            Landing::Landed(value) => Ok(Some(value)),
            Landing::Failed(error) => match error.downcast() {
                Ok(error) => Err(LoadError::Failed(error)),
                Err(_) => Ok(None),
            },
            Landing::Abandoned => Ok(None),
        }
    }
}

/// What a loader may return: the value, or a `Result` of it.
///
/// Implemented for `V`, whose loader cannot fail ([`Infallible`]), and for `Result<V, E>`.
///
/// ```
/// use cachette::Outcome;
///
/// let sure: Result<u32, std::convert::Infallible> = Outcome::<u32>::into_result(7);
/// let perhaps: Result<u32, String> = Outcome::<u32>::into_result(Err("no".to_string()));
/// assert!(sure.is_ok() && perhaps.is_err());
/// ```
pub trait Outcome<V> {
    /// The error of a loader that fails.
    type Error: Send + Sync + 'static;

    /// The value, or why there is none.
    ///
    /// # Errors
    ///
    /// The loader's own.
    fn into_result(self) -> Result<V, Self::Error>;
}

impl<V> Outcome<V> for V {
    type Error = Infallible;

    fn into_result(self) -> Result<V, Infallible> {
        Ok(self)
    }
}

impl<V, E: Send + Sync + 'static> Outcome<V> for Result<V, E> {
    type Error = E;

    fn into_result(self) -> Self {
        self
    }
}

/// Where a caller stands who found nothing.
pub(super) enum Begun<C, K, V, S>
where
    C: Deref<Target = Cache<K, V, S>>,
    K: Hash + Eq,
    S: BuildHasher,
{
    Resident(V),
    Join(Ticket<V>),
    Lead(Lead<C, K, V, S>),
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    S: BuildHasher,
{
    /// The value of a key, loaded if there is none. However many threads and tasks ask at once, one of them loads.
    ///
    /// `loader` returns the value, or a `Result` of it. It runs outside every lock, on the calling thread, and may call the
    /// cache. If the key is written or deleted while it runs, the write wins: those who waited get the loaded value, the
    /// cache does not.
    ///
    /// A loader that panics, or whose task is cancelled, is replaced by the loader of one of those who wait. A hit costs
    /// what [`get`](Self::get) costs.
    ///
    /// # Errors
    ///
    /// [`LoadError::Failed`] if the loader failed, for everyone who had joined and whose loaders have the same error type
    /// (those of another type load for themselves, one of them for all); errors are not cached.
    /// [`LoadError::Recursive`] if the load would wait for itself.
    ///
    /// # Limits
    ///
    /// The key must be of a form that the cache can make its own key from ([`ToOwned`]): with `Cache<&str, _>` ask for
    /// `&"a"`, with `Cache<String, _>` for `"a"`.
    ///
    /// A leader that is a task and is never polled again, yet not dropped, holds its joiners. A blocking call that joins a
    /// task's load, on the very thread that would have to poll this task, never ends.
    ///
    /// ```
    /// use cachette::{Cache, LoadError};
    ///
    /// let cache = Cache::<String, usize>::new(100);
    /// let length = cache.get_or_load("four", |key| key.len());
    /// assert_eq!(length.unwrap(), 4);
    ///
    /// let parsed = cache.get_or_load("x", |key| key.parse::<usize>());
    /// assert!(matches!(parsed, Err(LoadError::Failed(_))));
    /// ```
    #[doc(alias = "get_or_insert_with", alias = "or_insert_with", alias = "try_get_with")]
    pub fn get_or_load<Q, R>(
        &self,
        key: &Q,
        loader: impl FnOnce(&Q) -> R,
    ) -> Result<V, LoadError<R::Error>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
        R: Outcome<V>,
    {
        let hash = self.hash(key);
        match self.value(hash, key) {
            Some(value) => Ok(value),
            None => block::block_on(self.load(hash, key, async || loader(key))).map(|it| it.0),
        }
    }

    /// As [`get_or_load`](Self::get_or_load), from a task: the loader is a future, and those who wait are suspended. Tasks
    /// and threads share flights. It needs no particular runtime.
    ///
    /// The loader is given a key of its own. If the future is dropped while it leads, one of those who wait leads on.
    ///
    /// # Errors
    ///
    /// As [`get_or_load`](Self::get_or_load).
    ///
    /// ```
    /// use cachette::Cache;
    ///
    /// async fn profile(cache: &Cache<u64, String>, user: u64) -> Result<String, cachette::LoadError<std::fmt::Error>> {
    ///     cache.get_or_load_async(&user, async |user| Ok(format!("user {user}"))).await
    /// }
    /// # let cache = Cache::new(10);
    /// # let future = std::pin::pin!(profile(&cache, 7));
    /// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// # assert!(future.poll(&mut context).is_ready());
    /// # assert_eq!(cache.get(&7).unwrap(), "user 7");
    /// ```
    pub async fn get_or_load_async<Q, R, F>(
        &self,
        key: &Q,
        loader: impl FnOnce(K) -> F,
    ) -> Result<V, LoadError<R::Error>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
        F: Future<Output = R>,
        R: Outcome<V>,
    {
        let hash = self.hash(key);
        match self.value(hash, key) {
            Some(value) => Ok(value),
            None => self.load(hash, key, || loader(key.to_owned())).await.map(|it| it.0),
        }
    }

    /// Leads a load or joins one, until there is a value or an error. Says where the value came from.
    pub(super) async fn load<Q, R, F>(
        &self,
        hash: u64,
        key: &Q,
        loader: impl FnOnce() -> F,
    ) -> Result<(V, Origin), LoadError<R::Error>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
        F: Future<Output = R>,
        R: Outcome<V>,
    {
        let mut past = None;
        loop {
            match Lead::begin(self, hash, key, past, |_| true) {
                Begun::Resident(value) => return Ok((value, Origin::Hit)),
                Begun::Lead(lead) => {
                    let value = lead.run(loader, |_, _| None).await.1?;
                    return Ok((self.unshare(value), Origin::Load));
                }
                // It may be abandoned, or its error be for others: then this caller's own loader is next.
                Begun::Join(ticket) => {
                    past = Some(ticket.id());
                    if let Some(value) = ticket.wait().await? {
                        return Ok((self.unshare(value), Origin::Shared));
                    }
                }
            }
        }
    }

    /// A clone of the value of a key, as a reader gets it.
    pub(super) fn value<Q>(&self, hash: u64, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let pin = epoch::pin();
        self.read(pin.guard(), hash, key).map(|entry| entry.value.clone())
    }
}

/// The right and the duty to end a flight. Dropped before it has landed, it hands over: one of those who wait leads next.
///
/// `C` is who holds the cache meanwhile: a caller borrows it, a load that may outlive its callers owns a part of it.
pub(crate) struct Lead<C, K, V, S>
where
    C: Deref<Target = Cache<K, V, S>>,
    K: Hash + Eq,
    S: BuildHasher,
{
    cache: C,
    hash: u64,
    key: K,
    ticket: Ticket<V>,
    began: u64,
    stage: Stage,
}

/// How far a load has come.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Loading,
    /// The loader has ended, and is counted.
    Loaded,
    /// Those who wait have been told.
    Ended,
}

impl<C, K, V, S> Lead<C, K, V, S>
where
    C: Deref<Target = Cache<K, V, S>>,
    K: Hash + Eq + Clone,
    V: Clone,
    S: BuildHasher,
{
    /// Looks the key up, joins its load, or leaves a mark and leads: one lock. It does not join the load `past`, which was of no
    /// use to the caller. A value that is not `good` is as good as none.
    pub(super) fn begin<Q>(
        cache: C,
        hash: u64,
        key: &Q,
        past: Option<u64>,
        good: impl Fn(&V) -> bool,
    ) -> Begun<C, K, V, S>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        let ticket = Ticket(Flight::new());
        // Both are the user's `Clone`, so they run before the lock.
        let (key_of_mark, key_of_lead) = (key.to_owned(), key.to_owned());
        {
            let mut delivery = cache.delivery();
            let pin = epoch::pin();
            let mut segment = cache.engine.lock(hash);
            let now = cache.now_in(&segment);
            let live = segment.find_live(hash, key, now);
            let found = live.and_then(|slot| segment.found(slot, pin.guard()));
            if let Some(found) = found.filter(|found| good(&found.entry.value)) {
                drop(segment);
                return Begun::Resident(found.entry.value.clone());
            }
            if let Some(other) = segment.pending().load(hash, key).cloned() {
                let kept = other.0.kept_until();
                if kept.is_none_or(|until| Some(other.id()) != past && cache.now() < until) {
                    drop(segment);
                    return Begun::Join(other);
                }
                // It has failed, and its error does not stand any more.
                ticket.0.follow(&other.0);
                segment.pending().remove_load(hash, &other, &mut delivery.out);
            }
            segment.pending().add_load(hash, key_of_mark, ticket.clone());
        }
        let stage = Stage::Loading;
        let mut lead = Self { cache, hash, key: key_of_lead, ticket, began: 0, stage };
        // Only now that the mark has an owner: a clock may panic.
        lead.began = lead.cache.now();
        Begun::Lead(lead)
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn key(&self) -> &K {
        &self.key
    }

    /// Its own mark, for who is to wait for it.
    pub(super) fn ticket(&self) -> Ticket<V> {
        self.ticket.clone()
    }

    /// Runs the loader and lands what it gives. Whoever held the cache, and the value or the error, are for the caller, who is the
    /// last owner of the value if those who waited are not. `keep` says how long an error stands, if it does; it is told how
    /// many loads failed in a row before this one.
    pub(super) async fn run<R, F>(
        self,
        loader: impl FnOnce() -> F,
        keep: impl FnOnce(&R::Error, u64) -> Option<Duration>,
    ) -> (C, Result<Arc<V>, LoadError<R::Error>>)
    where
        C: Clone,
        F: Future<Output = R>,
        R: Outcome<V>,
    {
        let outcome = waits::led(self.ticket.id(), async { loader().await }).await;
        let took = self.count_time();
        self.end(outcome, took, keep)
    }

    /// Counts the time since this load began, and returns it.
    pub(super) fn count_time(&self) -> u64 {
        let took = self.cache.now().saturating_sub(self.began);
        self.cache.recorder.add(Tally::LoadNanos, took);
        took
    }

    /// Counts and lands what the loader gave after so long; otherwise as [`run`](Self::run).
    pub(super) fn end<R>(
        mut self,
        outcome: R,
        took: u64,
        keep: impl FnOnce(&R::Error, u64) -> Option<Duration>,
    ) -> (C, Result<Arc<V>, LoadError<R::Error>>)
    where
        C: Clone,
        R: Outcome<V>,
    {
        self.stage = Stage::Loaded;
        let landed = match outcome.into_result() {
            Ok(value) => {
                self.cache.recorder.count(Tally::Loads);
                Ok(self.land(value, took))
            }
            Err(error) => {
                self.cache.recorder.count(Tally::LoadFailures);
                let kept = keep(&error, self.ticket.0.failures()).filter(|time| !time.is_zero());
                Err(LoadError::Failed(self.fail(error, kept)))
            }
        };
        let cache = self.cache.clone();
        // Not at the end of the function: where a destructor panics there, what is returned is not dropped.
        drop(self);
        (cache, landed)
    }

    /// Publishes what was written elsewhere, if nothing was written here meanwhile: this was no load, and counts as none.
    pub(crate) fn publish(mut self, value: V) {
        self.stage = Stage::Loaded;
        let value = self.land(value, 0);
        drop(self);
        drop(value);
    }

    /// Counts that the loader of a batch has said nothing of this key. Those who wait go on by themselves.
    pub(super) fn unanswered<E>(mut self) -> LoadError<E> {
        self.stage = Stage::Loaded;
        self.cache.recorder.count(Tally::LoadFailures);
        LoadError::Unanswered
    }

    /// Publishes the value, if nothing was written meanwhile, and gives it to all who wait.
    fn land(&mut self, value: V, took: u64) -> Arc<V> {
        // `Clone`, the weigher and the expiry are user code too, and may ask for this very key.
        let _running = waits::enter(self.ticket.0.id());
        let entry = Entry { key: self.key.clone(), value };
        let mut delivery = self.cache.delivery();
        let (when, ttl) = (When::Load(&self.ticket), Ttl::Loaded(took));
        let pin = epoch::pin();
        let guard = Some(pin.guard());
        let value = match self.cache.write(entry, self.hash, ttl, when, guard, &mut delivery.out) {
            // Once it is published, it is the cache's: those who wait get a clone.
            Written::Stored { new, .. } => new.map(|found| found.entry.value.clone()),
            Written::NotMet { entry } => Some(self.cache.value_of(entry)),
            Written::Refused { entry, .. } => {
                self.cache.tell(&entry, Cause::Refused);
                Some(self.cache.value_of(entry))
            }
        };
        let value = Arc::new(value.unwrap_or_else(|| unreachable!("a guard shows what is stored")));
        self.stage = Stage::Ended;
        self.ticket.0.settle(Landing::Landed(Arc::clone(&value)));
        value
    }

    /// Gives the error to all who wait; and to all who come for as long as it is kept.
    fn fail<E: Send + Sync + 'static>(&mut self, error: E, kept: Option<Duration>) -> Arc<E> {
        let error = Arc::new(error);
        match kept {
            Some(time) => self.ticket.0.keep_until(deadline(self.cache.now(), time)),
            None => self.unmark(),
        }
        self.stage = Stage::Ended;
        self.ticket.0.settle(Landing::Failed(Arc::clone(&error) as Arc<dyn Any + Send + Sync>));
        error
    }
}

impl<C, K, V, S> Lead<C, K, V, S>
where
    C: Deref<Target = Cache<K, V, S>>,
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Takes the mark away: who comes now begins a load of their own.
    fn unmark(&self) {
        self.cache.unmark(self.hash, &self.ticket);
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Takes a load's mark away, if no write has done so.
    pub(super) fn unmark(&self, hash: u64, ticket: &Ticket<V>) {
        let mut delivery = self.delivery();
        let mut segment = self.engine.lock(hash);
        segment.pending().remove_load(hash, ticket, &mut delivery.out);
    }
}

impl<C, K, V, S> Drop for Lead<C, K, V, S>
where
    C: Deref<Target = Cache<K, V, S>>,
    K: Hash + Eq,
    S: BuildHasher,
{
    fn drop(&mut self) {
        // First the mark, or those who wake would join this flight again.
        if self.stage == Stage::Loading && thread::panicking() {
            self.cache.recorder.count(Tally::LoadFailures);
        }
        if self.stage != Stage::Ended {
            self.unmark();
            self.ticket.0.settle(Landing::Abandoned);
        }
    }
}
