//! Many values that L1 has not: one question to the remote, one call of the loader, one write.
//!
//! Leases that others hold are waited for last, when this call holds none any more: so no ring of processes waits for each other.

use super::core::Tier;
use super::fill::Wanted;
use super::held::Held;
use super::names::RemoteKey;
use super::read::Looked;
use super::remote::{Claim, Found, Place, Read, Token};
use crate::load::{Answers, Why, side_by_side};
use crate::sync::Arc;
use std::collections::HashMap;
use std::hash::Hash;

/// Keys that are loaded side by side, where there is no bulk loader.
const AT_ONCE: usize = 64;

impl<K, V, E> Tier<K, V, E>
where
    K: RemoteKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    pub(super) async fn fetch_many(self: Arc<Self>, keys: Vec<K>) -> Answers<K, Held<V>, E> {
        let answers = self.find_many(keys).await;
        let admit = |(key, answer): (K, Result<Held<V>, E>)| {
            let answer = answer.map(|held| self.admitted(&key, held));
            (key, answer)
        };
        answers.into_iter().map(admit).collect()
    }

    async fn find_many(self: &Arc<Self>, keys: Vec<K>) -> Answers<K, Held<V>, E> {
        let (mut answers, mut wanted, later) = self.look_many(keys).await;
        answers.extend(self.load_many(std::mem::take(&mut wanted)).await);
        if later.is_empty() {
            return answers;
        }
        let tier = self;
        let look = |(key, place): (K, Place)| async move {
            let looked = tier.look(&place, Why::Missed).await;
            (key, place, looked)
        };
        for (key, place, looked) in side_by_side(later, AT_ONCE, look).await {
            match looked {
                Looked::Found(held) => {
                    self.counts.remote_hits();
                    answers.push((key, Ok(held)));
                }
                Looked::Lead(token) => wanted.push(self.wanted(key, place, Some(token))),
                Looked::Alone => wanted.push(self.wanted(key, place, None)),
            }
        }
        answers.extend(self.load_many(wanted).await);
        answers
    }

    /// What the remote has; what is to be loaded now; and what others load, or what is to be looked at more closely.
    async fn look_many(
        self: &Arc<Self>,
        keys: Vec<K>,
    ) -> (Answers<K, Held<V>, E>, Vec<Wanted<K, V, E>>, Vec<(K, Place)>) {
        let (mut answers, mut wanted, mut later) = (Vec::new(), Vec::new(), Vec::new());
        let placed: Vec<_> =
            keys.into_iter().map(|key| (self.names.place(&key), self.draws.token(), key)).collect();
        let placed = self.without_replicated(placed, &mut answers).await;
        let (covered, open): (Vec<_>, Vec<_>) =
            placed.into_iter().partition(|(place, ..)| self.undelivered.covers(place));
        let sent = self.now();
        let reads: Vec<_> = open
            .iter()
            .map(|(place, token, _)| {
                let claim = Claim { token: *token, ttl: self.rules.lease, instead_of: None };
                Read { place, claim: Some(claim) }
            })
            .collect();
        let found = self.asker.ask("read many", |remote| remote.read(&reads)).await;
        let mut found = found.unwrap_or_default().into_iter();
        for (place, token, key) in open {
            match found.next() {
                Some(Found::Value { bytes, left }) => {
                    self.note_seen(&place.value);
                    match self.open(&place, &bytes, left, sent).await {
                        Ok(fetched) => {
                            self.counts.remote_hits();
                            answers.push((key, Ok(fetched.held)));
                        }
                        Err(_) => later.push((key, place)),
                    }
                }
                Some(Found::Granted) => wanted.push(self.wanted(key, place, Some(token))),
                Some(Found::Held(_) | Found::Foreign) => later.push((key, place)),
                Some(Found::Nothing) | None => wanted.push(self.wanted(key, place, None)),
            }
        }
        wanted.extend(covered.into_iter().map(|(place, _, key)| self.wanted(key, place, None)));
        (answers, wanted, later)
    }

    /// Answers those that a replica has; the others come back.
    async fn without_replicated(
        &self,
        placed: Vec<(Place, Token, K)>,
        answers: &mut Answers<K, Held<V>, E>,
    ) -> Vec<(Place, Token, K)> {
        let places: Vec<&Place> = placed.iter().map(|(place, ..)| place).collect();
        let mut looked = self.look_at_replicas(&places).await.into_iter();
        let mut others = Vec::with_capacity(placed.len());
        for (place, token, key) in placed {
            match looked.next().flatten() {
                Some(held) => {
                    self.counts.remote_hits();
                    answers.push((key, Ok(held)));
                }
                None => others.push((place, token, key)),
            }
        }
        others
    }

    /// Loads keys by one call, and writes those that have a lease.
    async fn load_many(self: &Arc<Self>, wanted: Vec<Wanted<K, V, E>>) -> Answers<K, Held<V>, E> {
        if wanted.is_empty() {
            return Vec::new();
        }
        let load = self.begin_load(wanted.iter().any(|wanted| wanted.lease.is_some())).await;
        let keys: Vec<K> = wanted.iter().map(|wanted| wanted.key.clone()).collect();
        let loaded = match &self.origin.many {
            Some(many) => many(keys).await,
            None => {
                let load = |key: K| async move {
                    let value = self.origin.load(key.clone(), None, Why::Missed).await;
                    (key, value)
                };
                side_by_side(keys, AT_ONCE, load).await
            }
        };
        let load = load.ended(self.now());
        let mut loaded: HashMap<K, Result<V, E>, ahash::RandomState> = loaded.into_iter().collect();
        let (mut answers, mut values) = (Vec::new(), Vec::new());
        for wanted in wanted {
            // Of what was not answered nothing is said: whoever asked is told.
            match loaded.remove(&wanted.key) {
                Some(Ok(value)) => values.push((wanted, value)),
                Some(Err(error)) => answers.push((wanted.key.clone(), Err(error))),
                None => {}
            }
        }
        let filled = self.fill(values, load).await;
        answers.extend(filled.into_iter().map(|(key, held)| (key, Ok(held))));
        answers
    }
}
