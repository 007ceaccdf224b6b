//! Writing and deleting, on both levels.
//!
//! ```text
//!   delete:  L1, with the loads under way ──► remote, with the lease ──► L1 again ──► whoever listens hears of it
//!   put:     a mark in L1, which loads wait for ──► remote ──► L1, if the mark is still there
//! ```
//!
//! L1 is cleared twice: a reader between the first time and the remote's answer finds the old value there, and keeps it. What the remote
//! has not confirmed is made up for later, and until then nobody believes what it has of the key.

use super::core::{Sealed, Tier};
use super::events::Event;
use super::generations::{Cell, Stamp};
use super::held::{Held, More};
use super::inbox;
use super::memory::Glob;
use super::names::RemoteKey;
use super::remote::{Delete, Mode, Place, RemoteError, Tell, Write};
use super::tiered::Inner;
use super::undelivered::Added;
use crate::sync::{Arc, Ordering};
use crate::time::NEVER;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// What became of a write or a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a write that the remote has not confirmed is told of here alone"]
pub enum Delivery {
    /// It is done on both levels. Other processes hear of it within [`max_staleness`](super::TieredCache::max_staleness).
    Done,
    /// A newer version is there: nothing was changed.
    Older,
    /// It is done here. The remote has not confirmed it, for this reason: the deletion of what it has will be made up for as soon as it
    /// answers, and until then other processes may see what they had.
    Queued(RemoteError),
}

impl Delivery {
    /// True if both levels have it.
    #[must_use]
    pub fn is_done(&self) -> bool {
        *self == Self::Done
    }
}

/// A message, if there is anybody to tell.
struct Message {
    text: Option<Vec<u8>>,
}

impl Message {
    fn tell<'a>(&'a self, channel: &'a [u8]) -> Option<Tell<'a>> {
        Some(Tell { channel, message: self.text.as_deref()? })
    }
}

impl<K, V: 'static, E> Tier<K, V, E> {
    fn message(&self, name: &[u8]) -> Message {
        // What is not sent must have no number: those who hear would miss it.
        if !self.rules.tells || self.asker.circuit.spares(self.now()) {
            return Message { text: None };
        }
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        Message { text: Some(inbox::message(self.node, number, name)) }
    }

    /// Deletes places, each unless its value is of such a version.
    pub(super) async fn delete_places(
        &self,
        places: &[(&Place, Option<u64>)],
    ) -> Result<Vec<bool>, RemoteError> {
        let messages: Vec<Message> =
            places.iter().map(|(place, _)| self.message(&place.value)).collect();
        let channel = &self.names.channel;
        let deletes: Vec<Delete<'_>> = places
            .iter()
            .zip(&messages)
            .map(|(&(place, unless), message)| Delete {
                place,
                unless,
                tell: message.tell(channel),
            })
            .collect();
        if self.gate.mode().is_some_and(Mode::echoes) {
            let now = self.now();
            places.iter().for_each(|(place, _)| self.echoes.expect(&place.value, now));
        }
        let deleted = self.asker.ask("delete", |remote| remote.delete(&deletes)).await;
        places.iter().for_each(|(place, _)| self.note_seen(&place.value));
        deleted
    }

    /// Gives all values of a tag up.
    pub(super) async fn renew_tag(&self, tag: &str) -> Result<(), RemoteError> {
        let name = self.names.tag(tag);
        self.renew(&name, &self.generations.cell(tag).1).await
    }

    /// Gives all values up.
    pub(super) async fn renew_all(&self) -> Result<(), RemoteError> {
        self.renew(&self.names.generation, &self.generations.all).await
    }

    async fn renew(&self, name: &[u8], cell: &Arc<Cell>) -> Result<(), RemoteError> {
        let question = cell.ask(self.generations.moment());
        let number = self.draws.number();
        let message = self.message(name);
        let tell = message.tell(&self.names.channel);
        let set = self.asker.ask("renew a generation", |remote| {
            remote.set_number(name, number, Duration::MAX, tell)
        });
        set.await?;
        question.renewed(number, self.generations.moment());
        Ok(())
    }

    /// Notes deletions that are to be made up for.
    pub(super) fn owe<'a>(&self, places: impl IntoIterator<Item = &'a Place>) {
        for place in places {
            self.counts.undelivered();
            if self.undelivered.add(place) == Added::Overflowed {
                self.tell(&Event::DeletionsOverflowed);
            }
        }
        self.bell.ring();
    }
}

impl<K, V, E, S> Inner<K, V, E, S>
where
    K: RemoteKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Deletes keys on both levels; with a version, unless it is that or a higher one.
    pub(super) async fn delete(self: Arc<Self>, keys: Vec<K>, unless: Option<u64>) -> Delivery {
        let tier = &self.tier;
        let all = |key| std::iter::once(tier.names.place(key)).chain(tier.copies(key));
        let places: Vec<Place> = keys.iter().flat_map(all).collect();
        self.forget(&keys, unless);
        let asked: Vec<_> = places.iter().map(|place| (place, unless)).collect();
        let deleted = self.tier.delete_places(&asked).await;
        if deleted.is_err() {
            // Before L1 is cleared: who comes after finds that the remote is not to be believed.
            self.tier.owe(&places);
        }
        self.forget(&keys, unless);
        match deleted {
            Ok(deleted) if unless.is_some() && !deleted.contains(&true) => Delivery::Older,
            Ok(_) => Delivery::Done,
            Err(error) => Delivery::Queued(error),
        }
    }

    /// Deletes keys in L1, and poisons their loads.
    fn forget(&self, keys: &[K], unless: Option<u64>) {
        for key in keys {
            let kept = |held: &Held<V>| unless.is_some_and(|version| held.version() >= version);
            if self.l1.show(key, kept) != Some(true) {
                self.l1.delete(key);
            }
        }
    }

    pub(super) async fn put(self: Arc<Self>, key: K, value: V) -> Delivery {
        let tier = &self.tier;
        let version = tier.version(&key, &value);
        let newer = |held: &Held<V>| tier.serves(held, tier.timer()) && held.version() > version;
        if self.l1.show(&key, newer) == Some(true) {
            return Delivery::Older;
        }
        let place = tier.names.place(&key);
        // Loads that come now wait for the outcome; those under way are not published.
        let lead = self.l1.begin_write(&key);
        let began = tier.now();
        let mut held =
            Held { value, id: 0, end: NEVER, bounded: false, admitted: true, more: None };
        let mut written = match self.sealed(&key, &mut held).await {
            Ok(sealed) => self.write(&place, &mut held, sealed).await,
            Err(Some(why)) => {
                tier.tell(&Event::Unwritable { name: place.value.clone(), why });
                tier.delete_places(&[(&place, None)]).await.map(|_| true)
            }
            Err(None) => {
                // Nobody could delete it by a tag whose number is not known.
                let tagged = !tier.tags(&key, &held.value).is_empty();
                held.end = if tagged { 0 } else { held.end };
                Err(RemoteError::Spared)
            }
        };
        let copies: Vec<Place> = tier.copies(&key).collect();
        if written == Ok(true) && !copies.is_empty() {
            let asked: Vec<_> = copies.iter().map(|copy| (copy, None)).collect();
            written = tier.delete_places(&asked).await.map(|_| true);
        }
        if written.is_err() {
            tier.owe(copies.iter().chain([&place]));
        }
        if let Ok(false) = written {
            drop(lead);
            return Delivery::Older;
        }
        tier.bound_unless_heard(&mut held, began);
        if let Some(lead) = lead {
            lead.publish(held);
        }
        written.map_or_else(Delivery::Queued, |_| Delivery::Done)
    }

    /// What is to be written of a value; why it cannot be, or nothing if its generations are not known.
    async fn sealed(&self, key: &K, held: &mut Held<V>) -> Result<Sealed, Option<String>> {
        let tier = &self.tier;
        let all = tier.generation().await.map_err(|_| None)?;
        let tags = tier.tags(key, &held.value);
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        let stamps: Vec<Stamp> = tier.stamps(&tags).await.map_err(|_| None)?;
        held.more = More::of(tier.version(key, &held.value), stamps);
        tier.seal(key, held, all, 0).map_err(Some)
    }

    async fn write(
        &self,
        place: &Place,
        held: &mut Held<V>,
        sealed: Sealed,
    ) -> Result<bool, RemoteError> {
        let tier = &self.tier;
        let message = tier.message(&place.value);
        let write = Write {
            place,
            bytes: &sealed.bytes,
            ttl: sealed.ttl,
            leased: None,
            version: tier.rules.version.is_some().then(|| held.version()),
            tell: message.tell(&tier.names.channel),
        };
        let sent = tier.now();
        let written = tier.write(&[write]).await?.first().copied().unwrap_or(false);
        if written {
            (held.id, held.end) = (sealed.id, tier.end_of(sent, sealed.fresh));
        }
        Ok(written)
    }

    pub(super) async fn delete_tag(self: Arc<Self>, tag: String) -> Delivery {
        match self.tier.renew_tag(&tag).await {
            Ok(()) => Delivery::Done,
            Err(error) => {
                self.tier.counts.undelivered();
                if self.tier.undelivered.add_tag(&tag) == Added::Overflowed {
                    self.tier.tell(&Event::DeletionsOverflowed);
                }
                // What L1 has of it is no good from now on.
                self.tier.generations.give_up(&tag);
                self.tier.bell.ring();
                Delivery::Queued(error)
            }
        }
    }

    pub(super) async fn clear(self: Arc<Self>) -> Delivery {
        let renewed = self.tier.renew_all().await;
        if renewed.is_err() {
            self.tier.counts.undelivered();
            self.tier.undelivered.add_all();
            self.tier.bell.ring();
        }
        self.l1.clear();
        renewed.map_or_else(Delivery::Queued, |()| Delivery::Done)
    }

    /// Deletes all keys that match a pattern, a page at a time. Says how many names were deleted.
    pub(super) async fn delete_matching(
        self: Arc<Self>,
        pattern: String,
        progress: impl Fn(u64) + Send,
    ) -> Result<u64, RemoteError> {
        let tier = &self.tier;
        let pattern = tier.names.pattern(&pattern);
        // What is in L1 alone; and the loads of what is not there yet.
        let glob = Glob::new(&pattern);
        let matches = |key: &K| glob.matches(&tier.names.place(key).value);
        self.l1.retain(|key, _| !matches(key));
        let (mut from, mut deleted) = (None, 0);
        loop {
            let page =
                tier.asker.ask("scan", |remote| remote.scan(&pattern, from.as_deref())).await?;
            let places: Vec<Place> = page.names.into_iter().map(Place::of).collect();
            let asked: Vec<_> = places.iter().map(|place| (place, None)).collect();
            let gone = tier.delete_places(&asked).await?;
            deleted += gone.len() as u64;
            progress(deleted);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        // Replicas may have what the primary had not any more.
        tier.note_all_seen();
        self.l1.retain(|key, _| !matches(key));
        Ok(deleted)
    }
}
