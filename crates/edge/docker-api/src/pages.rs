//! Web pages. A port that asks for nothing is reached by whatever page a browser shows on a machine that reaches it:
//! requests to other origins are sent, if not read, and a name that somebody makes mean 127.0.0.1 is an origin of its
//! own.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap, ORIGIN};

/// What browsers say of where a request comes from (Fetch Metadata).
const SITE: &str = "sec-fetch-site";

/// Which pages are kept out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pages {
    /// None: no browser gets there.
    #[default]
    None,
    /// Those of other origins.
    OfOthers,
    /// These, and those that come by a name that is not this machine's.
    OfOthersOrByName,
}

impl Pages {
    /// Whether a request is one that is kept out. Programs say nothing of an origin, or, of a WebSocket, the address
    /// itself.
    pub(crate) fn keep_out(self, headers: &HeaderMap) -> bool {
        // What is no text is no address of ours.
        let said = |value: &hyper::header::HeaderValue| value.to_str().unwrap_or("?").to_owned();
        let host = headers.get(HOST).map(said).unwrap_or_default();
        let is_of_another = headers.get(ORIGIN).map(said).is_some_and(|origin| {
            let authority =
                origin.split_once("://").map_or(origin.as_str(), |(_, authority)| authority);
            !authority.eq_ignore_ascii_case(&host)
        });
        let is_from_elsewhere =
            headers.get(SITE).map(said).is_some_and(|site| site != "none" && site != "same-origin");
        let is_of_others = is_of_another || is_from_elsewhere;
        match self {
            Self::None => false,
            Self::OfOthers => is_of_others,
            Self::OfOthersOrByName => is_of_others || !is_of_this_machine(&host),
        }
    }
}

/// Whether no name server can have been asked for a host: it is an address, `localhost` or below that, or a single
/// word without a port, as programs have it that were given a socket. A browser says the port, and asks the name
/// servers of whatever network it is in for single words, too.
fn is_of_this_machine(host: &str) -> bool {
    let (name, has_port) = match host.strip_prefix('[') {
        Some(rest) => (rest.split(']').next().unwrap_or_default(), true),
        None => host.split_once(':').map_or((host, false), |(name, _)| (name, true)),
    };
    let lower = name.to_ascii_lowercase();
    name.parse::<IpAddr>().is_ok()
        || lower == "localhost"
        || lower.ends_with(".localhost")
        || (!has_port && !name.contains('.'))
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn programs_get_in_and_pages_do_not() {
        for (said, want) in [
            (&[("host", "127.0.0.1:2375")][..], false),
            (&[("host", "[::1]:2375")], false),
            (&[("host", "localhost:2375")], false),
            (&[("host", "api.moby.localhost")], false),
            (&[("host", "dhow")], false),
            (&[], false),
            (&[("host", "localhost:2375"), ("origin", "http://localhost:2375")], false),
            (&[("host", "localhost:2375"), ("origin", "http://localhost:8080")], true),
            (&[("host", "localhost:2375"), ("origin", "null")], true),
            (&[("host", "LOCALHOST:2375")], false),
            (&[("host", "evil.example:2375")], true),
            (&[("host", "evil:2375"), ("origin", "http://evil:2375")], true),
            (&[("host", "evil.example"), ("origin", "http://evil.example")], true),
            (&[("host", "127.0.0.1.evil.example")], true),
            (&[("host", "127.0.0.1:2375"), (SITE, "cross-site")], true),
            (&[("host", "127.0.0.1:2375"), (SITE, "none")], false),
        ] {
            let headers: HeaderMap = said
                .iter()
                .map(|(name, value)| {
                    (HeaderName::from_static(name), HeaderValue::from_static(value))
                })
                .collect();
            assert_eq!(Pages::OfOthersOrByName.keep_out(&headers), want, "{said:?}");
            // Where others reach it, it has whatever name.
            let is_of_others = want && said.len() > 1 && !said[1].1.contains("evil");
            assert_eq!(Pages::OfOthers.keep_out(&headers), is_of_others, "{said:?}");
            assert!(!Pages::None.keep_out(&headers));
        }
    }
}
