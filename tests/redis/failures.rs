//! Servers that are not there, do not answer, refuse, or forget.

use super::*;
use cachette::tier::{Found, RemoteError, Reply};
use std::time::Instant;

fn refusal<T: std::fmt::Debug>(answer: Result<T, RemoteError>) -> String {
    match answer {
        Err(RemoteError::Refused(why)) => why,
        other => panic!("{other:?} is no refusal"),
    }
}

#[test]
fn scripts_are_told_again_to_a_server_that_has_forgotten_them() {
    each(&[], |remote, server| {
        let (here, there) = (place("here"), place("there"));
        for _ in 0..3 {
            // Some by their hash, some by their text, in one round trip.
            let writes = [write(&here, b"text"), write(&there, b"text")];
            assert_eq!(wait(remote.write(&writes)), Ok(vec![true, true]));
            server.run("SCRIPT FLUSH");
            let found = wait(remote.read(&[claim(&here, 1)])).unwrap();
            assert!(matches!(found[..], [Found::Value { .. }]), "{found:?}");
            assert_eq!(wait(remote.delete(&[delete(&here)])), Ok(vec![true]));
            server.run("SCRIPT FLUSH");
        }
    });
}

/// Asks until it is answered: connections that a restart has cut fail once.
fn until_answered<'a, T: std::fmt::Debug>(ask: impl Fn() -> Reply<'a, T>) -> T {
    let start = Instant::now();
    loop {
        match wait(ask()) {
            Ok(answer) => return answer,
            Err(error) => {
                assert!(matches!(error, RemoteError::Unreachable(_)), "{error}");
                assert!(start.elapsed() < PATIENCE, "{error}");
            }
        }
    }
}

#[test]
fn a_server_that_is_killed_is_not_reached_until_it_is_there_again() {
    each(&[], |remote, server| {
        let here = place("here");
        assert_eq!(wait(remote.write(&[write(&here, b"text")])), Ok(vec![true]));
        server.kill();
        for _ in 0..3 {
            let answer = wait(remote.read(&[read(&here)]));
            assert!(matches!(answer, Err(RemoteError::Unreachable(_))), "{answer:?}");
        }
        server.restart();
        let reads = [read(&here)];
        assert_eq!(until_answered(|| remote.read(&reads)), [Found::Nothing]);
        assert_eq!(wait(remote.write(&[write(&here, b"text")])), Ok(vec![true]));
    });
}

#[test]
fn nothing_is_connected_before_something_is_asked() {
    let Some(mut server) = Server::start(&[]) else { return };
    server.kill();
    let remotes = remotes(&options(&server.url()));
    server.restart();
    for (_, remote) in remotes {
        assert_eq!(wait(remote.read(&[read(&place("here"))])), Ok(vec![Found::Nothing]));
    }
}

#[test]
fn where_nothing_listens_it_is_told_at_once_and_where() {
    for (_, remote) in remotes(&options("redis://user:secret@127.0.0.1:1")) {
        let answer = wait(remote.read(&[read(&place("here"))]));
        let Err(RemoteError::Unreachable(why)) = answer else { panic!("{answer:?}") };
        assert!(why.contains("127.0.0.1:1") && !why.contains("secret"), "{why}");
    }
}

#[test]
fn a_server_that_hangs_is_not_waited_for_longer_than_was_said() {
    let brief = Duration::from_millis(200);
    let Some(server) = Server::start(&[]) else { return };
    let options = options(&server.url()).answer_timeout(brief).connect_timeout(brief);
    for (_, remote) in remotes(&options) {
        let here = place("here");
        let (writes, reads) = ([write(&here, b"text"); 200], [read(&here)]);
        // On a machine that has other work to do it may be late as it is.
        until_in_time(|| remote.write(&writes));
        server.stop();
        // However many answers are awaited: not so long for each.
        let start = Instant::now();
        assert_eq!(wait(remote.write(&writes)), Err(RemoteError::TimedOut(brief)));
        assert!(start.elapsed() < brief * 50, "{:?}", start.elapsed());
        // The system still takes connections for it.
        assert_eq!(wait(remote.read(&reads)), Err(RemoteError::TimedOut(brief)));
        server.cont();
        until_in_time(|| remote.read(&reads));
    }
}

/// Asks until it is answered in time.
fn until_in_time<'a, T: std::fmt::Debug>(ask: impl Fn() -> Reply<'a, T>) {
    let start = Instant::now();
    while let Err(error) = wait(ask()) {
        assert!(matches!(error, RemoteError::TimedOut(_)), "{error}");
        assert!(start.elapsed() < PATIENCE, "{error}");
    }
}

#[test]
fn a_wrong_password_is_refused() {
    let Some(server) = Server::start(&["--requirepass", "secret"]) else { return };
    let address = server.url().replace("redis://", "");
    for login in ["", ":wrong@", "nobody:secret@"] {
        for query in ["", "?protocol=resp3"] {
            for (_, remote) in remotes(&options(&format!("redis://{login}{address}{query}"))) {
                let why = refusal(wait(remote.read(&[read(&place("here"))])));
                assert!(!why.contains("secret"), "{why}");
            }
        }
    }
    for (_, remote) in remotes(&options(&format!("redis://:secret@{address}"))) {
        assert_eq!(wait(remote.read(&[read(&place("here"))])), Ok(vec![Found::Nothing]));
    }
}

#[test]
fn a_full_memory_refuses_what_is_written_and_gives_what_is_there() {
    each(&[], |remote, server| {
        let (here, there) = (place("here"), place("there"));
        wait(remote.write(&[write(&here, b"text")])).unwrap();
        assert_eq!(wait(remote.read(&[claim(&there, 1)])), Ok(vec![Found::Granted]));
        server.run("CONFIG SET maxmemory 1");
        let leased = Write { leased: Some(token(1)), ..write(&there, b"text") };
        assert!(refusal(wait(remote.write(&[leased]))).contains("OOM"));
        let found = wait(remote.read(&[read(&here), read(&there)])).unwrap();
        assert!(matches!(found[..], [Found::Value { .. }, Found::Nothing]), "{found:?}");
        // Its lease has ended nevertheless: the next need not wait for it.
        server.run("CONFIG SET maxmemory 0");
        assert_eq!(wait(remote.read(&[claim(&there, 2)])), Ok(vec![Found::Granted]));
    });
}

#[test]
fn a_replica_refuses_what_is_written() {
    each(&[], |remote, server| {
        let here = place("here");
        server.run("REPLICAOF 127.0.0.1 1");
        assert!(refusal(wait(remote.write(&[write(&here, b"text")]))).contains("READONLY"));
        assert!(refusal(wait(remote.delete(&[delete(&here)]))).contains("READONLY"));
        server.run("REPLICAOF NO ONE");
        assert_eq!(wait(remote.write(&[write(&here, b"text")])), Ok(vec![true]));
    });
}

#[test]
fn threads_share_no_more_connections_than_they_are_given() {
    let Some(server) = Server::start(&[]) else { return };
    for (_, remote) in remotes(&options(&server.url()).connections(3)) {
        let here = place("here");
        let ended = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = || {
                while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                    assert_eq!(wait(remote.read(&[read(&here)])), Ok(vec![Found::Nothing]));
                }
            };
            for _ in 0..8 {
                scope.spawn(reader);
            }
            for _ in 0..20 {
                let redis::Value::BulkString(list) = server.run("CLIENT LIST") else { panic!() };
                let list = String::from_utf8(list).unwrap();
                // One is of who asks.
                assert!(list.lines().count() <= 4, "{list}");
            }
            ended.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}

#[test]
#[cfg(feature = "redis-tokio")]
fn a_runtime_that_has_ended_is_not_waited_for() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    let remote = cachette::tier::RedisTokio::new(options("redis://127.0.0.1:1"), handle);
    drop(runtime);
    let answer = wait(remote.read(&[read(&place("here"))]));
    assert!(matches!(answer, Err(RemoteError::Unreachable(_))), "{answer:?}");
}
