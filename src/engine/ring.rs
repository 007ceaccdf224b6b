//! Hits on their way to a policy that must hear of each, in order.
//!
//! **Problem.** Exact LRU and LFU move something at every hit, and only who has the lock may. Readers take no lock: they leave
//! a note, and whoever next has the lock tells the policy, before it decides anything.
//!
//! ```text
//!   readers ── push ──►  [ 7 | 3 | 3 | 9 |   |   |   |   ]  ── drain ──► policy.hit(7), hit(3), hit(3), hit(9)
//!                         ▲ done          ▲ next
//! ```
//!
//! A reader that finds the ring full takes the lock itself, if nobody has it, and drains. If somebody has, its hit is dropped:
//! then the order is not exact, as it cannot be when hits and writes come at one moment. With one thread none is dropped.
//!
//! **Invariants**
//!
//! 1. With one thread, what is drained is what was pushed, in that order.
//! 2. `last` is the slot pushed last, if nothing has been drained or [forgotten](Ring::forget) since.
//!
//! | operation | cost |
//! |---|---|
//! | `push` | one read-modify-write; nothing if the slot was pushed last and the policy needs no telling |
//! | `drain` | O(pushed since) |

use crate::engine::slab::Slot;
use crate::engine::slab::chunks::Chunks;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Hits between two drains. At 64 a drain costs each of them a few nanoseconds.
const LENGTH: u64 = 64;
const NONE: u32 = u32::MAX;

#[repr(align(64))]
pub(crate) struct Ring {
    next: AtomicU64,
    done: AtomicU64,
    last: AtomicU32,
    /// Made at the first hit: policies that need no ring pay for none.
    slots: Chunks<AtomicU32>,
}

/// The ring is full: it must be drained first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Ring {
    pub(crate) fn new() -> Self {
        Self {
            next: AtomicU64::new(0),
            done: AtomicU64::new(0),
            last: AtomicU32::new(NONE),
            slots: Chunks::new(LENGTH.trailing_zeros()),
        }
    }

    /// True if this slot was pushed last, and nothing has happened since.
    #[inline]
    pub(crate) fn is_last(&self, slot: Slot) -> bool {
        self.last.load(Ordering::Relaxed) == slot.number()
    }

    /// Notes a hit.
    #[inline]
    pub(crate) fn push(&self, slot: Slot) -> Result<(), Full> {
        let next = self.next.load(Ordering::Relaxed);
        if next.wrapping_sub(self.done.load(Ordering::Acquire)) >= LENGTH {
            return Err(Full);
        }
        let at = self.next.fetch_add(1, Ordering::AcqRel);
        self.cell(at).store(slot.number(), Ordering::Release);
        self.last.store(slot.number(), Ordering::Relaxed);
        Ok(())
    }

    #[inline]
    fn cell(&self, at: u64) -> &AtomicU32 {
        self.slots.reach((at % LENGTH) as usize, || AtomicU32::new(NONE))
    }

    /// True if nothing waits to be drained.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.next.load(Ordering::Acquire) == self.done.load(Ordering::Relaxed)
    }

    /// What was pushed since the last drain, in order. For who has the lock. What is not taken from it is lost.
    pub(crate) fn drain(&self) -> impl Iterator<Item = Slot> + '_ {
        let next = self.next.load(Ordering::Acquire);
        let done = self.done.swap(next, Ordering::AcqRel);
        // Readers that pushed side by side may have overrun it by a few.
        (done.max(next.saturating_sub(LENGTH))..next).filter_map(|at| {
            let cell = self.cell(at);
            let slot = cell.load(Ordering::Acquire);
            // One that was announced but not stored yet is left for the next lap.
            (slot != NONE).then(|| {
                cell.store(NONE, Ordering::Relaxed);
                Slot::from_number(slot)
            })
        })
    }

    /// The policy's order has changed otherwise: even a hit on the slot that was pushed last says something new.
    #[inline]
    pub(crate) fn forget(&self) {
        if self.last.load(Ordering::Relaxed) != NONE {
            self.last.store(NONE, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drained(ring: &Ring) -> Vec<usize> {
        ring.drain().map(Slot::index).collect()
    }

    #[test]
    fn the_picture_above() {
        let ring = Ring::new();
        for slot in [7, 3, 3, 9] {
            ring.push(Slot::new(slot)).unwrap();
        }
        assert!(ring.is_last(Slot::new(9)) && !ring.is_last(Slot::new(3)));
        assert!(!ring.is_empty());
        assert_eq!(drained(&ring), [7, 3, 3, 9]);
        assert!(ring.is_empty());
        assert_eq!(drained(&ring), [0_usize; 0]);
        assert!(ring.is_last(Slot::new(9)));
        ring.forget();
        assert!(!ring.is_last(Slot::new(9)));
    }

    #[test]
    fn a_full_ring_says_so_and_loses_nothing() {
        let ring = Ring::new();
        for slot in 0..64 {
            ring.push(Slot::new(slot)).unwrap();
        }
        assert_eq!(ring.push(Slot::new(64)), Err(Full));
        assert_eq!(drained(&ring), (0..64).collect::<Vec<_>>());
        assert_eq!(ring.push(Slot::new(64)), Ok(()));
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(pushes in prop::collection::vec(0..40_usize, 0..20)) {
            let ring = Ring::new();
            for round in 0..20 {
                for &slot in &pushes {
                    ring.push(Slot::new(slot + round)).unwrap();
                }
                let all: Vec<_> = pushes.iter().map(|slot| slot + round).collect();
                prop_assert_eq!(drained(&ring), all);
            }
            prop_assert!(ring.slots.chunks() <= 1, "laps share their cells");
        }
    }
}
