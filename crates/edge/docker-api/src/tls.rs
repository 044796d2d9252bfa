//! The certificate of the ports that the API is served on, and whose certificates clients must have.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    server::{VerifierBuilderError, WebPkiClientVerifier},
};
use tokio_rustls::TlsAcceptor;

/// Where certificates are, in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's own, and those that vouch for it.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities of clients, each of which must have a certificate then; `None`: none needs one.
    pub clients: Option<PathBuf>,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not what it should be.
    #[error(transparent)]
    File(#[from] certs::Error),
    /// A certificate is none, or goes with another key.
    #[error("the certificate \"{path}\" cannot be used", path = path.display())]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Nobody can be verified by these authorities.
    #[error("the authorities in \"{path}\" cannot be used", path = path.display())]
    Authorities {
        /// Their file.
        path: PathBuf,
        /// Why.
        source: VerifierBuilderError,
    },
}

/// TLS as files say, which may be read again. Clones are one and the same.
#[derive(Clone, Debug)]
pub struct Tls {
    files: Arc<TlsFiles>,
    config: Arc<Mutex<Arc<ServerConfig>>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// One is missing, or is not what it should be.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let config = Arc::new(Mutex::new(Arc::new(read_config(&files)?)));
        Ok(Self { files: Arc::new(files), config })
    }

    /// Reads them again, for connections from now on; those that are there stay as they are.
    ///
    /// # Errors
    ///
    /// As [`Tls::open`]; then all stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = Arc::new(read_config(&self.files)?);
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Whether clients must have a certificate.
    pub(crate) fn verifies(&self) -> bool {
        self.files.clients.is_some()
    }

    /// What does the handshake with a client.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }
}

fn read_config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let failed = |source| TlsError::Certificate { path: files.cert.clone(), source };
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let builder = match &files.clients {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in certs::certificates(path)? {
                let failed = |source| TlsError::Certificate { path: path.clone(), source };
                roots.add(authority).map_err(failed)?;
            }
            // Only these: the machine's own authorities vouch for servers of all the world.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let failed = |source| TlsError::Authorities { path: path.clone(), source };
            builder.with_client_cert_verifier(verifier.build().map_err(failed)?)
        }
    };
    let (chain, secret) = (certs::certificates(&files.cert)?, certs::key(&files.key)?);
    let mut config = builder.with_single_cert(chain, secret).map_err(failed)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
