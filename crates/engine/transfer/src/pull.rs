//! Pulling an image.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use content::{Incoming, Standing};
use images::{Image, Images, IndexDocument, Pull, PullBlob, Step};
use oci::Digest;
use oci::image::{Descriptor, ImageConfig, MAX_CONFIG, Platform};
use reference::Reference;
use registry::{Credentials, Found, Hosts, Registry, Settings, Sink};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::event::{Meter, id, tag};
use crate::{AT_ONCE, Error, Event, Events, Layer};

/// How long the unpacking that has failed waits for a download that has failed to say why.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How often it is looked at how far somebody else is.
const LOOK: Duration = Duration::from_millis(100);

/// What is asked for, and how it is reached.
#[derive(Clone, Debug)]
pub struct Request {
    /// The image; with a tag, or a digest, or both.
    pub reference: Reference,
    /// For which platform; this machine's where it is `None`.
    pub platform: Option<Platform>,
    /// Who we are to the registry.
    pub credentials: Option<Credentials>,
    /// How registries are reached.
    pub settings: Settings,
}

/// What has come.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The image.
    pub image: Image,
    /// What the registry calls it: the index's digest, or the manifest's if there is none.
    pub digest: Digest,
}

/// Where a download goes.
struct To(Incoming);

impl Sink for To {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn size(&self) -> u64 {
        self.0.size()
    }

    fn digest(&self) -> Digest {
        self.0.digest()
    }
}

/// Pulls an image: from the first host that has it, of those that may be asked.
pub async fn pull(
    images: &Arc<Images>,
    request: &Request,
    events: &Arc<Events>,
) -> Result<Pulled, Error> {
    let reference = request.reference.clone().with_default_tag();
    let hosts = hosts(request).await?;
    let silence = request.settings.retry.silence;
    let from = From { images, hosts, reference: &reference, events, silence };
    from.pull(request.platform.as_ref()).await
}

/// Pulls every tag of a repository.
pub async fn pull_all(
    images: &Arc<Images>,
    request: &Request,
    events: &Arc<Events>,
) -> Result<(), Error> {
    let reference = &request.reference;
    let hosts = hosts(request).await?;
    let passed = |host: &Registry, error: &registry::Error| tell_passed(events, host, error);
    for tag in hosts.tags(reference, &passed).await? {
        let reference = reference.clone().with_tag(&tag);
        let reference =
            reference.map_err(|error| Error::Invalid(format!("tag `{tag}`: {error}")))?;
        let hosts = Arc::clone(&hosts);
        let silence = request.settings.retry.silence;
        let from = From { images, hosts, reference: &reference, events, silence };
        from.pull(request.platform.as_ref()).await?;
    }
    Ok(())
}

/// Whom to ask; a file is read for it.
pub(crate) async fn hosts(request: &Request) -> Result<Arc<Hosts>, Error> {
    let (settings, credentials) = (request.settings.clone(), request.credentials.clone());
    let domain = request.reference.domain().to_owned();
    let found = spawn_blocking(move || Hosts::of(&settings, &domain, credentials.as_ref())).await;
    let found = found.map_err(|source| Error::Lost { what: "a look at hosts.toml", source })?;
    Ok(Arc::new(found?))
}

fn tell_passed(events: &Arc<Events>, host: &Registry, error: &registry::Error) {
    events(Event::Passed { host: host.to_string(), why: docker::error::chain(error) });
}

/// The hosts to pull one image from.
struct From<'a> {
    images: &'a Arc<Images>,
    hosts: Arc<Hosts>,
    reference: &'a Reference,
    events: &'a Arc<Events>,
    /// How long somebody else may make no headway.
    silence: Duration,
}

/// Where a layer is on its way, for those who are told.
pub(crate) struct Track {
    pub(crate) id: String,
    pub(crate) size: u64,
    /// Nothing is told of one that was there.
    pub(crate) is_new: bool,
    pub(crate) is_here: AtomicBool,
    pub(crate) meter: Meter,
}

/// Ends what waits for downloads when nobody waits for it any more.
struct GiveUp(Arc<Pull>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

impl From<'_> {
    async fn pull(&self, platform: Option<&Platform>) -> Result<Pulled, Error> {
        if platform.is_none()
            && let Some(pulled) = self.unchanged().await?
        {
            return Ok(pulled);
        }
        let before = {
            let reference = self.reference.clone();
            self.blocking(move |images| Ok(images.id_of(&reference)?)).await?
        };
        let mut first = 0;
        loop {
            let wanted = platform.unwrap_or(images::host_platform());
            let passed = |host: &Registry, error: &registry::Error| {
                tell_passed(self.events, host, error);
            };
            let found = self.hosts.resolve(self.reference, wanted, first, &passed).await?;
            match (self.pull_found(&found, platform).await, self.hosts.after(found.host)) {
                // What one host gives is not what it should be: another may have better.
                (Err(Error::Registry(error)), Some(next)) => {
                    tell_passed(self.events, self.hosts.host(found.host), &error);
                    first = next;
                }
                (image, _) => {
                    let image = image?;
                    let host = self.hosts.host(found.host);
                    if !host.is_itself() {
                        (self.events)(Event::From { host: host.to_string() });
                    }
                    let digest = found.resolved.digest;
                    self.tell_pulled(&digest, before.as_ref() == Some(&image.id));
                    return Ok(Pulled { image, digest });
                }
            }
        }
    }

    async fn pull_found(&self, found: &Found, platform: Option<&Platform>) -> Result<Image, Error> {
        let resolved = &found.resolved;
        if !resolved.manifest.is_image() {
            return self.artifact(found).await;
        }
        let config = self.config(&resolved.manifest.config, found.host).await?;
        check_platform(self.reference, &config, platform)?;
        self.tell_pulling();
        let manifest = resolved.document.bytes.to_vec();
        let indexes = resolved.indexes.iter().map(|index| IndexDocument {
            media_type: index.media_type.clone(),
            bytes: index.bytes.to_vec(),
        });
        let indexes: Vec<_> = indexes.collect();
        let begin = move |images: &Images| Ok(images.begin_pull(manifest, config)?.within(indexes));
        let pull = self.blocking(begin).await?;
        self.fetch(found, Arc::new(pull)).await
    }

    /// Something that is no image: its blobs are kept, and nothing is unpacked.
    async fn artifact(&self, found: &Found) -> Result<Image, Error> {
        self.tell_pulling();
        let manifest = found.resolved.document.bytes.to_vec();
        let pull = self.blocking(move |images| Ok(images.begin_artifact(manifest)?)).await?;
        let tracks: Arc<Vec<Track>> = Arc::new(pull.blobs().iter().map(|one| track(one)).collect());
        for track in tracks.iter() {
            self.tell(track, if track.is_new { Layer::Found } else { Layer::Here });
        }
        let mut downloads = self.downloads(pull.blobs(), &tracks, found.host);
        while let Some(download) = downloads.join_next().await {
            download.map_err(|source| Error::Lost { what: "a download", source })??;
        }
        for track in tracks.iter() {
            self.tell_new(track, Layer::Complete);
        }
        let (reference, digest) = (self.reference.clone(), found.resolved.digest.clone());
        let finish = move |images: &Images| Ok(images.finish_artifact(&pull, &reference, &digest)?);
        self.blocking(finish).await
    }

    /// The image, if the registry says that its tag still means the same. To ask is cheap, and
    /// registries that count pulls do not count it.
    async fn unchanged(&self) -> Result<Option<Pulled>, Error> {
        let reference = self.reference.clone();
        let here = self.blocking(move |images| Ok(images.id_of(&reference)?)).await?;
        if here.is_none() || self.reference.digest().is_some() {
            return Ok(None);
        }
        // Why it cannot be asked shows when it is asked for the image.
        let Ok(Some(digest)) = self.hosts.digest_of(self.reference).await else {
            return Ok(None);
        };
        let (reference, wanted) = (self.reference.clone(), digest.clone());
        let same = self.blocking(move |images| Ok(images.current(&reference, &wanted)?));
        let Some(image) = same.await? else { return Ok(None) };
        self.tell_pulling();
        self.tell_pulled(&digest, true);
        Ok(Some(Pulled { image, digest }))
    }

    /// The configuration, which may be here.
    async fn config(&self, config: &Descriptor, host: usize) -> Result<Vec<u8>, Error> {
        let digest = config.digest.clone();
        let read = move |images: &Images| match images.content().read(&digest, MAX_CONFIG as u64) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(content::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        };
        if let Some(here) = self.blocking(read).await? {
            return Ok(here);
        }
        let passed =
            |host: &Registry, error: &registry::Error| tell_passed(self.events, host, error);
        let bytes = self.hosts.small_blob(self.reference.path(), config, host, &passed).await?;
        Ok(bytes.to_vec())
    }

    /// Downloads what is missing, and unpacks it meanwhile.
    async fn fetch(&self, found: &Found, pull: Arc<Pull>) -> Result<Image, Error> {
        let tracks: Arc<Vec<Track>> =
            Arc::new(pull.layers().iter().map(|one| track(one)).collect());
        // Of an image that is here there is nothing to tell layer by layer.
        for track in tracks.iter().filter(|_| !pull.is_known()) {
            self.tell(track, if track.is_new { Layer::Found } else { Layer::Here });
        }
        let _give_up = GiveUp(Arc::clone(&pull));
        let mut downloads = self.downloads(pull.layers(), &tracks, found.host);
        let mut unpacking = {
            let (images, pull) = (Arc::clone(self.images), Arc::clone(&pull));
            let (reference, digest) = (self.reference.clone(), found.resolved.digest.clone());
            let (tracks, events) = (Arc::clone(&tracks), Arc::clone(self.events));
            spawn_blocking(move || {
                let on_step = |idx: usize, step: Step| stepped(&tracks[idx], step, &events);
                images.finish_pull(&pull, &reference, &digest, &on_step)
            })
        };
        let lost = |what| move |source| Error::Lost { what, source };
        loop {
            tokio::select! {
                // What failed first says why; the unpacking only says that nothing came.
                biased;
                Some(download) = downloads.join_next() => {
                    download.map_err(lost("a download"))??;
                }
                image = &mut unpacking => {
                    let image = image.map_err(lost("the unpacking"))?;
                    if image.is_err() {
                        // A download that failed may have made it fail: that one ends now.
                        let rest = async {
                            while let Some(download) = downloads.join_next().await {
                                download.map_err(lost("a download"))??;
                            }
                            Ok::<_, Error>(())
                        };
                        timeout(LAST_WORDS, rest).await.unwrap_or(Ok(()))?;
                    }
                    return Ok(image?);
                }
            }
        }
    }

    fn downloads(
        &self,
        blobs: &[Arc<PullBlob>],
        tracks: &Arc<Vec<Track>>,
        host: usize,
    ) -> JoinSet<Result<(), Error>> {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let mut downloads = JoinSet::new();
        for (idx, blob) in blobs.iter().enumerate() {
            let (blob, tracks) = (Arc::clone(blob), Arc::clone(tracks));
            let (hosts, turns) = (Arc::clone(&self.hosts), Arc::clone(&turns));
            let (path, events) = (self.reference.path().to_owned(), Arc::clone(self.events));
            if idx >= AT_ONCE {
                self.tell_new(&tracks[idx], Layer::Waiting);
            }
            let silence = self.silence;
            downloads.spawn(async move {
                // One that comes twice in an image is fetched once.
                let Some(incoming) = blob.take() else { return Ok(()) };
                let to = Download { blob: &blob, track: &tracks[idx], events: &events };
                // Whoever waits for somebody else takes nobody's turn, or two could wait for each
                // other.
                let (incoming, standing) = to.stand(incoming, silence).await?;
                // Nobody closes it.
                let _turn = turns.acquire().await;
                let incoming = match standing {
                    Standing::There => incoming,
                    _ => to.fetch(&hosts, host, &path, incoming).await?,
                };
                to.finish(incoming).await
            });
        }
        downloads
    }

    fn tell_pulling(&self) {
        (self.events)(Event::Pulling {
            tag: tag(self.reference),
            repository: self.reference.path().to_owned(),
        });
    }

    fn tell_pulled(&self, digest: &Digest, is_same: bool) {
        let (digest, name) = (digest.clone(), self.reference.familiar());
        (self.events)(Event::Pulled { digest, name, is_same });
    }

    fn tell(&self, track: &Track, layer: Layer) {
        (self.events)(Event::Layer { id: track.id.clone(), layer });
    }

    fn tell_new(&self, track: &Track, layer: Layer) {
        if track.is_new {
            self.tell(track, layer);
        }
    }

    async fn blocking<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Images) -> Result<T, Error> + Send + 'static,
    {
        let images = Arc::clone(self.images);
        let done = spawn_blocking(move || work(&images)).await;
        done.unwrap_or_else(|source| Err(Error::Lost { what: "a look at the images", source }))
    }
}

fn track(blob: &PullBlob) -> Track {
    let descriptor = blob.descriptor();
    Track {
        id: id(&descriptor.digest),
        size: descriptor.size,
        is_new: blob.is_missing(),
        is_here: AtomicBool::new(!blob.is_missing()),
        meter: Meter::default(),
    }
}

/// A layer that comes.
pub(crate) struct Download<'a> {
    pub(crate) blob: &'a PullBlob,
    pub(crate) track: &'a Track,
    pub(crate) events: &'a Arc<Events>,
}

impl Download<'_> {
    fn tell(&self, layer: Layer) {
        (self.events)(Event::Layer { id: self.track.id.clone(), layer });
    }

    /// Waits while somebody else fetches it, as long as that makes headway.
    pub(crate) async fn stand(
        &self,
        mut incoming: Incoming,
        silence: Duration,
    ) -> Result<(Incoming, Standing), Error> {
        let (mut n_seen, mut since) = (None, Instant::now());
        loop {
            // It may be hashed as far as it has come.
            let looked = spawn_blocking(move || {
                let standing = incoming.look_again();
                (incoming, standing)
            });
            let lost = |source| Error::Lost { what: "a look at a layer", source };
            let (back, standing) = looked.await.map_err(lost)?;
            incoming = back;
            match standing? {
                Standing::Elsewhere(n_bytes) => {
                    if n_seen.replace(n_bytes) != Some(n_bytes) {
                        since = Instant::now();
                        self.tell(Layer::Downloading(n_bytes, self.track.size));
                    } else if since.elapsed() >= silence {
                        return Ok((incoming, Standing::Ours));
                    }
                    sleep(LOOK).await;
                }
                standing => return Ok((incoming, standing)),
            }
        }
    }

    pub(crate) async fn fetch(
        &self,
        hosts: &Hosts,
        host: usize,
        path: &str,
        incoming: Incoming,
    ) -> Result<Incoming, Error> {
        let progress = |at| {
            if self.track.meter.is_due() {
                self.tell(Layer::Downloading(at, self.track.size));
            }
        };
        let passed =
            |host: &Registry, error: &registry::Error| tell_passed(self.events, host, error);
        let (blob, sink) = (self.blob.descriptor(), To(incoming));
        Ok(hosts.download(path, blob, host, sink, &progress, &passed).await?.0)
    }

    pub(crate) async fn finish(&self, incoming: Incoming) -> Result<(), Error> {
        // Told before the unpacking can see it.
        self.track.is_here.store(true, Ordering::Relaxed);
        self.tell(Layer::Downloaded);
        let finished = spawn_blocking(move || incoming.finish()).await;
        finished.map_err(|source| Error::Lost { what: "the writing of a layer", source })??;
        Ok(())
    }
}

/// Tells of a layer that is being unpacked, if it is not still being told how it comes.
fn stepped(track: &Track, step: Step, events: &Arc<Events>) {
    if !track.is_new {
        return;
    }
    let layer = match step {
        Step::Done => Layer::Complete,
        Step::Unpacked(n) if track.is_here.load(Ordering::Relaxed) && track.meter.is_due() => {
            Layer::Extracting(n, track.size)
        }
        Step::Unpacked(_) => return,
    };
    events(Event::Layer { id: track.id.clone(), layer });
}

/// An image that is not in an index says itself what it runs on. Where nobody asked for something
/// else, it is taken as it is.
fn check_platform(
    reference: &Reference,
    config: &[u8],
    wanted: Option<&Platform>,
) -> Result<(), Error> {
    let Some(wanted) = wanted else { return Ok(()) };
    // What is no configuration is refused where it is taken.
    let Ok(config) = ImageConfig::parse(config) else { return Ok(()) };
    let found = Platform {
        architecture: config.architecture,
        os: config.os,
        variant: config.variant,
        ..Platform::default()
    };
    if found.architecture.is_empty() || wanted.distance(&found).is_some() {
        return Ok(());
    }
    Err(images::Error::OtherPlatform {
        name: reference.familiar(),
        has: found.to_string(),
        wanted: wanted.to_string(),
    }
    .into())
}
