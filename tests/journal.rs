//! The journal of writing behind: what was accepted survives the process, whenever it is killed.
//!
//! The tests of this file are the parent; `a_process` is its child, which runs only when it is told where.

use cachette::store::{
    Answer, Applied, Change, Fsync, JournalError, JournalOptions, MemoryStore, Store, StoredCache,
    WhenFull, WriteBehind, WriteError, WriteJournal,
};
use cachette::tier::Raw;
use cachette::{Cache, Compute, Threads};
use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A store that a process leaves behind when it is killed: a file a key.
struct Files {
    dir: PathBuf,
    down: AtomicBool,
}

impl Files {
    fn new(dir: &Path) -> Arc<Self> {
        fs::create_dir_all(dir).unwrap();
        Arc::new(Self { dir: dir.to_owned(), down: AtomicBool::new(false) })
    }

    fn get(&self, key: u64) -> io::Result<Option<String>> {
        match fs::read_to_string(self.dir.join(key.to_string())) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Store<u64, String> for Files {
    type Error = io::Error;

    fn blocks(&self) -> bool {
        true
    }

    fn load<'a>(&'a self, key: &'a u64) -> Answer<'a, io::Result<Option<String>>> {
        Box::pin(async move { self.get(*key) })
    }

    fn apply<'a>(&'a self, change: Change<'a, u64, String>) -> Answer<'a, io::Result<()>> {
        Box::pin(async move {
            if self.down.load(Ordering::Relaxed) {
                return Err(io::Error::other("down"));
            }
            let (new, row) = (self.dir.join("new"), self.dir.join(change.key.to_string()));
            match change.value {
                // Whole or not at all.
                Some(value) => fs::write(&new, value).and_then(|()| fs::rename(new, row)),
                None => fs::remove_file(row).or_else(|error| match error.kind() {
                    io::ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                }),
            }
        })
    }

    fn apply_batch<'a>(
        &'a self,
        changes: &'a [Change<'a, u64, String>],
    ) -> Answer<'a, Applied<io::Error>> {
        Box::pin(async move {
            let mut applied = Vec::new();
            for change in changes {
                applied.push(self.apply(*change).await);
            }
            Ok(applied)
        })
    }
}

type Stored = StoredCache<u64, String, io::Error>;

/// A directory of its own, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cachette-journal-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn store(&self) -> Arc<Files> {
        Files::new(&self.0.join("store"))
    }

    fn options(&self) -> JournalOptions {
        JournalOptions::new(self.0.join("journal")).fsync(Fsync::Never).segment_bytes(4 << 10)
    }

    fn journal(&self) -> WriteJournal<u64, String> {
        WriteJournal::open(&self.options(), Raw).unwrap()
    }

    fn cache(&self, store: &Arc<Files>) -> Stored {
        by_hand(store, self.journal())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn by_hand(store: &Arc<Files>, journal: WriteJournal<u64, String>) -> Stored {
    let behind = WriteBehind::new().attempts(1).journal(journal);
    let cache = Cache::builder().capacity(10).store(Arc::clone(store));
    cache.write_behind(behind).build().unwrap()
}

fn text(value: impl fmt::Display + Copy) -> String {
    value.to_string()
}

#[test]
fn what_was_accepted_is_there_again() {
    let dir = Dir::new();
    let store = dir.store();
    let cache = dir.cache(&store);
    for key in 0..20 {
        cache.put(key, text(key)).unwrap();
        cache.put(key, text(key * 10)).unwrap();
    }
    cache.delete(&3).unwrap();
    cache.compute(4, |old| Compute::Replace(format!("{} and more", old.unwrap()))).unwrap();
    drop(cache);
    assert_eq!(store.get(1).unwrap(), None);
    let journal = dir.journal();
    assert!(journal.recovered() >= 20 && journal.torn().is_none());
    let cache = by_hand(&store, journal);
    assert_eq!(cache.load(&4).unwrap(), Some(text("40 and more")), "before anything is written");
    assert_eq!(cache.load(&3).unwrap(), None);
    assert_eq!(cache.flush(), Ok(20));
    for key in (0..20).filter(|key| ![3, 4].contains(key)) {
        assert_eq!(store.get(key).unwrap(), Some(text(key * 10)));
    }
    let stats = cache.write_stats().journal.unwrap();
    assert_eq!(stats.open, 0, "{stats:?}");
    drop(cache);
    assert_eq!(dir.journal().recovered(), 0);
}

#[test]
fn what_the_store_has_is_not_written_again() {
    let dir = Dir::new();
    let store = dir.store();
    let cache = dir.cache(&store);
    cache.put(1, text("old")).unwrap();
    cache.flush().unwrap();
    drop(cache);
    fs::write(dir.0.join("store/1"), "by another process").unwrap();
    dir.cache(&store).flush().unwrap();
    assert_eq!(store.get(1).unwrap(), Some(text("by another process")));
}

#[test]
fn what_was_replaced_does_not_come_back() {
    let dir = Dir::new();
    let store = dir.store();
    let cache = dir.cache(&store);
    for value in 0..5_000 {
        cache.put(1, text(value)).unwrap();
    }
    let stats = cache.write_stats().journal.unwrap();
    assert!(stats.open < 4_097, "they are settled in passing: {stats:?}");
    cache.flush().unwrap();
    assert_eq!(cache.write_stats().journal.unwrap().open, 0);
    drop(cache);
    assert_eq!(dir.journal().recovered(), 0);
}

#[test]
fn w12_a_dead_letter_is_tried_again_by_the_next_process() {
    let dir = Dir::new();
    let store = dir.store();
    let cache = dir.cache(&store);
    store.down.store(true, Ordering::Relaxed);
    cache.put(1, text("a")).unwrap();
    cache.put(2, text("b")).unwrap();
    assert!(cache.flush().is_err());
    cache.put(2, text("c")).unwrap();
    assert_eq!(cache.take_dead().len(), 1, "the first: it is the program's now");
    drop(cache);
    store.down.store(false, Ordering::Relaxed);
    let journal = dir.journal();
    assert_eq!(journal.recovered(), 1);
    by_hand(&store, journal).flush().unwrap();
    assert_eq!((store.get(1).unwrap(), store.get(2).unwrap()), (None, Some(text("c"))));
}

#[test]
fn w15_what_closing_gives_back_stays_in_the_journal() {
    let dir = Dir::new();
    let store = dir.store();
    store.down.store(true, Ordering::Relaxed);
    let cache = dir.cache(&store);
    cache.put(1, text("a")).unwrap();
    assert_eq!(cache.close(Duration::ZERO).len(), 1);
    drop(cache);
    assert_eq!(dir.journal().recovered(), 1);
}

#[test]
fn w8_what_was_rejected_does_not_come_back() {
    let dir = Dir::new();
    let behind = WriteBehind::new().bound(1).when_full(WhenFull::Reject).journal(dir.journal());
    let cache = Cache::builder().capacity(10).store(dir.store());
    let cache = cache.write_behind(behind).build().unwrap();
    cache.put(1, text("a")).unwrap();
    assert!(matches!(cache.put(2, text("b")), Err(WriteError::Full { .. })));
    drop(cache);
    assert_eq!(dir.journal().recovered(), 1);
}

/// What was noted while nothing else is to be done is brought to the disk all the same.
#[test]
fn a_journal_is_synced_in_time_whatever_the_queue_does() {
    let dir = Dir::new();
    let options = dir.options().fsync(Fsync::Within(Duration::from_millis(1)));
    let journal = WriteJournal::open(&options, Raw).unwrap();
    let behind = WriteBehind::new().delay(Duration::from_secs(3_600)).journal(journal);
    let builder = Cache::builder().capacity(9).store(dir.store()).spawn(Threads::new());
    let cache: Stored = builder.write_behind(behind).build().unwrap();
    for key in 1..=3 {
        cache.put(key, text(key)).unwrap();
        while cache.write_stats().journal.unwrap().syncs < key {
            std::thread::yield_now();
        }
    }
    assert_eq!(cache.write_stats().held, 3);
}

#[test]
fn w15_closing_brings_the_journal_to_the_disk() {
    let dir = Dir::new();
    for spawn in [true, false] {
        let behind = WriteBehind::new().journal(dir.journal());
        let builder = Cache::builder().capacity(9).store(dir.store());
        let builder = if spawn { builder.spawn(Threads::new()) } else { builder };
        let cache: Stored = builder.write_behind(behind).build().unwrap();
        cache.put(1, text("a")).unwrap();
        let before = cache.write_stats().journal.unwrap().syncs;
        assert!(cache.close(Duration::from_secs(60)).is_empty());
        assert_eq!(cache.write_stats().journal.unwrap().syncs, before + 1);
        drop(cache);
        while WriteJournal::<u64, String>::open(&dir.options(), Raw).is_err() {
            // What the background does last still has it.
            std::thread::yield_now();
        }
    }
}

#[test]
fn one_process_has_the_journal() {
    let dir = Dir::new();
    let _cache = dir.cache(&dir.store());
    let other = WriteJournal::<u64, String>::open(&dir.options(), Raw);
    assert!(matches!(other, Err(JournalError::Locked { .. })));
}

#[test]
fn records_of_other_types_are_not_lost() {
    let dir = Dir::new();
    let journal = WriteJournal::<String, String>::open(&dir.options(), Raw).unwrap();
    let behind = WriteBehind::new().journal(journal);
    let cache = Cache::builder().capacity(9).store(MemoryStore::new());
    let cache = cache.write_behind(behind).build().unwrap();
    cache.put(text("a"), text("b")).unwrap();
    drop(cache);
    let other = WriteJournal::<u64, String>::open(&dir.options(), Raw);
    assert!(matches!(other, Err(JournalError::Unreadable { .. })), "{other:?}");
    let same = WriteJournal::<String, String>::open(&dir.options(), Raw).unwrap();
    assert_eq!(same.recovered(), 1, "they are as they were");
}

#[test]
fn a_write_that_the_journal_does_not_take_is_refused() {
    let dir = Dir::new();
    let options = dir.options().fsync(Fsync::Always).segment_bytes(1);
    let journal = WriteJournal::open(&options, Raw).unwrap();
    let store = dir.store();
    let cache = by_hand(&store, journal);
    cache.put(1, text("a")).unwrap();
    // No segment can be begun.
    fs::remove_dir_all(options.dir()).unwrap();
    let refused = cache.put(2, text("b")).unwrap_err();
    assert!(matches!(refused, WriteError::Journal(_)), "{refused}");
    assert_eq!(cache.load(&2).unwrap(), None, "nothing was changed");
}

/// The child: writes more and more, and says what was accepted, until it is killed.
#[test]
#[ignore = "run by kills_lose_nothing"]
fn a_process() {
    let Some(root) = std::env::var_os("CACHETTE_JOURNAL") else { return };
    let dir = Dir(PathBuf::from(root));
    let policy: u64 = std::env::var("CACHETTE_FSYNC").unwrap().parse().unwrap();
    let fsync = match policy {
        0 => Fsync::Never,
        1 => Fsync::Within(Duration::from_millis(5)),
        _ => Fsync::Always,
    };
    let journal = WriteJournal::open(&dir.options().fsync(fsync), Raw).unwrap();
    let behind = WriteBehind::new().batch(8).delay(Duration::from_millis(1)).journal(journal);
    let builder = Cache::builder().capacity(4).store(dir.store()).spawn(Threads::new());
    let cache: Stored = builder.write_behind(behind).build().unwrap();
    let next = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for thread in 0..2_u64 {
            let (cache, next) = (&cache, &next);
            scope.spawn(move || {
                loop {
                    let value = next.fetch_add(1, Ordering::Relaxed);
                    // Each key has one writer, so that its values only grow.
                    let key = value % 8 * 2 + thread;
                    cache.put(key, text(value)).unwrap();
                    let line = format!("{key} {value}\n");
                    if io::stdout().write_all(line.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn begin(dir: &Dir, policy: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["a_process", "--exact", "--ignored", "--nocapture", "--quiet"])
        .env("CACHETTE_JOURNAL", &dir.0)
        .env("CACHETTE_FSYNC", policy.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Reads what a child says, and kills it after so many lines.
fn kill_after(child: &mut Child, lines: u64) -> HashMap<u64, u64> {
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut accepted, mut seen) = (HashMap::new(), 0);
    while let Some(Ok(line)) = said.next() {
        let mut words = line.split(' ').filter_map(|word| word.parse::<u64>().ok());
        if let (Some(key), Some(value)) = (words.next(), words.next()) {
            seen += 1;
            let last = accepted.entry(key).or_insert(0);
            *last = value.max(*last);
        }
        if seen == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(seen >= lines, "the child ended by itself after {seen} lines");
    accepted
}

/// Fifty kills, or as many as `CACHETTE_KILLS` says: not one acknowledged write is lost.
#[test]
fn kills_lose_nothing() {
    let kills = std::env::var("CACHETTE_KILLS").ok().and_then(|kills| kills.parse().ok());
    let mut drawn = 0x9E37_79B9_7F4A_7C15_u64;
    for kill in 0..kills.unwrap_or(50) {
        let dir = Dir::new();
        fs::create_dir_all(&dir.0).unwrap();
        drawn ^= drawn << 13;
        drawn ^= drawn >> 7;
        drawn ^= drawn << 17;
        let mut child = begin(&dir, kill % 3);
        let accepted = kill_after(&mut child, drawn % 400 + 1);
        let store = dir.store();
        let cache = dir.cache(&store);
        cache.flush().unwrap();
        for (key, value) in accepted {
            let stored = store.get(key).unwrap().map_or(0, |stored| stored.parse().unwrap());
            assert!(stored >= value, "kill {kill}: {key} has {stored}, and {value} was accepted");
        }
    }
}
