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
    let mut url = format!("pkg:{kind}/");
    if let Some(namespace) = namespace {
        url += &format!("{}/", escaped(namespace));
    }
    url += &format!("{}@{}", escaped(&name), escaped(&package.version));
    if matches!(package.kind, Kind::Deb | Kind::Apk) {
        let distro = os.map(OsRelease::distro);
        let qualifiers = [
            ("arch", package.architecture.as_ref()),
            ("distro", distro.as_ref()),
            ("upstream", package.source.as_ref()),
        ];
        let stated = qualifiers.into_iter().filter_map(|(key, value)| Some((key, value?)));
        for (nth, (key, value)) in stated.enumerate() {
            let before = if nth == 0 { '?' } else { '&' };
            url += &format!("{before}{key}={}", escaped(value));
        }
    }
    url
}

fn escaped(text: &str) -> String {
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
