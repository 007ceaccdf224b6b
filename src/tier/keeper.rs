//! The work that no caller waits for: the line on which changes are told of, doubts, and deletions that are to be made up for.
//!
//! ```text
//!   link:    listen ──► up ──► changed .. alive .. changed ──► lost ──► wait, twice as long each time ──► listen
//!   keeper:  at every beat, and when the bell rings:
//!            empty L1, if it may hold what has changed unheard of; compare what is in doubt; deliver what could not be
//! ```

use super::core::Tier;
use super::events::Event;
use super::held::Held;
use super::inbox::{self, Inbox};
use super::names::{Named, RemoteKey};
use super::remote::{Ear, Listen, Mode, Place, RemoteError};
use super::undelivered::Due;
use crate::load::{Backoff, Task, WeakLoading};
use crate::sync::{Arc, Ordering};
use crate::time::nanos;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// How many names are asked for, or deleted, by one call.
const SLICE: usize = 256;

/// How often a mode is looked for that tells of changes, where there was none.
const PROBE: Duration = Duration::from_secs(30);

/// How long to wait before a line is tried for again.
const RETRY: Backoff = Backoff { first: Duration::from_millis(50), most: Duration::from_secs(5) };

/// What is done when the line is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnLinkLoss {
    /// What L1 holds is dropped. What is loaded until the line is there again lives no longer than the bound on staleness.
    Flush,
    /// What L1 holds is not served any more, but where a load fails, within the grace that [`Freshness`](crate::Freshness) gives it; it is
    /// dropped when the line is there again.
    Bypass,
    /// What L1 holds is served for this much longer. It is a part of the bound on staleness.
    ServeStale(Duration),
}

pub(super) struct Keeper<K, V, E, S> {
    pub(super) tier: Arc<Tier<K, V, E>>,
    pub(super) l1: WeakLoading<K, Held<V>, E, S>,
    pub(super) inbox: Inbox,
    pub(super) on_loss: OnLinkLoss,
    pub(super) listen: Listen,
}

impl<K, V, E, S> Keeper<K, V, E, S>
where
    K: RemoteKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    fn is_gone_for_good(&self) -> bool {
        self.tier.gone.load(Ordering::Acquire)
    }

    /// Listens, as long as there is anybody to listen for.
    pub(super) async fn link(self: Arc<Self>) {
        let mut failures = 0;
        if self.listen.modes.iter().all(|&mode| mode == Mode::TtlOnly) {
            return self.up(Mode::TtlOnly);
        }
        while !self.is_gone_for_good() {
            let cause = match self.tier.asker.remote.listen(&self.listen, self.clone()).await {
                Ok(never) => match never {},
                Err(cause) => cause,
            };
            let was_up = self.tier.gate.mode().is_some_and(|mode| mode != Mode::TtlOnly);
            failures = if was_up { 0 } else { failures + 1 };
            let none_can = self.lost(was_up, cause);
            self.rest(if none_can { PROBE } else { RETRY.after(failures) }).await;
        }
    }

    /// Waits, as long as there is anybody to wait for.
    async fn rest(&self, time: Duration) {
        const STEP: Duration = Duration::from_secs(1);
        let mut left = time;
        while !left.is_zero() && !self.is_gone_for_good() {
            let step = left.min(STEP);
            self.tier.spawn().sleep(step).await;
            left -= step;
        }
    }

    /// The line is gone, or there is none. True if there will be none for a while.
    fn lost(&self, was_up: bool, cause: RemoteError) -> bool {
        let tier = &self.tier;
        if was_up {
            tier.gate.lost(matches!(self.on_loss, OnLinkLoss::ServeStale(_)));
            tier.echoes.clear();
            tier.generations.forget();
            self.inbox.clear();
            if self.on_loss == OnLinkLoss::Flush {
                tier.gate.all_changed();
                tier.bell.ring();
            }
            tier.tell(&Event::LinkLost { cause });
            return false;
        }
        let refused = matches!(cause, RemoteError::Refused(_));
        let none_can = refused && self.listen.modes.contains(&Mode::TtlOnly);
        tier.tell(&Event::NoLink { cause });
        if none_can && tier.gate.mode().is_none() {
            self.up(Mode::TtlOnly);
        }
        none_can
    }

    /// Does what is to be done, at every beat.
    pub(super) async fn keep(self: Arc<Self>) {
        while !self.is_gone_for_good() {
            self.turn().await;
            self.tier.bell.wait(self.tier.spawn().sleep(self.listen.beat)).await;
        }
    }

    async fn turn(&self) {
        let tier = &self.tier;
        if self.inbox.give_up(tier.now().saturating_sub(nanos(self.listen.beat))) {
            tier.tell(&Event::MessagesMissing);
            tier.note_all_seen();
            tier.gate.all_changed();
        }
        if let (Some(reason), Some(l1)) = (tier.gate.dirty(), self.l1.upgrade()) {
            l1.clear();
            tier.counts.emptied();
            tier.gate.emptied(reason);
        }
        self.compare().await;
        self.deliver().await;
        if tier.hears() {
            // So that no reader need ask, and what is loaded first of a tag is kept. If it fails, they will.
            let _ = tier.generation().await;
            let unknown = tier.generations.unknown(SLICE);
            let unknown: Vec<&str> = unknown.iter().map(|tag| &**tag).collect();
            let _ = tier.stamps(&unknown).await;
        }
    }

    /// Settles doubts: what L1 has is right if the remote has it too.
    async fn compare(&self) {
        let tier = &self.tier;
        let names = tier.echoes.take();
        for names in names.chunks(SLICE) {
            let asked: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
            let heads = tier.asker.ask("compare", |remote| remote.heads(&asked)).await;
            let heads = heads.unwrap_or_default();
            let Some(l1) = self.l1.upgrade() else { return };
            for (at, name) in names.iter().enumerate() {
                let head = heads.get(at).copied().flatten();
                let there = head.and_then(|head| super::envelope::id_of(&head));
                let Named::Value(key) = tier.names.read::<K>(name) else { continue };
                let here = l1.show(&key, |held| held.id);
                if there.is_none() || there != here {
                    l1.delete(&key);
                }
            }
        }
        tier.echoes.compared();
    }

    /// Makes up for deletions that the remote has not confirmed, until it fails again.
    async fn deliver(&self) {
        let tier = &self.tier;
        loop {
            let due = tier.undelivered.due(SLICE);
            let done = match &due {
                Due::Nothing => return,
                Due::Places(places) => {
                    let places: Vec<(&Place, Option<u64>)> =
                        places.iter().map(|(place, _)| (place, None)).collect();
                    tier.delete_places(&places).await.map(|_| ())
                }
                Due::Tags(tags) => self.renew(tags).await,
                Due::All(_) => tier.renew_all().await.map(|_| ()),
            };
            if done.is_err() {
                return;
            }
            tier.undelivered.done(&due);
            // What was read while it was not delivered may be in L1, bounded; what others had is told of by the deletion.
        }
    }

    async fn renew(&self, tags: &[(String, u64)]) -> Result<(), RemoteError> {
        for (tag, _) in tags {
            self.tier.renew_tag(tag).await?;
        }
        Ok(())
    }
}

impl<K, V, E, S> Ear for Keeper<K, V, E, S>
where
    K: RemoteKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    fn up(&self, mode: Mode) {
        let tier = &self.tier;
        // What was known before may have changed unheard of.
        tier.generations.forget();
        tier.echoes.clear();
        self.inbox.clear();
        tier.note_all_seen();
        tier.gate.up(mode);
        tier.bell.ring();
        tier.tell(&Event::LinkUp { mode });
    }

    fn changed(&self, names: &[&[u8]]) {
        let tier = &self.tier;
        // It may have changed that long ago: the line was silent meanwhile.
        let since = tier.gate.last_heard();
        for name in names {
            tier.counts.changes();
            tier.note_seen(name);
            tier.arrivals.came(name);
            match tier.names.read::<K>(name) {
                Named::Value(key) => {
                    if !tier.echoes.doubt(name, since) {
                        if let Some(l1) = self.l1.upgrade() {
                            l1.delete(&key);
                        }
                    }
                }
                Named::Tag(tag) => tier.generations.change(tag, 0),
                Named::Generation => {
                    tier.generations.change_all(0);
                    self.all_changed();
                }
                Named::Other => {}
            }
        }
    }

    fn all_changed(&self) {
        self.tier.note_all_seen();
        self.tier.generations.forget();
        self.tier.gate.all_changed();
        self.tier.bell.ring();
    }

    fn message(&self, message: &[u8]) {
        let Some((node, number, name)) = inbox::read(message) else { return };
        if node == self.tier.node {
            return;
        }
        if !self.inbox.note(node, number, self.tier.now()) {
            self.tier.tell(&Event::MessagesMissing);
            self.all_changed();
        }
        self.changed(&[name]);
    }

    fn now(&self) -> Duration {
        self.tier.asker.clock.now()
    }

    fn alive(&self, asked: Duration) {
        let tier = &self.tier;
        tier.gate.heard(nanos(asked));
        let unsettled = tier.echoes.oldest().min(self.inbox.oldest());
        tier.gate.proved(nanos(asked).min(unsettled));
        // A write that was sent so long before has been told of by now, or has failed.
        let timeout = nanos(tier.asker.timeout);
        tier.echoes.forget_before(nanos(asked).saturating_sub(timeout));
    }

    fn sleep(&self, time: Duration) -> Task {
        self.tier.spawn().sleep(time)
    }

    fn is_gone(&self) -> bool {
        self.is_gone_for_good()
    }
}
