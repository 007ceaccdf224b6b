//! What can happen to a segment, drawn at random.

use super::segment::{Held, Segment, ensure};
use super::{EvictionPolicy, MayLeave, Meta, Slot, Victim};
use crate::hash::after;
use crate::observe::Cause;

/// The longest history.
const STEPS: u64 = 250;

/// One step. A `usize` picks one of the entries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Insert {
        meta: Meta,
    },
    /// A newcomer as the engine treats it in a full segment: asked about, and inserted if it is let in.
    Admit {
        meta: Meta,
    },
    /// A new value of the same weight: the engine brings another weight by a relocation.
    Update {
        pick: usize,
        deadline: u64,
    },
    Relocate {
        pick: usize,
    },
    Replace {
        pick: usize,
        weight: u64,
        deadline: u64,
    },
    Reschedule {
        pick: usize,
        deadline: u64,
    },
    Hit {
        pick: usize,
    },
    Miss {
        hash: u64,
    },
    Remove {
        pick: usize,
        cause: Cause,
    },
    Ask {
        newcomer: Option<Meta>,
    },
    Evict {
        newcomer: Option<Meta>,
    },
    Resize {
        share: u64,
    },
    Clear,
}

/// Draws numbers, always the same ones.
pub(super) struct Draw(u64);

impl Draw {
    pub(super) const fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    fn any(&mut self) -> u64 {
        self.0 = after(self.0);
        self.0
    }

    /// A number below `n`. The high bits, which look more random than the low ones.
    fn below(&mut self, n: u64) -> u64 {
        (self.any() >> 32) % n
    }

    /// Picks an entry, whose place among the residents is this number modulo their count.
    fn pick(&mut self) -> usize {
        self.below(1 << 31) as usize
    }

    fn weight(&mut self) -> u64 {
        1 + self.below(99)
    }

    /// Of three entries one is permanent, and deadlines are often equal.
    fn deadline(&mut self) -> u64 {
        match self.below(3) {
            0 => u64::MAX,
            1 => self.below(9),
            _ => self.any(),
        }
    }

    /// Half of the hashes come again and again, so that ghosts are found.
    fn hash(&mut self) -> u64 {
        let hash = self.any();
        if self.below(2) == 0 { hash } else { hash % 60 }
    }

    fn meta(&mut self) -> Meta {
        Meta::new(self.hash(), self.weight(), self.deadline())
    }

    fn newcomer(&mut self) -> Option<Meta> {
        (self.below(2) == 0).then(|| self.meta())
    }

    /// Half of the shares are as small as what is resident.
    fn share(&mut self) -> u64 {
        let share = self.any();
        if self.below(2) == 0 { share } else { share % 1_000 }
    }

    fn op(&mut self) -> Op {
        match self.below(64) {
            0..12 => Op::Insert { meta: self.meta() },
            12..18 => Op::Admit { meta: self.meta() },
            18..22 => Op::Update { pick: self.pick(), deadline: self.deadline() },
            22..26 => Op::Relocate { pick: self.pick() },
            26..30 => {
                Op::Replace { pick: self.pick(), weight: self.weight(), deadline: self.deadline() }
            }
            30..32 => Op::Reschedule { pick: self.pick(), deadline: self.deadline() },
            32..48 => Op::Hit { pick: self.pick() },
            48..50 => Op::Miss { hash: self.hash() },
            50..54 => {
                let cause = self.below(Cause::ALL.len() as u64) as usize;
                Op::Remove { pick: self.pick(), cause: Cause::ALL[cause] }
            }
            54..56 => Op::Ask { newcomer: self.newcomer() },
            56..61 => Op::Evict { newcomer: self.newcomer() },
            61..63 => Op::Resize { share: self.share() },
            _ => Op::Clear,
        }
    }
}

/// Draws a history.
pub(super) fn draw(draw: &mut Draw) -> Vec<Op> {
    (0..draw.below(STEPS)).map(|_| draw.op()).collect()
}

impl Op {
    /// Lets it happen, and holds the policy to those laws that compare before and after.
    pub(super) fn apply<P: EvictionPolicy>(
        &self,
        segment: &mut Segment<P>,
        may_leave: MayLeave,
    ) -> Held {
        match *self {
            Self::Insert { meta } => {
                segment.insert(&meta);
            }
            Self::Admit { meta } => admit(segment, &meta, may_leave)?,
            Self::Update { pick, deadline } => {
                if let Some((slot, meta)) = segment.pick(pick) {
                    segment.update(slot, &Meta { deadline, ..meta });
                }
            }
            Self::Relocate { pick } => relocate(segment, pick)?,
            Self::Replace { pick, weight, deadline } => replace(segment, pick, weight, deadline),
            Self::Reschedule { pick, deadline } => reschedule(segment, pick, deadline, may_leave)?,
            Self::Hit { pick } => {
                if let Some((slot, _)) = segment.pick(pick) {
                    segment.hit(slot);
                }
            }
            Self::Miss { hash } => segment.miss(hash),
            Self::Remove { pick, cause } => {
                if let Some((slot, _)) = segment.pick(pick) {
                    segment.remove(slot, cause);
                }
            }
            Self::Ask { newcomer } => {
                segment.ask(newcomer.as_ref(), may_leave)?;
            }
            Self::Evict { newcomer } => {
                if let Victim::Entry(slot) = segment.ask(newcomer.as_ref(), may_leave)? {
                    segment.remove(slot, Cause::Evicted);
                }
            }
            Self::Resize { share } => segment.resize(share),
            Self::Clear => {
                while let Some((slot, _)) = segment.pick(0) {
                    segment.remove(slot, Cause::Cleared);
                }
            }
        }
        Ok(())
    }
}

/// Makes room for a newcomer, and inserts it, if it is not the one to be refused.
fn admit<P: EvictionPolicy>(segment: &mut Segment<P>, meta: &Meta, may_leave: MayLeave) -> Held {
    match segment.ask(Some(meta), may_leave)? {
        Victim::Newcomer => return Ok(()),
        Victim::Entry(slot) => segment.remove(slot, Cause::Evicted),
        Victim::None => {}
    }
    segment.insert(meta);
    Ok(())
}

/// Moves an entry: nobody changes place.
fn relocate<P: EvictionPolicy>(segment: &mut Segment<P>, pick: usize) -> Held {
    let Some((from, meta)) = segment.pick(pick) else { return Ok(()) };
    let mut expected = order(segment);
    let to = segment.relocate(from, &meta);
    expected.iter_mut().filter(|slot| **slot == from).for_each(|slot| *slot = to);
    let order = order(segment);
    ensure!(
        order == expected,
        "law 9: {to:?} stands where {from:?} stood: {order:?} is not {expected:?}"
    );
    Ok(())
}

/// Gives an entry another value, in another slot.
fn replace<P: EvictionPolicy>(segment: &mut Segment<P>, pick: usize, weight: u64, deadline: u64) {
    if let Some((from, meta)) = segment.pick(pick) {
        let meta = Meta { weight, deadline, ..meta };
        let to = segment.relocate(from, &meta);
        segment.update(to, &meta);
    }
}

/// Gives an entry another deadline. Where the deadline decides, the entry itself may move, and nobody else.
fn reschedule<P: EvictionPolicy>(
    segment: &mut Segment<P>,
    pick: usize,
    deadline: u64,
    may_leave: MayLeave,
) -> Held {
    let Some((slot, meta)) = segment.pick(pick) else { return Ok(()) };
    let fresh = Meta { deadline, ..meta };
    let before = order(segment);
    segment.reschedule(slot, &fresh);
    let after = order(segment);
    let stays = |other: &&Slot| **other != slot || deadline == meta.deadline;
    let same = after.iter().filter(stays).eq(before.iter().filter(stays));
    // Who comes in or goes out may change an order that is drawn.
    let comes_or_goes = may_leave(&meta) != may_leave(&fresh);
    ensure!(
        same || comes_or_goes,
        "a new deadline is not a use: {after:?} is not {before:?}, and {slot:?} alone may move"
    );
    Ok(())
}

fn order<P: EvictionPolicy>(segment: &Segment<P>) -> Vec<Slot> {
    segment.policy.coldest().collect()
}
