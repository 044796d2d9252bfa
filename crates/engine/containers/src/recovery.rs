//! Cleaning up behind processes that died.
//!
//! What can be left, and how it is found:
//!
//! | who was killed | what shows it | what is done |
//! |---|---|---|
//! | an engine, making a container | an intent `create` of a dead process | the container is removed |
//! | an engine, starting one | an intent `start` | if it does not run, what was made for the run goes |
//! | an engine, removing one | an intent `remove` | it is removed |
//! | a supervisor | a folder of a run, whose lock is free | what it left goes; status "exited", 137; it is started again if its restart policy says so |
//! | a supervisor, deleting what an engine that removed its container has left to it | a folder of a run without a record; a name in the trash with the number of a dead process | it goes |
//! | an engine, starting that again | an intent `restart` | it is started again |
//! | an engine, telling a supervisor of a change | an intent `update` | it is told |
//! | a builder, with a step of a build | an intent `step` | the step ends by itself, since its supervisor notices; it is removed |
//! | an engine, having one join or leave a network | an intent `rewire` | it is as if it had not joined; it has left |
//! | the machine | a status "running" without such a folder | status "exited", when it is next asked for; the daemon starts what its policy says: [`Engine::bring_up`] |
//!
//! All that is in the kernel has a name that follows from the container's id, so nothing else needs
//! to be known. Each step can be done again, so recovery may be killed as well.

use std::fs;

use metadata::Operation;
use shim_protocol::Phase;

use crate::engine::Engine;
use crate::error::At as _;
use crate::intent::{self, Intent};
use crate::lock::{Lock, shim_lives};
use crate::record::Container;
use crate::{Error, clock, definition, events, stray, volume_copies, volume_store};

/// The exit code of what SIGKILL ended.
const KILLED: i32 = 128 + 9;
/// Why a container ended that nobody watched any more.
const LOST: &str = "its supervisor was killed";

impl Engine {
    /// Finds what processes left that died, and finishes or undoes it. Cheap where nothing is.
    pub(crate) fn recover(&self) -> Result<(), Error> {
        let operations = self.shared.db.read(metadata::Read::operations)?;
        failpoint::hit("engine.recover").at("look for what died below", self.root())?;
        for operation in operations {
            if self.is_abandoned(&operation)? {
                match operation.kind.as_str() {
                    volume_store::OPERATION => {
                        self.recover_volume(&operation)?;
                        continue;
                    }
                    volume_copies::FREEZE | volume_copies::RENAME => {
                        self.recover_copy(&operation)?;
                        continue;
                    }
                    _ => {}
                }
                self.note_unswept()?;
                self.finish(&operation)?;
            }
        }
        for id in self.runs()? {
            self.recover_run(&id)?;
        }
        self.sweep_networks()?;
        self.renew_rules();
        self.sweep_secrets()?;
        // A dead import leaves no intent of ours, only files; three empty folders say that none did.
        self.images.sweep()?;
        Ok(())
    }

    /// Notes that networks have to be swept. What led here is gone once the rest is cleaned up, and
    /// this process may die in between.
    fn note_unswept(&self) -> Result<(), Error> {
        let path = self.paths().unswept();
        fs::write(&path, "").at("write", &path)
    }

    /// Takes down what networks have left of runs that died, if there were any.
    pub(crate) fn sweep_networks(&self) -> Result<(), Error> {
        let path = self.paths().unswept();
        if !path.exists() {
            return Ok(());
        }
        self.networks.sweep(&self.shared.db, &|id| self.paths().run(id).exists())?;
        match fs::remove_file(&path) {
            // Another process swept as well.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.at("unlink", &path),
        }
    }

    /// Whether who noted this died before its end.
    fn is_abandoned(&self, operation: &Operation) -> Result<bool, Error> {
        let known = [
            Intent::Create,
            Intent::Start,
            Intent::Remove,
            Intent::Restart,
            Intent::Update,
            Intent::Rewire,
            Intent::Step,
        ];
        let of_volumes = [volume_store::OPERATION, volume_copies::FREEZE, volume_copies::RENAME];
        let ours = of_volumes.contains(&operation.kind.as_str())
            || known.iter().any(|intent| intent.name() == operation.kind);
        // Who is dead now may have come to its end since the note was read: then the note has gone.
        Ok(ours && !intent::lives(&operation.owner) && self.is_noted(operation)?)
    }

    /// Whether this is still to be done: nobody ended it, and nobody began it anew.
    fn is_noted(&self, operation: &Operation) -> Result<bool, Error> {
        let noted = self.shared.db.read(|tx| tx.operations_on(&operation.subject))?;
        Ok(noted.contains(operation))
    }

    /// The ids of containers that run, or whose run left something.
    fn runs(&self) -> Result<Vec<String>, Error> {
        let runs = self.paths().runs();
        let entries = fs::read_dir(&runs)
            .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
            .at("readdir", &runs)?;
        Ok(entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    /// Finishes, or takes back, what a dead process was about to do.
    fn finish(&self, operation: &Operation) -> Result<(), Error> {
        let id = &operation.subject;
        let Some(row) = self.shared.db.read(|tx| tx.container(id))? else {
            self.shared.db.write(|tx| tx.end_operation(id, &operation.kind))?;
            return Ok(());
        };
        let container = Container::from_row(row)?;
        let data = self.paths().data(id);
        let begun = [Intent::Create.name(), Intent::Step.name()];
        if begun.contains(&operation.kind.as_str()) && !data.exists() {
            return self.discard_all(&container);
        }
        let Some(lock) = Lock::attempt(&data)? else {
            // A living process is at it, and will find the same; or its folder is gone already.
            if data.exists() {
                return Ok(());
            }
            return self.discard(&container);
        };
        // It ended by itself, and who was to remove it for its supervisor died: that one does it, as soon as it is
        // done with the rest.
        if operation.kind == Intent::Remove.name()
            && self.shared.status(id)?.phase == Phase::Exited
            && shim_lives(&self.paths().run(id))?
        {
            return Ok(());
        }
        // Another one may have dealt with it, and a third one gone on from there.
        if !self.is_noted(operation)? {
            return Ok(());
        }
        if operation.kind == Intent::Step.name() {
            // Its supervisor may be at its end, or stuck.
            self.kill_for_recovery(&container)?;
            return self.discard(&container);
        }
        if operation.kind == Intent::Update.name() {
            return self.settle_update(&container);
        }
        if operation.kind == Intent::Rewire.name() {
            return self.settle_rewiring(container, operation);
        }
        if operation.kind == Intent::Restart.name() {
            return self.mend(id, &lock);
        }
        if operation.kind != Intent::Start.name() {
            if self.status_locked(id, &lock)?.phase.is_alive() {
                self.kill_for_recovery(&container)?;
            }
            // One that goes without its volumes leaves them; what was never made has no use for them.
            if operation.kind == Intent::Create.name() || container.record.host.auto_remove {
                return self.discard_all(&container);
            }
            return self.discard(&container);
        }
        if self.settle_start(&container, &lock)? {
            self.shared.db.write(|tx| Intent::Start.end(tx, id))?;
        }
        Ok(())
    }

    /// Removes a container that was to go when it ended. The run's folder, by which it was found, goes
    /// first: from then on an intent says so.
    fn discard_forsaken(&self, container: &Container) -> Result<(), Error> {
        self.shared.db.write(|tx| Intent::Remove.begin(tx, &container.id))?;
        self.discard_all(container)
    }

    fn kill_for_recovery(&self, container: &Container) -> Result<(), Error> {
        stray::kill(&container.id, &self.paths().run(&container.id))?;
        self.clean_up_after_shim(&container.id, &self.cgroup_path(container))
    }

    /// A start whose engine died: the container runs, or it does not and nothing is left of the
    /// attempt. Whether the container is still there.
    fn settle_start(&self, container: &Container, lock: &Lock) -> Result<bool, Error> {
        let id = &container.id;
        // Its supervisor notices that the engine went, and ends; unless it was past that, also in this moment: it may
        // have been told to start, and be about to.
        let phase = self.status_locked(id, lock)?.phase;
        let runs = || -> Result<bool, Error> { Ok(self.shared.status(id)?.phase.is_alive()) };
        if phase.is_alive() || self.await_end_unless(container, runs)? || runs()? {
            self.note_networks(container)?;
            return Ok(true);
        }
        self.clean_up_after_shim(id, &self.cgroup_path(container))?;
        if container.record.host.auto_remove {
            self.discard_all(container)?;
            return Ok(false);
        }
        self.shared.db.write(|tx| tx.release_ports(id))?;
        Ok(true)
    }

    /// Looks at one folder of a run.
    pub(crate) fn recover_run(&self, id: &str) -> Result<(), Error> {
        let data = self.paths().data(id);
        let lock = Lock::attempt(&data)?;
        if lock.is_none() && data.exists() {
            // Somebody starts or removes it.
            return Ok(());
        }
        if shim_lives(&self.paths().run(id))? {
            return Ok(());
        }
        self.note_unswept()?;
        let row = self.shared.db.read(|tx| tx.container(id))?;
        let (Some(row), Some(lock)) = (row, lock) else {
            self.clean_up_after_shim(id, &self.cgroup_of_run(id))?;
            return self.remove_idle_parent();
        };
        let phase = self.shared.status(id)?.phase;
        if phase.is_alive() {
            self.mend(id, &lock)?;
        } else {
            let container = Container::from_row(row)?;
            if container.record.host.auto_remove && phase == Phase::Exited {
                self.discard_forsaken(&container)?;
                self.emit(&events::container("destroy", &container));
            } else {
                self.clean_up_after_shim(id, &self.cgroup_path(&container))?;
            }
        }
        Ok(())
    }

    /// A container whose supervisor was killed: what is left of it ends, and it is started again if its
    /// policy says so, unless the machine went as well: then the daemon does, when it starts.
    pub(crate) fn mend(&self, id: &str, lock: &Lock) -> Result<(), Error> {
        let container = self.find(id)?;
        let status = self.shared.status(id)?;
        let lost = self.shared.lost_its_shim(id, &status)?;
        let begun = self
            .shared
            .db
            .read(metadata::Read::operations)?
            .iter()
            .any(|one| one.subject == id && one.kind == Intent::Restart.name());
        let policy = definition::restart(&container.record.host.restart_policy)?;
        let died = lost && status.phase.is_up();
        let count = status.restart_count + u32::from(died);
        // One that waited to be started again was found worth it already.
        let wanted = status.phase == Phase::Restarting && !status.stopped
            || policy.wants(KILLED, status.stopped, status.restart_count);
        let again = begun || lost && wanted && self.paths().run(id).exists();
        if again && !begun {
            failpoint::hit("engine.mend").at("record", self.root())?;
            self.shared.db.write(|tx| Intent::Restart.begin(tx, id))?;
        }
        if lost {
            self.recover_lost(id, lock)?;
        }
        if again {
            let count = if lost { count } else { status.restart_count + 1 };
            match self.start_locked(container, lock, count) {
                // Its status says why not. What runs already need not be started.
                Ok(()) | Err((_, Error::Start { .. } | Error::NotModified(_))) => {}
                Err((_, err)) => return Err(err),
            }
            failpoint::hit("engine.mended").at("record", self.root())?;
            self.shared.db.write(|tx| Intent::Restart.end(tx, id))?;
        }
        Ok(())
    }

    /// A container whose supervisor was killed: it ends here.
    pub(crate) fn recover_lost(&self, id: &str, _lock: &Lock) -> Result<(), Error> {
        let container = self.find(id)?;
        let data = self.paths().data(id);
        let mut status = self.shared.status(id)?;
        let was_up = status.phase.is_up();
        // Whoever found it may not be looking for what else is left.
        self.note_unswept()?;
        stray::kill(id, &self.paths().run(id))?;
        status.phase = Phase::Exited;
        status.pid = 0;
        status.shim_pid = 0;
        if was_up {
            status.exit_code = KILLED;
            LOST.clone_into(&mut status.error);
            status.finished_at = clock::print(clock::now());
        }
        // Its lock may have been free only after all runs were looked at: then this is the first to know.
        self.note_unswept()?;
        failpoint::hit("engine.lost").at("write", &data)?;
        // A free lock and a run's folder lead here again until the rest is done. The status must not say
        // that nothing runs before nothing does.
        self.kill_all(id, &self.cgroup_path(&container))?;
        status.save(&data).at("write", &data.join("status.json"))?;
        failpoint::hit("engine.lost-noted").at("write", &data)?;
        if was_up {
            self.emit(&events::died(&container, KILLED));
        }
        if container.record.host.auto_remove {
            self.discard_forsaken(&container)?;
            self.emit(&events::container("destroy", &container));
            return Ok(());
        }
        self.clean_up_after_shim(id, &self.cgroup_path(&container))
    }
}
