//! Whom an encrypted connection trusts, and who it says it is.

use ::redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, TlsCertificates};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use thiserror::Error;

/// A certificate or a key that cannot be used. It says why, and never repeats what it was given.
///
/// ```
/// use cachette::tier::RedisOptions;
///
/// let options = RedisOptions::new("rediss://localhost")?;
/// let error = options.root_certificate("no certificate").unwrap_err();
/// assert!(error.to_string().contains("there is no certificate"));
/// # Ok::<(), cachette::tier::RedisUrlError>(())
/// ```
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("a certificate for a Redis is wrong: {0}")]
#[non_exhaustive]
pub struct RedisCertificateError(String);

fn wrong(why: impl fmt::Display) -> RedisCertificateError {
    RedisCertificateError(why.to_string())
}

/// Both as PEM: the transport takes them together, and they are given one by one.
#[derive(Clone, Default)]
pub(super) struct Certificates {
    root: Option<Vec<u8>>,
    client: Option<ClientTlsConfig>,
}

impl Certificates {
    pub(super) fn trust(&mut self, pem: Vec<u8>) -> Result<(), RedisCertificateError> {
        let mut store = RootCertStore::empty();
        for certificate in all_of(&pem)? {
            store.add(certificate).map_err(wrong)?;
        }
        self.root = Some(pem);
        Ok(())
    }

    pub(super) fn present(
        &mut self,
        certificate: Vec<u8>,
        key: Vec<u8>,
    ) -> Result<(), RedisCertificateError> {
        let chain = all_of(&certificate)?;
        // What the parser says of it may have a part of it.
        let its_key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|_| wrong("there is no private key in PEM in what was given as such"))?;
        // Now, and not when the first connection is made: whether one belongs to the other.
        ClientConfig::builder()
            .with_root_certificates(RootCertStore::empty())
            .with_client_auth_cert(chain, its_key)
            .map_err(wrong)?;
        self.client = Some(ClientTlsConfig { client_cert: certificate, client_key: key });
        Ok(())
    }

    /// The same address with these.
    pub(super) fn at(
        &self,
        info: &ConnectionInfo,
    ) -> Result<ConnectionInfo, RedisCertificateError> {
        if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            return Err(wrong("the address must begin with rediss:// or valkeys://"));
        }
        let both =
            TlsCertificates { client_tls: self.client.clone(), root_cert: self.root.clone() };
        let client = Client::build_with_tls(info.clone(), both).map_err(wrong)?;
        Ok(client.get_connection_info().clone())
    }
}

fn all_of(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, RedisCertificateError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err(wrong("there is no certificate in PEM in it")),
        Ok(all) => Ok(all),
        Err(_) => Err(wrong("it is not whole, or not PEM")),
    }
}
