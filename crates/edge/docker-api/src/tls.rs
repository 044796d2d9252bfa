//! The certificate of the ports that the API is served on, and whose certificates clients must have.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{VerifierBuilderError, WebPkiClientVerifier},
};
use tokio_rustls::TlsAcceptor;

/// A file of certificates is not larger.
const MAX_FILE: u64 = 4 << 20;

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
    /// A file cannot be read.
    #[error("read \"{path}\"", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("\"{path}\" holds no {what}: {why}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
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
            for authority in certificates(path)? {
                let failed = |source| TlsError::Certificate { path: path.clone(), source };
                roots.add(authority).map_err(failed)?;
            }
            // Only these: the machine's own authorities vouch for servers of all the world.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let failed = |source| TlsError::Authorities { path: path.clone(), source };
            builder.with_client_cert_verifier(verifier.build().map_err(failed)?)
        }
    };
    let secret = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| {
        TlsError::Content { path: files.key.clone(), what: "private key", why: error.to_string() }
    })?;
    let mut config =
        builder.with_single_cert(certificates(&files.cert)?, secret).map_err(failed)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |why| TlsError::Content { path: path.to_owned(), what: "certificate", why };
    let found = CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if found.is_empty() => Err(failed("nothing in PEM".to_owned())),
        found => found.map_err(|error| failed(error.to_string())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    std::fs::read(path).map_err(failed)
}
