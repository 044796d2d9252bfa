//! Another network for a container that runs.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;

use shim_protocol::NetworkChange;

use crate::error::{Error, report};
use crate::setup::{CONFIG, network_of};
use crate::supervisor::Supervisor;

impl Supervisor {
    /// Has the container's network be as `new` says, or leaves it as it is. One that waits to be started
    /// again gets it with its next life.
    pub(crate) fn rewire(&mut self, new: NetworkChange) -> Result<(), Error> {
        self.may_rewire(&new)?;
        failpoint::hit("shim.rewire")?;
        let made = self.proxy.listen_also(&self.poller, &new.listeners).and_then(|()| {
            // Between two lives there is no namespace.
            let alive = self.init.is_some() && self.restart_at.is_none();
            if alive { self.rewire_inside(&new.plan) } else { Ok(()) }
        });
        if let Err(err) = made {
            self.proxy.keep_only(&self.config.listeners);
            return Err(err);
        }
        self.proxy.keep_only(&new.listeners);
        self.config.network = new.plan;
        self.config.listeners = new.listeners;
        if self.status.phase.is_up() && self.restart_at.is_none() {
            self.begin_announcing();
        }
        if let Some(events) = &mut self.config.events {
            events.companions = new.companions;
        }
        failpoint::hit("shim.rewired")?;
        // Whoever finds that we died undoes what it says; of what is left out the networks are swept.
        self.save_config()
    }

    /// Writes `RUN/shim.json` as the configuration is now.
    pub(crate) fn save_config(&self) -> Result<(), Error> {
        let bytes = serde_json::to_vec(&self.config).map_err(std::io::Error::from);
        bytes
            .and_then(|bytes| replace_config(&bytes))
            .map_err(Error::file("write", self.run.join(CONFIG)))
    }

    /// Changes the namespace, and the name server in it.
    fn rewire_inside(&mut self, plan: &endpoint::Plan) -> Result<(), Error> {
        let Some((pid, _)) = &self.init else { return Err(Error::NotRunning) };
        let inside = network_of(*pid)?;
        let old = &self.config.network;
        let changed = endpoint::change(old, plan, inside.as_fd()).map_err(Error::Network);
        let changed = changed.and_then(|()| match (&mut self.dns, plan.dns.clone()) {
            (Some(server), Some(config)) => {
                server.set_config(config);
                Ok(())
            }
            (None, Some(config)) => self.open_name_server(&inside, config),
            (_, None) => {
                self.dns = None;
                Ok(())
            }
        });
        if changed.is_err()
            && let Err(err) = endpoint::change(plan, &self.config.network, inside.as_fd())
        {
            report("take back a change of the network", &Error::Network(err));
        }
        changed
    }
}

/// Writes `RUN/shim.json`, whole or not at all; `RUN` is the working directory.
fn replace_config(bytes: &[u8]) -> std::io::Result<()> {
    let beside = "shim.json.new";
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(beside)?;
    file.write_all(bytes)?;
    fs::rename(beside, CONFIG)
}
