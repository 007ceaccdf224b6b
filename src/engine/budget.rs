//! The capacity of the whole cache, shared by its segments.
//!
//! **Problem.** A bound of its own for each segment refuses an entry heavier than a share, and lets the whole exceed the sum
//! by rounding. One word counts what is free in the whole cache: weight is reserved from it before an entry is published and
//! given back after the entry is gone, so the bound holds at every instant, and an entry as heavy as the capacity fits.
//!
//! ```text
//!   capacity = 100     |  resident 70  | reserved 12 | free 18 |
//!
//!   write of 20:   exchange(give 0, take 20)  ✗ 18 are free
//!   evict 5:       the 5 stay counted, as the writer's reservation
//!   write of 20:   exchange(give 5, take 20)  ✓ 15 more are taken, 3 are free
//! ```
//!
//! **Invariants**
//!
//! 1. `capacity - free` is what is resident plus what is reserved, at every instant.
//! 2. A lower capacity is a reservation that is never given back, so it obeys the same rule.
//!
//! | operation | cost |
//! |---|---|
//! | `exchange` of equal weights | nothing shared is touched |
//! | any other | one read-modify-write, retried under contention |

use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering};
use crossbeam_utils::CachePadded;

pub(crate) struct Budget {
    capacity: AtomicU64,
    free: CachePadded<AtomicU64>,
    /// Held by whoever gathers room from many segments: two that gather at once could each hold what the other needs.
    heavy: Mutex<()>,
}

impl Budget {
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            capacity: AtomicU64::new(capacity),
            free: CachePadded::new(AtomicU64::new(capacity)),
            heavy: Mutex::new(()),
        }
    }

    #[inline]
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Acquire)
    }

    /// What the next write may take.
    pub(crate) fn free(&self) -> u64 {
        self.free.load(Ordering::Acquire)
    }

    /// What is resident, and what is reserved for writes under way.
    pub(crate) fn used(&self) -> u64 {
        self.capacity().saturating_sub(self.free())
    }

    /// Waits for its turn to gather room from many segments.
    pub(crate) fn heavy(&self) -> MutexGuard<'_, ()> {
        self.heavy.lock()
    }

    /// An empty reservation.
    #[inline]
    pub(crate) fn reservation(&self) -> Reservation<'_> {
        Reservation { budget: self, amount: 0 }
    }

    /// Lowers the capacity by what `difference` holds, or less. The caller is [heavy](Self::heavy).
    pub(crate) fn shrink(&self, mut difference: Reservation<'_>, by: u64) {
        self.capacity.fetch_sub(by, Ordering::AcqRel);
        difference.amount -= by;
    }

    /// Raises the capacity. The caller is [heavy](Self::heavy).
    pub(crate) fn grow(&self, by: u64) {
        self.capacity.fetch_add(by, Ordering::AcqRel);
        self.free.fetch_add(by, Ordering::AcqRel);
    }
}

/// Weight taken from a budget and not resident. What is left of it goes back when it is dropped.
pub(crate) struct Reservation<'a> {
    budget: &'a Budget,
    amount: u64,
}

impl Reservation<'_> {
    pub(crate) const fn amount(&self) -> u64 {
        self.amount
    }

    /// Takes over the weight of an entry that has just left.
    #[inline]
    pub(crate) fn keep(&mut self, weight: u64) {
        self.amount += weight;
    }

    /// Gives everything back.
    #[inline]
    pub(crate) fn release(&mut self) {
        if self.amount != 0 {
            self.budget.free.fetch_add(self.amount, Ordering::AcqRel);
            self.amount = 0;
        }
    }

    /// Takes what is free, until it holds `want`.
    pub(crate) fn grab(&mut self, want: u64) {
        let missing = want.saturating_sub(self.amount);
        let take = |free: u64| Some(free - free.min(missing));
        if let Ok(free) = self.budget.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            self.amount += free.min(missing);
        }
    }

    /// Turns the reservation, and `old` that is about to leave, into `new` that is about to be published. Says no, and
    /// changes nothing, if the budget has not that much.
    #[inline]
    pub(crate) fn exchange(&mut self, old: u64, new: u64) -> bool {
        let give = self.amount + old;
        let free = &self.budget.free;
        if new > give {
            let need = new - give;
            if free
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| free.checked_sub(need))
                .is_err()
            {
                return false;
            }
        } else if new < give {
            free.fetch_add(give - new, Ordering::AcqRel);
        }
        self.amount = 0;
        true
    }
}

impl Drop for Reservation<'_> {
    #[inline]
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_above() {
        let budget = Budget::new(100);
        let mut resident = budget.reservation();
        assert!(resident.exchange(0, 70));
        let mut other = budget.reservation();
        other.grab(12);
        assert_eq!((budget.used(), other.amount()), (82, 12));

        let mut writer = budget.reservation();
        assert!(!writer.exchange(0, 20));
        assert_eq!((budget.used(), writer.amount()), (82, 0));
        writer.keep(5);
        assert!(writer.exchange(0, 20));
        assert_eq!((budget.used(), writer.amount()), (97, 0));
        drop(other);
        assert_eq!(budget.used(), 85);
    }

    #[test]
    fn an_exchange_gives_back_what_is_over() {
        let budget = Budget::new(10);
        assert!(budget.reservation().exchange(0, 10));
        assert!(!budget.reservation().exchange(0, 1));
        assert!(budget.reservation().exchange(4, 4));
        assert_eq!(budget.used(), 10);
        assert!(budget.reservation().exchange(4, 1));
        assert_eq!(budget.used(), 7);
        assert!(!budget.reservation().exchange(1, 5));
        assert!(budget.reservation().exchange(1, 4));
        assert_eq!(budget.used(), 10);
    }

    #[test]
    fn grabbing_takes_no_more_than_is_free_or_wanted() {
        let budget = Budget::new(10);
        let mut first = budget.reservation();
        first.grab(4);
        first.grab(3);
        assert_eq!(first.amount(), 4);
        let mut second = budget.reservation();
        second.grab(8);
        assert_eq!(second.amount(), 6);
        second.release();
        assert_eq!(second.amount(), 0);
        assert_eq!(budget.used(), 4);
    }

    #[test]
    fn a_lower_capacity_is_a_reservation_kept() {
        let budget = Budget::new(10);
        let mut difference = budget.reservation();
        difference.grab(4);
        let turn = budget.heavy();
        budget.shrink(difference, 4);
        assert_eq!((budget.capacity(), budget.used()), (6, 0));
        budget.grow(14);
        drop(turn);
        assert_eq!((budget.capacity(), budget.used()), (20, 0));
        assert!(budget.reservation().exchange(0, 20));
    }
}
