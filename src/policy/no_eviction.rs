//! No eviction.
//!
//! **Problem.** Some data must not vanish because other data came. When the cache is full, refuse the newcomer and say so.
//!
//! **Idea.** Keep no order, since nobody will ask for one; answer "nobody" when asked who leaves. The engine then refuses the
//! write: `try_put` hands key and value back, with the reason.
//!
//! ```text
//!    full   [ A B C ]  ◄── put D     who leaves?  nobody    D is refused; A B C stay
//! ```
//!
//! Entries still leave in every other way: they are deleted, they expire, they are replaced.
//!
//! **Invariants**
//!
//! 1. `len` is the number of resident entries.
//! 2. The victim is always `Victim::None`.
//!
//! | operation | cost |
//! |---|---|
//! | every one | O(1) |
//! | memory | nothing an entry |
//!
//! **Source.** Redis's `maxmemory-policy noeviction`, its default: writes that need more memory fail, reads go on.
//!
//! **Trace.** Worked by hand; the test replays it from this very text.
//!
//! ```text
//!    call        entries
//!    insert A  │ 1
//!    insert B  │ 2
//!    hit A     │ 2
//!    update B  │ 2
//!    remove A  │ 1
//!    insert A  │ 2
//! ```

use super::{EvictionPolicy, Hears, HitCounters, Meta, Slot, Victim};
use crate::observe::Cause;

/// Gives up nothing: a write that does not fit is refused, as by Redis's `noeviction`.
///
/// Every call costs O(1), an entry no memory. There is no order of entries, so [`coldest`](EvictionPolicy::coldest) and
/// [`hottest`](EvictionPolicy::hottest) are empty.
///
/// ```
/// use cachette::{Cache, Reason, policy::NoEviction};
///
/// let cache = Cache::<u32, &str>::builder().capacity(2).policy(NoEviction::new).build()?;
/// cache.put(1, "one");
/// cache.put(2, "two");
/// let refused = cache.try_put(3, "three").unwrap_err();
/// assert_eq!((refused.key, refused.value, refused.reason), (3, "three", Reason::Full));
/// cache.delete(&1);
/// assert!(cache.try_put(3, "three").is_ok());
/// # Ok::<(), cachette::BuildError>(())
/// ```
#[derive(Debug, Default)]
pub struct NoEviction {
    len: usize,
}

impl NoEviction {
    /// A policy with no entries, that gives up none. O(1).
    #[must_use]
    pub const fn new() -> Self {
        Self { len: 0 }
    }
}

impl EvictionPolicy for NoEviction {
    fn hears(&self) -> Hears {
        Hears::Nothing
    }

    fn hears_misses(&self) -> bool {
        false
    }

    fn insert(&mut self, _: Slot, _: &Meta) {
        self.len += 1;
    }

    fn relocate(&mut self, _: Slot, _: Slot, _: &Meta) {}

    fn remove(&mut self, _: Slot, _: Cause) {
        self.len -= 1;
    }

    fn victim(&mut self, _: Option<&Meta>, _: &mut HitCounters<'_>) -> Victim {
        Victim::None
    }

    fn len(&self) -> usize {
        self.len
    }

    fn coldest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(std::iter::empty())
    }

    fn hottest(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        Box::new(std::iter::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::super::lockstep::replay;
    use super::*;

    #[test]
    fn the_trace_above() {
        replay(include_str!("no_eviction.rs"), NoEviction::new(), |policy| {
            policy.len().to_string()
        });
    }

    #[test]
    fn debug_is_short() {
        assert_eq!(format!("{:?}", NoEviction::default()), "NoEviction { len: 0 }");
    }
}
