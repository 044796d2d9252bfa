//! Sources: `docker-image://`, `local://`, `git://`, `https://`, `oci-layout://`; single blobs, `docker-image+blob://` and
//! `oci-layout+blob://`.

use std::collections::BTreeMap;

use buildgraph::{
    Blob, Checksum, Detached, Git, Http, Image, Layout, Local, Resolve, SignedBy, Source,
};
use buildkit::pb;
use oci::Digest;
use reference::Reference;

use crate::RESULT;
use crate::error::{Error, invalid, not_yet};

type Attributes = BTreeMap<String, String>;

/// Headers that a definition may have a server asked with; others are nobody's, as in BuildKit.
const HEADERS: [&str; 2] = ["accept", "user-agent"];

pub(crate) fn read(
    op: &pb::SourceOp,
    result: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<Source, Error> {
    let id = op.identifier.as_str();
    if let Some(name) = id.strip_prefix(RESULT) {
        return result(name).map(Source::Result).map_err(Error::Invalid);
    }
    let Some((scheme, rest)) = id.split_once("://") else {
        return invalid(format!("failed to parse {id} as a source: it has no scheme"));
    };
    match scheme {
        "docker-image" => image(rest, &op.attrs),
        "local" => local(rest, &op.attrs),
        "git" => git(rest, &op.attrs),
        "http" | "https" => http(id, &op.attrs),
        "oci-layout" => layout(rest, &op.attrs),
        "docker-image+blob" | "oci-layout+blob" => blob(scheme, rest, &op.attrs).map(Source::Blob),
        _ => not_yet(format!("a source {scheme}://")),
    }
}

/// The identifier as people are shown it: without a password, and without what is behind `?`.
pub fn shown(identifier: &str) -> String {
    if !identifier.starts_with("http") {
        return identifier.to_owned();
    }
    let plain = identifier.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = plain.split_once("://") else { return plain.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{}", &rest[end..])
}

/// An attribute that nobody here knows, and that changes what comes of the source.
fn unknown<T>(scheme: &str, key: &str) -> Result<T, Error> {
    not_yet(format!("the attribute {key} of a source {scheme}://"))
}

fn flag(key: &str, value: &str) -> Result<bool, Error> {
    match value {
        "true" => Ok(true),
        "" | "false" => Ok(false),
        _ => invalid(format!("invalid {key}: {value:?} is neither true nor false")),
    }
}

fn image(name: &str, attributes: &Attributes) -> Result<Source, Error> {
    let wrong = |why: &dyn std::fmt::Display| {
        Error::Invalid(format!("failed to parse docker image reference {name}: {why}"))
    };
    let reference: Reference = name.parse().map_err(|error| wrong(&error))?;
    let (mut checksum, mut layers, mut resolve) = (None, None, Resolve::Default);
    for (key, value) in attributes {
        match key.as_str() {
            "image.resolvemode" => {
                resolve = match value.as_str() {
                    "" | "default" | "local" => Resolve::Default,
                    "pull" => Resolve::Pull,
                    _ => return invalid(format!("invalid resolve mode: {value}")),
                };
            }
            // Whose it is in a list of the cache.
            "image.recordtype" => {}
            "image.checksum" => {
                let digest: Digest = value.parse().map_err(|error| wrong(&error))?;
                if reference.digest().is_some_and(|known| *known != digest) {
                    return invalid(format!("image digest {value} does not match that of {name}"));
                }
                checksum = Some(digest);
            }
            "image.layerlimit" => layers = Some(layer_limit(value)?),
            key => return unknown("docker-image", key),
        }
    }
    let reference = reference.with_default_tag();
    let digest = reference.digest().cloned();
    // A name with a digest says it itself.
    let checksum = checksum.filter(|_| digest.is_none());
    let reference = reference.to_string();
    Ok(Source::Image(Image { reference, digest, id: None, checksum, layers, resolve }))
}

/// No more layers than so many.
fn layer_limit(value: &str) -> Result<usize, Error> {
    match value.parse() {
        Ok(limit) if limit > 0 => Ok(limit),
        _ => invalid(format!("invalid layer limit {value}")),
    }
}

fn local(name: &str, attributes: &Attributes) -> Result<Source, Error> {
    let mut local = Local { name: name.to_owned(), ..Local::default() };
    let (mut is_told_only, mut files) = (false, Vec::new());
    for (key, value) in attributes {
        match key.as_str() {
            "local.includepattern" => local.include = texts(key, value)?,
            "local.excludepatterns" => local.exclude = texts(key, value)?,
            "local.followpaths" => local.follow = texts(key, value)?,
            "local.sharedkeyhint" => local.shared_key.clone_from(value),
            "local.session" => local.set_session(value),
            "local.unique" => {}
            "local.metadatatransfer" => is_told_only = flag(key, value)?,
            "local.metadatatransferexclude" => files = texts(key, value)?,
            "local.differ" => {
                local.all_anew = match value.as_str() {
                    "none" => true,
                    "" | "metadata" => false,
                    _ => return invalid(format!("invalid local.differ: {value}")),
                };
            }
            key => return unknown("local", key),
        }
    }
    local.told_only = is_told_only.then_some(files);
    if local.shared_key.is_empty() {
        local.shared_key = format!("local://{name}");
    }
    Ok(Source::Local(local))
}

/// A list of texts, as JSON.
fn texts(key: &str, value: &str) -> Result<Vec<String>, Error> {
    serde_json::from_str(value).map_err(|error| Error::Invalid(format!("invalid {key}: {error}")))
}

fn git(rest: &str, attributes: &Attributes) -> Result<Source, Error> {
    let (remote, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let subdir = match subdir.trim_matches('/') {
        "" | "." => "",
        _ => subdir,
    };
    let mut git = Git {
        remote: with_scheme(remote),
        reference: reference.to_owned(),
        subdir: subdir.to_owned(),
        ..Git::default()
    };
    for (key, value) in attributes {
        match key.as_str() {
            "git.fullurl" => git.remote = with_scheme(value),
            "git.keepgitdir" => git.keep_git_dir = flag(key, value)?,
            "git.skipsubmodules" => git.skip_submodules = flag(key, value)?,
            "git.checksum" => {
                git.checksum = Some(Checksum(value.clone())).filter(|sum| !sum.0.is_empty());
            }
            "git.authtokensecret" => git.token_secret.clone_from(value),
            "git.authheadersecret" => git.header_secret.clone_from(value),
            "git.mountsshsock" => git.ssh.clone_from(value),
            "git.knownsshhosts" => git.known_hosts.clone_from(value),
            "git.mtime" => {
                git.commit_times = match value.as_str() {
                    "commit" => true,
                    "" | "checkout" => false,
                    _ => return invalid(format!("invalid git.mtime: {value:?}")),
                };
            }
            "git.fetchbycommit" => git.by_commit = flag(key, value)?,
            "git.sig.pubkey" => signed(&mut git).keys.clone_from(value),
            "git.sig.rejectexpired" => signed(&mut git).reject_expired = flag(key, value)?,
            "git.sig.requiresignedtag" => signed(&mut git).require_tag = flag(key, value)?,
            "git.sig.ignoresignedtag" => signed(&mut git).ignore_tag = flag(key, value)?,
            "git.checkoutbundle" => git.as_bundle = flag(key, value)?,
            "git.bundle" if value.is_empty() => {}
            "git.bundle" => git.bundle = Some(Box::new(bundle(value, attributes)?)),
            // Of the layout that has the bundle.
            "oci.store" | "oci.session" => {}
            key => return unknown("git", key),
        }
    }
    if git.as_bundle && (git.keep_git_dir || !git.subdir.is_empty()) {
        let other = if git.keep_git_dir { "git.keepgitdir" } else { "git.subdir" };
        return invalid(format!("git.checkoutbundle is incompatible with {other}"));
    }
    Ok(Source::Git(git))
}

/// How a repository has to be signed: any of these attributes has it verified, one that says no as well, as in BuildKit.
fn signed(git: &mut Git) -> &mut SignedBy {
    git.signed.get_or_insert_default()
}

/// A bundle of git, by where it is: `docker-image+blob://…`, `oci-layout+blob://…`.
fn bundle(place: &str, attributes: &Attributes) -> Result<Blob, Error> {
    let Some((scheme @ ("docker-image+blob" | "oci-layout+blob"), rest)) = place.split_once("://")
    else {
        return invalid(format!("git.bundle: {place} is no blob of a registry or of a layout"));
    };
    let mut own = Attributes::new();
    if scheme == "oci-layout+blob" {
        let called = rest.split('@').next().unwrap_or_default();
        let store = attributes.get("oci.store").filter(|store| !store.is_empty());
        own.insert("oci.store".into(), store.map_or(called, String::as_str).to_owned());
    }
    blob(scheme, rest, &own)
}

/// `github.com/OWNER/NAME` is `https://github.com/OWNER/NAME`.
fn with_scheme(remote: &str) -> String {
    let is_of_ssh =
        remote.split_once(':').is_some_and(|(host, _)| host.contains('@') && !host.contains('/'));
    if remote.contains("://") || is_of_ssh {
        remote.to_owned()
    } else {
        format!("https://{remote}")
    }
}

fn http(url: &str, attributes: &Attributes) -> Result<Source, Error> {
    let mut http = Http { url: url.to_owned(), ..Http::default() };
    for (key, value) in attributes {
        match key.as_str() {
            "http.checksum" => http.checksum = Some(Checksum(value.clone())),
            "http.filename" => http.name.clone_from(value),
            // 0 is what it is where nobody says.
            "http.perm" => http.mode = Some(number(key, value)?).filter(|mode| *mode != 0),
            "http.uid" => http.uid = number(key, value)?,
            "http.gid" => http.gid = number(key, value)?,
            "http.authheadersecret" => http.auth_secret.clone_from(value),
            "http.sig.pubkey" => detached(&mut http).keys.clone_from(value),
            "http.sig.signature" => detached(&mut http).signature.clone_from(value),
            key => match key.strip_prefix("http.header.").map(str::to_ascii_lowercase) {
                Some(name) if HEADERS.contains(&name.as_str()) => {
                    http.headers.push((name, value.clone()));
                }
                Some(_) => {}
                None => return unknown("http", key),
            },
        }
    }
    http.headers.sort();
    if http.signed.as_ref().is_some_and(|one| one.keys.is_empty() || one.signature.is_empty()) {
        return invalid("http signature verification requires both pubkey and signature");
    }
    Ok(Source::Http(http))
}

fn detached(http: &mut Http) -> &mut Detached {
    http.signed.get_or_insert_default()
}

/// A number as Go reads it: `0644`, `0o644`, `0x1a4`, `420`.
fn number(key: &str, value: &str) -> Result<u32, Error> {
    let (base, digits) = match value.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &value[2..]),
        [b'0', b'o' | b'O', ..] => (8, &value[2..]),
        [b'0', b'b' | b'B', ..] => (2, &value[2..]),
        [b'0', _, ..] => (8, &value[1..]),
        _ => (10, value),
    };
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u32::from_str_radix(digits, base).ok().filter(|_| is_plain);
    number.ok_or_else(|| Error::Invalid(format!("invalid {key}: {value:?} is no number")))
}

fn layout(name: &str, attributes: &Attributes) -> Result<Source, Error> {
    let wrong = |why: &dyn std::fmt::Display| {
        Error::Invalid(format!("could not parse oci-layout reference {name}: {why}"))
    };
    let Some((called, digest)) = name.split_once('@') else {
        return Err(wrong(&"it has no digest"));
    };
    let digest: Digest = digest.parse().map_err(|error| wrong(&error))?;
    let (mut store, mut layers) = (called.to_owned(), None);
    for (key, value) in attributes {
        match key.as_str() {
            "oci.store" if !value.is_empty() => store.clone_from(value),
            "oci.store" | "oci.session" => {}
            "oci.layerlimit" => layers = Some(layer_limit(value)?),
            key => return unknown("oci-layout", key),
        }
    }
    let name = called.to_owned();
    Ok(Source::Layout(Layout { store, name, digest, id: None, layers }))
}

fn blob(scheme: &str, name: &str, attributes: &Attributes) -> Result<Blob, Error> {
    let wrong = |why: &dyn std::fmt::Display| {
        Error::Invalid(format!("could not parse blob reference {name}: {why}"))
    };
    let Some((called, digest)) = name.split_once('@') else {
        return Err(wrong(&"it has no digest"));
    };
    let digest: Digest = digest.parse().map_err(|error| wrong(&error))?;
    let is_of_layout = scheme == "oci-layout+blob";
    let repository = if is_of_layout {
        called.to_owned()
    } else {
        let reference: Reference = called.parse().map_err(|error| wrong(&error))?;
        reference.name()
    };
    let mut blob = Blob {
        repository,
        store: String::new(),
        digest,
        name: String::new(),
        mode: None,
        uid: 0,
        gid: 0,
    };
    for (key, value) in attributes {
        match key.as_str() {
            "http.filename" => blob.name.clone_from(value),
            // 0 is what it is where nobody says.
            "http.perm" => blob.mode = Some(number(key, value)?).filter(|mode| *mode != 0),
            "http.uid" => blob.uid = number(key, value)?,
            "http.gid" => blob.gid = number(key, value)?,
            "oci.store" if is_of_layout => blob.store.clone_from(value),
            "oci.session" | "oci.store" | "image.recordtype" => {}
            key => return unknown(scheme, key),
        }
    }
    if is_of_layout && blob.store.is_empty() {
        return invalid("oci-layout blob source requires store id");
    }
    Ok(blob)
}
