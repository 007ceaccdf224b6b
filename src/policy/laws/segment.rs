//! The engine's side of the laws: a segment with no keys and no values.

use super::{EvictionPolicy, MayLeave, Meta, Slot, Victim};
use crate::observe::Cause;
use crate::policy::{Hears, HitCounters};

/// An entry that nothing is special about.
pub(crate) const CALM: Meta = Meta::new(0, 1, u64::MAX);

/// The share that a policy is told of first.
const SHARE: u64 = 100;

/// Whether a law holds; if not, which, and what was seen.
pub(super) type Held = Result<(), String>;

/// Returns from the function with this complaint, unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($complaint:tt)+) => {
        if !$holds {
            return Err(format!($($complaint)+));
        }
    };
}
pub(super) use ensure;

/// A segment with no keys and no values. It hands out slots and counts hits as the engine does, and keeps the engine's
/// side of the laws.
pub(crate) struct Segment<P> {
    pub(crate) policy: P,
    pub(crate) hits: HitCounters<'static>,
    /// What the policy was last told of each.
    residents: Vec<(Slot, Meta)>,
    free: Vec<Slot>,
    /// The entry used last: another hit on it need not be told under [`Hears::Recency`], and here never is.
    last: Option<Slot>,
    /// The calls that the policy got, if they are written down.
    calls: Option<Vec<String>>,
}

impl<P: EvictionPolicy> Segment<P> {
    pub(crate) fn new(mut policy: P) -> Self {
        policy.resize(SHARE);
        let hits = match policy.hears() {
            Hears::Counter(max) => HitCounters::new(max),
            Hears::Stamp(touch) => HitCounters::stamped(touch),
            _ => HitCounters::new(0),
        };
        Self { policy, hits, residents: Vec::new(), free: Vec::new(), last: None, calls: None }
    }

    /// From here on the calls are written down.
    pub(super) fn write_down(&mut self) {
        self.calls = Some(vec![format!("resize({SHARE})")]);
    }

    /// The calls that were written down.
    pub(super) fn calls(self) -> Vec<String> {
        self.calls.unwrap_or_default()
    }

    fn note(&mut self, call: impl FnOnce() -> String) {
        if let Some(calls) = &mut self.calls {
            calls.push(call());
        }
    }

    /// Any resident entry, chosen by `pick`.
    pub(super) fn pick(&self, pick: usize) -> Option<(Slot, Meta)> {
        self.residents.get(pick.checked_rem(self.residents.len())?).copied()
    }

    /// The slot freed last, or else one that was never used.
    fn vacant(&mut self) -> Slot {
        self.free.pop().unwrap_or_else(|| Slot::new(self.residents.len()))
    }

    pub(crate) fn insert(&mut self, meta: &Meta) -> Slot {
        let slot = self.vacant();
        self.note(|| format!("insert({slot:?}, {})", facts(meta)));
        self.hits.publish(slot, meta.hash);
        self.policy.insert(slot, meta);
        self.residents.push((slot, *meta));
        self.last = Some(slot);
        slot
    }

    pub(crate) fn update(&mut self, slot: Slot, meta: &Meta) {
        self.note(|| format!("update({slot:?}, {})", facts(meta)));
        if let Hears::Stamp(_) = self.policy.hears() {
            self.hits.record(slot); // a write is a use
        }
        self.policy.update(slot, meta);
        self.know(slot, meta);
        self.last = Some(slot);
    }

    pub(crate) fn reschedule(&mut self, slot: Slot, meta: &Meta) {
        self.note(|| format!("reschedule({slot:?}, {})", facts(meta)));
        self.policy.reschedule(slot, meta);
        self.know(slot, meta);
        // It may have come into the order by this, as the last used.
        self.last = None;
    }

    fn know(&mut self, slot: Slot, meta: &Meta) {
        self.residents.iter_mut().filter(|row| row.0 == slot).for_each(|row| row.1 = *meta);
    }

    /// Moves an entry to another slot, and says to which.
    pub(crate) fn relocate(&mut self, from: Slot, meta: &Meta) -> Slot {
        let to = self.vacant();
        self.note(|| format!("relocate({from:?}, {to:?}, {})", facts(meta)));
        self.hits.relocate(from, to);
        self.policy.relocate(from, to, meta);
        let slots = self.residents.iter_mut().map(|row| &mut row.0).chain(&mut self.last);
        slots.filter(|slot| **slot == from).for_each(|slot| *slot = to);
        self.know(to, meta);
        self.free.push(from);
        to
    }

    pub(crate) fn hit(&mut self, slot: Slot) {
        match self.policy.hears() {
            Hears::Nothing => {}
            Hears::Counter(_) | Hears::Stamp(_) => {
                self.note(|| format!("(a hit on {slot:?} is noted beside it)"));
                self.hits.record(slot);
            }
            Hears::Recency if self.last == Some(slot) => {}
            Hears::InOrder | Hears::Recency => {
                self.note(|| format!("hit({slot:?})"));
                self.policy.hit(slot);
            }
        }
        self.last = Some(slot);
    }

    pub(super) fn miss(&mut self, hash: u64) {
        self.note(|| format!("miss({hash})"));
        self.policy.miss(hash);
    }

    pub(super) fn resize(&mut self, share: u64) {
        self.note(|| format!("resize({share})"));
        self.policy.resize(share);
    }

    pub(crate) fn remove(&mut self, slot: Slot, cause: Cause) {
        self.note(|| format!("remove({slot:?}, {cause:?})"));
        self.policy.remove(slot, cause);
        self.residents.retain(|row| row.0 != slot);
        self.free.push(slot);
        self.last = self.last.filter(|&last| last != slot);
    }

    pub(crate) fn victim(&mut self, newcomer: Option<&Meta>) -> Victim {
        self.note(|| match newcomer {
            Some(meta) => format!("victim(for a newcomer, {})", facts(meta)),
            None => "victim(None)".to_owned(),
        });
        let victim = self.policy.victim(newcomer, &mut self.hits);
        if let Some(call) = self.calls.as_mut().and_then(|calls| calls.last_mut()) {
            *call += &format!(" = {victim:?}");
        }
        victim
    }

    /// The residents that the policy may give up.
    fn evictable(&self, may_leave: MayLeave) -> impl Iterator<Item = Slot> + '_ {
        self.residents.iter().filter(move |row| may_leave(&row.1)).map(|row| row.0)
    }

    /// Holds the policy to every law that can be seen at this moment.
    pub(super) fn audit(&mut self, may_leave: MayLeave) -> Held {
        self.policy.assert_valid();
        let (len, residents) = (self.policy.len(), self.residents.len());
        ensure!(len == residents, "law 4: len is {len}, and {residents} are resident");
        let empty = self.policy.is_empty();
        ensure!(empty == (residents == 0), "law 4: is_empty is {empty}, and len is {len}");
        let coldest: Vec<_> = self.policy.coldest().collect();
        let hottest: Vec<_> = self.policy.hottest().collect();
        ensure!(
            coldest.iter().rev().eq(&hottest),
            "law 3: hottest, {hottest:?}, is not coldest in reverse: {coldest:?}"
        );
        let evictable = sorted(self.evictable(may_leave).collect());
        ensure!(
            sorted(coldest.clone()) == evictable,
            "law 3: coldest is {coldest:?}, and those that may leave are {evictable:?}"
        );
        for place in 0..=coldest.len() {
            let after = place.checked_sub(1).map(|before| coldest[before]);
            let Some(rest) = self.policy.coldest_after(after) else { break };
            let rest: Vec<_> = rest.take(3).collect();
            let due = &coldest[place..coldest.len().min(place + 3)];
            ensure!(
                rest == due,
                "law 10: behind {after:?} come {rest:?}, and in the order of coldest {due:?}"
            );
        }
        Ok(())
    }

    /// The same, for tests of one policy.
    #[cfg(test)]
    pub(crate) fn check(&mut self, may_leave: MayLeave) {
        if let Err(broken) = self.audit(may_leave) {
            panic!("{broken}");
        }
    }

    /// Asks for a victim, and holds the answer to the laws.
    pub(super) fn ask(
        &mut self,
        newcomer: Option<&Meta>,
        may_leave: MayLeave,
    ) -> Result<Victim, String> {
        let victim = self.victim(newcomer);
        let again = self.victim(newcomer);
        ensure!(again == victim, "law 2: asked again, {again:?} is not {victim:?}");
        match victim {
            Victim::Entry(slot) => {
                let resident = self.evictable(may_leave).any(|resident| resident == slot);
                ensure!(resident, "law 1: {slot:?} is no resident that may leave");
                let coldest = self.policy.coldest().next();
                ensure!(
                    coldest == Some(slot),
                    "law 3: the victim is {slot:?}, and the coldest {coldest:?}"
                );
            }
            Victim::Newcomer => ensure!(newcomer.is_some(), "law 1: there is no newcomer"),
            Victim::None => {
                let stays = self.evictable(may_leave).next();
                ensure!(stays.is_none(), "law 3: nobody is to leave, and {stays:?} may");
            }
        }
        Ok(victim)
    }
}

/// What the policy is told of an entry, without its hash.
fn facts(meta: &Meta) -> String {
    match meta.deadline {
        u64::MAX => format!("weight {}, no deadline", meta.weight),
        deadline => format!("weight {}, deadline {deadline}", meta.weight),
    }
}

fn sorted(mut slots: Vec<Slot>) -> Vec<Slot> {
    slots.sort_unstable();
    slots
}
