//! Random operations on a few places, each against what it should do.

use super::*;
use cachette::tier::Found;
use proptest::prelude::*;

/// What lies at a place: a version and a fill, and who has the lease.
#[derive(Clone, Default)]
struct Lies {
    value: Option<(u64, u8)>,
    lease: Option<u8>,
}

#[derive(Clone, Debug)]
enum Step {
    Read { at: usize, claim: Option<(u8, Option<(u64, u8)>)> },
    Write { at: usize, value: (u64, u8), leased: Option<u8>, versioned: bool },
    Delete { at: usize, unless: Option<u64> },
}

fn step() -> impl Strategy<Value = Step> {
    let version =
        || prop_oneof![0..3_u64, Just(u64::from(u32::MAX)), Just(1 << 32), Just(u64::MAX)];
    let value = move || (version(), 0..2_u8);
    let at = 0..2_usize;
    prop_oneof![
        (at.clone(), prop::option::of((1..3_u8, prop::option::of(value()))))
            .prop_map(|(at, claim)| Step::Read { at, claim }),
        (at.clone(), value(), prop::option::of(1..3_u8), any::<bool>()).prop_map(
            |(at, value, leased, versioned)| Step::Write { at, value, leased, versioned }
        ),
        (at, prop::option::of(version())).prop_map(|(at, unless)| Step::Delete { at, unless }),
    ]
}

/// What the remote answers, in words that the model has too.
#[derive(Debug, PartialEq)]
enum Said {
    Value(Vec<u8>),
    Granted,
    Held,
    Nothing,
    Done(bool),
}

/// What should be answered, after which it is so.
fn expected(lies: &mut Lies, step: &Step) -> Said {
    match *step {
        Step::Read { claim, .. } => {
            let bad = claim.and_then(|(_, bad)| bad);
            match (lies.value.filter(|value| Some(*value) != bad), claim, lies.lease) {
                (Some((version, fill)), _, _) => Said::Value(envelope(version, fill)),
                (None, None, _) => Said::Nothing,
                (None, Some(_), Some(_)) => Said::Held,
                (None, Some((token, _)), None) => {
                    lies.lease = Some(token);
                    Said::Granted
                }
            }
        }
        Step::Write { value, leased, versioned, .. } => {
            if leased.is_some() && leased != lies.lease {
                return Said::Done(false);
            }
            lies.lease = None;
            let newer = lies.value.is_some_and(|(version, _)| version > value.0);
            if !(versioned && newer) {
                lies.value = Some(value);
            }
            Said::Done(!(versioned && newer))
        }
        Step::Delete { unless, .. } => {
            lies.lease = None;
            lies.value = lies.value.filter(|(version, _)| unless.is_some_and(|u| *version >= u));
            Said::Done(lies.value.is_none())
        }
    }
}

fn said(remote: &dyn Remote, places: &[Place], step: &Step) -> Said {
    match *step {
        Step::Read { at, claim } => {
            let claim = claim.map(|(number, bad)| Claim {
                token: token(number),
                ttl: LONG,
                instead_of: bad
                    .map(|(version, fill)| envelope(version, fill)[..HEAD].try_into().unwrap()),
            });
            let found = wait(remote.read(&[Read { place: &places[at], claim }])).unwrap().remove(0);
            match found {
                Found::Value { bytes, .. } => Said::Value(bytes),
                Found::Granted => Said::Granted,
                Found::Held(_) => Said::Held,
                Found::Nothing => Said::Nothing,
                Found::Foreign => unreachable!("all values are ours"),
            }
        }
        Step::Write { at, value, leased, versioned } => {
            let bytes = envelope(value.0, value.1);
            let write = Write {
                leased: leased.map(token),
                version: versioned.then_some(value.0),
                ..write(&places[at], &bytes)
            };
            Said::Done(wait(remote.write(&[write])).unwrap()[0])
        }
        Step::Delete { at, unless } => {
            let delete = Delete { unless, ..delete(&places[at]) };
            Said::Done(wait(remote.delete(&[delete])).unwrap()[0])
        }
    }
}

#[test]
fn every_step_does_what_it_should() {
    let Some(server) = Server::start(&[]) else { return };
    let remotes = remotes(&options(&server.url()));
    let places = [place("0"), place("1")];
    proptest!(ProptestConfig::with_cases(48), |(steps in prop::collection::vec(step(), 1..60))| {
        for (_, remote) in &remotes {
            server.run("FLUSHALL");
            let mut lies = [Lies::default(), Lies::default()];
            for step in &steps {
                let (Step::Read { at, .. } | Step::Write { at, .. } | Step::Delete { at, .. }) = *step;
                let expected = expected(&mut lies[at], step);
                prop_assert_eq!(said(&**remote, &places, step), expected);
            }
        }
    });
}
