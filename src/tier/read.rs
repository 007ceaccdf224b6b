//! A value that L1 has not: from the remote, or loaded by the one process that has the lease.
//!
//! ```text
//!   L1 misses: one flight in this process, which asks a replica first, if replicas are asked
//!     └─► read and claim ─┬─ a value ──────────────────────────────► keep it as long as the remote does
//!                         ├─ granted ──► load ──► write if leased ─┬─► keep it
//!                         │                                        └─► rejected: serve it, keep it nowhere
//!                         ├─ held ─────► wait for a change, at most `lock_wait`, and ask again
//!                         └─ no answer ► load; keep it no longer than the bound on staleness
//! ```
//!
//! Why no write is overtaken: the flight's mark lies in L1 before the remote is asked, so a change that is told of meanwhile takes it away,
//! and the value is not published (a fence in L1); a deletion ends the lease, so the value is not written (a fence in L2).

use super::core::{Bad, Fetched, Tier};
use super::envelope::head_of;
use super::events::Event;
use super::fill::Wanted;
use super::held::Held;
use super::names::RemoteKey;
use super::remote::{Claim, Found, Place, Read, Token};
use crate::load::{Old, Why};
use crate::sync::Arc;
use crate::time::deadline;
use std::hash::Hash;
use std::time::Duration;

/// How long to wait for the line to tell of a change, before the remote is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// How often a place may turn out to hold something else than before.
const ROUNDS: u32 = 4;

/// How a value is to be come by.
pub(super) enum Looked<V> {
    Found(Held<V>),
    /// To be loaded, with this lease.
    Lead(Token),
    /// To be loaded without one.
    Alone,
}

impl<K, V, E> Tier<K, V, E>
where
    K: RemoteKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// The value of a key that L1 has not, or is to have anew.
    pub(super) async fn fetch(
        self: Arc<Self>,
        key: K,
        old: Option<Old<V>>,
        why: Why,
    ) -> Result<Held<V>, E> {
        let held = self.find(key.clone(), old, why).await?;
        Ok(self.admitted(&key, held))
    }

    /// A value that is not to be kept here is not, if its key is not asked for often enough.
    pub(super) fn admitted(&self, key: &K, mut held: Held<V>) -> Held<V> {
        let now = self.asker.clock.now();
        if self.hot.as_ref().is_some_and(|hot| !hot.admits(key, now)) {
            (held.end, held.admitted) = (0, false);
        }
        held
    }

    async fn find(self: &Arc<Self>, key: K, old: Option<Old<V>>, why: Why) -> Result<Held<V>, E> {
        let place = self.names.place(&key);
        let near = if why == Why::Missed { self.look_nearby(&key, &place).await } else { None };
        let looked = match near {
            Some(held) => Looked::Found(held),
            None => self.look(&place, why).await,
        };
        match looked {
            Looked::Found(held) => {
                self.counts.remote_hits();
                Ok(held)
            }
            Looked::Lead(token) => self.load(self.wanted(key, place, Some(token)), old, why).await,
            Looked::Alone => self.load(self.wanted(key, place, None), old, why).await,
        }
    }

    /// What need not be asked of the machine that has the key.
    async fn look_nearby(&self, key: &K, place: &Place) -> Option<Held<V>> {
        match self.look_at_copy(key, place).await {
            None => self.look_at_replica(place).await,
            held => held,
        }
    }

    async fn load(
        self: &Arc<Self>,
        wanted: Wanted<K, V, E>,
        old: Option<Old<V>>,
        why: Why,
    ) -> Result<Held<V>, E> {
        let load = self.begin_load(wanted.lease.is_some()).await;
        let value = self.origin.load(wanted.key.clone(), old, why).await?;
        let load = load.ended(self.now());
        let mut filled = self.fill(vec![(wanted, value)], load).await;
        let filled = filled.pop().map(|(_, held)| held);
        Ok(filled.unwrap_or_else(|| unreachable!("one value in, one out")))
    }

    pub(super) async fn look(&self, place: &Place, why: Why) -> Looked<V> {
        if self.undelivered.covers(place) {
            return Looked::Alone;
        }
        let token = self.draws.token();
        let patience = deadline(self.now(), self.rules.lock_wait);
        let (mut instead_of, mut fallback) = (None, None);
        let mut rounds = 0;
        while rounds < ROUNDS {
            let sent = self.now();
            let claim = Claim { token, ttl: self.rules.lease, instead_of };
            match self.read(Read { place, claim: Some(claim) }).await {
                Ok(Found::Granted) => return Looked::Lead(token),
                Ok(Found::Value { bytes, left }) => {
                    rounds += 1;
                    self.note_seen(&place.value);
                    instead_of = Some(head_of(&bytes));
                    match self.open(place, &bytes, left, sent).await {
                        Ok(fetched) if rounds == 1 && self.wants_anew(&fetched, why) => {
                            fallback = (why == Why::Due).then_some(fetched.held);
                        }
                        Ok(fetched) => return Looked::Found(fetched.held),
                        Err(Bad::Spoilt) => {}
                        Err(Bad::Unsure) => return Looked::Alone,
                    }
                }
                Ok(Found::Held(left)) => {
                    // Somebody loads it anew: until then it is good enough.
                    if let Some(held) = fallback {
                        return Looked::Found(held);
                    }
                    if self.now() >= patience {
                        return Looked::Alone;
                    }
                    self.counts.waits();
                    let time = ASK_AGAIN.min(left.max(Duration::from_millis(1)));
                    self.arrivals.wait(&place.value, self.spawn().sleep(time)).await;
                }
                Ok(Found::Foreign) => {
                    self.tell(&Event::Foreign { name: place.value.clone() });
                    return Looked::Alone;
                }
                Ok(Found::Nothing) | Err(_) => return Looked::Alone,
            }
        }
        Looked::Alone
    }

    fn wants_anew(&self, fetched: &Fetched<V>, why: Why) -> bool {
        match why {
            Why::Missed => false,
            Why::Due => self.is_due(fetched),
            Why::ByHand => true,
        }
    }
}
