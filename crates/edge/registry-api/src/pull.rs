//! Manifests and blobs, read (distribution-spec, "Pull").

use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH,
    IF_RANGE, RANGE,
};
use hyper::{Method, StatusCode};
use images::Key;
use oci::Digest;
use oci::image::MAX_MANIFEST;

use crate::body::{ReplyBody, stream};
use crate::error::{Code, Error};
use crate::range::{Wanted, wanted};
use crate::server::{Call, Reply, digest, reply};

pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A tag or a digest; `None` where it can be neither.
pub(crate) fn key(text: &str) -> Option<Key> {
    if text.contains(':') {
        return text.parse().ok().map(Key::Digest);
    }
    reference::is_tag(text).then(|| Key::Tag(text.into()))
}

impl Call<'_> {
    /// end-3.
    pub(crate) async fn manifest(&self, name: &str, text: &str) -> Reply {
        let place = self.place(name)?;
        let key = key(text).ok_or_else(Error::manifest_unknown)?;
        let is_head = self.method == Method::HEAD;
        let found = self
            .images(move |images| {
                let Some(found) = images.manifest_of(&place.repository, &key)? else {
                    return Ok(None);
                };
                let bytes = if is_head {
                    Vec::new()
                } else {
                    images.content().read(&found.digest, MAX_MANIFEST as u64)?
                };
                Ok::<_, images::Error>(Some((found, bytes)))
            })
            .await;
        let found = match found {
            Err(error) if error.code == Code::BlobUnknown => None,
            found => found?,
        };
        let (found, bytes) = found.ok_or_else(Error::manifest_unknown)?;
        let (digest, size) = (found.digest.to_string(), found.size.to_string());
        let tag = etag(&found.digest);
        if self.header(IF_NONE_MATCH) == Some(&tag) {
            let headers = [(ETAG, tag.as_str()), (CONTENT_DIGEST, &digest)];
            return Ok(reply(StatusCode::NOT_MODIFIED, &headers, ReplyBody::empty()));
        }
        let headers = [
            (CONTENT_TYPE, found.media_type.as_str()),
            (CONTENT_LENGTH, &size),
            (CONTENT_DIGEST, &digest),
            (ETAG, &tag),
        ];
        Ok(reply(StatusCode::OK, &headers, ReplyBody::Whole(bytes.into())))
    }

    /// end-2.
    pub(crate) async fn blob(&self, name: &str, text: &str) -> Reply {
        let place = self.place(name)?;
        let digest = digest(text)?;
        let is_head = self.method == Method::HEAD;
        // Who asks whether it is there may be about to push a manifest that names it.
        let keep = is_head && self.server.is_writable && place.is_own;
        let size = {
            let digest = digest.clone();
            self.images(move |images| images.blob_of(&place.repository, &digest, keep)).await?
        };
        let size = size.ok_or_else(Error::blob_unknown)?;
        let (text, tag) = (digest.to_string(), etag(&digest));
        if self.header(IF_NONE_MATCH) == Some(&tag) {
            let headers = [(ETAG, tag.as_str()), (CONTENT_DIGEST, &text)];
            return Ok(reply(StatusCode::NOT_MODIFIED, &headers, ReplyBody::empty()));
        }
        let is_current = self.header(IF_RANGE).is_none_or(|known| known == tag);
        let range = self.header(RANGE).filter(|_| is_current && !is_head);
        let part = match wanted(range, size) {
            Wanted::Whole => None,
            Wanted::Part(first, last) => Some((first, last)),
            Wanted::Nothing => {
                let error = Error::new(Code::SizeInvalid, format!("the blob has {size} bytes"))
                    .with_status(StatusCode::RANGE_NOT_SATISFIABLE);
                return Err(error.with(CONTENT_RANGE, &format!("bytes */{size}")));
            }
        };
        let len = part.map_or(size, |(first, last)| last - first + 1);
        let body = if is_head { ReplyBody::empty() } else { self.read(digest, len, part).await? };
        let len = len.to_string();
        let mut headers = vec![
            (CONTENT_TYPE, "application/octet-stream"),
            (CONTENT_LENGTH, &len),
            (CONTENT_DIGEST, &text),
            (ACCEPT_RANGES, "bytes"),
            (ETAG, &tag),
        ];
        let range = part.map(|(first, last)| format!("bytes {first}-{last}/{size}"));
        if let Some(range) = &range {
            headers.push((CONTENT_RANGE, range));
        }
        let status = if part.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        Ok(reply(status, &headers, body))
    }

    /// A whole blob is checked while it is sent; of a part nobody can say whether it is right.
    async fn read(
        &self,
        digest: Digest,
        len: u64,
        part: Option<(u64, u64)>,
    ) -> Result<ReplyBody, Error> {
        self.images(move |images| {
            let content = images.content();
            match part {
                Some((first, _)) => {
                    let (file, _) = content.part(&digest, first)?;
                    Ok(stream(std::io::Read::take(file, len), len))
                }
                None => Ok::<_, images::Error>(stream(content.reader(&digest)?, len)),
            }
        })
        .await
    }
}

fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}
