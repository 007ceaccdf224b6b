//! Copies of hot values under names of their own, so that a cluster serves them from several machines.
//!
//! ```text
//!   read:    one name of all, at random ─┬─ a value ──► it
//!                                        └─ none: its own lease ──► read the first name ──► write the copy if still leased
//!   delete:  all names, with their leases
//!   put:     the first name; the copies are deleted
//! ```
//!
//! A copy is a cache of the first name, and its lease keeps what was read there before a deletion from being written after it. All
//! names carry the same envelope, so whoever compares heads finds the same in each.

use super::core::Tier;
use super::held::Held;
use super::names::RemoteKey;
use super::remote::{Claim, Found, Place, Read, Turn, Write};
use crate::hash::draw;
use crate::observe::HotKeys;
use std::hash::Hash;
use std::time::Duration;

/// What is done about keys that are asked for more than others.
pub(super) struct Hotness<K> {
    pub(super) keys: HotKeys<K>,
    /// Keys that are asked for less often a second are not kept in L1.
    pub(super) admit: Option<f64>,
    pub(super) copies: Option<Copies<K>>,
}

/// Which values have copies, and how many.
pub(super) struct Copies<K> {
    pub(super) count: u8,
    pub(super) of: Box<Which<K>>,
}

/// Whether a key has copies that is asked for so often a second.
pub(super) type Which<K> = dyn Fn(&K, f64) -> bool + Send + Sync;

impl<K: Hash + Eq + Clone> Hotness<K> {
    /// True if a value is to be kept in L1.
    pub(super) fn admits(&self, key: &K, now: Duration) -> bool {
        self.admit.is_none_or(|rate| self.keys.rate(key, now) >= rate)
    }

    /// The copy that is to be read, if one is.
    fn copy_of(&self, key: &K, now: Duration) -> Option<u8> {
        let copies = self.copies.as_ref()?;
        if !(copies.of)(key, self.keys.rate(key, now)) {
            return None;
        }
        // 0 is the first name.
        let drawn = draw() % (u64::from(copies.count) + 1);
        u8::try_from(drawn).ok().filter(|&copy| copy > 0)
    }
}

impl<K, V, E> Tier<K, V, E>
where
    K: RemoteKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// The places of a key's copies, whether there are any now or not.
    pub(super) fn copies(&self, key: &K) -> impl Iterator<Item = Place> {
        let copies = self.hot.as_ref().and_then(|hot| hot.copies.as_ref());
        let count = copies.map_or(0, |copies| copies.count);
        (1..=count).map(|copy| self.names.copy(key, copy))
    }

    /// The value of a hot key from one of its copies; none if it is to be looked for under its first name.
    pub(super) async fn look_at_copy(&self, key: &K, first: &Place) -> Option<Held<V>> {
        let hot = self.hot.as_ref()?;
        let copy = self.names.copy(key, hot.copy_of(key, self.asker.clock.now())?);
        if self.undelivered.covers(first) || self.undelivered.covers(&copy) {
            return None;
        }
        let (token, sent) = (self.draws.token(), self.now());
        let claim = Claim { token, ttl: self.rules.lease, instead_of: None };
        match self.read(Read { place: &copy, claim: Some(claim) }).await {
            Ok(Found::Value { bytes, left }) => {
                let opened = self.open(&copy, &bytes, left, sent).await.ok();
                opened.map(|fetched| fetched.held)
            }
            Ok(Found::Granted) => {
                let held = self.copy(first, &copy, claim).await;
                if held.is_none() {
                    // If it fails, the lease ends by its TTL.
                    let free = self
                        .asker
                        .ask("free a lease", |remote| remote.lock(&copy.lease, token, Turn::Free));
                    let _ = free.await;
                }
                held
            }
            _ => None,
        }
    }

    /// Writes a copy of what lies under the first name.
    async fn copy(&self, first: &Place, copy: &Place, claim: Claim) -> Option<Held<V>> {
        let sent = self.now();
        let found = self.read(Read { place: first, claim: None }).await.ok()?;
        let Found::Value { bytes, left } = found else { return None };
        let fetched = self.open(first, &bytes, left, sent).await.ok()?;
        let write = Write {
            place: copy,
            bytes: &bytes,
            ttl: left.unwrap_or(Duration::MAX),
            leased: Some(claim.token),
            version: None,
            tell: None,
        };
        // Written or not: what was read is good.
        let _ = self.write(&[write]).await;
        Some(fetched.held)
    }
}
