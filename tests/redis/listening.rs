//! What is heard of changes, and how lines end.

use super::*;
use crate::heard::{Event, Heard, all};
use cachette::tier::{Listen, Mode, RemoteError, Tell};
use std::sync::atomic::Ordering;

const BEAT: Duration = Duration::from_millis(20);

/// The ways in which this server tells of changes, the best first.
pub(crate) fn modes(server: &Server) -> &'static [Mode] {
    let all = &[Mode::Tracking, Mode::Messages];
    if server.tracks() { all } else { &all[1..] }
}

#[test]
fn every_change_of_a_name_with_the_prefix_is_heard_whoever_made_it() {
    let Some(server) = Server::start(&[]) else { return };
    if !server.tracks() {
        return;
    }
    for (_, remote) in remotes(&options(&server.url())) {
        let heard = Heard::new(&remote, all(BEAT));
        assert_eq!(heard.next(), Event::Up(Mode::Tracking));
        server.run("SET {q:k:other} text");
        server.run("MSET {p:k:1} text {p:k:2} text {q:k:3} text {p:k:3} text");
        assert_eq!(heard.names(3), ["{p:k:1}", "{p:k:2}", "{p:k:3}"]);
        server.run("DEL {p:k:1}");
        assert_eq!(heard.names(1), ["{p:k:1}"]);
        server.run("PEXPIRE {p:k:2} 1");
        let names = heard.names(1);
        assert_eq!(names, ["{p:k:2}"]);
        // That was the time that it was given; this is its end.
        assert_eq!(heard.names(1), ["{p:k:2}"]);
        wait(remote.write(&[write(&place("own"), b"text")])).unwrap();
        assert_eq!(heard.names(1), ["{p:k:own}"]);
        wait(remote.delete(&[delete(&place("own"))])).unwrap();
        assert_eq!(heard.names(1), ["{p:k:own}"]);
        server.run("FLUSHALL");
        assert_eq!(heard.next(), Event::AllChanged);
    }
}

#[test]
fn beats_are_answered_before_and_after_silence() {
    let Some(server) = Server::start(&[]) else { return };
    for (name, remote) in remotes(&options(&server.url())) {
        for &mode in modes(&server).iter().chain(&[Mode::TtlOnly]) {
            println!("{name} {mode}");
            let heard = Heard::new(&remote, Listen { modes: vec![mode], ..all(BEAT) });
            assert_eq!(heard.any(), Event::Up(mode));
            let mut last = None;
            for _ in 0..5 {
                let event = heard.any();
                let Event::Alive(asked) = event else { panic!("{event:?}") };
                assert!(Some(asked) > last);
                last = Some(asked);
            }
            heard.ear.gone.store(true, Ordering::SeqCst);
            assert!(matches!(heard.next(), Event::Ended(RemoteError::Unreachable(_))));
        }
    }
}

#[test]
fn messages_are_heard_as_they_were_told() {
    let Some(server) = Server::start(&[]) else { return };
    for (_, remote) in remotes(&options(&server.url())) {
        let heard = Heard::new(&remote, Listen { modes: vec![Mode::Messages], ..all(BEAT) });
        assert_eq!(heard.next(), Event::Up(Mode::Messages));
        server.run("SET {p:k:1} text");
        server.run("PUBLISH other text");
        server.run("PUBLISH channel text");
        assert_eq!(heard.next(), Event::Message(b"text".to_vec()));
        let here = place("here");
        let (new, old) = (envelope(2, 1), envelope(1, 1));
        let tell = |message| Some(Tell { channel: b"channel", message });
        let written = Write { tell: tell(b"written\0\xff"), ..write(&here, &new) };
        let refused = Write { tell: tell(b"refused"), version: Some(1), ..write(&here, &old) };
        assert_eq!(wait(remote.write(&[refused, written, refused])), Ok(vec![true, true, false]));
        assert_eq!(heard.next(), Event::Message(b"refused".to_vec()));
        assert_eq!(heard.next(), Event::Message(b"written\0\xff".to_vec()));
        let deleted = Delete { tell: tell(b"deleted"), ..delete(&here) };
        wait(remote.delete(&[deleted, deleted])).unwrap();
        assert_eq!(heard.next(), Event::Message(b"deleted".to_vec()));
        assert_eq!(heard.next(), Event::Message(b"deleted".to_vec()));
        wait(remote.set_number(b"{p:t:red}", 1, LONG, tell(b"number"))).unwrap();
        assert_eq!(heard.next(), Event::Message(b"number".to_vec()));
        server.run("FLUSHALL");
    }
}

#[test]
fn the_next_way_is_taken_where_one_is_forbidden() {
    let Some(server) = Server::start(&[]) else { return };
    // Nor can an older one forbid that command alone.
    if !server.tracks() {
        return;
    }
    let user = |name: &str, rules: &str| {
        server.run(&format!("ACL SETUSER {name} on >pass ~* &* +@all {rules}"));
        remotes(&options(&server.url().replace("//", &format!("//{name}:pass@"))))
    };
    for (_, remote) in user("untracked", "-client|tracking") {
        let heard = Heard::new(&remote, all(BEAT));
        assert_eq!(heard.next(), Event::Up(Mode::Messages));
    }
    for (_, remote) in user("silent", "-client|tracking -subscribe") {
        let ended = Heard::new(&remote, all(BEAT)).next();
        let Event::Ended(RemoteError::Refused(why)) = ended else { panic!("{ended:?}") };
        for word in ["tracking by prefix: NOPERM", "messages: NOPERM", "tracking of what was read"]
        {
            assert!(why.contains(word), "{why}");
        }
        let mut listen = all(BEAT);
        listen.modes.push(Mode::TtlOnly);
        assert_eq!(Heard::new(&remote, listen).next(), Event::Up(Mode::TtlOnly));
    }
}

#[test]
fn a_line_to_a_server_that_hangs_ends_when_patience_does() {
    let Some(server) = Server::start(&[]) else { return };
    let (mode, patience) = (modes(&server)[0], Duration::from_millis(300));
    for (_, remote) in remotes(&options(&server.url())) {
        let heard = Heard::new(&remote, Listen { patience, ..all(BEAT) });
        assert_eq!(heard.any(), Event::Up(mode));
        server.stop();
        assert_eq!(heard.next(), Event::Ended(RemoteError::TimedOut(patience)));
        server.cont();
    }
}

#[test]
fn a_line_to_a_server_that_is_killed_ends() {
    let Some(mut server) = Server::start(&[]) else { return };
    let mode = modes(&server)[0];
    for (_, remote) in remotes(&options(&server.url())) {
        // Without waiting for a beat.
        let heard = Heard::new(&remote, all(LONG));
        assert_eq!(heard.any(), Event::Up(mode));
        assert!(matches!(heard.any(), Event::Alive(_)));
        server.kill();
        let ended = heard.next();
        assert!(matches!(ended, Event::Ended(RemoteError::Unreachable(_))), "{ended:?}");
        // Nor is there a line where there is no server.
        let ended = Heard::new(&remote, all(BEAT)).next();
        assert!(matches!(ended, Event::Ended(RemoteError::Unreachable(_))), "{ended:?}");
        server.restart();
    }
}

#[test]
#[cfg(feature = "redis-tokio")]
fn a_line_that_nobody_waits_for_is_closed() {
    let Some(server) = Server::start(&[]) else { return };
    let mode = modes(&server)[0];
    let remote = cachette::tier::RedisTokio::new(options(&server.url()), runtime());
    let (ear, events) = crate::heard::Notes::new();
    let listen = all(BEAT);
    let mut line = remote.listen(&listen, ear);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(line.as_mut().poll(&mut context).is_pending());
    assert_eq!(events.recv_timeout(PATIENCE), Ok(Event::Up(mode)));
    drop(line);
    // The ear goes with it.
    let start = std::time::Instant::now();
    while events.recv_timeout(PATIENCE).is_ok() {
        assert!(start.elapsed() < PATIENCE);
    }
    assert_eq!(events.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected));
}
