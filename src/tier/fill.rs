//! What is done with values that were loaded: they are written to the remote if their leases still stand, and kept here accordingly.
//!
//! | the remote | L1 |
//! |---|---|
//! | has written it | keeps it as long as the remote does |
//! | has refused it: its lease had ended | does not keep it |
//! | was not asked, or has not answered | keeps it, no longer than the bound on staleness |

use super::core::{Sealed, Tier};
use super::events::Event;
use super::generations::Stamp;
use super::held::{Held, More};
use super::names::RemoteKey;
use super::remote::{Mode, Place, RemoteError, Token, Turn, Write};
use crate::sync::Arc;
use crate::time::NEVER;
use std::hash::Hash;

/// A key that is to be loaded, with its lease, if it has one.
pub(super) struct Wanted<K, V, E>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    pub(super) key: K,
    pub(super) place: Place,
    pub(super) lease: Option<Lease<K, V, E>>,
}

/// A lease that is given back if nobody fills the place.
pub(super) struct Lease<K, V, E>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    tier: Arc<Tier<K, V, E>>,
    name: Vec<u8>,
    /// None, once it has ended.
    token: Option<Token>,
}

impl<K, V, E> Drop for Lease<K, V, E>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    fn drop(&mut self) {
        let Some(token) = self.token else { return };
        let (tier, name) = (Arc::clone(&self.tier), std::mem::take(&mut self.name));
        // The loader failed, panicked, or its task is gone: others need not wait for the lease to end by itself.
        self.tier.behind(async move {
            let free = tier.asker.ask("free a lease", |it| it.lock(&name, token, Turn::Free));
            // If it fails, the lease ends by its TTL.
            let _ = free.await;
        });
    }
}

/// What is known of a load.
#[derive(Clone, Copy)]
pub(super) struct Load {
    began: u64,
    /// The same, among what is told of tags.
    moment: u64,
    cost: u64,
    /// The generation of all values before it; none if nothing is to be written.
    all: Option<u64>,
}

impl Load {
    pub(super) fn ended(self, now: u64) -> Self {
        Self { cost: now.saturating_sub(self.began), ..self }
    }
}

/// A value on its way.
struct Filling<K, V, E>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    wanted: Wanted<K, V, E>,
    held: Held<V>,
    sealed: Option<Sealed>,
}

impl<K, V, E> Tier<K, V, E>
where
    K: RemoteKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    pub(super) fn wanted(
        self: &Arc<Self>,
        key: K,
        place: Place,
        token: Option<Token>,
    ) -> Wanted<K, V, E> {
        if token.is_some() {
            self.counts.leases();
        } else {
            self.counts.alone();
        }
        let lease = token.map(|token| {
            let (tier, name) = (Arc::clone(self), place.lease.clone());
            Lease { tier, name, token: Some(token) }
        });
        Wanted { key, place, lease }
    }

    /// To be called before the loader: what is deleted while it runs is of another generation after.
    pub(super) async fn begin_load(&self, leased: bool) -> Load {
        let all = if leased { self.generation().await.ok() } else { None };
        Load { began: self.now(), moment: self.generations.moment(), cost: 0, all }
    }

    /// Writes what was loaded under a lease that still stands, by one call.
    pub(super) async fn fill(
        &self,
        loaded: Vec<(Wanted<K, V, E>, V)>,
        load: Load,
    ) -> Vec<(K, Held<V>)> {
        let mut fillings = Vec::with_capacity(loaded.len());
        for (wanted, value) in loaded {
            fillings.push(self.prepare(wanted, value, load).await);
        }
        let sent = self.now();
        let writes: Vec<Write<'_>> =
            fillings.iter().filter_map(|filling| self.write_of(filling)).collect();
        let written = self.write(&writes).await;
        let mut written = written.ok().map(Vec::into_iter);
        let mut filled = Vec::with_capacity(fillings.len());
        for mut filling in fillings {
            if let Some(sealed) = filling.sealed.take() {
                let written = written.as_mut().and_then(Iterator::next);
                self.settle(&mut filling, &sealed, written, sent);
            }
            if filling.held.end != 0 {
                self.bound_unless_heard(&mut filling.held, load.began);
            }
            filled.push((filling.wanted.key.clone(), filling.held));
        }
        filled
    }

    /// Decides whether a value is to be written, and how.
    async fn prepare(&self, wanted: Wanted<K, V, E>, value: V, load: Load) -> Filling<K, V, E> {
        let stamps = self.stamps_since(&wanted.key, &value, load.moment).await;
        let version = self.version(&wanted.key, &value);
        // Where it is not known, its tags may have been deleted while it was loaded.
        let end = if stamps.is_some() { NEVER } else { 0 };
        let more = More::of(version, stamps.unwrap_or_default());
        let held = Held { value, id: 0, end, bounded: false, admitted: true, more };
        let mut filling = Filling { wanted, held, sealed: None };
        if let (true, Some(_), Some(all)) = (end == NEVER, &filling.wanted.lease, load.all) {
            let Filling { wanted, held, .. } = &filling;
            match self.seal(&wanted.key, held, all, load.cost) {
                Ok(sealed) => filling.sealed = Some(sealed),
                Err(why) => {
                    let name = wanted.place.value.clone();
                    self.tell(&Event::Unwritable { name, why });
                }
            }
        }
        filling
    }

    fn write_of<'a>(&self, filling: &'a Filling<K, V, E>) -> Option<Write<'a>> {
        let sealed = filling.sealed.as_ref()?;
        Some(Write {
            place: &filling.wanted.place,
            bytes: &sealed.bytes,
            ttl: sealed.ttl,
            leased: filling.wanted.lease.as_ref()?.token,
            version: self.rules.version.is_some().then(|| filling.held.version()),
            tell: None,
        })
    }

    /// Notes in a value what became of it in the remote; `None` if that is not known.
    fn settle(
        &self,
        filling: &mut Filling<K, V, E>,
        sealed: &Sealed,
        written: Option<bool>,
        sent: u64,
    ) {
        let Some(written) = written else { return };
        if let Some(lease) = &mut filling.wanted.lease {
            lease.token = None;
        }
        if written {
            filling.held.id = sealed.id;
            filling.held.end = self.end_of(sent, sealed.fresh);
        } else {
            self.counts.rejected();
            self.tell(&Event::FillRejected { name: filling.wanted.place.value.clone() });
            filling.held.end = 0;
        }
    }

    /// Writes values, whose echoes are expected.
    pub(super) async fn write(&self, writes: &[Write<'_>]) -> Result<Vec<bool>, RemoteError> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        if self.gate.mode().is_some_and(Mode::echoes) {
            let now = self.now();
            writes.iter().for_each(|write| self.echoes.expect(&write.place.value, now));
        }
        let written = self.asker.ask("write", |remote| remote.write(writes)).await;
        writes.iter().for_each(|write| self.note_seen(&write.place.value));
        let written = written?;
        if written.len() != writes.len() {
            return Err(RemoteError::Garbled(format!(
                "{} answers to {} writes",
                written.len(),
                writes.len()
            )));
        }
        for (write, _) in writes.iter().zip(&written).filter(|(_, written)| !**written) {
            self.echoes.forget(&write.place.value);
        }
        Ok(written)
    }

    /// The tags of a value, with the numbers that were in force all the time since that moment; none if that is not known.
    pub(super) async fn stamps_since(&self, key: &K, value: &V, since: u64) -> Option<Vec<Stamp>> {
        let tags = self.tags(key, value);
        let known = || -> Option<Vec<Stamp>> {
            let stamp = |tag: &String| {
                let (tag, cell) = self.generations.cell(tag);
                let number = cell.number_since(since)?;
                Some(Stamp { tag, cell, number })
            };
            tags.iter().map(stamp).collect()
        };
        if let Some(stamps) = known() {
            return Some(stamps);
        }
        // A tag that nobody knew is known then; of the others the next load will know.
        let names: Vec<&str> = tags.iter().map(String::as_str).collect();
        self.stamps(&names).await.ok()?;
        // A change that was told meanwhile may have been that the number was put there.
        if tags.iter().any(|tag| self.generations.cell(tag).1.number() == 0) {
            self.stamps(&names).await.ok()?;
        }
        known()
    }
}
