//! What is said of an image at its registry: the index that names it, and the statements about it, for who has to
//! know them before anything of the image is used.

use std::sync::Arc;

use buildcache::Kind;
use oci::Digest;
use oci::image::platform::choose;
use oci::image::{Descriptor, Manifest, Platform, media_type};
use serde::Deserialize;

use crate::Error;
use crate::build::Shared;
use crate::remote::Place;
use crate::request::CacheOption;

/// The notes of an entry of an index that is about another: of which kind it is, and about which.
const KIND: &str = "vnd.docker.reference.type";
const ABOUT: &str = "vnd.docker.reference.digest";
/// What that kind is called.
const STATEMENTS: &str = "attestation-manifest";
/// The note of a statement that says what it is about.
const PREDICATE: &str = "in-toto.io/predicate-type";
/// No more statements of an image are told.
const MAX_STATEMENTS: usize = 100;
/// No more layers of a signature.
const MAX_SIGNATURES: usize = 100;
/// Signatures of manifests, by their types: Sigstore's bundles, which come before cosign's own.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const COSIGN: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

/// What a document says that it is.
#[derive(Default, Deserialize)]
struct Typed {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
}

/// An image, and what leads to what is said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// The index.
    pub root: Digest,
    /// The image's manifest.
    pub image: Digest,
    /// The manifest of the statements, if there are any.
    pub statements: Option<Digest>,
    /// The manifest of the signature of that one, if there is one. What it is worth is for who asks to say.
    pub signature: Option<Digest>,
    /// The index, those manifests, the layers of the signature, and the statements that were asked for.
    pub blobs: Vec<(Descriptor, Vec<u8>)>,
}

impl Chain {
    /// Adds the signature of a manifest, of several one: the same that BuildKit takes.
    async fn sign(&mut self, place: &Place, of: &Digest) -> Result<(), Error> {
        let listed = place.referrers(of).await?;
        let of_kind = |kind| listed.iter().find(|one| one.artifact_type.as_deref() == Some(kind));
        let Some(found) = of_kind(BUNDLE).or_else(|| of_kind(COSIGN)) else { return Ok(()) };
        let (manifest, bytes) = manifest(place, &found.digest).await?;
        self.signature = Some(found.digest.clone());
        self.blobs.push((found.clone(), bytes));
        for layer in manifest.layers.iter().take(MAX_SIGNATURES) {
            self.blobs.push((layer.clone(), place.small(layer).await?));
        }
        Ok(())
    }
}

/// A manifest, and as it was.
async fn manifest(place: &Place, digest: &Digest) -> Result<(Manifest, Vec<u8>), Error> {
    let bytes = place.document(Some(digest)).await?;
    let manifest = Manifest::parse(&bytes)
        .map_err(|error| Error::Invalid(format!("{digest}: {}", docker::error::chain(&error))))?;
    Ok((manifest, bytes))
}

/// What is said of an image, with the statements of these types; `None`: its name leads to no index.
pub(crate) async fn chain(
    build: &Arc<Shared>,
    name: &str,
    platform: Option<&Platform>,
    types: &[String],
) -> Result<Option<Chain>, Error> {
    let options = [("ref".to_owned(), name.to_owned())].into();
    let place = Place::registry(build, &CacheOption { kind: "registry".into(), options }).await?;
    let bytes = place.document(None).await?;
    let Kind::Images(entries) = buildcache::kind(&bytes)? else { return Ok(None) };
    let images = entries.iter().filter(|entry| !entry.annotations.contains_key(KIND));
    let images: Vec<Descriptor> = images.cloned().collect();
    let wanted = platform.unwrap_or(images::host_platform());
    let Some(image) = choose(&images, wanted).into_iter().next() else {
        return Err(Error::NotFound(format!("no image for {wanted} in {name}")));
    };
    let is_about = |entry: &&Descriptor| {
        entry.annotations.get(KIND).is_some_and(|kind| kind == STATEMENTS)
            && entry.annotations.get(ABOUT) == Some(&image.digest.to_string())
    };
    let typed: Typed = serde_json::from_slice(&bytes).unwrap_or_default();
    let root = Descriptor::of(typed.media_type.as_deref().unwrap_or(media_type::INDEX), &bytes);
    let mut chain = Chain {
        root: root.digest.clone(),
        image: image.digest.clone(),
        statements: None,
        signature: None,
        blobs: vec![(root, bytes)],
    };
    if let Some(entry) = entries.iter().find(is_about) {
        let (manifest, bytes) = manifest(&place, &entry.digest).await?;
        chain.statements = Some(entry.digest.clone());
        chain.blobs.push((entry.clone(), bytes));
        chain.sign(&place, &entry.digest).await?;
        let is_asked = |layer: &&Descriptor| {
            layer.annotations.get(PREDICATE).is_some_and(|kind| types.contains(kind))
        };
        for layer in manifest.layers.iter().filter(is_asked).take(MAX_STATEMENTS) {
            chain.blobs.push((layer.clone(), place.small(layer).await?));
        }
    }
    Ok(Some(chain))
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
