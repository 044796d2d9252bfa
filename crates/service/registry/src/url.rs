//! Where requests go: origins, and the addresses that registries send us to.

use std::fmt;
use std::net::IpAddr;

/// With TLS or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    /// Without.
    Http,
    /// With.
    Https,
}

impl Scheme {
    const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Who is spoken to: what credentials are bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    /// A name in lower case, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// The origin of `HOST[:PORT]`.
    pub(crate) fn of(scheme: Scheme, authority: &str) -> Result<Self, BadUrl> {
        let bad = || BadUrl(shown(authority));
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
                match rest {
                    "" => (host, None),
                    rest => (host, Some(rest.strip_prefix(':').ok_or_else(bad)?)),
                }
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            None => scheme.port(),
            Some(port) => port.parse().map_err(|_| bad())?,
        };
        let is_host = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
        if host.is_empty() || port == 0 || !host.bytes().all(is_host) {
            return Err(bad());
        }
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port })
    }

    /// `HOST`, and `:PORT` where it is not the scheme's own.
    pub(crate) fn authority(&self) -> String {
        if self.port == self.scheme.port() { self.bracketed() } else { self.with_port() }
    }

    /// `HOST:PORT`.
    pub(crate) fn with_port(&self) -> String {
        format!("{}:{}", self.bracketed(), self.port)
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// The host, where it is an address and no name.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether this is the machine itself, by name or address.
    pub(crate) fn is_loopback(&self) -> bool {
        match self.ip() {
            Some(ip) => ip.to_canonical().is_loopback(),
            None => is_localhost(&self.host),
        }
    }

    pub(crate) fn url(&self, path: impl Into<String>) -> Url {
        Url { origin: self.clone(), path: path.into() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority())
    }
}

/// `localhost`, and what is below it (RFC 6761).
pub(crate) fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
}

/// A text that is no address of HTTP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid address")]
pub struct BadUrl(String);

/// The start of a stranger's text, without what may be secret in it.
fn shown(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let authority = rest.split('/').next().unwrap_or_default();
    let rest = match authority.rfind('@') {
        Some(at) => &rest[at + 1..],
        None => rest,
    };
    let separator = if scheme.is_empty() { "" } else { "://" };
    let shown = format!("{scheme}{separator}{rest}");
    // It goes to a terminal, and on one line.
    shown.chars().filter(|char| !char.is_control()).take(200).collect()
}

/// An absolute address of HTTP, without user and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) origin: Origin,
    /// With the query; starts with `/`.
    pub(crate) path: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, BadUrl> {
        let bad = || BadUrl(shown(text));
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(bad()),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        // A user in an address would be a credential that nobody gave to us.
        if authority.contains('@') {
            return Err(bad());
        }
        let origin = Origin::of(scheme, authority).map_err(|_| bad())?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if !path.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad());
        }
        Ok(Self { origin, path })
    }

    /// The address that `location`, said by this one, means (RFC 3986, 5.2).
    pub(crate) fn join(&self, location: &str) -> Result<Self, BadUrl> {
        let scheme = self.origin.scheme.name();
        let absolute = if location.contains("://") && !location.starts_with(['/', '?']) {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else {
            let path = self.path.split('?').next().unwrap_or_default();
            let base = match location.as_bytes().first() {
                Some(b'/') => "",
                Some(b'?') | None => path,
                Some(_) => &path[..=path.rfind('/').unwrap_or(0)],
            };
            format!("{scheme}://{}{base}{location}", self.origin.with_port())
        };
        Self::parse(&absolute)
    }

    /// The same with one key more in its query.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(&encode(key));
        self.path.push('=');
        self.path.push_str(&encode(value));
        self
    }
}

/// Without its query, which may hold a signature that is as good as a password.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path.split('?').next().unwrap_or_default())
    }
}

/// Escapes what has a meaning in a query.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (text, want) in [
            ("https://Registry.Example/v2/", "https://registry.example/v2/"),
            ("http://localhost:5000", "http://localhost:5000/"),
            ("https://[::1]:443/a?b=c#d", "https://[::1]/a"),
            ("https://a?b", "https://a/"),
        ] {
            assert_eq!(Url::parse(text).unwrap().to_string(), want, "{text}");
        }
        for bad in [
            "",
            "ftp://a/",
            "https://",
            "https://user:secret@a/",
            "https://a:x/",
            "https://a:0/",
            "https://a:70000/",
            "https://[a]/",
            "https://[::1/",
            "https://[::1]x/",
            "https://a b/",
            "https://a/b c",
            "https://a/\r\nX: y",
            "https://ä/",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_said_of_a_bad_address_holds_no_secret() {
        let said = Url::parse("https://user:secret@a/b?sig=secret").unwrap_err().to_string();
        assert_eq!(said, "`https://a/b` is not a valid address");
        let said = Url::parse("https://a\r\u{1b}[2J").unwrap_err().to_string();
        assert_eq!(said, "`https://a[2J` is not a valid address");
    }

    #[test]
    fn locations_are_relative_to_where_they_were_said() {
        let base = Url::parse("http://r:5000/v2/x/blobs/uploads/?a=b").unwrap();
        for (location, want) in [
            ("/v2/y", "http://r:5000/v2/y"),
            ("z", "http://r:5000/v2/x/blobs/uploads/z"),
            ("?q=1", "http://r:5000/v2/x/blobs/uploads/"),
            ("//other/p", "http://other/p"),
            ("https://other:8/p?u=http://x", "https://other:8/p"),
            ("/p?u=http://x", "http://r:5000/p"),
        ] {
            assert_eq!(base.join(location).unwrap().to_string(), want, "{location}");
        }
        assert_eq!(base.join("?q=1").unwrap().path, "/v2/x/blobs/uploads/?q=1");
        assert!(base.join("ftp://x/").is_err() && base.join("http://u@x/").is_err());
    }

    #[test]
    fn queries_are_escaped() {
        let url = Url::parse("https://a/t").unwrap();
        let url = url.with("scope", "repository:a/b:pull,push").with("x", "é&=");
        assert_eq!(url.path, "/t?scope=repository%3Aa%2Fb%3Apull%2Cpush&x=%C3%A9%26%3D");
    }

    #[test]
    fn the_machine_itself() {
        let is = |host| Origin::of(Scheme::Http, host).unwrap().is_loopback();
        for host in
            ["localhost:5000", "LOCALHOST", "127.0.0.1", "127.9.9.9:1", "[::1]", "a.localhost"]
        {
            assert!(is(host), "{host}");
        }
        for host in ["localhost.example", "10.0.0.1", "mylocalhost", "0.0.0.0", "127.0.0.1.example"]
        {
            assert!(!is(host), "{host}");
        }
    }
}
