//! The suite of the laws of a remote: the remote in memory keeps them all, and a remote that breaks one is found out.

#![cfg(feature = "test-kit")]

mod wrong;

use cachette::ManualClock;
use cachette::tier::laws::{self, Trial};
use cachette::tier::{MemoryRemote, Mode, Remote};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use wrong::{Breach, Wrong};

fn trial(make: impl FnOnce(MemoryRemote) -> Arc<dyn Remote>) -> Trial {
    let clock = ManualClock::new();
    let remote = make(MemoryRemote::with_clock(clock.clone()));
    Trial::new(remote, move |time| clock.advance(time))
}

#[test]
fn the_remote_in_memory_keeps_all_laws() {
    laws::check(&trial(|remote| Arc::new(remote)));
}

#[test]
fn a_node_that_was_used_before_keeps_them_too() {
    let clock = ManualClock::new();
    let remote = MemoryRemote::with_clock(clock.clone());
    for node in [remote.clone(), remote.node()] {
        let clock = clock.clone();
        laws::check(&Trial::new(Arc::new(node), move |time| clock.advance(time)));
    }
}

#[test]
fn a_remote_that_blocks_keeps_them_too() {
    laws::check(&trial(|remote| Arc::new(Wrong::new(remote, Breach::NoneButBlocks))));
}

/// A node that can be told in all ways.
fn telling(remote: MemoryRemote) -> MemoryRemote {
    remote.faults().offer(&TELLING);
    remote
}

const TELLING: [Mode; 3] = [Mode::Tracking, Mode::OptIn, Mode::Messages];

#[test]
fn a_remote_that_tells_of_what_was_read_keeps_them_too() {
    laws::check(&trial(|remote| Arc::new(telling(remote))).modes(&TELLING));
}

#[test]
fn a_remote_that_can_tell_less_is_tried_in_what_it_can() {
    let messages = |remote: MemoryRemote| -> Arc<dyn Remote> {
        remote.faults().offer(&[Mode::Messages]);
        Arc::new(remote)
    };
    laws::check(&trial(messages).modes(&[Mode::Messages]));
    let broken = laws::broken(&trial(messages).patience(Duration::from_secs(1)));
    assert!(broken.iter().any(|(law, _)| law.starts_with("changes_are_told")));
}

#[test]
fn each_law_is_listed_once() {
    let names: BTreeSet<_> = laws::LAWS.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), laws::LAWS.len());
    let laws: BTreeSet<_> = laws::LAWS.iter().map(|(_, law)| *law as usize).collect();
    assert_eq!(laws.len(), laws::LAWS.len());
    for (name, _) in laws::LAWS {
        let caught = wrong::BREACHES.iter().any(|(_, law)| law == name);
        assert!(caught, "no wrong remote breaks {name}");
    }
}

#[test]
fn each_breach_is_found() {
    let mut missed = Vec::new();
    for (breach, law) in wrong::BREACHES {
        let trial = trial(|remote| Arc::new(Wrong::new(telling(remote), *breach)));
        let trial = trial.modes(&TELLING);
        let broken = laws::broken(&trial.patience(Duration::from_millis(200)));
        if !broken.iter().any(|(broken, _)| broken == law) {
            let broken: Vec<_> =
                broken.into_iter().map(|(law, why)| format!("{law}: {why}")).collect();
            missed.push(format!("{breach:?} was to break {law}, but broke {broken:?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
