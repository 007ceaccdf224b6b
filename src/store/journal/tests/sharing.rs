//! Threads that append at once.

use super::memory::Memory;
use super::*;
use crate::store::journal::record::{HEAD, HEADER};
use crate::sync::{Barrier, mpsc, thread};

/// While one syncs, the others append; one of them then syncs for all.
#[test]
fn those_who_wait_share_a_sync() {
    let memory = Memory::default();
    let options = options(Fsync::Always, 1 << 20);
    let (journal, _) = open(&memory, &options);
    let (appended, gate) = memory.gated();
    thread::scope(|scope| {
        for seq in 0..8 {
            let journal = &journal;
            scope.spawn(move || journal.append(seq, &payload(seq, 10)).expect("it is taken"));
        }
        // The first sync cannot end, so all eight get there.
        for _ in 0..8 {
            appended.recv().expect("they append");
        }
        gate.send(()).expect("it is waited for");
        gate.send(()).expect("it is waited for");
    });
    drop(gate);
    assert_eq!(journal.stats().syncs, 2);
    drop(journal);
    let expected: BTreeMap<_, _> = (0..8).map(|seq| (seq, payload(seq, 10))).collect();
    assert_eq!(open(&memory, &options).1, expected);
}

/// All who wait for a sync that fails hear of it, and whoever comes later.
#[test]
fn those_who_wait_share_a_failure() {
    let memory = Memory::default();
    let options = options(Fsync::Always, 1 << 20);
    let (journal, _) = open(&memory, &options);
    let (appended, gate) = memory.gated();
    let at = memory.steps();
    // Of four appended and one synced, the last.
    memory.fail(at + 4..at + 5, 0);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|seq| {
                let journal = &journal;
                scope.spawn(move || journal.append(seq, b"x"))
            })
            .collect();
        for _ in 0..4 {
            appended.recv().expect("they append");
        }
        gate.send(()).expect("it is waited for");
        for thread in threads {
            let error = thread.join().expect("no panic").expect_err("it is broken");
            assert!(matches!(error, JournalError::Broken { .. }), "{error:?}");
        }
    });
    assert_eq!(journal.stats().syncs, 1);
}

/// Who fills a segment while another syncs it waits for that one, and takes nothing from it.
#[test]
fn many_threads_and_small_segments() {
    let memory = Memory::default();
    for fsync in [Fsync::Always, Fsync::Within(Duration::ZERO), Fsync::Never] {
        let options = options(fsync, 200);
        let (journal, before) = open(&memory, &options);
        journal.settle(&Vec::from_iter(before.into_keys())).expect("they are settled");
        thread::scope(|scope| {
            for thread in 0..4 {
                let journal = &journal;
                scope.spawn(move || {
                    for seq in (0..200).map(|at| at * 4 + thread) {
                        journal.append(seq, &payload(seq, 17)).expect("it is taken");
                        if seq % 3 == 0 {
                            journal.settle(&[seq]).expect("it is settled");
                        }
                        if seq % 7 == 0 {
                            journal.sync().expect("it syncs");
                        }
                    }
                });
            }
        });
        journal.assert_valid();
        assert_eq!(journal.stats().segments, memory.segments().len() as u64);
        drop(journal);
        let expected: BTreeMap<_, _> =
            (0..800).filter(|seq| seq % 3 > 0).map(|seq| (seq, payload(seq, 17))).collect();
        assert_eq!(open(&memory, &options).1, expected, "{fsync:?}");
    }
}

/// What is appended while another syncs is not synced by that, and no mark says so.
#[test]
fn a_mark_says_no_more_than_was_synced() {
    let memory = Memory::default();
    let options = options(Fsync::Within(Duration::ZERO), 1 << 20);
    let (journal, _) = open(&memory, &options);
    journal.append(0, b"before").expect("it is taken");
    let (appended, gate) = memory.gated();
    let (synced, end) = mpsc::channel();
    thread::scope(|scope| {
        let journal = &journal;
        scope.spawn(move || {
            journal.sync().expect("it syncs");
            synced.send(()).expect("it is waited for");
        });
        memory.wait_for_a_sync();
        journal.append(1, b"meanwhile").expect("it is taken");
        appended.recv().expect("it was written");
        gate.send(()).expect("it is waited for");
        end.recv().expect("it ends");
    });
    assert_eq!(journal.due(), Some(Duration::ZERO), "the second one waits still");
    drop(journal);
    let file = memory.segments().pop().expect("there is one");
    let damaged = |at: usize| {
        let memory = memory.copy();
        let mut bytes = memory.read(&file);
        bytes[at] ^= 1;
        memory.write(&file, &bytes);
        open_on(&memory, &options).map(|(_, recovered)| recovered.torn.is_some())
    };
    assert!(damaged(HEADER + HEAD).is_err(), "the first was synced");
    let second = HEADER + HEAD + b"before".len() + HEAD;
    assert!(damaged(second).expect("it opens"), "the second was not");
}

/// The system tells of a failure once. Who fills a segment meanwhile must not take its own sync for a success.
#[test]
fn who_begins_a_segment_hears_of_a_sync_that_failed() {
    let memory = Memory::default();
    let options = options(Fsync::Within(Duration::ZERO), 100);
    let (journal, _) = open(&memory, &options);
    journal.append(0, &payload(0, 30)).expect("it is taken");
    let (_appended, gate) = memory.gated();
    let at = memory.steps();
    memory.fail(at..at + 1, 0);
    let ready = Barrier::new(2);
    thread::scope(|scope| {
        let first = scope.spawn(|| journal.sync());
        memory.wait_for_a_sync();
        let second = scope.spawn(|| {
            ready.wait();
            journal.append(1, &payload(1, 30))
        });
        ready.wait();
        for _ in 0..1_000 {
            thread::yield_now();
        }
        gate.send(()).expect("it is waited for");
        drop(gate);
        for thread in [first, second] {
            let error = thread.join().expect("no panic").expect_err("it is broken");
            assert!(matches!(error, JournalError::Broken { .. }), "{error:?}");
        }
    });
}
