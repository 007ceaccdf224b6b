//! Each error, and what is left behind it.

use super::memory::Memory;
use super::*;
use crate::store::journal::record::{Header, VERSION};
use std::error::Error;
use std::io;

/// Three segments, with records of 20 bytes in them: two, two, and one.
fn three_segments() -> (Memory, JournalOptions) {
    let (memory, options) = (Memory::default(), options(Fsync::Never, 140));
    let (journal, _) = open(&memory, &options);
    for seq in 0..5 {
        journal.append(seq, &payload(seq, 20)).expect("it is taken");
    }
    assert_eq!(memory.segments().len(), 3);
    (memory, options)
}

/// The journal does not open, and nothing was changed.
fn refused(memory: &Memory, options: &JournalOptions) -> JournalError {
    let look = || memory.paths().into_iter().map(|path| memory.read(&path)).collect::<Vec<_>>();
    let before = look();
    let error = open_on(memory, options).map(drop).expect_err("it does not open");
    assert_eq!(look(), before);
    error
}

#[test]
fn of_another_version() {
    let (memory, options) = three_segments();
    for file in memory.segments() {
        let memory = memory.copy();
        let mut bytes = memory.read(&file);
        bytes[8] = 2;
        memory.write(&file, &bytes);
        let error = refused(&memory, &options);
        let named = matches!(&error, JournalError::Version { path, found: 2, known: VERSION } if *path == file);
        assert!(named, "{error:?}");
        assert!(error.to_string().contains("is of version 2, and 1 is"), "{error}");
    }
}

#[test]
fn no_journal() {
    let (memory, options) = three_segments();
    for (file, bytes) in memory.segments().into_iter().zip([
        &b"something else, and long enough for it"[..],
        b"",
        b"\xCA\xC4JRNL\n",
    ]) {
        let memory = memory.copy();
        memory.write(&file, bytes);
        let error = refused(&memory, &options);
        assert!(matches!(&error, JournalError::NotAJournal { path } if *path == file), "{error:?}");
    }
}

#[test]
fn a_header_that_does_not_fit() {
    let (memory, options) = three_segments();
    let header = Header { number: 1, oldest: 0, before: 0, next_seq: 0, salt: 0 };
    let damaged = header.write();
    let mut flipped = damaged.clone();
    flipped[30] ^= 1;
    for (bytes, said) in [
        (&damaged[..55], "cut short"),
        (&damaged[..10], "cut short"),
        (&flipped, "checksum"),
        (&Header { number: 2, ..header }.write(), "another segment"),
        (&Header { oldest: 2, ..header }.write(), "another segment"),
    ] {
        let memory = memory.copy();
        memory.write(&path("journal-0000000000000001.log"), bytes);
        let error = refused(&memory, &options);
        assert!(matches!(error, JournalError::Damaged { offset: 0, .. }), "{error:?}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

/// A segment that is not the last was synced whole: one that has lost any of its end was damaged since.
#[test]
fn damage_in_a_segment_that_is_not_the_last() {
    let (memory, options) = three_segments();
    for file in &memory.segments()[..2] {
        let whole = memory.read(file);
        assert_eq!(whole.len(), 56 + 2 * 41);
        for len in 56..138 {
            let memory = memory.copy();
            memory.write(file, &whole[..len]);
            let begin = if len < 97 { 56 } else { 97 };
            let error = refused(&memory, &options);
            let named = matches!(&error, JournalError::Damaged { path, offset, .. } if path == file && *offset == begin);
            assert!(named, "{len}: {error:?}");
        }
        for at in 56..138 {
            let memory = memory.copy();
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            memory.write(file, &bytes);
            let begin = if at < 97 { 56 } else { 97 };
            let error = refused(&memory, &options);
            let named = matches!(&error, JournalError::Damaged { path, offset, .. } if path == file && *offset == begin);
            assert!(named, "{at}: {error:?}");
        }
    }
}

#[test]
fn a_gap() {
    let (memory, options) = three_segments();
    let middle = path("journal-0000000000000001.log");
    memory.remove(&middle).expect("it is removed");
    let error = refused(&memory, &options);
    assert!(matches!(&error, JournalError::Missing { path } if *path == middle), "{error:?}");
}

#[test]
fn no_number_is_left() {
    let memory = Memory::default();
    let header = Header { number: u64::MAX, oldest: 0, before: 0, next_seq: 0, salt: 0 };
    memory.write(&path("journal-ffffffffffffffff.log"), &header.write());
    let error = refused(&memory, &options(Fsync::Never, 100));
    assert!(error.to_string().contains("no number is left"), "{error}");
}

#[test]
fn what_a_later_segment_stands_in_for_is_not_read() {
    let memory = Memory::default();
    let options = options(Fsync::Never, 1 << 20);
    let (journal, _) = open(&memory, &options);
    journal.append(0, b"kept").expect("it is taken");
    drop(journal);
    drop(open(&memory, &options));
    // As if the process had ended before it removed the first one, which is worse than damaged.
    memory.write(&path("journal-0000000000000000.log"), b"nonsense");
    memory.write(&path("journal-0000000000000007.new"), b"nonsense");
    for other in ["journal-7.log", "readme.txt"] {
        memory.write(&path(other), b"not ours");
    }
    let (_journal, records) = open(&memory, &options);
    assert_eq!(records, BTreeMap::from([(0, b"kept".to_vec())]));
    let left: Vec<_> = memory.paths();
    let expected = ["journal-0000000000000002.log", "journal-7.log", "readme.txt"];
    assert_eq!(left, expected.map(path));
}

#[test]
fn held_by_another() {
    let (memory, options) = three_segments();
    let (journal, _) = open(&memory, &options);
    let error = refused(&memory, &options);
    assert!(
        matches!(&error, JournalError::Locked { path: held } if *held == path("journal.lock")),
        "{error:?}"
    );
    drop(journal);
    open(&memory, &options);
}

#[test]
fn too_large() {
    let memory = Memory::default();
    let mut options = options(Fsync::Never, 1 << 20);
    assert_eq!(options.record_bytes, 1 << 30);
    options.record_bytes = 10;
    let (journal, _) = open(&memory, &options);
    let error = journal.append(0, &[0; 11]).expect_err("it is too large");
    assert!(matches!(error, JournalError::TooLarge { bytes: 11, limit: 10 }), "{error:?}");
    journal.append(1, &[0; 10]).expect("it is taken");
    drop(journal);
    assert_eq!(open(&memory, &options).1, BTreeMap::from([(1, vec![0; 10])]));
}

/// Some bytes of a record were written, and the disk is full: none of it is left, and the next one is taken.
#[test]
fn a_full_disk() {
    let memory = Memory::default();
    let options = options(Fsync::Always, 1 << 20);
    let (journal, _) = open(&memory, &options);
    journal.append(0, &payload(0, 50)).expect("it is taken");
    let before = journal.stats();
    for written in [0, 1, 30, 71] {
        memory.fail(memory.steps()..memory.steps() + 1, written);
        let error = journal.append(1, &payload(1, 50)).expect_err("the disk is full");
        assert!(matches!(&error, JournalError::Io { doing: "append to", .. }), "{error:?}");
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::StorageFull));
        assert_eq!(journal.stats(), before);
        assert_eq!(memory.read(&memory.segments()[0]).len() as u64, before.bytes);
    }
    journal.append(2, &payload(2, 50)).expect("there is room again");
    drop(journal);
    let (_, records) = open(&memory, &options);
    assert_eq!(records, BTreeMap::from([(0, payload(0, 50)), (2, payload(2, 50))]));
}

/// What was written of a record cannot be taken back: nothing is written behind it.
#[test]
fn a_write_that_cannot_be_undone() {
    let memory = Memory::default();
    let options = options(Fsync::Never, 1 << 20);
    let (journal, _) = open(&memory, &options);
    journal.append(0, b"whole").expect("it is taken");
    memory.fail(memory.steps()..memory.steps() + 2, 7);
    let is_broken = |result: Result<(), JournalError>| {
        let error = result.expect_err("it is broken");
        assert!(matches!(error, JournalError::Broken { .. }), "{error:?}");
        let source = error.source().expect("there is a reason").to_string();
        assert!(source.contains("storage"), "{source}");
    };
    is_broken(journal.append(1, b"half of it"));
    is_broken(journal.append(2, b"none of it"));
    is_broken(journal.settle(&[0]));
    is_broken(journal.sync());
    drop(journal);
    let (_, recovered) = open_on(&memory, &options).expect("the journal opens");
    let torn = recovered.torn.as_ref().map(|torn| torn.bytes);
    assert_eq!((torn, by_number(recovered)), (Some(7), BTreeMap::from([(0, b"whole".to_vec())])));
}

/// A system that could not sync forgets what it could not write: the next sync is no proof.
#[test]
fn a_sync_that_fails() {
    for fsync in [Fsync::Always, Fsync::Within(Duration::ZERO)] {
        let memory = Memory::default();
        let options = options(fsync, 1 << 20);
        let (journal, _) = open(&memory, &options);
        let always = fsync == Fsync::Always;
        let at = memory.steps() + 1;
        memory.fail(at..at + 1, 0);
        let appended = journal.append(0, b"there or not");
        assert_eq!(appended.is_err(), always);
        let error = journal.sync().expect_err("it is broken");
        assert!(matches!(error, JournalError::Broken { .. }), "{error:?}");
        assert!(journal.append(1, b"no more").is_err());
        assert_eq!(journal.due(), None);
        drop(journal);
        // The next process reads it, and writes it anew: then it is there for certain.
        let (journal, records) = open(&memory, &options);
        assert_eq!(records, BTreeMap::from([(0, b"there or not".to_vec())]));
        drop(journal);
        for seed in 0..20 {
            let memory = memory.copy();
            memory.lose_power(seed);
            assert_eq!(open(&memory, &options).1, records);
        }
    }
}

/// What could not be written is written with what is settled next.
#[test]
fn a_full_disk_does_not_forget_what_was_settled() {
    let memory = Memory::default();
    let options = options(Fsync::Never, 1 << 20);
    let (journal, _) = open(&memory, &options);
    for seq in 0..4 {
        journal.append(seq, b"x").expect("it is taken");
    }
    memory.fail(memory.steps()..memory.steps() + 1, 5);
    let error = journal.settle(&[0, 1]).expect_err("the disk is full");
    assert!(matches!(error, JournalError::Io { .. }), "{error:?}");
    assert_eq!(journal.stats().open, 2);
    // What comes again under a number is not what was settled.
    journal.append(1, b"y").expect("it is taken");
    journal.settle(&[2]).expect("they are settled");
    journal.assert_valid();
    drop(journal);
    let records = BTreeMap::from([(1, b"y".to_vec()), (3, b"x".to_vec())]);
    assert_eq!(open(&memory, &options).1, records);
}

/// The next segment cannot be made: the record is refused, and taken once it can.
#[test]
fn no_room_for_the_next_segment() {
    let (full, options) = three_segments();
    let (journal, records) = open(&full, &options);
    drop(journal);
    // Each step of making it: create, write, sync, rename.
    for step in 0..4 {
        let memory = full.copy();
        let (journal, _) = open(&memory, &options);
        memory.fail(memory.steps() + step..memory.steps() + step + 1, 0);
        let error = journal.append(9, &payload(9, 20)).expect_err("there is no room");
        assert!(matches!(error, JournalError::Io { .. }), "{step}: {error:?}");
        assert_eq!((memory.paths().len(), journal.stats().segments), (1, 1), "{step}");
        journal.append(9, &payload(9, 20)).expect("there is room again");
        assert_eq!((memory.segments().len(), journal.stats().segments), (2, 2), "{step}");
        drop(journal);
        let mut expected = records.clone();
        expected.insert(9, payload(9, 20));
        assert_eq!(open(&memory, &options).1, expected);
    }
}
