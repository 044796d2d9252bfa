//! What can go wrong, in the words that users of Docker know.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Method;
use oci::Digest;

use crate::url::BadUrl;

/// What kind of mistake it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// There is no such image, or none for those who may not see it.
    NotFound,
    /// The registry wants to know who asks, or does not let them.
    Denied,
    /// What was asked for, or what came, makes no sense.
    Invalid,
    /// It may go better later.
    Unavailable,
    /// Something broke.
    Internal,
}

/// Why a registry did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request got no answer.
    #[error("{} \"{url}\"", as_go(.method))]
    Request {
        /// What was tried.
        method: Method,
        /// Where, without its query.
        url: String,
        /// Why.
        source: Transport,
    },
    /// The registry said no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No such repository, or not for those who ask.
    #[error(
        "pull access denied for {name}, repository does not exist or may require 'docker login'"
    )]
    PullDenied {
        /// The repository, short.
        name: String,
        /// What the registry said.
        source: Refused,
    },
    /// There is a repository, but it has no such tag or digest.
    #[error("manifest for {reference} not found")]
    ManifestUnknown {
        /// The image, short.
        reference: String,
        /// What the registry said.
        source: Refused,
    },
    /// There is no such repository.
    #[error("repository {name} not found")]
    NameUnknown {
        /// The repository, short.
        name: String,
        /// What the registry said.
        source: Refused,
    },
    /// A registry wants a name and a password, and none are known.
    #[error(
        "no basic auth credentials: {host} asks for a name and a password: use 'docker login {host}'"
    )]
    NoCredentials {
        /// The registry.
        host: String,
    },
    /// The name and password are known, but not for whom the registry wants us to give them to.
    #[error(
        "the registry {host} wants its credentials sent to {realm}, which is not part of it: allow \
         it with \"token-servers\" in /etc/dhow/daemon.json"
    )]
    ForeignTokenServer {
        /// The registry.
        host: String,
        /// Its token server.
        realm: String,
    },
    /// A registry on the network wants tokens fetched without TLS, or from a bare address.
    #[error("the registry {host} wants tokens from {realm}, which is not safe to ask")]
    UnsafeTokenServer {
        /// The registry.
        host: String,
        /// Its token server.
        realm: String,
    },
    /// A token server's answer holds no token.
    #[error("authorization server did not include a token in the response ({realm})")]
    NoToken {
        /// The token server.
        realm: String,
    },
    /// From TLS to no TLS.
    #[error("refused the redirection of \"{from}\" to \"{to}\": it gives up TLS")]
    Downgrade {
        /// From where.
        from: String,
        /// To where.
        to: String,
    },
    /// A header that is to be sent cannot be one.
    #[error("the value for the header {0} is none")]
    Header(String),
    /// A circle, perhaps.
    #[error("Get \"{0}\": stopped after 10 redirects")]
    Redirects(String),
    /// A redirection or an upload's place that is no address.
    #[error("{what}")]
    Location {
        /// What it was for.
        what: String,
        /// What is wrong with it.
        source: BadUrl,
    },
    /// The registry does not keep to the protocol.
    #[error("\"{url}\": {why}")]
    Protocol {
        /// Where, without its query.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// What was asked for from some byte on came from another, or not at all.
    #[error("\"{url}\": {why}")]
    Range {
        /// Where, without its query.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A document is not what it should be.
    #[error("{what}")]
    Format {
        /// What it should be.
        what: String,
        /// What is wrong.
        source: oci::image::Error,
    },
    /// A manifest of before 2016.
    #[error(
        "{0}: the image has a manifest of version 2, schema 1, which is no longer supported: it has \
         to be pushed again by a current tool"
    )]
    Schema1(String),
    /// An index without an image that runs here.
    #[error("no matching manifest for {wanted} in the manifest list entries of {reference}")]
    NoPlatform {
        /// The image, short.
        reference: String,
        /// `OS/ARCHITECTURE[/VARIANT]`.
        wanted: String,
    },
    /// Indexes in indexes.
    #[error("{0}: indexes are nested too deeply")]
    TooDeep(String),
    /// The bytes are others than promised.
    #[error("filesystem layer verification failed for digest {expected}: it has digest {found}")]
    WrongDigest {
        /// What was promised.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// The bytes of a manifest are others than promised.
    #[error("manifest verification failed for digest {expected}: it has digest {found}")]
    WrongManifest {
        /// What was promised.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// More or fewer bytes than promised.
    #[error("{digest} has {found} bytes, expected {expected}")]
    WrongSize {
        /// Of what.
        digest: Digest,
        /// What was promised.
        expected: u64,
        /// What came, as far as it was read.
        found: u64,
    },
    /// What comes cannot be written.
    #[error("write {digest}")]
    Write {
        /// What.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// What is to be sent cannot be read.
    #[error("read {digest}")]
    Read {
        /// What.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// A file of the configuration.
    #[error("read \"{path}\"", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something in the configuration.
    #[error("{what}: {why}")]
    Config {
        /// Where.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// A program that keeps credentials.
    #[error("error getting credentials - {program}: {why}")]
    Helper {
        /// Its name.
        program: String,
        /// What it said, or why it did not run.
        why: String,
    },
}

/// `Get`, as the errors of Go's client begin, which people search for.
fn as_go(method: &Method) -> String {
    let (first, rest) = method.as_str().split_at(1);
    format!("{first}{}", rest.to_ascii_lowercase())
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Transport {
    /// The name means nothing.
    #[error("dial tcp: lookup {host}")]
    Lookup {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody there.
    #[error("dial tcp {address}")]
    Dial {
        /// The last address that was tried.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Nobody there for as long as `dial_timeout` says.
    #[error("dial tcp {host}: no connection within {} ms", .patience.as_millis())]
    DialTimeout {
        /// Who.
        host: String,
        /// How long it may take.
        patience: Duration,
    },
    /// No TLS, or not with whom it should be.
    #[error("tls: {host}")]
    Tls {
        /// Who.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// With whom it should not be: in the words of Go's `crypto/x509`, which people search for.
    #[error("tls: failed to verify certificate: x509: {why}")]
    Certificate {
        /// Who.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// What answers speaks no TLS.
    #[error("http: server gave HTTP response to HTTPS client")]
    Plain {
        /// Who.
        host: String,
    },
    /// The proxy.
    #[error("proxy {proxy}: {why}")]
    Proxy {
        /// Which.
        proxy: String,
        /// What is wrong.
        why: String,
    },
    /// The connection broke, or what came is no HTTP.
    #[error("the connection broke")]
    Http(#[source] hyper::Error),
    /// Nothing came for this long.
    #[error("no answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// Something came, too little to wait for the rest.
    #[error("no more than {n_bytes} bytes within {} s", .time.as_secs_f32())]
    TooSlow {
        /// What came.
        n_bytes: u64,
        /// How long it was waited for.
        time: Duration,
    },
    /// The request cannot be written as HTTP.
    #[error("not a request of HTTP")]
    Invalid(#[source] hyper::http::Error),
    /// Certificates.
    #[error("{what}: {why}")]
    Certificates {
        /// Which.
        what: String,
        /// What is wrong.
        why: String,
    },
}

impl From<certs::Error> for Transport {
    fn from(error: certs::Error) -> Self {
        let certs::Error { path, why } = error;
        Self::Certificates { what: format!("\"{}\"", path.display()), why: why.to_string() }
    }
}

impl Transport {
    /// Whether the same may work a moment later, where it has not worked before.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Http(_) | Self::TimedOut(_) | Self::TooSlow { .. })
    }

    /// Whether the same may work a moment later, where it has worked before.
    pub(crate) fn is_outage(&self) -> bool {
        self.is_passing()
            || matches!(self, Self::Lookup { .. } | Self::Dial { .. } | Self::DialTimeout { .. })
    }
}

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// HTTP's number.
    pub status: u16,
    /// The registry's own: `MANIFEST_UNKNOWN` and such; empty where it gave none.
    pub code: String,
    /// The registry's words.
    pub message: String,
    /// When to ask again.
    pub retry_after: Option<Duration>,
    /// What the registry says of its limits (`RateLimit-Limit` and such), in words.
    pub limits: Option<Box<str>>,
}

impl std::error::Error for Refused {}

/// As Docker prints it: `manifest unknown: MESSAGE`; and of limits, what is known of them.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.to_ascii_lowercase().replace('_', " ");
        match (code.as_str(), self.message.as_str()) {
            ("", message) => f.write_str(message)?,
            (code, "") => write!(f, "{code}: {code}")?,
            (code, message) => write!(f, "{code}: {message}")?,
        }
        let again = self.retry_after.filter(|time| !time.is_zero() && self.status == 429);
        let again = again.map(|time| format!("try again in {}", in_words(time)));
        let known: Vec<String> =
            [self.limits.as_deref().map(str::to_owned), again].into_iter().flatten().collect();
        if known.is_empty() { Ok(()) } else { write!(f, " ({})", known.join("; ")) }
    }
}

/// `90 s`, `5 min`, `6 h`: no finer than it matters.
pub(crate) fn in_words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=99 => format!("{seconds} s"),
        seconds @ 100..6000 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h", seconds.div_ceil(3600)),
    }
}

impl Error {
    /// What kind of mistake it is.
    pub fn class(&self) -> Class {
        match self {
            Self::PullDenied { .. }
            | Self::ManifestUnknown { .. }
            | Self::NameUnknown { .. }
            | Self::NoPlatform { .. } => Class::NotFound,
            Self::Refused(refused) => match refused.status {
                401 | 403 => Class::Denied,
                404 => Class::NotFound,
                429 | 500.. => Class::Unavailable,
                _ => Class::Invalid,
            },
            Self::NoCredentials { .. }
            | Self::ForeignTokenServer { .. }
            | Self::UnsafeTokenServer { .. } => Class::Denied,
            Self::Request { source, .. } => match source {
                Transport::Invalid(_) | Transport::Certificates { .. } => Class::Invalid,
                _ => Class::Unavailable,
            },
            Self::Write { .. } | Self::Read { .. } | Self::File { .. } | Self::Helper { .. } => {
                Class::Internal
            }
            _ => Class::Invalid,
        }
    }

    /// Whether the registry does not have it.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused(Refused { status: 404, .. }))
    }

    /// For what was asked to pull: Docker's words for the registry's code.
    pub(crate) fn pulling(self, reference: &reference::Reference) -> Self {
        let Self::Refused(source) = self else { return self };
        let name = || reference.familiar_name();
        match (source.code.as_str(), source.status) {
            ("DENIED", _) | ("", 403) => Self::PullDenied { name: name(), source },
            ("NAME_UNKNOWN", _) => Self::NameUnknown { name: name(), source },
            ("MANIFEST_UNKNOWN", _) | (_, 404) => {
                Self::ManifestUnknown { reference: reference.familiar(), source }
            }
            _ => Self::Refused(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str, message: &str) -> Refused {
        Refused {
            status,
            code: code.into(),
            message: message.into(),
            retry_after: None,
            limits: None,
        }
    }

    fn chain(error: &dyn std::error::Error) -> String {
        let source = error.source().map(chain);
        source.map_or(error.to_string(), |source| format!("{error}: {source}"))
    }

    #[test]
    fn dockers_words() {
        let image: reference::Reference = "debian:nope".parse().unwrap();
        let said = |refused| chain(&Error::Refused(refused).pulling(&image));
        for (refused, want) in [
            (
                refused(404, "MANIFEST_UNKNOWN", "manifest unknown"),
                "manifest for debian:nope not found: manifest unknown: manifest unknown",
            ),
            (
                refused(401, "DENIED", "requested access to the resource is denied"),
                "pull access denied for debian, repository does not exist or may require 'docker \
                 login': denied: requested access to the resource is denied",
            ),
            (
                refused(404, "NAME_UNKNOWN", "repository name not known to registry"),
                "repository debian not found: name unknown: repository name not known to registry",
            ),
            (
                refused(429, "TOOMANYREQUESTS", "You have reached your pull rate limit."),
                "toomanyrequests: You have reached your pull rate limit.",
            ),
            (refused(500, "UNKNOWN", ""), "unknown: unknown"),
        ] {
            assert_eq!(said(refused), want);
        }
    }
}
