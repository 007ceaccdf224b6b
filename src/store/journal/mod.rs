//! The journal of write-behind: what was accepted and is not yet in the system of record, on disk, so that a crash does not lose it.
//!
//! **Problem.** A queue in memory is gone with its process. What it has accepted must be found again by the next one, at the
//! price of one call of the system a write, and of one wait for the disk for all who write at once; and what has been done must not fill
//! the disk. The journal takes bytes under numbers. It knows neither keys nor values.
//!
//! ```text
//!   the directory                                      append
//!     journal.lock                     held              │
//!     journal-0000000000000007.log     sealed            │     settled: nothing in it is needed, and the next
//!     journal-0000000000000008.log     sealed            │     `settle` removes it, and then the one after it
//!     journal-0000000000000009.log     the last      <───┘
//!     journal-000000000000000a.new     a draft: becomes a segment by its name, all at once
//!
//!   a segment
//!     ┌────────┬──────┬─────────┬──────┬─────────┬──────┬──
//!     │ header │ head │ payload │ head │ payload │ head │ ...
//!     └────────┴──────┴─────────┴──────┴─────────┴──────┴──
//!
//!   its header                                                        a head
//!     0       8    12       20       28       36       44     52  56    0    4 5        13   17   21
//!     ┌───────┬────┬────────┬────────┬────────┬────────┬──────┬───┐     ┌────┬─┬────────┬────┬────┐
//!     │ magic │ver.│ number │ oldest │ before │  next  │ salt │crc│     │len.│k│ number │crc │crc │
//!     └───────┴────┴────────┴────────┴────────┴────────┴──────┴───┘     └────┴─┴────────┴────┴────┘
//! ```
//!
//! | in the header | |
//! |---|---|
//! | magic | `ca c4 "JRNL" 0d 0a` |
//! | version, u32 | 1; what follows is that of this version |
//! | number, u64 | of the segment, as in its name: one more than the one before |
//! | oldest, u64 | the segment from which on they counted when this was begun |
//! | before, u64 | the length at which the segment before was sealed, if that counts: one that lost its end, a whole record, is damaged too |
//! | next, u64 | a number above all that earlier segments have |
//! | salt, u64 | random |
//! | CRC-32, u32 | of all before it |
//!
//! | in a head | |
//! |---|---|
//! | length, u32 | of the payload |
//! | kind, u8 | 1: the payload was accepted under the number. 2: the number is settled, and those in the payload, eight bytes each. 3: all before the byte of that number was synced |
//! | number, u64 | |
//! | CRC-32, u32 | of the payload |
//! | CRC-32, u32 | of the salt, and of all in the head before it |
//!
//! Numbers are little-endian. The two checksums cover all but themselves. That of the head is its own, so that a length is
//! believed before what it measures is read, and that heads can be looked for where a record is damaged. The salt is in it so that no
//! payload, whoever chose it, has in it what looks like a record of its segment.
//!
//! **Invariants**
//!
//! 1. A segment has its name only once its header, and all that it was begun with, is on the disk.
//! 2. All segments but the last are on the disk whole. So a crash tears the last one only.
//! 3. A segment ends after a whole record, whatever failed; if that cannot be had, nothing is written any more.
//! 4. The number of a record that is acknowledged and not settled is in a segment that counts.
//! 5. Segments are removed oldest first, each for good before the next: what is settled never comes back for want of the record that says so,
//!    and a gap between segments is damage.
//! 6. One sync runs at a time, and once one has failed none is tried: a system that could not write a page forgets it, says so
//!    once, and calls the next attempt a success.
//!
//! | | cost |
//! |---|---|
//! | append | O(bytes), one write; with `Fsync::Always` one sync for all who wait. Who fills a segment pays for a sync, and for the making of the next |
//! | settle | O(numbers), one write for up to 8,192 of them; a removal for each segment that is done |
//! | open | O(bytes on disk) to read; what is not settled is written anew, and is what is in memory |
//! | in memory | 16 bytes and some for each record that is not settled |
//! | on disk | 21 bytes a record, 21 or fewer to settle it |
//!
//! Worked by hand, with segments of 128 bytes, in which two records of 10 bytes have room (56 + 31 + 31), but no third:
//!
//! ```text
//!   append 0, append 1       [0 1]
//!   append 2                 [0 1] [2]        the first is sealed
//!   settle 0                 [0 1] [2 -0]
//!   settle 2                 [0 1] [2 -0 -2]  1 is not settled: what is behind it stays
//!   append 3                 [0 1] [2 -0 -2] [3]
//!   settle 1                 [3 -1]           the first goes, and then the second
//!   a crash, open            [3]              written anew
//! ```

mod error;
mod files;
mod options;
mod record;
mod recover;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

pub use error::JournalError;
pub use options::{Fsync, JournalOptions};
pub use recover::Torn;
pub(crate) use writer::Journal;
pub use writer::JournalStats;
