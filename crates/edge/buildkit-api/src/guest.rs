//! Front ends: the one that is built in, or an image, which is spoken with over its standard input and output.
//!
//! ```text
//! a program in a container ── standard output ─▶ HTTP/2 ─▶ Gateway ─▶ build::Build
//!                          ◀─ standard input ───
//! ```

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use build::{Guest, GuestLog, GuestRequest, Process, Solved, Syntax};
use buildkit::gateway::CacheOptionsEntry;
use buildkit::pb::Definition;
use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::Status;

use buildgraph::Source;
use prost::Message as _;

use crate::builds::Job;
use crate::definition::of_source;
use crate::front_end::{FrontEnd, Returned};
use crate::gateway::Gateway;
use crate::service::Service;
use crate::transport::server;
use crate::{failure, request, worker};

/// So many front ends may ask for the next, each in the build of one client.
const MAX_DEPTH: usize = 8;
/// How long one may take to end after it has given its result back, or has closed its side.
const GRACE: Duration = Duration::from_secs(3);
/// So much of what it said last is told where it fails, in bytes.
const LAST_WORDS: usize = 2 << 10;

/// A front end that is asked for.
pub(crate) struct Asked<'a> {
    pub(crate) name: &'a str,
    pub(crate) options: &'a BTreeMap<String, String>,
    pub(crate) cache_imports: &'a [CacheOptionsEntry],
    pub(crate) inputs: &'a BTreeMap<String, Definition>,
}

impl Service {
    /// What a front end makes, for `by`, who asks for it.
    pub(crate) async fn front_end(
        &self,
        job: &Arc<Job>,
        by: &FrontEnd,
        asked: Asked<'_>,
    ) -> Result<Solved, Status> {
        let inputs = self.inputs(job, by, asked.inputs)?;
        let wanted = request::frontend(asked.name, asked.options, asked.cache_imports, inputs)?;
        if let Some(image) = wanted.image {
            return Box::pin(self.guest(job, by, &image, wanted.request.inputs, asked)).await;
        }
        let syntax = Box::pin(job.build.syntax(&wanted.request)).await;
        let syntax = syntax.map_err(|error| job.failed(&error))?;
        let foreign = syntax.filter(|syntax| !request::is_built_in(&syntax.image, asked.options));
        let Some(Syntax { image, cmdline, place }) = foreign else {
            let solved = Box::pin(job.build.solve(&wanted.request)).await;
            return solved.map_err(|error| job.failed(&error));
        };
        let mut options = asked.options.clone();
        options.insert("cmdline".into(), cmdline.clone());
        options.insert("source".into(), image.clone());
        let asked = Asked { options: &options, ..asked };
        let inputs = wanted.request.inputs;
        let solved = Box::pin(self.guest(job, by, &image, inputs, asked)).await;
        solved.map_err(|status| match &place {
            Some((file, lines)) => failure::at(status, file, lines),
            None => status,
        })
    }

    /// Runs a front end that is an image, and serves it until it has its result.
    async fn guest(
        &self,
        job: &Arc<Job>,
        by: &FrontEnd,
        image: &str,
        inputs: BTreeMap<String, String>,
        asked: Asked<'_>,
    ) -> Result<Solved, Status> {
        let depth = by.depth + 1;
        if depth > MAX_DEPTH {
            let text =
                format!("the front end {image}: {MAX_DEPTH} front ends ask each for the next");
            return Err(Status::failed_precondition(text));
        }
        let env = vec![
            format!("BUILDKIT_SESSION_ID={}", job.session),
            format!("BUILDKIT_WORKERS={}", self.worker.json(self.offers().await)),
            format!("BUILDKIT_EXPORTEDPRODUCT={}", worker::PRODUCT),
        ];
        let wanted =
            GuestRequest { image: image.to_owned(), options: asked.options.clone(), env, inputs };
        let about = |source: &Source| of_source(&job.id, source).encode_to_vec();
        let guest = job.build.guest(&wanted, about).await.map_err(|error| job.failed(&error))?;
        let (front_end, returned) = FrontEnd::guest(asked.inputs.clone(), depth);
        let front_end = Arc::new(front_end);
        let solved = self.converse(job, image, guest, &front_end, returned).await;
        front_end.release().await;
        solved
    }

    async fn converse(
        &self,
        job: &Arc<Job>,
        image: &str,
        guest: Guest,
        front_end: &Arc<FrontEnd>,
        mut returned: oneshot::Receiver<Returned>,
    ) -> Result<Solved, Status> {
        let Guest { container, mut process, shown } = guest;
        let (spoken, pieces) = mpsc::channel(1);
        let stdin = process.stdin.take();
        let stdin = stdin.ok_or_else(|| Status::internal("a front end without standard input"))?;
        let wire = Wire { pieces, rest: Bytes::new(), stdin };
        let gateway = Gateway::of_guest(self.clone(), Arc::clone(job), Arc::clone(front_end));
        let mut serving =
            Serving(tokio::spawn(server::serve(wire, move |call| gateway.clone().answer(call))));
        let words = Mutex::default();
        let listening = listen(process, spoken, &shown, &words);
        tokio::pin!(listening);
        // It has a result, or ends without, or does not speak as it should.
        let mut given = None;
        let mut code = tokio::select! {
            biased;
            result = &mut returned => { given = result.ok(); None }
            code = &mut listening => Some(code),
            _ = &mut serving.0 => None,
        };
        if code.is_none() {
            code = timeout(GRACE, &mut listening).await.ok();
        }
        let given = given.or_else(|| returned.try_recv().ok());
        drop(serving);
        // That it still ran is no news to who has its answer.
        _ = container.release().await;
        let failed = |why: String| {
            let words = words.lock().unwrap_or_else(PoisonError::into_inner);
            Err(Status::unknown(format!("the front end {image}: {why}{}", words.told())))
        };
        match (code, given) {
            (_, Some(Err(status))) => Err(status),
            (Some(Ok(0)) | None, Some(Ok(solved))) => Ok(solved),
            (Some(Err(error)), _) => Err(job.failed(&error)),
            (Some(Ok(code)), Some(_)) => failed(format!("it failed: exit code: {code}")),
            (Some(Ok(code)), None) => {
                failed(format!("it ended without a result: exit code: {code}"))
            }
            (None, None) => failed("it does not speak as a front end does".to_owned()),
        }
    }
}

/// Passes on what a front end speaks, and shows what it says beside that, until it has ended: its exit code.
async fn listen(
    mut process: Process,
    spoken: mpsc::Sender<Bytes>,
    shown: &GuestLog,
    words: &Mutex<Words>,
) -> Result<i32, build::Error> {
    while let Some((stream, piece)) = process.output.recv().await {
        if stream == 1 {
            // Nobody may listen any more; its end is what counts then.
            _ = spoken.send(piece).await;
        } else {
            words.lock().unwrap_or_else(PoisonError::into_inner).add(&piece);
            shown.show(&piece);
        }
    }
    drop(spoken);
    process.exit.await.unwrap_or(Err(build::Error::Lost("a front end")))
}

/// What a front end said last.
#[derive(Default)]
struct Words(Vec<u8>);

impl Words {
    fn add(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
        let n_over = self.0.len().saturating_sub(LAST_WORDS);
        self.0.drain(..n_over);
    }

    /// The last line of it.
    fn told(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let line = text.lines().rev().find(|line| !line.trim().is_empty());
        line.map(|line| format!(": {}", line.trim())).unwrap_or_default()
    }
}

/// A connection that is served as long as this lives.
struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A program's standard output and input, as one stream.
struct Wire {
    pieces: mpsc::Receiver<Bytes>,
    rest: Bytes,
    stdin: OwnedWriteHalf,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            match ready!(self.pieces.poll_recv(cx)) {
                Some(piece) => self.rest = piece,
                None => return Poll::Ready(Ok(())),
            }
        }
        let n_bytes = self.rest.len().min(into.remaining());
        into.put_slice(&self.rest[..n_bytes]);
        self.rest.advance(n_bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stdin).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_shutdown(cx)
    }
}
