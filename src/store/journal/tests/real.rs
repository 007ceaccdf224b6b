//! The same on a real disk, and by processes that are killed.

use super::*;
use crate::time::SystemClock;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

/// A directory that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("cachette-journal-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is in a directory for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open_at(dir: &Path, fsync: Fsync) -> Result<(Journal, Recovered), JournalError> {
    let options = JournalOptions::new(dir).fsync(fsync).segment_bytes(4_096);
    Journal::open(&options, Arc::new(SystemClock::new()))
}

#[test]
fn a_journal_on_a_real_disk() {
    let folder = Folder::new("plain");
    // Neither of them is there.
    let dir = folder.0.join("a").join("b");
    let mut expected = BTreeMap::new();
    let mut seq = 0;
    for fsync in [Fsync::Never, Fsync::Always, Fsync::Within(Duration::ZERO)] {
        let (journal, recovered) = open_at(&dir, fsync).expect("the journal opens");
        assert_eq!((recovered.torn, recovered.next_seq), (None, seq));
        assert_eq!(BTreeMap::from_iter(recovered.records), expected);
        for _ in 0..100 {
            journal.append(seq, &payload(seq, 100)).expect("it is taken");
            expected.insert(seq, payload(seq, 100));
            seq += 1;
        }
        assert!(journal.stats().segments > 2);
        let settled: Vec<_> = expected.keys().copied().filter(|seq| seq % 9 > 0).collect();
        journal.settle(&settled).expect("they are settled");
        expected.retain(|seq, _| seq % 9 == 0);
        journal.sync().expect("it syncs");
        journal.assert_valid();
    }
    let (journal, recovered) = open_at(&dir, Fsync::Never).expect("the journal opens");
    assert_eq!(BTreeMap::from_iter(recovered.records), expected);
    journal.settle(&Vec::from_iter(expected.into_keys())).expect("they are settled");
    // The lock, and the last segment.
    assert_eq!(fs::read_dir(&dir).expect("it is there").count(), 2);
}

#[test]
fn two_journals_in_one_directory() {
    let folder = Folder::new("two");
    let (journal, _) = open_at(&folder.0, Fsync::Never).expect("the journal opens");
    let error = open_at(&folder.0, Fsync::Never).map(drop).expect_err("it is held");
    assert!(matches!(error, JournalError::Locked { .. }), "{error:?}");
    drop(journal);
    open_at(&folder.0, Fsync::Never).expect("the journal opens");
}

#[test]
fn a_directory_that_cannot_be() {
    let folder = Folder::new("file");
    fs::create_dir_all(&folder.0).expect("it is made");
    let file = folder.0.join("file");
    fs::write(&file, b"a file").expect("it is written");
    let error = open_at(&file, Fsync::Never).map(drop).expect_err("it is a file");
    assert!(
        matches!(&error, JournalError::Io { path, doing: "make", .. } if *path == file),
        "{error:?}"
    );
}

/// What was written is taken back, and what comes next is where it was.
#[test]
fn a_file_that_is_cut_off_goes_on_there() {
    use crate::store::journal::files::Disk;
    let folder = Folder::new("cut");
    fs::create_dir_all(&folder.0).expect("it is made");
    let path = folder.0.join("log");
    fs::write(&path, b"something old").expect("it is written");
    let log = Disk.create(&path).expect("it is made");
    log.append(b"whole, half").expect("it is written");
    log.truncate(7).expect("it is cut off");
    log.append(b"whole").expect("it is written");
    log.sync().expect("it syncs");
    assert_eq!(fs::read(&path).expect("it is there"), b"whole, whole");
}

const CHILD: &str = "CACHETTE_JOURNAL_CHILD";

/// Not a test of its own: what the processes do that the next one kills. It says what was acknowledged, and goes on until it is killed.
#[test]
fn a_child_that_appends() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let (journal, recovered) = open_at(Path::new(&dir), Fsync::Never).expect("the journal opens");
    let mut out = std::io::stdout();
    for seq in recovered.next_seq.. {
        journal.append(seq, &payload(seq, (seq % 300) as usize)).expect("it is taken");
        writeln!(out, "\nappended {seq}").expect("somebody listens");
        if seq % 5 > 0 {
            writeln!(out, "\nsettling {seq}").expect("somebody listens");
            journal.settle(&[seq]).expect("it is settled");
        }
    }
}

#[test]
fn a_process_that_is_killed_loses_nothing() {
    let folder = Folder::new("killed");
    let mut owed = BTreeMap::new();
    for lines in [1, 100, 1_000, 37] {
        let mut child = Command::new(std::env::current_exe().expect("it runs"))
            .args(["--exact", "store::journal::tests::real::a_child_that_appends", "--nocapture"])
            .env(CHILD, &folder.0)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut heard = 0;
        for line in BufReader::new(child.stdout.take().expect("it is piped")).lines() {
            let line = line.expect("it speaks");
            let Some((what, seq)) = line.split_once(' ') else { continue };
            let Ok(seq) = seq.parse::<u64>() else { continue };
            match what {
                "appended" => drop(owed.insert(seq, payload(seq, (seq % 300) as usize))),
                "settling" => drop(owed.remove(&seq)),
                _ => continue,
            }
            heard += 1;
            // What it has said by the time it is dead counts too.
            if heard == lines {
                child.kill().expect("it is killed");
            }
        }
        child.wait().expect("it is dead");
        assert!(heard >= lines);
        let (_, recovered) = open_at(&folder.0, Fsync::Never).expect("the journal opens");
        let found = BTreeMap::from_iter(recovered.records);
        for (seq, record) in &owed {
            assert_eq!(found.get(seq), Some(record), "{seq} was acknowledged");
        }
        // One may have been appended, or settled, and not told of.
        assert!(found.len() <= owed.len() + 2, "{found:?}");
        assert!(found.iter().all(|(seq, record)| *record == payload(*seq, (seq % 300) as usize)));
        owed = found;
    }
}
