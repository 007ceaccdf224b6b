//! Grace periods: when may what was unlinked be destroyed?
//!
//! **Problem.** A reader takes no lock, so a writer cannot know who still looks at an entry that it has just unlinked. A count
//! of readers in the entry would cost each of them two read-modify-writes on a line that all share. Here a reader announces
//! itself in a line of its own, with plain stores, and a writer waits for a moment at which all who could have seen the entry
//! have left. Nobody waits for that moment; entries do, in limbo.
//!
//! ```text
//!   epoch           5        5        6                6                7
//!   reader A     pin(5) ─────────────────────── unpin
//!   reader B                             pin(6) ──────────────────────────────► still pinned
//!   writer           unlink x   seal: tag 5            grace: all pins > 5      x is destroyed
//!                               (epoch is 6 now)       (B's is 6: it came after the unlink)
//! ```
//!
//! **Protocol**
//!
//! 1. A reader *pins*: it loads the epoch and stores it in its own record. Only then does it load a link.
//! 2. A writer unlinks; then it *seals* what it has unlinked: it adds 1 to the epoch, and the value before is the tag. The tag
//!    is what that read-modify-write returned, never an epoch that was loaded: between a load and an unlink a reader could
//!    pin the next epoch and still find the link.
//! 3. A *grace period*: a barrier for all threads, then a look at every record. What has a tag below every pin seen there is
//!    safe: a reader with a later pin has seen the addition, and so the unlink before it; one whose pin was not seen had not
//!    loaded anything before the barrier, and sees the unlink too.
//! 4. A reader that runs a user's closure on an entry first publishes the entry's address as a *hazard*, then unpins. Whoever
//!    destroys looks for hazards after it has seen the grace period: from the pin to the closure's end there is no gap.
//!
//! **Invariants**
//!
//! 1. A record has one owner at a time, the thread that has taken it; only the owner stores in it.
//! 2. `safe` never goes back, and is at most the epoch.
//! 3. Records are never freed: there are as many as there have ever been threads that read at once.
//!
//! | operation | cost |
//! |---|---|
//! | pin and unpin | about 1 ns with [`Fences::Writer`], else 6 |
//! | `seal` | one read-modify-write |
//! | `grace` | one barrier, O(records); one at a time in the process, and it serves all |
//!
//! Sources: K. Fraser, *Practical lock-freedom*, 2004 (epochs); M. Michael, *Hazard Pointers*, 2004; the barrier: see
//! [`sys`](super::sys).

use super::sys::{Fences, heavy_barrier};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU64, Mutex, Ordering, compiler_fence, fence};
use std::marker::PhantomData;
use std::ptr;

/// Hazards a record: closures that one thread may be in at once before it borrows another record.
const HAZARDS: usize = 7;

/// One thread's announcements, in two cache lines that no other thread writes.
#[repr(align(128))]
pub(crate) struct Record {
    /// The epoch of the oldest pin of its owner; 0 if there is none.
    pin: AtomicU64,
    domain: &'static Domain,
    hazards: [AtomicPtr<()>; HAZARDS],
    taken: AtomicBool,
    /// The record that was there before this one. Never changes once this one is in the list.
    next: AtomicPtr<Self>,
}

impl Record {
    fn new(domain: &'static Domain) -> Self {
        Self {
            pin: AtomicU64::new(0),
            domain,
            hazards: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            taken: AtomicBool::new(true),
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Says that its owner is about to follow links.
    #[inline]
    fn announce(&self) {
        // Acquire: whoever reads an epoch sees all that was unlinked before it began.
        let epoch = self.domain.epoch.load(Ordering::Acquire);
        // The thread sanitizer knows no fences, so there the store itself must be one.
        #[cfg(cachette_tsan)]
        self.pin.swap(epoch, Ordering::SeqCst);
        // Release: whoever sees this pin, and not the unpinning before it, sees what the thread did under its last pin: it may
        // destroy what that looked at, and must see the hazards that it left.
        #[cfg(not(cachette_tsan))]
        self.pin.store(epoch, Ordering::Release);
        match self.domain.fences {
            Fences::Writer => compiler_fence(Ordering::SeqCst),
            Fences::Everyone => fence(Ordering::SeqCst),
        }
    }

    fn release(&self) {
        self.taken.store(false, Ordering::Release);
    }
}

/// Everything that shares one epoch.
pub(crate) struct Domain {
    fences: Fences,
    epoch: AtomicU64,
    safe: AtomicU64,
    records: AtomicPtr<Record>,
    /// Held by who is in a grace period.
    turn: Mutex<()>,
}

/// How much a grace period is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grace {
    #[default]
    No,
    /// If nobody else is at it.
    Try,
    /// At any rate: too much is in limbo. The wait is for another writer, who is at it, never for a reader.
    Wait,
}

impl Domain {
    pub(crate) fn new(fences: Fences) -> Self {
        Self {
            fences,
            epoch: AtomicU64::new(1),
            safe: AtomicU64::new(1),
            records: AtomicPtr::new(ptr::null_mut()),
            turn: Mutex::new(()),
        }
    }

    fn records(&self) -> impl Iterator<Item = &'static Record> + use<> {
        let mut next = self.records.load(Ordering::Acquire);
        std::iter::from_fn(move || {
            let record = record_at(next)?;
            next = record.next.load(Ordering::Relaxed);
            Some(record)
        })
    }

    /// A record for the caller alone: one that was given back, or a new one.
    fn take(&'static self) -> &'static Record {
        for record in self.records() {
            let free = !record.taken.load(Ordering::Relaxed);
            if free && !record.taken.swap(true, Ordering::Acquire) {
                return record_at(ptr::from_ref(record).cast_mut())
                    .unwrap_or_else(|| unreachable!());
            }
        }
        let record: &'static Record = Box::leak(Box::new(Record::new(self)));
        let mut head = self.records.load(Ordering::Relaxed);
        loop {
            record.next.store(head, Ordering::Relaxed);
            let mine = ptr::from_ref(record).cast_mut();
            match self.records.compare_exchange(head, mine, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return record,
                Err(now) => head = now,
            }
        }
    }

    /// Ends the epoch in which the caller has unlinked something, and says which it was: the tag of what was unlinked.
    pub(crate) fn seal(&self) -> u64 {
        self.epoch.fetch_add(1, Ordering::SeqCst)
    }

    /// What has a lower tag than this, nobody can see any more, but through a hazard.
    #[inline]
    pub(crate) fn safe(&self) -> u64 {
        self.safe.load(Ordering::Acquire)
    }

    /// Looks how far everybody has come. Costs microseconds; no segment's lock may be held.
    pub(crate) fn grace(&self, grace: Grace) {
        let _turn = match grace {
            Grace::No => return,
            Grace::Try => {
                let Some(turn) = self.turn.try_lock() else { return };
                turn
            }
            Grace::Wait => self.turn.lock(),
        };
        // What was sealed before this load was unlinked before the barrier.
        let sealed = self.epoch.load(Ordering::SeqCst);
        if heavy_barrier(self.fences) {
            let pins = self.records().map(|record| record.pin.load(Ordering::Acquire));
            let safe = pins.filter(|&pin| pin != 0).fold(sealed, u64::min);
            if safe > self.safe.load(Ordering::Relaxed) {
                self.safe.store(safe, Ordering::Release);
            }
        }
    }

    /// What closures still look at. To be asked after [`safe`](Self::safe).
    pub(crate) fn hazards(&self) -> Vec<*const ()> {
        let hazards = self.records().flat_map(|record| &record.hazards);
        let places = hazards.map(|hazard| hazard.load(Ordering::Acquire).cast_const());
        places.filter(|place| !place.is_null()).collect()
    }
}

#[expect(unsafe_code, reason = "records are found through links")]
fn record_at(place: *mut Record) -> Option<&'static Record> {
    // SAFETY: `place` is null or was made by `Box::leak` in `take`, and is never freed.
    unsafe { place.as_ref() }
}

/// A thread's announcement that it is about to follow links. What it finds while this lives is not destroyed.
pub(crate) struct Pin {
    record: &'static Record,
    /// What the record said before: pins nest, and the oldest counts. [`LENT`] if the record was taken for this pin alone.
    was: u64,
    /// A record is its thread's own.
    _not_send: PhantomData<*const ()>,
}

/// No epoch gets so far.
const LENT: u64 = u64::MAX;

/// Proof that, while `'p` lasts, nothing is destroyed that is found now: there is a [`Pin`], or the cache has a [`View`].
#[derive(Clone, Copy)]
pub(crate) struct Guard<'p>(PhantomData<&'p ()>);

impl Pin {
    /// A pin by the record of this thread.
    #[inline]
    fn new(record: &'static Record) -> Self {
        let was = record.pin.load(Ordering::Relaxed);
        if was == 0 {
            record.announce();
        }
        Self { record, was, _not_send: PhantomData }
    }

    /// A pin by a record of its own.
    fn lent(record: &'static Record) -> Self {
        record.announce();
        Self { record, was: LENT, _not_send: PhantomData }
    }

    pub(crate) fn guard(&self) -> Guard<'_> {
        Guard(PhantomData)
    }

    /// Publishes an address as a hazard: it is not destroyed before the guard is gone, even if the pin goes first.
    pub(crate) fn protect(&self, place: *const ()) -> Hazard {
        let free = |record: &'static Record| {
            record.hazards.iter().find(|hazard| hazard.load(Ordering::Relaxed).is_null())
        };
        // A lent record goes back with its pin, and a thread may be in more closures than its own has hazards.
        let own = if self.was == LENT { None } else { free(self.record) };
        let (hazard, lent) = own.map_or_else(
            || {
                let record = self.record.domain.take();
                (&record.hazards[0], Some(record))
            },
            |hazard| (hazard, None),
        );
        // Before the store that unpins, which releases.
        hazard.store(place.cast_mut(), Ordering::Release);
        Hazard { hazard, lent, _not_send: PhantomData }
    }
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        if self.was == LENT {
            self.record.pin.store(0, Ordering::Release);
            self.record.release();
        } else {
            self.record.pin.store(self.was, Ordering::Release);
        }
    }
}

/// An address that is not destroyed while this lives.
pub(crate) struct Hazard {
    hazard: &'static AtomicPtr<()>,
    lent: Option<&'static Record>,
    _not_send: PhantomData<*const ()>,
}

impl Drop for Hazard {
    fn drop(&mut self) {
        self.hazard.store(ptr::null_mut(), Ordering::Release);
        if let Some(record) = self.lent {
            record.release();
        }
    }
}

/// Readers of one cache who stay: they hold back what leaves this cache, and no other.
///
/// A view begins and is looked for under a lock. So whoever destroys has either seen the view, or unlinked before it began.
pub(crate) struct Views {
    /// The epochs in which they began.
    epochs: Mutex<Vec<u64>>,
}

impl Views {
    pub(crate) fn new() -> Self {
        Self { epochs: Mutex::new(Vec::new()) }
    }

    pub(crate) fn begin(&self, domain: &Domain) -> View<'_> {
        let mut epochs = self.epochs.lock();
        let epoch = domain.epoch.load(Ordering::SeqCst);
        epochs.push(epoch);
        View { views: self, epoch, _not_send: PhantomData }
    }

    /// The epoch of the oldest view; the end of time if there is none.
    pub(crate) fn oldest(&self) -> u64 {
        self.epochs.lock().iter().copied().min().unwrap_or(u64::MAX)
    }
}

/// A reader of one cache who stays.
pub(crate) struct View<'v> {
    views: &'v Views,
    epoch: u64,
    _not_send: PhantomData<*const ()>,
}

impl View<'_> {
    pub(crate) fn guard(&self) -> Guard<'_> {
        Guard(PhantomData)
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        let mut epochs = self.views.epochs.lock();
        if let Some(mine) = epochs.iter().position(|&epoch| epoch == self.epoch) {
            epochs.swap_remove(mine);
        }
    }
}

#[cfg(test)]
impl Domain {
    /// A pin by a record of its own.
    pub(crate) fn pin(&'static self) -> Pin {
        Pin::lent(self.take())
    }

    /// One that no other test or model touches.
    pub(crate) fn of_a_test() -> &'static Self {
        let domain = Box::leak(Box::new(Self::new(Fences::Everyone)));
        #[cfg(not(cachette_loom))]
        tests::MADE.lock().push(domain);
        domain
    }
}

#[cfg(all(test, cachette_loom))]
mod models;

#[cfg(not(cachette_loom))]
pub(crate) use of_the_process::{domain, pin};

/// The one domain that all caches share: a thread has one record, and a barrier serves everybody.
#[cfg(not(cachette_loom))]
mod of_the_process {
    use super::{Domain, Pin, Record};
    use crate::engine::sys::fences;
    use crate::sync::OnceLock;
    use std::cell::Cell;

    static DOMAIN: OnceLock<Domain> = OnceLock::new();

    #[inline]
    pub(crate) fn domain() -> &'static Domain {
        DOMAIN.get_or_init(|| Domain::new(fences()))
    }

    thread_local! {
        /// This thread's record. Without a destructor, so that it is the cheapest to reach, and always can be.
        static MINE: Cell<Option<&'static Record>> = const { Cell::new(None) };
        static OWNER: Owner = const { Owner };
    }

    /// Gives the thread's record back when the thread ends.
    struct Owner;

    impl Drop for Owner {
        fn drop(&mut self) {
            if let Some(record) = MINE.take() {
                record.release();
            }
        }
    }

    /// Pins the calling thread.
    #[inline]
    pub(crate) fn pin() -> Pin {
        match MINE.get() {
            Some(record) => Pin::new(record),
            None => first(),
        }
    }

    /// A thread's first pin; or any of a thread that runs its last destructors, for which a record is borrowed each time.
    #[cold]
    fn first() -> Pin {
        let record = domain().take();
        match OWNER.try_with(|_| MINE.set(Some(record))) {
            Ok(()) => Pin::new(record),
            Err(_) => Pin::lent(record),
        }
    }
}

#[cfg(test)]
#[cfg(not(cachette_loom))]
mod tests {
    use super::*;
    use crate::sync::thread;

    /// All that tests have made: Miri takes what nothing leads to for a leak.
    pub(super) static MADE: Mutex<Vec<&Domain>> = Mutex::new(Vec::new());

    fn safe_now(domain: &Domain) -> u64 {
        domain.grace(Grace::Wait);
        domain.safe()
    }

    fn records(domain: &Domain) -> usize {
        domain.records().count()
    }

    #[test]
    fn the_picture_above() {
        let domain = Domain::of_a_test();
        let (a, b) = (domain.take(), domain.take());
        for epoch in 1..5 {
            assert_eq!(domain.seal(), epoch);
        }
        assert_eq!(safe_now(domain), 5);
        let reader_a = Pin::new(a);
        let x = domain.seal();
        assert_eq!(x, 5);
        let reader_b = Pin::new(b);
        assert_eq!(safe_now(domain), 5, "A may look at x");
        drop(reader_a);
        assert_eq!(domain.safe(), 5, "nobody has looked");
        assert_eq!(safe_now(domain), 6, "x is destroyed");
        assert_eq!(domain.seal(), 6);
        assert_eq!(safe_now(domain), 6, "B may look at what left after x");
        drop(reader_b);
        assert_eq!(safe_now(domain), 7);
    }

    #[test]
    fn a_grace_period_is_had_if_it_is_wanted_and_nobody_is_at_it() {
        let domain = Domain::of_a_test();
        domain.seal();
        domain.grace(Grace::No);
        assert_eq!(domain.safe(), 1);
        let turn = domain.turn.lock();
        domain.grace(Grace::Try);
        assert_eq!(domain.safe(), 1);
        drop(turn);
        domain.grace(Grace::Try);
        assert_eq!(domain.safe(), 2);
    }

    #[test]
    fn what_is_safe_never_goes_back() {
        let domain = Domain::of_a_test();
        let late = domain.take();
        domain.seal();
        assert_eq!(safe_now(domain), 2);
        // A reader that had loaded the epoch long before it announced itself.
        late.pin.store(1, Ordering::Release);
        assert_eq!(safe_now(domain), 2);
    }

    #[test]
    fn pins_nest_and_the_oldest_counts() {
        let domain = Domain::of_a_test();
        let record = domain.take();
        let outer = Pin::new(record);
        domain.seal();
        drop(Pin::new(record));
        assert_eq!(safe_now(domain), 1);
        assert!(!ptr::eq(record, domain.take()), "it is not given back with a pin");
        drop(outer);
        assert_eq!(safe_now(domain), 2);
    }

    #[test]
    fn a_record_has_one_owner_at_a_time() {
        let domain = Domain::of_a_test();
        let (a, b) = (domain.take(), domain.take());
        assert!(!ptr::eq(a, b));
        a.release();
        assert!(ptr::eq(a, domain.take()), "what was given back is taken first");
        let c = domain.take();
        assert!(!ptr::eq(a, c) && !ptr::eq(b, c));
        assert_eq!(records(domain), 3);
    }

    #[test]
    fn a_lent_record_goes_back_with_its_pin() {
        let domain = Domain::of_a_test();
        let record = domain.take();
        let pin = Pin::lent(record);
        domain.seal();
        assert_eq!(safe_now(domain), 1);
        let place = ptr::from_ref(&domain.turn).cast();
        let hazard = pin.protect(place);
        drop(pin);
        assert_eq!(record.pin.load(Ordering::Relaxed), 0);
        assert_eq!(safe_now(domain), 2);
        assert!(ptr::eq(record, domain.take()));
        assert_eq!(domain.hazards(), [place], "it is another record's");
        drop(hazard);
        assert!(domain.hazards().is_empty());
        assert_eq!(records(domain), 2);
    }

    #[test]
    fn hazards_beyond_a_record_s_own_are_lent() {
        let domain = Domain::of_a_test();
        let pin = Pin::new(domain.take());
        let places = [0_u8; HAZARDS + 2];
        for _ in 0..2 {
            let mut held = Vec::new();
            for (count, place) in places.iter().enumerate() {
                held.push(pin.protect(ptr::from_ref(place).cast()));
                let mut seen = domain.hazards();
                seen.sort_unstable();
                let all = places[..=count].iter().map(|place| ptr::from_ref(place).cast());
                assert_eq!(seen, all.collect::<Vec<*const ()>>());
            }
            drop(held);
            assert!(domain.hazards().is_empty());
        }
        assert_eq!(records(domain), 3, "what was lent is lent again");
    }

    #[test]
    fn the_oldest_view_counts() {
        let (domain, views) = (Domain::of_a_test(), Views::new());
        assert_eq!(views.oldest(), u64::MAX);
        let first = views.begin(domain);
        domain.seal();
        let [second, third] = [(); 2].map(|()| views.begin(domain));
        assert_eq!((first.epoch, second.epoch, third.epoch), (1, 2, 2));
        assert_eq!(views.oldest(), 1);
        drop(second);
        assert_eq!(views.oldest(), 1);
        drop(first);
        assert_eq!(views.oldest(), 2);
        drop(third);
        assert_eq!(views.oldest(), u64::MAX);
    }

    /// Other tests' threads take records too, but not so many at once.
    #[test]
    fn a_thread_that_ends_gives_its_record_back() {
        let before = records(domain());
        for _ in 0..400 {
            thread::spawn(|| drop(pin())).join().unwrap();
        }
        assert!(records(domain()) < before + 200);
    }
}
