//! What a vertex tells while it is carried out: to every build that waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use buildgraph::Vertex;
use bytes::Bytes;
use oci::Digest;

use crate::Error;
use crate::build::Shared;
use crate::cache::now;
use crate::event::{Event, Log, Progress, Pulled, Status, VertexState};

/// Takes what a vertex says. One that comes later is told what was said before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listeners(Arc<Mutex<Heard>>);

#[derive(Debug, Default)]
struct Heard {
    to: Vec<(Digest, Progress)>,
    said: Vec<Said>,
    /// Bytes of output that were passed on.
    n_logged: usize,
}

/// Something that a vertex says, whatever it is called in the build that hears it.
#[derive(Clone, Debug)]
enum Said {
    Log(u8, Bytes, i64),
    Status(Status),
    Container(String),
    Pulled { digest: Digest, name: String, is_same: bool },
}

/// So much of a step's output is passed on, as in BuildKit.
const MAX_LOG: usize = 2 << 20;
const CLIPPED: &str = "\n[output clipped, log limit 2MiB reached]\n";

impl Listeners {
    /// Tells the build that listens here, too, for which the vertex is the one with this digest.
    pub(crate) fn add(&self, vertex: &Digest, progress: &Progress) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for said in &heard.said {
            pass(said, vertex, progress);
        }
        heard.to.push((vertex.clone(), progress.clone()));
    }

    /// Output of the step. 1: its output, 2: its errors.
    pub(crate) fn log(&self, stream: u8, data: &[u8]) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.n_logged > MAX_LOG {
            return;
        }
        let room = MAX_LOG - heard.n_logged;
        heard.n_logged += data.len();
        let mut bytes = Bytes::copy_from_slice(&data[..data.len().min(room)]);
        if heard.n_logged > MAX_LOG {
            bytes = Bytes::from([&bytes[..], CLIPPED.as_bytes()].concat());
        }
        heard.say(Said::Log(stream, bytes, now()));
    }

    /// It runs in the container of this id.
    pub(crate) fn container(&self, id: &str) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.say(Said::Container(id.to_owned()));
    }

    /// It has asked a registry for an image. `is_same`: it was here before.
    pub(crate) fn pulled(&self, digest: Digest, name: String, is_same: bool) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.say(Said::Pulled { digest, name, is_same });
    }

    /// How far a part of it is.
    pub(crate) fn status(&self, status: Status) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).say(Said::Status(status));
    }
}

impl Heard {
    fn say(&mut self, said: Said) {
        for (vertex, progress) in &self.to {
            pass(&said, vertex, progress);
        }
        self.said.push(said);
    }
}

fn pass(said: &Said, vertex: &Digest, progress: &Progress) {
    progress.tell(match said {
        Said::Log(stream, data, time) => Event::Log(Log {
            vertex: vertex.clone(),
            stream: *stream,
            data: data.clone(),
            time: *time,
        }),
        Said::Container(id) => Event::Container { vertex: vertex.clone(), id: id.clone() },
        Said::Pulled { digest, name, is_same } => Event::Pulled(Pulled {
            vertex: vertex.clone(),
            digest: digest.clone(),
            name: name.clone(),
            is_same: *is_same,
        }),
        Said::Status(status) => {
            Event::Status(Status { vertex: Some(vertex.clone()), ..status.clone() })
        }
    });
}

/// Does something that is no step of a graph, and shows it as one.
pub(crate) async fn phase<T>(
    build: &Shared,
    name: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    phase_told(build, name, |_| work).await
}

/// The same, for what tells how far it is.
pub(crate) async fn phase_told<T, F: Future<Output = Result<T, Error>>>(
    build: &Shared,
    name: &str,
    work: impl FnOnce(Listeners) -> F,
) -> Result<T, Error> {
    let number = PHASES.fetch_add(1, Ordering::Relaxed);
    let digest = Digest::sha256(format!("{} {number} {name}", build.lease.name()).as_bytes());
    let listeners = Listeners::default();
    listeners.add(&digest, &build.progress);
    let state = VertexState {
        digest: Some(digest),
        name: name.to_owned(),
        started: Some(now()),
        ..VertexState::default()
    };
    let mut watched = Watched { progress: build.progress.clone(), state };
    watched.tell();
    let done = work(listeners).await;
    watched.end(false, done.as_ref().err().map(|error| docker::error::chain(error)));
    done
}

/// Makes the phases of one build differ.
static PHASES: AtomicU64 = AtomicU64::new(0);

/// A vertex as its build sees it, from its start to its end.
#[derive(Debug)]
pub(crate) struct Watched {
    progress: Progress,
    state: VertexState,
}

impl Watched {
    /// It is there, and waits.
    pub(crate) fn new(vertex: &Vertex, inputs: Vec<Digest>, progress: &Progress) -> Self {
        let state = VertexState {
            digest: Some(vertex.known_as().clone()),
            inputs,
            name: vertex.shown.name.clone(),
            group: vertex.shown.group.clone(),
            ..VertexState::default()
        };
        Self { progress: progress.clone(), state }
    }

    /// Of something that nobody is told of.
    pub(crate) fn silent(progress: &Progress) -> Self {
        Self { progress: progress.clone(), state: VertexState::default() }
    }

    pub(crate) fn tell(&self) {
        if self.state.digest.is_none() {
            return;
        }
        self.progress.tell(Event::Vertex(self.state.clone()));
    }

    pub(crate) fn start(&mut self) {
        self.state.started = Some(now());
        self.tell();
    }

    /// It has ended: it was there, or was made, or failed.
    pub(crate) fn end(&mut self, cached: bool, error: Option<String>) {
        let now = now();
        self.state.started.get_or_insert(now);
        self.state.completed = Some(now);
        self.state.cached = cached;
        self.state.error = error.unwrap_or_default();
        self.tell();
    }
}
