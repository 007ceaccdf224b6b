//! The presence of the example counts right, whoever comes, goes and comes again.

use crate::presence::rooms::{Name, Presence};
use cachette::ManualClock;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

const ROOMS: [Name; 2] = ["attic", "cellar"];
const USERS: [Name; 3] = ["alice", "bob", "carol"];

#[derive(Clone, Copy, Debug)]
enum Step {
    Heard(usize, usize, u64),
    Goodbye(usize, usize, u64),
    /// Milliseconds.
    Wait(u64),
    Maintain,
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..ROOMS.len(), 0..USERS.len(), 0..3_u64);
    prop_oneof![
        4 => place().prop_map(|(room, user, connection)| Step::Heard(room, user, connection)),
        2 => place().prop_map(|(room, user, connection)| Step::Goodbye(room, user, connection)),
        2 => prop_oneof![Just(1), Just(10_000), Just(30_000), 0..40_000_u64].prop_map(Step::Wait),
        1 => Just(Step::Maintain),
    ]
}

/// Of each user in each room the newest connection, and when they are offline, in milliseconds. Nobody is taken out for that.
#[derive(Default)]
struct Slow {
    now: u64,
    online: BTreeMap<(Name, Name), (u64, u64)>,
    seen: BTreeMap<Name, Duration>,
}

impl Slow {
    fn take(&mut self, step: Step) {
        let live = |(newest, until): &(u64, u64)| (self.now < *until).then_some(*newest);
        match step {
            Step::Heard(room, user, connection) => {
                let (room, user) = (ROOMS[room], USERS[user]);
                let newest = self.online.get(&(room, user)).and_then(live).unwrap_or(0);
                self.online.insert((room, user), (newest.max(connection), self.now + 30_000));
                self.seen.insert(user, Duration::from_millis(self.now));
            }
            Step::Goodbye(room, user, connection) => {
                let of = (ROOMS[room], USERS[user]);
                if self.online.get(&of).and_then(live).is_some_and(|newest| newest <= connection) {
                    self.online.remove(&of);
                }
            }
            Step::Wait(time) => self.now += time,
            Step::Maintain => {}
        }
    }

    /// Who was in a room so many milliseconds ago, as far as they have not come or gone since.
    fn who(&self, room: Name, ago: u64) -> Vec<Name> {
        let here = self.online.iter().filter(|((of, _), _)| *of == room);
        here.filter(|(_, (_, until))| self.now < until + ago).map(|((_, user), _)| *user).collect()
    }
}

/// What was told, summed up.
fn sum(news: &[String]) -> i64 {
    news.iter().map(|told| if told.ends_with(" came") { 1 } else { -1 }).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn it_knows_what_a_slow_one_knows(steps in prop::collection::vec(step(), 1..80)) {
        let (clock, mut slow) = (ManualClock::new(), Slow::default());
        let house = Presence::new(6, clock.clone()).unwrap();
        let mut told = 0;
        for step in steps {
            slow.take(step);
            match step {
                Step::Heard(room, user, connection) => {
                    prop_assert!(house.heard(ROOMS[room], USERS[user], connection));
                }
                Step::Goodbye(room, user, connection) => {
                    house.goodbye(ROOMS[room], USERS[user], connection);
                }
                Step::Wait(time) => clock.advance(Duration::from_millis(time)),
                Step::Maintain => house.online.maintain(),
            }
            told += sum(&house.news());
            prop_assert_eq!(told, ROOMS.iter().map(|room| house.count(room)).sum::<i64>());
            for room in ROOMS {
                let who = slow.who(room, 0);
                prop_assert_eq!(house.who(room), who.as_slice());
                let count = usize::try_from(house.count(room)).unwrap();
                prop_assert!(count >= who.len());
                if matches!(step, Step::Maintain) {
                    // Whose time ended less than a tick ago may still be there.
                    prop_assert!(count <= slow.who(room, 2).len());
                }
            }
            for user in USERS {
                prop_assert_eq!(house.seen.get(user), slow.seen.get(user).copied());
            }
        }
        clock.advance(Duration::from_secs(31));
        house.online.maintain();
        prop_assert_eq!(ROOMS.map(|room| house.count(room)), [0, 0]);
        prop_assert_eq!(told + sum(&house.news()), 0);
    }
}

/// Threads come and go in the same places. What each tells is told once, so the sum is right when all have told.
#[test]
fn threads_that_come_and_go_add_up() {
    let clock = ManualClock::new();
    let house = Presence::new(6, clock.clone()).unwrap();
    for round in 0..20 {
        thread::scope(|scope| {
            for thread in 0..8 {
                let (house, clock) = (&house, &clock);
                scope.spawn(move || {
                    for step in 0..200_usize {
                        let (room, user) = (ROOMS[step % 2], USERS[(step + thread) % 3]);
                        match (step * 7 + thread) % 5 {
                            0 => house.goodbye(room, user, 9),
                            1 if thread == 0 => clock.advance(Duration::from_secs(20)),
                            2 if thread == 1 => house.online.maintain(),
                            _ => assert!(house.heard(room, user, 1)),
                        }
                    }
                });
            }
        });
        clock.advance(Duration::from_millis(2));
        house.online.maintain();
        let told = ROOMS.map(|room| (house.who(room).len() as i64, house.count(room)));
        assert!(told.iter().all(|(online, count)| online == count), "round {round}: {told:?}");
    }
}

#[test]
fn a_full_house_takes_nobody_in_and_loses_nobody() {
    let clock = ManualClock::new();
    let house = Presence::new(2, clock.clone()).unwrap();
    assert!(house.heard("attic", "alice", 1) && house.heard("attic", "bob", 1));
    assert!(!house.heard("attic", "carol", 1));
    assert!(house.heard("attic", "alice", 2), "who is there stays");
    assert_eq!((house.who("attic"), house.count("attic")), (vec!["alice", "bob"], 2));
    house.goodbye("attic", "bob", 1);
    assert!(house.heard("attic", "carol", 1));
    let told = ["alice came", "bob came", "bob left", "carol came"];
    assert_eq!(house.news(), told);
}
