//! Why an entry left.

/// Why an entry is no longer in the cache. A removal listener hears each removal once, with its cause.
///
/// ```
/// use cachette::{Cache, Cause};
/// use std::sync::mpsc;
///
/// let (tell, hear) = mpsc::channel();
/// let cache = Cache::builder()
///     .capacity(1)
///     .removal_listener(move |key: &u32, _: &u32, cause| tell.send((*key, cause)).unwrap())
///     .build()?;
/// cache.put(1, 10);
/// cache.put(2, 20);
/// assert_eq!(hear.recv().unwrap(), (1, Cause::Evicted));
/// # Ok::<(), cachette::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// A write gave the key a new value.
    Replaced,
    /// Its deadline passed.
    Expired,
    /// The bound was exceeded and the policy chose it.
    Evicted,
    /// The caller deleted it.
    Deleted,
    /// The caller cleared the cache.
    Cleared,
    /// It never got in: too heavy, or nothing would make room for it.
    Refused,
    /// The cache itself was dropped.
    Dropped,
}

impl Cause {
    /// Every cause, in the order of their declaration.
    pub const ALL: [Self; 7] = [
        Self::Replaced,
        Self::Expired,
        Self::Evicted,
        Self::Deleted,
        Self::Cleared,
        Self::Refused,
        Self::Dropped,
    ];
}
