//! What can go wrong, in the words that users of Docker know.

use std::io;
use std::path::PathBuf;

use crate::Driver;

/// What kind of mistake an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// There is no such image.
    NotFound,
    /// It is in use.
    Conflict,
    /// The request, or what was given with it, makes no sense.
    Invalid,
    /// Not now: others kept the database locked.
    Unavailable,
    /// The machine or dhow itself failed.
    Internal,
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such image.
    #[error("No such image: {0}")]
    NoImage(String),
    /// An artifact was to be run, or used as an image.
    #[error("{name} is an artifact of type `{kind}`, not an image: there is nothing in it to run")]
    Artifact {
        /// Its name.
        name: String,
        /// The type of artifact.
        kind: String,
    },
    /// An image is for another platform.
    #[error(
        "image with reference {name} was found but its platform ({has}) does not match the \
         specified platform ({wanted})"
    )]
    OtherPlatform {
        /// The image.
        name: String,
        /// What it is for.
        has: String,
        /// What was asked for.
        wanted: String,
    },
    /// An index has nothing for a platform, or it is not here.
    #[error(
        "image with reference {name} was found but does not provide the specified platform \
         ({wanted})"
    )]
    NotProvided {
        /// The image.
        name: String,
        /// What was asked for.
        wanted: String,
    },
    /// There is nothing to push under this name.
    #[error("An image does not exist locally with the tag: {0}")]
    NotInRepository(String),
    /// Several ids start like that.
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// The name is none.
    #[error(transparent)]
    Reference(#[from] reference::Error),
    /// The image is in use; the text says how.
    #[error("conflict: {0}")]
    Conflict(String),
    /// What was given makes no sense; the text says why.
    #[error("{0}")]
    Invalid(String),
    /// What was given is not what it should be.
    #[error("{what}")]
    Format {
        /// What it should be.
        what: String,
        /// What is wrong.
        source: oci::image::Error,
    },
    /// A file system archive that cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] diff::Error),
    /// An archive of images that cannot be read.
    #[error(transparent)]
    Archive(#[from] tarstream::Error),
    /// The database.
    #[error(transparent)]
    Metadata(#[from] metadata::Error),
    /// The content store.
    #[error(transparent)]
    Content(#[from] content::Error),
    /// The layer store.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// The root has another storage driver than was asked for.
    #[error(
        "\"{root}\" keeps layers with the storage driver {recorded}, not {asked}: remove all \
         containers and images in it first, or use another --root",
        root = root.display()
    )]
    Driver {
        /// The folder of layers.
        root: PathBuf,
        /// The driver that it has.
        recorded: Driver,
        /// The one that was asked for.
        asked: Driver,
    },
    /// A storage driver that does not work here.
    #[error("the storage driver {driver} does not work in \"{root}\": {why}", root = root.display())]
    NoDriver {
        /// The driver.
        driver: Driver,
        /// The folder of layers.
        root: PathBuf,
        /// Why.
        why: String,
    },
    /// A file that was named.
    #[error("{call} \"{path}\"", path = path.display())]
    Io {
        /// The call.
        call: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file of `--rootfs`.
    #[error("root file system \"{path}\"", path = path.display())]
    Rootfs {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// A document could not be written as JSON.
    #[error("write {what}")]
    Json {
        /// Which.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The receiver of an archive.
    #[error("write the archive")]
    Write(#[source] io::Error),
}

impl Error {
    /// Whether the disk is full.
    pub fn is_out_of_space(&self) -> bool {
        if matches!(self, Self::Metadata(error) if error.is_full()) {
            return true;
        }
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
                return true;
            }
            next = error.source();
        }
        false
    }

    /// What kind of mistake it is.
    pub fn class(&self) -> Class {
        match self {
            Self::NoImage(_)
            | Self::NotInRepository(_)
            | Self::OtherPlatform { .. }
            | Self::NotProvided { .. } => Class::NotFound,
            Self::Conflict(_) => Class::Conflict,
            Self::Rootfs { source, .. } => source.class(),
            Self::Metadata(error) if error.is_busy() => Class::Unavailable,
            Self::Metadata(error) if error.is_not_found() => Class::NotFound,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => Class::NotFound,
            Self::Unpack(diff::Error::Call { .. } | diff::Error::Root { .. })
            | Self::Metadata(_)
            | Self::Json { .. }
            | Self::Write(_) => Class::Internal,
            Self::Content(error) => match error {
                content::Error::WrongDigest { .. }
                | content::Error::WrongSize { .. }
                | content::Error::TooLarge { .. } => Class::Invalid,
                _ => Class::Internal,
            },
            Self::Snapshot(error) => match error {
                snapshot::Error::TooManyLayers { .. } => Class::Invalid,
                _ => Class::Internal,
            },
            _ => Class::Invalid,
        }
    }
}
