//! Many keys at once: one call of the loader for all that are to be loaded.
//!
//! **Problem.** A caller wants many keys. Some are there, some are being loaded by others, and some may be named twice; the rest
//! should cost one call of the loader, which may know of some and fail for others. Nobody may wait for ever, even if two such
//! calls want each other's keys.
//!
//! ```text
//!   keys        a        b        c        d        a        e
//!               hit      lead     join     lead     = a      lead
//!                        └────────┼────────┴─────────────────┘  one call of the loader: [b, d, e]
//!                                 │        b and d land, e fails: each by itself
//!                                 └─ only now wait for c's load; if it was abandoned, c is asked for once more
//! ```
//!
//! **Invariants**
//!
//! 1. A key that is equal to one before it is not looked up, begun or loaded: it shares the other's answer.
//! 2. While this call waits for the flight of another, it leads none: so no ring of calls waits for each other's keys.
//! 3. User code that runs while flights are led runs inside all of them: if it asks for one of their keys, it is told.
//! 4. A lead that is not ended by an answer is dropped, which hands over.
//!
//! | operation | cost |
//! |---|---|
//! | a call | O(keys), expected; a look-up each, as one `get` costs |
//! | a key that is equal to another | a `to_owned` of the other |
//! | a round | as many `begin`s as keys are open, a call of the loader, a poll of it at O(keys led) |
//!
//! Rounds are one, and one more for each time that the load of another is abandoned, or fails with an error of another type.

use super::block;
use super::lead::{Begun, Lead, Outcome, Ticket};
use super::waits::{self, Nested};
use crate::cache::Cache;
use crate::error::LoadError;
use equivalent::Equivalent;
use std::collections::HashMap;
use std::future::ready;
use std::hash::{BuildHasher, Hash};
use std::iter::successors;

/// One of the keys that are asked for.
struct Asked<'q, Q: ?Sized, V, E> {
    key: &'q Q,
    hash: u64,
    /// The last one before it that has the same hash.
    before: Option<usize>,
    /// Somebody else's load of it that was of no use.
    past: Option<u64>,
    state: State<V, E>,
}

enum State<V, E> {
    /// It was not there, and is to be loaded.
    Open,
    Known(Result<V, LoadError<E>>),
    /// The key is equal to that of an earlier one.
    SameAs(usize),
}

type Led<'a, K, V, S> = Lead<&'a Cache<K, V, S>, K, V, S>;

/// What is led and what is joined, each with its place among the keys.
struct Round<'a, K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    leads: Vec<(usize, Led<'a, K, V, S>)>,
    joins: Vec<(usize, Ticket<V>)>,
}

/// Bulk loads.
impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    S: BuildHasher,
{
    /// The values of many keys, in the order of the keys: those that are not there are loaded, by one call of `loader` for all.
    ///
    /// `loader` is given the keys that nobody has or loads, none twice, and returns what it knows: pairs of a key and its
    /// value, or its `Result`, such as a `HashMap<K, V>` or a `Vec<(K, Result<V, E>)>`; of two answers for a key the last one
    /// counts, and answers for other keys are ignored. Each answer is that of its key alone: it is published, or fails, as in
    /// [`get_or_load`](Self::get_or_load), and those who wait for this key have it too. If there is nothing to load, `loader`
    /// is not called. It is called again in one case: somebody else's load of a key was joined, and then was given up, or failed
    /// with an error of another type.
    ///
    /// If `loader` panics, all its keys are handed over to those who wait for them.
    ///
    /// O(keys). Each distinct key is a use and a hit or a miss, as in [`get`](Self::get).
    ///
    /// # Errors
    ///
    /// For each key its own: [`LoadError::Failed`] if it failed, [`LoadError::Unanswered`] if `loader` said nothing of it (who
    /// has joined then loads by themselves), [`LoadError::Recursive`] if its load would wait for itself.
    ///
    /// # Limits
    ///
    /// Those of [`get_or_load`](Self::get_or_load).
    ///
    /// ```
    /// use cachette::{Cache, LoadError};
    /// use std::collections::HashMap;
    ///
    /// let cache = Cache::<String, usize>::new(100);
    /// cache.put("one".to_string(), 1);
    /// let table = HashMap::from([("two", 2), ("three", 3)]);
    ///
    /// let values = cache.get_or_load_many(["one", "two", "four", "two"], |keys| {
    ///     assert_eq!(keys, ["two", "four"]);
    ///     // As one query would: what is not in the table is not in the answer.
    ///     keys.into_iter()
    ///         .filter_map(|key| table.get(key.as_str()).map(|&value| (key, value)))
    ///         .collect::<Vec<_>>()
    /// });
    /// assert!(matches!(values[..], [Ok(1), Ok(2), Err(LoadError::Unanswered), Ok(2)]));
    /// ```
    #[doc(alias = "get_all", alias = "get_many_or_load", alias = "load_all")]
    pub fn get_or_load_many<'q, Q, R, O>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        mut loader: impl FnMut(Vec<K>) -> R,
    ) -> Vec<Result<V, LoadError<O::Error>>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K> + 'q,
        R: IntoIterator<Item = (K, O)>,
        O: Outcome<V>,
    {
        block::block_on(self.get_or_load_many_async(keys, |keys| ready(loader(keys))))
    }

    /// As [`get_or_load_many`](Self::get_or_load_many), from a task: the loader is a future, and those who wait are suspended.
    ///
    /// If the future is dropped while it loads, all keys that it was loading are handed over to those who wait for them.
    ///
    /// # Errors
    ///
    /// As [`get_or_load_many`](Self::get_or_load_many).
    ///
    /// ```
    /// use cachette::Cache;
    /// use std::collections::HashMap;
    ///
    /// async fn squares(cache: &Cache<u32, u32>) -> u32 {
    ///     let load = async |keys: Vec<u32>| HashMap::<u32, u32>::from_iter(keys.iter().map(|key| (*key, key * key)));
    ///     cache.get_or_load_many_async(&[1, 2, 3], load).await.into_iter().flatten().sum()
    /// }
    /// # let cache = Cache::new(10);
    /// # let future = std::pin::pin!(squares(&cache));
    /// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// # assert_eq!(future.poll(&mut context), std::task::Poll::Ready(14));
    /// # assert_eq!(cache.get(&3), Some(9));
    /// ```
    pub async fn get_or_load_many_async<'q, Q, R, O, F>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        mut loader: impl FnMut(Vec<K>) -> F,
    ) -> Vec<Result<V, LoadError<O::Error>>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K> + 'q,
        F: Future<Output = R>,
        R: IntoIterator<Item = (K, O)>,
        O: Outcome<V>,
    {
        let read = |hash, key: &'q Q| self.value(hash, key);
        self.load_all(keys, read, |_| true, &mut loader).await
    }

    /// The values of many keys: those that `read` does not find are loaded, unless they are there by then, and `good`.
    pub(super) async fn load_all<'q, Q, R, O, F>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        read: impl Fn(u64, &'q Q) -> Option<V>,
        good: impl Fn(&V) -> bool,
        loader: &mut impl FnMut(Vec<K>) -> F,
    ) -> Vec<Result<V, LoadError<O::Error>>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K> + 'q,
        F: Future<Output = R>,
        R: IntoIterator<Item = (K, O)>,
        O: Outcome<V>,
    {
        let mut asked = self.look_up(keys, read);
        loop {
            let Round { leads, joins } = self.begin_all(&mut asked, &good);
            if leads.is_empty() && joins.is_empty() {
                return answers(asked);
            }
            if !leads.is_empty() {
                self.lead_all(leads, loader, &mut asked).await;
            }
            for (at, ticket) in joins {
                match ticket.wait().await {
                    Ok(Some(value)) => asked[at].state = State::Known(Ok(self.unshare(value))),
                    Err(error) => asked[at].state = State::Known(Err(error)),
                    // Abandoned, or it failed for others: this caller's own loader is next.
                    Ok(None) => {}
                }
            }
        }
    }

    /// Reads every key that is not equal to one before it.
    fn look_up<'q, Q, E>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        read: impl Fn(u64, &'q Q) -> Option<V>,
    ) -> Vec<Asked<'q, Q, V, E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K> + 'q,
    {
        let keys = keys.into_iter();
        let (expected, _) = keys.size_hint();
        let mut asked: Vec<Asked<'q, Q, V, E>> = Vec::with_capacity(expected);
        let mut last: HashMap<u64, usize, ahash::RandomState> = HashMap::default();
        last.reserve(expected);
        for key in keys {
            let hash = self.hash(key);
            let before = last.insert(hash, asked.len());
            // A `Q` can only be compared with a `K`. It is made for equal hashes alone, which are all but equal keys.
            let is_same = |at: &usize| key.equivalent(&asked[*at].key.to_owned());
            let same = successors(before, |&at| asked[at].before).find(is_same);
            let state = match same {
                Some(at) => State::SameAs(at),
                None => read(hash, key).map_or(State::Open, |value| State::Known(Ok(value))),
            };
            asked.push(Asked { key, hash, before, past: None, state });
        }
        asked
    }

    /// Leads or joins the load of every key that is open, and has those that are there by now.
    fn begin_all<Q, E>(
        &self,
        asked: &mut [Asked<'_, Q, V, E>],
        good: &impl Fn(&V) -> bool,
    ) -> Round<'_, K, V, S>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        // To begin is to clone keys, which is user code.
        let mut running = Nested::of([]);
        let mut round = Round { leads: Vec::new(), joins: Vec::new() };
        for (at, one) in asked.iter_mut().enumerate() {
            if !matches!(one.state, State::Open) {
                continue;
            }
            match Lead::begin(self, one.hash, one.key, one.past, good) {
                Begun::Resident(value) => one.state = State::Known(Ok(value)),
                Begun::Join(ticket) => {
                    one.past = Some(ticket.id());
                    round.joins.push((at, ticket));
                }
                Begun::Lead(lead) => {
                    running.enter(lead.ticket().id());
                    round.leads.push((at, lead));
                }
            }
        }
        round
    }

    /// Has all that is led loaded by one call, and ends each by its own answer.
    async fn lead_all<Q, R, O, F>(
        &self,
        leads: Vec<(usize, Led<'_, K, V, S>)>,
        loader: &mut impl FnMut(Vec<K>) -> F,
        asked: &mut [Asked<'_, Q, V, O::Error>],
    ) where
        Q: ?Sized,
        F: Future<Output = R>,
        R: IntoIterator<Item = (K, O)>,
        O: Outcome<V>,
    {
        let flights: Vec<u64> = leads.iter().map(|(_, lead)| lead.ticket().id()).collect();
        let batch = async {
            let keys = leads.iter().map(|(_, lead)| lead.key().clone()).collect();
            // The iterator may be lazy: it is a part of the loader.
            loader(keys).await.into_iter().collect::<HashMap<K, O, ahash::RandomState>>()
        };
        let mut answers = waits::led_all(&flights, batch).await;
        // `Clone`, the weigher and the expiry are user code, and may ask for a key that has not landed yet.
        let _running = Nested::of(flights);
        let took = leads.first().map_or(0, |(_, first)| first.count_time());
        for (at, lead) in leads {
            asked[at].state = State::Known(match answers.remove(lead.key()) {
                Some(outcome) => {
                    let (_, landed) = lead.end(outcome, took, |_, _| None);
                    landed.map(|value| self.unshare(value))
                }
                None => Err(lead.unanswered()),
            });
        }
    }
}

/// The answers in the order of the keys. Nothing is open.
fn answers<Q: ?Sized, V: Clone, E>(asked: Vec<Asked<'_, Q, V, E>>) -> Vec<Result<V, LoadError<E>>> {
    let mut answers: Vec<Result<V, LoadError<E>>> = Vec::with_capacity(asked.len());
    for one in asked {
        let answer = match one.state {
            State::Known(answer) => answer,
            State::SameAs(at) => answers[at].clone(),
            State::Open => unreachable!("a round leads or joins what is open"),
        };
        answers.push(answer);
    }
    answers
}
