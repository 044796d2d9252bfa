//! What is known of a build that goes on, from what its builder tells.
//!
//! The builder may be anybody: what is kept of it has bounds.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use buildkit::control::{StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning};
use buildkit::prost_types::Timestamp;

use crate::builder::explain::REASON;
use crate::format::human;

/// More steps, parts of a step, and warnings than a build has.
const MAX_STEPS: usize = 20_000;
const MAX_PARTS: usize = 10_000;
const MAX_WARNINGS: usize = 1_000;
/// The longest line that is kept, in bytes: what is longer becomes several.
const MAX_LINE: usize = 16 << 10;
/// Lines of a step's output that are shown again when it fails, and on a terminal.
pub(super) const TAIL: usize = 20;
/// Lines that nobody has printed yet.
const MAX_FRESH: usize = 100_000;

/// How often a line is printed of what goes on.
const PAUSE: Duration = Duration::from_secs(5);

/// A time in seconds since 1970.
pub(crate) fn seconds(time: &Timestamp) -> f64 {
    time.seconds as f64 + f64::from(time.nanos) / 1e9
}

/// A part of a step: a layer that is fetched, say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) current: i64,
    pub(crate) total: i64,
    pub(crate) time: f64,
    pub(crate) started: Option<f64>,
    pub(crate) completed: Option<f64>,
    pub(super) fresh: bool,
    /// When it was printed last, by our clock; at first, when it was heard of.
    pub(super) printed: Option<Instant>,
}

impl Part {
    /// Whether it says why its step was or was not cached, which is told at the end.
    pub(super) fn is_reason(&self) -> bool {
        self.id.starts_with(REASON)
    }

    /// Whether it is to be printed: it is done, or has gone on for a while.
    pub(super) fn is_due(&self) -> bool {
        let is_late = self.printed.is_none_or(|printed| printed.elapsed() > PAUSE);
        self.fresh && !self.is_reason() && (self.completed.is_some() || is_late)
    }
}

/// A step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    pub(crate) digest: String,
    pub(crate) name: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) cached: bool,
    pub(crate) started: Option<f64>,
    pub(crate) completed: Option<f64>,
    pub(crate) error: String,
    pub(crate) parts: Vec<Part>,
    /// The last lines of its output, each with its second since the step began.
    pub(crate) tail: VecDeque<(f64, Vec<u8>)>,
    /// Lines that came since somebody asked.
    pub(super) fresh: Vec<(f64, Vec<u8>)>,
    /// What has come of a line that is not whole.
    partial: Vec<u8>,
    pub(super) fresh_warnings: Vec<String>,
    /// It began or ended since somebody asked.
    pub(super) changed: bool,
    /// Its number in what was printed.
    pub(super) number: Option<usize>,
}

impl Step {
    /// Seconds that it took, or has taken until `now`.
    pub(crate) fn took(&self, now: f64) -> f64 {
        let end = self.completed.unwrap_or(now);
        self.started.map_or(0.0, |started| (end - started).max(0.0))
    }

    /// Whether it was stopped because nobody needs it any more.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.error.ends_with("context canceled")
    }

    /// Whether it went wrong.
    pub(crate) fn is_failed(&self) -> bool {
        !self.error.is_empty() && !self.is_cancelled()
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.changed
            || !self.fresh.is_empty()
            || !self.fresh_warnings.is_empty()
            || self.parts.iter().any(Part::is_due)
    }

    fn line(&mut self, at: f64, line: Vec<u8>) {
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back((at, line.clone()));
        if self.fresh.len() < MAX_FRESH {
            self.fresh.push((at, line));
        }
    }

    /// Ends a line that has no end.
    fn flush(&mut self, at: f64) {
        if !self.partial.is_empty() {
            let line = std::mem::take(&mut self.partial);
            self.line(at, line);
        }
    }
}

/// A warning.
#[derive(Clone, Debug)]
pub(crate) struct Warning(pub(crate) VertexWarning);

/// All of a build.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) steps: Vec<Step>,
    by_digest: HashMap<String, usize>,
    pub(crate) warnings: Vec<Warning>,
    /// The first thing that began.
    pub(crate) began: Option<f64>,
}

impl Trace {
    /// Takes what is new.
    pub(crate) fn update(&mut self, response: &StatusResponse) {
        for vertex in &response.vertexes {
            self.vertex(vertex);
        }
        for status in &response.statuses {
            self.status(status);
        }
        for warning in &response.warnings {
            self.warning(warning);
        }
        for log in &response.logs {
            self.log(log);
        }
        // Of a step that has ended, no end of a line is waited for.
        let logs = response.logs.iter().map(|log| &log.vertex);
        for digest in response.vertexes.iter().map(|vertex| &vertex.digest).chain(logs) {
            if let Some(step) = self.by_digest.get(digest).and_then(|at| self.steps.get_mut(*at))
                && let Some(end) = step.completed
            {
                step.flush(end - step.started.unwrap_or(end));
            }
        }
    }

    fn step(&mut self, digest: &str) -> Option<&mut Step> {
        let at = match self.by_digest.get(digest) {
            Some(at) => *at,
            None if self.steps.len() >= MAX_STEPS => return None,
            None => {
                self.steps.push(Step { digest: digest.to_owned(), ..Step::default() });
                self.by_digest.insert(digest.to_owned(), self.steps.len() - 1);
                self.steps.len() - 1
            }
        };
        self.steps.get_mut(at)
    }

    fn vertex(&mut self, vertex: &Vertex) {
        let started = vertex.started.as_ref().map(seconds);
        if let Some(started) = started {
            self.began = Some(self.began.map_or(started, |began| began.min(started)));
        }
        let Some(step) = self.step(&vertex.digest) else { return };
        step.name = human::printable(&vertex.name);
        step.inputs.clone_from(&vertex.inputs);
        step.inputs.truncate(MAX_PARTS);
        let completed = vertex.completed.as_ref().map(seconds);
        let error = human::printable(&vertex.error);
        let is_new = step.started.is_some() != started.is_some() || step.completed != completed;
        step.changed |= started.is_some() && (is_new || step.error != error);
        step.cached = vertex.cached;
        (step.started, step.completed, step.error) = (started, completed, error);
    }

    fn status(&mut self, status: &VertexStatus) {
        let Some(step) = self.step(&status.vertex) else { return };
        let id = human::printable(&status.id);
        let known = step.parts.iter().position(|part| part.id == id);
        let at = match known {
            Some(at) => at,
            None if step.parts.len() >= MAX_PARTS => return,
            None => {
                let name = human::printable(&status.name);
                step.parts.push(Part {
                    id,
                    name,
                    printed: Some(Instant::now()),
                    ..Part::default()
                });
                step.parts.len() - 1
            }
        };
        let part = &mut step.parts[at];
        part.current = status.current;
        part.total = status.total;
        part.time = status.timestamp.as_ref().map_or(0.0, seconds);
        part.started = status.started.as_ref().map(seconds);
        part.completed = status.completed.as_ref().map(seconds);
        part.fresh = true;
    }

    fn log(&mut self, log: &VertexLog) {
        let Some(step) = self.step(&log.vertex) else { return };
        let time = log.timestamp.as_ref().map_or(0.0, seconds);
        let at = step.started.map_or(0.0, |started| (time - started).max(0.0));
        for piece in log.msg.split_inclusive(|byte| *byte == b'\n') {
            step.partial.extend_from_slice(piece);
            while step.partial.len() > MAX_LINE {
                let line = step.partial.drain(..MAX_LINE).collect();
                step.line(at, line);
            }
            if step.partial.last() == Some(&b'\n') {
                let mut line = std::mem::take(&mut step.partial);
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                step.line(at, line);
            }
        }
    }

    fn warning(&mut self, warning: &VertexWarning) {
        if self.warnings.len() >= MAX_WARNINGS {
            return;
        }
        self.warnings.push(Warning(warning.clone()));
        let short = human::printable(&String::from_utf8_lossy(&warning.short));
        if let Some(step) = self.step(&warning.vertex) {
            step.fresh_warnings.push(short);
        }
    }
}
