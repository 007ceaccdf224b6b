//! The few things that a journal asks of a file system, so that tests can have one that fails and loses power.

use super::error::JournalError;
use crate::sync::Arc;
use fs4::TryLockError;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// What is read: from a beginning to an end, and once more from somewhere.
pub(super) trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

/// Something is locked as long as this lives.
pub(super) type Held = Box<dyn Send + Sync>;

/// A file system.
pub(super) trait Files: Send + Sync {
    /// Makes a directory, and those it is in, if it is missing; a loss of power does not unmake it.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;

    /// Locks a file, which is made if it is missing, against everyone else. `None`: somebody has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Held>>;

    /// What is in a directory, in any order.
    fn names(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// A file, and its length.
    fn open(&self, path: &Path) -> io::Result<(Box<dyn Source>, u64)>;

    /// A new file, in the place of one that is there.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn Log>>;

    /// Gives a file the place of another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Until then a loss of power may undo what was made, renamed or removed in the directory.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A file that grows.
pub(super) trait Log: Send + Sync {
    /// Hands all of the bytes to the system. After an error, some of them may be there.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Returns once all that was appended before is on the disk.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file off. What is appended from then on is there.
    fn truncate(&self, len: u64) -> io::Result<()>;
}

/// The directory of a journal, and how to reach it. Errors name the file and what was to be done with it.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) files: Arc<dyn Files>,
    pub(super) dir: PathBuf,
}

impl Place {
    pub(super) fn make(&self) -> Result<(), JournalError> {
        self.files.make_dir(&self.dir).map_err(failed(&self.dir, "make"))
    }

    pub(super) fn lock(&self) -> Result<Held, JournalError> {
        let path = self.dir.join("journal.lock");
        let held = self.files.lock(&path).map_err(failed(&path, "lock"))?;
        held.ok_or(JournalError::Locked { path })
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, path: &Path) -> Result<(), JournalError> {
        match self.files.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed(path, "remove")(error))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn sync(&self) -> Result<(), JournalError> {
        self.files.sync_dir(&self.dir).map_err(failed(&self.dir, "sync"))
    }

    /// The path of a segment.
    pub(super) fn segment(&self, number: u64) -> PathBuf {
        self.dir.join(format!("journal-{number:016x}.log"))
    }

    /// The path of a segment while it is made.
    pub(super) fn draft(&self, number: u64) -> PathBuf {
        self.dir.join(format!("journal-{number:016x}.new"))
    }
}

/// What a name in the directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Segment(u64),
    /// A segment that was not finished.
    Draft(u64),
}

impl Named {
    /// `None`: it is nothing of a journal's.
    pub(super) fn read(name: &str) -> Option<Self> {
        let (digits, end) = name.strip_prefix("journal-")?.split_at_checked(16)?;
        if !digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let number = u64::from_str_radix(digits, 16).ok()?;
        match end {
            ".log" => Some(Self::Segment(number)),
            ".new" => Some(Self::Draft(number)),
            _ => None,
        }
    }
}

/// What went wrong, with where.
pub(super) fn failed(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { path, doing, source }
}

/// The file system of this machine.
pub(super) struct Disk;

impl Files for Disk {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<_> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
        fs::create_dir_all(dir)?;
        for made in missing {
            match made.parent() {
                // A path of one part is in the directory that the program runs in.
                Some(parent) if parent.as_os_str().is_empty() => self.sync_dir(Path::new("."))?,
                Some(parent) => self.sync_dir(parent)?,
                None => {}
            }
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Held>> {
        // It is never removed: another could have opened it already, and would lock a file that nobody else finds.
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        // By its full name, which is not that of the standard library's newer one.
        match fs4::FileExt::try_lock(&file) {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn open(&self, path: &Path) -> io::Result<(Box<dyn Source>, u64)> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok((Box::new(file), len))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn Log>> {
        Ok(Arc::new(File::options().write(true).create(true).truncate(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    #[cfg(unix)]
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    /// Elsewhere a directory cannot be synced, and the system sees to it.
    #[cfg(not(unix))]
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl Log for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)?;
        // Where the next write goes is another matter.
        let mut file = self;
        file.seek(SeekFrom::Start(len)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        assert_eq!(Named::read("journal-000000000000002a.log"), Some(Named::Segment(42)));
        assert_eq!(Named::read("journal-ffffffffffffffff.new"), Some(Named::Draft(u64::MAX)));
        for other in [
            "",
            "journal-",
            "journal.lock",
            "journal-2a.log",
            "journal-000000000000002A.log",
            "journal-+00000000000002a.log",
            "journal-000000000000002a.log.bak",
            "journal-00000000000000é2.log",
            "a-journal-000000000000002a.log",
        ] {
            assert_eq!(Named::read(other), None, "{other}");
        }
    }
}
