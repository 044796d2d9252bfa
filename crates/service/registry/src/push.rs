//! Pushing: blobs that the registry lacks, then the manifest that names them.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use hyper::{Method, StatusCode};
use oci::Digest;
use oci::image::{Descriptor, Index, Manifest, media_type};
use tokio::sync::mpsc;

use crate::blob::Progress;
use crate::client::{Answer, Target, body_of};
use crate::error::Error;
use crate::http::Body;
use crate::repository::{DIGEST_HEADER, Repository, header, is_of};
use crate::url::{Url, encode};

/// Read at once.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces between the disk and the network.
const PIECES: usize = 4;
/// A registry may take its time to store what it got: so many times what else may be silent.
const PATIENCE: u32 = 15;
/// A blob that is larger goes apart from the request that ends its upload, so that it can be gone on
/// with after a break.
const WHOLE_BYTES: u64 = 4 << 20;
/// No more repositories are asked whether they have it.
const MAX_MOUNTS: usize = 3;
/// How often the progress of an upload is looked at.
const TICK: Duration = Duration::from_millis(100);

/// By which a registry says that it has listed a manifest under the one that it is about.
const SUBJECT_HEADER: &str = "oci-subject";

/// Where a blob that is to be pushed can be read. Shared with a thread that may block.
pub trait Source: Send + Sync + 'static {
    /// Reads the blob, from byte `offset` on.
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>>;
}

/// How a blob came to be at the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// The registry had it in this other repository.
    Mounted(String),
    /// It was sent.
    Sent,
}

impl Repository<'_> {
    /// Sees to it that the repository has a blob. `elsewhere` are repositories of the same registry
    /// that may have it. With `chunk`, it is sent in pieces of this many bytes, for registries (and
    /// proxies in front of them) that take no large requests.
    pub async fn upload(
        &self,
        blob: &Descriptor,
        source: &Arc<dyn Source>,
        elsewhere: &[String],
        chunk: Option<u64>,
        progress: Progress<'_>,
    ) -> Result<Pushed, Error> {
        if self.has_blob(&blob.digest).await? {
            return Ok(Pushed::Existed);
        }
        let mut begun = None;
        let elsewhere = elsewhere.iter().filter(|from| *from != self.path);
        for from in elsewhere.take(MAX_MOUNTS) {
            match self.mount(blob, from).await? {
                None => return Ok(Pushed::Mounted(from.clone())),
                // Nobody has to wait for an upload that is given up; it ends by itself.
                Some(upload) => begun = Some(upload),
            }
        }
        let retry = &self.registry.http.settings.retry;
        let mut attempt = 1;
        loop {
            let mut upload = match begun.take() {
                Some(upload) => upload,
                None => self.start(blob).await?,
            };
            let before = upload.n_bytes;
            let error = match self.send(blob, source, &mut upload, chunk, progress).await {
                Ok(()) => return Ok(Pushed::Sent),
                Err(error) => error,
            };
            if !is_passing(&error) || attempt >= retry.attempts {
                return Err(error);
            }
            tokio::time::sleep(retry.pause(attempt)).await;
            attempt += 1;
            // It may have come through, and only the answer been lost.
            if self.has_blob(&blob.digest).await? {
                return Ok(Pushed::Sent);
            }
            begun = self.look_at(&upload, blob).await;
            if begun.as_ref().is_some_and(|now| now.n_bytes > before) {
                attempt = 1;
            }
        }
    }

    /// Sees to it that the repository has a blob that another one of the same registry has, without
    /// sending it. Whether it has it now.
    pub async fn take_over(&self, blob: &Descriptor, from: &str) -> Result<bool, Error> {
        if self.path == from || self.has_blob(&blob.digest).await? {
            return Ok(true);
        }
        Ok(self.mount(blob, from).await?.is_none())
    }

    /// Names a manifest `name` (a tag, or its digest), when all that it names is there. One that is
    /// about another one is noted as that, where the registry does not do so itself.
    pub async fn put_manifest(
        &self,
        name: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<(), Error> {
        let answer = self.put(name, media_type, &bytes).await?;
        if let Some((subject, referrer)) = about(media_type, &bytes)
            && header(&answer, SUBJECT_HEADER).is_none()
        {
            self.note_referrer(&subject, referrer).await?;
        }
        Ok(())
    }

    pub(crate) async fn put(
        &self,
        name: &str,
        media_type: &str,
        bytes: &Bytes,
    ) -> Result<Answer, Error> {
        let scopes = [self.scope(true)];
        let path = format!("/v2/{}/manifests/{name}", self.path);
        let body = body_of(bytes);
        let mut call = self.call_for(Method::PUT, Target::Path(&path), &scopes);
        let kind = HeaderValue::from_str(media_type).map_err(|_| Error::Config {
            what: "media type".into(),
            why: format!("`{media_type}` is none"),
        })?;
        call.headers.insert(CONTENT_TYPE, kind);
        call.body = &body;
        call.patience = call.patience.saturating_mul(PATIENCE);
        let answer = self.registry.call(&call).await?;
        let stated = header(&answer, DIGEST_HEADER).and_then(|text| text.parse::<Digest>().ok());
        match stated {
            Some(stated) if !is_of(&stated, bytes) => Err(Error::Protocol {
                url: answer.url.to_string(),
                why: format!("the registry took the manifest for {stated}, which it is not"),
            }),
            _ => Ok(answer),
        }
    }

    /// Whether the repository has this blob.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let scopes = [self.scope(true)];
        let path = format!("/v2/{}/blobs/{digest}", self.path);
        let call = self.call_for(Method::HEAD, Target::Path(&path), &scopes);
        match self.registry.call(&call).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Has the registry take a blob from another of its repositories. Where it cannot, it has
    /// started an upload instead.
    async fn mount(&self, blob: &Descriptor, from: &str) -> Result<Option<Upload>, Error> {
        // The registry lets us see what is in the other one, or not.
        let scopes = [
            self.scope(true),
            crate::auth::Scope { repository: self.registry.scoped(from), push: false },
        ];
        let path = format!(
            "/v2/{}/blobs/uploads/?mount={}&from={}",
            self.path,
            encode(&blob.digest.to_string()),
            encode(&self.registry.scoped(from))
        );
        let call = self.call_for(Method::POST, Target::Path(&path), &scopes);
        let answer = match self.registry.call(&call).await {
            Ok(answer) => answer,
            // Then without the other one.
            Err(Error::Refused(_)) => return self.start(blob).await.map(Some),
            Err(error) => return Err(error),
        };
        if answer.response.status() == StatusCode::CREATED {
            return Ok(None);
        }
        Upload::of(&answer).map(Some)
    }

    async fn start(&self, blob: &Descriptor) -> Result<Upload, Error> {
        let scopes = [self.scope(true)];
        let mut path = format!("/v2/{}/blobs/uploads/", self.path);
        if blob.digest.algorithm() != oci::Algorithm::Sha256 {
            path.push_str("?digest-algorithm=");
            path.push_str(blob.digest.algorithm().name());
        }
        let call = self.call_for(Method::POST, Target::Path(&path), &scopes);
        Upload::of(&self.registry.call(&call).await?)
    }

    /// How far an upload is that broke off. `None`: it has to be begun anew.
    async fn look_at(&self, upload: &Upload, blob: &Descriptor) -> Option<Upload> {
        let scopes = [self.scope(true)];
        let call = self.call_for(Method::GET, Target::Url(&upload.url), &scopes);
        // Registries that cannot say, or not any more, say no in many ways.
        let answer = self.registry.call(&call).await.ok()?;
        let last = last_byte(&answer)?;
        // Those that have nothing say `0-0` as well.
        let n_bytes = last.checked_add(1).filter(|n| (2..=blob.size).contains(n))?;
        let url = match header(&answer, LOCATION.as_str()) {
            Some(_) => Upload::of(&answer).ok()?.url,
            None => upload.url.clone(),
        };
        Some(Upload { url, least: upload.least, n_bytes })
    }

    async fn send(
        &self,
        blob: &Descriptor,
        source: &Arc<dyn Source>,
        upload: &mut Upload,
        chunk: Option<u64>,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let chunk = chunk.map(|chunk| chunk.max(upload.least).max(1));
        let is_one = match chunk {
            Some(chunk) => blob.size <= chunk,
            None => blob.size <= WHOLE_BYTES,
        };
        while !is_one && upload.n_bytes < blob.size {
            let end = chunk.map_or(blob.size, |chunk| blob.size.min(upload.n_bytes + chunk));
            self.patch(blob, source, upload, end, progress).await?;
        }
        // What is there already of a small one is sent with the rest of it.
        if is_one && upload.n_bytes > 0 && upload.n_bytes < blob.size {
            self.patch(blob, source, upload, blob.size, progress).await?;
        }
        let url = upload.url.clone().with("digest", &blob.digest.to_string());
        let rest = upload.n_bytes..blob.size;
        self.request(Method::PUT, &url, blob, source, rest, progress).await.map(drop)
    }

    /// Sends what follows what the registry has, up to byte `end`.
    async fn patch(
        &self,
        blob: &Descriptor,
        source: &Arc<dyn Source>,
        upload: &mut Upload,
        end: u64,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let range = upload.n_bytes..end;
        let sent = self.request(Method::PATCH, &upload.url, blob, source, range, progress).await?;
        let has = last_byte(&sent).unwrap_or(end - 1);
        if has < upload.n_bytes || has >= end {
            let why = format!("has bytes up to {has}, sent up to {}", end - 1);
            return Err(Error::Protocol { url: upload.url.to_string(), why });
        }
        // It need not have taken all of it.
        *upload = Upload { n_bytes: has + 1, ..Upload::of(&sent)? };
        Ok(())
    }

    /// Sends a part of a blob, once.
    async fn request(
        &self,
        method: Method,
        url: &Url,
        blob: &Descriptor,
        source: &Arc<dyn Source>,
        range: std::ops::Range<u64>,
        progress: Progress<'_>,
    ) -> Result<Answer, Error> {
        let scopes = [self.scope(true)];
        let n_read = Arc::new(AtomicU64::new(range.start));
        let body = || stream(source, range.clone(), &n_read);
        let mut call = self.call_for(method, Target::Url(url), &scopes);
        call.body = &body;
        call.attempts = 1;
        call.patience = call.patience.saturating_mul(PATIENCE);
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if call.method == Method::PATCH
            && let Ok(value) = HeaderValue::try_from(format!("{}-{}", range.start, range.end - 1))
        {
            call.headers.insert(CONTENT_RANGE, value);
        }
        let sending = self.registry.call(&call);
        tokio::pin!(sending);
        let mut tick = tokio::time::interval(TICK);
        let sent = loop {
            tokio::select! {
                sent = &mut sending => break sent,
                _ = tick.tick() => progress(n_read.load(Ordering::Relaxed)),
            }
        };
        if sent.is_ok() {
            progress(range.end);
        }
        sent.map_err(|error| unreadable(error, &blob.digest))
    }
}

/// What a manifest is about, if it is about another one, and how it is listed there.
fn about(media_type: &str, bytes: &[u8]) -> Option<(Digest, Descriptor)> {
    let mut referrer = Descriptor::of(media_type, bytes);
    if media_type::is_index(media_type) {
        let index = Index::parse(bytes).ok()?;
        referrer.artifact_type = index.artifact_type;
        referrer.annotations = index.annotations;
        return Some((index.subject?.digest, referrer));
    }
    let manifest = Manifest::parse(bytes).ok()?;
    let stated = manifest.artifact_type.filter(|kind| !kind.is_empty());
    referrer.artifact_type = stated.or(Some(manifest.config.media_type));
    referrer.annotations = manifest.annotations;
    Some((manifest.subject?.digest, referrer))
}

/// An upload that the registry has started.
struct Upload {
    url: Url,
    /// The least that it takes at once, the last piece aside.
    least: u64,
    /// How many bytes it has.
    n_bytes: u64,
}

impl Upload {
    fn of(answer: &Answer) -> Result<Self, Error> {
        let location = header(answer, LOCATION.as_str()).unwrap_or_default();
        let what = || format!("where \"{}\" takes the upload", answer.url);
        let url = answer
            .url
            .join(&location)
            .map_err(|source| Error::Location { what: what(), source })?;
        let least = header(answer, "oci-chunk-min-length");
        let least = least.and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Self { url, least, n_bytes: 0 })
    }
}

/// The last byte that an upload has: `Range: 0-LAST`.
fn last_byte(answer: &Answer) -> Option<u64> {
    let range = header(answer, RANGE.as_str())?;
    let (first, last) = range.strip_prefix("bytes=").unwrap_or(&range).split_once('-')?;
    last.parse().ok().filter(|_| first == "0")
}

/// A body of a part of a blob, read by a thread that may block.
fn stream(source: &Arc<dyn Source>, range: std::ops::Range<u64>, n_read: &Arc<AtomicU64>) -> Body {
    let left = range.end - range.start;
    if left == 0 {
        return Body::empty();
    }
    let (sender, pieces) = mpsc::channel(PIECES);
    let (source, n_read) = (Arc::clone(source), Arc::clone(n_read));
    n_read.store(range.start, Ordering::Relaxed);
    tokio::task::spawn_blocking(move || {
        let failed = |error| {
            // Where nobody takes it, the request has ended already.
            _ = sender.blocking_send(Err(error));
        };
        let mut reader = match source.open(range.start) {
            Ok(reader) => reader.take(left),
            Err(error) => return failed(error),
        };
        let mut n_left = left;
        while n_left > 0 {
            let mut piece = vec![0; n_left.min(PIECE_BYTES as u64) as usize];
            match reader.read(&mut piece) {
                Ok(0) => return failed(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    piece.truncate(n);
                    n_left -= n as u64;
                    if sender.blocking_send(Ok(piece.into())).is_err() {
                        return;
                    }
                    n_read.fetch_add(n as u64, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return failed(error),
            }
        }
    });
    Body::Pieces { pieces, left }
}

/// A body that could not be read shows as a broken request; what broke is the file.
fn unreadable(error: Error, digest: &Digest) -> Error {
    use std::error::Error as _;
    if let Error::Request { source: crate::Transport::Http(error), .. } = &error
        && let Some(cause) = error.source().and_then(|cause| cause.downcast_ref::<io::Error>())
        && error.is_user()
    {
        let source = io::Error::new(cause.kind(), cause.to_string());
        return Error::Read { digest: digest.clone(), source };
    }
    error
}

fn is_passing(error: &Error) -> bool {
    match error {
        Error::Request { source, .. } => source.is_outage(),
        // 404: it has forgotten the upload; 416: it has other bytes of it.
        Error::Refused(refused) => matches!(refused.status, 404 | 408 | 416 | 500 | 502..=504),
        _ => false,
    }
}
