//! Who is at the other end: the machine's own authorities, those of `certs.d`, or nobody in
//! particular where a registry was called insecure.
//!
//! `certs.d/HOST[:PORT]/` is Docker's layout: each `*.crt` an authority, each `NAME.cert` with its
//! `NAME.key` a certificate of ours.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use certs::Anyone;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage, RootCertStore,
    SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::Transport;
use crate::http::Http;
use crate::url::Origin;

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
        http: &Http,
        origin: &Origin,
        stream: S,
    ) -> Result<TlsStream<S>, Transport>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let failed = |source| Transport::Tls { host: origin.authority(), source };
        let name = ServerName::try_from(origin.host.clone())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let config = self.config(http, origin)?;
        let connected = TlsConnector::from(config).connect(name, stream).await;
        connected.map_err(|error| explain(origin, error))
    }

    fn config(&self, http: &Http, origin: &Origin) -> Result<Arc<ClientConfig>, Transport> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = configs.get(origin) {
            return Ok(Arc::clone(known));
        }
        let config = Arc::new(self.build(http, origin)?);
        configs.insert(origin.clone(), Arc::clone(&config));
        Ok(config)
    }

    fn build(&self, http: &Http, origin: &Origin) -> Result<ClientConfig, Transport> {
        let failed = |why: String| Transport::Certificates { what: origin.authority(), why };
        let settings = &http.settings;
        let mut known = Certs::default();
        if let Some(dir) = settings.certs_of(origin) {
            known.read_folder(&dir)?;
        }
        // Whom a registry sends us to may be vouched for by the same authority, as with Docker; its
        // other words are about itself.
        for path in &http.own.authorities {
            known.authorities.extend(certs::certificates(path)?);
        }
        let own = http.own_of(origin);
        for (path, key) in own.iter().flat_map(|own| &own.clients) {
            known.clients.push((certs::certificates(path)?, certs::key(key)?));
        }
        // An authority that was put there for this host means that it is to be verified by it.
        let is_insecure = settings.is_insecure(origin) && known.authorities.is_empty();
        let is_insecure = own.and_then(|own| own.skip_verify).unwrap_or(is_insecure);
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(error.to_string()))?;
        let builder = if is_insecure {
            let verifier = Anyone::new(Arc::clone(&self.provider));
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        } else {
            let mut roots = RootCertStore::clone(self.roots());
            for authority in &known.authorities {
                roots.add(authority.clone()).map_err(|error| failed(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(failed("this machine has no certificates of authorities".into()));
            }
            let provider = Arc::clone(&self.provider);
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
            let authorities = verifier.build().map_err(|error| failed(error.to_string()))?;
            let verifier = Known { authorities, own: known.authorities };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        };
        if known.clients.is_empty() {
            return Ok(builder.with_no_client_auth());
        }
        let ours = Ours::new(&self.provider, known.clients);
        let ours = ours.map_err(|error| failed(error.to_string()))?;
        Ok(builder.with_client_cert_resolver(Arc::new(ours)))
    }

    fn roots(&self) -> &Arc<RootCertStore> {
        self.roots.get_or_init(|| Arc::new(certs::machine_authorities()))
    }
}

/// Why a handshake failed.
fn explain(origin: &Origin, error: io::Error) -> Transport {
    let host = origin.authority();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let wrong = match inner {
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            return Transport::Plain { host };
        }
        Some(rustls::Error::InvalidCertificate(wrong)) => wrong,
        _ => return Transport::Tls { host, source: error },
    };
    let why = match wrong {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidForName => {
            format!("certificate is not valid for {}", origin.host)
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            // `DnsName("a.test")`, `IpAddress(127.0.0.1)`
            let names = presented.iter().map(|name| {
                name.split_once('(').map_or(name.as_str(), |(_, rest)| rest.trim_end_matches(')'))
            });
            let names: Vec<_> = names.map(|name| name.trim_matches('"')).collect();
            format!("certificate is valid for {}, not {}", names.join(", "), origin.host)
        }
        CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
        // One that signs itself, as many registries have, and that nobody said is trusted.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "certificate signed by unknown authority".to_owned()
        }
        other => other.to_string(),
    };
    Transport::Certificate { host, why }
}

/// What a folder of `certs.d` holds.
#[derive(Default)]
struct Certs {
    authorities: Vec<CertificateDer<'static>>,
    clients: Vec<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Certs {
    fn read_folder(&mut self, dir: &Path) -> Result<(), Transport> {
        let failed = |path: &Path, why: String| Transport::Certificates {
            what: format!("\"{}\"", path.display()),
            why,
        };
        let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = entries.map_err(|error| failed(dir, error.to_string()))?;
        let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
            if kind == "crt" {
                self.authorities.extend(certs::certificates(&path)?);
            } else if kind == "cert" {
                let key_path = path.with_extension("key");
                if !key_path.exists() {
                    let why = format!("the certificate has no key \"{}\"", key_path.display());
                    return Err(failed(&path, why));
                }
                self.clients.push((certs::certificates(&path)?, certs::key(&key_path)?));
            }
        }
        Ok(())
    }
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

/// Certificates of ours: the server says whom it would take one of.
#[derive(Debug)]
struct Ours(Vec<Arc<CertifiedKey>>);

impl Ours {
    fn new(
        provider: &CryptoProvider,
        clients: Vec<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<Self, rustls::Error> {
        let certified = |(chain, key)| {
            let key = CertifiedKey::new(chain, provider.key_provider.load_private_key(key)?);
            match key.keys_match() {
                // That nothing can be said of it is no reason not to try.
                Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown))
                | Ok(()) => Ok(Arc::new(key)),
                Err(error) => Err(error),
            }
        };
        clients.into_iter().map(certified).collect::<Result<_, _>>().map(Self)
    }
}

impl ResolvesClientCert for Ours {
    fn resolve(&self, wanted: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let mut usable = self.0.iter().filter(|one| one.key.choose_scheme(schemes).is_some());
        let is_wanted = |one: &&Arc<CertifiedKey>| {
            one.cert.iter().any(|cert| issuer(cert).is_some_and(|issuer| wanted.contains(&issuer)))
        };
        let first = usable.clone().next();
        usable.find(is_wanted).or(first).cloned()
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Who vouches for a certificate: its name in DER (RFC 5280, 4.1).
fn issuer(certificate: &[u8]) -> Option<&[u8]> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    // The version may be left out; a number and an algorithm come before the issuer.
    if fields.first() == Some(&0xa0) {
        fields = element(fields)?.2;
    }
    let (_, _, fields) = element(fields)?;
    let (_, _, fields) = element(fields)?;
    element(fields).map(|(whole, _, _)| whole)
}

/// The first element of a text in DER: the whole of it, what it holds, and what comes after.
fn element(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (&first, rest) = text.get(1..)?.split_first()?;
    let (n_digits, len) = match first {
        0..=0x7f => (0, usize::from(first)),
        0x81..=0x84 => {
            let digits = rest.get(..usize::from(first - 0x80))?;
            (digits.len(), digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)))
        }
        _ => return None,
    };
    let start = 2 + n_digits;
    let end = start.checked_add(len)?;
    Some((text.get(..end)?, text.get(start..end)?, text.get(end..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_vouches() {
        // A certificate's shape, with names of one byte.
        let fields =
            [&[0xa0, 3, 2, 1, 2][..], &[2, 1, 7], &[0x30, 0], &[0x30, 1, 9], &[0x30, 0]].concat();
        for fields in [&fields[..], &fields[5..]] {
            let mut tbs = vec![0x30, 0x81, fields.len() as u8];
            tbs.extend_from_slice(fields);
            let mut certificate = vec![0x30, tbs.len() as u8];
            certificate.extend_from_slice(&tbs);
            assert_eq!(issuer(&certificate), Some(&[0x30, 1, 9][..]));
            for end in 0..certificate.len() {
                assert_eq!(issuer(&certificate[..end]), None);
            }
        }
        assert_eq!(issuer(&[0x30, 0x85, 1, 1, 1, 1, 1]), None);
    }
}
