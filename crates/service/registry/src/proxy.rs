//! Proxies, as the environment names them: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, read the
//! way that Docker reads them; or as `daemon.json` does.

use std::net::IpAddr;

use hyper::header::HeaderValue;

use crate::url::{Origin, Scheme};
use crate::{Error, base64};

/// Which requests go through which proxy.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    direct: Vec<Direct>,
    said: Said,
}

/// The texts that proxies were made of. There may be passwords in them.
#[derive(Clone, Default)]
struct Said {
    http: String,
    https: String,
    direct: String,
}

/// Its passwords are nobody's business.
impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

/// A proxy.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) origin: Origin,
    /// Who we are to it.
    pub(crate) authorization: Option<HeaderValue>,
}

/// Its password is nobody's business.
impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.origin)
    }
}

/// Who is spoken to without a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Direct {
    All,
    Network {
        address: IpAddr,
        bits: u8,
    },
    /// A domain and what is below it; with `only_below` not the domain itself.
    Domain {
        name: String,
        only_below: bool,
        port: Option<u16>,
    },
}

impl Proxies {
    /// What these variables say. Upper case wins over lower case.
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let get = |name: &str| {
            let values = [name.to_ascii_uppercase(), name.to_ascii_lowercase()];
            values.iter().find_map(|name| env(name).filter(|value| !value.is_empty()))
        };
        let proxy = |name: &str| get(name).map(|value| Proxy::parse(name, &value)).transpose();
        let said = |name: &str| get(name).unwrap_or_default();
        let direct = said("NO_PROXY");
        Ok(Self {
            http: proxy("HTTP_PROXY")?,
            https: proxy("HTTPS_PROXY")?,
            direct: direct.split(',').filter_map(Direct::parse).collect(),
            said: Said { http: said("HTTP_PROXY"), https: said("HTTPS_PROXY"), direct },
        })
    }

    /// As they are shown to people, nobody's password among them: that for HTTP, that for HTTPS, and who is spoken
    /// to directly. Empty: none.
    pub fn shown(&self) -> [String; 3] {
        [masked(&self.said.http), masked(&self.said.https), self.said.direct.clone()]
    }

    /// The variables by which programs that we run have the same, by each of their names.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let said = &self.said;
        let all = [
            ("HTTP_PROXY", &said.http),
            ("http_proxy", &said.http),
            ("HTTPS_PROXY", &said.https),
            ("https_proxy", &said.https),
            ("NO_PROXY", &said.direct),
            ("no_proxy", &said.direct),
        ];
        let all = all.into_iter().map(|(name, value)| (name, value.as_str()));
        all.filter(|(_, value)| !value.is_empty())
    }

    /// The proxy for requests to `origin`. The machine itself is never asked through one.
    pub(crate) fn of(&self, origin: &Origin) -> Option<&Proxy> {
        let proxy = match origin.scheme {
            Scheme::Http => self.http.as_ref(),
            Scheme::Https => self.https.as_ref(),
        };
        let direct = origin.is_loopback() || self.direct.iter().any(|one| one.covers(origin));
        proxy.filter(|_| !direct)
    }
}

/// A proxy's address without the one who uses it, as Docker shows it.
fn masked(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + "://".len());
    let (scheme, rest) = text.split_at(start);
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}xxxxx:xxxxx@{host}"),
        None => text.to_owned(),
    }
}

impl Proxy {
    /// What `proxy` in a `hosts.toml` says: a whole address, and no more.
    pub(crate) fn of_file(text: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::Config { what: "proxy".into(), why: why.to_owned() };
        let (_, rest) = text.split_once("://").ok_or_else(|| bad("not a whole address"))?;
        if rest.trim_end_matches('/').contains(['/', '?', '#']) {
            return Err(bad("an address of a proxy has no path"));
        }
        Self::parse("proxy", text)
    }

    fn parse(variable: &str, text: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::Config { what: variable.to_owned(), why: why.to_owned() };
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme, rest),
            None => ("http", text),
        };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => return Err(bad(&format!("a proxy of kind `{other}` is not there yet"))),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let authorization = user.map(|user| {
            let pair = user.split_once(':').unwrap_or((user, ""));
            let pair = [unescape(pair.0), b":".to_vec(), unescape(pair.1)].concat();
            let mut value = HeaderValue::from_str(&format!("Basic {}", base64::encode(&pair)))
                .map_err(|_| bad("not a user"))?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        });
        let origin = Origin::of(scheme, host).map_err(|error| bad(&error.to_string()))?;
        Ok(Self { origin, authorization: authorization.transpose()? })
    }
}

impl Direct {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text.is_empty() {
            return None;
        }
        if text == "*" {
            return Some(Self::All);
        }
        if let Some(network) = parse_network(&text) {
            return Some(network);
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (text.as_str(), None),
        };
        let name = name.strip_prefix('*').unwrap_or(name);
        let only_below = name.starts_with('.');
        Some(Self::Domain { name: name.trim_matches('.').to_owned(), only_below, port })
    }

    fn covers(&self, origin: &Origin) -> bool {
        match self {
            Self::All => true,
            Self::Network { address, bits } => {
                origin.ip().is_some_and(|ip| in_network(ip, *address, *bits))
            }
            Self::Domain { name, only_below, port } => {
                let host = origin.host.trim_end_matches('.');
                let below =
                    host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
                port.is_none_or(|port| port == origin.port)
                    && (below || (!only_below && host == name))
            }
        }
    }
}

/// An address, or `ADDRESS/BITS`.
fn parse_network(text: &str) -> Option<Direct> {
    let (address, bits) = network(text)?;
    Some(Direct::Network { address, bits })
}

/// The parts of `ADDRESS/BITS`; an address alone is one with all bits.
pub(crate) fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
    let all = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= all)?,
        None => all,
    };
    Some((address, bits))
}

pub(crate) fn in_network(ip: IpAddr, network: IpAddr, bits: u8) -> bool {
    let (ip, network, all) = match (ip.to_canonical(), network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            (u128::from(ip.to_bits()), u128::from(network.to_bits()), 32)
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => (ip.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    bits == 0 || (ip ^ network) >> (all - u32::from(bits)) == 0
}

/// Undoes `%XX`.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%').then(|| after.first_chunk::<2>()).flatten();
        let value = escaped
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(value.unwrap_or(first));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(pairs: &'static [(&'static str, &'static str)]) -> Proxies {
        let env = |name: &str| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Proxies::from_env(&env).unwrap()
    }

    #[test]
    fn who_is_spoken_to_directly() {
        let proxies = proxies(&[
            ("HTTPS_PROXY", "proxy.test:3128"),
            ("https_proxy", "other.test"),
            (
                "no_proxy",
                "example.com, .below.test,10.0.0.0/8,port.test:444,*.star.test,[::5],1.2.3.4",
            ),
        ]);
        let via = |host: &str| proxies.of(&Origin::of(Scheme::Https, host).unwrap()).is_some();
        for direct in [
            "example.com",
            "a.example.com:8443",
            "x.below.test",
            "10.9.8.7",
            "port.test:444",
            "a.star.test",
            "[::5]",
            "1.2.3.4",
            "localhost:5000",
            "127.0.0.3",
        ] {
            assert!(!via(direct), "{direct}");
        }
        for proxied in
            ["notexample.com", "below.test", "11.0.0.1", "port.test", "[::6]", "other.test"]
        {
            assert!(via(proxied), "{proxied}");
        }
        let origin = Origin::of(Scheme::Https, "a.test").unwrap();
        assert_eq!(proxies.of(&origin).unwrap().origin.to_string(), "http://proxy.test:3128");
        assert!(proxies.of(&Origin::of(Scheme::Http, "a.test").unwrap()).is_none());
    }

    #[test]
    fn a_proxy_may_want_a_password() {
        let proxies = proxies(&[("http_proxy", "http://us%40er:p%3Aw@proxy.test:8080/")]);
        let proxy = proxies.http.unwrap();
        let value = proxy.authorization.as_ref().unwrap().to_str().unwrap();
        assert_eq!(base64::decode(value.strip_prefix("Basic ").unwrap()).unwrap(), b"us@er:p:w");
        assert_eq!(format!("{proxy:?}"), "http://proxy.test:8080");
    }

    #[test]
    fn a_password_is_shown_to_nobody() {
        let pairs = [
            ("HTTP_PROXY", "http://me:word@proxy.test:8080/"),
            ("https_proxy", "me:word@other.test"),
            ("NO_PROXY", "a.test"),
        ];
        let env = |name: &str| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let proxies = Proxies::from_env(&env).unwrap();
        let shown = ["http://xxxxx:xxxxx@proxy.test:8080/", "xxxxx:xxxxx@other.test", "a.test"];
        assert_eq!(proxies.shown(), shown);
        assert!(!format!("{proxies:?}").contains("word"));
        let variables: Vec<_> = proxies.variables().collect();
        assert_eq!(variables.len(), 6);
        assert!(variables.contains(&("http_proxy", "http://me:word@proxy.test:8080/")));
        assert!(variables.contains(&("HTTPS_PROXY", "me:word@other.test")));
        assert_eq!(Proxies::default().variables().count(), 0);
        assert_eq!(Proxies::default().shown(), ["", "", ""]);
    }

    #[test]
    fn what_is_no_proxy_is_said() {
        let error = Proxies::from_env(&|_| Some("socks5://x:1".into())).unwrap_err();
        assert_eq!(error.to_string(), "HTTP_PROXY: a proxy of kind `socks5` is not there yet");
    }
}
