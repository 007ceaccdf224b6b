//! Listening: who listens learns of every change, before the line says that it is alive.

use super::super::remote::{Claim, Delete, Ear, Listen, Mode, Place, Read, Tell, Write};
use super::{AFTER, BRIEF, Broken, Held, LONG, Shown, Trial, answered, gone, holds, plain, same};
use crate::load::{Task, block_on};
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, Ordering};
use std::fmt;
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Duration;

/// How often the line is asked whether it is there: by remotes that go by a clock of their own.
const BEAT: Duration = Duration::from_millis(20);

/// What was heard.
#[derive(Clone, PartialEq, Eq)]
enum Heard {
    Up(Mode),
    Changed(Vec<u8>),
    AllChanged,
    Message(Vec<u8>),
    Alive(Duration),
    Ended(String),
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up(mode) => write!(f, "up by {mode}"),
            Self::Changed(name) => write!(f, "changed {}", Shown(name)),
            Self::AllChanged => f.write_str("all changed"),
            Self::Message(message) => write!(f, "message {}", Shown(message)),
            Self::Alive(asked) => write!(f, "alive at {asked:?}"),
            Self::Ended(why) => write!(f, "ended: {why}"),
        }
    }
}

impl Heard {
    /// Whether it says, perhaps among others, that this name changed.
    fn tells_of(&self, name: &[u8]) -> bool {
        match self {
            Self::Changed(changed) => changed == name,
            Self::AllChanged => true,
            _ => false,
        }
    }
}

/// A listener who writes down what he hears. His time is a counter: he sleeps for a beat until he is [woken](Self::beat), and for ever
/// otherwise.
struct Recorder {
    state: Arc<Mutex<State>>,
    told: Condvar,
    gone: AtomicBool,
    /// How many beats he waits for what he should be told.
    waits: u128,
}

#[derive(Default)]
struct State {
    heard: Vec<Heard>,
    time: u64,
    beats: u64,
    sleeping: Vec<Waker>,
}

impl Recorder {
    fn new(patience: Duration) -> Self {
        let (state, told, gone) = (Arc::default(), Condvar::new(), AtomicBool::new(false));
        Self { state, told, gone, waits: patience.as_nanos().div_ceil(BEAT.as_nanos()) }
    }

    fn hear(&self, heard: Heard) {
        self.state.lock().heard.push(heard);
        self.told.notify_one();
    }

    /// Ends all sleeps of a beat.
    fn beat(&self) {
        let mut state = self.state.lock();
        state.beats += 1;
        let sleeping = std::mem::take(&mut state.sleeping);
        drop(state);
        sleeping.into_iter().for_each(Waker::wake);
    }

    /// Takes what was heard up to the first that is meant, and waits until there is one.
    fn take(&self, what: &str, meant: impl Fn(&Heard) -> bool) -> Result<Vec<Heard>, Broken> {
        for _ in 0..self.waits {
            self.beat();
            let mut state = self.state.lock();
            if let Some(at) = state.heard.iter().position(&meant) {
                return Ok(state.heard.drain(..=at).collect());
            }
            drop(self.told.wait_for(state, BEAT));
        }
        let heard = self.state.lock().heard.clone();
        Err(Broken(format!("a listener has waited in vain for {what}; it heard {heard:?}")))
    }
}

impl Ear for Recorder {
    fn up(&self, mode: Mode) {
        self.hear(Heard::Up(mode));
    }
    fn changed(&self, names: &[&[u8]]) {
        names.iter().for_each(|name| self.hear(Heard::Changed(name.to_vec())));
    }
    fn all_changed(&self) {
        self.hear(Heard::AllChanged);
    }
    fn message(&self, message: &[u8]) {
        self.hear(Heard::Message(message.to_vec()));
    }
    fn now(&self) -> Duration {
        let mut state = self.state.lock();
        state.time += 1;
        Duration::from_nanos(state.time)
    }
    fn alive(&self, asked: Duration) {
        self.hear(Heard::Alive(asked));
    }
    fn sleep(&self, time: Duration) -> Task {
        if time > BEAT {
            return Box::pin(std::future::pending());
        }
        let (state, before) = (Arc::clone(&self.state), self.state.lock().beats);
        Box::pin(poll_fn(move |context| {
            let waker = context.waker().clone();
            let mut state = state.lock();
            if state.beats > before {
                return Poll::Ready(());
            }
            state.sleeping.push(waker);
            Poll::Pending
        }))
    }
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

/// A line that is up. Dropped, it is given up.
struct Line(Arc<Recorder>);

impl Line {
    /// Listens to this group of names, and to the channel of the same name.
    fn new(trial: &Trial, group: &str, mode: Mode) -> Result<Self, Broken> {
        let recorder = Arc::new(Recorder::new(trial.patience));
        let listen = Listen {
            prefix: trial.prefix(group),
            channel: channel(trial, group),
            modes: vec![mode],
            beat: BEAT,
            patience: LONG,
        };
        let (remote, ear) = (Arc::clone(&trial.remote), Arc::clone(&recorder));
        let task: Task = Box::pin(async move {
            let Err(why) = remote.listen(&listen, Arc::<Recorder>::clone(&ear)).await;
            ear.hear(Heard::Ended(why.to_string()));
        });
        match trial.remote.blocks() {
            true => trial.spawn.spawn_blocking(task),
            false => trial.spawn.spawn(task),
        }
        let line = Self(recorder);
        let ready = |heard: &Heard| matches!(heard, Heard::Alive(_) | Heard::Ended(_));
        let first = line.0.take("the line", ready)?;
        let up = matches!(first.as_slice(), [Heard::Up(is), Heard::Alive(_)] if *is == mode);
        holds(up, || format!("a listener by {mode} has heard {first:?} first"))?;
        Ok(line)
    }

    /// All that was heard before the line answered a question that was asked after all that was done before this.
    fn heard(&self) -> Result<Vec<Heard>, Broken> {
        let now = self.0.now();
        let answered = |heard: &Heard| matches!(heard, Heard::Alive(asked) if *asked > now);
        let heard = self.0.take("the line to be alive", answered)?;
        let wrong = heard.iter().find(|heard| matches!(heard, Heard::Up(_) | Heard::Ended(_)));
        holds(wrong.is_none(), || format!("a listener has heard {wrong:?} in the midst"))?;
        Ok(heard.into_iter().filter(|heard| !matches!(heard, Heard::Alive(_))).collect())
    }

    /// This was told of as changed.
    fn must_tell(&self, what: &str, name: &[u8]) -> Held {
        let heard = self.heard()?;
        let told = heard.iter().any(|heard| heard.tells_of(name));
        holds(told, || {
            let name = Shown(name);
            format!("{what} of {name} was not told before the line was alive, but {heard:?}")
        })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Relaxed);
        self.0.beat();
    }
}

fn channel(trial: &Trial, group: &str) -> Vec<u8> {
    [b"channel".as_slice(), &trial.prefix(group)].concat()
}

/// Who listens by tracking is told of every change of a name with the prefix, before the line next answers that it is alive: a value
/// or a number that is set, also by itself, or again, or deleted, or found expired. Of leases, of other names, and of what was not
/// written, nothing is told.
///
/// # Errors
///
/// If the law is broken.
pub fn changes_are_told_before_the_line_is_alive(trial: &Trial) -> Held {
    if !trial.modes.contains(&Mode::Tracking) {
        return Ok(());
    }
    let line = Line::new(trial, "t", Mode::Tracking)?;
    let place = trial.place("t", b"value");
    let bytes = trial.envelope(5, 9);
    for what in ["the first write", "the same write again"] {
        trial.put(&place, &bytes)?;
        line.must_tell(what, &place.value)?;
    }
    trial.delete(gone(&place))?;
    line.must_tell("a deletion", &place.value)?;
    let short = Write { ttl: BRIEF, ..plain(&place, &bytes) };
    same("a write", &trial.write(short)?, &true)?;
    line.heard()?;
    trial.pass(AFTER);
    trial.read(&place, None)?;
    line.must_tell("an expiration", &place.value)?;
    let number = trial.place("t", b"number").value;
    answered("a number", block_on(trial.remote.set_number(&number, 1, LONG, None)))?;
    line.must_tell("a number", &number)?;
    let many: Vec<_> = (0..50).map(|n: u8| trial.place("t", &[n])).collect();
    let writes: Vec<_> = many.iter().map(|place| plain(place, &bytes)).collect();
    answered("50 writes", block_on(trial.remote.write(&writes)))?;
    let heard = line.heard()?;
    let missed = many.iter().find(|one| !heard.iter().any(|heard| heard.tells_of(&one.value)));
    holds(missed.is_none(), || {
        let missed = Shown(missed.map_or(&[], |place| &place.value));
        format!("of 50 writes at once, that of {missed} was not told")
    })?;
    nothing_else_is_told(trial, &line)
}

/// Who listens by tracking of what was read is told of each change of what this remote has read since the last, before the line next
/// answers that it is alive: whether it was there or not, and also where it was not read but written. Of names without the prefix
/// nothing is told.
///
/// # Errors
///
/// If the law is broken.
pub fn what_was_read_is_told_of_when_it_changes(trial: &Trial) -> Held {
    if !trial.modes.contains(&Mode::OptIn) {
        return Ok(());
    }
    let line = Line::new(trial, "o", Mode::OptIn)?;
    let (place, bytes) = (trial.place("o", b"value"), trial.envelope(5, 9));
    trial.read(&place, None)?;
    for what in ["a write where nothing was", "the next write", "the write after that"] {
        trial.put(&place, &bytes)?;
        line.must_tell(what, &place.value)?;
    }
    answered("heads", block_on(trial.remote.heads(&[&place.value])))?;
    trial.delete(gone(&place))?;
    line.must_tell("a deletion", &place.value)?;
    same("a fill", &filled(trial, &place, &bytes, None)?, &true)?;
    line.must_tell("a fill", &place.value)?;
    trial.delete(gone(&place))?;
    line.must_tell("a deletion of what was filled", &place.value)?;
    let short = Write { ttl: BRIEF, ..plain(&place, &bytes) };
    same("a write", &trial.write(short)?, &true)?;
    line.heard()?;
    trial.pass(AFTER);
    trial.read(&place, None)?;
    line.must_tell("an expiration", &place.value)?;
    changes_of_numbers_are_told(trial, &line)?;
    changes_of_many_are_told(trial, &line)
}

fn changes_of_numbers_are_told(trial: &Trial, line: &Line) -> Held {
    let number = trial.place("o", b"number").value;
    let set = |to| answered("a number", block_on(trial.remote.set_number(&number, to, LONG, None)));
    for what in ["a number that was put there", "a number that was read"] {
        answered("numbers", block_on(trial.remote.numbers(&[&number], 1, LONG)))?;
        line.heard()?;
        set(2)?;
        line.must_tell(what, &number)?;
    }
    set(3)?;
    line.must_tell("a number that was set", &number)
}

fn changes_of_many_are_told(trial: &Trial, line: &Line) -> Held {
    let bytes = trial.envelope(5, 9);
    let many: Vec<_> = (0..50).map(|n: u8| trial.place("o", &[n])).collect();
    let elsewhere = trial.place("O", b"value");
    let all = many.iter().chain([&elsewhere]);
    let reads: Vec<_> = all.clone().map(|place| Read { place, claim: None }).collect();
    answered("51 reads", block_on(trial.remote.read(&reads)))?;
    let writes: Vec<_> = all.map(|place| plain(place, &bytes)).collect();
    answered("51 writes", block_on(trial.remote.write(&writes)))?;
    let heard = line.heard()?;
    let missed = many.iter().find(|one| !heard.iter().any(|heard| heard.tells_of(&one.value)));
    holds(missed.is_none(), || {
        let missed = Shown(missed.map_or(&[], |place| &place.value));
        format!("of 50 that were read at once, the change of {missed} was not told")
    })?;
    let named = heard.contains(&Heard::Changed(elsewhere.value));
    holds(!named, || "a listener was told of a name without its prefix".to_owned())
}

fn nothing_else_is_told(trial: &Trial, line: &Line) -> Held {
    let (place, own) = (trial.place("t", b"leased"), trial.token());
    let bytes = trial.envelope(5, 9);
    let elsewhere = trial.place("T", b"value");
    trial.claim(&place, own)?;
    trial.put(&elsewhere, &bytes)?;
    trial.delete(gone(&elsewhere))?;
    let fill = Write { leased: Some(trial.token()), ..plain(&place, &bytes) };
    same("a fill with another's token", &trial.write(fill)?, &false)?;
    let heard = line.heard()?;
    let other = heard.iter().find(|heard| matches!(heard, Heard::Changed(_)));
    let changed = trial.place("t", b"").value;
    let prefix = &changed[..changed.len() - 1];
    let foreign = heard
        .iter()
        .find(|heard| matches!(heard, Heard::Changed(name) if !name.starts_with(prefix)));
    holds(foreign.is_none(), || {
        format!("a listener was told of a name without its prefix: {foreign:?}")
    })?;
    holds(other.is_none(), || format!("nothing changed, and a listener heard of {other:?}"))
}

/// Who listens by messages hears each that is told on the channel, once and in order: with a write that was done, with a deletion whether
/// or not anything was there, with a number.
///
/// # Errors
///
/// If the law is broken.
pub fn messages_are_told_in_order(trial: &Trial) -> Held {
    if !trial.modes.contains(&Mode::Messages) {
        return Ok(());
    }
    let line = Line::new(trial, "m", Mode::Messages)?;
    let (own, other) = (channel(trial, "m"), channel(trial, "M"));
    let (place, bytes) = (trial.place("m", b"value"), trial.envelope(5, 9));
    let tell = |message| Some(Tell { channel: &own, message });
    let delete = |message| Delete { tell: tell(message), ..gone(&place) };
    trial.delete(delete(b"deleted, where is nothing"))?;
    trial.write(Write { tell: tell(b"written"), ..plain(&place, &bytes) })?;
    let low = Write { tell: tell(b"not written"), version: Some(4), ..plain(&place, &bytes) };
    same("a write below the version that is there", &trial.write(low)?, &false)?;
    let leased = Some(trial.token());
    let late = Write { tell: tell(b"not filled"), leased, ..plain(&place, &bytes) };
    same("a fill without a lease", &trial.write(late)?, &false)?;
    trial.put(&place, &bytes)?;
    let elsewhere = Some(Tell { channel: &other, message: b"elsewhere" });
    trial.delete(Delete { tell: elsewhere, ..gone(&place) })?;
    let filled = filled(trial, &place, &bytes, tell(b"filled"))?;
    same("a fill", &filled, &true)?;
    let deletes = [delete(b"deleted\0\r\n"), delete(b"in one step"), delete(b"")];
    answered("three deletions", block_on(trial.remote.delete(&deletes)))?;
    let number = trial.place("m", b"number").value;
    let set = trial.remote.set_number(&number, 1, LONG, tell(b"number"));
    answered("a number", block_on(set))?;
    let should: Vec<_> = [
        b"deleted, where is nothing".as_slice(),
        b"written",
        b"filled",
        b"deleted\0\r\n",
        b"in one step",
        b"",
        b"number",
    ]
    .map(|message| Heard::Message(message.to_vec()))
    .into();
    let heard = line.heard()?;
    holds(heard == should, || format!("a listener has heard {heard:?} and not {should:?}"))
}

fn filled(
    trial: &Trial,
    place: &Place,
    bytes: &[u8],
    tell: Option<Tell<'_>>,
) -> Result<bool, Broken> {
    let token = trial.token();
    trial.read(place, Some(Claim { token, ttl: LONG, instead_of: None }))?;
    trial.write(Write { leased: Some(token), tell, ..plain(place, bytes) })
}

/// A line that nobody is interested in any more ends, and nothing is told after that.
///
/// # Errors
///
/// If the law is broken.
pub fn a_line_that_nobody_wants_ends(trial: &Trial) -> Held {
    for mode in &trial.modes {
        let line = Line::new(trial, "g", *mode)?;
        line.0.gone.store(true, Ordering::Relaxed);
        line.0.take("the line to end", |heard| matches!(heard, Heard::Ended(_)))?;
        let (place, channel) = (trial.place("g", b"value"), channel(trial, "g"));
        let tell = Some(Tell { channel: &channel, message: b"too late" });
        trial.write(Write { tell, ..plain(&place, b"bytes") })?;
        let heard = line.0.state.lock().heard.clone();
        same("a listener whose line has ended", &heard, &vec![])?;
    }
    Ok(())
}
