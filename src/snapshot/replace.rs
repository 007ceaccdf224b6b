//! A file that is replaced as a whole, or not at all.
//!
//! ```text
//!   .name.PID-N.tmp   create ─► write ─► fsync ─► rename to name ─► fsync of the directory
//!                        └────── an error, a panic: removed ─┘
//! ```
//!
//! A process that is killed on the way leaves the temporary file behind, and `name` as it was.

use super::SnapshotError;
use crate::sync::{AtomicU64, Ordering};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Tells files of one process apart.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A temporary file, removed when this is dropped unless it was kept.
struct Temporary {
    path: PathBuf,
    kept: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // If it cannot be removed there is nobody left to tell.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Gives `path` the content that `write` writes. O(bytes).
pub(super) fn replace<T>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<T, SnapshotError>,
) -> Result<T, SnapshotError> {
    let failed = |doing| move |source| SnapshotError::at(doing, path, source);
    let name = path.file_name().ok_or_else(|| {
        failed("creating")(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))
    })?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}-{number}.tmp", std::process::id()));
    let temporary = directory.join(temporary);
    let file =
        create(&temporary).map_err(|source| SnapshotError::at("creating", &temporary, source))?;
    let mut temporary = Temporary { path: temporary, kept: false };
    let mut writer = BufWriter::new(file);
    let written = write(&mut writer)?;
    writer.flush().map_err(failed("writing"))?;
    let file = writer.into_inner().map_err(|error| failed("writing")(error.into_error()))?;
    file.sync_all().map_err(failed("syncing"))?;
    drop(file);
    fs::rename(&temporary.path, path).map_err(failed("renaming to"))?;
    temporary.kept = true;
    sync(directory).map_err(failed("syncing the directory of"))?;
    Ok(written)
}

/// Values may be secrets: nobody else reads them.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The rename survives a loss of power. Elsewhere a directory cannot be opened, and need not be.
fn sync(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// A directory of its own, which is gone with this.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("cachette-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string();
            fs::read_dir(&self.0).unwrap().map(|entry| name(entry).unwrap()).collect()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn full() -> SnapshotError {
        SnapshotError::writing(io::Error::from(io::ErrorKind::StorageFull))
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_or_not_at_all() {
        let place = Place::new("replace");
        let path = place.0.join("it");
        replace(&path, |file| file.write_all(b"old").map_err(SnapshotError::writing)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        for bytes in [0, 1, 100_000] {
            let failed = replace(&path, |file| {
                file.write_all(&vec![7; bytes]).unwrap();
                assert_eq!(place.names().len(), 2, "it is written beside");
                Err::<(), _>(full())
            });
            assert!(matches!(failed, Err(SnapshotError::Io { .. })));
            assert_eq!(
                (fs::read(&path).unwrap(), place.names()),
                (b"old".into(), vec!["it".into()])
            );
        }
        std::panic::set_hook(Box::new(|_| {}));
        let panicked =
            catch_unwind(AssertUnwindSafe(|| replace(&path, |_| -> Result<(), _> { panic!() })));
        drop(std::panic::take_hook());
        assert!(panicked.is_err());
        assert_eq!((fs::read(&path).unwrap(), place.names()), (b"old".into(), vec!["it".into()]));
        replace(&path, |file| file.write_all(b"new").map_err(SnapshotError::writing)).unwrap();
        assert_eq!((fs::read(&path).unwrap(), place.names()), (b"new".into(), vec!["it".into()]));
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        let place = Place::new("named");
        let says = |path: &Path| replace(path, |_| Ok(())).unwrap_err().to_string();
        fs::create_dir(place.0.join("taken")).unwrap();
        fs::write(place.0.join("taken/file"), "").unwrap();
        let text = says(&place.0.join("taken"));
        assert!(text.starts_with("renaming to") && text.contains("taken"), "{text}");
        assert_eq!(place.names(), ["taken"]);
        let text = says(&place.0.join("missing/it"));
        assert!(text.starts_with("creating") && text.contains("missing"), "{text}");
        let text = says(Path::new("/"));
        assert!(text.contains("the path names no file"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_reads_it() {
        use std::os::unix::fs::PermissionsExt;

        let place = Place::new("mode");
        let path = place.0.join("it");
        replace(&path, |_| Ok(())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
