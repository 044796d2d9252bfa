//! What comes back, on its way: it is digested as it goes through.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::Method;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use oci::{Algorithm, Hasher};

use crate::capture::{Capture, Material};

/// What is noted at the end of an answer.
pub(crate) struct Note {
    pub(crate) capture: Arc<Capture>,
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) status: u16,
    /// It is a part of something, or a part was asked for.
    pub(crate) is_partial: bool,
}

/// The body of an answer, of which is noted what it was when it ends, or is let go of.
pub(crate) struct Noted {
    body: Incoming,
    hasher: Option<Hasher>,
    has_failed: bool,
    is_over: bool,
    note: Note,
}

impl Noted {
    pub(crate) fn new(body: Incoming, note: Note) -> Self {
        let hasher = Some(Hasher::new(Algorithm::Sha256));
        Self { body, hasher, has_failed: false, is_over: false, note }
    }
}

impl Body for Noted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(data), Some(hasher)) = (frame.data_ref(), &mut self.hasher) {
                    hasher.update(data);
                }
            }
            Some(Err(_)) => self.has_failed = true,
            None => self.is_over = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        // Of a body whose length is known nobody has to ask for more than that.
        let is_whole = !self.has_failed && (self.is_over || self.body.is_end_stream());
        let Note { capture, method, url, status, is_partial } = &self.note;
        if let Some(reason) = why_incomplete(method, *status, *is_partial, is_whole) {
            capture.incomplete(method.as_str(), url, reason);
        } else if let (200..=299, Some(hasher)) = (*status, self.hasher.take()) {
            capture.material(Material { url: url.clone(), digest: hasher.finish() });
        }
    }
}

/// Why nobody can say what came; in BuildKit's words.
fn why_incomplete(
    method: &Method,
    status: u16,
    is_partial: bool,
    is_whole: bool,
) -> Option<&'static str> {
    if *method != Method::GET {
        Some("method_not_materializable")
    } else if is_partial || status == 206 {
        Some("partial_response")
    } else if status >= 400 {
        // Who is told that may not wait for the rest.
        Some("unsuccessful_response")
    } else if !is_whole {
        Some("body_read_failed")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_whole_is_known() {
        let why = |method: &Method, status, is_partial, is_whole| {
            why_incomplete(method, status, is_partial, is_whole)
        };
        assert_eq!(why(&Method::GET, 200, false, true), None);
        assert_eq!(why(&Method::GET, 302, false, true), None);
        assert_eq!(why(&Method::HEAD, 200, false, true), Some("method_not_materializable"));
        assert_eq!(why(&Method::GET, 206, false, true), Some("partial_response"));
        assert_eq!(why(&Method::GET, 200, true, true), Some("partial_response"));
        assert_eq!(why(&Method::GET, 200, false, false), Some("body_read_failed"));
        assert_eq!(why(&Method::GET, 404, false, true), Some("unsuccessful_response"));
        assert_eq!(why(&Method::GET, 404, false, false), Some("unsuccessful_response"));
    }
}
