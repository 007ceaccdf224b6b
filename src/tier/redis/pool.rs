//! Connections that are shared by threads.
//!
//! A connection is lent to one thread at a time. It comes back if all that was asked was answered: on one that broke, or whose answer
//! was too late, a later answer could be taken for that to another question.
//!
//! Invariant: `made` is the number of connections that are idle, lent or being made. It never exceeds `limit`.

use crate::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// A connection that nobody has used for so long is not used again: what lies between may have forgotten it.
const IDLE: Duration = Duration::from_secs(45);

struct State<C> {
    /// The one that came back last is lent first, so that those that are not needed grow old.
    idle: Vec<(C, Instant)>,
    made: usize,
}

pub(super) struct Pool<C> {
    state: Mutex<State<C>>,
    returned: Condvar,
    limit: usize,
}

/// A connection that is lent, or room for one that is yet to be made. It is no more when this is dropped, unless it is given back.
pub(super) struct Lent<'a, C> {
    pool: &'a Pool<C>,
    connection: Option<C>,
}

impl<C> State<C> {
    /// An idle connection, or `None` for room for one.
    fn take(&mut self, now: Instant, limit: usize) -> Option<Option<C>> {
        let old = |since: &Instant| now.saturating_duration_since(*since) > IDLE;
        let count = self.idle.iter().take_while(|(_, since)| old(since)).count();
        self.idle.drain(..count);
        self.made -= count;
        if let Some((connection, _)) = self.idle.pop() {
            return Some(Some(connection));
        }
        let room = self.made < limit;
        self.made += usize::from(room);
        room.then_some(None)
    }
}

impl<C> Pool<C> {
    pub(super) fn new(limit: usize) -> Self {
        let state = Mutex::new(State { idle: Vec::new(), made: 0 });
        Self { state, returned: Condvar::new(), limit }
    }

    /// Lends a connection. `None` if all are lent for all this time.
    pub(super) fn lend(&self, patience: Duration) -> Option<Lent<'_, C>> {
        let start = Instant::now();
        let mut state = self.state.lock();
        loop {
            if let Some(connection) = state.take(Instant::now(), self.limit) {
                return Some(Lent { pool: self, connection });
            }
            let left = patience.checked_sub(start.elapsed()).filter(|left| !left.is_zero())?;
            state = self.returned.wait_for(state, left);
        }
    }
}

impl<C> Lent<'_, C> {
    /// The connection, which is made if there is none.
    pub(super) fn connection<E>(
        &mut self,
        make: impl FnOnce() -> Result<C, E>,
    ) -> Result<&mut C, E> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => make()?,
        };
        Ok(self.connection.insert(connection))
    }

    /// The connection, if it has been made.
    pub(super) fn made(&mut self) -> Option<&mut C> {
        self.connection.as_mut()
    }

    /// For the next who needs one.
    pub(super) fn give_back(mut self) {
        if let Some(connection) = self.connection.take() {
            let mut state = self.pool.state.lock();
            state.made += 1;
            state.idle.push((connection, Instant::now()));
        }
    }

    /// Nor is any that is idle: they were lost together, if this one was.
    pub(super) fn give_up(self) {
        let mut state = self.pool.state.lock();
        state.made -= state.idle.len();
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        drop(idle);
    }
}

impl<C> Drop for Lent<'_, C> {
    fn drop(&mut self) {
        self.pool.state.lock().made -= 1;
        self.pool.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Arc, mpsc, thread};
    use std::convert::Infallible;

    const NEVER: Duration = Duration::ZERO;
    const LONG: Duration = Duration::from_secs(60);

    fn made(pool: &Pool<u32>) -> usize {
        pool.state.lock().made
    }

    /// Lends a connection, or makes this one.
    fn lend(pool: &Pool<u32>, number: u32) -> (Lent<'_, u32>, u32) {
        let mut lent = pool.lend(NEVER).expect("not all are lent");
        let connection = *lent.connection(|| Ok::<_, Infallible>(number)).unwrap();
        (lent, connection)
    }

    #[test]
    fn a_connection_that_came_back_is_lent_again() {
        let pool = Pool::new(2);
        let ((first, _), (second, _)) = (lend(&pool, 1), lend(&pool, 2));
        assert!(pool.lend(NEVER).is_none());
        second.give_back();
        first.give_back();
        assert_eq!(made(&pool), 2);
        // The one that came back last.
        let (lent, number) = lend(&pool, 3);
        assert_eq!((number, lend(&pool, 4).1), (1, 2));
        drop(lent);
        assert_eq!(made(&pool), 0);
        assert_eq!(lend(&pool, 5).1, 5);
    }

    #[test]
    fn one_that_cannot_be_made_leaves_its_room() {
        let pool = Pool::<u32>::new(1);
        let mut lent = pool.lend(NEVER).unwrap();
        assert_eq!(lent.connection(|| Err("down")), Err("down"));
        lent.give_back();
        assert_eq!(made(&pool), 0);
    }

    #[test]
    fn with_one_that_was_lost_the_idle_go() {
        let pool = Pool::new(3);
        let (first, second) = (lend(&pool, 1).0, lend(&pool, 2).0);
        first.give_back();
        second.give_up();
        assert_eq!(made(&pool), 0);
        assert_eq!(lend(&pool, 3).1, 3);
    }

    #[test]
    fn one_that_was_idle_for_long_is_not_used_again() {
        let pool = Pool::new(2);
        let (first, second) = (lend(&pool, 1).0, lend(&pool, 2).0);
        first.give_back();
        second.give_back();
        let mut state = pool.state.lock();
        let since = state.idle[0].1;
        state.idle[1].1 = since + LONG;
        assert_eq!(state.take(since + IDLE, 2), Some(Some(2)));
        assert_eq!((state.idle.len(), state.made), (1, 2));
        assert_eq!(state.take(since + IDLE + Duration::from_nanos(1), 2), Some(None));
        assert_eq!((state.idle.len(), state.made), (0, 2));
        assert_eq!(state.take(since + LONG, 2), None);
    }

    #[test]
    fn who_comes_when_all_are_lent_waits_for_one() {
        let pool = Arc::new(Pool::new(1));
        let (sender, receiver) = mpsc::channel();
        let (lent, _) = lend(&pool, 1);
        let other = Arc::clone(&pool);
        let waiting = thread::spawn(move || {
            sender.send(()).unwrap();
            let mut lent = other.lend(LONG).expect("one comes back");
            *lent.connection(|| Ok::<_, Infallible>(2)).unwrap()
        });
        receiver.recv().unwrap();
        lent.give_back();
        assert_eq!(waiting.join().unwrap(), 1);
    }
}
