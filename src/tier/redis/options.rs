//! Where a Redis is, and how long it is waited for.

#[cfg(feature = "redis-rustls")]
use super::certificates::{Certificates, RedisCertificateError};
#[cfg(feature = "redis-cluster")]
use super::cluster::Address;
use super::failure::failure;
use crate::tier::RemoteError;
use ::redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion, RedisError,
};
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// Where a Redis or a Valkey is, how long it is waited for, and by how many connections it is asked.
///
/// | what | if it is not told |
/// |---|---|
/// | [`connect_timeout`](Self::connect_timeout) | 1 s |
/// | [`answer_timeout`](Self::answer_timeout) | 500 ms |
/// | [`connections`](Self::connections) | 16 |
/// | [`replica`](Self::replica) | none |
///
/// Nothing is connected before something is asked, so a service starts while its Redis is down.
///
/// ```
/// use cachette::tier::{RedisOptions, RedisRemote};
/// use std::time::Duration;
///
/// let options = RedisOptions::new("redis://user:secret@cache.example:6379/2")?
///     .connect_timeout(Duration::from_millis(300))
///     .answer_timeout(Duration::from_millis(100));
/// assert!(!format!("{options:?}").contains("secret"));
/// let remote = RedisRemote::new(options);
/// # Ok::<(), cachette::tier::RedisUrlError>(())
/// ```
#[derive(Clone)]
pub struct RedisOptions {
    info: ConnectionInfo,
    #[cfg(feature = "redis-rustls")]
    certificates: Certificates,
    pub(super) connect_timeout: Duration,
    pub(super) answer_timeout: Duration,
    pub(super) connections: usize,
    replicas: Vec<ConnectionInfo>,
}

/// An address that names no Redis. It says what is wrong, but never repeats the address, which may have a password in it.
///
/// ```
/// use cachette::tier::RedisOptions;
///
/// let error = RedisOptions::new("http://localhost").unwrap_err();
/// assert!(error.to_string().contains("redis://"));
/// ```
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the address of a Redis is wrong: {0}")]
#[non_exhaustive]
pub struct RedisUrlError(String);

/// What an address may begin with.
const SCHEMES: [&str; 7] =
    ["redis", "rediss", "valkey", "valkeys", "unix", "redis+unix", "valkey+unix"];

impl RedisUrlError {
    #[cfg(feature = "redis-cluster")]
    pub(super) fn none() -> Self {
        Self("there is none".to_owned())
    }

    /// The transport says less of an address that it cannot take apart than can be seen from outside.
    fn of(url: &str, error: &RedisError) -> Self {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        if !scheme.is_some_and(|scheme| SCHEMES.contains(&scheme)) {
            return Self(format!("it must begin with one of {}://", SCHEMES.join("://, ")));
        }
        let encrypted = matches!(scheme, Some("rediss" | "valkeys"));
        if encrypted && !cfg!(feature = "redis-rustls") {
            return Self("an encrypted connection needs the feature `redis-rustls`".to_owned());
        }
        Self(format!("{error}; what is no letter or digit in a name or password is written as %HH"))
    }
}

impl RedisOptions {
    /// The Redis at `redis[s]://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]` or `unix:///PATH[?db=DATABASE]`; `valkey` is another word
    /// for `redis`. What is no letter or digit in a name or password is written as `%HH`.
    ///
    /// `rediss` is encrypted, and never without: a server that does not encrypt, or whose certificate is not trusted, is not reached. It
    /// needs the feature `redis-rustls`. If the program has not chosen by `CryptoProvider::install_default` whose
    /// cryptography `rustls` uses, it is that of `ring` from then on.
    ///
    /// # Errors
    ///
    /// If that is not what it looks like.
    pub fn new(url: &str) -> Result<Self, RedisUrlError> {
        Ok(Self {
            info: parsed(url)?,
            #[cfg(feature = "redis-rustls")]
            certificates: Certificates::default(),
            connect_timeout: Duration::from_secs(1),
            answer_timeout: Duration::from_millis(500),
            connections: 16,
            replicas: Vec::new(),
        })
    }

    /// Trusts a server whose certificate was issued by one of these, which are PEM, and no other; those that browsers trust are trusted
    /// unless this is called.
    ///
    /// ```no_run
    /// use cachette::tier::{RedisOptions, RedisRemote};
    ///
    /// let options = RedisOptions::new("rediss://cache.example")?
    ///     .root_certificate(std::fs::read("authority.pem")?)?
    ///     .client_certificate(std::fs::read("service.pem")?, std::fs::read("service.key")?)?;
    /// let remote = RedisRemote::new(options);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no certificate in it, or one that cannot be used, or the address is not that of an encrypted connection.
    #[cfg(feature = "redis-rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis-rustls")))]
    pub fn root_certificate(
        mut self,
        pem: impl Into<Vec<u8>>,
    ) -> Result<Self, RedisCertificateError> {
        self.certificates.trust(pem.into())?;
        self.info = self.certificates.at(&self.info)?;
        Ok(self)
    }

    /// Shows this certificate to a server that asks for one: PEM, with those between it and an authority if there are any, and its
    /// private key, PEM too.
    ///
    /// # Errors
    ///
    /// If there is no certificate or no key, or one does not belong to the other, or the address is not that of an encrypted
    /// connection.
    #[cfg(feature = "redis-rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis-rustls")))]
    pub fn client_certificate(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Result<Self, RedisCertificateError> {
        self.certificates.present(certificate.into(), key.into())?;
        self.info = self.certificates.at(&self.info)?;
        Ok(self)
    }

    /// A replica of it, at an address of the same kind; one more with each call. A cache asks them if it is
    /// [told how much they may lag](crate::tier::TieredBuilder::replica_lag), each in turn, and leaves one alone for a while that fails or lags
    /// more. Times and numbers of connections are the same for each.
    ///
    /// The primary is asked how far it has come, four times within the lag or ten times a second, and each read at a replica says how far
    /// that is: by these two it is known how old what was read may be. It makes such a read cost a replica about what two cost a primary. What is left of
    /// a value's time is told by the replica's clock, which should be that of the primary.
    ///
    /// One that lags by more than 25 s is not used, however much it may lag. A [`RedisCluster`](crate::tier::RedisCluster) has none.
    ///
    /// # Errors
    ///
    /// If that is not what it looks like.
    ///
    /// ```
    /// use cachette::tier::RedisOptions;
    ///
    /// let options = RedisOptions::new("redis://primary.example")?
    ///     .replica("redis://replica-1.example")?
    ///     .replica("redis://replica-2.example")?;
    /// # Ok::<(), cachette::tier::RedisUrlError>(())
    /// ```
    pub fn replica(mut self, url: &str) -> Result<Self, RedisUrlError> {
        self.replicas.push(parsed(url)?);
        Ok(self)
    }

    /// How each replica is asked.
    pub(super) fn replicas(&self) -> impl Iterator<Item = Self> {
        let of = |info: &ConnectionInfo| Self {
            info: self.with_certificates(info),
            replicas: Vec::new(),
            ..self.clone()
        };
        self.replicas.iter().map(of)
    }

    /// Another address, with the certificates of this one.
    fn with_certificates(&self, info: &ConnectionInfo) -> ConnectionInfo {
        let ConnectionAddr::TcpTls { tls_params, .. } = self.info.addr() else {
            return info.clone();
        };
        let mut there = info.addr().clone();
        if let ConnectionAddr::TcpTls { tls_params: its, .. } = &mut there {
            its.clone_from(tls_params);
        }
        info.clone().set_addr(there)
    }

    /// How long it may take until a connection is there and the password is accepted; at least a millisecond. Looking up the name of
    /// the host is not part of it where the system has no such limit.
    #[must_use]
    pub fn connect_timeout(self, time: Duration) -> Self {
        Self { connect_timeout: time.max(SHORTEST), ..self }
    }

    /// How long an answer may take; at least a millisecond. It is also how long a connection is waited for if all are in use.
    #[must_use]
    pub fn answer_timeout(self, time: Duration) -> Self {
        Self { answer_timeout: time.max(SHORTEST), ..self }
    }

    /// How many connections there are at most to ask by; at least one. They are made when they are needed. To listen takes one more.
    /// A remote that does not block needs one, and takes no heed of this.
    #[must_use]
    pub fn connections(self, number: usize) -> Self {
        Self { connections: number.max(1), ..self }
    }

    /// The same for another server.
    #[cfg(feature = "redis-cluster")]
    pub(super) fn at(&self, address: &Address) -> Self {
        let (host, port) = (address.host.clone(), address.port);
        let there = match self.info.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host, port),
        };
        Self { info: self.info.clone().set_addr(there), ..self.clone() }
    }

    #[cfg(feature = "redis-cluster")]
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.info.addr(), ConnectionAddr::TcpTls { .. })
    }

    /// Where a node of a cluster is.
    #[cfg(feature = "redis-cluster")]
    pub(super) fn node(&self) -> Result<Address, RedisUrlError> {
        if self.info.redis_settings().db() != 0 {
            return Err(RedisUrlError("a cluster has the database 0 alone".to_owned()));
        }
        if !self.replicas.is_empty() {
            return Err(RedisUrlError("the replicas of a cluster are not asked".to_owned()));
        }
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Ok(Address { host: host.clone(), port: *port })
            }
            _ => Err(RedisUrlError("a node of a cluster has a host and a port".to_owned())),
        }
    }

    /// What it asks by.
    pub(super) fn client(&self) -> Client {
        client(self.info.clone())
    }

    /// What it listens by: only in the third version of the protocol is one told of something that was not asked for.
    pub(super) fn third_client(&self) -> Client {
        let third = self.info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        client(self.info.clone().set_redis_settings(third))
    }

    pub(super) fn not_connected(&self, error: &RedisError) -> RemoteError {
        failure(error, &self.address(), self.connect_timeout)
    }

    pub(super) fn not_answered(&self, error: &RedisError) -> RemoteError {
        failure(error, &self.address(), self.answer_timeout)
    }

    /// Why a line is lost that was to answer within this time.
    pub(super) fn lost(&self, error: &RedisError, patience: Duration) -> RemoteError {
        failure(error, &self.address(), patience)
    }

    #[cfg(feature = "redis-tokio")]
    pub(super) fn cut(&self) -> RemoteError {
        RemoteError::Unreachable(format!("{}: the connection was cut", self.address()))
    }

    fn address(&self) -> String {
        self.info.addr().to_string()
    }
}

fn parsed(url: &str) -> Result<ConnectionInfo, RedisUrlError> {
    let info = url.into_connection_info().map_err(|error| RedisUrlError::of(url, &error))?;
    provide_cryptography();
    let settings =
        info.redis_settings().clone().set_lib_name("cachette", env!("CARGO_PKG_VERSION"));
    Ok(info.set_redis_settings(settings))
}

/// Where there are several providers, or none, an encrypted connection would panic.
#[cfg(feature = "redis-rustls")]
fn provide_cryptography() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // If somebody was faster, theirs is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

#[cfg(not(feature = "redis-rustls"))]
const fn provide_cryptography() {}

/// Zero is no timeout for a socket.
const SHORTEST: Duration = Duration::from_millis(1);

fn client(info: ConnectionInfo) -> Client {
    // It connects to nothing, and what it is given is taken apart already.
    Client::open(info).unwrap_or_else(|error| unreachable!("an address was taken apart: {error}"))
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("address", &self.address())
            .field("database", &self.info.redis_settings().db())
            .field("connect_timeout", &self.connect_timeout)
            .field("answer_timeout", &self.answer_timeout)
            .field("connections", &self.connections)
            .field("replicas", &self.replicas.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(url: &str) -> String {
        RedisOptions::new(url).expect_err("it is wrong").to_string()
    }

    #[test]
    fn a_wrong_address_is_told_without_the_password() {
        for url in [
            "http://u:pa55word@localhost",
            "u:pa55word@localhost",
            "redis://u:pa55word@",
            "redis://u:pa55/word@localhost",
            "redis://u:pa55word@localhost:port",
            "redis://u:pa55word@localhost/database",
            "redis://u:pa55word@localhost?protocol=resp4",
            "redis://u:pa55word@0.0.0.0",
        ] {
            let told = wrong(url);
            assert!(!told.contains("pa55"), "{told}");
        }
        assert!(wrong("http://localhost").contains("redis://, rediss://"));
        assert!(wrong("redis://localhost/database").contains("database"));
    }

    #[test]
    #[cfg(feature = "redis-rustls")]
    fn who_answers_in_the_clear_is_an_error_and_no_panic() {
        use crate::sync::thread;
        use crate::tier::{Place, Read, RedisRemote, Remote, RemoteError};
        use std::io::Write as _;

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answering = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(b"-ERR not encrypted\r\n");
        });
        let options = RedisOptions::new(&format!("rediss://127.0.0.1:{port}")).unwrap();
        let remote = RedisRemote::new(options);
        let place = Place::of(b"{a}".to_vec());
        let answer = crate::load::block_on(remote.read(&[Read { place: &place, claim: None }]));
        assert!(matches!(answer, Err(RemoteError::Unreachable(_))), "{answer:?}");
        answering.join().unwrap();
    }

    #[test]
    #[cfg(not(feature = "redis-rustls"))]
    fn encryption_needs_its_feature() {
        assert!(wrong("rediss://localhost").contains("redis-rustls"));
    }

    #[test]
    fn options_are_shown_without_the_password() {
        let options = RedisOptions::new("valkey://u:pa55word@localhost:7000/3").unwrap();
        let shown = format!("{options:?}");
        assert!(shown.contains("localhost:7000") && shown.contains('3'), "{shown}");
        assert!(!shown.contains("pa55"), "{shown}");
    }

    #[test]
    fn nothing_is_waited_for_no_time() {
        let options = RedisOptions::new("redis://localhost")
            .unwrap()
            .connect_timeout(Duration::ZERO)
            .answer_timeout(Duration::ZERO)
            .connections(0);
        assert_eq!((options.connect_timeout, options.answer_timeout), (SHORTEST, SHORTEST));
        assert_eq!(options.connections, 1);
    }
}
