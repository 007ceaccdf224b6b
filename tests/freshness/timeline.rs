//! L8: the whole timeline, against a model that says in one place what comes first.

use super::*;
use crate::rng::Rng;

/// In half seconds.
const LIFE: u64 = 20;

/// The rules of one cache, in half seconds.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// Of the time to live.
    ahead: Option<u64>,
    revalidate: u64,
    grace: u64,
    throttle: u64,
}

impl Rules {
    fn drawn(rng: &mut Rng) -> Self {
        let mut one_of = |choices: &[u64]| choices[rng.below(choices.len() as u64) as usize];
        Self {
            ahead: Some(one_of(&[0, 10, 15])).filter(|&ahead| ahead != 0),
            revalidate: one_of(&[0, 8, 25]),
            grace: one_of(&[0, 6, 24]),
            throttle: one_of(&[0, 2, 7]),
        }
    }

    fn freshness(self) -> Freshness {
        let freshness = Freshness::new(halves(LIFE))
            .stale_while_revalidate(halves(self.revalidate))
            .stale_if_error(halves(self.grace))
            .throttle(halves(self.throttle));
        let fraction = |ahead| freshness.refresh_ahead(ahead as f64 / LIFE as f64);
        self.ahead.map_or(freshness, fraction)
    }
}

fn halves(n: u64) -> Duration {
    Duration::from_millis(500) * u32::try_from(n).unwrap()
}

#[derive(Clone, Copy, Debug)]
struct Held {
    value: u64,
    born: u64,
    deadline: u64,
    /// Nobody refreshes it before this; `None` while somebody does.
    next: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Work {
    Load,
    Refresh,
}

/// What a read gives: value and origin, age, what is left, and if it is being refreshed; or the number of the failure.
type Answer = Result<(u64, Origin, u64, u64, bool), u64>;

/// One key of a cache, its source and its background.
struct Model {
    rules: Rules,
    now: u64,
    down: bool,
    held: Option<Held>,
    /// The task whose value will be kept.
    marked: Option<u64>,
    tasks: Vec<(u64, Work)>,
    begun: u64,
    /// How often the source was asked.
    asked: u64,
    /// As `counts` has them.
    counts: [u64; 7],
}

impl Model {
    fn new(rules: Rules) -> Self {
        let (held, marked, tasks) = (None, None, Vec::new());
        let (now, down, begun, asked) = (0, false, 0, 0);
        Self { rules, now, down, held, marked, tasks, begun, asked, counts: [0; 7] }
    }

    fn begin(&mut self, work: Work) -> bool {
        if self.marked.is_some() {
            return false;
        }
        self.begun += 1;
        self.marked = Some(self.begun);
        self.tasks.push((self.begun, work));
        true
    }

    /// A reader that finds the value due begins its refresh, or leaves that to the next.
    fn refresh_due(&mut self) -> bool {
        let begun = self.begin(Work::Refresh);
        let next = if begun { None } else { Some(self.now) };
        self.held = self.held.map(|held| Held { next, ..held });
        begun
    }

    /// By hand, due or not. Readers leave it alone meanwhile.
    fn refresh_by_hand(&mut self) -> bool {
        let begun = self.begin(Work::Refresh);
        if let Some(held) = self.held.as_mut().filter(|held| held.next.is_some()) {
            held.next = if begun { None } else { Some(0) };
        }
        begun
    }

    fn write(&mut self, value: u64) {
        let (born, deadline) = (self.now, self.now + LIFE);
        self.held = Some(Held { value, born, deadline, next: Some(0) });
    }

    /// Runs the background, and says how the load that `marked` named has ended.
    fn run(&mut self) -> Option<Result<u64, u64>> {
        let (marked, mut heard) = (self.marked, None);
        for (task, work) in std::mem::take(&mut self.tasks) {
            let answer = if self.down { Err(self.asked) } else { Ok(self.asked) };
            self.asked += 1;
            let kept = self.marked == Some(task);
            if kept {
                self.marked = None;
            }
            if let (true, Ok(value)) = (kept, answer) {
                self.write(value);
            }
            self.counts[if answer.is_ok() { 5 } else { 6 }] += 1;
            if work == Work::Refresh {
                self.counts[if answer.is_ok() { 3 } else { 4 }] += 1;
                let after = if answer.is_ok() { 0 } else { self.rules.throttle };
                if let Some(held) = &mut self.held {
                    if answer.is_err() || held.next.is_none() {
                        held.next = Some(self.now + after);
                    }
                }
            }
            if marked == Some(task) {
                heard = Some(answer);
            }
        }
        heard
    }

    fn read(&mut self) -> Answer {
        let now = self.now;
        let held = self
            .held
            .filter(|held| now < held.deadline + self.rules.revalidate.max(self.rules.grace));
        let Some(held) = held else {
            self.counts[1] += 1;
            return self.wait();
        };
        let may = held.next.is_some_and(|next| now >= next);
        let age = now - held.born;
        if now < held.deadline {
            self.counts[0] += 1;
            let due = may
                && self
                    .rules
                    .ahead
                    .is_some_and(|ahead| age * LIFE >= (held.deadline - held.born) * ahead);
            let refreshing = held.next.is_none() || (due && self.refresh_due());
            return Ok((held.value, Origin::Hit, age, held.deadline - now, refreshing));
        }
        self.counts[1] += 1;
        if now < held.deadline + self.rules.revalidate {
            self.counts[2] += 1;
            let refreshing = held.next.is_none() || (may && self.refresh_due());
            return Ok((held.value, Origin::Stale, age, 0, refreshing));
        }
        if held.next.is_some() && !may {
            self.counts[2] += 1;
            return Ok((held.value, Origin::Stale, age, 0, false));
        }
        let answer = self.wait();
        if answer.is_ok() {
            return answer;
        }
        self.counts[2] += 1;
        let refreshing = self.held.is_some_and(|held| held.next.is_none());
        self.held = Some(Held { next: Some(now + self.rules.throttle), ..held });
        Ok((held.value, Origin::Stale, age, 0, refreshing))
    }

    /// Loads, or joins who does.
    fn wait(&mut self) -> Answer {
        let origin = if self.begin(Work::Load) { Origin::Load } else { Origin::Shared };
        let heard = self.run().expect("a load is under way");
        heard.map(|value| (value, origin, 0, LIFE, false))
    }
}

/// The world's answer to a read: the background is run for it if it waits.
fn read(world: &World) -> Answer {
    let mut caller = Box::pin(world.cache.load_entry_async(&1));
    let mut answer = poll(&mut caller);
    if answer.is_pending() {
        world.hand.run();
        answer = poll(&mut caller);
    }
    let in_halves = |time: Duration| {
        assert_eq!(time.as_millis() % 500, 0);
        time.as_millis() as u64 / 500
    };
    match answer {
        Poll::Ready(Ok(it)) => {
            assert_eq!(it.is_stale(), it.origin == Origin::Stale);
            let age = in_halves(it.age.unwrap());
            Ok((it.value, it.origin, age, in_halves(it.left), it.refreshing))
        }
        Poll::Ready(Err(LoadError::Failed(why))) => {
            Err(why.strip_prefix("down at ").unwrap().parse().unwrap())
        }
        other => panic!("{other:?}"),
    }
}

/// One step of both, which must agree. Its name, for who reads a failure.
fn step(rng: &mut Rng, world: &World, model: &mut Model) -> String {
    let World { cache, clock, hand, source } = world;
    match rng.below(16) {
        0..=6 => {
            let (answer, right) = (read(world), model.read());
            assert_eq!(answer, right);
            format!("read: {right:?}")
        }
        7..=10 => {
            let by = 1 + rng.below(9);
            clock.advance(halves(by));
            model.now += by;
            format!("to {}", model.now)
        }
        11 => {
            model.down = !model.down;
            source.set_down(model.down);
            format!("down: {}", model.down)
        }
        12 => {
            hand.run();
            model.run();
            "run".to_owned()
        }
        13 => {
            let begun = model.refresh_by_hand();
            assert_eq!(cache.refresh(&1), begun);
            format!("refresh: {begun}")
        }
        14 => {
            let value = 1_000 + rng.below(1_000);
            cache.put(1, value);
            model.marked = None;
            model.write(value);
            format!("put {value}")
        }
        _ => {
            let live = model.held.filter(|held| model.now < held.deadline);
            if rng.below(2) == 0 {
                assert_eq!(cache.delete(&1), live.is_some());
                (model.marked, model.held) = (None, None);
                "delete".to_owned()
            } else {
                assert_eq!(cache.expire_in(&1, Duration::ZERO), live.is_some());
                if let Some(held) = live {
                    model.marked = None;
                    model.held = Some(Held { deadline: model.now, ..held });
                }
                "expire".to_owned()
            }
        }
    }
}

#[test]
fn l8_the_whole_timeline_is_the_model_s() {
    let steps = if cfg!(miri) { 20 } else { 60 };
    for seed in 0..600 {
        let mut rng = Rng::new(seed);
        let rules = Rules::drawn(&mut rng);
        let (world, mut model) = (world(rules.freshness()), Model::new(rules));
        let mut trace = Trace { seed, rules, steps: Vec::new() };
        for _ in 0..steps {
            let name = step(&mut rng, &world, &mut model);
            trace.steps.push(name);
            let seen = (world.source.loads(), world.hand.tasks());
            assert_eq!(seen, (model.asked, model.tasks.len()));
            assert_eq!(counts(&world.cache.stats()), model.counts);
        }
    }
}

/// Told if a step fails.
struct Trace {
    seed: u64,
    rules: Rules,
    steps: Vec<String>,
}

impl Drop for Trace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}, {:?}\n{}", self.seed, self.rules, self.steps.join("\n"));
        }
    }
}

/// The timeline of the documentation, moment by moment: the source is up, and the background runs at once.
#[test]
fn l8_the_moments_of_the_timeline() {
    let nano = Duration::from_nanos(1);
    let freshness = Freshness::new(TTL)
        .refresh_ahead(0.75)
        .stale_while_revalidate(seconds(5))
        .stale_if_error(seconds(20));
    // When, where the value comes from, and if its number is the old one.
    let moments = [
        (TTL * 3 / 4 - nano, Origin::Hit, 0),
        (TTL * 3 / 4, Origin::Hit, 1),
        (seconds(10) - nano, Origin::Hit, 1),
        (seconds(10), Origin::Stale, 1),
        (seconds(15) - nano, Origin::Stale, 1),
        (seconds(15), Origin::Load, 0),
        (seconds(30) - nano, Origin::Load, 0),
        (seconds(30), Origin::Load, 0),
    ];
    for (at, origin, tasks) in moments {
        for down in [false, true] {
            let world = world(freshness);
            world.cache.put(1, 100);
            world.clock.advance(at);
            world.source.set_down(down);
            let loaded = world.cache.load_entry(&1);
            let tasks_begun = world.hand.tasks();
            assert_eq!(tasks_begun, tasks, "{at:?}");
            match loaded {
                Ok(it) if origin == Origin::Load && down => {
                    assert_eq!((it.value, it.origin), (100, Origin::Stale), "{at:?}");
                    assert!(at < seconds(30));
                }
                Ok(it) => {
                    assert_eq!(it.origin, origin, "{at:?}");
                    assert_eq!(it.value, if origin == Origin::Load { 0 } else { 100 }, "{at:?}");
                }
                Err(error) => {
                    assert_eq!(Err::<(), _>(error), down_at(0));
                    assert!(down && at == seconds(30));
                }
            }
        }
    }
}

#[test]
fn t24_jitter_is_seeded_and_within_its_fraction() {
    let deadlines = |seed| {
        let cache = Cache::builder()
            .capacity(20_000)
            .freshness(Freshness::new(TTL).jitter(0.25).stale_if_error(seconds(1)))
            .seed(seed)
            .clock(ManualClock::new())
            .loader(|n: &u64| *n)
            .build()
            .unwrap();
        let all: Vec<Duration> =
            (0..10_000).map(|key| cache.load_entry(&key).unwrap().left).collect();
        all
    };
    let (first, other) = (deadlines(7), deadlines(8));
    assert_eq!(first, deadlines(7), "one seed, one row of deadlines");
    assert_ne!(first, other);
    let (least, most) = (TTL * 3 / 4, TTL);
    assert!(first.iter().all(|left| (least..=most).contains(left)));
    // Ten boxes of a thousand each, were they even.
    let mut boxes = [0; 10];
    first.iter().for_each(|left| boxes[((*left - least).as_millis() / 251) as usize] += 1);
    assert!(boxes.iter().all(|held| (850..1_150).contains(held)), "{boxes:?}");
}

/// The first moment, in tenths of a second, at which a read has the value refreshed whose load took so long.
fn refreshed_at(cost: Duration, beta: f64) -> Vec<u64> {
    let (clock, hand) = (ManualClock::new(), Hand::default());
    let own = clock.clone();
    let cache = Cache::builder()
        .capacity(1_000)
        .freshness(Freshness::new(TTL).refresh_early(beta))
        .clock(clock.clone())
        .loader(move |_: &u64| own.advance(cost))
        .spawn(hand.clone())
        .build()
        .unwrap();
    let first = |key| {
        cache.load(&key).unwrap();
        assert_eq!(cache.time_to_live_of(&key), Some(TTL), "from its publication on");
        (0..100).find(|_| {
            cache.load(&key).unwrap();
            let begun = hand.tasks() > 0;
            hand.lose();
            clock.advance(Duration::from_millis(100));
            begun
        })
    };
    let never = 100;
    (0..100).map(|key| first(key).unwrap_or(never)).collect()
}

#[test]
fn l8_what_is_slow_to_load_is_refreshed_early() {
    // Each thread draws the same numbers in every run: two threads see the same.
    let run = || std::thread::spawn(|| refreshed_at(seconds(1), 1.0));
    let moments = run().join().unwrap();
    assert_eq!(moments, run().join().unwrap(), "the draws of a thread");
    assert!(moments.iter().all(|&at| at < 100), "before the TTL: {moments:?}");
    let mean = |moments: &[u64]| moments.iter().sum::<u64>() as f64 / moments.len() as f64;
    let slower = refreshed_at(seconds(2), 1.0);
    let keener = refreshed_at(seconds(1), 2.0);
    assert!(mean(&slower) < mean(&moments) && mean(&keener) < mean(&moments));
    assert!(moments.iter().any(|&at| at != moments[0]), "by chance");
    assert!(refreshed_at(Duration::ZERO, 1.0).iter().all(|&at| at == 100), "what costs nothing");
}

/// What was put has cost no load.
#[test]
fn l8_what_was_put_is_not_refreshed_early() {
    let World { cache, clock, hand, .. } = world(Freshness::new(TTL).refresh_early(1_000.0));
    cache.put(1, 100);
    clock.advance(TTL - Duration::from_nanos(1));
    assert_eq!((cache.load(&1), hand.tasks()), (Ok(100), 0));
}
