//! A stripe of the key space: what readers see without a lock, and the lock that writers take.
//!
//! ```text
//!   Stripe   [ Shared: index, slab, deadlines, ring ]   [ lock | State ]
//!                 ▲ readers, pinned                         ▲ one writer, through `Segment`
//! ```
//!
//! The lock refuses a thread that already holds one. A thread could only come back to it from user code that runs under it:
//! a key's `Eq`, or a policy or a clock that calls a cache. Waiting would be for ever; a panic names the mistake.

use super::ages::Ages;
use super::deadlines::Deadlines;
use super::epoch::{Views, domain};
use super::index::Index;
use super::ring::Ring;
use super::segment::Segment;
use super::slab::{Entry, Slab};
use super::stamps::Stamps;
use super::state::State;
use super::{Mutex, MutexGuard, Plan};
use crate::sync::{Arc, AtomicU32, AtomicU64, Ordering};
use std::cell::Cell;

thread_local! {
    /// This thread holds a segment's lock.
    static HOLDS: Cell<bool> = const { Cell::new(false) };
    /// This thread has a turn in a queue of computations.
    static HAS_TURN: Cell<bool> = const { Cell::new(false) };
}

/// What readers see. What is written to by every hit of an exact policy has a cache line of its own, behind what is hardly
/// ever written to.
#[repr(C, align(64))]
pub(crate) struct Shared<K, V> {
    pub(crate) index: Index,
    pub(crate) slab: Slab<K, V>,
    /// How the policy hears: a word of [`Ears`](super::guarded::Ears).
    pub(crate) ears: AtomicU32,
    pub(crate) deadlines: Deadlines,
    /// If the cache is told of freshness.
    pub(crate) ages: Option<Box<Ages>>,
    /// If the policy asks for them.
    pub(crate) stamps: Option<Box<Stamps>>,
    pub(crate) ring: Ring,
}

/// What writers write to begins on a line of its own too.
#[repr(C)]
pub(crate) struct Stripe<K, V, F> {
    pub(crate) shared: Shared<K, V>,
    pub(crate) number: usize,
    /// Entries that may be in limbo here, if that is more than 2 %.
    pub(crate) limbo: usize,
    /// The cache's, shared by its stripes.
    views: Arc<Views>,
    /// The segment's weight when its lock was last released, for others to choose by.
    weight: AtomicU64,
    /// Computations that keep losing queue here.
    queue: Mutex<()>,
    state: Mutex<State<K, F>>,
}

impl<K, V, F> Stripe<K, V, F> {
    /// A segment with this share of the capacity; `expected` entries, if that is known.
    pub(crate) fn new(
        number: usize,
        plan: &Plan,
        share: u64,
        expected: Option<usize>,
        limbo: usize,
        views: Arc<Views>,
    ) -> Self {
        let (index, scribe) = Index::new(expected);
        let (slab, keeper) = Slab::new(expected.unwrap_or(usize::MAX));
        let state = State::new(scribe, keeper, Arc::clone(&plan.make), share);
        let stamps = |touch| Box::new(Stamps::new(touch, Arc::clone(&plan.clock)));
        let shared = Shared {
            index,
            slab,
            deadlines: Deadlines::new(plan.grace.unwrap_or(0)),
            ages: plan.grace.map(|_| Box::new(Ages::new())),
            stamps: state.policy.touch().map(stamps),
            ring: Ring::new(),
            ears: AtomicU32::new(state.ears().word()),
        };
        Self {
            shared,
            number,
            limbo,
            views,
            weight: AtomicU64::new(0),
            queue: Mutex::new(()),
            state: Mutex::new(state),
        }
    }

    /// What has a lower tag than this, no reader of this cache can see any more, but through a hazard.
    pub(crate) fn safe(&self) -> u64 {
        domain().safe().min(self.views.oldest())
    }

    #[inline]
    pub(crate) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn publish_weight(&self, weight: u64) {
        if self.weight.load(Ordering::Relaxed) != weight {
            self.weight.store(weight, Ordering::Relaxed);
        }
    }

    /// Waits for the lock.
    ///
    /// # Panics
    ///
    /// If this thread holds a segment's lock: user code that must not call a cache has called one.
    #[inline]
    pub(crate) fn lock(&self) -> Segment<'_, K, V, F> {
        refuse_reentry();
        self.locked(self.state.lock())
    }

    /// Takes the lock if no one has it.
    pub(crate) fn try_lock(&self) -> Option<Segment<'_, K, V, F>> {
        refuse_reentry();
        self.state.try_lock().map(|guard| self.locked(guard))
    }

    #[inline]
    fn locked<'a>(&'a self, state: MutexGuard<'a, State<K, F>>) -> Segment<'a, K, V, F> {
        HOLDS.set(true);
        Segment::new(self, state)
    }

    /// Takes out at most `most` of the entries that are left, to be dropped. The cache is being dropped: nobody looks.
    pub(crate) fn drain(&mut self, most: usize) -> Vec<Entry<K, V>> {
        let Self { shared, state, .. } = self;
        shared.slab.drain(&mut state.get_mut().keeper, most)
    }
}

/// True if this thread is inside a critical section: user code that runs there must not come back.
pub(crate) fn is_locked() -> bool {
    HOLDS.get()
}

pub(super) fn unlocked() {
    HOLDS.set(false);
}

fn refuse_reentry() {
    assert!(
        !HOLDS.get(),
        "cachette was called under its own lock: `Eq`, a policy and a clock must not call a cache"
    );
}

/// A place at the head of a queue of computations.
pub(crate) struct Turn<'a> {
    _guard: MutexGuard<'a, ()>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new<K, V, F>(stripe: &'a Stripe<K, V, F>) -> Self {
        let guard = stripe.queue.lock();
        HAS_TURN.set(true);
        Self { _guard: guard }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        HAS_TURN.set(false);
    }
}

/// True if this thread has a turn.
pub(crate) fn has_turn() -> bool {
    HAS_TURN.get()
}
