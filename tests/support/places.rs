//! What a remote is asked, in few words.

use crate::redis_server::PATIENCE;
use cachette::tier::{Claim, Delete, HEAD, Place, Read, RedisOptions, Token, Write};
use std::time::Duration;

/// Longer than any test runs.
pub(crate) const LONG: Duration = Duration::from_secs(3_600);

/// Options for tests on a machine that has other work to do.
pub(crate) fn options(url: &str) -> RedisOptions {
    RedisOptions::new(url).unwrap().connect_timeout(PATIENCE).answer_timeout(PATIENCE)
}

pub(crate) fn place(name: &str) -> Place {
    Place::of(format!("{{p:k:{name}}}").into())
}

pub(crate) fn token(number: u8) -> Token {
    Token([number; 16])
}

/// An envelope of this version: the rest of its head is `fill`, and so is its payload.
pub(crate) fn envelope(version: u64, fill: u8) -> Vec<u8> {
    let mut bytes = vec![fill; HEAD + 5];
    bytes[12..20].copy_from_slice(&version.to_le_bytes());
    bytes
}

pub(crate) fn read(place: &Place) -> Read<'_> {
    Read { place, claim: None }
}

pub(crate) fn claim(place: &Place, number: u8) -> Read<'_> {
    let claim = Claim { token: token(number), ttl: LONG, instead_of: None };
    Read { place, claim: Some(claim) }
}

pub(crate) fn write<'a>(place: &'a Place, bytes: &'a [u8]) -> Write<'a> {
    Write { place, bytes, ttl: LONG, leased: None, version: None, tell: None }
}

pub(crate) fn delete(place: &Place) -> Delete<'_> {
    Delete { place, unless: None, tell: None }
}
