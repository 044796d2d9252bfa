//! Who vouches for what the proxy says it is: an authority of its own, and certificates of it (RFC 5280).
//!
//! The keys are in memory alone, and go with the authority.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use docker::timestamp::Timestamp;
use oci::Digest;
use ring::error::Unspecified;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::ServerConfig;
use rustls::crypto::ring as provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::der::{INTEGER, OCTETS, SET, TEXT, TIME, TRUE, bits, element, oid, sequence};

/// What the authority is called.
const NAME: &str = "dhow build proxy";
/// Clocks of programs may be so far behind.
const BEFORE: Duration = Duration::from_hours(1);
/// No step runs longer.
const AFTER: Duration = Duration::from_hours(30 * 24);
/// Of so many hosts the certificates are remembered.
const MAX_HOSTS: usize = 1024;
/// A longer name has no place in a subject (RFC 5280, `ub-common-name`); the alternative names count anyway.
const MAX_COMMON_NAME: usize = 64;
/// A line of PEM (RFC 7468).
const PEM_LINE: usize = 64;

const ECDSA_WITH_SHA256: [u32; 7] = [1, 2, 840, 10045, 4, 3, 2];
const EC_PUBLIC_KEY: [u32; 6] = [1, 2, 840, 10045, 2, 1];
const P256: [u32; 7] = [1, 2, 840, 10045, 3, 1, 7];
const COMMON_NAME: [u32; 4] = [2, 5, 4, 3];
const SUBJECT_KEY: [u32; 4] = [2, 5, 29, 14];
const KEY_USAGE: [u32; 4] = [2, 5, 29, 15];
const ALTERNATIVE_NAMES: [u32; 4] = [2, 5, 29, 17];
const BASIC_CONSTRAINTS: [u32; 4] = [2, 5, 29, 19];
const AUTHORITY_KEY: [u32; 4] = [2, 5, 29, 35];
const EXTENDED_USAGE: [u32; 4] = [2, 5, 29, 37];
const SERVER: [u32; 9] = [1, 3, 6, 1, 5, 5, 7, 3, 1];

/// A certificate or a key could not be made.
#[derive(Debug, thiserror::Error)]
#[error("make a certificate for {of}: {why}")]
pub struct MakeError {
    of: String,
    why: String,
}

/// An authority, and the certificates that it has given out.
pub struct Authority {
    random: SystemRandom,
    key: EcdsaKeyPair,
    certificate: CertificateDer<'static>,
    /// The key of all certificates: who has it is this process.
    leaf: EcdsaKeyPair,
    leaf_pkcs8: Vec<u8>,
    /// By hosts.
    known: Mutex<HashMap<String, Arc<ServerConfig>>>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes one, with new keys.
    ///
    /// # Errors
    ///
    /// The kernel gives no random bytes.
    pub fn new() -> Result<Self, MakeError> {
        let failed = |why: String| MakeError { of: NAME.to_owned(), why };
        let random = SystemRandom::new();
        let (key, _) = new_key(&random).map_err(failed)?;
        let (leaf, leaf_pkcs8) = new_key(&random).map_err(failed)?;
        let usage = bits(2, &[0x04]);
        let constraints = sequence(&[&TRUE, &element(INTEGER, &[0])]);
        let subject_key = element(OCTETS, &key_id(&key));
        let extensions = [
            extension(&BASIC_CONSTRAINTS, true, &constraints),
            // It signs certificates.
            extension(&KEY_USAGE, true, &usage),
            extension(&SUBJECT_KEY, false, &subject_key),
        ];
        let certificate = Unsigned { subject: NAME, of: &key, extensions: &extensions };
        let certificate =
            certificate.sign(&key, &random).map_err(|error| failed(error.to_string()))?;
        let known = Mutex::default();
        Ok(Self { random, key, certificate, leaf, leaf_pkcs8, known })
    }

    /// Its certificate, as files of authorities have it.
    pub fn pem(&self) -> String {
        let text = BASE64.encode(&self.certificate);
        let lines = text.as_bytes().chunks(PEM_LINE);
        let lines: String =
            lines.map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect();
        format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
    }

    /// What answers as this host.
    pub(crate) fn server(&self, host: &str) -> Result<Arc<ServerConfig>, MakeError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = known.get(host) {
            return Ok(Arc::clone(config));
        }
        let failed = |why: String| MakeError { of: host.to_owned(), why };
        let certificate = self.certify(host).map_err(|error| failed(error.to_string()))?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.leaf_pkcs8.clone()));
        let config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                let chain = vec![certificate, self.certificate.clone()];
                builder.with_no_client_auth().with_single_cert(chain, key)
            });
        let mut config = config.map_err(|error| failed(error.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        if known.len() >= MAX_HOSTS {
            known.clear();
        }
        known.insert(host.to_owned(), Arc::clone(&config));
        Ok(config)
    }

    /// A certificate for a host.
    fn certify(&self, host: &str) -> Result<CertificateDer<'static>, Unspecified> {
        let name = match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => element(0x87, &address.octets()),
            Ok(IpAddr::V6(address)) => element(0x87, &address.octets()),
            Err(_) => element(0x82, host.as_bytes()),
        };
        let authority = sequence(&[&element(0x80, &key_id(&self.key))]);
        let extensions = [
            extension(&BASIC_CONSTRAINTS, true, &sequence(&[])),
            // It signs handshakes.
            extension(&KEY_USAGE, true, &bits(7, &[0x80])),
            extension(&EXTENDED_USAGE, false, &sequence(&[&oid(&SERVER)])),
            extension(&ALTERNATIVE_NAMES, false, &sequence(&[&name])),
            extension(&SUBJECT_KEY, false, &element(OCTETS, &key_id(&self.leaf))),
            extension(&AUTHORITY_KEY, false, &authority),
        ];
        let subject = if host.len() <= MAX_COMMON_NAME { host } else { "a host" };
        let certificate = Unsigned { subject, of: &self.leaf, extensions: &extensions };
        certificate.sign(&self.key, &self.random)
    }
}

/// A new key, and it in PKCS #8.
fn new_key(random: &SystemRandom) -> Result<(EcdsaKeyPair, Vec<u8>), String> {
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let bytes = EcdsaKeyPair::generate_pkcs8(algorithm, random).map_err(|why| why.to_string())?;
    let key = EcdsaKeyPair::from_pkcs8(algorithm, bytes.as_ref(), random);
    Ok((key.map_err(|why| why.to_string())?, bytes.as_ref().to_vec()))
}

/// What a key is found by: the start of a digest of it (RFC 7093, 2).
fn key_id(key: &EcdsaKeyPair) -> Vec<u8> {
    let digest = Digest::sha256(key.public_key().as_ref());
    let hex = digest.hex().as_bytes();
    data_encoding::HEXLOWER.decode(&hex[..40]).unwrap_or_default()
}

fn extension(id: &[u32], is_critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if is_critical { &TRUE[..] } else { &[] };
    sequence(&[&oid(id), critical, &element(OCTETS, value)])
}

/// A certificate of the authority's that nobody has signed yet.
struct Unsigned<'a> {
    subject: &'a str,
    /// Whose key it is for.
    of: &'a EcdsaKeyPair,
    extensions: &'a [Vec<u8>],
}

impl Unsigned<'_> {
    fn sign(
        &self,
        key: &EcdsaKeyPair,
        random: &SystemRandom,
    ) -> Result<CertificateDer<'static>, Unspecified> {
        let algorithm = sequence(&[&oid(&ECDSA_WITH_SHA256)]);
        let mut serial = [0; 16];
        random.fill(&mut serial)?;
        // A number above 0, whose first byte is not left out.
        serial[0] = serial[0] & 0x7f | 0x40;
        let now = SystemTime::now();
        let validity = sequence(&[&time(now - BEFORE), &time(now + AFTER)]);
        let key_kind = sequence(&[&oid(&EC_PUBLIC_KEY), &oid(&P256)]);
        let public_key = sequence(&[&key_kind, &bits(0, self.of.public_key().as_ref())]);
        let to_be_signed = sequence(&[
            // Version 3.
            &element(0xa0, &element(INTEGER, &[2])),
            &element(INTEGER, &serial),
            &algorithm,
            &name(NAME),
            &validity,
            &name(self.subject),
            &public_key,
            &element(0xa3, &element(crate::der::SEQUENCE, &self.extensions.concat())),
        ]);
        let signature = key.sign(random, &to_be_signed)?;
        let whole = sequence(&[&to_be_signed, &algorithm, &bits(0, signature.as_ref())]);
        Ok(CertificateDer::from(whole))
    }
}

fn name(text: &str) -> Vec<u8> {
    let one = sequence(&[&oid(&COMMON_NAME), &element(TEXT, text.as_bytes())]);
    sequence(&[&element(SET, &one)])
}

/// `YYMMDDhhmmssZ`, which is right until 2049.
fn time(time: SystemTime) -> Vec<u8> {
    let time = Timestamp { nanos: 0, ..Timestamp::from(time) };
    let digits = time.to_string().replace(|c: char| !c.is_ascii_digit(), "");
    element(TIME, format!("{}Z", digits.get(2..).unwrap_or_default()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_digits_for_a_year() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_500);
        assert_eq!(time(at)[2..], *b"231114221320Z");
    }

    #[test]
    fn certificates_are_remembered_and_bounded() {
        let authority = Authority::new().unwrap();
        let first = authority.server("a.test").unwrap();
        assert!(Arc::ptr_eq(&first, &authority.server("a.test").unwrap()));
        for n in 0..=MAX_HOSTS {
            authority.server(&format!("h{n}.test")).unwrap();
        }
        assert!(authority.known.lock().unwrap().len() <= MAX_HOSTS);
        assert!(authority.server(&"long.".repeat(40)).is_ok());
    }
}
