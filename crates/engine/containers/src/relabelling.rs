//! Labels of `SELinux` for files that a container is to use: those that are mounted, and those made for it.
//!
//! What is mounted anew has its label by a parameter of the mount. All else is relabelled file by file when the
//! container starts: volumes, directories of the machine where that is asked for (`z`, `Z`), roots that are
//! no overlays. Where a container has no label nothing is done.

use std::path::{Path, PathBuf};

use selinux::Homes;
use serde::{Deserialize, Serialize};
use volume::Source;

use crate::engine::Engine;
use crate::mounting::{BIND, Mounting, VOLUME};
use crate::record::Container;
use crate::spec::namespaces::{Mode, mode};
use crate::{Error, labelling};

/// The label that something mounted gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Relabel {
    /// One that all containers can use (`z`).
    Shared,
    /// The container's own (`Z`).
    Private,
}

/// The label that what is mounted is to have in a container whose files have the label `own`. Empty: it stays
/// as it is.
fn wanted(relabel: Option<Relabel>, own: &str) -> String {
    match relabel {
        None => String::new(),
        Some(Relabel::Shared) => selinux::shared(own),
        Some(Relabel::Private) => own.to_owned(),
    }
}

/// The label with which a supervisor mounts `source` in a container whose files have the label `own`.
pub(crate) fn of_supply(source: &Source, relabel: Option<Relabel>, own: &str) -> String {
    match source {
        Source::Layers { .. } | Source::Overlay { .. } | Source::Secrets { .. } => own.to_owned(),
        Source::FileSystem(_) => wanted(relabel, own),
        // Of the machine, of another container, or relabelled by us.
        Source::Directory { .. } | Source::Host { .. } | Source::Container { .. } => String::new(),
    }
}

/// Relabels a directory of the machine that somebody wants in a container, but none without which the machine
/// would not work.
fn relabel_bind(source: &Path, label: &str) -> Result<(), Error> {
    let sudo_user = std::env::var("SUDO_USER").ok();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let homes = Homes::new(home, sudo_user.as_deref(), &accounts);
    let done = selinux::relabel_allowed(source, label, &homes);
    if let Err(why @ selinux::Error::NotAllowed(real)) = &done {
        return Err(Error::Invalid(format!(
            "error setting label on mount source '{}': {why}",
            real.display()
        )));
    }
    Ok(done?)
}

impl Engine {
    /// Relabels what a container has mounted, where that is wanted, and its supervisor does not see to it.
    pub(crate) fn relabel_mounts(
        &self,
        container: &Container,
        mounts: &[Mounting],
    ) -> Result<(), Error> {
        let own = labelling::labels(&container.record).mount;
        if own.is_empty() {
            return Ok(());
        }
        for Mounting { point, relabel, .. } in mounts {
            let label = wanted(*relabel, &own);
            if label.is_empty() {
                continue;
            }
            let source = Path::new(&point.source);
            match point.kind.as_str() {
                BIND => relabel_bind(source, &label)?,
                VOLUME if self.file_system_of(&point.name)?.is_none() => {
                    selinux::relabel(source, &label)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Relabels the files that are mounted on `/etc/hosts` and others. Those of who is in another's network are
/// that one's, too.
pub(crate) fn relabel_files(
    container: &Container,
    files: &[(PathBuf, &'static str)],
) -> Result<(), Error> {
    let own = labelling::labels(&container.record).mount;
    if own.is_empty() {
        return Ok(());
    }
    let label = match mode(&container.record.host.network_mode) {
        Mode::Container(_) => selinux::shared(&own),
        _ => own,
    };
    for (path, _) in files {
        selinux::relabel(path, &label)?;
    }
    Ok(())
}

/// Relabels a directory that only this container writes to: its root, where that is no overlay.
pub(crate) fn relabel_root(container: &Container, root: &Path) -> Result<(), Error> {
    let own = labelling::labels(&container.record).mount;
    if own.is_empty() { Ok(()) } else { Ok(selinux::relabel_own(root, &own)?) }
}

/// Relabels what a step of a build has from its builder: a cache, which other steps have too, or what is its
/// alone.
pub(crate) fn relabel_for_step(
    container: &Container,
    path: &Path,
    relabel: Relabel,
) -> Result<(), Error> {
    let own = labelling::labels(&container.record).mount;
    if own.is_empty() {
        return Ok(());
    }
    Ok(selinux::relabel_own(path, &wanted(Some(relabel), &own))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_has_no_categories_and_what_stays_no_label() {
        let own = "u:object_r:f:s0:c1,c2";
        assert_eq!(wanted(None, own), "");
        assert_eq!(wanted(Some(Relabel::Shared), own), "u:object_r:f:s0");
        assert_eq!(wanted(Some(Relabel::Private), own), own);
    }

    #[test]
    fn a_supervisor_labels_what_it_makes() {
        let of = |source: &Source, relabel| of_supply(source, relabel, "u:object_r:f:s0:c1,c2");
        let secrets = Source::Secrets { files: Vec::new() };
        assert_eq!(of(&secrets, None), "u:object_r:f:s0:c1,c2");
        let memory = Source::FileSystem(volume::FileSystem::default());
        assert_eq!(of(&memory, Some(Relabel::Shared)), "u:object_r:f:s0");
        assert_eq!(of(&memory, None), "");
        let directory = Source::Directory { path: "/srv".into() };
        assert_eq!(of(&directory, Some(Relabel::Private)), "");
    }
}
