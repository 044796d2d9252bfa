//! The front end: from a Dockerfile to a graph.

use crate::export::Solved;
use crate::request::FrontendRequest;
use crate::{Build, Error};

#[allow(clippy::unused_async, reason = "it comes next")]
impl Build {
    /// Makes a graph of a Dockerfile, and names its results. Nothing is carried out but what it takes
    /// to read the Dockerfile, and to know the images that it names.
    pub async fn solve(&self, _request: &FrontendRequest) -> Result<Solved, Error> {
        Err(Error::NotYet("a Dockerfile".into()))
    }
}
