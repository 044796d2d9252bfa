//! The way into the user namespace.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use sys::CloneFlags;

use crate::error::{Error, pass};
use crate::ids::ids;
use crate::members::Place;
use crate::{HOLDER, MEMBER};

/// Whether this process is a part of an ordinary user's engine.
static ROOTLESS: AtomicBool = AtomicBool::new(false);

/// Whether this process is a part of an ordinary user's engine: it has gone through [`enter`] or
/// [`join`].
pub fn is_rootless() -> bool {
    ROOTLESS.load(Ordering::Relaxed)
}

/// Brings this process, which has one thread and an ordinary user's ids, into the user namespace of
/// the engine with this state directory, and into a mount namespace of its own. From here on the user
/// is root.
pub fn enter(state: &Path) -> Result<(), Error> {
    let place = Place::of(state);
    place.make()?;
    // Whoever finds nobody makes one, and is to be found by the next.
    let door = place.door("door")?;
    let namespace = match joinable(&place)? {
        Some(namespace) => namespace,
        None => make()?,
    };
    sys::setns(namespace.as_fd(), CloneFlags::NEWUSER)?;
    drop(namespace);
    place.share(MEMBER)?;
    drop(door);
    // Who joins opens files of this process in procfs, which else were root's alone: it has
    // capabilities now that it had not when it was executed.
    sys::set_dumpable(true)?;
    // What is mounted here is in nobody's way, and the supervisors' own namespaces follow from it.
    sys::unshare(CloneFlags::NEWNS)?;
    mount::set_propagation(Path::new("/"), mount::Propagation::Slave, true)?;
    ROOTLESS.store(true, Ordering::Relaxed);
    Ok(())
}

/// The same for a process that was started by one that is there already: it only has to be known.
pub fn join(state: &Path) -> Result<(), Error> {
    Place::of(state).share(MEMBER)?;
    ROOTLESS.store(true, Ordering::Relaxed);
    Ok(())
}

/// The user namespace of whoever is there.
fn joinable(place: &Place) -> Result<Option<OwnedFd>, Error> {
    let Some(found) =
        place.holder(MEMBER)?.map_or_else(|| place.holder(HOLDER), |found| Ok(Some(found)))?
    else {
        return Ok(None);
    };
    match found.namespace("user") {
        // It ended in this moment; what it was the last of ended with it, or is found anew.
        Err(_) if found.handle.signal(0).is_err() => joinable(place),
        namespace => namespace.map(Some),
    }
}

fn make() -> Result<OwnedFd, Error> {
    pass("rootless.make")?;
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let ids = ids(uid.as_raw(), gid.as_raw());
    let namespace = container::user_namespace(&ids.maps)
        .map_err(|source| Error::Forbidden { why: why(&source), source })?;
    pass("rootless.made")?;
    Ok(namespace)
}

/// What stands in the way of a user namespace.
fn why(source: &container::Error) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let is = |path: &str, value: &str| read(path) == value;
    let set =
        |name: &str, value: &str| format!(": set {name} to {value} (sysctl -w {name}={value})");
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return set("user.max_user_namespaces", "15000");
    }
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return set("kernel.unprivileged_userns_clone", "1");
    }
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        return ": AppArmor gives them to programs with a profile only (sysctl \
                kernel.apparmor_restrict_unprivileged_userns)"
            .to_owned();
    }
    let container::Error::Call { source, .. } = source else { return String::new() };
    match source.errno() {
        Errno::NOSYS | Errno::INVAL => ": this kernel has none".to_owned(),
        Errno::NOSPC => ": there are too many of them".to_owned(),
        _ => String::new(),
    }
}
