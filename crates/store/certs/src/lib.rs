//! Whom to believe: certificates and keys that somebody has put into files (PEM, RFC 7468), the
//! machine's own authorities, or anyone.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

mod anyone;

pub use anyone::Anyone;

/// A file is not larger, in bytes: whoever names one may have named anything.
const MAX_FILE: u64 = 4 << 20;

/// A file that is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("\"{path}\": {why}", path = path.display())]
pub struct Error {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// It cannot be read.
    #[error("{0}")]
    Read(io::Error),
    /// It has so many bytes.
    #[error("{0} bytes, more than {MAX_FILE}")]
    Large(u64),
    /// Nothing in it is a certificate.
    #[error("it holds no certificate")]
    NoCertificate,
    /// A certificate in it is broken.
    #[error("it holds no certificate: {0}")]
    Certificate(pem::Error),
    /// There is no key in it, or a broken one.
    #[error("it holds no private key: {0}")]
    Key(pem::Error),
}

/// The certificates in a file, in their order: one at least.
///
/// # Errors
///
/// The file cannot be read, is larger than 4 MiB, or holds none, or one that is broken.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |why| Error { path: path.to_owned(), why };
    let found = CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if found.is_empty() => Err(failed(Why::NoCertificate)),
        found => found.map_err(|error| failed(Why::Certificate(error))),
    }
}

/// The first private key in a file.
///
/// # Errors
///
/// The file cannot be read, is larger than 4 MiB, or holds none.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|error| Error { path: path.to_owned(), why: Why::Key(error) })
}

/// The authorities that this machine believes. One that cannot be read is one that verifies nothing.
#[must_use]
pub fn machine_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |why| Error { path: path.to_owned(), why };
    let size = std::fs::metadata(path).map_err(|error| failed(Why::Read(error)))?.len();
    if size > MAX_FILE {
        return Err(failed(Why::Large(size)));
    }
    std::fs::read(path).map_err(|error| failed(Why::Read(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_what_it_should_be_is_named() {
        let path = std::env::temp_dir().join(format!("dhow-certs-{}", std::process::id()));
        let said = |text: Option<&str>| {
            _ = std::fs::remove_file(&path);
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let both =
                [certificates(&path).unwrap_err().to_string(), key(&path).unwrap_err().to_string()];
            let name = format!("\"{}\": ", path.display());
            both.map(|one| one.strip_prefix(&name).unwrap().to_owned())
        };
        assert!(said(None).iter().all(|one| one.contains("No such file or directory")));
        let [certificate, key] = said(Some("hello\n"));
        assert_eq!(certificate, "it holds no certificate");
        assert!(key.starts_with("it holds no private key: "), "{key}");
        let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        assert!(said(Some(broken))[0].starts_with("it holds no certificate: "));
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(MAX_FILE + 1).unwrap();
        assert!(matches!(certificates(&path).unwrap_err().why, Why::Large(_)));
        std::fs::remove_file(&path).unwrap();
    }
}
