//! What the tests of promises share: random numbers from a seed, and a listener that takes notes.

mod rng;

use cachette::Cause;
pub(crate) use rng::Rng;
use std::sync::{Arc, Mutex};

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
