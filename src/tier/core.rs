//! What the parts of a cache of two levels share, and what they all need of the remote's values: to write one, and to read one.

use super::arrivals::Arrivals;
use super::asker::Asker;
use super::codec::{Codec, CodecError};
use super::compress::Compression;
use super::copies::Hotness;
use super::draws::Draws;
use super::echoes::Echoes;
use super::envelope::{self, Opened, Sealing, Wanted};
use super::events::Event;
use super::gate::Gate;
use super::generations::{Cell, Generations, Stamp};
use super::held::{Held, More};
use super::names::Names;
use super::remote::{Found, Mode, Place, Read, RemoteError};
use super::replicas::Replicas;
use super::stats::Counts;
use super::undelivered::Undelivered;
use crate::caught::caught;
use crate::load::{Bell, Source, Spawn};
use crate::sync::{Arc, AtomicBool, AtomicU64};
use crate::time::{NEVER, Timer, deadline, nanos};
use std::time::Duration;

pub(super) type TagsOf<K, V> = dyn Fn(&K, &V) -> Vec<String> + Send + Sync;
pub(super) type VersionOf<K, V> = dyn Fn(&K, &V) -> u64 + Send + Sync;
pub(super) type TtlOf<K, V> = dyn Fn(&K, &V) -> Duration + Send + Sync;

/// What was chosen.
pub(super) struct Rules<K, V> {
    pub(super) schema: u32,
    pub(super) ttl: Duration,
    /// How much longer values stay in the remote. When they end there that is told of as a deletion, and a stale value would be dropped
    /// that L1 may serve instead of an error.
    pub(super) grace: Duration,
    pub(super) ttl_by: Option<Box<TtlOf<K, V>>>,
    pub(super) tags: Option<Box<TagsOf<K, V>>>,
    pub(super) version: Option<Box<VersionOf<K, V>>>,
    pub(super) compression: Compression,
    /// The most bytes of a value.
    pub(super) most_bytes: usize,
    /// Whether changes are told of by messages, to those that hear of none otherwise.
    pub(super) tells: bool,
    pub(super) lease: Duration,
    pub(super) lock_wait: Duration,
    /// After this part of its TTL a value in the remote is loaded anew, if L1 asks for that.
    pub(super) ahead: Option<f64>,
    /// How stale a value may be, while changes are told of, or may be told of again.
    pub(super) bound: Duration,
    /// The same, where they never are.
    pub(super) unheard: Duration,
}

pub(super) struct Tier<K, V, E> {
    pub(super) origin: Source<K, V, E>,
    pub(super) codec: Box<dyn Codec<V>>,
    pub(super) asker: Asker,
    pub(super) names: Names,
    pub(super) rules: Rules<K, V>,
    pub(super) draws: Draws,
    pub(super) gate: Gate,
    pub(super) echoes: Echoes,
    pub(super) generations: Generations,
    pub(super) undelivered: Undelivered,
    pub(super) arrivals: Arrivals,
    pub(super) bell: Bell,
    pub(super) counts: Counts,
    /// What is done about hot keys, if anything.
    pub(super) hot: Option<Hotness<K>>,
    /// What is known of replicas, if they are asked.
    pub(super) replicas: Option<Replicas>,
    /// Who this process is, and how many messages it has sent.
    pub(super) node: u64,
    pub(super) sent: AtomicU64,
    /// The last handle is gone.
    pub(super) gone: AtomicBool,
}

/// Why what was read is no good.
pub(super) enum Bad {
    /// The remote did not say whether its tags are in force.
    Unsure,
    /// It is of another generation, or cannot be read. Another may be written instead of it.
    Spoilt,
}

/// A value out of the remote, and what is left of its time there.
pub(super) struct Fetched<V> {
    pub(super) held: Held<V>,
    pub(super) fresh: Option<Duration>,
    pub(super) left: Option<Duration>,
}

/// What is to be written beside a value.
pub(super) struct Sealed {
    pub(super) bytes: Vec<u8>,
    pub(super) id: u64,
    pub(super) fresh: Duration,
    /// With the grace.
    pub(super) ttl: Duration,
}

impl<K, V: 'static, E> Tier<K, V, E> {
    pub(super) fn now(&self) -> u64 {
        self.asker.now()
    }

    pub(super) fn tell(&self, event: &Event) {
        self.asker.tell(event);
    }

    pub(super) fn spawn(&self) -> &dyn Spawn {
        &*self.asker.spawn
    }

    /// How stale a value may be that is served now.
    pub(super) fn bound(&self) -> Duration {
        let lag = self.replicas.as_ref().map_or(Duration::ZERO, |replicas| replicas.lag);
        self.bound_of_primary().saturating_add(lag)
    }

    /// The same of a value that no replica had.
    fn bound_of_primary(&self) -> Duration {
        match self.gate.mode() {
            Some(Mode::TtlOnly) => self.rules.unheard,
            _ => self.rules.bound,
        }
    }

    /// What reads the time, once, for a hit in L1.
    #[inline]
    pub(super) fn timer(&self) -> Timer<'_> {
        Timer::new(&self.asker.clock).started()
    }

    /// True if what L1 holds may be served as it is.
    #[inline]
    pub(super) fn serves(&self, held: &Held<V>, timer: Timer<'_>) -> bool {
        timer.before(held.end).is_some() && self.trusts(held, timer)
    }

    /// The same where its end is no matter.
    #[inline]
    pub(super) fn trusts(&self, held: &Held<V>, timer: Timer<'_>) -> bool {
        (held.bounded || self.gate.is_open(timer.latest())) && held.is_current()
    }

    /// True if what was known a moment ago is so still: changes are told of.
    pub(super) fn hears(&self) -> bool {
        self.gate.is_open(self.now())
    }

    /// The generation of all values, asked for if it is not known, or nobody tells if it changes.
    pub(super) async fn generation(&self) -> Result<u64, RemoteError> {
        if self.undelivered.covers_all() {
            return Err(RemoteError::Spared);
        }
        let cell = &self.generations.all;
        let known = cell.number();
        if known != 0 && self.hears() {
            return Ok(known);
        }
        let numbers = self.numbers(&[(self.names.generation.clone(), Arc::clone(cell))]).await?;
        numbers.first().copied().ok_or_else(|| RemoteError::Garbled("no number".to_owned()))
    }

    /// The tags with their numbers that are in force now.
    pub(super) async fn stamps(&self, tags: &[&str]) -> Result<Vec<Stamp>, RemoteError> {
        let cells: Vec<_> = tags.iter().map(|tag| self.generations.cell(tag)).collect();
        let unknown: Vec<_> = cells
            .iter()
            .filter(|(_, cell)| cell.number() == 0 || !self.hears())
            .map(|(tag, cell)| (self.names.tag(tag), Arc::clone(cell)))
            .collect();
        let asked = self.numbers(&unknown).await?;
        let mut asked = unknown.iter().map(|(_, cell)| cell).zip(asked);
        let mut stamps = Vec::with_capacity(cells.len());
        for (tag, cell) in cells {
            let mut number = cell.number();
            if let Some((_, known)) = asked.find(|(other, _)| Arc::ptr_eq(other, &cell)) {
                number = known;
            }
            stamps.push(Stamp { tag, cell, number });
        }
        Ok(stamps)
    }

    async fn numbers(&self, cells: &[(Vec<u8>, Arc<Cell>)]) -> Result<Vec<u64>, RemoteError> {
        if cells.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&[u8]> = cells.iter().map(|(name, _)| name.as_slice()).collect();
        let moment = self.generations.moment();
        let questions: Vec<_> = cells.iter().map(|(_, cell)| cell.ask(moment)).collect();
        let fresh = self.draws.number();
        let ask = self.asker.ask("read generations", |it| it.numbers(&names, fresh, Duration::MAX));
        let numbers = ask.await?;
        if numbers.len() != cells.len() {
            return Err(RemoteError::Garbled(format!(
                "{} numbers for {}",
                numbers.len(),
                cells.len()
            )));
        }
        for (question, &number) in questions.iter().zip(&numbers) {
            if number == fresh { question.answer_new(number) } else { question.answer(number) }
        }
        Ok(numbers)
    }

    /// Asks for one place.
    pub(super) async fn read(&self, read: Read<'_>) -> Result<Found, RemoteError> {
        let reads = [read];
        let found = self.asker.ask("read", |remote| remote.read(&reads)).await?;
        let found = found.into_iter().next();
        found.ok_or_else(|| RemoteError::Garbled("no answer for the place".to_owned()))
    }

    /// Makes a value of what was read at a place, by a question that was asked at `sent`.
    pub(super) async fn open(
        &self,
        place: &Place,
        bytes: &[u8],
        left: Option<Duration>,
        sent: u64,
    ) -> Result<Fetched<V>, Bad> {
        let wanted = Wanted {
            codec: self.codec.id(),
            schema: self.rules.schema,
            limit: self.rules.most_bytes,
        };
        let opened = match envelope::open(bytes, wanted) {
            Ok(opened) => opened,
            Err(why) => return Err(self.unreadable(place, why.to_string())),
        };
        let stamps = self.in_force(&opened).await?;
        let value = match unless_it_panics(|| self.codec.decode(&opened.payload)) {
            Ok(value) => value,
            Err(why) => return Err(self.unreadable(place, why)),
        };
        let left = left.map(|left| left.saturating_sub(opened.grace));
        if left.is_some_and(|left| left.is_zero()) {
            // It is there for who has it in L1.
            return Err(Bad::Spoilt);
        }
        let end = left.map_or(NEVER, |left| deadline(sent, left));
        let more = More::of(opened.version, stamps);
        let mut held = Held { value, id: opened.id, end, bounded: false, admitted: true, more };
        self.bound_unless_heard(&mut held, sent);
        Ok(Fetched { held, fresh: opened.fresh, left })
    }

    fn unreadable(&self, place: &Place, why: String) -> Bad {
        self.counts.unreadable();
        self.tell(&Event::Unreadable { name: place.value.clone(), why });
        Bad::Spoilt
    }

    /// The tags of a value, if all are in force.
    async fn in_force(&self, opened: &Opened<'_>) -> Result<Vec<Stamp>, Bad> {
        // The first stands for all values, and has no name.
        let Some((&("", all), tags)) = opened.tags.split_first() else { return Err(Bad::Spoilt) };
        match self.generation().await {
            Ok(number) if number == all => {}
            Ok(_) => return Err(Bad::Spoilt),
            Err(_) => return Err(Bad::Unsure),
        }
        let names: Vec<&str> = tags.iter().map(|&(tag, _)| tag).collect();
        let given_up = || names.iter().any(|tag| self.undelivered.covers_tag(tag));
        // Before they are asked for: what is owed now may be delivered after that, and would be in neither.
        if given_up() {
            return Err(Bad::Spoilt);
        }
        let stamps = self.stamps(&names).await.map_err(|_| Bad::Unsure)?;
        // And after: what is given up from now on is told of by the stamps.
        if given_up() {
            return Err(Bad::Spoilt);
        }
        let all_are = stamps.iter().zip(tags).all(|(stamp, tag)| stamp.number == tag.1);
        if all_are { Ok(stamps) } else { Err(Bad::Spoilt) }
    }

    /// What nobody tells of any more lives no longer than the bound, counted from when it was right.
    pub(super) fn bound_unless_heard(&self, held: &mut Held<V>, right_at: u64) {
        if held.id == 0 || !self.gate.is_open(self.now()) {
            held.bounded = true;
            held.end = held.end.min(deadline(right_at, self.bound_of_primary()));
        }
    }

    /// Makes of a value what is written to the remote. `all` is the generation of the namespace.
    pub(super) fn seal(
        &self,
        key: &K,
        held: &Held<V>,
        all: u64,
        cost: u64,
    ) -> Result<Sealed, String> {
        let (rules, value) = (&self.rules, &held.value);
        let stamps = held.more.as_ref().map_or(&[][..], |more| &more.stamps);
        let mut payload = Vec::new();
        unless_it_panics(|| self.codec.encode(value, &mut payload))?;
        let ttl = rules.ttl_by.as_ref().map_or(rules.ttl, |by| by(key, value));
        let mut tags: Vec<(Arc<str>, u64)> = vec![(Arc::from(""), all)];
        tags.extend(stamps.iter().map(|stamp| (Arc::clone(&stamp.tag), stamp.number)));
        let id = self.draws.number();
        let sealing = Sealing {
            codec: self.codec.id(),
            schema: rules.schema,
            version: held.version(),
            id,
            fresh: Some(ttl),
            grace: rules.grace,
            cost: Duration::from_nanos(cost),
            tags: &tags,
        };
        let bytes = envelope::seal(&sealing, &payload, rules.compression, rules.most_bytes)
            .map_err(|why| why.to_string())?;
        Ok(Sealed { bytes, id, fresh: ttl, ttl: ttl.saturating_add(rules.grace) })
    }

    pub(super) fn version(&self, key: &K, value: &V) -> u64 {
        self.rules.version.as_ref().map_or(0, |version| version(key, value))
    }

    pub(super) fn tags(&self, key: &K, value: &V) -> Vec<String> {
        let mut tags = self.rules.tags.as_ref().map_or_else(Vec::new, |tags| tags(key, value));
        tags.sort_unstable();
        tags.dedup();
        tags
    }

    /// Runs work behind the caller's back, where the remote may block.
    pub(super) fn behind(&self, work: impl Future<Output = ()> + Send + 'static) {
        if self.asker.remote.blocks() {
            self.spawn().spawn_blocking(Box::pin(work));
        } else {
            self.spawn().spawn(Box::pin(work));
        }
    }

    /// True if a value in the remote is so old that it should be loaded anew.
    pub(super) fn is_due(&self, fetched: &Fetched<V>) -> bool {
        let (Some(ahead), Some(fresh), Some(left)) =
            (self.rules.ahead, fetched.fresh, fetched.left)
        else {
            return false;
        };
        left.as_secs_f64() <= fresh.as_secs_f64() * (1.0 - ahead)
    }

    /// The end of what is written now to the remote for so long.
    pub(super) fn end_of(&self, sent: u64, ttl: Duration) -> u64 {
        if nanos(ttl) == NEVER { NEVER } else { deadline(sent, ttl) }
    }
}

/// What a codec gives, or why it gives nothing: its code is the program's, and what it reads may be anybody's.
fn unless_it_panics<T>(run: impl FnOnce() -> Result<T, CodecError>) -> Result<T, String> {
    let mut ran = None;
    caught(|| ran = Some(run()));
    match ran {
        Some(Ok(value)) => Ok(value),
        Some(Err(why)) => Err(why.to_string()),
        None => Err("the codec panicked".to_owned()),
    }
}
