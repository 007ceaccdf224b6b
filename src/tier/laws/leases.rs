//! Leases: who may write what was loaded.

use super::super::remote::{Claim, Found, Write};
use super::{Broken, HEAD, Held, LONG, OVER, SHORT, Trial, gone, holds, plain, same};

/// Of those who claim a lease, the first gets it; the others learn for how long it is held at most.
///
/// # Errors
///
/// If the law is broken.
pub fn a_claim_is_granted_once(trial: &Trial) -> Held {
    let place = trial.fresh();
    same("the first claim", &trial.claim(&place, trial.token())?, &Found::Granted)?;
    for _ in 0..2 {
        is_held(&trial.claim(&place, trial.token())?)?;
    }
    Ok(())
}

/// Somebody else has the lease, and may have it for as long as it was claimed.
fn is_held(found: &Found) -> Held {
    let held = matches!(found, Found::Held(left) if !left.is_zero() && *left <= LONG);
    holds(held, || {
        format!("a claim of a lease that is held for {LONG:?} was answered with {found:?}")
    })
}

/// A read that claims nothing takes no lease, nor does a claim where there is a value.
///
/// # Errors
///
/// If the law is broken.
pub fn only_a_claim_takes_a_lease(trial: &Trial) -> Held {
    let place = trial.fresh();
    same("a read where is nothing", &trial.read(&place, None)?, &Found::Nothing)?;
    trial.is_free(&place)?;
    let bytes = trial.envelope(1, 9);
    trial.put(&place, &bytes)?;
    let found = trial.claim(&place, trial.token())?;
    holds(matches!(&found, Found::Value { bytes: is, .. } if *is == bytes), || {
        format!("a claim where is a value was answered with {found:?}")
    })?;
    let instead_of = head(&bytes);
    let claim = Claim { token: trial.token(), ttl: LONG, instead_of };
    same("the first claim instead of a value", &trial.read(&place, Some(claim))?, &Found::Granted)
}

fn head(bytes: &[u8]) -> Option<[u8; HEAD]> {
    bytes.first_chunk().copied()
}

/// What was loaded is written only with the token that holds the lease; another's leaves the lease as it is.
///
/// # Errors
///
/// If the law is broken.
pub fn a_fill_needs_its_lease(trial: &Trial) -> Held {
    let (place, bytes) = (trial.fresh(), trial.envelope(0, 9));
    let (own, other) = (trial.token(), trial.token());
    let fill = |token| Write { leased: Some(token), ..plain(&place, &bytes) };
    same("a fill without any lease", &trial.write(fill(other))?, &false)?;
    same("the claim after it", &trial.claim(&place, own)?, &Found::Granted)?;
    same("a fill with a token of another", &trial.write(fill(other))?, &false)?;
    is_held(&trial.claim(&place, trial.token())?)?;
    same("a fill with the lease", &trial.write(fill(own))?, &true)?;
    trial.has(&place, &bytes)
}

/// A fill ends its own lease, written or not.
///
/// # Errors
///
/// If the law is broken.
pub fn a_fill_ends_its_lease(trial: &Trial) -> Held {
    let (place, own) = (trial.fresh(), trial.token());
    let (old, new) = (trial.envelope(1, 9), trial.envelope(2, 9));
    let fill = |bytes| Write { leased: Some(own), ..plain(&place, bytes) };
    trial.claim(&place, own)?;
    same("a fill with the lease", &trial.write(fill(&old))?, &true)?;
    same("the same fill again", &trial.write(fill(&old))?, &false)?;

    trial.put(&place, &new)?;
    let again = Claim { token: own, ttl: LONG, instead_of: head(&new) };
    same("a claim instead of a value", &trial.read(&place, Some(again))?, &Found::Granted)?;
    let late = Write { version: Some(1), ..fill(&old) };
    same("a fill below the version that is there", &trial.write(late)?, &false)?;
    trial.delete_value_alone(&place)?;
    trial.is_free(&place)
}

/// A deletion ends the lease, so that what was loaded before it is not written after it.
///
/// # Errors
///
/// If the law is broken.
pub fn a_deletion_ends_the_lease(trial: &Trial) -> Held {
    let (place, bytes, own) = (trial.fresh(), trial.envelope(0, 9), trial.token());
    same("the first claim", &trial.claim(&place, own)?, &Found::Granted)?;
    same("a deletion where is a lease alone", &trial.delete(gone(&place))?, &true)?;
    let fill = Write { leased: Some(own), ..plain(&place, &bytes) };
    let late = trial.write(fill)?;
    same("a fill with a lease that a deletion ended", &late, &false)?;
    same("a read after it", &trial.read(&place, None)?, &Found::Nothing)?;
    trial.is_free(&place)
}

/// A write that needs no lease ends that of any loader, whose value is older.
///
/// # Errors
///
/// If the law is broken.
pub fn a_write_without_a_lease_ends_it(trial: &Trial) -> Held {
    let (place, own) = (trial.fresh(), trial.token());
    let (loaded, written) = (trial.envelope(0, 9), trial.envelope(0, 9));
    same("the first claim", &trial.claim(&place, own)?, &Found::Granted)?;
    trial.put(&place, &written)?;
    let fill = Write { leased: Some(own), ..plain(&place, &loaded) };
    same("a fill with a lease that a write ended", &trial.write(fill)?, &false)?;
    trial.has(&place, &written)
}

/// A lease ends by itself; its holder's late fill is rejected, whether or not another has the lease by then.
///
/// # Errors
///
/// If the law is broken.
pub fn an_expired_lease_is_free(trial: &Trial) -> Held {
    let (place, bytes) = (trial.fresh(), trial.envelope(0, 9));
    let (first, slow, next) = (trial.token(), trial.token(), trial.token());
    let fill = |token| Write { leased: Some(token), ..plain(&place, &bytes) };
    let short = |token| Some(Claim { token, ttl: SHORT, instead_of: None });
    same("the first claim", &trial.read(&place, short(first))?, &Found::Granted)?;
    trial.pass(OVER);
    same("a fill with an expired lease", &trial.write(fill(first))?, &false)?;
    same("a claim after it", &trial.read(&place, short(slow))?, &Found::Granted)?;
    trial.pass(OVER);
    same("a claim of an expired lease", &trial.claim(&place, next)?, &Found::Granted)?;
    same("a fill with an expired lease", &trial.write(fill(slow))?, &false)?;
    is_held(&trial.claim(&place, trial.token())?)?;
    same("a fill with the lease that followed", &trial.write(fill(next))?, &true)?;
    trial.has(&place, &bytes)
}

/// A claim instead of a value is granted if and only if its head is equal to the last byte; the value stays until another is written.
///
/// # Errors
///
/// If the law is broken.
pub fn a_claim_instead_of_a_value_goes_by_its_head(trial: &Trial) -> Held {
    let (place, bytes) = (trial.fresh(), trial.envelope(0, 9));
    trial.put(&place, &bytes)?;
    let claim = |head| Some(Claim { token: trial.token(), ttl: LONG, instead_of: head });
    let is_value = |found: Found, why: &str| {
        let is = matches!(&found, Found::Value { bytes: is, .. } if *is == bytes);
        holds(is, || format!("{why} was answered with {found:?}"))
    };
    for at in [0, HEAD / 2, HEAD - 1] {
        let mut other = bytes.clone();
        other[at] ^= 1;
        let found = trial.read(&place, claim(head(&other)))?;
        is_value(found, &format!("a claim instead of a value whose byte {at} differs"))?;
    }
    let found = trial.read(&place, claim(head(&bytes)))?;
    same("a claim instead of the value", &found, &Found::Granted)?;
    is_value(trial.read(&place, None)?, "a read of a value that is being replaced")?;
    is_held(&trial.read(&place, claim(head(&bytes)))?)?;

    let short = trial.fresh();
    trial.put(&short, &bytes[..HEAD - 1])?;
    let mut padded = [0; HEAD];
    padded[..HEAD - 1].copy_from_slice(&bytes[..HEAD - 1]);
    let found = trial.read(&short, claim(Some(padded)))?;
    same("a claim instead of a short value, filled up with zeros", &found, &Found::Granted)
}

impl Trial {
    /// Deletes the value, and leaves the lease as it is.
    fn delete_value_alone(&self, place: &super::Place) -> Result<bool, Broken> {
        // What is between the braces stays: a cluster has both names on one machine.
        let lease = [b"other", &place.lease[..]].concat();
        let elsewhere = super::Place { value: place.value.clone(), lease };
        self.delete(gone(&elsewhere))
    }
}
