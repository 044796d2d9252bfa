//! What a step has mounted: results, caches, secrets, agents.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use buildgraph::{Exec, MountKind, SecretVariable};
use containers::{StepMount, StepSource};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use crate::Error;
use crate::build::Shared;
use crate::cache::now;
use crate::caches::Placed;
use crate::error::At as _;
use crate::op::cached;
use crate::output::Output;
use crate::store::Directory;

/// No secret is larger, as in BuildKit.
const MAX_SECRET: usize = 500 << 10;

/// What a step has mounted, and what has to stay as long as it runs.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    pub(crate) list: Vec<StepMount>,
    /// Where in the list each mount of the step is; those that may be missing, and are, are nowhere.
    pub(crate) places: Vec<Option<usize>>,
    /// Variables with secrets.
    pub(crate) env: Vec<String>,
    /// Where each cache is, by its name.
    pub(super) paths: BTreeMap<String, PathBuf>,
    pub(super) caches: Vec<Directory>,
    pub(super) placed: Vec<Placed>,
    agents: Vec<Agent>,
}

impl Mounts {
    /// Makes them; `afresh`: with caches in which nothing is.
    pub(crate) async fn make(
        build: &Arc<Shared>,
        exec: &Exec,
        inputs: &[Output],
        afresh: bool,
    ) -> Result<Self, Error> {
        let mut mounts = Self::default();
        mounts.take_caches(build, exec, inputs, afresh).await?;
        for mount in &exec.mounts {
            let Some((source, subpath)) = mounts.source(build, &mount.kind, inputs).await? else {
                mounts.places.push(None);
                continue;
            };
            mounts.places.push(Some(mounts.list.len()));
            let target = mount.target.clone();
            mounts.list.push(StepMount { target, readonly: mount.readonly, subpath, source });
        }
        for variable in &exec.secrets {
            mounts.env.extend(secret_variable(build, variable).await?);
        }
        Ok(mounts)
    }

    /// What is mounted, and which part of it; nothing where it may be missing and is.
    async fn source(
        &mut self,
        build: &Arc<Shared>,
        kind: &MountKind,
        inputs: &[Output],
    ) -> Result<Option<(StepSource, String)>, Error> {
        let whole = |source| Some((source, String::new()));
        Ok(match kind {
            MountKind::Bind { input, source } => {
                let from = match &inputs[*input] {
                    Output::Layers(chain) => StepSource::Layers(chain.clone()),
                    Output::Tree(tree) => {
                        StepSource::Directory(tree.directory.path.join(&tree.part))
                    }
                    Output::Parts(_) => return Err(Error::Lost("a part of a result")),
                };
                Some((from, source.clone()))
            }
            MountKind::Cache { .. } => {
                let path = self.paths.get(&cached::key(build, kind, inputs)?).cloned();
                whole(StepSource::Cache(path.ok_or(Error::Lost("a cache"))?))
            }
            MountKind::Tmpfs { size } => {
                whole(StepSource::Tmpfs { size: size.unwrap_or_default() })
            }
            MountKind::Secret { id, optional, uid, gid, mode } => {
                let found = secret(build, id, *optional).await?;
                found.and_then(|bytes| {
                    whole(StepSource::Secret { bytes, uid: *uid, gid: *gid, mode: *mode })
                })
            }
            MountKind::Ssh { id, optional, uid, gid, mode } => {
                if !build.client.has_agent(id).await.map_err(Error::Client)? {
                    if *optional {
                        return Ok(None);
                    }
                    let why = format!(
                        "no SSH key {id:?} forwarded from the client: unset ssh forward key {id}"
                    );
                    return Err(Error::NotFound(why));
                }
                let agent = Agent::listen(build, id, self.agents.len())?;
                let path = agent.path.clone();
                self.agents.push(agent);
                whole(StepSource::Socket { path, uid: *uid, gid: *gid, mode: *mode })
            }
        })
    }
}

async fn secret(build: &Shared, id: &str, optional: bool) -> Result<Option<Vec<u8>>, Error> {
    match build.client.secret(id).await.map_err(Error::Client)? {
        Some(bytes) if bytes.len() > MAX_SECRET => {
            let why = format!("secret {id} is too big: {} bytes, of {MAX_SECRET}", bytes.len());
            Err(Error::Invalid(why))
        }
        Some(bytes) => Ok(Some(bytes)),
        None if optional => Ok(None),
        None => Err(Error::NotFound(format!("secret {id}: not found"))),
    }
}

/// A variable with a secret; nothing where it may be missing and is.
pub(crate) async fn secret_variable(
    build: &Shared,
    variable: &SecretVariable,
) -> Result<Option<String>, Error> {
    let Some(bytes) = secret(build, &variable.id, variable.optional).await? else {
        return Ok(None);
    };
    match String::from_utf8(bytes) {
        Ok(value) if !value.contains('\0') => Ok(Some(format!("{}={value}", variable.name))),
        _ => Err(Error::Invalid(format!(
            "secret {} cannot be a variable: it is no text",
            variable.id
        ))),
    }
}

/// A socket whose connections go to an agent of the client's.
#[derive(Debug)]
struct Agent {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
        let _ = fs::remove_file(&self.path);
    }
}

impl Agent {
    fn listen(build: &Arc<Shared>, id: &str, number: usize) -> Result<Self, Error> {
        let folder = build.builder.sockets()?;
        let path = folder.join(format!("{}-{}-{number}", build.lease.name(), now()));
        let listener = UnixListener::bind(&path).at("bind", &path)?;
        let (client, id) = (Arc::clone(&build.client), id.to_owned());
        let task = tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let (client, id) = (Arc::clone(&client), id.clone());
                tokio::spawn(async move {
                    // One that fails ends; whoever uses it sees that.
                    if let Ok(mut agent) = client.agent(&id).await {
                        let _ = tokio::io::copy_bidirectional(&mut connection, &mut agent).await;
                    }
                });
            }
        });
        Ok(Self { path, task })
    }
}
