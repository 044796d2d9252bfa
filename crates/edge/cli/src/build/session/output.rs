//! `FileSend`: results come to us, as one file (an archive) or as a tree.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use buildkit::filesync::BytesMessage;
use buildkit::fsutil::{Packet, packet::PacketType};
use bytes::Bytes;
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::receive::Receiver;
use super::{Pieces, Session};

/// Where a result goes.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Into this directory, which is made; with `delete`, what else is in it is removed.
    Directory { path: PathBuf, delete: bool },
    /// Into this file, which is replaced when all of it is there.
    File(PathBuf),
    /// To standard output.
    Stdout,
}

const EXPORTER: &str = "buildkit-attachable-exporter-id";

/// Which target a call is for: the only one there is, where none is named.
pub(super) fn target(session: &Session, metadata: &MetadataMap) -> Result<Target, Status> {
    let named = metadata.get(EXPORTER).and_then(|value| value.to_str().ok());
    let found = match named.map(str::parse) {
        Some(Ok(id)) => session.targets.get(&id),
        None if session.targets.len() == 1 => session.targets.values().next(),
        Some(Err(_)) | None => None,
    };
    let name = named.unwrap_or_default();
    found.cloned().ok_or_else(|| Status::not_found(format!("no target for export {name:?}")))
}

pub(super) fn file(
    session: &Arc<Session>,
    call: Request<Streaming<BytesMessage>>,
) -> impl Future<Output = Result<Response<Pieces<BytesMessage>>, Status>> + use<> {
    let target = target(session, call.metadata());
    async move {
        let target = target?;
        let (out, pieces) = mpsc::channel(1);
        tokio::spawn(async move {
            if let Err(why) = write(target, call.into_inner()).await {
                _ = out.send(Err(Status::unknown(why))).await;
            }
        });
        Ok(Response::new(Pieces::new(pieces)))
    }
}

async fn write(target: Target, mut incoming: Streaming<BytesMessage>) -> Result<(), String> {
    let (pieces, mut come) = mpsc::channel::<Bytes>(8);
    let told = |err: std::io::Error| err.to_string();
    let written = match target {
        Target::Directory { path, .. } => return Err(format!("{path:?} takes a tree, not a file")),
        Target::Stdout => tokio::task::spawn_blocking(move || {
            let mut out = std::io::stdout().lock();
            while let Some(piece) = come.blocking_recv() {
                out.write_all(&piece).map_err(told)?;
            }
            out.flush().map_err(told)
        }),
        Target::File(path) => tokio::task::spawn_blocking(move || replace(&path, come)),
    };
    let mut ended = Ok(());
    loop {
        match incoming.message().await {
            Ok(None) => break,
            Ok(Some(message)) if message.data.is_empty() => {}
            Ok(Some(message)) => {
                if pieces.send(message.data).await.is_err() {
                    break;
                }
            }
            Err(status) => {
                ended = Err(status.message().to_owned());
                break;
            }
        }
    }
    if ended.is_ok() {
        // An empty piece: it is whole.
        _ = pieces.send(Bytes::new()).await;
    }
    drop(pieces);
    written.await.map_err(|err| err.to_string())??;
    ended
}

/// Writes a file beside the one that it replaces, whole or not at all. What is there and is no file (a
/// pipe, a device) is written to.
fn replace(path: &std::path::Path, mut come: mpsc::Receiver<Bytes>) -> Result<(), String> {
    let failed = |err: std::io::Error| format!("write {path:?}: {err}");
    let is_special = std::fs::metadata(path).is_ok_and(|found| !found.is_file());
    let mut name = path.as_os_str().to_owned();
    if !is_special {
        name.push(format!(".{}.part", std::process::id()));
    }
    let beside = PathBuf::from(name);
    let mut options = std::fs::OpenOptions::new();
    let mut file = if is_special {
        options.write(true).open(path).map_err(failed)?
    } else {
        options.write(true).create_new(true).open(&beside).map_err(failed)?
    };
    let mut fill = || {
        while let Some(piece) = come.blocking_recv() {
            if piece.is_empty() {
                return Ok(true);
            }
            file.write_all(&piece)?;
        }
        Ok(false)
    };
    let filled = fill();
    if is_special {
        return filled.map(drop).map_err(failed);
    }
    if !matches!(filled, Ok(true)) {
        _ = std::fs::remove_file(&beside);
        return filled.map(drop).map_err(failed);
    }
    std::fs::rename(&beside, path).map_err(failed)
}

pub(super) fn tree(
    session: &Arc<Session>,
    call: Request<Streaming<Packet>>,
) -> impl Future<Output = Result<Response<Pieces<Packet>>, Status>> + use<> {
    let target = target(session, call.metadata());
    async move {
        let Target::Directory { path, delete } = target? else {
            return Err(Status::invalid_argument("this export is no directory"));
        };
        let (out, pieces) = mpsc::channel(64);
        let (packets, come) = mpsc::channel(64);
        tokio::task::spawn_blocking(move || receive(&path, delete, come, &out));
        tokio::spawn(async move {
            let mut incoming = call.into_inner();
            while let Ok(Some(packet)) = incoming.message().await {
                if packets.send(packet).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Pieces::new(pieces)))
    }
}

fn receive(
    path: &std::path::Path,
    delete: bool,
    mut come: mpsc::Receiver<Packet>,
    out: &mpsc::Sender<Result<Packet, Status>>,
) {
    let mut all = || -> Result<(), super::receive::Error> {
        let mut receiver = Receiver::new(path, delete)?;
        while let Some(packet) = come.blocking_recv() {
            for answer in receiver.take(packet)? {
                if out.blocking_send(Ok(answer)).is_err() {
                    return Ok(());
                }
            }
        }
        receiver.end()
    };
    if let Err(err) = all() {
        let kind = PacketType::PacketErr.into();
        let data = Bytes::from(err.to_string());
        _ = out.blocking_send(Ok(Packet { r#type: kind, data, ..Packet::default() }));
        _ = out.blocking_send(Err(Status::unknown(err.to_string())));
    }
}
