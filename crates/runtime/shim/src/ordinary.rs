//! What is different in an ordinary user's engine: the bridges are in a network namespace of its own,
//! and from there nobody comes back.

use shim_protocol::NetworkChange;
use sys::CloneFlags;

use crate::error::Error;
use crate::supervisor::Supervisor;

impl Supervisor {
    /// Takes the published ports, which are the machine's, and leaves for the network namespace where
    /// the bridges are. One without any network goes into an empty one, from which the container's can
    /// be visited.
    pub(crate) fn leave_host_network(&mut self) -> Result<(), Error> {
        let (Some(state), false) = (&self.config.rootless, self.config.network.shared) else {
            return Ok(());
        };
        self.proxy.listen(&self.poller, &self.config.listeners)?;
        if self.config.network.links.is_empty() {
            return Ok(sys::unshare(CloneFlags::NEWNET)?);
        }
        Ok(rootless::Place::of(state).enter_network()?)
    }

    /// Before another network: no port of the machine can be taken any more, and one that was without
    /// any network goes where the bridges are.
    pub(crate) fn may_rewire(&self, new: &NetworkChange) -> Result<(), Error> {
        let Some(state) = &self.config.rootless else { return Ok(()) };
        let is_there = |wanted: &shim_protocol::Listener| {
            let mut all = self.config.listeners.iter();
            all.any(|one| one.host == wanted.host && one.protocol == wanted.protocol)
        };
        if let Some(other) = new.listeners.iter().find(|wanted| !is_there(wanted)) {
            return Err(Error::Request(format!(
                "an ordinary user's container that runs can publish no other port ({}): start it again",
                other.host
            )));
        }
        if self.config.network.links.is_empty() && !new.plan.links.is_empty() {
            rootless::Place::of(state).enter_network()?;
        }
        Ok(())
    }
}
