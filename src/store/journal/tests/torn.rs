//! Ends that are torn, and bytes that are damaged: every one of them.

use super::memory::{Memory, Seeded};
use super::*;
use crate::store::journal::record::{HEAD, HEADER, Header, Kind, frame, seal};
use proptest::prelude::*;

/// A journal's directory with one segment, and where each record in it ends.
struct Written {
    memory: Memory,
    path: PathBuf,
    bytes: Vec<u8>,
    /// The end of each record that was appended, with what is not settled by then.
    states: Vec<(usize, BTreeMap<u64, Vec<u8>>)>,
    /// For each sync, what was certain from then on, and where it is written that it was.
    marks: Vec<(usize, usize)>,
}

/// Records, each of them settled at once or not, and synced or not.
fn written(fsync: Fsync, records: &[(usize, bool, bool)]) -> Written {
    let memory = Memory::default();
    let (journal, _) = open(&memory, &options(fsync, u64::MAX));
    let path = memory.segments().pop().expect("there is a segment");
    let len = || memory.read(&path).len();
    let mut records_now = BTreeMap::new();
    let mut states = vec![(len(), BTreeMap::new())];
    let mut marks = Vec::new();
    for (seq, (bytes, settle, sync)) in (0..).zip(records) {
        let before = len();
        journal.append(seq, &payload(seq, *bytes)).expect("it is taken");
        records_now.insert(seq, payload(seq, *bytes));
        let end = before + HEAD + bytes;
        states.push((end, records_now.clone()));
        if len() > end {
            marks.push((end, len()));
        }
        if *settle {
            journal.settle(&[seq]).expect("it is settled");
            records_now.remove(&seq);
            states.push((len(), records_now.clone()));
        }
        if *sync {
            let end = len();
            journal.sync().expect("it syncs");
            if len() > end {
                marks.push((end, len()));
            }
        }
    }
    let bytes = memory.read(&path);
    Written { memory, path, bytes, states, marks }
}

impl Written {
    /// What is not settled after so many bytes.
    fn state(&self, bytes: usize) -> &BTreeMap<u64, Vec<u8>> {
        let (_, state) = self.states.iter().rfind(|(end, _)| *end <= bytes).expect("there is one");
        state
    }

    /// Where the record begins, or the mark, that has this byte.
    fn start(&self, byte: usize) -> usize {
        let ends = self.states.iter().map(|(end, _)| *end);
        ends.chain(self.marks.iter().map(|(_, end)| *end))
            .filter(|end| *end <= byte)
            .max()
            .expect("there is one")
    }

    /// Opens the journal with other bytes in the segment, and once more if that went well.
    fn opened(&self, bytes: &[u8]) -> Result<Recovered, JournalError> {
        let memory = self.memory.copy();
        memory.write(&self.path, bytes);
        let options = options(Fsync::Never, u64::MAX);
        let before = memory.paths();
        match open_on(&memory, &options) {
            Ok((journal, recovered)) => {
                drop(journal);
                let (_, again) = open(&memory, &options);
                assert_eq!(again, recovered.records.iter().cloned().collect());
                Ok(recovered)
            }
            Err(error) => {
                assert_eq!(memory.paths(), before, "nothing was changed");
                assert_eq!(memory.read(&self.path), bytes, "nothing was changed");
                Err(error)
            }
        }
    }

    /// It is cut off there, and all before it is recovered.
    fn is_cut(&self, recovered: Recovered, at: usize, len: usize) {
        let torn = recovered.torn.clone().expect("it is torn");
        assert_eq!((&torn.file, torn.offset), (&self.path, at as u64));
        assert_eq!(torn.bytes, (len - at) as u64);
        assert_eq!(&by_number(recovered), self.state(at));
    }
}

fn records() -> impl Strategy<Value = Vec<(usize, bool, bool)>> {
    prop::collection::vec((0..30_usize, prop::bool::weighted(0.3), prop::bool::weighted(0.2)), 1..8)
}

fn fsyncs() -> impl Strategy<Value = Fsync> {
    prop_oneof![Just(Fsync::Always), Just(Fsync::Never)]
}

proptest! {
    #[test]
    fn an_end_that_is_cut_off_anywhere(records in records(), fsync in fsyncs()) {
        let written = written(fsync, &records);
        for len in 0..written.bytes.len() {
            let opened = written.opened(&written.bytes[..len]);
            if len < HEADER {
                let error = opened.expect_err("it has no header");
                let short = matches!(&error, JournalError::NotAJournal { .. } | JournalError::Damaged { offset: 0, .. });
                prop_assert!(short, "{}", error);
                continue;
            }
            let recovered = opened.expect("it opens");
            let at = written.start(len);
            if at == len {
                prop_assert_eq!(&recovered.torn, &None);
                prop_assert_eq!(&by_number(recovered), written.state(len));
            } else {
                written.is_cut(recovered, at, len);
            }
        }
    }

    /// Damage before a mark is told of. What nothing says was synced is taken for torn, with all that is behind it.
    #[test]
    fn a_byte_that_is_another(records in records(), fsync in fsyncs(), seed in any::<u64>()) {
        let written = written(fsync, &records);
        let mut seeded = Seeded(seed);
        for at in 0..written.bytes.len() {
            let mut bytes = written.bytes.clone();
            bytes[at] ^= 1 << seeded.below(8);
            let opened = written.opened(&bytes);
            if at < HEADER {
                prop_assert!(opened.is_err(), "a header with another byte {}", at);
                continue;
            }
            let start = written.start(at);
            let marked = written.marks.iter().any(|(end, mark)| *end > start && at < mark - HEAD);
            if marked {
                let damaged = matches!(&opened, Err(JournalError::Damaged { path, offset, .. })
                    if *path == written.path && *offset == start as u64);
                prop_assert!(damaged, "{:?} at {}", opened, start);
            } else {
                written.is_cut(opened.expect("it opens"), start, bytes.len());
            }
        }
    }

    #[test]
    fn bytes_that_nobody_wrote(
        records in records(),
        fsync in fsyncs(),
        garbage in prop_oneof![
            prop::collection::vec(any::<u8>(), 1..200),
            prop::collection::vec(0..4_u8, 1..200),
            (1..9_000_usize).prop_map(|len| vec![0; len]),
        ],
    ) {
        let written = written(fsync, &records);
        let bytes = [written.bytes.as_slice(), &garbage].concat();
        let recovered = written.opened(&bytes).expect("it opens");
        prop_assert_eq!(recovered.torn.as_ref().map(|torn| torn.records), Some(0));
        written.is_cut(recovered, written.bytes.len(), bytes.len());
    }

    /// Whatever is in a file of that name, nobody panics; and what is recovered was recorded.
    #[test]
    fn a_segment_of_anything(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0..4_u8], 0..400),
        header in any::<bool>(),
        salt in 0..3_u64,
    ) {
        let memory = Memory::default();
        let begin = Header { number: 0, oldest: 0, before: 0, next_seq: 0, salt }.write();
        let all = if header { [begin, bytes].concat() } else { bytes };
        memory.write(&path("journal-0000000000000000.log"), &all);
        let opened = open_on(&memory, &options(Fsync::Never, 100));
        prop_assert_eq!(opened.is_ok(), header);
        prop_assert!(opened.is_err() || opened.is_ok_and(|(_, recovered)| recovered.records.is_empty()));
    }

    /// The same of records that are whole, and say anything.
    #[test]
    fn records_of_anything(
        records in prop::collection::vec(
            (1..4_u8, prop_oneof![any::<u64>(), 0..9_u64], prop::collection::vec(any::<u8>(), 0..20)),
            0..20,
        ),
        last in any::<bool>(),
    ) {
        let memory = Memory::default();
        let mut bytes = Header { number: 0, oldest: 0, before: 0, next_seq: 5, salt: 9 }.write();
        for (kind, seq, payload) in records {
            let kind = [Kind::Record, Kind::Settled, Kind::Synced][usize::from(kind) - 1];
            let mut record = frame(kind, seq, &payload).expect("it is small");
            seal(&mut record, 9);
            bytes.extend(record);
        }
        memory.write(&path("journal-0000000000000000.log"), &bytes);
        if !last {
            let next = Header { number: 1, oldest: 0, before: bytes.len() as u64, next_seq: 5, salt: 9 }.write();
            memory.write(&path("journal-0000000000000001.log"), &next);
        }
        match open_on(&memory, &options(Fsync::Never, 100)) {
            Ok((_, recovered)) => drop(by_number_or_end(recovered)),
            Err(error) => prop_assert!(matches!(error, JournalError::Damaged { .. }), "{}", error),
        }
    }
}

/// The last number has none above it.
fn by_number_or_end(mut recovered: Recovered) -> BTreeMap<u64, Vec<u8>> {
    recovered.records.retain(|(seq, _)| *seq < u64::MAX);
    by_number(recovered)
}

#[test]
fn records_behind_a_hole_that_was_never_synced_are_counted() {
    let written = written(Fsync::Never, &[(10, false, false); 5]);
    let mut bytes = written.bytes.clone();
    let hole = HEADER + 31;
    bytes[hole..hole + 31].fill(0);
    let torn = written.opened(&bytes).expect("it opens").torn.expect("it is torn");
    let file = written.path.clone();
    assert_eq!(torn, Torn { file, offset: hole as u64, bytes: 4 * 31, records: 3 });
    let told = torn.to_string();
    assert!(told.contains("journal-0000000000000000.log was torn at byte 87: 124 bytes"), "{told}");
    assert!(told.contains("3 later records"), "{told}");
}

/// A value that has a whole journal in it, and is torn, is no reason to think that anything behind it was synced.
#[test]
fn a_payload_that_looks_like_a_journal() {
    let inner = written(Fsync::Always, &[(10, false, false); 5]).bytes;
    let memory = Memory::default();
    let (journal, _) = open(&memory, &options(Fsync::Never, u64::MAX));
    journal.append(0, b"first").expect("it is taken");
    journal.append(1, &inner).expect("it is taken");
    drop(journal);
    let file = memory.segments().pop().expect("there is a segment");
    let bytes = memory.read(&file);
    memory.write(&file, &bytes[..bytes.len() - 1]);
    let (_, recovered) = open_on(&memory, &options(Fsync::Never, 100)).expect("the journal opens");
    assert_eq!(recovered.torn.map(|torn| torn.records), Some(0));
    assert_eq!(recovered.records, [(0, b"first".to_vec())]);
}

/// A mark is found though it lies where two reads meet.
#[test]
fn a_mark_far_behind_the_damage() {
    for len in (65_400..65_560).chain(131_000..131_100) {
        let written = written(Fsync::Never, &[(3, false, false), (len, false, true)]);
        let mut bytes = written.bytes.clone();
        bytes[HEADER + HEAD] ^= 1;
        let error = written.opened(&bytes).expect_err("it is damaged");
        assert!(matches!(error, JournalError::Damaged { offset: 56, .. }), "{len}: {error}");
    }
}
