//! Numbers and locks.

use super::super::remote::{Token, Turn};
use super::{AFTER, BRIEF, Broken, Held, LONG, OVER, SHORT, Trial, answered, same};
use crate::load::block_on;
use std::time::Duration;

impl Trial {
    fn numbers(&self, names: &[&[u8]], fresh: u64, ttl: Duration) -> Result<Vec<u64>, Broken> {
        answered("a question for numbers", block_on(self.remote.numbers(names, fresh, ttl)))
    }

    fn lock(&self, name: &[u8], token: Token, turn: Turn) -> Result<bool, Broken> {
        answered("a lock", block_on(self.remote.lock(name, token, turn)))
    }
}

/// A number that nobody has put yet is put for all who ask later, until it expires; each number is kept exactly.
///
/// # Errors
///
/// If the law is broken.
pub fn numbers_are_put_once(trial: &Trial) -> Held {
    let names: Vec<_> = (0..6).map(|_| trial.fresh().value).collect();
    let all: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let numbers = [0, 1, 1 << 53 | 1, 1 << 63, u64::MAX];
    for (name, number) in all.iter().zip(numbers) {
        let put = trial.numbers(&[name], number, LONG)?;
        same("a question for a number that is not there", &put, &vec![number])?;
        let again = trial.numbers(&[name], number ^ 5, LONG)?;
        same("a question for a number that is there", &again, &vec![number])?;
    }
    let last = vec![1 << 63, 42, u64::MAX, 0];
    let asked = trial.numbers(&[all[3], all[5], all[4], all[0]], 42, BRIEF)?;
    same("a question for several numbers", &asked, &last)?;
    same(
        "a question for a number that was just put",
        &trial.numbers(&[all[5]], 7, LONG)?,
        &vec![42],
    )?;
    trial.pass(AFTER);
    same("a question for a number that expired", &trial.numbers(&[all[5]], 7, LONG)?, &vec![7])?;
    same("a question for one that did not", &trial.numbers(&[all[3]], 7, LONG)?, &vec![1 << 63])
}

/// A number that is set is what all read from then on, for as long as it says.
///
/// # Errors
///
/// If the law is broken.
pub fn set_numbers_replace(trial: &Trial) -> Held {
    let name = trial.fresh().value;
    let set = |number, ttl| {
        answered("to set a number", block_on(trial.remote.set_number(&name, number, ttl, None)))
    };
    for number in [1, u64::MAX, 0, 1 << 53 | 1] {
        set(number, LONG)?;
        let asked = trial.numbers(&[&name], number ^ 5, LONG)?;
        same("a question for a number that was set", &asked, &vec![number])?;
    }
    set(3, SHORT)?;
    trial.pass(OVER);
    let asked = trial.numbers(&[&name], 9, LONG)?;
    same("a question for a number that was set and has expired", &asked, &vec![9])
}

/// A lock is taken by one; only the holder's token keeps it or gives it back; it ends by itself.
///
/// # Errors
///
/// If the law is broken.
pub fn a_lock_is_one_holder_s(trial: &Trial) -> Held {
    let (name, own, other) = (trial.fresh().value, trial.token(), trial.token());
    let lock = |token, turn| trial.lock(&name, token, turn);
    same("giving back a lock that nobody has", &lock(own, Turn::Free)?, &false)?;
    same("keeping a lock that nobody has", &lock(own, Turn::Extend(LONG))?, &false)?;
    same("taking a lock that nobody has", &lock(own, Turn::Take(BRIEF))?, &true)?;
    same("keeping one's lock", &lock(own, Turn::Extend(LONG))?, &true)?;
    trial.pass(AFTER);
    same("taking a lock that was kept", &lock(other, Turn::Take(LONG))?, &false)?;
    same("keeping another's lock", &lock(other, Turn::Extend(SHORT))?, &false)?;
    same("giving back another's lock", &lock(other, Turn::Free)?, &false)?;
    trial.pass(OVER);
    same("giving back one's lock", &lock(own, Turn::Free)?, &true)?;
    same("giving it back again", &lock(own, Turn::Free)?, &false)?;
    same("taking a lock that was given back", &lock(other, Turn::Take(SHORT))?, &true)?;
    trial.pass(OVER);
    same("keeping a lock that has expired", &lock(other, Turn::Extend(LONG))?, &false)?;
    same("taking a lock that has expired", &lock(own, Turn::Take(LONG))?, &true)?;
    same("giving back a lock that another has by now", &lock(other, Turn::Free)?, &false)?;
    same("giving back one's lock", &lock(own, Turn::Free)?, &true)
}
