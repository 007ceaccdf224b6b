//! The order of what comes on a line, against a server that says just what the test wants.

use super::*;
use crate::heard::{Event, Heard, all};
use cachette::tier::{Listen, Mode, RemoteError};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// A connection to a server that is played by the test.
struct Played {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Played {
    /// Waits for the next command, and returns its words.
    fn command(&mut self) -> Vec<String> {
        loop {
            if let Some(words) = self.whole() {
                return words;
            }
            let mut some = [0; 4_096];
            let length = self.stream.read(&mut some).expect("a command comes in time");
            assert!(length > 0, "the line was closed");
            self.unread.extend(&some[..length]);
        }
    }

    /// A whole command of what came, if there is one: `*COUNT`, then `$LENGTH` and a word each.
    fn whole(&mut self) -> Option<Vec<String>> {
        let text = String::from_utf8(self.unread.clone()).unwrap();
        let mut lines = text.split("\r\n");
        let count: usize = lines.next()?.strip_prefix('*')?.parse().ok()?;
        let mut words = Vec::new();
        for _ in 0..count {
            lines.next()?;
            words.push(lines.next()?.to_owned());
        }
        let rest = lines.collect::<Vec<_>>();
        if rest.is_empty() {
            return None;
        }
        self.unread = rest.join("\r\n").into_bytes();
        Some(words)
    }

    fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }
}

type Kind = fn(&RedisOptions) -> Arc<dyn Remote>;

fn kinds() -> [Kind; 2] {
    [|options| remotes(options).remove(0).1, |options| remotes(options).remove(KINDS - 1).1]
}

const TOLD: [Mode; 2] = [Mode::Tracking, Mode::Messages];
const KINDS: usize = if cfg!(feature = "redis-tokio") { 2 } else { 1 };

/// A line to a server that is played, which has not answered yet.
fn dialled(kind: Kind, listen: Listen) -> (Heard, TcpListener) {
    assert!(!listen.modes.contains(&Mode::OptIn), "that takes another connection");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    (Heard::new(&kind(&options(&url)), listen), listener)
}

impl Played {
    fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, unread: Vec::new() }
    }
}

/// A line that is up, and the server's side of it.
fn line(kind: Kind, beat: Duration, version: &str) -> (Heard, Played) {
    let (heard, listener) = dialled(kind, Listen { modes: TOLD.into(), ..all(beat) });
    let mut played = Played::accept(&listener);
    let hello = format!("%1\r\n$7\r\nversion\r\n${}\r\n{version}\r\n", version.len());
    loop {
        let words = played.command();
        match (&words[0][..], &words[1..]) {
            ("HELLO", _) => played.say(&hello),
            ("CLIENT", [what, how @ ..]) if what == "TRACKING" => {
                assert_eq!(how, ["ON", "BCAST", "PREFIX", "{p:"]);
                played.say("+OK\r\n");
                return (heard, played);
            }
            ("SUBSCRIBE", _) => {
                played.say(">3\r\n$9\r\nsubscribe\r\n$7\r\nchannel\r\n:1\r\n");
                return (heard, played);
            }
            _ => played.say("-ERR no\r\n"),
        }
    }
}

/// Answers like a server that knows no third version, until its client has gone.
fn old_server(listener: &TcpListener) -> Played {
    let mut played = Played::accept(listener);
    if played.command()[0] == "HELLO" {
        // The client goes when it has read this, and what it has sent meanwhile is not read.
        played.say("-ERR unknown command `HELLO`\r\n-ERR no\r\n-ERR no\r\n");
        return old_server(listener);
    }
    played.say("-ERR no\r\n");
    assert_eq!(played.command()[..2], ["CLIENT", "SETINFO"]);
    played.say("-ERR no\r\n");
    played
}

fn invalidate(name: &str) -> String {
    format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{name}\r\n", name.len())
}

fn changed(name: &str) -> Event {
    Event::Changed(vec![name.to_owned()])
}

#[test]
fn what_was_told_before_an_answer_is_passed_on_before_it() {
    for kind in kinds() {
        let (heard, mut server) = line(kind, LONG, "7.0.0");
        assert_eq!(heard.any(), Event::Up(Mode::Tracking));
        assert_eq!(server.command(), ["PING"]);
        let names: Vec<_> = (0..1_000).map(|number| number.to_string()).collect();
        let told: String = names.iter().map(|name| invalidate(name)).collect();
        server.say(&format!("{told}+PONG\r\n"));
        for name in &names {
            assert_eq!(heard.any(), changed(name));
        }
        assert!(matches!(heard.any(), Event::Alive(_)));
        server.say(&invalidate("later"));
        assert_eq!(heard.any(), changed("later"));
    }
}

#[test]
fn a_beat_that_comes_in_the_middle_of_a_word_loses_nothing() {
    for kind in kinds() {
        let (heard, mut server) = line(kind, Duration::from_millis(20), "7.0.0");
        assert_eq!(heard.any(), Event::Up(Mode::Tracking));
        for round in 0..4 {
            let name = format!("name{round}");
            let told = invalidate(&name);
            let (half, rest) = told.split_at(told.len() - 7 - round);
            // Every command is a PING, and every one is answered; the first half is sent between beats.
            assert_eq!(server.command(), ["PING"]);
            server.say("+PONG\r\n");
            server.say(half);
            assert_eq!(server.command(), ["PING"]);
            server.say(rest);
            server.say("+PONG\r\n");
            assert_eq!(heard.next(), changed(&name));
        }
    }
}

#[test]
fn a_server_whose_pushes_may_stand_in_answers_is_not_tracked() {
    for (version, mode) in
        [("6.2.14", Mode::Messages), ("7.0.0", Mode::Tracking), ("10.1", Mode::Tracking)]
    {
        for kind in kinds() {
            let (heard, _server) = line(kind, LONG, version);
            assert_eq!(heard.any(), Event::Up(mode));
        }
    }
}

#[test]
fn a_server_of_the_second_version_tells_nothing() {
    for kind in kinds() {
        let (heard, listener) = dialled(kind, Listen { modes: TOLD.into(), ..all(LONG) });
        let _server = old_server(&listener);
        let ended = heard.any();
        let Event::Ended(RemoteError::Refused(why)) = ended else { panic!("{ended:?}") };
        assert!(why.contains("third version"), "{why}");
        let modes = vec![Mode::Tracking, Mode::Messages, Mode::TtlOnly];
        let (heard, listener) = dialled(kind, Listen { modes, ..all(Duration::from_millis(20)) });
        let mut server = old_server(&listener);
        assert_eq!(heard.any(), Event::Up(Mode::TtlOnly));
        for _ in 0..3 {
            assert_eq!(server.command(), ["PING"]);
            server.say("+PONG\r\n");
        }
        assert!(matches!(heard.any(), Event::Alive(_)));
        assert!(matches!(heard.any(), Event::Alive(_)));
    }
}

/// A line on the connection that is read by, and the server's side of it.
#[cfg(feature = "redis-tokio")]
fn line_of_reads(remote: impl Fn(&str) -> Arc<dyn Remote>, version: &str) -> (Heard, Played) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let listen = Listen { modes: vec![Mode::OptIn], ..all(LONG) };
    let heard = Heard::new(&remote(&url), listen);
    let mut played = Played::accept(&listener);
    let hello = format!("%1\r\n$7\r\nversion\r\n${}\r\n{version}\r\n", version.len());
    let mut hellos = 0;
    // One to make the connection, and one to be told the version.
    while hellos < 2 {
        if played.command()[0] == "HELLO" {
            played.say(&hello);
            hellos += 1;
        } else {
            played.say("-ERR no\r\n");
        }
    }
    (heard, played)
}

/// It is up, and asked whether it is there.
#[cfg(feature = "redis-tokio")]
fn until_asked(heard: &Heard, server: &mut Played) {
    assert_eq!(server.command(), ["CLIENT", "TRACKING", "ON"]);
    server.say("+OK\r\n");
    assert_eq!(heard.any(), Event::Up(Mode::OptIn));
    assert_eq!(server.command(), ["PING"]);
}

#[test]
#[cfg(feature = "redis-tokio")]
fn what_was_told_on_the_connection_that_is_read_by_is_passed_on_before_an_answer() {
    let (heard, mut server) = line_of_reads(|url| kinds()[1](&options(url)), "7.0.0");
    until_asked(&heard, &mut server);
    let names: Vec<_> = (0..1_000).map(|number| format!("{{p:{number}")).collect();
    let tell = |name: &String| invalidate(&format!("lease{name}")) + &invalidate(name);
    server.say(&(names.iter().map(tell).collect::<String>() + "+PONG\r\n"));
    for name in &names {
        assert_eq!(heard.any(), changed(name));
    }
    assert!(matches!(heard.any(), Event::Alive(_)));
}

#[test]
#[cfg(feature = "redis-tokio")]
fn a_server_that_is_too_old_is_not_made_to_tell_of_what_was_read() {
    let why = |heard: &Heard| match heard.any() {
        Event::Ended(RemoteError::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    let (heard, _server) = line_of_reads(|url| kinds()[1](&options(url)), "6.2.14");
    assert!(why(&heard).contains("tracking of what was read: version 6 is older than 7"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let listen = Listen { modes: vec![Mode::OptIn], ..all(LONG) };
    let heard = Heard::new(&kinds()[1](&options(&url)), listen);
    let _server = old_server(&listener);
    assert!(why(&heard).contains("tracking of what was read: it needs the third version"));
}

#[test]
#[cfg(feature = "redis-tokio")]
fn an_answer_on_a_connection_that_was_given_up_does_not_prove_that_the_line_is_there() {
    let brief = Duration::from_millis(100);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    let options = |url: &str| options(url).answer_timeout(brief);
    let remote = std::sync::OnceLock::new();
    let make = |url: &str| {
        let new = || Arc::new(cachette::tier::RedisTokio::new(options(url), handle.clone()));
        let shared: Arc<dyn Remote> = remote.get_or_init(new).clone();
        shared
    };
    let (heard, mut server) = line_of_reads(make, "7.0.0");
    until_asked(&heard, &mut server);
    // After the question: it is answered after it.
    let remote = Arc::clone(remote.get().unwrap());
    let asking = std::thread::spawn(move || wait(remote.read(&[read(&place("here"))])));
    assert_eq!(server.command()[0], "EVALSHA");
    // The answer to the line's question and the end of the other's time come while nothing runs: at once.
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let (halt, halted) = std::sync::mpsc::channel();
    handle.spawn(async move {
        halt.send(()).unwrap();
        let _ = gone.recv();
    });
    halted.recv_timeout(PATIENCE).unwrap();
    server.say("+PONG\r\n");
    // Until the runtime's own clock, which is a real one, is past the end of the other's time.
    std::thread::sleep(brief * 2);
    drop(go);
    assert_eq!(asking.join().unwrap(), Err(RemoteError::TimedOut(brief)));
    let event = heard.any();
    assert!(matches!(event, Event::Ended(RemoteError::Unreachable(_))), "{event:?}");
}
