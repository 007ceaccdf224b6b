//! What lies in the store, and what each operation does to it.
//!
//! ```text
//!   items       name ──► bytes, deadline          by name: a page of names begins where the last one ended
//!   deadlines   (deadline, name)                  the soonest first: what has expired is found without a search
//!   changes     names, messages                   what the operation that runs now has to tell
//! ```
//!
//! **Invariants**
//!
//! 1. `deadlines` has exactly the items that do not live for ever.
//! 2. `used` is the sum of the items' costs, and does not exceed `capacity` after an operation that made it grow.
//! 3. `now` does not go back, so what one operation found expired, no later one finds there.
//! 4. An item that has expired is freed by the first operation that asks for it, and told as changed.

use super::super::envelope::{HEAD, head_of, version_of};
use super::super::remote::{Delete, Found, Page, Read, RemoteError, Tell, Token, Turn, Write};
use super::glob::Glob;
use crate::sync::Arc;
use crate::time::{NEVER, deadline, left};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

pub(super) type Name = Arc<[u8]>;

/// What an item costs beyond its name and its bytes: about what the two trees need for it.
pub(super) const OVERHEAD: u64 = 96;

/// How many expired items an operation frees in passing.
const IN_PASSING: usize = 32;

/// How many names one page looks at.
pub(super) const PAGE: usize = 256;

pub(super) struct Store {
    items: BTreeMap<Name, Item>,
    deadlines: BTreeSet<(u64, Name)>,
    now: u64,
    used: u64,
    capacity: u64,
    changes: Changes,
    /// Somebody wants to know what was looked at.
    notes: bool,
}

struct Item {
    what: What,
    deadline: u64,
}

/// Leases, locks and numbers are bytes as values are, as in Redis: what is under a name says nothing of what it is for.
#[derive(Clone)]
pub(super) enum What {
    Bytes(Box<[u8]>),
    /// Anything else: a list, a set.
    #[cfg_attr(
        not(any(test, feature = "test-kit")),
        expect(dead_code, reason = "this store has no other types; tests put one there")
    )]
    Other,
}

/// What an operation changed, and what it has to tell.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) names: Vec<Name>,
    pub(super) tells: Vec<(Vec<u8>, Arc<[u8]>)>,
    /// Names of values that it wrote or deleted, and had looked at before, if that is noted.
    pub(super) known: Vec<Name>,
    /// Names of values and numbers that it looked at, after what it changed, if that is noted.
    pub(super) seen: Vec<Name>,
}

impl Store {
    pub(super) fn new() -> Self {
        Self {
            items: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            now: 0,
            used: 0,
            capacity: u64::MAX,
            changes: Changes::default(),
            notes: false,
        }
    }

    /// Whether what operations look at is noted from now on.
    pub(super) fn set_notes(&mut self, notes: bool) {
        self.notes = notes;
    }

    /// Begins an operation at this time, and frees a few of those that have expired.
    pub(super) fn turn(&mut self, now: u64) {
        self.now = self.now.max(now.min(NEVER - 1));
        self.free_expired(IN_PASSING);
    }

    /// Ends an operation: what is to be told of it.
    pub(super) fn changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    pub(super) fn free_expired(&mut self, most: usize) {
        for _ in 0..most {
            match self.deadlines.first() {
                Some((deadline, name)) if *deadline <= self.now => {
                    let name = Arc::clone(name);
                    self.remove(&name);
                }
                _ => return,
            }
        }
    }

    /// The capacity that it had comes back.
    pub(super) fn set_capacity(&mut self, bytes: u64) -> u64 {
        std::mem::replace(&mut self.capacity, bytes)
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }

    fn note(&mut self, name: &[u8]) {
        if self.notes {
            self.changes.seen.push(name.into());
        }
    }

    fn note_before(&mut self, name: &[u8]) {
        if self.notes {
            self.changes.known.push(name.into());
        }
    }

    fn get(&mut self, name: &[u8]) -> Option<&Item> {
        if self.items.get(name)?.deadline <= self.now {
            self.remove(name);
            return None;
        }
        self.items.get(name)
    }

    fn bytes(&mut self, name: &[u8]) -> Option<&[u8]> {
        self.get(name)?.what.bytes()
    }

    fn holds(&mut self, name: &[u8], token: Token) -> bool {
        self.bytes(name) == Some(&token.0)
    }

    pub(super) fn put(
        &mut self,
        name: &[u8],
        what: What,
        ttl: Duration,
    ) -> Result<(), RemoteError> {
        let before = self.get(name).map_or(0, |item| item.what.cost(name));
        let cost = what.cost(name);
        // The oldest of what expired goes first; all of it, if that is what it takes.
        while self.full(before, cost)
            && self.deadlines.first().is_some_and(|(at, _)| *at <= self.now)
        {
            self.free_expired(1);
        }
        if self.full(before, cost) {
            return Err(RemoteError::Refused("its memory is full".to_owned()));
        }
        // Redis cannot tell less than a millisecond; nor is it asked for that.
        let deadline = deadline(self.now, ttl.max(Duration::from_millis(1)));
        let name: Name = name.into();
        self.forget(&name);
        self.used += cost;
        if deadline != NEVER {
            self.deadlines.insert((deadline, Arc::clone(&name)));
        }
        self.items.insert(Arc::clone(&name), Item { what, deadline });
        self.changes.names.push(name);
        Ok(())
    }

    /// Whether it has no room for a new item with this cost where there was one with that. What does not grow has room.
    fn full(&self, before: u64, cost: u64) -> bool {
        cost > before && self.used - before + cost > self.capacity
    }

    fn put_bytes(&mut self, name: &[u8], bytes: &[u8], ttl: Duration) -> Result<(), RemoteError> {
        self.put(name, What::Bytes(bytes.into()), ttl)
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        let removed = self.forget(name);
        removed.map(|name| self.changes.names.push(name)).is_some()
    }

    /// Takes an item out, and tells nobody.
    fn forget(&mut self, name: &[u8]) -> Option<Name> {
        let (name, item) = self.items.remove_entry(name)?;
        self.used -= item.what.cost(&name);
        let key = (item.deadline, name);
        self.deadlines.remove(&key);
        Some(key.1)
    }

    fn tell(&mut self, tell: Option<Tell<'_>>) {
        if let Some(Tell { channel, message }) = tell {
            self.changes.tells.push((channel.to_vec(), message.into()));
        }
    }

    pub(super) fn read(&mut self, read: &Read<'_>) -> Result<Found, RemoteError> {
        self.note(&read.place.value);
        let now = self.now;
        let instead_of = read.claim.and_then(|claim| claim.instead_of);
        match self.get(&read.place.value) {
            None => {}
            Some(Item { what: What::Other, .. }) => return Ok(Found::Foreign),
            Some(Item { what: What::Bytes(bytes), .. }) if instead_of == Some(head_of(bytes)) => {}
            Some(Item { what: What::Bytes(bytes), deadline }) => {
                let left = (*deadline != NEVER).then(|| left(now, *deadline));
                return Ok(Found::Value { bytes: bytes.to_vec(), left });
            }
        }
        let Some(claim) = read.claim else { return Ok(Found::Nothing) };
        if let Some(lease) = self.get(&read.place.lease) {
            return Ok(Found::Held(left(now, lease.deadline)));
        }
        self.put_bytes(&read.place.lease, &claim.token.0, claim.ttl)?;
        Ok(Found::Granted)
    }

    pub(super) fn head(&mut self, name: &[u8]) -> Option<[u8; HEAD]> {
        self.note(name);
        self.bytes(name).and_then(head)
    }

    pub(super) fn write(&mut self, write: &Write<'_>) -> Result<bool, RemoteError> {
        if let Some(token) = write.leased {
            if !self.holds(&write.place.lease, token) {
                return Ok(false);
            }
        }
        self.remove(&write.place.lease);
        let item = self.get(&write.place.value).map(|item| &item.what);
        let stays = match (item, write.version) {
            (Some(What::Other), _) => true,
            (Some(What::Bytes(bytes)), Some(version)) => version_of(bytes) > Some(version),
            _ => false,
        };
        if stays {
            return Ok(false);
        }
        self.note_before(&write.place.value);
        self.put_bytes(&write.place.value, write.bytes, write.ttl)?;
        self.note(&write.place.value);
        self.tell(write.tell);
        Ok(true)
    }

    pub(super) fn delete(&mut self, delete: &Delete<'_>) -> bool {
        self.note_before(&delete.place.value);
        self.remove(&delete.place.lease);
        self.tell(delete.tell);
        let item = self.get(&delete.place.value).map(|item| &item.what);
        let stays = match (item, delete.unless) {
            (Some(What::Other), _) => true,
            (Some(What::Bytes(bytes)), Some(version)) => version_of(bytes) >= Some(version),
            _ => false,
        };
        if !stays {
            self.remove(&delete.place.value);
        }
        !stays
    }

    pub(super) fn number(
        &mut self,
        name: &[u8],
        fresh: u64,
        ttl: Duration,
    ) -> Result<u64, RemoteError> {
        self.note(name);
        let Some(item) = self.get(name) else {
            return self.set_number(name, fresh, ttl, None).map(|()| fresh);
        };
        let text = item.what.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let number = text.and_then(|text| text.parse().ok());
        number.ok_or_else(|| RemoteError::Garbled("where a number should be is none".to_owned()))
    }

    pub(super) fn set_number(
        &mut self,
        name: &[u8],
        number: u64,
        ttl: Duration,
        tell: Option<Tell<'_>>,
    ) -> Result<(), RemoteError> {
        self.put_bytes(name, number.to_string().as_bytes(), ttl)?;
        self.note(name);
        self.tell(tell);
        Ok(())
    }

    pub(super) fn lock(
        &mut self,
        name: &[u8],
        token: Token,
        turn: Turn,
    ) -> Result<bool, RemoteError> {
        let may = match turn {
            Turn::Take(_) => self.get(name).is_none(),
            Turn::Extend(_) | Turn::Free => self.holds(name, token),
        };
        if may {
            match turn {
                Turn::Take(ttl) | Turn::Extend(ttl) => self.put_bytes(name, &token.0, ttl)?,
                Turn::Free => drop(self.remove(name)),
            }
        }
        Ok(may)
    }

    /// Names after `from`, in their order: a name that stays is met however many others come and go.
    pub(super) fn scan(&self, pattern: &Glob, from: Option<&[u8]>) -> Page {
        let from = from.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Page::default();
        let mut items = self.items.range::<[u8], _>((from, Bound::Unbounded));
        for (name, item) in items.by_ref().take(PAGE) {
            page.next = Some(name.to_vec());
            if item.deadline > self.now && pattern.matches(name) {
                page.names.push(name.to_vec());
            }
        }
        if items.next().is_none() {
            page.next = None;
        }
        page
    }

    /// Takes out everything, and tells nobody.
    pub(super) fn clear(&mut self) {
        (self.items, self.deadlines, self.used) = (BTreeMap::new(), BTreeSet::new(), 0);
    }

    /// What is under a name, and until when.
    #[cfg(any(test, feature = "test-kit"))]
    pub(super) fn is(&self, name: &[u8]) -> Option<(What, u64)> {
        self.items.get(name).map(|item| (item.what.clone(), item.deadline))
    }

    #[cfg(any(test, feature = "test-kit"))]
    pub(super) fn names(&self) -> impl Iterator<Item = Name> {
        self.items.keys().cloned()
    }

    #[cfg(any(test, feature = "test-kit"))]
    pub(super) fn peek(&mut self, name: &[u8]) -> Option<Vec<u8>> {
        self.bytes(name).map(<[u8]>::to_vec)
    }

    /// Panics if an invariant does not hold.
    #[cfg(test)]
    pub(super) fn assert_valid(&self) {
        let mortal = self.items.iter().filter(|(_, item)| item.deadline != NEVER);
        let deadlines: BTreeSet<_> =
            mortal.map(|(name, item)| (item.deadline, Arc::clone(name))).collect();
        assert_eq!(self.deadlines, deadlines, "invariant 1");
        let used = self.items.iter().map(|(name, item)| item.what.cost(name)).sum::<u64>();
        assert_eq!(self.used, used, "invariant 2");
    }
}

impl What {
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Other => None,
        }
    }

    fn cost(&self, name: &[u8]) -> u64 {
        (name.len() + self.bytes().map_or(0, <[u8]>::len)) as u64 + OVERHEAD
    }
}

/// The first bytes of a value that is long enough.
fn head(bytes: &[u8]) -> Option<[u8; HEAD]> {
    bytes.first_chunk().copied()
}
