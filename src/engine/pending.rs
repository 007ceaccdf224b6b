//! What is under way for keys of a segment: loads, and computations.
//!
//! **Problem.** A load that began before a write must not publish after it, and a key must not be loaded twice at once. So
//! each load leaves a mark under its key, in the same critical section in which it found nothing; every effective write
//! takes the mark away; a load publishes if and only if its mark is still there.
//!
//! What a mark is, the engine does not know: `F` is opaque. Computations leave the thread they run on, so that a closure
//! which writes its own key is found out instead of being run for ever.
//!
//! | operation | cost |
//! |---|---|
//! | `add`, `get`, `take`, `fence` | O(1) expected; O(computations under way in the segment) |

use crate::engine::Outgoing;
use crate::sync::Arc;
use equivalent::Equivalent;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

pub(crate) struct Pending<K, F> {
    /// By hash.
    loads: HashMap<u64, (K, F), ahash::RandomState>,
    /// Those whose hash another has too.
    others: Vec<(u64, (K, F))>,
    computations: Vec<Computation<K>>,
}

/// A closure that is being run for `key`, by the thread `author`.
struct Computation<K> {
    hash: u64,
    key: Arc<K>,
    author: u64,
    /// Its own thread has written the key meanwhile.
    disturbed: bool,
}

impl<K, F> Pending<K, F> {
    pub(crate) fn new() -> Self {
        Self { loads: HashMap::default(), others: Vec::new(), computations: Vec::new() }
    }

    pub(crate) fn load<Q>(&self, hash: u64, key: &Q) -> Option<&F>
    where
        Q: ?Sized + Equivalent<K>,
    {
        self.marks(hash).find(|(k, _)| key.equivalent(k)).map(|(_, load)| load)
    }

    fn marks(&self, hash: u64) -> impl Iterator<Item = &(K, F)> {
        let others = self.others.iter().filter(move |(other, _)| *other == hash);
        self.loads.get(&hash).into_iter().chain(others.map(|(_, mark)| mark))
    }

    /// Marks a load. There is none under this key.
    pub(crate) fn add_load(&mut self, hash: u64, key: K, load: F) {
        match self.loads.entry(hash) {
            Entry::Vacant(place) => drop(place.insert((key, load))),
            Entry::Occupied(_) => self.others.push((hash, (key, load))),
        }
    }

    /// True if this very load is still marked.
    pub(crate) fn has_load(&self, hash: u64, load: &F) -> bool
    where
        F: PartialEq,
    {
        self.marks(hash).any(|(_, mark)| mark == load)
    }

    /// Takes this very load's mark away, if it is still there.
    pub(crate) fn remove_load<V>(&mut self, hash: u64, load: &F, out: &mut Outgoing<K, V, F>)
    where
        F: PartialEq,
    {
        self.remove(hash, |(_, mark)| mark == load, out);
    }

    /// Marks a computation, unless this thread is already computing this key.
    pub(crate) fn begin(&mut self, hash: u64, key: &Arc<K>, author: u64) -> bool
    where
        K: Eq,
    {
        let same = |c: &Computation<K>| c.author == author && c.hash == hash && c.key == *key;
        if self.computations.iter().any(same) {
            return false;
        }
        self.computations.push(Computation {
            hash,
            key: Arc::clone(key),
            author,
            disturbed: false,
        });
        true
    }

    /// Takes a computation's mark away: the mark, to be dropped after the lock, and whether its own thread has written the
    /// key meanwhile.
    pub(crate) fn end(&mut self, key: &Arc<K>) -> (Option<Arc<K>>, bool) {
        let mine = self.computations.iter().position(|c| Arc::ptr_eq(&c.key, key));
        mine.map_or((None, false), |at| {
            let Computation { key, disturbed, .. } = self.computations.swap_remove(at);
            (Some(key), disturbed)
        })
    }

    /// A write of this key takes effect: no load that began before it may publish.
    #[inline]
    pub(crate) fn fence<Q, V>(&mut self, hash: u64, key: &Q, out: &mut Outgoing<K, V, F>)
    where
        Q: ?Sized + Equivalent<K>,
    {
        if self.has_loads() {
            self.remove(hash, |(k, _)| key.equivalent(k), out);
        }
        if !self.computations.is_empty() {
            let author = crate::sync::thread_number();
            for c in &mut self.computations {
                c.disturbed |= c.author == author && c.hash == hash && key.equivalent(&c.key);
            }
        }
    }

    /// A write of every key takes effect.
    pub(crate) fn fence_all<V>(&mut self, out: &mut Outgoing<K, V, F>) {
        let all = self.loads.drain().chain(self.others.drain(..));
        all.for_each(|(_, mark)| out.overtaken(mark));
        if !self.computations.is_empty() {
            let author = crate::sync::thread_number();
            for c in &mut self.computations {
                c.disturbed |= c.author == author;
            }
        }
    }

    fn has_loads(&self) -> bool {
        !self.loads.is_empty() || !self.others.is_empty()
    }

    // What it takes out is dropped by the caller after the lock: a key's destructor is the user's.
    fn remove<V>(&mut self, hash: u64, is: impl Fn(&(K, F)) -> bool, out: &mut Outgoing<K, V, F>) {
        match self.loads.entry(hash) {
            Entry::Occupied(place) if is(place.get()) => out.overtaken(place.remove()),
            _ => {
                let is = |(other, mark): &(u64, (K, F))| *other == hash && is(mark);
                if let Some(at) = self.others.iter().position(is) {
                    out.overtaken(self.others.swap_remove(at).1);
                }
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_loads() && self.computations.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks() -> (Pending<&'static str, u32>, Outgoing<&'static str, (), u32>) {
        (Pending::new(), Outgoing::new(false))
    }

    #[test]
    fn keys_with_one_hash_have_marks_of_their_own() {
        let (mut pending, mut out) = marks();
        pending.add_load(7, "a", 1);
        pending.add_load(7, "b", 2);
        pending.add_load(8, "a", 3);
        assert_eq!(pending.load(7, &"b"), Some(&2));
        assert_eq!(pending.load(8, &"b"), None);
        pending.fence(7, &"a", &mut out);
        assert_eq!(pending.load(7, &"a"), None);
        assert!(pending.has_load(7, &2) && pending.has_load(8, &3) && !pending.has_load(7, &1));
        assert!(out.take_loads().eq([("a", 1)]));
        pending.remove_load(7, &1, &mut out);
        pending.remove_load(7, &2, &mut out);
        assert!(out.take_loads().eq([("b", 2)]));
        pending.fence_all(&mut out);
        assert_eq!(out.take_loads().count(), 1);
        assert!(pending.is_empty());
    }

    #[test]
    fn a_mark_is_taken_by_hash_and_key() {
        let (mut pending, mut out) = marks();
        for (hash, key, load) in [(7, "a", 1), (7, "b", 2), (8, "c", 3), (8, "d", 4)] {
            pending.add_load(hash, key, load);
        }
        for (hash, key) in [(8, "a"), (8, "b"), (7, "c"), (7, "d"), (9, "b")] {
            pending.fence(hash, &key, &mut out);
        }
        assert_eq!(out.take_loads().count(), 0);
        for (hash, key, load) in [(7, "b", 2), (8, "d", 4), (8, "c", 3), (7, "a", 1)] {
            assert!(pending.has_load(hash, &load));
            pending.fence(hash, &key, &mut out);
            assert!(out.take_loads().eq([(key, load)]));
        }
        assert!(pending.is_empty());
    }

    #[test]
    fn a_computation_is_disturbed_by_its_own_thread_alone() {
        let (mut pending, mut out) = marks();
        let (mine, theirs) = (Arc::new("a"), Arc::new("a"));
        let me = crate::sync::thread_number();
        assert!(pending.begin(7, &mine, me));
        assert!(pending.begin(7, &theirs, me + 1));
        assert!(!pending.begin(7, &Arc::new("a"), me), "the same key on the same thread");
        assert!(pending.begin(7, &Arc::new("b"), me));
        pending.fence(7, &"b", &mut out);
        assert!(!pending.end(&mine).1);
        assert!(pending.begin(7, &mine, me));
        pending.fence(7, &"a", &mut out);
        assert!(pending.end(&mine).1);
        assert!(!pending.end(&theirs).1);
        assert!(pending.end(&theirs).0.is_none(), "its mark is gone");
    }

    #[test]
    fn a_write_of_all_disturbs_all_of_its_thread() {
        let (mut pending, mut out) = marks();
        let (mine, theirs) = (Arc::new("a"), Arc::new("b"));
        let me = crate::sync::thread_number();
        pending.begin(1, &mine, me);
        pending.begin(2, &theirs, me + 1);
        pending.fence_all(&mut out);
        assert!(pending.end(&mine).1);
        assert!(!pending.end(&theirs).1);
        assert!(pending.is_empty());
    }
}
