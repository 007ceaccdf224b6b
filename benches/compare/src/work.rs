//! The work: one row of the table each, after the list in DESIGN.md.

use crate::Options;
use crate::peer::{Info, Way};

/// What a row does with the keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Hits, keys drawn from a Zipf distribution over what is resident.
    ReadZipf,
    /// Hits on one key.
    ReadHot,
    /// Hits, keys uniform over what is resident.
    ReadUniform,
    /// Hits like those of `ReadZipf`, in another way, beside a plain get of a bare map.
    Read(Way),
    /// Three reads, then one insert, keys Zipf over ten times the capacity.
    Churn,
    /// Every key new.
    Insert,
    /// `get_or_load`, keys Zipf over twice the capacity.
    Load,
    /// Bytes an entry after churn, and of an empty cache.
    Memory,
    /// A get and an update, at every one of `SIZES`.
    Cost,
    /// The times of single operations under churn.
    Latency,
    /// The same, while everything that was put first expires at one moment.
    Expire,
    /// The times of inserts into a cache that grows from nothing.
    Grow,
}

/// One row.
pub struct Row {
    pub name: &'static str,
    pub title: &'static str,
    pub kind: Kind,
    /// Run on as many threads as `--threads` says, else on one.
    pub threaded: bool,
    /// Only with `--full`, or when named.
    pub full: bool,
    /// How many entries: what is resident in read rows, else the capacity.
    entries: u64,
}

const RESIDENT: u64 = 64 << 10;
const HUGE: u64 = 8 << 20;

/// How many entries there are in turn in the row `cost`, a sixteenth in a smoke test.
pub const SIZES: [u64; 5] = [1 << 10, 16 << 10, 128 << 10, 1 << 20, HUGE];

pub const ROWS: &[Row] = &[
    row("get-zipf", "read hit, Zipf 0.99", Kind::ReadZipf, RESIDENT),
    row("get-zipf-mt", "read hit, Zipf 0.99", Kind::ReadZipf, RESIDENT).threaded(),
    row("get-hot", "read hit, one hot key", Kind::ReadHot, RESIDENT),
    row("get-hot-mt", "read hit, one hot key", Kind::ReadHot, RESIDENT).threaded(),
    row("get-uniform-1m", "read hit, uniform", Kind::ReadUniform, 1 << 20),
    row("get-uniform-8m", "read hit, uniform", Kind::ReadUniform, HUGE),
    row("get-pinned", "read hit by reference, Zipf 0.99, a pin for 1,024", PINNED, RESIDENT),
    row("get-closure", "read hit by closure, Zipf 0.99", CLOSURE, RESIDENT),
    row("get-many-8m", "get_many of 16, hits, uniform", MANY, HUGE),
    row("churn", "75/25 read/insert, Zipf over 10 x capacity", Kind::Churn, RESIDENT),
    row("churn-mt", "75/25 read/insert, Zipf over 10 x capacity", Kind::Churn, RESIDENT).threaded(),
    row("insert", "insert, every key new", Kind::Insert, RESIDENT),
    row("insert-mt", "insert, every key new", Kind::Insert, RESIDENT).threaded().full(),
    row("load", "get_or_load, Zipf over 2 x capacity", Kind::Load, RESIDENT),
    row("load-mt", "get_or_load, Zipf over 2 x capacity", Kind::Load, RESIDENT).threaded().full(),
    // Not a power of two: tables that double should be neither at their best nor at their worst.
    row("memory", "bytes of memory", Kind::Memory, 100_000),
    row("cost", "a get and an update, uniform", Kind::Cost, HUGE),
    row("latency", "one operation under 75/25 churn", Kind::Latency, RESIDENT),
    row("latency-mt", "one operation under 75/25 churn", Kind::Latency, RESIDENT).threaded().full(),
    row("expire", "one operation of 75/25 after all expired at once", Kind::Expire, 1 << 20),
    row("grow", "one insert, growing from empty", Kind::Grow, HUGE),
];

const PINNED: Kind = Kind::Read(Way::Pinned);
const CLOSURE: Kind = Kind::Read(Way::Closure);
const MANY: Kind = Kind::Read(Way::Many);

const fn row(name: &'static str, title: &'static str, kind: Kind, entries: u64) -> Row {
    Row { name, title, kind, threaded: false, full: false, entries }
}

impl Row {
    const fn threaded(mut self) -> Self {
        self.threaded = true;
        self
    }

    const fn full(mut self) -> Self {
        self.full = true;
        self
    }

    pub fn named(name: &str) -> Option<&'static Self> {
        ROWS.iter().find(|row| row.name == name)
    }

    /// Entries; a sixteenth of them in a smoke test.
    pub const fn entries(&self, quick: bool) -> u64 {
        if quick { self.entries / 16 } else { self.entries }
    }

    /// Reads alone: the bounds take part.
    pub const fn reads(&self) -> bool {
        matches!(self.kind, Kind::ReadZipf | Kind::ReadHot | Kind::ReadUniform | Kind::Read(_))
    }

    /// How it reads.
    pub const fn way(&self) -> Way {
        match self.kind {
            Kind::Read(way) => way,
            _ => Way::Get,
        }
    }

    /// Every round begins with nothing, in a process of its own.
    pub const fn begins_anew(&self) -> bool {
        matches!(self.kind, Kind::Memory | Kind::Expire | Kind::Grow)
    }

    /// The result is the times of single operations.
    pub const fn times(&self) -> bool {
        matches!(self.kind, Kind::Latency | Kind::Expire | Kind::Grow)
    }

    /// The result is a rate.
    pub const fn rates(&self) -> bool {
        !self.times() && !matches!(self.kind, Kind::Memory | Kind::Cost)
    }

    /// True if `peer` has a place here: it can do the work, and does not take minutes to get ready, unless asked for.
    pub fn admits(&self, peer: &Info, options: &Options) -> bool {
        let (cost, huge) = (matches!(self.kind, Kind::Cost), self.entries >= HUGE);
        let able = peer.ways.contains(&self.way())
            && (!matches!(self.kind, Kind::Expire) || peer.expires)
            && (!peer.bound || cost || self.reads());
        let asked = options.full || !options.peers.is_empty();
        let few = peer.bound || peer.ours() || peer.name == "quick_cache";
        able && (asked || !(huge && peer.slow_to_fill)) && (asked || !cost || few)
    }

    /// The bound that the cache is built with. Rows that evict nothing leave a quarter of room: the segments of a peer never hold
    /// exactly their share, and nothing may be evicted there.
    pub const fn capacity(&self, quick: bool) -> u64 {
        let entries = self.entries(quick);
        let room = self.reads() || matches!(self.kind, Kind::Cost | Kind::Expire | Kind::Grow);
        if room { entries + entries / 4 } else { entries }
    }

    /// How many different keys there are; `Insert`, `Memory` and `Grow` never repeat one.
    pub const fn key_space(&self, quick: bool) -> u64 {
        match self.kind {
            Kind::Churn | Kind::Latency => self.entries(quick) * 10,
            Kind::Load => self.entries(quick) * 2,
            _ => self.entries(quick),
        }
    }
}
