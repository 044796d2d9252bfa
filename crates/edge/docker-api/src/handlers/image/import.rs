//! Images that are made of archives, or pulled: `POST /images/create`.

use std::io::Read;

use bytes::Bytes;
use containers::Engine;
use docker::progress::Message;
use images::Import;
use oci::image::Platform;

use crate::{
    call::{Call, Reply},
    error::Error,
    handlers::registry,
    names::new_name,
    platform,
};

use super::lines;

/// Pieces between the network and the disk.
const WEB_PIECES: usize = 8;

/// `POST /images/create`
pub(crate) async fn create(call: Call) -> Reply {
    let platform = platform::from_text(call.query.text("platform"))?;
    match (call.query.text("fromImage"), call.query.text("fromSrc")) {
        ("", "") => Err(Error::invalid("either fromImage or fromSrc is needed")),
        ("", "-") => import(call, platform).await,
        ("", _) => import_from_web(call, platform).await,
        _ => registry::pull(call, platform).await,
    }
}

/// What to make of an archive that comes from `source`.
fn how_to_import(call: &Call, platform: Option<Platform>, source: &str) -> Result<Import, Error> {
    if platform.as_ref().is_some_and(|platform| platform.os != "linux") {
        return Err(Error::invalid("operating system is not supported"));
    }
    let message = match call.query.text("message") {
        "" => format!("Imported from {source}"),
        message => message.to_owned(),
    };
    Ok(Import {
        reference: new_name(call.query.text("repo"), call.query.text("tag"))?,
        changes: call.query.all("changes").flat_map(str::lines).map(str::to_owned).collect(),
        message: Some(message),
        platform,
        created: None,
    })
}

fn import_and_tell(
    engine: &Engine,
    archive: &mut impl Read,
    import: &Import,
) -> Result<images::Image, images::Error> {
    let image = engine.images().import(archive, import, &mut |_| ())?;
    let id = image.id.to_string();
    if let Some(reference) = &import.reference {
        let name = reference.clone().with_default_tag().familiar();
        engine.tell_of("image", "tag", &id, &[("name", &name)]);
    }
    engine.tell_of("image", "import", &id, &[("name", &id)]);
    Ok(image)
}

/// The archive is the body.
async fn import(mut call: Call, platform: Option<Platform>) -> Reply {
    let import = how_to_import(&call, platform, "-")?;
    let mut archive = call.reader();
    let image = call.engine(move |engine| import_and_tell(engine, &mut archive, &import)).await?;
    lines(&[Message::status(image.id.to_string())])
}

/// The archive is a file somewhere.
async fn import_from_web(call: Call, platform: Option<Platform>) -> Reply {
    let address = call.query.text("fromSrc");
    let has_scheme = address.contains("://");
    let address = if has_scheme { address.to_owned() } else { format!("http://{address}") };
    let import = how_to_import(&call, platform, &address)?;
    let mut file = ::registry::web_file(registry::settings().await?, &address).await?;
    let (sender, receiver) = tokio::sync::mpsc::channel(WEB_PIECES);
    let fetching = tokio::spawn(async move {
        while let Some(piece) = file.next().await? {
            if sender.send(piece).await.is_err() {
                break;
            }
        }
        Ok::<_, ::registry::Error>(())
    });
    let mut archive = Coming { receiver, piece: Bytes::new() };
    let image = call.engine(move |engine| import_and_tell(engine, &mut archive, &import)).await;
    // Where the file did not come, that is why it was no archive.
    match fetching.await {
        Ok(fetched) => fetched?,
        Err(err) => return Err(Error::internal(format!("the download panicked: {err}"))),
    }
    lines(&[
        Message::status(format!("Downloading from {address}")),
        Message::status(image?.id.to_string()),
    ])
}

/// What comes through a channel. Its end is the file's: what broke off is told by who fetches.
struct Coming {
    receiver: tokio::sync::mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Coming {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let n = self.piece.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.piece.split_to(n));
        Ok(n)
    }
}
