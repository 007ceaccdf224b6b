//! A file system in memory that fails where it is told to, and loses power.

use crate::store::journal::files::{Files, Held, Log, Source};
use crate::sync::{Arc, Mutex, mpsc, thread};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Cursor};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What reaches the disk as a whole or not at all. A real disk's is larger, which is kinder.
const SECTOR: usize = 24;

/// Clones are the same file system.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    contents: Vec<Content>,
    now: BTreeMap<PathBuf, usize>,
    /// What the directory is after a loss of power.
    durable: BTreeMap<PathBuf, usize>,
    locked: bool,
    steps: u64,
    /// Steps that fail, and how many bytes a write has written by then.
    faults: Range<u64>,
    written: usize,
    /// Told of every write.
    told: Option<mpsc::Sender<()>>,
    /// Asked before every sync.
    gate: Option<Arc<Mutex<mpsc::Receiver<()>>>>,
    /// Syncs that have come to the gate.
    came: u64,
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What a sync that failed has forgotten: no later one writes it.
    lost: Range<usize>,
}

/// Numbers from a seed.
pub(super) struct Seeded(pub(super) u64);

impl Seeded {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 0
    }
}

impl Inside {
    fn step(&mut self) -> io::Result<()> {
        self.steps += 1;
        if self.faults.contains(&(self.steps - 1)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn named(&self, path: &Path) -> io::Result<usize> {
        self.now.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Memory {
    pub(super) fn steps(&self) -> u64 {
        self.0.lock().steps
    }

    /// These steps fail; a write among them has written so many bytes first.
    pub(super) fn fail(&self, steps: Range<u64>, written: usize) {
        let mut inside = self.0.lock();
        (inside.faults, inside.written) = (steps, written);
    }

    /// Every write is told of, and every sync waits until it may.
    pub(super) fn gated(&self) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((told, hear), (open, gate)) = (mpsc::channel(), mpsc::channel());
        let mut inside = self.0.lock();
        (inside.told, inside.gate) = (Some(told), Some(Arc::new(Mutex::new(gate))));
        (hear, open)
    }

    /// Of what was not synced, some is there and some is not.
    pub(super) fn lose_power(&self, seed: u64) {
        let mut seeded = Seeded(seed);
        let mut inside = self.0.lock();
        for content in &mut inside.contents {
            let kept = content.survives(&mut seeded);
            *content = Content { durable: kept.clone(), now: kept, lost: 0..0 };
        }
        let paths: Vec<_> = inside.now.keys().chain(inside.durable.keys()).cloned().collect();
        let mut names = BTreeMap::new();
        for path in paths {
            let from = if seeded.coin() { &inside.now } else { &inside.durable };
            if inside.now.get(&path) == inside.durable.get(&path) || !names.contains_key(&path) {
                names.extend(from.get(&path).map(|content| (path, *content)));
            }
        }
        (inside.now, inside.durable) = (names.clone(), names);
    }

    /// Returns once a sync is at the gate.
    pub(super) fn wait_for_a_sync(&self) {
        while self.0.lock().came == 0 {
            thread::yield_now();
        }
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.0.lock().now.keys().cloned().collect()
    }

    /// The segments, oldest first.
    pub(super) fn segments(&self) -> Vec<PathBuf> {
        let mut paths = self.paths();
        paths.retain(|path| path.extension().is_some_and(|end| end == "log"));
        paths
    }

    pub(super) fn read(&self, path: &Path) -> Vec<u8> {
        let inside = self.0.lock();
        inside.contents[inside.now[path]].now.clone()
    }

    pub(super) fn write(&self, path: &Path, bytes: &[u8]) {
        let mut inside = self.0.lock();
        let content = Content { now: bytes.to_vec(), durable: bytes.to_vec(), lost: 0..0 };
        inside.contents.push(content);
        let at = inside.contents.len() - 1;
        inside.now.insert(path.to_owned(), at);
        inside.durable.insert(path.to_owned(), at);
    }

    /// Another disk with the same on it, nothing locked.
    pub(super) fn copy(&self) -> Self {
        let inside = self.0.lock();
        Self(Arc::new(Mutex::new(Inside {
            contents: inside.contents.clone(),
            now: inside.now.clone(),
            durable: inside.durable.clone(),
            ..Inside::default()
        })))
    }
}

impl Content {
    fn sync(&mut self) {
        self.durable.clone_from(&self.now);
        let lost = self.lost.start.min(self.now.len())..self.lost.end.min(self.now.len());
        self.durable[lost].fill(0);
    }

    fn survives(&self, seeded: &mut Seeded) -> Vec<u8> {
        let (short, long) =
            (self.now.len().min(self.durable.len()), self.now.len().max(self.durable.len()));
        let len = short + seeded.below(long - short + 1);
        let mut kept = vec![0; len];
        for at in (0..len).step_by(SECTOR) {
            let from = if seeded.coin() { &self.now } else { &self.durable };
            let end = (at + SECTOR).min(len).min(from.len());
            if at < end {
                kept[at..end].copy_from_slice(&from[at..end]);
            }
        }
        for lost in self.lost.clone().filter(|at| *at < len) {
            kept[lost] = 0;
        }
        kept
    }
}

struct Unlock(Memory);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.0.lock().locked = false;
    }
}

impl Files for Memory {
    fn make_dir(&self, _: &Path) -> io::Result<()> {
        self.0.lock().step()
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Held>> {
        let mut inside = self.0.lock();
        inside.step()?;
        if inside.locked {
            return Ok(None);
        }
        inside.locked = true;
        Ok(Some(Box::new(Unlock(self.clone()))))
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut inside = self.0.lock();
        inside.step()?;
        let within = inside.now.keys().filter(|path| path.parent() == Some(dir));
        // In an order that is not theirs.
        Ok(within.rev().filter_map(|path| Some(path.file_name()?.to_owned())).collect())
    }

    fn open(&self, path: &Path) -> io::Result<(Box<dyn Source>, u64)> {
        let mut inside = self.0.lock();
        inside.step()?;
        let bytes = inside.contents[inside.named(path)?].now.clone();
        let len = bytes.len() as u64;
        Ok((Box::new(Cursor::new(bytes)), len))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn Log>> {
        let mut inside = self.0.lock();
        inside.step()?;
        inside.contents.push(Content::default());
        let content = inside.contents.len() - 1;
        inside.now.insert(path.to_owned(), content);
        Ok(Arc::new(Open { memory: self.clone(), content }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inside = self.0.lock();
        inside.step()?;
        let content = inside.named(from)?;
        inside.now.remove(from);
        inside.now.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inside = self.0.lock();
        inside.step()?;
        inside.named(path)?;
        inside.now.remove(path);
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut inside = self.0.lock();
        inside.step()?;
        inside.durable = inside.now.clone();
        Ok(())
    }
}

struct Open {
    memory: Memory,
    content: usize,
}

impl Log for Open {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut inside = self.memory.0.lock();
        let step = inside.step();
        let written = if step.is_ok() { bytes.len() } else { inside.written.min(bytes.len()) };
        inside.contents[self.content].now.extend(&bytes[..written]);
        if let Some(told) = &inside.told {
            // Nobody may listen any more.
            let _ = told.send(());
        }
        step
    }

    fn sync(&self) -> io::Result<()> {
        let gate = {
            let mut inside = self.memory.0.lock();
            inside.came += u64::from(inside.gate.is_some());
            inside.gate.clone()
        };
        // A gate whose keeper is gone is open.
        let _ = gate.map(|gate| gate.lock().recv());
        let mut inside = self.memory.0.lock();
        let step = inside.step();
        let content = &mut inside.contents[self.content];
        match &step {
            Ok(()) => content.sync(),
            Err(_) => content.lost = content.durable.len()..content.now.len(),
        }
        step
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut inside = self.memory.0.lock();
        inside.step()?;
        inside.contents[self.content].now.truncate(len as usize);
        Ok(())
    }
}
