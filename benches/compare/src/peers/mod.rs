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
            use std::time::Duration;

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

            /// A lifetime is kept, by those that know any.
            fn expires<P: Peer>() {
                let name = P::NAME;
                for (ttl, left) in
                    [(Duration::from_nanos(1), None), (Duration::from_secs(3_600), Some(10))]
                {
                    let expiring = P::build_expiring(6_400, ttl);
                    assert_eq!(expiring.is_some(), P::EXPIRES, "{name}: a cache that expires");
                    if let Some(peer) = expiring {
                        peer.put(1, 10);
                        peer.settle();
                        assert_eq!(peer.get(1), left, "{name}: what lives for {ttl:?}");
                    }
                }
            }

            /// With room to spare in every shard nothing may be missing.
            fn fills<R: Reader>() {
                let keys = crate::keys::shuffled(4_096);
                let full = R::filled(25_600, &keys);
                let name = R::NAME;
                assert!(full.resident().is_none_or(|count| count == 4_096), "{name}: all resident");
                assert!(keys.iter().all(|&key| full.get(key) == Some(key)), "{name}: all found");
                for &way in R::WAYS {
                    let mut sum = 0_u64;
                    full.visit(way, &keys, |value| sum = sum.wrapping_add(value));
                    let all = keys.iter().fold(0, |sum: u64, key| sum.wrapping_add(*key));
                    assert_eq!(sum, all, "{name}: all seen by {way:?}");
                }
            }

            #[test]
            fn every_peer_expires_or_says_no() {
                $(expires::<$peer>();)+
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
    bounded: ours::Cachette, ours::CachetteSieve, unlogged::QuickCache, admission::Moka, admission::MiniMoka, admission::Tiny,
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
