//! What the harness asks of a cache. Every hot loop is generic over these two traits, so that each peer gets a loop
//! compiled for it alone: a virtual call per operation would cost as much as the fastest look-ups do.

use std::time::Duration;

/// The name of this repository's cache as it comes, and with SIEVE.
pub const OURS: &str = "cachette";
pub const SIEVE: &str = "cachette (sieve)";

/// A way to read many keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// One `get` a key: every peer has it.
    Get,
    /// References, under one pin for the whole batch.
    Pinned,
    /// A closure that sees each value where it lies.
    Closure,
    /// `MANY` keys a call.
    Many,
}

/// Keys a call in `Way::Many`.
pub const MANY: usize = 16;

/// A store of `u64 -> u64` that can be filled once and read.
pub trait Reader: Sized + Sync {
    /// The name in the tables, and for `--peers`.
    const NAME: &'static str;
    /// The package in `Cargo.lock`, to print its version.
    const PACKAGE: &'static str;
    /// What a reader of the numbers should know.
    const NOTE: &'static str;
    /// The ways to read it that the harness may ask for.
    const WAYS: &'static [Way] = &[Way::Get];

    /// A store with room for `capacity` entries that holds every one of `keys`, as far as its own rules let it.
    fn filled(capacity: u64, keys: &[u64]) -> Self;

    /// One look-up, with the bookkeeping that the peer's ordinary `get` does.
    fn get(&self, key: u64) -> Option<u64>;

    /// Looks `keys` up in a `way` among `WAYS`, and shows the values of those that are there.
    #[inline]
    fn visit(&self, way: Way, keys: &[u64], see: impl FnMut(u64)) {
        debug_assert!(Self::WAYS.contains(&way), "{} cannot read by {way:?}", Self::NAME);
        keys.iter().filter_map(|&key| self.get(key)).for_each(see);
    }

    /// The number of entries truly held at this moment, if the peer can say.
    fn resident(&self) -> Option<u64>;
}

/// A bounded cache.
pub trait Peer: Reader {
    /// True if a thread of the peer's own goes on working after a round: such a peer gets a process of its own for
    /// every round that writes, ended with the round, so that it cannot slow the next peer.
    const BACKGROUND: bool = false;

    /// True if `build_expiring` gives a cache.
    const EXPIRES: bool = false;

    /// True if it takes tens of seconds to fill with 8 Mi entries.
    const SLOW_TO_FILL: bool = false;

    /// An empty cache bounded to `capacity` entries.
    fn build(capacity: u64) -> Self;

    /// The same, where every entry lives for `ttl` after it was put.
    fn build_expiring(_capacity: u64, _ttl: Duration) -> Option<Self> {
        None
    }

    /// An empty cache of as many independently locked parts.
    fn build_divided(_capacity: u64, _segments: usize) -> Option<Self> {
        None
    }

    /// Inserts or replaces.
    fn put(&self, key: u64, value: u64);

    /// The value of `key`, loaded with `load` on a miss. Peers without single flight do `get`, then `put`.
    fn get_or_load(&self, key: u64, load: impl Fn(u64) -> u64) -> u64 {
        self.get(key).unwrap_or_else(|| {
            let value = load(key);
            self.put(key, value);
            value
        })
    }

    /// Waits for whatever the peer does later.
    fn settle(&self) {}
}

/// A map that never evicts.
pub trait Bound: Reader {
    /// Inserts or replaces; alone, so that a plain map can take part.
    fn insert(&mut self, key: u64, value: u64);
}

/// `Reader::filled` for a bounded cache: put everything, then put again what an admission filter or a crowded
/// segment refused, until nothing is missing or it stops helping.
pub fn fill<P: Peer>(capacity: u64, keys: &[u64]) -> P {
    let peer = P::build(capacity);
    for _ in 0..4 {
        let mut missing = 0;
        for &key in keys {
            if peer.get(key).is_none() {
                peer.put(key, key);
                missing += 1;
            }
        }
        peer.settle();
        if missing == 0 {
            break;
        }
    }
    peer
}

/// A peer as the parent process sees it: it never builds one.
#[derive(Clone, Copy)]
pub struct Info {
    pub name: &'static str,
    pub package: &'static str,
    pub note: &'static str,
    /// A map that never evicts: an upper bound, in read rows only.
    pub bound: bool,
    pub background: bool,
    pub expires: bool,
    pub slow_to_fill: bool,
    pub ways: &'static [Way],
}

impl Info {
    pub const fn peer<P: Peer>() -> Self {
        Self {
            name: P::NAME,
            package: P::PACKAGE,
            note: P::NOTE,
            bound: false,
            background: P::BACKGROUND,
            expires: P::EXPIRES,
            slow_to_fill: P::SLOW_TO_FILL,
            ways: P::WAYS,
        }
    }

    pub const fn bound<R: Reader>() -> Self {
        Self {
            name: R::NAME,
            package: R::PACKAGE,
            note: R::NOTE,
            bound: true,
            background: false,
            expires: false,
            slow_to_fill: false,
            ways: R::WAYS,
        }
    }

    /// True for each configuration of this repository's cache.
    pub fn ours(&self) -> bool {
        self.package == OURS
    }

    /// The version that this program was built with.
    pub fn version(&self) -> &'static str {
        version(self.package)
    }
}

/// The version of a package that this program was built with. Where the tree holds several, the list of our own dependencies
/// says which.
pub fn version(package: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let direct = lock.split("[[package]]").find(|part| part.contains("\"cachette-compare\""));
    let ours = |line: &'static str| {
        let (name, version) = line.trim().trim_matches(['"', ',']).split_once(' ')?;
        (name == package).then_some(version)
    };
    let only = || {
        let mut lines = lock.lines();
        lines.find(|line| quoted(line, "name = ") == Some(package))?;
        quoted(lines.next()?, "version = ")
    };
    direct.and_then(|part| part.lines().find_map(ours)).or_else(only).unwrap_or("")
}

fn quoted<'a>(line: &'a str, before: &str) -> Option<&'a str> {
    line.strip_prefix(before).map(|rest| rest.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use crate::peers;

    #[test]
    fn every_peer_has_a_version() {
        for peer in peers::ALL {
            let version = peer.version();
            assert_eq!(version.split('.').count(), 3, "{}: {version:?}", peer.name);
        }
    }
}
