//! Other mounts for a container that runs.

use std::os::fd::AsFd as _;
use std::path::Path;

use oci::runtime::Mount;
use shim_protocol::MountChange;
use volume::{Graft, Namespaces, Supply};

use crate::error::{Error, report};
use crate::supervisor::Supervisor;

impl Supervisor {
    /// Mounts what comes, and then unmounts what goes. One that waits to be started again gets all of it
    /// with its next life, by what the engine writes into the bundle.
    pub(crate) fn regraft(&mut self, change: MountChange) -> Result<(), Error> {
        let is_new = |one: &&Supply| !self.config.supplies.contains(one);
        let come: Vec<Supply> = change.supplies.iter().filter(is_new).cloned().collect();
        let gone: Vec<Supply> = self
            .config
            .supplies
            .iter()
            .filter(|one| !change.supplies.contains(one))
            .cloned()
            .collect();
        failpoint::hit("shim.graft")?;
        if let Err(err) = self.add_mounts(&come, &change.add) {
            for supply in &come {
                self.unsupply(supply);
            }
            return Err(err);
        }
        if let Some(pid) = self.pid_inside() {
            for destination in &change.remove {
                let path = Path::new(destination);
                self.namespaces(|namespaces| volume::ungraft(path, pid, namespaces))?;
            }
        }
        for supply in &gone {
            self.unsupply(supply);
        }
        self.config.supplies = change.supplies;
        failpoint::hit("shim.grafted")?;
        self.save_config()
    }

    /// The process whose namespaces are the container's, if it runs.
    fn pid_inside(&self) -> Option<i32> {
        let (pid, _) = self.init.as_ref().filter(|_| self.restart_at.is_none())?;
        Some(pid.as_raw_nonzero().get())
    }

    fn namespaces<T>(
        &self,
        work: impl FnOnce(&Namespaces<'_>) -> Result<T, volume::Error>,
    ) -> Result<T, Error> {
        let (host, own) = (self.mounts.0.as_fd(), self.mounts.1.as_fd());
        Ok(work(&Namespaces { host, own, directory: &self.run })?)
    }

    fn add_mounts(&self, supplies: &[Supply], mounts: &[Mount]) -> Result<(), Error> {
        let config = &self.config;
        for supply in supplies {
            self.namespaces(|namespaces| {
                volume::supply_also(&config.supplies_dir, supply, &config.id, namespaces)
            })?;
        }
        let Some(pid) = self.pid_inside() else { return Ok(()) };
        for (at, mount) in mounts.iter().enumerate() {
            let graft = Graft {
                destination: Path::new(&mount.destination),
                source: (mount.kind != "tmpfs").then(|| Path::new(&mount.source)),
                options: &mount.options,
            };
            let grafted = self.namespaces(|namespaces| volume::graft(&graft, pid, namespaces));
            if let Err(err) = grafted {
                for earlier in &mounts[..at] {
                    let path = Path::new(&earlier.destination);
                    if let Err(err) = self.namespaces(|all| volume::ungraft(path, pid, all)) {
                        report("take back a mount", &err);
                    }
                }
                return Err(err);
            }
        }
        Ok(())
    }

    fn unsupply(&self, supply: &Supply) {
        let config = &self.config;
        if let Err(err) = volume::unsupply(&config.supplies_dir, supply, &config.id) {
            report("unmount what is not needed any more", &err.into());
        }
    }
}
