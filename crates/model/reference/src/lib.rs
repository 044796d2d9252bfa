//! Names of images: parsing and printing of Docker references.
//!
//! The grammar is the one of the distribution project, which every client of Docker follows:
//!
//! ```text
//! reference := [domain "/"] component ("/" component)* [":" tag] ["@" digest]
//! domain    := host [":" port]            host may be an IPv6 address in brackets
//! component := [a-z0-9]+ (("." | "_" | "__" | "-"+) [a-z0-9]+)*
//! tag       := [A-Za-z0-9_] [A-Za-z0-9_.-]{0,127}
//! ```
//!
//! What people write is shorter than what it means: `debian` is
//! `docker.io/library/debian`. The first part is a domain only if it holds a dot, a colon or an
//! upper-case letter, or is `localhost`. [`Reference`] holds the whole name and prints both.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use oci::Digest;

/// The registry of names that have no domain.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag of names that have none.
pub const DEFAULT_TAG: &str = "latest";

/// What the first part of a name on [`DEFAULT_DOMAIN`] is when there is only one.
const OFFICIAL: &str = "library/";
/// The longest `domain/path`, in bytes.
const MAX_NAME: usize = 255;
/// The longest tag, in bytes.
const MAX_TAG: usize = 128;

/// Why a text is not a reference, in the words that users of Docker know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// It would, in lower case.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// More than 255 bytes.
    #[error("repository name must not be more than {MAX_NAME} characters")]
    TooLong,
    /// It looks like an image's id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    /// The part after `@`.
    #[error("invalid reference format: {0}")]
    Digest(oci::digest::ParseError),
}

/// The name of an image, in full.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry, perhaps with a port.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository's name at the registry: `library/debian`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if one was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Domain and path: `docker.io/library/debian`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// Domain and path as short as people write them: `debian`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        // `library/a/b` would come back as another name without its first part.
        let is_short = |rest: &&str| !rest.contains('/') && !looks_like_id(rest);
        match self.path.strip_prefix(OFFICIAL).filter(is_short) {
            Some(short) => short.into(),
            // `docker.io/x.io/a` would come back as `a` of another registry.
            None if self
                .path
                .split_once('/')
                .is_some_and(|(first, _)| looks_like_domain(first)) =>
            {
                self.name()
            }
            None => self.path.clone(),
        }
    }

    /// The whole reference as short as people write it: `debian:12`.
    pub fn familiar(&self) -> String {
        self.with_name(self.familiar_name())
    }

    /// The same with the tag `latest`, unless it has a tag or a digest.
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.into());
        }
        self
    }

    /// The same without tag and digest, but with this tag.
    pub fn with_tag(mut self, tag: &str) -> Result<Self, Error> {
        if !is_tag(tag) {
            return Err(Error::Format);
        }
        self.tag = Some(tag.into());
        self.digest = None;
        Ok(self)
    }

    /// The same with this digest and without the tag.
    pub fn with_digest(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self.tag = None;
        self
    }

    /// The same without the digest.
    pub fn without_digest(mut self) -> Self {
        self.digest = None;
        self
    }

    fn with_name(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

/// Prints it in full: `docker.io/library/debian:12`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_name(self.name()))
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if looks_like_id(text) {
            return Err(Error::LooksLikeId(text.into()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(parse_digest(digest)?)),
            None => (text, None),
        };
        let (domain, rest) = split_domain(rest);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        let path = match domain {
            DEFAULT_DOMAIN if !path.contains('/') => format!("{OFFICIAL}{path}"),
            _ => path.to_owned(),
        };
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            let lower_would_do = is_path(&path.to_ascii_lowercase());
            return Err(if lower_would_do { Error::Uppercase(path) } else { Error::Format });
        }
        if !is_domain(domain) || !is_path(&path) || !tag.is_none_or(is_tag) {
            return Err(Error::Format);
        }
        if domain.len() + 1 + path.len() > MAX_NAME {
            return Err(Error::TooLong);
        }
        Ok(Self { domain: domain.into(), path, tag: tag.map(str::to_owned), digest })
    }
}

/// Splits the registry from the rest, where there is one.
fn split_domain(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((first, rest)) if looks_like_domain(first) => match first {
            "index.docker.io" => (DEFAULT_DOMAIN, rest),
            _ => (first, rest),
        },
        _ => (DEFAULT_DOMAIN, text),
    }
}

fn looks_like_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn looks_like_domain(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                let is_ip = !address.is_empty()
                    && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
                match (is_ip, port) {
                    (false, _) => return false,
                    (true, "") => return true,
                    (true, port) => match port.strip_prefix(':') {
                        Some(port) => return is_port(port),
                        None => return false,
                    },
                }
            }
            None => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    host.split('.').all(is_domain_component) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_domain_component(text: &str) -> bool {
    let inside = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    inside && !text.is_empty() && !text.starts_with('-') && !text.ends_with('-')
}

fn is_path(text: &str) -> bool {
    text.split('/').all(is_path_component)
}

fn is_path_component(text: &str) -> bool {
    let is_word = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9');
    let mut words = text.split(|c: char| c.is_ascii() && is_word(c as u8));
    let ends_are_words =
        text.bytes().next().is_some_and(is_word) && text.bytes().next_back().is_some_and(is_word);
    // Between two letters or digits: nothing, or one separator.
    ends_are_words
        && words.all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

/// Whether this can be a tag.
pub fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
}

fn parse_digest(text: &str) -> Result<Digest, Error> {
    text.parse().map_err(|error| match error {
        oci::digest::ParseError::Form(_) => Error::Format,
        error => Error::Digest(error),
    })
}

#[cfg(test)]
mod tests;
