//! The journal as writing behind has it: keys and values in its records.

use super::journal::{Journal, JournalError, JournalOptions, JournalStats, Torn};
use super::log::{Log, Unnoted};
use crate::caught::caught;
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::tier::{Codec, CodecError, RemoteKey};
use crate::time::SystemClock;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// A journal that is open, with what an earlier process accepted and did not bring to the store: to be given to
/// [`WriteBehind::journal`](super::WriteBehind::journal).
///
/// A put returns when its record is in the journal, as certain as [`Fsync`](super::Fsync) says; when the store has acknowledged the change,
/// its record is settled, and files without open records are removed. What is in the journal at the start is in the queue before the cache
/// takes its first write, whatever the queue's bound. Dead letters that are kept stay in it, and so do writes that
/// [`close`](super::StoredCache::close) gives back: the next process tries them again.
///
/// The journal grows with every write that the store has not acknowledged, those that others have replaced included.
///
/// ```
/// use cachette::store::{JournalOptions, MemoryStore, WriteBehind, WriteJournal};
/// use cachette::{Cache, tier::Raw};
/// use std::sync::Arc;
///
/// # let dir = std::env::temp_dir().join(format!("cachette-journal-{}", std::process::id()));
/// let store = Arc::new(MemoryStore::new());
/// let open = || WriteJournal::open(&JournalOptions::new(&dir), Raw);
/// let build = |journal| {
///     let behind = WriteBehind::new().journal(journal);
///     Cache::<u64, String>::builder().capacity(100).store(store.clone()).write_behind(behind).build()
/// };
/// let views = build(open()?)?;
/// views.put(7, "seven".to_owned())?;
/// drop(views); // As a crash would: nothing was written.
/// assert_eq!(store.get(&7), None);
///
/// let journal = open()?;
/// assert_eq!(journal.recovered(), 1);
/// let views = build(journal)?;
/// views.flush()?;
/// assert_eq!(store.get(&7).as_deref(), Some("seven"));
/// # drop(views);
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct WriteJournal<K, V> {
    pub(super) log: Arc<dyn Log<K, V>>,
    pub(super) recovered: Vec<Recovered<K, V>>,
    torn: Option<Torn>,
}

/// A change of an earlier process: its number, and what was to be done.
pub(super) type Recovered<K, V> = (u64, K, Option<V>);

impl<K, V> WriteJournal<K, V>
where
    K: RemoteKey + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Opens a journal, or begins one, and reads what is open in it; values are written by `codec`. O(bytes on disk).
    ///
    /// # Errors
    ///
    /// [`JournalError`]: nothing is lost by one, and but for `Io` nothing was changed. [`JournalError::Unreadable`] if a record is none of
    /// these keys and values.
    pub fn open(options: &JournalOptions, codec: impl Codec<V>) -> Result<Self, JournalError> {
        let (journal, found) = Journal::open(options, Arc::new(SystemClock::new()))?;
        let mut recovered = Vec::with_capacity(found.records.len());
        for (number, record) in found.records {
            let (key, value) = read(&codec, &record).map_err(|why| {
                let dir = options.dir().to_owned();
                JournalError::Unreadable { path: dir, number, why }
            })?;
            recovered.push((number, key, value));
        }
        let next = AtomicU64::new(found.next_seq.max(1));
        let log = Arc::new(Journaled { journal, codec, next, of: PhantomData });
        Ok(Self { log, recovered, torn: found.torn })
    }

    /// How many changes were found that are to be made again.
    #[must_use]
    pub fn recovered(&self) -> usize {
        self.recovered.len()
    }

    /// The end of the last file that was cut off, if there was one: a crash had come in the middle of a record, which nobody was told was
    /// written.
    #[must_use]
    pub fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }
}

impl<K, V> fmt::Debug for WriteJournal<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteJournal")
            .field("recovered", &self.recovered.len())
            .field("torn", &self.torn)
            .finish_non_exhaustive()
    }
}

struct Journaled<K, V, C> {
    journal: Journal,
    codec: C,
    next: AtomicU64,
    of: PhantomData<fn(K, V)>,
}

impl<K, V, C> Log<K, V> for Journaled<K, V, C>
where
    K: RemoteKey,
    C: Codec<V>,
{
    fn append(&self, key: &K, value: Option<&V>) -> Result<u64, Unnoted> {
        let mut record = Vec::new();
        write(&self.codec, key, value, &mut record).map_err(|why| Arc::new(why) as Unnoted)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.journal.append(number, &record).map_err(|error| Arc::new(error) as Unnoted)?;
        Ok(number)
    }

    fn settle(&self, numbers: &[u64]) {
        // What could not be written is kept in mind; at worst it is made again.
        let _ = self.journal.settle(numbers);
    }

    fn due(&self) -> Option<Duration> {
        self.journal.due()
    }

    fn sync(&self) {
        // A journal that is broken says so at the next append.
        let _ = self.journal.sync();
    }

    fn stats(&self) -> JournalStats {
        self.journal.stats()
    }
}

/// The length of the key, the key; then, unless the key is deleted, the codec and the value.
fn write<K: RemoteKey, V>(
    codec: &impl Codec<V>,
    key: &K,
    value: Option<&V>,
    record: &mut Vec<u8>,
) -> Result<(), CodecError> {
    record.extend_from_slice(&[0; 4]);
    key.write(record);
    let length = u32::try_from(record.len() - 4).map_err(CodecError::new)?;
    record[..4].copy_from_slice(&length.to_le_bytes());
    if let Some(value) = value {
        record.push(codec.id());
        codec.encode(value, record)?;
    }
    Ok(())
}

fn read<K: RemoteKey, V>(
    codec: &impl Codec<V>,
    record: &[u8],
) -> Result<(K, Option<V>), &'static str> {
    let (length, rest) = record.split_first_chunk::<4>().ok_or("it is too short")?;
    let length = u32::from_le_bytes(*length) as usize;
    let (key, value) = rest.split_at_checked(length).ok_or("its key is cut off")?;
    let mut found = None;
    // The codec is the program's.
    caught(|| found = Some(K::read(key)));
    let key = found.flatten().ok_or("its key is none of these keys")?;
    let Some((id, bytes)) = value.split_first() else { return Ok((key, None)) };
    if *id != codec.id() {
        return Err("its value is of another codec");
    }
    let mut decoded = None;
    caught(|| decoded = codec.decode(bytes).ok());
    decoded.map(|value| (key, Some(value))).ok_or("its value is not understood")
}
