//! Which of several engines has a range of addresses.
//!
//! Engines of other roots know nothing of each other but what the kernel has, and who chooses a range makes
//! its bridge later: two of them may have chosen the same. So a bridge gets its address while it is down, and is
//! set up only where no other link has an address of that range then; otherwise the range is given up, and
//! another one chosen. Of two bridges one has its address first: whoever makes the other sees it. So of two that are
//! made at once no more than one is set up with a range, and nobody has to wait for another engine.
//!
//! The default network's range may change whenever its bridge has to be made. That of a network which somebody has
//! made is seen by then, and stays: where its bridge has gone (with the machine, say), or was never set up since who made it
//! was killed, and another engine has chosen its range before it is there again, both have it, as in Docker.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use metadata::Db;
use netlink::RouteSocket;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::ensure::{Ensured, Making};
use crate::predefined::default_network;
use crate::{CreateRequest, DEFAULT, DefaultBridge, Driver, Error, Network, Networks, Subnet};

/// How many ranges are given up before it is said that there is none to be had.
pub(crate) const ROUNDS: u32 = 32;
/// How long the bridge that was made later stays away, so that the other one has its range by then.
const PAUSE: Duration = Duration::from_millis(20);

/// Of which families a network's ranges were chosen for it. Those that a person asked for are as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    ipv4: bool,
    ipv6: bool,
}

impl Chosen {
    /// Those of a network that is to be made.
    pub(crate) fn of(request: &CreateRequest) -> Self {
        let asked = |ipv4: bool| {
            let mut subnets =
                request.pools.iter().filter_map(|pool| pool.subnet.parse::<Subnet>().ok());
            subnets.any(|subnet| subnet.is_ipv4() == ipv4)
        };
        Self { ipv4: !asked(true), ipv6: !asked(false) }
    }

    /// Those of the default network.
    fn of_default(set: &DefaultBridge) -> Self {
        Self {
            ipv4: set.address.is_empty() && set.range.is_empty(),
            ipv6: set.address6.is_empty() && set.range6.is_empty(),
        }
    }

    /// Whether any was.
    fn is_any(self) -> bool {
        self.ipv4 || self.ipv6
    }

    fn is(self, subnet: &Subnet) -> bool {
        if subnet.is_ipv4() { self.ipv4 } else { self.ipv6 }
    }
}

/// Another link, by its index, that has an address in one of a network's ranges that were chosen for it.
/// `own` is the index of its bridge.
pub(crate) fn rival(
    route: &mut RouteSocket,
    network: &Network,
    own: u32,
    chosen: Chosen,
) -> Result<Option<u32>, netlink::Error> {
    let subnets = network.pools().iter().map(|pool| pool.subnet);
    let subnets: Vec<Subnet> = subnets.filter(|subnet| chosen.is(subnet)).collect();
    let overlaps = |address, prefix| {
        let other = Subnet::around(address, prefix).filter(|_| prefix > 0);
        other.is_some_and(|other| subnets.iter().any(|subnet| subnet.overlaps(&other)))
    };
    let others = route.addresses()?.into_iter().filter(|one| one.index != own);
    Ok(others.filter(|one| overlaps(one.address, one.prefix)).map(|one| one.index).min())
}

/// Lets who was first go on.
pub(crate) fn stand_back(was_later: bool) {
    if was_later {
        std::thread::sleep(PAUSE);
    }
}

impl Networks {
    /// Makes the bridge of the default network, unless it is somebody else's: by its address containers of
    /// other networks find this machine.
    pub fn ensure_default(&self, db: &Db) -> Result<(), Error> {
        for _ in 0..ROUNDS {
            let own = default_network(db)?.filter(|network| !network.config.extras.foreign);
            let Some(network) = own else { return Ok(()) };
            if self.settle(db, &network)? {
                return Ok(());
            }
        }
        Err(Error::Contested { name: DEFAULT.to_owned() })
    }

    /// Makes what is missing of a network that a container is to be in ([`Networks::ensure`]). `false`: the
    /// range that it had is another's by now, and its record has a new one.
    pub(crate) fn settle(&self, db: &Db, network: &Network) -> Result<bool, Error> {
        let chosen = Chosen::of_default(&self.defaults.bridge);
        let may_move = network.name == DEFAULT
            && network.driver() == Driver::Bridge
            && !network.config.extras.foreign
            && network.config.extras.made_with == self.defaults.fingerprint()
            && chosen.is_any();
        if !may_move {
            return self.ensure(network).map(|()| true);
        }
        // Nearly always it is there.
        if self.ensure_as(network, Making::Nothing)? == Ensured::Whole {
            return Ok(true);
        }
        let _lock = self.lock()?;
        // Another process of this engine may have been at it.
        let now = default_network(db)?;
        if now.is_none_or(|now| now.pools() != network.pools()) {
            return Ok(false);
        }
        match self.ensure_as(network, Making::Unless(chosen))? {
            Ensured::Whole => Ok(true),
            Ensured::Taken { later } => {
                self.unmake(db, network)?;
                stand_back(later);
                self.choose_default(db, network, &network.config.extras.made_with)?;
                Ok(false)
            }
            // It was not asked to leave it at that.
            Ensured::Missing => Ok(false),
        }
    }

    /// The right to make the bridge of the default network, among the processes of this engine. The kernel
    /// takes it back however its holder ends.
    fn lock(&self) -> Result<OwnedFd, Error> {
        let path = self.directory.parent().unwrap_or(Path::new("/"));
        let failed = |doing| {
            let path = path.to_owned();
            move |errno: Errno| Error::File { doing, path, source: errno.into() }
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty()).map_err(failed("open"))?;
        loop {
            match rustix::fs::flock(&folder, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                locked => {
                    locked.map_err(failed("lock"))?;
                    return Ok(folder);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PoolRequest;

    #[test]
    fn what_was_asked_for_is_not_chosen() {
        let of = |subnets: &[&str]| {
            let pool = |subnet: &&str| PoolRequest {
                subnet: (*subnet).to_owned(),
                ..PoolRequest::default()
            };
            let pools = subnets.iter().map(pool).collect();
            let chosen = Chosen::of(&CreateRequest { pools, ..CreateRequest::default() });
            (chosen.ipv4, chosen.ipv6)
        };
        assert_eq!(of(&[]), (true, true));
        assert_eq!(of(&[""]), (true, true));
        assert_eq!(of(&["10.0.0.0/24"]), (false, true));
        assert_eq!(of(&["", "fd00::/64"]), (true, false));
        let set = DefaultBridge { range: "10.0.0.0/24".into(), ..DefaultBridge::default() };
        let chosen = Chosen::of_default(&set);
        assert!(!chosen.ipv4 && chosen.ipv6 && chosen.is_any());
    }
}
