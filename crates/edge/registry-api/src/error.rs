//! What goes wrong, in the numbers and words of the distribution specification ("Error Codes").

use bytes::Bytes;
pub(crate) use docker::error::chain;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use images::{Class, Refused};
use serde::Serialize;

use crate::body::ReplyBody;

/// An error's identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    Denied,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    /// Docker's; clients know it.
    PaginationNumberInvalid,
    SizeInvalid,
    #[serde(rename = "TOOMANYREQUESTS")]
    TooManyRequests,
    Unauthorized,
    /// Docker's, for what is not the client's fault.
    Unknown,
    Unsupported,
}

impl Code {
    fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown
            | Self::BlobUploadUnknown
            | Self::ManifestBlobUnknown
            | Self::ManifestUnknown
            | Self::NameUnknown => StatusCode::NOT_FOUND,
            Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestInvalid
            | Self::NameInvalid
            | Self::PaginationNumberInvalid
            | Self::SizeInvalid => StatusCode::BAD_REQUEST,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
        }
    }
}

/// An answer that is an error.
#[derive(Clone, Debug)]
pub(crate) struct Error {
    pub(crate) status: StatusCode,
    pub(crate) code: Code,
    pub(crate) message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Error {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { status: code.status(), code, message: message.into(), headers: Vec::new() }
    }

    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// Adds a header; a value that cannot be one is left out.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    pub(crate) fn blob_unknown() -> Self {
        Self::new(Code::BlobUnknown, "blob unknown to registry")
    }

    pub(crate) fn manifest_unknown() -> Self {
        Self::new(Code::ManifestUnknown, "manifest unknown")
    }

    pub(crate) fn name_unknown() -> Self {
        Self::new(Code::NameUnknown, "repository name not known to registry")
    }

    pub(crate) fn upload_unknown() -> Self {
        Self::new(Code::BlobUploadUnknown, "blob upload unknown to registry")
    }

    /// Something of ours broke. Strangers are not told what.
    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        eprintln!("dhow: registry: {}", chain(error));
        Self::new(Code::Unknown, "the registry failed; its own output says why")
    }

    pub(crate) fn response(self) -> Response<ReplyBody> {
        #[derive(Serialize)]
        struct One {
            code: Code,
            message: String,
        }
        #[derive(Serialize)]
        struct Body {
            errors: [One; 1],
        }
        let body = Body { errors: [One { code: self.code, message: self.message }] };
        // Two strings cannot fail to be written.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(ReplyBody::Whole(Bytes::from(body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

impl From<images::Error> for Error {
    fn from(error: images::Error) -> Self {
        match &error {
            images::Error::Content(content::Error::NotFound { .. }) => Self::blob_unknown(),
            error if error.class() == Class::Unavailable => {
                Self::new(Code::Unknown, "the store is busy: try again")
                    .with_status(StatusCode::SERVICE_UNAVAILABLE)
                    .with(hyper::header::RETRY_AFTER, "1")
            }
            error => Self::internal(error),
        }
    }
}

impl From<content::Error> for Error {
    fn from(error: content::Error) -> Self {
        images::Error::from(error).into()
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        let code = match &refused {
            Refused::Invalid(_) => Code::ManifestInvalid,
            Refused::Unknown(_) => Code::ManifestBlobUnknown,
            Refused::Size { .. } => Code::SizeInvalid,
            Refused::Digest { .. } => Code::DigestInvalid,
            Refused::InUse(_) => Code::Unsupported,
            Refused::Store(_) => Code::Unknown,
        };
        match refused {
            Refused::Store(error) => error.into(),
            refused => Self::new(code, refused.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_specifications() {
        for (code, text) in [
            (Code::BlobUnknown, "BLOB_UNKNOWN"),
            (Code::BlobUploadInvalid, "BLOB_UPLOAD_INVALID"),
            (Code::BlobUploadUnknown, "BLOB_UPLOAD_UNKNOWN"),
            (Code::Denied, "DENIED"),
            (Code::DigestInvalid, "DIGEST_INVALID"),
            (Code::ManifestBlobUnknown, "MANIFEST_BLOB_UNKNOWN"),
            (Code::ManifestInvalid, "MANIFEST_INVALID"),
            (Code::ManifestUnknown, "MANIFEST_UNKNOWN"),
            (Code::NameInvalid, "NAME_INVALID"),
            (Code::NameUnknown, "NAME_UNKNOWN"),
            (Code::SizeInvalid, "SIZE_INVALID"),
            (Code::TooManyRequests, "TOOMANYREQUESTS"),
            (Code::Unauthorized, "UNAUTHORIZED"),
            (Code::Unsupported, "UNSUPPORTED"),
        ] {
            assert_eq!(serde_json::to_value(code).unwrap(), text);
        }
    }
}
