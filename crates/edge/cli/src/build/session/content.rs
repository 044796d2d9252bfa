//! Content stores: containerd's service over directories that are OCI layouts. A blob that comes is what its
//! digest says, or is not there.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use buildkit::content::{
    Info, InfoRequest, InfoResponse, ReadContentRequest, ReadContentResponse, WriteAction,
    WriteContentRequest, WriteContentResponse,
};
use oci::{Digest, Hasher};
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::{Pieces, Session, header};
use crate::build::layout::blob_path;

/// Which store a call is for.
const STORE: &str = "buildkit-attachable-store-id";
/// Bytes of a blob in one message.
const PIECE: usize = 1 << 20;
/// Messages on their way.
const AHEAD: usize = 4;

/// A directory of blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Store {
    pub(crate) path: PathBuf,
    pub(crate) is_writable: bool,
}

fn store(session: &Session, metadata: &MetadataMap) -> Result<Store, Status> {
    let name = header::value(metadata, STORE);
    let found = session.stores.get(&name).cloned();
    found.ok_or_else(|| Status::not_found(format!("unknown content store {name:?}")))
}

fn digest(text: &str) -> Result<Digest, Status> {
    text.parse().map_err(|error| Status::invalid_argument(format!("{text:?}: {error}")))
}

fn open(store: &Store, digest: &Digest) -> Result<(File, u64), Status> {
    let path = blob_path(&store.path, digest);
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Status::not_found(format!("content {digest}: not found")),
        _ => Status::unknown(format!("{}: {error}", path.display())),
    };
    let file = File::open(&path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    Ok((file, len))
}

pub(super) fn info(
    session: &Arc<Session>,
    call: Request<InfoRequest>,
) -> impl Future<Output = Result<Response<InfoResponse>, Status>> + use<> {
    let store = store(session, call.metadata());
    async move {
        let text = call.into_inner().digest;
        let (_, len) = open(&store?, &digest(&text)?)?;
        let size = i64::try_from(len).unwrap_or(i64::MAX);
        let info = Some(Info { digest: text, size, ..Info::default() });
        Ok(Response::new(InfoResponse { info }))
    }
}

pub(super) fn read(
    session: &Arc<Session>,
    call: Request<ReadContentRequest>,
) -> impl Future<Output = Result<Response<Pieces<ReadContentResponse>>, Status>> + use<> {
    let store = store(session, call.metadata());
    async move {
        let asked = call.into_inner();
        let (mut file, len) = open(&store?, &digest(&asked.digest)?)?;
        let offset = u64::try_from(asked.offset).unwrap_or(0).min(len);
        let size = u64::try_from(asked.size).ok().filter(|size| *size > 0);
        let (out, pieces) = mpsc::channel(AHEAD);
        tokio::task::spawn_blocking(move || {
            let send = || -> io::Result<()> {
                file.seek(SeekFrom::Start(offset))?;
                let mut rest = file.take(size.unwrap_or(u64::MAX));
                let mut at = offset;
                loop {
                    let mut data = vec![0; PIECE];
                    let n_read = rest.read(&mut data)?;
                    data.truncate(n_read);
                    let offset = i64::try_from(at).unwrap_or(i64::MAX);
                    let piece = ReadContentResponse { offset, data };
                    if n_read == 0 || out.blocking_send(Ok(piece)).is_err() {
                        return Ok(());
                    }
                    at += n_read as u64;
                }
            };
            if let Err(error) = send() {
                _ = out.blocking_send(Err(Status::unknown(error.to_string())));
            }
        });
        Ok(Response::new(Pieces::new(pieces)))
    }
}

pub(super) fn write(
    session: &Arc<Session>,
    call: Request<Streaming<WriteContentRequest>>,
) -> impl Future<Output = Result<Response<Pieces<WriteContentResponse>>, Status>> + use<> {
    let store = store(session, call.metadata());
    async move {
        let store = store?;
        if !store.is_writable {
            return Err(Status::permission_denied("the content store is read only"));
        }
        let (out, pieces) = mpsc::channel(AHEAD);
        let (messages, come) = mpsc::channel(AHEAD);
        let answers = out.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(status) = take(&store, come, &answers) {
                _ = answers.blocking_send(Err(status));
            }
        });
        tokio::spawn(async move {
            let mut incoming = call.into_inner();
            while let Ok(Some(message)) = incoming.message().await {
                if messages.send(message).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Pieces::new(pieces)))
    }
}

/// A file that is being written, and goes unless it is kept.
struct Part {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    n_bytes: i64,
}

impl Drop for Part {
    fn drop(&mut self) {
        // Where it was kept there is none of this name any more.
        _ = fs::remove_file(&self.path);
    }
}

type Answers = mpsc::Sender<Result<WriteContentResponse, Status>>;

fn take(
    store: &Store,
    mut come: mpsc::Receiver<WriteContentRequest>,
    answers: &Answers,
) -> Result<(), Status> {
    let failed = |error: io::Error| Status::unknown(format!("{}: {error}", store.path.display()));
    let (mut part, mut expected): (Option<Part>, Option<Digest>) = (None, None);
    while let Some(message) = come.blocking_recv() {
        if !message.expected.is_empty() {
            expected = Some(digest(&message.expected)?);
        }
        let missing = || Status::invalid_argument("a blob is written by its digest");
        let name = expected.as_ref().ok_or_else(missing)?;
        let path = blob_path(&store.path, name);
        if path.exists() {
            return Err(Status::already_exists(format!("content {name}: already exists")));
        }
        let part = if let Some(part) = &mut part {
            part
        } else {
            let directory = path.parent().unwrap_or(&store.path);
            fs::create_dir_all(directory).map_err(failed)?;
            let beside = store.path.join(format!(".{}.{}.part", name.hex(), std::process::id()));
            let file = File::create(&beside).map_err(failed)?;
            let hasher = Hasher::new(name.algorithm());
            part.insert(Part { path: beside, file, hasher, n_bytes: 0 })
        };
        if !message.data.is_empty() {
            if message.offset != part.n_bytes {
                return Err(Status::out_of_range(format!("a blob from byte {}", message.offset)));
            }
            part.file.write_all(&message.data).map_err(failed)?;
            part.hasher.update(&message.data);
            part.n_bytes += i64::try_from(message.data.len()).unwrap_or(i64::MAX);
        }
        let is_commit = message.action == i32::from(WriteAction::Commit);
        if is_commit {
            let found = std::mem::replace(&mut part.hasher, Hasher::new(name.algorithm())).finish();
            if found != *name || message.total > 0 && message.total != part.n_bytes {
                let why = format!("content {name} is {found}, of {} bytes", part.n_bytes);
                return Err(Status::failed_precondition(why));
            }
            part.file.sync_all().map_err(failed)?;
            fs::rename(&part.path, &path).map_err(failed)?;
        }
        let answer = WriteContentResponse {
            action: message.action,
            offset: part.n_bytes,
            total: message.total,
            digest: name.to_string(),
            ..WriteContentResponse::default()
        };
        if answers.blocking_send(Ok(answer)).is_err() || is_commit {
            return Ok(());
        }
    }
    Ok(())
}
