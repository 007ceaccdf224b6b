//! A reader of one key that is never removed, against a writer that moves it about: in every interleaving the key is found, or
//! the reader says that it could not prove a miss.

use super::*;
use crate::engine::epoch::{Domain, Grace};
use crate::engine::slab::{Entry, Keeper};
use crate::sync::{Arc, AtomicU32, thread};
use loom::cell::UnsafeCell;

/// A key or a value, in a cell that fails the model if it is read before it is there, or when it is gone.
struct Watched(UnsafeCell<u8>);

#[expect(unsafe_code, reason = "a model of what is unsafe")]
// SAFETY: the model is there to prove it.
unsafe impl Sync for Watched {}

#[expect(unsafe_code, reason = "a model of what is unsafe")]
impl Watched {
    fn new(what: u8) -> Self {
        Self(UnsafeCell::new(what))
    }

    fn get(&self) -> u8 {
        // SAFETY: the model is there to prove it.
        self.0.with(|what| unsafe { *what })
    }

    fn destroy(self) {
        // SAFETY: the model is there to prove it.
        self.0.with_mut(|what| unsafe { *what = u8::MAX });
    }
}

/// What keys are looked up by.
struct Probe(u8);

impl Equivalent<Watched> for Probe {
    fn equivalent(&self, key: &Watched) -> bool {
        key.get() == self.0
    }
}

/// What reader and writer share.
struct World {
    index: Index,
    slab: Slab<Watched, Watched>,
    domain: &'static Domain,
}

/// What the writer alone has. Keys know their hashes.
struct Writer {
    world: Arc<World>,
    scribe: Scribe,
    keeper: Keeper,
    hash: fn(u8) -> u64,
}

/// Every key has the same home, and a tag of its own.
const fn crowded(key: u8) -> u64 {
    (42 << 24 | key as u64 + 1) << 17
}

/// Two homes in a table of two, and in one of four those that they are split into.
const fn spread(key: u8) -> u64 {
    (key as u64 % 2) << 47 | (key as u64 + 1) << 17
}

/// As `crowded`, but the last keys have another home.
const fn lopsided(key: u8) -> u64 {
    if key < 28 { crowded(key) } else { 1 << 47 | crowded(key) }
}

fn entry(key: u8, value: u8) -> Entry<Watched, Watched> {
    Entry { key: Watched::new(key), value: Watched::new(value) }
}

impl Writer {
    fn new(hash: fn(u8) -> u64, keys: std::ops::Range<u8>) -> Self {
        let (index, scribe) = Index::new((keys.len() > 20).then_some(26));
        let (slab, keeper) = Slab::new(32);
        let world = Arc::new(World { index, slab, domain: Domain::of_a_test() });
        let mut writer = Self { world, scribe, keeper, hash };
        keys.for_each(|key| writer.insert(key));
        writer
    }

    fn insert(&mut self, key: u8) {
        let Self { world, scribe, keeper, hash } = self;
        let code = Code::new(hash(key));
        let slot = world.slab.insert(keeper, entry(key, key), code);
        world.index.insert(scribe, code, slot, |slot| keeper.code(slot));
    }

    fn slot(&self, key: u8) -> Slot {
        let is =
            |slot| self.world.slab.entry(&self.keeper, slot).is_some_and(|e| e.key.get() == key);
        self.world.index.find_locked(&self.scribe, Code::new((self.hash)(key)), is).unwrap()
    }

    /// Out of the index; the entry stays where it is, as in limbo.
    fn remove(&mut self, key: u8) {
        let slot = self.slot(key);
        let Self { world, scribe, keeper, .. } = self;
        world.index.remove(scribe, keeper.code(slot), slot, |slot| keeper.code(slot));
    }

    fn replace(&mut self, key: u8, value: u8) {
        let from = self.slot(key);
        let code = self.keeper.code(from);
        let to = self.world.slab.insert(&mut self.keeper, entry(key, value), code);
        self.world.index.replace(&self.scribe, code, from, to);
    }

    /// Out of the index, into limbo, and out of that if nobody can see it.
    fn destroy(&mut self, key: u8) {
        let slot = self.slot(key);
        self.remove(key);
        let Self { world, keeper, .. } = self;
        let World { slab, domain, .. } = &**world;
        let departed = slab.depart(keeper, slot).unwrap();
        slab.retire(keeper, departed);
        keeper.seal(domain);
        domain.grace(Grace::Wait);
        slab.reclaim(keeper, domain, domain.safe(), 1, |_, Entry { key, value }| {
            key.destroy();
            value.destroy();
        });
    }

    fn homes(&self) -> usize {
        self.world.index.older(&self.scribe).homes.len()
    }
}

/// What a reader may say of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Value(u8),
    Nothing,
    Unproved,
}

fn find(world: &World, hash: fn(u8) -> u64, key: u8) -> Seen {
    let pin = world.domain.pin();
    match world.index.find(&world.slab, pin.guard(), Code::new(hash(key)), &Probe(key)) {
        Ok(Some((found, _))) => {
            assert_eq!(found.entry.key.get(), key);
            Seen::Value(found.entry.value.get())
        }
        Ok(None) => Seen::Nothing,
        Err(Unproved) => Seen::Unproved,
    }
}

/// As loom's `model`, with at most three switches to the other thread where this one could go on.
fn bounded(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 100_000;
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// Runs `write` beside a reader of `key`, and gives what that has seen to `check`.
fn against_a_reader(
    hash: fn(u8) -> u64,
    keys: std::ops::Range<u8>,
    key: u8,
    write: fn(&mut Writer),
    check: fn(Seen),
) {
    bounded(move || {
        let mut writer = Writer::new(hash, keys.clone());
        let world = Arc::clone(&writer.world);
        let reader = thread::spawn(move || check(find(&world, hash, key)));
        write(&mut writer);
        reader.join().unwrap();
    });
}

fn there(seen: Seen) {
    assert!(seen != Seen::Nothing, "a miss was proved of a key that was there throughout");
}

fn not_there(seen: Seen) {
    assert!(!matches!(seen, Seen::Value(_)), "{seen:?}");
}

#[test]
fn loom_a_key_is_found_while_the_hole_of_another_is_filled_with_it() {
    // 8 is alone in the overflow: it moves to the place of 3, and its bucket leaves the chain.
    against_a_reader(crowded, 0..9, 8, |writer| writer.remove(3), there);
}

#[test]
fn loom_a_key_is_found_while_the_bucket_before_it_leaves_and_comes_back() {
    // 3's place goes to 8, and 20 gets the bucket that 8 was in.
    let write = |writer: &mut Writer| {
        writer.remove(3);
        writer.insert(20);
    };
    against_a_reader(crowded, 0..9, 8, write, there);
}

#[test]
fn loom_a_key_is_found_while_it_moves_twice() {
    // 16 is alone in the second overflow: it moves to the place of 8 in the first, and from there to that of 0.
    let write = |writer: &mut Writer| {
        writer.remove(8);
        writer.remove(0);
    };
    against_a_reader(crowded, 0..17, 16, write, there);
}

#[test]
fn loom_a_key_is_found_while_it_is_replaced() {
    let write = |writer: &mut Writer| {
        writer.remove(3);
        writer.replace(8, 88);
    };
    against_a_reader(crowded, 0..9, 8, write, |seen| {
        assert!(seen != Seen::Nothing, "a miss was proved of a key that was there throughout");
        assert!(matches!(seen, Seen::Value(8 | 88) | Seen::Unproved), "{seen:?}");
    });
}

#[test]
fn loom_a_key_that_is_not_there_is_not_found() {
    let write = |writer: &mut Writer| {
        writer.remove(3);
        writer.insert(20);
    };
    against_a_reader(crowded, 0..9, 30, write, not_there);
}

#[test]
fn loom_what_a_reader_finds_is_not_destroyed() {
    // 9 comes to the place, and to the slot, in which 3 was; 3 has been looked at, or not.
    let write = |writer: &mut Writer| {
        writer.destroy(3);
        writer.insert(9);
    };
    against_a_reader(crowded, 0..5, 3, write, |seen| assert!(seen != Seen::Value(u8::MAX)));
    against_a_reader(crowded, 0..5, 9, write, |seen| assert!(seen != Seen::Value(u8::MAX)));
}

#[test]
fn loom_what_moved_is_not_destroyed_under_its_reader() {
    let write = |writer: &mut Writer| {
        writer.destroy(3);
        writer.destroy(8);
    };
    against_a_reader(crowded, 0..9, 8, write, |seen| assert!(seen != Seen::Value(u8::MAX)));
}

#[test]
fn loom_a_key_is_found_while_its_home_migrates() {
    // A table of one home grows at the eighth insertion, and is gone after the ninth.
    let write = |writer: &mut Writer| {
        assert_eq!(writer.homes(), 1);
        (7..9).for_each(|key| writer.insert(key));
        assert_eq!(writer.homes(), 2);
    };
    against_a_reader(spread, 0..7, 5, write, there);
}

#[test]
fn loom_a_key_is_found_while_it_migrates_and_is_replaced() {
    let write = |writer: &mut Writer| {
        writer.insert(7);
        writer.replace(5, 55);
        writer.remove(1);
    };
    against_a_reader(spread, 0..7, 5, write, there);
}

#[test]
fn loom_a_key_in_the_overflow_is_found_while_it_migrates_and_moves() {
    // A table of four homes grows at the 29th insertion; then 27 goes to the place of 2.
    let write = |writer: &mut Writer| {
        assert_eq!(writer.homes(), 4);
        writer.insert(28);
        writer.remove(28);
        writer.remove(2);
    };
    against_a_reader(crowded, 0..28, 27, write, there);
}

#[test]
fn loom_a_key_is_found_while_it_moves_and_then_migrates() {
    // A table of four homes grows at the 29th insertion, which moves its own home; 27 goes to the place of 2 in the older
    // table, and its home moves after that.
    let write = |writer: &mut Writer| {
        assert_eq!(writer.homes(), 4);
        writer.insert(28);
        writer.remove(2);
        writer.remove(3);
    };
    against_a_reader(lopsided, 0..28, 27, write, there);
}

#[test]
fn loom_a_new_key_is_found_by_who_knows_that_it_is_there() {
    bounded(|| {
        let mut writer = Writer::new(spread, 0..7);
        let (world, told) = (Arc::clone(&writer.world), Arc::new(AtomicU32::new(0)));
        let tell = Arc::clone(&told);
        let reader = thread::spawn(move || {
            if told.load(Ordering::Acquire) == 1 {
                there(find(&world, spread, 7));
            }
        });
        writer.insert(7);
        tell.store(1, Ordering::Release);
        reader.join().unwrap();
    });
}

/// That the models above can fail: a writer that moves an entry, and does not say so.
#[test]
#[should_panic(expected = "a miss was proved")]
fn loom_a_move_that_is_not_announced_hides_a_key() {
    let write = |writer: &mut Writer| {
        let (slot, code) = (writer.slot(8), Code::new(crowded(8)));
        let (table, home) = writer.world.index.where_is(&writer.scribe, code);
        let overflow = table.follow(home).unwrap();
        home.vacate(3);
        home.fill(3, code.tag(), slot, 0);
        overflow.vacate(0);
    };
    against_a_reader(crowded, 0..9, 8, write, there);
}
