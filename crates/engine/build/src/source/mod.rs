//! What comes from outside: images, directories of the client, repositories, files.

mod blob;
pub(crate) mod chain;
pub(crate) mod git;
mod group;
pub(crate) mod http;
mod image;
pub(crate) mod layout;
mod local;
mod verify;

use std::sync::{Arc, PoisonError};

use buildgraph::{Source, Vertex};
use oci::image::Platform;

use crate::Error;
use crate::build::Shared;
use crate::client::{Asked, Denied, Described};
use crate::look::SourceMeta;
use crate::output::Output;
use crate::tell::Listeners;

pub(crate) use git::commit_time;
pub(crate) use http::UPLOAD;
pub(crate) use image::{here, resolve};

impl Shared {
    /// What is used in the place of a source, as its client's policy says.
    ///
    /// # Errors
    ///
    /// It may not be used.
    pub(crate) async fn decided(
        self: &Arc<Self>,
        source: &Source,
        platform: Option<&Platform>,
    ) -> Result<Source, Error> {
        let describe = |asked: Described| -> Asked<'_, SourceMeta> {
            Box::pin(async move {
                let Described { source, shown, platform, extras } = asked;
                let found = self.described(&source, &shown, platform.as_ref(), &extras).await;
                found.map_err(|error| docker::error::chain(&error))
            })
        };
        let other = self.client.decide(source, platform, &describe).await;
        let other = other.map_err(|Denied { why, messages }| Error::Denied { why, messages })?;
        let Some(other) = other else { return Ok(source.clone()) };
        let mut all = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.iter().any(|(known, _)| known == source) {
            all.push((source.clone(), other.clone()));
        }
        Ok(other)
    }

    /// What was used in the place of a source.
    pub(crate) fn used_for(&self, source: &Source) -> Source {
        let all = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        // What the front end has found out about an image was asked for before that was known.
        let same = |known: &Source| match (known, source) {
            (Source::Image(known), Source::Image(source)) => known.reference == source.reference,
            (known, source) => known == source,
        };
        let found = all.iter().find(|(known, _)| same(known)).map(|(_, other)| other.clone());
        match (found, source) {
            (Some(Source::Image(other)), Source::Image(source)) => {
                let digest = other.digest.clone().or_else(|| source.digest.clone());
                Source::Image(buildgraph::Image { digest, ..other })
            }
            (found, source) => found.unwrap_or_else(|| source.clone()),
        }
    }
}

/// Brings what a source names, and says whether it was here.
pub(crate) async fn bring(
    build: &Arc<Shared>,
    vertex: &Vertex,
    source: &Source,
    listeners: &Listeners,
) -> Result<(Output, bool), Error> {
    match source {
        Source::Image(image) => {
            image::bring(build, image, vertex.platform.as_ref(), listeners).await
        }
        Source::Local(local) => local::bring(build, local, listeners).await,
        Source::Result(id) => build.output(id).await.map(|output| (output, true)),
        Source::Git(git) => git::bring(build, git, listeners).await,
        Source::Http(http) => http::bring(build, http, listeners).await,
        Source::Blob(blob) => blob::bring(build, blob).await,
        Source::Layout(layout) => {
            Box::pin(layout::bring(build, layout, vertex.platform.as_ref(), listeners)).await
        }
    }
}
