//! `cp`: files between containers and here.
//!
//! What comes from a container is an archive that may have been made to do harm. All of it stays in the
//! directory, or is the one file, that was named on the command line: see the crate `cp`.

mod stream;

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};

use ::cp::{Extract, Pack, Place};
use bytes::Bytes;
use docker::container::PathStat;
use docker::mode::{DIRECTORY, LINK};
use fsroot::Root;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Method, Response};
use tokio::sync::mpsc;

use crate::args::CpArgs;
use crate::client::{Client, Pieces, empty, encode};
use crate::error::{Error, Result};

use stream::{PIECE_BYTES, Receiving, Sending};

/// Where the engine says what is at a path.
const STAT_HEADER: &str = "X-Docker-Container-Path-Stat";

/// One of the two ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// Standard input or output.
    Stream,
    /// A path here.
    Here(String),
    /// A path in a container.
    There(String, String),
}

impl End {
    fn parse(text: &str) -> Result<Self> {
        if text == "-" {
            return Ok(Self::Stream);
        }
        match text.split_once(':') {
            Some((container, path)) if !text.starts_with(['/', '.']) => {
                if container.is_empty() || path.is_empty() {
                    return Err(Error::Usage(format!("{text:?}: give CONTAINER:PATH")));
                }
                Ok(Self::There(container.to_owned(), path.to_owned()))
            }
            _ if text.is_empty() => {
                Err(Error::Usage("destination path can not be empty".to_owned()))
            }
            _ => Ok(Self::Here(text.to_owned())),
        }
    }
}

/// What is copied.
#[derive(Clone, Debug)]
struct Source {
    is_directory: bool,
    /// What it is called, or `.` where it is what is in it that is wanted.
    name: OsString,
}

/// Where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    /// An existing directory, or one that will have been made.
    directory: String,
    /// Its name there; `.`: what is in it goes into the directory.
    name: OsString,
}

/// What is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    File,
    Directory,
}

pub(crate) async fn copy(client: &Client, args: &CpArgs) -> Result<i32> {
    let (source, destination) = (End::parse(&args.source)?, End::parse(&args.destination)?);
    let copied = match (source, destination) {
        (End::There(from, path), End::There(to, target)) => {
            between(client, args, (&from, &path), (&to, &target)).await?
        }
        (End::There(from, path), End::Stream) => {
            let (_, mut response) = fetch(client, args, &from, &path).await?;
            let mut out = io::stdout().lock();
            while let Some(piece) = client.next_piece(&mut response).await? {
                out.write_all(&piece).map_err(Error::io("write to standard output"))?;
            }
            out.flush().map_err(Error::io("write to standard output"))?;
            return Ok(0);
        }
        (End::There(from, path), End::Here(target)) => {
            out(client, args, &from, &path, &target).await?
        }
        (End::Stream, End::There(to, target)) => {
            let (found, target) = resolve(client, &to, &target).await?;
            if found != Found::Directory {
                return Err(Error::Usage(format!(
                    "destination \"{to}:{target}\" must be a directory"
                )));
            }
            let progress = crate::progress::Bytes::new("copying", None);
            let body = crate::archive::read_on_a_thread(Box::new(io::stdin()), progress);
            put(client, args, &to, &target, body).await?;
            return Ok(0);
        }
        (End::Here(path), End::There(to, target)) => {
            into(client, args, &path, &to, &target).await?
        }
        _ => {
            return Err(Error::Usage("must specify at least one container source".to_owned()));
        }
    };
    if !args.quiet && io::stdout().is_terminal() {
        let size = crate::format::human::size(i64::try_from(copied).unwrap_or(i64::MAX));
        eprintln!("Successfully copied {size} to {}", args.destination);
    }
    Ok(0)
}

/// Where something goes, by what is there: Docker's rules, which are those of cp(1).
fn settle(source: &Source, given: &str, found: Found) -> Result<Target> {
    let asserted = given.ends_with('/') || given.ends_with("/.");
    match (found, source.is_directory) {
        (Found::Directory, _) => {
            Ok(Target { directory: given.to_owned(), name: source.name.clone() })
        }
        (Found::File, true) => Err(Error::Usage("cannot copy directory".to_owned())),
        (Found::File, false) if asserted => Err(Error::Usage("not a directory".to_owned())),
        (Found::Nothing, false) if asserted => Err(Error::Usage("no such directory".to_owned())),
        (Found::File, false) | (Found::Nothing, _) => {
            let path = Path::new(given);
            let name = path.file_name().ok_or_else(|| {
                Error::Usage(format!("invalid output path: {given:?} names no file"))
            })?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let directory = parent.unwrap_or(Path::new(".")).to_string_lossy().into_owned();
            Ok(Target { directory, name: name.to_owned() })
        }
    }
}

/// From a container to here.
async fn out(
    client: &Client,
    args: &CpArgs,
    container: &str,
    path: &str,
    target: &str,
) -> Result<u64> {
    let (source, response) = fetch(client, args, container, path).await?;
    // A link at the end is the caller's own.
    let (found, given) = match std::fs::metadata(target) {
        Err(_) => (Found::Nothing, target.to_owned()),
        Ok(meta) if meta.is_dir() => (Found::Directory, target.to_owned()),
        Ok(_) => {
            let real = std::fs::canonicalize(target).map_err(Error::io(target))?;
            (Found::File, real.to_string_lossy().into_owned())
        }
    };
    let Target { directory, name } = settle(&source, &given, found)?;
    let directory = PathBuf::from(directory);
    if !directory.is_dir() {
        return Err(Error::Usage(format!(
            "invalid output path: directory {:?} does not exist",
            directory.display().to_string()
        )));
    }
    let mut options = Extract { keep_kinds: true, as_self: !args.archive, ..Extract::default() };
    let shown = args.destination.clone();
    unpack(client, response, move |archive| {
        if !source.is_directory {
            return ::cp::unpack_file(root(&directory)?, &name, options, archive);
        }
        if name == "." {
            return ::cp::unpack(root(&directory)?, Path::new("/"), options, archive);
        }
        // All of it goes into this directory, and nothing beside it.
        let inside = directory.join(&name);
        match std::fs::create_dir(&inside) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(|source| ::cp::Error::Io {
                call: "mkdir",
                path: inside.clone(),
                source,
            })?,
        }
        options.whole = true;
        // What is called `.` there has no name to be left out.
        options.strip = source.name != ".";
        ::cp::unpack(root(&inside)?, Path::new("/"), options, archive)
    })
    .await
    .map_err(|err| match err {
        Error::Usage(why) => Error::Usage(format!("{shown}: {why}")),
        err => err,
    })
}

fn root(directory: &Path) -> std::result::Result<Root, ::cp::Error> {
    Ok(Root::open(directory)?)
}

/// From here into a container.
async fn into(
    client: &Client,
    args: &CpArgs,
    path: &str,
    container: &str,
    target: &str,
) -> Result<u64> {
    let mut place = Place::new(path);
    place.path = std::path::absolute(path).map_err(Error::io(path))?;
    place.follow |= args.follow_link;
    let found =
        if place.follow { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) };
    let meta = found.map_err(Error::io(format!("lstat {path}")))?;
    if [".", ".."].iter().any(|dots| place.name == *dots) && !path.ends_with("/.")
        || place.name == "/"
    {
        let real = std::fs::canonicalize(path).map_err(Error::io(path))?;
        real.file_name().unwrap_or(OsStr::new(".")).clone_into(&mut place.name);
    }
    let source = Source { is_directory: meta.is_dir(), name: place.name.clone() };
    let (found, given) = resolve(client, container, target).await?;
    let Target { directory, name } = settle(&source, &given, found)?;
    place.name = name;
    let (sender, receiver) = mpsc::channel(4);
    let packing = tokio::task::spawn_blocking(move || {
        let mut out = Sending { sender, buffer: Vec::with_capacity(PIECE_BYTES), sent: 0 };
        let root = Root::open(Path::new("/"))?;
        let packed = ::cp::pack(&root, &place, Pack::default(), &mut out);
        out.end(&packed);
        packed.map(|()| out.sent)
    });
    let put = put(client, args, container, &directory, receiver).await;
    let packed = join(packing).await;
    // A broken archive is refused by the engine: what broke it is the better news.
    match (put, packed) {
        (Err(err @ Error::Api { .. }), Err(Error::Usage(why))) if why.contains("broken pipe") => {
            Err(err)
        }
        (_, Err(err)) | (Err(err), Ok(_)) => Err(err),
        (Ok(()), Ok(sent)) => Ok(sent),
    }
}

/// All that is in a directory of ours as an archive: its pieces, and how that ended.
pub(crate) fn pack_directory(
    directory: &Path,
) -> (mpsc::Receiver<io::Result<Bytes>>, impl Future<Output = Result<()>>) {
    let (sender, receiver) = mpsc::channel(4);
    let directory = directory.to_owned();
    let packing = tokio::task::spawn_blocking(move || {
        let mut out = Sending { sender, buffer: Vec::with_capacity(PIECE_BYTES), sent: 0 };
        let how = Pack { attributes: true, ..Pack::default() };
        let place = Place::new("/.");
        let packed = root(&directory).and_then(|root| ::cp::pack(&root, &place, how, &mut out));
        out.end(&packed);
        packed.map(|()| out.sent)
    });
    (receiver, async move { join(packing).await.map(drop) })
}

/// Puts what is in an archive of the engine's into a directory of ours. Whoever is not root keeps what is in it, not
/// whose it is.
pub(crate) async fn unpack_directory(
    client: &Client,
    response: Response<Incoming>,
    directory: &Path,
) -> Result<()> {
    let directory = directory.to_owned();
    let as_self = !rustix::process::geteuid().is_root();
    let unpacked = unpack(client, response, move |archive| {
        let options = Extract { as_self, ..Extract::default() };
        ::cp::unpack(root(&directory)?, Path::new("/"), options, archive)
    });
    unpacked.await.map(drop)
}

/// From one container into another.
async fn between(
    client: &Client,
    args: &CpArgs,
    (from, path): (&str, &str),
    (to, target): (&str, &str),
) -> Result<u64> {
    let (source, mut response) = fetch(client, args, from, path).await?;
    let (found, given) = resolve(client, to, target).await?;
    let Target { directory, name } = settle(&source, &given, found)?;
    let (feed, fed) = mpsc::channel(4);
    let (sender, receiver) = mpsc::channel(4);
    let renaming = tokio::task::spawn_blocking(move || {
        let mut out = Sending { sender, buffer: Vec::with_capacity(PIECE_BYTES), sent: 0 };
        let renamed = ::cp::rename(&mut Receiving::new(fed), &name, &mut out);
        out.end(&renamed);
        renamed.map(|()| out.sent)
    });
    let feeding = async {
        while let Some(piece) = client.next_piece(&mut response).await? {
            if feed.send(piece).await.is_err() {
                break;
            }
        }
        drop(feed);
        Ok::<_, Error>(())
    };
    let (fed, put) = tokio::join!(feeding, put(client, args, to, &directory, receiver));
    let sent = join(renaming).await;
    fed?;
    put?;
    sent
}

/// Asks for what is at a path in a container.
async fn fetch(
    client: &Client,
    args: &CpArgs,
    container: &str,
    given: &str,
) -> Result<(Source, Response<Incoming>)> {
    let mut path = given.to_owned();
    if args.follow_link
        && let Some(stat) = stat(client, container, given).await?
        && stat.mode & LINK != 0
    {
        path = stat.link_target;
    }
    let query = format!("/containers/{}/archive?path={}", encode(container), encode(&path));
    let response = client.call(Method::GET, &query, empty()).await?;
    let found = read_stat(&response)?;
    let name = match Place::new(given).name {
        // The root's files have no name before them.
        name if name == "/" => OsString::from("."),
        name => name,
    };
    Ok((Source { is_directory: found.mode & DIRECTORY != 0, name }, response))
}

/// What is at a path in a container, and where a link leads that is there.
async fn resolve(client: &Client, container: &str, given: &str) -> Result<(Found, String)> {
    let mut path = given.to_owned();
    let Some(mut found) = stat(client, container, &path).await? else {
        return Ok((Found::Nothing, path));
    };
    if found.mode & LINK != 0 {
        path.clone_from(&found.link_target);
        match stat(client, container, &path).await? {
            None => return Ok((Found::Nothing, path)),
            Some(stat) => found = stat,
        }
    }
    let is_directory = found.mode & DIRECTORY != 0;
    Ok((if is_directory { Found::Directory } else { Found::File }, path))
}

async fn stat(client: &Client, container: &str, path: &str) -> Result<Option<PathStat>> {
    let query = format!("/containers/{}/archive?path={}", encode(container), encode(path));
    match client.call(Method::HEAD, &query, empty()).await {
        Ok(response) => read_stat(&response).map(Some),
        Err(Error::Api { status: 404, .. }) => Ok(None),
        // The answer to this has no body: what is wrong is said to who wants all.
        Err(Error::Api { .. }) => {
            read_stat(&client.call(Method::GET, &query, empty()).await?).map(Some)
        }
        Err(err) => Err(err),
    }
}

fn read_stat(response: &Response<Incoming>) -> Result<PathStat> {
    let odd = || Error::Usage("the engine does not say what is at the path".to_owned());
    let header = response.headers().get(STAT_HEADER).ok_or_else(odd)?;
    let json = data_encoding::BASE64.decode(header.as_bytes()).map_err(|_| odd())?;
    serde_json::from_slice(&json).map_err(|_| odd())
}

async fn put(
    client: &Client,
    args: &CpArgs,
    container: &str,
    directory: &str,
    body: mpsc::Receiver<io::Result<Bytes>>,
) -> Result<()> {
    let query = format!(
        "/containers/{}/archive?path={}&noOverwriteDirNonDir=true&copyUIDGID={}",
        encode(container),
        encode(directory),
        args.archive
    );
    client.call(Method::PUT, &query, Pieces(body).boxed()).await?;
    Ok(())
}

/// Has `work` read what the engine sends; how many bytes that was.
async fn unpack(
    client: &Client,
    mut response: Response<Incoming>,
    work: impl FnOnce(&mut dyn Read) -> std::result::Result<(), ::cp::Error> + Send + 'static,
) -> Result<u64> {
    let (feed, fed) = mpsc::channel(4);
    let working = tokio::task::spawn_blocking(move || {
        let mut reader = Receiving::new(fed);
        work(&mut reader).map(|()| reader.received)
    });
    while let Some(piece) = client.next_piece(&mut response).await? {
        if feed.send(piece).await.is_err() {
            break;
        }
    }
    drop(feed);
    join(working).await
}

async fn join<T>(work: tokio::task::JoinHandle<std::result::Result<T, ::cp::Error>>) -> Result<T> {
    match work.await {
        Ok(done) => done.map_err(|err| Error::Usage(docker::error::chain(&err))),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        let there = |container: &str, path: &str| End::There(container.into(), path.into());
        for (text, want) in [
            ("web:/etc", there("web", "/etc")),
            ("web:etc:x", there("web", "etc:x")),
            ("./web:/etc", End::Here("./web:/etc".into())),
            ("/a:b", End::Here("/a:b".into())),
            ("file", End::Here("file".into())),
            ("-", End::Stream),
        ] {
            assert_eq!(End::parse(text).unwrap(), want, "{text}");
        }
        for bad in [":/etc", "web:", ""] {
            assert!(End::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_rules_of_cp() {
        let source = |name: &str, is_directory| Source { is_directory, name: name.into() };
        let settled = |source: &Source, given: &str, found| match settle(source, given, found) {
            Ok(target) => format!("{} {}", target.directory, target.name.display()),
            Err(err) => err.to_string(),
        };
        let (file, dir, inside) = (source("f", false), source("d", true), source(".", true));
        assert_eq!(settled(&file, "/x", Found::Directory), "/x f");
        assert_eq!(settled(&file, "/x/y", Found::File), "/x y");
        assert_eq!(settled(&file, "/x/y", Found::Nothing), "/x y");
        assert_eq!(settled(&file, "/x/y/", Found::Nothing), "no such directory");
        assert_eq!(settled(&file, "/x/y/", Found::File), "not a directory");
        assert_eq!(settled(&file, "y", Found::Nothing), ". y");
        assert_eq!(settled(&dir, "/x", Found::Directory), "/x d");
        assert_eq!(settled(&inside, "/x", Found::Directory), "/x .");
        assert_eq!(settled(&dir, "/x", Found::File), "cannot copy directory");
        assert_eq!(settled(&dir, "/x/y/", Found::Nothing), "/x y");
        assert_eq!(settled(&inside, "/x/y", Found::Nothing), "/x y");
    }
}
