//! What a step has in the place of a network: the sockets of a proxy that is its builder's.

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

use shim_protocol::{Outlet, Request};

use super::RunningStep;
use crate::engine::Engine;
use crate::{Error, shim};

/// Where the programs of a step find its proxy ([`super::Step::proxied`]).
pub const STEP_PROXY: SocketAddrV4 = shim_protocol::PROXY;

impl Engine {
    /// The socket at which the proxy of a step listens, in the step's own network namespace; whoever asks first has
    /// it. Connections wait for who takes them from the step's start on. `None`: the step has ended.
    ///
    /// # Errors
    ///
    /// The step has no proxy, or somebody has the listener.
    pub fn step_listener(&self, step: &RunningStep) -> Result<Option<OwnedFd>, Error> {
        self.step_socket_of(step, Outlet::Listener)
    }

    /// A socket of TCP that reaches what the step's network does, and is not connected yet. `None`: the step has
    /// ended.
    ///
    /// # Errors
    ///
    /// The step has no proxy.
    pub fn step_socket(&self, step: &RunningStep, ipv6: bool) -> Result<Option<OwnedFd>, Error> {
        self.step_socket_of(step, Outlet::Socket { ipv6 })
    }

    fn step_socket_of(&self, step: &RunningStep, wanted: Outlet) -> Result<Option<OwnedFd>, Error> {
        let socket = self.paths().socket(&step.container.id);
        match shim::ask_for_fd(&socket, &Request::Outlet(wanted)) {
            Err(Error::Conflict(_)) => Ok(None),
            answer => answer,
        }
    }
}
