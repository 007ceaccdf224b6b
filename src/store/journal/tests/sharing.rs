//! Threads that append at once.

use super::memory::Memory;
use super::*;
use crate::sync::thread;

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
