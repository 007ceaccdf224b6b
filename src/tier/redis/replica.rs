//! Replicas of a Redis, and the proof of how old what they have may be.
//!
//! **Problem.** A replica does not know by how much it lags: what it has not heard of it cannot count. Nor do the clocks of two
//! machines say so.
//!
//! ```text
//!   primary, asked at t:   its history (`master_replid`), and how many bytes of changes that has (`master_repl_offset`)
//!   replica, at a read:    the same history, and at least as many bytes are done there (`slave_repl_offset`)
//!                          └─► all that had changed before t is in what was read
//! ```
//!
//! The replica says so in the same step in which it is read. So a replica that is stopped, restarted, filled anew or made a primary
//! proves nothing by what it was before. The primary is asked four times within the lag, or ten times a second, by one of those who read; what
//! it said is kept, so one that lags is proved by what the primary said then.
//!
//! A history has a name of its own, drawn at random, and whoever is made a primary begins a new one. So a primary and its replica that
//! both take themselves for one have different histories.

use super::ops::{self, Line};
use super::scripts::{Call, INFO, REPLICA};
use crate::load::Backoff;
use crate::sync::{AtomicUsize, Mutex, Ordering};
use crate::tier::breaker::{Breaker, Circuit};
use crate::tier::replicas::lags;
use crate::tier::{Place, RemoteError, Replicated};
use crate::time::nanos;
use ::redis::Value;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How much of what the primary said is kept: 25 s, at the shortest pause of ample lags. What lags more is not proved, and not used.
const MOST: usize = 256;

/// The primary is asked no more seldom than so, however much replicas may lag: the younger what is known, the more of it can be used.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a replica is left alone that failed, or lags too much.
const REST: Breaker = Breaker {
    after: 1,
    wait: Backoff { first: Duration::from_millis(100), most: Duration::from_secs(5) },
};

/// The replicas of a Redis, and what its primary said.
pub(super) struct Replicas<L> {
    replicas: Vec<Replica<L>>,
    /// Who is asked next.
    turn: AtomicUsize,
    said: Mutex<Said>,
    origin: Instant,
}

struct Replica<L> {
    line: L,
    circuit: Circuit,
}

/// What the primary said of itself, the latest last.
#[derive(Default)]
struct Said {
    points: VecDeque<(Instant, Point)>,
    /// Somebody asks it.
    asking: bool,
}

/// How far a history has come.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Point {
    history: Vec<u8>,
    offset: u64,
}

type Answer<T> = Result<T, RemoteError>;

impl<L: Line> Replicas<L> {
    pub(super) fn new(lines: impl IntoIterator<Item = L>) -> Self {
        let replica = |line| Replica { line, circuit: Circuit::new(REST) };
        Self {
            replicas: lines.into_iter().map(replica).collect(),
            turn: AtomicUsize::new(0),
            said: Mutex::default(),
            origin: Instant::now(),
        }
    }

    fn now(&self) -> u64 {
        nanos(self.origin.elapsed())
    }

    /// What one of them has, the next in turn of those that are not left alone.
    pub(super) async fn read(
        &self,
        primary: &L,
        places: &[&Place],
        lag: Duration,
    ) -> Answer<Option<Replicated>> {
        if self.replicas.is_empty() {
            return Ok(None);
        }
        if let Err(error) = self.ask_primary(primary, lag).await {
            if !self.said.lock().is_younger_than(lag) {
                return Err(error);
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.replicas.len();
        let mut failure = RemoteError::Spared;
        for replica in self.replicas.iter().cycle().skip(turn).take(self.replicas.len()) {
            if !replica.circuit.lets(self.now()) {
                continue;
            }
            let attempt = Attempt { replicas: self, replica, answered: false };
            match self.ask(&replica.line, places, lag).await {
                Ok(answer) => {
                    attempt.ended();
                    return Ok(answer);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Asks the primary how far it is, if that was last done long ago, and nobody else does.
    async fn ask_primary(&self, primary: &L, lag: Duration) -> Answer<()> {
        let Some(asking) = self.begin_asking(PAUSE.min(lag / 4)) else { return Ok(()) };
        let at = Instant::now();
        let answer = ops::one(primary, Call::new(&INFO)).await?;
        let point = point(&mut ops::array(answer)?.into_iter())?;
        asking.0.said.lock().add(at, point);
        Ok(())
    }

    fn begin_asking(&self, pause: Duration) -> Option<Asking<'_, L>> {
        let mut said = self.said.lock();
        if said.asking || said.is_younger_than(pause) {
            return None;
        }
        said.asking = true;
        Some(Asking(self))
    }

    async fn ask(&self, line: &L, places: &[&Place], lag: Duration) -> Answer<Option<Replicated>> {
        let calls: Vec<_> = places.chunks(L::TOGETHER).map(call).collect();
        let asked = Instant::now();
        let answers = ops::call(line, &calls).await?;
        let mut found = Vec::with_capacity(places.len());
        let mut age = Some(Duration::ZERO);
        for answer in answers {
            let mut parts = ops::array(answer)?.into_iter();
            let point = point(&mut parts)?;
            let its = self.said.lock().age(&point, asked, lag)?;
            age = age.zip(its).map(|(age, its)| age.max(its));
            while let (Some(what), Some(time)) = (parts.next(), parts.next()) {
                found.push(ops::found_of(what, ops::number(&time)?)?);
            }
        }
        let found = ops::as_many(found, places.len())?;
        Ok(age.map(|age| Replicated { found, age }))
    }
}

fn call<'a>(places: &[&'a Place]) -> Call<'a> {
    let mut call = Call::new(&REPLICA);
    for place in places {
        call.key(&place.value);
    }
    call
}

/// A history and how far it has come, at the beginning of an answer.
fn point(parts: &mut impl Iterator<Item = Value>) -> Answer<Point> {
    let garbled = || RemoteError::Garbled("it does not say how far it has come".to_owned());
    let history = ops::bytes(parts.next().ok_or_else(garbled)?)?;
    let digits = ops::bytes(parts.next().ok_or_else(garbled)?)?;
    let offset = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok());
    Ok(Point { history, offset: offset.ok_or_else(garbled)? })
}

/// Somebody asks the primary, until this is dropped.
struct Asking<'a, L: Line>(&'a Replicas<L>);

impl<L: Line> Drop for Asking<'_, L> {
    fn drop(&mut self) {
        self.0.said.lock().asking = false;
    }
}

/// A replica that is asked. It has failed if nobody says otherwise: whoever asks it may be gone before it answers.
struct Attempt<'a, L: Line> {
    replicas: &'a Replicas<L>,
    replica: &'a Replica<L>,
    answered: bool,
}

impl<L: Line> Attempt<'_, L> {
    fn ended(mut self) {
        self.answered = true;
    }
}

impl<L: Line> Drop for Attempt<'_, L> {
    fn drop(&mut self) {
        self.replica.circuit.note(self.answered, self.replicas.now());
    }
}

impl Said {
    fn is_younger_than(&self, time: Duration) -> bool {
        self.points.back().is_some_and(|(at, _)| at.elapsed() < time)
    }

    /// The primary was there, when it was asked at that time or later.
    fn add(&mut self, at: Instant, point: Point) {
        self.points.push_back((at, point));
        if self.points.len() > MOST {
            self.points.pop_front();
        }
    }

    /// How long before it was asked a replica had all that had changed, which is there now; `None` if that is not known.
    ///
    /// # Errors
    ///
    /// If it is known to be more than `lag`.
    fn age(&self, replica: &Point, asked: Instant, lag: Duration) -> Answer<Option<Duration>> {
        let has =
            |point: &Point| point.history == replica.history && point.offset <= replica.offset;
        let ages = self
            .points
            .iter()
            .rev()
            .map(|(at, point)| (asked.saturating_duration_since(*at), has(point)));
        let mut lacks = false;
        for (age, has) in ages {
            if has && age <= lag {
                return Ok(Some(age));
            }
            lacks |= !has && age >= lag;
        }
        if lacks { Err(lags()) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG: Duration = Duration::from_millis(100);

    fn at(offset: u64) -> Point {
        Point { history: b"one".to_vec(), offset }
    }

    /// What a primary said at these milliseconds.
    fn said(origin: Instant, points: &[(u64, u64)]) -> Said {
        let mut said = Said::default();
        for &(millis, offset) in points {
            said.add(origin + Duration::from_millis(millis), at(offset));
        }
        said
    }

    #[test]
    fn an_age_is_that_of_the_latest_point_that_is_reached() {
        let origin = Instant::now();
        let asked = origin + Duration::from_millis(100);
        let said = said(origin, &[(0, 10), (40, 20), (80, 30)]);
        let age = |offset| said.age(&at(offset), asked, LAG);
        let known = |millis| Ok(Some(Duration::from_millis(millis)));
        assert_eq!((age(31), age(30), age(29)), (known(20), known(20), known(60)));
        assert_eq!((age(20), age(19), age(10)), (known(60), known(100), known(100)));
        assert_eq!(age(9), Err(lags()), "all that it was told of in time it lacks");
        let another = Point { history: b"other".to_vec(), offset: 99 };
        assert_eq!(said.age(&another, asked, LAG), Err(lags()));
    }

    #[test]
    fn nothing_is_known_of_what_nobody_asked_about() {
        let origin = Instant::now();
        let asked = origin + Duration::from_millis(100);
        assert_eq!(Said::default().age(&at(5), asked, LAG), Ok(None));
        assert_eq!(said(origin, &[(99, 10)]).age(&at(5), asked, LAG), Ok(None), "it was just told");
        let long_ago = said(origin, &[(0, 5)]).age(&at(5), asked + LAG, LAG);
        assert_eq!(long_ago, Ok(None), "it had all then, and may have all now");
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let mut said = Said::default();
        (0..2 * MOST as u64).for_each(|offset| said.add(Instant::now(), at(offset)));
        assert_eq!((said.points.len(), &said.points[0].1), (MOST, &at(MOST as u64)));
    }
}
