//! What is asked, and how the answer is read: the same whether a thread waits for it or a task.

use super::failure::refused;
use super::scripts::{
    By, Call, DELETE, EXTEND, FOREIGN, FREE, GRANTED, HEADS, HELD, NOTHING, NUMBERS, READ,
    SET_NUMBER, Script, TAKE, WRITE,
};
use crate::tier::{Delete, Found, HEAD, Page, Read, RemoteError, Tell, Token, Turn, Write};
use ::redis::{Cmd, Pipeline, ServerErrorKind, Value, cmd};
use std::time::Duration;

/// How many keys a script is called with at most: the server does nothing else meanwhile.
const CHUNK: usize = 256;

/// The same, where the server notes what was read. Version 7.0 notes all keys of a script whenever that reads one of them: 256 places
/// took it 24 ms, and 16 took 0.1 ms.
const SMALL_CHUNK: usize = 16;

/// About how many names a page has.
const PAGE: usize = 512;

/// Some thousand years. A time that ends after the server's clock does is refused.
const LONGEST: u64 = 1 << 47;

/// A way to the server and back.
pub(super) trait Line: Sync + Sized {
    /// How many places or names one script may be called with. They must lie together: each alone, where there is more than one server.
    const TOGETHER: usize = CHUNK;

    /// True if the server is to tell of the next change of what was read, and of what was written.
    fn looks_at_what_it_writes(&self) -> bool {
        false
    }

    fn together(&self) -> usize {
        if self.looks_at_what_it_writes() {
            Self::TOGETHER.min(SMALL_CHUNK)
        } else {
            Self::TOGETHER
        }
    }

    /// Sends commands, and returns an answer to each.
    fn ask(
        &self,
        commands: Pipeline,
    ) -> impl Future<Output = Result<Vec<Value>, RemoteError>> + Send;

    /// A page of names.
    fn scan(
        &self,
        pattern: &[u8],
        from: Option<&[u8]>,
    ) -> impl Future<Output = Result<Page, RemoteError>> + Send {
        scan(self, pattern, from)
    }
}

type Answer<T> = Result<T, RemoteError>;

pub(super) async fn read<L: Line>(line: &L, reads: &[Read<'_>]) -> Answer<Vec<Found>> {
    let calls: Vec<_> = reads.chunks(line.together()).map(read_call).collect();
    let mut found = Vec::with_capacity(reads.len());
    for answer in call(line, &calls).await? {
        let mut parts = array(answer)?.into_iter();
        while let (Some(what), Some(time)) = (parts.next(), parts.next()) {
            found.push(found_of(what, number(&time)?)?);
        }
    }
    as_many(found, reads.len())
}

fn read_call<'a>(reads: &[Read<'a>]) -> Call<'a> {
    let mut call = Call::new(&READ);
    for read in reads {
        call.key(&read.place.value);
        match read.claim {
            Some(claim) => {
                call.key(&read.place.lease);
                call.bytes(claim.token.0.to_vec()).number(milliseconds(claim.ttl));
                call.bytes(claim.instead_of.map_or_else(Vec::new, Vec::from));
            }
            // While a cluster moves names, only what names one thing is answered.
            None => {
                call.key(&read.place.value);
                call.bytes(&[][..]).bytes(&[][..]).bytes(&[][..]);
            }
        }
    }
    call
}

pub(super) fn found_of(what: Value, time: i64) -> Answer<Found> {
    // Below zero it is without end.
    let left = u64::try_from(time).ok().map(Duration::from_millis);
    match what {
        Value::BulkString(bytes) => Ok(Found::Value { bytes, left }),
        Value::Int(GRANTED) => Ok(Found::Granted),
        Value::Int(HELD) => Ok(Found::Held(left.unwrap_or(Duration::MAX))),
        Value::Int(NOTHING) => Ok(Found::Nothing),
        Value::Int(FOREIGN) => Ok(Found::Foreign),
        other => Err(garbled(&other)),
    }
}

pub(super) async fn heads<L: Line>(line: &L, names: &[&[u8]]) -> Answer<Vec<Option<[u8; HEAD]>>> {
    let calls: Vec<_> =
        names.chunks(line.together()).map(|names| by_name(&HEADS, names, &[HEAD as u64])).collect();
    let mut heads = Vec::with_capacity(names.len());
    for answer in call(line, &calls).await? {
        for head in array(answer)? {
            heads.push(bytes(head)?.try_into().ok());
        }
    }
    as_many(heads, names.len())
}

pub(super) async fn write(line: &impl Line, writes: &[Write<'_>]) -> Answer<Vec<bool>> {
    let calls: Vec<_> = writes.iter().map(|write| write_call(line, write)).collect();
    call(line, &calls).await?.iter().map(truth).collect()
}

fn write_call<'a>(line: &impl Line, write: &Write<'a>) -> Call<'a> {
    let mut call = Call::new(&WRITE);
    call.key(&write.place.value).key(&write.place.lease);
    call.bytes(write.bytes).number(milliseconds(write.ttl));
    call.bytes(write.leased.map_or_else(Vec::new, |token| token.0.to_vec()));
    version(&mut call, write.version);
    look(&mut call, line);
    tell(&mut call, write.tell);
    call
}

pub(super) async fn delete(line: &impl Line, deletes: &[Delete<'_>]) -> Answer<Vec<bool>> {
    let calls: Vec<_> = deletes.iter().map(|delete| delete_call(line, delete)).collect();
    call(line, &calls).await?.iter().map(truth).collect()
}

fn delete_call<'a>(line: &impl Line, delete: &Delete<'a>) -> Call<'a> {
    let mut call = Call::new(&DELETE);
    call.key(&delete.place.value).key(&delete.place.lease);
    version(&mut call, delete.unless);
    look(&mut call, line);
    tell(&mut call, delete.tell);
    call
}

pub(super) async fn numbers<L: Line>(
    line: &L,
    names: &[&[u8]],
    fresh: u64,
    ttl: Duration,
) -> Answer<Vec<u64>> {
    let numbers = [fresh, milliseconds(ttl)];
    let numbers_of = |names| {
        let mut call = by_name(&NUMBERS, names, &numbers);
        look(&mut call, line);
        call
    };
    let calls: Vec<_> = names.chunks(line.together()).map(numbers_of).collect();
    let mut numbers = Vec::with_capacity(names.len());
    for answer in call(line, &calls).await? {
        for number in array(answer)? {
            let digits = bytes(number)?;
            let text = std::str::from_utf8(&digits).ok();
            let number = text.and_then(|text| text.parse().ok());
            numbers.push(number.ok_or_else(|| garbled(&Value::BulkString(digits)))?);
        }
    }
    as_many(numbers, names.len())
}

pub(super) async fn set_number(
    line: &impl Line,
    name: &[u8],
    number: u64,
    ttl: Duration,
    whom: Option<Tell<'_>>,
) -> Answer<()> {
    let mut set = Call::new(&SET_NUMBER);
    set.key(name).number(number).number(milliseconds(ttl));
    look(&mut set, line);
    tell(&mut set, whom);
    one(line, set).await.map(drop)
}

pub(super) async fn lock(line: &impl Line, name: &[u8], token: Token, turn: Turn) -> Answer<bool> {
    let (script, time) = match turn {
        Turn::Take(time) => (&TAKE, Some(time)),
        Turn::Extend(time) => (&EXTEND, Some(time)),
        Turn::Free => (&FREE, None),
    };
    let mut lock = Call::new(script);
    lock.key(name).bytes(token.0.to_vec());
    if let Some(time) = time {
        lock.number(milliseconds(time));
    }
    truth(&one(line, lock).await?)
}

async fn scan(line: &impl Line, pattern: &[u8], from: Option<&[u8]>) -> Answer<Page> {
    let mut commands = Pipeline::new();
    commands.add_command(scan_command(pattern, from.unwrap_or(b"0")));
    page(as_many(line.ask(commands).await?, 1)?.remove(0))
}

pub(super) fn scan_command(pattern: &[u8], from: &[u8]) -> Cmd {
    let mut scan = cmd("SCAN");
    scan.arg(from).arg("MATCH").arg(pattern).arg("COUNT").arg(PAGE);
    scan
}

pub(super) fn page(answer: Value) -> Answer<Page> {
    let mut parts = array(checked(answer)?)?.into_iter();
    let (Some(next), Some(names), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(RemoteError::Garbled("a page without names".to_owned()));
    };
    let names: Result<_, _> = array(names)?.into_iter().map(bytes).collect();
    let next = bytes(next)?;
    Ok(Page { names: names?, next: (next != b"0").then_some(next) })
}

fn by_name<'a>(script: &'static Script, names: &[&'a [u8]], numbers: &[u64]) -> Call<'a> {
    let mut call = Call::new(script);
    for name in names {
        call.key(name);
    }
    for number in numbers {
        call.number(*number);
    }
    call
}

pub(super) async fn one(line: &impl Line, only: Call<'_>) -> Answer<Value> {
    Ok(call(line, &[only]).await?.remove(0))
}

/// Calls scripts, in one round trip if the server has seen them before. There are as many answers as calls, and none says no.
pub(super) async fn call(line: &impl Line, calls: &[Call<'_>]) -> Answer<Vec<Value>> {
    if calls.is_empty() {
        return Ok(Vec::new());
    }
    let mut answers = ask(line, calls.iter(), By::Hash).await?;
    let unknown: Vec<_> = (0..calls.len()).filter(|&at| is_unknown(&answers[at])).collect();
    if !unknown.is_empty() {
        let again = ask(line, unknown.iter().map(|&at| &calls[at]), By::Text).await?;
        for (at, answer) in unknown.into_iter().zip(again) {
            answers[at] = answer;
        }
    }
    answers.into_iter().map(checked).collect()
}

async fn ask<'a, 'b: 'a>(
    line: &impl Line,
    calls: impl ExactSizeIterator<Item = &'a Call<'b>>,
    by: By,
) -> Answer<Vec<Value>> {
    let count = calls.len();
    let mut commands = Pipeline::with_capacity(count);
    for call in calls {
        commands.add_command(call.command(by));
    }
    as_many(line.ask(commands).await?, count)
}

fn is_unknown(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}

fn version(call: &mut Call<'_>, version: Option<u64>) {
    match version {
        Some(version) => call.number(version >> 32).number(version & u64::from(u32::MAX)),
        None => call.bytes(&[][..]).bytes(&[][..]),
    };
}

/// Whether the script looks at what it writes.
fn look(call: &mut Call<'_>, line: &impl Line) {
    call.bytes(if line.looks_at_what_it_writes() { &b"1"[..] } else { &[][..] });
}

fn tell<'a>(call: &mut Call<'a>, tell: Option<Tell<'a>>) {
    if let Some(tell) = tell {
        call.bytes(tell.channel).bytes(tell.message);
    }
}

/// A time that the server takes: at least a millisecond.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(LONGEST).clamp(1, LONGEST)
}

pub(super) fn checked(answer: Value) -> Answer<Value> {
    match answer {
        Value::ServerError(error) => Err(refused(&error)),
        answer => Ok(answer),
    }
}

pub(super) fn as_many<T>(items: Vec<T>, count: usize) -> Answer<Vec<T>> {
    if items.len() == count {
        return Ok(items);
    }
    Err(RemoteError::Garbled(format!("{} answers instead of {count}", items.len())))
}

pub(super) fn array(value: Value) -> Answer<Vec<Value>> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(garbled(&other)),
    }
}

pub(super) fn bytes(value: Value) -> Answer<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        other => Err(garbled(&other)),
    }
}

pub(super) fn number(value: &Value) -> Answer<i64> {
    match value {
        Value::Int(number) => Ok(*number),
        other => Err(garbled(other)),
    }
}

fn truth(value: &Value) -> Answer<bool> {
    number(value).map(|number| number != 0)
}

/// What kind of thing it is: a value may be secret, and is too long to be told.
fn garbled(value: &Value) -> RemoteError {
    let kind = match value {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::BulkString(_) => "bytes",
        Value::Array(_) => "an array",
        Value::SimpleString(_) | Value::Okay => "a status",
        _ => "something else",
    };
    RemoteError::Garbled(format!("{kind} is not what was asked for"))
}

/// What a [`Remote`](crate::tier::Remote) that is a [`Line`] does, but for listening.
macro_rules! operations {
    () => {
        fn read<'a>(&'a self, reads: &'a [Read<'a>]) -> Reply<'a, Vec<Found>> {
            Box::pin($crate::tier::redis::ops::read(self, reads))
        }

        fn heads<'a>(&'a self, names: &'a [&'a [u8]]) -> Reply<'a, Vec<Option<[u8; HEAD]>>> {
            Box::pin($crate::tier::redis::ops::heads(self, names))
        }

        fn write<'a>(&'a self, writes: &'a [Write<'a>]) -> Reply<'a, Vec<bool>> {
            Box::pin($crate::tier::redis::ops::write(self, writes))
        }

        fn delete<'a>(&'a self, deletes: &'a [Delete<'a>]) -> Reply<'a, Vec<bool>> {
            Box::pin($crate::tier::redis::ops::delete(self, deletes))
        }

        fn numbers<'a>(
            &'a self,
            names: &'a [&'a [u8]],
            fresh: u64,
            ttl: Duration,
        ) -> Reply<'a, Vec<u64>> {
            Box::pin($crate::tier::redis::ops::numbers(self, names, fresh, ttl))
        }

        fn set_number<'a>(
            &'a self,
            name: &'a [u8],
            number: u64,
            ttl: Duration,
            tell: Option<Tell<'a>>,
        ) -> Reply<'a, ()> {
            Box::pin($crate::tier::redis::ops::set_number(self, name, number, ttl, tell))
        }

        fn lock<'a>(&'a self, name: &'a [u8], token: Token, turn: Turn) -> Reply<'a, bool> {
            Box::pin($crate::tier::redis::ops::lock(self, name, token, turn))
        }

        fn scan<'a>(&'a self, pattern: &'a [u8], from: Option<&'a [u8]>) -> Reply<'a, Page> {
            Box::pin($crate::tier::redis::ops::Line::scan(self, pattern, from))
        }
    };
}
pub(super) use operations;
