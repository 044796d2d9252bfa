//! Who the server has to be, and who we are.

use std::path::Path;
use std::sync::Arc;

use certs::Anyone;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use shim_protocol::SyslogTls;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file of certificates or of a key.
    #[error(transparent)]
    File(#[from] certs::Error),
    /// One of the two was named, and not the other.
    #[error("a certificate and its key go together: syslog-tls-cert and syslog-tls-key")]
    Pair,
    /// It is no name that a certificate could have.
    #[error("no server can be called {0:?}")]
    Name(String),
    /// What is in the files does not fit.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// A connection that is to be made.
pub(crate) fn connection(target: &SyslogTls) -> Result<ClientConnection, Error> {
    let name = ServerName::try_from(target.host.clone());
    let name = name.map_err(|_| Error::Name(target.host.clone()))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = if target.skip_verify {
        let verifier = Arc::new(Anyone::new(provider));
        builder.dangerous().with_custom_certificate_verifier(verifier)
    } else {
        builder.with_root_certificates(roots(target.ca.as_deref())?)
    };
    let config = match (&target.cert, &target.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(path)) => {
            builder.with_client_auth_cert(certs::certificates(cert)?, certs::key(path)?)?
        }
        _ => return Err(Error::Pair),
    };
    Ok(ClientConnection::new(Arc::new(config), name)?)
}

/// The authorities of a file alone, or the machine's own.
fn roots(file: Option<&Path>) -> Result<RootCertStore, Error> {
    let Some(file) = file else { return Ok(certs::machine_authorities()) };
    let mut roots = RootCertStore::empty();
    for authority in certs::certificates(file)? {
        roots.add(authority)?;
    }
    Ok(roots)
}
