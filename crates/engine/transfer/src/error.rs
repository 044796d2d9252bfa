//! What can go wrong: on either side, or between them.

/// What kind of mistake it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// There is no such image.
    NotFound,
    /// The registry does not let us.
    Denied,
    /// What was asked for, or what came, makes no sense.
    Invalid,
    /// It may go better later.
    Unavailable,
    /// Something broke.
    Internal,
}

/// Why an image did not come or go.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry, or the way to it.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The images.
    #[error(transparent)]
    Images(#[from] images::Error),
    /// The store of blobs.
    #[error(transparent)]
    Content(#[from] content::Error),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// An index names a manifest that is neither here nor at the registry.
    #[error(
        "missing content: manifest {0} is not here: pull it with --platform, or push one platform \
         with --platform"
    )]
    Missing(oci::Digest),
    /// A thread or task of ours ended before its time.
    #[error("{what} ended before its time")]
    Lost {
        /// Which.
        what: &'static str,
        /// How.
        source: tokio::task::JoinError,
    },
}

impl Error {
    /// What kind of mistake it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Registry(error) => match error.class() {
                registry::Class::NotFound => Class::NotFound,
                registry::Class::Denied => Class::Denied,
                registry::Class::Invalid => Class::Invalid,
                registry::Class::Unavailable => Class::Unavailable,
                registry::Class::Internal => Class::Internal,
            },
            Self::Images(error) => match error.class() {
                images::Class::NotFound => Class::NotFound,
                images::Class::Conflict | images::Class::Invalid => Class::Invalid,
                images::Class::Unavailable => Class::Unavailable,
                images::Class::Internal => Class::Internal,
            },
            Self::Invalid(_) => Class::Invalid,
            Self::Missing(_) => Class::NotFound,
            Self::Content(_) | Self::Lost { .. } => Class::Internal,
        }
    }
}
