//! A segment that is appended to: how it comes to be, and how a write that failed leaves no trace.

use super::error::JournalError;
use super::files::{Log, Place, failed};
use super::record::{HEADER, Header, Kind, frame, seal};
use crate::sync::Arc;
use std::io;

/// Bytes that are gathered before they are written, when a segment is begun with records.
const GATHERED: usize = 64 << 10;

/// The segment that records are appended to. No other is ever written.
pub(super) struct Segment {
    pub(super) number: u64,
    salt: u64,
    log: Arc<dyn Log>,
    /// Its length: where the next record begins.
    pub(super) len: u64,
    /// Where the last record ends that a sync is for: marks are for nothing.
    pub(super) end: u64,
    /// All before this is on the disk.
    pub(super) synced: u64,
    /// How many of its records are not settled.
    pub(super) open: u64,
}

/// A write that failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) source: io::Error,
    /// Nothing of it is left.
    pub(super) undone: bool,
}

/// A segment that did not come to be.
#[derive(Debug)]
pub(super) enum Unmade {
    /// Nothing of it is left.
    Gone(JournalError),
    /// It may be there after a loss of power.
    Unknown(io::Error),
}

impl Segment {
    /// Begins a segment that has these records: all of it is on the disk before it gets its name, so no crash leaves a part of it.
    pub(super) fn create<'a>(
        place: &Place,
        header: Header,
        records: impl Iterator<Item = (u64, &'a [u8])>,
    ) -> Result<Self, Unmade> {
        let draft = place.draft(header.number);
        let mut made = place
            .files
            .create(&draft)
            .map(|log| Self::of(log, &header))
            .map_err(|error| Unmade::Gone(failed(&draft, "create")(error)))?;
        if let Err(error) = made.fill(&header, records) {
            // What stays is overwritten by the next attempt, and removed when the journal is opened.
            let _ = place.files.remove(&draft);
            return Err(Unmade::Gone(failed(&draft, "write")(error)));
        }
        let path = place.segment(header.number);
        if let Err(error) = place.files.rename(&draft, &path) {
            let _ = place.files.remove(&draft);
            return match place.files.remove(&path) {
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => {
                    Err(Unmade::Gone(failed(&draft, "rename")(error)))
                }
                _ => Err(Unmade::Unknown(error)),
            };
        }
        // Were it forgotten now, and there after a loss of power, the one before it would not be the last, as it should be.
        place.files.sync_dir(&place.dir).map_err(Unmade::Unknown)?;
        Ok(made)
    }

    fn of(log: Arc<dyn Log>, header: &Header) -> Self {
        Self {
            number: header.number,
            salt: header.salt,
            log,
            len: 0,
            end: HEADER as u64,
            synced: 0,
            open: 0,
        }
    }

    fn fill<'a>(
        &mut self,
        header: &Header,
        records: impl Iterator<Item = (u64, &'a [u8])>,
    ) -> io::Result<()> {
        let mut gathered = header.write();
        for (seq, payload) in records {
            let Some(mut frame) = frame(Kind::Record, seq, payload) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            seal(&mut frame, self.salt);
            gathered.extend(frame);
            self.open += 1;
            if gathered.len() >= GATHERED {
                self.write(&gathered)?;
                gathered.clear();
            }
        }
        self.write(&gathered)?;
        self.end = self.len;
        if self.open > 0 {
            // True as soon as anybody can read it.
            self.synced = self.len;
            let mut mark = self.marking();
            seal(&mut mark, self.salt);
            self.write(&mark)?;
        }
        self.log.sync()?;
        self.synced = self.len;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.log.append(bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// True if so many bytes are too many for it; one record always has room.
    pub(super) fn is_full(&self, bytes: u64, limit: u64) -> bool {
        self.end > HEADER as u64 && self.len.saturating_add(bytes) > limit
    }

    /// The file, to sync it while others append.
    pub(super) fn log(&self) -> Arc<dyn Log> {
        Arc::clone(&self.log)
    }

    /// Appends what [`frame`] made. If that fails, no byte of it is left, or nothing may be appended any more. O(bytes).
    pub(super) fn push(&mut self, frame: &mut [u8]) -> Result<(), Failed> {
        self.put(frame)?;
        self.end = self.len;
        Ok(())
    }

    /// Says how far it was synced. Without that it is as good a journal, which takes more of what is damaged later for a loss of power.
    pub(super) fn mark(&mut self) -> Result<(), Failed> {
        let mut mark = self.marking();
        self.put(&mut mark)
    }

    fn marking(&self) -> Vec<u8> {
        frame(Kind::Synced, self.synced, &[]).unwrap_or_default()
    }

    fn put(&mut self, frame: &mut [u8]) -> Result<(), Failed> {
        seal(frame, self.salt);
        let Err(source) = self.log.append(frame) else {
            self.len += frame.len() as u64;
            return Ok(());
        };
        let undone = self.log.truncate(self.len).is_ok();
        Err(Failed { source, undone })
    }
}
