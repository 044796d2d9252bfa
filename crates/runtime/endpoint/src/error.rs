use std::io;
use std::path::PathBuf;

/// Why a container's network could not be made or unmade.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A parameter of an interface that the kernel does not have, or not with such a value.
    #[error("set \"{path}\"", path = path.display())]
    Parameter {
        /// Its file.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The bridge that a link is to be a port of is not there.
    #[error("no such bridge: {name}")]
    NoBridge {
        /// The bridge.
        name: String,
    },
    /// The link that another is to share is not there. In Docker's words.
    #[error("the requested parent interface {name} was not found on the Docker host")]
    NoParent {
        /// The link.
        name: String,
    },
    /// The kernel was built without such links.
    #[error("this kernel has no driver {driver}")]
    NoDriver {
        /// `macvlan`, `ipvlan`.
        driver: &'static str,
    },
    /// A link could not be shared, mostly because it is shared in another way. In Docker's words.
    #[error("failed to create the {driver} port on {parent}")]
    Port {
        /// `macvlan`, `ipvlan`.
        driver: &'static str,
        /// The link.
        parent: String,
        /// What the kernel says.
        source: Box<netlink::Error>,
    },
    /// Another interface that shares the same link has the address.
    #[error("an address of {name} is in use on {parent}")]
    AddressTaken {
        /// The interface in the container.
        name: String,
        /// The link that it shares.
        parent: String,
        /// Which address.
        source: Box<netlink::Error>,
    },
    /// The container has an interface of that name already.
    #[error("error renaming interface \"{host_name}\" to \"{name}\": file exists")]
    NameTaken {
        /// The host's end.
        host_name: String,
        /// The name.
        name: String,
    },
    /// An interface that was just made in the container is not there.
    #[error("interface {name} is gone from the container's network namespace")]
    LinkGone {
        /// The interface.
        name: String,
    },
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// A setting of the container's network namespace could not be written.
    #[error("write \"{path}\"")]
    Setting {
        /// The file below `/proc/sys`.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file of names could not be written or removed, or a directory not be read.
    #[error("{doing} \"{path}\"", path = path.display())]
    Names {
        /// `read`, `write` or `remove`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Neighbours could not be told.
    #[error(transparent)]
    Packet(#[from] sys::Error),
    /// A test asked for it.
    #[error("set up the network, up to a failpoint")]
    Failpoint(#[from] io::Error),
}
