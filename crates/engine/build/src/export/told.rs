//! An export as people see it: a step of its own, last of all.

use std::collections::BTreeMap;

use oci::Digest;

use crate::Error;
use crate::cache::now;
use crate::event::{Event, Progress, Status, VertexState};

/// What people call it; `None`: there is nothing to see.
fn name(kind: &str) -> Option<&'static str> {
    match kind {
        "image" | "moby" => Some("exporting to image"),
        "docker" => Some("exporting to docker image format"),
        "oci" => Some("exporting to oci image format"),
        "local" => Some("exporting to client directory"),
        "tar" => Some("exporting to client tarball"),
        _ => None,
    }
}

/// Tells of the parts of an export.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    progress: Progress,
    /// The export; `None`: there is nothing to see.
    vertex: Option<Digest>,
}

impl Parts {
    /// A part that began so long ago goes on, or has ended.
    fn tell(&self, id: String, started: i64, completed: Option<i64>) {
        if self.vertex.is_none() {
            return;
        }
        self.progress.tell(Event::Status(Status {
            id,
            vertex: self.vertex.clone(),
            time: now(),
            started: Some(started),
            completed,
            ..Status::default()
        }));
    }

    /// Does a part.
    pub(super) async fn part<T>(
        &self,
        id: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let started = now();
        self.tell(id.to_owned(), started, None);
        let done = work.await;
        self.tell(id.to_owned(), started, Some(now()));
        done
    }
}

/// Carries it out and tells of it.
pub(super) async fn told<F>(
    progress: &Progress,
    idx: usize,
    kind: &str,
    work: impl FnOnce(Parts) -> F,
) -> Result<BTreeMap<String, String>, Error>
where
    F: Future<Output = Result<BTreeMap<String, String>, Error>>,
{
    let mut parts = Parts { progress: progress.clone(), vertex: None };
    let Some(name) = name(kind) else { return work(parts).await };
    let started = now();
    let digest = Digest::sha256(format!("{name} {idx} {started}").as_bytes());
    parts.vertex = Some(digest.clone());
    let mut state = VertexState {
        digest: Some(digest),
        name: name.into(),
        started: Some(started),
        ..VertexState::default()
    };
    progress.tell(Event::Vertex(state.clone()));
    let is_image = matches!(kind, "image" | "moby" | "docker" | "oci");
    if is_image {
        parts.tell("exporting layers".into(), started, None);
    }
    let done = work(parts.clone()).await;
    state.completed = Some(now());
    match &done {
        Ok(response) if is_image => {
            parts.tell("exporting layers".into(), started, state.completed);
            if let Some(id) = response.get("containerimage.config.digest") {
                parts.tell(format!("writing image {id}"), started, state.completed);
            }
            let names = response.get("image.name").map(String::as_str).unwrap_or_default();
            for name in names.split(',').filter(|name| !name.is_empty()) {
                parts.tell(format!("naming to {name}"), started, state.completed);
            }
        }
        Ok(_) => {}
        Err(error) => state.error = docker::error::chain(error),
    }
    progress.tell(Event::Vertex(state));
    done
}
