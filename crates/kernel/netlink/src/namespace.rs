use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Error;

/// Does `work` with this thread in the network namespace `netns`, and comes back.
///
/// A network namespace is the thread's own, and sockets stay in the one that they were made in: so
/// `work` opens what it needs and returns it. It cannot suspend, since nothing here is async.
///
/// After [`Error::Stranded`] the thread is in the wrong namespace, and must end.
pub fn inside<T>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T) -> Result<T, Error> {
    let here = open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::refused("open /proc/thread-self/ns/net", errno))?;
    let network = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(netns, network)
        .map_err(|errno| Error::refused("enter a network namespace", errno))?;
    let result = work();
    move_into_link_name_space(here.as_fd(), network)
        .map_err(|source| Error::Stranded { source })?;
    Ok(result)
}
