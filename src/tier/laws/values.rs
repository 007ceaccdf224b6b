//! Values: what is written is read, for as long as it should be.

use super::super::remote::{Claim, Found, Read, Write};
use super::{Broken, HEAD, Held, LONG, OVER, SHORT, Trial, answered, gone, holds, plain, same};
use crate::load::block_on;
use std::time::Duration;

/// A value is read as it was written, whatever its bytes, whether it is empty or long.
///
/// # Errors
///
/// If the law is broken.
pub fn values_are_any_bytes(trial: &Trial) -> Held {
    let place = trial.fresh();
    let all: Vec<u8> = (0..=255).collect();
    let lengths = [0, 1, 2, HEAD - 1, HEAD, HEAD + 1, 512, 4096, 65_537, 1 << 20];
    for length in lengths {
        let bytes: Vec<u8> = all.iter().rev().copied().cycle().take(length).collect();
        trial.put(&place, &bytes)?;
        trial.has(&place, &bytes)?;
    }
    for bytes in
        [b"\0".as_slice(), b"\r\n", b"$-1\r\n", b" 1", b"18446744073709551615", b"\xff\xfe"]
    {
        trial.put(&place, bytes)?;
        trial.has(&place, bytes)?;
    }
    Ok(())
}

/// A value is gone when its time is over, and not before; another that is written has a time of its own.
///
/// # Errors
///
/// If the law is broken.
pub fn values_expire(trial: &Trial) -> Held {
    let (place, again) = (trial.fresh(), trial.fresh());
    let bytes = trial.envelope(7, 9);
    let short = |place| Write { ttl: SHORT, ..plain(place, &bytes) };
    same("a write", &trial.write(short(&place))?, &true)?;
    same("a write", &trial.write(short(&again))?, &true)?;
    trial.put(&again, &bytes)?;
    trial.pass(OVER);
    let found = trial.read(&place, None)?;
    same("a read of what has expired", &found, &Found::Nothing)?;
    let old = Write { version: Some(1), ..plain(&place, &bytes) };
    same("a write over a version that has expired", &trial.write(old)?, &true)?;
    trial.has(&again, &bytes)?;
    let last = Write { ttl: Duration::from_millis(1), ..plain(&again, &bytes) };
    same("a write for a millisecond", &trial.write(last)?, &true)?;
    trial.pass(OVER);
    let found = trial.read(&again, None)?;
    same("a read of what has expired", &found, &Found::Nothing)
}

/// A value says how long it will be there: no longer than it was written for, less what has passed since.
///
/// # Errors
///
/// If the law is broken.
pub fn the_time_left_is_told(trial: &Trial) -> Held {
    let (place, bytes) = (trial.fresh(), trial.envelope(0, 9));
    for ttl in [LONG, LONG * 2] {
        same("a write", &trial.write(Write { ttl, ..plain(&place, &bytes) })?, &true)?;
        time_left(trial, &place, ttl)?;
        trial.pass(OVER);
        // A server counts milliseconds, and may round up.
        time_left(trial, &place, ttl - OVER + Duration::from_millis(1))?;
    }
    Ok(())
}

fn time_left(trial: &Trial, place: &super::Place, most: Duration) -> Held {
    let found = trial.read(place, None)?;
    // Slow machines do not take half a minute.
    let least = most - LONG / 2;
    let fits = |left: &Option<Duration>| left.is_some_and(|left| least <= left && left <= most);
    holds(matches!(&found, Found::Value { left, .. } if fits(left)), || {
        format!("what has at most {most:?} left was answered with {found:?}")
    })
}

/// A deletion leaves neither value nor lease, and says so, also where there was none.
///
/// # Errors
///
/// If the law is broken.
pub fn a_deletion_leaves_nothing(trial: &Trial) -> Held {
    let (place, next) = (trial.fresh(), trial.fresh());
    let bytes = trial.envelope(u64::MAX, 9);
    same("a deletion where is nothing", &trial.delete(gone(&place))?, &true)?;
    trial.put(&place, &bytes)?;
    trial.put(&next, &bytes)?;
    same("a deletion of a value", &trial.delete(gone(&place))?, &true)?;
    same("a read after it", &trial.read(&place, None)?, &Found::Nothing)?;
    trial.is_free(&place)?;
    trial.has(&next, &bytes)?;
    let claim = Claim { token: trial.token(), ttl: LONG, instead_of: bytes.first_chunk().copied() };
    same("a claim instead of a value", &trial.read(&next, Some(claim))?, &Found::Granted)?;
    same("a deletion of a value and a lease", &trial.delete(gone(&next))?, &true)?;
    trial.is_free(&next)
}

/// The head of a value is its first bytes, and a value that is shorter has none.
///
/// # Errors
///
/// If the law is broken.
pub fn heads_are_of_long_values(trial: &Trial) -> Held {
    let places: Vec<_> = (0..5).map(|_| trial.fresh()).collect();
    let bytes = trial.envelope(3, 1000);
    for (place, length) in places.iter().zip([0, HEAD - 1, HEAD, HEAD + 1000]) {
        trial.put(place, &bytes[..length])?;
    }
    let names: Vec<&[u8]> = places.iter().map(|place| place.value.as_slice()).collect();
    let heads = answered("heads", block_on(trial.remote.heads(&names)))?;
    let head = bytes.first_chunk().copied();
    let what =
        format!("heads of values of 0, {}, {HEAD} and {} bytes, and none", HEAD - 1, HEAD + 1000);
    same(&what, &heads, &vec![None, None, head, head, None])
}

/// However many are asked for at once, the answers are in the order of the questions.
///
/// # Errors
///
/// If the law is broken.
pub fn answers_are_in_the_order_asked(trial: &Trial) -> Held {
    let places: Vec<_> = (0..300).map(|_| trial.fresh()).collect();
    let values: Vec<_> = (0..300).map(|n| trial.envelope(n % 7, n as usize)).collect();
    // Every third has a value with a higher version already, every fifth has none to delete later.
    let high = trial.envelope(100, 3);
    for place in places.iter().step_by(3) {
        trial.put(place, &high)?;
    }
    let writes: Vec<_> = places
        .iter()
        .zip(&values)
        .map(|(place, bytes)| Write { version: Some(1), ..plain(place, bytes) })
        .collect();
    let written = answered("300 writes", block_on(trial.remote.write(&writes)))?;
    let should: Vec<_> = (0..300).map(|n| n % 3 != 0).collect();
    same("300 writes", &written, &should)?;

    let found = read_all(trial, &places)?;
    let should: Vec<_> = (values.iter().enumerate())
        .map(|(n, bytes)| Some(if n % 3 == 0 { &high } else { bytes }).cloned())
        .collect();
    holds(found == should, || "300 reads are not in the order asked".to_owned())?;

    let names: Vec<&[u8]> = places.iter().map(|place| place.value.as_slice()).collect();
    let heads = answered("300 heads", block_on(trial.remote.heads(&names)))?;
    let same_heads = (heads.iter().zip(&should)).all(|(head, bytes)| {
        head.as_ref().map(<[u8; HEAD]>::as_slice)
            == bytes.as_deref().and_then(|bytes| bytes.get(..HEAD))
    });
    holds(heads.len() == should.len() && same_heads, || {
        "300 heads are not in the order asked".to_owned()
    })?;

    let deletes: Vec<_> =
        places.iter().map(|place| super::Delete { unless: Some(50), ..gone(place) }).collect();
    let deleted = answered("300 deletions", block_on(trial.remote.delete(&deletes)))?;
    let should: Vec<_> = (0..300).map(|n| n % 3 != 0).collect();
    same("300 deletions", &deleted, &should)
}

/// The values at many places.
fn read_all(trial: &Trial, places: &[super::Place]) -> Result<Vec<Option<Vec<u8>>>, Broken> {
    let reads: Vec<_> = places.iter().map(|place| Read { place, claim: None }).collect();
    let found = answered("many reads", block_on(trial.remote.read(&reads)))?;
    let value = |found| match found {
        Found::Value { bytes, .. } => Some(bytes),
        _ => None,
    };
    Ok(found.into_iter().map(value).collect())
}

/// Who asks for nothing gets an empty answer, and no error.
///
/// # Errors
///
/// If the law is broken.
pub fn nothing_asked_is_nothing_answered(trial: &Trial) -> Held {
    let remote = &trial.remote;
    same("no read", &answered("no read", block_on(remote.read(&[])))?, &vec![])?;
    same("no head", &answered("no head", block_on(remote.heads(&[])))?, &vec![])?;
    same("no write", &answered("no write", block_on(remote.write(&[])))?, &vec![])?;
    same("no deletion", &answered("no deletion", block_on(remote.delete(&[])))?, &vec![])?;
    let numbers = block_on(remote.numbers(&[], 1, LONG));
    same("no number", &answered("no number", numbers)?, &vec![])
}
