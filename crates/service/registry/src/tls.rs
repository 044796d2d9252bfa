//! Who is at the other end: the machine's own authorities, those of `certs.d`, or nobody in
//! particular where a registry was called insecure.
//!
//! `certs.d/HOST[:PORT]/` is Docker's layout: each `*.crt` an authority, each `NAME.cert` with its
//! `NAME.key` a certificate of ours.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::Transport;
use crate::settings::Settings;
use crate::url::Origin;

/// A file of certificates is not larger.
const MAX_FILE: u64 = 4 << 20;

/// Makes connections private.
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    /// The machine's own authorities, read when they are first needed.
    roots: OnceLock<Arc<RootCertStore>>,
    configs: Mutex<HashMap<Origin, Arc<ClientConfig>>>,
}

impl Tls {
    pub(crate) fn new() -> Self {
        Self {
            provider: Arc::new(ring::default_provider()),
            roots: OnceLock::new(),
            configs: Mutex::new(HashMap::new()),
        }
    }

    /// Does the handshake with `origin` over `stream`.
    pub(crate) async fn connect<S>(
        &self,
        settings: &Settings,
        origin: &Origin,
        stream: S,
    ) -> Result<TlsStream<S>, Transport>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let failed = |source| Transport::Tls { host: origin.authority(), source };
        let name = ServerName::try_from(origin.host.clone())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let config = self.config(settings, origin)?;
        TlsConnector::from(config).connect(name, stream).await.map_err(failed)
    }

    fn config(&self, settings: &Settings, origin: &Origin) -> Result<Arc<ClientConfig>, Transport> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = configs.get(origin) {
            return Ok(Arc::clone(known));
        }
        let config = Arc::new(self.build(settings, origin)?);
        configs.insert(origin.clone(), Arc::clone(&config));
        Ok(config)
    }

    fn build(&self, settings: &Settings, origin: &Origin) -> Result<ClientConfig, Transport> {
        let failed = |why: String| Transport::Certificates { what: origin.authority(), why };
        let own = settings.certs_of(origin).map(|dir| Certs::read(&dir)).transpose()?;
        let own = own.unwrap_or_default();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(error.to_string()))?;
        // An authority that was put there for this host means that it is to be verified by it.
        let builder = if settings.is_insecure(origin) && own.authorities.is_empty() {
            let verifier = Anyone(Arc::clone(&self.provider));
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        } else {
            let mut roots = RootCertStore::clone(self.roots());
            for authority in &own.authorities {
                roots.add(authority.clone()).map_err(|error| failed(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(failed("this machine has no certificates of authorities".into()));
            }
            let provider = Arc::clone(&self.provider);
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
            let authorities = verifier.build().map_err(|error| failed(error.to_string()))?;
            let verifier = Known { authorities, own: own.authorities };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        };
        match own.client {
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain, key).map_err(|error| failed(error.to_string()))
            }
            None => Ok(builder.with_no_client_auth()),
        }
    }

    fn roots(&self) -> &Arc<RootCertStore> {
        self.roots.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            // One that cannot be read is one that verifies nothing.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        })
    }
}

/// What a folder of `certs.d` holds.
#[derive(Default)]
struct Certs {
    authorities: Vec<CertificateDer<'static>>,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Certs {
    fn read(dir: &Path) -> Result<Self, Transport> {
        let failed = |path: &Path, why: String| Transport::Certificates {
            what: format!("\"{}\"", path.display()),
            why,
        };
        let mut certs = Self::default();
        let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = entries.map_err(|error| failed(dir, error.to_string()))?;
        let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
            if kind == "crt" {
                certs.authorities.extend(certificates(&path)?);
            } else if kind == "cert" && certs.client.is_none() {
                let key_path = path.with_extension("key");
                if !key_path.exists() {
                    let why = format!("the certificate has no key \"{}\"", key_path.display());
                    return Err(failed(&path, why));
                }
                let key = PrivateKeyDer::from_pem_slice(&read(&key_path)?)
                    .map_err(|error| failed(&key_path, error.to_string()))?;
                certs.client = Some((certificates(&path)?, key));
            }
        }
        Ok(certs)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Transport> {
    let bytes = read(path)?;
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let failed =
        |why: String| Transport::Certificates { what: format!("\"{}\"", path.display()), why };
    match found {
        Ok(found) if found.is_empty() => Err(failed("it holds no certificate".into())),
        found => found.map_err(|error| failed(error.to_string())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Transport> {
    let failed =
        |why: String| Transport::Certificates { what: format!("\"{}\"", path.display()), why };
    let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if size > MAX_FILE {
        return Err(failed(format!("{size} bytes, more than {MAX_FILE}")));
    }
    std::fs::read(path).map_err(|error| failed(error.to_string()))
}

/// Takes those whom an authority vouches for; and the very certificates that were put there for a
/// host. Those are often authorities themselves, as guides have people make them, and would not
/// pass for a server's.
#[derive(Debug)]
struct Known {
    authorities: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.authorities.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        // Expired, unknown, and of another host are errors of their own.
        let is_other_error =
            matches!(verified, Err(rustls::Error::InvalidCertificate(CertificateError::Other(_))));
        if is_other_error && self.own.iter().any(|own| own == end_entity) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Takes anyone's word for who they are. Only for registries that were called insecure.
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
