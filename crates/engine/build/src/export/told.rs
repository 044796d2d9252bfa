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

/// Carries it out and tells of it.
pub(super) async fn told(
    progress: &Progress,
    idx: usize,
    kind: &str,
    work: impl Future<Output = Result<BTreeMap<String, String>, Error>>,
) -> Result<BTreeMap<String, String>, Error> {
    let Some(name) = name(kind) else { return work.await };
    let started = now();
    let digest = Digest::sha256(format!("{name} {idx} {started}").as_bytes());
    let mut state = VertexState {
        digest: Some(digest.clone()),
        name: name.into(),
        started: Some(started),
        ..VertexState::default()
    };
    progress.tell(Event::Vertex(state.clone()));
    let part = |id: String, completed: Option<i64>| {
        progress.tell(Event::Status(Status {
            id,
            vertex: Some(digest.clone()),
            time: now(),
            started: Some(started),
            completed,
            ..Status::default()
        }));
    };
    let is_image = matches!(kind, "image" | "moby" | "docker" | "oci");
    if is_image {
        part("exporting layers".into(), None);
    }
    let done = work.await;
    state.completed = Some(now());
    match &done {
        Ok(response) if is_image => {
            part("exporting layers".into(), state.completed);
            if let Some(id) = response.get("containerimage.config.digest") {
                part(format!("writing image {id}"), state.completed);
            }
            let names = response.get("image.name").map(String::as_str).unwrap_or_default();
            for name in names.split(',').filter(|name| !name.is_empty()) {
                part(format!("naming to {name}"), state.completed);
            }
        }
        Ok(_) => {}
        Err(error) => state.error = docker::error::chain(error),
    }
    progress.tell(Event::Vertex(state));
    done
}
