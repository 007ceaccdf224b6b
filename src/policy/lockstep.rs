//! Two ways to hold a policy to its word, step by step: beside a slow and obvious oracle, and beside the trace in its own
//! documentation.

use super::laws::{CALM, Segment};
use super::{EvictionPolicy, Hears, HitCounters, Meta, Slot, Victim};
use crate::observe::Cause;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// One entry of the oracle: everything that ever mattered about it, written out.
pub(super) struct Row {
    pub(super) slot: Slot,
    pub(super) inserted: u64,
    pub(super) used: u64,
    pub(super) uses: u64,
}

/// How many operations a lockstep does. Mutation tests run the suite hundreds of times, and ask for fewer.
pub(super) fn operations() -> u64 {
    std::env::var("CACHETTE_TEST_OPS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000)
}

/// Draws from `0..n`, always the same ones.
pub(super) fn random() -> impl FnMut(usize) -> usize {
    let mut rng = TestRng::from_seed(RngAlgorithm::XorShift, &[7; 16]);
    move |n| rng.next_u32() as usize % n
}

/// Runs `policy` beside a plain table of entries, ordered by `rank`, lowest first, and compares the victims after every
/// operation and the whole order now and then. At most 200 entries are resident at once.
pub(super) fn lockstep<P: EvictionPolicy>(policy: P, rank: impl Fn(&Row) -> (u64, u64)) -> P {
    let mut random = random();
    let mut segment = Segment::new(policy);
    let mut table: Vec<Row> = Vec::new();
    let mut capacity = 100;
    for now in 1..=operations() {
        // The least of three picks: some entries are used far more often than others.
        let pick = (0..3).map(|_| random(table.len().max(1))).min().unwrap_or(0);
        match random(100) {
            0..25 if table.len() < capacity => {
                table.push(Row { slot: segment.insert(&CALM), inserted: now, used: now, uses: 1 });
            }
            0..35 => {
                if let Victim::Entry(slot) = segment.victim(Some(&CALM)) {
                    segment.remove(slot, Cause::Evicted);
                    table.retain(|row| row.slot != slot);
                }
            }
            35..38 if !table.is_empty() => {
                segment.remove(table[pick].slot, Cause::Deleted);
                table.remove(pick);
            }
            38..41 if !table.is_empty() => {
                table[pick].slot = segment.relocate(table[pick].slot, &CALM);
            }
            41..50 if !table.is_empty() => {
                // A new value in the same slot, or in another.
                if random(2) == 0 {
                    table[pick].slot = segment.relocate(table[pick].slot, &CALM);
                }
                segment.update(table[pick].slot, &CALM);
                table[pick].used = now;
                table[pick].uses += 1;
            }
            _ if !table.is_empty() => {
                segment.hit(table[pick].slot);
                table[pick].used = now;
                table[pick].uses += 1;
            }
            _ => {}
        }
        let expected = table
            .iter()
            .min_by_key(|row| rank(row))
            .map_or(Victim::None, |row| Victim::Entry(row.slot));
        assert_eq!(segment.victim(None), expected, "operation {now}");
        if now % 1_000 == 0 {
            let mut order: Vec<_> = table.iter().map(|row| (rank(row), row.slot)).collect();
            order.sort_unstable();
            assert!(
                segment.policy.coldest().eq(order.iter().map(|&(_, slot)| slot)),
                "operation {now}"
            );
            segment.check(|_| true);
            capacity = random(200) + 1;
        }
    }
    segment.policy
}

/// A cache of entries of weight 1 as a paper's pseudo-code has it, slow and obvious. It knows entries by their keys.
pub(super) trait Paper {
    /// A request for a key that is resident.
    fn hit(&mut self, key: u64);
    /// A request for a key that is not: it is now. Says who left for it, in that order.
    fn miss(&mut self, key: u64) -> Vec<u64>;
    /// A resident key is deleted.
    fn delete(&mut self, key: u64);
    /// The residents, those who leave first in front.
    fn order(&self) -> Vec<u64>;
}

/// Sends the same requests to a policy and to its paper, at several capacities, and compares who leaves for each, and now and
/// then the whole order. Between the requests are deletions, new values, and entries that move.
pub(super) fn beside<P: EvictionPolicy, Q: Paper>(
    policy: impl Fn() -> P,
    paper: impl Fn(usize) -> Q,
) {
    let mut random = random();
    for capacity in [1, 2, 3, 10, 25, 60, 100] {
        let mut segment = Segment::new(policy());
        segment.policy.resize(capacity as u64);
        beside_at(capacity, &mut segment, &mut paper(capacity), &mut random);
    }
}

fn beside_at<P: EvictionPolicy>(
    capacity: usize,
    segment: &mut Segment<P>,
    paper: &mut impl Paper,
    random: &mut impl FnMut(usize) -> usize,
) {
    let in_order = segment.policy.hears() == Hears::InOrder;
    let mut slots: HashMap<u64, Slot> = HashMap::new();
    // Keys are a few capacities; some are asked for far more often, and now and then they are asked for in turn.
    let (mut keys, mut in_turn, mut turn) = (2 * capacity, false, 0);
    for now in 1..=operations() / 7 {
        turn = (turn + 1) % keys;
        let pick = (0..3).map(|_| random(keys)).min().unwrap_or(0);
        let key = if in_turn { turn } else { pick } as u64;
        let meta = Meta::new(key, 1, u64::MAX);
        match (random(100), slots.get(&key).copied()) {
            (0..2, Some(slot)) => {
                segment.remove(slot, Cause::Deleted);
                slots.remove(&key);
                paper.delete(key);
            }
            (2..5, Some(slot)) => {
                slots.insert(key, segment.relocate(slot, &meta));
            }
            (5..8, Some(slot)) => {
                segment.update(slot, &meta);
                if in_order {
                    paper.hit(key);
                }
            }
            (_, Some(slot)) => {
                segment.hit(slot);
                paper.hit(key);
            }
            (_, None) => {
                let leaving = paper.miss(key);
                for (asked, gone) in leaving.iter().enumerate() {
                    // One makes room for a newcomer. More leave only if the policy says so.
                    assert_eq!(segment.policy.is_overfull(), asked > 0, "{now}: {gone}");
                    let slot = slots.remove(gone).unwrap();
                    assert_eq!(segment.victim(Some(&meta)), Victim::Entry(slot), "{now}: {gone}");
                    assert_eq!(segment.victim(Some(&meta)), Victim::Entry(slot), "asked again");
                    segment.remove(slot, Cause::Evicted);
                }
                assert!(
                    leaving.is_empty() || !segment.policy.is_overfull(),
                    "{now}: nobody is left"
                );
                slots.insert(key, segment.insert(&meta));
            }
        }
        if now % 1_000 == 0 {
            let order: Vec<_> = paper.order().iter().map(|key| slots[key]).collect();
            assert_eq!(segment.policy.coldest().collect::<Vec<_>>(), order, "operation {now}");
            segment.check(|_| true);
            (keys, in_turn) = (capacity + random(3 * capacity) + 1, random(3) == 0);
        }
    }
}

/// Slots as letters: A is slot 0.
pub(super) fn letters(slots: impl Iterator<Item = Slot>) -> String {
    let letter = |slot: Slot| char::from(b'A' + u8::try_from(slot.index()).unwrap()).to_string();
    slots.map(letter).collect::<Vec<_>>().join(" ")
}

/// Queues and then ghosts, each from oldest to newest, with a stroke between.
pub(super) fn pictured(
    queues: impl IntoIterator<Item = impl DoubleEndedIterator<Item = Slot>>,
    ghosts: &[Vec<u64>],
) -> String {
    let entries = queues.into_iter().map(|queue| letters(queue.rev()));
    let ghosts = ghosts.iter().map(|hashes| {
        let slots = hashes.iter().map(|&hash| Slot::new(usize::try_from(hash).unwrap()));
        letters(slots).to_lowercase()
    });
    let parts = entries.chain(ghosts).collect::<Vec<_>>().join(" / ");
    parts.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The facts of an entry that a trace knows by a letter: its hash is its slot's number.
fn letter(slot: Slot) -> Meta {
    Meta::new(slot.index() as u64, 1, u64::MAX)
}

/// Replays the trace in a policy's own documentation: each row is a call, a bar, what `show` must then show, and perhaps an
/// arrow with a remark. A call names slots by letters, and may end in a deadline: `insert A at 9`; `wait 9` is seconds. So the page that is read is
/// the page that is tested.
pub(super) fn replay<P: EvictionPolicy>(source: &str, policy: P, show: impl Fn(&P) -> String) {
    replay_marked(source, policy, |policy, _| show(policy));
}

/// The same for a policy that shows what its hit counters say.
pub(super) fn replay_marked<P: EvictionPolicy>(
    source: &str,
    policy: P,
    show: impl Fn(&P, &HitCounters<'_>) -> String,
) {
    let mut segment = Segment::new(policy);
    let trace = source.lines().skip_while(|line| !line.starts_with("//! **Trace.**"));
    let block = trace
        .skip_while(|line| *line != "//! ```text")
        .skip(1)
        .take_while(|line| *line != "//! ```");
    let mut rows = 0;
    for (call, rest) in block.filter_map(|line| line.trim_start_matches("//!").split_once('│')) {
        let (call, deadline) = call.split_once(" at ").unwrap_or((call, ""));
        let deadline = deadline.trim().parse().unwrap_or(CALM.deadline);
        let meta = |slot| Meta { deadline, ..letter(slot) };
        let (verb, letters) = call.trim().split_once(' ').unwrap();
        if letters == "none" {
            assert_eq!(segment.victim(None), Victim::None, "{call}");
            continue;
        }
        if verb == "wait" {
            segment.hits.advance(Duration::from_secs(letters.parse().unwrap()));
        }
        let mut named = letters
            .split_whitespace()
            .map(|it| Slot::new(usize::from(it.as_bytes()[0].wrapping_sub(b'A'))));
        let slot = named.next().unwrap();
        match verb {
            "capacity" => segment.policy.resize(letters.trim().parse().unwrap()),
            "insert" => {
                segment.hits.publish(slot, meta(slot).hash);
                segment.policy.insert(slot, &meta(slot));
            }
            "update" => {
                if let Hears::Stamp(_) = segment.policy.hears() {
                    segment.hits.record(slot);
                }
                segment.policy.update(slot, &meta(slot));
            }
            "reschedule" => segment.policy.reschedule(slot, &meta(slot)),
            "hit" => segment.hit(slot),
            "victim" => {
                let newcomer = named.next().map(letter);
                assert_eq!(segment.victim(newcomer.as_ref()), Victim::Entry(slot), "{call}");
            }
            "evict" => {
                segment.policy.remove(slot, Cause::Evicted);
                segment.hits.set(slot, 0);
            }
            "relocate" => {
                let to = named.next().unwrap();
                segment.hits.relocate(slot, to);
                segment.policy.relocate(slot, to, &meta(slot));
            }
            "remove" => {
                segment.policy.remove(slot, Cause::Deleted);
                segment.hits.set(slot, 0);
            }
            "wait" => {}
            _ => panic!("no such call: {call}"),
        }
        segment.policy.assert_valid();
        let written =
            rest.split('◄').next().unwrap_or_default().split_whitespace().collect::<Vec<_>>();
        assert_eq!(show(&segment.policy, &segment.hits), written.join(" "), "after {call}");
        rows += 1;
    }
    assert!(rows >= 5, "the trace is there");
}

/// What `assert_valid` says of a policy that holds A, B and C, with A used once more, and was then damaged.
pub(super) fn complaint<P: EvictionPolicy>(mut policy: P, damage: impl FnOnce(&mut P)) -> String {
    let slots = [0, 1, 2].map(Slot::new);
    slots.iter().for_each(|&slot| policy.insert(slot, &CALM));
    policy.hit(slots[0]);
    policy.assert_valid();
    damage(&mut policy);
    let checked = catch_unwind(AssertUnwindSafe(|| policy.assert_valid()));
    let panic = checked.expect_err("the damage is seen");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .expect("a panic with a text")
}
