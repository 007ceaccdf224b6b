//! A lock that processes share, by a remote.
//!
//! It is a name that holds the token of its owner, for a while: taken if nobody has it, kept and given back if the token is one's own.
//! So whoever comes back late takes nothing away from the next.
//!
//! **It ends by itself.** A process that is halted for longer than its time does not know that another has the lock: what must never be done
//! twice needs a check of its own where it is done, such as a version that only grows.
//!
//! **Source.** Redis's documentation of `SET NX PX`; Kleppmann: *How to do distributed locking*, 2016, for the limits.

use super::draws::Draws;
use super::remote::{Remote, RemoteError, Token, Turn};
use crate::load::{Spawn, block_on};
use crate::sync::Arc;
use crate::time::{Clock, SystemClock};
use std::fmt;
use std::time::Duration;

/// The pauses between two tries to take a lock that another has.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];

/// Takes locks that processes share.
///
/// ```
/// use cachette::{Threads, tier::{Locks, MemoryRemote}};
/// use std::time::Duration;
///
/// let seconds = Duration::from_secs;
/// let locks = Locks::new(MemoryRemote::new(), Threads::new());
/// let mut locked = locks.try_lock("nightly report", seconds(30))?.expect("nobody else runs it");
/// assert!(locks.try_lock("nightly report", seconds(30))?.is_none());
/// assert!(locked.extend(seconds(60))?);
/// assert!(locked.unlock()?);
/// # Ok::<(), cachette::tier::RemoteError>(())
/// ```
#[derive(Clone)]
pub struct Locks {
    shared: Arc<Shared>,
}

struct Shared {
    remote: Arc<dyn Remote>,
    spawn: Arc<dyn Spawn>,
    clock: Arc<dyn Clock>,
    draws: Draws,
}

/// A lock that was taken. It is not given back when this is dropped, which could not wait for the remote: it ends by its time.
#[must_use = "a lock that is not given back lasts as long as it was taken for"]
pub struct Locked {
    shared: Arc<Shared>,
    name: Vec<u8>,
    token: Token,
    taken: Duration,
    time: Duration,
}

impl Locks {
    /// Locks of a remote. `spawn` tells when to try again.
    #[must_use]
    pub fn new(remote: impl Remote, spawn: impl Spawn + 'static) -> Self {
        Self::with_clock(remote, spawn, SystemClock::new())
    }

    /// The same, by a clock of one's own.
    #[must_use]
    pub fn with_clock(
        remote: impl Remote,
        spawn: impl Spawn + 'static,
        clock: impl Clock + 'static,
    ) -> Self {
        let (remote, spawn, clock) = (Arc::new(remote), Arc::new(spawn), Arc::new(clock));
        Self { shared: Arc::new(Shared { remote, spawn, clock, draws: Draws::new() }) }
    }

    /// Takes a lock for `time`, if nobody has it. One round trip. The thread waits for the answer; as do all methods here but those
    /// for tasks.
    ///
    /// # Errors
    ///
    /// [`RemoteError`]: it may have been taken, and ends by its time then.
    pub fn try_lock(&self, name: &str, time: Duration) -> Result<Option<Locked>, RemoteError> {
        block_on(self.try_lock_async(name, time))
    }

    /// As [`try_lock`](Self::try_lock), from a task. With a remote that blocks it blocks.
    ///
    /// # Errors
    ///
    /// As [`try_lock`](Self::try_lock).
    pub async fn try_lock_async(
        &self,
        name: &str,
        time: Duration,
    ) -> Result<Option<Locked>, RemoteError> {
        let shared = &self.shared;
        let name = format!("lock{{{name}}}").into_bytes();
        let (token, taken) = (shared.draws.token(), shared.clock.now());
        let is_taken = shared.remote.lock(&name, token, Turn::Take(time)).await?;
        Ok(is_taken.then(|| Locked { shared: Arc::clone(shared), name, token, taken, time }))
    }

    /// Takes a lock for `time`, and waits for it up to `most`, asking again after pauses of 5 to 100 ms. Who waits longest is not served
    /// first.
    ///
    /// # Errors
    ///
    /// As [`try_lock`](Self::try_lock).
    pub fn lock(
        &self,
        name: &str,
        time: Duration,
        most: Duration,
    ) -> Result<Option<Locked>, RemoteError> {
        block_on(self.lock_async(name, time, most))
    }

    /// As [`lock`](Self::lock), from a task.
    ///
    /// # Errors
    ///
    /// As [`try_lock`](Self::try_lock).
    pub async fn lock_async(
        &self,
        name: &str,
        time: Duration,
        most: Duration,
    ) -> Result<Option<Locked>, RemoteError> {
        let until = self.shared.clock.now().saturating_add(most);
        let mut pause = PAUSES[0];
        loop {
            if let Some(locked) = self.try_lock_async(name, time).await? {
                return Ok(Some(locked));
            }
            let left = until.saturating_sub(self.shared.clock.now());
            if left.is_zero() {
                return Ok(None);
            }
            self.shared.spawn.sleep(pause.min(left)).await;
            pause = (pause * 2).min(PAUSES[1]);
        }
    }
}

impl Locked {
    /// How long it is surely one's own still, by this process's clock, from when it was asked for.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.taken.saturating_add(self.time).saturating_sub(self.shared.clock.now())
    }

    /// Keeps it for `time` from now. False if it has ended, whoever has it now.
    ///
    /// # Errors
    ///
    /// [`RemoteError`]: whether it is kept is not known.
    pub fn extend(&mut self, time: Duration) -> Result<bool, RemoteError> {
        block_on(self.extend_async(time))
    }

    /// As [`extend`](Self::extend), from a task.
    ///
    /// # Errors
    ///
    /// As [`extend`](Self::extend).
    pub async fn extend_async(&mut self, time: Duration) -> Result<bool, RemoteError> {
        let asked = self.shared.clock.now();
        let remote = &self.shared.remote;
        let kept = remote.lock(&self.name, self.token, Turn::Extend(time)).await?;
        if kept {
            (self.taken, self.time) = (asked, time);
        }
        Ok(kept)
    }

    /// Gives it back. False if it had ended, whoever has it now: they keep it.
    ///
    /// # Errors
    ///
    /// [`RemoteError`]: if it was not given back, it ends by its time.
    pub fn unlock(self) -> Result<bool, RemoteError> {
        block_on(self.unlock_async())
    }

    /// As [`unlock`](Self::unlock), from a task.
    ///
    /// # Errors
    ///
    /// As [`unlock`](Self::unlock).
    pub async fn unlock_async(self) -> Result<bool, RemoteError> {
        self.shared.remote.lock(&self.name, self.token, Turn::Free).await
    }
}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locks").finish_non_exhaustive()
    }
}

impl fmt::Debug for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locked")
            .field("name", &String::from_utf8_lossy(&self.name))
            .field("left", &self.left())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;
    use crate::load::{Task, Threads};
    use crate::tier::MemoryRemote;

    const TIME: Duration = Duration::from_secs(10);

    #[test]
    fn t7_who_is_late_gives_back_nothing_of_the_next() {
        let clock = ManualClock::new();
        let remote = MemoryRemote::with_clock(clock.clone());
        let locks = Locks::with_clock(remote.clone(), Threads::new(), clock.clone());
        let others = Locks::with_clock(remote.node(), Threads::new(), clock.clone());
        let mut late = locks.try_lock("a", TIME).unwrap().unwrap();
        assert!(others.try_lock("a", TIME).unwrap().is_none());
        clock.advance(TIME);
        assert_eq!(late.left(), Duration::ZERO);
        let next = others.try_lock("a", TIME).unwrap().unwrap();
        assert_eq!(late.extend(TIME), Ok(false));
        assert_eq!(late.unlock(), Ok(false));
        assert!(locks.try_lock("a", TIME).unwrap().is_none(), "the next has it still");
        assert_eq!(next.unlock(), Ok(true));
        assert!(locks.try_lock("a", TIME).unwrap().is_some());
    }

    #[test]
    fn a_lock_is_kept_by_its_owner_alone() {
        let clock = ManualClock::new();
        let remote = MemoryRemote::with_clock(clock.clone());
        let locks = Locks::with_clock(remote, Threads::new(), clock.clone());
        let mut locked = locks.try_lock("a", TIME).unwrap().unwrap();
        clock.advance(TIME / 2);
        assert_eq!(locked.left(), TIME / 2);
        assert_eq!(locked.extend(TIME), Ok(true));
        clock.advance(TIME - Duration::from_millis(1));
        assert!(locks.try_lock("a", TIME).unwrap().is_none());
        assert!(locks.try_lock("b", TIME).unwrap().is_some(), "another name is another lock");
        clock.advance(Duration::from_millis(1));
        assert!(locks.try_lock("a", TIME).unwrap().is_some());
    }

    /// Time passes when somebody sleeps.
    struct Sleepers(ManualClock);

    impl Spawn for Sleepers {
        fn spawn(&self, _: Task) {}
        fn sleep(&self, time: Duration) -> Task {
            self.0.advance(time);
            Box::pin(std::future::ready(()))
        }
    }

    #[test]
    fn a_lock_is_waited_for_as_long_as_was_said() {
        let clock = ManualClock::new();
        let remote = MemoryRemote::with_clock(clock.clone());
        let locks = Locks::with_clock(remote, Sleepers(clock.clone()), clock.clone());
        let _held = locks.try_lock("a", TIME).unwrap().unwrap();
        assert!(locks.lock("a", TIME, TIME / 2).unwrap().is_none());
        assert_eq!(clock.now(), TIME / 2);
        assert!(locks.lock("a", TIME, TIME).unwrap().is_some());
        assert!(clock.now() >= TIME && clock.now() < TIME + PAUSES[1]);
    }
}
