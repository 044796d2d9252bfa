//! From a Dockerfile to a graph (BuildKit's `frontend/dockerfile/dockerfile2llb`, and its document
//! `docs/dev/dockerfile-llb.md`).
//!
//! What an image says of itself, and what a context leaves out, is outside. A [`Conversion`] says what
//! it has to know ([`Next::Ask`]), is told ([`Conversion::give`]), and is asked again, until it is
//! [`Next::Done`]. Triggers of images may name further images, so that takes a few rounds. Each round
//! begins anew with what is known: the same facts make the same graph.

use buildgraph::{Graph, Source, VertexIdx};
use oci::Digest;
use oci::image::{ImageConfig, Platform};

use crate::call::Outline;
use crate::check::Warning;
use crate::error::Error;
use crate::parse::{self, Parsed};

mod arguments;
mod base;
mod contexts;
mod copy;
mod dispatch;
mod env;
mod epoch;
mod finish;
mod history;
mod limits;
mod names;
mod options;
mod owner;
mod plan;
mod ports;
mod run;
mod stage;
mod stages;
mod takes;

pub use contexts::named_context;
pub use options::{Context, NoCache, Options};

use stages::Converter;

/// Something that has to be known.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// An image's configuration.
    Image {
        /// In full, with a tag.
        reference: String,
        /// For which platform.
        platform: Platform,
        /// What people are shown meanwhile.
        shown: String,
    },
    /// The same of an image in an OCI layout.
    Layout {
        /// What the layout is called in the build.
        store: String,
        /// What of it.
        digest: Digest,
        /// For which platform.
        platform: Platform,
        /// What people are shown meanwhile.
        shown: String,
    },
    /// The patterns in the `.dockerignore` of a directory.
    Ignore {
        /// What the directory is called in the build.
        local: String,
        /// What people are shown meanwhile.
        shown: String,
    },
    /// A result of the same build.
    Input {
        /// What it is called.
        name: String,
    },
    /// When something from elsewhere was made: of a repository its commit, of a file behind a URL what its
    /// server says, or the newest that is in an archive.
    Time {
        /// What it is.
        source: Box<Source>,
        /// What people are shown meanwhile.
        shown: String,
    },
}

/// What there is to say to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// An image.
    Image {
        /// Its configuration.
        config: Box<ImageConfig>,
        /// Of its manifest or index, where it has one.
        digest: Option<Digest>,
        /// Of its configuration.
        id: Option<Digest>,
    },
    /// What is used in the place of an image, which is none.
    Other(Box<Source>),
    /// Patterns.
    Ignore(Vec<String>),
    /// A result.
    Input {
        /// Its reference in the build.
        result: String,
        /// Its configuration, where it is an image.
        config: Option<Box<ImageConfig>>,
    },
    /// Seconds since 1970, where that is known.
    Time(Option<i64>),
    /// Why it cannot be known.
    Failed(String),
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// These have to be known.
    Ask(Vec<Ask>),
    /// All is known.
    Done(Box<Built>),
}

/// What a Dockerfile makes for one platform.
#[derive(Debug)]
pub struct Built {
    /// All steps that the result needs.
    pub graph: Graph,
    /// The last of them; `None`: the result is empty.
    pub result: Option<VertexIdx>,
    /// The image's configuration, but for layers and times.
    pub image: ImageConfig,
    /// The configuration of the image that it began with.
    pub base_image: Option<ImageConfig>,
    /// The time that the build gives everything, seconds since 1970.
    pub epoch: Option<i64>,
    /// What else is to be looked at for a bill of materials: stages by their names, and `context`.
    pub scanned: Vec<(String, Option<VertexIdx>)>,
    /// What the build takes.
    pub outline: Outline,
}

/// A round's outcome.
#[derive(Debug)]
pub struct Round {
    /// What comes next, or what is wrong.
    pub next: Result<Next, Error>,
    /// What checks found so far; all of it in the last round.
    pub warnings: Vec<Warning>,
    /// The stages of the Dockerfile that are needed, by their places in it, as far as is known.
    pub stages: Vec<usize>,
}

/// A Dockerfile on its way to a graph.
#[derive(Clone, Debug)]
pub struct Conversion {
    source: String,
    parsed: Parsed,
    options: Options,
    known: Vec<(Ask, Answer)>,
}

impl Conversion {
    /// Of this text, with these wishes.
    pub fn new(source: &[u8], options: Options) -> Self {
        let text = String::from_utf8_lossy(source).into_owned();
        Self { source: text, parsed: parse::parse_some(source), options, known: Vec::new() }
    }

    /// What comes next.
    pub fn round(&self) -> Round {
        let mut converter = Converter::new(&self.parsed.dockerfile, &self.options, &self.known);
        let next = converter.run(&self.source, self.parsed.error.as_ref());
        let n_stages = self.parsed.dockerfile.stages.len();
        let stages = converter.needed_stages.into_iter().filter(|at| *at < n_stages).collect();
        Round { next, warnings: converter.checks.warnings, stages }
    }

    /// Something is known now.
    pub fn give(&mut self, ask: Ask, answer: Answer) {
        self.known.push((ask, answer));
    }
}

#[cfg(test)]
mod tests;
