//! The client's ssh agent, for git.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use tokio::io::copy_bidirectional;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use crate::Error;
use crate::build::Shared;
use crate::error::At as _;

/// A socket of ours that leads to an agent of the client's, while this lives.
pub(super) struct Agent {
    /// Where it is, for programs that this process starts. Short, as names of sockets have to be.
    pub(super) path: String,
    task: JoinHandle<()>,
    _folder: OwnedFd,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Makes one for the agent `id`.
pub(super) fn listen(build: &Arc<Shared>, id: &str) -> Result<Agent, Error> {
    let folder = &build.builder.sockets()?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags, Mode::empty()).at("open", folder)?;
    let name = format!("git-{}", snapshot::unique_name());
    let path = format!("/proc/{}/fd/{}/{name}", std::process::id(), opened.as_raw_fd());
    let listener = UnixListener::bind(&path).at("bind", folder)?;
    let (build, id) = (Arc::clone(build), id.to_owned());
    let task = tokio::spawn(async move {
        while let Ok((mut ours, _)) = listener.accept().await {
            let (build, id) = (Arc::clone(&build), id.clone());
            tokio::spawn(async move {
                if let Ok(mut theirs) = build.client.agent(&id).await {
                    let _ = copy_bidirectional(&mut ours, &mut theirs).await;
                }
            });
        }
    });
    Ok(Agent { path, task, _folder: opened })
}
