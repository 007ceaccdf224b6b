//! Versions: what is newer stays.

use super::super::remote::{Claim, Delete, Found, Write};
use super::{Held, LONG, Trial, gone, plain, same};

/// Numbers next to which arithmetic with fewer bits goes wrong: pairs of a lower and a higher one.
const PAIRS: [(u64, u64); 10] = [
    (0, 1),
    (255, 256),
    ((1 << 31) - 1, 1 << 31),
    ((1 << 32) - 1, 1 << 32),
    (1, 1 << 32),
    (1 << 53, (1 << 53) + 1),
    ((1 << 63) - 1, 1 << 63),
    (1 << 63, (1 << 63) + 1),
    (u64::MAX - 1, u64::MAX),
    (9, u64::MAX),
];

/// A value is not written over one with a higher version; over an equal or a lower one it is. A value without a version is over any.
///
/// # Errors
///
/// If the law is broken.
pub fn a_higher_version_stays(trial: &Trial) -> Held {
    for (low, high) in PAIRS {
        let place = trial.fresh();
        let write = |bytes, version| Write { version, ..plain(&place, bytes) };
        let (lower, higher) = (trial.envelope(low, 9), trial.envelope(high, 9));
        let say = |what: &str| format!("a write of version {what}");
        let over = format!("{low} where is nothing");
        same(&say(&over), &trial.write(write(&lower, Some(low)))?, &true)?;
        let over = format!("{high} over {low}");
        same(&say(&over), &trial.write(write(&higher, Some(high)))?, &true)?;
        let over = format!("{low} over {high}");
        same(&say(&over), &trial.write(write(&lower, Some(low)))?, &false)?;
        trial.has(&place, &higher)?;
        let equal = trial.envelope(high, 8);
        let over = format!("{high} over {high}");
        same(&say(&over), &trial.write(write(&equal, Some(high)))?, &true)?;
        trial.has(&place, &equal)?;
        same("a write without a version", &trial.write(write(&lower, None))?, &true)?;
        trial.has(&place, &lower)?;
    }
    Ok(())
}

/// A deletion that says so leaves a value of this version or of a higher one, and ends the lease nevertheless.
///
/// # Errors
///
/// If the law is broken.
pub fn a_higher_version_is_not_deleted(trial: &Trial) -> Held {
    for (low, high) in PAIRS {
        let place = trial.fresh();
        let delete = |unless| Delete { unless: Some(unless), ..gone(&place) };
        let say = |unless, is| format!("a deletion unless version {unless} of version {is}");
        let (lower, higher) = (trial.envelope(low, 9), trial.envelope(high, 9));
        same("a deletion where is nothing", &trial.delete(delete(low))?, &true)?;
        trial.put(&place, &higher)?;
        let token = trial.token();
        let instead_of = higher.first_chunk().copied();
        let claim = Some(Claim { token, ttl: LONG, instead_of });
        same("a claim instead of a value", &trial.read(&place, claim)?, &Found::Granted)?;
        same(&say(low, high), &trial.delete(delete(low))?, &false)?;
        let fill = Write { leased: Some(token), ..plain(&place, &lower) };
        let what = "a fill with a lease that a deletion ended";
        same(what, &trial.write(fill)?, &false)?;
        same(&say(high, high), &trial.delete(delete(high))?, &false)?;
        trial.has(&place, &higher)?;
        trial.put(&place, &lower)?;
        same(&say(high, low), &trial.delete(delete(high))?, &true)?;
        same("a read after it", &trial.read(&place, None)?, &Found::Nothing)?;
    }
    Ok(())
}
