//! What is heard on the connection that is read by: of changes of what was read, and of nothing else.

use super::*;
use crate::heard::{Event, Heard, all};
use cachette::tier::{Ear as _, Listen, Mode, RedisTokio, RemoteError, Tell};

const BEAT: Duration = Duration::from_millis(20);

fn listen(beat: Duration) -> Listen {
    Listen { modes: vec![Mode::OptIn], ..all(beat) }
}

fn remote(server: &Server) -> Arc<dyn Remote> {
    Arc::new(RedisTokio::new(options(&server.url()), runtime()))
}

/// A line that is up.
fn line(remote: &Arc<dyn Remote>) -> Heard {
    let heard = Heard::new(remote, listen(BEAT));
    assert_eq!(heard.next(), Event::Up(Mode::OptIn));
    heard
}

/// What is heard before the line answers a question that is asked from now on.
fn told(heard: &Heard) -> Vec<Event> {
    let (mut events, now) = (Vec::new(), heard.ear.now());
    loop {
        match heard.any() {
            Event::Alive(asked) if asked > now => return events,
            Event::Alive(_) => {}
            event => events.push(event),
        }
    }
}

fn changed(name: &str) -> Event {
    Event::Changed(vec![format!("{{p:k:{name}}}")])
}

#[test]
#[cfg(feature = "test-kit")]
fn the_laws_of_all_remotes_are_kept_whoever_else_listens() {
    use cachette::tier::laws::{Trial, check};

    let Some(server) = Server::start(&[]) else { return };
    let modes = [Mode::OptIn, Mode::Messages, Mode::Tracking];
    check(&Trial::new(remote(&server), std::thread::sleep).modes(&modes).patience(PATIENCE));
}

#[test]
fn of_what_was_read_one_is_told_once_and_of_nothing_else() {
    let Some(server) = Server::start(&[]) else { return };
    let remote = remote(&server);
    let heard = line(&remote);
    let (here, there) = (place("here"), place("there"));
    // Whether it is there or not; and a server of 7.0 tells of leases too, which are not for this ear.
    server.run("SET {p:k:there} text");
    wait(remote.read(&[read(&here), claim(&there, 1)])).unwrap();
    server.run("MSET {p:k:other} text {q:k:here} text");
    assert_eq!(told(&heard), []);
    for name in ["here", "there"] {
        server.run(&format!("SET {{p:k:{name}}} text"));
        assert_eq!(told(&heard), [changed(name)]);
        server.run(&format!("SET {{p:k:{name}}} text"));
        assert_eq!(told(&heard), [], "it was not read again");
    }
    wait(remote.heads(&[&here.value])).unwrap();
    server.run("DEL {p:k:here}");
    assert_eq!(heard.names(1), ["{p:k:here}"]);
    wait(remote.read(&[claim(&here, 1)])).unwrap();
    server.run("SET lease{p:k:here} another");
    assert_eq!(told(&heard), []);
    server.run("FLUSHALL");
    assert_eq!(told(&heard), [Event::AllChanged]);
}

#[test]
fn of_what_was_written_one_is_told_as_of_what_was_read() {
    let Some(server) = Server::start(&[]) else { return };
    let remote = remote(&server);
    let heard = line(&remote);
    let here = place("here");
    // Also where the script is not known yet, and where somebody else is told as well.
    let tell = Some(Tell { channel: b"channel", message: b"text" });
    let bytes = envelope(2, 0);
    let writes = [
        write(&here, &bytes),
        Write { tell, ..write(&here, &bytes) },
        Write { version: Some(2), ..write(&here, &bytes) },
    ];
    for write in writes {
        assert_eq!(wait(remote.write(&[write])), Ok(vec![true]));
        assert_eq!(told(&heard), [changed("here")], "of one's own, though it was not read");
        server.run("SET {p:k:here} text");
        assert_eq!(told(&heard), [changed("here")]);
    }
    server.run("SET {p:k:here} text");
    assert_eq!(told(&heard), []);
    wait(remote.delete(&[delete(&here)])).unwrap();
    assert_eq!(told(&heard), [changed("here")]);
    wait(remote.read(&[claim(&here, 1)])).unwrap();
    let fill = Write { leased: Some(token(1)), ..write(&here, &bytes) };
    assert_eq!(wait(remote.write(&[fill])), Ok(vec![true]));
    assert_eq!(told(&heard), [changed("here")]);
    server.run("DEL {p:k:here}");
    assert_eq!(told(&heard), [changed("here")]);
}

#[test]
fn of_numbers_one_is_told_whether_they_were_there_or_put_there() {
    let Some(server) = Server::start(&[]) else { return };
    let remote = remote(&server);
    let heard = line(&remote);
    let names: Vec<String> = (0..40).map(|number| format!("{{p:t:{number}}}")).collect();
    let asked: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    for round in 0..2 {
        let numbers = wait(remote.numbers(&asked, 7 + round, LONG)).unwrap();
        assert_eq!(numbers, [7; 40]);
        told(&heard);
        for name in &names {
            server.run(&format!("SET {name} 7"));
            assert_eq!(told(&heard), [Event::Changed(vec![name.clone()])]);
        }
    }
    let name = "{p:t:set}";
    for tell in [None, Some(Tell { channel: b"channel", message: b"text" })] {
        for _ in 0..2 {
            wait(remote.set_number(name.as_bytes(), 1, LONG, tell)).unwrap();
            told(&heard);
            server.run(&format!("SET {name} 7"));
            assert_eq!(told(&heard), [Event::Changed(vec![name.to_owned()])]);
        }
    }
}

#[test]
fn many_that_share_a_connection_are_told_the_same_each_within_its_prefix() {
    let Some(server) = Server::start(&[]) else { return };
    let remote = remote(&server);
    let (one, two) = (line(&remote), line(&remote));
    let other = Heard::new(&remote, Listen { prefix: b"{o:".to_vec(), ..listen(BEAT) });
    assert_eq!(other.next(), Event::Up(Mode::OptIn));
    let (here, there) = (place("here"), Place::of(b"{o:k:there}".to_vec()));
    wait(remote.read(&[read(&here), read(&there)])).unwrap();
    server.run("MSET {p:k:here} text {o:k:there} text");
    assert_eq!(one.next(), changed("here"));
    assert_eq!(two.next(), changed("here"));
    assert_eq!(other.next(), Event::Changed(vec!["{o:k:there}".to_owned()]));
    for heard in [&one, &two, &other] {
        assert_eq!(told(heard), []);
    }
    // Who goes leaves the others their connection.
    other.ear.gone.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(other.next(), Event::Ended(RemoteError::Unreachable(_))));
    wait(remote.read(&[read(&here)])).unwrap();
    server.run("FLUSHALL");
    assert_eq!((told(&one), told(&two)), (vec![Event::AllChanged], vec![Event::AllChanged]));
}

#[test]
fn lines_end_with_the_connection_that_is_read_by_and_come_back_on_the_next() {
    let Some(mut server) = Server::start(&[]) else { return };
    let remote = remote(&server);
    let here = place("here");
    for round in 0..3 {
        // Without waiting for a beat.
        let lines = [Heard::new(&remote, listen(LONG)), Heard::new(&remote, listen(LONG))];
        for heard in &lines {
            assert_eq!(heard.any(), Event::Up(Mode::OptIn));
            assert!(matches!(heard.any(), Event::Alive(_)));
        }
        wait(remote.read(&[read(&here)])).unwrap();
        match round {
            0 => drop(server.run("CLIENT KILL TYPE normal")),
            1 => server.kill(),
            _ => continue,
        }
        for heard in &lines {
            let ended = heard.next();
            assert!(matches!(ended, Event::Ended(RemoteError::Unreachable(_))), "{ended:?}");
        }
        if round == 1 {
            server.restart();
            // For a while it is not tried again.
            let start = std::time::Instant::now();
            while wait(remote.read(&[read(&here)])).is_err() {
                assert!(start.elapsed() < PATIENCE);
            }
        }
    }
}

#[test]
fn a_line_ends_when_a_late_answer_gives_its_connection_up() {
    let brief = Duration::from_millis(300);
    let Some(server) = Server::start(&[]) else { return };
    let options = options(&server.url()).answer_timeout(brief);
    let remote: Arc<dyn Remote> = Arc::new(RedisTokio::new(options, runtime()));
    // Its own question would be waited for much longer.
    let heard = Heard::new(&remote, listen(LONG));
    assert_eq!(heard.any(), Event::Up(Mode::OptIn));
    assert!(matches!(heard.any(), Event::Alive(_)));
    server.stop();
    let here = place("here");
    assert_eq!(wait(remote.read(&[read(&here)])), Err(RemoteError::TimedOut(brief)));
    assert!(matches!(heard.next(), Event::Ended(RemoteError::Unreachable(_))));
    server.cont();
}

#[test]
fn a_line_to_a_server_that_hangs_ends_when_patience_does() {
    let Some(server) = Server::start(&[]) else { return };
    let remote = remote(&server);
    let patience = Duration::from_millis(300);
    let heard = Heard::new(&remote, Listen { patience, ..listen(BEAT) });
    assert_eq!(heard.any(), Event::Up(Mode::OptIn));
    server.stop();
    assert_eq!(heard.next(), Event::Ended(RemoteError::TimedOut(patience)));
    server.cont();
    drop(line(&remote));
}

#[test]
fn where_it_is_forbidden_the_next_way_is_taken_until_it_is_allowed() {
    let Some(server) = Server::start(&[]) else { return };
    server.run("ACL SETUSER user on >pass ~* &* +@all -client|tracking");
    let url = server.url().replace("//", "//user:pass@");
    let remote: Arc<dyn Remote> = Arc::new(RedisTokio::new(options(&url), runtime()));
    let here = place("here");
    // By a connection on which nobody is told of anything.
    assert_eq!(wait(remote.write(&[write(&here, b"text")])), Ok(vec![true]));
    let ended = Heard::new(&remote, listen(BEAT)).next();
    let Event::Ended(RemoteError::Refused(why)) = ended else { panic!("{ended:?}") };
    assert!(why.contains("tracking of what was read: NOPERM"), "{why}");
    let modes = vec![Mode::OptIn, Mode::TtlOnly];
    let heard = Heard::new(&remote, Listen { modes, ..listen(BEAT) });
    assert_eq!(heard.next(), Event::Up(Mode::TtlOnly));
    assert_eq!(wait(remote.write(&[write(&here, b"text")])), Ok(vec![true]));
    server.run("ACL SETUSER user +client|tracking");
    let heard = line(&remote);
    wait(remote.read(&[read(&here)])).unwrap();
    server.run("DEL {p:k:here}");
    assert_eq!(heard.next(), changed("here"));
}
