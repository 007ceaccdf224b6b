//! The journal that is open: who appends, who syncs, and what becomes of segments that are settled.

use super::error::JournalError;
use super::files::{Disk, Files, Held, Place};
use super::options::{Fsync, JournalOptions};
use super::record::{Header, Kind, frame};
use super::recover::{Found, Torn, recover};
use super::segment::{Failed, Segment, Unmade};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};
use crate::time::Clock;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::mem;
use std::time::Duration;

/// The most numbers that are settled by one record: 64 KiB of them.
const SETTLED: usize = 8_192;

/// A journal that is open. Any thread may use it; nobody else has the directory meanwhile.
pub(crate) struct Journal {
    place: Place,
    fsync: Fsync,
    segment_bytes: u64,
    record_bytes: usize,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// A sync has ended.
    done: Condvar,
    _held: Held,
}

/// What was in the journal when it was opened.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// What was not settled, in order of its numbers. A record that was settled last before a loss of power may be there again, and
    /// one whose append ended with an error.
    pub(crate) records: Vec<(u64, Vec<u8>)>,
    pub(crate) torn: Option<Torn>,
    /// Above every number that the journal was ever told of.
    pub(crate) next_seq: u64,
}

/// Numbers about a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalStats {
    /// On the disk.
    pub bytes: u64,
    /// Files that these are in.
    pub segments: u64,
    /// Records that are not settled.
    pub open: u64,
    /// How often what was appended was synced.
    pub syncs: u64,
}

struct State {
    /// Those before the last, oldest first, their numbers one after the other.
    sealed: VecDeque<Sealed>,
    last: Segment,
    /// Which segment each record is in that is not settled.
    places: HashMap<u64, u64, ahash::RandomState>,
    /// Settled, and the record that says so is still to be written.
    owed: Vec<u64>,
    next_seq: u64,
    /// Since when something waits for a sync.
    since: Option<Duration>,
    syncing: bool,
    syncs: u64,
    /// The last record that stands in for an earlier one.
    replaced: Ticket,
    /// A file was removed, and the directory not synced since.
    removed: bool,
    broken: Option<Arc<io::Error>>,
}

/// A segment that is full.
struct Sealed {
    number: u64,
    len: u64,
    open: u64,
}

/// Something that was appended: its segment, and where in it it ends.
type Ticket = (u64, u64);

impl State {
    fn place(&mut self, seq: u64) {
        let number = self.last.number;
        if let Some(earlier) = self.places.insert(seq, number) {
            self.close(earlier);
            self.replaced = (number, self.last.end);
        }
        // It is not the one that was settled.
        self.owed.retain(|owed| *owed != seq);
        self.last.open += 1;
        self.next_seq = self.next_seq.max(seq.saturating_add(1));
    }

    /// A record in this segment is settled.
    fn close(&mut self, number: u64) {
        match self.sealed.iter_mut().find(|sealed| sealed.number == number) {
            Some(sealed) => sealed.open -= 1,
            None => self.last.open -= 1,
        }
    }

    fn is_synced(&self, (number, end): Ticket) -> bool {
        number < self.last.number || end <= self.last.synced
    }
}

impl Journal {
    /// Opens the journal, or begins one, and gives back what is in it that is not settled, which it still has. O(bytes).
    ///
    /// What it has is written anew into one segment before anything else is removed: that is what cuts off a torn end, and what makes
    /// certain of records that an earlier process could read and that were never on the disk.
    ///
    /// # Errors
    ///
    /// All but `TooLarge`. Nothing is lost by one: but for `Io` nothing was changed, and after it the journal is as it was, or
    /// written anew.
    pub(crate) fn open(
        options: &JournalOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Recovered), JournalError> {
        Self::open_in(options, clock, Arc::new(Disk))
    }

    pub(super) fn open_in(
        options: &JournalOptions,
        clock: Arc<dyn Clock>,
        files: Arc<dyn Files>,
    ) -> Result<(Self, Recovered), JournalError> {
        let place = Place { files, dir: options.dir().to_owned() };
        place.make()?;
        let held = place.lock()?;
        let Found { records, torn, next_seq, number, files } = recover(&place)?;
        let header = Header { number, oldest: number, before: 0, next_seq, salt: salt(number) };
        let live = records.iter().map(|(seq, record)| (*seq, record.as_slice()));
        let last = Segment::create(&place, header, live).map_err(|unmade| match unmade {
            Unmade::Gone(error) => error,
            Unmade::Unknown(source) => broken(&place, &Arc::new(source)),
        })?;
        // The new segment says that these do not count, so no order has to be kept.
        for file in files {
            place.remove(&file)?;
        }
        place.sync()?;
        let journal = Self {
            place,
            fsync: options.fsync,
            segment_bytes: options.segment_bytes,
            record_bytes: options.record_bytes,
            clock,
            state: Mutex::new(State {
                sealed: VecDeque::new(),
                places: records.keys().map(|seq| (*seq, number)).collect(),
                last,
                owed: Vec::new(),
                next_seq,
                since: None,
                syncing: false,
                syncs: 0,
                replaced: (0, 0),
                removed: false,
                broken: None,
            }),
            done: Condvar::new(),
            _held: held,
        };
        Ok((journal, Recovered { records: records.into_iter().collect(), torn, next_seq }))
    }

    /// Takes a record. It is with the system when this returns, and on the disk if the journal is one of `Always`: threads that append
    /// at once share a sync. O(bytes), one call of the system; the record that fills a segment also pays for the next one.
    ///
    /// A number that is there already stands for the later record; the earlier one stays on the disk until that is there for certain.
    ///
    /// # Errors
    ///
    /// `TooLarge`; `Io` if the disk is full or fails: the record is not in the journal, and the next may be; `Broken`.
    pub(crate) fn append(&self, seq: u64, record: &[u8]) -> Result<(), JournalError> {
        let too_large = || JournalError::TooLarge { bytes: record.len(), limit: self.record_bytes };
        if record.len() > self.record_bytes {
            return Err(too_large());
        }
        let mut frame = frame(Kind::Record, seq, record).ok_or_else(too_large)?;
        let now = matches!(self.fsync, Fsync::Within(_)).then(|| self.clock.now());
        let mut state = self.ready(frame.len() as u64)?;
        let pushed = state.last.push(&mut frame);
        pushed.map_err(|failed| self.failed(&mut state, failed, "append to"))?;
        state.place(seq);
        state.since = state.since.or(now);
        match self.fsync {
            Fsync::Always => {
                let ticket = (state.last.number, state.last.end);
                self.wait(state, ticket)
            }
            Fsync::Within(_) | Fsync::Never => Ok(()),
        }
    }

    /// These need not be replayed. It is not synced for that: after a loss of power they may be there again. Files in which all is settled
    /// are removed, oldest first. Numbers that are not there are passed over. O(numbers).
    ///
    /// # Errors
    ///
    /// `Io`: what is to be written is kept in mind, and written with the next ones; a crash before that replays it. `Broken`.
    pub(crate) fn settle(&self, seqs: &[u64]) -> Result<(), JournalError> {
        let mut state = self.state.lock();
        self.whole(&state)?;
        for seq in seqs {
            if let Some(number) = state.places.remove(seq) {
                state.close(number);
                state.owed.push(*seq);
            }
        }
        // A full disk is no reason to keep files that nobody needs: on the contrary.
        let written = self.write_owed(&mut state);
        let removed = self.remove_settled(&mut state);
        written.and(removed)
    }

    /// Makes all that was appended certain, whatever was chosen: when it is [`due`](Self::due), and at the end. Threads that ask at once share
    /// a sync; nothing is done where there is nothing to sync.
    ///
    /// # Errors
    ///
    /// `Broken`: the system forgets what it could not write once it has said so, and would call a second attempt a success. So
    /// nobody knows what is on the disk, and nothing more is taken.
    pub(crate) fn sync(&self) -> Result<(), JournalError> {
        let state = self.state.lock();
        let ticket = (state.last.number, state.last.end);
        self.wait(state, ticket)
    }

    /// In what time [`sync`](Self::sync) is to be called; zero is now. `None`: nothing waits for it. O(1).
    pub(crate) fn due(&self) -> Option<Duration> {
        let Fsync::Within(period) = self.fsync else { return None };
        let now = self.clock.now();
        let state = self.state.lock();
        let since = state.since.filter(|_| state.broken.is_none())?;
        Some(since.saturating_add(period).saturating_sub(now))
    }

    /// O(segments).
    pub(crate) fn stats(&self) -> JournalStats {
        let state = self.state.lock();
        JournalStats {
            bytes: state.sealed.iter().map(|sealed| sealed.len).sum::<u64>() + state.last.len,
            segments: state.sealed.len() as u64 + 1,
            open: state.places.len() as u64,
            syncs: state.syncs,
        }
    }

    fn whole(&self, state: &State) -> Result<(), JournalError> {
        match &state.broken {
            Some(source) => Err(broken(&self.place, source)),
            None => Ok(()),
        }
    }

    fn give_up(&self, state: &mut State, source: io::Error) -> JournalError {
        let source = Arc::new(source);
        state.broken = Some(Arc::clone(&source));
        broken(&self.place, &source)
    }

    fn failed(&self, state: &mut State, failed: Failed, doing: &'static str) -> JournalError {
        if failed.undone {
            let path = self.place.segment(state.last.number);
            return JournalError::Io { path, doing, source: failed.source };
        }
        self.give_up(state, failed.source)
    }

    /// The lock, once the last segment has room for so many bytes, or nothing in it.
    fn ready(&self, bytes: u64) -> Result<MutexGuard<'_, State>, JournalError> {
        let mut state = self.state.lock();
        loop {
            self.whole(&state)?;
            if !state.last.is_full(bytes, self.segment_bytes) {
                return Ok(state);
            }
            if !state.syncing {
                self.begin_next(&mut state)?;
                return Ok(state);
            }
            // The system tells of a failure once: who syncs now must be the one to hear of it.
            state = self.done.wait(state);
        }
    }

    /// Seals the last segment, all of it synced, and begins the next.
    fn begin_next(&self, state: &mut State) -> Result<(), JournalError> {
        if state.last.synced < state.last.len {
            state.syncs += 1;
            if let Err(error) = state.last.log().sync() {
                return Err(self.give_up(state, error));
            }
            state.last.synced = state.last.len;
        }
        state.since = None;
        let number = state.last.number + 1;
        let oldest = state.sealed.front().map_or(state.last.number, |sealed| sealed.number);
        let (before, next_seq) = (state.last.len, state.next_seq);
        let header = Header { number, oldest, before, next_seq, salt: salt(number) };
        let next = match Segment::create(&self.place, header, [].into_iter()) {
            Ok(next) => next,
            Err(Unmade::Gone(error)) => return Err(error),
            Err(Unmade::Unknown(error)) => return Err(self.give_up(state, error)),
        };
        let Segment { number, len, open, .. } = mem::replace(&mut state.last, next);
        state.sealed.push_back(Sealed { number, len, open });
        state.removed = false;
        Ok(())
    }

    /// Waits until that is on the disk, or sees to it for all who wait.
    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        ticket: Ticket,
    ) -> Result<(), JournalError> {
        while !state.is_synced(ticket) {
            self.whole(&state)?;
            state = if state.syncing { self.done.wait(state) } else { self.sync_for_all(state)? };
        }
        Ok(())
    }

    fn sync_for_all<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> Result<MutexGuard<'a, State>, JournalError> {
        let (log, end) = (state.last.log(), state.last.len);
        state.syncing = true;
        // What is appended from now on waits for the next one.
        state.since = None;
        drop(state);
        let synced = log.sync();
        let mut state = self.state.lock();
        state.syncing = false;
        state.syncs += 1;
        self.done.notify_all();
        if let Err(error) = synced {
            return Err(self.give_up(&mut state, error));
        }
        state.last.synced = end;
        // Nothing is missing without a mark, unless it is there by half: who waited is served, and the next one hears of that.
        if let Err(Failed { undone: false, source }) = state.last.mark() {
            self.give_up(&mut state, source);
        }
        Ok(state)
    }

    fn write_owed(&self, state: &mut State) -> Result<(), JournalError> {
        while let Some((last, others)) = state.owed.split_last() {
            let others = &others[others.len().saturating_sub(SETTLED)..];
            let payload: Vec<_> = others.iter().flat_map(|seq| seq.to_le_bytes()).collect();
            let left = state.owed.len() - others.len() - 1;
            let Some(mut frame) = frame(Kind::Settled, *last, &payload) else { break };
            let pushed = state.last.push(&mut frame);
            pushed.map_err(|failed| self.failed(state, failed, "append to"))?;
            state.owed.truncate(left);
        }
        Ok(())
    }

    fn remove_settled(&self, state: &mut State) -> Result<(), JournalError> {
        // An earlier record goes no sooner than what stands in for it is on the disk.
        if !state.is_synced(state.replaced) {
            return Ok(());
        }
        while let Some(Sealed { number, open: 0, .. }) = state.sealed.front() {
            // A loss of power must not leave the older of two, and a gap behind it.
            if state.removed {
                self.place.sync()?;
            }
            self.place.remove(&self.place.segment(*number))?;
            state.removed = true;
            state.sealed.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
impl Journal {
    /// Holds what is in memory against itself, and against what is in the directory.
    pub(super) fn assert_valid(&self) {
        let state = self.state.lock();
        let numbers = state.sealed.iter().map(|sealed| (sealed.number, sealed.open));
        let counted: Vec<_> = numbers.chain([(state.last.number, state.last.open)]).collect();
        for pair in counted.windows(2) {
            assert_eq!(pair[0].0 + 1, pair[1].0, "the segments follow each other");
        }
        for (number, open) in &counted {
            let placed = state.places.values().filter(|place| *place == number).count();
            assert_eq!(placed as u64, *open, "what is open in segment {number}");
        }
        let open: u64 = counted.iter().map(|(_, open)| open).sum();
        assert_eq!(open, state.places.len() as u64, "each record is in a segment");
        assert!(state.last.synced <= state.last.len && state.last.end <= state.last.len);
        assert!(state.owed.iter().all(|seq| !state.places.contains_key(seq)));
        assert!(state.places.keys().all(|seq| *seq < state.next_seq || *seq == u64::MAX));
    }
}

fn broken(place: &Place, source: &Arc<io::Error>) -> JournalError {
    JournalError::Broken { path: place.dir.clone(), source: Arc::clone(source) }
}

/// Random, as far as the system's keys for hashing are.
fn salt(number: u64) -> u64 {
    RandomState::new().hash_one(number)
}
