//! What a journal still has to say after a crash.
//!
//! **Problem.** A crash leaves a last record that is cut short, and a loss of power leaves holes in what was not synced. Neither was
//! promised to anybody, and the journal must open. A disk that loses what it had must be told from that: there, something that was promised
//! is gone, and only a person can decide what to do.
//!
//! All but the last segment were synced whole, so what cannot be read there is damage. In the last one a mark says how far it was synced:
//!
//! ```text
//!   ... record  record  bad  record  mark(to the end of the record before it)  record     damage: a mark says that the bad one was synced
//!   ... record  mark  record  bad  record  record                                         torn: nothing says so
//! ```
//!
//! What is torn is cut off with all that is behind it: what is recovered is what was accepted until then, and nothing that came later
//! stands in for something earlier.

use super::error::JournalError;
use super::files::{Named, Place, Source, failed};
use super::record::{HEAD, HEADER, Head, Header, Kind, settled};
use crate::crc::crc32;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::path::PathBuf;

/// Bytes that are read at once in search of a mark.
const READ: usize = 64 << 10;

/// What was cut off at the end of a journal: it was never promised to survive what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Torn {
    /// The file.
    pub file: PathBuf,
    /// Where the first byte was that could not be read.
    pub offset: u64,
    /// How many there were from there on.
    pub bytes: u64,
    /// Records that can be seen among them behind the first one, none of which was ever synced.
    pub records: u64,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, bytes, records } = self;
        let file = file.display();
        write!(f, "{file} was torn at byte {offset}: {bytes} bytes were cut off, ")?;
        write!(f, "with {records} later records that had not been synced")
    }
}

/// What is found on the disk.
#[derive(Debug)]
pub(super) struct Found {
    /// What is not settled, by its number.
    pub(super) records: BTreeMap<u64, Vec<u8>>,
    pub(super) torn: Option<Torn>,
    /// Above every number that the journal was ever told of.
    pub(super) next_seq: u64,
    /// That of the next segment.
    pub(super) number: u64,
    /// All that the journal has there. The next segment stands in for it.
    pub(super) files: Vec<PathBuf>,
}

/// Reads a journal, and changes nothing: O(bytes) in time, what is not settled in memory.
pub(super) fn recover(place: &Place) -> Result<Found, JournalError> {
    let (numbers, drafts) = list(place)?;
    let mut found = Found {
        records: BTreeMap::new(),
        torn: None,
        next_seq: 0,
        number: 0,
        files: numbers.iter().map(|number| place.segment(*number)).chain(drafts).collect(),
    };
    let Some(last) = numbers.last().copied() else { return Ok(found) };
    let (oldest, number) = ends(place, last)?;
    found.number = number;
    let counting: Vec<_> = numbers.into_iter().filter(|number| *number >= oldest).collect();
    let mut lengths = Vec::with_capacity(counting.len());
    // Every header comes before the first record: what is of another version is not read at all.
    for (number, expected) in counting.iter().zip(counting.first().copied().unwrap_or(last)..) {
        if expected != *number {
            return Err(JournalError::Missing { path: place.segment(expected) });
        }
        let (_, header) = Reader::open(place, *number)?;
        found.next_seq = found.next_seq.max(header.next_seq);
        lengths.push(Some(header.before));
    }
    // The length of each but the last stands in the next one.
    let sealed = lengths.into_iter().skip(1).chain([None]);
    for (number, sealed) in counting.into_iter().zip(sealed) {
        found.read(&mut Reader::open(place, number)?.0, sealed)?;
    }
    Ok(found)
}

/// The lowest segment that counts, and the number of the next one.
fn ends(place: &Place, last: u64) -> Result<(u64, u64), JournalError> {
    let (reader, header) = Reader::open(place, last)?;
    let next = last.checked_add(1).ok_or(JournalError::Damaged {
        path: reader.path,
        offset: 0,
        what: "no number is left for the next segment",
    })?;
    Ok((header.oldest, next))
}

/// The segments in order, and the drafts.
fn list(place: &Place) -> Result<(Vec<u64>, Vec<PathBuf>), JournalError> {
    let names = place.files.names(&place.dir).map_err(failed(&place.dir, "list"))?;
    let (mut numbers, mut drafts) = (Vec::new(), Vec::new());
    for name in names {
        match name.to_str().and_then(Named::read) {
            Some(Named::Segment(number)) => numbers.push(number),
            Some(Named::Draft(number)) => drafts.push(place.draft(number)),
            None => {}
        }
    }
    numbers.sort_unstable();
    Ok((numbers, drafts))
}

impl Found {
    /// Reads a segment, which had that length when it was sealed, if it was.
    fn read(&mut self, reader: &mut Reader, sealed: Option<u64>) -> Result<(), JournalError> {
        let path = reader.path.clone();
        let io = |error| failed(&path, "read")(error);
        loop {
            let offset = reader.at;
            let what = match reader.next().map_err(io)? {
                Next::End if sealed.is_none_or(|len| len == offset) => return Ok(()),
                Next::End => "it has another length than it was sealed with",
                Next::Whole(head, payload) => match self.take(head, payload) {
                    Ok(()) => continue,
                    Err(what) => what,
                },
                Next::Bad(what) => what,
            };
            let behind = reader.behind(offset + 1).map_err(io)?;
            if sealed.is_some() || behind.synced > offset {
                return Err(JournalError::Damaged { path, offset, what });
            }
            let (bytes, records) = (reader.len - offset, behind.records);
            self.torn = Some(Torn { file: path, offset, bytes, records });
            return Ok(());
        }
    }

    /// A number that comes again stands for what came last: a journal that was given up half-way is in two segments.
    fn take(&mut self, head: Head, payload: Vec<u8>) -> Result<(), &'static str> {
        match head.kind {
            Kind::Synced => return Ok(()),
            Kind::Record => drop(self.records.insert(head.seq, payload)),
            Kind::Settled => {
                let others = settled(&payload).ok_or("what it settles is cut short")?;
                for seq in others.chain([head.seq]) {
                    self.records.remove(&seq);
                }
            }
        }
        self.next_seq = self.next_seq.max(head.seq.saturating_add(1));
        Ok(())
    }
}

/// A segment that is read.
struct Reader {
    source: BufReader<Box<dyn Source>>,
    path: PathBuf,
    salt: u64,
    len: u64,
    /// Where the next record begins.
    at: u64,
}

/// What comes next in a segment.
enum Next {
    End,
    Whole(Head, Vec<u8>),
    /// Something that is no record, and why.
    Bad(&'static str),
}

/// What is behind something that cannot be read.
#[derive(Default)]
struct Behind {
    /// How far the segment was synced for certain.
    synced: u64,
    records: u64,
}

impl Reader {
    fn open(place: &Place, number: u64) -> Result<(Self, Header), JournalError> {
        let path = place.segment(number);
        let (source, len) = place.files.open(&path).map_err(failed(&path, "open"))?;
        let mut source = BufReader::with_capacity(READ, source);
        let mut bytes = Vec::with_capacity(HEADER);
        let read = source.by_ref().take(HEADER as u64).read_to_end(&mut bytes);
        read.map_err(failed(&path, "read"))?;
        let header = Header::read(&bytes, &path, number)?;
        Ok((Self { source, path, salt: header.salt, len, at: HEADER as u64 }, header))
    }

    fn next(&mut self) -> io::Result<Next> {
        let left = self.len.saturating_sub(self.at);
        if left == 0 {
            return Ok(Next::End);
        }
        if left < HEAD as u64 {
            return Ok(Next::Bad("a record is cut short"));
        }
        let mut bytes = [0; HEAD];
        self.source.read_exact(&mut bytes)?;
        let Some(head) = Head::read(&bytes, self.salt) else {
            return Ok(Next::Bad("there is no record"));
        };
        if left < head.end() {
            return Ok(Next::Bad("a record is cut short"));
        }
        // No more than there is, so a length cannot ask for memory that nothing fills.
        let mut payload = vec![0; head.len as usize];
        self.source.read_exact(&mut payload)?;
        if crc32(&[&payload]) != head.crc {
            return Ok(Next::Bad("the checksum of a record does not fit"));
        }
        self.at += head.end();
        Ok(Next::Whole(head, payload))
    }

    /// Looks at every byte from one on for what begins there. No payload looks like it: nobody knows the salt.
    fn behind(&mut self, from: u64) -> io::Result<Behind> {
        self.source.seek(SeekFrom::Start(from))?;
        let mut behind = Behind::default();
        let mut bytes = Vec::with_capacity(READ + HEAD);
        while self.source.by_ref().take(READ as u64).read_to_end(&mut bytes)? > 0 {
            for window in bytes.windows(HEAD) {
                match Head::read(window, self.salt) {
                    Some(Head { kind: Kind::Synced, seq, .. }) => {
                        behind.synced = behind.synced.max(seq);
                    }
                    Some(Head { kind: Kind::Record, .. }) => behind.records += 1,
                    Some(Head { kind: Kind::Settled, .. }) | None => {}
                }
            }
            // A head may begin in these bytes and end in the next.
            bytes.drain(..bytes.len().saturating_sub(HEAD - 1));
        }
        Ok(behind)
    }
}
