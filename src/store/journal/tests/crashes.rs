//! What a crash of the process leaves, of the machine, and of a disk that fails.

use super::memory::{Memory, Seeded};
use super::*;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// A record of this many bytes.
    Append(usize),
    /// The number of one that is there already, perhaps.
    Again(usize, usize),
    /// So many that are there, beginning with this one.
    Settle(usize, usize),
    Sync,
    /// The process ends, and another one begins.
    Kill,
}

fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0..60_usize).prop_map(Op::Append),
        1 => (any::<usize>(), 0..60_usize).prop_map(|(which, len)| Op::Again(which, len)),
        3 => (any::<usize>(), 1..5_usize).prop_map(|(from, count)| Op::Settle(from, count)),
        1 => Just(Op::Sync),
        1 => Just(Op::Kill),
    ];
    prop::collection::vec(op, 1..most)
}

fn fsyncs() -> impl Strategy<Value = Fsync> {
    prop_oneof![
        Just(Fsync::Always),
        Just(Fsync::Within(Duration::from_secs(1))),
        Just(Fsync::Never)
    ]
}

/// What was told to a journal, one after the other.
#[derive(Clone, Debug)]
enum Event {
    Put(u64, Vec<u8>),
    Settled(u64),
}

fn replay(events: &[Event]) -> BTreeMap<u64, Vec<u8>> {
    let mut records = BTreeMap::new();
    for event in events {
        match event {
            Event::Put(seq, record) => drop(records.insert(*seq, record.clone())),
            Event::Settled(seq) => drop(records.remove(seq)),
        }
    }
    records
}

/// Those that are settled by an operation.
fn chosen(records: &BTreeMap<u64, Vec<u8>>, from: usize, count: usize) -> Vec<u64> {
    let from = from % records.len().max(1);
    records.keys().skip(from).take(count).copied().collect()
}

/// Numbers that come a little out of order, as those of several threads do.
fn number(drawn: u64) -> u64 {
    drawn ^ 1
}

/// What a journal has been told, and what it owes.
struct Told {
    events: Vec<Event>,
    /// So many of them are certain.
    certain: usize,
    drawn: u64,
    always: bool,
}

impl Told {
    fn new(fsync: Fsync) -> Self {
        Self { events: Vec::new(), certain: 0, drawn: 0, always: fsync == Fsync::Always }
    }

    /// Does what a journal must do without a failure.
    fn step(&mut self, journal: &Journal, op: Op) {
        let records = replay(&self.events);
        match op {
            Op::Append(len) => {
                let seq = number(self.drawn);
                self.drawn += 1;
                self.put(journal, seq, len);
            }
            Op::Again(which, len) => {
                if let Some(seq) = chosen(&records, which, 1).pop() {
                    self.put(journal, seq, len);
                }
            }
            Op::Settle(from, count) => {
                let seqs = chosen(&records, from, count);
                journal.settle(&seqs).expect("they are settled");
                self.events.extend(seqs.into_iter().map(Event::Settled));
            }
            Op::Sync => {
                journal.sync().expect("it syncs");
                self.certain = self.events.len();
            }
            Op::Kill => {}
        }
        journal.assert_valid();
    }

    fn put(&mut self, journal: &Journal, seq: u64, len: usize) {
        let record = payload(seq.wrapping_add(self.events.len() as u64), len);
        journal.append(seq, &record).expect("it is taken");
        self.events.push(Event::Put(seq, record));
        if self.always {
            self.certain = self.events.len();
        }
    }

    /// What came back is a beginning of what was told, with all that is certain; nothing but what was settled later is missing.
    fn check(&self, found: &BTreeMap<u64, Vec<u8>>) {
        let last = replay(&self.events);
        let fits = |end: usize| {
            let then = replay(&self.events[..end]);
            let appended = found.iter().all(|(seq, record)| then.get(seq) == Some(record));
            let settled = |seq| !last.contains_key(seq);
            appended && then.keys().all(|seq| found.contains_key(seq) || settled(seq))
        };
        let some = (self.certain..=self.events.len()).any(fits);
        assert!(some, "{found:?}\nis no beginning of {:?}\nfrom {} on", self.events, self.certain);
    }

    /// What is there now is all that there is, and certain.
    fn begin_anew(&mut self, found: BTreeMap<u64, Vec<u8>>) {
        self.events = found.into_iter().map(|(seq, record)| Event::Put(seq, record)).collect();
        self.certain = self.events.len();
    }
}

proptest! {
    /// Whatever was chosen, the end of a process loses nothing.
    #[test]
    fn a_process_that_ends_loses_nothing(ops in ops(80), fsync in fsyncs(), bytes in 40..400_u64) {
        let memory = Memory::default();
        let options = options(fsync, bytes);
        let mut told = Told::new(fsync);
        let (mut journal, _) = open(&memory, &options);
        for op in ops {
            told.step(&journal, op);
            if matches!(op, Op::Kill) {
                drop(journal);
                let found;
                (journal, found) = open(&memory, &options);
                prop_assert_eq!(&found, &replay(&told.events));
                prop_assert_eq!(memory.segments().len(), 1);
            }
            prop_assert_eq!(journal.stats().open, replay(&told.events).len() as u64);
            prop_assert_eq!(journal.stats().segments, memory.segments().len() as u64);
            let bytes: usize = memory.segments().iter().map(|path| memory.read(path).len()).sum();
            prop_assert_eq!(journal.stats().bytes, bytes as u64);
        }
    }

    /// A loss of power leaves all that was certain, and a beginning of the rest; and never a journal that does not open.
    #[test]
    fn a_loss_of_power_takes_no_more_than_was_said(
        rounds in prop::collection::vec((ops(30), any::<u64>()), 1..5),
        fsync in fsyncs(),
        bytes in 40..400_u64,
    ) {
        let memory = Memory::default();
        let options = options(fsync, bytes);
        let mut told = Told::new(fsync);
        let (mut journal, _) = open(&memory, &options);
        for (ops, seed) in rounds {
            for op in ops {
                told.step(&journal, op);
            }
            drop(journal);
            memory.lose_power(seed);
            let (opened, recovered) = open_on(&memory, &options).expect("the journal opens");
            let found = by_number(recovered);
            told.check(&found);
            told.begin_anew(found);
            journal = opened;
        }
    }

    /// Wherever the disk fails, and for how long: what was acknowledged is there.
    #[test]
    fn a_disk_that_fails_takes_nothing_that_was_taken(
        ops in ops(16),
        fsync in fsyncs(),
        bytes in 40..300_u64,
        written in 0..80_usize,
        seed in any::<u64>(),
    ) {
        let untouched = faulty(&ops, fsync, bytes, 0..0, written);
        for at in 0..untouched.memory.steps() {
            for many in [1, 2, u64::MAX] {
                let end = at.saturating_add(many);
                let ran = faulty(&ops, fsync, bytes, at..end, written);
                ran.check_after(|_| {}, true);
                ran.check_after(|memory| memory.lose_power(seed ^ at), fsync == Fsync::Always);
            }
        }
    }
}

/// What came of a run on a disk that fails.
struct Ran {
    memory: Memory,
    options: JournalOptions,
    /// Acknowledged, and nobody tried to settle it.
    owed: BTreeMap<u64, Vec<u8>>,
    /// All that anybody tried to append, with every record that a number had.
    tried: BTreeMap<u64, Vec<Vec<u8>>>,
}

impl Ran {
    /// After the crash, what is owed is there if it must be; and nothing that nobody appended.
    fn check_after(&self, crash: impl Fn(&Memory), all: bool) {
        let memory = self.memory.copy();
        crash(&memory);
        let (journal, recovered) = open_on(&memory, &self.options).expect("the journal opens");
        let found = by_number(recovered);
        for (seq, record) in &found {
            assert!(self.tried[seq].contains(record), "{seq} was never {record:?}");
        }
        if all {
            for (seq, record) in &self.owed {
                assert_eq!(found.get(seq), Some(record), "{seq} was acknowledged");
            }
        }
        journal.append(1 << 40, b"and it goes on").expect("it is taken");
    }
}

fn faulty(
    ops: &[Op],
    fsync: Fsync,
    bytes: u64,
    faults: std::ops::Range<u64>,
    written: usize,
) -> Ran {
    let memory = Memory::default();
    memory.fail(faults, written);
    let options = options(fsync, bytes);
    let mut ran = Ran { memory, options, owed: BTreeMap::new(), tried: BTreeMap::new() };
    let mut journal = reopened(&ran);
    let mut drawn = 0;
    for op in ops {
        match *op {
            Op::Append(len) | Op::Again(_, len) => {
                let seq = number(drawn);
                drawn += 1;
                ran.append(&journal, seq, len);
            }
            Op::Settle(from, count) => {
                let seqs = chosen(&ran.owed, from, count);
                // Settled or not: it may be there again, and need not.
                ran.owed.retain(|seq, _| !seqs.contains(seq));
                let _ = journal.settle(&seqs);
            }
            Op::Sync => drop(journal.sync()),
            Op::Kill => {
                drop(journal);
                journal = reopened(&ran);
            }
        }
        journal.assert_valid();
    }
    drop(journal);
    ran
}

impl Ran {
    fn append(&mut self, journal: &Journal, seq: u64, len: usize) {
        let record = payload(seq, len);
        self.tried.entry(seq).or_default().push(record.clone());
        let before = journal.stats();
        match journal.append(seq, &record) {
            Ok(()) => drop(self.owed.insert(seq, record)),
            Err(JournalError::Io { .. }) => assert_eq!(journal.stats().open, before.open),
            Err(error) => assert!(matches!(error, JournalError::Broken { .. }), "{error}"),
        }
    }
}

/// The journal, at the first attempt, or once the disk does not fail any more.
fn reopened(ran: &Ran) -> Journal {
    let attempt = open_on(&ran.memory, &ran.options).or_else(|error| {
        assert!(matches!(error, JournalError::Io { .. } | JournalError::Broken { .. }), "{error}");
        ran.memory.fail(0..0, 0);
        open_on(&ran.memory, &ran.options)
    });
    attempt.expect("the journal opens").0
}

/// A seed makes one history: no test depends on anything else.
#[test]
fn seeds_are_seeds() {
    let (mut one, mut other) = (Seeded(7), Seeded(7));
    assert!((0..100).all(|_| one.next() == other.next()));
    assert!((0..100).all(|_| one.below(3) < 3));
}
