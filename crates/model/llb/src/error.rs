//! What is wrong with a definition.

/// Why a definition cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Something that there is not here.
    #[error("{0} is not supported yet")]
    NotYet(String),
    /// There is too much of it.
    #[error("the definition is too large: more than {max} {what}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// That many are read.
        max: usize,
    },
    /// The graph's.
    #[error(transparent)]
    Graph(#[from] buildgraph::Error),
}

pub(crate) fn invalid<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid(text.into()))
}

pub(crate) fn not_yet<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::NotYet(text.into()))
}
