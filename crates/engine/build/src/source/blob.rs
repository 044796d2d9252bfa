//! Single blobs, by their digests: of a repository of a registry, or of an OCI layout of the client's. Each is a file.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use buildcache::MAX_BLOB;
use buildgraph::Blob;
use oci::{Digest, Hasher};
use reference::Reference;
use registry::Sink;
use tokio::io::AsyncReadExt as _;
use transfer::{Depot, Request};

use super::http::{make, safe};
use crate::Error;
use crate::build::Shared;
use crate::error::At as _;
use crate::output::{Output, Tree};
use crate::store::Use;

/// The kind of such a file in the build cache.
const KIND: &str = "source.blob";
/// A file beside one that is whole: its identity.
const DONE: &str = "done";
/// What is read of a client's blob at once, in bytes.
const PIECE: usize = 256 << 10;

/// A file that is being written.
struct Writing {
    file: File,
    size: u64,
    hasher: Hasher,
}

impl Sink for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }
}

/// Brings a blob, and says whether it was here: from one place it is not taken for what another one has.
pub(crate) async fn bring(build: &Arc<Shared>, blob: &Blob) -> Result<(Output, bool), Error> {
    let name = match blob.name.as_str() {
        "" => blob.digest.hex().to_owned(),
        name => safe(name),
    };
    let mode = blob.mode.unwrap_or(0o600) & 0o7777;
    let (digest, uid, gid) = (&blob.digest, blob.uid, blob.gid);
    let identity = format!("blob {digest} {mode:o} {uid}:{gid} {name}");
    let called = [&blob.repository, &blob.store, &identity].map(String::as_str).join("\0");
    let description = format!("blob {}@{digest}", blob.repository);
    let taken = build
        .blocking(move |build| build.builder.store.take(KIND, &called, &description, Use::Private));
    let directory = taken.await?.ok_or(Error::Lost("a directory of the builder"))?;
    let done = build.builder.store.beside(&directory, DONE);
    let was_here = fs::read_to_string(&done).is_ok_and(|text| text == identity);
    if !was_here {
        let _ = fs::remove_file(&done);
        directory.clear()?;
        let path = directory.path.join(&name);
        let hasher = Hasher::new(digest.algorithm());
        let made = Writing { file: make(&path)?, size: 0, hasher };
        let Writing { file, size, .. } = Box::pin(receive(build, blob, made)).await?;
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid)).at("chown", &path)?;
        file.set_permissions(Permissions::from_mode(mode)).at("chmod", &path)?;
        file.set_modified(std::time::UNIX_EPOCH).at("utimensat", &path)?;
        fs::write(&done, &identity).at("write", &done)?;
        let id = directory.id.clone();
        build.blocking(move |build| build.builder.store.measured(&id, size)).await?;
    }
    let (directory, identity) = (Arc::new(directory), Some(identity));
    Ok((Output::Tree(Tree { directory, part: PathBuf::new(), identity, time: None }), was_here))
}

/// Writes what comes, which is what its digest says.
async fn receive(build: &Arc<Shared>, blob: &Blob, made: Writing) -> Result<Writing, Error> {
    if !blob.store.is_empty() {
        return of_client(build, blob, made).await;
    }
    let reference: Reference = blob
        .repository
        .parse()
        .map_err(|error| Error::Invalid(format!("{}: {error}", blob.repository)))?;
    let credentials = build.client.credentials(reference.domain()).await.map_err(Error::Client)?;
    let request = Request {
        reference,
        platform: None,
        credentials,
        settings: build.builder.settings.clone(),
    };
    let depot = Depot::open(build.builder.images(), &request).await?;
    Ok(depot.copy(&blob.digest, MAX_BLOB, made).await?)
}

/// The same of a layout.
async fn of_client(build: &Arc<Shared>, blob: &Blob, mut made: Writing) -> Result<Writing, Error> {
    let Blob { digest, store, .. } = blob;
    let of = |why: &dyn std::fmt::Display| Error::Client(format!("{digest} of {store}: {why}"));
    let named = format!("oci:{store}");
    let mut reader = build.client.blob(&named, digest, MAX_BLOB).await.map_err(Error::Client)?;
    let mut buffer = vec![0; PIECE];
    loop {
        let read = reader.read(&mut buffer).await;
        let n_read = read.map_err(|error| of(&error))?;
        if n_read == 0 {
            break;
        }
        made.write(&buffer[..n_read]).map_err(|error| of(&error))?;
    }
    let found = made.digest();
    if found == *digest { Ok(made) } else { Err(of(&format!("it is {found}"))) }
}
