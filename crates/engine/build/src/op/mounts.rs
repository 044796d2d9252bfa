//! What a step has mounted: results, caches, secrets, agents.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use buildgraph::{Action, Copy, Exec, File, MountKind, SecretVariable, Sharing};
use containers::{StepMount, StepSource};
use fsroot::Root;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::build::Shared;
use crate::cache::now;
use crate::caches::{self, KIND, Name, Placed};
use crate::error::At as _;
use crate::output::Output;
use crate::store::{Directory, Use};
use crate::{Error, op, view};

/// How often it is looked whether somebody else is done with a cache.
const LOOK: Duration = Duration::from_millis(50);
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
    paths: BTreeMap<String, PathBuf>,
    caches: Vec<Directory>,
    placed: Vec<Placed>,
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
                let path = self.paths.get(&key(build, kind, inputs)?).cloned();
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
                    let why = format!("unset ssh forward key {id}");
                    return Err(Error::NotFound(why));
                }
                let agent = Agent::listen(build, id, self.agents.len())?;
                let path = agent.path.clone();
                self.agents.push(agent);
                whole(StepSource::Socket { path, uid: *uid, gid: *gid, mode: *mode })
            }
        })
    }

    /// Takes all caches: in one order, so that no two steps wait for each other. One that is mounted more than
    /// once is taken once.
    async fn take_caches(
        &mut self,
        build: &Arc<Shared>,
        exec: &Exec,
        inputs: &[Output],
        afresh: bool,
    ) -> Result<(), Error> {
        let mut wanted: BTreeMap<String, (Sharing, &MountKind)> = BTreeMap::new();
        for mount in &exec.mounts {
            let MountKind::Cache { sharing, .. } = &mount.kind else { continue };
            let one = wanted.entry(key(build, &mount.kind, inputs)?);
            let one = one.or_insert((*sharing, &mount.kind));
            // The strictest counts.
            if one.0 == Sharing::Shared || *sharing == Sharing::Locked {
                one.0 = *sharing;
            }
        }
        for (key, (sharing, kind)) in wanted {
            let afresh = afresh && build.is_first(&key);
            let path = self.cache(build, kind, sharing, inputs, afresh).await?;
            self.paths.insert(key, path);
        }
        Ok(())
    }

    /// The directory of a cache, filled where it is new.
    async fn cache(
        &mut self,
        build: &Arc<Shared>,
        kind: &MountKind,
        sharing: Sharing,
        inputs: &[Output],
        afresh: bool,
    ) -> Result<PathBuf, Error> {
        let MountKind::Cache { id, from, source, mode, uid, gid, .. } = kind else {
            return Err(Error::Lost("a cache"));
        };
        let placed = &build.builder.engine.settings().builder.cache_mounts;
        if let Some(path) = caches::placed(placed, id) {
            let placed = loop {
                match Placed::take(path, sharing != Sharing::Shared)? {
                    Some(placed) => break placed,
                    None => sleep(LOOK).await,
                }
            };
            self.placed.push(placed);
            return Ok(path.clone());
        }
        let base = from.map(|from| inputs[from].clone());
        let name = name(kind, inputs)?;
        let how = match sharing {
            Sharing::Shared => Use::Shared,
            Sharing::Private => Use::Private,
            Sharing::Locked => Use::Locked,
        };
        let take = async |how| {
            let name = name.clone();
            let take = build.blocking(move |build| {
                let (whole, description) = (name.whole(), name.description());
                let detail = name.detail();
                build.builder.store.take_noted(KIND, &whole, &description, &detail, how)
            });
            take.await
        };
        let mut alone = None;
        if afresh && how == Use::Shared {
            // While others use it nothing is taken away from them.
            alone = take(Use::Locked).await?;
        }
        let is_emptied = afresh && (how != Use::Shared || alone.is_some());
        let mut directory = loop {
            match alone.take() {
                Some(directory) => break directory,
                None => alone = take(how).await?,
            }
            if alone.is_none() {
                sleep(LOOK).await;
            }
        };
        if is_emptied {
            directory.clear()?;
            directory.is_new = true;
        }
        let path = directory.path.clone();
        if directory.is_new {
            let (source, mode, uid, gid) = (source.clone(), *mode, *uid, *gid);
            let into = path.clone();
            let filled = build.blocking(move |build| {
                if let Some(base) = &base {
                    fill(build, base, &source, &into)?;
                }
                chown(&into, Some(uid), Some(gid)).at("chown", &into)?;
                fs::set_permissions(&into, fs::Permissions::from_mode(mode)).at("chmod", &into)
            });
            filled.await?;
        }
        if how == Use::Shared && is_emptied {
            directory.share()?;
        }
        self.caches.push(directory);
        Ok(path)
    }
}

/// What a cache is called.
fn name(kind: &MountKind, inputs: &[Output]) -> Result<Name, Error> {
    let MountKind::Cache { id, from, source, mode, uid, gid, .. } = kind else {
        return Err(Error::Lost("a cache"));
    };
    let base = from.and_then(|from| inputs.get(from)).and_then(Output::identity);
    Ok(Name {
        id: id.clone(),
        base: base.unwrap_or_default(),
        source: source.clone(),
        uid: *uid,
        gid: *gid,
        mode: *mode,
    })
}

/// What a cache is known by, wherever it is: of one that is placed its directory.
fn key(build: &Shared, kind: &MountKind, inputs: &[Output]) -> Result<String, Error> {
    let name = name(kind, inputs)?;
    let placed = &build.builder.engine.settings().builder.cache_mounts;
    let path = caches::placed(placed, &name.id);
    Ok(path.map_or_else(|| name.whole(), |path| path.display().to_string()))
}

/// Gives a new cache what is in a part of a result.
fn fill(build: &Shared, base: &Output, source: &str, into: &Path) -> Result<(), Error> {
    let copy = Copy {
        input: 1,
        source: source.into(),
        destination: "/".into(),
        follow_links: true,
        contents_only: true,
        ..Copy::default()
    };
    let file = File { actions: vec![Action::Copy(copy)] };
    view::in_a_room(|| {
        let (from, to) = (op::root(build, base)?, Root::open(into)?);
        edit::apply(&[None, Some(&from)], &to, &file, now())?;
        Ok(())
    })
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
