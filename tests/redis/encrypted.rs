//! Encrypted connections, by certificates of an authority that each test makes for itself.

use super::*;
use crate::heard::{Event, Heard, all};
use crate::listening::modes;
use crate::redis_server::{is_excused, program};
use cachette::tier::{Found, Listen, Mode, RemoteError};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// An authority, in a folder of its own that is deleted with it. What it issues is for this machine.
struct Authority {
    folder: PathBuf,
}

/// A certificate, with its key.
struct Issued {
    certificate: PathBuf,
    key: PathBuf,
}

/// What every key is: these are made in no time.
const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

impl Authority {
    fn new(name: &str) -> Self {
        let folder = format!("authority-{}-{name}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
        fs::create_dir_all(&folder).unwrap();
        let authority = Self { folder };
        authority.openssl(
            &["req", "-x509", "-days", "2", "-subj", &format!("/CN={name}")],
            &[&KEY[..], &["-keyout", "ca.key", "-out", "ca.pem"]].concat(),
        );
        authority
    }

    fn openssl(&self, first: &[&str], rest: &[&str]) {
        let Output { status, stderr, .. } = openssl(&self.folder, &[first, rest].concat()).unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    }

    /// A certificate for these names, as `DNS:localhost,IP:127.0.0.1`.
    fn issue(&self, name: &str, names: &str) -> Issued {
        let file = |end: &str| format!("{name}.{end}");
        let extensions = format!("basicConstraints=CA:FALSE\nsubjectAltName={names}\n");
        fs::write(self.folder.join(file("ext")), extensions).unwrap();
        self.openssl(
            &["req", "-subj", "/CN=somebody", "-keyout", &file("key"), "-out", &file("csr")],
            &KEY,
        );
        self.openssl(
            &["x509", "-req", "-days", "2", "-CA", "ca.pem", "-CAkey", "ca.key"],
            &[
                "-CAcreateserial",
                "-in",
                &file("csr"),
                "-extfile",
                &file("ext"),
                "-out",
                &file("pem"),
            ],
        );
        let path = |end: &str| self.folder.join(file(end));
        Issued { certificate: path("pem"), key: path("key") }
    }

    fn pem(&self) -> Vec<u8> {
        fs::read(self.folder.join("ca.pem")).unwrap()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Issued {
    fn pems(&self) -> (Vec<u8>, Vec<u8>) {
        (fs::read(&self.certificate).unwrap(), fs::read(&self.key).unwrap())
    }
}

fn openssl(folder: &Path, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new("openssl").args(arguments).current_dir(folder).output()
}

/// True if what these tests need is not here. A Redis may be built without encryption.
fn is_missing() -> bool {
    if is_excused() {
        return true;
    }
    // It ends at once: for want of a certificate, or because it cannot encrypt.
    let tried = Command::new(program()).args(["--port", "0", "--tls-port", "1"]).output().unwrap();
    let told = String::from_utf8_lossy(&[tried.stdout, tried.stderr].concat()).into_owned();
    if told.contains("Bad directive") || told.contains("Failed finding TLS support") {
        println!("not tested: {} was built without encryption", program());
        return true;
    }
    if openssl(Path::new("."), &["version"]).is_err() {
        println!("not tested: openssl, which makes certificates, is not installed");
        return true;
    }
    false
}

/// A server that also listens for encrypted connections, with a certificate of this authority.
fn server(authority: &Authority, names: &str, more: &[&str]) -> Server {
    let issued = authority.issue("server", names);
    let ca = authority.folder.join("ca.pem");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (ca, certificate, key) = (path(&ca), path(&issued.certificate), path(&issued.key));
    let options = [
        ["--tls-port", "OTHER_PORT"],
        ["--tls-cert-file", &certificate],
        ["--tls-key-file", &key],
        ["--tls-ca-cert-file", &ca],
    ];
    Server::start(&[&options.concat(), more].concat()).expect("it is here")
}

fn address(server: &Server) -> String {
    format!("rediss://127.0.0.1:{}", server.other_port)
}

/// It asks clients for no certificate.
const OPEN: [&str; 2] = ["--tls-auth-clients", "no"];

const HERE: &str = "DNS:localhost,IP:127.0.0.1";

fn beating() -> Listen {
    all(Duration::from_millis(20))
}

fn ask(remote: &dyn Remote) -> Result<Vec<Found>, RemoteError> {
    wait(remote.read(&[read(&place("here"))]))
}

/// Why it is not reached.
fn unreachable(remote: &dyn Remote) -> String {
    match ask(remote) {
        Err(RemoteError::Unreachable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
#[cfg(feature = "test-kit")]
fn the_laws_are_kept_by_encrypted_connections() {
    use cachette::tier::laws::{Trial, check};

    if is_missing() {
        return;
    }
    let authority = Authority::new("laws");
    let server = server(&authority, HERE, &OPEN);
    let options = options(&address(&server)).root_certificate(authority.pem()).unwrap();
    for (name, remote) in remotes(&options) {
        println!("{name}");
        let trial = Trial::new(remote, std::thread::sleep).patience(PATIENCE);
        check(&trial.modes(modes(&server)));
    }
}

#[test]
fn changes_are_told_of_by_an_encrypted_line() {
    if is_missing() {
        return;
    }
    let authority = Authority::new("lines");
    let server = server(&authority, HERE, &OPEN);
    if !server.tracks() {
        return;
    }
    let url = address(&server).replace("127.0.0.1", "localhost");
    let options = options(&url).root_certificate(authority.pem()).unwrap();
    for (name, remote) in remotes(&options) {
        println!("{name}");
        let heard = Heard::new(&remote, beating());
        assert_eq!(heard.any(), Event::Up(Mode::Tracking));
        for _ in 0..3 {
            wait(remote.write(&[write(&place("here"), b"text")])).unwrap();
            assert_eq!(heard.names(1), ["{p:k:here}"]);
            assert!(matches!(ask(&*remote).unwrap()[..], [Found::Value { .. }]));
            wait(remote.delete(&[delete(&place("here"))])).unwrap();
            assert_eq!(heard.names(1), ["{p:k:here}"]);
        }
        // More at once than one record of the encryption holds.
        let long = vec![b'x'; 1_000_000];
        wait(remote.write(&[write(&place("here"), &long)])).unwrap();
        assert_eq!(heard.names(1), ["{p:k:here}"]);
        let found = ask(&*remote).unwrap();
        assert!(matches!(&found[..], [Found::Value { bytes, .. }] if *bytes == long));
        server.run("FLUSHALL");
        assert_eq!(heard.next(), Event::AllChanged);
        heard.ear.gone.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(matches!(heard.next(), Event::Ended(_)));
    }
}

#[test]
fn who_is_not_trusted_is_not_reached() {
    if is_missing() {
        return;
    }
    let (authority, other) = (Authority::new("trusted"), Authority::new("other"));
    let elsewhere = server(&authority, "DNS:elsewhere.example", &OPEN);
    let server = server(&authority, HERE, &OPEN);
    let named =
        |pem: Vec<u8>, server: &Server| options(&address(server)).root_certificate(pem).unwrap();
    let cases = [
        // An authority that the server is not of; those of browsers; a name that is not in its certificate.
        (named(other.pem(), &server), "UnknownIssuer"),
        (options(&address(&server)), "UnknownIssuer"),
        (named(authority.pem(), &elsewhere), "not valid for name"),
    ];
    let count = |server: &Server| commands(server);
    for (options, why) in cases {
        for (name, remote) in remotes(&options) {
            println!("{name}, {why}");
            let before = (count(&server), count(&elsewhere));
            let told = unreachable(&*remote);
            assert!(told.contains(why), "{told}");
            let heard = Heard::new(&remote, all(LONG));
            let ended = heard.any();
            assert!(
                matches!(&ended, Event::Ended(RemoteError::Unreachable(told)) if told.contains(why)),
                "{ended:?}"
            );
            // And nothing is said in the clear instead.
            assert_eq!((count(&server), count(&elsewhere)), before);
        }
    }
    // All of several are trusted.
    let both = [other.pem(), authority.pem()].concat();
    for (_, remote) in remotes(&named(both, &server)) {
        assert_eq!(ask(&*remote), Ok(vec![Found::Nothing]));
    }
}

/// How many commands have come that are not of those who ask this.
fn commands(server: &Server) -> usize {
    let stats: String =
        ::redis::cmd("INFO").arg("commandstats").query(&mut server.client()).unwrap();
    let ours = ["info", "client|setinfo", "ping", "hello"];
    let is_another = |line: &&str| {
        line.strip_prefix("cmdstat_")
            .is_some_and(|line| !ours.contains(&line.split(':').next().unwrap()))
    };
    stats.lines().filter(is_another).count()
}

#[test]
fn a_server_that_does_not_encrypt_is_not_asked_in_the_clear() {
    if is_missing() {
        return;
    }
    let authority = Authority::new("clear");
    let Some(server) = Server::start(&[]) else { return };
    let url = server.url().replace("redis://", "rediss://");
    // It may take the first words for the beginning of a command, and wait for the rest.
    let options = options(&url).connect_timeout(Duration::from_millis(300));
    let options = options.root_certificate(authority.pem()).unwrap();
    for (name, remote) in remotes(&options) {
        println!("{name}");
        let answer = ask(&*remote);
        let told = matches!(answer, Err(RemoteError::Unreachable(_) | RemoteError::TimedOut(_)));
        assert!(told, "{answer:?}");
        assert_eq!(commands(&server), 0);
    }
}

#[test]
fn a_server_that_asks_for_a_certificate_is_shown_one() {
    if is_missing() {
        return;
    }
    let (authority, other) = (Authority::new("clients"), Authority::new("strangers"));
    let server = server(&authority, HERE, &[]);
    let (certificate, key) = authority.issue("client", "DNS:client").pems();
    let trusting = || options(&address(&server)).root_certificate(authority.pem()).unwrap();
    // In either order.
    let all = [
        trusting().client_certificate(certificate.clone(), key.clone()).unwrap(),
        options(&address(&server))
            .client_certificate(certificate, key)
            .and_then(|options| options.root_certificate(authority.pem()))
            .unwrap(),
    ];
    for options in all {
        for (_, remote) in remotes(&options) {
            assert_eq!(ask(&*remote), Ok(vec![Found::Nothing]));
            let heard = Heard::new(&remote, beating());
            assert_eq!(heard.any(), Event::Up(modes(&server)[0]));
        }
    }
    let (certificate, key) = other.issue("client", "DNS:client").pems();
    for options in [trusting(), trusting().client_certificate(certificate, key).unwrap()] {
        for (name, remote) in remotes(&options) {
            println!("{name}: {}", unreachable(&*remote));
        }
    }
}

/// A cluster of one node, which tells where it is.
#[test]
#[cfg(feature = "redis-cluster")]
fn the_nodes_of_a_cluster_are_shown_the_same_certificates() {
    if is_missing() {
        return;
    }
    let authority = Authority::new("cluster");
    let server = server(&authority, HERE, &["--cluster-enabled", "yes", "--tls-cluster", "yes"]);
    if !server.tracks() {
        return;
    }
    server.run("CLUSTER ADDSLOTSRANGE 0 16383");
    let (certificate, key) = authority.issue("client", "DNS:client").pems();
    let trusting = options(&address(&server)).root_certificate(authority.pem()).unwrap();
    let known = trusting.clone().client_certificate(certificate, key).unwrap();
    let cluster = |options| cachette::tier::RedisCluster::new([options]).unwrap();
    let remote: Arc<dyn Remote> = Arc::new(cluster(known));
    let start = std::time::Instant::now();
    // At first it does not know that it has all the slots.
    while ask(&*remote) != Ok(vec![Found::Nothing]) {
        assert!(start.elapsed() < PATIENCE, "{:?}", ask(&*remote));
    }
    let heard = Heard::new(&remote, beating());
    assert_eq!(heard.any(), Event::Up(Mode::Tracking));
    wait(remote.write(&[write(&place("here"), b"text")])).unwrap();
    assert_eq!(heard.names(1), ["{p:k:here}"]);
    println!("{}", unreachable(&cluster(trusting)));
}

#[test]
fn what_is_no_certificate_is_an_error_at_once() {
    if is_missing() {
        return;
    }
    let authority = Authority::new("errors");
    let (certificate, key) = authority.issue("client", "DNS:client").pems();
    let (_, other) = authority.issue("other", "DNS:client").pems();
    let encrypted = || RedisOptions::new("rediss://localhost").unwrap();
    let trust = |pem: &[u8]| encrypted().root_certificate(pem).unwrap_err().to_string();
    let half = &authority.pem()[..200];
    let empty = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (pem, why) in [
        (&b""[..], "no certificate"),
        (b"garbage \xff", "no certificate"),
        (&key[..], "no certificate"),
        (half, "not whole"),
        (empty, "certificate"),
    ] {
        let told = trust(pem);
        assert!(told.starts_with("a certificate for a Redis is wrong: "), "{told}");
        assert!(told.contains(why), "{told}");
    }
    let show = |certificate: &[u8], key: &[u8]| {
        encrypted().client_certificate(certificate, key).unwrap_err().to_string()
    };
    assert!(show(b"garbage", &key).contains("no certificate"));
    assert!(show(&certificate, b"garbage").contains("no private key"));
    assert!(show(&certificate, &certificate).contains("no private key"));
    let told = show(&certificate, &other);
    assert!(told.contains("Inconsistent") || told.contains("key"), "{told}");
    // Where nothing is encrypted it would be of no use, and nobody would notice.
    let plain = || RedisOptions::new("redis://localhost").unwrap();
    for error in [
        plain().root_certificate(authority.pem()).unwrap_err(),
        plain().client_certificate(certificate, key).unwrap_err(),
    ] {
        assert!(error.to_string().contains("rediss://"), "{error}");
    }
}
