//! Debian's packages: `status`, and `status.d` of images without dpkg.

use crate::fields::{fields, get, paragraphs};
use crate::package::{Kind, Package, text};

/// The packages that are there: configuration that is left of removed ones is none.
pub(crate) fn packages(whole: &str, path: &str) -> impl Iterator<Item = Package> {
    paragraphs(whole).filter_map(move |paragraph| package(paragraph, path))
}

fn package(paragraph: &str, path: &str) -> Option<Package> {
    let all = fields(paragraph);
    let get = |name: &str| get(&all, name);
    // `want flag status`: what images without dpkg have says nothing of it.
    if let Some(status) = get("Status")
        && !matches!(
            status.split_ascii_whitespace().last(),
            Some(
                "installed"
                    | "unpacked"
                    | "half-configured"
                    | "triggers-awaited"
                    | "triggers-pending"
            )
        )
    {
        return None;
    }
    let mut package = Package::new(Kind::Deb, get("Package")?, get("Version")?, path)?;
    package.architecture = get("Architecture").and_then(text);
    // `NAME (VERSION)`, where it is another one.
    let source = get("Source").and_then(text);
    package.source = source.map(|source| match source.split_once(" (") {
        Some((name, version)) => format!("{name}@{}", version.trim_end_matches(')')),
        None => source,
    });
    package.supplier = get("Maintainer").and_then(text);
    package.homepage = get("Homepage").and_then(text);
    package.summary = get("Description").and_then(text);
    Some(package)
}
