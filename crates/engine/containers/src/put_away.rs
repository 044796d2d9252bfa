//! Removing a container of `--rm` while its supervisor, which has nothing else to do, deletes its files.
//!
//! Whoever waits for the end of such a container is done as soon as nothing is called by its name any more: its
//! files are out of sight, and its record is gone. To delete them takes longer than that, on some file systems
//! much longer, and no one has to wait for it. If the supervisor dies as well, its folder of the run shows
//! that there is something left, and what was put away is found by its number.

use shim_protocol::Phase;
use snapshot::Key;

use crate::engine::Engine;
use crate::error::At as _;
use crate::intent::Intent;
use crate::record::Container;
use crate::{Error, clock, events};

/// Whether the files of a container that goes when it ends are left to its supervisor.
pub(crate) fn leaves_files(container: &Container) -> bool {
    container.record.host.auto_remove && container.record.step.is_none()
}

impl Engine {
    /// Removes a container that was to go when it ended, for its supervisor. `heir` is the number of one that holds
    /// the lock of the run meanwhile, and deletes afterwards what was put away for it.
    pub(crate) fn remove_for(&self, id: &str, heir: Option<u32>) -> Result<(), Error> {
        let Some(heir) = heir.filter(|_| self.images.snapshots().trash().is_some()) else {
            return self.remove_ended(id);
        };
        let (container, lock) = match self.find_locked(id) {
            Err(Error::NoContainer(_)) => return Ok(()),
            found => found?,
        };
        if self.status_locked(id, &lock)?.phase != Phase::Exited {
            return Ok(());
        }
        failpoint::hit("engine.remove").at("record", self.root())?;
        self.shared.db.write(|tx| Intent::Remove.begin(tx, id))?;
        failpoint::hit("engine.removing").at("record", self.root())?;
        self.remove_anonymous_volumes(&container)?;
        self.put_away(&container, heir)?;
        self.emit(&events::container("destroy", &container));
        drop(self.shared.pending.take(id));
        Ok(())
    }

    /// Takes all that a container is out of sight, the record last.
    fn put_away(&self, container: &Container, heir: u32) -> Result<(), Error> {
        let id = &container.id;
        let snapshots = self.images.snapshots();
        if !container.record.host_root {
            let key: Key = id.parse()?;
            snapshots.put_away(&key, heir)?;
        }
        snapshots.put_away_tree(&self.paths().data(id), heir)?;
        failpoint::hit("engine.gone").at("rename", &self.paths().data(id))?;
        self.shared.db.write(|tx| tx.delete_container(id, clock::now()))?;
        failpoint::hit("engine.removed").at("record", self.root())?;
        Ok(())
    }
}
