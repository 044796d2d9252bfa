//! What is different in an ordinary user's engine, for people to be told, and for its containers.

use std::net::{IpAddr, SocketAddr};

use docker::HostConfig;

use crate::engine::Engine;
use crate::etc::Resolv;
use crate::spec::namespaces::{Mode, mode};

impl Engine {
    /// Whether this is an ordinary user's engine, in a user namespace.
    pub fn is_rootless(&self) -> bool {
        rootless::is_rootless()
    }

    /// What an ordinary user's engine cannot do on this machine, a line each, and how it could.
    pub fn rootless_warnings(&self) -> Vec<String> {
        if !rootless::is_rootless() {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        if let Some(why) = single_id() {
            warnings.push(format!(
                "WARNING: containers have one user and one group, this user's own: {why}"
            ));
        }
        if !self.has_cgroups() {
            warnings.push(
                "WARNING: Running in rootless-mode without cgroups: no limits, no pause. A cgroup that \
                 is delegated to this user enables them (systemd does so for its user sessions, on \
                 cgroup v2)"
                    .into(),
            );
        }
        warnings.extend(shut_in().map(|why| format!("WARNING: {why}")));
        warnings
    }

    /// A warning for a container that will reach no more than its neighbours.
    pub(crate) fn network_warning(host: &HostConfig) -> Option<String> {
        let is_bridged = match mode(&host.network_mode) {
            Mode::Private => true,
            Mode::Other(name) => name != "none",
            Mode::Host | Mode::Container(_) => false,
        };
        (rootless::is_rootless() && is_bridged).then(shut_in)?
    }

    /// The machine's name servers as a container on a bridge can reach them. An ordinary user's asks
    /// the program that leads outside, which asks for it.
    pub(crate) fn reachable(resolv: &Resolv) -> Resolv {
        match outside_dns() {
            Some(address) => Resolv { servers: vec![address.to_string()], ..resolv.clone() },
            None => resolv.clone().reachable(),
        }
    }

    /// Whom a container's own name server asks. It does so from the machine's network namespace: there it
    /// reaches the machine's servers also where they listen on loopback, but none that is the container's own.
    pub(crate) fn upstream(resolv: &Resolv, host: &HostConfig) -> Vec<SocketAddr> {
        let known = if host.dns.is_empty() && outside_dns().is_none() {
            resolv.clone().or_public()
        } else {
            Self::reachable(resolv)
        };
        known.overridden(host).upstream()
    }
}

fn outside_dns() -> Option<IpAddr> {
    rootless::is_rootless().then(rootless::find_outside)?.map(|program| program.dns())
}

/// Why containers cannot reach the outside; `None`: they can.
fn shut_in() -> Option<String> {
    rootless::find_outside().is_none().then(|| {
        format!(
            "containers on bridge networks reach each other and are reached by published ports, but \
             reach nothing outside: neither {} is installed (Debian: passt, slirp4netns); --network \
             host has this machine's network",
            rootless::NAMES.join(" nor ")
        )
    })
}

/// Why only the user's own ids are there. `None`: there are others.
fn single_id() -> Option<String> {
    let own = |map: &str| {
        let text = std::fs::read_to_string(map).ok()?;
        let mut lines = text.lines();
        let first = lines.next()?.split_ascii_whitespace().nth(1)?.parse().ok()?;
        lines.next().is_none().then_some(first)
    };
    let (uid, gid) = (own("/proc/self/uid_map")?, own("/proc/self/gid_map")?);
    let why = rootless::ids(uid, gid).single;
    Some(why.unwrap_or_else(|| {
        "it was so when the first container was started: stop all, and start again".into()
    }))
}
