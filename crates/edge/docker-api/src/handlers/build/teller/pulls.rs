//! Images that are pulled for a build, in the words of a pull.

use ::build::{Pulled, Status};
use docker::progress::{Detail, Message};
use oci::Digest;
use reference::Reference;

use super::super::{Gone, Out};
use super::Teller;

impl Teller {
    /// How far a layer of an image is that is pulled.
    pub(super) async fn pull(&mut self, status: &Status, out: &Out) -> Result<(), Gone> {
        let Some(vertex) = &status.vertex else { return Ok(()) };
        if !self.begin_pull(vertex, out).await? {
            return Ok(());
        }
        let (word, id) = match status.id.strip_prefix("extracting ") {
            Some(id) => ("Extracting", id),
            None => ("Downloading", status.id.as_str()),
        };
        let word = if status.completed.is_some() { "Pull complete" } else { word };
        let detail = Detail { current: status.current, total: status.total, ..Detail::default() };
        let (id, progress_detail) = (id.to_owned(), Some(detail));
        out.send(&Message { id, progress_detail, ..Message::status(word) }).await
    }

    /// An image has come, or is the one that was here.
    pub(super) async fn pulled(&mut self, pulled: &Pulled, out: &Out) -> Result<(), Gone> {
        if !self.begin_pull(&pulled.vertex, out).await? {
            return Ok(());
        }
        let what = if pulled.is_same { "Image is up to date" } else { "Downloaded newer image" };
        out.send(&Message::status(format!("Digest: {}", pulled.digest))).await?;
        out.send(&Message::status(format!("Status: {what} for {}", pulled.name))).await
    }

    /// Tells that an image is pulled, where that was not told yet. Whether it is to be told at all.
    async fn begin_pull(&mut self, vertex: &Digest, out: &Out) -> Result<bool, Gone> {
        let name = self.heard.get(vertex).map(|heard| heard.state.name.as_str());
        let Some((_, image)) = name.and_then(|name| name.split_once("load metadata for ")) else {
            return Ok(false);
        };
        if self.is_quiet {
            return Ok(false);
        }
        if self.pulling.insert(vertex.clone())
            && let Ok(image) = image.parse::<Reference>()
        {
            let tag = image.tag().unwrap_or_default().to_owned();
            let text = format!("Pulling from {}", image.path());
            out.send(&Message { id: tag, ..Message::status(text) }).await?;
        }
        Ok(true)
    }
}
