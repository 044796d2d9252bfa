//! What an ordinary user, and whoever is in a user namespace, cannot have. The kernel would say
//! `EPERM` or `EINVAL` to each of these.

use oci::runtime::{IdMapping, NamespaceKind, Process};

use crate::namespace::{IdMaps, Namespaces};
use crate::{Error, Facts};

pub(crate) fn check(
    process: &Process,
    namespaces: &Namespaces,
    facts: &Facts,
) -> Result<(), Error> {
    if !facts.may_mount() && !namespaces.has(NamespaceKind::User) {
        return Err(Error::conflict(
            "linux.namespaces",
            "have no user namespace, and this process has no CAP_SYS_ADMIN: \
             a rootless container requires user namespaces",
        ));
    }
    let Some(maps) = &namespaces.maps else { return Ok(()) };
    let user = &process.user;
    mapped("process.user.uid", &maps.uid, user.uid)?;
    mapped("process.user.gid", &maps.gid, user.gid)?;
    for (i, gid) in user.additional_gids.iter().enumerate() {
        mapped(&format!("process.user.additionalGids[{i}]"), &maps.gid, *gid)?;
    }
    if facts.euid != 0
        && let Some(gid) = user.additional_gids.iter().find(|gid| **gid != user.gid)
        && maps_only(&maps.gid, facts.egid)
    {
        return Err(Error::invalid(
            "process.user.additionalGids",
            gid,
            "cannot be had: a rootless container with a single group cannot set any additional groups",
        ));
    }
    Ok(())
}

fn mapped(field: &str, maps: &[IdMapping], id: u32) -> Result<(), Error> {
    match IdMaps::host(maps, id) {
        Some(_) => Ok(()),
        None => Err(Error::invalid(field, id, "is not mapped in the container's user namespace")),
    }
}

/// Whether only `id` of the outside is mapped: everybody may do that without help.
pub fn maps_only(maps: &[IdMapping], id: u32) -> bool {
    matches!(maps, [one] if one.size == 1 && one.host_id == id)
}
