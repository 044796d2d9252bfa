//! Labels of `SELinux`: which a container has.
//!
//! They are chosen when a container is made, and stay with it: the record keeps them, so that nobody else
//! gets the same categories as long as it is there.

use std::collections::BTreeSet;

use docker::HostConfig;
use metadata::Read;
use selinux::{Context, Labels};

use crate::engine::Engine;
use crate::record::{Container, Record};
use crate::spec::namespaces::{Mode, mode};
use crate::spec::security::Security;
use crate::{Error, name};

/// How often a level is tried. There are half a million.
const MAX_TRIES: u32 = 10_000;

/// What has no label, as it is asked for.
const DISABLED: &str = "label=disable";

/// The labels of a container's record, where the kernel labels: it may have been started without.
pub(crate) fn labels(record: &Record) -> Labels {
    let is_labelled = !record.process_label.is_empty() || !record.mount_label.is_empty();
    if !is_labelled || !selinux::is_enabled() {
        return Labels::default();
    }
    // As in Docker, a label that was asked for is nothing to who may do everything.
    let process = if record.host.privileged { String::new() } else { record.process_label.clone() };
    Labels { process, mount: record.mount_label.clone() }
}

impl Engine {
    /// Whether containers have labels of `SELinux` here: somebody wants it, and the kernel has it.
    #[must_use]
    pub fn labels_by_selinux(&self) -> bool {
        self.settings().selinux_enabled && selinux::is_enabled()
    }

    /// What an administrator has asked for that cannot be had.
    #[must_use]
    pub fn selinux_warning(&self) -> Option<&'static str> {
        if !self.settings().selinux_enabled {
            return None;
        }
        if !selinux::is_enabled() {
            return Some(
                "WARNING: daemon.json: \"selinux-enabled\": this kernel has no SELinux, or no policy \
                 for it: containers have no labels",
            );
        }
        selinux::defaults().process.is_none().then_some(
            "WARNING: daemon.json: \"selinux-enabled\": the policy has no labels for containers: the \
             package container-selinux brings some",
        )
    }

    /// Asks for the labels that go with what a container shares, where it asks for none itself. Who shares
    /// the machine's processes can have none; who shares another container's has the same, or could not reach
    /// them.
    pub(crate) fn ask_for_labels(&self, host: &mut HostConfig) -> Result<(), Error> {
        if !Security::parse(&host.security_opt)?.label.is_empty() {
            return Ok(());
        }
        if host.privileged || host.ipc_mode == "host" || host.pid_mode == "host" {
            host.security_opt.push(DISABLED.to_owned());
            return Ok(());
        }
        let of_joined = |text: &str| match mode(text) {
            Mode::Container(other) => Ok::<_, Error>(Some(selinux::Options::like(
                &self.find(other)?.record.process_label,
            ))),
            _ => Ok(None),
        };
        let options = of_both(of_joined(&host.ipc_mode)?, of_joined(&host.pid_mode)?)?;
        for option in options {
            host.security_opt.push(format!("label={option}"));
        }
        Ok(())
    }

    /// Gives a new container its labels. In the transaction that writes it down: nobody else can be about to
    /// take the same level.
    pub(crate) fn choose_labels(&self, container: &mut Container, tx: &Read) -> Result<(), Error> {
        if !self.labels_by_selinux() {
            return Ok(());
        }
        let options = Security::parse(&container.record.host.security_opt)?.label;
        let Labels { process, mount } = selinux::defaults().labels(&options, || free_level(tx))?;
        for label in [&process, &mount] {
            if !label.is_empty() && !selinux::is_known(label) {
                return Err(Error::Invalid(format!(
                    "invalid --security-opt: the policy of SELinux has no label {label}"
                )));
            }
        }
        (container.record.process_label, container.record.mount_label) = (process, mount);
        Ok(())
    }
}

/// What to ask for by the labels of the containers whose IPC and whose processes are joined. `None`: nobody's; no
/// options: of one without a label.
fn of_both(ipc: Option<Vec<String>>, pid: Option<Vec<String>>) -> Result<Vec<String>, Error> {
    match (ipc, pid) {
        (Some(ipc), Some(pid)) if ipc.is_empty() || pid.is_empty() => Ok(Vec::new()),
        (Some(ipc), Some(pid)) if ipc != pid => {
            let why = "--ipc and --pid containers SELinux labels aren't the same";
            Err(Error::Invalid(why.into()))
        }
        (Some(one), _) | (None, Some(one)) => Ok(one),
        (None, None) => Ok(Vec::new()),
    }
}

/// A level that no container has.
fn free_level(tx: &Read) -> Result<String, Error> {
    let mut taken = BTreeSet::new();
    for row in tx.containers()?.into_iter().chain(tx.steps()?) {
        let label = Container::from_row(row)?.record.process_label;
        taken.extend(label.parse::<Context>().map(|context| context.level));
    }
    for _ in 0..MAX_TRIES {
        let [a, b, c, d] = name::random::<4>()?;
        let numbers = [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])];
        let level = selinux::level(numbers).filter(|level| !taken.contains(level));
        if let Some(level) = level {
            return Ok(level);
        }
    }
    Err(Error::Conflict("no level of SELinux is left that no container has".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_joins_others_has_their_label_or_none_can_be_had() {
        let label = |text: &str| Some(selinux::Options::like(text));
        let one = || label("u:r:t:s0:c1,c2");
        let asked = |ipc, pid| of_both(ipc, pid).map(|options| options.join(" "));
        let wanted = "user:u role:r type:t level:s0:c1,c2";
        assert_eq!(asked(one(), None).unwrap(), wanted);
        assert_eq!(asked(None, one()).unwrap(), wanted);
        assert_eq!(asked(one(), one()).unwrap(), wanted);
        assert_eq!(asked(None, None).unwrap(), "");
        assert_eq!(asked(one(), label("")).unwrap(), "");
        assert!(asked(one(), label("u:r:t:s0:c3,c4")).is_err());
    }

    #[test]
    fn a_container_without_labels_has_none() {
        assert_eq!(labels(&Record::default()), Labels::default());
        let record = Record { mount_label: "u:r:t".into(), ..Record::default() };
        assert_eq!(labels(&record).mount.is_empty(), !selinux::is_enabled());
    }
}
