//! Where a request goes.

use std::fmt;
use std::net::Ipv6Addr;

use hyper::Uri;

/// A longer address is nobody's, in bytes.
const MAX_ADDRESS: usize = 16 << 10;
/// A longer name is no host's (RFC 1035), in bytes.
const MAX_HOST: usize = 253;

/// Who is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) is_tls: bool,
    /// A name in lower case, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// A URL, without who asks: nothing of that is noted or judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) origin: Origin,
    /// With the query; starts with `/`.
    pub(crate) path: String,
}

impl Origin {
    /// Of `[USER@]HOST[:PORT]`.
    pub(crate) fn parse(is_tls: bool, authority: &str) -> Option<Self> {
        let authority = authority.rsplit('@').next().unwrap_or(authority);
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                host.parse::<Ipv6Addr>().ok()?;
                (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            None | Some("") => default_port(is_tls),
            Some(text) => text.parse().ok().filter(|port| *port != 0)?,
        };
        // The name of the root at its end makes it no other name.
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let is_host = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
        if host.is_empty() || host.len() > MAX_HOST || !host.bytes().all(is_host) {
            return None;
        }
        Some(Self { is_tls, host, port })
    }

    /// `HOST`, and `:PORT` where it is not the scheme's own.
    pub(crate) fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port(self.is_tls) { host } else { format!("{host}:{}", self.port) }
    }
}

fn default_port(is_tls: bool) -> u16 {
    if is_tls { 443 } else { 80 }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

impl Target {
    /// Reads an absolute URL of HTTP.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_ADDRESS {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        // As a server is asked for it.
        let path = match path {
            "" => "/".to_owned(),
            path if path.starts_with('?') => format!("/{path}"),
            path => path.to_owned(),
        };
        let uri: Uri = path.parse().ok()?;
        let path = plain(uri.path_and_query()?.as_str())?;
        Some(Self { origin: Origin::parse(is_tls, authority)?, path })
    }

    /// What a request asks for. `within` is who is at the other end of the tunnel that it came through; without one
    /// a request says it itself, or its `Host` does.
    pub(crate) fn of(uri: &Uri, host: Option<&str>, within: Option<&Origin>) -> Option<Self> {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        match (within, uri.scheme()) {
            (Some(origin), _) => Self::parse(&format!("{origin}{path}")),
            (None, Some(_)) => Self::parse(&uri.to_string()),
            (None, None) => Self::parse(&format!("http://{}{path}", host?)),
        }
    }

    /// Where a `Location` of an answer leads (RFC 3986, 5.2); `None`: to no address of HTTP.
    pub(crate) fn join(&self, location: &str) -> Option<Self> {
        let location = location.split('#').next().unwrap_or_default();
        let scheme = if self.origin.is_tls { "https" } else { "http" };
        let before = self.path.split('?').next().unwrap_or_default();
        if location.contains("://") && !location.starts_with(['/', '?', '.']) {
            return Self::parse(location);
        }
        if location.starts_with("//") {
            return Self::parse(&format!("{scheme}:{location}"));
        }
        let path = match location.chars().next() {
            None => self.path.clone(),
            Some('/') => location.to_owned(),
            Some('?') => format!("{before}{location}"),
            Some(_) => {
                let folder = &before[..=before.rfind('/').unwrap_or_default()];
                format!("{folder}{location}")
            }
        };
        Self::parse(&format!("{}{}", self.origin, without_dots(&path)))
    }
}

/// A path, and its query, in the one spelling that is judged and asked for: without `.` and `..`, also in codes
/// (`%2e`), by which a server would come to something else than rules have let through. `None`: it goes up behind what
/// some servers take for a slash, and others do not (`..%2f`).
fn plain(path: &str) -> Option<String> {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let path = without_dots(&path.replace("%2e", ".").replace("%2E", "."));
    let mut slashed = path.clone();
    for slash in ["%2f", "%2F", "%5c", "%5C", "\\"] {
        slashed = slashed.replace(slash, "/");
    }
    let leads_up = slashed.split('/').any(|part| part == "..");
    (!leads_up).then(|| path + query)
}

/// A path without `.` and `..` (RFC 3986, 5.2.4).
fn without_dots(path: &str) -> String {
    let (path, query) = match path.find('?') {
        Some(at) => path.split_at(at),
        None => (path, ""),
    };
    let mut parts: Vec<&str> = Vec::new();
    let mut rest = path.split('/').skip(1).peekable();
    while let Some(part) = rest.next() {
        let is_last = rest.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    parts.pop();
                }
                if is_last {
                    parts.push("");
                }
            }
            part => parts.push(part),
        }
    }
    format!("/{}{query}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_has_one_name() {
        let text = |url: &str| Target::parse(url).map(|target| target.to_string());
        for (url, shown) in [
            ("http://a.test", "http://a.test/"),
            ("HTTP://A.Test:80/x?y#z", "http://a.test/x?y"),
            ("https://me:word@a.test:443?q", "https://a.test/?q"),
            ("https://a.test.:8443/", "https://a.test:8443/"),
            ("http://[::1]:8080/x", "http://[::1]:8080/x"),
            ("http://a.test/x/../y/%2E%2e/./z?p=/../", "http://a.test/z?p=/../"),
            ("http://a.test/../..//x%2fy..", "http://a.test//x%2fy.."),
        ] {
            assert_eq!(text(url).as_deref(), Some(shown), "{url}");
        }
        for wrong in [
            "",
            "a.test",
            "ftp://a/",
            "http:///x",
            "http://a:0/",
            "http://a:x/",
            "http://a b/",
            "http://[x]/",
            "http://a/x/..%2fy",
            "http://a/x%2F%2e./y",
            "http://a/x/.%2E%5Cy",
            &format!("http://{}/", "a".repeat(MAX_HOST + 1)),
        ] {
            assert_eq!(text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_request_goes_where_its_tunnel_does() {
        let of = |uri: &str, host: Option<&str>, within: Option<&Origin>| {
            Target::of(&uri.parse().unwrap(), host, within).map(|target| target.to_string())
        };
        let tunnel = Origin::parse(true, "a.test:443").unwrap();
        // Whatever it says itself: by that name it was judged.
        assert_eq!(of("/x", Some("b.test"), Some(&tunnel)).as_deref(), Some("https://a.test/x"));
        assert_eq!(of("http://b.test/x", None, Some(&tunnel)).as_deref(), Some("https://a.test/x"));
        assert_eq!(of("https://b.test/x", None, None).as_deref(), Some("https://b.test/x"));
        assert_eq!(of("/x", Some("b.test:81"), None).as_deref(), Some("http://b.test:81/x"));
        assert_eq!(of("/x", None, None), None);
    }

    #[test]
    fn answers_lead_elsewhere() {
        let from = Target::parse("https://a.test/d/e?q").unwrap();
        let to = |location: &str| from.join(location).map(|target| target.to_string());
        for (location, target) in [
            ("http://b.test/x", "http://b.test/x"),
            ("//b.test/x", "https://b.test/x"),
            ("/x?u=http://c/", "https://a.test/x?u=http://c/"),
            ("x", "https://a.test/d/x"),
            ("../x/./y/..", "https://a.test/x/"),
            ("?r", "https://a.test/d/e?r"),
            ("", "https://a.test/d/e?q"),
        ] {
            assert_eq!(to(location).as_deref(), Some(target), "{location}");
        }
        assert_eq!(to("ftp://b.test/"), None);
    }
}
