//! Archives that go to the engine and come from it.

use std::io::{self, IsTerminal as _, Read, Write};
use std::path::Path;
use std::thread;

use bytes::Bytes;
use docker::progress::Message;
use http_body_util::{BodyExt as _, Full};
use hyper::Method;
use tokio::sync::mpsc;

use crate::client::{Client, Pieces, empty};
use crate::error::{Error, Result};
use crate::{images, progress};

/// How much of an archive is read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// `save` and `export`: writes what the engine sends to a file, or to standard output.
pub(crate) async fn fetch(client: &Client, path: &str, output: Option<&Path>) -> Result<i32> {
    if output.is_none() && io::stdout().is_terminal() {
        return Err(Error::Usage(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect".to_owned(),
        ));
    }
    if let Some(file) = output {
        check_output(file)?;
    }
    let mut response = client.call(Method::GET, path, empty()).await?;
    let name =
        output.map_or_else(|| "standard output".to_owned(), |file| file.display().to_string());
    // Beside its name until it is whole: what is there under the name is never half an archive.
    let beside = output.map(|file| {
        let mut beside = file.as_os_str().to_owned();
        beside.push(".part");
        std::path::PathBuf::from(beside)
    });
    let mut to: Box<dyn Write> = match &beside {
        Some(file) => Box::new(
            std::fs::File::create(file).map_err(Error::io(format!("create {}", file.display())))?,
        ),
        None => Box::new(io::stdout()),
    };
    let mut progress = progress::Bytes::new("writing", None);
    while let Some(piece) = client.next_piece(&mut response).await? {
        match to.write_all(&piece) {
            // Who reads has seen enough (`dhow export web | head`).
            Err(err) if err.kind() == io::ErrorKind::BrokenPipe => {
                return Err(Error::Exit(crate::output::BROKEN_PIPE));
            }
            written => written.map_err(Error::io(format!("write to {name}")))?,
        }
        progress.add(piece.len() as u64);
    }
    to.flush().map_err(Error::io(format!("write to {name}")))?;
    if let (Some(beside), Some(file)) = (beside, output) {
        std::fs::rename(&beside, file).map_err(Error::io(format!("rename to {name}")))?;
    }
    Ok(0)
}

/// Whether an archive can have this name.
fn check_output(file: &Path) -> Result<()> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    if let Some(dir) = dir.filter(|dir| !dir.is_dir()) {
        return Err(Error::Usage(format!(
            "invalid output path: directory {:?} does not exist",
            dir.display().to_string()
        )));
    }
    match std::fs::metadata(file) {
        Ok(found) if !found.is_file() => Err(Error::Usage(format!(
            "invalid output path: {:?} must be a regular file",
            file.display().to_string()
        ))),
        _ => Ok(()),
    }
}

/// `load`.
pub(crate) async fn load(
    client: &Client,
    input: Option<&Path>,
    platforms: &[String],
    quiet: bool,
) -> Result<i32> {
    let platforms = crate::platforms::query("platform", platforms)?;
    if input.is_none() && io::stdin().is_terminal() {
        return Err(Error::Usage("requested load from stdin, but stdin is empty".to_owned()));
    }
    let (reader, total) = open(input.unwrap_or(Path::new("-")))?;
    let body = Pieces(read_on_a_thread(reader, progress::Bytes::new("loading", total))).boxed();
    let path = format!("/images/load?quiet={}{platforms}", u8::from(quiet));
    let response = client.call(Method::POST, &path, body).await?;
    images::follow(client, response, &mut |message: &Message| {
        if !message.stream.is_empty() {
            print!("{}", message.stream);
        }
        None
    })
    .await?;
    Ok(0)
}

/// Unpacks a tar archive at `path` in a container that was made for it; where that fails, the container is removed.
pub(crate) async fn put_into_new(
    client: &Client,
    id: &str,
    path: &str,
    archive: Bytes,
) -> Result<()> {
    let kind = [("Content-Type", "application/x-tar")];
    let body = Full::new(archive).map_err(|never| match never {}).boxed();
    let path = format!("/containers/{id}/archive?path={path}");
    if let Err(err) = client.call_with(Method::PUT, &path, &kind, body).await {
        _ = client.delete(&format!("/containers/{id}?force=1&v=1")).await;
        return Err(err);
    }
    Ok(())
}

/// Opens an archive, or standard input for `-`; with its length where it has one.
pub(crate) fn open(file: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>)> {
    if file == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let failed = |source| Error::Io { what: format!("open {}", file.display()), source };
    let opened = std::fs::File::open(file).map_err(failed)?;
    let metadata = opened.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(Error::Usage(format!(
            "{} is a directory: give a root file system archive (tar, gzip or zstd)",
            file.display()
        )));
    }
    let total = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(opened), total))
}

/// Reads on a thread of its own, so that what waits for the engine is not held up.
pub(crate) fn read_on_a_thread(
    mut reader: Box<dyn Read + Send>,
    mut progress: progress::Bytes,
) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(4);
    thread::spawn(move || {
        loop {
            let mut buffer = vec![0; CHUNK_BYTES];
            let piece = match reader.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => {
                    progress.add(n as u64);
                    buffer.truncate(n);
                    Ok(Bytes::from(buffer))
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => Err(err),
            };
            let failed = piece.is_err();
            if sender.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    });
    receiver
}
