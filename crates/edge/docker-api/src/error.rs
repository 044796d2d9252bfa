//! What goes wrong, in `dockerd`'s numbers and words: the only place that knows them.

use containers::Class;
pub(crate) use docker::error::chain;
use hyper::StatusCode;

use crate::http::syntax::complaint;

/// An answer that is an error: its status and its one line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error {
    /// A client's or a server's error.
    pub(crate) status: StatusCode,
    /// What the body's `message` says.
    pub(crate) message: String,
    /// The body is the message alone: for clients from before errors were JSON.
    pub(crate) plain: bool,
}

impl Error {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), plain: false }
    }

    /// The client is too old to read errors in JSON.
    pub(crate) fn too_old(message: impl Into<String>) -> Self {
        Self { plain: true, ..Self::invalid(message) }
    }

    /// The request makes no sense.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// There is no such path.
    pub(crate) fn page_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "page not found")
    }

    /// There is no such thing.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// Not on this socket.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// Docker has it, we do not.
    pub(crate) fn not_there_yet(what: &str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, format!("not there yet: {what}"))
    }

    /// Docker has it where somebody wants what is not finished; here nobody can.
    pub(crate) fn experimental() -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "This experimental feature is disabled by default. Start the Docker daemon in experimental mode \
             in order to enable it.",
        )
    }

    /// Not as things are.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// Something of ours broke.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The body is not what was expected.
    pub(crate) fn json(body: &[u8], err: &serde_json::Error) -> Self {
        Self::unreadable(body, None, &err.to_string())
    }

    /// The body cannot be read as what `dockerd` reads it as: in Go's words, as far as we know them.
    pub(crate) fn unreadable(body: &[u8], of: Option<&docker::go::Type>, otherwise: &str) -> Self {
        let why = complaint(body).or_else(|| docker::go::mismatch(body, of?));
        Self::invalid(format!("invalid JSON: {}", why.as_deref().unwrap_or(otherwise)))
    }
}

/// The one table from the engine's classes to Docker's numbers.
fn status(class: Class) -> StatusCode {
    match class {
        Class::NotFound => StatusCode::NOT_FOUND,
        Class::Conflict => StatusCode::CONFLICT,
        Class::Invalid => StatusCode::BAD_REQUEST,
        Class::Denied => StatusCode::FORBIDDEN,
        Class::NotModified => StatusCode::NOT_MODIFIED,
        Class::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Class::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        Class::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<containers::Error> for Error {
    fn from(err: containers::Error) -> Self {
        Self::new(status(err.class()), chain(&err))
    }
}

impl From<images::Error> for Error {
    fn from(err: images::Error) -> Self {
        containers::Error::from(err).into()
    }
}

impl From<network::Error> for Error {
    fn from(err: network::Error) -> Self {
        containers::Error::from(err).into()
    }
}

impl From<transfer::Error> for Error {
    fn from(err: transfer::Error) -> Self {
        let status = match err.class() {
            transfer::Class::NotFound => StatusCode::NOT_FOUND,
            transfer::Class::Denied => StatusCode::UNAUTHORIZED,
            transfer::Class::Invalid => StatusCode::BAD_REQUEST,
            // As `dockerd` has it for a registry that does not answer.
            transfer::Class::Unavailable | transfer::Class::Internal => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, chain(&err))
    }
}

impl From<registry::Error> for Error {
    fn from(err: registry::Error) -> Self {
        transfer::Error::from(err).into()
    }
}

impl From<docker::filters::Error> for Error {
    fn from(err: docker::filters::Error) -> Self {
        Self::invalid(err.to_string())
    }
}
