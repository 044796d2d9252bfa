//! Removing a container, and taking down what its supervisor left.

use std::fs;
use std::io;
use std::path::Path;

use cgroup::{Cgroup, Hierarchy};
use shim_protocol::{Config, Phase, Request};
use snapshot::Key;

use crate::engine::Engine;
use crate::error::{At as _, is_out_of_space};
use crate::intent::Intent;
use crate::lock::Lock;
use crate::record::Container;
use crate::{Error, clock, events, shim, stray};

/// How a container is to be removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Also one that runs: it is killed.
    pub force: bool,
    /// With its anonymous volumes.
    pub volumes: bool,
    /// A link instead of the container.
    pub link: bool,
}

impl Engine {
    /// Removes a container.
    pub fn remove(&self, wanted: &str, options: RemoveOptions) -> Result<(), Error> {
        self.reap();
        if options.link {
            return self.remove_link(wanted);
        }
        let remove = || {
            let (container, lock) = self.find_locked(wanted)?;
            self.remove_locked(&container, &lock, options)
        };
        match remove() {
            Err(err) if is_out_of_space(&err) => {
                self.images.make_room()?;
                remove()
            }
            removed => removed,
        }
    }

    /// Removes a container that was to go when it ends, for a process of which nothing else is wanted.
    pub fn internal_remove(&self, id: &str) -> Result<(), Error> {
        self.remove_ended(id)?;
        // Somebody else may have been at it all the time, and have left the rest to who this process was.
        self.images.sweep()?;
        if self.paths().run(id).exists() {
            self.recover_run(id)?;
            self.sweep_networks()?;
        }
        // Nobody waits for this process any more.
        Ok(self.db().tidy()?)
    }

    /// Removes a container that was to go when it ends. One that is gone already is fine.
    pub(crate) fn remove_ended(&self, id: &str) -> Result<(), Error> {
        let (container, lock) = match self.find_locked(id) {
            Err(Error::NoContainer(_)) => return Ok(()),
            found => found?,
        };
        let options = RemoveOptions { force: false, volumes: true, link: false };
        match self.remove_locked(&container, &lock, options) {
            // Somebody started it again in between: then it will end again.
            Err(Error::Conflict(_)) => Ok(()),
            removed => removed,
        }
    }

    /// Removes a container that was to go when it ended, has ended, and is still there.
    pub(crate) fn remove_if_forsaken(&self, id: &str) -> Result<(), Error> {
        let container = match self.find(id) {
            Err(Error::NoContainer(_)) => return Ok(()),
            found => found?,
        };
        if container.record.host.auto_remove && self.status(id)?.phase == Phase::Exited {
            return self.remove_ended(id);
        }
        Ok(())
    }

    pub(crate) fn remove_locked(
        &self,
        container: &Container,
        lock: &Lock,
        options: RemoveOptions,
    ) -> Result<(), Error> {
        let id = &container.id;
        let phase = self.status_locked(id, lock)?.phase;
        let refuse = |why: &str| {
            Err(Error::Conflict(format!(
                "cannot remove container \"{}\": container is {why}",
                container.name
            )))
        };
        match phase {
            Phase::Running if !options.force => {
                return refuse("running: stop the container before removing or force remove");
            }
            Phase::Paused if !options.force => {
                return refuse("paused and must be unpaused first");
            }
            Phase::Restarting if !options.force => {
                return refuse("restarting: stop the container before removing or force remove");
            }
            _ => {}
        }
        failpoint::hit("engine.remove").at("record", self.root())?;
        self.shared.db.write(|tx| Intent::Remove.begin(tx, id))?;
        failpoint::hit("engine.removing").at("record", self.root())?;
        if phase.is_alive() {
            self.kill_and_wait(container)?;
        }
        self.await_end(container)?;
        if options.volumes {
            self.remove_anonymous_volumes(container)?;
        }
        self.discard(container)?;
        self.emit(&events::container("destroy", container));
        // Those who wait for a start, or for this.
        drop(self.shared.pending.take(id));
        Ok(())
    }

    fn kill_and_wait(&self, container: &Container) -> Result<(), Error> {
        const KILL: i32 = 9;
        let socket = self.paths().socket(&container.id);
        match shim::ask(&socket, &Request::Kill { signal: KILL, stop: true, keep: true }) {
            // It ended by itself in this moment.
            Err(Error::Conflict(_)) => {}
            asked => drop(asked?),
        }
        // A frozen process does not die before it thaws.
        match shim::ask(&socket, &Request::Resume) {
            Err(Error::Conflict(_) | Error::Shim(_)) => {}
            asked => drop(asked?),
        }
        self.await_end(container)
    }

    /// Unmakes a container with its anonymous volumes.
    pub(crate) fn discard_all(&self, container: &Container) -> Result<(), Error> {
        self.remove_anonymous_volumes(container)?;
        self.discard(container)
    }

    /// Unmakes all that a container is, in an order that can be begun again at any point: the
    /// record goes last.
    pub(crate) fn discard(&self, container: &Container) -> Result<(), Error> {
        let id = &container.id;
        self.clean_up_after_shim(id, &self.cgroup_path(container))?;
        if !container.record.host_root {
            let key: Key = id.parse()?;
            self.images.snapshots().remove(&key)?;
        }
        for key in container.record.step.iter().flat_map(|step| &step.snapshots) {
            self.images.snapshots().remove(&key.parse()?)?;
        }
        let data = self.paths().data(id);
        failpoint::hit("engine.rmdir").at("rmdir", &data)?;
        remove_dir(&data)?;
        failpoint::hit("engine.gone").at("rmdir", &data)?;
        self.shared.db.write(|tx| {
            tx.delete_container(id, clock::now())?;
            self.remove_parent_of_none(tx)
        })?;
        failpoint::hit("engine.removed").at("record", self.root())?;
        Ok(())
    }

    /// Takes down what a supervisor leaves that was killed: processes, cgroup, firewall rules,
    /// links, names, files. Whether any of it is there does not matter. Not to be called while one
    /// lives.
    pub(crate) fn clean_up_after_shim(&self, id: &str, cgroup: &str) -> Result<(), Error> {
        let run = self.paths().run(id);
        let state = self.paths().runtime().join(id);
        if !run.exists() && !state.exists() {
            return Ok(());
        }
        if !run.join("shim.json").exists() && !state.exists() {
            // No supervisor was started; or it took everything apart, and left the folder for who
            // removes the container (`--rm`) to be found by, should that one be killed.
            return remove_dir(&run);
        }
        stray::kill(id, &run)?;
        failpoint::hit("engine.cgroup").at("rmdir", Path::new(cgroup))?;
        if cgroup.is_empty() {
            self.kill_all(id, cgroup)?;
        } else {
            remove_cgroup(self.hierarchy()?, cgroup)?;
        }
        failpoint::hit("engine.cgroup-gone").at("rmdir", Path::new(cgroup))?;
        // Written before the supervisor was started; without it there was none.
        let shim = run.join("shim.json");
        match fs::read(&shim) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            read => {
                // Half of a file: the engine died as it wrote it, before anything was made.
                if let Ok(config) = serde_json::from_slice::<Config>(&read.at("read", &shim)?) {
                    self.disconnect(config.network)?;
                }
            }
        }
        remove_dir(&state)?;
        failpoint::hit("engine.run-remove").at("rmdir", &run)?;
        remove_dir(&run)?;
        failpoint::hit("engine.run-removed").at("rmdir", &run)?;
        Ok(())
    }

    /// Removes the cgroup that held all containers, where there are none.
    pub(crate) fn remove_idle_parent(&self) -> Result<(), Error> {
        self.shared.db.write(|tx| self.remove_parent_of_none(tx))
    }

    /// The same. While nobody can write, nobody can be about to make a cgroup in it.
    fn remove_parent_of_none(&self, tx: &metadata::Write) -> Result<(), Error> {
        let is_none = tx.containers()?.is_empty() && tx.steps()?.is_empty();
        if is_none { self.remove_parent() } else { Ok(()) }
    }

    /// Removes the cgroup that held all containers, if it is there and empty.
    fn remove_parent(&self) -> Result<(), Error> {
        let Some(parent) = self.cgroup_parent() else { return Ok(()) };
        match cgroup::remove_if_empty(self.hierarchy()?, &parent) {
            Err(cgroup::Error::NotFound(_)) => Ok(()),
            removed => Ok(removed.map(drop)?),
        }
    }

    /// Takes down what is left of a container's network.
    fn disconnect(&self, mut plan: endpoint::Plan) -> Result<(), Error> {
        let undone = self.networks.inside_if_there(|| {
            drop(endpoint::undo(&plan)?);
            Ok::<_, Error>(endpoint::remove_links(&plan)?)
        })?;
        if undone.is_none() {
            // The rules went with the namespace that they were in; the names are files.
            plan.ports.clear();
            drop(endpoint::undo(&plan)?);
        }
        Ok(())
    }
}

/// Kills what is in a cgroup, and removes it, if it is there.
fn remove_cgroup(hierarchy: &Hierarchy, path: &str) -> Result<(), Error> {
    let cgroup = match Cgroup::open(hierarchy, path) {
        Err(cgroup::Error::NotFound(_)) => return Ok(()),
        opened => opened?,
    };
    cgroup.kill_all()?;
    cgroup.remove()?;
    Ok(())
}

/// Removes a directory with all in it, if it is there. Ours, in which no container can write.
pub(crate) fn remove_dir(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.at("remove", path),
    }
}
