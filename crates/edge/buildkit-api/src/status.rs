//! What a build tells, as its client is told it: now, later, or long after.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use build::{Event, Log, Status, VertexState, Warning};
use buildgraph::Range;
use buildkit::control::{StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning};
use buildkit::pb;
use oci::Digest;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::timestamp;

/// So many bytes of it are held for those who come late. A step's output is limited by the builder.
const HELD: usize = 64 << 20;
/// So many events go in one message.
const BATCH: usize = 200;

/// All that a build has told so far.
#[derive(Debug)]
pub(crate) struct Told {
    so_far: Mutex<SoFar>,
    /// How much that is, and whether it is all.
    state: watch::Sender<(usize, bool)>,
}

#[derive(Debug, Default)]
struct SoFar {
    responses: Vec<Arc<StatusResponse>>,
    n_bytes: usize,
    counts: Counts,
}

/// What a record of a build says of its steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Digest, whether it was in the cache, whether it ended.
    steps: Vec<(String, bool, bool)>,
    /// Warnings.
    pub(crate) warnings: i32,
}

impl Counts {
    /// Steps, those of them that were in the cache, and those that have ended.
    pub(crate) fn steps(&self) -> (i32, i32, i32) {
        let count = |is: fn(&(String, bool, bool)) -> bool| {
            i32::try_from(self.steps.iter().filter(|step| is(step)).count()).unwrap_or(i32::MAX)
        };
        (count(|_| true), count(|step| step.1), count(|step| step.2))
    }

    fn add(&mut self, response: &StatusResponse) {
        for vertex in &response.vertexes {
            let (cached, ended) = (vertex.cached, vertex.completed.is_some());
            match self.steps.iter_mut().find(|step| step.0 == vertex.digest) {
                Some(step) => (step.1, step.2) = (cached, ended),
                None => self.steps.push((vertex.digest.clone(), cached, ended)),
            }
        }
        let n = i32::try_from(response.warnings.len()).unwrap_or(i32::MAX);
        self.warnings = self.warnings.saturating_add(n);
    }
}

impl Default for Told {
    fn default() -> Self {
        Self { so_far: Mutex::default(), state: watch::channel((0, false)).0 }
    }
}

impl Told {
    /// What a build told that is over.
    pub(crate) fn over(responses: Vec<Arc<StatusResponse>>) -> Self {
        let state = watch::channel((responses.len(), true)).0;
        let so_far = SoFar { responses, ..SoFar::default() };
        Self { so_far: Mutex::new(so_far), state }
    }

    fn lock(&self) -> MutexGuard<'_, SoFar> {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a build tells, until it has ended and all of it was taken.
    pub(crate) async fn listen(
        self: Arc<Self>,
        mut events: mpsc::UnboundedReceiver<Event>,
        mut ended: oneshot::Receiver<()>,
    ) {
        let mut batch = Vec::new();
        loop {
            let n = tokio::select! {
                biased;
                n = events.recv_many(&mut batch, BATCH) => n,
                _ = &mut ended => break,
            };
            if n == 0 {
                break;
            }
            self.add(translate(batch.drain(..)));
        }
        while let Ok(event) = events.try_recv() {
            batch.push(event);
        }
        if !batch.is_empty() {
            self.add(translate(batch.drain(..)));
        }
        self.state.send_modify(|state| state.1 = true);
    }

    /// Adds something that is told.
    pub(crate) fn add(&self, response: StatusResponse) {
        let mut so_far = self.lock();
        so_far.counts.add(&response);
        so_far.n_bytes += prost::Message::encoded_len(&response);
        if so_far.n_bytes > HELD && !response.logs.is_empty() {
            return;
        }
        so_far.responses.push(Arc::new(response));
        let n = so_far.responses.len();
        drop(so_far);
        self.state.send_modify(|state| state.0 = n);
    }

    /// All of it, once it has ended.
    pub(crate) async fn all(&self) -> (Vec<Arc<StatusResponse>>, Counts) {
        let mut state = self.state.subscribe();
        // Whoever would say so is us.
        _ = state.wait_for(|state| state.1).await;
        let so_far = self.lock();
        (so_far.responses.clone(), so_far.counts.clone())
    }

    /// Passes on what was told and will be, from the beginning.
    pub(crate) async fn replay(
        self: Arc<Self>,
        to: mpsc::Sender<Result<StatusResponse, tonic::Status>>,
    ) {
        let mut state = self.state.subscribe();
        let mut at = 0;
        loop {
            let (n, ended) = *state.borrow_and_update();
            while at < n {
                let Some(next) = self.lock().responses.get(at).cloned() else { break };
                at += 1;
                if to.send(Ok(StatusResponse::clone(&next))).await.is_err() {
                    return;
                }
            }
            if ended || state.changed().await.is_err() {
                return;
            }
        }
    }
}

/// What a build tells, as one message (`StatusResponse`).
pub fn trace(events: Vec<Event>) -> Vec<u8> {
    prost::Message::encode_to_vec(&translate(events.into_iter()))
}

fn translate(events: impl Iterator<Item = Event>) -> StatusResponse {
    let mut response = StatusResponse::default();
    for event in events {
        match event {
            Event::Vertex(state) => response.vertexes.push(vertex(state)),
            Event::Status(state) => response.statuses.push(status(state)),
            Event::Log(log) => response.logs.push(output(log)),
            Event::Warning(found) => response.warnings.push(warning(found)),
            // BuildKit tells nobody.
            Event::Container { .. } | Event::Pulled(_) => {}
        }
    }
    response
}

fn text(digest: Option<Digest>) -> String {
    digest.map(|digest| digest.to_string()).unwrap_or_default()
}

fn vertex(state: VertexState) -> Vertex {
    Vertex {
        digest: text(state.digest),
        inputs: state.inputs.iter().map(ToString::to_string).collect(),
        name: state.name,
        cached: state.cached,
        started: state.started.map(timestamp),
        completed: state.completed.map(timestamp),
        error: state.error,
        progress_group: state.group.map(|(id, name)| pb::ProgressGroup { id, name, weak: false }),
    }
}

fn status(state: Status) -> VertexStatus {
    VertexStatus {
        id: state.id,
        vertex: text(state.vertex),
        name: state.name,
        current: state.current,
        total: state.total,
        timestamp: Some(timestamp(state.time)),
        started: state.started.map(timestamp),
        completed: state.completed.map(timestamp),
    }
}

fn output(log: Log) -> VertexLog {
    VertexLog {
        vertex: log.vertex.to_string(),
        timestamp: Some(timestamp(log.time)),
        stream: i64::from(log.stream),
        msg: log.data.into(),
    }
}

fn warning(found: Warning) -> VertexWarning {
    VertexWarning {
        vertex: text(found.vertex),
        level: found.level,
        short: found.short.into_bytes(),
        detail: found.detail.into_iter().map(String::into_bytes).collect(),
        url: found.url,
        info: found.source.map(|source| pb::SourceInfo {
            filename: source.filename,
            data: source.data,
            definition: None,
            language: "Dockerfile".to_owned(),
        }),
        ranges: found.lines.into_iter().map(range).collect(),
    }
}

/// Lines, as messages have them.
fn range(lines: Range) -> pb::Range {
    let at = |line: u32| {
        let line = i32::try_from(line).unwrap_or(i32::MAX);
        Some(pb::Position { line, character: 0 })
    };
    pb::Range { start: at(lines.start), end: at(lines.end) }
}
