//! The journal against oracles, on a disk that fails and loses power, and on a real one.

mod crashes;
mod errors;
mod memory;
mod real;
mod sharing;
mod torn;

use super::files::Files;
use super::writer::Recovered;
use super::{Fsync, Journal, JournalError, JournalOptions, JournalStats, Torn};
use crate::sync::Arc;
use crate::time::ManualClock;
use memory::Memory;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DIR: &str = "queue";

fn options(fsync: Fsync, segment_bytes: u64) -> JournalOptions {
    JournalOptions::new(DIR).fsync(fsync).segment_bytes(segment_bytes)
}

fn open_on(
    memory: &Memory,
    options: &JournalOptions,
) -> Result<(Journal, Recovered), JournalError> {
    let files: Arc<dyn Files> = Arc::new(memory.clone());
    let opened = Journal::open_in(options, Arc::new(ManualClock::new()), files)?;
    opened.0.assert_valid();
    Ok(opened)
}

/// Opens what must open, and what must be whole.
fn open(memory: &Memory, options: &JournalOptions) -> (Journal, BTreeMap<u64, Vec<u8>>) {
    let (journal, recovered) = open_on(memory, options).expect("the journal opens");
    assert_eq!(recovered.torn, None);
    (journal, by_number(recovered))
}

fn by_number(recovered: Recovered) -> BTreeMap<u64, Vec<u8>> {
    let in_order = recovered.records.is_sorted_by_key(|(seq, _)| *seq);
    assert!(in_order, "{:?}", recovered.records);
    assert!(recovered.records.last().is_none_or(|(seq, _)| *seq < recovered.next_seq));
    recovered.records.into_iter().collect()
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// What a record has in it: of this length, and unlike others.
fn payload(seq: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (seq as u8).wrapping_mul(31) ^ at as u8).collect()
}

#[test]
fn the_trace_above() {
    let memory = Memory::default();
    let options = options(Fsync::Never, 128);
    let (journal, _) = open(&memory, &options);
    let append = |seq| journal.append(seq, &payload(seq, 10)).expect("it is taken");
    let settle = |seq| journal.settle(&[seq]).expect("it is settled");
    let segments = || {
        let JournalStats { segments, .. } = journal.stats();
        segments
    };
    append(0);
    append(1);
    assert_eq!(segments(), 1);
    append(2);
    assert_eq!(segments(), 2);
    settle(0);
    settle(2);
    assert_eq!(segments(), 2);
    append(3);
    assert_eq!((segments(), memory.segments().len()), (3, 3));
    settle(1);
    assert_eq!((segments(), memory.segments().len()), (1, 1));
    assert_eq!(journal.stats().bytes, 56 + 31 + 21);
    journal.assert_valid();
    drop(journal);
    let (journal, records) = open(&memory, &options);
    assert_eq!(records, BTreeMap::from([(3, payload(3, 10))]));
    // Its header, the record, and the mark that says that it was synced.
    assert_eq!(journal.stats().bytes, 56 + 31 + 21);
    assert_eq!(memory.segments(), [path("journal-0000000000000003.log")]);
}

#[test]
fn a_sync_is_due_a_while_after_the_first_record_that_waits() {
    let (memory, clock) = (Memory::default(), ManualClock::new());
    let within = options(Fsync::Within(Duration::from_secs(5)), 1 << 20);
    let files: Arc<dyn Files> = Arc::new(memory.clone());
    let opened = Journal::open_in(&within, Arc::new(clock.clone()), files);
    let (journal, _) = opened.expect("the journal opens");
    assert_eq!(journal.due(), None);
    journal.append(0, b"a").expect("it is taken");
    clock.advance(Duration::from_secs(2));
    journal.append(1, b"b").expect("it is taken");
    assert_eq!(journal.due(), Some(Duration::from_secs(3)));
    clock.advance(Duration::from_secs(4));
    assert_eq!(journal.due(), Some(Duration::ZERO));
    let syncs = journal.stats().syncs;
    journal.sync().expect("it syncs");
    journal.sync().expect("there is nothing to sync");
    assert_eq!((journal.due(), journal.stats().syncs), (None, syncs + 1));
    // Nobody need wait for what is settled, but a sync takes it along.
    journal.settle(&[0]).expect("it is settled");
    assert_eq!(journal.due(), None);
    journal.sync().expect("it syncs");
    assert_eq!(journal.stats().syncs, syncs + 2);
    drop(journal);
    for fsync in [Fsync::Always, Fsync::Never] {
        let (journal, _) = open(&memory, &options(fsync, 1 << 20));
        journal.append(2, b"c").expect("it is taken");
        assert_eq!(journal.due(), None, "{fsync:?}");
    }
}

#[test]
fn numbers_outlive_what_they_stood_for() {
    let memory = Memory::default();
    let options = options(Fsync::Never, 100);
    let (journal, _) = open(&memory, &options);
    for seq in 0..20 {
        journal.append(seq, &payload(seq, 20)).expect("it is taken");
    }
    journal.settle(&Vec::from_iter(0..20)).expect("they are settled");
    assert_eq!((journal.stats().open, journal.stats().segments), (0, 1));
    drop(journal);
    for _ in 0..3 {
        let (_, recovered) = open_on(&memory, &options).expect("the journal opens");
        assert_eq!((recovered.records, recovered.next_seq), (Vec::new(), 20));
    }
}

#[test]
fn many_are_settled_at_once() {
    let memory = Memory::default();
    let options = options(Fsync::Never, 1 << 30);
    let (journal, _) = open(&memory, &options);
    for seq in 0..20_001 {
        journal.append(seq, &[]).expect("it is taken");
    }
    let before = journal.stats().bytes;
    // All but one, some twice, and some that are not there.
    let seqs: Vec<_> = (1..20_001).chain(5..50).chain(90_000..90_010).collect();
    journal.settle(&seqs).expect("they are settled");
    assert_eq!(journal.stats().open, 1);
    // Three records settle 20,000, each with one number in its head.
    assert_eq!(journal.stats().bytes - before, 3 * 21 + (20_000 - 3) * 8);
    drop(journal);
    assert_eq!(open(&memory, &options).1, BTreeMap::from([(0, Vec::new())]));
}

#[test]
fn what_comes_again_stands_for_itself() {
    let memory = Memory::default();
    let options = options(Fsync::Never, 100);
    let (journal, _) = open(&memory, &options);
    for round in 0..10 {
        journal.append(7, &payload(round, 30)).expect("it is taken");
        journal.assert_valid();
    }
    assert_eq!(journal.stats().open, 1);
    // A loss of power would take the latest, and must leave the one before it.
    journal.settle(&[]).expect("nothing is settled");
    assert_eq!(journal.stats().segments, 10);
    journal.sync().expect("it syncs");
    journal.settle(&[]).expect("nothing is settled");
    assert_eq!(journal.stats().segments, 1);
    drop(journal);
    let (journal, records) = open(&memory, &options);
    assert_eq!(records, BTreeMap::from([(7, payload(9, 30))]));
    journal.settle(&[7]).expect("it is settled");
    journal.append(7, b"again").expect("it is taken");
    drop(journal);
    assert_eq!(open(&memory, &options).1, BTreeMap::from([(7, b"again".to_vec())]));
}
