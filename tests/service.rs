//! The example `service`, as whoever runs it sees it: processes of their own, asked by HTTP.

#[expect(dead_code, reason = "an example's `main` reads the program's arguments")]
#[path = "../examples/service/main.rs"]
mod service;

#[expect(dead_code, reason = "other tests use the rest")]
#[path = "support/redis_server.rs"]
mod redis_server;

use clap::Parser as _;
use redis_server::{PATIENCE, Server};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Where a test tells the process that it starts what to be.
const ARGUMENTS: &str = "CACHETTE_TEST_SERVICE";

/// No test of its own: this program is the service if it is started by one of those below.
#[test]
fn the_service() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let arguments = std::iter::once("service").chain(arguments.split_whitespace());
    runtime.block_on(service::serve(service::Args::parse_from(arguments))).unwrap();
}

struct Service {
    process: Child,
    out: BufReader<ChildStdout>,
    address: String,
}

impl Service {
    /// Starts one, which answers when this returns.
    fn start(arguments: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_service", "--nocapture"])
            .env(ARGUMENTS, format!("--port 0 {arguments}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert_ne!(out.read_line(&mut line).unwrap(), 0, "it ended before it listened");
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address.trim().to_owned();
            }
        };
        Self { process, out, address }
    }

    /// The status, and the body.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The answer to what succeeds.
    fn json(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, answer) = self.ask(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    fn get(&self, path: &str) -> Value {
        self.json("GET", path, "")
    }

    /// Writes product 7 with this price, and says what became of it.
    fn put(&self, cents: u64) -> Value {
        self.json("PUT", "/products/7", &lamp(cents).to_string())
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < PATIENCE, "not {what}: {}", self.get("/stats"));
            std::thread::yield_now();
        }
    }

    /// Ends it as an operator does; what it said at last, and on standard error.
    fn end(mut self) -> (String, String) {
        let process = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
        let (mut out, mut errors) = (String::new(), String::new());
        self.out.read_to_string(&mut out).unwrap();
        self.process.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        let status = self.process.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{out}{errors}");
        (out, errors)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn lamp(cents: u64) -> Value {
    json!({ "name": "lamp", "category": "light", "cents": cents })
}

fn first(id: u64) -> Value {
    json!({ "name": format!("product {id}"), "category": format!("category {}", id % 5), "cents": 100 * id })
}

#[test]
fn it_serves_without_a_redis() {
    let service = Service::start("");
    assert_eq!(service.get("/products/7"), first(7));
    assert_eq!(
        service.ask("GET", "/products/999", ""),
        (404, "there is no product 999".to_owned())
    );
    assert_eq!(service.ask("GET", "/products/x", "").0, 400);
    assert_eq!(service.ask("GET", "/products?ids=7,x", "").0, 400);

    assert_eq!(service.put(1_995), json!({ "delivery": "done" }));
    assert_eq!(service.get("/products/7"), lamp(1_995));
    let some = json!([{ "id": 8, "product": first(8) }, { "id": 7, "product": lamp(1_995) }]);
    assert_eq!(service.get("/products?ids=8,999,7"), some);

    service.wait_until("heard", |service| !service.get("/health")["mode"].is_null());
    let health =
        json!({ "mode": "tracking by prefix", "max_staleness_ms": 2_000, "undelivered": 0 });
    assert_eq!(service.get("/health"), health);
    let (last, errors) = service.end();
    assert!(last.contains("the end\n"), "{last}");
    assert!(errors.contains("no --redis") && errors.contains("LinkUp"), "{errors}");
}

#[test]
fn a_category_is_read_anew() {
    let service = Service::start("");
    service.wait_until("heard", |service| !service.get("/health")["mode"].is_null());
    let loads = |id: u64| {
        let leases = || service.get("/stats")["remote"]["leases"].as_u64().unwrap();
        let before = leases();
        assert_eq!(service.get(&format!("/products/{id}")), first(id));
        leases() - before
    };
    assert_eq!([3, 4, 3, 4].map(loads), [1, 1, 0, 0]);
    let done = json!({ "delivery": "done" });
    assert_eq!(service.json("DELETE", "/categories/category%203", ""), done);
    assert_eq!([3, 4].map(loads), [1, 0]);
    service.end();
}

/// A file of a test's own, which goes with it.
struct Database(PathBuf);

impl Drop for Database {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn what_one_writes_the_other_reads() {
    let Some(redis) = Server::start(&[]) else { return };
    let name = format!("service-{}.db", std::process::id());
    let database = Database(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name));
    let arguments = format!("--redis {} --database {}", redis.url(), database.0.display());
    let (one, other) = (Service::start(&arguments), Service::start(&arguments));
    for service in [&one, &other] {
        service.wait_until("heard", |service| !service.get("/health")["mode"].is_null());
    }
    let bound = Duration::from_millis(other.get("/health")["max_staleness_ms"].as_u64().unwrap());
    for cents in 1..=20 {
        let hits = || other.get("/stats")["local"]["hits"].as_u64().unwrap();
        let before = hits();
        other.wait_until("a hit", |other| {
            other.get("/products/7");
            hits() > before
        });
        assert_eq!(one.put(cents), json!({ "delivery": "done" }));
        let written = Instant::now();
        loop {
            let asked = written.elapsed();
            let read = other.get("/products/7");
            if read == lamp(cents) {
                break;
            }
            assert!(asked < bound, "{asked:?} after it was written: {read}");
        }
    }
    for service in [one, other] {
        service.end();
    }
}

#[test]
fn it_serves_and_says_so_when_the_redis_is_gone() {
    let Some(mut redis) = Server::start(&[]) else { return };
    let service = Service::start(&format!("--redis {}", redis.url()));
    service.wait_until("heard", |service| !service.get("/health")["mode"].is_null());
    assert_eq!(service.get("/products/7"), first(7));
    redis.kill();
    assert_eq!(service.put(5)["delivery"], json!("queued"));
    assert_eq!(service.get("/products/7"), lamp(5));
    service.wait_until("unheard", |service| service.get("/health")["mode"].is_null());
    assert_eq!(service.get("/health")["undelivered"], json!(1));
    let (last, errors) = service.end();
    assert!(last.contains("1 deletions have not reached the Redis"), "{last}");
    assert!(errors.contains("LinkLost") && errors.contains("RemoteFailed"), "{errors}");
}
