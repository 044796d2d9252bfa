//! Manifests that are about another one (distribution-spec, "Listing Referrers"): asked for, and, at
//! a registry that does not keep the list itself, noted in the index under the tag of the fallback.

use std::collections::HashSet;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{ACCEPT, HeaderValue, LINK};
use oci::Digest;
use oci::image::{Descriptor, Index, MAX_MANIFEST, media_type};
use reference::Reference;

use crate::client::Target;
use crate::error::Error;
use crate::repository::{Document, Repository, header};
use crate::tags::following;
use crate::url::{Url, encode};

/// No manifest that somebody would look at has more.
const MAX_REFERRERS: usize = 10_000;

impl Repository<'_> {
    /// The manifest or index of this name, whatever is in it.
    pub async fn manifest(&self, reference: &Reference) -> Result<Document, Error> {
        let name = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or(reference::DEFAULT_TAG).to_owned(),
        };
        let document = self.document(&name, reference.digest(), None).await;
        document.map_err(|error| error.pulling(reference))
    }

    /// Whether the repository has this manifest.
    pub async fn has_manifest(&self, digest: &Digest) -> Result<bool, Error> {
        let scopes = [self.scope(false)];
        let path = format!("/v2/{}/manifests/{digest}", self.path);
        let mut call = self.call_for(Method::HEAD, Target::Path(&path), &scopes);
        call.headers = crate::repository::accepting();
        match self.registry.call(&call).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The manifests that are about `subject`, or only those of one type.
    pub async fn referrers(
        &self,
        subject: &Digest,
        artifact: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let mut found = match self.listed(subject, artifact).await? {
            Some(found) => found,
            None => self.fallback(subject).await?.0,
        };
        // A registry need not filter, and the fallback cannot.
        found.retain(|one| artifact.is_none_or(|kind| one.artifact_type.as_deref() == Some(kind)));
        let mut seen = HashSet::new();
        found.retain(|one| seen.insert(one.digest.clone()));
        Ok(found)
    }

    /// What the registry's own list says; `None` where it keeps none.
    async fn listed(
        &self,
        subject: &Digest,
        artifact: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, Error> {
        let scopes = [self.scope(false)];
        let mut path = format!("/v2/{}/referrers/{subject}", self.path);
        if let Some(kind) = artifact {
            path.push_str("?artifactType=");
            path.push_str(&encode(kind));
        }
        let mut next: Option<Url> = None;
        let mut found = Vec::new();
        loop {
            let target = next.as_ref().map_or(Target::Path(&path), Target::Url);
            let mut call = self.call_for(Method::GET, target, &scopes);
            call.headers.insert(ACCEPT, HeaderValue::from_static(media_type::INDEX));
            let answer = match self.registry.call(&call).await {
                Err(error) if error.is_missing() && next.is_none() => return Ok(None),
                answer => answer?,
            };
            let url = answer.url.clone();
            let following = header(&answer, LINK.as_str()).and_then(|link| following(&url, &link));
            let bytes = self.bytes(answer, MAX_MANIFEST).await?;
            let Ok(index) = Index::parse(&bytes) else {
                // Some answer any path with a page of theirs.
                return Ok(None);
            };
            let is_empty = index.manifests.is_empty();
            found.extend(index.manifests);
            if found.len() > MAX_REFERRERS {
                let why = format!("more than {MAX_REFERRERS} referrers");
                return Err(Error::Protocol { url: url.to_string(), why });
            }
            match following {
                Some(following) if !is_empty => next = Some(following),
                _ => return Ok(Some(found)),
            }
        }
    }

    /// The index under the fallback's tag, and its digest; empty where there is none.
    async fn fallback(&self, subject: &Digest) -> Result<(Vec<Descriptor>, Option<Digest>), Error> {
        let document = match self.document(&fallback_tag(subject), None, None).await {
            Err(error) if error.is_missing() => return Ok((Vec::new(), None)),
            document => document?,
        };
        // The tag may be anybody's; what is no index is not the list.
        let found = Index::parse(&document.bytes).map(|index| index.manifests);
        Ok((found.unwrap_or_default(), Some(document.digest)))
    }

    /// Notes under the fallback's tag that a manifest is about `subject`.
    pub(crate) async fn note_referrer(
        &self,
        subject: &Digest,
        referrer: Descriptor,
    ) -> Result<(), Error> {
        let (mut referrers, _) = self.fallback(subject).await?;
        if referrers.iter().any(|known| known.digest == referrer.digest) {
            return Ok(());
        }
        referrers.push(referrer);
        let index = Index::new(referrers);
        let bytes = serde_json::to_vec(&index).map_err(|source| Error::Format {
            what: "write the list of referrers".into(),
            source: oci::image::Error::Json { what: "image index", source },
        })?;
        self.put(&fallback_tag(subject), media_type::INDEX, &Bytes::from(bytes)).await.map(drop)
    }
}

/// `sha256-HEX`, as the specification has it: no longer than a tag may be.
fn fallback_tag(subject: &Digest) -> String {
    let hex = subject.hex();
    format!("{}-{}", subject.algorithm().name(), &hex[..hex.len().min(64)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_the_fallback() {
        let digest = Digest::sha256(b"x");
        assert_eq!(fallback_tag(&digest), format!("sha256-{}", digest.hex()));
    }
}
