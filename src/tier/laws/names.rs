//! Names: any bytes, and how they are found.

use super::{Broken, Held, Shown, Trial, answered, gone, holds, same};
use crate::load::block_on;
use std::collections::BTreeSet;

/// A name is any bytes, and each is a name of its own: zero bytes, braces, line ends, the signs of patterns, 10,000 bytes, none.
///
/// # Errors
///
/// If the law is broken.
pub fn names_are_any_bytes(trial: &Trial) -> Held {
    let long = vec![b'n'; 10_000];
    let longer = [&long[..], b"n"].concat();
    let keys: [&[u8]; 25] = [
        b"",
        b"a",
        b"A",
        b"a\0b",
        b"a\0c",
        b"a\0",
        b"{",
        b"}",
        b"{}",
        b"}{",
        b"a b",
        b"a\nb",
        b"a\nc",
        b"a\r\nb",
        b"*",
        b"?",
        b"[a]",
        b"\\",
        b"\\*",
        b"\"",
        b"'",
        b"\xff\xfe",
        b"\xc3\xa4",
        &long,
        &longer,
    ];
    let places: Vec<_> = keys.iter().map(|key| trial.place("n", key)).collect();
    for (n, place) in places.iter().enumerate() {
        same("a read of a new name", &trial.read(place, None)?, &super::Found::Nothing)?;
        trial.put(place, n.to_string().as_bytes())?;
    }
    for (n, place) in places.iter().enumerate() {
        trial.has(place, n.to_string().as_bytes()).map_err(|Broken(why)| {
            Broken(format!("under the name {}: {why}", Shown(&place.value)))
        })?;
    }
    for (n, place) in places.iter().enumerate() {
        same("a deletion", &trial.delete(gone(place))?, &true)?;
        trial.is_free(place)?;
        if let Some(next) = places.get(n + 1) {
            trial.has(next, (n + 1).to_string().as_bytes())?;
        }
    }
    Ok(())
}

/// What is there from the first page to the last is on one of them, whatever else comes and goes meanwhile; what does not match is not.
///
/// # Errors
///
/// If the law is broken.
pub fn a_scan_finds_what_stays(trial: &Trial) -> Held {
    let stay: Vec<_> = (0..600).map(|n| trial.place("s", format!("stay{n}").as_bytes())).collect();
    let go: Vec<_> = (0..600).map(|n| trial.place("s", format!("go{n}").as_bytes())).collect();
    for (stay, go) in stay.iter().zip(&go) {
        trial.put(stay, b"here")?;
        trial.put(go, b"here")?;
    }
    let mut leaving = go.iter();
    let pattern = [&trial.prefix("s"), b"*".as_slice()].concat();
    let found = scan(trial, &pattern, |page| {
        for (n, place) in leaving.by_ref().take(100).enumerate() {
            trial.delete(gone(place))?;
            // Fewer than go: who counts names instead of remembering one will miss some.
            if n % 10 == 0 {
                trial.put(&trial.place("s", format!("come{page}.{n}").as_bytes()), b"here")?;
            }
        }
        Ok(())
    })?;
    for place in &stay {
        holds(found.contains(&place.value), || {
            format!("a scan has missed {}, which was there throughout", Shown(&place.value))
        })?;
    }
    let prefix = trial.prefix("s");
    let foreign = found.iter().find(|name| !name.starts_with(&prefix));
    holds(foreign.is_none(), || {
        format!(
            "a scan for {} found {}",
            Shown(&pattern),
            Shown(foreign.map_or(&[], Vec::as_slice))
        )
    })
}

/// A pattern matches as in Redis: `*`, `?`, `[a-z]`, `[^a]`, `\x`.
///
/// # Errors
///
/// If the law is broken.
pub fn patterns_are_those_of_redis(trial: &Trial) -> Held {
    let keys = ["", "a", "b", "c", "d", "ab", "abc", "a*c", "a?c", "[b]", "^", "\\", "a\nc", "-"];
    for key in keys {
        trial.put(&trial.place("p", key.as_bytes()), b"here")?;
    }
    for (pattern, should) in [
        ("*", keys.as_slice()),
        ("?", &["a", "b", "c", "d", "^", "\\", "-"]),
        ("a*", &["a", "ab", "abc", "a*c", "a?c", "a\nc"]),
        ("*c", &["c", "abc", "a*c", "a?c", "a\nc"]),
        ("a?c", &["abc", "a*c", "a?c", "a\nc"]),
        ("a\\*c", &["a*c"]),
        ("a\\?c", &["a?c"]),
        ("\\[b\\]", &["[b]"]),
        ("[b]", &["b"]),
        ("[abx]", &["a", "b"]),
        ("[b-d]", &["b", "c", "d"]),
        ("[^b-d]", &["a", "^", "\\", "-"]),
        ("[a^]", &["a", "^"]),
        ("\\\\", &["\\"]),
        ("a**", &["a", "ab", "abc", "a*c", "a?c", "a\nc"]),
        ("abcd", &[]),
        ("", &[""]),
    ] {
        let full = [&trial.prefix("p"), pattern.as_bytes(), b"}"].concat();
        let names = |key: &&str| trial.place("p", key.as_bytes()).value;
        let should: BTreeSet<_> = should.iter().map(names).collect();
        let found = scan(trial, &full, |_| Ok(()))?;
        let other = found.symmetric_difference(&should).next();
        holds(other.is_none(), || {
            let other = Shown(other.map_or(&[], Vec::as_slice));
            format!(
                "the pattern {pattern:?} finds what it should not, or misses what it should find: {other}"
            )
        })?;
    }
    Ok(())
}

/// All that a scan finds. Between two pages `meanwhile` is called.
fn scan(
    trial: &Trial,
    pattern: &[u8],
    mut meanwhile: impl FnMut(usize) -> Held,
) -> Result<BTreeSet<Vec<u8>>, Broken> {
    let (mut found, mut from) = (BTreeSet::new(), None);
    for page in 0..1_000_000 {
        let answer = block_on(trial.remote.scan(pattern, from.as_deref()));
        let answer = answered("a scan", answer)?;
        found.extend(answer.names);
        let Some(next) = answer.next else { return Ok(found) };
        from = Some(next);
        meanwhile(page)?;
    }
    Err(Broken("a scan does not end".to_owned()))
}
