//! Who the server has to be, and who we are.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use shim_protocol::SyslogTls;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file of certificates or of a key.
    #[error(transparent)]
    File(#[from] pem::Error),
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
        let verifier = Arc::new(Anyone(provider));
        builder.dangerous().with_custom_certificate_verifier(verifier)
    } else {
        builder.with_root_certificates(roots(target.ca.as_deref())?)
    };
    let config = match (&target.cert, &target.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(path)) => {
            builder.with_client_auth_cert(pem::certificates(cert)?, pem::key(path)?)?
        }
        _ => return Err(Error::Pair),
    };
    Ok(ClientConnection::new(Arc::new(config), name)?)
}

/// The authorities of a file alone, or the machine's own.
fn roots(file: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            for authority in pem::certificates(file)? {
                roots.add(authority)?;
            }
        }
        // One that cannot be read is one that verifies nothing.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

/// Takes anyone's word for who they are: `syslog-tls-skip-verify`.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
