//! What the tests of promises share: random numbers from a seed, and a listener that takes notes.

use cachette::Cause;
use std::sync::{Arc, Mutex};

/// `SplitMix64` (Steele, Lea, Flood 2014): the same numbers in every run.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let a = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let b = (a ^ (a >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (b ^ (b >> 31)) % n
    }
}

/// Every removal that a listener heard of, in order.
pub(crate) struct Log<K, V>(Arc<Mutex<Vec<(K, V, Cause)>>>);

impl<K, V> Log<K, V>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Vec::new())))
    }

    /// A listener that writes here.
    pub(crate) fn listener(&self) -> impl Fn(&K, &V, Cause) + Send + Sync + use<K, V> {
        let log = Arc::clone(&self.0);
        move |key, value, cause| log.lock().unwrap().push((key.clone(), value.clone(), cause))
    }

    /// What was heard since the last call.
    pub(crate) fn take(&self) -> Vec<(K, V, Cause)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}
