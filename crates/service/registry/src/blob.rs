//! Blobs: streamed, gone on with after a broken connection, and never taken for what they are not.

use std::io;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE};
use hyper::{Method, Response, StatusCode};
use oci::Digest;
use oci::image::Descriptor;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::{Answer, Target};
use crate::error::{Error, Transport};
use crate::hosts::Passed;
use crate::pace::Pace;
use crate::refused::shown;
use crate::repository::{Repository, header};
use crate::url::Url;

/// Pieces between the network and the disk: enough to let both go on, too few to fill the memory.
const PIECES: usize = 8;

/// Takes a blob's bytes, in order, on a thread that may block.
pub trait Sink: Send + 'static {
    /// Takes the next bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// How many bytes it has: also those that it had before the download began, where it goes on
    /// from.
    fn size(&self) -> u64;

    /// What all its bytes hash to.
    fn digest(&self) -> Digest;
}

/// Tells how many bytes there are.
pub type Progress<'a> = &'a (dyn Fn(u64) + Send + Sync);

impl Repository<'_> {
    /// Downloads a blob into `sink`, and checks that it is what the descriptor says. A connection
    /// that breaks is made again, and the download goes on from where it was.
    ///
    /// A blob that the registry does not have is fetched from the descriptor's `urls`, where it has
    /// any, without credentials.
    pub async fn download<S: Sink>(
        &self,
        blob: &Descriptor,
        sink: S,
        progress: Progress<'_>,
    ) -> Result<S, Error> {
        download(&[*self], blob, sink, progress, &|_, _| ()).await
    }

    /// How many bytes a blob has of which no more than its digest is known; `None`: the registry does not say.
    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let scopes = [self.scope(false)];
        let path = format!("/v2/{}/blobs/{digest}", self.path);
        let call = self.call_for(Method::HEAD, Target::Path(&path), &scopes);
        Ok(length(&self.registry.call(&call).await?.response))
    }

    async fn fetch<S: Sink>(
        &self,
        blob: &Descriptor,
        at: &mut u64,
        writer: &mut Writer<S>,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let retry = &self.registry.http.settings.retry;
        let mut n_failures = 0;
        let mut has_ranges = true;
        while *at < blob.size {
            let before = *at;
            let result = self.fetch_once(blob, at, has_ranges, writer, progress).await;
            let error = match result {
                Ok(()) if *at == blob.size => return Ok(()),
                Ok(()) => {
                    let (digest, found) = (blob.digest.clone(), *at);
                    Error::WrongSize { digest, expected: blob.size, found }
                }
                // One that does not know what it sends when it is asked for a part is asked for all.
                Err(Error::Range { .. }) if has_ranges => {
                    has_ranges = false;
                    continue;
                }
                Err(error) => error,
            };
            // One that trickles makes headway each time, and does not come for ever.
            let trickles =
                matches!(&error, Error::Request { source: Transport::TooSlow { .. }, .. });
            n_failures = if *at > before && !trickles { 1 } else { n_failures + 1 };
            let is_worth_it = match &error {
                Error::Request { source, .. } => source.is_outage(),
                Error::WrongSize { found, expected, .. } => found < expected,
                _ => false,
            };
            if !is_worth_it || n_failures >= self.registry.attempts() {
                return Err(error);
            }
            tokio::time::sleep(retry.pause(n_failures)).await;
        }
        Ok(())
    }

    /// One connection's worth.
    async fn fetch_once<S: Sink>(
        &self,
        blob: &Descriptor,
        at: &mut u64,
        has_ranges: bool,
        writer: &mut Writer<S>,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let asked = if has_ranges { *at } else { 0 };
        let answer = self.ask(blob, asked).await?;
        let url = answer.url.to_string();
        let mut to_skip = *at - asked + check_head(&answer, blob, asked)?;
        let Answer { response, .. } = answer;
        let mut body = response.into_body();
        let mut pace = Pace::new(&self.registry.http.settings.retry);
        while let Some(piece) = pace.next(&mut body).await {
            let mut piece = piece.map_err(|source| broken(&url, source))?;
            let skipped = to_skip.min(piece.len() as u64);
            to_skip -= skipped;
            bytes::Buf::advance(&mut piece, skipped as usize);
            if piece.is_empty() {
                continue;
            }
            let after = *at + piece.len() as u64;
            if after > blob.size {
                let digest = blob.digest.clone();
                return Err(Error::WrongSize { digest, expected: blob.size, found: after });
            }
            if !writer.write(piece).await {
                // Why, the writer says when it is asked to finish.
                return Err(Error::Write {
                    digest: blob.digest.clone(),
                    source: io::ErrorKind::BrokenPipe.into(),
                });
            }
            *at = after;
            progress(after);
        }
        Ok(())
    }

    /// The blob from byte `at`: from the registry, or else from where the descriptor says.
    async fn ask(&self, blob: &Descriptor, at: u64) -> Result<Answer, Error> {
        let scopes = [self.scope(false)];
        let path = format!("/v2/{}/blobs/{}", self.path, blob.digest);
        let missing = match self.ask_at(Target::Path(&path), &scopes, at).await {
            Err(error) if error.is_missing() && !blob.urls.is_empty() => error,
            answer => return answer,
        };
        for url in &blob.urls {
            let Ok(url) = Url::parse(url) else { continue };
            if let Ok(answer) = self.ask_at(Target::Foreign(&url), &[], at).await {
                return Ok(answer);
            }
        }
        Err(missing)
    }

    async fn ask_at(
        &self,
        target: Target<'_>,
        scopes: &[crate::auth::Scope],
        at: u64,
    ) -> Result<Answer, Error> {
        let mut call = self.call_for(Method::GET, target, scopes);
        if at > 0
            && let Ok(range) = HeaderValue::try_from(format!("bytes={at}-"))
        {
            call.headers.insert(RANGE, range);
        }
        self.registry.call(&call).await
    }
}

fn broken(url: &str, source: Transport) -> Error {
    Error::Request { method: Method::GET, url: url.to_owned(), source }
}

/// Downloads a blob from the first of these repositories; where one fails, the next goes on from
/// there. What has come is checked.
pub(crate) async fn download<S: Sink>(
    repositories: &[Repository<'_>],
    blob: &Descriptor,
    sink: S,
    progress: Progress<'_>,
    passed: Passed<'_>,
) -> Result<S, Error> {
    let mut at = sink.size();
    let mut writer = Writer::start(sink, blob);
    let mut fetched = Ok(());
    for (nth, repository) in repositories.iter().enumerate() {
        fetched = repository.fetch(blob, &mut at, &mut writer, progress).await;
        match &fetched {
            Ok(()) | Err(Error::Write { .. }) => break,
            Err(error) if nth + 1 < repositories.len() => passed(repository.registry, error),
            Err(_) => {}
        }
    }
    // First: where the disk failed, the network's error is only a consequence.
    let sink = writer.finish().await?;
    fetched?;
    if sink.size() != blob.size {
        let (digest, found) = (blob.digest.clone(), sink.size());
        return Err(Error::WrongSize { digest, expected: blob.size, found });
    }
    let found = sink.digest();
    if found != blob.digest {
        return Err(Error::WrongDigest { expected: blob.digest.clone(), found });
    }
    Ok(sink)
}

/// Checks what an answer says about itself. How many bytes of it are to be skipped: all that we
/// have, where the registry knows no ranges.
fn check_head(answer: &Answer, blob: &Descriptor, at: u64) -> Result<u64, Error> {
    let odd = |why: String| Error::Range { url: answer.url.to_string(), why };
    let length = length(&answer.response);
    let (to_skip, whole) = match answer.response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let range = header(answer, CONTENT_RANGE.as_str()).unwrap_or_default();
            let (start, total) = parse_range(&range)
                .ok_or_else(|| odd(format!("content range `{}` makes no sense", shown(&range))))?;
            if start != at {
                return Err(odd(format!("sent from byte {start}, asked for byte {at}")));
            }
            (0, total.or(length.map(|length| at + length)))
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            return Err(odd(format!("has no byte {at} of {}", blob.digest)));
        }
        _ => (at, length),
    };
    match whole {
        Some(found) if found != blob.size => {
            Err(Error::WrongSize { digest: blob.digest.clone(), expected: blob.size, found })
        }
        _ => Ok(to_skip),
    }
}

fn length(response: &Response<Incoming>) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The start and the total of `bytes START-END/TOTAL` (RFC 9110, 14.4).
pub(crate) fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((start.parse().ok()?, total))
}

/// The thread that writes.
struct Writer<S> {
    pieces: Option<mpsc::Sender<Bytes>>,
    thread: JoinHandle<io::Result<S>>,
    digest: Digest,
}

impl<S: Sink> Writer<S> {
    fn start(mut sink: S, blob: &Descriptor) -> Self {
        let (sender, mut pieces) = mpsc::channel::<Bytes>(PIECES);
        let thread = tokio::task::spawn_blocking(move || {
            while let Some(piece) = pieces.blocking_recv() {
                sink.write(&piece)?;
            }
            Ok(sink)
        });
        Self { pieces: Some(sender), thread, digest: blob.digest.clone() }
    }

    /// Whether it was taken.
    async fn write(&self, piece: Bytes) -> bool {
        match &self.pieces {
            Some(pieces) => pieces.send(piece).await.is_ok(),
            None => false,
        }
    }

    /// The sink, when all is written.
    async fn finish(mut self) -> Result<S, Error> {
        drop(self.pieces.take());
        let written = self.thread.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        written.map_err(|source| Error::Write { digest: self.digest, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, want) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 5-9/*", Some((5, None))),
            ("bytes */10", None),
            ("items 5-9/10", None),
            ("bytes 5-9", None),
            ("", None),
        ] {
            assert_eq!(parse_range(text), want, "{text}");
        }
    }
}
