//! What is heard of changes on all nodes, and how lines end.

use super::*;
use crate::heard::{Event, Heard, all};
use cachette::tier::{Listen, Mode, RemoteError, Tell};
use std::sync::atomic::Ordering;

const BEAT: Duration = Duration::from_millis(20);

fn ended(event: Event, by: &str) {
    let Event::Ended(RemoteError::Unreachable(why)) = event else { panic!("{event:?}") };
    assert!(why.contains(by), "{why}");
}

#[test]
fn changes_are_heard_whichever_node_has_the_name() {
    let Some(cluster) = Cluster::start() else { return };
    let (remote, places) = (remote(&cluster), places(100));
    let heard = Heard::new(&remote, all(BEAT));
    assert_eq!(heard.any(), Event::Up(Mode::Tracking));
    let mut names: Vec<_> =
        places.iter().map(|place| String::from_utf8(place.value.clone()).unwrap()).collect();
    names.sort();
    let writes: Vec<_> = places.iter().map(|place| write(place, b"text")).collect();
    wait(remote.write(&writes)).unwrap();
    assert_eq!(heard.names(100), names);
    wait(remote.delete(&places.iter().map(delete).collect::<Vec<_>>())).unwrap();
    assert_eq!(heard.names(100), names);
    for node in &cluster.nodes {
        node.run("FLUSHALL");
        assert_eq!(heard.next(), Event::AllChanged);
    }
    heard.ear.gone.store(true, Ordering::SeqCst);
    assert!(matches!(heard.next(), Event::Ended(RemoteError::Unreachable(_))));
}

#[test]
fn it_is_alive_as_of_the_node_that_has_answered_least() {
    let Some(cluster) = Cluster::start() else { return };
    let remote = remote(&cluster);
    let heard = Heard::new(&remote, all(BEAT));
    assert_eq!(heard.any(), Event::Up(Mode::Tracking));
    let mut last = None;
    for _ in 0..5 {
        let event = heard.any();
        let Event::Alive(asked) = event else { panic!("{event:?}") };
        assert!(Some(asked) > last);
        last = Some(asked);
    }
    cluster.nodes[2].stop();
    let stopped = cachette::tier::Ear::now(&*heard.ear);
    // The others answer on; but it is not told as of later than the one that hangs was last asked.
    let start = std::time::Instant::now();
    while start.elapsed() < BEAT * 20 {
        if let Ok(event) = heard.events.recv_timeout(BEAT) {
            let Event::Alive(asked) = event else { panic!("{event:?}") };
            assert!(asked <= stopped + BEAT * 2, "{asked:?} {stopped:?}");
        }
    }
    cluster.nodes[2].cont();
}

#[test]
fn messages_are_heard_wherever_they_were_told() {
    let Some(cluster) = Cluster::start() else { return };
    let (remote, places) = (remote(&cluster), places(30));
    let heard = Heard::new(&remote, Listen { modes: vec![Mode::Messages], ..all(BEAT) });
    assert_eq!(heard.next(), Event::Up(Mode::Messages));
    for place in &places {
        let tell = Some(Tell { channel: b"channel", message: &place.value });
        wait(remote.delete(&[Delete { tell, ..delete(place) }])).unwrap();
        assert_eq!(heard.next(), Event::Message(place.value.clone()));
    }
}

#[test]
fn a_line_ends_with_any_node_and_comes_back_with_it() {
    let Some(mut cluster) = Cluster::start() else { return };
    let remote = remote(&cluster);
    // Without waiting for a beat of the others.
    let heard = Heard::new(&remote, all(LONG));
    assert_eq!(heard.any(), Event::Up(Mode::Tracking));
    assert!(matches!(heard.any(), Event::Alive(_)));
    cluster.nodes[1].kill();
    assert!(matches!(heard.next(), Event::Ended(RemoteError::Unreachable(_))));
    // It still has its slots: without it there is no line.
    let again = Heard::new(&remote, all(BEAT)).next();
    assert!(matches!(again, Event::Ended(RemoteError::Unreachable(_))), "{again:?}");
    cluster.nodes[1].restart();
    cluster.agree();
    let again = Heard::new(&remote, all(BEAT));
    assert_eq!(again.next(), Event::Up(Mode::Tracking));
    cluster.nodes[1].run("FLUSHALL");
    assert_eq!(again.next(), Event::AllChanged);
}

#[test]
fn a_line_ends_when_a_slot_moves() {
    let Some(cluster) = Cluster::start() else { return };
    let remote = remote(&cluster);
    let heard = Heard::new(&remote, all(BEAT));
    assert_eq!(heard.any(), Event::Up(Mode::Tracking));
    let (from, to) = (&cluster.nodes[0], &cluster.nodes[1]);
    cluster.begin_to_move(0, from, to);
    cluster.end_to_move(0, from, to);
    ended(heard.next(), "have changed");
    cluster.agree();
    assert_eq!(Heard::new(&remote, all(BEAT)).next(), Event::Up(Mode::Tracking));
}

#[test]
fn a_node_without_slots_is_listened_to_as_soon_as_it_is_there() {
    let Some(mut cluster) = Cluster::start() else { return };
    let remote = remote(&cluster);
    let heard = Heard::new(&remote, all(BEAT));
    assert_eq!(heard.any(), Event::Up(Mode::Tracking));
    let Some(another) = Cluster::another() else { return };
    cluster.meet(&another);
    cluster.nodes.push(another);
    ended(heard.next(), "have changed");
    cluster.agree();
    let heard = Heard::new(&remote, all(BEAT));
    assert_eq!(heard.next(), Event::Up(Mode::Tracking));
    // A slot is on its way to it: it has the names, and nobody says that it has the slot.
    let here = place("0");
    let slot = cluster.slot("{p:k:0}");
    let (from, to) = (&cluster.nodes[cluster.owner("{p:k:0}")], &cluster.nodes[3]);
    wait(remote.set_number(&here.value, 1, LONG, None)).unwrap();
    assert_eq!(heard.names(1), ["{p:k:0}"]);
    cluster.begin_to_move(slot, from, to);
    cluster.move_names(slot, from, to);
    // One node tells that it is gone, the other that it is there.
    assert_eq!(heard.names(2), ["{p:k:0}", "{p:k:0}"]);
    wait(remote.set_number(&here.value, 2, LONG, None)).unwrap();
    assert_eq!(heard.names(1), ["{p:k:0}"]);
}
