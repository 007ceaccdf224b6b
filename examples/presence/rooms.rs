//! Who is online: take this file with you.

use cachette::{BuildError, Cache, Cause, Clock, Compute, policy::NoEviction};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A room's, or a user's.
pub(crate) type Name = &'static str;

/// How many are in each room, and what has been told of them. Who comes is one more and who goes one less, each once: what two threads do
/// at once may be told in either order, and the sum is the same.
#[derive(Default)]
struct Told(Mutex<(BTreeMap<Name, i64>, Vec<String>)>);

impl Told {
    fn tell(&self, change: i64, (room, user): (Name, Name), what: &str) {
        let (counts, news) = &mut *self.0.lock().unwrap();
        let count = counts.entry(room).or_default();
        *count += change;
        if *count == 0 {
            counts.remove(room);
        }
        news.push(format!("{user} {what}"));
    }
}

pub(crate) struct Presence<C> {
    /// The newest connection of each user in each room. An eviction would be a lie, so there is none: a full house refuses newcomers.
    pub(crate) online: Cache<(Name, Name), u64>,
    /// When a user was last heard, by the clock. Here an eviction only forgets who has not been heard for long.
    pub(crate) seen: Cache<Name, Duration>,
    told: Arc<Told>,
    clock: C,
}

impl<C: Clock + Clone + 'static> Presence<C> {
    /// An empty house with room for `most`, where a user who has not been heard for 30 s is offline.
    pub(crate) fn new(most: u64, clock: C) -> Result<Self, BuildError> {
        let told = Arc::<Told>::default();
        let teller = Arc::clone(&told);
        let online = Cache::builder()
            .capacity(most)
            .policy(NoEviction::new)
            .time_to_live(Duration::from_secs(30))
            .clock(clock.clone())
            .removal_listener(move |place, _, cause| match cause {
                Cause::Replaced => {} // heard again
                Cause::Expired => teller.tell(-1, *place, "went offline"),
                _ => teller.tell(-1, *place, "left"),
            })
            .build()?;
        Ok(Self { online, seen: Cache::new(most.saturating_mul(10)), told, clock })
    }

    /// A user is heard, and so comes or stays. False if the house is full.
    pub(crate) fn heard(&self, room: Name, user: Name, connection: u64) -> bool {
        self.seen.put(user, self.clock.now());
        let mut comes = false; // as the closure's last call says, which is the one that counts
        let done = self.online.compute((room, user), |newest| {
            comes = newest.is_none();
            Compute::Replace(newest.map_or(connection, |&newest| newest.max(connection)))
        });
        if comes && done.is_ok() {
            self.told.tell(1, (room, user), "came");
        }
        done.is_ok()
    }

    /// A connection has ended, and its user leaves at once; unless a newer one was heard, for goodbyes may be late.
    pub(crate) fn goodbye(&self, room: Name, user: Name, connection: u64) {
        let _ = self.online.compute((room, user), |newest| match newest {
            Some(&newest) if newest <= connection => Compute::Delete,
            _ => Compute::Keep,
        });
    }

    /// Who is in a room at this very moment. O(all who are online).
    pub(crate) fn who(&self, room: Name) -> Vec<Name> {
        let here = self.online.iter().filter(|((of, _), _)| *of == room);
        let mut users: Vec<_> = here.map(|((_, user), _)| user).collect();
        users.sort_unstable();
        users
    }

    /// How many are in a room, with those who have gone silent since the last `online.maintain()`: let a timer call that every second or
    /// so. O(log rooms).
    pub(crate) fn count(&self, room: Name) -> i64 {
        self.told.0.lock().unwrap().0.get(room).copied().unwrap_or(0)
    }

    /// What was told since the last call. (A service would send it at once.)
    pub(crate) fn news(&self) -> Vec<String> {
        std::mem::take(&mut self.told.0.lock().unwrap().1)
    }
}
