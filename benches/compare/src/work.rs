//! The work: one row of the table each, after the list in DESIGN.md.

/// What a row does with the keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Hits, keys drawn from a Zipf distribution over what is resident.
    ReadZipf,
    /// Hits on one key.
    ReadHot,
    /// Hits, keys uniform over what is resident.
    ReadUniform,
    /// Three reads, then one insert, keys Zipf over ten times the capacity.
    Churn,
    /// Every key new.
    Insert,
    /// `get_or_load`, keys Zipf over twice the capacity.
    Load,
    /// Bytes an entry after churn, and of an empty cache.
    Memory,
    /// The times of single operations under churn.
    Latency,
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

pub const ROWS: &[Row] = &[
    row("get-zipf", "read hit, Zipf 0.99", Kind::ReadZipf, RESIDENT),
    row("get-zipf-mt", "read hit, Zipf 0.99", Kind::ReadZipf, RESIDENT).threaded(),
    row("get-hot", "read hit, one hot key", Kind::ReadHot, RESIDENT),
    row("get-hot-mt", "read hit, one hot key", Kind::ReadHot, RESIDENT).threaded(),
    row("get-uniform-1m", "read hit, uniform", Kind::ReadUniform, 1 << 20),
    row("get-uniform-8m", "read hit, uniform", Kind::ReadUniform, 8 << 20).full(),
    row("churn", "75/25 read/insert, Zipf over 10 x capacity", Kind::Churn, RESIDENT),
    row("churn-mt", "75/25 read/insert, Zipf over 10 x capacity", Kind::Churn, RESIDENT).threaded(),
    row("insert", "insert, every key new", Kind::Insert, RESIDENT),
    row("insert-mt", "insert, every key new", Kind::Insert, RESIDENT).threaded().full(),
    row("load", "get_or_load, Zipf over 2 x capacity", Kind::Load, RESIDENT),
    row("load-mt", "get_or_load, Zipf over 2 x capacity", Kind::Load, RESIDENT).threaded().full(),
    // Not a power of two: tables that double should be neither at their best nor at their worst.
    row("memory", "bytes of memory", Kind::Memory, 100_000),
    row("latency", "one operation under 75/25 churn", Kind::Latency, RESIDENT),
    row("latency-mt", "one operation under 75/25 churn", Kind::Latency, RESIDENT).threaded().full(),
];

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
        matches!(self.kind, Kind::ReadZipf | Kind::ReadHot | Kind::ReadUniform)
    }

    /// The bound that the cache is built with. Read rows leave a quarter of room: the segments of a peer never hold
    /// exactly their share, and nothing may be evicted there.
    pub const fn capacity(&self, quick: bool) -> u64 {
        let entries = self.entries(quick);
        if self.reads() { entries + entries / 4 } else { entries }
    }

    /// How many different keys there are; `Insert` and `Memory` never repeat one.
    pub const fn key_space(&self, quick: bool) -> u64 {
        match self.kind {
            Kind::Churn | Kind::Latency => self.entries(quick) * 10,
            Kind::Load => self.entries(quick) * 2,
            _ => self.entries(quick),
        }
    }
}
