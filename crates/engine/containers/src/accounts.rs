//! Whom a container runs as, by the accounts that its root has.

use std::path::Path;

use snapshot::Mounts;

use crate::merged::{self, Directory};
use crate::spec::user::{self, Accounts, Identity};
use crate::{Error, userns};

/// The most that is read of `/etc/passwd` and `/etc/group`, bytes.
const MAX_ACCOUNTS: u64 = 4 << 20;

/// Holds that a user is one whom the engine's own user namespace has, if it is in one.
pub(crate) fn check_mapped(identity: &Identity) -> Result<(), Error> {
    if !mount::in_user_namespace() {
        return Ok(());
    }
    let user = &identity.user;
    for (what, id, map, file) in [
        ("user", user.uid, "/proc/self/uid_map", "/etc/subuid"),
        ("group", user.gid, "/proc/self/gid_map", "/etc/subgid"),
    ] {
        let n_ids = userns::mapped(map);
        if id >= n_ids {
            return Err(Error::Invalid(format!(
                "{what} {id} of the container cannot be had: this engine has {n_ids} {what} ids, by {file}"
            )));
        }
    }
    Ok(())
}

/// Whom a container runs as. The machine's own root has the machine's own accounts.
pub(crate) fn look_up_user(
    wanted: &str,
    groups: &[String],
    mounts: Option<&Mounts>,
) -> Result<Identity, Error> {
    look_up_in(&root_of(mounts)?, wanted, groups)
}

/// A container's root, layer by layer.
pub(crate) fn root_of(mounts: Option<&Mounts>) -> Result<Directory, Error> {
    match mounts {
        Some(mounts) => Directory::root(mounts.stack()),
        None => Directory::root([Path::new("/")]),
    }
}

/// The same in a root.
pub(crate) fn look_up_in(
    root: &Directory,
    wanted: &str,
    groups: &[String],
) -> Result<Identity, Error> {
    let passwd = merged::read(root, Path::new("/etc/passwd"), MAX_ACCOUNTS)?;
    let group = merged::read(root, Path::new("/etc/group"), MAX_ACCOUNTS)?;
    user::look_up(wanted, groups, Accounts { passwd: &passwd, group: &group })
}
