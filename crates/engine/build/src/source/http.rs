//! Files behind URLs.
//!
//! A file is kept for each URL, with what its server called it (`ETag`, `Last-Modified`), and asked for again
//! only as something that may have changed. What it is known by is its bytes, its name, mode and owner. A server may
//! compress it on its way: what counts, and is kept, is what it was before that, as in BuildKit.

mod ask;
mod far;
pub(crate) mod sum;

use std::collections::HashMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use buildgraph::Http;
use data_encoding::BASE64;
use diff::{Compression, Decoder, Limits};
use oci::{Algorithm, Digest, Hasher};
use registry::{WebFile, http_date};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

use crate::Error;
use crate::build::Shared;
use crate::error::At as _;
use crate::output::{Output, Tree};
use crate::source::verify::{Room, by_pgp};
use crate::store::{Directory, Use};
use crate::tell::Listeners;

use ask::{Answer, Asking};
use far::Far;
use sum::Sum;

/// Where streams of the client's are, as BuildKit has it: none of it is asked over the network.
pub(crate) const UPLOAD: &str = "http://buildkit-session/";

/// The kind of such a file in the build cache, as BuildKit calls it.
const KIND: &str = "source.http";

/// Beside the directory of a file that is whole: what is known of it.
const KNOWN: &str = "known.json";

/// Beside the directory: what came compressed, until it is unpacked.
const PACKED: &str = "packed";

/// What a file is called that has no name, or one that no file may have.
const NAMELESS: &str = "download";

/// What is known of a file that is kept.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(crate) struct Known {
    name: String,
    digest: String,
    etag: Option<String>,
    modified: Option<String>,
}

/// The files that a build has asked for, by their names here: whatever their servers have by now, and whatever is removed
/// meanwhile, all of a build sees the same.
pub(crate) type Seen = Mutex<HashMap<String, (Arc<Directory>, Known)>>;

/// What is told of a file.
pub(crate) struct About {
    pub(crate) digest: String,
    pub(crate) name: String,
    /// When it was written last, as its server says; seconds since 1970.
    pub(crate) modified: Option<u64>,
    /// The digest that was asked for besides.
    pub(crate) sum: Option<String>,
}

/// Brings a file, and says whether it was here.
pub(crate) async fn bring(
    build: &Arc<Shared>,
    http: &Http,
    listeners: &Listeners,
) -> Result<(Output, bool), Error> {
    if let Some(stream) = http.url.strip_prefix(UPLOAD) {
        if http.signed.is_some() {
            return Err(Error::NotYet("a signature of a stream of the client's".into()));
        }
        return take(build, http, stream, listeners).await;
    }
    let (directory, known, was_here) = have(build, http, listeners).await?;
    check_signed(build, http, &directory, &known).await?;
    Ok((output(directory, http, mode(http), &known), was_here))
}

/// What a file is, which is brought for that.
pub(crate) async fn about(
    build: &Arc<Shared>,
    http: &Http,
    sum: Option<&Sum>,
    listeners: &Listeners,
) -> Result<About, Error> {
    if http.url.starts_with(UPLOAD) {
        return Err(Error::NotYet("to look at a stream of the client's".into()));
    }
    let (directory, known, _) = have(build, http, listeners).await?;
    check_signed(build, http, &directory, &known).await?;
    let modified = known.modified.as_deref().and_then(http_date);
    let sum = match sum.cloned() {
        Some(sum) => {
            let path = directory.path.join(&known.name);
            Some(build.blocking(move |_| sum.of(&path)).await?)
        }
        None => None,
    };
    Ok(About { digest: known.digest, name: known.name, modified, sum })
}

/// Refuses a file that is not signed as the build wants it; one that is kept, too.
async fn check_signed(
    build: &Arc<Shared>,
    http: &Http,
    directory: &Directory,
    known: &Known,
) -> Result<(), Error> {
    let Some(signed) = &http.signed else { return Ok(()) };
    let wrong = |why: &str| Error::Invalid(format!("failed to verify pgp signature: {why}"));
    let signature = signatures::pgp::signature(signed.signature.as_bytes());
    let signature = signature.map_err(|error| wrong(&error.to_string()))?;
    let room = Room::make(&build.builder.store.beside(directory, "signature"))?;
    let path = directory.path.join(&known.name);
    let file = fs::File::open(&path).at("open", &path)?;
    let verified = by_pgp(file, signature, &signed.keys, false, &room).await;
    verified.map_err(|error| wrong(&error.to_string()))
}

fn mode(http: &Http) -> u32 {
    http.mode.unwrap_or(0o600) & 0o7777
}

/// The directory that holds a file, what is known of that, and whether it was here.
async fn have(
    build: &Arc<Shared>,
    http: &Http,
    listeners: &Listeners,
) -> Result<(Arc<Directory>, Known, bool), Error> {
    let wanted = wanted(http)?;
    let (url, user) = without_user(&http.url);
    let shown = url.split(['?', '#']).next().unwrap_or_default().to_owned();
    let look = format!("{:o} {}:{}", mode(http), http.uid, http.gid);
    let mut name = [&http.url, &http.name, &look].map(String::as_str).join("\0");
    for (header, value) in &http.headers {
        // A server may answer something else to them.
        name += &format!("\0{header}: {value}");
    }
    let is_wanted = |known: &Known| wanted.as_ref().is_some_and(|wanted| *wanted == known.digest);
    let seen = build.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
    if let Some((directory, known)) = seen
        && (wanted.is_none() || is_wanted(&known))
    {
        return Ok((directory, known, true));
    }
    let description = format!("http url {shown}");
    let called = name.clone();
    let taken = build
        .blocking(move |build| build.builder.store.take(KIND, &called, &description, Use::Private));
    let directory = taken.await?.ok_or(Error::Lost("a directory of the builder"))?;
    let beside = build.builder.store.beside(&directory, KNOWN);
    let known = known(&directory, &beside);

    // Who holds it keeps it from being pruned.
    let keep = |directory: Directory, known: &Known| {
        let directory = Arc::new(directory);
        let kept = (Arc::clone(&directory), known.clone());
        build.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), kept);
        directory
    };
    if let Some(known) = known.clone().filter(is_wanted) {
        return Ok((keep(directory, &known), known, true));
    }
    let asking = Asking::new(build, http, &url, user).await?;
    let (known, was_here) = match asking.file(known).await? {
        Answer::Same(known) => (known, true),
        Answer::File(file) => {
            let called = file_name(http, &url, file.header("content-disposition"));
            (fetch(build, http, &directory, *file, called, listeners).await?, false)
        }
    };
    if let Some(wanted) = wanted.filter(|wanted| *wanted != known.digest) {
        // What is kept is no less true for that.
        return Err(Error::Invalid(format!("digest mismatch {}: {wanted}", known.digest)));
    }
    Ok((keep(directory, &known), known, was_here))
}

fn output(directory: Arc<Directory>, http: &Http, mode: u32, known: &Known) -> Output {
    let (name, digest) = (&known.name, &known.digest);
    let identity = Some(format!("http {digest} {mode:o} {}:{} {name}", http.uid, http.gid));
    Output::Tree(Tree { directory, part: PathBuf::new(), identity, time: None })
}

/// What the file has to be.
fn wanted(http: &Http) -> Result<Option<String>, Error> {
    let Some(sum) = &http.checksum else { return Ok(None) };
    let digest: Result<Digest, _> = sum.0.parse();
    match digest {
        Ok(digest) if digest.algorithm() == Algorithm::Sha256 => Ok(Some(digest.to_string())),
        Ok(_) => Err(Error::NotYet(format!("checksum {}: an algorithm other than sha256", sum.0))),
        Err(error) => Err(Error::Invalid(format!("invalid checksum {}: {error}", sum.0))),
    }
}

/// What is known of the file that is there; `None` where none is whole.
fn known(directory: &Directory, beside: &Path) -> Option<Known> {
    let known: Known = serde_json::from_slice(&fs::read(beside).ok()?).ok()?;
    let is_there = safe(&known.name) == known.name
        && fs::symlink_metadata(directory.path.join(&known.name))
            .is_ok_and(|found| found.is_file());
    is_there.then_some(known)
}

/// A URL without name and password, and the header that stands for them.
fn without_user(url: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.into(), None) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        None => (url.into(), None),
        Some((user, host)) => {
            let pair = decoded(user);
            let pair = if pair.contains(&b':') { pair } else { [pair, b":".to_vec()].concat() };
            let header = format!("Basic {}", BASE64.encode(&pair));
            (format!("{scheme}://{host}{path}"), Some(header))
        }
    }
}

/// Writes what comes in place of what is there.
async fn fetch(
    build: &Arc<Shared>,
    http: &Http,
    directory: &Directory,
    mut file: WebFile,
    name: String,
    listeners: &Listeners,
) -> Result<Known, Error> {
    let beside = build.builder.store.beside(directory, KNOWN);
    let _ = fs::remove_file(&beside);
    directory.clear()?;
    let path = directory.path.join(&name);
    let is_packed =
        file.header("content-encoding").is_some_and(|how| how.eq_ignore_ascii_case("gzip"));
    let mut came = path.clone();
    if is_packed {
        came = build.builder.store.beside(directory, PACKED);
        // Of somebody who was killed.
        let _ = fs::remove_file(&came);
    }
    let mut made = make(&came)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut far = Far::new(&file, &name);
    while let Some(piece) =
        file.next().await.map_err(|error| Error::Invalid(docker::error::chain(&error)))?
    {
        made.write_all(&piece).at("write", &came)?;
        hasher.update(&piece);
        far.come(piece.len(), listeners);
    }
    far.end(listeners);
    let mut digest = hasher.finish();
    if is_packed {
        let to = path.clone();
        (made, digest) = build.blocking(move |_| unpack(&came, &to)).await?;
    }
    std::os::unix::fs::fchown(&made, Some(http.uid), Some(http.gid)).at("chown", &path)?;
    let mode = Permissions::from_mode(http.mode.unwrap_or(0o600) & 0o7777);
    made.set_permissions(mode).at("chmod", &path)?;
    let modified = std::time::Duration::from_secs(file.modified().unwrap_or(0));
    made.set_modified(std::time::UNIX_EPOCH + modified).at("utimensat", &path)?;
    let header = |name| file.header(name).map(str::to_owned);
    let known = Known {
        name,
        digest: digest.to_string(),
        etag: header("etag"),
        modified: header("last-modified"),
    };
    let text = serde_json::to_vec(&known).map_err(std::io::Error::other).at("write", &beside)?;
    fs::write(&beside, text).at("write", &beside)?;
    let id = directory.id.clone();
    let size = made.metadata().at("stat", &path)?.len();
    build.blocking(move |build| build.builder.store.measured(&id, size)).await?;
    Ok(known)
}

/// Unpacks what came compressed by gzip: the file, and the digest of what is in it.
fn unpack(from: &Path, to: &Path) -> Result<(fs::File, Digest), Error> {
    let mut packed = fs::File::open(from).at("open", from)?;
    fs::remove_file(from).at("unlink", from)?;
    let mut made = make(to)?;
    let mut digest = Digest::sha256(b"");
    if packed.metadata().at("stat", from)?.len() > 0 {
        let wrong = |why: String| Error::Invalid(format!("Content-Encoding: gzip: {why}"));
        let decoder = Decoder::new(&mut packed, Limits::default());
        let mut decoder = decoder.map_err(|error| wrong(docker::error::chain(&error)))?;
        if decoder.compression() != Compression::Gzip {
            return Err(wrong("what came is not compressed so".into()));
        }
        let copied = std::io::copy(&mut decoder, &mut made);
        copied.map_err(|error| wrong(docker::error::chain(&error)))?;
        digest = decoder.finish().ok_or(Error::Lost("a digest"))?.0;
    }
    Ok((made, digest))
}

/// A new file.
pub(super) fn make(path: &Path) -> Result<fs::File, Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path).at("open", path)
}

/// Takes a stream of the client's as a file. It is nobody's but this build's.
async fn take(
    build: &Arc<Shared>,
    http: &Http,
    stream: &str,
    listeners: &Listeners,
) -> Result<(Output, bool), Error> {
    let description = "stream of the client";
    let taken = build
        .blocking(move |build| build.builder.store.take(KIND, "\0", description, Use::Private));
    let mut directory = taken.await?.ok_or(Error::Lost("a directory of the builder"))?;
    directory.is_passing = true;
    directory.clear()?;
    let name = safe(&http.name);
    let path = directory.path.join(&name);
    let mut made = make(&path)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut far = Far::of(&name, 0);
    let mut bytes = build.client.upload(stream).await.map_err(Error::Client)?;
    let mut buffer = vec![0; PIECE];
    loop {
        let read = bytes.read(&mut buffer).await;
        let n_read = read.map_err(|error| Error::Client(docker::error::chain(&error)))?;
        if n_read == 0 {
            break;
        }
        made.write_all(&buffer[..n_read]).at("write", &path)?;
        hasher.update(&buffer[..n_read]);
        far.come(n_read, listeners);
    }
    far.end(listeners);
    // As a file has of which its server says nothing.
    made.set_modified(std::time::UNIX_EPOCH).at("utimensat", &path)?;
    let digest = hasher.finish().to_string();
    let known = Known { name, digest, ..Known::default() };
    Ok((output(Arc::new(directory), http, 0o600, &known), false))
}

/// What is read of a stream at once, bytes.
const PIECE: usize = 256 << 10;

/// What the file is called: as the build says, or the server, or the URL (security row H05).
fn file_name(http: &Http, url: &str, disposition: Option<&str>) -> String {
    if !http.name.is_empty() {
        return safe(&http.name);
    }
    if let Some(name) = disposition.and_then(disposed).filter(|name| !name.ends_with('/')) {
        return safe(name.rsplit('/').next().unwrap_or_default());
    }
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let last =
        path.split_once('/').and_then(|(_, path)| path.trim_end_matches('/').rsplit('/').next());
    safe(&String::from_utf8_lossy(&decoded(last.unwrap_or_default())))
}

/// A name that a file in a directory can have.
pub(super) fn safe(name: &str) -> String {
    let is_bad = matches!(name, "" | "." | "..")
        || name.len() > 255
        || name.contains('/')
        || name.contains(char::is_control);
    if is_bad { NAMELESS.into() } else { name.into() }
}

/// The file name in a `Content-Disposition` (RFC 6266): `filename*` before `filename`.
fn disposed(header: &str) -> Option<String> {
    let mut found = None;
    for (key, value) in parameters(header) {
        match key.as_str() {
            "filename*" => {
                let (_, encoded) = value.split_once("''")?;
                return Some(String::from_utf8_lossy(&decoded(encoded)).into_owned());
            }
            "filename" => found = Some(value),
            _ => {}
        }
    }
    found
}

/// `KEY=VALUE` and `KEY="VALUE"`, behind semicolons.
fn parameters(header: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut rest = header.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((key, after)) = rest.split_once('=') {
        let (value, end) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => after.split_once(';').map_or((after.trim().to_owned(), ""), |(value, end)| {
                (value.trim().to_owned(), end)
            }),
        };
        all.push((key.trim_start_matches([';', ' ', '\t']).trim().to_ascii_lowercase(), value));
        rest = end;
    }
    all
}

/// Up to the quote that ends it, and what follows that.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, char)| char)),
            char => value.push(char),
        }
    }
    (value, "")
}

/// `%20`. What is no such code stays.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
