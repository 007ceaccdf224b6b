//! Random lives of a queue before a model of a store that fails.

use super::*;
use proptest::prelude::*;

/// What a life is made of.
#[derive(Clone, Debug)]
enum Act {
    Push {
        key: u8,
        delete: bool,
        bytes: u64,
    },
    Next,
    /// The oldest or the latest flight ends; each byte is what becomes of one change.
    Settle {
        latest: bool,
        whole: bool,
        fates: Vec<u8>,
    },
    Pass(u64),
    Flush,
    Retry,
    Take,
    Alone(u8, bool),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0_u8..12, any::<bool>(), 0_u64..40)
            .prop_map(|(key, delete, bytes)| Act::Push { key, delete, bytes }),
        4 => Just(Act::Next),
        4 => (any::<bool>(), any::<bool>(), prop::collection::vec(0_u8..6, 8))
            .prop_map(|(latest, whole, fates)| Act::Settle { latest, whole, fates }),
        2 => (1_u64..50).prop_map(Act::Pass),
        1 => Just(Act::Flush),
        1 => Just(Act::Retry),
        1 => Just(Act::Take),
        1 => (0_u8..12, any::<bool>()).prop_map(|(key, good)| Act::Alone(key, good)),
    ]
}

/// What the store would have, and what is promised.
#[derive(Default)]
struct Model {
    store: HashMap<u8, (u64, Option<u32>)>,
    /// The latest change of each key that was accepted.
    accepted: HashMap<u8, (u64, Option<u32>)>,
    /// What was told of as dead: the versions.
    dead: HashSet<u64>,
    flying: Vec<Batch<u8, u32>>,
    fates: Vec<(u8, u64, Arc<Fate<&'static str>>)>,
    flushes: Vec<(u64, u64)>,
    now: u64,
}

impl Model {
    fn write(&mut self, item: &Item<u8, u32>) {
        let value = item.value.as_deref().copied();
        let before = self.store.insert(item.key.key, (item.version, value));
        // A change that was given up may be tried again after others, never after a newer one.
        assert!(before.is_none_or(|(version, _)| version <= item.version), "w3, w4: out of order");
    }

    fn take(&mut self, batch: Batch<u8, u32>) {
        for item in &batch {
            let flies = |other: &Batch<u8, u32>| other.iter().any(|it| it.key.key == item.key.key);
            assert!(!self.flying.iter().any(flies), "w4: one flight a key");
        }
        let keys: HashSet<u8> = batch.iter().map(|item| item.key.key).collect();
        assert_eq!(keys.len(), batch.len());
        self.flying.push(batch);
    }

    fn settle(&mut self, queue: &mut Q, at: usize, whole: bool, fates: &[u8]) {
        let batch = self.flying.remove(at);
        let fate = |at: usize| fates[at % fates.len()];
        let outcome = if whole && fate(0) > 3 {
            Outcome::Whole(failed(fate(0) == 4))
        } else {
            Outcome::Each(
                batch
                    .iter()
                    .enumerate()
                    .map(|(at, item)| {
                        // What has failed may have been done.
                        if fate(at) < 5 {
                            self.write(item);
                        }
                        if fate(at) < 4 { Ok(()) } else { Err(failed(false)) }
                    })
                    .collect(),
            )
        };
        let settled = queue.settle(&batch, outcome, self.now, 0.5);
        for dead in &settled.dead {
            assert!(self.dead.insert(dead.version), "w12: told of once");
        }
        settled.tell();
    }

    fn run(&mut self, queue: &mut Q, act: Act) {
        match act {
            Act::Push { key: k, delete, bytes } => {
                let value = (!delete).then(|| u32::try_from(self.now).unwrap_or(0));
                let pushed = queue.push(key(k), value.map(Arc::new), bytes, 0, self.now);
                if let Ok(pushed) = pushed {
                    let version = queue.ledger.version;
                    self.accepted.insert(k, (version, value));
                    self.fates.push((k, version, pushed.fate));
                }
            }
            Act::Next => {
                if let Step::Fly(batch) = queue.next(self.now) {
                    self.take(batch);
                }
            }
            Act::Settle { latest, whole, fates } => {
                if let Some(last) = self.flying.len().checked_sub(1) {
                    self.settle(queue, if latest { last } else { 0 }, whole, &fates);
                }
            }
            Act::Pass(millis) => self.now += millis * MILLI,
            Act::Flush => {
                let upto = self.accepted.values().map(|it| it.0).max().unwrap_or(0);
                self.flushes.push((queue.begin_flush(), upto));
            }
            Act::Retry => {
                for dead in queue.list_dead() {
                    self.dead.remove(&dead.version);
                }
                queue.retry_dead(self.now);
            }
            Act::Take => drop(queue.take_dead(&mut Vec::new())),
            Act::Alone(k, good) => {
                let alone = queue.fly_alone(&Arc::new(key(k)), Some(Arc::new(1)), (1, 0), self.now);
                let Some((item, _)) = alone else { return };
                let outcome = if good { Ok(()) } else { Err(failed(false).error) };
                if good {
                    self.write(&item);
                    self.accepted.insert(k, (item.version, Some(1)));
                }
                queue.settle_alone(&item, outcome, self.now).tell();
            }
        }
    }
}

/// A life, after which the store does what it is asked for, and everything is settled.
fn live(rules: Rules, acts: Vec<Act>) {
    let (mut queue, mut model) = (Q::new(rules, 0), Model::default());
    for act in acts {
        model.run(&mut queue, act);
        queue.assert_valid();
        let (ops, bytes, _) = queue.held();
        assert!(bytes <= rules.most_bytes || ops <= 1, "w8: {bytes} bytes");
        assert!(ops <= rules.most, "w8: {ops} changes");
    }
    while queue.dirty() > 0 {
        model.now += 10_000 * MILLI;
        model.run(&mut queue, Act::Next);
        model.run(&mut queue, Act::Settle { latest: false, whole: false, fates: vec![0] });
        queue.assert_valid();
    }
    let context = Context::from_waker(Waker::noop());
    for (id, _) in &model.flushes {
        assert!(queue.poll_flush(*id, &context).is_ready(), "w14");
    }
    for (k, (version, value)) in &model.accepted {
        if !model.dead.contains(version) {
            assert_eq!(model.store.get(k).map(|it| it.1), Some(*value), "the last of {k} was lost");
        }
    }
    for (k, version, fate) in model.fates {
        let outcome = crate::store::Receipt::of(fate).outcome();
        let outcome = outcome.unwrap_or_else(|| panic!("w13: nobody told of {version} of {k}"));
        let stored = model.store.get(&k).map_or(0, |it| it.0);
        assert!(outcome.is_err() || stored >= version, "w13: {version} of {k} is not durable");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn lives_lose_nothing(
        acts in prop::collection::vec(act(), 1..120),
        coalesce: bool,
        keep_dead: bool,
        attempts in 1_u32..4,
    ) {
        let rules = Rules { most: 10, most_bytes: 150, coalesce, keep_dead, attempts, ..rules() };
        live(rules, acts);
    }
}
