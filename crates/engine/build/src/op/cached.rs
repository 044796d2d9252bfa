//! What a step keeps from one time to the next (`RUN --mount=type=cache`): taking it, and what is in it at first.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use buildgraph::{Action, Copy, Exec, File, MountKind, Op, Sharing};
use fsroot::Root;
use tokio::time::sleep;

use super::mounts::Mounts;
use crate::build::Shared;
use crate::cache::now;
use crate::caches::{self, KIND, Name, Place, Placed};
use crate::error::At as _;
use crate::output::Output;
use crate::store::{Directory, Use, nth_id};
use crate::{Error, op, view};

/// How often it is looked whether somebody else is done with a cache.
const LOOK: Duration = Duration::from_millis(50);

impl Mounts {
    /// Takes all caches: in one order, so that no two steps wait for each other. One that is mounted more than
    /// once is taken once.
    pub(super) async fn take_caches(
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
        let MountKind::Cache { id, from, source, .. } = kind else {
            return Err(Error::Lost("a cache"));
        };
        if let Some(place) = build.cache_place(id) {
            let (placed, path) = wait_for(build, &place, sharing != Sharing::Shared).await?;
            self.placed.push(placed);
            return Ok(path);
        }
        let base = from.map(|from| (inputs[from].clone(), source.clone()));
        let name = name(build, kind, inputs)?;
        let how = match sharing {
            Sharing::Shared => Use::Shared,
            Sharing::Private => Use::Private,
            Sharing::Locked => Use::Locked,
        };
        let (mut directory, is_alone) = take(build, &name, how, afresh).await?;
        let is_ready = build.builder.store.is_ready(&directory.id);
        if is_alone && (afresh || !is_ready) {
            if !afresh && build.own_cache(id).is_none() {
                directory = build.bring_mount(name.clone(), directory).await?;
            }
            let begun = move |build: &Arc<Shared>| {
                begin(build, &name, base.as_ref(), &directory, afresh).map(|()| directory)
            };
            directory = build.blocking(begun).await?;
        }
        if how == Use::Shared && is_alone {
            directory.share()?;
        }
        let path = directory.path.clone();
        self.caches.push(directory);
        Ok(path)
    }
}

/// Notes which caches a step has, whether it is carried out or was before. Those that are placed, or the build's own, are
/// nobody else's.
pub(crate) fn note(build: &Shared, op: &Op, inputs: &[Output]) -> Result<(), Error> {
    let Op::Exec(exec) = op else { return Ok(()) };
    for mount in &exec.mounts {
        if let MountKind::Cache { id, .. } = &mount.kind
            && build.cache_place(id).is_none()
            && build.own_cache(id).is_none()
        {
            build.note_mount(name(build, &mount.kind, inputs)?);
        }
    }
    Ok(())
}

/// Waits for a cache that is placed. What holds it, and where it is.
async fn wait_for(
    build: &Arc<Shared>,
    place: &Place,
    is_alone: bool,
) -> Result<(Placed, PathBuf), Error> {
    loop {
        let place = place.clone();
        let taken = build.blocking(move |build| {
            let path = place.path(&build.builder.engine)?;
            Ok(Placed::take(&path, is_alone)?.map(|placed| (placed, path)))
        });
        match taken.await? {
            Some(taken) => return Ok(taken),
            None => sleep(LOOK).await,
        }
    }
}

/// Takes the directory of a cache, and waits for it where it has to be had alone: to put what it begins with
/// there, too. With whether nobody else has it.
async fn take(
    build: &Arc<Shared>,
    name: &Name,
    how: Use,
    afresh: bool,
) -> Result<(Directory, bool), Error> {
    let first = nth_id(KIND, &name.whole(), 0);
    let attempt = async |how| {
        let name = name.clone();
        let take = build.blocking(move |build| {
            let (whole, description) = (name.whole(), name.description());
            build.builder.store.take_noted(KIND, &whole, &description, &name.detail(), how)
        });
        take.await
    };
    loop {
        if how != Use::Shared {
            if let Some(directory) = attempt(how).await? {
                return Ok((directory, true));
            }
            sleep(LOOK).await;
            continue;
        }
        let is_ready = build.builder.store.is_ready(&first);
        if (afresh || !is_ready)
            && let Some(directory) = attempt(Use::Locked).await?
        {
            return Ok((directory, true));
        }
        // While others use it nothing is taken away from them, but nobody uses half of it.
        if is_ready && let Some(directory) = attempt(how).await? {
            if build.builder.store.is_ready(&directory.id) {
                return Ok((directory, false));
            }
            if directory.is_alone() {
                return Ok((directory, true));
            }
        }
        sleep(LOOK).await;
    }
}

/// Puts what it begins with into a cache that nobody else has; `afresh`: and nothing else.
fn begin(
    build: &Shared,
    name: &Name,
    base: Option<&(Output, String)>,
    directory: &Directory,
    afresh: bool,
) -> Result<(), Error> {
    let store = &build.builder.store;
    if store.is_ready(&directory.id) && !afresh {
        return Ok(());
    }
    let path = &directory.path;
    // What somebody left who was killed is a part of it. Of one that begins with nothing it is all there is.
    if afresh || base.is_some() {
        store.begin_anew(directory)?;
    }
    if let Some((base, source)) = base {
        failpoint::hit("build.cache-filling").at("mkdir", path)?;
        fill(build, base, source, path)?;
        failpoint::hit("build.cache-filled").at("chown", path)?;
    }
    chown(path, Some(name.uid), Some(name.gid)).at("chown", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(name.mode)).at("chmod", path)?;
    store.set_ready(directory)
}

/// What a cache is called.
fn name(build: &Shared, kind: &MountKind, inputs: &[Output]) -> Result<Name, Error> {
    let MountKind::Cache { id, from, source, mode, uid, gid, .. } = kind else {
        return Err(Error::Lost("a cache"));
    };
    let (uid, gid, mode) = (*uid, *gid, *mode);
    // What was brought for a build is what it has, whatever a step would begin with.
    if let Some(id) = build.own_cache(id) {
        return Ok(Name { id, base: String::new(), source: "/".into(), uid, gid, mode });
    }
    let base = from.and_then(|from| inputs.get(from)).and_then(Output::identity);
    let (base, source) = (base.unwrap_or_default(), source.clone());
    Ok(Name { id: id.clone(), base, source, uid, gid, mode })
}

/// What a cache is known by, wherever it is.
pub(super) fn key(build: &Shared, kind: &MountKind, inputs: &[Output]) -> Result<String, Error> {
    let name = name(build, kind, inputs)?;
    Ok(build.cache_place(&name.id).map_or_else(|| name.whole(), |place| place.key()))
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

impl Shared {
    /// What a cache is called that only this build has; `None`: it is what all builds have.
    fn own_cache(&self, id: &str) -> Option<String> {
        caches::own(&self.request.own_caches, id)
    }

    /// Where a cache is that is not the builder's own to keep: by whoever asks for the build, or by the settings.
    pub(super) fn cache_place(&self, id: &str) -> Option<Place> {
        if self.own_cache(id).is_some() {
            return None;
        }
        let settings = self.builder.engine.settings();
        caches::placed(&settings.builder.cache_mounts, &self.request.cache_volumes, id)
    }
}
