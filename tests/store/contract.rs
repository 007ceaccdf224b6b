//! The contract of a store, kept by `SQLite`: what it loads is what was applied, of each key the latest version.

use crate::sqlite::{Durability, Failure, LONGEST, SqliteStore};
use cachette::store::{Answer, Change, Store as _, WriteBehind};
use cachette::{BuildError, Cache};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, Waker};

/// What a store that blocks answers when it is polled, once.
fn now<T>(mut answer: Answer<'_, T>) -> T {
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a store that blocks has suspended"),
    }
}

fn in_memory() -> SqliteStore {
    SqliteStore::open(Path::new(":memory:"), Durability::Normal).unwrap()
}

/// A folder that goes when this does.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cachette-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("entries.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[derive(Clone, Debug)]
struct Planned {
    key: u64,
    value: Option<String>,
    version: u64,
}

impl Planned {
    fn of(key: u64, value: &str, version: u64) -> Self {
        Self { key, value: Some(value.to_owned()), version }
    }

    fn change(&self) -> Change<'_, u64, String> {
        Change { key: &self.key, value: self.value.as_ref(), version: self.version }
    }
}

fn apply(store: &SqliteStore, planned: &Planned) -> Result<(), Failure> {
    now(store.apply(planned.change()))
}

/// Which of them the store has made.
fn apply_batch(store: &SqliteStore, planned: &[Planned]) -> Result<Vec<bool>, Failure> {
    let changes: Vec<_> = planned.iter().map(Planned::change).collect();
    let results = now(store.apply_batch(&changes))?;
    let made = |result: Result<(), Failure>| match result {
        Ok(()) => true,
        Err(error) => {
            assert!(store.refused(&error), "{error}");
            false
        }
    };
    Ok(results.into_iter().map(made).collect())
}

fn load(store: &SqliteStore, key: u64) -> Option<String> {
    now(store.load(&key)).unwrap()
}

fn too_long() -> String {
    "x".repeat(LONGEST + 1)
}

const KEYS: u64 = 5;

fn planned() -> impl Strategy<Value = Planned> {
    let key = prop_oneof![0..KEYS - 1, Just(u64::MAX)];
    let value = prop_oneof![
        3 => "[a-z]{0,3}".prop_map(Some),
        1 => Just(None),
        1 => Just(Some(too_long())),
        1 => Just(Some("y".repeat(LONGEST))),
    ];
    (key, value, 0_u64..12).prop_map(|(key, value, version)| Planned { key, value, version })
}

/// What the rows must be: of each key the latest version that was not refused.
#[derive(Default)]
struct Oracle(HashMap<u64, (u64, Option<String>)>);

impl Oracle {
    /// False if it must be refused.
    fn apply(&mut self, planned: &Planned) -> bool {
        let Planned { key, value, version } = planned;
        if value.as_ref().is_some_and(|value| value.chars().count() > LONGEST) {
            return false;
        }
        if self.0.get(key).is_none_or(|(latest, _)| version > latest) {
            self.0.insert(*key, (*version, value.clone()));
        }
        true
    }

    fn load(&self, key: u64) -> Option<String> {
        self.0.get(&key)?.1.clone()
    }
}

proptest! {
    #[test]
    fn rows_are_those_of_the_latest_versions(batches in vec(vec(planned(), 0..6), 0..6)) {
        let (store, mut oracle) = (in_memory(), Oracle::default());
        let keys: Vec<u64> = (0..KEYS).chain([u64::MAX, 0]).collect();
        for batch in &batches {
            let expected: Vec<bool> = batch.iter().map(|planned| oracle.apply(planned)).collect();
            let made = match &batch[..] {
                [one] => vec![apply(&store, one).is_ok()],
                _ => apply_batch(&store, batch).unwrap(),
            };
            prop_assert_eq!(made, expected);
            let expected: Vec<_> = keys.iter().map(|key| oracle.load(*key)).collect();
            let one_by_one: Vec<_> = keys.iter().map(|key| load(&store, *key)).collect();
            prop_assert_eq!(&one_by_one, &expected);
            let at_once = now(store.load_many(&keys)).into_iter().map(Result::unwrap);
            prop_assert_eq!(at_once.collect::<Vec<_>>(), expected);
        }
    }
}

#[test]
fn a_refused_change_leaves_the_rest_of_its_batch() {
    let store = in_memory();
    let batch = [Planned::of(1, "a", 1), Planned::of(2, &too_long(), 2), Planned::of(3, "c", 3)];
    assert_eq!(apply_batch(&store, &batch).unwrap(), [true, false, true]);
    assert_eq!([1, 2, 3].map(|key| load(&store, key)), [Some("a".into()), None, Some("c".into())]);
}

/// The trigger's error is no constraint, so nobody knows which changes are to blame.
#[test]
fn any_other_error_undoes_the_batch() {
    let folder = Folder::new("sqlite-undone");
    let store = SqliteStore::open(&folder.file(), Durability::Normal).unwrap();
    let other = rusqlite::Connection::open(folder.file()).unwrap();
    let trigger = "CREATE TRIGGER broken BEFORE INSERT ON entries WHEN NEW.key = 2 BEGIN SELECT json('{'); END";
    other.execute_batch(trigger).unwrap();
    let batch = [Planned::of(1, "a", 1), Planned::of(2, "b", 2), Planned::of(3, "c", 3)];
    let error = apply_batch(&store, &batch).unwrap_err();
    assert!(!store.refused(&error), "{error}");
    assert_eq!([1, 2, 3].map(|key| load(&store, key)), [None, None, None]);
    other.execute_batch("DROP TRIGGER broken").unwrap();
    assert_eq!(apply_batch(&store, &batch).unwrap(), [true; 3]);
}

#[test]
fn what_was_deleted_stays_so_until_it_is_forgotten() {
    let store = in_memory();
    let deletion = Planned { key: 1, value: None, version: 5 };
    apply_batch(&store, &[Planned::of(1, "a", 1), Planned::of(2, "b", 1)]).unwrap();
    apply(&store, &deletion).unwrap();
    apply(&store, &Planned::of(1, "late", 4)).unwrap();
    assert_eq!(load(&store, 1), None);
    assert_eq!(store.forget_deleted(5).unwrap(), 0);
    assert_eq!(store.forget_deleted(6).unwrap(), 1);
    apply(&store, &Planned::of(1, "late", 4)).unwrap();
    assert_eq!([1, 2].map(|key| load(&store, key)), [Some("late".into()), Some("b".into())]);
}

#[test]
fn a_cache_before_it_writes_behind() -> Result<(), BuildError> {
    let folder = Folder::new("sqlite-behind");
    let open = || SqliteStore::open(&folder.file(), Durability::Full).unwrap();
    let cache = Cache::<u64, String>::builder()
        .capacity(100)
        .store(open())
        .write_behind(WriteBehind::new())
        .build()?;
    let kept = cache.put(1, "a".to_owned()).unwrap();
    let refused = cache.put(2, too_long()).unwrap();
    let _ = cache.put(3, "c".to_owned()).unwrap();
    assert_eq!(cache.flush().unwrap_err().failed, 1);
    assert!(kept.wait().is_ok() && refused.wait().is_err());
    assert_eq!(cache.take_dead().iter().map(|dead| dead.key).collect::<Vec<_>>(), [2]);
    drop(cache);
    let again = Cache::<u64, String>::builder().capacity(100).store(open()).build()?;
    let loaded = again.load_many(&[1, 2, 3]).into_iter().map(Result::unwrap);
    assert_eq!(loaded.collect::<Vec<_>>(), [Some("a".into()), None, Some("c".into())]);
    Ok(())
}
