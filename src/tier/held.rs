//! A value as L1 holds it: with what tells whether it may still be served.

use super::generations::Stamp;
use crate::builder::Carries;
use crate::sync::Arc;

#[derive(Clone)]
pub(crate) struct Held<V> {
    pub(super) value: V,
    /// The number of its envelope in the remote; 0 if it is not there.
    pub(super) id: u64,
    /// It is not served after this; at 0 it is not kept.
    pub(super) end: u64,
    /// Nobody tells if it changes, but its life is no longer than the bound on staleness.
    pub(super) bounded: bool,
    /// It is kept here, if nothing else is against it: its key is asked for often enough.
    pub(super) admitted: bool,
    pub(super) more: Option<Arc<More>>,
}

/// What most values have not.
#[derive(Debug, Default)]
pub(super) struct More {
    pub(super) version: u64,
    pub(super) stamps: Vec<Stamp>,
}

impl<V> Held<V> {
    /// True if all its tags are what they were.
    #[inline]
    pub(super) fn is_current(&self) -> bool {
        self.more.as_ref().is_none_or(|more| more.stamps.iter().all(Stamp::is_good))
    }

    pub(super) fn version(&self) -> u64 {
        self.more.as_ref().map_or(0, |more| more.version)
    }
}

impl More {
    /// Nothing, where there is nothing to say.
    pub(super) fn of(version: u64, stamps: Vec<Stamp>) -> Option<Arc<Self>> {
        (version != 0 || !stamps.is_empty()).then(|| Arc::new(Self { version, stamps }))
    }
}

impl<V: Send + Sync + 'static> Carries<V> for Held<V> {
    fn value(&self) -> &V {
        &self.value
    }

    fn end(&self) -> u64 {
        self.end
    }
}
