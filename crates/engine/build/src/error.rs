//! What can go wrong in a build.

use std::path::PathBuf;
use std::sync::Arc;

use buildgraph::Range;
use oci::Digest;
use serde::Serialize;

use crate::remote::Imported;

/// Why a build, or a part of one, failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A vertex failed.
    #[error("{source}")]
    Vertex {
        /// Which.
        digest: Digest,
        /// What people call it.
        name: String,
        /// Where it comes from.
        lines: Vec<Range>,
        /// Of what the lines are, where that is known.
        file: Option<Arc<crate::event::Source>>,
        /// Why.
        source: Arc<Error>,
    },
    /// Something is wrong with the Dockerfile.
    #[error("{text}")]
    Dockerfile {
        /// What.
        text: String,
        /// Of what the lines are.
        file: crate::event::Source,
        /// The lines.
        lines: Vec<Range>,
    },
    /// A program of a step ended with an error.
    #[error("process \"{command}\" did not complete successfully: {why}")]
    Exit {
        /// The program and its arguments.
        command: String,
        /// Its exit code.
        code: i32,
        /// That code, or more.
        why: String,
        /// Whether it ran at all; else that says why it could not.
        ran: bool,
    },
    /// Who asked for the build says why something cannot be had.
    #[error("{0}")]
    Client(String),
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// There is no Dockerfile of this name.
    #[error("failed to read dockerfile: open {0}: no such file or directory")]
    NoDockerfile(String),
    /// Something that is named is not there.
    #[error("{0}")]
    NotFound(String),
    /// Somebody uses what is to be changed.
    #[error("{0}")]
    InUse(String),
    /// What is to be copied is not there; in BuildKit's words, which people look for.
    #[error("failed to compute cache key: failed to calculate checksum of ref {what}")]
    Missing {
        /// What it was looked for in.
        what: String,
        /// Which input of the step that is.
        input: usize,
        /// What is not there.
        source: edit::Error,
    },
    /// The build has to be allowed to do that.
    #[error(
        "{entitlement} is not allowed: {what} needs it, and the build was not given it (--allow)"
    )]
    NotAllowed {
        /// What it would do.
        what: String,
        /// What it lacks: `network.host`.
        entitlement: &'static str,
    },
    /// The build has to be given these devices; in BuildKit's words.
    #[error("{} requested by the build but not allowed (--allow device)", listed(.0))]
    Devices(Vec<String>),
    /// No build may be allowed that here.
    #[error(
        "granting entitlement {0} is not allowed by build daemon configuration (`builder.entitlements`)"
    )]
    NotGranted(&'static str),
    /// Layers that a cache elsewhere was to have: they have to be made.
    #[error("{why}")]
    Gone {
        /// The cache; `None`: none has them.
        #[doc(hidden)]
        import: Option<Gone>,
        /// Why.
        why: String,
    },
    /// What is said to be a cache, and is none.
    #[error(transparent)]
    Cache(#[from] buildcache::Error),
    /// A front end that is an image cannot be had, or has failed.
    #[error("the front end {image}: {source}")]
    Guest {
        /// Its image.
        image: String,
        /// Why.
        source: Box<Error>,
    },
    /// An image that is to write bills of materials has failed.
    #[error("the SBOM generator {image}: {source}")]
    Generator {
        /// It.
        image: String,
        /// Why.
        source: Box<Error>,
    },
    /// A source may not be used, as who asked for the build says.
    #[error("{why}")]
    Denied {
        /// It, and by what.
        why: String,
        /// What is to be told of that.
        messages: Vec<String>,
    },
    /// A front end cannot do what is asked of it.
    #[error("unsupported frontend capability {cap}: the front end {front_end} does not have it")]
    NoCap {
        /// Its image.
        front_end: String,
        /// What it lacks.
        cap: String,
    },
    /// Not all that a result is made of can be named, where that was asked for.
    #[error("{why}")]
    IncompleteMaterials {
        /// What is wrong.
        why: String,
        /// The directories of the client that are among it.
        locals: Vec<String>,
        /// What its programs have asked for, and is not known.
        requests: Vec<Unrecorded>,
    },
    /// The front end that is built in knows no such question.
    #[error("unsupported request {0}")]
    NoSubrequest(String),
    /// Nobody wants it any more.
    #[error("context canceled")]
    Cancelled,
    /// Something that dhow cannot do.
    #[error("{0} is not supported yet")]
    NotYet(String),
    /// The machine's.
    #[error("{call} {}", path.display())]
    Io {
        /// What was done.
        call: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The images'.
    #[error(transparent)]
    Images(#[from] images::Error),
    /// A pull's or a push's.
    #[error(transparent)]
    Transfer(#[from] transfer::Error),
    /// The step's own.
    #[error(transparent)]
    Containers(#[from] containers::Error),
    /// The snapshots'.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// The database's.
    #[error(transparent)]
    Metadata(#[from] metadata::Error),
    /// The kernel's.
    #[error(transparent)]
    Sys(#[from] sys::Error),
    /// An archive's.
    #[error(transparent)]
    Archive(#[from] cp::Error),
    /// A change of files.
    #[error(transparent)]
    Edit(#[from] edit::Error),
    /// The graph's.
    #[error(transparent)]
    Graph(#[from] buildgraph::Error),
    /// A thread or task of ours died.
    #[error("{0} ended early")]
    Lost(&'static str),
    /// The same for others who wait for it.
    #[error(transparent)]
    Shared(#[from] Arc<Error>),
}

/// Something that a program has asked for through its proxy, and nobody can say what it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unrecorded {
    /// The step, as events call it.
    pub op: String,
    /// Its program and arguments.
    pub name: String,
    /// `POST`; empty: it is not even known what was asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// What was asked for, without who asks.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// Why it is not known.
    pub reason: String,
}

/// A cache that was imported, for the builder itself.
#[derive(Clone, Debug)]
pub struct Gone(pub(crate) Arc<Imported>);

/// Where layers are not.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GoneFrom<'a> {
    /// In this cache, which said that they were.
    Cache(&'a Imported),
    /// In any.
    All,
}

/// Devices with their verb.
fn listed(names: &[String]) -> String {
    match names {
        [only] => format!("device {only} is"),
        all => format!("devices {} are", all.join(", ")),
    }
}

impl Error {
    /// Says of what the lines are.
    pub(crate) fn of_file(self, of: Option<Arc<crate::event::Source>>) -> Self {
        match self {
            Self::Vertex { digest, name, lines, file: None, source } => {
                Self::Vertex { digest, name, lines, file: of, source }
            }
            error => error,
        }
    }

    /// The step that failed, if it is the failure of one.
    pub(crate) fn step(&self) -> Option<&Digest> {
        match self {
            Self::Vertex { digest, .. } => Some(digest),
            Self::Shared(source) => source.step(),
            Self::Guest { source, .. } | Self::Generator { source, .. } => source.step(),
            _ => None,
        }
    }

    /// Whether it says that layers are gone, which a cache should have had.
    pub(crate) fn gone(&self) -> Option<GoneFrom<'_>> {
        match self {
            Self::Gone { import: Some(gone), .. } => Some(GoneFrom::Cache(&gone.0)),
            Self::Gone { import: None, .. } => Some(GoneFrom::All),
            Self::Vertex { source, .. } | Self::Shared(source) => source.gone(),
            _ => None,
        }
    }
}

/// Says what was done, with what, where it fails.
pub(crate) trait At<T> {
    fn at(self, call: &'static str, path: &std::path::Path) -> Result<T, Error>;
}

impl<T, E: Into<std::io::Error>> At<T> for Result<T, E> {
    fn at(self, call: &'static str, path: &std::path::Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io { call, path: path.into(), source: source.into() })
    }
}
