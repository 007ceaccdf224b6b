//! A replica for tests: what the store was some time ago.
//!
//! It is no copy, but a look back into what each name was, and since when. So its lag is exactly what a test says, and if that
//! grows the replica goes back in time, as one of several does that lags more than the one before.

use super::super::remote::{Found, Place, Replicated};
use super::Shared;
use super::store::{Changes, Name, Store, What};
use crate::time::{NEVER, left, nanos};
use std::collections::BTreeMap;
use std::time::Duration;

/// Bytes, or something else, until a time.
pub(super) type Was = Option<(What, u64)>;

/// What each name was, and since when: in order. Kept once a test asks for a replica.
#[derive(Default)]
pub(super) struct History {
    names: BTreeMap<Name, Vec<(u64, Was)>>,
}

impl History {
    /// Begins with what there is, as if it had been so for ever.
    pub(super) fn of(store: &Store) -> Self {
        let now = |name: Name| {
            let is = store.is(&name);
            (name, vec![(0, is)])
        };
        Self { names: store.names().map(now).collect() }
    }

    /// What an operation changed.
    pub(super) fn note(&mut self, changes: &Changes, store: &Store, now: u64) {
        for name in &changes.names {
            let is = store.is(name);
            self.names.entry(Name::clone(name)).or_default().push((now, is));
        }
    }

    /// All names are gone.
    pub(super) fn clear(&mut self, now: u64) {
        self.names.values_mut().for_each(|was| was.push((now, None)));
    }

    /// What a name was before that time. What changed at that very time is not seen.
    fn before(&self, name: &[u8], time: u64) -> Option<&(What, u64)> {
        let was = self.names.get(name)?.iter().rfind(|(since, _)| *since == 0 || *since < time);
        was.and_then(|(_, was)| was.as_ref())
    }
}

impl Shared {
    /// What a replica with this lag has now.
    pub(super) fn look_back(&self, places: &[&Place], lag: Duration) -> Replicated {
        let now = nanos(self.clock.now());
        let mut state = self.state.lock();
        let state = &mut *state;
        let history = state.history.get_or_insert_with(|| History::of(&state.store));
        let time = now.saturating_sub(nanos(lag));
        let find = |place: &&Place| match history.before(&place.value, time) {
            Some((_, deadline)) if *deadline <= now => Found::Nothing,
            Some((What::Bytes(bytes), deadline)) => {
                let left = (*deadline != NEVER).then(|| left(now, *deadline));
                Found::Value { bytes: bytes.to_vec(), left }
            }
            Some((What::Other, _)) => Found::Foreign,
            None => Found::Nothing,
        };
        Replicated { found: places.iter().map(find).collect(), age: lag }
    }

    /// From now on it is known what each name was.
    pub(super) fn remember(&self) {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.history.get_or_insert_with(|| History::of(&state.store));
    }
}
