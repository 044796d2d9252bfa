//! `FileSync`: a build reads a directory of ours, by fsutil's protocol.
//!
//! We tell of each file, each has a number by the order of telling, and then there is an empty packet.
//! Meanwhile the other side asks for the content of those that it wants, by number. It says when it
//! has all, and we say the same.

use std::ffi::OsStr;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use buildkit::fsutil::{Packet, Stat, packet::PacketType};
use buildkit::upload::BytesMessage;
use bytes::Bytes;
use dockerfile::ignore::{Filter, Links, follow};
use fsroot::Root;
use rustix::fs::{Mode, OFlags};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::walk::{Files, Walk};
use super::{Directory, Pieces, Session, header};

/// Packets on their way to the connection.
const PACKETS: usize = 128;
/// Bytes of a file in one packet: as fsutil sends them.
const PIECE: usize = 32 << 10;
/// A regular file that everybody may read, in Go's form.
const SINGLE_MODE: u32 = 0o644;

type Out = mpsc::Sender<Result<Packet, Status>>;

/// What a call wants of which directory.
struct Wanted {
    directory: Directory,
    include: Vec<String>,
    exclude: Vec<String>,
    follow: Vec<String>,
}

pub(super) fn send(
    session: &Arc<Session>,
    call: Request<Streaming<Packet>>,
) -> impl Future<Output = Result<Response<Pieces<Packet>>, Status>> + use<> {
    let metadata = call.metadata();
    let name = header::value(metadata, "dir-name");
    let found = session.directories.get(&name).cloned();
    let lists = ["include-patterns", "exclude-patterns", "followpaths"];
    let [include, exclude, follow] = lists.map(|name| header::values(metadata, name));
    async move {
        let Some(directory) = found else {
            return Err(Status::not_found(format!("no access allowed to dir {name:?}")));
        };
        let (out, pieces) = mpsc::channel(PACKETS);
        let wanted = Wanted { directory, include, exclude, follow };
        tokio::spawn(transfer(wanted, call.into_inner(), out));
        Ok(Response::new(Pieces::new(pieces)))
    }
}

async fn transfer(wanted: Wanted, mut incoming: Streaming<Packet>, out: Out) {
    let files: Arc<Files> = Arc::default();
    let (ask, asked) = mpsc::unbounded_channel();
    let directory = wanted.directory.clone();
    let (telling, answering) = ((Arc::clone(&files), out.clone()), (files, out.clone()));
    let walk = tokio::task::spawn_blocking(move || tell(&wanted, &telling.0, &telling.1));
    let data =
        tokio::task::spawn_blocking(move || answer(&directory, &answering.0, asked, &answering.1));
    while let Ok(Some(packet)) = incoming.message().await {
        match PacketType::try_from(packet.r#type) {
            Ok(PacketType::PacketReq) => _ = ask.send(packet.id),
            Ok(PacketType::PacketFin) => {
                _ = out.send(Ok(kind(PacketType::PacketFin))).await;
                break;
            }
            // It has said to its own people what went wrong.
            _ => break,
        }
    }
    drop(ask);
    _ = tokio::join!(walk, data);
}

fn kind(kind: PacketType) -> Packet {
    Packet { r#type: kind.into(), ..Packet::default() }
}

fn fail(out: &Out, why: &str) {
    let packet = Packet { data: Bytes::from(why.to_owned()), ..kind(PacketType::PacketErr) };
    _ = out.blocking_send(Ok(packet));
    _ = out.blocking_send(Err(Status::unknown(why)));
}

/// Tells of all that is wanted.
fn tell(wanted: &Wanted, files: &Files, out: &Out) {
    let mut each = |stat: Stat| {
        let packet = Packet { stat: Some(stat), ..kind(PacketType::PacketStat) };
        out.blocking_send(Ok(packet)).is_ok()
    };
    let told = match &wanted.directory {
        Directory::At(path) => walk(path, wanted, files, &mut each),
        Directory::Empty => Ok(()),
        Directory::Single(name, content) => single(name, content, wanted, files, &mut each),
    };
    match told {
        Ok(()) => _ = out.blocking_send(Ok(kind(PacketType::PacketStat))),
        Err(why) => fail(out, &why),
    }
}

fn walk(
    path: &Path,
    wanted: &Wanted,
    files: &Files,
    each: &mut dyn FnMut(Stat) -> bool,
) -> Result<(), String> {
    let root = Root::open(path).map_err(|err| err.to_string())?;
    let filter = filter(wanted, &mut Tree(&root))?;
    Walk::new(files, each).all(&root, &filter).map_err(|err| err.to_string())
}

/// Includes and followed paths are one list: what either names is wanted.
fn filter<L: Links<Error = String>>(wanted: &Wanted, tree: &mut L) -> Result<Filter, String> {
    let mut include = wanted.include.clone();
    if !wanted.follow.is_empty() {
        let followed = follow(tree, &wanted.follow)?;
        if followed.is_empty() {
            include.clear();
        }
        include.extend(followed);
    }
    Filter::new(&include, &wanted.exclude).map_err(|err| err.to_string())
}

fn single(
    name: &str,
    content: &[u8],
    wanted: &Wanted,
    files: &Files,
    each: &mut dyn FnMut(Stat) -> bool,
) -> Result<(), String> {
    if !filter(wanted, &mut Nothing)?.wants(name) {
        return Ok(());
    }
    files.lock().unwrap_or_else(PoisonError::into_inner).push(Some(name.as_bytes().into()));
    each(Stat {
        path: name.as_bytes().to_vec(),
        mode: SINGLE_MODE,
        size: content.len() as i64,
        ..Stat::default()
    });
    Ok(())
}

/// Sends the content of what is asked for, until nobody asks any more.
fn answer(
    directory: &Directory,
    files: &Files,
    mut asked: mpsc::UnboundedReceiver<u32>,
    out: &Out,
) {
    while let Some(id) = asked.blocking_recv() {
        let files = files.lock().unwrap_or_else(PoisonError::into_inner);
        let path = files.get(id as usize).cloned().flatten();
        drop(files);
        let sent = match (&path, directory) {
            (Some(path), Directory::At(root)) => content(root, path, id, out),
            (Some(_), Directory::Single(_, content)) => {
                content.chunks(PIECE).for_each(|piece| data(out, id, piece));
                data(out, id, &[]);
                Ok(())
            }
            _ => Err(format!("invalid file id {id}")),
        };
        if let Err(why) = sent {
            return fail(out, &why);
        }
    }
}

fn data(out: &Out, id: u32, bytes: &[u8]) {
    let data = Bytes::copy_from_slice(bytes);
    _ = out.blocking_send(Ok(Packet { id, data, ..kind(PacketType::PacketData) }));
}

fn content(root: &Path, path: &[u8], id: u32, out: &Out) -> Result<(), String> {
    let root = Root::open(root).map_err(|err| err.to_string())?;
    // What is a fifo by now must not hold us up, and what is a link now leads nowhere.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = root.open_with(OsStr::from_bytes(path), flags, Mode::empty());
    let file = file.map_err(|err| err.to_string())?;
    let mut buffer = vec![0; PIECE];
    loop {
        let read = rustix::io::read(file.as_fd(), &mut buffer[..]);
        let n = read.map_err(|err| format!("read({:?}): {err}", String::from_utf8_lossy(path)))?;
        data(out, id, &buffer[..n]);
        if n == 0 || out.is_closed() {
            return Ok(());
        }
    }
}

/// Links of a directory, read below its root only.
struct Tree<'a>(&'a Root);

impl Links for Tree<'_> {
    type Error = String;

    fn target(&mut self, path: &str) -> Result<Option<String>, String> {
        let Ok(link) = self.0.open_link(path) else { return Ok(None) };
        let target = rustix::fs::readlinkat(&link, "", Vec::new());
        Ok(target.ok().and_then(|target| target.into_string().ok()))
    }

    fn names(&mut self, directory: &str) -> Result<Vec<String>, String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let Ok(dir) = self.0.open_with(directory, flags, Mode::empty()) else {
            return Ok(Vec::new());
        };
        let Ok(entries) = rustix::fs::Dir::read_from(&dir) else { return Ok(Vec::new()) };
        let names = entries.filter_map(Result::ok);
        Ok(names.filter_map(|entry| Some(entry.file_name().to_str().ok()?.to_owned())).collect())
    }
}

/// No link at all.
struct Nothing;

impl Links for Nothing {
    type Error = String;

    fn target(&mut self, _path: &str) -> Result<Option<String>, String> {
        Ok(None)
    }

    fn names(&mut self, _directory: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }
}

/// `Upload`: what comes on our standard input.
pub(super) fn upload(
    session: &Arc<Session>,
    call: &Request<Streaming<BytesMessage>>,
) -> impl Future<Output = Result<Response<Pieces<BytesMessage>>, Status>> + use<> {
    let path = header::value(call.metadata(), "urlpath");
    let is_ours = session.upload.as_deref() == Some(path.trim_start_matches('/'));
    let first = Bytes::from(session.read_ahead.clone());
    async move {
        if !is_ours {
            return Err(Status::not_found(format!("no upload {path:?}")));
        }
        let (out, pieces) = mpsc::channel(8);
        tokio::spawn(async move {
            if out.send(Ok(BytesMessage { data: first })).await.is_err() {
                return;
            }
            let mut input = crate::stream::read_stdin();
            while let Some(data) = input.recv().await {
                if out.send(Ok(BytesMessage { data: data.into() })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Pieces::new(pieces)))
    }
}
