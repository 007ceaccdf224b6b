//! Each operation against a real server.

use super::*;
use cachette::tier::{Found, Turn};
use rng::Rng;
use std::collections::BTreeSet;

fn bytes_of(found: &Found) -> &[u8] {
    match found {
        Found::Value { bytes, .. } => bytes,
        other => panic!("{other:?} is no value"),
    }
}

#[test]
fn a_value_is_read_as_it_was_written_with_what_is_left_of_its_time() {
    each(&[], |remote, _| {
        let (here, there) = (place("here"), place("there"));
        let bytes: Vec<u8> = (0..=255).collect();
        let brief = Write { ttl: Duration::from_millis(900_000), ..write(&here, &bytes) };
        assert_eq!(wait(remote.write(&[brief])), Ok(vec![true]));
        let found = wait(remote.read(&[read(&there), read(&here)])).unwrap();
        assert_eq!(found[0], Found::Nothing);
        let Found::Value { bytes: found, left: Some(left) } = &found[1] else {
            panic!("{found:?}")
        };
        assert_eq!(*found, bytes);
        assert!((Duration::from_secs(1)..=brief.ttl).contains(left), "{left:?}");
    });
}

#[test]
fn what_another_wrote_for_ever_has_no_end() {
    each(&[], |remote, server| {
        let here = place("here");
        server.run("SET {p:k:here} text");
        let found = wait(remote.read(&[claim(&here, 1)])).unwrap();
        assert_eq!(found, [Found::Value { bytes: b"text".to_vec(), left: None }]);
        // A lease without an end is none of ours.
        server.run("DEL {p:k:here}");
        server.run("SET lease{p:k:here} text");
        assert_eq!(wait(remote.read(&[claim(&here, 1)])).unwrap(), [Found::Held(Duration::MAX)]);
    });
}

#[test]
fn the_first_who_claims_has_the_lease() {
    each(&[], |remote, server| {
        let here = place("here");
        assert_eq!(wait(remote.read(&[claim(&here, 1)])).unwrap(), [Found::Granted]);
        let found = wait(remote.read(&[claim(&here, 2), read(&here)])).unwrap();
        assert!(
            matches!(found[0], Found::Held(left) if !left.is_zero() && left <= LONG),
            "{found:?}"
        );
        assert_eq!(found[1], Found::Nothing);
        let left = server.run("PTTL lease{p:k:here}");
        assert!(matches!(left, redis::Value::Int(1..=3_600_000)), "{left:?}");
        // Another's write is not done, and leaves the lease; the holder's is, and ends it.
        let bytes = envelope(1, 1);
        let by = |number| Write { leased: Some(token(number)), ..write(&here, &bytes) };
        assert_eq!(wait(remote.write(&[by(2), by(1), by(1)])), Ok(vec![false, true, false]));
        assert_eq!(server.run("EXISTS lease{p:k:here}"), redis::Value::Int(0));
    });
}

#[test]
fn what_was_read_before_counts_as_none_to_who_says_so() {
    each(&[], |remote, _| {
        let here = place("here");
        let (old, new) = (envelope(1, 1), envelope(1, 2));
        let instead = |of: &[u8], number| {
            let instead_of = Some(of[..HEAD].try_into().unwrap());
            Read {
                place: &here,
                claim: Some(Claim { token: token(number), ttl: LONG, instead_of }),
            }
        };
        wait(remote.write(&[write(&here, &old)])).unwrap();
        let found = wait(remote.read(&[instead(&new, 1), instead(&old, 2), instead(&old, 3)]));
        let found = found.unwrap();
        assert_eq!(bytes_of(&found[0]), old);
        assert_eq!(found[1], Found::Granted);
        assert!(matches!(found[2], Found::Held(_)), "{found:?}");
        // It stays until another is written.
        assert_eq!(bytes_of(&wait(remote.read(&[read(&here)])).unwrap()[0]), old);
        let leased = Write { leased: Some(token(2)), ..write(&here, &new) };
        assert_eq!(wait(remote.write(&[leased])), Ok(vec![true]));
        assert_eq!(bytes_of(&wait(remote.read(&[instead(&old, 4)])).unwrap()[0]), new);
    });
}

#[test]
fn a_version_is_compared_as_a_number_of_64_bits() {
    each(&[], |remote, _| {
        let here = place("here");
        let mut rng = Rng::new(7);
        let edges = [0, 1, 255, 256, u32::MAX as u64, 1 << 32, (1 << 53) + 1, 1 << 63, u64::MAX];
        for round in 0..300 {
            let any = |rng: &mut Rng| match rng.below(3) {
                0 => edges[rng.below(edges.len() as u64) as usize],
                1 => rng.below(u64::MAX),
                _ => rng.below(u64::MAX) & 0x8000_0001_8000_0001,
            };
            let (there, new) = (any(&mut rng), any(&mut rng));
            let (old, bytes) = (envelope(there, 1), envelope(new, 2));
            wait(remote.write(&[write(&here, &old)])).unwrap();
            if round % 2 == 0 {
                let newer = Write { version: Some(new), ..write(&here, &bytes) };
                assert_eq!(wait(remote.write(&[newer])), Ok(vec![new >= there]), "{new} {there}");
            } else {
                let older = Delete { unless: Some(new), ..delete(&here) };
                assert_eq!(wait(remote.delete(&[older])), Ok(vec![there < new]), "{new} {there}");
            }
        }
    });
}

#[test]
fn a_lease_ends_with_a_write_or_a_deletion_whether_or_not_it_was_done() {
    each(&[], |remote, server| {
        let here = place("here");
        let (new, old) = (envelope(9, 1), envelope(1, 2));
        let lease = || server.run("EXISTS lease{p:k:here}") == redis::Value::Int(1);
        let take = || drop(server.run("SET lease{p:k:here} text"));
        take();
        wait(remote.write(&[write(&here, &new)])).unwrap();
        assert!(!lease());
        take();
        let late = Write { version: Some(1), ..write(&here, &old) };
        assert_eq!(wait(remote.write(&[late])), Ok(vec![false]));
        assert!(!lease());
        take();
        let late = Delete { unless: Some(1), ..delete(&here) };
        assert_eq!(wait(remote.delete(&[late])), Ok(vec![false]));
        assert!(!lease());
        take();
        assert_eq!(wait(remote.delete(&[delete(&here), delete(&here)])), Ok(vec![true, true]));
        assert!(!lease());
        assert_eq!(server.run("EXISTS {p:k:here}"), redis::Value::Int(0));
    });
}

#[test]
fn heads_are_of_values_that_have_one() {
    each(&[], |remote, server| {
        let long = envelope(3, 7);
        server.run("SET short text");
        server.run("RPUSH list item");
        wait(remote.write(&[write(&place("long"), &long)])).unwrap();
        let names: [&[u8]; 4] = [b"{p:k:long}", b"short", b"list", b"none"];
        let heads = wait(remote.heads(&names)).unwrap();
        assert_eq!(heads, [Some(long[..HEAD].try_into().unwrap()), None, None, None]);
    });
}

#[test]
fn what_is_no_value_is_left_as_it_is() {
    each(&[], |remote, server| {
        let here = place("here");
        server.run("RPUSH {p:k:here} item");
        let found = wait(remote.read(&[claim(&here, 1), read(&here)])).unwrap();
        assert_eq!(found, [Found::Foreign, Found::Foreign]);
        assert_eq!(server.run("EXISTS lease{p:k:here}"), redis::Value::Int(0));
        assert_eq!(server.run("LLEN {p:k:here}"), redis::Value::Int(1));
        // Neither is it an error that a version is asked of it, or a token.
        server.run("RPUSH lease{p:k:here} item");
        let bytes = envelope(1, 1);
        let mine = Write { leased: Some(token(1)), ..write(&here, &bytes) };
        assert_eq!(wait(remote.write(&[mine])), Ok(vec![false]));
        let versioned = Write { version: Some(1), ..write(&here, &bytes) };
        assert_eq!(wait(remote.write(&[versioned])), Ok(vec![true]));
        server.run("DEL {p:k:here}");
        server.run("RPUSH {p:k:here} item");
        let newer = Delete { unless: Some(1), ..delete(&here) };
        assert_eq!(wait(remote.delete(&[newer])), Ok(vec![true]));
    });
}

#[test]
fn numbers_are_put_where_there_are_none() {
    each(&[], |remote, server| {
        let names: [&[u8]; 3] = [b"a", b"b", b"c"];
        server.run("SET a text");
        wait(remote.set_number(b"b", u64::MAX, LONG, None)).unwrap();
        let fresh = (1 << 63) + 1;
        assert_eq!(wait(remote.numbers(&names, fresh, LONG)).unwrap(), [fresh, u64::MAX, fresh]);
        assert_eq!(wait(remote.numbers(&names, 5, LONG)).unwrap(), [fresh, u64::MAX, fresh]);
        for name in ["a", "b", "c"] {
            let left = server.run(&format!("PTTL {name}"));
            assert!(matches!(left, redis::Value::Int(1..=3_600_000)), "{left:?}");
        }
        server.run("SET a 99999999999999999999");
        let found = wait(remote.numbers(&names[..1], 5, LONG));
        assert!(matches!(found, Err(cachette::tier::RemoteError::Garbled(_))), "{found:?}");
    });
}

#[test]
fn a_lock_is_for_one() {
    each(&[], |remote, server| {
        let lock = |number, turn| wait(remote.lock(b"lock", token(number), turn)).unwrap();
        assert!(!lock(1, Turn::Free) && !lock(1, Turn::Extend(LONG)));
        assert!(lock(1, Turn::Take(Duration::from_secs(600))));
        assert!(!lock(2, Turn::Take(LONG)) && !lock(2, Turn::Free) && !lock(2, Turn::Extend(LONG)));
        assert!(lock(1, Turn::Extend(LONG)));
        let left = server.run("PTTL lock");
        assert!(matches!(left, redis::Value::Int(600_001..=3_600_000)), "{left:?}");
        assert!(lock(1, Turn::Free) && lock(2, Turn::Take(LONG)));
    });
}

#[test]
fn every_name_is_on_a_page() {
    each(&[], |remote, _| {
        let places: Vec<_> = (0..1_500).map(|number| place(&number.to_string())).collect();
        let writes: Vec<_> = places.iter().map(|place| write(place, b"text")).collect();
        assert_eq!(wait(remote.write(&writes)).unwrap(), vec![true; places.len()]);
        wait(remote.set_number(b"other", 1, LONG, None)).unwrap();
        let (mut names, mut from) = (BTreeSet::new(), None);
        loop {
            let page = wait(remote.scan(b"{p:k:*}", from.as_deref())).unwrap();
            names.extend(page.names);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(names, places.iter().map(|place| place.value.clone()).collect());
        assert!(wait(remote.scan(b"*", Some(b"from here"))).is_err());
    });
}

#[test]
fn many_are_answered_in_their_order() {
    each(&[], |remote, _| {
        let places: Vec<_> = (0..700).map(|number| place(&number.to_string())).collect();
        let bytes: Vec<_> = (0..700).map(|number| envelope(number, number as u8)).collect();
        let writes: Vec<_> = (0..700).step_by(2).map(|at| write(&places[at], &bytes[at])).collect();
        wait(remote.write(&writes)).unwrap();
        let reads: Vec<_> = places.iter().map(|place| claim(place, 1)).collect();
        for (at, found) in wait(remote.read(&reads)).unwrap().iter().enumerate() {
            if at % 2 == 0 {
                assert_eq!(bytes_of(found), bytes[at]);
            } else {
                assert_eq!(*found, Found::Granted);
            }
        }
        let names: Vec<_> = places.iter().map(|place| &place.value[..]).collect();
        for (at, head) in wait(remote.heads(&names)).unwrap().iter().enumerate() {
            assert_eq!(
                head.as_ref().map(|head| &head[..]),
                (at % 2 == 0).then(|| &bytes[at][..HEAD])
            );
        }
        let numbers = wait(remote.numbers(&names[1..2], 3, LONG)).unwrap();
        assert_eq!(numbers, [3]);
        let deletes: Vec<_> = places.iter().map(delete).collect();
        assert_eq!(wait(remote.delete(&deletes)).unwrap(), vec![true; 700]);
    });
}

#[test]
fn no_time_is_too_short_or_too_long() {
    each(&[], |remote, server| {
        let here = place("here");
        for ttl in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let write = Write { ttl, ..write(&here, b"text") };
            assert_eq!(wait(remote.write(&[write])), Ok(vec![true]), "{ttl:?}");
            server.run("FLUSHALL");
            let claim = Claim { token: token(1), ttl, instead_of: None };
            let read = Read { place: &here, claim: Some(claim) };
            assert_eq!(wait(remote.read(&[read])).unwrap(), [Found::Granted]);
            wait(remote.set_number(b"number", 1, ttl, None)).unwrap();
            assert!(wait(remote.lock(b"lock", token(1), Turn::Take(ttl))).unwrap());
            server.run("FLUSHALL");
        }
    });
}

#[test]
fn to_ask_for_nothing_takes_no_server() {
    for (_, remote) in remotes(&options("redis://127.0.0.1:1")) {
        assert_eq!(wait(remote.read(&[])), Ok(vec![]));
        assert_eq!(wait(remote.heads(&[])), Ok(vec![]));
        assert_eq!(wait(remote.write(&[])), Ok(vec![]));
        assert_eq!(wait(remote.delete(&[])), Ok(vec![]));
        assert_eq!(wait(remote.numbers(&[], 1, LONG)), Ok(vec![]));
    }
}

#[test]
fn a_database_and_the_third_version_are_as_the_address_says() {
    let Some(server) = Server::start(&[]) else { return };
    let url = format!("{}/3?protocol=resp3", server.url());
    for (number, (_, remote)) in remotes(&options(&url)).into_iter().enumerate() {
        let name = place(&number.to_string());
        let found = wait(remote.read(&[claim(&name, 1), read(&name)])).unwrap();
        assert_eq!(found, [Found::Granted, Found::Nothing]);
        assert_eq!(wait(remote.numbers(&[b"number"], 4, LONG)).unwrap(), [4]);
        wait(remote.write(&[write(&name, b"text")])).unwrap();
        assert_eq!(wait(remote.scan(b"{*}", None)).unwrap().names.len(), number + 1);
        assert_eq!(wait(remote.heads(&[&name.value])).unwrap(), [None]);
    }
    assert_eq!(server.run("DBSIZE"), redis::Value::Int(0));
}

#[test]
#[cfg(feature = "test-kit")]
fn the_laws_of_all_remotes_are_kept() {
    use cachette::tier::laws::{Trial, check};

    let Some(server) = Server::start(&[]) else { return };
    for (name, remote) in remotes(&options(&server.url())) {
        println!("{name}");
        let trial = Trial::new(remote, std::thread::sleep).patience(PATIENCE);
        check(&trial.modes(crate::listening::modes(&server)));
    }
}
