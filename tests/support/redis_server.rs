//! A Redis of a test's own, which is killed with the test.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server in a folder of its own, which forgets everything when it ends.
pub(crate) struct Server {
    pub(crate) port: u16,
    /// A second port, for options that say [`OTHER_PORT`].
    pub(crate) other_port: u16,
    folder: PathBuf,
    options: Vec<String>,
    process: Option<Child>,
}

/// What stands in options for the second port.
const OTHER_PORT: &str = "OTHER_PORT";

/// What is started: `redis-server`, if nothing else is asked for.
pub(crate) fn program() -> String {
    std::env::var("CACHETTE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// True if there is no such server here, and that is excused.
pub(crate) fn is_excused() -> bool {
    let program = program();
    let there = Command::new(&program).arg("--version").output().is_ok();
    let excused = std::env::var("ALLOW_SKIP").is_ok_and(|allowed| allowed == "1");
    assert!(there || excused, "{program} is not there; set ALLOW_SKIP=1 to go without it");
    !there
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    /// Starts one, which answers when this returns. `None` if there is none here, and that is excused.
    pub(crate) fn start(options: &[&str]) -> Option<Self> {
        if is_excused() {
            return None;
        }
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name =
            format!("redis-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut server = Self { port: 0, other_port: 0, folder, options, process: None };
        // Another program may take the port first.
        for _ in 0..20 {
            (server.port, server.other_port) = (free_port(), free_port());
            if server.launch() {
                return Some(server);
            }
        }
        panic!("{} does not start; its log is {}", program(), server.log().display());
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// True if it runs, and answers.
    fn launch(&mut self) -> bool {
        let other_port = self.other_port.to_string();
        let option = |option: &String| option.replace(OTHER_PORT, &other_port);
        let child = Command::new(program())
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--loglevel", "warning"])
            .args(["--dir", self.folder.to_str().unwrap(), "--logfile"])
            .arg(self.log())
            .args(self.options.iter().map(option))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let child = self.process.insert(child);
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            // It answers, if only that it wants a password.
            let client = redis::Client::open(("127.0.0.1", self.port)).unwrap();
            if let Ok(mut connection) = client.get_connection_with_timeout(PATIENCE) {
                let answer = redis::cmd("PING").query::<String>(&mut connection);
                if answer.is_ok() || answer.is_err_and(|error| error.code() == Some("NOAUTH")) {
                    return true;
                }
            }
            std::thread::yield_now();
        }
        false
    }

    /// True if it tells of changes by prefix so that it can be relied on, and if not, says so: what needs that is not tested.
    pub(crate) fn tracks(&self) -> bool {
        let info: String = redis::cmd("INFO").arg("server").query(&mut self.client()).unwrap();
        let version = info.split_once("\r\nredis_version:").unwrap().1;
        let (major, _) = version.split_once('.').unwrap();
        let tracks = major.parse::<u32>().unwrap() >= 7;
        if !tracks {
            println!("not tested: tracking by prefix, which needs version 7, and this is {major}");
        }
        tracks
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Another program's connection.
    pub(crate) fn client(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).unwrap();
        // A signal may interrupt it.
        let connect = || client.get_connection_with_timeout(PATIENCE);
        let connection = connect().or_else(|_| connect()).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection
    }

    /// Does one command as another program: `SET name value`.
    pub(crate) fn run(&self, command: &str) -> redis::Value {
        let mut words = command.split(' ');
        let mut request = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            request.arg(word);
        });
        request.query(&mut self.client()).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Ends it without a word to anyone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// It is there, and takes what it is sent, and does nothing.
    pub(crate) fn stop(&self) {
        self.signal("-STOP");
    }

    /// Goes on after [`stop`](Self::stop).
    pub(crate) fn cont(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
    }

    /// A new one at the same port, which knows nothing.
    pub(crate) fn restart(&mut self) {
        self.kill();
        assert!(self.launch(), "{} does not start again at its port", program());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
