//! Pushing an image.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use images::{Images, Push};
use oci::Digest;
use oci::image::Descriptor;
use reference::Reference;
use registry::{Hosts, Pushed, Source};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};

use crate::event::{Meter, id};
use crate::pull::{Request, hosts};
use crate::{AT_ONCE, Error, Event, Events, Layer};

/// A blob in the content store. The registry checks what comes.
struct Blob(PathBuf);

impl Source for Blob {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(&self.0)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }
}

/// Pushes the image of this name; with `all`, every tag of its repository.
pub async fn push(
    images: &Arc<Images>,
    request: &Request,
    all: bool,
    events: &Arc<Events>,
) -> Result<(), Error> {
    let reference = &request.reference;
    if reference.digest().is_some() {
        return Err(Error::Invalid("cannot push a digest reference".into()));
    }
    let names = {
        let reference = reference.clone();
        blocking(images, move |images| images.names_to_push(&reference, all)).await?
    };
    let hosts = hosts(request).await?;
    hosts.for_push()?;
    for (nth, name) in names.into_iter().enumerate() {
        let begun = {
            let (name, platform) = (name.clone(), request.platform.clone());
            blocking(images, move |images| images.begin_push_for(&name, platform.as_ref())).await?
        };
        if nth == 0 {
            events(Event::Pushing { repository: reference.name() });
        }
        let (push, sent) = match possible(&hosts, &name, &begun).await {
            Ok(true) => (&begun, send(images, &hosts, &name, &begun, events).await),
            Ok(false) => match &begun.instead {
                Some(one) => (&**one, send(images, &hosts, &name, one, events).await),
                None => (&begun, Err(lacking(&begun, events))),
            },
            Err(error) => (&begun, Err(error)),
        };
        let pushed = sent.is_ok().then(|| name.clone());
        let (all, sent_push) = (begun.clone(), push.clone());
        let end = move |images: &Images| {
            images.end_push(&sent_push, pushed.as_ref())?;
            images.end_push(&all, None)
        };
        blocking(images, end).await?;
        sent?;
        if push.root != begun.root {
            let (index, manifest) = (begun.descriptor(), push.descriptor());
            events(Event::Instead { index: index.into(), manifest: manifest.into() });
        }
        events(Event::Pushed {
            tag: name.tag().unwrap_or_default().to_owned(),
            digest: push.root.digest.clone(),
            size: push.root.bytes.len() as u64,
        });
    }
    Ok(())
}

/// Pushes an image, or the index that it is in, to a repository, where it gets no name: it is known by its
/// digest.
pub async fn push_by_digest(
    images: &Arc<Images>,
    request: &Request,
    image: &Digest,
    root: &Digest,
    events: &Arc<Events>,
) -> Result<(), Error> {
    let name = request.reference.clone().without_digest();
    let hosts = hosts(request).await?;
    hosts.for_push()?;
    let push = {
        let (name, image, root) = (name.clone(), image.clone(), root.clone());
        blocking(images, move |images| images.begin_push_of(&name, &image, &root)).await?
    };
    let at = name.clone().with_digest(root.clone());
    let sent = send(images, &hosts, &at, &push, events).await;
    let (pushed, name) = (push.clone(), sent.is_ok().then_some(name));
    blocking(images, move |images| images.end_push(&pushed, name.as_ref())).await?;
    sent
}

/// Whether the registry has what an index names and is not here.
async fn possible(hosts: &Hosts, name: &Reference, push: &Push) -> Result<bool, Error> {
    let repository = hosts.for_push()?.repository(name.path());
    for missing in &push.missing {
        if !repository.has_manifest(&missing.digest).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// That an index cannot be pushed.
fn lacking(push: &Push, events: &Arc<Events>) -> Error {
    events(Event::Missing(push.descriptor().into()));
    match push.missing.first() {
        Some(missing) => Error::Missing(missing.digest.clone()),
        None => Error::Invalid("nothing to push".into()),
    }
}

async fn send(
    images: &Arc<Images>,
    hosts: &Arc<Hosts>,
    name: &Reference,
    push: &Push,
    events: &Arc<Events>,
) -> Result<(), Error> {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut uploads = JoinSet::new();
    for layer in &push.layers {
        if layer.is_foreign() {
            events(Event::Layer { id: id(&layer.digest), layer: Layer::Foreign });
            continue;
        }
        events(Event::Layer { id: id(&layer.digest), layer: Layer::Preparing });
        let elsewhere = push.elsewhere.get(&layer.digest).cloned().unwrap_or_default();
        let upload = Upload::new(images, hosts, name, layer, elsewhere);
        let (turns, events) = (Arc::clone(&turns), Arc::clone(events));
        uploads.spawn(async move {
            // Nobody closes it.
            let _turn = turns.acquire().await;
            upload.send(Some(&events)).await
        });
    }
    while let Some(upload) = uploads.join_next().await {
        upload.map_err(|source| Error::Lost { what: "an upload", source })??;
    }
    for config in &push.configs {
        Upload::new(images, hosts, name, config, Vec::new()).send(None).await?;
    }
    let repository = hosts.for_push()?.repository(name.path());
    for document in &push.documents {
        let digest = document.digest.to_string();
        let bytes = document.bytes.clone().into();
        repository.put_manifest(&digest, &document.media_type, bytes).await?;
    }
    let tag = match name.digest() {
        Some(digest) => digest.to_string(),
        None => name.tag().unwrap_or(reference::DEFAULT_TAG).to_owned(),
    };
    let root = push.root.bytes.clone().into();
    Ok(repository.put_manifest(&tag, &push.root.media_type, root).await?)
}

/// A blob that is to be sent.
pub(crate) struct Upload {
    hosts: Arc<Hosts>,
    path: String,
    blob: Descriptor,
    source: Arc<dyn Source>,
    elsewhere: Vec<String>,
}

impl Upload {
    pub(crate) fn new(
        images: &Images,
        hosts: &Arc<Hosts>,
        name: &Reference,
        blob: &Descriptor,
        elsewhere: Vec<String>,
    ) -> Self {
        Self {
            hosts: Arc::clone(hosts),
            path: name.path().to_owned(),
            blob: blob.clone(),
            source: Arc::new(Blob(images.content().blob_path(&blob.digest))),
            elsewhere,
        }
    }

    pub(crate) async fn send(&self, events: Option<&Arc<Events>>) -> Result<(), Error> {
        let tell = |layer| {
            if let Some(events) = events {
                events(Event::Layer { id: id(&self.blob.digest), layer });
            }
        };
        let meter = Meter::default();
        let progress = |at| {
            if meter.is_due() {
                tell(Layer::Pushing(at, self.blob.size));
            }
        };
        let repository = self.hosts.for_push()?.repository(&self.path);
        let pushed =
            repository.upload(&self.blob, &self.source, &self.elsewhere, None, &progress).await?;
        tell(match pushed {
            Pushed::Existed => Layer::There,
            Pushed::Mounted(from) => Layer::Mounted(from),
            Pushed::Sent => Layer::Pushed,
        });
        Ok(())
    }
}

async fn blocking<T, F>(images: &Arc<Images>, work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce(&Images) -> Result<T, images::Error> + Send + 'static,
{
    let images = Arc::clone(images);
    match spawn_blocking(move || work(&images)).await {
        Ok(done) => Ok(done?),
        Err(source) => Err(Error::Lost { what: "a look at the images", source }),
    }
}
