//! Cgroups that a container made inside its own.

use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::hierarchy::Mode;
use crate::tree::Version;

impl Cgroup {
    /// Goes to the cgroup `sub` below this one: in the tree of `controller`, or in all when there is
    /// none given. `false`: no tree has the controller.
    ///
    /// On a hybrid machine the v2 tree has no limits, and who makes cgroups mostly passes it over:
    /// where `sub` is not in it, this cgroup stays what it is there.
    pub fn descend(&mut self, controller: Option<&str>, sub: &str) -> Result<bool, Error> {
        let sub = sub.trim_matches('/');
        let hybrid = self.mode() == Mode::Hybrid;
        let mut found = false;
        for member in &mut self.members {
            let v2 = member.tree.version == Version::V2;
            let wanted = controller.is_none_or(|name| !v2 && member.tree.has(name));
            if !wanted {
                continue;
            }
            found = true;
            if sub.is_empty() {
                continue;
            }
            match member.dir.find(sub)? {
                Some(dir) => member.dir = dir,
                None if hybrid && v2 => {}
                None => {
                    let missing = member.dir.path().join(sub).join("cgroup.procs");
                    return Err(Error::NotFound(missing.to_string_lossy().into_owned()));
                }
            }
        }
        Ok(found)
    }
}
