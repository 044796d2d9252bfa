//! What comes from outside: images, directories of the client, repositories, files.

pub(crate) mod git;
pub(crate) mod http;
mod image;
pub(crate) mod layout;
mod local;

use std::sync::Arc;

use buildgraph::{Source, Vertex};

use crate::Error;
use crate::build::Shared;
use crate::output::Output;
use crate::tell::Listeners;

pub(crate) use git::commit_time;
pub(crate) use http::UPLOAD;
pub(crate) use image::{here, resolve};

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
        Source::Layout(layout) => {
            Box::pin(layout::bring(build, layout, vertex.platform.as_ref(), listeners)).await
        }
    }
}
