//! What fuzz targets ask of the readers of strangers' text: there only where they are built
//! (`--cfg fuzzing`).
#![allow(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a panic is what is looked for")]

use std::path::Path;

use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

use crate::challenge::{Challenge, challenges};
use crate::credentials::{Credentials, Keys, server_domain};
use crate::url::Url;
use crate::{blob, hosts_toml, retry, tags};

/// `WWW-Authenticate`, `Link`, `Retry-After`, `Content-Range` and `Location`, whatever they say.
pub fn headers(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let mut headers = HeaderMap::new();
    headers.append(WWW_AUTHENTICATE, value.clone());
    headers.append(RETRY_AFTER, value.clone());
    for challenge in challenges(&headers) {
        if let Challenge::Bearer { realm, .. } = challenge {
            assert!(!realm.is_empty());
            address(Url::parse(&realm).ok());
        }
    }
    retry::retry_after(&headers);
    let Ok(text) = value.to_str() else { return };
    let url = Url::parse("https://r.test:5000/v2/a/tags/list?n=2").unwrap();
    if let Some(next) = tags::following(&url, text) {
        assert_eq!(next.origin, url.origin, "a page of somebody else");
        address(Some(next));
    }
    address(url.join(text).ok());
    if let Some((start, total)) = blob::parse_range(text) {
        let again = format!(
            "bytes {start}-{start}/{}",
            total.map_or("*".to_owned(), |total| total.to_string())
        );
        assert_eq!(blob::parse_range(&again), Some((start, total)));
    }
}

/// An address holds nothing that would end a line of a request, and reads again as the same.
fn address(url: Option<Url>) {
    let Some(url) = url else { return };
    assert!(url.path.starts_with('/') && url.path.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(!url.to_string().contains(['\n', '\r', ' ', '\u{1b}']));
    assert_eq!(Url::parse(&format!("{}{}", url.origin, url.path)).as_ref(), Ok(&url));
}

/// `config.json`: credentials are found for the registry that they are for, and for no other.
pub fn config(bytes: &[u8]) {
    let Ok(keys) = Keys::parse(bytes) else { return };
    // Programs are not run here.
    let Some(servers) = keys.without_helpers() else { return };
    for server in &servers {
        let domain = server_domain(server);
        for domain in [domain, server] {
            let Some(found) = keys.of(domain).unwrap() else { continue };
            assert!(
                servers.iter().any(|one| server_domain(one) == server_domain(domain)),
                "{domain} gets what is nobody's"
            );
            assert_eq!(format!("{found:?}"), "Credentials");
            let header = found.to_header(domain);
            assert!(header.bytes().all(|byte| byte.is_ascii_graphic()));
            // Nobody without a name is somebody.
            if !found.username.is_empty() || found.identity_token.is_some() {
                assert_eq!(Credentials::from_header(&header), Some(found));
            }
        }
    }
    let stranger = "stranger.invalid:1";
    if !servers.iter().any(|server| server_domain(server) == stranger) {
        assert!(keys.of(stranger).unwrap().is_none());
    }
}

/// `X-Registry-Auth`, as any client sends it.
pub fn auth_header(text: &str) {
    if let Some(found) = Credentials::from_header(text) {
        assert_eq!(Credentials::from_header(&found.to_header("x")), Some(found));
    }
}

/// `hosts.toml`: refused with its line, or there is somebody to ask, at an address that is one.
pub fn hosts(text: &str) {
    match hosts_toml::read(Path::new("/c"), text) {
        Ok(hosts) => {
            assert!(!hosts.is_empty());
            for host in hosts {
                address(host.url.filter(|url| !url.path.is_empty()));
                let files = host.own.clients.into_iter().flat_map(|(file, key)| [file, key]);
                assert!(files.chain(host.own.authorities).all(|file| file.is_absolute()));
            }
        }
        Err((line, why)) => {
            assert!((1..=text.split('\n').count()).contains(&line), "line {line}: {why}");
            assert!(!why.contains(['\n', '\r', '\u{1b}']), "{why:?}");
        }
    }
}
