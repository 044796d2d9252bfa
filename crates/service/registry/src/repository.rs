//! One repository: its manifests.

use std::collections::HashSet;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use oci::image::platform::choose;
use oci::image::{
    Descriptor, ImageConfig, Index, MAX_CONFIG, MAX_MANIFEST, Manifest, Platform, media_type,
};
use oci::{Digest, Hasher};
use reference::Reference;
use serde::Deserialize;

use crate::auth::Scope;
use crate::client::{Answer, Call, Registry, Target};
use crate::error::Error;
use crate::http::{Body, BodyError, collect};

/// What we can read, the most wanted first.
const ACCEPTED: [&str; 4] = [
    media_type::MANIFEST,
    media_type::INDEX,
    media_type::DOCKER_MANIFEST,
    media_type::DOCKER_INDEX,
];
/// Types that say nothing about what is in them.
const GENERIC: [&str; 4] = ["", "application/json", "text/plain", "application/octet-stream"];
/// Indexes in indexes go no deeper.
const MAX_DEPTH: usize = 4;
/// Nor is more than this looked at for one image.
const MAX_DOCUMENTS: usize = 32;
pub(crate) const DIGEST_HEADER: &str = "docker-content-digest";

/// A repository of a registry.
#[derive(Clone, Copy, Debug)]
pub struct Repository<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) path: &'a str,
}

/// A manifest or an index, as it came.
#[derive(Clone, Debug)]
pub struct Document {
    /// What it is, by its own word.
    pub media_type: String,
    /// Of its bytes.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Bytes,
}

/// What a reference means on one platform.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What the reference names: the index, or the manifest if there is no index.
    pub digest: Digest,
    /// The manifest.
    pub document: Document,
    /// The same, read.
    pub manifest: Manifest,
    /// The indexes on the way to it, the outermost first.
    pub indexes: Vec<Document>,
}

enum Kind {
    Manifest(Box<Manifest>),
    Index(Index),
}

/// The keys that tell documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Keys {
    schema_version: Option<i64>,
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Repository<'_> {
    pub(crate) fn scope(&self, push: bool) -> Scope {
        Scope { repository: self.registry.scoped(self.path), push }
    }

    pub(crate) fn call_for<'a>(
        &self,
        method: Method,
        target: Target<'a>,
        scopes: &'a [Scope],
    ) -> Call<'a> {
        let retry = &self.registry.http.settings.retry;
        Call {
            method,
            target,
            headers: HeaderMap::new(),
            scopes,
            body: &Body::empty,
            attempts: self.registry.attempts(),
            patience: retry.silence,
        }
    }

    /// The image that `reference` means on the platform `wanted`: indexes are followed to a
    /// manifest. Every document is what its digest says.
    pub async fn resolve(
        &self,
        reference: &Reference,
        wanted: &Platform,
    ) -> Result<Resolved, Error> {
        self.resolve_as(reference, reference.digest(), wanted).await
    }

    /// The same, where what the reference means may be known already.
    pub(crate) async fn resolve_as(
        &self,
        reference: &Reference,
        digest: Option<&Digest>,
        wanted: &Platform,
    ) -> Result<Resolved, Error> {
        let first = match (digest, reference.tag()) {
            (Some(digest), _) => self.document(&digest.to_string(), Some(digest), None).await,
            (None, tag) => {
                let tag = tag.unwrap_or(reference::DEFAULT_TAG);
                self.document(tag, None, None).await
            }
        };
        let first = first.map_err(|error| error.pulling(reference))?;
        let digest = first.digest.clone();
        let mut search = Search { reference, wanted, seen: HashSet::new() };
        let found = self.follow(first, Vec::new(), &mut search).await?;
        let (document, manifest, indexes) = found.ok_or_else(|| Error::NoPlatform {
            reference: reference.familiar(),
            wanted: wanted.to_string(),
        })?;
        Ok(Resolved { digest, document, manifest, indexes })
    }

    /// What has this name, and the platforms that it is for.
    pub async fn describe(
        &self,
        reference: &Reference,
    ) -> Result<(Descriptor, Vec<Platform>), Error> {
        let name = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or(reference::DEFAULT_TAG).to_owned(),
        };
        let document = self.document(&name, reference.digest(), None).await;
        let document = document.map_err(|error| error.pulling(reference))?;
        let size = document.bytes.len() as u64;
        let descriptor = Descriptor::new(&document.media_type, document.digest.clone(), size);
        let platforms = match read(&document, reference)? {
            Kind::Index(index) => {
                index.manifests.into_iter().filter_map(|entry| entry.platform).collect()
            }
            Kind::Manifest(manifest) => {
                let config = self.small_blob(&manifest.config).await?;
                // Of an artifact nobody says what it runs on.
                let config = ImageConfig::parse(&config).ok();
                let platform = config.map(|config| Platform {
                    architecture: config.architecture,
                    os: config.os,
                    variant: config.variant,
                    ..Platform::default()
                });
                platform.into_iter().filter(|one| !one.os.is_empty()).collect()
            }
        };
        Ok((descriptor, platforms))
    }

    /// The manifest that a document is or leads to, and the indexes on the way.
    async fn follow(
        &self,
        document: Document,
        mut indexes: Vec<Document>,
        search: &mut Search<'_>,
    ) -> Result<Option<(Document, Manifest, Vec<Document>)>, Error> {
        let index = match read(&document, search.reference)? {
            Kind::Manifest(manifest) => return Ok(Some((document, *manifest, indexes))),
            Kind::Index(index) => index,
        };
        indexes.push(document);
        for entry in choose(&index.manifests, search.wanted) {
            if !search.seen.insert(entry.digest.clone()) {
                continue;
            }
            if indexes.len() > MAX_DEPTH || search.seen.len() > MAX_DOCUMENTS {
                return Err(Error::TooDeep(search.reference.familiar()));
            }
            let name = entry.digest.to_string();
            let inner = self.document(&name, Some(&entry.digest), Some(entry.size)).await?;
            let found = Box::pin(self.follow(inner, indexes.clone(), search)).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The manifest or index of this name, which is a tag or a digest.
    pub(crate) async fn document(
        &self,
        name: &str,
        digest: Option<&Digest>,
        size: Option<u64>,
    ) -> Result<Document, Error> {
        let scopes = [self.scope(false)];
        let path = format!("/v2/{}/manifests/{name}", self.path);
        let mut call = self.call_for(Method::GET, Target::Path(&path), &scopes);
        call.headers = accepting();
        let answer = self.registry.call(&call).await?;
        let announced = header(&answer, CONTENT_TYPE.as_str());
        let own = header(&answer, DIGEST_HEADER);
        let url = answer.url.to_string();
        let bytes = self.bytes(answer, MAX_MANIFEST).await?;
        // The registry's own word is checked only where the name does not say more.
        let stated = own.as_deref().and_then(|text| text.parse::<Digest>().ok());
        let expected = digest.or(stated.as_ref());
        let found = match expected {
            Some(expected) => {
                check_manifest(&bytes, expected)?;
                expected.clone()
            }
            None => Digest::sha256(&bytes),
        };
        if let Some(size) = size.filter(|size| *size != bytes.len() as u64) {
            let found_size = bytes.len() as u64;
            return Err(Error::WrongSize { digest: found, expected: size, found: found_size });
        }
        let media_type = own_type(&bytes, announced.as_deref().unwrap_or_default())
            .map_err(|why| Error::Protocol { url, why })?;
        Ok(Document { media_type, digest: found, bytes })
    }

    /// The digest of what has this name, without its content: registries do not count that as a
    /// pull. `None` where the registry does not say.
    pub async fn digest_of(&self, reference: &Reference) -> Result<Option<Digest>, Error> {
        if let Some(digest) = reference.digest() {
            return Ok(Some(digest.clone()));
        }
        let scopes = [self.scope(false)];
        let tag = reference.tag().unwrap_or(reference::DEFAULT_TAG);
        let path = format!("/v2/{}/manifests/{tag}", self.path);
        let mut call = self.call_for(Method::HEAD, Target::Path(&path), &scopes);
        call.headers = accepting();
        let answer = self.registry.call(&call).await.map_err(|error| error.pulling(reference))?;
        Ok(header(&answer, DIGEST_HEADER).and_then(|text| text.parse().ok()))
    }

    /// An image's configuration, or another small blob of at most 8 MiB.
    pub async fn small_blob(&self, blob: &Descriptor) -> Result<Bytes, Error> {
        if blob.size > MAX_CONFIG as u64 {
            let source = oci::image::Error::TooLarge {
                what: "image configuration",
                size: blob.size as usize,
                max: MAX_CONFIG,
            };
            return Err(Error::Format { what: format!("read {}", blob.digest), source });
        }
        let scopes = [self.scope(false)];
        let path = format!("/v2/{}/blobs/{}", self.path, blob.digest);
        let call = self.call_for(Method::GET, Target::Path(&path), &scopes);
        let answer = self.registry.call(&call).await?;
        let bytes = self.bytes(answer, blob.size as usize).await?;
        if bytes.len() as u64 != blob.size {
            let (digest, found) = (blob.digest.clone(), bytes.len() as u64);
            return Err(Error::WrongSize { digest, expected: blob.size, found });
        }
        check(&bytes, &blob.digest)?;
        Ok(bytes)
    }

    pub(crate) async fn bytes(&self, answer: Answer, max: usize) -> Result<Bytes, Error> {
        let url = answer.url.to_string();
        let retry = &self.registry.http.settings.retry;
        collect(answer.response, max, retry).await.map_err(|error| match error {
            BodyError::Transport(source) => Error::Request { method: Method::GET, url, source },
            BodyError::TooLarge(max) => {
                Error::Protocol { url, why: format!("more than the {max} bytes that are taken") }
            }
        })
    }
}

struct Search<'a> {
    reference: &'a Reference,
    wanted: &'a Platform,
    seen: HashSet<Digest>,
}

pub(crate) fn accepting() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for accepted in ACCEPTED {
        headers.append(ACCEPT, HeaderValue::from_static(accepted));
    }
    headers
}

pub(crate) fn header(answer: &Answer, name: &str) -> Option<String> {
    answer.response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

/// Whether these bytes have this digest.
pub(crate) fn is_of(digest: &Digest, bytes: &[u8]) -> bool {
    check(bytes, digest).is_ok()
}

fn check_manifest(bytes: &[u8], expected: &Digest) -> Result<(), Error> {
    check(bytes, expected).map_err(|error| match error {
        Error::WrongDigest { expected, found } => Error::WrongManifest { expected, found },
        other => other,
    })
}

fn check(bytes: &[u8], expected: &Digest) -> Result<(), Error> {
    let mut hasher = Hasher::new(expected.algorithm());
    hasher.update(bytes);
    let found = hasher.finish();
    if found == *expected {
        return Ok(());
    }
    Err(Error::WrongDigest { expected: expected.clone(), found })
}

/// What a document is by its own word, or by its shape where it says none. The header may not say
/// otherwise: one text must not be two things (CVE-2021-41190).
fn own_type(bytes: &[u8], announced: &str) -> Result<String, String> {
    let keys: Keys = serde_json::from_slice(bytes)
        .map_err(|error| format!("the registry sent no manifest: {error}"))?;
    let announced = announced.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if keys.schema_version == Some(1) {
        return Ok(announced);
    }
    let own = keys.media_type.unwrap_or_else(|| {
        let shape = if keys.manifests.is_some() { media_type::INDEX } else { media_type::MANIFEST };
        // Docker's types and OCI's have the same shape.
        let is_same_shape = match shape {
            media_type::INDEX => media_type::is_index(&announced),
            _ => media_type::is_manifest(&announced),
        };
        if is_same_shape { announced.clone() } else { shape.to_owned() }
    });
    if announced != own && !GENERIC.contains(&announced.as_str()) {
        return Err(format!("the document is `{own}`, the registry says `{announced}`"));
    }
    Ok(own)
}

fn read(document: &Document, reference: &Reference) -> Result<Kind, Error> {
    let keys: Option<Keys> = serde_json::from_slice(&document.bytes).ok();
    if keys.is_some_and(|keys| keys.schema_version == Some(1)) {
        return Err(Error::Schema1(reference.familiar()));
    }
    let failed = |source| Error::Format { what: format!("read {}", document.digest), source };
    if media_type::is_index(&document.media_type) {
        return Index::parse(&document.bytes).map(Kind::Index).map_err(failed);
    }
    let manifest = Manifest::parse(&document.bytes).map_err(failed)?;
    Ok(Kind::Manifest(Box::new(manifest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_what_it_says_it_is() {
        let plain = br#"{"schemaVersion":2,"config":{},"layers":[]}"#;
        let index = br#"{"schemaVersion":2,"manifests":[]}"#;
        let named = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","layers":[]}}"#,
            media_type::DOCKER_MANIFEST
        );
        for (bytes, announced, want) in [
            (&plain[..], media_type::MANIFEST, Some(media_type::MANIFEST)),
            (plain, media_type::DOCKER_MANIFEST, Some(media_type::DOCKER_MANIFEST)),
            (plain, "application/json; charset=utf-8", Some(media_type::MANIFEST)),
            (plain, media_type::INDEX, None),
            (index, media_type::DOCKER_INDEX, Some(media_type::DOCKER_INDEX)),
            (index, "", Some(media_type::INDEX)),
            (index, media_type::MANIFEST, None),
            (named.as_bytes(), "text/plain", Some(media_type::DOCKER_MANIFEST)),
            (named.as_bytes(), media_type::DOCKER_MANIFEST, Some(media_type::DOCKER_MANIFEST)),
            (named.as_bytes(), media_type::MANIFEST, None),
            (b"<html>", "", None),
            (br#"{"mediaType":"a","mediaType":"b"}"#, "", None),
        ] {
            let found = own_type(bytes, announced).ok();
            assert_eq!(found.as_deref(), want, "{announced}");
        }
    }
}
