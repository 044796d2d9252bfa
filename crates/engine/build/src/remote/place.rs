//! Where a cache is: a repository of a registry, or a content store of the client's.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use content::{Incoming, Standing};
use images::PullBlob;
use oci::Digest;
use oci::image::{Descriptor, MAX_MANIFEST};
use reference::Reference;
use tokio::io::AsyncReadExt as _;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use transfer::{Depot, Events, Request};

use crate::Error;
use crate::build::Shared;
use crate::client::Client;
use crate::request::CacheOption;

/// What is read of a client's blob at once, in bytes.
const PIECE: usize = 256 << 10;
/// How often it is looked how far somebody else is who brings the same blob.
const LOOK: Duration = Duration::from_millis(100);

/// Where blobs and manifests come from, and go to.
#[derive(Debug)]
pub(crate) enum Place {
    Registry(Depot),
    Client { client: Arc<dyn Client>, store: String },
}

impl Place {
    /// The repository of an option's `ref`.
    pub(crate) async fn registry(build: &Arc<Shared>, option: &CacheOption) -> Result<Self, Error> {
        let name = option.options.get("ref").map(String::as_str).unwrap_or_default();
        if name.is_empty() {
            return Err(Error::Invalid("a cache at a registry needs a ref".into()));
        }
        let reference: Reference = name
            .parse()
            .map_err(|error| Error::Invalid(format!("the cache's ref {name}: {error}")))?;
        let credentials =
            build.client.credentials(reference.domain()).await.map_err(Error::Client)?;
        let request = Request {
            reference,
            platform: None,
            credentials,
            settings: build.builder.settings.clone(),
        };
        Ok(Self::Registry(Depot::open(build.builder.images(), &request).await?))
    }

    /// A manifest or an index: of a registry that of its name, where no digest is given.
    pub(crate) async fn document(&self, digest: Option<&Digest>) -> Result<Vec<u8>, Error> {
        match (self, digest) {
            (Self::Registry(depot), _) => Ok(depot.document(digest).await?.bytes.to_vec()),
            (Self::Client { .. }, Some(digest)) => self.read(digest, MAX_MANIFEST).await,
            (Self::Client { store, .. }, None) => {
                Err(Error::Invalid(format!("{store}: no digest of a manifest is given")))
            }
        }
    }

    /// The manifests that are about another one; a client's store has no list of them.
    pub(crate) async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        match self {
            Self::Registry(depot) => Ok(depot.referrers(subject).await?),
            Self::Client { .. } => Ok(Vec::new()),
        }
    }

    /// A small blob.
    pub(crate) async fn small(&self, blob: &Descriptor) -> Result<Vec<u8>, Error> {
        match self {
            Self::Registry(depot) => Ok(depot.small_blob(blob).await?.to_vec()),
            Self::Client { .. } => self.read(&blob.digest, buildcache::MAX_BYTES).await,
        }
    }

    /// A blob of the client's, which is what its digest says.
    async fn read(&self, digest: &Digest, max: usize) -> Result<Vec<u8>, Error> {
        let Self::Client { client, store } = self else { return Ok(Vec::new()) };
        let reader = client.blob(store, digest, max as u64 + 1).await.map_err(Error::Client)?;
        let mut bytes = Vec::new();
        let read = reader.take(max as u64 + 1).read_to_end(&mut bytes).await;
        read.map_err(|error| Error::Client(format!("{digest} of {store}: {error}")))?;
        if bytes.len() > max {
            return Err(Error::Client(format!("{digest} of {store}: more than {max} bytes")));
        }
        let mut hasher = oci::Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        let found = hasher.finish();
        if found != *digest {
            return Err(Error::Client(format!("{digest} of {store} is {found}")));
        }
        Ok(bytes)
    }

    /// Brings a blob into the engine's store. Whoever asks holds it.
    pub(crate) async fn fetch(&self, blob: &PullBlob, events: &Arc<Events>) -> Result<(), Error> {
        match self {
            Self::Registry(depot) => Ok(depot.fetch(blob, events).await?),
            Self::Client { client, store } => {
                let Some(incoming) = blob.take() else { return Ok(()) };
                from_client(&**client, store, blob.descriptor(), incoming).await
            }
        }
    }

    /// Whether it has a blob already.
    pub(crate) async fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        match self {
            Self::Registry(depot) => Ok(depot.has(blob).await?),
            Self::Client { client, store } => {
                client.has_blob(store, &blob.digest).await.map_err(Error::Client)
            }
        }
    }

    /// Sees to it that it has a blob of the engine's store.
    pub(crate) async fn send(
        &self,
        build: &Arc<Shared>,
        blob: &Descriptor,
        events: &Arc<Events>,
    ) -> Result<(), Error> {
        let (client, store) = match self {
            Self::Registry(depot) => return Ok(depot.send(blob, events).await?),
            Self::Client { client, store } => (client, store),
        };
        if client.has_blob(store, &blob.digest).await.map_err(Error::Client)? {
            return Ok(());
        }
        let mut output = client.put_blob(store, blob).await.map_err(Error::Client)?;
        let path = build.builder.images().content().blob_path(&blob.digest);
        let failed = |source| Error::Io { call: "read", path: path.clone(), source };
        let mut file = tokio::fs::File::open(&path).await.map_err(failed)?;
        loop {
            let mut piece = vec![0; PIECE];
            let n_read = file.read(&mut piece).await.map_err(failed)?;
            if n_read == 0 {
                break;
            }
            piece.truncate(n_read);
            output.write(Bytes::from(piece)).await.map_err(Error::Client)?;
        }
        output.finish().await.map_err(Error::Client)
    }

    /// Puts a document there, when all that it names is there.
    pub(crate) async fn put(&self, media_type: &str, bytes: Vec<u8>) -> Result<(), Error> {
        match self {
            Self::Registry(depot) => Ok(depot.put(media_type, bytes, false).await?),
            Self::Client { client, store } => {
                let blob = Descriptor::of(media_type, &bytes);
                if client.has_blob(store, &blob.digest).await.map_err(Error::Client)? {
                    return Ok(());
                }
                let mut output = client.put_blob(store, &blob).await.map_err(Error::Client)?;
                output.write(bytes.into()).await.map_err(Error::Client)?;
                output.finish().await.map_err(Error::Client)
            }
        }
    }
}

async fn from_client(
    client: &dyn Client,
    store: &str,
    blob: &Descriptor,
    incoming: Incoming,
) -> Result<(), Error> {
    let lost = |_| Error::Lost("a thread that writes a blob");
    let mut incoming = incoming;
    loop {
        let looked = spawn_blocking(move || {
            let standing = incoming.look_again();
            (incoming, standing)
        });
        let (back, standing) = looked.await.map_err(lost)?;
        incoming = back;
        match standing.map_err(transfer::Error::from)? {
            Standing::Elsewhere(_) => sleep(LOOK).await,
            Standing::There => break,
            Standing::Ours => {
                incoming = receive(client, store, blob, incoming).await?;
                break;
            }
        }
    }
    let finished = spawn_blocking(move || incoming.finish()).await.map_err(lost)?;
    Ok(finished.map_err(transfer::Error::from)?)
}

/// Writes what comes, after what is there already.
async fn receive(
    client: &dyn Client,
    store: &str,
    blob: &Descriptor,
    mut incoming: Incoming,
) -> Result<Incoming, Error> {
    let what = format!("{} of {store}", blob.digest);
    let reader = client.blob(store, &blob.digest, blob.size).await.map_err(Error::Client)?;
    let mut reader = reader.take(blob.size);
    let failed = |error: std::io::Error| Error::Client(format!("{what}: {error}"));
    let mut n_skipped = incoming.size();
    loop {
        let mut piece = vec![0; PIECE];
        let n_read = reader.read(&mut piece).await.map_err(failed)?;
        if n_read == 0 {
            return Ok(incoming);
        }
        piece.truncate(n_read);
        let skip = n_skipped.min(n_read as u64);
        n_skipped -= skip;
        piece.drain(..usize::try_from(skip).unwrap_or(n_read));
        let written = spawn_blocking(move || incoming.write_all(&piece).map(|()| incoming));
        incoming = written
            .await
            .map_err(|_| Error::Lost("a thread that writes a blob"))?
            .map_err(failed)?;
    }
}
