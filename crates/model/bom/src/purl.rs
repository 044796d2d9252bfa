//! Package URLs (<https://github.com/package-url/purl-spec>).

use crate::os_release::OsRelease;
use crate::package::{Kind, Package};

/// The URL of a package, in a tree of this system.
pub(crate) fn of(package: &Package, os: Option<&OsRelease>) -> String {
    let system = os.map(|os| os.id.as_str());
    let (kind, namespace, name) = match package.kind {
        Kind::Deb => ("deb", Some(system.unwrap_or("debian")), package.name.clone()),
        Kind::Apk => ("apk", Some(system.unwrap_or("alpine")), package.name.to_lowercase()),
        Kind::Python => ("pypi", None, package.name.to_lowercase().replace('_', "-")),
        Kind::Npm => match package.name.split_once('/') {
            Some((scope, name)) => ("npm", Some(scope), name.to_owned()),
            None => ("npm", None, package.name.clone()),
        },
        Kind::Cargo => ("cargo", None, package.name.clone()),
    };
    let distro = os.map(OsRelease::distro);
    let is_systems = matches!(package.kind, Kind::Deb | Kind::Apk);
    let qualifiers = [
        ("arch", package.architecture.as_deref()),
        ("distro", distro.as_deref()),
        ("upstream", package.source.as_deref()),
    ];
    let path: Vec<&str> = namespace.into_iter().chain([name.as_str()]).collect();
    let stated = qualifiers.into_iter().filter(|_| is_systems);
    let stated = stated.filter_map(|(key, value)| Some((key, value?)));
    package_url(kind, &path, Some(&package.version), stated)
}

/// The URL of something of a kind: `pkg:KIND/PATH@VERSION?KEY=VALUE&...`.
pub fn package_url<'a>(
    kind: &str,
    path: &[&str],
    version: Option<&str>,
    qualifiers: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> String {
    // A port's colon is escaped there, as by those who write such URLs for images.
    let path: Vec<String> = path.iter().map(|part| escaped(part).replace(':', "%3A")).collect();
    let mut url = format!("pkg:{kind}/{}", path.join("/"));
    if let Some(version) = version {
        url += &format!("@{}", escaped(version));
    }
    for (nth, (key, value)) in qualifiers.into_iter().enumerate() {
        let before = if nth == 0 { '?' } else { '&' };
        url += &format!("{before}{key}={}", escaped(value));
    }
    url
}

/// A text as a part of such a URL.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}
