//! One adapter a peer, as thin as its API allows, and the table that turns a name into a type.

mod admission;
mod bounds;
mod ours;
mod sharded;
mod unlogged;

use crate::child::{self, Job};
use crate::peer::{Info, Peer, Reader};

macro_rules! peers {
    (bounded: $($peer:ty),+; bounds: $($bound:ty),+ $(;)?) => {
        /// Every peer, ours first, the bounds last.
        pub const ALL: &[Info] = &[$(Info::peer::<$peer>(),)+ $(Info::bound::<$bound>(),)+];

        /// Runs `job` for the peer called `name`; the error says what is wrong.
        pub fn run(name: &str, job: &Job) -> Result<(), String> {
            match name {
                $(<$peer as Reader>::NAME => child::serve::<$peer>(job),)+
                $(<$bound as Reader>::NAME => child::serve_bound::<$bound>(job),)+
                _ => Err(format!("no peer is called {name}")),
            }
        }

        #[cfg(test)]
        mod tests {
            use super::*;

            /// The adapter does what its method names say.
            fn serves<P: Peer>() {
                let name = P::NAME;
                let peer = P::build(6_400);
                peer.put(1, 10);
                peer.settle();
                assert_eq!(peer.get(1), Some(10), "{name}: get after put");
                peer.put(1, 11);
                peer.settle();
                assert_eq!(peer.get(1), Some(11), "{name}: the second put replaces");
                assert_eq!(peer.get(2), None, "{name}: get of nothing");
                assert_eq!(peer.get_or_load(1, |_| 0), 11, "{name}: no load on a hit");
                assert_eq!(peer.get_or_load(2, |key| key + 20), 22, "{name}: a load on a miss");
                peer.settle();
                assert_eq!(peer.get(2), Some(22), "{name}: the load is kept");
                assert!(peer.resident().is_none_or(|count| count == 2), "{name}: two entries");
            }

            /// With room to spare in every shard nothing may be missing.
            fn fills<R: Reader>() {
                let keys = crate::keys::shuffled(4_096);
                let full = R::filled(25_600, &keys);
                let name = R::NAME;
                assert!(full.resident().is_none_or(|count| count == 4_096), "{name}: all resident");
                assert!(keys.iter().all(|&key| full.get(key) == Some(key)), "{name}: all found");
            }

            #[test]
            fn every_peer_serves() {
                $(serves::<$peer>();)+
            }

            #[test]
            fn every_peer_fills() {
                $(fills::<$peer>();)+
                $(fills::<$bound>();)+
            }
        }
    };
}

peers! {
    bounded: ours::Cachette, unlogged::QuickCache, admission::Moka, admission::MiniMoka, admission::Tiny,
        admission::Stretto, sharded::Foyer, unlogged::Scc, sharded::Lru;
    bounds: bounds::Bare, bounds::Papaya;
}

/// `Reader::filled` of every bounded peer.
fn filled<P: Peer>(capacity: u64, keys: &[u64]) -> P {
    crate::peer::fill(capacity, keys)
}

/// A capacity as the peers that count in `usize` want it.
fn size(capacity: u64) -> usize {
    usize::try_from(capacity).unwrap_or(usize::MAX)
}
