//! A repository of a registry as a place for blobs and documents that are no image: build caches.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use content::Standing;
use images::{Images, PullBlob};
use oci::Digest;
use oci::image::Descriptor;
use reference::Reference;
use registry::{Document, Hosts, Sink};

use crate::event::{Meter, id};
use crate::pull::{Download, Request, Track, hosts};
use crate::push::Upload;
use crate::{Error, Events};

/// A repository, and the store that its blobs come to and from.
#[derive(Debug)]
pub struct Depot {
    images: Arc<Images>,
    hosts: Arc<Hosts>,
    reference: Reference,
    silence: Duration,
}

impl Depot {
    /// The repository that a name is in. Nothing is asked yet.
    pub async fn open(images: &Arc<Images>, request: &Request) -> Result<Self, Error> {
        let reference = request.reference.clone().with_default_tag();
        let hosts = hosts(request).await?;
        let silence = request.settings.retry.silence;
        Ok(Self { images: Arc::clone(images), hosts, reference, silence })
    }

    /// The manifest or index that the name means, or that has this digest.
    pub async fn document(&self, digest: Option<&Digest>) -> Result<Document, Error> {
        let reference = match digest {
            Some(digest) => self.reference.clone().with_digest(digest.clone()),
            None => self.reference.clone(),
        };
        Ok(self.hosts.manifest(&reference, &|_, _| ()).await?)
    }

    /// The manifests that are about another one, as the registry lists them.
    pub async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        Ok(self.hosts.referrers(self.reference.path(), subject, None, &|_, _| ()).await?)
    }

    /// A small blob.
    pub async fn small_blob(&self, blob: &Descriptor) -> Result<Bytes, Error> {
        Ok(self.hosts.small_blob(self.reference.path(), blob, 0, &|_, _| ()).await?)
    }

    /// Writes a blob of which no more than its digest is known, of `most` bytes at most.
    pub async fn copy<S: Sink>(&self, digest: &Digest, most: u64, sink: S) -> Result<S, Error> {
        let path = self.reference.path();
        let size = self.hosts.blob_size(path, digest, &|_, _| ()).await?;
        let odd =
            || Error::Invalid(format!("{digest} is too large, or of a size that nobody says"));
        let size = size.filter(|size| *size <= most).ok_or_else(odd)?;
        let blob = Descriptor::new("application/octet-stream", digest.clone(), size);
        Ok(self.hosts.download(path, &blob, 0, sink, &|_| (), &|_, _| ()).await?)
    }

    /// Brings a blob into the store, where it is not there.
    pub async fn fetch(&self, blob: &PullBlob, events: &Arc<Events>) -> Result<(), Error> {
        let Some(incoming) = blob.take() else { return Ok(()) };
        let descriptor = blob.descriptor();
        let track = Track {
            id: id(&descriptor.digest),
            size: descriptor.size,
            is_new: true,
            is_here: AtomicBool::new(false),
            meter: Meter::default(),
        };
        let to = Download { blob, track: &track, events };
        let (incoming, standing) = to.stand(incoming, self.silence).await?;
        let incoming = match standing {
            Standing::There => incoming,
            _ => to.fetch(&self.hosts, 0, self.reference.path(), incoming).await?,
        };
        to.finish(incoming).await
    }

    /// Sees to it that the repository has a blob of the store.
    pub async fn send(&self, blob: &Descriptor, events: &Arc<Events>) -> Result<(), Error> {
        let upload = Upload::new(&self.images, &self.hosts, &self.reference, blob, Vec::new());
        upload.send(Some(events)).await
    }

    /// Whether the repository has a blob, as far as it says so.
    pub async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        let repository = self.hosts.for_push()?.repository(self.reference.path());
        Ok(repository.has_blob(&blob.digest).await?)
    }

    /// Names a document, when all that it names is there: by the name's tag, or by its digest alone.
    pub async fn put(
        &self,
        media_type: &str,
        bytes: Vec<u8>,
        by_digest: bool,
    ) -> Result<(), Error> {
        let repository = self.hosts.for_push()?.repository(self.reference.path());
        let tag = self.reference.tag().unwrap_or(reference::DEFAULT_TAG);
        let name = if by_digest { Digest::sha256(&bytes).to_string() } else { tag.to_owned() };
        Ok(repository.put_manifest(&name, media_type, bytes.into()).await?)
    }
}
