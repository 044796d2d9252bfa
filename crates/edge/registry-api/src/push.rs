//! Blobs, taken in (distribution-spec, "Push" and "Cancel a blob upload"), and manifests; and both
//! deleted ("Content Management").

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, LOCATION, RANGE};
use images::{Key, NewManifest};
use oci::image::MAX_MANIFEST;
use oci::{Algorithm, Digest};
use tokio::time::timeout;

use crate::body::{ReplyBody, receive, whole};
use crate::error::{Code, Error};
use crate::pull::{CONTENT_DIGEST, key};
use crate::range::chunk;
use crate::server::{Call, Reply, Server, digest, reply};
use crate::uploads::Upload;

/// The largest blob that is taken, in bytes.
const MAX_BLOB: u64 = 1 << 40;
/// How long a manifest may take to come.
const PATIENCE: Duration = Duration::from_mins(1);
/// The most tags that a manifest is given at once.
const MAX_TAGS: usize = 100;

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");

impl Call<'_> {
    /// end-4 and end-11.
    pub(crate) async fn start_upload(&mut self, name: &str) -> Reply {
        let place = self.own_place(name)?;
        if let Some(wanted) = self.query.get("mount") {
            let wanted = digest(wanted)?;
            if self.mount(name, &place.repository, &wanted).await? {
                return Ok(created_blob(name, &wanted));
            }
        }
        let wanted = self.query.get("digest").map(digest).transpose()?;
        let algorithm = match (&wanted, self.query.get("digest-algorithm")) {
            (Some(wanted), _) => wanted.algorithm(),
            (None, None | Some("sha256")) => Algorithm::Sha256,
            (None, Some("sha512")) => Algorithm::Sha512,
            (None, Some(_)) => {
                return Err(Error::new(Code::DigestInvalid, "only sha256 and sha512 are known"));
            }
        };
        self.check_size()?;
        self.server.uploads.make_room()?;
        let writer =
            self.images(move |images| images.content().writer_of(algorithm, MAX_BLOB)).await?;
        let id = self.server.uploads.add(&place.repository, writer)?;
        let upload = self.server.uploads.find(&place.repository, &id)?;
        match wanted {
            None => Ok(accepted(name, &id, &upload)),
            Some(wanted) => {
                let finished = self.receive_last(name, &id, upload, wanted, None).await;
                // Nobody knows its id.
                self.server.uploads.remove(&id);
                finished
            }
        }
    }

    async fn mount(&self, name: &str, repository: &str, wanted: &Digest) -> Result<bool, Error> {
        // Where the client does not say from where, it may be here already.
        let from = self.query.get("from").unwrap_or(name);
        let from = self.server.names.place(from, None);
        let from = from.ok_or_else(|| Error::new(Code::NameInvalid, "`from` is no repository"))?;
        let (repository, wanted) = (repository.to_owned(), wanted.clone());
        self.images(move |images| images.mount_blob(&repository, &from.repository, &wanted)).await
    }

    fn check_size(&self) -> Result<(), Error> {
        if self.content_length().is_some_and(|size| size > MAX_BLOB) {
            let error = Error::new(Code::SizeInvalid, format!("more than {MAX_BLOB} bytes"));
            return Err(error.with_status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        Ok(())
    }

    /// end-13.
    pub(crate) fn upload_status(&self, name: &str, id: &str) -> Reply {
        let place = self.own_place(name)?;
        let upload = self.server.uploads.find(&place.repository, id)?;
        Ok(upload_reply(StatusCode::NO_CONTENT, name, id, &upload))
    }

    /// end-14.
    pub(crate) fn cancel_upload(&self, name: &str, id: &str) -> Reply {
        let place = self.own_place(name)?;
        self.server.uploads.find(&place.repository, id)?;
        self.server.uploads.remove(id);
        Ok(reply(StatusCode::NO_CONTENT, &[], ReplyBody::empty()))
    }

    /// end-5.
    pub(crate) async fn patch_upload(&mut self, name: &str, id: &str) -> Reply {
        let place = self.own_place(name)?;
        self.check_size()?;
        let upload = self.server.uploads.find(&place.repository, id)?;
        let range = self.chunk()?;
        let received = Self::receive_part(self.body.take(), Arc::clone(&upload), range);
        at_place(name, id, &upload, received.await)?;
        Ok(accepted(name, id, &upload))
    }

    /// end-6.
    pub(crate) async fn finish_upload(&mut self, name: &str, id: &str) -> Reply {
        let place = self.own_place(name)?;
        self.check_size()?;
        let upload = self.server.uploads.find(&place.repository, id)?;
        let wanted = self.query.get("digest").map(digest).transpose()?;
        let wanted =
            wanted.ok_or_else(|| Error::new(Code::DigestInvalid, "`digest` is missing"))?;
        let range = self.chunk()?;
        self.receive_last(name, id, upload, wanted, range).await
    }

    /// The first byte of the chunk that is sent, and how many there are, if the client says so.
    fn chunk(&self) -> Result<Option<(u64, u64)>, Error> {
        let Some(header) = self.header(CONTENT_RANGE) else { return Ok(None) };
        let invalid = |why: &str| Error::new(Code::BlobUploadInvalid, why);
        let (first, len) = chunk(header).ok_or_else(|| invalid("Content-Range is no range"))?;
        if self.content_length().is_some_and(|said| said != len) {
            let why = "Content-Range and Content-Length do not agree";
            return Err(Error::new(Code::SizeInvalid, why));
        }
        Ok(Some((first, len)))
    }

    /// Adds the body to an upload. In a task of its own: where the client leaves, what has come is
    /// still put in order.
    async fn receive_part(
        body: Option<hyper::body::Incoming>,
        upload: Arc<Upload>,
        range: Option<(u64, u64)>,
    ) -> Result<(), Error> {
        let task = tokio::spawn(async move {
            let mut turn = upload.turn().await?;
            let at = upload.n_bytes();
            if let Some((first, _)) = range.filter(|(first, _)| *first != at) {
                let why = format!("the chunk begins at byte {first}, {at} bytes have come");
                return Err(Error::new(Code::BlobUploadInvalid, why)
                    .with_status(StatusCode::RANGE_NOT_SATISFIABLE));
            }
            let writer = turn.take().ok_or_else(Error::upload_unknown)?;
            let Some(body) = body else {
                *turn = Some(writer);
                return Ok(());
            };
            let len = range.map(|(_, len)| len);
            let (writer, received) = receive(body, writer, len).await;
            let came = writer.as_ref().map_or(at, content::Writer::size);
            upload.came(came);
            *turn = writer;
            received?;
            match len {
                Some(len) if came != at + len => {
                    Err(Error::new(Code::SizeInvalid, "fewer bytes than the range says"))
                }
                _ => Ok(()),
            }
        });
        task.await.unwrap_or_else(|lost| Err(Error::internal(&lost)))
    }

    /// Adds the last part, and puts the blob in its place if it is what was announced.
    async fn receive_last(
        &mut self,
        name: &str,
        id: &str,
        upload: Arc<Upload>,
        wanted: Digest,
        range: Option<(u64, u64)>,
    ) -> Reply {
        let received = Self::receive_part(self.body.take(), Arc::clone(&upload), range).await;
        at_place(name, id, &upload, received)?;
        let writer = upload.turn().await?.take().ok_or_else(Error::upload_unknown)?;
        // Whatever comes of it, there is no more to be added.
        self.server.uploads.remove(id);
        let (repository, digest) = (upload.repository.clone(), wanted.clone());
        self.images(move |images| images.take_blob(&repository, writer.finish()?, &digest)).await?;
        Ok(created_blob(name, &wanted))
    }

    /// end-7.
    pub(crate) async fn put_manifest(&mut self, name: &str, text: &str) -> Reply {
        let place = self.own_place(name)?;
        let invalid = |why: &str| Error::new(Code::ManifestInvalid, why);
        let key = match key(text) {
            Some(key) => key,
            None if text.contains(':') => {
                return Err(digest(text).err().unwrap_or_else(|| invalid("no digest")));
            }
            None => return Err(invalid("invalid tag")),
        };
        let (tags, digest) = match key {
            Key::Tag(tag) => (vec![tag], None),
            Key::Digest(digest) => {
                (self.query.all("tag").map(str::to_owned).collect(), Some(digest))
            }
        };
        if tags.len() > MAX_TAGS {
            return Err(invalid("too many tags").with_status(StatusCode::URI_TOO_LONG));
        }
        if tags.iter().any(|tag| !reference::is_tag(tag)) {
            return Err(invalid("invalid tag"));
        }
        let server: &Server = self.server;
        // Nobody closes them.
        let _place = server.bodies.acquire().await;
        let body = self.body.as_mut().ok_or_else(|| invalid("no manifest"))?;
        let bytes = timeout(PATIENCE, whole(body, MAX_MANIFEST)).await;
        let slow = || invalid("the manifest came too slowly");
        let bytes = bytes.map_err(|_| slow().with_status(StatusCode::REQUEST_TIMEOUT))??;
        let _turn = server.turns.acquire().await;
        let media_type = self
            .header(CONTENT_TYPE)
            .map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        let new = NewManifest { digest, tags, media_type, bytes };
        let names = new.tags.join(", ");
        let repository = place.repository.clone();
        let taken = self.images(move |images| images.take_manifest(&repository, &new)).await?;
        if let Some(why) = &taken.no_image {
            let (repository, digest) = (&place.repository, &taken.digest);
            eprintln!("dhow: registry: {repository}@{digest} is served, but no image here: {why}");
        }
        let (location, digest) =
            (format!("/v2/{name}/manifests/{}", taken.digest), taken.digest.to_string());
        let mut headers = vec![(LOCATION, location.as_str()), (CONTENT_DIGEST, &digest)];
        if text.contains(':') && !names.is_empty() {
            headers.push((TAG, &names));
        }
        let subject = taken.subject.map(|subject| subject.to_string());
        if let Some(subject) = &subject {
            headers.push((SUBJECT, subject));
        }
        Ok(reply(StatusCode::CREATED, &headers, ReplyBody::empty()))
    }

    /// end-9.
    pub(crate) async fn delete_manifest(&self, name: &str, text: &str) -> Reply {
        let place = self.own_place(name)?;
        let key = key(text).ok_or_else(Error::manifest_unknown)?;
        let was_there = self
            .images(move |images| match key {
                Key::Tag(tag) => images.drop_tag(&place.repository, &tag),
                Key::Digest(digest) => images.drop_manifest(&place.repository, &digest),
            })
            .await?;
        if !was_there {
            return Err(Error::manifest_unknown());
        }
        Ok(reply(StatusCode::ACCEPTED, &[], ReplyBody::empty()))
    }

    /// end-10.
    pub(crate) async fn delete_blob(&self, name: &str, text: &str) -> Reply {
        let place = self.own_place(name)?;
        let digest = digest(text)?;
        let was_there =
            self.images(move |images| images.drop_blob(&place.repository, &digest)).await?;
        if !was_there {
            return Err(Error::blob_unknown());
        }
        Ok(reply(StatusCode::ACCEPTED, &[], ReplyBody::empty()))
    }
}

fn accepted(name: &str, id: &str, upload: &Upload) -> hyper::Response<ReplyBody> {
    upload_reply(StatusCode::ACCEPTED, name, id, upload)
}

fn upload_reply(
    status: StatusCode,
    name: &str,
    id: &str,
    upload: &Upload,
) -> hyper::Response<ReplyBody> {
    let location = format!("/v2/{name}/blobs/uploads/{id}");
    let range = upload.range();
    let headers = [(LOCATION, location.as_str()), (RANGE, &range), (UPLOAD_ID, id)];
    reply(status, &headers, ReplyBody::empty())
}

fn created_blob(name: &str, digest: &Digest) -> hyper::Response<ReplyBody> {
    let (location, digest) = (format!("/v2/{name}/blobs/{digest}"), digest.to_string());
    let headers = [(LOCATION, location.as_str()), (CONTENT_DIGEST, &digest)];
    reply(StatusCode::CREATED, &headers, ReplyBody::empty())
}

/// Says with an error where the upload is.
fn at_place(
    name: &str,
    id: &str,
    upload: &Upload,
    received: Result<(), Error>,
) -> Result<(), Error> {
    received.map_err(|error| match error.status {
        StatusCode::RANGE_NOT_SATISFIABLE => error
            .with(LOCATION, &format!("/v2/{name}/blobs/uploads/{id}"))
            .with(RANGE, &upload.range())
            .with(UPLOAD_ID, id),
        _ => error,
    })
}
