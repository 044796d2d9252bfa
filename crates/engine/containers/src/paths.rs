//! Where things lie.

use std::path::{Path, PathBuf};

/// The two folders of an engine, and what is where in them.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// What lasts: `/var/lib/dhow`.
    pub(crate) root: PathBuf,
    /// What may vanish at a reboot: `/run/dhow`.
    pub(crate) state: PathBuf,
}

impl Paths {
    /// All containers' folders.
    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// One container's folder: its status, log, and the files that are mounted in its `/etc`.
    pub(crate) fn data(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    /// The folders of all containers that run.
    pub(crate) fn runs(&self) -> PathBuf {
        self.state.join("containers")
    }

    /// The folder of one container's run, which ends with its shim.
    pub(crate) fn run(&self, id: &str) -> PathBuf {
        self.runs().join(id)
    }

    /// Where every shim mounts its container's root, each in a mount namespace of its own. It stays:
    /// to remove a directory on which something is mounted means to wait for the kernel.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.state.join("rootfs")
    }

    /// Where every shim mounts what its container has beside its root; likewise.
    pub(crate) fn supplies(&self) -> PathBuf {
        self.state.join("supplies")
    }

    /// Where the shim listens.
    pub(crate) fn socket(&self, id: &str) -> PathBuf {
        self.run(id).join("shim.sock")
    }

    /// Records of further processes of a container that runs.
    pub(crate) fn execs(&self, id: &str) -> PathBuf {
        self.run(id).join("execs")
    }

    /// The runtime's own state.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.state.join("runtime")
    }

    /// The log, in Docker's form.
    pub(crate) fn log(&self, id: &str) -> PathBuf {
        self.data(id).join(format!("{id}-json.log"))
    }

    /// Named volumes.
    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// Secrets, for root alone.
    pub(crate) fn secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }

    /// What has happened.
    pub(crate) fn events(&self) -> PathBuf {
        self.state.join("events.jsonl")
    }

    /// There while networks may have something left of a run that died: from before what says so is
    /// taken away until they were swept.
    pub(crate) fn unswept(&self) -> PathBuf {
        self.state.join("unswept")
    }

    /// The locks of networks.
    pub(crate) fn network_locks(&self) -> PathBuf {
        self.state.join("networks.lock")
    }

    /// Which file of this program was the last to see to the rules of networks.
    pub(crate) fn ruled_by(&self) -> PathBuf {
        self.state.join("networks.ruled")
    }

    /// What names in the kernel that are not below one of our folders start with: `dhow`, or
    /// `dhow-HASH` for a root other than the usual one, so that two engines never meet.
    pub(crate) fn prefix(&self) -> String {
        if self.root == Path::new("/var/lib/dhow") {
            return "dhow".into();
        }
        let digest = oci::Digest::sha256(self.root.as_os_str().as_encoded_bytes());
        format!("dhow-{}", &digest.hex()[..8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_root_has_names_of_its_own() {
        let prefix = |root: &str| Paths { root: root.into(), state: "/run/x".into() }.prefix();
        assert_eq!(prefix("/var/lib/dhow"), "dhow");
        assert_eq!(prefix("/tmp/a").len(), "dhow-".len() + 8);
        assert_ne!(prefix("/tmp/a"), prefix("/tmp/b"));
    }
}
