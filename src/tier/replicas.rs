//! Reads from replicas of the remote, which take load off the primary, and what they may not bring back.
//!
//! **Problem.** What a replica has is old by its lag. A change is told of, and L1 drops its value; then a flight begins, and finds the value
//! from before the change at the replica. Nobody will ever tell of that change again: in L1 the value would be stale for ever.
//!
//! ```text
//!   told of, written here, seen at the primary ──► floor of the name := now ──► L1 drops it
//!
//!   flight: mark in L1 ──► replica: a value, right at r ──► floor < r? ─┬─ yes: keep it, as if the primary had had it
//!                                                                       └─ no:  ask the primary
//! ```
//!
//! Why that is enough: let a change at `w` not be in the value, so `w >= r`. It is told of at `t >= w`. If that was before the flight looked
//! at the floor, the floor is at least `t >= r`, and the value is not used. If it was after, L1 drops the value after that, or takes the
//! flight's mark away. Changes that nobody told of, since the line was down, raise the floor of all names when it is up again. And where
//! there is no line, what is read is kept for no longer than the bound, as it is whoever had it.
//!
//! What this process wrote itself raises the floor when the primary has answered, so it reads its own writes; so does what it saw at
//! the primary, so it does not go back.
//!
//! **Invariants**
//!
//! 1. A floor only rises, and before L1 drops what it is about.
//! 2. Floors are shared by names at random: a name's own is never above the one that it is held against.

use super::build::TieredBuilder;
use super::core::Tier;
use super::events::Event;
use super::held::Held;
use super::names::RemoteKey;
use super::remote::{Found, Mode, Place, RemoteError, Replicated};
use crate::sync::{AtomicU8, AtomicU64, Ordering};
use crate::time::nanos;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// How many floors there are: 32 KiB. If a thousand names change a second, and what replicas have is 100 ms old, two names in a hundred
/// are held against another's.
const FLOORS: usize = 4_096;

/// Whether they are of use.
const UNKNOWN: u8 = 0;
const USED: u8 = 1;
const LEFT: u8 = 2;

/// What is known of the replicas.
pub(super) struct Replicas {
    /// The most that they may lag.
    pub(super) lag: Duration,
    /// Whether what they said last was of use; unknown before they were asked.
    used: AtomicU8,
    /// What they have is to be right at a later time than this, by the hash of the name.
    floors: Box<[AtomicU64]>,
    /// The same for all names.
    floor: AtomicU64,
    hasher: ahash::RandomState,
}

impl Replicas {
    pub(super) fn new(lag: Duration) -> Self {
        Self {
            lag,
            used: AtomicU8::new(UNKNOWN),
            floors: (0..FLOORS).map(|_| AtomicU64::new(0)).collect(),
            floor: AtomicU64::new(0),
            hasher: ahash::RandomState::new(),
        }
    }

    fn floor(&self, name: &[u8]) -> &AtomicU64 {
        // The remainder is less than the number of floors.
        let at = self.hasher.hash_one(name) % FLOORS as u64;
        usize::try_from(at).ok().and_then(|at| self.floors.get(at)).unwrap_or(&self.floor)
    }

    fn raise(&self, name: &[u8], now: u64) {
        self.floor(name).fetch_max(now, Ordering::AcqRel);
    }

    fn raise_all(&self, now: u64) {
        self.floor.fetch_max(now, Ordering::AcqRel);
    }

    /// True if what was right then is no older than what is known of the name. At the same time is too early: the clock may not have
    /// moved between the two.
    fn allows(&self, name: &[u8], right_at: u64) -> bool {
        let floor = self.floor(name).load(Ordering::Acquire);
        right_at > floor.max(self.floor.load(Ordering::Acquire))
    }
}

/// What a replica had, as of when.
struct Answer {
    found: Vec<Found>,
    sent: u64,
    right_at: u64,
}

impl<K, V: 'static, E> Tier<K, V, E> {
    /// What replicas have of a name is to be newer than now. To be called before L1 drops it.
    pub(super) fn note_seen(&self, name: &[u8]) {
        if let Some(replicas) = &self.replicas {
            replicas.raise(name, self.now());
        }
    }

    /// The same for all names.
    pub(super) fn note_all_seen(&self) {
        if let Some(replicas) = &self.replicas {
            replicas.raise_all(self.now());
        }
    }

    /// Asks a replica. A failure of it is none of the remote.
    async fn ask_replica(&self, replicas: &Replicas, places: &[&Place]) -> Option<Answer> {
        let (asker, lag) = (&self.asker, replicas.lag);
        let sent = self.now();
        let answer = asker.in_time(asker.remote.read_replica(places, lag)).await;
        let answer = answer.and_then(|answer| checked(answer, places.len(), lag));
        let cause = match answer {
            Ok(None) => return None,
            Ok(Some(Replicated { found, age })) => {
                if replicas.used.swap(USED, Ordering::AcqRel) != USED {
                    self.tell(&Event::ReplicasUsed);
                }
                let right_at = sent.saturating_sub(nanos(age));
                return Some(Answer { found, sent, right_at });
            }
            Err(cause) => cause,
        };
        places.iter().for_each(|_| self.counts.replica_misses());
        if replicas.used.swap(LEFT, Ordering::AcqRel) != LEFT {
            self.tell(&Event::ReplicasLeft { cause });
        }
        None
    }
}

/// An answer that may be used.
fn checked(
    answer: Option<Replicated>,
    count: usize,
    lag: Duration,
) -> Result<Option<Replicated>, RemoteError> {
    match answer {
        Some(Replicated { found, .. }) if found.len() != count => {
            Err(RemoteError::Garbled(format!("{} answers for {count} places", found.len())))
        }
        Some(Replicated { age, .. }) if age > lag => Err(lags()),
        answer => Ok(answer),
    }
}

/// Why one is not used that lags too much.
pub(super) fn lags() -> RemoteError {
    RemoteError::Refused("the replica lags too much".to_owned())
}

impl<K, V, E> Tier<K, V, E>
where
    K: RemoteKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// The value at a place, if a replica has it and it may be used.
    pub(super) async fn look_at_replica(&self, place: &Place) -> Option<Held<V>> {
        self.look_at_replicas(&[place]).await.pop().flatten()
    }

    /// The values at some places, those that a replica has and that may be used. In the order of the places; none at all if replicas are of no use.
    pub(super) async fn look_at_replicas(&self, places: &[&Place]) -> Vec<Option<Held<V>>> {
        let Some(replicas) = &self.replicas else { return Vec::new() };
        // Who is told of what it read is not told of what it read elsewhere.
        if self.gate.mode() == Some(Mode::OptIn) {
            return Vec::new();
        }
        let open: Vec<&Place> =
            places.iter().copied().filter(|place| !self.undelivered.covers(place)).collect();
        if open.is_empty() {
            return Vec::new();
        }
        let Some(answer) = self.ask_replica(replicas, &open).await else { return Vec::new() };
        let Answer { found, sent, right_at } = answer;
        let mut found = open.into_iter().zip(found).peekable();
        let mut looked = Vec::with_capacity(places.len());
        for &place in places {
            let found = found.next_if(|(asked, _)| *asked == place).map(|(_, found)| found);
            let held = match found {
                Some(found) => self.use_replica(replicas, place, found, (sent, right_at)).await,
                None => None,
            };
            looked.push(held);
        }
        looked
    }

    async fn use_replica(
        &self,
        replicas: &Replicas,
        place: &Place,
        found: Found,
        (sent, right_at): (u64, u64),
    ) -> Option<Held<V>> {
        // Where there is none the primary is asked in any case: it grants the lease.
        let Found::Value { bytes, left } = found else { return None };
        if !replicas.allows(&place.value, right_at) {
            self.counts.replica_misses();
            return None;
        }
        // Where nobody tells of changes it is kept for the bound, counted from when the replica was asked: it was right at most the lag before.
        let fetched = self.open(place, &bytes, left, sent).await.ok()?;
        self.counts.replica_hits();
        Some(fetched.held)
    }
}

/// Replicas.
impl<K, V, E, S> TieredBuilder<K, V, E, S>
where
    K: RemoteKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Reads what L1 has not from replicas of the remote, as long as they lag by no more than this. It is a part of
    /// [`max_staleness`](super::TieredCache::max_staleness). A remote that has none is not changed by it.
    ///
    /// How much they lag is proved, and not believed: what is read counts only if it has all that had changed so long before. If it has not,
    /// or no replica answers, the primary is asked, which is told of as [`Event::ReplicasLeft`] once, and counted. So is it where this process
    /// knows better: of what it wrote, was told of, or saw at the primary within the lag. What they have not is asked of the primary, with the
    /// lease. Generations are always the primary's; where nobody tells if they change, each value that a replica has costs that question. While
    /// changes are told of by [`Mode::OptIn`] replicas are not asked: of what was read there nobody would tell.
    ///
    /// ```
    /// use cachette::{Cache, Threads, tier::{MemoryRemote, Raw}};
    /// use std::time::Duration;
    ///
    /// let cache = Cache::<u64, String>::builder()
    ///     .capacity(100)
    ///     .loader(|id: &u64| format!("user {id}"))
    ///     .spawn(Threads::new())
    ///     .remote(MemoryRemote::new(), Raw)
    ///     .namespace("users")
    ///     .remote_ttl(Duration::from_secs(600))
    ///     .max_staleness(Duration::from_secs(2))
    ///     .replica_lag(Duration::from_millis(500))
    ///     .build()?;
    /// assert_eq!(cache.max_staleness(), Duration::from_millis(2_500));
    /// # Ok::<(), cachette::BuildError>(())
    /// ```
    pub fn replica_lag(mut self, lag: Duration) -> Self {
        self.lag = Some(lag);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_only_rises_and_at_the_same_time_is_too_early() {
        let replicas = Replicas::new(Duration::ZERO);
        assert!(!replicas.allows(b"a", 0) && replicas.allows(b"a", 1));
        replicas.raise(b"a", 5);
        replicas.raise(b"a", 3);
        assert!(!replicas.allows(b"a", 5) && replicas.allows(b"a", 6));
        replicas.raise_all(9);
        assert!(
            !replicas.allows(b"a", 9) && !replicas.allows(b"b", 9) && replicas.allows(b"b", 10)
        );
    }

    #[test]
    fn names_share_floors_and_not_all_the_same() {
        let replicas = Replicas::new(Duration::ZERO);
        (0..FLOORS / 2).for_each(|name| replicas.raise(&name.to_le_bytes(), 1));
        let names = (FLOORS..3 * FLOORS).map(usize::to_le_bytes);
        let allowed = names.filter(|name| replicas.allows(name, 1)).count();
        // All but two in five, about.
        assert!((FLOORS..2 * FLOORS - FLOORS / 2).contains(&allowed), "{allowed}");
    }

    #[test]
    fn what_is_too_old_or_no_answer_is_not_used() {
        let lag = Duration::from_millis(5);
        let of = |found: Vec<Found>, age| checked(Some(Replicated { found, age }), 1, lag);
        assert!(of(vec![Found::Nothing], lag).is_ok_and(|answer| answer.is_some()));
        assert_eq!(of(vec![Found::Nothing], lag + Duration::from_nanos(1)), Err(lags()));
        assert!(matches!(of(Vec::new(), lag), Err(RemoteError::Garbled(_))));
        assert_eq!(checked(None, 1, lag), Ok(None));
    }
}
