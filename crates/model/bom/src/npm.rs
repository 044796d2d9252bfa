//! Node's packages: what lies in `node_modules`, and lock files.

use serde_json::{Map, Value};

use crate::package::{Kind, Package, text};

/// Packages in packages at most, of the older lock files.
const DEPTH: usize = 32;

/// The package of a `package.json`.
pub(crate) fn package(bytes: &[u8], path: &str) -> Option<Package> {
    let whole: Value = serde_json::from_slice(bytes).ok()?;
    let get = |key: &str| whole.get(key).and_then(Value::as_str);
    let mut package = named(get("name")?, get("version")?, path)?;
    package.licence = licence(&whole);
    package.homepage = get("homepage").and_then(text);
    package.summary = get("description").and_then(text);
    package.supplier = match whole.get("author") {
        Some(Value::String(author)) => text(author),
        Some(Value::Object(author)) => author.get("name").and_then(Value::as_str).and_then(text),
        _ => None,
    };
    Some(package)
}

/// The packages of a lock file, of any version.
pub(crate) fn locked(bytes: &[u8], path: &str, give: &mut dyn FnMut(Package)) {
    let Ok(whole) = serde_json::from_slice::<Value>(bytes) else { return };
    if let Some(Value::Object(packages)) = whole.get("packages") {
        for (place, about) in packages {
            let is_link = about.get("link").and_then(Value::as_bool).unwrap_or_default();
            // The root is what the lock file is of, and not what it locks; so are directories beside it.
            let Some((_, name)) = place.rsplit_once("node_modules/") else { continue };
            if is_link {
                continue;
            }
            let name = about.get("name").and_then(Value::as_str).unwrap_or(name);
            if let Some(package) = lock_entry(name, about, path) {
                give(package);
            }
        }
    } else if let Some(Value::Object(packages)) = whole.get("dependencies") {
        older(packages, path, DEPTH, give);
    }
}

fn older(packages: &Map<String, Value>, path: &str, depth: usize, give: &mut dyn FnMut(Package)) {
    for (name, about) in packages {
        if let Some(package) = lock_entry(name, about, path) {
            give(package);
        }
        if let (Some(Value::Object(inner)), true) = (about.get("dependencies"), depth > 0) {
            older(inner, path, depth - 1, give);
        }
    }
}

fn lock_entry(name: &str, about: &Value, path: &str) -> Option<Package> {
    let mut package = named(name, about.get("version")?.as_str()?, path)?;
    package.licence = licence(about);
    package.checksum = about.get("integrity").and_then(Value::as_str).and_then(integrity);
    Some(package)
}

/// A name is `NAME` or `@SCOPE/NAME`, and leads nowhere.
fn named(name: &str, version: &str, path: &str) -> Option<Package> {
    let plain = |part: &str| !part.is_empty() && !part.contains(['/', '\\']) && part != "..";
    let is_name = match name.split_once('/') {
        Some((scope, name)) => scope.starts_with('@') && plain(&scope[1..]) && plain(name),
        None => plain(name),
    };
    is_name.then(|| Package::new(Kind::Npm, name, version, path)).flatten()
}

/// `license`, as it is now and as it was.
fn licence(about: &Value) -> Option<String> {
    let of = |one: &Value| match one {
        Value::String(licence) => text(licence),
        Value::Object(licence) => licence.get("type").and_then(Value::as_str).and_then(text),
        _ => None,
    };
    if let Some(licence) = about.get("license").and_then(of) {
        return Some(licence);
    }
    let all: Vec<String> =
        about.get("licenses")?.as_array()?.iter().take(8).filter_map(of).collect();
    match &all[..] {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(several.join(" OR ")),
    }
}

/// The strongest digest of an integrity: `sha512-BASE64`.
fn integrity(value: &str) -> Option<(&'static str, String)> {
    const ALGORITHMS: [(&str, &str, usize); 4] = [
        ("sha512", "SHA512", 64),
        ("sha384", "SHA384", 48),
        ("sha256", "SHA256", 32),
        ("sha1", "SHA1", 20),
    ];
    let of = |(prefix, name, n_bytes): &(&str, &'static str, usize)| {
        let found = value
            .split_ascii_whitespace()
            .find_map(|one| one.strip_prefix(prefix)?.strip_prefix('-'))?;
        let bytes = data_encoding::BASE64.decode(found.as_bytes()).ok()?;
        (bytes.len() == *n_bytes).then(|| (*name, data_encoding::HEXLOWER.encode(&bytes)))
    };
    ALGORITHMS.iter().find_map(of)
}
